//! The Security Token Service: the keys of a role, for those of the Secret.

use super::{AssumeRole, Keys, Region, call::Service, codes::Refused, verified, xml};
use crate::{
    failure::{Failure, FailureClass, Stage},
    net::{Network, tls::Tls},
    secret::SecretValue,
};

/// How long the role's keys are good for, in seconds: the least that AWS allows, and more than the longest probe takes.
const DURATION: &str = "900";

const NOT_GIVEN: &str =
    "let these keys assume the role: its trust policy must name them, and the external id if it demands one";

const NOT_TAKEN: &str = "correct roleARN, externalID or sessionName: the service takes one of them for none";

/// Whom to ask, for what.
#[derive(Clone, Debug)]
pub struct Exchange {
    role: AssumeRole,
    region: Region,
    url: String,
    tls: Tls,
}

impl Exchange {
    /// Asks the service of `region`, or the endpoint that the role names, about `role`. Keys come back from there, so it is verified
    /// by its name whatever is enough for the type's own endpoint, unless its URL says `http`.
    pub fn of(role: &AssumeRole, region: &Region, namespace: &str, tls: &Tls) -> Self {
        let url = region.url("sts", role.endpoint.as_ref(), namespace);
        Self { role: role.clone(), region: region.clone(), url, tls: verified(tls) }
    }

    /// The role's keys.
    ///
    /// # Errors
    /// What did not pass on the way, or what the service said: `AuthenticationFailed` about the keys of the Secret, or about the
    /// role, which may not be assumed or does not exist; AWS does not tell.
    pub async fn keys(&self, net: &Network, own: &Keys) -> Result<Keys, Failure> {
        let service = Service { name: "sts", region: &self.region, url: &self.url };
        let name = self.role.session_name.as_deref().unwrap_or("connection-operator");
        let mut parameters = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", self.role.role_arn.as_str()),
            ("RoleSessionName", name),
            ("DurationSeconds", DURATION),
        ];
        parameters.extend(self.role.external_id.as_deref().map(|id| ("ExternalId", id)));
        let reply = service.query(net, &self.tls, own, &parameters).await?;
        let keys = reply.map_err(|refused| self.explain(&refused)).and_then(|document| read(&document));
        keys.map_err(|failure| net.about(failure))
    }

    /// What the service's answer means. Nothing of it is about the type's own target, which was not dialled yet.
    fn explain(&self, refused: &Refused) -> Failure {
        let about_the_role = |advice| {
            refused
                .failure_as(FailureClass::WrongCredentials)
                .about(self.role.shown())
                .word("sts:AssumeRole")
                .advice(advice)
        };
        match refused.class() {
            class if class.row().stage == Some(Stage::Access) => about_the_role(NOT_GIVEN),
            _ if refused.is("ValidationError") => about_the_role(NOT_TAKEN),
            _ => refused.failure(),
        }
    }
}

fn read(document: &[u8]) -> Result<Keys, Failure> {
    let value = |name| {
        let found = xml::text(document, &["AssumeRoleResponse", "AssumeRoleResult", "Credentials", name]);
        let sendable = found.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        sendable
            .map(|text| SecretValue::new(text.into_bytes()))
            .ok_or_else(|| Failure::new(FailureClass::ProtocolMismatch))
    };
    Ok(Keys { id: value("AccessKeyId")?, secret: value("SecretAccessKey")?, token: Some(value("SessionToken")?) })
}

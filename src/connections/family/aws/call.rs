//! One signed call to a service of AWS, over the network's own HTTP client: no SDK, no retry, no identity but the one given.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};

use super::{Keys, Region};
use crate::{
    failure::{Failure, FailureClass},
    net::{Network, http::Answer, tls::Tls},
};

/// A service, where it is.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// The name that signatures use, such as `sts`.
    pub name: &'static str,
    /// The region that signatures name.
    pub region: &'a Region,
    /// The URL that requests go to.
    pub url: &'a str,
}

impl Service<'_> {
    /// Sends an action of the Query protocol and returns what came back, whatever its status.
    ///
    /// # Errors
    /// What did not pass on the way.
    pub async fn query(
        &self,
        net: &Network,
        tls: &Tls,
        keys: &Keys,
        parameters: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let request = Request::post(self.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .body(Bytes::from(form))
            .map_err(|_| Failure::new(FailureClass::Internal))?;
        net.exchange(tls, self.sign(keys, request)?).await
    }

    /// Adds the headers of a signature (Signature Version 4).
    #[expect(clippy::disallowed_methods, reason = "a signature says when it was made, and the server compares clocks")]
    fn sign(&self, keys: &Keys, mut request: Request<Bytes>) -> Result<Request<Bytes>, Failure> {
        let internal = || Failure::new(FailureClass::Internal);
        let identity = identity(keys).into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region.0)
            .name(self.name)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| internal())?
            .into();
        let uri = request.uri().to_string();
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
        let signable =
            SignableRequest::new(request.method().as_str(), uri.as_str(), headers, SignableBody::Bytes(request.body()));
        let (instructions, _) =
            sign(signable.map_err(|_| internal())?, &parameters).map_err(|_| internal())?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// The keys in the form in which signers of AWS take them.
pub fn identity(keys: &Keys) -> Credentials {
    let text = |value: &crate::secret::SecretValue| value.text().unwrap_or_default().to_owned();
    Credentials::new(text(&keys.id), text(&keys.secret), keys.token.as_ref().map(text), None, "Secret")
}

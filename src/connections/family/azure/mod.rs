//! What all types of Microsoft Azure share: the clouds, and how a service principal logs in at its directory (Microsoft Entra ID).
//!
//! A login is what the Secret holds. The operator's own identity is never used: nothing here looks at the environment or at a
//! metadata service. The secret goes to the directory's own host, which the cloud names and nothing else does. This file decides;
//! `token.rs` talks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    connections::fields::words,
    failure::{Failure, FailureClass, Setting},
    net::tls::Roots,
    secret::{Credentials, Key, Method, SecretValue},
};

mod token;

/// The canonical key of the directory's id.
pub const TENANT_ID: &str = "tenantId";
/// The canonical key of the application's id.
pub const CLIENT_ID: &str = "clientId";
/// The canonical key of the application's secret.
pub const CLIENT_SECRET: &str = "clientSecret";

/// The Secret keys of a service principal, with the names that others give them.
pub const KEYS: [Key; 3] = [
    Key { name: TENANT_ID, aliases: &["AZURE_TENANT_ID"] },
    Key { name: CLIENT_ID, aliases: &["AZURE_CLIENT_ID"] },
    Key { name: CLIENT_SECRET, aliases: &["AZURE_CLIENT_SECRET"] },
];

/// A way to log in: a service principal.
pub fn method() -> Method {
    Method { name: "service principal", required: vec![TENANT_ID, CLIENT_ID, CLIENT_SECRET], optional: Vec::new() }
}

/// A cloud of Microsoft. Each has directories of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = words)]
pub enum Cloud {
    /// The one that everybody can use.
    #[default]
    Public,
    /// Azure Government of the United States.
    USGovernment,
    /// The one of China, operated by 21Vianet.
    China,
}

impl Cloud {
    /// Where its directories are ("National clouds" of the Microsoft identity platform).
    const fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::USGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }
}

/// A service principal: an application in a directory, and its secret.
pub struct Principal {
    authority: String,
    roots: Roots,
    tenant: SecretValue,
    client: SecretValue,
    secret: SecretValue,
}

impl Principal {
    /// Takes the principal out of what was selected from the Secret that `about` names. `None` where it holds another login.
    ///
    /// # Errors
    /// `CredentialsMalformed` where the directory's id can be none, or where a value cannot be sent.
    pub fn take(credentials: &mut Credentials, about: &Setting, cloud: Cloud) -> Result<Option<Self>, Failure> {
        let Some(tenant) = credentials.take_printable(TENANT_ID, about)? else { return Ok(None) };
        // It stands in the path of a URL.
        let in_a_name = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
        let is_a_name = tenant.expose().iter().all(in_a_name) && tenant.expose().iter().any(u8::is_ascii_alphanumeric);
        if tenant.expose().len() > 253 || !is_a_name {
            return Err(Failure::new(FailureClass::CredentialsMalformed)
                .about(about.clone())
                .word(TENANT_ID)
                .advice("it must be the id of a directory, or one of its domain names"));
        }
        let client = credentials.take_printable(CLIENT_ID, about)?;
        let secret = credentials.take_text(CLIENT_SECRET, about)?;
        Ok(Some(Self {
            authority: cloud.authority().to_owned(),
            roots: Roots::System,
            tenant,
            client: client.ok_or_else(|| Credentials::missing(CLIENT_ID, about))?,
            secret: secret.ok_or_else(|| Credentials::missing(CLIENT_SECRET, about))?,
        }))
    }

    /// Who it is: its directory and its application.
    pub fn who(&self) -> [&[u8]; 3] {
        [self.authority.as_bytes(), self.tenant.expose(), self.client.expose()]
    }

    /// The same principal of a directory that a test plays.
    #[cfg(test)]
    pub(crate) fn at(self, authority: String, roots: Roots) -> Self {
        Self { authority, roots, ..self }
    }
}

#[cfg(test)]
mod tests;

//! A token of a directory, for a service principal: one request, over the network of the probe.

use super::{
    super::oauth::{Grant, Shown},
    Principal,
};
use crate::{
    failure::{Failure, FailureClass},
    net::{
        Network,
        tls::{Mode, Tls},
    },
    secret::SecretValue,
};

/// The directory's own numbers of errors, as its texts have them behind `AADSTS` ("Microsoft Entra authentication and
/// authorization error codes", 2026). They may change, so what is not listed is judged by the words of OAuth.
const NUMBERS: &[(u64, FailureClass)] = &[
    // no such directory
    (90_002, FailureClass::WrongCredentials),
    (900_023, FailureClass::WrongCredentials),
    // no such application in it, or not for this resource
    (700_016, FailureClass::WrongCredentials),
    (500_011, FailureClass::WrongCredentials),
    (7_000_215, FailureClass::WrongCredentials),
    (7_000_222, FailureClass::CredentialsExpired),
    // disabled
    (7_000_112, FailureClass::AccountLocked),
    // by conditional access
    (53_003, FailureClass::SourceNotAllowed),
];

impl Principal {
    /// A token for `scope`. The directory is verified with the system's roots: what the Connection says about TLS is about
    /// another server.
    ///
    /// # Errors
    /// What did not pass on the way, or what the directory said, about its host.
    pub async fn token(&self, net: &Network, scope: &str) -> Result<SecretValue, Failure> {
        let copy = |value: &SecretValue| SecretValue::new(value.expose().to_vec());
        let tenant = self.tenant.text().unwrap_or_default();
        let grant = Grant {
            url: format!("{}/{tenant}/oauth2/v2.0/token", self.authority),
            client: copy(&self.client),
            secret: copy(&self.secret),
            scope: Some(scope.to_owned()),
            audience: None,
            shown: Shown::Form,
            numbers: NUMBERS,
        };
        let tls = Tls { mode: Mode::VerifyFull, roots: self.roots.clone(), identity: None, server_name: None };
        grant.token(net, &tls).await
    }
}

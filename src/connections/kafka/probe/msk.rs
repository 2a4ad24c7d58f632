//! A token for Amazon MSK: a URL that is signed and never asked for. The brokers ask AWS whose signature it is, and what they may do.

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};

use crate::{
    connections::family::aws::{Keys, Region, call::Service, sts},
    failure::{Failure, FailureClass},
    net::Network,
    secret::SecretValue,
};

/// How long a token is good for, as AWS's own signers have it.
const LIFETIME: Duration = Duration::from_mins(15);

/// What stands behind the signature, as AWS's own signers have it: who has made the token.
const AGENT: &str = concat!("&User-Agent=connection-operator%2F", env!("CARGO_PKG_VERSION"));

/// Whose token it is.
pub(in crate::connections::kafka) struct Signer {
    pub region: Region,
    pub keys: Keys,
    pub exchange: Option<sts::Exchange>,
}

impl Signer {
    /// A new token (the form is that of `aws-msk-iam-sasl-signer`, in Python and Go: the same host in every partition).
    ///
    /// # Errors
    /// Where a role is to be assumed, what did not pass on the way, or what the Security Token Service said.
    pub(super) async fn token(&self, net: &Network) -> Result<SecretValue, Failure> {
        let assumed;
        let keys = match &self.exchange {
            None => &self.keys,
            Some(exchange) => {
                assumed = exchange.keys(net, &self.keys).await?;
                &assumed
            }
        };
        let url = format!("https://kafka.{}.amazonaws.com/", self.region.0);
        let service = Service { name: "kafka-cluster", region: &self.region, url: &url };
        let signed = service.presign(keys, &[("Action", "kafka-cluster:Connect")], LIFETIME)?;
        let signed = signed.text().ok_or_else(|| Failure::new(FailureClass::Internal))?;
        Ok(SecretValue::new(BASE64_URL_SAFE_NO_PAD.encode(format!("{signed}{AGENT}")).into_bytes()))
    }
}

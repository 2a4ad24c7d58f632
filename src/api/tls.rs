//! `spec.tls` as it is stored: which mode, which CA, which client certificate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{connections::fields::words, net};

/// How TLS is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// How much TLS is asked for. `Disable`: none; what is sent can be read on the way. `Require`: TLS, without a look at
    /// the certificate. `VerifyCA`: the certificate is signed by a trusted CA. `VerifyFull`: it is also for the server's
    /// name. Default: VerifyFull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// The only certificates that are trusted. Absent: those that the operator's system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Bundle>,

    /// The certificate that the operator shows to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<ClientCertificate>,

    /// The name that the server's certificate must be for. Absent: the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9:]+$"))]
    pub server_name: Option<String>,
}

/// How much TLS is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = words)]
pub enum Mode {
    /// No TLS.
    Disable,
    /// TLS, whoever answers.
    Require,
    /// TLS, with a certificate of a trusted CA.
    #[serde(rename = "VerifyCA")]
    VerifyCa,
    /// TLS, with a certificate of a trusted CA for the server's name.
    #[default]
    VerifyFull,
}

impl From<Mode> for net::tls::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Disable => Self::Disable,
            Mode::Require => Self::Require,
            Mode::VerifyCa => Self::VerifyCa,
            Mode::VerifyFull => Self::VerifyFull,
        }
    }
}

/// Where a bundle of certificates is stored: a Secret or a ConfigMap of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.configMapRef)").message(Bundle::RULE))]
pub struct Bundle {
    /// A key of a Secret that holds certificates in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyRef>,

    /// A key of a ConfigMap that holds certificates in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
}

impl Bundle {
    /// The sentence for a bundle that is in no place, or in two.
    pub const RULE: &str = "`ca` must name exactly one of `secretRef` and `configMapRef`";
}

/// One key of one Secret or ConfigMap of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Where the client certificate is stored: a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key that holds the certificate chain in PEM. Default: tls.crt, else user.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub certificate_key: Option<String>,

    /// The key that holds the private key in PEM. Default: tls.key, else user.key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub private_key_key: Option<String>,
}

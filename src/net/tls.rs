//! TLS settings.

/// How much TLS is asked for. Every mode but `Disable` refuses a server that does not offer TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// No TLS: what is sent can be read on the way.
    Disable,
    /// TLS, without a look at the certificate.
    Require,
    /// TLS, with a certificate of a trusted CA, whatever its name.
    VerifyCa,
    /// TLS, with a certificate of a trusted CA for the server's name.
    #[default]
    VerifyFull,
}

/// How TLS is done for one connection.
#[derive(Clone, Debug)]
pub struct Tls {
    /// How much is asked for.
    pub mode: Mode,
    /// The name to verify instead of the host.
    pub server_name: Option<String>,
}

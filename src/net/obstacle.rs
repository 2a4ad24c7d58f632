//! From what a driver, a socket or rustls returned to a class of failure. Pure; it reads types and numbers, and never takes a
//! word of an error's text along.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::{
    stream::{Obstacle, OverBudget, is_closed},
    tls::ClientCertificate,
};
use crate::failure::{Code, Failure, FailureClass};

/// Deepest chain of causes that is followed: real ones have three or four links.
const DEPTH: usize = 16;

/// The failure that the first recognised link of the chain stands for.
pub(super) fn classify(error: &(dyn Error + 'static), shown: ClientCertificate) -> Option<Failure> {
    classify_link(error, shown, DEPTH)
}

/// The failure that an obstacle stands for.
pub(super) fn of_obstacle(obstacle: Obstacle) -> Failure {
    match obstacle {
        Obstacle::ClosedUnanswered => Failure::new(FailureClass::ConnectionClosed).word("without an answer"),
        Obstacle::Closed => Failure::new(FailureClass::ConnectionClosed),
        Obstacle::OverBudget => Failure::new(FailureClass::AnswerTooLarge),
    }
}

/// Why an address could not be connected to; of several addresses the first in this order is reported, since it tells most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Miss {
    /// Something is there, and nothing listens at the port.
    Refused,
    /// The connection was ended while it was made.
    Closed,
    /// Nobody answered.
    TimedOut,
    /// The operator's own node does not let the connection out.
    NotPermitted,
    /// There is no way to the address.
    Unreachable,
    /// The namespace has used up its new targets.
    TooManyTargets,
    /// The process or its node has no file descriptor left.
    NoDescriptor,
}

impl Miss {
    /// The miss that a failed connect stands for.
    pub(super) fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::TimedOut => Self::TimedOut,
            Kind::PermissionDenied => Self::NotPermitted,
            kind if is_closed(kind) => Self::Closed,
            _ if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) => Self::NoDescriptor,
            // No route, no network, no address of our own in that family: all the same to who reads it.
            _ => Self::Unreachable,
        }
    }

    /// The failure it is reported as.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Refused => Failure::new(FailureClass::ConnectionRefused),
            Self::Closed => of_obstacle(Obstacle::Closed),
            Self::TimedOut => Failure::new(FailureClass::TimedOut),
            Self::NotPermitted => {
                Failure::new(FailureClass::NetworkUnreachable).word("the operator's node forbids the connection")
            }
            Self::Unreachable => Failure::new(FailureClass::NetworkUnreachable),
            Self::TooManyTargets => Failure::new(FailureClass::TooManyTargets),
            Self::NoDescriptor => Failure::new(FailureClass::Internal).word("no file descriptor is left"),
        }
    }
}

/// Whether a handshake failed because what the peer sent is not TLS at all.
pub(super) fn is_not_tls(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)))
}

/// Too many open files in the system, and in this process: errno(3) of Linux.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

fn classify_link(error: &(dyn Error + 'static), shown: ClientCertificate, depth: usize) -> Option<Failure> {
    let depth = depth.checked_sub(1)?;
    if error.is::<OverBudget>() {
        return Some(of_obstacle(Obstacle::OverBudget));
    }
    if error.is::<tokio::time::error::Elapsed>() {
        return Some(Failure::new(FailureClass::TimedOut));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error, shown));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // `source` of an I/O error leaves out the error it was made from.
        let inner = error.get_ref().and_then(|inner| classify_link(inner, shown, depth));
        return inner.or_else(|| of_io(error));
    }
    error.source().and_then(|source| classify_link(source, shown, depth))
}

fn of_io(error: &io::Error) -> Option<Failure> {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::TimedOut => {
            Some(Miss::of(error).failure())
        }
        kind if is_closed(kind) => Some(of_obstacle(Obstacle::Closed)),
        _ => None,
    }
}

fn of_tls(error: &rustls::Error, shown: ClientCertificate) -> Failure {
    let failed = |word| Failure::new(FailureClass::TlsFailed).word(word);
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::AlertReceived(alert) => of_alert(*alert, shown),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => failed("what it sends is not TLS"),
        rustls::Error::PeerIncompatible(_) => failed("no TLS version or cipher in common, 1.2 or 1.3 is needed"),
        rustls::Error::NoCertificatesPresented => failed("it shows no certificate"),
        rustls::Error::UnsupportedNameType => {
            Failure::new(FailureClass::CertificateNameMismatch).word("the name cannot stand in a certificate")
        }
        rustls::Error::FailedToGetCurrentTime | rustls::Error::FailedToGetRandomBytes => {
            Failure::new(FailureClass::Internal)
        }
        _ => failed("it breaks the protocol"),
    }
}

fn of_certificate(error: &CertificateError) -> Failure {
    let untrusted = |word| Failure::new(FailureClass::CertificateUntrusted).word(word);
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Failure::new(FailureClass::CertificateExpired).word("expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Failure::new(FailureClass::CertificateExpired).word("not valid yet")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Failure::new(FailureClass::CertificateNameMismatch)
        }
        CertificateError::UnknownIssuer => Failure::new(FailureClass::CertificateUntrusted),
        CertificateError::BadSignature => untrusted("a signature is wrong"),
        CertificateError::BadEncoding => untrusted("it cannot be read"),
        CertificateError::Revoked => untrusted("it is revoked"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            untrusted("it is not a server's certificate")
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            untrusted("its signature is of a kind that is not accepted")
        }
        // The other cases come as an opaque error; a CA's certificate that is used as the server's own is by far the commonest.
        _ => untrusted("it does not follow the rules for a server's certificate").advice(
            "give the server an X.509 version 3 certificate that is not itself a CA's, signed by a CA in spec.tls.ca",
        ),
    }
}

fn of_alert(alert: AlertDescription, shown: ClientCertificate) -> Failure {
    use AlertDescription as Alert;
    let code = Code::Number(i64::from(u8::from(alert)));
    let required = || Failure::new(FailureClass::ClientCertificateRequired);
    let failed = || Failure::new(FailureClass::TlsFailed).word("TLS alert").code(code);
    let rejected = |word| match shown {
        ClientCertificate::Shown => {
            required().word(word).code(code).advice("correct the certificate in spec.tls.clientCertificateSecretRef")
        }
        ClientCertificate::NoneShown => required().word("none was shown").code(code),
        ClientCertificate::NotAsked => failed(),
    };
    match alert {
        Alert::CertificateRequired | Alert::NoCertificate => match shown {
            ClientCertificate::Shown => rejected("it does not accept the one that was shown"),
            ClientCertificate::NoneShown | ClientCertificate::NotAsked => required().word("none was shown").code(code),
        },
        Alert::CertificateExpired => rejected("it says that the one that was shown is expired"),
        Alert::CertificateRevoked => rejected("it says that the one that was shown is revoked"),
        Alert::UnknownCA => rejected("it does not trust the CA of the one that was shown"),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError => rejected("it does not accept the one that was shown"),
        // TLS 1.2 has no alert of its own for a missing certificate: OpenSSL and others send this one.
        Alert::HandshakeFailure if shown == ClientCertificate::NoneShown => {
            required().word("none was shown").code(code)
        }
        Alert::ProtocolVersion | Alert::InsufficientSecurity | Alert::HandshakeFailure => {
            Failure::new(FailureClass::TlsFailed)
                .word("no TLS version or cipher in common, 1.2 or 1.3 is needed")
                .code(code)
        }
        Alert::UnrecognisedName => {
            Failure::new(FailureClass::TlsFailed).word("it does not know the server name").code(code)
        }
        _ => failed(),
    }
}

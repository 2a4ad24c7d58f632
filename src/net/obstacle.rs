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

#[cfg(test)]
mod tests {
    use std::{fmt, sync::Arc};

    use rustls::OtherError;

    use super::*;

    /// A driver's error, whose words must not be repeated.
    #[derive(Debug)]
    struct Driver(Option<Box<dyn Error + Send + Sync>>);

    impl fmt::Display for Driver {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("hunter2")
        }
    }

    impl Error for Driver {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.0.as_deref().map(|source| source as _)
        }
    }

    fn wrapped(error: impl Into<Box<dyn Error + Send + Sync>>) -> Driver {
        Driver(Some(Box::new(Driver(Some(error.into())))))
    }

    fn class(error: impl Into<Box<dyn Error + Send + Sync>>) -> Option<FailureClass> {
        classify(&wrapped(error), ClientCertificate::NotAsked).map(|failure| failure.class())
    }

    #[test]
    fn a_cause_is_found_however_deep_it_is_wrapped() {
        use io::ErrorKind as Kind;
        let deep = |error: rustls::Error| io::Error::other(io::Error::new(Kind::InvalidData, error));
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(class(deep(expired.clone())), Some(FailureClass::CertificateExpired));
        assert_eq!(class(io::Error::other(wrapped(deep(expired)))), Some(FailureClass::CertificateExpired));
        assert_eq!(class(io::Error::other(OverBudget)), Some(FailureClass::AnswerTooLarge));
        for (kind, expected) in [
            (Kind::ConnectionRefused, Some(FailureClass::ConnectionRefused)),
            (Kind::ConnectionReset, Some(FailureClass::ConnectionClosed)),
            (Kind::BrokenPipe, Some(FailureClass::ConnectionClosed)),
            (Kind::UnexpectedEof, Some(FailureClass::ConnectionClosed)),
            (Kind::TimedOut, Some(FailureClass::TimedOut)),
            (Kind::HostUnreachable, Some(FailureClass::NetworkUnreachable)),
            (Kind::NetworkUnreachable, Some(FailureClass::NetworkUnreachable)),
            (Kind::InvalidData, None),
            (Kind::Other, None),
        ] {
            assert_eq!(class(io::Error::from(kind)), expected, "{kind}");
            assert_eq!(class(io::Error::new(kind, "hunter2")), expected, "{kind}");
        }
    }

    #[test]
    fn what_nobody_recognises_is_left_to_the_driver() {
        assert_eq!(classify(&Driver(None), ClientCertificate::Shown), None);
        let endless = (0..1000).fold(Driver(None), |inner, _| Driver(Some(Box::new(inner))));
        assert_eq!(classify(&endless, ClientCertificate::Shown), None);
    }

    #[test]
    fn no_word_of_an_error_reaches_a_message() {
        let words = || OtherError(Arc::new(Driver(None)));
        let name = rustls::pki_types::ServerName::try_from("hunter2").unwrap();
        for error in [
            rustls::Error::General("hunter2".to_owned()),
            rustls::Error::Other(words()),
            rustls::Error::InvalidCertificate(CertificateError::Other(words())),
            rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected: name,
                presented: vec!["hunter2".to_owned()],
            }),
        ] {
            let failure = classify(&wrapped(io::Error::other(error)), ClientCertificate::NotAsked).unwrap();
            assert!(!format!("{failure:?} {}", failure.message()).contains("hunter2"), "{}", failure.message());
        }
    }

    #[test]
    fn an_alert_about_a_certificate_is_about_ours_only_where_the_server_asked_for_one() {
        use AlertDescription as Alert;
        use ClientCertificate::{NoneShown, NotAsked, Shown};
        use FailureClass::{ClientCertificateRequired as Required, TlsFailed};
        for (alert, seen, expected) in [
            (Alert::CertificateRequired, NotAsked, Required),
            (Alert::CertificateRequired, NoneShown, Required),
            (Alert::BadCertificate, NotAsked, TlsFailed),
            (Alert::BadCertificate, NoneShown, Required),
            (Alert::UnknownCA, Shown, Required),
            (Alert::CertificateExpired, Shown, Required),
            (Alert::HandshakeFailure, NotAsked, TlsFailed),
            (Alert::HandshakeFailure, NoneShown, Required),
            (Alert::HandshakeFailure, Shown, TlsFailed),
            (Alert::ProtocolVersion, NoneShown, TlsFailed),
            (Alert::InternalError, Shown, TlsFailed),
        ] {
            let failure = classify(&rustls::Error::AlertReceived(alert), seen).unwrap();
            assert_eq!(failure.class(), expected, "{alert:?} {seen:?}");
            assert!(failure.message().contains(&u8::from(alert).to_string()), "{}", failure.message());
        }
    }

    #[test]
    fn of_several_addresses_the_one_that_answered_is_told_about() {
        let raw = |number| Miss::of(&io::Error::from_raw_os_error(number));
        let (refused, unreachable, forbidden, timed_out, full) = (raw(111), raw(113), raw(1), raw(110), raw(24));
        assert_eq!([unreachable, timed_out, refused].into_iter().min(), Some(refused));
        assert_eq!([unreachable, timed_out, full].into_iter().min(), Some(timed_out));
        assert_eq!(full.failure().class(), FailureClass::Internal);
        assert_eq!(forbidden.failure().class(), FailureClass::NetworkUnreachable);
        for number in [99, 101, 113, 97, 22] {
            assert_eq!(raw(number).failure().class(), FailureClass::NetworkUnreachable, "errno {number}");
        }
    }
}

//! The one table: what a class of failure means, where it belongs, and how it is said.

use super::{Reason, Stage, Status};

/// Everything that can go wrong while a connection is resolved or probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`FailureClass::row` says what each one means, in its sentence")]
pub enum FailureClass {
    SecretNotFound,
    SecretKeyMissing,
    SecretNotReadable,
    CredentialsMalformed,
    AddressNotAllowed,
    TooManyTargets,
    TooManyLookups,
    NameResolutionFailed,
    ConnectionRefused,
    ConnectionClosed,
    NetworkUnreachable,
    TimedOut,
    CertificateUntrusted,
    CertificateNameMismatch,
    CertificateExpired,
    TlsNotOffered,
    TlsFailed,
    ProtocolMismatch,
    AnswerTooLarge,
    ServerUnavailable,
    Throttled,
    WrongCredentials,
    CredentialsExpired,
    AccountLocked,
    AuthenticationMethodNotSupported,
    SourceNotAllowed,
    ClientCertificateRequired,
    EncryptionRequired,
    UnverifiedPeer,
    ClockSkewed,
    TargetNotFound,
    PermissionDenied,
    TargetNotFoundOrNotPermitted,
    TargetUnavailable,
    WrongRegion,
    NotProvable,
    ChildFailed,
    Internal,
}

/// One line of the table: where a class of failure belongs and how it is said.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The stage it belongs to; `None`: the stage in progress.
    pub stage: Option<Stage>,
    /// The status of that stage.
    pub status: Status,
    /// The reason of that stage.
    pub reason: Reason,
    /// The sentence; `{}` stands for what the failure is about.
    pub sentence: &'static str,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 38] = [
        Self::SecretNotFound,
        Self::SecretKeyMissing,
        Self::SecretNotReadable,
        Self::CredentialsMalformed,
        Self::AddressNotAllowed,
        Self::TooManyTargets,
        Self::TooManyLookups,
        Self::NameResolutionFailed,
        Self::ConnectionRefused,
        Self::ConnectionClosed,
        Self::NetworkUnreachable,
        Self::TimedOut,
        Self::CertificateUntrusted,
        Self::CertificateNameMismatch,
        Self::CertificateExpired,
        Self::TlsNotOffered,
        Self::TlsFailed,
        Self::ProtocolMismatch,
        Self::AnswerTooLarge,
        Self::ServerUnavailable,
        Self::Throttled,
        Self::WrongCredentials,
        Self::CredentialsExpired,
        Self::AccountLocked,
        Self::AuthenticationMethodNotSupported,
        Self::SourceNotAllowed,
        Self::ClientCertificateRequired,
        Self::EncryptionRequired,
        Self::UnverifiedPeer,
        Self::ClockSkewed,
        Self::TargetNotFound,
        Self::PermissionDenied,
        Self::TargetNotFoundOrNotPermitted,
        Self::TargetUnavailable,
        Self::WrongRegion,
        Self::NotProvable,
        Self::ChildFailed,
        Self::Internal,
    ];

    /// The one table.
    pub const fn row(self) -> Row {
        use Stage::{Access, Authenticate, Reach, Resolve};
        use Status::{False, Unknown};
        const fn row(stage: Option<Stage>, status: Status, reason: Reason, sentence: &'static str) -> Row {
            Row { stage, status, reason, sentence }
        }
        match self {
            Self::SecretNotFound => row(Some(Resolve), False, Reason::SecretNotFound, "{} does not exist"),
            Self::SecretKeyMissing => row(Some(Resolve), False, Reason::SecretKeyMissing, "{} lacks a key"),
            Self::SecretNotReadable => {
                row(Some(Resolve), Unknown, Reason::SecretNotReadable, "{} cannot be read by the operator")
            }
            Self::CredentialsMalformed => {
                row(Some(Resolve), False, Reason::CredentialsMalformed, "{} holds something that cannot be used")
            }
            Self::AddressNotAllowed => {
                row(Some(Reach), False, Reason::AddressNotAllowed, "the egress policy forbids the address of {}")
            }
            Self::TooManyTargets => row(
                Some(Reach),
                Unknown,
                Reason::Throttled,
                "{} was not dialled: the namespace has dialled too many new addresses in the last minute",
            ),
            Self::TooManyLookups => row(
                Some(Reach),
                Unknown,
                Reason::Throttled,
                "{} was not dialled: too many names wait for name servers that do not answer",
            ),
            Self::NameResolutionFailed => {
                row(Some(Reach), False, Reason::NameResolutionFailed, "the host name of {} does not resolve")
            }
            Self::ConnectionRefused => row(Some(Reach), False, Reason::ConnectionRefused, "{} refuses connections"),
            Self::ConnectionClosed => row(None, False, Reason::ConnectionClosed, "{} closed the connection"),
            Self::NetworkUnreachable => row(Some(Reach), False, Reason::NetworkUnreachable, "there is no route to {}"),
            Self::TimedOut => row(None, False, Reason::TimedOut, "{} did not answer in time"),
            Self::CertificateUntrusted => row(
                Some(Reach),
                False,
                Reason::CertificateUntrusted,
                "the certificate of {} is not signed by a trusted CA",
            ),
            Self::CertificateNameMismatch => {
                row(Some(Reach), False, Reason::CertificateNameMismatch, "the certificate of {} is for another name")
            }
            Self::CertificateExpired => {
                row(Some(Reach), False, Reason::CertificateExpired, "the certificate of {} is expired or not valid yet")
            }
            Self::TlsNotOffered => row(Some(Reach), False, Reason::TLSNotOffered, "{} does not offer TLS"),
            Self::TlsFailed => row(Some(Reach), False, Reason::TLSFailed, "the TLS handshake with {} failed"),
            Self::ProtocolMismatch => {
                row(Some(Reach), False, Reason::ProtocolMismatch, "{} does not speak the expected protocol")
            }
            Self::AnswerTooLarge => row(
                Some(Reach),
                False,
                Reason::ProtocolMismatch,
                "{} sends more than a probe accepts, so it does not speak the expected protocol",
            ),
            Self::ServerUnavailable => {
                row(None, False, Reason::ServerUnavailable, "{} answers that it cannot serve now")
            }
            Self::Throttled => row(None, Unknown, Reason::Throttled, "{} asks to slow down"),
            Self::WrongCredentials => {
                row(Some(Authenticate), False, Reason::AuthenticationFailed, "{} rejects the credentials")
            }
            Self::CredentialsExpired => {
                row(Some(Authenticate), False, Reason::CredentialsExpired, "{} says that the credentials have expired")
            }
            Self::AccountLocked => {
                row(Some(Authenticate), False, Reason::AccountLocked, "{} says that the account is locked")
            }
            Self::AuthenticationMethodNotSupported => row(
                Some(Authenticate),
                False,
                Reason::AuthenticationMethodNotSupported,
                "{} asks for a way to log in that cannot be used here",
            ),
            Self::SourceNotAllowed => row(
                Some(Authenticate),
                False,
                Reason::SourceNotAllowed,
                "{} does not let this user in from the operator's address",
            ),
            Self::ClientCertificateRequired => row(
                Some(Authenticate),
                False,
                Reason::ClientCertificateRequired,
                "{} asks for a valid client certificate",
            ),
            Self::EncryptionRequired => {
                row(Some(Authenticate), False, Reason::EncryptionRequired, "{} requires an encrypted connection")
            }
            Self::UnverifiedPeer => row(
                Some(Authenticate),
                False,
                Reason::EncryptionRequired,
                "{} asks for the password in a form that is sent to a verified server only",
            ),
            Self::ClockSkewed => row(
                Some(Authenticate),
                Unknown,
                Reason::ClockSkewed,
                "the clocks of the operator and of {} differ too much",
            ),
            Self::TargetNotFound => row(Some(Access), False, Reason::TargetNotFound, "{} does not exist"),
            Self::PermissionDenied => row(Some(Access), False, Reason::PermissionDenied, "not permitted on {}"),
            Self::TargetNotFoundOrNotPermitted => row(
                Some(Access),
                False,
                Reason::TargetNotFoundOrNotPermitted,
                "{} does not exist or may not be seen with these credentials",
            ),
            Self::TargetUnavailable => {
                row(Some(Access), False, Reason::TargetUnavailable, "{} exists and cannot be used now")
            }
            Self::WrongRegion => row(Some(Access), False, Reason::WrongRegion, "{} is in another region"),
            Self::NotProvable => row(
                Some(Access),
                Unknown,
                Reason::PermissionNotProvable,
                "a permission on {} cannot be proven without using it",
            ),
            Self::ChildFailed => {
                row(None, Unknown, Reason::InternalError, "the process of the operator that looks at {} gave no answer")
            }
            Self::Internal => {
                row(None, Unknown, Reason::InternalError, "the probe of {} failed inside the operator; this is a bug")
            }
        }
    }
}

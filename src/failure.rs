//! What can be found out about a connection, and in which words it is said: stages, reasons, failure classes, reports.
//!
//! [`Reason`] holds every reason a condition can carry; [`FailureClass::row`] is the one table that says what a failure
//! means. A message is made of our own sentences and of typed, checked [`Part`]s: nothing here is ever built from a
//! peer's or a driver's text. This file decides nothing about time and does no I/O.

use std::{fmt, panic::Location, time::Duration};

/// Longest message of a condition, in characters.
pub const MESSAGE_LIMIT: usize = 512;

/// The four steps of every probe, in order. Each one is a condition of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Secrets, CA and settings were read and make sense (`CredentialsResolved`).
    Resolve,
    /// Policy, DNS, TCP and TLS, up to the first well-formed answer of the protocol (`Reachable`).
    Reach,
    /// The server accepts who we say we are (`Authenticated`).
    Authenticate,
    /// The named target exists and the asked permissions are there (`Accessible`).
    Access,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 4] = [Self::Resolve, Self::Reach, Self::Authenticate, Self::Access];

    /// The stage's name as metrics and logs say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "Resolve",
            Self::Reach => "Reach",
            Self::Authenticate => "Authenticate",
            Self::Access => "Access",
        }
    }
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It was not looked at, or the look gave no answer.
    Unknown,
}

impl Status {
    /// The word stored in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a reason means for the future of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outlook {
    /// Nothing is wrong.
    Good,
    /// It may pass by itself: counts towards `failureThreshold`, `Reconciling/ProgressingWithRetry`.
    Transient,
    /// It counts at once, and may be cured by something that arrives later: `Reconciling/ProgressingWithRetry`.
    Arrives,
    /// It counts at once, and nothing changes until someone acts: `Stalled`.
    Terminal,
    /// Neither a success nor a failure: it shows only where Ready is not True.
    Neutral,
    /// An answer that is neither yes nor no: it shows, with neither `Reconciling` nor `Stalled`.
    Answer,
    /// Not looked at yet, or no longer: `Reconciling/Progressing`.
    Waiting,
    /// Not looked at, on purpose, or a statement that is neither good nor bad.
    Still,
}

/// Every reason that a condition of a Connection can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`Reason::meaning` documents each one, and docs/conditions.md is made from it")]
pub enum Reason {
    Succeeded,
    InvalidConfiguration,
    Pending,
    Suspended,
    ProbeStale,
    Resolved,
    NotRequired,
    SecretNotFound,
    SecretKeyMissing,
    CredentialsMalformed,
    SecretNotReadable,
    NotChecked,
    InternalError,
    Connected,
    AddressNotAllowed,
    NameResolutionFailed,
    ConnectionRefused,
    ConnectionClosed,
    NetworkUnreachable,
    TimedOut,
    CertificateUntrusted,
    CertificateNameMismatch,
    CertificateExpired,
    TLSNotOffered,
    TLSFailed,
    ProtocolMismatch,
    ServerUnavailable,
    Throttled,
    CredentialsAccepted,
    AuthenticationFailed,
    CredentialsExpired,
    AccountLocked,
    AuthenticationMethodNotSupported,
    SourceNotAllowed,
    ClientCertificateRequired,
    EncryptionRequired,
    ClockSkewed,
    Verified,
    TargetNotFound,
    PermissionDenied,
    TargetNotFoundOrNotPermitted,
    TargetUnavailable,
    WrongRegion,
    PermissionNotProvable,
    Referenced,
    NotReferenced,
    UsageUnknown,
    Progressing,
    ProgressingWithRetry,
    InUse,
    Releasing,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 51] = [
        Self::Succeeded,
        Self::InvalidConfiguration,
        Self::Pending,
        Self::Suspended,
        Self::ProbeStale,
        Self::Resolved,
        Self::NotRequired,
        Self::SecretNotFound,
        Self::SecretKeyMissing,
        Self::CredentialsMalformed,
        Self::SecretNotReadable,
        Self::NotChecked,
        Self::InternalError,
        Self::Connected,
        Self::AddressNotAllowed,
        Self::NameResolutionFailed,
        Self::ConnectionRefused,
        Self::ConnectionClosed,
        Self::NetworkUnreachable,
        Self::TimedOut,
        Self::CertificateUntrusted,
        Self::CertificateNameMismatch,
        Self::CertificateExpired,
        Self::TLSNotOffered,
        Self::TLSFailed,
        Self::ProtocolMismatch,
        Self::ServerUnavailable,
        Self::Throttled,
        Self::CredentialsAccepted,
        Self::AuthenticationFailed,
        Self::CredentialsExpired,
        Self::AccountLocked,
        Self::AuthenticationMethodNotSupported,
        Self::SourceNotAllowed,
        Self::ClientCertificateRequired,
        Self::EncryptionRequired,
        Self::ClockSkewed,
        Self::Verified,
        Self::TargetNotFound,
        Self::PermissionDenied,
        Self::TargetNotFoundOrNotPermitted,
        Self::TargetUnavailable,
        Self::WrongRegion,
        Self::PermissionNotProvable,
        Self::Referenced,
        Self::NotReferenced,
        Self::UsageUnknown,
        Self::Progressing,
        Self::ProgressingWithRetry,
        Self::InUse,
        Self::Releasing,
    ];

    /// The word stored in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::InvalidConfiguration => "InvalidConfiguration",
            Self::Pending => "Pending",
            Self::Suspended => "Suspended",
            Self::ProbeStale => "ProbeStale",
            Self::Resolved => "Resolved",
            Self::NotRequired => "NotRequired",
            Self::SecretNotFound => "SecretNotFound",
            Self::SecretKeyMissing => "SecretKeyMissing",
            Self::CredentialsMalformed => "CredentialsMalformed",
            Self::SecretNotReadable => "SecretNotReadable",
            Self::NotChecked => "NotChecked",
            Self::InternalError => "InternalError",
            Self::Connected => "Connected",
            Self::AddressNotAllowed => "AddressNotAllowed",
            Self::NameResolutionFailed => "NameResolutionFailed",
            Self::ConnectionRefused => "ConnectionRefused",
            Self::ConnectionClosed => "ConnectionClosed",
            Self::NetworkUnreachable => "NetworkUnreachable",
            Self::TimedOut => "TimedOut",
            Self::CertificateUntrusted => "CertificateUntrusted",
            Self::CertificateNameMismatch => "CertificateNameMismatch",
            Self::CertificateExpired => "CertificateExpired",
            Self::TLSNotOffered => "TLSNotOffered",
            Self::TLSFailed => "TLSFailed",
            Self::ProtocolMismatch => "ProtocolMismatch",
            Self::ServerUnavailable => "ServerUnavailable",
            Self::Throttled => "Throttled",
            Self::CredentialsAccepted => "CredentialsAccepted",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::CredentialsExpired => "CredentialsExpired",
            Self::AccountLocked => "AccountLocked",
            Self::AuthenticationMethodNotSupported => "AuthenticationMethodNotSupported",
            Self::SourceNotAllowed => "SourceNotAllowed",
            Self::ClientCertificateRequired => "ClientCertificateRequired",
            Self::EncryptionRequired => "EncryptionRequired",
            Self::ClockSkewed => "ClockSkewed",
            Self::Verified => "Verified",
            Self::TargetNotFound => "TargetNotFound",
            Self::PermissionDenied => "PermissionDenied",
            Self::TargetNotFoundOrNotPermitted => "TargetNotFoundOrNotPermitted",
            Self::TargetUnavailable => "TargetUnavailable",
            Self::WrongRegion => "WrongRegion",
            Self::PermissionNotProvable => "PermissionNotProvable",
            Self::Referenced => "Referenced",
            Self::NotReferenced => "NotReferenced",
            Self::UsageUnknown => "UsageUnknown",
            Self::Progressing => "Progressing",
            Self::ProgressingWithRetry => "ProgressingWithRetry",
            Self::InUse => "InUse",
            Self::Releasing => "Releasing",
        }
    }

    /// What the reason says, as one sentence for the documentation.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Succeeded => "Every stage passed at the newest probe that counts.",
            Self::InvalidConfiguration => "The spec contradicts itself or cannot be read; nothing was tried.",
            Self::Pending => "The first probe of this target has not ended yet.",
            Self::Suspended => "`spec.suspend` is true: nothing is probed.",
            Self::ProbeStale => {
                "The last green is older than three intervals plus the timeout, so it no longer counts."
            }
            Self::Resolved => "Every named Secret and ConfigMap was read and holds what the type needs.",
            Self::NotRequired => "This connection is used without credentials.",
            Self::SecretNotFound => "A named Secret or ConfigMap does not exist.",
            Self::SecretKeyMissing => "A named Secret or ConfigMap exists and lacks a key that is needed.",
            Self::CredentialsMalformed => "A named Secret or ConfigMap holds something that cannot be used.",
            Self::SecretNotReadable => "The operator may not read a named Secret or ConfigMap.",
            Self::NotChecked => "An earlier stage did not pass, so this one was not looked at.",
            Self::InternalError => "The operator failed, not the connection; this is a bug.",
            Self::Connected => "The server answered in its protocol.",
            Self::AddressNotAllowed => "The egress policy forbids the address the host resolves to.",
            Self::NameResolutionFailed => "The host name does not resolve.",
            Self::ConnectionRefused => "Nothing listens at the port.",
            Self::ConnectionClosed => "The server accepted the connection and closed it.",
            Self::NetworkUnreachable => "There is no route to the address.",
            Self::TimedOut => "The server did not answer in time.",
            Self::CertificateUntrusted => "The server's certificate is not signed by a trusted CA.",
            Self::CertificateNameMismatch => "The server's certificate is for another name.",
            Self::CertificateExpired => "The server's certificate is outside its validity.",
            Self::TLSNotOffered => "The server does not speak TLS at this port.",
            Self::TLSFailed => "The TLS handshake failed for another reason.",
            Self::ProtocolMismatch => "What answers does not speak this type's protocol.",
            Self::ServerUnavailable => "The server answers that it cannot serve now.",
            Self::Throttled => "The server, or the operator's own limit, asks to slow down.",
            Self::CredentialsAccepted => "The server accepted the credentials.",
            Self::AuthenticationFailed => "The server rejects the credentials.",
            Self::CredentialsExpired => "The credentials were valid once and have expired.",
            Self::AccountLocked => "The account is locked.",
            Self::AuthenticationMethodNotSupported => "The server asks for a way to log in that cannot be used.",
            Self::SourceNotAllowed => "The server does not accept this user from where the operator runs.",
            Self::ClientCertificateRequired => "The server asks for a client certificate.",
            Self::EncryptionRequired => "The login needs an encrypted, verified connection, and it is not one.",
            Self::ClockSkewed => "The clocks of the operator and the service differ too much to sign a request.",
            Self::Verified => "The named target exists and every asked permission is there.",
            Self::TargetNotFound => "The named target does not exist.",
            Self::PermissionDenied => "The target exists and an asked permission is missing.",
            Self::TargetNotFoundOrNotPermitted => {
                "The target does not exist or may not be seen; the system does not tell."
            }
            Self::TargetUnavailable => "The target exists and cannot be used now.",
            Self::WrongRegion => "The target is in another region.",
            Self::PermissionNotProvable => "A permission cannot be proven without writing, so it was not.",
            Self::Referenced => "At least one object uses the connection.",
            Self::NotReferenced => "No object uses the connection.",
            Self::UsageUnknown => "A kind that can use connections could not be listed.",
            Self::Progressing => "The first look at this target is under way.",
            Self::ProgressingWithRetry => "The connection does not work, and is tried again by itself.",
            Self::InUse => "The object is being deleted and is held while others use it.",
            Self::Releasing => "The object is being deleted and could not be released yet; it is tried again.",
        }
    }

    /// What someone who reads the reason can do about it; empty where there is nothing to do.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Succeeded
            | Self::Pending
            | Self::Resolved
            | Self::NotRequired
            | Self::NotChecked
            | Self::Connected
            | Self::CredentialsAccepted
            | Self::Verified
            | Self::Referenced
            | Self::NotReferenced
            | Self::Progressing
            | Self::ProgressingWithRetry => "",
            Self::InvalidConfiguration => "correct the spec",
            Self::Suspended => "set spec.suspend to false to probe again",
            Self::ProbeStale => "look at the operator's logs: its probes do not end",
            Self::SecretNotFound => "create it in the Connection's namespace or correct the name",
            Self::SecretKeyMissing => "add the key, or name the one that holds it in spec.credentials.keys",
            Self::CredentialsMalformed => "correct what it holds",
            Self::SecretNotReadable => "give the operator's service account the right to get it",
            Self::InternalError => "look at the operator's logs and report it",
            Self::AddressNotAllowed => "use another host, or have the address allowed with --egress-allow",
            Self::NameResolutionFailed => "check the host name and the cluster's DNS",
            Self::ConnectionRefused => "check the port and whether the server runs",
            Self::ConnectionClosed => "check the server's log, and proxies and firewalls on the way",
            Self::NetworkUnreachable => "check routes and network policies",
            Self::TimedOut => "check that the server runs and that no firewall or network policy drops packets",
            Self::CertificateUntrusted => "name the CA that signed it in spec.tls.ca",
            Self::CertificateNameMismatch => "correct the host, or name the certificate's name in spec.tls.serverName",
            Self::CertificateExpired => "renew the server's certificate",
            Self::TLSNotOffered => "switch TLS on at the server, or set spec.tls.mode to Disable if that is acceptable",
            Self::TLSFailed => "check the TLS versions and settings of the server",
            Self::ProtocolMismatch => "check host and port: another kind of server may be listening",
            Self::ServerUnavailable => "check the server's load and log",
            Self::Throttled => "raise spec.probe.interval or the limit",
            Self::AuthenticationFailed => "correct the Secret; it is tried again as soon as its values change",
            Self::CredentialsExpired => "renew the credentials",
            Self::AccountLocked => {
                "unlock the account, then request a probe with the annotation connectivity.dev/requested-at"
            }
            Self::AuthenticationMethodNotSupported => "configure a supported method for this user at the server",
            Self::SourceNotAllowed => "allow this user from the operator's network at the server",
            Self::ClientCertificateRequired => "name a client certificate in spec.tls.clientCertificateSecretRef",
            Self::EncryptionRequired => "set spec.tls.mode to VerifyFull",
            Self::ClockSkewed => "synchronise the node's clock",
            Self::TargetNotFound => "create it or correct the name",
            Self::PermissionDenied => "grant the permission at the server",
            Self::TargetNotFoundOrNotPermitted => "create it, correct the name or grant the permission",
            Self::TargetUnavailable => "wait, or look at the target in its own console",
            Self::WrongRegion => "correct the region",
            Self::PermissionNotProvable => "leave the permission out of spec.permissions to have a green without it",
            Self::UsageUnknown => "give the operator's service account the right to list the kind",
            Self::InUse => "remove the users, or set the annotation connectivity.dev/force-delete to \"true\"",
            Self::Releasing => "look at the operator's logs",
        }
    }

    /// What the reason means for the future of the verdict.
    pub const fn outlook(self) -> Outlook {
        match self {
            Self::Succeeded
            | Self::Resolved
            | Self::NotRequired
            | Self::Connected
            | Self::CredentialsAccepted
            | Self::Verified => Outlook::Good,
            Self::NameResolutionFailed
            | Self::ConnectionRefused
            | Self::ConnectionClosed
            | Self::NetworkUnreachable
            | Self::TimedOut
            | Self::TLSFailed
            | Self::ProtocolMismatch
            | Self::ServerUnavailable
            | Self::TargetUnavailable => Outlook::Transient,
            Self::SecretNotFound | Self::SecretKeyMissing | Self::SecretNotReadable | Self::TargetNotFound => {
                Outlook::Arrives
            }
            Self::Throttled | Self::ClockSkewed | Self::InternalError => Outlook::Neutral,
            Self::PermissionNotProvable => Outlook::Answer,
            Self::Pending | Self::ProbeStale => Outlook::Waiting,
            Self::Suspended
            | Self::NotChecked
            | Self::Referenced
            | Self::NotReferenced
            | Self::UsageUnknown
            | Self::Progressing
            | Self::ProgressingWithRetry
            | Self::InUse
            | Self::Releasing => Outlook::Still,
            Self::InvalidConfiguration
            | Self::CredentialsMalformed
            | Self::AddressNotAllowed
            | Self::CertificateUntrusted
            | Self::CertificateNameMismatch
            | Self::CertificateExpired
            | Self::TLSNotOffered
            | Self::AuthenticationFailed
            | Self::CredentialsExpired
            | Self::AccountLocked
            | Self::AuthenticationMethodNotSupported
            | Self::SourceNotAllowed
            | Self::ClientCertificateRequired
            | Self::EncryptionRequired
            | Self::PermissionDenied
            | Self::TargetNotFoundOrNotPermitted
            | Self::WrongRegion => Outlook::Terminal,
        }
    }

    /// The status of a Ready condition with this reason.
    pub const fn ready(self) -> Status {
        match self.outlook() {
            Outlook::Good => Status::True,
            Outlook::Neutral | Outlook::Answer | Outlook::Waiting | Outlook::Still => Status::Unknown,
            Outlook::Arrives if matches!(self, Self::SecretNotReadable) => Status::Unknown,
            Outlook::Transient | Outlook::Arrives | Outlook::Terminal => Status::False,
        }
    }

    /// Whether the reason says that the server rejected the credentials, so that trying again may lock an account.
    pub const fn is_rejection(self) -> bool {
        matches!(self, Self::AuthenticationFailed | Self::AccountLocked | Self::CredentialsExpired)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    pub const ALL: [Self; 36] = [
        Self::SecretNotFound,
        Self::SecretKeyMissing,
        Self::SecretNotReadable,
        Self::CredentialsMalformed,
        Self::AddressNotAllowed,
        Self::TooManyTargets,
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
                "a permission on {} cannot be proven without writing",
            ),
            Self::Internal => {
                row(None, Unknown, Reason::InternalError, "the probe of {} failed inside the operator; this is a bug")
            }
        }
    }
}

/// A value of the spec as a message may show it: it holds no secret, no control character, and at most 160 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Setting(String);

impl Setting {
    /// Longest setting in a message, in characters.
    const LIMIT: usize = 160;

    /// Takes a value that stands in a Connection's spec or name. Never call it with anything from a Secret or a peer.
    pub fn from_spec(value: impl AsRef<str>) -> Self {
        Self(shorten(value.as_ref(), Self::LIMIT))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A code of a peer, as a message may show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A number, such as an HTTP status or an error number.
    Number(i64),
    /// A SQLSTATE: five capital letters or digits.
    SqlState([u8; 5]),
    /// A word of a known list.
    Known(&'static str),
}

impl Code {
    /// Takes a code that a peer sent, if it is one of the words in `table`; else says that it is not listed.
    pub fn known(table: &'static [&'static str], seen: &str) -> Self {
        Self::Known(table.iter().find(|known| **known == seen).copied().unwrap_or("unlisted code"))
    }

    /// Takes a SQLSTATE that a peer sent, if it has the form of one.
    pub fn sql_state(seen: &str) -> Self {
        match <[u8; 5]>::try_from(seen.as_bytes()) {
            Ok(bytes) if bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) => Self::SqlState(bytes),
            _ => Self::Known("unlisted code"),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::SqlState(bytes) => bytes.iter().try_for_each(|b| write!(f, "{}", *b as char)),
            Self::Known(word) => f.write_str(word),
        }
    }
}

/// All that a message may hold beside our own sentences.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A value of the spec.
    Setting(Setting),
    /// A code of a peer.
    Code(Code),
    /// Our own words, or a canonical name such as a Secret key or a permission.
    Word(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(setting) => setting.fmt(f),
            Self::Code(code) => code.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// One thing that went wrong: its class, what it is about, and typed details.
#[derive(Clone, Debug)]
pub struct Failure {
    class: FailureClass,
    about: Option<Setting>,
    details: Vec<Part>,
    advice: Option<&'static str>,
    raised: &'static Location<'static>,
}

impl Failure {
    /// A failure of `class`, raised where this is called.
    #[track_caller]
    pub fn new(class: FailureClass) -> Self {
        Self { class, about: None, details: Vec::new(), advice: None, raised: Location::caller() }
    }

    /// Says what the failure is about (`{}` in the sentence); without it the sentence says "the server".
    #[must_use]
    pub fn about(mut self, about: Setting) -> Self {
        self.about = Some(about);
        self
    }

    /// As [`Failure::about`], where nothing was said yet.
    #[must_use]
    pub fn about_at_least(mut self, about: &Setting) -> Self {
        self.about.get_or_insert_with(|| about.clone());
        self
    }

    /// Adds a code of the peer.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.details.push(Part::Code(code));
        self
    }

    /// Adds our own words, or a canonical name such as a Secret key or a permission.
    #[must_use]
    pub fn word(mut self, word: &'static str) -> Self {
        self.details.push(Part::Word(word));
        self
    }

    /// Adds a value of the spec.
    #[must_use]
    pub fn setting(mut self, setting: Setting) -> Self {
        self.details.push(Part::Setting(setting));
        self
    }

    /// Replaces the reason's hint by a better one for this case.
    #[must_use]
    pub fn advice(mut self, advice: &'static str) -> Self {
        self.advice = Some(advice);
        self
    }

    /// The class.
    pub const fn class(&self) -> FailureClass {
        self.class
    }

    /// The reason, from the table.
    pub const fn reason(&self) -> Reason {
        self.class.row().reason
    }

    /// Where in our code it was raised; for logs.
    pub const fn raised(&self) -> &'static Location<'static> {
        self.raised
    }

    /// The message of the condition: a sentence, details in brackets, a hint. At most [`MESSAGE_LIMIT`] characters, and the
    /// same for the same cause.
    pub fn message(&self) -> String {
        use std::fmt::Write as _;
        let about = self.about.as_ref().map_or("the server", |s| s.0.as_str());
        let mut text = self.class.row().sentence.replacen("{}", about, 1);
        for (n, part) in self.details.iter().enumerate() {
            let _ = write!(text, "{}{part}", if n == 0 { " (" } else { ", " });
        }
        if !self.details.is_empty() {
            text.push(')');
        }
        let hint = self.advice.unwrap_or_else(|| self.reason().hint());
        if !hint.is_empty() {
            let _ = write!(text, ": {hint}");
        }
        shorten(&text, MESSAGE_LIMIT)
    }
}

impl PartialEq for Failure {
    /// Two failures are equal when they read the same; where they were raised does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.class == other.class
            && self.about == other.about
            && self.details == other.details
            && self.advice == other.advice
    }
}

impl Eq for Failure {}

/// What a probe that passed has proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// What was not proven although it may matter; said in the `Verified` message only. A permission that was asked for and
    /// cannot be proven is [`FailureClass::NotProvable`] instead.
    pub unproven: &'static [&'static str],
    /// Nobody was authenticated, since this connection is used without credentials.
    pub anonymous: bool,
}

/// What one probe found. At most one stage is other than passed: those before it passed, those after it were not checked.
/// No other report can be written.
#[derive(Clone, Debug)]
pub struct Report {
    end: Result<Proof, (Stage, Failure)>,
    steps: Vec<(Stage, Duration)>,
}

impl PartialEq for Report {
    /// Two reports are equal when they say the same; how long the stages took does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.end == other.end
    }
}

impl Eq for Report {}

/// What a report says about one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding<'a> {
    /// The stage passed.
    Passed,
    /// The stage did not pass.
    Failed(&'a Failure),
    /// The stage was not looked at.
    NotChecked,
}

impl Report {
    /// The report of a probe that passed; `steps` are the stages it went through and how long each took.
    pub const fn passed(proof: Proof, steps: Vec<(Stage, Duration)>) -> Self {
        Self { end: Ok(proof), steps }
    }

    /// The report of a probe that ended while `current` was in progress. The class of the failure may name another stage.
    pub fn failed(current: Stage, failure: Failure, steps: Vec<(Stage, Duration)>) -> Self {
        let stage = failure.class.row().stage.unwrap_or(current);
        // Before anything was dialled no peer can be blamed: a deadline there is ours.
        let ours = stage == Stage::Resolve && failure.class.row().stage.is_none();
        let failure = if ours { Failure { class: FailureClass::Internal, ..failure } } else { failure };
        Self { end: Err((stage, failure)), steps }
    }

    /// What it says about `stage`.
    pub fn at(&self, stage: Stage) -> Finding<'_> {
        match &self.end {
            Ok(_) => Finding::Passed,
            Err((failed, _)) if stage < *failed => Finding::Passed,
            Err((failed, failure)) if stage == *failed => Finding::Failed(failure),
            Err(_) => Finding::NotChecked,
        }
    }

    /// The stage that did not pass and why; `None` where all passed.
    pub fn failure(&self) -> Option<(Stage, &Failure)> {
        self.end.as_ref().err().map(|(stage, failure)| (*stage, failure))
    }

    /// What was proven; `None` where a stage did not pass.
    pub fn proof(&self) -> Option<&Proof> {
        self.end.as_ref().ok()
    }

    /// The stages in the order they were entered, and how long each took.
    pub fn steps(&self) -> &[(Stage, Duration)] {
        &self.steps
    }

    /// Whether the credentials were accepted by the server.
    pub fn authenticated(&self) -> bool {
        matches!(self.at(Stage::Authenticate), Finding::Passed) && !self.proof().is_some_and(|p| p.anonymous)
    }
}

/// Cuts `text` to `limit` characters with `…`, and replaces control characters.
pub fn shorten(text: &str, limit: usize) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    if text.chars().count() <= limit {
        return text.chars().map(clean).collect();
    }
    text.chars().take(limit - 1).map(clean).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_after_a_failed_one_is_not_checked() {
        for failed in Stage::ALL {
            let report = Report::failed(failed, Failure::new(FailureClass::ConnectionClosed), Vec::new());
            for stage in Stage::ALL {
                match stage.cmp(&failed) {
                    std::cmp::Ordering::Less => assert_eq!(report.at(stage), Finding::Passed),
                    std::cmp::Ordering::Equal => assert!(matches!(report.at(stage), Finding::Failed(_))),
                    std::cmp::Ordering::Greater => assert_eq!(report.at(stage), Finding::NotChecked),
                }
            }
        }
    }

    #[test]
    fn a_deadline_before_anything_was_dialled_is_ours() {
        let report = Report::failed(Stage::Resolve, Failure::new(FailureClass::TimedOut), Vec::new());
        assert_eq!(report.failure().map(|(_, f)| f.reason()), Some(Reason::InternalError));
    }

    #[test]
    fn a_class_with_a_fixed_stage_steps_back_to_it() {
        let report = Report::failed(Stage::Access, Failure::new(FailureClass::ConnectionRefused), Vec::new());
        assert_eq!(report.failure().map(|(stage, _)| stage), Some(Stage::Reach));
        assert_eq!(report.at(Stage::Authenticate), Finding::NotChecked);
    }

    #[test]
    fn every_class_reads_as_a_sentence_with_a_hint() {
        for class in FailureClass::ALL {
            let about = Setting::from_spec("db.shop.svc:5432");
            let message = Failure::new(class).about(about).code(Code::Number(7)).message();
            assert!(message.contains("db.shop.svc:5432"), "{message}");
            assert!(message.contains("(7): "), "{message}");
            assert!(!message.contains("{}"), "{message}");
        }
    }

    #[test]
    fn every_reason_is_listed_once_and_explained() {
        for (n, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, n, "{reason} stands at another place in ALL");
            assert!(reason.meaning().ends_with('.'), "{reason}");
        }
        for (n, class) in FailureClass::ALL.iter().enumerate() {
            assert_eq!(*class as usize, n);
            let row = class.row();
            assert_eq!(row.status == Status::Unknown, {
                let neutral = matches!(row.reason.outlook(), Outlook::Neutral | Outlook::Answer);
                neutral || row.reason == Reason::SecretNotReadable
            });
        }
    }

    #[test]
    fn a_message_is_cut_and_holds_no_control_character() {
        let long = Setting::from_spec("x\n".repeat(4000));
        let message = Failure::new(FailureClass::TimedOut).about(long.clone()).setting(long).message();
        assert!(message.chars().count() <= MESSAGE_LIMIT);
        assert!(!message.chars().any(char::is_control));
    }

    #[test]
    fn a_code_that_a_peer_made_up_is_not_repeated() {
        assert_eq!(Code::sql_state("28P01").to_string(), "28P01");
        for odd in ["28p01", "hunter2", "", "2801\n"] {
            assert_eq!(Code::sql_state(odd).to_string(), "unlisted code");
        }
        assert_eq!(Code::known(&["AccessDenied"], "s3cr3t").to_string(), "unlisted code");
    }
}

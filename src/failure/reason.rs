//! Every reason that a condition can carry: its word, what it means, what to do about it, what follows from it.

use std::fmt;

use super::Status;

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
            Self::PermissionNotProvable => "A permission cannot be proven without using it, so it was not.",
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
            Self::AuthenticationFailed => "correct the Secret",
            Self::CredentialsExpired => "renew the credentials",
            Self::AccountLocked => "unlock the account",
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

//! Which conditions a Connection has, which reasons each may carry, and how a status keeps its times.
//!
//! [`ConditionType::reasons`] is the contract's table; docs/conditions.md is made from it. Nothing here decides which
//! statement is true, and `now` is passed in.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::failure::{Outlook, Reason, Stage, Status};

/// Every condition of a Connection, in the order in which a status lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The one answer: the connection works as the spec asks.
    Ready,
    /// Stage one: Secrets, CA and settings were read and make sense.
    CredentialsResolved,
    /// Stage two: the server answers in its protocol.
    Reachable,
    /// Stage three: the server accepts who we say we are.
    Authenticated,
    /// Stage four: the target exists and the asked permissions are there.
    Accessible,
    /// Something uses the connection.
    InUse,
    /// kstatus: it is not settled, and is looked at again by itself.
    Reconciling,
    /// kstatus: nothing changes until someone acts.
    Stalled,
    /// It is being deleted, and why that is not over.
    Terminating,
}

impl ConditionType {
    /// Every condition, in the order in which a status lists them.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::CredentialsResolved,
        Self::Reachable,
        Self::Authenticated,
        Self::Accessible,
        Self::InUse,
        Self::Reconciling,
        Self::Stalled,
        Self::Terminating,
    ];

    /// The word stored in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::CredentialsResolved => "CredentialsResolved",
            Self::Reachable => "Reachable",
            Self::Authenticated => "Authenticated",
            Self::Accessible => "Accessible",
            Self::InUse => "InUse",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Terminating => "Terminating",
        }
    }

    /// The condition that tells about a stage.
    pub const fn of_stage(stage: Stage) -> Self {
        match stage {
            Stage::Resolve => Self::CredentialsResolved,
            Stage::Reach => Self::Reachable,
            Stage::Authenticate => Self::Authenticated,
            Stage::Access => Self::Accessible,
        }
    }

    /// One sentence about the condition, for the documentation.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ready => "The one answer: the connection works as the spec asks.",
            Self::CredentialsResolved => "Secrets, CA and settings were read and make sense.",
            Self::Reachable => "Name, address, TCP and TLS are fine, and the server answers in its protocol.",
            Self::Authenticated => "The server accepts who the operator says it is.",
            Self::Accessible => "The named target exists, and the asked permissions are there.",
            Self::InUse => "Something in the namespace uses the connection.",
            Self::Reconciling => "The answer is not settled, and the operator looks again by itself.",
            Self::Stalled => "Nothing changes until someone acts.",
            Self::Terminating => "The Connection is being deleted; the reason says what it waits for.",
        }
    }

    /// When the condition is there.
    pub const fn presence(self) -> Presence {
        match self {
            Self::Ready
            | Self::CredentialsResolved
            | Self::Reachable
            | Self::Authenticated
            | Self::Accessible
            | Self::InUse => Presence::Always,
            Self::Reconciling | Self::Stalled => Presence::WhenTrue,
            Self::Terminating => Presence::WhileDeleting,
        }
    }

    /// The contract's table: every reason that the condition may carry with `status`.
    pub fn reasons(self, status: Status) -> Vec<Reason> {
        match self {
            Self::Ready => ready(status),
            Self::CredentialsResolved => stage(Stage::Resolve, status).to_vec(),
            Self::Reachable => stage(Stage::Reach, status).to_vec(),
            Self::Authenticated => stage(Stage::Authenticate, status).to_vec(),
            Self::Accessible => stage(Stage::Access, status).to_vec(),
            Self::InUse => vec![match status {
                Status::True => Reason::Referenced,
                Status::False => Reason::NotReferenced,
                Status::Unknown => Reason::UsageUnknown,
            }],
            Self::Reconciling | Self::Stalled | Self::Terminating if status != Status::True => Vec::new(),
            Self::Reconciling => vec![Reason::Progressing, Reason::ProgressingWithRetry],
            Self::Stalled => {
                ready(Status::False).into_iter().filter(|reason| reason.outlook() == Outlook::Terminal).collect()
            }
            Self::Terminating => vec![Reason::InUse, Reason::UsageUnknown, Reason::Releasing],
        }
    }

    /// Whether the contract lets the condition carry `reason` with `status`.
    pub fn allows(self, status: Status, reason: Reason) -> bool {
        self.reasons(status).contains(&reason)
    }
}

/// When a condition is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In every status.
    Always,
    /// Only while it is True.
    WhenTrue,
    /// Only while the Connection is being deleted.
    WhileDeleting,
}

impl Presence {
    /// The words of the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::WhenTrue => "only when True",
            Self::WhileDeleting => "only while being deleted",
        }
    }
}

/// What one condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which condition.
    pub condition: ConditionType,
    /// Whether it holds.
    pub status: Status,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence of our own words; at most 512 characters.
    pub message: String,
}

/// The conditions that say `statements` at `generation`, in the fixed order. A condition keeps its `lastTransitionTime`
/// unless its status flips; what is not stated is dropped. `now` is cut to whole seconds, as the API stores it.
pub fn merge(previous: &[Condition], statements: &[Statement], generation: i64, now: Timestamp) -> Vec<Condition> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let stated = |kind: ConditionType| statements.iter().find(|statement| statement.condition == kind);
    ConditionType::ALL
        .into_iter()
        .filter_map(stated)
        .map(|statement| {
            let name = statement.condition.as_str();
            let status = statement.status.as_str();
            let kept = previous.iter().find(|old| old.type_ == name && old.status == status);
            Condition {
                type_: name.to_owned(),
                status: status.to_owned(),
                reason: statement.reason.as_str().to_owned(),
                message: statement.message.clone(),
                last_transition_time: kept.map_or(Time(now), |old| old.last_transition_time.clone()),
                observed_generation: Some(generation),
            }
        })
        .collect()
}

/// The six conditions of an object that nobody has looked at yet: the CRD's default, so that it knows no time.
pub fn standing_default() -> Vec<Condition> {
    let stages = Stage::ALL.map(|stage| (ConditionType::of_stage(stage), Reason::NotChecked));
    let mut standing = vec![(ConditionType::Ready, Reason::Pending)];
    standing.extend(stages);
    standing[1].1 = Reason::Pending;
    standing.push((ConditionType::InUse, Reason::UsageUnknown));
    let statements: Vec<Statement> = standing
        .into_iter()
        .map(|(condition, reason)| Statement {
            condition,
            status: Status::Unknown,
            reason,
            message: "the operator has not looked at it yet".to_owned(),
        })
        .collect();
    merge(&[], &statements, 0, Timestamp::UNIX_EPOCH)
}

/// Ready carries its own reasons, and that of the first stage that did not pass.
fn ready(status: Status) -> Vec<Reason> {
    let (own, pass_on): (&[Reason], fn(&Reason) -> bool) = match status {
        Status::True => (&[Reason::Succeeded], |_| false),
        Status::False => (&[Reason::InvalidConfiguration], |_| true),
        Status::Unknown => (&[Reason::Pending, Reason::Suspended, Reason::ProbeStale], |r| *r != Reason::NotChecked),
    };
    let mut all = own.to_vec();
    for reason in Stage::ALL.into_iter().flat_map(|at| stage(at, status)).filter(|reason| pass_on(reason)) {
        if !all.contains(reason) {
            all.push(*reason);
        }
    }
    all
}

/// The reasons of the condition that tells about a stage.
const fn stage(stage: Stage, status: Status) -> &'static [Reason] {
    match (stage, status) {
        (Stage::Resolve, Status::True) => &[Reason::Resolved, Reason::NotRequired],
        (Stage::Resolve, Status::False) => {
            &[Reason::SecretNotFound, Reason::SecretKeyMissing, Reason::CredentialsMalformed]
        }
        (Stage::Resolve, Status::Unknown) => {
            &[Reason::Pending, Reason::NotChecked, Reason::SecretNotReadable, Reason::InternalError]
        }
        (Stage::Reach, Status::True) => &[Reason::Connected],
        (Stage::Reach, Status::False) => &[
            Reason::AddressNotAllowed,
            Reason::NameResolutionFailed,
            Reason::ConnectionRefused,
            Reason::ConnectionClosed,
            Reason::NetworkUnreachable,
            Reason::TimedOut,
            Reason::CertificateUntrusted,
            Reason::CertificateNameMismatch,
            Reason::CertificateExpired,
            Reason::TLSNotOffered,
            Reason::TLSFailed,
            Reason::ProtocolMismatch,
            Reason::ServerUnavailable,
        ],
        (Stage::Reach, Status::Unknown) => &[Reason::NotChecked, Reason::Throttled, Reason::InternalError],
        (Stage::Authenticate, Status::True) => &[Reason::CredentialsAccepted, Reason::NotRequired],
        (Stage::Authenticate, Status::False) => &[
            Reason::AuthenticationFailed,
            Reason::CredentialsExpired,
            Reason::AccountLocked,
            Reason::AuthenticationMethodNotSupported,
            Reason::SourceNotAllowed,
            Reason::ClientCertificateRequired,
            Reason::EncryptionRequired,
            Reason::TimedOut,
            Reason::ConnectionClosed,
            Reason::ServerUnavailable,
        ],
        (Stage::Authenticate, Status::Unknown) => {
            &[Reason::NotChecked, Reason::Throttled, Reason::ClockSkewed, Reason::InternalError]
        }
        (Stage::Access, Status::True) => &[Reason::Verified],
        (Stage::Access, Status::False) => &[
            Reason::TargetNotFound,
            Reason::PermissionDenied,
            Reason::TargetNotFoundOrNotPermitted,
            Reason::TargetUnavailable,
            Reason::WrongRegion,
            Reason::TimedOut,
            Reason::ConnectionClosed,
            Reason::ServerUnavailable,
        ],
        (Stage::Access, Status::Unknown) => {
            &[Reason::NotChecked, Reason::PermissionNotProvable, Reason::Throttled, Reason::InternalError]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureClass;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn says(condition: ConditionType, status: Status, reason: Reason) -> Statement {
        Statement { condition, status, reason, message: reason.meaning().to_owned() }
    }

    #[test]
    fn a_time_moves_only_when_the_status_flips() {
        let refused = says(ConditionType::Ready, Status::False, Reason::ConnectionRefused);
        let timed_out = says(ConditionType::Ready, Status::False, Reason::TimedOut);
        let good = says(ConditionType::Ready, Status::True, Reason::Succeeded);
        let first = merge(&[], &[refused], 1, at(10));
        let second = merge(&first, &[timed_out], 2, at(20));
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("TimedOut", Some(2)));
        assert_eq!(merge(&second, &[good], 2, at(30))[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn what_is_said_again_changes_nothing() {
        let all: Vec<_> = ConditionType::ALL
            .into_iter()
            .rev()
            .map(|kind| says(kind, Status::True, kind.reasons(Status::True)[0]))
            .collect();
        let once = merge(&[], &all, 3, at(10));
        assert_eq!(merge(&once, &all, 3, at(99)), once);
        assert!(once.iter().map(|c| c.type_.as_str()).eq(ConditionType::ALL.map(ConditionType::as_str)));
    }

    #[test]
    fn what_is_not_stated_is_dropped() {
        let stalled = merge(&[], &[says(ConditionType::Stalled, Status::True, Reason::AccountLocked)], 1, at(1));
        assert!(merge(&stalled, &[], 1, at(2)).is_empty());
    }

    #[test]
    fn a_time_survives_storage() {
        let now = Timestamp::new(10, 123_456_789).unwrap();
        let fresh = merge(&[], &[says(ConditionType::Ready, Status::True, Reason::Succeeded)], 1, now);
        let stored: Vec<Condition> = serde_json::from_value(serde_json::to_value(&fresh).unwrap()).unwrap();
        assert_eq!(stored, fresh);
        assert_eq!(serde_json::to_value(&fresh).unwrap()[0]["lastTransitionTime"], "1970-01-01T00:00:10Z");
    }

    #[test]
    fn the_standing_conditions_are_those_that_are_always_there() {
        let standing = standing_default();
        let always = ConditionType::ALL.into_iter().filter(|kind| kind.presence() == Presence::Always);
        assert!(standing.iter().map(|c| c.type_.as_str()).eq(always.map(ConditionType::as_str)));
        for (condition, kind) in standing.iter().zip(ConditionType::ALL) {
            let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == condition.reason).unwrap();
            assert!(kind.allows(Status::Unknown, reason), "{kind:?} {reason}");
            assert_eq!(condition.status, "Unknown");
        }
    }

    #[test]
    fn every_failure_has_a_place_in_the_table() {
        for class in FailureClass::ALL {
            let row = class.row();
            let stages = row.stage.map_or(Stage::ALL[1..].to_vec(), |stage| vec![stage]);
            for stage in stages {
                let condition = ConditionType::of_stage(stage);
                assert!(condition.allows(row.status, row.reason), "{condition:?} {:?} {}", row.status, row.reason);
                assert!(ConditionType::Ready.allows(row.status, row.reason), "Ready {:?} {}", row.status, row.reason);
            }
        }
    }

    #[test]
    fn every_reason_has_a_place_in_the_table() {
        for reason in Reason::ALL {
            let statuses = [Status::True, Status::False, Status::Unknown];
            let placed = ConditionType::ALL.into_iter().any(|kind| statuses.iter().any(|s| kind.allows(*s, reason)));
            assert!(placed, "{reason}");
        }
    }
}

//! What was found out → the whole status. Pure: `now` is passed in, and a time moves only when a status flips.
//!
//! The one place where stored conditions are read back is [`Picture::Remembered`]: history after a restart.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};

use crate::{
    api::{
        ConditionType, ConnectionStatus, Statement, conditions,
        status::{Binding, CredentialsStatus, USERS_LIMIT, Usage, User, Via},
    },
    connections::Permission,
    failure::{Failure, Finding, MESSAGE_LIMIT, Outlook, Proof, Reason, Report, Stage, Status, shorten},
    usage::{
        extract::Kind,
        users::{self, Users},
    },
};

use super::plan::Hold;

/// Everything that a status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The object's generation.
    pub generation: i64,
    /// The status as it is stored.
    pub stored: &'a ConnectionStatus,
    /// What is known about the connection itself.
    pub picture: Picture<'a>,
    /// Whether the connection is used with credentials.
    pub login: Login,
    /// The permissions that are asked for.
    pub permissions: &'a [Permission],
    /// The connection string, where the settings make one.
    pub connection_string: Option<String>,
    /// The Secret of the credentials, where there is one.
    pub secret: Option<&'a str>,
    /// The resourceVersion at which it was last read.
    pub observed_version: Option<&'a str>,
    /// Whether the values read then have authenticated now.
    pub proven: Proven,
    /// The request that was handled.
    pub request: Option<&'a str>,
    /// Who uses it.
    pub usage: Used<'a>,
    /// Why it is held while being deleted; `None` where it is not being deleted.
    pub held: Option<Held<'a>>,
}

/// What is known about a connection.
#[derive(Debug)]
pub enum Picture<'a> {
    /// The spec makes no sense; the sentence says why.
    Invalid(&'a str),
    /// A Secret or ConfigMap is missing or of no use.
    Refused(&'a Failure),
    /// It is not probed, on purpose.
    Suspended,
    /// No probe of this target has ended.
    Pending,
    /// What is stored is history that counts.
    Remembered,
    /// What a probe found.
    Found(&'a Report),
    /// The last green is too old.
    Stale,
}

/// Whether a connection is used with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// With credentials.
    Credentials,
    /// Without.
    Nobody,
}

/// Whether values have authenticated that had not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proven {
    /// The values that were read have, for the first time.
    Anew,
    /// What is stored about it still holds.
    AsStored,
}

/// Who uses a connection.
#[derive(Debug)]
pub enum Used<'a> {
    /// Not known yet, or not to be written yet: what is stored stays.
    AsStored,
    /// What the watches say.
    Known(&'a Users),
}

/// Why a Connection that is being deleted is still there.
#[derive(Debug)]
pub enum Held<'a> {
    /// It is not let go.
    By(&'a Hold),
    /// It was let go, and the API server did not take it.
    ReleaseFailed,
}

/// The whole status.
pub fn conclude(facts: &Facts<'_>, now: Timestamp) -> ConnectionStatus {
    let stored = facts.stored;
    let mut statements = Vec::with_capacity(8);
    let mut kept: Vec<Condition> = Vec::new();
    if matches!(facts.picture, Picture::Remembered) {
        // Only of this very target: what was found then holds for the generation of now.
        let renewed = |found: &Condition| Condition { observed_generation: Some(facts.generation), ..found.clone() };
        kept.extend(stored.conditions.iter().filter(|c| is_of_the_connection(c)).map(renewed));
    } else {
        statements = connection_statements(facts);
    }
    let usage = match facts.usage {
        Used::AsStored => {
            let in_use = ConditionType::InUse.as_str();
            let standing = conditions::standing_default();
            let found = stored.conditions.iter().chain(&standing).find(|c| c.type_ == in_use);
            kept.extend(found.cloned());
            stored.usage.clone()
        }
        Used::Known(users) => {
            statements.push(in_use(users));
            Some(usage(users))
        }
    };
    if let Some(held) = &facts.held {
        statements.push(terminating(held));
    }
    ConnectionStatus {
        observed_generation: Some(facts.generation),
        connection_string: facts.connection_string.clone(),
        conditions: combine(kept, conditions::merge(&stored.conditions, &statements, facts.generation, now)),
        credentials: credentials(facts),
        usage,
        binding: facts.secret.map(|name| Binding { name: name.to_owned() }),
        last_handled_reconcile_at: facts.request.map(str::to_owned).or(stored.last_handled_reconcile_at.clone()),
    }
}

/// Ready, the stages, Reconciling and Stalled.
fn connection_statements(facts: &Facts<'_>) -> Vec<Statement> {
    let mut statements = Vec::with_capacity(8);
    let ready = match facts.picture {
        Picture::Invalid(sentence) => {
            let message = format!("{sentence}: {}", Reason::InvalidConfiguration.hint());
            say(ConditionType::Ready, Status::False, Reason::InvalidConfiguration, &message)
        }
        Picture::Suspended => waiting(Reason::Suspended),
        Picture::Pending => waiting(Reason::Pending),
        Picture::Stale => waiting(Reason::ProbeStale),
        Picture::Refused(failure) => failed(ConditionType::Ready, failure),
        Picture::Found(report) => match report.failure() {
            Some((_, failure)) => failed(ConditionType::Ready, failure),
            None => say(ConditionType::Ready, Status::True, Reason::Succeeded, "all stages passed"),
        },
        // Its conditions are kept as they are.
        Picture::Remembered => return statements,
    };
    let reason = ready.reason;
    statements.push(ready);
    statements.extend(Stage::ALL.map(|stage| stage_statement(stage, facts)));
    statements.extend(progress(reason));
    statements
}

fn stage_statement(stage: Stage, facts: &Facts<'_>) -> Statement {
    let condition = ConditionType::of_stage(stage);
    let finding = match &facts.picture {
        Picture::Found(report) => report.at(stage),
        Picture::Refused(failure) if stage == Stage::Resolve => Finding::Failed(failure),
        Picture::Pending if stage == Stage::Resolve => Finding::Passed,
        Picture::Invalid(_)
        | Picture::Refused(_)
        | Picture::Suspended
        | Picture::Pending
        | Picture::Stale
        | Picture::Remembered => Finding::NotChecked,
    };
    match finding {
        Finding::Failed(failure) => failed(condition, failure),
        Finding::NotChecked => {
            let message = match facts.picture {
                Picture::Suspended => "not checked while suspended",
                Picture::Pending => "not checked yet",
                Picture::Stale => "not checked recently enough",
                Picture::Invalid(_) | Picture::Refused(_) | Picture::Found(_) | Picture::Remembered => {
                    "not checked, since an earlier stage did not pass"
                }
            };
            say(condition, Status::Unknown, Reason::NotChecked, message)
        }
        Finding::Passed => passed(stage, condition, facts),
    }
}

fn passed(stage: Stage, condition: ConditionType, facts: &Facts<'_>) -> Statement {
    let report = match facts.picture {
        Picture::Found(report) => Some(report),
        _ => None,
    };
    let (reason, message) = match (stage, facts.login) {
        (Stage::Resolve, Login::Credentials) => {
            (Reason::Resolved, "what the spec names was read and holds what is needed".to_owned())
        }
        (Stage::Resolve, Login::Nobody) => (Reason::NotRequired, "used without credentials".to_owned()),
        (Stage::Reach, _) => (Reason::Connected, "the server answers".to_owned()),
        (Stage::Authenticate, _) if report.is_some_and(Report::is_anonymous) => {
            (Reason::NotRequired, "used without credentials".to_owned())
        }
        (Stage::Authenticate, _) => (Reason::CredentialsAccepted, "the server accepts the credentials".to_owned()),
        (Stage::Access, _) => (Reason::Verified, verified(facts.permissions, report.and_then(|report| report.proof()))),
    };
    say(condition, Status::True, reason, &message)
}

fn verified(permissions: &[Permission], proof: Option<&Proof>) -> String {
    let names: Vec<&str> = permissions.iter().map(|permission| permission.as_str()).collect();
    let mut message = match names.as_slice() {
        [] => "the named target exists".to_owned(),
        names => format!("the named target exists, with the permissions {}", names.join(", ")),
    };
    let unproven = proof.map(Proof::unproven).unwrap_or_default();
    if !unproven.is_empty() {
        message = format!("{message}; not proven: {}", unproven.join(", "));
    }
    message
}

/// Reconciling or Stalled, or neither; never both.
fn progress(ready: Reason) -> Option<Statement> {
    let (condition, reason, message) = match ready.outlook() {
        Outlook::Waiting => (ConditionType::Reconciling, Reason::Progressing, ready.meaning()),
        Outlook::Transient | Outlook::Arrives | Outlook::Neutral => {
            (ConditionType::Reconciling, Reason::ProgressingWithRetry, Reason::ProgressingWithRetry.meaning())
        }
        Outlook::Terminal => (ConditionType::Stalled, ready, ready.hint()),
        Outlook::Good | Outlook::Answer | Outlook::Still => return None,
    };
    Some(say(condition, Status::True, reason, &as_message(message)))
}

fn in_use(users: &Users) -> Statement {
    if !users.list.is_empty() {
        let count = users.list.len();
        let objects = if count == 1 { "object" } else { "objects" };
        let message = format!("used by {count} {objects}: {}", users.summary());
        return say(ConditionType::InUse, Status::True, Reason::Referenced, &message);
    }
    if users.unknown.is_empty() {
        return say(ConditionType::InUse, Status::False, Reason::NotReferenced, "nothing in the namespace uses it");
    }
    let kinds: Vec<&str> = users.unknown.iter().map(Kind::name).collect();
    let message = format!("these kinds could not be listed: {}", kinds.join(", "));
    say(ConditionType::InUse, Status::Unknown, Reason::UsageUnknown, &message)
}

fn terminating(held: &Held<'_>) -> Statement {
    let (reason, message) = match held {
        Held::By(Hold::InUse(users)) => {
            (Reason::InUse, format!("held while used by {}: {}", users::summary(users), Reason::InUse.hint()))
        }
        Held::By(Hold::Blind(kinds)) => {
            let kinds = kinds.iter().map(Kind::name).collect::<Vec<_>>().join(", ");
            let hint = Reason::UsageUnknown.hint();
            (Reason::UsageUnknown, format!("held while these kinds cannot be listed: {kinds}: {hint}"))
        }
        Held::ReleaseFailed => (Reason::Releasing, "it could not be released yet; it is tried again".to_owned()),
    };
    say(ConditionType::Terminating, Status::True, reason, &message)
}

/// What the status says about users.
pub fn usage(users: &Users) -> Usage {
    let shown = users.top(USERS_LIMIT).iter().map(|user| User {
        kind: user.kind.name().to_owned(),
        name: user.name.to_string(),
        api_version: user.kind.api_version().to_owned(),
        via: match user.via {
            users::Via::Annotation => Via::Annotation,
            users::Via::Secret => Via::Secret,
        },
    });
    let summary = (!users.list.is_empty()).then(|| users.summary());
    Usage { count: i64::try_from(users.list.len()).unwrap_or(i64::MAX), summary, users: shown.collect() }
}

fn credentials(facts: &Facts<'_>) -> Option<CredentialsStatus> {
    facts.secret?;
    let stored = facts.stored.credentials.clone().unwrap_or_default();
    let observed = facts.observed_version.map(str::to_owned).or(stored.observed_version);
    let verified = match facts.proven {
        Proven::Anew => observed.clone(),
        Proven::AsStored => stored.verified_version,
    };
    (observed.is_some() || verified.is_some())
        .then_some(CredentialsStatus { observed_version: observed, verified_version: verified })
}

fn failed(condition: ConditionType, failure: &Failure) -> Statement {
    let row = failure.class().row();
    say(condition, row.status, row.reason, &failure.message())
}

fn waiting(reason: Reason) -> Statement {
    let mut message = as_message(reason.meaning());
    if !reason.hint().is_empty() {
        message = format!("{message}: {}", reason.hint());
    }
    say(ConditionType::Ready, Status::Unknown, reason, &message)
}

/// A sentence of the documentation as a message: lower case, no full stop.
fn as_message(sentence: &str) -> String {
    let mut characters = sentence.trim_end_matches('.').chars();
    characters.next().into_iter().flat_map(char::to_lowercase).chain(characters).collect()
}

fn say(condition: ConditionType, status: Status, reason: Reason, message: &str) -> Statement {
    Statement { condition, status, reason, message: shorten(message, MESSAGE_LIMIT) }
}

/// Whether a condition speaks of the connection itself, and not of its users or its end.
fn is_of_the_connection(condition: &Condition) -> bool {
    let others = [ConditionType::InUse, ConditionType::Terminating];
    others.iter().all(|other| other.as_str() != condition.type_)
}

/// Both lists in the fixed order.
fn combine(kept: Vec<Condition>, stated: Vec<Condition>) -> Vec<Condition> {
    let mut all: Vec<Condition> = kept.into_iter().chain(stated).collect();
    all.sort_by_key(|c| ConditionType::ALL.iter().position(|kind| kind.as_str() == c.type_));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureClass;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn facts<'a>(stored: &'a ConnectionStatus, picture: Picture<'a>) -> Facts<'a> {
        Facts {
            generation: 1,
            stored,
            picture,
            login: Login::Credentials,
            permissions: &[Permission::Read],
            connection_string: Some("postgresql://db:5432/orders".to_owned()),
            secret: Some("db"),
            observed_version: Some("7"),
            proven: Proven::AsStored,
            request: None,
            usage: Used::AsStored,
            held: None,
        }
    }

    fn passed() -> Report {
        Report::passed(Proof::default(), Vec::new())
    }

    fn find(status: &ConnectionStatus, kind: ConditionType) -> Option<(&str, &str)> {
        let found = status.conditions.iter().find(|c| c.type_ == kind.as_str())?;
        Some((found.status.as_str(), found.reason.as_str()))
    }

    fn reports() -> Vec<Report> {
        let mut all = vec![passed()];
        for class in FailureClass::ALL {
            for stage in Stage::ALL {
                all.push(Report::failed(stage, Failure::new(class), Vec::new()));
            }
        }
        all
    }

    #[test]
    fn every_status_says_only_what_the_contract_allows() {
        let stored = ConnectionStatus::default();
        for report in reports() {
            let status = conclude(&facts(&stored, Picture::Found(&report)), at(1));
            for condition in &status.conditions {
                let kind = ConditionType::ALL.into_iter().find(|k| k.as_str() == condition.type_).unwrap();
                let statuses = [Status::True, Status::False, Status::Unknown];
                let said = statuses.into_iter().find(|s| s.as_str() == condition.status).unwrap();
                let reason = Reason::ALL.into_iter().find(|r| r.as_str() == condition.reason).unwrap();
                assert!(kind.allows(said, reason), "{kind:?} {said:?} {reason} of {report:?}");
            }
        }
    }

    #[test]
    fn ready_is_true_only_where_every_stage_is() {
        let stored = ConnectionStatus::default();
        for report in reports() {
            let status = conclude(&facts(&stored, Picture::Found(&report)), at(1));
            let green = Stage::ALL
                .iter()
                .all(|s| find(&status, ConditionType::of_stage(*s)).is_some_and(|(status, _)| status == "True"));
            assert_eq!(find(&status, ConditionType::Ready).unwrap().0 == "True", green, "{report:?}");
        }
    }

    #[test]
    fn a_login_that_nobody_checked_is_not_called_accepted_wherever_the_look_ends() {
        let missing = Report::failed(Stage::Access, Failure::new(FailureClass::TargetNotFound), Vec::new());
        for report in [passed(), missing] {
            let stored = ConnectionStatus::default();
            let status = conclude(&facts(&stored, Picture::Found(&report)), at(1));
            assert_eq!(find(&status, ConditionType::Authenticated), Some(("True", "CredentialsAccepted")));
            let status = conclude(&facts(&stored, Picture::Found(&report.anonymous())), at(1));
            assert_eq!(find(&status, ConditionType::Authenticated), Some(("True", "NotRequired")));
        }
    }

    #[test]
    fn what_was_not_looked_at_is_unknown_and_never_an_old_true() {
        let green = conclude(&facts(&ConnectionStatus::default(), Picture::Found(&passed())), at(1));
        for picture in [Picture::Pending, Picture::Stale, Picture::Suspended, Picture::Invalid("x")] {
            let status = conclude(&facts(&green, picture), at(2));
            for kind in [ConditionType::Reachable, ConditionType::Authenticated, ConditionType::Accessible] {
                assert_eq!(find(&status, kind), Some(("Unknown", "NotChecked")));
            }
            assert_ne!(find(&status, ConditionType::Ready).unwrap().0, "True");
        }
    }

    #[test]
    fn reconciling_and_stalled_are_never_both_there() {
        let stored = ConnectionStatus::default();
        for report in reports() {
            let status = conclude(&facts(&stored, Picture::Found(&report)), at(1));
            let (reconciling, stalled) =
                (find(&status, ConditionType::Reconciling), find(&status, ConditionType::Stalled));
            assert!(reconciling.is_none() || stalled.is_none(), "{report:?}");
            if find(&status, ConditionType::Ready).unwrap().0 == "False" {
                assert!(reconciling.is_some() || stalled.is_some(), "{report:?}");
            }
        }
    }

    #[test]
    fn the_same_facts_give_the_same_status_whenever_they_are_looked_at() {
        let mut stored = ConnectionStatus::default();
        for report in reports() {
            stored = conclude(&facts(&stored, Picture::Found(&report)), at(1));
            assert_eq!(conclude(&facts(&stored, Picture::Found(&report)), at(999)), stored);
        }
    }

    #[test]
    fn a_remembered_status_is_kept_word_for_word() {
        let stored = conclude(&facts(&ConnectionStatus::default(), Picture::Found(&passed())), at(1));
        assert_eq!(conclude(&facts(&stored, Picture::Remembered), at(999)), stored);
    }

    #[test]
    fn only_values_that_authenticated_are_verified() {
        let before = facts(&ConnectionStatus::default(), Picture::Pending).stored.clone();
        let mut found = facts(&before, Picture::Pending);
        let version = |status: ConnectionStatus| status.credentials.and_then(|c| c.verified_version);
        assert_eq!(version(conclude(&found, at(1))), None);
        found.proven = Proven::Anew;
        let proven = conclude(&found, at(1));
        assert_eq!(version(proven.clone()), Some("7".to_owned()));
        let mut rotated = facts(&proven, Picture::Pending);
        rotated.observed_version = Some("8");
        let status = conclude(&rotated, at(2));
        assert_eq!(status.credentials.as_ref().and_then(|c| c.observed_version.as_deref()), Some("8"));
        assert_eq!(version(status), Some("7".to_owned()));
    }

    #[test]
    fn a_suspended_connection_is_neither_reconciling_nor_stalled() {
        let status = conclude(&facts(&ConnectionStatus::default(), Picture::Suspended), at(1));
        assert_eq!(find(&status, ConditionType::Ready), Some(("Unknown", "Suspended")));
        assert_eq!(find(&status, ConditionType::CredentialsResolved), Some(("Unknown", "NotChecked")));
        assert!(find(&status, ConditionType::Reconciling).is_none() && find(&status, ConditionType::Stalled).is_none());
    }

    #[test]
    fn a_missing_secret_is_waited_for_and_a_malformed_one_is_not() {
        let stored = ConnectionStatus::default();
        let missing = Failure::new(FailureClass::SecretNotFound);
        let status = conclude(&facts(&stored, Picture::Refused(&missing)), at(1));
        assert_eq!(find(&status, ConditionType::Reconciling), Some(("True", "ProgressingWithRetry")));
        let malformed = Failure::new(FailureClass::CredentialsMalformed);
        let status = conclude(&facts(&stored, Picture::Refused(&malformed)), at(1));
        assert_eq!(find(&status, ConditionType::Stalled), Some(("True", "CredentialsMalformed")));
        assert_eq!(find(&status, ConditionType::CredentialsResolved), Some(("False", "CredentialsMalformed")));
    }
}

//! Which events a change of status is worth: only when something happened, with a note that is the same for the same cause.
//!
//! Pure: it compares the status before with the status after.

use crate::{
    api::{ConditionType, ConnectionStatus},
    failure::Reason,
    usage::users::{self, User},
};

/// One event on a Connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How it is shown.
    pub severity: Severity,
    /// The reason, in `PascalCase`.
    pub reason: &'static str,
    /// What was done, in `PascalCase`.
    pub action: &'static str,
    /// The note, at most 1 KiB.
    pub note: String,
}

/// How an event is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something went as it should.
    Normal,
    /// Someone may have to act.
    Warning,
}

/// Whether other values than before have authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// They have, for the first time.
    Rotated,
    /// They have not.
    Same,
}

/// The events that a change from `before` to `after` is worth.
pub fn of_change(before: &ConnectionStatus, after: &ConnectionStatus, rotation: Rotation) -> Vec<Event> {
    let mut events = Vec::new();
    let ready = |status| find(status, ConditionType::Ready);
    let (was, is) = (ready(before), ready(after));
    let is_false = |found: Option<(&str, &str, &str)>| found.is_some_and(|(status, _, _)| status == "False");
    let is_true = |found: Option<(&str, &str, &str)>| found.is_some_and(|(status, _, _)| status == "True");
    if let Some((_, reason, message)) = is.filter(|_| is_false(is)) {
        let invalid = reason == Reason::InvalidConfiguration.as_str();
        let was_invalid = was.is_some_and(|(_, was, _)| was == reason) && is_false(was);
        if invalid && !was_invalid {
            events.push(event(Severity::Warning, "InvalidConfiguration", "Probe", message));
        } else if !invalid && !is_false(was) {
            events.push(event(Severity::Warning, "Broken", "Probe", &format!("{reason}: {message}")));
        }
    }
    if is_true(is) && is_false(was) {
        events.push(event(Severity::Normal, "Recovered", "Probe", "the connection works again"));
    }
    if rotation == Rotation::Rotated {
        events.push(event(Severity::Normal, "CredentialsRotated", "Probe", "the server accepts the new credentials"));
    }
    let end = |status| find(status, ConditionType::Terminating);
    if let (None, Some((_, _, message))) = (end(before), end(after)) {
        events.push(event(Severity::Warning, "DeletionBlocked", "Delete", message));
    }
    events
}

/// The event of a release after it was blocked; none where it was not.
pub fn of_release(before: &ConnectionStatus) -> Option<Event> {
    find(before, ConditionType::Terminating)?;
    Some(event(Severity::Normal, "DeletionReleased", "Delete", "nothing uses it any more"))
}

/// The event of a release that someone forced; none where nobody used it.
pub fn of_force(users: &[User]) -> Option<Event> {
    let note = || format!("deleted although used by {}", users::summary(users));
    (!users.is_empty()).then(|| event(Severity::Warning, "ForceDeleted", "Delete", &note()))
}

/// The event of a release because the CRD goes.
pub fn of_crd_removal(users: &[User]) -> Event {
    let note = match users {
        [] => "deleted with the custom resource definition".to_owned(),
        users => format!("deleted with the custom resource definition, although used by {}", users::summary(users)),
    };
    event(Severity::Warning, "ForceDeleted", "Delete", &note)
}

fn event(severity: Severity, reason: &'static str, action: &'static str, note: &str) -> Event {
    Event { severity, reason, action, note: crate::failure::shorten(note, 512) }
}

fn find(status: &ConnectionStatus, kind: ConditionType) -> Option<(&str, &str, &str)> {
    let found = status.conditions.iter().find(|c| c.type_ == kind.as_str())?;
    Some((&found.status, &found.reason, &found.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Statement, conditions},
        failure::Status,
    };
    use k8s_openapi::jiff::Timestamp;

    fn status(says: &[(ConditionType, Status, Reason)]) -> ConnectionStatus {
        let statements: Vec<Statement> = says
            .iter()
            .map(|(condition, status, reason)| Statement {
                condition: *condition,
                status: *status,
                reason: *reason,
                message: "why".to_owned(),
            })
            .collect();
        let conditions = conditions::merge(&[], &statements, 1, Timestamp::UNIX_EPOCH);
        ConnectionStatus { conditions, ..ConnectionStatus::default() }
    }

    fn ready(said: Status, reason: Reason) -> ConnectionStatus {
        status(&[(ConditionType::Ready, said, reason)])
    }

    fn names(before: &ConnectionStatus, after: &ConnectionStatus) -> Vec<&'static str> {
        of_change(before, after, Rotation::Same).into_iter().map(|event| event.reason).collect()
    }

    #[test]
    fn a_first_success_is_no_event_and_a_first_failure_is() {
        let pending = ready(Status::Unknown, Reason::Pending);
        assert!(names(&pending, &ready(Status::True, Reason::Succeeded)).is_empty());
        assert_eq!(names(&pending, &ready(Status::False, Reason::TimedOut)), ["Broken"]);
    }

    #[test]
    fn a_repeat_is_no_event() {
        let refused = ready(Status::False, Reason::ConnectionRefused);
        assert!(names(&refused, &refused).is_empty());
        assert!(names(&refused, &ready(Status::False, Reason::TimedOut)).is_empty());
        let invalid = ready(Status::False, Reason::InvalidConfiguration);
        assert!(names(&invalid, &invalid).is_empty());
        assert_eq!(names(&refused, &invalid), ["InvalidConfiguration"]);
    }

    #[test]
    fn a_recovery_is_an_event_once() {
        let red = ready(Status::False, Reason::TimedOut);
        let green = ready(Status::True, Reason::Succeeded);
        assert_eq!(names(&red, &green), ["Recovered"]);
        assert!(names(&green, &green).is_empty());
    }

    #[test]
    fn a_blocked_deletion_is_an_event_once_and_its_release_only_after_it() {
        let free = ready(Status::True, Reason::Succeeded);
        let held = status(&[
            (ConditionType::Ready, Status::True, Reason::Succeeded),
            (ConditionType::Terminating, Status::True, Reason::InUse),
        ]);
        assert_eq!(names(&free, &held), ["DeletionBlocked"]);
        assert!(names(&held, &held).is_empty());
        assert!(of_release(&free).is_none());
        assert_eq!(of_release(&held).map(|event| event.reason), Some("DeletionReleased"));
    }
}

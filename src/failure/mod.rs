//! What can be found out about a connection, and in which words it is said: stages, reasons, failure classes, reports.
//!
//! [`Reason`] holds every reason a condition can carry; [`FailureClass::row`] is the one table that says what a failure
//! means. A message is made of our own sentences and of typed, checked [`Part`]s: nothing here is ever built from a
//! peer's or a driver's text. This file decides nothing about time and does no I/O.

mod class;
mod message;
mod reason;
mod report;

pub use class::{FailureClass, Row};
pub use message::{Code, Failure, MESSAGE_LIMIT, Part, Setting, shorten};
pub use reason::{Outlook, Reason};
pub use report::{Finding, Proof, Report};

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
    fn a_login_that_nobody_checked_is_not_authenticated_wherever_the_look_ends() {
        let missing = Report::failed(Stage::Access, Failure::new(FailureClass::TargetNotFound), Vec::new());
        for report in [missing, Report::passed(Proof::default(), Vec::new())] {
            assert!(report.authenticated());
            assert!(!report.clone().anonymous().authenticated());
            assert_ne!(report.clone().anonymous(), report, "they read differently");
        }
    }

    #[test]
    fn a_proof_names_what_it_leaves_out() {
        assert!(Proof::default().but(None).past([]).unproven().is_empty());
        let proof = Proof::default().past([Setting::from_spec("db-1:5432")]).but(["the password"]);
        assert_eq!(proof.unproven(), ["that db-1:5432 can be used, since it could not", "the password"]);
    }

    #[test]
    fn a_rejection_says_when_it_is_tried_again() {
        for class in [FailureClass::WrongCredentials, FailureClass::AccountLocked] {
            let failure = Failure::new(class).advice("renew the password");
            assert!(failure.message().ends_with("connectivity.dev/requested-at"), "{}", failure.message());
        }
        assert!(!Failure::new(FailureClass::TimedOut).message().contains("requested-at"));
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

//! What is made of an answer about a topic and a group: codes that a real cluster gives rarely, and all that may be told.

use Permission::{List, Read, Write};

use super::*;
use crate::failure::Reason;

fn look(permissions: &[Permission], group: Option<&str>) -> Look {
    Look {
        brokers: vec![Endpoint::exactly("events.example.com", 9092)],
        tls: Tls::default(),
        login: Principal::None,
        properties: BTreeMap::new(),
        topic: Some("orders".to_owned()),
        group: group.map(str::to_owned),
        permissions: permissions.to_vec(),
    }
}

/// The reason and the message for what was found about the topic and the group; `None` where it is enough.
fn judged(permissions: &[Permission], topic: Option<Described>, group: Option<Described>) -> Option<(Reason, String)> {
    let verdict = look(permissions, Some("analytics")).judge(&Findings { topic, group });
    verdict.err().map(|failure| (failure.reason(), failure.message()))
}

fn everything() -> Described {
    Described::Allowed(vec![Operation::Read, Operation::Write, Operation::Describe])
}

#[test]
fn every_code_about_a_topic_or_a_group_has_its_name() {
    for (code, reason) in [
        (3, Reason::TargetNotFound),
        (17, Reason::TargetNotFound),
        (69, Reason::TargetNotFound),
        (29, Reason::TargetNotFoundOrNotPermitted),
        (31, Reason::PermissionDenied),
        (5, Reason::TargetUnavailable),
        (9, Reason::TargetUnavailable),
        (14, Reason::TargetUnavailable),
        (15, Reason::TargetUnavailable),
        (16, Reason::TargetUnavailable),
        (41, Reason::TargetUnavailable),
        (89, Reason::Throttled),
        (-1, Reason::ServerUnavailable),
        (7, Reason::ServerUnavailable),
        (32_000, Reason::ServerUnavailable),
    ] {
        for (topic, group, about) in [
            (Some(Described::Refused(code)), None, "topic orders"),
            (Some(everything()), Some(Described::Refused(code)), "consumer group analytics"),
        ] {
            let (found, message) = judged(&[Read], topic, group).expect("a refusal");
            assert_eq!(found, reason, "{code}: {message}");
            assert!(message.contains(about) && message.contains(&format!("({code})")), "{message}");
        }
    }
    let denied = |code| judged(&[Read], Some(everything()), Some(Described::Refused(code))).map(|(reason, _)| reason);
    assert_eq!(denied(30), Some(Reason::PermissionDenied), "who may not describe the group may not read in it");
    let topic = judged(&[], Some(Described::Refused(30)), None).map(|(reason, _)| reason);
    assert_eq!(topic, Some(Reason::TargetNotFoundOrNotPermitted));
}

#[test]
fn each_operation_that_is_not_allowed_is_a_missing_permission() {
    let allowed = |operations: &[Operation]| Some(Described::Allowed(operations.to_vec()));
    for (operations, missing) in [
        (&[Operation::Describe][..], "(Read, Write)"),
        (&[Operation::Describe, Operation::Read], "(Write)"),
        (&[Operation::Read, Operation::Write], "(List)"),
        (&[], "(List, Read, Write)"),
    ] {
        let (reason, message) = judged(&[List, Read, Write], allowed(operations), None).expect("a refusal");
        assert_eq!(reason, Reason::PermissionDenied);
        assert!(message.starts_with(&format!("not permitted on topic orders {missing}")), "{message}");
    }
    assert_eq!(judged(&[List], allowed(&[Operation::Describe]), None), None);
    // A group is looked at for Read alone.
    assert_eq!(judged(&[List, Write], Some(everything()), None), None);
    assert_eq!(judged(&[List, Read], Some(everything()), Some(everything())), None);
    let (reason, message) =
        judged(&[List, Read], Some(everything()), allowed(&[Operation::Describe])).expect("a refusal");
    assert_eq!(reason, Reason::PermissionDenied);
    assert!(message.starts_with("not permitted on consumer group analytics (Read)"), "{message}");
}

#[test]
fn where_nothing_is_told_what_is_described_may_be_described_and_the_rest_is_open() {
    let untold = || Some(Described::Untold);
    for permissions in [&[][..], &[List]] {
        assert_eq!(judged(permissions, untold(), None), None, "{permissions:?}");
    }
    for (permissions, topic, group, about, open) in [
        (&[List, Read][..], untold(), None, "topic orders", "(Read)"),
        (&[Read, Write], untold(), None, "topic orders", "(Read, Write)"),
        (&[List, Read, Write], Some(everything()), untold(), "consumer group analytics", "(Read)"),
    ] {
        let (reason, message) = judged(permissions, topic, group).expect("a refusal");
        assert_eq!(reason, Reason::PermissionNotProvable);
        assert!(message.starts_with(&format!("a permission on {about} cannot be proven")), "{message}");
        assert!(message.contains(open), "{message}");
    }
}

#[test]
fn what_was_not_asked_is_not_judged() {
    let nothing = Look { topic: None, ..look(&[], None) };
    assert_eq!(nothing.judge(&Findings::default()), Ok(()));
    assert_eq!(look(&[Read], None).judge(&Findings { topic: Some(everything()), group: None }), Ok(()));
    for (topic, group) in [(None, None), (Some(everything()), None)] {
        let (reason, _) = judged(&[Read], topic, group).expect("what should be there is not");
        assert_eq!(reason, Reason::InternalError);
    }
}

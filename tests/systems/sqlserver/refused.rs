//! What each error of a server is called, to a login and to a question.

use super::*;
use {Reason as R, Stage as S};

/// The errors that a server can refuse a login with, and what that is called.
const LOGINS: &[(u32, Stage, Reason)] = &[
    (18_456, S::Authenticate, R::AuthenticationFailed),
    (18_452, S::Authenticate, R::AuthenticationMethodNotSupported),
    (18_470, S::Authenticate, R::AccountLocked),
    (18_486, S::Authenticate, R::AccountLocked),
    (18_487, S::Authenticate, R::CredentialsExpired),
    (18_488, S::Authenticate, R::CredentialsExpired),
    (17_892, S::Authenticate, R::SourceNotAllowed),
    (40_615, S::Authenticate, R::SourceNotAllowed),
    (40_914, S::Authenticate, R::SourceNotAllowed),
    (47_073, S::Authenticate, R::SourceNotAllowed),
    (4060, S::Access, R::TargetNotFoundOrNotPermitted),
    (4064, S::Access, R::TargetNotFoundOrNotPermitted),
    (229, S::Access, R::PermissionDenied),
    (916, S::Access, R::PermissionDenied),
    (921, S::Access, R::TargetUnavailable),
    (922, S::Access, R::TargetUnavailable),
    (923, S::Access, R::TargetUnavailable),
    (924, S::Access, R::TargetUnavailable),
    (926, S::Access, R::TargetUnavailable),
    (927, S::Access, R::TargetUnavailable),
    (942, S::Access, R::TargetUnavailable),
    (945, S::Access, R::TargetUnavailable),
    (952, S::Access, R::TargetUnavailable),
    (976, S::Access, R::TargetUnavailable),
    (978, S::Access, R::TargetUnavailable),
    (983, S::Access, R::TargetUnavailable),
    (40_531, S::Authenticate, R::ServerUnavailable),
    (40_532, S::Authenticate, R::ServerUnavailable),
    (40_613, S::Authenticate, R::ServerUnavailable),
    (42_108, S::Authenticate, R::ServerUnavailable),
    (42_109, S::Authenticate, R::ServerUnavailable),
    (42_119, S::Authenticate, R::ServerUnavailable),
    (47_072, S::Reach, R::TLSFailed),
    (10_928, S::Authenticate, R::ServerUnavailable),
    (10_929, S::Authenticate, R::ServerUnavailable),
    (17_809, S::Authenticate, R::ServerUnavailable),
    (17_142, S::Authenticate, R::ServerUnavailable),
    (40_197, S::Authenticate, R::ServerUnavailable),
    (u32::MAX, S::Authenticate, R::ServerUnavailable),
    (40_501, S::Authenticate, R::Throttled),
    (49_918, S::Authenticate, R::Throttled),
    (49_919, S::Authenticate, R::Throttled),
    (49_920, S::Authenticate, R::Throttled),
];

#[tokio::test]
async fn every_code_of_a_refused_login_has_its_name() {
    for (number, stage, reason) in LOGINS {
        let server = server(|manner| manner.login = Box::new(|_| tokens::refused(&[*number]))).await;
        let message = Case::at(&server).ends(*stage, *reason).await;
        assert!(message.contains(&format!("({number})")), "{message}");
        assert_eq!((server.peer.accepted(), server.heard().logins.len()), (1, 1), "one login per look");
    }
}

#[tokio::test]
async fn what_a_gateway_says_of_a_login_that_nobody_has_judged_accepts_none() {
    for (number, hint) in [
        (40_531, "spec.tls.serverName"),
        (40_532, "spec.tls.serverName"),
        (40_613, "resume the database"),
        (42_108, "resume the database"),
        (42_109, "resume the database"),
        (42_119, "free amount"),
        (47_072, "the server's minimum"),
    ] {
        let server = server(|manner| manner.login = Box::new(move |_| tokens::refused(&[number]))).await;
        let report = Case::at(&server).probe().await;
        let (_, failure) = report.failure().expect("it failed");
        let message = failure.message();
        assert!(!report.authenticated(), "{message}");
        let address = server.peer.address.to_string();
        assert!(message.contains(&address) && message.contains(hint), "{message}");
    }
}

#[tokio::test]
async fn of_several_errors_the_first_one_counts() {
    // A server says 18456 behind every refusal, whatever the cause.
    let server = server(|manner| manner.login = Box::new(|_| tokens::refused(&[4060, 18_456]))).await;
    let message = Case::at(&server).ends(S::Access, R::TargetNotFoundOrNotPermitted).await;
    assert!(message.starts_with("database orders does not exist") && message.contains("(4060)"), "{message}");
}

#[tokio::test]
async fn every_code_of_a_refused_question_has_its_name() {
    for (number, stage, reason) in [
        (229, S::Access, R::PermissionDenied),
        (230, S::Access, R::PermissionDenied),
        (262, S::Access, R::PermissionDenied),
        (297, S::Access, R::PermissionDenied),
        (300, S::Access, R::PermissionDenied),
        (916, S::Access, R::PermissionDenied),
        (927, S::Access, R::TargetUnavailable),
        (40_613, S::Access, R::TargetUnavailable),
        (42_108, S::Access, R::TargetUnavailable),
        (42_119, S::Access, R::TargetUnavailable),
        (195, S::Reach, R::ProtocolMismatch),
        (207, S::Reach, R::ProtocolMismatch),
        (208, S::Reach, R::ProtocolMismatch),
        (1205, S::Access, R::ServerUnavailable),
        (40_501, S::Access, R::Throttled),
    ] {
        for beginning in [Vec::new(), tokens::row([Some(1); 5])] {
            let server = server(|manner| {
                let answer = [beginning, tokens::refused(&[number])].concat();
                manner.question = Box::new(move |_, _| answer.clone());
            })
            .await;
            let message = Case::at(&server).on("dbo", "orders", &[Read]).ends(stage, reason).await;
            assert!(message.contains(&format!("({number})")), "{message}");
        }
    }
}

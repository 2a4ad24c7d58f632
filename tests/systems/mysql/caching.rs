//! `caching_sha2_password`, MySQL's own way to log in: the laws, which hold against MySQL 9 and against a stand-in that verifies.
//!
//! The server knows a user's answer to a challenge only after it has been told the password once, by anybody.

use connection_operator::{
    failure::{Proof, Reason, Stage},
    net::tls::Mode,
};

use super::connection::Case;

/// A server that is not verified is not told the password, and one that is verified is; from then on nobody need be told.
pub async fn the_password_goes_to_a_verified_server_only(case: Case) {
    for mode in [Mode::Disable, Mode::Require] {
        let unverified = case.clone().tls(|tls| tls.mode = mode);
        let message = unverified.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
        // A certificate that MySQL has made itself has no host's name.
        assert!(message.contains("spec.tls.mode to VerifyCA and spec.tls.ca"), "{message}");
        assert!(message.contains("or VerifyFull") && message.contains("is wrong"), "{message}");
    }
    assert_eq!(case.passes().await, Proof::default());
    for mode in [Mode::Disable, Mode::Require, Mode::VerifyCa, Mode::VerifyFull] {
        assert_eq!(case.clone().tls(|tls| tls.mode = mode).passes().await, Proof::default());
    }
}

/// A wrong password is told from a right one by a verified server, and looks like one that is not cached to us otherwise.
pub async fn a_wrong_password_is_rejected_where_it_may_be_told(case: Case) {
    case.passes().await;
    let wrong = case.secret("password", "hunter2-wrong");
    let message = wrong.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(1045)"), "{message}");
    let plain = wrong.tls(|tls| tls.mode = Mode::Disable);
    plain.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
}

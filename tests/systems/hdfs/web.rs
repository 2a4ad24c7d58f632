//! What real name nodes answer through WebHDFS: names that they trust, delegation tokens, each right, each case.

use super::*;
use crate::harness::{DEADLINE, eventually, hdfs::Request, proxy::Proxy};

/// A connection as `reader` to the HDFS that trusts every name.
fn simple(path: &str) -> Case {
    Case::web(&format!("webhdfs://{}", server().said["ACTIVE_WEB"]), path).named("reader")
}

/// A connection over TLS, everything verified, to the HDFS that asks for Kerberos, with a token that the script made.
fn secure(token: &str, path: &str) -> Case {
    let server = server();
    let case = Case::web(&format!("swebhdfs://{}", server.said["KERBEROS_SECURE_WEB"]), path);
    case.tls(|tls| tls.roots = server.said.ca()).token(&server.said[token])
}

/// Both ways to log in, as `reader`.
fn both(path: &str) -> [Case; 2] {
    [simple(path), secure("TOKEN_READER", path)]
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    for (path, permissions) in [
        ("/data/private", &[][..]),
        ("/data/orders", &[List, Read]),
        ("/data/orders/part-0", &[List, Read]),
        ("/data/incoming", &[List, Read, Write]),
        ("/data/incoming/part-0", &[Read, Write]),
        ("/data/drop", &[Write]),
        ("/data/public", &[List, Read]),
        ("/", &[List, Read]),
    ] {
        for case in both(path) {
            let proof = case.asks(permissions).is_let_in().await;
            let about_data = permissions.iter().any(|permission| *permission != List);
            assert_eq!(proof.unproven().is_empty(), !about_data, "{path}");
            // In safe mode it would answer the same.
            let safe_mode = proof.unproven().iter().any(|what| what.contains("safe mode"));
            assert_eq!(safe_mode, permissions.contains(&Write), "{path}");
        }
    }
}

#[tokio::test]
async fn a_name_that_is_trusted_is_no_login_and_a_token_is_one() {
    simple("/data/orders").passes_as_nobody().await;
    simple("/data/absent").ends_as_nobody(Reason::TargetNotFound).await;
    secure("TOKEN_READER", "/data/orders").passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    // Another password, which is what stands before the kind.
    let good = &server().said["TOKEN_READER"];
    let forged = good.replacen("FUhERlNf", "GUhERlNf", 1);
    assert_ne!(*good, forged);
    let at = good.find("FUhERlNf").expect("a kind") - 8;
    let other = if good[at..].starts_with('A') { "B" } else { "A" };
    let forged = format!("{}{other}{}", &good[..at], &good[at + 1..]);
    for case in [
        secure("TOKEN_CANCELLED", "/data/orders"),
        secure("TOKEN_READER", "/data/orders").token(&forged),
        // Somebody else's kind of token, which no name node has given.
        secure("TOKEN_READER", "/data/orders").token("AWkBcAFrAA"),
    ] {
        let message = case.asks(&[List]).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(SecurityException)") && message.contains("put a new token"), "{message}");
    }
}

#[tokio::test]
async fn a_token_that_is_over_is_called_so() {
    let message = secure("TOKEN_EXPIRED", "/data/orders").ends(Stage::Authenticate, Reason::CredentialsExpired).await;
    assert!(message.contains("renew the token"), "{message}");
}

#[tokio::test]
async fn a_missing_path_is_named() {
    for case in both("/data/absent") {
        let message = case.asks(&[List, Read]).ends(Stage::Access, Reason::TargetNotFound).await;
        assert!(message.starts_with("/data/absent does not exist (FileNotFoundException)"), "{message}");
    }
}

#[tokio::test]
async fn what_is_below_a_closed_directory_or_a_file_is_not_permitted() {
    for path in ["/data/private/part-0", "/data/private/absent", "/data/orders/part-0/x"] {
        for case in both(path) {
            let message = case.asks(&[List]).ends(Stage::Access, Reason::PermissionDenied).await;
            let expected = format!("not permitted on {path} (AccessControlException, to reach it)");
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let nobody = peer::nobody().to_string();
    for case in both("/data/orders") {
        let scheme = if case.tls.mode == Mode::Disable { "webhdfs" } else { "swebhdfs" };
        let message = case.at(format!("{scheme}://{nobody}")).ends(Stage::Reach, Reason::ConnectionRefused).await;
        assert!(message.contains(&nobody), "{message}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let secure = secure("TOKEN_READER", "/data/orders").tls(|tls| tls.roots = server().said.other_ca());
    secure.ends(Stage::Reach, Reason::CertificateUntrusted).await;
    let url = format!("swebhdfs://{}", server().said["ACTIVE_SECURE_WEB"]);
    let named = Case::web(&url, "/data/orders").named("reader");
    named.clone().ends(Stage::Reach, Reason::CertificateUntrusted).await;
    named.tls(|tls| tls.roots = server().said.ca()).asks(&[List, Read]).is_let_in().await;
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (path, missing) in [
        ("/data/orders", "Write"),
        ("/data/orders/part-0", "Write"),
        ("/data/drop", "List, Read"),
        // Its names may be read, and nothing behind them.
        ("/data/names", "List, Read, Write"),
        ("/data/private", "List, Read, Write"),
        ("/data/public", "Write"),
    ] {
        for case in both(path) {
            let message = case.asks(&[List, Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
            assert!(message.starts_with(&format!("not permitted on {path} ({missing})")), "{message}");
        }
    }
    for case in [simple("/data/orders").named("nobody"), secure("TOKEN_NOBODY", "/data/orders")] {
        let message = case.asks(&[List, Read]).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with("not permitted on /data/orders (List, Read)"), "{message}");
    }
}

#[tokio::test]
async fn a_directory_with_more_than_a_probe_reads_is_listed() {
    for case in both("/data/many") {
        case.asks(&[List]).is_let_in().await;
    }
}

// Who is asked, and as whom.

#[tokio::test]
async fn a_standby_name_node_is_called_so() {
    for scheme in ["webhdfs", "swebhdfs"] {
        let key = if scheme == "webhdfs" { "STANDBY_WEB" } else { "STANDBY_SECURE_WEB" };
        let case = Case::web(&format!("{scheme}://{}", server().said[key]), "/data/orders").named("reader");
        let case = if scheme == "webhdfs" { case } else { case.tls(|tls| tls.roots = server().said.ca()) };
        let message = case.ends(Stage::Authenticate, Reason::ServerUnavailable).await;
        assert!(message.contains("(StandbyException, it is a standby name node)"), "{message}");
        assert!(message.contains("name the active one in hdfs.url"), "{message}");
    }
}

#[tokio::test]
async fn a_name_is_not_enough_where_kerberos_is_asked_for() {
    let url = format!("webhdfs://{}", server().said["KERBEROS_WEB"]);
    let case = Case::web(&url, "/data/orders").named("reader");
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
    assert!(message.contains("(401)") && message.contains("delegation token"), "{message}");
}

#[tokio::test]
async fn a_token_proves_nothing_where_every_name_is_trusted() {
    let url = format!("webhdfs://{}", server().said["ACTIVE_WEB"]);
    for path in ["/data/orders", "/data/absent", "/data/private/part-0"] {
        let case = Case::web(&url, path).token(&server().said["TOKEN_READER"]);
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
        assert!(message.contains("set hdfs.user instead"), "{message}");
    }
}

#[tokio::test]
async fn a_name_that_the_server_does_not_take_is_called_so() {
    let message = simple("/data/orders").named("a b").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(IllegalArgumentException)") && message.contains("correct hdfs.user"), "{message}");
}

#[tokio::test]
async fn a_token_goes_to_a_verified_name_node_or_to_one_without_tls_on_purpose() {
    let plain = Case::web(&format!("webhdfs://{}", server().said["KERBEROS_WEB"]), "/data/orders");
    plain.token(&server().said["TOKEN_READER"]).asks(&[List, Read]).passes().await;
    let message = secure("TOKEN_READER", "/data/orders")
        .tls(|tls| tls.mode = Mode::Require)
        .ends(Stage::Authenticate, Reason::EncryptionRequired)
        .await;
    assert!(message.contains("set spec.tls.mode to VerifyFull"), "{message}");
    secure("TOKEN_READER", "/data/orders").tls(|tls| tls.mode = Mode::VerifyCa).is_let_in().await;
}

// What it does to the name node.

#[tokio::test]
async fn one_look_dials_once_for_each_request() {
    for (key, case, login) in [
        ("ACTIVE_WEB", simple("/data/incoming"), 1),
        ("KERBEROS_SECURE_WEB", secure("TOKEN_READER", "/data/incoming"), 2),
    ] {
        let proxy = Proxy::to(server().address(key)).await;
        let scheme = if key == "ACTIVE_WEB" { "webhdfs" } else { "swebhdfs" };
        let case = case.at(format!("{scheme}://{}", proxy.address));
        for (permissions, count) in [(&[][..], login), (&[List], login + 1), (&[List, Read, Write], login + 3)] {
            let before = proxy.connections();
            case.clone().asks(permissions).is_let_in().await;
            assert_eq!(proxy.connections() - before, count, "{permissions:?}");
        }
    }
    let proxy = Proxy::to(server().address("KERBEROS_SECURE_WEB")).await;
    let wrong = secure("TOKEN_CANCELLED", "/data/orders").at(format!("swebhdfs://{}", proxy.address));
    wrong.asks(&[List, Read]).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert_eq!(proxy.connections(), 2, "one without a login, and a rejected login once");
}

#[tokio::test]
async fn the_name_node_hears_who_asks_and_nothing_that_changes_anything() {
    let path = "/data/incoming/part-0";
    for case in both(path) {
        case.asks(&[List, Read, Write]).is_let_in().await;
    }
    let heard = eventually(DEADLINE, "the name nodes tell of the looks", async || {
        let heard = server().requests_about(path);
        let asked = |user: &str, command: &str| {
            heard.iter().any(|request: &Request| request.user.starts_with(user) && request.command == command)
        };
        let told = ["reader (auth:SIMPLE)", "reader@EXAMPLE.COM (auth:TOKEN)"]
            .iter()
            .all(|user| asked(user, "getfileinfo") && asked(user, "checkAccess"));
        told.then(|| heard.clone())
    })
    .await;
    // Those of the script's own, which has made it, come by RPC.
    for request in heard.iter().filter(|request| request.protocol == "webhdfs") {
        assert!(["getfileinfo", "checkAccess"].contains(&request.command.as_str()), "{request:?}");
    }
}

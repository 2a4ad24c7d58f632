//! What real name nodes and a real KDC answer by RPC: names that they trust, Kerberos, each right, each case.

use super::*;
use crate::harness::{DEADLINE, eventually, hdfs::Request, peer::Peer, proxy::Proxy};

/// A connection as `reader` to the active name node of the HDFS that trusts every name.
fn simple(path: &str) -> Case {
    Case::rpc(&[&server().said["ACTIVE"]], path).named("reader")
}

/// A connection to the HDFS that asks for Kerberos, as a user of its KDC.
fn kerberos(user: &str, path: &str) -> Case {
    let keytab = format!("KEYTAB_{}", user.to_uppercase());
    Case::rpc(&[&server().said["KERBEROS"]], path).principal(user, &server().said["KDC"]).keytab(&keytab)
}

/// Both ways to log in, as a user.
fn both(user: &str, path: &str) -> [Case; 2] {
    [simple(path).named(user), kerberos(user, path)]
}

/// A peer that says nothing.
async fn silent() -> Peer {
    Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await
}

// The six cases.

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    for (path, permissions) in [
        ("/data/private", &[][..]),
        ("/data/orders", &[List, Read]),
        ("/data/orders/part-0", &[List]),
        ("/data/public", &[List, Read]),
        ("/data/many", &[List]),
        ("/", &[List, Read]),
    ] {
        for case in both("reader", path) {
            let proof = case.asks(permissions).is_let_in().await;
            assert_eq!(proof.unproven().is_empty(), !permissions.contains(&Read), "{path}");
        }
    }
}

#[tokio::test]
async fn a_name_that_is_trusted_is_no_login_and_a_ticket_is_one() {
    simple("/data/orders").passes_as_nobody().await;
    simple("/data/absent").ends_as_nobody(Reason::TargetNotFound).await;
    kerberos("reader", "/data/orders").passes().await;
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let other_key = kerberos("reader", "/data/orders").keytab("KEYTAB_WRONG");
    let message = other_key.asks(&[List]).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("the key does not fit"), "{message}");
    let unknown = kerberos("stranger", "/data/orders").asks(&[List]);
    let message = unknown.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("does not know the principal"), "{message}");
}

#[tokio::test]
async fn a_missing_path_is_named() {
    for case in both("reader", "/data/absent") {
        let message = case.asks(&[List, Read]).ends(Stage::Access, Reason::TargetNotFound).await;
        assert!(message.starts_with("/data/absent does not exist"), "{message}");
    }
}

#[tokio::test]
async fn what_is_below_a_closed_directory_is_not_permitted() {
    for path in ["/data/private/part-0", "/data/private/absent"] {
        for case in both("reader", path) {
            let message = case.asks(&[List]).ends(Stage::Access, Reason::PermissionDenied).await;
            assert!(
                message.starts_with(&format!("not permitted on {path} (AccessControlException, to reach it)")),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses_and_a_silent_one_is_out_of_time() {
    let (nobody, silent) = (peer::nobody().to_string(), silent().await);
    let quiet = silent.address.to_string();
    for case in both("reader", "/data/orders") {
        let message = case.clone().nodes(&[&nobody]).ends(Stage::Reach, Reason::ConnectionRefused).await;
        assert!(message.contains(&nobody), "{message}");
        let case = case.nodes(&[&quiet]).within(std::time::Duration::from_secs(8));
        let message = case.ends(Stage::Reach, Reason::TimedOut).await;
        assert!(message.contains(&quiet), "{message}");
    }
}

#[tokio::test]
async fn a_kdc_that_refuses_or_is_silent_is_the_one_that_is_named() {
    let (nobody, silent) = (peer::nobody().to_string(), silent().await);
    let case = kerberos("reader", "/data/orders");
    let message = case.clone().principal("reader", &nobody).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&nobody), "{message}");
    let quiet = silent.address.to_string();
    let report = case.principal("reader", &quiet).within(std::time::Duration::from_secs(8)).probe().await;
    let (stage, failure) = report.failure().expect("nobody has answered");
    assert_eq!((stage, failure.reason()), (Stage::Reach, Reason::TimedOut), "{}", failure.message());
    assert!(failure.message().contains(&quiet), "{}", failure.message());
}

#[tokio::test]
async fn what_is_signed_or_encrypted_after_the_login_is_read_all_the_same() {
    for port in ["SIGNED", "ENCRYPTED"] {
        let at = |user, path| kerberos(user, path).nodes(&[&server().said[port]]);
        at("reader", "/data/orders").asks(&[List, Read]).passes().await;
        at("reader", "/data/absent").ends(Stage::Access, Reason::TargetNotFound).await;
        let message = at("nobody", "/data/orders").asks(&[List]).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.contains("AccessControlException, List"), "{message}");
        at("reader", "/data/orders")
            .keytab("KEYTAB_WRONG")
            .ends(Stage::Authenticate, Reason::AuthenticationFailed)
            .await;
    }
}

#[tokio::test]
async fn whom_the_service_does_not_let_in_is_told_so_or_where_to_look() {
    let message = kerberos("barred", "/data/orders").ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("AuthorizationException") && message.contains("hadoop-policy.xml"), "{message}");
    // What is said then is encrypted, and belongs to no question: the client drops it.
    for port in ["SIGNED", "ENCRYPTED"] {
        let case = kerberos("barred", "/data/orders").nodes(&[&server().said[port]]);
        let message = case.ends(Stage::Access, Reason::ConnectionClosed).await;
        assert!(message.contains("hadoop-policy.xml") && message.contains("hadoop.rpc.protection"), "{message}");
    }
}

// Permissions.

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (user, path) in
        [("reader", "/data/drop"), ("reader", "/data/names"), ("reader", "/data/private"), ("nobody", "/data/orders")]
    {
        for case in both(user, path) {
            for (permissions, words) in [(&[List][..], "List):"), (&[List, Read], "List, Read):"), (&[Read], "Read):")]
            {
                let message = case.clone().asks(permissions).ends(Stage::Access, Reason::PermissionDenied).await;
                let expected = format!("not permitted on {path} (AccessControlException, {words}");
                assert!(message.starts_with(&expected), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_is_to_be_read_is_not_provable() {
    for case in both("reader", "/data/orders/part-0") {
        case.asks(&[Read]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    }
}

// Who is asked, and as whom.

#[tokio::test]
async fn one_active_name_node_is_enough_whatever_stands_before_it() {
    let (said, nobody) = (&server().said, peer::nobody().to_string());
    let (active, standby) = (&said["ACTIVE"], &said["STANDBY"]);
    let case = simple("/data/orders").asks(&[List]);
    assert!(case.clone().nodes(&[active, &nobody]).is_let_in().await.unproven().is_empty());
    assert!(case.clone().nodes(&[standby, active]).is_let_in().await.unproven().is_empty());
    let past = case::past([&nobody]);
    assert_eq!(case.clone().nodes(&[&nobody, active]).is_let_in().await, past);
    assert_eq!(case.clone().nodes(&[&nobody, standby, active]).is_let_in().await, past);
    let good = &said["KERBEROS"];
    kerberos("reader", "/data/orders").nodes(&[&nobody, good]).asks(&[List]).passes().await;
    // A name node that is not reached may be the active one.
    let message = case.nodes(&[standby, &nobody]).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&nobody) && message.contains(&format!("{standby}: is a standby")), "{message}");
}

#[tokio::test]
async fn a_standby_name_node_alone_is_called_so() {
    let case = simple("/data/orders").nodes(&[&server().said["STANDBY"]]);
    let message = case.ends(Stage::Access, Reason::ServerUnavailable).await;
    assert!(message.contains("(StandbyException)") && message.contains("hdfs.nameNodes"), "{message}");
}

#[tokio::test]
async fn a_name_node_that_believes_every_name_is_refused_where_kerberos_is_asked_for() {
    let active = server().said["ACTIVE"].replace("127.0.0.1", "localhost");
    let case = kerberos("reader", "/data/orders").nodes(&[&active]);
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
    assert!(message.contains("believes every name"), "{message}");
}

#[tokio::test]
async fn a_name_is_not_enough_where_kerberos_is_asked_for() {
    let case = simple("/data/orders").nodes(&[&server().said["KERBEROS"]]);
    let message = case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
    assert!(message.contains("hdfs.kerberos"), "{message}");
}

#[tokio::test]
async fn a_name_node_must_have_the_principal_that_is_expected() {
    let named = |principal: &str| {
        let principal = Some(principal.to_owned());
        kerberos("reader", "/data/orders").with(|settings| {
            settings.kerberos.as_mut().expect("Kerberos").server_principal = principal;
        })
    };
    for principal in ["hdfs/_HOST", "hdfs/localhost"] {
        named(principal).asks(&[List]).is_let_in().await;
    }
    for principal in ["nn/_HOST", "hdfs/elsewhere.example.com"] {
        let message = named(principal).ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
        assert!(message.contains("serverPrincipal"), "{message}");
    }
    // By an address it has another one.
    let case = kerberos("reader", "/data/orders").nodes(&[&server().address("KERBEROS").to_string()]);
    case.ends(Stage::Authenticate, Reason::AuthenticationMethodNotSupported).await;
}

#[tokio::test]
async fn a_port_of_something_else_is_no_name_nodes() {
    let message = simple("/data/orders")
        .nodes(&[&server().said["ACTIVE_WEB"]])
        .ends(Stage::Reach, Reason::ProtocolMismatch)
        .await;
    assert!(message.contains(&server().said["ACTIVE_WEB"]), "{message}");
}

#[tokio::test]
async fn every_address_is_judged() {
    let (node, kdc) = (server().address("KERBEROS"), server().address("KDC"));
    for denied in [node, kdc] {
        let world = case::world(&["127.0.0.0/8"], &[&format!("127.0.0.0/8:{}", denied.port())]);
        let case = kerberos("reader", "/data/orders").in_world(world);
        let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
        assert!(message.contains(&denied.port().to_string()), "{message}");
    }
}

// What it does to them.

#[tokio::test]
async fn one_look_dials_once_and_asks_the_kdc_for_two_tickets() {
    let (node, kdc) = (Proxy::to(server().address("KERBEROS")).await, Proxy::to(server().address("KDC")).await);
    let local = |proxy: &Proxy| format!("localhost:{}", proxy.address.port());
    let case = kerberos("reader", "/data/orders").nodes(&[&local(&node)]).principal("reader", &local(&kdc));
    case.clone().asks(&[List, Read]).is_let_in().await;
    let asked = (node.connections(), kdc.connections());
    assert!(asked.0 == 1 && (2..=3).contains(&asked.1), "{asked:?}");
    case.keytab("KEYTAB_WRONG").ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    let again = (node.connections() - asked.0, kdc.connections() - asked.1);
    assert!(again.0 == 1 && again.1 <= 2, "{again:?}: a rejected login is made once");
    let node = Proxy::to(server().address("ACTIVE")).await;
    simple("/data/orders").nodes(&[&node.address.to_string()]).asks(&[List, Read]).passes_as_nobody().await;
    assert_eq!(node.connections(), 1);
}

#[tokio::test]
async fn the_name_node_hears_who_asks_and_nothing_that_changes_anything() {
    let path = "/data/public";
    for case in both("reader", path) {
        case.asks(&[List, Read]).is_let_in().await;
    }
    let heard = eventually(DEADLINE, "the name nodes tell of the looks", async || {
        let heard = server().requests_about(path);
        let heard: Vec<Request> = heard.into_iter().filter(|request| request.user.starts_with("reader")).collect();
        let asked = |user: &str, command: &str| {
            let is = |request: &Request| request.user.starts_with(user) && request.command == command;
            heard.iter().any(|request| is(request) && request.protocol == "rpc")
        };
        let told = ["reader (auth:SIMPLE)", "reader@EXAMPLE.COM (auth:KERBEROS)"]
            .iter()
            .all(|user| asked(user, "getfileinfo") && asked(user, "listStatus"));
        told.then(|| heard.clone())
    })
    .await;
    for request in heard.iter().filter(|request| request.protocol == "rpc") {
        assert!(["getfileinfo", "listStatus"].contains(&request.command.as_str()), "{request:?}");
    }
}

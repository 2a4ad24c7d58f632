//! What an environment answers to who logs in and asks, with whatever rights.

use std::sync::Arc;

use super::*;
use crate::harness::{
    authority::Authority,
    qubole::{READS_CLUSTERS, verdict},
};

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(policies(), READS_CLUSTERS);
    let environment = granted().start().await;
    let proof = Case::of(&environment).passes().await;
    assert_eq!(proof, Proof::default());
    for case in [
        Case::of(&environment).presto(LABEL),
        Case::of(&environment).hive("orders-hive"),
        Case::of(&environment).presto("1710").hive("orders-hive"),
    ] {
        assert_eq!(case.passes().await.unproven(), ["that a cluster runs, or can be started"]);
    }
}

#[tokio::test]
async fn the_minimal_example_is_about_what_the_stand_in_knows() {
    let about = ConnectionType::Qubole.about();
    assert!(about.minimal.contains(&format!("prestoClusterLabel: {LABEL}\n")), "{}", about.minimal);
    let environment = Known::example(TOKEN).start().await;
    Case::of(&environment).presto(LABEL).passes().await;
}

#[tokio::test]
async fn without_the_right_nothing_is_seen_and_each_cluster_is_named() {
    for policies in [
        "[]",
        r#"[{"access": "allow", "resource": "command", "action": ["read"]}]"#,
        r#"[{"access": "allow", "resource": "cluster", "action": ["start"]}]"#,
        r#"[{"access": "allow", "resource": "cluster", "action": ["all"]}, {"access": "deny", "resource": "cluster", "action": ["read"]}]"#,
    ] {
        let environment = granted().user("few", policies).start().await;
        let few = || Case::of(&environment).secret("apiToken", "few");
        let message = few().ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with("not permitted on the list of clusters (403): give"), "{message}");
        let message = few().presto(LABEL).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on cluster {LABEL} (403): give")), "{message}");
        let message = few().presto(LABEL).hive("orders-hive").ends(Stage::Access, Reason::PermissionDenied).await;
        let both = format!("not permitted on each of these clusters (403, {LABEL}, orders-hive): ");
        assert!(message.starts_with(&both), "{message}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let environment = granted().start().await;
    let count = || environment.web.asked().len();
    for token in ["hunter3", &TOKEN.to_uppercase(), &TOKEN[1..], "q9z"] {
        for case in [Case::of(&environment), Case::of(&environment).presto("none").hive("orders-hive")] {
            let before = count();
            let message = case.secret("apiToken", token).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
            assert!(message.contains("(401)") && message.contains("spec.qubole.endpoint"), "{message}");
            assert!(message.contains(&environment.web.peer.address.to_string()), "{message}");
            assert_eq!(count() - before, 1, "{message}: a rejection comes once in a look");
        }
    }
}

#[tokio::test]
async fn a_missing_target_is_named_and_so_is_each_of_two() {
    let environment = granted().start().await;
    for (case, about) in [
        (Case::of(&environment).presto("none"), "cluster none does not exist (404): "),
        (Case::of(&environment).presto("none").hive("orders-hive"), "cluster none does not exist (404): "),
        (Case::of(&environment).presto(LABEL).hive("none"), "cluster none does not exist (404): "),
        (Case::of(&environment).presto("Orders-Presto"), "cluster Orders-Presto does not exist (404): "),
        (Case::of(&environment).presto("none").hive("none"), "cluster none does not exist (404): "),
        (Case::of(&environment).presto("no").hive("not"), "each of these clusters does not exist (404, no, not): "),
    ] {
        let message = case.ends(Stage::Access, Reason::TargetNotFound).await;
        assert!(message.starts_with(about), "{message}");
        assert!(message.contains("correct its label") && message.contains("version 2 of the API"), "{message}");
    }
    let (long, longer) = ("x".repeat(128), "y".repeat(128));
    let message = Case::of(&environment).presto(&long).hive(&longer).ends(Stage::Access, Reason::TargetNotFound).await;
    assert!(message.contains(&long) && message.contains(&longer), "{message}");
}

#[tokio::test]
async fn in_whatever_state_a_cluster_is_it_is_there() {
    for state in ["UP", "DOWN", "PENDING", "TERMINATING"] {
        let environment = granted().cluster(7, &["seven"], state).start().await;
        Case::of(&environment).hive("seven").passes().await;
    }
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    for (presto, hive, expected) in [
        (None, None, &["GET /api/v2/clusters?per_page=1"][..]),
        (Some("presto"), None, &["GET /api/v2/clusters/presto/state"]),
        (None, Some("1711"), &["GET /api/v2/clusters/1711/state"]),
        (Some("presto"), Some("presto"), &["GET /api/v2/clusters/presto/state"]),
        (
            Some("presto"),
            Some("orders-hive"),
            &["GET /api/v2/clusters/presto/state", "GET /api/v2/clusters/orders-hive/state"],
        ),
    ] {
        let environment = granted().start().await;
        let case = Case::of(&environment).with(|settings| {
            settings.presto_cluster_label = presto.map(str::to_owned);
            settings.hive_cluster_label = hive.map(str::to_owned);
        });
        case.passes().await;
        let asked = environment.web.asked();
        assert_eq!(asked.iter().map(|asked| asked.line.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(environment.web.peer.accepted(), expected.len(), "each request has a connection of its own");
        for asked in asked {
            assert_eq!((asked.header("x-auth-token"), asked.body.as_str()), (TOKEN, ""));
            let agent = concat!("connection-operator/", env!("CARGO_PKG_VERSION"));
            assert_eq!(asked.header("user-agent"), agent, "a look says who it is");
        }
    }
}

#[tokio::test]
async fn an_endpoint_may_have_a_path_and_a_slash() {
    let web = impostor(|_| Some(state_of(1710, "UP", 1))).await;
    let address = web.peer.address;
    for endpoint in [format!("https://{address}/qds/"), format!("https://{address}/")] {
        let settings = serde_json::json!({"endpoint": endpoint, "hiveClusterLabel": "h_1.x-y"});
        let settings: Settings = serde_json::from_value(settings).expect("settings");
        Case::at(address).with(|old| *old = settings).passes().await;
    }
    let lines: Vec<String> = web.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, ["GET /qds/api/v2/clusters/h_1.x-y/state", "GET /api/v2/clusters/h_1.x-y/state"]);
}

#[tokio::test]
async fn without_an_endpoint_it_is_the_default_environment_which_may_be_gone() {
    let zone = Arc::<case::Zone>::default();
    let case = Case::at(peer::nobody()).with(|settings| settings.endpoint = None).in_world(zone.world());
    let message = case.ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("api.qubole.com:443") && message.contains("may have been retired"), "{message}");
    assert_eq!(zone.asked(), ["api.qubole.com"]);
    // Of a host of one's own that is not said.
    let own = serde_json::json!({"endpoint": "https://qubole:8443"});
    let own: Settings = serde_json::from_value(own).expect("settings");
    let case = Case::at(peer::nobody()).with(|settings| *settings = own).in_world(zone.world());
    let message = case.ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("qubole.shop.svc:8443") && !message.contains("retired"), "{message}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let address = peer::nobody();
    let message = Case::at(address).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&address.to_string()), "{message}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted_and_of_another_name_is_called_so() {
    let environment = granted().start().await;
    let stranger = Authority::new().roots();
    let untrusted = Case::of(&environment).tls(|tls| tls.roots = stranger);
    let message = untrusted.ends(Stage::Reach, Reason::CertificateUntrusted).await;
    assert!(message.contains(&environment.web.peer.address.to_string()), "{message}");
    let named = Case::of(&environment).tls(|tls| tls.server_name = Some("other.example".to_owned()));
    named.ends(Stage::Reach, Reason::CertificateNameMismatch).await;
    assert_eq!(environment.web.asked().len(), 0, "no token is sent to who is not verified");
}

#[test]
fn the_stand_in_refuses_what_is_never_to_be_sent() {
    let json = "application/json";
    let sound = [("user-agent", "x"), ("accept", json), ("content-type", json), ("x-auth-token", TOKEN)];
    let known = granted();
    assert_eq!(verdict(&known, "GET /api/v2/clusters/presto/state", &sound, ""), (200, 0));
    assert_eq!(verdict(&known, "GET /api/v2/clusters?per_page=1", &sound, ""), (200, 0));
    assert_eq!(verdict(&known, "GET /api/v2/clusters/presto/state", &sound[..3], ""), (401, 0));
    for (line, headers, body) in [
        ("GET /api/v2/accounts", &sound[..], ""),
        ("GET /api/v2/accounts/get_creds", &sound, ""),
        ("GET /api/v1.2/users", &sound, ""),
        ("GET /api/v2/clusters", &sound, ""),
        ("GET /api/v2/clusters/presto", &sound, ""),
        ("GET /api/v2/clusters/../accounts/state", &sound, ""),
        ("GET /api/v2/clusters/x?y=/state", &sound, ""),
        ("PUT /api/v2/clusters/presto/state", &sound, r#"{"state": "start"}"#),
        ("GET /api/v2/clusters/presto/state", &sound, "{}"),
        ("GET /api/v2/clusters/presto/state", &sound[1..], ""),
        ("GET /api/v2/clusters/presto/state", &[sound[0], sound[1], sound[3]], ""),
        ("GET /api/v2/clusters/presto/state", &[&sound[..], &[("authorization", "Bearer x")]].concat(), ""),
    ] {
        assert_eq!(verdict(&known, line, headers, body).1, 1, "{line}");
    }
}

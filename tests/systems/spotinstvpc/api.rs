//! What the API answers to who logs in and asks, with whatever rights.

use std::sync::Arc;

use super::*;
use crate::harness::{authority::Authority, spotinst::verdict};

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(role(), format!("Viewer of the account {ACCOUNT}"));
    let api = granted().start().await;
    assert_eq!(Case::of(&api).passes().await, Proof::default());
}

#[tokio::test]
async fn the_minimal_example_is_about_what_the_stand_in_knows() {
    let about = ConnectionType::SpotinstVPC.about();
    assert!(about.minimal.contains(&format!("accountID: {ACCOUNT}\n")), "{}", about.minimal);
    let api = Known::example(TOKEN).start().await;
    Case::of(&api).passes().await;
    Case::of(&api).secret("token", "").secret("SPOTINST_TOKEN", TOKEN).passes().await;
}

#[tokio::test]
async fn what_describes_only_is_not_looked_at_and_the_message_says_so() {
    let api = granted().start().await;
    let unproven = ["that the VPC and its subnet exist, since they are not looked up"];
    for (region, vpc, subnet, expected) in [
        (Some("eu-west-1"), None, None, &[][..]),
        (None, Some("vpc-0a1b2c3d"), None, &unproven),
        (None, None, Some("10.0.16.0/20"), &unproven),
        (Some("nowhere-9"), Some("vpc-0a1b2c3d4e5f67890"), Some("0.0.0.0/0"), &unproven),
    ] {
        let case = Case::of(&api).with(|settings| {
            settings.region = region.map(str::to_owned);
            settings.vpc_id = vpc.map(str::to_owned);
            settings.subnet_cidr = subnet.map(str::to_owned);
        });
        assert_eq!(case.passes().await.unproven(), expected);
    }
    for asked in api.web.asked() {
        assert_eq!(asked.line, format!("GET /setup/account/{ACCOUNT}"), "nothing of it is sent");
    }
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let api = granted().start().await;
    for token in ["hunter3", &TOKEN.to_uppercase(), &TOKEN[1..], "q9z"] {
        for account in [ACCOUNT, "act-n0ne"] {
            let before = api.web.asked().len();
            let case = Case::of(&api).secret("token", token).account(account);
            let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
            assert!(message.contains("(401)") && message.contains("has not expired"), "{message}");
            assert!(message.contains(&api.web.peer.address.to_string()), "{message}");
            assert_eq!(api.web.asked().len() - before, 1, "{message}: a rejection comes once in a look");
        }
    }
}

#[tokio::test]
async fn a_missing_target_is_named_and_not_told_from_one_that_may_not_be_seen() {
    let api = granted().start().await;
    for (account, code) in [
        ("act-n0ne", "(400, Account_DOESNT_EXIST)"),
        ("act-0ther0rg", "(403)"),
        ("act-7C2D91E4", "(400, Account_DOESNT_EXIST)"),
    ] {
        let message = Case::of(&api).account(account).ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
        let begin = format!("account {account} does not exist or may not be seen with these credentials {code}: ");
        assert!(message.starts_with(&begin) && message.contains("spec.spotinstVPC.accountID"), "{message}");
    }
    let api = granted().user("few", &[]).start().await;
    let few = Case::of(&api).secret("token", "few");
    few.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
}

#[tokio::test]
async fn a_look_makes_the_request_that_is_listed_and_no_other() {
    let api = granted().start().await;
    for _ in 0..2 {
        Case::of(&api).passes().await;
    }
    let asked = api.web.asked();
    assert_eq!((asked.len(), api.web.peer.accepted()), (2, 2), "one look is one request");
    for asked in asked {
        assert_eq!((asked.line.as_str(), asked.body.as_str()), ("GET /setup/account/act-7c2d91e4", ""));
        assert_eq!(asked.header("authorization"), format!("Bearer {TOKEN}"));
        let agent = concat!("connection-operator/", env!("CARGO_PKG_VERSION"));
        assert_eq!(asked.header("user-agent"), agent, "a look says who it is");
    }
}

#[tokio::test]
async fn an_endpoint_may_have_a_path_and_a_slash() {
    let web = impostor(|_| Some(items(&[found(ACCOUNT)]))).await;
    let address = web.peer.address;
    for endpoint in [format!("https://{address}/spot/"), format!("https://{address}/")] {
        let settings = serde_json::json!({"accountID": ACCOUNT, "endpoint": endpoint});
        let settings: Settings = serde_json::from_value(settings).expect("settings");
        Case::at(address).with(|old| *old = settings).passes().await;
    }
    let lines: Vec<String> = web.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, [format!("GET /spot/setup/account/{ACCOUNT}"), format!("GET /setup/account/{ACCOUNT}")]);
}

#[tokio::test]
async fn without_an_endpoint_it_is_the_vendors_host() {
    let zone = Arc::<case::Zone>::default();
    let case = Case::at(peer::nobody()).with(|settings| settings.endpoint = None).in_world(zone.world());
    let message = case.ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("api.spotinst.io:443"), "{message}");
    assert_eq!(zone.asked(), ["api.spotinst.io"]);
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let address = peer::nobody();
    let message = Case::at(address).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&address.to_string()), "{message}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted_and_of_another_name_is_called_so() {
    let api = granted().start().await;
    let stranger = Authority::new().roots();
    let message = Case::of(&api).tls(|tls| tls.roots = stranger).ends(Stage::Reach, Reason::CertificateUntrusted).await;
    assert!(message.contains(&api.web.peer.address.to_string()), "{message}");
    let named = Case::of(&api).tls(|tls| tls.server_name = Some("other.example".to_owned()));
    named.ends(Stage::Reach, Reason::CertificateNameMismatch).await;
    assert_eq!(api.web.asked().len(), 0, "no token is sent to who is not verified");
}

#[test]
fn the_stand_in_refuses_what_is_never_to_be_sent() {
    let bearer = format!("Bearer {TOKEN}");
    let json = "application/json";
    let sound = [("user-agent", "x"), ("accept", json), ("content-type", json), ("authorization", bearer.as_str())];
    let known = granted();
    assert_eq!(verdict(&known, "GET /setup/account/act-7c2d91e4", &sound, ""), (200, 0));
    assert_eq!(verdict(&known, "GET /setup/account/act-7c2d91e4", &sound[..3], ""), (401, 0));
    let basic = [sound[0], sound[1], sound[2], ("authorization", TOKEN)];
    assert_eq!(verdict(&known, "GET /setup/account/act-7c2d91e4", &basic, ""), (401, 0));
    for (line, headers, body) in [
        ("GET /setup/account", &sound[..], ""),
        ("GET /setup/account/", &sound, ""),
        ("GET /setup/account/act-7c2d91e4/user", &sound, ""),
        ("GET /setup/account/act-7c2d91e4?accountId=x", &sound, ""),
        ("GET /setup/account/act%2D7c2d91e4", &sound, ""),
        ("GET /aws/ec2/group?accountId=act-7c2d91e4", &sound, ""),
        ("PUT /setup/account/act-7c2d91e4", &sound, "{}"),
        ("DELETE /setup/account/act-7c2d91e4", &sound, ""),
        ("GET /setup/account/act-7c2d91e4", &sound, r#"{"account": "act-7c2d91e4"}"#),
        ("GET /setup/account/act-7c2d91e4", &sound[1..], ""),
        ("GET /setup/account/act-7c2d91e4", &[sound[0], sound[1], sound[3]], ""),
    ] {
        assert_eq!(verdict(&known, line, headers, body).1, 1, "{line}");
    }
}

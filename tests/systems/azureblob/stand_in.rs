//! What the service may do that the emulator cannot be made to do: its own codes, other clocks, silence, noise, endlessness; and
//! what it hears.

use std::sync::{Arc, LazyLock};

use connection_operator::net::tls::Roots;

use super::*;
use crate::{
    case::Zone,
    harness::{
        authority::{Authority, Clients},
        peer::Peer,
        web::{Answer, Asked, Web},
    },
};

const LISTED: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults \
    ServiceEndpoint=\"https://orders.blob.core.windows.net/\" ContainerName=\"orders\"><MaxResults>1</MaxResults>\
    <Blobs><Blob><Name>canary</Name></Blob></Blobs><NextMarker>canary</NextMarker></EnumerationResults>";

const KEY: &str = "aHVudGVyMi1rZXk=";
const SAS: &str = "sv=2023-11-03&sr=c&si=orders-reader&sig=aHVudGVyMi1zYXM%3D";
const OVER: &str = "sv=2023-11-03&sr=c&sp=rl&se=2020-01-01T00:00:00Z&sig=aHVudGVyMi1zYXM%3D";

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// An answer of Azure's own.
fn says(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>canary</Message></Error>");
    let answer = Answer::new(status, body).header("server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0");
    let answer = answer.header("x-ms-request-id", "canary");
    if code.is_empty() { answer } else { answer.header("x-ms-error-code", code) }
}

/// A case with the account's key, without TLS, against a peer.
fn plain(web: &Web) -> Case {
    let case = Case::container(&format!("http://{}", web.peer.address), "orders").tls(|tls| tls.mode = Mode::Disable);
    case.secret("accountKey", KEY)
}

/// A peer with TLS that gives `answer` to each request.
async fn secured(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::over(Some(AUTHORITY.acceptor(&["127.0.0.1"], Clients::Anybody)), answer).await
}

/// A case with a SAS, over TLS, against a peer.
fn with_sas(web: &Web, sas: &str) -> Case {
    let case = Case::container(&format!("https://{}", web.peer.address), "orders").secret("sasToken", sas);
    case.tls(|tls| tls.roots = AUTHORITY.roots())
}

fn is_list(asked: &Asked) -> bool {
    asked.line.contains("comp=list")
}

/// What a peer gives to the listing, and `answer` to everything else.
fn listing_then(
    answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static {
    move |asked| if is_list(asked) { Some(Answer::new(200, LISTED)) } else { answer(asked) }
}

#[tokio::test]
async fn every_code_of_the_first_answer_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, code, stage, reason) in [
        (403, "AuthenticationFailed", S::Authenticate, R::AuthenticationFailed),
        (401, "InvalidAuthenticationInfo", S::Authenticate, R::AuthenticationFailed),
        (401, "NoAuthenticationInformation", S::Authenticate, R::AuthenticationFailed),
        (403, "KeyBasedAuthenticationNotPermitted", S::Authenticate, R::AuthenticationMethodNotSupported),
        (403, "AuthorizationSourceIPMismatch", S::Authenticate, R::SourceNotAllowed),
        (400, "AccountRequiresHttps", S::Authenticate, R::EncryptionRequired),
        (403, "AuthorizationProtocolMismatch", S::Authenticate, R::EncryptionRequired),
        (403, "AuthorizationFailure", S::Access, R::PermissionDenied),
        (403, "AuthorizationPermissionMismatch", S::Access, R::PermissionDenied),
        (403, "AuthorizationResourceTypeMismatch", S::Access, R::PermissionDenied),
        (403, "AuthorizationServiceMismatch", S::Access, R::PermissionDenied),
        (403, "InsufficientAccountPermissions", S::Access, R::PermissionDenied),
        (404, "ContainerNotFound", S::Access, R::TargetNotFound),
        (404, "ResourceNotFound", S::Access, R::TargetNotFound),
        (409, "ContainerBeingDeleted", S::Access, R::TargetUnavailable),
        (409, "ContainerDisabled", S::Access, R::TargetUnavailable),
        (403, "AccountIsDisabled", S::Access, R::TargetUnavailable),
        (409, "AccountBeingCreated", S::Access, R::TargetUnavailable),
        (503, "ServerBusy", S::Authenticate, R::Throttled),
        (500, "InternalError", S::Authenticate, R::ServerUnavailable),
        (500, "OperationTimedOut", S::Authenticate, R::ServerUnavailable),
    ] {
        let web = Web::that(move |_| Some(says(status, code).header("location", "http://127.0.0.1:1/"))).await;
        let message = plain(&web).asks(&[List, Read, Write]).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
        assert_eq!(web.asked().len(), 1, "{code}: nothing is asked again");
    }
}

#[tokio::test]
async fn a_refusal_that_may_be_the_networks_says_so() {
    let web = Web::that(|_| Some(says(403, "AuthorizationFailure"))).await;
    let message = plain(&web).asks(&[List]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(
        message.starts_with("not permitted on container orders of account orders (AuthorizationFailure, List)"),
        "{message}"
    );
    assert!(message.contains("network rules"), "{message}");
    let web = Web::that(|_| Some(says(403, "AuthorizationPermissionMismatch"))).await;
    let message = plain(&web).asks(&[List]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(!message.contains("network rules"), "{message}");
}

#[tokio::test]
async fn a_status_without_a_code_is_no_answer_of_the_service() {
    use {Reason as R, Stage as S};
    let events = LISTED.replace("\"orders\"", "\"events\"");
    for (answer, stage, reason) in [
        (Answer::new(200, "<html>canary</html>"), S::Reach, R::ProtocolMismatch),
        (Answer::new(200, "canary"), S::Reach, R::ProtocolMismatch),
        (Answer::new(200, events), S::Reach, R::ProtocolMismatch),
        (Answer::new(403, "<Error><Code>AuthenticationFailed</Code></Error>"), S::Reach, R::ProtocolMismatch),
        (says(400, "canary"), S::Reach, R::ProtocolMismatch),
        (Answer::new(302, "").header("location", "http://127.0.0.1:1/"), S::Reach, R::ProtocolMismatch),
        (Answer::new(429, ""), S::Authenticate, R::Throttled),
        (Answer::new(502, "<html>canary</html>"), S::Authenticate, R::ServerUnavailable),
    ] {
        let web = Web::that(move |_| Some(answer.clone())).await;
        plain(&web).ends(stage, reason).await;
        assert_eq!(web.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_signature_of_another_time_is_told_from_a_wrong_one_by_the_services_clock() {
    for (date, reason) in
        [("Mon, 01 Jan 2001 00:00:00 GMT", Reason::ClockSkewed), ("canary", Reason::AuthenticationFailed)]
    {
        let web = Web::that(move |_| Some(says(403, "AuthenticationFailed").header("date", date))).await;
        plain(&web).ends(Stage::Authenticate, reason).await;
        // What a SAS says about time was not said by us.
        let web = secured(move |_| Some(says(403, "AuthenticationFailed").header("date", date))).await;
        with_sas(&web, SAS).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    }
    // Nor does a right become a matter of time.
    let web =
        Web::that(|_| Some(says(403, "AuthorizationFailure").header("date", "Mon, 01 Jan 2001 00:00:00 GMT"))).await;
    plain(&web).ends(Stage::Access, Reason::PermissionDenied).await;
}

#[tokio::test]
async fn reading_is_proven_by_a_blob_that_is_not_there() {
    use Reason as R;
    for (status, code, reason) in [
        (404, "BlobNotFound", None),
        // Somebody has made it.
        (206, "", None),
        (200, "", None),
        (416, "InvalidRange", None),
        (409, "BlobArchived", None),
        (403, "AuthorizationPermissionMismatch", Some(R::PermissionDenied)),
        (403, "AuthorizationFailure", Some(R::PermissionDenied)),
        (400, "InvalidHeaderValue", Some(R::PermissionNotProvable)),
        (404, "", Some(R::PermissionNotProvable)),
        (404, "ContainerNotFound", Some(R::TargetNotFound)),
        (503, "ServerBusy", Some(R::Throttled)),
        (403, "AuthenticationFailed", Some(R::AuthenticationFailed)),
    ] {
        let web = Web::that(listing_then(move |_| Some(says(status, code)))).await;
        let report = plain(&web).asks(&[List, Read]).probe().await;
        assert_eq!(report.failure().map(|(_, failure)| failure.reason()), reason, "{status} {code}");
        let asked = web.asked();
        assert_eq!(asked[1].line, "GET /orders/connection-operator/no-such-blob");
        assert_eq!((asked[1].header("range"), asked.len()), ("bytes=0-0", 2));
    }
}

#[tokio::test]
async fn writing_is_proven_by_a_condition_that_cannot_hold() {
    use Reason as R;
    for (status, code, reason) in [
        (412, "ConditionNotMet", None),
        (404, "BlobNotFound", None),
        (403, "AuthorizationPermissionMismatch", Some(R::PermissionDenied)),
        (403, "InsufficientAccountPermissions", Some(R::PermissionDenied)),
        (412, "", Some(R::PermissionNotProvable)),
        (409, "BlobImmutableDueToPolicy", Some(R::PermissionNotProvable)),
        (500, "OperationTimedOut", Some(R::ServerUnavailable)),
        (201, "", Some(R::ProtocolMismatch)),
    ] {
        let web = Web::that(listing_then(move |_| Some(says(status, code)))).await;
        let report = plain(&web).asks(&[Write]).probe().await;
        assert_eq!(report.failure().map(|(_, failure)| failure.reason()), reason, "{status} {code}");
        let asked = web.asked();
        assert_eq!(asked[1].line, "PUT /orders/connection-operator/no-such-blob");
        let heads = ["if-match", "content-length", "x-ms-blob-type"].map(|name| asked[1].header(name));
        assert_eq!((heads, asked[1].body.as_str()), (["\"0x0\"", "0", "BlockBlob"], ""));
    }
}

#[tokio::test]
async fn a_permission_that_is_unclear_is_said_only_where_none_is_missing() {
    let web = Web::that(listing_then(|asked| {
        let denied = asked.line.starts_with("GET");
        Some(if denied { says(403, "AuthorizationFailure") } else { says(405, "canary") })
    }))
    .await;
    let message = plain(&web).asks(&[List, Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on container orders of account orders (Read)"), "{message}");
    let message = plain(&web).asks(&[List, Write]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    assert!(message.contains("(405, Write)"), "{message}");
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    let web = Web::that(listing_then(|asked| {
        Some(if asked.line.starts_with("GET") { says(404, "BlobNotFound") } else { says(412, "ConditionNotMet") })
    }))
    .await;
    let base = format!("http://{}/one/", web.peer.address);
    plain(&web).at(base).below("2026/a b/").asks(&[List, Read, Write]).passes().await;
    let asked = web.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let blob = "/one/orders/2026/a%20b/connection-operator/no-such-blob";
    assert_eq!(
        lines,
        [
            "GET /one/orders?restype=container&comp=list&maxresults=1&prefix=2026%2Fa%20b%2F",
            &format!("GET {blob}"),
            &format!("PUT {blob}"),
        ]
    );
    for asked in &asked {
        assert!(asked.header("authorization").starts_with("SharedKey orders:"), "{asked:?}");
        assert!(asked.header("x-ms-date").ends_with(" GMT"), "{asked:?}");
        assert_eq!(asked.header("x-ms-version"), "2023-11-03");
    }
    assert_eq!(web.peer.accepted(), 3);
}

#[tokio::test]
async fn in_the_root_container_no_name_has_a_slash() {
    let web = Web::that(|asked| {
        let list = LISTED.replace("\"orders\"", "\"$root\"");
        Some(match &asked.line {
            _ if is_list(asked) => Answer::new(200, list),
            line if line
                .strip_prefix("GET /%24root/")
                .or(line.strip_prefix("PUT /%24root/"))
                .unwrap_or("/")
                .contains('/') =>
            {
                says(400, "InvalidUri")
            }
            line if line.starts_with("GET") => says(404, "BlobNotFound"),
            _ => says(412, "ConditionNotMet"),
        })
    })
    .await;
    plain(&web).of("$root").asks(&[List, Read, Write]).passes().await;
    plain(&web).of("$root").below("2026-").asks(&[List, Read, Write]).passes().await;
    assert_eq!(web.asked()[4].line, "GET /%24root/2026-connection-operator-no-such-blob");
}

#[tokio::test]
async fn a_sas_stands_at_the_end_of_every_url_and_nowhere_else() {
    let web = secured(listing_then(|_| Some(says(404, "BlobNotFound")))).await;
    with_sas(&web, &format!("?{SAS}")).asks(&[List, Read]).passes().await;
    let asked = web.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            &format!("GET /orders?restype=container&comp=list&maxresults=1&{SAS}"),
            &format!("GET /orders/connection-operator/no-such-blob?{SAS}"),
        ]
    );
    assert!(asked.iter().all(|asked| asked.header("authorization").is_empty()));
}

#[tokio::test]
async fn what_a_sas_does_not_permit_is_not_asked_about() {
    let web = secured(listing_then(|_| None)).await;
    let lister = "sv=2023-11-03&sr=c&sp=l&se=9998-12-31&sig=aHVudGVyMi1zYXM%3D";
    let case = with_sas(&web, lister).asks(&[List, Read, Write]);
    let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on container orders of account orders (Read, Write)"), "{message}");
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test]
async fn a_sas_that_is_over_is_not_sent() {
    for (answer, stage, reason) in [
        (says(404, "ResourceNotFound"), Stage::Authenticate, Reason::CredentialsExpired),
        (Answer::new(200, LISTED).header("x-ms-request-id", "x"), Stage::Authenticate, Reason::CredentialsExpired),
        // It may be that it is we who are late.
        (
            says(409, "PublicAccessNotPermitted").header("date", "Tue, 31 Dec 2019 00:00:00 GMT"),
            Stage::Authenticate,
            Reason::ClockSkewed,
        ),
        (Answer::new(200, LISTED), Stage::Reach, Reason::ProtocolMismatch),
    ] {
        let web = secured(move |_| Some(answer.clone())).await;
        with_sas(&web, OVER).asks(&[List, Read]).ends(stage, reason).await;
        let asked = web.asked();
        let [asked] = &asked[..] else { panic!("one request: {asked:?}") };
        assert_eq!(asked.line, "GET /orders?restype=container&comp=list&maxresults=1");
        assert_eq!(asked.header("authorization"), "");
    }
}

#[tokio::test]
async fn a_sas_goes_to_a_verified_service_only() {
    let verified = "set spec.tls.mode to VerifyFull";
    let web = secured(|_| Some(says(403, "AuthenticationFailed"))).await;
    let case = with_sas(&web, SAS).tls(|tls| (tls.mode, tls.roots) = (Mode::Require, Roots::System));
    let message = case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert!(message.contains(verified), "{message}");
    assert!(web.asked().iter().all(|asked| !asked.line.contains("sig=")), "{:?}", web.asked());
    let web = Web::that(|_| Some(says(403, "AuthenticationFailed"))).await;
    let case = plain(&web).secret("accountKey", "").secret("sasToken", SAS);
    let message = case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert!(message.contains(verified), "{message}");
    assert!(web.asked().iter().all(|asked| !asked.line.contains("sig=")), "{:?}", web.asked());
    // A key is not sent, so it is used.
    let web = secured(listing_then(|_| None)).await;
    let case = with_sas(&web, "").secret("accountKey", KEY);
    case.tls(|tls| (tls.mode, tls.roots) = (Mode::Require, Roots::System)).passes().await;
}

#[tokio::test]
async fn without_an_endpoint_the_host_is_the_accounts_in_its_cloud() {
    let zone = Arc::new(Zone::default());
    let vendors = Case::container("https://unused", "orders").with(|settings| settings.endpoint = None);
    let vendors = vendors.secret("accountKey", KEY).in_world(zone.world());
    for cloud in ["Public", "USGovernment", "China"] {
        let cloud = serde_json::from_value(cloud.into()).expect("a cloud");
        let case = vendors.clone().with(|settings| settings.cloud = Some(cloud));
        let message = case.ends(Stage::Reach, Reason::NameResolutionFailed).await;
        assert!(message.contains("an account that does not exist") && message.contains("private zone"), "{message}");
    }
    let hosts = ["core.windows.net", "core.usgovcloudapi.net", "core.chinacloudapi.cn"];
    assert_eq!(zone.asked(), hosts.map(|host| format!("orders.blob.{host}")));
    // Of a name that is in the spec nothing is known.
    let message = vendors.at("https://blobs.example".to_owned()).ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(!message.contains("account"), "{message}");
}

#[tokio::test]
async fn after_its_first_answer_a_service_is_late_in_the_stage_that_it_is_asked_about() {
    let web = Web::that(listing_then(|_| None)).await;
    plain(&web).asks(&[Read]).later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached() {
    let silent = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    for scheme in ["http", "https"] {
        let case = Case::container(&format!("{scheme}://{}", silent.address), "orders").secret("accountKey", KEY);
        let mode = if scheme == "http" { Mode::Disable } else { Mode::VerifyFull };
        case.tls(|tls| tls.mode = mode).soon().ends(Stage::Reach, Reason::TimedOut).await;
    }
}

#[tokio::test]
async fn a_listing_that_is_too_long_is_not_read() {
    let web = Web::that(|_| Some(Answer::new(200, LISTED.to_owned() + &" ".repeat(100_000)))).await;
    let message = plain(&web).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("more than a probe accepts"), "{message}");
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled() {
    let web = Web::that(|_| None).await;
    let case = plain(&web).in_world(case::world(&["10.0.0.0/8"], &[]));
    let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&web.peer.address.to_string()), "{message}");
    assert_eq!(web.peer.accepted(), 0);
}

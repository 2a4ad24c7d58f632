//! What services may do that the emulator cannot be made to do: codes of rare states, answers that are none, silence, noise.

use std::sync::Arc;

use super::*;
use crate::{
    case::Zone,
    harness::{
        peer::Peer,
        sigv4::Verifier,
        web::{Answer, Asked, Web},
    },
};

const ROLE: &str = "arn:aws:iam::123456789012:role/orders-reader";
const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";

/// Whoever has the keys of a case.
const SIGNER: Verifier = Verifier {
    service: "kinesis",
    region: "us-east-1",
    id: "AKIAEXAMPLE",
    secret: "hunter2-secret",
    token: Some("hunter2-token"),
};

const STREAMS: &str = r#"{"HasMoreStreams": true, "StreamNames": ["canary"]}"#;
const SHARDS: &str = r#"{"Shards": [{"ShardId": "shardId-000000000007", "HashKeyRange": {}}], "NextToken": "canary"}"#;
const POSITION: &str = r#"{"ShardIterator": "canary"}"#;

const KEYS: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
    <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>canary</SecretAccessKey><SessionToken>role-token</SessionToken>\
    <Expiration>2026-11-26T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

fn described(state: &str) -> String {
    format!(
        "{{\"StreamDescriptionSummary\": {{\"StreamName\": \"canary\", \"StreamStatus\": \"{state}\", \
         \"EncryptionType\": \"NONE\", \"OpenShardCount\": 1}}}}"
    )
}

fn error(status: u16, code: &str) -> Answer {
    Answer::new(status, format!("{{\"__type\": \"{code}\", \"message\": \"canary\"}}"))
}

/// A case against a peer that gives an answer to each request.
fn of(web: &Web) -> Case {
    Case::plain(web.peer.address).keys("AKIAEXAMPLE", "hunter2-secret")
}

/// The operation that is asked for.
fn operation(asked: &Asked) -> &str {
    asked.header("x-amz-target").strip_prefix("Kinesis_20131202.").unwrap_or_default()
}

/// What a service says that is well.
fn well(asked: &Asked) -> Answer {
    Answer::new(
        200,
        match operation(asked) {
            "DescribeStreamSummary" => described("ACTIVE"),
            "ListStreams" => STREAMS.to_owned(),
            "ListShards" => SHARDS.to_owned(),
            "GetShardIterator" => POSITION.to_owned(),
            other => panic!("{other} is asked for"),
        },
    )
}

/// A peer that is well but for `operations`, to which it gives `answer`.
async fn well_but(operations: &'static [&'static str], answer: Answer) -> Web {
    Web::that(move |asked| Some(if operations.contains(&operation(asked)) { answer.clone() } else { well(asked) }))
        .await
}

#[tokio::test]
async fn every_code_of_the_first_answer_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, code, stage, reason) in [
        (400, "UnrecognizedClientException", S::Authenticate, R::AuthenticationFailed),
        (400, "InvalidSignatureException", S::Authenticate, R::AuthenticationFailed),
        (400, "IncompleteSignatureException", S::Authenticate, R::AuthenticationFailed),
        (400, "MissingAuthenticationTokenException", S::Authenticate, R::AuthenticationFailed),
        (400, "ExpiredTokenException", S::Authenticate, R::CredentialsExpired),
        (400, "RequestExpired", S::Authenticate, R::ClockSkewed),
        (400, "AccessDeniedException", S::Access, R::PermissionDenied),
        (400, "ResourceNotFoundException", S::Access, R::TargetNotFound),
        (400, "InvalidArgumentException", S::Access, R::TargetNotFound),
        (400, "ResourceInUseException", S::Access, R::TargetUnavailable),
        (400, "LimitExceededException", S::Authenticate, R::Throttled),
        (400, "ThrottlingException", S::Authenticate, R::Throttled),
        (500, "InternalFailureException", S::Authenticate, R::ServerUnavailable),
        (503, "ServiceUnavailable", S::Authenticate, R::ServerUnavailable),
    ] {
        let web = Web::that(move |_| Some(error(status, code))).await;
        let message = of(&web).asks(&[List, Read]).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
        assert_eq!(web.asked().len(), 1, "{code}: nothing is asked again");
    }
}

#[tokio::test]
async fn a_signature_that_another_clock_does_not_take_is_not_called_wrong() {
    use Reason as R;
    for (date, code, reason) in [
        ("Thu, 01 Jan 2026 00:00:00 GMT", "InvalidSignatureException", R::ClockSkewed),
        ("Thu, 01 Jan 2126 00:00:00 GMT", "SignatureDoesNotMatch", R::ClockSkewed),
        ("Thu, 01 Jan 2026 00:00:00 GMT", "UnrecognizedClientException", R::AuthenticationFailed),
        ("canary", "InvalidSignatureException", R::AuthenticationFailed),
        // The peer's own, which is right.
        ("", "InvalidSignatureException", R::AuthenticationFailed),
    ] {
        let answer = if date.is_empty() { error(400, code) } else { error(400, code).header("date", date) };
        let web = Web::that(move |_| Some(answer.clone())).await;
        let message = of(&web).ends(Stage::Authenticate, reason).await;
        assert!(message.contains(code), "{message}");
    }
}

#[tokio::test]
async fn what_is_no_answer_of_kinesis_is_called_so() {
    use {Reason as R, Stage as S};
    for (status, body, stage, reason) in [
        (200, "<html>canary</html>", S::Reach, R::ProtocolMismatch),
        (200, "{}", S::Reach, R::ProtocolMismatch),
        (200, STREAMS, S::Reach, R::ProtocolMismatch),
        (200, r#"{"StreamDescriptionSummary": {"StreamStatus": 7}}"#, S::Reach, R::ProtocolMismatch),
        (302, "", S::Reach, R::ProtocolMismatch),
        (403, "<Error><Code>AccessDenied</Code></Error>", S::Reach, R::ProtocolMismatch),
        (400, r#"{"__type": "canary"}"#, S::Reach, R::ProtocolMismatch),
        (429, "", S::Authenticate, R::Throttled),
        (502, "<html>canary</html>", S::Authenticate, R::ServerUnavailable),
    ] {
        let web = Web::that(move |_| Some(Answer::new(status, body).header("location", "http://127.0.0.1:1/"))).await;
        let message = of(&web).ends(stage, reason).await;
        assert!(status == 200 || message.contains(&format!("({status})")), "{message}");
        assert_eq!(web.asked().len(), 1, "no redirect is followed");
    }
    let web = Web::that(|_| Some(Answer::new(200, described("ACTIVE")))).await;
    of(&web).any_stream().ends(Stage::Reach, Reason::ProtocolMismatch).await;
}

#[tokio::test]
async fn only_an_active_stream_can_be_used() {
    for (state, word) in [("CREATING", "(CREATING)"), ("DELETING", "(DELETING)"), ("canary", "(unlisted code)")] {
        let web = Web::that(move |_| Some(Answer::new(200, described(state)))).await;
        let message = of(&web).asks(&[List, Read]).ends(Stage::Access, Reason::TargetUnavailable).await;
        assert!(message.contains(word), "{message}");
        assert_eq!(web.asked().len(), 1, "nothing more is asked of it");
    }
}

#[tokio::test]
async fn a_right_is_denied_unclear_or_not_looked_at() {
    use Reason as R;
    for (status, code, reason) in [
        (400, "AccessDeniedException", R::PermissionDenied),
        (400, "KMSAccessDeniedException", R::PermissionDenied),
        (400, "KMSOptInRequired", R::PermissionDenied),
        (400, "KMSDisabledException", R::TargetUnavailable),
        (400, "KMSInvalidStateException", R::TargetUnavailable),
        (400, "KMSNotFoundException", R::TargetUnavailable),
        (400, "KMSThrottlingException", R::Throttled),
        (400, "ProvisionedThroughputExceededException", R::Throttled),
        (400, "ResourceNotFoundException", R::TargetNotFound),
        (400, "ExpiredTokenException", R::CredentialsExpired),
        (500, "InternalFailureException", R::ServerUnavailable),
        (400, "UnknownOperationException", R::PermissionNotProvable),
        (404, "canary", R::PermissionNotProvable),
    ] {
        for (asks, operation, calls) in
            [(List, &["ListStreams"], 2), (Read, &["ListShards"], 2), (Read, &["GetShardIterator"], 3)]
        {
            let web = well_but(operation, error(status, code)).await;
            let report = of(&web).asks(&[asks]).probe().await;
            let found = report.failure().map(|(stage, failure)| (stage == Stage::Access, failure.reason()));
            assert_eq!(found.map(|(_, reason)| reason), Some(reason), "{operation:?} {code}");
            assert!(found.is_some_and(|(access, _)| access || reason == R::CredentialsExpired), "{operation:?} {code}");
            assert_eq!(web.asked().len(), calls, "{operation:?} {code}: nothing is asked again");
        }
    }
}

#[tokio::test]
async fn what_is_missing_is_listed_and_what_is_unclear_only_where_nothing_is_missing() {
    let denied = error(400, "AccessDeniedException");
    for (operations, words) in [
        (&["ListStreams", "ListShards"][..], "(List, kinesis:ListStreams, Read, kinesis:ListShards)"),
        (&["ListStreams"], "(List, kinesis:ListStreams)"),
        (&["GetShardIterator"], "(Read, kinesis:GetShardIterator)"),
    ] {
        let web = well_but(operations, denied.clone()).await;
        let message = of(&web).asks(&[List, Read]).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on stream orders {words}")), "{message}");
    }
    let web = Web::that(|asked| {
        Some(match operation(asked) {
            "ListStreams" => error(404, "canary"),
            "ListShards" => error(400, "AccessDeniedException"),
            _ => well(asked),
        })
    })
    .await;
    let message = of(&web).asks(&[List, Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on stream orders (Read, kinesis:ListShards)"), "{message}");
    let web = well_but(&["GetShardIterator"], error(400, "InvalidArgumentException")).await;
    let message = of(&web).asks(&[List, Read]).ends(Stage::Access, Reason::PermissionNotProvable).await;
    assert!(message.contains("stream orders") && message.contains("(InvalidArgumentException, Read)"), "{message}");
}

#[tokio::test]
async fn shards_that_cannot_be_are_none() {
    let long = format!(r#"{{"Shards": [{{"ShardId": "{}"}}]}}"#, "canary".repeat(100));
    for body in [r#"{"Shards": []}"#, "{}", r#"{"Shards": [{"ShardId": ""}]}"#, r#"{"Shards": [{}]}"#, &long] {
        let web = well_but(&["ListShards"], Answer::new(200, body)).await;
        of(&web).asks(&[Read]).ends(Stage::Reach, Reason::ProtocolMismatch).await;
        assert_eq!(web.asked().len(), 2, "{body}");
    }
    let web = well_but(&["GetShardIterator"], Answer::new(200, "{}")).await;
    of(&web).asks(&[Read]).ends(Stage::Reach, Reason::ProtocolMismatch).await;
}

#[tokio::test]
async fn a_look_makes_the_calls_that_are_listed_and_no_other() {
    for (stream, named) in
        [("orders", r#""StreamName":"orders""#.to_owned()), (ARN, format!("\"StreamARN\":\"{ARN}\""))]
    {
        let web = Web::that(|asked| Some(well(asked))).await;
        let case = of(&web).stream(stream).secret("sessionToken", "hunter2-token").asks(&[List, Read]);
        case.passes().await;
        let asked = web.asked();
        let bodies: Vec<(&str, &str)> = asked.iter().map(|asked| (operation(asked), asked.body.as_str())).collect();
        assert_eq!(
            bodies,
            [
                ("DescribeStreamSummary", format!("{{{named}}}").as_str()),
                ("ListStreams", r#"{"Limit":1}"#),
                ("ListShards", &format!("{{{named},\"MaxResults\":1}}")),
                (
                    "GetShardIterator",
                    &format!("{{{named},\"ShardId\":\"shardId-000000000007\",\"ShardIteratorType\":\"LATEST\"}}")
                ),
            ]
        );
        for asked in &asked {
            assert_eq!((asked.line.as_str(), asked.header("content-type")), ("POST /", "application/x-amz-json-1.1"));
            assert_eq!(SIGNER.check(asked), Ok(()));
        }
        assert_eq!(web.peer.accepted(), 4, "one connection for each call");
    }
    let web = Web::that(|asked| Some(well(asked))).await;
    of(&web).any_stream().asks(&[List]).passes().await;
    assert_eq!(web.asked().iter().map(operation).collect::<Vec<_>>(), ["ListStreams"]);
}

// Roles and hosts.

/// The case with a role that the service at `sts` gives.
fn assuming(case: &Case, sts: &Web) -> Case {
    let role = serde_json::json!({"roleARN": ROLE, "endpoint": format!("http://{}", sts.peer.address)});
    case.clone().with(|settings| settings.assume_role = Some(serde_json::from_value(role).expect("a role")))
}

#[tokio::test]
async fn a_role_is_assumed_once_and_everything_else_is_done_as_it() {
    let sts = Web::that(move |_| Some(Answer::new(200, KEYS))).await;
    let web = Web::that(|asked| Some(well(asked))).await;
    assuming(&of(&web), &sts).asks(&[List, Read]).passes().await;
    let [asked] = &sts.asked()[..] else { panic!("one call") };
    assert!(asked.header("authorization").contains("Credential=AKIAEXAMPLE/"), "{asked:?}");
    assert!(asked.body.starts_with("Action=AssumeRole&"), "{asked:?}");
    for asked in web.asked() {
        assert!(asked.header("authorization").contains("Credential=ASIAROLE/"), "{asked:?}");
        assert_eq!(asked.header("x-amz-security-token"), "role-token");
    }
    assert_eq!(web.asked().len(), 4);
}

#[tokio::test]
async fn of_two_endpoints_the_one_that_fails_is_named() {
    let sts = Web::that(move |_| Some(Answer::new(200, KEYS))).await;
    let (silent, nobody) = (Web::that(|_| None).await, peer::nobody());
    let refused = assuming(&of(&silent).at(format!("http://{nobody}")), &sts);
    let message = refused.ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&nobody.to_string()), "{message}");
    let message = assuming(&of(&silent), &sts).later().ends(Stage::Reach, Reason::TimedOut).await;
    assert!(message.contains(&silent.peer.address.to_string()), "{message}");
    let message = assuming(&of(&sts), &silent).soon().ends(Stage::Reach, Reason::TimedOut).await;
    assert!(message.contains(&silent.peer.address.to_string()), "{message}");
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled_whoever_named_it() {
    let (web, sts) = (Web::that(|_| None).await, Web::that(|_| None).await);
    let port = |web: &Web| format!("127.0.0.0/8:{}", web.peer.address.port());
    let world = case::world(&[&port(&sts)], &[]);
    let message = of(&web).in_world(world).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&web.peer.address.to_string()), "{message}");
    let world = case::world(&[&port(&web)], &[]);
    let message = assuming(&of(&web), &sts).in_world(world).ends(Stage::Reach, Reason::AddressNotAllowed).await;
    assert!(message.contains(&sts.peer.address.to_string()), "{message}");
    assert_eq!((web.peer.accepted(), sts.peer.accepted()), (0, 0));
}

#[tokio::test]
async fn without_an_endpoint_the_hosts_are_those_of_aws_in_the_region() {
    let zone = Arc::new(Zone::default());
    let role = serde_json::json!({ "roleARN": ROLE });
    for (region, host, sts) in [
        ("eu-central-1", "kinesis.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com"),
        ("cn-north-1", "kinesis.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.amazonaws.com.cn"),
    ] {
        let amazon = Case::of("https://unused").keys("AKIAEXAMPLE", "hunter2-secret").in_world(zone.world());
        let amazon = amazon.with(|settings| (settings.endpoint, settings.region.0) = (None, region.to_owned()));
        let message = amazon.clone().ends(Stage::Reach, Reason::NameResolutionFailed).await;
        assert!(message.contains(&format!("{host}:443")), "{message}");
        let assuming = amazon.with(|settings| settings.assume_role = serde_json::from_value(role.clone()).ok());
        assuming.ends(Stage::Reach, Reason::NameResolutionFailed).await;
        let asked = zone.asked();
        assert_eq!(asked[asked.len() - 2..], [host, sts]);
    }
}

// Peers that are none.

#[tokio::test]
async fn after_its_first_answer_a_service_is_late_in_the_stage_that_it_is_asked_about() {
    let web = Web::that(|asked| (operation(asked) == "DescribeStreamSummary").then(|| well(asked))).await;
    of(&web).asks(&[Read]).later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached() {
    let silent = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let with_keys = |case: Case| case.keys("AKIAEXAMPLE", "hunter2-secret").soon();
    with_keys(Case::plain(silent.address)).ends(Stage::Reach, Reason::TimedOut).await;
    let tls = Case::of(&format!("https://{}", silent.address));
    with_keys(tls).ends(Stage::Reach, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_peer_that_closes_at_once_closes_the_connection_while_it_is_reached() {
    let closing = Peer::that(async |stream| drop(stream)).await;
    let case = Case::plain(closing.address).keys("AKIAEXAMPLE", "hunter2-secret");
    case.ends(Stage::Reach, Reason::ConnectionClosed).await;
    assert_eq!(closing.accepted(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read() {
    let web = Web::that(|_| Some(Answer::new(200, format!("{{{}}}", " ".repeat(100_000))))).await;
    let message = of(&web).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("more than a probe accepts"), "{message}");
}

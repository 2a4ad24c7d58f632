//! What services may do that no server here can be made to do: codes of rare states, silence, noise, endlessness; and which
//! requests are made, to whom.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    case::Zone,
    harness::web::{Answer, Asked, Web},
};

const LISTED: &str = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>orders</Name>\
    <IsTruncated>true</IsTruncated><KeyCount>1</KeyCount><MaxKeys>1</MaxKeys>\
    <Contents><Key>2026/a</Key><Size>1</Size></Contents></ListBucketResult>";

const SEEN: &str = "{\"Attributes\": {\"QueueArn\": \"arn:aws:sqs:us-east-1:123456789012:new-orders\"}}";

fn refusal(status: u16, code: &str) -> Answer {
    Answer::new(status, json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": "canary"}).to_string())
}

fn is_about_attributes(asked: &Asked) -> bool {
    asked.header("x-amz-target") == "AmazonSQS.GetQueueAttributes"
}

/// A queue that is there, and that gives `answer` to everything else.
async fn queue_that(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::that(move |asked| if is_about_attributes(asked) { Some(Answer::new(200, SEEN)) } else { answer(asked) }).await
}

/// A queue of which no message is deleted that never was.
async fn queue() -> Web {
    queue_that(|_| Some(refusal(400, "ReceiptHandleIsInvalid"))).await
}

/// A bucket in which everything may be done.
async fn bucket() -> Web {
    Web::that(|asked| {
        let uploads = "<Error><Code>NoSuchUpload</Code></Error>";
        Some(match &asked.line {
            line if line.contains("list-type=2") => Answer::new(200, LISTED),
            line if line.starts_with("POST") => Answer::new(404, uploads),
            _ => Answer::new(206, "x"),
        })
    })
    .await
}

fn of(queues: &Web, buckets: &Web) -> Case {
    Case::plain(queues.peer.address, buckets.peer.address).keys("AKIAEXAMPLE", "hunter2-secret")
}

#[tokio::test]
async fn every_code_of_the_first_answer_has_its_name() {
    use {Reason as R, Stage as S};
    let other = "{\"Attributes\": {\"QueueArn\": \"arn:aws:sqs:us-east-1:123456789012:canary\"}}";
    let long = format!("{{\"Attributes\": {}", " ".repeat(100_000));
    for (answer, stage, reason, word) in [
        (refusal(403, "InvalidClientTokenId"), S::Authenticate, R::AuthenticationFailed, "InvalidClientTokenId"),
        (refusal(400, "InvalidSignatureException"), S::Authenticate, R::AuthenticationFailed, "InvalidSignature"),
        (refusal(400, "InvalidSecurity"), S::Authenticate, R::AuthenticationFailed, "InvalidSecurity"),
        (refusal(400, "ExpiredTokenException"), S::Authenticate, R::CredentialsExpired, "ExpiredTokenException"),
        (refusal(400, "RequestExpired"), S::Authenticate, R::ClockSkewed, "RequestExpired"),
        (refusal(403, "AccessDenied"), S::Access, R::PermissionDenied, "(AccessDenied, sqs:GetQueueAttributes)"),
        (refusal(400, "QueueDoesNotExist"), S::Access, R::TargetNotFoundOrNotPermitted, "(QueueDoesNotExist)"),
        (
            refusal(400, "AWS.SimpleQueueService.NonExistentQueue"),
            S::Access,
            R::TargetNotFoundOrNotPermitted,
            "(AWS.SimpleQueueService.NonExistentQueue)",
        ),
        (refusal(400, "QueueDeletedRecently"), S::Access, R::TargetNotFoundOrNotPermitted, "QueueDeletedRecently"),
        (refusal(404, "InvalidAddress"), S::Access, R::TargetNotFoundOrNotPermitted, "InvalidAddress"),
        (refusal(403, "RequestThrottled"), S::Authenticate, R::Throttled, "RequestThrottled"),
        (refusal(400, "OverLimit"), S::Authenticate, R::Throttled, "OverLimit"),
        (refusal(503, "ServiceUnavailable"), S::Authenticate, R::ServerUnavailable, "ServiceUnavailable"),
        (refusal(400, "canary"), S::Reach, R::ProtocolMismatch, "(400)"),
        (Answer::new(404, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, "(404)"),
        (Answer::new(502, "canary"), S::Authenticate, R::ServerUnavailable, "(502)"),
        (Answer::new(200, "{}"), S::Reach, R::ProtocolMismatch, ""),
        (Answer::new(200, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, ""),
        (Answer::new(200, other), S::Reach, R::ProtocolMismatch, ""),
        (Answer::new(200, long), S::Reach, R::ProtocolMismatch, "more than a probe accepts"),
    ] {
        let (queues, buckets) = (Web::that(move |_| Some(answer.clone())).await, bucket().await);
        let message = of(&queues, &buckets).asks(&[List, Read, Write]).ends(stage, reason).await;
        assert!(message.contains(word), "{word}: {message}");
        assert_eq!((queues.asked().len(), buckets.asked().len()), (1, 0), "{word}: nothing more is asked");
    }
}

#[tokio::test]
async fn a_queue_of_the_roles_own_account_is_known_to_be_missing() {
    let keys = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>\
        <SecretAccessKey>canary</SecretAccessKey><SessionToken>T</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    let sts = Web::that(move |_| Some(Answer::new(200, keys))).await;
    let absent = Web::that(|_| Some(refusal(400, "QueueDoesNotExist"))).await;
    let buckets = bucket().await;
    for (account, reason, begin) in [
        ("123456789012", Reason::TargetNotFound, "does not exist (QueueDoesNotExist)"),
        ("210987654321", Reason::TargetNotFoundOrNotPermitted, "does not exist or may not be seen"),
    ] {
        let case = of(&absent, &buckets).assuming(account, None, &format!("http://{}", sts.peer.address));
        let message = case.ends(Stage::Access, reason).await;
        assert!(message.starts_with(&format!("queue 123456789012/new-orders {begin}")), "{message}");
    }
}

#[tokio::test]
async fn deleting_is_proven_by_a_message_that_never_was() {
    use Reason as R;
    for (answer, reason, word) in [
        (refusal(400, "ReceiptHandleIsInvalid"), None, ""),
        (refusal(400, "AccessDeniedException"), Some(R::PermissionDenied), "queue 123456789012/new-orders (Read)"),
        (refusal(400, "InvalidParameterValue"), Some(R::PermissionNotProvable), "(InvalidParameterValue, Read)"),
        // Whoever says this has not looked.
        (Answer::new(200, "{}"), Some(R::PermissionNotProvable), "queue 123456789012/new-orders"),
        (refusal(400, "QueueDoesNotExist"), Some(R::TargetNotFoundOrNotPermitted), "QueueDoesNotExist"),
        (refusal(400, "ThrottlingException"), Some(R::Throttled), "ThrottlingException"),
        (refusal(400, "ExpiredTokenException"), Some(R::CredentialsExpired), "ExpiredTokenException"),
    ] {
        let (queues, buckets) = (queue_that(move |_| Some(answer.clone())).await, bucket().await);
        let report = of(&queues, &buckets).asks(&[List, Read]).probe().await;
        let found = report.failure().map(|(_, failure)| (failure.reason(), failure.message()));
        assert_eq!(found.as_ref().map(|(reason, _)| *reason), reason, "{found:?}");
        assert!(found.is_none_or(|(_, message)| message.contains(word)), "{word}");
    }
}

#[tokio::test]
async fn what_is_missing_wins_over_what_is_unclear() {
    let queues = queue_that(|_| Some(Answer::new(200, "{}"))).await;
    let buckets = Web::that(|asked| {
        let denied = "<Error><Code>AccessDenied</Code></Error>";
        Some(if asked.line.contains("list-type=2") { Answer::new(200, LISTED) } else { Answer::new(403, denied) })
    })
    .await;
    let message = of(&queues, &buckets).asks(&[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on bucket orders (Read)"), "{message}");
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    let (queues, buckets) = (queue().await, bucket().await);
    let case = of(&queues, &buckets).secret("sessionToken", "hunter2-token");
    let case = case.with(|settings| settings.region.0 = "eu-central-1".to_owned());
    case.clone().asks(&[List, Write]).passes().await;
    assert_eq!(queues.asked().len(), 1, "without Read nothing is deleted");
    case.asks(&[List, Read, Write]).passes().await;
    let queue_url = format!("http://{}/123456789012/new-orders", queues.peer.address);
    let attributes = json!({"QueueUrl": queue_url, "AttributeNames": ["QueueArn"]});
    let message = json!({"QueueUrl": queue_url, "ReceiptHandle": "connection-operator-no-such-message"});
    let expected = [
        ("AmazonSQS.GetQueueAttributes", &attributes),
        ("AmazonSQS.GetQueueAttributes", &attributes),
        ("AmazonSQS.DeleteMessage", &message),
    ];
    let asked = queues.asked();
    assert_eq!(asked.len(), expected.len());
    for (asked, (operation, input)) in asked.iter().zip(expected) {
        assert_eq!((asked.line.as_str(), asked.header("x-amz-target")), ("POST /", operation));
        assert_eq!(asked.header("content-type"), "application/x-amz-json-1.0");
        assert_eq!(&serde_json::from_str::<Value>(&asked.body).expect("JSON"), input);
        assert!(asked.header("authorization").contains("/eu-central-1/sqs/aws4_request"), "{asked:?}");
        assert_eq!(asked.header("x-amz-security-token"), "hunter2-token");
    }
    let lines: Vec<String> = buckets.asked().into_iter().map(|asked| asked.line).collect();
    let upload = "POST /orders/connection-operator/no-such-object?uploadId=connection-operator-no-such-upload";
    let list = "GET /orders/?list-type=2&max-keys=1&prefix=";
    assert_eq!(lines, [list, upload, list, "GET /orders/2026/a?x-id=GetObject", upload]);
    // One dial for each.
    assert_eq!((queues.peer.accepted(), buckets.peer.accepted()), (3, 5));
}

#[tokio::test]
async fn the_host_of_the_queues_url_is_never_dialled() {
    let (queues, buckets, zone) = (queue().await, bucket().await, Arc::new(Zone::default()));
    for url in ["https://sqs.us-east-1.amazonaws.com", "https://queue.amazonaws.com"] {
        let case = of(&queues, &buckets).in_world(zone.world());
        let url = format!("{url}/123456789012/new-orders");
        case.with(|settings| settings.queue_url = HttpUrl(url)).asks(&[Read]).passes().await;
    }
    assert_eq!(zone.asked(), [""; 0]);
    for asked in queues.asked() {
        // The service knows it by the name that it has today.
        let input: Value = serde_json::from_str(&asked.body).expect("JSON");
        assert_eq!(input["QueueUrl"], "https://sqs.us-east-1.amazonaws.com/123456789012/new-orders");
    }
}

#[tokio::test]
async fn without_endpoints_the_hosts_are_those_of_aws_in_the_region() {
    let zone = Arc::new(Zone::default());
    let case = Case::between("https://unused", "https://unused").keys("AKIAEXAMPLE", "hunter2-secret");
    let amazon = case.in_world(zone.world()).with(|settings| {
        (settings.endpoint, settings.sqs_endpoint) = (None, None);
        settings.queue_url = HttpUrl("https://sqs.us-east-1.amazonaws.com/123456789012/new-orders".to_owned());
    });
    let message = amazon.ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("sqs.us-east-1.amazonaws.com:443"), "{message}");
    assert_eq!(zone.asked(), ["sqs.us-east-1.amazonaws.com"]);
}

#[tokio::test]
async fn of_two_services_the_one_that_is_silent_is_named() {
    let (queues, silent) = (queue().await, Web::that(|_| None).await);
    for case in [of(&silent, &queues), of(&queues, &silent)] {
        let message = case.later().ends(Stage::Reach, Reason::TimedOut).await;
        assert!(message.contains(&silent.peer.address.to_string()), "{message}");
    }
}

#[tokio::test]
async fn after_its_first_answer_a_service_is_late_in_the_stage_that_it_is_asked_about() {
    let (queues, buckets) = (queue_that(|_| None).await, bucket().await);
    of(&queues, &buckets).asks(&[Read]).later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn what_the_bucket_says_after_the_queue_is_called_what_it_is() {
    use {Reason as R, Stage as S};
    let queues = queue().await;
    for (status, code, stage, reason) in [
        (403, "InvalidAccessKeyId", S::Authenticate, R::AuthenticationFailed),
        (403, "AccessDenied", S::Access, R::TargetNotFoundOrNotPermitted),
        (404, "NoSuchBucket", S::Access, R::TargetNotFound),
        (301, "PermanentRedirect", S::Access, R::WrongRegion),
        // The queue has let these credentials in.
        (503, "SlowDown", S::Access, R::Throttled),
        (200, "", S::Reach, R::ProtocolMismatch),
    ] {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let buckets = Web::that(move |_| Some(Answer::new(status, body.clone()))).await;
        let message = of(&queues, &buckets).ends(stage, reason).await;
        assert!(message.contains("bucket orders") || message.contains(&buckets.peer.address.to_string()), "{message}");
    }
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled_whoever_named_it() {
    let (queues, buckets) = (queue().await, bucket().await);
    let port = |web: &Web| format!("127.0.0.0/8:{}", web.peer.address.port());
    for (allowed, forbidden, dialled) in [(&buckets, &queues, (0, 0)), (&queues, &buckets, (1, 0))] {
        let world = case::world(&[&port(allowed)], &[]);
        let message = of(&queues, &buckets).in_world(world).ends(Stage::Reach, Reason::AddressNotAllowed).await;
        assert!(message.contains(&forbidden.peer.address.to_string()), "{message}");
        assert_eq!((queues.peer.accepted(), buckets.peer.accepted()), dialled);
    }
}

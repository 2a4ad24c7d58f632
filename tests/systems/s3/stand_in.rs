//! What services may do that no server here can be made to do: codes of rare states, wrong regions, silence, noise, endlessness.

use super::*;
use crate::harness::{
    peer::Peer,
    web::{Answer, Asked, Web},
};

const LISTED: &str = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>orders</Name>\
    <IsTruncated>true</IsTruncated><KeyCount>1</KeyCount><MaxKeys>1</MaxKeys>\
    <Contents><Key>a b/ü</Key><Size>1</Size></Contents></ListBucketResult>";

const EMPTY: &str = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>orders</Name>\
    <IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>";

const ROLE: &str = "arn:aws:iam::123456789012:role/orders-reader";

fn error(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>canary</Message><Resource>canary</Resource></Error>"
    )
}

/// A case against a peer that gives `answer` to each request.
fn of(web: &Web) -> Case {
    Case::plain(web.peer.address, "orders").keys("AKIAEXAMPLE", "hunter2-secret")
}

fn is_list(asked: &Asked) -> bool {
    asked.line.contains("list-type=2")
}

/// A peer whose bucket has one object, and that gives `answer` to everything but the listing.
async fn listing_then(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::that(move |asked| if is_list(asked) { Some(Answer::new(200, LISTED)) } else { answer(asked) }).await
}

#[tokio::test]
async fn every_code_of_the_first_answer_has_its_name() {
    use {Reason as R, Stage as S};
    for (status, code, stage, reason) in [
        (403, "InvalidAccessKeyId", S::Authenticate, R::AuthenticationFailed),
        (403, "SignatureDoesNotMatch", S::Authenticate, R::AuthenticationFailed),
        (403, "NotSignedUp", S::Authenticate, R::AuthenticationFailed),
        (400, "InvalidToken", S::Authenticate, R::AuthenticationFailed),
        (400, "AuthorizationHeaderMalformed", S::Authenticate, R::AuthenticationFailed),
        (400, "ExpiredToken", S::Authenticate, R::CredentialsExpired),
        (401, "Unauthorized", S::Authenticate, R::AuthenticationFailed),
        (403, "UserSuspended", S::Authenticate, R::AccountLocked),
        (403, "RequestTimeTooSkewed", S::Authenticate, R::ClockSkewed),
        (400, "ExpiredRequest", S::Authenticate, R::ClockSkewed),
        (403, "AccessDenied", S::Access, R::TargetNotFoundOrNotPermitted),
        (403, "AllAccessDisabled", S::Access, R::TargetNotFoundOrNotPermitted),
        (403, "OptInRequired", S::Access, R::TargetNotFoundOrNotPermitted),
        (403, "NotEntitled", S::Access, R::TargetNotFoundOrNotPermitted),
        (404, "NoSuchBucket", S::Access, R::TargetNotFound),
        (400, "InvalidBucketName", S::Access, R::TargetNotFound),
        (404, "NoSuchAccessPoint", S::Access, R::TargetNotFound),
        (400, "InvalidAccessPointAliasError", S::Access, R::TargetNotFound),
        (301, "PermanentRedirect", S::Access, R::WrongRegion),
        (503, "SlowDown", S::Authenticate, R::Throttled),
        (503, "ServiceUnavailable", S::Authenticate, R::ServerUnavailable),
        (500, "InternalError", S::Authenticate, R::ServerUnavailable),
        (307, "TemporaryRedirect", S::Authenticate, R::ServerUnavailable),
        // It speaks the protocol, and finds fault with the request.
        (400, "InvalidArgument", S::Authenticate, R::ServerUnavailable),
        (501, "NotImplemented", S::Authenticate, R::ServerUnavailable),
    ] {
        let web =
            Web::that(move |_| Some(Answer::new(status, error(code)).header("location", "http://127.0.0.1:1/"))).await;
        let message = of(&web).asks(&[List, Read, Write]).ends(stage, reason).await;
        assert!(message.contains(code), "{message}");
        assert_eq!(web.asked().len(), 1, "{code}: nothing is asked again, and no redirect is followed");
    }
}

#[tokio::test]
async fn a_status_without_a_code_is_no_answer_of_s3() {
    use {Reason as R, Stage as S};
    for (status, body, stage, reason) in [
        (200, "<html>canary</html>", S::Reach, R::ProtocolMismatch),
        (200, "canary", S::Reach, R::ProtocolMismatch),
        (200, "<ListBucketResult>", S::Reach, R::ProtocolMismatch),
        (403, "<html>canary</html>", S::Reach, R::ProtocolMismatch),
        (404, "", S::Reach, R::ProtocolMismatch),
        (400, "<Error><Code>canary</Code></Error>", S::Reach, R::ProtocolMismatch),
        // A code that is not known here, in the form of those that are.
        (400, "<Error><Code>SomethingNew</Code></Error>", S::Authenticate, R::ServerUnavailable),
        (401, "<Error><Code>SomethingNew</Code></Error>", S::Authenticate, R::AuthenticationFailed),
        (429, "", S::Authenticate, R::Throttled),
        (502, "<html>canary</html>", S::Authenticate, R::ServerUnavailable),
        (503, "", S::Authenticate, R::ServerUnavailable),
    ] {
        let web = Web::that(move |_| Some(Answer::new(status, body))).await;
        let message = of(&web).ends(stage, reason).await;
        assert!(status == 200 || message.contains(&format!("({status})")), "{message}");
    }
}

#[tokio::test]
async fn the_region_of_a_bucket_that_is_elsewhere_is_named_where_it_is_one() {
    let named = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>";
    for (answer, word) in [
        (Answer::new(400, named), "(AuthorizationHeaderMalformed, its region is, eu-central-1)"),
        (Answer::new(301, error("PermanentRedirect")).header("x-amz-bucket-region", "eu-west-1"), "eu-west-1"),
        (Answer::new(301, error("PermanentRedirect")).header("x-amz-bucket-region", "canary-1"), "(PermanentRedirect)"),
    ] {
        let web = Web::that(move |_| Some(answer.clone())).await;
        let message = of(&web).ends(Stage::Access, Reason::WrongRegion).await;
        assert!(message.contains(word) && message.starts_with("bucket orders is in another region"), "{message}");
    }
}

#[tokio::test]
async fn reading_is_proven_by_one_byte_of_the_listed_object() {
    for (status, code, refused) in [
        (206, "", None),
        // It sends everything, whatever was asked for.
        (200, "", None),
        (416, "InvalidRange", None),
        (403, "InvalidObjectState", None),
        // It has vanished since, which such a system says to everybody who may list.
        (404, "NoSuchKey", Some(Reason::PermissionNotProvable)),
        (403, "AccessDenied", Some(Reason::PermissionDenied)),
    ] {
        let web = listing_then(move |_| {
            let body = if code.is_empty() { "x".repeat(200_000) } else { error(code) };
            Some(Answer::new(status, body))
        })
        .await;
        let case = of(&web).asks(&[List, Read]);
        match refused {
            None => assert_eq!(case.passes().await, Proof::default()),
            Some(reason) => {
                let message = case.ends(Stage::Access, reason).await;
                assert!(message.contains("on bucket orders") && message.contains("Read)"), "{message}");
            }
        }
        let asked = web.asked();
        assert_eq!(asked[1].line, "GET /orders/a%20b/%C3%BC?x-id=GetObject");
        assert_eq!((asked[1].header("range"), asked.len()), ("bytes=0-0", 2));
    }
}

#[tokio::test]
async fn a_listed_object_without_a_name_is_none() {
    let nameless = LISTED.replace("<Key>a b/ü</Key>", "<Key/>");
    let web = Web::that(move |_| Some(Answer::new(200, nameless.clone()))).await;
    of(&web).asks(&[Read]).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test]
async fn a_prefix_is_always_named_so_that_a_policy_can_look_at_it() {
    let web = listing_then(|_| None).await;
    of(&web).passes().await;
    of(&web).with(|settings| settings.prefix = Some("2026/".to_owned())).passes().await;
    let lines: Vec<String> = web.asked().into_iter().map(|asked| asked.line).collect();
    let line = "GET /orders/?list-type=2&max-keys=1&prefix=";
    assert_eq!(lines, [line.to_owned(), format!("{line}2026%2F")]);
}

#[tokio::test]
async fn of_an_empty_bucket_of_another_system_reading_is_denied_or_not_proven() {
    for (status, code, reason, word) in [
        (404, "NoSuchKey", Reason::PermissionNotProvable, "(404, Read): put an object below the prefix"),
        (403, "AccessDenied", Reason::PermissionDenied, "(Read)"),
    ] {
        let web = Web::that(move |asked| {
            Some(if is_list(asked) { Answer::new(200, EMPTY) } else { Answer::new(status, error(code)) })
        })
        .await;
        let message = of(&web).asks(&[Read]).ends(Stage::Access, reason).await;
        assert!(message.contains(word), "{message}");
        assert_eq!(web.asked()[1].line, "GET /orders/connection-operator/no-such-object?x-id=GetObject");
    }
}

#[tokio::test]
async fn writing_is_proven_by_an_upload_that_was_never_begun() {
    use Reason as R;
    for (status, code, reason) in [
        (404, "NoSuchUpload", None),
        (403, "AccessDenied", Some(R::PermissionDenied)),
        (501, "NotImplemented", Some(R::PermissionNotProvable)),
        (403, "SomethingNew", Some(R::PermissionNotProvable)),
        (405, "MethodNotAllowed", Some(R::PermissionNotProvable)),
        (400, "InvalidRequest", Some(R::PermissionNotProvable)),
        (503, "SlowDown", Some(R::Throttled)),
        (400, "ExpiredToken", Some(R::CredentialsExpired)),
        (200, "", Some(R::ProtocolMismatch)),
    ] {
        let web = listing_then(move |_| {
            let done = "<CompleteMultipartUploadResult><Key>canary</Key></CompleteMultipartUploadResult>".to_owned();
            Some(Answer::new(status, if code.is_empty() { done } else { error(code) }))
        })
        .await;
        let report = of(&web).asks(&[Write]).probe().await;
        assert_eq!(report.failure().map(|(_, failure)| failure.reason()), reason, "{code}");
        let asked = web.asked();
        let expected = "POST /orders/connection-operator/no-such-object?uploadId=connection-operator-no-such-upload";
        assert_eq!((asked[1].line.as_str(), asked.len()), (expected, 2));
    }
}

#[tokio::test]
async fn each_missing_permission_is_listed_and_one_that_is_unclear_only_where_none_is_missing() {
    let denying = |of: &'static str| {
        move |asked: &Asked| {
            let code = if asked.line.starts_with(of) || of.is_empty() { "AccessDenied" } else { "MethodNotAllowed" };
            Some(Answer::new(if code == "AccessDenied" { 403 } else { 405 }, error(code)))
        }
    };
    for (of_method, words) in [("", "(Read, Write)"), ("GET", "(Read)"), ("POST", "(Write)")] {
        let web = listing_then(denying(of_method)).await;
        let message = of(&web).asks(&[List, Read, Write]).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on bucket orders {words}")), "{message}");
    }
}

#[tokio::test]
async fn who_is_anonymous_signs_nothing() {
    let web = listing_then(|_| Some(Answer::new(206, "x"))).await;
    let case = of(&web).with(|settings| settings.anonymous = Some(true)).asks(&[List, Read]);
    assert_eq!(case.passes_as_nobody().await, Proof::default());
    let absent = Web::that(|_| Some(Answer::new(404, "<Error><Code>NoSuchBucket</Code></Error>"))).await;
    of(&absent).with(|settings| settings.anonymous = Some(true)).ends_as_nobody(Reason::TargetNotFound).await;
    for asked in web.asked() {
        assert_eq!((asked.header("authorization"), asked.header("x-amz-security-token")), ("", ""));
    }
}

#[tokio::test]
async fn a_request_is_signed_for_its_region_with_its_token_and_its_payer() {
    let web = listing_then(|_| Some(Answer::new(206, "x"))).await;
    let case = of(&web).secret("sessionToken", "hunter2-token").asks(&[Read]);
    let case =
        case.with(|settings| (settings.requester_pays, settings.region.0) = (Some(true), "eu-central-1".to_owned()));
    case.passes().await;
    for asked in web.asked() {
        assert!(asked.header("authorization").contains("Credential=AKIAEXAMPLE/"), "{asked:?}");
        assert!(asked.header("authorization").contains("/eu-central-1/s3/aws4_request"), "{asked:?}");
        assert_eq!(asked.header("x-amz-security-token"), "hunter2-token");
        assert_eq!(asked.header("x-amz-request-payer"), "requester");
    }
}

#[tokio::test]
async fn a_role_is_assumed_once_and_everything_else_is_done_as_it() {
    let keys = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
        <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>canary</SecretAccessKey><SessionToken>role-token</SessionToken>\
        <Expiration>2026-11-26T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    let sts = Web::that(move |_| Some(Answer::new(200, keys))).await;
    let web = listing_then(|_| Some(Answer::new(206, "x"))).await;
    assuming(&of(&web), &sts).asks(&[Read]).passes().await;
    let [asked] = &sts.asked()[..] else { panic!("one call") };
    assert_eq!(asked.line, "POST /");
    assert_eq!(
        asked.body,
        format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn={}&RoleSessionName=connection-operator&DurationSeconds=900&ExternalId=shop",
            ROLE.replace(':', "%3A").replace('/', "%2F")
        )
    );
    assert!(asked.header("authorization").contains("Credential=AKIAEXAMPLE/"), "{asked:?}");
    assert!(asked.header("authorization").contains("/us-east-1/sts/aws4_request"), "{asked:?}");
    for asked in web.asked() {
        assert!(asked.header("authorization").contains("Credential=ASIAROLE/"), "{asked:?}");
        assert_eq!(asked.header("x-amz-security-token"), "role-token");
    }
}

/// The case with a role that the service at `sts` gives.
fn assuming(case: &Case, sts: &Web) -> Case {
    let role =
        serde_json::json!({"roleARN": ROLE, "externalID": "shop", "endpoint": format!("http://{}", sts.peer.address)});
    case.clone().with(|settings| settings.assume_role = Some(serde_json::from_value(role).expect("a role")))
}

#[tokio::test]
async fn every_code_of_a_role_that_is_not_given_has_its_name() {
    use {Reason as R, Stage as S};
    let sts_error = |code: &str| {
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>canary</Message></Error></ErrorResponse>")
    };
    for (status, body, stage, reason) in [
        (403, sts_error("InvalidClientTokenId"), S::Authenticate, R::AuthenticationFailed),
        (403, sts_error("SignatureDoesNotMatch"), S::Authenticate, R::AuthenticationFailed),
        (403, sts_error("ExpiredToken"), S::Authenticate, R::CredentialsExpired),
        (400, sts_error("RequestExpired"), S::Authenticate, R::ClockSkewed),
        (403, sts_error("AccessDenied"), S::Authenticate, R::AuthenticationFailed),
        (400, sts_error("Throttling"), S::Authenticate, R::Throttled),
        (503, sts_error("ServiceUnavailable"), S::Authenticate, R::ServerUnavailable),
        (403, sts_error("RegionDisabledException"), S::Authenticate, R::ServerUnavailable),
        (400, sts_error("ValidationError"), S::Authenticate, R::AuthenticationFailed),
        (200, "<html>canary</html>".to_owned(), S::Reach, R::ProtocolMismatch),
        (403, "canary".to_owned(), S::Reach, R::ProtocolMismatch),
    ] {
        let about_the_role = ["AccessDenied", "ValidationError"].iter().any(|code| body.contains(code));
        let sts = Web::that(move |_| Some(Answer::new(status, body.clone()))).await;
        let web = Web::that(|_| None).await;
        let message = assuming(&of(&web), &sts).ends(stage, reason).await;
        assert_eq!((web.asked().len(), sts.asked().len()), (0, 1), "{message}");
        let place = if about_the_role { ROLE.to_owned() } else { sts.peer.address.to_string() };
        assert!(message.contains(&place), "{message}");
    }
}

#[tokio::test]
async fn of_two_endpoints_the_one_that_fails_is_named() {
    let keys = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>\
        <SecretAccessKey>canary</SecretAccessKey><SessionToken>T</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    let sts = Web::that(move |_| Some(Answer::new(200, keys))).await;
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
async fn after_its_first_answer_a_service_is_late_in_the_stage_that_it_is_asked_about() {
    let web = listing_then(|_| None).await;
    of(&web).asks(&[Read]).later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_silent_peer_is_out_of_time_while_it_is_reached() {
    let silent = Peer::that(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    Case::plain(silent.address, "orders")
        .keys("AKIAEXAMPLE", "hunter2-secret")
        .soon()
        .ends(Stage::Reach, Reason::TimedOut)
        .await;
    let tls =
        Case::bucket(&format!("https://{}", silent.address), "orders").keys("AKIAEXAMPLE", "hunter2-secret").soon();
    tls.ends(Stage::Reach, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_listing_that_is_too_long_is_not_read() {
    let web = Web::that(|_| Some(Answer::new(200, format!("<ListBucketResult>{}", " ".repeat(100_000))))).await;
    let message = of(&web).ends(Stage::Reach, Reason::ProtocolMismatch).await;
    assert!(message.contains("more than a probe accepts"), "{message}");
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
async fn one_look_dials_once_for_each_request() {
    let web = listing_then(|asked| {
        Some(if asked.line.starts_with("GET") {
            Answer::new(206, "x")
        } else {
            Answer::new(404, error("NoSuchUpload"))
        })
    })
    .await;
    of(&web).asks(&[List, Read, Write]).passes().await;
    assert_eq!((web.asked().len(), web.peer.accepted()), (3, 3));
}

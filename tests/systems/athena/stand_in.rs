//! What services may do that no server here can be made to do: codes of rare states, silence, noise, endlessness; and which
//! requests are made, to whom.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    case::Zone,
    harness::web::{Answer, Asked, Web},
};

fn refusal(status: u16, code: &str) -> Answer {
    Answer::new(status, json!({"__type": code, "message": "canary"}).to_string())
}

/// What Athena says where AWS Glue has told it `code`.
fn of_glue(code: &str) -> Answer {
    let text = format!(
        "canary (Service: AmazonDataCatalog; Status Code: 400; Error Code: {code}; Request ID: 1; Proxy: null)"
    );
    Answer::new(400, json!({"__type": "MetadataException", "message": text}).to_string())
}

fn answer(document: &Value) -> Answer {
    Answer::new(200, document.to_string())
}

fn group(state: &str) -> Value {
    json!({"WorkGroup": {"Name": "sales", "State": state, "Configuration": {"EnforceWorkGroupConfiguration": false}}})
}

/// What Athena says of the work group, the catalog and the database that are asked for.
fn truth(asked: &Asked) -> Answer {
    answer(&match asked.header("x-amz-target") {
        "AmazonAthena.GetWorkGroup" => group("ENABLED"),
        "AmazonAthena.GetDataCatalog" => json!({"DataCatalog": {"Name": "lake", "Type": "GLUE"}}),
        _ => json!({"Database": {"Name": "shop"}}),
    })
}

/// An Athena in which everything is there, but that gives `other` to one operation.
async fn athena_but(operation: &'static str, other: Option<Answer>) -> Web {
    let is_it = move |asked: &Asked| asked.header("x-amz-target").ends_with(operation);
    Web::that(move |asked| if is_it(asked) { other.clone() } else { Some(truth(asked)) }).await
}

/// A bucket in which everything may be done.
async fn bucket() -> Web {
    Web::that(|asked| {
        let (listed, uploads) =
            ("<ListBucketResult><Name>orders</Name></ListBucketResult>", "<Error><Code>NoSuchUpload</Code></Error>");
        Some(match &asked.line {
            line if line.contains("list-type=2") => Answer::new(200, listed),
            line if line.starts_with("POST") => Answer::new(404, uploads),
            _ => Answer::new(206, "x"),
        })
    })
    .await
}

fn of(athena: &Web, buckets: &Web) -> Case {
    let case = Case::plain(athena.peer.address, buckets.peer.address).keys("AKIAEXAMPLE", "hunter2-secret");
    case.catalog(Some("lake"), Some("shop"))
}

#[tokio::test]
async fn every_code_of_the_first_answer_has_its_name() {
    use {Reason as R, Stage as S};
    let other = json!({"WorkGroup": {"Name": "canary", "State": "ENABLED"}});
    let long = format!("{{\"WorkGroup\": {}", " ".repeat(100_000));
    for (answer, stage, reason, word) in [
        (refusal(400, "UnrecognizedClientException"), S::Authenticate, R::AuthenticationFailed, "UnrecognizedClient"),
        (refusal(400, "InvalidSignatureException"), S::Authenticate, R::AuthenticationFailed, "InvalidSignature"),
        (refusal(400, "MissingAuthenticationTokenException"), S::Authenticate, R::AuthenticationFailed, "Missing"),
        (refusal(400, "ExpiredTokenException"), S::Authenticate, R::CredentialsExpired, "ExpiredTokenException"),
        (refusal(400, "AccessDeniedException"), S::Access, R::PermissionDenied, "athena:GetWorkGroup"),
        (refusal(400, "InvalidRequestException"), S::Access, R::TargetNotFound, "(InvalidRequestException)"),
        (answer(&group("DISABLED")), S::Access, R::TargetUnavailable, "(DISABLED)"),
        (refusal(400, "TooManyRequestsException"), S::Authenticate, R::Throttled, "TooManyRequestsException"),
        (refusal(400, "ThrottlingException"), S::Authenticate, R::Throttled, "ThrottlingException"),
        (refusal(500, "InternalServerException"), S::Authenticate, R::ServerUnavailable, "InternalServerException"),
        (refusal(400, "canary"), S::Reach, R::ProtocolMismatch, "(400)"),
        (Answer::new(404, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, "(404)"),
        (Answer::new(502, "canary"), S::Authenticate, R::ServerUnavailable, "(502)"),
        (answer(&group("canary")), S::Reach, R::ProtocolMismatch, ""),
        (answer(&other), S::Reach, R::ProtocolMismatch, ""),
        (answer(&json!({"WorkGroup": null})), S::Reach, R::ProtocolMismatch, ""),
        (Answer::new(200, "<html>canary</html>"), S::Reach, R::ProtocolMismatch, ""),
        (Answer::new(200, long), S::Reach, R::ProtocolMismatch, "more than a probe accepts"),
    ] {
        let (athena, buckets) = (Web::that(move |_| Some(answer.clone())).await, bucket().await);
        let message = of(&athena, &buckets).asks(&[Read, Write]).ends(stage, reason).await;
        assert!(message.contains(word), "{word}: {message}");
        assert_eq!((athena.asked().len(), buckets.asked().len()), (1, 0), "{word}: nothing more is asked");
    }
}

#[tokio::test]
async fn every_code_about_the_catalog_and_the_database_has_its_name() {
    use {Reason as R, Stage as S};
    let (catalog, database) = ("GetDataCatalog", "GetDatabase");
    let strange = |name: &str| answer(&json!({"DataCatalog": {"Name": name}, "Database": {"Name": name}}));
    for (operation, answer, stage, reason, word) in [
        (catalog, refusal(400, "InvalidRequestException"), S::Access, R::TargetNotFound, "catalog lake does not exist"),
        (catalog, refusal(400, "AccessDeniedException"), S::Access, R::PermissionDenied, "athena:GetDataCatalog"),
        (catalog, refusal(400, "ThrottlingException"), S::Access, R::Throttled, "ThrottlingException"),
        (catalog, strange("canary"), S::Reach, R::ProtocolMismatch, ""),
        (
            database,
            of_glue("EntityNotFoundException"),
            S::Access,
            R::TargetNotFound,
            "(MetadataException, EntityNotFound",
        ),
        (database, of_glue("AccessDeniedException"), S::Access, R::PermissionDenied, "glue:GetDatabase"),
        (database, of_glue("ThrottlingException"), S::Access, R::Throttled, "AWS Glue"),
        (database, of_glue("canary"), S::Access, R::TargetUnavailable, "(MetadataException): look at the catalog"),
        (database, refusal(400, "MetadataException"), S::Access, R::TargetUnavailable, "(MetadataException): look"),
        (database, refusal(400, "InvalidRequestException"), S::Access, R::TargetNotFound, "database lake.shop"),
        (database, refusal(400, "AccessDeniedException"), S::Access, R::PermissionDenied, "athena:GetDatabase"),
        (database, refusal(500, "InternalServerException"), S::Access, R::ServerUnavailable, "InternalServerException"),
        (database, strange("canary"), S::Reach, R::ProtocolMismatch, ""),
    ] {
        let (athena, buckets) = (athena_but(operation, Some(answer)).await, bucket().await);
        let message = of(&athena, &buckets).asks(&[Read]).ends(stage, reason).await;
        assert!(message.contains(word), "{word}: {message}");
        assert_eq!(buckets.asked().len(), 0, "{word}: nothing more is asked");
    }
}

#[tokio::test]
async fn a_nested_catalog_is_shown_by_its_database_or_not_at_all() {
    let (athena, buckets) =
        (athena_but("GetDataCatalog", Some(refusal(400, "InvalidRequestException"))).await, bucket().await);
    let nested = Some("s3tablescatalog/orders");
    assert_eq!(of(&athena, &buckets).catalog(nested, Some("shop")).passes().await.unproven(), [""; 0]);
    let proof = of(&athena, &buckets).catalog(nested, None).passes().await;
    let [unproven] = proof.unproven() else { panic!("one thing") };
    assert!(unproven.contains("nested in another one"), "{unproven}");
    let asked = athena.asked();
    let operations: Vec<&str> = asked.iter().map(|asked| asked.header("x-amz-target")).collect();
    assert_eq!(operations, ["AmazonAthena.GetWorkGroup", "AmazonAthena.GetDatabase", "AmazonAthena.GetWorkGroup"]);
    let input = json!({"CatalogName": "s3tablescatalog/orders", "DatabaseName": "shop"});
    assert_eq!(serde_json::from_str::<Value>(&asked[1].body).expect("JSON"), input);
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    let (athena, buckets) = (athena_but("Nothing", None).await, bucket().await);
    let case = of(&athena, &buckets).secret("sessionToken", "hunter2-token");
    let case = case.with(|settings| settings.region.0 = "eu-central-1".to_owned());
    case.clone().catalog(None, None).passes().await;
    // Its name comes back in small letters.
    case.clone().catalog(None, Some("Shop")).passes().await;
    assert_eq!((athena.asked().len(), buckets.asked().len()), (3, 0), "what is not named is not asked about");
    case.asks(&[Read, Write]).passes().await;
    let (group, catalog) = (("GetWorkGroup", json!({"WorkGroup": "sales"})), json!({"Name": "lake"}));
    let database = |catalog: &str, name: &str| ("GetDatabase", json!({"CatalogName": catalog, "DatabaseName": name}));
    let expected = [
        group.clone(),
        group.clone(),
        database("AwsDataCatalog", "Shop"),
        group,
        ("GetDataCatalog", catalog),
        database("lake", "shop"),
    ];
    let asked = athena.asked();
    assert_eq!(asked.len(), expected.len());
    for (asked, (operation, input)) in asked.iter().zip(expected) {
        let target = format!("AmazonAthena.{operation}");
        assert_eq!((asked.line.as_str(), asked.header("x-amz-target")), ("POST /", target.as_str()));
        assert_eq!(asked.header("content-type"), "application/x-amz-json-1.1");
        assert_eq!(serde_json::from_str::<Value>(&asked.body).expect("JSON"), input);
        assert!(asked.header("authorization").contains("/eu-central-1/athena/aws4_request"), "{asked:?}");
        assert_eq!(asked.header("x-amz-security-token"), "hunter2-token");
    }
    let lines: Vec<String> = buckets.asked().into_iter().map(|asked| asked.line).collect();
    let absent = "2026/connection-operator/no-such-object";
    let expected = [
        "GET /orders/?list-type=2&max-keys=1&prefix=2026%2F".to_owned(),
        format!("GET /orders/{absent}?x-id=GetObject"),
        format!("POST /orders/{absent}?uploadId=connection-operator-no-such-upload"),
    ];
    assert_eq!(lines, expected);
    // One dial for each.
    assert_eq!((athena.peer.accepted(), buckets.peer.accepted()), (6, 3));
}

#[tokio::test]
async fn without_endpoints_the_hosts_are_those_of_aws_in_the_region() {
    let zone = Arc::new(Zone::default());
    let case = Case::between("https://unused", "https://unused").keys("AKIAEXAMPLE", "hunter2-secret");
    let amazon = case.in_world(zone.world()).with(|settings| (settings.endpoint, settings.s3_endpoint) = (None, None));
    let message = amazon.ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("athena.us-east-1.amazonaws.com:443"), "{message}");
    let athena = athena_but("Nothing", None).await;
    let bucket = of(&athena, &athena).in_world(zone.world()).asks(&[Read]);
    let bucket = bucket.with(|settings| settings.s3_endpoint = None);
    let message = bucket.ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("orders.s3.us-east-1.amazonaws.com:443"), "{message}");
    assert_eq!(zone.asked(), ["athena.us-east-1.amazonaws.com", "orders.s3.us-east-1.amazonaws.com"]);
}

#[tokio::test]
async fn of_two_services_the_one_that_is_silent_is_named() {
    let (athena, silent) = (athena_but("Nothing", None).await, Web::that(|_| None).await);
    for case in [of(&silent, &athena), of(&athena, &silent)] {
        let message = case.asks(&[Read]).later().ends(Stage::Reach, Reason::TimedOut).await;
        assert!(message.contains(&silent.peer.address.to_string()), "{message}");
    }
}

#[tokio::test]
async fn after_its_first_answer_a_service_is_late_in_the_stage_that_it_is_asked_about() {
    let (athena, buckets) = (athena_but("GetDatabase", None).await, bucket().await);
    of(&athena, &buckets).later().ends(Stage::Access, Reason::TimedOut).await;
}

#[tokio::test]
async fn a_forbidden_address_is_not_dialled_whoever_named_it() {
    let (athena, buckets) = (athena_but("Nothing", None).await, bucket().await);
    let port = |web: &Web| format!("127.0.0.0/8:{}", web.peer.address.port());
    for (allowed, forbidden, dialled) in [(&buckets, &athena, (0, 0)), (&athena, &buckets, (3, 0))] {
        let world = case::world(&[&port(allowed)], &[]);
        let case = of(&athena, &buckets).asks(&[Read]).in_world(world);
        let message = case.ends(Stage::Reach, Reason::AddressNotAllowed).await;
        assert!(message.contains(&forbidden.peer.address.to_string()), "{message}");
        assert_eq!((athena.peer.accepted(), buckets.peer.accepted()), dialled);
    }
}

//! When the Secret of a Connection is read, and what is made of an answer that is none.

use std::time::Duration;

use connection_operator::reconcile::{Error, resolve::SecretAccess};
use serde_json::{Value, json};

use crate::{
    house::{CONNECTION, House, SECRET, Stage, secret},
    server::Fault,
};

const READ: &str = "GET secrets/orders-db";
const STATUS: &str = "PATCH connections/orders-db/status";

fn versions(stage: &Stage) -> [String; 2] {
    let object = stage.house.server.object(CONNECTION).unwrap();
    let version = |key: &str| object["status"]["credentials"][key].as_str().unwrap_or_default().to_owned();
    [version("observedVersion"), version("verifiedVersion")]
}

fn stored_version(stage: &Stage) -> String {
    let object = stage.house.server.object(SECRET).unwrap();
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_change_of_metadata_costs_one_read_and_one_write_and_verifies_nothing() {
    let stage = Stage::with_ready_connection().await;
    let [_, verified] = versions(&stage);
    for label in ["a", "b"] {
        stage.house.server.change(SECRET, |object| object["metadata"]["labels"] = json!({"x": label}));
        stage.house.hear_of_secret();
        stage.house.settle().await;
        assert_eq!(stage.house.server.news(), [READ, STATUS]);
        assert_eq!(versions(&stage), [stored_version(&stage), verified.clone()]);
    }
    assert_eq!(stage.logins(), 1, "the same values are not tried again");
}

#[tokio::test]
async fn a_rotation_costs_one_read_and_one_write_and_is_an_event() {
    let stage = Stage::with_ready_connection().await;
    stage.house.server.change(SECRET, |object| object["data"] = secret("another-secret")["data"].clone());
    stage.house.hear_of_secret();
    stage.house.settle().await;
    assert_eq!(stage.house.server.events(), ["CredentialsRotated"]);
    assert_eq!(stage.house.server.news(), [READ, STATUS, "POST events"]);
    assert_eq!(versions(&stage), [stored_version(&stage), stored_version(&stage)]);
    assert_eq!(stage.logins(), 2);
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_awaited_without_asking() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.remove(SECRET);
    stage.house.settle().await;
    assert_eq!(stage.house.condition("CredentialsResolved"), Some(("False".to_owned(), "SecretNotFound".to_owned())));
    stage.house.server.news();
    for _ in 0..3 {
        stage.house.pass().await.unwrap();
    }
    assert_eq!(stage.house.server.news(), [""; 0]);
    stage.house.server.store(SECRET, secret("reader-secret"));
    stage.house.hear_of_secret();
    stage.house.settle().await;
    assert_eq!(stage.house.server.news(), [READ, STATUS, "POST events"]);
    assert_eq!(stage.house.ready().0, "True");
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_is_told_and_asked_for_once_a_minute_at_most() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.always(READ, Fault::Says(403));
    stage.house.settle().await;
    let told = stage.house.condition("CredentialsResolved");
    assert_eq!(told, Some(("Unknown".to_owned(), "SecretNotReadable".to_owned())));
    assert_eq!(stage.house.ready().0, "Unknown");
    let reads = |lines: &[String]| lines.iter().filter(|line| *line == READ).count();
    assert_eq!(reads(&stage.house.server.news()), 1);
    for _ in 0..10 {
        stage.house.pass().await.unwrap();
    }
    assert_eq!(stage.house.server.news(), [""; 0]);
    assert_eq!(stage.logins(), 0);
}

#[tokio::test]
async fn an_api_server_that_fails_says_nothing_about_the_secret() {
    for fault in [Fault::Says(500), Fault::Says(503), Fault::Says(429), Fault::BreaksBefore] {
        let stage = Stage::with_ready_connection().await;
        let before = stage.house.server.object(CONNECTION);
        stage.house.server.always(READ, fault);
        stage.house.server.change(SECRET, |object| object["data"] = secret("another-secret")["data"].clone());
        stage.house.hear_of_secret();
        for _ in 0..3 {
            assert!(matches!(stage.house.pass().await, Err(Error::Api(_))), "{fault:?}");
        }
        assert_eq!(stage.house.server.news(), [READ; 3], "nothing is written");
        assert_eq!(stage.house.server.object(CONNECTION), before);
    }
}

#[tokio::test]
async fn without_a_watch_a_secret_is_read_once_in_an_interval() {
    let stage = Stage::with_new_connection().await;
    let house = House::with_access(&stage.house.server, SecretAccess::Polled);
    house.settle().await;
    house.server.news();
    for _ in 0..5 {
        house.pass().await.unwrap();
    }
    assert_eq!(house.server.news(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_that_passes_says_nothing_about_a_secret_that_could_be_read() {
    let stage = Stage::with_new_connection().await;
    let house = House::with_access(&stage.house.server, SecretAccess::Polled);
    house.settle().await;
    house.server.news();
    let before = house.server.object(CONNECTION);
    house.server.once(0, Fault::Says(403));
    house.pass_an_interval();
    assert!(matches!(house.pass().await, Err(Error::Refused)), "an API server that starts refuses everybody");
    house.pass().await.unwrap();
    assert_eq!(house.server.news(), [READ; 2]);
    assert_eq!(house.server.object(CONNECTION), before);
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn a_refusal_that_lasts_is_believed_of_a_secret_that_could_be_read() {
    let stage = Stage::with_new_connection().await;
    let house = House::with_access(&stage.house.server, SecretAccess::Polled);
    house.settle().await;
    house.server.always(READ, Fault::Says(403));
    house.pass_an_interval();
    for _ in 0..3 {
        assert!(matches!(house.pass().await, Err(Error::Refused)));
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    house.pass().await.unwrap();
    let told = house.condition("CredentialsResolved");
    assert_eq!(told, Some(("Unknown".to_owned(), "SecretNotReadable".to_owned())));
    house.server.news();
    house.pass_an_interval();
    house.pass().await.unwrap();
    assert_eq!(house.server.news(), [READ], "what is believed is not doubted again");
    house.server.heal();
    house.pass_an_interval();
    house.pass_an_interval();
    house.settle().await;
    assert_eq!(house.ready().0, "True");
    house.server.always(READ, Fault::Says(403));
    house.pass_an_interval();
    assert!(matches!(house.pass().await, Err(Error::Refused)), "it could be read again in between");
}

#[tokio::test]
async fn a_refusal_of_a_secret_that_was_never_read_is_believed_at_once() {
    let stage = Stage::with_ready_connection().await;
    stage.house.server.change(CONNECTION, |object| {
        object["spec"]["credentials"]["secretRef"]["name"] = json!("another");
        object["metadata"]["generation"] = json!(2);
    });
    stage.house.server.always("GET secrets/another", Fault::Says(403));
    stage.house.pass().await.unwrap();
    let told = stage.house.condition("CredentialsResolved");
    assert_eq!(told, Some(("Unknown".to_owned(), "SecretNotReadable".to_owned())));
}

#[tokio::test]
async fn a_status_whose_answer_was_lost_verifies_nothing_later() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.once(2, Fault::BreaksAfter);
    stage.house.settle().await;
    assert!(!stage.house.server.is_waiting_to_fail());
    let [_, verified] = versions(&stage);
    stage.house.server.news();
    stage.house.server.change(SECRET, |object| object["metadata"]["labels"] = json!({"x": "y"}));
    stage.house.hear_of_secret();
    stage.house.settle().await;
    assert_eq!(versions(&stage), [stored_version(&stage), verified]);
    assert_eq!(stage.house.server.events(), [""; 0], "the same values are no rotation");
}

#[tokio::test]
async fn the_values_of_the_secret_are_in_no_request() {
    let stage = Stage::with_new_connection().await;
    stage.house.settle().await;
    let bodies: Vec<Value> = stage.house.server.requests().into_iter().map(|request| request.body).collect();
    let status = stage.house.server.object(CONNECTION).unwrap();
    let shown = format!("{bodies:?}{status}");
    let encoded = secret("reader-secret")["data"]["password"].as_str().unwrap().to_owned();
    assert!(bodies.len() == 3 && !shown.contains("reader-secret") && !shown.contains(&encoded), "{shown}");
}

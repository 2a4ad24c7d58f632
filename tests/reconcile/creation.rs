//! What a new Connection costs, and what an old one does not.

use serde_json::json;

use crate::{
    house::{CONNECTION, FINALIZER, House, Nowhere, Stage},
    server::Request,
};

/// A new Connection: put the finalizer on, read the Secret, say what was found.
const CREATION: [&str; 3] =
    ["PATCH connections/orders-db", "GET secrets/orders-db", "PATCH connections/orders-db/status"];

#[tokio::test]
async fn a_new_connection_costs_three_requests_two_of_them_writes() {
    let stage = Stage::with_new_connection().await;
    stage.house.settle().await;
    let requests = stage.house.server.requests();
    let lines: Vec<String> = requests.iter().map(ToString::to_string).collect();
    assert_eq!(lines, CREATION);
    assert!(requests.iter().all(|request| request.path.contains("/namespaces/shop/")), "{requests:#?}");
    assert!(requests.iter().all(|request| request.query.is_empty()), "{requests:#?}");
    assert_eq!(stage.house.ready(), ("True".to_owned(), "Succeeded".to_owned()));
    assert_eq!(stage.house.server.object(CONNECTION).unwrap()["metadata"]["finalizers"], json!([FINALIZER]));
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn the_finalizer_is_put_on_before_anything_is_read_and_nothing_is_said_before_the_verdict() {
    let stage = Stage::with_new_connection().await;
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.server.news(), CREATION[..2]);
}

#[tokio::test]
async fn a_first_failure_costs_one_event_more() {
    let stage = Stage::with_new_connection().await;
    let nowhere = Nowhere::new();
    stage.house.server.change(CONNECTION, |object| object["spec"]["postgresql"]["port"] = json!(nowhere.port()));
    stage.house.settle().await;
    assert_eq!(stage.house.server.events(), ["Broken"]);
    assert_eq!(stage.house.server.news(), [&CREATION[..], &["POST events"]].concat());
    assert_eq!(stage.house.ready(), ("False".to_owned(), "ConnectionRefused".to_owned()));
}

#[tokio::test]
async fn the_finalizers_of_others_stay() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.change(CONNECTION, |object| object["metadata"]["finalizers"] = json!(["example.com/other"]));
    stage.house.settle().await;
    let finalizers = &stage.house.server.object(CONNECTION).unwrap()["metadata"]["finalizers"];
    assert_eq!(*finalizers, json!(["example.com/other", FINALIZER]));
    assert_eq!(stage.house.server.news(), CREATION);
}

#[tokio::test]
async fn a_pass_without_news_sends_nothing() {
    let stage = Stage::with_ready_connection().await;
    for _ in 0..5 {
        stage.house.pass().await.unwrap();
    }
    assert_eq!(stage.house.server.news(), [""; 0]);
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn a_watch_that_lags_behind_costs_nothing() {
    let stage = Stage::with_new_connection().await;
    let old = stage.house.server.object(CONNECTION).unwrap();
    stage.house.pass_over(old.clone()).await.unwrap();
    stage.house.verdict().await;
    for _ in 0..3 {
        stage.house.pass_over(old.clone()).await.unwrap();
    }
    assert_eq!(stage.house.server.news(), CREATION);
}

#[tokio::test]
async fn what_is_found_about_an_older_spec_is_said_about_its_generation() {
    let nowhere = Nowhere::new();
    let stage = Stage::with_ready_connection().await;
    let old = stage.house.server.object(CONNECTION).unwrap();
    stage.house.server.change(CONNECTION, |object| {
        object["spec"]["postgresql"]["port"] = json!(nowhere.port());
        object["metadata"]["generation"] = json!(2);
    });
    stage.house.is_used();
    stage.house.pass_over(old.clone()).await.unwrap();
    stage.house.is_unused();
    stage.house.pass_over(old).await.unwrap();
    assert_eq!(stage.house.server.news(), [CREATION[2]; 2]);
    assert_eq!(stage.house.ready().0, "True");
    assert_eq!(stage.house.server.object(CONNECTION).unwrap()["status"]["observedGeneration"], 1);
    assert_eq!(generations(&stage.house), [1; 6], "nobody has looked at the other target");
    stage.house.settle().await;
    assert_eq!(stage.house.ready(), ("False".to_owned(), "ConnectionRefused".to_owned()));
    assert_eq!(stage.house.server.object(CONNECTION).unwrap()["status"]["observedGeneration"], 2);
}

#[tokio::test]
async fn a_change_between_the_watch_and_the_finalizer_is_not_taken_for_what_was_seen() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.change(CONNECTION, |object| object["spec"]["suspend"] = json!(true));
    let old = stage.house.server.object(CONNECTION).unwrap();
    stage.house.server.change(CONNECTION, |object| {
        object["spec"]["suspend"] = json!(false);
        object["metadata"]["generation"] = json!(2);
    });
    stage.house.pass_over(old).await.unwrap();
    assert_eq!(stage.house.server.news(), [CREATION[0], CREATION[2]]);
    assert_eq!(generations(&stage.house), [1; 6]);
    stage.house.settle().await;
    assert_eq!(stage.house.ready().0, "True");
    assert_eq!(generations(&stage.house), [2; 6]);
}

#[tokio::test]
async fn a_change_of_the_description_costs_one_write_and_no_look() {
    let stage = Stage::with_ready_connection().await;
    describe(&stage.house);
    stage.house.settle().await;
    assert_eq!(stage.house.server.news(), [CREATION[2]]);
    assert_eq!(stage.house.server.object(CONNECTION).unwrap()["status"]["observedGeneration"], 2);
    assert_eq!(generations(&stage.house), [2; 6]);
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn a_change_right_after_one_of_the_users_costs_one_write_in_all() {
    let stage = Stage::with_ready_connection().await;
    stage.house.is_used();
    stage.house.settle().await;
    assert_eq!(stage.house.server.news(), [CREATION[2]]);
    describe(&stage.house);
    stage.house.settle().await;
    assert_eq!(stage.house.server.news(), [CREATION[2]]);
    assert_eq!(generations(&stage.house), [2; 6], "nothing is left to be written later");
}

#[tokio::test]
async fn a_restart_costs_one_read_and_no_write() {
    let stage = Stage::with_ready_connection().await;
    let house = House::new(&stage.house.server);
    house.settle().await;
    assert_eq!(house.server.news(), [CREATION[1]]);
    describe(&house);
    house.settle().await;
    assert_eq!(house.server.news(), [CREATION[2]]);
    assert_eq!(generations(&house), [2; 6], "what is remembered holds for the new generation too");
}

/// Changes what is not looked at.
fn describe(house: &House) {
    house.server.change(CONNECTION, |object| {
        object["spec"]["description"] = json!("Orders");
        object["metadata"]["generation"] = json!(2);
    });
}

/// The generation that each condition is about.
fn generations(house: &House) -> Vec<i64> {
    let object = house.server.object(CONNECTION).unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().map(|condition| condition["observedGeneration"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_suspended_connection_is_not_read_and_not_looked_at() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.change(CONNECTION, |object| object["spec"]["suspend"] = json!(true));
    stage.house.settle().await;
    assert_eq!(stage.house.server.news(), [CREATION[0], CREATION[2]]);
    assert_eq!(stage.house.ready(), ("Unknown".to_owned(), "Suspended".to_owned()));
    assert_eq!(stage.logins(), 0);
}

#[tokio::test]
async fn a_spec_that_makes_no_sense_is_told_without_a_look() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.change(CONNECTION, |object| object["spec"]["credentials"]["secretRef"] = json!(null));
    stage.house.settle().await;
    assert_eq!(stage.house.server.events(), ["InvalidConfiguration"]);
    assert_eq!(stage.house.server.news(), [CREATION[0], CREATION[2], "POST events"]);
    assert_eq!(stage.logins(), 0);
}

#[tokio::test]
async fn what_cannot_be_decoded_is_read_once_more_and_told() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.change(CONNECTION, |object| object["spec"]["type"] = json!("Oracle"));
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.ready(), ("False".to_owned(), "InvalidConfiguration".to_owned()));
    let expected = ["GET connections/orders-db", CREATION[0], CREATION[2], "POST events"];
    assert_eq!(stage.house.server.news(), expected);
}

#[tokio::test]
async fn every_write_is_a_json_patch_that_first_tests_the_uid() {
    let stage = Stage::with_new_connection().await;
    stage.house.settle().await;
    stage.house.is_used();
    stage.house.settle().await;
    stage.house.delete();
    stage.house.settle().await;
    stage.house.is_unused();
    stage.house.settle().await;
    assert_eq!(stage.house.server.object(CONNECTION), None);
    let requests = stage.house.server.requests();
    let writes: Vec<&Request> =
        requests.iter().filter(|request| !["GET", "POST"].contains(&&*request.method)).collect();
    assert!(writes.len() >= 5, "{writes:#?}");
    for write in writes {
        assert_eq!((&*write.method, &*write.content_type), ("PATCH", "application/json-patch+json"), "{write:#?}");
        let first = json!({"op": "test", "path": "/metadata/uid", "value": "uid-2"});
        assert_eq!(write.operations()[0], &first, "{write:#?}");
    }
    let posts = requests.iter().filter(|request| request.method == "POST");
    assert!(posts.into_iter().all(|request| request.path.ends_with("/events")));
}

#[tokio::test]
async fn a_status_is_replaced_as_a_whole() {
    let stage = Stage::with_new_connection().await;
    stage.house.settle().await;
    let requests = stage.house.server.requests();
    let status = requests.iter().find(|request| request.path.ends_with("/status")).unwrap();
    let places: Vec<_> =
        status.operations().into_iter().map(|operation| (&operation["op"], &operation["path"])).collect();
    assert_eq!(places, [(&json!("test"), &json!("/metadata/uid")), (&json!("replace"), &json!("/status"))]);
}

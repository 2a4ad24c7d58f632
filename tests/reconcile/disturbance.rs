//! Whatever happens to any request, and wherever the process dies, what is stored in the end is what is stored without it.

use connection_operator::reconcile::Error;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use crate::{
    house::{CONNECTION, DEPLOYMENT, FAULTS, House, Nowhere, SECRET, Stage, essence, secret, survive},
    server::{Fault, Server},
};

const STATUS: &str = "PATCH connections/orders-db/status";

#[tokio::test]
async fn what_has_changed_meanwhile_is_looked_at_again() {
    for code in [422, 409] {
        for at in [0, 2] {
            let stage = Stage::with_new_connection().await;
            let undisturbed = Stage::with_new_connection().await;
            stage.house.server.once(at, Fault::Says(code));
            if at == 2 {
                stage.house.pass().await.unwrap();
                stage.house.verdict().await;
            }
            let passed = stage.house.pass().await;
            assert!(matches!(passed, Err(Error::Outdated)), "{code} {at}: {passed:?}");
            assert_eq!(stage.house.ready().0, "Unknown", "it is no failure of the object");
            stage.house.settle().await;
            undisturbed.house.settle().await;
            assert_eq!(same_port(&essence(&stage.house.server)), same_port(&essence(&undisturbed.house.server)));
        }
    }
}

#[tokio::test]
async fn what_is_gone_is_done() {
    // Before the finalizer, and before the status.
    for passes in [0, 1] {
        let stage = Stage::with_new_connection().await;
        for _ in 0..passes {
            stage.house.pass().await.unwrap();
            stage.house.verdict().await;
        }
        let old = stage.house.server.object(CONNECTION).unwrap();
        stage.house.server.remove(CONNECTION);
        stage.house.server.news();
        assert_eq!(stage.house.pass_over(old).await.unwrap(), Action::await_change());
        assert_eq!(stage.house.server.news().len(), 1, "it is not asked for again");
    }
}

#[tokio::test]
async fn nothing_is_written_on_what_was_made_anew_under_the_same_name() {
    for passes in [0, 1] {
        let stage = Stage::with_new_connection().await;
        for _ in 0..passes {
            stage.house.pass().await.unwrap();
            stage.house.verdict().await;
        }
        let old = stage.house.server.object(CONNECTION).unwrap();
        stage.house.server.remove(CONNECTION);
        let mut anew = old.clone();
        anew["metadata"]["finalizers"] = json!(null);
        stage.house.server.store(CONNECTION, anew);
        let before = stage.house.server.object(CONNECTION);
        stage.house.server.news();
        assert!(matches!(stage.house.pass_over(old).await, Err(Error::Outdated)));
        assert_eq!(stage.house.server.news().len(), 1);
        assert_eq!(stage.house.server.object(CONNECTION), before);
        stage.house.settle().await;
        assert_eq!(stage.house.ready().0, "True");
    }
}

#[tokio::test]
async fn a_creation_survives_a_fault_of_any_request() {
    converges(3, async |_| {}).await;
}

#[tokio::test]
async fn a_creation_that_ends_red_survives_a_fault_of_any_request() {
    let nowhere = Nowhere::new();
    let port = nowhere.port();
    converges(4, async |house| {
        if house.server.object(CONNECTION).unwrap()["spec"]["postgresql"]["port"] != port {
            house.server.change(CONNECTION, |object| object["spec"]["postgresql"]["port"] = json!(port));
        }
    })
    .await;
}

#[tokio::test]
async fn a_deletion_survives_a_fault_of_any_request() {
    converges(3 + 7 + 1, async |house| {
        house.settle().await;
        if house.server.object(CONNECTION).is_some_and(|object| object["metadata"]["deletionTimestamp"].is_null()) {
            house.delete();
        }
    })
    .await;
}

#[tokio::test]
async fn a_hold_survives_a_fault_of_any_request() {
    // Created, used, deleted, and told about it.
    converges(3 + 1 + 2, async |house| {
        house.settle().await;
        if house.server.object(DEPLOYMENT).is_none() {
            house.is_used();
        }
        house.settle().await;
        if house.server.object(CONNECTION).unwrap()["metadata"]["deletionTimestamp"].is_null() {
            house.delete();
        }
    })
    .await;
}

#[tokio::test]
async fn a_deletion_that_is_held_survives_a_fault_of_any_request() {
    // Created, used, deleted and held, unused, released.
    converges(3 + 1 + 2 + 7 + 2, async |house| {
        house.settle().await;
        let Some(object) = house.server.object(CONNECTION) else { return };
        if object["metadata"]["annotations"].is_null() {
            house.is_used();
            house.settle().await;
            if house.server.object(CONNECTION).unwrap()["metadata"]["deletionTimestamp"].is_null() {
                house.delete();
            }
            house.settle().await;
            house.server.change(CONNECTION, |object| object["metadata"]["annotations"] = json!({"held": "yes"}));
        }
        if house.server.object(DEPLOYMENT).is_some() {
            house.is_unused();
        }
    })
    .await;
}

#[tokio::test]
async fn a_rotation_survives_a_fault_of_any_request() {
    converges(3 + 3, async |house| {
        house.settle().await;
        if house.server.object(SECRET).unwrap()["data"] != secret("another-secret")["data"] {
            house.server.change(SECRET, |object| object["data"] = secret("another-secret")["data"].clone());
        }
        house.hear_of_secret();
    })
    .await;
}

#[tokio::test]
async fn a_request_for_a_look_survives_a_fault_of_any_request() {
    converges(3 + 2, async |house| {
        house.settle().await;
        if house.server.object(CONNECTION).unwrap()["metadata"]["annotations"].is_null() {
            house.request();
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_for_a_look_is_followed_by_one_whatever_fault_a_request_meets() {
    // The Secret is read, and the status is written.
    let faults = [Fault::Says(500), Fault::BreaksBefore, Fault::BreaksAfter];
    let runs = (0..2).flat_map(|at| faults.map(|fault| (at, fault)));
    let runs = runs.map(async |(at, fault)| {
        let stage = Stage::with_ready_connection().await;
        stage.house.server.once(at, fault);
        stage.house.request();
        stage.house.settle().await;
        assert!(!stage.house.server.is_waiting_to_fail(), "{fault:?} of request {at} never came");
        assert_eq!(stage.house.server.object(CONNECTION).unwrap()["status"]["lastHandledReconcileAt"], "now");
        assert!(stage.house.has_looked(2).await, "handled without a look after {fault:?} of request {at}");
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn a_failed_pass_is_repeated_soon_and_then_less_and_less_often() {
    let stage = Stage::with_new_connection().await;
    stage.house.server.always(STATUS, Fault::Says(500));
    let stored = stage.house.server.object(CONNECTION).unwrap();
    let uid = stored["metadata"]["uid"].as_str().unwrap().into();
    let object = serde_json::from_value(stored).unwrap();
    // A pass has begun, so something is kept about the object; about one that is gone nothing would be.
    stage.house.context.standings().of(&uid);
    let waits: Vec<_> =
        (0..12).map(|_| connection_operator::reconcile::retry_after(&object, &stage.house.context)).collect();
    assert!(waits[0].as_millis() < 500 && waits[11].as_secs() >= 30 && waits[11].as_secs() <= 45, "{waits:?}");
}

/// Lives through a story, which makes no more than `requests` requests, once undisturbed and then with each fault of each
/// request. A story begins anew in a new process, with what is stored then.
async fn converges(requests: usize, story: impl AsyncFn(&House) + Copy) {
    let live = async |fault: Option<(usize, Fault)>| {
        let stage = Stage::with_new_connection().await;
        let server: Server = stage.house.server.clone();
        if let Some((at, fault)) = fault {
            server.once(at, fault);
        }
        survive(&server, async |house| {
            story(house).await;
            house.settle().await;
        })
        .await;
        let mut events = server.events();
        events.sort();
        assert!(events.is_sorted_by(|a, b| a < b), "the same is told twice: {events:?}, with {fault:?}");
        (same_port(&essence(&server)), server.is_waiting_to_fail(), server.requests().len())
    };
    let (expected, _, made) = live(None).await;
    assert_eq!(made, requests, "the story is not the one that is told");
    let runs = (0..requests).flat_map(|at| FAULTS.map(|fault| (at, fault)));
    let runs = runs.map(async |(at, fault)| (at, fault, live(Some((at, fault))).await));
    for (at, fault, (found, waiting, _)) in futures::future::join_all(runs).await {
        assert!(!waiting, "{fault:?} of request {at} never came");
        assert_eq!(found, expected, "{fault:?} of request {at}");
    }
}

/// The same for every database.
fn same_port(object: &Value) -> Value {
    let mut object = object.clone();
    let port = object["spec"]["postgresql"]["port"].to_string();
    if !object.is_null() {
        object["spec"]["postgresql"]["port"] = json!(0);
    }
    serde_json::from_str(&object.to_string().replace(&format!(":{port}"), ":PORT")).unwrap()
}

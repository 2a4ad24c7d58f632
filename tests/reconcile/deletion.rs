//! When a Connection that is being deleted is let go, and what is asked and written for it.

use std::time::Duration;

use connection_operator::{reconcile::plan::Fate, usage::Kind};
use futures::future::join_all;
use kube::runtime::controller::Action;
use serde_json::json;

use crate::{
    house::{CONNECTION, FINALIZER, House, Stage, marked},
    server::{Fault, Server},
};

const PATCH: &str = "PATCH connections/orders-db";
const STATUS: &str = "PATCH connections/orders-db/status";
const EVENT: &str = "POST events";

/// One list of each kind that counts.
fn lists() -> Vec<String> {
    let mut lists: Vec<_> = Kind::BUILT_IN.iter().map(|kind| format!("LIST {}", kind.api_resource().plural)).collect();
    lists.sort();
    lists
}

#[tokio::test]
async fn what_we_do_not_hold_is_left_alone() {
    for finalizers in [json!(null), json!([]), json!(["example.com/other"])] {
        let server = Server::default();
        let mut object = marked(1);
        object["metadata"]["finalizers"] = finalizers;
        server.store(CONNECTION, object);
        let house = House::new(&server);
        for _ in 0..3 {
            assert_eq!(house.pass().await.unwrap(), Action::await_change());
        }
        assert_eq!(server.news(), [""; 0]);
    }
}

#[tokio::test]
async fn an_unused_connection_is_released_after_one_list_of_each_kind_and_with_one_patch() {
    let stage = Stage::with_ready_connection().await;
    stage.house.delete();
    stage.house.pass().await.unwrap();
    let requests = stage.house.server.requests();
    let mut lines = stage.house.server.news();
    assert_eq!(lines.pop().as_deref(), Some(PATCH), "after the lists");
    lines.sort();
    assert_eq!(lines, lists());
    assert_eq!(lines.len(), 7);
    for list in &requests[..7] {
        assert!(list.path.contains("/namespaces/shop/"), "{list:#?}");
        // An old state would be answered to `resourceVersion=0`.
        assert!(!list.query.contains("resourceVersion"), "{list:#?}");
    }
    let object = &requests[7];
    assert_eq!(
        object.operations()[1..],
        [
            &json!({"op": "test", "path": "/metadata/finalizers/0", "value": FINALIZER}),
            &json!({"op": "remove", "path": "/metadata/finalizers/0"}),
        ]
    );
    assert_eq!(stage.house.server.object(CONNECTION), None);
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.server.news(), [""; 0]);
}

#[tokio::test]
async fn many_that_go_at_once_never_have_more_than_two_rounds_of_lists_under_way() {
    // One namespace, and ten.
    for namespaces in [1, 10] {
        let server = Server::default();
        let house = House::new(&server);
        let marked = many_marked(&server, 10, namespaces);
        let passed = join_all(marked.iter().map(|path| house.pass_over(server.object(path).unwrap()))).await;
        assert!(passed.iter().all(Result::is_ok), "{passed:#?}");
        assert!(marked.iter().all(|path| server.object(path).is_none()), "all are let go");
        assert!(server.most_lists_at_once() <= 2 * 4, "{}", server.most_lists_at_once());
        let listed = server.news().iter().filter(|line| line.starts_with("LIST ")).count();
        // Two that find nobody before them, and one for all that have waited.
        let rounds = if namespaces == 1 { 3 } else { 10 };
        assert_eq!(listed, rounds * 7);
    }
}

#[tokio::test]
async fn many_that_wait_for_a_round_leave_room_for_others() {
    let server = Server::default();
    let house = House::new(&server);
    let marked = many_marked(&server, 20, 20);
    let passed = join_all(marked.iter().map(|path| house.pass_over(server.object(path).unwrap()))).await;
    let later = passed.iter().filter(|passed| passed.as_ref().unwrap() == &Action::requeue(Duration::from_secs(1)));
    assert_eq!(later.count(), 4);
    let left: Vec<_> = marked.iter().filter_map(|path| server.object(path)).collect();
    assert_eq!(left.len(), 4);
    for object in left {
        house.pass_over(object).await.unwrap();
    }
    assert!(marked.iter().all(|path| server.object(path).is_none()));
}

/// Stores so many Connections that are being deleted, in so many namespaces; their paths.
fn many_marked(server: &Server, number: usize, namespaces: usize) -> Vec<String> {
    let store = |at: usize| {
        let (name, namespace) = (format!("orders-{at}"), format!("shop-{}", at % namespaces));
        let path = format!("/apis/connectivity.dev/v1alpha1/namespaces/{namespace}/connections/{name}");
        let mut object = marked(1);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace);
        server.store(&path, object);
        path
    };
    (0..number).map(store).collect()
}

#[tokio::test]
async fn only_our_finalizer_is_taken_off() {
    let stage = Stage::with_ready_connection().await;
    stage.house.server.change(CONNECTION, |object| {
        object["metadata"]["finalizers"] = json!(["example.com/first", FINALIZER, "example.com/last"]);
    });
    stage.house.delete();
    stage.house.settle().await;
    let left = &stage.house.server.object(CONNECTION).unwrap()["metadata"]["finalizers"];
    assert_eq!(*left, json!(["example.com/first", "example.com/last"]));
}

#[tokio::test]
async fn a_used_connection_is_held_and_nothing_is_listed() {
    let stage = Stage::with_ready_connection().await;
    stage.house.is_used();
    stage.house.settle().await;
    stage.house.server.news();
    stage.house.delete();
    stage.house.settle().await;
    assert_eq!(stage.house.server.events(), ["DeletionBlocked"]);
    assert_eq!(stage.house.server.news(), [STATUS, EVENT]);
    assert_eq!(stage.house.condition("Terminating"), Some(("True".to_owned(), "InUse".to_owned())));
    assert_eq!(stage.house.ready().0, "True", "it goes on being what it is");
    for _ in 0..3 {
        stage.house.pass().await.unwrap();
    }
    assert_eq!(stage.house.server.news(), [""; 0], "holding costs nothing");
    stage.house.is_unused();
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.server.object(CONNECTION), None);
    assert_eq!(stage.house.server.events(), ["DeletionReleased"]);
}

#[tokio::test]
async fn a_user_that_no_watch_has_shown_yet_holds_too() {
    let stage = Stage::with_ready_connection().await;
    stage.house.is_used();
    stage.house.context.index.with(|index| index.remove(&Kind::Deployment, "shop", "api"));
    stage.house.delete();
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.condition("Terminating"), Some(("True".to_owned(), "InUse".to_owned())));
}

#[tokio::test]
async fn a_hold_that_no_watch_knows_of_is_looked_at_again() {
    let stage = Stage::with_ready_connection().await;
    stage.house.is_used();
    stage.house.context.index.with(|index| index.remove(&Kind::Deployment, "shop", "api"));
    stage.house.delete();
    for _ in 0..2 {
        assert_eq!(stage.house.pass().await.unwrap(), Action::requeue(Duration::from_secs(30)));
    }
    stage.house.is_used();
    assert_eq!(stage.house.pass().await.unwrap(), Action::await_change(), "the watch will tell");
    stage.house.is_unused();
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.server.object(CONNECTION), None);
}

#[tokio::test]
async fn a_mark_counts_once_a_watch_shows_it_and_no_answer_is_taken_for_it() {
    let stage = Stage::with_ready_connection().await;
    let old = stage.house.server.object(CONNECTION).unwrap();
    stage.house.delete();
    let shown_later = stage.house.server.object(CONNECTION).unwrap();
    stage.house.is_used();
    stage.house.pass_over(old.clone()).await.unwrap();
    stage.house.is_unused();
    stage.house.pass_over(old).await.unwrap();
    assert_eq!(stage.house.server.news(), [STATUS; 2], "what it names now is not known");
    stage.house.pass_over(shown_later).await.unwrap();
    assert_eq!(stage.house.server.news().last().map(String::as_str), Some(PATCH));
    assert_eq!(stage.house.server.object(CONNECTION), None);
}

#[tokio::test]
async fn a_kind_that_cannot_be_listed_holds_until_the_namespace_goes() {
    let stage = Stage::with_ready_connection().await;
    stage.house.server.always("LIST pods", Fault::Says(403));
    stage.house.delete();
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.condition("Terminating"), Some(("True".to_owned(), "UsageUnknown".to_owned())));
    assert_eq!(stage.house.server.events(), ["DeletionBlocked"]);
    stage.house.server.news();
    stage.house.pass().await.unwrap();
    let mut again = stage.house.server.news();
    again.sort();
    assert_eq!(again, lists(), "it is looked at again, and nothing is said twice");
    stage.house.context.cluster.set_namespace("shop", Fate::Goes);
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.server.object(CONNECTION), None);
}

#[tokio::test]
async fn a_forced_deletion_is_released_and_names_who_loses() {
    for used in [true, false] {
        let stage = Stage::with_ready_connection().await;
        if used {
            stage.house.is_used();
            stage.house.settle().await;
        }
        stage.house.server.change(CONNECTION, |object| {
            object["metadata"]["annotations"] = json!({"connectivity.dev/force-delete": "true"});
        });
        stage.house.delete();
        stage.house.server.news();
        stage.house.pass().await.unwrap();
        assert_eq!(stage.house.server.object(CONNECTION), None);
        let events = stage.house.server.requests().iter().filter(|r| r.method == "POST").cloned().collect::<Vec<_>>();
        let expected: &[&str] = if used { &[PATCH, EVENT] } else { &[PATCH] };
        assert_eq!(stage.house.server.news(), expected);
        assert!(events.iter().all(|event| event.body["reason"] == "ForceDeleted"), "{events:#?}");
        assert!(events.iter().all(|event| event.body["note"].to_string().contains("Deployment/api")), "{events:#?}");
    }
}

#[tokio::test]
async fn everything_is_released_when_the_definition_goes() {
    let stage = Stage::with_ready_connection().await;
    stage.house.is_used();
    stage.house.settle().await;
    stage.house.context.cluster.set_crd(Fate::Goes);
    stage.house.delete();
    stage.house.server.news();
    stage.house.pass().await.unwrap();
    assert_eq!(stage.house.server.events(), ["ForceDeleted"]);
    assert_eq!(stage.house.server.news(), [PATCH, EVENT]);
    assert_eq!(stage.house.server.object(CONNECTION), None);
}

#[tokio::test]
async fn a_release_that_is_not_taken_is_told_and_tried_again() {
    let stage = Stage::with_ready_connection().await;
    stage.house.delete();
    stage.house.server.always(PATCH, Fault::Says(500));
    assert!(stage.house.pass().await.is_err());
    assert_eq!(stage.house.condition("Terminating"), Some(("True".to_owned(), "Releasing".to_owned())));
    stage.house.server.heal();
    stage.house.settle().await;
    assert_eq!(stage.house.server.object(CONNECTION), None);
}

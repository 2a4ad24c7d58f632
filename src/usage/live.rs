//! Asks the API server itself who uses the connections of one namespace, since an index may lag behind. It is done once
//! before a deletion is let go.
//!
//! It reads each kind with the resourceVersion unset, which is answered from the newest state. What the answer means for a
//! deletion is decided by the reconciler.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::BoxFuture, stream};
use kube::{Api, Client, api::ListParams};
use tokio::time::timeout;

use super::{
    ConnectionRef,
    extract::{Kind, Object, Reference, Target, reference},
    index::{Index, KindState, Scope, targets_of},
    served::{Served, served},
    users::Users,
};

/// Longest time one request may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Objects in one page, as other clients ask for.
const PAGE: u32 = 500;

/// Most pages that are read of one kind. A million objects of one kind in one namespace are more than etcd is built for;
/// a server that always has one more page must not keep us for ever.
const PAGES: u32 = 2_000;

/// Most times a list is begun again because its next page is no longer to be had.
const RESTARTS: u32 = 3;

/// Kinds that are listed at once: quick enough for one namespace, gentle when many connections are deleted together.
const AT_ONCE: usize = 4;

/// A connection, and the Secrets it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The connection's name.
    pub name: String,
    /// The names of the Secrets of its credentials and its client certificate.
    pub secrets: Vec<String>,
}

/// Why the objects of a kind are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unlisted {
    /// Listing is not permitted.
    Forbidden,
    /// The API server does not serve the kind, so there are no objects of it.
    Missing,
    /// The API server did not answer in time, or not with a list.
    Failed,
}

/// Who uses the connections of a namespace, as the API server says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveUsers {
    /// The users of each connection, in the order of the claims. Their `unknown` kinds are those that are
    /// [`Unlisted::Forbidden`] or [`Unlisted::Failed`].
    pub users: Vec<Users>,
    /// The kinds that were not read, in the order of the kinds.
    pub unlisted: Vec<(Kind, Unlisted)>,
}

/// Reads every object of `kinds` in `namespace`, and says who uses the connections of `claims`.
pub async fn users_now(client: &Client, kinds: &[Kind], namespace: &str, claims: &[Claim]) -> LiveUsers {
    let wanted: &BTreeSet<Target> = &claims.iter().flat_map(Claim::targets).collect();
    // Boxed one by one: a closure that borrows would not be general enough for a spawned task.
    let mut listings: Vec<BoxFuture<'_, _>> = Vec::with_capacity(kinds.len());
    for kind in kinds {
        listings.push(Box::pin(async move { (kind, list(client, kind, namespace, wanted).await) }));
    }
    let listings: Vec<_> = stream::iter(listings).buffered(AT_ONCE).collect().await;

    let mut index = Index::new(kinds.iter().cloned());
    for claim in claims {
        index.claim(&ConnectionRef::new(namespace, &claim.name), claim.secrets.iter().map(String::as_str));
    }
    let mut unlisted = Vec::new();
    for (kind, listing) in listings {
        let state = match listing {
            Ok(references) => {
                for reference in references {
                    index.apply(reference);
                }
                KindState::Synced
            }
            Err(why) => {
                unlisted.push((kind.clone(), why));
                match why {
                    Unlisted::Forbidden => KindState::Forbidden,
                    Unlisted::Missing => KindState::Missing,
                    Unlisted::Failed => KindState::Syncing,
                }
            }
        };
        index.set_state(kind, &Scope::Cluster, state);
    }
    let users = claims.iter().map(|claim| index.users(&ConnectionRef::new(namespace, &claim.name))).collect();
    LiveUsers { users, unlisted }
}

impl Claim {
    fn targets(&self) -> Vec<Target> {
        let secrets: Vec<Arc<str>> = self.secrets.iter().map(|secret| secret.as_str().into()).collect();
        targets_of(&self.name.as_str().into(), &secrets)
    }
}

/// What the objects of `kind` in `namespace` refer to; only those that refer to something in `wanted`.
async fn list(
    client: &Client,
    kind: &Kind,
    namespace: &str,
    wanted: &BTreeSet<Target>,
) -> Result<Vec<Reference>, Unlisted> {
    let api: Api<Object> = Api::namespaced_with(client.clone(), namespace, &kind.api_resource());
    let mut references = Vec::new();
    let mut next: Option<String> = None;
    let mut restarts = 0;
    for _ in 0..PAGES {
        // Neither a version nor how to match it: the newest state, and with a continue token that of the first page.
        let parameters = ListParams { limit: Some(PAGE), continue_token: next.take(), ..ListParams::default() };
        let page = match timeout(DEADLINE, api.list(&parameters)).await {
            Ok(Ok(page)) => page,
            // By the code: `Status::is_forbidden` and its like do not look at it where the body was no `Status`.
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => return Err(Unlisted::Forbidden),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Err(match served(client, kind).await {
                    Served::Nowhere => Unlisted::Missing,
                    Served::Somewhere | Served::Unknown => Unlisted::Failed,
                });
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 410 && restarts < RESTARTS => {
                restarts += 1;
                references.clear();
                continue;
            }
            Ok(Err(_)) | Err(_) => return Err(Unlisted::Failed),
        };
        let found = page.items.iter().map(|object| reference(kind, object));
        references.extend(found.filter(|found| found.targets.iter().any(|target| wanted.contains(target))));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => next = Some(token),
            None => return Ok(references),
        }
    }
    Err(Unlisted::Failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            extract::USES,
            fake::{self, Answer, page, pod},
            users::User,
        },
        *,
    };

    fn claims() -> Vec<Claim> {
        let claim = |name: &str, secret: &str| Claim { name: name.into(), secrets: vec![secret.into()] };
        vec![claim("a", "s"), claim("b", "t")]
    }

    fn names(users: &[User]) -> Vec<&str> {
        users.iter().map(|user| &*user.name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_round_reads_each_kind_once_for_every_connection() {
        let (client, log) = fake::client(|asked, _| {
            if asked.is_for("pods") {
                page(&[pod("p", "s"), pod("q", "t"), pod("r", "other")], "")
            } else {
                page(&[], "")
            }
        });
        let found = users_now(&client, &Kind::BUILT_IN, "shop", &claims()).await;
        assert_eq!(names(&found.users[0].list), ["p"]);
        assert_eq!(names(&found.users[1].list), ["q"]);
        assert!(found.unlisted.is_empty() && found.users[0].unknown.is_empty());
        let mut paths: Vec<_> = log.lock().unwrap().iter().map(|asked| asked.path.clone()).collect();
        paths.sort();
        paths.dedup();
        assert_eq!((paths.len(), log.lock().unwrap().len()), (7, 7));
        assert!(paths.iter().all(|path| path.contains("/namespaces/shop/")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_refers_to_more_than_is_kept_is_a_user_of_all() {
        let (client, _) = fake::client(|asked, _| {
            let names = |prefix: char| (0..1_000).map(move |n| format!("{prefix}-{n}"));
            let mut named = pod("named", "other");
            named["metadata"]["annotations"] = json!({USES: names('c').collect::<Vec<_>>().join(",")});
            let mut taken = pod("taken", "other");
            let sources: Vec<_> = names('s').map(|name| json!({"secretRef": {"name": name}})).collect();
            taken["spec"] = json!({"containers": [{"name": "c", "envFrom": sources}]});
            if asked.is_for("pods") { page(&[named, taken], "") } else { page(&[], "") }
        });
        let bare = Claim { name: "bare".into(), secrets: Vec::new() };
        let found = users_now(&client, &[Kind::Pod], "shop", &[claims(), vec![bare]].concat()).await;
        assert_eq!(
            found.users.iter().map(|users| names(&users.list)).collect::<Vec<_>>(),
            [vec!["named", "taken"], vec!["named", "taken"], vec!["named"]]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn every_page_is_read_and_no_version_is_named() {
        let (client, log) = fake::client(|asked, _| match asked.query.get("continue").map(String::as_str) {
            None => page(&[pod("p1", "s")], "one"),
            Some("one") => page(&[pod("p2", "s")], "two"),
            Some(_) => page(&[pod("p3", "s")], ""),
        });
        let found = users_now(&client, &[Kind::Pod], "shop", &claims()).await;
        assert_eq!(names(&found.users[0].list), ["p1", "p2", "p3"]);
        for asked in &*log.lock().unwrap() {
            assert_eq!(asked.query.get("limit").map(String::as_str), Some("500"));
            assert!(!asked.query.contains_key("resourceVersion") && !asked.query.contains_key("resourceVersionMatch"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_is_no_longer_to_be_had_begins_the_list_again() {
        let (client, _) =
            fake::client(|asked, before| match (asked.query.get("continue").map(String::as_str), before) {
                (None, 0) => page(&[pod("gone", "s")], "one"),
                (None, _) => page(&[pod("p", "s")], "two"),
                (Some("one"), _) => Answer::Refused(410, "Expired"),
                (Some(_), _) => page(&[pod("q", "s")], ""),
            });
        let found = users_now(&client, &[Kind::Pod], "shop", &claims()).await;
        assert_eq!(names(&found.users[0].list), ["p", "q"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_never_ends_is_given_up() {
        let (client, log) = fake::client(|asked, _| {
            if asked.query.contains_key("continue") { Answer::Refused(410, "Expired") } else { page(&[], "one") }
        });
        let found = users_now(&client, &[Kind::Pod], "shop", &claims()).await;
        assert_eq!(found.unlisted, [(Kind::Pod, Unlisted::Failed)]);
        assert!(log.lock().unwrap().len() < 20);
        let (client, _) = fake::client(|_, _| page(&[], "more"));
        let found = users_now(&client, &[Kind::Pod], "shop", &claims()).await;
        assert_eq!(found.unlisted, [(Kind::Pod, Unlisted::Failed)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_could_not_be_read_is_told_and_is_unknown_unless_it_is_not_served() {
        let (client, _) = fake::client(|asked, _| match asked.path.rsplit('/').next().unwrap() {
            "pods" => page(&[pod("p", "s")], ""),
            "jobs" => Answer::Refused(403, "Forbidden"),
            "cronjobs" | "statefulsets" => Answer::Refused(404, "NotFound"),
            "apis" => Answer::Json(
                json!({"groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v2", "version": "v2"}]}]}),
            ),
            "v2" => Answer::Json(json!({"groupVersion": "apps/v2", "resources": [
                {"name": "n", "singularName": "", "namespaced": true, "kind": "StatefulSet", "verbs": []}]})),
            "daemonsets" => Answer::Refused(500, "InternalError"),
            "deployments" => Answer::Silence,
            "replicasets" => Answer::Json(json!({"metadata": {}, "items": [{"metadata": {"name": 1}}]})),
            _ => page(&[], ""),
        });
        let started = tokio::time::Instant::now();
        let found = users_now(&client, &Kind::BUILT_IN, "shop", &claims()).await;
        assert_eq!(
            found.unlisted,
            [
                (Kind::CronJob, Unlisted::Missing),
                (Kind::DaemonSet, Unlisted::Failed),
                (Kind::Deployment, Unlisted::Failed),
                (Kind::Job, Unlisted::Forbidden),
                (Kind::ReplicaSet, Unlisted::Failed),
                (Kind::StatefulSet, Unlisted::Failed),
            ]
        );
        for users in &found.users {
            assert_eq!(
                users.unknown,
                [Kind::DaemonSet, Kind::Deployment, Kind::Job, Kind::ReplicaSet, Kind::StatefulSet]
            );
        }
        assert_eq!(names(&found.users[0].list), ["p"]);
        assert_eq!(started.elapsed().as_secs(), DEADLINE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn owners_and_what_has_ended_are_left_out_as_in_the_index() {
        let (client, _) = fake::client(|asked, _| {
            let mut owned = pod("owned", "s");
            owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "uid-rs", "controller": true}]);
            let mut ended = pod("ended", "s");
            ended["status"] = json!({"phase": "Succeeded"});
            let mut set = pod("rs", "s");
            set["spec"] = json!({"replicas": 1, "template": {"spec": set["spec"]}});
            if asked.is_for("pods") { page(&[owned, ended], "") } else { page(&[set], "") }
        });
        let found = users_now(&client, &[Kind::Pod, Kind::ReplicaSet], "shop", &claims()).await;
        assert_eq!(names(&found.users[0].list), ["rs"]);
    }
}

//! What the chart lets the operator do is what the operator does: each right it is given is used, and nothing is refused.
//!
//! The API server of these tests has no streaming lists, so that the operator falls back to pages: it asks by both ways then,
//! as it must be able to on Kubernetes 1.33 and later.

use std::collections::BTreeSet;

use connection_operator::leadership::lease_name;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::sync::{OnceCell, RwLock};

use crate::{
    harness::{
        DEADLINE,
        audit::Request,
        caller::Caller,
        control_plane::{ControlPlane, INSTALLED_IN},
        eventually,
        namespace::Namespace,
        operator::Signal,
        run,
    },
    release::Release,
    scenario::{self, database},
};

/// Rights that are granted although the scenario does not use them: (group, resource, verb, reason).
const SPARE: [(&str, &str, &str, &str); 2] = [
    (
        "connectivity.dev",
        "connections",
        "get",
        "reads what cannot be decoded, which the definition here does not let in",
    ),
    ("", "namespaces", "get", "the contract promises get, list and watch in every install"),
];

/// What every install binds cluster-wide, by contract: the role bindings of a namespace that ends are gone before our finalizer is.
const EVERYWHERE: [(&str, &str, &str); 8] = [
    ("connectivity.dev", "connections", "get"),
    ("connectivity.dev", "connections", "list"),
    ("connectivity.dev", "connections", "watch"),
    ("connectivity.dev", "connections", "patch"),
    ("connectivity.dev", "connections/status", "patch"),
    ("", "namespaces", "get"),
    ("", "namespaces", "list"),
    ("", "namespaces", "watch"),
];

#[test]
fn an_install_may_do_what_it_does_and_nothing_else() {
    run(async {
        let stage = stage().await;
        let _alone = stage.turn.write().await;
        let plane = &stage.plane;
        let (shop, doomed) = (Namespace::new(plane).await, Namespace::new(plane).await);
        let release = Release::install(plane, "connection-operator", &["egressAllow={127.0.0.0/8}"]).await;
        let granted = granted(plane, &release.account.user).await;
        assert_everywhere(&granted);

        let leader = release.start().await;
        let lease = lease_name(&[], None);
        let first = eventually(DEADLINE, "one leads", async || release.holder(&lease).await).await;
        let follower = release.launch(&[]).await;
        // A rollout goes on only when the new replica is ready, while the old one leads.
        eventually(DEADLINE, "a follower is ready", async || {
            (follower.http(release.asked_by_kubelet("readinessProbe")).await.0 == Some(200)).then_some(())
        })
        .await;
        assert_eq!(follower.http(release.asked_by_kubelet("livenessProbe")).await.0, Some(200));
        assert_eq!(release.holder(&lease).await.as_ref(), Some(&first), "it follows, and does not lead");

        scenario::play(&shop).await;
        scenario::end(&doomed).await;

        leader.signal(Signal::Term);
        scenario::appear(&shop, "after-the-hand-over").await;
        assert_ne!(release.holder(&lease).await, Some(first));
        eventually(DEADLINE, "the new leader is ready", async || {
            (follower.http(release.asked_by_kubelet("readinessProbe")).await.0 == Some(200)).then_some(())
        })
        .await;
        eventually(DEADLINE, "the first one ends", async || leader.ended()).await;
        discovery_is_open_to(&release).await;
        scenario::leave(&shop).await;
        follower.stop().await;

        let used = plane.audit.requests(&release.account.user, "/api", stage.begin).await;
        assert_none(&refused(&used, &[&doomed]), "was refused");
        assert_none(&unused(&granted, &used), "is granted and not used");
        assert_none(&ungranted(&granted, &used), "is used and not granted");
    });
}

#[test]
fn a_hardened_install_asks_for_nothing_outside_its_namespaces() {
    run(async {
        let stage = stage().await;
        let _beside_others = stage.turn.read().await;
        let plane = &stage.plane;
        let (shop, billing) = (Namespace::new(plane).await, Namespace::new(plane).await);
        let namespaces = format!("namespaces={{{},{}}}", shop.name, billing.name);
        let values = ["sharedObjects=false", "egressAllow={127.0.0.0/8}", &namespaces];
        let release = Release::install(plane, "hardened", &values).await;
        let granted = granted(plane, &release.account.user).await;
        assert_everywhere(&granted);
        assert_none(&everywhere_on_secrets(&granted), "is bound cluster-wide");

        let operator = release.start().await;
        let follower = release.start().await;
        // Rights are compared for each namespace, so each is played in.
        tokio::join!(scenario::play(&shop), scenario::play(&billing));
        scenario::leave(&shop).await;
        scenario::end(&billing).await;
        operator.stop().await;
        follower.stop().await;

        let used = plane.audit.requests(&release.account.user, "/api", stage.begin).await;
        assert_none(&refused(&used, &[&billing]), "was refused");
        assert_none(&unused(&granted, &used), "is granted and not used");
        assert_none(&ungranted(&granted, &used), "is used and not granted");
        assert_none(&elsewhere(&used, &[&shop, &billing]), "is none of its namespaces' business");
    });
}

#[test]
fn without_a_watch_on_secrets_there_is_no_right_to_see_which_there_are() {
    run(async {
        let stage = stage().await;
        let _beside_others = stage.turn.read().await;
        let plane = &stage.plane;
        let shop = Namespace::new(plane).await;
        let namespaces = format!("namespaces={{{}}}", shop.name);
        let values = ["sharedObjects=false", "secretWatch=false", "egressAllow={127.0.0.0/8}", &namespaces];
        let release = Release::install(plane, "blind", &values).await;
        let granted = granted(plane, &release.account.user).await;
        assert_everywhere(&granted);
        let on_sources: BTreeSet<(&str, &str)> = granted
            .iter()
            .filter(|right| right.resource == "secrets" || right.resource == "configmaps")
            .map(|right| (right.resource.as_str(), right.verb.as_str()))
            .collect();
        assert_eq!(on_sources.into_iter().collect::<Vec<_>>(), [("configmaps", "get"), ("secrets", "get")]);
        assert_none(&everywhere_on_secrets(&granted), "is bound cluster-wide");

        let operator = release.start().await;
        let follower = release.start().await;
        scenario::play(&shop).await;
        scenario::leave(&shop).await;
        operator.stop().await;
        follower.stop().await;
        let used = plane.audit.requests(&release.account.user, "/api", stage.begin).await;
        assert_none(&refused(&used, &[]), "was refused");
        assert_none(&unused(&granted, &used), "is granted and not used");
        assert_none(&ungranted(&granted, &used), "is used and not granted");
        assert_none(&elsewhere(&used, &[&shop]), "is none of its namespaces' business");
    });
}

/// What these tests share.
struct Stage {
    plane: ControlPlane,
    begin: crate::harness::audit::Position,
    /// Written by whoever acts on every namespace.
    turn: RwLock<()>,
}

async fn stage() -> &'static Stage {
    static STAGE: OnceCell<Result<Stage, String>> = OnceCell::const_new();
    let stage = STAGE.get_or_init(async || {
        // The database in the time in which the API server starts.
        let database = tokio::task::spawn_blocking(|| database().address);
        let plane = ControlPlane::start_with("rights", "--feature-gates=WatchList=false").await?;
        database.await.map_err(|_| "no database")?;
        plane.define().await?;
        Ok(Stage { begin: plane.audit.position(), plane, turn: RwLock::new(()) })
    });
    stage.await.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

/// One right: a verb on a resource, somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    verb: String,
    /// `None`: in every namespace, and on what has none.
    namespace: Option<String>,
    /// Empty: on all objects.
    names: Vec<String>,
}

impl Right {
    fn is_one_of(&self, known: &[(&str, &str, &str)]) -> bool {
        known.contains(&(self.group.as_str(), self.resource.as_str(), self.verb.as_str()))
    }

    /// Whether this right is what lets `request` through.
    fn covers(&self, request: &Request) -> bool {
        self.group == group(request)
            && self.resource == request.resource
            && self.verb == request.verb
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
            && (self.names.is_empty() || self.names.contains(&request.name))
    }

    fn line(&self) -> String {
        let Self { group, resource, verb, namespace, names } = self;
        let place = namespace.as_deref().unwrap_or("every namespace");
        format!("{verb} {resource} of group '{group}' in {place} {names:?}")
    }
}

/// Every right that is bound to an account, as the API server has it.
async fn granted(plane: &ControlPlane, user: &str) -> Vec<Right> {
    let account = user.rsplit(':').next().expect("a name");
    let base = "/apis/rbac.authorization.k8s.io/v1";
    let mut rights = BTreeSet::new();
    for bindings in ["clusterrolebindings", "rolebindings"] {
        let list = plane.admin.get(&format!("{base}/{bindings}")).await.object();
        for binding in list["items"].as_array().into_iter().flatten() {
            let ours = |subject: &Value| {
                subject["kind"] == "ServiceAccount"
                    && subject["name"] == account
                    && subject["namespace"] == INSTALLED_IN
            };
            if !binding["subjects"].as_array().into_iter().flatten().any(ours) {
                continue;
            }
            let namespace = binding["metadata"]["namespace"].as_str();
            let name = binding["roleRef"]["name"].as_str().expect("a name");
            let path = match (binding["roleRef"]["kind"].as_str(), namespace) {
                (Some("Role"), Some(namespace)) => format!("{base}/namespaces/{namespace}/roles/{name}"),
                _ => format!("{base}/clusterroles/{name}"),
            };
            let role = plane.admin.get(&path).await.object();
            for rule in role["rules"].as_array().into_iter().flatten() {
                rights.extend(rights_of(rule, namespace));
            }
        }
    }
    rights.into_iter().collect()
}

fn rights_of(rule: &Value, namespace: Option<&str>) -> Vec<Right> {
    let texts = |key: &str| -> Vec<String> {
        let list = rule[key].as_array().into_iter().flatten();
        list.map(|text| text.as_str().expect("text").to_owned()).collect()
    };
    let mut rights = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for verb in texts("verbs") {
                assert!(![&group, &resource, &verb].contains(&&"*".to_owned()), "a right to everything: {rule}");
                let (group, resource) = (group.clone(), resource.clone());
                let names = texts("resourceNames");
                rights.push(Right { group, resource, verb, namespace: namespace.map(str::to_owned), names });
            }
        }
    }
    rights
}

/// The API group of what was asked for, as rules call it.
fn group(request: &Request) -> &str {
    request.uri.strip_prefix("/apis/").and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

/// The requests that were refused; a namespace that ends takes its role bindings along and lets nothing be created.
fn refused(requests: &[Request], ending: &[&Namespace<'_>]) -> BTreeSet<String> {
    let refused = requests.iter().filter(|request| request.code == 403 || request.code == 401);
    let lasting = refused.filter(|request| ending.iter().all(|namespace| namespace.name != request.namespace));
    lasting.map(|request| format!("{request} in {}", request.namespace)).collect()
}

fn unused(granted: &[Right], requests: &[Request]) -> BTreeSet<String> {
    let spare = SPARE.map(|(group, resource, verb, _)| (group, resource, verb));
    let due = granted.iter().filter(|right| !right.is_one_of(&spare));
    due.filter(|right| !requests.iter().any(|request| right.covers(request))).map(Right::line).collect()
}

fn ungranted(granted: &[Right], requests: &[Request]) -> BTreeSet<String> {
    let free = requests.iter().filter(|request| !granted.iter().any(|right| right.covers(request)));
    // Discovery is everybody's who is logged in.
    free.filter(|request| !request.resource.is_empty()).map(ToString::to_string).collect()
}

fn everywhere_on_secrets(granted: &[Right]) -> BTreeSet<String> {
    granted.iter().filter(|right| right.namespace.is_none() && right.resource == "secrets").map(Right::line).collect()
}

/// Requests that concern neither the namespaces nor what every install looks at.
fn elsewhere(requests: &[Request], namespaces: &[&Namespace<'_>]) -> BTreeSet<String> {
    let own = |request: &Request| match (request.namespace.as_str(), request.resource.as_str()) {
        // The last is discovery.
        (INSTALLED_IN, "leases")
        | ("default", "endpointslices")
        | ("", "namespaces" | "customresourcedefinitions" | "") => true,
        (name, _) => namespaces.iter().any(|namespace| namespace.name == name),
    };
    requests
        .iter()
        .filter(|request| !own(request))
        .map(|request| format!("{request} in '{}'", request.namespace))
        .collect()
}

fn assert_everywhere(granted: &[Right]) {
    for row in EVERYWHERE {
        assert!(granted.iter().any(|right| right.namespace.is_none() && right.is_one_of(&[row])), "{row:?} is missing");
    }
}

#[track_caller]
fn assert_none(found: &BTreeSet<String>, what: &str) {
    let lines: Vec<&str> = found.iter().map(String::as_str).collect();
    assert!(found.is_empty(), "this {what}:\n  {}", lines.join("\n  "));
}

/// Whether a kind is served at all is asked of discovery, which no rule of the chart opens.
async fn discovery_is_open_to(release: &Release<'_>) {
    let kubeconfig = Kubeconfig::read_from(&release.account.kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let account = Caller::new(config).unwrap();
    for path in ["/api", "/api/v1", "/apis", "/apis/apps/v1", "/apis/batch/v1"] {
        assert_eq!(account.get(path).await.code, 200, "{path}");
    }
}

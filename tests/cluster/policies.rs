//! The chart's admission policies on the real API server: what they deny, what they say, and whom they leave alone.

use serde_json::{Value, json};

use crate::{
    harness::{
        DEADLINE,
        caller::{Answer, Caller, PatchKind},
        control_plane::ControlPlane,
        eventually,
        namespace::Namespace,
    },
    stage::{OWN, alone, in_namespace, manifest},
};

#[test]
fn deleting_a_used_connection_warns_and_names_the_users() {
    in_namespace(async |stage, namespace| {
        nobodys(&namespace, "orders-db", used()).await;
        let answer = eventually_answered(async || {
            let answer = dry_run(&stage.plane.admin, &namespace, "orders-db").await;
            (!answer.warnings.is_empty()).then_some(answer)
        })
        .await;
        assert_eq!(answer.code, 200);
        let warning = answer.warnings.join("\n");
        assert!(warning.contains("Deployment/api, CronJob/report"), "{warning}");
        assert!(warning.contains("orders-db"), "{warning}");
    });
}

#[test]
fn deleting_what_is_not_used_or_not_ours_to_judge_says_nothing() {
    in_namespace(async |stage, namespace| {
        nobodys(&namespace, "used", used()).await;
        nobodys(&namespace, "unused", json!({"usage": {"count": 0}})).await;
        nobodys(&namespace, "forced", used()).await;
        nobodys(&namespace, "marked", used()).await;
        namespace.create(manifest("new", stage.postgresql.address, json!({"metadata": {"labels": {OWN: ""}}}))).await;
        let force = json!({"metadata": {"annotations": {"connectivity.dev/force-delete": "true"}}});
        namespace.merge("Connection", "forced", force).await;
        namespace.merge("Connection", "marked", json!({"metadata": {"finalizers": ["example.com/wait"]}})).await;
        let admin = &stage.plane.admin;
        eventually_answered(async || {
            let answer = dry_run(admin, &namespace, "used").await;
            (!answer.warnings.is_empty()).then_some(answer)
        })
        .await;
        let first = namespace.delete("Connection", "marked").await;
        assert!(!first.warnings.is_empty(), "it is in use");
        for name in ["unused", "forced", "new", "marked"] {
            assert_eq!(dry_run(admin, &namespace, name).await.warnings, [""; 0], "{name}");
        }
        namespace.merge("Connection", "marked", json!({"metadata": {"finalizers": null}})).await;
    });
}

#[test]
fn with_deny_a_used_connection_is_not_deleted() {
    alone(async |_, plane| {
        plane.define().await.unwrap();
        plane.install("connection-operator", &["deletionPolicy=deny"]).await.unwrap();
        let namespace = Namespace::new(plane).await;
        nobodys(&namespace, "used", used()).await;
        nobodys(&namespace, "unused", json!({"usage": {"count": 0}})).await;
        nobodys(&namespace, "forced", used()).await;
        let answer = eventually_answered(async || {
            let answer = dry_run(&plane.admin, &namespace, "used").await;
            (answer.code != 200).then_some(answer)
        })
        .await;
        assert_eq!(answer.code, 403, "{}", answer.message());
        assert!(answer.message().contains("Deployment/api, CronJob/report"), "{}", answer.message());
        assert!(answer.message().contains("connectivity.dev/force-delete"), "{}", answer.message());

        let force = json!({"metadata": {"annotations": {"connectivity.dev/force-delete": "true"}}});
        namespace.merge("Connection", "forced", force).await;
        for name in ["unused", "forced"] {
            assert_eq!(namespace.delete("Connection", name).await.code, 200, "{name}");
        }
        // No operator runs and nothing has a finalizer: what holds this one is the policy alone, until its namespace goes.
        namespace.end().await;
        eventually(DEADLINE, "the namespace ends", async || namespace.ended().await.then_some(())).await;
    });
}

#[test]
fn an_author_needs_the_right_to_get_every_secret_named() {
    in_namespace(async |stage, namespace| {
        let author = author(&stage.plane, &namespace, "author", json!([])).await;
        let address = stage.postgresql.address;
        let own = json!({"metadata": {"labels": {OWN: ""}}});
        let object = manifest("orders-db", address, own.clone());
        let refused = eventually_answered(async || refusal(&author, &namespace, &object).await).await;
        assert!(refused.message().contains("spec.credentials.secretRef"), "{}", refused.message());

        let mut client = manifest("client", address, own.clone());
        client["spec"]["tls"] = json!({"mode": "VerifyFull", "clientCertificateSecretRef": {"name": "client"}});
        client["spec"]["credentials"]["secretRef"]["name"] = "mine".into();
        let mut authority = manifest("authority", address, own);
        authority["spec"]["tls"] = json!({"mode": "VerifyFull", "ca": {"secretRef": {"name": "ca", "key": "ca.crt"}}});
        authority["spec"]["credentials"]["secretRef"]["name"] = "mine".into();
        grant(&namespace, "author", "mine").await;
        for (object, field) in [(client, "clientCertificateSecretRef"), (authority, "spec.tls.ca.secretRef")] {
            // Until the new right has reached the authorizer, the refusal is about the credentials.
            let refused = eventually_answered(async || {
                refusal(&author, &namespace, &object).await.filter(|answer| answer.message().contains(field))
            })
            .await;
            assert!(!refused.message().contains("spec.credentials"), "{}", refused.message());
        }
    });
}

#[test]
fn an_author_with_a_right_to_the_named_secret_alone_is_let_through() {
    in_namespace(async |stage, namespace| {
        let author = author(&stage.plane, &namespace, "author", json!([])).await;
        let own = json!({"metadata": {"labels": {OWN: ""}}});
        let object = manifest("orders-db", stage.postgresql.address, own);
        eventually_answered(async || refusal(&author, &namespace, &object).await).await;
        grant(&namespace, "author", "orders-db").await;
        eventually_answered(async || {
            let answer = namespace.create_as(&author, &object).await;
            (answer.code == 201).then_some(answer)
        })
        .await;
        let other = json!({"spec": {"credentials": {"secretRef": {"name": "somebody-elses"}}}});
        let path = namespace.path("Connection", "orders-db");
        let refused = author.patch(&path, PatchKind::Merge, &other).await;
        assert_eq!(refused.code, 403, "{}", refused.message());
        let described = author.patch(&path, PatchKind::Merge, &json!({"spec": {"description": "Orders"}})).await;
        assert_eq!(described.code, 200, "{}", described.message());
    });
}

#[test]
fn an_author_without_the_right_cannot_turn_somebodys_connection_elsewhere() {
    in_namespace(async |stage, namespace| {
        nobodys(&namespace, "orders-db", json!({})).await;
        let author = author(&stage.plane, &namespace, "author", json!([])).await;
        let path = namespace.path("Connection", "orders-db");
        let host = json!({"spec": {"postgresql": {"host": "collector.example.com"}}});
        let refused = eventually_answered(async || {
            Some(author.patch(&format!("{path}?dryRun=All"), PatchKind::Merge, &host).await).filter(|a| a.code == 403)
        })
        .await;
        assert!(refused.message().contains("spec.credentials.secretRef"), "{}", refused.message());
    });
}

#[test]
fn labels_annotations_and_finalizers_are_nobodys_secret() {
    in_namespace(async |stage, namespace| {
        nobodys(&namespace, "orders-db", json!({})).await;
        let author = author(&stage.plane, &namespace, "author", json!([])).await;
        let path = namespace.path("Connection", "orders-db");
        // The policy is in force: it refuses what it is there for.
        let host = json!({"spec": {"postgresql": {"host": "collector.example.com"}}});
        eventually_answered(async || {
            Some(author.patch(&format!("{path}?dryRun=All"), PatchKind::Merge, &host).await).filter(|a| a.code == 403)
        })
        .await;
        for change in [
            json!({"metadata": {"labels": {"team": "shop"}}}),
            json!({"metadata": {"annotations": {"connectivity.dev/requested-at": "now"}}}),
            json!({"metadata": {"finalizers": ["example.com/wait"]}}),
            json!({"metadata": {"finalizers": null}}),
        ] {
            let answer = author.patch(&path, PatchKind::Merge, &change).await;
            assert_eq!(answer.code, 200, "{change}: {}", answer.message());
        }
    });
}

#[test]
fn the_roles_for_people_let_them_write_connections_and_never_a_status() {
    in_namespace(async |stage, namespace| {
        nobodys(&namespace, "orders-db", json!({})).await;
        // The controller that gathers aggregated roles does not run here: the parts are bound themselves.
        for (user, role) in [("editor", "connectivity.dev:edit"), ("viewer", "connectivity.dev:view")] {
            namespace
                .create(json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
                }))
                .await;
        }
        let (editor, viewer) = (stage.plane.admin.impersonating("editor"), stage.plane.admin.impersonating("viewer"));
        let path = namespace.path("Connection", "orders-db");
        eventually_answered(async || Some(viewer.get(&path).await).filter(|answer| answer.code == 200)).await;
        let label = json!({"metadata": {"labels": {"team": "shop"}}});
        eventually_answered(async || {
            Some(editor.patch(&path, PatchKind::Merge, &label).await).filter(|answer| answer.code == 200)
        })
        .await;
        assert_eq!(viewer.patch(&path, PatchKind::Merge, &label).await.code, 403);
        let status = json!({"status": {"connectionString": "forged"}});
        for caller in [&editor, &viewer] {
            assert_eq!(caller.patch(&format!("{path}/status"), PatchKind::Merge, &status).await.code, 403);
        }
    });
}

/// A Connection that no operator acts on, with a status of our making.
async fn nobodys(namespace: &Namespace<'_>, name: &str, status: Value) {
    let own = json!({"metadata": {"labels": {OWN: ""}}});
    namespace.create(manifest(name, ([127, 0, 0, 1], 1).into(), own)).await;
    if status != json!({}) {
        namespace.merge_status("Connection", name, status).await;
    }
}

fn used() -> Value {
    json!({"usage": {"count": 2, "summary": "Deployment/api, CronJob/report"}})
}

/// What deleting would say.
async fn dry_run(caller: &Caller, namespace: &Namespace<'_>, name: &str) -> Answer {
    caller.delete(&(namespace.path("Connection", name) + "?dryRun=All"), None).await
}

/// The refusal, if creating would be refused.
async fn refusal(caller: &Caller, namespace: &Namespace<'_>, object: &Value) -> Option<Answer> {
    let answer = caller.create(&(namespace.path("Connection", "") + "?dryRun=All"), object).await;
    (answer.code == 403).then_some(answer)
}

/// Somebody who may write Connections, and `rules` beside.
async fn author(plane: &ControlPlane, namespace: &Namespace<'_>, name: &str, rules: Value) -> Caller {
    let mut all = vec![json!({
        "apiGroups": ["connectivity.dev"],
        "resources": ["connections"],
        "verbs": ["get", "create", "update", "patch", "delete"],
    })];
    all.extend(rules.as_array().cloned().unwrap_or_default());
    let caller = plane.admin.impersonating(&format!("{name}-{}", namespace.name));
    bind(namespace, name, name, &Value::Array(all)).await;
    let path = namespace.path("Connection", "nothing");
    eventually_answered(async || Some(caller.get(&path).await).filter(|answer| answer.code == 404)).await;
    caller
}

/// The right to get one Secret.
async fn grant(namespace: &Namespace<'_>, author: &str, secret: &str) {
    let rule = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}]);
    bind(namespace, author, &format!("get-{secret}"), &rule).await;
}

async fn bind(namespace: &Namespace<'_>, author: &str, role: &str, rules: &Value) {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let metadata = json!({"name": role});
    namespace.create(json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules})).await;
    namespace
        .create(json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": format!("{author}-{}", namespace.name)}],
        }))
        .await;
}

/// Policies and rights reach the API server's caches some moments after they are stored.
async fn eventually_answered(ask: impl AsyncFnMut() -> Option<Answer>) -> Answer {
    eventually(DEADLINE, "the policy or the right is in force", ask).await
}

//! What the API server itself refuses, with which sentence, and what it takes. No operator runs here.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::{
    DEADLINE,
    caller::{Answer, PatchKind},
    control_plane::ControlPlane,
    eventually,
    namespace::Namespace,
    run, script,
};

#[test]
fn a_wrong_manifest_is_refused_with_a_sentence() {
    in_namespace(async |namespace| {
        let long = |length: usize| json!("x".repeat(length));
        let reference = json!({"name": "ca", "key": "ca.crt"});
        let seventeen: Value = (0..17).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
        for (pointer, value, sentence) in [
            ("/type", json!("Oracle"), "Unsupported value: \"Oracle\""),
            ("/type", Value::Null, "spec.type: Required value"),
            ("/postgresql", Value::Null, "`postgresql` must be set exactly when `type` is PostgreSQL"),
            ("/description", long(257), "Too long"),
            ("/suspend", json!("yes"), "must be of type boolean"),
            // Hosts and ports.
            ("/postgresql/host", json!("user@db"), "must be a host name or an address, nothing else"),
            ("/postgresql/host", json!("postgresql://db"), "must be a host name or an address, nothing else"),
            ("/postgresql/host", json!("db/orders"), "must be a host name or an address, nothing else"),
            ("/postgresql/host", json!("db?sslmode=disable"), "must be a host name or an address, nothing else"),
            ("/postgresql/host", json!("db#1"), "must be a host name or an address, nothing else"),
            ("/postgresql/host", json!("db 1"), "must be a host name or an address, nothing else"),
            ("/postgresql/host", json!(""), "should be at least 1 chars long"),
            ("/postgresql/host", long(254), "Too long"),
            ("/postgresql/port", json!(0), "greater than or equal to 1"),
            ("/postgresql/port", json!(65536), "less than or equal to 65535"),
            ("/postgresql/port", json!("5432"), "must be of type integer"),
            // Permissions.
            ("/permissions", json!(["Read"]), "`permissions` Read and Write need `postgresql.table`"),
            ("/permissions", json!(["List", "Write"]), "`permissions` Read and Write need `postgresql.table`"),
            ("/permissions", json!(["Delete"]), "Unsupported value: \"Delete\""),
            ("/permissions", json!(["List", "List"]), "Duplicate value: \"List\""),
            // Credentials.
            ("/credentials", json!({}), "`credentials` must say where they are stored: set `secretRef`"),
            (
                "/credentials",
                json!({"secretRef": null}),
                "`credentials` must say where they are stored: set `secretRef`",
            ),
            ("/credentials/secretRef", json!({}), "secretRef.name: Required value"),
            ("/credentials/secretRef/name", json!(""), "should be at least 1 chars long"),
            ("/credentials/keys", json!({"pasword": "x"}), "can map only: username, password"),
            ("/credentials/keys", json!({"password": "a/b"}), "should match"),
            ("/credentials/keys", seventeen, "must have at most 16 items"),
            // TLS.
            ("/tls", json!({"mode": "verify-full"}), "should match '^(Disable|Require|VerifyCA|VerifyFull)$'"),
            ("/tls", json!({"ca": {}}), "`ca` must name exactly one of `secretRef` and `configMapRef`"),
            (
                "/tls",
                json!({"ca": {"secretRef": reference, "configMapRef": reference}}),
                "`ca` must name exactly one of `secretRef` and `configMapRef`",
            ),
            ("/tls", json!({"ca": {"secretRef": {"name": "ca"}}}), "secretRef.key: Required value"),
            ("/tls", json!({"serverName": "https://db"}), "should match"),
            ("/tls", json!({"clientCertificateSecretRef": {}}), "clientCertificateSecretRef.name: Required value"),
            // The probe.
            ("/probe", json!({"interval": "4s"}), "`interval` must be 5s to 24h"),
            ("/probe", json!({"interval": "24h1s"}), "`interval` must be 5s to 24h"),
            ("/probe", json!({"interval": "1d"}), "should match"),
            ("/probe", json!({"interval": "-60s"}), "should match"),
            ("/probe", json!({"interval": "1.5m"}), "should match"),
            ("/probe", json!({"interval": 60}), "must be of type string"),
            ("/probe", json!({"timeout": "999ms"}), "`timeout` must be 1s to 60s"),
            ("/probe", json!({"timeout": "61s"}), "`timeout` must be 1s to 60s"),
            ("/probe", json!({"timeout": "11s", "interval": "10s"}), "`timeout` must not be longer than `interval`"),
            ("/probe", json!({"failureThreshold": 0}), "greater than or equal to 1"),
            ("/probe", json!({"successThreshold": 11}), "less than or equal to 10"),
        ] {
            let answer = try_out(&namespace, &changed(pointer, value.clone())).await;
            let said = answer.message();
            assert!(answer.code == 422 && said.contains(sentence), "{pointer} {value}: HTTP {}: {said}", answer.code);
        }
    });
}

#[test]
fn a_right_manifest_is_taken_without_a_warning() {
    in_namespace(async |namespace| {
        let nulls =
            |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), Value::Null)).collect::<serde_json::Map<_, _>>();
        for (pointer, value) in [
            ("/description", json!("ü".repeat(256))),
            ("/description", Value::Null),
            ("/credentials/keys", json!({"username": "USER", "password": "PGPASSWORD"})),
            ("/credentials/keys", Value::Null),
            ("/tls", Value::Null),
            ("/tls", nulls(&["mode", "ca", "clientCertificateSecretRef", "serverName"]).into()),
            ("/tls", json!({"ca": {"configMapRef": {"name": "ca", "key": "ca.crt"}, "secretRef": null}})),
            ("/tls", json!({"mode": "VerifyCA", "clientCertificateSecretRef": {"name": "c", "certificateKey": null}})),
            ("/permissions", Value::Null),
            ("/permissions", json!([])),
            ("/permissions", json!(["List"])),
            ("/postgresql/host", json!("fd00::1")),
            ("/postgresql/host", json!("10.0.0.1")),
            ("/postgresql/table", Value::Null),
            ("/probe", Value::Null),
            ("/probe", nulls(&["interval", "timeout", "failureThreshold", "successThreshold"]).into()),
            ("/probe", json!({"interval": "5s", "timeout": "5s"})),
            ("/probe", json!({"interval": "24h"})),
            ("/probe", json!({"interval": "23h59m59s1000ms", "timeout": "1000ms"})),
            ("/probe", json!({"timeout": "60s", "failureThreshold": 10, "successThreshold": 10})),
            ("/suspend", json!(true)),
            ("/suspend", Value::Null),
        ] {
            let answer = try_out(&namespace, &changed(pointer, value.clone())).await;
            assert!(answer.code == 201, "{pointer} {value}: HTTP {}: {}", answer.code, answer.message());
            assert!(answer.warnings.is_empty(), "{pointer} {value}: {:?}", answer.warnings);
        }
        let mut with_table = changed("/permissions", json!(["Write", "Read", "List"]));
        with_table["spec"]["postgresql"]["table"] = json!("orders");
        assert_eq!(try_out(&namespace, &with_table).await.code, 201);
        let mut by_certificate = changed("/credentials", Value::Null);
        by_certificate["spec"]["postgresql"]["username"] = json!("orders");
        by_certificate["spec"]["tls"] = json!({"clientCertificateSecretRef": {"name": "orders-client"}});
        assert_eq!(try_out(&namespace, &by_certificate).await.code, 201);
    });
}

#[test]
fn a_port_that_is_absent_or_null_is_the_usual_one() {
    in_namespace(async |namespace| {
        for manifest in [base(), changed("/postgresql/port", Value::Null)] {
            assert_eq!(try_out(&namespace, &manifest).await.object()["spec"]["postgresql"]["port"], 5432);
        }
    });
}

#[test]
fn server_side_apply_takes_null_as_absent() {
    in_namespace(async |namespace| {
        let mut manifest = base();
        for pointer in ["/description", "/permissions", "/probe", "/suspend", "/tls"] {
            set(&mut manifest["spec"], pointer, Value::Null);
        }
        set(&mut manifest["spec"], "/postgresql/port", Value::Null);
        set(&mut manifest["spec"], "/postgresql/schema", Value::Null);
        set(&mut manifest["spec"], "/credentials/keys", Value::Null);
        apply(&namespace, &manifest).await.unwrap();
        set(&mut manifest["spec"], "/tls", json!({"mode": null, "ca": null, "serverName": null}));
        set(&mut manifest["spec"], "/probe", json!({"interval": null, "timeout": "5s", "failureThreshold": null}));
        apply(&namespace, &manifest).await.unwrap();
        let stored = namespace.connection("orders-db").await.unwrap();
        assert_eq!(stored.0["spec"]["probe"]["timeout"], "5s");
        set(&mut manifest["spec"], "/tls", json!({"mode": "None"}));
        let refused = apply(&namespace, &manifest).await.unwrap_err();
        assert!(refused.contains("should match '^(Disable|"), "{refused}");
    });
}

#[test]
fn a_new_object_says_at_once_that_nothing_is_known() {
    in_namespace(async |namespace| {
        let status = namespace.create(base()).await["status"].take();
        assert_eq!(status["observedGeneration"], -1);
        let said: Vec<String> = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| format!("{}={}/{}", c["type"], c["status"], c["reason"]).replace('"', ""))
            .collect();
        assert_eq!(
            said,
            [
                "Ready=Unknown/Pending",
                "CredentialsResolved=Unknown/Pending",
                "Reachable=Unknown/NotChecked",
                "Authenticated=Unknown/NotChecked",
                "Accessible=Unknown/NotChecked",
                "InUse=Unknown/UsageUnknown",
            ]
        );
    });
}

#[test]
fn a_status_out_of_bounds_is_refused() {
    in_namespace(async |namespace| {
        namespace.create(base()).await;
        let path = namespace.path("Connection", "orders-db") + "/status";
        let condition = |over: Value| {
            let mut condition = json!({"type": "Ready", "status": "True", "reason": "Succeeded", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1});
            json_patch::merge(&mut condition, &over);
            condition
        };
        let used_by = |count: usize| {
            let user = |n| json!({"apiVersion": "v1", "kind": "Pod", "name": format!("p{n}"), "via": "Secret"});
            json!({"usage": {"count": count, "summary": "many", "users": (0..count).map(user).collect::<Vec<_>>()}})
        };
        for (status, sentence) in [
            (json!({"conditions": [condition(json!({}))]}), ""),
            (json!({"conditions": [condition(json!({"message": "ü".repeat(512)}))]}), ""),
            (json!({"conditions": [condition(json!({"observedGeneration": null}))]}), ""),
            (used_by(10), ""),
            (json!({"conditions": [condition(json!({})), condition(json!({}))]}), "Duplicate value"),
            (json!({"conditions": [condition(json!({"status": "Maybe"}))]}), "Unsupported value: \"Maybe\""),
            (json!({"conditions": [condition(json!({"message": "x".repeat(513)}))]}), "Too long"),
            (json!({"conditions": [condition(json!({"reason": "two words"}))]}), "should match"),
            (
                json!({"conditions": [condition(json!({"lastTransitionTime": null}))]}),
                "lastTransitionTime: Required value",
            ),
            (json!({"connectionString": "x".repeat(257)}), "Too long"),
            (used_by(11), "must have at most 10 items"),
            (json!({"usage": {"count": -1}}), "greater than or equal to 0"),
        ] {
            let patch = json!([{"op": "replace", "path": "/status", "value": status}]);
            let answer = plane().await.admin.patch(&path, PatchKind::Json, &patch).await;
            let expected = if sentence.is_empty() { 200 } else { 422 };
            let said = answer.message();
            assert!(answer.code == expected && (sentence.is_empty() || said.contains(sentence)), "{status}: {said}");
        }
    });
}

#[test]
fn the_type_cannot_be_changed_and_everything_else_can() {
    in_namespace(async |namespace| {
        // A copy of the definition with one more type, so that there is something to change it to.
        let mut copy = definition();
        copy["metadata"]["name"] = json!("copies.copy.test");
        copy["spec"]["group"] = json!("copy.test");
        copy["spec"]["names"] = json!({"plural": "copies", "singular": "copy", "kind": "Connection"});
        let words = copy.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/type/enum");
        words.and_then(Value::as_array_mut).unwrap().push(json!("Other"));
        let admin = &plane().await.admin;
        admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &copy).await.object();
        let path = format!("/apis/copy.test/v1alpha1/namespaces/{}/copies", namespace.name);
        let mut object = base();
        object["apiVersion"] = json!("copy.test/v1alpha1");
        eventually(DEADLINE, "the copy is served", async || {
            (admin.create(&path, &object).await.code == 201).then_some(())
        })
        .await;
        let change = async |spec: Value| {
            let patch = json!({"spec": spec});
            admin.patch(&format!("{path}/orders-db"), PatchKind::Merge, &patch).await
        };
        let refused = change(json!({"type": "Other", "postgresql": null})).await;
        assert!(refused.code == 422 && refused.message().contains("`type` cannot be changed"), "{}", refused.message());
        let moved = json!({"host": "elsewhere", "port": 1, "database": "other", "table": "t"});
        let other =
            json!({"postgresql": moved, "credentials": {"secretRef": {"name": "other"}}, "tls": {"mode": "Require"}});
        change(other).await.object();
        let certificate = json!({"clientCertificateSecretRef": {"name": "client"}, "mode": null});
        let none = json!({"postgresql": {"username": "u"}, "credentials": null, "tls": certificate, "suspend": true});
        change(none).await.object();
        change(json!({"credentials": {"secretRef": {"name": "again"}}, "tls": null})).await.object();
    });
}

#[test]
fn connections_are_found_by_type_and_by_secret() {
    in_namespace(async |namespace| {
        namespace.create(base()).await;
        let mut other = changed("/credentials/secretRef/name", json!("other"));
        other["metadata"]["name"] = json!("other");
        namespace.create(other).await;
        for (selector, expected) in [
            ("spec.type=PostgreSQL", vec!["orders-db", "other"]),
            ("spec.type=Kafka", vec![]),
            ("spec.credentials.secretRef.name=other", vec!["other"]),
            ("spec.credentials.secretRef.name!=other,spec.type=PostgreSQL", vec!["orders-db"]),
        ] {
            let text = kubectl(
                &namespace,
                &["get", "connections.connectivity.dev", "-o", "name", "--field-selector", selector],
            )
            .await;
            let found: Vec<&str> = text.lines().filter_map(|line| line.rsplit('/').next()).collect();
            assert_eq!(found, expected, "{selector}");
        }
    });
}

#[test]
fn kubectl_shows_the_columns_of_the_contract() {
    in_namespace(async |namespace| {
        namespace.create(base()).await;
        let status = json!({"connectionString": "postgresql://orders-db:5432/orders", "usage":
            {"count": 1, "summary": "Deployment/api", "users": []}});
        namespace.merge_status("Connection", "orders-db", status).await;
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for name in ["cxn", "connections", "connectivity"] {
            let table = kubectl(&namespace, &["get", name]).await;
            let mut lines = table.lines();
            let header = words(lines.next().unwrap_or_default());
            assert_eq!(header, ["NAME", "TYPE", "READY", "REASON", "USED-BY", "CONNECTION-STRING", "AGE"], "{name}");
            let row = words(lines.next().unwrap_or_default());
            let shown = ["PostgreSQL", "Unknown", "Pending", "1", "postgresql://orders-db:5432/orders"];
            assert_eq!(row[1..6], shown, "{table}");
        }
        let wide = kubectl(&namespace, &["get", "cxn", "-o", "wide"]).await;
        assert_eq!(words(wide.lines().next().unwrap_or_default())[7..], ["USERS", "SECRET", "ID", "MESSAGE"]);
        assert!(wide.contains("Deployment/api") && wide.contains("the operator has not looked at it yet"), "{wide}");
        let explained = kubectl(&namespace, &["explain", "cxn.spec.postgresql.host"]).await;
        assert!(explained.contains("Host name or address of the server"), "{explained}");
    });
}

#[test]
fn every_example_is_taken_as_it_is() {
    in_namespace(async |namespace| {
        for entry in std::fs::read_dir(script::root().join("examples")).unwrap() {
            let path = entry.unwrap().path().display().to_string();
            let said = kubectl(&namespace, &["apply", "--dry-run=server", "--server-side", "-f", &path]).await;
            assert!(said.contains("connection.connectivity.dev/"), "{path}: {said}");
        }
    });
}

#[test]
fn the_definition_itself_is_taken_without_a_warning() {
    in_namespace(async |_| {
        let mut copy = definition();
        copy["metadata"]["name"] = json!("connections.warning.test");
        copy["spec"]["group"] = json!("warning.test");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All";
        let answer = plane().await.admin.create(path, &copy).await;
        assert!(answer.code == 201 && answer.warnings.is_empty(), "{:?} {}", answer.warnings, answer.message());
    });
}

/// Runs a test in a namespace of a control plane that has the definitions and no operator.
fn in_namespace(test: impl AsyncFnOnce(Namespace<'static>)) {
    run(async {
        test(Namespace::new(plane().await).await).await;
    });
}

async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
    let plane = PLANE.get_or_init(async || {
        let plane = ControlPlane::start("schema").await?;
        plane.define().await?;
        Ok(plane)
    });
    plane.await.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

/// The smallest Connection.
fn base() -> Value {
    json!({
        "apiVersion": "connectivity.dev/v1alpha1",
        "kind": "Connection",
        "metadata": {"name": "orders-db"},
        "spec": {
            "type": "PostgreSQL",
            "postgresql": {"host": "orders-db", "database": "orders"},
            "credentials": {"secretRef": {"name": "orders-db"}},
        },
    })
}

/// The smallest Connection with another value at a JSON pointer below `/spec`.
fn changed(pointer: &str, value: Value) -> Value {
    let mut manifest = base();
    set(&mut manifest["spec"], pointer, value);
    manifest
}

/// Puts a value, null too, at a JSON pointer.
fn set(spec: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer has a slash");
    spec.pointer_mut(parent).expect("the parent is there")[name] = value;
}

/// Asks what the API server would answer to a create.
async fn try_out(namespace: &Namespace<'_>, manifest: &Value) -> Answer {
    plane().await.admin.create(&(namespace.path("Connection", "") + "?dryRun=All"), manifest).await
}

/// Applies a manifest as kubectl does it on the server.
async fn apply(namespace: &Namespace<'_>, manifest: &Value) -> Result<String, String> {
    let plane = plane().await;
    let file = plane.directory.join(format!("{}.json", namespace.name));
    std::fs::write(&file, manifest.to_string()).expect("a file in the run's directory");
    plane.kubectl(&["apply", "--server-side", "-n", &namespace.name, "-f", &file.display().to_string()])
}

/// Runs kubectl in the namespace.
async fn kubectl(namespace: &Namespace<'_>, arguments: &[&str]) -> String {
    let all = [&["-n", &namespace.name], arguments].concat();
    plane().await.kubectl(&all).unwrap_or_else(|sentence| panic!("{sentence}"))
}

/// The committed definition.
fn definition() -> Value {
    let text = std::fs::read_to_string(script::root().join("crds/connections.connectivity.dev.yaml"))
        .expect("the definition is committed");
    serde_saphyr::from_str(&text).expect("the definition is YAML")
}

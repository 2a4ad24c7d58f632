//! Whatever is wrong with one Connection is said on that one, clearly, and touches no other.
//!
//! Every test ends with [`unharmed`]: a Connection made afterwards becomes ready, the operator is, and no byte of a Secret is to be
//! seen anywhere.

use serde_json::{Value, json};

use crate::{
    harness::{
        audit::Position,
        caller::PatchKind,
        namespace::{Connection, Namespace},
        operator::Operator,
        proxy::Mode,
    },
    stage::{FLAGS, OWN, Stage, alone, in_namespace, manifest},
};

/// What every Secret of these tests holds somewhere, and nothing else may show.
const CANARY: &str = "canary-7fe1c0ffee";

#[test]
fn a_secret_of_a_megabyte_is_malformed() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        let large = CANARY.repeat(1_000_000 / CANARY.len());
        let broken = with_secret(stage, &namespace, json!({"username": "reader", "password": large}), "Opaque").await;
        malformed(&broken);
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn a_large_key_beside_the_used_ones_harms_nobody() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        let large = CANARY.repeat(900_000 / CANARY.len());
        namespace.login("large", "reader").await;
        namespace.secret("large", &[("backup", &large)]).await;
        namespace.create(manifest("large", stage.postgresql.address, by_secret("large"))).await;
        namespace.becomes("large", "Ready", "True", "Succeeded").await;
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn binary_credentials_are_malformed() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        // 0xff 0xfe 0x00 and the canary: no text in any encoding.
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad"},
            "data": {"username": "cmVhZGVy", "password": "//4AY2FuYXJ5LTdmZTFjMGZmZWU="},
        });
        namespace.create(object).await;
        namespace.create(manifest("bad", stage.postgresql.address, by_secret("bad"))).await;
        malformed(&namespace.becomes("bad", "Ready", "False", "CredentialsMalformed").await);
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn a_missing_key_is_named_and_the_keys_that_are_there_are_not() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        let data = json!({"username": "reader", CANARY: "x"});
        let broken = with_secret(stage, &namespace, data, "Opaque").await;
        broken.must_be("Ready", "False", "SecretKeyMissing");
        broken.must_be("Reconciling", "True", "ProgressingWithRetry");
        let message = broken.condition("CredentialsResolved").unwrap().message;
        assert!(message.contains("password") && message.contains("bad"), "{message}");
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn an_empty_secret_lacks_its_keys() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        let broken = with_secret(stage, &namespace, json!({}), "Opaque").await;
        broken.must_be("Ready", "False", "SecretKeyMissing");
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn secrets_that_belong_to_somebody_else_are_refused() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
        namespace.create(account).await;
        let registry = json!({"auths": {"registry.example.com": {"auth": CANARY}}}).to_string();
        let types = [
            ("token", "kubernetes.io/service-account-token", json!({})),
            ("bootstrap", "bootstrap.kubernetes.io/token", json!({})),
            ("registry", "kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": registry})),
            ("old-registry", "kubernetes.io/dockercfg", json!({".dockercfg": registry})),
            ("release", "helm.sh/release.v1", json!({"release": CANARY})),
        ];
        for (name, kind, mut data) in types {
            data["username"] = "reader".into();
            data["password"] = "reader-secret".into();
            let object = json!({
                "apiVersion": "v1", "kind": "Secret", "type": kind, "stringData": data,
                "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "robot"}},
            });
            namespace.create(object).await;
            namespace.create(manifest(name, stage.postgresql.address, by_secret(name))).await;
            let broken = namespace.becomes(name, "Ready", "False", "CredentialsMalformed").await;
            broken.must_be("CredentialsResolved", "False", "CredentialsMalformed");
            let message = broken.condition("CredentialsResolved").unwrap().message;
            assert!(message.contains(name), "{message}");
        }
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn an_authority_that_is_no_pem_is_malformed() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        namespace.login("orders-db", "reader").await;
        let begin = "-----BEGIN CERTIFICATE-----";
        let nonsense =
            [CANARY.to_owned(), format!("{begin}\n{CANARY}\n-----END CERTIFICATE-----\n"), String::new(), begin.into()];
        for (number, bundle) in nonsense.iter().enumerate() {
            let name = format!("bad-{number}");
            namespace.secret(&name, &[("ca.crt", bundle)]).await;
            let tls =
                json!({"spec": {"tls": {"mode": "VerifyFull", "ca": {"secretRef": {"name": name, "key": "ca.crt"}}}}});
            namespace.create(manifest(&name, stage.postgresql.address, tls)).await;
            let broken = namespace.becomes(&name, "Ready", "False", "CredentialsMalformed").await;
            let message = broken.condition("CredentialsResolved").unwrap().message;
            assert!(message.contains(&name), "{message}");
        }
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn a_client_certificate_that_does_not_belong_to_its_key_is_malformed() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        let (certificate, key) = &stage.postgresql.client;
        namespace.login("orders-db", "certuser").await;
        namespace.secret("ca", &[("ca.crt", &stage.postgresql.authority)]).await;
        namespace.secret("swapped", &[("tls.crt", key), ("tls.key", certificate)]).await;
        namespace.secret("other", &[("tls.crt", &stage.postgresql.authority), ("tls.key", key)]).await;
        for name in ["swapped", "other"] {
            let tls = json!({"spec": {"tls": {
                "mode": "VerifyFull",
                "ca": {"secretRef": {"name": "ca", "key": "ca.crt"}},
                "clientCertificateSecretRef": {"name": name},
            }}});
            namespace.create(manifest(name, stage.postgresql.address, tls)).await;
            let broken = namespace.becomes(name, "Ready", "False", "CredentialsMalformed").await;
            let message = broken.condition("CredentialsResolved").unwrap().message;
            assert!(message.contains(name), "{message}");
        }
        let shown = namespace.connection("swapped").await.unwrap().to_string();
        assert!(!shown.contains("BEGIN") && !shown.contains(&key[30..60]), "{shown}");
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn a_peer_that_sends_garbage_does_not_speak_the_protocol() {
    peer(Mode::Garbage, &["ProtocolMismatch"]);
}

#[test]
fn a_peer_that_sends_ten_megabytes_does_not_speak_the_protocol() {
    peer(Mode::Flood, &["ProtocolMismatch"]);
}

#[test]
fn a_peer_that_sends_one_byte_a_second_times_out() {
    // The byte it repeats is a valid first one, so nothing but time can tell.
    peer(Mode::Drip, &["TimedOut", "ProtocolMismatch"]);
}

#[test]
fn a_peer_that_says_nothing_times_out() {
    peer(Mode::Silent, &["TimedOut"]);
}

#[test]
fn a_peer_that_hangs_up_closed_the_connection() {
    peer(Mode::Close, &["ConnectionClosed"]);
}

#[test]
fn the_same_peers_behind_tls_are_told_apart_as_well() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        namespace.secret("orders-db", &[("username", "reader"), ("password", CANARY)]).await;
        let modes =
            [("garbage", Mode::Garbage), ("flood", Mode::Flood), ("drip", Mode::Drip), ("silent", Mode::Silent)];
        let mut proxies = Vec::new();
        for (name, mode) in modes {
            let proxy = stage.proxy().await;
            proxy.switch(mode).await;
            let tls = json!({"spec": {"tls": {"mode": "VerifyFull"}}});
            namespace.create(manifest(name, proxy.address, tls)).await;
            proxies.push(proxy);
        }
        for (name, _) in modes {
            let broken =
                namespace.until(name, "broken", |c| c.condition("Ready").is_some_and(|r| r.status == "False")).await;
            let reach = broken.condition("Reachable").unwrap();
            assert_eq!(reach.status, "False", "{name}: {broken}");
            let sensible = ["ProtocolMismatch", "TLSNotOffered", "TLSFailed", "TimedOut"];
            assert!(sensible.contains(&reach.reason.as_str()), "{name}: {broken}");
        }
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn a_connection_that_cannot_be_decoded_blinds_nobody() {
    alone(async |stage, plane| {
        plane.define().await.unwrap();
        let account = plane.install("connection-operator", &[]).await.unwrap();
        let namespace = Namespace::new(plane).await;
        // What a newer version may have stored: a type, and a shape, that this one does not know.
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/connections.connectivity.dev";
        let strict = plane.admin.get(path).await.object();
        let schema = json!([
            {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
             "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            {"op": "remove", "path": "/spec/versions/0/selectableFields"},
        ]);
        plane.admin.patch(path, PatchKind::Json, &schema).await.object();
        let address = stage.postgresql.address;
        let strange =
            manifest("strange", address, json!({"spec": {"type": "Oracle", "postgresql": null, "oracle": {}}}));
        let bent = manifest("bent", address, json!({"spec": {"postgresql": {"port": "five"}, "permissions": "Read"}}));
        crate::harness::eventually(crate::harness::DEADLINE, "the looser definition is in force", async || {
            (namespace.create_as(&plane.admin, &strange).await.code == 201).then_some(())
        })
        .await;
        namespace.create(bent).await;
        let operator = Operator::start(&account, &FLAGS).await;
        namespace.ready("orders-db", address, json!({})).await;
        for name in ["strange", "bent"] {
            let told = namespace.becomes(name, "Ready", "False", "InvalidConfiguration").await;
            told.must_be("Stalled", "True", "InvalidConfiguration");
            namespace.event(name, "Warning InvalidConfiguration").await;
        }
        let restored = json!([{"op": "replace", "path": "/spec", "value": strict["spec"]}]);
        plane.admin.patch(path, PatchKind::Json, &restored).await.object();
        namespace.delete("Connection", "strange").await;
        namespace.gone("strange").await;
        let right = json!({"spec": {"postgresql": {"port": address.port()}, "permissions": ["Read"]}});
        namespace.merge("Connection", "bent", json!({"spec": {"postgresql": {"table": "orders"}}})).await;
        namespace.merge("Connection", "bent", right).await;
        namespace.becomes("bent", "Ready", "True", "Succeeded").await;
        assert!(!operator.log().contains("panicked"), "{}", operator.log());
        for name in ["bent", "orders-db"] {
            namespace.delete("Connection", name).await;
            namespace.gone(name).await;
        }
        operator.stop().await;
    });
}

#[test]
fn an_address_that_is_not_allowed_is_never_dialled() {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        namespace.login("orders-db", "reader").await;
        for (name, host) in [("metadata", "169.254.169.254"), ("mapped", "::ffff:169.254.169.254"), ("any", "0.0.0.0")]
        {
            let target = json!({"spec": {"postgresql": {"host": host}}});
            namespace.create(manifest(name, stage.postgresql.address, target)).await;
            let refused = namespace.becomes(name, "Ready", "False", "AddressNotAllowed").await;
            refused.must_be("Reachable", "False", "AddressNotAllowed");
            refused.must_be("Stalled", "True", "AddressNotAllowed");
        }
        unharmed(stage, &namespace, before).await;
    });
}

#[test]
fn the_most_talkative_log_holds_no_byte_of_a_secret() {
    in_namespace(async |stage, namespace| {
        let account = stage.own_account(&namespace).await;
        let operator = stage.own_operator_as(&account, &namespace, &["--log-level", "trace"]).await;
        let own = json!({"metadata": {"labels": {OWN: ""}}});
        namespace.ready("orders-db", stage.postgresql.address, own.clone()).await;
        namespace.secret("bad", &[("username", "reader"), ("password", CANARY)]).await;
        let mut rejected = manifest("bad", stage.postgresql.address, own);
        rejected["spec"]["credentials"]["secretRef"]["name"] = "bad".into();
        namespace.create(rejected).await;
        namespace.becomes("bad", "Ready", "False", "AuthenticationFailed").await;
        namespace.merge("Secret", "bad", json!({"data": {"password": "//4AY2FuYXJ5LTdmZTFjMGZmZWU="}})).await;
        namespace.becomes("bad", "Ready", "False", "CredentialsMalformed").await;
        let log = operator.log();
        let config = std::fs::read_to_string(&account.kubeconfig).unwrap();
        let token = config.split(r#""token":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        for secret in [CANARY, "Y2FuYXJ5LTdmZTFjMGZmZWU", "63616e6172792d37666531633066666565", "reader-secret", token]
        {
            let at = log.find(secret).map(|at| log.get(at.saturating_sub(300)..at));
            assert_eq!(at, None, "a secret shows");
        }
    });
}

/// A peer that misbehaves is told on its Connection alone.
fn peer(mode: Mode, reasons: &[&str]) {
    in_namespace(async |stage, namespace| {
        let before = stage.plane.audit.position();
        let proxy = stage.proxy().await;
        proxy.switch(mode).await;
        namespace.secret("bad", &[("username", "reader"), ("password", CANARY)]).await;
        let beside = json!({"spec": {"credentials": {"secretRef": {"name": "bad"}}, "probe": {"timeout": "3s"}}});
        namespace.create(manifest("bad", proxy.address, beside)).await;
        // A healthy one is made while the peer is at it.
        namespace.ready("meanwhile", stage.postgresql.address, json!({})).await;
        let broken =
            namespace.until("bad", "broken", |c| c.condition("Ready").is_some_and(|r| r.status == "False")).await;
        let reach = broken.condition("Reachable").unwrap();
        assert_eq!(reach.status, "False", "{broken}");
        assert!(reasons.contains(&reach.reason.as_str()), "{broken}");
        broken.must_be("Authenticated", "Unknown", "NotChecked");
        broken.must_be("Reconciling", "True", "ProgressingWithRetry");
        unharmed(stage, &namespace, before).await;
    });
}

/// Makes a Secret of these values and a Connection that uses it, both named `bad`, and waits for the verdict.
async fn with_secret(stage: &Stage, namespace: &Namespace<'_>, data: Value, kind: &str) -> Connection {
    let object =
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": "bad"}, "stringData": data});
    namespace.create(object).await;
    namespace.create(manifest("bad", stage.postgresql.address, by_secret("bad"))).await;
    namespace.until("bad", "judged", |c| c.condition("Ready").is_some_and(|ready| ready.status == "False")).await
}

fn by_secret(name: &str) -> Value {
    json!({"spec": {"credentials": {"secretRef": {"name": name}}}})
}

#[track_caller]
fn malformed(connection: &Connection) {
    connection.must_be("Ready", "False", "CredentialsMalformed");
    connection.must_be("CredentialsResolved", "False", "CredentialsMalformed");
    connection.must_be("Reachable", "Unknown", "NotChecked");
    connection.must_be("Stalled", "True", "CredentialsMalformed");
    let message = connection.condition("CredentialsResolved").unwrap().message;
    assert!(message.contains("bad"), "it names the Secret: {message}");
}

/// The operator goes on as if nothing had been, and nothing of a Secret shows.
async fn unharmed(stage: &Stage, namespace: &Namespace<'_>, before: Position) {
    namespace.login("orders-db", "reader").await;
    namespace.create(manifest("afterwards", stage.postgresql.address, json!({}))).await;
    namespace.becomes("afterwards", "Ready", "True", "Succeeded").await;
    assert_eq!(stage.operator.http("/readyz").await.0, Some(200));
    let connections = namespace.list("Connection").await;
    let events = namespace.list("Event").await;
    let log = stage.operator.log();
    let metrics = stage.operator.metrics().await;
    let uris = namespace.requests_after(&stage.operator.user, before).await;
    let shown = format!("{connections:?}{events:?}{log}{metrics}{uris:?}");
    for canary in [CANARY, "Y2FuYXJ5LTdmZTFjMGZmZWU", "63616e6172792d37666531633066666565"] {
        let at = shown.find(canary).map(|at| &shown[at.saturating_sub(200)..(at + 60).min(shown.len())]);
        assert_eq!(at, None, "a Secret shows");
    }
    assert!(!log.contains("panicked"), "{log}");
}

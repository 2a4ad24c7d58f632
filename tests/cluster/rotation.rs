//! A Secret or ConfigMap that changes is noticed, and probed at once where values in use changed.
//!
//! The interval is an hour in all of these: nothing here is found by the next regular probe.

use serde_json::{Value, json};

use crate::{
    harness::{
        audit::lines,
        namespace::{Connection, Namespace},
    },
    stage::{Stage, in_namespace, manifest},
};

#[test]
fn new_credentials_are_probed_at_once_and_verified() {
    in_namespace(async |stage, namespace| {
        let before = namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        stage.rest(&namespace).await;
        let position = stage.plane.audit.position();
        namespace.login("orders-db", "writer").await;
        let new = version(&namespace, "orders-db").await;
        let after =
            namespace.until("orders-db", "verified", |c| c.status("/credentials/verifiedVersion") == &new).await;
        after.must_be("Ready", "True", "Succeeded");
        assert_eq!(after.status("/credentials/observedVersion"), &new);
        assert_eq!(before.condition("Ready").unwrap().since, after.condition("Ready").unwrap().since);
        namespace.event("orders-db", "Normal CredentialsRotated").await;
        let requests = namespace.requests_after(&stage.operator.user, position).await;
        let about = |resource: &str| requests.iter().filter(|request| request.resource == resource).count();
        assert_eq!(about("secrets"), 1, "{:?}", lines(&requests));
        assert_eq!(about("connections/status"), 1, "{:?}", lines(&requests));
        assert_eq!(about("connections"), 0, "{:?}", lines(&requests));
    });
}

#[test]
fn new_credentials_that_are_rejected_are_observed_and_not_verified() {
    in_namespace(async |stage, namespace| {
        let before = namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        let old = before.status("/credentials/verifiedVersion").clone();
        namespace.secret("orders-db", &[("password", "wrong")]).await;
        let new = version(&namespace, "orders-db").await;
        let broken = namespace.becomes("orders-db", "Ready", "False", "AuthenticationFailed").await;
        assert_eq!(broken.status("/credentials/observedVersion"), &new);
        assert_eq!(broken.status("/credentials/verifiedVersion"), &old);

        namespace.login("orders-db", "reader").await;
        let newest = version(&namespace, "orders-db").await;
        let healed = namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        assert_eq!(healed.status("/credentials/verifiedVersion"), &newest);
    });
}

#[test]
fn a_deleted_secret_is_noticed_and_so_is_its_successor() {
    in_namespace(async |stage, namespace| {
        namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        namespace.delete("Secret", "orders-db").await;
        let broken = namespace.becomes("orders-db", "Ready", "False", "SecretNotFound").await;
        broken.must_be("Reachable", "Unknown", "NotChecked");
        namespace.login("orders-db", "reader").await;
        let new = version(&namespace, "orders-db").await;
        let healed = namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
        assert_eq!(healed.status("/credentials/verifiedVersion"), &new);
    });
}

#[test]
fn a_secret_replaced_between_two_looks_is_read_again() {
    in_namespace(async |stage, namespace| {
        namespace.ready("orders-db", stage.postgresql.address, seldom()).await;
        namespace.delete("Secret", "orders-db").await;
        namespace.secret("orders-db", &[("username", "reader"), ("password", "wrong")]).await;
        namespace.becomes("orders-db", "Ready", "False", "AuthenticationFailed").await;
    });
}

#[test]
fn a_change_of_the_secrets_metadata_is_observed_and_probes_nothing() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        let before = namespace.ready("orders-db", proxy.address, seldom()).await;
        namespace.merge("Secret", "orders-db", json!({"metadata": {"labels": {"team": "shop"}}})).await;
        let after = observed(&namespace, "orders-db").await;
        after.must_be("Ready", "True", "Succeeded");
        let verified = "/credentials/verifiedVersion";
        assert_eq!(after.status(verified), before.status(verified), "nobody has logged in with it");
        assert_eq!(proxy.connections(), 1);
    });
}

#[test]
fn a_change_of_a_key_that_is_not_used_probes_nothing() {
    in_namespace(async |stage, namespace| {
        let proxy = stage.proxy().await;
        namespace.ready("orders-db", proxy.address, seldom()).await;
        namespace.secret("orders-db", &[("colour", "blue")]).await;
        observed(&namespace, "orders-db").await.must_be("Ready", "True", "Succeeded");
        assert_eq!(proxy.connections(), 1);
        assert_eq!(namespace.events("orders-db").await, [""; 0], "nothing was rotated");
    });
}

#[test]
fn another_authority_in_a_secret_is_noticed() {
    in_namespace(async |stage, namespace| {
        namespace.secret("authority", &[("ca.crt", &stage.postgresql.authority)]).await;
        verified_by(stage, &namespace, json!({"secretRef": {"name": "authority", "key": "ca.crt"}})).await;
        namespace.secret("authority", &[("ca.crt", &stage.postgresql.other_authority)]).await;
        let broken = namespace.becomes("orders-db", "Ready", "False", "CertificateUntrusted").await;
        broken.must_be("Reachable", "False", "CertificateUntrusted");
        namespace.secret("authority", &[("ca.crt", &stage.postgresql.authority)]).await;
        namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
    });
}

#[test]
fn another_authority_in_a_config_map_is_noticed() {
    in_namespace(async |stage, namespace| {
        let map = |bundle: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"}, "data": {"ca.crt": bundle}});
        namespace.create(map(&stage.postgresql.authority)).await;
        verified_by(stage, &namespace, json!({"configMapRef": {"name": "authority", "key": "ca.crt"}})).await;
        namespace.merge("ConfigMap", "authority", map(&stage.postgresql.other_authority)).await;
        namespace.becomes("orders-db", "Ready", "False", "CertificateUntrusted").await;
        namespace.delete("ConfigMap", "authority").await;
        let gone = namespace.becomes("orders-db", "Ready", "False", "SecretNotFound").await;
        let message = gone.condition("CredentialsResolved").unwrap().message;
        assert!(message.contains("ConfigMap") && message.contains("authority"), "{message}");
        namespace.create(map(&stage.postgresql.authority)).await;
        namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
    });
}

#[test]
fn another_client_certificate_is_noticed() {
    in_namespace(async |stage, namespace| {
        let (certificate, key) = &stage.postgresql.client;
        namespace.login("orders-db", "certuser").await;
        namespace.secret("authority", &[("ca.crt", &stage.postgresql.authority)]).await;
        namespace.secret("client", &[("tls.crt", certificate), ("tls.key", key)]).await;
        let tls = json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}, "tls": {
            "mode": "VerifyFull",
            "ca": {"secretRef": {"name": "authority", "key": "ca.crt"}},
            "clientCertificateSecretRef": {"name": "client"},
        }}});
        namespace.create(manifest("orders-db", stage.postgresql.address, tls)).await;
        namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;

        namespace.secret("client", &[("tls.crt", "no certificate")]).await;
        let broken = namespace.becomes("orders-db", "Ready", "False", "CredentialsMalformed").await;
        let message = broken.condition("CredentialsResolved").unwrap().message;
        assert!(message.contains("client"), "{message}");
        namespace.delete("Secret", "client").await;
        let gone = namespace.becomes("orders-db", "Ready", "False", "SecretNotFound").await;
        let message = gone.condition("CredentialsResolved").unwrap().message;
        assert!(message.contains("client"), "{message}");
        namespace.secret("client", &[("tls.crt", certificate), ("tls.key", key)]).await;
        namespace.becomes("orders-db", "Ready", "True", "Succeeded").await;
    });
}

#[test]
fn every_connection_that_names_a_secret_hears_of_its_change() {
    in_namespace(async |stage, namespace| {
        for name in ["orders-db", "events-db", "stock-db"] {
            namespace.ready(name, stage.postgresql.address, seldom()).await;
        }
        namespace.login("orders-db", "writer").await;
        let new = version(&namespace, "orders-db").await;
        for name in ["orders-db", "events-db", "stock-db"] {
            namespace.until(name, "verified", |c| c.status("/credentials/verifiedVersion") == &new).await;
        }
    });
}

/// An interval that no test waits for.
fn seldom() -> Value {
    json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}}})
}

async fn version(namespace: &Namespace<'_>, secret: &str) -> Value {
    namespace.get("Secret", secret).await.unwrap()["metadata"]["resourceVersion"].clone()
}

/// Waits until a Connection has observed the Secret of its own name as it is now.
async fn observed(namespace: &Namespace<'_>, name: &str) -> Connection {
    let new = version(namespace, name).await;
    namespace.until(name, "observed", |c| c.status("/credentials/observedVersion") == &new).await
}

/// Makes a Connection that trusts the given authority only, and waits until it is ready.
async fn verified_by(stage: &Stage, namespace: &Namespace<'_>, authority: Value) {
    let tls = json!({"spec": {"probe": {"interval": "1h", "timeout": "30s"}, "tls": {"mode": "VerifyFull", "ca": authority}}});
    namespace.ready("orders-db", stage.postgresql.address, tls).await;
}

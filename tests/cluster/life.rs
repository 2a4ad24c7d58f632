//! From creation to Ready, and what a healthy Connection costs.

use serde_json::json;

use crate::{
    harness::audit::lines,
    stage::{in_namespace, manifest},
};

#[test]
fn a_connection_becomes_ready_and_says_how_to_connect() {
    in_namespace(async |stage, namespace| {
        let address = stage.postgresql.address;
        let connection = namespace.ready("orders-db", address, json!({})).await;
        connection.must_be("CredentialsResolved", "True", "Resolved");
        connection.must_be("Reachable", "True", "Connected");
        connection.must_be("Authenticated", "True", "CredentialsAccepted");
        connection.must_be("Accessible", "True", "Verified");
        assert_eq!(connection.status("/connectionString"), &json!(format!("postgresql://{address}/orders")));
        assert_eq!(connection.status("/binding/name"), "orders-db");
    });
}

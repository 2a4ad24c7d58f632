//! How a Connection of any type is aimed at a loopback address: by the names and forms of the fields that say where a system
//! is. A type that has none of them needs an entry here.

use std::net::SocketAddr;

use connection_operator::{api::Connection, connections::ConnectionType};
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

/// Fields that hold a host.
const HOSTS: [&str; 1] = ["host"];
/// Fields that hold a port.
const PORTS: [&str; 1] = ["port"];
/// Fields that hold several hosts: each as `HOST:PORT`, or as a URL.
const LISTS: [&str; 3] = ["hosts", "brokers", "nameNodes"];
/// Fields that hold a host and a port, as `HOST:PORT`.
const PAIRS: [&str; 1] = ["kdc"];
/// What the names of fields end in, in whatever case, that hold the URL of another system than the vendor's own.
const ENDPOINT: &str = "endpoint";
/// What URLs of systems begin with; other URLs name things inside of one.
const SCHEMES: [&str; 4] = ["http", "https", "webhdfs", "swebhdfs"];

/// Aims the settings of a type at `address`. A service whose hosts are known without a field has one for another endpoint or
/// host, which is set: in the settings, and in a part of them that has one of its own.
///
/// # Panics
/// Where nothing says where the system is.
pub fn aim(kind: ConnectionType, settings: &mut Value, address: SocketAddr) {
    let crd = json!(Connection::crd());
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").expect("a schema");
    name_places(settings, &spec[kind.member()]);
    aim_named(settings, address);
}

/// Names an endpoint or a host wherever the schema has a field for one and nothing is in it.
fn name_places(settings: &mut Value, schema: &Value) {
    let Value::Object(fields) = settings else { return };
    let known = schema["properties"].as_object().into_iter().flatten();
    for (name, schema) in known {
        if name.to_lowercase().ends_with(ENDPOINT) {
            fields.entry(name).or_insert_with(|| json!("https://unnamed"));
        } else if HOSTS.contains(&name.as_str()) {
            fields.entry(name).or_insert_with(|| json!("unnamed"));
        } else if let Some(field) = fields.get_mut(name) {
            name_places(field, schema);
        }
    }
}

/// Aims a value of a Secret that is an object in JSON, and leaves others as they are.
pub fn aim_document(value: &mut Vec<u8>, address: SocketAddr) {
    if let Ok(mut document @ Value::Object(_)) = serde_json::from_slice(value)
        && replace(&mut document, address) > 0
    {
        *value = document.to_string().into_bytes();
    }
}

/// Aims what names an address already.
fn aim_named(settings: &mut Value, address: SocketAddr) {
    assert!(
        replace(settings, address) > 0,
        "no field of {settings} says where the system is: say in tests/conformance/address.rs how it is aimed"
    );
}

/// Replaces every address, and returns how many there were.
fn replace(value: &mut Value, address: SocketAddr) -> usize {
    let Value::Object(fields) = value else { return 0 };
    let has_host = HOSTS.iter().any(|name| fields.contains_key(*name));
    if has_host {
        // The port may be left to its default.
        fields.insert(PORTS[0].to_owned(), json!(address.port()));
    }
    let mut found = 0;
    for (name, field) in fields {
        if HOSTS.contains(&name.as_str()) {
            *field = json!(address.ip().to_string());
            found += 1;
        } else if PAIRS.contains(&name.as_str()) {
            *field = json!(address.to_string());
            found += 1;
        } else if LISTS.contains(&name.as_str()) {
            let first = field.get(0).and_then(Value::as_str).unwrap_or_default();
            *field = json!([aimed_url(first, address).unwrap_or_else(|| address.to_string())]);
            found += 1;
        } else if let Some(url) = field.as_str().and_then(|text| aimed_url(text, address)) {
            *field = json!(url);
            found += 1;
        } else {
            found += replace(field, address);
        }
    }
    found
}

/// The URL with another address; `None` where it is none of a system.
fn aimed_url(text: &str, address: SocketAddr) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    SCHEMES.contains(&scheme).then(|| format!("{scheme}://{address}{path}"))
}

#[test]
fn every_form_of_an_address_is_replaced_and_nothing_else() {
    let address: SocketAddr = "127.0.0.1:7".parse().unwrap();
    for (settings, aimed) in [
        (json!({"host": "db", "database": "orders"}), json!({"host": "127.0.0.1", "port": 7, "database": "orders"})),
        (json!({"brokers": ["a:1", "b:2"]}), json!({"brokers": ["127.0.0.1:7"]})),
        (
            json!({"nameNodes": ["a:1"], "kerberos": {"kdc": "b:88", "realm": "B"}}),
            json!({"nameNodes": ["127.0.0.1:7"], "kerberos": {"kdc": "127.0.0.1:7", "realm": "B"}}),
        ),
        (json!({"hosts": ["https://a:1", "https://b:2"]}), json!({"hosts": ["https://127.0.0.1:7"]})),
        (json!({"url": "webhdfs://a:1/x/y"}), json!({"url": "webhdfs://127.0.0.1:7/x/y"})),
        (
            json!({"to": "s3://bucket/x", "oauth": {"endpoint": "https://a"}}),
            json!({"to": "s3://bucket/x", "oauth": {"endpoint": "https://127.0.0.1:7"}}),
        ),
    ] {
        let mut changed = settings;
        aim_named(&mut changed, address);
        assert_eq!(changed, aimed);
    }
}

#[test]
fn an_endpoint_or_a_host_is_named_where_the_schema_has_one_and_nowhere_else() {
    let endpoint = json!({"properties": {"endpoint": {}}});
    let schema =
        json!({"properties": {"endpoint": {}, "sqsEndpoint": {}, "role": endpoint, "other": {}, "absent": endpoint}});
    let mut settings = json!({"bucket": "orders", "role": {"name": "x"}, "other": {"name": "x"}});
    name_places(&mut settings, &schema);
    aim_named(&mut settings, "127.0.0.1:7".parse().unwrap());
    let url = "https://127.0.0.1:7";
    let expected = json!({
        "bucket": "orders", "endpoint": url, "sqsEndpoint": url, "role": {"name": "x", "endpoint": url}, "other": {"name": "x"},
    });
    assert_eq!(settings, expected);
    let mut account = json!({"account": "shop"});
    name_places(&mut account, &json!({"properties": {"account": {}, "host": {}, "port": {}}}));
    aim_named(&mut account, "127.0.0.1:7".parse().unwrap());
    assert_eq!(account, json!({"account": "shop", "host": "127.0.0.1", "port": 7}));
}

#[test]
fn a_key_in_json_is_aimed_and_nothing_else_of_a_secret_is() {
    for (value, aimed) in [
        (r#"{"id":"x","token_uri":"https://a/token"}"#, r#"{"id":"x","token_uri":"https://127.0.0.1:7/token"}"#),
        (r#"{ "id": "x" }"#, r#"{ "id": "x" }"#),
        ("https://a/token", "https://a/token"),
        (r#"["https://a"]"#, r#"["https://a"]"#),
    ] {
        let mut changed = value.as_bytes().to_vec();
        aim_document(&mut changed, "127.0.0.1:7".parse().unwrap());
        assert_eq!(String::from_utf8(changed).unwrap(), aimed);
    }
}

#[test]
#[should_panic(expected = "say in tests/conformance/address.rs")]
fn a_type_that_cannot_be_aimed_is_named() {
    aim_named(&mut json!({"bucket": "orders"}), "127.0.0.1:7".parse().unwrap());
}

//! How a Connection of any type is aimed at a loopback address: by the names and forms of the fields that say where a system
//! is. A type whose example has none of them needs an entry here, or an `endpoint` in its example.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// Fields that hold a host.
const HOSTS: [&str; 1] = ["host"];
/// Fields that hold a port.
const PORTS: [&str; 1] = ["port"];
/// Fields that hold several hosts: each as `HOST:PORT`, or as a URL.
const LISTS: [&str; 3] = ["hosts", "brokers", "nameNodes"];
/// What URLs of systems begin with; other URLs name things inside of one.
const SCHEMES: [&str; 4] = ["http", "https", "webhdfs", "swebhdfs"];

/// Aims the settings of a type at `address`.
///
/// # Panics
/// Where nothing in them says where the system is.
pub fn aim(settings: &mut Value, address: SocketAddr) {
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
        (json!({"hosts": ["https://a:1", "https://b:2"]}), json!({"hosts": ["https://127.0.0.1:7"]})),
        (json!({"url": "webhdfs://a:1/x/y"}), json!({"url": "webhdfs://127.0.0.1:7/x/y"})),
        (
            json!({"to": "s3://bucket/x", "oauth": {"endpoint": "https://a"}}),
            json!({"to": "s3://bucket/x", "oauth": {"endpoint": "https://127.0.0.1:7"}}),
        ),
    ] {
        let mut changed = settings;
        aim(&mut changed, address);
        assert_eq!(changed, aimed);
    }
}

#[test]
#[should_panic(expected = "say in tests/conformance/address.rs")]
fn a_type_that_cannot_be_aimed_is_named() {
    aim(&mut json!({"bucket": "orders"}), "127.0.0.1:7".parse().unwrap());
}

//! The examples of the types, as users read them.

use connection_operator::{api::Connection, connections::ConnectionType};
use serde_json::Value;

/// One example of one type.
pub struct Example {
    /// The type.
    pub kind: ConnectionType,
    /// Type and name of the example, for messages and names of objects: `postgresql-full`.
    pub name: String,
    /// Its objects, in their order.
    pub documents: Vec<Value>,
}

/// Every example of every type.
pub fn all() -> Vec<Example> {
    let of = |kind: ConnectionType| {
        let about = kind.about();
        [("minimal", about.minimal), ("full", about.full)].map(|(name, text)| Example {
            kind,
            name: format!("{}-{name}", kind.as_str().to_lowercase()),
            documents: text.split("\n---\n").map(|part| serde_saphyr::from_str(part).expect("YAML")).collect(),
        })
    };
    ConnectionType::ALL.iter().copied().flat_map(of).collect()
}

impl Example {
    /// Whether the example sets every field of its type.
    pub fn is_full(&self) -> bool {
        self.name.ends_with("-full")
    }

    /// The objects of a kind.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// Its Connection, as it is written.
    pub fn manifest(&self) -> &Value {
        let mut found = self.of_kind("Connection");
        match (found.next(), found.next()) {
            (Some(one), None) => one,
            (None, _) | (_, Some(_)) => panic!("{}: an example has one Connection", self.name),
        }
    }

    /// Its Connection, as the operator reads it.
    pub fn connection(&self) -> Connection {
        let read = serde_json::from_value(self.manifest().clone());
        read.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

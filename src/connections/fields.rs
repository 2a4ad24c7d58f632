//! Field types that several connection types share. Each carries its bounds and its rules once, as the schema states them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A host name or an address. A name without a dot means `NAME.<namespace of the Connection>.svc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 253, "minLength" = 1, "x-kubernetes-validations" =
    [{"rule": "!self.matches('[/@?#\\\\s]')", "message": "must be a host name or an address, nothing else"}]))]
pub struct Host(pub String);

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("format" = "int32", "minimum" = 1, "maximum" = 65535))]
pub struct Port(pub u16);

/// What a connection must be allowed to do, beyond its target being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Permission {
    /// See what is in the target.
    List,
    /// Read its data.
    Read,
    /// Write to it.
    Write,
}

impl Permission {
    /// The word that the spec and messages use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "List",
            Self::Read => "Read",
            Self::Write => "Write",
        }
    }
}

/// Bounds an *optional* enum by a pattern instead of `enum`: the API server never matches null against `enum`, and null
/// means absent. Put `#[schemars(transform = words)]` on every enum that is used in an `Option`.
///
/// # Panics
/// Where the schema is not that of an enum of plain words; a test generates every schema.
pub fn words(schema: &mut schemars::Schema) {
    let mut names = Vec::new();
    let mut take = |part: &serde_json::Value| {
        let listed = part.get("enum").and_then(|v| v.as_array()).into_iter().flatten();
        names.extend(listed.chain(part.get("const")).filter_map(|v| v.as_str().map(str::to_owned)));
    };
    take(schema.as_value());
    schema.get("oneOf").and_then(|v| v.as_array()).into_iter().flatten().for_each(take);
    assert!(!names.is_empty(), "not an enum of words: {schema:?}");
    schema.remove("oneOf");
    schema.remove("enum");
    schema.insert("type".into(), "string".into());
    schema.insert("maxLength".into(), 64.into());
    schema.insert("pattern".into(), format!("^({})$", names.join("|")).into());
}

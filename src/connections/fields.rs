//! Field types that several connection types share. Each carries its bounds and its rules once, as the schema states them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;
use crate::net::Endpoint;

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

/// A host and a port, as `HOST:PORT`, an IPv6 address in brackets. What a host name cannot have is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 261, "minLength" = 3, "x-kubernetes-validations" =
    [{"rule": "self.matches('^([A-Za-z0-9._-]+|[[][0-9A-Fa-f:.]+[]]):[0-9]{1,5}$')", "message": HostPort::RULE}]))]
pub struct HostPort(pub String);

impl HostPort {
    /// The sentence for what is none.
    pub const RULE: &str = "must be HOST:PORT, an IPv6 address in brackets";

    /// The host, an address still in its brackets, and the port; `None` where it is no such text.
    pub fn parts(&self) -> Option<(&str, u16)> {
        let (host, port) = self.0.rsplit_once(':')?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0)?;
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let of_an_address = |c: char| c.is_ascii_hexdigit() || ":.".contains(c);
        let is_host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            None => !host.is_empty() && host.chars().all(of_a_name),
            Some(None) => false,
            Some(Some(address)) => address.contains(':') && address.chars().all(of_an_address),
        };
        is_host.then_some((host, port))
    }

    /// Where that is. A host without a dot is looked for in the Connection's namespace, like any host of a spec.
    pub fn endpoint(&self, namespace: &str) -> Option<Endpoint> {
        self.parts().map(|(host, port)| Endpoint::of(host, port, namespace))
    }

    /// How connection strings show it.
    pub fn shown(&self) -> String {
        match self.parts() {
            Some((host, port)) => text::authority(host, port),
            None => text::encode(&self.0),
        }
    }
}

/// A URL of HTTP, absolute, with a host, maybe a port and a path, and nothing that could hold a secret: no user information, no
/// query and no fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 512, "minLength" = 1, "x-kubernetes-validations" =
    [{"rule": "self.matches('^https?://([^/?#@:\\\\s]+|[[][0-9A-Fa-f:.]+[]])(:[0-9]{1,5})?(/[^?#@\\\\s]*)?$')", "message": HttpUrl::RULE}]))]
pub struct HttpUrl(pub String);

/// The parts of an [`HttpUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host, an IPv6 address in brackets.
    pub host: &'a str,
    /// The port, where it is named.
    pub port: Option<u16>,
    /// The path, from its first slash; may be empty.
    pub path: &'a str,
}

impl HttpUrl {
    /// The sentence for what is none.
    pub const RULE: &str = "must be a URL such as https://host:port, without user information, query or fragment";

    /// Whether what is sent there can be read on the way.
    pub fn is_plain(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// The parts. What is missing in a text that breaks the rule is empty.
    pub fn parts(&self) -> UrlParts<'_> {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // The colons of an IPv6 address stand before its bracket.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        UrlParts { scheme, host, port, path }
    }

    /// `HOST` or `HOST:PORT`, as the URL has it.
    pub fn authority(&self) -> String {
        let UrlParts { host, port, .. } = self.parts();
        host.to_owned() + &port.map(|port| format!(":{port}")).unwrap_or_default()
    }

    /// The URL that requests go to: a host without a dot is looked for in the Connection's namespace, like any host of a spec.
    /// The path stays as it is: some token endpoints end with a slash.
    pub fn complete(&self, namespace: &str) -> String {
        let UrlParts { scheme, host, port, path } = self.parts();
        let Endpoint { host, .. } = Endpoint::of(host, 0, namespace);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}")
    }

    /// Where it leads, as a part of whose login it is: two ways to write one place read the same, and what a proxy has behind another
    /// path is another place.
    pub fn place(&self) -> String {
        let UrlParts { scheme, host, port, path } = self.parts();
        let port = port.unwrap_or(if scheme == "http" { 80 } else { 443 });
        format!("{}:{port}{}", host.to_ascii_lowercase(), path.trim_end_matches('/'))
    }

    /// Whether it obeys the schema's rule; for objects that were stored under an older one.
    pub fn is_valid(&self) -> bool {
        let strange = |c: char| "?#@\\".contains(c) || c.is_whitespace() || c.is_control();
        let Ok(url) = self.0.parse::<http::Uri>() else { return false };
        let (Some("http" | "https"), Some(host), Some(authority)) = (url.scheme_str(), url.host(), url.authority())
        else {
            return false;
        };
        let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        !host.is_empty() && port != ":0" && *authority == format!("{host}{port}").as_str() && !self.0.contains(strange)
    }
}

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

/// The sentence for a type that lets nobody in without credentials, where the spec names none.
pub const CREDENTIALS_NEEDED: &str = "`credentials` must name a Secret: nobody is let in without them";

impl From<&Permission> for &'static str {
    fn from(permission: &Permission) -> Self {
        permission.as_str()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_taken_apart_and_nothing_else_is() {
        let parts = |text: &str| HostPort(text.to_owned()).parts().map(|(host, port)| (host.to_owned(), port));
        for (text, host, port) in [
            ("db:1", "db", 1),
            ("nn_1.shop.svc:65535", "nn_1.shop.svc", 65535),
            ("10.0.0.1:8020", "10.0.0.1", 8020),
            ("[fd00::1]:9093", "[fd00::1]", 9093),
        ] {
            assert_eq!(parts(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            "db",
            "db:",
            ":1",
            "db:0",
            "db:65536",
            "db:+1",
            "fd00::1:9093",
            "[fd00::1:9093",
            "[]:1",
            "[db]:1",
            "a/b:1",
            "u@db:1",
            "a b:1",
            "a\nb:1",
            "a{b:1",
            "a=b:1",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn a_url_is_taken_apart() {
        let parts = |url: &str| {
            let url = HttpUrl(url.to_owned());
            let UrlParts { scheme, host, port, path } = url.parts();
            (scheme.to_owned(), host.to_owned(), port, path.to_owned())
        };
        let expected =
            |scheme: &str, host: &str, port, path: &str| (scheme.to_owned(), host.to_owned(), port, path.to_owned());
        assert_eq!(parts("https://a.example"), expected("https", "a.example", None, ""));
        assert_eq!(parts("http://minio:9000/x/y"), expected("http", "minio", Some(9000), "/x/y"));
        assert_eq!(parts("https://[fd00::1]/"), expected("https", "[fd00::1]", None, "/"));
        assert_eq!(parts("https://[fd00::1]:9000"), expected("https", "[fd00::1]", Some(9000), ""));
    }

    #[test]
    fn only_a_url_that_can_hold_no_secret_is_one() {
        let valid = |url: &str| HttpUrl(url.to_owned()).is_valid();
        for url in
            ["https://a.example", "http://minio:9000/", "https://[fd00::1]:9000/x", "https://10.0.0.1", "https://[::1]"]
        {
            assert!(valid(url), "{url}");
        }
        for url in [
            "",
            "a.example",
            "ftp://a.example",
            "https://",
            "https:///x",
            "https://user:pass@a.example",
            "https://a.example?sig=x",
            "https://a.example/#x",
            "https://a b",
            "https://a.example:0",
            "https://a.example:99999",
            "https://a:b:c",
            "https://a.example:",
        ] {
            assert!(!valid(url), "{url}");
        }
    }

    #[test]
    fn a_url_of_the_spec_is_completed_like_any_host() {
        let complete = |url: &str| HttpUrl(url.to_owned()).complete("shop");
        assert_eq!(complete("http://minio:9000"), "http://minio.shop.svc:9000");
        assert_eq!(complete("https://s3.example.com/"), "https://s3.example.com/");
        assert_eq!(complete("https://[fd00::1]:9000/token/"), "https://[fd00::1]:9000/token/");
        assert_eq!(complete("https://10.0.0.1"), "https://10.0.0.1");
    }
}

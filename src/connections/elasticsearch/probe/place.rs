//! Where a cluster is: its hosts by their URLs, or a Cloud ID. Pure.

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use http::Uri;

use crate::net::{Endpoint, http::Target};

/// One host of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::connections::elasticsearch) struct Place {
    /// Its URL, without a slash at its end.
    pub url: String,
    /// Where that leads.
    pub endpoint: Endpoint,
}

impl Place {
    /// The host of a complete URL.
    pub(in crate::connections::elasticsearch) fn of(url: &str) -> Option<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let Target { endpoint, scheme: _ } = Target::of(&url.parse::<Uri>().ok()?)?;
        Some(Self { url, endpoint })
    }

    /// Whether what is sent there can be read on the way.
    pub(in crate::connections::elasticsearch) fn is_plain(&self) -> bool {
        self.url.starts_with("http://")
    }
}

/// The port of a Cloud ID that names none.
const PORT: u16 = 443;

/// Host and port of Elasticsearch in a Cloud ID: `NAME:` and the base64 of `DOMAIN[:PORT]$ELASTICSEARCH[:PORT]$KIBANA`, as Elastic's
/// own clients read it. `None` where it is none.
pub(in crate::connections::elasticsearch) fn cloud(id: &str) -> Option<(String, u16)> {
    let (_, encoded) = id.rsplit_once(':')?;
    let decoded = BASE64_STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    let text = std::str::from_utf8(&decoded).ok()?;
    let mut parts = text.split('$');
    let (domain, common) = with_port(parts.next()?)?;
    let (name, own) = with_port(parts.next()?)?;
    let host = format!("{name}.{domain}");
    let is_label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (host.len() <= 253 && host.split('.').all(is_label)).then(|| (host, own.or(common).unwrap_or(PORT)))
}

/// A name and the port behind it; `None` where that is no port.
fn with_port(text: &str) -> Option<(&str, Option<u16>)> {
    match text.split_once(':') {
        None => Some((text, None)),
        Some((name, port)) => Some((name, Some(port.parse().ok().filter(|port| *port > 0)?))),
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    fn id(text: &str) -> String {
        format!("shop:{}", BASE64_STANDARD.encode(text))
    }

    #[test]
    fn a_cloud_id_names_a_host() {
        for (text, host, port) in [
            ("eu-central-1.aws.cloud.es.io$abc123$def456", "abc123.eu-central-1.aws.cloud.es.io", 443),
            ("cloud.es.io:9243$abc123$", "abc123.cloud.es.io", 9243),
            ("cloud.es.io$abc123:9244$def456", "abc123.cloud.es.io", 9244),
            ("cloud.es.io:9243$abc123:9244$def456:9245", "abc123.cloud.es.io", 9244),
            ("cloud.es.io$abc123", "abc123.cloud.es.io", 443),
        ] {
            assert_eq!(cloud(&id(text)), Some((host.to_owned(), port)), "{text}");
        }
        // With a colon in the name, and without the padding.
        let padded = id("cloud.es.io$abc123$");
        assert_eq!(cloud(&format!("a:{}", padded.trim_end_matches('='))), cloud(&padded));
        // Of Elastic's documentation ("Find your Cloud ID").
        assert_eq!(
            cloud("staging:dXMtZWFzdC0xLmF3cy5mb3VuZC5pbyRjZWM2ZjI2MWE3NGJmMjRjZTMzYmI4ODExYjg0Mjk0ZiQ="),
            Some(("cec6f261a74bf24ce33bb8811b84294f.us-east-1.aws.found.io".to_owned(), 443))
        );
    }

    #[test]
    fn what_names_no_host_is_no_cloud_id() {
        for text in [
            "",
            "cloud.es.io",
            "cloud.es.io$",
            "$abc123$",
            "cloud.es.io$abc/123$",
            "cloud.es.io/x$abc123$",
            "user@cloud.es.io$abc123$",
            "cloud.es.io:0$abc123$",
            "cloud.es.io:x$abc123$",
            "cloud.es.io:99999$abc123$",
            "cloud.es.io$a b$",
            "[fd00::1]$abc123$",
        ] {
            assert_eq!(cloud(&id(text)), None, "{text}");
        }
        assert_eq!(cloud("shop:!!"), None);
        assert_eq!(cloud("c2hvcCQx"), None);
        assert_eq!(cloud(&format!("shop:{}", BASE64_STANDARD.encode([0xff, b'$', 0xfe]))), None);
        assert_eq!(cloud(&id(&format!("{}.es.io$abc$", "x".repeat(260)))), None);
    }

    #[test]
    fn a_host_is_where_its_url_leads() {
        let place = |url: &str| Place::of(url).map(|place| (place.url, place.endpoint.to_string()));
        let expected = |url: &str, endpoint: &str| Some((url.to_owned(), endpoint.to_owned()));
        assert_eq!(place("https://es.shop.svc:9200/"), expected("https://es.shop.svc:9200", "es.shop.svc:9200"));
        assert_eq!(place("http://a.example/es/"), expected("http://a.example/es", "a.example:80"));
        assert_eq!(place("https://[fd00::1]:9200"), expected("https://[fd00::1]:9200", "[fd00::1]:9200"));
        assert_eq!(place("es:9200"), None);
    }
}

//! Reads the error codes out of an answer of the JSON protocols ("AWS JSON 1.0" and "1.1" of Smithy). Pure.

use serde::Deserialize;

/// Longest code that is looked at, in bytes: the longest known one has some fifty.
const LONGEST: usize = 128;

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "__type")]
    kind: Option<String>,
    code: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    #[serde(alias = "Message")]
    message: String,
}

/// The code in the header `x-amzn-errortype`, else in the document, without the namespace before it and the URL behind it. A
/// peer's word.
pub(super) fn code(header: Option<&str>, document: &[u8]) -> Option<String> {
    let said = || serde_json::from_slice::<Said>(document).ok().and_then(|said| said.kind.or(said.code));
    let whole = header.map(str::to_owned).or_else(said)?;
    let name = whole.split(':').next()?;
    let name = name.rsplit('#').next()?.trim();
    (1..=LONGEST).contains(&name.len()).then(|| name.to_owned())
}

/// The code that another service gave this one, which an SDK of AWS has written into the text: `(Service: …; Error Code: …; …)`. A
/// peer's word, and whoever names things may have written one before it, so the last one counts.
pub(super) fn cause(document: &[u8]) -> Option<String> {
    let Text { message } = serde_json::from_slice(document).ok()?;
    let (_, said) = message.rsplit_once("; Error Code: ")?;
    let name = said.split([';', ')']).next()?;
    (1..=LONGEST).contains(&name.len()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_in_each_of_its_places_and_forms() {
        for (header, document) in [
            (Some("FooError"), &b""[..]),
            (Some("FooError:http://internal.amazon.com/coral/com.amazon.coral.validate/"), b"{}"),
            (Some("aws.protocoltests.json#FooError:http://internal.amazon.com/"), b"{\"__type\": \"Other\"}"),
            (None, b"{\"__type\": \"FooError\", \"message\": \"x\"}"),
            (None, b"{\"__type\": \"com.amazonaws.orders#FooError\"}"),
            (None, b"{\"code\": \"FooError\", \"more\": [{}]}"),
        ] {
            assert_eq!(code(header, document).as_deref(), Some("FooError"), "{header:?} {document:?}");
        }
    }

    #[test]
    fn the_code_of_another_service_is_found_in_the_text() {
        let said = |text: &str| {
            cause(serde_json::json!({"__type": "MetadataException", "message": text}).to_string().as_bytes())
        };
        // As an Athena of 2023 sent it (DyfanJones/noctua#205).
        let entity = "Entity Not Found (Service: AmazonDataCatalog; Status Code: 400; Error Code: EntityNotFoundException; \
            Request ID: 1; Proxy: null)";
        assert_eq!(said(entity).as_deref(), Some("EntityNotFoundException"));
        let named =
            "Database (Service: x; Error Code: Made; Up) not found (Service: y; Error Code: AccessDeniedException)";
        assert_eq!(said(named).as_deref(), Some("AccessDeniedException"));
        for text in ["", "Error Code: ", "(Service: x; Error Code: )", "Database not found"] {
            assert_eq!(said(text), None, "{text}");
        }
        assert_eq!(cause(b"{\"Message\": \"(Service: x; Error Code: Y)\"}").as_deref(), Some("Y"));
        assert_eq!(cause(b"{\"message\": 7}"), None);
    }

    #[test]
    fn what_is_no_error_has_no_code() {
        let long = format!("{{\"__type\": \"{}\"}}", "x".repeat(LONGEST + 1));
        for document in [&b""[..], b"{}", b"[]", b"<html>", b"{\"__type\": 7}", b"{\"__type\": \"#\"}", long.as_bytes()]
        {
            assert_eq!(code(None, document), None, "{}", String::from_utf8_lossy(document));
        }
        assert_eq!(code(Some(""), b"{\"__type\": \"FooError\"}"), None);
    }
}

//! How a request is signed with an account's key ("Authorize with Shared Key" of the REST reference, version 2015-02-21 and later),
//! and whether two clocks are too far apart for that. Pure: who signs says when that is.

use std::{collections::BTreeMap, fmt::Write as _};

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderMap, Request};
use k8s_openapi::jiff::Timestamp;

use crate::{net::http::date, secret::SecretValue};

/// The header that says when a request was signed.
pub const SIGNED_AT: &str = "x-ms-date";

/// How far apart two clocks may be, in seconds: an older request is not taken, and of a SAS the same is advised.
const SKEW_LIMIT: u64 = 15 * 60;

/// The headers that are signed wherever they are, in their order.
const SIGNED: [&str; 11] = [
    "content-encoding",
    "content-language",
    CONTENT_LENGTH,
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// The one of them that is signed otherwise than it is sent.
const CONTENT_LENGTH: &str = "content-length";

/// The value of the header `Authorization` for a request that has all its other headers.
pub fn authorization<B>(account: &str, key: &SecretValue, request: &Request<B>) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let signature = hmac::sign(&key, string_to_sign(account, request).as_bytes());
    format!("SharedKey {account}:{}", BASE64_STANDARD.encode(signature))
}

/// What is signed of a request to `account`.
fn string_to_sign<B>(account: &str, request: &Request<B>) -> String {
    let mut text = format!("{}\n", request.method());
    for name in SIGNED {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // The length of nothing is not signed.
        let is_nothing = name == CONTENT_LENGTH && value == "0";
        let _ = writeln!(text, "{}", if is_nothing { "" } else { value });
    }
    let own = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-ms-"));
    let own: BTreeMap<&str, &str> =
        own.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default().trim())).collect();
    for (name, value) in own {
        let _ = writeln!(text, "{name}:{value}");
    }
    let _ = write!(text, "/{account}{}", request.uri().path());
    let query = request.uri().query().unwrap_or_default();
    let parameters: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (name.to_lowercase(), value.into_owned()))
        .collect();
    for (name, value) in parameters {
        let _ = write!(text, "\n{name}:{value}");
    }
    text
}

/// Whether whoever sent `headers` has another time than `now`, by more than is allowed. Where nothing is said it is not known.
pub fn clocks_differ(headers: &HeaderMap, now: Timestamp) -> bool {
    date(headers).is_some_and(|theirs| theirs.as_second().abs_diff(now.as_second()) > SKEW_LIMIT)
}

#[cfg(test)]
mod tests {
    use http::header::DATE;

    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().method(method).uri(uri);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    /// The two examples of "Constructing the canonicalized resource string" and "Work with the Content-Length header".
    #[test]
    fn the_strings_to_sign_of_the_reference_are_ours() {
        let dated = [("x-ms-version", "2015-02-21"), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")];
        let get = request(
            "GET",
            "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20",
            &dated,
        );
        assert_eq!(
            string_to_sign("myaccount", &get),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
        let put = request(
            "PUT",
            "http://myaccount/mycontainer?restype=container&timeout=30",
            &[&dated[..], &[("content-length", "0")]].concat(),
        );
        assert_eq!(
            string_to_sign("myaccount", &put),
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\nrestype:container\ntimeout:30"
        );
    }

    /// The second example once more, with the key that the emulator's documentation prints; the signature is OpenSSL's.
    #[test]
    fn a_signature_is_that_of_other_tools() {
        let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
        let key = SecretValue::new(BASE64_STANDARD.decode(key).unwrap());
        let dated = [("x-ms-version", "2015-02-21"), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")];
        let put = request("PUT", "http://myaccount/mycontainer?restype=container&timeout=30", &dated);
        let expected = "SharedKey myaccount:xGXG0xDZ4LffNUrgvdRqISw8BZe4MJz8EbGZmcCE038=";
        assert_eq!(authorization("myaccount", &key, &put), expected);
    }

    #[test]
    fn headers_stand_in_their_places_and_the_path_as_it_is_sent() {
        let headers = [("range", "bytes=0-0"), ("if-match", "\"0x0\""), ("content-length", "7"), ("x-ms-a", " b ")];
        let put = request("PUT", "http://127.0.0.1:10000/one/orders/a%20b/%C3%BC?prefix=a%20b%2F%C3%BC", &headers);
        assert_eq!(
            string_to_sign("one", &put),
            "PUT\n\n\n7\n\n\n\n\n\"0x0\"\n\n\nbytes=0-0\nx-ms-a:b\n/one/one/orders/a%20b/%C3%BC\nprefix:a b/ü"
        );
    }

    #[test]
    fn another_key_account_or_word_is_another_signature() {
        let sign = |account, key: &str, method| {
            let key = SecretValue::new(key.as_bytes().to_vec());
            authorization(account, &key, &request(method, "https://a/b", &[]))
        };
        let base = sign("one", "hunter2", "GET");
        assert!(base.starts_with("SharedKey one:") && !base.contains("hunter2"), "{base}");
        // 32 bytes of base64.
        assert_eq!(base.len(), "SharedKey one:".len() + 44);
        assert_eq!(base, sign("one", "hunter2", "GET"));
        for other in [sign("two", "hunter2", "GET"), sign("one", "hunter3", "GET"), sign("one", "hunter2", "PUT")] {
            assert_ne!(other.rsplit_once(':'), base.rsplit_once(':'));
        }
    }

    #[test]
    fn clocks_differ_by_more_than_a_quarter_of_an_hour_or_not_at_all() {
        let now: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        let differ = |date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, date.parse().unwrap());
            clocks_differ(&headers, now)
        };
        for (date, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", false),
            ("Sun, 06 Nov 1994 09:04:37 GMT", false),
            ("Sun, 06 Nov 1994 09:04:38 GMT", true),
            ("Sun, 06 Nov 1994 08:34:36 GMT", true),
            ("Fri, 01 Jan 9999 00:00:00 GMT", true),
            ("hunter2", false),
        ] {
            assert_eq!(differ(date), expected, "{date}");
        }
        assert!(!clocks_differ(&HeaderMap::new(), now));
    }
}

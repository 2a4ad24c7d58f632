//! The other side of a signature of AWS (Signature Version 4): a stand-in checks with it that it was asked by who has the key, for
//! what it is. Written from the specification and not with the signer's own library, which would agree with itself.

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};

use super::web::Asked;

/// Who may ask a stand-in, for what.
pub struct Verifier {
    /// The service, as signatures name it.
    pub service: &'static str,
    /// The region.
    pub region: &'static str,
    /// The access key's id.
    pub id: &'static str,
    /// Its secret.
    pub secret: &'static str,
    /// Its token, where it is temporary.
    pub token: Option<&'static str>,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It has no signature, or one of another form, service or region.
    Form,
    /// Nobody has this key, or it came without its token.
    Key,
    /// It was not signed with the key's secret, or changed since.
    Signature,
}

impl Verifier {
    /// Checks a request.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, asked: &Asked) -> Result<(), Wrong> {
        let authorization = asked.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ").ok_or(Wrong::Form)?;
        let part = |name: &str| {
            let mut parts = authorization.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).ok_or(Wrong::Form)
        };
        let (credential, names, signature) = (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
        let time = asked.header("x-amz-date");
        let (id, scope) = credential.split_once('/').ok_or(Wrong::Form)?;
        let (date, _) = time.split_once('T').ok_or(Wrong::Form)?;
        if scope != format!("{date}/{}/{}/aws4_request", self.region, self.service) {
            return Err(Wrong::Form);
        }
        if id != self.id || asked.header("x-amz-security-token") != self.token.unwrap_or_default() {
            return Err(Wrong::Key);
        }
        let names: Vec<&str> = names.split(';').collect();
        // What decides about the request is signed with it.
        let needed = asked.headers.keys().map(http::HeaderName::as_str);
        let needed = needed.filter(|name| name.starts_with("x-amz-") || ["host", "content-type"].contains(name));
        if !needed.into_iter().all(|name| names.contains(&name)) {
            return Err(Wrong::Form);
        }
        let (method, target) = asked.line.split_once(' ').ok_or(Wrong::Form)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: Vec<String> = names.iter().map(|name| format!("{name}:{}\n", asked.header(name).trim())).collect();
        let headers = headers.concat();
        let request = format!("{method}\n{path}\n{query}\n{headers}\n{}\n{}", names.join(";"), hash(&asked.body));
        if self.signature(time, scope, &request) == signature { Ok(()) } else { Err(Wrong::Signature) }
    }

    /// Checks a URL that carries its signature, for a `GET` until `lifetime` seconds after it was made.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check_url(&self, url: &str, lifetime: u32) -> Result<(), Wrong> {
        let (place, query) = url.strip_prefix("https://").and_then(|rest| rest.split_once('?')).ok_or(Wrong::Form)?;
        let (host, path) = place.split_at(place.find('/').ok_or(Wrong::Form)?);
        let said: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let said = |name: &str| said.get(name).map(String::as_str).unwrap_or_default();
        let time = said("X-Amz-Date");
        let (date, _) = time.split_once('T').ok_or(Wrong::Form)?;
        let (id, scope) = said("X-Amz-Credential").split_once('/').ok_or(Wrong::Form)?;
        let form = [said("X-Amz-Algorithm"), said("X-Amz-SignedHeaders"), said("X-Amz-Expires"), scope];
        let scope_of_it = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        if form != ["AWS4-HMAC-SHA256", "host", &lifetime.to_string(), &scope_of_it] {
            return Err(Wrong::Form);
        }
        if id != self.id || said("X-Amz-Security-Token") != self.token.unwrap_or_default() {
            return Err(Wrong::Key);
        }
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-Signature=")).collect();
        pairs.sort_unstable();
        let request = format!("GET\n{path}\n{}\nhost:{host}\n\nhost\n{}", pairs.join("&"), hash(""));
        let signature = self.signature(time, scope, &request);
        if said("X-Amz-Signature") == signature { Ok(()) } else { Err(Wrong::Signature) }
    }

    /// The signature of a request in its canonical form.
    fn signature(&self, time: &str, scope: &str, request: &str) -> String {
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(request));
        let secret = format!("AWS4{}", self.secret).into_bytes();
        let key = scope.split('/').fold(secret, |key, part| keyed(&key, part));
        hex(&keyed(&key, &text))
    }
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hash(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

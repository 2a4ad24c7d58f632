//! A token for client credentials (RFC 6749, section 4.4), or for an assertion that the client has signed (RFC 7523, section 2.1):
//! one request to an endpoint, over the network of the probe.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;

use super::jwt;
use crate::{
    failure::{Code, Failure, FailureClass},
    net::{Network, http::Answer, tls::Tls},
    secret::SecretValue,
};

/// What is granted is not taken: a wrong signature, a client that is unknown, a time that is not now.
const INVALID_GRANT: &str = "invalid_grant";

/// The errors of RFC 6749, section 5.2, and of Google ("JWT error codes" in its guide to service accounts), and what they say.
const ERRORS: &[(&str, FailureClass)] = &[
    ("invalid_client", FailureClass::WrongCredentials),
    ("unauthorized_client", FailureClass::WrongCredentials),
    (INVALID_GRANT, FailureClass::WrongCredentials),
    ("invalid_scope", FailureClass::WrongCredentials),
    ("invalid_request", FailureClass::AuthenticationMethodNotSupported),
    ("unsupported_grant_type", FailureClass::AuthenticationMethodNotSupported),
    ("temporarily_unavailable", FailureClass::ServerUnavailable),
    ("server_error", FailureClass::ServerUnavailable),
    ("access_denied", FailureClass::WrongCredentials),
    ("admin_policy_enforced", FailureClass::WrongCredentials),
    ("disabled_client", FailureClass::WrongCredentials),
    ("org_internal", FailureClass::WrongCredentials),
];

/// The endpoint's own numbers of errors, where it sends such, and what they say.
type Numbers = &'static [(u64, FailureClass)];

/// Whom to ask, for what.
pub struct Grant {
    /// URL of the endpoint.
    pub url: String,
    /// The client that asks.
    pub client: SecretValue,
    /// The proof that it is this client.
    pub secret: SecretValue,
    /// What the token is for.
    pub scope: Option<String>,
    /// Whom the token is for.
    pub audience: Option<String>,
    /// Where the client and its secret stand.
    pub shown: Shown,
    /// The endpoint's own numbers of errors, where it sends such, and what they say; they say more than the words of the RFC.
    pub numbers: Numbers,
}

/// Where a request shows the client and its secret (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// In the header, as basic authentication.
    Header,
    /// In the form.
    Form,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
}

#[derive(Deserialize)]
struct Denied {
    error: String,
    /// Microsoft Entra's, in no RFC.
    #[serde(default)]
    error_codes: Vec<u64>,
}

impl Grant {
    /// A new token.
    ///
    /// # Errors
    /// What did not pass on the way, or what the endpoint said, about the endpoint.
    pub async fn token(&self, net: &Network, tls: &Tls) -> Result<SecretValue, Failure> {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(self.audience.as_deref().map(|audience| ("audience", audience)));
        let request = Request::post(&self.url);
        let request = match self.shown {
            Shown::Header => request.header(AUTHORIZATION, self.authorization()),
            Shown::Form => {
                form.extend([("client_id", &self.client), ("client_secret", &self.secret)].map(|(name, value)| {
                    // Both were looked at when the Secret was read.
                    (name, value.text().unwrap_or_default())
                }));
                request
            }
        };
        let answer = send(net, tls, request, &form).await?;
        read(&answer, self.numbers).map_err(|failure| net.about(failure))
    }

    /// Basic authentication; both parts are form-encoded first (RFC 6749, section 2.3.1).
    fn authorization(&self) -> String {
        let encoded = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
        let pair = format!("{}:{}", encoded(self.client.expose()), encoded(self.secret.expose()));
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }
}

/// A token that the client has signed, in exchange for one.
pub struct Assertion {
    /// URL of the endpoint.
    pub url: String,
    /// The token of the client's own key.
    pub token: SecretValue,
    /// When it was made, in seconds since 1970.
    pub made: u64,
}

impl Assertion {
    /// A new token.
    ///
    /// # Errors
    /// As for [`Grant::token`]. Where the endpoint rejects the assertion and says that it is another time, `ClockSkewed`: to it the
    /// assertion is one of the past or of the future, and its words for that are those for a wrong signature.
    pub async fn exchange(&self, net: &Network, tls: &Tls) -> Result<SecretValue, Failure> {
        // It is a token of ours, so it is text.
        let assertion = self.token.text().unwrap_or_default();
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)];
        let answer = send(net, tls, Request::post(&self.url), &form).await?;
        read(&answer, &[]).map_err(|failure| {
            let rejected = Failure::new(FailureClass::WrongCredentials).code(Code::Known(INVALID_GRANT));
            let skewed = failure == rejected && jwt::clocks_differ(&answer.headers, self.made);
            net.about(if skewed { Failure::new(FailureClass::ClockSkewed) } else { failure })
        })
    }
}

/// How a token is shown to who takes it (RFC 6750, section 2.1).
///
/// # Errors
/// `Internal` where it cannot stand in a header.
pub fn bearer(token: &SecretValue) -> Result<HeaderValue, Failure> {
    let header = [b"Bearer ", token.expose()].concat();
    let mut header = HeaderValue::from_bytes(&header).map_err(|_| Failure::new(FailureClass::Internal))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Sends a form.
async fn send(
    net: &Network,
    tls: &Tls,
    request: http::request::Builder,
    form: &[(&str, &str)],
) -> Result<Answer, Failure> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = request
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Bytes::from(form));
    net.exchange(tls, request.map_err(|_| Failure::new(FailureClass::Internal))?).await
}

fn read(answer: &Answer, numbers: Numbers) -> Result<SecretValue, Failure> {
    let body = answer.whole()?;
    if answer.status.is_success() {
        let granted: Option<Granted> = serde_json::from_slice(&body).ok();
        // What cannot stand in the login is no token (RFC 6750, section 2.1, and the NUL-free texts of clients).
        let token = granted.map(|granted| granted.access_token).filter(|token| !token.is_empty());
        let sendable = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        let token = sendable
            .ok_or_else(|| Failure::new(FailureClass::ProtocolMismatch).word("no access token in its answer"))?;
        return Ok(SecretValue::new(token.into_bytes()));
    }
    let denied: Option<Denied> = serde_json::from_slice(&body).ok();
    let listed = |code: &u64| numbers.iter().find(|(number, _)| number == code);
    if let Some((number, class)) = denied.as_ref().and_then(|denied| denied.error_codes.iter().find_map(listed)) {
        return Err(Failure::new(*class).code(Code::Number(i64::try_from(*number).unwrap_or(i64::MAX))));
    }
    let listed = denied.and_then(|denied| ERRORS.iter().find(|(code, _)| *code == denied.error));
    Err(match (listed, answer.status) {
        (Some((code, class)), _) => Failure::new(*class).code(Code::Known(code)),
        (None, StatusCode::UNAUTHORIZED) => numbered(FailureClass::WrongCredentials, answer.status),
        (None, StatusCode::TOO_MANY_REQUESTS) => numbered(FailureClass::Throttled, answer.status),
        (None, status) if status.is_server_error() => numbered(FailureClass::ServerUnavailable, status),
        (None, status) => numbered(FailureClass::ProtocolMismatch, status),
    })
}

fn numbered(class: FailureClass, status: StatusCode) -> Failure {
    Failure::new(class).code(Code::Number(status.as_u16().into()))
}

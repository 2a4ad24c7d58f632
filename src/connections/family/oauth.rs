//! A token for client credentials (RFC 6749, section 4.4): one request to an endpoint, over the network of the probe.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;

use crate::{
    failure::{Code, Failure, FailureClass},
    net::{Network, http::Answer, tls::Tls},
    secret::SecretValue,
};

/// The errors of RFC 6749, section 5.2, and what they say.
const ERRORS: &[(&str, FailureClass)] = &[
    ("invalid_client", FailureClass::WrongCredentials),
    ("unauthorized_client", FailureClass::WrongCredentials),
    ("invalid_grant", FailureClass::WrongCredentials),
    ("invalid_scope", FailureClass::WrongCredentials),
    ("invalid_request", FailureClass::AuthenticationMethodNotSupported),
    ("unsupported_grant_type", FailureClass::AuthenticationMethodNotSupported),
    ("temporarily_unavailable", FailureClass::ServerUnavailable),
    ("server_error", FailureClass::ServerUnavailable),
];

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
    pub numbers: &'static [(u64, FailureClass)],
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
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
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
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = request.body(Bytes::from(form)).map_err(|_| Failure::new(FailureClass::Internal))?;
        let answer = net.exchange(tls, request).await?;
        self.read(&answer).map_err(|failure| match net.endpoint() {
            Some(endpoint) => failure.about_at_least(&endpoint.shown()),
            None => failure,
        })
    }

    /// Basic authentication; both parts are form-encoded first (RFC 6749, section 2.3.1).
    fn authorization(&self) -> String {
        let encoded = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
        let pair = format!("{}:{}", encoded(self.client.expose()), encoded(self.secret.expose()));
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }

    fn read(&self, answer: &Answer) -> Result<SecretValue, Failure> {
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
        let listed = |code: &u64| self.numbers.iter().find(|(number, _)| number == code);
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
}

fn numbered(class: FailureClass, status: StatusCode) -> Failure {
    Failure::new(class).code(Code::Number(status.as_u16().into()))
}

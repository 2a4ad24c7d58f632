//! What a cluster answers to who somebody is, and the type of an error. No text of an answer is kept. Pure.

use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Code, Failure, FailureClass};

/// Types of errors that a message may show, from the answers of the tests' servers and the source of both projects.
const SECURITY: &str = "security_exception";
const NO_INDEX: &str = "index_not_found_exception";
const NO_INDEX_NAME: &str = "invalid_index_name_exception";
const CLOSED: &str = "index_closed_exception";
const BLOCKED: &str = "cluster_block_exception";
const NO_MASTER: &str = "master_not_discovered_exception";
const NO_SHARD: &str = "no_shard_available_action_exception";
const NO_SHARDS: &str = "unavailable_shards_exception";
const SEARCH: &str = "search_phase_execution_exception";
const TYPES: &[&str] = &[
    SECURITY,
    NO_INDEX,
    NO_INDEX_NAME,
    CLOSED,
    BLOCKED,
    NO_MASTER,
    NO_SHARD,
    NO_SHARDS,
    SEARCH,
    "es_rejected_execution_exception",
    "rejected_execution_exception",
    "circuit_breaking_exception",
    "process_cluster_event_timeout_exception",
    "illegal_argument_exception",
];

/// The header by which Elasticsearch says since 7.14 what it is. It is not on what its security features refuse.
const PRODUCT: &str = "x-elastic-product";
/// The header that every answer of an AWS service has.
const AMAZON: &str = "x-amzn-requestid";

/// A question, by what answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// `/_security/_authenticate` of Elasticsearch.
    Elasticsearch,
    /// `/_plugins/_security/authinfo` of OpenSearch's security plugin.
    OpenSearch,
    /// `/`, which every cluster knows.
    Anybody,
}

/// What is known of somebody who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A user, a key, a token.
    Somebody,
    /// Whoever says nothing is let in as this one.
    Anonymous,
}

/// What an answer says to the question who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// It knows who asks.
    Known(Identity),
    /// It is a cluster, and it does not know this question: nothing in it asks who one is.
    Open,
    /// It does not know this question, which says nothing about what it is.
    Untold,
}

#[derive(Deserialize)]
struct Authenticated {
    username: String,
    authentication_type: Option<String>,
}

#[derive(Deserialize)]
struct Authinfo {
    user_name: Option<String>,
}

#[derive(Deserialize)]
struct Root {
    tagline: Option<String>,
}

/// What OpenSearch's plugin calls somebody who says nothing, where it lets such in (its `AnonymousUser`).
const NOBODY: [&str; 2] = ["opendistro_security_anonymous", "opensearch_security_anonymous"];

/// What `/` says at the end ("Info" of both APIs).
const TAGLINES: [&str; 2] = ["You Know, for Search", "The OpenSearch Project: https://opensearch.org/"];

/// What an answer to the question of `whom` says about who asks.
pub(super) fn who(whom: Whom, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Who, Refused> {
    if status == StatusCode::OK {
        let known = match whom {
            Whom::Elasticsearch => serde_json::from_slice(body).ok().map(|found: Authenticated| {
                let anonymous = found.authentication_type.as_deref() == Some("anonymous");
                Who::Known(if anonymous || found.username.is_empty() {
                    Identity::Anonymous
                } else {
                    Identity::Somebody
                })
            }),
            Whom::OpenSearch => {
                let name = serde_json::from_slice(body).ok().and_then(|found: Authinfo| found.user_name);
                name.map(|name| {
                    let anonymous = NOBODY.contains(&name.as_str());
                    Who::Known(if anonymous { Identity::Anonymous } else { Identity::Somebody })
                })
            }
            Whom::Anybody => {
                let line = serde_json::from_slice(body).ok().and_then(|found: Root| found.tagline);
                line.filter(|line| TAGLINES.contains(&line.as_str())).map(|_| Who::Open)
            }
        };
        return known.ok_or_else(|| Refused::of(status, headers, body));
    }
    let unknown = matches!(status.as_u16(), 400 | 404 | 405);
    match whom {
        // It is Elasticsearch, and no question of its security features is known there: they are off.
        Whom::Elasticsearch | Whom::Anybody if unknown && is_elasticsearch(headers) => Ok(Who::Open),
        Whom::Elasticsearch | Whom::OpenSearch if unknown || is_kept_back(status, headers, body) => Ok(Who::Untold),
        Whom::Elasticsearch | Whom::OpenSearch | Whom::Anybody => Err(Refused::of(status, headers, body)),
    }
}

/// Whether a question has not got to the cluster: so Amazon OpenSearch Service answers to whatever is not in its list, whoever asks.
fn is_kept_back(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> bool {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = document["Message"].as_str().unwrap_or_default();
    status == StatusCode::UNAUTHORIZED
        && !headers.contains_key(WWW_AUTHENTICATE)
        && told.starts_with("Your request: '/_")
        && told.ends_with("' is not allowed.")
}

/// Whether a host that was not shown the login answers, so that it may be shown it.
pub(super) fn is_there(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
    match who(Whom::Elasticsearch, status, headers, body) {
        Ok(_) => Ok(()),
        Err(refused) if refused.wants_somebody() => Ok(()),
        Err(refused) => Err(refused),
    }
}

/// Whether it matters who asks where somebody was let in and nothing in the cluster wants to know: what the same question is answered
/// with where nobody asks it.
pub(super) fn matters(whom: Whom, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Identity, Refused> {
    match who(whom, status, headers, body) {
        Ok(Who::Known(_) | Who::Open) => Ok(Identity::Anonymous),
        // It says nothing about who asks.
        Err(refused) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => Err(refused),
        Ok(Who::Untold) | Err(_) => Ok(Identity::Somebody),
    }
}

fn is_elasticsearch(headers: &HeaderMap) -> bool {
    headers.get(PRODUCT).is_some_and(|product| product == "Elasticsearch")
}

/// What was said instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    status: StatusCode,
    /// The type of the error, where it is listed.
    kind: Option<&'static str>,
    /// Whether a cluster says so, by the form of what is said.
    is_by_cluster: bool,
    special: Special,
}

/// What the headers or the body say that the status does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Special {
    Nothing,
    /// A token that is over (RFC 6750, section 3, in the words of Elasticsearch's `TokenService`), or a key (`ApiKeyService`).
    Expired,
    /// The proxy of Elastic Cloud.
    Cloud,
    /// A service of AWS.
    Amazon,
}

impl Refused {
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let kind = document["error"]["type"].as_str();
        let is_by_cluster = kind.is_some()
            || document["error"].is_string()
            || is_elasticsearch(headers)
            // What is too long is cut.
            || document.is_null() && body.starts_with(br#"{"error":{"#);
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let of_login = &document["error"]["additional_unsuccessful_credentials"];
        let of_login = of_login.as_array().map_or(std::slice::from_ref(of_login), Vec::as_slice);
        let mut of_login = of_login.iter().filter_map(Value::as_str);
        let special = if challenges.into_iter().any(|challenge| challenge.contains("The access token expired"))
            || of_login.any(|told| told.contains("api key is expired"))
        {
            Special::Expired
        } else if document["ok"] == Value::Bool(false) {
            Special::Cloud
        } else if headers.contains_key(AMAZON) {
            Special::Amazon
        } else {
            Special::Nothing
        };
        let kind = kind.and_then(|kind| TYPES.iter().find(|known| **known == kind).copied());
        Self { status, kind, is_by_cluster, special }
    }

    /// Whether the error is of this type.
    fn is(&self, kind: &str) -> bool {
        self.kind == Some(kind)
    }

    /// Whether a cluster says that this may not be done by who asks.
    pub(super) fn is_denial(&self) -> bool {
        self.status == StatusCode::FORBIDDEN && self.is_by_cluster && !self.is(BLOCKED)
    }

    /// Whether it is about nobody in particular: whoever says who asks may be let in.
    fn wants_somebody(&self) -> bool {
        self.status.is_redirection() || matches!(self.status.as_u16(), 401 | 403)
    }

    /// Whether Elasticsearch itself knows nobody by this login.
    pub(super) fn is_by_a_realm(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED && self.is(SECURITY)
    }

    /// What it means where it was asked who one is.
    pub(super) fn at_the_door(&self) -> Failure {
        let class = match (self.status, self.special) {
            (StatusCode::UNAUTHORIZED, Special::Expired) => FailureClass::CredentialsExpired,
            (StatusCode::UNAUTHORIZED, _) => FailureClass::WrongCredentials,
            (StatusCode::FORBIDDEN, Special::Cloud) => FailureClass::SourceNotAllowed,
            (StatusCode::FORBIDDEN, Special::Amazon) => FailureClass::AuthenticationMethodNotSupported,
            // Everybody may ask who they are, so this is about who asks; to try again might lock an account.
            (StatusCode::FORBIDDEN, _) if self.is_by_cluster => FailureClass::WrongCredentials,
            (StatusCode::TOO_MANY_REQUESTS, _) => FailureClass::Throttled,
            (status, _) if status.is_server_error() => FailureClass::ServerUnavailable,
            _ => FailureClass::ProtocolMismatch,
        };
        let failure = self.failure(class);
        match (class, self.special) {
            (FailureClass::SourceNotAllowed, _) => failure.advice(
                "allow the operator's address in the traffic filters of the deployment",
            ),
            (FailureClass::AuthenticationMethodNotSupported, _) => failure.advice(
                "this domain of Amazon OpenSearch Service wants requests signed for IAM; let its fine-grained access control take a user \
                 and a password, and its access policy everybody",
            ),
            (FailureClass::ProtocolMismatch, Special::Cloud) => {
                failure.advice("check the host or the Cloud ID: for a deployment that is not there Elastic Cloud answers itself")
            }
            _ => failure,
        }
    }

    /// What it means where it was asked about an index, or about rights on one.
    pub(super) fn inside(&self) -> Failure {
        let class = match (self.status.as_u16(), self.kind) {
            (401, _) => return self.at_the_door(),
            (429, _) => FailureClass::Throttled,
            (_, Some(NO_INDEX | NO_INDEX_NAME)) => FailureClass::TargetNotFound,
            (_, Some(CLOSED | SEARCH | NO_SHARD | NO_SHARDS)) | (403, Some(BLOCKED)) => FailureClass::TargetUnavailable,
            (404, _) if self.is_by_cluster => FailureClass::TargetNotFound,
            (500.., _) => FailureClass::ServerUnavailable,
            (400..500, _) if self.is_by_cluster => FailureClass::Internal,
            _ => FailureClass::ProtocolMismatch,
        };
        self.failure(class)
    }

    /// A failure with the status, and the type of the error where it is listed.
    fn failure(&self, class: FailureClass) -> Failure {
        let failure = Failure::new(class).code(Code::Number(self.status.as_u16().into()));
        match self.kind {
            Some(kind) => failure.code(Code::Known(kind)),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn status(status: u16) -> StatusCode {
        StatusCode::from_u16(status).unwrap()
    }

    fn error(kind: &str) -> String {
        format!(r#"{{"error":{{"root_cause":[],"type":"{kind}","reason":"canary"}},"status":0}}"#)
    }

    const ES: &[(&str, &str)] = &[("x-elastic-product", "Elasticsearch")];

    #[test]
    fn who_asks_is_told_by_each_system_in_its_own_way() {
        use Identity::{Anonymous, Somebody};
        for (whom, body, told) in [
            (Whom::Elasticsearch, r#"{"username":"reader","authentication_type":"realm"}"#, Who::Known(Somebody)),
            (Whom::Elasticsearch, r#"{"username":"reader"}"#, Who::Known(Somebody)),
            (Whom::Elasticsearch, r#"{"username":"_anon","authentication_type":"anonymous"}"#, Who::Known(Anonymous)),
            (Whom::OpenSearch, r#"{"user_name":"reader","roles":[]}"#, Who::Known(Somebody)),
            (Whom::OpenSearch, r#"{"user_name":"opendistro_security_anonymous"}"#, Who::Known(Anonymous)),
            (Whom::Anybody, r#"{"name":"x","tagline":"You Know, for Search"}"#, Who::Open),
            (Whom::Anybody, r#"{"tagline":"The OpenSearch Project: https://opensearch.org/"}"#, Who::Open),
        ] {
            assert_eq!(who(whom, StatusCode::OK, &HeaderMap::new(), body.as_bytes()), Ok(told), "{body}");
        }
    }

    #[test]
    fn a_question_that_is_not_known_says_who_does_not_know_it_or_nothing() {
        for code in [400, 404, 405] {
            let told = |whom, headers| who(whom, status(code), &headers, b"{}");
            assert_eq!(told(Whom::Elasticsearch, HeaderMap::new()), Ok(Who::Untold));
            assert_eq!(told(Whom::Elasticsearch, headers(ES)), Ok(Who::Open));
            assert_eq!(told(Whom::OpenSearch, HeaderMap::new()), Ok(Who::Untold));
            assert!(told(Whom::Anybody, HeaderMap::new()).is_err());
        }
    }

    #[test]
    fn what_amazon_does_not_pass_on_says_nothing_about_who_asks() {
        let body = r#"{"Message":"Your request: '/_security/_authenticate' is not allowed."}"#;
        let told = |whom, code, headers, body: &str| who(whom, status(code), &headers, body.as_bytes());
        for whom in [Whom::Elasticsearch, Whom::OpenSearch] {
            assert_eq!(told(whom, 401, headers(&[]), body), Ok(Who::Untold));
            assert!(told(whom, 403, headers(&[]), body).is_err());
            assert!(told(whom, 401, headers(&[("www-authenticate", "Basic")]), body).is_err());
            assert!(told(whom, 401, headers(&[]), r#"{"Message":"Unauthorized"}"#).is_err());
            assert!(told(whom, 401, headers(&[]), "Unauthorized").is_err());
        }
    }

    #[test]
    fn a_host_is_there_where_it_answers_as_one_that_may_let_somebody_in() {
        let told = |code, body: &str| is_there(status(code), &HeaderMap::new(), body.as_bytes());
        for (code, body) in
            [(200, r#"{"username":"_anonymous"}"#), (400, ""), (404, ""), (401, ""), (403, ""), (302, "")]
        {
            assert_eq!(told(code, body), Ok(()), "{code}");
        }
        for (code, body) in [(200, "<html>"), (418, ""), (429, ""), (500, ""), (503, "")] {
            assert!(told(code, body).is_err(), "{code}");
        }
    }

    #[test]
    fn it_matters_who_asks_where_nobody_is_not_answered_like_somebody() {
        use FailureClass as C;
        let told = |code, body: &str| matters(Whom::Anybody, status(code), &HeaderMap::new(), body.as_bytes());
        assert_eq!(told(200, r#"{"tagline":"You Know, for Search"}"#), Ok(Identity::Anonymous));
        for (code, body) in [(401, ""), (403, ""), (302, ""), (404, ""), (200, "<html>")] {
            assert_eq!(told(code, body), Ok(Identity::Somebody), "{code}");
        }
        for (code, class) in [(429, C::Throttled), (500, C::ServerUnavailable), (503, C::ServerUnavailable)] {
            assert_eq!(told(code, "").unwrap_err().at_the_door().class(), class, "{code}");
        }
    }

    #[test]
    fn what_is_no_answer_to_who_one_is_is_none() {
        for whom in [Whom::Elasticsearch, Whom::OpenSearch, Whom::Anybody] {
            for body in
                ["", "null", "{}", "[]", "<html>", r#"{"username":7}"#, r#"{"user_name":null}"#, r#"{"tagline":"x"}"#]
            {
                let refused = who(whom, StatusCode::OK, &HeaderMap::new(), body.as_bytes()).unwrap_err();
                assert_eq!(refused.at_the_door().class(), FailureClass::ProtocolMismatch, "{body}");
            }
        }
    }

    #[test]
    fn what_is_said_at_the_door_has_a_name() {
        use FailureClass as C;
        let cloud = r#"{"ok":false,"message":"canary"}"#;
        let expired = r#"Bearer realm="security", error="invalid_token", error_description="The access token expired""#;
        // As a log of Elasticsearch 8 shows it, and as its `ApiKeyService` and `Authenticator` make it.
        let of_key = |told: &str| {
            format!(r#"{{"error":{{"type":"security_exception","additional_unsuccessful_credentials":{told}}}}}"#)
        };
        for (code, headers, body, class) in [
            (401, headers(&[]), error("security_exception"), C::WrongCredentials),
            (401, headers(&[]), "Unauthorized".to_owned(), C::WrongCredentials),
            (401, headers(&[("www-authenticate", expired)]), error("security_exception"), C::CredentialsExpired),
            (401, headers(&[]), of_key(r#""API key: api key is expired""#), C::CredentialsExpired),
            (401, headers(&[]), of_key(r#"["canary","API key: api key is expired"]"#), C::CredentialsExpired),
            (401, headers(&[]), of_key(r#""API key: unable to find apikey with id canary""#), C::WrongCredentials),
            (401, headers(&[]), of_key("[7]"), C::WrongCredentials),
            (
                401,
                headers(&[]),
                r#"{"Message":"Your request: '/_canary' is not allowed."}"#.to_owned(),
                C::WrongCredentials,
            ),
            (403, headers(&[]), error("security_exception"), C::WrongCredentials),
            (403, headers(&[]), error("security_exception").replace("},", ",{"), C::WrongCredentials),
            (403, headers(&[]), cloud.to_owned(), C::SourceNotAllowed),
            (
                403,
                headers(&[("x-amzn-requestid", "x")]),
                r#"{"Message":"canary"}"#.to_owned(),
                C::AuthenticationMethodNotSupported,
            ),
            (403, headers(&[]), "<html>".to_owned(), C::ProtocolMismatch),
            (404, headers(&[]), cloud.to_owned(), C::ProtocolMismatch),
            (302, headers(&[]), String::new(), C::ProtocolMismatch),
            (418, headers(ES), String::new(), C::ProtocolMismatch),
            (429, headers(&[]), error("circuit_breaking_exception"), C::Throttled),
            (500, headers(&[]), String::new(), C::ServerUnavailable),
            (503, headers(&[]), error("master_not_discovered_exception"), C::ServerUnavailable),
        ] {
            let failure = who(Whom::Anybody, status(code), &headers, body.as_bytes()).unwrap_err().at_the_door();
            assert_eq!(failure.class(), class, "{code} {body}");
            assert!(!failure.message().contains("canary"), "{}", failure.message());
        }
    }

    #[test]
    fn a_type_that_a_peer_made_up_is_not_shown() {
        let failure =
            |kind: &str| Refused::of(status(503), &HeaderMap::new(), error(kind).as_bytes()).inside().message();
        assert!(failure("master_not_discovered_exception").contains("(503, master_not_discovered_exception)"));
        assert!(failure("hunter2").contains("(503)") && !failure("hunter2").contains("hunter2"));
    }
}

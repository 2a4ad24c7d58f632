//! The key of a service account: one JSON document, as Google writes it. Whoever may write the Secret may have written it, so what
//! it names is judged, and nothing of it is shown.

use http::Uri;
use serde::{Deserialize, Deserializer};

use crate::{
    connections::{
        family::jwt::{PrivateKey, Signer, Unusable},
        fields::HttpUrl,
    },
    failure::{Failure, FailureClass, Setting},
    net::http::{Scheme, Target},
    secret::SecretValue,
};

/// The universe of Google's own cloud. Others are those that partners run.
pub const UNIVERSE: &str = "googleapis.com";

/// Hosts that give tokens in Google's own universe: that of keys made today, and that of old ones.
const TOKEN_HOSTS: [&str; 2] = ["oauth2.googleapis.com", "accounts.google.com"];

/// Where tokens are asked for where a key does not say it.
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// Longest email address or id in a key, in bytes: real ones have less than a hundred.
const NAME_LIMIT: usize = 512;

/// The spec, as far as a key is judged by it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The Connection's namespace.
    pub namespace: &'a str,
    /// Where the API is, if the spec says it.
    pub endpoint: Option<&'a str>,
    /// The universe.
    pub universe: &'a str,
}

/// Who we say we are.
pub struct ServiceAccount {
    /// The address of the account, which is its name.
    pub email: String,
    /// The id of its key, by which the service finds the public half.
    pub id: Option<String>,
    /// The private half.
    pub signer: Signer,
    /// How a token is had.
    pub login: Login,
}

/// How a token is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A token that the account signs is exchanged for one of the endpoint.
    Exchange {
        /// Where it is dialled.
        url: String,
        /// What the endpoint calls itself.
        audience: String,
    },
    /// The API takes a token that the account signs. Other universes than Google's own have no exchange.
    SelfSigned,
}

/// The document, without what is not used. Values of a wrong type make it none.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
    private_key_id: Option<String>,
    #[serde(default, deserialize_with = "wrapped")]
    private_key: Option<SecretValue>,
    token_uri: Option<String>,
    universe_domain: Option<String>,
}

fn wrapped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretValue>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| SecretValue::new(text.into_bytes())))
}

impl ServiceAccount {
    /// The key in `text`, which stands in the key `name` of the Secret that `about` names.
    ///
    /// # Errors
    /// `CredentialsMalformed`, with what must be otherwise.
    pub fn read(text: &SecretValue, place: Place<'_>, name: &'static str, about: &Setting) -> Result<Self, Failure> {
        let malformed =
            |advice| Failure::new(FailureClass::CredentialsMalformed).about(about.clone()).word(name).advice(advice);
        let document: Document = serde_json::from_slice(text.expose()).map_err(|_| malformed(NO_KEY))?;
        let Document { kind, client_email, private_key_id, private_key, token_uri, universe_domain } = document;
        if kind != "service_account" {
            return Err(malformed(ANOTHER_TYPE));
        }
        let (Some(email), Some(pem)) = (client_email, private_key) else { return Err(malformed(LACKING)) };
        if !is_name(&email) || !private_key_id.as_deref().is_none_or(is_name) {
            return Err(malformed(NAMES));
        }
        if universe_domain.as_deref().unwrap_or(UNIVERSE) != place.universe {
            return Err(malformed(ANOTHER_UNIVERSE));
        }
        let login = if place.universe == UNIVERSE {
            place.exchange(token_uri.as_deref().unwrap_or(TOKEN_URL)).ok_or_else(|| malformed(TOKEN_PLACE))?
        } else {
            Login::SelfSigned
        };
        let signer = PrivateKey::from_pem(pem.expose(), None).and_then(|key| key.unlock());
        let signer = signer.map_err(|unusable| match unusable {
            // No key of the Secret could hold its passphrase.
            Unusable::NoPassphrase => malformed(ENCRYPTED),
            _ => unusable.failure(name, about),
        })?;
        Ok(Self { email, id: private_key_id, signer, login })
    }
}

impl Place<'_> {
    /// The exchange at `url`; `None` where no token may be asked for there: only hosts of Google's and of the spec's own are told
    /// who we are.
    fn exchange(&self, url: &str) -> Option<Login> {
        let given = HttpUrl(url.to_owned());
        if url.len() > NAME_LIMIT || !given.is_valid() {
            return None;
        }
        let target = |url: &str| Target::of(&url.parse::<Uri>().ok()?);
        let own = self.endpoint.and_then(target);
        let url = given.complete(self.namespace);
        let target = target(&url)?;
        let google = |host: &&str| *host == target.endpoint.host && target.endpoint.port == 443;
        let known = TOKEN_HOSTS.iter().any(google) || own.as_ref() == Some(&target);
        (known && target.scheme == Scheme::Https).then_some(Login::Exchange { url, audience: given.0 })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_LIMIT && text.bytes().all(|byte| byte.is_ascii_graphic())
}

const NO_KEY: &str =
    "it must be the JSON key of a service account, as `gcloud iam service-accounts keys create` writes it";
const ANOTHER_TYPE: &str = "its `type` must be service_account; other keys, such as external_account, name files and URLs to read, and are refused";
const LACKING: &str = "it must hold client_email and private_key";
const NAMES: &str =
    "its client_email and private_key_id must be printable ASCII of at most 512 characters, without a space";
const ANOTHER_UNIVERSE: &str =
    "its universe_domain, googleapis.com where absent, must be that of spec.googleStorage.universeDomain";
const TOKEN_PLACE: &str = "its token_uri must be https, and at oauth2.googleapis.com, accounts.google.com or the host and port of spec.googleStorage.endpoint";
const ENCRYPTED: &str = "its private_key must not be encrypted";

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::{Value, json};

    use super::*;
    use crate::failure::Reason;

    /// A key with `changes`; null takes a field away.
    fn document(changes: &Value) -> Value {
        static PEM: LazyLock<String> =
            LazyLock::new(|| rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem());
        let mut document = json!({
            "type": "service_account", "project_id": "shop", "private_key_id": "6c68d31a", "private_key": *PEM,
            "client_email": "reader@shop.iam.gserviceaccount.com", "token_uri": TOKEN_URL,
            "universe_domain": "googleapis.com",
        });
        json_patch::merge(&mut document, changes);
        document
    }

    fn read_in(document: &str, universe: &str) -> Result<ServiceAccount, Failure> {
        let place = Place { namespace: "shop", endpoint: Some("https://storage.shop.svc:4443/base"), universe };
        let text = SecretValue::new(document.as_bytes().to_vec());
        ServiceAccount::read(&text, place, "credentials.json", &Setting::from_spec("Secret orders"))
    }

    /// The advice for a document that is of no use, in which nothing of it shows.
    fn refused(document: &str) -> String {
        let Err(failure) = read_in(document, UNIVERSE) else { panic!("{document} was taken") };
        let message = failure.message();
        assert_eq!(failure.reason(), Reason::CredentialsMalformed);
        assert!(message.contains("Secret orders") && message.contains("(credentials.json)"), "{message}");
        assert!(!format!("{failure:?} {message}").contains("hunter2"), "{message}");
        message
    }

    #[test]
    fn a_key_says_whose_it_is_and_where_a_token_is_had() {
        let account = read_in(&document(&json!({})).to_string(), UNIVERSE).unwrap();
        assert_eq!(account.email, "reader@shop.iam.gserviceaccount.com");
        assert_eq!(account.id.as_deref(), Some("6c68d31a"));
        let exchange = |url: &str| Login::Exchange { url: url.to_owned(), audience: url.to_owned() };
        assert_eq!(account.login, exchange(TOKEN_URL));
        // What may be absent.
        let least = document(&json!({"token_uri": null, "universe_domain": null, "private_key_id": null}));
        let account = read_in(&least.to_string(), UNIVERSE).unwrap();
        assert_eq!((account.id, account.login), (None, exchange(TOKEN_URL)));
    }

    #[test]
    fn only_a_key_of_a_service_account_is_one() {
        for (text, advice) in [
            ("", NO_KEY),
            ("hunter2", NO_KEY),
            ("[]", NO_KEY),
            ("{}", NO_KEY),
            (&"[".repeat(60_000), NO_KEY),
            (&document(&json!({"type": 7})).to_string(), NO_KEY),
            (&document(&json!({"client_email": ["hunter2"]})).to_string(), NO_KEY),
            (r#"{"type": "service_account", "type": "hunter2"}"#, NO_KEY),
            (r#"{"type": "external_account", "credential_source": {"file": "/hunter2"}}"#, ANOTHER_TYPE),
            (&document(&json!({"type": "authorized_user"})).to_string(), ANOTHER_TYPE),
            (&document(&json!({"client_email": null})).to_string(), LACKING),
            (&document(&json!({"private_key": null})).to_string(), LACKING),
            (&document(&json!({"client_email": ""})).to_string(), NAMES),
            (&document(&json!({"client_email": "hunter2 hunter2"})).to_string(), NAMES),
            (&document(&json!({"private_key_id": "hunter2\n"})).to_string(), NAMES),
            (&document(&json!({"private_key_id": "x".repeat(513)})).to_string(), NAMES),
            (&document(&json!({"universe_domain": "hunter2.example"})).to_string(), ANOTHER_UNIVERSE),
            (&document(&json!({"private_key": "hunter2"})).to_string(), "it must be a private key in PEM"),
            (
                &document(&json!({"private_key": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"}))
                    .to_string(),
                ENCRYPTED,
            ),
        ] {
            let message = refused(text);
            assert!(message.contains(advice), "{text}: {message}");
        }
    }

    #[test]
    fn a_token_is_asked_for_at_a_host_of_googles_or_of_the_spec_only() {
        for (url, dialled) in [
            ("https://oauth2.googleapis.com/token", "https://oauth2.googleapis.com/token"),
            ("https://accounts.google.com/o/oauth2/token", "https://accounts.google.com/o/oauth2/token"),
            ("https://oauth2.googleapis.com:443/token", "https://oauth2.googleapis.com:443/token"),
            ("https://storage.shop.svc:4443/token", "https://storage.shop.svc:4443/token"),
            // As in the spec, a name without a dot is one of the namespace.
            ("https://storage:4443/token", "https://storage.shop.svc:4443/token"),
        ] {
            let account = read_in(&document(&json!({"token_uri": url})).to_string(), UNIVERSE).unwrap();
            assert_eq!(account.login, Login::Exchange { url: dialled.to_owned(), audience: url.to_owned() });
        }
        for url in [
            "",
            "hunter2",
            "https://hunter2.example/token",
            "http://oauth2.googleapis.com/token",
            "https://oauth2.googleapis.com:8443/token",
            "https://oauth2.googleapis.com.hunter2.example/token",
            "https://hunter2@oauth2.googleapis.com/token",
            "https://oauth2.googleapis.com/token?hunter2",
            "https://storage.shop.svc/token",
            "https://storage.shop.svc:4444/token",
            "http://storage.shop.svc:4443/token",
            "https://169.254.169.254/token",
            &format!("https://oauth2.googleapis.com/{}", "x".repeat(500)),
        ] {
            let message = refused(&document(&json!({"token_uri": url})).to_string());
            assert!(message.contains(TOKEN_PLACE), "{url}: {message}");
        }
    }

    #[test]
    fn in_another_universe_nothing_is_exchanged_whatever_the_key_names() {
        let theirs = document(&json!({"universe_domain": "s3nsapis.fr", "token_uri": "https://hunter2.example"}));
        assert_eq!(read_in(&theirs.to_string(), "s3nsapis.fr").unwrap().login, Login::SelfSigned);
        let ours = document(&json!({"universe_domain": null})).to_string();
        assert!(read_in(&ours, "s3nsapis.fr").is_err());
    }
}

//! Google Cloud Storage: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::{Login, Look, Place, ServiceAccount, UNIVERSE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    fields::{CREDENTIALS_NEEDED, HttpUrl},
    text,
};
use crate::{
    net::tls::Tls,
    secret::{Credentials, Digest, Key, Method},
};

/// What is the same for every connection to Google Cloud Storage.
pub const ABOUT: About = About {
    keys: &[Key { name: KEY, aliases: &["key.json", "sa.json", "service-account.json", "GOOGLE_CREDENTIALS"] }],
    interval: Duration::from_mins(5),
    lockout: Lockout::Impossible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "stand-in: an API that verifies what it is sent",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.googleStorage) || has(self.credentials)", CREDENTIALS_NEEDED),
    (
        "!has(self.googleStorage) || !has(self.googleStorage.endpoint) \
         || self.googleStorage.endpoint.startsWith('https://')",
        SCHEME,
    ),
    (
        "!has(self.googleStorage) || !has(self.tls) || !has(self.tls.mode) || self.tls.mode == 'VerifyFull' \
         || (self.tls.mode == 'VerifyCA' && has(self.tls.ca))",
        VERIFIED,
    ),
];

/// What a connection to Google Cloud Storage is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Project that the bucket is in. It describes only: no two projects have a bucket of the same name.
    #[serde(rename = "projectID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), regex(pattern = "^[a-z0-9][a-z0-9.:-]{0,98}[a-z0-9]$"))]
    pub project_id: Option<String>,
    /// Project that is billed for the requests of a probe, by its id or its number. A bucket whose requesters pay needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), regex(pattern = "^[a-z0-9][a-z0-9.:-]{0,98}[a-z0-9]$"))]
    pub user_project: Option<String>,
    /// Bucket.
    #[schemars(length(max = 222), regex(pattern = "^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$"))]
    pub bucket: String,
    /// What the names of the objects that matter begin with. Rights that the bucket does not grant are looked for below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub prefix: Option<String>,
    /// URL of the API, with `https`, for Private Service Connect and the like. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`. Absent: `https://storage.UNIVERSE_DOMAIN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// Universe that the bucket is in, where it is not Google's own. The Secret's key must be of the same. Absent: `googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), regex(pattern = "^[a-z0-9-]{1,63}([.][a-z0-9-]{1,63})+$"))]
    pub universe_domain: Option<String>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let prefix = self.prefix.as_ref().map(|prefix| {
            let parts: Vec<String> = prefix.split('/').map(text::encode).collect();
            format!("/{}", parts.join("/"))
        });
        let endpoint = self.endpoint.as_ref().map(|endpoint| format!("?endpoint={}", endpoint.authority()));
        let bucket = text::encode(&self.bucket);
        text::cut(&format!("gs://{bucket}{}{}", prefix.unwrap_or_default(), endpoint.unwrap_or_default()))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        vec![Method { name: "service account", required: vec![KEY], optional: Vec::new() }]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&tls)?;
        let universe = self.universe_domain.as_deref().unwrap_or(UNIVERSE);
        let endpoint = self.endpoint.as_ref().map(|endpoint| endpoint.complete(&namespace));
        let place = Place { namespace: &namespace, endpoint: endpoint.as_deref(), universe };
        let key = credentials.take_text(KEY, &secret)?.ok_or_else(|| Credentials::missing(KEY, &secret))?;
        let account = ServiceAccount::read(&key, place, KEY, &secret)?;
        let api = endpoint.unwrap_or_else(|| format!("https://storage.{universe}"));
        let login = match &account.login {
            Login::Exchange { url, .. } => url.as_str(),
            Login::SelfSigned => "",
        };
        let fingerprint = Digest::of([api.as_bytes(), login.as_bytes(), account.email.as_bytes()]);
        let probe = Look {
            url: format!("{}/storage/v1/b/{}", api.trim_end_matches('/'), text::encode(&self.bucket)),
            tls,
            account,
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            payer: self.user_project.clone(),
            permissions,
        };
        Ok(Prepared { probe: Box::new(probe), account: fingerprint, lockout: None })
    }
}

impl Settings {
    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, tls: &Tls) -> Result<(), Refusal> {
        let Self { project_id, user_project, bucket, prefix, endpoint, universe_domain } = self;
        let invalid = |sentence: String| Err(Refusal::Invalid(sentence));
        // The first and the last character are a letter or a digit, and those between may be some others, too.
        let is_name = |text: &str, others: &str, longest: usize| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            text.len() <= longest
                && text.starts_with(plain)
                && text.ends_with(plain)
                && text.chars().all(|c| plain(c) || others.contains(c))
        };
        if bucket.len() < 3 || !is_name(bucket, "._-", 222) {
            return invalid("`googleStorage.bucket` must be the name of a bucket".to_owned());
        }
        for (name, project) in [("projectID", project_id), ("userProject", user_project)] {
            if project.as_ref().is_some_and(|project| !is_name(project, ".:-", 100)) {
                return invalid(format!("`googleStorage.{name}` must be the id or the number of a project"));
            }
        }
        if prefix.as_ref().is_some_and(|prefix| prefix.is_empty() || prefix.contains(char::is_control)) {
            return invalid("`googleStorage.prefix` must not be empty and not contain a control character".to_owned());
        }
        if universe_domain.as_ref().is_some_and(|domain| !domain.contains('.') || !is_name(domain, ".-", 200)) {
            return invalid("`googleStorage.universeDomain` must be a domain such as googleapis.com".to_owned());
        }
        if endpoint.as_ref().is_some_and(|endpoint| !endpoint.is_valid()) {
            return invalid(format!("`googleStorage.endpoint` {}", HttpUrl::RULE));
        }
        if endpoint.as_ref().is_some_and(HttpUrl::is_plain) {
            return invalid(SCHEME.to_owned());
        }
        if !tls.peer_is_verified() {
            return invalid(VERIFIED.to_owned());
        }
        Ok(())
    }
}

const KEY: &str = "credentials.json";

const SCHEME: &str = "`googleStorage.endpoint` must begin with `https://`: a token is sent there";
const VERIFIED: &str = "`tls.mode` must be VerifyFull for GoogleStorage, or VerifyCA with `tls.ca`: tokens are sent to a verified server only";

const MINIMAL: &str = r#"apiVersion: v1
kind: Secret
metadata:
  name: orders-lake
stringData:
  credentials.json: |
    {
      "type": "service_account",
      "project_id": "shop-prod",
      "private_key_id": "6c68d31a00c01a6150f5dd4a941440ef8ef677bf",
      "private_key": "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n",
      "client_email": "orders-reader@shop-prod.iam.gserviceaccount.com",
      "token_uri": "https://oauth2.googleapis.com/token",
      "universe_domain": "googleapis.com"
    }
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-lake
spec:
  type: GoogleStorage
  googleStorage:
    bucket: orders-lake
  credentials:
    secretRef:
      name: orders-lake
"#;

const FULL: &str = r#"apiVersion: v1
kind: Secret
metadata:
  name: orders-lake
stringData:
  GOOGLE_CREDENTIALS: |
    {
      "type": "service_account",
      "project_id": "shop-prod",
      "private_key_id": "6c68d31a00c01a6150f5dd4a941440ef8ef677bf",
      "private_key": "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n",
      "client_email": "orders-reader@shop-prod.iam.gserviceaccount.com",
      "token_uri": "https://oauth2.googleapis.com/token",
      "universe_domain": "googleapis.com"
    }
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-lake
spec:
  type: GoogleStorage
  description: Raw orders, one folder a year
  googleStorage:
    projectID: shop-prod
    userProject: shop-billing
    bucket: orders-lake
    prefix: 2026/
    endpoint: https://storage-shop.p.googleapis.com
    universeDomain: googleapis.com
  credentials:
    secretRef:
      name: orders-lake
    keys:
      credentials.json: GOOGLE_CREDENTIALS
  tls:
    mode: VerifyFull
  permissions: [List, Read]
  probe:
    interval: 5m
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
"#;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::LazyLock};

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        failure::{Reason, Setting},
        net::tls::{Mode, Roots},
        secret::SecretValue,
    };

    fn settings(extra: &Value) -> Settings {
        let mut all = json!({"bucket": "orders-lake"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn key(email: &str, changes: &Value) -> String {
        static PEM: LazyLock<String> =
            LazyLock::new(|| rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem());
        let mut key = json!({"type": "service_account", "client_email": email, "private_key": *PEM});
        json_patch::merge(&mut key, changes);
        key.to_string()
    }

    fn prepare(settings: &Settings, key: &str, tls: Tls) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret orders-lake");
        let data = BTreeMap::from([("key.json".to_owned(), SecretValue::new(key.as_bytes().to_vec()))]);
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret)?;
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions: Vec::new() })
    }

    fn refused(extra: &Value, tls: Tls) -> String {
        match prepare(&settings(extra), &key("reader@shop", &json!({})), tls) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_is_encoded_and_cut_and_names_another_endpoint() {
        let string = |extra: Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "gs://orders-lake");
        assert_eq!(string(json!({"prefix": "2026/a b/"})), "gs://orders-lake/2026/a%20b/");
        let elsewhere = json!({"endpoint": "https://storage:4443/base", "prefix": "x"});
        assert_eq!(string(elsewhere), "gs://orders-lake/x?endpoint=storage:4443");
        assert_eq!(string(json!({"prefix": "ü".repeat(200)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn another_service_account_or_place_is_another_account() {
        let account = |extra: Value, email, changes: Value| {
            prepare(&settings(&extra), &key(email, &changes), Tls::default()).unwrap().account
        };
        let base = account(json!({}), "reader@shop", json!({}));
        assert_eq!(account(json!({"bucket": "another", "prefix": "x"}), "reader@shop", json!({})), base);
        let old = json!({"token_uri": "https://accounts.google.com/o/oauth2/token"});
        let universe = json!({"universeDomain": "s3nsapis.fr"});
        for other in [
            account(json!({}), "writer@shop", json!({})),
            account(json!({"endpoint": "https://storage.example.com"}), "reader@shop", json!({})),
            account(json!({}), "reader@shop", old),
            account(universe, "reader@shop", json!({"universe_domain": "s3nsapis.fr"})),
        ] {
            assert_ne!(other, base);
        }
    }

    #[test]
    fn a_token_goes_to_a_verified_server_only() {
        let own = || {
            Roots::from_pem(rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem().as_bytes())
                .unwrap()
        };
        for (mode, roots, verified) in [
            (Mode::Disable, Roots::System, false),
            (Mode::Require, own(), false),
            (Mode::VerifyCa, Roots::System, false),
            (Mode::VerifyCa, own(), true),
            (Mode::VerifyFull, Roots::System, true),
        ] {
            let tls = Tls { mode, roots, ..Tls::default() };
            if verified {
                assert!(prepare(&settings(&json!({})), &key("reader@shop", &json!({})), tls).is_ok(), "{mode:?}");
            } else {
                assert_eq!(refused(&json!({}), tls), VERIFIED, "{mode:?}");
            }
        }
        assert_eq!(refused(&json!({"endpoint": "http://storage:4443"}), Tls::default()), SCHEME);
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        for (extra, word) in [
            (json!({"bucket": "ab"}), "bucket"),
            (json!({"bucket": "a/b"}), "bucket"),
            (json!({"bucket": "Orders"}), "bucket"),
            (json!({"bucket": "-orders"}), "bucket"),
            (json!({"bucket": "x".repeat(223)}), "bucket"),
            (json!({"prefix": ""}), "prefix"),
            (json!({"prefix": "a\nb"}), "prefix"),
            (json!({"projectID": "a b"}), "projectID"),
            (json!({"userProject": "shop&alt=media"}), "userProject"),
            (json!({"userProject": ""}), "userProject"),
            (json!({"endpoint": "https://user@storage"}), "endpoint"),
            (json!({"universeDomain": "localhost"}), "universeDomain"),
            (json!({"universeDomain": "evil.example/x"}), "universeDomain"),
        ] {
            let sentence = refused(&extra, Tls::default());
            assert!(sentence.contains(word), "{extra}: {sentence}");
        }
        let all = json!({
            "projectID": "example.com:shop", "userProject": "123456789012", "prefix": "a b/", "bucket": "a.b_c-1",
            "endpoint": "https://storage:4443", "universeDomain": "googleapis.com",
        });
        assert!(prepare(&settings(&all), &key("reader@shop", &json!({})), Tls::default()).is_ok());
    }

    #[test]
    fn a_key_that_cannot_be_used_is_malformed_and_not_shown() {
        for text in ["hunter2", "hunter2\0", &key("hunter2 hunter2", &json!({}))] {
            let Err(Refusal::Unusable(failure)) = prepare(&settings(&json!({})), text, Tls::default()) else {
                panic!("{text} was taken")
            };
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!format!("{failure:?} {}", failure.message()).contains("hunter2"), "{}", failure.message());
        }
    }
}

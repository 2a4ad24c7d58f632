//! Qubole: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::Look;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Prepared, Refusal,
    fields::{CREDENTIALS_NEEDED, HttpUrl},
    text,
};
use crate::{
    net::tls::Tls,
    secret::{Credentials, Digest, Key, Method},
};

/// What is the same for every connection to Qubole.
pub const ABOUT: About = About {
    keys: &[Key::plain(API_TOKEN)],
    interval: Duration::from_mins(5),
    lockout: Lockout::Possible,
    permissions: &[],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "stand-in: an API that verifies what it is sent",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.qubole) || has(self.credentials)", CREDENTIALS_NEEDED),
    ("!has(self.qubole) || !has(self.qubole.endpoint) || self.qubole.endpoint.startsWith('https://')", SCHEME),
    ("!has(self.qubole) || !has(self.qubole.endpoint) || !self.qubole.endpoint.matches('[^/]/api(/.*)?$')", NO_PATH),
    (
        "!has(self.qubole) || !has(self.tls) || !has(self.tls.mode) || self.tls.mode == 'VerifyFull' \
         || (self.tls.mode == 'VerifyCA' && has(self.tls.ca))",
        VERIFIED,
    ),
];

/// What a connection to Qubole is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// URL of the account's environment, with `https`, up to where `/api` begins. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`. Absent: `https://api.qubole.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// Label, or id, of the cluster that runs queries of Presto. It must exist; it need not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"))]
    pub presto_cluster_label: Option<String>,
    /// Label, or id, of the cluster that runs queries of Hive. It must exist; it need not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"))]
    pub hive_cluster_label: Option<String>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let url = self.endpoint.as_ref().map_or(ENDPOINT, |endpoint| endpoint.0.trim_end_matches('/'));
        let encoded = |label: &Option<String>| label.as_deref().map(text::encode);
        let labels = [("presto", encoded(&self.presto_cluster_label)), ("hive", encoded(&self.hive_cluster_label))];
        text::cut(&format!("{url}{}", text::query(labels)))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        vec![Method { name: "API token", required: vec![API_TOKEN], optional: Vec::new() }]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        // The type has no permission that could be asked for.
        let Given { namespace, mut credentials, secret, tls, permissions: _ } = given;
        self.check(&tls)?;
        let token = credentials.take_printable(API_TOKEN, &secret)?;
        let token = token.ok_or_else(|| Credentials::missing(API_TOKEN, &secret))?;
        let url = self.endpoint.as_ref().map_or_else(|| ENDPOINT.to_owned(), |url| url.complete(&namespace));
        let url = url.trim_end_matches('/');
        // Whose it is stands in the token.
        let account = Digest::of([HttpUrl(url.to_owned()).place().as_bytes(), token.expose()]);
        let probe = Look {
            url: format!("{url}{}", probe::PATH),
            own_host: self.endpoint.is_none(),
            tls,
            token,
            labels: self.labels(),
        };
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Settings {
    /// The clusters that must be there, each once.
    fn labels(&self) -> Vec<String> {
        let mut labels: Vec<String> =
            self.presto_cluster_label.iter().chain(&self.hive_cluster_label).cloned().collect();
        labels.dedup();
        labels
    }

    /// What the schema refuses too, for objects that were stored under an older one.
    fn check(&self, tls: &Tls) -> Result<(), Refusal> {
        let Self { endpoint, presto_cluster_label, hive_cluster_label } = self;
        let invalid = |sentence: String| Err(Refusal::Invalid(sentence));
        for (name, label) in [("prestoClusterLabel", presto_cluster_label), ("hiveClusterLabel", hive_cluster_label)] {
            if label.as_ref().is_some_and(|label| !is_label(label)) {
                return invalid(format!(
                    "`qubole.{name}` must be of letters, digits, `_`, `.` and `-`, and begin with none of the last two"
                ));
            }
        }
        if let Some(endpoint) = endpoint {
            if !endpoint.is_valid() {
                return invalid(format!("`qubole.endpoint` {}", HttpUrl::RULE));
            }
            if endpoint.is_plain() {
                return invalid(SCHEME.to_owned());
            }
            let path = endpoint.parts().path;
            if path.ends_with("/api") || path.contains("/api/") {
                return invalid(NO_PATH.to_owned());
            }
        }
        if !tls.peer_is_verified() {
            return invalid(VERIFIED.to_owned());
        }
        Ok(())
    }
}

/// As the pattern of the schema says it: nothing that has a meaning in a path.
fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(plain) && text.chars().all(|c| plain(c) || c == '.' || c == '-')
}

const API_TOKEN: &str = "apiToken";

/// The environment that Qubole's documentation calls the default one.
const ENDPOINT: &str = "https://api.qubole.com";

const SCHEME: &str = "`qubole.endpoint` must begin with `https://`: a token is sent there";
const NO_PATH: &str = "`qubole.endpoint` must end before `/api`, which is added to it";
const VERIFIED: &str =
    "`tls.mode` must be VerifyFull for Qubole, or VerifyCA with `tls.ca`: tokens are sent to a verified server only";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-queries
stringData:
  apiToken: change-me
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-queries
spec:
  type: Qubole
  qubole:
    prestoClusterLabel: orders-presto
  credentials:
    secretRef:
      name: orders-queries
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-queries
stringData:
  QDS_API_TOKEN: change-me
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: company-ca
data:
  ca.crt: |
    -----BEGIN CERTIFICATE-----
    …
    -----END CERTIFICATE-----
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-queries
spec:
  type: Qubole
  description: Clusters that the reports query
  qubole:
    endpoint: https://us.qubole.com
    prestoClusterLabel: orders-presto
    hiveClusterLabel: orders-hive
  credentials:
    secretRef:
      name: orders-queries
    keys:
      apiToken: QDS_API_TOKEN
  tls:
    mode: VerifyFull
    ca:
      configMapRef:
        name: company-ca
        key: ca.crt
  probe:
    interval: 5m
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        failure::{Reason, Setting},
        net::tls::{Mode, Roots},
        secret::SecretValue,
    };

    fn settings(all: &Value) -> Settings {
        serde_json::from_value(all.clone()).unwrap()
    }

    fn prepare(all: &Value, token: &str, tls: Tls) -> Result<Prepared, Refusal> {
        let (settings, secret) = (settings(all), Setting::from_spec("Secret orders"));
        let data = BTreeMap::from([("apiToken".to_owned(), SecretValue::new(token.as_bytes().to_vec()))]);
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret)?;
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions: Vec::new() })
    }

    fn refused(all: &Value, tls: Tls) -> String {
        match prepare(all, "ksbdvcwdkjn123423", tls) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{all}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_names_the_environment_and_the_clusters_and_is_cut() {
        let string = |all: Value| settings(&all).connection_string();
        assert_eq!(string(json!({})), "https://api.qubole.com");
        assert_eq!(string(json!({"hiveClusterLabel": "h"})), "https://api.qubole.com?hive=h");
        let both =
            json!({"prestoClusterLabel": "p.1", "hiveClusterLabel": "a b/ü", "endpoint": "https://[fd00::1]:8443/"});
        assert_eq!(string(both), "https://[fd00::1]:8443?presto=p.1&hive=a%20b%2F%C3%BC");
        let long = json!({"prestoClusterLabel": "x".repeat(128), "hiveClusterLabel": "y".repeat(128)});
        assert_eq!(string(long).chars().count(), text::LIMIT);
    }

    #[test]
    fn a_cluster_that_is_named_twice_is_looked_at_once() {
        let labels = |all: Value| settings(&all).labels();
        assert_eq!(labels(json!({})), [""; 0]);
        assert_eq!(labels(json!({"prestoClusterLabel": "a", "hiveClusterLabel": "b"})), ["a", "b"]);
        assert_eq!(labels(json!({"prestoClusterLabel": "a", "hiveClusterLabel": "a"})), ["a"]);
    }

    #[test]
    fn another_environment_or_token_is_another_account() {
        let account = |all: Value, token: &str| prepare(&all, token, Tls::default()).unwrap().account;
        let base = account(json!({}), "hunter2");
        assert_eq!(account(json!({"prestoClusterLabel": "p"}), "hunter2"), base);
        assert_eq!(account(json!({"endpoint": "https://api.qubole.com/"}), "hunter2"), base);
        assert_eq!(account(json!({"endpoint": "https://API.qubole.com:443"}), "hunter2"), base);
        assert_ne!(account(json!({}), "hunter3"), base);
        assert_ne!(account(json!({"endpoint": "https://us.qubole.com"}), "hunter2"), base);
    }

    #[test]
    fn a_token_goes_to_a_verified_server_only() {
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
        let own = || Roots::from_pem(ca.as_bytes()).unwrap();
        for (mode, roots, verified) in [
            (Mode::Disable, Roots::System, false),
            (Mode::Require, own(), false),
            (Mode::VerifyCa, Roots::System, false),
            (Mode::VerifyCa, own(), true),
            (Mode::VerifyFull, Roots::System, true),
        ] {
            let tls = Tls { mode, roots, ..Tls::default() };
            if verified {
                assert!(prepare(&json!({}), "hunter2", tls).is_ok(), "{mode:?}");
            } else {
                assert_eq!(refused(&json!({}), tls), VERIFIED, "{mode:?}");
            }
        }
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        for (all, word) in [
            (json!({"prestoClusterLabel": ""}), "prestoClusterLabel"),
            (json!({"prestoClusterLabel": ".."}), "prestoClusterLabel"),
            (json!({"prestoClusterLabel": "a/../../accounts"}), "prestoClusterLabel"),
            (json!({"hiveClusterLabel": "a b"}), "hiveClusterLabel"),
            (json!({"hiveClusterLabel": "a%2Fb"}), "hiveClusterLabel"),
            (json!({"hiveClusterLabel": "a\n"}), "hiveClusterLabel"),
            (json!({"hiveClusterLabel": "x".repeat(129)}), "hiveClusterLabel"),
            (json!({"endpoint": "https://user@qubole"}), "`qubole.endpoint` must be a URL"),
            (json!({"endpoint": "http://qubole:8443"}), SCHEME),
            (json!({"endpoint": "https://us.qubole.com/api"}), NO_PATH),
            (json!({"endpoint": "https://us.qubole.com/api/"}), NO_PATH),
            (json!({"endpoint": "https://us.qubole.com/api/v2"}), NO_PATH),
        ] {
            let sentence = refused(&all, Tls::default());
            assert!(sentence.contains(word), "{all}: {sentence}");
        }
        let all = json!({
            "prestoClusterLabel": "1710", "hiveClusterLabel": "a_b-c.D", "endpoint": "https://api.qubole:8443/apis",
        });
        assert!(prepare(&all, "hunter2", Tls::default()).is_ok());
        // A host may be called so.
        assert!(prepare(&json!({"endpoint": "https://api"}), "hunter2", Tls::default()).is_ok());
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_malformed_and_not_shown() {
        for token in ["hunter2 hunter2", "hunter2\n", "hunter2\0", "hünter2"] {
            let Err(Refusal::Unusable(failure)) = prepare(&json!({}), token, Tls::default()) else {
                panic!("{token:?} was taken")
            };
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!format!("{failure:?} {}", failure.message()).contains("nter2"), "{}", failure.message());
        }
    }
}

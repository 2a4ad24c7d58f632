//! Azure Blob Storage: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::{
    Look,
    login::{ACCOUNT_KEY, CONNECTION_STRING, Login, Place, SAS_TOKEN},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    family::azure::{self, Cloud},
    fields::HttpUrl,
    text,
};
use crate::{
    net::tls::{Mode, Tls},
    secret::{Digest, Key, Method},
};

/// What is the same for every connection to Azure Blob Storage.
pub const ABOUT: About = About {
    keys: &[
        Key {
            name: ACCOUNT_KEY,
            aliases: &["azurestorageaccountkey", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"],
        },
        Key { name: SAS_TOKEN, aliases: &["azurestorageaccountsastoken", "AZURE_STORAGE_SAS_TOKEN"] },
        azure::KEYS[0],
        azure::KEYS[1],
        azure::KEYS[2],
        Key { name: CONNECTION_STRING, aliases: &["AZURE_STORAGE_CONNECTION_STRING"] },
    ],
    interval: Duration::from_mins(5),
    // Not with a key or a SAS; nobody promises it of a service principal.
    lockout: Lockout::Possible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "emulator: Azurite, Microsoft's own, for keys and SAS; stand-in: an API that verifies, for \
        service principals and Azure's own codes",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.azureBlob) || has(self.credentials)", CREDENTIALS),
    (
        "!has(self.azureBlob) || (has(self.azureBlob.endpoint) && self.azureBlob.endpoint.startsWith('http://')) \
         == (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        SCHEME,
    ),
    (
        "!has(self.azureBlob) || self.azureBlob.container != '$root' || !has(self.azureBlob.prefix) \
         || !self.azureBlob.prefix.contains('/')",
        NO_FOLDERS,
    ),
];

/// What a connection to Azure Blob Storage is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Storage account.
    #[schemars(length(max = 24), regex(pattern = "^[a-z0-9]{3,24}$"))]
    pub account: String,
    /// Container; or `$root`, `$web` or `$logs`.
    #[schemars(length(min = 3, max = 63), regex(pattern = "^([a-z0-9](-?[a-z0-9])+|[$](root|web|logs))$"))]
    pub container: String,
    /// What the names of the blobs that matter begin with. Rights are proven below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub prefix: Option<String>,
    /// Cloud of Microsoft that the account is in: `Public`, `USGovernment` or `China`. Absent: `Public`. It says where the
    /// account's host is, and which directory knows a service principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    /// URL of the account's blob service where that is not `https://ACCOUNT.blob.core.windows.net`: an emulator, or another name
    /// of the account. It is what connection strings call `BlobEndpoint`, with the account in its path where the service wants
    /// that. A host without a dot means `HOST.<namespace of the Connection>.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let service = self.endpoint.as_ref().map_or_else(|| self.vendors_url(), |endpoint| endpoint.0.clone());
        let prefix = self.prefix.as_deref().map(|prefix| format!("/{}", probe::path(prefix)));
        text::cut(&format!(
            "{}/{}{}",
            service.trim_end_matches('/'),
            probe::path(&self.container),
            prefix.unwrap_or_default()
        ))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        let alone = |name, key| Method { name, required: vec![key], optional: Vec::new() };
        vec![
            alone("account key", ACCOUNT_KEY),
            alone("SAS", SAS_TOKEN),
            azure::method(),
            alone("connection string", CONNECTION_STRING),
        ]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&tls)?;
        let vendors_url = self.vendors_url();
        let endpoint = self.endpoint.as_ref().map(|endpoint| endpoint.complete(&namespace));
        let place = Place {
            account: &self.account,
            cloud: self.cloud.unwrap_or_default(),
            urls: std::iter::once(&vendors_url).chain(&endpoint).map(String::as_str).collect(),
            namespace: &namespace,
        };
        let login = Login::take(&mut credentials, &secret, &place)?;
        let url = endpoint.as_deref().unwrap_or(&vendors_url).trim_end_matches('/').to_owned();
        // A SAS may be about one container, and is rejected by others.
        let container = if login.is_sas() { self.container.as_bytes() } else { &[] };
        let place = [url.as_bytes(), self.account.as_bytes(), container];
        let account = Digest::of(place.into_iter().chain(login.who()));
        let lockout = login.cannot_lock().then_some(Lockout::Impossible);
        let probe = Look {
            account: self.account.clone(),
            container: self.container.clone(),
            prefix: self.prefix.clone().unwrap_or_default(),
            is_vendors: self.endpoint.is_none(),
            url,
            login,
            tls,
            permissions,
        };
        Ok(Prepared { probe: Box::new(probe), account, lockout })
    }
}

impl Settings {
    /// Where the account is if nobody says otherwise ("Storage account endpoints", and the guides to Azure Government and Azure
    /// China).
    fn vendors_url(&self) -> String {
        let suffix = match self.cloud.unwrap_or_default() {
            Cloud::Public => "core.windows.net",
            Cloud::USGovernment => "core.usgovcloudapi.net",
            Cloud::China => "core.chinacloudapi.cn",
        };
        format!("https://{}.blob.{suffix}", self.account)
    }

    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, tls: &Tls) -> Result<(), Refusal> {
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        let Self { account, container, prefix, cloud: _, endpoint } = self;
        let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(3..=24).contains(&account.len()) || !account.chars().all(of_a_name) {
            return invalid("`azureBlob.account` must be the name of a storage account");
        }
        let between_hyphens = |part: &str| !part.is_empty() && part.chars().all(of_a_name);
        let is_a_name = (3..=63).contains(&container.len()) && container.split('-').all(between_hyphens);
        if !is_a_name && !["$root", "$web", "$logs"].contains(&container.as_str()) {
            return invalid("`azureBlob.container` must be the name of a container");
        }
        if prefix.as_ref().is_some_and(|prefix| prefix.is_empty() || prefix.contains(char::is_control)) {
            return invalid("`azureBlob.prefix` must not be empty and not contain a control character");
        }
        if container == probe::ROOT && prefix.as_ref().is_some_and(|prefix| prefix.contains('/')) {
            return invalid(NO_FOLDERS);
        }
        // In a URL they mean something else.
        if prefix.iter().flat_map(|prefix| prefix.split(['/', '\\'])).any(|part| part == "." || part == "..") {
            return invalid("`azureBlob.prefix` must not have `.` or `..` between its slashes");
        }
        if endpoint.as_ref().is_some_and(|url| !url.is_valid()) {
            return Err(Refusal::Invalid(format!("`azureBlob.endpoint` {}", HttpUrl::RULE)));
        }
        if endpoint.as_ref().is_some_and(HttpUrl::is_plain) != (tls.mode == Mode::Disable) {
            return invalid(SCHEME);
        }
        Ok(())
    }
}

/// As it is said where they are missing in an object that was stored under an older rule.
const CREDENTIALS: &str = "`credentials` must name a Secret that holds accountKey, or sasToken, \
    or tenantId and clientId and clientSecret, or connectionString";
const SCHEME: &str = "`azureBlob.endpoint` with `http://` and `tls.mode` Disable need each other";

const NO_FOLDERS: &str =
    "`azureBlob.prefix` must not hold a slash where `azureBlob.container` is $root: no blob there has one";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-archive
stringData:
  accountKey: ZXhhbXBsZS1rZXktb2YtYS1zdG9yYWdlLWFjY291bnQ=
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-archive
spec:
  type: AzureBlob
  azureBlob:
    account: ordersarchive
    container: orders
  credentials:
    secretRef:
      name: orders-archive
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-archive
stringData:
  AZURE_STORAGE_SAS_TOKEN: sv=2023-11-03&si=orders-reader&sr=c&sig=ZXhhbXBsZS1zaWduYXR1cmUtb2YtYS1zYXMtdG9rZW4%3D
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
  name: orders-archive
spec:
  type: AzureBlob
  description: Raw orders, one folder a year
  azureBlob:
    account: ordersarchive
    container: orders
    prefix: 2026/
    cloud: Public
    endpoint: https://blobs.example.com
  credentials:
    secretRef:
      name: orders-archive
    keys:
      sasToken: AZURE_STORAGE_SAS_TOKEN
  tls:
    mode: VerifyFull
    ca:
      configMapRef:
        name: company-ca
        key: ca.crt
  permissions: [List, Read]
  probe:
    interval: 5m
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        failure::Setting,
        secret::{Credentials, SecretValue},
    };

    const KEY: (&str, &str) = ("accountKey", "c2VjcmV0");
    const SAS: (&str, &str) = ("sasToken", "sv=2023-11-03&sr=c&sp=rl&se=2027-01-01&sig=x");

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"account": "ordersarchive", "container": "orders"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepare_with(settings: &Settings, data: &[(&str, &str)], mode: Mode) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret orders-archive");
        let tls = Tls { mode, ..Tls::default() };
        let data: BTreeMap<_, _> =
            data.iter().map(|(k, v)| ((*k).to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret).unwrap();
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions: Vec::new() })
    }

    fn refused(extra: &serde_json::Value, mode: Mode) -> String {
        match prepare_with(&settings(extra), &[KEY], mode) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_is_the_url_encoded_and_cut() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "https://ordersarchive.blob.core.windows.net/orders");
        assert_eq!(
            string(json!({"prefix": "2026/a b/"})),
            "https://ordersarchive.blob.core.windows.net/orders/2026/a%20b/"
        );
        assert_eq!(
            string(json!({"cloud": "USGovernment"})),
            "https://ordersarchive.blob.core.usgovcloudapi.net/orders"
        );
        assert_eq!(
            string(json!({"cloud": "China", "container": "$web"})),
            "https://ordersarchive.blob.core.chinacloudapi.cn/%24web"
        );
        assert_eq!(string(json!({"endpoint": "http://azurite:10000/one/"})), "http://azurite:10000/one/orders");
        assert_eq!(string(json!({"prefix": "ü".repeat(200)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn another_place_or_login_is_another_account() {
        let account = |extra: serde_json::Value, data: &[_]| {
            prepare_with(&settings(&extra), data, Mode::VerifyFull).unwrap().account
        };
        let principal = |client| [("tenantId", "a"), ("clientId", client), ("clientSecret", "x")];
        let base = account(json!({}), &[KEY]);
        assert_eq!(account(json!({"container": "events"}), &[KEY]), base);
        for other in [
            account(json!({"account": "another"}), &[KEY]),
            account(json!({"cloud": "China"}), &[KEY]),
            account(json!({"endpoint": "https://blobs.example.com"}), &[KEY]),
            account(json!({}), &[SAS]),
            account(json!({}), &principal("b")),
        ] {
            assert_ne!(other, base);
        }
        assert_ne!(account(json!({}), &principal("b")), account(json!({}), &principal("c")));
        // What one container rejects another may take.
        assert_ne!(account(json!({"container": "events"}), &[SAS]), account(json!({}), &[SAS]));
    }

    #[test]
    fn a_key_and_a_sas_cannot_be_locked() {
        let lockout = |data: &[_]| prepare_with(&settings(&json!({})), data, Mode::VerifyFull).unwrap().lockout;
        assert_eq!(lockout(&[KEY]), Some(Lockout::Impossible));
        assert_eq!(lockout(&[SAS]), Some(Lockout::Impossible));
        let string = [("connectionString", "AccountName=ordersarchive;AccountKey=c2VjcmV0")];
        assert_eq!(lockout(&string), Some(Lockout::Impossible));
        assert_eq!(lockout(&[("tenantId", "a"), ("clientId", "b"), ("clientSecret", "x")]), None);
    }

    #[test]
    fn nothing_goes_out_readable_unless_tls_is_disabled_by_name() {
        let plain = json!({"endpoint": "http://azurite:10000"});
        assert_eq!(refused(&plain, Mode::VerifyFull), SCHEME);
        assert_eq!(refused(&json!({"endpoint": "https://azurite:10000"}), Mode::Disable), SCHEME);
        assert_eq!(refused(&json!({}), Mode::Disable), SCHEME);
        assert!(prepare_with(&settings(&plain), &[KEY], Mode::Disable).is_ok());
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        let long = "x".repeat(64);
        for (extra, word) in [
            (json!({"account": "ab"}), "account"),
            (json!({"account": "a.example/"}), "account"),
            (json!({"account": "Orders"}), "account"),
            (json!({"account": &long[..25]}), "account"),
            (json!({"container": "ab"}), "container"),
            (json!({"container": "a--b"}), "container"),
            (json!({"container": "-ab"}), "container"),
            (json!({"container": "a/b?"}), "container"),
            (json!({"container": "$other"}), "container"),
            (json!({"container": long}), "container"),
            (json!({"prefix": ""}), "prefix"),
            (json!({"prefix": "a\nb"}), "prefix"),
            (json!({"prefix": "../other/"}), "prefix"),
            (json!({"prefix": "a\\..\\b"}), "prefix"),
            (json!({"endpoint": "https://blobs?sig=x"}), "endpoint"),
            (json!({"container": "$root", "prefix": "2026/"}), "$root"),
        ] {
            let sentence = refused(&extra, Mode::VerifyFull);
            assert!(sentence.contains(word), "{extra}: {sentence}");
        }
        for container in ["abc", "a-b-c", "$root", "$web", "$logs", &"x".repeat(63)] {
            assert!(prepare_with(&settings(&json!({"container": container})), &[KEY], Mode::VerifyFull).is_ok());
        }
    }

    #[test]
    fn what_is_missing_is_said_in_the_same_words_by_the_rule_and_without_it() {
        let methods = settings(&json!({})).methods(&Tls::default());
        let ways: Vec<_> = methods.iter().map(|method| method.required.join(" and ")).collect();
        assert!(CREDENTIALS.ends_with(&ways.join(", or ")), "{ways:?}");
    }
}

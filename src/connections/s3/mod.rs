//! S3: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::Look;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    family::aws::{
        self, AssumeRole, Keys, Region,
        bucket::{self, Bucket},
        sts,
    },
    fields::HttpUrl,
    text,
};
use crate::{net::tls::Tls, secret::Method};

/// What is the same for every S3 connection.
pub const ABOUT: About = About {
    keys: aws::KEYS,
    interval: Duration::from_mins(5),
    lockout: Lockout::Impossible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "emulator: moto, of AWS with its identities and policies; emulator: s3s-fs, of the protocol with \
        its signatures; stand-in: a server for answers that neither gives",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.s3) || (has(self.s3.anonymous) && self.s3.anonymous) != has(self.credentials)", CREDENTIALS),
    ("!has(self.s3) || !has(self.s3.anonymous) || !self.s3.anonymous || !has(self.s3.assumeRole)", NOBODY_ASSUMES),
    ("!has(self.s3) || !self.s3.bucket.matches('--(x|xa|op)-s3$')", bucket::ENDING),
    (
        "!has(self.s3) || (has(self.s3.endpoint) && self.s3.endpoint.startsWith('http://')) \
         == (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        aws::SCHEME,
    ),
    (
        "!has(self.s3) || !has(self.s3.assumeRole) || !has(self.s3.assumeRole.endpoint) \
         || !self.s3.assumeRole.endpoint.startsWith('http://') \
         || (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        aws::STS_SCHEME,
    ),
];

/// What an S3 connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Bucket, by its name or by the alias of an access point.
    #[schemars(length(max = 255), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$"))]
    pub bucket: String,
    /// What the keys of the objects that matter begin with. Rights are proven below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub prefix: Option<String>,
    /// Region of the bucket. Systems other than AWS often take any, such as `us-east-1`.
    pub region: Region,
    /// URL of a system other than AWS that speaks the protocol. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`. Absent: Amazon S3 in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// Whether the bucket stands in the path of URLs instead of the host's name; most systems other than AWS want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_path_style: Option<bool>,
    /// Whether the owner of the keys pays for requests to a bucket of somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_pays: Option<bool>,
    /// Role to assume with the keys of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// Whether the bucket is used without credentials. Then `credentials` must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<bool>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let endpoint = self.endpoint.as_ref().map(HttpUrl::authority);
        text::cut(&(bucket::uri(&self.bucket, self.prefix.as_deref()) + &text::query([("endpoint", endpoint)])))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        if self.is_anonymous() { Vec::new() } else { vec![aws::method()] }
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&tls)?;
        let keys = if self.is_anonymous() { None } else { Some(Keys::take(&mut credentials, &secret)?) };
        let url = self.endpoint.as_ref().map(|endpoint| endpoint.complete(&namespace).trim_end_matches('/').to_owned());
        let role = self.assume_role.as_ref();
        let account = aws::account(&[url.as_deref().unwrap_or_default()], &self.region, keys.as_ref(), role);
        let exchange = role.map(|role| sts::Exchange::of(role, &self.region, &namespace, &tls));
        let bucket = Bucket {
            name: self.bucket.clone(),
            prefix: self.prefix.clone().unwrap_or_default(),
            region: self.region.clone(),
            url,
            path_style: self.force_path_style.unwrap_or_default(),
            requester_pays: self.requester_pays.unwrap_or_default(),
            tls,
            permissions,
        };
        Ok(Prepared { probe: Box::new(Look { bucket, keys, exchange }), account, lockout: None })
    }
}

impl Settings {
    fn is_anonymous(&self) -> bool {
        self.anonymous.unwrap_or_default()
    }

    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, tls: &Tls) -> Result<(), Refusal> {
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        if !bucket::is_name(&self.bucket) {
            return invalid("`s3.bucket` must be the name of a bucket");
        }
        if bucket::has_ending(&self.bucket) {
            return invalid(bucket::ENDING);
        }
        if self.prefix.as_ref().is_some_and(|prefix| !bucket::is_prefix(prefix)) {
            return invalid("`s3.prefix` must not be empty and not contain a control character");
        }
        self.region.check("s3.region")?;
        if let Some(role) = &self.assume_role {
            role.check("s3.assumeRole")?;
        }
        aws::check_endpoints(&[&self.endpoint], self.assume_role.as_ref(), tls.mode)?;
        if self.is_anonymous() && self.assume_role.is_some() {
            return invalid(NOBODY_ASSUMES);
        }
        Ok(())
    }
}

const CREDENTIALS: &str = "`credentials` must be set exactly where `s3.anonymous` is not true";
const NOBODY_ASSUMES: &str = "`s3.assumeRole` needs credentials, so it cannot stand beside `s3.anonymous`";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-lake
stringData:
  accessKeyId: AKIAIOSFODNN7EXAMPLE
  secretAccessKey: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-lake
spec:
  type: S3
  s3:
    bucket: orders-lake
    region: eu-central-1
  credentials:
    secretRef:
      name: orders-lake
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-lake
stringData:
  AWS_ACCESS_KEY_ID: AKIAIOSFODNN7EXAMPLE
  AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
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
  name: orders-lake
spec:
  type: S3
  description: Raw orders, one folder a year
  s3:
    bucket: orders-lake
    prefix: 2026/
    region: eu-central-1
    endpoint: https://s3.example.com
    forcePathStyle: true
    requesterPays: false
    assumeRole:
      roleARN: arn:aws:iam::123456789012:role/orders-reader
      externalID: shop
      sessionName: connection-operator
      endpoint: https://sts.example.com
    anonymous: false
  credentials:
    secretRef:
      name: orders-lake
    keys:
      accessKeyId: AWS_ACCESS_KEY_ID
      secretAccessKey: AWS_SECRET_ACCESS_KEY
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
        net::tls::Mode,
        secret::{Credentials, SecretValue},
    };

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"bucket": "orders-lake", "region": "eu-central-1"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepare_with(settings: &Settings, id: &str, mode: Mode) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret orders-lake");
        let tls = Tls { mode, ..Tls::default() };
        let data = [("accessKeyId", id), ("secretAccessKey", "secret")];
        let data: BTreeMap<_, _> =
            data.into_iter().map(|(k, v)| (k.to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let methods = settings.methods(&tls);
        let credentials = if methods.is_empty() {
            Credentials::default()
        } else {
            Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret).unwrap()
        };
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions: Vec::new() })
    }

    fn refused(extra: &serde_json::Value, mode: Mode) -> String {
        match prepare_with(&settings(extra), "AKIA", mode) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_is_encoded_and_cut_and_names_another_endpoint() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "s3://orders-lake");
        assert_eq!(string(json!({"prefix": "2026/a b/"})), "s3://orders-lake/2026/a%20b/");
        assert_eq!(string(json!({"endpoint": "http://minio:9000/base"})), "s3://orders-lake?endpoint=minio:9000");
        assert_eq!(string(json!({"prefix": "ü".repeat(200)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn another_key_role_or_place_is_another_account() {
        let account =
            |extra: serde_json::Value, id| prepare_with(&settings(&extra), id, Mode::VerifyFull).unwrap().account;
        let base = account(json!({}), "AKIA");
        assert_eq!(account(json!({"bucket": "another"}), "AKIA"), base);
        let role = json!({"assumeRole": {"roleARN": "arn:aws:iam::123456789012:role/reader"}});
        for other in [
            account(json!({}), "AKIB"),
            account(json!({"region": "us-east-1"}), "AKIA"),
            account(json!({"endpoint": "https://minio:9000"}), "AKIA"),
            account(role, "AKIA"),
        ] {
            assert_ne!(other, base);
        }
    }

    #[test]
    fn who_is_anonymous_needs_no_key_and_assumes_nothing() {
        let anonymous = settings(&json!({"anonymous": true}));
        assert_eq!(anonymous.methods(&Tls::default()), []);
        assert!(prepare_with(&anonymous, "AKIA", Mode::VerifyFull).is_ok());
        let role = json!({"roleARN": "arn:aws:iam::123456789012:role/reader"});
        let sentence = refused(&json!({"anonymous": true, "assumeRole": role}), Mode::VerifyFull);
        assert_eq!(sentence, NOBODY_ASSUMES);
    }

    #[test]
    fn nothing_goes_out_readable_unless_tls_is_disabled_by_name() {
        let plain = json!({"endpoint": "http://minio:9000"});
        assert_eq!(refused(&plain, Mode::VerifyFull), aws::SCHEME);
        assert_eq!(refused(&json!({"endpoint": "https://minio:9000"}), Mode::Disable), aws::SCHEME);
        assert_eq!(refused(&json!({}), Mode::Disable), aws::SCHEME);
        assert!(prepare_with(&settings(&plain), "AKIA", Mode::Disable).is_ok());
        let role = json!({"roleARN": "arn:aws:iam::123456789012:role/reader", "endpoint": "http://sts:80"});
        assert_eq!(refused(&json!({"assumeRole": role}), Mode::VerifyFull), aws::STS_SCHEME);
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        let role = |field: &str, value: &str| {
            let mut role = json!({"roleARN": "arn:aws:iam::123456789012:role/reader"});
            role[field] = json!(value);
            json!({"assumeRole": role})
        };
        for (extra, word) in [
            (json!({"bucket": "a/b"}), "bucket"),
            (json!({"bucket": "ab"}), "bucket"),
            (json!({"bucket": "orders--euc1-az1--x-s3"}), "--x-s3"),
            (json!({"bucket": "orders--euc1-az1--xa-s3"}), "--xa-s3"),
            (json!({"bucket": "orders--op-s3"}), "--op-s3"),
            (json!({"region": "eu-central-"}), "region"),
            (json!({"prefix": ""}), "prefix"),
            (json!({"prefix": "a\nb"}), "prefix"),
            (json!({"region": "evil.example/"}), "region"),
            (json!({"endpoint": "https://user@minio"}), "endpoint"),
            (role("roleARN", ""), "roleARN"),
            (role("externalID", "a b"), "externalID"),
            (role("endpoint", "https://sts?x=y"), "endpoint"),
        ] {
            let sentence = refused(&extra, Mode::VerifyFull);
            assert!(sentence.contains(word), "{extra}: {sentence}");
        }
    }
}

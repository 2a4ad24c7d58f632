//! Athena: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::{Athena, Look};
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

/// What is the same for every Athena connection.
pub const ABOUT: About = About {
    keys: aws::KEYS,
    interval: Duration::from_mins(5),
    lockout: Lockout::Impossible,
    permissions: &[Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "emulator: moto, of AWS with its identities and policies; stand-in: a server for \
        answers that moto does not give",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.athena) || has(self.credentials)", aws::CREDENTIALS),
    ("!has(self.athena) || !has(self.permissions) || !self.permissions.exists(p, p == 'List')", NO_LIST),
    (
        "!has(self.athena) || has(self.athena.outputLocation) || !has(self.permissions) \
         || !self.permissions.exists(p, p in ['Read', 'Write'])",
        OUTPUT_NEEDED,
    ),
    (
        "!has(self.athena) || !has(self.athena.outputLocation) \
         || !self.athena.outputLocation.matches('^s3://[^/]*--(x|xa|op)-s3(/|$)')",
        bucket::ENDING,
    ),
    (
        "!has(self.athena) || ((has(self.athena.endpoint) && self.athena.endpoint.startsWith('http://')) \
         || (has(self.athena.s3Endpoint) && self.athena.s3Endpoint.startsWith('http://'))) \
         == (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        aws::SCHEME,
    ),
    (
        "!has(self.athena) || !has(self.athena.assumeRole) || !has(self.athena.assumeRole.endpoint) \
         || !self.athena.assumeRole.endpoint.startsWith('http://') \
         || (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        aws::STS_SCHEME,
    ),
];

/// What an Athena connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Region of the work group, and of the output location.
    pub region: Region,
    /// Work group that queries run in. Absent: `primary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = "^[A-Za-z0-9._-]{1,128}$"))]
    pub work_group: Option<String>,
    /// Data catalog that must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub catalog: Option<String>,
    /// Database that must exist in the catalog, or in `AwsDataCatalog` where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub database: Option<String>,
    /// Where queries of this connection leave their results: `s3://BUCKET/PREFIX/`. The permissions Read and Write are about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 768), regex(pattern = "^s3://[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9](/.*)?$"))]
    pub output_location: Option<String>,
    /// URL of another system, or of an interface endpoint, that is asked about the work group. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`. Absent: `https://athena.REGION.amazonaws.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// URL of another system than Amazon S3 that holds the output location, whose bucket is then named in the path. Absent: Amazon S3
    /// in the region; it is never taken from another field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3_endpoint: Option<HttpUrl>,
    /// Role to assume with the keys of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let query = text::query([
            ("output", self.output().map(|(bucket, prefix)| bucket::uri(bucket, Some(prefix)))),
            ("endpoint", self.endpoint.as_ref().map(HttpUrl::authority)),
            ("s3Endpoint", self.s3_endpoint.as_ref().map(HttpUrl::authority)),
        ]);
        text::cut(&format!("athena://{}/{}{query}", self.region.0, text::encode(self.group())))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        vec![aws::method()]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&permissions, &tls)?;
        let keys = Keys::take(&mut credentials, &secret)?;
        let role = self.assume_role.as_ref();
        let s3 = self.s3_endpoint.as_ref();
        let s3 = s3.map(|endpoint| endpoint.complete(&namespace).trim_end_matches('/').to_owned());
        let athena = Athena {
            url: self.region.url("athena", self.endpoint.as_ref(), &namespace),
            region: self.region.clone(),
            tls: tls.clone(),
            work_group: self.group().to_owned(),
            catalog: self.catalog.clone(),
            database: self.database.clone(),
            output: self.output().map(|(bucket, prefix)| format!("s3://{bucket}/{}", folder(prefix))),
        };
        let urls = [athena.url.as_str(), s3.as_deref().unwrap_or_default()];
        let account = aws::account(&urls, &self.region, Some(&keys), role);
        let exchange = role.map(|role| sts::Exchange::of(role, &self.region, &namespace, &tls));
        let results = self.output().filter(|_| !permissions.is_empty()).map(|(bucket, prefix)| Bucket {
            name: bucket.to_owned(),
            prefix: folder(prefix),
            region: self.region.clone(),
            path_style: s3.is_some(),
            url: s3,
            requester_pays: false,
            // What `tls` says of a server's name is about Athena's.
            tls: aws::second(&tls, self.s3_endpoint.as_ref()),
            permissions,
        });
        Ok(Prepared { probe: Box::new(Look { athena, results, keys, exchange }), account, lockout: None })
    }
}

impl Settings {
    fn group(&self) -> &str {
        self.work_group.as_deref().unwrap_or("primary")
    }

    /// The bucket and the prefix of the output location.
    fn output(&self) -> Option<(&str, &str)> {
        let place = self.output_location.as_deref()?.strip_prefix("s3://")?;
        Some(place.split_once('/').unwrap_or((place, "")))
    }

    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, permissions: &[Permission], tls: &Tls) -> Result<(), Refusal> {
        let Self { region, work_group, catalog, database, output_location, endpoint, s3_endpoint, assume_role } = self;
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        region.check("athena.region")?;
        let is_plain = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if work_group.as_ref().is_some_and(|name| name.is_empty() || !is_plain(name)) {
            return invalid("`athena.workGroup` must be the name of a work group");
        }
        for (field, name) in [("catalog", catalog), ("database", database)] {
            if name.as_ref().is_some_and(|name| name.is_empty() || name.contains(char::is_control)) {
                let sentence = format!("`athena.{field}` must not be empty and not contain a control character");
                return Err(Refusal::Invalid(sentence));
            }
        }
        let is_place = |(bucket, prefix): (&str, &str)| bucket::is_name(bucket) && !prefix.contains(char::is_control);
        if output_location.is_some() && !self.output().is_some_and(is_place) {
            return invalid("`athena.outputLocation` must be s3://BUCKET/PREFIX/");
        }
        if self.output().is_some_and(|(bucket, _)| bucket::has_ending(bucket)) {
            return invalid(bucket::ENDING);
        }
        if let Some(role) = assume_role {
            role.check("athena.assumeRole")?;
        }
        aws::check_endpoints(&[endpoint, s3_endpoint], assume_role.as_ref(), tls.mode)?;
        if permissions.contains(&Permission::List) {
            return invalid(NO_LIST);
        }
        if !permissions.is_empty() && output_location.is_none() {
            return invalid(OUTPUT_NEEDED);
        }
        Ok(())
    }
}

/// The prefix with the slash that Athena puts behind it.
fn folder(prefix: &str) -> String {
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    format!("{prefix}{slash}")
}

const NO_LIST: &str = "`permissions` of Athena are Read and Write of its output location: leave List out";
const OUTPUT_NEEDED: &str = "`permissions` Read and Write need `athena.outputLocation`";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: reports
stringData:
  accessKeyId: AKIAIOSFODNN7EXAMPLE
  secretAccessKey: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: reports
spec:
  type: Athena
  athena:
    region: eu-central-1
  credentials:
    secretRef:
      name: reports
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: reports
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
  name: reports
spec:
  type: Athena
  description: Monthly reports over the raw orders
  athena:
    region: eu-central-1
    workGroup: sales
    catalog: AwsDataCatalog
    database: shop
    outputLocation: s3://orders-results/sales/
    endpoint: https://athena.example.com
    s3Endpoint: https://s3.example.com
    assumeRole:
      roleARN: arn:aws:iam::123456789012:role/orders-reader
      externalID: shop
      sessionName: connection-operator
      endpoint: https://sts.example.com
  credentials:
    secretRef:
      name: reports
    keys:
      accessKeyId: AWS_ACCESS_KEY_ID
      secretAccessKey: AWS_SECRET_ACCESS_KEY
  tls:
    mode: VerifyFull
    ca:
      configMapRef:
        name: company-ca
        key: ca.crt
  permissions: [Read, Write]
  probe:
    interval: 5m
    timeout: 10s
    failureThreshold: 3
    successThreshold: 1
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use Permission::{List, Read, Write};
    use serde_json::json;

    use super::*;
    use crate::{
        failure::Setting,
        net::tls::Mode,
        secret::{Credentials, SecretValue},
    };

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"region": "eu-central-1"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepare_with(
        settings: &Settings,
        id: &str,
        mode: Mode,
        permissions: &[Permission],
    ) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret reports");
        let tls = Tls { mode, ..Tls::default() };
        let data = [("accessKeyId", id), ("secretAccessKey", "secret")];
        let data: BTreeMap<_, _> =
            data.into_iter().map(|(k, v)| (k.to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret).unwrap();
        let permissions = permissions.to_vec();
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions })
    }

    fn refused(extra: &serde_json::Value, mode: Mode, permissions: &[Permission]) -> String {
        match prepare_with(&settings(extra), "AKIA", mode, permissions) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_is_encoded_and_cut_and_names_what_is_set() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "athena://eu-central-1/primary");
        assert_eq!(
            string(json!({"workGroup": "sales", "outputLocation": "s3://results/a b/", "endpoint": "https://x:9000"})),
            "athena://eu-central-1/sales?output=s3://results/a%20b/&endpoint=x:9000"
        );
        assert_eq!(
            string(json!({"outputLocation": "s3://results", "s3Endpoint": "https://minio"})),
            "athena://eu-central-1/primary?output=s3://results/&s3Endpoint=minio"
        );
        let long = format!("s3://results/{}", "ü".repeat(200));
        assert_eq!(string(json!({"outputLocation": long})).chars().count(), text::LIMIT);
    }

    #[test]
    fn an_output_location_ends_with_a_slash_whoever_wrote_it() {
        assert_eq!([folder(""), folder("a"), folder("a/b/")], ["", "a/", "a/b/"]);
        let output = |place: &str| {
            let settings = settings(&json!({"outputLocation": place}));
            settings.output().map(|(bucket, prefix)| (bucket.to_owned(), prefix.to_owned()))
        };
        let parts = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(output("s3://results"), parts("results", ""));
        assert_eq!(output("s3://results/a/b"), parts("results", "a/b"));
        assert_eq!(output("https://results/a"), None);
    }

    #[test]
    fn permissions_are_about_the_output_location() {
        let output = json!({"outputLocation": "s3://results/"});
        assert!(prepare_with(&settings(&output), "AKIA", Mode::VerifyFull, &[Read, Write]).is_ok());
        assert_eq!(refused(&output, Mode::VerifyFull, &[List, Read]), NO_LIST);
        for permission in [Read, Write] {
            assert_eq!(refused(&json!({}), Mode::VerifyFull, &[permission]), OUTPUT_NEEDED);
        }
    }

    #[test]
    fn another_key_role_or_place_is_another_account() {
        let account =
            |extra: serde_json::Value, id| prepare_with(&settings(&extra), id, Mode::VerifyFull, &[]).unwrap().account;
        let base = account(json!({}), "AKIA");
        assert_eq!(account(json!({"workGroup": "another"}), "AKIA"), base);
        let role = json!({"assumeRole": {"roleARN": "arn:aws:iam::123456789012:role/reader"}});
        for other in [
            account(json!({}), "AKIB"),
            account(json!({"region": "us-east-1"}), "AKIA"),
            account(json!({"endpoint": "https://athena.example"}), "AKIA"),
            account(json!({"s3Endpoint": "https://minio:9000"}), "AKIA"),
            account(role, "AKIA"),
        ] {
            assert_ne!(other, base);
        }
    }

    #[test]
    fn nothing_goes_out_readable_unless_tls_is_disabled_by_name() {
        for field in ["endpoint", "s3Endpoint"] {
            let plain = json!({field: "http://minio:9000"});
            assert_eq!(refused(&plain, Mode::VerifyFull, &[]), aws::SCHEME);
            assert!(prepare_with(&settings(&plain), "AKIA", Mode::Disable, &[]).is_ok());
            assert_eq!(refused(&json!({field: "https://minio:9000"}), Mode::Disable, &[]), aws::SCHEME);
        }
        assert_eq!(refused(&json!({}), Mode::Disable, &[]), aws::SCHEME);
        let role = json!({"roleARN": "arn:aws:iam::123456789012:role/reader", "endpoint": "http://sts:80"});
        assert_eq!(refused(&json!({"assumeRole": role}), Mode::VerifyFull, &[]), aws::STS_SCHEME);
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        for (extra, word) in [
            (json!({"region": "evil.example/"}), "region"),
            (json!({"workGroup": ""}), "workGroup"),
            (json!({"workGroup": "a b"}), "workGroup"),
            (json!({"catalog": ""}), "catalog"),
            (json!({"database": "a\nb"}), "database"),
            (json!({"outputLocation": "results/"}), "outputLocation"),
            (json!({"outputLocation": "s3://a/"}), "outputLocation"),
            (json!({"outputLocation": "s3://results/a\nb"}), "outputLocation"),
            (json!({"endpoint": "https://user@athena"}), "endpoint"),
            (json!({"s3Endpoint": "https://minio?x=y"}), "endpoint"),
            (json!({"assumeRole": {"roleARN": ""}}), "roleARN"),
        ] {
            let sentence = refused(&extra, Mode::VerifyFull, &[]);
            assert!(sentence.contains(word), "{extra}: {sentence}");
        }
    }
}

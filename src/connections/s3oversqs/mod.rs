//! S3 over SQS: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::{Look, Owner, Queue};
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

/// What is the same for every S3 over SQS connection.
pub const ABOUT: About = About {
    keys: aws::KEYS,
    interval: Duration::from_mins(5),
    lockout: Lockout::Impossible,
    permissions: &[Permission::List, Permission::Read, Permission::Write],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "emulator: moto, of AWS with its identities and policies; stand-in: a server for \
        answers that moto does not give",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.s3OverSQS) || has(self.credentials)", aws::CREDENTIALS),
    ("!has(self.s3OverSQS) || !self.s3OverSQS.bucket.matches('--(x|xa|op)-s3$')", bucket::ENDING),
    (
        "!has(self.s3OverSQS) || (self.s3OverSQS.queueURL.matches('^https?://[^/]+/[0-9]{12}/[A-Za-z0-9_.-]{1,80}$') \
         && (self.s3OverSQS.queueURL.startsWith('https://sqs.' + self.s3OverSQS.region + '.') \
         || self.s3OverSQS.queueURL.startsWith('https://' + self.s3OverSQS.region + '.queue.') \
         || (self.s3OverSQS.region == 'us-east-1' && self.s3OverSQS.queueURL.startsWith('https://queue.')) \
         || (has(self.s3OverSQS.sqsEndpoint) \
         && (self.s3OverSQS.queueURL.startsWith(self.s3OverSQS.sqsEndpoint + '/') \
         || (self.s3OverSQS.sqsEndpoint.endsWith('/') && self.s3OverSQS.queueURL.startsWith(self.s3OverSQS.sqsEndpoint))))))",
        QUEUE_URL,
    ),
    (
        "!has(self.s3OverSQS) || ((has(self.s3OverSQS.endpoint) && self.s3OverSQS.endpoint.startsWith('http://')) \
         || (has(self.s3OverSQS.sqsEndpoint) && self.s3OverSQS.sqsEndpoint.startsWith('http://'))) \
         == (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        aws::SCHEME,
    ),
    (
        "!has(self.s3OverSQS) || !has(self.s3OverSQS.assumeRole) || !has(self.s3OverSQS.assumeRole.endpoint) \
         || !self.s3OverSQS.assumeRole.endpoint.startsWith('http://') \
         || (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        aws::STS_SCHEME,
    ),
];

/// What an S3 over SQS connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Bucket that holds the objects, by its name or by the alias of an access point.
    #[schemars(length(max = 255), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$"))]
    pub bucket: String,
    /// What the keys of the objects that matter begin with. Rights are proven below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub prefix: Option<String>,
    /// Region of the bucket and of the queue.
    pub region: Region,
    /// URL of the queue that tells of new objects, as AWS prints it: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`. Its host must
    /// be that of the region, or that of `sqsEndpoint`.
    #[serde(rename = "queueURL")]
    pub queue_url: HttpUrl,
    /// URL of a system other than Amazon S3 that holds the bucket, which is then named in the path. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`. Absent: Amazon S3 in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// URL of another system, or of an interface endpoint, that the queue is asked at. Absent: `https://sqs.REGION.amazonaws.com`;
    /// it is never taken from another field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqs_endpoint: Option<HttpUrl>,
    /// Role to assume with the keys of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let queue = self.queue_name().map(|(account, name)| format!("{account}/{}", text::encode(name)));
        let query = text::query([
            ("queue", queue),
            ("endpoint", self.endpoint.as_ref().map(HttpUrl::authority)),
            ("sqsEndpoint", self.sqs_endpoint.as_ref().map(HttpUrl::authority)),
        ]);
        text::cut(&(bucket::uri(&self.bucket, self.prefix.as_deref()) + &query))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        vec![aws::method()]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        let (account, name) = self.check(&tls)?;
        let keys = Keys::take(&mut credentials, &secret)?;
        let role = self.assume_role.as_ref();
        let url = self.endpoint.as_ref().map(|endpoint| endpoint.complete(&namespace).trim_end_matches('/').to_owned());
        let queue = Queue {
            account: account.to_owned(),
            name: name.to_owned(),
            url: self.queue_of_region().unwrap_or_else(|| self.queue_url.0.clone()),
            region: self.region.clone(),
            endpoint: self.region.url("sqs", self.sqs_endpoint.as_ref(), &namespace),
            // What `tls` says of a server's name is about the bucket's.
            tls: aws::second(&tls, self.sqs_endpoint.as_ref()),
            owner: match role.and_then(AssumeRole::account) {
                Some(own) if own == account => Owner::Ours,
                Some(_) | None => Owner::Unknown,
            },
        };
        let urls = [queue.endpoint.as_str(), url.as_deref().unwrap_or_default()];
        let login = aws::account(&urls, &self.region, Some(&keys), role);
        let exchange = role.map(|role| sts::Exchange::of(role, &self.region, &namespace, &tls));
        let bucket = Bucket {
            name: self.bucket.clone(),
            prefix: self.prefix.clone().unwrap_or_default(),
            region: self.region.clone(),
            path_style: url.is_some(),
            url,
            requester_pays: false,
            tls,
            permissions,
        };
        Ok(Prepared { probe: Box::new(Look { queue, bucket, keys, exchange }), account: login, lockout: None })
    }
}

impl Settings {
    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express. Returns the account
    /// and the name of the queue.
    fn check(&self, tls: &Tls) -> Result<(&str, &str), Refusal> {
        let Self { bucket, prefix, region, queue_url, endpoint, sqs_endpoint, assume_role } = self;
        let invalid = |sentence: &str| Refusal::Invalid(sentence.to_owned());
        if !bucket::is_name(bucket) {
            return Err(invalid("`s3OverSQS.bucket` must be the name of a bucket"));
        }
        if bucket::has_ending(bucket) {
            return Err(invalid(bucket::ENDING));
        }
        if prefix.as_ref().is_some_and(|prefix| !bucket::is_prefix(prefix)) {
            return Err(invalid("`s3OverSQS.prefix` must not be empty and not contain a control character"));
        }
        region.check("s3OverSQS.region")?;
        if let Some(role) = assume_role {
            role.check("s3OverSQS.assumeRole")?;
        }
        aws::check_endpoints(&[endpoint, sqs_endpoint], assume_role.as_ref(), tls.mode)?;
        let is_of_endpoint = sqs_endpoint.as_ref().is_some_and(|endpoint| is_below(endpoint, queue_url));
        match self.queue_name() {
            Some(queue) if queue_url.is_valid() && (is_of_endpoint || self.queue_of_region().is_some()) => Ok(queue),
            Some(_) | None => Err(invalid(QUEUE_URL)),
        }
    }

    /// The account and the name of the queue; `None` where the URL names none.
    fn queue_name(&self) -> Option<(&str, &str)> {
        let (account, name) = self.queue_url.parts().path.strip_prefix('/')?.split_once('/')?;
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let is_name =
            (1..=80).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        (is_account && is_name).then_some((account, name))
    }

    /// The queue's URL as AWS writes it today, where the host is one of its own in this region; the older ones name the same queue
    /// ("Amazon Simple Queue Service endpoints and quotas" of the AWS General Reference, legacy endpoints).
    fn queue_of_region(&self) -> Option<String> {
        let Region(region) = &self.region;
        let suffix = self.region.suffix();
        let today = format!("https://sqs.{region}.{suffix}");
        let older = [format!("https://{region}.queue.{suffix}"), "https://queue.amazonaws.com".to_owned()];
        let older = &older[..if region == "us-east-1" { 2 } else { 1 }];
        let hosts = || std::iter::once(&today).chain(older);
        let path = hosts().find_map(|host| self.queue_url.0.strip_prefix(host).filter(|path| path.starts_with('/')))?;
        Some(today.clone() + path)
    }
}

/// Whether one URL begins with the other.
fn is_below(endpoint: &HttpUrl, url: &HttpUrl) -> bool {
    url.0.strip_prefix(endpoint.0.trim_end_matches('/')).is_some_and(|path| path.starts_with('/'))
}

const QUEUE_URL: &str = "`s3OverSQS.queueURL` must be the URL of a queue, its host that of the region or of `sqsEndpoint`: \
    https://sqs.REGION.amazonaws.com/ACCOUNT/NAME";

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
  name: new-orders
spec:
  type: S3OverSQS
  s3OverSQS:
    bucket: orders-lake
    region: eu-central-1
    queueURL: https://sqs.eu-central-1.amazonaws.com/123456789012/new-orders
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
  name: new-orders
spec:
  type: S3OverSQS
  description: Raw orders, as they arrive
  s3OverSQS:
    bucket: orders-lake
    prefix: 2026/
    region: eu-central-1
    queueURL: https://sqs.example.com/123456789012/new-orders
    endpoint: https://s3.example.com
    sqsEndpoint: https://sqs.example.com
    assumeRole:
      roleARN: arn:aws:iam::123456789012:role/orders-reader
      externalID: shop
      sessionName: connection-operator
      endpoint: https://sts.example.com
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
        let mut all = json!({
            "bucket": "orders-lake", "region": "eu-central-1",
            "queueURL": "https://sqs.eu-central-1.amazonaws.com/123456789012/new-orders",
        });
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
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret).unwrap();
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions: Vec::new() })
    }

    fn refused(extra: &serde_json::Value, mode: Mode) -> String {
        match prepare_with(&settings(extra), "AKIA", mode) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_is_encoded_and_cut_and_names_queue_and_endpoints() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "s3://orders-lake?queue=123456789012/new-orders");
        assert_eq!(
            string(json!({"prefix": "2026/a b/", "endpoint": "https://minio:9000", "sqsEndpoint": "https://queues/x"})),
            "s3://orders-lake/2026/a%20b/?queue=123456789012/new-orders&endpoint=minio:9000&sqsEndpoint=queues"
        );
        assert_eq!(string(json!({"prefix": "ü".repeat(200)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn a_queue_is_one_of_the_region_under_each_of_its_names() {
        let queue = |region: &str, url: &str| settings(&json!({"region": region, "queueURL": url})).queue_of_region();
        let name = "/123456789012/new-orders";
        for (region, host, today) in [
            ("eu-central-1", "https://sqs.eu-central-1.amazonaws.com", Some("https://sqs.eu-central-1.amazonaws.com")),
            (
                "eu-central-1",
                "https://eu-central-1.queue.amazonaws.com",
                Some("https://sqs.eu-central-1.amazonaws.com"),
            ),
            ("us-east-1", "https://queue.amazonaws.com", Some("https://sqs.us-east-1.amazonaws.com")),
            ("cn-north-1", "https://sqs.cn-north-1.amazonaws.com.cn", Some("https://sqs.cn-north-1.amazonaws.com.cn")),
            ("eu-central-1", "https://queue.amazonaws.com", None),
            ("eu-central-1", "https://sqs.eu-west-1.amazonaws.com", None),
            ("eu-central-1", "https://sqs.eu-central-1.amazonaws.com.evil.example", None),
            ("eu-central-1", "https://sqs.eu-central-1.amazonaws.com:8443", None),
            ("eu-central-1", "http://sqs.eu-central-1.amazonaws.com", None),
            ("cn-north-1", "https://sqs.cn-north-1.amazonaws.com", None),
        ] {
            let expected = today.map(|host| format!("{host}{name}"));
            assert_eq!(queue(region, &format!("{host}{name}")), expected, "{host}");
        }
    }

    #[test]
    fn a_queue_is_where_its_region_is_or_where_its_endpoint_is_and_nowhere_else() {
        let url = |url: &str, endpoint: Option<&str>| json!({"queueURL": url, "sqsEndpoint": endpoint});
        for (queue, endpoint) in [
            ("https://queues:8443/123456789012/new-orders.fifo", Some("https://queues:8443/")),
            ("https://[fd00::1]/123456789012/new-orders", Some("https://[fd00::1]")),
            // An interface endpoint: the queue keeps its name.
            ("https://sqs.eu-central-1.amazonaws.com/123456789012/new-orders", Some("https://vpce-1.example")),
        ] {
            let found = prepare_with(&settings(&url(queue, endpoint)), "AKIA", Mode::VerifyFull);
            assert!(found.is_ok(), "{queue}: {found:?}");
        }
        for (queue, endpoint) in [
            ("https://evil.example/123456789012/new-orders", None),
            ("https://queues/123456789012/new-orders", Some("https://queues:8443")),
            ("http://queues/123456789012/new-orders", Some("https://queues")),
            ("https://queues.evil.example/123456789012/new-orders", Some("https://queues")),
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/new-orders", None),
            ("https://sqs.eu-central-1.amazonaws.com/new-orders", None),
            ("https://sqs.eu-central-1.amazonaws.com/1234/new-orders", None),
            ("https://sqs.eu-central-1.amazonaws.com/123456789012/", None),
            ("https://sqs.eu-central-1.amazonaws.com/123456789012/a/b", None),
            ("https://sqs.eu-central-1.amazonaws.com/123456789012/a?x=y", None),
            ("https://user@sqs.eu-central-1.amazonaws.com/123456789012/a", None),
            ("", None),
        ] {
            assert_eq!(refused(&url(queue, endpoint), Mode::VerifyFull), QUEUE_URL, "{queue}");
        }
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
            account(json!({"endpoint": "https://minio:9000"}), "AKIA"),
            account(json!({"sqsEndpoint": "https://vpce-1.example"}), "AKIA"),
            account(role, "AKIA"),
        ] {
            assert_ne!(other, base);
        }
    }

    #[test]
    fn nothing_goes_out_readable_unless_tls_is_disabled_by_name() {
        let plain = json!({"endpoint": "http://minio:9000"});
        assert_eq!(refused(&plain, Mode::VerifyFull), aws::SCHEME);
        assert_eq!(refused(&json!({"sqsEndpoint": "http://queues"}), Mode::VerifyFull), aws::SCHEME);
        assert_eq!(refused(&json!({"endpoint": "https://minio:9000"}), Mode::Disable), aws::SCHEME);
        assert_eq!(refused(&json!({}), Mode::Disable), aws::SCHEME);
        assert!(prepare_with(&settings(&plain), "AKIA", Mode::Disable).is_ok());
        let role = json!({"roleARN": "arn:aws:iam::123456789012:role/reader", "endpoint": "http://sts:80"});
        assert_eq!(refused(&json!({"assumeRole": role}), Mode::VerifyFull), aws::STS_SCHEME);
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        for (extra, word) in [
            (json!({"bucket": "a/b"}), "bucket"),
            (json!({"prefix": ""}), "prefix"),
            (json!({"region": "evil.example/"}), "region"),
            (json!({"endpoint": "https://user@minio"}), "endpoint"),
            (json!({"sqsEndpoint": "https://queues?x=y"}), "endpoint"),
            (json!({"assumeRole": {"roleARN": ""}}), "roleARN"),
        ] {
            let sentence = refused(&extra, Mode::VerifyFull);
            assert!(sentence.contains(word), "{extra}: {sentence}");
        }
    }
}

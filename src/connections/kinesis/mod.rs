//! Kinesis: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::time::Duration;

use probe::{Look, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    About, Definition, Given, Lockout, Permission, Prepared, Refusal,
    family::aws::{self, AssumeRole, Keys, Region, sts},
    fields::HttpUrl,
    text,
};
use crate::{net::tls::Tls, secret::Method};

/// What is the same for every Kinesis connection.
pub const ABOUT: About = About {
    keys: aws::KEYS,
    interval: Duration::from_mins(5),
    lockout: Lockout::Impossible,
    permissions: &[Permission::List, Permission::Read],
    minimal: MINIMAL,
    full: FULL,
    docs: include_str!("docs.md"),
    tested_against: "emulator: moto, of AWS with its identities and policies; stand-in: a server for \
        answers that moto does not give",
};

/// What the API server checks about the whole spec beyond the fields' own bounds: a rule and the sentence it refuses with.
pub const RULES: &[(&str, &str)] = &[
    ("!has(self.kinesis) || has(self.credentials)", aws::CREDENTIALS),
    (
        "!has(self.kinesis) || has(self.kinesis.stream) || !has(self.permissions) || !('Read' in self.permissions)",
        STREAM_NEEDED,
    ),
    (
        "!has(self.kinesis) || !has(self.kinesis.stream) || !self.kinesis.stream.startsWith('arn:') \
         || self.kinesis.stream.contains(':kinesis:' + self.kinesis.region + ':')",
        ONE_REGION,
    ),
    (
        "!has(self.kinesis) || (has(self.kinesis.endpoint) && self.kinesis.endpoint.startsWith('http://')) \
         == (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        aws::SCHEME,
    ),
    (
        "!has(self.kinesis) || !has(self.kinesis.assumeRole) || !has(self.kinesis.assumeRole.endpoint) \
         || !self.kinesis.assumeRole.endpoint.startsWith('http://') \
         || (has(self.tls) && has(self.tls.mode) && self.tls.mode == 'Disable')",
        aws::STS_SCHEME,
    ),
];

/// What a Kinesis connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Region of the stream.
    pub region: Region,
    /// Stream that must be there, by its name or its ARN. An ARN is needed for a stream of another account; its region must be
    /// `region`. Absent: any stream of the region will do, and that they may be listed is all that is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 240),
        regex(pattern = "^(arn:[a-z0-9-]{1,32}:kinesis:[a-z0-9-]{1,32}:[0-9]{12}:stream/)?[A-Za-z0-9_.-]{1,128}$")
    )]
    pub stream: Option<String>,
    /// URL of a private link, or of a system other than AWS that speaks the protocol. A host without a dot means
    /// `HOST.<namespace of the Connection>.svc`. Absent: `https://kinesis.REGION.amazonaws.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
    /// Role to assume with the keys of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        // Of an ARN, the name: it is what streams are known by.
        let name = self.stream.as_deref().map(|stream| stream.rsplit('/').next().unwrap_or(stream));
        let name = name.map(|name| format!("/{}", text::encode(name))).unwrap_or_default();
        let endpoint = self.endpoint.as_ref().map(HttpUrl::authority);
        let query = text::query([("endpoint", endpoint)]);
        text::cut(&format!("kinesis://{}{name}{query}", text::encode(&self.region.0)))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        vec![aws::method()]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        let Given { namespace, mut credentials, secret, tls, permissions } = given;
        self.check(&permissions, &tls)?;
        let keys = Keys::take(&mut credentials, &secret)?;
        let url = self.region.url("kinesis", self.endpoint.as_ref(), &namespace);
        let role = self.assume_role.as_ref();
        let account = aws::account(&[&url], &self.region, Some(&keys), role);
        let probe = Look {
            stream: self.stream.as_deref().map(Stream::of),
            exchange: role.map(|role| sts::Exchange::of(role, &self.region, &namespace, &tls)),
            region: self.region.clone(),
            url,
            keys,
            tls,
            permissions,
        };
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Settings {
    /// What the schema refuses too, for objects that were stored under an older one; and what it cannot express.
    fn check(&self, permissions: &[Permission], tls: &Tls) -> Result<(), Refusal> {
        let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        let Self { region, stream, endpoint, assume_role } = self;
        region.check("kinesis.region")?;
        match stream.as_deref().map(form) {
            None if permissions.contains(&Permission::Read) => return invalid(STREAM_NEEDED),
            Some(Form::Neither) => return invalid("`kinesis.stream` must be the name or the ARN of a stream"),
            Some(Form::Arn { of }) if of != region.0 => return invalid(ONE_REGION),
            None | Some(Form::Name | Form::Arn { .. }) => {}
        }
        if let Some(role) = assume_role {
            role.check("kinesis.assumeRole")?;
        }
        aws::check_endpoints(&[endpoint], assume_role.as_ref(), tls.mode)
    }
}

/// What names a stream.
enum Form<'a> {
    Name,
    Arn {
        /// Its region.
        of: &'a str,
    },
    Neither,
}

fn form(stream: &str) -> Form<'_> {
    let is_name = |name: &str| {
        (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    match stream.split(':').collect::<Vec<_>>()[..] {
        [name] if is_name(name) => Form::Name,
        ["arn", partition, "kinesis", of, account, resource]
            if [partition, of, account].into_iter().all(is_word)
                && resource.strip_prefix("stream/").is_some_and(is_name) =>
        {
            Form::Arn { of }
        }
        _ => Form::Neither,
    }
}

const STREAM_NEEDED: &str = "`permissions` Read needs `kinesis.stream`";
const ONE_REGION: &str = "the region of the ARN in `kinesis.stream` must be `kinesis.region`";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-stream
stringData:
  accessKeyId: AKIAIOSFODNN7EXAMPLE
  secretAccessKey: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-stream
spec:
  type: Kinesis
  kinesis:
    region: eu-central-1
    stream: orders
  credentials:
    secretRef:
      name: orders-stream
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-stream
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
  name: orders-stream
spec:
  type: Kinesis
  description: Orders as they come in
  kinesis:
    region: eu-central-1
    stream: arn:aws:kinesis:eu-central-1:123456789012:stream/orders
    endpoint: https://kinesis.example.com
    assumeRole:
      roleARN: arn:aws:iam::123456789012:role/orders-reader
      externalID: shop
      sessionName: connection-operator
      endpoint: https://sts.example.com
  credentials:
    secretRef:
      name: orders-stream
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
        failure::{Reason, Setting},
        net::tls::Mode,
        secret::{Credentials, SecretValue},
    };

    const ARN: &str = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders";

    fn settings(extra: &serde_json::Value) -> Settings {
        let mut all = json!({"region": "eu-central-1"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepare(extra: &serde_json::Value, id: &str, mode: Mode) -> Result<Prepared, Refusal> {
        let settings = settings(extra);
        let secret = Setting::from_spec("Secret orders-stream");
        let tls = Tls { mode, ..Tls::default() };
        let data = [("AWS_ACCESS_KEY_ID", id), ("secretkey", "secret")];
        let data: BTreeMap<_, _> =
            data.into_iter().map(|(k, v)| (k.to_owned(), SecretValue::new(v.as_bytes().to_vec()))).collect();
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret).unwrap();
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions: Vec::new() })
    }

    fn refused(extra: &serde_json::Value, mode: Mode) -> String {
        match prepare(extra, "AKIA", mode) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_is_encoded_and_cut_and_names_another_endpoint() {
        let string = |extra: serde_json::Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "kinesis://eu-central-1");
        assert_eq!(string(json!({"stream": "orders"})), "kinesis://eu-central-1/orders");
        assert_eq!(string(json!({ "stream": ARN })), "kinesis://eu-central-1/orders");
        // Stored under an older schema.
        assert_eq!(string(json!({"stream": "a b?"})), "kinesis://eu-central-1/a%20b%3F");
        assert_eq!(string(json!({"stream": "ü".repeat(200)})).chars().count(), text::LIMIT);
        let elsewhere = json!({"stream": "orders", "endpoint": "http://kinesis:4566/base"});
        assert_eq!(string(elsewhere), "kinesis://eu-central-1/orders?endpoint=kinesis:4566");
    }

    #[test]
    fn another_key_role_or_place_is_another_account() {
        let account = |extra: serde_json::Value, id| prepare(&extra, id, Mode::VerifyFull).unwrap().account;
        let base = account(json!({"stream": "orders"}), "AKIA");
        assert_eq!(account(json!({"stream": "visits"}), "AKIA"), base);
        let role = json!({"assumeRole": {"roleARN": "arn:aws:iam::123456789012:role/reader"}});
        for other in [
            account(json!({}), "AKIB"),
            account(json!({"region": "us-east-1"}), "AKIA"),
            account(json!({"endpoint": "https://kinesis:4566"}), "AKIA"),
            account(role, "AKIA"),
        ] {
            assert_ne!(other, base);
        }
    }

    #[test]
    fn nothing_goes_out_readable_unless_tls_is_disabled_by_name() {
        let plain = json!({"endpoint": "http://kinesis:4566"});
        assert_eq!(refused(&plain, Mode::VerifyFull), aws::SCHEME);
        assert_eq!(refused(&json!({"endpoint": "https://kinesis:4566"}), Mode::Disable), aws::SCHEME);
        assert_eq!(refused(&json!({}), Mode::Disable), aws::SCHEME);
        assert!(prepare(&plain, "AKIA", Mode::Disable).is_ok());
        let role = json!({"roleARN": "arn:aws:iam::123456789012:role/reader", "endpoint": "http://sts:80"});
        assert_eq!(refused(&json!({ "assumeRole": role }), Mode::VerifyFull), aws::STS_SCHEME);
    }

    #[test]
    fn a_stream_is_a_name_or_an_arn_of_the_region() {
        let named = |stream: &str| prepare(&json!({ "stream": stream }), "AKIA", Mode::VerifyFull).map(drop);
        let longest = "x".repeat(128);
        for stream in ["orders", "a.b-c_D9", &longest, ARN, "arn:aws-cn:kinesis:eu-central-1:123456789012:stream/a.b"] {
            assert_eq!(named(stream), Ok(()), "{stream}");
        }
        let too_long = "x".repeat(129);
        for stream in [
            "",
            "a b",
            "a/b",
            "orders\n",
            "ördérs",
            &too_long,
            "arn:aws:kinesis:eu-central-1:123456789012:stream/",
            "arn:aws:kinesis:eu-central-1:123456789012:stream/a/b",
            "arn:aws:kinesis:eu-central-1:123456789012:stream/orders:1",
            "arn:aws:sqs:eu-central-1:123456789012:stream/orders",
            "arn:aws:kinesis::123456789012:stream/orders",
        ] {
            let said = named(stream);
            assert!(
                matches!(&said, Err(Refusal::Invalid(said)) if said.contains("name or the ARN")),
                "{stream:?}: {said:?}"
            );
        }
        let elsewhere = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
        assert_eq!(named(elsewhere), Err(Refusal::Invalid(ONE_REGION.to_owned())));
    }

    #[test]
    fn reading_needs_a_stream_to_read() {
        let tls = Tls::default();
        let without = settings(&json!({}));
        assert_eq!(without.check(&[Permission::Read], &tls), Err(Refusal::Invalid(STREAM_NEEDED.to_owned())));
        assert_eq!(without.check(&[Permission::List], &tls), Ok(()));
        assert_eq!(settings(&json!({"stream": "orders"})).check(&[Permission::Read], &tls), Ok(()));
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        let role = |field: &str, value: &str| {
            let mut role = json!({"roleARN": "arn:aws:iam::123456789012:role/reader"});
            role[field] = json!(value);
            json!({ "assumeRole": role })
        };
        for (extra, word) in [
            (json!({"region": "evil.example/"}), "kinesis.region"),
            (json!({"endpoint": "https://user@kinesis"}), "endpoint"),
            (role("roleARN", ""), "roleARN"),
            (role("externalID", "a b"), "externalID"),
            (role("endpoint", "https://sts?x=y"), "endpoint"),
        ] {
            let sentence = refused(&extra, Mode::VerifyFull);
            assert!(sentence.contains(word), "{extra}: {sentence}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_malformed_and_not_shown() {
        let Err(Refusal::Unusable(failure)) = prepare(&json!({}), "hunter2\n", Mode::VerifyFull) else {
            panic!("it was taken")
        };
        assert_eq!(failure.reason(), Reason::CredentialsMalformed);
        assert!(!failure.message().contains("hunter2"), "{}", failure.message());
    }
}

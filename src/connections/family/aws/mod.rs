//! What all types of Amazon Web Services share: how one logs in, as whom, in which region, and what an error code means.
//!
//! A login is the user's keys, from the Secret, or a role that they may assume. The operator's own identity is never used:
//! nothing here looks at the environment, at profile files or at a metadata service. This file decides; `bucket.rs`, `call.rs`
//! and `sts.rs` talk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    connections::{
        Refusal,
        fields::{HttpUrl, UrlParts},
    },
    failure::{Code, Failure, Setting},
    net::tls::{Mode, Tls},
    secret::{Credentials, Digest, Key, Method, SecretValue},
};

pub mod bucket;
pub mod call;
pub mod codes;
mod json;
pub mod sts;
pub mod xml;

/// The canonical key of the access key's id.
pub const ACCESS_KEY_ID: &str = "accessKeyId";
/// The canonical key of the access key's secret.
pub const SECRET_ACCESS_KEY: &str = "secretAccessKey";
/// The canonical key of the token that temporary access keys have.
pub const SESSION_TOKEN: &str = "sessionToken";

/// The Secret keys of every type of AWS, with the names that others give them.
pub const KEYS: &[Key] = &[
    Key { name: ACCESS_KEY_ID, aliases: &["AWS_ACCESS_KEY_ID", "ACCESS_KEY_ID", "accessKey", "accesskey"] },
    Key {
        name: SECRET_ACCESS_KEY,
        aliases: &["AWS_SECRET_ACCESS_KEY", "ACCESS_SECRET_KEY", "SECRET_ACCESS_KEY", "secretKey", "secretkey"],
    },
    Key { name: SESSION_TOKEN, aliases: &["AWS_SESSION_TOKEN", "ACCESS_SESSION_TOKEN"] },
];

/// The one way to log in: an access key, with its token where it is temporary.
pub fn method() -> Method {
    Method { name: "access key", required: vec![ACCESS_KEY_ID, SECRET_ACCESS_KEY], optional: vec![SESSION_TOKEN] }
}

/// The sentence for a type that is never used without credentials.
pub const CREDENTIALS: &str = "`credentials` must name a Secret that holds accessKeyId and secretAccessKey";

/// The sentence for an endpoint that says `http` while TLS is asked for, or the other way round.
pub const SCHEME: &str = "an endpoint with `http://` and `tls.mode` Disable need each other";

/// The sentence for a Security Token Service that says `http` while TLS is asked for.
pub const STS_SCHEME: &str = "`assumeRole.endpoint` with `http://` needs `tls.mode` Disable";

/// Checks the endpoints of a type, and that of the role it assumes, as the schema does: their form, and that nothing goes out
/// readable unless `mode` says so by name. A service that is not named is AWS's own, with `https`.
///
/// # Errors
/// The sentence that the API server would refuse them with.
pub fn check_endpoints(endpoints: &[&Option<HttpUrl>], role: Option<&AssumeRole>, mode: Mode) -> Result<(), Refusal> {
    let endpoints = || endpoints.iter().filter_map(|endpoint| endpoint.as_ref());
    let sts = role.and_then(|role| role.endpoint.as_ref());
    if endpoints().chain(sts).any(|url| !url.is_valid()) {
        return Err(Refusal::Invalid(format!("an endpoint {}", HttpUrl::RULE)));
    }
    if endpoints().any(HttpUrl::is_plain) != (mode == Mode::Disable) {
        return Err(Refusal::Invalid(SCHEME.to_owned()));
    }
    if sts.is_some_and(HttpUrl::is_plain) && mode != Mode::Disable {
        return Err(Refusal::Invalid(STS_SCHEME.to_owned()));
    }
    Ok(())
}

/// How a service is secured that the settings of `tls` are not about, but for the CAs that they trust: its certificate is verified in
/// full, by its own name.
pub fn verified(tls: &Tls) -> Tls {
    Tls { mode: Mode::VerifyFull, server_name: None, ..tls.clone() }
}

/// How a type's second service is secured: as `tls` says where its endpoint is named, else it is AWS's own.
pub fn second(tls: &Tls, endpoint: Option<&HttpUrl>) -> Tls {
    if endpoint.is_some() { Tls { server_name: None, ..tls.clone() } } else { verified(tls) }
}

/// The regions that a message may name (the regions of the partitions aws, aws-cn and aws-us-gov, from "AWS Regions" of the
/// AWS General Reference, 2026). A region that is not in here works, and is not named where a service says that a resource is
/// in it.
pub const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// A region, such as `eu-central-1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxLength" = 32, "pattern" = "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"))]
pub struct Region(pub String);

impl Region {
    /// Whether it can stand in a host's name, as the schema demands.
    ///
    /// # Errors
    /// The sentence that the API server would refuse it with.
    pub fn check(&self, field: &str) -> Result<(), Refusal> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let at_an_end = self.0.starts_with('-') || self.0.ends_with('-');
        let valid = (1..=32).contains(&self.0.len()) && self.0.chars().all(allowed) && !at_an_end;
        if valid { Ok(()) } else { Err(Refusal::Invalid(format!("`{field}` must be the name of a region"))) }
    }

    /// The URL that calls of a service go to: the endpoint's where one is named, else that of the service in this region, by the
    /// first part of its host's name.
    pub fn url(&self, service: &str, endpoint: Option<&HttpUrl>, namespace: &str) -> String {
        match endpoint {
            Some(endpoint) => endpoint.complete(namespace).trim_end_matches('/').to_owned() + "/",
            None => format!("https://{service}.{}.{}/", self.0, self.suffix()),
        }
    }

    /// What the names of hosts of this region end in (the partitions' `dnsSuffix` in the SDKs' `partitions.json`).
    pub fn suffix(&self) -> &'static str {
        match self.0.split('-').take(2).collect::<Vec<_>>()[..] {
            ["cn", ..] => "amazonaws.com.cn",
            ["eusc", ..] => "amazonaws.eu",
            ["us", "iso"] => "c2s.ic.gov",
            ["us", "isob"] => "sc2s.sgov.gov",
            ["us", "isof"] => "csp.hci.ic.gov",
            ["eu", "isoe"] => "cloud.adc-e.uk",
            _ => "amazonaws.com",
        }
    }

    /// The region that a peer named, as a message may show it.
    pub fn named(seen: &str) -> Option<Code> {
        REGIONS.contains(&seen).then(|| Code::known(REGIONS, seen))
    }
}

/// A role to assume with the keys of the Secret; everything else is then done as this role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// ARN of the role.
    #[serde(rename = "roleARN")]
    #[schemars(length(max = 600), regex(pattern = "^arn:[a-z0-9-]{1,32}:iam::[0-9]{12}:role/[\\x21-\\x7e]{1,512}$"))]
    pub role_arn: String,
    /// External id that the role's trust policy demands. It is no secret.
    #[serde(rename = "externalID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), regex(pattern = "^[A-Za-z0-9_+=,.@:/-]+$"))]
    pub external_id: Option<String>,
    /// Name of the session, as it stands in the account's logs. Absent: `connection-operator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = "^[A-Za-z0-9_+=,.@-]{2,64}$"))]
    pub session_name: Option<String>,
    /// URL of the Security Token Service. Absent: `https://sts.REGION.amazonaws.com`; it is never taken from another field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
}

impl AssumeRole {
    /// The role, as messages call it.
    pub fn shown(&self) -> Setting {
        Setting::from_spec(format!("role {}", self.role_arn))
    }

    /// The account that the role is in; so is who assumes it.
    pub fn account(&self) -> Option<&str> {
        self.role_arn.split(':').nth(4)
    }

    /// What tells one login as it from another: all that its trust policy may look at, and who is asked for it. The parts hold no
    /// space.
    pub fn identity(&self) -> String {
        let Self { role_arn, external_id, session_name, endpoint } = self;
        let of = |part: &Option<String>| part.clone().unwrap_or_default();
        let place = endpoint.as_ref().map(|endpoint| place(&endpoint.0)).unwrap_or_default();
        format!("{role_arn} {} {} {place}", of(external_id), of(session_name))
    }

    /// Checks what the schema checks too, for objects that were stored under an older one.
    ///
    /// # Errors
    /// The sentence for what cannot be used.
    pub fn check(&self, field: &str) -> Result<(), Refusal> {
        let graphic = |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        let Self { role_arn, external_id, session_name, endpoint: _ } = self;
        let fields =
            [("roleARN", Some(role_arn)), ("externalID", external_id.as_ref()), ("sessionName", session_name.as_ref())];
        match fields.iter().find(|(_, value)| value.is_some_and(|value| !graphic(value))) {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::Invalid(format!("`{field}.{name}` must hold printable characters only"))),
        }
    }
}

/// An access key: whose it is, and the proof.
#[derive(Debug)]
pub struct Keys {
    /// The access key's id, in printable ASCII.
    pub id: SecretValue,
    /// The access key's secret, in UTF-8.
    pub secret: SecretValue,
    /// The token of a temporary access key, in printable ASCII.
    pub token: Option<SecretValue>,
}

impl Keys {
    /// Takes the keys out of what was selected from the Secret that `about` names.
    ///
    /// # Errors
    /// `CredentialsMalformed` where a value cannot stand in a header, in which id and token are sent.
    pub fn take(credentials: &mut Credentials, about: &Setting) -> Result<Self, Failure> {
        let id = credentials.take_printable(ACCESS_KEY_ID, about)?;
        let token = credentials.take_printable(SESSION_TOKEN, about)?;
        let secret = credentials.take_text(SECRET_ACCESS_KEY, about)?;
        Ok(Self {
            id: id.ok_or_else(|| Credentials::missing(ACCESS_KEY_ID, about))?,
            secret: secret.ok_or_else(|| Credentials::missing(SECRET_ACCESS_KEY, about))?,
            token,
        })
    }
}

/// Who logs in where, by which a rejected login is remembered: the hosts of `urls` with their ports, the region, whose access key it
/// is, and the role.
pub fn account(urls: &[&str], region: &Region, keys: Option<&Keys>, role: Option<&AssumeRole>) -> Digest {
    let places: Vec<String> = urls.iter().map(|url| place(url)).collect();
    let role = role.map(AssumeRole::identity).unwrap_or_default();
    let id = keys.map_or(&[][..], |keys| keys.id.expose());
    Digest::of(places.iter().map(String::as_bytes).chain([region.0.as_bytes(), id, role.as_bytes()]))
}

/// The host of a URL, in small letters, and its port.
fn place(url: &str) -> String {
    let url = HttpUrl(url.to_ascii_lowercase());
    let UrlParts { host, port, .. } = url.parts();
    format!("{host}:{}", port.unwrap_or(if url.is_plain() { 80 } else { 443 }))
}

/// The region that the error document of S3 names, a peer's word.
pub fn region_of(document: &[u8]) -> Option<String> {
    xml::text(document, &["Error", "Region"])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::failure::Reason;

    fn keys(id: &[u8], secret: &[u8], token: Option<&[u8]>) -> Result<Keys, Failure> {
        let about = Setting::from_spec("Secret orders");
        let data = [("AWS_ACCESS_KEY_ID", Some(id)), ("secretkey", Some(secret)), ("ACCESS_SESSION_TOKEN", token)];
        let data: BTreeMap<_, _> = data
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), SecretValue::new(value?.to_vec()))))
            .collect();
        let mut credentials = Credentials::select(data, &BTreeMap::new(), KEYS, &[method()], &about)?;
        Keys::take(&mut credentials, &about)
    }

    #[test]
    fn keys_that_others_stored_are_found() {
        let found = keys(b"AKIAEXAMPLE", b"secret/+=", Some(b"token")).unwrap();
        assert_eq!((found.id.text(), found.secret.text()), (Some("AKIAEXAMPLE"), Some("secret/+=")));
        assert_eq!(found.token.as_ref().and_then(SecretValue::text), Some("token"));
        assert!(keys(b"AKIAEXAMPLE", b"secret", None).unwrap().token.is_none());
    }

    #[test]
    fn what_cannot_be_sent_is_malformed_and_not_shown() {
        for (id, secret, token) in [
            (&b"AKIA hunter2"[..], &b"secret"[..], None),
            (b"hunter2\n", b"secret", None),
            ("hunter2\u{e9}".as_bytes(), b"secret", None),
            (b"AKIA", b"hunter2\xff", None),
            (b"AKIA", b"", None),
            (b"AKIA", b"secret", Some(&b"hunter2\n"[..])),
        ] {
            let failure = keys(id, secret, token).unwrap_err();
            assert_eq!(failure.reason(), Reason::CredentialsMalformed);
            assert!(!failure.message().contains("hunter2"), "{}", failure.message());
        }
    }

    #[test]
    fn a_region_is_part_of_a_hosts_name_and_nothing_else() {
        let region = |name: &str| Region(name.to_owned());
        for name in ["eu-central-1", "us-gov-west-1", "minio"] {
            assert_eq!(region(name).check("s3.region"), Ok(()));
        }
        for name in ["", "EU", "a.example/", "x#", "-", "-eu", "eu-central-", &"x".repeat(33)] {
            assert!(region(name).check("s3.region").is_err(), "{name}");
        }
        assert_eq!(region("cn-north-1").suffix(), "amazonaws.com.cn");
        assert_eq!(region("us-isob-east-1").suffix(), "sc2s.sgov.gov");
        assert_eq!(region("us-east-1").suffix(), "amazonaws.com");
    }

    #[test]
    fn a_service_is_in_its_region_unless_an_endpoint_is_named() {
        let region = Region("cn-north-1".to_owned());
        assert_eq!(region.url("sts", None, "shop"), "https://sts.cn-north-1.amazonaws.com.cn/");
        for named in ["https://sts:8443", "https://sts:8443/"] {
            assert_eq!(region.url("sts", Some(&HttpUrl(named.to_owned())), "shop"), "https://sts.shop.svc:8443/");
        }
    }

    #[test]
    fn an_account_is_a_place_a_key_and_all_that_makes_a_role() {
        let (key, region) = (keys(b"AKIA", b"secret", None).unwrap(), Region("eu-central-1".to_owned()));
        let role = |extra: serde_json::Value| {
            let mut role = serde_json::json!({"roleARN": "arn:aws:iam::123456789012:role/reader"});
            role.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            serde_json::from_value::<AssumeRole>(role).unwrap()
        };
        let of = |url: &str, role: Option<&AssumeRole>| account(&[url], &region, Some(&key), role);
        let base = of("https://minio.shop.svc", None);
        assert_eq!(of("https://MinIO.shop.svc:443/base/", None), base);
        assert_ne!(of("http://minio.shop.svc", None), base);
        let known = of("https://minio.shop.svc", Some(&role(serde_json::json!({"endpoint": "https://STS:443"}))));
        assert_eq!(of("https://minio.shop.svc", Some(&role(serde_json::json!({"endpoint": "https://sts"})))), known);
        let mut seen = vec![base, known];
        for other in ["{}", r#"{"externalID": "ab"}"#, r#"{"sessionName": "ab"}"#, r#"{"endpoint": "https://other"}"#] {
            let account = of("https://minio.shop.svc", Some(&role(serde_json::from_str(other).unwrap())));
            assert!(!seen.contains(&account), "{other}");
            seen.push(account);
        }
    }

    #[test]
    fn what_is_awss_own_beside_a_types_endpoint_is_verified_in_full() {
        let tls = Tls { mode: Mode::Require, server_name: Some("minio".to_owned()), ..Tls::default() };
        let url = HttpUrl("https://minio:9000".to_owned());
        for (tls, mode) in [
            (verified(&tls), Mode::VerifyFull),
            (second(&tls, None), Mode::VerifyFull),
            (second(&tls, Some(&url)), Mode::Require),
        ] {
            assert_eq!((tls.mode, tls.server_name), (mode, None));
        }
    }

    #[test]
    fn a_region_that_a_peer_made_up_is_not_named() {
        assert_eq!(Region::named("eu-west-1").map(|code| code.to_string()).as_deref(), Some("eu-west-1"));
        assert_eq!(Region::named("hunter2"), None);
    }
}

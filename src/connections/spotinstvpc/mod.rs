//! Spotinst: the settings (they are the schema), how one logs in, and how a probe is made from both.
//!
//! Nothing here does I/O or knows a clock: `probe.rs` holds the one check, `docs.md` what a user must know.

mod probe;

use std::{net::Ipv4Addr, time::Duration};

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

/// What is the same for every connection to Spotinst.
pub const ABOUT: About = About {
    keys: &[Key { name: TOKEN, aliases: &["SPOTINST_TOKEN"] }],
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
    ("!has(self.spotinstVPC) || has(self.credentials)", CREDENTIALS_NEEDED),
    (
        "!has(self.spotinstVPC) || !has(self.spotinstVPC.endpoint) \
         || self.spotinstVPC.endpoint.startsWith('https://')",
        SCHEME,
    ),
    (
        "!has(self.spotinstVPC) || !has(self.tls) || !has(self.tls.mode) || self.tls.mode == 'VerifyFull' \
         || (self.tls.mode == 'VerifyCA' && has(self.tls.ca))",
        VERIFIED,
    ),
];

/// What a connection to Spotinst is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Account of Spotinst, such as `act-7c2d91e4`. It must exist, and the token must be allowed to see it.
    #[serde(rename = "accountID")]
    #[schemars(length(max = 64), regex(pattern = "^act-[A-Za-z0-9]+$"))]
    pub account_id: String,
    /// Region of the cloud that the VPC is in. It describes only, and is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = "^[a-z0-9-]+$"))]
    pub region: Option<String>,
    /// VPC of AWS that the account's machines run in: `vpc-` and 8 or 17 hexadecimal digits. It describes only: its form is checked,
    /// and it is not looked up.
    #[serde(rename = "vpcID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = "^vpc-[0-9a-f]{8}([0-9a-f]{9})?$"))]
    pub vpc_id: Option<String>,
    /// Addresses of the subnet, as an IPv4 network such as `10.0.16.0/20`. It describes only: its form is checked, and it is not
    /// looked up.
    #[serde(rename = "subnetCIDR", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 18), extend("x-kubernetes-validations" = [{"rule": NETWORK_RULE, "message": NETWORK}]))]
    pub subnet_cidr: Option<String>,
    /// URL of the API, with `https`. A host without a dot means `HOST.<namespace of the Connection>.svc`. Absent:
    /// `https://api.spotinst.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<HttpUrl>,
}

impl Definition for Settings {
    fn connection_string(&self) -> String {
        let region = self.region.as_ref().map(|region| format!("/{}", text::encode(region)));
        let endpoint = text::query([("endpoint", self.endpoint.as_ref().map(HttpUrl::authority))]);
        let account = text::encode(&self.account_id);
        text::cut(&format!("spotinst://{account}{}{endpoint}", region.unwrap_or_default()))
    }

    fn methods(&self, _tls: &Tls) -> Vec<Method> {
        vec![Method { name: TOKEN, required: vec![TOKEN], optional: Vec::new() }]
    }

    fn prepare(&self, given: Given) -> Result<Prepared, Refusal> {
        // The type has no permission that could be asked for.
        let Given { namespace, mut credentials, secret, tls, permissions: _ } = given;
        self.check(&tls)?;
        let token = credentials.take_printable(TOKEN, &secret)?;
        let token = token.ok_or_else(|| Credentials::missing(TOKEN, &secret))?;
        let url = self.endpoint.as_ref().map_or_else(|| ENDPOINT.to_owned(), |url| url.complete(&namespace));
        let url = url.trim_end_matches('/');
        // Whose it is stands in the token.
        let account = Digest::of([HttpUrl(url.to_owned()).place().as_bytes(), token.expose()]);
        let probe = Look {
            url: format!("{url}/setup/account/{}", text::encode(&self.account_id)),
            tls,
            token,
            account: self.account_id.clone(),
            names_a_place: self.vpc_id.is_some() || self.subnet_cidr.is_some(),
        };
        Ok(Prepared { probe: Box::new(probe), account, lockout: None })
    }
}

impl Settings {
    /// What the schema refuses too, for objects that were stored under an older one.
    fn check(&self, tls: &Tls) -> Result<(), Refusal> {
        let Self { account_id, region, vpc_id, subnet_cidr, endpoint } = self;
        let invalid = |sentence: String| Err(Refusal::Invalid(sentence));
        if !is_account(account_id) {
            return invalid("`spotinstVPC.accountID` must be an account of Spotinst, such as act-7c2d91e4".to_owned());
        }
        if region.as_ref().is_some_and(|region| !is_region(region)) {
            return invalid("`spotinstVPC.region` must be a region, such as eu-west-1".to_owned());
        }
        if vpc_id.as_ref().is_some_and(|vpc| !is_vpc(vpc)) {
            return invalid("`spotinstVPC.vpcID` must be a VPC, such as vpc-0a1b2c3d4e5f67890".to_owned());
        }
        if subnet_cidr.as_ref().is_some_and(|subnet| !is_network(subnet)) {
            return invalid(format!("`spotinstVPC.subnetCIDR` {NETWORK}"));
        }
        if endpoint.as_ref().is_some_and(|endpoint| !endpoint.is_valid()) {
            return invalid(format!("`spotinstVPC.endpoint` {}", HttpUrl::RULE));
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

/// As the pattern of the schema says it.
fn is_account(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("act-") else { return false };
    text.len() <= 64 && !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric())
}

/// As the pattern of the schema says it.
fn is_region(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=32).contains(&text.len()) && text.chars().all(plain)
}

/// As the pattern of the schema says it.
fn is_vpc(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("vpc-") else { return false };
    [8, 17].contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// As [`NETWORK_RULE`] says it: four numbers and a count of bits, after which no bit is set.
fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let plain = bits.chars().all(|c| c.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    match (address.parse::<Ipv4Addr>(), bits.parse::<u32>()) {
        (Ok(address), Ok(bits @ 0..=32)) => plain && address.to_bits().checked_shl(bits).unwrap_or_default() == 0,
        _ => false,
    }
}

const TOKEN: &str = "token";

/// Where the vendor's clients find the API (`spotinst/config.go` of its SDK for Go).
const ENDPOINT: &str = "https://api.spotinst.io";

const NETWORK_RULE: &str = "isCIDR(self) && cidr(self).ip().family() == 4 && cidr(self) == cidr(self).masked()";
const NETWORK: &str = "must be an IPv4 network such as 10.0.16.0/20, with no bit set after the first 20";
const SCHEME: &str = "`spotinstVPC.endpoint` must begin with `https://`: a token is sent there";
const VERIFIED: &str = "`tls.mode` must be VerifyFull for SpotinstVPC, or VerifyCA with `tls.ca`: tokens are sent to a verified server only";

const MINIMAL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-machines
stringData:
  token: change-me
---
apiVersion: connectivity.dev/v1alpha1
kind: Connection
metadata:
  name: orders-machines
spec:
  type: SpotinstVPC
  spotinstVPC:
    accountID: act-7c2d91e4
  credentials:
    secretRef:
      name: orders-machines
";

const FULL: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: orders-machines
stringData:
  SPOTINST_TOKEN: change-me
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
  name: orders-machines
spec:
  type: SpotinstVPC
  description: Machines that the orders are counted on
  spotinstVPC:
    accountID: act-7c2d91e4
    region: eu-west-1
    vpcID: vpc-0a1b2c3d4e5f67890
    subnetCIDR: 10.0.16.0/20
    endpoint: https://api.spotinst.io
  credentials:
    secretRef:
      name: orders-machines
    keys:
      token: SPOTINST_TOKEN
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

    fn settings(extra: &Value) -> Settings {
        let mut all = json!({"accountID": "act-7c2d91e4"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepare(extra: &Value, token: &str, tls: Tls) -> Result<Prepared, Refusal> {
        let (settings, secret) = (settings(extra), Setting::from_spec("Secret orders"));
        let data = BTreeMap::from([("SPOTINST_TOKEN".to_owned(), SecretValue::new(token.as_bytes().to_vec()))]);
        let methods = settings.methods(&tls);
        let credentials = Credentials::select(data, &BTreeMap::new(), ABOUT.keys, &methods, &secret)?;
        settings.prepare(Given { namespace: "shop".to_owned(), credentials, secret, tls, permissions: Vec::new() })
    }

    fn refused(extra: &Value, tls: Tls) -> String {
        match prepare(extra, "4ab2c6d9", tls) {
            Err(Refusal::Invalid(sentence)) => sentence,
            other => panic!("{extra}: {other:?}"),
        }
    }

    #[test]
    fn the_connection_string_names_the_account_and_another_endpoint() {
        let string = |extra: Value| settings(&extra).connection_string();
        assert_eq!(string(json!({})), "spotinst://act-7c2d91e4");
        assert_eq!(string(json!({"region": "eu-west-1"})), "spotinst://act-7c2d91e4/eu-west-1");
        let elsewhere = json!({"region": "a b", "endpoint": "https://[fd00::1]:8443/base", "vpcID": "vpc-00000000"});
        assert_eq!(string(elsewhere), "spotinst://act-7c2d91e4/a%20b?endpoint=[fd00::1]:8443");
        assert_eq!(string(json!({"accountID": "ü".repeat(64)})).chars().count(), text::LIMIT);
    }

    #[test]
    fn another_endpoint_or_token_is_another_account() {
        let account = |extra: Value, token: &str| prepare(&extra, token, Tls::default()).unwrap().account;
        let base = account(json!({}), "hunter2");
        assert_eq!(account(json!({"region": "eu-west-1", "subnetCIDR": "10.0.0.0/8"}), "hunter2"), base);
        assert_eq!(account(json!({"accountID": "act-12345678"}), "hunter2"), base, "a token is good or not for all");
        assert_eq!(account(json!({"endpoint": "https://api.spotinst.io/"}), "hunter2"), base);
        assert_eq!(account(json!({"endpoint": "https://API.spotinst.io:443"}), "hunter2"), base);
        assert_ne!(account(json!({}), "hunter3"), base);
        assert_ne!(account(json!({"endpoint": "https://spot.example.com"}), "hunter2"), base);
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
    fn a_network_has_no_bit_set_after_its_prefix() {
        for (text, is) in [
            ("10.0.16.0/20", true),
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("128.0.0.0/1", true),
            ("10.1.2.3/32", true),
            ("10.1.2.2/31", true),
            ("10.0.16.0/19", false),
            ("10.1.2.3/31", false),
            ("1.0.0.0/0", false),
            ("10.0.16.0/33", false),
            ("10.0.16.0/08", false),
            ("10.0.16.0/+8", false),
            ("10.0.16.0/", false),
            ("10.0.16.0", false),
            ("10.0.16/20", false),
            ("010.0.16.0/20", false),
            ("256.0.0.0/20", false),
            ("10.0.16.0/20/8", false),
            (" 10.0.16.0/20", false),
            ("fd00::/64", false),
            ("::ffff:10.0.0.0/104", false),
        ] {
            assert_eq!(is_network(text), is, "{text}");
        }
    }

    #[test]
    fn what_the_schema_refuses_is_refused_here_too() {
        for (extra, word) in [
            (json!({"accountID": ""}), "accountID"),
            (json!({"accountID": "act-"}), "accountID"),
            (json!({"accountID": "sig-7c2d91e4"}), "accountID"),
            (json!({"accountID": "act-1/../../user"}), "accountID"),
            (json!({"accountID": "act-1?x=y"}), "accountID"),
            (json!({"accountID": format!("act-{}", "1".repeat(61))}), "accountID"),
            (json!({"region": ""}), "region"),
            (json!({"region": "EU west"}), "region"),
            (json!({"region": "x".repeat(33)}), "region"),
            (json!({"vpcID": "vpc-123"}), "vpcID"),
            (json!({"vpcID": "vpc-0a1b2c3d4e5f6789"}), "vpcID"),
            (json!({"vpcID": "subnet-0a1b2c3d"}), "vpcID"),
            (json!({"vpcID": "vpc-0A1B2C3D"}), "vpcID"),
            (json!({"subnetCIDR": "10.0.16.1/20"}), NETWORK),
            (json!({"subnetCIDR": "fd00::/64"}), NETWORK),
            (json!({"endpoint": "https://user@spot"}), "`spotinstVPC.endpoint` must be a URL"),
            (json!({"endpoint": "http://spot:8443"}), SCHEME),
        ] {
            let sentence = refused(&extra, Tls::default());
            assert!(sentence.contains(word), "{extra}: {sentence}");
        }
        let all = json!({
            "accountID": "act-ABC123", "region": "us-gov-west-1", "vpcID": "vpc-0a1b2c3d", "subnetCIDR": "10.1.0.0/16",
            "endpoint": "https://spot:8443/base/",
        });
        assert!(prepare(&all, "hunter2", Tls::default()).is_ok());
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

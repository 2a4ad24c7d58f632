//! What the operator reads from a Connection's spec: settings, the probe's policy, the objects it names.
//!
//! A stored object may be older than the schema's rules, so everything they promise is checked once more here. Nothing
//! behind this file looks at the stored shape again.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Connection, ConnectionSpec,
    connection::{Credentials, Probe, keys_message, permissions_message},
    duration::parse_duration,
    tls::{self, Bundle},
};
use crate::{
    connections::{Definition, Permission},
    secret::{Digest, Key},
};

/// The keys of a Secret that holds a client certificate.
pub const CLIENT_CERTIFICATE_KEYS: &[Key] =
    &[Key { name: CERTIFICATE, aliases: &["user.crt"] }, Key { name: PRIVATE_KEY, aliases: &["user.key"] }];

/// The canonical key of a client certificate's chain, in PEM.
pub const CERTIFICATE: &str = "tls.crt";

/// The canonical key of a client certificate's private key, in PEM.
pub const PRIVATE_KEY: &str = "tls.key";

/// Longest timeout that is used where the spec names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// When and how patiently a connection is looked at, with every default filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePolicy {
    /// Time from one look to the next.
    pub interval: Duration,
    /// How long one look may take.
    pub timeout: Duration,
    /// Transient failures in a row that make a working connection a broken one.
    pub failure_threshold: u32,
    /// Successes in a row that make a broken connection a working one.
    pub success_threshold: u32,
}

/// A Secret or ConfigMap that the spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// Which object.
    pub object: Object<'a>,
    /// What it is needed for.
    pub role: Role<'a>,
}

/// An object of the Connection's namespace, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object<'a> {
    /// A Secret.
    Secret(&'a str),
    /// A ConfigMap.
    ConfigMap(&'a str),
}

/// What a Secret or ConfigMap is needed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// It holds the credentials; the map is `credentials.keys` (canonical key to key in the Secret).
    Credentials(BTreeMap<String, String>),
    /// It holds the trusted certificates, under this key.
    TrustedCa(&'a str),
    /// It holds the client certificate; the map goes from keys of [`CLIENT_CERTIFICATE_KEYS`] to keys in the Secret.
    ClientCertificate(BTreeMap<String, String>),
}

impl ConnectionSpec {
    /// The settings of the type, once what the schema promises about the spec was checked.
    ///
    /// # Errors
    /// A sentence for the user, where the stored spec breaks a rule: the reason is `InvalidConfiguration`.
    pub fn settings(&self) -> Result<&dyn Definition, String> {
        let settings = self.members.settings(self.type_)?;
        if !self.asked_permissions().iter().all(|asked| self.type_.about().permissions.contains(asked)) {
            return Err(permissions_message(self.type_));
        }
        if let Some(credentials) = &self.credentials {
            if credentials.secret_ref.is_none() {
                return Err(Credentials::RULE.to_owned());
            }
            self.check_keys(credentials)?;
        }
        match self.tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
            Some(
                Bundle { secret_ref: Some(_), config_map_ref: None }
                | Bundle { secret_ref: None, config_map_ref: Some(_) },
            )
            | None => {}
            Some(Bundle { .. }) => return Err(Bundle::RULE.to_owned()),
        }
        self.probe_policy()?;
        Ok(settings)
    }

    /// When and how patiently the connection is looked at, with every default filled in.
    ///
    /// # Errors
    /// A sentence for the user, where a stored value cannot be read or is out of range.
    pub fn probe_policy(&self) -> Result<ProbePolicy, String> {
        let Probe { interval, timeout, failure_threshold, success_threshold } = self.probe.clone().unwrap_or_default();
        let interval = read(interval.as_deref(), "`interval` must be 5s to 24h", 5, 24 * 3600)?
            .unwrap_or(self.type_.about().interval);
        let timeout =
            read(timeout.as_deref(), "`timeout` must be 1s to 60s", 1, 60)?.unwrap_or(DEFAULT_TIMEOUT.min(interval));
        if timeout > interval {
            return Err(Probe::TIMEOUT_RULE.to_owned());
        }
        let threshold = |given: Option<u32>, default, sentence: &str| match given.unwrap_or(default) {
            threshold @ 1..=10 => Ok(threshold),
            _ => Err(sentence.to_owned()),
        };
        Ok(ProbePolicy {
            interval,
            timeout,
            failure_threshold: threshold(failure_threshold, 3, "`failureThreshold` must be 1 to 10")?,
            success_threshold: threshold(success_threshold, 1, "`successThreshold` must be 1 to 10")?,
        })
    }

    /// Whether nothing is to be probed.
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or_default()
    }

    /// How much TLS is asked for, with the default filled in.
    pub fn tls_mode(&self) -> tls::Mode {
        self.tls.as_ref().and_then(|tls| tls.mode).unwrap_or_default()
    }

    /// The permissions to prove, sorted, without duplicates.
    pub fn asked_permissions(&self) -> Vec<Permission> {
        let mut asked = self.permissions.clone().unwrap_or_default();
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// The name of the Secret that holds the credentials.
    pub fn credentials_secret(&self) -> Option<&str> {
        Some(&self.credentials.as_ref()?.secret_ref.as_ref()?.name)
    }

    /// The name of the Secret that holds the client certificate.
    pub fn client_certificate_secret(&self) -> Option<&str> {
        Some(&self.tls.as_ref()?.client_certificate_secret_ref.as_ref()?.name)
    }

    /// Every Secret and ConfigMap that the spec names, in the order in which they are read: credentials, CA, client
    /// certificate.
    pub fn sources(&self) -> Vec<Source<'_>> {
        let credentials = self.credentials_secret().map(|name| Source {
            object: Object::Secret(name),
            role: Role::Credentials(self.credentials.as_ref().and_then(|c| c.keys.clone()).unwrap_or_default()),
        });
        let tls = self.tls.as_ref();
        let ca = tls.and_then(|tls| tls.ca.as_ref());
        let bundles = ca.into_iter().flat_map(|ca| {
            let secret = ca.secret_ref.as_ref().map(|at| (Object::Secret(&at.name), at));
            let config_map = ca.config_map_ref.as_ref().map(|at| (Object::ConfigMap(&at.name), at));
            let found = secret.into_iter().chain(config_map);
            found.map(|(object, at)| Source { object, role: Role::TrustedCa(&at.key) })
        });
        let certificate = tls.and_then(|tls| tls.client_certificate_secret_ref.as_ref()).map(|at| Source {
            object: Object::Secret(&at.name),
            role: Role::ClientCertificate(
                [(CERTIFICATE, &at.certificate_key), (PRIVATE_KEY, &at.private_key_key)]
                    .into_iter()
                    .filter_map(|(canonical, given)| Some((canonical.to_owned(), given.clone()?)))
                    .collect(),
            ),
        });
        credentials.into_iter().chain(bundles).chain(certificate).collect()
    }

    /// The fingerprint of what is probed: type, settings, credentials, TLS and permissions. Description, probe and suspend
    /// do not change it, nor does writing a default out.
    pub fn target_digest(&self) -> Digest {
        let mut tls = self.tls.clone().unwrap_or_default();
        tls.mode = Some(tls.mode.unwrap_or_default());
        let mut credentials = self.credentials.clone();
        if let Some(credentials) = &mut credentials {
            credentials.keys = credentials.keys.take().filter(|keys| !keys.is_empty());
        }
        let target = (self.type_, &self.members, credentials, tls, self.asked_permissions());
        let text = serde_json::to_vec(&target).expect("settings are maps with names as keys");
        Digest::of([text.as_slice()])
    }

    /// Checks that `credentials.keys` maps keys that the type has: a misspelt one would be silently without effect.
    fn check_keys(&self, credentials: &Credentials) -> Result<(), String> {
        let known = |name: &str| self.type_.about().keys.iter().any(|key| key.name == name);
        let all_known = credentials.keys.iter().flatten().all(|(name, _)| known(name));
        if all_known { Ok(()) } else { Err(keys_message(self.type_)) }
    }
}

impl Connection {
    /// The Secrets whose users count as users of the connection: credentials and client certificate, not the CA.
    pub fn used_secrets(&self) -> impl Iterator<Item = &str> {
        let certificate = self.spec.client_certificate_secret();
        let credentials = self.spec.credentials_secret();
        credentials.into_iter().chain(certificate.filter(move |name| Some(*name) != credentials))
    }
}

/// Reads a stored duration and checks its range, both ends included, in seconds.
fn read(text: Option<&str>, sentence: &str, least: u64, most: u64) -> Result<Option<Duration>, String> {
    let allowed = Duration::from_secs(least)..=Duration::from_secs(most);
    text.map(|text| parse_duration(text).filter(|found| allowed.contains(found)).ok_or_else(|| sentence.to_owned()))
        .transpose()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::connections::ConnectionType;

    /// A Connection as simple as can be.
    pub(crate) fn connection() -> Connection {
        Connection::new("orders-db", spec(&json!({})))
    }

    /// A spec of the first type of the list, with `over` laid over it.
    pub(crate) fn spec(over: &Value) -> ConnectionSpec {
        let kind = ConnectionType::ALL[0];
        let text = kind.about().minimal;
        let manifest = text.split("---").find(|part| part.contains("kind: Connection")).unwrap();
        let manifest: Value = serde_saphyr::from_str(manifest).unwrap();
        let mut spec = manifest["spec"].clone();
        spec.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let policy = spec(&json!({})).probe_policy().unwrap();
        let expected = ProbePolicy {
            interval: ConnectionType::ALL[0].about().interval,
            timeout: Duration::from_secs(10),
            failure_threshold: 3,
            success_threshold: 1,
        };
        assert_eq!(policy, expected);
        let hurried = spec(&json!({"probe": {"interval": "5s"}})).probe_policy().unwrap();
        assert_eq!(hurried.timeout, Duration::from_secs(5));
        assert_eq!(spec(&json!({})).tls_mode(), tls::Mode::VerifyFull);
        assert!(!spec(&json!({})).is_suspended());
    }

    #[test]
    fn a_stored_spec_that_breaks_a_rule_is_refused_with_its_sentence() {
        let member = ConnectionType::ALL[0].member();
        for (over, sentence) in [
            (json!({member: null}), "must be set exactly when"),
            (json!({"credentials": {}}), Credentials::RULE),
            (json!({"credentials": {"secretRef": {"name": "x"}, "keys": {"passwort": "p"}}}), "can map only"),
            (json!({"tls": {"ca": {}}}), Bundle::RULE),
            (json!({"probe": {"interval": "4s"}}), "5s to 24h"),
            (json!({"probe": {"interval": "24h1ms"}}), "5s to 24h"),
            (json!({"probe": {"interval": "soon"}}), "5s to 24h"),
            (json!({"probe": {"timeout": "999ms"}}), "1s to 60s"),
            (json!({"probe": {"timeout": "11s", "interval": "10s"}}), Probe::TIMEOUT_RULE),
            (json!({"probe": {"failureThreshold": 0}}), "`failureThreshold`"),
            (json!({"probe": {"successThreshold": 11}}), "`successThreshold`"),
        ] {
            let refused = spec(&over).settings().err().unwrap_or_default();
            assert!(refused.contains(sentence), "{over}: {refused}");
        }
        assert!(spec(&json!({})).settings().is_ok());
    }

    #[test]
    fn every_named_object_is_a_source_and_the_ca_is_not_a_use() {
        let tls = json!({
            "ca": {"configMapRef": {"name": "roots", "key": "ca.crt"}},
            "clientCertificateSecretRef": {"name": "client", "privateKeyKey": "k"},
        });
        let named = spec(&json!({"credentials": {"secretRef": {"name": "login"}}, "tls": tls}));
        let objects: Vec<_> = named.sources().into_iter().map(|source| source.object).collect();
        assert_eq!(objects, [Object::Secret("login"), Object::ConfigMap("roots"), Object::Secret("client")]);
        let renamed = BTreeMap::from([(PRIVATE_KEY.to_owned(), "k".to_owned())]);
        assert_eq!(named.sources()[2].role, Role::ClientCertificate(renamed));
        let connection = Connection::new("c", named);
        assert!(connection.used_secrets().eq(["login", "client"]));
    }

    #[test]
    fn only_what_is_probed_changes_the_target() {
        let digest = |over: Value| spec(&over).target_digest();
        let base = digest(json!({}));
        for same in [
            json!({"description": "other"}),
            json!({"probe": {"interval": "7s"}}),
            json!({"suspend": true}),
            json!({"tls": {"mode": "VerifyFull"}}),
            json!({"tls": null}),
            json!({"permissions": []}),
        ] {
            assert_eq!(digest(same.clone()), base, "{same}");
        }
        let mut seen = vec![base];
        for other in [
            json!({"tls": {"mode": "Require"}}),
            json!({"tls": {"serverName": "x"}}),
            json!({"permissions": ["Read"]}),
            json!({"credentials": {"secretRef": {"name": "another"}}}),
            json!({"credentials": {"secretRef": {"name": "another"}, "keys": {"password": "p"}}}),
        ] {
            let found = digest(other.clone());
            assert!(!seen.contains(&found), "{other}");
            seen.push(found);
        }
    }
}

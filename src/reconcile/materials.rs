//! Readings of Secrets and ConfigMaps → what a probe is given: selected credentials, trusted CA, client certificate.
//!
//! Pure. A reading lives as long as one pass; what is selected goes into the prepared probe and nowhere else.

use std::collections::BTreeMap;

use crate::{
    api::{ConnectionSpec, Object, Role, spec::CLIENT_CERTIFICATE_KEYS},
    connections::{Definition, Given, Refusal},
    failure::{Failure, FailureClass, Setting},
    net::tls::{Identity, Roots, Tls, Unusable},
    secret::{Credentials, Digest, Method, SecretValue, VALUE_LIMIT},
};

/// Types of Secrets that are never used: their values belong to the cluster, not to a data system.
const REFUSED_TYPES: [&str; 5] = [
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/dockercfg",
    "helm.sh/release.v1",
];

/// One Secret or ConfigMap as it was read.
#[derive(Debug)]
pub enum Reading {
    /// It is there.
    Present(Content),
    /// It is not there.
    Absent,
    /// The API server does not let the operator read it.
    Forbidden,
}

/// What was read.
pub struct Content {
    /// Its resourceVersion.
    pub version: String,
    /// Its type; empty for a ConfigMap.
    pub type_: String,
    /// Its data.
    pub data: BTreeMap<String, SecretValue>,
}

impl std::fmt::Debug for Content {
    /// Which keys a Secret has is nobody's business but its owner's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content(…)")
    }
}

impl Reading {
    /// The resourceVersion that was read; `None` where nothing was.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Present(content) => Some(&content.version),
            Self::Absent | Self::Forbidden => None,
        }
    }
}

/// What a probe is given, and the fingerprint of all values in it.
#[derive(Debug)]
pub struct Materials {
    /// The given.
    pub given: Given,
    /// The fingerprint.
    pub values: Digest,
}

/// Selects from what was read what the connection's settings use.
///
/// # Errors
/// The first reading that is absent, refused or of no use, or the sentence for a spec that contradicts itself.
pub fn select(
    spec: &ConnectionSpec,
    settings: &dyn Definition,
    namespace: &str,
    readings: &BTreeMap<Object<'_>, Reading>,
) -> Result<Materials, Refusal> {
    let mut roots = Roots::System;
    let mut identity = None;
    let mut marks: Vec<Digest> = Vec::new();
    let sources = spec.sources();
    for source in &sources {
        match &source.role {
            Role::Credentials(_) => {}
            Role::TrustedCa(key) => {
                let (content, about) = present(readings, source.object)?;
                let bundle = content.data.get(*key).ok_or_else(|| lacking(&about).setting(Setting::from_spec(key)))?;
                within_limit(bundle, &about)?;
                roots = Roots::from_pem(bundle.expose()).map_err(|unusable| malformed(&about, unusable))?;
                marks.push(Digest::of([bundle.expose()]));
            }
            Role::ClientCertificate(renamed) => {
                let (content, about) = present(readings, source.object)?;
                let names = CLIENT_CERTIFICATE_KEYS.iter().map(|key| key.name).collect();
                let method = Method { name: "client certificate", required: names, optional: Vec::new() };
                let pair = Credentials::select(copy(content), renamed, CLIENT_CERTIFICATE_KEYS, &[method], &about)?;
                let part = |n: usize| CLIENT_CERTIFICATE_KEYS.get(n).and_then(|key| pair.get(key.name));
                if let (Some(certificate), Some(key)) = (part(0), part(1)) {
                    let found = Identity::from_pem(certificate.expose(), key.expose());
                    identity = Some(found.map_err(|unusable| malformed(&about, unusable))?);
                }
                marks.push(pair.digest());
            }
        }
    }
    let server_name = spec.tls.as_ref().and_then(|tls| tls.server_name.clone());
    let tls = Tls { mode: spec.tls_mode().into(), roots, identity, server_name };
    let (credentials, secret) = credentials(spec, settings, &tls, readings)?;
    marks.push(credentials.digest());
    let values = Digest::of(marks.iter().map(|mark| mark.bytes().as_slice()));
    let permissions = spec.asked_permissions();
    let given = Given { namespace: namespace.to_owned(), credentials, secret, tls, permissions };
    Ok(Materials { given, values })
}

fn credentials(
    spec: &ConnectionSpec,
    settings: &dyn Definition,
    tls: &Tls,
    readings: &BTreeMap<Object<'_>, Reading>,
) -> Result<(Credentials, Setting), Refusal> {
    let methods = settings.methods(tls);
    let keys = spec.type_.about().keys;
    for source in spec.sources() {
        if let Role::Credentials(renamed) = &source.role {
            let (content, about) = present(readings, source.object)?;
            if methods.is_empty() {
                return Ok((Credentials::default(), about));
            }
            return Ok((Credentials::select(copy(content), renamed, keys, &methods, &about)?, about));
        }
    }
    let about = Setting::from_spec(spec.type_.as_str());
    let none_needed = methods.is_empty() || methods.iter().any(|method| method.required.is_empty());
    if none_needed || settings.goes_without_credentials() {
        return Ok((Credentials::default(), about));
    }
    let ways: Vec<String> = methods.iter().map(|method| method.required.join(" and ")).collect();
    let needed = ways.join(", or ");
    Err(Refusal::Invalid(format!("`credentials` must name a Secret that holds {needed}")))
}

fn present<'a>(
    readings: &'a BTreeMap<Object<'a>, Reading>,
    object: Object<'a>,
) -> Result<(&'a Content, Setting), Failure> {
    let about = shown(object);
    let fail = |class| Failure::new(class).about(about.clone());
    let content = match readings.get(&object) {
        Some(Reading::Present(content)) => content,
        Some(Reading::Forbidden) => return Err(fail(FailureClass::SecretNotReadable)),
        Some(Reading::Absent) | None => return Err(fail(FailureClass::SecretNotFound)),
    };
    if let Some(refused) = REFUSED_TYPES.iter().find(|refused| **refused == content.type_) {
        let failure = fail(FailureClass::CredentialsMalformed).word(refused);
        return Err(failure.advice("Secrets of this type are never used; make one of type Opaque"));
    }
    Ok((content, about))
}

/// `Secret NAME` or `ConfigMap NAME`, as messages say it.
pub fn shown(object: Object<'_>) -> Setting {
    match object {
        Object::Secret(name) => Setting::from_spec(format!("Secret {name}")),
        Object::ConfigMap(name) => Setting::from_spec(format!("ConfigMap {name}")),
    }
}

fn within_limit(value: &SecretValue, about: &Setting) -> Result<(), Failure> {
    if value.expose().len() <= VALUE_LIMIT {
        return Ok(());
    }
    let failure = Failure::new(FailureClass::CredentialsMalformed).about(about.clone());
    Err(failure.advice("a value is larger than 64 KiB; name a bundle with only the CAs that are needed"))
}

fn lacking(about: &Setting) -> Failure {
    Failure::new(FailureClass::SecretKeyMissing).about(about.clone())
}

fn malformed(about: &Setting, unusable: Unusable) -> Failure {
    Failure::new(FailureClass::CredentialsMalformed).about(about.clone()).word(unusable.as_str())
}

/// One Secret may play several parts, and each takes its own values.
fn copy(content: &Content) -> BTreeMap<String, SecretValue> {
    content.data.iter().map(|(key, value)| (key.clone(), SecretValue::new(value.expose().to_vec()))).collect()
}

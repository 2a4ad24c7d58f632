//! The one look at a bucket: a token for the service account, and the question which rights it has, which needs none. Where the bucket
//! does not grant what is asked for, a prefix is looked at itself: what a condition or a managed folder grants shows there only.
//!
//! Every request is a `GET`, but for the one for the token. Of an answer its kind, the rights, one name and the reason are read; no text
//! of it leaves these files.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderValue, Request, Uri,
    header::{ACCEPT, AUTHORIZATION},
};
use serde_json::{Value, json};

use crate::{
    connections::{
        Permission, Probe,
        family::{
            jwt,
            oauth::{self, Assertion},
        },
        text,
    },
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, http::Target, tls::Tls},
};

mod answer;
mod key;

use answer::{Cause, Refused};
pub(super) use key::{Login, Place, ServiceAccount, UNIVERSE};

/// How long a token of ours is good for, in seconds: the hour that Google allows and that its own clients ask for, so that a clock
/// that does them no harm does none here.
const LIFETIME: u64 = 3600;

/// What a token may be used for.
const READ_ONLY: &str = "https://www.googleapis.com/auth/devstorage.read_only";
const READ_WRITE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// All that one look needs.
pub(super) struct Look {
    /// URL of the bucket in the API.
    pub url: String,
    pub tls: Tls,
    pub account: ServiceAccount,
    pub bucket: String,
    pub prefix: Option<String>,
    /// The project that is billed.
    pub payer: Option<String>,
    pub permissions: Vec<Permission>,
}

/// What was seen of a right below the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Granted,
    Denied,
    /// It cannot be seen without an object to read, or without writing.
    Unclear,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let bearer = self.bearer(net, now()).await?;
        let asked = if self.permissions.is_empty() { &[Permission::List][..] } else { &self.permissions };
        let held = self.held(net, &bearer, asked).await?;
        let missing: Vec<Permission> = asked.iter().copied().filter(|permission| !held.contains(permission)).collect();
        let (denied, unclear) = match &self.prefix {
            Some(prefix) if !missing.is_empty() => self.below(net, &bearer, prefix, &missing).await?,
            _ => (missing, Vec::new()),
        };
        if !denied.is_empty() {
            return Err(self.denied(&denied, &held));
        }
        if !unclear.is_empty() {
            let failure = Failure::new(FailureClass::NotProvable).about(self.shown()).advice(NOT_SHOWN);
            return Err(self.naming(&unclear, failure));
        }
        Ok(Proof::default())
    }
}

impl Look {
    /// What shows who we are.
    async fn bearer(&self, net: &Network, now: u64) -> Result<HeaderValue, Failure> {
        let ServiceAccount { email, id, signer, login } = &self.account;
        let sign = |claims: &Value| signer.sign_as(id.as_deref(), claims);
        let scope = scope(&self.permissions);
        match login {
            Login::SelfSigned => oauth::bearer(&sign(&own_claims(email, scope, now))?),
            Login::Exchange { url, audience } => {
                let token = sign(&claims(email, audience, scope, now))?;
                let assertion = Assertion { url: url.clone(), token, made: now };
                let token =
                    assertion.exchange(net, &self.tls_of(url)).await.map_err(|failure| match failure.class() {
                        FailureClass::WrongCredentials => failure.advice(NOT_TAKEN),
                        _ => failure,
                    })?;
                net.step(Stage::Access);
                oauth::bearer(&token)
            }
        }
    }

    /// TLS with who gives tokens. `tls.serverName` is about the API's host only.
    fn tls_of(&self, url: &str) -> Tls {
        let target = |url: &str| Target::of(&url.parse::<Uri>().ok()?);
        if target(url) == target(&self.url) { self.tls.clone() } else { Tls { server_name: None, ..self.tls.clone() } }
    }

    /// The permissions that the bucket grants, of those that are asked for and of `List`. The question needs no right. It is answered of
    /// a bucket of somebody else as of one's own: that nothing is granted.
    async fn held(
        &self,
        net: &Network,
        bearer: &HeaderValue,
        asked: &[Permission],
    ) -> Result<Vec<Permission>, Failure> {
        let list = (!asked.contains(&Permission::List)).then_some(Permission::List);
        let tried: Vec<Permission> = list.into_iter().chain(asked.iter().copied()).collect();
        let query: Vec<_> = tried.iter().map(|permission| ("permissions", right(*permission))).collect();
        let tested = self.ask(net, bearer, "/iam/testPermissions", &query, answer::TESTED).await?;
        let tested = tested.map_err(|refused| self.forbidden(&refused))?;
        Ok(tried.into_iter().filter(|permission| answer::holds(&tested, right(*permission))).collect())
    }

    /// Of what the bucket does not grant: what is not granted below the prefix either, and of what that cannot be seen.
    async fn below(
        &self,
        net: &Network,
        bearer: &HeaderValue,
        prefix: &str,
        missing: &[Permission],
    ) -> Result<(Vec<Permission>, Vec<Permission>), Failure> {
        let query = [("prefix", prefix), ("maxResults", "1"), ("fields", "kind,items(name)")];
        let listed = match self.ask(net, bearer, "/o", &query, answer::LISTED).await? {
            Ok(listed) => listed,
            Err(refused) if refused.cause() == Cause::Right => return Ok((missing.to_vec(), Vec::new())),
            Err(refused) => return Err(self.forbidden(&refused)),
        };
        let (mut denied, mut unclear) = (Vec::new(), Vec::new());
        for permission in missing {
            let seen = match (permission, answer::first(&listed)) {
                (Permission::List, _) => Seen::Granted,
                (Permission::Read, Some(name)) => self.may_read(net, bearer, name).await?,
                (Permission::Read, None) | (Permission::Write, _) => Seen::Unclear,
            };
            match seen {
                Seen::Granted => {}
                Seen::Denied => denied.push(*permission),
                Seen::Unclear => unclear.push(*permission),
            }
        }
        Ok((denied, unclear))
    }

    /// Whether an object can be read. What it is needs the same right as what is in it.
    async fn may_read(&self, net: &Network, bearer: &HeaderValue, name: &str) -> Result<Seen, Failure> {
        let path = format!("/o/{}", text::encode(name));
        match self.ask(net, bearer, &path, &[("fields", "kind")], answer::OBJECT).await? {
            Ok(_) => Ok(Seen::Granted),
            Err(refused) => match refused.cause() {
                Cause::Right => Ok(Seen::Denied),
                // It was deleted since.
                Cause::Absence => Ok(Seen::Unclear),
                Cause::Rejection | Cause::Payer | Cause::Other(_) => Err(self.forbidden(&refused)),
            },
        }
    }

    /// Asks about the bucket. What the API refuses for a reason that has to do with it is for the caller to judge.
    async fn ask(
        &self,
        net: &Network,
        bearer: &HeaderValue,
        path: &str,
        query: &[(&str, &str)],
        kind: &str,
    ) -> Result<Result<Value, Refused>, Failure> {
        let payer = self.payer.as_deref().map(|project| ("userProject", project));
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(query.iter().copied().chain(payer)).finish();
        let request = Request::get(format!("{}{path}?{query}", self.url))
            .header(AUTHORIZATION, bearer.clone())
            .header(ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|_| Failure::new(FailureClass::Internal))?;
        let answer = net.exchange(&self.tls, request).await?;
        let refused = match answer::document(kind, answer.status, &answer.whole()?, self.payer.is_some()) {
            Ok(document) => {
                net.step(Stage::Access);
                return Ok(Ok(document));
            }
            Err(refused) => refused,
        };
        match refused.cause() {
            Cause::Rejection if jwt::clocks_differ(&answer.headers, now()) => {
                Err(refused.failure_as(FailureClass::ClockSkewed))
            }
            Cause::Rejection => Err(refused.failure().advice(NOT_TAKEN)),
            Cause::Other(_) => Err(refused.failure()),
            Cause::Absence | Cause::Right | Cause::Payer => {
                net.step(Stage::Access);
                Ok(Err(refused))
            }
        }
    }

    /// What it means that a question was refused which needs no right, or one that is there.
    fn forbidden(&self, refused: &Refused) -> Failure {
        let failure = refused.failure();
        match (refused.cause(), &self.payer) {
            (Cause::Rejection | Cause::Other(_), _) => failure,
            (Cause::Absence, _) => failure.about(self.shown()),
            (Cause::Payer, Some(_)) => failure.about(self.shown()).advice(PAYER),
            (Cause::Right, Some(_)) => failure.about(self.shown()).advice(PAYER_OR_ABOVE),
            (Cause::Payer, None) => failure.about(self.shown()).advice(NO_PAYER),
            (Cause::Right, None) => failure.about(self.shown()).advice(ABOVE),
        }
    }

    fn denied(&self, denied: &[Permission], held: &[Permission]) -> Failure {
        let failure = Failure::new(FailureClass::PermissionDenied).about(self.shown());
        let failure = self.naming(denied, failure);
        match &self.prefix {
            Some(_) => failure.advice(NOT_BELOW),
            None if held.is_empty() => failure.advice(NOTHING),
            None => failure,
        }
    }

    /// Names permissions as they were asked for; where none was, the right that stands for the bucket's being there.
    fn naming(&self, permissions: &[Permission], failure: Failure) -> Failure {
        let word = |permission: &Permission| {
            if self.permissions.is_empty() { right(*permission) } else { permission.as_str() }
        };
        permissions.iter().map(word).fold(failure, Failure::word)
    }

    fn shown(&self) -> Setting {
        Setting::from_spec(format!("bucket {}", self.bucket))
    }
}

/// The right that a permission is.
const fn right(permission: Permission) -> &'static str {
    match permission {
        Permission::List => "storage.objects.list",
        Permission::Read => "storage.objects.get",
        Permission::Write => "storage.objects.create",
    }
}

/// What the token is used for: no more than is asked.
fn scope(permissions: &[Permission]) -> &'static str {
    if permissions.contains(&Permission::Write) { READ_WRITE } else { READ_ONLY }
}

/// What the token says that is exchanged for one ("Using OAuth 2.0 for Server to Server Applications").
fn claims(email: &str, audience: &str, scope: &str, now: u64) -> Value {
    json!({"iss": email, "scope": scope, "aud": audience, "iat": now, "exp": now + LIFETIME})
}

/// What the token says that the API takes itself (AIP-4111): a scope, and then no audience.
fn own_claims(email: &str, scope: &str, now: u64) -> Value {
    json!({"iss": email, "sub": email, "scope": scope, "iat": now, "exp": now + LIFETIME})
}

#[expect(clippy::disallowed_methods, reason = "a token says when it was made, and the service compares clocks")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const NOT_TAKEN: &str = "check that the service account and this key of it exist and are enabled, or make a new key; a wrong clock of \
    the node is rejected in the same words";
const NOTHING: &str =
    "grant it on the bucket, or correct the bucket's name: in a bucket of somebody else nothing is granted either";
const NOT_BELOW: &str = "grant it on the bucket, or below the prefix together with listing; or correct the bucket's name: in a bucket of \
    somebody else nothing is granted either";
const NOT_SHOWN: &str = "the bucket does not grant it; whether a condition or a managed folder does below the prefix cannot be seen \
    without an object to read there, or without writing";
const ABOVE: &str = "this question needs no right, so something above rights forbids it: a perimeter of VPC Service Controls, a filter of \
    addresses, or a project that is disabled";
const NO_PAYER: &str =
    "who asks pays for this bucket: name the project that is billed in spec.googleStorage.userProject";
const PAYER_OR_ABOVE: &str = "check spec.googleStorage.userProject (it must exist and have billing, and the account needs \
    serviceusage.services.use in it), or what forbids it above rights: a perimeter of VPC Service Controls, a filter of addresses, or a \
    project that is disabled";
const PAYER: &str = "check spec.googleStorage.userProject: it must exist and have billing, and the account needs \
    serviceusage.services.use in it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_asks_for_what_and_is_good_for_an_hour() {
        let url = "https://oauth2.googleapis.com/token";
        assert_eq!(
            claims("reader@shop", url, READ_ONLY, 1000),
            json!({"iss": "reader@shop", "scope": READ_ONLY, "aud": url, "iat": 1000, "exp": 4600})
        );
        assert_eq!(
            own_claims("reader@shop", READ_WRITE, 1000),
            json!({"iss": "reader@shop", "sub": "reader@shop", "scope": READ_WRITE, "iat": 1000, "exp": 4600})
        );
    }

    #[test]
    fn who_does_not_ask_to_write_has_a_token_that_cannot() {
        assert_eq!(scope(&[]), READ_ONLY);
        assert_eq!(scope(&[Permission::List, Permission::Read]), READ_ONLY);
        assert_eq!(scope(&[Permission::Read, Permission::Write]), READ_WRITE);
    }
}

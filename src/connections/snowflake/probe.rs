//! The one look at a Snowflake account: a few statements to its SQL API, each in a request of its own.
//!
//! No statement needs a warehouse, and no request names one, so none is resumed. Of an answer the names in it and its code are
//! read; no text of it leaves these files.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderValue, Request, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};

use crate::{
    connections::{
        Permission, Probe,
        family::{
            jwt::{self, PrivateKey},
            oauth,
        },
    },
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, http::Answer, tls::Tls},
    secret::SecretValue,
};

mod answer;
mod statement;

use answer::{By, Refused};
use statement::Found;
pub(super) use statement::Target;

/// Where statements go.
pub(super) const PATH: &str = "/api/v2/statements";

/// What kind of token it is. Without this header the service looks at the token itself ("Authenticating to the server" of the SQL
/// API's guide), which tells an OAuth token from a programmatic one.
const TOKEN_TYPE: &str = "x-snowflake-authorization-token-type";

/// How long the token of a key pair is good for, in seconds: no look takes longer, and the service allows an hour.
const LIFETIME: u64 = 120;

const JSON: &str = "application/json";

/// All that one look needs.
pub(super) struct Look {
    pub url: Uri,
    pub tls: Tls,
    pub login: Login,
    pub role: Option<String>,
    /// What must be there, in this order. The permissions are about the first.
    pub targets: Vec<Target>,
    pub permissions: Vec<Permission>,
}

/// Who we say we are.
pub(super) enum Login {
    KeyPair {
        /// Shared with the thread that unlocks it.
        key: Arc<PrivateKey>,
        /// The account without its region, in capitals.
        account: String,
        /// The user's name, in capitals.
        user: String,
        /// The Secret with the key, and where in it the key is.
        secret: Setting,
        name: &'static str,
    },
    /// A token of OAuth or a programmatic access token.
    Token(SecretValue),
}

/// What goes with each request of a look.
struct Bearer {
    authorization: HeaderValue,
    kind: Option<&'static str>,
}

/// What became of a statement that is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Made,
    /// A right is missing.
    Denied,
    Unclear(Refused),
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let bearer = self.login.bearer(net).await?;
        for target in &self.targets {
            self.find(net, &bearer, target).await?;
        }
        self.prove(net, &bearer).await?;
        let warehouse = self.targets.iter().any(|target| matches!(target, Target::Warehouse(_)));
        Ok(Proof::default().but(warehouse.then_some("that the warehouse may be used, since it is not")))
    }
}

impl Look {
    /// Whether the target is there. The first such request is the login.
    async fn find(&self, net: &Network, bearer: &Bearer, target: &Target) -> Result<(), Failure> {
        let answer = self.ask(net, bearer, &target.statement()).await?;
        let listed = answer::names(answer.status, &answer.whole()?);
        let listed = listed.map_err(|refused| self.explain(&refused, target, &answer))?;
        let missing = || Failure::new(FailureClass::TargetNotFoundOrNotPermitted).about(target.shown());
        match target.found_in(&listed) {
            Found::Exactly => Ok(()),
            Found::InOtherCase => Err(missing().advice(
                "a name that differs in case only is there, and names are exact: what was created without quotes is in capitals",
            )),
            Found::Nowhere => Err(missing()),
        }
    }

    /// Whether each asked permission is there.
    async fn prove(&self, net: &Network, bearer: &Bearer) -> Result<(), Failure> {
        let Some(target) = self.targets.first() else { return Ok(()) };
        let mut seen = Vec::new();
        for permission in &self.permissions {
            seen.push((*permission, self.compiles(net, bearer, target, *permission).await?));
        }
        let of = |wanted| seen.iter().find(|(permission, _)| *permission == wanted).map(|(_, plan)| *plan);
        // The proof of Write needs SELECT as well, and a denial does not say which right is missing.
        let write_denied = of(Permission::Write) == Some(Plan::Denied);
        let readable = match of(Permission::Read) {
            Some(read) => read == Plan::Made,
            None if write_denied => self.compiles(net, bearer, target, Permission::Read).await? == Plan::Made,
            None => true,
        };
        let denied: Vec<Permission> = seen
            .iter()
            .filter(|(permission, plan)| *plan == Plan::Denied && (readable || *permission != Permission::Write))
            .map(|(permission, _)| *permission)
            .collect();
        if !denied.is_empty() {
            let failure = Failure::new(FailureClass::PermissionDenied).about(target.shown()).words(&denied);
            return Err(if write_denied {
                failure.advice("grant SELECT for Read, and SELECT and INSERT for Write, to the role")
            } else {
                failure
            });
        }
        let unclear = seen.iter().rev().find_map(|(permission, plan)| match plan {
            Plan::Unclear(refused) => Some((permission, refused)),
            Plan::Made | Plan::Denied => None,
        });
        match unclear {
            Some((permission, refused)) => {
                Err(refused.failure_as(FailureClass::NotProvable).about(target.shown()).word(permission.as_str()))
            }
            None if write_denied => Err(Failure::new(FailureClass::NotProvable)
                .about(target.shown())
                .word(Permission::Write.as_str())
                .advice("grant SELECT to the role, without which INSERT is not proven, or leave Write out of spec.permissions")),
            None => Ok(()),
        }
    }

    /// Whether the service makes a plan for what shows that `permission` is there.
    async fn compiles(
        &self,
        net: &Network,
        bearer: &Bearer,
        target: &Target,
        permission: Permission,
    ) -> Result<Plan, Failure> {
        let Some(statement) = target.proof(permission) else { return Ok(Plan::Made) };
        let answer = self.ask(net, bearer, &statement).await?;
        let explained = match answer.whole() {
            Ok(body) => answer::plan(answer.status, &body),
            // A plan may be longer than what is read; a refusal is not.
            Err(_) if answer.status.is_success() => Ok(()),
            Err(too_large) => return Err(too_large),
        };
        let Err(refused) = explained else { return Ok(Plan::Made) };
        match refused.class() {
            // It was seen a moment ago.
            FailureClass::PermissionDenied | FailureClass::TargetNotFoundOrNotPermitted
                if answer::is_let_in(refused.status) =>
            {
                Ok(Plan::Denied)
            }
            _ if refused.is_unclear() => Ok(Plan::Unclear(refused)),
            _ => Err(self.explain(&refused, target, &answer)),
        }
    }

    /// Sends one statement. It has the time that the look has left: one that outlives the look is cancelled by the service.
    async fn ask(&self, net: &Network, bearer: &Bearer, statement: &str) -> Result<Answer, Failure> {
        let timeout = net.remaining().as_secs() + 1;
        let mut body = json!({"statement": statement, "timeout": timeout});
        if let Some(role) = &self.role {
            body["role"] = json!(role);
        }
        let mut request = Request::post(self.url.clone())
            .header(AUTHORIZATION, bearer.authorization.clone())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON);
        if let Some(kind) = bearer.kind {
            request = request.header(TOKEN_TYPE, kind);
        }
        let request = request.body(Bytes::from(body.to_string())).map_err(|_| Failure::new(FailureClass::Internal))?;
        let answer = net.exchange(&self.tls, request).await?;
        if answer::is_let_in(answer.status) {
            net.step(Stage::Access);
        }
        Ok(answer)
    }

    /// What a refusal means, which came to a question about `target`.
    fn explain(&self, refused: &Refused, target: &Target, answer: &Answer) -> Failure {
        let failure = refused.failure();
        match refused.class() {
            FailureClass::WrongCredentials if refused.is_about_the_key() => {
                if refused.may_be_the_time() && jwt::clocks_differ(&answer.headers, now()) {
                    return refused.failure_as(FailureClass::ClockSkewed);
                }
                failure.advice(
                    "register the key's public half for this user, or correct spec.snowflake.account and the user's name; SYSTEM$GET_LOGIN_FAILURE_DETAILS says more",
                )
            }
            FailureClass::SourceNotAllowed if refused.is(answer::NO_POLICY) => {
                failure.advice("a programmatic access token needs a network policy: activate one for its user")
            }
            FailureClass::AccountLocked => failure.advice("enable or unlock the user"),
            FailureClass::TargetNotFoundOrNotPermitted
                if refused.is(answer::ROLE_UNKNOWN) || refused.is(answer::ROLE_NOT_GRANTED) =>
            {
                let role =
                    self.role.as_ref().map_or("the user's default role".to_owned(), |role| format!("role {role}"));
                failure.about(Setting::from_spec(role)).advice("create it, correct its name, or grant it to the user")
            }
            FailureClass::TargetNotFoundOrNotPermitted => failure
                .about(target.shown())
                .advice("create it and what it is in, correct the names, or grant the role a privilege on each"),
            FailureClass::PermissionDenied => failure.about(target.shown()),
            FailureClass::ProtocolMismatch if refused.by == By::Stranger => failure.advice(
                "check spec.snowflake.account and host: for an account that does not exist something else answers",
            ),
            _ => failure,
        }
    }
}

impl Login {
    /// What shows who we are. The token of a key pair is made for this look.
    async fn bearer(&self, net: &Network) -> Result<Bearer, Failure> {
        match self {
            Self::Token(token) => Bearer::of(token, None),
            Self::KeyPair { key, account, user, secret, name } => {
                let key = Arc::clone(key);
                let unlocked = net.compute(move || key.unlock()).await?;
                let signer = unlocked.map_err(|unusable| unusable.failure(name, secret))?;
                let token = signer.sign(&claims(account, user, &signer.fingerprint()?, now()))?;
                Bearer::of(&token, Some("KEYPAIR_JWT"))
            }
        }
    }
}

impl Bearer {
    fn of(token: &SecretValue, kind: Option<&'static str>) -> Result<Self, Failure> {
        Ok(Self { authorization: oauth::bearer(token)?, kind })
    }
}

/// What the token of a key pair says ("Authenticating to the server" of the SQL API's guide).
fn claims(account: &str, user: &str, fingerprint: &str, now: u64) -> Value {
    json!({
        "iss": format!("{account}.{user}.SHA256:{fingerprint}"),
        "sub": format!("{account}.{user}"),
        "iat": now,
        "exp": now + LIFETIME,
    })
}

#[expect(clippy::disallowed_methods, reason = "a token says when it was made, and the service compares clocks")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_key_it_is_and_is_good_for_one_look() {
        let expected = json!({
            "iss": "MYORG-SHOP.READER.SHA256:q7+/=", "sub": "MYORG-SHOP.READER", "iat": 1000, "exp": 1120,
        });
        assert_eq!(claims("MYORG-SHOP", "READER", "q7+/=", 1000), expected);
    }
}

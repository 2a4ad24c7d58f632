//! A stand-in for the API of Spotinst, as far as an account is concerned, over HTTPS.
//!
//! It verifies what it is sent (the token, the headers, one request), knows organizations with their accounts and users with their roles,
//! and answers in the form that the vendor's SDK for Go reads: `spotinst/client/response.go` and
//! `service/account/providers/common/account.go`. Which status and code a refusal has is not documented; each test says what it takes.
//! Whatever is not read has a canary. What should never have been sent fails the test that owns it.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Value, json};

use super::{
    authority::{Authority, Clients},
    web::{Answer, Asked, Faults, Web, of_token},
};

/// The authority of every API here.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// The account that the minimal example names.
pub const ACCOUNT: &str = "act-7c2d91e4";

const PATH: &str = "GET /setup/account/";

/// What the API knows.
#[derive(Clone, Default)]
pub struct Known {
    /// The accounts that exist, of whatever organization.
    accounts: Vec<String>,
    /// The accounts that a token's user may view, by that token.
    users: BTreeMap<String, Vec<String>>,
}

impl Known {
    /// What the minimal example names, and a user with `token` who may view it.
    pub fn example(token: &str) -> Self {
        Self::default().account(ACCOUNT).user(token, &["Viewer of the account act-7c2d91e4"])
    }

    /// An account.
    pub fn account(mut self, id: &str) -> Self {
        self.accounts.push(id.to_owned());
        self
    }

    /// A user with a token, and roles: each is `ROLE of the account ID`, with a role that may at least view.
    pub fn user(mut self, token: &str, roles: &[&str]) -> Self {
        let viewed = |role: &&str| {
            let (role, account) = role.split_once(" of the account ").expect("a role");
            assert!(["Viewer", "Editor"].contains(&role), "{role} is no role");
            account.to_owned()
        };
        self.users.insert(token.to_owned(), roles.iter().map(viewed).collect());
        self
    }

    /// A running API that knows this.
    pub async fn start(self) -> Api {
        let faults = Faults::default();
        let book = faults.book();
        let web = impostor(move |asked| {
            let (answer, fault) = self.answer(asked);
            book(fault);
            Some(answer)
        });
        Api { web: web.await, _faults: faults }
    }

    fn answer(&self, asked: &Asked) -> (Answer, Option<String>) {
        let fault = |status, what: &str| (refusal(status, "canary"), Some(format!("{what}: {asked:?}")));
        let json = ["accept", "content-type"].iter().all(|name| asked.header(name) == "application/json");
        if asked.header("user-agent").is_empty() || !json {
            return fault(400, "without the headers that it needs");
        }
        if !asked.header("x-auth-token").is_empty() || !asked.body.is_empty() {
            return fault(400, "with more than it needs");
        }
        let account = asked.line.strip_prefix(PATH).filter(|id| !id.is_empty() && !id.contains(['/', '?', '%']));
        let Some(account) = account else { return fault(404, "another request") };
        let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let Some(viewed) = of_token(&self.users, token) else { return (refusal(401, "canary"), None) };
        if !self.accounts.iter().any(|known| known == account) {
            return (refusal(400, "Account_DOESNT_EXIST"), None);
        }
        if !viewed.iter().any(|known| known == account) {
            return (refusal(403, "canary"), None);
        }
        (items(&[found(account)]), None)
    }
}

/// A running API.
pub struct Api {
    /// What it was asked.
    pub web: Web,
    _faults: Faults,
}

impl Api {
    /// Whom its own certificate is signed by.
    pub fn authority() -> &'static Authority {
        &AUTHORITY
    }
}

/// The status that the API answers a request with, and how many faults it finds in it.
pub fn verdict(known: &Known, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, usize) {
    let (answer, fault) = known.answer(&Asked::of(line, headers.iter().copied(), body));
    (answer.status(), fault.into_iter().count())
}

/// A peer over TLS, with a certificate of the authority of every API, that answers as a test says.
pub async fn impostor(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::over(Some(AUTHORITY.acceptor(&["127.0.0.1", "localhost"], Clients::Anybody)), answer).await
}

/// An account, as an answer shows it.
pub fn found(id: &str) -> Value {
    json!({
        "accountId": id, "name": "canary", "organizationId": "canary", "cloudProvider": "AWS", "providerExternalId": "canary",
        "createdAt": "2016-12-09T09:44:58.000Z", "credentials": {"iamRole": "arn:canary", "externalId": "canary"},
    })
}

/// An answer with these items.
pub fn items(items: &[Value]) -> Answer {
    envelope(200, &json!({"items": items, "count": items.len()}))
}

/// A refusal.
pub fn refusal(status: u16, code: &str) -> Answer {
    envelope(status, &json!({"errors": [{"code": code, "message": "canary", "field": "canary"}]}))
}

/// What every answer is in.
pub fn envelope(status: u16, response: &Value) -> Answer {
    let request = json!({
        "id": "canary", "url": "/setup/account/canary", "method": "GET", "timestamp": "2016-12-09T09:44:58.197Z",
    });
    let mut body = json!({"request": request, "response": {
        "status": {"code": status, "message": "canary"}, "kind": "spotinst:canary",
    }});
    json_patch::merge(&mut body["response"], response);
    Answer::new(status, body.to_string()).header("content-type", "application/json; charset=utf-8")
}

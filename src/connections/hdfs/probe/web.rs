//! One look at a file or directory through WebHDFS, by the network's own HTTP client. Only the name node is asked: no redirect to a
//! data node is ever followed. A delegation token stands in the URL of a request, and no URL is ever shown.

use bytes::Bytes;
use http::{Request, Uri};

use super::{
    CLOSED,
    answer::{self, Kind, Refused},
};
use crate::{
    connections::{Permission, text},
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{
        Network,
        http::Answer,
        tls::{Mode, Tls},
    },
    secret::SecretValue,
};

/// After which name a listing begins: after all of them. Name nodes compare bytes with their signs, so that this is the last one. It
/// asks for the right to list, and for no names.
const AFTER_ALL: &str = "%7F";

/// What a look leaves out, where data is to be read or written: the name node alone is asked.
const DATA_NODES: &str = "that the data nodes can be reached, which the operator does not talk to";
/// It answers who asks about a right in safe mode, too.
const SAFE_MODE: &str = "that the name node is not in safe mode, in which nothing is written";

/// What is asked, and as whom.
pub(in crate::connections::hdfs) struct Plan {
    /// What the requests begin with, `http` or `https`, up to the `/webhdfs/v1` that is appended to it.
    pub(in crate::connections::hdfs) url: String,
    /// The file or directory that must exist, absolute.
    pub(in crate::connections::hdfs) path: String,
    /// Who asks.
    pub(in crate::connections::hdfs) who: Who,
    /// How the name node is secured.
    pub(in crate::connections::hdfs) tls: Tls,
    /// The permissions to prove.
    pub(in crate::connections::hdfs) permissions: Vec<Permission>,
}

/// Who asks.
pub(in crate::connections::hdfs) enum Who {
    /// Whoever this name is; it is taken at its word.
    Named(String),
    /// Whom a delegation token is for.
    Token(SecretValue),
}

/// What a request showed about a right.
enum Right {
    Granted,
    Denied,
    /// The name node does not take the question.
    Unclear(Refused),
}

impl Plan {
    /// Looks once.
    ///
    /// # Errors
    /// What did not pass.
    pub(super) async fn look(&self, net: &Network) -> Result<Proof, Failure> {
        match self.who {
            Who::Token(_) => self.may_log_in(net).await?,
            Who::Named(_) => net.nobody_checks_who_we_are(),
        }
        let kind = self.status(net).await?;
        net.step(Stage::Access);
        let mut denied = Vec::new();
        let mut unproven = None;
        for permission in &self.permissions {
            match self.right(net, *permission, kind).await? {
                Right::Granted => {}
                Right::Denied => denied.push(*permission),
                Right::Unclear(refused) => unproven = Some((*permission, refused)),
            }
        }
        if !denied.is_empty() {
            return Err(Failure::new(FailureClass::PermissionDenied).about(self.shown()).words(&denied));
        }
        if let Some((permission, refused)) = unproven {
            let failure = refused.failure_as(FailureClass::NotProvable).about(self.shown()).word(permission.as_str());
            return Err(failure.advice("leave the permission out: this server does not know the question for it"));
        }
        let asks = |permission| self.permissions.contains(&permission);
        let (read, write) = (asks(Permission::Read), asks(Permission::Write));
        Ok(Proof::default().but((read || write).then_some(DATA_NODES)).but(write.then_some(SAFE_MODE)))
    }

    /// Whether a token is looked at, and may be sent. One request without it tells: who answers that takes any token for good.
    async fn may_log_in(&self, net: &Network) -> Result<(), Failure> {
        let answer = self.exchange(net, "GETFILESTATUS", "").await?;
        let refused = Refused::of(answer.status, &answer.headers, &answer.beginning());
        if !refused.asks_for_a_login(&answer.headers) {
            let class = refused.class();
            let is_answered = answer::kind(answer.status, &answer.beginning()).is_some();
            let looked = matches!(class, FailureClass::TargetNotFound | FailureClass::PermissionDenied);
            if is_answered || looked || class == FailureClass::WrongCredentials {
                return Err(Failure::new(FailureClass::AuthenticationMethodNotSupported)
                    .word("without a login it answers, too")
                    .advice(
                        "set hdfs.user instead of spec.credentials: it trusts every name, and does not look at a token",
                    ));
            }
            return Err(self.explain(&refused));
        }
        // With `Disable` the URL says `http`, which needs that mode: the user wants it so.
        if self.tls.peer_is_verified() || self.tls.mode == Mode::Disable {
            return Ok(());
        }
        Err(Failure::new(FailureClass::UnverifiedPeer).advice(
            "set spec.tls.mode to VerifyFull, or to VerifyCA with a CA of your own in spec.tls.ca: a token is sent in readable form",
        ))
    }

    /// What the path leads to. It is the first request that says who asks, and so the login.
    async fn status(&self, net: &Network) -> Result<Kind, Failure> {
        let answer = self.ask(net, "GETFILESTATUS").await?;
        let body = answer.beginning();
        let refused = || self.explain(&Refused::of(answer.status, &answer.headers, &body));
        answer::kind(answer.status, &body).ok_or_else(refused)
    }

    /// Whether a right is there. Nothing is read or written.
    async fn right(&self, net: &Network, permission: Permission, kind: Kind) -> Result<Right, Failure> {
        let question = match (permission, kind) {
            // Who sees a file has listed it.
            (Permission::List, Kind::File) => return Ok(Right::Granted),
            (Permission::List, Kind::Directory) => format!("LISTSTATUS_BATCH&startAfter={AFTER_ALL}"),
            (Permission::Read, Kind::File) => "CHECKACCESS&fsaction=r--".to_owned(),
            (Permission::Write, Kind::File) => "CHECKACCESS&fsaction=-w-".to_owned(),
            // What is in a directory is reached by those only who may pass through it.
            (Permission::Read, Kind::Directory) => "CHECKACCESS&fsaction=r-x".to_owned(),
            (Permission::Write, Kind::Directory) => "CHECKACCESS&fsaction=-wx".to_owned(),
        };
        let answer = self.ask(net, &question).await?;
        let body = answer.beginning();
        let granted = match permission {
            Permission::List => answer::is_listing(answer.status, &body),
            Permission::Read | Permission::Write => answer::is_granted(answer.status, &body),
        };
        if granted {
            return Ok(Right::Granted);
        }
        let refused = Refused::of(answer.status, &answer.headers, &body);
        match refused.class() {
            FailureClass::PermissionDenied => Ok(Right::Denied),
            _ if refused.is_about_the_question() => Ok(Right::Unclear(refused)),
            _ => Err(self.explain(&refused)),
        }
    }

    /// What a refusal means.
    fn explain(&self, refused: &Refused) -> Failure {
        let class = refused.class();
        let failure = refused.failure_as(class);
        match (class, &self.who) {
            (FailureClass::WrongCredentials, Who::Named(_)) if refused.is_about_the_question() => failure
                .advice("correct hdfs.user: this server takes only names of the form in its dfs.webhdfs.user.provider.user.pattern"),
            (FailureClass::WrongCredentials | FailureClass::CredentialsExpired, Who::Named(_)) => {
                refused.failure_as(FailureClass::AuthenticationMethodNotSupported).advice(
                    "put a delegation token into a Secret and name it in spec.credentials instead of hdfs.user, or use \
                     hdfs.nameNodes with hdfs.kerberos: a name is not enough here",
                )
            }
            (FailureClass::WrongCredentials, Who::Token(_)) => failure.advice(
                "put a new token into the Secret: this one is another cluster's, was cancelled, or expired so long ago that the name \
                 node has forgotten it",
            ),
            (FailureClass::CredentialsExpired, Who::Token(_)) => {
                failure.advice("renew the token, or put a new one into the Secret: the name node gives it a day at a time")
            }
            (FailureClass::PermissionDenied, _) => failure.about(self.shown()).word("to reach it").advice(CLOSED),
            (FailureClass::TargetNotFound, _) => failure.about(self.shown()),
            (FailureClass::ServerUnavailable, _) if refused.is_standby() => {
                failure.word("it is a standby name node").advice("name the active one in hdfs.url, or all in hdfs.nameNodes")
            }
            _ => failure,
        }
    }

    /// Asks as who we are.
    async fn ask(&self, net: &Network, question: &str) -> Result<Answer, Failure> {
        let login = match &self.who {
            Who::Named(user) => format!("&user.name={}", text::encode(user)),
            Who::Token(token) => format!("&delegation={}", token.text().unwrap_or_default()),
        };
        self.exchange(net, question, &login).await
    }

    async fn exchange(&self, net: &Network, question: &str, login: &str) -> Result<Answer, Failure> {
        let path: Vec<String> = self.path.split('/').map(text::encode).collect();
        let uri = format!("{}/webhdfs/v1{}?op={question}{login}", self.url, path.join("/"));
        // Every part of it was looked at, or is encoded.
        let uri: Uri = uri.parse().map_err(|_| Failure::new(FailureClass::Internal))?;
        let request = Request::get(uri).body(Bytes::new()).map_err(|_| Failure::new(FailureClass::Internal))?;
        net.exchange(&self.tls, request).await
    }

    fn shown(&self) -> Setting {
        Setting::from_spec(&self.path)
    }
}

//! The one look at a Kafka cluster: one broker after the other until one answers, one login, a question about the topic and the
//! group, goodbye.
//!
//! librdkafka speaks the protocol, on a thread of its own (`native`). Its sockets end in this process (`bridge`), where the brokers
//! are dialled and secured and the login is watched (`wire`); so what went wrong is known without a word of librdkafka.

mod bridge;
mod message;
mod msk;
mod native;
mod wire;

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::ClientConfig;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::{
    bridge::{Bridge, Others},
    native::{Described, Native, Operation, Token, Wanted},
    wire::Login,
};
use super::Mechanism;
use crate::{
    connections::{
        Permission, Probe,
        family::{
            hosts::{End, Missed, Turns},
            oauth::Grant,
        },
    },
    failure::{Code, Failure, FailureClass, Proof, Setting},
    net::{
        Endpoint, Network,
        tls::{Mode, Tls},
    },
    secret::SecretValue,
};

pub(super) use self::msk::Signer;

/// Longest answer of a broker that the client takes, in bytes; below the probe's own budget, so that the client says so first.
const ANSWER_LIMIT: &str = "1000000";

const NOT_LET_IN: &str = "correct the Secret, allow its key kafka-cluster:Connect on the cluster, or synchronise the node's clock: \
    Amazon MSK says the same of each";

const NO_TOKEN: &str = "correct the Secret, or clientID, scope and audience in spec.kafka.oauth";

const GRANT_NOT_TAKEN: &str = "the endpoint has given a token and the brokers do not take it: correct scope, audience and extensions in spec.kafka.oauth";

const TOKEN_NOT_TAKEN: &str =
    "put a new token into the Secret, and one whose scope and audience are those that the brokers ask for";

/// All that one look needs.
pub(super) struct Look {
    pub brokers: Vec<Endpoint>,
    pub tls: Tls,
    pub login: Principal,
    pub properties: BTreeMap<String, String>,
    pub topic: Option<String>,
    pub group: Option<String>,
    pub permissions: Vec<Permission>,
}

/// Who logs in, and how.
pub(super) enum Principal {
    /// Nobody, or whoever the client certificate is for.
    None,
    /// A user with a password; the mechanism is PLAIN or one of SCRAM.
    Password { mechanism: Mechanism, user: SecretValue, password: SecretValue },
    /// A token that somebody else has made.
    Token { token: SecretValue, extensions: BTreeMap<String, String> },
    /// A token that is made of an access key, for Amazon MSK.
    Signed(Box<Signer>),
    /// A token that is asked for.
    Grant { grant: Grant, extensions: BTreeMap<String, String> },
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let token = match &self.login {
            Principal::None | Principal::Password { .. } => None,
            Principal::Token { token, .. } => Some(SecretValue::new(token.expose().to_vec())),
            Principal::Signed(signer) => Some(signer.token(net).await?),
            Principal::Grant { grant, .. } => {
                let token = grant.token(net, &self.of_the_endpoint()).await;
                Some(token.map_err(|failure| match failure.class() {
                    FailureClass::WrongCredentials => failure.advice(NO_TOKEN),
                    _ => failure,
                })?)
            }
        };
        let token = token.map(Arc::new);
        let mut turns = Turns::of(self.brokers.len());
        for broker in &self.brokers {
            match self.ask(net, broker, turns.share(net), token.clone()).await {
                Ok(findings) => {
                    self.judge(&findings)?;
                    return Ok(Proof::default().past(turns.passed_over()));
                }
                Err(End::Judged(failure)) => return Err(self.explain(failure).about_at_least(&broker.shown())),
                Err(End::Missed(missed)) => turns.miss(broker, missed),
            }
        }
        Err(turns.nobody_serves(net))
    }
}

/// What was found out about the topic and the group; nothing about what was not asked.
#[derive(Debug, Default)]
struct Findings {
    topic: Option<Described>,
    group: Option<Described>,
}

impl Look {
    /// Looks at one broker, and at those that it names. One that has not answered anything after its share of the time is of no use.
    async fn ask(
        &self,
        net: &Network,
        broker: &Endpoint,
        share: Option<Duration>,
        token: Option<Arc<SecretValue>>,
    ) -> Result<Findings, End> {
        // librdkafka asks the controller about a topic, which is whom `message` calls so, and the coordinator about a group, and hangs
        // up on the configured broker when it knows them.
        let others = if self.topic.is_some() { Others::Dialled } else { Others::Left };
        let bridge = Bridge::new(net, &self.tls, self.way(), broker, others);
        let conversation = Conversation {
            config: self.config(broker),
            password: self.password(),
            token,
            extensions: self.extensions(),
            topic: self.topic.clone(),
            wanted: if self.permissions.is_empty() { Wanted::Nothing } else { Wanted::Operations },
            group: self.group.clone().filter(|_| self.permissions.contains(&Permission::Read)),
            bridge: bridge.clone(),
            end: Instant::now() + net.remaining(),
            given_up: CancellationToken::new(),
        };
        // Whatever ends this function ends the connections and tells the thread.
        let _ended = GivenUp { bridge: bridge.clone(), given_up: conversation.given_up.clone() };
        let mut state = bridge.state();
        let failed = async {
            let failure = state.wait_for(|state| state.failure.is_some()).await.map(|state| state.failure.clone());
            // The bridge outlives this function.
            failure.ok().flatten().unwrap_or_else(|| Failure::new(FailureClass::Internal))
        };
        let talked = net.block(move || conversation.hold());
        let work = async {
            tokio::select! {
                biased;
                failure = failed => Err(failure),
                talked = talked => talked?,
            }
        };
        let ended = match share {
            None => work.await,
            Some(share) => {
                let mut work = pin!(work);
                match timeout(share, &mut work).await {
                    Ok(ended) => ended,
                    // The share is the time to answer in. No other broker is asked after this one, so the rest is its own.
                    Err(_elapsed) if bridge.state().borrow().answered => work.await,
                    Err(_elapsed) => Err(Failure::new(FailureClass::TimedOut)),
                }
            }
        };
        let answered = bridge.state().borrow().answered;
        ended.map_err(
            |failure| {
                if answered { End::Judged(failure) } else { End::Missed(Missed::at(net.stage(), failure)) }
            },
        )
    }

    /// How the endpoint for tokens is secured: a secret is sent there. The name in `tls.serverName` is the brokers'.
    fn of_the_endpoint(&self) -> Tls {
        let mode = if self.tls.peer_is_verified() { self.tls.mode } else { Mode::VerifyFull };
        Tls { mode, server_name: None, ..self.tls.clone() }
    }

    fn way(&self) -> Login {
        match &self.login {
            Principal::None => Login::None,
            Principal::Password { mechanism: Mechanism::Plain, .. } => Login::Plain,
            Principal::Password { .. } => Login::Scram,
            Principal::Token { .. } | Principal::Signed(_) | Principal::Grant { .. } => Login::Bearer,
        }
    }

    fn extensions(&self) -> BTreeMap<String, String> {
        match &self.login {
            Principal::None | Principal::Password { .. } | Principal::Signed(_) => BTreeMap::new(),
            Principal::Token { extensions, .. } | Principal::Grant { extensions, .. } => extensions.clone(),
        }
    }

    /// A copy of the password, for the thread.
    fn password(&self) -> Option<SecretValue> {
        match &self.login {
            Principal::Password { password, .. } => Some(SecretValue::new(password.expose().to_vec())),
            Principal::None | Principal::Token { .. } | Principal::Signed(_) | Principal::Grant { .. } => None,
        }
    }

    /// librdkafka's settings but the password. TLS is done by the bridge, so there is none here.
    fn config(&self, broker: &Endpoint) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "connection-operator");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in [
            ("bootstrap.servers", broker.to_string().as_str()),
            ("security.protocol", "plaintext"),
            ("allow.auto.create.topics", "false"),
            ("enable.auto.commit", "false"),
            ("enable.metrics.push", "false"),
            ("topic.metadata.refresh.interval.ms", "-1"),
            // A connection that has ended is not made again within a look.
            ("reconnect.backoff.ms", "60000"),
            ("reconnect.backoff.max.ms", "60000"),
            // The probe's own deadline comes first.
            ("socket.timeout.ms", "60000"),
            ("socket.connection.setup.timeout.ms", "60000"),
            ("receive.message.max.bytes", ANSWER_LIMIT),
            ("fetch.max.bytes", "65536"),
            ("message.max.bytes", "65536"),
            // The socket is no TCP socket.
            ("socket.nagle.disable", "false"),
            ("socket.keepalive.enable", "false"),
            ("log_level", "0"),
        ] {
            config.set(name, value);
        }
        match &self.login {
            Principal::None => {}
            Principal::Password { mechanism, user, password: _ } => {
                config.set("security.protocol", "sasl_plaintext").set("sasl.mechanism", mechanism.as_str());
                config.set("sasl.username", user.text().unwrap_or_default());
            }
            Principal::Token { .. } | Principal::Signed(_) | Principal::Grant { .. } => {
                config.set("security.protocol", "sasl_plaintext").set("sasl.mechanism", "OAUTHBEARER");
            }
        }
        config
    }

    /// What a broker's verdict means, where the way to log in says more about it.
    fn explain(&self, failure: Failure) -> Failure {
        match (&self.login, failure.class()) {
            (Principal::Signed(_), FailureClass::WrongCredentials) => failure.advice(NOT_LET_IN),
            (Principal::Grant { .. }, FailureClass::WrongCredentials) => failure.advice(GRANT_NOT_TAKEN),
            (Principal::Token { .. }, FailureClass::WrongCredentials) => failure.advice(TOKEN_NOT_TAKEN),
            _ => failure,
        }
    }

    /// Whether that is enough.
    fn judge(&self, findings: &Findings) -> Result<(), Failure> {
        let Some(topic) = &self.topic else { return Ok(()) };
        let about = || Setting::from_spec(format!("topic {topic}"));
        let allowed = match &findings.topic {
            None => return Err(Failure::new(FailureClass::Internal)),
            Some(Described::Refused(code)) => return Err(refused(*code).about(about())),
            Some(Described::Untold) => {
                // What is described may be described, and nothing more is known.
                let open = self.permissions.iter().copied().filter(|permission| *permission != Permission::List);
                let open: Vec<Permission> = open.collect();
                return if open.is_empty() { Ok(()) } else { Err(untold(about(), &open)) };
            }
            Some(Described::Allowed(operations)) => operations,
        };
        let lacks = |permission: &&Permission| !allowed.contains(&operation(**permission));
        let missing: Vec<&Permission> = self.permissions.iter().filter(lacks).collect();
        if !missing.is_empty() {
            return Err(Failure::new(FailureClass::PermissionDenied).about(about()).words(missing));
        }
        let Some(group) = self.group.as_ref().filter(|_| self.permissions.contains(&Permission::Read)) else {
            return Ok(());
        };
        let denied = || {
            Failure::new(FailureClass::PermissionDenied)
                .about(Setting::from_spec(format!("consumer group {group}")))
                .word(Permission::Read.as_str())
        };
        match &findings.group {
            None => Err(Failure::new(FailureClass::Internal)),
            Some(Described::Allowed(operations)) if operations.contains(&Operation::Read) => Ok(()),
            Some(Described::Allowed(_)) => Err(denied()),
            Some(Described::Untold) => {
                Err(untold(Setting::from_spec(format!("consumer group {group}")), &[Permission::Read]))
            }
            Some(Described::Refused(30)) => Err(denied().code(Code::Number(30))),
            Some(Described::Refused(code)) => {
                Err(refused(*code).about(Setting::from_spec(format!("consumer group {group}"))))
            }
        }
    }
}

/// The brokers do not tell what is allowed, so that these permissions are open.
fn untold(about: Setting, open: &[Permission]) -> Failure {
    Failure::new(FailureClass::NotProvable)
        .about(about)
        .words(open)
        .advice("leave the permission out: these brokers do not tell what a user may do, which Kafka does since 2.3")
}

/// What a permission is called by Kafka.
const fn operation(permission: Permission) -> Operation {
    match permission {
        Permission::List => Operation::Describe,
        Permission::Read => Operation::Read,
        Permission::Write => Operation::Write,
    }
}

/// What an error code about a topic or a group means (Kafka's "Error codes").
fn refused(code: i32) -> Failure {
    let class = match code {
        3 | 17 | 69 => FailureClass::TargetNotFound,
        29 | 30 => FailureClass::TargetNotFoundOrNotPermitted,
        31 => FailureClass::PermissionDenied,
        // No leader, replica, coordinator or controller at the moment; being loaded.
        5 | 9 | 14 | 15 | 16 | 41 => FailureClass::TargetUnavailable,
        89 => FailureClass::Throttled,
        _ => FailureClass::ServerUnavailable,
    };
    let failure = Failure::new(class).code(Code::Number(code.into()));
    match code {
        3 => {
            failure.advice("create it or correct the name; brokers also say this of a topic that may not be described")
        }
        17 => failure.advice("correct the name: no topic can have it"),
        _ => failure,
    }
}

/// A question had no answer. The bridge knows more, or the look was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unanswered;

/// Ends what was begun, whatever ends the look.
struct GivenUp {
    bridge: Bridge,
    given_up: CancellationToken,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.given_up.cancel();
        self.bridge.close();
    }
}

/// What the thread does: it holds one conversation and ends.
struct Conversation {
    config: ClientConfig,
    password: Option<SecretValue>,
    token: Option<Arc<SecretValue>>,
    extensions: BTreeMap<String, String>,
    topic: Option<String>,
    /// What is asked about the topic.
    wanted: Wanted,
    group: Option<String>,
    bridge: Bridge,
    end: Instant,
    given_up: CancellationToken,
}

impl Conversation {
    fn hold(&self) -> Result<Findings, Failure> {
        // Every setting and every token was checked, so one that is not taken is our mistake.
        let native = self.begin().map_err(|Unanswered| Failure::new(FailureClass::Internal))?;
        // Where the bridge knows no reason, what came was well-formed and no answer to the question.
        self.ask(&native).map_err(|Unanswered| Failure::new(FailureClass::ProtocolMismatch))
    }

    fn begin(&self) -> Result<Native, Unanswered> {
        let native = Native::new(&self.config, self.password.as_ref(), self.bridge.clone())?;
        if let Some(token) = &self.token {
            let extensions: Vec<(&str, &str)> = self.extensions.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            native.set_token(&Token { text: token, extensions: &extensions })?;
        }
        Ok(native)
    }

    fn ask(&self, native: &Native) -> Result<Findings, Unanswered> {
        self.bridge.wait(&self.given_up)?;
        let Some(topic) = &self.topic else { return Ok(Findings::default()) };
        let topic = native.describe_topic(topic, self.wanted, self.patience(), &self.given_up)?;
        let group = match (&topic, &self.group) {
            (Described::Allowed(_), Some(group)) => {
                Some(native.describe_group(group, self.patience(), &self.given_up)?)
            }
            _ => None,
        };
        Ok(Findings { topic: Some(topic), group })
    }

    /// How long an answer is waited for: longer than the look lasts, so that its deadline is known as the cause.
    fn patience(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now()) + Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests;

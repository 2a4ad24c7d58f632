//! The one look at a MySQL or MariaDB server: its greeting, TLS, one login, a few statements, goodbye.
//!
//! `mysql_async` cannot be this client: it opens its own sockets (it takes addresses, and no stream), brings its own TLS
//! configuration, sends a password under a key that any peer may have made (`caching_sha2_password` without TLS), and gives up where a
//! server asks for another way to log in twice, as MariaDB does of users that it does not know. So the packets that we send and the
//! proofs in them are those of `mysql_common`, which it is made from, and the conversation is ours, over our own streams.
//!
//! No time is set on the server's side for the session (`wait_timeout`): the connection is closed when the look ends, however it
//! ends, and the server notices. What it would not notice is a lock that it waits for; that wait is bounded. No text of the server
//! leaves this file: it is never read.

mod codes;
mod login;
mod talk;
mod target;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use login::{Login, Peer, Refused, Step};
use talk::{Broken, Talk};
use target::{Right, Rights, Table};
use tokio::io::{AsyncRead, AsyncWrite};
use wire::{Account, Answer, Channel, First, Greeting};

use crate::{
    connections::{Permission, Probe},
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{
        Endpoint, Network,
        tls::{Mode, Tls},
    },
    secret::SecretValue,
};

/// All that one look needs.
pub(super) struct Look {
    pub endpoint: Endpoint,
    pub tls: Tls,
    pub user: SecretValue,
    pub password: Arc<SecretValue>,
    pub database: Option<String>,
    pub table: Option<String>,
    pub permissions: Vec<Permission>,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        self.look(net).await.map_err(|failure| failure.about_at_least(&self.endpoint.shown()))
    }
}

impl Look {
    async fn look(&self, net: &Network) -> Result<Proof, Failure> {
        let mut talk = Talk::over(net.dial(&self.endpoint).await?);
        let first = talk.hear().await.map_err(|broken| explain(net, broken))?;
        let greeting = match wire::first(&first) {
            Ok(First::Greeting(greeting)) => greeting,
            Ok(First::Error(code)) => {
                net.step(Stage::Authenticate);
                return Err(codes::instead_of_a_greeting(code));
            }
            Err(wire::NotTheProtocol) => return Err(Failure::new(FailureClass::ProtocolMismatch)),
        };
        // `max_connect_errors`: after so many greetings without the end of a login it lets nobody in from our address.
        net.breaking_off_counts(true);
        match self.tls.mode {
            Mode::Disable => self.converse(net, talk, &greeting, Channel::Plain).await,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull if !greeting.offers_tls() => {
                Err(Failure::new(FailureClass::TlsNotOffered))
            }
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => {
                talk.say(&wire::tls_request(&greeting, self.account())).await.map_err(|broken| explain(net, broken))?;
                let talk = talk.through(async |stream| net.secure(stream, &self.tls, &self.endpoint).await).await?;
                self.converse(net, talk, &greeting, Channel::Encrypted).await
            }
        }
    }

    /// Logs in, looks, and says goodbye.
    async fn converse<S>(
        &self,
        net: &Network,
        mut talk: Talk<S>,
        greeting: &Greeting,
        channel: Channel,
    ) -> Result<Proof, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        net.step(Stage::Authenticate);
        self.log_in(net, &mut talk, greeting, channel).await?;
        net.step(Stage::Access);
        let looked = self.look_up(net, &mut talk).await;
        talk.goodbye().await;
        looked
    }

    async fn log_in<S>(
        &self,
        net: &Network,
        talk: &mut Talk<S>,
        greeting: &Greeting,
        channel: Channel,
    ) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let explain = |broken| explain(net, broken);
        let peer = if self.tls.peer_is_verified() { Peer::Verified } else { Peer::Unverified };
        let mut login = Login::new(&self.password, peer);
        let (plugin, proof) = login.begin(greeting).map_err(refused)?;
        let response = wire::response(greeting, channel, self.account(), plugin, &proof);
        talk.say(&response).await.map_err(explain)?;
        loop {
            match login.answer(&talk.hear().await.map_err(explain)?).map_err(refused)? {
                Step::Say(words) => talk.say(words.expose()).await.map_err(explain)?,
                Step::Listen => {}
                Step::Sign(challenge) => {
                    let password = Arc::clone(&self.password);
                    let signature = net.compute(move || challenge.sign(&password)).await?;
                    talk.say(&signature).await.map_err(explain)?;
                }
                Step::Accepted => {
                    net.breaking_off_counts(false);
                    return Ok(());
                }
                Step::Rejected(code) => {
                    net.breaking_off_counts(false);
                    return Err(codes::of_the_login(code, &self.tls, self.about_the_database()));
                }
            }
        }
    }

    fn account(&self) -> Account<'_> {
        Account { user: self.user.expose(), database: self.database.as_deref() }
    }

    fn about_the_database(&self) -> Option<Setting> {
        self.database.as_ref().map(|name| Setting::from_spec(format!("database {name}")))
    }

    /// What the server says about us and the target.
    async fn look_up<S>(&self, net: &Network, talk: &mut Talk<S>) -> Result<Proof, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut ask = async |statement: &str| talk.ask(statement).await.map_err(|broken| explain(net, broken));
        let proof = match ask(target::WHO).await? {
            Answer::Done(who) if target::is_nobody(who.as_deref()) => {
                net.nobody_checks_who_we_are();
                Proof::default().but([target::UNCHECKED])
            }
            Answer::Done(_) => Proof::default(),
            Answer::Error(code) => return Err(codes::of_the_session(code, self.about_the_database())),
        };
        let (Some(database), Some(name)) = (&self.database, &self.table) else { return Ok(proof) };
        let table = Table { database, name };
        match ask(&target::patience(net.remaining())).await? {
            Answer::Done(_) | Answer::Error(target::UNKNOWN_VARIABLE) => {}
            Answer::Error(code) => return Err(codes::of_the_connection(code)),
        }
        let mut rights = Rights::default();
        if self.permissions.is_empty() || self.permissions.contains(&Permission::Read) {
            rights.read = Some(Right::to_read(&ask(&table.select()).await?, &table)?);
        }
        let mut unclear = None;
        if self.permissions.contains(&Permission::Write) {
            match Right::to_write(&ask(&table.explain_insert()).await?, &table) {
                Ok(right) => rights.write = Some(right),
                Err(failure) => unclear = Some(failure),
            }
        }
        if rights.tell_nothing() {
            rights.visible = match ask(&table.visible()).await? {
                Answer::Done(row) => row.is_some(),
                Answer::Error(code) => return Err(codes::of_the_connection(code)),
            };
        }
        // What is known to be missing hides behind nothing.
        rights.judge(&table, &self.permissions)?;
        unclear.map_or(Ok(proof), Err)
    }
}

/// What ended the conversation.
fn explain(net: &Network, broken: Broken) -> Failure {
    match broken {
        Broken::NotTheProtocol => Failure::new(FailureClass::ProtocolMismatch),
        Broken::Stream(error) => net.classify(&error).unwrap_or_else(|| Failure::new(FailureClass::ConnectionClosed)),
    }
}

/// Why we did not go on with the login.
fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::NotTheProtocol => Failure::new(FailureClass::ProtocolMismatch),
        Refused::UnknownWay => Failure::new(FailureClass::AuthenticationMethodNotSupported),
        Refused::Readable => Failure::new(FailureClass::UnverifiedPeer),
        Refused::NotCached => Failure::new(FailureClass::UnverifiedPeer).advice(
            "set spec.tls.mode to VerifyCA and spec.tls.ca to the server's own CA, or VerifyFull where its certificate has its name \
             (MySQL's own has none); if the password in the Secret is wrong the server asks for it like this, too",
        ),
        Refused::TooManyRounds => {
            Failure::new(FailureClass::ProtocolMismatch).word("it asks for more rounds than a probe computes")
        }
    }
}

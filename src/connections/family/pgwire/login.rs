//! One login by PostgreSQL's protocol: TLS, the login, a few statements on the catalog, goodbye.
//!
//! The driver logs in by whatever way the server asks for. Its bytes therefore pass through [`Guarded`], which knows how far the
//! login is and refuses ways that would give the password away. No text of the server or the driver leaves this file, but to a
//! [`Server`], which is a probe and keeps it as well.

use std::{error::Error as _, future::ready, io, sync::OnceLock};

use async_trait::async_trait;
use futures::{TryStreamExt as _, future::join, stream::poll_fn};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_postgres::{
    Client, Config, Error,
    config::{SslMode, SslNegotiation},
    error::DbError,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    guard::{Established, Guarded},
    messages::{Asked, Gate, Messages, Refused, Sent},
};
use crate::{
    failure::{Code, Failure, FailureClass, Proof, Setting},
    net::{
        Endpoint, Network, Stream,
        tls::{Mode, Tls},
    },
    secret::SecretValue,
};

/// Asks for TLS: length 8, code 1234.5679 (PostgreSQL's "Message Formats", `SSLRequest`).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Where one logs in, and as whom.
pub struct Login<'a> {
    /// The server.
    pub endpoint: &'a Endpoint,
    /// How TLS is done with it.
    pub tls: &'a Tls,
    /// The user's name.
    pub user: &'a SecretValue,
    /// The user's password, where there is one.
    pub password: Option<&'a SecretValue>,
    /// The database to log in to.
    pub database: &'a str,
}

/// What one kind of server does in a way of its own.
#[async_trait]
pub trait Server: Sync {
    /// What is found in its catalog.
    type Found: Send;

    /// Asks its catalog, once the login is accepted.
    async fn look_up(&self, client: &Client) -> Result<Self::Found, Error>;

    /// What it refuses a login with, where that does not mean what it means elsewhere.
    fn means(&self, login: &Login<'_>, says: &DbError, asked: Option<Asked>) -> Option<Failure>;
}

impl Login<'_> {
    /// Logs in, lets `server` ask what it wants, and says goodbye.
    ///
    /// # Errors
    /// What did not pass, about the endpoint where nothing else is said.
    pub async fn look<T: Server>(&self, net: &Network, server: &T) -> Result<(T::Found, Proof), Failure> {
        self.try_look(net, server).await.map_err(|failure| failure.about_at_least(&self.endpoint.shown()))
    }

    async fn try_look<T: Server>(&self, net: &Network, server: &T) -> Result<(T::Found, Proof), Failure> {
        let stream = net.dial(self.endpoint).await?;
        match self.tls.mode {
            Mode::Disable => self.converse(net, server, stream, |_| ChannelBinding::none()).await,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => {
                self.converse(net, server, self.encrypt(net, stream).await?, TlsStream::channel_binding).await
            }
        }
    }

    /// Asks for TLS and does the handshake. Nothing else was sent or read before it.
    async fn encrypt(
        &self,
        net: &Network,
        mut stream: Stream,
    ) -> Result<impl TlsStream + Unpin + Send + use<>, Failure> {
        let config = net.client_config(self.tls)?;
        let name = net.server_name(self.tls, self.endpoint)?;
        let mut answer = [0];
        let asked = async {
            stream.write_all(&SSL_REQUEST).await?;
            stream.read_exact(&mut answer).await
        };
        asked.await.map_err(|error| explain_io(net, &error, FailureClass::ConnectionClosed))?;
        match &answer {
            b"S" => {}
            b"N" => return Err(Failure::new(FailureClass::TlsNotOffered)),
            b"E" => return Err(Failure::new(FailureClass::ServerUnavailable)),
            _ => return Err(Failure::new(FailureClass::ProtocolMismatch)),
        }
        let Ok(connector) =
            MakeTlsConnect::<Stream>::make_tls_connect(&mut MakeRustlsConnect::new(config), &name.to_str());
        connector.connect(stream).await.map_err(|error| explain_io(net, &error, FailureClass::TlsFailed))
    }

    /// Logs in, looks, and says goodbye. The connection is driven here and nowhere else, so nothing outlives the look.
    async fn converse<T, S>(
        &self,
        net: &Network,
        server: &T,
        stream: S,
        binding: fn(&S) -> ChannelBinding,
    ) -> Result<(T::Found, Proof), Failure>
    where
        T: Server,
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let asked = OnceLock::new();
        let gate = Gate { verified: self.tls.peer_is_verified(), password: self.password.is_some(), asked: &asked };
        let guarded = Guarded { stream, binding, messages: Messages::default(), sent: Sent::default(), gate, net };
        let explain = |error: &Error| self.explain(net, server, error, asked.get().copied());
        let (client, mut connection) =
            self.config().connect_raw(guarded, Established).await.map_err(|error| explain(&error))?;
        // It owns the connection, so that one that breaks fails the statement that waits for it. Notices are dropped: the
        // driver would log their text.
        let driven = poll_fn(move |context| connection.poll_message(context)).try_for_each(|_notice| ready(Ok(())));
        let looked = async {
            let client = client;
            server.look_up(&client).await
        };
        match join(looked, driven).await {
            (Ok(found), _) => Ok((found, Proof::default().but(self.unproven(asked.get().copied())))),
            (Err(error), Err(cause)) if error.is_closed() => Err(explain(&cause)),
            (Err(error), _) => Err(self.explain_statement(net, server, &error, asked.get().copied())),
        }
    }

    /// TLS is done or declined when the driver starts, so it is told to take the stream for a TLS stream as it is.
    fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .user(String::from_utf8_lossy(self.user.expose()))
            .dbname(self.database)
            .application_name("connection-operator")
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
        if let Some(password) = self.password {
            config.password(password.expose());
        }
        config
    }

    /// What a login proves nothing about.
    fn unproven(&self, asked: Option<Asked>) -> Option<&'static str> {
        let is_unasked = asked == Some(Asked::Nothing) && self.password.is_some();
        is_unasked.then_some("the password, which the server did not ask for")
    }

    /// What ended the login, or the connection at any time.
    fn explain(&self, net: &Network, server: &impl Server, error: &Error, asked: Option<Asked>) -> Failure {
        if let Some(says) = error.as_db_error() {
            let code = says.code().code();
            let failure = server.means(self, says, asked).unwrap_or_else(|| match code {
                "28P01" => Failure::new(FailureClass::WrongCredentials)
                    .advice("correct the Secret, or renew a password that is no longer valid"),
                "3D000" | "57P04" => Failure::new(FailureClass::TargetNotFound).about(self.shown()),
                "42501" => Failure::new(FailureClass::PermissionDenied).about(self.shown()).word("CONNECT"),
                "55000" => Failure::new(FailureClass::TargetUnavailable).about(self.shown()),
                "57014" => Failure::new(FailureClass::TimedOut)
                    .advice("check the server's load, and its time limits for logins and statements"),
                "53300" => Failure::new(FailureClass::ServerUnavailable)
                    .advice("close connections, or raise the limit of the server, the database or the role"),
                "0A000" => Failure::new(FailureClass::ProtocolMismatch),
                _ if code.starts_with("28") => Failure::new(FailureClass::WrongCredentials),
                _ => Failure::new(FailureClass::ServerUnavailable),
            });
            return failure.code(Code::sql_state(code));
        }
        let refused = error.source().and_then(|e| e.downcast_ref::<io::Error>()).and_then(|e| e.get_ref());
        match refused.and_then(|e| e.downcast_ref::<Refused>()) {
            Some(Refused::NotTheProtocol) => Failure::new(FailureClass::ProtocolMismatch),
            Some(Refused::TooManyRounds) => {
                Failure::new(FailureClass::ProtocolMismatch).word("it asks for more rounds than a probe computes")
            }
            Some(Refused::UnknownType) => {
                Failure::new(FailureClass::ProtocolMismatch).word("it answers with a type that no probe asks for")
            }
            Some(Refused::UnverifiedPeer) => Failure::new(FailureClass::UnverifiedPeer),
            Some(Refused::UnknownWay) => Failure::new(FailureClass::AuthenticationMethodNotSupported),
            Some(Refused::NoPassword) => Failure::new(FailureClass::AuthenticationMethodNotSupported)
                .word("password")
                .advice("add the key password to the Secret, or let this user in by certificate at the server"),
            // What is left is the driver's "this is not what the protocol says", a wrong SCRAM proof among it.
            None => net.classify(error).unwrap_or_else(|| {
                let closed = error.is_closed();
                Failure::new(if closed { FailureClass::ConnectionClosed } else { FailureClass::ProtocolMismatch })
            }),
        }
    }

    /// What a statement on the catalog was refused with.
    fn explain_statement(&self, net: &Network, server: &impl Server, error: &Error, asked: Option<Asked>) -> Failure {
        match error.code().map(tokio_postgres::error::SqlState::code) {
            Some("42501") => Failure::new(FailureClass::PermissionDenied)
                .about(self.shown())
                .word("SELECT on pg_catalog")
                .code(Code::sql_state("42501")),
            // Class 42 is "syntax error or access rule violation": this catalog is not the one of such a server.
            Some(code) if code.starts_with("42") => {
                Failure::new(FailureClass::ProtocolMismatch).code(Code::sql_state(code))
            }
            Some(_) | None => self.explain(net, server, error, asked),
        }
    }

    /// The database, as messages call it.
    pub fn shown(&self) -> Setting {
        Setting::from_spec(format!("database {}", self.database))
    }
}

/// What broke the stream before the driver had it.
fn explain_io(net: &Network, error: &io::Error, otherwise: FailureClass) -> Failure {
    net.classify(error).unwrap_or_else(|| Failure::new(otherwise))
}

//! The one look at a PostgreSQL server: TLS, one login, a few statements on the catalog, goodbye.
//!
//! The driver logs in by whatever way the server asks for. Its bytes therefore pass through [`Guarded`], which knows how far
//! the login is and refuses ways that would give the password away. No text of the server or the driver leaves this file.

use std::{
    convert::Infallible,
    error::Error as _,
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::OnceLock,
    task::{self, Context, Poll},
};

use async_trait::async_trait;
use futures::{TryStreamExt as _, future::join, stream::poll_fn};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_postgres::{
    Client, Config, Error, Row,
    config::{SslMode, SslNegotiation},
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
    types::Type,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    connections::{Permission, Probe},
    failure::{Code, Failure, FailureClass, Proof, Setting, Stage},
    net::{
        Endpoint, Network, Stream,
        tls::{Mode, Tls},
    },
    secret::SecretValue,
};

/// Asks for TLS: length 8, code 1234.5679 (PostgreSQL's "Message Formats", `SSLRequest`).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Longest message before the login is accepted, in bytes: libpq's limit for an error at this point (`MAX_ERRLEN`).
const LONGEST: usize = 30_000;

/// What PgBouncer puts behind 08P01, its one code for nearly everything (its `src/client.c` and `src/objects.c`; it has no
/// translations). The first that is found in the text decides.
const POOLER: &[(&str, FailureClass)] = &[
    ("no such database", FailureClass::TargetNotFound),
    ("database \"", FailureClass::TargetNotFound),
    ("no such user", FailureClass::WrongCredentials),
    ("certificate authentication failed", FailureClass::ClientCertificateRequired),
    ("authentication failed", FailureClass::WrongCredentials),
    ("login rejected", FailureClass::SourceNotAllowed),
    ("SSL required", FailureClass::EncryptionRequired),
    ("no more connections allowed", FailureClass::ServerUnavailable),
    ("server login", FailureClass::ServerUnavailable),
    ("timeout", FailureClass::ServerUnavailable),
];

const SCHEMA: &str = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";

const RELATIONS: &str = "SELECT 1 FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE $1 IN ('', n.nspname::text) LIMIT 1";

/// Of all relations, those that are read and written like a table: tables, partitioned and foreign ones, views,
/// materialised views. The catalog answers also where the user may not use the schema, unlike `to_regclass`, which is
/// asked only where the search path decides.
const TABLE: &str = "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
    pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_table_privilege(c.oid, 'INSERT') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relname = $2 AND CASE WHEN $1 <> '' THEN n.nspname = $1 \
    ELSE c.oid = pg_catalog.to_regclass(pg_catalog.quote_ident($2)) END";

/// All that one look needs.
pub(super) struct Look {
    pub endpoint: Endpoint,
    pub tls: Tls,
    pub user: SecretValue,
    pub password: Option<SecretValue>,
    pub database: String,
    pub schema: Option<String>,
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
        let stream = net.dial(&self.endpoint).await?;
        match self.tls.mode {
            Mode::Disable => self.converse(net, stream, |_| ChannelBinding::none()).await,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => {
                self.converse(net, self.encrypt(net, stream).await?, TlsStream::channel_binding).await
            }
        }
    }

    /// Asks for TLS and does the handshake. Nothing else was sent or read before it.
    async fn encrypt(
        &self,
        net: &Network,
        mut stream: Stream,
    ) -> Result<impl TlsStream + Unpin + Send + use<>, Failure> {
        let config = net.client_config(&self.tls)?;
        let name = net.server_name(&self.tls, &self.endpoint)?;
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
    async fn converse<S>(&self, net: &Network, stream: S, binding: fn(&S) -> ChannelBinding) -> Result<Proof, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let asked = OnceLock::new();
        let gate = Gate { verified: self.tls.peer_is_verified(), password: self.password.is_some(), asked: &asked };
        let guarded = Guarded { stream, binding, messages: Messages::default(), gate, net };
        let explain = |error: &Error| self.explain(net, error, asked.get().copied());
        let (client, mut connection) =
            self.config().connect_raw(guarded, Established).await.map_err(|error| explain(&error))?;
        // It owns the connection, so that one that breaks fails the statement that waits for it. Notices are dropped: the
        // driver would log their text.
        let driven = poll_fn(move |context| connection.poll_message(context)).try_for_each(|_notice| ready(Ok(())));
        let looked = async {
            let client = client;
            self.look_up(&client).await
        };
        match join(looked, driven).await {
            (Ok(catalog), _) => self.judge(&catalog)?,
            (Err(error), Err(cause)) if error.is_closed() => return Err(explain(&cause)),
            (Err(error), _) => return Err(self.explain_statement(net, &error)),
        }
        Ok(Proof { unproven: self.unproven(asked.get().copied()), anonymous: false })
    }

    /// TLS is done or declined when the driver starts, so it is told to take the stream for a TLS stream as it is.
    fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .user(String::from_utf8_lossy(self.user.expose()))
            .dbname(&self.database)
            .application_name("connection-operator")
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config
    }

    /// What the catalog says about what is asked for, and nothing else.
    async fn look_up(&self, client: &Client) -> Result<Catalog, Error> {
        let mut catalog = Catalog::default();
        let schema = self.schema.as_deref().unwrap_or_default();
        if !schema.is_empty() {
            catalog.schema_missing = client.query_typed(SCHEMA, &[(&schema, Type::TEXT)]).await?.is_empty();
        }
        if self.permissions.contains(&Permission::List) {
            client.query_typed(RELATIONS, &[(&schema, Type::TEXT)]).await?;
        }
        if let Some(table) = &self.table {
            let rows = client.query_typed(TABLE, &[(&schema, Type::TEXT), (table, Type::TEXT)]).await?;
            catalog.table = rows.first().map(Rights::of).transpose()?;
        }
        Ok(catalog)
    }

    /// Whether that is enough.
    fn judge(&self, catalog: &Catalog) -> Result<(), Failure> {
        if catalog.schema_missing {
            return Err(Failure::new(FailureClass::TargetNotFound).about(named(
                "schema",
                self.schema.as_deref(),
                None,
            )));
        }
        let Some(table) = &self.table else { return Ok(()) };
        let about = named("table", self.schema.as_deref(), Some(table));
        let Some(rights) = &catalog.table else {
            let failure = Failure::new(FailureClass::TargetNotFound).about(about);
            return Err(match self.schema {
                Some(_) => failure,
                None => failure.advice(
                    "create it, correct the name, or name its schema: one that the user has no USAGE on is not searched",
                ),
            });
        };
        let missing: Vec<Permission> = self.permissions.iter().copied().filter(|p| !rights.allow(*p)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let failure = Failure::new(FailureClass::PermissionDenied).about(about);
        let failure = missing.iter().fold(failure, |failure, permission| failure.word(permission.as_str()));
        Err(if rights.usage { failure } else { failure.advice("grant USAGE on its schema and the permission on it") })
    }

    /// What a login proves nothing about.
    fn unproven(&self, asked: Option<Asked>) -> &'static [&'static str] {
        if asked == Some(Asked::Nothing) && self.password.is_some() {
            &["the password, which the server did not ask for"]
        } else {
            &[]
        }
    }

    /// What ended the login, or the connection at any time.
    fn explain(&self, net: &Network, error: &Error, asked: Option<Asked>) -> Failure {
        if let Some(says) = error.as_db_error() {
            let code = says.code().code();
            return match code {
                "28000" => self.not_let_in(says.routine(), says.message(), asked),
                "28P01" => Failure::new(FailureClass::WrongCredentials)
                    .advice("correct the Secret, or renew a password that is no longer valid"),
                "3D000" | "57P04" => Failure::new(FailureClass::TargetNotFound).about(self.database()),
                "42501" => Failure::new(FailureClass::PermissionDenied).about(self.database()).word("CONNECT"),
                "55000" => Failure::new(FailureClass::TargetUnavailable).about(self.database()),
                "57014" => Failure::new(FailureClass::TimedOut)
                    .advice("check the server's load, and its time limits for logins and statements"),
                "53300" => Failure::new(FailureClass::ServerUnavailable)
                    .advice("close connections, or raise the limit of the server, the database or the role"),
                "08P01" => self.pooler_says(says.message(), asked),
                "0A000" => Failure::new(FailureClass::ProtocolMismatch),
                _ if code.starts_with("28") => Failure::new(FailureClass::WrongCredentials),
                _ => Failure::new(FailureClass::ServerUnavailable),
            }
            .code(Code::sql_state(code));
        }
        let refused = error.source().and_then(|e| e.downcast_ref::<io::Error>()).and_then(|e| e.get_ref());
        match refused.and_then(|e| e.downcast_ref::<Refused>()) {
            Some(Refused::NotTheProtocol) => Failure::new(FailureClass::ProtocolMismatch),
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

    /// SQLSTATE 08P01 is a breach of the protocol, or any word of a pooler. One that has asked for the password speaks the
    /// protocol.
    fn pooler_says(&self, text: &str, asked: Option<Asked>) -> Failure {
        let listed = POOLER.iter().find(|(part, _)| text.contains(part)).map(|(_, class)| *class);
        let otherwise = match asked {
            Some(Asked::Password | Asked::Nothing) => FailureClass::ServerUnavailable,
            None => FailureClass::ProtocolMismatch,
        };
        match listed.unwrap_or(otherwise) {
            FailureClass::TargetNotFound => Failure::new(FailureClass::TargetNotFound).about(self.database()),
            FailureClass::ServerUnavailable => Failure::new(FailureClass::ServerUnavailable)
                .advice("look at the log of the connection pooler, which says more"),
            class => Failure::new(class),
        }
    }

    /// SQLSTATE 28000 has many causes. `routine` is the name of a function of the server, which no language setting
    /// translates; the text is looked at where nothing else tells, and may be in another language.
    fn not_let_in(&self, routine: Option<&str>, text: &str, asked: Option<Asked>) -> Failure {
        let certificate_given = self.tls.identity.is_some();
        match (routine, asked, self.tls.mode) {
            (Some("InitializeSessionUserId"), _, _) => {
                Failure::new(FailureClass::SourceNotAllowed).advice("create the role at the server, or let it log in")
            }
            // LDAP, PAM and RADIUS say so for a wrong password.
            (_, Some(Asked::Password), _) => Failure::new(FailureClass::WrongCredentials),
            (Some("auth_failed"), _, _) if certificate_given => Failure::new(FailureClass::ClientCertificateRequired)
                .advice("the certificate's common name must be the user's, or be mapped to it at the server"),
            _ if text.contains("client certificate") => Failure::new(FailureClass::ClientCertificateRequired),
            (_, _, Mode::Disable) => Failure::new(FailureClass::EncryptionRequired).advice(
                "set spec.tls.mode to VerifyFull; if that does not help, allow this user from the operator's network",
            ),
            (_, _, Mode::Require | Mode::VerifyCa | Mode::VerifyFull) => Failure::new(FailureClass::SourceNotAllowed),
        }
    }

    /// What a statement on the catalog was refused with.
    fn explain_statement(&self, net: &Network, error: &Error) -> Failure {
        match error.code().map(tokio_postgres::error::SqlState::code) {
            Some("42501") => Failure::new(FailureClass::PermissionDenied)
                .about(self.database())
                .word("SELECT on pg_catalog")
                .code(Code::sql_state("42501")),
            // Class 42 is "syntax error or access rule violation": this catalog is not PostgreSQL's.
            Some(code) if code.starts_with("42") => {
                Failure::new(FailureClass::ProtocolMismatch).code(Code::sql_state(code))
            }
            Some(_) | None => self.explain(net, error, None),
        }
    }

    fn database(&self) -> Setting {
        Setting::from_spec(format!("database {}", self.database))
    }
}

/// What the catalog says about the target.
#[derive(Debug, Default)]
struct Catalog {
    schema_missing: bool,
    table: Option<Rights>,
}

/// What the user may do with the table, and with its schema.
#[derive(Debug)]
struct Rights {
    usage: bool,
    select: bool,
    insert: bool,
}

impl Rights {
    /// The columns of [`TABLE`]. A privilege is null where its object has gone in the meantime.
    fn of(row: &Row) -> Result<Self, Error> {
        let granted = |column| row.try_get::<usize, Option<bool>>(column).map(|granted| granted == Some(true));
        Ok(Self { usage: granted(0)?, select: granted(1)?, insert: granted(2)? })
    }

    fn allow(&self, permission: Permission) -> bool {
        match permission {
            Permission::List => true,
            Permission::Read => self.usage && self.select,
            Permission::Write => self.usage && self.insert,
        }
    }
}

/// How the server wants to know who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Not at all, or by the client certificate.
    Nothing,
    /// By a password, in whatever form.
    Password,
}

/// Why the login is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("what the server sends is not the start of a login")]
    NotTheProtocol,
    #[error("the server asks for a way to log in that is not known")]
    UnknownWay,
    #[error("the server asks for a password, and there is none")]
    NoPassword,
    #[error("the server asks for a readable password and is not verified")]
    UnverifiedPeer,
}

/// Decides what the server may ask for.
struct Gate<'a> {
    verified: bool,
    password: bool,
    asked: &'a OnceLock<Asked>,
}

impl Gate<'_> {
    /// `kind` and `body` of an authentication message (PostgreSQL's "Message Formats", `Authentication…`).
    fn judge(&self, kind: u32, body: &[u8]) -> Result<(), Refused> {
        let password = match kind {
            // CleartextPassword, MD5Password
            3 | 5 if self.verified => Ok(()),
            3 | 5 => Err(Refused::UnverifiedPeer),
            // SASL, with the names of its mechanisms
            10 if body.split(|b| *b == 0).any(|name| name == b"SCRAM-SHA-256" || name == b"SCRAM-SHA-256-PLUS") => {
                Ok(())
            }
            // SASLContinue, SASLFinal
            11 | 12 => return Ok(()),
            _ => Err(Refused::UnknownWay),
        };
        password?;
        self.asked.get_or_init(|| Asked::Password);
        if self.password { Ok(()) } else { Err(Refused::NoPassword) }
    }
}

/// The server's messages up to the one that accepts the login, found in the bytes as they come.
#[derive(Debug, Default)]
struct Messages {
    /// What has come of the current message.
    part: Vec<u8>,
    progress: Progress,
}

/// How far the login is, by the server's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Silent,
    Answering,
    Accepted,
}

/// What has become certain about the server's messages.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    /// The first one has begun as the protocol says.
    First,
    /// One about the login has come: its kind and the rest.
    Authentication(u32, Vec<u8>),
    /// The login is accepted; what follows is not looked at.
    Accepted,
}

impl Messages {
    /// Takes the next bytes. A message is found no later than the driver can find it.
    fn take(&mut self, bytes: &[u8]) -> Result<Vec<Message>, Refused> {
        let mut found = Vec::new();
        for byte in bytes {
            if self.progress == Progress::Accepted {
                break;
            }
            self.part.push(*byte);
            let [tag, a, b, c, d, body @ ..] = &self.part[..] else {
                // The first byte tells already; what speaks another protocol may never send a fifth.
                if !matches!(self.part[0], b'R' | b'E' | b'N' | b'v') {
                    return Err(Refused::NotTheProtocol);
                }
                continue;
            };
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            if !(8..=LONGEST).contains(&length) {
                return Err(Refused::NotTheProtocol);
            }
            if self.progress == Progress::Silent {
                self.progress = Progress::Answering;
                found.push(Message::First);
            }
            if 4 + body.len() < length {
                continue;
            }
            if let (b'R', [a, b, c, d, rest @ ..]) = (tag, body) {
                match u32::from_be_bytes([*a, *b, *c, *d]) {
                    0 => {
                        self.progress = Progress::Accepted;
                        found.push(Message::Accepted);
                    }
                    kind => found.push(Message::Authentication(kind, rest.to_vec())),
                }
            }
            self.part.clear();
        }
        Ok(found)
    }
}

/// A stream to the server whose login is watched: it steps the ladder, and fails instead of letting the driver answer what
/// [`Gate`] refuses.
struct Guarded<'a, S> {
    stream: S,
    binding: fn(&S) -> ChannelBinding,
    messages: Messages,
    gate: Gate<'a>,
    net: &'a Network,
}

impl<S> Guarded<'_, S> {
    fn watch(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        for message in self.messages.take(bytes)? {
            match message {
                Message::First => self.net.step(Stage::Authenticate),
                Message::Authentication(kind, body) => self.gate.judge(kind, &body)?,
                Message::Accepted => {
                    self.gate.asked.get_or_init(|| Asked::Nothing);
                    self.net.step(Stage::Access);
                }
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<'_, S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        task::ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        Poll::Ready(this.watch(&buffer.filled()[before..]).map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<'_, S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Guarded<'_, S> {
    fn channel_binding(&self) -> ChannelBinding {
        (self.binding)(&self.stream)
    }
}

/// Hands the driver a stream on which TLS is done or declined already.
struct Established;

impl<S: TlsStream + Unpin> TlsConnect<S> for Established {
    type Stream = S;
    type Error = Infallible;
    type Future = Ready<Result<S, Infallible>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(stream))
    }
}

/// What the protocol calls a table or a schema of the spec, for a message.
fn named(kind: &str, schema: Option<&str>, table: Option<&str>) -> Setting {
    let name: Vec<&str> = schema.into_iter().chain(table).collect();
    Setting::from_spec(format!("{kind} {}", name.join(".")))
}

/// What broke the stream before the driver had it.
fn explain_io(net: &Network, error: &io::Error, otherwise: FailureClass) -> Failure {
    net.classify(error).unwrap_or_else(|| Failure::new(otherwise))
}

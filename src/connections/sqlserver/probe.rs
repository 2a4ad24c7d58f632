//! The one look at a SQL Server: where it listens, TLS, one login, one question about the table, goodbye.
//!
//! tiberius logs in and asks. It is given a stream that is encrypted already (`front`): what is said before a login is said here,
//! so that no password can leave before TLS is done, and the answer to the login is read before the client reads it. No text of
//! the server or the driver leaves this file.

mod answer;
mod browser;
mod codes;
mod front;
mod names;
mod packet;

use std::{io, sync::OnceLock};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use tiberius::{AuthMethod, Client, Config, QueryItem, Row, error::Error};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use self::{
    browser::Found,
    codes::{About, To},
    front::{Envelope, Front},
    packet::{ANSWER, Greeting, HEADER, Part, Way},
};
use super::Encryption;
use crate::{
    connections::{
        Permission, Probe,
        family::azure::{Cloud, Principal},
    },
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{
        Endpoint, Network, Stream,
        tls::{Roots, Tls},
    },
    secret::SecretValue,
};

/// What TDS 8 is called in a TLS handshake.
const TDS_8: &[u8] = b"tds/8.0";

/// Who we say we are, as an application and as a workstation.
const NAME: &str = "connection-operator";

/// The schema, the table or view, and what this user may do with it: null where it is not there or may not be seen; and whether the
/// database takes writes, which permissions do not depend on. Names are parameters; a schema that is not asked about is empty. The
/// permissions are asked about under the name that was found, so that all is about one object. All words are in capitals, as Microsoft's own
/// stand-in looks statements up by their letters.
const QUESTION: &str = "SELECT CAST(CASE WHEN @P2 = N'' THEN 0 ELSE SCHEMA_ID(@P2) END AS INT), CAST(O.ID AS INT), \
    CAST(HAS_PERMS_BY_NAME(O.FULL_NAME, N'OBJECT', N'SELECT') AS INT), \
    CAST(HAS_PERMS_BY_NAME(O.FULL_NAME, N'OBJECT', N'INSERT') AS INT), \
    CAST(CASE CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS NVARCHAR(16)) WHEN N'READ_WRITE' THEN 1 \
    WHEN N'READ_ONLY' THEN 0 END AS INT) FROM (SELECT 1 AS ONE) AS S LEFT JOIN \
    (SELECT object_id AS ID, QUOTENAME(SCHEMA_NAME(schema_id)) + N'.' + QUOTENAME(name) AS FULL_NAME \
    FROM sys.all_objects WHERE object_id = OBJECT_ID(@P1) AND type IN ('U', 'V', 'S', 'ET')) AS O ON 1 = 1";

/// All that one look needs.
pub(super) struct Look {
    pub endpoint: Endpoint,
    pub instance: Option<String>,
    pub tls: Tls,
    pub encryption: Encryption,
    pub login: Login,
    pub cloud: Cloud,
    pub database: String,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub permissions: Vec<Permission>,
}

/// Who logs in.
pub(super) enum Login {
    /// A login of the server.
    Password { user: SecretValue, password: SecretValue },
    /// A service principal, with a token of its directory.
    Principal(Principal),
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        self.look(net).await.map_err(|failure| failure.about_at_least(&self.endpoint.shown()))
    }
}

/// A server, and how it is talked to.
struct Place<'a> {
    endpoint: Endpoint,
    instance: Option<&'a str>,
    tls: Tls,
}

impl Place<'_> {
    /// The name that its certificate is verified for.
    fn name(&self) -> &str {
        self.tls.server_name.as_ref().unwrap_or(&self.endpoint.host)
    }

    /// The server that this one names. It is judged by the egress policy and verified for its own name like any other; and it
    /// must be one that who set this connection up would expect: of the same domain, or certified by a CA of the user's own. With
    /// the system's roots everybody can have a certificate for a name of his own.
    fn sends_to(&self, host: &str, port: u16) -> Result<Place<'static>, Failure> {
        let about = self.endpoint.shown();
        let host = names::routed_host(host).filter(|_| port > 0);
        let host = host.ok_or_else(|| Failure::new(FailureClass::ProtocolMismatch).about(about.clone()))?;
        let known = match self.tls.roots {
            Roots::Bundle(_) => true,
            Roots::System => names::in_one_domain(self.name(), &host),
        };
        if !known {
            return Err(Failure::new(FailureClass::AuthenticationMethodNotSupported)
                .about(about)
                .word("it sends the login to a host outside of its own domain")
                .advice("name the server that takes the login, or have it let logins through without a redirect"));
        }
        let tls = Tls { server_name: None, ..self.tls.clone() };
        Ok(Place { endpoint: Endpoint::named_by_peer(&host, port), instance: None, tls })
    }
}

/// How a visit to a server ended.
enum Visit {
    /// The login was accepted, and this is what was seen.
    Seen(Findings),
    /// The server sends us elsewhere.
    Routed(String, u16),
}

impl Look {
    async fn look(&self, net: &Network) -> Result<Proof, Failure> {
        // Asked for once, however many servers are logged in to.
        let mut token = None;
        let place =
            Place { endpoint: self.server(net).await?, instance: self.instance.as_deref(), tls: self.tls.clone() };
        let findings = match self.visit(net, &place, &mut token).await? {
            Visit::Seen(findings) => findings,
            Visit::Routed(host, port) => {
                let next = place.sends_to(&host, port)?;
                match self.visit(net, &next, &mut token).await? {
                    Visit::Seen(findings) => findings,
                    Visit::Routed(..) => {
                        return Err(Failure::new(FailureClass::ProtocolMismatch)
                            .about(next.endpoint.shown())
                            .word("a server that the login was sent to sends it on"));
                    }
                }
            }
        };
        self.judge(&findings)?;
        Ok(Proof::default())
    }

    /// Where the server listens: the browser of its host knows the port of an instance, and that is all it is asked for.
    async fn server(&self, net: &Network) -> Result<Endpoint, Failure> {
        let Some(instance) = &self.instance else { return Ok(self.endpoint.clone()) };
        let browser = Endpoint::exactly(&self.endpoint.host, browser::PORT);
        let answer = net.ask_datagram(&browser, &browser::question(instance)).await.map_err(no_browser)?;
        match browser::read(&answer, instance) {
            Found::Port(port) => Ok(Endpoint::exactly(&self.endpoint.host, port)),
            Found::NoPort => Err(Failure::new(FailureClass::ServerUnavailable)
                .about(browser.shown())
                .word("the instance listens at no TCP port")
                .advice("enable TCP/IP for the instance")),
            Found::Nothing => Err(Failure::new(FailureClass::ProtocolMismatch).about(browser.shown())),
        }
    }

    async fn visit(&self, net: &Network, place: &Place<'_>, token: &mut Option<SecretValue>) -> Result<Visit, Failure> {
        let about = place.endpoint.shown();
        let visited = async {
            let stream = net.dial(&place.endpoint).await?;
            let (stream, greeting) = self.greet(net, place, stream).await?;
            net.step(Stage::Authenticate);
            if !place.tls.peer_is_verified() {
                return Err(Failure::new(FailureClass::UnverifiedPeer).advice(
                    "set spec.tls.mode to VerifyFull, or to VerifyCA with a CA of your own in spec.tls.ca: a login to SQL Server \
                     holds the password, or a token, in readable form",
                ));
            }
            if let Login::Principal(principal) = &self.login
                && token.is_none()
            {
                *token = Some(principal.token(net, scope(self.cloud)).await?);
                // The server waits for us since it has greeted.
                net.turn_to(&place.endpoint);
                net.step(Stage::Authenticate);
            }
            // In a place of its own: what the client holds is large.
            Box::pin(self.converse(net, place, stream, &greeting, token.as_ref())).await
        };
        visited.await.map_err(|failure| failure.about_at_least(&about))
    }

    /// Agrees with the server on encryption, and encrypts.
    async fn greet(
        &self,
        net: &Network,
        place: &Place<'_>,
        mut stream: Stream,
    ) -> Result<(TlsStream<Envelope<Stream>>, Greeting), Failure> {
        let hello = packet::hello(place.instance, self.way());
        let (stream, greeting) = match self.encryption {
            Encryption::Mandatory => {
                let greeting = exchange(net, &mut stream, &hello).await?;
                if !greeting.encrypts() {
                    return Err(unencrypted(Failure::new(FailureClass::TlsNotOffered)));
                }
                let envelope = Envelope::sealed(stream);
                let secured = net.secure_for(&[], envelope, &place.tls, &place.endpoint).await;
                let mut stream = secured.map_err(unencrypted)?;
                stream.get_mut().0.unseal();
                (stream, greeting)
            }
            Encryption::Strict => {
                let envelope = Envelope::open(stream);
                let mut stream =
                    net.secure_for(&[TDS_8], envelope, &place.tls, &place.endpoint).await.map_err(strict)?;
                let greeting = exchange(net, &mut stream, &hello).await?;
                (stream, greeting)
            }
        };
        if greeting.is_another_instance() {
            return Err(Failure::new(FailureClass::ServerUnavailable)
                .word("it is another instance than the one that was asked for")
                .advice("look whether the instance has been given another port, and correct its name"));
        }
        Ok((stream, greeting))
    }

    fn way(&self) -> Way {
        match self.login {
            Login::Password { .. } => Way::Password,
            Login::Principal(_) => Way::Token,
        }
    }

    /// Logs in, asks, and says goodbye.
    async fn converse<S>(
        &self,
        net: &Network,
        place: &Place<'_>,
        stream: S,
        greeting: &Greeting,
        token: Option<&SecretValue>,
    ) -> Result<Visit, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let fault = OnceLock::new();
        let front = Front::new(stream, greeting.for_the_client(), self.way(), net, &fault);
        let mut client = match Client::connect(self.config(place, token), front.compat()).await {
            Ok(client) => client,
            Err(Error::Routing { host, port }) => return Ok(Visit::Routed(host, port)),
            Err(error) => return Err(self.explain(&error, To::Login, &fault)),
        };
        net.step(Stage::Access);
        let seen = self.ask(&mut client).await.map_err(|error| self.explain(&error, To::Question, &fault))?;
        // What was seen counts, however the goodbye is taken.
        let _ = client.close().await;
        seen.map(Visit::Seen).ok_or_else(|| Failure::new(FailureClass::ProtocolMismatch))
    }

    /// The client's settings. It neither encrypts nor measures time: both are done around it.
    fn config(&self, place: &Place<'_>, token: Option<&SecretValue>) -> Config {
        let mut config = Config::new();
        config.host(place.name());
        config.database(&self.database);
        config.application_name(NAME);
        config.client_name(NAME);
        config.handshake_timeout(None);
        config.command_timeout(None);
        // Texts that were looked at when the Secret or the answer was read; the client wipes its copies.
        config.authentication(match (&self.login, token) {
            (Login::Password { user, password }, _) => {
                AuthMethod::sql_server(user.text().unwrap_or_default(), password.text().unwrap_or_default())
            }
            (Login::Principal(_), token) => {
                AuthMethod::aad_token(token.and_then(SecretValue::text).unwrap_or_default())
            }
        });
        config
    }

    /// What the catalog says about what is asked for; nothing is asked where that is the database alone. `None`: the answer is not
    /// one row, as the answer to this question is.
    async fn ask<S>(&self, client: &mut Client<Compat<S>>) -> Result<Option<Findings>, Error>
    where
        Compat<S>: futures::io::AsyncRead + futures::io::AsyncWrite + Unpin + Send,
    {
        if self.schema.is_none() && self.table.is_none() {
            return Ok(Some(Findings::default()));
        }
        let schema = self.schema.as_deref().unwrap_or_default();
        let object = names::object(self.schema.as_deref(), self.table.as_deref().unwrap_or_default());
        let mut items = client.query(QUESTION, &[&object.as_str(), &schema]).await?;
        let mut found = None;
        while let Some(item) = items.try_next().await? {
            match item {
                QueryItem::Metadata(_) => {}
                QueryItem::Row(row) if found.is_none() => found = Some(Findings::of(&row)?),
                // No more than that is read.
                QueryItem::Row(_) => return Ok(None),
            }
        }
        Ok(found)
    }

    /// Whether that is enough.
    fn judge(&self, findings: &Findings) -> Result<(), Failure> {
        let hidden =
            |about: String| Failure::new(FailureClass::TargetNotFoundOrNotPermitted).about(Setting::from_spec(about));
        let Findings { schema, table, select, insert, writable } = *findings;
        if let (Some(name), None) = (&self.schema, schema) {
            return Err(hidden(format!("schema {name}")));
        }
        let Some(name) = &self.table else { return Ok(()) };
        let path = self.schema.iter().chain([name]).map(String::as_str).collect::<Vec<_>>().join(".");
        let path = format!("table {path}");
        if table.is_none() {
            return Err(match &self.schema {
                Some(_) => hidden(path),
                None => hidden(path).advice("create it, correct the name, name its schema, or grant the permission"),
            });
        }
        let allows = |permission: &Permission| match permission {
            Permission::List => true,
            Permission::Read => select == Some(1),
            Permission::Write => insert == Some(1),
        };
        let missing: Vec<&Permission> = self.permissions.iter().filter(|permission| !allows(permission)).collect();
        let failure = |class| Failure::new(class).about(Setting::from_spec(&path));
        if !missing.is_empty() {
            return Err(failure(FailureClass::PermissionDenied).words(missing));
        }
        if !self.permissions.contains(&Permission::Write) || writable == Some(1) {
            return Ok(());
        }
        Err(match writable {
            Some(_) => failure(FailureClass::TargetUnavailable)
                .word("the database takes no writes")
                .advice("name one that does, or leave Write out of spec.permissions"),
            None => failure(FailureClass::NotProvable).word(Permission::Write.as_str()),
        })
    }

    /// What the client was stopped by: what the server said, else what went wrong below the client. What is left is the client's
    /// "this is not what the protocol says".
    fn explain(&self, error: &Error, to: To, fault: &OnceLock<Failure>) -> Failure {
        if let Some(number) = error.code() {
            let (failure, about) = codes::failure(number, to, self.way());
            return match about {
                About::Server => failure,
                About::Database => failure.about(Setting::from_spec(format!("database {}", self.database))),
            };
        }
        fault.get().cloned().unwrap_or_else(|| Failure::new(FailureClass::ProtocolMismatch))
    }
}

/// What the catalog says: a number, or nothing where it is not there or may not be seen.
#[derive(Clone, Copy, Debug, Default)]
struct Findings {
    schema: Option<i32>,
    table: Option<i32>,
    select: Option<i32>,
    insert: Option<i32>,
    writable: Option<i32>,
}

impl Findings {
    /// The columns of [`QUESTION`].
    fn of(row: &Row) -> Result<Self, Error> {
        let [schema, table, select, insert, writable] = [0, 1, 2, 3, 4].map(|column| row.try_get(column));
        Ok(Self { schema: schema?, table: table?, select: select?, insert: insert?, writable: writable? })
    }
}

/// What a token must be for: the databases of a cloud.
const fn scope(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Public => "https://database.windows.net/.default",
        Cloud::USGovernment => "https://database.usgovcloudapi.net/.default",
        Cloud::China => "https://database.chinacloudapi.cn/.default",
    }
}

/// Says hello and reads the answer. It must begin as an answer does, and be one small packet.
async fn exchange<S>(net: &Network, stream: &mut S, hello: &[u8]) -> Result<Greeting, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let closed =
        |error: io::Error| net.classify(&error).unwrap_or_else(|| Failure::new(FailureClass::ConnectionClosed));
    let strange = || Failure::new(FailureClass::ProtocolMismatch);
    stream.write_all(hello).await.map_err(closed)?;
    stream.flush().await.map_err(closed)?;
    let mut header = [0; HEADER];
    let (kind, rest) = header.split_first_mut().ok_or_else(strange)?;
    *kind = stream.read_u8().await.map_err(closed)?;
    if *kind != ANSWER {
        return Err(strange());
    }
    stream.read_exact(rest).await.map_err(closed)?;
    let measured = packet::measure(header).filter(|(length, part)| *length <= packet::LONGEST && *part == Part::Last);
    let (length, _) = measured.ok_or_else(strange)?;
    let mut message = vec![0; length - HEADER];
    stream.read_exact(&mut message).await.map_err(closed)?;
    Greeting::read(&message).ok_or_else(strange)
}

/// A browser that is not there looks like a server that is not, and one that is silent may be there.
fn no_browser(failure: Failure) -> Failure {
    let advice = match failure.class() {
        FailureClass::TimedOut => {
            "correct the instance, start the browser, let UDP port 1434 through, or name the port instead: a browser is silent about \
             an instance that it does not know"
        }
        FailureClass::ConnectionRefused => "start the SQL Server Browser, or name the port of the instance instead",
        _ => return failure,
    };
    failure.word("the SQL Server Browser, over UDP").advice(advice)
}

/// The usual hint for a server without TLS is to do without it, which is no way here.
fn unencrypted(failure: Failure) -> Failure {
    match failure.class() {
        FailureClass::TlsNotOffered => {
            failure.advice("give the server a certificate: nothing is sent to it unencrypted")
        }
        _ => failure,
    }
}

/// A server that knows TDS 7 only takes a handshake for nonsense, and hangs up or says nothing.
fn strict(failure: Failure) -> Failure {
    match failure.class() {
        FailureClass::TlsNotOffered | FailureClass::ConnectionClosed | FailureClass::TlsFailed => failure.advice(
            "leave `sqlServer.encryption` out where the server is older than SQL Server 2022, or does not offer TDS 8",
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests;

//! One look at HDFS by its own protocol (RPC), with simple login or with Kerberos. The client (hdfs-native) works in a child of the
//! operator (`rpc_child.rs`), and reaches name node and KDC through relays; what they say is read first (`rpc_wire.rs`).

use std::{
    net::SocketAddrV4,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::zeroize::Zeroizing;
use tokio::time::timeout;

use super::{
    CLOSED,
    rpc_child::{Answer, ENVIRONMENT, How, Told, ToldKerberos},
    rpc_codes::{Verdict, When, exception, kerberos},
    rpc_wire::{Centre, Event, Login, Principal, Progress, Refused, Wire},
};
use crate::{
    connections::{
        Permission,
        family::hosts::{End, Idle, Missed, Turns},
    },
    failure::{Code, Failure, FailureClass, Proof, Setting, Stage},
    net::{
        Endpoint, Network,
        child::{
            Document, Task,
            relay::{Reader, Relay},
        },
    },
    secret::SecretValue,
};

/// The name of the job: the member of the spec.
const JOB: &str = "hdfs";

/// Most connections to the KDC in one login: it opens one for each question, and asks twice for the first ticket.
const QUESTIONS: usize = 8;

/// What a look leaves out, where data is to be read: the name node alone is asked.
const DATA_NODES: &str = "that the data nodes can be reached, which the operator does not talk to";
/// Who may list a directory may not read each file in it.
const FILES: &str = "that the files in it may be read";

/// What may be wrong where a name node hangs up that says everything in encrypted form: the client drops its last words.
const UNREAD: &str = "look whether the name node lets the user use this service (hadoop-policy.xml): with hadoop.rpc.protection \
    integrity or privacy its reason for closing cannot be read";

/// What a look asks, and as whom.
#[derive(Debug)]
pub(in crate::connections::hdfs) struct Plan {
    /// The name nodes, in the order they are tried: one that is active is enough.
    pub(in crate::connections::hdfs) name_nodes: Vec<Endpoint>,
    /// The file or directory that must exist, absolute.
    pub(in crate::connections::hdfs) path: String,
    /// Whom a simple login calls itself. With Kerberos the user is the principal, and this is `None`.
    pub(in crate::connections::hdfs) user: Option<String>,
    /// How one logs in where the name nodes ask for more than a name.
    pub(in crate::connections::hdfs) kerberos: Option<Kerberos>,
    /// The permissions to prove: List and Read, sorted.
    pub(in crate::connections::hdfs) permissions: Vec<Permission>,
}

/// A login by Kerberos. Principal, realm and KDC obey the strict patterns of the settings, so that they can stand in a
/// configuration file.
#[derive(Debug)]
pub(in crate::connections::hdfs) struct Kerberos {
    /// Whom the keytab is for, without its realm: `reader`, or `reader/host.example.com`.
    pub(in crate::connections::hdfs) principal: String,
    /// The realm of the principal.
    pub(in crate::connections::hdfs) realm: String,
    /// The key distribution centre of the realm.
    pub(in crate::connections::hdfs) kdc: Endpoint,
    /// The principal that the name nodes must have, without its realm: `hdfs/_HOST`, where `_HOST` stands for the host as the
    /// spec has it. Absent: `nn` or `hdfs` at that host.
    pub(in crate::connections::hdfs) server_principal: Option<String>,
    /// The bytes of the keytab.
    pub(in crate::connections::hdfs) keytab: SecretValue,
}

/// What is known about a name node, beside what goes wrong.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// How far the conversation got.
    stage: Stage,
    /// It has sent what is to prove who it is.
    challenged: bool,
    /// It has said that it does not serve, and why.
    idle: Option<Idle>,
}

impl Seen {
    fn answered(self) -> bool {
        self.stage > Stage::Reach
    }
}

/// Looks once.
///
/// # Errors
/// What did not pass.
pub(in crate::connections::hdfs) async fn look(net: &Network, plan: &Plan) -> Result<Proof, Failure> {
    if plan.kerberos.is_none() {
        net.nobody_checks_who_we_are();
    }
    let mut turns = Turns::of(plan.name_nodes.len());
    for node in &plan.name_nodes {
        // A little is left, so that the cause is known before the deadline strikes.
        let share = turns.share(net).unwrap_or_else(|| net.remaining().mul_f32(0.95));
        net.turn_to(node);
        net.step(Stage::Reach);
        match plan.ask(net, node, share).await {
            Ok(()) => {
                let read = plan.permissions.contains(&Permission::Read);
                let proof = if read { Proof::default().but([DATA_NODES, FILES]) } else { Proof::default() };
                return Ok(proof.past(turns.passed_over()));
            }
            Err(End::Judged(failure)) => return Err(failure),
            Err(End::Missed(missed)) => turns.miss(node, missed),
        }
    }
    Err(turns.nobody_serves(net))
}

/// What is said of who answers as a name node and has not the key of one.
fn no_proof() -> Failure {
    Failure::new(FailureClass::AuthenticationMethodNotSupported)
        .word("it does not prove who it is")
        .advice("look at who answers there")
}

/// What the keytab is called in messages.
fn keytab() -> Setting {
    Setting::from_spec("the keytab in the Secret")
}

impl Plan {
    /// Asks one name node.
    async fn ask(&self, net: &Network, node: &Endpoint, share: Duration) -> Result<(), End> {
        let seen = Arc::new(Mutex::new(Seen { stage: Stage::Reach, challenged: false, idle: None }));
        let ended = self.ask_child(net, node, share, &seen).await;
        let seen = *seen.lock().unwrap_or_else(PoisonError::into_inner);
        ended.map_err(|failure| match (failure.class(), seen.idle) {
            (_, Some(idle)) => End::Missed(Missed { stage: seen.stage, failure, idle: Some(idle) }),
            // Without a login, another name node may be asked the same.
            (FailureClass::TimedOut | FailureClass::ConnectionClosed, None) if self.kerberos.is_none() => {
                End::Missed(Missed::at(seen.stage, failure))
            }
            (FailureClass::ChildFailed, None) => End::Judged(failure),
            _ if seen.answered() => End::Judged(failure),
            _ => End::Missed(Missed::at(seen.stage, failure)),
        })
    }

    async fn ask_child(
        &self,
        net: &Network,
        node: &Endpoint,
        share: Duration,
        seen: &Arc<Mutex<Seen>>,
    ) -> Result<(), Failure> {
        let login = match &self.kerberos {
            None => Login::Simple,
            Some(kerberos) => Login::Kerberos(Principal::expected(kerberos.server_principal.as_deref(), &node.host)),
        };
        let (network, log, way) = (net.clone(), Arc::clone(seen), login.clone());
        let relay =
            Relay::open(net, node, (1, share), move || Box::new(Conversation::new(&network, &way, &log))).await?;
        let centre = match &self.kerberos {
            None => None,
            Some(kerberos) => {
                let net_of = net.clone();
                let reader = move || -> Box<dyn Reader> { Box::new(KeyCentre(net_of.clone(), Centre::default())) };
                Some(Relay::open(net, &kerberos.kdc, (QUESTIONS, share), reader).await?)
            }
        };
        let document = self.told(&login, relay.address(), centre.as_ref().map(Relay::address))?;
        let task = Task { job: JOB, environment: &ENVIRONMENT, document };
        let work = async {
            tokio::select! {
                biased;
                failure = relay.failed() => Err(failure),
                failure = failed(centre.as_ref()) => Err(failure),
                answer = net.ask_child::<Answer>(task) => Ok(answer),
            }
        };
        let ended = match timeout(share, work).await {
            Ok(Ok(Ok(answer))) => match self.judge(answer, seen) {
                Ok(()) => Ok(()),
                // What was seen on the way is the cause of it.
                Err(failure) => {
                    Err(relay.failure().or_else(|| centre.as_ref().and_then(Relay::failure)).unwrap_or(failure))
                }
            },
            Ok(Ok(Err(failure)) | Err(failure)) => Err(failure),
            Err(_elapsed) if relay.is_used() => Err(Failure::new(FailureClass::TimedOut)),
            Err(_elapsed) => Err(Failure::new(FailureClass::ChildFailed).word("it asks nothing in time")),
        };
        let ended = ended.map_err(|failure| net.about(failure));
        relay.close().await;
        if let Some(centre) = centre {
            centre.close().await;
        }
        ended
    }

    fn told(&self, login: &Login, node: SocketAddrV4, centre: Option<SocketAddrV4>) -> Result<Document, Failure> {
        let mut keytab = Zeroizing::new(String::new());
        let kerberos = match (&self.kerberos, centre) {
            (Some(kerberos), Some(centre)) => {
                let bytes = kerberos.keytab.expose();
                // Room for all of it at once: a text that grows leaves copies behind.
                keytab.reserve_exact(bytes.len().div_ceil(3) * 4);
                STANDARD.encode_string(bytes, &mut keytab);
                Some(ToldKerberos {
                    principal: format!("{}@{}", kerberos.principal, kerberos.realm),
                    configuration: configuration(&kerberos.realm, centre, login),
                    keytab: &keytab,
                })
            }
            _ => None,
        };
        Document::of(&Told {
            name_node: node,
            path: self.path.clone(),
            list: !self.permissions.is_empty(),
            user: self.user.clone(),
            kerberos,
        })
    }

    /// Whether that is enough.
    fn judge(&self, answer: Answer, seen: &Mutex<Seen>) -> Result<(), Failure> {
        let path = || Setting::from_spec(&self.path);
        let (found, how) = match answer {
            Answer::Found { directory: false } if self.permissions.contains(&Permission::Read) => {
                return Err(Failure::new(FailureClass::NotProvable)
                    .about(path())
                    .word(Permission::Read.as_str())
                    .word("it is a file")
                    .advice("name its directory, or use spec.hdfs.url: a file is asked about through WebHDFS only"));
            }
            Answer::Found { .. } => return Ok(()),
            Answer::Failed { found, how } => (found, how),
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        Err(match how {
            How::Missing => Failure::new(FailureClass::TargetNotFound).about(path()),
            How::Exception(name) => match exception(&name, When::Question) {
                Verdict::Idle(idle, failure) => {
                    seen.idle = Some(idle);
                    failure
                }
                Verdict::Final(failure) => match failure.class() {
                    FailureClass::PermissionDenied if found => failure.about(path()).words(&self.permissions),
                    FailureClass::PermissionDenied if name.ends_with(".AccessControlException") => {
                        failure.about(path()).word("to reach it").advice(CLOSED)
                    }
                    FailureClass::PermissionDenied | FailureClass::TargetNotFound | FailureClass::TargetUnavailable => {
                        failure.about(path())
                    }
                    _ => failure,
                },
            },
            How::Kerberos(minor) => match kerberos(minor) {
                failure if failure.class() == FailureClass::CredentialsMalformed => failure.about(keytab()),
                // The ticket was made: the library finds fault with what the name node has said to it.
                failure if failure.class() == FailureClass::ChildFailed && seen.challenged => no_proof(),
                failure => failure,
            },
            How::Login => Failure::new(FailureClass::ProtocolMismatch).word("the login ends in a way that is none"),
            How::Strange | How::Panicked if seen.answered() => {
                Failure::new(FailureClass::ProtocolMismatch).word("its answer cannot be read")
            }
            How::NoLibrary => Failure::new(FailureClass::ChildFailed)
                .word("the library libgssapi_krb5.so.2 cannot be loaded")
                .advice("run the operator in an image with MIT Kerberos, Debian's package libgssapi-krb5-2"),
            How::Strange | How::Panicked | How::Unable => {
                Failure::new(FailureClass::ChildFailed).word("it cannot do what it is told")
            }
        })
    }
}

/// The configuration of the library of Kerberos: it asks one KDC by TCP and no name server, and hands no ticket on.
fn configuration(realm: &str, centre: SocketAddrV4, login: &Login) -> String {
    let hosts = match login {
        Login::Simple => &[][..],
        Login::Kerberos(principals) => principals,
    };
    // What cannot stand in the file has no realm of its own there, and is looked for in the only one.
    let sayable =
        |host: &&str| !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    let hosts = hosts.iter().map(|principal| principal.host.as_str()).filter(sayable);
    let hosts: Vec<String> = hosts.map(|host| format!("  {host} = {realm}\n")).collect();
    let hosts = hosts.concat();
    format!(
        "[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_uri_lookup = false
  dns_canonicalize_hostname = false
  qualify_shortname = \"\"
  rdns = false
  udp_preference_limit = 1
  kdc_timesync = 0
  forwardable = false
  proxiable = false
[realms]
  {realm} = {{
    kdc = {centre}
  }}
[domain_realm]
{hosts}"
    )
}

/// Waits until something goes wrong behind a relay that there may not be.
async fn failed(relay: Option<&Relay>) -> Failure {
    match relay {
        Some(relay) => relay.failed().await,
        None => std::future::pending().await,
    }
}

/// What reads the conversation with a name node.
struct Conversation {
    net: Network,
    login: Login,
    seen: Arc<Mutex<Seen>>,
    wire: Wire,
}

impl Conversation {
    fn new(net: &Network, login: &Login, seen: &Arc<Mutex<Seen>>) -> Self {
        Self { net: net.clone(), login: login.clone(), seen: Arc::clone(seen), wire: Wire::new(login.clone()) }
    }

    fn happened(&self, event: Event) {
        let stage = match event {
            Event::Answered | Event::Challenged => Stage::Authenticate,
            Event::Accepted => Stage::Access,
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.stage = stage;
        seen.challenged |= event == Event::Challenged;
        self.net.step(stage);
    }

    fn explain(&self, refused: Refused) -> Failure {
        let method = || Failure::new(FailureClass::AuthenticationMethodNotSupported);
        match refused {
            Refused::NotTheProtocol | Refused::Busy => Failure::new(FailureClass::ProtocolMismatch),
            Refused::TooLarge => Failure::new(FailureClass::AnswerTooLarge),
            Refused::NoKerberos => method().word("it does not offer Kerberos"),
            Refused::Simple => method().word("it believes every name, and Kerberos is asked for").advice(
                "turn Kerberos on at the name node, or take spec.hdfs.kerberos away if every name is to be believed",
            ),
            Refused::AnotherServer => method()
                .word("its principal is another one than is expected")
                .advice("name the name node by the host of its principal, or set spec.hdfs.kerberos.serverPrincipal"),
            Refused::Unproven => no_proof(),
            Refused::Fatal(name) => {
                let when = match (self.wire.progress(), &self.login) {
                    (Progress::Accepted, _) => When::Question,
                    (_, Login::Simple) => When::SimpleLogin,
                    (_, Login::Kerberos(_)) => When::KerberosLogin,
                };
                match exception(&name, when) {
                    Verdict::Idle(idle, failure) => {
                        self.seen.lock().unwrap_or_else(PoisonError::into_inner).idle = Some(idle);
                        failure
                    }
                    Verdict::Final(failure) => failure,
                }
            }
        }
    }
}

impl Reader for Conversation {
    fn sends(&mut self, bytes: &[u8]) {
        if self.wire.said(bytes) {
            self.happened(Event::Accepted);
        }
    }

    fn received(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let before = self.wire.progress();
        let received = self.wire.received(bytes);
        // An answer counts as one, whatever is wrong with it.
        if received.is_err() && before == Progress::Silent && self.wire.progress() > Progress::Silent {
            self.happened(Event::Answered);
        }
        let (passed, events) = received.map_err(|refused| self.explain(refused))?;
        for event in events {
            self.happened(event);
        }
        Ok(passed)
    }

    fn closed(&mut self, failure: Failure) -> Option<Failure> {
        Some(if self.wire.is_wrapped() { failure.advice(UNREAD) } else { failure })
    }
}

/// What reads what a KDC says.
struct KeyCentre(Network, Centre);

impl Reader for KeyCentre {
    fn received(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        let received = self.1.received(bytes);
        if self.1.has_answered() {
            self.0.step(Stage::Authenticate);
        }
        received.map_err(|refused| match refused {
            // The library would ask again and again.
            Refused::Busy => Failure::new(FailureClass::ServerUnavailable).word("Kerberos").code(Code::Number(29)),
            _ => Failure::new(FailureClass::ProtocolMismatch)
                .advice("check spec.hdfs.kerberos.kdc: it must speak Kerberos by TCP"),
        })
    }

    fn closed(&mut self, failure: Failure) -> Option<Failure> {
        // It hangs up when it has said what it had to.
        (!self.1.has_answered()).then_some(failure)
    }
}

//! The servers that the examples are pointed at, with what the examples name on them, and the one table of types: what is put into
//! the example of each, and how its server tells who has logged in.

use std::{net::SocketAddr, sync::Arc};

use connection_operator::connections::ConnectionType;
use serde_json::json;

use crate::{
    derive::Change,
    harness::proxy::Proxy,
    systems::{
        authority::{Authority, Clients},
        azurite,
        elasticsearch::Server as Cluster,
        googlestorage::{self, Cloud},
        hdfs, kafka, mariadb, moto,
        mysql::Session,
        postgresql,
        qubole::{self, Environment},
        snowflake::{self, Account},
        spotinst::{self, Api},
        tds::{Manner, Server, tokens},
    },
};

/// Whose values are put into a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Those of somebody who has the least rights that the type's page prints.
    Right,
    /// Those of nobody.
    Wrong,
}

/// One type: what is put into its example, and whom its server has seen.
pub struct Entry<'a> {
    /// The type.
    pub kind: ConnectionType,
    /// What is put into the example.
    pub change: Change,
    /// How many logins of this kind the server has seen so far, or how many requests that were signed so.
    pub seen: Box<dyn Fn() -> usize + Send + Sync + 'a>,
}

/// The service account of the example.
const ACCOUNT: &str = "orders-reader@shop-prod.iam.gserviceaccount.com";

/// A token that the stand-ins know, where it is all that a login is made with, and one that they do not.
const TOKENS: [&str; 2] = ["4ab2c6d9e8f7-hunter2", "change-me"];

/// What lives in this process, beside the servers that are started by scripts.
pub struct Servers {
    right: StandIns,
    wrong: StandIns,
    kdc: Proxy,
    pairs: Pairs,
    authority: Authority,
}

/// Of each two: of what it has heard one does not tell who was let in.
struct StandIns {
    cloud: Cloud,
    account: Account,
    sql: Server,
    environment: Environment,
    api: Api,
    proxy: Proxy,
}

/// Keys that the stand-ins know, and keys that they do not.
struct Pairs {
    google: [googlestorage::Pair; 2],
    snowflake: [snowflake::Pair; 2],
}

impl Servers {
    /// Starts them.
    pub async fn start() -> Self {
        let id = "6c68d31a00c01a6150f5dd4a941440ef8ef677bf";
        let pairs = Pairs {
            google: [googlestorage::Pair::new(id), googlestorage::Pair::new(id)],
            snowflake: [snowflake::Pair::new(), snowflake::Pair::new()],
        };
        let authority = Authority::new();
        let (right, wrong) = tokio::join!(StandIns::start(&pairs, &authority), StandIns::start(&pairs, &authority));
        let kdc = Proxy::to(hdfs::server().address("KDC")).await;
        Self { right, wrong, kdc, pairs, authority }
    }

    /// Starts the servers that scripts start; what takes seconds is waited for once.
    pub async fn scripted() {
        let starts: [fn(); 7] = [
            || _ = kafka::server(),
            || _ = moto::server(),
            || _ = mariadb::server(),
            || _ = postgresql::server(),
            || _ = azurite::server(),
            || _ = Cluster::elasticsearch(),
            || _ = hdfs::server(),
        ];
        let started: Vec<_> = starts.into_iter().map(tokio::task::spawn_blocking).collect();
        for one in started {
            one.await.expect("a server");
        }
    }

    /// The entry of every type that has one, in no order.
    pub fn entries(&self, login: Login) -> Vec<Entry<'_>> {
        use ConnectionType as T;
        vec![
            amazon(T::S3, login, "lister"),
            amazon(T::Kinesis, login, "viewer"),
            wire(T::Redshift, login, "analyst"),
            amazon(T::Athena, login, "clerk"),
            amazon(T::S3OverSQS, login, "watcher"),
            self.google(login),
            azure(login),
            self.snowflake(login),
            mysql(login),
            self.elasticsearch(login),
            self.hdfs(login),
            self.qubole(login),
            wire(T::PostgreSQL, login, "reader"),
            self.sql_server(login),
            self.spotinst(login),
            kafka(login),
        ]
    }

    fn stand_ins(&self, login: Login) -> &StandIns {
        match login {
            Login::Right => &self.right,
            Login::Wrong => &self.wrong,
        }
    }

    fn google(&self, login: Login) -> Entry<'_> {
        let (pair, cloud) = (login.of(&self.pairs.google), &self.stand_ins(login).cloud);
        let key = json!({
            "type": "service_account", "project_id": "shop-prod", "private_key_id": pair.id, "private_key": pair.pem(),
            "client_email": ACCOUNT, "token_uri": "https://oauth2.googleapis.com/token", "universe_domain": "googleapis.com",
        });
        Entry {
            kind: ConnectionType::GoogleStorage,
            change: Change {
                secret: vec![("credentials.json", key.to_string().into())],
                ..Change::at(cloud.web.peer.address, Cloud::authority().pem.as_str())
            },
            seen: Box::new(|| cloud.web.asked().iter().filter(|asked| asked.line == "POST /token").count()),
        }
    }

    fn snowflake(&self, login: Login) -> Entry<'_> {
        let (pair, account) = (login.of(&self.pairs.snowflake), &self.stand_ins(login).account);
        Entry {
            kind: ConnectionType::Snowflake,
            change: Change {
                secret: vec![("username", b"READER".to_vec()), ("privateKey", pair.pem().into())],
                ..Change::at(account.web.peer.address, Account::authority().pem.as_str())
            },
            seen: Box::new(|| account.web.asked().len()),
        }
    }

    /// It tells nobody who logs in: who comes is counted before it.
    fn elasticsearch(&self, login: Login) -> Entry<'_> {
        let (server, proxy) = (Cluster::elasticsearch(), &self.stand_ins(login).proxy);
        Entry {
            kind: ConnectionType::Elasticsearch,
            change: Change { secret: login.of_user("reader"), ..Change::at(proxy.address, server.said.ca_pem()) },
            seen: Box::new(|| proxy.connections()),
        }
    }

    /// A name is trusted where it is let in, which is no login; one by Kerberos can be rejected, by the KDC.
    fn hdfs(&self, login: Login) -> Entry<'_> {
        let (server, kdc) = (hdfs::server(), &self.kdc);
        let change = match login {
            Login::Right => Change::at(server.address("ACTIVE"), ""),
            Login::Wrong => Change {
                full: true,
                // The name node's principal has its name.
                beside: json!({"nameNodes": [server.said["KERBEROS"]], "kerberos": {"kdc": kdc.address.to_string()}}),
                secret: vec![("reader.keytab", server.said.file("KEYTAB_WRONG"))],
                ..Change::at(server.address("KERBEROS"), "")
            },
        };
        Entry {
            kind: ConnectionType::HDFS,
            change: Change { ca: None, ..change },
            seen: Box::new(move || match login {
                Login::Right => server.requests_about("/data/orders").len(),
                // A KDC asks for a proof first, which comes over another connection.
                Login::Wrong => kdc.connections() / 2,
            }),
        }
    }

    fn qubole(&self, login: Login) -> Entry<'_> {
        let environment = &self.stand_ins(login).environment;
        Entry {
            kind: ConnectionType::Qubole,
            change: Change {
                secret: vec![("apiToken", (*login.of(&TOKENS)).into())],
                ..Change::at(environment.web.peer.address, Environment::authority().pem.as_str())
            },
            seen: Box::new(|| environment.web.asked().len()),
        }
    }

    fn spotinst(&self, login: Login) -> Entry<'_> {
        let api = &self.stand_ins(login).api;
        Entry {
            kind: ConnectionType::SpotinstVPC,
            change: Change {
                secret: vec![("token", (*login.of(&TOKENS)).into())],
                ..Change::at(api.web.peer.address, Api::authority().pem.as_str())
            },
            seen: Box::new(|| api.web.asked().len()),
        }
    }

    fn sql_server(&self, login: Login) -> Entry<'_> {
        let server = &self.stand_ins(login).sql;
        Entry {
            kind: ConnectionType::SQLServer,
            change: Change {
                secret: login.of_user("reader"),
                ..Change::at(server.peer.address, self.authority.pem.as_str())
            },
            seen: Box::new(|| server.heard().logins.len()),
        }
    }
}

impl StandIns {
    async fn start(pairs: &Pairs, authority: &Authority) -> Self {
        let cloud = googlestorage::Known::nothing().account(ACCOUNT, &pairs.google[0]).bucket("orders-lake", &[]);
        let cloud = cloud.grant("orders-lake", ACCOUNT, "storage.objects.list", None);
        let account = snowflake::Known::nothing().user("READER", "ORDERS_READER", Some(&pairs.snowflake[0]));
        let account = account.grant("GRANT USAGE ON DATABASE SHOP TO ROLE ORDERS_READER");
        let tls = authority.config(&["127.0.0.1"], Clients::Anybody, rustls::DEFAULT_VERSIONS);
        let sql = Manner {
            login: Box::new(|login| match (login.user.as_str(), login.password.as_str(), login.database.as_str()) {
                ("reader", "reader-secret", "orders") => tokens::accepted(login),
                _ => tokens::refused(&[18_456]),
            }),
            ..Manner::of(Arc::new(tls))
        };
        Self {
            cloud: cloud.start().await,
            account: account.start().await,
            sql: Server::that(sql).await,
            environment: qubole::Known::example(TOKENS[0]).start().await,
            api: spotinst::Known::example(TOKENS[0]).start().await,
            proxy: Proxy::to(Cluster::elasticsearch().address).await,
        }
    }
}

impl Login {
    /// The right one of two, or the wrong one.
    const fn of<T>(self, [right, wrong]: &[T; 2]) -> &T {
        match self {
            Self::Right => right,
            Self::Wrong => wrong,
        }
    }

    /// The name of a user, and a password.
    fn of_user(self, user: &str) -> Vec<(&'static str, Vec<u8>)> {
        let password = self.of(&[format!("{user}-secret"), "hunter2-wrong".to_owned()]).clone();
        vec![("username", user.into()), ("password", password.into())]
    }
}

impl Change {
    fn at(address: SocketAddr, ca: impl Into<Vec<u8>>) -> Self {
        let ca = String::from_utf8(ca.into()).expect("a CA in PEM");
        Self { full: false, address, place: json!({}), beside: json!({}), ca: Some(ca), secret: Vec::new() }
    }
}

/// A service of AWS. Whoever signs is known to the emulator, or is not.
fn amazon(kind: ConnectionType, login: Login, user: &str) -> Entry<'static> {
    let server = moto::server();
    let (id, secret) = match login {
        Login::Right => (server.user(user).key, server.user(user).secret),
        Login::Wrong => {
            (format!("AKIAUNKNOWN{}", user.to_uppercase()), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into())
        }
    };
    Entry {
        kind,
        change: Change {
            secret: vec![("accessKeyId", id.clone().into()), ("secretAccessKey", secret.into())],
            ..Change::at(server.https, server.said.ca_pem())
        },
        seen: Box::new(move || server.requests_of(&id).len()),
    }
}

fn azure(login: Login) -> Entry<'static> {
    let server = azurite::server();
    let key = login.of(&["KEY", "OTHER_KEY"]);
    // Azurite's account is in the path, since its host is an address.
    let place = json!({"endpoint": format!("https://unnamed/{}", server.said["ACCOUNT"])});
    let status = login.of(&["\" 200 ", "\" 403 "]);
    Entry {
        kind: ConnectionType::AzureBlob,
        change: Change {
            place,
            secret: vec![("accountKey", server.said[*key].clone().into())],
            ..Change::at(server.address, server.said.ca_pem())
        },
        seen: Box::new(move || {
            let log = String::from_utf8_lossy(&server.said.file("LOG")).into_owned();
            log.lines().filter(|line| line.contains("maxresults=1") && line.contains(status)).count()
        }),
    }
}

fn mysql(login: Login) -> Entry<'static> {
    let server = mariadb::server();
    let command = login.of(&["Query", "Connect Access denied"]);
    let came = move |session: &Session| session.commands.iter().any(|line| line.starts_with(command));
    Entry {
        kind: ConnectionType::MySQL,
        change: Change { secret: login.of_user("reader"), ..Change::at(server.address, server.said.ca_pem()) },
        seen: Box::new(move || server.sessions("reader").iter().filter(|session| came(session)).count()),
    }
}

/// PostgreSQL, and what speaks its protocol: Redshift is a database with Redshift's views.
fn wire(kind: ConnectionType, login: Login, user: &'static str) -> Entry<'static> {
    let server = postgresql::server();
    let word = login.of(&["connection authorized", "password authentication failed"]);
    Entry {
        kind,
        change: Change { secret: login.of_user(user), ..Change::at(server.address, server.said.ca_pem()) },
        seen: Box::new(move || server.log(user).iter().filter(|line| line.contains(word)).count()),
    }
}

fn kafka(login: Login) -> Entry<'static> {
    let server = kafka::server();
    Entry {
        kind: ConnectionType::Kafka,
        change: Change { secret: login.of_user("reader"), ..Change::at(server.sasl_ssl, server.said.ca_pem()) },
        seen: Box::new(move || match login {
            Login::Right => server.logins("reader"),
            Login::Wrong => server.failures(server.sasl_ssl),
        }),
    }
}

//! The one MariaDB of a test process, with the users and tables that `hack/mariadb` describes, and others for tests that need one of
//! their own. A server is started when a test first asks for it, and asked what it saw.

use std::{net::SocketAddr, path::Path, sync::LazyLock};

use super::{
    mysql::Administrator,
    script::{self, Said},
};

/// A MariaDB with TLS on loopback.
pub struct Server {
    /// Where it listens. Its certificate is good for this address; it listens at 127.0.0.2 too, for which it is not.
    pub address: SocketAddr,
    /// What else its script says: CAs, a client certificate, the logs.
    pub said: Said,
}

/// What a server saw of one connection, in the words of its general log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The login: `reader@127.0.0.1 on orders using SSL/TLS`.
    pub login: String,
    /// What came after it, one a line: `Query SELECT 1`, `Quit`.
    pub commands: Vec<String>,
}

/// The server, started by the first test that asks.
///
/// # Panics
/// Where it cannot be started; the sentence says what is missing.
pub fn server() -> &'static Server {
    static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(|| start("mariadb", ""));
    SERVER.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

/// Starts a server of a test's own, with more options.
///
/// # Errors
/// A sentence that says what is missing.
pub fn start(name: &str, options: &str) -> Result<Server, String> {
    script::required("CONNECTION_OPERATOR_TEST_MARIADB")?;
    let said = script::up("mariadb", &script::run_directory().join(name), &[], &[("OPTIONS", options)])?;
    Ok(Server { address: said.address("MARIADB")?, said })
}

impl Server {
    /// Runs statements, one a line, as the administrator, and returns the first value of the last row that comes.
    pub async fn execute(&self, statements: &str) -> Option<String> {
        self.administrator().await.execute(statements).await
    }

    /// A session of the administrator.
    pub async fn administrator(&self) -> Administrator {
        Administrator::at(Path::new(&self.said["SOCKET"])).await
    }

    /// The connections of `user` so far, in the order of their logins.
    pub fn sessions(&self, user: &str) -> Vec<Session> {
        let log = self.said.file("GENERAL_LOG");
        let mut sessions: Vec<(String, Session)> = Vec::new();
        for line in String::from_utf8_lossy(&log).lines() {
            // A time or nothing, then the connection's number and the command, then what it is about.
            let (head, about) = line.rsplit_once('\t').map_or((line, ""), |(head, about)| (head, about));
            let mut words = head.rsplit('\t').next().unwrap_or_default().split_whitespace();
            let (Some(id), Some(command)) = (words.next(), words.next()) else { continue };
            match sessions.iter_mut().rfind(|(known, _)| known == id) {
                // Quit ends with a tab.
                Some((_, session)) => session.commands.push(format!("{command} {about}").trim().to_owned()),
                None => sessions.push((id.to_owned(), Session { login: about.to_owned(), commands: Vec::new() })),
            }
        }
        let login = format!("{user}@");
        sessions.into_iter().map(|(_, session)| session).filter(|session| session.login.starts_with(&login)).collect()
    }
}

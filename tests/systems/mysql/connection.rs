//! Connections of the tests of MySQL, whatever they are to.

use std::net::SocketAddr;

use connection_operator::connections::{ConnectionType, Permission, mysql::Settings};

use crate::{case, harness::mysql::Server};

/// A connection of this type.
pub type Case = case::Case<Settings>;

impl Case {
    /// A connection to a server at `address`, without a target.
    pub fn at(address: SocketAddr) -> Self {
        let settings = serde_json::json!({"host": address.ip(), "port": address.port()});
        Self::new(ConnectionType::MySQL, serde_json::from_value(settings).expect("settings"))
    }

    /// A connection to a real server as `user`, with its password, everything verified, and no target.
    pub fn at_server(server: &Server, user: &str) -> Self {
        Self::at(server.address).tls(|tls| tls.roots = server.said.ca()).login(user)
    }

    /// Logs in as `user`, with its password.
    pub fn login(self, user: &str) -> Self {
        self.secret("username", user).secret("password", &format!("{user}-secret"))
    }

    /// Asks for the database `orders`.
    pub fn database(self) -> Self {
        self.with(|settings| settings.database = Some("orders".to_owned()))
    }

    /// Asks for permissions on a table of it.
    pub fn on(self, table: &str, permissions: &[Permission]) -> Self {
        self.database().with(|settings| settings.table = Some(table.to_owned())).asks(permissions)
    }
}

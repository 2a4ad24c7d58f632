//! PostgreSQL's probe: what each case is called, and what a look does to the server and gives away to it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use connection_operator::{
    connections::{ConnectionType, Permission, postgresql::Settings},
    failure::{Proof, Reason, Stage},
};

use crate::{
    case::{self, LIMIT},
    harness::{peer, postgresql::server},
};

mod real;
mod stand_in;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to the real server as `user`, with its password, everything verified, and no target but the database.
    fn of(user: &str) -> Self {
        let server = server();
        let case = Self::at(server.address).tls(|tls| tls.roots = server.said.ca());
        case.secret("username", user).secret("password", &format!("{user}-secret"))
    }

    /// A connection to a peer at `address`.
    fn at(address: SocketAddr) -> Self {
        let settings = serde_json::json!({"host": address.ip(), "port": address.port(), "database": "orders"});
        Self::new(ConnectionType::PostgreSQL, serde_json::from_value(settings).expect("settings"))
    }

    /// Asks for permissions on a table of a schema.
    fn on(mut self, schema: &str, table: &str, permissions: &[Permission]) -> Self {
        self.settings.schema = Some(schema.to_owned());
        self.settings.table = Some(table.to_owned());
        self.asks(permissions)
    }
}

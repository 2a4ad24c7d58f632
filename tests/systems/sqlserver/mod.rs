//! SQL Server's probe: what each case is called, and what a look does to the server and gives away to it. No real server takes
//! part: one stand-in is Microsoft's own (`microsoft`), the other verifies what it is sent (`harness::tds`).

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use connection_operator::{
    connections::{
        ConnectionType, Permission,
        fields::{Host, Port},
        sqlserver::{Encryption, Settings},
    },
    failure::{Reason, Stage},
    net::tls::{Identity, Mode, Roots},
};

use crate::{
    case::{self, LIMIT},
    harness::{
        authority::{Authority, Clients},
        tds::{Login, Manner, Opening, Question, Server, Then, Tickets, Turn, tokens},
    },
};

mod hostile;
mod instance;
mod microsoft;
mod refused;
mod routing;
mod stand_in;

use Permission::{Read, Write};

type Case = case::Case<Settings>;

/// The authority of all servers here.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// The TLS of a server at 127.0.0.1.
fn tls() -> Arc<rustls::ServerConfig> {
    Arc::new(AUTHORITY.config(&["127.0.0.1"], Clients::Anybody, rustls::DEFAULT_VERSIONS))
}

/// A server that differs from the usual one.
async fn server(change: impl FnOnce(&mut Manner)) -> Server {
    let mut manner = Manner::of(tls());
    change(&mut manner);
    Server::that(manner).await
}

impl Case {
    /// A connection to a server at `address` as `user`, with its password, and no target but the database.
    fn of(user: &str, address: SocketAddr) -> Self {
        let settings = serde_json::json!({"host": address.ip(), "port": address.port(), "database": "orders"});
        let case = Self::new(ConnectionType::SQLServer, serde_json::from_value(settings).expect("settings"));
        let case = case.tls(|tls| tls.roots = roots());
        case.secret("username", user).secret("password", &format!("{user}-Secret;é"))
    }

    /// The usual one.
    fn at(server: &Server) -> Self {
        Self::of("reader", server.peer.address)
    }

    /// Asks for permissions on a table of a schema.
    fn on(self, schema: &str, table: &str, permissions: &[Permission]) -> Self {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let case = self.with(|settings| (settings.schema, settings.table) = (named(schema), named(table)));
        case.asks(permissions)
    }
}

fn roots() -> Roots {
    AUTHORITY.roots()
}

//! The probe of Elasticsearch and OpenSearch: what each case is called at real servers, and at peers that play what those do not.

use std::net::SocketAddr;

use connection_operator::{
    connections::{ConnectionType, Permission, elasticsearch::Settings, fields::HttpUrl},
    failure::{Proof, Reason, Stage},
    net::tls::Mode,
};

use crate::{
    case,
    harness::{elasticsearch::Server, peer, proxy::Proxy},
};
use Permission::{Read, Write};

mod opensearch;
mod real;
mod stand_in;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to a real server over TLS, as `user` with its password, everything verified, and no index.
    fn of(server: &Server, user: &str) -> Self {
        let case = Self::to("https", &[server.address]).tls(|tls| tls.roots = server.said.ca());
        case.secret("username", user).secret("password", &format!("{user}-secret"))
    }

    /// A connection to peers, without a login.
    fn to(scheme: &str, addresses: &[SocketAddr]) -> Self {
        let hosts: Vec<String> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
        let settings = serde_json::from_value(serde_json::json!({"hosts": hosts})).expect("settings");
        Self::new(ConnectionType::Elasticsearch, settings)
    }

    /// A connection to a peer that speaks HTTP without TLS.
    fn plain(address: SocketAddr) -> Self {
        Self::to("http", &[address]).tls(|tls| tls.mode = Mode::Disable)
    }

    /// Nobody logs in with a Secret.
    fn nobody(self) -> Self {
        self.secret("username", "").secret("password", "")
    }

    /// The same with another way to log in.
    fn by(self, key: &'static str, value: &str) -> Self {
        self.nobody().secret(key, value)
    }

    /// Asks for permissions on an index.
    fn on(self, index: &str, permissions: &[Permission]) -> Self {
        self.with(|settings| settings.index = Some(index.to_owned())).asks(permissions)
    }

    /// The same at other hosts of the same scheme.
    fn hosts(self, addresses: &[SocketAddr]) -> Self {
        self.with(|settings| {
            let plain = settings.hosts.iter().flatten().any(HttpUrl::is_plain);
            let scheme = if plain { "http" } else { "https" };
            settings.hosts = Some(addresses.iter().map(|address| HttpUrl(format!("{scheme}://{address}"))).collect());
        })
    }
}

//! Kafka's probe: what each case is called, how often a look dials and logs in, and what it gives away.

use std::net::SocketAddr;

use connection_operator::{
    connections::{
        ConnectionType, Permission,
        fields::HostPort,
        kafka::{Mechanism, Settings},
    },
    failure::{Proof, Reason, Stage},
    net::tls::Mode,
};

use crate::{
    case,
    harness::{kafka::server, peer},
};
use Permission::{List, Read, Write};

mod impostor;
mod msk;
mod real;
mod stand_in;
mod token;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to the real broker over TLS, as `user` by SCRAM-SHA-512, everything verified, and no target.
    fn scram(user: &str) -> Self {
        let server = server();
        let case = Self::at(server.sasl_ssl).tls(|tls| (tls.mode, tls.roots) = (Mode::VerifyFull, server.said.ca()));
        case.login(Mechanism::ScramSha512, user)
    }

    /// A connection to a peer at `address`, without TLS and without a login.
    fn at(address: SocketAddr) -> Self {
        let settings = serde_json::json!({"brokers": [address.to_string()]});
        let settings = serde_json::from_value(settings).expect("settings");
        Self::new(ConnectionType::Kafka, settings).tls(|tls| tls.mode = Mode::Disable)
    }

    /// Logs in as `user`, with its password.
    fn login(self, mechanism: Mechanism, user: &str) -> Self {
        let case = self.secret("username", user).secret("password", &format!("{user}-secret"));
        case.with(|settings| settings.sasl_mechanism = Some(mechanism))
    }

    /// Asks for permissions on a topic.
    fn on(self, topic: &str, permissions: &[Permission]) -> Self {
        self.with(|settings| settings.topic = Some(topic.to_owned())).asks(permissions)
    }

    fn brokers(self, addresses: &[SocketAddr]) -> Self {
        self.with(|settings| settings.brokers = addresses.iter().map(|address| HostPort(address.to_string())).collect())
    }

    fn group(self, name: &str) -> Self {
        self.with(|settings| settings.consumer_group = Some(name.to_owned()))
    }
}

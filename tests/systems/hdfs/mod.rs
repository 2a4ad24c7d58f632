//! HDFS's probe: what each case is called, and which requests a look makes and makes never.

use connection_operator::{
    connections::{
        ConnectionType, Permission,
        fields::HostPort,
        hdfs::{HdfsPath, Kerberos, Settings, WebUrl},
    },
    failure::{Reason, Stage},
    net::tls::Mode,
};

use crate::{
    case,
    harness::{hdfs::server, peer},
};
use Permission::{List, Read, Write};

mod rpc;
mod rpc_stand_in;
mod stand_in;
mod web;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to `path` through WebHDFS at `url`, as nobody yet.
    fn web(url: &str, path: &str) -> Self {
        let settings = serde_json::json!({"url": url, "path": path});
        let case = Self::new(ConnectionType::HDFS, serde_json::from_value(settings).expect("settings"));
        if url.starts_with("webhdfs://") { case.tls(|tls| tls.mode = Mode::Disable) } else { case }
    }

    /// A connection to `path` at name nodes, by RPC, as nobody yet.
    fn rpc(nodes: &[&str], path: &str) -> Self {
        let settings = serde_json::json!({"nameNodes": nodes, "path": path});
        Self::new(ConnectionType::HDFS, serde_json::from_value(settings).expect("settings"))
    }

    fn nodes(self, nodes: &[&str]) -> Self {
        let nodes = nodes.iter().map(|node| HostPort((*node).to_owned())).collect();
        self.with(|settings| settings.name_nodes = Some(nodes))
    }

    /// By Kerberos, as a principal of the KDC at `kdc`.
    fn principal(self, principal: &str, kdc: &str) -> Self {
        let kerberos = Kerberos {
            principal: principal.to_owned(),
            realm: server().said["REALM"].clone(),
            kdc: HostPort(kdc.to_owned()),
            server_principal: None,
        };
        self.with(|settings| settings.kerberos = Some(kerberos))
    }

    /// With a keytab that the script made.
    fn keytab(self, key: &str) -> Self {
        self.file("keytab", server().said.file(key))
    }

    /// As whoever this name is.
    fn named(self, user: &str) -> Self {
        self.with(|settings| settings.user = Some(user.to_owned()))
    }

    /// With a delegation token.
    fn token(self, token: &str) -> Self {
        self.secret("delegationToken", token)
    }

    fn path(self, path: &str) -> Self {
        self.with(|settings| settings.path = HdfsPath(path.to_owned()))
    }

    fn at(self, url: String) -> Self {
        self.with(|settings| settings.url = Some(WebUrl(url)))
    }
}

//! Redshift's probe: what each case is called, and what a look asks the service, the database and nobody else. The wire is PostgreSQL's
//! in a database with Redshift's views, the service is an emulator or a stand-in; no Redshift takes part.

use std::{net::SocketAddr, time::Duration};

use connection_operator::{
    connections::{ConnectionType, Permission, redshift::Settings},
    failure::{Proof, Reason, Stage},
    net::tls::{Mode, Roots},
};
use serde_json::{Value, json};

use crate::{
    case::{self, LIMIT},
    harness::{peer, postgresql::server},
};
use Permission::{List, Read, Write};

mod cluster;
mod real;
mod stand_in;
mod workgroup;

type Case = case::Case<Settings>;

/// What a look proves nothing about where it sends no statement.
const SILENT: &str = "that the database answers statements, since none is sent";

impl Case {
    /// A connection to the database as `user`, with its password, everything verified, and no target but the database.
    fn of(user: &str) -> Self {
        let server = server();
        let case = Self::at(server.address).tls(|tls| tls.roots = server.said.ca());
        case.secret("username", user).secret("password", &format!("{user}-secret"))
    }

    /// A connection to a peer at `address`.
    fn at(address: SocketAddr) -> Self {
        let settings = json!({"host": address.ip(), "port": address.port(), "database": "warehouse"});
        Self::new(ConnectionType::Redshift, serde_json::from_value(settings).expect("settings"))
    }

    /// With a temporary password from the service at `api`, as `iam` says, signed with a key.
    fn asking(self, api: SocketAddr, mut iam: Value, id: &str, secret: &str) -> Self {
        iam["region"] = json!("us-east-1");
        iam["endpoint"] = json!(format!("https://{api}"));
        let case = self.secret("username", "").secret("password", "");
        case.with(|settings| settings.iam = Some(serde_json::from_value(iam).expect("settings")))
            .secret("accessKeyId", id)
            .secret("secretAccessKey", secret)
    }

    /// Asks for permissions on a table of a schema.
    fn on(mut self, schema: &str, table: &str, permissions: &[Permission]) -> Self {
        self.settings.schema = Some(schema.to_owned());
        self.settings.table = Some(table.to_owned());
        self.asks(permissions)
    }

    /// The same with other settings of `iam`.
    fn but(self, change: &Value) -> Self {
        self.with(|settings| {
            let mut iam = json!(settings.iam);
            json_patch::merge(&mut iam, change);
            settings.iam = serde_json::from_value(iam).expect("settings");
        })
    }
}

/// Whom to trust where two systems have a CA each.
fn both(one: &[u8], other: &[u8]) -> Roots {
    Roots::from_pem(&[one, b"\n", other].concat()).expect("two CAs")
}

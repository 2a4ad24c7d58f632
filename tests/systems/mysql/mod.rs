//! MySQL's probe: what each case is called, what a look does to the server, and what it gives away to it.

use std::time::Duration;

use connection_operator::{
    connections::Permission,
    failure::{Proof, Reason, Stage},
    net::tls::Mode,
};

use crate::{
    case::LIMIT,
    harness::{
        mariadb::{self, server},
        peer,
    },
};
use Permission::{Read, Write};
use connection::Case;

mod caching;
mod connection;
mod player;
mod real;
mod stand_in;
mod ways;

impl Case {
    /// A connection to the real server as `user`, with its password, everything verified, and no target.
    fn of(user: &str) -> Self {
        Self::at_server(server(), user)
    }
}

//! Snowflake's probe: what each case is called, and which statements a look sends. No Snowflake takes part: the account is a
//! stand-in that verifies (`tests/harness/snowflake.rs`).

use std::{net::SocketAddr, sync::LazyLock};

use connection_operator::{
    connections::{ConnectionType, Permission, snowflake::Settings},
    failure::{Proof, Reason, Stage},
};

use crate::{
    case,
    harness::{
        peer,
        snowflake::{
            ACCOUNT, Account, Backslash, Kind, Known, Pair, Standing, TABLES, impostor, refusal, result, terse,
        },
    },
};
use Permission::{Read, Write};

mod account;
mod stand_in;

type Case = case::Case<Settings>;

/// The key pair of the user READER.
static PAIR: LazyLock<Pair> = LazyLock::new(Pair::new);

/// The statements of "Least rights" of the page, each with the comment that says what it is for.
fn grants() -> Vec<(&'static str, &'static str)> {
    let page = ConnectionType::Snowflake.about().docs;
    let block =
        page.split("## Least rights").nth(1).and_then(|rest| rest.split("```sql\n").nth(1)).expect("statements");
    let block = block.split("```").next().unwrap_or_default();
    let lines = block.lines().filter(|line| line.starts_with("GRANT ") && line.contains(" ON "));
    lines.map(|line| line.split_once("-- ").expect("a comment")).map(|(grant, why)| (grant.trim(), why)).collect()
}

/// An account with the user READER, whose role has the rights that the page prints for what `wanted` says.
fn granted(wanted: &[&str]) -> Known {
    let known = Known::nothing().user("READER", "ORDERS_READER", Some(&PAIR));
    let asked = |why: &str| wanted.iter().any(|word| why.contains(word));
    grants().into_iter().filter(|(_, why)| asked(why)).fold(known, |known, (grant, _)| known.grant(grant))
}

impl Case {
    /// A connection to a running account, as READER with the key pair.
    fn of(account: &Account) -> Self {
        Self::at(account.web.peer.address)
    }

    /// A connection to a peer at `address`.
    fn at(address: SocketAddr) -> Self {
        let settings = serde_json::json!({"account": ACCOUNT, "host": address.ip(), "port": address.port()});
        let case = Self::new(ConnectionType::Snowflake, serde_json::from_value(settings).expect("settings"));
        let case = case.tls(|tls| tls.roots = Account::authority().roots());
        case.secret("username", "reader").secret("privateKey", &PAIR.pem())
    }

    /// The same as another user.
    fn user(self, name: &str) -> Self {
        self.secret("username", name)
    }

    /// The same with a token.
    fn token(self, token: &str) -> Self {
        self.secret("username", "").secret("privateKey", "").secret("token", token)
    }

    /// About a table of SHOP.PUBLIC.
    fn on(self, table: &str) -> Self {
        self.with(|settings| {
            settings.database = Some("SHOP".to_owned());
            settings.schema = Some("PUBLIC".to_owned());
            settings.table = Some(table.to_owned());
        })
    }
}

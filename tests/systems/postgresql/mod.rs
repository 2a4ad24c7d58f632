//! PostgreSQL's probe: what each case is called, and what a look does to the server and gives away to it.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use connection_operator::{
    connections::{ConnectionType, Definition as _, Given, Permission, postgresql::Settings},
    failure::{Finding, Proof, Reason, Report, Setting, Stage},
    net::{Policy, SystemResolver, World, climb, tls::Tls},
    secret::{Credentials, SecretValue},
};

use crate::harness::{peer, postgresql::server};

mod real;
mod stand_in;

/// Long enough for a busy machine; a case that is about time sets its own.
const LIMIT: Duration = Duration::from_secs(20);

static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| {
    let loopback = "127.0.0.0/8".parse().expect("a rule");
    World::new(Policy::new(vec![loopback], Vec::new()), Arc::new(SystemResolver), 10_000)
});

/// A Connection and its Secret.
#[derive(Clone)]
struct Case {
    settings: Settings,
    secret: Vec<(&'static str, String)>,
    tls: Tls,
    permissions: Vec<Permission>,
    limit: Duration,
}

impl Case {
    /// A connection to the real server as `user`, with its password, everything verified, and no target but the database.
    fn of(user: &str) -> Self {
        let server = server();
        let tls = Tls { roots: server.ca(), ..Tls::default() };
        Self { tls, ..Self::at(server.address) }.secret("username", user).secret("password", &format!("{user}-secret"))
    }

    /// A connection to a peer at `address`.
    fn at(address: SocketAddr) -> Self {
        let settings = serde_json::json!({"host": address.ip(), "port": address.port(), "database": "orders"});
        Self {
            settings: serde_json::from_value(settings).expect("settings"),
            secret: Vec::new(),
            tls: Tls::default(),
            permissions: Vec::new(),
            limit: LIMIT,
        }
    }

    /// Sets, replaces or, with an empty value, removes a key of the Secret.
    fn secret(mut self, key: &'static str, value: &str) -> Self {
        self.secret.retain(|(there, _)| *there != key);
        if !value.is_empty() {
            self.secret.push((key, value.to_owned()));
        }
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn tls(mut self, change: impl FnOnce(&mut Tls)) -> Self {
        change(&mut self.tls);
        self
    }

    /// Asks for permissions on a table of a schema.
    fn on(mut self, schema: &str, table: &str, permissions: &[Permission]) -> Self {
        self.settings.schema = Some(schema.to_owned());
        self.settings.table = Some(table.to_owned());
        self.permissions = permissions.to_vec();
        self
    }

    fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// One look, as the operator takes it.
    async fn probe(&self) -> Report {
        let secret = Setting::from_spec("Secret orders-db");
        let data =
            self.secret.iter().map(|(key, value)| ((*key).to_owned(), SecretValue::new(value.clone().into_bytes())));
        let keys = ConnectionType::PostgreSQL.about().keys;
        let methods = self.settings.methods(&self.tls);
        let credentials =
            Credentials::select(data.collect(), &std::collections::BTreeMap::new(), keys, &methods, &secret)
                .expect("the Secret of the case is complete");
        let prepared = self
            .settings
            .prepare(Given {
                namespace: "shop".to_owned(),
                credentials,
                secret,
                tls: self.tls.clone(),
                permissions: self.permissions.clone(),
            })
            .expect("the case makes sense");
        let report = climb(WORLD.network("shop"), self.limit, async move |net| prepared.probe.run(&net).await).await;
        let shown = format!("{report:?} {:?}", report.failure().map(|(_, failure)| failure.message()));
        for (key, value) in &self.secret {
            assert!(*key == "username" || !shown.contains(value.as_str()), "{key} shows in {shown}");
        }
        assert!(!shown.contains("canary"), "a peer's words show in {shown}");
        report
    }

    /// One look that must pass.
    async fn passes(&self) -> Proof {
        let report = self.probe().await;
        report.proof().cloned().unwrap_or_else(|| panic!("{report:?}"))
    }

    /// One look that must end in `stage` for `reason`; returns the message.
    async fn ends(&self, stage: Stage, reason: Reason) -> String {
        let report = self.probe().await;
        let Some((at, failure)) = report.failure() else { panic!("it passed") };
        assert_eq!((at, failure.reason()), (stage, reason), "{}", failure.message());
        for earlier in Stage::ALL.into_iter().filter(|earlier| *earlier < stage) {
            assert_eq!(report.at(earlier), Finding::Passed);
        }
        failure.message()
    }
}

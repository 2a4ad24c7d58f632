//! One Connection and its Secret, of whatever type: a look at it, as the operator takes it, and what must come out.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use connection_operator::{
    connections::{ConnectionType, Definition, Given, Permission, Prepared, Refusal},
    failure::{Finding, Proof, Reason, Report, Setting, Stage},
    net::{Policy, Resolver, SystemResolver, World, climb, tls::Tls},
    secret::{Credentials, SecretValue},
};

/// Long enough for a busy machine; a case that is about time sets its own.
pub const LIMIT: Duration = Duration::from_secs(20);

/// What may be dialled where a case does not say otherwise: everything on loopback.
static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| world(&["127.0.0.0/8"], &[]));

/// A world in which only `allowed` may be dialled, without `denied`.
pub fn world(allowed: &[&str], denied: &[&str]) -> Arc<World> {
    let rules = |rules: &[&str]| rules.iter().map(|rule| rule.parse().expect("a rule")).collect();
    let world = World::new(Policy::new(rules(allowed), rules(denied)), Arc::new(SystemResolver), 10_000);
    // This process is none of the operator.
    world.set_program(env!("CARGO_BIN_EXE_connection-operator").into());
    world
}

/// Name servers that know one zone, all of whose names stand for this machine, and remember what they were asked.
#[derive(Default)]
pub struct Zone {
    asked: Mutex<Vec<String>>,
}

impl Zone {
    /// The zone.
    pub const NAME: &str = "lake.test";

    /// A world in which names are looked up here.
    pub fn world(self: &Arc<Self>) -> Arc<World> {
        let loopback = "127.0.0.0/8".parse().expect("a rule");
        World::new(Policy::new(vec![loopback], Vec::new()), Arc::clone(self) as Arc<dyn Resolver>, 10_000)
    }

    /// The names it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic while it was held").clone()
    }
}

#[async_trait]
impl Resolver for Zone {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().expect("no panic while it was held").push(host.to_owned());
        let known = host == Self::NAME || host.ends_with(&format!(".{}", Self::NAME));
        if known { Ok(vec![IpAddr::from([127, 0, 0, 1])]) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

/// A Connection and its Secret.
#[derive(Clone)]
pub struct Case<S> {
    kind: ConnectionType,
    world: Arc<World>,
    pub settings: S,
    pub secret: Vec<(&'static str, String)>,
    pub files: Vec<(&'static str, Vec<u8>)>,
    pub tls: Tls,
    pub permissions: Vec<Permission>,
    pub limit: Duration,
}

impl<S: Definition + Clone> Case<S> {
    /// A connection with an empty Secret, that asks for no permission.
    pub fn new(kind: ConnectionType, settings: S) -> Self {
        let world = Arc::clone(&WORLD);
        Self {
            kind,
            world,
            settings,
            secret: Vec::new(),
            files: Vec::new(),
            tls: Tls::default(),
            permissions: Vec::new(),
            limit: LIMIT,
        }
    }

    /// Sets, replaces or, with an empty value, removes a key of the Secret.
    pub fn secret(mut self, key: &'static str, value: &str) -> Self {
        self.secret.retain(|(there, _)| *there != key);
        if !value.is_empty() {
            self.secret.push((key, value.to_owned()));
        }
        self
    }

    /// Sets or replaces a key of the Secret whose value is no text.
    pub fn file(mut self, key: &'static str, value: Vec<u8>) -> Self {
        self.files.retain(|(there, _)| *there != key);
        self.files.push((key, value));
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut S)) -> Self {
        change(&mut self.settings);
        self
    }

    pub fn tls(mut self, change: impl FnOnce(&mut Tls)) -> Self {
        change(&mut self.tls);
        self
    }

    pub fn asks(self, permissions: &[Permission]) -> Self {
        Self { permissions: permissions.to_vec(), ..self }
    }

    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// With a short deadline, for a peer that never says a word.
    pub fn soon(self) -> Self {
        self.within(Duration::from_millis(400))
    }

    /// With a deadline that a slow machine does not reach before the peer that says no more, which it waits for.
    pub fn later(self) -> Self {
        self.within(Duration::from_secs(4))
    }

    pub fn in_world(self, world: Arc<World>) -> Self {
        Self { world, ..self }
    }

    /// The probe.
    pub fn prepare(&self) -> Result<Prepared, Refusal> {
        let secret = Setting::from_spec("Secret orders");
        let texts = self.secret.iter().map(|(key, value)| (*key, value.clone().into_bytes()));
        let data = texts.chain(self.files.iter().cloned());
        let data = data.map(|(key, value)| (key.to_owned(), SecretValue::new(value)));
        let methods = self.settings.methods(&self.tls);
        let nobody = self.secret.is_empty() && self.settings.goes_without_credentials();
        let credentials = if methods.is_empty() || nobody {
            Credentials::default()
        } else {
            let keys = self.kind.about().keys;
            Credentials::select(data.collect(), &BTreeMap::new(), keys, &methods, &secret)
                .expect("the Secret of the case is complete")
        };
        self.settings.prepare(Given {
            namespace: "shop".to_owned(),
            credentials,
            secret,
            tls: self.tls.clone(),
            permissions: self.permissions.clone(),
        })
    }

    /// One look, as the operator takes it.
    pub async fn probe(&self) -> Report {
        let prepared = self.prepare().expect("the case makes sense");
        let network = self.world.network("shop");
        let report = climb(network, self.limit, async move |net| prepared.probe.run(&net).await).await;
        let shown = format!("{report:?} {:?}", report.failure().map(|(_, failure)| failure.message()));
        for (key, value) in &self.secret {
            assert!(*key == "username" || !shown.contains(value.as_str()), "{key} shows in {shown}");
        }
        assert!(!shown.contains("canary"), "a peer's words show in {shown}");
        report
    }

    /// One look that must pass, logged in.
    pub async fn passes(&self) -> Proof {
        let report = self.probe().await;
        assert!(!report.is_anonymous(), "nobody has checked the login");
        passed(&report)
    }

    /// One look that must pass, whether a login is checked or not.
    pub async fn is_let_in(&self) -> Proof {
        passed(&self.probe().await)
    }

    /// One look that must pass at a server that checks nobody.
    pub async fn passes_as_nobody(&self) -> Proof {
        let report = self.probe().await;
        assert!(report.is_anonymous(), "a login was checked");
        passed(&report)
    }

    /// One look that must end in Access for `reason`, without a login that it could be said to have proven.
    pub async fn ends_as_nobody(&self, reason: Reason) -> String {
        let report = self.probe().await;
        let Some((at, failure)) = report.failure() else { panic!("it passed") };
        assert_eq!((at, failure.reason()), (Stage::Access, reason), "{}", failure.message());
        assert!(report.is_anonymous() && !report.authenticated(), "a login was checked");
        failure.message()
    }

    /// One look that must end in `stage` for `reason`; returns the message.
    pub async fn ends(&self, stage: Stage, reason: Reason) -> String {
        let report = self.probe().await;
        let Some((at, failure)) = report.failure() else { panic!("it passed") };
        assert_eq!((at, failure.reason()), (stage, reason), "{}", failure.message());
        for earlier in Stage::ALL.into_iter().filter(|earlier| *earlier < stage) {
            assert_eq!(report.at(earlier), Finding::Passed);
        }
        failure.message()
    }
}

/// What a look has proven that had to go on after these hosts, and was asked for nothing else that cannot be.
pub fn past<H: ToString>(hosts: impl IntoIterator<Item = H>) -> Proof {
    Proof::default().past(hosts.into_iter().map(|host| Setting::from_spec(host.to_string())))
}

/// What a look that must have passed has proven.
fn passed(report: &Report) -> Proof {
    let failure = report.failure().map(|(stage, failure)| format!("{}: {}", stage.name(), failure.message()));
    report.proof().cloned().unwrap_or_else(|| panic!("{failure:?}"))
}

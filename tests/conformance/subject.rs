//! An example that can be probed: its Connection with everything that it names, aimed at some address.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use connection_operator::{
    api::{ConnectionSpec, Object, Role},
    connections::{ConnectionType, Prepared, Refusal},
    failure::Report,
    net::{Policy, SystemResolver, World, climb},
    reconcile::materials::{self, Content, Materials, Reading},
    secret::SecretValue,
};
use serde_json::{Value, json};

use crate::{
    address::{aim, aim_document},
    authority::Authority,
    example::Example,
};

/// The namespace of every Connection that is probed in this process.
const NAMESPACE: &str = "shop";

/// What a Secret or ConfigMap holds, by key.
pub type Data = BTreeMap<String, Vec<u8>>;

/// A Connection, and what it names.
#[derive(Clone)]
pub struct Subject {
    /// Its type.
    pub kind: ConnectionType,
    /// Its name, for messages and names of objects.
    pub name: String,
    /// Its spec, as it is written.
    pub spec: Value,
    /// What it may name: the data of objects of its namespace, by name.
    pub objects: BTreeMap<String, Data>,
}

impl Subject {
    /// The ways in which an example can be used: as it is, though with an authority of ours where it takes one, so that it does
    /// not matter whom this machine trusts; and without TLS, where the type takes that.
    pub fn variants(example: &Example) -> Vec<Self> {
        let plain = Self::of(example);
        let ca = plain.clone().named("").with(|spec| {
            if spec["tls"].is_null() {
                spec["tls"] = json!({});
            }
            if spec["tls"]["ca"].is_null() && spec["tls"]["mode"] != "Disable" {
                spec["tls"]["ca"] = json!({"configMapRef": {"name": "conformance-ca", "key": "ca.crt"}});
            }
        });
        let bare = plain.clone().named("-bare").with(|spec| spec["tls"] = json!({"mode": "Disable"}));
        let usable = |subject: &Self| subject.prepare().is_ok();
        let first = if usable(&ca) { ca } else { plain };
        if let Err(refusal) = first.prepare() {
            panic!("{}: an example must make sense: {refusal:?}", first.name);
        }
        std::iter::once(first).chain(Some(bare).filter(usable)).collect()
    }

    fn of(example: &Example) -> Self {
        let mut objects = BTreeMap::new();
        for document in example.of_kind("Secret").chain(example.of_kind("ConfigMap")) {
            let is_secret = document["kind"] == "Secret";
            let fields = ["stringData", "data"].iter().filter_map(|field| Some((*field, document[field].as_object()?)));
            let data = fields.flat_map(|(field, values)| {
                values.iter().map(move |(key, value)| {
                    let text = value.as_str().unwrap_or_default();
                    // What is no text stands in the data of a Secret, in base64.
                    let encoded = is_secret && field == "data";
                    let value =
                        if encoded { BASE64_STANDARD.decode(text).expect("base64") } else { filled(text).into() };
                    (key.clone(), value)
                })
            });
            let data = data.collect();
            objects.insert(document["metadata"]["name"].as_str().unwrap_or_default().to_owned(), data);
        }
        let spec = example.manifest()["spec"].clone();
        Self { kind: example.kind, name: example.name.clone(), spec, objects }
    }

    /// The same under a longer name.
    pub fn named(self, suffix: &str) -> Self {
        Self { name: self.name + suffix, ..self }
    }

    /// The same with a changed spec.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.spec);
        self
    }

    /// The same, aimed at `address`: by its settings, and by the keys in JSON of its Secrets, which name places too.
    pub fn at(mut self, address: SocketAddr) -> Self {
        for value in self.objects.values_mut().flat_map(Data::values_mut) {
            aim_document(value, address);
        }
        let kind = self.kind;
        self.with(|spec| aim(kind, &mut spec[kind.member()], address))
    }

    /// The same with other values in the Secret of its credentials.
    pub fn with_credentials(mut self, change: impl FnOnce(&mut Data)) -> Self {
        let name = self.read().credentials_secret().map(str::to_owned);
        if let Some(name) = name {
            change(self.objects.entry(name).or_default());
        }
        self
    }

    /// Its spec, as the operator reads it.
    pub fn read(&self) -> ConnectionSpec {
        serde_json::from_value(self.spec.clone()).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// What the probe is given, from all that the spec names.
    pub fn materials(&self) -> Result<Materials, Refusal> {
        let spec = self.read();
        let readings = self.readings(&spec);
        materials::select(&spec, spec.settings().map_err(Refusal::Invalid)?, NAMESPACE, &readings)
    }

    /// The probe.
    pub fn prepare(&self) -> Result<Prepared, Refusal> {
        let given = self.materials()?.given;
        self.read().settings().map_err(Refusal::Invalid)?.prepare(given)
    }

    /// One look within `limit`, as the operator takes it.
    pub async fn look(&self, limit: Duration) -> Report {
        let prepared = self.prepare().unwrap_or_else(|refusal| panic!("{}: {refusal:?}", self.name));
        Self::take(prepared, limit).await
    }

    /// The look that was prepared. Making it is no part of it: a key derivation takes its time, too.
    pub async fn take(prepared: Prepared, limit: Duration) -> Report {
        static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| {
            let loopback = "127.0.0.0/8".parse().expect("a rule");
            let world = World::new(Policy::new(vec![loopback], Vec::new()), Arc::new(SystemResolver), 100_000);
            // This process is none of the operator.
            world.set_program(env!("CARGO_BIN_EXE_connection-operator").into());
            world
        });
        climb(WORLD.network(NAMESPACE), limit, async move |network| prepared.probe.run(&network).await).await
    }

    /// Everything that the spec names, as it would be read; certificates are ours.
    pub fn readings<'a>(&self, spec: &'a ConnectionSpec) -> BTreeMap<Object<'a>, Reading> {
        let mut readings = BTreeMap::new();
        for source in spec.sources() {
            let (Object::Secret(name) | Object::ConfigMap(name)) = source.object;
            let mut data = self.objects.get(name).cloned().unwrap_or_default();
            match source.role {
                Role::Credentials(_) | Role::ClientCertificate(_) => {}
                Role::TrustedCa(key) => drop(data.insert(key.to_owned(), authority().pem.clone().into_bytes())),
            }
            let data = data.into_iter().map(|(key, value)| (key, SecretValue::new(value))).collect();
            let content = Content { version: "7".to_owned(), type_: String::new(), data };
            readings.insert(source.object, Reading::Present(content));
        }
        readings
    }
}

/// A value of an example, with a key of ours where it shows that a private key belongs there: no example has one, so that nobody
/// uses it.
fn filled(value: &str) -> String {
    static KEY: LazyLock<String> = LazyLock::new(|| {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key").serialize_pem().replace("\r\n", "\n")
    });
    const PLACE: &str = "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n";
    // In JSON a line ends with two characters.
    let in_json = |text: &str| text.replace('\n', "\\n");
    value.replace(PLACE, &KEY).replace(&in_json(PLACE), &in_json(&KEY))
}

/// The authority that every subject trusts which takes one.
pub fn authority() -> &'static Authority {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
    &AUTHORITY
}

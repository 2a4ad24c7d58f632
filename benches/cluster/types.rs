//! How long one look at a PostgreSQL, an S3 and a Kafka takes, stage by stage, on loopback: the types' own probes, in this process, each
//! against the server that its tests run against.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use connection_operator::{
    api::ConnectionSpec,
    connections::{Given, Prepared},
    failure::{Setting, Stage as Step},
    net::{Policy, SystemResolver, World, climb, tls::Roots, tls::Tls},
    secret::{Credentials, SecretValue},
};
use serde_json::{Value, json};

use super::{
    Plan,
    figures::{self, Times},
    kafka, moto,
    stage::Stage,
};

/// A connection that is looked at.
struct Subject {
    name: &'static str,
    spec: Value,
    secret: Vec<(&'static str, String)>,
    roots: Roots,
}

/// One look after the other at each of the types.
pub async fn measure(stage: &Stage, plan: &Plan) {
    figures::title("One look at each type, stage by stage, in process");
    let world = World::new(
        Policy::new(vec!["127.0.0.0/8".parse().expect("a rule")], Vec::new()),
        Arc::new(SystemResolver),
        600,
    );
    for subject in subjects(stage) {
        let (mut whole, mut stages) = (Times::default(), BTreeMap::<Step, Times>::new());
        // The first one also reads what is read once per process.
        for n in 0..=plan.creations {
            let prepared = subject.prepare();
            let begin = Instant::now();
            let work = async move |network| prepared.probe.run(&network).await;
            let report = climb(world.network("bench"), Duration::from_secs(60), work).await;
            let took = begin.elapsed();
            assert!(report.failure().is_none(), "{}: {report:?}", subject.name);
            if n == 0 {
                continue;
            }
            whole.add(took);
            let mut spent = BTreeMap::<Step, Duration>::new();
            for (step, time) in report.steps() {
                *spent.entry(*step).or_default() += *time;
            }
            for (step, time) in spent {
                stages.entry(step).or_default().add(time);
            }
        }
        figures::line(&format!("{} (n={})", subject.name, whole.count()), &whole.spread());
        for (step, times) in &stages {
            figures::line(&format!("  {}", step.name()), &times.spread());
        }
    }
}

fn subjects(stage: &Stage) -> [Subject; 3] {
    let (kafka, moto) = (kafka::server(), moto::server());
    let reader = moto.user("reader");
    [
        Subject {
            name: "PostgreSQL, SCRAM-SHA-256, TLS, Read",
            spec: json!({
                "type": "PostgreSQL",
                "postgresql": {
                    "host": stage.postgresql.ip(), "port": stage.postgresql.port(),
                    "database": "orders", "schema": "public", "table": "orders",
                },
                "permissions": ["List", "Read"],
            }),
            secret: vec![("username", "reader".to_owned()), ("password", "reader-secret".to_owned())],
            roots: stage.ca(),
        },
        Subject {
            name: "S3, access key, TLS, Read",
            spec: json!({
                "type": "S3",
                "s3": {"bucket": "orders", "region": "us-east-1", "endpoint": format!("https://{}", moto.https)},
                "permissions": ["List", "Read"],
            }),
            secret: vec![("accessKeyId", reader.key), ("secretAccessKey", reader.secret)],
            roots: moto.said.ca(),
        },
        Subject {
            name: "Kafka, SCRAM-SHA-512, TLS, Read",
            spec: json!({
                "type": "Kafka",
                "kafka": {"brokers": [kafka.sasl_ssl.to_string()], "topic": "orders", "saslMechanism": "SCRAM-SHA-512"},
                "permissions": ["List", "Read"],
            }),
            secret: vec![("username", "reader".to_owned()), ("password", "reader-secret".to_owned())],
            roots: kafka.said.ca(),
        },
    ]
}

impl Subject {
    fn prepare(&self) -> Prepared {
        let spec: ConnectionSpec = serde_json::from_value(self.spec.clone()).expect("a spec");
        let settings = spec.settings().expect("settings");
        let tls = Tls { roots: self.roots.clone(), ..Tls::default() };
        let secret = Setting::from_spec("Secret bench");
        let data =
            self.secret.iter().map(|(key, value)| ((*key).to_owned(), SecretValue::new(value.clone().into_bytes())));
        let methods = settings.methods(&tls);
        let credentials =
            Credentials::select(data.collect(), &BTreeMap::new(), spec.type_.about().keys, &methods, &secret);
        let permissions = spec.asked_permissions();
        let namespace = "bench".to_owned();
        let credentials = credentials.expect("the Secret is complete");
        settings.prepare(Given { namespace, credentials, secret, tls, permissions }).expect("the settings make sense")
    }
}

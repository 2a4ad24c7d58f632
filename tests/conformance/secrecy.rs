//! No byte of a Secret is to be seen in anything that the operator shows, writes or logs about a Connection of any type,
//! whatever its peer does. `process` asks the same of the whole binary.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    io,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use connection_operator::{
    api::ConnectionStatus,
    connections::Refusal,
    failure::Report,
    reconcile::events::{self, Rotation},
    secret::Digest,
};
use serde_json::json;
use tracing_subscriber::{filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    canary,
    harness::run,
    peers::{Behaviour, Stranger, concluded, subjects},
    subject::Subject,
};

/// The time that a peer is given which says nothing.
const BRIEF: Duration = Duration::from_millis(300);
/// The time that other peers are given.
const PATIENT: Duration = Duration::from_secs(20);

#[test]
fn no_byte_of_a_secret_shows_in_what_is_made_of_it() {
    for subject in subjects().iter().flat_map(poisoned) {
        let spec = subject.read();
        // The keys of a Secret are known where it is read; no message names them.
        canary::absent(&subject.name, &shown(&subject.readings(&spec)).replace(canary::KEY, ""));
        let materials = subject.materials();
        canary::absent(&subject.name, &shown(&materials));
        if let Ok(materials) = &materials {
            let credentials = &materials.given.credentials;
            canary::absent(&subject.name, &(shown(credentials) + &shown(&credentials.digest())));
            for value in subject.kind.about().keys.iter().filter_map(|key| credentials.get(key.name)) {
                canary::absent(&subject.name, &(shown(value) + &shown(&Digest::of([value.expose()]))));
            }
        }
        canary::absent(&subject.name, &shown(&subject.prepare()));
    }
}

#[test]
fn no_byte_of_a_secret_shows_in_what_is_found_out() {
    run(async {
        let log = Log::of_this_process();
        let looks = subjects().into_iter().flat_map(|subject| poisoned(&subject)).map(async |subject| {
            for behaviour in Behaviour::ALL {
                let stranger = Stranger::that(behaviour).await;
                let subject = subject.clone().at(stranger.address);
                if let Err(refusal) = subject.prepare() {
                    canary::absent(&subject.name, &said(&refusal));
                    continue;
                }
                let limit = if behaviour == Behaviour::Silent { BRIEF } else { PATIENT };
                let report = subject.look(limit).await;
                assert!(report.failure().is_some(), "{}: {behaviour:?}", subject.name);
                canary::absent(&format!("{}, {behaviour:?}", subject.name), &told(&subject, &report));
            }
        });
        futures::future::join_all(looks).await;
        tracing::trace!(target: "connection_operator", "the end of the test");
        assert!(log.text().contains("the end of the test"), "nothing is logged here, so nothing can be missing");
        canary::absent("the log", &log.text());
    });
}

#[test]
fn no_byte_of_a_secret_shows_that_a_server_was_told_and_says_again() {
    run(async {
        let log = Log::of_this_process();
        let told_to = Mutex::new(BTreeSet::new());
        let looks =
            subjects().into_iter().flat_map(|subject| poisoned_by(&subject, canary::PLAIN)).map(async |subject| {
                let stranger = Stranger::that(Behaviour::Forbids).await;
                let subject = subject.at(stranger.address);
                if subject.prepare().is_err() {
                    return;
                }
                let report = subject.look(PATIENT).await;
                assert!(report.failure().is_some(), "{}", subject.name);
                canary::absent(&subject.name, &told(&subject, &report));
                if stranger.has_learned() {
                    told_to.lock().unwrap().insert(subject.kind.as_str());
                }
            });
        futures::future::join_all(looks).await;
        canary::absent("the log", &log.text());
        // The others sign with what they have, or ask for more in words of their own before they tell anything.
        let told_to = told_to.lock().unwrap();
        assert!(told_to.len() >= 9, "too few have told anything: {told_to:?}");
    });
}

#[test]
fn no_byte_of_a_private_key_shows() {
    run(async {
        for subject in subjects().into_iter().filter(|subject| subject.spec["tls"]["mode"] != "Disable") {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
            let (key, other) = (key.serialize_pem(), rcgen::KeyPair::generate().unwrap().serialize_pem());
            for (certificate, key) in [
                (&certificate, &key),
                (&certificate, &other),
                (&key, &certificate),
                (&key, &key),
                (&certificate, &format!("{}\n{}", canary::VALUE, &key[..90])),
            ] {
                let mut subject = subject.clone().with(|spec| {
                    spec["tls"]["clientCertificateSecretRef"] = json!({"name": "client"});
                });
                let pair = [("tls.crt", certificate), ("tls.key", key)];
                let pair = pair.map(|(name, text)| (name.to_owned(), text.clone().into_bytes()));
                subject.objects.insert("client".to_owned(), pair.into());
                let stranger = Stranger::that(Behaviour::Echoes).await;
                let subject = subject.at(stranger.address);
                let text = match subject.prepare() {
                    Err(refusal) => said(&refusal),
                    Ok(prepared) => shown(&prepared) + &told(&subject, &subject.look(PATIENT).await),
                } + &shown(&subject.materials())
                    + &shown(&subject.readings(&subject.read()));
                canary::absent(&subject.name, &text);
                // Lines of base64; the words of PEM itself are no secret.
                for line in [key, &other].into_iter().flat_map(|pem| pem.lines()).filter(|line| !line.contains('-')) {
                    let found = canary::find_any(line, &text);
                    assert_eq!(found, None, "{}: a private key shows: {text}", subject.name);
                }
            }
        }
    });
}

/// The subject with the canary in its Secret: in every key at once, and in each key alone; and a key that nobody knows.
fn poisoned(subject: &Subject) -> Vec<Subject> {
    poisoned_by(subject, canary::VALUE)
}

fn poisoned_by(subject: &Subject, canary: &str) -> Vec<Subject> {
    let mut keys: Vec<String> = Vec::new();
    let _ = subject.clone().with_credentials(|data| keys = data.keys().cloned().collect());
    let all = subject.clone().named(", every key").with_credentials(|data| {
        for value in data.values_mut() {
            *value = canary.into();
        }
        data.insert(canary::KEY.to_owned(), canary.into());
    });
    let alone = keys.into_iter().map(|key| {
        let name = format!(", {key}");
        subject.clone().named(&name).with_credentials(|data| drop(data.insert(key, canary.into())))
    });
    std::iter::once(all).chain(alone).collect()
}

/// Everything that is said about a report: to users, in events, and in logs.
fn told(subject: &Subject, report: &Report) -> String {
    let status = concluded(subject, report);
    let events = events::of_change(&ConnectionStatus::default(), &status, Rotation::Rotated);
    let message = report.failure().map(|(_, failure)| shown(failure) + &failure.message());
    let written = serde_json::to_string(&status).unwrap();
    [message.unwrap_or_default(), shown(report), written, shown(&status), shown(&events)].concat()
}

fn said(refusal: &Refusal) -> String {
    let message = match refusal {
        Refusal::Invalid(sentence) => sentence.clone(),
        Refusal::Unusable(failure) => failure.message(),
    };
    shown(refusal) + &message
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?} {value:#?}")
}

/// The log of this process, at the most talkative level that the binary has: ours whole, warnings of others, and nothing of the
/// Kubernetes client and a driver.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of_this_process() -> Self {
        static LOG: LazyLock<Log> = LazyLock::new(|| {
            let log = Log(Arc::default());
            let level = Targets::new()
                .with_default(tracing::Level::WARN)
                .with_target("connection_operator", tracing::Level::TRACE)
                .with_target("kube_client", tracing_subscriber::filter::LevelFilter::OFF)
                .with_target("tiberius", tracing_subscriber::filter::LevelFilter::OFF);
            let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.clone());
            tracing_subscriber::registry().with(lines).with(level).init();
            log
        });
        LOG.clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

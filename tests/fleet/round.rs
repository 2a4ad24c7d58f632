//! One round: a manifest of every type, in a namespace of its own, applied at once as a user does it, by one `kubectl apply` of one
//! file; and what becomes of them.

use std::{collections::BTreeSet, fs, net::SocketAddr};

use connection_operator::connections::ConnectionType;
use serde_json::Value;

use crate::{
    answers::{Answer, Expected},
    derive::{Change, manifests},
    example,
    harness::{
        control_plane::ControlPlane,
        namespace::{Connection, Namespace},
    },
    servers::Entry,
};

/// What was applied.
pub struct Round<'a> {
    name: &'static str,
    plane: &'a ControlPlane,
    members: Vec<Member<'a>>,
}

/// One Connection of it.
struct Member<'a> {
    kind: ConnectionType,
    full: bool,
    name: String,
    address: SocketAddr,
    namespace: Namespace<'a>,
}

impl<'a> Round<'a> {
    /// Applies the manifests of all types, each with what its entry puts in, at the address that `place` makes of the entry's.
    ///
    /// # Panics
    /// Where a type has no entry.
    pub async fn apply(
        plane: &'a ControlPlane,
        name: &'static str,
        entries: &[Entry<'_>],
        place: impl Fn(usize, SocketAddr) -> SocketAddr,
    ) -> Self {
        let (mut members, mut objects) = (Vec::new(), Vec::new());
        let examples = example::all();
        for (n, kind) in ConnectionType::ALL.iter().copied().enumerate() {
            let entry = entries.iter().find(|entry| entry.kind == kind);
            let entry = entry.unwrap_or_else(|| panic!("{kind:?} has no entry in tests/fleet/servers.rs"));
            let full = entry.change.full;
            let example = examples.iter().find(|example| example.kind == kind && example.is_full() == full);
            let example = example.expect("both examples");
            let address = place(n, entry.change.address);
            // Two examples call their Connections the same, which are of two teams.
            let namespace = Namespace::named(plane, &format!("{name}-{}", kind.as_str().to_lowercase())).await;
            objects.extend(manifests(example, &namespace.name, &Change { address, ..entry.change.clone() }));
            let name = example.manifest()["metadata"]["name"].as_str().expect("a name").to_owned();
            members.push(Member { kind, full, name, address, namespace });
        }
        // What they need is there when they come.
        objects.sort_by_key(|object| object["kind"] == "Connection");
        let file = plane.directory.join(format!("{name}.yaml"));
        let documents: Vec<String> = objects.iter().map(ToString::to_string).collect();
        fs::write(&file, documents.join("\n---\n")).unwrap();
        let said = plane.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()]);
        let said = said.unwrap_or_else(|sentence| panic!("{sentence}"));
        assert_eq!(said.lines().count(), objects.len(), "{said}");
        Self { name, plane, members }
    }

    /// Waits until each has come to an answer, compares it with the one that is expected, and returns them all.
    pub async fn answers(&self, expected: fn(&Answer) -> Vec<Expected>) -> Vec<Connection> {
        let mut found = Vec::new();
        for member in &self.members {
            let answer = Answer::of(member.kind);
            found.push(member.answers(answer, &expected(answer)).await);
        }
        found
    }

    /// The Connections as they are now.
    pub async fn connections(&self) -> Vec<Connection> {
        let mut found = Vec::new();
        for member in &self.members {
            found.push(member.namespace.connection(&member.name).await.expect("nobody takes it away"));
        }
        found
    }

    /// Whether none has an answer yet.
    pub async fn all_pending(&self) -> bool {
        let list = self.plane.admin.get("/apis/connectivity.dev/v1alpha1/connections").await.object();
        let prefix = format!("{}-", self.name);
        let items = list["items"].as_array().cloned().unwrap_or_default().into_iter();
        let ours =
            items.filter(|item| item["metadata"]["namespace"].as_str().is_some_and(|name| name.starts_with(&prefix)));
        let pending = ours.map(Connection).filter(|connection| connection.is("Ready", "Unknown", "Pending"));
        pending.count() == self.members.len()
    }

    /// Fails where anything was told about one of them.
    pub async fn has_no_events(&self) {
        for member in &self.members {
            assert_eq!(member.namespace.events(&member.name).await, [""; 0], "{:?}", member.kind);
        }
    }
}

impl Member<'_> {
    async fn answers(&self, answer: &Answer, expected: &[Expected]) -> Connection {
        let Self { kind, full, name, address, namespace } = self;
        // A machine that was too slow for a first look gives it another one.
        let may_be_late = expected.iter().all(|(_, _, reason)| *reason != "TimedOut");
        let is_judged = |connection: &Connection| {
            let is_late = may_be_late && connection.is("Ready", "False", "TimedOut");
            !is_late && !connection.is("Ready", "Unknown", "Pending")
        };
        let found = namespace.until(name, "judged", is_judged).await;
        let conditions = found.status("/conditions").as_array().expect("conditions").iter();
        let text = |condition: &Value, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        let said: BTreeSet<_> =
            conditions.clone().map(|one| (text(one, "type"), text(one, "status"), text(one, "reason"))).collect();
        let wanted: BTreeSet<_> = expected
            .iter()
            .map(|(kind, status, reason)| ((*kind).into(), (*status).into(), (*reason).into()))
            .collect();
        assert_eq!(said, wanted, "{kind:?}: {found}");
        for condition in conditions {
            assert_eq!(condition["observedGeneration"], found.0["metadata"]["generation"], "{kind:?}: {found}");
            let reason = text(condition, "reason");
            if condition["status"] == "False" && condition["type"] == "Reachable" {
                assert!(text(condition, "message").contains(&address.to_string()), "{kind:?}: {reason} where? {found}");
            }
        }
        let string = if *full { answer.full } else { answer.string }.replace("{}", &address.to_string());
        assert_eq!(*found.status("/connectionString"), string, "{kind:?}");
        // Of the Secret it is said which one was read, and whether it was let in.
        let [read, verified] =
            ["observedVersion", "verifiedVersion"].map(|key| found.status(&format!("/credentials/{key}")));
        let has_secret = found.is("CredentialsResolved", "True", "Resolved");
        let accepted = found.is("Authenticated", "True", "CredentialsAccepted");
        assert_eq!(has_secret, read.is_string(), "{kind:?}: {found}");
        assert_eq!(if accepted { read } else { &Value::Null }, verified, "{kind:?}: {found}");
        found
    }
}

//! A stand-in for an environment of Qubole: the part of its REST API that is about clusters, over HTTPS.
//!
//! It verifies what it is sent (the token, the headers, one of two requests), knows users with their policies and clusters with their
//! labels, and answers as Qubole's documentation says, under `docs.qubole.com/en/latest/rest-api/`: `cluster_api/get-cluster-state`,
//! `cluster_api/list-clusters`, `roles-api/create-role-api`. What a refusal's body is made of is documented nowhere. Whatever is not read has
//! a canary. What should never have been sent fails the test that owns it.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Value, json};

use super::{
    authority::{Authority, Clients},
    web::{Answer, Asked, Faults, Web, of_token},
};

/// The authority of every environment here.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// The label that the minimal example names.
pub const LABEL: &str = "orders-presto";

/// The policies of a role that may see clusters and nothing else, as they are written.
pub const READS_CLUSTERS: &str = r#"[{"access": "allow", "resource": "cluster", "action": ["read"]}]"#;

const STATE_OF: &str = "/api/v2/clusters/";

/// What an environment knows.
#[derive(Clone, Default)]
pub struct Known {
    /// The policies of the user that a token is of, by that token.
    users: BTreeMap<String, Value>,
    /// The state of a cluster, by each of its labels and by its id.
    clusters: BTreeMap<String, (u64, &'static str)>,
}

impl Known {
    /// What the minimal example names, and a user with `token` who may see it.
    pub fn example(token: &str) -> Self {
        Self::default().user(token, READS_CLUSTERS).cluster(1710, &[LABEL], "DOWN")
    }

    /// A user with a token, in whose role the policies are that `POST /roles` takes.
    pub fn user(mut self, token: &str, policies: &str) -> Self {
        self.users.insert(token.to_owned(), serde_json::from_str(policies).expect("policies"));
        self
    }

    /// A cluster with its labels, in a state.
    pub fn cluster(mut self, id: u64, labels: &[&str], state: &'static str) -> Self {
        self.clusters.insert(id.to_string(), (id, state));
        self.clusters.extend(labels.iter().map(|label| ((*label).to_owned(), (id, state))));
        self
    }

    /// A running environment that knows this.
    pub async fn start(self) -> Environment {
        let faults = Faults::default();
        let book = faults.book();
        let web = impostor(move |asked| {
            let (answer, fault) = self.answer(asked);
            book(fault);
            Some(answer)
        });
        Environment { web: web.await, _faults: faults }
    }

    fn answer(&self, asked: &Asked) -> (Answer, Option<String>) {
        let fault = |status, what: &str| (refusal(status), Some(format!("{what}: {asked:?}")));
        let json = ["accept", "content-type"].iter().all(|name| asked.header(name) == "application/json");
        if asked.header("user-agent").is_empty() || !json {
            return fault(400, "without the headers that it needs");
        }
        if !asked.header("authorization").is_empty() || !asked.body.is_empty() {
            return fault(400, "with more than it needs");
        }
        let list = "GET /api/v2/clusters?per_page=1";
        let label =
            asked.line.strip_prefix("GET ").and_then(|path| path.strip_prefix(STATE_OF)?.strip_suffix("/state"));
        let label = label.filter(|label| !label.contains(['/', '?']));
        if asked.line != list && label.is_none() {
            return fault(404, "another request");
        }
        let Some(policies) = of_token(&self.users, asked.header("x-auth-token")) else { return (refusal(401), None) };
        if !allows(policies, "cluster", "read") {
            return (refusal(403), None);
        }
        match label {
            None => (self.list(), None),
            Some(label) => match self.clusters.get(label) {
                Some((id, state)) => (state_of(*id, state, 2), None),
                None => (refusal(404), None),
            },
        }
    }

    fn list(&self) -> Answer {
        let id = self.clusters.values().map(|(id, _)| *id).min();
        let clusters: Vec<Value> = id.into_iter().map(configuration).collect();
        let paging = json!({"next_page": null, "previous_page": null, "per_page": 1});
        json_answer(200, &json!({"paging_info": paging, "clusters": clusters}))
    }
}

/// Whether policies allow an action; whatever they do not name they deny ("Managing Roles").
fn allows(policies: &Value, resource: &str, action: &str) -> bool {
    let names = |policy: &&Value| {
        let actions = policy["action"].as_array().into_iter().flatten();
        [resource, "all"].iter().any(|name| policy["resource"] == *name)
            && actions.into_iter().any(|named| named == action || named == "all")
    };
    let mut about = policies.as_array().into_iter().flatten().filter(names).peekable();
    about.peek().is_some() && about.all(|policy| policy["access"] == "allow")
}

/// A running environment.
pub struct Environment {
    /// What it was asked.
    pub web: Web,
    _faults: Faults,
}

impl Environment {
    /// Whom its own certificate is signed by.
    pub fn authority() -> &'static Authority {
        &AUTHORITY
    }
}

/// The status that an environment answers a request with, and how many faults it finds in it.
pub fn verdict(known: &Known, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, usize) {
    let (answer, fault) = known.answer(&Asked::of(line, headers.iter().copied(), body));
    (answer.status(), fault.into_iter().count())
}

/// A peer over TLS, with a certificate of the authority of all environments, that answers as a test says.
pub async fn impostor(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::over(Some(AUTHORITY.acceptor(&["127.0.0.1", "localhost"], Clients::Anybody)), answer).await
}

/// A refusal, as JSON.
pub fn refusal(status: u16) -> Answer {
    json_answer(status, &json!({"error": {"error_code": status, "error_message": "canary was not taken"}}))
}

/// The state of a cluster with so many nodes.
pub fn state_of(id: u64, state: &str, nodes: usize) -> Answer {
    let node = json!({
        "instance_type": "canary", "ec2_instance_id": "i-canary", "is_spot_instance": false, "up_time": "2014-04-25T14:06:02Z",
        "private_ip": "canary.compute-1.internal", "last_seen_time": "2014-04-25T14:06:02Z", "role": "master",
        "down_time": null, "hostname": "canary.compute-1.amazonaws.com",
    });
    let nodes = vec![node.to_string(); nodes].join(", ");
    // The members stand as they are documented: what counts before the nodes.
    let body = format!(
        r#"{{"state": "{state}", "last_health_check_action_at": null, "start_at": "canary", "down_at": null, "cluster_id": {id},
        "terminate_reason": "canary", "nodes": [{nodes}]}}"#
    );
    Answer::new(200, body).header("content-type", "application/json; charset=utf-8")
}

/// How a list shows a cluster: with keys.
pub fn configuration(id: u64) -> Value {
    json!({
        "id": id, "state": "DOWN", "label": ["canary"], "disallow_cluster_termination": false,
        "ec2_settings": {
            "compute_validated": false, "compute_access_key": "AKIACANARY-canary", "compute_secret_key": "canary-secret",
            "aws_region": "us-west-2", "vpc_id": "vpc-canary", "subnet_id": "subnet-canary",
        },
        "security_settings": {"encrypted_ephemerals": false, "ssh_public_key": "ssh-rsa canary"},
    })
}

/// An answer in JSON.
pub fn json_answer(status: u16, body: &Value) -> Answer {
    Answer::new(status, body.to_string()).header("content-type", "application/json; charset=utf-8")
}

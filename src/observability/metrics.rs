//! What `/metrics` shows. Every label is a static word: the type of [`Words`] leaves room for nothing else, so that no
//! object's name, no address and no error text can become a label, and the number of series is bounded.

use std::time::Duration;

use http::{Method, StatusCode, Uri};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use super::requests;
use crate::{
    connections::ConnectionType,
    failure::{Reason, Stage, Status},
    watching::State,
};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the duration buckets, in seconds: from a probe within the node to the longest timeout the schema allows.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// Label names and values.
type Words<const N: usize> = [(&'static str, &'static str); N];

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// Every stage passed.
    Passed,
    /// A stage did not, for this reason.
    Failed(Reason),
}

/// What this process is among its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It probes and writes.
    Leader,
    /// It stands by.
    Follower,
}

/// Every metric of the process. All methods are cheap, and take `&self`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    probes: Family<Words<2>, Counter>,
    stages: Family<Words<2>, Histogram, fn() -> Histogram>,
    connections: Family<Words<3>, Gauge>,
    held_back: Family<Words<2>, Counter>,
    requests: Family<Words<3>, Counter>,
    watches: Family<Words<2>, Gauge>,
    in_flight: Gauge,
    waiting: Gauge,
    leader: Gauge,
}

impl Metrics {
    /// Metrics of a process that has done nothing yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("connection_operator");
        let probes = Family::default();
        let stages = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let connections = Family::default();
        let held_back = Family::default();
        let requests = Family::default();
        let watches = Family::default();
        let (in_flight, waiting, leader) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("probes", "Probes that ended, by result", probes.clone());
        registry.register_with_unit(
            "probe_stage_duration",
            "Time that probes spent in a stage",
            Unit::Seconds,
            stages.clone(),
        );
        registry.register("connections", "Connections, by what their Ready condition says", connections.clone());
        registry.register(
            "held_back_failures",
            "Failures that were not written, being fewer in a row than the failure threshold",
            held_back.clone(),
        );
        registry.register(
            "api_requests",
            "Requests to the Kubernetes API that were answered or failed",
            requests.clone(),
        );
        registry.register("watches", "Watches on the Kubernetes API, by state", watches.clone());
        registry.register("probes_in_flight", "Probes that run now", in_flight.clone());
        registry.register("probes_waiting", "Probes that are due and wait for a permit", waiting.clone());
        registry.register("leader", "1 while this process leads, else 0", leader.clone());
        let build: Words<1> = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version that runs", Info::new(build));
        Self { registry, probes, stages, connections, held_back, requests, watches, in_flight, waiting, leader }
    }

    /// A probe ended.
    pub fn probe_ended(&self, kind: ConnectionType, result: ProbeResult) {
        let result = match result {
            ProbeResult::Passed => "passed",
            ProbeResult::Failed(reason) => reason.as_str(),
        };
        self.probes.get_or_create(&[("type", kind.as_str()), ("result", result)]).inc();
    }

    /// A probe left a stage after `spent` in it, passed or not.
    pub fn stage_ended(&self, kind: ConnectionType, stage: Stage, spent: Duration) {
        self.stages.get_or_create(&[("type", kind.as_str()), ("stage", stage.name())]).observe(spent.as_secs_f64());
    }

    /// What the Ready condition of one Connection says went from `old` to `new`; `None` is a Connection that is not there
    /// (before it was first seen, after it is gone).
    pub fn verdict_changed(&self, kind: ConnectionType, old: Option<(Status, Reason)>, new: Option<(Status, Reason)>) {
        let gauge = |(ready, reason): (Status, Reason)| {
            let words = [("type", kind.as_str()), ("ready", ready.as_str()), ("reason", reason.as_str())];
            self.connections.get_or_create_owned(&words)
        };
        if old == new {
            return;
        }
        old.map(|verdict| gauge(verdict).dec());
        new.map(|verdict| gauge(verdict).inc());
    }

    /// A failure of a working connection stayed under the failure threshold, so that nothing was written.
    pub fn failure_held_back(&self, kind: ConnectionType, reason: Reason) {
        self.held_back.get_or_create(&[("type", kind.as_str()), ("reason", reason.as_str())]).inc();
    }

    /// A request to the Kubernetes API was answered with `status`, or got no answer.
    pub fn api_request(&self, method: &Method, uri: &Uri, status: Option<StatusCode>) {
        let words = [
            ("verb", requests::verb(method, uri)),
            ("resource", requests::resource(uri.path())),
            ("code", requests::code(status)),
        ];
        self.requests.get_or_create(&words).inc();
    }

    /// One watch on `plural` (as in URLs: `deployments`) went from `old` to `new`; `None` is a watch that is not there. A
    /// kind that is not known beforehand, as a `ReferenceRule` may name, counts as `other`.
    pub fn watch_changed(&self, plural: &str, old: Option<State>, new: Option<State>) {
        let resource = requests::known(plural);
        let gauge =
            |state: State| self.watches.get_or_create_owned(&[("resource", resource), ("state", state.as_str())]);
        if old == new {
            return;
        }
        old.map(|state| gauge(state).dec());
        new.map(|state| gauge(state).inc());
    }

    /// How many probes run now.
    pub fn probes_in_flight(&self, count: usize) {
        self.in_flight.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many probes are due and wait for a permit.
    pub fn probes_waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// This process began or ceased to lead.
    pub fn role_changed(&self, role: Role) {
        self.leader.set(match role {
            Role::Leader => 1,
            Role::Follower => 0,
        });
    }

    /// Everything, in the `OpenMetrics` text format; served as [`CONTENT_TYPE`].
    ///
    /// # Panics
    /// Never: a `String` takes all that is written to it.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes all that is written to it");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: ConnectionType = ConnectionType::PostgreSQL;

    fn shows(metrics: &Metrics, line: &str) {
        let text = metrics.encode();
        assert!(text.lines().any(|l| l == format!("connection_operator_{line}")), "no {line} in\n{text}");
    }

    #[test]
    fn everything_that_is_reported_shows() {
        let metrics = Metrics::new();
        metrics.probe_ended(KIND, ProbeResult::Passed);
        metrics.probe_ended(KIND, ProbeResult::Failed(Reason::TimedOut));
        metrics.stage_ended(KIND, Stage::Reach, Duration::from_millis(3));
        metrics.verdict_changed(KIND, None, Some((Status::True, Reason::Succeeded)));
        metrics.failure_held_back(KIND, Reason::ConnectionRefused);
        metrics.api_request(&Method::GET, &Uri::from_static("/api/v1/namespaces/a/secrets/b"), Some(StatusCode::OK));
        metrics.watch_changed("deployments", None, Some(State::Synced));
        metrics.probes_in_flight(4);
        metrics.probes_waiting(5);
        metrics.role_changed(Role::Leader);
        for line in [
            "probes_total{type=\"PostgreSQL\",result=\"passed\"} 1",
            "probes_total{type=\"PostgreSQL\",result=\"TimedOut\"} 1",
            "probe_stage_duration_seconds_count{type=\"PostgreSQL\",stage=\"Reach\"} 1",
            "probe_stage_duration_seconds_bucket{le=\"0.0025\",type=\"PostgreSQL\",stage=\"Reach\"} 0",
            "probe_stage_duration_seconds_bucket{le=\"0.005\",type=\"PostgreSQL\",stage=\"Reach\"} 1",
            "connections{type=\"PostgreSQL\",ready=\"True\",reason=\"Succeeded\"} 1",
            "held_back_failures_total{type=\"PostgreSQL\",reason=\"ConnectionRefused\"} 1",
            "api_requests_total{verb=\"GET\",resource=\"secrets\",code=\"200\"} 1",
            "watches{resource=\"deployments\",state=\"Synced\"} 1",
            "probes_in_flight 4",
            "probes_waiting 5",
            "leader 1",
            concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            shows(&metrics, line);
        }
        assert!(metrics.encode().ends_with("# EOF\n"));
    }

    #[test]
    fn every_connection_is_counted_in_one_place() {
        let metrics = Metrics::new();
        let (green, red) = ((Status::True, Reason::Succeeded), (Status::False, Reason::TimedOut));
        for _ in 0..3 {
            metrics.verdict_changed(KIND, None, Some(green));
        }
        metrics.verdict_changed(KIND, Some(green), Some(red));
        metrics.verdict_changed(KIND, Some(green), Some(green));
        metrics.verdict_changed(KIND, Some(green), None);
        shows(&metrics, "connections{type=\"PostgreSQL\",ready=\"True\",reason=\"Succeeded\"} 1");
        shows(&metrics, "connections{type=\"PostgreSQL\",ready=\"False\",reason=\"TimedOut\"} 1");
    }

    #[test]
    fn a_watch_is_counted_in_the_state_it_is_in() {
        let metrics = Metrics::new();
        metrics.watch_changed("jobs", None, Some(State::Syncing));
        metrics.watch_changed("jobs", Some(State::Syncing), Some(State::Forbidden));
        shows(&metrics, "watches{resource=\"jobs\",state=\"Syncing\"} 0");
        shows(&metrics, "watches{resource=\"jobs\",state=\"Forbidden\"} 1");
    }

    #[test]
    fn a_name_from_the_cluster_never_becomes_a_label() {
        let metrics = Metrics::new();
        for path in [
            "/api/v1/namespaces/hunter2/secrets/hunter2",
            "/api/v1/namespaces/hunter2",
            "/apis/hunter2.example.com/v1/namespaces/a/hunter2s/hunter2/hunter2",
            "/apis/connectivity.dev/v1alpha1/namespaces/a/connections/hunter2/status?fieldManager=hunter2",
            "/hunter2",
        ] {
            let method = Method::from_bytes(b"HUNTER2").unwrap();
            metrics.api_request(&Method::PATCH, &path.parse().unwrap(), StatusCode::from_u16(799).ok());
            metrics.api_request(&method, &path.parse().unwrap(), None);
        }
        metrics.watch_changed("hunter2s", None, Some(State::Syncing));
        let text = metrics.encode();
        assert!(!text.to_lowercase().contains("hunter2"), "{text}");
        shows(&metrics, "watches{resource=\"other\",state=\"Syncing\"} 1");
    }

    #[test]
    fn names_of_metrics_follow_prometheus() {
        let metrics = Metrics::new();
        for line in metrics.encode().lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(name.starts_with("connection_operator_"), "{line}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
        }
    }
}

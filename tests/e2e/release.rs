//! One release of the chart: its manifests, its account, and replicas that run as its Deployment says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::{
    control_plane::{Account, ControlPlane, INSTALLED_IN, full_name},
    operator::Operator,
    script,
};

/// A release whose manifests the API server has taken, the Deployment included (no controller here makes pods of it).
pub struct Release<'a> {
    /// The account that its replicas run as.
    pub account: Account,
    /// Its Deployment, as the API server stores it.
    pub deployment: Value,
    plane: &'a ControlPlane,
}

impl<'a> Release<'a> {
    /// Installs the chart.
    pub async fn install(plane: &'a ControlPlane, name: &str, values: &[&str]) -> Self {
        let manifest = plane.directory.join(format!("{name}.yaml"));
        fs::write(&manifest, render(name, values).unwrap()).unwrap();
        // `strict`: a field that the API server does not know is an error.
        plane.kubectl(&["apply", "--server-side", "--validate=strict", "-f", &manifest.display().to_string()]).unwrap();
        Self::installed(plane, name).await
    }

    /// A release that somebody else has installed.
    pub async fn installed(plane: &'a ControlPlane, name: &str) -> Self {
        let path = format!("/apis/apps/v1/namespaces/{INSTALLED_IN}/deployments/{}", full_name(name));
        let deployment = plane.admin.get(&path).await.object();
        Self { account: plane.account(name).await.unwrap(), deployment, plane }
    }

    /// Starts a replica as the Deployment says; only where it listens is the test's choice, since all of them share one address.
    pub async fn launch(&self, more: &[&str]) -> Operator {
        let arguments = arguments(&self.deployment);
        let (subcommand, flags) = arguments.split_first().expect("arguments");
        assert_eq!(subcommand, "run");
        let flags = flags.iter().filter(|flag| !flag.starts_with("--http-address=")).map(String::as_str);
        let flags: Vec<&str> = flags.chain(more.iter().copied()).collect();
        Operator::launch(&self.account, &flags).await
    }

    /// As [`Release::launch`], and waits until it is ready.
    pub async fn start(&self) -> Operator {
        let operator = self.launch(&[]).await;
        operator.ready().await.unwrap_or_else(|sentence| panic!("{sentence}"));
        operator
    }

    /// The path that the Deployment has the kubelet ask (`livenessProbe`, `readinessProbe`).
    pub fn asked_by_kubelet(&self, probe: &str) -> &str {
        container(&self.deployment)[probe]["httpGet"]["path"].as_str().expect("a path")
    }

    /// Who holds the Lease that is called `name`.
    pub async fn holder(&self, name: &str) -> Option<String> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{INSTALLED_IN}/leases/{name}");
        let lease = self.plane.admin.get(&path).await.found()?;
        lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned)
    }
}

/// The arguments of a Deployment's first container.
pub fn arguments(deployment: &Value) -> Vec<String> {
    let arguments = container(deployment)["args"].as_array().expect("arguments");
    arguments.iter().map(|argument| argument.as_str().expect("text").to_owned()).collect()
}

/// A Deployment's first container.
pub fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

/// All manifests of a release but `crds/`, as YAML.
///
/// # Errors
/// What Helm said.
pub fn render(name: &str, values: &[&str]) -> Result<String, String> {
    let mut arguments = vec!["template", name];
    let chart = chart();
    let chart = chart.to_str().expect("a path of text");
    arguments.extend([chart, "--namespace", INSTALLED_IN]);
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    helm(&arguments)
}

/// The manifests of a release, as objects.
pub fn objects(name: &str, values: &[&str]) -> Vec<Value> {
    let manifests = render(name, values).unwrap_or_else(|said| panic!("{said}"));
    let documents = manifests.split("\n---").map(|document| document.trim_start_matches("---"));
    let objects = documents.map(|document| serde_saphyr::from_str::<Value>(document).unwrap_or_default());
    objects.filter(|object| object["kind"].is_string()).collect()
}

/// The one object of a kind among `objects`.
pub fn the<'a>(kind: &str, objects: &'a [Value]) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    one
}

/// Runs Helm.
///
/// # Errors
/// What it said.
pub fn helm(arguments: &[&str]) -> Result<String, String> {
    script::run(Command::new(script::required("CONNECTION_OPERATOR_TEST_HELM")?).args(arguments))
}

/// The chart's directory.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/connection-operator")
}

//! A real API server with etcd and the controllers that deletion needs, the definitions of `crds/`, and releases of the chart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::{audit::Audit, caller::Caller, eventually, script};

/// The namespace the chart is installed into.
pub const INSTALLED_IN: &str = "connection-operator";

/// A running control plane.
pub struct ControlPlane {
    /// The administrator.
    pub admin: Caller,
    /// Its audit log.
    pub audit: Audit,
    /// Where its files are.
    pub directory: PathBuf,
    kubectl: PathBuf,
    server: String,
    ca: String,
}

/// An account of the operator, with the rights a release of the chart gives it.
pub struct Account {
    /// The name the audit log knows it by.
    pub user: String,
    /// A kubeconfig with its token.
    pub kubeconfig: PathBuf,
}

impl ControlPlane {
    /// Starts one whose files are under `name` in the run's directory. It ends with this process.
    ///
    /// # Errors
    /// A sentence about what is missing or did not start.
    pub async fn start(name: &str) -> Result<Self, String> {
        Self::start_with(name, "").await
    }

    /// As [`ControlPlane::start`], with more flags of the API server, split at blanks.
    ///
    /// # Errors
    /// A sentence about what is missing or did not start.
    pub async fn start_with(name: &str, flags: &str) -> Result<Self, String> {
        let binaries = PathBuf::from(script::required("CONNECTION_OPERATOR_TEST_BIN")?);
        let directory = script::run_directory().join(name);
        let policy = script::root().join("tests/harness/audit-policy.yaml");
        let policy = policy.display().to_string();
        let variables = [("AUDIT_POLICY", policy.as_str()), ("APISERVER_FLAGS", flags)];
        let said = script::up("controlplane", &directory, &["kcm"], &variables)?;
        let value = |key: &str| said.text(key).map(str::to_owned);
        let kubeconfig = Kubeconfig::read_from(value("KUBECONFIG")?).map_err(|error| error.to_string())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let admin = Caller::new(config.map_err(|error| error.to_string())?)?;
        let own = binaries.join("kubectl");
        let plane = Self {
            audit: Audit::new(value("AUDIT_LOG")?.into(), admin.clone()),
            admin,
            // The cache of an older run may lack it.
            kubectl: if own.exists() { own } else { "kubectl".into() },
            server: value("SERVER")?,
            ca: value("CA")?,
            directory,
        };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INSTALLED_IN}});
        plane.admin.create("/api/v1/namespaces", &object).await.object();
        Ok(plane)
    }

    /// Installs the definitions of `crds/` and waits until they are served.
    ///
    /// # Errors
    /// What the API server said against them.
    pub async fn define(&self) -> Result<(), String> {
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "crds/"])?;
        eventually(Duration::from_secs(30), "Connections are served", async || {
            let answer = self.admin.get("/apis/connectivity.dev/v1alpha1/connections").await;
            (answer.code == 200).then_some(())
        })
        .await;
        Ok(())
    }

    /// Installs a release of the chart, without its Deployment and without `crds/`, and returns the operator's account.
    ///
    /// # Errors
    /// What Helm or the API server said.
    pub async fn install(&self, release: &str, values: &[&str]) -> Result<Account, String> {
        let manifest = self.directory.join(format!("{release}.yaml"));
        fs::write(&manifest, render(release, values)?).map_err(|error| error.to_string())?;
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &manifest.display().to_string()])?;
        self.account(release).await
    }

    /// Stops the API server, as an outage does.
    ///
    /// # Errors
    /// The script's words.
    pub fn pause(&self) -> Result<(), String> {
        script::call("controlplane", "pause", &self.directory)
    }

    /// Whether the API server was stopped, and not started again.
    pub fn is_paused(&self) -> bool {
        // The script takes what it stops off this list.
        fs::read_to_string(self.directory.join("pids")).is_ok_and(|pids| !pids.contains("kube-apiserver"))
    }

    /// Starts the API server again.
    ///
    /// # Errors
    /// The script's words.
    pub fn resume(&self) -> Result<(), String> {
        script::call("controlplane", "resume", &self.directory)
    }

    /// Runs kubectl as the administrator, in the repository's root.
    ///
    /// # Errors
    /// What it printed, where it failed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.directory.join("kubeconfig")).args(arguments);
        script::run(command.current_dir(script::root()))
    }

    /// A token of the release's service account, in a kubeconfig.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn account(&self, release: &str) -> Result<Account, String> {
        let name = full_name(release);
        let path = format!("/api/v1/namespaces/{INSTALLED_IN}/serviceaccounts/{name}/token");
        let answer = self.admin.create(&path, &json!({"spec": {"expirationSeconds": 86_400}})).await.object();
        let token = answer.pointer("/status/token").and_then(Value::as_str).ok_or("no token came")?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.server, "certificate-authority": self.ca}}],
            "users": [{"name": "operator", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "operator", "namespace": INSTALLED_IN}}],
        });
        let kubeconfig = self.directory.join(format!("{release}.kubeconfig"));
        fs::write(&kubeconfig, config.to_string()).map_err(|error| error.to_string())?;
        Ok(Account { user: format!("system:serviceaccount:{INSTALLED_IN}:{name}"), kubeconfig })
    }
}

/// The chart's manifests but the Deployment, which nothing here could run.
///
/// # Errors
/// What Helm said.
pub fn render(release: &str, values: &[&str]) -> Result<String, String> {
    let mut command = Command::new(script::required("CONNECTION_OPERATOR_TEST_HELM")?);
    command.args(["template", release]).arg(chart()).args(["--namespace", INSTALLED_IN, "--skip-crds"]);
    for value in values {
        command.args(["--set", value]);
    }
    let manifests = script::run(&mut command)?;
    let kept = manifests.split("\n---").filter(|manifest| !manifest.lines().any(|line| line == "kind: Deployment"));
    Ok(kept.collect::<Vec<_>>().join("\n---"))
}

/// The name the chart gives to the objects of a release.
pub fn full_name(release: &str) -> String {
    if release.contains("connection-operator") { release.to_owned() } else { format!("{release}-connection-operator") }
}

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/connection-operator")
}

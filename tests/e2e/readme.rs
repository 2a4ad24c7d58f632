//! The chart's README, typed as it stands: installing, upgrading the definitions, uninstalling.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    harness::{
        caller::PatchKind,
        control_plane::{ControlPlane, INSTALLED_IN},
        namespace::Namespace,
        proxy::free_port,
        run, script,
    },
    release::{Release, chart},
    scenario::manifest,
    workload::{with_secret, workload},
};

const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/connections.connectivity.dev";

#[test]
fn what_the_readme_says_works() {
    run(async {
        let plane = ControlPlane::start("readme").await.unwrap_or_else(|sentence| panic!("{sentence}"));
        let shell = Shell::of(&plane);

        let [default, hardened] = &commands("Install")[..] else { panic!("two ways to install") };
        for name in ["shop", "billing"] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            plane.admin.create("/api/v1/namespaces", &object).await.object();
        }
        shell.types(&hardened.replace("helm install", "helm install --dry-run=server")).unwrap();
        shell.types(default).unwrap();

        // A Connection that is used, one that nobody uses, and one that is somebody else's as well.
        let release = Release::installed(&plane, "connection-operator").await;
        let operator = release.start().await;
        let namespace = Namespace::new(&plane).await;
        namespace.create(workload("Deployment", "api", with_secret("orders-db"))).await;
        let nowhere = ([127, 0, 0, 1], free_port().await).into();
        for name in ["held", "kept", "shared"] {
            let finalizers = if name == "shared" { json!(["example.com/wait"]) } else { Value::Null };
            let others = json!({"metadata": {"finalizers": finalizers}});
            namespace.create(manifest(name, nowhere, &others)).await;
            namespace.until(name, "adopted", |c| finalizers_of(&c.0).contains(&OURS)).await;
        }

        let [definitions, upgrade] = &commands("Upgrade")[..] else { panic!("definitions, then the release") };
        an_older_version(&plane).await;
        match shell.types(definitions) {
            Ok(_) => panic!("another manager's field was taken without a word"),
            Err(said) => assert!(said.contains("conflict"), "{said}"),
        }
        shell.types(&format!("{} --force-conflicts", definitions.trim())).unwrap();
        shell.types(definitions).unwrap();
        let definition = plane.admin.get(DEFINITION).await.object();
        assert_ne!(definition["spec"]["names"]["categories"], json!(["older"]));
        shell.types(upgrade).unwrap();

        namespace.delete("Connection", "held").await;
        namespace.becomes("held", "Terminating", "True", "InUse").await;
        // Nothing here makes pods of the Deployment, nor ends them.
        operator.stop().await;
        let [uninstall] = &commands("Uninstall")[..] else { panic!("one way to uninstall") };
        shell.types(uninstall).unwrap();
        assert_eq!(namespace.connection("held").await, None, "what was marked goes");
        assert_eq!(finalizers_of(&namespace.connection("kept").await.unwrap().0), [""; 0]);
        assert_eq!(finalizers_of(&namespace.connection("shared").await.unwrap().0), ["example.com/wait"]);
        let deployments =
            plane.admin.get(&format!("/apis/apps/v1/namespaces/{INSTALLED_IN}/deployments")).await.object();
        assert_eq!(deployments["items"], json!([]));
        shell.types(uninstall.split_once("\n\n").expect("two commands").1).unwrap();

        let left =
            plane.kubectl(&["get", "clusterroles,clusterrolebindings,validatingadmissionpolicies", "-o", "name"]);
        let left = left.unwrap();
        assert!(!left.contains("connect"), "something was left behind: {left}");

        let free = json!({"metadata": {"finalizers": null}});
        plane.admin.patch(&namespace.path("Connection", "shared"), PatchKind::Merge, &free).await.object();
        shell.types("kubectl delete -f crds/ --timeout=30s").unwrap();
        assert_eq!(plane.admin.get(DEFINITION).await.code, 404);
    });
}

const OURS: &str = "connectivity.dev/in-use";

/// Makes the definition one that an older Helm installed.
async fn an_older_version(plane: &ControlPlane) {
    let older = json!({"spec": {"names": {"categories": ["older"]}}});
    let path = format!("{DEFINITION}?fieldManager=helm");
    plane.admin.patch(&path, PatchKind::Merge, &older).await.object();
}

fn finalizers_of(object: &Value) -> Vec<&str> {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Somebody's shell, in the repository's root, with helm and kubectl at hand.
struct Shell {
    kubeconfig: PathBuf,
    home: PathBuf,
    path: String,
}

impl Shell {
    fn of(plane: &ControlPlane) -> Self {
        let directories = ["CONNECTION_OPERATOR_TEST_HELM", "CONNECTION_OPERATOR_TEST_BIN"].map(|variable| {
            let path = script::required(variable).unwrap_or_else(|sentence| panic!("{sentence}"));
            let path = PathBuf::from(path);
            if path.is_dir() { path } else { path.parent().expect("a directory").to_owned() }
        });
        let [helm, kubernetes] = directories.map(|directory| directory.display().to_string());
        let path = format!("{helm}:{kubernetes}:{}", std::env::var("PATH").unwrap());
        let home = plane.directory.join("home");
        fs::create_dir_all(&home).unwrap();
        Self { kubeconfig: plane.directory.join("kubeconfig"), home, path }
    }

    /// Types a command.
    fn types(&self, command: &str) -> Result<String, String> {
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", command]).current_dir(script::root());
        // Nobody's settings of Helm, and nothing in anybody's cache.
        shell.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home);
        script::run(&mut shell)
    }
}

/// The commands of one section of the chart's README.
fn commands(section: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(&chart()).join("README.md")).unwrap();
    let (_, text) = readme.split_once(&format!("\n## {section}\n")).expect("the section");
    let text = text.split("\n## ").next().unwrap_or_default();
    let blocks = text.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

//! What Helm makes of values: every flag is a value and reaches the process, wrong values are refused, and the manifests fit
//! each other.

use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser as _};
use connection_operator::cli::{Cli, Command, run::Arguments};
use serde_json::{Value, json};

use crate::release::{arguments, chart, container, helm, objects, render, the};

/// Each flag with a value that is not the default, as `--set` takes it and as the command line takes it.
const CHANGED: [(&str, &str, &str); 11] = [
    ("--namespaces", "{shop,billing}", "shop,billing"),
    ("--selector", r"shard in (a\,b)\,tier!=test", "shard in (a,b),tier!=test"),
    ("--egress-allow", "{10.0.0.0/8:5432,db.example.com}", "10.0.0.0/8:5432,db.example.com"),
    ("--egress-deny", "{192.0.2.0/24,2001:db8::/32}", "192.0.2.0/24,2001:db8::/32"),
    ("--probe-concurrency", "1000000", "1000000"),
    ("--new-targets", "8", "8"),
    ("--secret-watch", "false", "false"),
    ("--leader-elect", "false", "false"),
    ("--http-address", "[::]:9090", "[::]:9090"),
    ("--log-format", "json", "json"),
    ("--log-level", "debug", "debug"),
];

#[test]
fn every_flag_is_a_value_and_reaches_the_process() {
    let flags: BTreeSet<String> = Cli::command()
        .find_subcommand("run")
        .expect("a subcommand")
        .get_arguments()
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .filter(|flag| flag != "--help")
        .collect();
    assert_eq!(flags, CHANGED.iter().map(|(flag, ..)| (*flag).to_owned()).collect());

    let default = parsed(&[]);
    let mut together = Vec::new();
    for (flag, set, said) in CHANGED {
        let value = format!("{}={set}", value_of(flag));
        let wanted = Cli::try_parse_from(["connection-operator", "run", flag, said]).unwrap();
        let Command::Run(wanted) = wanted.command else { panic!("not run") };
        let got = parsed(&[&value]);
        assert_ne!(got, default, "{flag} says nothing");
        assert_eq!(got, wanted, "{flag}");
        together.push(value);
    }
    let together: Vec<&str> = together.iter().map(String::as_str).collect();
    let line = CHANGED.iter().flat_map(|(flag, _, said)| [*flag, *said]);
    let wanted = Cli::try_parse_from(["connection-operator", "run"].into_iter().chain(line)).unwrap();
    let Command::Run(wanted) = wanted.command else { panic!("not run") };
    assert_eq!(parsed(&together), wanted);
}

#[test]
fn without_values_the_process_has_its_defaults_and_is_told_nothing_empty() {
    let Command::Run(defaults) = Cli::try_parse_from(["connection-operator", "run"]).unwrap().command else {
        panic!("not run")
    };
    let empty = ["namespaces=null", "selector=", "egressAllow=null", "egressDeny=null"];
    for values in [&[][..], &empty] {
        assert_eq!(parsed(values), defaults, "{values:?}");
        let objects = objects("release", values);
        let deployment = the("Deployment", &objects);
        for argument in arguments(deployment) {
            assert!(!argument.ends_with('='), "{argument}");
        }
        let named: Vec<(&str, &str)> = container(deployment)["env"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| (text(variable, "/name"), text(variable, "/valueFrom/fieldRef/fieldPath")))
            .collect();
        assert_eq!(named, [("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace")]);
    }
}

#[test]
fn probes_ports_and_services_meet() {
    for (address, port) in [("0.0.0.0:8080", 8080), ("[::]:9090", 9090)] {
        let objects = objects("release", &[&format!("httpAddress={address}")]);
        let deployment = the("Deployment", &objects);
        assert_eq!(u64::from(parsed(&[&format!("httpAddress={address}")]).http_address.port()), port);
        let container = container(deployment);
        let ports = container["ports"].as_array().unwrap();
        assert_eq!(ports.len(), 1);
        assert_eq!((text(&ports[0], "/name"), ports[0]["containerPort"].as_u64()), ("http", Some(port)));
        for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
            let get = &container[probe]["httpGet"];
            assert_eq!((text(get, "/path"), text(get, "/port")), (path, "http"), "{probe}");
        }
        let service = the("Service", &objects);
        assert_eq!(service.pointer("/spec/ports/0/targetPort"), Some(&json!("http")));
        let selector = service["spec"]["selector"].as_object().unwrap();
        let labels = deployment.pointer("/spec/template/metadata/labels").unwrap();
        assert!(!selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value));
        assert_eq!(Some(&service["spec"]["selector"]), deployment.pointer("/spec/selector/matchLabels"));
    }
}

#[test]
fn a_rollout_leaves_one_that_acts() {
    let strategy =
        |values: &[&str]| text(the("Deployment", &objects("release", values)), "/spec/strategy/type").to_owned();
    assert_eq!(strategy(&[]), "RollingUpdate");
    assert_eq!(strategy(&["leaderElect=false"]), "Recreate", "two that do not elect would both act");
    let refused = render("release", &["leaderElect=false", "replicas=2"]).unwrap_err();
    assert!(refused.contains("leaderElect"), "{refused}");
}

#[test]
fn what_nothing_reads_is_refused() {
    for wrong in [
        "secretwatch=false",
        "image.name=operator",
        "monitoring.serviceMonitors=true",
        "serviceAccount.token=true",
        "image.tag=latest",
        "httpAddress=8080",
        "namespaces={Shop}",
        "egressAllow={10.0.0.0/8\\,10.1.0.0/16}",
        "probeConcurrency=0",
        "newTargets=many",
        "leaderElect=perhaps",
        "logLevel=loud",
        "deletionPolicy=refuse",
    ] {
        let name = wrong.split(['=', '.']).next().unwrap();
        match render("release", &[wrong]) {
            Ok(_) => panic!("{wrong} was taken"),
            Err(said) => assert!(said.contains(name), "{wrong}: {said}"),
        }
    }
}

#[test]
fn the_chart_is_sound_with_few_values_and_with_many() {
    let hardened = ["namespaces={shop,billing}", "secretWatch=false", "deletionPolicy=deny"];
    let monitored =
        ["monitoring.serviceMonitor=true", "monitoring.alerts=true", "podDisruptionBudget=true", "replicas=2"];
    let bare = ["sharedObjects=false", "leaderElect=false", "serviceAccount.create=false", "serviceAccount.name=own"];
    for values in [&[][..], &hardened, &monitored, &bare] {
        let mut arguments = vec!["lint", "--strict"];
        let chart = chart();
        arguments.push(chart.to_str().unwrap());
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        helm(&arguments).unwrap_or_else(|said| panic!("{said}"));
        let objects = objects("release", values);
        let accounts = objects.iter().filter(|object| object["kind"] == "ServiceAccount").count();
        assert_eq!(accounts, usize::from(!values.contains(&"serviceAccount.create=false")));
        let account = text(the("Deployment", &objects), "/spec/template/spec/serviceAccountName").to_owned();
        for binding in objects.iter().filter(|object| text(object, "/kind").ends_with("RoleBinding")) {
            assert_eq!(text(binding, "/subjects/0/name"), account, "{binding}");
        }
    }
}

#[test]
fn a_cluster_that_is_too_old_is_refused() {
    let chart = chart();
    let template = |version: &str| helm(&["template", "release", chart.to_str().unwrap(), "--kube-version", version]);
    assert!(template("1.32.0").is_ok());
    assert!(template("1.33.4-eks-1234567").is_ok(), "a vendor's suffix");
    let refused = template("1.31.9").unwrap_err();
    assert!(refused.contains("1.32"), "{refused}");
}

/// What the process makes of the Deployment's arguments.
fn parsed(values: &[&str]) -> Arguments {
    let objects = objects("release", values);
    let line = ["connection-operator".to_owned()].into_iter().chain(arguments(the("Deployment", &objects)));
    match Cli::try_parse_from(line).unwrap_or_else(|refused| panic!("{values:?}: {refused}")).command {
        Command::Run(arguments) => arguments,
        Command::Crd | Command::Types | Command::Version | Command::ProbeChild { .. } => panic!("not run"),
    }
}

/// The value's name: that of the flag, as YAML likes it.
fn value_of(flag: &str) -> String {
    let mut words = flag.trim_start_matches('-').split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

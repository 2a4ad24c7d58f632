//! The flags of `connection-operator run`, each with its environment twin, and who this process is in its cluster.
//!
//! This is the edge where text becomes typed settings: what does not make sense is refused here with a sentence. It
//! starts nothing and talks to nobody.

use std::{fmt, net::SocketAddr, num::NonZeroU32};

use clap::ArgAction;

use crate::observability::telemetry::{LogFormat, LogLevel};

/// Where a pod finds the namespace of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Where Linux tells the host's name; in a pod this is the pod's name.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

/// Settings of `connection-operator run`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Arguments {
    /// Watch these namespaces only, comma-separated. Absent: all of them
    #[arg(
        long,
        env = "CONNECTION_OPERATOR_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        value_parser = namespace
    )]
    pub namespaces: Vec<String>,

    /// Act only on Connections that match this label selector, for example 'shard in (a)'
    #[arg(long, env = "CONNECTION_OPERATOR_SELECTOR", value_name = "SELECTOR", value_parser = selector)]
    pub selector: Option<String>,

    /// Allow probes to reach these, comma-separated: CIDR, CIDR:port, host name or host:port. Wins over the defaults
    #[arg(
        long,
        env = "CONNECTION_OPERATOR_EGRESS_ALLOW",
        value_name = "RULE",
        value_delimiter = ',',
        value_parser = filled
    )]
    pub egress_allow: Vec<String>,

    /// Forbid probes to reach these, comma-separated, in the same forms. Wins over --egress-allow
    #[arg(
        long,
        env = "CONNECTION_OPERATOR_EGRESS_DENY",
        value_name = "RULE",
        value_delimiter = ',',
        value_parser = filled
    )]
    pub egress_deny: Vec<String>,

    /// How many probes may be in flight at once
    #[arg(long, env = "CONNECTION_OPERATOR_PROBE_CONCURRENCY", value_name = "N", default_value = "256")]
    pub probe_concurrency: NonZeroU32,

    /// How many distinct address:port a namespace may dial per minute; above it Reachable is Unknown/Throttled
    #[arg(long, env = "CONNECTION_OPERATOR_NEW_TARGETS", value_name = "N", default_value = "600")]
    pub new_targets: NonZeroU32,

    /// Watch the metadata of Secrets. false: no list or watch; a Secret is read again at each interval
    #[arg(
        long,
        env = "CONNECTION_OPERATOR_SECRET_WATCH",
        value_name = "true|false",
        default_value_t = true,
        action = ArgAction::Set,
        hide_possible_values = true
    )]
    pub secret_watch: bool,

    /// Elect one leader among replicas through a Lease; only the leader probes and writes
    #[arg(
        long,
        env = "CONNECTION_OPERATOR_LEADER_ELECT",
        value_name = "true|false",
        default_value_t = true,
        action = ArgAction::Set,
        hide_possible_values = true
    )]
    pub leader_elect: bool,

    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "CONNECTION_OPERATOR_HTTP_ADDRESS", value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// How log lines are written
    #[arg(long, env = "CONNECTION_OPERATOR_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// The least severe level that is logged
    #[arg(long, env = "CONNECTION_OPERATOR_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

/// Where this process runs and what it calls itself, for its Lease. Not a flag: the pod knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The namespace that holds the Lease.
    pub namespace: String,
    /// The name of this process among all others: pod or host, and a random suffix, so that neither a restarted container
    /// nor a second pod of the same name is ever taken for this one.
    pub identity: String,
}

impl Whereabouts {
    /// Asks the environment: the namespace from `POD_NAMESPACE`, else the service account's file, else `default`; the
    /// name from `POD_NAME`, else the host's.
    ///
    /// # Errors
    /// [`NoRandomness`] where the operating system gives no random bytes.
    pub fn from_environment() -> Result<Self, NoRandomness> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| NoRandomness)?;
        let read = |path: &str| std::fs::read_to_string(path).ok();
        #[expect(clippy::disallowed_methods, reason = "a pod tells its name in variables that are not ours to name")]
        let variable = |name: &str| std::env::var(name).ok();
        Ok(Self::new(variable, read, random))
    }

    fn new(variable: impl Fn(&str) -> Option<String>, file: impl Fn(&str) -> Option<String>, random: [u8; 8]) -> Self {
        let text = |text: Option<String>| text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        let namespace = text(variable("POD_NAMESPACE"))
            .or_else(|| text(file(NAMESPACE_FILE)))
            .unwrap_or_else(|| "default".to_owned());
        let name = text(variable("POD_NAME"))
            .or_else(|| text(file(HOSTNAME_FILE)))
            .unwrap_or_else(|| "connection-operator".to_owned());
        Self { namespace, identity: format!("{name}_{:016x}", u64::from_be_bytes(random)) }
    }
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// Why a flag's value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Empty,
    Namespace,
    Requirement,
    Parenthesis,
    Key,
    Value,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty; leave the flag and its variable out instead",
            Self::Namespace => "a namespace is 1 to 63 lower-case letters, digits and '-'",
            Self::Requirement => {
                "a requirement is 'key', '!key', 'key=value', 'key!=value', 'key in (a,b)' or 'key notin (a,b)'"
            }
            Self::Parenthesis => "its parentheses do not match",
            Self::Key => {
                "a label's key is a name of at most 63 letters, digits, '-', '_' and '.', with an optional DNS prefix"
            }
            Self::Value => "a label's value is at most 63 letters, digits, '-', '_' and '.'",
        })
    }
}

impl std::error::Error for Refused {}

fn filled(text: &str) -> Result<String, Refused> {
    let text = text.trim();
    if text.is_empty() { Err(Refused::Empty) } else { Ok(text.to_owned()) }
}

fn namespace(text: &str) -> Result<String, Refused> {
    let text = filled(text)?;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = text.len() <= 63 && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-');
    if fits { Ok(text) } else { Err(Refused::Namespace) }
}

/// Checks a label selector as the API server would, so that a slip is an error at start and not a watch that never works.
fn selector(text: &str) -> Result<String, Refused> {
    let text = filled(text)?;
    let mut rest = text.as_str();
    loop {
        let (requirement, following) = first_requirement(rest)?;
        check_requirement(requirement.trim())?;
        match following {
            Some(following) => rest = following,
            None => return Ok(text),
        }
    }
}

/// Cuts at the first comma that stands outside parentheses.
fn first_requirement(text: &str) -> Result<(&str, Option<&str>), Refused> {
    let mut open = false;
    for (place, character) in text.char_indices() {
        match character {
            '(' if open => return Err(Refused::Parenthesis),
            '(' => open = true,
            ')' if !open => return Err(Refused::Parenthesis),
            ')' => open = false,
            ',' if !open => return Ok((&text[..place], Some(&text[place + 1..]))),
            _ => {}
        }
    }
    if open { Err(Refused::Parenthesis) } else { Ok((text, None)) }
}

fn check_requirement(text: &str) -> Result<(), Refused> {
    if let Some((before, values)) = text.split_once('(') {
        let values = values.strip_suffix(')').ok_or(Refused::Parenthesis)?;
        let mut words = before.split_whitespace();
        let (Some(name), Some("in" | "notin"), None) = (words.next(), words.next(), words.next()) else {
            return Err(Refused::Requirement);
        };
        key(name)?;
        return values.split(',').try_for_each(|v| value(v.trim()));
    }
    if let Some(name) = text.strip_prefix('!') {
        return key(name.trim());
    }
    for operator in ["!=", "==", "="] {
        if let Some((name, given)) = text.split_once(operator) {
            key(name.trim())?;
            return value(given.trim());
        }
    }
    if text.split_whitespace().nth(1).is_some() { Err(Refused::Requirement) } else { key(text) }
}

fn key(text: &str) -> Result<(), Refused> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let dns = |p: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        (1..=253).contains(&p.len()) && p.chars().all(inner) && ends_well(p)
    };
    if !name.is_empty() && label(name) && prefix.is_none_or(dns) { Ok(()) } else { Err(Refused::Key) }
}

fn value(text: &str) -> Result<(), Refused> {
    if text.is_empty() || label(text) { Ok(()) } else { Err(Refused::Value) }
}

fn label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= 63 && text.chars().all(inner) && ends_well(text)
}

fn ends_well(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// The flags as the documentation lists them, with a value each that is not the default.
    const DOCUMENTED: [(&str, &str); 11] = [
        ("--namespaces", "shop,billing"),
        ("--selector", "shard in (a,b),tier!=test"),
        ("--egress-allow", "10.0.0.0/8:5432,db.example.com"),
        ("--egress-deny", "192.0.2.0/24"),
        ("--probe-concurrency", "7"),
        ("--new-targets", "8"),
        ("--secret-watch", "false"),
        ("--leader-elect", "false"),
        ("--http-address", "127.0.0.1:9090"),
        ("--log-format", "json"),
        ("--log-level", "debug"),
    ];

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let line = std::iter::once("run").chain(arguments.iter().copied());
        Line::try_parse_from(line).map(|line| line.arguments)
    }

    fn every_setting_changed() -> Arguments {
        Arguments {
            namespaces: vec!["shop".into(), "billing".into()],
            selector: Some("shard in (a,b),tier!=test".into()),
            egress_allow: vec!["10.0.0.0/8:5432".into(), "db.example.com".into()],
            egress_deny: vec!["192.0.2.0/24".into()],
            probe_concurrency: NonZeroU32::new(7).unwrap(),
            new_targets: NonZeroU32::new(8).unwrap(),
            secret_watch: false,
            leader_elect: false,
            http_address: "127.0.0.1:9090".parse().unwrap(),
            log_format: LogFormat::Json,
            log_level: LogLevel::Debug,
        }
    }

    fn twin(flag: &str) -> String {
        format!("CONNECTION_OPERATOR_{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"))
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let arguments = parse(&[]).unwrap();
        assert_eq!(arguments.namespaces, Vec::<String>::new());
        assert_eq!(arguments.selector, None);
        assert_eq!((arguments.probe_concurrency.get(), arguments.new_targets.get()), (256, 600));
        assert!(arguments.secret_watch && arguments.leader_elect);
        assert_eq!(arguments.http_address, "0.0.0.0:8080".parse().unwrap());
        assert_eq!((arguments.log_format, arguments.log_level), (LogFormat::Text, LogLevel::Info));
    }

    #[test]
    fn every_flag_is_read() {
        let line: Vec<&str> = DOCUMENTED.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
        assert_eq!(parse(&line).unwrap(), every_setting_changed());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it starts itself again, and must know which of the two it is")]
    fn every_flag_has_its_environment_twin() {
        const CHILD: &str = "CONNECTION_OPERATOR_TEST_CHILD";
        if std::env::var_os(CHILD).is_some() {
            assert_eq!(parse(&[]).unwrap(), every_setting_changed());
            return;
        }
        let this = "cli::run::tests::every_flag_has_its_environment_twin";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", this]).env(CHILD, "1");
        child.envs(DOCUMENTED.iter().map(|(flag, value)| (twin(flag), *value)));
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    #[test]
    fn help_lists_exactly_the_documented_flags_with_their_twins() {
        let command = Line::command();
        let mut flags: Vec<(String, Option<String>)> = command
            .get_arguments()
            .filter_map(|a| {
                Some((format!("--{}", a.get_long()?), a.get_env().map(|e| e.to_string_lossy().into_owned())))
            })
            .collect();
        flags.sort();
        let mut documented: Vec<_> = DOCUMENTED.iter().map(|(f, _)| ((*f).to_owned(), Some(twin(f)))).collect();
        documented.sort();
        assert_eq!(flags, documented);
        let help = Line::command().render_long_help().to_string();
        for (flag, variable) in documented {
            assert!(help.contains(&flag) && help.contains(&variable.unwrap()), "{flag} is not in\n{help}");
        }
    }

    #[test]
    fn selectors_of_the_api_server_are_taken() {
        for good in [
            "shard in (a)",
            "shard notin (a,b)",
            "a=b,c!=d",
            "a==b",
            "example.com/team",
            "!example.com/team",
            "a in (b, c), d",
            "a=",
        ] {
            assert_eq!(selector(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn a_selector_that_the_api_server_refuses_is_refused_at_start() {
        for bad in
            ["", " ", "a b", "a in b", "a in (b", "a in b)", "a within (b)", "a,,b", "-a=b", "a=b c", "/a", "a=é"]
        {
            assert!(selector(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_and_never_widens() {
        for bad in [
            ["--namespaces", ""],
            ["--namespaces", "a,,b"],
            ["--namespaces", "Shop"],
            ["--egress-deny", ""],
            ["--probe-concurrency", "0"],
            ["--new-targets", "0"],
            ["--secret-watch", "maybe"],
            ["--http-address", "8080"],
            ["--log-level", "loud"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn the_pod_says_where_it_runs_and_two_of_one_name_differ() {
        let pod = |name: &str| match name {
            "POD_NAMESPACE" => Some("platform".to_owned()),
            "POD_NAME" => Some("operator-0".to_owned()),
            _ => None,
        };
        let first = Whereabouts::new(pod, |_| None, [1; 8]);
        assert_eq!(first.namespace, "platform");
        assert!(first.identity.starts_with("operator-0_"));
        assert_ne!(first.identity, Whereabouts::new(pod, |_| None, [2; 8]).identity);
        assert_ne!(
            Whereabouts::from_environment().unwrap().identity,
            Whereabouts::from_environment().unwrap().identity
        );
    }

    #[test]
    fn without_a_pod_the_service_account_then_the_default_tell_the_namespace() {
        let file = |path: &str| (path == NAMESPACE_FILE).then(|| "from-file\n".to_owned());
        assert_eq!(Whereabouts::new(|_| None, file, [0; 8]).namespace, "from-file");
        let nothing = Whereabouts::new(|_| Some(String::new()), |_| None, [0; 8]);
        assert_eq!(
            (nothing.namespace.as_str(), nothing.identity.as_str()),
            ("default", "connection-operator_0000000000000000")
        );
    }
}

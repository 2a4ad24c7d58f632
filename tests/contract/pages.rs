//! What the documentation says, made from the code's tables.

use std::fmt::Write as _;

use connection_operator::{
    api::{ConditionType, conditions::Presence},
    connections::ConnectionType,
    failure::{Outlook, Reason, Stage, Status},
};
use serde_json::Value;

use crate::schema;

/// docs/conditions.md.
pub fn conditions() -> String {
    let mut page = String::from(
        "# Conditions of a Connection\n\n\
         <!-- Made from the code; UPDATE_GOLDEN=1 cargo test --test contract rewrites it. -->\n\n\
         A condition's `reason` is stable and can be relied on by scripts; its `message` is for people. \
         `lastTransitionTime` moves only when `status` changes.\n\n\
         What follows from a reason:\n\n",
    );
    for outlook in [
        Outlook::Good,
        Outlook::Transient,
        Outlook::Arrives,
        Outlook::Terminal,
        Outlook::Neutral,
        Outlook::Answer,
        Outlook::Waiting,
        Outlook::Still,
    ] {
        let (word, sentence) = consequence(outlook);
        let _ = writeln!(page, "- *{word}*: {sentence}");
    }
    for condition in ConditionType::ALL {
        let presence = match condition.presence() {
            Presence::Always => "always there",
            Presence::WhenTrue => "there only when True",
            Presence::WhileDeleting => "there only while the Connection is being deleted",
        };
        let _ = write!(
            page,
            "\n## {}\n\n{} It is {presence}.\n\n| status | reason | meaning | what to do | what follows |\n|---|---|---|---|---|\n",
            condition.as_str(),
            condition.meaning()
        );
        for status in [Status::True, Status::False, Status::Unknown] {
            for reason in
                condition.reasons(status).into_iter().filter(|reason| !is_passed_on(condition, status, *reason))
            {
                let (word, _) = consequence(reason.outlook());
                let cells = [status.as_str(), &format!("`{reason}`"), reason.meaning(), &advice(reason), word];
                let _ = writeln!(page, "| {} |", cells.join(" | "));
            }
        }
        page.push_str(match condition {
            ConditionType::Ready => {
                "\nOtherwise `Ready` has the status and the reason of the first stage below that is not True.\n"
            }
            ConditionType::Stalled => {
                "\nOtherwise it has the reason of `Ready`, where that one is marked *stalled* below.\n"
            }
            ConditionType::CredentialsResolved
            | ConditionType::Reachable
            | ConditionType::Authenticated
            | ConditionType::Accessible
            | ConditionType::InUse
            | ConditionType::Reconciling
            | ConditionType::Terminating => "",
        });
    }
    page
}

/// docs/connections/<type>.md.
pub fn connection(kind: ConnectionType) -> String {
    let about = kind.about();
    let mut page = format!("# {}\n\n{}\n\n## Reference\n\n", kind.as_str(), about.docs.trim());
    let _ = write!(
        page,
        "Fields of `spec.{}`. Those in **bold** must be set.\n\n| field | type | default | description |\n|---|---|---|---|\n",
        kind.member()
    );
    for Field { path, required, form, default, description } in fields(kind) {
        let name = if required { format!("**`{path}`**") } else { format!("`{path}`") };
        let _ = writeln!(page, "| {name} | {form} | {default} | {description} |");
    }
    let _ = write!(page, "\n## Examples\n\nThe least:\n\n```yaml\n{}\n```\n", about.minimal.trim_end());
    let _ = write!(page, "\nEverything:\n\n```yaml\n{}\n```\n", about.full.trim_end());
    page
}

/// The README's table of types.
pub fn types() -> String {
    let mut table = String::from("| type | what it is | tested against |\n|---|---|---|\n");
    for kind in ConnectionType::ALL {
        let link = format!("[{}](docs/connections/{}.md)", kind.as_str(), file_name(*kind));
        let _ = writeln!(table, "| {link} | {} | {} |", kind.summary(), kind.about().tested_against);
    }
    table
}

/// The name of a type's files.
pub fn file_name(kind: ConnectionType) -> String {
    kind.as_str().to_lowercase()
}

/// The documents of a YAML text.
pub fn documents(text: &str) -> impl Iterator<Item = Value> {
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap())
}

/// One line of a type's table of fields.
pub struct Field {
    /// Where it is below the type's member.
    pub path: String,
    /// Whether it must be set.
    pub required: bool,
    /// What may be in it.
    pub form: String,
    /// What the schema puts there where nothing is.
    pub default: String,
    /// What it means.
    pub description: String,
}

/// The fields of a type, those that must be set first.
pub fn fields(kind: ConnectionType) -> Vec<Field> {
    let mut found = Vec::new();
    collect(&schema::spec()["properties"][kind.member()], "", &mut found);
    found
}

fn collect(object: &Value, prefix: &str, found: &mut Vec<Field>) {
    let required = |name: &str| object["required"].as_array().into_iter().flatten().any(|entry| entry == name);
    let properties: Vec<(&String, &Value)> = object["properties"].as_object().into_iter().flatten().collect();
    let (first, rest): (Vec<_>, Vec<_>) = properties.into_iter().partition(|(name, _)| required(name));
    for (name, property) in first.into_iter().chain(rest) {
        let path = format!("{prefix}{name}");
        found.push(Field {
            required: required(name),
            form: form(property),
            default: property.get("default").map(|value| format!("`{value}`")).unwrap_or_default(),
            description: cell(property["description"].as_str().unwrap_or_default()),
            path: path.clone(),
        });
        collect(property, &format!("{path}."), found);
        collect(&property["items"], &format!("{path}[]."), found);
    }
}

/// What may be in a field, in words.
fn form(property: &Value) -> String {
    let pattern = property["pattern"].as_str().and_then(|text| text.strip_prefix("^(")?.strip_suffix(")$"));
    let listed = property["enum"].as_array().map(|words| words.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    let words = listed.or_else(|| {
        let words: Vec<&str> = pattern?.split('|').collect();
        words.iter().all(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')).then_some(words)
    });
    if let Some(words) = words {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    let bound = |name: &str| property[name].as_f64();
    match property["type"].as_str() {
        Some("array") => format!("list of {}", form(&property["items"])),
        Some("object") if property["additionalProperties"].is_object() => {
            format!("map to {}", form(&property["additionalProperties"]))
        }
        Some(name) => match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => format!("{name}, {least} to {most}"),
            (Some(least), None) => format!("{name}, at least {least}"),
            (None, Some(most)) => format!("{name}, at most {most}"),
            (None, None) => name.to_owned(),
        },
        None => String::new(),
    }
}

/// A reason's hint, as a sentence.
fn advice(reason: Reason) -> String {
    let hint = reason.hint();
    let Some(first) = hint.chars().next() else { return String::new() };
    format!("{}{}.", first.to_uppercase(), &hint[first.len_utf8()..])
}

/// A text that stands in one cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Whether a condition has a reason only because a stage has it.
fn is_passed_on(condition: ConditionType, status: Status, reason: Reason) -> bool {
    let of_a_stage = Stage::ALL.into_iter().any(|stage| ConditionType::of_stage(stage).allows(status, reason));
    match condition {
        ConditionType::Ready => of_a_stage && reason != Reason::Pending,
        ConditionType::Stalled => reason != Reason::InvalidConfiguration,
        ConditionType::CredentialsResolved
        | ConditionType::Reachable
        | ConditionType::Authenticated
        | ConditionType::Accessible
        | ConditionType::InUse
        | ConditionType::Reconciling
        | ConditionType::Terminating => false,
    }
}

/// What follows from a reason: a word for the tables, and the sentence that explains it.
const fn consequence(outlook: Outlook) -> (&'static str, &'static str) {
    match outlook {
        Outlook::Good => ("good", "it is looked at again after the interval."),
        Outlook::Transient => (
            "tried again",
            "it may pass by itself. A connection that was Ready stays so until `probe.failureThreshold` such failures came in a \
             row; one that is not Ready has `Reconciling` with `ProgressingWithRetry`.",
        ),
        Outlook::Arrives => (
            "waited for",
            "it counts at once, and what is missing may still arrive: `Reconciling` with `ProgressingWithRetry`.",
        ),
        Outlook::Terminal => ("stalled", "it counts at once, and nothing changes until someone acts: `Stalled`."),
        Outlook::Neutral => (
            "no answer",
            "neither a success nor a failure. It shows only where Ready is not True: `Reconciling` with \
             `ProgressingWithRetry`. An `InternalError` that comes `probe.failureThreshold` times in a row shows in any case.",
        ),
        Outlook::Answer => ("an answer", "neither yes nor no: neither `Reconciling` nor `Stalled`."),
        Outlook::Waiting => ("under way", "`Reconciling` with `Progressing`."),
        Outlook::Still => ("as it is", "nothing by itself."),
    }
}

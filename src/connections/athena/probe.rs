//! The one look at Athena: its work group, the catalog and the database where they are named, and the place of the results as any
//! bucket is looked at. No query is started.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    connections::{
        Probe,
        family::aws::{
            Keys, Region,
            bucket::Bucket,
            call::{Json, Service},
            codes::Refused,
            sts,
        },
    },
    failure::{Code, Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, tls::Tls},
};

/// The catalog that databases are in where none is named.
const DEFAULT_CATALOG: &str = "AwsDataCatalog";

/// What Athena says where the catalog has answered it with a failure. Whose it is stands in its text only.
const FROM_THE_CATALOG: &str = "MetadataException";

/// The codes of AWS Glue that Athena repeats, what they mean, and what can be done ("Catalog API" of the AWS Glue Developer Guide).
const CAUSES: &[(&str, FailureClass, &str)] = &[
    ("EntityNotFoundException", FailureClass::TargetNotFound, "create it or correct its name"),
    (
        "AccessDeniedException",
        FailureClass::PermissionDenied,
        "grant glue:GetDatabase on it and on its catalog, in Lake Formation too if that is used, or correct its name",
    ),
    ("ThrottlingException", FailureClass::Throttled, "raise spec.probe.interval: AWS Glue asks Athena to slow down"),
];

/// All that one look needs.
pub(super) struct Look {
    pub athena: Athena,
    /// Where results go to, where a permission is asked for.
    pub results: Option<Bucket>,
    pub keys: Keys,
    pub exchange: Option<sts::Exchange>,
}

/// What Athena is asked about, and where.
pub(super) struct Athena {
    pub url: String,
    pub region: Region,
    pub tls: Tls,
    pub work_group: String,
    pub catalog: Option<String>,
    pub database: Option<String>,
    /// The output location of the spec, with a slash at its end.
    pub output: Option<String>,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let role = match &self.exchange {
            Some(exchange) => Some(exchange.keys(net, &self.keys).await?),
            None => None,
        };
        let keys = role.as_ref().unwrap_or(&self.keys);
        let group = self.athena.work_group(net, keys).await?;
        net.step(Stage::Access);
        self.athena.catalog(net, keys).await?;
        self.athena.database(net, keys).await?;
        if let Some(bucket) = &self.results {
            let rights = bucket.look(net, Some(keys)).await?;
            bucket.judge(&rights)?;
        }
        let results = unproven(self.athena.results(&group.configuration));
        Ok(Proof::default().but(self.athena.catalog_is_open().then_some(CATALOG)).but(results))
    }
}

/// What is asked about: how messages call it, and the right that shows it.
struct Subject<'a> {
    operation: &'static str,
    input: Value,
    shown: Setting,
    name: &'a str,
    right: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetWorkGroup {
    work_group: WorkGroup,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WorkGroup {
    name: String,
    state: String,
    #[serde(default)]
    configuration: Configuration,
}

#[derive(Default, Deserialize)]
struct Configuration {
    #[serde(rename = "EnforceWorkGroupConfiguration")]
    enforced: Option<bool>,
    #[serde(rename = "ResultConfiguration")]
    results: Option<Results>,
    #[serde(rename = "ManagedQueryResultsConfiguration")]
    managed: Option<Managed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    output_location: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Managed {
    enabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetDataCatalog {
    data_catalog: Named,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetDatabase {
    database: Named,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

impl Athena {
    /// The work group, in which queries can be run. It is asked for by the first signed request, and so it is the login.
    async fn work_group(&self, net: &Network, keys: &Keys) -> Result<WorkGroup, Failure> {
        let subject = Subject {
            operation: "AmazonAthena.GetWorkGroup",
            input: json!({"WorkGroup": self.work_group}),
            shown: Setting::from_spec(format!("work group {}", self.work_group)),
            name: &self.work_group,
            right: "athena:GetWorkGroup",
        };
        let GetWorkGroup { work_group } =
            self.ask(net, keys, &subject, |answer: &GetWorkGroup| &answer.work_group.name).await?;
        match work_group.state.as_str() {
            "ENABLED" => Ok(work_group),
            "DISABLED" => Err(Failure::new(FailureClass::TargetUnavailable)
                .about(subject.shown)
                .word("DISABLED")
                .advice("enable the work group, or name another one")),
            _ => Err(Failure::new(FailureClass::ProtocolMismatch)),
        }
    }

    /// Whether the catalog is there, where one is named that Athena knows by itself.
    async fn catalog(&self, net: &Network, keys: &Keys) -> Result<(), Failure> {
        let Some(catalog) = self.catalog.as_deref().filter(|catalog| !is_nested(catalog)) else { return Ok(()) };
        let subject = Subject {
            operation: "AmazonAthena.GetDataCatalog",
            input: json!({"Name": catalog}),
            shown: Setting::from_spec(format!("catalog {catalog}")),
            name: catalog,
            right: "athena:GetDataCatalog",
        };
        self.ask(net, keys, &subject, |answer: &GetDataCatalog| &answer.data_catalog.name).await.map(drop)
    }

    /// Whether the database is there, where one is named.
    async fn database(&self, net: &Network, keys: &Keys) -> Result<(), Failure> {
        let Some(database) = &self.database else { return Ok(()) };
        let catalog = self.catalog.as_deref().unwrap_or(DEFAULT_CATALOG);
        let subject = Subject {
            operation: "AmazonAthena.GetDatabase",
            input: json!({"CatalogName": catalog, "DatabaseName": database}),
            shown: Setting::from_spec(format!("database {catalog}.{database}")),
            name: database,
            right: "athena:GetDatabase",
        };
        self.ask(net, keys, &subject, |answer: &GetDatabase| &answer.database.name).await.map(drop)
    }

    /// Asks about one thing. An answer about another one is none: the service writes names in small letters, but not otherwise.
    async fn ask<A: DeserializeOwned>(
        &self,
        net: &Network,
        keys: &Keys,
        subject: &Subject<'_>,
        name: impl Fn(&A) -> &String + Send,
    ) -> Result<A, Failure> {
        let service = Service { name: "athena", region: &self.region, url: &self.url };
        let reply = service.json(net, &self.tls, keys, Json::V1_1, subject.operation, &subject.input).await?;
        let document: Bytes = reply.map_err(|refused| explain(&refused, subject))?;
        let answer = serde_json::from_slice::<A>(&document).ok();
        let answer = answer.filter(|answer| name(answer).eq_ignore_ascii_case(subject.name));
        answer.ok_or_else(|| Failure::new(FailureClass::ProtocolMismatch))
    }

    /// Whether nothing was asked that would have shown the catalog: Athena lists no catalog that is nested in another one, and no
    /// database of it is named.
    fn catalog_is_open(&self) -> bool {
        self.catalog.as_deref().is_some_and(is_nested) && self.database.is_none()
    }

    /// Where results go, as far as the rights on the output location are concerned.
    fn results(&self, group: &Configuration) -> Place {
        let Some(own) = &self.output else { return Place::Here };
        let Configuration { enforced, results, managed } = group;
        if managed.as_ref().and_then(|managed| managed.enabled) == Some(true) {
            return Place::Athena;
        }
        let enforced = results.as_ref().filter(|_| *enforced == Some(true));
        match enforced.and_then(|results| results.output_location.as_deref()) {
            Some(place) if place.trim_end_matches('/') != own.trim_end_matches('/') => Place::Elsewhere,
            Some(_) | None => Place::Here,
        }
    }
}

/// Where results go.
#[derive(Clone, Copy)]
enum Place {
    /// To the output location of the spec, or there is none to know something of.
    Here,
    /// The work group keeps them in Athena.
    Athena,
    /// The work group has an output location of its own.
    Elsewhere,
}

/// Whether a catalog is in another one, such as `s3tablescatalog/BUCKET`: none of those that are registered with Athena has a slash
/// in its name (`DataCatalog` of the API Reference).
fn is_nested(catalog: &str) -> bool {
    catalog.contains('/')
}

const CATALOG: &str = "the catalog, which is nested in another one: name a database in it";

/// What was not proven about results that go to such a place.
const fn unproven(results: Place) -> Option<&'static str> {
    match results {
        Place::Here => None,
        Place::Athena => {
            Some("rights on results, which this work group keeps in Athena and not in the output location")
        }
        Place::Elsewhere => Some("rights on results, which this work group sends to an output location of its own"),
    }
}

/// What the service's answer means.
fn explain(refused: &Refused, subject: &Subject<'_>) -> Failure {
    let about = |failure: Failure| failure.about(subject.shown.clone());
    match refused.class() {
        FailureClass::PermissionDenied => about(refused.failure())
            .word(subject.right)
            .advice("grant the action on it, or correct its name: what does not exist may be refused so, too"),
        FailureClass::TargetNotFound => about(refused.failure())
            .advice("create it or correct its name: Athena answers so to every name that it does not take"),
        _ if refused.is(FROM_THE_CATALOG) => about(of_the_catalog(refused)),
        _ => refused.failure(),
    }
}

/// What the catalog told Athena means: AWS Glue's by its code, and any other has failed.
fn of_the_catalog(refused: &Refused) -> Failure {
    match CAUSES.iter().find(|(code, ..)| refused.cause.as_deref() == Some(code)) {
        Some((code, class, advice)) => refused.failure_as(*class).code(Code::Known(code)).advice(advice),
        None => refused
            .failure_as(FailureClass::TargetUnavailable)
            .advice("look at the catalog: it did not answer Athena, or not as AWS Glue does"),
    }
}

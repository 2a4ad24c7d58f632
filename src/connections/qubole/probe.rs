//! The one look at Qubole: one question about each cluster that is named, or for a list where none is.
//!
//! Both questions are `GET`. The state of a cluster is asked for, since what the API tells about a cluster, an account or a user
//! otherwise holds keys. Of an answer its kind and two of its members are read; no text of it leaves these files.

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderValue, Request,
    header::{ACCEPT, CONTENT_TYPE},
};

use crate::{
    connections::{Probe, text},
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, tls::Tls},
    secret::SecretValue,
};

mod answer;
mod member;

use answer::{Question, Refused};

/// Where the API's clusters are. Version 2 is the one that every environment is documented to have.
pub(super) const PATH: &str = "/api/v2/clusters";

/// How a token is shown.
const TOKEN: &str = "x-auth-token";

const JSON: &str = "application/json";

/// All that one look needs.
pub(super) struct Look {
    /// URL of the clusters in the API.
    pub url: String,
    /// Whether that is at a host of Qubole's that was not named.
    pub own_host: bool,
    pub tls: Tls,
    pub token: SecretValue,
    /// The clusters that must be there.
    pub labels: Vec<String>,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        self.look(net).await.map_err(|failure| match failure.class() {
            FailureClass::NameResolutionFailed if self.own_host => failure.advice(RETIRED),
            _ => failure,
        })
    }
}

impl Look {
    async fn look(&self, net: &Network) -> Result<Proof, Failure> {
        if self.labels.is_empty() {
            let list = format!("{}?per_page=1", self.url);
            self.ask(net, Question::List, list).await?.map_err(|refused| explain(refused, &[]))?;
            return Ok(Proof::default());
        }
        let mut refusals: Vec<(&str, Refused)> = Vec::new();
        for label in &self.labels {
            let state = format!("{}/{}/state", self.url, text::encode(label));
            if let Err(refused) = self.ask(net, Question::State, state).await? {
                if !refused.is_about_the_target() {
                    return Err(explain(refused, &[label]));
                }
                refusals.push((label, refused));
            }
        }
        let Some((_, first)) = refusals.first().copied() else {
            return Ok(Proof::default().but(["that a cluster runs, or can be started"]));
        };
        let class = first.class();
        let alike = refusals.iter().filter(|(_, refused)| refused.class() == class);
        Err(explain(first, &alike.map(|(label, _)| *label).collect::<Vec<_>>()))
    }

    /// Asks one question. Who is told anything about what was asked for has been let in.
    async fn ask(&self, net: &Network, question: Question, url: String) -> Result<Result<(), Refused>, Failure> {
        let internal = || Failure::new(FailureClass::Internal);
        let mut token = HeaderValue::from_bytes(self.token.expose()).map_err(|_| internal())?;
        token.set_sensitive(true);
        // No body is sent; the documented requests have a type of content all the same.
        let request = Request::get(url).header(TOKEN, token).header(ACCEPT, JSON).header(CONTENT_TYPE, JSON);
        let answer = net.exchange(&self.tls, request.body(Bytes::new()).map_err(|_| internal())?).await?;
        let read = answer::read(question, answer.status, &answer.beginning());
        if read.err().is_none_or(Refused::is_about_the_target) {
            net.step(Stage::Access);
        }
        Ok(read)
    }
}

/// What a refusal means, which came to the questions about these clusters, or for the list where there is none.
fn explain(refused: Refused, labels: &[&str]) -> Failure {
    let failure = refused.failure();
    match (refused.class(), labels) {
        (FailureClass::TargetNotFound | FailureClass::PermissionDenied, _) => {
            let failure = match labels {
                [] => failure.about(Setting::from_spec("the list of clusters")),
                [label] => failure.about(Setting::from_spec(format!("cluster {label}"))),
                _ => {
                    let failure = failure.about(Setting::from_spec("each of these clusters"));
                    labels.iter().fold(failure, |failure, label| failure.setting(Setting::from_spec(label)))
                }
            };
            failure.advice(match (refused.class(), labels) {
                (FailureClass::TargetNotFound, _) => NO_CLUSTER,
                (_, []) => NO_LIST,
                _ => NO_READ,
            })
        }
        (FailureClass::WrongCredentials, _) => failure.advice(NOT_TAKEN),
        (FailureClass::ProtocolMismatch, _) if refused.leads_elsewhere() => failure.advice(ELSEWHERE),
        (FailureClass::ProtocolMismatch, _) => failure.advice(STRANGER),
        _ => failure,
    }
}

const NOT_TAKEN: &str = "check that the token is whole, was not reset, and is of an account of this environment: spec.qubole.endpoint \
    says which that is";
const NO_CLUSTER: &str = "create it or correct its label in spec.qubole; an environment that does not know version 2 of the API answers \
    the same";
const NO_READ: &str = "give a group of the token's user a role that may read clusters, or this cluster";
const NO_LIST: &str =
    "give a group of the token's user a role that may read clusters, or name a cluster in spec.qubole";
const ELSEWHERE: &str = "it redirects, which is not followed: set spec.qubole.endpoint to the account's own environment, such as \
    https://us.qubole.com";
const STRANGER: &str = "check spec.qubole.endpoint: something else answers there, or the service was retired, or it does not know version 2 \
    of the API";
const RETIRED: &str = "set spec.qubole.endpoint to the account's own environment; where that does not resolve either, the service may have \
    been retired";

//! The one look at Spotinst: whether the token may see the account.
//!
//! It is one `GET`. Of the answer the ids of accounts are read; no text of it leaves these files.

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};

use crate::{
    connections::{Probe, family::oauth},
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, tls::Tls},
    secret::SecretValue,
};

mod answer;
mod refused;

/// What is sent, and what is wanted. No body is sent; the vendor's SDK says its type all the same.
const JSON: &str = "application/json";

const NOT_LOOKED_UP: &str = "that the VPC and its subnet exist, since they are not looked up";

/// All that one look needs.
pub(super) struct Look {
    /// URL of the account in the API.
    pub url: String,
    pub tls: Tls,
    pub token: SecretValue,
    pub account: String,
    /// Whether the spec names a VPC or a subnet, which nobody looks at.
    pub names_a_place: bool,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let request = Request::get(&self.url)
            .header(AUTHORIZATION, oauth::bearer(&self.token)?)
            .header(ACCEPT, JSON)
            .header(CONTENT_TYPE, JSON)
            .body(Bytes::new())
            .map_err(|_| Failure::new(FailureClass::Internal))?;
        let answer = net.exchange(&self.tls, request).await?;
        // A refusal is told by its status, however long it is.
        let body = if answer.status.is_success() { answer.whole()? } else { answer.beginning() };
        let read = answer::read(&self.account, answer.status, &body);
        read.map_err(|refused| {
            let failure = refused.failure();
            match failure.class() {
                FailureClass::TargetNotFoundOrNotPermitted => {
                    failure.about(Setting::from_spec(format!("account {}", self.account))).advice(NOT_SEEN)
                }
                FailureClass::WrongCredentials => failure.advice(NOT_TAKEN),
                FailureClass::ProtocolMismatch => failure.advice(STRANGER),
                _ => failure,
            }
        })?;
        net.step(Stage::Access);
        Ok(Proof::default().but(self.names_a_place.then_some(NOT_LOOKED_UP)))
    }
}

const NOT_TAKEN: &str =
    "check that the token is whole, has not expired and was not deleted; with a user all tokens of it are deleted";
const NOT_SEEN: &str = "correct spec.spotinstVPC.accountID, or let the token's user view this account; the account must be of the token's \
    organization";
const STRANGER: &str = "check spec.spotinstVPC.endpoint: something else answers there";

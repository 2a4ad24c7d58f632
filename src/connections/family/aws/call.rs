//! One signed call to a service of AWS, over the network's own HTTP client: no SDK, no retry, no identity but the one given.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningInstructions, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use http::{
    Request,
    header::{CONTENT_TYPE, DATE},
};
use serde::Serialize;

use super::{Keys, Region, codes::Refused, json, xml};
use crate::{
    failure::{Failure, FailureClass},
    net::{Network, http::Answer, tls::Tls},
    secret::SecretValue,
};

/// Most that two clocks may differ for a signature to hold, in seconds ("Elements of an AWS API request signature" of the IAM User
/// Guide).
const TOLERANCE: u64 = 300;

/// A service, where it is.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// The name that signatures use, such as `sts`.
    pub name: &'static str,
    /// The region that signatures name.
    pub region: &'a Region,
    /// The URL that requests go to.
    pub url: &'a str,
}

/// What a service made of a request that reached it: a document, or what it said instead.
pub type Reply = Result<Bytes, Refused>;

/// A JSON protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are those of the protocols")]
pub enum Json {
    V1_0,
    V1_1,
}

impl Service<'_> {
    /// Sends an action of the Query protocol; the document is XML.
    ///
    /// # Errors
    /// What did not pass on the way.
    pub async fn query(
        &self,
        net: &Network,
        tls: &Tls,
        keys: &Keys,
        parameters: &[(&str, &str)],
    ) -> Result<Reply, Failure> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let request = Request::post(self.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .body(Bytes::from(form));
        let answer = self.send(net, tls, keys, request).await?;
        reply(&answer, |body| (xml::text(body, &["ErrorResponse", "Error", "Code"]), None))
    }

    /// Sends an operation of a JSON protocol, by its full name such as `RedshiftServerless.GetCredentials`; the document is JSON.
    ///
    /// # Errors
    /// What did not pass on the way.
    pub async fn json(
        &self,
        net: &Network,
        tls: &Tls,
        keys: &Keys,
        protocol: Json,
        operation: &str,
        input: &(impl Serialize + Sync),
    ) -> Result<Reply, Failure> {
        let kind = match protocol {
            Json::V1_0 => "application/x-amz-json-1.0",
            Json::V1_1 => "application/x-amz-json-1.1",
        };
        let input = serde_json::to_vec(input).map_err(|_| Failure::new(FailureClass::Internal))?;
        let request = Request::post(self.url)
            .header(CONTENT_TYPE, kind)
            .header("x-amz-target", operation)
            .body(Bytes::from(input));
        let answer = self.send(net, tls, keys, request).await?;
        let header = answer.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        reply(&answer, |body| (json::code(header, body), json::cause(body)))
    }

    async fn send(
        &self,
        net: &Network,
        tls: &Tls,
        keys: &Keys,
        request: http::Result<Request<Bytes>>,
    ) -> Result<Answer, Failure> {
        let request = request.map_err(|_| Failure::new(FailureClass::Internal))?;
        net.exchange(tls, self.sign(keys, request)?).await
    }

    /// The URL of a `GET` that carries its signature, and so the right to ask for it until it ends. Nothing is sent.
    ///
    /// # Errors
    /// `Internal` where the service's URL is none.
    pub fn presign(
        &self,
        keys: &Keys,
        parameters: &[(&str, &str)],
        lifetime: Duration,
    ) -> Result<SecretValue, Failure> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let request = Request::get(format!("{}?{query}", self.url)).body(Bytes::new());
        let mut request = request.map_err(|_| Failure::new(FailureClass::Internal))?;
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(lifetime);
        self.signature(keys, settings, &request)?.apply_to_request_http1x(&mut request);
        Ok(SecretValue::new(request.uri().to_string().into_bytes()))
    }

    /// Adds the headers of a signature.
    fn sign(&self, keys: &Keys, mut request: Request<Bytes>) -> Result<Request<Bytes>, Failure> {
        self.signature(keys, SigningSettings::default(), &request)?.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    /// A signature of a request (Signature Version 4).
    #[expect(clippy::disallowed_methods, reason = "a signature says when it was made, and the server compares clocks")]
    fn signature(
        &self,
        keys: &Keys,
        settings: SigningSettings,
        request: &Request<Bytes>,
    ) -> Result<SigningInstructions, Failure> {
        let internal = || Failure::new(FailureClass::Internal);
        let identity = identity(keys).into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region.0)
            .name(self.name)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|_| internal())?
            .into();
        let uri = request.uri().to_string();
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
        let signable =
            SignableRequest::new(request.method().as_str(), uri.as_str(), headers, SignableBody::Bytes(request.body()));
        let (instructions, _) =
            sign(signable.map_err(|_| internal())?, &parameters).map_err(|_| internal())?.into_parts();
        Ok(instructions)
    }
}

/// `said` finds the code of the service, and that of another one which it repeats.
fn reply(answer: &Answer, said: impl FnOnce(&[u8]) -> (Option<String>, Option<String>)) -> Result<Reply, Failure> {
    let body = answer.whole()?;
    if answer.status.is_success() {
        return Ok(Ok(body));
    }
    let (code, cause) = said(&body);
    let refused = Refused { status: answer.status, code, region: None, cause };
    if refused.doubts_the_signature() && clocks_differ(answer) {
        return Err(refused.failure_as(FailureClass::ClockSkewed));
    }
    Ok(Err(refused))
}

/// Whether the service's clock, as its answer is dated, differs from ours by more than a signature allows.
#[expect(clippy::disallowed_methods, reason = "the two clocks are compared")]
fn clocks_differ(answer: &Answer) -> bool {
    let date = answer.headers.get(DATE).and_then(|date| DateTime::from_str(date.to_str().ok()?, Format::HttpDate).ok());
    date.is_some_and(|date| DateTime::from(SystemTime::now()).secs().abs_diff(date.secs()) > TOLERANCE)
}

/// The keys in the form in which signers of AWS take them.
pub fn identity(keys: &Keys) -> Credentials {
    let text = |value: &SecretValue| value.text().unwrap_or_default().to_owned();
    Credentials::new(text(&keys.id), text(&keys.secret), keys.token.as_ref().map(text), None, "Secret")
}

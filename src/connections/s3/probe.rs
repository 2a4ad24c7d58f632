//! The one look at a bucket: list one key and, where it is asked for, read one byte and begin to write without writing.
//!
//! The SDK signs requests and reads answers; every byte of it goes through [`Door`], which is an HTTP client over the network
//! of the probe. The SDK is given all that it knows: it retries nothing, caches nothing, and looks for no identity.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_runtime::user_agent::{ApiMetadata, AwsUserAgent};
use aws_sdk_s3::{
    Client, Config,
    config::{
        BehaviorVersion, ConfigBag, IdentityCache, Intercept, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, RuntimeComponents, StalledStreamProtectionConfig,
        interceptors::BeforeSerializationInterceptorContextRef, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    operation::list_objects_v2::ListObjectsV2Output,
    primitives::SdkBody,
    types::{CompletedMultipartUpload, CompletedPart, RequestPayer},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
};
use aws_types::os_shim_internal::Env;
use bytes::Bytes;
use http::header::RANGE;

use crate::{
    connections::{
        Permission, Probe,
        family::aws::{self, Keys, call, codes::Refused, sts},
    },
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, tls::Tls},
};

/// The last part of a key that no object has: it is read where there is no other, and written to where nothing is written.
const NO_SUCH_KEY: &str = "connection-operator/no-such-object";

/// An upload that was never begun.
const NO_SUCH_UPLOAD: &str = "connection-operator-no-such-upload";

/// All that one look needs.
pub(super) struct Look {
    pub bucket: String,
    pub prefix: String,
    pub region: aws::Region,
    /// The system, where it is not AWS.
    pub url: Option<String>,
    pub path_style: bool,
    pub requester_pays: bool,
    /// Nobody, where the bucket is used without credentials.
    pub keys: Option<Keys>,
    pub exchange: Option<sts::Exchange>,
    pub tls: Tls,
    pub permissions: Vec<Permission>,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        self.look(net).await.map_err(|failure| match net.endpoint() {
            Some(endpoint) => failure.about_at_least(&endpoint.shown()),
            None => failure,
        })
    }
}

impl Look {
    async fn look(&self, net: &Network) -> Result<Proof, Failure> {
        let door = Door { net: net.clone(), tls: self.tls.clone(), stopped: Arc::default() };
        let client = match (&self.exchange, &self.keys) {
            (Some(exchange), Some(own)) => self.client(&door, Some(&exchange.keys(net, own).await?)),
            (_, keys) => self.client(&door, keys.as_ref()),
        };
        let listed = self.list(&client, &door).await?;
        net.step(Stage::Access);
        let mut unproven = None;
        let mut denied = Vec::new();
        for permission in &self.permissions {
            let right = match permission {
                // The bucket was listed to see whether it is there.
                Permission::List => Right::Granted,
                Permission::Read => self.may_read(&client, &door, &listed).await?,
                Permission::Write => self.may_write(&client, &door).await?,
            };
            match right {
                Right::Granted => {}
                Right::Denied => denied.push(*permission),
                Right::Unclear(refused) => unproven = Some((*permission, refused)),
            }
        }
        if !denied.is_empty() {
            let failure = Failure::new(FailureClass::PermissionDenied).about(self.shown());
            return Err(denied.iter().fold(failure, |failure, permission| failure.word(permission.as_str())));
        }
        if let Some((permission, refused)) = unproven {
            return Err(refused.failure_as(FailureClass::NotProvable).about(self.shown()).word(permission.as_str()));
        }
        Ok(Proof { unproven: &[], anonymous: self.keys.is_none() })
    }

    /// A client that goes through `door` and nowhere else.
    fn client(&self, door: &Door, keys: Option<&Keys>) -> Client {
        let connector = SharedHttpConnector::new(door.clone());
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.0.clone()))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .identity_cache(IdentityCache::no_cache())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .disable_multi_region_access_points(true)
            // It would ask for a session first, which is another right.
            .disable_s3_express_session_auth(true)
            .force_path_style(self.path_style)
            .interceptor(SameEverywhere);
        if let Some(url) = &self.url {
            config = config.endpoint_url(url);
        }
        config = match keys {
            Some(keys) => config.credentials_provider(call::identity(keys)),
            None => config.allow_no_auth(),
        };
        Client::from_conf(config.build())
    }

    /// Whether the bucket is there and may be listed. It is the first signed request, and so the login.
    async fn list(&self, client: &Client, door: &Door) -> Result<ListObjectsV2Output, Failure> {
        let request = client
            .list_objects_v2()
            .bucket(&self.bucket)
            .set_prefix(Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty()))
            .max_keys(1)
            .set_request_payer(self.payer());
        match request.send().await {
            // Every system says whose list it is; the SDK's reader takes any document for a list.
            Ok(listed) if listed.name().is_some() => Ok(listed),
            Ok(_) => Err(Failure::new(FailureClass::ProtocolMismatch)),
            Err(error) => Err(self.explain(&door.refused(&error)?)),
        }
    }

    /// Whether an object can be read: one byte of the one that was listed, or one that does not exist, about which only those
    /// are told who may list and read.
    async fn may_read(&self, client: &Client, door: &Door, listed: &ListObjectsV2Output) -> Result<Right, Failure> {
        let first = listed.contents().first().and_then(|object| object.key()).map(str::to_owned);
        let request = client
            .get_object()
            .bucket(&self.bucket)
            .key(first.unwrap_or_else(|| self.absent_key()))
            .range("bytes=0-0")
            .set_request_payer(self.payer());
        match request.send().await {
            Ok(_) => Ok(Right::Granted),
            Err(error) => {
                let refused = door.refused(&error)?;
                // It was empty; archived; or deleted since.
                let granted = ["InvalidRange", "InvalidObjectState", "NoSuchKey"].iter().any(|code| refused.is(code));
                if granted { Ok(Right::Granted) } else { self.right(refused) }
            }
        }
    }

    /// Whether an object could be written: an upload is completed that was never begun. Who may not write is told so first.
    async fn may_write(&self, client: &Client, door: &Door) -> Result<Right, Failure> {
        let part = CompletedPart::builder().part_number(1).e_tag("\"00000000000000000000000000000000\"").build();
        let request = client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(self.absent_key())
            .upload_id(NO_SUCH_UPLOAD)
            .multipart_upload(CompletedMultipartUpload::builder().parts(part).build())
            .set_request_payer(self.payer());
        match request.send().await {
            // There is no such upload, so whoever says this has not looked.
            Ok(_) => Err(Failure::new(FailureClass::ProtocolMismatch)),
            Err(error) => {
                let refused = door.refused(&error)?;
                if refused.is("NoSuchUpload") { Ok(Right::Granted) } else { self.right(refused) }
            }
        }
    }

    /// What a request about a right was refused with: that right, or something else.
    fn right(&self, refused: Refused) -> Result<Right, Failure> {
        match refused.class() {
            FailureClass::PermissionDenied => Ok(Right::Denied),
            FailureClass::ProtocolMismatch => Ok(Right::Unclear(refused)),
            _ => Err(self.explain(&refused)),
        }
    }

    /// What the bucket's answer means.
    fn explain(&self, refused: &Refused) -> Failure {
        let class = refused.class();
        match class {
            // AWS tells everybody whether a bucket exists; others may say this of one that does not.
            FailureClass::PermissionDenied if self.url.is_some() => refused
                .failure_as(FailureClass::TargetNotFoundOrNotPermitted)
                .about(self.shown())
                .advice("create the bucket, correct its name, or let these credentials list it"),
            FailureClass::PermissionDenied if self.permissions.contains(&Permission::List) => {
                refused.failure().about(self.shown()).word(Permission::List.as_str())
            }
            FailureClass::PermissionDenied => refused.failure().about(self.shown()).word("s3:ListBucket"),
            FailureClass::TargetNotFound => refused.failure().about(self.shown()),
            FailureClass::WrongRegion => {
                let failure = refused.failure().about(self.shown());
                match refused.region.as_deref().and_then(aws::Region::named) {
                    Some(region) => failure.word("its region is").code(region),
                    None => failure,
                }
            }
            _ => refused.failure(),
        }
    }

    fn absent_key(&self) -> String {
        format!("{}{NO_SUCH_KEY}", self.prefix)
    }

    fn payer(&self) -> Option<RequestPayer> {
        self.requester_pays.then_some(RequestPayer::Requester)
    }

    fn shown(&self) -> Setting {
        Setting::from_spec(format!("bucket {}", self.bucket))
    }
}

/// What a request showed about a right.
enum Right {
    Granted,
    Denied,
    /// The system said something that is neither.
    Unclear(Refused),
}

/// The SDK's HTTP client: the network of the probe. What stopped a request is kept, since the SDK would make a text of it.
#[derive(Clone, Debug)]
struct Door {
    net: Network,
    tls: Tls,
    stopped: Arc<Mutex<Option<Failure>>>,
}

impl Door {
    async fn pass(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let answer = match outgoing(request) {
            Some(request) => {
                let of_an_object = request.headers().contains_key(RANGE);
                self.net.exchange(&self.tls, request).await.and_then(|answer| {
                    // A system may send the whole object where one byte was asked for.
                    let body = if of_an_object { answer.beginning() } else { answer.whole()? };
                    Ok((answer.status, answer.headers, body))
                })
            }
            None => Err(Failure::new(FailureClass::Internal)),
        };
        let (status, headers, body) = answer.map_err(|failure| {
            *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            ConnectorError::other("stopped below the SDK".into(), None)
        })?;
        let mut response = http::Response::new(SdkBody::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }

    /// What the service said, or what stopped the request on its way.
    fn refused<E: ProvideErrorMetadata>(&self, error: &SdkError<E, HttpResponse>) -> Result<Refused, Failure> {
        if let Some(failure) = self.stopped.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure);
        }
        let Some(response) = error.raw_response() else { return Err(Failure::new(FailureClass::Internal)) };
        let status = http::StatusCode::from_u16(response.status().as_u16())
            .map_err(|_| Failure::new(FailureClass::ProtocolMismatch))?;
        if status.is_success() {
            return Err(Failure::new(FailureClass::ProtocolMismatch));
        }
        let body = response.body().bytes().unwrap_or_default();
        let region = response.headers().get("x-amz-bucket-region").map(str::to_owned);
        Ok(Refused { status, code: error.code().map(str::to_owned), region: region.or_else(|| aws::region_of(body)) })
    }
}

/// The SDK's request as it goes out.
fn outgoing(request: HttpRequest) -> Option<http::Request<Bytes>> {
    let (mut head, body) = request.try_into_http1x().ok()?.into_parts();
    // The SDK takes it from the environment.
    head.headers.remove("x-amzn-trace-id");
    let body = body.bytes().map(Bytes::copy_from_slice)?;
    Some(http::Request::from_parts(head, body))
}

impl HttpConnector for Door {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let door = self.clone();
        HttpConnectorFuture::new(async move { door.pass(request).await })
    }
}

/// Keeps the SDK from describing the operator's environment in a header.
#[derive(Debug)]
struct SameEverywhere;

impl Intercept for SameEverywhere {
    fn name(&self) -> &'static str {
        "SameEverywhere"
    }

    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let api = ApiMetadata::new("s3", env!("CARGO_PKG_VERSION"));
        config.interceptor_state().store_put(AwsUserAgent::new_from_environment(Env::from_slice(&[]), api));
        Ok(())
    }
}

//! The SDK's HTTP client over the network of the probe, and what is left out of its requests.

use std::sync::{Arc, Mutex, PoisonError};

use aws_runtime::user_agent::{ApiMetadata, AwsUserAgent};
use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeSerializationInterceptorContextRef},
    error::{ProvideErrorMetadata, SdkError},
    primitives::SdkBody,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpConnector, HttpConnectorFuture},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
};
use aws_types::os_shim_internal::Env;
use bytes::Bytes;
use http::header::RANGE;

use crate::{
    connections::family::aws::{self, codes::Refused},
    failure::{Failure, FailureClass},
    net::{Network, tls::Tls},
};

/// The SDK's HTTP client: the network of the probe. What stopped a request is kept, since the SDK would make a text of it.
#[derive(Clone, Debug)]
pub(super) struct Door {
    net: Network,
    tls: Tls,
    stopped: Arc<Mutex<Option<Failure>>>,
}

impl Door {
    /// A door to `net`, for one look.
    pub(super) fn of(net: &Network, tls: &Tls) -> Self {
        Self { net: net.clone(), tls: tls.clone(), stopped: Arc::default() }
    }

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
    pub(super) fn refused<E: ProvideErrorMetadata>(
        &self,
        error: &SdkError<E, HttpResponse>,
    ) -> Result<Refused, Failure> {
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
        let region = region.or_else(|| aws::region_of(body));
        // Of a missing document the SDK makes up a code.
        let code = error.code().filter(|_| !body.is_empty()).map(str::to_owned);
        Ok(Refused { status, code, region, cause: None })
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
pub(super) struct SameEverywhere;

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

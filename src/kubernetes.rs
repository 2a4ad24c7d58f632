//! Clients of the Kubernetes API whose calls end: each has a deadline, is repeated at most twice and only where that is
//! harmless, is counted, and, for a write, begins and lasts only while this process may write.
//!
//! kube's own retry is off: it tries fifteen times and obeys any `Retry-After`, so that one call may last for days.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::{BoxFuture, poll_fn};
use http::{Method, Request, Response, StatusCode, Uri, header};
use hyper::body::{Bytes, Frame, SizeHint};
use hyper_util::client::legacy;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, DynBody},
    config::InferConfigError,
};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tower::{BoxError, Layer, Service};

use crate::{
    leadership::Fence,
    observability::{metrics::Metrics, requests::is_watch},
};

/// How long calls may take and how often they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// From the first byte of the first try to the last byte of the answer.
    call: Duration,
    /// Until a watch is answered; from then on it lives as long as its own `timeoutSeconds` says.
    watch_start: Duration,
    /// Tries of one call, the first included.
    tries: u32,
    /// Pause before the second try; doubled before each further one.
    pause: Duration,
    /// Longest pause that a server can ask for.
    longest_pause: Duration,
}

/// 10 s: the API server answers in milliseconds, and a list from etcd in a second or two; what takes longer fails and is
/// decided anew. Two repeats bridge the restart of one of several API servers; more would be the business of whoever calls.
const LIMITS: Limits = Limits {
    call: Duration::from_secs(10),
    watch_start: Duration::from_secs(30),
    tries: 3,
    pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(5),
};

/// Time for TCP and TLS to the API server; within the deadline of a call, so that a second address can be tried.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Why a call was given up on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenUp {
    /// The API server did not answer in time; a write may have been carried out.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// This process may not write (any more); a write that was under way may have been carried out.
    #[error("this process does not lead")]
    NotLeading,
}

impl GivenUp {
    /// Why a call was given up on this side; `None`: it failed otherwise.
    pub fn cause_of(error: &kube::Error) -> Option<Self> {
        let first: &(dyn std::error::Error + 'static) = error;
        std::iter::successors(Some(first), |error| error.source()).find_map(|error| error.downcast_ref().copied())
    }
}

/// How to reach the API server: the kubeconfig that `KUBECONFIG` names, else the one in the home directory, else the pod's
/// service account.
///
/// # Errors
/// None of them is there and well-formed.
pub async fn configuration() -> Result<Config, InferConfigError> {
    Config::infer().await
}

/// A client with connections of its own: kube talks HTTP/1.1, so that calls which must not wait for others (the Lease's)
/// get another client. Writes ask `fence`; the Lease's client has none.
///
/// # Errors
/// TLS or credentials of `config` cannot be used.
pub fn client(config: Config, metrics: Arc<Metrics>, fence: Fence) -> kube::Result<Client> {
    client_within(LIMITS, config, metrics, fence)
}

fn client_within(limits: Limits, mut config: Config, metrics: Arc<Metrics>, fence: Fence) -> kube::Result<Client> {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_DEADLINE);
    Ok(ClientBuilder::try_from(config)?.with_layer(&Bounds { limits, metrics, fence }).build())
}

/// What a call is, as far as bounds go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// A get or a list.
    Read,
    /// A watch. It is never repeated here: its watcher has a backoff of its own.
    Watch,
    /// Anything that changes something.
    Write,
}

impl Call {
    fn of(method: &Method, uri: &Uri) -> Self {
        match *method {
            Method::GET if is_watch(uri) => Self::Watch,
            Method::GET | Method::HEAD => Self::Read,
            _ => Self::Write,
        }
    }
}

impl Limits {
    const fn deadline_of(&self, call: Call) -> Duration {
        match call {
            Call::Read | Call::Write => self.call,
            Call::Watch => self.watch_start,
        }
    }
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// An answer, and the pause it asks for.
    Answered(StatusCode, Option<Duration>),
    /// There was no connection, so nothing was sent.
    NotSent,
    /// The connection broke; what was sent may have been carried out.
    Broken,
}

/// The pause after which a call is tried again; `None`: what came is what the caller gets.
///
/// 429 says of any call that it was not carried out. After 500, 502, 503 and 504 a write may have been: every write of the
/// operator is made so that a repeat does no harm (it tests uid and what it replaces, and answers 422 the second time), but
/// whoever sent it decides anew after a fresh look, which is better than a blind repeat. Reads are repeated after any.
fn pause(limits: &Limits, call: Call, tried: u32, outcome: Outcome) -> Option<Duration> {
    let (harmless, asked) = match (call, outcome) {
        (Call::Watch, _) | (Call::Write, Outcome::Broken) => (false, None),
        (Call::Read | Call::Write, Outcome::NotSent) | (Call::Read, Outcome::Broken) => (true, None),
        (Call::Read, Outcome::Answered(status, asked)) => {
            (matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504), asked)
        }
        (Call::Write, Outcome::Answered(status, asked)) => (status == StatusCode::TOO_MANY_REQUESTS, asked),
    };
    let own = limits.pause * 2_u32.pow(tried.saturating_sub(1));
    (harmless && tried < limits.tries).then(|| asked.map_or(own, |asked| asked.max(own)).min(limits.longest_pause))
}

/// The pause a server asks for in seconds. Its other form, a date, is not understood: it would need their clock.
fn asked_pause<B>(response: &Response<B>) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The layer around kube's own stack.
#[derive(Clone, Debug)]
struct Bounds {
    limits: Limits,
    metrics: Arc<Metrics>,
    fence: Fence,
}

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner: Arc::new(Mutex::new(inner)), bounds: self.clone() }
    }
}

/// A service whose calls end.
struct Bounded<S> {
    /// kube's stack cannot be cloned, and a repeat needs it. It is locked while a call starts, never while one lasts.
    inner: Arc<Mutex<S>>,
    bounds: Bounds,
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError> + Send + 'static,
    S::Future: Send,
{
    type Response = Response<BoundedBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, bounds) = (Arc::clone(&self.inner), self.bounds.clone());
        Box::pin(async move {
            let call = Call::of(request.method(), request.uri());
            let Bounds { limits, fence, .. } = &bounds;
            let deadline = Instant::now() + limits.deadline_of(call);
            let answered = timeout_at(deadline, bounds.tries(&inner, call, request, deadline));
            let response = match call {
                Call::Read | Call::Watch => answered.await,
                Call::Write => tokio::select! {
                    // First, so that nothing is sent where it is closed already. Later the connection is closed with it, and
                    // the API server stops at its next step.
                    biased;
                    () = fence.closed() => return Err(GivenUp::NotLeading.into()),
                    answered = answered => answered,
                },
            };
            let response = response.map_err(|_| GivenUp::TimedOut)??;
            let deadline = match call {
                Call::Read | Call::Write => Some(Box::pin(sleep_until(deadline))),
                Call::Watch => None,
            };
            Ok(response.map(|body| BoundedBody { body, deadline }))
        })
    }
}

impl Bounds {
    async fn tries<S>(
        &self,
        inner: &Mutex<S>,
        call: Call,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Box<DynBody>>, BoxError>
    where
        S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError>,
    {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let mut next = Some(request);
        for tried in 1.. {
            let Some(request) = next.take() else { break };
            next = repeated(&request);
            let mut sent = Sent { metrics: &self.metrics, method: &method, uri: &uri, status: None };
            let result = start(inner, request).await?.await;
            sent.status = result.as_ref().ok().map(Response::status);
            drop(sent);
            let outcome = match &result {
                Ok(response) => Outcome::Answered(response.status(), asked_pause(response)),
                Err(error) if is_not_sent(error.as_ref()) => Outcome::NotSent,
                Err(_) => Outcome::Broken,
            };
            // What came is better than a deadline that passes while waiting.
            match pause(&self.limits, call, tried, outcome).filter(|pause| Instant::now() + *pause < deadline) {
                Some(pause) if next.is_some() => {
                    drop(result);
                    sleep(pause).await;
                }
                Some(_) | None => return result,
            }
        }
        Err(GivenUp::TimedOut.into())
    }
}

/// One request on its way, counted when it ends in whatever way: answered, broken, or given up.
struct Sent<'a> {
    metrics: &'a Metrics,
    method: &'a Method,
    uri: &'a Uri,
    status: Option<StatusCode>,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.metrics.api_request(self.method, self.uri, self.status);
    }
}

/// Starts a call once the service takes one.
async fn start<S: Service<Request<Body>>>(inner: &Mutex<S>, request: Request<Body>) -> Result<S::Future, S::Error> {
    let mut request = Some(request);
    poll_fn(|context| {
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        ready!(inner.poll_ready(context))?;
        let request = request.take().expect("a future is not polled after it is ready");
        Poll::Ready(Ok(inner.call(request)))
    })
    .await
}

/// The same request once more; `None` where its body is a stream.
fn repeated(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Whether a call failed before a connection stood.
fn is_not_sent(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect))
}

/// An answer's body that ends by the deadline of its call.
struct BoundedBody {
    body: Box<DynBody>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for BoundedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut *self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(context).map(|()| Some(Err(GivenUp::TimedOut.into()))),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;

//! The one look at a container: list one blob and, where it is asked for, read one that does not exist, and write to it on a
//! condition that cannot hold.
//!
//! Requests are made here and signed in `probe/sharedkey.rs`; they go through the network's own HTTP client. A SAS stands in the URL
//! of each, and no URL is ever shown.

use async_trait::async_trait;
use aws_smithy_xml::decode::Document;
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request,
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, IF_MATCH, RANGE},
};
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use crate::{
    connections::{Permission, Probe, text},
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, http::Answer, tls::Tls},
    secret::SecretValue,
};

mod codes;
pub(super) mod login;
mod sas;
mod sharedkey;

use codes::Refused;
use login::Login;

/// The version of the REST interface that is spoken: every cloud and the emulator have it.
const VERSION: &str = "2023-11-03";

/// The header in which it stands.
const VERSION_HEADER: &str = "x-ms-version";

/// The header that every answer of the service has, whatever it says.
const REQUEST_ID: &str = "x-ms-request-id";

/// What tokens are for, in every cloud: all of Azure Storage.
const SCOPE: &str = "https://storage.azure.com/.default";

/// The container whose blobs have no folders.
pub(super) const ROOT: &str = "$root";

/// The last part of a name that no blob has: it is read, and written to where nothing is written.
const NO_SUCH_BLOB: &str = "connection-operator/no-such-blob";

/// The same in the container `$root`, where no name has a slash ("Working with the root container").
const NO_SUCH_BLOB_IN_ROOT: &str = "connection-operator-no-such-blob";

/// A version that no blob ever has: those of the service are the time of its last change.
const NO_SUCH_VERSION: &str = "\"0x0\"";

/// What is not known of a service principal: its directory's roles are judged for a blob that is not there, and the ACLs that one has
/// which is there are not.
const BY_ACL: &str = "what ACLs permit, where the account has a hierarchical namespace";

const BY_ROLE: &str = "grant it by a role; where ACLs of a hierarchical namespace grant it on the blobs that are there, leave the permission \
    out: that is not seen";

/// All that one look needs.
pub(super) struct Look {
    pub account: String,
    pub container: String,
    pub prefix: String,
    /// The account's blob service, without a slash at its end.
    pub url: String,
    /// Whether that is the name that the vendor gives every account.
    pub is_vendors: bool,
    pub login: Login,
    pub tls: Tls,
    pub permissions: Vec<Permission>,
}

/// `text` as a part of a URL's path, with its own slashes.
pub(super) fn path(text: &str) -> String {
    text.split('/').map(text::encode).collect::<Vec<_>>().join("/")
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        self.may_log_in(net).await?;
        let token = match &self.login {
            Login::Principal(principal) => Some(principal.token(net, SCOPE).await?),
            Login::Key(_) | Login::Sas(_) => None,
        };
        self.list(net, token.as_ref()).await?;
        net.step(Stage::Access);
        let mut unproven = None;
        let mut denied = Vec::new();
        for permission in &self.permissions {
            let right = match permission {
                // The container was listed to see whether it is there.
                Permission::List => Right::Granted,
                Permission::Read | Permission::Write if self.login.denies(*permission) => Right::Denied,
                Permission::Read => self.may_read(net, token.as_ref()).await?,
                Permission::Write => self.may_write(net, token.as_ref()).await?,
            };
            match right {
                Right::Granted => {}
                Right::Denied => denied.push(*permission),
                Right::Unclear(refused) => unproven = Some((*permission, refused)),
            }
        }
        if !denied.is_empty() {
            let failure = Failure::new(FailureClass::PermissionDenied).about(self.shown()).words(&denied);
            return Err(match &self.login {
                Login::Principal(_) => failure.advice(BY_ROLE),
                Login::Key(_) | Login::Sas(_) => failure,
            });
        }
        if let Some((permission, refused)) = unproven {
            return Err(refused.failure_as(FailureClass::NotProvable).about(self.shown()).word(permission.as_str()));
        }
        let by_acl =
            matches!(self.login, Login::Principal(_)) && self.permissions.iter().any(|one| *one != Permission::List);
        Ok(Proof::default().but(by_acl.then_some(BY_ACL)))
    }
}

impl Look {
    /// Whether the login may be sent at all. Where it may not, the service is asked without it, so that it is known to be there.
    async fn may_log_in(&self, net: &Network) -> Result<(), Failure> {
        if self.login.is_readable() && !self.tls.peer_is_verified() {
            self.reach(net).await?;
            return Err(Failure::new(FailureClass::UnverifiedPeer).advice(
                "set spec.tls.mode to VerifyFull, or to VerifyCA with a CA of your own in spec.tls.ca: a SAS and a token are sent in \
                 readable form; an account key is not",
            ));
        }
        let started = now();
        match &self.login {
            Login::Sas(sas) if sas.has_ended(started) => {
                let answer = self.reach(net).await?;
                if sharedkey::clocks_differ(&answer.headers, started) {
                    return Err(Failure::new(FailureClass::ClockSkewed));
                }
                // Nobody else has said so.
                Err(Failure::new(FailureClass::CredentialsExpired)
                    .about(Setting::from_spec("the SAS itself"))
                    .word("its end, se, is over")
                    .advice("put a new SAS into the Secret"))
            }
            Login::Sas(_) | Login::Key(_) | Login::Principal(_) => Ok(()),
        }
    }

    /// Asks for the list without any login: that there is a blob service, and nothing about who may do what.
    async fn reach(&self, net: &Network) -> Result<Answer, Failure> {
        let answer = self.exchange(net, self.listing().body(Bytes::new()).map_err(unforeseen)?).await?;
        let is_a_service = answer.headers.contains_key(REQUEST_ID);
        if is_a_service { Ok(answer) } else { Err(Failure::new(FailureClass::ProtocolMismatch)) }
    }

    /// Whether the container is there and may be listed. It is the first request that says who asks, and so the login.
    async fn list(&self, net: &Network, token: Option<&SecretValue>) -> Result<(), Failure> {
        let answer = self.ask(net, token, self.listing()).await?;
        if !answer.status.is_success() {
            return Err(self.explain(&answer));
        }
        let is_its_list = is_list_of(&answer.whole()?, &self.container);
        if is_its_list { Ok(()) } else { Err(Failure::new(FailureClass::ProtocolMismatch)) }
    }

    /// Whether a blob could be read: one that does not exist, about which only those are told who may read.
    async fn may_read(&self, net: &Network, token: Option<&SecretValue>) -> Result<Right, Failure> {
        let request = self.request(Method::GET, &self.no_such_blob()).header(RANGE, "bytes=0-0");
        let answer = self.ask(net, token, request).await?;
        // Somebody may have made one of this name, and it may be empty or archived.
        let can_be_read = ["InvalidRange", "BlobArchived", codes::NO_BLOB];
        if answer.status.is_success() || can_be_read.iter().any(|code| Refused::of(&answer).is(code)) {
            return Ok(Right::Granted);
        }
        self.right(&answer)
    }

    /// Whether a blob could be written: nothing is, on a condition that cannot hold. Who may not write is told so first.
    async fn may_write(&self, net: &Network, token: Option<&SecretValue>) -> Result<Right, Failure> {
        let request = self
            .request(Method::PUT, &self.no_such_blob())
            .header(CONTENT_LENGTH, "0")
            .header("x-ms-blob-type", "BlockBlob")
            .header(IF_MATCH, NO_SUCH_VERSION);
        let answer = self.ask(net, token, request).await?;
        if answer.status.is_success() {
            // The condition did not hold, so whoever says this has not looked.
            return Err(Failure::new(FailureClass::ProtocolMismatch));
        }
        let looked = [codes::CONDITION, codes::NO_BLOB];
        if looked.iter().any(|code| Refused::of(&answer).is(code)) { Ok(Right::Granted) } else { self.right(&answer) }
    }

    /// What a request about a right was refused with: that right, or something else.
    fn right(&self, answer: &Answer) -> Result<Right, Failure> {
        let refused = Refused::of(answer);
        match refused.class() {
            FailureClass::PermissionDenied => Ok(Right::Denied),
            FailureClass::ProtocolMismatch => Ok(Right::Unclear(refused)),
            _ => Err(self.explain(answer)),
        }
    }

    /// What the service's refusal means.
    fn explain(&self, answer: &Answer) -> Failure {
        let refused = Refused::of(answer);
        match refused.class() {
            // Its texts tell a wrong signature from one of another time, and its codes do not.
            FailureClass::WrongCredentials if matches!(self.login, Login::Key(_)) && is_of_another_time(answer) => {
                refused.failure_as(FailureClass::ClockSkewed)
            }
            FailureClass::WrongCredentials => refused.failure().advice(match &self.login {
                Login::Key(_) => "correct the Secret: the key was renewed, or is another account's",
                Login::Sas(_) => {
                    "correct the Secret: the service does not tell a wrong SAS from one for another container, whose key was \
                     renewed, whose policy (si) is gone or over, or whose beginning (st) is still to come"
                }
                Login::Principal(_) => {
                    "the directory has given a token and the account does not take it: check that it is the account's own directory"
                }
            }),
            FailureClass::PermissionDenied => self.not_listed(&refused),
            FailureClass::TargetNotFound | FailureClass::TargetUnavailable => refused.failure().about(self.shown()),
            FailureClass::AuthenticationMethodNotSupported => {
                refused.failure().advice("use a service principal, or let the account be used with its keys")
            }
            _ => refused.failure(),
        }
    }

    /// The container may not be listed. What is missing beside that is said where it is known.
    fn not_listed(&self, refused: &Refused) -> Failure {
        let missing = |permission: &&Permission| **permission == Permission::List || self.login.denies(**permission);
        let failure = refused.failure().about(self.shown()).words(self.permissions.iter().filter(missing));
        let is_asked_for = self.permissions.contains(&Permission::List);
        let failure = if is_asked_for { failure } else { failure.word("to list it, which every look does") };
        if !refused.is(codes::AUTHORIZATION) {
            return failure;
        }
        failure.advice(
            "grant the permission, or let the operator in at the account's network rules: the service says the same of both",
        )
    }

    fn listing(&self) -> http::request::Builder {
        let prefix = match self.prefix.as_str() {
            "" => String::new(),
            prefix => format!("&prefix={}", text::encode(prefix)),
        };
        self.request(Method::GET, &format!("?restype=container&comp=list&maxresults=1{prefix}"))
    }

    /// Where no blob is, below the container.
    fn no_such_blob(&self) -> String {
        let name = if self.container == ROOT { NO_SUCH_BLOB_IN_ROOT } else { NO_SUCH_BLOB };
        format!("/{}{name}", path(&self.prefix))
    }

    /// A request about what is `below` the container. It says nothing about who asks.
    fn request(&self, method: Method, below: &str) -> http::request::Builder {
        let uri = format!("{}/{}{below}", self.url, path(&self.container));
        Request::builder().method(method).uri(uri).header(VERSION_HEADER, VERSION)
    }

    /// Sends a request with the login.
    async fn ask(
        &self,
        net: &Network,
        token: Option<&SecretValue>,
        request: http::request::Builder,
    ) -> Result<Answer, Failure> {
        let mut request = request.body(Bytes::new()).map_err(unforeseen)?;
        let authorization = match &self.login {
            Login::Key(key) => {
                let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now()).map_err(unforeseen)?;
                let date = HeaderValue::try_from(date).map_err(unforeseen)?;
                request.headers_mut().insert(HeaderName::from_static(sharedkey::SIGNED_AT), date);
                Some(sharedkey::authorization(&self.account, key, &request))
            }
            Login::Sas(sas) => {
                let begin = if request.uri().query().is_some() { '&' } else { '?' };
                let uri = format!("{}{begin}{}", request.uri(), sas.query()).parse().map_err(unforeseen)?;
                *request.uri_mut() = uri;
                None
            }
            Login::Principal(_) => token.and_then(SecretValue::text).map(|token| format!("Bearer {token}")),
        };
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::try_from(authorization).map_err(unforeseen)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.exchange(net, request).await
    }

    async fn exchange(&self, net: &Network, request: Request<Bytes>) -> Result<Answer, Failure> {
        net.exchange(&self.tls, request).await.map_err(|failure| match failure.class() {
            // Each account has a name of its own, and who asks within a private network is told another address.
            FailureClass::NameResolutionFailed if self.is_vendors => failure.advice(
                "correct azureBlob.account or azureBlob.cloud: an account that does not exist has no name; else check the cluster's \
                 DNS, and the private zone of a private endpoint",
            ),
            _ => failure,
        })
    }

    fn shown(&self) -> Setting {
        Setting::from_spec(format!("container {} of account {}", self.container, self.account))
    }
}

/// What a request showed about a right.
enum Right {
    Granted,
    Denied,
    /// The service said something that is neither.
    Unclear(Refused),
}

/// Whether a document is the list of a container's blobs.
fn is_list_of(document: &[u8], container: &str) -> bool {
    let Ok(text) = std::str::from_utf8(document) else { return false };
    let mut document = Document::new(text);
    let Ok(root) = document.root_element() else { return false };
    let root = root.start_el();
    root.local() == "EnumerationResults" && root.attr("ContainerName") == Some(container)
}

/// Whether a signature was rejected by a service that has another time.
fn is_of_another_time(answer: &Answer) -> bool {
    Refused::of(answer).is(codes::AUTHENTICATION) && sharedkey::clocks_differ(&answer.headers, now())
}

#[expect(clippy::disallowed_methods, reason = "a signature says when it was made, and a SAS says when it ends")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A request that cannot be written although its parts were looked at.
fn unforeseen<E>(_error: E) -> Failure {
    Failure::new(FailureClass::Internal)
}

#[cfg(test)]
mod tests;

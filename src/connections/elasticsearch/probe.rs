//! The one look at a cluster: which of its hosts answers, who we are there, what we may do, and whether the index is there.
//!
//! Elasticsearch and OpenSearch are told apart by what they answer. No request writes, none returns a document, and none asks about
//! the cluster's health, which says nothing about whether it can be used. No text of an answer leaves these files.

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    connections::{
        Permission, Probe,
        family::hosts::{Missed, Turns},
        text,
    },
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{
        Network,
        http::Answer,
        tls::{Mode, Tls},
    },
    secret::{Digest, SecretValue},
};

mod answer;
mod index;
mod place;

use answer::{Identity, Refused, Who, Whom};
use index::{Held, Seen, Way};
pub(super) use place::{Place, cloud};

/// All that one look needs.
pub(super) struct Look {
    /// The hosts, in their order; one at least.
    pub places: Vec<Place>,
    pub tls: Tls,
    pub login: Option<Login>,
    pub index: Option<String>,
    pub permissions: Vec<Permission>,
}

/// Who logs in: what stands in the header.
pub(super) struct Login {
    pub scheme: Scheme,
    /// What stands behind the scheme.
    pub value: SecretValue,
    /// The fingerprint of whose it is.
    pub whose: Digest,
}

/// How a login is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Basic,
    ApiKey,
    Bearer,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "Basic ",
            Self::ApiKey => "ApiKey ",
            Self::Bearer => "Bearer ",
        }
    }
}

/// What a cluster is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    /// It tells which privileges one has.
    Elasticsearch,
    /// It does not.
    OpenSearch,
    /// Nothing in it asks who one is.
    Open,
}

/// What the first host that answers has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    system: System,
    identity: Identity,
}

/// How the look at one host ended, where it did not let us in.
enum End {
    /// It is of no use now; the next one may be.
    NotThis(Failure),
    /// It has judged. Nobody is asked twice about a login.
    Judged(Failure),
}

/// Whether a request says who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Us,
    /// With the client certificate, where there is one, and without the login.
    Unnamed,
    Nobody,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let mut turns = Turns::of(self.places.len());
        for place in &self.places {
            let mut stage = Stage::Reach;
            let work = self.approach(net, place, &mut stage);
            let ended = match turns.share(net) {
                None => work.await,
                Some(share) => {
                    let late = |_| Err(End::NotThis(Failure::new(FailureClass::TimedOut)));
                    timeout(share, work).await.unwrap_or_else(late)
                }
            };
            let ended = match ended {
                Ok(Some(found)) => Ok(found),
                // It is shown the login, so no other one is, whatever comes of it.
                Ok(None) => self.enter(net, place, &mut stage).await.map_err(End::for_good),
                Err(end) => Err(end),
            };
            match ended {
                Ok(found) => {
                    let proof = self.inside(net, place, found).await?;
                    return Ok(proof.past(turns.passed_over()));
                }
                Err(End::Judged(failure)) => return Err(failure.about_at_least(&place.endpoint.shown())),
                Err(End::NotThis(failure)) => turns.miss(&place.endpoint, Missed::at(stage, failure)),
            }
        }
        Err(turns.nobody_serves(net))
    }
}

impl Look {
    /// Asks one host who we are; or, where the login is not to be shown yet, whether it answers, which is `None`. Whoever has been shown
    /// it may have it counted, by a realm that locks accounts, also where no answer came; so of several hosts one is shown it in a look,
    /// after it has answered something. `stage` is what is in progress there.
    async fn approach(&self, net: &Network, place: &Place, stage: &mut Stage) -> Result<Option<Found>, End> {
        let is_withheld = self.tls.mode != Mode::Disable && !self.tls.peer_is_verified();
        if self.login.is_none() || (self.places.len() == 1 && !is_withheld) {
            return self.enter(net, place, stage).await.map(Some);
        }
        let answer =
            self.ask(net, place, As::Unnamed, get(Whom::Elasticsearch.path())).await.map_err(End::unanswered)?;
        *stage = Stage::Authenticate;
        if is_withheld {
            return Err(End::Judged(Failure::new(FailureClass::UnverifiedPeer).advice(UNVERIFIED)));
        }
        let body = read(&answer).map_err(End::NotThis)?;
        match answer::is_there(answer.status, &answer.headers, &body) {
            Ok(()) => Ok(None),
            Err(refused) => Err(self.turned_away(Whom::Elasticsearch, &refused)),
        }
    }

    /// Asks one host who we are. `stage` is what is in progress there.
    async fn enter(&self, net: &Network, place: &Place, stage: &mut Stage) -> Result<Found, End> {
        for whom in [Whom::Elasticsearch, Whom::OpenSearch, Whom::Anybody] {
            let answer = self.ask(net, place, As::Us, get(whom.path())).await.map_err(End::unanswered)?;
            *stage = Stage::Authenticate;
            let body = read(&answer).map_err(End::NotThis)?;
            let system = match answer::who(whom, answer.status, &answer.headers, &body) {
                Ok(Who::Untold) => continue,
                Ok(Who::Known(identity)) => {
                    let system = if whom == Whom::OpenSearch { System::OpenSearch } else { System::Elasticsearch };
                    return Ok(Found { system, identity });
                }
                Ok(Who::Open) => System::Open,
                Err(refused) => return Err(self.turned_away(whom, &refused)),
            };
            let identity = self.who_matters(net, place, whom).await.map_err(End::NotThis)?;
            return Ok(Found { system, identity });
        }
        Err(End::NotThis(Failure::new(FailureClass::ProtocolMismatch)))
    }

    /// Whether it matters who asks where the cluster itself does not want to know: something before it may.
    async fn who_matters(&self, net: &Network, place: &Place, whom: Whom) -> Result<Identity, Failure> {
        if !self.shows_somebody() {
            return Ok(Identity::Anonymous);
        }
        match self.ask(net, place, As::Nobody, get(whom.path())).await {
            Ok(answer) => {
                let matters = answer::matters(whom, answer.status, &answer.headers, &answer.beginning());
                matters.map_err(|refused| refused.at_the_door())
            }
            Err(failure) if failure.class() == FailureClass::ClientCertificateRequired => Ok(Identity::Somebody),
            Err(failure) => Err(failure),
        }
    }

    /// What it means that somebody was not let in.
    fn turned_away(&self, whom: Whom, refused: &Refused) -> End {
        let failure = refused.at_the_door();
        match failure.class() {
            FailureClass::ServerUnavailable | FailureClass::ProtocolMismatch => End::NotThis(failure),
            FailureClass::WrongCredentials => {
                let scheme = self.login.as_ref().map(|login| login.scheme);
                End::Judged(match (scheme, whom) {
                    (None, _) if self.shows_certificate() => failure.advice(CERTIFICATE),
                    (None, _) => failure.advice(NOBODY),
                    (Some(Scheme::ApiKey), Whom::OpenSearch) => failure.advice(NO_KEYS),
                    (Some(_), Whom::Elasticsearch) if refused.is_by_a_realm() => failure.advice(REJECTED),
                    (Some(_), _) => failure,
                })
            }
            _ => End::Judged(failure),
        }
    }

    /// What may be done, and whether the index is there.
    async fn inside(&self, net: &Network, place: &Place, found: Found) -> Result<Proof, Failure> {
        let anonymous = found.identity == Identity::Anonymous || !self.shows_somebody();
        if anonymous {
            net.nobody_checks_who_we_are();
        }
        net.step(Stage::Access);
        if let Some(index) = &self.index {
            let held = match found.system {
                System::Elasticsearch => self.held(net, place, index).await?,
                System::OpenSearch | System::Open => None,
            };
            match held {
                Some(held) => self.find(net, place, index, held).await?,
                None => self.try_out(net, place, index).await?,
            }
        }
        Ok(Proof::default().but((anonymous && self.login.is_some()).then_some(UNCHECKED)))
    }

    /// Which privileges the cluster says that we have.
    async fn held(&self, net: &Network, place: &Place, index: &str) -> Result<Option<Held>, Failure> {
        let body = json!({"index": [{"names": [index], "privileges": index::PRIVILEGES}]});
        let request = Request::post("/_security/user/_has_privileges").header(CONTENT_TYPE, JSON);
        let answer = self.ask(net, place, As::Us, request.body(Bytes::from(body.to_string()))).await?;
        let held = index::held(index, answer.status, &answer.headers, &read(&answer)?);
        held.map_err(|refused| refused.inside())
    }

    /// With privileges that are known: the index is looked at in a way that is allowed, and nothing else is tried.
    async fn find(&self, net: &Network, place: &Place, index: &str, held: Held) -> Result<(), Failure> {
        let lacks = |permission: &Permission| match permission {
            Permission::List => true,
            Permission::Read => !held.read,
            Permission::Write => !held.write,
        };
        let missing: Vec<Permission> = self.permissions.iter().copied().filter(lacks).collect();
        let reads = self.permissions.contains(&Permission::Read);
        let way = match held {
            // Whoever is to read must be able to, which an index may stand in the way of.
            Held { read: true, .. } if reads => Way::Search,
            Held { view: true, .. } => Way::Metadata,
            Held { read: true, .. } => Way::Search,
            Held { .. } => return Err(hidden(index, &missing)),
        };
        if !self.see(net, place, index, way).await? {
            return Err(hidden(index, &missing));
        }
        if !missing.is_empty() {
            return Err(denied(index, &missing));
        }
        if way == Way::Search && held.view && self.permissions.contains(&Permission::Write) {
            // A search does not tell whether something holds back what is written.
            self.see(net, place, index, Way::Metadata).await?;
        }
        Ok(())
    }

    /// With privileges that nobody tells: what is asked for is tried, where that changes nothing.
    async fn try_out(&self, net: &Network, place: &Place, index: &str) -> Result<(), Failure> {
        let reads = self.permissions.contains(&Permission::Read);
        let ways = if reads { [Way::Search, Way::Metadata] } else { [Way::Metadata, Way::Search] };
        let needed: &[Permission] = if reads { &[Permission::Read] } else { &[] };
        if !self.see(net, place, index, ways[0]).await? {
            if !self.see(net, place, index, ways[1]).await? {
                return Err(hidden(index, needed));
            }
            if reads {
                return Err(denied(index, needed));
            }
        }
        if self.permissions.contains(&Permission::Write) {
            return Err(Failure::new(FailureClass::NotProvable)
                .about(shown(index))
                .word(Permission::Write.as_str())
                .advice(UNTOLD));
        }
        Ok(())
    }

    /// Looks at the index in one way: whether it may be seen like that.
    async fn see(&self, net: &Network, place: &Place, index: &str, way: Way) -> Result<bool, Failure> {
        let name = text::encode(index);
        let path = match way {
            Way::Metadata => format!("/{name}?filter_path={METADATA}"),
            Way::Search => format!("/{name}/_search?size=0&terminate_after=1&filter_path={SHARDS}"),
        };
        let answer = self.ask(net, place, As::Us, get(&path)).await?;
        let body = match way {
            Way::Metadata => answer.beginning(),
            Way::Search => read(&answer)?,
        };
        let unavailable = |word| Failure::new(FailureClass::TargetUnavailable).about(shown(index)).word(word);
        match index::seen(way, answer.status, &answer.headers, &body) {
            Ok(Seen::Denied) => Ok(false),
            Ok(Seen::Closed) => Err(unavailable("it is closed")),
            Ok(Seen::Partly) => Err(unavailable("a shard does not answer")),
            Ok(Seen::ReadOnly) if self.permissions.contains(&Permission::Write) => {
                Err(unavailable("a block holds back what is written").advice(HELD))
            }
            Ok(Seen::There | Seen::ReadOnly) => Ok(true),
            Err(refused) => {
                let failure = refused.inside();
                Err(match failure.class() {
                    FailureClass::TargetNotFound | FailureClass::TargetUnavailable => failure.about(shown(index)),
                    _ => failure,
                })
            }
        }
    }

    /// One request, whose URI is a path.
    async fn ask(
        &self,
        net: &Network,
        place: &Place,
        who: As,
        request: Result<Request<Bytes>, http::Error>,
    ) -> Result<Answer, Failure> {
        let internal = || Failure::new(FailureClass::Internal);
        let mut request = request.map_err(|_| internal())?;
        *request.uri_mut() = format!("{}{}", place.url, request.uri()).parse().map_err(|_| internal())?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(JSON));
        if let (As::Us, Some(login)) = (who, &self.login) {
            request.headers_mut().insert(AUTHORIZATION, login.header()?);
        }
        match who {
            As::Us | As::Unnamed => net.exchange(&self.tls, request).await,
            As::Nobody => net.exchange(&Tls { identity: None, ..self.tls.clone() }, request).await,
        }
    }

    /// Whether a request of ours says who we are.
    fn shows_somebody(&self) -> bool {
        self.login.is_some() || self.shows_certificate()
    }

    fn shows_certificate(&self) -> bool {
        self.tls.identity.is_some() && self.tls.mode != Mode::Disable
    }
}

impl End {
    /// Where no answer came.
    fn unanswered(failure: Failure) -> Self {
        match failure.class() {
            FailureClass::ClientCertificateRequired => Self::Judged(failure),
            _ => Self::NotThis(failure),
        }
    }

    /// Where no other host is asked.
    fn for_good(self) -> Self {
        let (Self::NotThis(failure) | Self::Judged(failure)) = self;
        Self::Judged(failure)
    }
}

impl Login {
    fn header(&self) -> Result<HeaderValue, Failure> {
        let text = SecretValue::new([self.scheme.as_str().as_bytes(), self.value.expose()].concat());
        let mut header = HeaderValue::from_bytes(text.expose()).map_err(|_| Failure::new(FailureClass::Internal))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl Whom {
    const fn path(self) -> &'static str {
        match self {
            // Without the roles and groups, of which there may be many.
            Self::Elasticsearch => "/_security/_authenticate?filter_path=username,authentication_type",
            Self::OpenSearch => "/_plugins/_security/authinfo?filter_path=user_name",
            Self::Anybody => "/",
        }
    }
}

/// The body of an answer. Of one that refuses, its beginning will do: the status says what it is.
fn read(answer: &Answer) -> Result<Bytes, Failure> {
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(answer.beginning()),
        _ => answer.whole(),
    }
}

fn get(path: &str) -> Result<Request<Bytes>, http::Error> {
    Request::get(path).body(Bytes::new())
}

fn shown(index: &str) -> Setting {
    Setting::from_spec(format!("index {index}"))
}

/// The index may not be seen, whether it is there or not.
fn hidden(index: &str, missing: &[Permission]) -> Failure {
    Failure::new(FailureClass::TargetNotFoundOrNotPermitted).about(shown(index)).words(missing).advice(HIDDEN)
}

/// The index is there, and these are missing.
fn denied(index: &str, missing: &[Permission]) -> Failure {
    Failure::new(FailureClass::PermissionDenied).about(shown(index)).words(missing)
}

const JSON: &str = "application/json";
/// What is asked for of an index: that it is there, whether it is closed, and what is held back.
const METADATA: &str = "*.settings.index.uuid,*.settings.index.verified_before_close,*.settings.index.blocks";
/// What is asked for of a search.
const SHARDS: &str = "_shards.total,_shards.successful,_shards.failed,hits.total";
const UNVERIFIED: &str = "set spec.tls.mode to VerifyFull, or to VerifyCA with a CA of your own in spec.tls.ca: passwords, keys and tokens \
    are sent in readable form";
const NOBODY: &str = "it asks for a login: name a Secret in spec.credentials";
const CERTIFICATE: &str =
    "it takes the client certificate for nobody: map its name to a user there, or name a Secret in spec.credentials";
const REJECTED: &str =
    "correct the Secret; Elasticsearch says the same to valid logins while its security index is not available";
const HELD: &str = "look at the index's settings under index.blocks: a full disk sets read_only_allow_delete";
const NO_KEYS: &str = "OpenSearch's security plugin knows no API keys of this kind: use a password or a token";
const HIDDEN: &str = "create it, correct its name, or grant a right to look at it: read, or view_index_metadata (OpenSearch: indices:admin/get)";
const UNTOLD: &str =
    "leave the permission out: of all that answers here only the security features of Elasticsearch tell who may write";
const UNCHECKED: &str = "the credentials, since nothing there asks for any";

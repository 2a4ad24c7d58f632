//! `AWS_MSK_IAM`: a broker that checks the token as Amazon MSK does, over TLS. It is a stand-in.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_smithy_types::date_time::{DateTime, Format};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use connection_operator::{connections::fields::HttpUrl, net::tls::Roots};
use tokio::io::AsyncReadExt as _;

use super::{
    stand_in::{AUTHENTICATE, HANDSHAKE, VERSIONS, authenticate, request, respond, versions},
    *,
};
use crate::harness::{
    authority::{Authority, Clients},
    peer::Peer,
    sigv4::{Verifier, Wrong},
    web::{Answer, Asked, Web},
};

/// The authority of all brokers and services here.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

const ROLE: &str = "arn:aws:iam::123456789012:role/orders-reader";
const ID: &str = "AKIAEXAMPLE";
const SECRET: &str = "hunter2/+secret";

/// Whose tokens a broker takes: the owner's of the key.
const OWNER: Verifier =
    Verifier { service: "kafka-cluster", region: "eu-central-1", id: ID, secret: SECRET, token: None };

/// A broker of `eu-central-1`, and the tokens that it was shown.
struct Broker {
    peer: Peer,
    shown: Arc<Mutex<Vec<Result<(), &'static str>>>>,
}

impl Broker {
    async fn of(known: Verifier) -> Self {
        let shown = Arc::<Mutex<Vec<_>>>::default();
        let (acceptor, heard) = (AUTHORITY.acceptor(&["127.0.0.1"], Clients::Anybody), Arc::clone(&shown));
        let known = Arc::new(known);
        let peer = Peer::that(move |stream| {
            let (acceptor, heard, known) = (acceptor.clone(), Arc::clone(&heard), Arc::clone(&known));
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                while let Some(asked) = request(&mut stream).await {
                    let body = match asked.api {
                        VERSIONS => versions(),
                        HANDSHAKE => {
                            let wanted = String::from_utf8_lossy(&asked.rest).into_owned();
                            assert!(wanted.ends_with("OAUTHBEARER"), "{wanted}");
                            b"\0\0\0\0\0\x01\0\x0bOAUTHBEARER".to_vec()
                        }
                        AUTHENTICATE => {
                            let judged = token(&asked.rest).and_then(|token| judge(&token, &known));
                            heard.lock().unwrap_or_else(PoisonError::into_inner).push(judged);
                            authenticate(if judged.is_ok() { 0 } else { 58 }, "")
                        }
                        // It is let in, and goes on.
                        _ => return drop(stream.read_to_end(&mut Vec::new()).await),
                    };
                    respond(&mut stream, &asked, &body).await;
                }
            }
        })
        .await;
        Self { peer, shown }
    }

    fn shown(&self) -> Vec<Result<(), &'static str>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The token of an initial client response (RFC 7628, section 3.1).
fn token(rest: &[u8]) -> Result<String, &'static str> {
    let said = String::from_utf8_lossy(rest).into_owned();
    let (_, token) = said.split_once("\u{1}auth=Bearer ").ok_or("no token")?;
    let (token, end) = token.split_once('\u{1}').ok_or("no end")?;
    if end == "\u{1}" { Ok(token.to_owned()) } else { Err("extensions") }
}

/// Whether a token is what Amazon MSK takes: a URL of its region, signed for its action not long ago by a key that is known.
fn judge(token: &str, known: &Verifier) -> Result<(), &'static str> {
    let url = BASE64_URL_SAFE_NO_PAD.decode(token).ok().and_then(|url| String::from_utf8(url).ok()).ok_or("form")?;
    // It stands behind what is signed.
    let (signed, agent) = url.split_once("&User-Agent=").ok_or("agent")?;
    let query = signed.strip_prefix("https://kafka.eu-central-1.amazonaws.com/?").ok_or("host")?;
    let said = |pair: &str| query.split('&').any(|said| said == pair);
    if !said("Action=kafka-cluster%3AConnect") || !agent.starts_with("connection-operator%2F") {
        return Err("action");
    }
    let now = SystemTime::now();
    let mut lately = (0..60).map(|ago| format!("X-Amz-Date={}", compact(now - Duration::from_secs(ago))));
    if !lately.any(|date| said(&date)) {
        return Err("time");
    }
    known.check_url(signed, 900).map_err(|wrong| match wrong {
        Wrong::Form => "form",
        Wrong::Key => "key",
        Wrong::Signature => "signature",
    })
}

/// A time as signatures have it, `20261126T161616Z`.
fn compact(at: SystemTime) -> String {
    let whole = DateTime::from_secs(DateTime::from(at).secs()).fmt(Format::DateTime).expect("a time");
    whole.replace(['-', ':'], "")
}

/// A connection to a broker with the owner's key. The authority is trusted.
fn signed(broker: &Broker) -> Case {
    let roots = AUTHORITY.roots();
    let case = Case::at(broker.peer.address).tls(|tls| (tls.mode, tls.roots) = (Mode::VerifyFull, roots));
    let case = case.secret("accessKeyId", ID).secret("secretAccessKey", SECRET);
    let msk = serde_json::json!({"region": "eu-central-1"});
    case.with(|settings| {
        settings.sasl_mechanism = Some(Mechanism::AwsMskIam);
        settings.msk = Some(serde_json::from_value(msk).expect("a cluster"));
    })
}

#[tokio::test]
async fn a_token_is_signed_as_the_brokers_check_it_and_shown_once() {
    let broker = Broker::of(OWNER).await;
    assert_eq!(signed(&broker).passes().await, Proof::default());
    assert_eq!((broker.shown(), broker.peer.accepted()), (vec![Ok(())], 1), "one look is one login");
}

#[tokio::test]
async fn a_temporary_key_is_shown_with_its_token() {
    let session = "hunter2/token+=";
    let broker = Broker::of(Verifier { token: Some(session), ..OWNER }).await;
    signed(&broker).secret("sessionToken", session).passes().await;
    signed(&broker).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert_eq!(broker.shown(), [Ok(()), Err("key")]);
}

#[tokio::test]
async fn a_token_that_is_not_taken_may_have_three_causes_and_the_message_names_them() {
    let another_secret = |case: Case| case.secret("secretAccessKey", "hunter2-wrong");
    let another_key = |case: Case| case.secret("accessKeyId", "AKIAANOTHER");
    let another_region =
        |case: Case| case.with(|settings| settings.msk.as_mut().expect("a cluster").region.0 = "us-east-1".to_owned());
    let changes: [fn(Case) -> Case; 3] = [another_secret, another_key, another_region];
    for (change, what) in changes.into_iter().zip(["signature", "key", "host"]) {
        let broker = Broker::of(OWNER).await;
        let case = change(signed(&broker));
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains("(58)"), "{message}");
        for cause in ["the Secret", "kafka-cluster:Connect", "clock"] {
            assert!(message.contains(cause), "{message}");
        }
        assert_eq!((broker.shown(), broker.peer.accepted()), (vec![Err(what)], 1), "a rejected login is made once");
    }
}

#[tokio::test]
async fn a_token_is_shown_to_a_verified_broker_only() {
    let broker = Broker::of(OWNER).await;
    let case = signed(&broker).tls(|tls| tls.mode = Mode::Require);
    case.ends(Stage::Authenticate, Reason::EncryptionRequired).await;
    assert_eq!(broker.shown(), []);
}

// Roles.

/// A Security Token Service over TLS.
async fn sts(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::over(Some(AUTHORITY.acceptor(&["127.0.0.1"], Clients::Anybody)), answer).await
}

const KEYS: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
    <SecretAccessKey>canary</SecretAccessKey><SessionToken>role-token</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>";

/// The role.
const AS_THE_ROLE: Verifier = Verifier { id: "ASIAROLE", secret: "canary", token: Some("role-token"), ..OWNER };

fn assuming(case: Case, sts: &Web) -> Case {
    let role = serde_json::json!({
        "roleARN": ROLE, "externalID": "shop", "endpoint": format!("https://{}", sts.peer.address),
    });
    case.with(|settings| {
        settings.msk.as_mut().expect("a cluster").assume_role = Some(serde_json::from_value(role).expect("a role"));
    })
}

#[tokio::test]
async fn a_role_is_assumed_first_and_the_token_is_the_roles() {
    let sts = sts(|_| Some(Answer::new(200, KEYS))).await;
    let broker = Broker::of(AS_THE_ROLE).await;
    assuming(signed(&broker), &sts).passes().await;
    let [asked] = &sts.asked()[..] else { panic!("one call") };
    assert!(asked.header("authorization").contains("Credential=AKIAEXAMPLE/"), "{asked:?}");
    assert!(asked.header("authorization").contains("/eu-central-1/sts/aws4_request"), "{asked:?}");
    assert!(asked.body.contains("Action=AssumeRole&") && asked.body.contains("ExternalId=shop"), "{asked:?}");
    assert_eq!(broker.shown(), [Ok(())]);
}

#[tokio::test]
async fn a_role_that_is_not_given_is_named_and_no_broker_is_dialled() {
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>canary</Message></Error></ErrorResponse>";
    let sts = sts(move |_| Some(Answer::new(403, denied))).await;
    let broker = Broker::of(AS_THE_ROLE).await;
    let message = assuming(signed(&broker), &sts).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains(ROLE) && message.contains("sts:AssumeRole"), "{message}");
    assert_eq!(broker.peer.accepted(), 0);
}

#[tokio::test]
async fn a_service_for_roles_that_refuses_or_never_answers_is_named_and_no_broker_is_dialled() {
    let (broker, silent) = (Broker::of(AS_THE_ROLE).await, sts(|_| None).await);
    for (service, reason) in [(peer::nobody(), Reason::ConnectionRefused), (silent.peer.address, Reason::TimedOut)] {
        let case = assuming(signed(&broker), &silent).with(|settings| {
            let role = settings.msk.as_mut().and_then(|msk| msk.assume_role.as_mut()).expect("a role");
            role.endpoint = Some(HttpUrl(format!("https://{service}")));
        });
        let message = case.within(Duration::from_secs(1)).ends(Stage::Reach, reason).await;
        assert!(message.contains(&service.to_string()), "{message}");
    }
    assert_eq!(broker.peer.accepted(), 0);
}

#[tokio::test]
async fn the_service_that_gives_roles_is_verified_whatever_is_enough_for_the_brokers() {
    for mode in [Mode::Require, Mode::Disable] {
        let sts = sts(|_| Some(Answer::new(200, KEYS))).await;
        let broker = Broker::of(AS_THE_ROLE).await;
        let other = Roots::from_pem(&server().said.ca_pem()).expect("an authority");
        let case = assuming(signed(&broker), &sts).tls(|tls| (tls.mode, tls.roots) = (mode, other));
        let message = case.ends(Stage::Reach, Reason::CertificateUntrusted).await;
        assert!(message.contains(&sts.peer.address.to_string()), "{message}");
        assert_eq!((sts.asked().len(), broker.peer.accepted()), (0, 0));
    }
}

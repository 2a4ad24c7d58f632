//! A stand-in for Google Cloud, as far as a bucket is concerned: the endpoint that gives tokens, and Cloud Storage's JSON API, over HTTPS.
//!
//! It verifies what it is sent (the assertion's signature, issuer, audience, scope and times; the token; each request and its parameters),
//! knows service accounts, buckets, objects and who has which right on them, and answers as Google's documentation says: "Using OAuth
//! 2.0 for Server to Server Applications", "HTTP status and error codes for JSON", the pages of `buckets.testIamPermissions`,
//! `objects.list` and `objects.get`, and AIP-4111. Its messages hold a canary. What should never have been sent fails the test that owns it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};

use super::{
    authority::{Authority, Clients},
    web::{Answer, Asked, Faults, Web},
};

/// The authority of every cloud here.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.";

/// A key pair of a service account, of which the cloud knows the public half.
pub struct Pair {
    pair: RsaKeyPair,
    /// Its id.
    pub id: &'static str,
}

impl Pair {
    /// A new one.
    pub fn new(id: &'static str) -> Self {
        Self { pair: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"), id }
    }

    /// The private key in PEM.
    pub fn pem(&self) -> String {
        let der = self.pair.as_der().expect("PKCS#8");
        let document = pkcs8::Document::try_from(der.as_ref()).expect("DER");
        document.to_pem("PRIVATE KEY", pkcs8::LineEnding::LF).expect("PEM")
    }

    fn public(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }
}

/// Who may do something: the whole bucket, or what is below a prefix of it, as a condition or a managed folder says.
type Grant = (String, String, Option<String>);

#[derive(Clone, Default)]
struct Bucket {
    objects: BTreeSet<String>,
    grants: BTreeSet<Grant>,
    requester_pays: bool,
}

/// What a cloud knows.
#[derive(Clone)]
pub struct Known {
    keys: BTreeMap<(String, String), Vec<u8>>,
    disabled: BTreeSet<String>,
    buckets: BTreeMap<String, Bucket>,
    billed: BTreeSet<(String, String)>,
    /// Tokens are exchanged, or those of the accounts themselves are taken.
    exchanges: bool,
    /// How far its clock is from ours, in seconds.
    ahead: i64,
}

impl Known {
    /// Nobody yet, and nothing.
    pub fn nothing() -> Self {
        Self {
            keys: BTreeMap::new(),
            disabled: BTreeSet::new(),
            buckets: BTreeMap::new(),
            billed: BTreeSet::new(),
            exchanges: true,
            ahead: 0,
        }
    }

    /// A service account with a key.
    pub fn account(mut self, email: &str, pair: &Pair) -> Self {
        self.keys.insert((email.to_owned(), pair.id.to_owned()), pair.public());
        self
    }

    /// The same account, whose keys are disabled.
    pub fn disabled(mut self, email: &str) -> Self {
        self.disabled.insert(email.to_owned());
        self
    }

    /// A bucket with objects.
    pub fn bucket(mut self, name: &str, objects: &[&str]) -> Self {
        let objects = objects.iter().map(|name| (*name).to_owned()).collect();
        self.buckets.insert(name.to_owned(), Bucket { objects, ..Bucket::default() });
        self
    }

    /// Lets an account do something in a bucket, or below a prefix of it only.
    pub fn grant(mut self, bucket: &str, email: &str, right: &str, prefix: Option<&str>) -> Self {
        let grant = (email.to_owned(), right.to_owned(), prefix.map(str::to_owned));
        self.buckets.get_mut(bucket).expect("a bucket").grants.insert(grant);
        self
    }

    /// Makes who asks pay.
    pub fn requester_pays(mut self, bucket: &str) -> Self {
        self.buckets.get_mut(bucket).expect("a bucket").requester_pays = true;
        self
    }

    /// Lets an account have requests billed to a project.
    pub fn bills(mut self, project: &str, email: &str) -> Self {
        self.billed.insert((project.to_owned(), email.to_owned()));
        self
    }

    /// A universe in which tokens are not exchanged.
    pub fn of_a_partner(self) -> Self {
        Self { exchanges: false, ..self }
    }

    /// A cloud whose clock is so many seconds ahead of ours.
    pub fn ahead(self, ahead: i64) -> Self {
        Self { ahead, ..self }
    }

    /// A running cloud that knows this.
    pub async fn start(self) -> Cloud {
        let faults = Faults::default();
        let (book, given) = (faults.book(), Mutex::<BTreeMap<String, (String, String)>>::default());
        let tls = AUTHORITY.acceptor(&["127.0.0.1", "storage.test"], Clients::Anybody);
        let web = Web::over(Some(tls), move |asked| {
            let mut given = given.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = self.answer(asked, &mut given).unwrap_or_else(|fault| {
                book(Some(format!("{fault}: {asked:?}")));
                refusal(400, "badRequest")
            });
            Some(self.dated(answer))
        });
        Cloud { web: web.await, _faults: faults }
    }

    fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        now.saturating_add_signed(self.ahead)
    }

    /// The answer with the time that this cloud has.
    fn dated(&self, answer: Answer) -> Answer {
        answer.header("date", &date(self.now()))
    }

    /// The answer, or what should not have been sent. `given` are the tokens so far: whose each is, and for what.
    fn answer(&self, asked: &Asked, given: &mut BTreeMap<String, (String, String)>) -> Result<Answer, &'static str> {
        if !asked.header("user-agent").starts_with("connection-operator/")
            || asked.header("accept") != "application/json"
        {
            return Err("headers are missing");
        }
        if asked.line == "POST /token" && self.exchanges {
            if asked.header("content-type") != "application/x-www-form-urlencoded" {
                return Err("another type of content");
            }
            let form: Vec<(String, String)> = form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect();
            let [(kind, grant), (name, assertion)] = &form[..] else { return Err("another form") };
            if [kind.as_str(), grant, name]
                != ["grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion"]
            {
                return Err("another grant");
            }
            let own = format!("https://{}/token", asked.header("host"));
            return Ok(match self.verified(assertion, Some(&own)) {
                Ok((email, scope)) => {
                    let token = format!("ya29.canary-{}", given.len());
                    given.insert(token.clone(), (email, scope));
                    Answer::new(
                        200,
                        json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}).to_string(),
                    )
                }
                Err(error) => denial(400, error),
            });
        }
        let token = asked.header("authorization").strip_prefix("Bearer ").ok_or("no token")?;
        let found = if self.exchanges { given.get(token).cloned() } else { self.verified(token, None).ok() };
        let Some((email, scope)) = found else { return Ok(refusal(401, "authError")) };
        let (path, query) =
            asked.line.strip_prefix("GET ").and_then(|url| url.split_once('?')).ok_or("another method")?;
        let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let (name, rest) =
            path.strip_prefix("/storage/v1/b/").and_then(|path| path.split_once('/')).ok_or("another path")?;
        let value = |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let only =
            |names: &[&str]| query.iter().all(|(name, _)| names.contains(&name.as_str()) || name == "userProject");
        let Some(bucket) = self.buckets.get(name) else { return Ok(refusal(404, "notFound")) };
        if let Some(answer) = self.bill(bucket, value("userProject"), &email) {
            return Ok(answer);
        }
        let who = Caller { bucket, email: &email, writes: scope.ends_with("read_write") };
        match rest {
            "iam/testPermissions" if only(&["permissions"]) => {
                let tried = query.iter().filter(|(name, _)| name == "permissions").map(|(_, right)| right.as_str());
                let held: Vec<&str> = tried.filter(|right| who.may(right, None)).collect();
                let mut body = json!({"kind": "storage#testIamPermissionsResponse"});
                if !held.is_empty() {
                    body["permissions"] = json!(held);
                }
                Ok(Answer::new(200, body.to_string()))
            }
            "o" if only(&["prefix", "maxResults", "fields"]) => {
                if (value("maxResults"), value("fields")) != (Some("1"), Some("kind,items(name)")) {
                    return Err("a listing of more than one name");
                }
                let prefix = value("prefix").ok_or("a listing of everything")?;
                if !who.may("storage.objects.list", Some(prefix)) {
                    return Ok(refusal(403, "forbidden"));
                }
                let mut body = json!({"kind": "storage#objects"});
                if let Some(first) = bucket.objects.iter().find(|name| name.starts_with(prefix)) {
                    body["items"] = json!([{"name": first}]);
                }
                Ok(Answer::new(200, body.to_string()))
            }
            _ if rest.starts_with("o/") && only(&["fields"]) => {
                let object = percent_decoded(&rest[2..]).ok_or("a name that is not encoded")?;
                if value("fields") != Some("kind") {
                    return Err("more of an object than its kind");
                }
                Ok(if !who.may("storage.objects.get", Some(&object)) {
                    refusal(403, "forbidden")
                } else if bucket.objects.contains(&object) {
                    Answer::new(200, json!({"kind": "storage#object"}).to_string())
                } else {
                    refusal(404, "notFound")
                })
            }
            _ => Err("another request"),
        }
    }

    /// What is said where nobody pays, or somebody who may not.
    fn bill(&self, bucket: &Bucket, project: Option<&str>, email: &str) -> Option<Answer> {
        match project {
            None => bucket.requester_pays.then(|| refusal(400, "required")),
            Some(project) if self.billed.contains(&(project.to_owned(), email.to_owned())) => None,
            Some("nowhere") => Some(refusal(400, "invalid")),
            Some(_) => Some(refusal(403, "forbidden")),
        }
    }

    /// Who has signed a token, and for what: its form, its claims, its signature and its times are looked at. A token for an
    /// exchange names `audience`; one that is used itself names none.
    fn verified(&self, token: &str, audience: Option<&str>) -> Result<(String, String), &'static str> {
        const INVALID: &str = "invalid_grant";
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, signature] = parts[..] else { return Err("invalid_request") };
        let read = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| "invalid_request");
        let json = |part: &str| serde_json::from_slice::<Value>(&read(part)?).map_err(|_| "invalid_request");
        let (header, said) = (json(head)?, json(claims)?);
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(INVALID);
        if header["alg"] != "RS256" || header["typ"] != "JWT" {
            return Err(INVALID);
        }
        let email = text(&said["iss"])?;
        if self.disabled.contains(&email) {
            return Err("disabled_client");
        }
        let public = self.keys.get(&(email.clone(), text(&header["kid"])?)).ok_or(INVALID)?;
        let signed = format!("{head}.{claims}");
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        key.verify(signed.as_bytes(), &read(signature)?).map_err(|_| INVALID)?;
        let (issued, expires) = (said["iat"].as_u64().ok_or(INVALID)?, said["exp"].as_u64().ok_or(INVALID)?);
        let now = self.now();
        if issued > now + 30 || expires <= now || expires <= issued || expires - issued > 3600 {
            return Err(INVALID);
        }
        let subject = if audience.is_some() { said["sub"].is_null() } else { said["sub"] == *email };
        if said["aud"].as_str() != audience || !subject {
            return Err(INVALID);
        }
        let scope = text(&said["scope"])?;
        let known = [format!("{SCOPE}read_only"), format!("{SCOPE}read_write")].contains(&scope);
        if known { Ok((email, scope)) } else { Err("invalid_scope") }
    }
}

/// Who asks about a bucket.
struct Caller<'a> {
    bucket: &'a Bucket,
    email: &'a str,
    /// Whether the token is for writing too.
    writes: bool,
}

impl Caller<'_> {
    /// Whether it has a right in the bucket, or below it on `name`, which a condition or a managed folder may be about.
    fn may(&self, right: &str, name: Option<&str>) -> bool {
        let covers = |prefix: &Option<String>| match (prefix, name) {
            (None, _) => true,
            (Some(prefix), Some(name)) => name.starts_with(prefix),
            (Some(_), None) => false,
        };
        let granted = |(email, granted, prefix): &Grant| email == self.email && granted == right && covers(prefix);
        self.bucket.grants.iter().any(granted) && (self.writes || right != "storage.objects.create")
    }
}

/// A running cloud. It fails the test where it was sent what should never have been sent.
pub struct Cloud {
    /// What it heard, and where it is.
    pub web: Web,
    _faults: Faults,
}

impl Cloud {
    /// Whom its own certificate is signed by.
    pub fn authority() -> &'static Authority {
        &AUTHORITY
    }
}

/// A peer over TLS, with a certificate of the authority of all clouds, that answers as a test says.
pub async fn impostor(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::over(Some(AUTHORITY.acceptor(&["127.0.0.1"], Clients::Anybody)), answer).await
}

/// What the endpoint for tokens says instead of one.
pub fn denial(status: u16, error: &str) -> Answer {
    Answer::new(status, json!({"error": error, "error_description": "canary"}).to_string())
}

/// What the API says instead of an answer.
pub fn refusal(status: u16, reason: &str) -> Answer {
    let error = json!({"message": "canary", "domain": "global", "reason": reason});
    let body = json!({"error": {"code": status, "message": "canary", "errors": [error]}});
    Answer::new(status, body.to_string()).header("content-type", "application/json; charset=UTF-8")
}

/// How many faults and refusals a cloud finds in one request, which is otherwise as it should be.
pub fn verdict(known: &Known, line: &str, headers: &[(&str, &str)], body: &str) -> Result<bool, &'static str> {
    let usual = [("user-agent", "connection-operator/0"), ("accept", "application/json"), ("host", "storage.test")];
    let asked = Asked::of(line, usual.iter().chain(headers).copied(), body);
    known.answer(&asked, &mut BTreeMap::new()).map(|answer| answer.status() == 200)
}

/// A token with these claims, signed by `pair`.
pub fn signed(pair: &Pair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; pair.pair.public_modulus_len()];
    let random = aws_lc_rs::rand::SystemRandom::new();
    let padding = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
    pair.pair.sign(padding, &random, signed.as_bytes(), &mut signature).expect("a signature");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn date(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    let time = k8s_openapi::jiff::Timestamp::try_from(time).expect("a time");
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn percent_decoded(text: &str) -> Option<String> {
    if text.contains('/') {
        return None;
    }
    // In a form `+` is a space; in a path it is itself.
    let decoded = form_urlencoded::parse(text.replace('+', "%2B").as_bytes()).next()?.0.into_owned();
    Some(decoded)
}

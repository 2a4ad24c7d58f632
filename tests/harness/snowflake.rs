//! A stand-in for an account of Snowflake: its SQL API over HTTPS, with users, roles, privileges and a small catalog.
//!
//! It verifies what it is sent (token, signature, headers, one statement of those that need no warehouse) and answers as
//! Snowflake's documentation says, under `docs.snowflake.com/en/`: `developer-guide/sql-api/reference` and `…/authenticating`,
//! `user-guide/key-pair-auth-troubleshooting`, `sql-reference/sql/show` and `…/explain`. Its messages hold a canary. What should
//! never have been sent fails the test that owns it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    digest,
    encoding::AsDer as _,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};

use super::{
    authority::{Authority, Clients},
    web::{Answer, Asked, Faults, Web},
};

/// The authority of every account here.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// The account's name, as tokens say it.
pub const ACCOUNT: &str = "MYORG-SHOP";

/// The tables and views of the schema SHOP.PUBLIC: names that patterns and quotes may confuse.
pub const TABLES: [&str; 9] =
    ["ORDERS", "orders", "ORDERS_VIEW", "A_B", "AXB", "50%", "back\\slash", "quo\"te", "it's; DROP TABLE ORDERS"];

/// A key pair, of which the account knows the public half.
pub struct Pair(RsaKeyPair);

impl Pair {
    /// A new one.
    pub fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    /// The private key in PKCS#8.
    pub fn der(&self) -> Vec<u8> {
        self.0.as_der().expect("PKCS#8").as_ref().to_vec()
    }

    /// The private key in PEM.
    pub fn pem(&self) -> String {
        let document = pkcs8::Document::try_from(self.der()).expect("DER");
        document.to_pem("PRIVATE KEY", pkcs8::LineEnding::LF).expect("PEM")
    }

    fn public(&self) -> Public {
        Public::of(self.0.public_key().as_der().expect("a public key").as_ref())
    }
}

#[derive(Clone)]
struct Public {
    key: Vec<u8>,
    fingerprint: String,
}

impl Public {
    /// The key in a `SubjectPublicKeyInfo`.
    fn of(spki: &[u8]) -> Self {
        let fingerprint = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, spki));
        // Of a key of 2048 bits it is 24 bytes of frame and the PKCS#1 form.
        Self { key: spki[24..].to_vec(), fingerprint }
    }
}

/// Whether a user may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Good,
    Disabled,
    Locked,
    /// From this address not, by a network policy.
    Elsewhere,
}

/// What a token of the account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    OAuth,
    ExpiredOAuth,
    Programmatic,
    /// A programmatic access token of a user without a network policy.
    Unbounded,
}

/// What a backslash in a pattern of `SHOW … LIKE` means; the documentation does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backslash {
    Escapes,
    IsItself,
}

#[derive(Clone)]
struct User {
    public: Option<Public>,
    standing: Standing,
    roles: Vec<String>,
}

/// What an account knows.
#[derive(Clone)]
pub struct Known {
    users: BTreeMap<String, User>,
    tokens: BTreeMap<String, (String, Kind)>,
    grants: BTreeSet<(String, String, String)>,
    backslash: Backslash,
}

impl Known {
    /// Nobody yet, and nobody may do anything.
    pub fn nothing() -> Self {
        Self {
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            grants: BTreeSet::new(),
            backslash: Backslash::IsItself,
        }
    }

    /// A user with a role and, maybe, a key pair.
    pub fn user(mut self, name: &str, role: &str, pair: Option<&Pair>) -> Self {
        let user = User { public: pair.map(Pair::public), standing: Standing::Good, roles: vec![role.to_owned()] };
        self.users.insert(name.to_owned(), user);
        self
    }

    /// `ALTER USER … SET RSA_PUBLIC_KEY = '…'`.
    pub fn public_key(mut self, name: &str, base64: &str) -> Self {
        let spki = BASE64_STANDARD.decode(base64).expect("base64");
        self.users.get_mut(name).expect("a user").public = Some(Public::of(&spki));
        self
    }

    pub fn standing(mut self, name: &str, standing: Standing) -> Self {
        self.users.get_mut(name).expect("a user").standing = standing;
        self
    }

    pub fn token(mut self, token: &str, user: &str, kind: Kind) -> Self {
        self.tokens.insert(token.to_owned(), (user.to_owned(), kind));
        self
    }

    pub fn backslash(self, backslash: Backslash) -> Self {
        Self { backslash, ..self }
    }

    /// `GRANT SELECT ON TABLE SHOP.PUBLIC.ORDERS TO ROLE READER`, as it is written in the documentation; a name in it may be quoted.
    pub fn grant(mut self, statement: &str) -> Self {
        let tokens = tokens(statement.trim_end_matches(';')).expect("a statement");
        let words: Vec<&str> = tokens.iter().map(Token::text).collect();
        let [grant, privilege, on, _kind, path @ .., to, role_word, role] = &words[..] else {
            panic!("{statement} is no grant")
        };
        assert_eq!([*grant, *on, *to, *role_word], ["GRANT", "ON", "TO", "ROLE"], "{statement}");
        self.grants.insert(((*role).to_owned(), (*privilege).to_owned(), path.concat()));
        self
    }

    /// A running account that knows this.
    pub async fn start(self) -> Account {
        let faults = Faults::default();
        let book = faults.book();
        let tls = AUTHORITY.acceptor(&["127.0.0.1", "localhost"], Clients::Anybody);
        let web = Web::over(Some(tls), move |asked| {
            let (answer, fault) = self.answer(asked);
            book(fault);
            Some(answer)
        });
        Account { web: web.await, _faults: faults }
    }

    /// Whether a role has any privilege on something.
    fn any(&self, role: &str, path: &str) -> bool {
        self.grants.iter().any(|(whose, _, what)| whose == role && what == path)
    }

    fn has(&self, role: &str, privilege: &str, path: &str) -> bool {
        self.grants.contains(&(role.to_owned(), privilege.to_owned(), path.to_owned()))
    }

    fn answer(&self, asked: &Asked) -> (Answer, Option<String>) {
        let fault =
            |status, code, state, what: &str| (refusal(status, code, state), Some(format!("{what}: {asked:?}")));
        if asked.line != "POST /api/v2/statements" {
            return fault(404, "390404", "", "another request");
        }
        if asked.header("user-agent").is_empty() {
            return fault(400, "391903", "", "no User-Agent");
        }
        if asked.header("content-type") != "application/json" || asked.header("accept") != "application/json" {
            return fault(415, "391902", "", "another type of content");
        }
        let Ok(body) = serde_json::from_str::<Value>(&asked.body) else { return fault(400, "391902", "", "no JSON") };
        let fields: BTreeSet<&str> = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if !fields.is_subset(&BTreeSet::from(["statement", "timeout", "role"])) {
            return fault(400, "391902", "", "a request that names a warehouse, or anything else");
        }
        let time = body["timeout"].as_u64().unwrap_or_default();
        if !(1..=61).contains(&time) {
            return fault(400, "391902", "", "a statement that may outlive its look");
        }
        let user = match self.login(asked) {
            Ok(user) => user,
            Err(code) => return (refusal(401, code, ""), None),
        };
        let role = match body["role"].as_str() {
            None => user.roles[0].clone(),
            Some(role) if user.roles.iter().any(|own| own == role) => role.to_owned(),
            Some("GRANTED_TO_OTHERS") => return (refusal(401, "390186", ""), None),
            Some(_) => return (refusal(401, "390189", ""), None),
        };
        let statement = body["statement"].as_str().unwrap_or_default();
        match self.run(statement, &role) {
            Ok(answer) => (answer, None),
            Err(Wrong::Refused(code, state)) => (refusal(422, code, state), None),
            Err(Wrong::Forbidden(code)) => {
                fault(422, code, "42000", "a statement that is not of those that are listed")
            }
        }
    }

    /// Who asks, or the code of why not.
    fn login(&self, asked: &Asked) -> Result<&User, &'static str> {
        let token = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let user = match asked.header("x-snowflake-authorization-token-type") {
            "KEYPAIR_JWT" => self.verified(token)?,
            kind => {
                let (user, known) = self.tokens.get(token).ok_or(if kind == "OAUTH" { "390303" } else { "394400" })?;
                let said = match known {
                    Kind::OAuth => "OAUTH",
                    Kind::ExpiredOAuth => return Err("390318"),
                    Kind::Programmatic => "PROGRAMMATIC_ACCESS_TOKEN",
                    Kind::Unbounded => return Err("390432"),
                };
                // The header may be left out; a wrong one may not be sent.
                if !kind.is_empty() && kind != said {
                    return Err("390303");
                }
                self.users.get(user).ok_or("390100")?
            }
        };
        match user.standing {
            Standing::Good => Ok(user),
            Standing::Disabled => Err("390101"),
            Standing::Locked => Err("390102"),
            Standing::Elsewhere => Err("390422"),
        }
    }

    /// Whose key has signed the token: its form, its claims and its signature are looked at.
    fn verified(&self, token: &str) -> Result<&User, &'static str> {
        const INVALID: &str = "390144";
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, signature] = parts[..] else { return Err(INVALID) };
        let read = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| INVALID);
        let json = |part: &str| serde_json::from_slice::<Value>(&read(part)?).map_err(|_| INVALID);
        let claims_read = json(claims)?;
        let subject = claims_read["sub"].as_str().ok_or(INVALID)?;
        let name = subject.strip_prefix(ACCOUNT).and_then(|rest| rest.strip_prefix('.')).ok_or(INVALID)?;
        let user = self.users.get(name).ok_or(INVALID)?;
        let public = user.public.as_ref().ok_or(INVALID)?;
        let signed = format!("{head}.{claims}");
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public.key);
        let issuer = format!("{subject}.SHA256:{}", public.fingerprint);
        if json(head)?["alg"] != "RS256"
            || claims_read["iss"] != *issuer
            || key.verify(signed.as_bytes(), &read(signature)?).is_err()
        {
            return Err(INVALID);
        }
        let (issued, expires) =
            (claims_read["iat"].as_u64().ok_or(INVALID)?, claims_read["exp"].as_u64().ok_or(INVALID)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        if expires < now {
            return Err("390198");
        }
        let fresh = issued.abs_diff(now) <= 60 && expires > issued && expires - issued <= 3600;
        if fresh { Ok(user) } else { Err(INVALID) }
    }

    fn run(&self, statement: &str, role: &str) -> Result<Answer, Wrong> {
        const NO_SUCH: Wrong = Wrong::Refused("002043", "02000");
        let tokens = tokens(statement).ok_or(Wrong::Forbidden("001003"))?;
        let shape: Vec<String> = tokens.iter().map(Token::shape).collect();
        let args: Vec<&str> = tokens.iter().filter(|token| !matches!(token, Token::Word(_))).map(Token::text).collect();
        let visible = |path: &str| self.any(role, path);
        let listed = |pattern: &str, all: Vec<&str>, prefix: &str| {
            let seen = all.into_iter().filter(|name| visible(&format!("{prefix}{name}")));
            seen.filter(|name| like(name, pattern, self.backslash)).map(str::to_owned).collect::<Vec<_>>()
        };
        let within = |path: &str| if visible(path) { Ok(()) } else { Err(NO_SUCH) };
        match shape.join(" ").as_str() {
            "SHOW TERSE DATABASES LIMIT 1" => {
                Ok(terse(&listed("%", vec!["SHOP", "shop"], "").into_iter().take(1).collect::<Vec<_>>()))
            }
            "SHOW TERSE DATABASES LIKE ?" => Ok(terse(&listed(args[0], vec!["SHOP", "shop", "SH_P"], ""))),
            "SHOW TERSE SCHEMAS LIKE ? IN DATABASE ?" => {
                within(args[1])?;
                Ok(terse(&listed(args[0], vec!["PUBLIC", "public"], &format!("{}.", args[1]))))
            }
            "SHOW TERSE OBJECTS LIKE ? IN SCHEMA ? . ?" => {
                within(args[1])?;
                within(&format!("{}.{}", args[1], args[2]))?;
                Ok(terse(&listed(args[0], TABLES.to_vec(), &format!("{}.{}.", args[1], args[2]))))
            }
            "SHOW WAREHOUSES LIKE ?" => Ok(warehouses(&listed(args[0], vec!["REPORTS", "reports", "LOADS"], ""))),
            "EXPLAIN USING TEXT SELECT 1 FROM ? . ? . ?" => self.compile(role, &["SELECT"], &args),
            "EXPLAIN USING TEXT INSERT INTO ? . ? . ? SELECT * FROM ? . ? . ? WHERE FALSE" => {
                if args[..3] != args[3..] {
                    return Err(Wrong::Forbidden("001003"));
                }
                if args[2] == "ORDERS_VIEW" {
                    return Err(Wrong::Refused("000002", "0A000"));
                }
                self.compile(role, &["SELECT", "INSERT"], &args[..3])
            }
            shape if shape.starts_with("USE ") => Err(Wrong::Forbidden("391911")),
            _ => Err(Wrong::Forbidden("001003")),
        }
    }

    /// A plan, for who may do what is explained.
    fn compile(&self, role: &str, privileges: &[&str], path: &[&str]) -> Result<Answer, Wrong> {
        let (database, schema, table) = (path[0], format!("{}.{}", path[0], path[1]), path.join("."));
        let reached = self.has(role, "USAGE", database) && self.has(role, "USAGE", &schema);
        if !reached || !self.any(role, &table) || !TABLES.contains(&path[2]) {
            return Err(Wrong::Refused("002003", "42S02"));
        }
        if privileges.iter().all(|privilege| self.has(role, privilege, &table)) {
            Ok(result(&["content"], &[vec!["GlobalStats:\n    partitionsTotal=1\ncanary".to_owned()]]))
        } else {
            Err(Wrong::Refused("003001", "42501"))
        }
    }
}

/// Why a statement was not run.
enum Wrong {
    Refused(&'static str, &'static str),
    Forbidden(&'static str),
}

/// A running account.
pub struct Account {
    /// What it was asked.
    pub web: Web,
    _faults: Faults,
}

impl Account {
    /// Whom its own certificate is signed by.
    pub fn authority() -> &'static Authority {
        &AUTHORITY
    }

    /// The statements that it was sent.
    pub fn statements(&self) -> Vec<String> {
        let body = |asked: &Asked| serde_json::from_str::<Value>(&asked.body).expect("JSON");
        self.web.asked().iter().map(|asked| body(asked)["statement"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// How many faults an account finds in one request with this body and `User-Agent`, with the token `t`.
pub fn faults(known: &Known, body: &str, agent: &str) -> usize {
    let json = "application/json";
    let headers = [("user-agent", agent), ("content-type", json), ("accept", json), ("authorization", "Bearer t")];
    known.answer(&Asked::of("POST /api/v2/statements", headers, body)).1.into_iter().count()
}

/// A peer over TLS, with a certificate of the authority of all accounts, that answers as a test says.
pub async fn impostor(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Web {
    Web::over(Some(AUTHORITY.acceptor(&["127.0.0.1"], Clients::Anybody)), answer).await
}

/// What is said instead of a result: a `QueryFailureStatus`, or what the login says.
pub fn refusal(status: u16, code: &str, state: &str) -> Answer {
    let said = if state.is_empty() {
        json!({"code": code, "message": "canary [4cb8e42d-759a-48da-99b4-0c6a009a5191]"})
    } else {
        json!({
            "code": code, "message": "SQL compilation error:\ncanary does not exist or not authorized.", "sqlState": state,
            "statementHandle": "e4ce975e-f7ff-4b5e-b15e-bf25f59371ae",
            "statementStatusUrl": "/api/v2/statements/e4ce975e-f7ff-4b5e-b15e-bf25f59371ae",
        })
    };
    Answer::new(status, said.to_string()).header("content-type", "application/json")
}

/// A `ResultSet` of texts.
pub fn result(columns: &[&str], rows: &[Vec<String>]) -> Answer {
    let types: Vec<Value> =
        columns.iter().map(|name| json!({"name": name, "type": "text", "nullable": true})).collect();
    let body = json!({
        "resultSetMetaData": {
            "numRows": rows.len(), "format": "jsonv2", "rowType": types, "partitionInfo": [{"rowCount": rows.len()}],
        },
        "data": rows, "code": "090001", "sqlState": "00000", "message": "Statement executed successfully.",
        "statementHandle": "e4ce975e-f7ff-4b5e-b15e-bf25f59371ae", "createdOn": 1_597_090_533_987_u64,
        "statementStatusUrl": "/api/v2/statements/e4ce975e-f7ff-4b5e-b15e-bf25f59371ae",
    });
    Answer::new(200, body.to_string()).header("content-type", "application/json")
}

/// The columns of `SHOW TERSE …`.
pub fn terse(names: &[String]) -> Answer {
    let row = |name: &String| ["1597090533.987", name, "canary", "", ""].map(str::to_owned).to_vec();
    result(&["created_on", "name", "kind", "database_name", "schema_name"], &names.iter().map(row).collect::<Vec<_>>())
}

/// Some of the columns of `SHOW WAREHOUSES`.
fn warehouses(names: &[String]) -> Answer {
    let row = |name: &String| [name, "SUSPENDED", "STANDARD", "X-Small"].map(str::to_owned).to_vec();
    result(&["name", "state", "type", "size"], &names.iter().map(row).collect::<Vec<_>>())
}

/// A part of a statement.
enum Token {
    Word(String),
    /// A name in double quotes.
    Name(String),
    Text(String),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Name(text) | Self::Text(text) => text,
        }
    }

    fn shape(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Name(_) | Self::Text(_) => "?".to_owned(),
        }
    }
}

/// The parts of a statement ("Identifier requirements", "String & binary data types": in a literal two quotes are one, and a
/// backslash takes the next character as it is); `None` where a quote does not end.
fn tokens(statement: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = statement.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            ' ' => {}
            '"' | '\'' => {
                let mut text = String::new();
                loop {
                    match rest.next()? {
                        '\\' if next == '\'' => text.push(rest.next()?),
                        end if end == next && rest.peek() == Some(&next) => text.extend(rest.next()),
                        end if end == next => break,
                        other => text.push(other),
                    }
                }
                found.push(if next == '"' { Token::Name(text) } else { Token::Text(text) });
            }
            '.' | '*' => found.push(Token::Word(next.to_string())),
            _ => {
                let mut word = next.to_string();
                while let Some(more) = rest.next_if(|c| !" .'\"*".contains(*c)) {
                    word.push(more);
                }
                found.push(Token::Word(word));
            }
        }
    }
    Some(found)
}

/// Whether `name` is like `pattern`, in any case.
fn like(name: &str, pattern: &str, backslash: Backslash) -> bool {
    fn matches(name: &[char], pattern: &[char], backslash: Backslash) -> bool {
        let one = |wanted: char, rest: &[char]| {
            name.first().is_some_and(|c| c.to_uppercase().eq(wanted.to_uppercase()))
                && matches(&name[1..], rest, backslash)
        };
        match pattern {
            [] => name.is_empty(),
            ['%', rest @ ..] => (0..=name.len()).any(|n| matches(&name[n..], rest, backslash)),
            ['_', rest @ ..] => !name.is_empty() && matches(&name[1..], rest, backslash),
            ['\\', wanted, rest @ ..] if backslash == Backslash::Escapes => one(*wanted, rest),
            [wanted, rest @ ..] => one(*wanted, rest),
        }
    }
    matches(&name.chars().collect::<Vec<_>>(), &pattern.chars().collect::<Vec<_>>(), backslash)
}

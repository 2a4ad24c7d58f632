//! Somebody who talks to the API server: the tests' administrator, or another user by impersonation.
//!
//! Objects are JSON, so that a test says what a user would write and sees what a user would see, and not what the
//! operator's own types make of it.

use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::{Client, Config, client::Body};
use serde_json::Value;

/// A user of the API server.
#[derive(Clone)]
pub struct Caller {
    config: Config,
    client: Client,
}

/// What the API server said.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The texts of the `Warning` headers.
    pub warnings: Vec<String>,
    /// The object, or the `Status`.
    pub body: Value,
}

/// How a patch is to be read.
#[derive(Clone, Copy, Debug)]
pub enum PatchKind {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
}

impl Caller {
    /// The user that `config` names.
    ///
    /// # Errors
    /// Where no client can be made of it.
    pub fn new(config: Config) -> Result<Self, String> {
        let client = Client::try_from(config.clone()).map_err(|error| error.to_string())?;
        Ok(Self { config, client })
    }

    /// The same connection as another user; the right to impersonate is this caller's.
    pub fn impersonating(&self, user: &str) -> Self {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        Self::new(config).expect("a client was made of the same settings before")
    }

    /// Reads one path.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "application/json", None).await
    }

    /// Creates an object.
    pub async fn create(&self, path: &str, object: &Value) -> Answer {
        self.call(Method::POST, path, "application/json", Some(object)).await
    }

    /// Patches an object.
    pub async fn patch(&self, path: &str, kind: PatchKind, change: &Value) -> Answer {
        let content_type = match kind {
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Json => "application/json-patch+json",
        };
        self.call(Method::PATCH, path, content_type, Some(change)).await
    }

    /// Deletes an object; `options` are `DeleteOptions`.
    pub async fn delete(&self, path: &str, options: Option<&Value>) -> Answer {
        self.call(Method::DELETE, path, "application/json", options).await
    }

    async fn call(&self, method: Method, path: &str, content_type: &str, body: Option<&Value>) -> Answer {
        let bytes = body.map(|body| serde_json::to_vec(body).expect("JSON")).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("Content-Type", content_type);
        let request = request.body(Body::from(bytes)).expect("a request");
        let response = self.client.send(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("Warning").iter();
        let warnings = warnings.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        let bytes = response.into_body().collect().await.unwrap_or_else(|error| panic!("{path}: {error}")).to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code, warnings, body }
    }
}

impl Answer {
    /// The object of a request that went well.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn object(self) -> Value {
        assert!((200..300).contains(&self.code), "HTTP {}: {}", self.code, self.message());
        self.body
    }

    /// The object, or `None` where there is none of that name.
    ///
    /// # Panics
    /// Where the request failed otherwise.
    #[track_caller]
    pub fn found(self) -> Option<Value> {
        (self.code != 404).then(|| self.object())
    }

    /// The message of a `Status`.
    pub fn message(&self) -> String {
        self.body["message"].as_str().map_or_else(|| self.body.to_string(), str::to_owned)
    }
}

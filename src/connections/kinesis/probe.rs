//! The one look at a stream: ask what state it is in and, where it is asked for, list streams and take a position in one shard.
//!
//! Each question is one signed call, made once. Nothing is read out of the stream and nothing is written to it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    connections::{
        Permission, Probe,
        family::aws::{
            Keys, Region,
            call::{Json, Service},
            codes::Refused,
            sts,
        },
    },
    failure::{Code, Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, tls::Tls},
};

/// Longest id of a shard (`ShardId` in the API Reference).
const LONGEST_SHARD: usize = 128;

/// States in which a stream can be neither read nor written (`StreamDescriptionSummary` in the API Reference).
const UNUSABLE: &[&str] = &["CREATING", "DELETING"];

const DESCRIBE: &str = "kinesis:DescribeStreamSummary";
const LIST_STREAMS: &str = "kinesis:ListStreams";
const LIST_SHARDS: &str = "kinesis:ListShards";
const GET_SHARD_ITERATOR: &str = "kinesis:GetShardIterator";

const DENIED: &str = "allow it for this stream, or correct the name: AWS says the same where there is no such stream";
const NO_SUCH_NAME: &str = "correct kinesis.stream: the service takes it for neither a name nor an ARN of a stream";

const UNREAD: &str = "kinesis:GetRecords, which would take from what consumers may read";
const STILL_ENCRYPTED: &str = "the right to decrypt with the stream's key";

/// All that one look needs.
pub(super) struct Look {
    pub stream: Option<Stream>,
    pub region: Region,
    pub url: String,
    pub keys: Keys,
    pub exchange: Option<sts::Exchange>,
    pub tls: Tls,
    pub permissions: Vec<Permission>,
}

/// A stream, as requests name it.
#[derive(Debug, Serialize)]
pub(super) enum Stream {
    #[serde(rename = "StreamName")]
    Name(String),
    #[serde(rename = "StreamARN")]
    Arn(String),
}

impl Stream {
    /// The stream of a spec, where it is a name or an ARN.
    pub(super) fn of(spec: &str) -> Self {
        if spec.starts_with("arn:") { Self::Arn(spec.to_owned()) } else { Self::Name(spec.to_owned()) }
    }
}

#[derive(Serialize)]
struct ListStreams {
    #[serde(rename = "Limit")]
    limit: u8,
}

#[derive(Serialize)]
struct ListShards<'a> {
    #[serde(flatten)]
    stream: &'a Stream,
    #[serde(rename = "MaxResults")]
    most: u8,
}

#[derive(Serialize)]
struct GetShardIterator<'a> {
    #[serde(flatten)]
    stream: &'a Stream,
    #[serde(rename = "ShardId")]
    shard: &'a str,
    #[serde(rename = "ShardIteratorType")]
    kind: &'static str,
}

// Of each answer what it always has, so that another document is not taken for it, and what is used.

#[derive(Deserialize)]
struct Streams {
    #[serde(rename = "HasMoreStreams")]
    _more: bool,
}

#[derive(Deserialize)]
struct Described {
    #[serde(rename = "StreamDescriptionSummary")]
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(rename = "StreamStatus")]
    state: String,
    #[serde(rename = "EncryptionType")]
    encryption: Option<String>,
}

#[derive(Deserialize)]
struct Shards {
    #[serde(rename = "Shards")]
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Shard {
    #[serde(rename = "ShardId")]
    id: String,
}

#[derive(Deserialize)]
struct Position {
    #[serde(rename = "ShardIterator")]
    _token: String,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let assumed;
        let keys = match &self.exchange {
            None => &self.keys,
            Some(exchange) => {
                assumed = exchange.keys(net, &self.keys).await?;
                &assumed
            }
        };
        let service = Service { name: "kinesis", region: &self.region, url: &self.url };
        let api = Api { net, tls: &self.tls, keys, service };
        // The first signed request, and so the login.
        let encrypted = match &self.stream {
            None => {
                api.streams().await?.map_err(|refused| self.explain(&refused, LIST_STREAMS))?;
                false
            }
            Some(stream) => {
                let found = api.describe(stream).await?.map_err(|refused| self.explain(&refused, DESCRIBE))?;
                self.judge(&found.summary)?;
                found.summary.encryption.as_deref() == Some("KMS")
            }
        };
        net.step(Stage::Access);
        let mut lacks = Vec::new();
        for permission in &self.permissions {
            let proven = match (permission, &self.stream) {
                // Without a stream they were listed to see whether they may be.
                (Permission::List, None) => Ok(()),
                (Permission::List, Some(_)) => self.right(api.streams().await?, LIST_STREAMS)?.map(drop),
                (Permission::Read, Some(stream)) => self.may_read(&api, stream).await?,
                // The API server refuses both, and what was stored before it did is refused when it is read.
                (Permission::Read, None) | (Permission::Write, _) => return Err(Failure::new(FailureClass::Internal)),
            };
            lacks.extend(proven.err().map(|lack| (*permission, lack)));
        }
        self.sum_up(&lacks)?;
        let read = self.permissions.contains(&Permission::Read);
        Ok(Proof::default().but(read.then_some(UNREAD)).but((read && encrypted).then_some(STILL_ENCRYPTED)))
    }
}

impl Look {
    /// Whether a position in the stream can be had. A token comes back; it moves nothing, and ends by itself.
    async fn may_read(&self, api: &Api<'_>, stream: &Stream) -> Result<Result<(), Lack>, Failure> {
        let found = match self.right(api.shards(stream).await?, LIST_SHARDS)? {
            Ok(found) => found,
            Err(lack) => return Ok(Err(lack)),
        };
        // Every stream has a shard.
        let first = found.shards.first().map(|shard| shard.id.as_str());
        let shard = first
            .filter(|id| (1..=LONGEST_SHARD).contains(&id.len()))
            .ok_or_else(|| Failure::new(FailureClass::ProtocolMismatch))?;
        Ok(self.right(api.position(stream, shard).await?, GET_SHARD_ITERATOR)?.map(drop))
    }

    /// Whether the stream can be used.
    fn judge(&self, summary: &Summary) -> Result<(), Failure> {
        match summary.state.as_str() {
            // Reads and writes go on while shards are split or merged.
            "ACTIVE" | "UPDATING" => Ok(()),
            state => {
                let failure = Failure::new(FailureClass::TargetUnavailable).about(self.shown());
                Err(failure.code(Code::known(UNUSABLE, state)))
            }
        }
    }

    /// What the answer to a question about a right shows: that right, or something else.
    fn right<T>(&self, reply: Result<T, Refused>, action: &'static str) -> Result<Result<T, Lack>, Failure> {
        match reply {
            Ok(answer) => Ok(Ok(answer)),
            Err(refused) => match refused.class() {
                FailureClass::PermissionDenied => Ok(Err(Lack::Denied(action))),
                _ if refused.leaves_open() => Ok(Err(Lack::Unclear(refused))),
                _ => Err(self.explain(&refused, action)),
            },
        }
    }

    /// What is lacking, all at once.
    fn sum_up(&self, lacks: &[(Permission, Lack)]) -> Result<(), Failure> {
        let mut denied = None;
        let mut unclear = None;
        for (permission, lack) in lacks {
            match lack {
                Lack::Denied(action) => {
                    let failure =
                        denied.unwrap_or_else(|| Failure::new(FailureClass::PermissionDenied).about(self.shown()));
                    denied = Some(failure.word(permission.as_str()).word(action));
                }
                Lack::Unclear(refused) => {
                    let failure = refused.failure_as(FailureClass::NotProvable).about(self.shown());
                    unclear = Some(failure.word(permission.as_str()));
                }
            }
        }
        denied.or(unclear).map_or(Ok(()), Err)
    }

    /// What the service said instead of an answer means.
    fn explain(&self, refused: &Refused, action: &'static str) -> Failure {
        match refused.class() {
            FailureClass::PermissionDenied => {
                let failure = refused.failure().about(self.shown()).word(action);
                if self.stream.is_none() { failure } else { failure.advice(DENIED) }
            }
            FailureClass::TargetNotFound | FailureClass::TargetUnavailable => refused.failure().about(self.shown()),
            // The stream is the one argument that somebody chose.
            _ if refused.is("InvalidArgumentException") && self.stream.is_some() => {
                refused.failure_as(FailureClass::TargetNotFound).about(self.shown()).advice(NO_SUCH_NAME)
            }
            _ => refused.failure(),
        }
    }

    fn shown(&self) -> Setting {
        Setting::from_spec(match &self.stream {
            Some(Stream::Name(stream) | Stream::Arn(stream)) => format!("stream {stream}"),
            None => format!("the streams of {}", self.region.0),
        })
    }
}

/// Why a right was not proven.
enum Lack {
    /// Who asks may not do this.
    Denied(&'static str),
    /// The service said something else.
    Unclear(Refused),
}

/// The service, as whoever asks it in this look.
struct Api<'a> {
    net: &'a Network,
    tls: &'a Tls,
    keys: &'a Keys,
    service: Service<'a>,
}

impl Api<'_> {
    async fn describe(&self, stream: &Stream) -> Result<Result<Described, Refused>, Failure> {
        self.ask("Kinesis_20131202.DescribeStreamSummary", stream).await
    }

    async fn streams(&self) -> Result<Result<Streams, Refused>, Failure> {
        self.ask("Kinesis_20131202.ListStreams", &ListStreams { limit: 1 }).await
    }

    async fn shards(&self, stream: &Stream) -> Result<Result<Shards, Refused>, Failure> {
        self.ask("Kinesis_20131202.ListShards", &ListShards { stream, most: 1 }).await
    }

    async fn position(&self, stream: &Stream, shard: &str) -> Result<Result<Position, Refused>, Failure> {
        let latest = GetShardIterator { stream, shard, kind: "LATEST" };
        self.ask("Kinesis_20131202.GetShardIterator", &latest).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &(impl Serialize + Sync),
    ) -> Result<Result<T, Refused>, Failure> {
        let reply = self.service.json(self.net, self.tls, self.keys, Json::V1_1, operation, input).await?;
        reply.map_or_else(
            |refused| Ok(Err(refused)),
            |body| {
                let answer = serde_json::from_slice(&body);
                answer.map(Ok).map_err(|_| Failure::new(FailureClass::ProtocolMismatch))
            },
        )
    }
}

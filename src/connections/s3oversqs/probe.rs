//! The one look at a queue and at its bucket: the queue's attributes, where it is asked for the deletion of a message that there
//! never was, and then what is looked at of any bucket. No message is received: that would hide it from who waits for it.

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    connections::{
        Permission, Probe,
        family::aws::{
            Keys, Region,
            bucket::{Bucket, Rights},
            call::{Json, Reply, Service},
            codes::Refused,
            sts,
        },
    },
    failure::{Failure, FailureClass, Proof, Setting, Stage},
    net::{Network, tls::Tls},
};

/// A receipt handle that no message has.
const NO_SUCH_MESSAGE: &str = "connection-operator-no-such-message";

/// What `Read` needs and nothing shows: it cannot be tried without taking a message from who waits for it.
const RECEIVING: &str = "sqs:ReceiveMessage, since receiving would hide a message from its reader";

/// All that one look needs.
pub(super) struct Look {
    pub queue: Queue,
    pub bucket: Bucket,
    pub keys: Keys,
    pub exchange: Option<sts::Exchange>,
}

/// A queue, and where it is asked about.
pub(super) struct Queue {
    pub account: String,
    pub name: String,
    /// How the service knows it. Nothing is dialled by it.
    pub url: String,
    pub region: Region,
    /// Where requests go.
    pub endpoint: String,
    pub tls: Tls,
    pub owner: Owner,
}

/// Whose account the queue is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// That of the role which looks.
    Ours,
    /// Nobody says whose account an access key is of, short of another call to another service.
    Unknown,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        let role = match &self.exchange {
            Some(exchange) => Some(exchange.keys(net, &self.keys).await?),
            None => None,
        };
        let keys = role.as_ref().unwrap_or(&self.keys);
        self.queue.is_there(net, keys).await?;
        net.step(Stage::Access);
        let reads = self.bucket.permissions.contains(&Permission::Read);
        let deleting = if reads { self.queue.may_delete(net, keys).await? } else { Deleting::Granted };
        let rights = self.bucket.look(net, Some(keys)).await?;
        self.judge(&deleting, &rights)?;
        Ok(Proof::default().but(reads.then_some(RECEIVING)))
    }
}

impl Look {
    /// Whether that is enough. Each permission that is missing is named once, whatever it is missing on.
    fn judge(&self, deleting: &Deleting, rights: &Rights) -> Result<(), Failure> {
        match deleting {
            Deleting::Granted => self.bucket.judge(rights),
            Deleting::Denied => {
                let (queue, bucket) = (self.queue.shown(), self.bucket.shown());
                let about =
                    if rights.denied.is_empty() { queue } else { Setting::from_spec(format!("{queue} and {bucket}")) };
                let failure = Failure::new(FailureClass::PermissionDenied).about(about);
                let is_missing = |asked: &&Permission| **asked == Permission::Read || rights.denied.contains(asked);
                let missing = self.bucket.permissions.iter().filter(is_missing);
                Err(failure.words(missing).advice(
                    "Read takes sqs:DeleteMessage and sqs:ReceiveMessage on the queue and s3:GetObject in the bucket",
                ))
            }
            Deleting::Unclear(refused) => {
                self.bucket.judge(rights)?;
                let failure = match refused {
                    Some(refused) => refused.failure_as(FailureClass::NotProvable),
                    None => Failure::new(FailureClass::NotProvable),
                };
                Err(failure.about(self.queue.shown()).word(Permission::Read.as_str()))
            }
        }
    }
}

/// What a request showed about the right to delete messages.
enum Deleting {
    Granted,
    Denied,
    /// The system said something that is neither; nothing, where it says to have deleted what never was.
    Unclear(Option<Refused>),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    attributes: Arn,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Arn {
    queue_arn: String,
}

impl Queue {
    /// Whether the queue is there. It is the first signed request, and so the login.
    async fn is_there(&self, net: &Network, keys: &Keys) -> Result<(), Failure> {
        let input = json!({"QueueUrl": self.url, "AttributeNames": ["QueueArn"]});
        match self.call(net, keys, "AmazonSQS.GetQueueAttributes", &input).await? {
            Ok(document) if self.is_of(&document) => Ok(()),
            Ok(_) => Err(Failure::new(FailureClass::ProtocolMismatch)),
            Err(refused) => Err(self.explain(&refused)),
        }
    }

    /// Whether messages could be deleted: one is that there never was. Who may not is told so first.
    async fn may_delete(&self, net: &Network, keys: &Keys) -> Result<Deleting, Failure> {
        let input = json!({"QueueUrl": self.url, "ReceiptHandle": NO_SUCH_MESSAGE});
        match self.call(net, keys, "AmazonSQS.DeleteMessage", &input).await? {
            Ok(_) => Ok(Deleting::Unclear(None)),
            Err(refused) if refused.is("ReceiptHandleIsInvalid") => Ok(Deleting::Granted),
            Err(refused) => match refused.class() {
                FailureClass::PermissionDenied => Ok(Deleting::Denied),
                _ if refused.leaves_open() => Ok(Deleting::Unclear(Some(refused))),
                _ => Err(self.explain(&refused)),
            },
        }
    }

    async fn call(&self, net: &Network, keys: &Keys, operation: &str, input: &Value) -> Result<Reply, Failure> {
        let service = Service { name: "sqs", region: &self.region, url: &self.endpoint };
        service.json(net, &self.tls, keys, Json::V1_0, operation, input).await
    }

    /// Whether it is an answer about this queue.
    fn is_of(&self, document: &Bytes) -> bool {
        let found = serde_json::from_slice::<Attributes>(document);
        found.is_ok_and(|found| found.attributes.queue_arn.rsplit(':').next() == Some(self.name.as_str()))
    }

    /// What the service's answer means.
    fn explain(&self, refused: &Refused) -> Failure {
        match (refused.class(), self.owner) {
            (FailureClass::PermissionDenied, _) => refused
                .failure()
                .about(self.shown())
                .word("sqs:GetQueueAttributes")
                .advice("grant it on the queue, or correct the queue's URL: a queue that does not exist may be refused so, too"),
            (FailureClass::TargetNotFound, Owner::Ours) => refused.failure().about(self.shown()),
            (FailureClass::TargetNotFound, Owner::Unknown) => refused
                .failure_as(FailureClass::TargetNotFoundOrNotPermitted)
                .about(self.shown())
                .advice("create the queue or correct its URL; if it is of another account, let its policy name these credentials"),
            _ => refused.failure(),
        }
    }

    fn shown(&self) -> Setting {
        Setting::from_spec(format!("queue {}/{}", self.account, self.name))
    }
}

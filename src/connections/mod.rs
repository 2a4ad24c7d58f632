//! Every connection type, in one list. From it come the CRD's union, [`ConnectionType`], the names in metrics, examples,
//! documentation pages and the tests that every type must pass.
//!
//! A type is one folder and two lines here. No code outside its folder may name it; a type does no I/O outside its
//! `probe.rs`, and none without a [`Network`].

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    failure::{Failure, Proof, Setting},
    net::{Network, tls::Tls},
    secret::{Credentials, Digest, Key, Method},
};

pub mod family;
pub mod fields;
pub mod text;

pub use fields::Permission;

/// The one macro of the code base: the list of types.
macro_rules! connection_types {
    ($($variant:ident, $module:ident, $member:literal, $doc:literal;)+) => {
        /// Kind of a system.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        pub enum ConnectionType { $(#[doc = $doc] $variant,)+ }

        impl ConnectionType {
            /// Every type, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that the spec uses.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// The spec's member that holds the settings of this type.
            pub const fn member(self) -> &'static str {
                match self { $(Self::$variant => $member,)+ }
            }

            /// One sentence about the type.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $doc,)+ }
            }

            /// What a child does for this type, if it does anything. The job is called as the member.
            pub fn job(self) -> Option<Job> {
                match self { $(Self::$variant => <$module::Settings as Definition>::job(),)+ }
            }

            /// What is the same for every connection of this type.
            pub const fn about(self) -> &'static About {
                match self { $(Self::$variant => &$module::ABOUT,)+ }
            }
        }

        /// The settings: exactly the member that `type` names is set. Each is behind a pointer, so that a Connection of one type has
        /// no room for all others.
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[schemars(transform = member_rules)]
        pub struct Members { $(
            #[doc = $doc]
            #[serde(rename = $member, default, skip_serializing_if = "Option::is_none")]
            pub $module: Option<Box<$module::Settings>>,
        )+ }

        impl Members {
            /// The settings of `kind`.
            ///
            /// # Errors
            /// The sentence that the API server would refuse the spec with.
            pub fn settings(&self, kind: ConnectionType) -> Result<&dyn Definition, String> {
                let set: &[(ConnectionType, Option<&dyn Definition>)] = &[$((
                    ConnectionType::$variant,
                    self.$module.as_deref().map(|settings| settings as &dyn Definition),
                ),)+];
                for (other, settings) in set {
                    if settings.is_some() != (*other == kind) {
                        return Err(member_message(*other));
                    }
                }
                set.iter().find_map(|(_, settings)| *settings).ok_or_else(|| member_message(kind))
            }
        }

        /// Adds the rules that tie `type` to its member, and the rules of each type about the whole spec.
        fn member_rules(schema: &mut schemars::Schema) { $(
            let kind = ConnectionType::$variant;
            let tie = kube::core::Rule::new(format!("(self.type == '{}') == has(self.{})", kind.as_str(), kind.member()))
                .message(kube::core::Message::Message(member_message(kind)))
                .field_path(format!(".{}", kind.member()));
            kube::core::validate(schema, tie).expect("a rule is JSON");
            for (rule, message) in $module::RULES {
                kube::core::validate(schema, (*rule, *message)).expect("a rule is JSON");
            }
        )+ }
    };
}

pub mod athena;
pub mod azureblob;
pub mod elasticsearch;
pub mod googlestorage;
pub mod hdfs;
pub mod kafka;
pub mod kinesis;
pub mod mysql;
pub mod postgresql;
pub mod qubole;
pub mod redshift;
pub mod s3;
pub mod s3oversqs;
pub mod snowflake;
pub mod spotinstvpc;
pub mod sqlserver;

connection_types! {
    S3, s3, "s3", "A bucket of Amazon S3, or of a system that speaks its protocol.";
    Kinesis, kinesis, "kinesis", "A stream of Amazon Kinesis Data Streams, or of a system that speaks its protocol.";
    Redshift, redshift, "redshift", "A database of Amazon Redshift, of a cluster or of a serverless workgroup.";
    Athena, athena, "athena", "A work group of Amazon Athena, with its catalog and the place of its results.";
    S3OverSQS, s3oversqs, "s3OverSQS", "A bucket of Amazon S3, and the queue of Amazon SQS that tells of its new objects.";
    GoogleStorage, googlestorage, "googleStorage", "A bucket of Google Cloud Storage.";
    AzureBlob, azureblob, "azureBlob", "A container of Azure Blob Storage.";
    Snowflake, snowflake, "snowflake", "An account of Snowflake, through its SQL API.";
    MySQL, mysql, "mysql", "A database of MySQL or MariaDB, or of a server that speaks their protocol.";
    Elasticsearch, elasticsearch, "elasticsearch", "A cluster of Elasticsearch or OpenSearch.";
    HDFS, hdfs, "hdfs", "A file or directory of HDFS, through its name nodes or WebHDFS.";
    Qubole, qubole, "qubole", "An account of Qubole, with the clusters that run its queries of Presto and Hive.";
    PostgreSQL, postgresql, "postgresql", "A database of PostgreSQL, or of a server that speaks its protocol.";
    SQLServer, sqlserver, "sqlServer", "A database of Microsoft SQL Server, or of Azure SQL.";
    SpotinstVPC, spotinstvpc, "spotinstVPC", "An account of Spotinst, and the VPC that its machines run in.";
    Kafka, kafka, "kafka", "A cluster of Apache Kafka, or of a system that speaks its protocol.";
}

/// What is the same for every connection of one type.
#[derive(Debug)]
pub struct About {
    /// The canonical Secret keys, with the other names they are known by.
    pub keys: &'static [Key],
    /// The time between probes where the spec names none.
    pub interval: Duration,
    /// Whether a rejected login can lock the account, where [`Prepared::lockout`] says nothing else.
    pub lockout: Lockout,
    /// The permissions that can be asked for.
    pub permissions: &'static [Permission],
    /// The smallest useful manifest: the Secret and the Connection, as YAML.
    pub minimal: &'static str,
    /// A manifest that sets every field of the type, as YAML.
    pub full: &'static str,
    /// The documentation page, without its generated parts.
    pub docs: &'static str,
    /// What the tests of the type run against, for the README's table: `KIND: WHAT; …`, where the kind is `real server` (the system
    /// itself), `emulator` (a product that imitates it) or `stand-in` (what plays its part in the tests, after its documentation).
    pub tested_against: &'static str,
}

/// Whether a rejected login can lock the account; it decides how soon a rejected credential is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockout {
    /// It can: tried again after 1 h, doubling to 24 h.
    Possible,
    /// It cannot, since nothing counts rejections: tried again after 30 s, doubling to 1 h.
    Impossible,
}

/// The settings of one connection, as the spec has them.
pub trait Definition: std::fmt::Debug + Send + Sync {
    /// The connection string for people: from typed fields, percent-encoded, cut at 256 characters, without any secret.
    fn connection_string(&self) -> String;

    /// The ways to log in that this connection can use. Empty: it is used without credentials.
    fn methods(&self, tls: &Tls) -> Vec<Method>;

    /// Whether it can be used without any of its methods, too: where the spec names no Secret, nobody logs in.
    fn goes_without_credentials(&self) -> bool {
        false
    }

    /// Checks what the schema cannot, and makes the probe. It does no I/O.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where the spec contradicts itself, [`Refusal::Unusable`] where a value of a Secret cannot be used.
    fn prepare(&self, given: Given) -> Result<Prepared, Refusal>;

    /// What a child of the operator does for this type, where its client cannot be trusted with the process.
    fn job() -> Option<Job>
    where
        Self: Sized,
    {
        None
    }
}

/// What a child of the operator does: it is told one line, which its probe has written, and answers one. It runs alone in its
/// process, so it may block, panic and be ended.
pub type Job = fn(told: &[u8]) -> String;

/// What a connection is given beside its own settings.
#[derive(Debug)]
pub struct Given {
    /// The Connection's namespace; a host without a dot is looked for in it.
    pub namespace: String,
    /// The selected values of the Secret.
    pub credentials: Credentials,
    /// The Secret they came from, as messages call it; the type's own name where there is none.
    pub secret: Setting,
    /// TLS mode, trusted CA, client certificate and server name.
    pub tls: Tls,
    /// The permissions to prove, sorted, without duplicates.
    pub permissions: Vec<Permission>,
}

/// A probe that is ready to run as often as wanted. It and only it holds the values of Secrets.
pub struct Prepared {
    /// The check.
    pub probe: Box<dyn Probe>,
    /// Who logs in where: the fingerprint of `host:port` or account, and of the user's name. A rejection is remembered for it.
    pub account: Digest,
    /// Whether a rejection of this very login can lock the account; `None` where it is as with every other login of the type.
    pub lockout: Option<Lockout>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepared(…)")
    }
}

/// Why no probe could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The spec contradicts itself; the sentence says how, in our words.
    Invalid(String),
    /// A value of a Secret or ConfigMap cannot be used.
    Unusable(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Unusable(failure)
    }
}

/// One look at one connection.
#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// Climbs the stages through `net` and says what was proven. It writes nothing, and logs in at most once.
    ///
    /// # Errors
    /// What did not pass. The caller knows the stage in progress from the steps taken through `net`.
    async fn run(&self, net: &Network) -> Result<Proof, Failure>;

    /// Where it works. Few may work in a child at once, so that the operator has the memory for all of them.
    fn workplace(&self) -> Workplace {
        Workplace::Operator
    }
}

/// Where a probe works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Workplace {
    /// In the operator itself.
    Operator,
    /// In a child of it: it calls [`Network::ask_child`].
    Child,
}

/// The sentence for a member that is missing or too many.
fn member_message(kind: ConnectionType) -> String {
    format!("`{}` must be set exactly when `type` is {}", kind.member(), kind.as_str())
}

//! What must come of each type, one line each, and the whole set of conditions that follows from it.

use connection_operator::connections::ConnectionType;

/// Type, status and reason of a condition.
pub type Expected = (&'static str, &'static str, &'static str);

/// What must come of one type.
pub struct Answer {
    /// The type.
    pub kind: ConnectionType,
    /// The connection string, with `{}` for host and port; and that of the full example, where the minimal one has no login that
    /// could be rejected.
    pub string: &'static str,
    pub full: &'static str,
    /// Why it is authenticated where its Secret is right.
    pub login: &'static str,
    /// Why it is not where its Secret is wrong.
    pub rejection: &'static str,
}

const fn answer(kind: ConnectionType, string: &'static str, login: &'static str, rejection: &'static str) -> Answer {
    Answer { kind, string, full: "", login, rejection }
}

use ConnectionType as T;

/// The answers, in the order of the list.
#[rustfmt::skip]
pub const ANSWERS: &[Answer] = &[
    answer(T::S3, "s3://orders-lake?endpoint={}", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::Kinesis, "kinesis://eu-central-1/orders?endpoint={}", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::Redshift, "redshift://{}/warehouse", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::Athena, "athena://eu-central-1/primary?endpoint={}&s3Endpoint={}", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::S3OverSQS, "s3://orders-lake?queue=123456789012/new-orders&endpoint={}&sqsEndpoint={}", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::GoogleStorage, "gs://orders-lake?endpoint={}", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::AzureBlob, "https://{}/ordersarchive/orders", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::Snowflake, "snowflake://myorg-shop/SHOP?host={}", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::MySQL, "mysql://{}/orders", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::Elasticsearch, "https://{}/orders", "CredentialsAccepted", "AuthenticationFailed"),
    Answer { full: "hdfs://lake/data/orders", ..answer(T::HDFS, "hdfs://{}/data/orders", "NotRequired", "AuthenticationFailed") },
    answer(T::Qubole, "https://{}?presto=orders-presto", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::PostgreSQL, "postgresql://{}/orders", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::SQLServer, "sqlserver://{};database=orders", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::SpotinstVPC, "spotinst://act-7c2d91e4?endpoint={}", "CredentialsAccepted", "AuthenticationFailed"),
    answer(T::Kafka, "kafka://{}/orders", "CredentialsAccepted", "AuthenticationFailed"),
];

impl Answer {
    /// The one of a type.
    ///
    /// # Panics
    /// Where it has none.
    pub fn of(kind: ConnectionType) -> &'static Self {
        let found = ANSWERS.iter().find(|answer| answer.kind == kind);
        found.unwrap_or_else(|| panic!("{kind:?} has no line in tests/fleet/answers.rs"))
    }

    /// What is said of the Secret: whoever need not log in has none.
    fn secret(&self) -> &'static str {
        if self.login == "NotRequired" { "NotRequired" } else { "Resolved" }
    }

    /// Where everything is as it should be.
    pub fn ready(&self) -> Vec<Expected> {
        vec![
            ("Ready", "True", "Succeeded"),
            ("CredentialsResolved", "True", self.secret()),
            ("Reachable", "True", "Connected"),
            ("Authenticated", "True", self.login),
            ("Accessible", "True", "Verified"),
            ("InUse", "False", "NotReferenced"),
        ]
    }

    /// Where nobody knows the values of the Secret.
    pub fn rejected(&self) -> Vec<Expected> {
        vec![
            ("Ready", "False", self.rejection),
            ("CredentialsResolved", "True", "Resolved"),
            ("Reachable", "True", "Connected"),
            ("Authenticated", "False", self.rejection),
            ("Accessible", "Unknown", "NotChecked"),
            ("InUse", "False", "NotReferenced"),
            ("Stalled", "True", self.rejection),
        ]
    }

    /// Where nobody says anything.
    pub fn silent(&self) -> Vec<Expected> {
        vec![
            ("Ready", "False", "TimedOut"),
            ("CredentialsResolved", "True", self.secret()),
            ("Reachable", "False", "TimedOut"),
            ("Authenticated", "Unknown", "NotChecked"),
            ("Accessible", "Unknown", "NotChecked"),
            ("InUse", "False", "NotReferenced"),
            ("Reconciling", "True", "ProgressingWithRetry"),
        ]
    }
}

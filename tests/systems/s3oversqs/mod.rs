//! S3 over SQS's probe: what each case is called, and which requests a look makes and makes never.

use std::net::SocketAddr;

use connection_operator::{
    connections::{ConnectionType, Permission, fields::HttpUrl, s3oversqs::Settings},
    failure::{Reason, Stage},
    net::tls::Mode,
};

use crate::{case, harness::peer};
use Permission::{List, Read, Write};

mod aws;
mod stand_in;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to a bucket and a queue of two systems, without TLS.
    fn plain(queues: SocketAddr, buckets: SocketAddr) -> Self {
        let urls = [queues, buckets].map(|address| format!("http://{address}"));
        Self::between(&urls[0], &urls[1]).tls(|tls| tls.mode = Mode::Disable)
    }

    /// A connection to the bucket `orders` and the queue `new-orders` of systems at two URLs.
    fn between(queues: &str, buckets: &str) -> Self {
        let settings = serde_json::json!({
            "bucket": "orders", "region": "us-east-1", "queueURL": format!("{queues}/123456789012/new-orders"),
            "sqsEndpoint": queues, "endpoint": buckets,
        });
        Self::new(ConnectionType::S3OverSQS, serde_json::from_value(settings).expect("settings"))
    }

    /// The same with another queue.
    fn queue(self, account: &str, name: &str) -> Self {
        self.with(|settings| {
            let (scheme, host) = (settings.queue_url.parts().scheme.to_owned(), settings.queue_url.authority());
            settings.queue_url = HttpUrl(format!("{scheme}://{host}/{account}/{name}"));
        })
    }

    fn keys(self, id: &str, secret: &str) -> Self {
        self.secret("accessKeyId", id).secret("secretAccessKey", secret)
    }

    /// The same as a role of `account`.
    fn assuming(self, account: &str, external_id: Option<&str>, sts: &str) -> Self {
        let arn = format!("arn:aws:iam::{account}:role/connection-reader");
        let role = serde_json::json!({"roleARN": arn, "externalID": external_id, "endpoint": sts});
        self.with(|settings| settings.assume_role = Some(serde_json::from_value(role).expect("a role")))
    }
}

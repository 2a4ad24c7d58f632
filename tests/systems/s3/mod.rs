//! S3's probe: what each case is called, and which requests a look makes and makes never.

use std::net::SocketAddr;

use connection_operator::{
    connections::{ConnectionType, Permission, fields::HttpUrl, s3::Settings},
    failure::{Proof, Reason, Stage},
    net::tls::Mode,
};

use crate::{case, harness::peer};
use Permission::{List, Read, Write};

mod aws;
mod protocol;
mod stand_in;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to `bucket` of a system at `address`, without TLS.
    fn plain(address: SocketAddr, bucket: &str) -> Self {
        Self::bucket(&format!("http://{address}"), bucket).tls(|tls| tls.mode = Mode::Disable)
    }

    /// A connection to `bucket` of a system at `url`.
    fn bucket(url: &str, bucket: &str) -> Self {
        let settings = serde_json::json!({"bucket": bucket, "region": "us-east-1", "endpoint": url});
        Self::new(ConnectionType::S3, serde_json::from_value(settings).expect("settings"))
    }

    fn at(self, url: String) -> Self {
        self.with(|settings| settings.endpoint = Some(HttpUrl(url)))
    }

    fn keys(self, id: &str, secret: &str) -> Self {
        self.secret("accessKeyId", id).secret("secretAccessKey", secret)
    }
}

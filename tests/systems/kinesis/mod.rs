//! Kinesis' probe: what each case is called, and which calls a look makes and makes never.

use std::net::SocketAddr;

use connection_operator::{
    connections::{ConnectionType, Permission, fields::HttpUrl, kinesis::Settings},
    failure::{Proof, Reason, Stage},
    net::tls::Mode,
};

use crate::{case, harness::peer};
use Permission::{List, Read};

mod aws;
mod stand_in;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to the stream `orders` of a system at `address`, without TLS.
    fn plain(address: SocketAddr) -> Self {
        Self::of(&format!("http://{address}")).tls(|tls| tls.mode = Mode::Disable)
    }

    /// A connection to the stream `orders` of a system at `url`.
    fn of(url: &str) -> Self {
        let settings = serde_json::json!({"region": "us-east-1", "stream": "orders", "endpoint": url});
        Self::new(ConnectionType::Kinesis, serde_json::from_value(settings).expect("settings"))
    }

    fn at(self, url: String) -> Self {
        self.with(|settings| settings.endpoint = Some(HttpUrl(url)))
    }

    fn stream(self, stream: &str) -> Self {
        self.with(|settings| settings.stream = Some(stream.to_owned()))
    }

    /// The same about any stream of the region.
    fn any_stream(self) -> Self {
        self.with(|settings| settings.stream = None)
    }

    fn keys(self, id: &str, secret: &str) -> Self {
        self.secret("accessKeyId", id).secret("secretAccessKey", secret)
    }
}

//! Athena's probe: what each case is called, and which requests a look makes and makes never.

use std::net::SocketAddr;

use connection_operator::{
    connections::{ConnectionType, Permission, athena::Settings, fields::HttpUrl},
    failure::{Reason, Stage},
    net::tls::Mode,
};

use crate::{case, harness::peer};
use Permission::{Read, Write};

mod aws;
mod stand_in;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to Athena and to the bucket of its results at two systems, without TLS.
    fn plain(athena: SocketAddr, buckets: SocketAddr) -> Self {
        let urls = [athena, buckets].map(|address| format!("http://{address}"));
        Self::between(&urls[0], &urls[1]).tls(|tls| tls.mode = Mode::Disable)
    }

    /// A connection to the work group `sales` of systems at two URLs, whose results go to the bucket `orders`.
    fn between(athena: &str, buckets: &str) -> Self {
        let settings = serde_json::json!({
            "region": "us-east-1", "workGroup": "sales", "outputLocation": "s3://orders/2026",
            "endpoint": athena, "s3Endpoint": buckets,
        });
        Self::new(ConnectionType::Athena, serde_json::from_value(settings).expect("settings"))
    }

    fn group(self, name: &str) -> Self {
        self.with(|settings| settings.work_group = Some(name.to_owned()))
    }

    fn catalog(self, catalog: Option<&str>, database: Option<&str>) -> Self {
        self.with(|settings| {
            (settings.catalog, settings.database) = (catalog.map(str::to_owned), database.map(str::to_owned));
        })
    }

    fn keys(self, id: &str, secret: &str) -> Self {
        self.secret("accessKeyId", id).secret("secretAccessKey", secret)
    }
}

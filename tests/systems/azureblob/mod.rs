//! Azure Blob Storage's probe: what each case is called, and which requests a look makes and makes never.

use connection_operator::{
    connections::{ConnectionType, Permission, azureblob::Settings, fields::HttpUrl},
    failure::{Reason, Stage},
    net::tls::Mode,
};

use crate::{case, harness::peer};
use Permission::{List, Read, Write};

mod azurite;
mod stand_in;

type Case = case::Case<Settings>;

impl Case {
    /// A connection to the container `orders` of an account whose blob service is at `url`.
    fn container(url: &str, account: &str) -> Self {
        let settings = serde_json::json!({"account": account, "container": "orders", "endpoint": url});
        Self::new(ConnectionType::AzureBlob, serde_json::from_value(settings).expect("settings"))
    }

    fn at(self, url: String) -> Self {
        self.with(|settings| settings.endpoint = Some(HttpUrl(url)))
    }

    fn of(self, container: &str) -> Self {
        self.with(|settings| container.clone_into(&mut settings.container))
    }

    fn below(self, prefix: &str) -> Self {
        self.with(|settings| settings.prefix = Some(prefix.to_owned()))
    }
}

//! The one look at a bucket, as whoever the keys belong to, or as the role that they may assume.

use async_trait::async_trait;

use crate::{
    connections::{
        Probe,
        family::aws::{Keys, bucket::Bucket, sts},
    },
    failure::{Failure, Proof},
    net::Network,
};

/// All that one look needs.
pub(super) struct Look {
    pub bucket: Bucket,
    /// Nobody, where the bucket is used without credentials.
    pub keys: Option<Keys>,
    pub exchange: Option<sts::Exchange>,
}

#[async_trait]
impl Probe for Look {
    async fn run(&self, net: &Network) -> Result<Proof, Failure> {
        if self.keys.is_none() {
            net.nobody_checks_who_we_are();
        }
        let rights = match (&self.exchange, &self.keys) {
            (Some(exchange), Some(own)) => self.bucket.look(net, Some(&exchange.keys(net, own).await?)).await?,
            (_, keys) => self.bucket.look(net, keys.as_ref()).await?,
        };
        self.bucket.judge(&rights)?;
        Ok(Proof::default())
    }
}

//! From a host's name to addresses. It judges nothing: whatever comes out is shown to the policy, address by address.

use std::{io, net::IpAddr};

use async_trait::async_trait;

/// Where names are looked up.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// Every address of `host`, in the order in which they should be dialled.
    ///
    /// # Errors
    /// Where the name has no address or nobody could be asked.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver. It understands spellings such as `0x7f.1` too, which is why its answers are judged and not names.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    #[expect(clippy::disallowed_methods, reason = "this is the door: the answers are judged by the caller")]
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

//! The egress policy: which addresses may be dialled. Pure, and about the address that a name was resolved to, never about the
//! text of the name alone: `0x7f.1`, `::ffff:7f00:1` and a public name with a private address are all the same to it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv6Net};

/// What may be dialled: `deny` wins over `allow`, `allow` over the defaults, and what none of them names is allowed.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    api_server: Vec<IpAddr>,
}

/// The answer for one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It may be dialled.
    Allowed,
    /// It may not.
    Forbidden(Why),
}

/// Why an address is forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// `--egress-deny` names it.
    Denied,
    /// The machine itself.
    Loopback,
    /// No address at all; systems take it for the machine itself.
    Unspecified,
    /// A group.
    Multicast,
    /// Everybody on the network.
    Broadcast,
    /// The local link, where clouds put their metadata services.
    LinkLocal,
    /// A cloud's metadata service.
    Metadata,
    /// The cluster's API server.
    ApiServer,
    /// A port of etcd, the kubelet or the control plane, on a private address.
    ClusterPort,
}

impl Why {
    /// The reason in words, for a message.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied by --egress-deny",
            Self::Loopback => "a loopback address",
            Self::Unspecified => "the unspecified address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a metadata service",
            Self::ApiServer => "the cluster's API server",
            Self::ClusterPort => "a port of the cluster's own components",
        }
    }
}

impl Policy {
    /// The defaults with the operator's own rules.
    pub const fn new(allow: Vec<Rule>, deny: Vec<Rule>) -> Self {
        Self { allow, deny, api_server: Vec::new() }
    }

    /// The same policy for an API server at `addresses`.
    #[must_use]
    pub fn with_api_server(&self, addresses: &[IpAddr]) -> Self {
        Self { api_server: addresses.iter().copied().map(plain).collect(), ..self.clone() }
    }

    /// Whether `address`, which `host` was resolved to, may be dialled.
    pub fn judge(&self, host: &str, address: SocketAddr) -> Judgement {
        let real = SocketAddr::new(plain(address.ip()), address.port());
        if self.deny.iter().any(|rule| rule.covers(host, real)) {
            return Judgement::Forbidden(Why::Denied);
        }
        if self.allow.iter().any(|rule| rule.covers(host, real)) {
            return Judgement::Allowed;
        }
        match self.forbidden_by_default(real) {
            Some(why) => Judgement::Forbidden(why),
            None => Judgement::Allowed,
        }
    }

    fn forbidden_by_default(&self, address: SocketAddr) -> Option<Why> {
        let (ip, port) = (address.ip(), address.port());
        let kind = match ip {
            IpAddr::V4(ip) => special_v4(ip),
            IpAddr::V6(ip) => special_v6(ip),
        };
        kind.or_else(|| METADATA.contains(&ip).then_some(Why::Metadata))
            .or_else(|| self.api_server.contains(&ip).then_some(Why::ApiServer))
            .or_else(|| (is_cluster_port(port) && is_private(ip)).then_some(Why::ClusterPort))
    }
}

/// One rule of `--egress-allow` or `--egress-deny`: `CIDR`, `CIDR:port`, `[IPv6 CIDR]:port`, a host name, or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    place: Place,
    port: Option<u16>,
}

/// Where a rule applies.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Every address of a network.
    Network(IpNet),
    /// Every address that this name is resolved to, in small letters and without the final dot.
    Host(String),
}

impl Rule {
    fn covers(&self, host: &str, address: SocketAddr) -> bool {
        let place = match &self.place {
            Place::Network(network) => network.contains(&address.ip()),
            Place::Host(name) => host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(name),
        };
        place && self.port.is_none_or(|port| port == address.port())
    }
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is nothing between two commas.
    #[error("a rule is empty")]
    Empty,
    /// What follows the colon is not a port.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// What stands before and after the slash is not a network.
    #[error("a network is written as an address, a slash and a number of bits")]
    Network,
    /// It is neither a network, an address nor a name.
    #[error(
        "a host is a name of letters, digits, hyphens and dots; a name with only digits in its last part is an address"
    )]
    Host,
    /// The network is an IPv4 one in IPv6 clothes, which is judged as IPv4.
    #[error("an IPv4 network is written as IPv4: its IPv6 forms are judged as IPv4")]
    WriteAsIpv4,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(RuleError::Empty);
        }
        let (place, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (place, after) = rest.split_once(']').ok_or(RuleError::Network)?;
                if !place.contains(':') {
                    return Err(RuleError::Network);
                }
                match after.strip_prefix(':') {
                    Some(port) => (place, Some(port)),
                    None if after.is_empty() => (place, None),
                    None => return Err(RuleError::Network),
                }
            }
            // One colon parts a port off; several are an IPv6 address, which has a port only in brackets.
            None => match text.split_once(':') {
                Some((place, port)) if !port.contains(':') => (place, Some(port)),
                Some(_) | None => (text, None),
            },
        };
        let port = port.map(port_of).transpose()?;
        Ok(Self { place: place.parse()?, port })
    }
}

impl FromStr for Place {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let network = if text.contains('/') {
            Some(text.parse::<IpNet>().map_err(|_| RuleError::Network)?.trunc())
        } else {
            text.parse::<IpAddr>().ok().map(IpNet::from)
        };
        if let Some(network) = network {
            let disguised = DISGUISES.iter().any(|disguise| IpNet::V6(disguise.network()).contains(&network));
            return if disguised { Err(RuleError::WriteAsIpv4) } else { Ok(Self::Network(network)) };
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let letters = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let is_name = name.len() <= 253
            && name.split('.').all(letters)
            && name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
        if is_name { Ok(Self::Host(name.to_ascii_lowercase())) } else { Err(RuleError::Host) }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.port) {
            (Place::Network(IpNet::V6(network)), Some(port)) => write!(f, "[{network}]:{port}"),
            (Place::Network(network), Some(port)) => write!(f, "{network}:{port}"),
            (Place::Network(network), None) => write!(f, "{network}"),
            (Place::Host(name), Some(port)) => write!(f, "{name}:{port}"),
            (Place::Host(name), None) => f.write_str(name),
        }
    }
}

/// Metadata services outside the link-local networks: AWS (metadata, and the pods' credentials), Google, Azure, Alibaba, Oracle.
const METADATA: [IpAddr; 6] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// A network of IPv6 addresses that stand for IPv4 ones.
struct Disguise {
    prefix: Ipv6Addr,
    bits: u8,
    /// Where in the sixteen bytes the IPv4 address begins.
    offset: usize,
}

/// The disguises of RFC 4291 (mapped, compatible), RFC 6052 and 8215 (NAT64), RFC 2765 (translated) and RFC 3056 (6to4).
const DISGUISES: [Disguise; 6] = [
    Disguise { prefix: Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), bits: 96, offset: 12 },
    Disguise { prefix: Ipv6Addr::UNSPECIFIED, bits: 96, offset: 12 },
    Disguise { prefix: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), bits: 96, offset: 12 },
    Disguise { prefix: Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), bits: 48, offset: 12 },
    Disguise { prefix: Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), bits: 96, offset: 12 },
    Disguise { prefix: Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), bits: 16, offset: 2 },
];

impl Disguise {
    fn network(&self) -> Ipv6Net {
        Ipv6Net::new_assert(self.prefix, self.bits)
    }
}

/// The address as it is judged: IPv4 wherever IPv4 is meant.
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    // `::` and `::1` lie in the network of compatible addresses and are none.
    if v6.is_unspecified() || v6.is_loopback() {
        return ip;
    }
    let bytes = v6.octets();
    let inner = |disguise: &Disguise| {
        let at = |n: usize| bytes[disguise.offset + n];
        IpAddr::V4(Ipv4Addr::new(at(0), at(1), at(2), at(3)))
    };
    DISGUISES.iter().find(|disguise| disguise.network().contains(&v6)).map_or(ip, inner)
}

fn special_v4(ip: Ipv4Addr) -> Option<Why> {
    match ip.octets() {
        // All of 0.0.0.0/8 means "this host on this network" (RFC 1122).
        [0, ..] => Some(Why::Unspecified),
        [127, ..] => Some(Why::Loopback),
        [169, 254, ..] => Some(Why::LinkLocal),
        [224..=239, ..] => Some(Why::Multicast),
        [255, 255, 255, 255] => Some(Why::Broadcast),
        _ => None,
    }
}

fn special_v6(ip: Ipv6Addr) -> Option<Why> {
    match ip.segments()[0] {
        _ if ip.is_loopback() => Some(Why::Loopback),
        _ if ip.is_unspecified() => Some(Why::Unspecified),
        0xff00..=0xffff => Some(Why::Multicast),
        0xfe80..=0xfebf => Some(Why::LinkLocal),
        _ => None,
    }
}

/// Ports of etcd (2379 to 2381), the kubelet (10250, 10255), its health, the proxy, scheduler and controllers (10256 to 10259).
const fn is_cluster_port(port: u16) -> bool {
    matches!(port, 2379..=2381 | 10250 | 10255..=10259)
}

/// Addresses that clusters give to nodes and pods: RFC 1918, RFC 6598 (shared), RFC 4193 (ULA) and the old site-local ones.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || matches!(ip.octets(), [100, 64..=127, ..]),
        IpAddr::V6(ip) => matches!(ip.segments()[0], 0xfc00..=0xfdff | 0xfec0..=0xfeff),
    }
}

fn port_of(text: &str) -> Result<u16, RuleError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0).ok_or(RuleError::Port)
}

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
    #[error("a host is a name of letters, digits, hyphens and dots; a name whose last part is a number is an address")]
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
            // `::` and `::1` alone are real IPv6 addresses among the disguises.
            let real = network.prefix_len() == 128 && plain(network.addr()) == network.addr();
            let disguised = DISGUISES.iter().any(|disguise| IpNet::V6(disguise.network()).contains(&network)) && !real;
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
            && name.rsplit('.').next().is_some_and(|last| !is_number(last));
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

/// Whether a resolver takes a label for a number, so that a name ending in it is an address.
fn is_number(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit()) || label.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"))
}

fn port_of(text: &str) -> Result<u16, RuleError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0).ok_or(RuleError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn judge(policy: &Policy, address: &str) -> Judgement {
        judge_named(policy, "db.example.com", address)
    }

    fn judge_named(policy: &Policy, host: &str, address: &str) -> Judgement {
        policy.judge(host, address.parse().unwrap())
    }

    /// Every IPv6 address that stands for this one.
    fn in_disguise(ip: Ipv4Addr) -> Vec<IpAddr> {
        DISGUISES
            .iter()
            .map(|disguise| {
                let mut bytes = disguise.prefix.octets();
                bytes[disguise.offset..disguise.offset + 4].copy_from_slice(&ip.octets());
                IpAddr::from(bytes)
            })
            .collect()
    }

    #[test]
    fn the_defaults_forbid_the_machine_its_neighbours_and_the_clusters_own_services() {
        let policy = Policy::default().with_api_server(&["10.96.0.1".parse().unwrap(), "fd00::6443".parse().unwrap()]);
        for (addresses, why) in [
            (&["127.0.0.1:1", "127.255.255.255:1", "[::1]:1"][..], Why::Loopback),
            (&["0.0.0.0:1", "0.255.255.255:1", "[::]:1"], Why::Unspecified),
            (&["224.0.0.1:1", "239.255.255.255:1", "[ff00::]:1", "[ffff::1]:1"], Why::Multicast),
            (&["255.255.255.255:1"], Why::Broadcast),
            (&["169.254.0.1:1", "169.254.169.254:80", "[fe80::1]:1", "[febf:ffff::1]:1"], Why::LinkLocal),
            (
                &[
                    "168.63.129.16:80",
                    "100.100.100.200:80",
                    "192.0.0.192:80",
                    "[fd00:ec2::254]:80",
                    "[fd20:ce::254]:80",
                ],
                Why::Metadata,
            ),
            (&["10.96.0.1:443", "10.96.0.1:5432", "[fd00::6443]:443", "[::ffff:10.96.0.1]:1"], Why::ApiServer),
            (
                &[
                    "10.0.0.1:2379",
                    "10.255.255.255:2381",
                    "172.16.0.1:10250",
                    "172.31.255.255:10255",
                    "192.168.0.1:10259",
                    "100.64.0.1:10256",
                    "100.127.255.255:2380",
                    "[fc00::1]:10250",
                    "[fdff::1]:2379",
                    "[fec0::1]:2379",
                ],
                Why::ClusterPort,
            ),
        ] {
            for address in addresses {
                assert_eq!(judge(&policy, address), Judgement::Forbidden(why), "{address}");
            }
        }
    }

    #[test]
    fn the_neighbours_of_what_is_forbidden_are_allowed() {
        let policy = Policy::default().with_api_server(&["10.96.0.1".parse().unwrap()]);
        for address in [
            "1.0.0.1:1",
            "126.255.255.255:1",
            "128.0.0.1:1",
            "169.253.255.255:1",
            "169.255.0.1:1",
            "223.255.255.255:1",
            "240.0.0.1:1",
            "255.255.255.254:1",
            "168.63.129.17:80",
            "100.100.100.201:80",
            "192.0.0.191:80",
            "10.96.0.2:443",
            "10.0.0.1:2378",
            "10.0.0.1:2382",
            "10.0.0.1:10249",
            "10.0.0.1:10251",
            "10.0.0.1:10254",
            "10.0.0.1:10260",
            "10.0.0.1:5432",
            "172.15.255.255:10250",
            "172.32.0.1:10250",
            "100.63.255.255:10250",
            "100.128.0.1:10250",
            "8.8.8.8:2379",
            "[2001:db8::1]:2379",
            "[fe7f::1]:1",
            "[fd00:ec2::255]:80",
            "[2001::1]:1",
            "[::2:0:0]:1",
        ] {
            assert_eq!(judge(&policy, address), Judgement::Allowed, "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_is_judged_the_same_in_every_disguise() {
        let policy = Policy::new(rules(&["10.1.0.0/16", "127.0.0.5"]), rules(&["10.1.2.0/24", "8.8.8.8:53"]))
            .with_api_server(&["10.96.0.1".parse().unwrap()]);
        for ip in [
            "127.0.0.1",
            "127.0.0.5",
            "0.1.2.3",
            "10.1.1.1",
            "10.1.2.3",
            "10.96.0.1",
            "8.8.8.8",
            "9.9.9.9",
            "224.0.0.5",
            "169.254.169.254",
            "255.255.255.255",
            "192.168.1.1",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
        ] {
            let ip: Ipv4Addr = ip.parse().unwrap();
            for port in [53, 443, 2379, 10250] {
                let expected = policy.judge("db", SocketAddr::from((ip, port)));
                for disguised in in_disguise(ip) {
                    assert_eq!(policy.judge("db", SocketAddr::new(disguised, port)), expected, "{ip} as {disguised}");
                }
            }
        }
    }

    #[test]
    fn deny_wins_over_allow_and_allow_over_the_defaults() {
        let policy = Policy::new(
            rules(&["127.0.0.0/8:5432", "10.0.0.0/8", "metadata.example.com"]),
            rules(&["10.1.0.0/16", "evil.example.com", "9.9.9.9:25"]),
        );
        let denied = Judgement::Forbidden(Why::Denied);
        assert_eq!(judge(&policy, "127.0.0.1:5432"), Judgement::Allowed);
        assert_eq!(judge(&policy, "127.0.0.1:5433"), Judgement::Forbidden(Why::Loopback));
        assert_eq!(judge(&policy, "10.0.0.1:2379"), Judgement::Allowed);
        assert_eq!(judge(&policy, "10.1.0.1:5432"), denied);
        assert_eq!(judge(&policy, "9.9.9.9:25"), denied);
        assert_eq!(judge(&policy, "9.9.9.9:26"), Judgement::Allowed);
        assert_eq!(judge_named(&policy, "metadata.example.com", "169.254.169.254:80"), Judgement::Allowed);
        for name in ["evil.example.com", "EVIL.example.com", "evil.example.com."] {
            assert_eq!(judge_named(&policy, name, "8.8.8.8:443"), denied, "{name}");
        }
        assert_eq!(judge_named(&policy, "not-evil.example.com", "8.8.8.8:443"), Judgement::Allowed);
    }

    #[test]
    fn allowing_everything_in_ipv6_allows_no_ipv4() {
        let policy = Policy::new(rules(&["::/0"]), Vec::new());
        for disguised in in_disguise(Ipv4Addr::LOCALHOST) {
            let judged = policy.judge("db", SocketAddr::new(disguised, 80));
            assert_eq!(judged, Judgement::Forbidden(Why::Loopback), "{disguised}");
        }
        assert_eq!(judge(&policy, "[fe80::1]:80"), Judgement::Allowed);
    }

    #[test]
    fn a_rule_reads_as_it_was_written() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            (" 10.1.2.3/8:5432 ", "10.0.0.0/8:5432"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3:80", "10.1.2.3/32:80"),
            ("fd00::/8", "fd00::/8"),
            ("[fd00::/8]:5432", "[fd00::/8]:5432"),
            ("[fd00::1]", "fd00::1/128"),
            ("::1", "::1/128"),
            ("Db.Example.COM.", "db.example.com"),
            ("db.example.com:5432", "db.example.com:5432"),
            ("localhost", "localhost"),
            ("1a.test", "1a.test"),
        ] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), shown);
            assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
        }
    }

    #[test]
    fn a_rule_that_would_not_do_what_it_says_is_refused() {
        for (text, error) in [
            ("", RuleError::Empty),
            ("  ", RuleError::Empty),
            ("10.0.0.0/33", RuleError::Network),
            ("10.0.0/8", RuleError::Network),
            ("example.com/8", RuleError::Network),
            ("[fd00::/8", RuleError::Network),
            ("[fd00::/8]5432", RuleError::Network),
            ("[10.0.0.0/8]:5432", RuleError::Network),
            ("10.0.0.0/8:", RuleError::Port),
            ("10.0.0.0/8:0", RuleError::Port),
            ("10.0.0.0/8:65536", RuleError::Port),
            ("10.0.0.0/8:+80", RuleError::Port),
            ("db.example.com:http", RuleError::Port),
            ("https://db.example.com", RuleError::Port),
            ("*.example.com", RuleError::Host),
            ("db..example.com", RuleError::Host),
            ("10.0.0.300", RuleError::Host),
            ("0x7f.1", RuleError::Host),
            ("127.0x1", RuleError::Host),
            ("2130706433", RuleError::Host),
            ("user@db", RuleError::Host),
            ("::ffff:10.0.0.0/104", RuleError::WriteAsIpv4),
            ("64:ff9b::/96", RuleError::WriteAsIpv4),
            ("[2002:a00::/24]:80", RuleError::WriteAsIpv4),
            ("::ffff:127.0.0.1", RuleError::WriteAsIpv4),
            ("::7f00:1", RuleError::WriteAsIpv4),
            ("::/96", RuleError::WriteAsIpv4),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap_err(), error, "{text}");
        }
    }
}

//! The answers of brokers, read field by field and written anew with what the client needs and nothing else. Pure.
//!
//! librdkafka trusts what a broker says: a count that cannot be ends the whole process (2.12.1 asserts that an allocation of its size
//! succeeds), and each broker that is named is a thread. So it never sees a byte that was not read here first. It is told that the
//! broker knows a few versions of a few messages, all with fixed lengths, and these are read here. Formats: "Protocol Messages" of
//! the Kafka protocol guide.

use super::wire::Refused;

pub(super) const METADATA: i16 = 3;
pub(super) const FIND_COORDINATOR: i16 = 10;
pub(super) const DESCRIBE_GROUPS: i16 = 15;
pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const API_VERSIONS: i16 = 18;
pub(super) const SASL_AUTHENTICATE: i16 = 36;

/// The messages that are used: api key, least and greatest version. Metadata 8 is the first with authorized operations (Kafka 2.3)
/// and the last with fixed lengths. Metadata 5 is Kafka 1.0's, and the last of Azure Event Hubs; before 4 nobody can ask about a topic
/// without having it made.
const USED: [(i16, i16, i16); 6] = [
    (METADATA, 5, 8),
    (FIND_COORDINATOR, 1, 2),
    (DESCRIBE_GROUPS, 3, 4),
    (SASL_HANDSHAKE, 1, 1),
    (API_VERSIONS, 0, 3),
    (SASL_AUTHENTICATE, 0, 1),
];

/// The first version of Metadata that tells what may be done.
const TELLING: i16 = 8;

/// The messages that cannot be done without.
const NEEDED: [i16; 3] = [METADATA, SASL_HANDSHAKE, SASL_AUTHENTICATE];

/// The code by which a broker says that it does not know a version.
const UNSUPPORTED_VERSION: i16 = 35;

/// The code of a partition, and here of a topic, that nobody leads.
const LEADER_NOT_AVAILABLE: i16 = 5;

/// "No operations were asked for".
const NOT_ASKED: i32 = i32::MIN;

/// Longest name of a host, in bytes (RFC 1035).
const HOST_LIMIT: usize = 255;

/// A broker, as another one names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    id: i32,
    host: String,
    port: u16,
}

/// What one look has been told about the cluster, over all its connections.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The configured broker, as `host:port`.
    configured: String,
    /// The broker that is asked about topics, once it is known; it stays the same for the whole look.
    asked: Option<Node>,
    /// The coordinator of the group.
    coordinator: Option<Node>,
}

impl Cluster {
    pub(super) const fn new(configured: String) -> Self {
        Self { configured, asked: None, coordinator: None }
    }

    /// Which of `nodes` is asked: the one that advertises the address in the spec, else the first by its id. Not the controller: with
    /// `KRaft` that is any broker, another one at each question, and a failure would be about another one each time.
    fn choose(&mut self, nodes: &[Node]) -> Option<Node> {
        if self.asked.is_none() {
            let configured = nodes.iter().find(|node| format!("{}:{}", node.host, node.port) == self.configured);
            self.asked = configured.or_else(|| nodes.iter().min_by_key(|node| node.id)).cloned();
        }
        self.asked.clone()
    }
}

/// The answer to a question about versions: those that are used and that the broker knows.
pub(super) fn versions(asked: i16, answer: &mut Reader<'_>) -> Result<Vec<u8>, Refused> {
    let flexible = asked >= 3;
    let code = answer.i16()?;
    let mut written = Writer::default();
    if code == UNSUPPORTED_VERSION && asked > 0 {
        // The client asks again in the oldest way. The list is null, in either form.
        written.i16(code);
        written.0.extend(if flexible { &[0][..] } else { &[0xff; 4] });
        return Ok(written.0);
    }
    if code != 0 {
        return Err(Refused::Failed(code));
    }
    let count = if flexible { answer.compact_count()? } else { answer.count()? };
    let mut known = Vec::new();
    for _ in 0..count {
        known.push((answer.i16()?, answer.i16()?, answer.i16()?));
        if flexible {
            answer.skip_tags()?;
        }
    }
    let used = USED.iter().filter_map(|(api, least, most)| {
        let (_, from, to) = known.iter().find(|(known, _, _)| known == api)?;
        let (least, most) = (*least.max(from), *most.min(to));
        (least <= most).then_some((*api, least, most))
    });
    let used: Vec<(i16, i16, i16)> = used.collect();
    if NEEDED.iter().any(|needed| !used.iter().any(|(api, _, _)| api == needed)) {
        return Err(Refused::TooOld);
    }
    written.i16(0);
    if flexible {
        // A compact array says one more than it holds; there are fewer than 127.
        written.0.push(u8::try_from(used.len() + 1).map_err(|_| Refused::NotTheProtocol)?);
    } else {
        written.count(used.len());
    }
    for (api, least, most) in used {
        for number in [api, least, most] {
            written.i16(number);
        }
        if flexible {
            written.0.push(0);
        }
    }
    if asked >= 1 {
        written.i32(0);
    }
    if flexible {
        written.0.push(0);
    }
    Ok(written.0)
}

/// The answer to the choice of a mechanism that was accepted; the mechanisms that there are instead are left out.
pub(super) fn handshake() -> Vec<u8> {
    let mut written = Writer::default();
    written.i16(0);
    written.count(0);
    written.0
}

/// The answer to a step of the login that went well.
pub(super) fn authenticated(asked: i16, said: &[u8]) -> Vec<u8> {
    let mut written = Writer::default();
    written.i16(0);
    written.i16(-1);
    written.count(said.len());
    written.0.extend(said);
    if asked >= 1 {
        // How long the session may last; ours is over sooner.
        written.i32(0);
        written.i32(0);
    }
    written.0
}

/// The answer about brokers and topics: those brokers alone that are asked, and no partitions.
pub(super) fn metadata(version: i16, answer: &mut Reader<'_>, cluster: &mut Cluster) -> Result<Vec<u8>, Refused> {
    answer.i32()?;
    let mut nodes = Vec::new();
    for _ in 0..answer.count()? {
        nodes.push(answer.node()?);
        answer.nullable()?;
    }
    answer.nullable()?;
    // The controller; who is asked is said to be it, since librdkafka asks that one.
    answer.i32()?;
    let asked = cluster.choose(&nodes).ok_or(Refused::NotTheProtocol)?;
    let coordinator = cluster.coordinator.as_ref().filter(|node| node.id != asked.id);
    let mut written = Writer::default();
    written.i32(0);
    written.count(1 + usize::from(coordinator.is_some()));
    for node in std::iter::once(&asked).chain(coordinator) {
        written.node(node)?;
        written.i16(-1);
    }
    written.i16(-1);
    written.i32(asked.id);
    let count = answer.count()?;
    written.count(count);
    for _ in 0..count {
        let (code, name, internal) = (answer.i16()?, answer.text()?, answer.i8()?);
        let partitions = answer.count()?;
        let mut led = 0;
        for _ in 0..partitions {
            answer.take(2 + 4)?;
            led += usize::from(answer.i32()? >= 0);
            if version >= 7 {
                answer.take(4)?;
            }
            for _ in 0..3 {
                let count = answer.count()?;
                answer.take(count.checked_mul(4).ok_or(Refused::NotTheProtocol)?)?;
            }
        }
        // The partitions are left out, so what they would say is said of the topic.
        written.i16(if code == 0 && partitions > 0 && led == 0 { LEADER_NOT_AVAILABLE } else { code });
        written.text(name)?;
        written.0.push(u8::from(internal != 0));
        written.count(0);
        if version >= TELLING {
            written.i32(answer.i32()?);
        }
    }
    if version >= TELLING {
        answer.i32()?;
        written.i32(NOT_ASKED);
    }
    answer.end()?;
    Ok(written.0)
}

/// The answer about the coordinator of a group.
pub(super) fn coordinator(answer: &mut Reader<'_>, cluster: &mut Cluster) -> Result<Vec<u8>, Refused> {
    answer.i32()?;
    let code = answer.i16()?;
    answer.nullable()?;
    let mut written = Writer::default();
    written.i32(0);
    written.i16(code);
    written.i16(-1);
    if code == 0 {
        let node = answer.node()?;
        written.node(&node)?;
        cluster.coordinator = Some(node);
    } else {
        answer.take(4)?;
        answer.text()?;
        answer.take(4)?;
        written.i32(-1);
        written.text(b"")?;
        written.i32(-1);
    }
    answer.end()?;
    Ok(written.0)
}

/// The answer about groups, without their members.
pub(super) fn groups(asked: i16, answer: &mut Reader<'_>) -> Result<Vec<u8>, Refused> {
    answer.i32()?;
    let count = answer.count()?;
    let mut written = Writer::default();
    written.i32(0);
    written.count(count);
    for _ in 0..count {
        written.i16(answer.i16()?);
        // The group, its state, the type and the name of its protocol.
        for _ in 0..4 {
            written.text(answer.text()?)?;
        }
        for _ in 0..answer.count()? {
            answer.text()?;
            if asked >= 4 {
                answer.nullable()?;
            }
            answer.text()?;
            answer.text()?;
            answer.bytes()?;
            answer.bytes()?;
        }
        written.count(0);
        written.i32(answer.i32()?);
    }
    answer.end()?;
    Ok(written.0)
}

/// Reads the fields of a message, one after the other. A field that is not there is no answer of a broker.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Refused> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Refused::NotTheProtocol)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        self.take(N)?.try_into().map_err(|_| Refused::NotTheProtocol)
    }

    fn i8(&mut self) -> Result<i8, Refused> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Refused> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Refused> {
        self.array().map(i32::from_be_bytes)
    }

    /// How many elements follow. Each has a byte at least, so there cannot be more than bytes.
    fn count(&mut self) -> Result<usize, Refused> {
        self.within(i64::from(self.clone().i32()?)).inspect(|_| self.0 = &self.0[4..])
    }

    /// The same in a compact array, which says one more.
    fn compact_count(&mut self) -> Result<usize, Refused> {
        let said = i64::from(self.varint()?);
        self.within(said - 1)
    }

    fn within(&self, count: i64) -> Result<usize, Refused> {
        usize::try_from(count).ok().filter(|count| *count <= self.0.len()).ok_or(Refused::NotTheProtocol)
    }

    fn varint(&mut self) -> Result<u32, Refused> {
        let mut value = 0;
        for n in 0..4 {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Refused::NotTheProtocol)
    }

    fn skip_tags(&mut self) -> Result<(), Refused> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(usize::try_from(length).map_err(|_| Refused::NotTheProtocol)?)?;
        }
        Ok(())
    }

    /// A string that may be null, which is a length of -1.
    pub(super) fn nullable(&mut self) -> Result<Option<&'a [u8]>, Refused> {
        match self.i16()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| Refused::NotTheProtocol)?).map(Some),
        }
    }

    fn text(&mut self) -> Result<&'a [u8], Refused> {
        self.nullable()?.ok_or(Refused::NotTheProtocol)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Refused> {
        let length = self.i32()?;
        self.take(usize::try_from(length).map_err(|_| Refused::NotTheProtocol)?)
    }

    fn node(&mut self) -> Result<Node, Refused> {
        let id = self.i32()?;
        let host = std::str::from_utf8(self.text()?).map_err(|_| Refused::NotTheProtocol)?;
        let port = u16::try_from(self.i32()?).ok().filter(|port| *port > 0);
        let named = !host.is_empty()
            && host.len() <= HOST_LIMIT
            && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        match port {
            Some(port) if named && id >= 0 => Ok(Node { id, host: host.to_owned(), port }),
            _ => Err(Refused::NotTheProtocol),
        }
    }

    fn end(&self) -> Result<(), Refused> {
        if self.0.is_empty() { Ok(()) } else { Err(Refused::NotTheProtocol) }
    }

    const fn clone(&self) -> Self {
        Self(self.0)
    }
}

/// Writes the fields of a message.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn i16(&mut self, number: i16) {
        self.0.extend(number.to_be_bytes());
    }

    fn i32(&mut self, number: i32) {
        self.0.extend(number.to_be_bytes());
    }

    /// A count of what was read from a message, which is shorter than a million bytes.
    fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX));
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Refused> {
        self.i16(i16::try_from(text.len()).map_err(|_| Refused::NotTheProtocol)?);
        self.0.extend(text);
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), Refused> {
        self.i32(node.id);
        self.text(node.host.as_bytes())?;
        self.i32(i32::from(node.port));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster::new("b.example:9092".to_owned())
    }

    fn string(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn node(id: i32, host: &str, port: i32) -> Vec<u8> {
        [&id.to_be_bytes()[..], &string(host), &port.to_be_bytes()].concat()
    }

    /// Metadata of brokers, one topic with two partitions, and what may be done with it.
    fn told(nodes: &[Vec<u8>], controller: i32) -> Vec<u8> {
        told_in(8, nodes, controller)
    }

    /// The same in another version.
    fn told_in(version: i16, nodes: &[Vec<u8>], controller: i32) -> Vec<u8> {
        let nodes: Vec<u8> = nodes.iter().flat_map(|node| [&node[..], &string("rack")].concat()).collect();
        let epoch = if version >= 7 { 4 } else { 0 };
        let replicas = [0, 0, 0, 1, 0, 0, 0, 1];
        let partition = [&vec![0; 10 + epoch][..], &replicas, &replicas, &[0; 4]].concat();
        let allowed: &[u8] = if version >= 8 { &[0, 0, 1, 8] } else { &[] };
        let topic = [&[0, 0][..], &string("orders"), &[0], &[0, 0, 0, 2], &partition, &partition, allowed].concat();
        let count = u32::try_from(nodes.len() / node(1, "a.example", 9092).len()).unwrap_or(1).max(1);
        let parts = [&[0; 4][..], &count.to_be_bytes(), &nodes, &string("cluster"), &controller.to_be_bytes()];
        let end: &[u8] = if version >= 8 { &[0x80, 0, 0, 0] } else { &[] };
        [&parts.concat()[..], &[0, 0, 0, 1], &topic, end].concat()
    }

    #[test]
    fn of_all_brokers_the_one_of_the_spec_is_asked_and_no_other_is_named() {
        let (a, b) = (node(1, "a.example", 9092), node(2, "b.example", 9092));
        let mut cluster = cluster();
        let written = metadata(8, &mut Reader(&told(&[a.clone(), b.clone()], 1)), &mut cluster).unwrap();
        let brokers = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &b, &[0xff, 0xff], &[0xff, 0xff], &[0, 0, 0, 2]].concat();
        let topic =
            [&[0, 0, 0, 1, 0, 0][..], &string("orders"), &[0], &[0; 4], &[0, 0, 1, 8], &[0x80, 0, 0, 0]].concat();
        assert_eq!(written, [brokers, topic].concat());
        // Another answer does not change who is asked.
        let again = metadata(8, &mut Reader(&told(&[a], 1)), &mut cluster).unwrap();
        assert_eq!(again, written);
    }

    #[test]
    fn an_older_answer_is_written_on_as_one_and_tells_less() {
        let nodes = [node(1, "a.example", 9092)];
        let newest = metadata(8, &mut Reader(&told(&nodes, 1)), &mut cluster()).unwrap();
        for version in 5..8 {
            let answer = told_in(version, &nodes, 1);
            let written = metadata(version, &mut Reader(&answer), &mut cluster()).unwrap();
            // Neither what may be done with the topic nor with the cluster.
            assert_eq!(written, newest[..newest.len() - 8], "{version}");
            for length in 0..answer.len() {
                let mut cut = Reader(&answer[..length]);
                assert!(metadata(version, &mut cut, &mut cluster()).is_err(), "{version} {length}");
            }
        }
        assert!(metadata(8, &mut Reader(&told_in(7, &nodes, 1)), &mut cluster()).is_err());
        assert!(metadata(6, &mut Reader(&told_in(7, &nodes, 1)), &mut cluster()).is_err());
    }

    #[test]
    fn where_the_spec_has_another_name_the_first_is_asked_whoever_is_the_controller() {
        let (a, c) = (node(1, "a.example", 9092), node(3, "c.example", 9092));
        for controller in [3, 1, -1] {
            let mut cluster = cluster();
            metadata(8, &mut Reader(&told(&[c.clone(), a.clone()], controller)), &mut cluster).unwrap();
            assert_eq!(cluster.asked.map(|node| node.id), Some(1), "{controller}");
        }
    }

    #[test]
    fn a_topic_that_nobody_leads_is_not_available() {
        let mut answer = told(&[node(1, "a.example", 9092)], 1);
        let partition = [&[0; 14][..], &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        let at: Vec<usize> = (0..answer.len() - 22).filter(|at| answer[*at..*at + 22] == partition).collect();
        assert_eq!(at.len(), 2);
        let code = |answer: &[u8]| {
            let written = metadata(8, &mut Reader(answer), &mut cluster()).unwrap();
            let name = written.windows(8).position(|window| window == [&[0, 6][..], b"orders"].concat()).unwrap();
            i16::from_be_bytes([written[name - 2], written[name - 1]])
        };
        answer[at[0] + 6..at[0] + 10].fill(0xff);
        assert_eq!(code(&answer), 0, "one partition is led");
        answer[at[1] + 6..at[1] + 10].fill(0xff);
        assert_eq!(code(&answer), LEADER_NOT_AVAILABLE);
    }

    #[test]
    fn no_cut_and_no_changed_answer_is_written_on_as_it_came() {
        // Whatever is cut off, or grows, is refused; and a changed byte gives an answer that reads well, or none.
        let right = told(&[node(1, "a.example", 9092)], 1);
        for length in 0..right.len() {
            assert!(metadata(8, &mut Reader(&right[..length]), &mut cluster()).is_err(), "{length}");
        }
        assert!(metadata(8, &mut Reader(&[&right[..], &[0]].concat()), &mut cluster()).is_err());
        for at in 0..right.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = right.clone();
                changed[at] = byte;
                if let Ok(written) = metadata(8, &mut Reader(&changed), &mut cluster()) {
                    let whole = [&written[..], &[]].concat();
                    assert!(metadata(8, &mut Reader(&whole), &mut cluster()).is_ok(), "byte {at} as {byte}");
                    assert!(whole.len() <= right.len());
                }
            }
        }
    }

    #[test]
    fn versions_are_cut_to_those_that_are_read_here() {
        let listed = |rows: &[(i16, i16, i16)], flexible: bool| -> Vec<u8> {
            let tag: &[u8] = if flexible { &[0] } else { &[] };
            let rows: Vec<Vec<u8>> = rows
                .iter()
                .map(|row| {
                    [row.0, row.1, row.2].iter().flat_map(|n| n.to_be_bytes()).chain(tag.iter().copied()).collect()
                })
                .collect();
            let count = u8::try_from(rows.len()).unwrap();
            let count = if flexible { vec![count + 1] } else { vec![0, 0, 0, count] };
            let end: &[u8] = if flexible { &[0, 0, 0, 0, 0] } else { &[] };
            [&[0, 0][..], &count, &rows.concat(), end].concat()
        };
        let broker = [(0, 3, 13), (3, 0, 13), (10, 0, 6), (15, 0, 6), (17, 0, 1), (18, 0, 4), (36, 0, 2)];
        let used = [(3, 5, 8), (10, 1, 2), (15, 3, 4), (17, 1, 1), (18, 0, 3), (36, 0, 1)];
        assert_eq!(versions(3, &mut Reader(&listed(&broker, true))), Ok(listed(&used, true)));
        assert_eq!(versions(0, &mut Reader(&listed(&broker, false))), Ok(listed(&used, false)));
        let old = [(3, 0, 4), (17, 0, 1), (36, 0, 0)];
        assert_eq!(versions(0, &mut Reader(&listed(&old, false))), Err(Refused::TooOld));
        let hubs = [(3, 0, 5), (17, 0, 1), (18, 0, 0), (36, 0, 0)];
        let used = [(3, 5, 5), (17, 1, 1), (18, 0, 0), (36, 0, 0)];
        assert_eq!(versions(0, &mut Reader(&listed(&hubs, false))), Ok(listed(&used, false)));
        // A null array is what ends the process of the client.
        assert_eq!(versions(3, &mut Reader(&[0, 0, 0, 0, 0, 0, 0, 0])), Err(Refused::NotTheProtocol));
        assert_eq!(versions(0, &mut Reader(&[0, 0, 0xff, 0xff, 0xff, 0xff])), Err(Refused::NotTheProtocol));
        assert_eq!(versions(3, &mut Reader(&[0, 35, 0xff])), Ok(vec![0, 35, 0]));
        assert_eq!(versions(3, &mut Reader(&[0, 41])), Err(Refused::Failed(41)));
    }

    #[test]
    fn groups_lose_their_members_and_keep_what_may_be_done() {
        let member =
            [&string("m")[..], &[0xff, 0xff], &string("c"), &string("/h"), &[0, 0, 0, 1, 7], &[0, 0, 0, 1, 7]].concat();
        let head =
            [&[0; 6][..], &string("analytics"), &string("Stable"), &string("consumer"), &string("range")].concat();
        let answer = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &head[4..], &[0, 0, 0, 1], &member, &[0, 0, 1, 8]].concat();
        let expected = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &head[4..], &[0, 0, 0, 0], &[0, 0, 1, 8]].concat();
        assert_eq!(groups(4, &mut Reader(&answer)), Ok(expected));
        for length in 0..answer.len() {
            assert!(groups(4, &mut Reader(&answer[..length])).is_err(), "{length}");
        }
    }

    #[test]
    fn a_coordinator_is_named_from_then_on_and_a_strange_one_is_none() {
        let mut cluster = cluster();
        let answer = [&[0, 0, 0, 0, 0, 0, 0xff, 0xff][..], &node(5, "e.example", 9092)].concat();
        assert_eq!(coordinator(&mut Reader(&answer), &mut cluster), Ok(answer.clone()));
        let written = metadata(8, &mut Reader(&told(&[node(1, "a.example", 9092)], 1)), &mut cluster).unwrap();
        assert!(written.windows(9).any(|window| window == b"e.example"));
        for (id, host, port) in
            [(-1, "e.example", 9092), (5, "", 9092), (5, "e x", 9092), (5, "e.example", 0), (5, "e", 70_000)]
        {
            let answer = [&[0, 0, 0, 0, 0, 0, 0xff, 0xff][..], &node(id, host, port)].concat();
            assert_eq!(coordinator(&mut Reader(&answer), &mut cluster), Err(Refused::NotTheProtocol), "{host}");
        }
        let denied = [&[0, 0, 0, 0, 0, 30, 0xff, 0xff][..], &node(-1, "", -1)].concat();
        assert_eq!(coordinator(&mut Reader(&denied), &mut cluster), Ok(denied.clone()));
    }
}

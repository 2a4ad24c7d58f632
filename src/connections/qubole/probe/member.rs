//! Members of an object in JSON that may be cut short. Pure.
//!
//! The state of a cluster lists its nodes, which may be more than what is read of a body; what counts stands before them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};

/// A member that is read of an answer, whichever it answers. No value is kept: a number that is cut is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// `cluster_id`, a number.
    Id,
    /// `state`, a word.
    State,
    /// `paging_info`, an object.
    Pages,
    /// `clusters`, a list, or the beginning of one.
    Clusters,
}

/// How an object ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Whole,
    /// It does not, in what is there.
    Cut,
    /// It is no object, or one whose members are of other types.
    Broken,
}

/// The members of the object that `body` is, as far as they are there, and how it ends.
pub fn of(body: &[u8]) -> (BTreeSet<Member>, End) {
    let mut members = BTreeSet::new();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = Fill(&mut members).deserialize(&mut reader).and_then(|()| reader.end());
    let end = match read {
        Ok(()) => End::Whole,
        Err(error) if error.is_eof() && body.trim_ascii_start().first() == Some(&b'{') => End::Cut,
        Err(_) => End::Broken,
    };
    (members, end)
}

/// Fills what is lent with the members of an object; it keeps what was read before an end that comes too early.
struct Fill<'a>(&'a mut BTreeSet<Member>);

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fill<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(members) = self;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "cluster_id" => {
                    map.next_value::<u64>()?;
                    members.insert(Member::Id);
                }
                "state" => {
                    if is_word(&map.next_value::<String>()?) {
                        members.insert(Member::State);
                    }
                }
                "paging_info" => {
                    map.next_value::<BTreeMap<String, IgnoredAny>>()?;
                    members.insert(Member::Pages);
                }
                "clusters" => {
                    // What is no list is found out below.
                    members.insert(Member::Clusters);
                    map.next_value::<Vec<IgnoredAny>>()?;
                }
                "error" => return Err(A::Error::custom("an error is no answer")),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Whether it is what a state looks like: those that are documented are UP, DOWN, PENDING and TERMINATING.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_kept_up_to_where_an_object_is_cut() {
        let body = br#"{"state": "UP", "start_at": null, "cluster_id": 1710, "nodes": [{"role": "master"}, {"role": "node0001"}]}"#;
        assert_eq!(of(body), (BTreeSet::from([Member::Id, Member::State]), End::Whole));
        for length in 0..body.len() {
            let (members, end) = of(&body[..length]);
            assert_eq!(end, if length == 0 { End::Broken } else { End::Cut }, "{length}");
            let after = |text: &str| length >= String::from_utf8_lossy(body).find(text).unwrap();
            assert_eq!(members.contains(&Member::State), after(", \"start_at"), "{length}");
            assert_eq!(members.contains(&Member::Id), after("710"), "{length}");
        }
    }

    #[test]
    fn what_is_no_object_of_this_kind_is_broken() {
        for body in [
            "",
            " ",
            "null",
            "[",
            "<html>",
            "{]",
            "{} {}",
            r#"{"state": 7}"#,
            r#"{"cluster_id": "1710"}"#,
            r#"{"cluster_id": -1}"#,
            r#"{"clusters": {}}"#,
            r#"{"paging_info": 1}"#,
            r#"{"cluster_id": 1, "error": {"error_code": 404}}"#,
        ] {
            assert_eq!(of(body.as_bytes()).1, End::Broken, "{body}");
        }
        assert_eq!(of("[".repeat(60_000).as_bytes()).1, End::Broken);
        assert_eq!(of(format!("{{\"x\": {}", "[".repeat(60_000)).as_bytes()).1, End::Cut);
    }

    #[test]
    fn a_state_is_a_word_in_capitals() {
        for (state, is) in [("UP", true), ("TERMINATING", true), ("", false), ("up and running", false), ("<b>", false)]
        {
            let body = format!("{{\"state\": \"{state}\"}}");
            assert_eq!(of(body.as_bytes()).0.contains(&Member::State), is, "{state}");
        }
    }
}

//! What a cluster answers to what may be done with an index, and to a look at it. No text of an answer is kept. Pure.

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::answer::Refused;

/// Blocks of an index that keep documents out ("Index block settings" of both).
const WRITE_BLOCKS: [&str; 3] = ["write", "read_only", "read_only_allow_delete"];

/// The privileges of Elasticsearch that a look asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// `read`
    pub read: bool,
    /// `create_doc`
    pub write: bool,
    /// `view_index_metadata`
    pub view: bool,
}

/// The privileges, in Elasticsearch's words.
pub(super) const PRIVILEGES: [&str; 3] = ["read", "create_doc", "view_index_metadata"];

/// Which privileges are held on `index`; `None` where that is not told.
pub(super) fn held(index: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Option<Held>, Refused> {
    let refused = || Refused::of(status, headers, body);
    match status.as_u16() {
        200 => {
            let document: Value = serde_json::from_slice(body).map_err(|_| refused())?;
            let told = &document["index"][index];
            let [read, write, view] = PRIVILEGES.map(|privilege| told[privilege].as_bool());
            match (read, write, view) {
                (Some(read), Some(write), Some(view)) => Ok(Some(Held { read, write, view })),
                _ => Err(refused()),
            }
        }
        // Who may ask, and with what, differs between versions and between what may stand before them.
        400 | 403 | 404 | 405 => Ok(None),
        _ => Err(refused()),
    }
}

/// How an index is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// What it is, without its mappings.
    Metadata,
    /// A search without hits.
    Search,
}

/// What is seen of an index, or of all that an alias or a data stream stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there, and may be looked at in this way.
    There,
    /// It is there, and nothing can be written to it.
    ReadOnly,
    /// It is there, and closed.
    Closed,
    /// It is there, and a part of it does not answer.
    Partly,
    /// It may not be looked at in this way, whether it is there or not.
    Denied,
}

/// What an answer to a look at an index says.
pub(super) fn seen(way: Way, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Seen, Refused> {
    let refused = Refused::of(status, headers, body);
    match status {
        StatusCode::OK => match way {
            Way::Metadata => described(body).ok_or(refused),
            Way::Search => searched(body).ok_or(refused),
        },
        _ if refused.is_denial() => Ok(Seen::Denied),
        _ => Err(refused),
    }
}

/// What the settings say that each index is described by, under its name. They may be cut short, since an alias has any number of
/// indices; then that the first one is there is all that is known.
fn described(body: &[u8]) -> Option<Seen> {
    let is_there = |index: &Value| index["settings"]["index"]["uuid"].is_string();
    let indices: Map<String, Value> = match serde_json::from_slice(body) {
        Ok(indices) => indices,
        Err(error) if error.is_eof() => return first(body).filter(is_there).map(|_| Seen::There),
        Err(_) => return None,
    };
    if indices.is_empty() || !indices.values().all(is_there) {
        return None;
    }
    // Of several each may be closed or held but for one, such as the newest of a data stream.
    let all = |is_so: &dyn Fn(&Value) -> bool| indices.values().all(|index| is_so(&index["settings"]["index"]));
    let is_set = |setting: &Value| setting == "true" || *setting == Value::Bool(true);
    Some(if all(&|index| is_set(&index["verified_before_close"])) {
        Seen::Closed
    } else if all(&|index| WRITE_BLOCKS.iter().any(|block| is_set(&index["blocks"][block]))) {
        Seen::ReadOnly
    } else {
        Seen::There
    })
}

/// The value of the first member of an object that may be cut behind it.
fn first(body: &[u8]) -> Option<Value> {
    let members = body.trim_ascii_start().strip_prefix(b"{")?;
    let mut names = serde_json::Deserializer::from_slice(members).into_iter::<String>();
    names.next()?.ok()?;
    let value = members.get(names.byte_offset()..)?.trim_ascii_start().strip_prefix(b":")?;
    serde_json::Deserializer::from_slice(value).into_iter().next()?.ok()
}

/// What the shards say that a search has asked.
fn searched(body: &[u8]) -> Option<Seen> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let count = |name| document["_shards"][name].as_u64();
    let (total, successful, failed) = (count("total")?, count("successful")?, count("failed")?);
    document["hits"].is_object().then_some(match (total, failed) {
        // OpenSearch's plugin may be told to search what is permitted, and that is nothing (`do_not_fail_on_forbidden`).
        (0, _) => Seen::Denied,
        (_, 0) if successful == total => Seen::There,
        (_, _) => Seen::Partly,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureClass;

    fn status(status: u16) -> StatusCode {
        StatusCode::from_u16(status).unwrap()
    }

    fn error(kind: &str) -> String {
        format!(r#"{{"error":{{"root_cause":[],"type":"{kind}","reason":"canary"}},"status":0}}"#)
    }

    #[test]
    fn privileges_are_what_is_told_of_the_index_that_was_asked_about() {
        let told = |code, body: &str| held("orders", status(code), &HeaderMap::new(), body.as_bytes());
        let body = r#"{"index":{"orders":{"read":true,"create_doc":false,"view_index_metadata":true}}}"#;
        assert_eq!(told(200, body), Ok(Some(Held { read: true, write: false, view: true })));
        for code in [400, 403, 404, 405] {
            assert_eq!(told(code, &error("illegal_argument_exception")), Ok(None));
        }
        for body in [
            "{}",
            "<html>",
            r#"{"index":{"others":{"read":true,"create_doc":true,"view_index_metadata":true}}}"#,
            r#"{"index":{"orders":{"read":true}}}"#,
            r#"{"index":{"orders":{"read":"true","create_doc":true,"view_index_metadata":true}}}"#,
            r#"{"index":[]}"#,
        ] {
            assert_eq!(told(200, body).unwrap_err().inside().class(), FailureClass::ProtocolMismatch, "{body}");
        }
    }

    #[test]
    fn an_index_is_there_where_it_is_answered_for() {
        let seen = |way, code, body: &str| seen(way, status(code), &HeaderMap::new(), body.as_bytes());
        let found = r#"{"orders":{"settings":{"index":{"uuid":"x"}}}}"#;
        let searched =
            r#"{"_shards":{"total":2,"successful":2,"failed":0},"hits":{"total":{"value":0,"relation":"eq"}}}"#;
        assert_eq!(seen(Way::Metadata, 200, found), Ok(Seen::There));
        assert_eq!(seen(Way::Search, 200, searched), Ok(Seen::There));
        assert!(seen(Way::Metadata, 200, searched).is_err());
        assert!(seen(Way::Search, 200, found).is_err());
        for body in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"{"orders":{}}"#,
            r#"{"_shards":{"total":-1},"hits":{}}"#,
            r#"{"_shards":{"total":1,"failed":0},"hits":{}}"#,
        ] {
            assert!(seen(Way::Metadata, 200, body).is_err(), "{body}");
            assert!(seen(Way::Search, 200, body).is_err(), "{body}");
        }
        assert_eq!(seen(Way::Search, 403, &error("security_exception")), Ok(Seen::Denied));
        assert!(seen(Way::Search, 403, "<html>").is_err());
    }

    #[test]
    fn a_search_of_nothing_or_of_a_part_proves_nothing() {
        let seen = |total: u8, successful: u8, failed: u8| {
            let body = format!(
                r#"{{"_shards":{{"total":{total},"successful":{successful},"failed":{failed}}},"hits":{{"total":{{}}}}}}"#
            );
            seen(Way::Search, StatusCode::OK, &HeaderMap::new(), body.as_bytes())
        };
        // As OpenSearch 2.19 has answered with `do_not_fail_on_forbidden` and `do_not_fail_on_forbidden_empty`, to a user
        // without a right on the index, and about one that does not exist.
        assert_eq!(seen(0, 0, 0), Ok(Seen::Denied));
        // As Elasticsearch 8.19 has answered about an alias of two indices, one of which has no shard.
        assert_eq!(seen(2, 1, 1), Ok(Seen::Partly));
        assert_eq!(seen(2, 1, 0), Ok(Seen::Partly));
        assert_eq!(seen(2, 2, 0), Ok(Seen::There));
    }

    #[test]
    fn an_index_that_is_closed_or_held_is_told_by_its_settings() {
        let seen = |indices: &[&str]| {
            let described =
                |(n, index): (usize, &&str)| format!(r#""i{n}":{{"settings":{{"index":{{"uuid":"x"{index}}}}}}}"#);
            let indices: Vec<String> = indices.iter().enumerate().map(described).collect();
            let body = format!("{{{}}}", indices.join(","));
            super::seen(Way::Metadata, StatusCode::OK, &HeaderMap::new(), body.as_bytes())
        };
        let closed = r#","verified_before_close":"true""#;
        assert_eq!(seen(&[closed]), Ok(Seen::Closed));
        assert_eq!(seen(&[r#","verified_before_close":"false""#]), Ok(Seen::There));
        for (block, expected) in [
            ("write", Seen::ReadOnly),
            ("read_only", Seen::ReadOnly),
            ("read_only_allow_delete", Seen::ReadOnly),
            ("read", Seen::There),
            ("metadata", Seen::There),
        ] {
            let held = |value| format!(r#","blocks":{{"{block}":{value}}}"#);
            assert_eq!(seen(&[&held(r#""true""#)]), Ok(expected), "{block}");
            assert_eq!(seen(&[&held("true"), &held(r#""true""#)]), Ok(expected), "{block}");
            assert_eq!(seen(&[&held(r#""false""#)]), Ok(Seen::There), "{block}");
            // What is written goes to one of them, and which one is not told.
            assert_eq!(seen(&[&held(r#""true""#), ""]), Ok(Seen::There), "{block}");
        }
        assert_eq!(seen(&[closed, ""]), Ok(Seen::There));
    }

    #[test]
    fn of_an_alias_with_many_indices_the_first_one_is_enough() {
        let seen = |body: &str| super::seen(Way::Metadata, StatusCode::OK, &HeaderMap::new(), body.as_bytes());
        let one = r#"{ "orders-1" : {"settings":{"index":{"uuid":"x","blocks":{"write":"true"}}}}"#;
        for more in ["", " ", ",", r#","ord"#, r#","orders-2":{"settings":{"index":{"uu"#] {
            // Whether the others are held back is not known.
            assert_eq!(seen(&format!("{one}{more}")), Ok(Seen::There), "{more}");
        }
        for cut in [&one[..one.len() - 1], r#"{"orders-1""#, "{", r#"{"orders-1":"x","#, "   "] {
            assert!(seen(cut).is_err(), "{cut}");
        }
        assert!(seen(&format!("{one}]")).is_err());
    }

    #[test]
    fn what_is_said_inside_has_a_name() {
        use FailureClass as C;
        for (code, body, class) in [
            (401, error("security_exception"), C::WrongCredentials),
            (404, error("index_not_found_exception"), C::TargetNotFound),
            (404, r#"{"error":"alias [canary] missing","status":404}"#.to_owned(), C::TargetNotFound),
            (404, "<html>".to_owned(), C::ProtocolMismatch),
            (400, error("invalid_index_name_exception"), C::TargetNotFound),
            (400, error("index_closed_exception"), C::TargetUnavailable),
            (403, error("cluster_block_exception"), C::TargetUnavailable),
            (403, "<html>".to_owned(), C::ProtocolMismatch),
            (503, error("search_phase_execution_exception"), C::TargetUnavailable),
            (503, error("no_shard_available_action_exception"), C::TargetUnavailable),
            (503, error("unavailable_shards_exception"), C::TargetUnavailable),
            (503, error("cluster_block_exception"), C::ServerUnavailable),
            (503, error("master_not_discovered_exception"), C::ServerUnavailable),
            (502, "<html>".to_owned(), C::ServerUnavailable),
            (429, error("search_phase_execution_exception"), C::Throttled),
            (429, error("es_rejected_execution_exception"), C::Throttled),
            (400, error("illegal_argument_exception"), C::Internal),
            (301, String::new(), C::ProtocolMismatch),
        ] {
            let failure = seen(Way::Search, status(code), &HeaderMap::new(), body.as_bytes()).unwrap_err().inside();
            assert_eq!(failure.class(), class, "{code} {body}");
        }
    }
}

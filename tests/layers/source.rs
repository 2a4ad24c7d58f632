//! Rust as far as these tests read it: which modules a file names, once comments, texts and tests are left out.

use std::collections::BTreeSet;

/// A file of the library, split into what it says and what it does.
pub struct Source {
    /// Where it is below src.
    pub path: String,
    /// The top-level module it belongs to.
    pub module: String,
    /// Everything in it.
    pub text: String,
    /// Its code: no comments, no texts, no tests.
    pub code: String,
}

impl Source {
    /// Reads a file that is at `path` below src.
    pub fn new(path: &str, text: &str) -> Self {
        let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        Self { path: path.to_owned(), module, text: text.to_owned(), code: without_tests(&bare(text)) }
    }

    /// The top-level modules that the code names.
    pub fn uses(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::").filter(|(at, _)| starts_a_word(&self.code, *at)) {
            found.extend(first_names(&self.code[at + "crate::".len()..]));
        }
        // `super` as often as the file is deep is the crate itself; in a module inside of the file once more.
        let depth = self.path.trim_end_matches("/mod.rs").split('/').count();
        let root = "super::".repeat(depth);
        for (at, _) in self.code.match_indices(&root).filter(|(at, _)| starts_a_word(&self.code, *at)) {
            let nested = depth_at(&self.code, at);
            let rest = self.code[at + root.len()..].trim_start_matches("super::");
            if nested == 0 {
                found.extend(first_names(rest));
            }
        }
        found.remove("self");
        found
    }
}

/// The first names of a path or of a tree of paths: `a::b` has `a`, `{a::b, c}` has `a` and `c`.
fn first_names(text: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(inside) = text.strip_prefix('{') else { return vec![name(text)] };
    let mut depth = 0;
    let mut names = Vec::new();
    let mut start = 0;
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(inside[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// How many modules with a body are open at `at`.
fn depth_at(code: &str, at: usize) -> usize {
    let mut open: Vec<bool> = Vec::new();
    for (n, c) in code[..at].char_indices() {
        match c {
            '{' => {
                let before = code[..n].trim_end();
                let head = before.rsplit(['\n', ';', '}', '{']).next().unwrap_or_default();
                open.push(contains(head, "mod"));
            }
            '}' => drop(open.pop()),
            _ => {}
        }
    }
    open.into_iter().filter(|is_module| *is_module).count()
}

/// Whether `code` has `word` with no letter directly before or after it.
pub fn contains(code: &str, word: &str) -> bool {
    let closed = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    code.match_indices(word).any(|(at, _)| {
        let before = !letter(word.chars().next()) || closed(code[..at].chars().next_back());
        let after = !letter(word.chars().next_back()) || closed(code[at + word.len()..].chars().next());
        before && after
    })
}

fn starts_a_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}

/// The code without its `#[cfg(test)]` modules.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let body = rest[at..].find('{').map(|open| at + open);
        let Some(open) = body.filter(|open| contains(&rest[at..*open], "mod") && !rest[at..*open].contains(';')) else {
            kept.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        };
        kept.push_str(&rest[..at]);
        let mut depth = 0;
        let close = rest[open..].char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        rest = close.map_or("", |(close, _)| &rest[open + close + 1..]);
    }
    kept + rest
}

/// The text without comments and without what stands in quotes.
fn bare(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let raw = rest.strip_prefix('r').filter(|after| after.starts_with(['"', '#'])).map(|after| {
            let hashes = after.len() - after.trim_start_matches('#').len();
            (hashes, &after[hashes..])
        });
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((hashes, body)) = raw.filter(|(_, body)| body.starts_with('"') && !ends_in_a_word(&kept)) {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = body[1..].find(&end).map_or(body.len(), |at| at + 1 + end.len());
            1 + hashes + length
        } else if c == '"' {
            quoted(rest)
        } else if c == '\'' {
            // A character, unless it is a lifetime.
            let after: Vec<char> = rest.chars().skip(1).take(2).collect();
            if after.first() == Some(&'\\') {
                quoted_by(rest, '\'')
            } else if after.get(1) == Some(&'\'') {
                2 + after[0].len_utf8()
            } else {
                0
            }
        } else {
            0
        };
        if skipped > 0 {
            kept.push(' ');
            rest = &rest[skipped..];
        } else {
            kept.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    kept
}

fn ends_in_a_word(text: &str) -> bool {
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn quoted(text: &str) -> usize {
    quoted_by(text, '"')
}

/// The length of what begins with a quote and ends with the next one that is not escaped.
fn quoted_by(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\\' if !escaped => escaped = true,
            _ if c == quote && !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

#[test]
fn the_scanner_sees_through_what_is_not_code() {
    let seen = |text: &str| Source::new("net/policy.rs", text).uses().into_iter().collect::<Vec<_>>();
    assert_eq!(seen("use crate::{failure::{Code, Stage}, api, net::tls};"), ["api", "failure", "net"]);
    assert_eq!(seen("fn f() { crate::usage::index() }"), ["usage"]);
    assert_eq!(seen("use super::super::reconcile::plan;"), ["reconcile"]);
    assert_eq!(seen("use super::tls::Tls; mod inner { use super::super::tls; }"), Vec::<String>::new());
    assert_eq!(
        seen("// crate::api\n/* crate::api */ const A: &str = \"crate::api\"; const B: char = '\"';"),
        Vec::<String>::new()
    );
    assert_eq!(seen("const A: &str = r#\"crate::api \" \"#;\nfn f<'a>(a: &'a crate::net::A) {}"), ["net"]);
    assert_eq!(seen("#[cfg(test)]\npub(crate) mod tests { use crate::api; }\nuse crate::net;"), ["net"]);
    assert!(contains("let a = Client::new();", "Client") && !contains("ClientCertificate", "Client"));
    assert!(contains("x().await", ".await") && contains("async fn f()", "async") && !contains("async_trait", "async"));
}

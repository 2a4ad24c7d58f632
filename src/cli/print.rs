//! What the printing subcommands print. The same build prints the same bytes, so that the output can be committed.

use std::io::{self, Write};

use crate::{api, connections::ConnectionType};

/// Prints every custom resource definition, one YAML document each.
///
/// # Errors
/// Where `out` cannot be written to.
pub fn crds(out: &mut impl Write) -> io::Result<()> {
    for (n, crd) in api::crds().iter().enumerate() {
        if n > 0 {
            writeln!(out, "---")?;
        }
        out.write_all(yaml(crd)?.as_bytes())?;
    }
    Ok(())
}

/// Prints one line for each connection type: its name, its member in the spec, and what it is.
///
/// # Errors
/// Where `out` cannot be written to.
pub fn types(out: &mut impl Write) -> io::Result<()> {
    let rows = || ConnectionType::ALL.iter().map(|kind| (kind.as_str(), kind.member(), kind.summary()));
    let header = ("TYPE", "MEMBER", "DESCRIPTION");
    let width = |column: fn(&(&'static str, &'static str, &'static str)) -> usize| {
        rows().chain([header]).map(|row| column(&row)).max().unwrap_or_default() + 2
    };
    let (name, member) = (width(|row| row.0.len()), width(|row| row.1.len()));
    [header].into_iter().chain(rows()).try_for_each(|row| writeln!(out, "{:name$}{:member$}{}", row.0, row.1, row.2))
}

/// Prints the version.
///
/// # Errors
/// Where `out` cannot be written to.
pub fn version(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", env!("CARGO_PKG_VERSION"))
}

/// One document of YAML that ends with a line break.
///
/// # Errors
/// Where `resource` has no form in YAML, which no resource of ours does.
pub fn yaml(resource: &impl serde::Serialize) -> io::Result<String> {
    serde_saphyr::to_string(resource).map(|text| format!("{}\n", text.trim_end())).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(print: fn(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_type_has_its_line() {
        let text = printed(types);
        assert_eq!(text.lines().count(), 1 + ConnectionType::ALL.len());
        for (line, kind) in text.lines().skip(1).zip(ConnectionType::ALL) {
            let words: Vec<&str> = line.split_whitespace().take(2).collect();
            assert_eq!(words, [kind.as_str(), kind.member()]);
            assert!(line.ends_with(kind.summary()));
        }
    }

    #[test]
    fn the_same_build_prints_the_same_bytes() {
        assert_eq!(printed(crds), printed(crds));
        assert!(printed(crds).ends_with('\n') && printed(version).ends_with('\n'));
    }
}

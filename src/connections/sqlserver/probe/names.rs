//! Names of a spec as the server's functions take them. Pure.

/// The name of a table, with its schema where there is one, quoted so that every character stands for itself. It is sent as a
/// parameter and never as a part of a statement.
pub(super) fn object(schema: Option<&str>, table: &str) -> String {
    let parts: Vec<String> = schema.into_iter().chain([table]).map(quoted).collect();
    parts.join(".")
}

fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// The host that a server sends a client to, as one that can be dialled: without an instance's name, which the port makes
/// needless, and in small letters, as certificates have them. `None` where it can be no host.
pub(super) fn routed_host(said: &str) -> Option<String> {
    let host = said.split_once('\\').map_or(said, |(host, _instance)| host);
    let of_a_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    ((1..=253).contains(&host.len()) && host.chars().all(of_a_host)).then(|| host.to_ascii_lowercase())
}

/// Whether `host` lies in the domain of `known`: it is the same, or differs from it in front of the same two or more last labels.
/// `orders.database.windows.net` and `c1.tr5.westeurope1-a.worker.database.windows.net` do.
pub(super) fn in_one_domain(known: &str, host: &str) -> bool {
    if known.eq_ignore_ascii_case(host) {
        return true;
    }
    let is_an_address = |name: &str| name.contains(':') || name.ends_with(|c: char| c.is_ascii_digit());
    let Some((_, domain)) = known.split_once('.') else { return false };
    let within = host.len() > domain.len() + 1
        && host.is_char_boundary(host.len() - domain.len())
        && host[host.len() - domain.len()..].eq_ignore_ascii_case(domain)
        && host[..host.len() - domain.len()].ends_with('.');
    within && domain.trim_end_matches('.').contains('.') && !is_an_address(known) && !is_an_address(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_a_name_stands_for_itself() {
        assert_eq!(object(Some("dbo"), "orders"), "[dbo].[orders]");
        assert_eq!(object(None, "orders"), "[orders]");
        assert_eq!(object(Some("a.b"), "x]; DROP TABLE [y"), "[a.b].[x]]; DROP TABLE [y]");
        assert_eq!(object(Some("]"), "]]"), "[]]].[]]]]]");
    }

    #[test]
    fn a_server_sends_to_a_host_and_nothing_else() {
        let host = |said: &str| routed_host(said);
        let worker = "C1B2.tr5.westeurope1-a.worker.database.windows.net";
        assert_eq!(host(worker).as_deref(), Some("c1b2.tr5.westeurope1-a.worker.database.windows.net"));
        assert_eq!(host("node2\\SALES").as_deref(), Some("node2"));
        assert_eq!(host("fd00::1").as_deref(), Some("fd00::1"));
        for said in ["", "\\SALES", "a b", "a/b", "user@host", "host#", "h\u{e9}", "a\0b", &"x".repeat(254)] {
            assert_eq!(host(said), None, "{said}");
        }
    }

    #[test]
    fn a_domain_is_what_stands_behind_the_first_label() {
        let azure = "orders.database.windows.net";
        for (known, host, expected) in [
            (azure, azure, true),
            (azure, "ORDERS.database.windows.NET", true),
            (azure, "c1.tr5.westeurope1-a.worker.database.windows.net", true),
            (azure, "database.windows.net", false),
            (azure, ".database.windows.net", false),
            (azure, "evildatabase.windows.net", false),
            (azure, "database.windows.net.evil.example", false),
            (azure, "evil.example", false),
            ("sql.corp.example", "node2.corp.example", true),
            // A domain that everybody can be in is none.
            ("sql.example", "evil.example", false),
            ("sql", "evil", false),
            ("sql", "sql", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.1.0.0.1", false),
            ("fd00::1", "fd00::1", true),
            ("fd00::1", "fd00::2", false),
            ("a.b.c.1", "x.b.c.1", false),
        ] {
            assert_eq!(in_one_domain(known, host), expected, "{known} {host}");
        }
    }
}

//! What an account answers to who logs in and asks, by whatever way and with whatever rights.

use std::process::Command;

use connection_operator::connections::Refusal;

use super::*;
use crate::harness::{script, snowflake};

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    let role = |case: Case| case.with(|settings| settings.role = Some("ORDERS_READER".to_owned()));
    for (wanted, permissions) in [
        (&["any green"][..], &[][..]),
        (&["any green", "`Read`"], &[Read]),
        (&["any green", "`Write`"], &[Write]),
        (&["any green", "`Read`", "`Write`"], &[Read, Write]),
    ] {
        let account = granted(wanted).start().await;
        role(Case::of(&account).on("ORDERS")).asks(permissions).passes().await;
    }
    let account = granted(&["`warehouse`"]).start().await;
    let warehouse = Case::of(&account).with(|settings| settings.warehouse = Some("REPORTS".to_owned()));
    let proof = warehouse.passes().await;
    assert_eq!(proof.unproven(), ["that the warehouse may be used, since it is not"]);
    assert_eq!(Case::of(&account).passes().await, Proof::default());
}

#[tokio::test]
async fn each_of_these_rights_is_needed() {
    let all = grants().into_iter().filter(|(grant, _)| !grant.contains("WAREHOUSE")).collect::<Vec<_>>();
    let given = async |left_out: &str| {
        let known = Known::nothing().user("READER", "ORDERS_READER", Some(&PAIR));
        let rest = all.iter().filter(|(grant, _)| left_out.is_empty() || !grant.contains(left_out));
        rest.fold(known, |known, (grant, _)| known.grant(grant)).start().await
    };
    let case = |account: &Account| Case::of(account).on("ORDERS").asks(&[Read, Write]);
    case(&given("").await).passes().await;
    for (left_out, reason) in [
        ("USAGE ON DATABASE", Reason::TargetNotFoundOrNotPermitted),
        ("USAGE ON SCHEMA", Reason::TargetNotFoundOrNotPermitted),
        ("SELECT", Reason::PermissionDenied),
        ("INSERT", Reason::PermissionDenied),
    ] {
        case(&given(left_out).await).ends(Stage::Access, reason).await;
    }
    let none = granted(&["`warehouse`"]).start().await;
    let warehouse = |account: &Account| Case::of(account).with(|s| s.warehouse = Some("REPORTS".to_owned()));
    warehouse(&none).passes().await;
    let none = granted(&[]).start().await;
    warehouse(&none).ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
}

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    let schema = || granted(&["any green"]);
    for (grants, words) in [(&["SELECT"][..], "(Write)"), (&["INSERT"], "(Read)"), (&["REFERENCES"], "(Read)")] {
        let account = grants.iter().fold(schema(), on_a_b).start().await;
        let case = Case::of(&account).on("A_B").asks(&[Read, Write]);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on table SHOP.PUBLIC.A_B {words}: ")), "{message}");
    }
}

/// With a privilege on the table `A_B`.
fn on_a_b(known: Known, privilege: &&str) -> Known {
    known.grant(&format!("GRANT {privilege} ON TABLE SHOP.PUBLIC.A_B TO ROLE ORDERS_READER"))
}

#[tokio::test]
async fn who_may_not_read_is_not_said_to_lack_write() {
    for (grants, reason, requests) in [
        (&["SELECT", "INSERT"][..], None, 2),
        (&["SELECT"], Some(Reason::PermissionDenied), 3),
        (&["INSERT"], Some(Reason::PermissionNotProvable), 3),
        (&["REFERENCES"], Some(Reason::PermissionNotProvable), 3),
    ] {
        let account = grants.iter().fold(granted(&["any green"]), on_a_b).start().await;
        let case = Case::of(&account).on("A_B").asks(&[Write]);
        match reason {
            None => assert_eq!(case.passes().await, Proof::default()),
            Some(reason) => {
                let message = case.ends(Stage::Access, reason).await;
                assert!(
                    message.contains("table SHOP.PUBLIC.A_B") && message.contains("(Write): grant SELECT"),
                    "{message}"
                );
            }
        }
        assert_eq!(account.web.asked().len(), requests, "{grants:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_proven_is_said_and_is_no_denial() {
    let view = "GRANT SELECT ON VIEW SHOP.PUBLIC.ORDERS_VIEW TO ROLE ORDERS_READER";
    let account = granted(&["any green"]).grant(view).start().await;
    Case::of(&account).on("ORDERS_VIEW").asks(&[Read]).passes().await;
    let case = Case::of(&account).on("ORDERS_VIEW").asks(&[Read, Write]);
    let message = case.ends(Stage::Access, Reason::PermissionNotProvable).await;
    assert!(message.contains("(0A000, Write)"), "{message}");
}

#[tokio::test]
async fn each_way_to_log_in_is_taken() {
    let account = granted(&["any green"])
        .token("ETMsDgAAAX-oauth", "READER", Kind::OAuth)
        .token("eyJraWQiOi-programmatic", "READER", Kind::Programmatic)
        .start()
        .await;
    Case::of(&account).on("ORDERS").passes().await;
    for token in ["ETMsDgAAAX-oauth", "eyJraWQiOi-programmatic"] {
        Case::of(&account).token(token).on("ORDERS").passes().await;
    }
    let asked = account.web.asked();
    let kinds: Vec<&str> = asked.iter().map(|asked| asked.header("x-snowflake-authorization-token-type")).collect();
    assert_eq!(kinds, ["KEYPAIR_JWT", "", ""], "the service tells two kinds of tokens apart by itself");
    assert_eq!(asked[1].header("authorization"), "Bearer ETMsDgAAAX-oauth");
}

#[tokio::test]
async fn an_encrypted_key_is_unlocked_by_its_passphrase_and_by_no_other() {
    let scheme = pkcs8::pkcs5::pbes2::Parameters::pbkdf2_sha256_aes256cbc(2048, &[7; 16], &[8; 16]).expect("a scheme");
    let der = PAIR.der();
    let info = pkcs8::PrivateKeyInfo::try_from(&der[..]).expect("PKCS#8");
    let locked = info.encrypt_with_params(scheme, "open sesame").expect("encrypted");
    let pem = locked.to_pem("ENCRYPTED PRIVATE KEY", pkcs8::LineEnding::LF).expect("PEM").to_string();
    let account = granted(&["any green"]).start().await;
    let case = Case::of(&account).secret("privateKey", &pem);
    case.clone().secret("privateKeyPassphrase", "open sesame").on("ORDERS").passes().await;
    let report = case.secret("privateKeyPassphrase", "hunter2").probe().await;
    let (stage, failure) = report.failure().expect("it is locked");
    assert_eq!((stage, failure.reason()), (Stage::Resolve, Reason::CredentialsMalformed));
    assert!(failure.message().contains("(privateKey)"), "{}", failure.message());
    assert_eq!(account.web.asked().len(), 1, "nothing is sent without a key");
}

#[tokio::test]
async fn the_commands_of_the_page_make_a_key_pair_that_logs_in_encrypted_or_not() {
    let directory = script::run_directory().join("snowflake");
    std::fs::create_dir_all(&directory).expect("a directory");
    let shell = |commands: &str| {
        let done = Command::new("sh").args(["-e", "-c", commands]).current_dir(&directory).output().expect("a shell");
        assert!(done.status.success(), "{commands}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("a file");
    let page = ConnectionType::Snowflake.about().docs;
    shell(page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("commands"));
    let lines: String = read("rsa_key.pub").lines().filter(|line| !line.starts_with('-')).collect();
    let account = granted(&["any green"]).public_key("READER", &lines).start().await;
    let case = Case::of(&account).on("ORDERS");
    case.clone().secret("privateKey", &read("rsa_key.p8")).passes().await;
    for (options, taken) in [
        ("", true),
        ("-v2 des3", true),
        ("-v2 aes-128-cbc -v2prf hmacWithSHA1", true),
        ("-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 10000", true),
        ("-v2 aes-256-cbc -iter 1000001", false),
        ("-scrypt", false),
        ("-v1 PBE-SHA1-3DES", false),
    ] {
        shell(&format!("openssl pkcs8 -topk8 -in rsa_key.p8 -passout 'pass:open sesame' {options} -out locked.p8"));
        let locked =
            case.clone().secret("privateKey", &read("locked.p8")).secret("privateKeyPassphrase", "open sesame");
        if taken {
            locked.passes().await;
        } else {
            assert!(matches!(locked.prepare(), Err(Refusal::Unusable(_))), "{options}");
        }
    }
}

type Change = fn(Case) -> Case;

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    use Reason as R;
    let known = || {
        granted(&["any green"])
            .user("DISABLED", "ORDERS_READER", Some(&PAIR))
            .standing("DISABLED", Standing::Disabled)
            .user("LOCKED", "ORDERS_READER", Some(&PAIR))
            .standing("LOCKED", Standing::Locked)
            .user("REMOTE", "ORDERS_READER", Some(&PAIR))
            .standing("REMOTE", Standing::Elsewhere)
            .user("KEYLESS", "ORDERS_READER", None)
            .token("hunter2-expired", "READER", Kind::ExpiredOAuth)
            .token("hunter2-unbounded", "READER", Kind::Unbounded)
    };
    let changes: [(Change, R, &str); 10] = [
        (|case| case.user("nobody"), R::AuthenticationFailed, "(390144)"),
        (|case| case.user("keyless"), R::AuthenticationFailed, "(390144)"),
        (
            |case| case.secret("privateKey", &Pair::new().pem()),
            R::AuthenticationFailed,
            "SYSTEM$GET_LOGIN_FAILURE_DETAILS",
        ),
        (|case| case.with(|s| s.account = "myorg-other".to_owned()), R::AuthenticationFailed, "(390144)"),
        (|case| case.token("hunter2"), R::AuthenticationFailed, "(394400)"),
        (|case| case.token("hunter2-expired"), R::CredentialsExpired, "(390318)"),
        (|case| case.user("disabled"), R::AccountLocked, "(390101)"),
        (|case| case.user("locked"), R::AccountLocked, "(390102)"),
        (|case| case.user("remote"), R::SourceNotAllowed, "(390422)"),
        (|case| case.token("hunter2-unbounded"), R::SourceNotAllowed, "needs a network policy"),
    ];
    for (change, reason, word) in changes {
        let account = known().start().await;
        let case = change(Case::of(&account)).on("ORDERS").asks(&[Read, Write]);
        let message = case.ends(Stage::Authenticate, reason).await;
        assert!(message.contains(word), "{message}");
        assert!(message.contains(&account.web.peer.address.to_string()), "{message}");
        assert_eq!(account.web.asked().len(), 1, "{message}: a rejection comes once in a look");
    }
}

#[tokio::test]
async fn a_missing_target_is_named() {
    let known = granted(&["any green", "`Read`"]).grant("GRANT USAGE ON WAREHOUSE reports TO ROLE ORDERS_READER");
    let account = known.start().await;
    let base = || Case::of(&account);
    let exact = "names are exact";
    for (case, target, word) in [
        (base().with(|s| s.database = Some("NONE".to_owned())), "database NONE", "create it"),
        (base().with(|s| s.database = Some("Shop".to_owned())), "database Shop", exact),
        (base().on("NONE"), "table SHOP.PUBLIC.NONE", "create it"),
        (base().on("Orders"), "table SHOP.PUBLIC.Orders", exact),
        // There, and not to be seen.
        (base().on("A_B"), "table SHOP.PUBLIC.A_B", "create it"),
        (base().on("ORDERS").with(|s| s.schema = Some("NONE".to_owned())), "table SHOP.NONE.ORDERS", "002043"),
        (base().on("ORDERS").with(|s| s.database = Some("NONE".to_owned())), "table NONE.PUBLIC.ORDERS", "002043"),
        (base().with(|s| s.warehouse = Some("REPORTS".to_owned())), "warehouse REPORTS", exact),
        (base().on("ORDERS").with(|s| s.warehouse = Some("NONE".to_owned())), "warehouse NONE", "create it"),
        (base().with(|s| s.role = Some("NONE".to_owned())), "role NONE", "390189"),
        (base().with(|s| s.role = Some("GRANTED_TO_OTHERS".to_owned())), "role GRANTED_TO_OTHERS", "390186"),
    ] {
        let message = case.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
        let begin = format!("{target} does not exist or may not be seen with these credentials");
        assert!(message.starts_with(&begin) && message.contains(word), "{message}");
    }
    let schema = base().with(|s| (s.database, s.schema) = (Some("SHOP".to_owned()), Some("public".to_owned())));
    let message = schema.ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
    assert!(message.starts_with("schema SHOP.public") && message.contains(exact), "{message}");
}

#[tokio::test]
async fn a_name_is_found_whatever_is_in_it_and_whatever_a_backslash_means() {
    for backslash in [Backslash::Escapes, Backslash::IsItself] {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let known = TABLES.iter().fold(granted(&["any green"]), |known, name| {
            known.grant(&format!("GRANT SELECT ON TABLE SHOP.PUBLIC.{} TO ROLE ORDERS_READER", quoted(name)))
        });
        let account = known.backslash(backslash).start().await;
        for name in TABLES {
            Case::of(&account).on(name).asks(&[Read]).passes().await;
        }
        // What a pattern matches as well is not it.
        for name in ["A%", "_RDERS", "back_slash", "%", "ORDERS' OR 'x"] {
            let message = Case::of(&account).on(name).ends(Stage::Access, Reason::TargetNotFoundOrNotPermitted).await;
            assert!(message.contains(name), "{message}");
        }
    }
}

#[tokio::test]
async fn the_region_is_part_of_the_host_and_not_of_the_token() {
    let account = granted(&["any green"]).start().await;
    let case = Case::of(&account).with(|settings| settings.account = "myorg-shop.eu-central-1.aws".to_owned());
    case.on("ORDERS").passes().await;
}

#[tokio::test]
async fn without_a_host_the_account_says_where_it_is() {
    let zone = std::sync::Arc::<case::Zone>::default();
    let case = Case::at(peer::nobody()).with(|settings| {
        (settings.host, settings.port.0, settings.account) = (None, 443, "MYORG-my_shop".to_owned());
    });
    let message = case.in_world(zone.world()).ends(Stage::Reach, Reason::NameResolutionFailed).await;
    assert!(message.contains("myorg-my-shop.snowflakecomputing.com:443"), "{message}");
    assert_eq!(zone.asked(), ["myorg-my-shop.snowflakecomputing.com"]);
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let address = peer::nobody();
    let message = Case::at(address).ends(Stage::Reach, Reason::ConnectionRefused).await;
    assert!(message.contains(&address.to_string()), "{message}");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_untrusted() {
    let account = granted(&["any green"]).start().await;
    let stranger = crate::harness::authority::Authority::new();
    let roots = stranger.roots();
    let untrusted = Case::of(&account).tls(|tls| tls.roots = roots);
    untrusted.ends(Stage::Reach, Reason::CertificateUntrusted).await;
    let named = Case::of(&account).tls(|tls| tls.server_name = Some("other.example".to_owned()));
    named.ends(Stage::Reach, Reason::CertificateNameMismatch).await;
    assert_eq!(account.web.asked().len(), 0, "no token is sent to who is not verified");
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    let account = granted(&["any green", "`Read`", "`Write`", "`warehouse`"]).start().await;
    let case = Case::of(&account).on("ORDERS").asks(&[Read, Write]).with(|settings| {
        settings.warehouse = Some("REPORTS".to_owned());
        settings.role = Some("ORDERS_READER".to_owned());
    });
    case.passes().await;
    let table = "\"SHOP\".\"PUBLIC\".\"ORDERS\"";
    let statements = [
        "SHOW TERSE OBJECTS LIKE 'ORDERS' IN SCHEMA \"SHOP\".\"PUBLIC\"".to_owned(),
        "SHOW WAREHOUSES LIKE 'REPORTS'".to_owned(),
        format!("EXPLAIN USING TEXT SELECT 1 FROM {table}"),
        format!("EXPLAIN USING TEXT INSERT INTO {table} SELECT * FROM {table} WHERE FALSE"),
    ];
    assert_eq!(account.statements(), statements);
    assert_eq!(account.web.peer.accepted(), statements.len(), "each request has a connection of its own");
    let agent = concat!("connection-operator/", env!("CARGO_PKG_VERSION"));
    for asked in account.web.asked() {
        let body: serde_json::Value = serde_json::from_str(&asked.body).expect("JSON");
        assert_eq!(body["role"], "ORDERS_READER");
        assert_eq!((asked.line.as_str(), asked.header("user-agent")), ("POST /api/v2/statements", agent));
    }
    let tokens: std::collections::BTreeSet<String> =
        account.web.asked().iter().map(|asked| asked.header("authorization").to_owned()).collect();
    assert_eq!(tokens.len(), 1, "a look signs once");
}

#[tokio::test]
async fn who_names_no_target_sends_one_statement() {
    let account = granted(&["any green"]).start().await;
    Case::of(&account).passes().await;
    Case::of(&account).with(|settings| settings.database = Some("SHOP".to_owned())).passes().await;
    let schema = |settings: &mut Settings| {
        (settings.database, settings.schema) = (Some("SHOP".to_owned()), Some("PUBLIC".to_owned()));
    };
    Case::of(&account).with(schema).passes().await;
    let statements = [
        "SHOW TERSE DATABASES LIMIT 1",
        "SHOW TERSE DATABASES LIKE 'SHOP'",
        "SHOW TERSE SCHEMAS LIKE 'PUBLIC' IN DATABASE \"SHOP\"",
    ];
    assert_eq!(account.statements(), statements);
}

#[tokio::test]
async fn the_stand_in_refuses_what_is_never_to_be_sent() {
    let known = || Known::nothing().user("READER", "R", None).token("t", "READER", Kind::OAuth);
    for (body, agent) in [
        (r#"{"statement":"SHOW TERSE DATABASES LIMIT 1","timeout":10,"warehouse":"REPORTS"}"#, "x"),
        (r#"{"statement":"USE WAREHOUSE REPORTS","timeout":10}"#, "x"),
        (r#"{"statement":"SELECT 1 FROM \"SHOP\".\"PUBLIC\".\"ORDERS\"","timeout":10}"#, "x"),
        (r#"{"statement":"SHOW TERSE DATABASES LIMIT 1; SELECT 1","timeout":10}"#, "x"),
        (r#"{"statement":"SHOW TERSE DATABASES LIMIT 1"}"#, "x"),
        (r#"{"statement":"SHOW TERSE DATABASES LIMIT 1","timeout":10}"#, ""),
    ] {
        assert!(snowflake::faults(&known(), body, agent) > 0, "{body}");
    }
    assert_eq!(snowflake::faults(&known(), r#"{"statement":"SHOW TERSE DATABASES LIMIT 1","timeout":10}"#, "x"), 0);
}

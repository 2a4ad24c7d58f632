//! What a cloud answers to who logs in and asks, with whatever rights.

use super::*;

#[tokio::test]
async fn the_least_rights_of_the_documentation_are_enough() {
    assert_eq!(rights().iter().map(|(right, _)| *right).collect::<Vec<_>>(), [LIST, GET, CREATE]);
    for (wanted, permissions) in [
        (&["no permission"][..], &[][..]),
        (&["`List`"], &[List]),
        (&["`Read`"], &[Read]),
        (&["`Write`"], &[Write]),
        (&["`List`", "`Read`", "`Write`"], &[List, Read, Write]),
    ] {
        let cloud = granted(wanted).start().await;
        let proof = Case::of(&cloud).asks(permissions).passes().await;
        assert_eq!(proof, Proof::default());
        Case::of(&cloud).below("2026/").asks(permissions).passes().await;
        // The bucket grants it, so the prefix is not looked at.
        assert_eq!(cloud.web.asked().len(), 4, "{wanted:?}");
    }
}

#[tokio::test]
async fn each_missing_permission_is_listed_and_no_other() {
    for (wanted, words) in [
        (&["`List`"][..], "(Read, Write)"),
        (&["`Read`"], "(List, Write)"),
        (&["`Write`"], "(List, Read)"),
        (&["`List`", "`Read`"], "(Write)"),
        (&["`List`", "`Write`"], "(Read)"),
        (&["`Read`", "`Write`"], "(List)"),
    ] {
        let cloud = granted(wanted).start().await;
        let case = Case::of(&cloud).asks(&[List, Read, Write]);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on bucket orders-lake {words}: ")), "{message}");
        assert!(!message.contains("somebody else"), "{message}");
    }
}

#[tokio::test]
async fn a_bucket_of_somebody_else_is_told_from_no_bucket_and_not_from_one_without_rights() {
    let cloud = closed().bucket("theirs", &[]).start().await;
    for (bucket, asked, words) in [
        ("theirs", &[][..], "(storage.objects.list)"),
        ("theirs", &[Read], "(Read)"),
        ("orders-lake", &[List, Write], "(List, Write)"),
    ] {
        let case = Case::of(&cloud).bucket(bucket).asks(asked);
        let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with(&format!("not permitted on bucket {bucket} {words}: grant it")), "{message}");
        assert!(message.contains("or correct the bucket's name"), "{message}");
    }
}

#[tokio::test]
async fn a_missing_target_is_named() {
    let cloud = granted(&["`List`"]).start().await;
    for case in [Case::of(&cloud), Case::of(&cloud).below("2026/").asks(&[Read])] {
        let message = case.bucket("orders-lost").ends(Stage::Access, Reason::TargetNotFound).await;
        assert!(message.starts_with("bucket orders-lost does not exist (404, notFound)"), "{message}");
    }
}

#[tokio::test]
async fn what_a_condition_or_a_managed_folder_grants_is_seen_below_the_prefix() {
    let below = |rights: &[&str]| {
        let grant = |known: Known, right: &&str| known.grant("orders-lake", READER, right, Some("2026/"));
        rights.iter().fold(closed(), grant)
    };
    for (rights, permissions) in
        [(&[LIST][..], &[][..]), (&[LIST], &[List]), (&[LIST, GET], &[List, Read]), (&[LIST, GET], &[Read])]
    {
        let cloud = below(rights).start().await;
        Case::of(&cloud).below("2026/").asks(permissions).passes().await;
        // Another prefix is not covered, and without one nothing is.
        for case in [Case::of(&cloud).below("2025/"), Case::of(&cloud)] {
            case.asks(permissions).ends(Stage::Access, Reason::PermissionDenied).await;
        }
    }
    let cloud = below(&[LIST]).start().await;
    let case = Case::of(&cloud).below("2026/").asks(&[List, Read]);
    let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.starts_with("not permitted on bucket orders-lake (Read): "), "{message}");
    let cloud = below(&[GET]).start().await;
    let case = Case::of(&cloud).below("2026/").asks(&[Read]);
    let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("(Read)") && message.contains("together with listing"), "{message}");
}

#[tokio::test]
async fn what_cannot_be_seen_below_a_prefix_is_said_and_is_no_denial() {
    let list = || closed().grant("orders-lake", READER, LIST, None);
    for (known, prefix, permissions, words) in [
        // It may be granted: to see it, one would have to write.
        (list().grant("orders-lake", READER, CREATE, Some("2026/")), "2026/", &[List, Write][..], "(Write)"),
        (list(), "2026/", &[Write], "(Write)"),
        // Nothing is there that could be read.
        (list().grant("orders-lake", READER, GET, Some("2027/")), "2027/", &[Read, Write], "(Read, Write)"),
    ] {
        let cloud = known.start().await;
        let case = Case::of(&cloud).below(prefix).asks(permissions);
        let message = case.ends(Stage::Access, Reason::PermissionNotProvable).await;
        assert!(
            message.contains(&format!("bucket orders-lake cannot be proven without using it {words}: ")),
            "{message}"
        );
        assert!(message.contains("a condition or a managed folder"), "{message}");
    }
    // What is denied is said, and not what is unclear beside it.
    let cloud = list().start().await;
    let case = Case::of(&cloud).below("2026/").asks(&[Read, Write]);
    let message = case.ends(Stage::Access, Reason::PermissionDenied).await;
    assert!(message.contains("(Read)"), "{message}");
}

#[tokio::test]
async fn wrong_credentials_are_called_so_whatever_is_wrong_with_them() {
    let stranger = Pair::new(PAIR.id);
    let known = || granted(&["`List`"]).account("former@shop", &PAIR).disabled("former@shop");
    let changes = [
        (serde_json::json!({"private_key": stranger.pem()}), "(invalid_grant)"),
        (serde_json::json!({"private_key_id": "deleted"}), "(invalid_grant)"),
        (serde_json::json!({"client_email": "nobody@shop"}), "(invalid_grant)"),
        (serde_json::json!({"client_email": "former@shop"}), "(disabled_client)"),
    ];
    for (change, code) in changes {
        let cloud = known().start().await;
        let case = Case::of(&cloud).key(&change).asks(&[List, Read]);
        let message = case.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
        assert!(message.contains(code) && message.contains("exist and are enabled"), "{message}");
        assert!(message.contains(&cloud.web.peer.address.to_string()), "{message}");
        assert_eq!(cloud.web.asked().len(), 1, "{message}: a rejection comes once in a look");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_blamed_where_the_other_one_says_so() {
    // To a cloud that is so far ahead the assertion is over, to one that is behind it was made in future.
    for ahead in [4000, -90] {
        let cloud = granted(&["`List`"]).ahead(ahead).start().await;
        let message = Case::of(&cloud).ends(Stage::Authenticate, Reason::ClockSkewed).await;
        assert!(message.contains(&cloud.web.peer.address.to_string()), "{message}");
        let cloud = granted(&["`List`"]).of_a_partner().ahead(ahead).start().await;
        Case::of(&cloud).universe("s3nsapis.fr").ends(Stage::Authenticate, Reason::ClockSkewed).await;
    }
    // A clock that does no harm to others does none here.
    for ahead in [3000, -20] {
        let cloud = granted(&["`List`"]).ahead(ahead).start().await;
        Case::of(&cloud).passes().await;
    }
    // A clock that is wrong is not the cause of everything: this is said of a key that is disabled.
    let cloud = granted(&["`List`"]).disabled(READER).ahead(4000).start().await;
    Case::of(&cloud).ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
}

#[tokio::test]
async fn who_pays_is_named_in_every_request_about_the_bucket() {
    let known = || {
        let bucket = closed().requester_pays("orders-lake").bills("shop-billing", READER);
        let below = |known: Known, right| known.grant("orders-lake", READER, right, Some("2026/"));
        below(below(bucket, LIST), GET)
    };
    let cloud = known().start().await;
    Case::of(&cloud).below("2026/").asks(&[Read]).paid_by("shop-billing").passes().await;
    let asked = cloud.web.asked();
    let paid = |asked: &Asked| asked.line.ends_with("&userProject=shop-billing");
    assert_eq!(asked.iter().map(paid).collect::<Vec<_>>(), [false, true, true, true]);
    for (case, code, advice) in [
        (Case::of(&cloud), "(400, required)", "name the project that is billed"),
        (Case::of(&cloud).paid_by("nowhere"), "(400, invalid)", "it must exist"),
        (Case::of(&cloud).paid_by("theirs"), "(403, forbidden)", "serviceusage.services.use"),
        // A 403 is said of what stands above rights too.
        (Case::of(&cloud).paid_by("theirs"), "(403, forbidden)", "VPC Service Controls"),
    ] {
        let message = case.asks(&[Read]).ends(Stage::Access, Reason::PermissionDenied).await;
        assert!(message.starts_with("not permitted on bucket orders-lake"), "{message}");
        assert!(message.contains(code) && message.contains(advice), "{message}");
    }
}

#[tokio::test]
async fn in_another_universe_the_accounts_own_token_is_taken_and_none_is_exchanged() {
    let known = || granted(&["`List`", "`Write`"]).of_a_partner();
    let cloud = known().start().await;
    Case::of(&cloud).universe("s3nsapis.fr").asks(&[List, Write]).passes().await;
    let [asked] = &cloud.web.asked()[..] else { panic!("one request") };
    assert!(asked.line.starts_with("GET /storage/v1/b/orders-lake/iam/testPermissions?"), "{asked:?}");
    let rejected = Case::of(&cloud).universe("s3nsapis.fr").key(&serde_json::json!({"client_email": "nobody@shop"}));
    let message = rejected.ends(Stage::Authenticate, Reason::AuthenticationFailed).await;
    assert!(message.contains("(401, authError)"), "{message}");
    let missing = Case::of(&cloud).universe("s3nsapis.fr").bucket("orders-lost");
    missing.ends(Stage::Access, Reason::TargetNotFound).await;
}

#[tokio::test]
async fn a_look_makes_the_requests_that_are_listed_and_no_other() {
    let below = |known: Known, right| known.grant("orders-lake", READER, right, Some("2026/"));
    let cloud = below(below(closed(), LIST), GET).start().await;
    Case::of(&cloud).below("2026/").asks(&[List, Read]).passes().await;
    let asked = cloud.web.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "POST /token",
            "GET /storage/v1/b/orders-lake/iam/testPermissions?permissions=storage.objects.list&permissions=storage.objects.get",
            "GET /storage/v1/b/orders-lake/o?prefix=2026%2F&maxResults=1&fields=kind%2Citems%28name%29",
            "GET /storage/v1/b/orders-lake/o/2026%2Fa%20b%2Bc%2F%C3%BC%3F?fields=kind",
        ]
    );
    let authorized: Vec<&str> = asked.iter().map(|asked| asked.header("authorization")).collect();
    assert_eq!(authorized, ["", "Bearer ya29.canary-0", "Bearer ya29.canary-0", "Bearer ya29.canary-0"]);
    assert_eq!(cloud.web.peer.accepted(), 4, "each on a connection of its own");
    // At least the right that stands for the bucket's being there is asked about.
    let cloud = granted(&["`Read`"]).start().await;
    Case::of(&cloud).asks(&[Read]).passes().await;
    let line = &cloud.web.asked()[1].line;
    assert!(line.ends_with("?permissions=storage.objects.list&permissions=storage.objects.get"), "{line}");
}

#[tokio::test]
async fn one_look_logs_in_once_and_a_token_is_kept_for_no_other() {
    let cloud = granted(&["`List`"]).start().await;
    for _ in 0..2 {
        Case::of(&cloud).passes().await;
    }
    let lines: Vec<String> = cloud.web.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines.iter().filter(|line| *line == "POST /token").count(), 2, "{lines:?}");
    assert_eq!((lines.len(), cloud.web.peer.accepted()), (4, 4));
}

#[tokio::test]
async fn a_look_says_who_it_is() {
    let cloud = granted(&["`List`"]).start().await;
    Case::of(&cloud).passes().await;
    for asked in cloud.web.asked() {
        assert!(asked.header("user-agent").starts_with("connection-operator/"), "{asked:?}");
    }
}

#[test]
fn a_cloud_takes_nothing_but_what_it_should() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let header = serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": PAIR.id});
    let scope = "https://www.googleapis.com/auth/devstorage.read_only";
    let claims = serde_json::json!({
        "iss": READER, "scope": scope, "aud": "https://storage.test/token", "iat": now, "exp": now + 3600,
    });
    let form = ("content-type", "application/x-www-form-urlencoded");
    let known = granted(&["`List`"]);
    let grant = |assertion: &str| {
        let body = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        verdict(&known, "POST /token", &[form], &body)
    };
    assert_eq!(grant(&signed(&PAIR, &header, &claims)), Ok(true));
    for (part, change) in [
        ("claims", serde_json::json!({"aud": "https://oauth2.googleapis.com/token"})),
        ("claims", serde_json::json!({"iss": "nobody@shop"})),
        ("claims", serde_json::json!({"sub": READER})),
        ("claims", serde_json::json!({"scope": "https://www.googleapis.com/auth/cloud-platform"})),
        ("claims", serde_json::json!({"iat": now - 7200, "exp": now - 3600})),
        ("claims", serde_json::json!({"iat": now + 300})),
        ("claims", serde_json::json!({"exp": now + 7200})),
        ("header", serde_json::json!({"alg": "none"})),
        ("header", serde_json::json!({"kid": "deleted"})),
    ] {
        let (mut header, mut claims) = (header.clone(), claims.clone());
        json_patch::merge(if part == "header" { &mut header } else { &mut claims }, &change);
        assert_eq!(grant(&signed(&PAIR, &header, &claims)), Ok(false), "{part} {change}");
    }
    assert_eq!(grant(&signed(&Pair::new(PAIR.id), &header, &claims)), Ok(false), "another signature");
    let own = serde_json::json!({"iss": READER, "sub": READER, "scope": scope, "iat": now, "exp": now + 3600});
    let bearer = format!("Bearer {}", signed(&PAIR, &header, &own));
    let partner = known.clone().of_a_partner();
    let bearer = ("authorization", bearer.as_str());
    for (line, headers, right) in [
        ("GET /storage/v1/b/orders-lake/iam/testPermissions?permissions=storage.objects.list", &[bearer][..], Ok(true)),
        (
            "GET /storage/v1/b/orders-lake/iam/testPermissions?permissions=storage.objects.list&alt=media",
            &[bearer],
            Err("another request"),
        ),
        ("GET /storage/v1/b/orders-lake/iam/testPermissions?permissions=storage.objects.list", &[], Err("no token")),
        (
            "GET /storage/v1/b/orders-lake/o?maxResults=1&fields=kind,items(name)",
            &[bearer],
            Err("a listing of everything"),
        ),
        (
            "GET /storage/v1/b/orders-lake/o?prefix=x&maxResults=9&fields=kind,items(name)",
            &[bearer],
            Err("a listing of more than one name"),
        ),
        ("GET /storage/v1/b/orders-lake/o/2026/z?fields=kind", &[bearer], Err("a name that is not encoded")),
        (
            "GET /storage/v1/b/orders-lake/o/2026%2Fz?fields=kind,mediaLink",
            &[bearer],
            Err("more of an object than its kind"),
        ),
        ("GET /storage/v1/b/orders-lake/iam?x", &[bearer], Err("another request")),
        ("PUT /storage/v1/b/orders-lake/iam/testPermissions?permissions=x", &[bearer], Err("another method")),
        ("POST /token", &[form, bearer], Err("another method")),
        (
            "GET /storage/v1/b/orders-lake/iam/testPermissions?x=y",
            &[bearer, ("accept", "*/*")],
            Err("headers are missing"),
        ),
    ] {
        assert_eq!(verdict(&partner, line, headers, ""), right, "{line}");
    }
}

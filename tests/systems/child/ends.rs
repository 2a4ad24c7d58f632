//! How a child ends, and what is said of it.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::harness::peer::Peer;

/// Enough for a script to begin, on a busy machine.
const SHORT: Duration = Duration::from_secs(8);

#[tokio::test]
async fn an_answer_comes_and_nothing_of_the_child_is_left() {
    let report = look(&world(victim()), LIMIT, "answer", json!({})).await;
    assert!(report.proof().is_some(), "{:?}", report.failure());
}

#[tokio::test]
async fn a_child_that_does_not_listen_is_known_by_what_it_answers() {
    // More than a pipe holds, so that telling it does not end by itself.
    let report = look(&world(victim()), LIMIT, "deaf", json!({"long": "x".repeat(200_000)})).await;
    assert!(report.proof().is_some(), "{:?}", report.failure());
}

#[tokio::test]
async fn every_way_to_give_no_answer_has_its_words() {
    let world = world(victim());
    for (job, expected) in [
        ("nothing", "it answers nothing"),
        ("two-lines", "its answer cannot be read"),
        ("no-end", "its answer cannot be read"),
        ("no-json", "its answer cannot be read"),
        ("another-form", "its answer cannot be read"),
        ("no-text", "its answer cannot be read"),
        ("much", "it answers too much"),
        ("endless", "it answers too much"),
        ("exit", "it ended with exit code, 3"),
        ("answer-and-exit", "it ended with exit code, 4"),
        ("crash", "it was ended by signal, 11"),
        ("abort", "it was ended by signal, 6"),
        // A shell that gets no memory says so by this code, and in words of its own, which are not looked for.
        ("memory", "it ended with exit code, 2"),
    ] {
        let begun = Instant::now();
        let (reason, message) = words(&look(&world, LIMIT, job, json!({})).await);
        assert_eq!(reason, Reason::InternalError, "{job}");
        assert!(message.contains(expected) && message.contains("nn.example.com:8020"), "{job}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
        assert!(begun.elapsed() < LIMIT, "{job} was waited for");
    }
}

#[tokio::test]
async fn the_program_that_gets_no_memory_is_called_so_and_shows_nothing_of_its_complaint() {
    // A name node that announces four gigabytes, and no relay before it that would not let that pass.
    let peer = Peer::that(async |mut stream| {
        let mut head = [0; 7];
        stream.read_exact(&mut head).await.expect("a greeting");
        stream.write_all(b"\xff\xff\xff\xff").await.expect("a reader");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let told = json!({"name_node": peer.address, "path": "/data", "list": false, "user": "reader", "kerberos": null});
    let begun = Instant::now();
    let (reason, message) = words(&look(&world(own()), LIMIT, "hdfs", told).await);
    assert_eq!(reason, Reason::InternalError);
    assert!(message.contains("it needs more memory than it may have"), "{message}");
    assert!(!message.contains("4294967295") && !message.contains("allocation"), "{message}");
    assert!(begun.elapsed() < LIMIT / 2);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_called_so() {
    for program in ["/nowhere/connection-operator", "/etc/hostname"] {
        let (reason, message) = words(&look(&world(program.into()), LIMIT, "answer", json!({})).await);
        assert_eq!(reason, Reason::InternalError);
        assert!(message.contains("it could not be started"), "{message}");
    }
}

#[tokio::test]
async fn a_child_is_killed_at_the_deadline_and_nothing_of_it_is_left() {
    let signs = Signs::new("hang");
    let begun = Instant::now();
    let (reason, _) = words(&look(&world(victim()), SHORT, "hang", signs.told()).await);
    assert_eq!(reason, Reason::TimedOut);
    assert!(begun.elapsed() < SHORT * 4, "{:?}", begun.elapsed());
    let [child, started] = signs.processes().await[..] else { panic!("two processes") };
    // A process that has ended and was not waited for would still be there.
    assert!(!is_there(child), "the child outlives its look");
    ends(started).await;
}

/// Waits for the end of what a child has started. It is not ours to wait for: whoever is the parent of orphans does that.
async fn ends(started: u32) {
    let ended = || fs::read_to_string(format!("/proc/{started}/stat")).map_or(true, |stat| stat.contains(") Z "));
    eventually(LIMIT, "what the child has started ends", async || ended().then_some(())).await;
}

#[tokio::test]
async fn a_child_that_closes_its_output_and_stays_is_killed_soon() {
    let signs = Signs::new("stays");
    let (world, begun) = (world(victim()), Instant::now());
    let look = tokio::time::timeout(LIMIT * 2, look(&world, LIMIT, "stays", signs.told()));
    let (reason, message) = words(&look.await.expect("the look ends"));
    assert_eq!(reason, Reason::InternalError);
    assert!(message.contains("it does not end"), "{message}");
    assert!(begun.elapsed() < LIMIT / 2, "{:?}", begun.elapsed());
    assert!(!is_there(signs.processes().await[0]), "the child outlives its look");
}

#[tokio::test]
async fn what_a_child_has_started_ends_with_it_however_it_ends() {
    for (job, passes) in [("leaves", true), ("leaves-and-crashes", false)] {
        let signs = Signs::new(job);
        let report = look(&world(victim()), LIMIT, job, signs.told()).await;
        assert_eq!(report.proof().is_some(), passes, "{:?}", report.failure());
        let [child, started] = signs.processes().await[..] else { panic!("two processes") };
        assert!(!is_there(child), "the child outlives its look");
        ends(started).await;
    }
}

#[tokio::test]
async fn a_look_that_is_dropped_ends_its_child() {
    let signs = Signs::new("dropped");
    let (world, told) = (world(victim()), signs.told());
    let task = tokio::spawn(async move { look(&world, LIMIT, "hang", told).await });
    let child = signs.processes().await[0];
    assert!(is_there(child));
    task.abort();
    eventually(LIMIT, "the child ends", async || (!is_there(child)).then_some(())).await;
}

#[tokio::test]
async fn a_child_that_fails_disturbs_no_other() {
    let world = world(victim());
    let looks = ["answer", "crash", "answer", "memory", "answer"].map(|job| look(&world, LIMIT, job, json!({})));
    let reports = futures::future::join_all(looks).await;
    let passed: Vec<bool> = reports.iter().map(|report| report.proof().is_some()).collect();
    assert_eq!(passed, [true, false, true, false, true]);
}

#[tokio::test]
async fn a_child_has_nothing_but_what_it_was_told() {
    let signs = Signs::new("look-around");
    let secret = "canary-of-the-keytab";
    let mut told = signs.told();
    told["keytab"] = json!(secret);
    let world = world(victim());
    let outside = async {
        let child = signs.processes().await[0];
        let line = fs::read(format!("/proc/{child}/cmdline")).expect("a command line");
        let environment = fs::read(format!("/proc/{child}/environ")).expect("an environment");
        let open = fs::read_dir(format!("/proc/{child}/fd")).expect("descriptors");
        let open: Vec<_> = open.map(|entry| fs::read_link(entry.expect("an entry").path())).collect();
        signs.go();
        (String::from_utf8_lossy(&line).into_owned(), environment, open)
    };
    let network = world.network("shop");
    let inside = climb(network, LIMIT, async move |net| {
        let seen: Value = ask(&net, "look-around", &told).await?;
        assert_eq!(seen["environment"], "LANG=C ");
        assert_eq!(seen["place"], "/");
        let limits = seen["limits"].as_str().expect("text");
        for expected in ["-c) 0 ", "-d) 65536 ", "-n) 64 ", "-v) 1048576 "] {
            assert!(limits.contains(expected), "{expected} in {limits}");
        }
        Ok(Proof::default())
    });
    let (report, (line, environment, open)) = tokio::join!(inside, outside);
    assert!(report.proof().is_some(), "{:?}", report.failure());
    assert!(line.ends_with("victim\0probe-child\0look-around\0"), "{line}");
    assert_eq!(environment, b"LANG=C\0");
    assert!(!line.contains(secret));
    // Two pipes, what it says to nobody, and the script that it reads itself.
    for link in open.into_iter().filter_map(Result::ok) {
        let link = link.to_str().expect("text").to_owned();
        let expected = link.starts_with("pipe:") || link == "/dev/null" || link.ends_with("/victim");
        assert!(expected, "the child has {link}");
    }
}

#[tokio::test]
async fn the_program_keeps_no_file_that_it_was_started_with() {
    let heir = Heir::new("files");
    let (asked, mut is_asked) = tokio::sync::watch::channel(false);
    let go = tokio_util::sync::CancellationToken::new();
    let (told_to_go, told) = (go.clone(), move || asked.clone());
    let peer = Peer::that(move |mut stream| {
        let (asked, go) = (told(), told_to_go.clone());
        async move {
            stream.read_exact(&mut [0; 7]).await.expect("a greeting");
            asked.send_replace(true);
            go.cancelled().await;
        }
    })
    .await;
    let told = json!({"name_node": peer.address, "path": "/", "list": false, "user": "reader", "kerberos": null});
    let outside = async {
        is_asked.wait_for(|asked| *asked).await.expect("the peer is there");
        let open = fs::read_dir(format!("/proc/{}/fd", heir.process().await)).expect("descriptors");
        let mut links: Vec<String> = open
            .map(|entry| fs::read_link(entry.expect("an entry").path()).expect("a link"))
            .map(|link| link.to_str().expect("text").split(":[").next().expect("a kind").to_owned())
            .collect();
        links.sort();
        go.cancel();
        links
    };
    let world = heir.world();
    let (report, links) = tokio::join!(look(&world, LIMIT, "hdfs", told), outside);
    assert!(words(&report).1.contains("its answer cannot be read"), "{:?}", report.failure());
    // Three to talk through; what a runtime is made of; and the name node, beside two pairs of the runtime's.
    let expected = [vec!["anon_inode"; 3], vec!["pipe"; 3], vec!["socket"; 4]].concat();
    assert_eq!(links, expected, "the child has what nobody gave it");
}

#[tokio::test]
async fn the_program_does_the_jobs_of_its_types_and_no_other() {
    for job in ["nothing", "s3", ""] {
        let (reason, message) = words(&look(&world(own()), LIMIT, job, json!({})).await);
        assert_eq!(reason, Reason::InternalError);
        assert!(message.contains("it ended with exit code, 1"), "{job}: {message}");
    }
}

#[test]
fn nobody_is_told_of_the_subcommand() {
    let help = std::process::Command::new(own()).arg("--help").output().expect("the operator's program");
    let help = String::from_utf8(help.stdout).expect("text");
    assert!(help.contains("run") && !help.contains("probe-child"), "{help}");
}

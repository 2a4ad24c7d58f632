//! The laws of the parent module.

use std::time::Duration;

use super::*;
use crate::failure::Proof;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn permits(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn tempo() -> Tempo {
    Tempo { interval: seconds(60), timeout: seconds(10), failure_threshold: 3, success_threshold: 1 }
}

fn look(uid: &str, target: &str) -> Look<()> {
    Look {
        subject: Subject { uid: uid.into(), namespace: "shop".into(), name: uid.into() },
        kind: ConnectionType::ALL[0],
        target: Digest::of([target.as_bytes()]),
        credential: None,
        lockout: Lockout::Possible,
        probe: (),
        workplace: Workplace::Operator,
        tempo: tempo(),
        memory: None,
    }
}

fn with_secret(uid: &str, secret: &str) -> Look<()> {
    Look { credential: Some(Digest::of([secret.as_bytes()])), ..look(uid, secret) }
}

fn passed() -> Arc<Report> {
    Arc::new(Report::passed(Proof::default(), Vec::new()))
}

fn failed(class: FailureClass) -> Arc<Report> {
    Arc::new(Report::failed(Stage::Reach, Failure::new(class), Vec::new()))
}

fn starts(roster: &mut Roster<()>, now: Instant) -> Vec<(RunId, String)> {
    roster.due(now).starts.into_iter().map(|start| (start.run, start.subject.uid.to_string())).collect()
}

fn reason(roster: &Roster<()>, uid: &str) -> Reason {
    roster.opinion(uid).unwrap().verdict.reason()
}

#[test]
fn a_new_target_is_looked_at_at_once_and_then_every_interval() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(look("a", "one"), now);
    let run = starts(&mut roster, now)[0].0;
    assert!(matches!(roster.ended(run, &passed(), now), Ended::Changed(_)));
    let next = roster.wake_at().unwrap().duration_since(now);
    assert!(next >= seconds(54) && next <= seconds(60), "{next:?}");
    assert!(starts(&mut roster, now + next.saturating_sub(seconds(1))).is_empty());
    assert_eq!(starts(&mut roster, now + next).len(), 1);
}

#[test]
fn an_outcome_for_an_older_target_is_dropped() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(look("a", "one"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.set(look("a", "two"), now);
    assert_eq!(roster.ended(run, &passed(), now), Ended::Dropped);
    assert_eq!(reason(&roster, "a"), Reason::Pending);
}

#[test]
fn an_outcome_for_an_object_that_is_gone_is_dropped() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(look("a", "one"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.remove("a", now);
    roster.set(look("b", "one"), now);
    assert_eq!(roster.ended(run, &passed(), now), Ended::Dropped);
    assert_eq!(reason(&roster, "b"), Reason::Pending);
    assert_eq!(roster.load().0, 0, "its permit came back");
}

#[test]
fn probes_of_one_connection_start_five_seconds_apart_whatever_asks() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(look("a", "one"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &passed(), now);
    roster.request("a", now + seconds(1));
    roster.set(look("a", "two"), now + seconds(2));
    assert!(starts(&mut roster, now + seconds(4)).is_empty());
    assert_eq!(starts(&mut roster, now + seconds(5)).len(), 1);
}

#[test]
fn another_description_or_interval_keeps_the_verdict() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(look("a", "one"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &passed(), now);
    let slower = Tempo { interval: seconds(5), ..tempo() };
    roster.set(Look { tempo: slower, ..look("a", "one") }, now + seconds(20));
    assert_eq!(reason(&roster, "a"), Reason::Succeeded);
    assert_eq!(starts(&mut roster, now + seconds(20)).len(), 1, "the shorter interval is in force at once");
}

#[test]
fn a_shorter_interval_is_in_force_at_once_also_before_the_first_look_after_a_restart() {
    let slow = Tempo { interval: seconds(300), ..tempo() };
    let fast = Tempo { interval: seconds(5), timeout: seconds(5), ..tempo() };
    for n in 0..50 {
        let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
        let look = Look { memory: Some(Memory::Ready), tempo: slow, ..look(&format!("c{n}"), "one") };
        roster.set(look.clone(), now);
        roster.set(Look { tempo: fast, ..look }, now);
        let due = roster.due(now + seconds(5));
        assert_eq!((due.starts.len(), due.changes), (1, Vec::new()));
    }
}

#[test]
fn another_interval_brings_a_stored_rejection_no_nearer() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    let look = Look { memory: Some(Memory::NotReady(Reason::AccountLocked)), ..with_secret("a", "wrong") };
    roster.set(look.clone(), now);
    roster.retune("a", Tempo { interval: seconds(5), timeout: seconds(5), ..tempo() }, now);
    assert!(starts(&mut roster, now + seconds(3599)).is_empty());
    assert_eq!(starts(&mut roster, now + seconds(3600)).len(), 1);
}

#[test]
fn another_interval_does_not_keep_a_green_from_hearing_of_a_rejection() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    for uid in ["a", "b"] {
        roster.set(with_secret(uid, "one"), now);
    }
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &passed(), now);
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &passed(), now);
    roster.request("a", now + seconds(10));
    let run = starts(&mut roster, now + seconds(10))[0].0;
    roster.ended(run, &failed(FailureClass::WrongCredentials), now + seconds(10));
    roster.retune("b", Tempo { interval: seconds(50), ..tempo() }, now + seconds(11));
    let due = roster.due(now + seconds(60));
    let changes: Vec<Reason> = due.changes.iter().map(|change| change.after).collect();
    assert_eq!((due.starts.len(), changes), (0, vec![Reason::AuthenticationFailed]));
}

#[test]
fn siblings_take_the_rejection_of_one_login() {
    let (mut roster, now) = (Roster::new(permits(64)), Instant::now());
    (0..10).for_each(|n| roster.set(with_secret(&format!("c{n}"), "wrong"), now));
    let first = starts(&mut roster, now);
    assert_eq!(first.len(), 1, "first logins go one at a time");
    roster.ended(first[0].0, &failed(FailureClass::WrongCredentials), now);
    let due = roster.due(now);
    assert!(due.starts.is_empty());
    assert_eq!(due.changes.len(), 9);
    (0..10).for_each(|n| assert_eq!(reason(&roster, &format!("c{n}")), Reason::AuthenticationFailed));
    assert!(starts(&mut roster, now + seconds(3599)).is_empty(), "not again within the hour");
    assert_eq!(starts(&mut roster, now + seconds(3600)).len(), 1);
}

#[test]
fn an_accepted_credential_lets_all_siblings_dial() {
    let (mut roster, now) = (Roster::new(permits(64)), Instant::now());
    (0..10).for_each(|n| roster.set(with_secret(&format!("c{n}"), "right"), now));
    let first = starts(&mut roster, now);
    roster.ended(first[0].0, &passed(), now);
    assert_eq!(starts(&mut roster, now).len(), 9);
}

#[test]
fn corrected_values_are_tried_at_once() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(with_secret("a", "wrong"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &failed(FailureClass::WrongCredentials), now);
    roster.set(with_secret("a", "right"), now + seconds(30));
    assert_eq!(starts(&mut roster, now + seconds(30)).len(), 1);
}

#[test]
fn a_request_during_a_probe_is_followed_by_one_more() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(look("a", "one"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.request("a", now + seconds(1));
    roster.ended(run, &passed(), now + seconds(2));
    let run = starts(&mut roster, now + seconds(5))[0].0;
    roster.ended(run, &passed(), now + seconds(6));
    assert!(starts(&mut roster, now + seconds(30)).is_empty(), "one more, and no further");
}

#[test]
fn a_request_lets_a_rejected_credential_be_tried_once() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(with_secret("a", "wrong"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &failed(FailureClass::AccountLocked), now);
    roster.request("a", now + seconds(60));
    let run = starts(&mut roster, now + seconds(60))[0].0;
    roster.ended(run, &failed(FailureClass::AccountLocked), now + seconds(60));
    assert!(starts(&mut roster, now + seconds(3000)).is_empty());
}

#[test]
fn after_a_restart_a_fleet_is_probed_once_within_the_interval_and_not_at_once() {
    let (mut roster, now) = (Roster::new(permits(2000)), Instant::now());
    for n in 0..200 {
        roster.set(Look { memory: Some(Memory::Ready), ..look(&format!("c{n}"), "one") }, now);
    }
    let at_once = starts(&mut roster, now + seconds(1)).len();
    assert!(at_once < 20, "{at_once} of 200 within the first of 60 seconds");
    assert_eq!(at_once + starts(&mut roster, now + seconds(60)).len(), 200.min(at_once + 200 - at_once));
    assert_eq!(reason(&roster, "c0"), Reason::Succeeded);
}

#[test]
fn after_a_restart_a_stored_rejection_waits_one_slow_retry() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    let memory = Some(Memory::NotReady(Reason::AuthenticationFailed));
    roster.set(Look { memory, ..with_secret("a", "wrong") }, now);
    assert!(starts(&mut roster, now + seconds(3599)).is_empty());
    assert_eq!(starts(&mut roster, now + seconds(3600)).len(), 1);
}

#[test]
fn a_rejection_outlives_the_connection_that_met_it() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(with_secret("a", "wrong"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &failed(FailureClass::WrongCredentials), now);
    // The Secret is replaced by itself every few minutes, and once the Connection too.
    for minutes in (3..60).step_by(3) {
        let later = now + seconds(60 * minutes);
        let uid = if minutes < 30 { "a" } else { "b" };
        roster.remove("a", later);
        roster.remove("b", later);
        roster.set(with_secret(uid, "wrong"), later);
        assert!(starts(&mut roster, later).is_empty(), "after {minutes} minutes");
        assert_eq!(reason(&roster, uid), Reason::AuthenticationFailed);
    }
    assert_eq!(starts(&mut roster, now + seconds(3600)).len(), 1);
}

#[test]
fn probes_of_one_connection_start_five_seconds_apart_also_if_it_was_gone_between_them() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(look("a", "one"), now);
    assert_eq!(starts(&mut roster, now).len(), 1);
    roster.remove("a", now + seconds(1));
    roster.set(look("a", "one"), now + seconds(2));
    assert!(starts(&mut roster, now + seconds(4)).is_empty());
    assert_eq!(starts(&mut roster, now + seconds(5)).len(), 1);
    roster.remove("a", now + seconds(6));
    starts(&mut roster, now + seconds(10));
    assert!(roster.gone.is_empty(), "it is not kept for longer");
}

#[test]
fn a_request_that_is_let_in_wakes_the_siblings() {
    let (mut roster, now) = (Roster::new(permits(64)), Instant::now());
    (0..10).for_each(|n| roster.set(with_secret(&format!("c{n}"), "one"), now));
    let first = starts(&mut roster, now);
    roster.ended(first[0].0, &failed(FailureClass::AccountLocked), now);
    assert_eq!(roster.due(now).changes.len(), 9);
    let unlocked = now + seconds(2);
    roster.request("c9", unlocked);
    let asked = starts(&mut roster, unlocked);
    assert_eq!(asked.len(), 1);
    roster.ended(asked[0].0, &passed(), unlocked);
    assert_eq!(starts(&mut roster, unlocked).len(), 8);
    let late = starts(&mut roster, now + schedule::MIN_GAP);
    assert_eq!(late[0].1, first[0].1, "it had logged in less than five seconds before");
}

#[test]
fn a_stored_green_and_a_stored_rejection_of_one_credential_are_judged_by_one_login_in_both_orders() {
    let green = |uid: &str| Look { memory: Some(Memory::Ready), ..with_secret(uid, "one") };
    let red = Look { memory: Some(Memory::NotReady(Reason::AccountLocked)), ..with_secret("red", "one") };
    let (a, b) = (green("a"), green("b"));
    for order in [[&red, &a, &b], [&a, &red, &b], [&a, &b, &red]] {
        for outcome in [passed(), failed(FailureClass::AccountLocked)] {
            let (mut roster, now) = (Roster::new(permits(64)), Instant::now());
            for look in order {
                roster.set(look.clone(), now);
            }
            let later = now + seconds(60);
            let due = roster.due(later);
            assert_eq!((due.starts.len(), due.changes), (1, Vec::new()), "no green takes what is only remembered");
            assert_ne!(&*due.starts[0].subject.uid, "red");
            roster.ended(due.starts[0].run, &outcome, later);
            let others = starts(&mut roster, later).len();
            if *outcome == *passed() {
                assert_eq!(others, 2, "both others look for themselves");
            } else {
                assert_eq!(others + starts(&mut roster, later + seconds(7199)).len(), 0, "and it was one login");
                for uid in ["a", "b", "red"] {
                    assert_eq!(reason(&roster, uid), Reason::AccountLocked);
                }
            }
        }
    }
}

#[test]
fn a_stored_rejection_that_a_login_of_this_process_has_refuted_waits_for_nothing() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(with_secret("new", "one"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &passed(), now);
    let memory = Some(Memory::NotReady(Reason::AccountLocked));
    roster.set(Look { memory, ..with_secret("red", "one") }, now);
    let soon = starts(&mut roster, now + seconds(60));
    assert!(soon.iter().any(|(_, uid)| uid == "red"), "{soon:?}");
}

#[test]
fn a_green_expires_although_no_probe_ends() {
    let (mut roster, now) = (Roster::new(permits(8)), Instant::now());
    roster.set(look("a", "one"), now);
    let run = starts(&mut roster, now)[0].0;
    roster.ended(run, &passed(), now);
    assert_eq!(starts(&mut roster, now + seconds(60)).len(), 1, "this one never ends");
    assert_eq!(roster.wake_at(), Some(now + seconds(190)));
    let due = roster.due(now + seconds(190));
    assert_eq!(due.changes.iter().map(|c| c.after).collect::<Vec<_>>(), [Reason::ProbeStale]);
}

#[test]
fn silent_servers_do_not_delay_a_new_connection() {
    let (mut roster, now) = (Roster::new(permits(16)), Instant::now());
    for n in 0..100 {
        let mut silent = look(&format!("c{n}"), "one");
        silent.subject.namespace = format!("ns{n}").into();
        roster.set(Look { memory: Some(Memory::Ready), ..silent }, now);
    }
    assert_eq!(starts(&mut roster, now + seconds(60)).len(), 12, "routine probes leave a quarter free");
    roster.set(look("new", "one"), now + seconds(61));
    assert_eq!(starts(&mut roster, now + seconds(61)), [(RunId(13), "new".to_owned())]);
}

#[test]
fn silent_new_targets_do_not_delay_a_routine_probe() {
    for namespaces in [1, 100] {
        let (mut roster, now) = (Roster::new(permits(16)), Instant::now());
        roster.set(Look { memory: Some(Memory::Ready), ..look("green", "one") }, now);
        for n in 0..100 {
            let mut silent = look(&format!("c{n}"), "one");
            if n % namespaces > 0 {
                silent.subject.namespace = format!("ns{n}").into();
            }
            roster.set(silent, now);
        }
        let running = if namespaces == 1 { 3 } else { 12 };
        assert_eq!(starts(&mut roster, now).len(), running, "new targets leave a quarter free, of all and of a share");
        let routine = starts(&mut roster, now + seconds(60));
        assert_eq!(routine.iter().map(|(_, uid)| uid.as_str()).collect::<Vec<_>>(), ["green"]);
    }
}

#[test]
fn siblings_that_were_green_before_a_restart_are_not_looked_at_one_by_one() {
    let (mut roster, now) = (Roster::new(permits(64)), Instant::now());
    for n in 0..10 {
        roster.set(Look { memory: Some(Memory::Ready), ..with_secret(&format!("c{n}"), "one") }, now);
    }
    // A server that is silent keeps each of them for its whole timeout.
    assert_eq!(starts(&mut roster, now + seconds(60)).len(), 10);
}

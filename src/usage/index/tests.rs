//! The laws of the parent module.

use super::*;

/// `Kind/name` with what it refers to: `@x` the Connection x, `x` the Secret x, `@*` and `*` every one.
fn object(namespace: &str, kind: Kind, name: &str, targets: &[&str]) -> Reference {
    let target = |text: &&str| match (text.strip_prefix('@'), *text) {
        (Some("*"), _) => Target::EveryConnection,
        (Some(name), _) => Target::Named(name.into()),
        (None, "*") => Target::EverySecret,
        (None, name) => Target::Secret(name.into()),
    };
    let mut targets: Vec<Target> = targets.iter().map(target).collect();
    targets.sort();
    Reference {
        uid: Uid::of(&format!("{namespace}/{kind}/{name}")),
        kind,
        namespace: namespace.into(),
        name: name.into(),
        controller: None,
        targets: targets.into(),
        progress: Progress::Counts,
        mark: Mark::Unmarked,
    }
}

fn shop(name: &str) -> ConnectionRef {
    ConnectionRef::new("shop", name)
}

fn shown(index: &Index, connection: &ConnectionRef) -> Vec<String> {
    index
        .users(connection)
        .list
        .iter()
        .map(|user| format!("{}/{} {}", user.kind, user.name, user.via.as_str()))
        .collect()
}

/// Connections a (Secret s, t), b (Secret s) and c (none) in `shop`, and a in `other`.
fn index() -> Index {
    let mut index = Index::new(Kind::BUILT_IN);
    index.claim(&shop("a"), ["s", "t"]);
    index.claim(&shop("b"), ["s"]);
    index.claim(&shop("c"), []);
    index.claim(&ConnectionRef::new("other", "a"), ["s"]);
    index
}

#[test]
fn an_object_uses_the_connections_of_its_namespace_that_use_its_secret_or_that_it_names() {
    let mut index = index();
    assert_eq!(index.apply(object("shop", Kind::Pod, "p", &["s", "@c"])), [shop("a"), shop("b"), shop("c")]);
    assert_eq!(shown(&index, &shop("a")), ["Pod/p Secret"]);
    assert_eq!(shown(&index, &shop("b")), ["Pod/p Secret"]);
    assert_eq!(shown(&index, &shop("c")), ["Pod/p Annotation"]);
    assert!(shown(&index, &ConnectionRef::new("other", "a")).is_empty());
}

#[test]
fn the_annotation_is_told_where_both_hold() {
    let mut index = index();
    index.apply(object("shop", Kind::Pod, "p", &["s", "t", "@a"]));
    assert_eq!(shown(&index, &shop("a")), ["Pod/p Annotation"]);
}

#[test]
fn an_object_that_refers_to_more_than_is_kept_uses_all_of_its_namespace() {
    let mut index = index();
    assert_eq!(index.apply(object("shop", Kind::Pod, "p", &["*"])), [shop("a"), shop("b")]);
    assert_eq!(shown(&index, &shop("a")), ["Pod/p Secret"]);
    assert!(shown(&index, &shop("c")).is_empty(), "it has no Secret");
    assert_eq!(index.apply(object("shop", Kind::Pod, "p", &["@*", "*"])), [shop("a"), shop("b"), shop("c")]);
    for name in ["a", "b", "c"] {
        assert_eq!(shown(&index, &shop(name)), ["Pod/p Annotation"]);
    }
    assert!(shown(&index, &ConnectionRef::new("other", "a")).is_empty());
    index.claim(&shop("later"), []);
    assert_eq!(shown(&index, &shop("later")), ["Pod/p Annotation"]);
    assert_eq!(index.remove(&Kind::Pod, "shop", "p"), [shop("a"), shop("b"), shop("c"), shop("later")]);
}

#[test]
fn a_change_wakes_the_connections_at_the_old_and_at_the_new_edge() {
    let mut index = index();
    assert_eq!(index.apply(object("shop", Kind::Pod, "p", &["t"])), [shop("a")]);
    assert_eq!(index.apply(object("shop", Kind::Pod, "p", &["@b"])), [shop("a"), shop("b")]);
    assert_eq!(index.apply(object("shop", Kind::Pod, "p", &[])), [shop("b")]);
    assert!(index.remove(&Kind::Pod, "shop", "p").is_empty());
    index.apply(object("shop", Kind::Pod, "p", &["@c"]));
    assert_eq!(index.remove(&Kind::Pod, "shop", "p"), [shop("c")]);
    let ended = Reference { progress: Progress::Finished, ..object("shop", Kind::Pod, "q", &["t"]) };
    index.apply(object("shop", Kind::Pod, "q", &["t"]));
    assert_eq!(index.apply(ended), [shop("a")]);
}

#[test]
fn an_object_that_refers_to_the_same_as_before_wakes_no_one() {
    let mut index = index();
    index.apply(object("shop", Kind::Pod, "p", &["s"]));
    assert!(index.apply(object("shop", Kind::Pod, "p", &["s"])).is_empty());
    let marked = Reference { mark: Mark::Deleting, ..object("shop", Kind::Pod, "p", &["s"]) };
    assert_eq!(index.apply(marked), [shop("a"), shop("b")], "a mark changes who holds");
}

#[test]
fn a_connection_that_comes_later_finds_the_users_that_were_there() {
    let mut index = index();
    assert!(index.apply(object("shop", Kind::Pod, "p", &["later", "@d"])).is_empty());
    index.claim(&shop("d"), ["later"]);
    assert_eq!(shown(&index, &shop("d")), ["Pod/p Annotation"]);
    index.apply(object("shop", Kind::Pod, "p", &["later"]));
    assert_eq!(shown(&index, &shop("d")), ["Pod/p Secret"]);
    index.claim(&shop("d"), ["another"]);
    assert!(shown(&index, &shop("d")).is_empty());
    index.forget(&shop("d"));
    assert!(index.apply(object("shop", Kind::Pod, "p", &["another"])).is_empty());
}

#[test]
fn a_listing_sweeps_what_it_did_not_see_even_if_it_began_twice() {
    let mut index = index();
    index.begin(&Kind::Pod, &Scope::Cluster);
    index.apply(object("shop", Kind::Pod, "p", &["t"]));
    index.apply(object("shop", Kind::Pod, "q", &["@c"]));
    index.finish(&Kind::Pod, &Scope::Cluster);
    index.apply(object("shop", Kind::Job, "j", &["t"]));
    index.begin(&Kind::Pod, &Scope::Cluster);
    index.apply(object("shop", Kind::Pod, "q", &["@c"]));
    index.begin(&Kind::Pod, &Scope::Cluster);
    index.apply(object("shop", Kind::Pod, "p", &["t"]));
    assert_eq!(index.finish(&Kind::Pod, &Scope::Cluster), [shop("c")]);
    assert_eq!(shown(&index, &shop("a")), ["Job/j Secret", "Pod/p Secret"]);
    assert!(shown(&index, &shop("c")).is_empty());
}

#[test]
fn a_listing_of_one_namespace_sweeps_only_there() {
    let mut index = index();
    let here = Scope::Namespace("shop".into());
    let there = Scope::Namespace("other".into());
    for scope in [&here, &there] {
        index.begin(&Kind::Pod, scope);
    }
    index.apply(object("shop", Kind::Pod, "p", &["s"]));
    index.apply(object("other", Kind::Pod, "p", &["s"]));
    for scope in [&here, &there] {
        index.finish(&Kind::Pod, scope);
    }
    index.begin(&Kind::Pod, &here);
    assert_eq!(index.finish(&Kind::Pod, &here), [shop("a"), shop("b")]);
    assert_eq!(shown(&index, &ConnectionRef::new("other", "a")), ["Pod/p Secret"]);
    assert_eq!(index.state(&Kind::Pod, "elsewhere"), KindState::Syncing);
}

#[test]
fn a_kind_that_was_not_looked_at_is_unknown_until_it_is_synced_or_missing() {
    let mut index = index();
    assert_eq!(index.users(&shop("a")).unknown, Kind::BUILT_IN);
    let everyone = [ConnectionRef::new("other", "a"), shop("a"), shop("b"), shop("c")];
    for kind in Kind::BUILT_IN {
        index.begin(&kind, &Scope::Cluster);
        assert_eq!(index.finish(&kind, &Scope::Cluster), everyone);
    }
    assert!(index.users(&shop("a")).unknown.is_empty());
    assert_eq!(index.set_state(&Kind::Job, &Scope::Cluster, KindState::Forbidden), everyone);
    assert!(index.set_state(&Kind::Job, &Scope::Cluster, KindState::Forbidden).is_empty());
    assert_eq!(index.users(&shop("a")).unknown, [Kind::Job]);
    assert_eq!(index.set_state(&Kind::Job, &Scope::Cluster, KindState::Missing), everyone);
    assert!(index.users(&shop("a")).unknown.is_empty());
}

#[test]
fn a_kind_that_may_not_be_listed_any_more_has_no_known_users() {
    for state in [KindState::Forbidden, KindState::Missing] {
        let mut index = index();
        index.apply(object("shop", Kind::Pod, "p", &["t"]));
        assert!(index.set_state(&Kind::Pod, &Scope::Cluster, state).contains(&shop("a")));
        assert!(shown(&index, &shop("a")).is_empty());
    }
}

#[test]
fn names_that_are_no_longer_used_do_not_pile_up() {
    let mut index = index();
    for at in 0..20_000 {
        index.apply(object("shop", Kind::Pod, "p", &[&format!("secret-{at}")]));
    }
    assert!(index.pool.names.len() < 2_000, "{}", index.pool.names.len());
    assert_eq!(index.edges.len(), 1);
}

/// The same answer without any index: by looking at everything.
fn plainly(objects: &[Reference], connection: &ConnectionRef, secrets: &[String]) -> Vec<(Kind, String, Via)> {
    let via = |object: &Reference| {
        let counts = object.progress == Progress::Counts && object.namespace == connection.namespace;
        let refers = |target: Target| object.targets.contains(&target);
        let named = refers(Target::Named(connection.name.clone())) || refers(Target::EveryConnection);
        let takes = |secret: &String| refers(Target::Secret(secret.as_str().into())) || refers(Target::EverySecret);
        let takes = secrets.iter().any(takes);
        match (counts, named, takes) {
            (true, true, _) => Some(Via::Annotation),
            (true, false, true) => Some(Via::Secret),
            _ => None,
        }
    };
    let counted = |uid: Uid| objects.iter().any(|object| object.uid == uid && via(object).is_some());
    let mut shown: Vec<_> = objects.iter().filter(|object| !object.controller.is_some_and(counted)).collect();
    if !shown.iter().any(|object| via(object).is_some()) {
        shown = objects.iter().collect();
    }
    let mut users: Vec<_> = shown
        .into_iter()
        .filter_map(|object| Some((object.kind.clone(), object.name.to_string(), via(object)?)))
        .collect();
    users.sort();
    users
}

/// Numbers that look random and are the same in each run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)) >> 33).unwrap() % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

fn random_object(dice: &mut Dice) -> Reference {
    let namespace = *dice.pick(&["shop", "other"]);
    let kind = dice.pick(&Kind::BUILT_IN).clone();
    let name = format!("o{}", dice.below(4));
    let words = ["s", "t", "u", "@a", "@b", "@c", "*", "@*"];
    let targets: Vec<&str> =
        (0..dice.below(3)).map(|_| *dice.pick(&words)).collect::<BTreeSet<_>>().into_iter().collect();
    let owner = format!("{namespace}/{}/o{}", dice.pick(&Kind::BUILT_IN), dice.below(4));
    let made = object(namespace, kind, &name, &targets);
    Reference {
        controller: (dice.below(2) == 0).then(|| Uid::of(&owner)),
        progress: if dice.below(6) == 0 { Progress::Finished } else { Progress::Counts },
        mark: if dice.below(6) == 0 { Mark::Deleting } else { Mark::Unmarked },
        ..made
    }
}

#[test]
fn any_sequence_of_changes_ends_where_a_fresh_look_would_and_wakes_everyone_it_concerns() {
    type Identity = (Arc<str>, Kind, Arc<str>);
    for seed in 1..=20 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ seed);
        let mut index = index();
        let mut claims: BTreeMap<ConnectionRef, Vec<String>> = BTreeMap::new();
        for (connection, secrets) in &index.claims {
            claims.insert(connection.clone(), secrets.iter().map(ToString::to_string).collect());
        }
        // What the API server has, and what of it the index was told.
        let mut truth: BTreeMap<Identity, Reference> = BTreeMap::new();
        for kind in Kind::BUILT_IN {
            index.begin(&kind, &Scope::Cluster);
            index.finish(&kind, &Scope::Cluster);
        }
        for _ in 0..300 {
            let before: Vec<Users> = claims.keys().map(|connection| index.users(connection)).collect();
            let object = random_object(&mut dice);
            let identity = (object.namespace.clone(), object.kind.clone(), object.name.clone());
            let woken = match dice.below(10) {
                0..5 => {
                    truth.insert(identity, object.clone());
                    index.apply(object)
                }
                5..7 => {
                    truth.remove(&identity);
                    index.remove(&object.kind, &object.namespace, &object.name)
                }
                7 => {
                    let kind = object.kind;
                    truth.retain(|(_, known, _), _| *known != kind || dice.below(3) > 0);
                    index.begin(&kind, &Scope::Cluster);
                    let listed: Vec<_> = truth.values().filter(|object| object.kind == kind).cloned().collect();
                    let mut woken: Vec<_> = listed.into_iter().flat_map(|object| index.apply(object)).collect();
                    woken.extend(index.finish(&kind, &Scope::Cluster));
                    woken
                }
                8 => {
                    truth.retain(|(_, kind, _), _| *kind != object.kind);
                    index.set_state(&object.kind, &Scope::Cluster, KindState::Forbidden)
                }
                _ => {
                    let connection = ConnectionRef::new(&object.namespace, ["a", "b", "c"][dice.below(3)]);
                    let secrets: BTreeSet<&str> = (0..dice.below(3)).map(|_| *dice.pick(&["s", "t", "u"])).collect();
                    claims.insert(connection.clone(), secrets.iter().map(ToString::to_string).collect());
                    index.claim(&connection, secrets);
                    continue;
                }
            };
            for ((connection, secrets), before) in claims.iter().zip(before) {
                let now = index.users(connection);
                assert!(now == before || woken.contains(connection), "seed {seed}: {connection:?} was not woken");
                let objects: Vec<Reference> = truth.values().cloned().collect();
                let found: Vec<_> =
                    now.list.iter().map(|user| (user.kind.clone(), user.name.to_string(), user.via)).collect();
                assert_eq!(found, plainly(&objects, connection, secrets), "seed {seed}: {connection:?}");
            }
        }
        let mut fresh = Index::new(Kind::BUILT_IN);
        for (connection, secrets) in &claims {
            fresh.claim(connection, secrets.iter().map(String::as_str));
        }
        for object in truth.into_values() {
            fresh.apply(object);
        }
        assert_eq!(index.edges, fresh.edges, "seed {seed}");
        assert_eq!(index.claimed, fresh.claimed, "seed {seed}");
        assert!(index.objects.keys().eq(fresh.objects.keys()), "seed {seed}");
    }
}

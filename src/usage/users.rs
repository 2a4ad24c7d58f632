//! The users of one connection: which of the objects that count are shown, and which a deletion waits for.
//!
//! Pure, and the only place that knows the rule of controller owners.

use std::{collections::HashSet, sync::Arc};

use super::extract::{Kind, Mark, Uid};
use crate::failure::shorten;

/// Most users that a status lists.
pub const TOP: usize = 10;

/// Longest text that names users, in characters.
pub const SUMMARY_LIMIT: usize = 256;

/// How an object refers to a connection. Where it does in both ways, the annotation is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// By the annotation, on itself or its pod template.
    Annotation,
    /// By taking a Secret that the connection uses.
    Secret,
}

impl Via {
    /// The word that the status stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Annotation => "Annotation",
            Self::Secret => "Secret",
        }
    }
}

/// An object that uses a connection. Users are ordered by kind, then name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The object's kind.
    pub kind: Kind,
    /// The object's name; its namespace is the connection's.
    pub name: Arc<str>,
    /// How it refers to the connection.
    pub via: Via,
    /// The object's uid.
    pub uid: Uid,
    /// The uid of the owner that controls it.
    pub controller: Option<Uid>,
    /// Whether it is being deleted itself.
    pub mark: Mark,
}

impl User {
    fn shown(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    fn place(&self) -> (&Kind, &str) {
        (&self.kind, &self.name)
    }
}

/// Who uses one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// The users, sorted by kind and name, without those that another user controls.
    pub list: Vec<User>,
    /// Counted kinds that could not be looked at, sorted: objects of theirs may be users too.
    pub unknown: Vec<Kind>,
    /// Users that another user controls: the ReplicaSet and the Pods of a Deployment.
    covered: Vec<User>,
}

impl Users {
    /// Sorts `counting`, the objects that count for one connection, into those shown and those that another one controls.
    pub fn new(counting: Vec<User>, unknown: Vec<Kind>) -> Self {
        let uids = shown_uids(&counting);
        let (mut list, mut covered): (Vec<_>, Vec<_>) = counting.into_iter().partition(|user| uids.contains(&user.uid));
        for users in [&mut list, &mut covered] {
            users.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        }
        Self { list, unknown, covered }
    }

    /// The users that a deletion of the connection waits for, sorted. `owners` are the uids in the connection's
    /// ownerReferences: an owner that is being deleted itself is not waited for, since a foreground deletion of it waits for
    /// the connection. What such an owner controls is waited for in its place.
    pub fn holding(&self, owners: &[Uid]) -> Vec<&User> {
        let waits_for_us = |user: &User| match user.mark {
            Mark::Deleting => owners.contains(&user.uid),
            Mark::Unmarked => false,
        };
        let counting = || self.list.iter().chain(&self.covered).filter(|user| !waits_for_us(user));
        let uids = shown_uids(counting());
        let mut holding: Vec<_> = counting().filter(|user| uids.contains(&user.uid)).collect();
        holding.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        holding
    }

    /// The first `limit` users.
    pub fn top(&self, limit: usize) -> &[User] {
        &self.list[..self.list.len().min(limit)]
    }

    /// All users in at most [`SUMMARY_LIMIT`] characters.
    pub fn summary(&self) -> String {
        summary(&self.list)
    }
}

/// Names `users` in at most [`SUMMARY_LIMIT`] characters: `Deployment/api, CronJob/report, and 7 more`. It is empty where
/// there are none, and a name is cut only where not even the first one fits.
pub fn summary<'a>(users: impl IntoIterator<Item = &'a User>) -> String {
    let names: Vec<String> = users.into_iter().map(User::shown).collect();
    let more = |left: usize| if left == 0 { String::new() } else { format!(", and {left} more") };
    let mut text = String::new();
    let mut length = 0;
    for (at, name) in names.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        // Names of objects are ASCII; counting characters keeps the limit even if one is not.
        let grown = length + separator.len() + name.chars().count();
        if grown + more(names.len() - at - 1).len() > SUMMARY_LIMIT {
            let tail = more(names.len() - at);
            if at > 0 {
                return text + &tail;
            }
            let tail = more(names.len() - 1);
            return shorten(name, SUMMARY_LIMIT - tail.len()) + &tail;
        }
        text.push_str(separator);
        text.push_str(name);
        length = grown;
    }
    text
}

/// The uids of those of `counting` that none of `counting` controls. Objects that control each other in a circle are all
/// shown where nothing else is: what counts is never hidden altogether.
fn shown_uids<'a>(counting: impl IntoIterator<Item = &'a User> + Clone) -> HashSet<Uid> {
    let all: HashSet<Uid> = counting.clone().into_iter().map(|user| user.uid).collect();
    let is_top = |user: &&User| user.controller.is_none_or(|owner| !all.contains(&owner));
    let top: HashSet<Uid> = counting.into_iter().filter(is_top).map(|user| user.uid).collect();
    if top.is_empty() { all } else { top }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(kind: Kind, name: &str, controller: Option<&str>) -> User {
        let controller = controller.map(Uid::of);
        User { kind, name: name.into(), via: Via::Secret, uid: Uid::of(name), controller, mark: Mark::Unmarked }
    }

    fn deleting(user: User) -> User {
        User { mark: Mark::Deleting, ..user }
    }

    fn shown<'a>(users: impl IntoIterator<Item = &'a User>) -> Vec<String> {
        users.into_iter().map(User::shown).collect()
    }

    /// A Deployment with its ReplicaSet and two Pods, and a Pod of something that does not count.
    fn family() -> Vec<User> {
        vec![
            user(Kind::Pod, "stray", Some("elsewhere")),
            user(Kind::Pod, "p2", Some("rs")),
            user(Kind::Pod, "p1", Some("rs")),
            user(Kind::ReplicaSet, "rs", Some("api")),
            user(Kind::Deployment, "api", None),
        ]
    }

    #[test]
    fn only_what_no_other_user_controls_is_shown() {
        assert_eq!(shown(&Users::new(family(), Vec::new()).list), ["Deployment/api", "Pod/stray"]);
        let without_middle = family().into_iter().filter(|user| user.kind != Kind::ReplicaSet).collect();
        let users = Users::new(without_middle, Vec::new());
        assert_eq!(shown(&users.list), ["Deployment/api", "Pod/p1", "Pod/p2", "Pod/stray"]);
    }

    #[test]
    fn an_owner_under_deletion_is_not_waited_for_and_what_it_controls_is() {
        let owners = [Uid::of("api")];
        let mut family = family();
        let users = Users::new(family.clone(), Vec::new());
        assert_eq!(shown(users.holding(&owners)), ["Deployment/api", "Pod/stray"], "an owner that stays holds");
        let api = family.pop().unwrap();
        family.push(deleting(api));
        let users = Users::new(family, Vec::new());
        assert_eq!(shown(users.holding(&[])), ["Deployment/api", "Pod/stray"], "no owner of the connection");
        assert_eq!(shown(users.holding(&owners)), ["Pod/stray", "ReplicaSet/rs"]);
        let alone = Users::new(vec![deleting(user(Kind::Deployment, "api", None))], Vec::new());
        assert!(alone.holding(&owners).is_empty());
    }

    #[test]
    fn objects_that_control_each_other_cannot_hide_together() {
        let circle =
            vec![user(Kind::Pod, "p", Some("q")), user(Kind::Pod, "q", Some("p")), user(Kind::Job, "j", Some("j"))];
        let users = Users::new(circle, Vec::new());
        assert_eq!(shown(&users.list), ["Job/j", "Pod/p", "Pod/q"]);
        assert_eq!(users.holding(&[]).len(), 3);
    }

    #[test]
    fn a_summary_names_as_many_as_fit_and_counts_the_others() {
        let many = |number: usize, length: usize| {
            let users = (0..number).map(|at| user(Kind::Pod, &format!("{at:0length$}"), None)).collect();
            Users::new(users, Vec::new()).summary()
        };
        assert_eq!(many(0, 1), "");
        assert_eq!(many(2, 3), "Pod/000, Pod/001");
        for number in [1, 2, 3, 9, 10, 11, 12, 40, 101, 1000] {
            for length in [4, 20, 120, 121, 122, 240, 252, 253] {
                let text = many(number, length);
                assert!(text.chars().count() <= SUMMARY_LIMIT, "{number} {length} {text}");
                let named = text.matches("Pod/").count();
                if named < number {
                    assert!(text.ends_with(&format!(", and {} more", number - named)), "{number} {length} {text}");
                } else {
                    assert!(!text.contains("more"), "{text}");
                }
                assert!(named > 0);
            }
        }
        assert!(many(40, 4).len() > SUMMARY_LIMIT - 10, "no room is wasted");
    }

    #[test]
    fn the_top_is_the_first_of_the_sorted_list() {
        let users = Users::new(family(), Vec::new());
        assert_eq!(shown(users.top(1)), ["Deployment/api"]);
        assert_eq!(users.top(TOP).len(), 2);
    }
}

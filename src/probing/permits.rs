//! Who may probe next when more are due than may run at once: fair between namespaces, and between new targets and the rest.
//!
//! Pure. One namespace holds at most a quarter of the permits. Of all permits, and of that quarter, routine probes leave a
//! quarter to new targets and changed Secrets, and those leave a quarter to them: neither a noisy namespace nor a fleet of silent
//! servers delays a new Connection, and no wave of new targets lets a green expire that is in order. A probe that works in a
//! child of the operator needs, besides, one of the few permits for those, which are shared out by the same rules.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
};

use crate::connections::Workplace;

/// Most children at once. Each has some 3 MB of its own, and may take twenty times that: many more would use up what the
/// operator's container has.
const CHILDREN: usize = 16;

/// Why a probe is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// A new target, changed values, or someone asked.
    New,
    /// Its time has come.
    Routine,
}

/// A permit that is held, or asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Whose.
    pub uid: Arc<str>,
    /// In which namespace.
    pub namespace: Arc<str>,
    /// Why.
    pub urgency: Urgency,
    /// Where the probe works.
    pub workplace: Workplace,
}

/// The permits and the two lines before them.
#[derive(Debug)]
pub struct Permits {
    probes: Pool,
    children: Pool,
    new: Line,
    rest: Line,
}

impl Permits {
    /// `total` permits.
    pub fn new(total: NonZeroUsize) -> Self {
        let total = total.get();
        Self {
            probes: Pool::new(total),
            children: Pool::new(total.min(CHILDREN)),
            new: Line::default(),
            rest: Line::default(),
        }
    }

    /// Stands in line.
    pub fn queue(&mut self, ticket: Ticket) {
        match ticket.urgency {
            Urgency::New => self.new.push(ticket),
            Urgency::Routine => self.rest.push(ticket),
        }
    }

    /// The next ticket that may run; it holds a permit until [`Permits::give_back`].
    pub fn admit(&mut self) -> Option<Ticket> {
        let (probes, children) = (&self.probes, &self.children);
        let has_room = |ticket: &Ticket| {
            probes.has_room(ticket) && (ticket.workplace == Workplace::Operator || children.has_room(ticket))
        };
        // Where nobody could be let in no line is gone through: it may be as long as the fleet.
        let next = |line: &mut Line, urgency| if probes.is_open(urgency) { line.pop(has_room) } else { None };
        let ticket = next(&mut self.new, Urgency::New).or_else(|| next(&mut self.rest, Urgency::Routine))?;
        self.probes.take(&ticket);
        if ticket.workplace == Workplace::Child {
            self.children.take(&ticket);
        }
        Some(ticket)
    }

    /// Gives a permit back.
    pub fn give_back(&mut self, ticket: &Ticket) {
        self.probes.give_back(ticket);
        if ticket.workplace == Workplace::Child {
            self.children.give_back(ticket);
        }
    }

    /// Permits that are held.
    pub const fn running(&self) -> usize {
        self.probes.held.all()
    }

    /// Tickets that stand in line.
    pub const fn waiting(&self) -> usize {
        self.new.length + self.rest.length
    }
}

/// Something there is only so much of.
#[derive(Debug)]
struct Pool {
    total: usize,
    held: Held,
    by_namespace: HashMap<Arc<str>, Held>,
}

impl Pool {
    fn new(total: usize) -> Self {
        Self { total, held: Held::default(), by_namespace: HashMap::new() }
    }

    /// Whether there is any left for tickets of this urgency, whosever they are.
    const fn is_open(&self, urgency: Urgency) -> bool {
        self.held.leaves(self.total, urgency)
    }

    fn has_room(&self, ticket: &Ticket) -> bool {
        let share = (self.total / 4).max(1);
        let held = self.by_namespace.get(&ticket.namespace).copied().unwrap_or_default();
        self.is_open(ticket.urgency) && held.leaves(share, ticket.urgency)
    }

    fn take(&mut self, ticket: &Ticket) {
        *self.held.by(ticket.urgency) += 1;
        *self.by_namespace.entry(Arc::clone(&ticket.namespace)).or_default().by(ticket.urgency) += 1;
    }

    fn give_back(&mut self, ticket: &Ticket) {
        let all = self.held.by(ticket.urgency);
        *all = all.saturating_sub(1);
        if let Some(held) = self.by_namespace.get_mut(&ticket.namespace) {
            let own = held.by(ticket.urgency);
            *own = own.saturating_sub(1);
            if held.all() == 0 {
                self.by_namespace.remove(&ticket.namespace);
            }
        }
    }
}

/// How much is held, and why.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    new: usize,
    routine: usize,
}

impl Held {
    const fn all(self) -> usize {
        self.new + self.routine
    }

    const fn by(&mut self, urgency: Urgency) -> &mut usize {
        match urgency {
            Urgency::New => &mut self.new,
            Urgency::Routine => &mut self.routine,
        }
    }

    /// Whether one more of this urgency may be held where there are so many: each leaves a quarter to the other.
    const fn leaves(mut self, total: usize, urgency: Urgency) -> bool {
        self.all() < total && *self.by(urgency) < total - total / 4
    }
}

/// Who stands behind one another: those of one namespace that work in the same place, so that nobody waits for a child who
/// needs none.
type Group = (Arc<str>, Workplace);

/// A line that takes turns between namespaces.
#[derive(Debug, Default)]
struct Line {
    by_group: HashMap<Group, VecDeque<Ticket>>,
    turns: VecDeque<Group>,
    length: usize,
}

impl Line {
    fn push(&mut self, ticket: Ticket) {
        let group = (Arc::clone(&ticket.namespace), ticket.workplace);
        let tickets = self.by_group.entry(group.clone()).or_default();
        if tickets.is_empty() {
            self.turns.push_back(group);
        }
        tickets.push_back(ticket);
        self.length += 1;
    }

    fn pop(&mut self, has_room: impl Fn(&Ticket) -> bool) -> Option<Ticket> {
        for _ in 0..self.turns.len() {
            let group = self.turns.pop_front()?;
            let tickets = self.by_group.get_mut(&group)?;
            let Some(ticket) = tickets.pop_front_if(|ticket| has_room(ticket)) else {
                self.turns.push_back(group);
                continue;
            };
            if tickets.is_empty() {
                self.by_group.remove(&group);
            } else {
                self.turns.push_back(group);
            }
            self.length -= 1;
            return Some(ticket);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(total: usize) -> Permits {
        Permits::new(NonZeroUsize::new(total).unwrap())
    }

    fn ticket(namespace: &str, n: usize, urgency: Urgency) -> Ticket {
        Ticket {
            uid: format!("{namespace}-{n}").into(),
            namespace: namespace.into(),
            urgency,
            workplace: Workplace::Operator,
        }
    }

    fn in_a_child(namespace: &str, n: usize, urgency: Urgency) -> Ticket {
        Ticket { workplace: Workplace::Child, ..ticket(namespace, n, urgency) }
    }

    fn drain(permits: &mut Permits) -> Vec<Ticket> {
        std::iter::from_fn(|| permits.admit()).collect()
    }

    #[test]
    fn one_namespace_holds_at_most_a_quarter() {
        let mut permits = permits(16);
        for n in 0..100 {
            permits.queue(ticket("loud", n, Urgency::New));
            permits.queue(ticket("loud", 100 + n, Urgency::Routine));
        }
        permits.queue(ticket("calm", 0, Urgency::New));
        let running = drain(&mut permits);
        assert_eq!(running.iter().filter(|t| &*t.namespace == "loud").count(), 4);
        assert_eq!(running.iter().filter(|t| &*t.namespace == "calm").count(), 1);
        permits.give_back(&running[0]);
        assert_eq!(drain(&mut permits).len(), 1);
    }

    #[test]
    fn new_targets_and_routine_probes_leave_a_quarter_to_each_other() {
        for (first, second) in [(Urgency::Routine, Urgency::New), (Urgency::New, Urgency::Routine)] {
            let mut permits = permits(16);
            (0..100).for_each(|n| permits.queue(ticket(&format!("ns{n}"), n, first)));
            assert_eq!(drain(&mut permits).len(), 12);
            (0..100).for_each(|n| permits.queue(ticket(&format!("ns{n}"), n, second)));
            assert_eq!(drain(&mut permits).len(), 4);
            assert_eq!((permits.running(), permits.waiting()), (16, 184));
        }
    }

    #[test]
    fn so_they_do_of_the_share_of_one_namespace() {
        for (first, second) in [(Urgency::Routine, Urgency::New), (Urgency::New, Urgency::Routine)] {
            let mut permits = permits(64);
            (0..100).for_each(|n| permits.queue(ticket("loud", n, first)));
            assert_eq!(drain(&mut permits).len(), 12);
            (0..100).for_each(|n| permits.queue(ticket("loud", 100 + n, second)));
            assert_eq!(drain(&mut permits).len(), 4);
        }
    }

    #[test]
    fn namespaces_take_turns() {
        let mut permits = permits(64);
        (0..5).for_each(|n| permits.queue(ticket("a", n, Urgency::New)));
        (0..5).for_each(|n| permits.queue(ticket("b", n, Urgency::New)));
        let order: Vec<_> = drain(&mut permits).iter().map(|t| t.namespace.to_string()).collect();
        assert_eq!(order[..4], ["a", "b", "a", "b"]);
    }

    #[test]
    fn a_single_permit_still_serves_everyone() {
        let mut permits = permits(1);
        permits.queue(ticket("a", 0, Urgency::Routine));
        permits.queue(ticket("b", 0, Urgency::New));
        for _ in 0..2 {
            let ticket = permits.admit().unwrap();
            assert!(permits.admit().is_none());
            permits.give_back(&ticket);
        }
        assert_eq!((permits.running(), permits.waiting()), (0, 0));
    }

    #[test]
    fn few_work_in_a_child_at_once_and_nobody_else_waits_for_them() {
        let mut permits = permits(256);
        for n in 0..100 {
            permits.queue(in_a_child("loud", n, Urgency::New));
            permits.queue(in_a_child("loud", 100 + n, Urgency::Routine));
        }
        (0..10).for_each(|n| permits.queue(ticket("loud", 200 + n, Urgency::New)));
        let running = drain(&mut permits);
        let children: Vec<_> = running.iter().filter(|t| t.workplace == Workplace::Child).cloned().collect();
        assert_eq!((children.len(), running.len()), (CHILDREN / 4, CHILDREN / 4 + 10));
        // Others have theirs, up to the bound of all.
        for n in 0..10 {
            permits.queue(in_a_child(&format!("ns{n}"), n, Urgency::New));
            permits.queue(in_a_child(&format!("ns{n}"), 10 + n, Urgency::Routine));
        }
        assert_eq!(drain(&mut permits).len(), CHILDREN - CHILDREN / 4);
        // One that ends makes room for one, of another namespace or of its own.
        permits.give_back(&children[0]);
        assert_eq!(drain(&mut permits).len(), 1);
    }

    #[test]
    fn new_targets_and_routine_probes_leave_a_quarter_of_the_children_to_each_other() {
        for (first, second) in [(Urgency::Routine, Urgency::New), (Urgency::New, Urgency::Routine)] {
            let mut permits = permits(256);
            (0..100).for_each(|n| permits.queue(in_a_child(&format!("ns{n}"), n, first)));
            assert_eq!(drain(&mut permits).len(), CHILDREN - CHILDREN / 4);
            permits.queue(in_a_child("other", 0, second));
            assert_eq!(drain(&mut permits).len(), 1);
        }
    }
}

//! Who may probe next when more are due than may run at once: fair between namespaces, with a share kept for new targets.
//!
//! Pure. One namespace holds at most a quarter of the permits; routine probes leave a quarter to new targets and changed
//! Secrets, so that neither a noisy namespace nor a fleet of silent servers delays a new Connection.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
};

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
}

/// The permits and the two lines before them.
#[derive(Debug)]
pub struct Permits {
    total: usize,
    share: usize,
    running: usize,
    routine: usize,
    by_namespace: HashMap<Arc<str>, usize>,
    new: Line,
    rest: Line,
}

impl Permits {
    /// `total` permits.
    pub fn new(total: NonZeroUsize) -> Self {
        let total = total.get();
        Self {
            total,
            share: (total / 4).max(1),
            running: 0,
            routine: 0,
            by_namespace: HashMap::new(),
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
        if self.running >= self.total {
            return None;
        }
        let share = self.share;
        let by_namespace = &self.by_namespace;
        let has_room = |namespace: &Arc<str>| by_namespace.get(namespace).copied().unwrap_or(0) < share;
        let routine_limit = (self.total - self.total / 4).max(1);
        let ticket = match self.new.pop(has_room) {
            Some(ticket) => ticket,
            None if self.routine < routine_limit => self.rest.pop(has_room)?,
            None => return None,
        };
        self.running += 1;
        self.routine += usize::from(ticket.urgency == Urgency::Routine);
        *self.by_namespace.entry(Arc::clone(&ticket.namespace)).or_default() += 1;
        Some(ticket)
    }

    /// Gives a permit back.
    pub fn give_back(&mut self, ticket: &Ticket) {
        self.running = self.running.saturating_sub(1);
        self.routine = self.routine.saturating_sub(usize::from(ticket.urgency == Urgency::Routine));
        if let Some(held) = self.by_namespace.get_mut(&ticket.namespace) {
            *held -= 1;
            if *held == 0 {
                self.by_namespace.remove(&ticket.namespace);
            }
        }
    }

    /// Permits that are held.
    pub const fn running(&self) -> usize {
        self.running
    }

    /// Tickets that stand in line.
    pub const fn waiting(&self) -> usize {
        self.new.length + self.rest.length
    }
}

/// A line that takes turns between namespaces.
#[derive(Debug, Default)]
struct Line {
    by_namespace: HashMap<Arc<str>, VecDeque<Ticket>>,
    turns: VecDeque<Arc<str>>,
    length: usize,
}

impl Line {
    fn push(&mut self, ticket: Ticket) {
        let tickets = self.by_namespace.entry(Arc::clone(&ticket.namespace)).or_default();
        if tickets.is_empty() {
            self.turns.push_back(Arc::clone(&ticket.namespace));
        }
        tickets.push_back(ticket);
        self.length += 1;
    }

    fn pop(&mut self, has_room: impl Fn(&Arc<str>) -> bool) -> Option<Ticket> {
        for _ in 0..self.turns.len() {
            let namespace = self.turns.pop_front()?;
            if !has_room(&namespace) {
                self.turns.push_back(namespace);
                continue;
            }
            let tickets = self.by_namespace.get_mut(&namespace)?;
            let ticket = tickets.pop_front()?;
            if tickets.is_empty() {
                self.by_namespace.remove(&namespace);
            } else {
                self.turns.push_back(namespace);
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
        Ticket { uid: format!("{namespace}-{n}").into(), namespace: namespace.into(), urgency }
    }

    fn drain(permits: &mut Permits) -> Vec<Ticket> {
        std::iter::from_fn(|| permits.admit()).collect()
    }

    #[test]
    fn one_namespace_holds_at_most_a_quarter() {
        let mut permits = permits(16);
        (0..100).for_each(|n| permits.queue(ticket("loud", n, Urgency::New)));
        permits.queue(ticket("calm", 0, Urgency::New));
        let running = drain(&mut permits);
        assert_eq!(running.iter().filter(|t| &*t.namespace == "loud").count(), 4);
        assert_eq!(running.iter().filter(|t| &*t.namespace == "calm").count(), 1);
        permits.give_back(&running[0]);
        assert_eq!(drain(&mut permits).len(), 1);
    }

    #[test]
    fn routine_probes_leave_a_quarter_to_new_targets() {
        let mut permits = permits(16);
        (0..100).for_each(|n| permits.queue(ticket(&format!("ns{n}"), n, Urgency::Routine)));
        assert_eq!(drain(&mut permits).len(), 12);
        (0..100).for_each(|n| permits.queue(ticket(&format!("ns{n}"), n, Urgency::New)));
        assert_eq!(drain(&mut permits).len(), 4);
        assert_eq!((permits.running(), permits.waiting()), (16, 184));
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
}

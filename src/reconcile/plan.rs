//! What one pass does: hold, release, adopt or explain. Pure: it reads what was observed and decides.

use crate::usage::{
    extract::Kind,
    users::{User, Users},
};

use super::seen::Seen;

/// What one pass does.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: it is being deleted, and we do not hold it.
    Leave,
    /// Put the finalizer on, then look again.
    Adopt,
    /// Write the whole status.
    Explain,
    /// Ask the API server who uses it now, then look again.
    AskLive,
    /// Do not let it go.
    Hold(Hold),
    /// Let it go.
    Release(Release),
}

/// Why it is not let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// These use it, sorted.
    InUse(Vec<User>),
    /// These kinds could not be looked at.
    Blind(Vec<Kind>),
}

/// Why it is let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// Nobody uses it.
    Free,
    /// Someone asked for it by annotation; these use it.
    Forced(Vec<User>),
    /// The CRD is being deleted.
    CrdGoes,
}

/// What is known about the cluster around a Connection that is being deleted.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// What becomes of the CRD.
    pub crd: Fate,
    /// What becomes of the namespace.
    pub namespace: Fate,
}

/// Whether something stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It is being deleted.
    Goes,
}

/// Decides. `indexed` is what the watches say; `live` what the API server answered in this pass, where it was asked.
pub fn plan(seen: &Seen, surroundings: Surroundings, indexed: &Users, live: Option<&Users>) -> Plan {
    match (seen.is_marked(), seen.finalizer()) {
        (true, None) => return Plan::Leave,
        (false, None) => return Plan::Adopt,
        (false, Some(_)) => return Plan::Explain,
        (true, Some(_)) => {}
    }
    if surroundings.crd == Fate::Goes {
        return Plan::Release(Release::CrdGoes);
    }
    if seen.is_force_deleted() {
        let users = live.unwrap_or(indexed).list.clone();
        return Plan::Release(Release::Forced(users));
    }
    let owners = seen.owners();
    let holding = |users: &Users| users.holding(&owners).into_iter().cloned().collect::<Vec<User>>();
    // The watches may lag, so only a yes of theirs counts.
    let known = live.unwrap_or(indexed);
    let users = holding(known);
    if !users.is_empty() {
        return Plan::Hold(Hold::InUse(users));
    }
    let Some(live) = live else { return Plan::AskLive };
    if live.unknown.is_empty() || surroundings.namespace == Fate::Goes {
        return Plan::Release(Release::Free);
    }
    Plan::Hold(Hold::Blind(live.unknown.clone()))
}

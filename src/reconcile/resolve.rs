//! From a spec to a probe in the engine: reads what the spec names where it must, and hands over what it makes of it.
//!
//! A healthy, unchanged Connection reads nothing: what was read before counts until a watch says otherwise.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    api::{ConditionType, ConnectionStatus, Object},
    connections::{ConnectionType, Refusal},
    failure::{FailureClass, Reason},
    probing::{roster::Look, verdict::Memory},
    secret::Digest,
    watching::recovery::Doubt,
};

use super::{
    Context, Error,
    materials::{self, Materials, Reading},
    observe,
    seen::Seen,
    standing::{Ready, Resolved, SourceKey, Version},
};

/// How changes of Secrets and ConfigMaps are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretAccess {
    /// By a metadata-only watch.
    Watched,
    /// By reading them again at each interval.
    Polled,
}

/// First and longest wait before something that may not be read is asked for again.
const UNREADABLE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

/// Makes sure that the engine probes what the spec says now; `None` where nothing is probed on purpose.
///
/// # Errors
/// Where the API server does not answer, or refuses what it allowed before.
pub async fn resolve(seen: &Seen, context: &Context) -> Result<Option<Resolved>, Error> {
    let subject = seen.subject();
    let Ok(spec) = &seen.spec else {
        rest(seen, context);
        return Ok(None);
    };
    if spec.is_suspended() {
        rest(seen, context);
        return Ok(None);
    }
    let now = Instant::now();
    let asked = asks(seen, context);
    let before = context.standings().of(&subject.uid).resolved.clone();
    if let Some(before) = &before
        && !asked
        && still_counts(before, seen, context, now)
    {
        if let (Ok(_), Ok(tempo)) = (&before.outcome, spec.probe_policy()) {
            context.engine.retune(&subject.uid, tempo);
        }
        hand_on(seen, context);
        return Ok(Some(before.clone()));
    }
    let resolved = read_and_prepare(seen, before, context, now).await?;
    context.standings().of(&subject.uid).resolved = Some(resolved.clone());
    if asked {
        context.engine.request(&subject.uid);
    }
    // Not before: where the read fails, the next pass must know that someone asks.
    hand_on(seen, context);
    Ok(Some(resolved))
}

/// When a Connection must be looked at again although nothing happens.
pub fn look_again(resolved: &Resolved, seen: &Seen, access: SecretAccess, now: Instant) -> Option<Duration> {
    let wait = wait_after(resolved, seen, access)?;
    Some((resolved.at + wait).saturating_duration_since(now).max(Duration::from_millis(10)))
}

/// Nothing is probed: the spec cannot be read, or it is suspended.
fn rest(seen: &Seen, context: &Context) {
    let subject = seen.subject();
    context.engine.remove(&subject.uid);
    context.standings().of(&subject.uid).resolved = None;
    hand_on(seen, context);
}

/// Whether someone asks for a probe that was not handed on.
fn asks(seen: &Seen, context: &Context) -> bool {
    let mut standings = context.standings();
    let standing = standings.of(&seen.subject().uid);
    let handled = standing.request.as_ref().or(seen.stored.last_handled_reconcile_at.as_ref());
    seen.request.is_some() && seen.request.as_ref() != handled
}

/// The request was handed on, or there is nobody to hand it to.
fn hand_on(seen: &Seen, context: &Context) {
    context.standings().of(&seen.subject().uid).request.clone_from(&seen.request);
}

fn still_counts(before: &Resolved, seen: &Seen, context: &Context, now: Instant) -> bool {
    let Ok(spec) = &seen.spec else { return false };
    let same = before.target == target(seen);
    let due = wait_after(before, seen, context.secrets).is_some_and(|wait| before.at + wait <= now);
    let valid = match &before.outcome {
        // A sentence about the spec is made anew: it costs nothing, and the probe policy is not part of the target.
        Err(Refusal::Invalid(_)) => false,
        Err(Refusal::Unusable(_)) | Ok(_) => spec.settings().is_ok(),
    };
    same && !due && valid && !context.standings().is_outdated(&before.versions)
}

fn wait_after(resolved: &Resolved, seen: &Seen, access: SecretAccess) -> Option<Duration> {
    if resolved.unreadable > 0 {
        return Some(UNREADABLE.0.saturating_mul(1 << (resolved.unreadable - 1).min(10)).min(UNREADABLE.1));
    }
    match access {
        SecretAccess::Watched => None,
        SecretAccess::Polled if resolved.versions.is_empty() => None,
        SecretAccess::Polled => seen.spec.as_ref().ok()?.probe_policy().ok().map(|policy| policy.interval),
    }
}

async fn read_and_prepare(
    seen: &Seen,
    before: Option<Resolved>,
    context: &Context,
    now: Instant,
) -> Result<Resolved, Error> {
    let subject = seen.subject();
    let mut resolved = Resolved {
        target: target(seen),
        versions: BTreeMap::new(),
        observed: None,
        outcome: Err(Refusal::Invalid(String::new())),
        unreadable: 0,
        at: now,
    };
    let Ok(spec) = &seen.spec else { return Ok(resolved) };
    let settings = match spec.settings() {
        Ok(settings) => settings,
        Err(sentence) => {
            context.engine.remove(&subject.uid);
            resolved.outcome = Err(Refusal::Invalid(sentence));
            return Ok(resolved);
        }
    };
    // The names first: what changes after the read is then heard.
    let keys = spec.sources().iter().map(|source| SourceKey::of(source.object, seen.namespace())).collect();
    context.standings().name(&seen.reference(), keys);
    let readings = observe::read(spec, seen.namespace(), &context.client).await?;
    if !is_believed(&readings, before.as_ref(), seen, context) {
        return Err(Error::Refused);
    }
    for (object, reading) in &readings {
        resolved.versions.insert(SourceKey::of(*object, seen.namespace()), Version::read(reading.version()));
    }
    let secret = spec.credentials_secret();
    resolved.observed =
        secret.and_then(|name| readings.get(&Object::Secret(name))).and_then(Reading::version).map(str::to_owned);
    let made = materials::select(spec, settings, seen.namespace(), &readings)
        .and_then(|Materials { given, values }| settings.prepare(given).map(|prepared| (prepared, values)));
    drop(readings);
    match made {
        Err(refusal) => {
            context.engine.remove(&subject.uid);
            if let Refusal::Unusable(failure) = &refusal
                && failure.class() == FailureClass::SecretNotReadable
            {
                resolved.unreadable = before.map_or(0, |before| before.unreadable).saturating_add(1);
            }
            resolved.outcome = Err(refusal);
        }
        Ok((prepared, values)) => {
            let probed = Digest::of([resolved.target.bytes().as_slice(), values.bytes()]);
            let since = match before.map(|before| before.outcome) {
                Some(Ok(ready)) if ready.probed == probed => ready.since,
                Some(Ok(_) | Err(_)) | None => now,
            };
            let with_login = !spec.sources().is_empty();
            let credential = with_login.then(|| {
                let name = secret.unwrap_or_default();
                let parts = [seen.namespace().as_bytes(), name.as_bytes(), values.bytes(), prepared.account.bytes()];
                Digest::of(parts)
            });
            let kind: ConnectionType = spec.type_;
            let memory = history(seen, resolved.observed.as_deref());
            let ready = Ready { probed, values, since };
            if memory == Some(Memory::Ready) {
                // What is stored as verified are these values: they need not be verified anew.
                context.standings().of(&subject.uid).verified.get_or_insert(ready);
            }
            match spec.probe_policy() {
                Ok(tempo) => context.engine.set(Look {
                    subject,
                    kind,
                    target: probed,
                    credential,
                    lockout: prepared.lockout.unwrap_or(kind.about().lockout),
                    workplace: prepared.probe.workplace(),
                    probe: Arc::from(prepared.probe),
                    tempo,
                    memory,
                }),
                Err(sentence) => {
                    resolved.outcome = Err(Refusal::Invalid(sentence));
                    return Ok(resolved);
                }
            }
            resolved.outcome = Ok(ready);
        }
    }
    Ok(resolved)
}

/// Whether what was answered counts. A refusal of what could be read before does once it lasts, as for a watch: an API server
/// that starts refuses everybody until it has read its roles, and a working connection must not be forgotten for that.
fn is_believed(
    readings: &BTreeMap<Object<'_>, Reading>,
    before: Option<&Resolved>,
    seen: &Seen,
    context: &Context,
) -> bool {
    let refused = || readings.iter().filter(|(_, reading)| matches!(reading, Reading::Forbidden));
    let is_new = |object: &Object<'_>| {
        let key = SourceKey::of(*object, seen.namespace());
        before.is_none_or(|before| !before.versions.contains_key(&key))
    };
    let mut standings = context.standings();
    let doubt = &mut standings.of(&seen.subject().uid).doubt;
    if refused().next().is_none() {
        doubt.synced();
        return true;
    }
    if refused().any(|(object, _)| is_new(object)) {
        *doubt = Doubt::default();
    }
    doubt.is_believed(tokio::time::Instant::now())
}

fn target(seen: &Seen) -> Digest {
    seen.spec.as_ref().map_or_else(|_| Digest::of([]), crate::api::ConnectionSpec::target_digest)
}

/// What the stored status says, where it is history of what is probed now: the spec, the Secret and the requests are those
/// it was written for.
fn history(seen: &Seen, observed: Option<&str>) -> Option<Memory> {
    let ConnectionStatus { observed_generation, conditions, credentials, last_handled_reconcile_at, .. } = &seen.stored;
    let stored_version = credentials.as_ref().and_then(|c| c.observed_version.as_deref());
    let handled = seen.request.is_none() || seen.request == *last_handled_reconcile_at;
    if *observed_generation != Some(seen.generation()) || stored_version != observed || !handled {
        return None;
    }
    let ready = conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str())?;
    let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == ready.reason)?;
    match reason {
        Reason::Succeeded => Some(Memory::Ready),
        Reason::Pending
        | Reason::Suspended
        | Reason::InvalidConfiguration
        | Reason::SecretNotFound
        | Reason::SecretKeyMissing
        | Reason::CredentialsMalformed
        | Reason::SecretNotReadable => None,
        reason => Some(Memory::NotReady(reason)),
    }
}

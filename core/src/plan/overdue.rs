//! What should not be (P23): a certificate that is not renewed though half of the time for it is over, and a state that
//! has outlasted its own limit, which is a fault of ours.
//!
//! It looks at every verdict, so it is asked now and then and not at each turn; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::assess::best;
use super::{Assessed, Planner};
use crate::cert::{CertFacts, Shortfall};
use crate::name::Hostname;
use crate::policy::Policy;
use crate::schedule::ahead;
use crate::verdict::{Announcement, Gate, Reason, Severity, State, Verdict};
use crate::world::World;

/// A state ends when its time has come, give or take what a busy machine needs.
const SLACK: SignedDuration = SignedDuration::from_secs(60);
/// No stage of an order is waited for longer than a minute before the order rests; pauses that the CA asks for in it, and
/// slow servers, come on top.
const STAGE: SignedDuration = SignedDuration::from_mins(30);
/// What no limit of the CA keeps waiting has its turn within this, and what nobody wants is gone.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What should not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Certificates that are not renewed though half of the time between the moment they were due and their end has
    /// passed, with that end.
    pub late: BTreeMap<Hostname, Timestamp>,
    /// Certificates in a state for longer than it may last.
    pub stuck: BTreeSet<(State, Hostname)>,
}

impl Overdue {
    /// How many are stuck in a state.
    #[must_use]
    pub fn stuck_in(&self, state: State) -> usize {
        self.stuck.iter().filter(|(stuck, _)| *stuck == state).count()
    }

    /// What is to be said of a late certificate with this verdict.
    #[must_use]
    pub fn announcement(not_after: Timestamp, verdict: &str) -> Announcement {
        Announcement {
            severity: Severity::Warning,
            reason: "RenewalLate",
            text: format!(
                "half of the time for its renewal is over, and it expires at {not_after}: {verdict}"
            ),
            key: format!("late {not_after}"),
        }
    }
}

impl Planner {
    /// What should not be at `now`, by the last plan.
    #[must_use]
    pub fn overdue(&self, world: &World, policy: &Policy, now: Timestamp) -> Overdue {
        let mut overdue = Overdue::default();
        for (host, Assessed { verdict, .. }) in &self.assessed {
            let state = verdict.reason.state();
            if state != State::Valid
                && world.want(host).is_some()
                && let Some(facts) = best(host, world)
                && late_at(host, facts, world, policy) <= now
            {
                overdue.late.insert(host.clone(), facts.not_after);
            }
            if ends_at(verdict).is_some_and(|end| end <= now) && !self.is_limited(host, world, now) {
                overdue.stuck.insert((state, host.clone()));
            }
        }
        overdue
    }

    /// Whether a limit of the CA keeps it waiting for its turn.
    fn is_limited(&self, host: &Hostname, world: &World, now: Timestamp) -> bool {
        self.turn_of(host, world, now)
            .is_some_and(|turn| matches!(turn.gate, Gate::Limit(_)))
    }
}

/// When half of the time between the moment that it is due and its end has passed.
fn late_at(host: &Hostname, facts: &CertFacts, world: &World, policy: &Policy) -> Timestamp {
    // A window of the CA may lie before its life has begun.
    let due = world.rule(host, policy).due_at(host, facts).max(facts.not_before);
    let time = due.duration_until(facts.not_after).max(SignedDuration::ZERO);
    ahead(due, time / 2)
}

/// When a state has outlasted its own limit; `None` for one that lasts until somebody does something.
fn ends_at(verdict: &Verdict) -> Option<Timestamp> {
    let end = match &verdict.reason {
        Reason::Failed { next: at, .. } | Reason::Valid { renew_at: at, .. } => *at,
        Reason::Held { hold, .. } => hold.until,
        Reason::Stalled { rest, .. } => rest.until,
        Reason::Issuing { .. } => ahead(verdict.since, STAGE),
        // Renewals have time; that they are late is told for itself.
        Reason::Conflict { .. } | Reason::Queued(Shortfall::Due(_)) => return None,
        Reason::Queued(_) | Reason::Unwanted => ahead(verdict.since, DAY),
    };
    Some(ahead(end, SLACK))
}

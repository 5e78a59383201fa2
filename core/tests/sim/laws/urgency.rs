//! The most urgent goes first (P17), where each step of an order counts: what has expired, what is recalled, what is
//! endangered by what is left of its life, what is new, and what has time, in this order.
//!
//! When an order is asked for, nobody more urgent waits who was free when the work on it began, and is so still. Who is free
//! and how urgent follows from what the cluster holds and what the CA has counted and told. Only these wait rightly, by design:
//!
//! - one that rests or keeps its distance after a failure, or that the CA holds, or has no certificates left for;
//! - one that has rested more often than [`LENIENT`] times in a row: it lets all others go first for five minutes with each rest
//!   more, six hours at most, and then has its turn;
//! - one that has rested while half of the places are taken by others that have;
//! - while the CA is in trouble one at a time asks whether that is over, and whoever has asked more often goes later.
//!
//! A name and its wildcard begin together (P15), as urgent as the one for which they do. Two new hosts that nobody has ordered
//! before go as they came to ask; fairness between namespaces is a law of the fleet, where there are many.

use std::collections::{BTreeMap, BTreeSet};

use faythe_core::Timestamp;
use faythe_core::activity::Activity;
use faythe_core::budget::Exemption;
use faythe_core::cas::CaId;
use faythe_core::name::Hostname;
use faythe_core::renewal::key;
use faythe_core::schedule::{Threshold, ahead, renew_at};
use jiff::SignedDuration;

use super::{GRACE, Laws};
use crate::limits::domain;
use crate::outside::Outside;
use crate::shell::Shell;
use crate::urgency::Need;

/// So many rests in a row cost no place; each one more this long, and never more than the longest.
const LENIENT: u32 = 8;
const MAKES_WAY: SignedDuration = SignedDuration::from_mins(5);
const MAKES_WAY_MOST: SignedDuration = SignedDuration::from_hours(6);
/// The loop looks at its clock this often.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(6);

/// What is watched for.
#[derive(Default)]
pub(crate) struct Watch {
    /// How urgent the work of a process on a host was when it began, and who was passed over.
    begun: BTreeMap<(u64, Hostname), (Claim, Vec<Hostname>)>,
    /// For whom an order has been asked for, or a Secret been there.
    pub(super) ordered: BTreeSet<Hostname>,
    /// How many orders were asked for while others waited that were free.
    pub(crate) judged: usize,
}

/// One that waits, or has begun.
#[derive(Clone, Copy)]
struct Claim {
    need: Need,
    /// How many go before it because it has rested too often.
    behind: u32,
    /// Since when it is asked for, where nothing was ever done for it.
    new_since: Option<Timestamp>,
    counted: bool,
}

impl Laws {
    /// The work on these begins, in this order; `told` says of whom no watch has anything left to tell.
    pub(crate) fn begin_beside<'a>(
        &mut self,
        begun: impl Iterator<Item = &'a Hostname> + Clone,
        shell: &Shell,
        told: impl Fn(&Hostname) -> bool,
        outside: &Outside,
    ) {
        let mut places = shell.rested().count() - begun.clone().filter(|host| is_again(host, shell)).count();
        let mut before: Option<(&Hostname, Option<Claim>)> = None;
        for host in begun {
            self.urgency.begun.remove(&(shell.life, host.clone()));
            let crowded = places >= (shell.policy.orders_at_once / 2).max(1);
            places += usize::from(is_again(host, shell));
            let pair = before.filter(|(first, _)| first.base() == host.base());
            let claim = match pair {
                // With an order that is there already it goes on without a claim of its own.
                Some((_, first)) => first,
                None => self.begins(host, shell, outside),
            };
            before = Some((host, claim));
            let Some(claim) = claim else { continue };
            let waiting: Vec<_> = self.wanted.keys().filter(|other| told(other)).cloned().collect();
            let mut passed = Vec::new();
            for other in waiting {
                let rested = matches!(shell.world.activity(&other), Some(Activity::Resting(_)));
                if (rested && crowded) || !self.goes_before(&other, host, claim, shell, outside) {
                    continue;
                }
                passed.push(other);
            }
            let begun = (claim, passed);
            self.urgency.begun.insert((shell.life, host.clone()), begun);
        }
    }

    /// An order for `host` is about to be asked for.
    pub(crate) fn passes_over(&mut self, shell: &Shell, host: &Hostname, outside: &Outside) {
        let begun = self.urgency.begun.remove(&(shell.life, host.clone()));
        let set = self.was_clock_set_since(ahead(outside.now, -HEARTBEAT));
        let Some((claim, passed)) = begun.filter(|_| !set) else {
            return;
        };
        let mut waiting = self.wanted.keys();
        let beside = waiting.any(|other| other != host && self.waits(other, shell, outside).is_some());
        self.urgency.judged += usize::from(beside);
        // It may have become more urgent meanwhile.
        let need = need(host, shell, outside).map_or(claim.need, |(need, _)| need);
        let need = if need.precedes(claim.need) {
            need
        } else {
            claim.need
        };
        let claim = Claim { need, ..claim };
        for other in passed {
            if self.goes_before(&other, host, claim, shell, outside) {
                let its = self.waits(&other, shell, outside).map(|other| other.need);
                let words = format!("{host}, {need:?}, is ordered before {other}, {its:?}");
                self.break_law(outside.now, &words);
            }
        }
    }

    /// Whether `other` waits, and should have gone first.
    fn goes_before(
        &self,
        other: &Hostname,
        host: &Hostname,
        claim: Claim,
        shell: &Shell,
        outside: &Outside,
    ) -> bool {
        let Some(waits) = self.waits(other, shell, outside) else {
            return false;
        };
        let came_first = match (waits.new_since, claim.new_since) {
            (Some(mine), Some(its)) => mine < its,
            (Some(_) | None, _) => false,
        };
        let first = waits.need.precedes(claim.need) || came_first;
        first && waits.behind <= claim.behind && has_room(other, waits, host, claim, shell, outside)
    }

    /// How urgent a new order for `host` is on which the work has begun.
    fn begins(&self, host: &Hostname, shell: &Shell, outside: &Outside) -> Option<Claim> {
        let rests = shell.rests_of(host)?;
        let now = outside.clock();
        let (need, _) = need(host, shell, outside)?;
        Some(Claim {
            need,
            // Its waits are over.
            behind: if shell.world.ca_is_in_trouble(CaId::FIRST) {
                rests
            } else {
                0
            },
            new_since: self.new_since(host, shell, outside).filter(|_| rests == 0),
            counted: shell.world.exemption(host, CaId::FIRST, now) == Exemption::Nothing,
        })
    }

    /// The same for one that waits, and is free to be ordered.
    fn waits(&self, host: &Hostname, shell: &Shell, outside: &Outside) -> Option<Claim> {
        let (world, now) = (&shell.world, outside.clock());
        let (tries, until) = match world.activity(host) {
            None => (0, now),
            Some(Activity::Resting(rest)) if !rest.noted && rest.until <= now => (rest.tries, rest.until),
            Some(_) => return None,
        };
        let behind = if world.ca_is_in_trouble(CaId::FIRST) {
            tries
        } else {
            let more = i32::try_from(tries.saturating_sub(LENIENT)).unwrap_or(i32::MAX);
            let way = MAKES_WAY.checked_mul(more).unwrap_or(MAKES_WAY_MOST);
            u32::from(ahead(until, way.min(MAKES_WAY_MOST)) > now)
        };
        let saved = outside.cluster.notes.get(host).map(|(_, saved)| saved);
        let failed = saved.and_then(|saved| saved.failures.as_ref());
        let failed = failed.into_iter().chain(world.failures(host));
        let failed = failed.map(|failed| failed.next_attempt(GRACE.unsigned_abs(), None));
        let given_up = saved.and_then(|saved| saved.given_up.as_ref());
        let given_up = given_up.into_iter().chain(world.given_up(host));
        let given_up = given_up.map(|given_up| given_up.next_order(None));
        let is_spaced = failed.chain(given_up).any(|next| next > now);
        let exemption = world.exemption(host, CaId::FIRST, now);
        let is_held = world.hold_on(host, CaId::FIRST, exemption, now).is_some()
            || world
                .ledger(CaId::FIRST)
                .own_block(host, exemption, now)
                .is_some();
        let is_taken = outside.cluster.is_taken(host) || world.taken(host).is_some();
        let noted = outside.cluster.noted(host).is_some();
        if is_spaced || is_held || is_taken || noted {
            return None;
        }
        let (need, due) = need(host, shell, outside)?;
        let is_due = due.is_none_or(|due| due <= now);
        is_due.then_some(Claim {
            need,
            behind,
            new_since: self.new_since(host, shell, outside),
            counted: exemption == Exemption::Nothing,
        })
    }

    /// Since when it is asked for, where the process has heard so from its watch, in order, and nothing was ever done for it.
    fn new_since(&self, host: &Hostname, shell: &Shell, outside: &Outside) -> Option<Timestamp> {
        let since = *self.wanted.get(host)?;
        let heard = shell.hears_since().is_some_and(|from| from < since);
        let untouched = !self.urgency.ordered.contains(host)
            && !self.meddled.contains_key(host)
            && outside.cluster.held(host).is_none();
        (heard && untouched).then_some(since)
    }
}

fn is_again(host: &Hostname, shell: &Shell) -> bool {
    shell.rested().any(|rested| rested == host)
}

/// How urgent it is, and from when on it is due for certain, where it has time. `None` where what is held is not to be judged
/// by this clock.
fn need(host: &Hostname, shell: &Shell, outside: &Outside) -> Option<(Need, Option<Timestamp>)> {
    let now = outside.clock();
    let held = outside.cluster.held(host);
    let facts = held.and_then(|held| held.content.as_ref().ok());
    let Some(facts) = facts.filter(|facts| facts.covers(host)) else {
        return Some((Need::New, None));
    };
    let (from, end) = (facts.not_before, facts.not_after);
    if from > now {
        return None;
    }
    if end <= now {
        // By whole seconds.
        let end = Timestamp::from_second(end.as_second()).unwrap();
        return Some((Need::Expired(end), None));
    }
    let plain = renew_at(from, end, Threshold::Default);
    let id = facts.id.as_ref().map(key);
    let hint = shell.world.hint(host).filter(|hint| Some(hint.of) == id);
    let Some(hint) = hint else {
        let need = Need::of_life(from, end, now);
        // The CA is asked about it first, if it has time.
        let asked = id.is_some_and(|id| shell.world.is_untold(host, id));
        let waits = asked && matches!(need, Need::Routine(_));
        let due = if waits { end } else { plain };
        return Some((need, Some(due)));
    };
    // Any point in its window will do.
    let over = hint.window.end();
    if over <= now && now < plain {
        // One that was due at once when it was stored is left alone.
        let due = if hint.moved { over } else { end };
        return Some((Need::Recalled, Some(due)));
    }
    Some((Need::of_life(from, end, now), Some(over)))
}

/// Whether the order for `other` could have been made in the place of the one for `host`, for the account and the domain.
fn has_room(
    other: &Hostname,
    waits: Claim,
    host: &Hostname,
    begun: Claim,
    shell: &Shell,
    outside: &Outside,
) -> bool {
    let (ledger, now) = (shell.world.ledger(CaId::FIRST), outside.clock());
    let same = begun.counted && domain(host) == domain(other);
    let of_domain = same || ledger.free_in_domain(other, now) != Some(0);
    let of_account = begun.counted || ledger.free_orders(now) != Some(0);
    !waits.counted || (of_domain && of_account)
}

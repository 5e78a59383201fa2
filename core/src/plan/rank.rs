//! How urgent the work on one certificate is (P17): expired, then nearest to expiry, then new, then routine; and what a
//! fault on our side of the CA changes of that.
//!
//! Deliberately absent: whether there is anything to do, which is `assess`'s business, and the gates of `queues`.

use jiff::{SignedDuration, Timestamp};

use super::assess::{best, earlier};
use super::pace::Pace;
use super::settle::is_asked_for;
use crate::activity::{Activity, Rest};
use crate::cas::CaId;
use crate::cert::{CertFacts, Shortfall};
use crate::name::Hostname;
use crate::policy::Policy;
use crate::renewal::Rule;
use crate::schedule::{ahead, back, renew_at};
use crate::world::{Want, World};

/// Who goes first, when not all can: by urgency, then by what counts within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// For how many it makes way after rests, whatever their urgency: whoever has less goes first.
    behind: u32,
    pub(super) urgency: Urgency,
    first: u64,
    second: u64,
    pub(super) pace: Pace,
    /// Whether it has rested since its order or attempt began.
    pub(super) again: bool,
}

/// Kinds of urgency, the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// An order that is there already, in order of arrival.
    Noted,
    /// The certificate has expired; who was without one longest goes first.
    Expired,
    /// The CA wants it replaced at once: the longest overdue, then the one that most Ingresses ask for (P21).
    Recalled,
    /// Little is left of its life, the smallest share first.
    Endangered,
    /// There is none that serves: by turns of the namespaces, then in order of arrival.
    New,
    /// It has time, the smallest share of life first.
    Routine,
}

/// What is left of a life is told in so many steps, so that an order by share changes seldom.
const STEPS: i32 = 32;
/// With so many steps left or fewer, a renewal is no routine any more, once as much of the time is over that it has: about
/// half of the third of a life that a renewal has as a rule.
const ENDANGERED: u64 = STEPS as u64 / 6;
/// So much of the time is left then, in sixteenths.
const ENDANGERED_TIME: i32 = 9;
/// So many rests in a row cost no place. They take three minutes, and an API server that restarts, or a quota that is
/// widened, is back by then; and what each attempt may cost in vain, an order of the account, is little eight times.
const LENIENT: u32 = 8;
/// With each rest more, all others go first for so long; and never for longer than renewals with time have room.
const MAKES_WAY: SignedDuration = SignedDuration::from_mins(5);
const MAKES_WAY_MOST: SignedDuration = SignedDuration::from_hours(6);

/// How urgent an order at `ca` is, and when that changes.
pub(super) fn rank(
    host: &Hostname,
    want: &Want,
    short: &Shortfall,
    ca: CaId,
    world: &World,
    policy: &Policy,
    now: Timestamp,
) -> (Rank, Option<Timestamp>) {
    let Some(activity) = world.activity(host) else {
        return by_need(host, want, short, world, policy, now);
    };
    let Activity::Resting(rest) = activity else {
        return (Rank::by_arrival(Urgency::Noted, want.arrival), None);
    };
    let (rank, changes) = by_need(host, want, short, world, policy, now);
    let (behind, until) = behind(rest, rank.urgency, world.ca_is_in_trouble(ca), now);
    let rank = Rank {
        behind,
        // An order that is there is no renewal that begins.
        pace: if rest.noted { Pace::Free } else { rank.pace },
        again: true,
        ..rank
    };
    (rank, earlier(changes, until))
}

/// How urgent it is to bring to an end what an order has left behind, and when that changes.
pub(super) fn tidying(
    host: &Hostname,
    arrival: u64,
    world: &World,
    now: Timestamp,
) -> (Rank, Option<Timestamp>) {
    let rank = Rank::by_arrival(Urgency::Noted, arrival);
    let Some(Activity::Resting(rest)) = world.activity(host) else {
        return (rank, None);
    };
    let in_trouble = world.ca_is_in_trouble(world.ca_of(host));
    let (behind, until) = behind(rest, rank.urgency, in_trouble, now);
    let rank = Rank {
        behind,
        again: true,
        ..rank
    };
    (rank, until)
}

/// For how many an order makes way that has rested, and until when.
///
/// While a CA is in trouble one at a time asks whether that is over, and whoever has asked more often goes later: else two
/// names that always fail would be the only ones to ask. A noted order that is no more urgent than what is new goes after
/// that: it waits for room only, and whatever is stuck must not hold up what is not. Who has failed for long on our side
/// lets others go first for a while, longer each time, and then has its turn: neither are the others held up for long nor
/// is it.
fn behind(rest: &Rest, urgency: Urgency, in_trouble: bool, now: Timestamp) -> (u32, Option<Timestamp>) {
    if in_trouble {
        return (rest.tries.max(1), None);
    }
    if rest.noted && urgency >= Urgency::New {
        return (1, None);
    }
    let more = i32::try_from(rest.tries.saturating_sub(LENIENT)).unwrap_or(i32::MAX);
    let wait = MAKES_WAY.checked_mul(more).unwrap_or(SignedDuration::MAX);
    let until = ahead(rest.until, wait.min(MAKES_WAY_MOST));
    if until > now { (1, Some(until)) } else { (0, None) }
}

fn by_need(
    host: &Hostname,
    want: &Want,
    short: &Shortfall,
    world: &World,
    policy: &Policy,
    now: Timestamp,
) -> (Rank, Option<Timestamp>) {
    let free = |urgency, first, second| Rank {
        behind: 0,
        urgency,
        first,
        second,
        pace: Pace::Free,
        again: false,
    };
    let turn = world.turns().of(host).unwrap_or(0);
    let new = (free(Urgency::New, turn, want.arrival), None);
    let Some(facts) = best(host, world) else {
        return new;
    };
    match short {
        Shortfall::Expired(at) => (free(Urgency::Expired, seconds(*at), want.arrival), None),
        Shortfall::Due(_) if is_asked_for(host, world, now) => {
            (free(Urgency::Recalled, 0, want.arrival), None)
        }
        Shortfall::Due(_) => {
            let rule = world.rule(host, policy);
            if let Some(window) = rule.window(facts)
                && rule.is_recalled(host, facts, now)
            {
                let asked = u64::try_from(want.askers.len()).unwrap_or(u64::MAX);
                let rank = free(Urgency::Recalled, seconds(window.end()), u64::MAX - asked);
                // From then on it is late, and no more.
                let late = rule.due_without_hint(host, facts);
                return (rank, Some(late).filter(|at| *at > now));
            }
            let step = (facts.lifetime() / STEPS).max(SignedDuration::from_secs(1));
            let left = now.duration_until(facts.not_after).max(SignedDuration::ZERO);
            let steps = left.as_nanos() / step.as_nanos();
            let steps = i32::try_from(steps).unwrap_or(STEPS).min(STEPS);
            let level = u64::from(steps.unsigned_abs());
            let endangered_at = endangered_at(facts, rule);
            let (urgency, (pace, changes)) = if level <= ENDANGERED && endangered_at <= now {
                (Urgency::Endangered, (Pace::Free, None))
            } else {
                (Urgency::Routine, Pace::of(host, facts, rule, now))
            };
            let changes = earlier(changes, Some(endangered_at).filter(|at| *at > now));
            let rank = Rank {
                pace,
                ..free(urgency, level, seconds(facts.not_after))
            };
            // Strictly below the step, so that looking then finds it changed.
            let next = ahead(back(facts.not_after, step * steps), SignedDuration::from_nanos(1));
            (rank, earlier(changes, Some(next).filter(|next| *next > now)))
        }
        Shortfall::Missing
        | Shortfall::NotYetValid(_)
        | Shortfall::OtherNames(_)
        | Shortfall::Unreadable(_) => new,
    }
}

/// When so little is left that a renewal is no routine any more. Of a long life, or where the operator wants it late, a
/// renewal has less than a third; then about half of that has to be over too.
pub(super) fn endangered_at(facts: &CertFacts, rule: Rule) -> Timestamp {
    let step = (facts.lifetime() / STEPS).max(SignedDuration::from_secs(1));
    let steps = i32::try_from(ENDANGERED).unwrap_or(STEPS) + 1;
    let due = renew_at(facts.not_before, facts.not_after, rule.threshold);
    let left = due.duration_until(facts.not_after) / 16 * ENDANGERED_TIME;
    back(facts.not_after, left.min(step * steps))
}

impl Rank {
    /// Whether nothing serves, or little is left of what does, so that another CA may stand in for a new order.
    pub(super) fn is_urgent(self) -> bool {
        matches!(
            self.urgency,
            Urgency::Expired | Urgency::Endangered | Urgency::New
        )
    }

    fn by_arrival(urgency: Urgency, arrival: u64) -> Self {
        Self {
            behind: 0,
            urgency,
            first: 0,
            second: arrival,
            pace: Pace::Free,
            again: false,
        }
    }
}

/// Seconds in the order of time, before 1970 too.
fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_second() - Timestamp::MIN.as_second()).unwrap_or(0)
}

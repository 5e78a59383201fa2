//! An independent check that every plan must pass; tests run it, and so do debug builds.
//!
//! It shares no rule with the planner: it asks the world before the turn whether each action was permitted at all.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::activity::Activity;
use crate::cas::CaId;
use crate::cert::{Shortfall, Standing, standing};
use crate::name::Hostname;
use crate::order::Goal;
use crate::plan::{Action, Plan, Planner};
use crate::policy::Policy;
use crate::world::World;

/// Checks a plan against the world in which it was made and the planner that made it.
///
/// # Errors
/// Every broken law, in words.
pub fn audit(
    plan: &Plan,
    planner: &Planner,
    world: &World,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), Vec<String>> {
    let mut broken = Vec::new();
    let mut law = |holds: bool, host: &Hostname, words: &str| {
        if !holds {
            broken.push(format!("{host}: {words}"));
        }
    };
    let mut seen = BTreeSet::new();
    for action in &plan.actions {
        let (Action::Drive { host, goal } | Action::Steer { host, goal }) = action else {
            continue;
        };
        let wanted = world.want(host).is_some();
        law(
            wanted == (*goal == Goal::Wanted),
            host,
            "the goal is not what is wanted",
        );
        if !matches!(action, Action::Drive { .. }) {
            continue;
        }
        law(seen.insert(host.clone()), host, "is started twice");
        let running = matches!(world.activity(host), Some(Activity::Running(_)));
        law(running, host, "is started and not marked as running");
    }
    for (host, _) in world.wants() {
        law(
            planner.verdict(host).is_some(),
            host,
            "is wanted and has no verdict",
        );
    }
    // A pair starts together, so the cap may be passed by one.
    if planner.running() > policy.orders_at_once.max(1) + 1 {
        broken.push(format!("{} orders run at once", planner.running()));
    }
    if plan.wake_at.is_some_and(|at| at <= now) {
        broken.push("the plan wakes in the past".to_owned());
    }
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

/// Whether a new order for `host` may be begun at `ca` in `world`: asked before a turn, with nothing of the planner's own.
#[must_use]
pub fn may_order(host: &Hostname, ca: CaId, world: &World, policy: &Policy, now: Timestamp) -> bool {
    let standing = standing(host, world.claims(host), world.rule(host, policy), now);
    let served = matches!(standing, Standing::Fine { .. });
    // One that was stored within the grace and is due already would only be followed by another like it, unless somebody
    // has asked for that since.
    let asked_since = |issued: Timestamp| {
        let mut demands = world.claims(host).filter_map(|held| held.renew.as_deref());
        demands.any(|demand| (issued..=now).contains(&demand.at))
    };
    let settled = !matches!(standing, Standing::Short(Shortfall::Due(_)))
        || world
            .claims(host)
            .all(|held| match (&held.content, held.issued_at) {
                (Ok(facts), Some(issued))
                    if facts.covers(host) && !held.is_demanded(now) && !asked_since(issued) =>
                {
                    let rule = world.rule(host, policy);
                    rule.settled_at(host, facts, issued, held.early(), policy.issue_grace) <= now
                }
                (Ok(_) | Err(_), _) => true,
            });
    // Another CA may stand in where nothing serves, or less than six parts in thirty-two of a life are left.
    let urgent = match &standing {
        Standing::Fine { .. } => false,
        Standing::Short(Shortfall::Due(_)) => world.claims(host).all(|held| match &held.content {
            Ok(facts) if facts.covers(host) => {
                now.duration_until(facts.not_after) < facts.lifetime() / 32 * 6 + SignedDuration::from_secs(6)
            }
            Ok(_) | Err(_) => true,
        }),
        Standing::Short(_) => true,
    };
    let demand = world.demand(host);
    let refused = |ca: CaId| {
        let directory = world.cas().get(ca).map(|ca| &ca.directory);
        let failures = world.failures(host);
        let failures = failures.filter(|failures| failures.next_attempt(policy.issue_grace, demand) > now);
        failures
            .zip(directory)
            .is_some_and(|(failures, directory)| failures.refused_by.contains(directory))
    };
    let spaced = world.failures(host).is_none_or(|failures| {
        failures.next_attempt(policy.issue_grace, demand) <= now
            || (urgent && !failures.refused_by.is_empty() && !refused(ca))
    });
    let useful = world
        .given_up(host)
        .is_none_or(|given_up| given_up.next_order(demand) <= now);
    let excluded = |ca: CaId| world.exclusion(host, ca).is_some_and(|hold| hold.until > now);
    let mut before = world.cas_of(host).iter().take_while(|other| **other != ca);
    let stands_in = before.all(|other| {
        let exemption = world.exemption(host, *other, now);
        let ledger = world.ledger(*other);
        // Others may have used up what is left there in the same turn.
        let limited =
            ledger.limits().new_orders.is_some() || ledger.limits().certificates_per_domain.is_some();
        excluded(*other)
            || urgent
                && (refused(*other)
                    || limited
                    || world.hold_on(host, *other, exemption, now).is_some()
                    || ledger.block(host, exemption, now).is_some())
    });
    let exemption = world.exemption(host, ca, now);
    let idle = match world.activity(host) {
        None => true,
        Some(Activity::Resting(rest)) => rest.until <= now,
        Some(Activity::Noted | Activity::Running(_)) => false,
    };
    world.want(host).is_some()
        && !served
        && settled
        && spaced
        && useful
        && idle
        && stands_in
        && !excluded(ca)
        && world.hold_on(host, ca, exemption, now).is_none()
        && world.ledger(ca).block(host, exemption, now).is_none()
}

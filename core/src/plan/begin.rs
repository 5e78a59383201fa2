//! What begins in a turn: as many as there is room for, behind their gates, each at its CA.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::assess::{goal, has_order};
use super::choice::spill;
use super::pace::Pace;
use super::queues::{Opens, Outlook};
use super::{Action, Plan, Planner, view};
use crate::activity::Activity;
use crate::cas::CaId;
use crate::name::Hostname;
use crate::order::{Goal, Stage};
use crate::policy::Policy;
use crate::world::World;

impl Planner {
    /// Starts what may begin, as far as the cap allows. A name and its wildcard start together, even past the cap: they
    /// share a challenge record, and the one that came later would have to wait for the CA's cache (P15).
    pub(super) fn start(&mut self, world: &mut World, policy: &Policy, now: Timestamp, plan: &mut Plan) {
        let most = policy.orders_at_once.max(1);
        let mut closed = BTreeSet::new();
        self.spills_at = None;
        while self.running.len() < most {
            let takes = |ca| !closed.contains(&ca) && !self.is_full(ca, world);
            let opens = self.opens(world, policy);
            let first = |also_again: bool| {
                let takes = |ca, again: bool| (also_again || !again) && takes(ca);
                self.queues.first(takes, opens, view(world, now))
            };
            // Those that have rested leave half of the room to the others, as long as there are any.
            let crowded = world.turns().under_way_again() >= (most / 2).max(1);
            let first = if crowded {
                first(false).or_else(|| first(true))
            } else {
                first(true)
            };
            let Some((first, ca)) = first else {
                break;
            };
            let first = first.clone();
            if self.begin(&first, ca, world, policy, now, plan).is_ok() {
                self.begin_other(&first, ca, world, policy, now, plan);
            } else {
                closed.insert(ca);
            }
        }
        if world.cas().count() > 1 {
            // Until none does: whoever leaves lets others be seen.
            while self.running.len() < most && self.begin_elsewhere(&closed, world, policy, now, plan) {}
        }
        if self.running.len() < most {
            let cas: Vec<_> = world.cas().all().map(|(ca, _)| ca).collect();
            for ca in cas {
                if !self.is_full(ca, world) && self.queues.want_account(ca) {
                    world.ledger_mut(ca).want_more(now);
                }
            }
        }
    }

    /// Starts the other one of a name and its wildcard, if it may.
    fn begin_other(
        &mut self,
        first: &Hostname,
        ca: CaId,
        world: &mut World,
        policy: &Policy,
        now: Timestamp,
        plan: &mut Plan,
    ) {
        let other = if first.is_wildcard() {
            Hostname::exact(first.base().clone())
        } else {
            Hostname::wildcard_of(first.base().clone())
        };
        let place = self.assessed.get(&other).and_then(|assessed| assessed.place);
        if let Some(place) = place
            && (place.ca == ca || !self.is_full(place.ca, world))
        {
            // Where it may not, it stays in its line.
            let _ = self.begin(&other, place.ca, world, policy, now, plan);
        }
    }

    /// Starts what is urgent and has no turn for long at its own CA, because the budget is short there, at another (P24);
    /// whether there was any.
    fn begin_elsewhere(
        &mut self,
        closed: &BTreeSet<CaId>,
        world: &mut World,
        policy: &Policy,
        now: Timestamp,
        plan: &mut Plan,
    ) -> bool {
        let mut begun = false;
        let mut spills_at: Option<Timestamp> = None;
        for late in self.queues.late(view(world, now)) {
            if self.running.len() >= policy.orders_at_once.max(1) {
                break;
            }
            let until = match spill(late.host(), late.ca, late.turn, world, policy, now) {
                Ok(ca) if closed.contains(&ca) || self.is_full(ca, world) => None,
                Ok(ca) => {
                    let began = self.begin(late.host(), ca, world, policy, now, plan);
                    begun |= began.is_ok();
                    began.err()
                }
                Err(until) => until,
            };
            spills_at = spills_at.into_iter().chain(until).min();
        }
        self.spills_at = spills_at;
        begun
    }

    /// When those begin who keep a pace.
    pub(super) fn opens(&self, world: &World, policy: &Policy) -> Opens {
        Opens::of(self.flows.pauses(policy.renewals_per_minute), world.turns())
    }

    /// What is known beside the queues of when those begin who wait.
    pub(super) fn outlook(&self, ca: CaId, world: &World) -> Outlook {
        let pauses = self.flows.pauses(self.manner.renewals_per_minute);
        Outlook {
            flows: self.flows,
            renewals_per_minute: self.manner.renewals_per_minute,
            opens: Opens::of(pauses, world.turns()),
            most: self.manner.orders_at_once.max(1),
            running: self.running.len(),
            usual: world.turns().usual(),
            is_full: self.is_full(ca, world),
        }
    }

    /// Whether a CA takes no more. While it is in trouble one at a time asks whether that is over, so that an outage of days
    /// costs a request each time and not one for each order (P22).
    fn is_full(&self, ca: CaId, world: &World) -> bool {
        world.ca_is_in_trouble(ca) && self.running.keys().any(|host| world.ca_of(host) == ca)
    }

    /// Starts one at a CA, if the budget there has room for it.
    ///
    /// # Errors
    /// Until when it has none, if nothing else happens.
    fn begin(
        &mut self,
        host: &Hostname,
        ca: CaId,
        world: &mut World,
        policy: &Policy,
        now: Timestamp,
        plan: &mut Plan,
    ) -> Result<(), Timestamp> {
        let goal = goal(host, world);
        let ordered = has_order(world.activity(host));
        if goal == Goal::Wanted && !ordered {
            let exemption = world.exemption(host, ca, now);
            let reserved = world.ledger_mut(ca).reserve(host, exemption, now);
            reserved.map_err(|block| block.until)?;
            world.set_ca(host, ca);
        }
        let rank = self
            .assessed
            .get(host)
            .and_then(|assessed| Some(assessed.place?.rank));
        if let Some(pauses) = self.flows.pauses(policy.renewals_per_minute) {
            match rank.map_or(Pace::Free, |rank| rank.pace) {
                Pace::Free => {}
                Pace::Bounded => world.turns_mut().renew(pauses.bounded, now),
                Pace::Even(_) => world.turns_mut().renew(pauses.even, now),
            }
        }
        let stage = if goal == Goal::Wanted || ordered {
            let again = rank.is_some_and(|rank| rank.again);
            world.turns_mut().begin(host, again, now);
            plan.actions.push(Action::Drive {
                host: host.clone(),
                goal,
            });
            Stage::Ordering
        } else {
            world.turns_mut().leave(host, true);
            plan.actions.push(Action::Forget(host.clone()));
            world.set_failures(host, None);
            world.set_given_up(host, None);
            Stage::CleaningUp
        };
        self.running.insert(host.clone(), goal);
        world.set_activity(host, Some(Activity::Running(stage)));
        self.reassess(host.clone(), world, policy, now, plan);
        // It may have stood at another CA, or have been counted for no domain.
        self.queues.spent(ca, host, view(world, now));
        Ok(())
    }
}

//! The plan: which orders to start or take up now, what to say of every certificate, and when to think again.
//!
//! A turn costs what has changed. Each certificate's assessment depends on its own part of the [`World`], on the holds
//! of the CA and on the time; the [`Planner`] keeps it and makes it anew only when one of these has changed. A property
//! test holds the result equal to that of a planner that starts from nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::activity::Activity;
use crate::name::Hostname;
use crate::order::{Goal, Stage};
use crate::policy::Policy;
use crate::verdict::{Reason, State, Verdict};
use crate::world::World;

mod assess;

use assess::{Assessment, Rank, assess, goal, has_order};

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one for each certificate, the most urgent first.
    pub actions: Vec<Action>,
    /// Certificates whose verdict has changed or gone.
    pub changed: BTreeSet<Hostname>,
    /// When to plan again if nothing is seen before.
    pub wake_at: Option<Timestamp>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Work on the certificate's order until it ends or comes to rest.
    Drive {
        /// The certificate.
        host: Hostname,
        /// What for.
        goal: Goal,
    },
    /// Drop what is saved about a certificate that nobody asks for. Until that has ended, and its activity is set anew,
    /// nothing else begins for the certificate.
    Forget(Hostname),
    /// Tell the work on an order that its goal has changed.
    Steer {
        /// The certificate.
        host: Hostname,
        /// The new goal.
        goal: Goal,
    },
}

/// Keeps every certificate's assessment between turns.
#[derive(Debug, Default)]
pub struct Planner {
    assessed: BTreeMap<Hostname, Assessed>,
    due: BTreeSet<(Timestamp, Hostname)>,
    ready: BTreeSet<(Rank, Hostname)>,
    running: BTreeMap<Hostname, Goal>,
    counts: BTreeMap<State, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Assessed {
    verdict: Verdict,
    rank: Option<Rank>,
    revisit: Option<Timestamp>,
}

impl Planner {
    /// A planner that has not seen anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the plan for `now`. Total: what is wrong with the world is a verdict.
    ///
    /// What the plan starts is marked as running in `world`. Before every first look has been completed nothing is
    /// decided, so that half a picture never costs an order.
    pub fn turn(&mut self, world: &mut World, policy: &Policy, now: Timestamp) -> Plan {
        let mut plan = self.look(world, policy, now);
        if world.is_known() {
            self.start(world, policy, now, &mut plan);
            plan.wake_at = self.due.first().map(|(at, _)| *at);
        }
        plan
    }

    /// The same with tied hands, for an instance that does not lead: it says what is true, and starts nothing.
    pub fn look(&mut self, world: &mut World, policy: &Policy, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        if !world.is_known() {
            return plan;
        }
        world.expire_holds(now);
        let (mut stale, holds_changed) = world.take_changes();
        if holds_changed {
            stale.extend(
                self.assessed
                    .iter()
                    .filter(|(_, a)| a.verdict.reason.state() != State::Valid)
                    .map(|(h, _)| h.clone()),
            );
        }
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, host)) = self.due.pop_first() {
                stale.insert(host);
            }
        }
        for host in stale {
            self.reassess(host, world, policy, now, &mut plan);
        }
        plan.wake_at = self.due.first().map(|(at, _)| *at);
        plan
    }

    /// What is to be said of one certificate.
    #[must_use]
    pub fn verdict(&self, host: &Hostname) -> Option<&Verdict> {
        self.assessed.get(host).map(|assessed| &assessed.verdict)
    }

    /// What is to be said of every certificate.
    pub fn verdicts(&self) -> impl Iterator<Item = (&Hostname, &Verdict)> {
        self.assessed
            .iter()
            .map(|(host, assessed)| (host, &assessed.verdict))
    }

    /// How many certificates are in each state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.counts.get(&state).copied().unwrap_or(0)
    }

    /// How many orders are being worked on.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    fn reassess(
        &mut self,
        host: Hostname,
        world: &mut World,
        policy: &Policy,
        now: Timestamp,
        plan: &mut Plan,
    ) {
        self.steer(&host, world, plan);
        let before = self.remove(&host);
        if world.want(&host).is_none() {
            self.drop_unwanted(&host, world, policy, now);
        }
        let conclusion = assess(&host, world, policy, now);
        let Some(Assessment {
            reason,
            rank,
            revisit,
        }) = conclusion
        else {
            if before.is_some() {
                plan.changed.insert(host);
            }
            return;
        };
        let same = |old: &Reason| old.state() == reason.state() && old.code() == reason.code();
        let since = match &before {
            Some(old) if same(&old.verdict.reason) => old.verdict.since,
            Some(_) | None => now,
        };
        if before.as_ref().is_none_or(|old| old.verdict.reason != reason) {
            plan.changed.insert(host.clone());
        }
        if let Some(at) = revisit {
            self.due.insert((at, host.clone()));
        }
        if let Some(rank) = rank {
            self.ready.insert((rank, host.clone()));
        }
        *self.counts.entry(reason.state()).or_default() += 1;
        self.assessed.insert(
            host,
            Assessed {
                verdict: Verdict { reason, since },
                rank,
                revisit,
            },
        );
    }

    /// Keeps what runs in step with what is wanted.
    fn steer(&mut self, host: &Hostname, world: &World, plan: &mut Plan) {
        if !matches!(world.activity(host), Some(Activity::Running(_))) {
            self.running.remove(host);
            return;
        }
        let goal = goal(host, world);
        if self
            .running
            .insert(host.clone(), goal)
            .is_some_and(|before| before != goal)
        {
            plan.actions.push(Action::Steer {
                host: host.clone(),
                goal,
            });
        }
    }

    /// Lets go of what is known of a certificate that nobody asks for and that has no order; its failures are kept as
    /// long as they space attempts.
    fn drop_unwanted(&mut self, host: &Hostname, world: &mut World, policy: &Policy, now: Timestamp) {
        if has_order(world.activity(host)) {
            return;
        }
        if world.activity(host).is_some() {
            world.set_activity(host, None);
        }
        if let Some(failures) = world.failures(host) {
            let next = failures.next_attempt(policy.issue_grace);
            if next > now {
                self.due.insert((next, host.clone()));
            }
        }
    }

    fn remove(&mut self, host: &Hostname) -> Option<Assessed> {
        let before = self.assessed.remove(host)?;
        if let Some(at) = before.revisit {
            self.due.remove(&(at, host.clone()));
        }
        if let Some(rank) = before.rank {
            self.ready.remove(&(rank, host.clone()));
        }
        if let Some(count) = self.counts.get_mut(&before.verdict.reason.state()) {
            *count -= 1;
        }
        Some(before)
    }

    /// Starts what is ready, as far as the cap allows. A name and its wildcard start together, even past the cap: they
    /// share a challenge record, and the one that came later would have to wait for the CA's cache (P15).
    fn start(&mut self, world: &mut World, policy: &Policy, now: Timestamp, plan: &mut Plan) {
        while self.running.len() < policy.orders_at_once.max(1) {
            let Some((_, first)) = self.ready.first().cloned() else {
                break;
            };
            let other = if first.is_wildcard() {
                Hostname::exact(first.base().clone())
            } else {
                Hostname::wildcard_of(first.base().clone())
            };
            let other_is_ready = self
                .assessed
                .get(&other)
                .is_some_and(|assessed| assessed.rank.is_some());
            for host in [Some(first), other_is_ready.then_some(other)]
                .into_iter()
                .flatten()
            {
                let goal = goal(&host, world);
                let stage = if goal == Goal::Wanted || has_order(world.activity(&host)) {
                    plan.actions.push(Action::Drive {
                        host: host.clone(),
                        goal,
                    });
                    Stage::Ordering
                } else {
                    plan.actions.push(Action::Forget(host.clone()));
                    world.set_failures(&host, None);
                    Stage::CleaningUp
                };
                self.running.insert(host.clone(), goal);
                world.set_activity(&host, Some(Activity::Running(stage)));
                self.reassess(host, world, policy, now, plan);
            }
        }
    }
}

//! The plan: which orders to start or take up now, what to say of every certificate, and when to think again.
//!
//! A turn costs what has changed. Each certificate's assessment depends on its own part of the [`World`], on the holds
//! of the CA and on the time; the [`Planner`] keeps it and makes it anew only when one of these has changed. A property
//! test holds the result equal to that of a planner that starts from nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::activity::Activity;
use crate::ari::CertificateId;
use crate::name::Hostname;
use crate::order::Goal;
use crate::policy::Policy;
use crate::renewal::Rule;
use crate::schedule::Threshold;
use crate::verdict::{Gate, Reason, State, Turn, Verdict};
use crate::world::{Changes, Pressing, Question, World};

mod assess;
mod begin;
mod choice;
mod line;
mod overdue;
mod pace;
mod queues;
mod rank;
mod settle;

pub use overdue::Overdue;

use assess::{Assessment, assess, best, earlier, goal, has_order};
use pace::{Flow, Flows, Pace};
use queues::{Queues, Standing, View};
use rank::{Urgency, endangered_at};

/// Questions about renewal that may be under way at once.
const POLLS_AT_ONCE: usize = 8;

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
    /// Ask the CA whether it wants the certificate renewed; [`World::hinted`] takes the answer, and there has to be one.
    AskHint {
        /// Its name at the CA.
        certificate: CertificateId,
        /// What the answer belongs to; [`World::asked_for`] says for whom the certificate is.
        question: Question,
    },
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
    queues: Queues,
    /// Those who need a turn, by arrival.
    fresh: BTreeSet<(u64, Hostname)>,
    running: BTreeMap<Hostname, Goal>,
    flows: Flows,
    /// How the last plan was made.
    manner: Manner,
    /// When one that waits too long may go to another CA that could not take it in the last turn.
    spills_at: Option<Timestamp>,
    counts: BTreeMap<State, usize>,
}

/// Those of the operator's choices by which it follows when somebody's turn comes.
#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    threshold: Option<Threshold>,
    spread: u32,
    orders_at_once: usize,
    renewals_per_minute: Option<NonZeroU32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Assessed {
    verdict: Verdict,
    /// Where it stands in the queues.
    place: Option<Standing>,
    /// What it takes of the CA on the average.
    usual: Flow,
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
            Self::poll(world, now, &mut plan);
            plan.wake_at = self.wake_at(world, policy, now);
        }
        plan
    }

    /// The same with tied hands, for an instance that does not lead: it says what is true, and starts nothing.
    pub fn look(&mut self, world: &mut World, policy: &Policy, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        self.manner = Manner {
            threshold: Some(policy.threshold),
            spread: policy.spread,
            orders_at_once: policy.orders_at_once,
            renewals_per_minute: policy.renewals_per_minute,
        };
        if !world.is_known() {
            return plan;
        }
        if world.has_windows_to_recall() {
            let hosts = world.wants().map(|(host, _)| host);
            let certificates: Vec<_> = hosts
                .filter_map(|host| Some((host.clone(), best(host, world)?.id.clone()?)))
                .collect();
            world.recall_windows(certificates);
        }
        world.settle(now);
        world.expire_holds(now);
        let set_back = world.pass(now);
        let Changes {
            dirty: mut stale,
            spent,
            holds,
        } = world.take_changes();
        if holds || set_back {
            self.queues.reconsider(view(world, now));
            stale.extend(
                self.assessed
                    .iter()
                    .filter(|(h, a)| {
                        let is_valid = a.verdict.reason.state() == State::Valid;
                        a.place.is_some() || !is_valid || world.activity(h).is_some()
                    })
                    .map(|(h, _)| h.clone()),
            );
        }
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, host)) = self.due.pop_first() {
                stale.insert(host);
            }
        }
        for (ca, host) in spent {
            self.queues.spent(ca, &host, view(world, now));
        }
        self.queues.pass(view(world, now));
        for host in stale {
            self.reassess(host, world, policy, now, &mut plan);
        }
        while let Some((_, host)) = self.fresh.pop_first() {
            let asker = world.want(&host).and_then(|want| want.askers.first().cloned());
            let namespace = asker.map_or_else(Box::default, |asker| asker.namespace.clone());
            if world.activity(&host).is_some() {
                world.turns_mut().rejoin(&host);
            } else {
                world.turns_mut().join(&host, &namespace);
            }
            self.reassess(host, world, policy, now, &mut plan);
        }
        plan.wake_at = self.due.first().map(|(at, _)| *at);
        plan
    }

    /// Where a certificate stands that waits for its turn.
    #[must_use]
    pub fn turn_of(&self, host: &Hostname, world: &World, now: Timestamp) -> Option<Turn> {
        let standing = self.assessed.get(host)?.place?;
        let outlook = self.outlook(standing.ca, world);
        let mut turn = self.queues.turn(standing, host, &outlook, view(world, now));
        if turn.gate == Gate::Pace
            && let Pace::Even(_) = standing.rank.pace
            && let Some(hurries_at) = self.hurries_at(host, world)
        {
            turn.at = turn.at.min(hurries_at.max(now));
        }
        Some(turn)
    }

    /// When a renewal keeps the pace of the fleet no more: its time is over, or it has become urgent.
    fn hurries_at(&self, host: &Hostname, world: &World) -> Option<Timestamp> {
        let facts = best(host, world)?;
        let rule = Rule {
            threshold: self.manner.threshold?,
            spread: self.manner.spread,
            hint: world.hint(host),
        };
        earlier(rule.latest(facts), Some(endangered_at(facts, rule)))
    }

    /// The verdict on a certificate in full, with its turn where it waits for one, and the page on which the CA explains when
    /// it wants the certificate renewed.
    #[must_use]
    pub fn explain(&self, host: &Hostname, world: &World, now: Timestamp) -> Option<String> {
        let reason = &self.verdict(host)?.reason;
        let mut text = reason.to_string();
        let place = self.assessed.get(host)?.place;
        let at = match reason.state() {
            State::Issuing => Some(world.ca_of(host)),
            State::Queued => place.map(|place| place.ca),
            State::Conflict
            | State::Failed
            | State::Held
            | State::Stalled
            | State::Unwanted
            | State::Valid => None,
        };
        if let Some(name) = at.and_then(|ca| world.name_of(ca)) {
            text.push_str("; at CA ");
            text.push_str(name);
        }
        if let Some(turn) = self.turn_of(host, world, now) {
            text.push_str(&format!("; it is {turn}"));
        } else if reason.state() == State::Queued {
            text.push_str("; the CA is asked first whether it wants it renewed");
        }
        if reason.state() == State::Valid
            && let Some(profile) = world.profile(host)
        {
            text.push_str("; of profile ");
            text.push_str(profile);
        }
        if let Some(page) = world.explanation(host) {
            text.push_str("; the CA explains that at ");
            text.push_str(page);
        }
        Some(text)
    }

    /// When time alone changes something.
    fn wake_at(&self, world: &World, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
        let due = self.due.first().map(|(at, _)| *at);
        let room = self.running.len() < policy.orders_at_once.max(1);
        let gates = room
            .then(|| self.queues.wake_at(self.opens(world, policy), view(world, now)))
            .flatten();
        let spills = self.spills_at.filter(|at| room && *at > now);
        let saves = world
            .cas()
            .all()
            .filter_map(|(ca, _)| world.ledger(ca).save_at(now));
        let save = saves.filter(|at| *at > now).min();
        let poll = world.next_question_at(now);
        let poll = poll.map(|at| world.turns().next_poll().map_or(at, |pace| pace.max(at)));
        let poll = poll.filter(|_| world.asking() < POLLS_AT_ONCE);
        let windows = world.save_windows_at(now).filter(|at| *at > now);
        [due, gates, spills, save, poll, windows]
            .into_iter()
            .flatten()
            .min()
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
        if !self.running.contains_key(&host) {
            let rested = matches!(world.activity(&host), Some(Activity::Resting(rest)) if !rest.noted);
            world.turns_mut().end(&host, !rested, now);
        }
        let before = self.remove(&host, view(world, now));
        if world.want(&host).is_none() {
            self.drop_unwanted(&host, world, policy, now);
        }
        let mut conclusion = assess(&host, world, policy, now);
        if follow(&host, conclusion.as_ref(), world, now) {
            // It may have rested on what the CA said of another certificate that lasts as long.
            conclusion = assess(&host, world, policy, now);
        }
        let Some(Assessment {
            reason,
            rank,
            ca,
            counted,
            revisit,
            followed: _,
            usual,
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
        if reason.state() == State::Valid {
            world.turns_mut().leave(&host, false);
        }
        // Who is new gets a turn first, all of them in order of arrival.
        let is_new = rank.is_some_and(|rank| rank.urgency == Urgency::New);
        let is_fresh = is_new && !has_order(world.activity(&host)) && world.turns().of(&host).is_none();
        if is_fresh {
            let arrival = world.want(&host).map_or(0, |want| want.arrival);
            self.fresh.insert((arrival, host.clone()));
        }
        let place = rank
            .filter(|_| !is_fresh)
            .map(|rank| Standing { rank, ca, counted });
        if let Some(standing) = place {
            self.queues.insert(standing, &host, view(world, now));
            self.flows.waiting.add(standing.rank.pace.flow());
        }
        self.flows.usual.add(usual);
        *self.counts.entry(reason.state()).or_default() += 1;
        self.assessed.insert(
            host,
            Assessed {
                verdict: Verdict { reason, since },
                place,
                usual,
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
        let goal = match (goal(host, world), self.running.get(host)) {
            // Begun to be cleaned up, it goes on being cleaned up as long as nobody asks.
            (Goal::Carried, Some(Goal::Unwanted)) => Goal::Unwanted,
            (goal, _) => goal,
        };
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
        if let Some(next) = world
            .spaced_until(host, policy.issue_grace)
            .filter(|next| *next > now)
        {
            self.due.insert((next, host.clone()));
        }
    }

    fn remove(&mut self, host: &Hostname, view: View<'_>) -> Option<Assessed> {
        let before = self.assessed.remove(host)?;
        if let Some(at) = before.revisit {
            self.due.remove(&(at, host.clone()));
        }
        if let Some(standing) = before.place {
            self.queues.remove(standing, host, view);
            self.flows.waiting.take(standing.rank.pace.flow());
        }
        self.flows.usual.take(before.usual);
        if let Some(count) = self.counts.get_mut(&before.verdict.reason.state()) {
            *count -= 1;
        }
        Some(before)
    }

    /// Asks the CA about certificates whose time to be asked about has come, at an even pace. That changes no verdict, so
    /// nothing is judged anew.
    fn poll(world: &mut World, now: Timestamp, plan: &mut Plan) {
        let later = |at: Option<Timestamp>| at.is_some_and(|at| at > now);
        while world.asking() < POLLS_AT_ONCE
            && !later(world.turns().next_poll())
            && let Some((certificate, question)) = world.next_question(now)
        {
            world.turns_mut().poll(now);
            plan.actions.push(Action::AskHint {
                certificate,
                question,
            });
        }
    }
}

/// Keeps up which certificates the CA is asked about; whether what it said of another one for the host has been dropped.
fn follow(host: &Hostname, conclusion: Option<&Assessment>, world: &mut World, now: Timestamp) -> bool {
    let followed = conclusion.filter(|assessment| assessment.followed);
    let pressing = match followed.map(|assessment| assessment.reason.state()) {
        Some(State::Valid) => Pressing::Routine,
        Some(_) | None => Pressing::Awaited,
    };
    let id = followed.and_then(|_| best(host, world)?.id.clone());
    world.follow(host, id.as_ref(), pressing, now)
}

fn view(world: &World, now: Timestamp) -> View<'_> {
    View { world, now }
}

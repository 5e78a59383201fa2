//! The loop: what was seen goes into the [`World`], a plan comes out, its actions are started, their outcomes are seen.
//!
//! It owns the world and every task, and contains no rule: what to do is `core::plan`'s, how an order goes is `act`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::Activity;
use faythe_core::budget::Spending;
use faythe_core::name::Hostname;
use faythe_core::order::{Goal, Stage};
use faythe_core::plan::{Action, Plan, Planner};
use faythe_core::problem::{ProblemKind, Scope};
use faythe_core::schedule;
use faythe_core::world::World;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::act::{self, Order, Outcome, Outside, Pause, Progress};
use crate::clock::Steps;
use crate::report::Report;
use crate::report::metrics::Issuance;
use crate::source::Seen;
use crate::store::recall::SeenDemands;
use crate::store::secrets::SeenSecret;

mod errands;
mod rest;
mod strays;
mod term;

use errands::{Errand, Legacy};
use strays::Strays;
use term::Leadership;

/// How long running steps may take after the signal to stop; Kubernetes gives 30 s as a rule.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the last things may take to be saved at the end.
const LAST_SAVE: Duration = Duration::from_secs(5);
/// Inputs taken in before the next plan, so that a flood of them still lets orders start.
const BATCH: usize = 2_000;

/// What the loop watches.
pub struct Inputs {
    /// What Ingresses say.
    pub requests: BoxStream<'static, Seen>,
    /// What Secrets hold.
    pub secrets: BoxStream<'static, SeenSecret>,
    /// What is asked for by hand where no certificate is held.
    pub demands: BoxStream<'static, SeenDemands>,
}

/// Why the loop ended though nobody stopped it.
#[derive(Debug, Error)]
pub enum RunError {
    /// A stream that never ends has ended.
    #[error("the watch of {0} has ended")]
    Ended(&'static str),
    /// A task has panicked.
    #[error("an order's task has failed")]
    Task(#[source] tokio::task::JoinError),
}

/// Runs until `stop`, then lets running steps finish.
///
/// # Errors
/// When a part that must not end has ended.
pub async fn run(
    mut inputs: Inputs,
    outside: Arc<Outside>,
    report: Report,
    heartbeat: Duration,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let (progress, mut told) = mpsc::unbounded_channel();
    let mut tenure = outside.tenure.clone();
    let mut state = Loop {
        world: World::with_cas(outside.policy.zones.clone(), outside.cas.clone()),
        planner: Planner::new(),
        parked: BTreeMap::new(),
        steering: BTreeMap::new(),
        tasks: JoinSet::new(),
        errands: JoinSet::new(),
        outside: Arc::clone(&outside),
        progress,
        report,
        stop: stop.clone(),
        halt: stop.child_token(),
        reading: None,
        leadership: Leadership::default(),
        strays: Strays::default(),
        steps: Steps::new((outside.now)()),
    };
    // Whoever does not lead reads the notes too, so as to say what is true.
    state.read_notes();
    state.led(tenure.current());
    state.take_up();
    let mut wake = heartbeat;
    loop {
        tokio::select! {
            term = tenure.changed(state.leadership.term) => state.led(term),
            seen = inputs.requests.next() => state.requests(seen.ok_or(RunError::Ended("Ingresses"))?),
            seen = inputs.secrets.next() => state.secrets(seen.ok_or(RunError::Ended("Secrets"))?),
            seen = inputs.demands.next() => state.demands(seen.ok_or(RunError::Ended("demands"))?),
            Some(progress) = told.recv() => state.progress(progress),
            Some(ended) = state.tasks.join_next() => state.ended(ended, &mut told)?,
            Some(errand) = state.errands.join_next() => state.errand(errand.map_err(RunError::Task)?),
            saved = term::read(&mut state.reading) => state.noted(saved),
            () = outside.dns.read().repaired() => state.repaired(),
            () = tokio::time::sleep(wake) => {}
            () = stop.cancelled() => break,
        }
        // Whatever waits already goes into the same plan.
        for _ in 0..BATCH {
            if let Some(seen) = inputs.requests.next().now_or_never() {
                state.requests(seen.ok_or(RunError::Ended("Ingresses"))?);
            } else if let Some(seen) = inputs.secrets.next().now_or_never() {
                state.secrets(seen.ok_or(RunError::Ended("Secrets"))?);
            } else if let Ok(progress) = told.try_recv() {
                state.progress(progress);
            } else if let Some(ended) = state.tasks.try_join_next() {
                state.ended(ended, &mut told)?;
            } else if let Some(errand) = state.errands.try_join_next() {
                state.errand(errand.map_err(RunError::Task)?);
            } else {
                break;
            }
        }
        state.take_up();
        wake = state.turn().min(heartbeat);
    }
    tracing::info!(
        orders = state.tasks.len(),
        "stopping: nothing new begins, running steps finish"
    );
    let drained = async {
        while let Some(ended) = state.tasks.join_next().await {
            // What a CA has said at last is kept for whoever comes next; one that has failed is at its end too.
            let _ = state.ended(ended, &mut told);
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some steps did not finish in time; they are taken up at the next start");
    }
    while let Ok(progress) = told.try_recv() {
        state.progress(progress);
    }
    if tokio::time::timeout(LAST_SAVE, state.close()).await.is_err() {
        tracing::warn!("what is counted, and what the CA says about renewals, could not be saved in time");
    }
    Ok(())
}

struct Loop {
    world: World,
    planner: Planner,
    /// Orders that rest, with what is known of them.
    parked: BTreeMap<Hostname, Order>,
    steering: BTreeMap<Hostname, watch::Sender<Goal>>,
    tasks: JoinSet<(Hostname, Order, Outcome)>,
    errands: JoinSet<Errand>,
    outside: Arc<Outside>,
    progress: mpsc::UnboundedSender<Progress>,
    report: Report,
    stop: CancellationToken,
    /// Stops what was begun in this term, between two steps.
    halt: CancellationToken,
    /// The notes, while they are being read.
    reading: Option<BoxFuture<'static, Legacy>>,
    leadership: Leadership,
    strays: Strays,
    steps: Steps,
}

impl Loop {
    /// What time it is. Where the clock has been set, what was reckoned by it goes along first: no bucket of the ledger looks
    /// fuller than the CA has it.
    fn now(&mut self) -> Timestamp {
        let now = (self.outside.now)();
        if let Some(by) = self.steps.step(now) {
            tracing::warn!(
                seconds = by.as_secs(),
                "our clock has been set, or this machine has slept; the CA's limits go on from where they were"
            );
            self.world.clock_set(by, now);
        }
        if let Some(by) = self.outside.witness.ahead(now) {
            self.world.set_clock_ahead(by);
        }
        for (ca, _) in self.outside.cas.all() {
            if let Some(by) = self.outside.desk(ca).ca.read().clock_ahead() {
                self.world.set_ca_clock_ahead(ca, by);
            }
        }
        now
    }

    /// Plans, starts what is to be started, and answers how long nothing will happen by itself.
    fn turn(&mut self) -> Duration {
        let now = self.now();
        let plan = if self.leadership.acts {
            self.planner.turn(&mut self.world, &self.outside.policy, now)
        } else {
            self.planner.look(&mut self.world, &self.outside.policy, now)
        };
        self.check(&plan, now);
        self.keep_ledgers();
        self.keep_windows();
        self.look_for_strays();
        for host in &plan.changed {
            self.make_room(host);
        }
        for action in &plan.actions {
            match action {
                Action::Drive { host, goal } => self.start(host, *goal),
                Action::Steer { host, goal } => {
                    if let Some(steering) = self.steering.get(host) {
                        steering.send_replace(*goal);
                    }
                }
                Action::Forget(host) => self.forget(host.clone()),
                Action::AskHint {
                    certificate,
                    question,
                } => self.ask_hint(certificate.clone(), *question),
            }
        }
        let refusals = self.world.take_refusals();
        if self.leadership.acts {
            self.report.refuse(refusals);
        }
        self.report
            .publish(&plan, &self.planner, &self.world, &self.outside.policy, now);
        self.outside.board.prune(now);
        plan.wake_at.map_or(Duration::MAX, |at| {
            Duration::try_from(now.duration_until(at)).unwrap_or_default()
        })
    }

    /// The independent check of plans; too dear for every turn of a release with 100,000 certificates.
    fn check(&self, plan: &Plan, now: Timestamp) {
        if cfg!(debug_assertions) && self.world.is_known() {
            let outcome =
                faythe_core::audit::audit(plan, &self.planner, &self.world, &self.outside.policy, now);
            debug_assert!(outcome.is_ok(), "the plan breaks a law: {outcome:?}");
        }
    }

    fn start(&mut self, host: &Hostname, goal: Goal) {
        let Some(zone) = self.outside.policy.zones.of(host.base()) else {
            return;
        };
        let ca = self.world.ca_of(host);
        let parked = self.parked.remove(host).filter(|order| order.is_at(ca));
        let mut order = parked.unwrap_or_else(|| Order::new(host.clone(), zone.apex.clone(), ca));
        let (failures, given_up) = (self.world.failures(host), self.world.given_up(host));
        order.remember(
            failures.cloned(),
            given_up.cloned(),
            self.world.demand(host),
            self.world.last_look(host),
        );
        let rule = self.world.rule(host, &self.outside.policy);
        order.entitle(self.world.grant(host), self.world.predecessor(host, ca), rule);
        let now = self.now();
        order.follow_early(self.world.early(host, &self.outside.policy, now));
        let (steering, goal) = watch::channel(goal);
        self.steering.insert(host.clone(), steering);
        let outside = Arc::clone(&self.outside);
        let progress = self.progress.clone();
        let halt = self.halt.clone();
        let host = host.clone();
        // Announced before any of the orders that start together runs, so that neighbors see each other.
        outside.board.prepare(&host);
        self.tasks.spawn(async move {
            let (order, outcome) = act::drive(order, &outside, goal, &progress, &halt).await;
            (host, order, outcome)
        });
    }

    /// Drops saved failures of a certificate that nobody asks for; a leftover is dropped at a later start.
    fn forget(&mut self, host: Hostname) {
        let outside = Arc::clone(&self.outside);
        let zone = self.outside.policy.zones.of(host.base());
        let ca = self.world.ca_of(&host);
        let Some(zone) = zone.map(|zone| zone.apex.clone()) else {
            return;
        };
        self.tasks.spawn(async move {
            let forgotten = match outside.store.act() {
                Ok(store) => store.forget(&host).await.map_err(|error| act::chain(&error)),
                Err(error) => Err(error.to_string()),
            };
            let outcome = match forgotten {
                Ok(()) => Outcome::Settled,
                Err(why) => {
                    tracing::debug!(%host, why, "what is saved of it is left for later");
                    Outcome::Stopped
                }
            };
            (host.clone(), Order::new(host, zone, ca), outcome)
        });
    }

    // ---- what is seen ----

    fn requests(&mut self, seen: Seen) {
        match seen {
            Seen::All(all) => self.world.ask_all(all),
            Seen::Changed { asker, hosts } => {
                let before = self.world.elsewhere();
                let ingress = asker.to_string();
                self.world.ask(asker, &hosts);
                if self.world.elsewhere() > before {
                    tracing::debug!(%ingress, ?hosts, "some hosts are outside every zone and are ignored");
                }
            }
            Seen::Gone { namespace, name } => self.world.stop_asking(&namespace, &name),
        }
    }

    fn secrets(&mut self, seen: SeenSecret) {
        let now = self.now();
        match seen {
            SeenSecret::Listing => self.world.list_held(),
            SeenSecret::All(all) => {
                let all = all.into_iter().map(|(host, held)| (host, held.by(now)));
                self.world.hold_all(all.collect());
            }
            SeenSecret::Changed { host, held, .. } => self.world.hold(host, held.by(now)),
            SeenSecret::Gone { secret } => self.world.release(&secret),
        }
    }

    fn demands(&mut self, seen: SeenDemands) {
        for (host, demand) in seen {
            self.world.set_demand(&host, demand);
        }
    }

    /// Updates may succeed now that were refused before.
    fn repaired(&mut self) {
        let now = self.now();
        self.world.wake(&[Stage::Publishing, Stage::CleaningUp], now);
    }

    fn progress(&mut self, progress: Progress) {
        match progress {
            Progress::CaAnswered(ca) => self.world.clear_trouble(ca),
            Progress::Caa(host, ca, None) => self.world.permit(&host, ca),
            Progress::Caa(host, ca, Some(text)) => self.exclude(&host, ca, text),
            Progress::Irreplaceable(host) => self.world.set_irreplaceable(&host),
            Progress::Spent(host, what) => {
                let now = self.now();
                self.world.tell(&host, what, now);
            }
            Progress::Stage(host, stage) => {
                if matches!(self.world.activity(&host), Some(Activity::Running(_))) {
                    self.world.set_activity(&host, Some(Activity::Running(stage)));
                }
            }
            Progress::Held { host, held, issued } => {
                if let (Some(issued), Ok(facts)) = (issued, &held.content) {
                    let act::Issued { took, without } = *issued;
                    let mut text = format!(
                        "{host}: certificate issued by {} in {:.1} s, valid until {}, in Secret {}",
                        facts.issuer,
                        took.as_secs_f64(),
                        facts.not_after,
                        held.secret
                    );
                    if !without.is_empty() {
                        text.push_str("; done without name servers: ");
                        text.push_str(&without.join("; "));
                    }
                    tracing::info!(%host, serial = facts.serial, seconds = took.as_secs_f64(), "certificate issued");
                    self.outside
                        .metrics
                        .issuance(&host, Issuance::Succeeded, Some(took));
                    self.report.issued(&host, text, &facts.serial, &self.world);
                    self.world.mended(&host);
                    self.world.set_failures(&host, None);
                    self.world.set_given_up(&host, None);
                }
                // Whoever has stored it, and whether or not that was answered.
                let now = self.now();
                let held = held.by(now);
                let failures = self.world.failures(&host);
                if failures.is_some_and(|failures| failures.is_ended_by(held.issued_at)) {
                    self.world.set_failures(&host, None);
                }
                self.world.hold_ours(&host, held);
            }
        }
    }

    fn ended(
        &mut self,
        ended: Result<(Hostname, Order, Outcome), tokio::task::JoinError>,
        told: &mut mpsc::UnboundedReceiver<Progress>,
    ) -> Result<(), RunError> {
        // What it told before it ended comes first.
        while let Ok(progress) = told.try_recv() {
            self.progress(progress);
        }
        let (host, order, outcome) = ended.map_err(RunError::Task)?;
        self.steering.remove(&host);
        let now = self.now();
        let lives = matches!(
            outcome,
            Outcome::Blocked { noted: true, .. } | Outcome::Rested { noted: true, .. } | Outcome::Stopped
        );
        if !lives {
            self.world.tell(&host, Spending::Ended, now);
        }
        let stopped = matches!(outcome, Outcome::Stopped);
        let activity = match outcome {
            Outcome::Settled => None,
            // In a term that goes on: for a moment it was in doubt whether we lead.
            Outcome::Stopped => order.is_noted().then_some(Activity::Noted),
            Outcome::Blocked { reason, noted } => {
                self.world.take(&host, reason, now);
                noted.then_some(Activity::Noted)
            }
            Outcome::Failed(failures) => {
                self.outside.metrics.fault(&failures.code);
                self.outside.metrics.issuance(&host, Issuance::Failed, None);
                // The limit of the name at this CA: another may be asked meanwhile.
                if failures.code == ProblemKind::RateLimited.as_str()
                    && let Some(until) = failures.not_before
                {
                    self.world.limit_reached(&host, &Scope::Name, until, now);
                }
                self.world.set_failures(&host, Some(failures));
                self.world.set_given_up(&host, None);
                None
            }
            Outcome::GivenUp(given_up) => {
                self.outside.metrics.fault(&given_up.code);
                self.outside.metrics.issuance(&host, Issuance::Stalled, None);
                self.world.set_given_up(&host, Some(given_up));
                None
            }
            Outcome::Rested {
                noted,
                stage,
                fault,
                tries,
            } => {
                self.outside.metrics.fault(&fault.code);
                self.outside.metrics.issuance(&host, Issuance::Stalled, None);
                // A limit that is reached tells the ledger what it did not know.
                if let Pause::Rest {
                    hold: Some((scope, Some(wait))),
                    ..
                } = &fault.pause
                    && matches!(scope, Scope::Below(_) | Scope::Orders)
                {
                    let until = schedule::after(now, *wait);
                    self.world.limit_reached(&host, scope, until, now);
                }
                Some(Activity::Resting(
                    self.rest(&host, noted, stage, fault, tries, now),
                ))
            }
        };
        if order.has_place() {
            self.world.free(&host);
        }
        // Whoever leads goes on with it from its note.
        let activity = activity.filter(|_| self.leadership.acts);
        let unnoted = order.is_unnoted() && (stopped || !self.leadership.acts);
        if activity.is_some() || unnoted {
            self.parked.insert(host.clone(), order);
        }
        self.world.set_activity(&host, activity);
        self.make_room(&host);
        Ok(())
    }
}

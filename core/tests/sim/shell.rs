//! A model of the program around the decisions: it owns the world, gathers what is known of an order, performs steps.
//!
//! As simple as it can be and still do what `src/run.rs` and `src/act.rs` do; it contains no rule of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Activity, Hold, Rest};
use faythe_core::audit::audit;
use faythe_core::cert::{Held, Standing, standing};
use faythe_core::name::{Hostname, RecordName};
use faythe_core::order::{
    CaLook, CaView, Challenge, ChallengeStatus, End, Goal, Known, Neighbors, Note, OrderStatus, Place,
    Published, Stage, Step, next,
};
use faythe_core::plan::{Action, Planner};
use faythe_core::policy::Policy;
use faythe_core::problem::{Exchange, Problem, Reaction, Scope};
use faythe_core::schedule::{self, Failures, after, ahead};
use faythe_core::want::Asker;
use faythe_core::world::World;
use jiff::SignedDuration;

use crate::laws::Laws;
use crate::outside::{CaFault, Change, Outside, Saved, secret_name};

/// How long a step that waits for others is waited for before the order rests.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);
/// How long the CA may take before the order rests.
const CA_PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// An order that has not published its value by then is waited for no longer.
const PREPARING_AT_MOST: SignedDuration = SignedDuration::from_secs(10);

/// The process: all of it is lost when it dies.
pub(crate) struct Shell {
    pub(crate) world: World,
    pub(crate) planner: Planner,
    pub(crate) wake_at: Option<Timestamp>,
    /// When Ingresses and Secrets were listed; what watches tell of earlier is old.
    pub(crate) listed: [Option<Timestamp>; 2],
    policy: Policy,
    parked: BTreeMap<Hostname, Order>,
    running: BTreeMap<Hostname, Running>,
    board: BTreeMap<RecordName, Board>,
    works: u64,
}

struct Running {
    work: u64,
    order: Order,
    goal: Goal,
}

/// Orders that share a challenge record.
#[derive(Default)]
struct Board {
    preparing: BTreeMap<Hostname, Timestamp>,
    looks: BTreeMap<Hostname, CaLook>,
    /// For orders of an earlier process, by URL, of which it is not known how far they were when it died.
    earlier: BTreeMap<String, CaLook>,
}

/// An order in memory.
#[derive(Clone)]
struct Order {
    host: Hostname,
    note: Option<Note>,
    place: Option<Place>,
    /// The version of the Secret that was seen there.
    slot: Option<Box<str>>,
    session: Option<usize>,
    view: Option<CaView>,
    published: Published,
    failures: Option<Failures>,
    earlier_look: Option<Timestamp>,
    doom: Option<Failures>,
    abandoned: Option<Fault>,
    stage: Stage,
    tries: u32,
    /// Since when and how often something under way was looked at.
    polling: Option<(Timestamp, u32)>,
    conflicts: u32,
}

#[derive(Clone)]
struct Fault {
    code: &'static str,
    pause: Pause,
}

#[derive(Clone)]
enum Pause {
    Abandon,
    Doom {
        parked: bool,
        wait: Option<Duration>,
    },
    Rest {
        wait: Option<Duration>,
        hold: Option<(Scope, Option<Duration>)>,
    },
}

/// What a step leads to.
pub(crate) enum Then {
    /// The next one, after so long.
    After(Duration),
    /// The work has ended.
    Ended,
}

enum Done {
    GoOn(Duration),
    Ended(Outcome),
}

enum Outcome {
    Blocked,
    Failed(Failures),
    Rested(Fault),
    Settled,
}

/// What the loop is told while an order goes on.
enum Progress {
    CaAnswered,
    Held { held: Held, issued: bool },
}

impl Shell {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            world: World::new(policy.zones.clone()),
            planner: Planner::new(),
            wake_at: None,
            listed: [None; 2],
            policy,
            parked: BTreeMap::new(),
            running: BTreeMap::new(),
            board: BTreeMap::new(),
            works: 0,
        }
    }

    // ---- what is seen ----

    pub(crate) fn list_ingresses(&mut self, outside: &Outside) {
        let all = outside.cluster.ingresses.iter();
        self.world
            .ask_all(all.map(|(name, hosts)| (asker(name), hosts.clone())).collect());
        self.listed[0] = Some(outside.now);
    }

    pub(crate) fn list_secrets(&mut self, outside: &Outside) {
        let all = outside.cluster.secrets.values();
        self.world.hold_all(
            all.map(|(host, held)| (Some(host.clone()), held.clone()))
                .collect(),
        );
        self.listed[1] = Some(outside.now);
    }

    pub(crate) fn read_notes(&mut self, outside: &Outside) {
        let mut orders = Vec::new();
        let mut failures = Vec::new();
        for (host, saved) in &outside.cluster.notes {
            failures.extend(saved.failures.clone().map(|failures| (host.clone(), failures)));
            if let Some(note) = &saved.order {
                let mut order = Order::new(host.clone());
                order.note = Some(note.clone());
                self.parked.insert(host.clone(), order);
                orders.push(host.clone());
                let look = CaLook {
                    from: note.created,
                    until: Some(outside.now),
                };
                let url = note.order_url.clone();
                self.board_of(host).earlier.insert(url, look);
            }
        }
        self.world.note_all(orders, failures);
    }

    /// What a watch tells of a change made at `when`.
    pub(crate) fn watch(&mut self, change: Change, when: Timestamp) {
        let kind = usize::from(matches!(change, Change::Secret(..)));
        if self.listed[kind].is_none_or(|listed| when <= listed) {
            return;
        }
        match change {
            Change::Ingress(name, Some(hosts)) => self.world.ask(asker(&name), &hosts),
            Change::Ingress(name, None) => self.world.stop_asking("web", &name),
            Change::Secret(_, Some((host, held))) => self.world.hold(Some(host), held),
            Change::Secret(name, None) => self.world.release(&name),
        }
    }

    // ---- the loop ----

    /// Plans; answers the work that begins, and the hosts to be forgotten.
    pub(crate) fn turn(&mut self, now: Timestamp, laws: &mut Laws) -> (Vec<(Hostname, u64)>, Vec<Hostname>) {
        let plan = self.planner.turn(&mut self.world, &self.policy, now);
        self.wake_at = plan.wake_at;
        laws.turns += 1;
        if self.world.is_known()
            && (!plan.actions.is_empty() || laws.turns.is_multiple_of(20))
            && let Err(broken) = audit(&plan, &self.planner, &self.world, &self.policy, now)
        {
            laws.break_law(now, &broken.join("; "));
        }
        let mut begun = Vec::new();
        let mut forgotten = Vec::new();
        for action in plan.actions {
            match action {
                Action::Drive { host, goal } => begun.push(self.begin(host, goal, now, laws)),
                Action::Steer { host, goal } => {
                    if let Some(running) = self.running.get_mut(&host) {
                        running.goal = goal;
                    }
                }
                Action::Forget(host) => forgotten.push(host),
            }
        }
        (begun, forgotten)
    }

    fn begin(&mut self, host: Hostname, goal: Goal, now: Timestamp, laws: &mut Laws) -> (Hostname, u64) {
        laws.law(
            !self.running.contains_key(&host),
            now,
            "two works on one certificate",
        );
        let mut order = self
            .parked
            .remove(&host)
            .unwrap_or_else(|| Order::new(host.clone()));
        order.failures = self.world.failures(&host).cloned();
        order.earlier_look = self.world.last_look(&host);
        (order.place, order.slot, order.polling) = (None, None, None);
        self.board_of(&host).preparing.insert(host.clone(), now);
        self.works += 1;
        self.running.insert(
            host.clone(),
            Running {
                work: self.works,
                order,
                goal,
            },
        );
        laws.works += 1;
        (host, self.works)
    }

    /// What was saved of a host that nobody asks for is gone, or could not be removed.
    pub(crate) fn forgot(&mut self, host: &Hostname) {
        self.world.set_activity(host, None);
    }

    /// Makes one step of the work; `None` when there is no such work any more.
    pub(crate) fn step(
        &mut self,
        host: &Hostname,
        work: u64,
        outside: &mut Outside,
        laws: &mut Laws,
    ) -> Option<Then> {
        let mut running = self.running.remove(host).filter(|running| running.work == work)?;
        let now = outside.now;
        let step = self.next_step(&running, now);
        laws.steps += 1;
        if step.stage() != running.order.stage {
            running.order.stage = step.stage();
            self.world
                .set_activity(host, Some(Activity::Running(step.stage())));
        }
        let mut progress = Vec::new();
        let done = self.perform(&mut running.order, &step, outside, laws, &mut progress);
        for progress in progress {
            self.progress(host, progress);
        }
        let outcome = match done {
            Ok(Done::GoOn(pause)) => {
                self.running.insert(host.clone(), running);
                return Some(Then::After(pause));
            }
            Ok(Done::Ended(outcome)) => outcome,
            Err(fault) => match running.order.settle(fault, now) {
                Some(outcome) => outcome,
                None => {
                    self.running.insert(host.clone(), running);
                    return Some(Then::After(Duration::ZERO));
                }
            },
        };
        self.ended(running.order, outcome, now);
        Some(Then::Ended)
    }

    /// The process dies within the step: its effect is there, and nobody knows of it.
    pub(crate) fn die_within_steps(&mut self, outside: &mut Outside, laws: &mut Laws) {
        for (_, running) in std::mem::take(&mut self.running) {
            if outside.dice.chance(500) {
                let step = self.next_step(&running, outside.now);
                let mut order = running.order;
                let _ = self.perform(&mut order, &step, outside, laws, &mut Vec::new());
            }
        }
    }

    fn next_step(&mut self, running: &Running, now: Timestamp) -> Step {
        let neighbors = self.neighbors(&running.order, now);
        let order = &running.order;
        let doomed = order.doom.as_ref().map(|_| CaView {
            status: OrderStatus::Invalid,
            challenges: Vec::new(),
            problem: None,
            expires: None,
            retry_after: None,
        });
        let abandoned = order.abandoned.is_some();
        let known = Known {
            goal: if abandoned { Goal::Unwanted } else { running.goal },
            place: order.place,
            note: order.note.as_ref(),
            ca: if abandoned {
                None
            } else {
                doomed.as_ref().or(order.view.as_ref())
            },
            published: order.published,
            neighbors: &neighbors,
        };
        next(&known, now)
    }

    fn progress(&mut self, host: &Hostname, progress: Progress) {
        match progress {
            Progress::CaAnswered => self.world.clear_trouble(),
            Progress::Held { held, issued } => {
                if issued {
                    self.world.set_failures(host, None);
                }
                self.world.hold(Some(host.clone()), held);
            }
        }
    }

    fn ended(&mut self, order: Order, outcome: Outcome, now: Timestamp) {
        let host = order.host.clone();
        self.board_of(&host).preparing.remove(&host);
        let activity = match outcome {
            Outcome::Settled => None,
            Outcome::Blocked => {
                self.world.take(&host, "taken".into(), now);
                order.note.is_some().then_some(Activity::Noted)
            }
            Outcome::Failed(failures) => {
                self.world.set_failures(&host, Some(failures));
                None
            }
            Outcome::Rested(fault) => Some(Activity::Resting(self.rest(&order, &fault, now))),
        };
        if activity.is_some() {
            self.parked.insert(host.clone(), order);
        }
        self.world.set_activity(&host, activity);
    }

    fn rest(&mut self, order: &Order, fault: &Fault, now: Timestamp) -> Rest {
        let usual = schedule::rest(order.tries.saturating_sub(1));
        let wait = match &fault.pause {
            Pause::Rest { wait, hold } => {
                if let Some((scope, asked)) = hold {
                    self.leave_alone(scope.clone(), *asked, fault, now);
                }
                wait.unwrap_or(usual)
            }
            Pause::Abandon | Pause::Doom { .. } => usual.max(Duration::from_secs(60)),
        };
        Rest {
            noted: order.note.is_some(),
            stage: order.stage,
            code: fault.code.into(),
            text: fault.code.into(),
            tries: order.tries,
            until: after(now, wait),
        }
    }

    fn leave_alone(&mut self, scope: Scope, asked: Option<Duration>, fault: &Fault, now: Timestamp) {
        let before = self.world.hold_of(&scope);
        if asked.is_none() && before.is_some_and(|before| before.until > now) {
            return;
        }
        let tries = before.map_or(0, |before| before.tries).saturating_add(1);
        let until = after(now, asked.unwrap_or_else(|| schedule::ca_rest(tries - 1)));
        let code = fault.code.to_owned();
        self.world.set_hold(
            scope,
            Hold {
                until,
                code: code.clone(),
                text: code,
                tries,
                told: asked.is_some(),
            },
        );
    }

    // ---- neighbors ----

    fn board_of(&mut self, host: &Hostname) -> &mut Board {
        self.board.entry(host.challenge_record()).or_default()
    }

    fn neighbors(&mut self, order: &Order, now: Timestamp) -> Neighbors {
        let board = self.board_of(&order.host);
        let mut looks: Vec<CaLook> = board.looks.values().copied().collect();
        looks.extend(order.earlier_look.map(|at| CaLook {
            from: at,
            until: Some(at),
        }));
        let own = order.note.as_ref().map(|note| &note.order_url);
        let others = board.earlier.iter().filter(|(url, _)| Some(*url) != own);
        looks.extend(others.map(|(_, look)| *look));
        let preparing = board.preparing.iter();
        let mut preparing =
            preparing.filter(|(host, since)| **host != order.host && ahead(**since, PREPARING_AT_MOST) > now);
        Neighbors {
            preparing: preparing.next().is_some(),
            looks,
        }
    }

    fn told(&mut self, host: &Hostname, now: Timestamp) {
        let look = CaLook {
            from: now,
            until: None,
        };
        self.board_of(host)
            .looks
            .entry(host.clone())
            .or_insert(look)
            .until = None;
    }

    fn settled(&mut self, host: &Hostname, now: Timestamp) {
        if let Some(look) = self.board_of(host).looks.get_mut(host) {
            look.until.get_or_insert(now);
        }
    }

    // ---- steps ----

    fn perform(
        &mut self,
        order: &mut Order,
        step: &Step,
        outside: &mut Outside,
        laws: &mut Laws,
        progress: &mut Vec<Progress>,
    ) -> Result<Done, Fault> {
        let now = outside.now;
        let host = order.host.clone();
        match step {
            Step::Inspect => {
                outside.reach_cluster()?;
                let held = outside
                    .cluster
                    .secrets
                    .get(&secret_name(&host))
                    .map(|(_, held)| held.clone());
                order.slot = held.as_ref().map(|held| held.version.clone());
                let served = standing(&host, held.iter(), self.policy.threshold, now);
                order.place = Some(if outside.cluster.foreign.contains(&secret_name(&host)) {
                    Place::Taken
                } else if matches!(served, Standing::Fine { .. }) {
                    progress.extend(held.map(|held| Progress::Held { held, issued: false }));
                    Place::Served
                } else {
                    Place::Open
                });
            }
            Step::Open => {
                laws.opens(&host, outside);
                let opened = outside.ca.open(&host, now);
                let (session, _) = opened.map_err(|fault| Fault::ca(fault, Exchange::NewOrder))?;
                progress.push(Progress::CaAnswered);
                self.take_up(order, session, outside)?;
                order.tries = 0;
            }
            Step::Note => {
                outside.reach_cluster()?;
                let view = order.view.as_ref().unwrap();
                let session = order.session.unwrap();
                let note = Note {
                    host: host.clone(),
                    order_url: session.to_string(),
                    values: view
                        .challenges
                        .iter()
                        .map(|challenge| challenge.value.clone())
                        .collect(),
                    created: now,
                    expires: view.expires,
                };
                let saved = Saved {
                    order: Some(note.clone()),
                    failures: order.failures.clone(),
                };
                outside.cluster.save(&host, saved);
                laws.noted.insert(session);
                order.note = Some(note);
                order.tries = 0;
            }
            Step::Resume => {
                let session = order.note.as_ref().unwrap().order_url.parse().unwrap();
                self.take_up(order, session, outside)?;
            }
            Step::Publish => {
                order.published = Published::No;
                for value in &order.note.as_ref().unwrap().values {
                    outside
                        .dns
                        .publish(value, now, &mut outside.dice)
                        .map_err(|()| Fault::own("badkey"))?;
                }
                order.published = Published::Hidden;
                order.tries = 0;
            }
            Step::Look => {
                let note = order.note.as_ref().unwrap();
                if note.values.iter().all(|value| outside.dns.shows(value, now)) {
                    order.published = Published::Shown(now);
                    (order.tries, order.polling) = (0, None);
                    self.board_of(&host).preparing.remove(&host);
                } else {
                    let patience = if order.tries == 0 {
                        PATIENCE
                    } else {
                        SignedDuration::ZERO
                    };
                    return order.poll(now, patience, Fault::waiting("not-visible", 2));
                }
            }
            Step::AwaitNeighbors => return Ok(Done::GoOn(Duration::from_millis(250))),
            Step::AwaitCache(until) => {
                let wait = now.duration_until(*until).unsigned_abs();
                return Err(Fault {
                    code: "ca-cache",
                    pause: Pause::Rest {
                        wait: Some(wait),
                        hold: None,
                    },
                });
            }
            Step::Tell => {
                let visible = order
                    .note
                    .as_ref()
                    .unwrap()
                    .values
                    .iter()
                    .all(|value| outside.dns.shows(value, now));
                laws.law(visible, now, "the CA is told before the value is visible");
                self.told(&host, now);
                let session = order.session.unwrap();
                outside
                    .ca
                    .tell(session, now, &mut outside.dice)
                    .map_err(order_fault)?;
                order.view = Some(outside.ca.view(session, now).map_err(order_fault)?);
                order.tries = 0;
            }
            Step::Ask => {
                let before = order.view.as_ref().unwrap().status;
                let view = outside
                    .ca
                    .view(order.session.unwrap(), now)
                    .map_err(order_fault)?;
                let same = view.status == before;
                order.view = Some(view);
                if same {
                    let mut fault = Fault::own("ca-slow");
                    if schedule::is_hopeless(order.tries) {
                        fault.pause = Pause::Abandon;
                    }
                    let patience = if order.tries == 0 {
                        CA_PATIENCE
                    } else {
                        SignedDuration::ZERO
                    };
                    return order.poll(now, patience, fault);
                }
                if before == OrderStatus::Pending {
                    self.settled(&host, now);
                }
                order.doom_if_invalid(now);
                (order.tries, order.polling) = (0, None);
            }
            Step::Finalize => {
                let session = order.session.unwrap();
                outside
                    .ca
                    .finalize(session, now, &mut outside.dice)
                    .map_err(order_fault)?;
                order.view = Some(outside.ca.view(session, now).map_err(order_fault)?);
                order.tries = 0;
            }
            Step::Store => return self.store(order, outside, laws, progress),
            Step::Withdraw => {
                order.published = Published::No;
                for value in &order.note.as_ref().unwrap().values {
                    outside.dns.withdraw(value).map_err(|()| Fault::own("badkey"))?;
                }
                order.published = Published::Withdrawn;
                self.settled(&host, now);
            }
            Step::RecordFailure => {
                outside.reach_cluster()?;
                let failures = order.doom.clone().unwrap();
                outside.cluster.save(
                    &host,
                    Saved {
                        order: None,
                        failures: Some(failures.clone()),
                    },
                );
                return Ok(Done::Ended(Outcome::Failed(failures)));
            }
            Step::Forget => {
                outside.reach_cluster()?;
                outside.cluster.save(
                    &host,
                    Saved {
                        order: None,
                        failures: order.failures.clone(),
                    },
                );
                (order.note, order.session, order.view) = (None, None, None);
                order.published = Published::No;
            }
            Step::End(end) => {
                return Ok(Done::Ended(match (order.abandoned.take(), end) {
                    (Some(fault), _) => order.rested(fault),
                    (None, End::Blocked) => Outcome::Blocked,
                    (None, End::Settled) => Outcome::Settled,
                }));
            }
        }
        Ok(Done::GoOn(Duration::from_millis(
            outside.dice.between(1, 200).unsigned_abs(),
        )))
    }

    fn take_up(&mut self, order: &mut Order, session: usize, outside: &Outside) -> Result<(), Fault> {
        let view = outside.ca.view(session, outside.now).map_err(order_fault)?;
        if view.challenges.is_empty() {
            self.board_of(&order.host).preparing.remove(&order.host);
        }
        if view.status == OrderStatus::Pending {
            // Now it is known how far it was.
            self.board_of(&order.host).earlier.remove(&session.to_string());
            let looking = |challenge: &Challenge| challenge.status == ChallengeStatus::Processing;
            if view.challenges.iter().any(looking) {
                self.told(&order.host, outside.now);
            }
        }
        (order.session, order.view) = (Some(session), Some(view));
        order.doom_if_invalid(outside.now);
        Ok(())
    }

    fn store(
        &mut self,
        order: &mut Order,
        outside: &mut Outside,
        laws: &mut Laws,
        progress: &mut Vec<Progress>,
    ) -> Result<Done, Fault> {
        let now = outside.now;
        let facts = outside
            .ca
            .certificate(order.session.unwrap(), now)
            .map_err(order_fault)?;
        outside.reach_cluster()?;
        let name = secret_name(&order.host);
        let there = outside
            .cluster
            .secrets
            .get(&name)
            .map(|(_, held)| held.version.clone());
        if there != order.slot || outside.cluster.foreign.contains(&name) {
            order.place = None;
            order.conflicts += 1;
            return if order.conflicts > 3 {
                Err(Fault::own("store-conflict"))
            } else {
                Ok(Done::GoOn(Duration::ZERO))
            };
        }
        let held = Held {
            secret: name.into(),
            version: "".into(),
            content: Ok(facts),
            issued_at: Some(now),
        };
        let held = outside.cluster.write(&order.host, held);
        laws.stored(&order.host, order.session.unwrap(), now);
        order.place = Some(Place::Served);
        (order.failures, order.tries) = (None, 0);
        progress.push(Progress::Held { held, issued: true });
        Ok(Done::GoOn(Duration::from_millis(20)))
    }
}

impl Outside {
    fn reach_cluster(&self) -> Result<(), Fault> {
        if self.cluster.down {
            Err(Fault::own("store-unavailable"))
        } else {
            Ok(())
        }
    }
}

impl Order {
    fn new(host: Hostname) -> Self {
        Self {
            host,
            note: None,
            place: None,
            slot: None,
            session: None,
            view: None,
            published: Published::No,
            failures: None,
            earlier_look: None,
            doom: None,
            abandoned: None,
            stage: Stage::Ordering,
            tries: 0,
            polling: None,
            conflicts: 0,
        }
    }

    /// Waits for another look at something under way, or rests when it has taken too long.
    fn poll(&mut self, now: Timestamp, patience: SignedDuration, fault: Fault) -> Result<Done, Fault> {
        let (since, round) = self.polling.unwrap_or((now, 0));
        if ahead(since, patience) <= now {
            self.polling = None;
            return Err(fault);
        }
        self.polling = Some((since, round + 1));
        Ok(Done::GoOn(
            schedule::poll(Duration::ZERO, round + 1).max(Duration::from_millis(10)),
        ))
    }

    fn rested(&mut self, fault: Fault) -> Outcome {
        self.tries = self.tries.saturating_add(1);
        Outcome::Rested(fault)
    }

    fn settle(&mut self, fault: Fault, now: Timestamp) -> Option<Outcome> {
        match fault.pause {
            Pause::Doom { parked, wait } => {
                self.doom = Some(self.failure(fault.code, parked, wait, now));
                None
            }
            Pause::Abandon if self.note.is_some() && self.abandoned.is_none() => {
                self.abandoned = Some(fault);
                (self.session, self.view) = (None, None);
                None
            }
            Pause::Abandon | Pause::Rest { .. } => Some(self.rested(fault)),
        }
    }

    fn failure(&self, code: &str, parked: bool, wait: Option<Duration>, now: Timestamp) -> Failures {
        Failures {
            count: self
                .failures
                .as_ref()
                .map_or(0, |before| before.count)
                .saturating_add(1),
            last: now,
            code: code.to_owned(),
            text: code.to_owned(),
            not_before: wait.map(|wait| after(now, wait)),
            parked,
        }
    }

    fn doom_if_invalid(&mut self, now: Timestamp) {
        let Some(view) = self
            .view
            .as_ref()
            .filter(|view| view.status == OrderStatus::Invalid)
        else {
            return;
        };
        let Some(problem) = &view.problem else { return };
        match Fault::problem(problem, Exchange::Validation).pause {
            Pause::Abandon => self.abandoned = Some(Fault::own("order-invalid")),
            Pause::Doom { parked, wait } => {
                self.doom = Some(self.failure("order-invalid", parked, wait, now))
            }
            Pause::Rest { wait, .. } => self.doom = Some(self.failure("order-invalid", false, wait, now)),
        }
    }
}

impl Fault {
    /// A fault on our side of the CA.
    fn own(code: &'static str) -> Self {
        Self {
            code,
            pause: Pause::Rest {
                wait: None,
                hold: None,
            },
        }
    }

    fn waiting(code: &'static str, secs: u64) -> Self {
        Self {
            code,
            pause: Pause::Rest {
                wait: Some(Duration::from_secs(secs)),
                hold: None,
            },
        }
    }

    fn ca(fault: CaFault, during: Exchange) -> Self {
        match fault {
            CaFault::Refused(problem) => Self::problem(&problem, during),
            CaFault::Gone => Self {
                code: "order-gone",
                pause: Pause::Abandon,
            },
            CaFault::Unreachable => {
                let hold = Some((Scope::Account, None));
                Self {
                    code: "ca-unreachable",
                    pause: Pause::Rest { wait: None, hold },
                }
            }
        }
    }

    fn problem(problem: &Problem, during: Exchange) -> Self {
        let pause = match problem.reaction(during) {
            Reaction::Hold {
                scope: Scope::Name,
                wait,
            } => Pause::Doom { parked: false, wait },
            Reaction::Hold { scope, wait } => Pause::Rest {
                wait,
                hold: Some((scope, wait)),
            },
            Reaction::Later => Pause::Doom {
                parked: false,
                wait: problem.retry_after,
            },
            Reaction::Renew if during == Exchange::NewOrder => Pause::Rest {
                wait: Some(Duration::from_secs(60)),
                hold: None,
            },
            Reaction::Renew => Pause::Abandon,
            Reaction::Reread | Reaction::Soon => Pause::Rest {
                wait: problem.retry_after,
                hold: None,
            },
            Reaction::Stop => Pause::Doom {
                parked: true,
                wait: problem.retry_after,
            },
        };
        Self {
            code: problem.kind.as_str(),
            pause,
        }
    }
}

fn order_fault(fault: CaFault) -> Fault {
    Fault::ca(fault, Exchange::Order)
}

fn asker(name: &str) -> Asker {
    Asker {
        namespace: "web".into(),
        name: name.into(),
        uid: "1".into(),
    }
}

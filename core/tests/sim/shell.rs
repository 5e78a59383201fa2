//! A model of the program around the decisions: it owns the world, gathers what is known of an order, performs steps.
//!
//! As simple as it can be and still do what `src/run.rs` and `src/act.rs` do; it contains no rule of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Activity, Hold, Rest};
use faythe_core::audit::audit;
use faythe_core::budget::{Ledger, Limits, Record, Spending};
use faythe_core::cas::CaId;
use faythe_core::cert::Held;
use faythe_core::name::{Hostname, RecordName};
use faythe_core::order::{CaLook, CaView, Goal, Known, Neighbors, OrderStatus, Step, next};
use faythe_core::plan::{Action, Planner};
use faythe_core::policy::Policy;
use faythe_core::problem::Scope;
use faythe_core::schedule::{self, Failures, after, ahead};
use faythe_core::want::Asker;
use faythe_core::world::World;
use jiff::SignedDuration;

use self::order::{Fault, Order, Pause};
use crate::laws::Laws;
use crate::outside::{Change, Outside};

mod order;
mod steps;

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
    limits: Limits,
    parked: BTreeMap<Hostname, Order>,
    running: BTreeMap<Hostname, Running>,
    board: BTreeMap<RecordName, Board>,
    works: u64,
    /// How often the ledger had been saved when it was seen last.
    saves: u64,
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
    Spent(Spending),
}

impl Shell {
    pub(crate) fn new(policy: Policy, limits: Limits) -> Self {
        Self {
            world: World::new(policy.zones.clone()),
            planner: Planner::new(),
            wake_at: None,
            listed: [None; 2],
            policy,
            limits,
            parked: BTreeMap::new(),
            running: BTreeMap::new(),
            board: BTreeMap::new(),
            works: 0,
            saves: 0,
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
        let mut ledger = Ledger::new(self.limits);
        self.saves = outside.cluster.ledger.0;
        if let Some(record) = &outside.cluster.ledger.1 {
            ledger.load(record, outside.now);
        }
        self.world.set_ledger(CaId::FIRST, ledger);
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
                // Certificates of the model have no name at their CA.
                Action::AskHint { .. } => laws.break_law(now, "asked the CA about a certificate"),
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
        order.grant = self.world.grant(&host);
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
            self.progress(host, progress, now);
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

    fn progress(&mut self, host: &Hostname, progress: Progress, now: Timestamp) {
        match progress {
            Progress::CaAnswered => self.world.clear_trouble(CaId::FIRST),
            Progress::Spent(what) => self.world.tell(host, what, now),
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
        let lives = order.note.is_some() && matches!(outcome, Outcome::Blocked | Outcome::Rested(_));
        if !lives {
            self.world.tell(&host, Spending::Ended, now);
        }
        if let Outcome::Rested(fault) = &outcome
            && let Pause::Rest {
                hold: Some((scope @ (Scope::Below(_) | Scope::Orders), Some(wait))),
                ..
            } = &fault.pause
        {
            self.world.limit_reached(&host, scope, after(now, *wait), now);
        }
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
        let before = self.world.hold_of(CaId::FIRST, &scope);
        if asked.is_none() && before.is_some_and(|before| before.until > now) {
            return;
        }
        let tries = before.map_or(0, |before| before.tries).saturating_add(1);
        let until = after(now, asked.unwrap_or_else(|| schedule::ca_rest(tries - 1)));
        let code = fault.code.to_owned();
        self.world.set_hold(
            CaId::FIRST,
            scope,
            Hold {
                until,
                code: code.clone(),
                text: code,
                tries,
                told: asked.is_some(),
            },
            now,
        );
    }

    // ---- the ledger ----

    /// What has to be saved of the ledger now.
    pub(crate) fn record(&mut self, now: Timestamp) -> Option<Record> {
        let ledger = self.world.ledger_mut(CaId::FIRST);
        let is_due = self.listed[1].is_some() && ledger.save_at(now).is_some_and(|at| at <= now);
        is_due.then(|| ledger.record(now))
    }

    /// Saves it, unless another instance has meanwhile.
    pub(crate) fn save(&mut self, record: Record, outside: &mut Outside) {
        let now = outside.now;
        let (saves, saved) = &mut outside.cluster.ledger;
        if outside.cluster.down {
            self.world.ledger_mut(CaId::FIRST).saved(false, now);
        } else if *saves == self.saves {
            (*saves, *saved) = (*saves + 1, Some(record));
            self.saves = *saves;
            self.world.ledger_mut(CaId::FIRST).saved(true, now);
        } else {
            self.saves = *saves;
            self.world.ledger_mut(CaId::FIRST).saved(false, now);
            if let Some(theirs) = saved {
                self.world.ledger_mut(CaId::FIRST).load(theirs, now);
            }
        }
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

    fn told(&mut self, host: &Hostname, from: Timestamp) {
        let look = CaLook { from, until: None };
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
}

fn asker(name: &str) -> Asker {
    Asker {
        namespace: "web".into(),
        name: name.into(),
        uid: "1".into(),
    }
}

//! A model of the program around the decisions: it owns the world, gathers what is known of an order, performs steps.
//!
//! As simple as it can be and still do what `src/run.rs` and `src/act.rs` do; it contains no rule of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::Activity;
use faythe_core::ari::CertificateId;
use faythe_core::audit::audit;
use faythe_core::budget::{Ledger, Limits, Record, Spending};
use faythe_core::cas::CaId;
use faythe_core::cert::Held;
use faythe_core::name::{Hostname, RecordName};
use faythe_core::order::{CaLook, Goal, Stage, Step};
use faythe_core::plan::{Action, Planner};
use faythe_core::policy::Policy;
use faythe_core::schedule::{Failures, GivenUp};
use faythe_core::verdict::Reason;
use faythe_core::want::Asker;
use faythe_core::world::{Question, World};
use jiff::SignedDuration;

use self::board::Board;
use self::clock::Steps;
pub(crate) use self::lists::Listing;
use self::order::{Fault, Order};
use self::store::Notes;
pub(crate) use self::strays::FIRST as FIRST_LOOK_FOR_STRAYS;
use self::strays::Strays;
use crate::laws::Laws;
use crate::outside::{Change, Leg, Outside, Saved};

mod board;
mod clock;
mod hints;
mod lists;
mod order;
mod steps;
mod store;
mod strays;
mod work;

/// The process: all of it is lost when it dies.
pub(crate) struct Shell {
    pub(crate) world: World,
    pub(crate) planner: Planner,
    pub(crate) wake_at: Option<Timestamp>,
    /// When Ingresses and Secrets were listed; what watches tell of earlier is old.
    listed: [Option<Timestamp>; 2],
    /// Whether lists of them are coming in.
    listing: [bool; 2],
    pub(crate) policy: Policy,
    /// Which process it is.
    pub(crate) life: u64,
    /// Whether it starts what is planned.
    acts: bool,
    /// Its orders are to stop, and the notes to be read anew.
    halting: bool,
    limits: Limits,
    steps: Option<Steps>,
    /// How far the API server's clock is behind the true time, as it told last.
    witness: Option<SignedDuration>,
    notes: Notes,
    strays: Strays,
    /// Values that may stand at a record: published or adopted, and not withdrawn since.
    live: BTreeMap<RecordName, BTreeSet<String>>,
    /// What the last turn said.
    said: BTreeMap<Hostname, Reason>,
    parked: BTreeMap<Hostname, Order>,
    running: BTreeMap<Hostname, Running>,
    /// Hosts of which everything is being forgotten.
    forgetting: BTreeSet<Hostname>,
    board: BTreeMap<RecordName, Board>,
    works: u64,
    /// How often the ledger had been saved when it was seen last.
    saves: u64,
}

/// What a turn has led to.
pub(crate) struct Turned {
    /// Hosts on which work begins.
    pub(crate) begun: Vec<(Hostname, u64)>,
    /// Hosts of which everything is to be forgotten.
    pub(crate) forgotten: Vec<Hostname>,
    /// Certificates about which the CA is asked.
    pub(crate) asked: Vec<(Question, CertificateId)>,
    /// Hosts of which something else is said.
    pub(crate) changed: BTreeSet<Hostname>,
}

struct Running {
    work: u64,
    order: Order,
    goal: Goal,
    /// How often it had come to rest when it began.
    rests: u32,
    /// A step whose request is on its way.
    decided: Option<Step>,
    /// What became of a step; the answer is on its way.
    answer: Option<(Result<Done, Fault>, Vec<Progress>)>,
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
    GivenUp(GivenUp),
    Rested(Fault),
    Settled,
    Stopped,
}

/// What the loop is told while an order goes on.
enum Progress {
    CaAnswered,
    Held { held: Held, issued: bool },
    Irreplaceable,
    Spent(Spending),
}

impl Shell {
    pub(crate) fn new(policy: Policy, limits: Limits, life: u64) -> Self {
        Self {
            world: World::new(policy.zones.clone()),
            planner: Planner::new(),
            wake_at: None,
            listed: [None; 2],
            listing: [false; 2],
            policy,
            life,
            acts: false,
            halting: false,
            limits,
            steps: None,
            witness: None,
            notes: Notes::default(),
            strays: Strays::new(),
            live: BTreeMap::new(),
            said: BTreeMap::new(),
            parked: BTreeMap::new(),
            running: BTreeMap::new(),
            forgetting: BTreeSet::new(),
            board: BTreeMap::new(),
            works: 0,
            saves: 0,
        }
    }

    // ---- what is seen ----

    pub(crate) fn read_notes(&mut self, outside: &Outside) {
        let now = self.now(outside);
        self.world.set_ledger(CaId::FIRST, Ledger::new(self.limits));
        self.saves = outside.cluster.ledger.0;
        if let Some(record) = &outside.cluster.ledger.1 {
            self.world.load_ledger(CaId::FIRST, record, now);
        }
        let ahead = self.world.clock_ahead();
        let mut orders = Vec::new();
        let mut failures = Vec::new();
        let mut useless = Vec::new();
        for (host, saved) in self.notes.all(outside) {
            let Saved {
                order: noted,
                failures: failed,
                given_up,
            } = saved;
            failures.extend(failed.map(|failed| (host.clone(), failed.by(now, ahead))));
            useless.extend(given_up.map(|given_up| (host.clone(), given_up.by(now, ahead))));
            let Some(note) = noted else { continue };
            let look = CaLook {
                from: note.created,
                until: Some(now),
            };
            let url = note.order_url.clone();
            self.board_of(&host).earlier.insert(url, look);
            note.values.iter().for_each(|value| self.adopt(value));
            let mut order = Order::new(host.clone());
            order.note = Some(note);
            self.parked.insert(host.clone(), order);
            orders.push(host);
        }
        self.world.note_all(orders, failures);
        for (host, given_up) in useless {
            self.world.set_given_up(&host, Some(given_up));
        }
        // What was said before was said of other notes.
        self.said.clear();
        self.acts = true;
    }

    /// What a watch tells of a change made at `when`.
    pub(crate) fn watch(&mut self, change: Change, when: Timestamp, outside: &Outside) {
        let now = self.now(outside);
        let kind = usize::from(matches!(change, Change::Secret(..)));
        if self.listed[kind].is_none_or(|listed| when <= listed) {
            return;
        }
        match change {
            Change::Ingress(name, Some(hosts)) => self.world.ask(asker(&name), &hosts),
            Change::Ingress(name, None) => self.world.stop_asking("web", &name),
            Change::Secret(_, Some((host, held))) => self.world.hold(Some(host), held.by(now)),
            Change::Secret(name, None) => self.world.release(&name),
        }
    }

    // ---- the loop ----

    /// Plans; answers the work that begins, and the hosts to be forgotten.
    pub(crate) fn turn(&mut self, outside: &Outside, laws: &mut Laws) -> Turned {
        let now = self.now(outside);
        laws.check_promises(&self.planner, outside);
        let rests = self
            .parked
            .keys()
            .filter_map(|host| match self.world.activity(host) {
                Some(Activity::Resting(rest)) => Some((host.clone(), rest.tries)),
                Some(_) | None => None,
            });
        let rests: BTreeMap<_, _> = rests.collect();
        let mut plan = if self.acts {
            self.planner.turn(&mut self.world, &self.policy, now)
        } else {
            self.planner.look(&mut self.world, &self.policy, now)
        };
        self.wake_at = plan.wake_at;
        laws.turns += 1;
        if self.world.is_known()
            && (!plan.actions.is_empty() || laws.turns.is_multiple_of(20))
            && let Err(broken) = audit(&plan, &self.planner, &self.world, &self.policy, now)
        {
            laws.break_law(outside.now, &broken.join("; "));
        }
        let mut begun = Vec::new();
        let mut forgotten = Vec::new();
        let mut asked = Vec::new();
        for action in std::mem::take(&mut plan.actions) {
            match action {
                Action::Drive { host, goal } => {
                    laws.check_begin(&host, self.said.get(&host), outside);
                    let rests = rests.get(&host).copied().unwrap_or(0);
                    begun.push(self.begin(host, goal, rests, outside, laws));
                }
                Action::Steer { host, goal } => {
                    if let Some(running) = self.running.get_mut(&host) {
                        running.goal = goal;
                    }
                }
                Action::Forget(host) => {
                    self.forgetting.insert(host.clone());
                    forgotten.push(host);
                }
                Action::AskHint {
                    certificate,
                    question,
                } => asked.push((question, certificate)),
            }
        }
        for host in &plan.changed {
            match self.planner.verdict(host) {
                Some(verdict) => self.said.insert(host.clone(), verdict.reason.clone()),
                None => self.said.remove(host),
            };
        }
        Turned {
            begun,
            forgotten,
            asked,
            changed: plan.changed,
        }
    }

    /// Drops what was saved of a host that nobody asks for; what cannot be removed is left for later.
    pub(crate) fn forget(&mut self, host: &Hostname, outside: &mut Outside) -> Duration {
        let _ = self.notes.forget(host, outside);
        outside.take_delay()
    }

    /// That has come to its end.
    pub(crate) fn forgot(&mut self, host: &Hostname) {
        self.forgetting.remove(host);
        self.world.set_activity(host, None);
    }

    /// Whether it starts what is planned.
    pub(crate) fn acts(&self) -> bool {
        self.acts
    }

    /// How far the work on `host` is.
    pub(crate) fn stage_of(&self, host: &Hostname) -> Option<Stage> {
        let forgetting = self.forgetting.contains(host).then_some(Stage::CleaningUp);
        let running = self.running.get(host).map(|running| running.order.stage);
        running.or(forgetting)
    }

    /// Whether an order for `host` is being worked on.
    pub(crate) fn is_working_on(&self, host: &Hostname) -> bool {
        self.running.contains_key(host)
    }

    /// How often the order for `host`, if it is one that is not noted, had come to rest when the work on it began.
    pub(crate) fn rests_of(&self, host: &Hostname) -> Option<u32> {
        let running = self.running.get(host)?;
        running.order.note.is_none().then_some(running.rests)
    }

    /// Whose work goes on after a rest.
    pub(crate) fn rested(&self) -> impl Iterator<Item = &Hostname> {
        let rested = self.running.iter().filter(|(_, running)| running.rests > 0);
        rested.map(|(host, _)| host)
    }

    /// Since when all that it knows of Ingresses comes from a watch.
    pub(crate) fn hears_since(&self) -> Option<Timestamp> {
        self.listed[0]
    }

    // ---- the ledger ----

    /// What has to be saved of the ledger now.
    pub(crate) fn record(&mut self, now: Timestamp) -> Option<Record> {
        let ledger = self.world.ledger(CaId::FIRST);
        let is_due = self.acts && ledger.save_at(now).is_some_and(|at| at <= now);
        is_due.then(|| self.world.record(CaId::FIRST, now))
    }

    /// Saves it, unless another instance has meanwhile. How late the answer comes is of no concern: until then nothing more
    /// is made ahead of it.
    pub(crate) fn save(&mut self, record: &Record, outside: &mut Outside) {
        let seen = self.saves;
        let saved = outside.ask(Leg::Cluster, None, |outside| {
            let (saves, saved) = &mut outside.cluster.ledger;
            if *saves != seen {
                return Err(());
            }
            (*saves, *saved) = (*saves + 1, Some(record.clone()));
            Ok(*saves)
        });
        let _ = outside.take_delay();
        let now = self.now(outside);
        let ledger = self.world.ledger_mut(CaId::FIRST);
        ledger.saved(matches!(saved, Some(Ok(_))), now);
        match saved {
            Some(Ok(saves)) => self.saves = saves,
            Some(Err(())) => {
                let theirs = outside.ask(Leg::Cluster, None, |outside| outside.cluster.ledger.clone());
                let _ = outside.take_delay();
                if let Some((saves, theirs)) = theirs {
                    self.saves = saves;
                    if let Some(theirs) = theirs {
                        self.world.load_ledger(CaId::FIRST, &theirs, now);
                    }
                }
            }
            None => {}
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

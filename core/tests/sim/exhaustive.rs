//! Every reachable state of one order: one certificate, one replica, and all that can come in between.
//!
//! The steps come from `order::next`; this file only carries them out on a model of the CA, the DNS and the store. Between
//! two steps anything may happen: the CA decides either way or forgets the order, the wish vanishes and comes back,
//! somebody else's Secret takes the place and leaves it. Up to three times the process dies, before or after a step or
//! within it (its effect done, the result lost), or only loses the result.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::order::{
    CaView, Challenge, ChallengeStatus, ChallengeValue, Goal, Known, Neighbors, Note, OrderStatus, Place,
    Published, Step, next,
};

use self::laws::Laws;

mod laws;

/// How often the process may die or lose a result.
const FAULTS: u8 = 3;
/// How often the wish may change its mind, the place be taken and freed, and the CA forget an order, all together.
const VEXATIONS: u8 = 2;

/// An order at the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AtCa {
    Pending,
    Told,
    Ready,
    Processing,
    Valid,
    Invalid,
    /// The CA does not know it any more.
    Gone,
}

/// A value in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum InDns {
    Absent,
    /// The update server has it; not every server shows it.
    Accepted,
    Visible,
}

/// Everything that survives the process, and the process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    wanted: bool,
    taken: bool,
    /// The orders that still matter, oldest first; its index is an order's name and the name of its value.
    orders: Vec<AtCa>,
    dns: Vec<InDns>,
    /// Whether an order was ever opened.
    opened: bool,
    /// The order in the note.
    note: Option<usize>,
    failure: bool,
    stored: u8,
    /// The CA has turned an order down.
    rejected: bool,
    faults: u8,
    vexations: u8,
    process: Option<Process>,
}

/// What a process holds in memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    place: Option<u8>,
    /// How many certificates were stored when it looked at the place; the store refuses to write over anything newer.
    slot: u8,
    order: Option<usize>,
    seen: Option<AtCa>,
    published: u8,
    /// The order is of no use; it is cleaned up as if nobody wanted it.
    abandoned: bool,
    /// A step has failed: with nobody who asks, the order goes on no more.
    faulted: bool,
}

const OPEN: u8 = 0;
const SERVED: u8 = 1;
const TAKEN: u8 = 2;
const NO: u8 = 0;
const HIDDEN: u8 = 1;
const SHOWN: u8 = 2;
const WITHDRAWN: u8 = 3;

impl State {
    fn new() -> Self {
        Self {
            wanted: true,
            taken: false,
            orders: Vec::new(),
            dns: Vec::new(),
            opened: false,
            note: None,
            failure: false,
            stored: 0,
            rejected: false,
            faults: 0,
            vexations: 0,
            process: None,
        }
    }

    /// Whether the planner would have the order worked on.
    fn is_due(&self) -> bool {
        self.note.is_some() || (self.wanted && self.stored == 0 && !self.failure && !self.taken)
    }

    /// Whether nothing happens any more unless somebody changes his mind. A note may wait for a place that is taken.
    fn is_at_rest(&self) -> bool {
        let waits = self.taken && self.wanted && self.values_stand() == 0;
        self.process.is_none() && (!self.is_due() || waits)
    }

    fn values_stand(&self) -> usize {
        self.dns.iter().filter(|value| **value != InDns::Absent).count()
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut state = self.clone();
        change(&mut state);
        state.drop_old_orders();
        state
    }

    /// Drops the orders of which nobody knows any more and that have left nothing, except one that the CA may hand out
    /// again.
    fn drop_old_orders(&mut self) {
        let mut i = 0;
        while i < self.orders.len() {
            let known =
                self.process.as_ref().and_then(|process| process.order) == Some(i) || self.note == Some(i);
            let reusable =
                i + 1 == self.orders.len() && matches!(self.orders[i], AtCa::Pending | AtCa::Ready);
            if known || reusable || self.dns[i] != InDns::Absent {
                i += 1;
                continue;
            }
            self.orders.remove(i);
            self.dns.remove(i);
            let renumber =
                |order: &mut Option<usize>| *order = order.map(|order| order - usize::from(order > i));
            renumber(&mut self.note);
            if let Some(process) = &mut self.process {
                renumber(&mut process.order);
            }
        }
    }

    /// What the outside may do by itself, the helpful first.
    fn surroundings(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for (i, value) in self.dns.iter().enumerate() {
            if *value == InDns::Accepted {
                all.push(self.with(|s| s.dns[i] = InDns::Visible));
            }
        }
        for (i, order) in self.orders.iter().enumerate() {
            match order {
                AtCa::Told if self.dns[i] == InDns::Visible => {
                    all.push(self.with(|s| s.orders[i] = AtCa::Ready));
                    all.push(self.with(|s| s.reject(i)));
                }
                AtCa::Told => all.push(self.with(|s| s.reject(i))),
                AtCa::Processing => {
                    all.push(self.with(|s| s.orders[i] = AtCa::Valid));
                    all.push(self.with(|s| s.reject(i)));
                }
                AtCa::Pending | AtCa::Ready | AtCa::Valid | AtCa::Invalid | AtCa::Gone => {}
            }
        }
        all
    }

    fn reject(&mut self, order: usize) {
        self.orders[order] = AtCa::Invalid;
        self.rejected = true;
    }

    /// What the outside may do to vex us.
    fn vexations(&self) -> Vec<Self> {
        let mut all = Vec::new();
        if self.vexations < VEXATIONS {
            let mut vex = |change: &dyn Fn(&mut Self)| {
                all.push(self.with(|s| {
                    s.vexations += 1;
                    change(s);
                }));
            };
            vex(&|s| s.wanted = !s.wanted);
            if self.stored == 0 {
                vex(&|s| s.taken = !s.taken);
            }
            if !self.orders.is_empty() {
                vex(&|s| *s.orders.last_mut().unwrap() = AtCa::Gone);
            }
        }
        if self.process.is_some() && self.faults < FAULTS {
            all.push(self.with(|s| (s.process, s.faults) = (None, s.faults + 1)));
        }
        // It may rest after any step; then it looks at the place anew.
        if self
            .process
            .as_ref()
            .is_some_and(|process| process.place.is_some())
        {
            all.push(self.with(|s| s.process.as_mut().unwrap().place = None));
        }
        all
    }

    /// What the process does next: the step, and every way it can end. The first is the way it should.
    fn steps(&self, laws: &mut Laws) -> Vec<Self> {
        let Some(process) = &self.process else {
            let begins = self.is_due() && !self.is_at_rest();
            let begin = || self.with(|s| s.process = Some(Process::new()));
            return begins.then(begin).into_iter().collect();
        };
        let step = self.next_step(process);
        laws.check(self, process, &step);
        let mut all = Vec::new();
        for done in self.perform(process, &step) {
            if self.faults < FAULTS {
                // The effect is there, and nobody knows of it: the process died, or an answer was lost.
                let dead = done.with(|s| (s.process, s.faults) = (None, s.faults + 1));
                let lost = done.with(|s| {
                    let mut memory = process.clone();
                    // Whether the DNS has changed is not known then.
                    if matches!(step, Step::Publish | Step::Withdraw) {
                        memory.published = NO;
                    }
                    memory.faulted = true;
                    (s.process, s.faults) = (Some(memory), s.faults + 1);
                });
                all.extend([dead, lost]);
            }
            all.insert(0, done.with(|_| {}));
        }
        all
    }

    fn next_step(&self, process: &Process) -> Step {
        let host: Hostname = "a.example.com".parse().unwrap();
        let value = |order: usize| ChallengeValue {
            record: host.challenge_record(),
            value: order.to_string(),
        };
        let note = self.note.map(|order| Note {
            host: host.clone(),
            order_url: order.to_string(),
            directory: None,
            values: vec![value(order)],
            route: None,
            replaces: None,
            created: NOW,
            expires: None,
        });
        let view = process
            .seen
            .zip(process.order)
            .map(|(seen, order)| view(seen, value(order)));
        let known = Known {
            goal: match (self.wanted, process.abandoned, process.faulted) {
                (_, true, _) | (false, _, true) => Goal::Unwanted,
                (true, false, _) => Goal::Wanted,
                (false, false, false) => Goal::Carried,
            },
            place: process.place.map(|place| match place {
                OPEN => Place::Open,
                SERVED => Place::Served,
                _ => Place::Taken,
            }),
            note: note.as_ref(),
            note_in_doubt: false,
            ca: view.as_ref().filter(|_| !process.abandoned),
            published: match process.published {
                NO => Published::No,
                HIDDEN => Published::Hidden,
                SHOWN => Published::Shown(NOW),
                _ => Published::Withdrawn,
            },
            neighbors: &Neighbors::default(),
        };
        next(&known, NOW)
    }

    /// Carries a step out; more than one result where the CA is free to choose.
    fn perform(&self, process: &Process, step: &Step) -> Vec<Self> {
        let done = |change: &dyn Fn(&mut Self, &mut Process)| {
            let mut state = self.clone();
            let mut memory = process.clone();
            change(&mut state, &mut memory);
            state.process = Some(memory);
            state
        };
        let ended = |change: &dyn Fn(&mut Self)| {
            let mut state = self.clone();
            state.process = None;
            change(&mut state);
            state
        };
        let look_at_ca = |s: &mut Self, p: &mut Process, order: usize| {
            (p.order, p.seen) = (Some(order), Some(s.orders[order]));
            p.abandoned = s.orders[order] == AtCa::Gone;
        };
        let order = process.order.or(self.note).unwrap_or(0);
        let mut all = vec![match step {
            Step::Inspect => done(&|s, p| {
                p.slot = s.stored;
                p.place = Some(if s.taken {
                    TAKEN
                } else if s.stored > 0 {
                    SERVED
                } else {
                    OPEN
                });
            }),
            Step::Open => done(&|s, p| {
                s.orders.push(AtCa::Pending);
                s.dns.push(InDns::Absent);
                s.opened = true;
                look_at_ca(s, p, s.orders.len() - 1);
            }),
            Step::Note => done(&|s, _| s.note = Some(order)),
            Step::Resume | Step::Ask | Step::AwaitCertificate => done(&|s, p| look_at_ca(s, p, order)),
            Step::Publish => done(&|s, p| {
                s.dns[order] = s.dns[order].max(InDns::Accepted);
                p.published = HIDDEN;
            }),
            Step::Look => done(&|s, p| {
                if s.dns[order] == InDns::Visible {
                    p.published = SHOWN;
                }
            }),
            Step::Tell => done(&|s, p| {
                if s.orders[order] == AtCa::Pending {
                    s.orders[order] = AtCa::Told;
                }
                look_at_ca(s, p, order);
            }),
            Step::Finalize => done(&|s, p| {
                if s.orders[order] == AtCa::Ready {
                    s.orders[order] = AtCa::Processing;
                }
                look_at_ca(s, p, order);
            }),
            Step::Store => done(&|s, p| {
                // The place must be as it was seen, or it is looked at again.
                if s.taken || s.stored != p.slot {
                    p.place = None;
                } else if s.orders[order] == AtCa::Gone {
                    p.abandoned = true;
                } else {
                    s.stored += 1;
                    p.place = Some(SERVED);
                }
            }),
            Step::Withdraw => done(&|s, p| {
                s.dns[s.note.unwrap()] = InDns::Absent;
                p.published = WITHDRAWN;
            }),
            Step::RecordFailure => ended(&|s| (s.note, s.failure) = (None, true)),
            Step::Forget => done(&|s, p| {
                s.note = None;
                (p.order, p.seen, p.published) = (None, None, NO);
            }),
            Step::End(_) => ended(&|_| {}),
            Step::AwaitNeighbors | Step::AwaitCache(_) => unreachable!("there are no neighbors"),
            Step::GiveUp => unreachable!("time stands still"),
        }];
        // A pending order of the same names may be handed out again (Boulder), or not (Pebble).
        if *step == Step::Open
            && let Some(last) = self.orders.last()
            && matches!(last, AtCa::Pending | AtCa::Ready)
        {
            all.push(done(&|s, p| look_at_ca(s, p, s.orders.len() - 1)));
        }
        all
    }
}

impl Process {
    fn new() -> Self {
        Self {
            place: None,
            slot: 0,
            order: None,
            seen: None,
            published: NO,
            abandoned: false,
            faulted: false,
        }
    }
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn view(seen: AtCa, value: ChallengeValue) -> CaView {
    let challenge = |status| vec![Challenge { value, status }];
    let (status, challenges) = match seen {
        AtCa::Pending => (OrderStatus::Pending, challenge(ChallengeStatus::Pending)),
        AtCa::Told => (OrderStatus::Pending, challenge(ChallengeStatus::Processing)),
        AtCa::Ready => (OrderStatus::Ready, Vec::new()),
        AtCa::Processing => (OrderStatus::Processing, Vec::new()),
        AtCa::Valid => (OrderStatus::Valid, Vec::new()),
        AtCa::Invalid | AtCa::Gone => (OrderStatus::Invalid, Vec::new()),
    };
    CaView {
        status,
        challenges,
        problem: None,
        expires: None,
        retry_after: None,
    }
}

#[test]
fn every_state_of_an_order_is_lawful_and_leads_to_rest() {
    let mut laws = Laws::default();
    let mut queue = VecDeque::from([State::new()]);
    let mut seen = BTreeSet::from([State::new()]);
    // For each state, those from which it is reached without anybody's ill will.
    let mut before: BTreeMap<State, Vec<State>> = BTreeMap::new();
    let mut rests = Vec::new();
    while let Some(state) = queue.pop_front() {
        laws.check_state(&state);
        if state.is_at_rest() {
            rests.push(state.clone());
        }
        let steps = state.steps(&mut laws);
        let helpful = steps.first().cloned().into_iter().chain(state.surroundings());
        for after in helpful {
            before.entry(after).or_default().push(state.clone());
        }
        for after in steps
            .into_iter()
            .chain(state.surroundings())
            .chain(state.vexations())
        {
            if seen.insert(after.clone()) {
                queue.push_back(after);
            }
        }
    }
    assert!(laws.broken.is_empty(), "{:#?}", laws.broken);

    // From everywhere some rest is reached without another fault or whim.
    let found = rests.len();
    let mut leads: BTreeSet<State> = rests.iter().cloned().collect();
    while let Some(state) = rests.pop() {
        for earlier in before.get(&state).into_iter().flatten() {
            if leads.insert(earlier.clone()) {
                rests.push(earlier.clone());
            }
        }
    }
    let stuck = seen.difference(&leads).next();
    assert!(stuck.is_none(), "it never comes to rest: {stuck:#?}");

    // And it is reached soon, however the CA decides.
    let longest = seen.iter().map(steps_to_rest).max().unwrap_or(0);
    assert!(longest <= 25, "it takes {longest} steps to come to rest");
    println!(
        "{} states, {found} of them at rest, at most {longest} steps away",
        seen.len()
    );
}

/// How many steps it takes when nothing goes wrong any more: the outside always does what it can, then a step is made.
fn steps_to_rest(state: &State) -> usize {
    let mut state = state.clone();
    let mut laws = Laws::default();
    for count in 0..100 {
        while let Some(next) = state.surroundings().into_iter().next() {
            state = next;
        }
        if state.is_at_rest() {
            return count;
        }
        state = state.steps(&mut laws).swap_remove(0);
    }
    100
}

//! Laws of what the CA has told us to leave alone: over crashes and failed writes, against a list of all that it has said.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::activity::Hold;
use faythe_core::budget::{Ledger, Limits, Preset, Record};
use faythe_core::cas::CaId;
use faythe_core::problem::Scope;
use faythe_core::schedule::ahead;
use faythe_core::world::World;
use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::worlds::{start, zones};

const CA: CaId = CaId::FIRST;

fn scopes() -> [Scope; 5] {
    [
        Scope::Account,
        Scope::Below("a.example.com".parse().unwrap()),
        Scope::Below("example.com".parse().unwrap()),
        Scope::Orders,
        Scope::Questions,
    ]
}

#[derive(Clone, Debug)]
enum Event {
    /// The CA has refused, for so many seconds.
    Refused(usize, i64),
    Pass(i64),
    /// What has to be saved is saved; or it is, and the answer is lost; or not.
    Save(Fate),
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    Lost,
    Refused,
}

fn event() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![4 => Just(Fate::Done), 1 => Just(Fate::Lost), 1 => Just(Fate::Refused)];
    prop_oneof![
        4 => (0..5_usize, 1..5_000_i64).prop_map(|(scope, secs)| Event::Refused(scope, secs)),
        4 => prop_oneof![0..10_i64, 0..3_000_i64].prop_map(Event::Pass),
        4 => fate.prop_map(Event::Save),
        1 => Just(Event::Crash),
    ]
}

struct Course {
    world: World,
    limits: Limits,
    /// What an heir reads.
    there: Option<Record>,
    /// The longest that the CA has named for each scope, as far as it has been saved well, or not at all.
    saved: BTreeMap<Scope, Timestamp>,
    told: BTreeMap<Scope, Timestamp>,
    /// Of this process.
    writes: Vec<Timestamp>,
    now: Timestamp,
}

impl Course {
    fn begin(&mut self) {
        self.world = World::new(zones());
        self.world.set_ledger(CA, Ledger::new(self.limits));
        if let Some(record) = &self.there {
            self.world.load_ledger(CA, record, self.now);
        }
    }

    fn apply(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Refused(scope, secs) => {
                let scope = scopes()[*scope].clone();
                let until = ahead(self.now, SignedDuration::from_secs(*secs));
                let hold = Hold {
                    until,
                    code: "rateLimited".to_owned(),
                    text: String::new(),
                    tries: 1,
                    told: true,
                };
                self.world.set_hold(CA, scope.clone(), hold, self.now);
                let longest = self.told.entry(scope).or_insert(until);
                *longest = until.max(*longest);
            }
            Event::Pass(secs) => self.now = ahead(self.now, SignedDuration::from_secs(*secs)),
            Event::Save(fate) => {
                if self
                    .world
                    .ledger(CA)
                    .save_at(self.now)
                    .is_some_and(|at| at <= self.now)
                {
                    let record = self.world.record(CA, self.now);
                    self.writes.push(self.now);
                    if *fate != Fate::Refused {
                        self.there = Some(record);
                        self.saved = self.told.clone();
                    }
                    self.world.ledger_mut(CA).saved(*fate == Fate::Done, self.now);
                }
            }
            Event::Crash => {
                self.begin();
                self.writes.clear();
                // What was not saved is not known, and is asked for again.
                self.told = self.saved.clone();
            }
        }
        self.world.ledger_mut(CA).pass(self.now);
        self.check()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for scope in scopes() {
            let held = self.world.hold_of(CA, &scope).map(|hold| hold.until);
            let told = self.told.get(&scope).copied();
            // One that was over within a minute of its record need not have been in it.
            let worth = ahead(self.now, SignedDuration::from_secs(61));
            if told.is_some_and(|told| told > worth) {
                prop_assert_eq!(held, told, "{:?}", scope);
            }
            prop_assert!(held <= told, "{scope:?}: {held:?} was never said");
        }
        for pair in self.writes.windows(2) {
            prop_assert!(pair[0].duration_until(pair[1]).as_secs() >= 5, "{pair:?}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn p17_what_the_ca_has_named_and_was_saved_is_kept_and_nothing_else(
        counting in any::<bool>(),
        events in vec(event(), 1..80),
    ) {
        let preset = if counting { Preset::LetsEncrypt } else { Preset::None };
        let mut course = Course {
            world: World::new(zones()),
            limits: preset.limits(),
            there: None,
            saved: BTreeMap::new(),
            told: BTreeMap::new(),
            writes: Vec::new(),
            now: start(),
        };
        course.begin();
        for event in &events {
            course.apply(event)?;
        }
    }
}

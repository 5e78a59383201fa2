//! What goes wrong with machines and the ways between them, each kind in a room of its own; a seed's plan says which there
//! are, by dice of its own, so that a kind more leaves the rest of the plan as it is.

use super::{DAY_SECS, Event, Sim};
use crate::dice::Dice;

mod backups;
mod clocks;
mod marks;
mod outages;
mod watches;

pub(super) use backups::Backup;
pub(super) use watches::STALE_SECS;

/// Which kinds there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Secrets are put back from a backup.
    pub(super) backups: bool,
    /// The CA's clock is wrong.
    pub(super) ca_clock: bool,
    /// Our clock is set, or the API server's.
    pub(super) clocks: bool,
    /// Other hands put their marks on what is written.
    pub(super) marks: bool,
    /// The CA is away for days.
    pub(super) outages: bool,
    /// Watches tell nothing for minutes.
    pub(super) watches: bool,
}

/// How one of them begins.
type Begin = fn(&mut Sim);

/// What ends by itself.
pub(super) enum Relief {
    CaClock,
    Clocks,
    Marks,
    Outage,
}

impl Faults {
    /// Those that a seed chooses.
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0xFA_0175);
        Self {
            marks: dice.chance(300),
            outages: dice.chance(300),
            watches: dice.chance(300),
            clocks: dice.chance(300),
            ca_clock: dice.chance(300),
            backups: dice.chance(300),
        }
    }

    fn kinds(self) -> Vec<Begin> {
        let all: [(bool, Begin); 6] = [
            (self.clocks, Sim::set_a_clock),
            (self.marks, Sim::let_others_mark),
            (self.outages, Sim::take_the_ca_away),
            (self.watches, Sim::hold_a_watch_back),
            (self.ca_clock, Sim::set_the_cas_clock),
            (self.backups, Sim::put_a_backup_back),
        ];
        let there = all.into_iter().filter(|(is_there, _)| *is_there);
        there.map(|(_, begin)| begin).collect()
    }
}

impl Sim {
    /// One of them begins, about as often as other mishaps.
    pub(super) fn fault(&mut self) {
        let kinds = self.course.faults.kinds();
        let Some(begin) = self.outside.dice.pick(&kinds).copied() else {
            return;
        };
        if self.is_quiet() {
            return;
        }
        self.soon(1, DAY_SECS / self.course.mishaps * 4, Event::Fault);
        begin(self);
    }

    pub(super) fn relieve(&mut self, relief: &Relief) {
        match relief {
            Relief::CaClock => self.set_the_cas_clock_right(),
            Relief::Clocks => self.set_clocks_right(),
            Relief::Marks => self.marking -= 1,
            Relief::Outage => self.outside.ca.comes_back(self.outside.now),
        }
    }
}

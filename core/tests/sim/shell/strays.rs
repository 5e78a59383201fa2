//! A model of `src/run/strays.rs` and `src/run/term.rs`: notes that others have left are found, and all are read anew.

use std::collections::BTreeSet;
use std::time::Duration;

use faythe_core::name::Hostname;

use super::Shell;
use crate::outside::{Leg, Outside};

/// The first look comes after this; the wait doubles.
pub(crate) const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// What is known of such notes.
pub(super) struct Strays {
    waited: Duration,
    suspects: BTreeSet<Hostname>,
}

impl Strays {
    pub(super) fn new() -> Self {
        Self {
            waited: FIRST,
            suspects: BTreeSet::new(),
        }
    }
}

impl Shell {
    /// Looks; answers when to look again. What was there at the look before too makes all notes be read anew.
    pub(crate) fn look_for_strays(&mut self, outside: &mut Outside) -> Duration {
        let found = outside.ask(Leg::Cluster, None, |outside| self.notes.strays(outside));
        let delay = outside.take_delay();
        if !self.acts {
            return FIRST;
        }
        self.strays.waited = (self.strays.waited * 2).min(LONGEST);
        if let Some(found) = found {
            if found.intersection(&self.strays.suspects).next().is_some() {
                self.halt();
            } else {
                self.strays.suspects = found;
            }
        }
        delay + self.strays.waited
    }

    /// Orders stop between two steps.
    fn halt(&mut self) {
        (self.acts, self.halting) = (false, true);
        self.strays = Strays::new();
        self.parked.retain(|_, order| order.is_unnoted());
    }

    /// Whether the notes are to be read now, as nothing runs any more.
    pub(crate) fn takes_up(&mut self, outside: &Outside) -> bool {
        let ready = self.halting && self.running.is_empty();
        if ready {
            self.halting = false;
            self.let_go(outside.clock());
        }
        ready
    }
}

//! A watch tells nothing for minutes: the server that it is at lags behind, or a connection has died in silence. Then it
//! tells everything in its order, or is begun anew with a list.

use std::time::Duration;

use faythe_core::schedule::after;

use super::super::{Event, Sim};
use crate::outside::secs;
use crate::shell::Listing;

/// So long a watch lags behind at most.
pub(in super::super) const STALE_SECS: i64 = 1_800;

impl Sim {
    pub(super) fn hold_a_watch_back(&mut self) {
        let last = i64::try_from(self.instances.len()).unwrap() - 1;
        let at = usize::try_from(self.outside.dice.between(0, last)).unwrap();
        let now = self.outside.now;
        let Some(instance) = self
            .instances
            .get_mut(at)
            .filter(|instance| instance.watch_resumes <= now)
        else {
            return;
        };
        let until = self.outside.dice.between(10, STALE_SECS);
        instance.watch_resumes = secs(now, until);
        let life = instance.life;
        for kind in 0..2 {
            if self.outside.dice.chance(500) {
                self.soon(1, until + 60, Event::Relist(life, kind));
            }
        }
    }

    /// A list begins: what it shows is told when all of it has come, and what the watch has to tell comes after that.
    pub(in super::super) fn list_anew(&mut self, life: u64, kind: u8) {
        let Some(at) = self.living(life) else { return };
        if self.outside.cluster.down > 0 {
            self.soon(1, 60, Event::Relist(life, kind));
            return;
        }
        let now = self.outside.now;
        let takes = self.outside.dice.between(5, 10_000).unsigned_abs();
        let done = after(now, Duration::from_millis(takes));
        let instance = &mut self.instances[at];
        let Some(shell) = &mut instance.shell else { return };
        let Some(listing) = shell.begin_list(kind, &self.outside) else {
            return;
        };
        instance.watch_resumes = instance.watch_resumes.max(done);
        self.after(
            Duration::from_millis(takes),
            Event::Listed(life, Box::new(listing)),
        );
    }

    pub(in super::super) fn listed(&mut self, life: u64, listing: Listing) {
        if let Some(at) = self.living(life) {
            let shell = self.instances[at].shell.as_mut().unwrap();
            shell.finish_list(listing, &self.outside);
            self.turn_soon(at);
        }
    }
}

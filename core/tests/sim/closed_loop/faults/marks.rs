//! Other hands put their marks on Secrets: a backup tool, or a controller that labels everything. The content stays, and
//! the version is another one, so that whoever names the one that he has left there meets a conflict.

use std::time::Duration;

use faythe_core::name::Hostname;

use super::super::{Event, Sim};
use super::Relief;

impl Sim {
    pub(super) fn let_others_mark(&mut self) {
        self.marking += 1;
        self.soon(600, 12 * 3_600, Event::Relief(Relief::Marks));
    }

    /// What has just been written is marked once, at once or while the order that it belongs to goes on.
    pub(in super::super) fn mark_what_is_written(&mut self) {
        for host in std::mem::take(&mut self.outside.cluster.written) {
            if self.marking > 0 && self.outside.dice.chance(700) {
                let wait = *self.outside.dice.pick(&[0, 10, 200, 2_000, 60_000]).unwrap();
                self.after(Duration::from_millis(wait), Event::Mark(host));
            }
        }
    }

    /// Whatever there is of a host is marked; now and then the ledger too.
    pub(in super::super) fn mark(&mut self, host: &Hostname) {
        let cluster = &mut self.outside.cluster;
        if let Some(held) = cluster.held(host).cloned() {
            cluster.write(host, held);
        }
        if let Some((_, saved)) = cluster.notes.get(host).cloned() {
            cluster.put_note(host, saved);
        }
        if self.outside.dice.chance(100) {
            self.outside.cluster.ledger.0 += 1;
        }
    }
}

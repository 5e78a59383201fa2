//! What a backup that is put back excuses: that somebody does not know what nothing tells any more.

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use super::Laws;
use crate::outside::{Outside, Saved};

/// The longest time for which the CA counts anything.
const COUNTED: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Laws {
    /// A certificate is put back in its Secret.
    pub(crate) fn puts_back(&mut self, host: &Hostname, now: Timestamp) {
        self.meddled.insert(host.clone(), now);
        self.put_back.insert(host.clone(), now);
    }

    /// A note is put back, in the place of whatever there is.
    pub(crate) fn puts_note_back(&mut self, host: &Hostname, note: &Saved, now: Timestamp) {
        self.meddled.insert(host.clone(), now);
        self.note_put_back.insert(host.clone(), (now, note.clone()));
    }

    /// Whether an order that is noted for `host` was put back, and nobody has written there since. Who has left a note there finds
    /// that out when he writes there again.
    pub(super) fn is_unfound(&self, host: &Hostname, outside: &Outside) -> bool {
        let there = outside.cluster.notes.get(host).map(|(_, saved)| saved);
        let put_back = self.note_put_back.get(host).map(|(_, note)| note);
        put_back.is_some_and(|note| note.order.is_some()) && there == put_back
    }

    /// Whether a certificate or a note of `host` was put back after that.
    pub(super) fn was_put_back_since(&self, host: &Hostname, time: Timestamp) -> bool {
        let certificate = self.put_back.get(host).is_some_and(|at| *at >= time);
        certificate || self.was_note_put_back_since(host, time)
    }

    /// Whether its note was: what it told of is told no more, and what it tells of now may be over.
    pub(super) fn was_note_put_back_since(&self, host: &Hostname, time: Timestamp) -> bool {
        self.note_put_back.get(host).is_some_and(|(at, _)| *at >= time)
    }

    /// Whether a process has begun with a ledger that was put back, so that it does not know what the CA has counted since that
    /// was saved.
    pub(super) fn counts_by_a_backup(&self, now: Timestamp) -> bool {
        let put_back = self.ledger_put_back.filter(|at| ahead(*at, COUNTED) > now);
        put_back.is_some_and(|at| self.starts.iter().any(|start| *start >= at))
    }
}

//! Leadership in the loop: what ends when it is lost, and what comes before anything begins when it is gained.
//!
//! Another instance may have begun and ended orders meanwhile. So everything that this one knew of orders is let go, and
//! the notes are read anew, when nothing of the term before runs any more.

use std::sync::Arc;

use faythe_core::cas::CaId;
use futures::future::{BoxFuture, FutureExt};

use super::Loop;
use super::errands::{Legacy, legacy_of};
use super::strays::Strays;
use crate::act::Order;
use crate::store::Saved;

/// How far this instance is with leading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leadership {
    /// The term in which it leads; `None` while it does not.
    pub(super) term: Option<u64>,
    /// Whether the notes are those of this term.
    entered: bool,
    /// Whether it starts what is planned.
    pub(super) acts: bool,
}

impl Loop {
    /// It leads in this term, or no more.
    pub(super) fn led(&mut self, term: Option<u64>) {
        self.leadership = Leadership {
            term,
            ..Leadership::default()
        };
        self.strays = Strays::default();
        self.halt.cancel();
        // What a note tells of is known by it; the rest is known here alone, and is gone on with in a later term.
        self.parked.retain(|_, order| order.is_unnoted());
        self.report.lead(false);
        if term.is_none() && !self.tasks.is_empty() {
            tracing::warn!(
                orders = self.tasks.len(),
                "this instance leads no more; its orders stop, and whoever leads goes on with them"
            );
        }
    }

    /// Begins the term once nothing of an earlier one runs.
    pub(super) fn take_up(&mut self) {
        let Some(term) = self.leadership.term else { return };
        if self.leadership.entered || !self.tasks.is_empty() {
            return;
        }
        self.leadership.entered = true;
        self.halt = self.stop.child_token();
        let now = self.now();
        self.outside.board.let_go(now);
        self.outside.tenure.enter(term);
        self.read_notes();
    }

    pub(super) fn read_notes(&mut self) {
        let outside = Arc::clone(&self.outside);
        self.reading = Some(legacy_of(outside, self.stop.clone()).boxed());
    }

    /// The notes have been read.
    pub(super) fn noted(&mut self, saved: Legacy) {
        self.reading = None;
        // Notes that were read before the term began are good for verdicts alone.
        self.leadership.acts = self.leadership.entered;
        self.report.lead(self.leadership.acts);
        if self.leadership.acts {
            // Those of a time in which another told of them, or nobody.
            let _ = self.world.take_refusals();
            self.report.refuse(self.world.refusals().cloned().collect());
        }
        self.legacy(saved);
    }

    /// What is saved of orders, failures, ledgers and windows.
    fn legacy(&mut self, legacy: Legacy) {
        let Legacy {
            notes,
            records,
            windows,
        } = legacy;
        self.open_ledgers(&records);
        self.world.load_windows(&windows);
        let now = self.now();
        let ahead = self.world.clock_ahead();
        let mut orders = Vec::new();
        let mut failures = Vec::new();
        let mut useless = Vec::new();
        let mut changed = Vec::new();
        for Saved {
            host,
            order,
            failures: failed,
            given_up,
            setup,
        } in notes
        {
            let Some(zone) = self.outside.policy.zones.of(host.base()) else {
                // Of another Faythe in this namespace, or of an earlier configuration: there is nobody to drop it here.
                if order.is_some() {
                    tracing::warn!(%host, "the note of an order is left alone: its zone is not configured here");
                }
                continue;
            };
            failures.extend(failed.map(|failed| (host.clone(), failed.by(now, ahead))));
            useless.extend(given_up.map(|given_up| (host.clone(), given_up.by(now, ahead))));
            if self.outside.is_changed(&host, setup) {
                changed.push(host.clone());
            }
            let Some((note, key)) = order else { continue };
            if let Some(value) = note.values.first() {
                self.outside.board.place(&host, &value.record);
                self.outside.board.inherit(&host, note.created, now);
            }
            for value in &note.values {
                let at = note.route.as_ref().map_or(&zone.apex, |route| &route.zone);
                self.outside
                    .dns
                    .read()
                    .adopt(at, note.record(value), &value.value);
            }
            let ca = self
                .outside
                .cas
                .of_order(note.directory.as_deref(), &note.order_url);
            self.parked
                .insert(host.clone(), Order::noted(note, key, zone.apex.clone(), ca));
            orders.push((host, ca));
        }
        if !orders.is_empty() {
            tracing::info!(orders = orders.len(), "orders of an earlier run are taken up");
        }
        let hosts = orders.iter().map(|(host, _)| host.clone());
        self.world.note_all(hosts.collect(), failures);
        for (host, ca) in orders {
            self.world.set_ca(&host, ca.unwrap_or(CaId::FIRST));
        }
        for (host, given_up) in useless {
            self.world.set_given_up(&host, Some(given_up));
        }
        for host in changed {
            self.world.set_changed(&host);
        }
    }
}

/// Waits for the notes that are being read, if any are.
pub(super) async fn read(reading: &mut Option<BoxFuture<'static, Legacy>>) -> Legacy {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

//! Leadership in the loop: what ends when it is lost, and what comes before anything begins when it is gained.
//!
//! Another instance may have begun and ended orders meanwhile. So everything that this one knew of orders is let go, and
//! the notes are read anew, when nothing of the term before runs any more.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};

use super::Loop;
use super::errands::{Legacy, legacy_of};
use super::strays::Strays;

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
}

/// Waits for the notes that are being read, if any are.
pub(super) async fn read(reading: &mut Option<BoxFuture<'static, Legacy>>) -> Legacy {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

//! Notes that have appeared since this instance read them all, and that it has not written itself.
//!
//! An instance that led before may have been in the middle of a write: one that is frozen there, or whose request is slow
//! on its way, still leaves a note when the order of its host has been finished by whoever leads now. Nobody would ever
//! take it up. So the leader looks now and then, most often when it has just begun to lead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::schedule::after;

use super::Loop;
use super::errands::Errand;
use crate::act;

/// The first look comes no sooner than this after a term has begun, at the next turn of the loop; the wait doubles.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait between two looks. Each costs one list, of names alone, and one request for each note that is new.
const LONGEST: Duration = Duration::from_secs(600);

/// What is known of such notes in this term.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// When to look next, and how long is waited for that; `None` before the first look is set.
    next: Option<(Timestamp, Duration)>,
    /// Whether a look is under way.
    looking: bool,
    /// Those that were there at the last look. One of our own may be among them, whose write has not been answered yet.
    suspects: BTreeSet<String>,
}

impl Loop {
    /// Looks, if it is time.
    pub(super) fn look_for_strays(&mut self) {
        if !self.leadership.acts || self.strays.looking {
            return;
        }
        let now = self.now();
        let (at, wait) = *self.strays.next.get_or_insert_with(|| (after(now, FIRST), FIRST));
        // Later than the whole wait from now on, it was set by a clock that has been set back since.
        if at > now && at <= after(now, wait) {
            return;
        }
        self.strays.looking = true;
        let (outside, term) = (Arc::clone(&self.outside), self.leadership.term);
        self.errands.spawn(async move {
            let found = outside.store.read().strays(&outside.policy.zones).await;
            if let Err(error) = &found {
                tracing::debug!("notes of others cannot be looked for: {}", act::chain(error));
            }
            Errand::Strays(term, found.ok())
        });
    }

    /// That is what was found. What was there at the look before too is no write of ours that is under way: all notes are
    /// read anew, as at the beginning of a term.
    pub(super) fn strays(&mut self, term: Option<u64>, found: Option<BTreeSet<String>>) {
        if term != self.leadership.term || !self.strays.looking {
            return;
        }
        self.strays.looking = false;
        let waited = self.strays.next.map_or(FIRST, |(_, waited)| waited);
        let wait = waited.saturating_mul(2).min(LONGEST);
        self.strays.next = Some((after(self.now(), wait), wait));
        let Some(found) = found else { return };
        let strays = found.intersection(&self.strays.suspects).count();
        if strays > 0 {
            tracing::warn!(
                notes = strays,
                "an instance that leads no more has left notes; all notes are read anew, and orders under way go on from there"
            );
            self.led(term);
        } else {
            self.strays.suspects = found;
        }
    }
}

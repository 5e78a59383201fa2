//! The part of the world that keeps what the CA has said about renewals over a restart: what is saved of it, and when.
//!
//! A certificate is named by a hash of its name at its CA, so what is saved belongs to it alone, whichever CA that is. What
//! is lost is asked again. A poll that brings nothing new is not worth a write while the process lives; the end of the
//! process saves when each is due, so that the next one repeats none before its time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::World;
use super::left::Said;
use crate::ari::{CertificateId, Window};
use crate::name::Hostname;
use crate::renewal;
use crate::schedule::ahead;

/// So many windows that are new are saved at once.
const CHANGES_MAX: u32 = 2_000;
/// Or as many as there are by then; to ask for them again would cost a request each.
const CHANGES_WAIT: SignedDuration = SignedDuration::from_hours(6);
/// What could not be saved is tried again after this.
const RETRY: SignedDuration = SignedDuration::from_mins(5);

/// What is saved of the CA's wishes for one certificate, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SavedWindow {
    /// The certificate: [`renewal::key`](crate::renewal::key) of its name at the CA.
    pub of: u64,
    /// What the CA said last.
    pub window: Window,
    /// Whether the CA has moved it into the past: the certificate has been recalled, and is not left alone though it has only
    /// just been stored.
    pub moved: bool,
    /// When it is asked again.
    pub next: Timestamp,
}

/// What is yet to be taken over from an earlier process, and what is yet to be saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Windows {
    remembered: BTreeMap<u64, Said>,
    changes: u32,
    changed: Option<Timestamp>,
    /// Some have been asked about since, and nothing was new.
    polled: bool,
    saving: bool,
    retry_at: Option<Timestamp>,
}

impl Windows {
    /// The CA has answered: `before` and `after` are its windows.
    pub(super) fn heard(&mut self, before: Option<Window>, after: Window, now: Timestamp) {
        if before.is_some_and(|before| before.in_seconds() == after.in_seconds()) {
            self.polled = true;
        } else {
            self.changes = self.changes.saturating_add(1);
            self.changed.get_or_insert(now);
        }
    }
}

impl World {
    /// Takes in what an earlier process, or another instance, has saved; it counts from the next plan on.
    pub fn load_windows(&mut self, saved: &[SavedWindow]) {
        let said = |saved: &SavedWindow| Said {
            window: saved.window,
            moved: saved.moved,
            next: saved.next,
        };
        let entries = saved.iter().map(|saved| (saved.of, said(saved)));
        self.windows.remembered.extend(entries);
    }

    /// Whether something that was loaded waits for [`Self::recall_windows`].
    pub(crate) fn has_windows_to_recall(&self) -> bool {
        !self.windows.remembered.is_empty()
    }

    /// Gives what was loaded to the certificates it belongs to, and drops the rest: of those nobody asks for.
    pub(crate) fn recall_windows(
        &mut self,
        certificates: impl IntoIterator<Item = (Hostname, CertificateId)>,
    ) {
        let remembered = std::mem::take(&mut self.windows.remembered);
        for (host, id) in certificates {
            if let Some(&said) = remembered.get(&renewal::key(&id)) {
                self.know_window(&host, &id, said);
            }
        }
    }

    /// When the windows have to be saved; `None` while that is under way, or when none is new.
    #[must_use]
    pub fn save_windows_at(&self, now: Timestamp) -> Option<Timestamp> {
        let state = &self.windows;
        let changed = state.changed.filter(|_| !state.saving)?;
        let due = if state.changes >= CHANGES_MAX {
            now
        } else {
            ahead(changed, CHANGES_WAIT)
        };
        Some(state.retry_at.map_or(due, |at| due.max(at)))
    }

    /// What is to be saved now; [`Self::windows_saved`] must be told how that went.
    pub fn windows_to_save(&mut self) -> Vec<SavedWindow> {
        let state = &mut self.windows;
        (state.changes, state.changed, state.polled) = (0, None, false);
        state.saving = true;
        self.sorted_windows()
    }

    /// What is to be saved at the end of the process; `None` when nothing has changed since the last time.
    #[must_use]
    pub fn last_windows(&self) -> Option<Vec<SavedWindow>> {
        let state = &self.windows;
        let worth = state.changed.is_some() || state.polled || state.saving;
        worth.then(|| self.sorted_windows())
    }

    /// What was to be saved has been, or could not be.
    pub fn windows_saved(&mut self, well: bool, now: Timestamp) {
        self.windows.saving = false;
        if well {
            self.windows.retry_at = None;
        } else {
            self.windows.changed.get_or_insert(now);
            self.windows.changes = CHANGES_MAX;
            self.windows.retry_at = Some(ahead(now, RETRY));
        }
    }

    fn sorted_windows(&self) -> Vec<SavedWindow> {
        let mut all: Vec<_> = self.all_windows().collect();
        all.sort_unstable();
        all
    }
}

//! The saved form of a ledger, and what must be saved before an order is made.
//!
//! A process that dies between an order and the next record must not make its heir believe in orders that have been
//! used up. To save before each order would cost a write each; so a record says how many orders ahead of it may have
//! been made, and its reader counts them all: those that had been granted already and may arrive at the CA at any time,
//! and some more. The number of those begins at one and doubles while orders follow one another, so a burst of them costs
//! one write for [`AHEAD_MAX`], and a crash never counts more than twice what was used. While orders are so rare that the
//! bucket has refilled meanwhile, no write is needed at all.
//!
//! What is counted for single names and domains is saved behind, many at a time: until then the certificates themselves
//! and the notes of failures tell what happened ([`Ledger::recall_issued`], [`Ledger::recall_failed`]).
//!
//! The times until which the CA has told us to wait are in the record too, for a process that begins anew must not ask
//! before (RFC 8555 §6.6). They are saved at once, and also where nothing is counted.
//!
//! A clock that jumps must not make buckets look full that the CA has not refilled. So all times here go along with the
//! clock when it is set ([`Ledger::clock_set`]), and a record says how far its clock was ahead of the API server's, which
//! witnesses how much time has passed between two processes.

use jiff::{SignedDuration, Timestamp};

use super::meter::bounded;
use super::{ACCOUNT, Kind, Ledger};
use crate::problem::Scope;
use crate::schedule::ahead;

/// How many orders at most may be made ahead of what is saved.
const AHEAD_MAX: u32 = 32;
/// So many changes are saved at once.
const CHANGES_MAX: u32 = 64;
/// Or as many as there have been by then.
const CHANGES_WAIT: SignedDuration = SignedDuration::from_hours(6);
/// A record that could not be saved is tried again after this.
const RETRY: SignedDuration = SignedDuration::from_secs(5);
/// Between two records that are made at once: a CA that refuses many orders together costs few writes.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// What happens is known here within this.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(10);

/// A ledger as it is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was made.
    pub at: Timestamp,
    /// When the bucket of new orders will be full again, from what the CA had counted then.
    pub orders_full_at: Timestamp,
    /// How many orders may have been made since, those included that had been granted.
    pub ahead: u32,
    /// All other buckets that are not full.
    pub entries: Vec<Entry>,
    /// Whether anything was counted. If not, the record is there for its holds alone, and whoever counts later reckons
    /// from the certificates.
    pub counted: bool,
    /// What the CA has told us to leave alone, and until when; at most [`SavedHold::MOST`].
    pub holds: Vec<SavedHold>,
    /// How far the clock by which it was made was ahead of the API server's.
    pub clock_ahead: SignedDuration,
}

impl Record {
    /// By how much its times have to be moved for a clock that is so far ahead of the API server's at `now`: what has passed
    /// since it was made is what both clocks agree on, and never less than nothing, so that no more is left than was left
    /// then.
    fn displacement(&self, clock_ahead: SignedDuration, now: Timestamp) -> SignedDuration {
        let by = clock_ahead.saturating_sub(self.clock_ahead);
        by.min(self.at.duration_until(now))
    }
}

/// A time until which the CA has told us to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedHold {
    /// What has to wait.
    pub scope: Scope,
    /// Until when.
    pub until: Timestamp,
    /// Stable code of the CA's refusal.
    pub code: String,
    /// The refusal, for people; at most [`SavedHold::LONGEST`] bytes.
    pub text: String,
}

impl SavedHold {
    /// So many are saved at most. Beyond it, each that is forgotten costs one refusal after a restart.
    pub const MOST: usize = 100;
    /// Bytes of the longest text: what the CA says is cut to 800 where it comes in, and our words stand around it.
    pub const LONGEST: usize = 1_000;
}

/// One bucket of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What it counts.
    pub limit: Kind,
    /// For whom: a hash.
    pub key: u64,
    /// When it will be full again.
    pub full_at: Timestamp,
}

/// What is known to be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reservation {
    /// Whether anything is counted that has to be saved.
    needed: bool,
    /// The head of the last record: its time, its bucket of orders, and how many may be made ahead of it.
    saved: Option<(Timestamp, Timestamp, u32)>,
    /// The record that is being saved. Either may be what an heir reads.
    saving: Option<(Timestamp, Timestamp, u32)>,
    /// How many the last record of this process allowed. It begins anew with each process: one that dies young must not
    /// leave the next one more to count than it can have used.
    grown: u32,
    /// An order waits for a record that allows it.
    short: bool,
    changes: u32,
    changed: Option<Timestamp>,
    /// Not before this after a record could not be saved.
    retry_at: Option<Timestamp>,
    urgent: Urgent,
    /// How far our clock is ahead of the API server's.
    clock_ahead: SignedDuration,
    /// By how much the times of the last record that was loaded, and of what has happened since, had to be moved for it.
    moved: SignedDuration,
}

/// What is known to be saved of what has to be saved at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Urgent {
    /// There is something that no record has.
    fresh: bool,
    /// The record that is being saved was made for something like it.
    saving: bool,
    /// When a record was last made for it.
    made: Option<Timestamp>,
}

impl Urgent {
    /// When a record has to be made for it; `None` where all of it is in a record.
    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.made.map_or(now, |made| ahead(made, APART).max(now));
        self.fresh.then_some(next)
    }
}

impl Reservation {
    pub(super) fn new(needed: bool) -> Self {
        Self {
            needed,
            saved: None,
            saving: None,
            grown: 0,
            short: false,
            changes: 0,
            changed: None,
            retry_at: None,
            urgent: Urgent::default(),
            clock_ahead: SignedDuration::ZERO,
            moved: SignedDuration::ZERO,
        }
    }

    pub(super) fn change(&mut self, now: Timestamp) {
        if self.needed {
            self.changes += 1;
            self.changed.get_or_insert(now);
        }
    }

    pub(super) fn run_short(&mut self) {
        self.short = true;
    }

    /// When something has happened, by our clock of now. What tells of it has the time of the clock of then, which was that
    /// of the record, or ours already: the later one counts.
    pub(super) fn moved(&self, then: Timestamp, now: Timestamp) -> Timestamp {
        then.max(ahead(then, self.moved)).min(now)
    }

    /// Whether the last record certainly has what happened then, by whichever of both clocks. What happened shortly before
    /// it may have been on its way to the ledger still, and is rather counted twice.
    pub(super) fn knows(&self, then: Timestamp) -> bool {
        let latest = then.max(ahead(then, -self.moved));
        !self.needed || self.saved.is_some_and(|(at, ..)| ahead(latest, ON_ITS_WAY) < at)
    }
}

impl Ledger {
    /// Whether it has to be saved at all.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.reservation.needed
    }

    /// There is something that has to be saved at once: a hold, or that the clock was set.
    pub fn save_soon(&mut self) {
        self.reservation.urgent.fresh = true;
    }

    /// Our clock has been set by so much: what was reckoned by it goes along, for at the CA no time has passed.
    pub fn clock_set(&mut self, by: SignedDuration) {
        self.meters().into_iter().for_each(|meter| meter.shift(by));
        let state = &mut self.reservation;
        state.moved = state.moved.saturating_add(by);
        for head in state.saved.iter_mut().chain(&mut state.saving) {
            head.1 = ahead(head.1, by);
        }
        for at in state.changed.iter_mut().chain(&mut state.retry_at) {
            *at = ahead(*at, by);
        }
        // An heir must not take what happens from now on for older than the record.
        state.urgent.made = None;
        if state.needed {
            self.save_soon();
        }
    }

    /// Our clock is so far ahead of the API server's; before anything is loaded.
    pub fn set_clock_ahead(&mut self, by: SignedDuration) {
        self.reservation.clock_ahead = by;
    }

    /// Takes in what an earlier process, or another instance, has saved; all but the holds. Says by how much its times have
    /// to be moved for our clock.
    pub fn load(&mut self, record: &Record, now: Timestamp) -> SignedDuration {
        let by = record.displacement(self.reservation.clock_ahead, now);
        if !record.counted {
            return by;
        }
        if record.clock_ahead != self.reservation.clock_ahead {
            self.save_soon();
        }
        self.reservation.moved = by;
        let full_at = ahead(record.orders_full_at, by);
        let head = (record.at, full_at, record.ahead);
        self.reservation.saved = Some(head);
        if let Some(limit) = self.orders.limit() {
            let made = limit.interval() * bounded(record.ahead);
            self.orders.learn(ACCOUNT, ahead(full_at.max(now), made));
        }
        for entry in &record.entries {
            let meter = match entry.limit {
                Kind::CertificatesPerDomain => &mut self.domains,
                Kind::CertificatesPerSet => &mut self.sets,
                Kind::FailuresInARow => &mut self.rows,
                Kind::FailuresPerName => &mut self.failures,
                Kind::NewAccounts | Kind::NewOrders => continue,
            };
            meter.learn(entry.key, ahead(entry.full_at, by));
        }
        by
    }

    /// When a record has to be made: at once where an order waits for it or the CA has named a time, later where it only
    /// keeps things. `None` while one is being saved, or when there is nothing to be saved.
    #[must_use]
    pub fn save_at(&self, now: Timestamp) -> Option<Timestamp> {
        let state = &self.reservation;
        if state.saving.is_some() {
            return None;
        }
        let counted = if !state.needed {
            None
        } else if state.short || state.changes >= CHANGES_MAX {
            Some(now)
        } else {
            state.changed.map(|at| ahead(at, CHANGES_WAIT))
        };
        let due = counted.into_iter().chain(state.urgent.due(now)).min()?;
        Some(state.retry_at.map_or(due, |at| due.max(at)))
    }

    /// Makes the record that is to be saved now, but for the holds; [`Self::saved`] must be told how that went.
    pub fn record(&mut self, now: Timestamp) -> Record {
        self.pass(now);
        let before = self.reservation.grown;
        let made = if self.reservation.short {
            (before * 2).clamp(1, AHEAD_MAX)
        } else {
            1
        };
        let record = self.record_with(made, now);
        self.reservation.saving = Some((record.at, record.orders_full_at, record.ahead));
        self.reservation.grown = made;
        self.reservation.short = false;
        self.reservation.changes = 0;
        self.reservation.changed = None;
        let urgent = &mut self.reservation.urgent;
        if std::mem::take(&mut urgent.fresh) {
            urgent.saving = true;
            urgent.made = Some(now);
        }
        record
    }

    /// The record for the end of the process, but for the holds: nothing will be made ahead of it. `None` where there is
    /// nothing to save.
    pub fn last_record(&mut self, now: Timestamp) -> Option<Record> {
        let state = &self.reservation;
        let ahead = state.saved.is_some_and(|(.., ahead)| ahead > 0);
        let counted = state.needed && (ahead || state.changes > 0);
        let worth = counted || state.urgent.fresh || state.urgent.saving;
        self.pass(now);
        worth.then(|| self.record_with(0, now))
    }

    /// The record has been saved, or could not be.
    pub fn saved(&mut self, well: bool, now: Timestamp) {
        let saving = self.reservation.saving.take();
        let urgent = std::mem::take(&mut self.reservation.urgent.saving);
        if well {
            self.reservation.saved = saving.or(self.reservation.saved);
            self.reservation.retry_at = None;
        } else {
            // It may have been for all that: an answer can be lost. Then it is as if both had said the lesser.
            if let (Some((at, full_at, ahead)), Some(saving)) = (self.reservation.saved, saving) {
                self.reservation.saved = Some((at, full_at.min(saving.1), ahead.min(saving.2)));
            }
            self.reservation.change(now);
            self.reservation.urgent.fresh |= urgent;
            self.reservation.retry_at = Some(ahead(now, RETRY));
        }
    }

    /// How many orders may be made now as far as what is saved covers them.
    pub(super) fn reserved_orders(&self, now: Timestamp) -> u32 {
        let Some(limit) = self.orders.limit() else {
            return u32::MAX;
        };
        let Some(saved) = self.reservation.saved else {
            return 0;
        };
        let covers = |(_, full_at, made): (Timestamp, Timestamp, u32)| {
            ahead(full_at.max(now), limit.interval() * bounded(made))
        };
        let saving = self.reservation.saving.map_or(Timestamp::MAX, covers);
        let covered = covers(saved).min(saving);
        let used = self.orders.projected(ACCOUNT, now);
        let left = used.duration_until(covered).as_nanos() / limit.interval().as_nanos();
        u32::try_from(left.max(0)).unwrap_or(u32::MAX)
    }

    fn record_with(&self, ahead: u32, now: Timestamp) -> Record {
        let mut entries = Vec::new();
        for (limit, meter) in [
            (Kind::CertificatesPerDomain, &self.domains),
            (Kind::CertificatesPerSet, &self.sets),
            (Kind::FailuresInARow, &self.rows),
            (Kind::FailuresPerName, &self.failures),
        ] {
            entries.extend(
                meter
                    .entries()
                    .map(|(key, full_at)| Entry { limit, key, full_at }),
            );
        }
        Record {
            at: now,
            // What is pending may be counted long after now, when the bucket would have refilled from it.
            orders_full_at: self.orders.spent(ACCOUNT, now),
            ahead: ahead.saturating_add(self.orders.pending(ACCOUNT)),
            entries,
            counted: self.reservation.needed,
            holds: Vec::new(),
            clock_ahead: self.reservation.clock_ahead,
        }
    }
}

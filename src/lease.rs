//! Who leads: of several instances one acts, and the others watch, plan and report (P38).
//!
//! [`Tenure`] is what the rest of the program knows of it: whether this instance may act now, by its own clock alone. What
//! changes anything outside is kept [`Fenced`], so that no step reaches it without that question. Leadership is about
//! economy, not safety: what two leaders by accident could spoil, notes and resource versions keep whole.
//!
//! Deliberately absent: what to do with it. The loop decides that, and core knows nothing of instances.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use faythe_core::Timestamp;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::clock::Now;

pub mod election;
mod seats;

/// This instance does not lead, or leads anew and has not looked around yet.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("another instance may lead by now")]
pub struct NotLeading;

/// How an instance stands with others, for people and machines to read; whether it may act, [`Tenure`] alone says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads.
    Leads,
    /// The Lease cannot be read or renewed, for this reason. Once it can, the election goes on.
    Waits(String),
    /// Another leads: its name, and which of our zones it leaves out.
    Watches(String),
    /// It leads without an election, for this reason.
    Without(String),
}

/// Whether this instance leads. Copies share one state.
#[derive(Clone)]
pub struct Tenure {
    term: watch::Receiver<Option<Term>>,
    standing: watch::Receiver<Option<Standing>>,
    /// The number of the term whose beginning the loop has taken in.
    entered: Arc<AtomicU64>,
    now: Now,
}

/// The one place that says who leads; see [`Tenure`].
#[derive(Debug)]
pub struct Office {
    term: watch::Sender<Option<Term>>,
    standing: watch::Sender<Option<Standing>>,
    terms: u64,
}

/// What must not be used by an instance that does not lead.
pub struct Fenced<T> {
    inner: T,
    tenure: Tenure,
}

/// A time in which nobody else leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    /// Another after each time in which somebody else may have led.
    number: u64,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is never over by itself.
    Never,
    /// It is over when either clock says so: the one that nobody can set stands still while a machine is suspended.
    At(Instant, Timestamp),
}

impl Standing {
    /// Every code there is.
    pub const CODES: [&'static str; 4] = ["leads", "waits", "watches", "without"];

    /// Stable code for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        let [leads, waits, watches, without] = Self::CODES;
        match self {
            Self::Leads => leads,
            Self::Waits(_) => waits,
            Self::Watches(_) => watches,
            Self::Without(_) => without,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leads => f.write_str("this instance leads"),
            Self::Waits(why) => write!(
                f,
                "the Lease cannot be read or renewed, and nothing is done until it can: {why}"
            ),
            Self::Watches(holder) => write!(f, "another instance leads: {holder}"),
            Self::Without(why) => write!(f, "this instance leads without an election: {why}"),
        }
    }
}

impl Tenure {
    /// Nobody leads yet.
    #[must_use]
    pub fn vacant(now: Now) -> (Office, Self) {
        let (sender, term) = watch::channel(None);
        let (teller, standing) = watch::channel(None);
        let office = Office {
            term: sender,
            standing: teller,
            terms: 0,
        };
        let tenure = Self {
            term,
            standing,
            entered: Arc::default(),
            now,
        };
        (office, tenure)
    }

    /// Of an instance that leads for good, without an election.
    #[must_use]
    pub fn sole(now: Now) -> Self {
        let (mut office, tenure) = Self::vacant(now);
        office.begin(None);
        office.stand(Standing::Leads);
        tenure
    }

    /// How this instance stands with others; `None` until it has found out.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.standing.borrow().clone()
    }

    /// The number of the term in which this instance leads now; `None` if it does not.
    #[must_use]
    pub fn current(&self) -> Option<u64> {
        let term = *self.term.borrow();
        term.filter(|term| term.lasts((self.now)()))
            .map(|term| term.number)
    }

    /// Takes in that a term has begun: what was seen in earlier ones has been let go, and the notes are read next.
    pub fn enter(&self, number: u64) {
        self.entered.store(number, Ordering::Release);
    }

    /// Asks whether to act; to be asked right before anything that costs or changes something.
    ///
    /// # Errors
    /// When another may lead, or has led since this instance last read the notes.
    pub fn check(&self) -> Result<(), NotLeading> {
        let entered = self.entered.load(Ordering::Acquire);
        if self.current() == Some(entered) {
            Ok(())
        } else {
            Err(NotLeading)
        }
    }

    /// Waits until [`Tenure::current`] is not `known`, and returns what it is then. A term ends by the clock too.
    pub async fn changed(&mut self, known: Option<u64>) -> Option<u64> {
        loop {
            let term = *self.term.borrow_and_update();
            let current = self.current();
            if current != known {
                return current;
            }
            let end = current.and(term).and_then(Term::end);
            tokio::select! {
                changed = self.term.changed() => if changed.is_err() {
                    // Nobody can say anything new; what has been said holds until its end.
                    match end {
                        Some(end) => sleep_until(end).await,
                        None => std::future::pending().await,
                    }
                },
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {}
            }
        }
    }

    /// Puts `inner` behind this tenure.
    #[must_use]
    pub fn fence<T>(&self, inner: T) -> Fenced<T> {
        Fenced {
            inner,
            tenure: self.clone(),
        }
    }
}

impl Office {
    /// This instance leads from now on, at most until `end`, and somebody else may have led before.
    pub fn begin(&mut self, end: Option<(Instant, Timestamp)>) {
        self.terms += 1;
        self.put(end);
    }

    /// This instance leads on until `end`; nobody else has led in between.
    pub fn extend(&mut self, end: (Instant, Timestamp)) {
        self.put(Some(end));
    }

    /// This instance leads no more.
    pub fn leave(&mut self) {
        self.term.send_replace(None);
    }

    /// What is to be said of how this instance stands with others.
    pub fn stand(&self, standing: Standing) {
        self.standing.send_replace(Some(standing));
    }

    fn put(&self, end: Option<(Instant, Timestamp)>) {
        self.term.send_replace(Some(Term {
            number: self.terms,
            end: end.map_or(End::Never, |(end, wall)| End::At(end, wall)),
        }));
    }
}

impl<T> Fenced<T> {
    /// To change or to spend something.
    ///
    /// # Errors
    /// When this instance does not lead.
    pub fn act(&self) -> Result<&T, NotLeading> {
        self.tenure.check().map(|()| &self.inner)
    }

    /// The same for what is changed by its use.
    ///
    /// # Errors
    /// When this instance does not lead.
    pub fn act_mut(&mut self) -> Result<&mut T, NotLeading> {
        self.tenure.check().map(|()| &mut self.inner)
    }

    /// To read what is there, which any instance may.
    #[must_use]
    pub fn read(&self) -> &T {
        &self.inner
    }

    /// Puts something that this gave behind the same fence.
    #[must_use]
    pub fn fence<U>(&self, inner: U) -> Fenced<U> {
        self.tenure.fence(inner)
    }
}

impl Term {
    fn lasts(self, now: Timestamp) -> bool {
        match self.end {
            End::Never => true,
            End::At(end, wall) => Instant::now() < end && now < wall,
        }
    }

    fn end(self) -> Option<Instant> {
        match self.end {
            End::Never => None,
            End::At(end, _) => Some(end),
        }
    }
}

#[cfg(test)]
mod tests;

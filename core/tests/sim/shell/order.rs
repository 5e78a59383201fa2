//! An order in memory, and what can go wrong with it.

use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::budget::{Grant, Spending};
use faythe_core::name::Hostname;
use faythe_core::order::{CaView, Note, OrderStatus, Place, Published, Stage, deadline};
use faythe_core::problem::{Exchange, Problem, Reaction, Scope};
use faythe_core::renewal::Rule;
use faythe_core::schedule::{self, Failures, GivenUp, Threshold, after, ahead};
use jiff::SignedDuration;

use super::{Done, Outcome, Progress};
use crate::laws::GRACE;
use crate::outside::CaFault;

/// An order in memory.
pub(super) struct Order {
    pub(super) host: Hostname,
    pub(super) note: Option<Note>,
    pub(super) note_in_doubt: bool,
    pub(super) place: Option<Place>,
    /// The version of the Secret that was seen there.
    pub(super) slot: Option<Box<str>>,
    pub(super) session: Option<usize>,
    pub(super) view: Option<CaView>,
    pub(super) published: Published,
    pub(super) failures: Option<Failures>,
    pub(super) earlier_look: Option<Timestamp>,
    pub(super) doom: Option<Failures>,
    pub(super) abandoned: Option<Fault>,
    /// Orders before it that were of no use, and the same with this one once that is saved.
    pub(super) given_up: Option<GivenUp>,
    pub(super) tallied: Option<GivenUp>,
    pub(super) stage: Stage,
    pub(super) tries: u32,
    /// Since when and how often something under way was looked at.
    pub(super) polling: Option<(Timestamp, u32)>,
    /// What a new one would take the place of, and when certificates are due.
    pub(super) replaces: Option<CertificateId>,
    pub(super) rule: Rule,
    /// What was found in the place of the certificate.
    pub(super) found: Option<CertificateId>,
    /// Leave to make an order.
    pub(super) grant: Option<Grant>,
    /// The ledger knows of the certificate.
    pub(super) counted: bool,
    /// The CA makes a certificate of it, for all that is known.
    pub(super) requested: bool,
    /// How far our clock is ahead of the API server's.
    pub(super) clock_ahead: SignedDuration,
}

#[derive(Clone)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) pause: Pause,
}

#[derive(Clone)]
pub(super) enum Pause {
    Abandon,
    Doom {
        parked: bool,
        wait: Option<Duration>,
    },
    Rest {
        wait: Option<Duration>,
        hold: Option<(Scope, Option<Duration>)>,
    },
}

impl Order {
    pub(super) fn new(host: Hostname) -> Self {
        Self {
            host,
            note: None,
            note_in_doubt: false,
            place: None,
            slot: None,
            session: None,
            view: None,
            published: Published::No,
            failures: None,
            earlier_look: None,
            doom: None,
            abandoned: None,
            given_up: None,
            tallied: None,
            stage: Stage::Ordering,
            tries: 0,
            polling: None,
            replaces: None,
            rule: Threshold::Default.into(),
            found: None,
            grant: None,
            counted: false,
            requested: false,
            clock_ahead: SignedDuration::ZERO,
        }
    }

    /// Waits for another look at something under way, or rests when it has taken too long.
    pub(super) fn poll(
        &mut self,
        now: Timestamp,
        patience: SignedDuration,
        fault: Fault,
    ) -> Result<Done, Fault> {
        let (since, round) = self.polling.unwrap_or((now, 0));
        if ahead(since, patience) <= now {
            self.polling = None;
            return Err(fault);
        }
        self.polling = Some((since, round + 1));
        Ok(Done::GoOn(
            schedule::poll(Duration::ZERO, round + 1).max(Duration::from_millis(10)),
        ))
    }

    /// Whether the CA has carried out what it was asked is uncertain: the order is taken up anew.
    pub(super) fn is_uncertain(&mut self) {
        (self.session, self.view) = (None, None);
    }

    /// Whether the CA has made it and perhaps no note tells of it.
    pub(super) fn is_unnoted(&self) -> bool {
        self.session.is_some() && (self.note.is_none() || self.note_in_doubt)
    }

    pub(super) fn rested(&mut self, fault: Fault) -> Outcome {
        self.tries = self.tries.saturating_add(1);
        Outcome::Rested(fault)
    }

    pub(super) fn settle(&mut self, fault: Fault, now: Timestamp) -> Option<Outcome> {
        match fault.pause {
            Pause::Doom { parked, wait } => {
                self.doom = Some(self.failure(fault.code, parked, wait, now));
                None
            }
            Pause::Abandon if self.abandoned.is_none() => {
                self.abandoned = Some(fault);
                self.is_uncertain();
                None
            }
            Pause::Abandon | Pause::Rest { .. } => Some(self.rested(fault)),
        }
    }

    pub(super) fn failure(
        &self,
        code: &str,
        parked: bool,
        wait: Option<Duration>,
        now: Timestamp,
    ) -> Failures {
        Failures {
            count: self
                .failures
                .as_ref()
                .map_or(0, |before| before.count)
                .saturating_add(1),
            last: now,
            clock_ahead: self.clock_ahead,
            code: code.to_owned(),
            text: code.to_owned(),
            not_before: wait.map(|wait| after(now, wait)),
            parked,
            refused_by: Vec::new(),
        }
    }

    /// Tells the ledger once that the CA has issued a certificate.
    pub(super) fn count_issued(&mut self) -> Option<Progress> {
        let first = !std::mem::replace(&mut self.counted, true);
        first.then_some(Progress::Spent(Spending::Issued))
    }

    /// When the CA forgets it, as far as is known.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        deadline(self.view.as_ref(), self.note.as_ref())
    }

    /// The orders of no use in a row, once this is one more.
    pub(super) fn given_up(&self, fault: &Fault, now: Timestamp) -> GivenUp {
        let note = self.note.as_ref().filter(|_| fault.code == "order-expired");
        GivenUp {
            clock_ahead: self.clock_ahead,
            ..GivenUp::one_more(
                self.given_up.as_ref(),
                note.map(|note| note.created),
                GRACE.unsigned_abs(),
                now,
                fault.code.to_owned(),
                fault.code.to_owned(),
            )
        }
    }

    pub(super) fn doom_if_invalid(&mut self, now: Timestamp) {
        let Some(view) = self
            .view
            .as_ref()
            .filter(|view| view.status == OrderStatus::Invalid)
        else {
            return;
        };
        let Some(problem) = &view.problem else { return };
        match Fault::problem(problem, Exchange::Validation).pause {
            Pause::Abandon => self.abandoned = Some(Fault::own("order-invalid")),
            Pause::Doom { parked, wait } => {
                self.doom = Some(self.failure("order-invalid", parked, wait, now))
            }
            Pause::Rest { wait, .. } => self.doom = Some(self.failure("order-invalid", false, wait, now)),
        }
    }
}

impl Fault {
    /// A fault on our side of the CA.
    pub(super) fn own(code: &'static str) -> Self {
        Self {
            code,
            pause: Pause::Rest {
                wait: None,
                hold: None,
            },
        }
    }

    pub(super) fn waiting(code: &'static str, secs: u64) -> Self {
        Self::own(code).after(Duration::from_secs(secs))
    }

    /// Our clock is behind the CA's: the certificate is stored when it has begun.
    pub(super) fn slow_clock(now: Timestamp, from: Timestamp) -> Self {
        const LONGEST: Duration = Duration::from_secs(300);
        Self::own("slow-clock").after(now.duration_until(from).unsigned_abs().min(LONGEST))
    }

    /// The same, with the same order again after `wait`.
    pub(super) fn after(self, wait: Duration) -> Self {
        let (wait, hold) = (Some(wait), None);
        Self {
            pause: Pause::Rest { wait, hold },
            ..self
        }
    }

    /// The CA has not answered.
    pub(super) fn unreachable() -> Self {
        let hold = Some((Scope::Account, None));
        Self {
            code: "ca-unreachable",
            pause: Pause::Rest { wait: None, hold },
        }
    }

    pub(super) fn ca(fault: CaFault, during: Exchange) -> Self {
        match fault {
            CaFault::Refused(problem) => Self::problem(&problem, during),
            CaFault::Gone => Self {
                code: "order-gone",
                pause: Pause::Abandon,
            },
        }
    }

    pub(super) fn problem(problem: &Problem, during: Exchange) -> Self {
        let pause = match problem.reaction(during) {
            Reaction::Hold {
                scope: Scope::Name,
                wait,
            } => Pause::Doom { parked: false, wait },
            Reaction::Hold { scope, wait } => Pause::Rest {
                wait,
                hold: Some((scope, wait)),
            },
            Reaction::Later => Pause::Doom {
                parked: false,
                wait: problem.retry_after,
            },
            Reaction::NewKey => Pause::Doom {
                parked: true,
                wait: None,
            },
            Reaction::Renew if during == Exchange::NewOrder => Pause::Rest {
                wait: Some(Duration::from_secs(60)),
                hold: None,
            },
            Reaction::Renew => Pause::Abandon,
            Reaction::Reread | Reaction::Soon => Pause::Rest {
                wait: problem.retry_after,
                hold: None,
            },
            Reaction::Stop => Pause::Doom {
                parked: true,
                wait: problem.retry_after,
            },
        };
        Self {
            code: problem.kind.as_str(),
            pause,
        }
    }
}

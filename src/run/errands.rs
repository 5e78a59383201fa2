//! Errands of the loop besides orders: asking the CA when it wants a certificate renewed, saving that and the ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::budget::{Ledger, Record};
use faythe_core::cas::CaId;
use faythe_core::schedule;
use faythe_core::world::{Answer, Question, SavedWindow, World};

use tokio_util::sync::CancellationToken;

use super::Loop;
use crate::act::{self, Outside};
use crate::ca::CaError;
use crate::store::{Saved, StoreError};

/// What an errand has brought.
#[derive(Debug)]
pub(super) enum Errand {
    /// The CA has been asked about a certificate.
    Asked {
        question: Question,
        answer: Answer,
        /// Where the CA explains it.
        page: Option<String>,
    },
    /// The ledger of a CA has been saved, or not; then what another instance has saved meanwhile.
    Saved(CaId, Result<(), Option<Record>>),
    /// The names of notes that are not known here, in this term; `None` where they cannot be told.
    Strays(Option<u64>, Option<BTreeSet<String>>),
    /// The windows have been saved, or not.
    WindowsSaved(bool),
}

/// What earlier processes have left: notes, the records of the ledgers, and what the CAs have said about renewals.
pub(super) struct Legacy {
    pub(super) notes: Vec<Saved>,
    /// One for each CA.
    pub(super) records: Vec<Option<Record>>,
    pub(super) windows: Vec<SavedWindow>,
}

/// Reads what earlier processes have left.
async fn legacy(outside: &Outside) -> Result<Legacy, StoreError> {
    let mut records = Vec::new();
    for desk in &outside.desks {
        // Where nothing is counted too: the CA may have named a time.
        records.push(outside.store.read().ledger(desk.ca.read().directory()).await?);
    }
    Ok(Legacy {
        notes: outside.store.read().notes().await?,
        windows: outside.store.read().windows().await?,
        records,
    })
}

/// Reads what earlier runs have left, until it succeeds: without it nothing is decided.
pub(super) async fn legacy_of(outside: Arc<Outside>, stop: CancellationToken) -> Legacy {
    let mut tries = 0;
    loop {
        match legacy(&outside).await {
            Ok(legacy) => return legacy,
            Err(error) => {
                let wait = match &error {
                    StoreError::Unavailable {
                        retry_after: Some(wait),
                        ..
                    } => *wait,
                    StoreError::Conflict { .. }
                    | StoreError::Forbidden { .. }
                    | StoreError::Refused { .. }
                    | StoreError::Unavailable { .. }
                    | StoreError::Unreadable { .. } => schedule::rest(tries),
                };
                if tries == 0 {
                    tracing::warn!(
                        "the notes of earlier runs cannot be read yet: {}",
                        act::chain(&error)
                    );
                }
                tries += 1;
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => std::future::pending().await,
                }
            }
        }
    }
}

impl Loop {
    /// The ledgers as earlier processes have left them; before the notes are told.
    pub(super) fn open_ledgers(&mut self, records: &[Option<Record>]) {
        let now = self.now();
        for (ca, _) in self.outside.cas.all() {
            self.world
                .set_ledger(ca, Ledger::new(self.outside.desk(ca).limits));
            if let Some(Some(record)) = records.get(ca.place()) {
                self.world.load_ledger(ca, record, now);
            }
        }
    }

    /// Saves the ledgers for which that is due.
    pub(super) fn keep_ledgers(&mut self) {
        let now = self.now();
        let outside = Arc::clone(&self.outside);
        for (ca, _) in outside.cas.all() {
            let due = self.world.ledger(ca).save_at(now).is_some_and(|at| at <= now);
            if !self.leadership.acts || !due {
                continue;
            }
            let record = self.world.record(ca, now);
            let outside = Arc::clone(&outside);
            self.errands.spawn(async move {
                let directory = outside.desk(ca).ca.read().directory();
                let Ok(store) = outside.store.act() else {
                    return Errand::Saved(ca, Err(None));
                };
                let Err(error) = store.save_ledger(directory, &record).await else {
                    return Errand::Saved(ca, Ok(()));
                };
                let conflict = matches!(error, StoreError::Conflict { .. });
                if conflict {
                    tracing::debug!("the ledger is read anew and saved then: {}", act::chain(&error));
                } else {
                    tracing::warn!("the ledger cannot be saved: {}", act::chain(&error));
                }
                let theirs = store.ledger(directory).await.ok().flatten();
                Errand::Saved(ca, Err(theirs.filter(|_| conflict)))
            });
        }
    }

    /// Saves what the CA has said about renewals, if that is due.
    pub(super) fn keep_windows(&mut self) {
        let now = self.now();
        if !self.leadership.acts || self.world.save_windows_at(now).is_none_or(|at| at > now) {
            return;
        }
        let windows = self.world.windows_to_save();
        let outside = Arc::clone(&self.outside);
        self.errands.spawn(async move {
            let Ok(store) = outside.store.act() else {
                return Errand::WindowsSaved(false);
            };
            let Err(error) = store.save_windows(&windows).await else {
                return Errand::WindowsSaved(true);
            };
            tracing::warn!(
                "what the CA says about renewals cannot be saved: {}",
                act::chain(&error)
            );
            if matches!(error, StoreError::Conflict { .. }) {
                // Only who has read what is there may write over it.
                let _ = store.windows().await;
            }
            Errand::WindowsSaved(false)
        });
    }

    /// Saves for the last time. Who does not act yet may have read what is there a moment ago and not taken it in.
    pub(super) async fn close(&mut self) {
        if !self.leadership.acts {
            return;
        }
        self.close_ledgers().await;
        if let Some(windows) = self.world.last_windows()
            && let Ok(store) = self.outside.store.act()
            && let Err(error) = store.save_windows(&windows).await
        {
            tracing::warn!(
                "what the CA says about renewals cannot be saved at the end: {}",
                act::chain(&error)
            );
        }
    }

    async fn close_ledgers(&mut self) {
        let now = self.now();
        let outside = Arc::clone(&self.outside);
        for (ca, _) in outside.cas.all() {
            if let Some(record) = self.world.last_record(ca, now)
                && let Ok(store) = outside.store.act()
                && let Err(error) = store
                    .save_ledger(outside.desk(ca).ca.read().directory(), &record)
                    .await
            {
                tracing::warn!("the ledger cannot be saved at the end: {}", act::chain(&error));
            }
        }
    }

    pub(super) fn ask_hint(&mut self, certificate: CertificateId, question: Question) {
        let asked_for = self.world.asked_for(question);
        // The plan has it asked at none that is not configured.
        let ca = asked_for
            .and_then(|host| self.world.maker(host))
            .unwrap_or(CaId::FIRST);
        let host = asked_for.map_or_else(String::new, ToString::to_string);
        let outside = Arc::clone(&self.outside);
        self.errands.spawn(async move {
            let asked = outside.desk(ca).ca.read().renewal_info(&certificate).await;
            let mut page = None;
            let answer = match asked {
                Ok(Some(info)) => {
                    page = info.explanation;
                    Answer::Told {
                        window: info.window,
                        retry_after: info.retry_after,
                    }
                }
                Ok(None) => Answer::Unsupported,
                Err(error) => {
                    tracing::debug!(%host, "no renewal information: {}", act::chain(&error));
                    failed(&error)
                }
            };
            Errand::Asked {
                question,
                answer,
                page,
            }
        });
    }

    /// What the CA says of a certificate is explained on this page, or on none.
    fn explained(&mut self, question: Question, answer: Answer, page: Option<&str>) {
        let Answer::Told { window, .. } = answer else {
            return;
        };
        let host = self.world.asked_for(question).cloned();
        if self.world.explained(question, window, page)
            && let Some(host) = host
        {
            tracing::info!(%host, page, "the CA explains when it wants the certificate renewed");
        }
    }

    /// The CA has been asked about a certificate.
    fn hinted(&mut self, question: Question, answer: Answer, now: Timestamp) {
        let asked_for = self.world.asked_for(question);
        let ca = asked_for.and_then(|host| self.world.maker(host));
        let unasked = |world: &World| ca.and_then(|ca| world.unasked_until(ca, now));
        let before = unasked(&self.world);
        self.world.hinted(question, answer, now);
        if let (Answer::Busy { .. }, None, Some(until)) = (answer, before, unasked(&self.world)) {
            let ca = ca.and_then(|ca| self.outside.cas.get(ca));
            let ca = ca.map_or("", |ca| ca.name.as_str());
            tracing::warn!(ca, %until, "the CA wants to be asked about no renewal until then");
        }
    }

    pub(super) fn errand(&mut self, errand: Errand) {
        let now = self.now();
        match errand {
            Errand::Asked {
                question,
                answer,
                page,
            } => {
                self.explained(question, answer, page.as_deref());
                self.hinted(question, answer, now);
            }
            Errand::Strays(term, found) => self.strays(term, found),
            Errand::WindowsSaved(well) => self.world.windows_saved(well, now),
            Errand::Saved(ca, Ok(())) => self.world.ledger_mut(ca).saved(true, now),
            Errand::Saved(ca, Err(theirs)) => {
                self.world.ledger_mut(ca).saved(false, now);
                if let Some(record) = theirs {
                    self.world.load_ledger(ca, &record, now);
                }
            }
        }
    }
}

/// Whether an error will pass, and when if the CA has said so (RFC 9773 §4.3.3).
fn failed(error: &CaError) -> Answer {
    let passes = |status: Option<u16>| status.is_some_and(|status| status >= 500 || status == 429);
    match error {
        CaError::Refused(problem) if passes(problem.status) => Answer::Busy {
            retry_after: problem.retry_after,
        },
        // Who stands before the CA refuses without a problem document.
        CaError::Garbled {
            status, retry_after, ..
        } if passes(*status) => Answer::Busy {
            retry_after: *retry_after,
        },
        CaError::Account(_) | CaError::NoLeave | CaError::Unreachable { .. } => {
            Answer::Busy { retry_after: None }
        }
        CaError::Garbled { .. }
        | CaError::Gone { .. }
        | CaError::Irreplaceable(_)
        | CaError::Moved(_)
        | CaError::Refused(_)
        | CaError::Unread { .. }
        | CaError::Unregistered(_) => Answer::Refused,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use faythe_core::problem::{Problem, ProblemKind};

    use super::*;

    #[test]
    fn p22_a_refusal_that_passes_says_when_with_or_without_a_problem_document() {
        let retry_after = Some(Duration::from_secs(600));
        let refused = |status| {
            CaError::Refused(Problem {
                status: Some(status),
                kind: ProblemKind::Unknown,
                detail: String::new(),
                retry_after,
            })
        };
        let garbled = |status| CaError::Garbled {
            url: "https://ca.test/ari/a.b".to_owned(),
            what: "HTML".to_owned(),
            retry_after,
            status,
        };
        for status in [429, 500, 503] {
            assert_eq!(failed(&refused(status)), Answer::Busy { retry_after }, "{status}");
            assert_eq!(
                failed(&garbled(Some(status))),
                Answer::Busy { retry_after },
                "{status}"
            );
        }
        for lasts in [refused(404), garbled(Some(404)), garbled(None)] {
            assert_eq!(failed(&lasts), Answer::Refused, "{lasts}");
        }
    }
}

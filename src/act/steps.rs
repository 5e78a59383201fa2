//! The steps of an order, one function each: what is asked of the CA, the DNS and the store, and what was found.
//!
//! Every step may be repeated, and none decides whether it is its turn.

use std::sync::PoisonError;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::budget::Spending;
use faythe_core::cert::{Standing, standing};
use faythe_core::order::{CaView, ChallengeStatus, OrderStatus, Place, Published, deadline};
use faythe_core::route::Way;
use faythe_core::schedule::{self, Failures};
use faythe_core::visibility::Sight;
use tokio::time::Instant;

use super::fault::{Fault, Pause};
use super::{Issued, Outcome, Progress, Then, Work};
use crate::ca::{CaError, CaOrder};
use crate::dns::Foreign;
use crate::sealed::Sealed;
use crate::store::{Slot, Stamp, StoreError};
use crate::x509::{self, KeyType, Unfit};

/// How long the CA may take for one state of an order before the order rests.
const CA_PATIENCE: Duration = Duration::from_secs(60);
/// How often in a row the place may change under our hands before the order rests.
const CONFLICTS: u32 = 3;

impl Work<'_> {
    pub(super) async fn inspect(&mut self) -> Result<(), Fault> {
        // An order of which nothing is noted will have to know where its value goes, and whether the CA may issue: that is
        // asked meanwhile.
        let (slot, (way, caa)) = futures::join!(self.outside.store.read().slot(&self.order.host), async {
            match &self.order.note {
                Some(_) => (None, None),
                None => {
                    let (way, caa) = futures::join!(self.find_way(), self.find_caa());
                    (Some(way), caa)
                }
            }
        });
        self.order.way = way;
        self.order.caa = caa;
        let slot = slot?;
        self.order.place = Some(match &slot {
            Slot::Vacant => Place::Open,
            Slot::Foreign(_) => Place::Taken,
            Slot::Ours(held) => {
                let now = (self.outside.now)();
                let held = &held.clone().by(now);
                let replaced = self.order.note.as_ref().is_some_and(|note| note.replaces(held));
                match standing(&self.order.host, std::iter::once(held), self.order.rule, now) {
                    Standing::Fine { .. } if !replaced => {
                        let host = self.order.host.clone();
                        let held = held.clone();
                        let ended = |failures: &mut Failures| failures.is_ended_by(held.issued_at);
                        self.order.failures.take_if(ended);
                        let _ = self.progress.send(Progress::Held {
                            host,
                            held,
                            issued: None,
                        });
                        Place::Served
                    }
                    Standing::Fine { .. } | Standing::Short(_) => Place::Open,
                }
            }
        });
        self.order.slot = Some(slot);
        Ok(())
    }

    pub(super) async fn resume(&mut self) -> Result<(), Fault> {
        let Some(note) = &self.order.note else {
            return Ok(());
        };
        let session = match self.desk().ca.act()?.resume(&note.order_url).await {
            Ok(session) => session,
            Err(error) => return Err(self.unless_over(error, deadline(None, Some(note)))),
        };
        for value in &note.values {
            let zone = self.zone_of(note);
            self.outside
                .dns
                .read()
                .adopt(zone, note.record(value), &value.value);
        }
        let expected = |value| note.values.is_empty() || note.values.contains(value);
        if !session
            .view()
            .challenges
            .iter()
            .all(|challenge| expected(&challenge.value))
        {
            // Values that the note does not have could not be withdrawn after a crash.
            return Err(Fault::strange_order(&note.order_url));
        }
        let created = note.created;
        self.complete_note(session.view());
        if session.view().status == OrderStatus::Pending {
            // Now it is known how far the order was, whoever worked on it.
            self.outside.board.disclosed(&self.order.host);
        }
        self.take_up(session, created);
        Ok(())
    }

    /// Goes on with an order as the CA shows it; before `since` the CA was not told of it.
    pub(super) fn take_up(&mut self, session: Box<dyn CaOrder>, since: Timestamp) {
        let view = session.view();
        if view.challenges.is_empty() {
            // Reused authorizations need no value in the DNS.
            self.outside.board.prepared(&self.order.host);
        }
        if view
            .challenges
            .iter()
            .any(|challenge| challenge.status == ChallengeStatus::Processing)
        {
            self.outside.board.told(&self.order.host, since);
        }
        match session.view().status {
            OrderStatus::Invalid => self.spent(Spending::Failed),
            OrderStatus::Valid => self.count_issued(),
            OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Ready => {}
        }
        self.order.requested = session.view().status == OrderStatus::Processing;
        self.doom_if_invalid(session.view());
        self.order.session = Some(self.desk().ca.fence(session));
    }

    /// An order that the CA has given up is a failure to be recorded, with the CA's words.
    fn doom_if_invalid(&mut self, view: &CaView) {
        if view.status == OrderStatus::Invalid && self.order.doom.is_none() && self.order.abandoned.is_none()
        {
            let fault = Fault::invalid(view, (self.outside.now)());
            match fault.pause {
                Pause::Abandon => self.order.abandoned = Some(fault),
                Pause::Doom { parked, wait } => self.order.doom = Some(self.failure(fault, parked, wait)),
                // An order that has ended takes no other key.
                Pause::NewKey => self.order.doom = Some(self.failure(fault, true, None)),
                // A limit that is told inside an order has failed the order all the same.
                Pause::Rest { wait, .. } => self.order.doom = Some(self.failure(fault, false, wait)),
                // The CA says nothing of who leads.
                Pause::Stop => {}
            }
        }
    }

    pub(super) async fn publish(&mut self) -> Result<(), Fault> {
        self.put().await?;
        self.order.sight = Sight::new((self.outside.now)());
        self.made_progress();
        Ok(())
    }

    /// Puts the values of the note where they have to stand.
    pub(super) async fn put(&mut self) -> Result<(), Fault> {
        let Some(note) = &self.order.note else {
            return Ok(());
        };
        // An update without an answer may have been made: what stands there is not known until one has succeeded.
        self.order.published = Published::No;
        for value in &note.values {
            let foreign = match note.route.as_ref().map(|route| route.way) {
                Some(Way::Delegated) => Foreign::Kept,
                Some(Way::Direct) | None => Foreign::Removed,
            };
            let (zone, record) = (self.zone_of(note), note.record(value));
            self.outside
                .dns
                .act()?
                .publish(zone, record, &value.value, foreign)
                .await?;
        }
        self.order.published = Published::Hidden;
        self.order.put = Some(Instant::now());
        Ok(())
    }

    pub(super) async fn tell(&mut self) -> Result<(), Fault> {
        let Some(session) = &mut self.order.session else {
            return Ok(());
        };
        self.outside.board.told(&self.order.host, (self.outside.now)());
        if let Err(error) = session.act_mut()?.answer().await {
            return Err(self.uncertain(error));
        }
        self.ca_has_done_it();
        Ok(())
    }

    /// Asks the CA until the order's state has changed.
    pub(super) async fn ask(&mut self) -> Result<(), Fault> {
        let Some(session) = &mut self.order.session else {
            return Ok(());
        };
        let before = session.read().view().status;
        let usual = *self.outside.usual.lock().unwrap_or_else(PoisonError::into_inner);
        let usual = if before == OrderStatus::Pending {
            usual.validation
        } else {
            usual.issuance
        };
        // An order that has rested is asked for once each time, and makes room again.
        let patience = if self.order.tries == 0 {
            CA_PATIENCE
        } else {
            Duration::ZERO
        };
        let began = Instant::now();
        let mut missed = Duration::ZERO;
        let mut round = 0;
        let looked = loop {
            let pause = schedule::poll(usual, round);
            let asked = session.read().view().retry_after.unwrap_or_default();
            if asked > patience.saturating_sub(began.elapsed()) {
                return Err(self.leave_alone(before, asked));
            }
            tokio::select! {
                () = tokio::time::sleep(pause.max(asked)) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            // The state is that of about when the question went out, however long the answer then takes.
            let looked = began.elapsed();
            if let Err(error) = session.act_mut()?.refresh().await {
                return Err(self.uncertain(error));
            }
            if session.read().view().status != before {
                break looked;
            }
            let deadline = deadline(Some(session.read().view()), self.order.note.as_ref());
            if deadline.is_some_and(|at| at <= (self.outside.now)()) {
                return Err(Fault::expired());
            }
            missed = looked;
            if began.elapsed() >= patience {
                return Err(if schedule::is_hopeless(self.order.tries) {
                    Fault::stuck_order(before)
                } else {
                    Fault::slow_ca(before)
                });
            }
            round += 1;
        };
        let mut learned = self.outside.usual.lock().unwrap_or_else(PoisonError::into_inner);
        if before == OrderStatus::Pending {
            learned.validation = schedule::usual(learned.validation, missed, looked);
            self.outside.board.settled(&self.order.host, (self.outside.now)());
        } else {
            learned.issuance = schedule::usual(learned.issuance, missed, looked);
        }
        drop(learned);
        let view = session.read().view().clone();
        if before == OrderStatus::Processing && view.status == OrderStatus::Ready {
            return Err(self.refused(Fault::slow_ca(view.status)));
        }
        if before == OrderStatus::Pending && view.status == OrderStatus::Invalid {
            self.spent(Spending::Failed);
        }
        if view.status == OrderStatus::Valid {
            self.count_issued();
        }
        self.doom_if_invalid(&view);
        self.ca_has_done_it();
        Ok(())
    }

    /// The CA wants to be asked about the order only after longer than work on it waits: others get its place meanwhile. It
    /// is read anew then, which is the question.
    fn leave_alone(&mut self, status: OrderStatus, asked: Duration) -> Fault {
        let session = self.order.session.take();
        if schedule::is_hopeless(self.order.tries) {
            return Fault::stuck_order(status);
        }
        let deadline =
            session.and_then(|session| deadline(Some(session.read().view()), self.order.note.as_ref()));
        let wait = schedule::order_rest(asked, self.order.tries, deadline, (self.outside.now)());
        Fault::slow_ca(status).after(wait)
    }

    pub(super) async fn finalize(&mut self) -> Result<(), Fault> {
        let (Some(session), Some(key)) = (&mut self.order.session, &self.order.key) else {
            return Ok(());
        };
        let csr = x509::csr(&self.order.host, key).map_err(|error| Fault::unusable_key(&error))?;
        if let Err(error) = session.act_mut()?.finalize(&csr).await {
            let answered = error.is_about_order();
            // An answer that was lost may have been a yes.
            self.order.requested =
                !matches!(error, CaError::Moved(_) | CaError::NoLeave | CaError::Refused(_));
            let fault = Fault::from(error);
            if fault.pause == Pause::NewKey && !self.order.rekeyed {
                return self.rekey().await;
            }
            self.order.session = None;
            if answered && matches!(fault.pause, Pause::Rest { .. }) {
                return Err(self.refused(fault));
            }
            return Err(fault);
        }
        let view = session.read().view().clone();
        self.order.requested = true;
        match view.status {
            OrderStatus::Valid => self.count_issued(),
            OrderStatus::Ready => return Err(self.refused(Fault::slow_ca(view.status))),
            OrderStatus::Invalid | OrderStatus::Pending | OrderStatus::Processing => {}
        }
        self.doom_if_invalid(&view);
        self.ca_has_done_it();
        Ok(())
    }

    /// The CA has not taken the CSR, whatever it has answered: the order is read anew, and given up when that has gone on for
    /// long (P23).
    fn refused(&mut self, fault: Fault) -> Fault {
        self.order.session = None;
        self.order.refusals += 1;
        if schedule::is_hopeless(self.order.refusals) {
            let pause = Pause::Abandon;
            return Fault { pause, ..fault };
        }
        fault
    }

    /// Gives the noted order another key: the CA does not take the one it has, and the order is ready still.
    async fn rekey(&mut self) -> Result<(), Fault> {
        let Some(note) = &self.order.note else {
            return Ok(());
        };
        let key = new_key(self.outside.key_type).await?;
        let saved = self.saved(note, &key);
        self.outside.store.act()?.save(&saved).await?;
        self.order.key = Some(key);
        self.order.rekeyed = true;
        Ok(())
    }

    pub(super) async fn keep(&mut self) -> Result<(), Fault> {
        let (Some(session), Some(key), Some(slot)) =
            (&mut self.order.session, &self.order.key, &self.order.slot)
        else {
            return Ok(());
        };
        let host = &self.order.host;
        let chain = match session.act_mut()?.certificate().await {
            Ok(chain) => chain,
            Err(error) => {
                let deadline = deadline(Some(session.read().view()), self.order.note.as_ref());
                let lapsed = deadline.is_some_and(|at| at <= (self.outside.now)());
                self.order.session = None;
                let fault = self.unless_over(error, deadline);
                // It is issued and counted, and another would be too: the order is read again, and ends if that is gone.
                return Err(if fault.pause == Pause::Abandon && !lapsed {
                    fault.after(schedule::ca_rest(self.order.tries))
                } else {
                    fault
                });
            }
        };
        // Not that the order has come further: what is wrong with the chain or its place is no trouble of the CA.
        let _ = self.progress.send(Progress::CaAnswered(self.order.ca));
        let now = (self.outside.now)();
        if let Err(error) = x509::check_issued(&chain, key, host, now) {
            return Err(if let Unfit::NotYetValid { from, .. } = error {
                Fault::slow_clock(&error, now, from)
            } else {
                Fault::bad_chain(&error)
            });
        }
        let profile = session.read().profile().map(str::to_owned);
        let stamp = Stamp {
            at: now,
            by: self.directory(),
            early: self.order.early,
            profile: profile.as_deref(),
        };
        let store = self.outside.store.act()?;
        let kept = store.keep(host, slot, &chain, key, stamp);
        match kept.await {
            Ok(held) => {
                self.order.place = Some(Place::Served);
                self.order.failures = None;
                // However often it has rested, and whoever began it.
                let took = Duration::try_from(self.begun.duration_until((self.outside.now)()));
                let issued = Issued {
                    took: took.unwrap_or_default(),
                    without: std::mem::take(&mut self.order.without),
                };
                let _ = self.progress.send(Progress::Held {
                    host: host.clone(),
                    held,
                    issued: Some(Box::new(issued)),
                });
                self.made_progress();
                Ok(())
            }
            Err(StoreError::Conflict { .. }) if self.order.tries < CONFLICTS => {
                // Somebody else wrote there: look again and go on by what is there now.
                self.order.tries += 1;
                self.order.place = None;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn withdraw(&mut self) -> Result<(), Fault> {
        self.order.published = Published::No;
        if let Some(note) = &self.order.note {
            for value in &note.values {
                let (zone, record) = (self.zone_of(note), note.record(value));
                self.outside
                    .dns
                    .act()?
                    .withdraw(zone, record, &value.value)
                    .await?;
            }
        }
        self.order.published = Published::Withdrawn;
        self.outside.board.settled(&self.order.host, (self.outside.now)());
        Ok(())
    }

    pub(super) async fn record_failure(&mut self) -> Result<Then, Fault> {
        let Some(failures) = self.order.doom.clone() else {
            return Ok(Then::End(Outcome::Settled));
        };
        self.save_failure(failures.clone()).await?;
        Ok(Then::End(Outcome::Failed(failures)))
    }

    pub(super) async fn forget(&mut self) -> Result<(), Fault> {
        // A removal without an answer may have been made.
        self.order.note_in_doubt = true;
        let given_up = self.order.abandoned.as_ref().map(|fault| self.given_up(fault));
        if self.order.failures.is_some() || given_up.is_some() {
            self.save_history(given_up.clone()).await?;
        } else {
            self.outside.store.act()?.forget(&self.order.host).await?;
        }
        self.order.tallied = given_up;
        self.order.note = None;
        self.order.note_in_doubt = false;
        self.order.key = None;
        self.order.session = None;
        self.order.published = Published::No;
        self.order.route = None;
        self.order.without.clear();
        self.order.begun = None;
        Ok(())
    }

    /// Takes in that an exchange about the noted order has failed. Whether the CA has carried it out is uncertain, and our
    /// account may be another by now: the order is taken up anew before anything else is asked of it.
    fn uncertain(&mut self, error: CaError) -> Fault {
        self.order.session = None;
        error.into()
    }

    /// What follows from a fault with an order that cannot be read, or its certificate: once its time is over and that has
    /// been tried for long, another follows (P23).
    fn unless_over(&self, error: CaError, deadline: Option<Timestamp>) -> Fault {
        let is_over = deadline.map_or_else(|| error.is_about_order(), |at| at <= (self.outside.now)());
        let fault = Fault::from(error);
        if is_over && schedule::is_hopeless(self.order.tries) && matches!(fault.pause, Pause::Rest { .. }) {
            let pause = Pause::Abandon;
            return Fault { pause, ..fault };
        }
        fault
    }

    /// The CA has done what it was asked: what has failed before is no series any more, neither this order's nor, where
    /// the CA was in trouble, everybody's. To read an order again is not enough for that: a CA that shows orders and
    /// finishes none would be asked by each of them as if nothing were wrong.
    pub(super) fn ca_has_done_it(&mut self) {
        let _ = self.progress.send(Progress::CaAnswered(self.order.ca));
        self.made_progress();
    }

    /// A step has succeeded: what failed before it is no series any more.
    pub(super) fn made_progress(&mut self) {
        self.order.tries = 0;
    }
}

/// Makes a key away from the threads that must not wait: an RSA key takes a tenth of a second and more.
pub(super) async fn new_key(key_type: KeyType) -> Result<Sealed, Fault> {
    match tokio::task::spawn_blocking(move || x509::new_key(key_type)).await {
        Ok(Ok(key)) => Ok(key),
        Ok(Err(error)) => Err(Fault::unusable_key(&error)),
        Err(error) => Err(Fault::unusable_key(&error)),
    }
}

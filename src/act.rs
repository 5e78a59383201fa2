//! Carries one order to its end: gathers what is known, asks `core::order` for the next step, performs it.
//!
//! No rule lives here: the sequence is `core::order`'s, the reaction to a problem `core::problem`'s, the pauses
//! `core::schedule`'s. Whatever a step finds goes back as [`Progress`] or as the [`Outcome`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::cert::{Held, Standing, standing};
use faythe_core::name::{DnsName, Hostname};
use faythe_core::order::{
    CaView, ChallengeStatus, End, Goal, Known, Note, OrderStatus, Place, Published, Stage, Step, next,
};
use faythe_core::policy::Policy;
use faythe_core::problem::Exchange;
use faythe_core::schedule::{self, Failures};
use faythe_core::zone::Check;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ca::{Ca, CaOrder};
use crate::clock::Now;
use crate::dns::Dns;
use crate::neighbors::Board;
use crate::report::metrics::Metrics;
use crate::sealed::Sealed;
use crate::store::{Saved, Slot, Store};
use crate::x509::{self, KeyType};

mod fault;

pub use fault::{Fault, Pause};
pub(crate) use fault::chain;

/// How long a step that waits for others is waited for before the order rests and makes room.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the CA may take for one state of an order before the order rests.
const CA_PATIENCE: Duration = Duration::from_secs(60);

/// Everything an order needs of the outside, shared by all.
pub struct Outside {
    /// The CA.
    pub ca: Arc<dyn Ca>,
    /// The DNS.
    pub dns: Arc<dyn Dns>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The time.
    pub now: Now,
    /// The operator's choices.
    pub policy: Policy,
    /// Which keys certificates get.
    pub key_type: KeyType,
    /// Orders that share a challenge record.
    pub board: Board,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How long the CA usually takes to validate, and to make a certificate.
    pub usual: Mutex<Usual>,
}

/// How long the CA took lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usual {
    validation: Duration,
    issuance: Duration,
}

/// An order in the hands of this process; it is handed back when it rests, and taken up again from there.
pub struct Order {
    host: Hostname,
    zone: DnsName,
    checks: Vec<Check>,
    /// When the CA may have looked at the record for another process.
    earlier_look: Option<Timestamp>,
    failures: Option<Failures>,
    slot: Option<Slot>,
    place: Option<Place>,
    note: Option<Note>,
    key: Option<Sealed>,
    session: Option<Box<dyn CaOrder>>,
    published: Published,
    shown: BTreeSet<Check>,
    /// A failure that has been seen and is yet to be recorded.
    doom: Option<Failures>,
    /// The order is of no use and is being cleaned up for this reason.
    abandoned: Option<Fault>,
    tries: u32,
    stage: Stage,
}

/// What is told while an order goes on.
#[derive(Debug)]
pub enum Progress {
    /// The CA has done what it was asked.
    CaAnswered,
    /// It has come to another stage.
    Stage(Hostname, Stage),
    /// A certificate is held: just stored, or found where it belongs.
    Held {
        /// For which host.
        host: Hostname,
        /// The facts.
        held: Held,
        /// Whether this order brought it; then how long it took.
        issued: Option<Duration>,
    },
}

/// How the work on an order ended.
#[derive(Debug)]
pub enum Outcome {
    /// The place is somebody else's.
    Blocked {
        /// Whose, and what to do.
        reason: String,
        /// Whether a note is kept.
        noted: bool,
    },
    /// The CA has seen it fail; this has been saved.
    Failed(Failures),
    /// A step failed in a way that the CA did not see; the order is kept.
    Rested {
        /// Whether there is a note.
        noted: bool,
        /// Which step.
        stage: Stage,
        /// What was wrong.
        fault: Fault,
        /// How often in a row.
        tries: u32,
    },
    /// Nothing is left to do.
    Settled,
    /// The process is about to end.
    Stopped,
}

/// What a step leads to.
enum Then {
    GoOn,
    End(Outcome),
}

impl Order {
    /// An order for a certificate of which nothing is noted.
    #[must_use]
    pub fn new(host: Hostname, zone: DnsName, checks: Vec<Check>) -> Self {
        Self {
            host,
            zone,
            checks,
            earlier_look: None,
            failures: None,
            slot: None,
            place: None,
            note: None,
            key: None,
            session: None,
            published: Published::No,
            shown: BTreeSet::new(),
            doom: None,
            abandoned: None,
            tries: 0,
            stage: Stage::Ordering,
        }
    }

    /// The order of an earlier process.
    #[must_use]
    pub fn noted(note: Note, key: Sealed, zone: DnsName, checks: Vec<Check>) -> Self {
        let mut order = Self::new(note.host.clone(), zone, checks);
        order.note = Some(note);
        order.key = Some(key);
        order
    }

    /// What is known of earlier attempts when work on it begins.
    pub fn remember(&mut self, failures: Option<Failures>, earlier_look: Option<Timestamp>) {
        self.failures = failures;
        self.earlier_look = earlier_look;
    }
}

/// Works on `order` until it ends or rests. Stops between two steps when `stop` says so.
pub async fn drive(
    mut order: Order,
    outside: &Outside,
    goal: watch::Receiver<Goal>,
    progress: &mpsc::UnboundedSender<Progress>,
    stop: &CancellationToken,
) -> (Order, Outcome) {
    // The place is looked at anew each time: what was seen before a rest may have changed.
    order.place = None;
    order.slot = None;
    let mut work = Work { order: &mut order, outside, progress, stop, began: Instant::now(), told: None };
    let outcome = work.run(&goal).await;
    outside.board.prepared(&order.host);
    (order, outcome)
}

struct Work<'a> {
    order: &'a mut Order,
    outside: &'a Outside,
    progress: &'a mpsc::UnboundedSender<Progress>,
    stop: &'a CancellationToken,
    began: Instant,
    told: Option<Instant>,
}

impl Work<'_> {
    async fn run(&mut self, goal: &watch::Receiver<Goal>) -> Outcome {
        if self.order.session.is_none() && *goal.borrow() == Goal::Wanted {
            self.outside.board.prepare(&self.order.host);
        }
        loop {
            if self.stop.is_cancelled() {
                return Outcome::Stopped;
            }
            let step = self.next_step(*goal.borrow());
            let stage = step.stage();
            self.enter(stage);
            let started = Instant::now();
            let done = self.perform(step).await;
            self.outside.metrics.step(stage, started.elapsed());
            match done {
                Ok(Then::GoOn) => {}
                Ok(Then::End(outcome)) => return outcome,
                Err(fault) => {
                    if let Some(outcome) = self.settle(fault) {
                        return outcome;
                    }
                }
            }
        }
    }

    fn next_step(&self, goal: Goal) -> Step {
        let order = &*self.order;
        let doomed = order.doom.as_ref().map(|_| CaView {
            status: OrderStatus::Invalid,
            challenges: Vec::new(),
            problem: None,
            expires: None,
            retry_after: None,
        });
        let seen = order.session.as_ref().map(|session| session.view());
        let ca = if order.abandoned.is_some() { None } else { doomed.as_ref().or(seen) };
        let known = Known {
            goal: if order.abandoned.is_some() { Goal::Unwanted } else { goal },
            place: order.place,
            note: order.note.as_ref(),
            ca,
            published: order.published,
            neighbors: &self.outside.board.of(&order.host, order.earlier_look),
        };
        next(&known, (self.outside.now)())
    }

    fn enter(&mut self, stage: Stage) {
        if self.order.stage != stage {
            self.order.stage = stage;
            // Nobody listens only when the process is about to end.
            let _ = self.progress.send(Progress::Stage(self.order.host.clone(), stage));
        }
    }

    async fn perform(&mut self, step: Step) -> Result<Then, Fault> {
        match step {
            Step::Inspect => self.inspect().await?,
            Step::Open => self.open().await?,
            Step::Note => self.save_note().await?,
            Step::Resume => self.resume().await?,
            Step::Publish => self.publish().await?,
            Step::Look => self.look().await?,
            Step::AwaitNeighbors => self.outside.board.wait(Duration::from_millis(250)).await,
            Step::AwaitCache(until) => return Err(Fault::cache(until, (self.outside.now)())),
            Step::Tell => self.tell().await?,
            Step::Ask => self.ask().await?,
            Step::Finalize => self.finalize().await?,
            Step::Store => self.keep().await?,
            Step::Withdraw => self.withdraw().await?,
            Step::RecordFailure => return self.record_failure().await,
            Step::Forget => self.forget().await?,
            Step::End(end) => return Ok(Then::End(self.end(end))),
        }
        Ok(Then::GoOn)
    }

    /// Turns a fault into what comes next: `None` when the order goes on at once, by another way.
    fn settle(&mut self, fault: Fault) -> Option<Outcome> {
        match fault.pause {
            Pause::Doom { parked, wait } => {
                self.order.doom = Some(self.failure(fault, parked, wait));
                None
            }
            Pause::Abandon if self.order.note.is_some() && self.order.abandoned.is_none() => {
                self.order.abandoned = Some(fault);
                self.order.session = None;
                None
            }
            Pause::Abandon | Pause::Rest { .. } => Some(self.rest(fault)),
        }
    }

    fn rest(&mut self, fault: Fault) -> Outcome {
        self.order.tries = self.order.tries.saturating_add(1);
        Outcome::Rested {
            noted: self.order.note.is_some(),
            stage: self.order.stage,
            fault,
            tries: self.order.tries,
        }
    }

    fn failure(&self, fault: Fault, parked: bool, wait: Option<Duration>) -> Failures {
        let now = (self.outside.now)();
        Failures {
            count: self.order.failures.as_ref().map_or(0, |before| before.count).saturating_add(1),
            last: now,
            code: fault.code,
            text: fault.text,
            not_before: wait.map(|wait| schedule::after(now, wait)),
            parked,
        }
    }

    async fn inspect(&mut self) -> Result<(), Fault> {
        let slot = self.outside.store.slot(&self.order.host).await?;
        self.order.place = Some(match &slot {
            Slot::Vacant => Place::Open,
            Slot::Foreign(_) => Place::Taken,
            Slot::Ours(held) => {
                let now = (self.outside.now)();
                let threshold = self.outside.policy.threshold;
                match standing(&self.order.host, std::iter::once(held), threshold, now) {
                    Standing::Fine { .. } => {
                        let host = self.order.host.clone();
                        let held = held.clone();
                        let _ = self.progress.send(Progress::Held { host, held, issued: None });
                        Place::Served
                    }
                    Standing::Short(_) => Place::Open,
                }
            }
        });
        self.order.slot = Some(slot);
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Fault> {
        let opened = self.outside.ca.open(&self.order.host).await;
        let session = opened.map_err(|error| Fault::ca(&error, Exchange::NewOrder))?;
        let _ = self.progress.send(Progress::CaAnswered);
        self.take_up(session);
        self.made_progress();
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), Fault> {
        let Some(note) = &self.order.note else { return Ok(()) };
        let session = self.outside.ca.resume(&note.order_url).await?;
        for value in &note.values {
            self.outside.dns.adopt(&self.order.zone, &value.record, &value.value);
        }
        let expected = |value| note.values.contains(value);
        if !session.view().challenges.iter().all(|challenge| expected(&challenge.value)) {
            // Values that the note does not have could not be withdrawn after a crash.
            return Err(Fault::strange_order(&note.order_url));
        }
        self.take_up(session);
        Ok(())
    }

    fn take_up(&mut self, session: Box<dyn CaOrder>) {
        let now = (self.outside.now)();
        let view = session.view();
        if view.challenges.is_empty() {
            // Reused authorizations need no value in the DNS.
            self.outside.board.prepared(&self.order.host);
        }
        if view.challenges.iter().any(|challenge| challenge.status == ChallengeStatus::Processing) {
            self.outside.board.told(&self.order.host, now);
        }
        self.doom_if_invalid(session.view());
        self.order.session = Some(session);
    }

    /// An order that the CA has given up is a failure to be recorded, with the CA's words.
    fn doom_if_invalid(&mut self, view: &CaView) {
        if view.status == OrderStatus::Invalid && self.order.doom.is_none() && self.order.abandoned.is_none() {
            let fault = Fault::invalid(view);
            match fault.pause {
                Pause::Abandon => self.order.abandoned = Some(fault),
                Pause::Doom { parked, wait } => self.order.doom = Some(self.failure(fault, parked, wait)),
                // A limit that is told inside an order has failed the order all the same.
                Pause::Rest { wait, .. } => self.order.doom = Some(self.failure(fault, false, wait)),
            }
        }
    }

    async fn save_note(&mut self) -> Result<(), Fault> {
        let Some(session) = &self.order.session else { return Ok(()) };
        let key = match &self.order.key {
            Some(key) => key.clone(),
            None => new_key(self.outside.key_type).await?,
        };
        let view = session.view();
        let note = Note {
            host: self.order.host.clone(),
            order_url: session.url().to_owned(),
            values: view.challenges.iter().map(|challenge| challenge.value.clone()).collect(),
            created: (self.outside.now)(),
            expires: view.expires,
        };
        self.order.key = Some(key.clone());
        let saved = Saved {
            host: self.order.host.clone(),
            order: Some((note.clone(), key)),
            failures: self.order.failures.clone(),
        };
        self.outside.store.save(&saved).await?;
        self.order.note = Some(note);
        self.made_progress();
        Ok(())
    }

    async fn publish(&mut self) -> Result<(), Fault> {
        let Some(note) = &self.order.note else { return Ok(()) };
        for value in &note.values {
            self.outside.dns.publish(&self.order.zone, &value.record, &value.value).await?;
        }
        self.order.published = Published::Hidden;
        self.order.shown.clear();
        self.made_progress();
        Ok(())
    }

    /// Asks the servers of the lowest rank that do not all show the values yet, until they do (S10).
    async fn look(&mut self) -> Result<(), Fault> {
        // An order that has rested once looks once and makes room again.
        let patience = if self.order.tries == 0 { PATIENCE } else { Duration::ZERO };
        let began = Instant::now();
        let mut round = 0;
        loop {
            let Some(rank) = self.order.checks.iter().filter(|c| !self.order.shown.contains(c)).map(|c| c.rank).min()
            else {
                self.order.published = Published::Shown((self.outside.now)());
                self.outside.board.prepared(&self.order.host);
                self.made_progress();
                return Ok(());
            };
            let Some(missing) = self.look_at_rank(rank).await else { continue };
            if began.elapsed() >= patience {
                return Err(missing);
            }
            round += 1;
            self.pause(schedule::poll(Duration::ZERO, round).max(Duration::from_millis(10))).await;
            if self.stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Asks every server of one rank at the same time; answers what is wrong with the first that does not show all.
    async fn look_at_rank(&mut self, rank: u8) -> Option<Fault> {
        let note = self.order.note.as_ref()?;
        let dns = &self.outside.dns;
        let waiting: Vec<_> = (self.order.checks.iter())
            .filter(|check| check.rank == rank && !self.order.shown.contains(check))
            .cloned()
            .collect();
        let asked = waiting.iter().map(|check| async move {
            for value in &note.values {
                match dns.look(check, &value.record).await {
                    Ok(found) if found.contains(&value.value) => {}
                    Ok(found) => return Some(Fault::hidden(check, value, &found)),
                    Err(error) => return Some(Fault::look(check, value, &error)),
                }
            }
            None
        });
        let answers = futures::future::join_all(asked).await;
        let mut first = None;
        for (check, answer) in waiting.into_iter().zip(answers) {
            match answer {
                None => {
                    self.order.shown.insert(check);
                }
                Some(fault) => {
                    self.outside.metrics.dns_error(&fault.code);
                    first = first.or(Some(fault));
                }
            }
        }
        first
    }

    async fn tell(&mut self) -> Result<(), Fault> {
        let Some(session) = &mut self.order.session else { return Ok(()) };
        self.outside.board.told(&self.order.host, (self.outside.now)());
        self.told = Some(Instant::now());
        session.answer().await?;
        self.made_progress();
        Ok(())
    }

    /// Asks the CA until the order's state has changed.
    async fn ask(&mut self) -> Result<(), Fault> {
        let Some(session) = &mut self.order.session else { return Ok(()) };
        let before = session.view().status;
        let usual = *self.outside.usual.lock().unwrap_or_else(PoisonError::into_inner);
        let usual = if before == OrderStatus::Pending { usual.validation } else { usual.issuance };
        let began = Instant::now();
        let mut round = 0;
        loop {
            let pause = schedule::poll(usual, round);
            let asked = session.view().retry_after.unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(pause.max(asked)) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            session.refresh().await?;
            if session.view().status != before {
                break;
            }
            if began.elapsed() >= CA_PATIENCE {
                return Err(Fault::slow_ca(before));
            }
            round += 1;
        }
        let took = self.told.map_or(began, |told| told).elapsed();
        self.told = None;
        let mut learned = self.outside.usual.lock().unwrap_or_else(PoisonError::into_inner);
        if before == OrderStatus::Pending {
            learned.validation = schedule::usual(learned.validation, took);
            self.outside.board.settled(&self.order.host, (self.outside.now)());
        } else {
            learned.issuance = schedule::usual(learned.issuance, took);
        }
        drop(learned);
        let view = session.view().clone();
        self.doom_if_invalid(&view);
        self.made_progress();
        Ok(())
    }

    async fn finalize(&mut self) -> Result<(), Fault> {
        let (Some(session), Some(key)) = (&mut self.order.session, &self.order.key) else { return Ok(()) };
        let csr = x509::csr(&self.order.host, key).map_err(|error| Fault::unusable_key(&error))?;
        session.finalize(&csr).await?;
        let view = session.view().clone();
        self.told = Some(Instant::now());
        self.doom_if_invalid(&view);
        self.made_progress();
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), Fault> {
        let (Some(session), Some(key), Some(slot)) = (&mut self.order.session, &self.order.key, &self.order.slot)
        else {
            return Ok(());
        };
        let host = &self.order.host;
        let chain = session.certificate().await?;
        let now = (self.outside.now)();
        x509::check_issued(&chain, key, host, now).map_err(|error| Fault::bad_chain(&error))?;
        match self.outside.store.keep(host, slot, &chain, key, now).await {
            Ok(held) => {
                self.order.place = Some(Place::Served);
                self.order.failures = None;
                let issued = Some(self.began.elapsed());
                let _ = self.progress.send(Progress::Held { host: host.clone(), held, issued });
                self.made_progress();
                Ok(())
            }
            Err(crate::store::StoreError::Conflict { .. }) if self.order.tries < 3 => {
                // Somebody else wrote there: look again and go on by what is there now.
                self.order.tries += 1;
                self.order.place = None;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn withdraw(&mut self) -> Result<(), Fault> {
        if let Some(note) = &self.order.note {
            for value in &note.values {
                self.outside.dns.withdraw(&self.order.zone, &value.record, &value.value).await?;
            }
        }
        self.order.published = Published::Withdrawn;
        self.outside.board.settled(&self.order.host, (self.outside.now)());
        Ok(())
    }

    async fn record_failure(&mut self) -> Result<Then, Fault> {
        let Some(failures) = self.order.doom.clone() else { return Ok(Then::End(Outcome::Settled)) };
        let saved =
            Saved { host: self.order.host.clone(), order: None, failures: Some(failures.clone()) };
        self.outside.store.save(&saved).await?;
        Ok(Then::End(Outcome::Failed(failures)))
    }

    async fn forget(&mut self) -> Result<(), Fault> {
        let host = self.order.host.clone();
        match &self.order.failures {
            Some(failures) => {
                let saved = Saved { host, order: None, failures: Some(failures.clone()) };
                self.outside.store.save(&saved).await?;
            }
            None => self.outside.store.forget(&host).await?,
        }
        self.order.note = None;
        self.order.key = None;
        self.order.session = None;
        self.order.published = Published::No;
        self.order.shown.clear();
        Ok(())
    }

    fn end(&mut self, end: End) -> Outcome {
        if let Some(fault) = self.order.abandoned.take() {
            return self.rest(fault);
        }
        match (end, &self.order.slot) {
            (End::Blocked, Some(Slot::Foreign(reason))) => {
                Outcome::Blocked { reason: reason.clone(), noted: self.order.note.is_some() }
            }
            (End::Blocked | End::Settled, _) => Outcome::Settled,
        }
    }

    /// A step has succeeded: what failed before it is no series any more.
    fn made_progress(&mut self) {
        self.order.tries = 0;
    }

    async fn pause(&self, long: Duration) {
        tokio::select! {
            () = tokio::time::sleep(long) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// Makes a key away from the threads that must not wait: an RSA key takes a tenth of a second and more.
async fn new_key(key_type: KeyType) -> Result<Sealed, Fault> {
    match tokio::task::spawn_blocking(move || x509::new_key(key_type)).await {
        Ok(Ok(key)) => Ok(key),
        Ok(Err(error)) => Err(Fault::unusable_key(&error)),
        Err(error) => Err(Fault::unusable_key(&error)),
    }
}

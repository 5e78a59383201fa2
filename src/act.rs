//! Carries one order to its end: gathers what is known, asks `core::order` for the next step, performs it.
//!
//! No rule lives here: the sequence is `core::order`'s, the reaction to a problem `core::problem`'s, the pauses
//! `core::schedule`'s. Whatever a step finds goes back as [`Progress`] or as the [`Outcome`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::budget::Grant;
use faythe_core::caa;
use faythe_core::cas::{CaId, Cas};
use faythe_core::name::{DnsName, Hostname};
use faythe_core::order::{CaView, End, Goal, Known, Note, OrderStatus, Place, Published, Stage, Step, next};
use faythe_core::policy::Policy;
use faythe_core::renewal::Rule;
use faythe_core::route::Route;
use faythe_core::schedule::{Demand, Failures, GivenUp, Threshold};
use faythe_core::visibility::{Health, Sight};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ca::CaOrder;
use crate::clock::{Now, Witness};
use crate::dns::Dns;
use crate::lease::{Fenced, Tenure};
use crate::neighbors::Board;
use crate::report::metrics::Metrics;
use crate::sealed::Sealed;
use crate::store::{Slot, Store};
use crate::x509::KeyType;

mod desk;
mod fault;
mod look;
mod note;
mod opening;
mod progress;
mod room;
mod steps;

pub use desk::Desk;
pub(crate) use fault::chain;
pub use fault::{Fault, Pause};
pub use progress::{Issued, Outcome, Progress};
pub use room::{Room, UNNOTED_AT_ONCE};

/// Everything an order needs of the outside, shared by all.
pub struct Outside {
    /// The CAs, in order; at least one.
    pub desks: Vec<Desk>,
    /// Which of them serve which zone.
    pub cas: Cas,
    /// The DNS.
    pub dns: Fenced<Arc<dyn Dns>>,
    /// The store.
    pub store: Fenced<Arc<dyn Store>>,
    /// Whether this instance may act.
    pub tenure: Tenure,
    /// The time.
    pub now: Now,
    /// What the API server says of the time.
    pub witness: Arc<Witness>,
    /// The operator's choices.
    pub policy: Policy,
    /// The profile that certificates of a zone are ordered with, where it is not the CA's.
    pub profiles: BTreeMap<DnsName, String>,
    /// Which keys certificates get.
    pub key_type: KeyType,
    /// What of the configuration may decide whether a certificate of a zone comes about, as a hash for each.
    pub setups: BTreeMap<DnsName, u64>,
    /// Orders that share a challenge record.
    pub board: Board,
    /// How reliable name servers have been.
    pub health: Mutex<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How long the CA usually takes to validate, and to make a certificate.
    pub usual: Mutex<Usual>,
    /// Room for orders that the CA has made and no note tells of.
    pub unnoted: Room,
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
    /// At which CA it is, or will be.
    ca: CaId,
    /// When the CA may have looked at the record for another process.
    earlier_look: Option<Timestamp>,
    failures: Option<Failures>,
    /// What somebody has asked for by hand.
    demand: Option<Demand>,
    /// Leave to make an order; without it none is made.
    grant: Option<Grant>,
    /// The certificate that a new one takes the place of.
    replaces: Option<CertificateId>,
    /// When a certificate that is found there is due.
    rule: Rule,
    /// How many certificates before it in a row were replaced long before their time.
    early: u32,
    /// The ledger has been told that the certificate is issued.
    counted: bool,
    /// The CA has taken the CSR, or may have, so that it makes a certificate for all that is known.
    requested: bool,
    /// How often the CA has refused the CSR for another reason than that it is busy.
    refusals: u32,
    slot: Option<Slot>,
    place: Option<Place>,
    note: Option<Note>,
    /// Whether the note may not be there: whoever was to save or remove it has not answered.
    note_in_doubt: bool,
    key: Option<Sealed>,
    session: Option<Fenced<Box<dyn CaOrder>>>,
    /// Held while the CA has made it and no note tells of it.
    unnoted: Option<room::Place>,
    published: Published,
    /// When its values were last put into the DNS by this process.
    put: Option<Instant>,
    /// Where its values go, or why they can go nowhere, as found before the order was made.
    way: Option<Result<Route, Fault>>,
    /// The CAA records that count for it, as found before the order was made.
    caa: Option<caa::Found>,
    /// Where its values go.
    route: Option<Route>,
    /// What the servers show of them.
    sight: Sight,
    /// Servers that were done without, for the report.
    without: Vec<String>,
    /// Whether it has been given another key already.
    rekeyed: bool,
    /// A failure that has been seen and is yet to be recorded.
    doom: Option<Failures>,
    /// The order is of no use and is being cleaned up for this reason.
    abandoned: Option<Fault>,
    /// Orders before it that were of no use.
    given_up: Option<GivenUp>,
    /// The same with the one that is being cleaned up, once that is saved.
    tallied: Option<GivenUp>,
    tries: u32,
    stage: Stage,
    /// When work on it began, in this process or in an earlier one.
    begun: Option<Timestamp>,
}

/// What a step leads to.
enum Then {
    GoOn,
    End(Outcome),
}

impl Order {
    /// An order for a certificate of which nothing is noted.
    #[must_use]
    pub fn new(host: Hostname, zone: DnsName, ca: CaId) -> Self {
        Self {
            host,
            zone,
            ca,
            earlier_look: None,
            failures: None,
            demand: None,
            grant: None,
            replaces: None,
            rule: Threshold::Default.into(),
            early: 0,
            counted: false,
            requested: false,
            refusals: 0,
            slot: None,
            place: None,
            note: None,
            note_in_doubt: false,
            key: None,
            session: None,
            unnoted: None,
            published: Published::No,
            put: None,
            way: None,
            caa: None,
            route: None,
            sight: Sight::new(Timestamp::UNIX_EPOCH),
            without: Vec::new(),
            rekeyed: false,
            doom: None,
            abandoned: None,
            given_up: None,
            tallied: None,
            tries: 0,
            stage: Stage::Ordering,
            begun: None,
        }
    }

    /// The order of an earlier process. One whose CA is configured no more is of no use, and is cleaned up.
    #[must_use]
    pub fn noted(note: Note, key: Sealed, zone: DnsName, ca: Option<CaId>) -> Self {
        let mut order = Self::new(note.host.clone(), zone, ca.unwrap_or(CaId::FIRST));
        order.abandoned = ca.is_none().then(|| Fault::no_ca(&note));
        order.begun = Some(note.created);
        order.route.clone_from(&note.route);
        order.note = Some(note);
        order.key = Some(key);
        order
    }

    /// Whether the CA has made it and perhaps no note tells of it, so that nobody else can go on with it.
    #[must_use]
    pub fn is_unnoted(&self) -> bool {
        // One that the CA does not let us read yet has no session.
        let unread = self.note.as_ref().is_some_and(|note| note.values.is_empty());
        (self.session.is_some() || unread) && (self.note.is_none() || self.note_in_doubt)
    }

    /// Whether a note tells of it, or may.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.note.is_some()
    }

    /// Whether its certificate may be stored, as was seen when work on it began.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.place == Some(Place::Open)
    }

    /// Nobody waits for it, so that it costs nothing if it is lost.
    pub fn make_room(&mut self) {
        self.unnoted = None;
    }

    /// Whether it is at this CA, or a note binds it to its own: if not, another may take its place.
    #[must_use]
    pub fn is_at(&self, ca: CaId) -> bool {
        self.ca == ca || self.is_noted()
    }

    /// What is known of earlier attempts when work on it begins.
    pub fn remember(
        &mut self,
        failures: Option<Failures>,
        given_up: Option<GivenUp>,
        demand: Option<Demand>,
        earlier_look: Option<Timestamp>,
    ) {
        self.failures = failures;
        self.given_up = given_up;
        self.demand = demand;
        self.earlier_look = earlier_look;
    }

    /// What work on it may spend, and why it is needed.
    pub fn entitle(&mut self, grant: Option<Grant>, replaces: Option<CertificateId>, rule: Rule) {
        self.grant = grant;
        self.replaces = replaces;
        self.rule = rule;
    }

    /// How many certificates before it in a row will have been replaced long before their time.
    pub fn follow_early(&mut self, early: u32) {
        self.early = early;
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
    if let Some(route) = &order.route {
        outside.board.place(&order.host, &route.record);
    }
    let begun = *order.begun.get_or_insert_with(|| (outside.now)());
    order
        .unnoted
        .iter_mut()
        .for_each(|place| place.set_resting(false));
    let mut work = Work {
        order: &mut order,
        outside,
        progress,
        stop,
        begun,
    };
    let outcome = work.run(&goal).await;
    // What was not needed this time is given back by the ledger.
    order.grant = None;
    if !order.is_unnoted() {
        order.unnoted = None;
    }
    order.unnoted.iter_mut().for_each(|place| place.set_resting(true));
    outside.board.prepared(&order.host);
    (order, outcome)
}

struct Work<'a> {
    order: &'a mut Order,
    outside: &'a Outside,
    progress: &'a mpsc::UnboundedSender<Progress>,
    stop: &'a CancellationToken,
    begun: Timestamp,
}

impl Work<'_> {
    async fn run(&mut self, goal: &watch::Receiver<Goal>) -> Outcome {
        if self.order.session.is_none() && *goal.borrow() != Goal::Unwanted {
            self.outside.board.prepare(&self.order.host);
        }
        loop {
            let step = self.next_step(*goal.borrow());
            // An order that the CA has just made is noted in any case, or it would be lost sight of.
            if self.stop.is_cancelled() && step != Step::Note {
                return Outcome::Stopped;
            }
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
        let seen = order.session.as_ref().map(|session| session.read().view());
        let ca = if order.abandoned.is_some() {
            None
        } else {
            doomed.as_ref().or(seen)
        };
        let known = Known {
            goal: if order.abandoned.is_some() {
                Goal::Unwanted
            } else {
                goal
            },
            place: order.place,
            note: order.note.as_ref(),
            note_in_doubt: order.note_in_doubt,
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
            let _ = self
                .progress
                .send(Progress::Stage(self.order.host.clone(), stage));
        }
    }

    async fn perform(&mut self, step: Step) -> Result<Then, Fault> {
        match step {
            Step::Inspect => self.inspect().await?,
            Step::Open => return self.open().await,
            Step::Note => self.save_note().await?,
            Step::Resume => self.resume().await?,
            Step::Publish => self.publish().await?,
            Step::Look => self.look().await?,
            Step::AwaitNeighbors => {
                let patience = Duration::from_millis(250);
                self.outside.board.wait(&self.order.host, patience).await;
            }
            Step::AwaitCache(until) => return Err(Fault::cache(until, (self.outside.now)())),
            Step::Tell => self.tell().await?,
            Step::Ask | Step::AwaitCertificate => self.ask().await?,
            Step::Finalize => self.finalize().await?,
            Step::Store => self.keep().await?,
            Step::GiveUp => return Err(Fault::expired()),
            Step::Withdraw => self.withdraw().await?,
            Step::RecordFailure => return self.record_failure().await,
            Step::Forget => self.forget().await?,
            Step::End(end) => return Ok(Then::End(self.end(end).await)),
        }
        Ok(Then::GoOn)
    }

    /// Turns a fault into what comes next: `None` when the order goes on at once, by another way.
    fn settle(&mut self, fault: Fault) -> Option<Outcome> {
        match fault.pause {
            Pause::NewKey => {
                self.order.doom = Some(self.failure(fault, true, None));
                None
            }
            Pause::Doom { parked, wait } => {
                self.order.doom = Some(self.failure(fault, parked, wait));
                None
            }
            Pause::Abandon if self.order.abandoned.is_none() => {
                if self.order.requested {
                    // What is made of it later counts for the CA, though nobody fetches it.
                    self.count_issued();
                }
                self.order.abandoned = Some(fault);
                self.order.session = None;
                None
            }
            Pause::Abandon | Pause::Rest { .. } => Some(self.rest(fault)),
            Pause::Stop => Some(Outcome::Stopped),
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

    /// The CA of the order.
    fn desk(&self) -> &Desk {
        self.outside.desk(self.order.ca)
    }

    /// The directory of the order's CA.
    fn directory(&self) -> &str {
        self.desk().ca.read().directory()
    }

    async fn end(&mut self, end: End) -> Outcome {
        if let Some(fault) = self.order.abandoned.take() {
            self.order.session = None;
            return self.give_up(fault).await;
        }
        match (end, &self.order.slot) {
            (End::Blocked, Some(Slot::Foreign(reason))) => Outcome::Blocked {
                reason: reason.clone(),
                noted: self.order.note.is_some(),
            },
            (End::Blocked | End::Settled, _) => Outcome::Settled,
        }
    }
}

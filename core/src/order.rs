//! One order under way: what is noted, what the CA says, what the DNS shows, and from these the next step.
//!
//! [`next`] is the only place that knows the sequence. It remembers nothing: after a crash the same facts are gathered
//! again and lead to the same step, so there is no code for resuming (P15, P16, P23). Three rules hold everywhere: the
//! note is written before the side effect it describes; every step may be repeated; exactly the values in the note are
//! withdrawn, and then the note is dropped.

use std::time::Duration;

use jiff::Timestamp;

use crate::ari::CertificateId;
use crate::cert::Held;
use crate::name::{Hostname, RecordName};
use crate::problem::Problem;
use crate::route::Route;
use crate::schedule::{RESOLVER_CACHE, ahead};

/// What was saved about an order before anything was done for it; its private key is known to the store alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The certificate that was ordered.
    pub host: Hostname,
    /// The order's URL at the CA.
    pub order_url: String,
    /// The directory of the CA that made it; `None` in notes of earlier versions, which knew one CA.
    pub directory: Option<String>,
    /// What has to stand in the DNS while the order lives, and has to go when it has ended, by the names that the CA
    /// looks up.
    pub values: Vec<ChallengeValue>,
    /// Where the values stand; `None` for the very names, in the zone that serves the host, as in notes of earlier
    /// versions. An order has one host, and so one place.
    pub route: Option<Route>,
    /// The certificate that the order takes the place of, where there is one that has a name.
    pub replaces: Option<CertificateId>,
    /// When the order was made.
    pub created: Timestamp,
    /// When the CA will forget it.
    pub expires: Option<Timestamp>,
}

/// One TXT record of an order, as the CA looks it up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChallengeValue {
    /// Owner name.
    pub record: RecordName,
    /// The key authorization's digest, base64url (RFC 8555 §8.4).
    pub value: String,
}

/// An order as the CA showed it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaView {
    /// State of the order.
    pub status: OrderStatus,
    /// Its DNS-01 challenges that are not yet valid; empty once the order is ready.
    pub challenges: Vec<Challenge>,
    /// Why it is invalid: the order's own error, or that of the first challenge that failed.
    pub problem: Option<Problem>,
    /// When the CA will forget it.
    pub expires: Option<Timestamp>,
    /// How long the CA asked us to wait before looking again.
    pub retry_after: Option<Duration>,
}

/// A DNS-01 challenge of an authorization that is not yet valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Where the value goes, and the value.
    pub value: ChallengeValue,
    /// State of the challenge.
    pub status: ChallengeStatus,
}

/// States of an order (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// All authorizations are valid; the CSR is awaited.
    Ready,
    /// The certificate is being made.
    Processing,
    /// The certificate can be fetched.
    Valid,
    /// The order has failed.
    Invalid,
}

/// States of a challenge (RFC 8555 §7.1.6) that matter before it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChallengeStatus {
    /// The CA waits for our word.
    Pending,
    /// The CA is looking.
    Processing,
}

/// Whether the certificate is still to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Nobody asks any more: an order that has been made goes on to its end as long as it meets no fault, for its
    /// certificate is what an Ingress that is made anew gets without another order (P18, P35).
    Carried,
    /// Nobody asks any more and it has met a fault, or it is of no use: clean up, unless the CA is looking or making it.
    Unwanted,
    /// Somebody asks for it.
    Wanted,
}

/// What stands where the certificate is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing, or a Secret of ours whose certificate falls short.
    Open,
    /// A certificate that serves: nothing is to be ordered.
    Served,
    /// Somebody else's Secret.
    Taken,
}

/// How far our values are in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Not known to stand: never published in this process, or the outcome of an update is not known. Who carries steps
    /// out goes back to this before he sends an update, lest a lost answer makes him believe in what is not there.
    No,
    /// It has; not every server that must show them does.
    Hidden,
    /// Every server that must show them did, at this time.
    Shown(Timestamp),
    /// They have been removed, or there was none.
    Withdrawn,
}

/// A time during which the CA may have looked at the record of one of our challenges for another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaLook {
    /// When the CA was told.
    pub from: Timestamp,
    /// When it had finished; `None` while it may still be looking.
    pub until: Option<Timestamp>,
}

/// What must be known of other orders with a value at the same record (P15).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbors {
    /// One of them is about to publish its value.
    pub preparing: bool,
    /// When the CA may have looked there for them.
    pub looks: Vec<CaLook>,
}

/// All that is known of an order; every part is seen, none is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Whether it is still wanted.
    pub goal: Goal,
    /// What stands where the certificate is to go; `None` before the first look.
    pub place: Option<Place>,
    /// The saved note.
    pub note: Option<&'a Note>,
    /// Whether the note may not be there: whoever was to save or remove it has not answered.
    pub note_in_doubt: bool,
    /// The CA's view; `None` before the CA was asked in this process.
    pub ca: Option<&'a CaView>,
    /// Our values in the DNS.
    pub published: Published,
    /// The other orders at our record.
    pub neighbors: &'a Neighbors,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look at the place where the certificate is to go.
    Inspect,
    /// Ask the CA for an order (RFC 8555 §7.4).
    Open,
    /// Save the note.
    Note,
    /// Take the noted order up again at the CA.
    Resume,
    /// Put the values into the DNS.
    Publish,
    /// Ask the servers that must show the values.
    Look,
    /// Wait for a neighbor to publish its value.
    AwaitNeighbors,
    /// Wait until the CA's resolvers have forgotten what they saw before our value stood.
    AwaitCache(Timestamp),
    /// Tell the CA that it may look (RFC 8555 §7.5.1).
    Tell,
    /// Ask the CA whether it has looked.
    Ask,
    /// Send the CSR.
    Finalize,
    /// Ask the CA whether it has made the certificate.
    AwaitCertificate,
    /// Download the chain, check it and store it.
    Store,
    /// The order's time is over: it is of no use any more.
    GiveUp,
    /// Remove the values of the note.
    Withdraw,
    /// Save the failure in place of the note.
    RecordFailure,
    /// Remove the note.
    Forget,
    /// Nothing is left to do.
    End(End),
}

/// What an order is doing, for people and metrics: several steps may be one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Looking at the place and asking the CA for an order.
    Ordering,
    /// Putting the challenge into the DNS.
    Publishing,
    /// Waiting until every server shows it, and for the CA's cache.
    Checking,
    /// The CA is looking.
    Validating,
    /// The CA is making the certificate.
    Finalizing,
    /// Downloading and storing.
    Storing,
    /// Removing the challenge and the note.
    CleaningUp,
}

impl Step {
    /// The stage it belongs to.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Inspect | Self::Open | Self::Note | Self::Resume => Stage::Ordering,
            Self::Publish => Stage::Publishing,
            Self::Look | Self::AwaitNeighbors | Self::AwaitCache(_) => Stage::Checking,
            Self::Tell | Self::Ask => Stage::Validating,
            Self::Finalize | Self::AwaitCertificate => Stage::Finalizing,
            Self::Store => Stage::Storing,
            Self::GiveUp | Self::Withdraw | Self::RecordFailure | Self::Forget | Self::End(_) => {
                Stage::CleaningUp
            }
        }
    }
}

impl Stage {
    /// Stable code for metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ordering => "ordering",
            Self::Publishing => "publishing",
            Self::Checking => "checking-dns",
            Self::Validating => "validating",
            Self::Finalizing => "finalizing",
            Self::Storing => "storing",
            Self::CleaningUp => "cleaning-up",
        }
    }
}

/// How an order came to rest for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The place is taken by somebody else's Secret; a note, if there is one, stays.
    Blocked,
    /// A certificate serves, or nobody wants one, and nothing of ours is left behind.
    Settled,
}

impl Note {
    /// The record at which a value of this note stands.
    #[must_use]
    pub fn record<'a>(&'a self, value: &'a ChallengeValue) -> &'a RecordName {
        self.route.as_ref().map_or(&value.record, |route| &route.record)
    }

    /// Whether its order takes the place of this certificate: then it is gone on with, though by now that would not be due.
    /// The CA may have moved its window, or what the process before knew of it is lost; to give the order up would have
    /// another follow (P23).
    #[must_use]
    pub fn replaces(&self, held: &Held) -> bool {
        let id = held.content.as_ref().ok().and_then(|facts| facts.id.as_ref());
        id.is_some() && id == self.replaces.as_ref()
    }
}

impl CaView {
    /// Whether the CA has forgotten it by now (RFC 8555 §7.1.3: `expires`).
    #[must_use]
    pub fn is_past(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// When the CA forgets an order, as far as is known: as it says now, or as it said when it made it, for it need not say so
/// in every state (RFC 8555 §7.1.3).
///
/// An order whose time was over when it was made tells of a clock that is wrong and nothing of the order: what has become
/// of it the CA will say.
#[must_use]
pub fn deadline(ca: Option<&CaView>, note: Option<&Note>) -> Option<Timestamp> {
    let told = ca.and_then(|ca| ca.expires);
    let told = told.or_else(|| note.and_then(|note| note.expires));
    told.filter(|at| note.is_none_or(|note| *at > note.created))
}

/// Derives the next step of an order. Total: any combination of facts has one.
#[must_use]
pub fn next(known: &Known<'_>, now: Timestamp) -> Step {
    let step = go_on(known, now);
    // What nobody would know of after a crash is not done: a note that may not be there is saved again first.
    let relies_on_note = step == Step::Resume || (Stage::Publishing..=Stage::Storing).contains(&step.stage());
    if known.note_in_doubt && relies_on_note {
        Step::Note
    } else {
        step
    }
}

fn go_on(known: &Known<'_>, now: Timestamp) -> Step {
    let Some(place) = known.place else {
        return Step::Inspect;
    };
    match place {
        Place::Served => return clean_up(known),
        Place::Taken if known.goal != Goal::Wanted => return clean_up(known),
        Place::Taken => {
            // An issued certificate waits at the CA for its place; its values need not wait in the DNS.
            let left = known.note.is_some_and(|note| !note.values.is_empty());
            return if left && known.published != Published::Withdrawn {
                Step::Withdraw
            } else {
                Step::End(End::Blocked)
            };
        }
        Place::Open => {}
    }
    let Some(ca) = known.ca else {
        return match (known.note, known.goal) {
            (Some(_), Goal::Carried | Goal::Wanted) => Step::Resume,
            (None, Goal::Wanted) => Step::Open,
            (None, Goal::Carried) | (_, Goal::Unwanted) => clean_up(known),
        };
    };
    if ca.status == OrderStatus::Invalid {
        let left = known.note.is_some_and(|note| !note.values.is_empty());
        return if left && known.published != Published::Withdrawn {
            Step::Withdraw
        } else {
            Step::RecordFailure
        };
    }
    if known.note.is_none() {
        // Noted before anything is published. One of no use is left to the CA, which hands it out again or lets it lapse.
        return if known.goal == Goal::Unwanted {
            Step::End(End::Settled)
        } else {
            Step::Note
        };
    }
    match ca.status {
        OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Processing
            if deadline(Some(ca), known.note).is_some_and(|at| at <= now) =>
        {
            if known.goal == Goal::Unwanted {
                clean_up(known)
            } else {
                Step::GiveUp
            }
        }
        // To take the values away while the CA is looking for them would be one failed attempt more in its books, and
        // an Ingress that is made anew would have to wait for it.
        OrderStatus::Pending if known.goal == Goal::Unwanted && is_looking(ca) => Step::Ask,
        OrderStatus::Pending | OrderStatus::Ready if known.goal == Goal::Unwanted => clean_up(known),
        OrderStatus::Pending => prove(known, ca, now),
        OrderStatus::Ready => Step::Finalize,
        OrderStatus::Processing => Step::AwaitCertificate,
        OrderStatus::Valid => Step::Store,
        OrderStatus::Invalid => Step::RecordFailure,
    }
}

/// The way of the challenges: publish, look, mind the neighbors, tell, ask (RFC 8555 §7.5.1, §8.4; S08 to S10).
fn prove(known: &Known<'_>, ca: &CaView, now: Timestamp) -> Step {
    if ca
        .challenges
        .iter()
        .all(|challenge| challenge.status == ChallengeStatus::Processing)
    {
        return Step::Ask;
    }
    match known.published {
        Published::No | Published::Withdrawn => Step::Publish,
        Published::Hidden => Step::Look,
        // Seen by a clock that has been set back since: by that time nothing can be reckoned.
        Published::Shown(shown) if shown > now => Step::Look,
        Published::Shown(_) if known.neighbors.preparing => Step::AwaitNeighbors,
        Published::Shown(shown) => {
            let clear = cache_clear(shown, &known.neighbors.looks);
            if clear > now {
                Step::AwaitCache(clear)
            } else {
                Step::Tell
            }
        }
    }
}

/// Whether the CA has been told and has not decided yet.
fn is_looking(ca: &CaView) -> bool {
    ca.challenges
        .iter()
        .any(|challenge| challenge.status == ChallengeStatus::Processing)
}

/// When no resolver of the CA can hold an answer from before our value stood, `shown` being when it did.
///
/// An answer taken after `shown` has our value; one taken before is forgotten [`RESOLVER_CACHE`] later (P15).
fn cache_clear(shown: Timestamp, looks: &[CaLook]) -> Timestamp {
    looks
        .iter()
        .filter(|look| look.from < shown)
        .map(|look| ahead(look.until.map_or(shown, |until| until.min(shown)), RESOLVER_CACHE))
        .max()
        .unwrap_or(Timestamp::MIN)
}

/// Leaves nothing behind: first the values, then the note.
fn clean_up(known: &Known<'_>) -> Step {
    match known.note {
        Some(note) if !note.values.is_empty() && known.published != Published::Withdrawn => Step::Withdraw,
        Some(_) => Step::Forget,
        None => Step::End(End::Settled),
    }
}

#[cfg(test)]
mod tests;

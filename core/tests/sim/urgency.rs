//! The law that the most urgent goes first (P17), from the outside: how urgent a certificate is follows from its validity,
//! what the CA has said of it, and when and by whom it was asked for. Nothing is asked of the planner.
//!
//! At each order that begins nobody more urgent waits who could have begun in its place, for the account and for the domain.
//! Among new hosts those of a namespace go as they came, and before the n-th of those that wait in one namespace no other
//! namespace has more than n. Who is more urgent is the same in the closed loop, whose law is `laws/urgency.rs`.

use std::collections::BTreeMap;
use std::rc::Rc;

use faythe_core::Timestamp;
use faythe_core::name::Hostname;

/// How urgent, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Since then.
    Expired(Timestamp),
    /// The CA wants it replaced long before its time.
    Recalled,
    /// So many thousandths of its life are left.
    Endangered(i64),
    New,
    /// The same; it has time.
    Routine(i64),
}

/// One that wants an order.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) host: Hostname,
    pub(crate) need: Need,
    pub(crate) namespace: Rc<str>,
    pub(crate) arrival: (Timestamp, usize),
    /// Whether the CA counts the order for the account and for the domain.
    pub(crate) counted: bool,
    pub(crate) domain: usize,
    /// Whether the domain has a certificate left, and the name itself is at no limit.
    pub(crate) room: (bool, bool),
}

/// So many, by namespace.
type Counts = BTreeMap<Rc<str>, usize>;

/// What has begun, and from when on whom has waited.
#[derive(Default)]
pub(crate) struct Law {
    /// New hosts that have begun, by namespace.
    begun: Rc<Counts>,
    /// For each new host that waits: how many had begun when it came, and which one of its namespace it was.
    came: BTreeMap<Hostname, (Rc<Counts>, usize)>,
    /// How many orders it has looked at.
    pub(crate) judged: usize,
}

/// A planner may tell shares of a life by thirty-seconds.
const STEP: i64 = 32;

impl Need {
    /// With so little left, half of what is left of a life as a rule when it is renewed, it is endangered.
    pub(crate) fn of_life(from: Timestamp, end: Timestamp, now: Timestamp) -> Self {
        let (left, life) = (now.duration_until(end), from.duration_until(end));
        let share = left.as_secs() * 1_000 / life.as_secs().max(1);
        if left * 32 < life * 6 {
            Self::Endangered(share)
        } else {
            Self::Routine(share)
        }
    }

    fn class(self) -> u8 {
        match self {
            Self::Expired(_) => 0,
            Self::Recalled => 1,
            Self::Endangered(_) => 2,
            Self::New => 3,
            Self::Routine(_) => 4,
        }
    }

    /// Whether it has to go before the other one.
    pub(crate) fn precedes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Expired(mine), Self::Expired(its)) => mine < its,
            (Self::Endangered(mine), Self::Endangered(its)) | (Self::Routine(mine), Self::Routine(its)) => {
                mine + STEP < its
            }
            (mine, its) => mine.class() < its.class(),
        }
    }
}

impl Claim {
    /// Whether it has to go before the other one.
    fn precedes(&self, other: &Self) -> bool {
        match (self.need, other.need) {
            (Need::New, Need::New) => self.namespace == other.namespace && self.arrival < other.arrival,
            (mine, its) => mine.precedes(its),
        }
    }
}

impl Law {
    /// Judges what has begun in one turn, in order, beside all who wait; `orders_left` says whether the account had any
    /// left after it.
    pub(crate) fn judge(&mut self, begun: &[Claim], waiting: &[Claim], orders_left: bool) {
        let mut new: Vec<_> = begun
            .iter()
            .chain(waiting)
            .filter(|claim| claim.need == Need::New)
            .collect();
        new.sort_by_key(|claim| claim.arrival);
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for claim in new {
            let place = places.entry(&claim.namespace).or_default();
            *place += 1;
            let since = || (Rc::clone(&self.begun), *place);
            self.came.entry(claim.host.clone()).or_insert_with(since);
        }
        for one in begun {
            self.judged += 1;
            if one.need == Need::New {
                self.came.remove(&one.host);
                let begun = Rc::make_mut(&mut self.begun);
                *begun.entry(Rc::clone(&one.namespace)).or_default() += 1;
            }
            for other in waiting {
                let (domain, name) = other.room;
                let same_domain = one.counted && one.domain == other.domain;
                let could =
                    name && (!other.counted || (domain || same_domain) && (one.counted || orders_left));
                if !could {
                    continue;
                }
                assert!(!other.precedes(one), "{other:?} waits while {one:?} begins");
                if one.need == Need::New && other.need == Need::New && one.namespace != other.namespace {
                    let (since, place) = &self.came[&other.host];
                    let count = |begun: &Counts| begun.get(&one.namespace).copied().unwrap_or(0);
                    let went = count(&self.begun) - count(since);
                    assert!(
                        went <= *place,
                        "{other:?} waits while the {went}th goes of {one:?}"
                    );
                }
            }
        }
    }
}

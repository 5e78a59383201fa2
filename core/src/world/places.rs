//! Where what the CAs have said about each certificate stands, and when it is asked about again (RFC 9773 §4.3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::hints::Answer;
use super::left::{Left, Said};
use crate::ari::{CertificateId, Window};
use crate::cas::CaId;
use crate::name::Hostname;
use crate::renewal;
use crate::schedule::after;

/// Bounds of the time after which the CA is asked again, whatever it says (RFC 9773 §4.3.2).
pub(super) const POLLS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));
/// The time after which it is asked again where it says none, and after an error that will last (RFC 9773 §4.3.3).
const USUAL: Duration = Duration::from_secs(6 * 3_600);
/// So often in a row it may not answer until nobody counts on it any more: that takes about eight hours.
const PATIENCE: u32 = 10;
/// The first pause after an error that will pass; it doubles.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// Everything known of the CA's wishes.
///
/// What is asked about again and again stands in places with a number, and in lists by the minute: an answer that brings
/// nothing new costs a few steps, however many certificates there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub(super) places: Vec<Place>,
    pub(super) of: BTreeMap<Hostname, u32>,
    /// Places that nobody has.
    pub(super) free: Vec<u32>,
    /// Who waits for which CA.
    pub(super) lists: BTreeMap<CaId, Lists>,
    /// How many questions are under way.
    pub(super) asking: usize,
    /// What was said of those that nobody asks for any more.
    pub(super) left: Left,
}

/// Those that wait to be asked about at one CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// Those of which nothing is known yet; the pressing ones first.
    pub(super) first: BTreeSet<(Pressing, Hostname)>,
    /// Those that are asked about again, by the minute, from 1970, at whose start that may be.
    pub(super) again: BTreeMap<i64, Vec<u32>>,
}

/// Which of two questions that may be asked comes first: one whose answer is new, then the one that has been due longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Next {
    /// Of one of which nothing is known yet.
    First(Pressing),
    /// Of one that is asked about again, from this minute on.
    Again(i64),
}

/// What is known of the CA's wishes for one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: Hostname,
    /// The CA that made it.
    pub(super) ca: CaId,
    pub(super) id: CertificateId,
    /// The certificate: [`renewal::key`] of its name at the CA.
    pub(super) of: u64,
    /// What the CA said last; `None` while it has said nothing that can be followed.
    pub(super) window: Option<Window>,
    /// Whether the one before it was not over when the CA moved it into the past.
    pub(super) moved: bool,
    /// Where the CA explains its window, if it does; `None` where that has not been told to this process.
    pub(super) page: Option<Option<Box<str>>>,
    /// When it is asked again.
    pub(super) next: Timestamp,
    /// How often in a row it has not answered.
    pub(super) tries: u32,
    /// Its last answer was none that says anything.
    pub(super) is_busy: bool,
    /// The certificate that the CA does not take for one that another may take the place of (RFC 9773 §5).
    pub(super) irreplaceable: Option<u64>,
    /// The certificate that it is being asked about.
    pub(super) asking: Option<u64>,
    /// Where it waits to be asked about.
    pub(super) waits: Waits,
}

/// Where a certificate waits to be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// In the list of this minute.
    Again(i64),
    /// Among those of which nothing is known yet.
    First(Pressing),
    /// Nowhere: it is not to be asked about.
    Not,
    /// Nowhere yet: it is being asked about.
    Later(Pressing),
}

/// How pressing the first question about a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressing {
    /// Its renewal waits for the answer.
    Awaited,
    /// It has time.
    Routine,
}

impl Hints {
    pub(super) fn place(&self, host: &Hostname) -> Option<&Place> {
        self.of.get(host).map(|at| &self.places[*at as usize])
    }

    /// The place of `host`, made where it has none.
    pub(super) fn place_for(&mut self, host: &Hostname, ca: CaId, id: &CertificateId, now: Timestamp) -> u32 {
        if let Some(&at) = self.of.get(host) {
            return at;
        }
        let place = Place {
            host: host.clone(),
            ca,
            id: id.clone(),
            of: renewal::key(id),
            window: None,
            moved: false,
            page: None,
            next: now,
            tries: 0,
            is_busy: false,
            irreplaceable: None,
            asking: None,
            waits: Waits::Not,
        };
        let at = if let Some(at) = self.free.pop() {
            self.places[at as usize] = place;
            at
        } else {
            self.places.push(place);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        };
        self.of.insert(host.clone(), at);
        at
    }

    /// Puts it where it waits until it is asked about.
    pub(super) fn wait(&mut self, at: u32, pressing: Pressing) {
        let place = &mut self.places[at as usize];
        let lists = self.lists.entry(place.ca).or_default();
        place.waits = if place.asking.is_some() {
            Waits::Later(pressing)
        } else if place.is_untold() {
            lists.first.insert((pressing, place.host.clone()));
            Waits::First(pressing)
        } else {
            let minute = minute_of(place.next);
            lists.again.entry(minute).or_default().push(at);
            Waits::Again(minute)
        };
    }

    /// Takes it out of where it waits.
    pub(super) fn leave(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        let lists = self.lists.entry(place.ca).or_default();
        match std::mem::replace(&mut place.waits, Waits::Not) {
            Waits::Again(minute) => {
                if let Some(list) = lists.again.get_mut(&minute) {
                    list.retain(|other| *other != at);
                    if list.is_empty() {
                        lists.again.remove(&minute);
                    }
                }
            }
            Waits::First(pressing) => {
                lists.first.remove(&(pressing, place.host.clone()));
            }
            Waits::Later(_) | Waits::Not => {}
        }
    }
}

impl Lists {
    /// The next question, whenever it may be asked.
    pub(super) fn next(&self) -> Option<Next> {
        let first = self.first.first().map(|(pressing, _)| Next::First(*pressing));
        first.or_else(|| {
            self.again
                .first_key_value()
                .map(|(minute, _)| Next::Again(*minute))
        })
    }
}

impl Next {
    /// From when on it may be asked.
    pub(super) fn at(self) -> Timestamp {
        match self {
            Self::First(_) => Timestamp::MIN,
            Self::Again(minute) => Timestamp::from_second(minute * 60).unwrap_or(Timestamp::MAX),
        }
    }
}

impl Place {
    /// Whether it has said nothing, and is expected to: it has not answered yet, or not for long.
    pub(super) fn is_unanswered(&self) -> bool {
        self.is_untold() || (self.window.is_none() && self.is_busy && self.tries < PATIENCE)
    }

    pub(super) fn is_untold(&self) -> bool {
        self.window.is_none() && self.tries == 0
    }

    /// What the CA has said, if it has.
    pub(super) fn said(&self) -> Option<Said> {
        Some(Said {
            window: self.window?,
            moved: self.moved,
            next: self.next,
        })
    }

    /// What concerns others.
    fn state(&self) -> (Option<Window>, bool, bool, bool) {
        (self.window, self.moved, self.is_untold(), self.is_unanswered())
    }

    /// Takes in what the CA said; whether that is news.
    pub(super) fn take_in(&mut self, answer: Answer, now: Timestamp) -> bool {
        let before = self.state();
        self.is_busy = matches!(answer, Answer::Busy { .. });
        self.next = match answer {
            Answer::Told { window, retry_after } => {
                let is_past = window.end() <= now;
                let was_ahead = self.window.is_some_and(|before| before.end() > now);
                self.moved = is_past && (was_ahead || self.moved);
                self.window = Some(window);
                self.tries = 0;
                asked_again(retry_after, now)
            }
            Answer::Busy { retry_after } => {
                self.tries = self.tries.saturating_add(1);
                let wait = FIRST_RETRY.saturating_mul(1 << (self.tries - 1).min(12));
                let asked = retry_after.map_or(Duration::ZERO, within_bounds);
                after(now, wait.min(USUAL).max(asked))
            }
            Answer::Refused | Answer::Unsupported => {
                self.tries = self.tries.saturating_add(1);
                after(now, USUAL)
            }
        };
        before != self.state()
    }
}

/// The time that a CA has named, as long as it can be obeyed.
pub(super) fn within_bounds(wait: Duration) -> Duration {
    wait.clamp(POLLS.0, POLLS.1)
}

/// When a CA is asked again that has answered at `now`, as it wishes.
pub(super) fn asked_again(retry_after: Option<Duration>, now: Timestamp) -> Timestamp {
    after(now, within_bounds(retry_after.unwrap_or(USUAL)))
}

/// The first minute that begins then or later.
pub(super) fn minute_of(at: Timestamp) -> i64 {
    let up = i64::from(at.subsec_nanosecond() > 0);
    (at.as_second() + up + 59).div_euclid(60)
}

//! The part of the world that concerns renewal: what the CA has said about certificates, and when it is asked again
//! (RFC 9773 §4.3).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::left::{Left, Said};
use super::places::{POLLS, Pressing, Waits, asked_again, minute_of, within_bounds};
use super::{SavedWindow, World};
use crate::activity::Hold;
use crate::ari::{CertificateId, Window};
use crate::budget::Exemption;
use crate::cas::CaId;
use crate::name::Hostname;
use crate::policy::Policy;
use crate::problem::Scope;
use crate::renewal::{self, Hint, Rule};
use crate::schedule::{after, ahead, back};

/// A CA without renewal information may have learned it by then.
const WITHOUT: SignedDuration = SignedDuration::from_hours(24);
/// The code of the hold while a CA wants to be asked nothing about renewals.
const UNASKED: &str = "renewal-info";

/// A question to the CA about one certificate: what an answer has to name, so that it finds its place without a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    place: u32,
    of: u64,
}

/// How a question about a certificate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No answer, or one that says to come back; it will pass.
    Busy {
        /// When it wants to be asked again, about this certificate or any other.
        retry_after: Option<Duration>,
    },
    /// The CA does not know the certificate, or what it says makes no sense.
    Refused,
    /// The CA has said when.
    Told {
        /// The window.
        window: Window,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The CA has no renewal information at all.
    Unsupported,
}

impl World {
    /// What the CA has said about the certificate of `host`.
    #[must_use]
    pub fn hint(&self, host: &Hostname) -> Option<Hint> {
        let place = self.hints.place(host)?;
        Some(Hint {
            of: place.of,
            window: place.window?,
            moved: place.moved,
        })
    }

    /// When the certificates of `host` are renewed.
    #[must_use]
    pub fn rule(&self, host: &Hostname, policy: &Policy) -> Rule {
        Rule {
            threshold: policy.threshold,
            spread: policy.spread,
            hint: self.hint(host),
        }
    }

    /// What an order for `host` would be exempt from at a CA; nothing at one that has not made what is held, or counts
    /// renewals too.
    ///
    /// The CA judges a window by its own clock, so it has to have begun by that one and not to be over. A clock that is ahead
    /// may show what has not begun at the CA while that has told none: it has to have begun by the API server's too. And
    /// whoever cannot name the certificate of the window orders a renewal like others.
    #[must_use]
    pub fn exemption(&self, host: &Hostname, ca: CaId, now: Timestamp) -> Exemption {
        if self.maker(host) != Some(ca) || self.ledger(ca).limits().counts_renewals {
            return Exemption::Nothing;
        }
        let hint = self.hint(host);
        let of = |hint: Option<&Hint>, at| renewal::exemption(host, self.claims(host), hint, at);
        let found = of(hint.as_ref(), now);
        if found != Exemption::Window {
            return found;
        }
        let named = self.predecessor(host, ca).map(|id| renewal::key(&id));
        let hint = hint.filter(|hint| Some(hint.of) == named);
        let witnessed = back(now, self.desks.clock_ahead.max(SignedDuration::ZERO));
        let theirs = back(now, self.desks.at(ca).clock_ahead);
        let by = |clock| of(hint.as_ref(), clock);
        found.min(by(witnessed)).min(by(theirs))
    }

    /// When a renewal of `host` begins to be exempt because the window has begun by every clock, and when it is over by the
    /// first of them, by our clock.
    pub(crate) fn window_bounds(&self, host: &Hostname, ca: CaId) -> Option<[Timestamp; 2]> {
        let window = self.hint(host)?.window;
        let (witness, theirs) = (self.desks.clock_ahead, self.desks.at(ca).clock_ahead);
        let latest = witness.max(theirs).max(SignedDuration::ZERO);
        let soonest = theirs.min(SignedDuration::ZERO);
        Some([
            ahead(window.start(), latest),
            back(ahead(window.end(), soonest), renewal::ARRIVAL),
        ])
    }

    /// The CA does not take the certificate of `host` for one that another may take the place of: another is ordered without
    /// naming it, and counts.
    pub fn set_irreplaceable(&mut self, host: &Hostname) {
        if let Some(&at) = self.hints.of.get(host) {
            let place = &mut self.hints.places[at as usize];
            place.irreplaceable = Some(place.of);
            self.dirty.insert(host.clone());
        }
    }

    /// The certificate that a new one for `host` from the same CA takes the place of.
    #[must_use]
    pub fn predecessor(&self, host: &Hostname, ca: CaId) -> Option<CertificateId> {
        if self.maker(host) != Some(ca) {
            return None;
        }
        let found = renewal::predecessor(host, self.claims(host), self.hint(host).as_ref())?;
        let refused = self.hints.place(host).and_then(|place| place.irreplaceable);
        (refused != Some(renewal::key(&found))).then_some(found)
    }

    /// How many certificates of `host` in a row will have been replaced long before their time, when it gets one now.
    #[must_use]
    pub fn early(&self, host: &Hostname, policy: &Policy, now: Timestamp) -> u32 {
        renewal::early(host, self.claims(host), &self.rule(host, policy), now)
    }

    /// Whether the CA has said nothing of the certificate `of` of `host`, and has not failed to either.
    #[must_use]
    pub fn is_untold(&self, host: &Hostname, of: u64) -> bool {
        self.hints
            .place(host)
            .is_none_or(|place| place.of != of || place.is_untold())
    }

    /// Whether the CA has said nothing of the certificate `of` of `host`, and may do so soon: it has not been asked, or has
    /// not answered.
    #[must_use]
    pub fn is_unanswered(&self, host: &Hostname, of: u64) -> bool {
        self.hints
            .place(host)
            .is_none_or(|place| place.of != of || place.is_unanswered())
    }

    /// The CA was asked this, and that is what it said.
    ///
    /// What has not changed concerns nobody: only the next question is put off.
    pub fn hinted(&mut self, question: Question, answer: Answer, now: Timestamp) {
        let Some(host) = self.asked_for(question).cloned() else {
            return;
        };
        if answer == Answer::Unsupported
            && let Some(maker) = self.maker(&host)
        {
            let without = &mut self.desks.at_mut(maker).without_hints_until;
            self.holds_changed |= without.is_none_or(|until| until <= now);
            *without = Some(ahead(now, WITHOUT));
        }
        if let Answer::Busy {
            retry_after: Some(wait),
        } = answer
            && let Some(maker) = self.maker(&host)
        {
            let hold = Hold {
                until: after(now, within_bounds(wait)),
                code: UNASKED.to_owned(),
                text: "the CA wants to be asked about no renewal".to_owned(),
                tries: 1,
                told: true,
            };
            self.set_hold(maker, Scope::Questions, hold, now);
        }
        let place = &mut self.hints.places[question.place as usize];
        place.asking = None;
        self.hints.asking -= 1;
        if place.of == question.of {
            let before = place.window;
            if place.take_in(answer, now) {
                self.dirty.insert(host);
            }
            if let Answer::Told { window, .. } = answer {
                self.windows.heard(before, window, now);
            }
        } else if let Answer::Told { window, retry_after } = answer {
            // Another one is in its place by now; it may come back.
            let (moved, next) = (false, asked_again(retry_after, now));
            self.hints.left.keep(question.of, Said { window, moved, next });
        }
        if let Waits::Later(pressing) = place.waits {
            self.hints.wait(question.place, pressing);
        }
    }

    /// The CA answers with this window, and names the page that explains it, if there is one; before [`Self::hinted`]. Says
    /// whether the page is news: each is once for a certificate, and what came with a window that an earlier process has
    /// saved has been told by that one.
    pub fn explained(&mut self, question: Question, window: Window, page: Option<&str>) -> bool {
        let Some(host) = self.asked_for(question).cloned() else {
            return false;
        };
        let place = &mut self.hints.places[question.place as usize];
        if place.of != question.of {
            return false;
        }
        let is_known = match &place.page {
            Some(known) => known.as_deref() == page,
            None => place
                .window
                .is_some_and(|known| known.in_seconds() == window.in_seconds()),
        };
        place.page = Some(page.map(Into::into));
        if !is_known {
            self.dirty.insert(host);
        }
        !is_known && page.is_some()
    }

    /// The page on which the CA explains its window for the certificate of `host`.
    #[must_use]
    pub fn explanation(&self, host: &Hostname) -> Option<&str> {
        self.hints.place(host)?.page.as_ref()?.as_deref()
    }

    /// For whom the certificate is that a question is about; nobody once he does not want it any more.
    #[must_use]
    pub fn asked_for(&self, question: Question) -> Option<&Hostname> {
        let place = self.hints.places.get(question.place as usize)?;
        (place.asking == Some(question.of)).then_some(&place.host)
    }

    /// How many questions are under way.
    #[must_use]
    pub fn asking(&self) -> usize {
        self.hints.asking
    }

    /// The certificate of `host` is to be asked about from now on, or nothing is. Says whether something else is known of
    /// the CA's wishes than before: what it said of another one has been dropped, or what it said of this one has been
    /// found again.
    pub(crate) fn follow(
        &mut self,
        host: &Hostname,
        certificate: Option<&CertificateId>,
        pressing: Pressing,
        now: Timestamp,
    ) -> bool {
        let ca = self.maker(host).unwrap_or(CaId::FIRST);
        let hints = &mut self.hints;
        let Some(id) = certificate else {
            if let Some(&at) = hints.of.get(host) {
                hints.leave(at);
            }
            return false;
        };
        let at = hints.place_for(host, ca, id, now);
        if hints.places[at as usize].ca != ca {
            hints.leave(at);
            hints.places[at as usize].ca = ca;
        }
        let place = &mut hints.places[at as usize];
        let is_another = place.id != *id;
        let dropped = is_another && !place.is_untold();
        if is_another {
            // It may come back, out of a backup: the CA wants to be asked about it no sooner for that.
            if let Some(said) = place.said() {
                hints.left.keep(place.of, said);
            }
            (place.id, place.of) = (id.clone(), renewal::key(id));
            (place.window, place.moved, place.page) = (None, false, None);
            (place.next, place.tries) = (now, 0);
        }
        let left = place
            .is_untold()
            .then(|| hints.left.take(place.of, now))
            .flatten();
        if let Some(said) = left {
            (place.window, place.moved, place.next) = (Some(said.window), said.moved, said.next);
        }
        let stays = match place.waits {
            Waits::Again(minute) => !place.is_untold() && minute == minute_of(place.next),
            Waits::First(known) => place.is_untold() && known == pressing,
            Waits::Later(known) => known == pressing,
            Waits::Not => false,
        };
        if !stays {
            hints.leave(at);
            hints.wait(at, pressing);
        }
        dropped || left.is_some()
    }

    /// When the next question may be asked.
    pub(crate) fn next_question_at(&self, now: Timestamp) -> Option<Timestamp> {
        let lists = self.hints.lists.iter();
        let next = lists.filter_map(|(ca, lists)| {
            let at = lists.next()?.at();
            Some(self.unasked_until(*ca, now).map_or(at, |until| until.max(at)))
        });
        next.min()
    }

    /// The next question that is due; it counts as asked.
    pub(crate) fn next_question(&mut self, now: Timestamp) -> Option<(CertificateId, Question)> {
        let lists = self.hints.lists.iter();
        let due = lists.filter_map(|(ca, lists)| Some((lists.next()?, *ca)));
        let due = due.filter(|(next, ca)| next.at() <= now && self.unasked_until(*ca, now).is_none());
        let (_, ca) = due.min()?;
        let hints = &mut self.hints;
        let lists = hints.lists.get_mut(&ca)?;
        let (at, pressing) = if let Some((pressing, host)) = lists.first.pop_first() {
            (*hints.of.get(&host)?, pressing)
        } else {
            let mut list = lists.again.first_entry()?;
            let at = list.get_mut().pop();
            if list.get().is_empty() {
                list.remove();
            }
            (at?, Pressing::Routine)
        };
        let place = &mut hints.places[at as usize];
        place.waits = Waits::Later(pressing);
        place.asking = Some(place.of);
        hints.asking += 1;
        let question = Question {
            place: at,
            of: place.of,
        };
        Some((place.id.clone(), question))
    }

    /// Takes over what the CA has said to an earlier process, unless more is known already.
    pub(super) fn know_window(&mut self, host: &Hostname, id: &CertificateId, said: Said) {
        let ca = self.maker(host).unwrap_or(CaId::FIRST);
        let hints = &mut self.hints;
        let at = hints.place_for(host, ca, id, said.next);
        let place = &hints.places[at as usize];
        let known = place.id == *id && place.window.is_some() && place.next >= said.next;
        if known || place.asking.is_some() {
            return;
        }
        let waits = place.waits != Waits::Not;
        hints.leave(at);
        let place = &mut hints.places[at as usize];
        place.ca = ca;
        (place.id, place.of) = (id.clone(), renewal::key(id));
        (place.window, place.moved, place.page) = (Some(said.window), said.moved, None);
        (place.next, place.tries) = (said.next, 0);
        if waits {
            hints.wait(at, Pressing::Routine);
        }
        self.dirty.insert(host.clone());
    }

    /// What the CA has said: of which certificate, its window, and when it is asked again.
    pub(super) fn all_windows(&self) -> impl Iterator<Item = SavedWindow> {
        let places = self.hints.of.values().map(|at| &self.hints.places[*at as usize]);
        places.filter_map(|place| {
            Some(SavedWindow {
                of: place.of,
                window: place.window?,
                moved: place.moved,
                next: place.next,
            })
        })
    }

    /// A certificate is of no interest any more; what the CA said of it is kept until it may be asked again.
    pub(super) fn drop_hint(&mut self, host: &Hostname) {
        let hints = &mut self.hints;
        if let Some(at) = hints.of.remove(host) {
            hints.leave(at);
            let place = &mut hints.places[at as usize];
            if place.asking.take().is_some() {
                hints.asking -= 1;
            }
            if let Some(said) = place.said() {
                hints.left.keep(place.of, said);
            }
            hints.free.push(at);
        }
    }

    /// After a clock was set back, nobody is asked about later than a CA can have wished.
    pub(super) fn mend_hints(&mut self, now: Timestamp) {
        let latest = after(now, POLLS.1);
        let hints = &mut self.hints;
        hints.left = Left::default();
        let lists = hints.lists.values_mut();
        let again: Vec<_> = lists.flat_map(|lists| std::mem::take(&mut lists.again)).collect();
        for at in again.into_iter().flat_map(|(_, list)| list) {
            let place = &mut hints.places[at as usize];
            place.next = place.next.min(latest);
            hints.wait(at, Pressing::Routine);
        }
    }
}

#[cfg(test)]
mod tests;

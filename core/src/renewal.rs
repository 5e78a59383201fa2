//! When a certificate is renewed: the CA's window where it says one (ARI, RFC 9773), else a share of its lifetime; and
//! what its renewal is exempt from (P20, P21).
//!
//! Every moment is derived from what the certificate is and what the CA said, never drawn, so that restarts and replicas
//! agree. Deliberately absent: whose turn it is among those that are due.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::ari::{CertificateId, Window};
use crate::budget::Exemption;
use crate::cert::{CertFacts, Held};
use crate::hash;
use crate::name::Hostname;
use crate::schedule::{Threshold, ahead, back, renew_at, settled_at, third};

/// Where the CA names no window, renewals of certificates that expire together are spread over this many thousandths of
/// their lifetime, before the moment at which they have to be due: 4.5 days of 90.
pub const SPREAD: u32 = 50;
/// When so little is left of the lifetime, a window of the CA is waited for no longer.
const EMERGENCY: i32 = 20;
/// Let's Encrypt looks back 120 days for a certificate of the same names (Boulder, 2026-08); less than that is safe.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(110 * 24);
/// So many certificates in a row may be recalled right after they were stored and be replaced at once. One CA that makes a
/// mistake, and another in the place of it, are possible; more are a habit.
const RECALLS_AT_ONCE: u32 = 3;
/// A new order takes so long at most to arrive inside a window.
pub(crate) const ARRIVAL: SignedDuration = SignedDuration::from_secs(60);

/// What the CA has said about the renewal of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The certificate: [`key`] of its name at the CA.
    pub of: u64,
    /// When the CA wants it to be renewed.
    pub window: Window,
    /// Whether the window was one that was not over, until the CA moved it: the certificate has been recalled.
    pub moved: bool,
}

/// Everything that says when a certificate of one host is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The operator's choice.
    pub threshold: Threshold,
    /// Over how many thousandths of the lifetime renewals are spread where the CA names no window.
    pub spread: u32,
    /// What the CA says of a certificate of the host.
    pub hint: Option<Hint>,
}

impl From<Threshold> for Rule {
    fn from(threshold: Threshold) -> Self {
        Self {
            threshold,
            spread: 0,
            hint: None,
        }
    }
}

impl Rule {
    /// When the certificate of `host` is due.
    ///
    /// Inside the CA's window at a point of its own, at once where that is past (RFC 9773 §4.2), and in any case before
    /// the end of its life. A threshold that the operator has set is kept besides (S05). Where the CA says nothing, at the
    /// threshold or, to spread them, some time before it, but never in the first third of its life.
    #[must_use]
    pub fn due_at(&self, host: &Hostname, facts: &CertFacts) -> Timestamp {
        let Some(window) = self.window(facts) else {
            return self.due_without_hint(host, facts);
        };
        let (start, end) = (window.start(), window.end());
        // The window's own times are left out: if the CA moves it by an hour, the point moves by an hour.
        let point = ahead(
            start,
            part(start.duration_until(end), share(host, facts, "window")),
        );
        let emergency = back(facts.not_after, facts.lifetime() / EMERGENCY);
        let due = point.min(emergency);
        match self.threshold {
            Threshold::Default => due,
            Threshold::Set(_) => due.min(renew_at(facts.not_before, facts.not_after, self.threshold)),
        }
    }

    /// By when a renewal should have begun that follows the CA's window, or else the threshold.
    pub(crate) fn begins_by(&self, facts: &CertFacts) -> Timestamp {
        let latest = self.latest(facts).unwrap_or(Timestamp::MAX);
        self.window(facts)
            .map_or(latest, |window| window.end().min(latest))
    }

    /// The threshold, where it holds: the operator has set it, or the CA says nothing (S05).
    pub(crate) fn latest(&self, facts: &CertFacts) -> Option<Timestamp> {
        let holds = matches!(self.threshold, Threshold::Set(_)) || self.window(facts).is_none();
        holds.then(|| renew_at(facts.not_before, facts.not_after, self.threshold))
    }

    /// How long certificates like this one are used on the average, until they are due.
    pub(crate) fn usual_time(&self, facts: &CertFacts) -> SignedDuration {
        let middle = match self.window(facts) {
            Some(window) => ahead(window.start(), window.start().duration_until(window.end()) / 2),
            None => back(
                renew_at(facts.not_before, facts.not_after, self.threshold),
                self.width(facts) / 2,
            ),
        };
        let due = self.latest(facts).map_or(middle, |latest| middle.min(latest));
        // One that is recalled is none like the others.
        facts.not_before.duration_until(due).max(facts.lifetime() / 3)
    }

    /// Whether the CA wants the certificate replaced long before its time: a revocation, as a rule (P21).
    #[must_use]
    pub fn is_recalled(&self, host: &Hostname, facts: &CertFacts, now: Timestamp) -> bool {
        let usual = ahead(facts.not_before, self.usual_life(host, facts));
        self.window(facts)
            .is_some_and(|window| window.end() <= now.min(usual))
            && now < self.due_without_hint(host, facts)
    }

    /// When the certificate of `host` is due if the CA says nothing.
    pub(crate) fn due_without_hint(&self, host: &Hostname, facts: &CertFacts) -> Timestamp {
        let latest = renew_at(facts.not_before, facts.not_after, self.threshold);
        let due = back(latest, part(self.width(facts), share(host, facts, "share")));
        due.max(ahead(facts.not_before, facts.lifetime() / 3)).min(latest)
    }

    /// Until when a certificate of `host` that Faythe stored at `issued` is left alone though it is due: `issue_grace`, or a
    /// quarter of its lifetime where that is less. One that is due so soon is one of a clock that is wrong, or backdated by
    /// most of its life; another order would bring another like it (P17, P20). So one that was due already when it was stored
    /// is used for half of what it had left.
    ///
    /// Where it is the CA's window that has it renewed at once, and `early` certificates before it in a row were replaced for
    /// that, twice as long for each of them: until it would be due without a window at the latest. One that the CA had told
    /// another window before has been recalled, and is not left alone (P21), unless that has become a habit.
    #[must_use]
    pub fn settled_at(
        &self,
        host: &Hostname,
        facts: &CertFacts,
        issued: Timestamp,
        early: u32,
        issue_grace: Duration,
    ) -> Timestamp {
        let mut alone = settled_at(issued, facts.not_before, facts.not_after, issue_grace);
        let plain = self.due_without_hint(host, facts);
        if plain <= issued {
            let left = issued.duration_until(facts.not_after).max(SignedDuration::ZERO);
            alone = alone.max(ahead(issued, left / 2));
        }
        if !self.is_hurried(host, facts) {
            return alone;
        }
        if self.hint.is_some_and(|hint| hint.moved) && early < RECALLS_AT_ONCE {
            return issued;
        }
        let longer = issued.duration_until(alone).checked_mul(1 << early.min(16));
        let longer = ahead(issued, longer.unwrap_or(SignedDuration::MAX));
        longer.min(plain).max(alone)
    }

    /// Whether it is due sooner by the CA's window than without one.
    pub(crate) fn is_hurried(&self, host: &Hostname, facts: &CertFacts) -> bool {
        self.due_at(host, facts) < self.due_without_hint(host, facts)
    }

    /// How many certificates in a row will have been replaced long before their time, since the CA's window said so, when
    /// this one of `host` is replaced now; `early` were before it.
    ///
    /// One whose window is over and that was renewed in its time all the same, because it was left alone for long, does not
    /// end the row: else it would begin anew.
    pub(crate) fn early_after(&self, host: &Hostname, facts: &CertFacts, early: u32, now: Timestamp) -> u32 {
        let Some(window) = self.window(facts) else {
            return 0;
        };
        let most = self.usual_life(host, facts) * 9 / 10;
        if self.due_at(host, facts) <= now && now < ahead(facts.not_before, most) {
            early.saturating_add(1)
        } else if window.end() <= now {
            early
        } else {
            0
        }
    }

    /// For how long a certificate of `host` is used as a rule, whatever the CA says: all of its life but a third at most,
    /// however late the operator wants it renewed.
    fn usual_life(&self, host: &Hostname, facts: &CertFacts) -> SignedDuration {
        let life = facts.lifetime();
        let plain = facts
            .not_before
            .duration_until(self.due_without_hint(host, facts));
        plain.min(life - third(life))
    }

    /// Over how long renewals are spread where the CA says nothing.
    fn width(&self, facts: &CertFacts) -> SignedDuration {
        facts.lifetime() / 1_000 * i32::try_from(self.spread.min(1_000)).unwrap_or(0)
    }

    /// The window of this very certificate.
    #[must_use]
    pub fn window(&self, facts: &CertFacts) -> Option<Window> {
        let id = facts.id.as_ref()?;
        self.hint
            .filter(|hint| hint.of == key(id))
            .map(|hint| hint.window)
    }
}

/// What an order for `host` would be exempt from now, from what is held for it.
pub fn exemption<'a>(
    host: &Hostname,
    held: impl Iterator<Item = &'a Held>,
    hint: Option<&Hint>,
    now: Timestamp,
) -> Exemption {
    let of = |held: &Held| {
        let facts = held.content.as_ref().ok()?;
        // Certificates of other hands may be for a set with more names.
        let same = matches!(facts.names.as_slice(), [only] if only == host);
        if !is_known(held, hint) || !same || facts.not_before < back(now, REMEMBERED) {
            return None;
        }
        let id = facts.id.as_ref().map(key);
        // Another hand may have had another account, whose certificates ours cannot replace; they are the same names all
        // the same.
        let inside = held.issued_at.is_some()
            && hint.is_some_and(|hint| {
                let window = hint.window;
                Some(hint.of) == id && window.start() <= now && ahead(now, ARRIVAL) < window.end()
            });
        Some(if inside {
            Exemption::Window
        } else {
            Exemption::Renewal
        })
    };
    held.filter_map(of).max().unwrap_or(Exemption::Nothing)
}

/// Whether the CA certainly knows what is held: it is of our own hand, or the CA has said when it wants it renewed.
fn is_known(held: &Held, hint: Option<&Hint>) -> bool {
    let id = || held.content.as_ref().ok()?.id.as_ref().map(key);
    held.issued_at.is_some() || hint.is_some_and(|hint| Some(hint.of) == id())
}

/// When the CA will have forgotten, one after the other, that it issued what is held: exemptions end then.
pub fn forgotten_at<'a>(
    held: impl Iterator<Item = &'a Held>,
    hint: Option<&Hint>,
) -> impl Iterator<Item = Timestamp> {
    // Strictly after the time for which it is remembered.
    held.filter(move |held| is_known(held, hint))
        .filter_map(|held| Some(ahead(held.content.as_ref().ok()?.not_before, REMEMBERED)))
        .map(|at| ahead(at, SignedDuration::from_nanos(1)))
}

/// How many certificates of `host` in a row will have been replaced long before their time when what is held is replaced
/// now.
pub fn early<'a>(host: &Hostname, held: impl Iterator<Item = &'a Held>, rule: &Rule, now: Timestamp) -> u32 {
    let of = held.filter_map(|held| Some((held.early(), held.content.as_ref().ok()?)));
    let best = of
        .filter(|(_, facts)| facts.covers(host))
        .max_by_key(|(_, facts)| facts.not_after);
    best.map_or(0, |(early, facts)| rule.early_after(host, facts, early, now))
}

/// The certificate that a new one for `host` takes the place of: the one that serves longest, if the CA can know it.
pub fn predecessor<'a>(
    host: &Hostname,
    held: impl Iterator<Item = &'a Held>,
    hint: Option<&Hint>,
) -> Option<CertificateId> {
    let (held, facts) = held
        .filter_map(|held| Some((held, held.content.as_ref().ok()?)))
        .filter(|(_, facts)| facts.covers(host))
        .max_by_key(|(_, facts)| facts.not_after)?;
    facts.id.clone().filter(|_| is_known(held, hint))
}

/// A certificate's name at its CA, made short.
#[must_use]
pub fn key(id: &CertificateId) -> u64 {
    hash::stable(&["certificate", id.as_str()])
}

/// A place between 0 and 1 that belongs to this certificate of this host.
fn share(host: &Hostname, facts: &CertFacts, purpose: &str) -> f64 {
    hash::share(&[purpose, &host.to_string(), &facts.serial])
}

fn part(of: SignedDuration, share: f64) -> SignedDuration {
    #[expect(clippy::cast_possible_truncation, reason = "a part of a time that fits")]
    SignedDuration::from_secs((of.as_secs_f64() * share) as i64)
}

#[cfg(test)]
mod tests;

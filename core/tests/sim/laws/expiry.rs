//! Nothing expires that could have been saved: judged at the very moment at which a certificate that is held expires.
//!
//! It could have been saved if, from when it was due on, somebody wanted it, nobody meddled with it, and nothing stood in
//! the way for long [`ENOUGH`] in all. In the way is what no program can help: a CA that does not answer or refuses the name,
//! name servers that take no update or do not show it, an API server that is away, a clock that is wrong, somebody
//! else's Secret in its place; and, where the CA has said no, the spacing that P22 wants after it.
//!
//! It is due by the plain rule, unless the CA has told when it wants it renewed: from when that was told until that window
//! is over, it is not due. That excuses nobody. Whoever obeys the window (P21, RFC 9773 §4.2) cannot be due sooner, and may
//! take any point in it; a CA of ten days tells it for the end of the second third, and the plain rule asks for half. Before
//! it was told, and where it never was, the plain rule holds.

use std::collections::{BTreeMap, BTreeSet};

use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::name::Hostname;
use faythe_core::schedule::{Threshold, ahead, renew_at};
use jiff::SignedDuration;

use super::{DAY, GRACE, Laws};
use crate::outside::{Change, Outside, secret_name};

/// Time in which an order is made for certain when its way is free: a few that the CA never ends are given up after half
/// an hour each.
const ENOUGH: SignedDuration = SignedDuration::from_hours(2);
/// What a CA with few orders in three hours may take in addition.
const TURNS: SignedDuration = SignedDuration::from_hours(3);

/// Spells of something, by when each began, and ended.
type Spells = Vec<(Timestamp, Option<Timestamp>)>;

/// A certificate in a Secret of ours.
struct Held {
    host: Hostname,
    id: Option<CertificateId>,
    from: Timestamp,
    end: Timestamp,
}

/// What is watched for.
#[derive(Default)]
pub(crate) struct Watch {
    held: BTreeMap<String, Held>,
    next: Option<Timestamp>,
    /// When the CA has told another window of a certificate, and when that ends.
    windows: BTreeMap<CertificateId, Vec<(Timestamp, Timestamp)>>,
    /// When nothing could be done for anybody.
    troubles: Spells,
    /// When nothing could be done for one host.
    hindrances: BTreeMap<Hostname, Spells>,
    hindered: BTreeSet<Hostname>,
    /// Names that the CA does not validate or refuses, and Secrets of others, as they were at the last step.
    before: (BTreeSet<Hostname>, BTreeSet<Hostname>, BTreeMap<String, String>),
    /// How many have expired that could not have been saved.
    pub(crate) expired: usize,
}

fn set(spells: &mut Spells, is: bool, now: Timestamp) {
    match spells.last_mut() {
        Some((_, end @ None)) if !is => *end = Some(now),
        Some((_, None)) => {}
        Some(_) | None if is => spells.push((now, None)),
        Some(_) | None => {}
    }
}

impl Laws {
    /// Something was written or deleted.
    pub(crate) fn sees(&mut self, change: &Change) {
        let Change::Secret(name, held) = change else {
            return;
        };
        let watch = &mut self.expiry;
        watch.held.remove(name);
        if let Some((host, held)) = held
            && let Ok(facts) = &held.content
            && held.issued_at.is_some()
        {
            let there = Held {
                host: host.clone(),
                id: facts.id.clone(),
                from: facts.not_before,
                end: facts.not_after,
            };
            watch.held.insert(name.clone(), there);
            watch.next = Some(
                watch
                    .next
                    .map_or(facts.not_after, |next| next.min(facts.not_after)),
            );
        }
    }

    /// What stands in the way, and what has expired. At each step; `acts` says whether any process does.
    pub(crate) fn check_expiry(&mut self, acts: bool, outside: &Outside) {
        let (now, ca) = (outside.now, &outside.ca);
        let trouble = !acts
            || ca.down > 0
            || outside.dns.refusing > 0
            || outside.dns.cut_off_until > now
            || outside.cluster.down > 0
            || outside.clock_ahead != SignedDuration::ZERO;
        set(&mut self.expiry.troubles, trouble, now);
        self.hinder(outside);
        if self.expiry.next.is_none_or(|next| next > now) {
            return;
        }
        let watch = &mut self.expiry;
        let over: Vec<_> = watch.held.extract_if(.., |_, held| held.end <= now).collect();
        watch.next = watch.held.values().map(|held| held.end).min();
        for (name, held) in over {
            let Held { host, id, from, end } = held;
            let windows = id
                .and_then(|id| self.expiry.windows.remove(&id))
                .unwrap_or_default();
            // Nobody minds.
            if name != secret_name(&host) || !self.wanted.contains_key(&host) {
                continue;
            }
            let due = renew_at(from, end, Threshold::Default);
            let clear = self.clear_time(&host, due, from, end, &not_due(&windows), outside);
            self.expiry.expired += 1;
            let words = format!("{host} expires, though nothing stood in the way for {clear:#}");
            self.law(clear < self.enough(outside), now, &words);
        }
    }

    fn hinder(&mut self, outside: &Outside) {
        let (cursed, rejected, foreign) = &self.expiry.before;
        let (ca, cluster) = (&outside.ca, &outside.cluster);
        if *cursed == ca.cursed && *rejected == ca.rejected && *foreign == cluster.foreign {
            return;
        }
        self.expiry.before = (ca.cursed.clone(), ca.rejected.clone(), cluster.foreign.clone());
        let hindered = |host: &Hostname| {
            outside.ca.cursed.contains(host)
                || outside.ca.rejected.contains(host)
                || outside.cluster.is_taken(host)
        };
        // Those of whom it may have changed.
        let known = self.wanted.keys().filter(|host| outside.cluster.is_taken(host));
        let known = known.chain(&outside.ca.cursed).chain(&outside.ca.rejected);
        let is: BTreeSet<_> = known.chain(&self.expiry.hindered).cloned().collect();
        for host in is {
            let hindered = hindered(&host);
            if hindered {
                self.expiry.hindered.insert(host.clone());
            } else {
                self.expiry.hindered.remove(&host);
            }
            let spells = self.expiry.hindrances.entry(host).or_default();
            set(spells, hindered, outside.now);
        }
    }

    /// For how long a free way is enough.
    pub(super) fn enough(&self, outside: &Outside) -> SignedDuration {
        let most = outside.ca.habits.orders_in_three_hours;
        let turns = most.map_or(0, |most| self.wanted.len().div_ceil(most));
        ENOUGH + TURNS * i32::try_from(turns).unwrap()
    }

    /// The CA tells when it wants a certificate renewed.
    pub(super) fn tells_window(&mut self, certificate: &CertificateId, outside: &Outside) {
        let Some(window) = outside.ca.window(certificate, outside.now) else {
            return;
        };
        let told = self.expiry.windows.entry(certificate.clone()).or_default();
        if told.last().is_none_or(|(_, end)| *end != window.end()) {
            told.push((outside.answer_at(), window.end()));
        }
    }

    /// For how long the way was free between when it was due and the end; `from` says when the CA's noes begin to count, and
    /// `not_due` when it was not due all the same.
    pub(super) fn clear_time(
        &self,
        host: &Hostname,
        due: Timestamp,
        from: Timestamp,
        end: Timestamp,
        not_due: &[(Timestamp, Timestamp)],
        outside: &Outside,
    ) -> SignedDuration {
        let Some(wanted) = self.wanted.get(host) else {
            return SignedDuration::ZERO;
        };
        let mut since = due.max(*wanted);
        let events = [self.meddled.get(host).copied(), self.clock_wrong];
        for at in events.into_iter().flatten() {
            since = since.max(at);
        }
        let watch = &self.expiry;
        let spells = watch
            .troubles
            .iter()
            .chain(watch.hindrances.get(host).into_iter().flatten());
        let spells = spells.map(|(from, until)| (*from, until.unwrap_or(end)));
        // The CA's noes in a row: eight hours, sixteen, a day.
        let noes = outside.ca.noes.get(host).into_iter().flatten();
        let mut row = 0;
        let spaced = noes.filter(|at| **at >= from).map(|at| {
            row += 1;
            let wait = if row == 1 && !self.refused.contains_key(host) {
                GRACE
            } else {
                DAY
            };
            (*at, ahead(*at, wait))
        });
        let mut spells: Vec<_> = spells.chain(spaced).chain(not_due.iter().copied()).collect();
        spells.sort();
        let (mut clear, mut at) = (SignedDuration::ZERO, since);
        for (from, until) in spells {
            if from > at {
                clear += at.duration_until(from.min(end)).max(SignedDuration::ZERO);
            }
            at = at.max(until);
        }
        clear + at.duration_until(end).max(SignedDuration::ZERO)
    }
}

/// When a certificate was not due by what its CA told: from when that was told until the window was over, or another one was
/// told. One that is past when it is told, as of what is revoked, takes nothing away.
fn not_due(windows: &[(Timestamp, Timestamp)]) -> Vec<(Timestamp, Timestamp)> {
    let next = windows.iter().skip(1).map(|(told, _)| *told);
    let spells = windows.iter().zip(next.chain([Timestamp::MAX]));
    let spells = spells.map(|((told, end), next)| (*told, (*end).min(next)));
    spells.filter(|(told, end)| told < end).collect()
}

//! The part of the world that concerns the CAs: what each counts, what each has asked us to leave alone, and who has to
//! do with which of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::World;
use crate::activity::Hold;
use crate::budget::{Exemption, Ledger, Limits, Record, SavedHold};
use crate::cas::{CaId, Cas};
use crate::cert::Held;
use crate::name::Hostname;
use crate::problem::{ProblemKind, Scope};
use crate::schedule::{ahead, back, set_back};

/// A hold that is over sooner than this is not worth a write.
const WORTH_SAVING: SignedDuration = SignedDuration::from_mins(1);

/// What is known of one CA.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) ledger: Ledger,
    holds: BTreeMap<Scope, Hold>,
    /// How far our clock is ahead of its clock.
    pub(super) clock_ahead: SignedDuration,
    /// Since when it has done nothing that it was asked.
    down_since: Option<Timestamp>,
    /// It has no renewal information; nothing is asked before this.
    pub(super) without_hints_until: Option<Timestamp>,
}

impl Desk {
    /// Of two answers the more patient one holds. Says whether this is the one.
    fn hold(&mut self, scope: Scope, hold: Hold) -> bool {
        let known = self.holds.get(&scope);
        let news = known.is_none_or(|known| !known.told || known.until <= hold.until);
        if news {
            self.holds.insert(scope, hold);
        }
        news
    }

    /// Our clock has been set by so much: the CA goes on counting from when it spoke.
    pub(super) fn clock_set(&mut self, by: SignedDuration, now: Timestamp) {
        self.ledger.clock_set(by);
        for hold in self.holds.values_mut() {
            hold.until = ahead(hold.until, by);
        }
        self.down_since = self.down_since.map(|at| ahead(at, by));
        if self.holds.values().any(|hold| is_saved(hold, now)) {
            self.ledger.save_soon();
        }
    }

    /// Adds to a record what the CA has told us to leave alone.
    pub(super) fn with_holds(&self, record: Record, now: Timestamp) -> Record {
        let mut holds: Vec<_> = (self.holds.iter())
            .filter(|(_, hold)| is_saved(hold, now))
            .map(|(scope, hold)| SavedHold {
                scope: scope.clone(),
                until: hold.until,
                code: hold.code.clone(),
                text: cut(&hold.text).to_owned(),
            })
            .collect();
        // The widest first, then those that last longest.
        holds.sort_by_key(|hold| (matches!(hold.scope, Scope::Below(_)), Reverse(hold.until)));
        holds.truncate(SavedHold::MOST);
        Record { holds, ..record }
    }

    /// Takes up the holds of a record, whose times have to be moved by so much.
    pub(super) fn load_holds(&mut self, record: &Record, moved: SignedDuration, now: Timestamp) {
        for saved in record.holds.iter().take(SavedHold::MOST) {
            let until = ahead(saved.until, moved);
            if until <= now {
                continue;
            }
            if saved.scope == Scope::Account {
                self.down_since
                    .get_or_insert_with(|| ahead(record.at, moved).min(now));
            }
            let hold = Hold {
                until,
                code: saved.code.clone(),
                text: saved.text.clone(),
                tries: 1,
                told: true,
            };
            self.hold(saved.scope.clone(), hold);
        }
    }
}

impl Desk {
    /// The clock has been set back from `before`.
    fn mend(&mut self, before: Timestamp, now: Timestamp) {
        for hold in self.holds.values_mut() {
            hold.until = set_back(hold.until, before, now);
        }
        self.down_since = self.down_since.map(|since| since.min(now));
        let without = self.without_hints_until;
        self.without_hints_until = without.map(|until| set_back(until, before, now));
    }
}

/// Whether a hold is kept over a restart. One that lasts as long as we say, until somebody mends the account or the
/// configuration, is not: Faythe is started anew to end it.
fn is_saved(hold: &Hold, now: Timestamp) -> bool {
    is_named(hold) && hold.until > ahead(now, WORTH_SAVING)
}

/// Whether the CA itself has named the time.
fn is_named(hold: &Hold) -> bool {
    hold.told && as_we_say(hold).is_none()
}

/// For how long it is held, where we say that: until somebody mends the account or the configuration.
fn as_we_say(hold: &Hold) -> Option<Duration> {
    let kind = ProblemKind::from_urn(&hold.code);
    kind.held_as_we_say().filter(|_| hold.told)
}

/// As much of a text as a record takes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SavedHold::LONGEST)]
}

/// All of them, and what keeps single names from one.
#[derive(Debug)]
pub(super) struct Desks {
    pub(super) cas: Cas,
    /// How far our clock is ahead of the API server's.
    pub(super) clock_ahead: SignedDuration,
    desks: Vec<Desk>,
    /// At which CA the order is that is under way or was last.
    orders: BTreeMap<Hostname, CaId>,
    /// Where CAA records forbid a CA to issue, as far as they have been looked at.
    exclusions: BTreeMap<Hostname, BTreeMap<CaId, Hold>>,
}

impl Desks {
    pub(super) fn new(cas: Cas) -> Self {
        let desk = || Desk {
            ledger: Ledger::new(Limits::default()),
            holds: BTreeMap::new(),
            clock_ahead: SignedDuration::ZERO,
            down_since: None,
            without_hints_until: None,
        };
        Self {
            desks: cas.all().map(|_| desk()).collect(),
            cas,
            clock_ahead: SignedDuration::ZERO,
            orders: BTreeMap::new(),
            exclusions: BTreeMap::new(),
        }
    }

    pub(super) fn at(&self, ca: CaId) -> &Desk {
        &self.desks[ca.place().min(self.desks.len() - 1)]
    }

    pub(super) fn at_mut(&mut self, ca: CaId) -> &mut Desk {
        let last = self.desks.len() - 1;
        &mut self.desks[ca.place().min(last)]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Desk> {
        self.desks.iter_mut()
    }

    pub(super) fn of(&self, host: &Hostname) -> CaId {
        self.orders.get(host).copied().unwrap_or(CaId::FIRST)
    }

    pub(super) fn forget(&mut self, host: &Hostname) {
        self.orders.remove(host);
    }

    /// The clock has been set back from `before`.
    pub(super) fn mend(&mut self, before: Timestamp, now: Timestamp) {
        self.desks.iter_mut().for_each(|desk| desk.mend(before, now));
        for hold in self.exclusions.values_mut().flat_map(BTreeMap::values_mut) {
            hold.until = set_back(hold.until, before, now);
        }
    }

    /// Takes over what no look at the cluster tells.
    pub(super) fn inherit(&mut self, from: &Self) {
        for (desk, from) in self.desks.iter_mut().zip(&from.desks) {
            desk.ledger = from.ledger.clone();
            desk.without_hints_until = from.without_hints_until;
            desk.down_since = from.down_since;
        }
    }
}

impl World {
    /// The CAs.
    #[must_use]
    pub fn cas(&self) -> &Cas {
        &self.desks.cas
    }

    /// Those that serve `host`, in order.
    #[must_use]
    pub fn cas_of(&self, host: &Hostname) -> &[CaId] {
        self.desks.cas.of_zone(self.zone_of(host.base()))
    }

    /// What a CA is called, where there are several.
    #[must_use]
    pub fn name_of(&self, ca: CaId) -> Option<&str> {
        let several = self.desks.cas.count() > 1;
        let named = self.desks.cas.get(ca).filter(|_| several);
        named.map(|ca| ca.name.as_str())
    }

    /// The CA at which the order for `host` is; the first of all where none has been chosen.
    #[must_use]
    pub fn ca_of(&self, host: &Hostname) -> CaId {
        self.desks.of(host)
    }

    /// The order for `host` is at this CA.
    pub fn set_ca(&mut self, host: &Hostname, ca: CaId) {
        self.desks.orders.insert(host.clone(), ca);
    }

    /// The CA that made the certificate that is held for `host`, or would have as far as is known: the first of its zone.
    /// `None` where it is not configured any more.
    #[must_use]
    pub fn maker(&self, host: &Hostname) -> Option<CaId> {
        let claims = self.claims(host).filter(|held| match &held.content {
            Ok(facts) => facts.covers(host),
            Err(_) => false,
        });
        let best = claims.max_by_key(|held| held.content.as_ref().map(|facts| facts.not_after).ok());
        match best.and_then(|held| held.made_by) {
            Some(key) => self.desks.cas.find(key),
            None => self.cas_of(host).first().copied(),
        }
    }

    /// The profile that the certificate of `host` was ordered with.
    #[must_use]
    pub fn profile(&self, host: &Hostname) -> Option<&str> {
        let facts = |held: &Held| held.content.as_ref().ok().map(|facts| facts.not_after);
        let held = self.claims(host).max_by_key(|held| facts(held))?;
        held.profile()
    }

    /// Takes over from another world what no look at the cluster tells: the ledgers, since when a CA is down and which has no
    /// renewal information, whose turn it is, and what the CAs have said about renewals. Holds and what CAA records said
    /// are left behind.
    pub fn inherit(&mut self, from: &Self) {
        self.desks.inherit(&from.desks);
        self.turns = from.turns.clone();
        self.hints = from.hints.clone();
        self.windows = from.windows.clone();
        self.holds_changed = true;
    }

    /// Until when a CA is asked nothing about renewals: it has no renewal information, or has named a time before which
    /// it wants to be asked nothing, or no such questions (RFC 9773 §4.3.2).
    #[must_use]
    pub fn unasked_until(&self, ca: CaId, now: Timestamp) -> Option<Timestamp> {
        let desk = self.desks.at(ca);
        let named = [Scope::Account, Scope::Questions].map(|scope| desk.holds.get(&scope));
        let named = named.into_iter().flatten().filter(|hold| is_named(hold));
        let until = named.map(|hold| hold.until).chain(desk.without_hints_until);
        until.filter(|at| *at > now).max()
    }

    /// Whether a CA has no renewal information, as far as is known.
    #[must_use]
    pub fn is_without_hints(&self, ca: CaId, now: Timestamp) -> bool {
        let until = self.desks.at(ca).without_hints_until;
        until.is_some_and(|until| until > now)
    }

    // ---- holds ----

    /// A CA has to be left alone, as far as `scope` says. A time that the CA has named is never made shorter: of two answers
    /// to two requests the more patient one holds.
    pub fn set_hold(&mut self, ca: CaId, scope: Scope, hold: Hold, now: Timestamp) {
        let desk = self.desks.at_mut(ca);
        if matches!(scope, Scope::Account | Scope::Order(_)) && desk.down_since.is_none() {
            desk.down_since = Some(now);
            self.holds_changed = true;
        }
        let saved = is_saved(&hold, now);
        if desk.hold(scope, hold) {
            self.holds_changed = true;
            if saved {
                desk.ledger.save_soon();
            }
        }
    }

    /// How many orders beside `own` have met trouble since the CA last did what it was asked.
    pub(super) fn others_in_trouble(&self, ca: CaId, own: &Scope) -> u32 {
        let scopes = self.desks.at(ca).holds.keys();
        let others = scopes.filter(|scope| matches!(scope, Scope::Order(_)) && *scope != own);
        u32::try_from(others.count()).unwrap_or(u32::MAX)
    }

    /// The CA has answered: what was held because it could not is held no longer.
    pub fn clear_trouble(&mut self, ca: CaId) {
        let desk = self.desks.at_mut(ca);
        let before = desk.holds.len();
        desk.holds
            .retain(|scope, hold| hold.told || !matches!(scope, Scope::Account | Scope::Order(_)));
        self.holds_changed |= desk.down_since.take().is_some() || desk.holds.len() < before;
    }

    /// Whether the CA could not be used when it was last asked, and has done nothing that it was asked since.
    #[must_use]
    pub fn ca_is_in_trouble(&self, ca: CaId) -> bool {
        let hold = self.hold_of(ca, &Scope::Account);
        hold.is_some_and(|hold| !hold.told)
    }

    /// Since when the CA has done nothing that it was asked; `None` once it has answered.
    #[must_use]
    pub fn down_since(&self, ca: CaId) -> Option<Timestamp> {
        self.desks.at(ca).down_since
    }

    /// Forgets the holds that are over. One that the CA did not name stays, for it counts how often in a row there was
    /// trouble, until [`Self::clear_trouble`].
    pub(crate) fn expire_holds(&mut self, now: Timestamp) {
        for desk in self.desks.iter_mut() {
            desk.holds.retain(|_, hold| !hold.told || hold.until > now);
        }
    }

    /// The hold that keeps an order for `host` from a CA longest, if one does at `now`.
    #[must_use]
    pub fn hold_on(&self, host: &Hostname, ca: CaId, exemption: Exemption, now: Timestamp) -> Option<&Hold> {
        let apex = self.zone_of(host.base());
        let holds = self.desks.at(ca).holds.iter();
        holds
            .filter(|(scope, hold)| hold.until > now && scope.covers(host.base(), apex, exemption))
            .map(|(_, hold)| hold)
            .filter(|hold| !self.is_passed_by_hand(host, hold))
            .max_by_key(|hold| hold.until)
    }

    /// Whether somebody who has asked by hand for a certificate of `host` has asked since it was held: what is held as we
    /// say, until somebody acts, is tried then. What the CA has named stands (P22).
    fn is_passed_by_hand(&self, host: &Hostname, hold: &Hold) -> bool {
        let Some(wait) = as_we_say(hold) else {
            return false;
        };
        let began = back(
            hold.until,
            SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX),
        );
        self.demand(host).is_some_and(|demand| demand.at > began)
    }

    /// A certificate of `host` has been made. If it was asked for by hand in spite of what was held until somebody acts,
    /// somebody has.
    pub fn mended(&mut self, host: &Hostname) {
        let ca = self.ca_of(host);
        let apex = self.zone_of(host.base());
        let holds = self.desks.at(ca).holds.iter();
        let passed = holds.filter(|(scope, hold)| {
            scope.covers(host.base(), apex, Exemption::Nothing) && self.is_passed_by_hand(host, hold)
        });
        let passed: Vec<_> = passed.map(|(scope, _)| scope.clone()).collect();
        for scope in passed {
            self.desks.at_mut(ca).holds.remove(&scope);
            self.holds_changed = true;
        }
    }

    /// The hold of one scope at a CA, in force or past.
    #[must_use]
    pub fn hold_of(&self, ca: CaId, scope: &Scope) -> Option<&Hold> {
        self.desks.at(ca).holds.get(scope)
    }

    // ---- CAA ----

    /// CAA records do not let a CA issue for `host`; it is looked at again when the hold is over.
    pub fn exclude(&mut self, host: &Hostname, ca: CaId, hold: Hold) {
        let of_host = self.desks.exclusions.entry(host.clone()).or_default();
        of_host.insert(ca, hold);
        self.turns.give_back(host);
        self.dirty.insert(host.clone());
    }

    /// CAA records let a CA issue for `host`, as far as is known.
    pub fn permit(&mut self, host: &Hostname, ca: CaId) {
        if let Some(of_host) = self.desks.exclusions.get_mut(host)
            && of_host.remove(&ca).is_some()
        {
            if of_host.is_empty() {
                self.desks.exclusions.remove(host);
            }
            self.dirty.insert(host.clone());
        }
    }

    /// What CAA records said when they were looked at last, if they did not let a CA issue for `host`; in force or past.
    #[must_use]
    pub fn exclusion(&self, host: &Hostname, ca: CaId) -> Option<&Hold> {
        self.desks.exclusions.get(host)?.get(&ca)
    }

    /// How many hosts CAA records keep from a CA.
    #[must_use]
    pub fn excluded(&self) -> usize {
        self.desks.exclusions.len()
    }

    /// Forgets what CAA records said of a host that is of no interest any more.
    pub(super) fn drop_exclusions(&mut self, host: &Hostname) {
        self.desks.exclusions.remove(host);
    }
}

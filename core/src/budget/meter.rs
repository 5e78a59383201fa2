//! One kind of limit over many keys, each kept as GCRA keeps it: one time, from which it will be full again.
//!
//! That is also how Let's Encrypt counts, so that both come to the same result (acme-v02, Boulder's `ratelimits`,
//! 2026-08). What has been granted and not yet been counted by the CA is pending: it counts as if it were spent now, for
//! ever, until it is spent or given back. So what is granted can never be over the limit, however late the CA counts it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::limits::Limit;
use crate::schedule::ahead;

/// The counts of one kind of limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meter {
    /// `None` where there is no limit: then nothing is counted.
    limit: Option<Limit>,
    /// When each key's bucket will be full again; a full one is left out.
    full_at: BTreeMap<u64, Timestamp>,
    /// What is granted and not counted yet.
    pending: BTreeMap<u64, u32>,
}

/// Our clock and the CA's do not run quite alike, so a bucket is taken to be this much emptier than it is.
const MARGIN: SignedDuration = SignedDuration::from_secs(1);

impl Meter {
    pub(super) fn new(limit: Option<Limit>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// How many more may be granted for `key` now; `None` for as many as one likes.
    pub(super) fn free(&self, key: u64, now: Timestamp) -> Option<u32> {
        let limit = self.limit?;
        let (busy, interval) = (self.busy(limit, key, now).as_nanos(), limit.interval().as_nanos());
        let used = u32::try_from((busy + interval - 1) / interval).unwrap_or(u32::MAX);
        Some(
            limit
                .burst()
                .saturating_sub(used)
                .saturating_sub(self.pending(key)),
        )
    }

    /// When the `nth` more (from 1) may be granted if nothing else happens. What is pending counts as spent.
    pub(super) fn at(&self, key: u64, nth: u32, now: Timestamp) -> Timestamp {
        let Some(limit) = self.limit else {
            return now;
        };
        if self.free(key, now).is_none_or(|free| free >= nth) {
            return now;
        }
        let wanted = i64::from(self.pending(key)) + i64::from(nth) - i64::from(limit.burst());
        let busy = self.busy(limit, key, now);
        let wait = busy.as_nanos() + limit.interval().as_nanos() * i128::from(wanted);
        let wait = i64::try_from(wait.max(0)).unwrap_or(i64::MAX);
        ahead(now, SignedDuration::from_nanos(wait))
    }

    /// Grants one.
    pub(super) fn reserve(&mut self, key: u64) {
        if self.limit.is_some() {
            *self.pending.entry(key).or_default() += 1;
        }
    }

    /// Takes back a grant that the CA will never count.
    pub(super) fn release(&mut self, key: u64) {
        if let Some(pending) = self.pending.get_mut(&key) {
            *pending -= 1;
            if *pending == 0 {
                self.pending.remove(&key);
            }
        }
    }

    /// The CA has counted one, at `now` at the latest.
    pub(super) fn spend(&mut self, key: u64, now: Timestamp) {
        let Some(limit) = self.limit else { return };
        let full_at = self.full_at.entry(key).or_insert(now);
        *full_at = ahead((*full_at).max(now), limit.interval());
    }

    /// The CA says that there is nothing left before `until`: then one, as after its Retry-After (observed on Boulder,
    /// 2026-11).
    pub(super) fn drain(&mut self, key: u64, until: Timestamp) {
        let Some(limit) = self.limit else { return };
        let others = limit.interval() * bounded(limit.burst().saturating_sub(1));
        self.learn(key, ahead(until, others));
    }

    /// The CA has forgiven all.
    pub(super) fn clear(&mut self, key: u64) {
        self.full_at.remove(&key);
    }

    /// Forgets the keys whose buckets are full.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.full_at.retain(|_, at| ahead(*at, MARGIN) > now);
    }

    /// When each key's bucket will be full again.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, Timestamp)> {
        self.full_at.iter().map(|(key, at)| (*key, *at))
    }

    /// What another process has counted: of two times the later one holds.
    pub(super) fn learn(&mut self, key: u64, full_at: Timestamp) {
        if self.limit.is_some() {
            let known = self.full_at.entry(key).or_insert(full_at);
            *known = (*known).max(full_at);
        }
    }

    /// Brings times into reach that lie further ahead than any bucket takes to fill: those of a clock that has since
    /// been set back, and of a past that was reckoned too dark.
    pub(super) fn mend(&mut self, now: Timestamp) {
        let Some(limit) = self.limit else { return };
        let furthest = ahead(now, limit.interval() * bounded(limit.burst()));
        self.full_at.values_mut().for_each(|at| *at = (*at).min(furthest));
    }

    /// The clock has been set by so much.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        self.full_at.values_mut().for_each(|at| *at = ahead(*at, by));
    }

    pub(super) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// All keys of which anything is known.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        let unspent = self.pending.keys().filter(|key| !self.full_at.contains_key(key));
        self.full_at.keys().chain(unspent).copied()
    }

    /// When the bucket of `key` would be full if what is pending were spent now.
    pub(super) fn projected(&self, key: u64, now: Timestamp) -> Timestamp {
        let Some(limit) = self.limit else { return now };
        ahead(
            self.spent(key, now),
            limit.interval() * bounded(self.pending(key)),
        )
    }

    /// When the bucket of `key` will be full from what is spent.
    pub(super) fn spent(&self, key: u64, now: Timestamp) -> Timestamp {
        self.full_at.get(&key).map_or(now, |at| now.max(*at))
    }

    /// How much is granted to `key` and not counted yet.
    pub(super) fn pending(&self, key: u64) -> u32 {
        self.pending.get(&key).copied().unwrap_or(0)
    }

    /// How long the bucket takes to be full again; with a margin where it is not.
    fn busy(&self, limit: Limit, key: u64, now: Timestamp) -> SignedDuration {
        let Some(at) = self.full_at.get(&key) else {
            return SignedDuration::ZERO;
        };
        now.duration_until(ahead(*at, MARGIN.min(limit.interval())))
            .max(SignedDuration::ZERO)
    }
}

/// As a factor of a duration.
pub(super) fn bounded(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

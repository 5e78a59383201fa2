//! The pace of requests: how long each one has to wait so that no address of a CA is asked faster than it allows.
//!
//! It is a matter of seconds and of this process, and so is not saved. New accounts are counted here too: an account is
//! made once, and its key saved before the CA hears of it, so no crash can repeat one.

use jiff::{SignedDuration, Timestamp};

use super::limits::{Endpoint, Limit, Limits};
use super::meter::bounded;
use crate::schedule::{ahead, back};

/// The pace of requests to one CA.
#[derive(Debug)]
pub struct Pace {
    endpoints: [Row; Endpoint::ALL.len()],
    accounts: Row,
}

/// Those who ask one kind of address, one behind the other.
#[derive(Debug)]
struct Row {
    limit: Option<Limit>,
    /// When the bucket will be full again, from those who stand in the row already.
    full_at: Timestamp,
}

impl Pace {
    /// A pace at which nothing has been asked.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            endpoints: Endpoint::ALL.map(|endpoint| Row::new(limits.requests.of(endpoint))),
            accounts: Row::new(limits.new_accounts),
        }
    }

    /// Takes the next place in the row of those who ask: how long to wait before asking.
    pub fn take(&mut self, endpoint: Endpoint, now: Timestamp) -> SignedDuration {
        self.endpoints[endpoint as usize].take(now)
    }

    /// Takes the next place in the row of those who make an account, if its turn is now; how long to wait if it is not. Who
    /// has to wait comes again and takes none meanwhile: each that asked too early would put the next one off.
    pub fn take_account(&mut self, now: Timestamp) -> SignedDuration {
        let wait = self.accounts.wait(now);
        if wait.is_zero() {
            self.accounts.take(now);
        }
        wait
    }
}

impl Row {
    fn new(limit: Option<Limit>) -> Self {
        Self {
            limit,
            full_at: Timestamp::MIN,
        }
    }

    /// How long the next one has to wait.
    fn wait(&self, now: Timestamp) -> SignedDuration {
        self.limit.map_or(SignedDuration::ZERO, |limit| {
            let others = limit.interval() * bounded(limit.burst() - 1);
            now.duration_until(back(self.full_at, others).max(now))
        })
    }

    fn take(&mut self, now: Timestamp) -> SignedDuration {
        let wait = self.wait(now);
        if let Some(limit) = self.limit {
            self.full_at = ahead(self.full_at.max(ahead(now, wait)), limit.interval());
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Preset;

    #[test]
    fn p17_who_asks_for_an_account_too_early_puts_nobody_off() {
        let mut pace = Pace::new(&Preset::LetsEncrypt.limits());
        let now = Timestamp::UNIX_EPOCH;
        assert!((0..10).all(|_| pace.take_account(now).is_zero()));
        let wait = pace.take_account(now);
        assert!(wait > SignedDuration::from_mins(17), "{wait:?}");
        // However often it is asked for meanwhile, the turn comes when it was said to.
        for minute in 1..=10 {
            let _ = pace.take_account(ahead(now, SignedDuration::from_mins(minute)));
        }
        assert!(pace.take_account(ahead(now, wait)).is_zero());
        assert!(!pace.take_account(ahead(now, wait)).is_zero());
    }

    #[test]
    fn p17_requests_keep_the_pace_of_their_address() {
        let mut pace = Pace::new(&Preset::LetsEncrypt.limits());
        let now = Timestamp::UNIX_EPOCH;
        let waits: Vec<_> = (0..30).map(|_| pace.take(Endpoint::NewNonce, now)).collect();
        assert!(waits[..9].iter().all(|wait| wait.is_zero()), "{waits:?}");
        // Ten at once, then twenty a second.
        let last = waits[29].as_secs_f64();
        assert!((0.95..1.2).contains(&last), "{last}");
        assert!(pace.take(Endpoint::NewOrder, now).is_zero());
        // Another pace for one kind of address changes no other.
        let mut limits = Preset::LetsEncrypt.limits();
        let slow = Limit::with_burst(1, std::time::Duration::from_secs(10), 2);
        limits.requests.set(Endpoint::NewOrder, Some(slow));
        let mut set = Pace::new(&limits);
        let waits = [Endpoint::NewOrder; 4].map(|endpoint| set.take(endpoint, now).as_secs());
        assert_eq!(waits, [0, 0, 10, 20]);
        assert!(set.take(Endpoint::NewNonce, now).is_zero());
        let mut free = Pace::new(&Preset::None.limits());
        assert!((0..1000).all(|_| free.take(Endpoint::NewNonce, now).is_zero()));
    }
}

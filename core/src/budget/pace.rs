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

    /// Takes the next place in the row of those who make an account.
    pub fn take_account(&mut self, now: Timestamp) -> SignedDuration {
        self.accounts.take(now)
    }
}

impl Row {
    fn new(limit: Option<Limit>) -> Self {
        Self {
            limit,
            full_at: Timestamp::MIN,
        }
    }

    fn take(&mut self, now: Timestamp) -> SignedDuration {
        let Some(limit) = self.limit else {
            return SignedDuration::ZERO;
        };
        let others = limit.interval() * bounded(limit.burst() - 1);
        let at = back(self.full_at, others).max(now);
        self.full_at = ahead(self.full_at.max(at), limit.interval());
        now.duration_until(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Preset;

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

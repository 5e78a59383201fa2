//! Faults that keep a fleet's attempts from becoming orders: an API server that takes nothing, and names to which the CA
//! always says that it has failed inside.

use std::time::Duration;

use faythe_core::activity::{Activity, Rest};
use faythe_core::budget::Spending;
use faythe_core::cas::CaId;
use faythe_core::name::Hostname;
use faythe_core::order::Stage;
use faythe_core::schedule::{self, after, ahead};
use jiff::SignedDuration;

use super::Fleet;

/// How long an API server takes to say that it has trouble.
pub(super) const SLOW_MS: i64 = 10_000;

impl Fleet {
    /// They hold certificates of another account that have expired, the first one first.
    pub(crate) fn hold_expired(&mut self, hosts: &[Hostname]) {
        for (number, host) in (0_i64..).zip(hosts) {
            let life = self.ca.lifetime_of(host);
            let at = ahead(self.now, SignedDuration::from_hours(number - life - 100));
            let facts = self.ca.make_elsewhere(host, at);
            self.hold(host, facts, None);
        }
    }

    /// Their certificates, which the CA has made for this account, have expired by now.
    pub(crate) fn let_expire(&mut self, hosts: &[Hostname]) {
        for host in hosts {
            let life = self.ca.lifetime_of(host);
            let at = ahead(self.now, SignedDuration::from_hours(-life - 1));
            let facts = self.ca.make(host, at);
            self.hold(host, facts, Some(at));
        }
    }

    /// The attempt ends without an order, and is made again after the usual rest.
    pub(super) fn come_to_rest(&mut self, host: &Hostname, code: &str) {
        self.world.tell(host, Spending::Ended, self.now);
        let tries = self.tries.entry(host.clone()).or_default();
        *tries += 1;
        let rest = Rest {
            noted: false,
            stage: Stage::Ordering,
            code: code.to_owned(),
            text: String::new(),
            tries: *tries,
            until: after(self.now, schedule::rest(*tries - 1)),
        };
        self.put_off(host, rest.until, false);
        self.world.set_activity(host, Some(Activity::Resting(rest)));
    }

    /// The CA fails inside at this order.
    pub(super) fn meet_trouble(&mut self, host: &Hostname) {
        self.world.tell(host, Spending::Refused, self.now);
        let least = Duration::ZERO;
        self.world
            .meet_trouble(CaId::FIRST, host, least, "serverInternal", "", self.now);
        self.come_to_rest(host, "serverInternal");
    }
}

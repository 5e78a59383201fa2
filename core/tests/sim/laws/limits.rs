//! The CA never has to say that a limit is reached (P17), seen from its side: at each of its answers 429, whether or not
//! that arrives.
//!
//! Where its limits are known there is none at all. Two leaders by accident have one exception: the certificates of a domain,
//! which are saved many at a time, so that each counts its own until it reads what the other has saved. Not the account's
//! orders: they are set aside in a record before they are made, and of two records made at once one is refused. And not what
//! is counted for one name, for only one order goes on for it.
//!
//! Where they are not known an answer 429 is how they are learned, also by the two: whoever was told when to come back does
//! not meet the limit again before.

use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::problem::Problem;
use faythe_core::schedule::{after, ahead};
use jiff::SignedDuration;

use super::Laws;
use crate::limits::domain;
use crate::outside::Outside;

/// The limit that two leaders may run into.
const SHARED: &str = "certificates";
/// A request that is under way when the answer arrives is at the CA by then: the look at the place and the request itself,
/// each of them late.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(90);
/// What was told is saved within this, unless the process dies.
const SAVED: SignedDuration = SignedDuration::from_secs(60);

/// A time that the CA has named.
#[derive(Clone, Copy)]
pub(super) struct Told {
    heard: Timestamp,
    until: Timestamp,
}

impl Laws {
    /// The CA answers 429 to a new order of the process `life`, which arrives at `heard`, if it does.
    pub(crate) fn limited(
        &mut self,
        life: u64,
        host: &Hostname,
        problem: &Problem,
        heard: Option<Timestamp>,
        outside: &Outside,
    ) {
        let now = outside.now;
        self.limited += 1;
        let are_known = outside.ca.habits.orders_in_three_hours.is_none();
        let limit = if are_known {
            problem.detail.as_str()
        } else {
            "orders in three hours"
        };
        let words = |why: &str| format!("429 for a new order for {host}, {limit}: {why}");
        let two = self.leaders > 1;
        // What a process finds at its start that begins with a ledger of days ago tells of less than the CA has counted.
        let backup = self.counts_by_a_backup(now);
        let excused = !are_known || (two && limit == SHARED) || backup;
        self.law(excused, now, &words("the limit is known"));
        // What one leader was told the other one need not know.
        let who = if two { life } else { 0 };
        let what = if limit == SHARED {
            format!("{limit} of {}", domain(host))
        } else {
            limit.to_owned()
        };
        if let Some(told) = self.limits_told.get(&(who, what.clone())) {
            let died = self
                .last_crash
                .is_some_and(|crash| told.heard <= crash && crash <= ahead(told.heard, SAVED));
            let again = ahead(told.heard, UNDER_WAY) < now && now < told.until;
            let until = told.until;
            self.law(
                !again || died || backup,
                now,
                &words(&format!("told until {until}")),
            );
        }
        if let Some(heard) = heard {
            let until = after(heard, problem.retry_after.unwrap_or(Duration::ZERO));
            let told = Told { heard, until };
            self.limits_told.insert((who, what), told);
        }
    }
}

//! Names that can never succeed cost little (P22): from the end of their first day on a new order is asked for once a day
//! at most, whatever is wrong with them.

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::schedule::ahead;

use super::{DAY, Laws};

impl Laws {
    /// A new order is about to be asked for.
    pub(super) fn is_tried(&mut self, host: &Hostname, now: Timestamp) {
        let Some(tries) = self.hopeless.get_mut(host) else {
            return;
        };
        let first = *tries.first().unwrap_or(&now);
        let before = tries.last().copied();
        tries.push(now);
        let before = before.filter(|before| *before >= ahead(first, DAY));
        let apart = before.is_none_or(|before| ahead(before, DAY) <= now);
        let words = format!("{host} can never succeed, and is ordered again after {before:?}");
        self.law(apart, now, &words);
    }
}

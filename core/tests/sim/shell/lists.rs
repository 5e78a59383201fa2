//! Lists of what is watched, as `src/watch.rs` makes them: what they show is what there was when they began.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;

use super::{Shell, asker};
use crate::outside::Outside;

/// A list that is coming in.
pub(crate) struct Listing {
    at: Timestamp,
    all: All,
}

enum All {
    Ingresses(BTreeMap<String, Vec<String>>),
    Secrets(Vec<(Hostname, Held)>),
}

impl Shell {
    /// A list begins, of Ingresses or of Secrets: it shows what there is now. `None` while another one comes in.
    pub(crate) fn begin_list(&mut self, kind: u8, outside: &Outside) -> Option<Listing> {
        if std::mem::replace(&mut self.listing[usize::from(kind)], true) {
            return None;
        }
        let all = if kind == 0 {
            All::Ingresses(outside.cluster.ingresses.clone())
        } else {
            self.world.list_held();
            All::Secrets(outside.cluster.secrets.values().cloned().collect())
        };
        let at = outside.now;
        Some(Listing { at, all })
    }

    /// All of it has come.
    pub(crate) fn finish_list(&mut self, listing: Listing, outside: &Outside) {
        let now = self.now(outside);
        let kind = match listing.all {
            All::Ingresses(all) => {
                let all = all.into_iter().map(|(name, hosts)| (asker(&name), hosts));
                self.world.ask_all(all.collect());
                0
            }
            All::Secrets(all) => {
                let all = all.into_iter().map(|(host, held)| (Some(host), held.by(now)));
                self.world.hold_all(all.collect());
                1
            }
        };
        self.listed[kind] = Some(listing.at);
        self.listing[kind] = false;
    }
}

//! A model of `src/neighbors.rs`: orders that share a challenge record, and when the CA looked there.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::order::{CaLook, ChallengeValue, Neighbors};
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use super::Shell;
use super::order::Order;

/// An order that has not published its value by then is waited for no longer.
const PREPARING_AT_MOST: SignedDuration = SignedDuration::from_secs(10);

/// Orders that share a challenge record.
#[derive(Default)]
pub(super) struct Board {
    /// Since when, by the time that nobody sets.
    pub(super) preparing: BTreeMap<Hostname, Timestamp>,
    looks: BTreeMap<Hostname, CaLook>,
    /// For orders of an earlier process, by URL, of which it is not known how far they were when it died.
    pub(super) earlier: BTreeMap<String, CaLook>,
}

impl Shell {
    pub(super) fn board_of(&mut self, host: &Hostname) -> &mut Board {
        self.board.entry(host.challenge_record()).or_default()
    }

    /// `time` is the one that nobody sets.
    pub(super) fn neighbors(&mut self, order: &Order, time: Timestamp) -> Neighbors {
        let board = self.board_of(&order.host);
        let mut looks: Vec<CaLook> = board.looks.values().copied().collect();
        looks.extend(order.earlier_look.map(|at| CaLook {
            from: at,
            until: Some(at),
        }));
        let own = order.note.as_ref().map(|note| &note.order_url);
        let others = board.earlier.iter().filter(|(url, _)| Some(*url) != own);
        looks.extend(others.map(|(_, look)| *look));
        let preparing = board.preparing.iter();
        let mut preparing = preparing
            .filter(|(host, since)| **host != order.host && ahead(**since, PREPARING_AT_MOST) > time);
        Neighbors {
            preparing: preparing.next().is_some(),
            looks,
        }
    }

    pub(super) fn told(&mut self, host: &Hostname, from: Timestamp) {
        let look = CaLook { from, until: None };
        self.board_of(host)
            .looks
            .entry(host.clone())
            .or_insert(look)
            .until = None;
    }

    pub(super) fn settled(&mut self, host: &Hostname, now: Timestamp) {
        if let Some(look) = self.board_of(host).looks.get_mut(host) {
            look.until.get_or_insert(now);
        }
    }

    /// Whatever was under way is so no more, as far as is known.
    pub(super) fn let_go(&mut self, now: Timestamp) {
        for board in self.board.values_mut() {
            board.preparing.clear();
            for look in board.looks.values_mut() {
                look.until.get_or_insert(now);
            }
        }
    }

    /// The value may stand at its record.
    pub(super) fn adopt(&mut self, value: &ChallengeValue) {
        let live = self.live.entry(value.record.clone()).or_default();
        live.insert(value.value.clone());
    }
}

//! When the turn of a candidate comes, if nothing else happens (P17).
//!
//! It is the latest of what its gates say: its domain's limit, the account's behind that, the pace of what has time, and the
//! room for orders. The CA's limits are reckoned as they are, save that those whom another domain lets through later are
//! not known yet; the pace as it follows from those who wait; room by how long orders have taken lately. Who comes later
//! and is more urgent goes first, so it is never more than about that time.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};

use super::{Gates, Group, Kept, Opens, Place, Queues, Standing, View, bounded, gates};
use crate::budget::{Kind, registered_domain};
use crate::cas::CaId;
use crate::name::Hostname;
use crate::plan::line::Line;
use crate::plan::pace::Flows;
use crate::schedule::ahead;
use crate::verdict::{Gate, Turn};

/// What is known beside the queues of when those begin who wait.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Outlook {
    pub(in crate::plan) flows: Flows,
    pub(in crate::plan) renewals_per_minute: Option<NonZeroU32>,
    pub(in crate::plan) opens: Opens,
    /// How many may be worked on at once, and are.
    pub(in crate::plan) most: usize,
    pub(in crate::plan) running: usize,
    /// How long work on one takes as a rule.
    pub(in crate::plan) usual: SignedDuration,
    /// The CA is in trouble, and somebody asks already whether that is over.
    pub(in crate::plan) is_full: bool,
}

impl Queues {
    /// Where a candidate stands, and when it begins if nothing else happens.
    pub(in crate::plan) fn turn(
        &self,
        standing: Standing,
        host: &Hostname,
        outlook: &Outlook,
        view: View<'_>,
    ) -> Turn {
        let place = (standing.rank, host.clone());
        let own = gates(standing);
        let ca = standing.ca;
        let domain = registered_domain(host.base());
        let group = self.domains.get(&(ca, domain.into()));
        let group = group.filter(|group| standing.counted && !group.through.contains(&place));
        // Those of its domain that wait before it come before it at the other gates too.
        let waiting = group.map_or(0, |group| group.waiting.before(&place));
        let all: usize = self.lines.values().map(Line::len).sum();
        let room = self.room_in(&place, waiting, outlook, view);
        let mut turn = Turn {
            nth: self.before(&place, |_| true) + waiting + 1,
            of: all + group.map_or(0, |group| group.waiting.len()),
            at: ahead(view.now, room),
            gate: Gate::Room,
            domain: None,
        };
        if outlook.is_full && room <= outlook.usual {
            (turn.at, turn.gate) = (ahead(view.now, outlook.usual), Gate::Trouble);
        }
        let mut later = |at: Option<Timestamp>, gate| {
            let at = at.filter(|at| *at > turn.at);
            if let Some(at) = at {
                (turn.at, turn.gate) = (at, gate);
            }
            at.is_some()
        };
        later(self.paced_at(own, &place, waiting, outlook, view), Gate::Pace);
        later(
            self.account_at(own, &place, waiting, view),
            Gate::Limit(Kind::NewOrders),
        );
        if let Some(group) = group {
            let nth = group.through.len() + waiting + 1;
            let at = self.domain_at(standing, host, nth, group, outlook, view);
            if later(Some(at), Gate::Limit(Kind::CertificatesPerDomain)) {
                turn.nth = nth;
                turn.of = group.through.len() + group.waiting.len();
                turn.domain = Some(domain.into());
            }
        }
        turn
    }

    /// When its domain has a certificate left for it. What is left there while the first one waits at other gates gets no
    /// more than full.
    fn domain_at(
        &self,
        standing: Standing,
        host: &Hostname,
        nth: usize,
        group: &Group,
        outlook: &Outlook,
        view: View<'_>,
    ) -> Timestamp {
        let ledger = view.world.ledger(standing.ca);
        let at = ledger.domain_at(host, bounded(nth), view.now);
        let limit = ledger.limits().certificates_per_domain;
        let (Some(limit), Some((rank, first))) = (limit, group.through.first()) else {
            return at;
        };
        let full = ledger.domain_at(host, limit.burst(), view.now);
        let of_first = Standing {
            rank: *rank,
            ..standing
        };
        let begins = self.turn(of_first, first, outlook, view).at;
        ahead(at, full.duration_until(begins).max(SignedDuration::ZERO))
    }

    /// When the account has an order left for it; `None` where that is so, or no matter.
    fn account_at(&self, own: Gates, place: &Place, waiting: usize, view: View<'_>) -> Option<Timestamp> {
        let ledger = view.world.ledger(own.ca);
        let free = ledger.free_orders(view.now).filter(|_| own.account)?;
        let nth = self.before(place, |of| of.account && of.ca == own.ca) + waiting + 1;
        (nth > free as usize).then(|| ledger.order_at(bounded(nth), view.now))
    }

    /// When it begins among those who keep a pace; `None` where it keeps none.
    fn paced_at(
        &self,
        own: Gates,
        place: &Place,
        waiting: usize,
        outlook: &Outlook,
        view: View<'_>,
    ) -> Option<Timestamp> {
        let pauses = outlook.flows.pauses(outlook.renewals_per_minute)?;
        let now = |at: Option<Timestamp>| at.map_or(view.now, |at| at.max(view.now));
        let times = |pause: SignedDuration, count: usize| {
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            pause.checked_mul(count).unwrap_or(SignedDuration::MAX)
        };
        let bounded = |of: &Gates| of.pace == Kept::Bounded;
        let even = |of: &Gates| of.pace == Kept::Even;
        match own.pace {
            Kept::None => None,
            Kept::Bounded => {
                let before = self.before(place, bounded) + waiting;
                Some(ahead(now(outlook.opens.bounded), times(pauses.bounded, before)))
            }
            Kept::Even => {
                // Where the pace is slower than the bound, those whom the bound alone keeps all come first.
                let hurried = if pauses.even > pauses.bounded {
                    let lines = self.lines.iter().filter(|(gates, _)| bounded(gates));
                    lines.map(|(_, line)| line.len()).sum()
                } else {
                    self.before(place, bounded)
                };
                let first = match hurried {
                    0 => now(outlook.opens.even),
                    hurried => ahead(
                        now(outlook.opens.bounded),
                        times(pauses.bounded, hurried - 1).saturating_add(pauses.even),
                    ),
                };
                let before = self.before(place, even) + waiting;
                let lines = self.lines.iter().filter(|(gates, _)| even(gates));
                let all = lines.map(|(_, line)| line.len()).sum();
                let flows = outlook.flows;
                let time = flows.time_for(before, all, outlook.renewals_per_minute);
                Some(ahead(first, time))
            }
        }
    }

    /// How long it takes until there is room for it, behind those who could begin now.
    fn room_in(&self, place: &Place, waiting: usize, outlook: &Outlook, view: View<'_>) -> SignedDuration {
        let mut paced = 0;
        let mut free = 0;
        let mut counted: BTreeMap<CaId, usize> = BTreeMap::new();
        for (gates, line) in &self.lines {
            let before = line.before(place);
            match gates {
                Gates { account: true, .. } => *counted.entry(gates.ca).or_default() += before,
                Gates { pace: Kept::None, .. } => free += before,
                Gates { .. } => paced += before,
            }
        }
        let left = |ca| view.world.ledger(ca).free_orders(view.now);
        let counted = counted
            .into_iter()
            .map(|(ca, count)| left(ca).map_or(count, |left| count.min(left as usize)));
        // What keeps a pace begins one by one.
        let before = free + waiting + counted.sum::<usize>() + paced.min(1);
        let room = outlook.most.saturating_sub(outlook.running);
        let Some(more) = (before + 1).checked_sub(room).filter(|more| *more > 0) else {
            return SignedDuration::ZERO;
        };
        let most = i32::try_from(outlook.most).unwrap_or(i32::MAX);
        let more = i32::try_from(more).unwrap_or(i32::MAX);
        let each = outlook.usual / most;
        each.checked_mul(more).unwrap_or(SignedDuration::MAX)
    }
}

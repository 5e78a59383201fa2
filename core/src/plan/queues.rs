//! Who may begin and who has to wait: all candidates, in order of urgency, behind the gates that they have to pass.
//!
//! There are three gates. A registered domain lets through as many of its candidates, the most urgent ones, as the ledger
//! has certificates left for it; the account, as many as it has orders left; and routine renewals begin at a steady pace.
//! Where somebody stands follows from the ledger and the other candidates alone, never from when it was asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::assess::Rank;
use super::line::Line;
use crate::budget::{Kind, Ledger, registered_domain};
use crate::name::Hostname;
use crate::schedule::ahead;
use crate::turns::Turns;
use crate::verdict::Turn;

/// One candidate.
type Place = (Rank, Hostname);

/// All candidates.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Those whose domain lets them through, by the other gates that they have to pass.
    lines: BTreeMap<Gates, Line<Place>>,
    /// Those who are counted for a domain that has a limit.
    domains: BTreeMap<Box<str>, Group>,
    /// When a domain lets one more through.
    due: BTreeSet<(Timestamp, Box<str>)>,
}

/// The candidates of one registered domain.
#[derive(Debug, Default)]
struct Group {
    /// Those who are let through; they stand in `lines` too.
    through: BTreeSet<Place>,
    waiting: Line<Place>,
    due: Option<Timestamp>,
}

/// Which gates a candidate has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gates {
    /// It is counted for the account's orders.
    account: bool,
    /// It keeps the pace of routine renewals.
    routine: bool,
}

/// What the gates need to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) turns: &'a Turns,
    pub(super) now: Timestamp,
}

impl View<'_> {
    fn opens(&self, gates: Gates) -> Option<Timestamp> {
        let account = match self.ledger.free_orders(self.now) {
            Some(0) if gates.account => Some(self.ledger.order_at(1, self.now)),
            Some(_) | None => None,
        };
        let pace = self
            .turns
            .next_renewal()
            .filter(|next| gates.routine && *next > self.now);
        account.max(pace)
    }
}

impl Queues {
    /// Adds a candidate; `counted` says that its order counts for account and domain.
    pub(super) fn insert(&mut self, rank: Rank, host: &Hostname, counted: bool, view: View<'_>) {
        let place = (rank, host.clone());
        if !counted || view.ledger.free_in_domain(host, view.now).is_none() {
            self.let_through(place, counted);
            return;
        }
        let domain = registered_domain(host.base());
        let group = self.domains.entry(domain.into()).or_default();
        if group.waiting.first().is_some_and(|first| *first < place) {
            group.waiting.insert(place);
        } else {
            group.through.insert(place.clone());
            self.let_through(place, counted);
        }
        self.balance(domain, view);
    }

    /// Takes a candidate out.
    pub(super) fn remove(&mut self, rank: Rank, host: &Hostname, view: View<'_>) {
        let place = (rank, host.clone());
        for line in self.lines.values_mut() {
            line.remove(&place);
        }
        let domain = registered_domain(host.base());
        if let Some(group) = self.domains.get_mut(domain)
            && (group.through.remove(&place) || group.waiting.remove(&place))
        {
            self.balance(domain, view);
        }
    }

    /// The most urgent one who may begin now.
    pub(super) fn first(&self, view: View<'_>) -> Option<&Hostname> {
        let open = self
            .lines
            .iter()
            .filter(|(gates, _)| view.opens(**gates).is_none());
        open.filter_map(|(_, line)| line.first())
            .min()
            .map(|(_, host)| host)
    }

    /// Whether somebody would begin if the account had an order left.
    pub(super) fn want_account(&self) -> bool {
        self.lines
            .iter()
            .any(|(gates, line)| gates.account && line.first().is_some())
    }

    /// Something of the budget of a host's domain has been spent or given back.
    pub(super) fn spent(&mut self, host: &Hostname, view: View<'_>) {
        self.balance(registered_domain(host.base()), view);
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, view: View<'_>) {
        while let Some((at, domain)) = self.due.first().cloned() {
            if at > view.now {
                break;
            }
            self.balance(&domain, view);
        }
    }

    /// Everything about the budget may have changed.
    pub(super) fn reconsider(&mut self, view: View<'_>) {
        let domains: Vec<_> = self.domains.keys().cloned().collect();
        for domain in domains {
            self.balance(&domain, view);
        }
    }

    /// When time alone lets somebody begin.
    pub(super) fn wake_at(&self, view: View<'_>) -> Option<Timestamp> {
        let waiting = self.lines.iter().filter(|(_, line)| line.first().is_some());
        let gates = waiting
            .filter_map(|(gates, _)| view.opens(*gates))
            .filter(|at| *at > view.now);
        let domains = self.due.first().map(|(at, _)| *at);
        gates.chain(domains).min()
    }

    /// Where a candidate stands, and when it begins if nothing else happens.
    pub(super) fn turn(&self, rank: Rank, host: &Hostname, counted: bool, view: View<'_>) -> Turn {
        let place = (rank, host.clone());
        let domain = registered_domain(host.base());
        if counted
            && let Some(group) = self.domains.get(domain)
            && !group.through.contains(&place)
        {
            let nth = group.through.len() + group.waiting.before(&place) + 1;
            let at = view.ledger.domain_at(host, bounded(nth), view.now);
            return Turn {
                nth,
                of: group.through.len() + group.waiting.len(),
                limit: Some((Kind::CertificatesPerDomain, at)),
                domain: Some(domain.into()),
            };
        }
        let gates = gates(rank, counted);
        let before = |gates: &dyn Fn(&Gates) -> bool| -> usize {
            let lines = self.lines.iter().filter(|(of, _)| gates(of));
            lines.map(|(_, line)| line.before(&place)).sum()
        };
        let nth = before(&|of| of.account) + 1;
        let free = view.ledger.free_orders(view.now);
        let held = gates.account && free.is_some_and(|free| nth > free as usize);
        let limit = held.then(|| (Kind::NewOrders, view.ledger.order_at(bounded(nth), view.now)));
        Turn {
            nth: before(&|_| true) + 1,
            of: self.lines.values().map(Line::len).sum(),
            limit: limit.filter(|(_, at)| *at > view.now),
            domain: None,
        }
    }

    fn let_through(&mut self, place: Place, counted: bool) {
        self.lines
            .entry(gates(place.0, counted))
            .or_default()
            .insert(place);
    }

    /// Lets through as many of a domain's candidates as the ledger has left, and no more.
    fn balance(&mut self, domain: &str, view: View<'_>) {
        let Some(group) = self.domains.get_mut(domain) else {
            return;
        };
        if let Some(at) = group.due.take() {
            self.due.remove(&(at, domain.into()));
        }
        let Some((_, host)) = group.through.first().or_else(|| group.waiting.first()) else {
            self.domains.remove(domain);
            return;
        };
        let host = host.clone();
        let free = view
            .ledger
            .free_in_domain(&host, view.now)
            .map_or(usize::MAX, |free| free as usize);
        let mut passed = Vec::new();
        while group.through.len() < free
            && let Some(first) = group.waiting.first().cloned()
        {
            group.waiting.remove(&first);
            group.through.insert(first.clone());
            passed.push(first);
        }
        let mut stopped = Vec::new();
        while group.through.len() > free
            && let Some(last) = group.through.pop_last()
        {
            group.waiting.insert(last.clone());
            stopped.push(last);
        }
        if group.waiting.first().is_some() {
            let nth = bounded(group.through.len() + 1);
            // Never at once: what could be done now has been done.
            let soonest = ahead(view.now, SignedDuration::from_millis(1));
            let at = view.ledger.domain_at(&host, nth, view.now).max(soonest);
            group.due = Some(at);
            self.due.insert((at, domain.into()));
        }
        for place in stopped {
            for line in self.lines.values_mut() {
                line.remove(&place);
            }
        }
        for place in passed {
            self.let_through(place, true);
        }
    }
}

fn gates(rank: Rank, counted: bool) -> Gates {
    Gates {
        account: counted,
        routine: rank.has_time(),
    }
}

fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

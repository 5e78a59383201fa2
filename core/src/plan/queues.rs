//! Who may begin and who has to wait: all candidates, in order of urgency, behind the gates that they have to pass.
//!
//! There are two gates at each CA: a registered domain lets through as many of its candidates, the most urgent ones, as
//! the ledger has certificates left for it; and the account, as many as it has orders left. A third is one for all CAs:
//! what has time begins at a pace. Where somebody stands follows from the ledger and the other candidates alone,
//! never from when it was asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::choice::stand_ins;
use super::line::Line;
use super::pace::{Pace, Pauses};
use super::rank::Rank;
use crate::budget::registered_domain;
use crate::cas::CaId;
use crate::name::Hostname;
use crate::schedule::{after, ahead};
use crate::turns::Turns;
use crate::world::World;

mod turn;

pub(super) use turn::Outlook;

/// How many are told of that wait too long: more than can begin at once.
const LATE_AT_MOST: usize = 64;

/// One candidate.
type Place = (Rank, Hostname);

/// Where a candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) rank: Rank,
    /// At which CA its order goes.
    pub(super) ca: CaId,
    /// Whether that counts for account and domain.
    pub(super) counted: bool,
}

/// An urgent candidate whose turn does not come soon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Late {
    place: Place,
    pub(super) ca: CaId,
    pub(super) turn: Timestamp,
}

impl Late {
    pub(super) fn host(&self) -> &Hostname {
        &self.place.1
    }
}

/// All candidates.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Those whose domain lets them through, by the other gates that they have to pass.
    lines: BTreeMap<Gates, Line<Place>>,
    /// Those who are counted for a domain that has a limit.
    domains: BTreeMap<(CaId, Box<str>), Group>,
    /// When a domain lets one more through.
    due: BTreeSet<(Timestamp, (CaId, Box<str>))>,
}

/// The candidates of one registered domain at one CA.
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
    /// At which CA.
    ca: CaId,
    /// It is counted for the account's orders.
    account: bool,
    pace: Kept,
    /// It has rested, and there is not room for any number of those.
    again: bool,
}

/// Which pace a candidate keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    None,
    Bounded,
    Even,
}

/// When the next ones begin of those who keep a pace; `None` for at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opens {
    pub(super) bounded: Option<Timestamp>,
    pub(super) even: Option<Timestamp>,
}

/// What the gates need to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) world: &'a World,
    pub(super) now: Timestamp,
}

impl Opens {
    /// By these pauses, from when the last one began.
    pub(super) fn of(pauses: Option<Pauses>, turns: &Turns) -> Self {
        let next = |pause| turns.next_renewal(pause);
        Self {
            bounded: pauses.and_then(|pauses| next(pauses.bounded)),
            even: pauses.and_then(|pauses| next(pauses.even)),
        }
    }
}

impl View<'_> {
    fn opens(&self, gates: Gates, opens: Opens) -> Option<Timestamp> {
        let ledger = self.world.ledger(gates.ca);
        let account = match ledger.free_orders(self.now) {
            Some(0) if gates.account => Some(ledger.order_at(1, self.now)),
            Some(_) | None => None,
        };
        let pace = match gates.pace {
            Kept::None => None,
            Kept::Bounded => opens.bounded,
            Kept::Even => opens.even,
        };
        account.max(pace.filter(|next| *next > self.now))
    }
}

impl Queues {
    /// Adds a candidate.
    pub(super) fn insert(&mut self, standing: Standing, host: &Hostname, view: View<'_>) {
        let Standing { rank, ca, counted } = standing;
        let place = (rank, host.clone());
        if !counted || view.world.ledger(ca).free_in_domain(host, view.now).is_none() {
            self.let_through(place, gates(standing));
            return;
        }
        let domain = (ca, registered_domain(host.base()).into());
        let group = self.domains.entry(domain.clone()).or_default();
        if group.waiting.first().is_some_and(|first| *first < place) {
            group.waiting.insert(place);
        } else {
            group.through.insert(place.clone());
            self.let_through(place, gates(standing));
        }
        self.balance(&domain, view);
    }

    /// Takes a candidate out.
    pub(super) fn remove(&mut self, standing: Standing, host: &Hostname, view: View<'_>) {
        let place = (standing.rank, host.clone());
        if let Some(line) = self.lines.get_mut(&gates(standing)) {
            line.remove(&place);
        }
        let domain = (standing.ca, registered_domain(host.base()).into());
        if let Some(group) = self.domains.get_mut(&domain)
            && (group.through.remove(&place) || group.waiting.remove(&place))
        {
            self.balance(&domain, view);
        }
    }

    /// The most urgent one who may begin now, at a CA that takes more; `takes` is told as well whether it has rested.
    pub(super) fn first(
        &self,
        takes: impl Fn(CaId, bool) -> bool,
        opens: Opens,
        view: View<'_>,
    ) -> Option<(&Hostname, CaId)> {
        let open = self
            .lines
            .iter()
            .filter(|(gates, _)| takes(gates.ca, gates.again) && view.opens(**gates, opens).is_none());
        open.filter_map(|(gates, line)| Some((line.first()?, gates.ca)))
            .min()
            .map(|((_, host), ca)| (host, ca))
    }

    /// Whether somebody would begin if the account at this CA had an order left.
    pub(super) fn want_account(&self, ca: CaId) -> bool {
        self.lines
            .iter()
            .any(|(gates, line)| gates.account && gates.ca == ca && line.first().is_some())
    }

    /// Something of the budget of a host's domain has been spent or given back.
    pub(super) fn spent(&mut self, ca: CaId, host: &Hostname, view: View<'_>) {
        self.balance(&(ca, registered_domain(host.base()).into()), view);
    }

    /// The urgent ones, the most urgent first and not all of them, whose turn at their CA comes, because the budget there is
    /// short, later than the next one of their zone has patience.
    pub(super) fn late(&self, view: View<'_>) -> BTreeSet<Late> {
        let mut late = BTreeSet::new();
        let soonest = |ca| Some(after(view.now, view.world.cas().least_patience(ca)?));
        for (gates, line) in &self.lines {
            if !gates.account || gates.pace != Kept::None {
                continue;
            }
            let ledger = view.world.ledger(gates.ca);
            let Some(soon) = soonest(gates.ca).filter(|_| ledger.free_orders(view.now).is_some()) else {
                continue;
            };
            let turn = |place: &Place| {
                let before = self.before(place, |of| of.account && of.ca == gates.ca);
                ledger.order_at(bounded(before + 1), view.now)
            };
            let from = line.partition_point(|place| turn(place) <= soon);
            let places = line.from(from).zip(from..);
            add_late(&mut late, gates.ca, places, |place, _| turn(place), view);
        }
        for (_, domain) in &self.due {
            let Some(group) = self.domains.get(domain) else {
                continue;
            };
            let Some((soon, (_, host))) = soonest(domain.0).zip(group.waiting.first()) else {
                continue;
            };
            let ledger = view.world.ledger(domain.0);
            let is_counted = ledger.free_orders(view.now).is_some();
            let turn = |place: &Place, nth: usize| {
                let at = ledger.domain_at(host, bounded(group.through.len() + nth + 1), view.now);
                // The account is behind the domain, and may let it through later still.
                let account = is_counted.then(|| {
                    let before = self.before(place, |of| of.account && of.ca == domain.0);
                    ledger.order_at(bounded(before + nth + 1), view.now)
                });
                account.map_or(at, |account| account.max(at))
            };
            let waiting = &group.waiting;
            let from = waiting.partition_point(|place| turn(place, waiting.before(place)) <= soon);
            let places = waiting.from(from).zip(from..);
            add_late(&mut late, domain.0, places, turn, view);
        }
        late
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
    pub(super) fn wake_at(&self, opens: Opens, view: View<'_>) -> Option<Timestamp> {
        let waiting = self.lines.iter().filter(|(_, line)| line.first().is_some());
        let gates = waiting
            .filter_map(|(gates, _)| view.opens(*gates, opens))
            .filter(|at| *at > view.now);
        let domains = self.due.first().map(|(at, _)| *at);
        gates.chain(domains).min()
    }

    /// How many stand before it in some lines.
    fn before(&self, place: &Place, which: impl Fn(&Gates) -> bool) -> usize {
        let lines = self.lines.iter().filter(|(gates, _)| which(gates));
        lines.map(|(_, line)| line.before(place)).sum()
    }

    fn let_through(&mut self, place: Place, gates: Gates) {
        self.lines.entry(gates).or_default().insert(place);
    }

    /// Lets through as many of a domain's candidates as the ledger has left, and no more.
    fn balance(&mut self, domain: &(CaId, Box<str>), view: View<'_>) {
        let Some(group) = self.domains.get_mut(domain) else {
            return;
        };
        if let Some(at) = group.due.take() {
            self.due.remove(&(at, domain.clone()));
        }
        let Some((_, host)) = group.through.first().or_else(|| group.waiting.first()) else {
            self.domains.remove(domain);
            return;
        };
        let host = host.clone();
        let ca = domain.0;
        let ledger = view.world.ledger(ca);
        let free = ledger
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
            let at = ledger.domain_at(&host, nth, view.now).max(soonest);
            group.due = Some(at);
            self.due.insert((at, domain.clone()));
        }
        let gates = |place: &Place| {
            gates(Standing {
                rank: place.0,
                ca,
                counted: true,
            })
        };
        for place in stopped {
            if let Some(line) = self.lines.get_mut(&gates(&place)) {
                line.remove(&place);
            }
        }
        for place in passed {
            let gates = gates(&place);
            self.let_through(place, gates);
        }
    }
}

/// Adds those of a line at `ca`, each with its number in it, who may go elsewhere; never more than are told of.
fn add_late<'a>(
    late: &mut BTreeSet<Late>,
    ca: CaId,
    line: impl Iterator<Item = (&'a Place, usize)>,
    turn: impl Fn(&Place, usize) -> Timestamp,
    view: View<'_>,
) {
    for (place, nth) in line {
        let comes_last = |last: &Late| last.place <= *place;
        if late.len() >= LATE_AT_MOST && late.last().is_some_and(comes_last) {
            return;
        }
        if !place.0.is_urgent() {
            continue;
        }
        let other = stand_ins(&place.1, ca, view.world).next();
        let Some(other) = other.and_then(|other| view.world.cas().get(other)) else {
            continue;
        };
        let turn = turn(place, nth);
        if turn > after(view.now, other.use_after) {
            late.insert(Late {
                place: place.clone(),
                ca,
                turn,
            });
            if late.len() > LATE_AT_MOST {
                late.pop_last();
            }
        }
    }
}

fn gates(standing: Standing) -> Gates {
    Gates {
        ca: standing.ca,
        account: standing.counted,
        pace: match standing.rank.pace {
            Pace::Free => Kept::None,
            Pace::Bounded => Kept::Bounded,
            Pace::Even(_) => Kept::Even,
        },
        again: standing.rank.again,
    }
}

fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

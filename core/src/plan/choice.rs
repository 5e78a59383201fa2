//! At which CA a new order goes (P24).
//!
//! The first CA of the zone is the one to use. What is urgent, because nothing that serves is held or little is left of
//! it, goes to the next one when those before it have been of no use for as long as that one's `use_after` says, will be
//! of no use for as long, or do not issue for the name. CAA records that exclude a CA exclude it for everybody.
//!
//! Deliberately absent: the limits that many share, whose gates are `queues`'.

use jiff::{SignedDuration, Timestamp};

use crate::activity::Hold;
use crate::budget::Exemption;
use crate::cas::CaId;
use crate::name::Hostname;
use crate::policy::Policy;
use crate::schedule::{ahead, back};
use crate::world::World;

/// Where an order goes, and what keeps it there.
pub(super) struct Choice {
    pub(super) ca: CaId,
    pub(super) exemption: Exemption,
    pub(super) obstacle: Option<Obstacle>,
    /// When time alone changes the choice.
    pub(super) revisit: Option<Timestamp>,
}

/// What keeps an order from a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// CAA records do not let it issue.
    Excluded(Hold),
    /// The CA has asked us to wait, has trouble, or its limits for this name are reached.
    Held(Hold),
    /// It does not issue for this name, as it has said itself.
    Refused(Timestamp),
}

impl Obstacle {
    pub(super) fn until(&self) -> Timestamp {
        match self {
            Self::Excluded(hold) | Self::Held(hold) => hold.until,
            Self::Refused(until) => *until,
        }
    }
}

/// Chooses for a new order.
pub(super) fn choose(
    host: &Hostname,
    urgent: bool,
    world: &World,
    policy: &Policy,
    now: Timestamp,
) -> Choice {
    let mut first: Option<Choice> = None;
    let mut revisit: Option<Timestamp> = None;
    // Those that are passed over for the next one.
    let mut before: Vec<(CaId, Obstacle)> = Vec::new();
    for ca in world.cas_of(host) {
        let from = used_from(*ca, &before, world, now);
        // One that is worth waiting for by then is waited for.
        let waits = before.iter().filter_map(|(_, obstacle)| match obstacle {
            Obstacle::Held(hold) => Some(back(hold.until, patience(*ca, world))),
            Obstacle::Excluded(_) | Obstacle::Refused(_) => None,
        });
        revisit = revisit.into_iter().chain(waits.filter(|at| *at > now)).min();
        // Who has time waits for the first one that may issue at all.
        if first.is_some() && !urgent {
            break;
        }
        let exemption = world.exemption(host, *ca, now);
        let obstacle = obstacle(host, *ca, exemption, world, policy, now);
        let ripe = from.is_some_and(|from| from <= now);
        let Some(obstacle) = obstacle else {
            if ripe {
                return Choice {
                    ca: *ca,
                    exemption,
                    obstacle: None,
                    revisit,
                };
            }
            revisit = revisit.into_iter().chain(from).min();
            break;
        };
        revisit = revisit
            .into_iter()
            .chain([obstacle.until()])
            .chain(from.filter(|from| *from > now))
            .min();
        if first.is_none() && !matches!(obstacle, Obstacle::Excluded(_)) {
            first = Some(Choice {
                ca: *ca,
                exemption,
                obstacle: Some(obstacle.clone()),
                revisit: None,
            });
        }
        before.push((*ca, obstacle));
    }
    // Where CAA records exclude them all, what they say of the first one is said.
    let first = first.or_else(|| {
        let (ca, obstacle) = before.into_iter().next()?;
        Some(Choice {
            ca,
            exemption: Exemption::Nothing,
            obstacle: Some(obstacle),
            revisit: None,
        })
    });
    let mut choice = first.unwrap_or_else(|| Choice {
        ca: CaId::FIRST,
        exemption: world.exemption(host, CaId::FIRST, now),
        obstacle: None,
        revisit: None,
    });
    choice.revisit = revisit;
    choice
}

/// The CAs that may be used for `host` in the place of `ca`, in order.
pub(super) fn stand_ins(host: &Hostname, ca: CaId, world: &World) -> impl Iterator<Item = CaId> {
    let order = world.cas_of(host).iter().copied();
    order.skip_while(move |other| *other != ca).skip(1)
}

/// The next CA of the zone that may be used for `host` though its turn at `ca` comes later than that one's patience: the
/// first that nothing keeps it from.
///
/// # Errors
/// When time alone may bring one; `None` where it does not.
pub(super) fn spill(
    host: &Hostname,
    ca: CaId,
    turn: Timestamp,
    world: &World,
    policy: &Policy,
    now: Timestamp,
) -> Result<CaId, Option<Timestamp>> {
    let mut until: Option<Timestamp> = None;
    for other in stand_ins(host, ca, world) {
        let soon = ahead(now, patience(other, world));
        if turn <= soon {
            break;
        }
        let exemption = world.exemption(host, other, now);
        let Some(obstacle) = obstacle(host, other, exemption, world, policy, now) else {
            return Ok(other);
        };
        until = until.into_iter().chain([obstacle.until()]).min();
        if matches!(&obstacle, Obstacle::Held(hold) if hold.until <= soon) {
            break;
        }
    }
    Err(until)
}

/// How long those before `ca` must be of no use.
fn patience(ca: CaId, world: &World) -> SignedDuration {
    let authority = world.cas().get(ca);
    let patience = authority.and_then(|ca| SignedDuration::try_from(ca.use_after).ok());
    patience.unwrap_or(SignedDuration::MAX)
}

/// From when `ca` is used in the place of those before it; `None` where one of them is waited for.
fn used_from(ca: CaId, before: &[(CaId, Obstacle)], world: &World, now: Timestamp) -> Option<Timestamp> {
    let patience = patience(ca, world);
    let mut from = Timestamp::MIN;
    for (ca, obstacle) in before {
        let given_up = match obstacle {
            Obstacle::Excluded(_) | Obstacle::Refused(_) => Some(Timestamp::MIN),
            Obstacle::Held(hold) if hold.until > ahead(now, patience) => Some(Timestamp::MIN),
            Obstacle::Held(_) => world.down_since(*ca).map(|since| ahead(since, patience)),
        };
        from = from.max(given_up?);
    }
    Some(from)
}

/// What keeps an order for `host` from a CA.
fn obstacle(
    host: &Hostname,
    ca: CaId,
    exemption: Exemption,
    world: &World,
    policy: &Policy,
    now: Timestamp,
) -> Option<Obstacle> {
    if let Some(excluded) = world.exclusion(host, ca).filter(|hold| hold.until > now) {
        return Some(Obstacle::Excluded(excluded.clone()));
    }
    if let (Some(failures), Some(authority)) = (world.failures(host), world.cas().get(ca)) {
        let next = failures.next_attempt(policy.issue_grace, world.demand(host));
        if next > now && failures.refused_by.contains(&authority.directory) {
            return Some(Obstacle::Refused(next));
        }
    }
    if let Some(hold) = world.hold_on(host, ca, exemption, now) {
        return Some(Obstacle::Held(hold.clone()));
    }
    let block = world.ledger(ca).own_block(host, exemption, now)?;
    Some(Obstacle::Held(Hold {
        until: block.until,
        code: block.limit.code().to_owned(),
        text: format!("the CA limits {}, and there is nothing left", block.limit.words()),
        tries: 1,
        told: false,
    }))
}

/// Whether another CA may be tried though the last attempt for `host` has failed: it failed because one does not issue
/// for the name, and not all of them have said so.
pub(super) fn is_refused_elsewhere(host: &Hostname, world: &World) -> bool {
    world.failures(host).is_some_and(|failures| {
        !failures.refused_by.is_empty()
            && world.cas_of(host).iter().any(|ca| {
                let directory = world.cas().get(*ca).map(|ca| &ca.directory);
                directory.is_some_and(|directory| !failures.refused_by.contains(directory))
            })
    })
}

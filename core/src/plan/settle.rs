//! What keeps a certificate from being ordered again that was only just stored, and who may ask for that all the same.

use jiff::{Timestamp, Unit};

use crate::activity::Hold;
use crate::cert::{CertFacts, Shortfall};
use crate::name::Hostname;
use crate::policy::Policy;
use crate::world::World;

/// Leaves a certificate alone that is due although it has only just been stored, or is not valid yet although it has been
/// stored; ordering again would not help (P20).
pub(super) fn settling(
    host: &Hostname,
    short: &Shortfall,
    world: &World,
    policy: &Policy,
    now: Timestamp,
) -> Option<Hold> {
    match short {
        Shortfall::Due(_) => {}
        Shortfall::NotYetValid(from) => return beginning(host, *from, world, now),
        Shortfall::Expired(_) | Shortfall::Missing | Shortfall::OtherNames(_) | Shortfall::Unreadable(_) => {
            return None;
        }
    }
    // Whoever asks for another one by hand knows that. What has been asked for in another Secret's place is answered by
    // what was stored since: that demand stays where it is, and would bring one order after the other.
    let asked = world.claims(host).filter(|held| held.is_demanded(now));
    let asked = asked.filter_map(|held| Some(held.renew.as_ref()?.at)).max();
    let rule = world.rule(host, policy);
    let (until, issued, early, facts) = world
        .claims(host)
        .filter(|held| !held.is_demanded(now))
        .filter_map(|held| Some((held.issued_at?, held.early(), held.content.as_ref().ok()?)))
        .filter(|(issued, _, facts)| facts.covers(host) && asked.is_none_or(|asked| asked < *issued))
        .map(|(issued, early, facts)| {
            let until = rule.settled_at(host, facts, issued, early, policy.issue_grace);
            (until, issued, early, facts)
        })
        .max_by_key(|(until, ..)| *until)?;
    let issued = issued.round(Unit::Second).unwrap_or(issued);
    let text = if rule.is_hurried(host, facts) {
        let again = match early {
            0 => String::new(),
            1 => ", as it did of the one before".to_owned(),
            more => format!(", as it did of the {more} before"),
        };
        format!(
            "the CA says of this one, stored at {issued}, that it is to be replaced at once{again}; it serves meanwhile"
        )
    } else {
        format!(
            "it was stored only at {issued}: either a clock is wrong, or its lifetime is shorter than its use"
        )
    };
    Some(Hold {
        until,
        code: "due-at-once".to_owned(),
        text,
        tries: early.saturating_add(1),
        told: false,
    })
}

/// Leaves a certificate of ours alone until it begins, unless another one is asked for by hand. None is stored before, so
/// our clock has been set back since, and another one would begin later still.
fn beginning(host: &Hostname, from: Timestamp, world: &World, now: Timestamp) -> Option<Hold> {
    let begins = |facts: &CertFacts| facts.not_before == from && facts.covers(host);
    let mut claims = world.claims(host).filter(|held| held.issued_at.is_some());
    let is_ours =
        claims.any(|held| held.content.as_ref().is_ok_and(begins)) && !is_asked_for(host, world, now);
    is_ours.then(|| Hold {
        until: from,
        code: "slow-clock".to_owned(),
        text: format!(
            "it has been stored already and begins only at {from}: a clock is wrong, ours or the CA's"
        ),
        tries: 1,
        told: false,
    })
}

/// Whether somebody has asked by hand for a new certificate in place of one that is held.
pub(super) fn is_asked_for(host: &Hostname, world: &World, now: Timestamp) -> bool {
    world.claims(host).any(|held| held.is_demanded(now))
}

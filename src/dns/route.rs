//! Asks the update server of a zone what stands at a challenge's name: nothing that matters, an alias, or another zone.
//!
//! Owns the reading of these answers, and the questions that tell an alias from a wildcard's. What follows from them is
//! `core::route`'s.

use std::net::SocketAddr;

use domain::base::iana::Rtype;
use domain::base::name::{Label, ToName};
use domain::base::wire::ParseError;
use domain::base::{Message, Name, ParsedName};
use domain::rdata::Dname;
use domain::rdata::rfc1035::{Cname, Ns, Soa};
use faythe_core::name::DnsName;
use faythe_core::route::{Found, Probe, Probes};

use crate::dns::LookError;
use crate::dns::query::{Question, Recursion, Reply, ask, ask_any};
use crate::dns::send::random_id;

/// What one answer says of the name it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    /// An alias; with the target in presentation form.
    Alias { target: String, by_dname: bool },
    /// Servers of another zone, which begins here, are to be asked.
    Cut(String),
    /// Neither.
    Plain,
    /// The answer is from another zone, which begins here.
    Within(String),
}

/// Asks the zone's update server at `peers` about `name`.
///
/// # Errors
/// When no usable answer came.
pub(crate) async fn find(
    peers: &[SocketAddr],
    apex: &DnsName,
    name: &Name<Vec<u8>>,
) -> Result<Found, LookError> {
    let (peer, leg) = ask_any(peers, alias_of(name), |peer, reply| {
        Ok((peer, read(reply, apex, name)?))
    })
    .await?;
    Ok(match leg {
        Leg::Plain => Found::Here,
        Leg::Cut(cut) => Found::Cut(zone(&cut)?),
        Leg::Within(origin) => Found::Within(zone(&origin)?),
        // Below a DNAME there is nothing that a wildcard could make (RFC 6672 §2.4).
        Leg::Alias {
            target,
            by_dname: true,
        } => Found::Alias { target },
        Leg::Alias { target, .. } => {
            if probe(peer, apex, name).await?.show_a_wildcard(&target) {
                Found::Here
            } else {
                Found::Alias { target }
            }
        }
    })
}

fn zone(text: &str) -> Result<DnsName, LookError> {
    DnsName::parse_zone(text).map_err(|error| {
        LookError::Format(format!(
            "a zone that begins at {text:?}, which is no name: {error}"
        ))
    })
}

/// Asks about names beside and below `name`, all at once.
async fn probe(peer: SocketAddr, apex: &DnsName, name: &Name<Vec<u8>>) -> Result<Probes, LookError> {
    let stranger = stranger()?;
    let parent = name.iter_suffixes().nth(1).map(|parent| parent.to_vec());
    let beside = |label: &str| parent.as_ref().and_then(|parent| below(label, parent));
    let (sibling, asterisk, below) = (beside(&stranger), beside("*"), below(&stranger, name));
    let (sibling, asterisk, below) = futures::join!(
        glimpse(peer, apex, sibling.as_ref()),
        glimpse(peer, apex, asterisk.as_ref()),
        glimpse(peer, apex, below.as_ref()),
    );
    Ok(Probes {
        sibling,
        asterisk,
        below,
    })
}

/// What stands at a name that is asked about for comparison; a name that cannot exist is not known.
async fn glimpse(peer: SocketAddr, apex: &DnsName, name: Option<&Name<Vec<u8>>>) -> Probe {
    let Some(name) = name else {
        return Probe::Unknown;
    };
    let reply = ask(peer, alias_of(name), &mut String::new()).await;
    let Ok(Some(reply)) = reply else {
        return Probe::Unknown;
    };
    match read(&reply, apex, name) {
        Ok(Leg::Alias { target, .. }) => Probe::Alias(target),
        Ok(Leg::Cut(_) | Leg::Plain | Leg::Within(_)) => Probe::Nothing,
        Err(_) => Probe::Unknown,
    }
}

/// Asks for an alias rather than for texts, so that the server does not follow it: of a circle it would say no more than
/// that it failed.
fn alias_of(name: &Name<Vec<u8>>) -> Question<'_> {
    Question {
        name,
        rtype: Rtype::CNAME,
        recursion: Recursion::Off,
    }
}

/// A label that nobody can have thought of.
fn stranger() -> Result<String, LookError> {
    let mut text = "faythe-probe-".to_owned();
    for _ in 0..3 {
        let number = random_id().map_err(|error| LookError::io(&error))?;
        text.push_str(&format!("{number:04x}"));
    }
    Ok(text)
}

/// `label` in front of `name`, where there is room for it.
fn below(label: &str, name: &Name<Vec<u8>>) -> Option<Name<Vec<u8>>> {
    let label = Label::from_slice(label.as_bytes()).ok()?;
    let mut octets = vec![u8::try_from(label.len()).ok()?];
    octets.extend_from_slice(label.as_slice());
    octets.extend_from_slice(name.as_slice());
    Name::from_octets(octets).ok()
}

/// Reads what an answer says of `name`.
pub(super) fn read(reply: &Reply, apex: &DnsName, name: &Name<Vec<u8>>) -> Result<Leg, LookError> {
    let message = reply.usable()?;
    leg(message, apex, name).map_err(|error| LookError::Format(error.to_string()))
}

fn leg(message: &Message<[u8]>, apex: &DnsName, name: &Name<Vec<u8>>) -> Result<Leg, ParseError> {
    let mut by_dname = false;
    for record in message.answer()?.limit_to_in::<Dname<ParsedName<_>>>() {
        let record = record?;
        by_dname |= record.owner() != name && name.ends_with(record.owner());
    }
    for record in message.answer()?.limit_to_in::<Cname<ParsedName<_>>>() {
        let record = record?;
        if record.owner() == name {
            let target = record.data().cname().to_string();
            return Ok(Leg::Alias { target, by_dname });
        }
    }
    // The zone that an answer is from shows in its SOA where there is no record, or in its NS records; a server that
    // holds none of it points to the servers of the zone below (RFC 1034 §4.3.2, RFC 2308 §2).
    let mut origin = None;
    for record in message.authority()?.limit_to_in::<Soa<ParsedName<_>>>() {
        origin = Some(record?.owner().to_string());
    }
    for record in message.authority()?.limit_to_in::<Ns<ParsedName<_>>>() {
        let owner = record?.owner().to_string();
        origin = origin.or(Some(owner));
    }
    let Some(origin) = origin.map(|origin| origin.to_ascii_lowercase()) else {
        return Ok(Leg::Plain);
    };
    let is_below = origin
        .strip_suffix(apex.as_str())
        .is_some_and(|rest| rest.ends_with('.'));
    Ok(match is_below {
        false => Leg::Plain,
        true if message.header().aa() => Leg::Within(origin),
        true => Leg::Cut(origin),
    })
}

#[cfg(test)]
mod tests;

//! Looks at one server: which TXT values does it show at a name?
//!
//! Owns the reading of the answer. Must not judge values, ask other servers, or try again later.

use std::net::SocketAddr;

use domain::base::iana::{Class, Rtype};
use domain::base::wire::ParseError;
use domain::base::{Message, Name};
use domain::rdata::rfc1035::Txt;
use faythe_core::zone::Role;

use crate::dns::query::{Question, Recursion, Reply, ask_any};
use crate::dns::{Answer, LookError};

/// Asks `peers`, which are one server of this role, for the TXT values at `name` until one gives an answer.
pub(crate) async fn texts(
    peers: &[SocketAddr],
    name: &Name<Vec<u8>>,
    role: Role,
) -> Result<Answer, LookError> {
    let question = Question {
        name,
        rtype: Rtype::TXT,
        // The zone's own servers answer for themselves; listed ones may be resolvers.
        recursion: match role {
            Role::Update | Role::Authoritative => Recursion::Off,
            Role::Listed => Recursion::Wanted,
        },
    };
    ask_any(peers, question, |_, reply| read(reply, role)).await
}

/// Reads the values out of an answer that belongs to our query.
pub(super) fn read(reply: &Reply, role: Role) -> Result<Answer, LookError> {
    let message = reply.usable()?;
    // S10 asks of the configured servers that they show the value, by whatever right; one that NS records name and that
    // does not hold the zone is a fault of the delegation.
    if role == Role::Authoritative && !message.header().aa() {
        return Err(LookError::Lame);
    }
    let values = values(message).map_err(|error| LookError::Format(error.to_string()))?;
    Ok(Answer {
        values,
        remark: reply.remark(),
    })
}

/// The TXT values at the end of the chain of aliases that begins at the question (RFC 1034 §3.6.2).
fn values(message: &Message<[u8]>) -> Result<Vec<String>, ParseError> {
    let Some(name) = message.canonical_name() else {
        return Err(ParseError::form_error("its aliases lead nowhere"));
    };
    let mut values = Vec::new();
    for record in message.answer()?.limit_to::<Txt<_>>() {
        let record = record?;
        if record.class() == Class::IN && *record.owner() == name {
            let joined: Vec<u8> = record.data().text();
            values.push(String::from_utf8_lossy(&joined).into_owned());
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests;

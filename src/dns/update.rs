//! Update messages (RFC 2136): writes one for a batch of names, reads what the server made of it.
//!
//! Owns the record's form (S08) and the meaning of answers. Must not send, and knows nothing of who waits for what.
//!
//! Deliberately absent: prerequisites. Which values may stand at a name is known here, not asked of the server.

use std::collections::BTreeSet;

use domain::base::iana::{Class, Opcode, Rcode, Rtype, TsigRcode};
use domain::base::message_builder::PushError;
use domain::base::rdata::UnknownRecordData;
use domain::base::{Message, MessageBuilder, Name, Ttl};
use domain::rdata::rfc1035::Txt;
use faythe_core::Timestamp;
use faythe_core::name::DnsName;

use crate::dns::UpdateFault;
use crate::dns::edns;
use crate::dns::tsig::{self, Complaint, Key, Seal, Signed};

/// Type, class, TTL and length of a record (RFC 1035 §3.2.1).
const RECORD_FIXED: usize = 10;
/// The header, and the zone section without the zone's name (RFC 2136 §2.2 and §2.3).
const MESSAGE_FIXED: usize = 12 + 4;
/// The longest message before it is signed: 65,535 octets less the longest signature that there is.
const UNSIGNED_MAX: usize = 65_000;
/// The longest character-string (RFC 1035 §3.3).
const STRING_MAX: usize = 255;

/// REFUSED with a good signature: the key is fine, the name is not.
const REFUSED_SIGNED: &str = "the server knows the key but its policy does not let it change this name; grant the key TXT \
     updates there (BIND: `update-policy { grant KEY zonesub TXT; }`; PowerDNS: metadata TSIG-ALLOW-DNSUPDATE)";
/// REFUSED without signature: PowerDNS says no more than this for three causes (measured with 4.7.3).
const REFUSED_UNSIGNED: &str = "the server does not sign this, so it did not accept the key, or no update at all; compare key \
     name, algorithm and secret with its configuration, compare its clock with ours, and see that it allows updates from here";
/// REFUSED where we do not sign either.
const REFUSED_BARE: &str = "the server does not let us update this zone without a signature; give the zone a key, or allow updates \
     from our address there";

/// What becomes of the TXT records at one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Exactly these values stand there afterwards (S09).
    Replace(BTreeSet<String>),
    /// Of these values the first do not stand there afterwards and the second do; others stay.
    Amend {
        /// What goes.
        remove: BTreeSet<String>,
        /// What comes, if it is not there.
        add: BTreeSet<String>,
    },
}

impl Change {
    /// At most how many octets of a message it takes at `name`.
    pub(crate) fn size(&self, name: &Name<Vec<u8>>) -> usize {
        let record = name.len() + RECORD_FIXED;
        let text = |value: &String| record + value.len() + value.len().div_ceil(STRING_MAX).max(1);
        match self {
            Self::Replace(values) => record + values.iter().map(text).sum::<usize>(),
            Self::Amend { remove, add } => remove.iter().chain(add).map(text).sum(),
        }
    }
}

/// At most how many octets an update of `apex` takes before any change, unsigned.
pub(crate) fn overhead(apex: &DnsName) -> usize {
    // A name travels with one octet for each dot, one before and one behind.
    MESSAGE_FIXED + apex.as_str().len() + 2
}

/// A name as it travels.
///
/// # Errors
/// [`UpdateFault::Format`] for one that is too long, as a challenge's name below the longest host is.
pub(crate) fn wire_name(name: &str) -> Result<Name<Vec<u8>>, UpdateFault> {
    Name::vec_from_str(name)
        .map_err(|error| UpdateFault::Format(format!("{name} is no domain name: {error}")))
}

/// Writes the update of zone `apex` that makes all `changes`, added records living for `ttl`, still without ID and signature (RFC 2136 §2).
///
/// # Errors
/// [`UpdateFault::Format`] for more than fits into one message.
pub(crate) fn compose<'a>(
    apex: &DnsName,
    ttl: Ttl,
    changes: impl IntoIterator<Item = (&'a Name<Vec<u8>>, &'a Change)>,
) -> Result<Vec<u8>, UpdateFault> {
    let unfit =
        |_: PushError| UpdateFault::Format("the values at this name do not fit into one message".to_owned());
    let mut builder = MessageBuilder::new_vec();
    builder.set_push_limit(UNSIGNED_MAX);
    builder.header_mut().set_opcode(Opcode::UPDATE);
    let mut zone = builder.question();
    zone.push((wire_name(apex.as_str())?, Rtype::SOA))
        .map_err(unfit)?;
    let mut update = zone.authority();
    for (name, change) in changes {
        match change {
            Change::Replace(values) => {
                // RFC 2136 §2.5.2: class ANY, TTL 0 and no data delete the whole set.
                let all = UnknownRecordData::from_octets(Rtype::TXT, [0; 0])
                    .map_err(|error| UpdateFault::Format(error.to_string()))?;
                update.push((name, Class::ANY, Ttl::ZERO, all)).map_err(unfit)?;
                for value in values {
                    update.push((name, Class::IN, ttl, text(value)?)).map_err(unfit)?;
                }
            }
            Change::Amend { remove, add } => {
                for value in remove {
                    // RFC 2136 §2.5.4: class NONE and TTL 0 delete the record with exactly this data.
                    update
                        .push((name, Class::NONE, Ttl::ZERO, text(value)?))
                        .map_err(unfit)?;
                }
                for value in add {
                    update.push((name, Class::IN, ttl, text(value)?)).map_err(unfit)?;
                }
            }
        }
    }
    Ok(update.finish())
}

/// A value as TXT data, in several strings when it is longer than one.
fn text(value: &str) -> Result<Txt<Vec<u8>>, UpdateFault> {
    Txt::build_from_slice(value.as_bytes()).map_err(|error| UpdateFault::Format(error.to_string()))
}

/// A server's refusal, with what it said besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What it means.
    pub(crate) fault: UpdateFault,
    /// The server's clock in seconds since 1970, if it refuses because of ours and its signature proves it.
    pub(crate) clock: Option<u64>,
    /// Whether the server's signature proves it.
    pub(crate) proven: bool,
    /// Whether the server could not read our message.
    pub(crate) unreadable: bool,
    /// Its own words (RFC 8914).
    pub(crate) words: Option<String>,
}

impl From<UpdateFault> for Refusal {
    fn from(fault: UpdateFault) -> Self {
        Self {
            fault,
            clock: None,
            proven: false,
            unreadable: false,
            words: None,
        }
    }
}

/// Says whether the server has done what `request` asked; answers the server's clock, in seconds since 1970, if a signature
/// proves it. Without `key` nothing is proven, and the answer is taken at its word.
///
/// # Errors
/// Anything but NOERROR, signed if the request was.
pub(crate) fn interpret(
    request: &Signed,
    answer: &[u8],
    key: Option<&Key>,
    now: Timestamp,
) -> Result<Option<u64>, Refusal> {
    let garbled = |what: &str| UpdateFault::Format(format!("the server's answer cannot be read: {what}"));
    let message = Message::from_slice(answer).map_err(|_| garbled("it is too short"))?;
    let header = message.header();
    if header.id() != request.id || !header.qr() || header.opcode() != Opcode::UPDATE {
        return Err(garbled("it does not belong to our update").into());
    }
    let seal = match key {
        Some(key) => tsig::judge(answer, request, key, now).map_err(|error| garbled(&error.to_string()))?,
        None => Seal::Missing,
    };
    if header.tc() {
        return Err(garbled("it was cut off on the way").into());
    }
    let refusal = |fault| Refusal {
        words: edns::explanation(message),
        proven: matches!(seal, Seal::Genuine { .. }),
        unreadable: header.rcode() == Rcode::FORMERR,
        ..Refusal::from(fault)
    };
    match (&seal, header.rcode()) {
        (Seal::Complaint(complaint), _) => Err(refusal(complain(complaint, request))),
        (
            Seal::Genuine {
                complaint: Some(complaint),
                ..
            },
            _,
        ) => Err(Refusal {
            clock: complaint.server_time,
            ..refusal(complain(complaint, request))
        }),
        (Seal::Genuine { time, .. }, Rcode::NOERROR) => Ok(Some(*time)),
        (Seal::Missing, Rcode::NOERROR) if key.is_none() => Ok(None),
        (Seal::Missing, Rcode::NOERROR) => Err(refusal(UpdateFault::Forged("not signed"))),
        (Seal::Broken(how), Rcode::NOERROR) => Err(refusal(UpdateFault::Forged(how))),
        (Seal::Genuine { .. } | Seal::Missing | Seal::Broken(_), rcode) => {
            Err(refusal(explain(rcode, &seal, key)))
        }
    }
}

/// What a response code means (RFC 2136 §2.2) beside this signature.
fn explain(rcode: Rcode, seal: &Seal, key: Option<&Key>) -> UpdateFault {
    match rcode {
        Rcode::FORMERR => UpdateFault::Format(
            "the server could not read our update; does its log say why? A signature truncated below half its length \
             is refused so"
                .to_owned(),
        ),
        Rcode::SERVFAIL => UpdateFault::ServFail,
        Rcode::REFUSED if key.is_none() => UpdateFault::Refused(REFUSED_BARE),
        Rcode::REFUSED if matches!(seal, Seal::Genuine { .. }) => UpdateFault::Refused(REFUSED_SIGNED),
        Rcode::REFUSED => UpdateFault::Refused(REFUSED_UNSIGNED),
        Rcode::NOTAUTH => UpdateFault::NotAuth,
        Rcode::NOTIMP => UpdateFault::NotImp,
        Rcode::NOTZONE => UpdateFault::NotZone,
        other => UpdateFault::Rcode(other.to_string()),
    }
}

/// What a TSIG error means (RFC 8945 §5.2).
fn complain(complaint: &Complaint, request: &Signed) -> UpdateFault {
    match complaint.error {
        TsigRcode::BADKEY => UpdateFault::BadKey,
        TsigRcode::BADSIG => UpdateFault::BadSig,
        TsigRcode::BADTRUNC => UpdateFault::BadTrunc,
        TsigRcode::BADTIME => match complaint.server_time {
            // Both are 48 bits, so neither the casts nor the difference can overflow.
            Some(server) => UpdateFault::BadTime {
                offset_secs: request.time as i64 - server as i64,
                server_time: Timestamp::from_second(server as i64).unwrap_or(Timestamp::MAX),
            },
            None => UpdateFault::Rcode("BADTIME without its clock; mend the time synchronization".to_owned()),
        },
        other => UpdateFault::Rcode(format!("TSIG error {other}")),
    }
}

#[cfg(test)]
mod tests;

//! CAA records of names in a zone, as its update server shows them (RFC 8659).
//!
//! Owns the reading of the answers. Must not judge the records, nor ask about names above the zone.

use std::net::SocketAddr;

use domain::base::iana::Rtype;
use domain::base::wire::ParseError;
use domain::base::{Message, Name};
use domain::rdata::Caa;
use domain::rdata::rfc1035::Cname;
use faythe_core::caa::{Found, Record};
use faythe_core::name::DnsName;

use crate::dns::LookError;
use crate::dns::query::{Question, Recursion, ask_any};
use crate::dns::update::wire_name;

/// The bit of a record's flags that makes it critical (RFC 8659 §4.1).
const CRITICAL: u8 = 0x80;

/// Asks `peers`, which are update servers of one zone, for the records that count: those at the first of `names` that has
/// any. All are asked about at once.
///
/// # Errors
/// When it cannot be told for one of the names before which nothing was found.
pub(crate) async fn find(peers: &[SocketAddr], names: &[DnsName]) -> Result<Option<Found>, LookError> {
    let asked = names.iter().map(|name| look(peers, name));
    let answers = futures::future::join_all(asked).await;
    for (name, records) in names.iter().zip(answers) {
        let records = records?;
        if !records.is_empty() {
            let at = name.clone();
            return Ok(Some(Found { at, records }));
        }
    }
    Ok(None)
}

async fn look(peers: &[SocketAddr], name: &DnsName) -> Result<Vec<Record>, LookError> {
    let name = wire_name(name.as_str()).map_err(|fault| LookError::Format(fault.to_string()))?;
    let question = Question {
        name: &name,
        rtype: Rtype::CAA,
        recursion: Recursion::Off,
    };
    ask_any(peers, question, |_, reply| read(reply.usable()?, &name)).await
}

/// Reads the records out of an answer. A server that does not hold the name, or that holds an alias without its target,
/// has not told what counts.
pub(super) fn read(message: &Message<[u8]>, name: &Name<Vec<u8>>) -> Result<Vec<Record>, LookError> {
    let garbled = |error: ParseError| LookError::Format(error.to_string());
    if !message.header().aa() {
        return Err(LookError::NotServed);
    }
    let mut records = Vec::new();
    for record in message.answer().map_err(garbled)?.limit_to_in::<Caa<_>>() {
        let record = record.map_err(garbled)?;
        let caa: &Caa<_> = record.data();
        records.push(Record {
            critical: caa.flags().bits() & CRITICAL != 0,
            tag: caa.tag().to_string(),
            value: String::from_utf8_lossy(caa.value()).into_owned(),
        });
    }
    let mut aliases = message.answer().map_err(garbled)?.limit_to_in::<Cname<_>>();
    if records.is_empty() && aliases.next().is_some() {
        return Err(LookError::Format(format!(
            "{name} is an alias, and nothing is said of its target"
        )));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use domain::base::iana::Rcode;
    use domain::base::{MessageBuilder, ToName};
    use domain::rdata::caa::{CaaFlags, CaaTag};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name<Vec<u8>> {
        wire_name(text).unwrap()
    }

    fn caa(value: &str) -> Caa<Vec<u8>> {
        let tag = CaaTag::from_octets(b"issue".to_vec()).unwrap();
        Caa::new(CaaFlags::critical(), tag, value.as_bytes().to_vec())
    }

    fn said(with_authority: bool, alias: Option<&str>, values: &[&str]) -> Result<Vec<Record>, LookError> {
        let owner = name("www.example.test");
        let mut answer = MessageBuilder::new_vec();
        answer.header_mut().set_aa(with_authority);
        answer.header_mut().set_rcode(Rcode::NOERROR);
        let mut answer = answer.question().answer();
        let mut at = owner.clone();
        if let Some(target) = alias {
            answer.push((&owner, 60, Cname::new(name(target)))).unwrap();
            at = name(target);
        }
        for value in values {
            answer.push((at.to_vec(), 60, caa(value))).unwrap();
        }
        let octets = answer.finish();
        read(Message::from_slice(&octets).unwrap(), &owner)
    }

    #[test]
    fn p24_records_are_read_and_what_is_not_told_is_not_taken_for_none() {
        let record = |value: &str| Record {
            critical: true,
            tag: "issue".to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(said(true, None, &[]), Ok(Vec::new()));
        assert_eq!(said(true, None, &["a", "b"]), Ok(vec![record("a"), record("b")]));
        assert_eq!(said(true, Some("x.test"), &["a"]), Ok(vec![record("a")]));
        assert_eq!(said(false, None, &["a"]), Err(LookError::NotServed));
        assert!(matches!(
            said(true, Some("x.test"), &[]),
            Err(LookError::Format(_))
        ));
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(octets in proptest::collection::vec(any::<u8>(), 12..80)) {
            if let Ok(message) = Message::from_slice(&octets) {
                drop(read(message, &name("example.test")));
            }
        }
    }
}

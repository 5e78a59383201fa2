//! Whether a server holds a zone: it answers with authority for the SOA record of the zone's very name (P10).
//!
//! Servers that the operator has named are asked, and for no other name: nothing that a resolver says can lead elsewhere.

use std::net::SocketAddr;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, Name, ParsedName};
use domain::rdata::rfc1035::Soa;

use crate::dns::LookError;
use crate::dns::query::{Question, Recursion, ask_any};

/// Asks `peers`, which are one server, for the serial number of the zone at `apex`.
///
/// # Errors
/// The server does not answer, or not as one that holds the zone.
pub(crate) async fn serial(peers: &[SocketAddr], apex: &Name<Vec<u8>>) -> Result<u32, LookError> {
    let question = Question {
        name: apex,
        rtype: Rtype::SOA,
        recursion: Recursion::Off,
    };
    ask_any(peers, question, |_, reply| read(reply.usable()?, apex)).await
}

/// Reads the serial number out of an answer.
pub(super) fn read(message: &Message<[u8]>, apex: &Name<Vec<u8>>) -> Result<u32, LookError> {
    let garbled = |error: &dyn std::fmt::Display| LookError::Format(error.to_string());
    if message.header().rcode() == Rcode::NXDOMAIN {
        return Err(LookError::Rcode(Rcode::NXDOMAIN.to_string()));
    }
    let section = message.answer().map_err(|error| garbled(&error))?;
    for record in section.limit_to_in::<Soa<ParsedName<_>>>() {
        let record = record.map_err(|error| garbled(&error))?;
        // A cache and a parent's server have the bit unset, or another name.
        if record.owner() == apex && message.header().aa() {
            return Ok(record.data().serial().into_int());
        }
    }
    Err(LookError::NotServed)
}

#[cfg(test)]
mod tests {
    use domain::base::{MessageBuilder, Ttl};
    use proptest::prelude::*;

    use super::*;
    use crate::dns::update::wire_name;

    fn name(text: &str) -> Name<Vec<u8>> {
        wire_name(text).unwrap()
    }

    /// What is made of an answer with a SOA record of `owner`.
    fn said(owner: &str, with_authority: bool) -> Result<u32, LookError> {
        let mut answer = MessageBuilder::new_vec();
        answer.header_mut().set_aa(with_authority);
        let ttl = Ttl::from_secs(60);
        let soa = Soa::new(name("ns1.test"), name("h.test"), 7.into(), ttl, ttl, ttl, ttl);
        let mut answer = answer.question().answer();
        answer.push((name(owner), 60, soa)).unwrap();
        let octets = answer.finish();
        read(Message::from_slice(&octets).unwrap(), &name("example.test"))
    }

    #[test]
    fn p10_only_authority_over_the_zone_itself_counts() {
        assert_eq!(said("EXAMPLE.test", true), Ok(7));
        for (owner, with_authority) in [("example.test", false), ("test", true), ("a.example.test", true)] {
            assert_eq!(said(owner, with_authority), Err(LookError::NotServed), "{owner}");
        }
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

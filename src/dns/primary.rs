//! The primary server of a zone, as the zone's own SOA record names it (RFC 1035 §3.3.13, RFC 2136 §4.3).
//!
//! The record of the zone's very name is asked for, at servers that the operator has named: no resolver's climbing can
//! lead to another zone (P10). What was found is kept for a while, and forgotten when an update has failed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::base::iana::Rtype;
use domain::base::{Message, Name, ParsedName};
use domain::rdata::rfc1035::Soa;
use faythe_core::name::DnsName;
use tokio::time::Instant;

use crate::dns::LookError;
use crate::dns::fleet::{Pool, Server};
use crate::dns::query::{Question, Recursion, ask_any};
use crate::dns::server::{ServerAddr, addresses};
use crate::dns::survey::hosts_of;
use crate::dns::update::wire_name;

/// How long what was found is used: a primary moves by a person's hand.
const FRESH: Duration = Duration::from_secs(300);

/// Finds the primary of one zone.
pub(crate) struct Finder {
    apex: DnsName,
    /// Who is asked.
    ask: Vec<ServerAddr>,
    /// On which port the primary listens; there is no record for any but 53.
    port: u16,
    pool: Arc<Pool>,
    found: Mutex<Option<(Vec<Arc<Server>>, Instant)>>,
}

impl Finder {
    pub(crate) fn new(apex: DnsName, ask: Vec<ServerAddr>, port: u16, pool: Arc<Pool>) -> Self {
        Self {
            apex,
            ask,
            port,
            pool,
            found: Mutex::default(),
        }
    }

    /// The primary, once for each of its addresses; nothing when nobody says which it is, which is reported.
    pub(crate) async fn servers(&self) -> Vec<Arc<Server>> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((servers, since)) = known
            && since.elapsed() < FRESH
        {
            return servers;
        }
        match self.find().await {
            Ok((name, addresses)) => {
                let servers: Vec<Arc<Server>> = addresses
                    .iter()
                    .map(|address| self.pool.server(&ServerAddr::found(&name, *address)))
                    .collect();
                tracing::debug!(zone = %self.apex, primary = name, ?addresses, "the zone's SOA names its primary");
                *self.found.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((servers.clone(), Instant::now()));
                servers
            }
            Err(error) => {
                tracing::warn!(
                    zone = %self.apex,
                    "the zone's primary is not known, so the servers that were asked for it get the update: asked for SOA, \
                     they say: {error}"
                );
                Vec::new()
            }
        }
    }

    /// An update has failed there: the primary may be another by now.
    pub(crate) fn forget(&self) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn find(&self) -> Result<(String, Vec<SocketAddr>), LookError> {
        let peers = addresses(&self.ask).await?;
        let apex = wire_name(self.apex.as_str()).map_err(|fault| LookError::Format(fault.to_string()))?;
        let question = Question {
            name: &apex,
            rtype: Rtype::SOA,
            recursion: Recursion::Wanted,
        };
        let name = ask_any(&peers, question, |_, reply| mname(reply.usable()?, &apex)).await?;
        let found: Vec<SocketAddr> = hosts_of(&name, None, &peers, self.port)
            .await
            .into_iter()
            .collect();
        if found.is_empty() {
            return Err(LookError::Format(format!(
                "the SOA names {name}, which has no address"
            )));
        }
        Ok((name, found))
    }
}

/// The primary that the SOA record at `apex` names, in lower case.
pub(super) fn mname(message: &Message<[u8]>, apex: &Name<Vec<u8>>) -> Result<String, LookError> {
    let garbled = |error: &dyn std::fmt::Display| LookError::Format(error.to_string());
    let section = message.answer().map_err(|error| garbled(&error))?;
    for record in section.limit_to_in::<Soa<ParsedName<_>>>() {
        let record = record.map_err(|error| garbled(&error))?;
        if record.owner() == apex {
            return Ok(record.data().mname().to_string().to_ascii_lowercase());
        }
    }
    Err(LookError::Format("the zone has no SOA record there".to_owned()))
}

#[cfg(test)]
mod tests {
    use domain::base::MessageBuilder;
    use domain::base::Ttl;
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name<Vec<u8>> {
        wire_name(text).unwrap()
    }

    /// An answer with a SOA record of `owner`.
    fn answer(owner: &str) -> Vec<u8> {
        let ttl = Ttl::from_secs(60);
        let soa = Soa::new(name("NS1.test"), name("h.test"), 1.into(), ttl, ttl, ttl, ttl);
        let mut answer = MessageBuilder::new_vec().question().answer();
        answer.push((name(owner), 60, soa)).unwrap();
        answer.finish()
    }

    #[test]
    fn p14_the_primary_is_the_one_that_the_zones_own_soa_names() {
        let found = |owner: &str| {
            let answer = answer(owner);
            mname(Message::from_slice(&answer).unwrap(), &name("example.test"))
        };
        assert_eq!(found("Example.test"), Ok("ns1.test".to_owned()));
        // A parent's record, as a resolver adds it to an answer that there is nothing, is another zone's.
        assert!(found("test").is_err());
        assert!(found("sub.example.test").is_err());
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(octets in proptest::collection::vec(any::<u8>(), 12..80)) {
            if let Ok(message) = Message::from_slice(&octets) {
                drop(mname(message, &name("example.test")));
            }
        }
    }
}

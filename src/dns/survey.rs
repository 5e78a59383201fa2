//! Which name servers a zone has: its own NS records, asked at its update server, and every address of each.
//!
//! What was found is kept for a while. The system's resolver is asked for addresses of name servers alone, never for a
//! challenge's name (P01, P09).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::base::iana::Rtype;
use domain::base::wire::ParseError;
use domain::base::{Message, Name, ParsedName};
use domain::rdata::Aaaa;
use domain::rdata::rfc1035::{A, Ns};
use faythe_core::name::DnsName;
use faythe_core::zone::{Check, Role};
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

use crate::dns::LookError;
use crate::dns::query::{Question, Recursion, ask_any};
use crate::dns::server::{ServerAddr, addresses};
use crate::dns::update::wire_name;

/// How long what was found is used. Name servers change by a person's hand.
const FRESH: Duration = Duration::from_secs(300);
/// After a server of the zone has failed, the zone is asked for its servers anew if what is known is older than this.
const DOUBTED: Duration = Duration::from_secs(10);
/// The most name servers of a zone that are looked at; the root has 13.
const SERVERS_MAX: usize = 13;
/// Longest wait for the system's resolver.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of all zones' servers.
#[derive(Debug, Default)]
pub(crate) struct Surveys {
    zones: Mutex<BTreeMap<DnsName, Arc<tokio::sync::Mutex<Known>>>>,
}

#[derive(Debug, Default)]
struct Known {
    servers: Option<(Vec<Check>, Instant)>,
}

/// What a zone's update server says of the zone's servers.
#[derive(Debug, Default)]
pub(super) struct Delegation {
    servers: BTreeSet<String>,
    glue: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Surveys {
    /// The servers of zone `apex`, whose update servers are `update`; name servers listen on `port`.
    ///
    /// # Errors
    /// When nothing is known and the update server does not say it.
    pub(crate) async fn of(
        &self,
        apex: &DnsName,
        update: &[ServerAddr],
        port: u16,
    ) -> Result<Vec<Check>, LookError> {
        let known = {
            let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(zones.entry(apex.clone()).or_default())
        };
        // Whoever comes meanwhile waits for the one answer.
        let mut known = known.lock().await;
        if let Some((servers, since)) = &known.servers
            && since.elapsed() < FRESH
        {
            return Ok(servers.clone());
        }
        match survey(apex, update, port).await {
            Ok(servers) => {
                known.servers = Some((servers.clone(), Instant::now()));
                Ok(servers)
            }
            // Who was a server of the zone a moment ago probably still is.
            Err(error) => known
                .servers
                .as_ref()
                .map(|(servers, _)| servers.clone())
                .ok_or(error),
        }
    }

    /// A server of zone `apex` has failed: it may be one no more.
    pub(crate) fn doubt(&self, apex: &DnsName) {
        let zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        // Where somebody is asking right now, there is nothing to doubt.
        if let Some(mut known) = zones.get(apex).and_then(|known| known.try_lock().ok())
            && let Some((_, since)) = &mut known.servers
            && since.elapsed() >= DOUBTED
            && let Some(past) = Instant::now().checked_sub(FRESH)
        {
            *since = past;
        }
    }
}

/// Asks for the zone's servers and their addresses.
async fn survey(apex: &DnsName, update: &[ServerAddr], port: u16) -> Result<Vec<Check>, LookError> {
    let peers = addresses(update).await?;
    let name = wire_name(apex.as_str()).map_err(|fault| LookError::Format(fault.to_string()))?;
    let delegation = ask_any(&peers, of_type(&name, Rtype::NS), |_, reply| {
        let message = reply.usable()?;
        if !message.header().aa() {
            return Err(LookError::Lame);
        }
        let delegation = delegation(message, &name).map_err(|error| LookError::Format(error.to_string()))?;
        if delegation.servers.is_empty() {
            return Err(LookError::Format("the zone has no NS records".to_owned()));
        }
        Ok(delegation)
    })
    .await?;
    let found = delegation.servers.iter().take(SERVERS_MAX).map(|server| {
        let glue = delegation.glue.get(server);
        let peers = &peers;
        async move { (server, hosts_of(server, glue, peers, port).await) }
    });
    let mut checks = BTreeSet::new();
    for (server, addresses) in futures::future::join_all(found).await {
        let check = |address| Check {
            role: Role::Authoritative,
            server: server.clone(),
            address,
        };
        if addresses.is_empty() {
            // It is asked by its name, which fails and says why.
            checks.insert(check(None));
        }
        checks.extend(addresses.into_iter().map(|address| check(Some(address))));
    }
    // The update server is looked at first and need not be looked at twice; one that has several addresses may show the
    // value at some of them only.
    if let [only] = &*peers {
        checks.retain(|check| check.address != Some(*only));
    }
    Ok(checks.into_iter().collect())
}

/// The addresses of one name server: as the update server knows them, else as the system's resolver does.
pub(super) async fn hosts_of(
    server: &str,
    glue: Option<&BTreeSet<IpAddr>>,
    peers: &[SocketAddr],
    port: u16,
) -> BTreeSet<SocketAddr> {
    let mut known = glue.cloned().unwrap_or_default();
    if let Ok(name) = wire_name(server) {
        let ask = |rtype| {
            ask_any(peers, of_type(&name, rtype), |_, reply| {
                let message = reply.usable()?;
                if message.header().aa() {
                    hosts(message.answer(), None).map_err(|error| LookError::Format(error.to_string()))
                } else {
                    // It is not the server of this name: it need not know all of its addresses.
                    Err(LookError::Lame)
                }
            })
        };
        let found = futures::join!(ask(Rtype::A), ask(Rtype::AAAA));
        for found in [found.0, found.1].into_iter().flatten() {
            known.extend(found.into_values().flatten());
        }
    }
    if known.is_empty()
        && let Ok(Ok(found)) = timeout(RESOLVE_TIMEOUT, lookup_host((server, port))).await
    {
        known.extend(found.map(|address| address.ip()));
    }
    known.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

fn of_type(name: &Name<Vec<u8>>, rtype: Rtype) -> Question<'_> {
    Question {
        name,
        rtype,
        recursion: Recursion::Off,
    }
}

/// Reads NS records at `apex`, and the addresses that came with them.
pub(super) fn delegation(message: &Message<[u8]>, apex: &Name<Vec<u8>>) -> Result<Delegation, ParseError> {
    let mut servers = BTreeSet::new();
    for record in message.answer()?.limit_to_in::<Ns<ParsedName<_>>>() {
        let record = record?;
        if record.owner() == apex {
            servers.insert(record.data().nsdname().to_string().to_ascii_lowercase());
        }
    }
    let glue = hosts(message.additional(), Some(&servers))?;
    Ok(Delegation { servers, glue })
}

/// Reads addresses, all of them or those of `wanted`.
fn hosts(
    section: Result<domain::base::message::RecordSection<'_, [u8]>, ParseError>,
    wanted: Option<&BTreeSet<String>>,
) -> Result<BTreeMap<String, BTreeSet<IpAddr>>, ParseError> {
    let section = section?;
    let mut found: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut add = |owner: String, ip: IpAddr| {
        let owner = owner.to_ascii_lowercase();
        if wanted.is_none_or(|wanted| wanted.contains(&owner)) {
            found.entry(owner).or_default().insert(ip);
        }
    };
    for record in section.limit_to_in::<A>() {
        let record = record?;
        add(record.owner().to_string(), record.data().addr().into());
    }
    for record in section.limit_to_in::<Aaaa>() {
        let record = record?;
        add(record.owner().to_string(), record.data().addr().into());
    }
    Ok(found)
}

#[cfg(test)]
mod tests;

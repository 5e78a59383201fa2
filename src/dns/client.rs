//! The name servers of all zones behind the contract of `dns`.
//!
//! Owns the writers' tasks, which end with it. Must not choose zones: whoever calls says which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::zone::{Check, Role};
use futures::future::BoxFuture;
use tokio::task::JoinSet;

use crate::dns::batch::Zone;
use crate::dns::lookup::{Recursion, texts};
use crate::dns::send::Link;
use crate::dns::server::{ServerAddr, ServerAddrError};
use crate::dns::tsig::Key;
use crate::dns::update::wire_name;
use crate::dns::{Dns, DnsError, Foreign, LookError, UpdateFault};

/// Time to live of our records unless a zone has its own (S08).
pub const TTL: Duration = Duration::from_secs(120);

/// Tells the time; signatures bear it.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A zone that takes our updates.
#[derive(Clone, Debug)]
pub struct ZoneSetup {
    /// The zone's name.
    pub apex: DnsName,
    /// Its primary server.
    pub server: ServerAddr,
    /// The key that signs updates.
    pub key: Key,
    /// Time to live of our records there.
    pub ttl: Duration,
    /// Whether values that are not ours may be removed at all.
    pub foreign: Foreign,
}

impl ZoneSetup {
    /// A zone as the base has it: records live for [`TTL`], and what is not ours at a challenge's own name goes (S09).
    #[must_use]
    pub fn new(apex: DnsName, server: ServerAddr, key: Key) -> Self {
        Self {
            apex,
            server,
            key,
            ttl: TTL,
            foreign: Foreign::Removed,
        }
    }
}

/// All zones and the ways to their servers.
pub struct Client {
    zones: BTreeMap<DnsName, Entry>,
    /// One writer for each zone that has been written to; they are stopped when this is dropped.
    writers: Mutex<JoinSet<()>>,
}

struct Entry {
    zone: Arc<Zone>,
    started: OnceLock<()>,
}

impl Client {
    /// Makes the client; does nothing before it is first used. Of two zones with one name the first counts.
    #[must_use]
    pub fn new(zones: Vec<ZoneSetup>, now: Now) -> Self {
        let mut links: BTreeMap<ServerAddr, Arc<tokio::sync::Mutex<Link>>> = BTreeMap::new();
        let mut entries = BTreeMap::new();
        for setup in zones {
            let link = links
                .entry(setup.server.clone())
                .or_insert_with(|| Arc::new(Link::new(setup.server.clone()).into()));
            entries.entry(setup.apex.clone()).or_insert(Entry {
                zone: Arc::new(Zone::new(setup, Arc::clone(link), Arc::clone(&now))),
                started: OnceLock::new(),
            });
        }
        Self {
            zones: entries,
            writers: Mutex::default(),
        }
    }

    /// The zone's queue, with its writer at work.
    fn zone(&self, apex: &DnsName) -> Result<&Zone, DnsError> {
        let Some(entry) = self.zones.get(apex) else {
            return Err(DnsError {
                zone: apex.clone(),
                server: "(none)".to_owned(),
                key: "(none)".to_owned(),
                cause: UpdateFault::Unreachable("this zone is not configured".to_owned()),
            });
        };
        entry.started.get_or_init(|| {
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.spawn(Arc::clone(&entry.zone).write());
        });
        Ok(&entry.zone)
    }
}

impl Dns for Client {
    fn adopt(&self, zone: &DnsName, record: &RecordName, value: &str) {
        // An unknown zone has no values; whoever publishes there is told.
        if let Some(entry) = self.zones.get(zone) {
            entry.zone.adopt(record, value);
        }
    }

    fn publish<'a>(
        &'a self,
        zone: &'a DnsName,
        record: &'a RecordName,
        value: &'a str,
        foreign: Foreign,
    ) -> BoxFuture<'a, Result<(), DnsError>> {
        Box::pin(async move { self.zone(zone)?.publish(record, value, foreign).await })
    }

    fn withdraw<'a>(
        &'a self,
        zone: &'a DnsName,
        record: &'a RecordName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), DnsError>> {
        Box::pin(async move { self.zone(zone)?.withdraw(record, value).await })
    }

    fn look<'a>(
        &'a self,
        check: &'a Check,
        record: &'a RecordName,
    ) -> BoxFuture<'a, Result<Vec<String>, LookError>> {
        Box::pin(async move {
            let server = check
                .server
                .parse()
                .map_err(|error: ServerAddrError| LookError::Unreachable(error.to_string()))?;
            let name = wire_name(record.as_str()).map_err(|fault| LookError::Format(fault.to_string()))?;
            // The zone's own server answers for itself; further ones may be resolvers.
            let recursion = match check.role {
                Role::Update | Role::Authoritative => Recursion::Off,
                Role::Listed => Recursion::Wanted,
            };
            texts(&server, &name, recursion).await
        })
    }
}

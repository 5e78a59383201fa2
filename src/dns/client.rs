//! The name servers of all zones behind the contract of `dns`.
//!
//! Owns the writers' tasks, which end with it. Must not choose zones: whoever calls says which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::route::Found;
use faythe_core::zone::{Check, Role};
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::dns::batch::Zone;
use crate::dns::courier::Courier;
use crate::dns::fleet::{Fleet, Pool};
use crate::dns::lookup::texts;
use crate::dns::primary::Finder;
use crate::dns::server::{ServerAddr, ServerAddrError, addresses};
use crate::dns::signer::{KeySource, Signer};
use crate::dns::survey::Surveys;
use crate::dns::update::wire_name;
use crate::dns::{
    Answer, AskError, Dns, DnsError, Foreign, Leave, LookError, Observe, UpdateFault, authority, caa, route,
};

/// Time to live of our records unless a zone has its own (S08).
pub const TTL: Duration = Duration::from_secs(120);

/// How far the server's clock is followed unless a zone has its own limit (P12).
pub const CLOCK_SKEW_LIMIT: Duration = Duration::from_secs(600);

/// How often key files are looked at when no update does it.
const KEY_PERIOD: Duration = Duration::from_secs(2);

/// Tells the time; signatures bear it.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A zone that takes our updates.
#[derive(Clone, Debug)]
pub struct ZoneSetup {
    /// The zone's name.
    pub apex: DnsName,
    /// The servers that take its updates, in the order in which they are tried; the one that took the last comes first.
    pub servers: Vec<ServerAddr>,
    /// Which of the zone's servers is its primary.
    pub primary: Primary,
    /// What signs updates.
    pub key: KeySource,
    /// Time to live of our records there.
    pub ttl: Duration,
    /// Whether values that are not ours may be removed at all.
    pub foreign: Foreign,
    /// How far the server's clock is followed when it refuses ours (P12); zero for not at all.
    pub clock_skew_limit: Duration,
    /// On which port the name servers listen that the zone's NS records name; there is no record for any but 53.
    pub name_server_port: u16,
}

/// Which of a zone's servers is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Primary {
    /// The one that the zone's SOA names; those that are listed are asked for the record, and tried when it does not help.
    FromSoa,
    /// The first that is listed.
    #[default]
    Listed,
}

impl ZoneSetup {
    /// A zone as the base has it: one server, records live for [`TTL`], and what is not ours at a challenge's own name goes
    /// (S09).
    #[must_use]
    pub fn new(apex: DnsName, server: ServerAddr, key: impl Into<KeySource>) -> Self {
        Self {
            apex,
            servers: vec![server],
            primary: Primary::Listed,
            key: key.into(),
            ttl: TTL,
            foreign: Foreign::Removed,
            clock_skew_limit: CLOCK_SKEW_LIMIT,
            name_server_port: 53,
        }
    }
}

/// All zones and the ways to their servers.
pub struct Client {
    zones: BTreeMap<DnsName, Entry>,
    /// One writer for each zone that has been written to; they are stopped when this is dropped.
    writers: Mutex<JoinSet<()>>,
    /// Told when a key has changed.
    rekeyed: Arc<Notify>,
    watched: OnceLock<()>,
    surveys: Surveys,
}

struct Entry {
    zone: Arc<Zone>,
    signer: Arc<Signer>,
    /// Who is asked about the zone.
    servers: Vec<ServerAddr>,
    name_server_port: u16,
    started: OnceLock<()>,
}

impl Client {
    /// Makes the client; does nothing before it is first used. Of two zones with one name the first counts.
    #[must_use]
    pub fn new(zones: Vec<ZoneSetup>, now: Now) -> Self {
        Self::observed(zones, now, Arc::new(|_| {}), Arc::new(|| true))
    }

    /// The same, with somebody who is told what happens to updates, and who says whether one may be sent.
    #[must_use]
    pub fn observed(zones: Vec<ZoneSetup>, now: Now, observe: Observe, leave: Leave) -> Self {
        let pool = Arc::new(Pool::default());
        let rekeyed = Arc::default();
        let mut entries = BTreeMap::new();
        for setup in zones {
            if matches!(setup.key, KeySource::Unsigned) {
                tracing::warn!(zone = %setup.apex, "updates of this zone are not signed: whoever can reach its server can do the same, and nothing proves its answers");
            }
            let signer = Arc::new(Signer::new(
                setup.apex.clone(),
                setup.key,
                Arc::clone(&rekeyed),
                Arc::clone(&observe),
            ));
            let primary = (setup.primary == Primary::FromSoa).then(|| {
                let (apex, ask) = (setup.apex.clone(), setup.servers.clone());
                Finder::new(apex, ask, setup.name_server_port, Arc::clone(&pool))
            });
            let courier = Courier {
                apex: setup.apex.clone(),
                fleet: Fleet::new(&setup.servers, primary, &pool),
                signer: Arc::clone(&signer),
                now: Arc::clone(&now),
                skew_limit: setup.clock_skew_limit,
                observe: Arc::clone(&observe),
                leave: Arc::clone(&leave),
            };
            entries.entry(setup.apex).or_insert(Entry {
                zone: Arc::new(Zone::new(courier, setup.ttl, setup.foreign)),
                signer,
                servers: setup.servers,
                name_server_port: setup.name_server_port,
                started: OnceLock::new(),
            });
        }
        Self {
            zones: entries,
            writers: Mutex::default(),
            rekeyed,
            watched: OnceLock::new(),
            surveys: Surveys::default(),
        }
    }

    fn entry(&self, apex: &DnsName) -> Result<&Entry, AskError> {
        self.zones.get(apex).ok_or_else(|| AskError {
            server: "(none)".to_owned(),
            question: apex.to_string(),
            cause: LookError::Unreachable("this zone is not configured".to_owned()),
        })
    }

    /// The zone's queue, with its writer at work.
    fn zone(&self, apex: &DnsName) -> Result<&Zone, DnsError> {
        let Some(entry) = self.zones.get(apex) else {
            return Err(DnsError {
                zone: apex.clone(),
                server: "(none)".to_owned(),
                key: "(none)".to_owned(),
                cause: UpdateFault::Unreachable("this zone is not configured".to_owned()),
                more: Vec::new(),
            });
        };
        self.watched.get_or_init(|| {
            let mut signers: Vec<Arc<Signer>> = self
                .zones
                .values()
                .map(|entry| Arc::clone(&entry.signer))
                .collect();
            signers.retain(|signer| signer.follows_a_file());
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.spawn(watch_keys(signers));
        });
        entry.started.get_or_init(|| {
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.spawn(Arc::clone(&entry.zone).write());
        });
        Ok(&entry.zone)
    }
}

/// Looks after the key files for ever: an update that rests for a wrong key is to go on soon after the key is mended (P22).
async fn watch_keys(signers: Vec<Arc<Signer>>) {
    loop {
        tokio::time::sleep(KEY_PERIOD).await;
        for signer in &signers {
            signer.refresh();
        }
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

    fn repaired(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.rekeyed.notified())
    }

    fn authority<'a>(&'a self, zone: &'a DnsName) -> BoxFuture<'a, Vec<(String, Result<u32, LookError>)>> {
        Box::pin(async move {
            let servers = self.zones.get(zone).map_or(&[][..], |entry| &entry.servers);
            let asked = servers
                .iter()
                .map(|server| async move { (server.to_string(), serial_at(server, zone).await) });
            futures::future::join_all(asked).await
        })
    }

    fn look<'a>(
        &'a self,
        zone: &'a DnsName,
        check: &'a Check,
        record: &'a RecordName,
    ) -> BoxFuture<'a, Result<Answer, LookError>> {
        Box::pin(async move {
            let looked = look_at(check, record).await;
            if looked.is_err() && check.role == Role::Authoritative {
                self.surveys.doubt(zone);
            }
            looked
        })
    }

    fn find<'a>(
        &'a self,
        zone: &'a DnsName,
        record: &'a RecordName,
    ) -> BoxFuture<'a, Result<Found, AskError>> {
        Box::pin(async move {
            let entry = self.entry(zone)?;
            let found = async {
                let peers = addresses(&entry.servers).await?;
                let name =
                    wire_name(record.as_str()).map_err(|fault| LookError::Format(fault.to_string()))?;
                route::find(&peers, zone, &name).await
            };
            found
                .await
                .map_err(|cause| entry.error(format!("CNAME {record}"), cause))
        })
    }

    fn caa<'a>(
        &'a self,
        zone: &'a DnsName,
        names: &'a [DnsName],
    ) -> BoxFuture<'a, Result<Option<faythe_core::caa::Found>, AskError>> {
        Box::pin(async move {
            let entry = self.entry(zone)?;
            let found = async { caa::find(&addresses(&entry.servers).await?, names).await };
            found.await.map_err(|cause| {
                let first = names.first().map_or("", DnsName::as_str);
                entry.error(format!("CAA {first}"), cause)
            })
        })
    }

    fn survey<'a>(&'a self, zone: &'a DnsName) -> BoxFuture<'a, Result<Vec<Check>, AskError>> {
        Box::pin(async move {
            let entry = self.entry(zone)?;
            let found = self.surveys.of(zone, &entry.servers, entry.name_server_port);
            found
                .await
                .map_err(|cause| entry.error(format!("NS {zone}"), cause))
        })
    }
}

impl Entry {
    fn error(&self, question: String, cause: LookError) -> AskError {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        AskError {
            server: servers.join(", "),
            question,
            cause,
        }
    }
}

/// Asks one server for a zone's serial number.
async fn serial_at(server: &ServerAddr, zone: &DnsName) -> Result<u32, LookError> {
    let apex = wire_name(zone.as_str()).map_err(|fault| LookError::Format(fault.to_string()))?;
    let peers = server.addresses().await.map_err(|error| LookError::io(&error))?;
    authority::serial(&peers, &apex).await
}

/// Asks one server, at its one address or at any.
async fn look_at(check: &Check, record: &RecordName) -> Result<Answer, LookError> {
    let name = wire_name(record.as_str()).map_err(|fault| LookError::Format(fault.to_string()))?;
    let peers = match check.address {
        Some(address) => vec![address],
        None => {
            let server: ServerAddr = check
                .server
                .parse()
                .map_err(|error: ServerAddrError| LookError::Unreachable(error.to_string()))?;
            server.addresses().await.map_err(|error| LookError::io(&error))?
        }
    };
    texts(&peers, &name, check.role).await
}

//! `faythe sweep`: challenge values of ours that stand in the zones and serve no order any more (P16).
//!
//! What proves a value ours is the note of its order: from the value alone a key authorization cannot be told from
//! anybody else's. A note is written before its values are published and dropped after they are withdrawn, so whatever
//! is left behind has one, and no further write is needed. A value is left over when its order is over, which the CA
//! knows; while the order is open, a Faythe may be at work on it.
//!
//! Must not write to the cluster: the daemon drops the notes, and takes up the orders that are open.

use std::collections::BTreeMap;
use std::fmt;

use faythe_core::Timestamp;
use faythe_core::cas::Cas;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::order::{ChallengeValue, Note, OrderStatus};
use faythe_core::zone::{Check, Role, Zones};

use crate::act::chain;
use crate::ca::{Ca, CaError};
use crate::dns::Dns;
use crate::store::{Store, StoreError};

/// What a sweep looks at.
pub struct Places<'a> {
    /// The notes.
    pub store: &'a dyn Store,
    /// The CAs.
    pub cas: &'a Cas,
    /// Who knows whether an order is over, in the same order.
    pub desks: &'a [&'a dyn Ca],
    /// Where values stand.
    pub dns: &'a dyn Dns,
    /// The zones as configured.
    pub zones: &'a Zones,
    /// The servers that take their updates, as configured.
    pub servers: &'a BTreeMap<DnsName, Vec<String>>,
    /// The time.
    pub now: Timestamp,
}

/// What becomes of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// All of ours go, those of open orders too: for when no Faythe will take them up.
    All,
    /// They are listed.
    Nothing,
    /// Those go that serve no order any more.
    Over,
}

/// One value that stands in a zone, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands.
    pub record: RecordName,
    /// The value.
    pub value: String,
    /// Whose order it serves or served, and how that stands.
    pub order: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It could not be looked at or removed; why.
    Failed(String),
    /// Its order is open, so it stays.
    InUse,
    /// It is left over, and was only listed.
    Left,
    /// It is gone.
    Removed,
}

impl Finding {
    /// Whether somebody has to do something about it.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        matches!(self.fate, Fate::Failed(_) | Fate::Left)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = match &self.fate {
            Fate::Failed(_) => "FAIL",
            Fate::InUse => "in use",
            Fate::Left => "left over",
            Fate::Removed => "removed",
        };
        let Self {
            record, value, order, ..
        } = self;
        write!(f, "{fate:<9}  {record} TXT \"{value}\" ({order})")?;
        match &self.fate {
            Fate::Failed(why) => write!(f, ": {why}"),
            Fate::InUse | Fate::Left | Fate::Removed => Ok(()),
        }
    }
}

/// How an order stands.
enum Standing {
    Open(String),
    Over(String),
}

/// Looks at every noted value, and removes what `removal` says; `tell` is given each that stands, as soon as it is known.
///
/// # Errors
/// The notes cannot be read; then nothing was touched.
pub async fn run(
    places: &Places<'_>,
    removal: Removal,
    tell: &mut dyn FnMut(Finding),
) -> Result<(), StoreError> {
    for saved in places.store.notes().await? {
        let Some((note, _)) = saved.order else { continue };
        let mut standing = None;
        for value in &note.values {
            let (record, zone) = places.whereabouts(&note, value);
            let stands = match &zone {
                Some(zone) => places.shows(zone, record, &value.value).await,
                None => Err("its zone is not configured; remove it there by hand".to_owned()),
            };
            if stands == Ok(false) {
                continue;
            }
            if standing.is_none() {
                standing = Some(places.standing(&note).await);
            }
            let (over, how) = match &standing {
                Some(Standing::Over(how)) => (true, how.as_str()),
                Some(Standing::Open(how)) => (false, how.as_str()),
                None => (false, ""),
            };
            let fate = match (stands, zone) {
                (Err(why), _) => Fate::Failed(why),
                (Ok(_), Some(zone)) if removal == Removal::All || removal == Removal::Over && over => {
                    match places.dns.withdraw(&zone, record, &value.value).await {
                        Ok(()) => Fate::Removed,
                        Err(error) => Fate::Failed(chain(&error)),
                    }
                }
                (Ok(_), _) if over => Fate::Left,
                (Ok(_), _) => Fate::InUse,
            };
            tell(Finding {
                record: record.clone(),
                value: value.value.clone(),
                order: format!("order for {}, {how}", note.host),
                fate,
            });
        }
    }
    Ok(())
}

impl Places<'_> {
    /// Where a value of a note was put, and the zone that takes updates there.
    fn whereabouts<'n>(
        &self,
        note: &'n Note,
        value: &'n ChallengeValue,
    ) -> (&'n RecordName, Option<DnsName>) {
        match &note.route {
            Some(route) => {
                let zone = self.zones.at(&route.zone);
                (&route.record, zone.map(|zone| zone.apex.clone()))
            }
            None => {
                let zone = self.zones.of(note.host.base());
                (&value.record, zone.map(|zone| zone.apex.clone()))
            }
        }
    }

    /// Whether the first of the zone's update servers that answers shows the value.
    async fn shows(&self, apex: &DnsName, record: &RecordName, value: &str) -> Result<bool, String> {
        let mut tried = Vec::new();
        for server in self.servers.get(apex).into_iter().flatten() {
            let check = Check {
                role: Role::Update,
                server: server.clone(),
                address: None,
            };
            match self.dns.look(apex, &check, record).await {
                Ok(found) => return Ok(found.values.iter().any(|found| found == value)),
                Err(error) => tried.push(format!("{check} {error}")),
            }
        }
        Err(tried.join("; "))
    }

    async fn standing(&self, note: &Note) -> Standing {
        if note.expires.is_some_and(|expires| expires <= self.now) {
            return Standing::Over("which has expired".to_owned());
        }
        let ca = self.cas.of_order(note.directory.as_deref(), &note.order_url);
        let Some(ca) = ca.and_then(|ca| self.desks.get(ca.place())) else {
            return Standing::Over("whose CA is not configured any more".to_owned());
        };
        match ca.resume(&note.order_url).await {
            Ok(order) => match order.view().status {
                OrderStatus::Invalid => Standing::Over("which has failed".to_owned()),
                OrderStatus::Valid => Standing::Over("which has its certificate".to_owned()),
                OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Ready => {
                    Standing::Open("which is open at the CA".to_owned())
                }
            },
            Err(CaError::Gone { .. }) => Standing::Over("which the CA does not know any more".to_owned()),
            Err(error) => Standing::Open(format!("of which the CA says nothing: {}", chain(&error))),
        }
    }
}

//! The ledger of what a CA has counted, as Secrets: a small head in JSON, and the buckets packed beside it. The head also
//! has what the CA has told us to leave alone, and until when.
//!
//! Each bucket takes 13 bytes, and a Secret holds 1 MiB, so that one is enough for all but the largest clusters; what does
//! not fit goes into further ones. A ledger that cannot be read is no ledger: what it counted is reckoned from the
//! certificates and notes, and the CA's own answers correct the rest.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::budget::{Entry, Kind, Record, SavedHold};
use faythe_core::name::DnsName;
use faythe_core::problem::Scope;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::shelf::{self, Shelf};
use crate::cluster::short_hash;

/// Its kind among the Secrets of ours.
const LEDGER: &str = "ledger";
/// The data entries.
const HEAD: &str = "head";
const BUCKETS: &str = "buckets";
const VERSION: u32 = 1;
/// Buckets in one Secret: 780 kB of the 1 MiB that it may have.
const BUCKETS_MAX: usize = 60_000;
/// Bytes of one bucket: what it counts, for whom, and the second in which it is full again.
const BUCKET: usize = 13;

/// The ledgers in a namespace.
pub(super) struct Ledgers {
    shelf: Shelf,
}

/// The head of a ledger, in the first of its Secrets.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    version: u32,
    directory: String,
    at: String,
    orders_full_at: String,
    ahead: u32,
    secrets: usize,
    /// Absent in ledgers from before there were others.
    #[serde(default = "yes")]
    counted: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holds: Vec<Hold>,
    /// Seconds by which the clock was ahead of the API server's.
    #[serde(default)]
    clock_ahead: i64,
}

/// A time that the CA has named, as it is saved.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    /// One of [`ACCOUNT`], [`BELOW`] and [`ORDERS`].
    scope: String,
    /// Below which name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    until: String,
    code: String,
    text: String,
}

/// The saved names of scopes; they never change their meaning.
const ACCOUNT: &str = "account";
const BELOW: &str = "below";
const ORDERS: &str = "orders";
const QUESTIONS: &str = "questions";

fn yes() -> bool {
    true
}

impl Ledgers {
    pub(super) fn new(api: Api<Secret>, namespace: Box<str>) -> Self {
        Self {
            shelf: Shelf::new(api, namespace, LEDGER),
        }
    }

    /// Reads a ledger; `None` where there is none that can be read.
    pub(super) async fn read(&self, directory: &str) -> Result<Option<Record>, StoreError> {
        let Some(first) = self.shelf.get(&name(directory, 0)).await? else {
            return Ok(None);
        };
        let read = head(&first, directory).and_then(|head| Ok((record(&head, &first)?, head.secrets)));
        let (mut record, secrets) = match read {
            Ok(read) => read,
            Err(what) => {
                let named = self
                    .shelf
                    .named(first.metadata.name.as_deref().unwrap_or_default())
                    .to_string();
                tracing::warn!("{named} is no ledger and is begun anew: {what}");
                return Ok(None);
            }
        };
        for number in 1..secrets.min(shelf::MOST) {
            // One that is missing or spoilt costs what it counted, and no more.
            if let Some(secret) = self.shelf.get(&name(directory, number)).await? {
                record.entries.extend(buckets(&secret));
            }
        }
        Ok(Some(record))
    }

    /// Saves a ledger; the head last, so that it never speaks of what is not there.
    pub(super) async fn save(&self, directory: &str, record: &Record) -> Result<(), StoreError> {
        let chunks: Vec<_> = record.entries.chunks(BUCKETS_MAX).collect();
        let secrets = chunks.len().max(1);
        for number in (0..secrets).rev() {
            let entries = chunks.get(number).copied().unwrap_or_default();
            let mut data = BTreeMap::from([(BUCKETS.to_owned(), ByteString(pack(entries)))]);
            let name = name(directory, number);
            if number == 0 {
                let head = Head {
                    version: VERSION,
                    directory: directory.to_owned(),
                    at: record.at.to_string(),
                    orders_full_at: record.orders_full_at.to_string(),
                    ahead: record.ahead,
                    secrets,
                    counted: record.counted,
                    holds: record.holds.iter().filter_map(saved).collect(),
                    clock_ahead: record.clock_ahead.as_secs(),
                };
                let head = serde_json::to_vec(&head)
                    .map_err(|error| self.shelf.named(&name).unreadable(error.to_string()))?;
                data.insert(HEAD.to_owned(), ByteString(head));
                self.shelf.put(&name, data).await?;
            } else {
                self.shelf.put_further(&name, data).await?;
            }
        }
        Ok(())
    }
}

fn name(directory: &str, number: usize) -> String {
    let first = format!("faythe-ledger-{}", short_hash(&[directory]));
    if number == 0 {
        first
    } else {
        format!("{first}-{number}")
    }
}

fn head(secret: &Secret, directory: &str) -> Result<Head, String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(HEAD));
    let bytes = bytes.ok_or_else(|| format!("it has no entry `{HEAD}`"))?;
    let head: Head = serde_json::from_slice(&bytes.0).map_err(|error| error.to_string())?;
    if head.version != VERSION {
        return Err(format!(
            "it is of version {}, and this program knows version {VERSION}",
            head.version
        ));
    }
    if head.directory != directory {
        return Err(format!("it is of {}", head.directory));
    }
    Ok(head)
}

fn record(head: &Head, first: &Secret) -> Result<Record, String> {
    let time = |text: &str| {
        text.parse()
            .map_err(|error| format!("{text:?} is no time: {error}"))
    };
    Ok(Record {
        at: time(&head.at)?,
        orders_full_at: time(&head.orders_full_at)?,
        ahead: head.ahead,
        entries: buckets(first),
        counted: head.counted,
        holds: head.holds.iter().filter_map(read).collect(),
        clock_ahead: SignedDuration::from_secs(head.clock_ahead),
    })
}

/// A hold as it is saved; `None` for one that is kept with a name's failures or of no longer use than a process, or that
/// ends with a change of the configuration.
fn saved(hold: &SavedHold) -> Option<Hold> {
    let (scope, name) = match &hold.scope {
        Scope::Account => (ACCOUNT, None),
        Scope::Below(name) => (BELOW, Some(name.to_string())),
        Scope::Orders => (ORDERS, None),
        Scope::Questions => (QUESTIONS, None),
        Scope::Name | Scope::Order(_) | Scope::Zone(_) => return None,
    };
    Some(Hold {
        scope: scope.to_owned(),
        name,
        until: hold.until.to_string(),
        code: hold.code.clone(),
        text: hold.text.clone(),
    })
}

/// A hold that was saved; `None` for one that this program does not understand, which costs one more refusal.
fn read(hold: &Hold) -> Option<SavedHold> {
    let scope = match (hold.scope.as_str(), &hold.name) {
        (ACCOUNT, None) => Scope::Account,
        (BELOW, Some(name)) => Scope::Below(DnsName::parse(name).ok()?),
        (ORDERS, None) => Scope::Orders,
        (QUESTIONS, None) => Scope::Questions,
        _ => return None,
    };
    Some(SavedHold {
        scope,
        until: hold.until.parse().ok()?,
        code: hold.code.clone(),
        text: hold.text.clone(),
    })
}

/// The buckets of one Secret; what cannot be read is left out.
fn buckets(secret: &Secret) -> Vec<Entry> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(BUCKETS));
    bytes.map_or_else(Vec::new, |bytes| {
        bytes.0.chunks_exact(BUCKET).filter_map(unpack).collect()
    })
}

fn pack(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * BUCKET);
    for entry in entries {
        // Up to the next second, so that it is never full too soon.
        let second = entry.full_at.as_second().saturating_add(1);
        bytes.push(code(entry.limit));
        bytes.extend(entry.key.to_be_bytes());
        bytes.extend(u32::try_from(second.max(0)).unwrap_or(u32::MAX).to_be_bytes());
    }
    bytes
}

fn unpack(bytes: &[u8]) -> Option<Entry> {
    let (code, rest) = bytes.split_first()?;
    let (key, second) = rest.split_first_chunk()?;
    let second = u32::from_be_bytes(second.try_into().ok()?);
    Some(Entry {
        limit: Kind::ALL.into_iter().find(|kind| self::code(*kind) == *code)?,
        key: u64::from_be_bytes(*key),
        full_at: Timestamp::from_second(second.into()).ok()?,
    })
}

/// What a bucket counts, as it is saved; these never change their meaning.
fn code(limit: Kind) -> u8 {
    match limit {
        Kind::CertificatesPerDomain => b'd',
        Kind::CertificatesPerSet => b's',
        Kind::FailuresInARow => b'r',
        Kind::FailuresPerName => b'f',
        Kind::NewAccounts => b'a',
        Kind::NewOrders => b'o',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p17_what_is_packed_is_unpacked_and_never_full_too_soon() {
        let entries: Vec<_> = Kind::ALL
            .into_iter()
            .zip(0..)
            .map(|(limit, i)| Entry {
                limit,
                key: u64::MAX - i,
                full_at: Timestamp::new(1_800_000_000, 5).unwrap(),
            })
            .collect();
        let packed = pack(&entries);
        assert_eq!(packed.len(), entries.len() * BUCKET);
        let again: Vec<_> = packed.chunks_exact(BUCKET).filter_map(unpack).collect();
        for (before, after) in entries.iter().zip(&again) {
            assert_eq!((before.limit, before.key), (after.limit, after.key));
            assert!(before.full_at <= after.full_at);
        }
        assert_eq!(again.len(), entries.len());
    }

    #[test]
    fn a_full_secret_keeps_within_what_the_api_server_takes() {
        // Of a hold's text each byte may need a backslash; name, times and the rest take less than 600.
        const HOLD: usize = 2 * SavedHold::LONGEST + 600;
        const { assert!(BUCKETS_MAX * BUCKET + SavedHold::MOST * HOLD < 1 << 20) };
    }

    #[test]
    fn p17_ledgers_of_other_versions_are_read_as_far_as_they_go() {
        let read = |rest: &str| {
            let text = format!(
                r#"{{"version":1,"directory":"https://ca.test","at":"2026-11-24T10:00:00Z",
                "ordersFullAt":"2026-11-24T10:00:00Z","ahead":2,"secrets":1{rest}}}"#
            );
            let head: Head = serde_json::from_str(&text).unwrap();
            record(&head, &Secret::default()).unwrap()
        };
        let old = read("");
        assert_eq!((old.ahead, old.counted, old.holds), (2, true, Vec::new()));
        // One hold of a later version among two that are known.
        let hold = |scope: &str| {
            format!(r#"{{{scope},"until":"2026-11-24T11:00:00Z","code":"rateLimited","text":"wait"}}"#)
        };
        let holds = [
            r#""scope":"account""#,
            r#""scope":"moon""#,
            r#""scope":"below","name":"example.com""#,
        ];
        let holds = holds.map(hold).join(",");
        let new = read(&format!(r#","counted":false,"holds":[{holds}],"later":1"#));
        let scopes: Vec<_> = new.holds.into_iter().map(|hold| hold.scope).collect();
        let below = Scope::Below("example.com".parse().unwrap());
        assert_eq!((new.counted, scopes), (false, vec![Scope::Account, below]));
    }
}

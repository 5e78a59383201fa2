//! The ledger of what a CA has counted, as Secrets: a small head in JSON, and the buckets packed beside it.
//!
//! Each bucket takes 13 bytes, and a Secret holds 1 MiB, so that one is enough for all but the largest clusters; what does
//! not fit goes into further ones. A ledger that cannot be read is no ledger: what it counted is reckoned from the
//! certificates and notes, and the CA's own answers correct the rest.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::budget::{Entry, Kind, Record};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::shelf::Shelf;
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
        for number in 1..secrets {
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
                };
                let head = serde_json::to_vec(&head)
                    .map_err(|error| self.shelf.named(&name).unreadable(error.to_string()))?;
                data.insert(HEAD.to_owned(), ByteString(head));
            }
            self.shelf.put(&name, data).await?;
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
        const { assert!(BUCKETS_MAX * BUCKET < 1_000_000) };
    }
}

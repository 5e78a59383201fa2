//! The saved form of a note: version 1, JSON beside the private key.
//!
//! Fields may be added within a version; a reader of this version leaves them alone. Whatever changes the meaning of
//! what is there takes a new version, and an unknown version is never overwritten.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::name::{DnsName, Hostname, RecordName};
use faythe_core::order::{ChallengeValue, Note};
use faythe_core::route::{Route, Way};
use faythe_core::schedule::{Failures, GivenUp};
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{KIND, NOTE};
use crate::sealed::Sealed;
use crate::store::Saved;
use crate::store::place::value;

const VERSION: u32 = 1;
/// The data entries.
const JSON: &str = "note";
const KEY: &str = "key";

/// What a note's Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    json: String,
    key: Option<Sealed>,
}

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    version: u32,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<WrittenOrder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<WrittenFailures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    given_up: Option<WrittenGivenUp>,
    /// A hash of the configuration, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    setup: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenOrder {
    url: String,
    /// The directory of its CA; without it the first one that fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    values: Vec<WrittenValue>,
    /// The certificate that it takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WrittenValue {
    /// Where it stands.
    record: String,
    value: String,
    /// The zone that holds the record; without it the one that serves the host, and the record is the one that the CA
    /// looks up.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    delegated: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenFailures {
    count: u32,
    last: String,
    /// How far the clock was ahead of the API server's, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    clock_ahead: i64,
    code: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    parked: bool,
    /// The directories of the CAs that do not issue for the name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused_by: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenGivenUp {
    count: u32,
    last: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    /// As that of failures.
    #[serde(default, skip_serializing_if = "is_zero")]
    clock_ahead: i64,
    code: String,
    text: String,
}

impl Content {
    /// Writes a note.
    pub(super) fn write(saved: &Saved) -> Result<Self, String> {
        let written = Written {
            version: VERSION,
            host: saved.host.to_string(),
            order: saved.order.as_ref().map(|(note, _)| WrittenOrder::from(note)),
            failures: saved.failures.as_ref().map(WrittenFailures::from),
            given_up: saved.given_up.as_ref().map(WrittenGivenUp::from),
            setup: saved.setup.map(|setup| format!("{setup:016x}")),
        };
        let json = serde_json::to_string(&written).map_err(|error| error.to_string())?;
        Ok(Self {
            json,
            key: saved.order.as_ref().map(|(_, key)| key.clone()),
        })
    }

    /// Reads a note.
    pub(super) fn read(&self) -> Result<Saved, String> {
        let AnyVersion { version } = serde_json::from_str(&self.json).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!(
                "it is of version {version}, and this program knows version {VERSION}"
            ));
        }
        let written: Written = serde_json::from_str(&self.json).map_err(|error| error.to_string())?;
        let host = written
            .host
            .parse()
            .map_err(|error| format!("its host is {:?}: {error}", written.host))?;
        let order = match (written.order, &self.key) {
            (None, _) => None,
            (Some(_), None) => return Err("it has an order and no key".to_owned()),
            (Some(order), Some(key)) => {
                let mut values = Vec::new();
                let mut route = None;
                for written in order.values {
                    let (value, way) = written.read(&host)?;
                    values.push(value);
                    route = way;
                }
                let note = Note {
                    host: Clone::clone(&host),
                    order_url: order.url,
                    directory: order.ca,
                    values,
                    route,
                    replaces: order.replaces.as_deref().map(certificate).transpose()?,
                    created: time(&order.created)?,
                    expires: order.expires.as_deref().map(time).transpose()?,
                };
                Some((note, key.clone()))
            }
        };
        let failures = written.failures.map(WrittenFailures::read).transpose()?;
        let given_up = written.given_up.map(WrittenGivenUp::read).transpose()?;
        // One that another hand has changed is none that we know.
        let setup = written.setup.as_deref();
        let setup = setup.and_then(|setup| u64::from_str_radix(setup, 16).ok());
        Ok(Saved {
            host,
            order,
            failures,
            given_up,
            setup,
        })
    }

    /// Takes a note out of its Secret.
    pub(super) fn of(secret: &Secret) -> Result<Self, String> {
        if value(secret.metadata.labels.as_ref(), KIND) != Some(NOTE) {
            return Err(format!("it lacks the label {KIND}={NOTE}"));
        }
        let entry = |key: &str| secret.data.as_ref()?.get(key).map(|bytes| bytes.0.clone());
        let json = entry(JSON).ok_or_else(|| format!("it has no entry `{JSON}`"))?;
        let json = String::from_utf8(json).map_err(|_| format!("its entry `{JSON}` is not UTF-8"))?;
        Ok(Self {
            json,
            key: entry(KEY).map(Sealed::new),
        })
    }

    /// Puts a note into a Secret; `version` is what must be there, `None` for nothing.
    pub(super) fn secret(&self, name: &str, namespace: &str, version: Option<String>) -> Secret {
        let mut data = BTreeMap::from([(JSON.to_owned(), ByteString(self.json.clone().into_bytes()))]);
        if let Some(key) = &self.key {
            data.insert(KEY.to_owned(), ByteString(key.open().to_vec()));
        }
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                resource_version: version,
                labels: Some([(KIND.to_owned(), NOTE.to_owned())].into()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(data),
            ..Secret::default()
        }
    }

    /// Stands for the content, its key included, without showing it.
    pub(super) fn fingerprint(&self) -> String {
        let key = self.key.as_ref().map(Sealed::open).unwrap_or_default();
        let digest = Sha256::new()
            .chain_update(&self.json)
            .chain_update([0])
            .chain_update(key)
            .finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl From<&Note> for WrittenOrder {
    fn from(note: &Note) -> Self {
        let values = note.values.iter().map(|value| WrittenValue {
            record: note.record(value).to_string(),
            value: value.value.clone(),
            zone: note.route.as_ref().map(|route| route.zone.to_string()),
            delegated: note
                .route
                .as_ref()
                .is_some_and(|route| route.way == Way::Delegated),
        });
        Self {
            url: note.order_url.clone(),
            ca: note.directory.clone(),
            values: values.collect(),
            replaces: note.replaces.as_ref().map(|id| id.as_str().to_owned()),
            created: note.created.to_string(),
            expires: note.expires.map(|at| at.to_string()),
        }
    }
}

impl WrittenValue {
    fn read(self, host: &Hostname) -> Result<(ChallengeValue, Option<Route>), String> {
        let record = RecordName::parse(&self.record);
        let record = record.map_err(|error| format!("its record name is {:?}: {error}", self.record))?;
        let Some(zone) = self.zone else {
            let value = self.value;
            return Ok((ChallengeValue { record, value }, None));
        };
        let zone =
            DnsName::parse_zone(&zone).map_err(|error| format!("its record's zone is {zone:?}: {error}"))?;
        let way = if self.delegated {
            Way::Delegated
        } else {
            Way::Direct
        };
        let value = ChallengeValue {
            record: host.challenge_record(),
            value: self.value,
        };
        Ok((value, Some(Route { zone, record, way })))
    }
}

impl From<&Failures> for WrittenFailures {
    fn from(failures: &Failures) -> Self {
        Self {
            count: failures.count,
            last: failures.last.to_string(),
            clock_ahead: failures.clock_ahead.as_secs(),
            code: failures.code.clone(),
            text: failures.text.clone(),
            not_before: failures.not_before.map(|at| at.to_string()),
            parked: failures.parked,
            refused_by: failures.refused_by.clone(),
        }
    }
}

impl WrittenFailures {
    fn read(self) -> Result<Failures, String> {
        Ok(Failures {
            count: self.count,
            last: time(&self.last)?,
            clock_ahead: SignedDuration::from_secs(self.clock_ahead),
            code: self.code,
            text: self.text,
            not_before: self.not_before.as_deref().map(time).transpose()?,
            parked: self.parked,
            refused_by: self.refused_by,
        })
    }
}

impl From<&GivenUp> for WrittenGivenUp {
    fn from(given_up: &GivenUp) -> Self {
        Self {
            count: given_up.count,
            last: given_up.last.to_string(),
            not_before: given_up.not_before.map(|at| at.to_string()),
            clock_ahead: given_up.clock_ahead.as_secs(),
            code: given_up.code.clone(),
            text: given_up.text.clone(),
        }
    }
}

impl WrittenGivenUp {
    fn read(self) -> Result<GivenUp, String> {
        Ok(GivenUp {
            count: self.count,
            last: time(&self.last)?,
            not_before: self.not_before.as_deref().map(time).transpose()?,
            clock_ahead: SignedDuration::from_secs(self.clock_ahead),
            code: self.code,
            text: self.text,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn certificate(text: &str) -> Result<CertificateId, String> {
    CertificateId::parse(text).map_err(|error| format!("it replaces {text:?}: {error}"))
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("{text:?} is not a time"))
}

#[cfg(test)]
mod tests;

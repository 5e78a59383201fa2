//! Events on the Ingresses that ask.
//!
//! An Event's name follows from what it says to whom, so that saying it again, after a restart or from another replica,
//! makes no second object. Events are a courtesy: nothing waits for them, and where they are forbidden nothing else
//! stops.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::schedule;
use faythe_core::verdict::{Announcement, Severity};
use faythe_core::want::Asker;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, PostParams};
use thiserror::Error;

use crate::cluster::{Fault, MANAGER, short_hash, words};

/// The longest message (events.k8s.io/v1, field `note`).
const LONGEST: usize = 1024;
/// For how long nothing is tried where Events are forbidden. Not for ever: an API server that has just started forbids
/// what it permits a moment later, and operators grant what was lacking.
const FORBIDDEN: Duration = Duration::from_secs(600);

/// Writes Events.
pub struct Events {
    client: Client,
    /// When they were forbidden last; `None` when they are permitted for all that is known.
    forbidden: Mutex<Option<Timestamp>>,
}

/// Why there is no Event.
#[derive(Debug, Error)]
#[error("the Event {reason} on Ingress {asker} was not written: {}", words(.source))]
pub struct EventError {
    asker: Asker,
    reason: String,
    source: kube::Error,
}

impl Events {
    /// Makes a writer; asks nobody.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            forbidden: Mutex::default(),
        }
    }

    /// Says something about an Ingress, once for each of its keys; of the text, the first
    /// 1,024 bytes count.
    ///
    /// # Errors
    /// The request failed. That it is forbidden is no error: it is logged once, and nothing is tried for ten minutes.
    pub async fn publish(
        &self,
        asker: &Asker,
        announcement: &Announcement,
        now: Timestamp,
    ) -> Result<(), EventError> {
        let forbidden = *self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        if forbidden.is_some_and(|at| (at..schedule::after(at, FORBIDDEN)).contains(&now)) {
            return Ok(());
        }
        let event = event(asker, announcement, now);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let created = Api::<Event>::namespaced(self.client.clone(), &asker.namespace)
            .create(&params, &event)
            .await;
        let mut forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(error) = created else {
            *forbidden = None;
            return Ok(());
        };
        match Fault::of(&error) {
            Fault::Exists => Ok(()),
            Fault::Forbidden => {
                if forbidden.replace(now).is_none() {
                    tracing::warn!(
                        error = words(&error),
                        "not permitted to write Events; going on without them, and trying again every ten minutes"
                    );
                }
                Ok(())
            }
            Fault::Conflict
            | Fault::Gone
            | Fault::Missing
            | Fault::Refused(_)
            | Fault::TooMany(_)
            | Fault::Unavailable(_) => Err(EventError {
                asker: asker.clone(),
                reason: announcement.reason.to_owned(),
                source: error,
            }),
        }
    }
}

fn event(asker: &Asker, announcement: &Announcement, now: Timestamp) -> Event {
    let Announcement {
        severity,
        reason,
        text,
        key,
    } = announcement;
    Event {
        metadata: ObjectMeta {
            name: Some(name(asker, key)),
            namespace: Some(asker.namespace.to_string()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some("Ingress".to_owned()),
            namespace: Some(asker.namespace.to_string()),
            name: Some(asker.name.to_string()),
            uid: Some(asker.uid.to_string()),
            ..ObjectReference::default()
        },
        type_: Some(match severity {
            Severity::Normal => "Normal".to_owned(),
            Severity::Warning => "Warning".to_owned(),
        }),
        reason: Some((*reason).to_owned()),
        message: Some(shorten(text)),
        source: Some(EventSource {
            component: Some(MANAGER.to_owned()),
            host: None,
        }),
        reporting_component: Some(MANAGER.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}

/// The same for the same Ingress and key, and another for any other.
fn name(asker: &Asker, key: &str) -> String {
    format!("faythe-{}", short_hash(&[&asker.uid, key]))
}

fn shorten(message: &str) -> String {
    const MORE: char = '…';
    if message.len() <= LONGEST {
        return message.to_owned();
    }
    let mut kept = message[..message.floor_char_boundary(LONGEST - MORE.len_utf8())].to_owned();
    kept.push(MORE);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(uid: &str) -> Asker {
        Asker {
            namespace: "n".into(),
            name: "a".into(),
            uid: uid.into(),
        }
    }

    #[test]
    fn the_name_follows_from_ingress_and_key() {
        let first = name(&asker("u"), "k");
        assert_eq!(first, name(&asker("u"), "k"));
        assert_ne!(first, name(&asker("u"), "l"));
        assert_ne!(first, name(&asker("v"), "k"));
        assert_ne!(name(&asker("u"), "vk"), name(&asker("uv"), "k"));
        assert_eq!(first.len(), "faythe-".len() + 32);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(shorten(&"a".repeat(1024)), "a".repeat(1024));
        let cut = shorten(&"ä".repeat(600));
        assert!(cut.len() <= 1024, "{}", cut.len());
        assert!(cut.ends_with("ä…"));
    }
}

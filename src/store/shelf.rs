//! Secrets of our own that hold packed data and no certificate: the ledger of a CA, and the windows of renewals.
//!
//! Every write names the `resourceVersion` that was seen, so that of two instances one notices the other. What the bytes
//! mean is the business of who packs them. What does not fit into one Secret goes into further ones: the first is written
//! last and says how many there are, so that it alone decides.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;

use super::StoreError;
use super::fault::Named;
use super::notes::KIND;
use crate::cluster::{Fault, MANAGER};

/// So many Secrets at most are read of what does not fit into one, whatever the first says: a hundred MiB.
pub(super) const MOST: usize = 100;

/// The Secrets of one kind in a namespace.
pub(super) struct Shelf {
    api: Api<Secret>,
    namespace: Box<str>,
    /// The value of the label [`KIND`].
    kind: &'static str,
    /// The `resourceVersion` of each Secret as we left it.
    known: Mutex<BTreeMap<String, String>>,
}

impl Shelf {
    pub(super) fn new(api: Api<Secret>, namespace: Box<str>, kind: &'static str) -> Self {
        Self {
            api,
            namespace,
            kind,
            known: Mutex::default(),
        }
    }

    /// Reads one; `None` where there is none.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        let found = self.api.get_opt(name).await;
        let found = found.map_err(|error| self.named(name).failed("get", error))?;
        let version = found
            .as_ref()
            .and_then(|secret| secret.metadata.resource_version.clone());
        self.remember(name, version);
        Ok(found)
    }

    /// Writes one in place of what was read or written before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has written it meanwhile.
    pub(super) async fn put(&self, name: &str, data: BTreeMap<String, ByteString>) -> Result<(), StoreError> {
        let version = self.version(name);
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some([(KIND.to_owned(), self.kind.to_owned())].into()),
                resource_version: version.clone(),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(data),
            ..Secret::default()
        };
        let (verb, written) = match version {
            Some(_) => ("update", self.api.replace(name, &params, &secret).await),
            None => ("create", self.api.create(&params, &secret).await),
        };
        match written {
            Ok(written) => {
                self.remember(name, written.metadata.resource_version);
                Ok(())
            }
            Err(error) => {
                // Somebody has deleted it: the next try makes it anew.
                if Fault::of(&error) == Fault::Missing {
                    self.remember(name, None);
                }
                Err(self.named(name).failed(verb, error))
            }
        }
    }

    /// Writes a further one. One that is left from when there was more to be saved is not read, as the first does not
    /// count it any more, and is written over.
    pub(super) async fn put_further(
        &self,
        name: &str,
        data: BTreeMap<String, ByteString>,
    ) -> Result<(), StoreError> {
        if self.version(name).is_none() {
            self.get(name).await?;
        }
        let written = self.put(name, data).await;
        if matches!(written, Err(StoreError::Conflict { .. })) {
            self.remember(name, None);
        }
        written
    }

    fn version(&self, name: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned()
    }

    fn remember(&self, name: &str, version: Option<String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match version {
            Some(version) => known.insert(name.to_owned(), version),
            None => known.remove(name),
        };
    }

    /// How one is called in messages.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> Named<'a> {
        Named {
            namespace: &self.namespace,
            name: Some(name),
        }
    }
}

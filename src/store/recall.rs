//! What is asked by hand about a stored certificate, in annotations of its Secret: to be replaced, and to be revoked then.
//!
//! The certificate that is to be revoked stands in full beside the one that takes its place, so that whoever is stopped
//! between the two steps can go on. Who replaces it is the running Faythe, as its watch tells it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::StoreError;
use super::fault::Named;
use super::place::{Layout, MADE_BY, RENEW, REVOKE, REVOKE_AT, value};
use super::secrets::{CERT, held};
use crate::cluster::Client;
use crate::x509;

/// Apart from the daemon's, so that it leaves these annotations alone.
const FIELD_MANAGER: &str = "faythe-recall";

/// The certificates in a namespace.
pub(crate) struct Recalls {
    api: Api<Secret>,
    layout: Layout,
}

/// A stored certificate, and what has been asked about it.
#[derive(Debug)]
pub(crate) struct Recall {
    /// The Secret and what is known of it.
    pub(crate) held: Held,
    /// The certificate.
    pub(crate) made: Made,
    /// The one that is to be revoked once another has taken its place.
    pub(crate) revoke: Option<Made>,
}

/// A certificate, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// DER.
    pub(crate) leaf: Vec<u8>,
    /// The CA's directory, where that is known.
    pub(crate) by: Option<String>,
}

impl Recalls {
    pub(crate) fn new(client: &Client, layout: Layout) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &layout.namespace),
            layout,
        }
    }

    /// Reads the certificate of `host`; `None` where there is none of ours.
    pub(crate) async fn read(&self, host: &Hostname) -> Result<Option<Recall>, StoreError> {
        let Ok(place) = self.layout.place(host) else {
            return Ok(None);
        };
        let found = self.api.get_opt(&place.name).await;
        let found = found.map_err(|error| self.named(&place.name).failed("get", error))?;
        let ours = |secret: &Secret| self.layout.host_of(&secret.metadata).as_ref() == Some(host);
        let Some(secret) = found.filter(ours) else {
            return Ok(None);
        };
        let chain = secret.data.as_ref().and_then(|data| data.get(CERT));
        let leaf = chain.and_then(|chain| x509::leaf(&chain.0));
        let leaf = leaf.ok_or_else(|| self.named(&place.name).unreadable("it holds no certificate"))?;
        let said = |key| value(secret.metadata.annotations.as_ref(), key);
        let by = |key| said(key).map(str::to_owned);
        let doomed = said(REVOKE).and_then(|text| STANDARD.decode(text).ok());
        Ok(Some(Recall {
            made: Made {
                leaf,
                by: by(MADE_BY),
            },
            revoke: doomed.map(|leaf| Made {
                leaf,
                by: by(REVOKE_AT),
            }),
            held: held(&secret),
        }))
    }

    /// Asks for the certificate to be replaced, and remembers whether it is to be revoked then.
    pub(crate) async fn ask(&self, recall: &Recall, serial: &str, revoke: bool) -> Result<(), StoreError> {
        let mut annotations = json!({ RENEW: serial });
        if revoke {
            annotations[REVOKE] = STANDARD.encode(&recall.made.leaf).into();
            annotations[REVOKE_AT] = recall.made.by.clone().into();
        }
        self.annotate(recall, &annotations).await
    }

    /// Nothing is asked any more.
    pub(crate) async fn settle(&self, recall: &Recall) -> Result<(), StoreError> {
        self.annotate(recall, &json!({ RENEW: null, REVOKE: null, REVOKE_AT: null }))
            .await
    }

    /// # Errors
    /// [`StoreError::Conflict`] when the Secret has changed since it was read.
    async fn annotate(&self, recall: &Recall, annotations: &Value) -> Result<(), StoreError> {
        let name = &*recall.held.secret;
        let metadata = json!({ "annotations": annotations, "resourceVersion": recall.held.version });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let patched = self.api.patch(name, &params, &patch).await;
        patched.map_err(|error| self.named(name).failed("patch", error))?;
        Ok(())
    }

    fn named<'a>(&'a self, name: &'a str) -> Named<'a> {
        Named {
            namespace: &self.layout.namespace,
            name: Some(name),
        }
    }
}

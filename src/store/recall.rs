//! What is asked by hand about a stored certificate, in annotations of its Secret: to be replaced, and to be revoked then.
//! Where none is stored, the note of what has failed takes the annotation, and a label by which the running Faythe finds it;
//! whatever that writes there next is without them.
//!
//! The certificate that is to be revoked stands in full beside the one that takes its place, so that whoever is stopped
//! between the two steps can go on. Who replaces it is the running Faythe, as its watch tells it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;
use faythe_core::schedule::Demand;
use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::StoreError;
use super::fault::Named;
use super::notes::{KIND, NOTE, host_of, note_name};
use super::place::{Layout, MADE_BY, RENEW, REVOKE, REVOKE_AT, value};
use super::secrets::{CERT, held};
use super::wish::Wish;
use crate::cluster::{Client, Fault};
use crate::watch::{News, Scope, follow};
use crate::x509;

/// Apart from the daemon's, so that it leaves these annotations alone.
const FIELD_MANAGER: &str = "faythe-recall";

/// Notes in one answer; as a rule there is none.
const PAGE: u32 = 100;

/// What is asked for by hand where no certificate is held.
pub type SeenDemands = Vec<(Hostname, Demand)>;

/// Follows the notes by which somebody asks for certificates; the stream never ends.
///
/// `relist` is the time between two lists where watching is forbidden.
pub fn follow_demands(
    client: &Client,
    namespace: &str,
    relist: Duration,
) -> impl Stream<Item = SeenDemands> + Send + 'static {
    let scope = Scope {
        what: "demands",
        selector: Some(format!("{KIND}={NOTE},{RENEW}")),
        page: PAGE,
        relist,
    };
    let demanded = |note: Secret| {
        let text = value(note.metadata.annotations.as_ref(), RENEW)?;
        Some((host_of(&note)?, Wish::read(text)?.demand))
    };
    follow(Api::namespaced(client.clone(), namespace), scope, demanded).map(|news| match news {
        News::All(all) => all.into_iter().flatten().collect(),
        News::Changed(demanded) => demanded.into_iter().collect(),
        // What was asked for is remembered.
        News::Gone { .. } | News::Listing => Vec::new(),
    })
}

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

    /// Where the certificate of `host` goes, for people.
    pub(crate) fn place(&self, host: &Hostname) -> String {
        let name = self.layout.place(host).map(|place| place.name);
        let named = Named {
            namespace: &self.layout.namespace,
            name: name.as_deref().ok(),
        };
        named.to_string()
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
    pub(crate) async fn ask(
        &self,
        recall: &Recall,
        serial: String,
        demand: Demand,
        revoke: bool,
    ) -> Result<(), StoreError> {
        let serial = Some(serial);
        let mut annotations = json!({ RENEW: Wish { serial, demand }.write() });
        if revoke {
            annotations[REVOKE] = STANDARD.encode(&recall.made.leaf).into();
            annotations[REVOKE_AT] = recall.made.by.clone().into();
        }
        self.annotate(recall, &annotations).await
    }

    /// Asks for a certificate of a host for which none is stored, by the note of what has failed; false where there is none.
    pub(crate) async fn ask_by_note(&self, host: &Hostname, demand: Demand) -> Result<bool, StoreError> {
        let name = note_name(host);
        let wish = Wish { serial: None, demand };
        let metadata = json!({ "labels": { RENEW: "asked" }, "annotations": { RENEW: wish.write() } });
        let patched = self.patch(&name, metadata).await;
        match patched.map_err(|error| (Fault::of(&error), error)) {
            Ok(_) => Ok(true),
            Err((Fault::Missing, _)) => Ok(false),
            Err((_, error)) => Err(self.named(&name).failed("patch", error)),
        }
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
        let patched = self.patch(name, metadata).await;
        patched.map_err(|error| self.named(name).failed("patch", error))?;
        Ok(())
    }

    async fn patch(&self, name: &str, metadata: Value) -> kube::Result<Secret> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        self.api.patch(name, &params, &patch).await
    }

    fn named<'a>(&'a self, name: &'a str) -> Named<'a> {
        Named {
            namespace: &self.layout.namespace,
            name: Some(name),
        }
    }
}

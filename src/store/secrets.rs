//! Certificates as Secrets (S04, S05, S12): what is held, whose it is, and writing it.
//!
//! Of a Secret only facts are kept, never PEM and never a key. Nothing is written that does not carry our label, and a
//! certificate costs one write: a creation, or a server-side apply guarded by the `resourceVersion` that was seen.
//!
//! Known deviation: an apply to a Secret that has been deleted since it was seen creates it (the API server has nothing
//! to compare the version with). That is what the next look would lead to as well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faythe_core::budget::Record;
use faythe_core::cas::CaKey;
use faythe_core::cert::{Held, Origin};
use faythe_core::name::Hostname;
use faythe_core::world::SavedWindow;
use faythe_core::zone::Zones;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{Stream, StreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;

use super::fault::Named;
use super::ledger::Ledgers;
use super::notes::Notes;
use super::place::{EARLY, HOST, ISSUED_AT, Layout, MADE_BY, PROFILE, Place, RENEW, value};
use super::windows::SavedWindows;
use super::wish::Wish;
use super::{Saved, SavedAccount, Slot, Stamp, Store, StoreError};
use crate::cluster::MANAGER;
use crate::sealed::Sealed;
use crate::watch::{News, Scope, follow};
use crate::x509;

/// The entry of the certificate with its chain, and that of its key (S05).
pub(super) const CERT: &str = "cert";
const KEY: &str = "key";
/// Fewer than for other kinds: a Secret with a chain and a key is about 10 KiB in an answer.
const PAGE: u32 = 100;

/// What has been seen of Secrets with the host label.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum SeenSecret {
    /// A list begins: it shows at least all that is known by now.
    Listing,
    /// These are all there are; whatever else was known is gone.
    All(Vec<(Option<Hostname>, Held)>),
    /// One is new or has changed.
    Changed {
        /// Its name.
        secret: Box<str>,
        /// The host that it claims; `None` if its label says nothing that can be understood.
        host: Option<Hostname>,
        /// What it holds.
        held: Held,
    },
    /// One is gone, or has lost its label.
    Gone {
        /// Its name.
        secret: Box<str>,
    },
}

/// Follows the Secrets that carry the host label; the stream never ends.
///
/// `relist` is the time between two lists where watching is forbidden.
pub fn follow_held(
    client: &Client,
    layout: Layout,
    relist: Duration,
) -> impl Stream<Item = SeenSecret> + Send + 'static {
    let api = Api::namespaced(client.clone(), &layout.namespace);
    // A selector of a bare key selects whatever carries it.
    let selector = Some(layout.hostlabel.to_string());
    let scope = Scope {
        what: "Secrets",
        selector,
        page: PAGE,
        relist,
    };
    follow(api, scope, move |secret: Secret| {
        (layout.host_of(&secret.metadata), held(&secret))
    })
    .map(|news| match news {
        News::Listing => SeenSecret::Listing,
        News::All(all) => SeenSecret::All(all),
        News::Changed((host, held)) => SeenSecret::Changed {
            secret: held.secret.clone(),
            host,
            held,
        },
        News::Gone { name, .. } => SeenSecret::Gone { secret: name },
    })
}

/// The store in a namespace of a cluster.
pub struct Secrets {
    api: Api<Secret>,
    layout: Layout,
    notes: Notes,
    ledgers: Ledgers,
    windows: SavedWindows,
}

impl Secrets {
    /// Makes the store; asks nobody.
    #[must_use]
    pub fn new(client: &Client, layout: Layout) -> Self {
        let api = Api::namespaced(client.clone(), &layout.namespace);
        let notes = Notes::new(api.clone(), layout.namespace.clone());
        let ledgers = Ledgers::new(api.clone(), layout.namespace.clone());
        let windows = SavedWindows::new(api.clone(), layout.namespace.clone());
        Self {
            api,
            layout,
            notes,
            ledgers,
            windows,
        }
    }

    async fn look(&self, host: &Hostname) -> Result<Slot, StoreError> {
        let place = match self.layout.place(host) {
            Ok(place) => place,
            Err(why) => return Ok(Slot::Foreign(why)),
        };
        // What is ordered could not be noted, and would keep the room of others meanwhile.
        self.notes.is_free(host).await?;
        let secret = self
            .api
            .get_opt(&place.name)
            .await
            .map_err(|error| self.named(&place).failed("get", error))?;
        Ok(match secret {
            None => Slot::Vacant,
            Some(secret) => match self.foreign(host, &place, &secret.metadata) {
                None => Slot::Ours(held(&secret)),
                Some(why) => Slot::Foreign(format!("{} {why}", self.named(&place))),
            },
        })
    }

    /// Why a Secret at the place of `host` is not ours to write; `None` if it is.
    fn foreign(&self, host: &Hostname, place: &Place, metadata: &ObjectMeta) -> Option<String> {
        let key = &self.layout.hostlabel;
        match value(metadata.labels.as_ref(), key) {
            // A hashed label is this host's even where the annotation has been lost.
            Some(label) if label == place.label || self.layout.host_of(metadata).as_ref() == Some(host) => {
                None
            }
            Some(label) => Some(format!(
                "carries the label {key}={label:?}, which is not that of {host}; correct the label, or rename or delete it"
            )),
            None => Some(format!(
                "lacks the label {key}, so it is somebody else's; rename or delete it, or label it {key}={} to have it \
                 overwritten",
                place.label
            )),
        }
    }

    async fn write(
        &self,
        host: &Hostname,
        slot: &Slot,
        chain: &str,
        key: &Sealed,
        stamp: Stamp<'_>,
    ) -> Result<Held, StoreError> {
        let place = self.layout.place(host).map_err(|reason| StoreError::Refused {
            object: format!("certificate of {host}"),
            reason,
        })?;
        let mut secret = self.desired(host, &place, chain, key);
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.insert(ISSUED_AT.to_owned(), stamp.at.to_string());
        annotations.insert(MADE_BY.to_owned(), stamp.by.to_owned());
        // What another hand has put there, as when restoring it, goes by no apply that does not name it.
        if stamp.early > 0 || matches!(slot, Slot::Ours(held) if held.early() > 0) {
            annotations.insert(EARLY.to_owned(), stamp.early.to_string());
        }
        if stamp.profile.is_some() || matches!(slot, Slot::Ours(held) if held.profile().is_some()) {
            annotations.insert(PROFILE.to_owned(), stamp.profile.unwrap_or_default().to_owned());
        }
        let named = self.named(&place);
        let written = match slot {
            // Without a version to compare, an apply would overwrite whatever is there by now.
            Slot::Ours(held) if *held.secret == *place.name && !held.version.is_empty() => {
                secret.metadata.resource_version = Some(held.version.to_string());
                let params = PatchParams::apply(MANAGER).force();
                let applied = self.api.patch(&place.name, &params, &Patch::Apply(&secret)).await;
                applied.map_err(|error| named.failed("patch", error))?
            }
            Slot::Foreign(_) | Slot::Ours(_) => return Err(named.conflict()),
            Slot::Vacant => {
                secret.type_ = Some("Opaque".to_owned());
                let params = PostParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PostParams::default()
                };
                let created = self.api.create(&params, &secret).await;
                created.map_err(|error| named.failed("create", error))?
            }
        };
        Ok(held(&written))
    }

    /// What we want to stand there; silent about the type, which cannot be changed, and about everybody else's entries.
    fn desired(&self, host: &Hostname, place: &Place, chain: &str, key: &Sealed) -> Secret {
        let entry = |key: &str, value: String| (key.to_owned(), value);
        Secret {
            metadata: ObjectMeta {
                name: Some(place.name.clone()),
                namespace: Some(self.layout.namespace.to_string()),
                labels: Some([entry(&self.layout.hostlabel, place.label.clone())].into()),
                annotations: Some([entry(HOST, host.to_string())].into()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([
                (CERT.to_owned(), ByteString(chain.as_bytes().to_vec())),
                (KEY.to_owned(), ByteString(key.open().to_vec())),
            ])),
            ..Secret::default()
        }
    }

    fn named<'a>(&'a self, place: &'a Place) -> Named<'a> {
        Named {
            namespace: &self.layout.namespace,
            name: Some(&place.name),
        }
    }
}

/// Reduces a Secret to facts.
pub(super) fn held(secret: &Secret) -> Held {
    let metadata = &secret.metadata;
    let entry = |key: &str| secret.data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice());
    let content = x509::facts(entry(CERT), entry(KEY));
    let issued_at = value(metadata.annotations.as_ref(), ISSUED_AT).and_then(|text| text.parse().ok());
    let early = value(metadata.annotations.as_ref(), EARLY);
    let profile = value(metadata.annotations.as_ref(), PROFILE);
    let early = early.and_then(|count| count.parse().ok()).unwrap_or(0);
    let profile = profile.filter(|name| !name.is_empty());
    let wish = value(metadata.annotations.as_ref(), RENEW).and_then(Wish::read);
    let renew = wish
        .filter(|wish| wish.concerns(content.as_ref().ok(), issued_at))
        .map(|wish| Box::new(wish.demand));
    Held {
        secret: metadata.name.as_deref().unwrap_or_default().into(),
        version: metadata.resource_version.as_deref().unwrap_or_default().into(),
        content,
        issued_at,
        renew,
        made_by: value(metadata.annotations.as_ref(), MADE_BY).map(CaKey::of),
        origin: Origin::of(early, profile),
    }
}

impl Store for Secrets {
    fn slot<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<Slot, StoreError>> {
        self.look(host).boxed()
    }

    fn keep<'a>(
        &'a self,
        host: &'a Hostname,
        slot: &'a Slot,
        chain: &'a str,
        key: &'a Sealed,
        stamp: Stamp<'a>,
    ) -> BoxFuture<'a, Result<Held, StoreError>> {
        self.write(host, slot, chain, key, stamp).boxed()
    }

    fn notes(&self) -> BoxFuture<'_, Result<Vec<Saved>, StoreError>> {
        self.notes.all().boxed()
    }

    fn strays<'a>(&'a self, zones: &'a Zones) -> BoxFuture<'a, Result<BTreeSet<String>, StoreError>> {
        self.notes.strays(zones).boxed()
    }

    fn note<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<Option<Saved>, StoreError>> {
        self.notes.one(host).boxed()
    }

    fn save<'a>(&'a self, saved: &'a Saved) -> BoxFuture<'a, Result<(), StoreError>> {
        self.notes.save(saved).boxed()
    }

    fn forget<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<(), StoreError>> {
        self.notes.forget(host).boxed()
    }

    fn ledger<'a>(&'a self, directory: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.ledgers.read(directory).boxed()
    }

    fn save_ledger<'a>(
        &'a self,
        directory: &'a str,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.ledgers.save(directory, record).boxed()
    }

    fn windows(&self) -> BoxFuture<'_, Result<Vec<SavedWindow>, StoreError>> {
        self.windows.read().boxed()
    }

    fn save_windows<'a>(&'a self, windows: &'a [SavedWindow]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.windows.save(windows).boxed()
    }

    fn account<'a>(&'a self, directory: &'a str) -> BoxFuture<'a, Result<Option<SavedAccount>, StoreError>> {
        self.notes.account(directory).boxed()
    }

    fn save_account<'a>(&'a self, account: &'a SavedAccount) -> BoxFuture<'a, Result<(), StoreError>> {
        self.notes.save_account(account).boxed()
    }

    fn replace_account<'a>(
        &'a self,
        before: &'a SavedAccount,
        after: &'a SavedAccount,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.notes.replace_account(before, after).boxed()
    }
}

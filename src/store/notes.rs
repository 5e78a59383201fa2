//! Notes of orders and failures, each a Secret of its own (design: orders that survive a crash).
//!
//! A note's name follows from its host, so that creating it is also what keeps two instances from working on one host.
//! Every write is guarded: a creation fails where something is, and a change or removal names the `resourceVersion` that
//! we left there. A write without an answer may have happened, and a tool of somebody else's may put its mark on every
//! Secret: what is found afterwards is known again by its content.
//!
//! Calls for different hosts may run side by side; those for one host must come one after another.

mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use faythe_core::name::Hostname;
use faythe_core::zone::Zones;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, ObjectList, PostParams, Preconditions};

use super::account;
use super::fault::Named;
use super::{Saved, SavedAccount, StoreError};
use crate::cluster::{Fault, MANAGER, short_hash};
use saved::Content;

/// The label that tells notes and accounts from everything else, and its value for notes.
pub(super) const KIND: &str = "faythe/kind";
pub(super) const NOTE: &str = "note";
/// Notes in one answer of a list.
const PAGE: u32 = 100;
/// Each try is made with what the last one has taught; more than two lessons means that somebody else is at it too.
const TRIES: u32 = 3;

/// Notes, and the accounts that stand beside them.
pub(super) struct Notes {
    api: Api<Secret>,
    namespace: Box<str>,
    known: Mutex<BTreeMap<Hostname, Known>>,
    /// The names of those that could not be read, or are of another Faythe.
    others: Mutex<BTreeSet<String>>,
}

/// What we know of the note that we left for a host.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Its `resourceVersion`; `None` while there should be none.
    version: Option<String>,
    /// The fingerprint of what we last read or wrote there.
    last: Option<String>,
    /// Something else has been found there since, so it is to be read anew.
    lost: bool,
    /// Fingerprints of what we tried to write since then without being told how that went.
    doubts: Vec<String>,
}

/// The host that a note is about.
pub(super) fn host_of(note: &Secret) -> Option<Hostname> {
    let saved = Content::of(note).ok()?.read().ok()?;
    Some(saved.host)
}

/// What stands where a note is to go.
enum There {
    Nothing,
    Ours { version: String, content: Content },
    Theirs(StoreError),
}

/// Reads a note for fuzz tests. What is read can be written and read again, and from then on stays the same; the first
/// reading may differ, as it mends what an older or another hand has written.
pub(super) fn try_note(secret: &Secret) {
    let again = |saved: &Saved| Content::write(saved).and_then(|content| content.read());
    if let Ok(saved) = Content::of(secret).and_then(|content| content.read()) {
        let mended = again(&saved);
        assert!(
            mended.is_ok(),
            "a note that was read cannot be written and read again"
        );
        if let Ok(mended) = mended {
            assert!(
                again(&mended).as_ref() == Ok(&mended),
                "a note changes each time it is written"
            );
        }
    }
}

impl Notes {
    pub(super) fn new(api: Api<Secret>, namespace: Box<str>) -> Self {
        Self {
            api,
            namespace,
            known: Mutex::default(),
            others: Mutex::default(),
        }
    }

    /// Reads all notes, and remembers their versions.
    pub(super) async fn all(&self) -> Result<Vec<Saved>, StoreError> {
        let list = |params| {
            let api = self.api.clone();
            async move { api.list(&params).await }.boxed()
        };
        let secrets = self.listed(list).await?;
        let mut unreadable = BTreeSet::new();
        let mut all = Vec::new();
        for secret in secrets {
            match self.take(&secret) {
                Some(saved) => all.push(saved),
                None => unreadable.extend(secret.metadata.name),
            }
        }
        // What we once had there is no business of ours any more.
        self.lock()
            .retain(|host, known| !known.lost || !unreadable.contains(&note_name(host)));
        *self.others() = unreadable;
        Ok(all)
    }

    /// The names of notes that are there for hosts in these zones, and that have neither been read nor written here, or not
    /// as they are now. Whose another one is does not change, so each is read once.
    pub(super) async fn strays(&self, zones: &Zones) -> Result<BTreeSet<String>, StoreError> {
        let list = |params| {
            let api = self.api.clone();
            async move { api.list_metadata(&params).await }.boxed()
        };
        let heads = self.listed(list).await?;
        let mut names: BTreeSet<String> = heads.into_iter().filter_map(|head| head.metadata.name).collect();
        self.others().retain(|other| names.remove(other));
        for (host, known) in &*self.lock() {
            if !known.lost && (known.version.is_some() || !known.doubts.is_empty()) {
                names.remove(&note_name(host));
            }
        }
        let mut strays = BTreeSet::new();
        for name in names {
            let note = self.api.get_opt(&name).await;
            let Some(note) = note.map_err(|error| self.named(&name).failed("get", error))? else {
                continue;
            };
            if host_of(&note).is_none_or(|host| zones.of(host.base()).is_some()) {
                strays.insert(name);
            } else {
                self.others().insert(name);
            }
        }
        Ok(strays)
    }

    /// Lists all notes, page by page.
    async fn listed<T: Clone>(
        &self,
        list: impl Fn(ListParams) -> BoxFuture<'static, kube::Result<ObjectList<T>>>,
    ) -> Result<Vec<T>, StoreError> {
        let mut params = ListParams::default()
            .labels(&format!("{KIND}={NOTE}"))
            .limit(PAGE);
        let mut all = Vec::new();
        loop {
            let named = Named {
                namespace: &self.namespace,
                name: None,
            };
            let page = list(params.clone())
                .await
                .map_err(|error| named.failed("list", error))?;
            all.extend(page.items);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(all);
            }
        }
    }

    /// Reads the note of one host, whoever has written it, and remembers its version.
    pub(super) async fn one(&self, host: &Hostname) -> Result<Option<Saved>, StoreError> {
        let name = note_name(host);
        let found = self.api.get_opt(&name).await;
        let secret = found.map_err(|error| self.named(&name).failed("get", error))?;
        if secret.is_none() {
            self.missed(host);
        }
        Ok(secret.and_then(|secret| self.take(&secret)))
    }

    /// Makes sure that an order for the host can be noted: a note that could not be read is never written over.
    pub(super) async fn is_free(&self, host: &Hostname) -> Result<(), StoreError> {
        let name = note_name(host);
        if !self.others().contains(&name) {
            return Ok(());
        }
        let named = self.named(&name);
        let found = self.api.get_opt(&name).await;
        if let Some(note) = found.map_err(|error| named.failed("get", error))? {
            let read = Content::of(&note).and_then(|content| content.read());
            read.map_err(|what| named.unreadable(what))?;
        }
        self.others().remove(&name);
        Ok(())
    }

    /// Takes in one note; an unreadable one is nobody's fault but its own.
    fn take(&self, secret: &Secret) -> Option<Saved> {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let read = Content::of(secret).and_then(|content| {
            let saved = content.read()?;
            if note_name(&saved.host) == name {
                Ok((saved, content.fingerprint()))
            } else {
                Err(format!("it is not where a note of {} goes", saved.host))
            }
        });
        match read {
            Ok((saved, fingerprint)) => {
                let known = Known {
                    version: secret.metadata.resource_version.clone(),
                    last: Some(fingerprint),
                    ..Known::default()
                };
                self.lock().insert(saved.host.clone(), known);
                Some(saved)
            }
            Err(what) => {
                tracing::warn!(
                    namespace = &*self.namespace,
                    secret = name,
                    what,
                    "a note cannot be read and is left out; delete it to start afresh"
                );
                None
            }
        }
    }

    /// Writes what is known of a host in place of what we wrote before.
    pub(super) async fn save(&self, saved: &Saved) -> Result<(), StoreError> {
        let host = &saved.host;
        let name = note_name(host);
        let named = self.named(&name);
        let content = Content::write(saved).map_err(|what| named.unreadable(what))?;
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        for _ in 0..TRIES {
            let known = self.recall(host).unwrap_or_default();
            let secret = content.secret(&name, &self.namespace, known.version.clone());
            let (verb, result) = match known.version {
                None => ("create", self.api.create(&params, &secret).await),
                Some(_) => ("update", self.api.replace(&name, &params, &secret).await),
            };
            let error = match result {
                Ok(written) => {
                    self.remember(host, written.metadata.resource_version, &content);
                    return Ok(());
                }
                Err(error) => error,
            };
            match Fault::of(&error) {
                Fault::Conflict | Fault::Exists => match self.there(host, &name, Some(&content)).await? {
                    There::Ours {
                        version,
                        content: found,
                    } => {
                        self.remember(host, Some(version), &found);
                        if found == content {
                            return Ok(());
                        }
                    }
                    There::Theirs(error) => return Err(error),
                    There::Nothing => self.missed(host),
                },
                // Somebody has deleted it; what we know is true all the same.
                Fault::Missing if verb == "update" => self.missed(host),
                Fault::Unavailable(_) => {
                    self.doubt(host, content.fingerprint());
                    return Err(named.failed(verb, error));
                }
                Fault::Forbidden | Fault::Gone | Fault::Missing | Fault::Refused(_) | Fault::TooMany(_) => {
                    return Err(named.failed(verb, error));
                }
            }
        }
        Err(named.conflict())
    }

    /// Removes what we wrote of a host.
    pub(super) async fn forget(&self, host: &Hostname) -> Result<(), StoreError> {
        let name = note_name(host);
        for _ in 0..TRIES {
            let Some(known) = self.recall(host) else {
                return Ok(());
            };
            let Some(version) = known.version else {
                match self.there(host, &name, None).await? {
                    There::Ours { version, content } => {
                        self.remember(host, Some(version), &content);
                        continue;
                    }
                    // What we tried to write is not there, so nothing of ours is.
                    There::Nothing | There::Theirs(_) => {
                        self.lock().remove(host);
                        return Ok(());
                    }
                }
            };
            let unchanged = Preconditions {
                resource_version: Some(version),
                uid: None,
            };
            let params = DeleteParams::default().preconditions(unchanged);
            let Err(error) = self.api.delete(&name, &params).await else {
                self.lock().remove(host);
                return Ok(());
            };
            match Fault::of(&error) {
                Fault::Conflict => match self.there(host, &name, None).await? {
                    There::Ours { version, content } => self.remember(host, Some(version), &content),
                    There::Theirs(error) => return Err(error),
                    There::Nothing => {
                        self.lock().remove(host);
                        return Ok(());
                    }
                },
                Fault::Missing => {
                    self.lock().remove(host);
                    return Ok(());
                }
                Fault::Exists
                | Fault::Forbidden
                | Fault::Gone
                | Fault::Refused(_)
                | Fault::TooMany(_)
                | Fault::Unavailable(_) => return Err(self.named(&name).failed("delete", error)),
            }
        }
        Err(self.named(&name).conflict())
    }

    pub(super) async fn account(&self, directory: &str) -> Result<Option<SavedAccount>, StoreError> {
        account::read(&self.api, &self.namespace, directory).await
    }

    pub(super) async fn save_account(&self, account: &SavedAccount) -> Result<(), StoreError> {
        account::save(&self.api, &self.namespace, account).await
    }

    pub(super) async fn replace_account(
        &self,
        before: &SavedAccount,
        after: &SavedAccount,
    ) -> Result<(), StoreError> {
        account::replace(&self.api, &self.namespace, before, after).await
    }

    /// Looks whether what stands there is what we wrote or tried to write, now or before, whatever somebody else has done
    /// to its labels and annotations.
    async fn there(&self, host: &Hostname, name: &str, now: Option<&Content>) -> Result<There, StoreError> {
        let named = self.named(name);
        let secret = self
            .api
            .get_opt(name)
            .await
            .map_err(|error| named.failed("get", error))?;
        let Some(secret) = secret else {
            return Ok(There::Nothing);
        };
        let content = match Content::of(&secret) {
            Ok(content) => content,
            Err(what) => {
                self.lose(host);
                self.others().insert(name.to_owned());
                return Ok(There::Theirs(named.unreadable(what)));
            }
        };
        let known = self.recall(host).unwrap_or_default();
        let fingerprint = content.fingerprint();
        if now == Some(&content)
            || known.last.as_ref() == Some(&fingerprint)
            || known.doubts.contains(&fingerprint)
        {
            return Ok(There::Ours {
                version: secret.metadata.resource_version.unwrap_or_default(),
                content,
            });
        }
        self.lose(host);
        Ok(There::Theirs(match content.read() {
            Ok(_) => named.conflict(),
            Err(what) => {
                self.others().insert(name.to_owned());
                named.unreadable(what)
            }
        }))
    }

    fn recall(&self, host: &Hostname) -> Option<Known> {
        self.lock().get(host).cloned()
    }

    fn remember(&self, host: &Hostname, version: Option<String>, content: &Content) {
        let mut known = self.lock();
        let known = known.entry(host.clone()).or_default();
        known.version = version;
        known.last = Some(content.fingerprint());
        known.lost = false;
        // What was in doubt stays so: a write without an answer may still be on its way.
    }

    /// Nothing is there. What we wrote last may come back: somebody restores a backup.
    fn missed(&self, host: &Hostname) {
        let mut known = self.lock();
        let known = known.entry(host.clone()).or_default();
        known.version = None;
        known.lost = false;
    }

    /// Somebody else has written what is there.
    fn lose(&self, host: &Hostname) {
        if let Some(known) = self.lock().get_mut(host) {
            known.lost = true;
        }
    }

    fn doubt(&self, host: &Hostname, fingerprint: String) {
        let mut known = self.lock();
        let doubts = &mut known.entry(host.clone()).or_default().doubts;
        if !doubts.contains(&fingerprint) {
            doubts.push(fingerprint);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hostname, Known>> {
        // No step between two writes to the map can fail, so what a panicking thread left is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named<'a>(&'a self, name: &'a str) -> Named<'a> {
        Named {
            namespace: &self.namespace,
            name: Some(name),
        }
    }
}

/// The name of the note for a host; for a set of hosts, it would be made of all of them.
pub(super) fn note_name(host: &Hostname) -> String {
    format!("faythe-note-{}", short_hash(&[&host.to_string()]))
}

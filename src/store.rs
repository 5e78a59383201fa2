//! The contract with the store: certificates that are held, notes of orders, the account.

use faythe_core::Timestamp;
use faythe_core::budget::Record;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;
use faythe_core::order::Note;
use faythe_core::world::SavedWindow;
use faythe_core::zone::Zones;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::time::Duration;
use thiserror::Error;

use crate::sealed::Sealed;

mod account;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod ledger;
mod notes;
pub mod place;
pub mod recall;
pub mod secrets;
mod shelf;
mod windows;
mod wish;

/// Where certificates, notes and the account are kept.
pub trait Store: Send + Sync {
    /// Looks at the place where the certificate of `host` goes (S12).
    fn slot<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<Slot, StoreError>>;

    /// Writes a certificate and its key to the place of `host`, which must still be as `slot` says; other data, labels
    /// and annotations stay as they are. `chain` is PEM, `key` PKCS#8 PEM. Returns the facts of what is held now.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the place has changed since.
    fn keep<'a>(
        &'a self,
        host: &'a Hostname,
        slot: &'a Slot,
        chain: &'a str,
        key: &'a Sealed,
        stamp: Stamp<'a>,
    ) -> BoxFuture<'a, Result<Held, StoreError>>;

    /// Everything noted about orders and failures; unreadable notes are reported and left out.
    fn notes(&self) -> BoxFuture<'_, Result<Vec<Saved>, StoreError>>;

    /// The names of notes that are there for hosts in these zones, and that have neither been read nor written here.
    fn strays<'a>(&'a self, zones: &'a Zones) -> BoxFuture<'a, Result<BTreeSet<String>, StoreError>>;

    /// Reads anew what is noted of `host`, which another instance may have written; from then on it may be replaced.
    fn note<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<Option<Saved>, StoreError>>;

    /// Saves what is known of `host`'s order and its failures in place of what was saved before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else has saved something for the same host meanwhile.
    fn save<'a>(&'a self, saved: &'a Saved) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes what is saved of `host`; nothing there is no error.
    fn forget<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads what the CA at `directory` has counted.
    fn ledger<'a>(&'a self, directory: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>>;

    /// Saves what the CA at `directory` has counted in place of what was read or saved before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another instance has saved it meanwhile; read that and save again.
    fn save_ledger<'a>(
        &'a self,
        directory: &'a str,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads what CAs have said about renewals.
    fn windows(&self) -> BoxFuture<'_, Result<Vec<SavedWindow>, StoreError>>;

    /// Saves what CAs have said about renewals in place of what was read or saved before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another instance has saved it meanwhile; read that and save again.
    fn save_windows<'a>(&'a self, windows: &'a [SavedWindow]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads the account that belongs to the CA at `directory`.
    fn account<'a>(&'a self, directory: &'a str) -> BoxFuture<'a, Result<Option<SavedAccount>, StoreError>>;

    /// Saves an account; one that is there already is only completed by its URL, its key never replaced.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another key is there; read it and use that.
    fn save_account<'a>(&'a self, account: &'a SavedAccount) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Saves an account with another key, or another account, in place of one that must still be as `before` says.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not.
    fn replace_account<'a>(
        &'a self,
        before: &'a SavedAccount,
        after: &'a SavedAccount,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// What is written beside a certificate that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// When it is stored.
    pub at: Timestamp,
    /// The directory of the CA that made it.
    pub by: &'a str,
    /// How many certificates before it in a row were replaced long before their time, since the CA said so.
    pub early: u32,
    /// The profile that it was ordered with, where that is known.
    pub profile: Option<&'a str>,
}

/// What stands where a certificate is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing.
    Vacant,
    /// A Secret that carries the host label for this host: ours.
    Ours(Held),
    /// A Secret of that name which is somebody else's; with the reason, for people.
    Foreign(String),
}

/// Everything saved about one host: an order under way with its key, what came of those before it, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The host.
    pub host: Hostname,
    /// The order under way and its private key (PKCS#8 PEM).
    pub order: Option<(Note, Sealed)>,
    /// What the CA has seen fail.
    pub failures: Option<faythe_core::schedule::Failures>,
    /// Orders before it that were of no use.
    pub given_up: Option<faythe_core::schedule::GivenUp>,
    /// The configuration by which that was written, as far as it may decide whether a certificate comes about: a hash;
    /// `None` in notes of earlier versions.
    pub setup: Option<u64>,
}

/// An ACME account at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedAccount {
    /// The CA's directory URL.
    pub directory: String,
    /// The account's private key, PKCS#8 DER.
    pub key: Sealed,
    /// The account's URL (`kid`), once the CA has given it.
    pub url: Option<String>,
    /// A key that the account is about to get, PKCS#8 DER: from before the CA hears of it until it counts.
    pub next: Option<Sealed>,
}

/// Why the store failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// What is there is not what was expected.
    #[error("{object} has been changed by somebody else")]
    Conflict {
        /// Kind, namespace and name.
        object: String,
    },
    /// The store is not allowed to.
    #[error("{object}: not permitted to {verb} it; grant it in the Role of Faythe's service account")]
    Forbidden {
        /// Kind, namespace and name.
        object: String,
        /// The verb that was refused.
        verb: &'static str,
    },
    /// The object or the request was refused for what it says: a quota, an admission policy, an immutable Secret.
    #[error("{object}: the API server refused it: {reason}")]
    Refused {
        /// Kind, namespace and name.
        object: String,
        /// The API server's words.
        reason: String,
    },
    /// No answer, or one that says to come back.
    #[error("{object}: the API server cannot be asked now")]
    Unavailable {
        /// Kind, namespace and name.
        object: String,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is saved cannot be read by this version.
    #[error("{object} cannot be read: {what}")]
    Unreadable {
        /// Kind, namespace and name.
        object: String,
        /// What is wrong with it.
        what: String,
    },
}

//! A store in memory, as far as the account goes.

use std::collections::BTreeSet;
use std::sync::Mutex;

use faythe::sealed::Sealed;
use faythe::store::{Saved, SavedAccount, Slot, Stamp, Store, StoreError};
use faythe_core::budget::Record;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;
use faythe_core::world::SavedWindow;
use faythe_core::zone::Zones;
use futures::FutureExt;
use futures::future::BoxFuture;

/// Keeps one account, and counts how it was written.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) account: Mutex<Option<SavedAccount>>,
    /// What was saved, in turn: whether it had a URL.
    pub(crate) writes: Mutex<Vec<bool>>,
    /// An account that somebody else saves just before our first write.
    pub(crate) rival: Mutex<Option<SavedAccount>>,
    /// How often an account can be replaced yet; `None` for ever. The process dies after that, as it were.
    pub(crate) writes_left: Mutex<Option<usize>>,
}

impl Memory {
    pub(crate) fn url(&self) -> Option<String> {
        self.account
            .lock()
            .unwrap()
            .as_ref()
            .and_then(|account| account.url.clone())
    }

    pub(crate) fn key(&self) -> Option<Sealed> {
        self.account
            .lock()
            .unwrap()
            .as_ref()
            .map(|account| account.key.clone())
    }
}

/// Certificates and notes are no business of the adapter for the CA.
fn not_asked_for<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    let error = StoreError::Unreadable {
        object: "memory".to_owned(),
        what: "only accounts are kept".to_owned(),
    };
    async { Err(error) }.boxed()
}

impl Store for Memory {
    fn ledger<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        not_asked_for()
    }

    fn save_ledger<'a>(&'a self, _: &'a str, _: &'a Record) -> BoxFuture<'a, Result<(), StoreError>> {
        not_asked_for()
    }

    fn windows(&self) -> BoxFuture<'_, Result<Vec<SavedWindow>, StoreError>> {
        not_asked_for()
    }

    fn save_windows<'a>(&'a self, _: &'a [SavedWindow]) -> BoxFuture<'a, Result<(), StoreError>> {
        not_asked_for()
    }

    fn slot<'a>(&'a self, _: &'a Hostname) -> BoxFuture<'a, Result<Slot, StoreError>> {
        not_asked_for()
    }

    fn keep<'a>(
        &'a self,
        _: &'a Hostname,
        _: &'a Slot,
        _: &'a str,
        _: &'a Sealed,
        _: Stamp<'a>,
    ) -> BoxFuture<'a, Result<Held, StoreError>> {
        not_asked_for()
    }

    fn notes(&self) -> BoxFuture<'_, Result<Vec<Saved>, StoreError>> {
        not_asked_for()
    }

    fn strays<'a>(&'a self, _: &'a Zones) -> BoxFuture<'a, Result<BTreeSet<String>, StoreError>> {
        not_asked_for()
    }

    fn note<'a>(&'a self, _: &'a Hostname) -> BoxFuture<'a, Result<Option<Saved>, StoreError>> {
        async { Ok(None) }.boxed()
    }

    fn save<'a>(&'a self, _: &'a Saved) -> BoxFuture<'a, Result<(), StoreError>> {
        not_asked_for()
    }

    fn forget<'a>(&'a self, _: &'a Hostname) -> BoxFuture<'a, Result<(), StoreError>> {
        not_asked_for()
    }

    fn account<'a>(&'a self, directory: &'a str) -> BoxFuture<'a, Result<Option<SavedAccount>, StoreError>> {
        let account = self
            .account
            .lock()
            .unwrap()
            .clone()
            .filter(|account| account.directory == directory);
        async { Ok(account) }.boxed()
    }

    fn save_account<'a>(&'a self, account: &'a SavedAccount) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut kept = self.account.lock().unwrap();
        if let Some(rival) = self.rival.lock().unwrap().take() {
            *kept = Some(rival);
        }
        let outcome = match &*kept {
            Some(other) if other.key != account.key => Err(StoreError::Conflict {
                object: "memory".to_owned(),
            }),
            Some(_) | None => {
                *kept = Some(account.clone());
                self.writes.lock().unwrap().push(account.url.is_some());
                Ok(())
            }
        };
        async { outcome }.boxed()
    }

    fn replace_account<'a>(
        &'a self,
        before: &'a SavedAccount,
        after: &'a SavedAccount,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut kept = self.account.lock().unwrap();
        let mut left = self.writes_left.lock().unwrap();
        let outcome = if kept.as_ref() != Some(before) || *left == Some(0) {
            Err(StoreError::Conflict {
                object: "memory".to_owned(),
            })
        } else {
            *left = left.map(|left| left - 1);
            *kept = Some(after.clone());
            Ok(())
        };
        async { outcome }.boxed()
    }
}

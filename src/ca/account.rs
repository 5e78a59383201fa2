//! One account for each CA, kept and reused (RFC 8555 §7.3).
//!
//! Its key is saved before the CA hears of it, and its URL when all is done, so that a crash at any point costs no
//! account (P16, P18). Nothing is asked before the first use: the daemon starts without the CA.
//!
//! Deliberately absent: external account binding and key change.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::problem::ProblemKind;
use instant_acme::{Account, Key};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Mutex;

use super::CaError;
use super::fault::{Asked, Nonces, fault};
use super::http::{Clock, Http, listen};
use crate::sealed::Sealed;
use crate::store::{SavedAccount, Store, StoreError};

/// How long a directory is believed: URLs and profiles may change while we run (RFC 8555 §7.1.1).
const DIRECTORY_AGE: Duration = Duration::from_secs(24 * 3600);

/// Holds the account and makes it when it is first wanted.
pub(super) struct Keeper {
    http: Http,
    store: Arc<dyn Store>,
    clock: Clock,
    directory: String,
    email: String,
    state: Mutex<State>,
    /// How many attempts to get the account have failed.
    failures: AtomicU64,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// The account's URL that the CA has stopped to know.
    lost: Option<String>,
    /// Why the last attempt failed.
    failure: Option<Arc<CaError>>,
}

struct Current {
    account: Account,
    since: Timestamp,
}

impl Keeper {
    pub(super) fn new(
        http: Http,
        store: Arc<dyn Store>,
        clock: Clock,
        directory: String,
        email: String,
    ) -> Self {
        Self {
            http,
            store,
            clock,
            directory,
            email,
            state: Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// The CA's directory URL.
    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// The account, made or taken up again if need be. Whoever asks while that goes on waits for its outcome and shares
    /// it, failure included: a CA that is down costs all of them together one time-out.
    pub(super) async fn account(&self) -> Result<Account, CaError> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(current) = &state.current
            && (self.clock)().duration_since(current.since).unsigned_abs() < DIRECTORY_AGE
        {
            return Ok(current.account.clone());
        }
        if self.failures.load(Ordering::Acquire) != failures
            && let Some(failure) = &state.failure
        {
            return Err(shared(failure));
        }
        match self.make(state.lost.as_deref()).await {
            Ok(account) => {
                *state = State {
                    current: Some(Current {
                        account: account.clone(),
                        since: (self.clock)(),
                    }),
                    ..State::default()
                };
                Ok(account)
            }
            Err(failure) => {
                // An old directory is better than none.
                if let Some(current) = &mut state.current {
                    tracing::debug!(%failure, "the CA's directory cannot be read again");
                    current.since = (self.clock)();
                    return Ok(current.account.clone());
                }
                let failure = Arc::new(failure);
                self.failures.fetch_add(1, Ordering::Release);
                state.failure = Some(Arc::clone(&failure));
                Err(shared(&failure))
            }
        }
    }

    /// Drops `account` if the CA says that it does not know it; the next use registers our key anew. Says whether it
    /// was so.
    pub(super) async fn reconsider(&self, account: &str, error: &CaError) -> bool {
        let unknown =
            matches!(error, CaError::Refused(problem) if problem.kind == ProblemKind::AccountDoesNotExist);
        if unknown {
            let mut state = self.state.lock().await;
            // Of many orders that find out at once, the first one tells.
            if state
                .current
                .as_ref()
                .is_some_and(|current| current.account.id() == account)
            {
                tracing::warn!(
                    account,
                    "the CA does not know our account any more; its key will be registered again"
                );
                state.current = None;
                state.lost = Some(account.to_owned());
            }
        }
        unknown
    }

    /// Takes up the saved account, or registers one.
    async fn make(&self, lost: Option<&str>) -> Result<Account, CaError> {
        let saved = self.saved().await?;
        match &saved.url {
            Some(url) if lost != Some(url) => self.known(url, &saved.key).await,
            Some(_) | None => self.register(saved).await,
        }
    }

    /// What is saved; a new key is made and saved if there is none.
    async fn saved(&self) -> Result<SavedAccount, CaError> {
        if let Some(saved) = self.store.account(&self.directory).await.map_err(kept)? {
            return Ok(saved);
        }
        let (_, key) = Key::generate_pkcs8().map_err(|error| CaError::Account(Box::new(error)))?;
        let key = Sealed::new(key.secret_pkcs8_der().to_vec());
        let fresh = SavedAccount {
            directory: self.directory.clone(),
            key,
            url: None,
        };
        match self.store.save_account(&fresh).await {
            Ok(()) => Ok(fresh),
            // Another instance was quicker: its account is ours.
            Err(conflict @ StoreError::Conflict { .. }) => self
                .store
                .account(&self.directory)
                .await
                .map_err(kept)?
                .ok_or_else(|| kept(conflict)),
            Err(error) => Err(kept(error)),
        }
    }

    /// Takes up an account whose URL is known: the CA is asked for its directory only.
    async fn known(&self, url: &str, key: &Sealed) -> Result<Account, CaError> {
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        let key = PrivatePkcs8KeyDer::from(key.open());
        let (account, answer) = listen(builder.from_parts(url.to_owned(), key, self.directory.clone())).await;
        account.map_err(|error| fault(error, answer.as_ref(), Asked::Endpoint(&self.directory)))
    }

    /// Tells the CA our key; it answers with the account that the key has there, new or not (RFC 8555 §7.3.1).
    async fn register(&self, saved: SavedAccount) -> Result<Account, CaError> {
        let asked = Asked::Endpoint(&self.directory);
        let mut nonces = Nonces::default();
        let account = loop {
            let builder = Account::builder_with_http(Box::new(self.http.clone()));
            let der = PrivatePkcs8KeyDer::from(saved.key.open().to_vec());
            let key = Key::from_pkcs8_der(der.clone_key()).map_err(|error| fault(error, None, asked))?;
            let made = builder.create_from_key((key, PrivateKeyDer::Pkcs8(der)), self.directory.clone());
            let (made, answer) = listen(made).await;
            match made {
                Ok((account, _)) => break account,
                Err(error) => nonces.again(fault(error, answer.as_ref(), asked))?,
            }
        };
        self.introduce(&account).await?;

        // Only now is nothing left to do: with the URL saved, none of this happens again.
        let url = Some(account.id().to_owned());
        self.store
            .save_account(&SavedAccount { url, ..saved })
            .await
            .map_err(kept)?;
        tracing::info!(
            account = account.id(),
            ca = self.directory,
            "registered an account at the CA"
        );
        Ok(account)
    }

    /// Gives the CA our address. A CA that does not want it, for whatever reason, goes without.
    async fn introduce(&self, account: &Account) -> Result<(), CaError> {
        let contact = format!("mailto:{}", self.email.trim_start_matches("mailto:"));
        let mut nonces = Nonces::default();
        loop {
            let (told, answer) = listen(account.update_contacts(&[&contact])).await;
            let Err(error) = told else { return Ok(()) };
            match nonces.again(fault(error, answer.as_ref(), Asked::Endpoint(account.id()))) {
                Err(CaError::Refused(problem))
                    if problem.status.is_some_and(|status| status < 500 && status != 429) =>
                {
                    tracing::warn!(%problem, "the CA does not accept the contact address; going on without");
                    return Ok(());
                }
                other => other?,
            }
        }
    }
}

/// A failure of the store.
fn kept(error: StoreError) -> CaError {
    CaError::Account(Box::new(error))
}

/// The same error once more, for somebody else who waited for the same thing.
fn shared(error: &Arc<CaError>) -> CaError {
    match &**error {
        CaError::Account(_) => CaError::Account(Box::new(Shared(Arc::clone(error)))),
        CaError::Garbled {
            url,
            what,
            retry_after,
        } => CaError::Garbled {
            url: url.clone(),
            what: what.clone(),
            retry_after: *retry_after,
        },
        CaError::Gone { url } => CaError::Gone { url: url.clone() },
        CaError::Refused(problem) => CaError::Refused(problem.clone()),
        CaError::Unreachable { url, .. } => CaError::Unreachable {
            url: url.clone(),
            source: Box::new(Shared(Arc::clone(error))),
        },
    }
}

/// The cause of an error that several share.
#[derive(Debug)]
struct Shared(Arc<CaError>);

impl Shared {
    fn cause(&self) -> &(dyn std::error::Error + 'static) {
        std::error::Error::source(&*self.0).unwrap_or(&*self.0)
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.cause(), f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().source()
    }
}

//! One account for each CA, kept and reused (RFC 8555 §7.3).
//!
//! Its key is saved before the CA hears of it, and its URL when all is done, so that a crash at any point costs no
//! account (P16, P18). Nothing is asked before the first use: the daemon starts without the CA.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::budget::Endpoint;
use faythe_core::caa::Issuer;
use faythe_core::problem::{Problem, ProblemKind};
use http::header::LOCATION;
use serde_json::{Value, json};

use super::CaError;
use super::directory::Directory;
use super::exchange::Exchange;
use super::jws::{self, Key, KeyError, MacAlgorithm, Signer};
use super::problem::Asked;
use super::shared::Shared;
use crate::sealed::Sealed;
use crate::store::{SavedAccount, Store, StoreError};
use crate::x509::KeyType;

/// How often it is looked whether somebody has put another account or key in the place of ours (`faythe account`): the CA
/// may go on taking the old one.
const LOOK: Duration = Duration::from_secs(10);

/// How an account is made where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The address given to the CA, without `mailto:`; CAs may do without (RFC 8555 §7.3).
    pub email: Option<String>,
    /// Which key it gets; one that is saved already stays as it is.
    pub key_type: KeyType,
    /// What binds it to an account that the CA knows otherwise.
    pub binding: Option<Binding>,
}

/// An external account binding (RFC 8555 §7.3.4), as the CA's portal hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The name of the key at the CA.
    pub kid: String,
    /// The key, as bytes.
    pub key: Sealed,
    /// The algorithm that it is for.
    pub algorithm: MacAlgorithm,
}

/// An account at the CA.
#[derive(Debug)]
pub(super) struct Account {
    /// Its URL, by which the CA knows who signs.
    pub(super) url: String,
    pub(super) key: Key,
    /// The key as it is saved.
    saved: Sealed,
}

impl Account {
    /// How it signs.
    pub(super) fn signer(&self) -> Signer<'_> {
        Signer::Account(&self.url)
    }
}

/// Holds the account and makes it when it is first wanted.
pub(super) struct Keeper {
    pub(super) exchange: Arc<Exchange>,
    pub(super) store: Arc<dyn Store>,
    pub(super) registration: Registration,
    pub(super) account: Shared<Account>,
    /// When it was last looked whether another one is saved.
    looked: Mutex<Timestamp>,
    /// The account's URL that the CA has stopped to know.
    lost: Mutex<Option<String>>,
}

impl Keeper {
    pub(super) fn new(exchange: Arc<Exchange>, store: Arc<dyn Store>, registration: Registration) -> Self {
        Self {
            exchange,
            store,
            registration,
            account: Shared::default(),
            looked: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    /// The account, made or taken up again if need be.
    pub(super) async fn account(&self) -> Result<Arc<Account>, CaError> {
        match self.account.at_hand() {
            Some(account) if !self.is_another(&account).await => Ok(account),
            Some(_) | None => self.account.get(|_| true, self.make()).await,
        }
    }

    /// Whether it is another account by now, as is looked at now and then; `account` is let go of.
    async fn is_another(&self, account: &Arc<Account>) -> bool {
        self.is_time_to_look() && self.has_moved(account).await && {
            self.account.forget(account).await;
            true
        }
    }

    /// The account's URL as far as it is known here or saved; none is made.
    async fn url(&self) -> Result<Option<String>, CaError> {
        if let Some(account) = self.account.known().await
            && !self.is_another(&account).await
        {
            return Ok(Some(account.url.clone()));
        }
        let saved = self.store.account(self.exchange.directories.url()).await;
        Ok(saved.map_err(kept)?.and_then(|saved| saved.url))
    }

    /// How CAA records know the CA, and our account there.
    pub(super) async fn issuer(&self) -> Result<Issuer, CaError> {
        let directory = self.exchange.directories.current().await?;
        Ok(Issuer {
            identities: directory.meta.caa_identities.clone(),
            account: self.url().await?,
        })
    }

    /// Drops `account` if the CA says that it does not know it, or if another key is saved by now; the next use takes up
    /// what is saved, or registers our key anew. Says whether it was so.
    pub(super) async fn reconsider(&self, account: &Arc<Account>, error: &CaError) -> bool {
        let CaError::Refused(problem) = error else {
            return false;
        };
        if problem.kind == ProblemKind::AccountDoesNotExist {
            // Of many orders that find out at once, the first one tells.
            if self.account.forget(account).await {
                tracing::warn!(
                    account = account.url,
                    "the CA does not know our account any more; its key will be registered again. CAA records that name the \
                     account (accounturi) and an external account binding have to be renewed"
                );
                *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(account.url.clone());
            }
            return true;
        }
        let suspect = matches!(
            problem.kind,
            ProblemKind::BadSignatureAlgorithm | ProblemKind::Malformed | ProblemKind::Unauthorized
        ) && matches!(problem.status, Some(400 | 401 | 403));
        suspect && self.has_moved(account).await && {
            self.account.forget(account).await;
            true
        }
    }

    /// Whether somebody has saved another key meanwhile (`faythe account`).
    async fn has_moved(&self, account: &Account) -> bool {
        let saved = self.store.account(self.exchange.directories.url()).await;
        saved.is_ok_and(|saved| saved.is_some_and(|saved| saved.key != account.saved))
    }

    /// Whether that has not been looked at for a while; who asks then is the one that looks.
    fn is_time_to_look(&self) -> bool {
        let now = self.exchange.http.now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = now.duration_since(*looked).unsigned_abs() >= LOOK;
        if is_time {
            *looked = now;
        }
        is_time
    }

    /// Takes up the saved account, or registers one.
    async fn make(&self) -> Result<Account, CaError> {
        // What is read now need not be looked at again at once.
        let _ = self.is_time_to_look();
        let saved = self.settle(self.saved().await?).await?;
        let key = Key::read(&saved.key).map_err(unusable)?;
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(url) = saved.url.filter(|url| Some(url) != lost.as_ref()) {
            return Ok(Account {
                url,
                key,
                saved: saved.key,
            });
        }
        let url = self.register(&key).await?;
        // Only now is nothing left to do: with the URL saved, none of this happens again.
        let complete = SavedAccount {
            url: Some(url.clone()),
            ..saved
        };
        self.store.save_account(&complete).await.map_err(kept)?;
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tracing::info!(
            account = url,
            ca = self.exchange.directories.url(),
            "registered an account at the CA"
        );
        Ok(Account {
            url,
            key,
            saved: complete.key,
        })
    }

    /// What is saved; a new key is made and saved if there is none.
    async fn saved(&self) -> Result<SavedAccount, CaError> {
        let directory = self.exchange.directories.url();
        if let Some(saved) = self.store.account(directory).await.map_err(kept)? {
            return Ok(saved);
        }
        let fresh = SavedAccount {
            directory: directory.to_owned(),
            key: new_key(self.registration.key_type).await?,
            url: None,
            next: None,
        };
        match self.store.save_account(&fresh).await {
            Ok(()) => Ok(fresh),
            // Another instance was quicker: its account is ours.
            Err(conflict @ StoreError::Conflict { .. }) => self
                .store
                .account(directory)
                .await
                .map_err(kept)?
                .ok_or_else(|| kept(conflict)),
            Err(error) => Err(kept(error)),
        }
    }

    /// Whether an account may be made now: CAs count them over hours, and so no request waits for its turn (P17).
    fn leave_to_register(&self) -> Result<(), CaError> {
        let wait = self.exchange.http.turn_of_account();
        if wait.is_zero() {
            return Ok(());
        }
        Err(CaError::Refused(Problem {
            status: None,
            kind: ProblemKind::RateLimited,
            detail: "the limit on new accounts is used up, by our own count".to_owned(),
            retry_after: Some(wait),
        }))
    }

    /// Whether there is an account, or one could be made.
    pub(super) async fn may_register(&self, directory: &Directory) -> Result<(), CaError> {
        match self.may_bind(directory) {
            Err(_) if self.url().await?.is_some() => Ok(()),
            bound => bound,
        }
    }

    /// Whether we have the binding that the CA wants, if it wants one (RFC 8555 §7.3.4).
    fn may_bind(&self, directory: &Directory) -> Result<(), CaError> {
        if !directory.meta.external_account_required || self.registration.binding.is_some() {
            return Ok(());
        }
        Err(CaError::Refused(Problem {
            status: None,
            kind: ProblemKind::ExternalAccountRequired,
            detail: "the CA makes accounts only with an external account binding; none is configured"
                .to_owned(),
            retry_after: None,
        }))
    }

    /// Tells the CA our key; it answers with the account that the key has there, new or not (RFC 8555 §7.3.1). A CA that
    /// does not want our address, for whatever reason, goes without.
    pub(super) async fn register(&self, key: &Key) -> Result<String, CaError> {
        let directory = self.exchange.directories.current().await?;
        self.may_bind(&directory)?;
        if let Some(terms) = &directory.meta.terms_of_service {
            tracing::info!(
                terms,
                "an account is made, and with it the CA's terms of service are agreed to"
            );
        }
        let url = &directory.new_account;
        let asked = Asked::Service(Endpoint::NewAccount, url);
        self.leave_to_register()?;
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if let Some(Binding {
            kid,
            key: mac,
            algorithm,
        }) = &self.registration.binding
        {
            payload["externalAccountBinding"] =
                jws::bind(key, *algorithm, kid, mac, url).map_err(unusable)?;
        }
        let mut contact = self.registration.email.as_deref();
        loop {
            if let Some(email) = contact {
                payload["contact"] = json!([format!("mailto:{}", email.trim_start_matches("mailto:"))]);
            } else if let Value::Object(members) = &mut payload {
                members.remove("contact");
            }
            let answer = self.exchange.post(key, Signer::Jwk, asked, &payload).await;
            match answer {
                Err(CaError::Refused(problem))
                    if contact.is_some()
                        && matches!(
                            problem.kind,
                            ProblemKind::InvalidContact | ProblemKind::UnsupportedContact
                        ) =>
                {
                    tracing::warn!(%problem, "the CA does not accept the contact address; going on without");
                    contact = None;
                }
                // It is the account that is meant, and no order.
                Err(CaError::Refused(problem)) => return Err(CaError::Unregistered(problem)),
                other => return location(&other?),
            }
        }
    }
}

/// The URL that an answer gives to what it speaks of (RFC 8555 §7.3, §7.4).
pub(super) fn location(answer: &super::http::Answer) -> Result<String, CaError> {
    answer
        .header(LOCATION)
        .map(str::to_owned)
        .ok_or_else(|| CaError::Garbled {
            url: answer.url.clone(),
            what: "it has no Location".to_owned(),
            retry_after: answer.retry_after,
            status: None,
        })
}

/// Makes a key away from the threads that must not wait.
pub(super) async fn new_key(kind: KeyType) -> Result<Sealed, CaError> {
    match tokio::task::spawn_blocking(move || Key::generate(kind)).await {
        Ok(key) => key.map_err(unusable),
        Err(error) => Err(CaError::Account(Box::new(error))),
    }
}

/// A failure of the store.
pub(super) fn kept(error: StoreError) -> CaError {
    CaError::Account(Box::new(error))
}

/// A failure of the key.
pub(super) fn unusable(error: KeyError) -> CaError {
    CaError::Account(Box::new(error))
}

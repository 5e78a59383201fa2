//! Another key for an account (RFC 8555 §7.3.5), another account altogether, and what the CA says of the one there is.
//!
//! The new key is saved beside the old one before the CA hears of it. Which of the two counts, the CA says: after a crash
//! at any point it is asked whether it knows the new one, and the store follows (P16).

use serde::Deserialize;
use serde_json::json;

use faythe_core::budget::Endpoint;
use faythe_core::problem::ProblemKind;

use super::CaError;
use super::account::{Keeper, kept, location, new_key, unusable};
use super::jws::{Key, Signer};
use super::problem::Asked;
use crate::sealed::Sealed;
use crate::store::SavedAccount;

/// An account, as the CA and the store show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its URL, for CAA records (RFC 8657 §3).
    pub url: String,
    /// The kind of its key.
    pub key: String,
    /// Its state at the CA: `valid`, `deactivated` or `revoked` (RFC 8555 §7.1.6).
    pub status: String,
    /// The addresses that the CA has of us.
    pub contact: Vec<String>,
    /// The terms of service that were agreed to.
    pub terms: Option<String>,
    /// The names by which CAA records allow this CA.
    pub caa_identities: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    status: String,
    #[serde(default)]
    contact: Vec<String>,
}

impl Keeper {
    /// What is known of the account; `None` if there is none yet.
    pub(super) async fn show(&self) -> Result<Option<Shown>, CaError> {
        if self.read().await?.is_none_or(|saved| saved.url.is_none()) {
            return Ok(None);
        }
        let account = self.account().await?;
        let answer = self.exchange.read(&account, Asked::Object(&account.url)).await?;
        let document: Document = serde_json::from_slice(&answer.body).map_err(|error| CaError::Garbled {
            url: answer.url.clone(),
            what: error.to_string(),
            retry_after: answer.retry_after,
            status: None,
        })?;
        let directory = self.exchange.directories.current().await?;
        Ok(Some(Shown {
            url: account.url.clone(),
            key: account.key.kind(),
            status: document.status,
            contact: document.contact,
            terms: directory.meta.terms_of_service.clone(),
            caa_identities: directory.meta.caa_identities.clone(),
        }))
    }

    /// Gives the account another key; its URL stays. One that a crash has left half changed is brought to its end.
    pub(super) async fn roll_over(&self) -> Result<String, CaError> {
        let account = self.account().await?;
        let saved = self.prepare().await?;
        let (Some(next), Some(account_url)) = (&saved.next, &saved.url) else {
            // It had been changed already, all but here.
            return Ok(account.url.clone());
        };
        let directory = self.exchange.directories.current().await?;
        let url = directory.key_change.as_deref().ok_or_else(|| CaError::Garbled {
            url: self.exchange.directories.url().to_owned(),
            what: "the CA names no place for a change of keys in it".to_owned(),
            retry_after: None,
            status: None,
        })?;
        let (old, new) = (
            Key::read(&saved.key).map_err(unusable)?,
            Key::read(next).map_err(unusable)?,
        );
        let change = json!({ "account": account_url, "oldKey": old.jwk() });
        // Signed by the new key inside, which has no nonce of its own, and by the old one outside.
        let inner = new.sign(Signer::Jwk, None, url, change.to_string().as_bytes());
        let inner = inner.map_err(unusable)?;
        let asked = Asked::Service(Endpoint::Other, url);
        self.exchange
            .post(&old, Signer::Account(account_url), asked, &inner)
            .await?;
        let url = self.complete(&saved, account_url.clone()).await?;
        self.account.clear().await;
        Ok(url)
    }

    /// Makes another account in the place of the one there is, which is left alone at the CA.
    pub(super) async fn move_on(&self) -> Result<String, CaError> {
        let saved = self.prepare().await?;
        let saved = match saved.next {
            Some(_) => saved,
            // An earlier change has been brought to its end; this one is another.
            None => self.prepare().await?,
        };
        let Some(next) = &saved.next else {
            return Err(unusable(super::jws::KeyError::Unreadable));
        };
        let url = self.register(&Key::read(next).map_err(unusable)?).await?;
        let url = self.complete(&saved, url).await?;
        self.account.clear().await;
        Ok(url)
    }

    /// Follows the CA where a change of keys was cut short: to the new key, if the CA knows that.
    pub(super) async fn settle(&self, saved: SavedAccount) -> Result<SavedAccount, CaError> {
        let Some(next) = &saved.next else {
            return Ok(saved);
        };
        match self.known(next).await? {
            Some(url) => {
                self.complete(&saved, url).await?;
                self.read().await?.ok_or_else(gone)
            }
            None => Ok(saved),
        }
    }

    /// What is saved, with a next key beside the one there is; without one if it turns out that the CA has that already.
    async fn prepare(&self) -> Result<SavedAccount, CaError> {
        let saved = self.read().await?.ok_or_else(gone)?;
        if saved.next.is_some() {
            return self.settle(saved).await;
        }
        let prepared = SavedAccount {
            next: Some(new_key(self.registration.key_type).await?),
            ..saved.clone()
        };
        let replaced = self.store.replace_account(&saved, &prepared).await;
        replaced.map_err(kept)?;
        Ok(prepared)
    }

    /// Saves that the next key counts from now on, for the account at `url`.
    async fn complete(&self, saved: &SavedAccount, url: String) -> Result<String, CaError> {
        let Some(next) = &saved.next else {
            return Ok(url);
        };
        let complete = SavedAccount {
            directory: saved.directory.clone(),
            key: next.clone(),
            url: Some(url.clone()),
            next: None,
        };
        let replaced = self.store.replace_account(saved, &complete).await;
        replaced.map_err(kept)?;
        Ok(url)
    }

    /// The URL of the account that a key has at the CA; none is made (RFC 8555 §7.3.1).
    async fn known(&self, key: &Sealed) -> Result<Option<String>, CaError> {
        let directory = self.exchange.directories.current().await?;
        let asked = Asked::Service(Endpoint::NewAccount, &directory.new_account);
        let key = Key::read(key).map_err(unusable)?;
        let only_existing = json!({ "onlyReturnExisting": true });
        match self.exchange.post(&key, Signer::Jwk, asked, &only_existing).await {
            Ok(answer) => location(&answer).map(Some),
            Err(CaError::Refused(problem)) if problem.kind == ProblemKind::AccountDoesNotExist => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read(&self) -> Result<Option<SavedAccount>, CaError> {
        let directory = self.exchange.directories.url();
        self.store.account(directory).await.map_err(kept)
    }
}

/// There is no account to change.
fn gone() -> CaError {
    CaError::Account("no account is saved yet; the first order makes one".into())
}

//! Signed requests to one CA (RFC 8555 §6.2 to §6.5): a nonce, a signature, an answer.
//!
//! A nonce that the CA refuses is the one thing that is tried again here: such a request had no effect, and the refusal
//! brings the nonce for the next try (RFC 8555 §6.5).

use faythe_core::budget::Endpoint;
use serde_json::Value;

use super::account::Account;
use super::directory::Directories;
use super::http::{Answer, Http};
use super::jws::{Key, Signer};
use super::nonce::{self, Nonces};
use super::problem::{Asked, is_bad_nonce, refusal, silence};
use super::{CaError, Leave};

/// How often a request is made whose nonce the CA refuses. Where it refuses one in five by chance, as Pebble can be told
/// to, one request in 10^10 still fails.
const INSISTENCE: u32 = 15;

/// All that requests to one CA share.
pub(super) struct Exchange {
    pub(super) http: Http,
    pub(super) directories: Directories,
    nonces: Nonces,
    leave: Leave,
}

impl Exchange {
    /// What may cost or change something is sent as long as `leave` says so.
    pub(super) fn new(http: Http, directory: String, leave: Leave) -> Self {
        Self {
            directories: Directories::new(http.clone(), directory),
            http,
            nonces: Nonces::default(),
            leave,
        }
    }

    /// Reads an object of ours (RFC 8555 §6.3).
    pub(super) async fn read(&self, account: &Account, asked: Asked<'_>) -> Result<Answer, CaError> {
        let answer = self.ask(&account.key, account.signer(), asked, &[]).await?;
        success(answer, asked)
    }

    /// Sends something on behalf of our account.
    pub(super) async fn send(
        &self,
        account: &Account,
        asked: Asked<'_>,
        payload: &Value,
    ) -> Result<Answer, CaError> {
        self.post(&account.key, account.signer(), asked, payload).await
    }

    /// Sends something signed with this key.
    pub(super) async fn post(
        &self,
        key: &Key,
        signer: Signer<'_>,
        asked: Asked<'_>,
        payload: &Value,
    ) -> Result<Answer, CaError> {
        let payload = payload.to_string();
        let answer = self.ask(key, signer, asked, payload.as_bytes()).await?;
        success(answer, asked)
    }

    /// Makes a signed request, and hands back its answer whatever it says.
    pub(super) async fn ask(
        &self,
        key: &Key,
        signer: Signer<'_>,
        asked: Asked<'_>,
        payload: &[u8],
    ) -> Result<Answer, CaError> {
        let url = asked.url();
        // To read costs and changes nothing (RFC 8555 §6.3).
        let leave = (!payload.is_empty()).then_some(&self.leave);
        let mut fresh = None;
        let mut tries = 0;
        loop {
            let nonce = match fresh.take().or_else(|| self.nonces.take()) {
                Some(nonce) => nonce,
                None => self.new_nonce().await?,
            };
            let jws = key
                .sign(signer, Some(&nonce), url, payload)
                .map_err(|error| CaError::Account(Box::new(error)))?;
            let jws = jws.to_string().into_bytes();
            let answer = self.http.post(asked, jws, leave).await.map_err(silence)?;
            tries += 1;
            if is_bad_nonce(&answer) && tries < INSISTENCE {
                fresh = nonce::read(&answer);
                continue;
            }
            self.nonces.keep(&answer);
            return Ok(answer);
        }
    }

    /// Asks for a nonce (RFC 8555 §7.2).
    async fn new_nonce(&self) -> Result<String, CaError> {
        let directory = self.directories.current().await?;
        let asked = Asked::Service(Endpoint::NewNonce, &directory.new_nonce);
        let answer = self.http.head(asked).await.map_err(silence)?;
        let answer = success(answer, asked)?;
        nonce::read(&answer).ok_or_else(|| CaError::Garbled {
            url: answer.url.clone(),
            what: "there is no nonce in it".to_owned(),
            retry_after: answer.retry_after,
            status: None,
        })
    }
}

/// An answer, if it is a success.
pub(super) fn success(answer: Answer, asked: Asked<'_>) -> Result<Answer, CaError> {
    if answer.status.is_success() {
        Ok(answer)
    } else {
        Err(refusal(&answer, asked))
    }
}

//! One order at the CA: each method of the contract as one exchange (RFC 8555 §7.4, §7.5).

use std::sync::Arc;

use faythe_core::Timestamp;
use faythe_core::order::{CaView, ChallengeStatus, OrderStatus};
use faythe_core::problem::{Problem, ProblemKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::account::{Account, Keeper};
use super::authorization::{Authorization, Judgment, Open, judge};
use super::exchange::{Exchange, success};
use super::http::Answer;
use super::problem::{self, Asked};
use super::{CaError, CaOrder, chain, jws};
use crate::clock;

/// The longest name of a profile that is passed on, in bytes; those of Let's Encrypt have ten (2026-08).
const PROFILE_MAX: usize = 64;

/// A pending order of which the CA has been told follows its authorizations by itself (RFC 8555 §7.1.6), so a look at it is
/// one request. Should a CA let it lag behind them, every so many looks ask the authorizations too.
const LOOKS_ALONE: u32 = 4;

/// An order at the CA, and what it showed last.
pub(super) struct AcmeOrder {
    url: String,
    /// Its own parts at the CA.
    parts: Parts,
    profile: Option<String>,
    view: CaView,
    /// Where the challenges of the view are answered, in their order.
    answered_at: Vec<String>,
    /// How often it was pending still when it was looked at, since its authorizations were read.
    in_vain: u32,
    preferred_chain: Option<Arc<str>>,
    account: Arc<Account>,
    exchange: Arc<Exchange>,
    keeper: Arc<Keeper>,
}

/// What an order refers to.
#[derive(Clone, Debug, Default)]
struct Parts {
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
}

/// An order object (RFC 8555 §7.1.3).
#[derive(Deserialize)]
struct Document {
    status: Status,
    /// An order need not have it in every state.
    expires: Option<String>,
    error: Option<problem::Document>,
    #[serde(default, deserialize_with = "problem::or_none")]
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    /// Where the CA has profiles, and says which (draft-ietf-acme-profiles); whatever it is, the order is one without it.
    #[serde(default)]
    profile: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Invalid,
    Pending,
    Processing,
    Ready,
    Valid,
}

impl CaOrder for AcmeOrder {
    fn url(&self) -> &str {
        &self.url
    }

    fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    fn view(&self) -> &CaView {
        &self.view
    }

    fn refresh(&mut self) -> BoxFuture<'_, Result<(), CaError>> {
        async {
            let outcome = self.look().await;
            self.heed(outcome).await
        }
        .boxed()
    }

    fn answer(&mut self) -> BoxFuture<'_, Result<(), CaError>> {
        async {
            let outcome = self.tell().await;
            self.heed(outcome).await
        }
        .boxed()
    }

    fn finalize<'a>(&'a mut self, csr: &'a [u8]) -> BoxFuture<'a, Result<(), CaError>> {
        async {
            let outcome = self.request(csr).await;
            self.heed(outcome).await
        }
        .boxed()
    }

    fn certificate(&mut self) -> BoxFuture<'_, Result<String, CaError>> {
        async {
            let outcome = self.fetch().await;
            self.heed(outcome).await
        }
        .boxed()
    }
}

impl AcmeOrder {
    /// Takes an order up from the answer that shows it.
    pub(super) fn new(
        url: String,
        answer: &Answer,
        account: Arc<Account>,
        exchange: &Arc<Exchange>,
        keeper: &Arc<Keeper>,
        preferred_chain: Option<Arc<str>>,
    ) -> Result<Self, CaError> {
        let view = CaView {
            status: OrderStatus::Pending,
            challenges: Vec::new(),
            problem: None,
            expires: None,
            retry_after: None,
        };
        let mut order = Self {
            url,
            parts: Parts::default(),
            profile: None,
            view,
            answered_at: Vec::new(),
            in_vain: 0,
            preferred_chain,
            account,
            exchange: Arc::clone(exchange),
            keeper: Arc::clone(keeper),
        };
        order.note(answer)?;
        Ok(order)
    }

    /// It was asked for with this profile, or without any.
    pub(super) fn with(mut self, profile: Option<&str>) -> Self {
        self.profile = self.profile.or_else(|| profile.map(str::to_owned));
        self
    }

    /// Passes an outcome on, and tells the account's keeper of it first.
    async fn heed<T>(&self, outcome: Result<T, CaError>) -> Result<T, CaError> {
        match outcome {
            // That the account is not known the CA says itself.
            Err(error) if self.keeper.reconsider(&self.account, &error).await && !is_unknown(&error) => {
                Err(CaError::Moved(Arc::new(error)))
            }
            other => other,
        }
    }

    async fn look(&mut self) -> Result<(), CaError> {
        let answer = self
            .exchange
            .read(&self.account, Asked::Object(&self.url))
            .await?;
        self.note(&answer)?;
        let under_way = self
            .view
            .challenges
            .iter()
            .any(|challenge| challenge.status == ChallengeStatus::Processing);
        if self.view.status == OrderStatus::Pending {
            self.in_vain += 1;
            // Before we have answered, a pending order's authorizations cannot have changed.
            if !under_way || self.in_vain < LOOKS_ALONE {
                return Ok(());
            }
        }
        self.explore().await
    }

    async fn tell(&mut self) -> Result<(), CaError> {
        for (challenge, url) in self.view.challenges.iter_mut().zip(&self.answered_at) {
            if challenge.status == ChallengeStatus::Processing {
                continue;
            }
            let asked = Asked::Object(url);
            let (key, signer) = (&self.account.key, self.account.signer());
            let answer = self.exchange.ask(key, signer, asked, b"{}").await?;
            self.view.retry_after = answer.retry_after;
            // A conflict: it is being validated already, and the answer to our first telling must have been lost. In a
            // success the challenge may speak of an error: the CA has begun, and has seen its first try fail
            // (RFC 8555 §8.2). What becomes of it, the order will say.
            if answer.status != StatusCode::CONFLICT {
                success(answer, asked)?;
            }
            challenge.status = ChallengeStatus::Processing;
        }
        Ok(())
    }

    async fn request(&mut self, csr: &[u8]) -> Result<(), CaError> {
        let asked = Asked::Object(&self.parts.finalize);
        let payload = json!({ "csr": jws::encode(csr) });
        let answer = self.exchange.send(&self.account, asked, &payload).await?;
        self.note(&answer)
    }

    async fn fetch(&mut self) -> Result<String, CaError> {
        match &self.parts.certificate {
            Some(url) if self.view.status == OrderStatus::Valid => {
                chain::fetch(
                    &self.exchange,
                    &self.account,
                    url,
                    self.preferred_chain.as_deref(),
                )
                .await
            }
            Some(_) | None => Err(not_ready()),
        }
    }

    /// Takes over what the CA has just shown of the order itself.
    fn note(&mut self, answer: &Answer) -> Result<(), CaError> {
        let document: Document = serde_json::from_slice(&answer.body).map_err(|error| CaError::Garbled {
            url: answer.url.clone(),
            what: error.to_string(),
            retry_after: answer.retry_after,
            status: None,
        })?;
        self.view.status = match document.status {
            Status::Invalid => OrderStatus::Invalid,
            Status::Pending => OrderStatus::Pending,
            Status::Processing => OrderStatus::Processing,
            Status::Ready => OrderStatus::Ready,
            Status::Valid => OrderStatus::Valid,
        };
        self.view.problem = document.error.as_ref().map(problem::Document::problem);
        self.view.retry_after = answer.retry_after;
        let expires = document.expires.and_then(|text| text.parse::<Timestamp>().ok());
        let now = self.exchange.http.now();
        let expires = expires.map(|at| clock::by_ours(at, &answer.headers, now));
        self.view.expires = expires.or(self.view.expires);
        // It is shown to people.
        let presentable =
            |name: &&str| name.len() <= PROFILE_MAX && name.bytes().all(|byte| byte.is_ascii_graphic());
        if let Some(profile) = document.profile.as_str().filter(presentable) {
            self.profile = Some(profile.to_owned());
        }
        self.parts = Parts {
            authorizations: document.authorizations,
            finalize: document.finalize,
            certificate: document.certificate,
        };
        if self.view.status != OrderStatus::Pending {
            self.expect(Vec::new());
        }
        Ok(())
    }

    /// Takes over which challenges are open.
    fn expect(&mut self, open: Vec<Open>) {
        (self.view.challenges, self.answered_at) = open
            .into_iter()
            .map(|Open { challenge, url }| (challenge, url))
            .unzip();
    }

    /// Reads the authorizations where the order alone does not say enough: what to publish, or why it failed.
    pub(super) async fn explore(&mut self) -> Result<(), CaError> {
        match self.view.status {
            OrderStatus::Pending => {
                self.in_vain = 0;
                let authorizations = self.authorizations().await?;
                match judge(&authorizations)? {
                    Judgment::Open(open) => self.expect(open),
                    // The order will follow its authorization (RFC 8555 §7.1.6).
                    Judgment::Failed(problem) => {
                        self.view.status = OrderStatus::Invalid;
                        self.view.problem = Some(problem);
                        self.expect(Vec::new());
                    }
                }
                Ok(())
            }
            // Let's Encrypt says nothing in the order about a validation that failed. The order is lost in any case:
            // only a CA that cannot be reached at all is worth asking again for the reason.
            OrderStatus::Invalid if self.view.problem.is_none() => {
                match self.authorizations().await {
                    Ok(authorizations) => {
                        if let Ok(Judgment::Failed(problem)) = judge(&authorizations) {
                            self.view.problem = Some(problem);
                        }
                    }
                    Err(error @ CaError::Unreachable { .. }) => return Err(error),
                    // Of an authorization that has failed the CA would say so.
                    Err(CaError::Gone { url }) => self.view.problem = Some(expired(&url)),
                    Err(error) => {
                        tracing::debug!(order = self.url, %error, "no reason for the order's failure");
                    }
                }
                Ok(())
            }
            OrderStatus::Invalid | OrderStatus::Processing | OrderStatus::Ready | OrderStatus::Valid => {
                Ok(())
            }
        }
    }

    async fn authorizations(&mut self) -> Result<Vec<Authorization>, CaError> {
        let mut authorizations = Vec::new();
        for url in &self.parts.authorizations {
            let answer = self.exchange.read(&self.account, Asked::Object(url)).await?;
            self.view.retry_after = answer.retry_after.or(self.view.retry_after);
            authorizations.push(Authorization::read(&answer, &self.account.key)?);
        }
        Ok(authorizations)
    }
}

/// Whether the CA says that it does not know our account.
fn is_unknown(error: &CaError) -> bool {
    matches!(error, CaError::Refused(problem) if problem.kind == ProblemKind::AccountDoesNotExist)
}

/// An authorization is gone, and the order with it: its time is over, and nothing has failed (RFC 8555 §7.1.6).
fn expired(url: &str) -> Problem {
    Problem {
        status: Some(404),
        kind: ProblemKind::Malformed,
        detail: format!("the order is invalid, and its authorization {url} is not there any more"),
        retry_after: None,
    }
}

/// There is no certificate to fetch.
fn not_ready() -> CaError {
    CaError::Refused(Problem {
        status: None,
        kind: ProblemKind::OrderNotReady,
        detail: "the order is not valid, so it has no certificate".to_owned(),
        retry_after: None,
    })
}

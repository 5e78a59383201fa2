//! One order at the CA: each method of the contract as one exchange (RFC 8555 §7.4, §7.5).
//!
//! The library's helpers that poll, sleep or make keys are never used.

use std::sync::Arc;

use faythe_core::Timestamp;
use faythe_core::order::{CaView, ChallengeStatus, OrderStatus};
use faythe_core::problem::{Problem, ProblemKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::StatusCode;
use instant_acme::{Account, Error as AcmeError, Order, OrderStatus as State};
use serde::Deserialize;

use super::account::Keeper;
use super::authorization::{self, Authorization, Judgment, judge};
use super::fault::{Asked, Nonces, fault, problem};
use super::http::{Answer, listen};
use super::{CaError, CaOrder};

/// What every certificate begins with (RFC 7468 §2), and no outage page.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// An order at the CA, and what it showed last.
pub(super) struct AcmeOrder {
    order: Order,
    view: CaView,
    account: String,
    keeper: Arc<Keeper>,
}

impl CaOrder for AcmeOrder {
    fn url(&self) -> &str {
        self.order.url()
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
    pub(super) fn new(
        order: Order,
        answer: Option<&Answer>,
        account: &Account,
        keeper: &Arc<Keeper>,
    ) -> Self {
        let view = CaView {
            status: OrderStatus::Pending,
            challenges: Vec::new(),
            problem: None,
            expires: None,
            retry_after: None,
        };
        let mut order = Self {
            order,
            view,
            account: account.id().to_owned(),
            keeper: Arc::clone(keeper),
        };
        order.note(answer);
        order
    }

    /// Passes an outcome on, and tells the account's keeper of it first.
    async fn heed<T>(&self, outcome: Result<T, CaError>) -> Result<T, CaError> {
        if let Err(error) = &outcome {
            self.keeper.reconsider(&self.account, error).await;
        }
        outcome
    }

    async fn look(&mut self) -> Result<(), CaError> {
        let url = self.order.url().to_owned();
        let mut nonces = Nonces::default();
        loop {
            let (read, answer) = listen(self.order.refresh()).await;
            match read {
                Ok(_) => break self.note(answer.as_ref()),
                Err(error) => nonces.again(fault(error, answer.as_ref(), Asked::Object(&url)))?,
            }
        }
        let under_way = self
            .view
            .challenges
            .iter()
            .any(|challenge| challenge.status == ChallengeStatus::Processing);
        // Before we have answered, a pending order's authorizations cannot have changed.
        if self.view.status == OrderStatus::Pending && !under_way {
            Ok(())
        } else {
            self.explore().await
        }
    }

    async fn tell(&mut self) -> Result<(), CaError> {
        let url = self.order.url().to_owned();
        for challenge in &mut self.view.challenges {
            if challenge.status == ChallengeStatus::Processing {
                continue;
            }
            let mut nonces = Nonces::default();
            loop {
                let (told, answer) =
                    listen(authorization::tell(&mut self.order, &challenge.value.value)).await;
                let answer = answer.as_ref();
                self.view.retry_after = answer.and_then(|answer| answer.retry_after);
                match told {
                    Ok(()) => break,
                    // A success whose challenge speaks of an error: the CA has begun, and has seen its first try fail
                    // (RFC 8555 §8.2). What becomes of it, the order will say.
                    Err(AcmeError::Api(_)) if answer.is_some_and(|answer| answer.status.is_success()) => {
                        break;
                    }
                    // It is being validated already; the answer to our first telling must have been lost.
                    Err(_) if answer.is_some_and(|answer| answer.status == StatusCode::CONFLICT) => break,
                    Err(error) => nonces.again(fault(error, answer, Asked::Object(&url)))?,
                }
            }
            challenge.status = ChallengeStatus::Processing;
        }
        Ok(())
    }

    async fn request(&mut self, csr: &[u8]) -> Result<(), CaError> {
        let url = self.order.url().to_owned();
        let mut nonces = Nonces::default();
        loop {
            let (asked, answer) = listen(self.order.finalize_csr(csr)).await;
            match asked {
                Ok(()) => break self.note(answer.as_ref()),
                Err(error) => nonces.again(fault(error, answer.as_ref(), Asked::Object(&url)))?,
            }
        }
        Ok(())
    }

    async fn fetch(&mut self) -> Result<String, CaError> {
        if self.view.status != OrderStatus::Valid {
            return Err(not_ready());
        }
        let url = self.order.url().to_owned();
        let mut nonces = Nonces::default();
        loop {
            let (chain, answer) = listen(self.order.certificate()).await;
            match chain {
                Ok(Some(chain)) if chain.contains(CERTIFICATE) => return Ok(chain),
                Ok(Some(_)) => {
                    return Err(CaError::Garbled {
                        url: answer.as_ref().map_or(url, |answer| answer.url.clone()),
                        what: "there is no certificate in it".to_owned(),
                        retry_after: answer.and_then(|answer| answer.retry_after),
                    });
                }
                Ok(None) => return Err(not_ready()),
                Err(error) => nonces.again(fault(error, answer.as_ref(), Asked::Object(&url)))?,
            }
        }
    }

    /// Takes over what the CA has just shown of the order itself.
    fn note(&mut self, answer: Option<&Answer>) {
        let state = self.order.state();
        self.view.status = match state.status {
            State::Pending => OrderStatus::Pending,
            State::Ready => OrderStatus::Ready,
            State::Processing => OrderStatus::Processing,
            State::Valid => OrderStatus::Valid,
            State::Invalid => OrderStatus::Invalid,
        };
        self.view.problem = state.error.as_ref().map(problem);
        self.view.retry_after = answer.and_then(|answer| answer.retry_after);
        // The library leaves `expires` out. An order need not have it in every state (RFC 8555 §7.1.3).
        self.view.expires = answer.and_then(expires).or(self.view.expires);
        if self.view.status != OrderStatus::Pending {
            self.view.challenges.clear();
        }
    }

    /// Reads the authorizations where the order alone does not say enough: what to publish, or why it failed.
    pub(super) async fn explore(&mut self) -> Result<(), CaError> {
        match self.view.status {
            OrderStatus::Pending => {
                let authorizations = self.authorizations().await?;
                match judge(&authorizations)? {
                    Judgment::Open(challenges) => self.view.challenges = challenges,
                    // The order will follow its authorization (RFC 8555 §7.1.6).
                    Judgment::Failed(problem) => {
                        self.view.status = OrderStatus::Invalid;
                        self.view.problem = Some(problem);
                        self.view.challenges.clear();
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
                    Err(error) => {
                        tracing::debug!(order = self.order.url(), %error, "no reason for the order's failure")
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
        let url = self.order.url().to_owned();
        let mut nonces = Nonces::default();
        loop {
            let (read, answer) = listen(authorization::read(&mut self.order)).await;
            match read {
                Ok(authorizations) => {
                    self.view.retry_after = answer
                        .and_then(|answer| answer.retry_after)
                        .or(self.view.retry_after);
                    return Ok(authorizations);
                }
                Err(error) => nonces.again(fault(error, answer.as_ref(), Asked::Object(&url)))?,
            }
        }
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

/// When the CA will forget an order, from the answer that showed it.
fn expires(answer: &Answer) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Expiring {
        expires: String,
    }
    serde_json::from_slice::<Expiring>(&answer.body)
        .ok()?
        .expires
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;

//! The CA by ACME (RFC 8555): each method of the contract as one exchange through instant-acme.
//!
//! The library signs and parses; connections are [`http`](super::http)'s, the account is [`account`](super::account)'s,
//! and what went wrong is said by [`fault`](super::fault). Its helpers that poll, sleep or make keys are never used.
//! One certificate costs eight requests: nonce, order, authorization, challenge, order, finalize, order, chain.
//!
//! Deliberately absent: `replaces` and ARI (RFC 9773), external account binding, alternate chains.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::order::{CaView, Challenge, ChallengeStatus, ChallengeValue, OrderStatus};
use faythe_core::problem::{Problem, ProblemKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::StatusCode;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeStatus as Stage, ChallengeType, Error as AcmeError, Identifier,
    NewOrder, Order, OrderStatus as State,
};
use serde::Deserialize;

use super::account::Keeper;
use super::fault::{Asked, Nonces, fault, problem, refusal, silence};
use super::http::{Answer, Directory, Http, listen};
pub use super::http::{Clock, Limits, SetupError, Traffic};
use super::{Ca, CaError, CaOrder};
use crate::store::Store;

/// What the operator chose about the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The CA's directory URL (RFC 8555 §7.1.1).
    pub directory: String,
    /// The address given to the CA, without `mailto:`.
    pub email: String,
    /// The profile to ask for (draft-ietf-acme-profiles); `None` leaves the choice to the CA.
    pub profile: Option<String>,
    /// A PEM file with roots to trust for the CA's HTTPS besides the system's.
    pub roots: Option<PathBuf>,
    /// Bounds of one exchange.
    pub limits: Limits,
}

/// A CA that speaks ACME, and our account there.
pub struct Acme {
    http: Http,
    keeper: Arc<Keeper>,
    profile: Option<String>,
    /// Orders that were made, but whose authorizations could not be read: the next try for the same host takes them up
    /// instead of making another.
    stranded: Mutex<BTreeMap<Hostname, String>>,
}

impl Acme {
    /// Sets the adapter up; asks nobody, neither the CA nor the store.
    ///
    /// # Errors
    /// When no request could ever be made: a directory URL that is none, or nobody to trust.
    pub fn new(settings: Settings, store: Arc<dyn Store>, clock: Clock) -> Result<Self, SetupError> {
        let Settings {
            directory,
            email,
            profile,
            roots,
            limits,
        } = settings;
        let http = Http::new(&directory, roots.as_ref(), limits, Arc::clone(&clock))?;
        let keeper = Arc::new(Keeper::new(http.clone(), store, clock, directory, email));
        Ok(Self {
            http,
            keeper,
            profile,
            stranded: Mutex::default(),
        })
    }

    /// How many requests the CA was sent.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.traffic().requests
    }

    /// How exchanges with the CA have ended so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.http.traffic()
    }

    async fn make(&self, host: &Hostname) -> Result<AcmeOrder, CaError> {
        if let Some(url) = self.stranded(|stranded| stranded.get(host).cloned()) {
            match self.take_up(&url).await {
                Ok(order) if order.view.status != OrderStatus::Invalid => {
                    self.stranded(|stranded| stranded.remove(host));
                    return Ok(order);
                }
                // It has ended meanwhile.
                Ok(_) | Err(CaError::Gone { .. } | CaError::Refused(_)) => {
                    self.stranded(|stranded| stranded.remove(host));
                }
                Err(error) => return Err(error),
            }
        }
        let mut order = self.obtain(Wanted::New(host)).await?;
        self.stranded(|stranded| stranded.insert(host.clone(), order.url().to_owned()));
        order.explore().await?;
        self.stranded(|stranded| stranded.remove(host));
        Ok(order)
    }

    async fn take_up(&self, url: &str) -> Result<AcmeOrder, CaError> {
        let mut order = self.obtain(Wanted::Known(url)).await?;
        order.explore().await?;
        Ok(order)
    }

    /// Gets an order with our account; if the CA has stopped to know it, registers its key again and tries once more.
    async fn obtain(&self, wanted: Wanted<'_>) -> Result<AcmeOrder, CaError> {
        let account = self.keeper.account().await?;
        match self.ask(&account, wanted).await {
            Err(error) if self.keeper.reconsider(account.id(), &error).await => {
                self.ask(&self.keeper.account().await?, wanted).await
            }
            other => other,
        }
    }

    async fn ask(&self, account: &Account, wanted: Wanted<'_>) -> Result<AcmeOrder, CaError> {
        let mut nonces = Nonces::default();
        loop {
            let ((order, answer), asked) = match wanted {
                Wanted::New(host) => {
                    let identifiers = [Identifier::Dns(host.to_string())];
                    let mut order = NewOrder::new(&identifiers);
                    if let Some(profile) = &self.profile {
                        order = order.profile(profile);
                    }
                    (
                        listen(account.new_order(&order)).await,
                        Asked::Endpoint(self.keeper.directory()),
                    )
                }
                Wanted::Known(url) => (listen(account.order(url.to_owned())).await, Asked::Object(url)),
            };
            match order {
                Ok(order) => return Ok(AcmeOrder::new(order, answer.as_ref(), account, &self.keeper)),
                Err(error) => nonces.again(fault(error, answer.as_ref(), asked))?,
            }
        }
    }

    async fn look(&self) -> Result<(), CaError> {
        let url = self.keeper.directory();
        let directory = match Directory::ask(&self.http, url).await.map_err(silence)? {
            Ok(directory) => directory,
            Err(answer) => return Err(refusal(&answer, Asked::Endpoint(url))),
        };
        match &self.profile {
            Some(wanted) if !directory.has_profile(wanted) => Err(CaError::Refused(Problem {
                status: None,
                kind: ProblemKind::InvalidProfile,
                detail: format!(
                    "there is no profile {wanted:?}; the CA offers {}",
                    directory.profiles()
                ),
                retry_after: None,
            })),
            Some(_) | None => Ok(()),
        }
    }

    fn stranded<T>(&self, change: impl FnOnce(&mut BTreeMap<Hostname, String>) -> T) -> T {
        change(&mut self.stranded.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which order is wanted.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    /// The one at this URL.
    Known(&'a str),
    /// A new one for this name.
    New(&'a Hostname),
}

impl Ca for Acme {
    fn open<'a>(&'a self, host: &'a Hostname) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>> {
        async { Ok(Box::new(self.make(host).await?) as Box<dyn CaOrder>) }.boxed()
    }

    fn resume<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>> {
        async { Ok(Box::new(self.take_up(url).await?) as Box<dyn CaOrder>) }.boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), CaError>> {
        self.look().boxed()
    }
}

/// An order at the CA, and what it showed last.
struct AcmeOrder {
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
    fn new(order: Order, answer: Option<&Answer>, account: &Account, keeper: &Arc<Keeper>) -> Self {
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
                let (told, answer) = listen(tell(&mut self.order, &challenge.value.value)).await;
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
                Ok(()) => return Ok(self.note(answer.as_ref())),
                Err(error) => nonces.again(fault(error, answer.as_ref(), Asked::Object(&url)))?,
            }
        }
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
                Ok(chain) => return chain.ok_or_else(not_ready),
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
    async fn explore(&mut self) -> Result<(), CaError> {
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
            let (read, answer) = listen(authorizations(&mut self.order)).await;
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

/// An authorization as the CA shows it (RFC 8555 §7.1.4), without the library's borrows.
#[derive(Debug)]
struct Authorization {
    /// The name, with `*.` for a wildcard.
    name: String,
    status: AuthorizationStatus,
    /// State of the DNS-01 challenge, and the value to publish for it.
    challenge: Option<(Stage, String)>,
    /// Why the first challenge that failed has failed.
    failure: Option<Problem>,
}

/// What the authorizations of an order amount to.
#[derive(Debug, PartialEq, Eq)]
enum Judgment {
    /// These challenges are open; the rest is valid.
    Open(Vec<Challenge>),
    /// One of them has failed.
    Failed(Problem),
}

/// Judges the authorizations of an order.
fn judge(authorizations: &[Authorization]) -> Result<Judgment, CaError> {
    let mut open = Vec::new();
    for authorization in authorizations {
        let Authorization {
            name,
            status,
            challenge,
            ..
        } = authorization;
        let refused = |kind, detail| Problem {
            status: None,
            kind,
            detail,
            retry_after: None,
        };
        match status {
            AuthorizationStatus::Valid => {}
            AuthorizationStatus::Pending => match challenge {
                Some((stage @ (Stage::Pending | Stage::Processing), value)) => {
                    let host = Hostname::parse(name).map_err(|error| {
                        let detail =
                            format!("the CA speaks of a name that was not ordered, {name:?}: {error}");
                        CaError::Refused(refused(ProblemKind::Malformed, detail))
                    })?;
                    open.push(Challenge {
                        value: ChallengeValue {
                            record: host.challenge_record(),
                            value: value.clone(),
                        },
                        status: if *stage == Stage::Pending {
                            ChallengeStatus::Pending
                        } else {
                            ChallengeStatus::Processing
                        },
                    });
                }
                // The authorization is about to follow its challenge.
                Some((Stage::Valid, _)) => {}
                Some((Stage::Invalid, _)) => return Ok(Judgment::Failed(reason(authorization))),
                None => {
                    let detail = format!("the CA offers no DNS-01 challenge for {name}");
                    return Err(CaError::Refused(refused(ProblemKind::RejectedIdentifier, detail)));
                }
            },
            AuthorizationStatus::Deactivated
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked => return Ok(Judgment::Failed(reason(authorization))),
        }
    }
    Ok(Judgment::Open(open))
}

/// Why an authorization has failed; where the CA does not say, at least how.
fn reason(authorization: &Authorization) -> Problem {
    authorization.failure.clone().unwrap_or_else(|| Problem {
        status: None,
        kind: ProblemKind::Unknown,
        detail: format!(
            "the authorization of {} is {:?}",
            authorization.name, authorization.status
        )
        .to_lowercase(),
        retry_after: None,
    })
}

/// Reads all authorizations of an order; those read since the order itself was read are not asked for again.
async fn authorizations(order: &mut Order) -> Result<Vec<Authorization>, AcmeError> {
    let mut read = Vec::new();
    let mut all = order.authorizations();
    while let Some(next) = all.next().await {
        let mut handle = next?;
        read.push(Authorization {
            name: handle.identifier().to_string(),
            status: handle.status,
            failure: handle
                .challenges
                .iter()
                .find_map(|challenge| challenge.error.as_ref())
                .map(problem),
            challenge: handle
                .challenge(ChallengeType::Dns01)
                .map(|challenge| (challenge.status, challenge.key_authorization().dns_value())),
        });
    }
    Ok(read)
}

/// Tells the CA that the challenge with this value can be validated (RFC 8555 §7.5.1).
async fn tell(order: &mut Order, value: &str) -> Result<(), AcmeError> {
    let mut all = order.authorizations();
    while let Some(next) = all.next().await {
        let mut handle = next?;
        let pending = handle.status == AuthorizationStatus::Pending;
        if let Some(mut challenge) = handle.challenge(ChallengeType::Dns01)
            && challenge.key_authorization().dns_value() == value
        {
            // Whatever else has become of it shows in the order.
            return if pending {
                challenge.set_ready().await
            } else {
                Ok(())
            };
        }
    }
    Err(AcmeError::Other(
        "the challenge is not part of the order any more".into(),
    ))
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

//! The CA by ACME (RFC 8555), through instant-acme, which signs and parses.
//!
//! Connections are `http`'s, the account is `account`'s, an order once made is `order`'s, and what went wrong is said by
//! `fault`. One certificate costs eight requests: nonce, order, authorization, challenge, order, finalize, order, chain.
//!
//! Deliberately absent: external account binding, alternate chains.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use faythe_core::ari::{CertificateId, RenewalInfo};
use faythe_core::name::Hostname;
use faythe_core::order::OrderStatus;
use faythe_core::problem::{Problem, ProblemKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use instant_acme::{
    Account, CertificateIdentifier, Identifier, NewOrder as Request, RevocationReason, RevocationRequest,
};
use rustls::pki_types::CertificateDer;

use super::account::Keeper;
use super::fault::{Asked, Nonces, fault, refusal, silence};
pub use super::http::{Clock, Limits, SetupError, Traffic};
use super::http::{Directory, Http, listen};
use super::order::AcmeOrder;
use super::{Ca, CaError, CaOrder, NewOrder, Revocation, renewal};
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

    async fn make(&self, wanted: &NewOrder<'_>) -> Result<AcmeOrder, CaError> {
        let host = wanted.host;
        if let Some(url) = self.stranded(|stranded| stranded.get(host).cloned()) {
            match self.take_up(&url).await {
                Ok(order) if order.view().status != OrderStatus::Invalid => {
                    self.stranded(|stranded| stranded.remove(host));
                    return Ok(order);
                }
                // It has ended meanwhile.
                Ok(_) | Err(CaError::Gone { .. }) => {}
                // It is not ours, or something else that will not pass.
                Err(CaError::Refused(problem))
                    if problem.status.is_some_and(|status| status < 500 && status != 429) => {}
                Err(error) => return Err(error),
            }
            self.stranded(|stranded| stranded.remove(host));
        }
        let mut order = self.obtain(Wanted::New(wanted)).await?;
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
                Wanted::New(wanted) => {
                    let identifiers = [Identifier::Dns(wanted.host.to_string())];
                    let mut order = Request::new(&identifiers);
                    if let Some(profile) = wanted.profile.or(self.profile.as_deref()) {
                        order = order.profile(profile);
                    }
                    if let Some((issuer, serial)) = wanted.replaces.and_then(|id| id.as_str().split_once('.'))
                    {
                        order = order.replaces(CertificateIdentifier {
                            authority_key_identifier: issuer.into(),
                            serial: serial.into(),
                        });
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

    async fn ask_renewal(&self, certificate: &CertificateId) -> Result<Option<RenewalInfo>, CaError> {
        let url = self.keeper.directory();
        let directory = match Directory::ask(&self.http, url).await.map_err(silence)? {
            Ok(directory) => directory,
            Err(answer) => return Err(refusal(&answer, Asked::Endpoint(url))),
        };
        let Some(place) = directory.renewal_info else {
            return Ok(None);
        };
        let url = format!("{}/{certificate}", place.trim_end_matches('/'));
        let answer = self.http.get(&url).await.map_err(silence)?;
        if !answer.status.is_success() {
            return Err(refusal(&answer, Asked::Endpoint(&url)));
        }
        renewal::read(&answer).map(Some)
    }

    async fn ask_revocation(&self, certificate: &[u8], reason: Revocation) -> Result<(), CaError> {
        let account = self.keeper.account().await?;
        let certificate = CertificateDer::from(certificate);
        let mut nonces = Nonces::default();
        loop {
            let request = RevocationRequest {
                certificate: &certificate,
                reason: match reason {
                    Revocation::Unspecified => None,
                    Revocation::KeyCompromise => Some(RevocationReason::KeyCompromise),
                    Revocation::Superseded => Some(RevocationReason::Superseded),
                    Revocation::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
                },
            };
            let (revoked, answer) = listen(account.revoke(&request)).await;
            let Err(error) = revoked else { return Ok(()) };
            let error = fault(error, answer.as_ref(), Asked::Endpoint(self.keeper.directory()));
            if matches!(&error, CaError::Refused(problem) if problem.kind == ProblemKind::AlreadyRevoked) {
                return Ok(());
            }
            nonces.again(error)?;
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
    /// A new one.
    New(&'a NewOrder<'a>),
}

impl Ca for Acme {
    fn open<'a>(&'a self, order: &'a NewOrder<'a>) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>> {
        async { Ok(Box::new(self.make(order).await?) as Box<dyn CaOrder>) }.boxed()
    }

    fn resume<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>> {
        async { Ok(Box::new(self.take_up(url).await?) as Box<dyn CaOrder>) }.boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), CaError>> {
        self.look().boxed()
    }

    fn renewal_info<'a>(
        &'a self,
        certificate: &'a CertificateId,
    ) -> BoxFuture<'a, Result<Option<RenewalInfo>, CaError>> {
        self.ask_renewal(certificate).boxed()
    }

    fn revoke<'a>(&'a self, certificate: &'a [u8], reason: Revocation) -> BoxFuture<'a, Result<(), CaError>> {
        self.ask_revocation(certificate, reason).boxed()
    }
}

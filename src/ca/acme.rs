//! The CA by ACME (RFC 8555), with ARI (RFC 9773) and profiles (draft-ietf-acme-profiles).
//!
//! Signed requests are `exchange`'s, the account is `account`'s, an order once made is `order`'s, and what went wrong is
//! said by `problem`. One certificate costs seven requests: order, authorization, challenge, order, finalize, order,
//! chain; nonces come with the answers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use faythe_core::ari::{CertificateId, RenewalInfo};
use faythe_core::budget::{self, Endpoint, Exemption, Grant};
use faythe_core::caa::Issuer;
use faythe_core::problem::{Problem, ProblemKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use serde_json::json;

use super::account::{Account, Keeper, location};
pub use super::account::{Binding, Registration};
pub use super::change::Shown;
pub use super::connect::{NoProxy, Proxy};
use super::directory::Directory;
use super::exchange::{Exchange, success};
use super::http::Http;
pub use super::http::{Clock, Limits, SetupError, Traffic};
pub use super::jws::MacAlgorithm;
use super::order::AcmeOrder;
use super::problem::{Asked, silence};
use super::{Ca, CaError, CaOrder, Leave, NewOrder, Revocation, jws, renewal};
use crate::store::Store;
use crate::x509::KeyType;

/// The fallback that leaves the choice of a profile to the CA, where the CA has none of that name.
const OWN_CHOICE: &str = "default";

/// What the operator chose about the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The CA's directory URL (RFC 8555 §7.1.1).
    pub directory: String,
    /// How an account is made there.
    pub registration: Registration,
    /// The profile to ask for (draft-ietf-acme-profiles); `None` leaves the choice to the CA.
    pub profile: Option<String>,
    /// The profile to ask for where the CA does not offer that one, or another one that is asked for; `default` leaves
    /// the choice to the CA. `None` where nothing stands in.
    pub profile_fallback: Option<String>,
    /// Common name of an issuer, a root as a rule, that the chain should lead to.
    pub preferred_chain: Option<String>,
    /// A PEM file with roots to trust for the CA's HTTPS besides the system's.
    pub roots: Option<PathBuf>,
    /// The proxy that leads to it.
    pub proxy: Option<Proxy>,
    /// How fast it may be asked, and how many accounts it makes.
    pub budget: budget::Limits,
    /// Bounds of one exchange.
    pub limits: Limits,
}

impl Settings {
    /// A CA of which nothing is known but its directory.
    #[must_use]
    pub fn of(directory: String) -> Self {
        Self {
            directory,
            registration: Registration {
                email: None,
                key_type: KeyType::default(),
                binding: None,
            },
            profile: None,
            profile_fallback: None,
            preferred_chain: None,
            roots: None,
            proxy: None,
            budget: budget::Limits::default(),
            limits: Limits::default(),
        }
    }
}

/// A CA that speaks ACME, and our account there.
pub struct Acme {
    exchange: Arc<Exchange>,
    keeper: Arc<Keeper>,
    profile: Option<String>,
    profile_fallback: Option<String>,
    /// The profiles for which another stands in, as has been told.
    missed: Mutex<BTreeSet<String>>,
    preferred_chain: Option<Arc<str>>,
}

impl Acme {
    /// Sets the adapter up; asks nobody, neither the CA nor the store. The CA is sent what costs or changes something as long
    /// as `leave` says so.
    ///
    /// # Errors
    /// When no request could ever be made: a directory URL that is none, or nobody to trust.
    pub fn new(
        settings: Settings,
        store: Arc<dyn Store>,
        clock: Clock,
        leave: Leave,
    ) -> Result<Self, SetupError> {
        let Settings {
            directory,
            registration,
            profile,
            profile_fallback,
            preferred_chain,
            roots,
            proxy,
            budget,
            limits,
        } = settings;
        let http = Http::new(&directory, proxy, roots.as_ref(), limits, &budget, clock)?;
        let exchange = Arc::new(Exchange::new(http, directory, leave));
        let keeper = Arc::new(Keeper::new(Arc::clone(&exchange), store, registration));
        Ok(Self {
            exchange,
            keeper,
            profile,
            profile_fallback,
            missed: Mutex::default(),
            preferred_chain: preferred_chain.map(Arc::from),
        })
    }

    /// What is known of our account; `None` if there is none yet, and none is made.
    ///
    /// # Errors
    /// When CA or store cannot say.
    pub async fn account(&self) -> Result<Option<Shown>, CaError> {
        self.keeper.show().await
    }

    /// Gives our account another key, whose kind is the settings'. Its URL stays, and is returned.
    ///
    /// # Errors
    /// When there is no account, or CA or store refuse; it can be repeated after any.
    pub async fn roll_over(&self) -> Result<String, CaError> {
        self.keeper.roll_over().await
    }

    /// Makes another account and uses that from now on; returns its URL. The old one is left alone at the CA.
    ///
    /// # Errors
    /// When there is no account, or CA or store refuse; it can be repeated after any.
    pub async fn move_to_new_account(&self) -> Result<String, CaError> {
        self.keeper.move_on().await
    }

    /// How many requests the CA was sent.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.traffic().requests
    }

    /// How exchanges with the CA have ended so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.exchange.http.traffic()
    }

    async fn make(&self, grant: &Grant, wanted: NewOrder<'_>) -> Result<AcmeOrder, CaError> {
        let mut order = self.obtain(Wanted::New(grant, wanted)).await?;
        match order.explore().await {
            Ok(()) => Ok(order),
            Err(error) => Err(CaError::Unread {
                url: order.url().to_owned(),
                expires: order.view().expires,
                source: Arc::new(error),
            }),
        }
    }

    async fn take_up(&self, url: &str) -> Result<AcmeOrder, CaError> {
        let mut order = self.obtain(Wanted::Known(url)).await?;
        order.explore().await?;
        Ok(order)
    }

    /// Gets an order with our account; if that turns out to be another by now, tries once more with it.
    async fn obtain(&self, wanted: Wanted<'_>) -> Result<AcmeOrder, CaError> {
        let account = self.keeper.account().await?;
        match self.ask(&account, wanted).await {
            Err(error) if self.keeper.reconsider(&account, &error).await => {
                self.ask(&self.keeper.account().await?, wanted).await
            }
            other => other,
        }
    }

    async fn ask(&self, account: &Arc<Account>, wanted: Wanted<'_>) -> Result<AcmeOrder, CaError> {
        let (url, answer, profile) = match wanted {
            Wanted::Known(url) => {
                let answer = self.exchange.read(account, Asked::Object(url)).await?;
                (url.to_owned(), answer, None)
            }
            Wanted::New(grant, wanted) => {
                let (answer, profile) = self.order(account, grant, wanted).await?;
                (location(&answer)?, answer, profile)
            }
        };
        let order = AcmeOrder::new(
            url,
            &answer,
            Arc::clone(account),
            &self.exchange,
            &self.keeper,
            self.preferred_chain.clone(),
        )?;
        Ok(order.with(profile))
    }

    /// Asks for a new order (RFC 8555 §7.4), and once again with the profile that stands in where the CA does not take the one
    /// that is wanted; says with which.
    async fn order<'a>(
        &'a self,
        account: &Account,
        grant: &Grant,
        wanted: NewOrder<'a>,
    ) -> Result<(super::http::Answer, Option<&'a str>), CaError> {
        let wished = wanted.profile.or(self.profile.as_deref());
        let (directory, profile) = self.directory_with(wished).await?;
        let made = self
            .order_of(account, grant, &directory, profile, wanted.replaces)
            .await;
        match (made, profile) {
            (Err(CaError::Refused(problem)), Some(refused)) if problem.is_about_profile() => {
                // It may have gone since the directory was read.
                let directory = self.exchange.directories.in_doubt().await?;
                let Some(other) = self.stand_in(refused, &directory) else {
                    return Err(CaError::Refused(problem));
                };
                let made = self
                    .order_of(account, grant, &directory, other, wanted.replaces)
                    .await?;
                Ok((made, other))
            }
            (made, profile) => Ok((made?, profile)),
        }
    }

    /// Asks for a new order with this profile, and once again without its predecessor if the CA does not want that
    /// (RFC 9773 §5) and the grant is for an order that counts.
    async fn order_of(
        &self,
        account: &Account,
        grant: &Grant,
        directory: &Directory,
        profile: Option<&str>,
        replaces: Option<&CertificateId>,
    ) -> Result<super::http::Answer, CaError> {
        let host = grant.host();
        let mut payload = json!({ "identifiers": [{ "type": "dns", "value": host.to_string() }] });
        if let Some(profile) = profile {
            payload["profile"] = profile.into();
        }
        let asked = Asked::Service(Endpoint::NewOrder, &directory.new_order);
        // A CA without ARI does not know the member, and might refuse it.
        let replaces = replaces.filter(|_| directory.renewal_info.is_some());
        // Only what replaces one is not counted.
        let has_to_replace = grant.exemption() == Exemption::Window;
        if let Some(replaces) = replaces {
            let mut payload = payload.clone();
            payload["replaces"] = replaces.as_str().into();
            match self.exchange.send(account, asked, &payload).await {
                Err(CaError::Refused(problem)) if problem.is_about_predecessor() => {
                    if has_to_replace {
                        return Err(CaError::Irreplaceable(problem));
                    }
                    tracing::debug!(%host, %problem, "ordered without the certificate that it replaces");
                }
                other => return other,
            }
        } else if has_to_replace {
            return Err(CaError::Irreplaceable(Problem {
                status: None,
                kind: ProblemKind::AlreadyReplaced,
                detail: "it offers no renewal information any more".to_owned(),
                retry_after: None,
            }));
        }
        self.exchange.send(account, asked, &payload).await
    }

    /// The directory, and the profile to ask for: the one that is wished for, which the CA must have on offer, or the one
    /// that stands in for it. The directory is read again where it has not.
    async fn directory_with<'a>(
        &'a self,
        wished: Option<&'a str>,
    ) -> Result<(Arc<Directory>, Option<&'a str>), CaError> {
        let directory = self.exchange.directories.current().await?;
        let Some(profile) = wished.filter(|profile| !directory.has_profile(profile)) else {
            self.offered(wished);
            return Ok((directory, wished));
        };
        let directory = self.exchange.directories.in_doubt().await?;
        if directory.has_profile(profile) {
            self.offered(wished);
            return Ok((directory, wished));
        }
        match self.stand_in(profile, &directory) {
            Some(other) => Ok((directory, other)),
            None => Err(directory.without_profile(profile)),
        }
    }

    /// What is asked for in the place of a profile that the CA does not take, if the operator wants that and it can be had;
    /// `Some(None)` where the choice is left to the CA. It is told once for each profile.
    fn stand_in(&self, profile: &str, directory: &Directory) -> Option<Option<&str>> {
        let other = self
            .profile_fallback
            .as_deref()
            .filter(|other| *other != profile)?;
        let has = directory.has_profile(other);
        if !has && other != OWN_CHOICE {
            return None;
        }
        if self.missed(|missed| missed.insert(profile.to_owned())) {
            let ca = self.exchange.directories.url();
            tracing::warn!(
                ca,
                profile,
                other,
                "the CA does not offer the profile; `profile_fallback` stands in for it"
            );
        }
        Some(Some(other).filter(|_| has))
    }

    /// The CA offers a profile, again perhaps.
    fn offered(&self, profile: Option<&str>) {
        if let Some(profile) = profile {
            self.missed(|missed| missed.remove(profile));
        }
    }

    fn missed<T>(&self, change: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        change(&mut self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn look(&self) -> Result<(), CaError> {
        let directory = self.exchange.directories.ask().await?;
        self.keeper.may_register(&directory).await?;
        let profile = self.profile.as_deref();
        profile.map_or(Ok(()), |profile| self.takes(profile, &directory))
    }

    /// Whether orders with this profile can be made: the CA offers it, or what stands in for it.
    ///
    /// # Errors
    /// When they cannot, or the CA does not say.
    pub async fn offers(&self, profile: &str) -> Result<(), CaError> {
        self.takes(profile, &*self.exchange.directories.current().await?)
    }

    fn takes(&self, profile: &str, directory: &Directory) -> Result<(), CaError> {
        if directory.has_profile(profile) || self.stand_in(profile, directory).is_some() {
            return Ok(());
        }
        Err(directory.without_profile(profile))
    }

    /// Asks for the window of a certificate; that needs neither account nor nonce (RFC 9773 §4.1).
    async fn ask_renewal(&self, certificate: &CertificateId) -> Result<Option<RenewalInfo>, CaError> {
        let mut directory = self.exchange.directories.current().await?;
        if directory.renewal_info.is_none() {
            directory = self.exchange.directories.in_doubt().await?;
        }
        let Some(place) = &directory.renewal_info else {
            return Ok(None);
        };
        let url = format!("{}/{certificate}", place.trim_end_matches('/'));
        let asked = Asked::Service(Endpoint::RenewalInfo, &url);
        let answer = self.exchange.http.get(asked).await.map_err(silence)?;
        renewal::read(&success(answer, asked)?).map(Some)
    }

    async fn ask_revocation(&self, certificate: &[u8], reason: Revocation) -> Result<(), CaError> {
        let directory = self.exchange.directories.current().await?;
        let url = directory.revoke_cert.as_deref().ok_or_else(|| CaError::Garbled {
            url: self.exchange.directories.url().to_owned(),
            what: "the CA names no place for revocations in it".to_owned(),
            retry_after: None,
            status: None,
        })?;
        let account = self.keeper.account().await?;
        let mut payload = json!({ "certificate": jws::encode(certificate), "reason": reason as u8 });
        let asked = Asked::Service(Endpoint::Revoke, url);
        let mut revoked = self.exchange.send(&account, asked, &payload).await;
        if let Err(CaError::Refused(problem)) = &revoked
            && problem.kind == ProblemKind::BadRevocationReason
        {
            tracing::warn!(?reason, %problem, "the CA does not take the reason; revoked without one");
            // It need not be there (RFC 8555 §7.6).
            payload.as_object_mut().map(|members| members.remove("reason"));
            revoked = self.exchange.send(&account, asked, &payload).await;
        }
        match revoked {
            Ok(_) => Ok(()),
            Err(CaError::Refused(problem)) if problem.kind == ProblemKind::AlreadyRevoked => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Which order is wanted.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    /// The one at this URL.
    Known(&'a str),
    /// A new one.
    New(&'a Grant, NewOrder<'a>),
}

impl Ca for Acme {
    fn open<'a>(
        &'a self,
        grant: Grant,
        order: NewOrder<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>> {
        async move { Ok(Box::new(self.make(&grant, order).await?) as Box<dyn CaOrder>) }.boxed()
    }

    fn resume<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn CaOrder>, CaError>> {
        async { Ok(Box::new(self.take_up(url).await?) as Box<dyn CaOrder>) }.boxed()
    }

    fn directory(&self) -> &str {
        self.exchange.directories.url()
    }

    fn clock_ahead(&self) -> Option<SignedDuration> {
        self.exchange.http.clock_ahead()
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

    fn issuer(&self) -> BoxFuture<'_, Result<Issuer, CaError>> {
        self.keeper.issuer().boxed()
    }

    fn revoke<'a>(&'a self, certificate: &'a [u8], reason: Revocation) -> BoxFuture<'a, Result<(), CaError>> {
        self.ask_revocation(certificate, reason).boxed()
    }
}

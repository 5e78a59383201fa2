//! The election: a Lease of coordination.k8s.io, which its holder renews and anybody may take once it has not changed for
//! its duration.
//!
//! How old a Lease is, our own clock says, from when we saw it change; what the writer's clock says is for people to
//! read. The holder counts from before it sent its last renewal, and for a shorter time, so that it has stopped acting
//! before anybody may take over. Nothing here ends but by the signal: while the API server is away, nobody leads.
//!
//! Where Leases are forbidden, as they were to the old tool's users, the instance leads without an election. That is
//! believed of an API server that lets us list Secrets, and never by one that watches another: an API server that has
//! just started refuses everything for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use faythe_core::schedule::after;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ListParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Office;
use crate::clock::Now;
use crate::cluster::{Fault, MANAGER, short_hash, words};

/// How long a Lease that does not change is respected. With the time until its last change is noticed, a crash is made
/// up for within 15 s.
const DURATION: Duration = Duration::from_secs(10);
/// How long a holder acts after it has sent a renewal: what is under way then has 3 s to arrive before others may act.
const TERM: Duration = Duration::from_secs(7);
/// A holder renews at this pace, so that one lost answer costs no leadership.
const RENEW: Duration = Duration::from_millis(2_500);
/// Others look at this pace, so that what is released is taken at once.
const LOOK: Duration = Duration::from_secs(1);
/// An exchange that takes longer is given up; two fit into a term.
const PATIENCE: Duration = Duration::from_secs(3);
/// The first and the longest rest after an exchange that failed.
const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Where there is no election, it is tried again at this pace: permissions change while we run.
const AGAIN: Duration = Duration::from_secs(60);
/// So often in a row, [`LOOK`] apart, Leases have to be forbidden and Secrets not. Roles reach an API server one by one.
const REFUSALS: u32 = 3;
/// Whatever another version has written as its duration, nobody is waited for longer.
const DURATION_MAX: i32 = 60;
/// The zones that the holder serves, so that a Faythe for others is not taken for a replica.
const ZONES: &str = "faythe/zones";

/// What is elected, and who stands for election.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Who we are; two processes of one name must never run at a time.
    pub identity: String,
    /// The zones that are served here.
    pub zones: BTreeSet<String>,
}

/// One candidate.
pub struct Election {
    api: Api<Lease>,
    /// What every Faythe may read.
    secrets: Api<Secret>,
    settings: Settings,
    office: Office,
    now: Now,
    /// The Lease as we wrote it last; `None` when it has to be looked at first.
    ours: Option<Lease>,
    /// The number of the holding that is ours, as the Lease counts them.
    holding: Option<i32>,
    /// Somebody else's Lease, and when we saw it change.
    theirs: Option<(String, Instant)>,
    /// Another has been seen to lead, and we have not led since.
    watching: bool,
    without: bool,
    /// How often in a row the Lease alone was forbidden.
    refusals: u32,
    failures: u32,
    exchanges: u32,
    /// What has been told, so that it is told once.
    told: Option<String>,
}

/// How an exchange ended.
enum Round {
    /// Somebody else holds the Lease; it may be taken after this if it does not change.
    Away(Duration),
    /// What we knew of the Lease was not true any more.
    Changed,
    /// It is ours.
    Held,
    /// It is held by a Faythe that serves other zones.
    Stranger(String),
}

impl Election {
    /// A candidate; asks nobody yet.
    #[must_use]
    pub fn new(client: &Client, settings: Settings, office: Office, now: Now) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &settings.namespace),
            secrets: Api::namespaced(client.clone(), &settings.namespace),
            settings,
            office,
            now,
            ours: None,
            holding: None,
            theirs: None,
            watching: false,
            without: false,
            refusals: 0,
            failures: 0,
            exchanges: 0,
            told: None,
        }
    }

    /// Stands for election until `stop`, then lets go of the Lease, so that another may lead at once.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(wait) = stop.run_until_cancelled(self.round()).await {
            let waited = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
            if waited.is_none() {
                break;
            }
        }
        self.office.leave();
        // An exchange that the signal has cut short may have changed the Lease: it is looked at in any case.
        self.ours = None;
        let released = timeout(PATIENCE, self.release()).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::info!("the Lease could not be released; another instance takes it when it has run out");
        }
    }

    /// One exchange; answers how long to wait for the next.
    async fn round(&mut self) -> Duration {
        let began = Instant::now();
        let end = (began + TERM, after((self.now)(), TERM));
        self.exchanges = self.exchanges.wrapping_add(1);
        let outcome = match timeout(PATIENCE, self.exchange(end)).await {
            Ok(outcome) => outcome.map_err(|error| (Fault::of(&error), words(&error))),
            Err(_) => Err((Fault::Unavailable(None), "it does not answer".to_owned())),
        };
        if outcome.is_ok() {
            (self.failures, self.refusals) = (0, 0);
        }
        match outcome {
            Ok(Round::Away(left)) => self.jitter(LOOK).min(left),
            Ok(Round::Changed) => Duration::ZERO,
            Ok(Round::Held) => self.jitter(RENEW),
            Ok(Round::Stranger(zones)) => self.go_without(&format!(
                "it belongs to a Faythe that serves {zones}; give each its own `lease_name`"
            )),
            Err((Fault::Forbidden, words)) => self.refused(&words).await,
            Err((fault, words)) => self.fail(&fault, &words),
        }
    }

    async fn exchange(&mut self, end: (Instant, faythe_core::Timestamp)) -> kube::Result<Round> {
        if let Some(ours) = self.ours.take() {
            return self.write(ours, end).await;
        }
        let Some(lease) = self.api.get_opt(&self.settings.name).await? else {
            return self.create(end).await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if holder.is_empty() || holder == self.settings.identity {
            return self.write(lease, end).await;
        }
        let version = lease.resource_version().unwrap_or_default();
        let seen = match &self.theirs {
            Some((known, seen)) if *known == version => *seen,
            Some(_) | None => {
                // Counted from when the answer has come, so that it is never older than we think.
                let now = Instant::now();
                self.theirs = Some((version, now));
                now
            }
        };
        let duration = spec.lease_duration_seconds.unwrap_or_default();
        let duration = Duration::from_secs(duration.clamp(1, DURATION_MAX).unsigned_abs().into());
        let left = duration.saturating_sub(seen.elapsed());
        if let Some(zones) = self.stranger(&lease).filter(|_| !left.is_zero()) {
            return Ok(Round::Stranger(zones));
        }
        if left.is_zero() {
            tracing::info!(
                holder,
                "the Lease has not been renewed for {duration:?}; taking it over"
            );
            return self.write(lease, end).await;
        }
        self.leave();
        self.watching = true;
        self.tell(&format!("watching {holder}"), || {
            tracing::info!(holder, "another instance leads; this one watches");
        });
        Ok(Round::Away(left))
    }

    async fn create(&mut self, end: (Instant, faythe_core::Timestamp)) -> kube::Result<Round> {
        let mut lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        self.fill(&mut lease);
        let created = self.api.create(&params(), &lease).await;
        self.written(created, end)
    }

    /// Renews or takes over what was seen, unless it has changed since.
    async fn write(
        &mut self,
        mut lease: Lease,
        end: (Instant, faythe_core::Timestamp),
    ) -> kube::Result<Round> {
        self.fill(&mut lease);
        let name = self.settings.name.clone();
        let written = self.api.replace(&name, &params(), &lease).await;
        self.written(written, end)
    }

    fn written(
        &mut self,
        written: kube::Result<Lease>,
        end: (Instant, faythe_core::Timestamp),
    ) -> kube::Result<Round> {
        let lease = match written {
            Ok(lease) => lease,
            Err(error) => {
                let changed = matches!(Fault::of(&error), Fault::Conflict | Fault::Exists);
                return if changed { Ok(Round::Changed) } else { Err(error) };
            }
        };
        let holding = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        if self.holding.is_some() && self.holding == holding && !self.without {
            self.office.extend(end);
        } else {
            self.office.begin(Some(end));
        }
        self.without = false;
        self.watching = false;
        self.holding = holding;
        self.theirs = None;
        self.ours = Some(lease);
        self.tell("leading", || tracing::info!("this instance leads"));
        Ok(Round::Held)
    }

    /// Puts us into a Lease: as before if it has been ours all the time, or else as a new holder.
    fn fill(&self, lease: &mut Lease) {
        let now = MicroTime((self.now)());
        let zones = self.settings.zones.iter().cloned().collect::<Vec<_>>().join(",");
        lease.annotations_mut().insert(ZONES.to_owned(), zones);
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        let holder = spec.holder_identity.as_ref() == Some(&self.settings.identity);
        if !holder || self.holding.is_none() || self.holding != spec.lease_transitions {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.wrapping_add(1)));
        }
        spec.holder_identity = Some(self.settings.identity.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
    }

    async fn release(&mut self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else {
            return Ok(());
        };
        let Some(spec) = &mut lease.spec else {
            return Ok(());
        };
        if spec.holder_identity.as_ref() != Some(&self.settings.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime((self.now)()));
        self.api.replace(&self.settings.name, &params(), &lease).await?;
        Ok(())
    }

    /// The zones of a holder that serves none of ours.
    fn stranger(&self, lease: &Lease) -> Option<String> {
        let zones = lease.annotations().get(ZONES).filter(|zones| !zones.is_empty())?;
        let common = zones.split(',').any(|zone| self.settings.zones.contains(zone));
        (!common).then(|| zones.clone())
    }

    fn leave(&mut self) {
        self.without = false;
        self.holding = None;
        self.office.leave();
    }

    /// RBAC does not allow it, or does not know yet that it does.
    async fn refused(&mut self, words: &str) -> Duration {
        if !self.without {
            self.refusals = self.refusals.saturating_add(1);
            if self.watching || !self.is_known().await {
                self.refusals = 0;
                return self.fail(&Fault::Forbidden, words);
            }
            if self.refusals < REFUSALS {
                return self.jitter(LOOK);
            }
        }
        self.go_without(&format!(
            "{words}; grant it as deploy/rbac.yaml does, or set `leader_election` to false"
        ))
    }

    /// Whether the API server knows our rights, by one that we have everywhere.
    async fn is_known(&self) -> bool {
        let one = ListParams::default().limit(1);
        matches!(
            timeout(PATIENCE, self.secrets.list_metadata(&one)).await,
            Ok(Ok(_))
        )
    }

    fn go_without(&mut self, why: &str) -> Duration {
        if !self.without {
            self.without = true;
            self.holding = None;
            self.office.begin(None);
        }
        let Settings { namespace, name, .. } = self.settings.clone();
        self.tell("without", || {
            tracing::warn!(lease = name, namespace, "going on without leader election: {why}");
        });
        self.jitter(AGAIN)
    }

    fn fail(&mut self, fault: &Fault, words: &str) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // One lost answer is made up for within the term; a second one is worth a word.
        if self.failures == 2 {
            self.tell("failing", || {
                tracing::warn!(
                    class = fault.code(),
                    error = words,
                    "the Lease cannot be renewed or read; nothing is done until it can"
                );
            });
        }
        let (first, longest) = REST;
        let usual = first
            .saturating_mul(1 << self.failures.min(10).saturating_sub(1))
            .min(longest);
        self.jitter(usual.max(fault.retry_after().unwrap_or_default().min(longest)))
    }

    fn tell(&mut self, what: &str, tell: impl FnOnce()) {
        if self.told.as_deref() != Some(what) {
            tell();
            self.told = Some(what.to_owned());
        }
    }

    /// A time between four fifths of `wait` and the whole of it, another for each instance and exchange.
    fn jitter(&self, wait: Duration) -> Duration {
        let digits = short_hash(&[&self.settings.identity, &self.exchanges.to_string()]);
        let share = digits
            .get(..2)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .unwrap_or_default();
        wait - wait * share / (5 * 256)
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Who this process is: the Pod that it runs in, of which there is one process at a time, so that a container that is
/// started again leads on at once; elsewhere the machine and something random.
///
/// # Errors
/// When the system has no random numbers.
pub fn identity() -> std::io::Result<String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(uid) = variable("POD_UID") {
        let name = variable("POD_NAME").unwrap_or_else(|| "pod".to_owned());
        return Ok(format!("{name}_{uid}"));
    }
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut random = [0; 8];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}_{random}", machine.trim()))
}

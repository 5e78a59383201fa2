//! The election: a Lease of coordination.k8s.io, which its holder renews and anybody may take once it has not changed for
//! its duration.
//!
//! How old a Lease is, our own clock says, from when we saw it change; what the writer's clock says is for people to
//! read. The holder counts from before it sent its last renewal, and for a shorter time, so that it has stopped acting
//! before anybody may take over. Nothing here ends but by the signal: while the API server is away, nobody leads.
//!
//! A Lease that a Faythe for other zones holds is shared with it: each has a seat of its own.
//!
//! Where Leases are forbidden, as they were to the old tool's users, the instance leads without an election. That is
//! believed of an API server that lets us list Secrets, and never by one that watches another: an API server that has
//! just started refuses everything for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use faythe_core::schedule::after;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use kube::core::ObjectMeta;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::seats::{self, Judgment, Place, Seats, Sitter};
use super::{Office, Standing};
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
    /// The Lease as we wrote it last, where it is ours alone; `None` when it has to be looked at first.
    ours: Option<Lease>,
    /// Since when we have held a seat without a break, as the Lease says.
    holding: Option<MicroTime>,
    /// What was seen of the Lease.
    seats: Seats,
    /// Another has been seen to lead, and we have not led since.
    watching: bool,
    without: bool,
    /// How often in a row the Lease alone was forbidden.
    refusals: u32,
    failures: u32,
    exchanges: u32,
    /// What has been told, so that it is told once.
    told: Option<String>,
    /// Of whose zones it has been told that their Faythe shares our Lease.
    sharing: Option<String>,
}

/// How an exchange ended.
enum Round {
    /// Somebody else holds the Lease; it may be taken after this if it does not change.
    Away(Duration),
    /// What we knew of the Lease was not true any more.
    Changed,
    /// It is ours, or a seat of it is.
    Held,
}

/// What is written into a Lease to lead.
struct Claim {
    place: Place,
    clear: Vec<Place>,
    end: (Instant, faythe_core::Timestamp),
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
            seats: Seats::default(),
            watching: false,
            without: false,
            refusals: 0,
            failures: 0,
            exchanges: 0,
            told: None,
            sharing: None,
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
            // At once, but for an API server that says so of every write.
            Ok(Round::Changed) => self.jitter(REST.0),
            Ok(Round::Held) => self.jitter(RENEW),
            Err((Fault::Forbidden, words)) => self.refused(&words).await,
            Err((fault, words)) => self.fail(&fault, &words),
        }
    }

    async fn exchange(&mut self, end: (Instant, faythe_core::Timestamp)) -> kube::Result<Round> {
        let mut claim = Claim {
            place: Place::Spec,
            clear: Vec::new(),
            end,
        };
        if let Some(ours) = self.ours.take() {
            return self.write(ours, &claim).await;
        }
        let found = self.api.get_opt(&self.settings.name).await?;
        let now = Instant::now();
        let Settings { identity, zones, .. } = &self.settings;
        let Some(lease) = found else {
            // Whoever held it when it was deleted acts until it knows.
            return match self.seats.judge(identity, zones, now) {
                Judgment::Free { .. } => self.create(&claim).await,
                Judgment::Taken { left, .. } => Ok(Round::Away(left)),
            };
        };
        self.seats.look(&lease, now);
        match self.seats.judge(identity, zones, now) {
            Judgment::Free {
                place,
                clear,
                over,
                beside,
            } => {
                if let Some((holder, duration)) = over {
                    tracing::info!(
                        holder,
                        "the Lease has not been renewed for {duration:?}; taking it over"
                    );
                }
                self.tell_sharing(beside);
                claim = Claim { place, clear, end };
                self.write(lease, &claim).await
            }
            Judgment::Taken {
                holder,
                left,
                unserved,
            } => {
                self.leave();
                self.watching = true;
                self.watch(holder, &unserved.join(","));
                Ok(Round::Away(left))
            }
        }
    }

    async fn create(&mut self, claim: &Claim) -> kube::Result<Round> {
        let mut lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        self.sit(&mut lease, claim);
        let created = self.api.create(&params(), &lease).await;
        self.written(created, claim)
    }

    /// Renews or takes over what was seen, unless it has changed since.
    async fn write(&mut self, mut lease: Lease, claim: &Claim) -> kube::Result<Round> {
        self.sit(&mut lease, claim);
        let name = self.settings.name.clone();
        let written = self.api.replace(&name, &params(), &lease).await;
        self.written(written, claim)
    }

    fn written(&mut self, written: kube::Result<Lease>, claim: &Claim) -> kube::Result<Round> {
        let lease = match written {
            Ok(lease) => lease,
            Err(error) => {
                let changed = matches!(Fault::of(&error), Fault::Conflict | Fault::Exists);
                return if changed { Ok(Round::Changed) } else { Err(error) };
            }
        };
        let holding = seats::since(&lease, &claim.place, &self.settings.identity);
        if self.holding.is_some() && self.holding == holding && !self.without {
            self.office.extend(claim.end);
        } else {
            self.office.begin(Some(claim.end));
        }
        self.without = false;
        self.watching = false;
        self.holding = holding;
        let alone = claim.place == Place::Spec && !seats::has_others(&lease);
        self.ours = Some(lease).filter(|_| alone);
        self.office.stand(Standing::Leads);
        self.tell("leading", || tracing::info!("this instance leads"));
        Ok(Round::Held)
    }

    fn sit(&self, lease: &mut Lease, claim: &Claim) {
        let sitter = Sitter {
            identity: &self.settings.identity,
            zones: &self.settings.zones,
            duration: DURATION,
            holding: self.holding.as_ref(),
            now: MicroTime((self.now)()),
        };
        seats::sit(lease, &claim.place, &claim.clear, &sitter);
    }

    /// Lets go of what is ours, however often others write meanwhile.
    async fn release(&mut self) -> kube::Result<()> {
        while let Some(mut lease) = self.api.get_opt(&self.settings.name).await? {
            let now = MicroTime((self.now)());
            if !seats::stand_up(&mut lease, &self.settings.identity, &now) {
                break;
            }
            match self.api.replace(&self.settings.name, &params(), &lease).await {
                Err(error) if Fault::of(&error) == Fault::Conflict => {}
                released => return released.map(drop),
            }
        }
        Ok(())
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
                let words = format!(
                    "{words}; grant it as deploy/rbac.yaml does, and this instance goes on by itself"
                );
                return self.fail(&Fault::Forbidden, &words);
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
        self.office.stand(Standing::Without(why.to_owned()));
        let Settings { namespace, name, .. } = self.settings.clone();
        self.tell("without", || {
            tracing::warn!(lease = name, namespace, "going on without leader election: {why}");
        });
        self.jitter(AGAIN)
    }

    fn fail(&mut self, fault: &Fault, words: &str) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // One lost answer is made up for within the term; a second one is worth a word. Without an election nothing waits.
        if self.failures >= 2 && !self.without {
            self.office.stand(Standing::Waits(words.to_owned()));
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

    /// Says who leads, and what that one leaves out: those zones are nobody's meanwhile, since a zone has one leader.
    fn watch(&mut self, holder: String, unserved: &str) {
        self.tell(&format!("watching {holder} without {unserved}"), || {
            tracing::info!(holder, "another instance leads; this one watches");
            if !unserved.is_empty() {
                tracing::warn!(
                    holder,
                    zones = unserved,
                    "the instance that leads does not serve all of our zones, and those wait until it ends; give all that \
                     serve one zone the same zones, or others their own `lease_name`"
                );
            }
        });
        let text = if unserved.is_empty() {
            holder
        } else {
            format!("{holder}, which does not serve {unserved}")
        };
        self.office.stand(Standing::Watches(text));
    }

    /// Says once whose zones the one serves who holds the Lease that we share.
    fn tell_sharing(&mut self, zones: Option<String>) {
        if zones.is_some() && zones != self.sharing {
            let Settings { namespace, name, .. } = &self.settings;
            tracing::warn!(
                lease = name,
                namespace,
                zones,
                "the Lease belongs to a Faythe for other zones; ours is elected beside it; give each its own `lease_name`"
            );
            self.sharing = zones;
        }
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

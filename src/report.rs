//! How plans look to people and machines: log lines, Events, metrics, the HTTP endpoints.
//!
//! It sees each plan after it was made and can cause nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::budget::Kind;
use faythe_core::name::Hostname;
use faythe_core::plan::{Overdue, Plan, Planner};
use faythe_core::policy::Policy;
use faythe_core::verdict::{Announcement, Severity, State};
use faythe_core::want::{Asker, Refusal};
use faythe_core::world::World;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub mod events;
pub mod http;
pub mod metrics;

use metrics::Metrics;

/// An Ingress is told of trouble at most this often for one verdict; more askers are counted on to look at the first.
const TOLD_AT_MOST: usize = 10;

/// What is left of the budget is counted this often: it looks at every bucket in use.
const BUDGET_EVERY: Duration = Duration::from_secs(5);

/// What is overdue is looked for this often: it looks at every certificate.
const OVERDUE_EVERY: Duration = Duration::from_secs(10);

/// Something to be said on one Ingress.
#[derive(Clone, Debug)]
pub struct Notice {
    /// On which.
    pub asker: Arc<Asker>,
    /// What.
    pub announcement: Announcement,
}

/// What the HTTP endpoints know of the loop.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// Whether every first look has been completed.
    pub ready: bool,
    /// When the loop completed a turn.
    pub turned: Instant,
}

/// Tells of each plan.
pub struct Report {
    metrics: Arc<Metrics>,
    notices: mpsc::Sender<Notice>,
    health: watch::Sender<Health>,
    spoken: BTreeMap<Hostname, State>,
    /// What was announced last, by its key; nothing while a certificate is valid.
    announced: BTreeMap<Hostname, String>,
    ready: bool,
    leads: bool,
    /// When what is left of the budget was counted last.
    counted: Option<Instant>,
    /// When what is overdue was looked for last.
    searched: Option<Instant>,
    /// Whose renewal was late at the last look, and whether that has been told.
    late: BTreeMap<Hostname, bool>,
}

impl Report {
    /// Reports into `metrics`, `notices` and `health`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, notices: mpsc::Sender<Notice>, health: watch::Sender<Health>) -> Self {
        Self {
            metrics,
            notices,
            health,
            spoken: BTreeMap::new(),
            announced: BTreeMap::new(),
            ready: false,
            leads: false,
            counted: None,
            searched: None,
            late: BTreeMap::new(),
        }
    }

    /// Whether this instance acts. One that does not writes no Events: another does.
    pub fn lead(&mut self, leads: bool) {
        self.leads = leads;
        self.metrics.leader(leads);
    }

    /// Tells what `plan` has changed.
    pub fn publish(
        &mut self,
        plan: &Plan,
        planner: &Planner,
        world: &World,
        policy: &Policy,
        now: Timestamp,
    ) {
        for host in &plan.changed {
            let Some(verdict) = planner.verdict(host) else {
                self.spoken.remove(host);
                self.announced.remove(host);
                self.metrics.forget(host);
                continue;
            };
            let text = planner.explain(host, world, now).unwrap_or_default();
            self.speak(host, &verdict.reason, &text);
            self.metrics.certificate(host, &verdict.reason);
            if verdict.reason.state() == State::Valid {
                self.announced.remove(host);
            }
            if let Some(announcement) = verdict.reason.announcement()
                && self.is_news(host, &announcement)
            {
                self.announce(host, &announcement, world);
            }
        }
        if !plan.changed.is_empty() {
            self.metrics.states(|state| planner.count(state));
        }
        self.metrics.hosts(world.refused(), world.elsewhere());
        if self.counted.is_none_or(|at| at.elapsed() >= BUDGET_EVERY) {
            self.counted = Some(Instant::now());
            for (ca, authority) in world.cas().all() {
                for kind in Kind::ALL {
                    let left = world.ledger(ca).remaining(kind, now);
                    self.metrics.budget(&authority.name, kind, left);
                }
            }
        }
        if world.is_known() && self.searched.is_none_or(|at| at.elapsed() >= OVERDUE_EVERY) {
            self.searched = Some(Instant::now());
            self.remind(&planner.overdue(world, policy, now), planner, world, now);
        }
        let ready = world.is_known();
        if ready && !self.ready {
            tracing::info!(
                certificates = planner.verdicts().count(),
                valid = planner.count(State::Valid),
                "the cluster is known; ready"
            );
        }
        self.ready = ready;
        self.health.send_replace(Health {
            ready,
            turned: Instant::now(),
        });
    }

    /// Tells of hostnames that cannot be served.
    pub fn refuse(&self, refusals: Vec<Refusal>) {
        for refusal in refusals {
            let announcement = refusal.announcement();
            tracing::warn!(host = refusal.text, ingress = %refusal.asker, code = "host-refused", "{}", announcement.text);
            self.notify(refusal.asker, announcement);
        }
    }

    /// Tells of a certificate that was just stored.
    pub fn issued(&self, host: &Hostname, text: String, serial: &str, world: &World) {
        if let Some(asker) = world.want(host).and_then(|want| want.askers.first()) {
            let key = format!("issued {host} {serial}");
            let announcement = Announcement {
                severity: Severity::Normal,
                reason: "CertificateIssued",
                text,
                key,
            };
            self.notify(Arc::clone(asker), announcement);
        }
    }

    /// Tells of what is overdue: of a late renewal once, at the second look, since one that has only been found here may be
    /// made within seconds.
    fn remind(&mut self, overdue: &Overdue, planner: &Planner, world: &World, now: Timestamp) {
        self.metrics.late(overdue.late.len());
        // Whoever does not lead does not know what is going on for a certificate.
        self.metrics
            .overdue(|state| if self.leads { overdue.stuck_in(state) } else { 0 });
        if !self.leads {
            return;
        }
        let before = std::mem::take(&mut self.late);
        for (host, not_after) in &overdue.late {
            let told = before.get(host).copied();
            self.late.insert(host.clone(), told.is_some());
            if told == Some(false) {
                let verdict = planner.explain(host, world, now).unwrap_or_default();
                let announcement = Overdue::announcement(*not_after, &verdict);
                tracing::warn!(%host, code = "late", "{}", announcement.text);
                self.announce(host, &announcement, world);
            }
        }
    }

    /// One line for each change of a certificate's state, with its verdict.
    fn speak(&mut self, host: &Hostname, reason: &faythe_core::verdict::Reason, text: &str) {
        let state = reason.state();
        let before = self.spoken.insert(host.clone(), state);
        let code = reason.code();
        if before == Some(state) {
            tracing::debug!(%host, state = state.code(), code, "{text}");
            return;
        }
        match state {
            // What was in order when we came needs no word.
            State::Valid if before.is_none() => {
                tracing::debug!(%host, state = state.code(), code, "{text}")
            }
            State::Conflict | State::Failed | State::Held | State::Stalled => {
                tracing::warn!(%host, state = state.code(), code, "{text}");
            }
            State::Issuing | State::Queued | State::Unwanted | State::Valid => {
                tracing::info!(%host, state = state.code(), code, "{text}");
            }
        }
    }

    /// Whether it was not the last thing announced of the certificate; a fault that is met at each try is told once.
    fn is_news(&mut self, host: &Hostname, announcement: &Announcement) -> bool {
        let before = self.announced.insert(host.clone(), announcement.key.clone());
        before.as_ref() != Some(&announcement.key)
    }

    /// Says something of a certificate on the Ingresses that ask for it.
    fn announce(&self, host: &Hostname, announcement: &Announcement, world: &World) {
        let askers = world.want(host).into_iter().flat_map(|want| &want.askers);
        for asker in askers.take(TOLD_AT_MOST) {
            let mut announcement = announcement.clone();
            announcement.text = format!("{host}: {}", announcement.text);
            announcement.key = format!("{host} {}", announcement.key);
            self.notify(Arc::clone(asker), announcement);
        }
    }

    fn notify(&self, asker: Arc<Asker>, announcement: Announcement) {
        if !self.leads {
            return;
        }
        // Events are a courtesy: when thousands wait to be sent, the log has them all the same.
        if self.notices.try_send(Notice { asker, announcement }).is_err() {
            tracing::debug!("too many Events wait to be sent; this one is left out");
        }
    }
}

//! Prometheus metrics. Names and meanings are documented in `docs/metrics.md`; a test keeps the page complete.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use faythe_core::budget::Kind;
use faythe_core::name::Hostname;
use faythe_core::order::Stage;
use faythe_core::verdict::{Reason, State};
use faythe_core::zone::Check;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

mod updates;

pub use updates::Updates;

/// From a local name server's answer to a CA that takes its time.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabel {
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertLabel {
    cert: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CaLabel {
    ca: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    ca: String,
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookLabel {
    server: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    verb: String,
    status: String,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    states: Family<StateLabel, Gauge>,
    not_after: Family<HostLabel, Gauge>,
    issuances: Family<ResultLabel, Counter>,
    // Counters by nature, gauges by type: OpenMetrics would hang `_total` on the old tool's names, by which its users'
    // dashboards know them.
    old_successes: Family<CertLabel, Gauge>,
    old_failures: Family<CertLabel, Gauge>,
    issuance_seconds: Histogram,
    step_seconds: Family<StageLabel, Histogram>,
    faults: Family<CodeLabel, Counter>,
    dns_errors: Family<CodeLabel, Counter>,
    dns_looks: Family<LookLabel, Counter>,
    dns_health: Family<ServerLabel, Gauge>,
    dns_skipped: Family<ServerLabel, Counter>,
    dns_propagation: Histogram,
    api_requests: Family<RequestLabel, Counter>,
    acme_requests: Family<CaLabel, Counter>,
    late: Gauge,
    overdue: Family<StateLabel, Gauge>,
    hosts_refused: Gauge,
    hosts_elsewhere: Gauge,
    budget_remaining: Family<LimitLabel, Gauge>,
    /// Updates of zones.
    pub updates: Updates,
    leader: Gauge,
    election: Family<StateLabel, Gauge>,
}

/// How an issuance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuance {
    /// The CA has seen it fail.
    Failed,
    /// A fault on our side interrupted it.
    Stalled,
    /// The certificate is stored.
    Succeeded,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            states: Family::default(),
            not_after: Family::default(),
            issuances: Family::default(),
            old_successes: Family::default(),
            old_failures: Family::default(),
            issuance_seconds: Histogram::new(SECONDS),
            step_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            faults: Family::default(),
            dns_errors: Family::default(),
            dns_looks: Family::default(),
            dns_health: Family::default(),
            dns_skipped: Family::default(),
            dns_propagation: Histogram::new(SECONDS),
            api_requests: Family::default(),
            acme_requests: Family::default(),
            late: Gauge::default(),
            overdue: Family::default(),
            hosts_refused: Gauge::default(),
            hosts_elsewhere: Gauge::default(),
            budget_remaining: Family::default(),
            updates: Updates::register(&mut registry),
            leader: Gauge::default(),
            election: Family::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("faythe_build", "Version of the running program", build);
        r.register(
            "faythe_certificates",
            "Certificates by state",
            metrics.states.clone(),
        );
        r.register(
            "faythe_certificate_not_after_timestamp_seconds",
            "When the certificate that serves the host expires",
            metrics.not_after.clone(),
        );
        r.register(
            "faythe_issuances",
            "Issuances by how they ended",
            metrics.issuances.clone(),
        );
        r.register(
            "faythe_issue_successes",
            "Certificates issued, by name",
            metrics.old_successes.clone(),
        );
        r.register(
            "faythe_issue_failures",
            "Issuances the CA has seen fail, by name",
            metrics.old_failures.clone(),
        );
        r.register(
            "faythe_issuance_duration_seconds",
            "From the start of an order to the stored certificate",
            metrics.issuance_seconds.clone(),
        );
        r.register(
            "faythe_step_duration_seconds",
            "Time of one step, by stage",
            metrics.step_seconds.clone(),
        );
        r.register(
            "faythe_faults",
            "Steps that failed, by code",
            metrics.faults.clone(),
        );
        r.register(
            "faythe_dns_errors",
            "Looks at name servers without the value, by code",
            metrics.dns_errors.clone(),
        );
        r.register(
            "faythe_dns_looks",
            "Looks at name servers for a challenge, by server and result",
            metrics.dns_looks.clone(),
        );
        r.register(
            "faythe_dns_server_health_percent",
            "Share of usable answers of a name server lately",
            metrics.dns_health.clone(),
        );
        r.register(
            "faythe_dns_servers_skipped",
            "Challenges that went on without a dead name server of the zone",
            metrics.dns_skipped.clone(),
        );
        r.register(
            "faythe_dns_propagation_seconds",
            "From a challenge's update to its being visible on every server that has to show it",
            metrics.dns_propagation.clone(),
        );
        r.register(
            "faythe_kubernetes_requests",
            "Requests to the API server by verb and HTTP status, `none` for no answer",
            metrics.api_requests.clone(),
        );
        r.register(
            "faythe_acme_requests",
            "Requests to a CA",
            metrics.acme_requests.clone(),
        );
        r.register(
            "faythe_certificates_late",
            "Certificates that are not renewed though half of the time for it is over",
            metrics.late.clone(),
        );
        r.register(
            "faythe_certificates_overdue",
            "Certificates in a state for longer than it may last, by state",
            metrics.overdue.clone(),
        );
        r.register(
            "faythe_hosts_refused",
            "Hostnames that can have no certificate",
            metrics.hosts_refused.clone(),
        );
        r.register(
            "faythe_hosts_out_of_zone",
            "Hostnames outside every zone",
            metrics.hosts_elsewhere.clone(),
        );
        r.register(
            "faythe_budget_remaining",
            "What is left of a limit of the CA; of those for single names or domains, the least",
            metrics.budget_remaining.clone(),
        );
        r.register(
            "faythe_leader",
            "Whether this instance acts, and does not only watch",
            metrics.leader.clone(),
        );
        r.register(
            "faythe_election",
            "How this instance stands with others: 1 for the state that it is in",
            metrics.election.clone(),
        );
        Self { registry, ..metrics }
    }

    /// The exposition text (OpenMetrics).
    ///
    /// # Errors
    /// When formatting fails, which writing to a string does not.
    pub fn exposition(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Whether this instance leads and has read the notes.
    pub fn leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// In which of these states of an election this instance is.
    pub fn election(&self, states: &[&'static str], current: &str) {
        for &state in states {
            let gauge = self.election.get_or_create(&StateLabel { state });
            gauge.set((state == current).into());
        }
    }

    /// How many certificates are in each state.
    pub fn states(&self, count: impl Fn(State) -> usize) {
        set_by_state(&self.states, count);
    }

    /// What became known of one certificate.
    pub fn certificate(&self, host: &Hostname, reason: &Reason) {
        if let Reason::Valid { not_after, .. } = reason {
            self.not_after
                .get_or_create(&HostLabel {
                    host: host.to_string(),
                })
                .set(not_after.as_second());
        }
    }

    /// A certificate is of no interest any more.
    pub fn forget(&self, host: &Hostname) {
        self.not_after.remove(&HostLabel {
            host: host.to_string(),
        });
    }

    /// An issuance has ended; `took` from its start.
    pub fn issuance(&self, host: &Hostname, how: Issuance, took: Option<Duration>) {
        let result = match how {
            Issuance::Failed => "failed",
            Issuance::Stalled => "stalled",
            Issuance::Succeeded => "succeeded",
        };
        self.issuances.get_or_create(&ResultLabel { result }).inc();
        let label = CertLabel {
            cert: host.to_string(),
        };
        match how {
            Issuance::Failed => {
                self.old_failures.get_or_create(&label).inc();
            }
            Issuance::Succeeded => {
                self.old_successes.get_or_create(&label).inc();
            }
            Issuance::Stalled => {}
        }
        if let Some(took) = took {
            self.issuance_seconds.observe(took.as_secs_f64());
        }
    }

    /// A step has ended.
    pub fn step(&self, stage: Stage, took: Duration) {
        self.step_seconds
            .get_or_create(&StageLabel { stage: stage.code() })
            .observe(took.as_secs_f64());
    }

    /// A step has failed.
    pub fn fault(&self, code: &str) {
        self.faults
            .get_or_create(&CodeLabel {
                code: code.to_owned(),
            })
            .inc();
    }

    /// A name server did not show a value.
    pub fn dns_error(&self, code: &str) {
        self.dns_errors
            .get_or_create(&CodeLabel {
                code: code.to_owned(),
            })
            .inc();
    }

    /// A name server was looked at; `health` is its share of usable answers in percent.
    pub fn look(&self, check: &Check, result: &'static str, health: u32) {
        let server = check.to_string();
        let label = ServerLabel {
            server: server.clone(),
        };
        self.dns_health.get_or_create(&label).set(i64::from(health));
        // Counted from nothing, so that the first one shows as a change.
        drop(self.dns_skipped.get_or_create(&label));
        self.dns_looks.get_or_create(&LookLabel { server, result }).inc();
    }

    /// A challenge goes on without a dead name server.
    pub fn skipped(&self, check: &Check) {
        let server = check.to_string();
        self.dns_skipped.get_or_create(&ServerLabel { server }).inc();
    }

    /// A challenge is visible, so long after its update.
    pub fn propagation(&self, took: Duration) {
        self.dns_propagation.observe(took.as_secs_f64());
    }

    /// A request to the API server was answered, or was not.
    pub fn api_request(&self, verb: &str, status: Option<u16>) {
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.api_requests
            .get_or_create(&RequestLabel {
                verb: verb.to_owned(),
                status,
            })
            .inc();
    }

    /// How many requests a CA was sent, in all.
    pub fn acme_requests(&self, ca: &str, total: u64) {
        let counter = self.acme_requests.get_or_create(&CaLabel { ca: ca.to_owned() });
        let counter: &AtomicU64 = counter.inner();
        counter.store(total, std::sync::atomic::Ordering::Relaxed);
    }

    /// How many renewals are late.
    pub fn late(&self, certificates: usize) {
        self.late.set(i64::try_from(certificates).unwrap_or(i64::MAX));
    }

    /// How many certificates have been in each state for longer than it may last.
    pub fn overdue(&self, count: impl Fn(State) -> usize) {
        set_by_state(&self.overdue, count);
    }

    /// How much is left of a limit of a CA; `None` where there is none.
    pub fn budget(&self, ca: &str, limit: Kind, left: Option<u32>) {
        let label = LimitLabel {
            ca: ca.to_owned(),
            limit: limit.code(),
        };
        if let Some(left) = left {
            self.budget_remaining.get_or_create(&label).set(left.into());
        }
    }

    /// Hostnames that get no certificate.
    pub fn hosts(&self, refused: usize, elsewhere: usize) {
        self.hosts_refused.set(i64::try_from(refused).unwrap_or(i64::MAX));
        self.hosts_elsewhere
            .set(i64::try_from(elsewhere).unwrap_or(i64::MAX));
    }
}

fn set_by_state(gauges: &Family<StateLabel, Gauge>, count: impl Fn(State) -> usize) {
    for state in State::ALL {
        let label = StateLabel { state: state.code() };
        gauges
            .get_or_create(&label)
            .set(i64::try_from(count(state)).unwrap_or(i64::MAX));
    }
}

//! Runs the real loop on a [`Place`], on paused time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faythe::act::{Desk, Outside, Room};
use faythe::clock::{Now, Witness};
use faythe::lease::{Office, Tenure};
use faythe::neighbors::Board;
use faythe::report::metrics::Metrics;
use faythe::report::{Health, Report};
use faythe::run::{self, Inputs, RunError};
use faythe::source::Seen;
use faythe::store::secrets::SeenSecret;
use faythe::x509::KeyType;
use faythe_core::Timestamp;
use faythe_core::budget::Limits;
use faythe_core::cas::{Authority, Cas};
use faythe_core::name::Hostname;
use faythe_core::policy::Policy;
use faythe_core::schedule::{Threshold, after, ahead};
use faythe_core::want::Asker;
use faythe_core::zone::{Rule, Zone, Zones};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream;
use jiff::SignedDuration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::place::{Place, State};

/// Longer than any back-off takes to come to an end, in paused time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3 * 86_400);
pub(crate) const GRACE: Duration = Duration::from_secs(8 * 3600);
pub(crate) const AT_ONCE: usize = 8;

/// The one CA of the place.
pub(crate) fn cas() -> Cas {
    Cas::new(vec![Authority {
        name: "ca".into(),
        directory: "https://ca/directory".into(),
        use_after: Duration::ZERO,
    }])
}

/// A world with one wish, and the time that goes on while processes come and go.
pub(crate) struct Rig {
    pub(crate) place: Place,
    pub(crate) limits: Limits,
    /// The configuration, as a hash.
    pub(crate) setup: u64,
    /// What the API server says of the time.
    pub(crate) witness: Arc<Witness>,
    hosts: Vec<String>,
    began: Instant,
    /// Seconds by which the clock has been set.
    set: Arc<AtomicI64>,
}

/// One process.
pub(crate) struct Process {
    pub(crate) requests: UnboundedSender<Seen>,
    pub(crate) secrets: UnboundedSender<SeenSecret>,
    pub(crate) stop: CancellationToken,
    run: std::pin::Pin<Box<dyn Future<Output = Result<(), RunError>>>>,
}

impl Rig {
    pub(crate) fn new(hosts: &[&str]) -> Self {
        Self {
            place: Place::new(),
            limits: Limits::default(),
            setup: 0,
            witness: Arc::default(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            began: Instant::now(),
            set: Arc::default(),
        }
    }

    /// Sets the clock of all processes.
    pub(crate) fn set_clock(&self, by: SignedDuration) {
        self.set.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    /// Starts a process that leads, which sees what there is.
    pub(crate) fn process(&self) -> Process {
        self.seeing(self.blind_process())
    }

    /// Starts one that leads when the office says so.
    pub(crate) fn candidate(&self) -> (Office, Process) {
        let (office, tenure) = Tenure::vacant(self.clock());
        (office, self.seeing(self.blind(tenure)))
    }

    fn seeing(&self, process: Process) -> Process {
        self.show_requests(&process, &self.hosts);
        let held = self
            .place
            .state()
            .secrets
            .iter()
            .map(|(host, held)| (Some(host.clone()), held.clone()))
            .collect();
        process.secrets.unbounded_send(SeenSecret::All(held)).unwrap();
        process
    }

    /// Tells the process what the one Ingress asks for.
    pub(crate) fn show_requests(&self, process: &Process, hosts: &[String]) {
        let asker = Asker {
            namespace: "web".into(),
            name: "shop".into(),
            uid: "1".into(),
        };
        process
            .requests
            .unbounded_send(Seen::All(vec![(asker, hosts.to_vec())]))
            .unwrap();
    }

    /// Starts a process that has seen nothing yet.
    pub(crate) fn blind_process(&self) -> Process {
        self.blind(Tenure::sole(self.clock()))
    }

    pub(crate) fn clock(&self) -> Now {
        let (began, set) = (self.began, Arc::clone(&self.set));
        Arc::new(move || {
            let begun = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
            let set = SignedDuration::from_secs(set.load(Ordering::Relaxed));
            ahead(after(begun, began.elapsed()), set)
        })
    }

    fn blind(&self, tenure: Tenure) -> Process {
        let place = self.place.another();
        let now = self.clock();
        let (requests, seen_requests) = unbounded();
        let (secrets, seen_secrets) = unbounded();
        let metrics = Arc::new(Metrics::new());
        let zone = Zone {
            apex: "example.com".parse().unwrap(),
            wildcards: false,
            rule: Rule::flat("primary", &["secondary".to_owned()]),
            challenges: None,
        };
        let outside = Outside {
            desks: vec![Desk {
                ca: tenure.fence(Arc::new(place.clone())),
                limits: self.limits,
            }],
            cas: cas(),
            dns: tenure.fence(Arc::new(place.clone())),
            store: tenure.fence(Arc::new(place)),
            tenure,
            now,
            witness: Arc::clone(&self.witness),
            policy: Policy {
                zones: Zones::new(vec![zone]),
                threshold: Threshold::Default,
                issue_grace: GRACE,
                orders_at_once: AT_ONCE,
                spread: 0,
                renewals_per_minute: None,
            },
            profiles: std::collections::BTreeMap::new(),
            setups: [("example.com".parse().unwrap(), self.setup)].into(),
            key_type: KeyType::EcdsaP256,
            board: Board::default(),
            health: Mutex::default(),
            metrics: Arc::clone(&metrics),
            usual: Mutex::default(),
            unnoted: Room::default(),
        };
        let (notices, _) = mpsc::channel(1);
        let (health, _) = watch::channel(Health {
            ready: false,
            turned: Instant::now(),
        });
        let stop = CancellationToken::new();
        let inputs = Inputs {
            requests: seen_requests.boxed(),
            secrets: seen_secrets.boxed(),
            demands: stream::pending().boxed(),
        };
        let report = Report::new(metrics, notices, health);
        let heartbeat = Duration::from_secs(5);
        let run = run::run(inputs, Arc::new(outside), report, heartbeat, stop.clone());
        Process {
            requests,
            secrets,
            stop,
            run: Box::pin(run),
        }
    }

    /// Waits until every host has a certificate and nothing is left of any order.
    pub(crate) async fn settled(&self, process: &mut Process) {
        let hosts: Vec<Hostname> = self.hosts.iter().map(|host| host.parse().unwrap()).collect();
        self.reach(process, |state| {
            hosts.iter().all(|host| state.secrets.contains_key(host))
                && state.txt.is_empty()
                && state.notes.is_empty()
        })
        .await;
    }

    /// Runs the process until the place is as asked for.
    pub(crate) async fn reach(&self, process: &mut Process, so: impl Fn(&State) -> bool) {
        let reached = async {
            while !so(&self.place.state()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::select! {
            ended = &mut process.run => Err(format!("the loop has ended: {ended:?}")),
            reached = timeout(PATIENCE, reached) => reached.map_err(|_| "it never came about".to_owned()),
        };
        if let Err(why) = outcome {
            let state = self.place.state();
            let last = state.journal.len().saturating_sub(60);
            panic!("{why}:\n{}", state.journal[last..].join("\n"));
        }
    }

    /// The same where something has just failed that the CA has seen: it takes as long as such failures are spaced (S13).
    pub(crate) async fn settled_after_grace(&self, process: &mut Process) {
        let began = Instant::now();
        self.settled(process).await;
        let waited = began.elapsed();
        assert!(
            waited + Duration::from_secs(1) >= GRACE && waited <= GRACE + Duration::from_secs(60),
            "{waited:?}"
        );
    }

    /// Runs the process until the fuse ends it, or until everything is settled.
    pub(crate) async fn settled_or_crashed(&self, mut process: Process) {
        tokio::select! {
            () = self.settled(&mut process) => {}
            () = self.place.crashed() => {}
        }
    }

    /// Runs two processes until every host has a certificate and nothing is left of any order.
    pub(crate) async fn settled_by_either(&self, one: &mut Process, other: &mut Process) {
        let both = async {
            tokio::select! {
                () = self.settled(one) => {}
                ended = &mut other.run => panic!("the loop has ended: {ended:?}"),
            }
        };
        both.await;
    }

    /// Runs the process for so long.
    pub(crate) async fn pass(&self, process: &mut Process, time: Duration) {
        tokio::select! {
            ended = &mut process.run => panic!("the loop has ended: {ended:?}"),
            () = sleep(time) => {}
        }
    }
}

impl Process {
    /// Waits for the end of the loop.
    pub(crate) async fn end(self) -> Result<(), RunError> {
        self.run.await
    }
}

//! The election: who holds the Lease, when another takes it, and what happens where Leases are forbidden (P38).

use std::collections::BTreeSet;
use std::time::Duration;

use faythe::clock::{self, Now};
use faythe::lease::Tenure;
use faythe::lease::election::{Election, Settings};
use faythe_bed::kube::Kube;
use faythe_bed::until;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::place::{Place, SOON};

/// As the requirement says, with a second for this machine's other work.
const TAKEOVER: Duration = Duration::from_secs(16);

struct Candidate {
    tenure: Tenure,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

fn now() -> Now {
    clock::system()
}

impl Candidate {
    fn new(place: &Place, identity: &str, zones: &[&str]) -> Self {
        let (office, tenure) = Tenure::vacant(now());
        let settings = Settings {
            namespace: place.namespace.clone(),
            name: "faythe".to_owned(),
            identity: identity.to_owned(),
            zones: zones.iter().map(|&zone| zone.to_owned()).collect::<BTreeSet<_>>(),
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let election = Election::new(&place.client, settings, office, now());
        tasks.spawn(election.run(stop.clone()));
        Self { tenure, stop, tasks }
    }

    async fn leads(&self) {
        let mut tenure = self.tenure.clone();
        timeout(SOON, tenure.changed(None)).await.unwrap();
    }

    fn is_leading(&self) -> bool {
        self.tenure.current().is_some()
    }
}

fn leases(place: &Place) -> Api<Lease> {
    Api::namespaced(place.admin.clone(), &place.namespace)
}

async fn holder(place: &Place) -> Option<String> {
    let lease = leases(place).get("faythe").await.unwrap();
    lease.spec.unwrap().holder_identity
}

#[tokio::test]
async fn p38_a_clean_end_hands_over_at_once() {
    let place = Place::new("clean").await;
    let mut first = Candidate::new(&place, "first", &["a.test"]);
    first.leads().await;
    let second = Candidate::new(&place, "second", &["a.test", "b.test"]);
    assert_eq!(holder(&place).await.as_deref(), Some("first"));
    // It has looked at the Lease at least once.
    until(SOON, "the second looks", async || {
        Ok((place.requests("get", "leases").len() >= 3).then_some(()))
    })
    .await
    .unwrap();
    assert!(!second.is_leading());
    first.stop.cancel();
    first.tasks.join_next().await;
    assert!(!first.is_leading());
    let began = Instant::now();
    second.leads().await;
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(6), "{waited:?} is no hand-over");
    assert_eq!(holder(&place).await.as_deref(), Some("second"));
}

#[tokio::test]
async fn p38_a_crash_is_made_up_for_within_15_s_and_only_when_the_first_has_stopped() {
    let place = Place::new("crash").await;
    let mut first = Candidate::new(&place, "first", &["a.test"]);
    first.leads().await;
    let second = Candidate::new(&place, "second", &["a.test"]);
    until(SOON, "the second looks", async || {
        Ok((place.requests("get", "leases").len() >= 3).then_some(()))
    })
    .await
    .unwrap();
    first.tasks.abort_all();
    let began = Instant::now();
    second.leads().await;
    assert!(!first.is_leading(), "both lead");
    assert!(began.elapsed() < TAKEOVER, "{:?}", began.elapsed());
}

#[tokio::test]
async fn p38_the_same_pod_leads_on_at_once() {
    let place = Place::new("same").await;
    let mut first = Candidate::new(&place, "pod", &["a.test"]);
    first.leads().await;
    first.tasks.abort_all();
    let began = Instant::now();
    Candidate::new(&place, "pod", &["a.test"]).leads().await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn p38_what_the_holders_clock_says_counts_for_nothing() {
    let place = Place::new("clocks").await;
    let lease = json!({
        "metadata": { "name": "faythe" },
        "spec": {
            "holderIdentity": "from another time",
            "leaseDurationSeconds": 3,
            "renewTime": "2001-01-01T00:00:00.000000Z",
        },
    });
    let lease = serde_json::from_value(lease).unwrap();
    leases(&place)
        .create(&PostParams::default(), &lease)
        .await
        .unwrap();
    let began = Instant::now();
    let candidate = Candidate::new(&place, "us", &["a.test"]);
    candidate.leads().await;
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(3), "taken after {waited:?}");
}

#[tokio::test]
async fn p38_without_the_right_to_leases_it_leads_without_an_election() {
    let kube = Kube::shared().await.unwrap();
    let place = Place::bare(kube, "no-leases").await;
    let [first, second] = ["first", "second"].map(|name| Candidate::new(&place, name, &["a.test"]));
    first.leads().await;
    second.leads().await;
    assert!(first.is_leading() && second.is_leading());
}

#[tokio::test]
async fn p38_a_faythe_for_other_zones_does_not_wait_for_this_one() {
    let place = Place::new("strangers").await;
    let first = Candidate::new(&place, "first", &["a.test"]);
    first.leads().await;
    let second = Candidate::new(&place, "second", &["b.test"]);
    second.leads().await;
    assert!(first.is_leading());
    assert_eq!(holder(&place).await.as_deref(), Some("first"));
}

#[tokio::test]
async fn p38_a_lease_is_renewed_and_whoever_loses_it_knows() {
    let place = Place::new("lost").await;
    let first = Candidate::new(&place, "first", &["a.test"]);
    first.leads().await;
    // Four of them take longer than a term.
    until(SOON, "it is renewed", async || {
        Ok((place.requests("update", "leases").len() >= 4).then_some(()))
    })
    .await
    .unwrap();
    assert!(first.is_leading());
    until(SOON, "somebody else takes it", async || {
        let mut lease = leases(&place).get("faythe").await?;
        lease.spec.as_mut().unwrap().holder_identity = Some("admin".to_owned());
        Ok(leases(&place)
            .replace("faythe", &PostParams::default(), &lease)
            .await
            .is_ok()
            .then_some(()))
    })
    .await
    .unwrap();
    let mut tenure = first.tenure.clone();
    let known = tenure.current();
    let lost = timeout(SOON, tenure.changed(known)).await.unwrap();
    assert_eq!(lost, None);
}

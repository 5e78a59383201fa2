//! Faythe killed (SIGKILL) at random moments of a hundred issuances, and of two hundred with two instances and the leader
//! cut off from the API server besides (`P16`, `P18`, `P23`, `P38`).
//!
//! What may be counted: an order of which a note was saved has to come to its certificate, whoever carries it there, and
//! so there is one for each host, and the CA makes one certificate of each. What an accident may cost is the orders that
//! the CA has made and of which no note was saved yet; they stay pending, the CA is never told to look at them, and they
//! are no more than may be without a note at a time. `FAYTHE_SEED` repeats the moments of a run, as far as a machine
//! repeats anything.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faythe::act::UNNOTED_AT_ONCE;
use faythe_bed::dice::Dice;
use faythe_bed::faythe::Faythe;
use faythe_bed::ports::Port;
use faythe_bed::proxy::{Exchange, Fault, Proxy};
use faythe_bed::{Bed, Setup, pebble, until};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::task::JoinSet;

use super::leaders::{TAKEOVER, is_leading, leads};
use super::look::{FAYTHE, NEW_ORDER, SOON, before_ca, clean, hosts, issued};
use super::stage::held;

/// What a watch of the Secrets has seen.
#[derive(Default)]
struct Watched {
    /// The orders of which a note was saved.
    noted: BTreeSet<String>,
    /// How many changes there were.
    changes: usize,
}

/// Watches the namespace of the Secrets for as long as it lives.
struct Watch {
    watched: Arc<Mutex<Watched>>,
    _task: JoinSet<()>,
}

impl Watch {
    fn of(bed: &Bed) -> Self {
        let watched = Arc::new(Mutex::new(Watched::default()));
        let mut events = watcher(bed.secrets(), watcher::Config::default()).boxed();
        let seen = Arc::clone(&watched);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(event) = events.next().await {
                let mut seen = seen.lock().unwrap();
                seen.changes += 1;
                // The watch must not break: what is missed could not be counted.
                if let Event::Apply(secret) | Event::InitApply(secret) = event.unwrap() {
                    seen.noted.extend(order_of(&secret));
                }
            }
        });
        Self { watched, _task: task }
    }

    fn changes(&self) -> usize {
        self.watched.lock().unwrap().changes
    }

    fn noted(&self) -> BTreeSet<String> {
        self.watched.lock().unwrap().noted.clone()
    }
}

/// The URL of the order in a note.
fn order_of(secret: &Secret) -> Option<String> {
    let note = secret.data.as_ref()?.get("note")?;
    let note: Value = serde_json::from_slice(&note.0).ok()?;
    Some(note["order"]["url"].as_str()?.to_owned())
}

/// The URLs of the orders that the CA has made, each with the answer that tells of it.
fn made(exchanges: &[Exchange]) -> Vec<(String, &Exchange)> {
    let new_orders = exchanges.iter().filter(|exchange| exchange.request == NEW_ORDER);
    new_orders
        .filter_map(|exchange| Some((exchange.location.clone()?, exchange)))
        .collect()
}

/// Whether the CA was told that it may look at a challenge of the order that an answer tells of.
fn was_told(order: &Exchange, exchanges: &[Exchange]) -> bool {
    let posted = |url: &Value| {
        let url: http::Uri = url.as_str().unwrap().parse().unwrap();
        let request = format!("POST {}", url.path());
        exchanges
            .iter()
            .filter(move |exchange| exchange.request == request)
    };
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body).ok();
    let Some(order) = read(&order.body) else {
        return false;
    };
    let authorizations = order["authorizations"].as_array().unwrap();
    authorizations
        .iter()
        .flat_map(posted)
        .filter_map(|exchange| read(&exchange.body))
        .flat_map(|authorization| {
            authorization["challenges"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        })
        .any(|challenge| posted(&challenge["url"]).next().is_some())
}

/// Issuances that are disturbed, and what tells how far they are.
struct Run {
    bed: Bed,
    ca: Proxy,
    config: Value,
    watch: Watch,
    hosts: Vec<String>,
    dice: Dice,
}

impl Run {
    /// A CA that so many hosts will have certificates of.
    async fn prepare(pebble: pebble::Setup, number: usize) -> Self {
        let setup = Setup {
            pebble,
            ..Setup::default()
        };
        let bed = Bed::start_as(setup).await.unwrap();
        let (ca, config) = before_ca(&bed).await;
        let watch = Watch::of(&bed);
        let hosts = hosts(&bed, number);
        Self {
            bed,
            ca,
            config,
            watch,
            hosts,
            dice: Dice::new(Dice::seed("accidents")),
        }
    }

    /// Asks for the hosts from one number up to another, several to an Ingress, as it is in life.
    async fn ask(&self, from: usize, to: usize) {
        for (i, some) in self.hosts[from..to].chunks(4).enumerate() {
            let some: Vec<_> = some.iter().map(String::as_str).collect();
            self.bed.ingress(&format!("web{from}-{i}"), &some).await.unwrap();
        }
    }

    /// Whether so many certificates are issued.
    fn has_issued(&self, number: usize) -> bool {
        self.bed.pebble.certificates_issued() >= number
    }

    /// Waits for up to so many steps of the outside, requests to the CA and changes of Secrets, and then a little: some
    /// moment between two steps, and sometimes before the first. Or until so many certificates are issued.
    async fn go_on(&mut self, most: u64, issued: usize, faythe: &Faythe) {
        let steps = || self.ca.exchanges_so_far() + self.watch.changes();
        let then = steps() + usize::try_from(self.dice.below(most)).unwrap();
        let late = Duration::from_micros(self.dice.below(10_000));
        let mut reached = None;
        let came = until(SOON, "it goes on", async || {
            if steps() < then && !self.has_issued(issued) {
                return Ok(None);
            }
            let reached = *reached.get_or_insert_with(Instant::now);
            Ok((reached.elapsed() >= late).then_some(()))
        });
        if let Err(error) = came.await {
            panic!(
                "{error:#}; faythe's log ends in:\n{}",
                faythe.process().log_tail()
            );
        }
    }

    /// Waits until every host is served and nothing is left behind, and accounts for every order that the CA has made.
    async fn account_for(&self, faythe: &Faythe, accidents: usize) {
        issued(&self.bed, faythe, &self.hosts).await;
        clean(&self.bed, faythe).await;
        let secrets = held(&self.bed).await;
        assert_eq!(
            secrets.keys().collect::<BTreeSet<_>>(),
            self.hosts.iter().collect()
        );

        let (exchanges, noted) = (self.ca.exchanges(), self.watch.noted());
        let made = made(&exchanges);
        assert_eq!(made.len(), self.bed.pebble.orders_created());
        let lost: Vec<_> = made.iter().filter(|(url, _)| !noted.contains(url)).collect();
        eprintln!(
            "{accidents} accidents; {} orders, of which {} were lost between the CA's answer and our note",
            made.len(),
            lost.len()
        );
        // Each order of which a note was saved has come to its certificate, none was replaced, none finalized twice.
        assert_eq!(noted.len(), self.hosts.len());
        assert_eq!(made.len(), self.hosts.len() + lost.len());
        assert_eq!(self.bed.pebble.certificates_issued(), self.hosts.len());
        assert_eq!(self.bed.pebble.accounts_created(), 1);
        for (url, order) in &made {
            assert!(
                noted.contains(url) || !was_told(order, &exchanges),
                "{url} has no note, and the CA was told to look"
            );
        }
        // To which accident an order was lost cannot be told from outside: what the dead has sent may arrive after its end.
        assert!(
            lost.len() <= accidents * UNNOTED_AT_ONCE,
            "{} orders were lost to {accidents} accidents",
            lost.len()
        );
    }
}

/// Has a hundred certificates issued by a CA while Faythe is killed at random.
async fn check(pebble: pebble::Setup) {
    const HOSTS: usize = 100;
    const KILLS: usize = 35;
    /// A certificate takes about eleven steps, and most kills have to come before the last one is issued.
    const STEPS_MAX: u64 = 50;

    let mut run = Run::prepare(pebble, HOSTS).await;
    run.ask(0, HOSTS).await;
    let mut faythe = run.bed.faythe(FAYTHE, run.config.clone()).await.unwrap();
    let mut kills = 0;
    while kills < KILLS && !run.has_issued(HOSTS) {
        run.go_on(STEPS_MAX, HOSTS, &faythe).await;
        faythe.process().check_running().unwrap();
        faythe.restart().unwrap();
        kills += 1;
    }
    run.account_for(&faythe, kills).await;
    assert!(kills >= KILLS * 2 / 3, "only {kills} kills fell into the burst");
}

#[tokio::test]
async fn killed_at_random_it_makes_one_order_for_each_certificate() {
    check(pebble::Setup::default()).await;
}

#[tokio::test]
async fn the_same_with_refused_nonces_and_reused_authorizations() {
    check(pebble::Setup::default().with_pebbles_chances()).await;
}

/// One of two, with a proxy of its own before the API server.
struct Instance {
    faythe: Faythe,
    api: Proxy,
    _port: Port,
}

impl Instance {
    async fn start(run: &Run) -> Self {
        let api = Proxy::start(&run.bed.kube.url(), &run.bed.kube.https_roots())
            .await
            .unwrap();
        let port = Port::claim().unwrap();
        let mut config = run.config.clone();
        config["listen"] = port.address().to_string().into();
        let faythe = run.bed.faythe_through(&api, FAYTHE, config).await.unwrap();
        faythe.ready(SOON).await.unwrap();
        Self {
            faythe,
            api,
            _port: port,
        }
    }

    fn cut_off(&self) {
        self.api.fault_always(" ", Fault::Cut);
        self.api.cut();
    }
}

/// Two instances, and what has befallen them.
struct Pair {
    instances: [Instance; 2],
    kills: usize,
}

impl Pair {
    /// Which of them leads.
    async fn leader(&self) -> usize {
        until(SOON, "one leads", async || {
            for (i, instance) in self.instances.iter().enumerate() {
                // One that was just killed does not answer.
                if is_leading(&instance.faythe).await.unwrap_or(false) {
                    return Ok(Some(i));
                }
            }
            Ok(None)
        })
        .await
        .unwrap()
    }

    /// Kills one or the other, so many times at most and as long as less than so many certificates are issued.
    async fn kill_at_random(&mut self, run: &mut Run, most: usize, issued: usize) {
        /// Whoever leads again begins all that was under way with a look at it.
        const STEPS_MAX: u64 = 120;

        for _ in 0..most {
            let victim = usize::from(run.dice.below(2) == 1);
            let faythe = &mut self.instances[victim].faythe;
            run.go_on(STEPS_MAX, issued, faythe).await;
            faythe.process().check_running().unwrap();
            if run.has_issued(issued) {
                break;
            }
            faythe.restart().unwrap();
            self.kills += 1;
        }
    }
}

#[tokio::test]
async fn p38_kills_and_partitions_of_two_instances_cost_no_certificate_and_double_none() {
    const HOSTS: usize = 200;
    /// How long the leader is cut off, in milliseconds at most; for as long as the other needs to take over without.
    const PARTITIONS: [Option<u64>; 4] = [Some(1_000), None, Some(3_000), Some(6_000)];
    const PART: usize = HOSTS / PARTITIONS.len();

    let mut run = Run::prepare(pebble::Setup::default(), HOSTS).await;
    let mut pair = Pair {
        instances: [Instance::start(&run).await, Instance::start(&run).await],
        kills: 0,
    };
    for (part, partition) in PARTITIONS.into_iter().enumerate() {
        let asked = part * PART;
        run.ask(asked, asked + PART).await;
        pair.kill_at_random(&mut run, 5, asked + PART / 3).await;
        let first = pair.leader().await;
        let second = &pair.instances[1 - first].faythe;
        pair.instances[first].cut_off();
        if let Some(most) = partition {
            let (cut, long) = (Instant::now(), Duration::from_millis(run.dice.below(most)));
            let over = async || Ok((cut.elapsed() >= long).then_some(()));
            until(SOON, "the partition is over", over).await.unwrap();
        } else {
            leads(second, TAKEOVER).await;
            // The first is no leader any more when it comes back, whatever it had begun.
            let issued = asked + PART / 2;
            run.go_on(u64::MAX, issued, second).await;
        }
        pair.instances[first].api.heal();
        pair.kill_at_random(&mut run, 5, asked + PART).await;
    }
    for instance in &pair.instances {
        instance.faythe.ready(SOON).await.unwrap();
    }
    let last = &pair.instances[pair.leader().await].faythe;
    run.account_for(last, pair.kills + PARTITIONS.len()).await;
    assert!(pair.kills >= 12, "only {} kills fell into the run", pair.kills);
}

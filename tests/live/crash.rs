//! Faythe killed (SIGKILL) at random moments of a hundred issuances (`P16`, `P18`, `P23`).
//!
//! Every order of which a note was saved has to come to its certificate. What a kill may cost is the orders that the CA has
//! made and of which no note was saved yet; these are counted, and are no more than may be without a note at a time.
//! `FAYTHE_CRASH_SEED` repeats the moments of a run, as far as a machine repeats anything.

use std::collections::BTreeSet;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faythe::act::UNNOTED_AT_ONCE;
use faythe_bed::faythe::Faythe;
use faythe_bed::proxy::{Exchange, Proxy};
use faythe_bed::{Bed, Setup, pebble, until};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::task::JoinSet;

use super::look::{FAYTHE, NEW_ORDER, SOON, before_ca, clean, hosts, issued};

const HOSTS: usize = 100;
const KILLS: usize = 35;
/// Steps of the outside between a start and the next kill, at most: requests to the CA and changes of Secrets. A
/// certificate takes about eleven, and most kills have to come before the last one is issued.
const STEPS_MAX: usize = 50;

/// SplitMix64 (Steele, Lea and Flood 2014): what is random here has to be repeatable and nothing else.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
}

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

/// Kills Faythe again and again until it has been killed often enough or has issued everything; returns how often.
async fn kill_at_random(
    faythe: &mut Faythe,
    bed: &Bed,
    proxy: &Proxy,
    watch: &Watch,
    random: &mut Random,
) -> usize {
    let steps = || proxy.exchanges().len() + watch.changes();
    for kill in 1..=KILLS {
        let from = steps();
        let until_then = random.below(STEPS_MAX);
        // Somewhere between two steps, and sometimes before the first.
        let late = Duration::from_micros(random.next() % 10_000);
        let mut reached = None;
        let came = until(SOON, "it goes on", async || {
            if steps() < from + until_then && bed.pebble.certificates_issued() < HOSTS {
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
        faythe.process().check_running().unwrap();
        faythe.restart().unwrap();
        if bed.pebble.certificates_issued() >= HOSTS {
            return kill;
        }
    }
    KILLS
}

/// Has a hundred certificates issued by a CA while Faythe is killed at random.
async fn check(pebble: pebble::Setup) {
    let seed = match env::var("FAYTHE_CRASH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => RandomState::new().hash_one(0),
    };
    eprintln!("FAYTHE_CRASH_SEED={seed}");
    let setup = Setup {
        pebble,
        ..Setup::default()
    };
    let bed = Bed::start_as(setup).await.unwrap();
    let (proxy, config) = before_ca(&bed).await;
    let watch = Watch::of(&bed);
    let hosts = hosts(&bed, HOSTS);
    // Several to an Ingress, as it is in life.
    for (i, some) in hosts.chunks(4).enumerate() {
        let some: Vec<_> = some.iter().map(String::as_str).collect();
        bed.ingress(&format!("web{i}"), &some).await.unwrap();
    }
    let mut faythe = bed.faythe(FAYTHE, config).await.unwrap();
    let kills = kill_at_random(&mut faythe, &bed, &proxy, &watch, &mut Random(seed)).await;
    issued(&bed, &faythe, &hosts).await;
    clean(&bed, &faythe).await;
    account_for(&bed, &proxy.exchanges(), &watch.noted(), kills);
}

/// Accounts for every order the CA has made.
fn account_for(bed: &Bed, exchanges: &[Exchange], noted: &BTreeSet<String>, kills: usize) {
    let made = made(exchanges);
    assert_eq!(made.len(), bed.pebble.orders_created());
    let lost: Vec<_> = made.iter().filter(|(url, _)| !noted.contains(url)).collect();
    eprintln!(
        "{kills} kills; {} orders, of which {} were lost between the CA's answer and our note",
        made.len(),
        lost.len()
    );
    // Each order of which a note was saved has come to its certificate, none was replaced, none finalized twice.
    assert_eq!(noted.len(), HOSTS);
    assert_eq!(made.len(), HOSTS + lost.len());
    assert_eq!(bed.pebble.certificates_issued(), HOSTS);
    assert_eq!(bed.pebble.accounts_created(), 1);
    for (url, order) in &made {
        assert!(
            noted.contains(url) || !was_told(order, exchanges),
            "{url} has no note, and the CA was told to look"
        );
    }
    assert!(kills >= KILLS * 2 / 3, "only {kills} kills fell into the burst");
    // To which kill an order was lost cannot be told from outside: what the dead has sent may arrive after its end.
    assert!(
        lost.len() <= kills * UNNOTED_AT_ONCE,
        "{} orders were lost to {kills} kills",
        lost.len()
    );
}

#[tokio::test]
async fn killed_at_random_it_makes_one_order_for_each_certificate() {
    check(pebble::Setup::default()).await;
}

#[tokio::test]
async fn the_same_with_refused_nonces_and_reused_authorizations() {
    check(pebble::Setup::default().with_pebbles_chances()).await;
}

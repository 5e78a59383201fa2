//! What the CA is asked for when a limit binds, and when it recalls certificates (P17, P21), by its own log.

use std::time::{Duration, Instant};

use faythe_bed::certificate::Certificate;
use faythe_bed::faythe::Faythe;
use faythe_bed::proxy::{Exchange, Fault, Proxy};
use faythe_bed::{Bed, Setup, pebble, until};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::look::{FAYTHE, NEW_ORDER, SOON, before_ca, clean, hosts, issued, said};
use super::stage::{entry, held, with, with_cas};

/// The bed's configuration in its grown form, with these limits of the CA, which is reached through a proxy.
async fn limited(bed: &Bed, limits: Value) -> (Proxy, Value) {
    let (proxy, config) = before_ca(bed).await;
    (proxy, with_cas(config, json!({ "limits": limits }), []))
}

/// Asks for hosts, ten to an Ingress.
async fn ask_all(bed: &Bed, hosts: &[String]) {
    for (i, some) in hosts.chunks(10).enumerate() {
        let some: Vec<_> = some.iter().map(String::as_str).collect();
        bed.ingress(&format!("web{i}"), &some).await.unwrap();
    }
}

/// Orders that the CA has made, by when they were asked for.
fn ordered(proxy: &Proxy) -> Vec<Exchange> {
    let mut all = proxy.exchanges();
    all.retain(|exchange| exchange.request.contains(NEW_ORDER) && exchange.status == Some(201));
    all.sort_by_key(|exchange| exchange.at);
    all
}

/// For whom an order is.
fn host_of(order: &Exchange) -> String {
    let order: Value = serde_json::from_slice(&order.body).unwrap();
    order["identifiers"][0]["value"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn p17_a_limit_that_binds_is_never_passed_and_is_used_up() {
    const COUNT: usize = 10;
    const HOSTS: usize = 30;
    /// One more fits after each.
    const INTERVAL: Duration = Duration::from_secs(1);

    let bed = Bed::start().await.unwrap();
    let limits = json!({ "new_orders": { "count": COUNT, "period": 10 } });
    let (proxy, config) = limited(&bed, limits).await;
    let hosts = hosts(&bed, HOSTS);
    ask_all(&bed, &hosts).await;
    let faythe = bed.faythe(FAYTHE, config).await.unwrap();
    let line = said(
        &faythe,
        &["state=\"queued\"", "the CA limits new orders of our account"],
    )
    .await;
    assert!(
        line.contains("; it is ") && line.contains(", at about "),
        "{line}"
    );
    issued(&bed, &faythe, &hosts).await;
    clean(&bed, &faythe).await;

    let at: Vec<Instant> = ordered(&proxy).iter().map(|order| order.at).collect();
    assert_eq!(at.len(), HOSTS);
    // A request arrives some time after the leave for it was given.
    let lag = Duration::from_millis(500);
    for first in 0..HOSTS {
        for last in first + COUNT..HOSTS {
            let (apart, least) = (
                at[last] - at[first],
                INTERVAL * u32::try_from(last + 1 - first - COUNT).unwrap(),
            );
            assert!(
                apart + lag >= least,
                "orders {first} to {last} came within {apart:?}"
            );
        }
    }
    let (took, shortest) = (at[HOSTS - 1] - at[0], INTERVAL * 20);
    assert!(took < shortest * 3 / 2, "{took:?} could be {shortest:?}");
}

#[tokio::test]
async fn p17_a_time_that_the_ca_has_named_outlives_a_kill() {
    const WORDS: &str = "too many new orders (300) from this account in the last 3h0m0s";

    // Where nothing is counted there is no ledger but for this.
    let bed = Bed::start().await.unwrap();
    let (proxy, config) = before_ca(&bed).await;
    proxy.fault_always(NEW_ORDER, Fault::problem(429, "rateLimited", WORDS, Some("600")));
    let first = [bed.host("first")];
    ask_all(&bed, &first).await;
    let mut faythe = bed.faythe(FAYTHE, config).await.unwrap();
    let held = ["state=\"held\"", WORDS, &first[0]];
    let before = said(&faythe, &held).await;
    until(SOON, "the time is saved", async || {
        let ledgers = ListParams::default().labels("faythe/kind=ledger");
        Ok((bed.secrets().list(&ledgers).await?.items.len() == 1).then_some(()))
    })
    .await
    .unwrap();
    let asked = proxy.count(NEW_ORDER);

    faythe.kill();
    let killed = faythe.log().len();
    faythe.restart().unwrap();
    // One that is new is held as well: the CA was not asked for it.
    bed.ingress("new", &[&bed.host("second")]).await.unwrap();
    let said_since = |host: String| {
        let faythe = &faythe;
        async move {
            until(SOON, "it is held for the same reason", async || {
                let log = faythe.log().split_off(killed);
                let is_it = |line: &&str| [held[0], WORDS, &host].iter().all(|word| line.contains(word));
                Ok(log.lines().find(is_it).map(str::to_owned))
            })
            .await
            .unwrap_or_else(|error| panic!("{error:#}; {}", faythe.process().log_tail()))
        }
    };
    let after = said_since(first[0].clone()).await;
    said_since(bed.host("second")).await;
    let reason = |line: &str| line[line.find(WORDS).unwrap()..].to_owned();
    assert_eq!(reason(&before), reason(&after));
    assert!(reason(&after).contains("; goes on at "), "{after}");
    assert_eq!(proxy.count(NEW_ORDER), asked);
}

/// Tells the CA to recall the certificate of a host, as of some days ago.
async fn recall(bed: &Bed, host: &str, days: i64) {
    let secret = bed.secret_for(host).await.unwrap().unwrap();
    let end = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
    let window = json!({ "start": end - jiff::SignedDuration::from_hours(1), "end": end });
    let answer = json!({ "suggestedWindow": window, "explanationURL": "https://ca.test/incident" });
    let body = json!({ "Certificate": entry(&secret, "cert"), "ARIResponse": answer.to_string() });
    bed.pebble
        .set("/set-renewal-info/", body.to_string())
        .await
        .unwrap();
}

/// How long so many certificates may take on a busy machine.
fn patience(certificates: usize) -> Duration {
    SOON * 2 + Duration::from_millis(500) * u32::try_from(certificates).unwrap()
}

/// Waits until the CA has told so many windows.
async fn asked_about(proxy: &Proxy, faythe: &Faythe, certificates: usize) {
    let told =
        |exchange: &&Exchange| exchange.request.contains("renewalInfo/") && exchange.status == Some(200);
    let all = async || Ok((proxy.exchanges().iter().filter(told).count() >= certificates).then_some(()));
    if let Err(error) = until(patience(certificates), "the CA is asked about each", all).await {
        panic!("{error:#}; {}", faythe.process().log_tail());
    }
}

/// How many orders are worked on at once.
const AT_ONCE: usize = 32;
/// How many certificates are recalled.
const RECALLED: usize = 1_000;

#[tokio::test]
async fn p21_recalled_certificates_are_replaced_the_longest_overdue_first() {
    let count = RECALLED;
    let old = count / 3;
    let setup = Setup {
        pebble: pebble::Setup::default().with_proven_names(),
        ..Setup::default()
    };
    let bed = Bed::start_as(setup).await.unwrap();
    // The budget has no room for one order more: what takes the place of a certificate must not be counted.
    let limits = json!({
        "new_orders": { "count": count, "period": 1_000_000 },
        // One more than are made: what a kill leaves open is counted.
        "certificates_per_set": { "count": 3, "period": 1_000_000 },
        "counts_renewals": false,
    });
    let (proxy, config) = limited(&bed, limits).await;
    // Nothing is said of renewals before all are recalled.
    proxy.fault_always("renewalInfo/", Fault::Cut);
    let hosts = hosts(&bed, count);
    ask_all(&bed, &hosts).await;
    let mut faythe = bed.faythe(FAYTHE, config.clone()).await.unwrap();
    issued(&bed, &faythe, &hosts).await;
    clean(&bed, &faythe).await;
    faythe.kill();
    let before = held(&bed).await;
    // The ones that were asked for last have waited longest.
    for (i, host) in hosts.iter().enumerate() {
        recall(&bed, host, if i < count - old { 1 } else { 10 }).await;
    }

    // All windows are heard, and kept over the restart. Nothing is replaced meanwhile: what is due just after it was
    // stored waits for the grace.
    proxy.heal();
    faythe.restart().unwrap();
    faythe.ready(SOON).await.unwrap();
    asked_about(&proxy, &faythe, count).await;
    faythe.terminate();
    faythe.wait(SOON).await.unwrap();
    assert_eq!(ordered(&proxy).len(), count);
    // Where each is explained has been told once, and is not told again by the next process.
    let explained = |faythe: &Faythe| {
        let log = faythe.log();
        let lines = log.lines();
        let told =
            |line: &&str| line.contains("the CA explains when") && line.contains("https://ca.test/incident");
        lines.filter(told).count()
    };
    assert_eq!(explained(&faythe), count);

    let faythe = bed
        .faythe(FAYTHE, with(config, json!({ "issue_grace": 1000 })))
        .await
        .unwrap();
    let serial = |secret: &_| {
        Certificate::read(entry(secret, "cert").as_bytes())
            .unwrap()
            .serial
    };
    until(patience(count), "all are replaced", async || {
        let now = held(&bed).await;
        let replaced = |host: &&String| serial(&now[*host]) != serial(&before[*host]);
        Ok((hosts.iter().filter(replaced).count() == count).then_some(()))
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}; {}", faythe.process().log_tail()));
    clean(&bed, &faythe).await;
    issued(&bed, &faythe, &hosts).await;
    assert_eq!(explained(&faythe), 0);

    // Each once, and the CA was told what each takes the place of.
    let orders = ordered(&proxy);
    assert_eq!(orders.len(), 2 * count);
    assert_eq!(bed.pebble.certificates_issued(), 2 * count);
    let replacing = |order: &&Exchange| {
        let order: Value = serde_json::from_slice(&order.body).unwrap();
        order["replaces"].is_string()
    };
    let replacements = &orders[count..];
    // One in 256 serial numbers cannot be named at Pebble; and it is asked for once more without.
    assert!(replacements.iter().filter(replacing).count() >= count - 5 - count / 64);
    // They begin in order; what is under way at once may overtake.
    let late = &hosts[count - old..];
    let is_late = |order: &&Exchange| late.contains(&host_of(order));
    let first = &replacements[..(old + AT_ONCE).min(count)];
    let first = first.iter().filter(is_late).count();
    assert_eq!(
        first, old,
        "of {old} that are overdue longest, {first} went first"
    );
}

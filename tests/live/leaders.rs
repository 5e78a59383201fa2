//! Two instances: who acts, who takes over and when, and what an accident of two leaders costs (P38).

use std::time::{Duration, Instant};

use faythe_bed::faythe::Faythe;
use faythe_bed::ports::Port;
use faythe_bed::proxy::{Fault, Proxy};
use faythe_bed::{Bed, until};
use serde_json::Value;

use super::look::{FAYTHE, SOON, ask, before_ca, clean, hosts, issued};

/// What the requirement allows for a take-over, and some for a machine that does other things too.
pub(crate) const TAKEOVER: Duration = Duration::from_secs(20);

/// Two instances of one configuration, of which the first leads; between it and the API server there is a proxy.
struct Pair {
    first: Faythe,
    second: Faythe,
    api: Proxy,
    ca: Proxy,
    bed: Bed,
    _port: Port,
}

impl Pair {
    async fn start() -> Self {
        let bed = Bed::start().await.unwrap();
        let (ca, config) = before_ca(&bed).await;
        let api = Proxy::start(&bed.kube.url(), &bed.kube.https_roots())
            .await
            .unwrap();
        let first = bed.faythe_through(&api, FAYTHE, config.clone()).await.unwrap();
        first.ready(SOON).await.unwrap();
        leads(&first, SOON).await;
        let port = Port::claim().unwrap();
        let mut other: Value = config;
        other["listen"] = port.address().to_string().into();
        let second = bed.faythe(FAYTHE, other).await.unwrap();
        second.ready(SOON).await.unwrap();
        until(SOON, "the second watches", async || {
            Ok(second.log().contains("another instance leads").then_some(()))
        })
        .await
        .unwrap();
        stands(&second, "watches", "another instance leads: ").await;
        Self {
            first,
            second,
            api,
            ca,
            bed,
            _port: port,
        }
    }

    /// Nothing is left, and every host has cost one certificate, and one order but for so many.
    async fn all_well(&self, faythe: &Faythe, hosts: &[String], extra: usize) {
        issued(&self.bed, faythe, hosts).await;
        clean(&self.bed, faythe).await;
        assert_eq!(self.bed.pebble.certificates_issued(), hosts.len());
        let orders = self.bed.pebble.orders_created();
        assert!(
            (hosts.len()..=hosts.len() + extra).contains(&orders),
            "{orders} orders for {} hosts",
            hosts.len()
        );
    }

    /// Asks for certificates, and waits until something is under way.
    async fn get_busy(&self, hosts: &[String]) {
        ask(&self.bed, hosts).await;
        until(SOON, "something is under way", async || {
            Ok((self.bed.pebble.orders_created() >= 2).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Cuts the first off the API server.
    fn partition(&self) {
        self.api.fault_always(" ", Fault::Cut);
        self.api.cut();
    }
}

pub(crate) async fn is_leading(faythe: &Faythe) -> anyhow::Result<bool> {
    Ok(faythe.metric("faythe_leader", &[]).await? == Some(1.0))
}

pub(crate) async fn leads(faythe: &Faythe, within: Duration) {
    let leads = until(within, "it leads", async || {
        Ok(is_leading(faythe).await?.then_some(()))
    });
    if let Err(error) = leads.await {
        panic!("{error:#}; its log ends in:\n{}", faythe.process().log_tail());
    }
}

/// It says how it stands with the other one, by this code and, where it is ready, these words.
async fn stands(faythe: &Faythe, code: &str, words: &str) {
    until(SOON, code, async || {
        let there = faythe.metric("faythe_election", &[("state", code)]).await? == Some(1.0);
        let said = faythe.get("/readyz").await?.body.contains(words);
        Ok((there && said).then_some(()))
    })
    .await
    .unwrap();
}

async fn follows(faythe: &Faythe) {
    until(SOON, "it leads no more", async || {
        Ok((!is_leading(faythe).await?).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn p38_a_crash_is_made_up_for_and_the_other_goes_on_with_what_was_under_way() {
    let pair = Pair::start().await;
    let hosts = hosts(&pair.bed, 5);
    pair.get_busy(&hosts).await;
    pair.first.kill();
    leads(&pair.second, TAKEOVER).await;
    pair.all_well(&pair.second, &hosts, faythe::act::UNNOTED_AT_ONCE)
        .await;
}

#[tokio::test]
async fn p38_a_clean_end_hands_over_at_once_and_nothing_is_ordered_twice() {
    let pair = Pair::start().await;
    let hosts = hosts(&pair.bed, 5);
    pair.get_busy(&hosts).await;
    pair.first.terminate();
    assert!(pair.first.wait(SOON).await.unwrap().success());
    let began = Instant::now();
    leads(&pair.second, SOON).await;
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(8), "{waited:?} is no hand-over");
    pair.all_well(&pair.second, &hosts, 0).await;
}

#[tokio::test]
async fn p38_a_partition_between_finalize_and_download_costs_nothing() {
    let pair = Pair::start().await;
    let hosts = hosts(&pair.bed, 1);
    // The certificate arrives when the lease has been lost.
    pair.ca
        .fault(1, "POST /certZ/", Fault::Delay(Duration::from_secs(9)));
    let process = pair.first.process().id();
    ask(&pair.bed, &hosts).await;
    until(SOON, "the order is finalized", async || {
        Ok((pair.ca.count("POST /finalize-order/") > 0).then_some(()))
    })
    .await
    .unwrap();
    pair.partition();
    let began = Instant::now();
    leads(&pair.second, TAKEOVER).await;
    follows(&pair.first).await;
    stands(&pair.first, "waits", "nothing is done until it can").await;
    issued(&pair.bed, &pair.second, &hosts).await;
    until(SOON * 2, "a minute has passed", async || {
        pair.first.process().check_running().unwrap();
        Ok((began.elapsed() >= Duration::from_secs(60)).then_some(()))
    })
    .await
    .unwrap();
    pair.api.heal();
    pair.first.ready(SOON).await.unwrap();
    pair.all_well(&pair.second, &hosts, 0).await;
    // It neither ended nor leads, and it has written nothing.
    assert_eq!(pair.first.process().id(), process);
    assert!(!is_leading(&pair.first).await.unwrap());
    assert_eq!(pair.bed.pebble.accounts_created(), 1);
}

#[tokio::test]
async fn p38_an_instance_that_wakes_up_after_another_has_taken_over_does_no_harm() {
    let pair = Pair::start().await;
    let hosts = hosts(&pair.bed, 6);
    pair.get_busy(&hosts[..5]).await;
    pair.first.process().freeze();
    leads(&pair.second, TAKEOVER).await;
    issued(&pair.bed, &pair.second, &hosts[..5]).await;
    pair.first.process().thaw();
    follows(&pair.first).await;
    ask(&pair.bed, &hosts[5..]).await;
    pair.all_well(&pair.second, &hosts, faythe::act::UNNOTED_AT_ONCE)
        .await;
}

//! The API server gone, hanging, overloaded, forgetful: what is known is kept, nothing is ordered twice, and it goes on.

use std::time::{Duration, Instant};

use faythe_bed::faythe::Faythe;
use faythe_bed::proxy::{Fault, Proxy};
use faythe_bed::{Bed, Setup, until};

use super::look::{FAYTHE, SOON, ask, clean, hosts, issued, said};

/// A bed whose API server is nobody else's.
async fn own_bed() -> Bed {
    let setup = Setup {
        own_kube: true,
        ..Setup::default()
    };
    Bed::start_as(setup).await.unwrap()
}

/// A bed, a proxy before its API server, and a Faythe that reaches it through the proxy and is ready.
async fn behind_proxy() -> (Bed, Proxy, Faythe) {
    let bed = Bed::start().await.unwrap();
    let proxy = Proxy::start(&bed.kube.url(), &bed.kube.https_roots())
        .await
        .unwrap();
    let faythe = bed.faythe_through(&proxy, FAYTHE, bed.config()).await.unwrap();
    faythe.ready(SOON).await.unwrap();
    (bed, proxy, faythe)
}

/// Waits for all certificates, and checks that each cost one order and nothing is left behind.
async fn all_well(bed: &Bed, faythe: &Faythe, hosts: &[String]) {
    issued(bed, faythe, hosts).await;
    clean(bed, faythe).await;
    assert_eq!(bed.pebble.orders_created(), hosts.len());
    assert_eq!(bed.pebble.certificates_issued(), hosts.len());
}

/// Waits until Pebble has made this many orders.
async fn ordered(bed: &Bed, number: usize) {
    until(SOON, "orders are under way", async || {
        Ok((bed.pebble.orders_created() >= number).then_some(()))
    })
    .await
    .unwrap();
}

/// Waits until a time has passed while Faythe must go on running and say that it lives.
async fn lives_on(faythe: &Faythe, time: Duration) {
    let begun = Instant::now();
    until(SOON, "it lives on", async || {
        faythe.process().check_running().unwrap();
        assert_eq!(faythe.get("/healthz").await.unwrap().status, 200);
        Ok((begun.elapsed() >= time).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_api_server_restarted_among_twenty_issuances_costs_no_order() {
    let mut bed = own_bed().await;
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    let hosts = hosts(&bed, 20);
    ask(&bed, &hosts).await;
    ordered(&bed, 3).await;
    bed.kube.own().unwrap().restart().await.unwrap();
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn an_api_server_that_is_gone_is_waited_for() {
    let mut bed = own_bed().await;
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    let mut hosts = hosts(&bed, 5);
    let last = hosts.split_off(3);
    ask(&bed, &hosts).await;
    all_well(&bed, &faythe, &hosts).await;

    // What the CA says to these goes nowhere at first.
    ask(&bed, &last).await;
    bed.kube.own().unwrap().stop();
    said(&faythe, &["WARN", "cannot follow the cluster"]).await;
    lives_on(&faythe, Duration::from_secs(5)).await;
    let valid = faythe.metric("faythe_certificates", &[("state", "valid")]).await;
    assert!(valid.unwrap().unwrap() >= 3.0, "what is known is kept");
    assert_eq!(faythe.get("/readyz").await.unwrap().status, 200);

    bed.kube.own().unwrap().start_again().await.unwrap();
    hosts.extend(last);
    all_well(&bed, &faythe, &hosts).await;
    let fresh = bed.host("fresh");
    ask(&bed, std::slice::from_ref(&fresh)).await;
    hosts.push(fresh);
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn an_api_server_that_hangs_is_waited_for() {
    let bed = own_bed().await;
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    let hosts = hosts(&bed, 10);
    ask(&bed, &hosts).await;
    ordered(&bed, 2).await;
    bed.kube.freeze();
    lives_on(&faythe, Duration::from_secs(5)).await;
    bed.kube.thaw();
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn a_busy_api_server_is_left_alone_as_long_as_it_asks() {
    let (bed, proxy, faythe) = behind_proxy().await;
    let secrets = format!("POST /api/v1/namespaces/{}/secrets", bed.secret_namespace);
    let hosts = hosts(&bed, 1);
    // The account is saved first; by then all is well.
    ask(&bed, &hosts).await;
    issued(&bed, &faythe, &hosts).await;

    let busy = Fault::refusal(429, "TooManyRequests", "please try again later", Some(4));
    proxy.fault(1, &secrets, busy);
    let more = [bed.host("more")];
    ask(&bed, &more).await;
    let both = [hosts, more.to_vec()].concat();
    all_well(&bed, &faythe, &both).await;
    // Of the second host, there is the refused note, the note, the certificate.
    let asked = requests(&proxy, &secrets);
    let refused = asked.iter().position(|(_, status)| *status == Some(429)).unwrap();
    let pause = asked[refused + 1].0.duration_since(asked[refused].0);
    assert!(pause >= Duration::from_secs(4), "asked again after {pause:?}");
}

#[tokio::test]
async fn watches_heed_retry_after() {
    let (bed, proxy, faythe) = behind_proxy().await;
    let busy = Fault::refusal(429, "TooManyRequests", "please try again later", Some(3));
    proxy.fault(1, "/ingresses?", busy);
    proxy.cut();
    let watches = async || {
        let all = requests(&proxy, "/ingresses?");
        let refused = all.iter().position(|(_, status)| *status == Some(429));
        Ok(refused.and_then(|refused| Some((all[refused].0, all.get(refused + 1)?.0))))
    };
    let (refused, next) = until(SOON, "the watch begins anew", watches).await.unwrap();
    let pause = next.duration_since(refused);
    assert!(pause >= Duration::from_secs(3), "asked again after {pause:?}");
    let hosts = hosts(&bed, 1);
    ask(&bed, &hosts).await;
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn an_api_server_that_fails_at_everything_is_asked_ever_more_seldom() {
    let (bed, proxy, faythe) = behind_proxy().await;
    let hosts = hosts(&bed, 12);
    ask(&bed, &hosts[..8]).await;
    ordered(&bed, 3).await;
    proxy.fault_always(
        "",
        Fault::refusal(500, "InternalError", "etcdserver: no leader", None),
    );
    proxy.cut();
    let before = proxy.exchanges().len();
    said(&faythe, &["WARN", "cannot follow the cluster"]).await;
    ask(&bed, &hosts[8..]).await;
    lives_on(&faythe, Duration::from_secs(6)).await;
    // Two watches and up to eight orders, each doubling its pauses from a second or less.
    let asked = proxy.exchanges().len() - before;
    assert!(asked < 100, "{asked} requests in 6 s");
    proxy.heal();
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn a_watch_that_is_too_old_begins_anew() {
    let (bed, proxy, faythe) = behind_proxy().await;
    let hosts = hosts(&bed, 3);
    ask(&bed, &hosts[..1]).await;
    issued(&bed, &faythe, &hosts[..1]).await;

    // Refused as it begins, and ended by an event: both are ways of the API server to say it.
    let gone = Fault::refusal(410, "Expired", "too old resource version: 1 (2)", None);
    proxy.fault(2, "watch=true", gone);
    proxy.cut();
    until(SOON, "watches have been refused and begun anew", async || {
        let refused = |(_, status): &(Instant, Option<u16>)| *status == Some(410);
        let watches = requests(&proxy, "watch=true");
        let refused = watches.iter().filter(|watch| refused(watch)).count();
        Ok((refused == 2 && watches.len() >= 6).then_some(()))
    })
    .await
    .unwrap();
    ask(&bed, &hosts[1..2]).await;
    issued(&bed, &faythe, &hosts[..2]).await;

    let Fault::Answer { body, headers, .. } =
        Fault::refusal(410, "Expired", "too old resource version", None)
    else {
        panic!("a refusal is an answer");
    };
    let event = Fault::Answer {
        status: 200,
        headers,
        body: format!("{{\"type\":\"ERROR\",\"object\":{body}}}\n"),
    };
    proxy.fault(2, "watch=true", event);
    proxy.cut();
    ask(&bed, &hosts[2..]).await;
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_taken_for_somebody_elses() {
    let (bed, proxy, faythe) = behind_proxy().await;
    let hosts = hosts(&bed, 4);
    ask(&bed, &hosts[..1]).await;
    all_well(&bed, &faythe, &hosts[..1]).await;

    let secrets = format!("/api/v1/namespaces/{}/secrets", bed.secret_namespace);
    // The note of one host, the certificate of another, the removal of the note of a third.
    proxy.fault(1, &format!("POST {secrets}"), Fault::LoseAnswer);
    ask(&bed, &hosts[1..2]).await;
    all_well(&bed, &faythe, &hosts[..2]).await;

    proxy.fault(1, &format!("POST {secrets}"), Fault::Delay(Duration::ZERO));
    proxy.fault(1, &format!("POST {secrets}"), Fault::LoseAnswer);
    ask(&bed, &hosts[2..3]).await;
    all_well(&bed, &faythe, &hosts[..3]).await;

    proxy.fault(1, &format!("DELETE {secrets}"), Fault::LoseAnswer);
    ask(&bed, &hosts[3..]).await;
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn without_an_api_server_it_starts_and_waits() {
    let (bed, proxy, mut faythe) = behind_proxy().await;
    let hosts = hosts(&bed, 2);
    ask(&bed, &hosts[..1]).await;
    issued(&bed, &faythe, &hosts[..1]).await;
    clean(&bed, &faythe).await;

    proxy.fault_always("", Fault::Cut);
    faythe.restart().unwrap();
    until(SOON, "it serves HTTP and is not ready", async || {
        Ok((faythe.get("/readyz").await?.status == 503).then_some(()))
    })
    .await
    .unwrap();
    lives_on(&faythe, Duration::from_secs(3)).await;
    assert_eq!(faythe.get("/readyz").await.unwrap().status, 503);
    ask(&bed, &hosts[1..]).await;
    proxy.heal();
    faythe.ready(SOON).await.unwrap();
    all_well(&bed, &faythe, &hosts).await;
}

/// When requests that contain `request` came, and the status they were answered with.
fn requests(proxy: &Proxy, request: &str) -> Vec<(Instant, Option<u16>)> {
    let mut all: Vec<_> = proxy
        .exchanges()
        .into_iter()
        .filter(|exchange| exchange.request.contains(request))
        .map(|exchange| (exchange.at, exchange.status))
        .collect();
    all.sort();
    all
}

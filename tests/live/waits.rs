//! Waits for something on our side, as they end when what caused them has changed (P22). Those for a key file and for what
//! servers show are in `tests/loop/faults.rs` and `pace`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use faythe_bed::{Bed, Setup, bind};
use serde_json::json;

use super::stage::{Stage, soon};
use super::zones::{grown, zone_of};

/// Nothing listens there.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
/// A wait doubles from a second with each try: after so many it is 16 s.
const TRIES: u32 = 5;
/// What is tried at once has been done by then, on a machine that is busy too, and the wait is not over.
const AT_ONCE: Duration = Duration::from_secs(12);

#[tokio::test]
async fn p22_a_changed_ingress_and_a_changed_configuration_end_the_waits_that_they_caused() {
    let other = "waits-b.test";
    let denied = ["_acme-challenge.a.waits.test", "_acme-challenge.c.waits.test"];
    let bed = Bed::start_as(Setup {
        name: "waits".to_owned(),
        names: bind::Setup {
            zones: vec![other.to_owned()],
            denied: denied.map(str::to_owned).into(),
            ..bind::Setup::default()
        },
        ..Setup::default()
    })
    .await
    .unwrap();
    let open = bind::Setup {
        denied: Vec::new(),
        ..bed.bind.setup().clone()
    };
    let config = |bed: &Bed, keys| {
        let zones = json!({ bed.zone.as_str(): zone_of(bed, json!({})), other: zone_of(bed, keys) });
        grown(bed.config(), zones)
    };
    let astray = config(&bed, json!({ "auth_dns_server": NOBODY.to_string() }));
    let right = config(&bed, json!({}));
    let (ours, like_it, elsewhere) = (bed.host("a"), bed.host("c"), format!("b.{other}"));
    for host in [&ours, &like_it, &elsewhere] {
        bed.ingress(host, &[host]).await.unwrap();
    }
    let mut stage = Stage::of(bed, astray).await;
    let tries = async |code, count: u32| {
        soon("the waits have grown", async || {
            let faults = stage
                .faythe
                .metric("faythe_faults_total", &[("code", code)])
                .await?;
            Ok(faults >= Some(count.into()))
        })
        .await;
    };
    tokio::join!(tries("refused", 2 * TRIES), tries("unreachable", TRIES));

    // Who has mended a policy touches the Ingress, and does not wait for the next try.
    stage.bed.bind.restart(open).await.unwrap();
    let began = Instant::now();
    stage.bed.delete_ingress(&ours).await.unwrap();
    stage.ask(&ours, &[&ours]).await;
    stage.certificate(&ours).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    if began.elapsed() < AT_ONCE / 2 {
        assert_eq!(
            stage.held().await.len(),
            1,
            "what was not touched waits as before"
        );
    }

    stage.restart_with(right).await;
    let began = Instant::now();
    stage.certificate(&elsewhere).await;
    stage.certificate(&like_it).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 3);
}

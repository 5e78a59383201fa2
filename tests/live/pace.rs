//! What fails or is slow holds up itself alone, and is not tried too soon (S06, S13).

use std::time::{Duration, Instant};

use faythe_bed::bind::{self, Bind};
use faythe_bed::{Bed, until};
use serde_json::json;

use crate::live::look::notes;
use crate::live::stage::{FAYTHE, SOON, Stage, soon, with};

#[tokio::test]
async fn s06_a_name_that_no_update_may_change_holds_up_no_other() {
    let mut bed = Bed::start().await.unwrap();
    let denied = bind::Setup {
        denied: vec![bed.host("_acme-challenge.denied")],
        ..bed.bind.setup().clone()
    };
    let open = bed.bind.setup().clone();
    bed.bind.restart(denied).await.unwrap();
    let mut stage = Stage::on(bed, json!({})).await;
    let denied = stage.host("denied");
    let siblings = ["a", "b", "c"].map(|label| stage.host(label));
    let mut hosts: Vec<&str> = siblings.iter().map(String::as_str).collect();
    hosts.insert(1, &denied);
    stage.ask("web", &hosts).await;
    for host in &siblings {
        stage.certificate(host).await;
    }
    stage.reach("stalled", 1).await;
    let verdict = stage.lines(&["stalled", &format!("host={denied}")]);
    let server = stage.bed.bind.address().to_string();
    for word in ["REFUSED", "policy", "key faythe", &stage.bed.zone, &server] {
        assert!(verdict[0].contains(word), "no {word} in {verdict:?}");
    }
    // What comes later is served too, while that one goes on being tried.
    let later = stage.host("later");
    stage.ask("more", &[&later]).await;
    stage.certificate(&later).await;
    assert_eq!(stage.validations(), 4);

    // Mended, it is served within a minute, by the same order.
    stage.bed.bind.restart(open).await.unwrap();
    stage.certificate(&denied).await;
    assert_eq!(stage.bed.pebble.orders_created(), 5);
    stage.clean().await;
}

#[tokio::test]
async fn s06_a_name_that_stays_invisible_holds_up_no_other() {
    let mut bed = Bed::start().await.unwrap();
    // The record goes into the zone, but the server answers from the zone below, which does not have it.
    let mut setup = bed.bind.setup().clone();
    setup.zones.push(bed.host("below"));
    bed.bind.restart(setup).await.unwrap();
    let stage = Stage::on(bed, json!({})).await;
    let hidden = stage.host("www.below");
    stage.ask("hidden", &[&hidden]).await;
    stage.unseen("not-visible").await;
    let host = stage.host("www");
    let began = Instant::now();
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "took {:?}",
        began.elapsed()
    );
    stage.reach("stalled", 1).await;
    assert_eq!(stage.validations(), 1);
    assert_eq!(stage.bed.pebble.orders_created(), 2);
}

#[tokio::test]
async fn s06_watching_goes_on_while_nothing_can_be_issued() {
    let stage = Stage::start().await;
    stage.bed.bind.freeze();
    let hosts = ["a", "b", "c"].map(|label| stage.host(label));
    for (number, host) in hosts.iter().enumerate() {
        stage.ask(&format!("web{number}"), &[host]).await;
    }
    // All are seen and have an order, then one is not wanted any more, and the loop goes on turning.
    stage.count("faythe_certificates", &[], 3).await;
    soon("each order is noted", async || {
        Ok(notes(&stage.bed).await?.len() == 3)
    })
    .await;
    stage.bed.delete_ingress("web0").await.unwrap();
    stage.reach("unwanted", 1).await;
    assert_eq!(stage.faythe.get("/healthz").await.unwrap().status, 200);
    stage.bed.bind.thaw();
    stage.certificate(&hosts[1]).await;
    stage.certificate(&hosts[2]).await;
    // The one that nobody asks for has met a fault or not; in either case nothing of it is left.
    stage.clean().await;
    stage.reach("unwanted", 0).await;
    assert_eq!(stage.bed.pebble.orders_created(), 3);
}

/// A bed with an Ingress whose record goes to a name server that the CA does not ask.
async fn where_the_ca_fails() -> (Bed, Bind) {
    let bed = Bed::start().await.unwrap();
    let elsewhere = Bind::start(bed.bind.setup().clone()).await.unwrap();
    bed.ingress("web", &[&bed.host("www")]).await.unwrap();
    (bed, elsewhere)
}

#[tokio::test]
async fn s13_issue_grace_holds_over_restarts() {
    let (bed, elsewhere) = where_the_ca_fails().await;
    let keys = json!({ "auth_dns_server": elsewhere.address().to_string() });
    let mut stage = Stage::on(bed, keys.clone()).await;
    let host = stage.host("www");
    stage.reach("failed", 1).await;
    let told = stage.event("web", "IssuanceFailed", &[&host]).await;
    assert!(told.contains("tried again at"), "{told}");
    assert_eq!(stage.bed.pebble.orders_created(), 1);
    assert_eq!(elsewhere.all_txt(&stage.bed.zone).await.unwrap(), []);

    // Whether it ends as it should or is killed: with the verdict the decision not to order is made.
    stage.restart(keys).await;
    stage.reach("failed", 1).await;
    stage.faythe.kill();
    stage.faythe.restart().unwrap();
    stage.faythe.ready(SOON).await.unwrap();
    stage.reach("failed", 1).await;
    assert_eq!(stage.bed.pebble.orders_created(), 1);

    // A grace that is over lets the next order come.
    stage.faythe.terminate();
    stage.faythe.wait(SOON).await.unwrap();
    let keys = json!({ "auth_dns_server": elsewhere.address().to_string(), "issue_grace": 1 });
    let config = with(stage.bed.config(), keys);
    stage.faythe = stage.bed.faythe(FAYTHE, config).await.unwrap();
    until(SOON, "there is a second order", async || {
        Ok((stage.bed.pebble.orders_created() == 2).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn s13_a_second_order_comes_when_the_grace_is_over_and_not_before() {
    const GRACE: Duration = Duration::from_secs(4);

    let (bed, elsewhere) = where_the_ca_fails().await;
    let keys = json!({
        "auth_dns_server": elsewhere.address().to_string(),
        "issue_grace": u64::try_from(GRACE.as_millis()).unwrap(),
    });
    let stage = Stage::on(bed, keys).await;
    stage.reach("failed", 1).await;
    let began = Instant::now();
    until(SOON, "there is a second order", async || {
        Ok((stage.bed.pebble.orders_created() == 2).then_some(()))
    })
    .await
    .unwrap();
    let apart = began.elapsed();
    // From outside the failure is seen late, by as long as a look takes on a busy machine.
    assert!(
        apart > GRACE / 2,
        "the second order came {apart:?} after the failure"
    );
}

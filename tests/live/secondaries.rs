//! Who has to show a record: all the servers of a zone, a quorum, the primary alone; and two views of one zone.

use std::time::{Duration, Instant};

use faythe_bed::bind;
use faythe_bed::dns_proxy::{Fault, Rule, Transport};
use faythe_bed::{Bed, Setup, until};
use serde_json::{Value, json};

use super::look::{SOON, said};
use super::stage::{Stage, with};
use super::zones::one_zone;

/// How late the late one is.
const LATE: Duration = Duration::from_secs(20);

/// A bed with three secondaries that the zone's NS records name.
async fn three() -> Bed {
    Bed::start_as(Setup {
        secondaries: 3,
        ..Setup::default()
    })
    .await
    .unwrap()
}

/// The bed's configuration with an entry of `zones`, whose servers have the port of the bed's, and these keys in its `check`.
fn checked(bed: &Bed, check: Value) -> Value {
    let port = json!({ "port": bed.bind.address().port() });
    one_zone(bed, json!({ "check": with(port, check) }))
}

/// A Faythe with that configuration.
async fn stage(bed: Bed, check: Value) -> Stage {
    let config = checked(&bed, check);
    Stage::of(bed, config).await
}

#[tokio::test]
async fn p03_the_ca_waits_for_the_late_one_and_the_dead_and_the_refusing_are_named() {
    let mut bed = three().await;
    bed.secondaries[0].delay(LATE);
    bed.secondaries[1].refuse().await.unwrap();
    bed.secondaries[2].die();
    let stage = stage(bed, json!({})).await;
    let [late, refusing, dead] = &stage.bed.secondaries[..] else {
        panic!("there are three")
    };
    let host = stage.host("www");
    let record = format!("_acme-challenge.{host}");
    let asked = Instant::now();
    stage.ask("web", &[&host]).await;
    until(SOON, "the CA is told", async || {
        Ok((stage.validations() > 0).then_some(()))
    })
    .await
    .unwrap();
    // What was withdrawn since would go from the late one as much later.
    assert_eq!(late.txt(&record).await.unwrap().len(), 1, "told too early");
    assert!(asked.elapsed() >= LATE, "told after {:?}", asked.elapsed());
    stage.certificate(&host).await;

    let [refusing, dead] = [refusing, dead].map(|server| format!("({})", server.address()));
    let words = [
        "done without name servers",
        "did not answer",
        &dead,
        &refusing,
        "REFUSED",
    ];
    stage.event("web", "CertificateIssued", &words).await;
    said(&stage.faythe, &["WARN", "done without", &dead]).await;
    let skipped = stage.faythe.metric("faythe_dns_servers_skipped_total", &[]).await;
    assert_eq!(skipped.unwrap(), Some(2.0));
}

#[tokio::test]
async fn p05_the_primary_alone_is_enough_where_all_other_dns_is_cut_off() {
    let bed = three().await;
    let cut_off = |bed: &Bed| {
        for secondary in &bed.secondaries {
            secondary.fall_silent();
        }
    };
    cut_off(&bed);
    let mut stage = stage(bed, json!({ "servers": "primary" })).await;
    let host = stage.host("a");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;

    // The flat file, whose `val_dns_servers` is empty.
    stage.restart(json!({})).await;
    assert_eq!(stage.faythe.config()["val_dns_servers"], json!([]));
    let host = stage.host("b");
    stage.ask("more", &[&host]).await;
    stage.certificate(&host).await;
    for secondary in &stage.bed.secondaries {
        let passed = secondary.front().unwrap().passed();
        assert_eq!(passed.len(), 0, "a secondary was asked");
    }
}

#[tokio::test]
async fn p08_no_fault_of_one_server_stops_what_the_others_show() {
    let quorum = json!({ "quorum": 2, "dead_after": 1_000 });
    let mut stage = stage(three().await, quorum).await;
    let faulty = stage.bed.secondaries[0].front().unwrap();
    let faults = [
        Fault::Rcode(2),
        Fault::Rcode(5),
        Fault::Rcode(1),
        Fault::Drop,
        Fault::Truncate,
        Fault::WrongId,
        Fault::Cut,
        Fault::Close,
        Fault::Delay(Duration::from_secs(5)),
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        faulty.set(Rule::always(fault));
        let host = stage.host(&format!("h{n}"));
        stage.ask(&format!("web{n}"), &[&host]).await;
        stage.certificate(&host).await;
    }
    let done = faulty.counts();
    for fault in faults {
        assert!(done.contains_key(fault.name()), "no message was {}", fault.name());
    }
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), faults.len());
    // And what TCP can make good is no fault at all: each server counts again.
    faulty.set(Rule::always(Fault::Truncate).over(Transport::Udp));
    let config = checked(&stage.bed, json!({}));
    stage.restart_with(config).await;
    let host = stage.host("whole");
    stage.ask("whole", &[&host]).await;
    stage.certificate(&host).await;
    assert_eq!(stage.lines(&["done without"]), [""; 0], "it was done without");
}

#[tokio::test]
async fn p02_two_views_of_one_zone_need_no_setting() {
    let bed = Bed::start_as(Setup {
        names: bind::Setup {
            // The CA and Faythe are shown the first.
            views: vec!["outside".to_owned(), "inside".to_owned()],
            ..bind::Setup::default()
        },
        ..Setup::default()
    })
    .await
    .unwrap();
    let inside = bed.bind.view("inside").await.unwrap();
    let serials = (
        bed.bind.serial(&bed.zone).await.unwrap(),
        inside.serial(&bed.zone).await.unwrap(),
    );
    let stage = stage(bed, json!({})).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    stage.clean().await;
    let zone = &stage.bed.zone;
    assert!(stage.bed.bind.serial(zone).await.unwrap() > serials.0);
    assert_eq!(
        inside.serial(zone).await.unwrap(),
        serials.1,
        "the inside has changed"
    );
}

//! What Faythe asks of the API server: few writes for a certificate, none for nothing, and only what the shipped rights
//! allow.

use std::time::Duration;

use faythe_bed::kube::Request;
use faythe_bed::{Bed, Setup, until};
use serde_json::json;

use crate::live::stage::{FAYTHE, Stage, foreign_certificate, put_labeled, soon};

/// How long nothing has to happen before it counts as nothing. That something stays away cannot be waited for, so this
/// is the one place where time passes; it is several re-syncs of the Faythes here.
const WINDOW: Duration = Duration::from_secs(3);

fn summary(writes: &[Request]) -> Vec<String> {
    let mut lines: Vec<_> = writes
        .iter()
        .map(|write| format!("{} {}", write.verb, write.resource))
        .collect();
    lines.sort();
    lines
}

async fn assert_no_write_after(stage: &Stage, count: usize) {
    let more = until(WINDOW, "there is another write", async || {
        let writes = stage.writes();
        Ok((writes.len() > count).then_some(writes))
    })
    .await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn an_issuance_costs_three_object_writes_and_one_event() {
    let stage = Stage::start().await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    soon(
        "all writes are in the log",
        async || Ok(stage.writes().len() >= 4),
    )
    .await;
    assert_no_write_after(&stage, 4).await;
    let expected = [
        "create events",
        "create secrets",
        "create secrets",
        "delete secrets",
    ];
    assert_eq!(summary(&stage.writes()), expected, "{:?}", stage.writes());
}

#[tokio::test]
async fn a_renewal_costs_the_same_and_writes_the_consumers_secret_once() {
    let bed = Bed::start().await.unwrap();
    let host = bed.host("www");
    let (cert, key) = foreign_certificate(&[&host], -80, 10);
    put_labeled(&bed, &host, &host, &[("cert", &cert), ("key", &key)]).await;
    bed.ingress("web", &[&host]).await.unwrap();
    let stage = Stage::on(bed, json!({})).await;
    soon(
        "all writes are in the log",
        async || Ok(stage.writes().len() >= 4),
    )
    .await;
    assert_no_write_after(&stage, 4).await;
    let expected = [
        "create events",
        "create secrets",
        "delete secrets",
        "patch secrets",
    ];
    assert_eq!(summary(&stage.writes()), expected, "{:?}", stage.writes());
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes_nor_at_a_restart() {
    let keys = json!({ "monitor_interval": 500 });
    let mut stage = Stage::start_as(Setup::default(), keys.clone()).await;
    let hosts = ["a", "b", "*.c"].map(|label| stage.host(label));
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    stage.ask("web", &hosts).await;
    for host in &hosts {
        stage.certificate(host).await;
    }
    stage.clean().await;
    soon("all writes are in the log", async || {
        Ok(stage.writes().len() >= 12)
    })
    .await;
    assert_no_write_after(&stage, 12).await;

    // The first end saves what the CA has said about renewals since; then there is nothing new.
    stage.restart(keys.clone()).await;
    stage.reach("valid", 3).await;
    let before = stage.bed.writes().unwrap();
    assert_eq!(before.last().unwrap().name, "faythe-windows");
    stage.restart(keys).await;
    stage.reach("valid", 3).await;
    assert_no_write_after(&stage, 13).await;
    assert_eq!(stage.bed.writes().unwrap(), before, "not even for the account");
    assert_eq!(stage.bed.pebble.orders_created(), 3);
    assert_eq!(stage.bed.pebble.accounts_created(), 1);
}

#[tokio::test]
async fn the_account_is_made_once_and_found_at_each_start() {
    let mut stage = Stage::start().await;
    for label in ["first", "second", "third"] {
        let host = stage.host(label);
        stage.ask(label, &[&host]).await;
        stage.certificate(&host).await;
        stage.clean().await;
        stage.restart(json!({})).await;
    }
    assert_eq!(stage.bed.pebble.accounts_created(), 1);
    assert_eq!(stage.bed.pebble.orders_created(), 3);
    // It is no certificate, so no consumer may select it.
    let held: Vec<_> = stage.held().await.into_keys().collect();
    assert_eq!(held, ["first", "second", "third"].map(|label| stage.host(label)));
}

#[tokio::test]
async fn the_shipped_rights_are_enough_for_everything() {
    let bed = Bed::start().await.unwrap();
    let bed = bed.with_shipped_rights().await.unwrap();
    let [fresh, due, theirs] = ["fresh", "due", "theirs"].map(|label| bed.host(label));
    let (cert, key) = foreign_certificate(&[&due], -80, 10);
    let before = put_labeled(&bed, &due, &due, &[("cert", &cert), ("key", &key)]).await;
    let stage = Stage::on(bed, json!({})).await;
    stage.ask("web", &[&fresh, &due]).await;
    stage.certificate(&fresh).await;
    soon("the one that is due is renewed", async || {
        let now = stage.bed.secrets().get(&due).await?;
        Ok(now.data != before.data)
    })
    .await;
    crate::live::stage::put(&stage.bed, json!({ "metadata": { "name": theirs } })).await;
    stage.ask("more", &[&theirs]).await;
    stage.event("more", "SecretNotOurs", &[&theirs]).await;
    stage.event("web", "CertificateIssued", &[&fresh]).await;
    stage.clean().await;
    let checked = crate::live::check::check(&stage.bed, FAYTHE, stage.bed.config()).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");

    let requests = stage
        .bed
        .kube
        .requests_by(&stage.bed.identity.username())
        .unwrap();
    let denied: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
    assert!(denied.is_empty(), "{denied:?}");
    assert!(requests.len() > 10);
}

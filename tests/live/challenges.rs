//! The record in the DNS: its form, what stands beside it, who has to show it, and that nothing is left (S08 to S10).
//!
//! An order is held up with its record in place by a server of `val_dns_servers` that does not show it.

use std::time::{Duration, Instant};

use faythe_bed::bind::{self, Bind};
use faythe_bed::ports::Port;
use faythe_bed::{Bed, until};
use serde_json::json;

use crate::live::stage::{SOON, Stage};

/// What a name and its wildcard would cost if one waited for the CA's resolvers to forget the other (P15).
const CACHE: Duration = Duration::from_secs(60);

/// The TXT values at the challenge name of a host, when there are so many.
async fn values(stage: &Stage, host: &str, count: usize) -> Vec<String> {
    let name = format!("_acme-challenge.{host}");
    until(SOON, &format!("{count} values at {name}"), async || {
        let values = stage.bed.bind.txt(&name).await?;
        anyhow::ensure!(values.len() == count, "{values:?}");
        Ok(Some(values))
    })
    .await
    .unwrap()
}

/// A server for the zone of a bed that gets nothing from anybody.
async fn lonely_server(bed: &Bed) -> Bind {
    let setup = bind::Setup {
        denied: Vec::new(),
        ..bed.bind.setup().clone()
    };
    Bind::start(setup).await.unwrap()
}

#[tokio::test]
async fn s08_the_record_has_its_one_form() {
    let stage = Stage::with_secondary().await;
    let secondary = stage.bed.secondary.as_ref().unwrap();
    secondary.freeze();
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    let value = values(&stage, &host, 1).await.remove(0);

    let name = format!("_acme-challenge.{host}");
    let answer = stage
        .bed
        .bind
        .dig(&["+noall", "+answer", &name, "ANY"])
        .await
        .unwrap();
    let words: Vec<&str> = answer.split_whitespace().collect();
    assert_eq!(
        words,
        [&format!("{name}."), "120", "IN", "TXT", &format!("\"{value}\"")]
    );
    // A SHA-256 in base64url without padding (RFC 8555 §8.4).
    let is_base64url = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    assert_eq!(value.len(), 43);
    assert!(value.chars().all(is_base64url), "{value}");
    secondary.thaw();
    stage.certificate(&host).await;
}

#[tokio::test]
async fn s09_stale_values_go_in_the_message_that_brings_ours() {
    let stage = Stage::with_secondary().await;
    let secondary = stage.bed.secondary.as_ref().unwrap();
    let host = stage.host("www");
    let name = format!("_acme-challenge.{host}");
    let beside = stage.host("_acme-challenge.beside");
    for (name, value) in [(&name, "stale"), (&name, "staler"), (&beside, "theirs")] {
        stage.bed.bind.add_txt(name, value).await.unwrap();
    }
    secondary.freeze();
    let before = stage.bed.bind.serial(&stage.bed.zone).await.unwrap();
    stage.ask("web", &[&host]).await;
    let ours = values(&stage, &host, 1).await.remove(0);
    assert!(!ours.starts_with("stale"));
    // Each message that changes something adds one to the serial number.
    let after = stage.bed.bind.serial(&stage.bed.zone).await.unwrap();
    assert_eq!(after, before + 1);
    secondary.thaw();
    stage.certificate(&host).await;
    let left = until(SOON, "our value is gone", async || {
        let left = stage.bed.bind.all_txt(&stage.bed.zone).await?;
        Ok((left.len() == 1).then_some(left))
    })
    .await
    .unwrap();
    assert_eq!(left, [(beside, "theirs".to_owned())]);
}

#[tokio::test]
async fn s09_a_name_and_its_wildcard_in_flight_together_both_stand() {
    let stage = Stage::with_secondary().await;
    let secondary = stage.bed.secondary.as_ref().unwrap();
    secondary.freeze();
    let (host, wildcard) = (stage.host("pair"), stage.host("*.pair"));
    stage.ask("web", &[&host, &wildcard]).await;
    let values = values(&stage, &host, 2).await;
    assert_ne!(values[0], values[1]);
    assert_eq!(stage.validations(), 0);
    secondary.thaw();
    stage.certificate(&host).await;
    stage.certificate(&wildcard).await;
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 2);
}

#[tokio::test]
async fn s10_a_host_and_its_wildcard_are_issued_at_once() {
    let stage = Stage::with_secondary().await;
    let (apex, wildcard) = (stage.host(""), stage.host("*"));
    let began = Instant::now();
    stage.ask("web", &[&apex, &wildcard]).await;
    stage.certificate(&apex).await;
    stage.certificate(&wildcard).await;
    let took = began.elapsed();
    assert!(took < CACHE / 2, "took {took:?}");
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 2);
}

#[tokio::test]
async fn s10_the_ca_is_not_told_before_a_silent_server_answers() {
    let stage = Stage::with_secondary().await;
    let secondary = stage.bed.secondary.as_ref().unwrap();
    secondary.freeze();
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    values(&stage, &host, 1).await;
    stage.unseen("no-answer").await;
    stage.reach("stalled", 1).await;
    assert_eq!(stage.validations(), 0);
    let server = secondary.address().to_string();
    assert!(
        !stage.lines(&["stalled", &server]).is_empty(),
        "the verdict names {server}"
    );

    secondary.thaw();
    let began = Instant::now();
    stage.certificate(&host).await;
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(20),
        "took {took:?} after the server came back"
    );
    assert_eq!(stage.validations(), 1);
    assert_eq!(stage.bed.pebble.orders_created(), 1);
    stage.clean().await;
    // The metric counts from the start of the order, its rests included: a look alone has waited for more than this.
    let seconds = stage
        .faythe
        .metric("faythe_issuance_duration_seconds_sum", &[])
        .await
        .unwrap();
    assert!(seconds > Some(1.0), "{seconds:?}");
}

#[tokio::test]
async fn s10_the_ca_is_not_told_before_a_late_server_shows_the_record() {
    let bed = Bed::start().await.unwrap();
    let late = lonely_server(&bed).await;
    let keys = json!({ "val_dns_servers": [late.address().to_string()] });
    let stage = Stage::on(bed, keys).await;
    let host = stage.host("www");
    let name = format!("_acme-challenge.{host}");
    // What it shows first is another value.
    late.add_txt(&name, "another").await.unwrap();
    stage.ask("web", &[&host]).await;
    let value = values(&stage, &host, 1).await.remove(0);
    stage.unseen("not-visible").await;
    assert_eq!(stage.validations(), 0);

    late.add_txt(&name, &value).await.unwrap();
    let began = Instant::now();
    stage.certificate(&host).await;
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(20),
        "took {took:?} after the record showed"
    );
    stage.clean().await;
}

#[tokio::test]
async fn s10_a_server_that_is_dead_keeps_the_ca_from_being_told() {
    let bed = Bed::start().await.unwrap();
    let dead = Port::claim().unwrap().address().to_string();
    let stage = Stage::on(bed, json!({ "val_dns_servers": [dead] })).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.reach("stalled", 1).await;
    stage.unseen("no-answer").await;
    assert!(
        !stage.lines(&["stalled", &dead]).is_empty(),
        "the verdict names {dead}"
    );
    assert_eq!(stage.validations(), 0);
    assert_eq!(stage.bed.pebble.orders_created(), 1);
}

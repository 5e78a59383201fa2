//! Name servers in trouble: the order is kept, the CA is not told, the message says what to do, and it goes on by itself.

use std::time::{Duration, Instant};

use faythe_bed::bind::{self, Bind};
use faythe_bed::faythe::Faythe;
use faythe_bed::ports::Port;
use faythe_bed::{Bed, Setup, until};
use serde_json::json;

use super::look::{FAYTHE, SOON, clean, event, issued, notes, said, told};

/// "Seconds to minutes": a rest doubles from 1 s, so it is at most about as long as the trouble.
const REPAIRED: Duration = Duration::from_secs(45);

/// Waits until Faythe has told of trouble with this code, in its log and in an Event, in all of these words; checks that
/// one order was made and the CA was not told to look.
async fn in_trouble(bed: &Bed, faythe: &Faythe, code: &str, words: &[&str]) {
    let line = said(
        faythe,
        &["WARN", "state=\"stalled\"", &format!("code=\"{code}\"")],
    )
    .await;
    let text = event(bed, "IssuanceStalled").await;
    for word in words {
        assert!(line.contains(word), "no {word:?} in {line}");
        assert!(text.contains(word), "no {word:?} in {text}");
    }
    assert_eq!(told(bed), 0, "the CA was told");
    assert_eq!(bed.pebble.orders_created(), 1);
    assert_eq!(notes(bed).await.unwrap().len(), 1);
}

/// Waits until all is well after a repair: soon, and without any order but the `orders` that were made by then.
pub(crate) async fn goes_on(bed: &Bed, faythe: &Faythe, host: String, orders: usize) {
    let repaired = Instant::now();
    issued(bed, faythe, &[host]).await;
    assert!(repaired.elapsed() < REPAIRED, "it took {:?}", repaired.elapsed());
    clean(bed, faythe).await;
    assert_eq!(bed.pebble.orders_created(), orders);
    assert_eq!(told(bed), orders);
}

/// Has one host served after the update server has been `spoiled` and `mended`; what is said meanwhile has `code` and
/// `words`, and names the server, the zone and the key.
async fn check(
    spoil: impl AsyncFnOnce(&mut Bind),
    mend: impl AsyncFnOnce(&mut Bind),
    code: &str,
    words: &[&str],
) {
    let mut bed = Bed::start().await.unwrap();
    let host = bed.host("www");
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    faythe.ready(SOON).await.unwrap();
    spoil(&mut bed.bind).await;
    bed.ingress("web", &[&host]).await.unwrap();

    let server = bed.bind.address().to_string();
    let all: Vec<&str> = [server.as_str(), &bed.zone, "faythe", "hmac-sha256"]
        .into_iter()
        .chain(words.iter().copied())
        .collect();
    in_trouble(&bed, &faythe, code, &all).await;
    mend(&mut bed.bind).await;
    goes_on(&bed, &faythe, host, 1).await;
}

#[tokio::test]
async fn an_update_server_that_is_gone_is_waited_for() {
    check(
        async |bind| bind.stop(),
        async |bind| bind.start_again().await.unwrap(),
        "unreachable",
        &["no answer", "refused"],
    )
    .await;
}

#[tokio::test]
async fn an_update_server_that_hangs_is_waited_for() {
    check(
        async |bind| bind.freeze(),
        async |bind| bind.thaw(),
        "unreachable",
        &["no answer within"],
    )
    .await;
}

#[tokio::test]
async fn a_validating_server_that_is_dead_keeps_the_ca_from_being_told() {
    let setup = Setup {
        secondary: true,
        ..Setup::default()
    };
    let mut bed = Bed::start_as(setup).await.unwrap();
    let mut secondary = bed.secondary.take().unwrap();
    let address = secondary.address().to_string();
    secondary.stop();
    let mut config = bed.config();
    config["val_dns_servers"] = json!([address]);
    let faythe = bed.faythe(FAYTHE, config).await.unwrap();
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();

    let record = format!("_acme-challenge.{host}");
    in_trouble(&bed, &faythe, "no-answer", &[&address, "did not answer", &record]).await;
    // The update itself has been made, once.
    assert_eq!(bed.bind.txt(&record).await.unwrap().len(), 1);
    secondary.start_again().await.unwrap();
    // It has missed being told of the change, and would ask within the hour; the next change reminds it.
    bed.bind.add_txt(&bed.host("reminder"), "again").await.unwrap();
    bed.bind.delete_txt(&bed.host("reminder")).await.unwrap();
    goes_on(&bed, &faythe, host, 1).await;
}

#[tokio::test]
async fn a_validating_server_without_the_record_keeps_the_ca_from_being_told() {
    let bed = Bed::start().await.unwrap();
    // It serves the zone, but nobody tells it of changes.
    let other = Bind::start(bind::Setup::one_zone(&bed.zone)).await.unwrap();
    let address = other.address().to_string();
    let mut config = bed.config();
    config["val_dns_servers"] = json!([bed.bind.address().to_string(), address]);
    let faythe = bed.faythe(FAYTHE, config).await.unwrap();
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();

    let record = format!("_acme-challenge.{host}");
    in_trouble(
        &bed,
        &faythe,
        "not-visible",
        &[&address, "no TXT record", &record],
    )
    .await;
    // Another value is not enough.
    other.add_txt(&record, "somebody's").await.unwrap();
    said(&faythe, &["another TXT value", &address]).await;
    assert_eq!(told(&bed), 0);

    let values = bed.bind.txt(&record).await.unwrap();
    other.add_txt(&record, &values[0]).await.unwrap();
    goes_on(&bed, &faythe, host, 1).await;
}

#[tokio::test]
async fn a_name_server_in_trouble_costs_no_order_over_a_restart() {
    let mut bed = Bed::start().await.unwrap();
    let host = bed.host("www");
    let mut faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    bed.bind.stop();
    bed.ingress("web", &[&host]).await.unwrap();
    said(&faythe, &["WARN", "code=\"unreachable\""]).await;

    faythe.restart().unwrap();
    let again = async || Ok((faythe.log().matches("code=\"unreachable\"").count() >= 2).then_some(()));
    until(REPAIRED, "the order is taken up again", again)
        .await
        .unwrap();
    assert_eq!(bed.pebble.orders_created(), 1);
    bed.bind.start_again().await.unwrap();
    goes_on(&bed, &faythe, host, 1).await;
}

#[tokio::test]
async fn one_bad_name_server_address_is_no_end() {
    // Nothing listens on this port while it is held.
    let nobody = Port::claim().unwrap();
    let bed = Bed::start().await.unwrap();
    let mut config = bed.config();
    config["auth_dns_server"] = nobody.address().to_string().into();
    let faythe = bed.faythe(FAYTHE, config).await.unwrap();
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();
    in_trouble(&bed, &faythe, "unreachable", &[&nobody.address().to_string()]).await;
    faythe.process().check_running().unwrap();
}

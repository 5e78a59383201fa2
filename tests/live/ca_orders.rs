//! What may become of an order at the CA: it is lost, dies, stays as it is or is handed out again, and always there is a way
//! on (P23). `ca_proofs` says which tests prove what.

use std::time::{Duration, Instant};

use faythe_bed::proxy::Fault;
use faythe_bed::{Bed, Setup, pebble, until};
use kube::api::DeleteParams;
use serde_json::json;

use super::front::{AUTHORIZATION, FINALIZE, Front, ORDER, authorization, error, invalid, refusal};
use super::look::{NEW_ORDER, SOON, TELL, clean, events, issued};

#[tokio::test]
async fn p23_slow_and_cut_connections_cost_no_order() {
    let mut front = Front::start().await;
    let slow = Fault::Delay(Duration::from_secs(2));
    for (request, fault) in [
        (NEW_ORDER, slow.clone()),
        (FINALIZE, slow.clone()),
        (ORDER, slow),
        (TELL, Fault::Cut),
        (FINALIZE, Fault::Cut),
        ("POST /certZ/", Fault::Cut),
    ] {
        let orders = front.bed.pebble.orders_created();
        front.proxy.fault(1, request, fault);
        front.serves().await;
        assert_eq!(front.bed.pebble.orders_created(), orders + 1, "for {request}");
    }
    clean(&front.bed, &front.faythe).await;
}

#[tokio::test]
async fn p23_an_order_of_no_use_is_replaced() {
    let mut front = Front::start().await;
    let begun = Instant::now();
    let mut hosts = Vec::new();
    let gone = refusal(404, "malformed");
    for (request, fault, code) in [
        // Read for the first time, and looked at again when its challenge has been answered.
        (AUTHORIZATION, gone.clone(), "order-gone"),
        (ORDER, gone.clone(), "order-gone"),
        (FINALIZE, refusal(403, "unauthorized"), "unauthorized"),
        (NEW_ORDER, refusal(409, "alreadyReplaced"), "alreadyReplaced"),
        (NEW_ORDER, refusal(404, "malformed"), "malformed"),
        (FINALIZE, refusal(400, "invalidProfile"), "invalidProfile"),
        (FINALIZE, gone, "order-gone"),
        // The CA has failed inside, with the order in its hands.
        (ORDER, invalid(Some(error("serverInternal"))), "serverInternal"),
        (FINALIZE, invalid(Some(error("serverInternal"))), "serverInternal"),
    ] {
        front.proxy.fault(1, request, fault);
        let host = front.ask().await;
        front.reaches(&host, "stalled", code).await;
        hosts.push(host);
    }
    for status in ["expired", "deactivated", "revoked"] {
        let dead = authorization(&front, status, None);
        front.proxy.fault(1, AUTHORIZATION, dead);
        let host = front.ask().await;
        let line = front.reaches(&host, "stalled", "malformed").await;
        assert!(line.contains(&format!("is {status}")), "{line}");
        hosts.push(host);
    }
    // Nothing is counted against any of them: a new order follows after a minute.
    front.all_served(&hosts).await;
    assert!(
        begun.elapsed() >= Duration::from_secs(50),
        "a minute lies between"
    );
    // The one whose authorization was not there is looked at once more before another is made.
    assert_eq!(front.orders(), 2 * hosts.len() - 1);
    clean(&front.bed, &front.faythe).await;
    assert_eq!(events(&front.bed, "IssuanceFailed").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn p23_an_order_that_stays_as_it_is_ends_by_its_deadline_and_another_follows() {
    let mut front = Front::start().await;
    let base = front.bed.pebble.directory_url();
    let expires = || jiff::Timestamp::now() + jiff::SignedDuration::from_secs(6);
    let slow = Fault::Delay(Duration::from_secs(2));

    // The certificate is never made.
    front.proxy.fault(1, FINALIZE, slow.clone());
    let processed = front.ask().await;
    let (order, _) = front.made(1).await;
    let body =
        json!({ "status": "processing", "expires": expires(), "authorizations": [], "finalize": base });
    front
        .proxy
        .fault_always(&order, Fault::answer(200, &body.to_string()));

    // The challenge is never looked at.
    front.proxy.fault(1, AUTHORIZATION, slow);
    let host = front.ask().await;
    let (order, authorization) = front.made(2).await;
    let at = |path: &str| front.proxy.url_of(&base.replace("/dir", path)).unwrap();
    let asked = authorization.trim_start_matches("POST ");
    let body = json!({
        "status": "pending", "expires": expires(), "authorizations": [at(asked)], "finalize": base,
    });
    front
        .proxy
        .fault_always(&order, Fault::answer(200, &body.to_string()));
    let challenge = json!({ "type": "dns-01", "url": at("/chalZ/x"), "token": "t", "status": "processing" });
    let body = json!({
        "status": "pending",
        "identifier": { "type": "dns", "value": host },
        "challenges": [challenge],
    });
    front
        .proxy
        .fault_always(&authorization, Fault::answer(200, &body.to_string()));
    for host in [&processed, &host] {
        front.reaches(host, "stalled", "order-expired").await;
    }
    // A new order follows after a minute.
    front.all_served(&[processed, host]).await;
    assert_eq!(front.orders(), 4);
    clean(&front.bed, &front.faythe).await;
    assert_eq!(events(&front.bed, "IssuanceFailed").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn p23_what_the_ca_has_already_is_taken_up() {
    // A name that has been proven is taken for proven, so that an order is ready at once.
    let setup = Setup {
        pebble: pebble::Setup::default().with_proven_names(),
        ..Setup::default()
    };
    let mut front = Front::on(Bed::start_as(setup).await.unwrap()).await;
    let host = front.ask().await;
    let first = front.bed.certificate_for(&host, SOON).await.unwrap();
    let secrets = front.bed.secrets();
    secrets.delete(&host, &DeleteParams::default()).await.unwrap();
    let anew = async || {
        let now = front.bed.certificate_for(&host, SOON).await?;
        Ok((now.serial != first.serial).then_some(()))
    };
    until(SOON, "another certificate is there", anew).await.unwrap();
    assert_eq!(front.proxy.count(TELL), 1);

    // The answer to an order is lost; and when it is asked for again, the CA hands out the one that it has.
    front.proxy.fault(1, NEW_ORDER, Fault::LoseAnswer);
    let busy = Fault::problem(503, "serverInternal", "busy", Some("8"));
    front.proxy.fault_always(NEW_ORDER, busy);
    let host = front.ask().await;
    front.made(3).await;
    let made = front
        .proxy
        .exchanges()
        .into_iter()
        .rfind(|exchange| exchange.request == NEW_ORDER && exchange.location.is_some());
    let made = made.unwrap();
    front.reaches(&host, "held", "serverInternal").await;
    front.proxy.heal();
    let headers = vec![("location", made.location.unwrap())];
    let body = String::from_utf8(made.body.to_vec()).unwrap();
    let known = Fault::Answer {
        status: 201,
        headers,
        body,
    };
    front.proxy.fault(1, NEW_ORDER, known);
    issued(&front.bed, &front.faythe, &[host]).await;
    assert_eq!(front.bed.pebble.orders_created(), 3);
    clean(&front.bed, &front.faythe).await;
}

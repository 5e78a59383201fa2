//! The CA in trouble, or refusing: each by its row of `docs/problems.md`, and nothing loops.

use std::time::{Duration, Instant};

use faythe_bed::faythe::Faythe;
use faythe_bed::pebble;
use faythe_bed::proxy::{Exchange, Fault, Proxy};
use faythe_bed::{Bed, Setup, until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::look::{
    FAYTHE, NEW_ORDER, SOON, TELL, ask, before_ca, clean, event, events, hosts, issued, notes, said,
};
use super::stage::{foreign_certificate, put_labeled};

/// A bed, a proxy before its CA, and a ready Faythe that reaches the CA through it, with these keys in its configuration.
async fn behind_proxy(keys: Value) -> (Bed, Proxy, Faythe) {
    let bed = Bed::start().await.unwrap();
    let (proxy, faythe) = run(&bed, keys).await;
    (bed, proxy, faythe)
}

async fn run(bed: &Bed, keys: Value) -> (Proxy, Faythe) {
    let (proxy, mut config) = before_ca(bed).await;
    let Value::Object(keys) = keys else {
        panic!("{keys} is no object")
    };
    config.as_object_mut().unwrap().extend(keys);
    let faythe = bed.faythe(FAYTHE, config).await.unwrap();
    faythe.ready(SOON).await.unwrap();
    (proxy, faythe)
}

/// Waits for all certificates, and checks that each cost one order and nothing is left behind.
async fn all_well(bed: &Bed, faythe: &Faythe, hosts: &[String]) {
    issued(bed, faythe, hosts).await;
    clean(bed, faythe).await;
    assert_eq!(bed.pebble.orders_created(), hosts.len());
    assert_eq!(bed.pebble.certificates_issued(), hosts.len());
    assert_eq!(bed.pebble.accounts_created(), 1);
}

/// Waits until a time has passed since `begun`.
async fn pass(begun: Instant, time: Duration) {
    let over = async || Ok((begun.elapsed() >= time).then_some(()));
    until(SOON, "a time has passed", over).await.unwrap();
}

/// How long nothing that contains `request` was asked after the first refusal with `status`.
async fn pause_after(proxy: &Proxy, request: &str, status: u16) -> Duration {
    let asked = async || {
        let mut all = proxy.exchanges();
        all.retain(|exchange| exchange.request.contains(request));
        all.sort_by_key(|exchange| exchange.at);
        let refused = all.iter().rposition(|exchange| exchange.status == Some(status));
        Ok(refused.and_then(|refused| Some(all.get(refused + 1)?.at - all[refused].at)))
    };
    until(SOON, "it is asked again", asked).await.unwrap()
}

/// Has one host wait for `wait` that a refusal with this status asks for.
async fn check_wait(status: u16, kind: &str, retry_after: &str, wait: Duration) {
    let (bed, proxy, faythe) = behind_proxy(json!({})).await;
    let refusal = Fault::problem(status, kind, "come back later", Some(retry_after));
    proxy.fault(1, NEW_ORDER, refusal);
    let hosts = hosts(&bed, 1);
    ask(&bed, &hosts).await;
    let line = said(&faythe, &["WARN", "state=\"held\"", kind]).await;
    assert!(line.contains("come back later"), "{line}");
    let pause = pause_after(&proxy, NEW_ORDER, status).await;
    assert!(pause >= wait, "asked again after {pause:?}");
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn p22_a_ca_that_is_unreachable_is_waited_for() {
    let (mut bed, proxy, faythe) = behind_proxy(json!({})).await;
    bed.pebble.stop();
    let hosts = hosts(&bed, 5);
    let begun = Instant::now();
    ask(&bed, &hosts).await;
    let line = said(&faythe, &["WARN", "state=\"held\"", "code=\"ca-unreachable\""]).await;
    assert!(line.contains("cannot be reached"), "{line}");
    pass(begun, Duration::from_secs(6)).await;
    // After 0, 2 and 6 s, by however many were waiting; one of them asks for all.
    assert!(
        proxy.exchanges().len() <= 15,
        "{} requests",
        proxy.exchanges().len()
    );
    bed.pebble.start_again().await.unwrap();
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn p22_a_ca_that_hangs_is_waited_for() {
    let (bed, proxy, faythe) = behind_proxy(json!({})).await;
    let hosts = hosts(&bed, 10);
    ask(&bed, &hosts).await;
    let under_way = async || Ok((proxy.count(NEW_ORDER) >= 3).then_some(()));
    until(SOON, "orders are under way", under_way).await.unwrap();
    bed.pebble.freeze();
    pass(Instant::now(), Duration::from_secs(5)).await;
    bed.pebble.thaw();
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn p22_a_ca_that_fails_inside_is_asked_ever_more_seldom() {
    let (bed, proxy, faythe) = behind_proxy(json!({})).await;
    let hosts = hosts(&bed, 5);
    proxy.fault_always(
        NEW_ORDER,
        Fault::problem(500, "serverInternal", "the database is gone", None),
    );
    // Of one there is a certificate, of whose last third more than half is over.
    let (chain, key) = foreign_certificate(&[&hosts[0]], -80, 10);
    put_labeled(&bed, &hosts[0], &hosts[0], &[("cert", &chain), ("key", &key)]).await;
    let begun = Instant::now();
    ask(&bed, &hosts).await;
    let line = said(&faythe, &["WARN", "state=\"held\"", "serverInternal"]).await;
    assert!(line.contains("the database is gone"), "{line}");
    // Whoever waits is told why, and what the log says of the CA names the orders that tell of it.
    let line = said(&faythe, &["WARN", "the CA seems to be in trouble"]).await;
    assert!(
        line.contains("the CA has failed inside for") && line.contains("the database is gone"),
        "{line}"
    );
    let late = async || faythe.metric("faythe_certificates_late", &[]).await;
    let line = said(&faythe, &["WARN", "code=\"late\"", &hosts[0]]).await;
    assert!(line.contains("the database is gone"), "{line}");
    let text = event(&bed, "RenewalLate").await;
    assert!(
        text.contains("half of the time for its renewal is over"),
        "{text}"
    );
    assert_eq!(late().await.unwrap(), Some(1.0));
    pass(begun, Duration::from_secs(6)).await;
    assert!(
        proxy.count(NEW_ORDER) <= 20,
        "{} new-orders",
        proxy.count(NEW_ORDER)
    );
    proxy.heal();
    let none = async || Ok((late().await? == Some(0.0)).then_some(()));
    until(SOON, "no renewal is late", none).await.unwrap();
    let overdue = faythe.metric("faythe_certificates_overdue", &[]).await.unwrap();
    assert_eq!(overdue, Some(0.0));
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn p22_a_busy_ca_is_left_alone_for_the_seconds_it_asks() {
    check_wait(503, "rateLimited", "4", Duration::from_secs(4)).await;
}

#[tokio::test]
async fn p22_a_busy_ca_is_left_alone_until_the_date_it_names() {
    let date = Timestamp::now() + SignedDuration::from_secs(25);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    // The bed's start comes out of the 25 s, and a date has no fractions.
    check_wait(503, "serverInternal", &date, Duration::from_secs(2)).await;
}

#[tokio::test]
async fn p17_a_limit_of_the_account_holds_everything_for_as_long_as_the_ca_says() {
    let (bed, proxy, faythe) = behind_proxy(json!({})).await;
    let hosts = hosts(&bed, 5);
    let (first, more) = hosts.split_at(3);
    // The second is one that we do not know, so it holds all that there is.
    for (words, hosts) in [
        (
            "too many new orders (300) from this account in the last 3h0m0s",
            first,
        ),
        ("too many of something new", more),
    ] {
        proxy.fault(1, NEW_ORDER, Fault::problem(429, "rateLimited", words, Some("4")));
        ask(&bed, &hosts[..1]).await;
        said(&faythe, &["WARN", "state=\"held\"", "rateLimited", words]).await;
        ask(&bed, &hosts[1..]).await;
        let pause = pause_after(&proxy, NEW_ORDER, 429).await;
        assert!(pause >= Duration::from_secs(4), "asked again after {pause:?}");
        issued(&bed, &faythe, hosts).await;
    }
    all_well(&bed, &faythe, &hosts).await;
}

#[tokio::test]
async fn p17_a_limit_of_one_name_holds_that_name_alone() {
    let (bed, proxy, faythe) = behind_proxy(json!({ "issue_grace": 1000 })).await;
    let hosts = hosts(&bed, 4);
    for (host, words) in [
        "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
        "too many failed authorizations (5) for \"h1.example.com\" in the last 1h0m0s",
    ]
    .into_iter()
    .enumerate()
    {
        proxy.fault(1, NEW_ORDER, Fault::problem(429, "rateLimited", words, Some("8")));
        ask(&bed, &hosts[host..=host]).await;
        let told = async || {
            let all = events(&bed, "IssuanceFailed").await?;
            Ok(all.into_iter().find(|text| text.contains(words)))
        };
        until(SOON, "an Event tells of the limit", told).await.unwrap();
    }
    ask(&bed, &hosts[2..]).await;
    issued(&bed, &faythe, &hosts[2..]).await;
    // The proxy writes an exchange down when it is over, which is after the CA has.
    let again = async || Ok((proxy.count(NEW_ORDER) == 6).then_some(()));
    until(SOON, "both are ordered again", again).await.unwrap();
    let mut all = proxy.exchanges();
    all.retain(|exchange| exchange.request.contains(NEW_ORDER));
    all.sort_by_key(|exchange| exchange.at);
    let pause = all[4].at - all[0].at;
    assert!(pause >= Duration::from_secs(8), "asked again after {pause:?}");
}

#[tokio::test]
async fn p17_a_limit_of_a_domain_holds_what_is_below_it() {
    let (bed, proxy, faythe) = behind_proxy(json!({})).await;
    let (below, domain) = (bed.host("a.shop"), bed.host("shop"));
    let words = format!("too many certificates (50) already issued for \"{domain}\" in the last 168h0m0s");
    proxy.fault(
        1,
        NEW_ORDER,
        Fault::problem(429, "rateLimited", &words, Some("8")),
    );
    let (also_below, beside) = (bed.host("b.shop"), bed.host("blog"));
    let refused = Instant::now();
    ask(&bed, std::slice::from_ref(&below)).await;
    said(&faythe, &["WARN", "state=\"held\"", "rateLimited"]).await;
    let all = [beside, also_below, below];
    ask(&bed, &all[..2]).await;
    issued(&bed, &faythe, &all[..1]).await;
    if refused.elapsed() < Duration::from_secs(7) {
        assert_eq!(bed.pebble.orders_created(), 1);
    }
    all_well(&bed, &faythe, &all).await;
    assert!(refused.elapsed() >= Duration::from_secs(8));
}

#[tokio::test]
async fn p22_a_wait_for_questions_about_renewals_holds_them_and_no_order() {
    let (bed, proxy, faythe) = behind_proxy(json!({})).await;
    // A proxy of the CA's has no problem document.
    let refused = Fault::Answer {
        status: 503,
        headers: vec![("retry-after", "3600".to_owned())],
        body: "busy".to_owned(),
    };
    proxy.fault(1, "renewalInfo/", refused);
    let all = hosts(&bed, 3);
    ask(&bed, &all[..1]).await;
    said(
        &faythe,
        &["WARN", "the CA wants to be asked about no renewal until then"],
    )
    .await;
    ask(&bed, &all[1..]).await;
    all_well(&bed, &faythe, &all).await;
    assert_eq!(proxy.count("renewalInfo/"), 1);
}

#[tokio::test]
async fn p17_a_name_that_is_paused_waits_for_a_person() {
    let (bed, proxy, faythe) = behind_proxy(json!({ "issue_grace": 1000 })).await;
    let words = "Your account is temporarily prevented from requesting certificates. Please visit: \
                 https://portal.test/unpause?jwt=secret";
    proxy.fault(1, NEW_ORDER, Fault::problem(429, "rateLimited", words, None));
    let hosts = hosts(&bed, 2);
    ask(&bed, &hosts[..1]).await;
    let text = event(&bed, "IssuanceFailed").await;
    assert!(text.contains("https://portal.test/unpause"), "{text}");
    let log = faythe.log();
    assert!(!log.contains("jwt=secret") && !text.contains("jwt=secret"));
    ask(&bed, &hosts[1..]).await;
    issued(&bed, &faythe, &hosts[1..]).await;
    assert_eq!(proxy.count(NEW_ORDER), 2);
}

#[tokio::test]
async fn p22_answers_that_are_no_acme_are_waited_out() {
    let (bed, proxy, faythe) = behind_proxy(json!({})).await;
    let page = "<!DOCTYPE html><title>Please log in</title>";
    let too_long = " ".repeat((1 << 20) + 1);
    let garbled = [
        (200, "GET /dir", page),
        (502, NEW_ORDER, page),
        (200, NEW_ORDER, r#"{"status":"dreaming"}"#),
        (200, "POST /authZ/", page),
        (200, "POST /authZ/", "[]"),
        (502, "POST /my-order/", page),
        (200, "POST /my-order/", &too_long),
        (200, "POST /certZ/", page),
    ];
    let hosts = hosts(&bed, garbled.len());
    // One after the other, so that what is said of each is said of it alone.
    for (i, (status, request, body)) in garbled.into_iter().enumerate() {
        proxy.fault(1, request, Fault::answer(status, body));
        ask(&bed, &hosts[i..=i]).await;
        let host = format!("host={}", hosts[i]);
        let line = said(&faythe, &["WARN", "state=\"held\"", "code=\"ca-garbled\"", &host]).await;
        let (_, path) = request.split_once(' ').unwrap();
        assert!(line.contains(path), "no {path} in {line}");
        all_well(&bed, &faythe, &hosts[..=i]).await;
    }
}

/// Refused nonces cost nothing but requests.
async fn check_nonces(percent: u8) {
    let pebble = pebble::Setup {
        nonce_reject: percent,
        ..pebble::Setup::default()
    };
    let setup = Setup {
        pebble,
        ..Setup::default()
    };
    let bed = Bed::start_as(setup).await.unwrap();
    let (proxy, faythe) = run(&bed, json!({})).await;
    let hosts = hosts(&bed, 20);
    ask(&bed, &hosts).await;
    all_well(&bed, &faythe, &hosts).await;
    let refused = |exchange: &&Exchange| exchange.status == Some(400);
    assert!(proxy.exchanges().iter().filter(refused).count() > 0);
    assert!(!faythe.log().contains("WARN"), "{}", faythe.log());
}

#[tokio::test]
async fn p22_one_nonce_in_twenty_refused_is_no_trouble() {
    check_nonces(5).await;
}

#[tokio::test]
async fn p22_one_nonce_in_five_refused_is_no_trouble() {
    check_nonces(20).await;
}

#[tokio::test]
async fn p23_any_answer_may_be_lost_and_the_order_goes_on() {
    let (bed, proxy, faythe) = behind_proxy(json!({})).await;
    let hosts = hosts(&bed, 6);
    let lost = [
        "POST /sign-me-up",
        "POST /authZ/",
        TELL,
        "POST /my-order/",
        "POST /finalize-order/",
        "POST /certZ/",
    ];
    // One after the other: an outage holds all.
    for (i, request) in lost.iter().enumerate() {
        proxy.fault(1, request, Fault::LoseAnswer);
        ask(&bed, &hosts[i..=i]).await;
        all_well(&bed, &faythe, &hosts[..=i]).await;
    }
}

#[tokio::test]
async fn p22_an_order_that_fails_validation_keeps_its_distance() {
    let mut bed = Bed::start().await.unwrap();
    // It looks where no record ever stands.
    let elsewhere = faythe_bed::bind::Bind::start(faythe_bed::bind::Setup::one_zone(&bed.zone))
        .await
        .unwrap();
    let setup = pebble::Setup::default();
    bed.pebble = pebble::Pebble::start(setup, elsewhere.address()).await.unwrap();
    let (proxy, mut faythe) = run(&bed, json!({})).await;
    let hosts = hosts(&bed, 1);
    ask(&bed, &hosts).await;
    let text = event(&bed, "IssuanceFailed").await;
    assert!(text.contains("the CA says unauthorized"), "{text}");
    check_spaced(&bed, &proxy, &mut faythe).await;
}

/// Waits until an attempt that failed has been cleaned up, and checks that no other is made, even after a restart.
async fn check_spaced(bed: &Bed, proxy: &Proxy, faythe: &mut Faythe) {
    until(SOON, "no TXT record is left", async || {
        Ok(bed.bind.all_txt(&bed.zone).await?.is_empty().then_some(()))
    })
    .await
    .unwrap();
    // The failure is what is left; it spaces attempts over restarts.
    assert_eq!(notes(bed).await.unwrap().len(), 1);
    let orders = proxy.count(NEW_ORDER);
    faythe.restart().unwrap();
    faythe.ready(SOON).await.unwrap();
    let failed = async || {
        let failed = faythe.metric("faythe_certificates", &[("state", "failed")]);
        Ok((failed.await? == Some(1.0)).then_some(()))
    };
    until(SOON, "the failure is known", failed).await.unwrap();
    pass(Instant::now(), Duration::from_secs(2)).await;
    assert_eq!(proxy.count(NEW_ORDER), orders);
}

#[tokio::test]
async fn p22_an_authorization_that_is_invalid_fails_its_host_alone() {
    let (bed, proxy, mut faythe) = behind_proxy(json!({})).await;
    let hosts = hosts(&bed, 2);
    let invalid = json!({
        "status": "invalid",
        "identifier": { "type": "dns", "value": hosts[0] },
        "challenges": [{
            "type": "dns-01",
            "url": proxy.url_of(&format!("{}/chalZ/1", bed.pebble.directory_url())).unwrap(),
            "token": "t",
            "status": "invalid",
            "error": { "type": "urn:ietf:params:acme:error:dns", "detail": "SERVFAIL looking up TXT" },
        }],
    });
    proxy.fault(1, "POST /authZ/", Fault::answer(200, &invalid.to_string()));
    ask(&bed, &hosts[..1]).await;
    let text = event(&bed, "IssuanceFailed").await;
    assert!(text.contains("SERVFAIL looking up TXT"), "{text}");
    ask(&bed, &hosts[1..]).await;
    issued(&bed, &faythe, &hosts[1..]).await;
    check_spaced(&bed, &proxy, &mut faythe).await;
    assert_eq!(proxy.count(NEW_ORDER), 2);
}

#[tokio::test]
async fn p17_a_name_that_the_ca_does_not_serve_stops_alone() {
    let setup = Setup {
        // The first bed of a program has this zone or not; so it has a name of its own.
        name: "rejected".to_owned(),
        pebble: pebble::Setup {
            blocked_domains: vec!["blocked.rejected.test".to_owned()],
            ..pebble::Setup::default()
        },
        ..Setup::default()
    };
    let bed = Bed::start_as(setup).await.unwrap();
    let (proxy, mut faythe) = run(&bed, json!({ "issue_grace": 1000 })).await;
    let hosts = [bed.host("www.blocked"), bed.host("free")];
    ask(&bed, &hosts).await;
    let text = event(&bed, "IssuanceFailed").await;
    assert!(text.contains("the CA says rejectedIdentifier"), "{text}");
    assert!(text.contains("until something is changed"), "{text}");
    issued(&bed, &faythe, &hosts[1..]).await;
    check_spaced(&bed, &proxy, &mut faythe).await;
    assert_eq!(proxy.count(NEW_ORDER), 2);
}

#[tokio::test]
async fn p23_a_ca_that_has_forgotten_everything_is_met_anew() {
    let setup = Setup {
        secondary: true,
        ..Setup::default()
    };
    let mut bed = Bed::start_as(setup).await.unwrap();
    let (_proxy, faythe) = run(&bed, json!({})).await;
    let hosts = hosts(&bed, 3);
    ask(&bed, &hosts[..1]).await;
    all_well(&bed, &faythe, &hosts[..1]).await;

    // An order waits, with its record in place, for a server that hangs.
    bed.secondary.as_ref().unwrap().freeze();
    ask(&bed, &hosts[1..2]).await;
    said(&faythe, &["WARN", "no-answer"]).await;
    bed.pebble.restart(pebble::Setup::default()).await.unwrap();
    bed.secondary.as_ref().unwrap().thaw();

    // Neither the order nor the account is known any more.
    said(&faythe, &["WARN", "does not know our account any more"]).await;
    said(&faythe, &["WARN", "state=\"stalled\"", "order-gone"]).await;
    let gone = Instant::now();
    ask(&bed, &hosts[2..]).await;
    issued(&bed, &faythe, &hosts[2..]).await;
    let again = Duration::from_secs(90);
    bed.certificate_for(&hosts[1], again).await.unwrap();
    assert!(gone.elapsed() >= Duration::from_secs(50), "a minute lies between");
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.accounts_created(), 2);
    assert_eq!(bed.pebble.orders_created(), 4);
    assert_eq!(bed.pebble.certificates_issued(), 3);
}

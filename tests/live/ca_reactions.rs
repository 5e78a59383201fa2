//! Each row of `docs/problems.md`, made to happen by a proxy before the CA: what follows for the name, and that nothing
//! follows for others (P17, P22, P23). [`PROOFS`] says which tests prove which row; some are in `ca_faults`, and some in
//! `tests/ca`.

use std::time::{Duration, Instant};

use faythe_bed::faythe::Faythe;
use faythe_bed::proxy::{Fault, Proxy};
use faythe_bed::{Bed, until};
use serde_json::{Value, json};

use super::look::{FAYTHE, NEW_ORDER, SOON, TELL, ask, before_ca, clean, events, issued};

/// The rows of the table in `docs/problems.md`, which are those of the table in the code, with the tests that have a server
/// give that answer; in the order of the rows.
const PROOFS: [(&str, &[&str]); 27] = [
    (
        "any, with HTTP 503",
        &["p22_a_busy_ca_is_left_alone_until_the_date_it_names"],
    ),
    (
        "`rateLimited` with Retry-After",
        &["p17_a_limit_of_a_domain_holds_what_is_below_it"],
    ),
    (
        "`rateLimited` without Retry-After",
        &["p17_a_name_that_is_paused_waits_for_a_person"],
    ),
    (
        "`serverInternal`, inside an order",
        &["p23_an_order_of_no_use_is_replaced"],
    ),
    (
        "`serverInternal`, to a request",
        &["p22_a_ca_that_fails_inside_is_asked_ever_more_seldom"],
    ),
    ("`badNonce`", &["p22_one_nonce_in_five_refused_is_no_trouble"]),
    ("`dns`", &["p22_what_the_ca_has_seen_fail_comes_later"]),
    (
        "`connection`, `tls`, `incorrectResponse`",
        &["p22_what_the_ca_has_seen_fail_comes_later"],
    ),
    (
        "`unauthorized`, of a challenge",
        &["p22_what_the_ca_has_seen_fail_comes_later"],
    ),
    (
        "`unauthorized`, to a request about an order",
        &["p23_an_order_of_no_use_is_replaced"],
    ),
    (
        "`unauthorized`, to a new order",
        &["p22_what_concerns_the_account_holds_everything_until_somebody_acts"],
    ),
    (
        "`caa`",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
    (
        "`rejectedIdentifier`",
        &["p17_a_name_that_the_ca_does_not_serve_stops_alone"],
    ),
    (
        "`unsupportedIdentifier`",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
    (
        "`malformed`, with HTTP 404, or an authorization that has expired",
        &["p23_an_order_of_no_use_is_replaced"],
    ),
    (
        "`malformed`",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
    (
        "`badCSR`, `badPublicKey`",
        &["p22_a_key_that_is_refused_is_changed_once"],
    ),
    (
        "`badSignatureAlgorithm`",
        &["p22_what_concerns_the_account_holds_everything_until_somebody_acts"],
    ),
    (
        "`orderNotReady`",
        &["p22_an_order_that_has_moved_on_is_read_again"],
    ),
    (
        "`accountDoesNotExist`",
        &["p23_a_ca_that_has_forgotten_everything_is_met_anew"],
    ),
    (
        "`externalAccountRequired`, `userActionRequired`",
        &["p22_what_concerns_the_account_holds_everything_until_somebody_acts"],
    ),
    (
        "`invalidContact`, `unsupportedContact`",
        &["a_contact_that_is_not_wanted_is_left_out"],
    ),
    (
        "`alreadyReplaced`",
        &[
            "p21_what_replaces_is_asked_for_once_more_without",
            "p23_an_order_of_no_use_is_replaced",
        ],
    ),
    (
        "`invalidProfile`",
        &["p22_what_concerns_the_account_holds_everything_until_somebody_acts"],
    ),
    ("`conflict`", &["p22_an_order_that_has_moved_on_is_read_again"]),
    (
        "`alreadyRevoked`, `badRevocationReason`, `compound`",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
    (
        "a type that we do not know",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
];

/// Reading an authorization, and reading an order.
const AUTHORIZATION: &str = "POST /authZ/";
const ORDER: &str = "POST /my-order/";
const FINALIZE: &str = "POST /finalize-order/";

/// A bed with a Faythe that reaches the CA through a proxy.
struct Front {
    faythe: Faythe,
    proxy: Proxy,
    bed: Bed,
    /// How many hosts there are.
    hosts: usize,
}

impl Front {
    async fn start() -> Self {
        let bed = Bed::start().await.unwrap();
        let (proxy, mut config) = before_ca(&bed).await;
        config["issue_grace"] = 1000.into();
        let faythe = bed.faythe(FAYTHE, config).await.unwrap();
        faythe.ready(SOON).await.unwrap();
        Self {
            faythe,
            proxy,
            bed,
            hosts: 0,
        }
    }

    /// Asks for a new host; returns its name.
    async fn ask(&mut self) -> String {
        let host = self.bed.host(&format!("r{}", self.hosts));
        self.hosts += 1;
        ask(&self.bed, std::slice::from_ref(&host)).await;
        host
    }

    /// Asks for a new host, and returns when its certificate is there.
    async fn serves(&mut self) {
        let host = self.ask().await;
        issued(&self.bed, &self.faythe, &[host]).await;
    }

    /// Waits until all these hosts have certificates, though a minute or two pass.
    async fn all_served(&self, hosts: &[String]) {
        for host in hosts {
            let there = self.bed.certificate_for(host, Duration::from_secs(150)).await;
            there.unwrap_or_else(|error| panic!("{error:#}; {}", self.faythe.process().log_tail()));
        }
    }

    /// Waits for the log's line about a host in this state; it says this code.
    async fn reaches(&self, host: &str, state: &str, code: &str) -> String {
        let words = [
            format!("host={host}"),
            format!("state=\"{state}\""),
            format!("code=\"{code}\""),
        ];
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        super::look::said(&self.faythe, &words).await
    }

    /// Waits until so many orders are made; answers the requests that read the last one and its authorization.
    async fn made(&self, number: usize) -> (String, String) {
        let last = async || {
            let mut all = self.proxy.exchanges();
            all.retain(|exchange| exchange.request == NEW_ORDER && exchange.location.is_some());
            Ok(all.into_iter().nth(number - 1))
        };
        let made = until(SOON, "an order is made", last).await.unwrap();
        let order: Value = serde_json::from_slice(&made.body).unwrap();
        let request = |url: &str| format!("POST {}", url.parse::<http::Uri>().unwrap().path());
        let authorization = request(order["authorizations"][0].as_str().unwrap());
        (request(&made.location.unwrap()), authorization)
    }

    /// How many new orders were asked for.
    fn orders(&self) -> usize {
        self.proxy.count(NEW_ORDER)
    }
}

/// A refusal with the words of its type.
fn refusal(status: u16, kind: &str) -> Fault {
    Fault::problem(status, kind, &format!("because of {kind}"), None)
}

/// What an authorization shows, with this error in its challenge if there is one.
fn authorization(front: &Front, status: &str, error: Option<Value>) -> Fault {
    let base = front.bed.pebble.directory_url();
    let url = front.proxy.url_of(&base.replace("/dir", "/chalZ/x")).unwrap();
    let host = front.bed.host(&format!("r{}", front.hosts));
    let mut challenge = json!({ "type": "dns-01", "url": url, "token": "t", "status": "pending" });
    if let Some(error) = error {
        challenge["status"] = "invalid".into();
        challenge["error"] = error;
    }
    let body = json!({
        "status": status,
        "identifier": { "type": "dns", "value": host },
        "challenges": [challenge],
    });
    Fault::answer(200, &body.to_string())
}

#[tokio::test]
async fn p17_what_will_not_succeed_stops_one_name_and_no_other() {
    let mut front = Front::start().await;
    for (status, kind) in [
        (403, "caa"),
        (400, "rejectedIdentifier"),
        (400, "unsupportedIdentifier"),
        (400, "malformed"),
        (400, "compound"),
        (400, "alreadyRevoked"),
        (400, "badRevocationReason"),
        (400, "brandNew"),
    ] {
        front.proxy.fault(1, NEW_ORDER, refusal(status, kind));
        let host = front.ask().await;
        let code = if kind == "brandNew" { "unknown" } else { kind };
        let line = front.reaches(&host, "failed", code).await;
        assert!(line.contains("until something is changed"), "{line}");
        assert!(line.contains(&format!("because of {kind}")), "{line}");
    }
    let stopped = front.orders();
    front.serves().await;
    // `issue_grace` is over for all of them.
    assert_eq!(front.orders(), stopped + 1);
}

#[tokio::test]
async fn p22_what_the_ca_has_seen_fail_comes_later() {
    let mut front = Front::start().await;
    let mut hosts = Vec::new();
    for kind in ["dns", "unauthorized", "connection", "tls", "incorrectResponse"] {
        let error =
            json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": "no TXT record found" });
        let invalid = authorization(&front, "invalid", Some(error));
        front.proxy.fault(1, AUTHORIZATION, invalid);
        let host = front.ask().await;
        let line = front.reaches(&host, "failed", kind).await;
        assert!(line.contains("no TXT record found"), "{line}");
        hosts.push(host);
    }
    // After `issue_grace`, and when the CA's resolvers have forgotten what they may have seen.
    front.all_served(&hosts).await;
    assert_eq!(front.orders(), 2 * hosts.len());
}

#[tokio::test]
async fn p22_what_concerns_the_account_holds_everything_until_somebody_acts() {
    let mut front = Front::start().await;
    for (status, kind) in [
        (403, "unauthorized"),
        (400, "badSignatureAlgorithm"),
        (403, "externalAccountRequired"),
        (403, "userActionRequired"),
        (400, "invalidProfile"),
        (400, "invalidContact"),
        (400, "unsupportedContact"),
    ] {
        let orders = front.orders();
        front.proxy.fault(1, NEW_ORDER, refusal(status, kind));
        let host = front.ask().await;
        front.reaches(&host, "held", kind).await;
        let other = front.ask().await;
        front.reaches(&other, "held", kind).await;
        assert_eq!(front.orders(), orders + 1, "for {kind}");
        // Somebody has mended the configuration.
        front.faythe.restart().unwrap();
        front.faythe.ready(SOON).await.unwrap();
        issued(&front.bed, &front.faythe, &[host, other]).await;
    }
}

#[tokio::test]
async fn p22_an_order_that_has_moved_on_is_read_again() {
    let mut front = Front::start().await;
    // The answer to the first telling was lost, say; and the order is ready, whatever was said of it.
    front.proxy.fault(1, TELL, Fault::LoseAnswer);
    front.serves().await;
    let before = front.orders();
    front.proxy.fault(1, FINALIZE, refusal(403, "orderNotReady"));
    front.serves().await;
    front.proxy.fault(1, ORDER, refusal(409, "conflict"));
    front.serves().await;
    assert_eq!(front.orders(), before + 2, "one order each");
    clean(&front.bed, &front.faythe).await;
}

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
async fn p22_a_key_that_is_refused_is_changed_once() {
    let mut front = Front::start().await;
    for kind in ["badCSR", "badPublicKey"] {
        let (orders, finalized) = (front.orders(), front.proxy.count(FINALIZE));
        front.proxy.fault(1, FINALIZE, refusal(400, kind));
        front.serves().await;
        assert_eq!(
            (front.orders(), front.proxy.count(FINALIZE)),
            (orders + 1, finalized + 2)
        );
    }
    let (orders, finalized) = (front.orders(), front.proxy.count(FINALIZE));
    front.proxy.fault(2, FINALIZE, refusal(400, "badCSR"));
    let host = front.ask().await;
    let line = front.reaches(&host, "failed", "badCSR").await;
    assert!(line.contains("until something is changed"), "{line}");
    front.serves().await;
    assert_eq!(
        (front.orders(), front.proxy.count(FINALIZE)),
        (orders + 2, finalized + 3)
    );
}

#[tokio::test]
async fn p23_an_order_of_no_use_is_replaced() {
    let mut front = Front::start().await;
    let begun = Instant::now();
    let mut hosts = Vec::new();
    for (request, fault, code) in [
        (FINALIZE, refusal(403, "unauthorized"), "unauthorized"),
        (NEW_ORDER, refusal(409, "alreadyReplaced"), "alreadyReplaced"),
        (NEW_ORDER, refusal(404, "malformed"), "malformed"),
        (FINALIZE, refusal(404, "malformed"), "order-gone"),
    ] {
        front.proxy.fault(1, request, fault);
        let host = front.ask().await;
        front.reaches(&host, "stalled", code).await;
        hosts.push(host);
    }
    // The CA has failed inside, with the order in its hands.
    let error = json!({ "type": "urn:ietf:params:acme:error:serverInternal", "detail": "no log took it" });
    let invalid =
        json!({ "status": "invalid", "error": error, "authorizations": [], "finalize": "https://ca.test/f" });
    front
        .proxy
        .fault(1, ORDER, Fault::answer(200, &invalid.to_string()));
    let host = front.ask().await;
    let line = front.reaches(&host, "stalled", "serverInternal").await;
    assert!(line.contains("no log took it"), "{line}");
    hosts.push(host);
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
    assert_eq!(front.orders(), 2 * hosts.len());
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

/// Every row has a test, and every test that is named is there.
#[test]
fn p22_every_row_of_the_table_has_a_test_with_a_server() {
    const GUIDE: &str = include_str!("../../docs/problems.md");
    const TESTS: [&str; 4] = [
        include_str!("ca_reactions.rs"),
        include_str!("ca_faults.rs"),
        include_str!("../ca/faults.rs"),
        include_str!("../ca/services.rs"),
    ];
    let rows = GUIDE
        .lines()
        .skip_while(|line| !line.starts_with("| problem |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    assert!(
        rows.eq(PROOFS.map(|(row, _)| row)),
        "PROOFS should have the guide's rows"
    );
    for (row, tests) in PROOFS {
        assert!(!tests.is_empty(), "{row}: no test");
        for test in tests {
            let is_there = |source: &&str| source.contains(&format!("async fn {test}()"));
            assert!(TESTS.iter().any(is_there), "{row}: no test {test}");
        }
    }
}

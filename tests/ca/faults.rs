//! Answers that no CA should give.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faythe::act::{Fault, Pause};
use faythe::ca::acme::{Acme, Limits, Settings};
use faythe::ca::{Ca, CaError, CaOrder, NewOrder};
use faythe::sealed::Sealed;
use faythe::store::SavedAccount;
use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::order::{ChallengeStatus, OrderStatus};
use faythe_core::problem::{Exchange, Problem, ProblemKind, Scope};
use rcgen::KeyPair;

use crate::hostile::{Hostile, Reply};
use crate::issuance::{acme_of, grant};
use crate::memory::Memory;

/// Long enough for an answer on a busy machine, short enough to wait for.
const PATIENCE: Duration = Duration::from_secs(2);

fn acme(server: &Hostile, store: Arc<Memory>) -> Acme {
    let mut settings = Settings::of(format!("{}/dir", server.base));
    settings.registration.email = Some("admin@example.com".to_owned());
    settings.limits = Limits {
        connect: PATIENCE,
        whole: PATIENCE,
        ..Limits::default()
    };
    let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    Acme::new(settings, store, Arc::new(move || now), Arc::new(|| true)).unwrap()
}

fn host() -> Hostname {
    "a.example.com".parse().unwrap()
}

async fn open(server: &Hostile) -> Result<Box<dyn CaOrder>, CaError> {
    acme(server, Arc::default())
        .open(grant(&host()), NewOrder::default())
        .await
}

async fn fails(server: &Hostile) -> CaError {
    open(server).await.err().expect("this should have failed")
}

fn refused(error: CaError) -> Problem {
    let CaError::Refused(problem) = error else {
        panic!("{error}: {error:?}")
    };
    problem
}

fn garbled(error: CaError) -> (String, Option<Duration>) {
    let CaError::Garbled {
        what, retry_after, ..
    } = error
    else {
        panic!("{error}: {error:?}")
    };
    (what, retry_after)
}

fn unreachable(error: &CaError) -> String {
    assert!(matches!(error, CaError::Unreachable { .. }), "{error}: {error:?}");
    let chain: Vec<_> = std::iter::successors(error.source(), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    chain.join(": ")
}

fn problem(kind: &str, detail: &str) -> String {
    format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"{detail}"}}"#)
}

fn order(status: &str) -> String {
    format!(r#"{{"status":"{status}","authorizations":["BASE/authz/1"],"finalize":"BASE/finalize/1"}}"#)
}

/// An authorization for our host whose challenge has a status and, maybe, an error.
fn authorization(server: &Hostile, status: &str, challenge: &str, error: Option<&str>) -> Reply {
    let error = error.map_or(String::new(), |error| format!(r#","error":{error}"#));
    let base = &server.base;
    Reply::Whole(
        200,
        "",
        format!(
            r#"{{"identifier":{{"type":"dns","value":"a.example.com"}},"status":"{status}","challenges":[
            {{"type":"http-01","url":"{base}/http/1","token":"other","status":"pending"}},
            {{"type":"dns-01","url":"{base}/challenge/1","token":"token","status":"{challenge}"{error}}}]}}"#
        ),
    )
}

#[tokio::test]
async fn a_busy_ca_is_heard_in_every_form() {
    let server = Hostile::start().await;
    server.on(
        "/new",
        Reply::Whole(503, "Retry-After: 30\r\n", "<html>busy</html>".to_owned()),
    );
    let (what, wait) = garbled(fails(&server).await);
    assert_eq!(what, "HTTP 503 Service Unavailable without a problem document");
    assert_eq!(wait, Some(Duration::from_secs(30)));

    let busy = problem("rateLimited", "Service busy; retry later.");
    server.on(
        "/new",
        Reply::Whole(503, "Retry-After: Mon, 23 Nov 2026 12:01:30 GMT\r\n", busy),
    );
    let busy = refused(fails(&server).await);
    assert_eq!((busy.kind, busy.status), (ProblemKind::RateLimited, Some(503)));
    assert_eq!(busy.retry_after, Some(Duration::from_secs(90)));

    // Who limits us need not speak ACME.
    server.on(
        "/new",
        Reply::Whole(429, "Retry-After: 600\r\n", "<html>".to_owned()),
    );
    let wait = Some(Duration::from_secs(600));
    assert_eq!(
        Fault::ca(&fails(&server).await, Exchange::NewOrder).pause,
        Pause::Rest {
            wait,
            hold: Some((Scope::Account, wait)),
        }
    );

    server.on("/nonce", Reply::Whole(503, "Retry-After: 5\r\n", String::new()));
    assert_eq!(garbled(fails(&server).await).1, Some(Duration::from_secs(5)));
}

#[tokio::test]
async fn limits_say_when_and_pauses_keep_their_token() {
    let server = Hostile::start().await;
    let words = "too many certificates (5) already issued, retry after 2026-11-24 22:00:00 UTC";
    server.on(
        "/new",
        Reply::Whole(429, "Retry-After: 122400\r\n", problem("rateLimited", words)),
    );
    let limit = refused(fails(&server).await);
    assert_eq!(
        (limit.kind, limit.status, limit.detail.as_str()),
        (ProblemKind::RateLimited, Some(429), words)
    );
    assert_eq!(limit.retry_after, Some(Duration::from_secs(34 * 3600)));

    let words = "paused. Please visit: https://portal.test/sfe/v1/unpause?jwt=eyJhbGciOiJIUzI1NiJ9.e30.c2ln";
    server.on("/new", Reply::Whole(429, "", problem("rateLimited", words)));
    let paused = fails(&server).await;
    assert!(!format!("{paused} {paused:?}").contains("jwt"), "{paused:?}");
    assert_eq!(refused(paused).retry_after, None);
}

#[tokio::test]
async fn a_directory_that_is_down_or_wrong_passes() {
    let server = Hostile::start().await;
    server.order(&order("ready"));
    let good = format!(
        r#"{{"newNonce":"{0}/nonce","newAccount":"{0}/account","newOrder":"{0}/new"}}"#,
        server.base
    );
    let acme = acme(&server, Arc::default());
    let outage = Reply::Whole(503, "Retry-After: 9\r\n", good.clone());
    for bad in [
        Reply::Whole(200, "", "<html>".to_owned()),
        Reply::Whole(200, "", good.replace(&server.base, "")),
        Reply::Whole(301, "Location: https://elsewhere.test/\r\n", String::new()),
        // Whoever stands before the CA refuses no name.
        Reply::Whole(403, "", r#"{"type":"about:blank","detail":"blocked"}"#.to_owned()),
        Reply::Whole(404, "", problem("malformed", "no such provisioner")),
        outage.clone(),
    ] {
        server.on("/dir", bad.clone());
        let (what, wait) = garbled(
            acme.open(grant(&host()), NewOrder::default())
                .await
                .err()
                .unwrap(),
        );
        assert_eq!(wait.is_some(), matches!(bad, Reply::Whole(503, ..)), "{what}");
        assert_eq!(garbled(acme.probe().await.unwrap_err()).1, wait);
    }
    server.on("/dir", Reply::Whole(200, "", good));
    acme.probe().await.unwrap();
    acme.open(grant(&host()), NewOrder::default()).await.unwrap();
    server.on("/dir", outage);
    acme.open(grant(&host()), NewOrder::default()).await.unwrap();
}

#[tokio::test]
async fn an_endless_answer_ends() {
    let server = Hostile::start().await;
    server.on("/new", Reply::Endless);
    assert_eq!(garbled(fails(&server).await).0, "it is longer than 1048576 bytes");
}

#[tokio::test]
async fn a_silent_ca_costs_one_time_out() {
    let server = Hostile::start().await;
    server.on("/new", Reply::Hang);
    let chain = unreachable(&fails(&server).await);
    assert_eq!(chain, "no whole answer within 2s");
    server.on("/new", Reply::Torn);
    let chain = unreachable(&fails(&server).await);
    assert!(chain.starts_with("the answer broke off: "), "{chain}");
}

#[tokio::test]
async fn orders_that_wait_for_the_account_share_its_failure() {
    let server = Hostile::start().await;
    server.on("/dir", Reply::Hang);
    let acme = acme(&server, Arc::default());
    let host = host();
    let start = Instant::now();
    for failed in
        futures::future::join_all((0..20).map(|_| acme.open(grant(&host), NewOrder::default()))).await
    {
        assert_eq!(unreachable(&failed.err().unwrap()), "no whole answer within 2s");
    }
    assert_eq!(server.count("GET /dir"), 1);
    assert!(start.elapsed() < 2 * PATIENCE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let server = Hostile::start().await;
    let settings = Settings::of(format!("http://127.0.0.1:{}/dir", crate::pebble::free_port()));
    drop(server);
    let acme = acme_of(settings, Arc::default());
    let chain = unreachable(
        &acme
            .open(grant(&host()), NewOrder::default())
            .await
            .err()
            .unwrap(),
    );
    assert!(chain.contains("Connection refused"), "{chain}");
    let traffic = acme.traffic();
    assert_eq!((traffic.requests, traffic.unanswered), (1, 1));
}

#[tokio::test]
async fn only_an_order_can_be_gone() {
    let server = Hostile::start().await;
    let acme = acme(&server, Arc::default());
    let url = format!("{}/order/7", server.base);
    assert!(matches!(acme.resume(&url).await, Err(CaError::Gone { url: gone }) if gone == url));
    server.on("/order/7", Reply::Whole(404, "", "not found".to_owned()));
    assert!(matches!(acme.resume(&url).await, Err(CaError::Gone { .. })));
    // No path for new orders is set, so that is a 404 too.
    assert_eq!(
        refused(
            acme.open(grant(&host()), NewOrder::default())
                .await
                .err()
                .unwrap()
        )
        .status,
        Some(404)
    );

    server.order(&order("ready"));
    let mut opened = acme.open(grant(&host()), NewOrder::default()).await.unwrap();
    server.on("/order/1", Reply::Whole(404, "", String::new()));
    assert!(matches!(opened.refresh().await, Err(CaError::Gone { .. })));
    assert!(
        matches!(opened.finalize(b"csr").await, Err(CaError::Gone { url }) if url.ends_with("/finalize/1"))
    );
}

#[tokio::test]
async fn a_wait_beyond_all_time_is_cut_and_harmless() {
    let server = Hostile::start().await;
    server.order(&order("processing"));
    let mut opened = open(&server).await.unwrap();
    let content = order("processing").replace("BASE", &server.base);
    server.on(
        "/order/1",
        Reply::Whole(200, "Retry-After: 18446744073709551615\r\n", content),
    );
    opened.refresh().await.unwrap();
    assert_eq!(
        opened.view().retry_after,
        Some(Duration::from_secs(7 * 24 * 3600))
    );
}

/// Its clock is three hours ahead: what it names is told by ours.
#[tokio::test]
async fn p23_the_times_of_a_ca_whose_clock_is_wrong_are_told_by_ours() {
    const DATED: &str =
        "Date: Mon, 23 Nov 2026 15:00:00 GMT\r\nRetry-After: Mon, 23 Nov 2026 15:01:30 GMT\r\n";
    let server = Hostile::start().await;
    let mut content: serde_json::Value =
        serde_json::from_str(&order("processing").replace("BASE", &server.base)).unwrap();
    content["expires"] = "2026-11-23T20:00:00Z".into();
    server.on("/order/1", Reply::Whole(200, DATED, content.to_string()));
    let acme = acme(&server, Arc::default());
    let order = acme.resume(&format!("{}/order/1", server.base)).await.unwrap();
    assert_eq!(order.view().retry_after, Some(Duration::from_secs(90)));
    let expires = order.view().expires.unwrap();
    assert_eq!(expires.to_string(), "2026-11-23T17:00:00Z");
    let ahead = acme.clock_ahead().unwrap();
    assert!(ahead.as_secs().abs_diff(-3 * 3_600) <= 60, "{ahead:#}");
}

#[tokio::test]
async fn exchanges_side_by_side_do_not_mix() {
    let server = Hostile::start().await;
    let content =
        |wait: &'static str| Reply::Whole(200, wait, order("processing").replace("BASE", &server.base));
    server.on("/order/1", content("Retry-After: 1\r\n"));
    server.on("/order/2", content("Retry-After: 2\r\n"));
    let acme = acme(&server, Arc::default());
    let urls: Vec<_> = (0..20)
        .map(|i| format!("{}/order/{}", server.base, i % 2 + 1))
        .collect();
    for (i, order) in futures::future::join_all(urls.iter().map(|url| acme.resume(url)))
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(
            order.unwrap().view().retry_after,
            Some(Duration::from_secs(i as u64 % 2 + 1))
        );
    }
}

#[tokio::test]
async fn the_reason_of_a_failure_is_found_in_the_challenge() {
    let server = Hostile::start().await;
    server.order(&order("invalid"));
    let reason = problem(
        "dns",
        "DNS problem: NXDOMAIN looking up TXT for _acme-challenge.a.example.com",
    );
    server.on(
        "/authz/1",
        authorization(&server, "invalid", "invalid", Some(&reason)),
    );
    let opened = open(&server).await.unwrap();
    let found = opened.view().problem.clone().unwrap();
    assert_eq!(
        (opened.view().status, found.kind, found.status),
        (OrderStatus::Invalid, ProblemKind::Dns, None)
    );
    assert!(found.detail.contains("NXDOMAIN"));

    // What is not there any more has not failed: its time was over before that of the order.
    server.on("/authz/1", Reply::Whole(404, "", String::new()));
    let opened = open(&server).await.unwrap();
    let now = "2026-11-23T12:00:00Z".parse().unwrap();
    assert_eq!(Fault::invalid(opened.view(), now).pause, Pause::Abandon);

    // Without any reason it is invalid all the same.
    server.on("/authz/1", Reply::Whole(500, "", String::new()));
    let opened = open(&server).await.unwrap();
    assert_eq!(
        (opened.view().status, &opened.view().problem),
        (OrderStatus::Invalid, &None)
    );

    // The order may lag behind its authorization.
    server.order(&order("pending"));
    server.on(
        "/authz/1",
        authorization(&server, "invalid", "invalid", Some(&reason)),
    );
    let opened = open(&server).await.unwrap();
    assert_eq!(
        (opened.view().status, opened.view().problem.clone()),
        (OrderStatus::Invalid, Some(found.clone()))
    );

    // Also after we have answered: a few looks later its authorization is asked.
    let pending = authorization(&server, "pending", "pending", None);
    server.on("/authz/1", pending);
    let mut opened = open(&server).await.unwrap();
    let challenge = format!(
        r#"{{"type":"dns-01","url":"{}/challenge/1","token":"token","status":"processing"}}"#,
        server.base
    );
    server.on("/challenge/1", Reply::Whole(200, "", challenge));
    opened.answer().await.unwrap();
    server.on(
        "/authz/1",
        authorization(&server, "invalid", "invalid", Some(&reason)),
    );
    for _ in 0..4 {
        assert_eq!(opened.view().status, OrderStatus::Pending);
        opened.refresh().await.unwrap();
    }
    assert_eq!(
        (opened.view().status, opened.view().problem.clone()),
        (OrderStatus::Invalid, Some(found))
    );
}

#[tokio::test]
async fn a_challenge_under_way_counts_as_told() {
    let server = Hostile::start().await;
    server.order(&order("pending"));
    server.on("/authz/1", authorization(&server, "pending", "pending", None));
    let challenge = |error: &str| {
        let url = format!("{}/challenge/1", server.base);
        format!(r#"{{"type":"dns-01","url":"{url}","token":"token","status":"processing","error":{error}}}"#)
    };
    for reply in [
        Reply::Whole(409, "", problem("conflict", "The challenge is being validated.")),
        Reply::Whole(200, "", challenge("null")),
        // The CA tries again by itself (RFC 8555 §8.2).
        Reply::Whole(200, "Retry-After: 3\r\n", challenge(&problem("dns", "SERVFAIL"))),
    ] {
        let mut opened = open(&server).await.unwrap();
        assert_eq!(opened.view().challenges[0].status, ChallengeStatus::Pending);
        server.on("/challenge/1", reply);
        opened.answer().await.unwrap();
        assert_eq!(opened.view().challenges[0].status, ChallengeStatus::Processing);
    }
    server.on(
        "/challenge/1",
        Reply::Whole(500, "Retry-After: 60\r\n", problem("serverInternal", "oops")),
    );
    let mut opened = open(&server).await.unwrap();
    let failed = refused(opened.answer().await.unwrap_err());
    assert_eq!(
        (failed.status, failed.retry_after),
        (Some(500), Some(Duration::from_secs(60)))
    );
    assert_eq!(
        opened.view().challenges[0].status,
        ChallengeStatus::Pending,
        "to be told again"
    );
}

#[tokio::test]
async fn p23_the_challenge_is_found_in_any_order() {
    let server = Hostile::start().await;
    server.order(&order("pending"));
    let base = &server.base;
    let challenges = ["http-01", "dns-01", "brand-new-01"].map(|kind| {
        format!(r#"{{"type":"{kind}","url":"{base}/{kind}","token":"{kind}","status":"pending"}}"#)
    });
    let [a, b, c] = &challenges;
    for shuffled in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
        let challenges = shuffled.map(String::as_str).join(",");
        let document = format!(
            r#"{{"identifier":{{"type":"dns","value":"a.example.com"}},"status":"pending","challenges":[{challenges}]}}"#
        );
        server.on("/authz/1", Reply::Whole(200, "", document));
        server.on(
            "/dns-01",
            Reply::Whole(200, "", b.replace("pending", "processing")),
        );
        let store = Arc::new(Memory::default());
        let mut opened = acme(&server, store)
            .open(grant(&host()), NewOrder::default())
            .await
            .unwrap();
        assert_eq!(opened.view().challenges.len(), 1);
        opened.answer().await.unwrap();
    }
    assert_eq!(server.count("POST /dns-01"), 6);
    assert_eq!(server.count("POST /http-01"), 0);
}

#[tokio::test]
async fn p22_an_answer_without_a_nonce_is_no_nonce() {
    let server = Hostile::start().await;
    server.order(&order("ready"));
    server.on("/nonce", Reply::Bare(200));
    assert_eq!(garbled(fails(&server).await).0, "there is no nonce in it");
    server.on("/nonce", Reply::Whole(200, "", String::new()));
    open(&server).await.unwrap();
}

#[tokio::test]
async fn a_nonce_that_is_always_stale_ends_somewhere() {
    let server = Hostile::start().await;
    server.on("/new", Reply::Whole(400, "", problem("badNonce", "stale")));
    assert_eq!(refused(fails(&server).await).kind, ProblemKind::BadNonce);
    assert_eq!(server.count("POST /new"), 15);
}

#[tokio::test]
async fn p23_an_order_that_is_made_and_not_to_be_read_is_known_by_its_url() {
    let server = Hostile::start().await;
    server.order(&order("pending"));
    server.on(
        "/authz/1",
        Reply::Whole(500, "", problem("serverInternal", "oops")),
    );
    let acme = acme(&server, Arc::default());
    let made = acme.open(grant(&host()), NewOrder::default()).await.err();
    let Some(CaError::Unread { url, source, .. }) = &made else {
        panic!("{made:?}")
    };
    assert_eq!(*url, format!("{}/order/1", server.base));
    assert!(matches!(&**source, CaError::Refused(problem) if problem.status == Some(500)));
    // A CA that fails inside is in trouble with this order, as far as is known.
    let fault = Fault::ca(made.as_ref().unwrap(), Exchange::NewOrder);
    let hold = Some((Scope::Order(None), None));
    assert_eq!(fault.pause, Pause::Rest { wait: None, hold });
    // It can be taken up from there.
    server.on("/authz/1", authorization(&server, "pending", "pending", None));
    assert_eq!(acme.resume(url).await.unwrap().view().challenges.len(), 1);
    assert_eq!(server.count("POST /new"), 1);
}

#[tokio::test]
async fn first_uses_at_once_make_one_account() {
    let server = Hostile::start().await;
    server.order(&order("ready"));
    let store = Arc::new(Memory::default());
    let acme = acme(&server, Arc::clone(&store));
    let host = host();
    for opened in
        futures::future::join_all((0..10).map(|_| acme.open(grant(&host), NewOrder::default()))).await
    {
        opened.unwrap();
    }
    assert_eq!(server.count("POST /account"), 1);
    assert_eq!(*store.writes.lock().unwrap(), [false, true]);
}

#[tokio::test]
async fn the_quicker_instance_provides_the_account() {
    let server = Hostile::start().await;
    server.order(&order("ready"));
    let key = Sealed::new(KeyPair::generate().unwrap().serialize_der());
    let url = Some(format!("{}/account/rival", server.base));
    let rival = SavedAccount {
        directory: format!("{}/dir", server.base),
        key,
        url,
        next: None,
    };
    let store = Arc::new(Memory::default());
    *store.rival.lock().unwrap() = Some(rival.clone());
    acme(&server, Arc::clone(&store))
        .open(grant(&host()), NewOrder::default())
        .await
        .unwrap();
    assert_eq!(*store.account.lock().unwrap(), Some(rival));
    assert_eq!(server.count("POST /account"), 0);
}

#[tokio::test]
async fn a_contact_that_is_not_wanted_is_left_out() {
    let server = Hostile::start().await;
    server.order(&order("ready"));
    for kind in ["invalidContact", "unsupportedContact"] {
        server.once("/account", Reply::Whole(400, "", problem(kind, "no")));
        open(&server).await.unwrap();
    }
    let asked = server.signed("/account");
    let contacts: Vec<_> = asked.iter().map(|(_, payload)| payload.get("contact")).collect();
    let ours = serde_json::json!(["mailto:admin@example.com"]);
    assert_eq!(contacts, [Some(&ours), None, Some(&ours), None]);

    // While the CA is only busy, the account waits for its contact.
    server.on("/account", Reply::Whole(503, "", problem("rateLimited", "busy")));
    let store = Arc::new(Memory::default());
    let opened = acme(&server, Arc::clone(&store))
        .open(grant(&host()), NewOrder::default())
        .await;
    assert!(opened.is_err());
    assert_eq!(*store.writes.lock().unwrap(), [false]);
}

#[tokio::test]
async fn a_key_that_cannot_be_read_back_is_the_accounts_fault() {
    let server = Hostile::start().await;
    let store = Arc::new(Memory::default());
    let key = Sealed::new(b"no key".to_vec());
    *store.account.lock().unwrap() = Some(SavedAccount {
        directory: format!("{}/dir", server.base),
        key,
        url: None,
        next: None,
    });
    let error = acme(&server, store)
        .open(grant(&host()), NewOrder::default())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, CaError::Account(_)), "{error:?}");
}

#[tokio::test]
async fn p22_an_account_key_that_is_refused_is_no_names_fault() {
    let server = Hostile::start().await;
    for kind in ["badPublicKey", "malformed", "brandNew", "unauthorized"] {
        server.on("/account", Reply::Whole(400, "", problem(kind, "weak")));
        let refused = fails(&server).await;
        let day = Some(Duration::from_secs(86_400));
        // Whatever the account was wanted for.
        for during in [Exchange::NewOrder, Exchange::Order] {
            assert_eq!(
                Fault::ca(&refused, during).pause,
                Pause::Rest {
                    wait: None,
                    hold: Some((Scope::Account, day)),
                }
            );
        }
    }
}

#[tokio::test]
async fn nothing_may_be_written_as_null() {
    let server = Hostile::start().await;
    let base = &server.base;
    let nothing = r#""profiles":null,"caaIdentities":null,"externalAccountRequired":null"#;
    let directory = format!(
        r#"{{"newNonce":"{base}/nonce","newAccount":"{base}/account","newOrder":"{base}/new","meta":{{{nothing}}}}}"#
    );
    server.on("/dir", Reply::Whole(200, "", directory));
    let caa = problem("caa", "no").replace('}', r#","instance":null,"subproblems":null}"#);
    server.on("/new", Reply::Whole(403, "", caa));
    assert_eq!(refused(fails(&server).await).kind, ProblemKind::Caa);
}

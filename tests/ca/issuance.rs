//! Orders at a real Pebble.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use faythe::ca::acme::{Acme, Settings};
use faythe::ca::{Ca, CaError, CaOrder, NewOrder};
use faythe::sealed::Sealed;
use faythe::x509::{KeyType, check_issued, csr, new_key};
use faythe_core::Timestamp;
use faythe_core::budget::{Exemption, Grant, Ledger, Limits};
use faythe_core::cert::CertFacts;
use faythe_core::name::Hostname;
use faythe_core::order::{ChallengeStatus, OrderStatus};
use faythe_core::problem::{Problem, ProblemKind};

use crate::memory::Memory;
use crate::pebble::Pebble;

/// Pebble without artificial trouble: nothing is validated, no nonce rejected, no authorization reused.
pub(crate) const PLAIN: [(&str, &str); 3] = [
    ("PEBBLE_VA_ALWAYS_VALID", "1"),
    ("PEBBLE_WFE_NONCEREJECT", "0"),
    ("PEBBLE_AUTHZREUSE", "0"),
];

pub(crate) fn acme_with(pebble: &Pebble, store: &Arc<Memory>, change: impl FnOnce(&mut Settings)) -> Acme {
    let mut settings = Settings::of(pebble.url());
    settings.registration.email = Some("admin@example.com".to_owned());
    settings.roots = Some(pebble.roots());
    change(&mut settings);
    acme_of(settings, Arc::clone(store))
}

/// One that always has leave.
pub(crate) fn acme_of(settings: Settings, store: Arc<Memory>) -> Acme {
    Acme::new(settings, store, Arc::new(Timestamp::now), Arc::new(|| true)).unwrap()
}

pub(crate) fn acme(pebble: &Pebble, store: &Arc<Memory>) -> Acme {
    acme_with(pebble, store, |_| {})
}

/// Leave to order, of a ledger without limits.
pub(crate) fn grant(host: &Hostname) -> Grant {
    grant_of(host, Exemption::Nothing)
}

/// Leave to order what is exempt from limits.
pub(crate) fn grant_of(host: &Hostname, exemption: Exemption) -> Grant {
    let mut ledger = Ledger::new(Limits::default());
    ledger.reserve(host, exemption, Timestamp::UNIX_EPOCH).unwrap();
    ledger.grant(host).unwrap()
}

pub(crate) fn host(name: &str) -> Hostname {
    name.parse().unwrap()
}

/// How a certificate came about.
pub(crate) struct Story {
    pub(crate) facts: CertFacts,
    /// The chain, PEM.
    pub(crate) chain: String,
    /// Looks at the order.
    looks: u64,
    /// Those after which its authorization was looked at too: every fourth in vain.
    looks_beneath: u64,
    /// Whether the CA took an old authorization for good.
    reused: bool,
}

/// Drives an order from beginning to end, as fast as it goes.
pub(crate) async fn issue(acme: &Acme, host: &Hostname) -> Result<Story, CaError> {
    let order = acme.open(grant(host), NewOrder::default()).await?;
    finish(order, host).await
}

/// The same for an order that is made.
pub(crate) async fn finish(mut order: Box<dyn CaOrder>, host: &Hostname) -> Result<Story, CaError> {
    let mut story = Story {
        facts: nothing(),
        chain: String::new(),
        looks: 0,
        looks_beneath: 0,
        reused: false,
    };
    let (key, csr) = key_and_csr(host, KeyType::default());
    if order.view().status == OrderStatus::Pending {
        assert_eq!(order.view().challenges.len(), 1);
        assert_eq!(order.view().challenges[0].value.record, host.challenge_record());
        assert_eq!(
            order.view().challenges[0].value.value.len(),
            43,
            "a SHA-256 in base64url"
        );
        order.answer().await?;
        while order.view().status == OrderStatus::Pending {
            order.refresh().await?;
            story.looks += 1;
            let in_vain = order.view().status == OrderStatus::Pending;
            story.looks_beneath += u64::from(in_vain && story.looks.is_multiple_of(4));
        }
    } else {
        story.reused = true;
        assert!(order.view().challenges.is_empty());
    }
    assert_eq!(order.view().status, OrderStatus::Ready, "{:?}", order.view());
    order.finalize(&csr).await?;
    while order.view().status == OrderStatus::Processing {
        order.refresh().await?;
        story.looks += 1;
    }
    assert_eq!(order.view().status, OrderStatus::Valid, "{:?}", order.view());
    story.facts = check(order.as_mut(), &key, host).await?;
    story.chain = order.certificate().await?;
    Ok(story)
}

async fn check(order: &mut dyn CaOrder, key: &Sealed, host: &Hostname) -> Result<CertFacts, CaError> {
    let chain = order.certificate().await?;
    assert!(
        chain.matches("-----BEGIN CERTIFICATE-----").count() >= 2,
        "{chain}"
    );
    Ok(check_issued(&chain, key, host, Timestamp::now()).unwrap())
}

/// Lets the client find out that the connections it has kept are dead.
async fn notice(acme: &Acme) {
    while acme.probe().await.is_err() {}
}

fn nothing() -> CertFacts {
    CertFacts {
        names: Vec::new(),
        not_before: Timestamp::UNIX_EPOCH,
        not_after: Timestamp::UNIX_EPOCH,
        serial: String::new(),
        issuer: String::new(),
        id: None,
    }
}

pub(crate) fn refused<T>(outcome: Result<T, CaError>) -> Problem {
    match outcome {
        Err(CaError::Refused(problem) | CaError::Unregistered(problem)) => problem,
        Err(other) => panic!("{other}: {other:?}"),
        Ok(_) => panic!("this should have been refused"),
    }
}

/// Sixteen hosts in parallel, twice each, so that some authorizations are there already.
async fn a_burst(environment: &[(&str, &str)]) {
    let pebble = Pebble::start(environment);
    let store = Arc::new(Memory::default());
    let acme = acme(&pebble, &store);
    let hosts: Vec<_> = (0..16)
        .map(|i| host(&format!("{}h{i}.example.com", if i % 4 == 0 { "*." } else { "" })))
        .collect();
    let mut reused = 0;
    for _ in 0..2 {
        let stories = futures::future::join_all(hosts.iter().map(|host| issue(&acme, host))).await;
        for (host, story) in hosts.iter().zip(stories) {
            let story = story.unwrap();
            assert_eq!(story.facts.names, std::slice::from_ref(host));
            reused += usize::from(story.reused);
        }
    }
    assert!(
        reused > 0,
        "of 16 authorizations, Pebble offers every second one again"
    );
    assert_eq!(
        *store.writes.lock().unwrap(),
        [false, true],
        "the key before, the URL after, and never again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_at_pebbles_defaults() {
    // 5 % of the nonces rejected, 50 % of the authorizations reused.
    a_burst(&[("PEBBLE_VA_ALWAYS_VALID", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_with_every_fifth_nonce_rejected() {
    a_burst(&[("PEBBLE_VA_ALWAYS_VALID", "1"), ("PEBBLE_WFE_NONCEREJECT", "20")]).await;
}

#[tokio::test]
async fn a_certificate_costs_seven_requests() {
    let pebble = Pebble::start(&PLAIN);
    let acme = acme(&pebble, &Arc::default());
    issue(&acme, &host("warm.example.com")).await.unwrap();
    let mut fewest = u64::MAX;
    for i in 0..20 {
        let before = acme.requests();
        let story = issue(&acme, &host(&format!("h{i}.example.com"))).await.unwrap();
        let requests = acme.requests() - before;
        // Order, authorization, challenge, finalize, chain (twice, for the test), and what looking takes.
        assert_eq!(requests, 6 + story.looks + story.looks_beneath);
        fewest = fewest.min(requests - 1);
    }
    assert_eq!(fewest, 7);
}

/// What a try costs whose validation fails, and each look in vain beside. Where the order does not say why, as at Let's
/// Encrypt, its authorization is read once more.
#[tokio::test]
async fn p22_a_failing_validation_costs_four_requests() {
    let pebble = Pebble::start(&[("PEBBLE_WFE_NONCEREJECT", "0")]);
    let acme = acme(&pebble, &Arc::default());
    acme.open(grant(&host("warm.example.com")), NewOrder::default())
        .await
        .unwrap();
    for i in 0..8 {
        let before = acme.requests();
        let host = host(&format!("h{i}.example.com"));
        let mut order = acme.open(grant(&host), NewOrder::default()).await.unwrap();
        order.answer().await.unwrap();
        let mut looks = 0;
        while order.view().status == OrderStatus::Pending {
            order.refresh().await.unwrap();
            looks += 1;
        }
        assert_eq!(order.view().status, OrderStatus::Invalid);
        assert!(order.view().problem.is_some());
        let requests = acme.requests() - before;
        // Order, authorization, challenge, and the looks.
        assert_eq!(requests, 3 + looks + (looks - 1) / 4);
    }
}

#[tokio::test]
async fn p16_a_restart_costs_no_account() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    acme(&pebble, &store)
        .open(grant(&host("a.example.com")), NewOrder::default())
        .await
        .unwrap();
    let (url, key) = (store.url().unwrap(), store.key());

    let restarted = acme(&pebble, &store);
    assert_eq!(restarted.requests(), 0, "nothing is asked before the first use");
    restarted
        .open(grant(&host("b.example.com")), NewOrder::default())
        .await
        .unwrap();
    assert_eq!(restarted.requests(), 4, "directory, nonce, order, authorization");
    assert_eq!((store.url(), store.key()), (Some(url), key));
    assert_eq!(store.writes.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn p18_an_account_that_was_saved_but_not_registered_is_registered() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    acme(&pebble, &store)
        .open(grant(&host("a.example.com")), NewOrder::default())
        .await
        .unwrap();
    let (url, key) = (store.url(), store.key());
    store.account.lock().unwrap().as_mut().unwrap().url = None;

    // A crash between the CA's answer and our saving its URL looks like this; the CA knows the key (RFC 8555 §7.3.1).
    acme(&pebble, &store)
        .open(grant(&host("b.example.com")), NewOrder::default())
        .await
        .unwrap();
    assert_eq!((store.url(), store.key()), (url, key));
}

#[tokio::test]
async fn an_account_lost_at_the_ca_is_registered_again_with_its_key() {
    let mut pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let acme = acme(&pebble, &store);
    let mut old = acme
        .open(grant(&host("a.example.com")), NewOrder::default())
        .await
        .unwrap();
    let key = store.key();
    pebble.restart(&PLAIN);
    notice(&acme).await;

    assert_eq!(
        refused(old.refresh().await).kind,
        ProblemKind::AccountDoesNotExist
    );
    issue(&acme, &host("b.example.com")).await.unwrap();
    assert_eq!(store.key(), key);
    assert!(matches!(
        acme.resume(old.url()).await.err().unwrap(),
        CaError::Gone { .. }
    ));
}

#[tokio::test]
async fn many_orders_that_lose_the_account_register_once() {
    let mut pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let acme = acme(&pebble, &store);
    acme.open(grant(&host("a.example.com")), NewOrder::default())
        .await
        .unwrap();
    pebble.restart(&PLAIN);
    notice(&acme).await;
    let hosts: Vec<_> = (0..8).map(|i| host(&format!("h{i}.example.com"))).collect();
    for opened in futures::future::join_all(
        hosts
            .iter()
            .map(|host| acme.open(grant(host), NewOrder::default())),
    )
    .await
    {
        opened.unwrap();
    }
    assert_eq!(*store.writes.lock().unwrap(), [false, true, true]);
}

#[tokio::test]
async fn an_order_is_taken_up_where_it_stands() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let host = host("a.example.com");
    let first = acme(&pebble, &store)
        .open(grant(&host), NewOrder::default())
        .await
        .unwrap();

    let acme = acme(&pebble, &store);
    let mut order = acme.resume(first.url()).await.unwrap();
    assert_eq!(order.view().challenges, first.view().challenges);
    assert_eq!(order.view().expires, first.view().expires);
    assert!(order.view().expires.is_some_and(|at| at > Timestamp::now()));
    order.answer().await.unwrap();
    while order.view().status == OrderStatus::Pending {
        order.refresh().await.unwrap();
    }

    let mut order = acme.resume(first.url()).await.unwrap();
    assert_eq!(
        (order.view().status, order.view().challenges.len()),
        (OrderStatus::Ready, 0)
    );
    let (key, csr) = key_and_csr(&host, KeyType::Rsa2048);
    order.finalize(&csr).await.unwrap();
    loop {
        order = acme.resume(first.url()).await.unwrap();
        if order.view().status == OrderStatus::Valid {
            break;
        }
    }
    check(order.as_mut(), &key, &host).await.unwrap();
    // It can be fetched as often as storing it needs.
    check(order.as_mut(), &key, &host).await.unwrap();

    let unknown = format!("{}x", first.url());
    assert!(matches!(acme.resume(&unknown).await.err().unwrap(), CaError::Gone { url } if url == unknown));
}

#[tokio::test]
async fn a_step_out_of_turn_is_refused_and_does_no_harm() {
    let pebble = Pebble::start(&PLAIN);
    let acme = acme(&pebble, &Arc::default());
    let host = host("a.example.com");
    let (key, csr) = key_and_csr(&host, KeyType::EcdsaP384);
    let mut order = acme.open(grant(&host), NewOrder::default()).await.unwrap();
    let asked = acme.requests();
    assert_eq!(
        refused(order.certificate().await).kind,
        ProblemKind::OrderNotReady
    );
    assert_eq!(acme.requests(), asked);
    assert_eq!(
        refused(order.finalize(&csr).await).kind,
        ProblemKind::OrderNotReady
    );

    order.answer().await.unwrap();
    assert_eq!(order.view().challenges[0].status, ChallengeStatus::Processing);
    let asked = acme.requests();
    order.answer().await.unwrap();
    assert_eq!(acme.requests(), asked, "what is under way is not told twice");
    while order.view().status == OrderStatus::Pending {
        order.refresh().await.unwrap();
    }
    let (_, wrong) = key_and_csr(&"b.example.com".parse().unwrap(), KeyType::default());
    let problem = refused(order.finalize(&wrong).await);
    assert_eq!(
        (problem.kind, problem.status),
        (ProblemKind::Unauthorized, Some(403))
    );
    order.refresh().await.unwrap();
    assert_eq!(order.view().status, OrderStatus::Ready);
    order.finalize(&csr).await.unwrap();
    while order.view().status == OrderStatus::Processing {
        order.refresh().await.unwrap();
    }
    check(order.as_mut(), &key, &host).await.unwrap();
}

#[tokio::test]
async fn a_validation_that_fails_makes_the_order_invalid_with_its_reason() {
    let pebble = Pebble::start(&[("PEBBLE_WFE_NONCEREJECT", "0")]);
    let acme = acme(&pebble, &Arc::default());
    let mut order = acme
        .open(grant(&host("a.example.com")), NewOrder::default())
        .await
        .unwrap();
    order.refresh().await.unwrap();
    assert_eq!(
        order.view().challenges[0].status,
        ChallengeStatus::Pending,
        "it waits for our word"
    );
    order.answer().await.unwrap();
    while order.view().status == OrderStatus::Pending {
        order.refresh().await.unwrap();
    }
    assert_eq!(order.view().status, OrderStatus::Invalid);
    let problem = order.view().problem.clone().unwrap();
    assert_eq!((problem.kind, problem.status), (ProblemKind::Unauthorized, None));
    assert!(
        problem.detail.contains("Error retrieving TXT records"),
        "{problem}"
    );
    assert!(order.view().challenges.is_empty());

    let again = acme.resume(order.url()).await.unwrap();
    assert_eq!(
        (again.view().status, again.view().problem.clone()),
        (OrderStatus::Invalid, Some(problem))
    );
}

#[tokio::test]
async fn another_profile_stands_in_if_the_operator_says_so() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let acme = |fallback: &str| {
        acme_with(&pebble, &store, |settings| {
            settings.profile = Some("eternal".to_owned());
            settings.profile_fallback = Some(fallback.to_owned());
        })
    };
    let short = acme("shortlived");
    short.probe().await.unwrap();
    let name = host("a.example.com");
    let facts = issue(&short, &name).await.unwrap().facts;
    let life = facts.not_before.duration_until(facts.not_after);
    assert!(life.as_hours() <= 160, "{life}");
    // Of a zone of its own, and one that the CA offers.
    for (wanted, made) in [("everlasting", "shortlived"), ("default", "default")] {
        let order = NewOrder {
            profile: Some(wanted),
            ..NewOrder::default()
        };
        let name = host(&format!("{wanted}.example.com"));
        let order = short.open(grant(&name), order).await.unwrap();
        assert_eq!(order.profile(), Some(made));
        let again = short.resume(order.url()).await.unwrap();
        assert_eq!(again.profile(), Some(made));
    }
    let gone = acme("also-gone");
    let problem = refused(gone.open(grant(&name), NewOrder::default()).await);
    assert_eq!(problem.kind, ProblemKind::InvalidProfile);
}

#[tokio::test]
async fn the_profile_is_asked_for_if_there_is_one() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let short = acme_with(&pebble, &store, |settings| {
        settings.profile = Some("shortlived".to_owned())
    });
    short.probe().await.unwrap();
    let facts = issue(&short, &host("a.example.com")).await.unwrap().facts;
    let lifetime = Duration::try_from(facts.not_after.duration_since(facts.not_before)).unwrap();
    assert!(
        lifetime > Duration::from_secs(518_390) && lifetime <= Duration::from_secs(518_400),
        "{lifetime:?}"
    );

    let wrong = acme_with(&pebble, &store, |settings| {
        settings.profile = Some("eternal".to_owned())
    });
    assert_eq!(
        refused(
            wrong
                .open(grant(&host("a.example.com")), NewOrder::default())
                .await
        )
        .kind,
        ProblemKind::InvalidProfile
    );
    let problem = refused(wrong.probe().await);
    assert_eq!(problem.kind, ProblemKind::InvalidProfile);
    // Those of zones are asked about by their names.
    wrong.offers("shortlived").await.unwrap();
    assert_eq!(refused(wrong.offers("eternal").await), problem);
    assert!(
        problem.detail.ends_with("the CA offers default, shortlived"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_probe_touches_no_account() {
    let mut pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let acme = acme(&pebble, &store);
    acme.probe().await.unwrap();
    assert_eq!(acme.requests(), 1);
    assert!(store.account.lock().unwrap().is_none());
    pebble.stop();
    assert!(matches!(acme.probe().await, Err(CaError::Unreachable { .. })));
}

#[tokio::test]
async fn a_ca_that_nobody_vouches_for_is_not_spoken_to() {
    let pebble = Pebble::start(&PLAIN);
    let other = Pebble::start(&PLAIN);
    let acme = acme_with(&pebble, &Arc::default(), |settings| {
        settings.roots = Some(other.roots())
    });
    let error = acme
        .open(grant(&host("a.example.com")), NewOrder::default())
        .await
        .err()
        .unwrap();
    assert!(matches!(&error, CaError::Unreachable { .. }), "{error:?}");
    let chain: Vec<_> = std::iter::successors(error.source(), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    assert!(chain.join(": ").contains("invalid peer certificate"), "{chain:?}");
}

/// A key and the request made with it.
fn key_and_csr(host: &Hostname, key_type: KeyType) -> (Sealed, Vec<u8>) {
    let key = new_key(key_type).unwrap();
    let csr = csr(host, &key).unwrap();
    (key, csr)
}

//! What a CA offers besides orders: ARI, revocation, account bindings, chains; at a real Pebble where it has them.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use faythe::ca::acme::{Binding, MacAlgorithm, Settings};
use faythe::ca::{Ca, CaError, NewOrder, Revocation};
use faythe::sealed::Sealed;
use faythe::x509::{self, KeyType};
use faythe_core::Timestamp;
use faythe_core::ari::CertificateId;
use faythe_core::budget::{Exemption, Limit};
use faythe_core::order::OrderStatus;
use faythe_core::problem::ProblemKind;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;

use crate::hostile::{Hostile, Reply, opened};
use crate::issuance::{PLAIN, acme, acme_of, acme_with, finish, grant, grant_of, host, issue, refused};
use crate::memory::Memory;
use crate::pebble::Pebble;
use crate::tunnel::Proxy;

/// A key that a CA's portal could have handed out.
const AGREED: &str = "c29tZXRoaW5nIHRoYXQgd2FzIGFncmVlZCB1cG9uLCAzMiBieXRlcyE";

fn leaf(chain: &str) -> CertificateDer<'static> {
    CertificateDer::pem_slice_iter(chain.as_bytes())
        .next()
        .unwrap()
        .unwrap()
}

fn binding(kid: &str, algorithm: MacAlgorithm) -> Binding {
    Binding {
        kid: kid.to_owned(),
        key: Sealed::new(BASE64_URL_SAFE_NO_PAD.decode(AGREED).unwrap()),
        algorithm,
    }
}

#[tokio::test]
async fn p21_a_renewal_names_what_it_replaces_and_a_window_is_told() {
    let pebble = Pebble::start(&PLAIN);
    let acme = acme(&pebble, &Arc::default());
    let host = host("a.example.com");
    let old = issue(&acme, &host).await.unwrap().facts;
    let id = old.id.clone().unwrap();
    let info = acme.renewal_info(&id).await.unwrap().unwrap();
    assert!(info.window.start() > old.not_before && info.window.end() <= old.not_after);
    assert_eq!(info.retry_after.map(|wait| wait.as_secs()), Some(21_600));
    let order = NewOrder {
        replaces: Some(&id),
        ..NewOrder::default()
    };
    acme.open(grant(&host), order).await.unwrap();

    // Pebble says `alreadyReplaced` once there is a successor; the order is made all the same.
    let replaced = acme.open(grant(&host), order).await.unwrap();
    finish(replaced, &host).await.unwrap();
    let requests = acme.requests();
    let made = acme.open(grant(&host), order).await.unwrap();
    // Refused, and made; and where the name is not taken for proven, its authorization is read.
    let read = u64::from(made.view().status == OrderStatus::Pending);
    assert_eq!(acme.requests() - requests, 2 + read);

    // A certificate that the CA does not know is left out; it answers in one of several ways, and the order is made.
    let unknown = CertificateId::parse("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").unwrap();
    let order = NewOrder {
        replaces: Some(&unknown),
        ..NewOrder::default()
    };
    acme.open(grant(&host), order).await.unwrap();
    assert!(acme.renewal_info(&unknown).await.is_err());
}

#[tokio::test]
async fn p21_what_replaces_is_asked_for_once_more_without() {
    let server = Hostile::start().await;
    let base = &server.base;
    let id = CertificateId::parse("a.b").unwrap();
    let host = host("a.example.com");
    let order = NewOrder {
        replaces: Some(&id),
        ..NewOrder::default()
    };
    let acme = |server: &Hostile| {
        let settings = Settings::of(format!("{}/dir", server.base));
        acme_of(settings, Arc::default())
    };
    server.order(&json!({ "status": "ready", "authorizations": [], "finalize": "BASE/f" }).to_string());

    // Without ARI the CA does not know the member.
    acme(&server).open(grant(&host), order).await.unwrap();
    assert_eq!(acme(&server).renewal_info(&id).await.unwrap(), None);
    let directory = json!({
        "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"), "newOrder": format!("{base}/new"),
        "renewalInfo": format!("{base}/ari/"),
    });
    server.on("/dir", Reply::Whole(200, "", directory.to_string()));
    let document = |kind: &str, detail: &str| {
        json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail }).to_string()
    };
    for (status, kind, detail) in [
        (409, "alreadyReplaced", "it has a successor"),
        (404, "malformed", "certificate not found"),
        (
            403,
            "unauthorized",
            "requester account did not request the certificate being replaced",
        ),
    ] {
        server.once("/new", Reply::Whole(status, "", document(kind, detail)));
        acme(&server).open(grant(&host), order).await.unwrap();
    }
    let asked = server.signed("/new");
    let replaces: Vec<_> = asked
        .iter()
        .map(|(_, order)| order["replaces"].as_str())
        .collect();
    assert_eq!(
        replaces,
        [None, Some("a.b"), None, Some("a.b"), None, Some("a.b"), None]
    );

    // Without it the order would count, which a grant for what is inside a window gives no leave for.
    let asked_before = server.count("POST /new");
    server.once(
        "/new",
        Reply::Whole(409, "", document("alreadyReplaced", "it has a successor")),
    );
    let inside = || grant_of(&host, Exemption::Window);
    let named = acme(&server).open(inside(), order).await.err().unwrap();
    assert!(
        matches!(&named, CaError::Irreplaceable(problem) if problem.kind == ProblemKind::AlreadyReplaced)
    );
    let unnamed = acme(&server)
        .open(inside(), NewOrder::default())
        .await
        .err()
        .unwrap();
    assert!(matches!(unnamed, CaError::Irreplaceable(_)), "{unnamed:?}");
    assert_eq!(server.count("POST /new"), asked_before + 1);

    // What is refused for another reason is not asked for twice.
    server.on(
        "/new",
        Reply::Whole(400, "", document("rejectedIdentifier", "no")),
    );
    let problem = refused(acme(&server).open(grant(&host), order).await);
    assert_eq!(problem.kind, ProblemKind::RejectedIdentifier);
    assert_eq!(server.count("POST /new"), 9);

    let window = r#"{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-03T00:00:00Z"}}"#;
    server.on("/ari/a.b", Reply::Whole(200, "", window.to_owned()));
    let info = acme(&server).renewal_info(&id).await.unwrap().unwrap();
    assert_eq!(info.window.start().to_string(), "2026-01-02T00:00:00Z");
    assert_eq!(info.retry_after, None);
    server.on(
        "/ari/a.b",
        Reply::Whole(404, "", document("malformed", "not found")),
    );
    assert_eq!(refused(acme(&server).renewal_info(&id).await).status, Some(404));
    server.on("/ari/a.b", Reply::Whole(200, "", "{}".to_owned()));
    assert!(matches!(
        acme(&server).renewal_info(&id).await,
        Err(CaError::Garbled { .. })
    ));
}

#[tokio::test]
async fn a_certificate_is_revoked_once_and_for_all() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::default();
    let mine = acme(&pebble, &store);
    let story = issue(&mine, &host("a.example.com")).await.unwrap();
    let leaf = leaf(&story.chain);
    // Only who has it may.
    let other = acme(&pebble, &Arc::default());
    let problem = refused(other.revoke(&leaf, Revocation::KeyCompromise).await);
    assert_eq!(problem.kind, ProblemKind::Unauthorized);
    for _ in 0..2 {
        mine.revoke(&leaf, Revocation::Superseded).await.unwrap();
    }
    // The CA wants what has been revoked to be replaced at once.
    let window = mine
        .renewal_info(&story.facts.id.unwrap())
        .await
        .unwrap()
        .unwrap()
        .window;
    assert!(window.end() < Timestamp::now());
}

#[tokio::test]
async fn every_kind_of_account_key_gets_certificates() {
    let pebble = Pebble::start(&PLAIN);
    for kind in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
        let acme = acme_with(&pebble, &Arc::default(), |settings| {
            settings.registration.key_type = kind;
        });
        issue(&acme, &host("a.example.com")).await.unwrap();
    }
}

#[tokio::test]
async fn an_account_is_bound_to_what_the_ca_knows() {
    let pebble = Pebble::with_account_keys(&PLAIN, &[("kid-1", AGREED)]);
    let bound = |binding: Option<Binding>| {
        acme_with(&pebble, &Arc::default(), |settings| {
            settings.registration.binding = binding;
        })
    };
    let host = host("a.example.com");
    issue(&bound(Some(binding("kid-1", MacAlgorithm::Hs256))), &host)
        .await
        .unwrap();
    let unknown = bound(Some(binding("kid-2", MacAlgorithm::Hs256)));
    let problem = refused(unknown.open(grant(&host), NewOrder::default()).await);
    assert_eq!(problem.kind, ProblemKind::Unauthorized);
    // Without one it is not even tried.
    let without = bound(None);
    let problem = refused(without.open(grant(&host), NewOrder::default()).await);
    assert_eq!(
        (problem.kind, problem.status),
        (ProblemKind::ExternalAccountRequired, None)
    );
    // A check says so before anything is ordered.
    assert_eq!(refused(without.probe().await), problem);
}

#[tokio::test]
async fn a_binding_may_use_any_of_three_algorithms() {
    let server = Hostile::start().await;
    server.order(&json!({ "status": "ready", "authorizations": [], "finalize": "BASE/f" }).to_string());
    for (algorithm, name) in [
        (MacAlgorithm::Hs256, "HS256"),
        (MacAlgorithm::Hs384, "HS384"),
        (MacAlgorithm::Hs512, "HS512"),
    ] {
        let mut settings = Settings::of(format!("{}/dir", server.base));
        settings.registration.binding = Some(binding("kid-1", algorithm));
        let acme = acme_of(settings, Arc::default());
        acme.open(grant(&host("a.example.com")), NewOrder::default())
            .await
            .unwrap();
        let (outer, account) = server.signed("/account").pop().unwrap();
        let (inner, bound) = opened(&account["externalAccountBinding"]);
        assert_eq!(
            inner,
            json!({ "alg": name, "kid": "kid-1", "url": format!("{}/account", server.base) })
        );
        assert_eq!(bound, outer["jwk"], "the key of the account itself");
    }
}

#[tokio::test]
async fn the_preferred_chain_is_taken_where_the_ca_has_it() {
    let mut environment = PLAIN.to_vec();
    environment.push(("PEBBLE_ALTERNATE_ROOTS", "2"));
    let pebble = Pebble::start(&environment);
    let tls = std::fs::read_to_string(pebble.roots()).unwrap();
    let mut roots = Vec::new();
    for number in 0..3 {
        let url = pebble.management(&format!("/roots/{number}"));
        let root = faythe_bed::http::get(&url, &tls)
            .await
            .unwrap()
            .success()
            .unwrap();
        roots.extend(x509::issuers(&root));
    }
    assert_eq!(roots.len(), 3);
    let top = async |preferred: Option<&str>| {
        let acme = acme_with(&pebble, &Arc::default(), |settings| {
            settings.preferred_chain = preferred.map(str::to_owned);
        });
        let story = issue(&acme, &host("a.example.com")).await.unwrap();
        x509::issuers(&story.chain).pop().unwrap()
    };
    assert_eq!(top(None).await, roots[0]);
    for root in &roots {
        assert_eq!(top(Some(root)).await, *root);
    }
    assert_eq!(top(Some("No such root")).await, roots[0]);
}

#[tokio::test]
async fn a_proxy_leads_to_the_ca() {
    let pebble = Pebble::start(&PLAIN);
    let proxy = Proxy::start().await;
    let through = |user: &str| {
        let url = proxy.url(user);
        acme_with(&pebble, &Arc::default(), |settings| {
            settings.proxy = Some(url.parse().unwrap());
        })
    };
    let host = host("a.example.com");
    issue(&through("user:secret"), &host).await.unwrap();
    let place = pebble.url().replace("https://", "").replace("/dir", "");
    assert!(
        proxy
            .asked()
            .iter()
            .all(|line| *line == format!("CONNECT {place} HTTP/1.1"))
    );

    let error = through("user:wrong")
        .open(grant(&host), NewOrder::default())
        .await
        .err()
        .unwrap();
    let chain: Vec<_> = std::iter::successors(Some(&error as &dyn Error), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    assert!(matches!(error, CaError::Unreachable { .. }), "{chain:?}");
    assert!(
        chain.join(": ").contains("proxy authorization required"),
        "{chain:?}"
    );
    assert!(!format!("{chain:?} {error:?}").contains("wrong"));
}

#[tokio::test]
async fn p17_the_ca_is_asked_no_faster_than_it_allows() {
    let server = Hostile::start().await;
    server.order(&json!({ "status": "ready", "authorizations": [], "finalize": "BASE/f" }).to_string());
    let mut settings = Settings::of(format!("{}/dir", server.base));
    // Two at once, then five a second.
    settings.budget.requests.new_order = Some(Limit::new(2, Duration::from_millis(400)));
    settings.budget.new_accounts = Some(Limit::new(1, Duration::from_secs(3 * 3600)));
    let store = Arc::new(Memory::default());
    let acme = acme_of(settings, Arc::clone(&store));
    let host = host("a.example.com");
    let begun = Instant::now();
    for opened in
        futures::future::join_all((0..5).map(|_| acme.open(grant(&host), NewOrder::default()))).await
    {
        opened.unwrap();
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(590),
        "{:?}",
        begun.elapsed()
    );

    // One account in three hours: the second one is not even asked for.
    let gone = json!({ "type": "urn:ietf:params:acme:error:accountDoesNotExist" }).to_string();
    server.on("/new", Reply::Whole(400, "", gone));
    let problem = refused(acme.open(grant(&host), NewOrder::default()).await);
    assert_eq!((problem.kind, problem.status), (ProblemKind::RateLimited, None));
    assert!(
        problem.retry_after > Some(Duration::from_secs(3600)),
        "{problem:?}"
    );
    assert_eq!(server.count("POST /account"), 1);
}

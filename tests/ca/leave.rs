//! What costs or changes something at the CA is sent only with leave, whatever it has waited for before (P38).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use faythe::ca::acme::{Acme, Settings};
use faythe::ca::{Ca, CaError, CaOrder, Leave, NewOrder, Revocation};
use faythe_core::Timestamp;
use faythe_core::budget::Limit;
use serde_json::json;

use crate::hostile::{Hostile, Reply};
use crate::issuance::{grant, host};
use crate::memory::Memory;

/// A CA where every order is made at once, and a store that has an account there.
async fn place() -> (Arc<Hostile>, Arc<Memory>) {
    let server = Arc::new(Hostile::start().await);
    server.order(&json!({ "status": "ready", "authorizations": [], "finalize": "BASE/f" }).to_string());
    let store = Arc::default();
    open(&acme(&server, &store, Arc::new(|| true))).await.unwrap();
    (server, store)
}

fn acme(server: &Hostile, store: &Arc<Memory>, leave: Leave) -> Acme {
    let mut settings = Settings::of(format!("{}/dir", server.base));
    settings.budget.requests.new_order = Some(Limit::new(2, Duration::from_millis(600)));
    Acme::new(
        settings,
        Arc::<Memory>::clone(store),
        Arc::new(Timestamp::now),
        leave,
    )
    .unwrap()
}

async fn open(acme: &Acme) -> Result<Box<dyn CaOrder>, CaError> {
    acme.open(grant(&host("a.example.com")), NewOrder::default())
        .await
}

fn assert_unsent<T>(outcome: Result<T, CaError>) {
    let error = outcome.err().expect("this was sent");
    assert!(matches!(error, CaError::NoLeave), "{error:?}");
}

#[tokio::test]
async fn p38_an_order_that_waits_for_its_turn_while_leadership_is_lost_is_not_made() {
    let (server, store) = place().await;
    let leads = Arc::new(AtomicBool::new(true));
    let ours = Arc::clone(&leads);
    let acme = acme(&server, &store, Arc::new(move || ours.load(Ordering::Acquire)));
    for _ in 0..2 {
        open(&acme).await.unwrap();
    }
    let made = server.count("POST /new");
    let (late, ()) = tokio::join!(open(&acme), async { leads.store(false, Ordering::Release) });
    assert_unsent(late);
    assert_eq!(server.count("POST /new"), made);
    leads.store(true, Ordering::Release);
    open(&acme).await.unwrap();
}

#[tokio::test]
async fn p38_leave_is_asked_after_the_nonce_has_come_and_with_each_try() {
    let (server, store) = place().await;
    let before = (server.count("HEAD /nonce"), server.count("POST /new"));
    let (theirs, nonces) = (Arc::clone(&server), before.0);
    let leave: Leave = Arc::new(move || theirs.count("HEAD /nonce") == nonces);
    assert_unsent(open(&acme(&server, &store, leave)).await);
    assert_eq!(
        (server.count("HEAD /nonce"), server.count("POST /new")),
        (before.0 + 1, before.1)
    );

    // A nonce that is refused is another time that passes.
    let stale = json!({ "type": "urn:ietf:params:acme:error:badNonce" });
    server.once("/new", Reply::Whole(400, "", stale.to_string()));
    let (theirs, orders) = (Arc::clone(&server), before.1);
    let leave: Leave = Arc::new(move || theirs.count("POST /new") == orders);
    assert_unsent(open(&acme(&server, &store, leave)).await);
    assert_eq!(server.count("POST /new"), before.1 + 1);
}

#[tokio::test]
async fn p38_leave_is_asked_once_more_when_there_is_a_connection() {
    let (server, store) = place().await;
    let made = server.count("POST /new");
    let asked = AtomicUsize::new(0);
    let leave: Leave = Arc::new(move || asked.fetch_add(1, Ordering::AcqRel) == 0);
    assert_unsent(open(&acme(&server, &store, leave)).await);
    assert_eq!(server.count("POST /new"), made);
}

#[tokio::test]
async fn p38_what_costs_or_changes_something_needs_leave_and_what_reads_needs_none() {
    let (server, store) = place().await;
    let directory = json!({
        "newNonce": format!("{}/nonce", server.base), "newAccount": format!("{}/account", server.base),
        "newOrder": format!("{}/new", server.base), "revokeCert": format!("{}/revoke", server.base),
    });
    server.on("/dir", Reply::Whole(200, "", directory.to_string()));
    let made = server.count("POST /new");
    let without = acme(&server, &store, Arc::new(|| false));
    without.probe().await.unwrap();
    without.issuer().await.unwrap();
    let mut order = without.resume(&format!("{}/order/1", server.base)).await.unwrap();
    order.refresh().await.unwrap();
    assert_unsent(order.finalize(b"csr").await);
    assert_unsent(open(&without).await);
    assert_unsent(without.revoke(b"certificate", Revocation::Superseded).await);
    let accounts = server.count("POST /account");
    assert_unsent(open(&acme(&server, &Arc::default(), Arc::new(|| false))).await);
    assert_eq!(server.count("POST /account"), accounts);
    assert_eq!(server.count("POST /new"), made);
    assert_eq!(server.count("POST /f") + server.count("POST /revoke"), 0);

    let authorization = json!({
        "identifier": { "type": "dns", "value": "a.example.com" }, "status": "pending", "challenges": [
            { "type": "dns-01", "url": format!("{}/challenge", server.base), "token": "token", "status": "pending" },
        ],
    });
    server.order(
        &json!({ "status": "pending", "authorizations": ["BASE/authz"], "finalize": "BASE/f" }).to_string(),
    );
    server.on("/authz", Reply::Whole(200, "", authorization.to_string()));
    let mut order = without.resume(&format!("{}/order/1", server.base)).await.unwrap();
    assert_unsent(order.answer().await);
    assert_eq!(server.count("POST /challenge"), 0);
}

//! Another key for an account, and another account, at a real Pebble; whatever moment a crash chooses.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use faythe::act::{Fault, Pause};
use faythe::ca::acme::{Acme, Settings};
use faythe::ca::{Ca, CaError, NewOrder};
use faythe::x509::{KeyType, csr, new_key};
use faythe_core::Timestamp;
use faythe_core::order::OrderStatus;
use faythe_core::problem::Exchange;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use crate::issuance::{PLAIN, acme, acme_with, grant, host, issue};
use crate::memory::Memory;
use crate::pebble::Pebble;

#[tokio::test]
async fn an_account_is_shown_and_none_is_made_for_that() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    assert_eq!(acme(&pebble, &store).account().await.unwrap(), None);
    assert!(store.account.lock().unwrap().is_none());
    issue(&acme(&pebble, &store), &host("a.example.com"))
        .await
        .unwrap();
    let shown = acme(&pebble, &store).account().await.unwrap().unwrap();
    assert_eq!(Some(&shown.url), store.url().as_ref());
    assert_eq!(
        (shown.key.as_str(), shown.status.as_str()),
        ("ecdsa-p256", "valid")
    );
    assert_eq!(shown.contact, ["mailto:admin@example.com"]);
}

#[tokio::test]
async fn p16_a_key_is_changed_and_the_account_stays() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    // Somebody runs all the while.
    let running = acme(&pebble, &store);
    issue(&running, &host("a.example.com")).await.unwrap();
    let (url, key) = (store.url().unwrap(), store.key());
    for kind in [KeyType::EcdsaP384, KeyType::Rsa2048, KeyType::EcdsaP256] {
        let command = acme_with(&pebble, &store, |settings| settings.registration.key_type = kind);
        assert_eq!(command.roll_over().await.unwrap(), url);
        assert_eq!(command.account().await.unwrap().unwrap().key, kind.to_string());
        assert_eq!(
            acme(&pebble, &store).account().await.unwrap().unwrap().key,
            kind.to_string()
        );
        issue(&running, &host("b.example.com")).await.unwrap();
    }
    assert_ne!(store.key(), key);
    assert_eq!(store.url(), Some(url));
}

#[tokio::test]
async fn p16_an_order_under_way_outlives_a_change_of_the_key() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let running = acme(&pebble, &store);
    let name = host("a.example.com");
    let mut order = running.open(grant(&name), NewOrder::default()).await.unwrap();
    order.answer().await.unwrap();
    while order.view().status == OrderStatus::Pending {
        order.refresh().await.unwrap();
    }
    acme(&pebble, &store).roll_over().await.unwrap();
    // The old key is refused, and that is no failure of the order, which is taken up with the new one.
    let key = new_key(KeyType::default()).unwrap();
    let csr = csr(&name, &key).unwrap();
    let refused = order.finalize(&csr).await.unwrap_err();
    let Fault { pause, .. } = Fault::ca(&refused, Exchange::Order);
    let hold = None;
    assert_eq!(pause, Pause::Rest { wait: None, hold }, "{refused:?}");
    let mut order = running.resume(order.url()).await.unwrap();
    order.finalize(&csr).await.unwrap();
}

#[tokio::test]
async fn p16_a_change_that_is_cut_short_is_brought_to_its_end() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    issue(&acme(&pebble, &store), &host("a.example.com"))
        .await
        .unwrap();
    let url = store.url().unwrap();
    // Before the CA hears of the new key, and after; each time somebody else goes on.
    for writes in [0, 1] {
        let key = store.key();
        *store.writes_left.lock().unwrap() = Some(writes);
        let cut = acme(&pebble, &store).roll_over().await;
        assert!(matches!(cut, Err(CaError::Account(_))), "{cut:?}");
        assert_eq!(store.key(), key);
        *store.writes_left.lock().unwrap() = None;
        issue(&acme(&pebble, &store), &host("b.example.com"))
            .await
            .unwrap();
        assert_eq!(
            (store.key() == key, store.url()),
            (writes == 0, Some(url.clone()))
        );
    }
    // A next key that the CA has never heard of is of no harm, and used for the next change.
    let before = store.account.lock().unwrap().clone().unwrap();
    let next = Some(acme_key(&pebble).await);
    store
        .account
        .lock()
        .unwrap()
        .as_mut()
        .unwrap()
        .next
        .clone_from(&next);
    issue(&acme(&pebble, &store), &host("c.example.com"))
        .await
        .unwrap();
    assert_eq!(store.key(), Some(before.key));
    acme(&pebble, &store).roll_over().await.unwrap();
    assert_eq!((store.key(), store.url()), (next, Some(url)));
}

/// A good key that no account has.
async fn acme_key(pebble: &Pebble) -> faythe::sealed::Sealed {
    let other = Arc::new(Memory::default());
    *other.rival.lock().unwrap() = None;
    let mut elsewhere = Pebble::start(&PLAIN);
    acme(&elsewhere, &other)
        .open(grant(&host("a.example.com")), NewOrder::default())
        .await
        .unwrap();
    elsewhere.stop();
    assert_ne!(pebble.url(), elsewhere.url());
    other.key().unwrap()
}

#[tokio::test]
async fn another_account_takes_the_place_of_the_first() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let running = acme(&pebble, &store);
    let old = running
        .open(grant(&host("a.example.com")), NewOrder::default())
        .await
        .unwrap();
    let (url, key) = (store.url().unwrap(), store.key());
    let fresh = acme(&pebble, &store).move_to_new_account().await.unwrap();
    assert_ne!(fresh, url);
    assert_ne!(store.key(), key);
    assert_eq!(store.url(), Some(fresh.clone()));
    // An order of the old account is none of the new one's.
    let restarted = acme(&pebble, &store);
    assert!(restarted.resume(old.url()).await.is_err());
    issue(&restarted, &host("a.example.com")).await.unwrap();

    // Cut short after the CA has made the account: that one is taken, and no third one made.
    *store.writes_left.lock().unwrap() = Some(1);
    assert!(acme(&pebble, &store).move_to_new_account().await.is_err());
    *store.writes_left.lock().unwrap() = None;
    issue(&acme(&pebble, &store), &host("b.example.com"))
        .await
        .unwrap();
    let third = store.url().unwrap();
    assert_ne!(third, fresh);
    assert_eq!(acme(&pebble, &store).account().await.unwrap().unwrap().url, third);
}

#[tokio::test]
async fn p16_whoever_runs_moves_to_the_other_account_though_the_ca_takes_the_old_one() {
    let pebble = Pebble::start(&PLAIN);
    let store = Arc::new(Memory::default());
    let mut settings = Settings::of(pebble.url());
    settings.roots = Some(pebble.roots());
    let later = Arc::new(AtomicI64::new(0));
    let passed = Arc::clone(&later);
    let clock = move || {
        ahead(
            Timestamp::now(),
            SignedDuration::from_secs(passed.load(Ordering::Relaxed)),
        )
    };
    let held = Arc::clone(&store) as Arc<_>;
    let running = Acme::new(settings, held, Arc::new(clock), Arc::new(|| true)).unwrap();
    issue(&running, &host("a.example.com")).await.unwrap();

    let fresh = acme(&pebble, &store).move_to_new_account().await.unwrap();
    later.store(60, Ordering::Relaxed);
    // By CAA records it is judged as that account, and its orders are that one's.
    assert_eq!(running.issuer().await.unwrap().account, Some(fresh));
    let order = running.open(grant(&host("b.example.com")), NewOrder::default());
    let order = order.await.unwrap();
    acme(&pebble, &store).resume(order.url()).await.unwrap();
}

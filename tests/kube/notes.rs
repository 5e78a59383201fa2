//! Notes of orders, and the account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use faythe::sealed::Sealed;
use faythe::store::secrets::Secrets;
use faythe::store::{Saved, SavedAccount, Slot, Store, StoreError};
use faythe_core::name::Hostname;
use faythe_core::order::{ChallengeValue, Note};
use faythe_core::schedule::Failures;
use faythe_core::zone::{Rule, Zone, Zones};
use http::{Method, Request};
use jiff::SignedDuration;
use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use serde_json::json;
use tower::BoxError;

use crate::place::{HOSTLABEL, Place};

const DIRECTORY: &str = "https://ca.example/dir";

fn saved(host: &str, key: &str) -> Saved {
    let host: Hostname = host.parse().unwrap();
    let note = Note {
        host: host.clone(),
        order_url: "https://ca.example/order/1".into(),
        directory: None,
        values: vec![ChallengeValue {
            record: host.challenge_record(),
            value: "v".into(),
        }],
        route: None,
        replaces: None,
        created: "2026-11-24T10:00:00Z".parse().unwrap(),
        expires: None,
    };
    Saved {
        host,
        order: Some((note, Sealed::from(key.to_owned()))),
        failures: None,
        given_up: None,
        setup: Some(7),
    }
}

fn zones() -> Zones {
    Zones::new(vec![Zone {
        apex: "example.com".parse().unwrap(),
        wildcards: false,
        rule: Rule::flat("primary", &[]),
        challenges: None,
    }])
}

fn failed(saved: &Saved) -> Saved {
    let failures = Failures {
        count: 1,
        last: "2026-11-24T11:00:00Z".parse().unwrap(),
        clock_ahead: SignedDuration::ZERO,
        code: "dns".into(),
        text: "no TXT".into(),
        not_before: None,
        parked: false,
        refused_by: Vec::new(),
    };
    Saved {
        order: None,
        failures: Some(failures),
        ..saved.clone()
    }
}

#[track_caller]
fn assert_conflict(result: Result<(), StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict { .. })), "{result:?}");
}

#[tokio::test]
async fn s13_a_note_outlives_the_process() {
    let place = Place::new("note").await;
    let first = saved("*.example.com", "PEM");
    let store = place.store();
    assert_eq!(store.notes().await.unwrap(), []);
    store.save(&first).await.unwrap();

    let store = place.store();
    assert_eq!(store.notes().await.unwrap(), std::slice::from_ref(&first));
    let second = failed(&first);
    store.save(&second).await.unwrap();
    let secret = &place.secrets().list(&ListParams::default()).await.unwrap().items[0];
    assert!(!secret.metadata.labels.as_ref().unwrap().contains_key(HOSTLABEL));
    assert!(
        !secret.data.as_ref().unwrap().contains_key("key"),
        "the key goes with the order"
    );

    let store = place.store();
    assert_eq!(store.notes().await.unwrap(), [second]);
    store.forget(&first.host).await.unwrap();
    store.forget(&first.host).await.unwrap();
    assert_eq!(place.store().notes().await.unwrap(), []);
    let writes = place.writes(3).await;
    let verbs: Vec<_> = writes.iter().map(|write| write.verb.as_str()).collect();
    assert_eq!(verbs, ["create", "update", "delete"]);
}

#[tokio::test]
async fn two_instances_exclude_each_other() {
    let place = Place::new("two").await;
    let (one, other) = (place.store(), place.store());
    let (ours, theirs) = (saved("a.example.com", "ours"), saved("a.example.com", "theirs"));
    one.save(&ours).await.unwrap();
    assert_conflict(other.save(&theirs).await);
    other.forget(&theirs.host).await.unwrap();
    assert_eq!(other.notes().await.unwrap(), std::slice::from_ref(&ours));

    // Whoever has read a note may go on with it, and the other then finds out.
    other.save(&failed(&ours)).await.unwrap();
    assert_conflict(one.save(&ours).await);
    assert_conflict(one.forget(&ours.host).await);
    assert_eq!(place.store().notes().await.unwrap(), [failed(&ours)]);
}

#[tokio::test]
async fn p38_a_mark_that_somebody_puts_on_a_note_keeps_no_order_from_its_end() {
    let place = Place::new("marked").await;
    let (first, store) = (saved("a.example.com", "PEM"), place.store());
    let mark = async |mark: &str| {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { "backup/seen": mark } } }));
        for secret in place.secrets().list(&ListParams::default()).await.unwrap() {
            let name = secret.metadata.name.unwrap();
            place
                .secrets()
                .patch(&name, &PatchParams::default(), &patch)
                .await
                .unwrap();
        }
    };
    // Written here, and read here.
    store.save(&first).await.unwrap();
    mark("one").await;
    store.save(&failed(&first)).await.unwrap();
    mark("two").await;
    let another = place.store();
    another.notes().await.unwrap();
    mark("three").await;
    another.save(&first).await.unwrap();
    mark("four").await;
    another.forget(&first.host).await.unwrap();
    assert_eq!(place.store().notes().await.unwrap(), []);
}

#[tokio::test]
async fn p38_a_note_that_another_has_changed_is_a_stray_until_it_is_read_anew() {
    let place = Place::new("changed").await;
    let (ours, store, other) = (saved("a.example.com", "PEM"), place.store(), place.store());
    store.save(&ours).await.unwrap();
    other.notes().await.unwrap();
    other.save(&failed(&ours)).await.unwrap();
    assert!(
        store.strays(&zones()).await.unwrap().is_empty(),
        "it is not known yet"
    );
    assert_conflict(store.forget(&ours.host).await);
    assert_eq!(store.strays(&zones()).await.unwrap().len(), 1);
    assert_eq!(store.notes().await.unwrap(), [failed(&ours)]);
    assert!(store.strays(&zones()).await.unwrap().is_empty());
    store.forget(&ours.host).await.unwrap();
    assert_eq!(place.store().notes().await.unwrap(), []);
}

#[tokio::test]
async fn a_write_without_an_answer_is_known_again() {
    let place = Place::new("lost").await;
    let (client, lose) = lossy(place.client.clone());
    let store = Secrets::new(&client, place.layout());
    let unclear = async |saved: &Saved| {
        lose.store(true, Ordering::Relaxed);
        let error = store.save(saved).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    };
    let first = saved("a.example.com", "PEM");

    // The same again after a creation, and then after a change.
    unclear(&first).await;
    store.save(&first).await.unwrap();
    unclear(&failed(&first)).await;
    store.save(&failed(&first)).await.unwrap();
    // Something else, after a change and after a creation.
    unclear(&first).await;
    store.save(&failed(&first)).await.unwrap();
    store.forget(&first.host).await.unwrap();
    unclear(&first).await;
    store.save(&failed(&first)).await.unwrap();
    assert_eq!(place.store().notes().await.unwrap(), [failed(&first)]);

    // A removal.
    unclear(&first).await;
    store.forget(&first.host).await.unwrap();
    assert_eq!(place.store().notes().await.unwrap(), []);
    store.save(&first).await.unwrap();
    lose.store(true, Ordering::Relaxed);
    assert!(store.forget(&first.host).await.is_err());
    store.forget(&first.host).await.unwrap();
}

#[tokio::test]
async fn an_unreadable_note_concerns_itself_alone() {
    let place = Place::new("unreadable").await;
    let good = saved("a.example.com", "PEM");
    place.store().save(&good).await.unwrap();
    let mut bad = place
        .secrets()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    for (name, note) in [("garbage", "{"), ("later", r#"{"version":2}"#)] {
        bad.metadata.name = Some(name.to_owned());
        bad.metadata.resource_version = None;
        bad.metadata.uid = None;
        bad.string_data = Some([("note".to_owned(), note.to_owned())].into());
        place
            .secrets()
            .create(&PostParams::default(), &bad)
            .await
            .unwrap();
    }
    assert_eq!(place.store().notes().await.unwrap(), [good]);
}

#[tokio::test]
async fn a_note_of_a_later_version_is_not_overwritten() {
    let place = Place::new("later").await;
    let store = place.store();
    let good = saved("a.example.com", "PEM");
    store.save(&good).await.unwrap();
    let mut later = place
        .secrets()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0);
    later.string_data = Some([("note".to_owned(), json!({"version": 2}).to_string())].into());
    let name = later.metadata.name.clone().unwrap();
    place
        .secrets()
        .replace(&name, &PostParams::default(), &later)
        .await
        .unwrap();
    let fresh = place.store();
    for store in [&store, &fresh] {
        let error = store.save(&good).await.unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }
    // Nor is anything ordered that could not be noted.
    let third = place.store();
    third.notes().await.unwrap();
    for store in [&fresh, &third] {
        let error = store.slot(&good.host).await.unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }
    place
        .secrets()
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(fresh.slot(&good.host).await.unwrap(), Slot::Vacant);
    fresh.save(&good).await.unwrap();
}

#[tokio::test]
async fn the_account_is_saved_once_and_its_key_stays() {
    let place = Place::new("account").await;
    let store = place.store();
    assert_eq!(store.account(DIRECTORY).await.unwrap(), None);
    let fresh = SavedAccount {
        directory: DIRECTORY.into(),
        key: Sealed::new(vec![1, 2, 255]),
        url: None,
        next: None,
    };
    store.save_account(&fresh).await.unwrap();
    store.save_account(&fresh).await.unwrap();
    let complete = SavedAccount {
        url: Some("https://ca.example/acct/1".into()),
        ..fresh.clone()
    };
    store.save_account(&complete).await.unwrap();
    store.save_account(&complete).await.unwrap();
    store.save_account(&fresh).await.unwrap();
    assert_eq!(
        place.store().account(DIRECTORY).await.unwrap(),
        Some(complete.clone())
    );
    place.writes(2).await;

    let other = SavedAccount {
        key: Sealed::new(vec![3]),
        ..fresh.clone()
    };
    assert_conflict(place.store().save_account(&other).await);
    // Another key only in place of the one that is known.
    assert_conflict(place.store().replace_account(&fresh, &other).await);
    let prepared = SavedAccount {
        next: Some(Sealed::new(vec![3])),
        ..complete.clone()
    };
    let changed = SavedAccount {
        next: None,
        key: Sealed::new(vec![3]),
        ..complete.clone()
    };
    for (before, after) in [(&complete, &prepared), (&prepared, &changed)] {
        store.replace_account(before, after).await.unwrap();
        // An answer may be lost, and so it is asked for twice.
        store.replace_account(before, after).await.unwrap();
        let read = place.store().account(DIRECTORY).await.unwrap();
        assert_eq!(read.as_ref(), Some(after));
    }
    assert_eq!(
        place.store().account("https://other.example/dir").await.unwrap(),
        None
    );
    assert_eq!(place.store().notes().await.unwrap(), [], "an account is no note");
}

/// A client that loses the answer of the next write once it is told to; the write itself arrives.
fn lossy(client: Client) -> (Client, Arc<AtomicBool>) {
    let lose = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&lose);
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        let lost = request.method() != Method::GET && lose.swap(false, Ordering::Relaxed);
        async move {
            let answer = client.send(request).await?;
            if lost {
                Err(BoxError::from("the answer is lost"))
            } else {
                Ok(answer)
            }
        }
    });
    (Client::new(service, "default"), switch)
}

#[tokio::test]
async fn p38_a_note_that_another_left_meanwhile_is_found_and_no_other() {
    let place = Place::new("stray").await;
    let unreadable = json!({
        "metadata": { "name": "faythe-note-unreadable", "labels": { "faythe/kind": "note" } },
        "stringData": { "note": "?" },
    });
    let unreadable = serde_json::from_value(unreadable).unwrap();
    place
        .secrets()
        .create(&PostParams::default(), &unreadable)
        .await
        .unwrap();
    let (read, ours, late) = (
        saved("a.example.com", "k"),
        saved("b.example.com", "k"),
        saved("c.example.com", "k"),
    );
    place.store().save(&read).await.unwrap();

    let store = place.store();
    store.notes().await.unwrap();
    store.save(&ours).await.unwrap();
    assert!(store.strays(&zones()).await.unwrap().is_empty());
    // The same host may be left one again.
    store.forget(&read.host).await.unwrap();
    for saved in [&read, &late, &saved("a.other.test", "PEM")] {
        place.store().save(saved).await.unwrap();
    }
    // Who serves other zones takes care of its own.
    assert_eq!(store.strays(&zones()).await.unwrap().len(), 2);
    store.notes().await.unwrap();
    assert!(store.strays(&zones()).await.unwrap().is_empty());
}

//! The ledger of what a CA has counted, and what CAs have said about renewals.

use faythe::store::{Store, StoreError};
use faythe_core::ari::Window;
use faythe_core::budget::{Entry, Kind, Record, SavedHold};
use faythe_core::problem::Scope;
use faythe_core::schedule::ahead;
use faythe_core::world::SavedWindow;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, PostParams};

use crate::place::Place;

const DIRECTORY: &str = "https://ca.example/dir";

fn record(buckets: u64) -> Record {
    let at: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
    let entry = |key| Entry {
        limit: Kind::CertificatesPerSet,
        key,
        full_at: ahead(at, SignedDuration::from_secs(3_600)),
    };
    Record {
        at,
        orders_full_at: ahead(at, SignedDuration::from_secs(90)),
        ahead: 4,
        entries: (0..buckets).map(entry).collect(),
        counted: true,
        holds: Vec::new(),
        clock_ahead: SignedDuration::from_secs(-90),
    }
}

#[tokio::test]
async fn p17_what_is_saved_is_read_by_the_next_process() {
    let place = Place::new("ledger").await;
    let mut store = place.store();
    assert_eq!(store.ledger(DIRECTORY).await.unwrap(), None);
    // More than one Secret can hold, then less again, and more than one again after a restart.
    for (buckets, restarted) in [(3, false), (60_001, false), (0, false), (60_002, true)] {
        if restarted {
            store = place.store();
            store.ledger(DIRECTORY).await.unwrap();
        }
        let saved = record(buckets);
        store.save_ledger(DIRECTORY, &saved).await.unwrap();
        let read = place.store().ledger(DIRECTORY).await.unwrap().unwrap();
        assert_eq!(
            (read.at, read.orders_full_at, read.ahead, read.clock_ahead),
            (saved.at, saved.orders_full_at, 4, saved.clock_ahead)
        );
        assert_eq!(read.entries.len(), saved.entries.len());
    }
    assert_eq!(
        place.store().ledger("https://other.example/dir").await.unwrap(),
        None
    );
}

#[tokio::test]
async fn p17_what_the_ca_has_told_us_to_leave_alone_is_read_by_the_next_process() {
    let place = Place::new("ledger").await;
    let store = place.store();
    let hold = |scope| SavedHold {
        scope,
        until: "2026-11-24T13:00:00.5Z".parse().unwrap(),
        code: "rateLimited".to_owned(),
        text: "the CA says rateLimited (HTTP 429): too many \"new\" orders".to_owned(),
    };
    // The fullest that there can be, and each kind in one where nothing is counted.
    let below = |i: usize| Scope::Below(format!("shop{i}.example.com").parse().unwrap());
    let mut many: Vec<_> = (0..SavedHold::MOST).map(|i| hold(below(i))).collect();
    many.iter_mut()
        .for_each(|hold| hold.text = "\"".repeat(SavedHold::LONGEST));
    let each = [Scope::Account, Scope::Orders, below(0)].map(hold).to_vec();
    for (buckets, counted, holds) in [(60_000, true, many), (0, false, each)] {
        let saved = Record {
            counted,
            holds,
            ..record(buckets)
        };
        store.save_ledger(DIRECTORY, &saved).await.unwrap();
        let read = place.store().ledger(DIRECTORY).await.unwrap().unwrap();
        assert_eq!((read.counted, read.holds), (saved.counted, saved.holds));
    }
}

#[tokio::test]
async fn p17_a_ledger_that_claims_countless_secrets_is_read_all_the_same() {
    let place = Place::new("ledger").await;
    place.store().save_ledger(DIRECTORY, &record(3)).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(place.admin.clone(), &place.namespace);
    let [mut secret] = <[_; 1]>::try_from(secrets.list(&ListParams::default()).await.unwrap().items).unwrap();
    let head = secret.data.as_mut().unwrap().get_mut("head").unwrap();
    let text = String::from_utf8(head.0.clone()).unwrap();
    head.0 = text
        .replace(r#""secrets":1,"#, r#""secrets":1000000000000,"#)
        .into_bytes();
    let name = secret.metadata.name.clone().unwrap();
    secrets
        .replace(&name, &PostParams::default(), &secret)
        .await
        .unwrap();
    let read = place.store().ledger(DIRECTORY).await.unwrap().unwrap();
    assert_eq!(read.entries.len(), 3);
    place.writes(1).await;
    // And one to know that all is written down.
    assert_eq!(place.requests("get", "secrets").len(), 100 + 1);
}

#[tokio::test]
async fn p38_of_two_instances_one_notices_the_other() {
    let place = Place::new("ledger").await;
    let (first, second) = (place.store(), place.store());
    first.save_ledger(DIRECTORY, &record(1)).await.unwrap();
    let refused = second.save_ledger(DIRECTORY, &record(2)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    second.ledger(DIRECTORY).await.unwrap();
    second.save_ledger(DIRECTORY, &record(2)).await.unwrap();
    let refused = first.save_ledger(DIRECTORY, &record(3)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}

#[tokio::test]
async fn p38_what_another_instance_left_beyond_the_first_secret_is_written_over() {
    let place = Place::new("ledger").await;
    let (first, second) = (place.store(), place.store());
    first.save_ledger(DIRECTORY, &record(60_001)).await.unwrap();
    // It writes both, and then the first alone, so that nobody reads the further one.
    second.ledger(DIRECTORY).await.unwrap();
    for buckets in [60_002, 1] {
        second.save_ledger(DIRECTORY, &record(buckets)).await.unwrap();
    }
    first.ledger(DIRECTORY).await.unwrap();
    let refused = first.save_ledger(DIRECTORY, &record(60_003)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    first.ledger(DIRECTORY).await.unwrap();
    first.save_ledger(DIRECTORY, &record(60_003)).await.unwrap();
    let read = second.ledger(DIRECTORY).await.unwrap().unwrap();
    assert_eq!(read.entries.len(), 60_003);
}

fn windows(count: u64) -> Vec<SavedWindow> {
    let at: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
    let later = ahead(at, SignedDuration::from_secs(60));
    let window = |of| SavedWindow {
        of,
        window: Window::new(at, later).unwrap(),
        moved: of % 3 == 0,
        next: later,
    };
    (0..count).map(window).collect()
}

#[tokio::test]
async fn p21_windows_are_read_by_the_next_process_and_another_instance_is_noticed() {
    let place = Place::new("windows").await;
    let mut store = place.store();
    assert_eq!(store.windows().await.unwrap(), []);
    // More than one Secret can hold, then less again, and more than one again after a restart.
    for (count, restarted) in [(100_000, false), (3, false), (50_000, true)] {
        if restarted {
            store = place.store();
            store.windows().await.unwrap();
        }
        let saved = windows(count);
        store.save_windows(&saved).await.unwrap();
        assert!(place.store().windows().await.unwrap() == saved);
    }
    let second = place.store();
    let refused = second.save_windows(&windows(1)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    second.windows().await.unwrap();
    second.save_windows(&windows(1)).await.unwrap();
}

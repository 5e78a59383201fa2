//! Events on Ingresses.

use faythe::report::events::Events;
use faythe_bed::kube::Kube;
use faythe_bed::kube::objects::apply_ingress;
use faythe_core::verdict::{Announcement, Severity};
use faythe_core::want::Asker;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};

use crate::place::Place;

async fn asker(place: &Place) -> Asker {
    let ingress = apply_ingress(&place.admin, &place.namespace, "web", &["a.example.com"])
        .await
        .unwrap();
    Asker {
        namespace: place.namespace.as_str().into(),
        name: "web".into(),
        uid: ingress.metadata.uid.unwrap().into(),
    }
}

async fn publish(
    events: &Events,
    asker: &Asker,
    severity: Severity,
    reason: &'static str,
    text: &str,
    key: &str,
) {
    let now = "2026-11-24T10:00:00Z".parse().unwrap();
    let announcement = announcement(severity, reason, text, key);
    events.publish(asker, &announcement, now).await.unwrap();
}

fn announcement(severity: Severity, reason: &'static str, text: &str, key: &str) -> Announcement {
    Announcement {
        severity,
        reason,
        text: text.to_owned(),
        key: key.to_owned(),
    }
}

#[tokio::test]
async fn an_event_said_twice_stands_once() {
    let place = Place::new("events").await;
    let asker = asker(&place).await;
    publish(
        &Events::new(place.client.clone()),
        &asker,
        Severity::Normal,
        "Issued",
        "stored",
        "1",
    )
    .await;
    // The same from another process, and something else.
    let events = Events::new(place.client.clone());
    publish(&events, &asker, Severity::Normal, "Issued", "stored", "1").await;
    publish(
        &events,
        &asker,
        Severity::Warning,
        "Refused",
        &"x".repeat(5000),
        "2",
    )
    .await;
    place.writes(2).await;

    let api: Api<Event> = Api::namespaced(place.admin.clone(), &place.namespace);
    let mut all = api.list(&ListParams::default()).await.unwrap().items;
    all.sort_by(|a, b| a.reason.cmp(&b.reason));
    let [issued, refused] = all.as_slice() else {
        panic!("{all:#?}")
    };
    assert_eq!(issued.type_.as_deref(), Some("Normal"));
    assert_eq!(issued.message.as_deref(), Some("stored"));
    assert_eq!(issued.involved_object.uid.as_deref(), Some(&*asker.uid));
    assert_eq!(refused.type_.as_deref(), Some("Warning"));

    // As people see it.
    let described = place
        .kube
        .kubectl(&["describe", "ingress", "web", "-n", &place.namespace], "")
        .await
        .unwrap();
    assert!(
        described.contains("faythe") && described.contains("stored"),
        "{described}"
    );
}

#[tokio::test]
async fn where_events_are_forbidden_one_try_is_made_every_ten_minutes() {
    let place = Place::bare(Kube::shared().await.unwrap(), "no-events").await;
    let asker = asker(&place).await;
    let events = Events::new(place.client.clone());
    for key in ["1", "2", "3"] {
        publish(&events, &asker, Severity::Normal, "Issued", "stored", key).await;
    }
    let announcement = announcement(Severity::Normal, "Issued", "stored", "4");
    for later in [
        "2026-11-24T10:09:59Z",
        "2026-11-24T10:10:00Z",
        "2026-11-24T10:10:01Z",
    ] {
        let published = events.publish(&asker, &announcement, later.parse().unwrap());
        published.await.unwrap();
    }
    place.writes(0).await;
    assert_eq!(place.requests("create", "events").len(), 2);
}

#[tokio::test]
async fn an_event_that_fails_says_on_what() {
    let place = Place::new("event-fails").await;
    let asker = Asker {
        namespace: "no-such-namespace".into(),
        name: "web".into(),
        uid: "u".into(),
    };
    let now = "2026-11-24T10:00:00Z".parse().unwrap();
    let result = Events::new(place.client.clone())
        .publish(&asker, &announcement(Severity::Normal, "Issued", "m", "1"), now)
        .await;
    let text = result.unwrap_err().to_string();
    assert!(
        text.contains("no-such-namespace/web") && text.contains("not found"),
        "{text}"
    );
}

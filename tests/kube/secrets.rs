//! Certificates as Secrets.

use std::time::Duration;

use faythe::sealed::Sealed;
use faythe::store::{Slot, Stamp, Store, StoreError};
use faythe_bed::kube::Kube;
use faythe_bed::until;
use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::place::{HOSTLABEL, Place};

/// The directory of the CA.
const CA: &str = "https://ca.test/directory";

/// A certificate with its key, both PEM.
fn certificate(host: &str) -> (String, Sealed) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem().into())
}

fn now() -> Timestamp {
    "2026-11-24T10:00:00Z".parse().unwrap()
}

fn stamp() -> Stamp<'static> {
    Stamp {
        at: now(),
        by: CA,
        early: 2,
        profile: Some("tlsserver"),
    }
}

async fn create(place: &Place, secret: Value) -> Secret {
    place
        .secrets()
        .create(&PostParams::default(), &serde_json::from_value(secret).unwrap())
        .await
        .unwrap()
}

fn data(secret: &Secret, entry: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(entry)?.0.clone();
    Some(String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn s12_a_certificate_is_created_in_one_write() {
    let place = Place::new("s12").await;
    let store = place.store();
    let host: Hostname = "*.example.com".parse().unwrap();
    let (chain, key) = certificate("*.example.com");
    assert_eq!(store.slot(&host).await.unwrap(), Slot::Vacant);
    let held = store
        .keep(&host, &Slot::Vacant, &chain, &key, stamp())
        .await
        .unwrap();

    let secret = place.secrets().get("wild--card.example.com").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert_eq!(
        secret.metadata.labels.clone().unwrap()[HOSTLABEL],
        "wild--card.example.com"
    );
    let annotations = secret.metadata.annotations.clone().unwrap();
    assert_eq!(annotations["faythe/host"], "*.example.com");
    assert_eq!(annotations["faythe/issued-at"], "2026-11-24T10:00:00Z");
    assert_eq!(annotations["faythe/early-renewals"], "2");
    assert_eq!(annotations["faythe/profile"], "tlsserver");
    assert_eq!(data(&secret, "cert"), Some(chain));
    assert_eq!(data(&secret, "key").unwrap().as_bytes(), key.open());
    let managers = secret.metadata.managed_fields.unwrap();
    assert_eq!(managers[0].manager.as_deref(), Some("faythe"));

    assert_eq!((held.issued_at, held.early()), (Some(now()), 2));
    assert_eq!(held.profile(), Some("tlsserver"));
    assert!(held.content.as_ref().unwrap().covers(&host));
    assert_eq!(store.slot(&host).await.unwrap(), Slot::Ours(held));
    assert_eq!(place.writes(1).await[0].verb, "create");
}

#[tokio::test]
async fn s12_what_others_wrote_on_the_secret_stays() {
    let place = Place::new("beside").await;
    let store = place.store();
    let host: Hostname = "a.example.com".parse().unwrap();
    // As another tool may have left it: its own type, and the old certificate.
    let theirs = json!({
        "metadata": {
            "name": "a.example.com",
            "labels": {HOSTLABEL: "a.example.com", "theirs": "label"},
            "annotations": {"theirs": "annotation"},
        },
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": "old", "tls.key": "old", "cert": "garbage", "key": "garbage"},
    });
    create(&place, theirs).await;

    for round in 1..=2 {
        let slot = store.slot(&host).await.unwrap();
        assert!(matches!(slot, Slot::Ours(_)), "{slot:?}");
        let (chain, key) = certificate("a.example.com");
        let held = store.keep(&host, &slot, &chain, &key, stamp()).await.unwrap();
        assert!(held.content.is_ok(), "{held:?}");

        let secret = place.secrets().get("a.example.com").await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(secret.metadata.labels.clone().unwrap()["theirs"], "label");
        assert_eq!(
            secret.metadata.annotations.clone().unwrap()["theirs"],
            "annotation"
        );
        assert_eq!(
            secret.metadata.annotations.clone().unwrap()["faythe/host"],
            "a.example.com"
        );
        assert_eq!(data(&secret, "tls.crt").as_deref(), Some("old"));
        assert_eq!(data(&secret, "cert"), Some(chain));
        assert_eq!(data(&secret, "key").unwrap().as_bytes(), key.open());
        assert_eq!(place.writes(round).await[round - 1].verb, "patch");
    }
}

#[tokio::test]
async fn s05_a_secret_without_the_label_is_never_touched() {
    let place = Place::new("foreign").await;
    let before = create(
        &place,
        json!({"metadata": {"name": "a.example.com"}, "stringData": {"cert": "x"}}),
    )
    .await;
    let host: Hostname = "a.example.com".parse().unwrap();
    let slot = place.store().slot(&host).await.unwrap();
    let Slot::Foreign(why) = &slot else {
        panic!("{slot:?}")
    };
    assert!(
        why.contains(&format!("{}/a.example.com", place.namespace)) && why.contains(HOSTLABEL),
        "{why}"
    );

    let (chain, key) = certificate("a.example.com");
    for slot in [slot, Slot::Vacant] {
        let error = place
            .store()
            .keep(&host, &slot, &chain, &key, stamp())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }
    assert_eq!(place.secrets().get("a.example.com").await.unwrap(), before);
}

#[tokio::test]
async fn a_secret_labelled_for_another_host_is_never_touched() {
    let place = Place::new("other-host").await;
    let labels = json!({HOSTLABEL: "b.example.com"});
    create(
        &place,
        json!({"metadata": {"name": "a.example.com", "labels": labels}}),
    )
    .await;
    let slot = place
        .store()
        .slot(&"a.example.com".parse().unwrap())
        .await
        .unwrap();
    let Slot::Foreign(why) = &slot else {
        panic!("{slot:?}")
    };
    assert!(why.contains("b.example.com"), "{why}");
}

#[tokio::test]
async fn what_has_changed_since_it_was_seen_is_a_conflict() {
    let place = Place::new("conflict").await;
    let store = place.store();
    let host: Hostname = "a.example.com".parse().unwrap();
    let (chain, key) = certificate("a.example.com");
    let conflict = async |slot: &Slot| {
        let error = store.keep(&host, slot, &chain, &key, stamp()).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    };
    store
        .keep(&host, &Slot::Vacant, &chain, &key, stamp())
        .await
        .unwrap();
    conflict(&Slot::Vacant).await;

    let seen = store.slot(&host).await.unwrap();
    let label = json!({"metadata": {"labels": {"theirs": "label"}}});
    place
        .secrets()
        .patch("a.example.com", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    conflict(&seen).await;

    // Facts of another Secret that claims the host, as a watch may show it.
    let Slot::Ours(mut held) = store.slot(&host).await.unwrap() else {
        panic!("it is ours")
    };
    held.secret = "another".into();
    conflict(&Slot::Ours(held)).await;
}

#[tokio::test]
async fn what_has_been_deleted_since_it_was_seen_is_made_anew() {
    let place = Place::new("deleted").await;
    let store = place.store();
    let host: Hostname = "a.example.com".parse().unwrap();
    let (chain, key) = certificate("a.example.com");
    let first = store
        .keep(&host, &Slot::Vacant, &chain, &key, stamp())
        .await
        .unwrap();
    place
        .secrets()
        .delete("a.example.com", &DeleteParams::default())
        .await
        .unwrap();
    let second = store
        .keep(&host, &Slot::Ours(first), &chain, &key, stamp())
        .await
        .unwrap();
    assert_eq!(store.slot(&host).await.unwrap(), Slot::Ours(second));
    let secret = place.secrets().get("a.example.com").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
}

#[tokio::test]
async fn s12_a_long_hostname_stands_in_full_in_the_annotation() {
    let place = Place::new("long").await;
    let store = place.store();
    let text = format!("{}.example.com", "a".repeat(52));
    assert_eq!(text.len(), 64);
    let host: Hostname = text.parse().unwrap();
    let (chain, key) = certificate(&text);
    let held = store
        .keep(&host, &Slot::Vacant, &chain, &key, stamp())
        .await
        .unwrap();
    assert_eq!(store.slot(&host).await.unwrap(), Slot::Ours(held));

    let secret = place.secrets().get(&text).await.unwrap();
    let label = &secret.metadata.labels.unwrap()[HOSTLABEL];
    assert!(label.len() == 34 && label.starts_with("h-"), "{label}");
    assert_eq!(secret.metadata.annotations.unwrap()["faythe/host"], text);
}

#[tokio::test]
async fn a_refusal_hands_on_the_api_servers_words() {
    let place = Place::new("refused").await;
    let store = place.store();
    let (chain, key) = certificate("a.example.com");
    let refused = async |host: &str, words: &str| {
        let host: Hostname = host.parse().unwrap();
        let slot = store.slot(&host).await.unwrap();
        let error = store.keep(&host, &slot, &chain, &key, stamp()).await.unwrap_err();
        let StoreError::Refused { reason, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(reason.contains(words), "{reason}");
    };
    let labels = json!({HOSTLABEL: "a.example.com"});
    create(
        &place,
        json!({"metadata": {"name": "a.example.com", "labels": labels}, "immutable": true}),
    )
    .await;
    refused("a.example.com", "immutable").await;

    // No controller runs to fill in a quota's status, which is what admission goes by.
    let quotas: Api<ResourceQuota> = Api::namespaced(place.admin.clone(), &place.namespace);
    let hard = json!({"hard": {"secrets": "1"}});
    let quota = json!({"metadata": {"name": "few"}, "spec": hard});
    quotas
        .create(&PostParams::default(), &serde_json::from_value(quota).unwrap())
        .await
        .unwrap();
    let status = json!({"status": {"hard": {"secrets": "1"}, "used": {"secrets": "1"}}});
    quotas
        .patch_status("few", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    // Admission learns of a quota by a watch. What a dry run makes is not there.
    let probe: Secret = serde_json::from_value(json!({"metadata": {"name": "probe"}})).unwrap();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    until(Duration::from_secs(30), "the quota counts", async || {
        let made = place.secrets().create(&dry, &probe).await;
        Ok(made.is_err().then_some(()))
    })
    .await
    .unwrap();
    refused("b.example.com", "exceeded quota").await;
}

#[tokio::test]
async fn a_missing_right_is_named() {
    let kube = Kube::shared().await.unwrap();
    let place = Place::bare(kube, "no-rights").await;
    let error = place
        .store()
        .slot(&"a.example.com".parse().unwrap())
        .await
        .unwrap_err();
    let expected = format!(
        "Secret {}/a.example.com: not permitted to get it",
        place.namespace
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}

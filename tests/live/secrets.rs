//! The Secrets that are there already, and what is written (S04, S05, S12).

use std::collections::BTreeMap;

use faythe_bed::certificate::Certificate;
use faythe_bed::{Bed, Setup, until};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::json;

use crate::live::stage::{SOON, Stage, entry, foreign_certificate, label_of, put, put_labeled, soon};

/// A bed with an Ingress for a host, and a Secret that holds a certificate of another CA for it.
async fn with_held(name: &str, names: &[&str], from: i64, to: i64) -> (Bed, String, Secret) {
    let bed = Bed::start().await.unwrap();
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();
    let name = if name.is_empty() { &host } else { name };
    let names: Vec<String> = names.iter().map(|label| bed.host(label)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (cert, key) = foreign_certificate(&names, from, to);
    let secret = put_labeled(&bed, name, &host, &[("cert", &cert), ("key", &key)]).await;
    (bed, host, secret)
}

/// The Secret, when its certificate is another than it was.
async fn renewed(bed: &Bed, before: &Secret) -> Secret {
    let name = before.metadata.name.as_deref().unwrap();
    until(SOON, "the certificate is another", async || {
        let secret = bed.secrets().get(name).await?;
        Ok((secret.data != before.data).then_some(secret))
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn s04_a_labeled_secret_counts_whatever_its_name_and_its_ca() {
    let (bed, host, secret) = with_held("made-by-hand", &["www"], -10, 80).await;
    let stage = Stage::on(bed, json!({})).await;
    stage.reach("valid", 1).await;
    // Not "nothing yet": what needed a certificate after it has got one.
    let other = stage.host("other");
    stage.ask("more", &[&other]).await;
    stage.certificate(&other).await;
    assert_eq!(stage.bed.pebble.orders_created(), 1);
    assert!(stage.bed.secret_for(&host).await.unwrap().is_none());
    let now = stage.bed.secrets().get("made-by-hand").await.unwrap();
    assert_eq!(now.metadata.resource_version, secret.metadata.resource_version);
}

#[tokio::test]
async fn s05_a_wildcard_of_another_ca_covers_the_host() {
    let (bed, _, _) = with_held("", &["*"], -10, 80).await;
    let stage = Stage::on(bed, json!({})).await;
    stage.reach("valid", 1).await;
    assert_eq!(stage.bed.pebble.orders_created(), 0);
    assert_eq!(stage.writes(), []);
}

#[tokio::test]
async fn s05_of_several_secrets_the_one_that_serves_longest_counts() {
    let (bed, host, _) = with_held("longest", &["www"], -10, 80).await;
    for (name, names, to) in [
        ("due", &host, 5),
        ("over", &host, -1),
        ("wrong", &bed.host("a"), 85),
    ] {
        let (cert, key) = foreign_certificate(&[names], -20, to);
        put_labeled(&bed, name, &host, &[("cert", &cert), ("key", &key)]).await;
    }
    put_labeled(&bed, "broken", &host, &[("cert", "no certificate")]).await;
    let longest = bed.secrets().get("longest").await.unwrap();
    let not_after = Certificate::read(entry(&longest, "cert").as_bytes())
        .unwrap()
        .not_after;
    let stage = Stage::on(bed, json!({})).await;
    stage.reach("valid", 1).await;
    assert_eq!(stage.bed.pebble.orders_created(), 0);
    let labels = [("host", host.as_str())];
    let served = stage
        .faythe
        .metric("faythe_certificate_not_after_timestamp_seconds", &labels)
        .await
        .unwrap();
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century are exact")]
    let expected = not_after.as_second() as f64;
    assert_eq!(served, Some(expected));
}

#[tokio::test]
async fn s05_a_due_certificate_is_renewed_into_the_same_secret_and_the_rest_of_it_stays() {
    let bed = Bed::start().await.unwrap();
    let host = bed.host("www");
    let (cert, key) = foreign_certificate(&[&host], -80, 10);
    let before = put(
        &bed,
        json!({
            "metadata": {
                "name": host,
                "labels": { label_of(&bed): host, "team": "shop" },
                "annotations": { "example.com/reload": "yes" },
            },
            "stringData": { "cert": cert, "key": key, "ca.pem": "of somebody else" },
        }),
    )
    .await;
    let stage = Stage::on(bed, json!({})).await;
    // Due, but nobody asks for it.
    assert_eq!(stage.bed.pebble.orders_created(), 0);
    stage.ask("web", &[&host]).await;

    let after = renewed(&stage.bed, &before).await;
    stage.bed.check_secret(&after, &host).await.unwrap();
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(after.type_, before.type_);
    assert_eq!(entry(&after, "ca.pem"), "of somebody else");
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert_eq!(after.metadata.annotations.unwrap()["example.com/reload"], "yes");
    stage.reach("valid", 1).await;
    assert_eq!(stage.bed.pebble.orders_created(), 1);
    assert_eq!(stage.held().await.len(), 1);
}

#[tokio::test]
async fn s05_renewal_threshold_says_when_a_certificate_is_due() {
    // 40 of 90 days are left: in date by default, due if the operator wants 45.
    let (bed, host, before) = with_held("", &["www"], -50, 40).await;
    let mut stage = Stage::on(bed, json!({})).await;
    stage.reach("valid", 1).await;
    assert_eq!(stage.bed.pebble.orders_created(), 0);
    stage.restart(json!({ "renewal_threshold": 45 })).await;
    let after = renewed(&stage.bed, &before).await;
    stage.bed.check_secret(&after, &host).await.unwrap();
}

#[tokio::test]
async fn s05_a_threshold_beyond_the_lifetime_does_not_renew_what_is_fresh() {
    let stage = Stage::start_as(Setup::default(), json!({ "renewal_threshold": 365 })).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    stage.reach("valid", 1).await;
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 1);
}

#[tokio::test]
async fn s05_a_secret_that_is_deleted_or_spoilt_is_made_good_at_once() {
    let (bed, host, first) = with_held("", &["www"], -10, 80).await;
    let spoilt = bed.host("spoilt");
    let (cert, key) = foreign_certificate(&[&spoilt], -10, 80);
    put_labeled(&bed, &spoilt, &spoilt, &[("cert", &cert), ("key", &key)]).await;
    bed.ingress("more", &[&spoilt]).await.unwrap();
    let stage = Stage::on(bed, json!({})).await;
    stage.reach("valid", 2).await;

    let secrets = stage.bed.secrets();
    secrets.delete(&host, &DeleteParams::default()).await.unwrap();
    let made = stage.certificate(&host).await;
    assert_ne!(made.issuer, {
        let before = Certificate::read(entry(&first, "cert").as_bytes()).unwrap();
        before.issuer
    });

    let mut secret = secrets.get(&spoilt).await.unwrap();
    secret.data.as_mut().unwrap().remove("key");
    let broken = secrets
        .replace(&spoilt, &Default::default(), &secret)
        .await
        .unwrap();
    let mended = renewed(&stage.bed, &broken).await;
    stage.bed.check_secret(&mended, &spoilt).await.unwrap();
    assert_eq!(mended.metadata.uid, broken.metadata.uid);
}

#[tokio::test]
async fn s05_somebody_elses_secret_is_never_overwritten() {
    let bed = Bed::start().await.unwrap();
    let host = bed.host("www");
    let theirs = put(
        &bed,
        json!({ "metadata": { "name": host }, "stringData": { "cert": "theirs" } }),
    )
    .await;
    let stage = Stage::on(bed, json!({})).await;
    let sibling = stage.host("sibling");
    stage.ask("web", &[&host, &sibling]).await;
    let told = stage.event("web", "SecretNotOurs", &[&host]).await;
    for word in [host.as_str(), &stage.label(), "rename or delete it"] {
        assert!(told.contains(word), "{told}");
    }
    stage.certificate(&sibling).await;
    stage.reach("conflict", 1).await;
    let secrets = stage.bed.secrets();
    let now = secrets.get(&host).await.unwrap();
    assert_eq!(now.metadata.resource_version, theirs.metadata.resource_version);
    assert_eq!(stage.bed.pebble.orders_created(), 1);

    // Once it is out of the way the host is served, within the minute of the next look.
    secrets.delete(&host, &DeleteParams::default()).await.unwrap();
    put_labeled(&stage.bed, &host, &host, &[]).await;
    soon("the host is served", async || {
        let secret = secrets.get(&host).await?;
        stage.bed.check_secret(&secret, &host).await?;
        Ok(true)
    })
    .await;
}

#[tokio::test]
async fn s12_the_secret_is_as_consumers_know_it() {
    let stage = Stage::start().await;
    let host = stage.host("www");
    let wildcard = stage.host("*.below");
    stage.ask("web", &[&host, &wildcard]).await;
    for (host, name) in [(&host, host.clone()), (&wildcard, stage.host("wild--card.below"))] {
        stage.certificate(host).await;
        let secret = stage.bed.secrets().get(&name).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("Opaque"));
        assert_eq!(
            secret.metadata.labels.clone().unwrap(),
            BTreeMap::from([(stage.label(), name)])
        );
        let entries: Vec<_> = secret.data.clone().unwrap().into_keys().collect();
        assert_eq!(entries, ["cert", "key"]);
        let chain = entry(&secret, "cert");
        assert!(
            chain.matches("BEGIN CERTIFICATE").count() >= 2,
            "a chain: {chain}"
        );
        assert!(entry(&secret, "key").starts_with("-----BEGIN PRIVATE KEY-----"));
        let annotations = secret.metadata.annotations.unwrap();
        assert_eq!(annotations["faythe/host"], *host);
        assert!(annotations.keys().all(|key| key.starts_with("faythe/")));
    }
}

/// The name of what Faythe writes follows from the host alone; a Secret that somebody has named otherwise stays theirs.
#[tokio::test]
async fn s12_a_due_certificate_under_another_name_is_left_and_one_is_made_under_the_hostname() {
    let (bed, host, theirs) = with_held("made-by-hand", &["www"], -80, 10).await;
    let stage = Stage::on(bed, json!({})).await;
    stage.certificate(&host).await;
    stage.reach("valid", 1).await;
    stage.clean().await;
    let held: Vec<_> = stage.held().await.into_keys().collect();
    assert_eq!(held, ["made-by-hand".to_owned(), host]);
    let now = stage.bed.secrets().get("made-by-hand").await.unwrap();
    assert_eq!(now.metadata.resource_version, theirs.metadata.resource_version);
    assert_eq!(stage.bed.pebble.orders_created(), 1);
}

#[tokio::test]
async fn s12_a_host_too_long_for_a_label_has_a_hash_there_and_stands_in_an_annotation() {
    let mut stage = Stage::start().await;
    // The least that is too long, and the most that leaves room for `_acme-challenge.`.
    let [least, most] = [64, 237].map(|length| {
        let mut host = format!(".{}", stage.bed.zone);
        while host.len() < length {
            let room = (length - host.len()).min(60);
            // No label may be empty, so two characters of room cannot be one label and a dot.
            let room = if length - host.len() == room + 1 {
                room - 1
            } else {
                room
            };
            let dot = if host.len() + room == length { "" } else { "." };
            host = format!("{dot}{}{host}", "a".repeat(room - dot.len()));
        }
        host
    });
    assert_eq!((least.len(), most.len()), (64, 237));
    stage.ask("web", &[&least, &most]).await;
    let mut labels = Vec::new();
    for host in [&least, &most] {
        stage.certificate(host).await;
        let secret = stage.bed.secret_for(host).await.unwrap().unwrap();
        assert_eq!(secret.metadata.annotations.unwrap()["faythe/host"], *host);
        labels.push(secret.metadata.labels.unwrap()[&stage.label()].clone());
    }
    assert_eq!(labels[0].len(), labels[1].len());
    assert_ne!(labels[0], labels[1]);
    assert!(labels[0].len() <= 63);
    // It is known again at the next start.
    stage.restart(json!({})).await;
    stage.reach("valid", 2).await;
    assert_eq!(stage.bed.pebble.orders_created(), 2);
}

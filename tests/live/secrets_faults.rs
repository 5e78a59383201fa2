//! Secrets that are not as they should be: mended where they are ours, left alone where they are not.

use std::collections::BTreeMap;

use anyhow::Result;
use faythe_bed::tls::{Authority, Pair};
use faythe_bed::{Bed, Setup, pebble, until};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::look::{FAYTHE, SOON, clean, event, events, issued, notes, said};

const LABEL: &str = "faythe.example/host";
/// From before any clock's time to after it.
const FOR_LONG: std::ops::Range<i32> = 2000..2400;

/// A Secret that somebody has made for a host, with things in it that are none of ours.
fn secret(host: &str, data: &[(&str, &str)]) -> Secret {
    let text = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut all: BTreeMap<_, _> = data
        .iter()
        .map(|(name, value)| ((*name).to_owned(), text(value)))
        .collect();
    all.insert("ca-bundle".to_owned(), text("not ours"));
    let mut secret = Secret {
        data: Some(all),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    secret.metadata.name = Some(host.to_owned());
    secret.metadata.labels = Some(map(&[(LABEL, host), ("team", "shop")]));
    secret.metadata.annotations = Some(map(&[("example.com/contact", "somebody")]));
    secret
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

async fn create(bed: &Bed, secret: &Secret) -> Secret {
    bed.secrets()
        .create(&PostParams::default(), secret)
        .await
        .unwrap()
}

async fn change(bed: &Bed, host: &str, patch: serde_json::Value) {
    let (secrets, params) = (bed.secrets(), PatchParams::default());
    secrets.patch(host, &params, &Patch::Merge(patch)).await.unwrap();
}

/// Waits until the Secret of a host has a good certificate.
async fn mended(bed: &Bed, host: &str) -> Secret {
    let what = format!("the Secret of {host} is good");
    until(SOON, &what, async || -> Result<Option<Secret>> {
        let secret = bed.secret_for(host).await?;
        if let Some(secret) = &secret {
            bed.check_secret(secret, host).await?;
        }
        Ok(secret)
    })
    .await
    .unwrap()
}

/// Checks that everything of `before` that is not ours is in `after` as well, and that it is the same object.
fn check_kept(before: &Secret, after: &Secret, host: &str) {
    assert_eq!(before.metadata.uid, after.metadata.uid, "{host}");
    assert_eq!(before.metadata.labels, after.metadata.labels, "{host}");
    assert_eq!(before.type_, after.type_, "{host}");
    let (data, annotations) = (
        after.data.as_ref().unwrap(),
        after.metadata.annotations.as_ref().unwrap(),
    );
    assert_eq!(data["ca-bundle"].0, b"not ours", "{host}");
    assert_eq!(annotations["example.com/contact"], "somebody", "{host}");
}

/// What can be wrong with a Secret, by the name of the host it is for.
fn spoiled(bed: &Bed) -> Vec<(String, Secret)> {
    let authority = Authority::new("somebody's CA").unwrap();
    let made = |host: &str, years| authority.for_hosts(&[host], years).unwrap();
    let with = |label: &str, data: &dyn Fn(&str) -> Secret| {
        let host = bed.host(label);
        let secret = data(&host);
        (host, secret)
    };
    let pair = |host: &str, pair: Pair| secret(host, &[("cert", &pair.certificate), ("key", &pair.key)]);
    vec![
        with("no-cert", &|host| {
            secret(host, &[("key", &made(host, FOR_LONG).key)])
        }),
        with("no-key", &|host| {
            secret(host, &[("cert", &made(host, FOR_LONG).certificate)])
        }),
        with("nothing", &|host| secret(host, &[])),
        with("empty", &|host| secret(host, &[("cert", ""), ("key", "")])),
        with("garbage", &|host| {
            secret(host, &[("cert", "garbage"), ("key", "\0")])
        }),
        with("garbage-key", &|host| {
            secret(
                host,
                &[("cert", &made(host, FOR_LONG).certificate), ("key", "garbage")],
            )
        }),
        with("other-key", &|host| {
            let (one, other) = (made(host, FOR_LONG), made(host, FOR_LONG));
            secret(host, &[("cert", &one.certificate), ("key", &other.key)])
        }),
        with("expired", &|host| pair(host, made(host, 2000..2020))),
        with("future", &|host| pair(host, made(host, 2300..2400))),
        with("other-names", &|host| {
            pair(host, made("www.example.org", FOR_LONG))
        }),
    ]
}

#[tokio::test]
async fn a_labeled_secret_that_falls_short_is_mended_in_its_place() {
    let bed = Bed::start().await.unwrap();
    let mut before = Vec::new();
    for (host, secret) in spoiled(&bed) {
        before.push((host, create(&bed, &secret).await));
    }
    let hosts: Vec<_> = before.iter().map(|(host, _)| host.clone()).collect();
    let asked: Vec<_> = hosts.iter().map(String::as_str).collect();
    bed.ingress("web", &asked).await.unwrap();
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();

    for (host, before) in &before {
        check_kept(before, &mended(&bed, host).await, host);
    }
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.orders_created(), before.len());
}

#[tokio::test]
async fn a_certificate_of_any_ca_that_serves_is_left_alone() {
    let bed = Bed::start().await.unwrap();
    let authority = Authority::new("somebody's CA").unwrap();
    let (exact, covered) = (bed.host("exact"), bed.host("covered"));
    let wildcard = format!("*.{}", bed.zone);
    let mut versions = Vec::new();
    for (host, name) in [(&exact, &exact), (&covered, &wildcard)] {
        let Pair { certificate, key } = authority.for_hosts(&[name], FOR_LONG).unwrap();
        let secret = secret(host, &[("cert", &certificate), ("key", &key)]);
        versions.push(create(&bed, &secret).await.metadata.resource_version);
    }
    let fresh = bed.host("fresh");
    bed.ingress("web", &[&exact, &covered, &fresh]).await.unwrap();
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();

    // By then the others would have been ordered as well.
    issued(&bed, &faythe, &[fresh]).await;
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.orders_created(), 1);
    for (host, version) in [exact, covered].iter().zip(versions) {
        let secret = bed.secret_for(host).await.unwrap().unwrap();
        assert_eq!(secret.metadata.resource_version, version, "{host}");
    }
}

#[tokio::test]
async fn a_secret_that_is_spoiled_under_our_eyes_is_mended() {
    // With a challenge to answer, each order for the same name would wait out the CA's cache of the one before.
    let setup = Setup {
        pebble: pebble::Setup::default().with_proven_names(),
        ..Setup::default()
    };
    let bed = Bed::start_as(setup).await.unwrap();
    let host = bed.host("www");
    let before = create(&bed, &secret(&host, &[])).await;
    bed.ingress("web", &[&host]).await.unwrap();
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    mended(&bed, &host).await;
    clean(&bed, &faythe).await;

    change(&bed, &host, json!({ "stringData": { "key": "garbage" } })).await;
    check_kept(&before, &mended(&bed, &host).await, &host);

    let deleted = bed.secrets().delete(&host, &DeleteParams::default()).await;
    deleted.unwrap();
    let after = mended(&bed, &host).await;
    assert_ne!(before.metadata.uid, after.metadata.uid);
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.orders_created(), 3);
}

/// Somebody else's Secret stands where the certificate of `www` would go; Faythe has said so.
async fn taken() -> (Bed, faythe_bed::faythe::Faythe, String) {
    let bed = Bed::start().await.unwrap();
    let host = bed.host("www");
    let mut theirs = secret(&host, &[("cert", "theirs"), ("key", "theirs")]);
    theirs.metadata.labels = Some(map(&[("team", "shop")]));
    let version = create(&bed, &theirs).await.metadata.resource_version;
    bed.ingress("web", &[&host]).await.unwrap();
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();

    let text = event(&bed, "SecretNotOurs").await;
    let named = format!("Secret {}/{host}", bed.secret_namespace);
    for part in [&*named, LABEL, "somebody else's", "rename or delete it"] {
        assert!(text.contains(part), "{text}");
    }
    let line = said(&faythe, &["WARN", "secret-not-ours"]).await;
    assert!(line.contains(&named), "{line}");

    // It has been looked at again since.
    let request = |request: &faythe_bed::kube::Request| request.verb == "get" && request.name == host;
    until(SOON, "the place is looked at again", async || {
        let all = bed.kube.requests_by(&bed.identity.username())?;
        Ok((all.iter().filter(|asked| request(asked)).count() >= 3).then_some(()))
    })
    .await
    .unwrap();
    let now = bed.secret_for(&host).await.unwrap().unwrap();
    assert_eq!(now.metadata.resource_version, version);
    assert_eq!(now.data, theirs.data);
    assert_eq!(bed.pebble.orders_created(), 0);
    assert!(notes(&bed).await.unwrap().is_empty());
    assert_eq!(events(&bed, "SecretNotOurs").await.unwrap().len(), 1);
    (bed, faythe, host)
}

#[tokio::test]
async fn somebody_elses_secret_is_left_alone_until_it_is_gone() {
    let (bed, faythe, host) = taken().await;
    let deleted = bed.secrets().delete(&host, &DeleteParams::default()).await;
    deleted.unwrap();
    issued(&bed, &faythe, &[host]).await;
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.orders_created(), 1);
}

#[tokio::test]
async fn somebody_elses_secret_is_left_alone_until_it_is_labeled() {
    let (bed, faythe, host) = taken().await;
    let label = json!({ "metadata": { "labels": { LABEL: host } } });
    change(&bed, &host, label).await;
    let secret = mended(&bed, &host).await;
    assert_eq!(secret.data.unwrap()["ca-bundle"].0, b"not ours");
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.orders_created(), 1);
}

#[tokio::test]
async fn a_secret_that_carries_another_hosts_label_is_not_ours_to_write() {
    let bed = Bed::start().await.unwrap();
    let (host, other) = (bed.host("www"), bed.host("other"));
    let mut theirs = secret(&host, &[]);
    theirs.metadata.labels = Some(map(&[(LABEL, &other)]));
    let version = create(&bed, &theirs).await.metadata.resource_version;
    bed.ingress("web", &[&host]).await.unwrap();
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();

    let text = event(&bed, "SecretNotOurs").await;
    assert!(
        text.contains(&other) && text.contains("correct the label"),
        "{text}"
    );
    let now = bed.secret_for(&host).await.unwrap().unwrap();
    assert_eq!(now.metadata.resource_version, version);
    faythe.process().check_running().unwrap();
    assert_eq!(bed.pebble.orders_created(), 0);
}

#[tokio::test]
async fn an_immutable_secret_costs_one_order_which_waits_for_its_place() {
    let bed = Bed::start().await.unwrap();
    let host = bed.host("www");
    let mut immutable = secret(&host, &[("cert", "garbage")]);
    immutable.immutable = Some(true);
    create(&bed, &immutable).await;
    bed.ingress("web", &[&host]).await.unwrap();
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();

    let text = event(&bed, "IssuanceStalled").await;
    assert!(text.contains("immutable"), "{text}");
    said(&faythe, &["WARN", "store-refused"]).await;
    assert_eq!(bed.pebble.orders_created(), 1);

    let deleted = bed.secrets().delete(&host, &DeleteParams::default()).await;
    deleted.unwrap();
    issued(&bed, &faythe, &[host]).await;
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.orders_created(), 1);
}

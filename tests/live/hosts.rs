//! Which hosts are served, which are refused, and which are nobody's business (S02, S03, P25, P28).

use faythe_bed::Setup;
use faythe_bed::kube::objects::{self, MANAGER, ingress};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::live::stage::Stage;

/// For hosts that every Faythe refuses or counts: with the API server of all tests the others would see them too.
fn apart() -> Setup {
    Setup {
        own_kube: true,
        ..Setup::default()
    }
}

async fn apply(stage: &Stage, namespace: &str, ingress: &Value) {
    let ingresses: Api<Ingress> = Api::namespaced(stage.bed.client.clone(), namespace);
    let name = ingress["metadata"]["name"].as_str().unwrap();
    ingresses
        .patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(ingress))
        .await
        .unwrap();
}

fn names(held: impl IntoIterator<Item = String>) -> Vec<String> {
    held.into_iter().collect()
}

#[tokio::test]
async fn s02_hosts_outside_the_zone_are_ignored_in_silence() {
    let stage = Stage::start_as(apart(), json!({})).await;
    let (outside, beside) = ("www.elsewhere.example", format!("www.not{}", stage.bed.zone));
    stage.ask("elsewhere", &[outside, &beside]).await;
    stage.count("faythe_hosts_out_of_zone", &[], 2).await;
    // A host of ours that is served meanwhile shows that the others had their chance.
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    stage.event("web", "CertificateIssued", &[]).await;

    assert_eq!(stage.events("elsewhere").await, []);
    assert_eq!(names(stage.held().await.into_keys()), [host]);
    assert_eq!(stage.bed.pebble.orders_created(), 1);
    for level in ["WARN", "ERROR"] {
        assert_eq!(stage.lines(&[level]), [""; 0]);
    }
    assert_eq!(stage.lines(&["elsewhere"]), [""; 0]);

    stage.bed.delete_ingress("elsewhere").await.unwrap();
    stage.count("faythe_hosts_out_of_zone", &[], 0).await;
}

#[tokio::test]
async fn s03_rules_and_tls_of_all_namespaces_ask_whatever_the_class() {
    let stage = Stage::start().await;
    let (namespace, other) = (&stage.bed.namespace, format!("{}-more", stage.bed.namespace));
    objects::create_namespace(&stage.bed.client, &other)
        .await
        .unwrap();
    let [in_rule, in_tls, in_both, elsewhere] =
        ["rule", "tls", "both", "elsewhere"].map(|label| stage.host(label));

    apply(&stage, namespace, &ingress(namespace, "rules", &[&in_rule])).await;
    let mut tls = ingress(namespace, "tls", &[&in_both]);
    tls["spec"]["ingressClassName"] = json!("of-somebody-else");
    tls["spec"]["tls"] = json!([{ "hosts": [in_tls, in_both] }, { "secretName": "without-hosts" }]);
    apply(&stage, namespace, &tls).await;
    apply(&stage, &other, &ingress(&other, "rules", &[&elsewhere])).await;
    // A rule without a host, and a default backend, want nothing.
    let mut hostless = ingress(namespace, "hostless", &[""]);
    hostless["spec"]["rules"][0]
        .as_object_mut()
        .unwrap()
        .remove("host");
    hostless["spec"]["defaultBackend"] = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    apply(&stage, namespace, &hostless).await;

    for host in [&in_rule, &in_tls, &in_both, &elsewhere] {
        stage.certificate(host).await;
    }
    assert_eq!(
        names(stage.held().await.into_keys()),
        [in_both, elsewhere, in_rule, in_tls]
    );
    assert_eq!(stage.bed.pebble.orders_created(), 4);
    assert_eq!(stage.events("hostless").await, []);
}

#[tokio::test]
async fn s03_what_is_asked_before_the_start_is_served_too_and_a_change_at_once() {
    let mut stage = Stage::start().await;
    let [first, second, third] = ["first", "second", "third"].map(|label| stage.host(label));
    stage.faythe.kill();
    stage.ask("web", &[&first]).await;
    stage.faythe.restart().unwrap();
    stage.certificate(&first).await;
    stage.ask("web", &[&first, &second]).await;
    stage.certificate(&second).await;
    // The same Ingress, but another host in place of one that has its certificate.
    stage.ask("web", &[&second, &third]).await;
    stage.certificate(&third).await;
    assert_eq!(stage.bed.pebble.orders_created(), 3);
    // What nobody asks for any more is kept: its consumers may still be there.
    assert!(stage.bed.secret_for(&first).await.unwrap().is_some());
}

#[tokio::test]
async fn s03_a_wildcard_host_wants_the_wildcard_in_either_mode() {
    for wildcards in [false, true] {
        let keys = json!({ "issue_wildcard_certs": wildcards });
        let stage = Stage::start_as(Setup::default(), keys).await;
        let (all, below) = (stage.host("*"), stage.host("*.sub"));
        stage.ask("web", &[&all, &below]).await;
        for host in [&all, &below] {
            let certificate = stage.certificate(host).await;
            assert_eq!(certificate.names, [host.as_str()]);
        }
        let zone = &stage.bed.zone;
        assert_eq!(
            names(stage.held().await.into_keys()),
            [format!("wild--card.sub.{zone}"), format!("wild--card.{zone}")]
        );
        assert_eq!(stage.bed.pebble.orders_created(), 2);
    }
}

#[tokio::test]
async fn p25_an_impossible_host_has_a_verdict_and_its_siblings_are_served() {
    let stage = Stage::start_as(apart(), json!({})).await;
    let zone = stage.bed.zone.clone();
    let label = "a".repeat(64);
    // The API server lets this through: it looks at the whole name only.
    let long = format!("{label}.{zone}");
    let good = stage.host("good");
    stage.ask("through-the-api", &[&good, &long]).await;
    stage.certificate(&good).await;
    stage
        .event(
            "through-the-api",
            "HostRefused",
            &[&long, "longer than 63 characters"],
        )
        .await;

    let sibling = stage.host("sibling");
    let fifty = "a".repeat(50);
    let rest = "b".repeat(238 - 4 * 51 - zone.len() - 1);
    let no_room = format!("{fifty}.{fifty}.{fifty}.{fifty}.{rest}.{zone}");
    let impossible = [
        (format!("a_b.{zone}"), "letters, digits and hyphens"),
        (format!("a..{zone}"), "empty label"),
        (format!("*.*.{zone}"), "'*' may only stand alone"),
        (format!("-a.{zone}"), "hyphen"),
        (format!("{fifty}.{fifty}.{fifty}.{fifty}.{fifty}.{zone}"), "253"),
        // With `_acme-challenge.` in front it is one too long.
        (no_room, "above the 253"),
        ("*".to_owned(), "'*'"),
        ("192.0.2.7".to_owned(), "IP address"),
    ];
    let mut hosts: Vec<&str> = impossible.iter().map(|(host, _)| host.as_str()).collect();
    hosts.insert(3, &sibling);
    let (kube, namespace) = (&stage.bed.kube, &stage.bed.namespace);
    kube.store_ingress_unchecked(namespace, "past-the-api", &hosts)
        .await
        .unwrap();
    stage.certificate(&sibling).await;
    for (host, why) in &impossible {
        stage
            .event("past-the-api", "HostRefused", &[&format!("{host:?}"), why])
            .await;
    }
    stage.count("faythe_hosts_refused", &[], 9).await;
    assert_eq!(stage.lines(&["WARN", "host-refused"]).len(), 9);
    assert_eq!(names(stage.held().await.into_keys()), [good, sibling]);
    assert_eq!(stage.bed.pebble.orders_created(), 2);
}

#[tokio::test]
async fn p28_one_host_in_many_spellings_is_one_certificate() {
    let stage = Stage::start().await;
    let zone = stage.bed.zone.clone();
    let ascii = format!("www.{zone}");
    let unicode = format!("xn--bcher-kva.{zone}");
    let spellings = [
        ascii.clone(),
        format!("WWW.{}", zone.to_uppercase()),
        format!("www.{zone}."),
        format!("bücher.{zone}"),
        format!("BÜCHER.{zone}."),
        unicode.clone(),
    ];
    let spellings: Vec<&str> = spellings.iter().map(String::as_str).collect();
    let (kube, namespace) = (&stage.bed.kube, &stage.bed.namespace);
    // Each in an Ingress of its own, and all in one.
    for (number, host) in spellings.iter().enumerate() {
        kube.store_ingress_unchecked(namespace, &format!("web{number}"), &[*host])
            .await
            .unwrap();
    }
    kube.store_ingress_unchecked(namespace, "all", &spellings)
        .await
        .unwrap();
    for host in [&ascii, &unicode] {
        let certificate = stage.certificate(host).await;
        assert_eq!(certificate.names, [host.as_str()]);
    }
    stage.reach("valid", 2).await;
    assert_eq!(names(stage.held().await.into_keys()), [ascii, unicode]);
    assert_eq!(stage.bed.pebble.orders_created(), 2);
}

//! What must not cost an order: namespaces that come and go, many Ingresses with one host, Secrets from a
//! backup; and what must not cost a question: a restart (P18, P19, P21).

use faythe_bed::kube::objects;
use faythe_bed::{Bed, Setup, until};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::live::stage::{SOON, Stage, foreign_certificate, put_labeled, soon};

#[tokio::test]
async fn p18_a_namespace_made_and_deleted_a_hundred_times_costs_one_order() {
    let stage = Stage::start().await;
    let (client, host) = (&stage.bed.client, stage.host("ci"));
    let namespace = format!("{}-ci", stage.bed.namespace);
    let create = async || {
        objects::create_namespace(client, &namespace).await.unwrap();
        // Admission may take the namespace for the one before for a moment, which is being terminated.
        let made = async || {
            let made = objects::apply_ingress(client, &namespace, "run", &[&host]).await;
            made.map(Some)
        };
        until(SOON, "the namespace takes an Ingress", made).await.unwrap();
    };
    // The first of them are gone before anything is issued: the order that was made goes on all the same. The Secret is
    // the kept copy, which serves whoever asks again.
    for _ in 0..100 {
        create().await;
        objects::delete_namespace(client, &namespace).await.unwrap();
    }
    create().await;
    stage.certificate(&host).await;
    stage.reach("valid", 1).await;
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 1);
}

#[tokio::test]
async fn p18_fifty_namespaces_with_one_host_cost_one_order() {
    let stage = Stage::start().await;
    let host = stage.host("shared");
    let client = &stage.bed.client;
    let made = stream::iter(0..50).map(|number| {
        let (namespace, host) = (format!("{}-{number}", stage.bed.namespace), host.clone());
        async move {
            objects::create_namespace(client, &namespace).await.unwrap();
            objects::apply_ingress(client, &namespace, "web", &[&host])
                .await
                .unwrap();
        }
    });
    made.buffer_unordered(10).collect::<Vec<()>>().await;
    stage.certificate(&host).await;
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 1);
}

#[tokio::test]
async fn p19_a_thousand_secrets_from_a_backup_cost_no_order() {
    let bed = Bed::start_as(Setup {
        own_kube: true,
        ..Setup::default()
    })
    .await
    .unwrap();
    // Of another tool: its labels, no annotation of ours, and one certificate for them all.
    let names: Vec<_> = (0..1_000).map(|number| bed.host(&format!("h{number}"))).collect();
    let (cert, key) = foreign_certificate(&[&format!("*.{}", bed.zone)], -10, 80);
    put_labeled(&bed, &names[0], &names[0], &[("cert", &cert), ("key", &key)]).await;
    let secrets: Api<Secret> = bed.secrets();
    let first = secrets.get(&names[0]).await.unwrap();
    let copies = stream::iter(&names[1..]).map(|name| {
        let mut copy = first.clone();
        copy.metadata.resource_version = None;
        copy.metadata.uid = None;
        copy.metadata.managed_fields = None;
        copy.metadata.name = Some(name.clone());
        let labels = copy.metadata.labels.as_mut().unwrap();
        labels.values_mut().for_each(|label| *label = name.clone());
        labels.insert("restored-by".to_owned(), "another-tool".to_owned());
        let secrets = secrets.clone();
        async move { drop(secrets.create(&PostParams::default(), &copy).await.unwrap()) }
    });
    copies.buffer_unordered(16).collect::<Vec<()>>().await;
    for (number, hosts) in names.chunks(100).enumerate() {
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        bed.ingress(&format!("web-{number}"), &hosts).await.unwrap();
    }
    let stage = Stage::on(bed, json!({})).await;
    stage.reach("valid", 1_000).await;
    assert_eq!(stage.bed.pebble.orders_created(), 0);
}

#[tokio::test]
async fn p21_a_restart_asks_again_about_no_renewal() {
    let mut stage = Stage::start().await;
    let asked = |stage: &Stage| {
        let log = stage.bed.pebble.log();
        log.lines()
            .filter(|line| line.contains("GET /draft-ietf-acme-ari-03/"))
            .count()
    };
    let hosts = ["a", "b", "c"].map(|label| stage.host(label));
    stage.ask("web", &hosts.each_ref().map(String::as_str)).await;
    stage.reach("valid", 3).await;
    soon("the CA is asked about each of them", async || {
        Ok(asked(&stage) == 3)
    })
    .await;
    stage.restart(json!({})).await;
    stage.reach("valid", 3).await;
    // One that is new is asked about soon, and would not be before the others.
    stage.ask("more", &[&stage.host("new")]).await;
    soon("the CA is asked about the new one", async || {
        Ok(asked(&stage) >= 4)
    })
    .await;
    assert_eq!(asked(&stage), 4);
}

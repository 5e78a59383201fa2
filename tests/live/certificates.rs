//! One certificate for all siblings (S11).

use faythe_bed::Setup;
use jiff::Timestamp;
use serde_json::json;

use crate::live::stage::Stage;

#[tokio::test]
async fn s11_siblings_share_the_wildcard_and_the_apex_has_its_own() {
    let keys = json!({ "issue_wildcard_certs": true });
    let mut stage = Stage::start_as(Setup::default(), keys.clone()).await;
    let [apex, one, two, three, deep] = ["", "one", "two", "three", "a.deep"].map(|label| stage.host(label));
    stage.ask("first", &[&one, &apex]).await;
    stage.ask("second", &[&two, &deep]).await;

    let zone = stage.bed.zone.clone();
    let shared = stage.certificate(&format!("*.{zone}")).await;
    assert_eq!(shared.names, [format!("*.{zone}")]);
    let roots = stage.bed.pebble.issuer_roots().await.unwrap();
    for host in [&one, &two] {
        shared.verify(&roots, host, Timestamp::now()).unwrap();
    }
    assert_eq!(stage.certificate(&apex).await.names, [apex.as_str()]);
    stage.certificate(&format!("*.deep.{zone}")).await;
    stage.reach("valid", 3).await;
    stage.clean().await;

    // A new sibling is served by what is there.
    stage.ask("third", &[&three]).await;
    stage.restart(keys).await;
    stage.reach("valid", 3).await;
    assert_eq!(stage.bed.pebble.orders_created(), 3);
    let held = stage.held().await;
    let expected = [
        format!("wild--card.deep.{zone}"),
        format!("wild--card.{zone}"),
        zone.clone(),
    ];
    assert_eq!(held.keys().cloned().collect::<Vec<_>>(), expected);
    for (name, secret) in held {
        assert_eq!(secret.metadata.labels.unwrap()[&stage.label()], name);
    }
}

#[tokio::test]
async fn s11_the_prefix_is_the_operators() {
    let keys = json!({ "issue_wildcard_certs": true, "wildcard_cert_k8s_prefix": "star" });
    let mut stage = Stage::start_as(Setup::default(), keys.clone()).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.reach("valid", 1).await;
    let name = stage.host("star");
    let secret = stage.bed.secrets().get(&name).await.unwrap();
    stage.bed.check_secret(&secret, &stage.host("*")).await.unwrap();
    assert_eq!(secret.metadata.labels.unwrap()[&stage.label()], name);
    stage.restart(keys).await;
    stage.reach("valid", 1).await;
    assert_eq!(stage.bed.pebble.orders_created(), 1);
}

//! What tests of the whole look at: Events, notes, and what the CA was asked.

use std::time::Duration;

use anyhow::Result;
use faythe_bed::faythe::Faythe;
use faythe_bed::proxy::Proxy;
use faythe_bed::{Bed, until};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{Api, ListParams};
use serde_json::Value;

/// The program under test.
pub(crate) const FAYTHE: &str = env!("CARGO_BIN_EXE_faythe");
/// For what takes well under a second on a machine with nothing else to do.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A request by which the CA is told that it may look at a challenge. Faythe reads authorizations, never challenges.
pub(crate) const TELL: &str = "POST /chalZ/";
/// A request for a new order.
pub(crate) const NEW_ORDER: &str = "POST /order-plz";

/// Waits for an Event with this reason on an Ingress of the bed, and returns its text.
pub(crate) async fn event(bed: &Bed, reason: &str) -> String {
    let what = format!("there is an Event {reason}");
    until(SOON, &what, async || Ok(events(bed, reason).await?.pop()))
        .await
        .unwrap()
}

/// The texts of all Events with this reason on Ingresses of the bed.
pub(crate) async fn events(bed: &Bed, reason: &str) -> Result<Vec<String>> {
    let api: Api<Event> = Api::namespaced(bed.client.clone(), &bed.namespace);
    let all = api.list(&ListParams::default()).await?;
    let ours = all
        .items
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason));
    Ok(ours.filter_map(|event| event.message).collect())
}

/// The notes of orders and failures.
pub(crate) async fn notes(bed: &Bed) -> Result<Vec<Secret>> {
    let notes = ListParams::default().labels("faythe/kind=note");
    Ok(bed.secrets().list(&notes).await?.items)
}

/// Waits until Faythe has written a line that contains all of `words`, and returns it.
pub(crate) async fn said(faythe: &Faythe, words: &[&str]) -> String {
    let what = format!("faythe says {words:?}");
    let line = until(SOON, &what, async || {
        let log = faythe.log();
        let line = log
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        Ok(line.map(str::to_owned))
    });
    line.await
        .unwrap_or_else(|error| panic!("{error:#}; its log ends in:\n{}", faythe.process().log_tail()))
}

/// Waits for good certificates of all these hosts.
pub(crate) async fn issued(bed: &Bed, faythe: &Faythe, hosts: &[String]) {
    for host in hosts {
        let certificate = bed.certificate_for(host, SOON).await;
        if let Err(error) = certificate {
            panic!(
                "{error:#}; faythe's log ends in:\n{}",
                faythe.process().log_tail()
            );
        }
    }
}

/// Waits until nothing is left behind: no TXT record, no note. Faythe must be running still.
pub(crate) async fn clean(bed: &Bed, faythe: &Faythe) {
    let left = async || {
        let notes = notes(bed)
            .await?
            .into_iter()
            .filter_map(|note| note.metadata.name);
        anyhow::Ok((bed.bind.all_txt(&bed.zone).await?, notes.collect::<Vec<_>>()))
    };
    let cleaned = until(SOON, "no TXT record and no note is left", async || {
        let (values, notes) = left().await?;
        Ok((values.is_empty() && notes.is_empty()).then_some(()))
    });
    if let Err(error) = cleaned.await {
        panic!("{error:#}: {:?}", left().await.unwrap());
    }
    faythe.process().check_running().unwrap();
}

/// How often Pebble was told that it may look at a challenge.
pub(crate) fn told(bed: &Bed) -> usize {
    bed.pebble.log().matches(TELL).count()
}

/// A proxy before the bed's CA, and a configuration that leads through it.
pub(crate) async fn before_ca(bed: &Bed) -> (Proxy, Value) {
    let directory = bed.pebble.directory_url();
    let proxy = Proxy::start(&directory, &bed.pebble.https_roots()).await.unwrap();
    let mut config = bed.config();
    config["lets_encrypt_url"] = proxy.url_of(&directory).unwrap().into();
    config["acme_root_certificates"] = proxy.https_roots_file().display().to_string().into();
    (proxy, config)
}

/// Names for a number of hosts of the bed.
pub(crate) fn hosts(bed: &Bed, number: usize) -> Vec<String> {
    (0..number).map(|i| bed.host(&format!("h{i}"))).collect()
}

/// An Ingress for each of these hosts.
pub(crate) async fn ask(bed: &Bed, hosts: &[String]) {
    for host in hosts {
        bed.ingress(host, &[host]).await.unwrap();
    }
}

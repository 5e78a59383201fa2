//! The whole program against step-ca: another CA than the one it was made with.
//!
//! Deliberately absent: a binding of its account. The open step-ca has no way to make the key of one: its administration
//! answers that only the vendor's hosted product can (`authority/admin/api/acme.go`, v0.30.2). Accounts are bound at
//! Pebble, which wants it then, in `tests/ca/services.rs`; a proxy and the preferred chain are tried there too.

use faythe_bed::certificate::Certificate;
use faythe_bed::step_ca::StepCa;
use faythe_bed::{Bed, until};
use jiff::Timestamp;
use serde_json::json;

use super::look::{SOON, clean};
use super::stage::{Stage, entry};

#[tokio::test]
async fn another_ca_issues_names_and_wildcards() {
    let bed = Bed::start().await.unwrap();
    let ca = StepCa::start(bed.bind.address()).await.unwrap();
    let keys = json!({ "lets_encrypt_url": ca.directory_url(), "acme_root_certificates": ca.roots_file() });
    let stage = Stage::on(bed, keys).await;
    let (one, two) = (stage.host("one"), stage.host("two"));
    let wildcard = format!("*.{one}");
    stage.ask("web", &[&one, &wildcard, &two]).await;
    for host in [&one, &wildcard, &two] {
        let there = until(SOON, host, async || stage.bed.secret_for(host).await).await;
        let secret = there.unwrap_or_else(|error| panic!("{error:#}; {}", stage.faythe.process().log_tail()));
        let certificate = Certificate::read(entry(&secret, "cert").as_bytes()).unwrap();
        certificate.verify(&ca.roots(), host, Timestamp::now()).unwrap();
        certificate.verify_key(entry(&secret, "key").as_bytes()).unwrap();
    }
    clean(&stage.bed, &stage.faythe).await;
    assert!(!stage.faythe.log().contains("WARN"), "{}", stage.faythe.log());
}

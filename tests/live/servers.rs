//! The whole program with Knot and with PowerDNS: it issues, and says of each refusal what is wrong there.

use faythe_bed::names::{Algorithm, Key, Make, NameServer, Setup as Names};
use faythe_bed::{Bed, Setup};

use super::dns_faults::{goes_on, in_trouble};
use super::look::{FAYTHE, SOON, clean, issued};

async fn bed(make: Make) -> Bed {
    let setup = Setup {
        make,
        ..Setup::default()
    };
    Bed::start_as(setup).await.unwrap()
}

async fn check_issuance(make: Make) {
    let bed = bed(make).await;
    let hosts = [bed.host("www"), bed.host(""), format!("*.{}", bed.zone)];
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    bed.ingress("web", &names).await.unwrap();
    issued(&bed, &faythe, &hosts).await;
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.orders_created(), 3);
}

#[tokio::test]
async fn s08_certificates_are_issued_with_knot() {
    check_issuance(Make::Knot).await;
}

#[tokio::test]
async fn s08_certificates_are_issued_with_powerdns() {
    check_issuance(Make::PowerDns).await;
}

/// Has a server changed so that it refuses, looks at what is said of it, and has it mended.
async fn check(make: Make, change: impl Fn(&NameServer) -> Names, code: &str, words: &[&str]) {
    let mut bed = bed(make).await;
    let host = bed.host("www");
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    faythe.ready(SOON).await.unwrap();
    let original = bed.bind.setup().clone();
    let changed = change(&bed.bind);
    bed.bind.restart(changed).await.unwrap();
    bed.ingress("web", &[&host]).await.unwrap();
    let server = bed.bind.address().to_string();
    let all = [&[server.as_str(), &bed.zone, "faythe"], words].concat();
    in_trouble(&bed, &faythe, code, &all).await;
    bed.bind.restart(original).await.unwrap();
    goes_on(&bed, &faythe, host).await;
}

fn with_keys(server: &NameServer, keys: Vec<Key>) -> Names {
    Names {
        keys,
        ..server.setup().clone()
    }
}

/// The key stays known, and may do nothing.
fn without_rights(server: &NameServer) -> Names {
    Names {
        strangers: server.setup().keys.clone(),
        ..with_keys(server, vec![Key::new("somebody", Algorithm::HmacSha256)])
    }
}

#[tokio::test]
async fn p11_knot_does_not_know_the_key() {
    let change = |server: &NameServer| with_keys(server, vec![Key::new("somebody", Algorithm::HmacSha256)]);
    check(Make::Knot, change, "badkey", &["BADKEY", "`acl`"]).await;
}

#[tokio::test]
async fn p11_knot_has_another_secret() {
    let change = |server: &NameServer| with_keys(server, vec![Key::new("faythe", Algorithm::HmacSha256)]);
    check(
        Make::Knot,
        change,
        "badsig",
        &["BADSIG", "copy the key file again"],
    )
    .await;
}

#[tokio::test]
async fn p11_knot_gives_the_key_no_rights() {
    check(Make::Knot, without_rights, "badkey", &["BADKEY", "`acl`"]).await;
}

#[tokio::test]
async fn p11_knot_does_not_serve_the_zone() {
    let change = |server: &NameServer| Names {
        zones: vec!["elsewhere.test".to_owned()],
        ..server.setup().clone()
    };
    check(Make::Knot, change, "notauth", &["NOTAUTH", "`auth_dns_zone`"]).await;
}

#[tokio::test]
async fn p11_powerdns_has_another_secret() {
    let change = |server: &NameServer| with_keys(server, vec![Key::new("faythe", Algorithm::HmacSha256)]);
    let words = ["REFUSED", "does not sign this", "compare its clock with ours"];
    check(Make::PowerDns, change, "refused", &words).await;
}

#[tokio::test]
async fn p11_powerdns_gives_the_key_no_rights() {
    check(
        Make::PowerDns,
        without_rights,
        "refused",
        &["REFUSED", "TSIG-ALLOW-DNSUPDATE"],
    )
    .await;
}

//! The whole program with Knot and with PowerDNS: it issues, and says of each refusal what is wrong there.

use faythe_bed::names::{Algorithm, Key, Make, NameServer, Setup as Names};
use faythe_bed::{Bed, Setup};
use serde_json::json;

use super::dns_faults::goes_on;
use super::look::{FAYTHE, clean, issued, said};
use super::stage::Stage;

async fn bed(make: Make) -> Bed {
    let setup = Setup {
        names: Names {
            make,
            ..Names::default()
        },
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

/// One way to be refused: how a server is changed for it, and the code and the words of the verdict on each make.
struct Row {
    change: fn(&NameServer) -> Names,
    bind: (&'static str, &'static str),
    knot: (&'static str, &'static str),
    powerdns: (&'static str, &'static str),
}

impl Row {
    fn expected(&self, make: Make) -> (&'static str, &'static str) {
        match make {
            Make::Bind => self.bind,
            Make::Knot => self.knot,
            Make::PowerDns => self.powerdns,
        }
    }
}

const BADKEY: (&str, &str) = (
    "badkey",
    "BADKEY: the server does not know this key name, or not with this algorithm, or (Knot) has no `acl` that lets it update \
     this zone; compare all three with its configuration",
);
const BADSIG: (&str, &str) = (
    "badsig",
    "BADSIG: the server has this key with another secret; copy the key file again",
);
const NOTAUTH: (&str, &str) = (
    "notauth",
    "NOTAUTH: the server is not primary for this zone; check `auth_dns_server` and `auth_dns_zone`",
);
const REFUSED: (&str, &str) = (
    "refused",
    "REFUSED: the server knows the key but its policy does not let it change this name; grant the key TXT updates there \
     (BIND: `update-policy { grant KEY zonesub TXT; }`; PowerDNS: metadata TSIG-ALLOW-DNSUPDATE)",
);
/// PowerDNS says no more than this for whatever it has against a signature.
const UNEXPLAINED: (&str, &str) = (
    "refused",
    "REFUSED: the server does not sign this, so it did not accept the key, or no update at all; compare key name, algorithm \
     and secret with its configuration, compare its clock with ours, and see that it allows updates from here",
);

/// The rows that the server's configuration decides. Those of a clock that is off, and of a name outside the zone, are in
/// `tests/dns/servers/refusals.rs`: here the servers have this machine's clock, and no host leads to such a name.
const ROWS: [Row; 4] = [
    // It does not know the key.
    Row {
        change: |server| with_keys(server, vec![Key::new("somebody", Algorithm::HmacSha256)]),
        bind: BADKEY,
        knot: BADKEY,
        powerdns: UNEXPLAINED,
    },
    // It has another secret.
    Row {
        change: |server| with_keys(server, vec![Key::new("faythe", Algorithm::HmacSha256)]),
        bind: BADSIG,
        knot: BADSIG,
        powerdns: UNEXPLAINED,
    },
    // The key is known, and may do nothing.
    Row {
        change: |server| Names {
            strangers: server.setup().keys.clone(),
            ..with_keys(server, vec![Key::new("somebody", Algorithm::HmacSha256)])
        },
        bind: REFUSED,
        knot: BADKEY,
        powerdns: REFUSED,
    },
    // It does not serve the zone.
    Row {
        change: |server| Names {
            zones: vec!["elsewhere.test".to_owned()],
            ..server.setup().clone()
        },
        bind: NOTAUTH,
        knot: NOTAUTH,
        powerdns: NOTAUTH,
    },
];

fn with_keys(server: &NameServer, keys: Vec<Key>) -> Names {
    Names {
        keys,
        ..server.setup().clone()
    }
}

/// Has a server refuse in every way; each is told in full, costs no order, and is over when the server is mended.
async fn check_refusals(make: Make) {
    let mut stage = Stage::on(bed(make).await, json!({})).await;
    let original = stage.bed.bind.setup().clone();
    let server = stage.bed.bind.address().to_string();
    let place = format!("update of zone {} at {server}", stage.bed.zone);
    for (n, row) in ROWS.iter().enumerate() {
        let changed = (row.change)(&stage.bed.bind);
        stage.bed.bind.restart(changed).await.unwrap();
        let (host, ingress) = (stage.host(&format!("h{n}")), format!("web{n}"));
        stage.ask(&ingress, &[&host]).await;
        let (code, text) = row.expected(make);
        let words = [&host, place.as_str(), "with key faythe. (hmac-sha256): ", text];
        stage.event(&ingress, "IssuanceStalled", &words[1..]).await;
        let code = format!("code=\"{code}\"");
        said(
            &stage.faythe,
            &[&["WARN", "state=\"stalled\"", &code], &words[..]].concat(),
        )
        .await;
        assert_eq!(stage.validations(), n, "the CA was told");

        stage.bed.bind.restart(original.clone()).await.unwrap();
        goes_on(&stage.bed, &stage.faythe, host, n + 1).await;
    }
}

#[tokio::test]
async fn p11_every_refusal_of_bind_is_told() {
    check_refusals(Make::Bind).await;
}

#[tokio::test]
async fn p11_every_refusal_of_knot_is_told() {
    check_refusals(Make::Knot).await;
}

#[tokio::test]
async fn p11_every_refusal_of_powerdns_is_told() {
    check_refusals(Make::PowerDns).await;
}

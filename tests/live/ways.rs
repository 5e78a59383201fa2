//! Where updates go: delegated challenges, several update servers, the primary of the SOA, unsigned zones, suffixes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use faythe_bed::bind::{self, Algorithm, Key};
use faythe_bed::dns_proxy::{DnsProxy, Fault, Opcode, Rule, opcode};
use faythe_bed::scratch::Scratch;
use faythe_bed::{Bed, Setup, pebble};
use serde_json::{Value, json};

use super::look::said;
use super::stage::{Stage, soon};
use super::zones::{grown, one_zone, zone_of};

/// What the first of several update servers may cost (P14).
const EXTRA: f64 = 2.0;

/// Makes BIND follow aliases from one of its zones to another for whoever wants recursion, as the CA does. There is nobody at
/// this address, and nothing else to be asked for.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// A Faythe with these zones.
async fn stage(bed: Bed, zones: Value) -> Stage {
    let config = grown(bed.config(), zones);
    Stage::of(bed, config).await
}

#[tokio::test]
async fn p07_the_hosts_of_one_run_each_go_their_own_way() {
    let (own, first, second) = ("_acme-challenge.own.four.test", "four-a.test", "four-b.test");
    // One that takes no updates, as in Active Directory, with the alias that its guide recommends.
    let closed = "four-ad.test";
    let lines = [
        format!("_acme-challenge.a IN CNAME a.{first}."),
        format!("_acme-challenge.b IN CNAME b.{second}."),
        "_acme-challenge.own IN NS ns".to_owned(),
    ];
    let mut records: Vec<_> = lines.map(|line| ("four.test".to_owned(), line)).into();
    records.push((
        closed.to_owned(),
        format!("_acme-challenge.www IN CNAME www.{first}."),
    ));
    let key = Key::new("second", Algorithm::HmacSha512);
    let scratch = Scratch::new("ways").unwrap();
    let key_file = scratch.write("second.key", key.file()).unwrap();
    let bed = Bed::start_as(Setup {
        name: "four".to_owned(),
        names: bind::Setup {
            zones: vec![first.to_owned(), own.to_owned()],
            owned: vec![(second.to_owned(), key)],
            resolves_at: Some(NOBODY),
            locked: vec![closed.to_owned()],
            records,
            // The bed gives each zone's server an address, and BIND minds the underscore in its name.
            options: "check-names primary ignore;".to_owned(),
            ..bind::Setup::default()
        },
        ..Setup::default()
    })
    .await
    .unwrap();
    let zones = json!({
        "four.test": zone_of(&bed, json!({})),
        first: zone_of(&bed, json!({})),
        second: zone_of(&bed, json!({ "auth_dns_key": key_file })),
        own: zone_of(&bed, json!({})),
        closed: zone_of(&bed, json!({ "auth_dns_key": "none" })),
    });
    let stage = stage(bed, zones).await;
    let mut hosts = ["direct", "a", "b", "own"]
        .map(|label| stage.host(label))
        .to_vec();
    hosts.push(format!("www.{closed}"));
    let asked: Vec<&str> = hosts.iter().map(String::as_str).collect();
    stage.ask("web", &asked).await;
    for host in &hosts {
        stage.certificate(host).await;
    }
    stage.clean().await;
    for (host, record, zone) in [
        (&hosts[1], "a.four-a.test", first),
        (&hosts[2], "b.four-b.test", second),
        (&hosts[3], own, own),
        (&hosts[4], "www.four-a.test", first),
    ] {
        let words = [
            "the challenge is delegated".to_owned(),
            format!("host={host}"),
            format!("record={record}"),
            format!("zone={zone}"),
        ];
        said(&stage.faythe, &words.each_ref().map(String::as_str)).await;
        soon("the zone has seen a value come and go", async || {
            let empty = stage.bed.bind.all_txt(zone).await?.is_empty();
            Ok(empty && stage.bed.bind.serial(zone).await? >= 3)
        })
        .await;
    }
    assert!(stage.lines(&["the challenge is delegated", &hosts[0]]).is_empty());
    assert_eq!(stage.bed.pebble.orders_created(), 5);
}

#[tokio::test]
async fn p14_the_second_update_server_gets_a_message_of_its_own_when_the_first_hangs() {
    let bed = Bed::start().await.unwrap();
    let (first, second) = (
        DnsProxy::start(bed.bind.address()).await.unwrap(),
        DnsProxy::start(bed.bind.address()).await.unwrap(),
    );
    first.set(Rule::always(Fault::Drop).only(Opcode::Update));
    let servers = [first.address().to_string(), second.address().to_string()];
    let config = one_zone(
        &bed,
        json!({ "update_servers": servers, "check": { "servers": "primary" } }),
    );
    let stage = Stage::of(bed, config).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    stage.clean().await;

    let updates = |proxy: &DnsProxy| {
        let mut passed = proxy.passed();
        passed.retain(|passed| opcode(&passed.request) == Opcode::Update);
        passed
    };
    let (hanging, sound) = (updates(&first), updates(&second));
    assert!(!hanging.is_empty() && sound.len() >= 2, "{hanging:?} {sound:?}");
    for one in &hanging {
        assert!(sound.iter().all(|other| other.request != one.request));
    }
    let of_first = async |what: &str| {
        let name = format!("faythe_dns_update_duration_seconds_{what}");
        let labels = [("server", servers[0].as_str())];
        stage.faythe.metric(&name, &labels).await.unwrap().unwrap()
    };
    let extra = of_first("sum").await / of_first("count").await;
    assert!(extra < EXTRA, "{extra} s");
}

#[tokio::test]
async fn p14_the_primary_that_the_soa_names_gets_the_update_and_the_zone_has_a_profile() {
    let bed = Bed::start_as(Setup {
        secondaries: 1,
        pebble: pebble::Setup::default().with_shortlived(),
        ..Setup::default()
    })
    .await
    .unwrap();
    let secondary = bed.secondaries[0].address().to_string();
    let keys = json!({ "update_servers": [secondary], "primary": "soa", "profile": "shortlived" });
    let config = one_zone(&bed, keys);
    let stage = Stage::of(bed, config).await;
    // Pebble takes either profile by chance where none is named.
    for n in 0..4 {
        let host = stage.host(&format!("h{n}"));
        stage.ask(&format!("web{n}"), &[&host]).await;
        let certificate = stage.certificate(&host).await;
        let life = certificate.not_before.duration_until(certificate.not_after);
        assert!(life.as_hours() <= 160, "{life}");
    }
    stage.clean().await;
    let updates = |server: &str| {
        let server = server.to_owned();
        let labels = [("server", server), ("result", "ok".to_owned())];
        let faythe = &stage.faythe;
        async move {
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            faythe.metric("faythe_dns_updates_total", &labels).await.unwrap()
        }
    };
    assert_eq!(updates(&secondary).await, None);
    let primary = format!("ns.{} at {}", stage.bed.zone, stage.bed.bind.address());
    assert!(updates(&primary).await >= Some(2.0));
}

#[tokio::test]
async fn p07_a_suffix_leads_into_a_zone_that_is_updated_without_a_key() {
    let scratch = Scratch::new("open").unwrap();
    let file = scratch.write(
        "open.zone",
        "$ORIGIN suffix-open.test.\n$TTL 60\n@ IN SOA ns h 1 3600 60 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n",
    );
    let alias = "_acme-challenge.www IN CNAME _acme-challenge.www.suffix.test.acme.suffix-open.test.";
    let bed = Bed::start_as(Setup {
        name: "suffix".to_owned(),
        names: bind::Setup {
            resolves_at: Some(NOBODY),
            records: vec![("suffix.test".to_owned(), alias.to_owned())],
            statements: format!(
                "zone \"suffix-open.test\" {{ type primary; file \"{}\"; allow-update {{ 127.0.0.1; }}; }};\n",
                file.unwrap().display()
            ),
            ..bind::Setup::default()
        },
        ..Setup::default()
    })
    .await
    .unwrap();
    let zones = json!({
        "suffix.test": zone_of(&bed, json!({ "challenge_suffix": "acme.suffix-open.test" })),
        "suffix-open.test": zone_of(&bed, json!({ "auth_dns_key": "none" })),
    });
    let stage = stage(bed, zones).await;
    said(&stage.faythe, &["WARN", "suffix-open.test", "not signed"]).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    soon("the value has come and gone", async || {
        let bind = &stage.bed.bind;
        let empty = bind.all_txt("suffix-open.test").await?.is_empty();
        Ok(empty && bind.serial("suffix-open.test").await? >= 3)
    })
    .await;
    assert_eq!(stage.bed.bind.serial("suffix.test").await.unwrap(), 1);
    assert_eq!(stage.bed.pebble.orders_created(), 1);
}

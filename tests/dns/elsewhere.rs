//! Where challenges go, and which servers a zone has, as real servers tell it.

use std::time::Duration;

use faythe_bed::names::{Cluster, Make, NameServer, Setup};
use faythe_bed::until;
use faythe_core::route::{Next, Route, RouteFault, Trail, Way};
use faythe_core::zone::{Rule, Zone, Zones};

use super::servers::on_each_make;
use super::*;

const OTHER: &str = "other.test";
/// A zone made for one host's challenges alone, on the same server.
const OWN: &str = "_acme-challenge.own.example.test";

on_each_make!(
    p06_aliases_are_followed_into_our_zones_and_a_wildcards_is_not,
    p07_four_names_go_four_ways,
);

/// Every row of P06, and the delegations of P07.
const RECORDS: [(&str, &str); 14] = [
    (ZONE, "_acme-challenge.explicit IN CNAME target.other.test."),
    (ZONE, "*.wild IN CNAME lb.vendor.test."),
    (ZONE, "*.both IN CNAME lb.vendor.test."),
    (ZONE, "_acme-challenge.both IN CNAME both.other.test."),
    (ZONE, "*.same IN CNAME same.other.test."),
    (ZONE, "_acme-challenge.same IN CNAME same.other.test."),
    (ZONE, "_acme-challenge.chain IN CNAME one.other.test."),
    (OTHER, "one IN CNAME two.example.test."),
    (ZONE, "two IN CNAME three.other.test."),
    (ZONE, "_acme-challenge.loop IN CNAME back"),
    (ZONE, "back IN CNAME _acme-challenge.loop"),
    (ZONE, "_acme-challenge.foreign IN CNAME y.vendor.test."),
    (ZONE, "_acme-challenge.given IN NS ns.vendor.test."),
    (ZONE, "_acme-challenge.own IN NS ns"),
];

struct Scene {
    server: NameServer,
    client: Client,
    zones: Zones,
}

async fn scene(make: Make) -> Scene {
    let mut records: Vec<_> = RECORDS
        .map(|(zone, line)| (zone.to_owned(), line.to_owned()))
        .into();
    // PowerDNS looks for DNAME only where it is told to.
    if make != Make::PowerDns {
        records.push((ZONE.to_owned(), "dname IN DNAME dname.other.test.".to_owned()));
    }
    let names = [ZONE, OTHER, OWN];
    // The bed gives each zone's server an address, and BIND minds the underscore in its name.
    let options = match make {
        Make::Bind => "check-names primary ignore;",
        Make::Knot | Make::PowerDns => "",
    };
    let setup = Setup {
        zones: names.map(str::to_owned).into(),
        records,
        options: options.to_owned(),
        ..Setup::one_zone(ZONE).of_make(make)
    };
    let server = NameServer::start(setup).await.unwrap();
    let key = super::servers::read(server.key().unwrap());
    let address: faythe::dns::server::ServerAddr = server.address().to_string().parse().unwrap();
    let apexes = names.map(|name| DnsName::parse_zone(name).unwrap());
    let setups = apexes
        .iter()
        .map(|apex| ZoneSetup::new(apex.clone(), address.clone(), key.clone()));
    let client = Client::new(setups.collect(), clock());
    let zones = apexes.map(|apex| Zone {
        apex,
        wildcards: false,
        rule: Rule::flat(&server.address().to_string(), &[]),
        challenges: None,
    });
    Scene {
        server,
        client,
        zones: Zones::new(zones.into()),
    }
}

impl Scene {
    async fn way(&self, host: &str) -> Result<Route, RouteFault> {
        let host: faythe_core::name::Hostname = host.parse().unwrap();
        let zone = self.zones.of(host.base()).unwrap();
        let mut next = Trail::begin(&self.zones, zone, host.challenge_record())?;
        loop {
            let trail = match next {
                Next::Ask(trail) => trail,
                Next::Write(route) => return Ok(route),
            };
            let (zone, record) = trail.question();
            let found = self.client.find(zone, record).await.unwrap();
            next = trail.follow(found)?;
        }
    }

    async fn check(&self, host: &str, zone: &str, record: &str, way: Way) {
        let expected = Route {
            zone: DnsName::parse_zone(zone).unwrap(),
            record: RecordName::parse(record).unwrap(),
            way,
        };
        assert_eq!(self.way(host).await, Ok(expected), "{host}");
    }

    async fn check_refused(&self, host: &str, code: &str, words: &[&str]) {
        let fault = self.way(host).await.unwrap_err();
        assert_eq!(fault.code(), code, "{host}");
        let text = fault.to_string();
        for word in words {
            assert!(text.contains(word), "no {word} in {text:?}");
        }
    }
}

async fn p06_aliases_are_followed_into_our_zones_and_a_wildcards_is_not(make: Make) {
    let scene = scene(make).await;
    let direct = "_acme-challenge.plain.example.test";
    scene.check("plain.example.test", ZONE, direct, Way::Direct).await;
    let at = "target.other.test";
    scene
        .check("explicit.example.test", OTHER, at, Way::Delegated)
        .await;
    let wild = "_acme-challenge.wild.example.test";
    scene.check("wild.example.test", ZONE, wild, Way::Direct).await;
    // The wildcard stands further up than the name's parent.
    let deep = "_acme-challenge.a.wild.example.test";
    scene.check("a.wild.example.test", ZONE, deep, Way::Direct).await;
    let at = "both.other.test";
    scene.check("both.example.test", OTHER, at, Way::Delegated).await;
    let at = "same.other.test";
    scene.check("same.example.test", OTHER, at, Way::Delegated).await;
    let at = "three.other.test";
    scene.check("chain.example.test", OTHER, at, Way::Delegated).await;
    if make != Make::PowerDns {
        let at = "_acme-challenge.dname.other.test";
        // A DNAME moves what is below it.
        scene.check("dname.example.test", OTHER, at, Way::Delegated).await;
    }
    let circle = ["_acme-challenge.loop.example.test", "back.example.test"];
    scene
        .check_refused("loop.example.test", "dns-cname-loop", &circle)
        .await;
    let out = ["_acme-challenge.foreign.example.test", "y.vendor.test"];
    scene
        .check_refused("foreign.example.test", "dns-cname-foreign", &out)
        .await;
    let given = ["_acme-challenge.given.example.test", "NS records"];
    scene
        .check_refused("given.example.test", "dns-zone-cut", &given)
        .await;
}

async fn p07_four_names_go_four_ways(make: Make) {
    let scene = scene(make).await;
    let ways = [
        ("direct.example.test", ZONE, "_acme-challenge.direct.example.test"),
        ("explicit.example.test", OTHER, "target.other.test"),
        ("chain.example.test", OTHER, "three.other.test"),
        ("own.example.test", OWN, OWN),
    ];
    for (host, zone, at) in ways {
        let route = scene.way(host).await.unwrap();
        assert_eq!((route.zone.as_str(), route.record.as_str()), (zone, at));
        let foreign = match route.way {
            Way::Delegated => Foreign::Kept,
            Way::Direct => Foreign::Removed,
        };
        let publish = scene.client.publish(&route.zone, &route.record, "v", foreign);
        publish.await.unwrap();
        let check = Check::of(Role::Update, &scene.server.address().to_string());
        let answer = scene.client.look(&route.zone, &check, &route.record).await;
        assert_eq!(answer.unwrap().values, ["v"], "{host}");
    }
}

#[tokio::test]
async fn p03_every_address_of_every_name_server_is_found_and_judged_alone() {
    let mut cluster = Cluster::start(Setup::one_zone(ZONE), 3).await.unwrap();
    let primary = cluster.primary.address();
    let key = super::servers::read(cluster.primary.key().unwrap());
    let setup = ZoneSetup {
        name_server_port: primary.port(),
        ..ZoneSetup::new(apex(ZONE), primary.to_string().parse().unwrap(), key)
    };
    let client = Client::new(vec![setup], clock());
    let servers = client.survey(&apex(ZONE)).await.unwrap();
    // The update server itself is among the name servers, and is looked at anyway.
    let named: Vec<_> = servers.iter().map(ToString::to_string).collect();
    let expected = [2, 3, 4].map(|n| format!("ns{n}.example.test (127.0.0.{n}:{})", primary.port()));
    assert_eq!(named, expected);

    let at = record("www.example.test");
    publish(&client, "www.example.test", "one").await.unwrap();
    for check in &servers {
        until(Duration::from_secs(20), "the value arrives", async || {
            let answer = client.look(&apex(ZONE), check, &at).await?;
            Ok((answer.values == ["one"]).then_some(()))
        })
        .await
        .unwrap();
    }
    cluster.secondaries[0].hold();
    cluster.secondaries[1].refuse().await.unwrap();
    cluster.secondaries[2].die();
    publish(&client, "www.example.test", "two").await.unwrap();
    let late = client.look(&apex(ZONE), &servers[0], &at).await.unwrap();
    assert_eq!(late.values, ["one"]);
    let refused = client.look(&apex(ZONE), &servers[1], &at).await.unwrap_err();
    assert!(refused.to_string().starts_with("answered REFUSED"), "{refused}");
    let dead = client.look(&apex(ZONE), &servers[2], &at).await.unwrap_err();
    assert!(matches!(dead, LookError::Unreachable(_)), "{dead}");
}

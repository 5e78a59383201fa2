//! Chains, circles and cuts, over a model of what the servers of a few zones hold.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::zone::{Rule, Suffix};

fn name(text: &str) -> DnsName {
    DnsName::parse_zone(text).unwrap()
}

fn record(text: &str) -> RecordName {
    RecordName::parse(text).unwrap()
}

fn zone(apex: &str) -> Zone {
    Zone {
        apex: name(apex),
        wildcards: false,
        rule: Rule::flat("ns.test", &[]),
        challenges: None,
    }
}

fn zones(apexes: &[&str]) -> Zones {
    Zones::new(apexes.iter().map(|apex| zone(apex)).collect())
}

/// Follows the trail from `_acme-challenge.www.example.com`; says how often somebody was asked.
fn walk(zones: &Zones, holds: &BTreeMap<&str, Found>) -> (Result<Route, RouteFault>, usize) {
    let start = record("_acme-challenge.www.example.com");
    let mut asked = 0;
    let serves = zones.of(&name("www.example.com")).unwrap();
    let mut next = Trail::begin(zones, serves, start.clone());
    loop {
        match next {
            Ok(Next::Write(route)) => return (Ok(route), asked),
            Ok(Next::Ask(trail)) => {
                let (zone, asked_for) = trail.question();
                let found = match holds.get(asked_for.as_str()) {
                    // The servers of a zone know it as theirs.
                    Some(Found::Cut(cut)) if cut == zone => Found::Here,
                    found => found.cloned().unwrap_or(Found::Here),
                };
                asked += 1;
                next = trail.follow(found);
            }
            Err(fault) => return (Err(fault), asked),
        }
    }
}

fn alias(target: &str) -> Found {
    Found::Alias {
        target: target.to_owned(),
    }
}

fn to(zone: &str, at: &str, way: Way) -> Result<Route, RouteFault> {
    Ok(Route {
        zone: name(zone),
        record: record(at),
        way,
    })
}

#[test]
fn p06_a_name_without_alias_is_written_at_itself_after_one_question() {
    let zones = zones(&["example.com"]);
    let start = "_acme-challenge.www.example.com";
    let (route, asked) = walk(&zones, &BTreeMap::new());
    assert_eq!((route, asked), (to("example.com", start, Way::Direct), 1));
}

#[test]
fn p06_a_chain_of_three_is_followed_into_the_zone_at_its_end() {
    let zones = zones(&["example.com", "a.test", "b.test"]);
    let holds = BTreeMap::from([
        ("_acme-challenge.www.example.com", alias("one.a.test")),
        ("one.a.test", alias("TWO.example.com.")),
        ("two.example.com", alias("three_x.b.test")),
    ]);
    assert_eq!(
        walk(&zones, &holds).0,
        to("b.test", "three_x.b.test", Way::Delegated)
    );
}

#[test]
fn p06_an_alias_that_leaves_our_zones_is_named_with_its_target() {
    let zones = zones(&["example.com"]);
    let holds = BTreeMap::from([
        ("_acme-challenge.www.example.com", alias("x.example.com")),
        ("x.example.com", alias("y.vendor.test")),
    ]);
    let fault = walk(&zones, &holds).0.unwrap_err();
    assert_eq!(fault.code(), "dns-cname-foreign");
    assert_eq!(
        fault.to_string(),
        "_acme-challenge.www.example.com is a CNAME to x.example.com, and this is a CNAME to y.vendor.test, which is in no \
         zone of the configuration: a value at the alias itself would be dropped, so nothing was sent; remove the CNAME at \
         x.example.com, or add the zone that it leads to"
    );
}

#[test]
fn p06_circles_long_chains_and_unusable_targets_have_their_verdicts() {
    let table = zones(&["example.com"]);
    let start = "_acme-challenge.www.example.com";
    let circle = BTreeMap::from([(start, alias("x.example.com")), ("x.example.com", alias(start))]);
    assert_eq!(walk(&table, &circle).0.unwrap_err().code(), "dns-cname-loop");
    let itself = BTreeMap::from([(start, alias(start))]);
    assert_eq!(walk(&table, &itself).0.unwrap_err().code(), "dns-cname-loop");
    let links: Vec<String> = (0..20).map(|n| format!("l{n}.example.com")).collect();
    let mut long = BTreeMap::from([(start, alias("l0.example.com"))]);
    for pair in links.windows(2) {
        long.insert(&pair[0], alias(&pair[1]));
    }
    assert_eq!(walk(&table, &long).0.unwrap_err().code(), "dns-cname-long");
    let strange = BTreeMap::from([(start, alias("a b.example.com"))]);
    assert_eq!(walk(&table, &strange).0.unwrap_err().code(), "dns-cname-name");
}

#[test]
fn p07_a_delegated_subzone_is_written_if_it_is_ours() {
    let start = "_acme-challenge.www.example.com";
    let holds = BTreeMap::from([(start, Found::Cut(name(start)))]);
    let fault = walk(&zones(&["example.com"]), &holds).0.unwrap_err();
    assert_eq!(fault.code(), "dns-zone-cut");
    let ours = zones(&["example.com", start]);
    assert_eq!(walk(&ours, &holds).0, to(start, start, Way::Delegated));
}

#[test]
fn p07_a_zone_of_the_same_server_is_written_if_it_is_ours_and_else_left_to_the_server() {
    let start = "_acme-challenge.www.example.com";
    let holds = BTreeMap::from([(start, Found::Within(name("www.example.com")))]);
    let one = zones(&["example.com"]);
    assert_eq!(walk(&one, &holds).0, to("example.com", start, Way::Direct));
    let both = zones(&["example.com", "www.example.com"]);
    let serves = both.of(&name("x.example.com")).unwrap();
    let Ok(Next::Ask(trail)) = Trail::begin(&both, serves, record(start)) else {
        panic!("it ends before anybody is asked")
    };
    let Ok(Next::Ask(trail)) = trail.follow(Found::Within(name("www.example.com"))) else {
        panic!("the zone is ours")
    };
    // Asked again, the server says the same, and that is the end.
    let end = trail.follow(Found::Within(name("www.example.com"))).unwrap();
    let Next::Write(route) = end else {
        panic!("it goes on")
    };
    assert_eq!(Ok(route), to("www.example.com", start, Way::Delegated));
}

#[test]
fn p06_a_cut_that_leads_nowhere_is_no_way() {
    let zones = zones(&["example.com", "other.test"]);
    for cut in ["other.test", "com"] {
        let holds = BTreeMap::from([("_acme-challenge.www.example.com", Found::Cut(name(cut)))]);
        assert_eq!(walk(&zones, &holds).0.unwrap_err().code(), "dns-zone-cut");
    }
}

#[test]
fn a_suffix_of_the_configuration_is_a_way_of_its_own() {
    let mut fixed = zone("example.com");
    fixed.challenges = Some(Suffix {
        zone: name("auth.test"),
        suffix: name("c.auth.test"),
    });
    let zones = Zones::new(vec![fixed]);
    let (route, asked) = walk(&zones, &BTreeMap::new());
    let at = "_acme-challenge.www.example.com.c.auth.test";
    assert_eq!((route, asked), (to("auth.test", at, Way::Delegated), 0));
}

#[test]
fn p06_an_alias_counts_as_a_wildcards_only_where_nothing_says_otherwise() {
    let alias = |target: &str| Probe::Alias(target.to_owned());
    let judge = |sibling: &Probe, asterisk: &Probe, below: &Probe| {
        Probes {
            sibling: sibling.clone(),
            asterisk: asterisk.clone(),
            below: below.clone(),
        }
        .show_a_wildcard("lb.vendor.test")
    };
    let (same, other) = (alias("LB.vendor.test"), alias("x.test"));
    // A wildcard alone, beside the name or further up.
    assert!(judge(&same, &same, &same));
    assert!(judge(&same, &Probe::Nothing, &same));
    // An explicit alias alone, and beside a wildcard with another target.
    assert!(!judge(&Probe::Nothing, &Probe::Nothing, &Probe::Nothing));
    assert!(!judge(&other, &other, &Probe::Nothing));
    // Both with the same target: what is below the name tells them apart.
    assert!(!judge(&same, &same, &Probe::Nothing));
    // Without that, the wildcard is believed in: nothing is lost by writing at the name itself.
    assert!(judge(&same, &same, &Probe::Unknown));
}

proptest! {
    #[test]
    fn p06_every_trail_comes_to_an_end(links in proptest::collection::vec((0usize..12, 0usize..14), 0..12)) {
        let zones = zones(&["example.com"]);
        let names: Vec<String> = (0..14)
            .map(|n| match n {
                0 => "_acme-challenge.www.example.com".to_owned(),
                12 => "x.vendor.test".to_owned(),
                n => format!("n{n}.example.com"),
            })
            .collect();
        let holds: BTreeMap<&str, Found> =
            links.iter().map(|(from, to)| (names[*from].as_str(), alias(&names[*to]))).collect();
        let (outcome, asked) = walk(&zones, &holds);
        prop_assert!(asked <= ALIASES_MAX + 1);
        if let Ok(route) = outcome {
            // Nothing is written where an alias stands, nor outside our zones.
            prop_assert!(!holds.contains_key(route.record.as_str()));
            prop_assert!(route.record.is_at_or_below(&route.zone));
            prop_assert_eq!(route.way == Way::Direct, asked == 1);
        }
    }
}

//! A file with `zones`.

use faythe_core::zone::{Quorum, Rule, Servers};

use super::*;
use crate::dns::tsig::Algorithm;

/// A file with one zone of the grown form, and these entries in it.
fn zone_with(entries: &str) -> String {
    format!(
        r#"{{
    "secret_namespace": "faythe", "secret_hostlabel": "host",
    "lets_encrypt_url": "https://acme.example/directory", "lets_encrypt_email": "a@example.com",
    "zones": {{"example.com": {{
        {entries}
    }}}}
}}"#
    )
}

/// What every entry needs.
const NEEDED: &str = r#""auth_dns_server": "ns1", "auth_dns_key": "k""#;

fn zone(entries: &str) -> ZoneConfig {
    let (config, warnings) =
        read_text(&zone_with(entries)).unwrap_or_else(|problems| panic!("{entries}: {problems}"));
    assert_eq!(warnings, []);
    config.zones.into_iter().next().unwrap()
}

/// The problems of a file with `zones`, a line each.
fn told(zones: &str) -> Vec<String> {
    let rest = LEAST
        .lines()
        .filter(|line| !line.contains("_dns_") && *line != "}")
        .collect::<String>();
    let text = format!("{rest} \"zones\":\n{zones}}}");
    let problems = read_text(&text).expect_err(&text);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn p03_a_zone_may_say_which_of_its_servers_must_show_a_challenge() {
    let of = |check: &str| {
        let text = format!(
            r#"{{"secret_namespace": "faythe", "secret_hostlabel": "host",
            "lets_encrypt_url": "https://acme.example/directory", "lets_encrypt_email": "a@example.com",
            "zones": {{"example.com": {{"auth_dns_server": "ns1", "auth_dns_key": "one.key"{check}}}}}}}"#
        );
        read_text(&text).map(|(config, _)| config.zones[0].rule.clone())
    };
    assert_eq!(of("").unwrap(), Rule::flat("ns1", &[]));
    assert_eq!(of(r#", "check": {}"#).unwrap(), Rule::of_zone("ns1", &[]));
    let full = of(r#", "check": {"servers": "primary", "quorum": 2, "dead_after": 9, "deadline": 5000}"#);
    let expected = Rule {
        servers: Servers::Primary,
        quorum: Quorum::AtLeast(2),
        dead_after: 9,
        deadline: Duration::from_secs(5),
        ..Rule::of_zone("ns1", &[])
    };
    assert_eq!(full.unwrap(), expected);
    let wrong = of(r#", "check": {"servers": "some"}"#).unwrap_err().to_string();
    assert!(wrong.contains("give `authoritative` or `primary`"), "{wrong}");
}

#[test]
fn any_number_of_zones_each_with_its_own_server_and_key() {
    let text = r#"{
        "secret_namespace": "faythe", "secret_hostlabel": "host",
        "lets_encrypt_url": "https://acme.example/directory", "lets_encrypt_email": "a@example.com",
        "val_dns_servers": ["192.0.2.9"], "issue_wildcard_certs": true,
        "zones": {
            "example.com": {"auth_dns_server": "ns1.example.com", "auth_dns_key": "one.key"},
            "Example.ORG.": {
                "auth_dns_server": "[2001:db8::1]:5353", "auth_dns_key": "two.key", "val_dns_servers": [],
                "issue_wildcard_certs": false, "ttl": 30, "stale_values": "keep"
            },
            "_acme-challenge.example.net": {"auth_dns_server": "192.0.2.1", "auth_dns_key": "one.key"}
        }
    }"#;
    let (config, warnings) = read_text(text).unwrap();
    assert_eq!(warnings, []);
    let [com, org, net] = &config.zones[..] else {
        panic!("{config:?}")
    };
    assert_eq!(
        (com.apex.as_str(), com.server.as_str()),
        ("example.com", "ns1.example.com")
    );
    assert_eq!(com.key, file("one.key"));
    assert!(com.wildcards);
    assert_eq!(com.ttl, Duration::from_secs(120));
    assert_eq!(com.stale_values, Foreign::Removed);
    assert_eq!(com.rule.required.len(), 2);
    assert_eq!(
        (org.apex.as_str(), org.server.as_str()),
        ("example.org", "[2001:db8::1]:5353")
    );
    assert_eq!(org.key, file("two.key"));
    assert!(!org.wildcards);
    assert_eq!(org.ttl, Duration::from_secs(30));
    assert_eq!(org.stale_values, Foreign::Kept);
    assert_eq!(org.rule.required.len(), 1);
    assert_eq!(net.apex.as_str(), "_acme-challenge.example.net");
    assert_eq!(config.zones().iter().count(), 3);
}

#[test]
fn a_zone_may_stand_there_once_in_whatever_letters() {
    let entry = format!("{{{NEEDED}}}");
    let zones = format!("{{\n\"example.com\": {entry},\n\"EXAMPLE.com.\": {entry}}}");
    assert_eq!(
        told(&zones),
        ["c.json:4: zones.\"EXAMPLE.com.\": zone example.com stands in the file twice; keep one of the two"]
    );
}

#[test]
fn p10_a_public_suffix_is_no_zone() {
    let entry = format!("{{{NEEDED}}}");
    for suffix in ["com", "co.uk", "dk"] {
        let told = told(&format!("{{{suffix:?}: {entry}}}"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("is a public suffix"), "{told:?}");
        assert!(told[0].contains(&format!("`example.{suffix}`")), "{told:?}");
    }
    let text = zone_with(NEEDED).replace("example.com\": {", "corp\": {");
    assert_eq!(read_text(&text).unwrap().0.zones[0].apex.as_str(), "corp");
}

#[test]
fn problems_in_entries_come_at_once_with_their_whole_path() {
    let zones = r#"{
        "example.com": {
            "auth_dns_sever": "ns1",
            "auth_dns_key": "k", "ttl": 0,
            "stale_values": "drop", "zones": {}},
        "*.example.org": {"auth_dns_server": 7, "auth_dns_key": "k"},
        "example.net": []
    }"#;
    let told = told(zones);
    let expected = [
        r#"c.json:3: zones."example.com".auth_dns_server: it is missing; add it: it is the DNS server that"#,
        r#"c.json:4: zones."example.com".auth_dns_sever: there is no such key; did you mean `auth_dns_server`?"#,
        r#"c.json:5: zones."example.com".ttl: 0 is too small; give a number of seconds from 1 to 86400"#,
        r#"c.json:6: zones."example.com".zones: there is no such key; move it: it belongs into the top of the file"#,
        r#"c.json:6: zones."example.com".stale_values: "drop" says neither; give `remove` or `keep`"#,
        r#"c.json:7: zones."*.example.org": "*.example.org" is not a zone: "#,
        r#"c.json:7: zones."*.example.org".auth_dns_server: 7 is a number; give a string in double quotes"#,
        r#"c.json:8: zones."example.net": an array stands here; give an object: keys with values"#,
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for expected in expected {
        assert!(
            told.iter().any(|told| told.starts_with(expected)),
            "{expected} is not in {told:#?}"
        );
    }
}

#[test]
fn the_flat_keys_of_a_zone_do_not_stand_beside_zones() {
    let text = with("zones", &format!("{{\"example.com\": {{{NEEDED}}}}}"));
    let problems = read_text(&text).unwrap_err();
    let keys: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.key.as_deref())
        .collect();
    assert_eq!(keys, ["auth_dns_server", "auth_dns_zone", "auth_dns_key"]);
    for problem in problems.iter() {
        assert_eq!(problem.what, "it stands beside `zones`");
    }
}

#[test]
fn a_key_of_a_zone_at_the_top_is_shown_its_place() {
    assert_eq!(
        refused("ttl", "120"),
        "c.json:2: ttl: there is no such key; move it: it belongs into `zones.<zone>`"
    );
}

#[test]
fn no_zone_at_all_is_refused() {
    assert_eq!(
        told("{}"),
        ["c.json:2: zones: it names no zone; add one, such as `\"example.com\": {…}`"]
    );
    assert!(told("[]")[0].contains("zones: an array stands here"));
}

#[test]
fn s10_an_entry_asks_its_update_server_and_then_the_others() {
    let zone = zone(&format!(r#"{NEEDED}, "val_dns_servers": ["a", "ns1", "b"]"#));
    let asked = zone.rule.required.into_iter().map(|check| check.server);
    assert_eq!(asked.collect::<Vec<_>>(), ["ns1", "a", "b"]);
}

#[test]
fn p11_a_secret_alone_gets_its_name_and_algorithm_from_the_entry() {
    let zone = zone(&format!(
        r#"{NEEDED}, "auth_dns_key_name": "ddns", "auth_dns_key_algorithm": "hmac-sha256-128""#
    ));
    let hint = Hint {
        name: Some("ddns".to_owned()),
        algorithm: Some((Algorithm::HmacSha256, 128)),
    };
    let path = "k".into();
    assert_eq!(zone.key, KeyConfig::File { path, hint });
    let told = told(&format!(
        r#"{{"example.com": {{{NEEDED}, "auth_dns_key_algorithm": "hmac-sha999"}}}}"#
    ));
    assert!(told[0].contains("hmac-sha256"), "{told:?}");
}

#[test]
fn a_zone_without_a_key_says_so() {
    let unsigned = zone(r#""auth_dns_server": "ns1", "auth_dns_key": "none", "clock_skew_limit": 0"#);
    assert_eq!(unsigned.key, KeyConfig::Unsigned);
    assert_eq!(unsigned.clock_skew_limit, Duration::ZERO);
    // In a flat file this is the name of a file, as it was.
    assert_eq!(accepted("auth_dns_key", r#""none""#).zones[0].key, file("none"));
}

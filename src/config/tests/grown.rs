//! A file with `zones`.

use faythe_core::zone::{Quorum, Servers};

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
        (com.apex.as_str(), &com.servers[..]),
        ("example.com", &["ns1.example.com".to_owned()][..])
    );
    assert_eq!(com.key, file("one.key"));
    assert!(com.wildcards);
    assert_eq!(com.ttl, Duration::from_secs(120));
    assert_eq!(com.stale_values, Foreign::Removed);
    assert_eq!(com.rule.required.len(), 2);
    assert_eq!(
        (org.apex.as_str(), &org.servers[..]),
        ("example.org", &["[2001:db8::1]:5353".to_owned()][..])
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
    assert_eq!(zone.rule.servers, Servers::Authoritative);
    assert_eq!(zone.rule.quorum, Quorum::All);
}

#[test]
fn p03_every_part_of_the_check_can_be_said() {
    let check = |check: &str| zone(&format!("{NEEDED}, \"check\": {{{check}}}")).rule;
    let rule = check(r#""servers": "primary", "quorum": 2, "dead_after": 7, "deadline": 90000"#);
    assert_eq!(rule.servers, Servers::Primary);
    assert_eq!(rule.quorum, Quorum::AtLeast(2));
    assert_eq!(rule.dead_after, 7);
    assert_eq!(rule.deadline, Duration::from_secs(90));
    let rule = check(r#""servers": ["ns2", "ns3"], "quorum": "all""#);
    assert_eq!(
        rule.servers,
        Servers::Listed(vec!["ns2".to_owned(), "ns3".to_owned()])
    );
    assert_eq!(check(""), zone(NEEDED).rule);
    let mistakes = [
        (
            r#""servers": "some""#,
            "give `authoritative`, `primary`, or an array",
        ),
        (
            r#""servers": 7"#,
            "give one of the words for it, or an array of strings",
        ),
        (
            r#""servers": ["a b"]"#,
            "check.servers[0]: \"a b\" is not a name server",
        ),
        (r#""quorum": "most""#, "give an integer from 1 to 1000, or `all`"),
        (r#""quorum": 0"#, "too small"),
        (
            r#""port": 65536"#,
            "check.port: 65536 is too large; give a number from 1 to 65535",
        ),
        (r#""deadline": 10"#, "a number of milliseconds from 1000"),
        (
            r#""quorm": 1"#,
            "zones.\"example.com\".check.quorm: there is no such key; did you mean `quorum`?",
        ),
    ];
    for (entries, words) in mistakes {
        let told = told(&format!(
            "{{\"example.com\": {{{NEEDED}, \"check\": {{{entries}}}}}}}"
        ));
        assert!(told[0].contains(words), "{told:?}");
    }
}

#[test]
fn several_update_servers_are_tried_in_order_and_none_is_a_must() {
    let entries = r#""update_servers": ["ns1", "ns2:5353"], "auth_dns_key": "k", "val_dns_servers": ["a"]"#;
    let zone = zone(entries);
    assert_eq!(zone.servers, ["ns1", "ns2:5353"]);
    let required: Vec<_> = zone
        .rule
        .required
        .iter()
        .map(|check| check.server.as_str())
        .collect();
    assert_eq!(required, ["a"]);
    let closed = self::zone(&format!(r#"{entries}, "check": {{"servers": "primary"}}"#));
    assert_eq!(closed.rule.servers, Servers::Listed(zone.servers));
    let soa = self::zone(&format!(r#"{entries}, "primary": "soa""#));
    assert_eq!(soa.primary, Primary::FromSoa);
    let told = |entries: &str| told(&format!("{{\"example.com\": {{{entries}}}}}"));
    assert!(told(&format!(r#"{NEEDED}, "primary": "ns1""#))[0].contains("`listed` or `soa`"));
    assert!(told(&format!(r#"{NEEDED}, "update_servers": ["ns2"]"#))[0].contains("beside `update_servers`"));
    assert!(told(r#""update_servers": [], "auth_dns_key": "k""#)[0].contains("it names no server"));
}

#[test]
fn p07_a_challenge_suffix_lies_in_a_zone_that_is_listed_or_in_one_of_its_own() {
    let entry = format!(r#"{{{NEEDED}, "challenge_suffix": "acme.example.net"}}"#);
    let read = |others: &str| {
        let rest = zone_with("")
            .replace("{\"example.com\": {", "{")
            .replace("}}\n}", "}\n}");
        let text = rest.replace(
            "\"zones\": {",
            &format!("\"zones\": {{{others} \"example.com\": {entry}"),
        );
        read_text(&text)
            .unwrap_or_else(|problems| panic!("{text}: {problems}"))
            .0
    };
    let suffix = |config: &Config| {
        let zones = config.zones();
        let zone = zones.at(&"example.com".parse().unwrap()).unwrap();
        zone.challenges.clone().unwrap().zone.to_string()
    };
    let alone = read("");
    assert_eq!(suffix(&alone), "acme.example.net");
    let [aside] = &alone.aside()[..] else {
        panic!("{alone:?}")
    };
    assert_eq!(aside.servers, ["ns1"]);
    assert!(alone.zones().of(&"a.acme.example.net".parse().unwrap()).is_none());
    assert!(alone.zones().at(&aside.apex).is_some());

    let listed = read(&format!(r#""example.net": {{{NEEDED}}},"#));
    assert_eq!(suffix(&listed), "example.net");
    assert_eq!(listed.aside(), []);
    let listed = read(&format!(r#""acme.example.net": {{{NEEDED}}},"#));
    assert_eq!(suffix(&listed), "acme.example.net");
    assert_eq!(listed.aside(), []);
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

#[test]
fn p22_what_may_decide_whether_a_certificate_comes_about_has_a_hash_for_each_zone() {
    let setups = |more: &str, entries: &str| {
        let zones = format!(r#""example.org": {{{NEEDED}}}, "example.com": {{{NEEDED}{entries}}}"#);
        let text = format!(
            r#"{{{more} "secret_namespace": "faythe", "secret_hostlabel": "host",
            "lets_encrypt_url": "https://acme.example/directory", "lets_encrypt_email": "a@example.com",
            "zones": {{{zones}}}}}"#
        );
        let (config, _) = read_text(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let setups = config.setups();
        ["example.com", "example.org"].map(|zone| setups[&zone.parse().unwrap()])
    };
    let before = setups("", "");
    assert_eq!(setups(r#""monitor_interval": 7, "issue_grace": 60,"#, ""), before);
    let [com, org] = setups("", r#", "profile": "shortlived""#);
    assert!(com != before[0] && org == before[1], "the zone's own");
    let [com, org] = setups(r#""key_type": "rsa-2048","#, "");
    assert!(com != before[0] && org != before[1], "what is for all");
}

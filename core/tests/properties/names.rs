//! Laws of names, of zones, and of how a certificate stands.

use std::time::Duration;

use faythe_core::cert::{standing, turns_at};
use faythe_core::name::{DnsName, Hostname, RecordName};
use faythe_core::schedule::{Threshold, ahead, renew_at};
use faythe_core::zone::{Rule, Zone, Zones};
use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::worlds::{held, hosts, start};

/// Texts as objects have them: mostly names, now and then anything.
fn text() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        8 => "[a-zA-Z0-9]([a-zA-Z0-9-]{0,9}[a-zA-Z0-9])?",
        1 => "[a-z]{60,66}",
        1 => "xn--[a-z0-9-]{1,12}",
        1 => "[a-zäöüßñ一-三]{1,6}",
        1 => "[-_*.a]{0,3}",
        1 => "[0-9１-９]{1,3}",
        1 => "\\PC{0,4}",
    ];
    let start = prop_oneof![4 => Just(""), 1 => Just("*."), 1 => Just("_acme-challenge.")];
    let end = prop_oneof![4 => Just(""), 1 => Just("."), 1 => Just("。")];
    (start, vec(label, 0..6), end)
        .prop_map(|(start, labels, end)| format!("{start}{}{end}", labels.join(".")))
}

fn name() -> impl Strategy<Value = DnsName> {
    vec("[a-c]{1,2}", 1..5).prop_map(|labels| labels.join(".").parse().unwrap())
}

fn any_host() -> impl Strategy<Value = Hostname> {
    (name(), any::<bool>()).prop_map(|(base, wildcard)| {
        if wildcard {
            Hostname::wildcard_of(base)
        } else {
            Hostname::exact(base)
        }
    })
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn p28_what_is_printed_is_read_back(text in text()) {
        if let Ok(host) = Hostname::parse(&text) {
            let printed = host.to_string();
            prop_assert_eq!(Hostname::parse(&printed), Ok(host.clone()));
            prop_assert_eq!(Hostname::parse(&printed.to_uppercase()), Ok(host.clone()));
            prop_assert_eq!(Hostname::parse(&format!("{printed}.")), Ok(host.clone()));
            let record = host.challenge_record();
            prop_assert_eq!(RecordName::parse(record.as_str()), Ok(record));
        }
    }

    #[test]
    fn p27_p28_every_host_fits_the_dns(text in text()) {
        if let Ok(host) = Hostname::parse(&text) {
            let printed = host.to_string();
            let record = host.challenge_record();
            prop_assert!(printed.len() <= 253 && record.as_str().len() <= 253);
            prop_assert!(host.base().labels() > 1);
            for label in host.base().as_str().split('.') {
                prop_assert!((1..=63).contains(&label.len()));
                prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
            }
            prop_assert!(host.base().as_str().parse::<std::net::IpAddr>().is_err());
        }
    }

    #[test]
    fn a_certificate_covers_its_name_and_a_wildcard_one_label_more(a in any_host(), b in any_host()) {
        prop_assert!(a.covers(&a));
        let below = a.is_wildcard() && !b.is_wildcard() && b.base().parent() == Some(a.base().as_str());
        prop_assert_eq!(a.covers(&b), a == b || below);
        prop_assert_eq!(a.challenge_record() == b.challenge_record(), a.base() == b.base());
    }

    #[test]
    fn p10_the_longest_suffix_serves(apexes in vec(name(), 0..6), host in any_host()) {
        let labels = |name: &DnsName| name.as_str().split('.').rev().map(str::to_owned).collect::<Vec<_>>();
        let longest = apexes
            .iter()
            .filter(|apex| labels(host.base()).starts_with(&labels(apex)))
            .max_by_key(|apex| apex.labels());
        let table = apexes.iter().map(|apex| Zone {
            apex: apex.clone(),
            wildcards: true,
            rule: Rule::flat("ns.test", &[]),
            challenges: None,
        });
        let zones = Zones::new(table.collect());
        prop_assert_eq!(zones.of(host.base()).map(|zone| &zone.apex), longest);
        if let Some(zone) = zones.of(host.base()) {
            let certificate = zone.certificate_for(&host);
            prop_assert!(certificate.covers(&host));
            prop_assert!(certificate.base().is_at_or_below(&zone.apex));
            prop_assert_eq!(zone.certificate_for(&certificate), certificate, "it serves itself");
        }
    }

    #[test]
    fn a_certificate_is_renewed_within_its_life_and_never_at_once(hours in 1..9000_i64, days in 0..400_u64) {
        let end = ahead(start(), SignedDuration::from_hours(hours));
        for threshold in [Threshold::Default, Threshold::Set(Duration::from_secs(days * 86_400))] {
            let due = renew_at(start(), end, threshold);
            prop_assert!(ahead(start(), SignedDuration::from_hours(hours) / 3) <= due && due <= end);
        }
    }

    #[test]
    fn standing_changes_only_when_it_was_foretold(held in vec(held(0), 0..4), later in 0..200_i64) {
        let host = hosts().swap_remove(0);
        let stands = |now| standing(&host, held.iter(), Threshold::Default, now);
        let later = ahead(start(), SignedDuration::from_hours(later * 24));
        if turns_at(&host, held.iter(), Threshold::Default, start()).is_none_or(|turn| later < turn) {
            prop_assert_eq!(stands(later), stands(start()));
        }
    }
}

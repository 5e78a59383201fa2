//! Whether CAA records let a CA issue for a name (RFC 8659, and RFC 8657 for the account and the method).
//!
//! It judges what was found, from the name up to the top of our zone. What stands above is left to the CA, which looks
//! again itself in any case: here only an order is saved that could not succeed. Must not ask anybody.

use std::fmt::Write as _;

use crate::name::{DnsName, Hostname};

/// Our method, as CAA records name it (RFC 8657 §4).
const METHOD: &str = "dns-01";

/// A CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether a CA that does not know the tag must not issue.
    pub critical: bool,
    /// What kind of property it is.
    pub tag: String,
    /// The property.
    pub value: String,
}

/// The records that count for a name, and where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name at which they stand.
    pub at: DnsName,
    /// All of them; not empty.
    pub records: Vec<Record>,
}

/// How CAA records know a CA, and what they may say of our account there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuer {
    /// The names by which they allow it (RFC 8555 §9.7.6). Without any, nothing can be said of it.
    pub identities: Vec<String>,
    /// Our account's URL, as far as it is known.
    pub account: Option<String>,
}

/// The names at which records may stand, the one that counts first: `host` without its asterisk and what is above it, not
/// beyond `apex` (RFC 8659 §3).
#[must_use]
pub fn climb(host: &Hostname, apex: &DnsName) -> Vec<DnsName> {
    let mut names = vec![host.base().clone()];
    while let Some(above) = names
        .last()
        .filter(|name| *name != apex)
        .and_then(DnsName::parent_name)
    {
        names.push(above);
    }
    names
}

/// Why `issuer` may not issue a certificate for `host`, by the records that were found; `None` where it may, or where that
/// cannot be told.
#[must_use]
pub fn exclusion(host: &Hostname, found: &Found, issuer: &Issuer) -> Option<String> {
    if issuer.identities.is_empty() {
        return None;
    }
    let records = &found.records;
    let unknown = |record: &&Record| {
        let known = [
            "issue",
            "issuewild",
            "iodef",
            "contactemail",
            "contactphone",
            "issuemail",
            "issuevmc",
        ];
        record.critical && !known.iter().any(|tag| record.tag.eq_ignore_ascii_case(tag))
    };
    if let Some(record) = records.iter().find(unknown) {
        return Some(format!(
            "the CAA record at {} with the critical property {:?} forbids every CA that does not know it; remove it, or its \
             critical flag",
            found.at, record.tag
        ));
    }
    let tagged = |tag: &'static str| {
        let of_tag = records
            .iter()
            .filter(move |record| record.tag.eq_ignore_ascii_case(tag));
        of_tag.map(|record| record.value.as_str())
    };
    // A wildcard follows `issuewild` where there is any, and `issue` otherwise (RFC 8659 §4.3).
    let tag = if host.is_wildcard() && tagged("issuewild").next().is_some() {
        "issuewild"
    } else {
        "issue"
    };
    let mut values = tagged(tag).peekable();
    values.peek()?;
    if values.any(|value| allows(value, issuer)) {
        return None;
    }
    let mut text = format!("CAA records at {} let only", found.at);
    let mut allowed = tagged(tag)
        .filter(|value| !domain_of(value).is_empty())
        .peekable();
    if allowed.peek().is_none() {
        text.push_str(" nobody");
    }
    for (place, value) in allowed.enumerate() {
        let between = if place == 0 { " " } else { ", " };
        // Nothing can go wrong when a string is written to.
        let _ = write!(text, "{between}{:?}", value.trim());
    }
    let _ = write!(
        text,
        " issue; add `CAA 0 {tag} \"{}\"` there",
        issuer.identities[0]
    );
    if let Some(account) = &issuer.account {
        let _ = write!(text, " (our account is {account})");
    }
    Some(text)
}

/// Whether the value of an `issue` or `issuewild` property lets `issuer` issue to our account by our method. One that is
/// malformed lets nobody (RFC 8659 §4.2).
fn allows(value: &str, issuer: &Issuer) -> bool {
    let named = domain_of(value);
    if !issuer
        .identities
        .iter()
        .any(|name| name.eq_ignore_ascii_case(named))
    {
        return false;
    }
    let Some((_, parameters)) = value.split_once(';') else {
        return true;
    };
    parameters
        .split(';')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .all(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else {
                return false;
            };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "accounturi" => issuer.account.as_ref().is_none_or(|account| account == value),
                "validationmethods" => value.split(',').any(|method| method.trim() == METHOD),
                // Others are the CA's own.
                _ => true,
            }
        })
}

/// The CA that a property names; empty where it names none.
fn domain_of(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn issuer() -> Issuer {
        Issuer {
            identities: vec!["ca.test".to_owned(), "old.ca.test".to_owned()],
            account: Some("https://ca.test/acct/1".to_owned()),
        }
    }

    fn found(records: &[(&str, &str)]) -> Found {
        let record = |(tag, value): &(&str, &str)| Record {
            critical: tag.ends_with('!'),
            tag: tag.trim_end_matches('!').to_owned(),
            value: (*value).to_owned(),
        };
        Found {
            at: DnsName::parse("example.com").unwrap(),
            records: records.iter().map(record).collect(),
        }
    }

    fn may(host: &str, records: &[(&str, &str)]) -> bool {
        let host = Hostname::parse(host).unwrap();
        exclusion(&host, &found(records), &issuer()).is_none()
    }

    #[test]
    fn p24_the_ca_that_is_named_may_issue_and_no_other() {
        for (records, expected) in [
            (&[("issue", "ca.test")][..], true),
            (&[("ISSUE", " CA.test ")], true),
            (&[("issue", "other.test"), ("issue", "old.ca.test")], true),
            (&[("issue", "other.test")], false),
            (&[("issue", ";")], false),
            (&[("issue", "")], false),
            (&[("issue", "sub.ca.test")], false),
            // These restrict nobody.
            (&[("iodef", "mailto:a@example.com")], true),
            (&[("iodef!", "mailto:a@example.com")], true),
            (&[("novelty", "x")], true),
            (&[("novelty!", "x"), ("issue", "ca.test")], false),
        ] {
            assert_eq!(may("www.example.com", records), expected, "{records:?}");
        }
    }

    #[test]
    fn p24_a_wildcard_follows_its_own_property_where_there_is_one() {
        let both = [("issue", "ca.test"), ("issuewild", "other.test")];
        assert!(may("www.example.com", &both));
        assert!(!may("*.example.com", &both));
        assert!(may("*.example.com", &both[..1]));
        // Alone it says nothing of other names.
        assert!(may("www.example.com", &both[1..]));
        assert!(!may("*.example.com", &[("issue", "other.test")]));
    }

    #[test]
    fn p24_account_and_method_count() {
        for (value, expected) in [
            ("ca.test; accounturi=https://ca.test/acct/1", true),
            ("ca.test; accounturi=https://ca.test/acct/2", false),
            ("ca.test; validationmethods=http-01,dns-01", true),
            ("ca.test; validationmethods=http-01", false),
            ("ca.test; policy=ev; x=y", true),
            ("ca.test;", true),
            ("ca.test; nonsense", false),
        ] {
            assert_eq!(may("www.example.com", &[("issue", value)]), expected, "{value}");
        }
        // An account that is not known yet excludes nothing.
        let mut nobody = issuer();
        nobody.account = None;
        let host = Hostname::parse("www.example.com").unwrap();
        let found = found(&[("issue", "ca.test; accounturi=https://ca.test/acct/2")]);
        assert_eq!(exclusion(&host, &found, &nobody), None);
    }

    #[test]
    fn p24_nothing_is_said_of_a_ca_that_does_not_say_its_names() {
        let host = Hostname::parse("www.example.com").unwrap();
        let found = found(&[("issue", "other.test")]);
        assert_eq!(exclusion(&host, &found, &Issuer::default()), None);
    }

    #[test]
    fn p40_the_words_name_the_place_and_the_remedy() {
        let host = Hostname::parse("*.example.com").unwrap();
        let words = |records| exclusion(&host, &found(records), &issuer()).unwrap();
        assert_eq!(
            words(&[("issue", "a.test"), ("issue", "b.test; x=y")]),
            "CAA records at example.com let only \"a.test\", \"b.test; x=y\" issue; add `CAA 0 issue \"ca.test\"` there (our \
             account is https://ca.test/acct/1)"
        );
        assert!(
            words(&[("issuewild", ";")]).starts_with("CAA records at example.com let only nobody issue; ")
        );
        assert!(words(&[("x!", "y")]).contains("critical property \"x\""));
    }

    #[test]
    fn p24_records_are_looked_for_up_to_the_top_of_the_zone() {
        let climbed = |host: &str, apex: &str| -> Vec<String> {
            let (host, apex) = (Hostname::parse(host).unwrap(), DnsName::parse(apex).unwrap());
            climb(&host, &apex).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            climbed("a.b.example.com", "example.com"),
            ["a.b.example.com", "b.example.com", "example.com"]
        );
        assert_eq!(climbed("*.example.com", "example.com"), ["example.com"]);
    }

    proptest! {
        #[test]
        fn no_record_is_too_strange(tag in ".{0,12}", value in ".{0,40}", critical: bool) {
            let found = Found {
                records: vec![Record { critical, tag, value }],
                ..found(&[])
            };
            for host in ["www.example.com", "*.example.com"] {
                drop(exclusion(&Hostname::parse(host).unwrap(), &found, &issuer()));
            }
        }

        #[test]
        fn naming_the_ca_plainly_always_lets_it(others in proptest::collection::vec("[a-z.;= ]{0,20}", 0..4)) {
            let mut records: Vec<(&str, &str)> = others.iter().map(|value| ("issue", value.as_str())).collect();
            records.push(("issue", "ca.test"));
            prop_assert!(may("www.example.com", &records));
        }
    }
}

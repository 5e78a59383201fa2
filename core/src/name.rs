//! What a hostname is: parsed once, normalised once, compared always in one form.
//!
//! A [`Hostname`] cannot be wrong: it is lower case, in A-labels, without a trailing dot, and of a shape that a CA can
//! certify and a DNS zone can hold (RFC 1035 §2.3.4, RFC 5890 §2.3.2). Whatever cannot become one has a [`NameError`]
//! that says why in words an operator understands.
//!
//! Deliberately absent: public suffixes, zones, and the CA's own policy on names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// The longest name in presentation form without the trailing dot (RFC 1035 §2.3.4: 255 octets on the wire).
const NAME_MAX: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;
/// The label under which DNS-01 challenges stand (RFC 8555 §8.4).
const CHALLENGE_LABEL: &str = "_acme-challenge";

/// A fully qualified domain name of letters, digits and hyphens, and underscores where it is a zone's: lower case,
/// A-labels, no trailing dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

/// A hostname that wants a certificate: a domain name, or the wildcard of one (RFC 8555 §7.1.3).
///
/// Ordered by the name beneath, so that a name and its wildcard are neighbors.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname {
    base: DnsName,
    wildcard: bool,
}

/// The owner name of a TXT record that answers a challenge, without trailing dot: `_acme-challenge.example.com`.
///
/// Apart from [`DnsName`] because its labels may have underscores, which no hostname may have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName(Arc<str>);

/// Why a text is no hostname.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing at all, or only a dot.
    #[error("the hostname is empty")]
    Empty,
    /// Two dots in a row, or a dot at the start.
    #[error("it has an empty label (two dots in a row, or a dot at the start)")]
    EmptyLabel,
    /// A character that no hostname can have.
    #[error("label {label:?} has the character {found:?}; a hostname has letters, digits and hyphens only")]
    Forbidden {
        /// The label, as far as it could be normalised.
        label: String,
        /// The first offending character.
        found: char,
    },
    /// A hyphen at either end of a label.
    #[error("label {0:?} begins or ends with a hyphen")]
    Hyphen(String),
    /// Not a valid internationalised name.
    #[error("it is not a valid internationalised name (IDNA)")]
    Idna,
    /// An address; DNS-01 is for names (RFC 8738 §7).
    #[error("it is an IP address, and a DNS-01 challenge is for names only")]
    IpAddress,
    /// A label above 63 octets.
    #[error("label {0:?} is longer than 63 characters")]
    LabelTooLong(String),
    /// No room for the label of the challenge record (RFC 8555 §8.4).
    #[error(
        "it is {0} characters long; with the challenge's label in front it is above the 253 that a name may have"
    )]
    NoRoom(usize),
    /// A single label: nothing a public CA or a zone could serve.
    #[error("it has a single label; a certificate needs a name with at least one dot")]
    SingleLabel,
    /// A name above 253 octets.
    #[error("it is {0} characters long, and 253 is the most a name may have")]
    TooLong(usize),
    /// An asterisk anywhere but alone in the first label.
    #[error("'*' may only stand alone, once, as the first label")]
    Wildcard,
}

impl Hostname {
    /// Parses and normalises what an object says: case, IDNA, one trailing dot, a leading `*.`.
    ///
    /// # Errors
    /// The first reason why no certificate could be made for it by DNS-01.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let base = DnsName::parse(rest)?;
        let whole = base.0.len() + if wildcard { 2 } else { 0 };
        if whole > NAME_MAX {
            return Err(NameError::TooLong(whole));
        }
        if !base.0.contains('.') {
            return Err(NameError::SingleLabel);
        }
        if CHALLENGE_LABEL.len() + 1 + base.0.len() > NAME_MAX {
            return Err(NameError::NoRoom(base.0.len()));
        }
        Ok(Self { base, wildcard })
    }

    /// The hostname that is exactly `base`.
    #[must_use]
    pub fn exact(base: DnsName) -> Self {
        Self {
            base,
            wildcard: false,
        }
    }

    /// The wildcard over the children of `base`.
    #[must_use]
    pub fn wildcard_of(base: DnsName) -> Self {
        Self { base, wildcard: true }
    }

    /// The name without `*.`.
    #[must_use]
    pub fn base(&self) -> &DnsName {
        &self.base
    }

    /// Whether it is a wildcard.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The record that answers a DNS-01 challenge for it; the same for a name and its wildcard (RFC 8555 §8.4).
    #[must_use]
    pub fn challenge_record(&self) -> RecordName {
        RecordName(format!("{CHALLENGE_LABEL}.{}", self.base).into())
    }

    /// Whether a certificate that names `self` serves `host` (RFC 6125 §6.4.3: a wildcard is good for one label).
    #[must_use]
    pub fn covers(&self, host: &Self) -> bool {
        if self == host {
            return true;
        }
        self.wildcard && !host.wildcard && host.base.parent().is_some_and(|parent| *parent == *self.base.0)
    }
}

impl DnsName {
    /// Parses and normalises a domain name; a single label is allowed, a wildcard is not.
    ///
    /// # Errors
    /// The first reason why it is no domain name of letters, digits and hyphens.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.contains('*') {
            return Err(NameError::Wildcard);
        }
        if text.parse::<IpAddr>().is_ok() || (text.starts_with('[') && text.ends_with(']')) {
            return Err(NameError::IpAddress);
        }
        let ascii = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            // UTS 46 maps case and full-width forms and gives A-labels; shape and length are judged below, so that the
            // reason is ours to word.
            idna::domain_to_ascii(text).map_err(|_| NameError::Idna)?
        };
        if ascii.parse::<IpAddr>().is_ok() {
            // Full-width digits become plain ones.
            return Err(NameError::IpAddress);
        }
        check_labels(&ascii)?;
        if ascii.len() > NAME_MAX {
            return Err(NameError::TooLong(ascii.len()));
        }
        Ok(Self(ascii.into()))
    }

    /// Parses the name of a zone: like [`Self::parse`], and labels may have underscores, as that of a zone which was made
    /// for challenges alone (`_acme-challenge.example.com`).
    ///
    /// # Errors
    /// The same as for [`Self::parse`].
    pub fn parse_zone(text: &str) -> Result<Self, NameError> {
        if !text.contains('_') || !text.is_ascii() {
            return Self::parse(text);
        }
        // Judged with a letter in each underscore's place, which neither lengthens nor shortens it.
        Self::parse(&text.replace('_', "a"))?;
        let text = text.strip_suffix('.').unwrap_or(text);
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name in A-labels, lower case, without trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Everything after the first label; `None` for a single label.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }

    /// The name one label up.
    #[must_use]
    pub fn parent_name(&self) -> Option<Self> {
        self.parent().map(|parent| Self(parent.into()))
    }

    /// Whether it is `ancestor` or below it, by whole labels.
    #[must_use]
    pub fn is_at_or_below(&self, ancestor: &Self) -> bool {
        is_at_or_below(&self.0, &ancestor.0)
    }

    /// How many labels it has.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.0.split('.').count()
    }
}

impl RecordName {
    /// The name in presentation form, without trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A record below `zone` under a label of our own choice, such as the throw-away name of a check.
    ///
    /// `label` must be one label of letters, digits, hyphens and underscores; anything else is replaced by a hyphen.
    #[must_use]
    pub fn below(zone: &DnsName, label: &str) -> Self {
        let label: String = label
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .take(LABEL_MAX)
            .collect();
        Self(format!("{label}.{zone}").into())
    }

    /// Reads a record name that was written down by [`fmt::Display`], or is an alias's target.
    ///
    /// # Errors
    /// The same as for [`DnsName::parse_zone`], and [`NameError::SingleLabel`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = DnsName::parse_zone(text)?;
        if !name.0.contains('.') {
            return Err(NameError::SingleLabel);
        }
        Ok(Self(name.0))
    }

    /// The same name with `suffix` behind it.
    ///
    /// # Errors
    /// [`NameError::TooLong`].
    pub fn under(&self, suffix: &DnsName) -> Result<Self, NameError> {
        let name = format!("{}.{suffix}", self.0);
        if name.len() > NAME_MAX {
            return Err(NameError::TooLong(name.len()));
        }
        Ok(Self(name.into()))
    }

    /// Whether it is at or below `ancestor`, by whole labels.
    #[must_use]
    pub fn is_at_or_below(&self, ancestor: &DnsName) -> bool {
        is_at_or_below(&self.0, &ancestor.0)
    }
}

fn is_at_or_below(name: &str, ancestor: &str) -> bool {
    name.strip_suffix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Judges labels of an ASCII, lower-case name (RFC 1035 §2.3.1, RFC 5890 §2.3.1).
fn check_labels(name: &str) -> Result<(), NameError> {
    for label in name.split('.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if let Some(found) = label
            .chars()
            .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'))
        {
            return Err(NameError::Forbidden {
                label: label.to_owned(),
                found,
            });
        }
        if label.len() > LABEL_MAX {
            return Err(NameError::LabelTooLong(label.to_owned()));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Hyphen(label.to_owned()));
        }
        if label.starts_with("xn--") && !is_a_label(label) {
            return Err(NameError::Idna);
        }
    }
    Ok(())
}

/// Whether a label that begins with `xn--` is the A-label of some U-label.
fn is_a_label(label: &str) -> bool {
    let (unicode, result) = idna::domain_to_unicode(label);
    result.is_ok() && idna::domain_to_ascii(&unicode).is_ok_and(|again| again == label)
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard {
            f.write_str("*.")?;
        }
        f.write_str(&self.base.0)
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hostname {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, NameError>) {
        let parsed = Hostname::parse(text).map(|host| host.to_string());
        assert_eq!(parsed, expected.map(str::to_owned), "for {text:?}");
    }

    #[test]
    fn p28_every_spelling_becomes_one() {
        check("www.example.com", Ok("www.example.com"));
        check("WWW.Example.COM", Ok("www.example.com"));
        check("www.example.com.", Ok("www.example.com"));
        check("bücher.example", Ok("xn--bcher-kva.example"));
        check("BÜCHER.example.", Ok("xn--bcher-kva.example"));
        check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
        check("*.Example.com", Ok("*.example.com"));
    }

    #[test]
    fn p28_impossible_names_say_why() {
        check("", Err(NameError::Empty));
        check(".", Err(NameError::Empty));
        check("*", Err(NameError::Wildcard));
        check("*.", Err(NameError::Empty));
        check("*.*.example.com", Err(NameError::Wildcard));
        check("a.*.example.com", Err(NameError::Wildcard));
        check("a*.example.com", Err(NameError::Wildcard));
        check("a..example.com", Err(NameError::EmptyLabel));
        check(".example.com", Err(NameError::EmptyLabel));
        check("192.0.2.1", Err(NameError::IpAddress));
        check("2001:db8::1", Err(NameError::IpAddress));
        check("[2001:db8::1]", Err(NameError::IpAddress));
        check("１９２.0.2.1", Err(NameError::IpAddress));
        check("localhost", Err(NameError::SingleLabel));
        check("-a.example.com", Err(NameError::Hyphen("-a".into())));
        check(
            "a_b.example.com",
            Err(NameError::Forbidden {
                label: "a_b".into(),
                found: '_',
            }),
        );
        check("xn--a.example.com", Err(NameError::Idna));
        let long = "a".repeat(64);
        check(&format!("{long}.example.com"), Err(NameError::LabelTooLong(long)));
    }

    #[test]
    fn the_longest_name_has_room_for_its_challenge() {
        let label = "a".repeat(63);
        let of = |last: usize| format!("{label}.{label}.{label}.{}", "b".repeat(last));
        let longest = Hostname::parse(&of(45)).unwrap();
        assert_eq!(longest.challenge_record().as_str().len(), 253);
        assert!(Hostname::parse(&format!("*.{longest}")).is_ok());
        check(&of(46), Err(NameError::NoRoom(238)));
        check(&of(61), Err(NameError::NoRoom(253)));
        check(&of(62), Err(NameError::TooLong(254)));
        check(&format!("*.{}", of(61)), Err(NameError::TooLong(255)));
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let wildcard: Hostname = "*.example.com".parse().unwrap();
        let covers = |host: &str| wildcard.covers(&host.parse().unwrap());
        assert!(covers("a.example.com"));
        assert!(covers("*.example.com"));
        assert!(!covers("example.com"));
        assert!(!covers("a.b.example.com"));
        assert!(!covers("*.a.example.com"));
    }

    #[test]
    fn a_name_and_its_wildcard_share_one_record() {
        let name: Hostname = "example.com".parse().unwrap();
        let wildcard: Hostname = "*.example.com".parse().unwrap();
        assert_eq!(name.challenge_record(), wildcard.challenge_record());
        assert_eq!(name.challenge_record().as_str(), "_acme-challenge.example.com");
        assert_eq!(
            RecordName::parse("_acme-challenge.example.com"),
            Ok(name.challenge_record())
        );
    }

    #[test]
    fn p07_a_zone_and_a_record_may_have_underscores_and_a_host_may_not() {
        let zone = DnsName::parse_zone("_ACME-challenge.Example.com.").unwrap();
        assert_eq!(zone.as_str(), "_acme-challenge.example.com");
        let record = RecordName::parse("a_b._acme-challenge.example.com").unwrap();
        assert!(record.is_at_or_below(&zone));
        assert!(DnsName::parse("_acme-challenge.example.com").is_err());
        assert!(DnsName::parse_zone("_a..example.com").is_err());
        let under = record.under(&"x.test".parse().unwrap()).unwrap();
        assert_eq!(under.as_str(), "a_b._acme-challenge.example.com.x.test");
        let long = DnsName::parse_zone(&["a"; 120].join(".")).unwrap();
        assert!(matches!(record.under(&long), Err(NameError::TooLong(_))));
    }

    #[test]
    fn below_goes_by_whole_labels() {
        let zone: DnsName = "example.com".parse().unwrap();
        let below = |name: &str| DnsName::parse(name).unwrap().is_at_or_below(&zone);
        assert!(below("example.com"));
        assert!(below("a.example.com"));
        assert!(!below("badexample.com"));
        assert!(!below("com"));
    }
}

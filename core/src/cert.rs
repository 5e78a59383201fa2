//! Facts about a certificate that is held, and how it falls short of the one that is wanted (S05).
//!
//! Deliberately absent: DER and PEM. Whoever reads bytes reduces them to [`CertFacts`].

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::ari::CertificateId;
use crate::cas::CaKey;
use crate::name::Hostname;
use crate::renewal::Rule;
use crate::schedule::{Demand, ahead};

/// What is known of a certificate whose private key belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFacts {
    /// The DNS names it is good for; names that are no hostname are left out.
    pub names: Vec<Hostname>,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
    /// The issuer's common name, or its whole distinguished name where there is none.
    pub issuer: String,
    /// Its name at its CA for ARI; `None` where it does not say which key issued it.
    pub id: Option<CertificateId>,
}

/// Why the content of a Secret is no certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The entry `cert` holds something else.
    #[error("its entry `cert` is not a PEM certificate: {0}")]
    BadCert(String),
    /// The entry `key` holds something else.
    #[error("its entry `key` is not a PEM private key")]
    BadKey,
    /// The key is another certificate's.
    #[error("its `key` does not belong to its `cert`")]
    KeyMismatch,
    /// There is no entry `cert`.
    #[error("it has no entry `cert`")]
    NoCert,
    /// There is no entry `key`.
    #[error("it has no entry `key`")]
    NoKey,
}

/// A Secret that claims to hold the certificate of a hostname, reduced to facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The Secret's name.
    pub secret: Box<str>,
    /// The Secret's `resourceVersion` when it was seen.
    pub version: Box<str>,
    /// What it holds.
    pub content: Result<CertFacts, Unreadable>,
    /// When Faythe stored it, from the annotation `faythe/issued-at`; `None` for certificates of other hands.
    pub issued_at: Option<Timestamp>,
    /// Another one has been asked for in the place of this very certificate, by the annotation `faythe/renew`; rare, and so
    /// kept apart.
    pub renew: Option<Box<Demand>>,
    /// The CA that made it, from the annotation `faythe/ca`; `None` where that is not known.
    pub made_by: Option<CaKey>,
    /// What else is known of how it came to be; kept apart, since as a rule there is nothing.
    pub origin: Option<Box<Origin>>,
}

/// How a certificate came to be, where there is anything to be said of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// How many before it in a row were replaced long before their time since the CA's window said so, from the annotation
    /// `faythe/early-renewals`.
    pub early: u32,
    /// The profile that it was ordered with, from the annotation `faythe/profile`.
    pub profile: Option<Box<str>>,
}

/// How far the clock of another instance, or our own before it was set, may have been ahead for its stamps to be taken
/// at their word.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(10);

impl Held {
    /// How many before it in a row were replaced long before their time since the CA's window said so.
    #[must_use]
    pub fn early(&self) -> u32 {
        self.origin.as_ref().map_or(0, |origin| origin.early)
    }

    /// The profile that it was ordered with, where there is one.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.origin.as_ref()?.profile.as_deref()
    }

    /// The same as far as it can be true by a clock that says `now`. A certificate that was stored later than now was
    /// stored by a clock that was ahead: the CA says when it was made.
    #[must_use]
    pub fn by(self, now: Timestamp) -> Self {
        let issued_at = match (self.issued_at, &self.content) {
            (Some(at), Ok(facts)) if at > ahead(now, CLOCKS_APART) => Some(facts.not_before.min(now)),
            (at, Ok(_) | Err(_)) => at,
        };
        Self { issued_at, ..self }
    }
}

/// How a held certificate falls short of the wanted one, most basic fault first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// No Secret claims the hostname.
    Missing,
    /// The Secret's content is not a certificate with its key.
    Unreadable(Unreadable),
    /// The certificate is for other names.
    OtherNames(Vec<Hostname>),
    /// Its validity has not begun.
    NotYetValid(Timestamp),
    /// Its validity has ended.
    Expired(Timestamp),
    /// It is valid, and the time to renew it has come.
    Due(Timestamp),
}

/// How a hostname stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A certificate serves it.
    Fine {
        /// The Secret that holds it.
        secret: Box<str>,
        /// When it expires.
        not_after: Timestamp,
        /// When it is to be renewed.
        renew_at: Timestamp,
    },
    /// None does.
    Short(Shortfall),
}

/// Judges everything that claims to hold the certificate of `host`; of several the one that serves longest counts, and
/// where none serves, the one that comes nearest says why (S05).
///
/// The checks read as a list: unreadable, other names, not yet valid, expired, due, fine. Each works on a parsed value,
/// so their order changes the wording and never the safety.
pub fn standing<'a>(
    host: &Hostname,
    held: impl Iterator<Item = &'a Held>,
    rule: impl Into<Rule>,
    now: Timestamp,
) -> Standing {
    let rule = rule.into();
    let judge = |held: &'a Held| -> Result<(Timestamp, Timestamp, &'a Held), Shortfall> {
        let facts = held
            .content
            .as_ref()
            .map_err(|why| Shortfall::Unreadable(why.clone()))?;
        if !facts.covers(host) {
            return Err(Shortfall::OtherNames(facts.names.clone()));
        }
        if facts.not_before > now {
            return Err(Shortfall::NotYetValid(facts.not_before));
        }
        if facts.not_after <= now {
            return Err(Shortfall::Expired(facts.not_after));
        }
        let renew_at = rule.due_at(host, facts);
        if renew_at <= now || held.is_demanded(now) {
            return Err(Shortfall::Due(facts.not_after));
        }
        Ok((facts.not_after, renew_at, held))
    };
    let mut best: Option<(Timestamp, Timestamp, &Held)> = None;
    let mut nearest = Shortfall::Missing;
    for claim in held {
        match judge(claim) {
            Ok(fine) if best.as_ref().is_none_or(|(until, ..)| fine.0 > *until) => best = Some(fine),
            Ok(_) => {}
            Err(short) if short.nearness() >= nearest.nearness() => nearest = short,
            Err(_) => {}
        }
    }
    match best {
        Some((not_after, renew_at, held)) => Standing::Fine {
            secret: held.secret.clone(),
            not_after,
            renew_at,
        },
        None => Standing::Short(nearest),
    }
}

/// When time alone next changes how `host` stands: the nearest bound ahead of `now` of anything held for it.
pub fn turns_at<'a>(
    host: &Hostname,
    held: impl Iterator<Item = &'a Held>,
    rule: impl Into<Rule>,
    now: Timestamp,
) -> Option<Timestamp> {
    let rule = rule.into();
    held.filter_map(|held| Some((held.content.as_ref().ok()?, held.renew.as_deref())))
        .filter(|(facts, _)| facts.covers(host))
        .flat_map(|(facts, demand)| {
            let renew_at = rule.due_at(host, facts);
            let bounds = [facts.not_before, renew_at, facts.not_after];
            bounds.into_iter().chain(demand.map(|demand| demand.at))
        })
        .filter(|bound| *bound > now)
        .min()
}

impl Held {
    /// Whether another one has been asked for in its place.
    #[must_use]
    pub fn is_demanded(&self, now: Timestamp) -> bool {
        self.renew.as_ref().is_some_and(|demand| demand.at <= now)
    }
}

impl Origin {
    /// What is kept of this: nothing where there is nothing to be said.
    #[must_use]
    pub fn of(early: u32, profile: Option<&str>) -> Option<Box<Self>> {
        let profile = profile.map(Into::into);
        let origin = Self { early, profile };
        (origin != Self::default()).then(|| Box::new(origin))
    }
}

impl CertFacts {
    /// Whether it serves `host`.
    #[must_use]
    pub fn covers(&self, host: &Hostname) -> bool {
        self.names.iter().any(|name| name.covers(host))
    }

    /// How long it is valid in all.
    #[must_use]
    pub fn lifetime(&self) -> SignedDuration {
        self.not_before
            .duration_until(self.not_after)
            .max(SignedDuration::ZERO)
    }
}

impl Shortfall {
    /// Stable code for metrics and Events.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable(_) => "unreadable",
            Self::OtherNames(_) => "other-names",
            Self::NotYetValid(_) => "not-yet-valid",
            Self::Expired(_) => "expired",
            Self::Due(_) => "due",
        }
    }

    /// Whether something still serves the hostname while the new certificate is made.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self, Self::Due(_))
    }

    /// How near it comes to a certificate that serves.
    fn nearness(&self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::Unreadable(_) => 1,
            Self::OtherNames(_) => 2,
            Self::NotYetValid(_) => 3,
            Self::Expired(_) => 4,
            Self::Due(_) => 5,
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no certificate yet"),
            Self::Unreadable(why) => write!(f, "the Secret holds no usable certificate: {why}"),
            Self::OtherNames(names) => {
                f.write_str("the certificate held is for other names")?;
                for (i, name) in names.iter().take(3).enumerate() {
                    write!(f, "{}{name}", if i == 0 { ": " } else { ", " })?;
                }
                if names.len() > 3 {
                    write!(f, " and {} more", names.len() - 3)?;
                }
                Ok(())
            }
            Self::NotYetValid(from) => write!(f, "the certificate held is valid only from {from}"),
            Self::Expired(at) => write!(f, "the certificate held expired at {at}"),
            Self::Due(until) => write!(
                f,
                "the certificate held is due for renewal; it expires at {until}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Threshold, ahead};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn days(count: i64) -> Timestamp {
        ahead(NOW, SignedDuration::from_hours(24 * count))
    }

    fn held(secret: &str, names: &[&str], from: i64, to: i64) -> Held {
        Held {
            secret: secret.into(),
            version: "1".into(),
            content: Ok(CertFacts {
                names: names.iter().map(|name| name.parse().unwrap()).collect(),
                not_before: days(from),
                not_after: days(to),
                serial: "01".into(),
                issuer: "Test".into(),
                id: None,
            }),
            issued_at: None,
            renew: None,
            made_by: None,
            origin: None,
        }
    }

    fn check(held: &[Held], expected: &str) {
        let host = "a.example.com".parse().unwrap();
        let found = match standing(&host, held.iter(), Threshold::Default, NOW) {
            Standing::Fine { secret, .. } => format!("fine: {secret}"),
            Standing::Short(short) => short.code().to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn s05_each_fault_has_its_name() {
        check(&[], "missing");
        check(&[held("s", &["a.example.com"], -1, 89)], "fine: s");
        check(&[held("s", &["*.example.com"], -1, 89)], "fine: s");
        check(&[held("s", &["b.example.com"], -1, 89)], "other-names");
        check(&[held("s", &["a.example.com"], 1, 89)], "not-yet-valid");
        check(&[held("s", &["a.example.com"], -90, 0)], "expired");
        check(&[held("s", &["a.example.com"], -61, 29)], "due");
        let broken = Held {
            content: Err(Unreadable::NoKey),
            ..held("s", &[], 0, 0)
        };
        check(&[broken], "unreadable");
    }

    #[test]
    fn s05_of_several_the_one_that_serves_longest_counts() {
        let short = held("short", &["a.example.com"], -30, 60);
        let long = held("long", &["a.example.com"], -1, 89);
        let broken = Held {
            content: Err(Unreadable::BadKey),
            ..held("broken", &[], 0, 0)
        };
        check(&[short.clone(), long.clone(), broken.clone()], "fine: long");
        check(&[broken.clone(), long, short], "fine: long");
        check(&[held("old", &["a.example.com"], -90, -1), broken], "expired");
    }
}

//! From what Ingresses literally say to the certificates that are wanted (S02, S03, S11).
//!
//! A text becomes a wanted certificate, a refusal with its reason, or nothing, when it lies outside every zone. Nothing
//! is dropped without one of the three. Deliberately absent: Kubernetes objects, and grouping of names.

use std::fmt;
use std::sync::Arc;

use crate::name::{Hostname, NameError};
use crate::zone::Zones;

/// The object that asks for a hostname: an Ingress. Ordered by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asker {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its UID, which tells it from an earlier one of the same name.
    pub uid: Box<str>,
}

/// A hostname that cannot be served, though it lies in a zone of ours or in none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who asks.
    pub asker: Arc<Asker>,
    /// The text, as written.
    pub text: String,
    /// Why not.
    pub why: NameError,
}

/// What a text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The certificate that serves it.
    Certificate(Hostname),
    /// It is somebody else's: not in a zone of ours.
    Elsewhere,
    /// It can never have a certificate.
    Refused(NameError),
}

/// Reads one hostname as an Ingress has it.
#[must_use]
pub fn meaning(text: &str, zones: &Zones) -> Meaning {
    match Hostname::parse(text) {
        Ok(host) => match zones.of(host.base()) {
            Some(zone) => Meaning::Certificate(zone.certificate_for(&host)),
            None => Meaning::Elsewhere,
        },
        Err(why) if seems_ours(text, &why, zones) => Meaning::Refused(why),
        Err(_) => Meaning::Elsewhere,
    }
}

/// Whether an impossible hostname is for us to refuse: it ends in a zone of ours, or is of a kind that can end in none.
fn seems_ours(text: &str, why: &NameError, zones: &Zones) -> bool {
    if matches!(why, NameError::IpAddress | NameError::Empty) || text == "*" {
        return true;
    }
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    zones.iter().any(|zone| {
        text.strip_suffix(zone.apex.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::{Rule, Zone};

    fn check(text: &str, expected: &str) {
        let zone = |apex: &str, wildcards| Zone {
            apex: apex.parse().unwrap(),
            wildcards,
            rule: Rule::flat("ns.test", &[]),
            challenges: None,
        };
        let zones = Zones::new(vec![zone("example.com", false), zone("wild.example.com", true)]);
        let found = match meaning(text, &zones) {
            Meaning::Certificate(host) => host.to_string(),
            Meaning::Elsewhere => "elsewhere".to_owned(),
            Meaning::Refused(_) => "refused".to_owned(),
        };
        assert_eq!(found, expected, "for {text:?}");
    }

    #[test]
    fn s02_only_hosts_at_or_below_a_zone_are_served() {
        check("a.example.com", "a.example.com");
        check("EXAMPLE.com.", "example.com");
        check("*.example.com", "*.example.com");
        check("a.wild.example.com", "*.wild.example.com");
        check("wild.example.com", "wild.example.com");
        check("a.example.org", "elsewhere");
        check("badexample.com", "elsewhere");
    }

    #[test]
    fn impossible_hosts_are_refused_where_they_would_be_ours() {
        check("a_b.example.com", "refused");
        check("a..example.com", "refused");
        check("*.*.example.com", "refused");
        check(&format!("{}.example.com", "a".repeat(64)), "refused");
        check("192.0.2.7", "refused");
        check("*", "refused");
        check("a_b.example.org", "elsewhere");
        check("localhost", "elsewhere");
    }
}

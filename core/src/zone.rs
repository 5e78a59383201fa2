//! Which zone serves a name: the longest configured suffix (P10), never what a resolver says.

use crate::name::{DnsName, Hostname};

/// One zone that takes our updates, as far as decisions need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The zone's apex; also its identity.
    pub apex: DnsName,
    /// Serve hosts by the wildcard of their parent (S11).
    pub wildcards: bool,
    /// The name servers that must show a value before the CA is told, in the order in which they are asked (S10).
    pub checks: Vec<Check>,
}

/// One server that must show a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// The server as the operator wrote it; its identity in reports.
    pub server: String,
    /// In which round it is asked: rank 0 first, and rank n + 1 only when all of rank n show the value (P09).
    pub rank: u8,
}

/// All zones, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones(Vec<Zone>);

impl Zones {
    /// Makes the table; of two zones with one apex the first counts.
    #[must_use]
    pub fn new(mut zones: Vec<Zone>) -> Self {
        // Longest first, so that the first match is the longest suffix.
        zones.sort_by(|a, b| {
            b.apex
                .labels()
                .cmp(&a.apex.labels())
                .then_with(|| a.apex.cmp(&b.apex))
        });
        zones.dedup_by(|later, earlier| later.apex == earlier.apex);
        Self(zones)
    }

    /// The zone that holds `name`; `None` when it is outside all of them (S02).
    #[must_use]
    pub fn of(&self, name: &DnsName) -> Option<&Zone> {
        self.0.iter().find(|zone| name.is_at_or_below(&zone.apex))
    }

    /// All zones, longest name first.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.0.iter()
    }
}

impl Zone {
    /// The certificate that serves `host` in this zone (S03, S11).
    ///
    /// Where the apex is a single label, the hosts right below it stand alone: no client accepts `*.internal`.
    #[must_use]
    pub fn certificate_for(&self, host: &Hostname) -> Hostname {
        if !self.wildcards || host.is_wildcard() || host.base() == &self.apex {
            return host.clone();
        }
        match host.base().parent_name() {
            Some(parent) if parent.labels() > 1 => Hostname::wildcard_of(parent),
            Some(_) | None => host.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(apex: &str, wildcards: bool) -> Zone {
        Zone {
            apex: apex.parse().unwrap(),
            wildcards,
            checks: Vec::new(),
        }
    }

    #[test]
    fn the_longest_suffix_wins() {
        let zones = Zones::new(vec![
            zone("example.com", false),
            zone("a.example.com", false),
            zone("com", false),
        ]);
        let of = |name: &str| zones.of(&name.parse().unwrap()).map(|zone| zone.apex.to_string());
        assert_eq!(of("x.a.example.com").as_deref(), Some("a.example.com"));
        assert_eq!(of("a.example.com").as_deref(), Some("a.example.com"));
        assert_eq!(of("b.example.com").as_deref(), Some("example.com"));
        assert_eq!(of("other.com").as_deref(), Some("com"));
        assert_eq!(of("example.org"), None);
    }

    #[test]
    fn s11_hosts_share_their_parents_wildcard_and_the_apex_stands_alone() {
        let zone = zone("example.com", true);
        let serve = |host: &str| zone.certificate_for(&host.parse().unwrap()).to_string();
        assert_eq!(serve("a.example.com"), "*.example.com");
        assert_eq!(serve("b.example.com"), "*.example.com");
        assert_eq!(serve("x.a.example.com"), "*.a.example.com");
        assert_eq!(serve("example.com"), "example.com");
        assert_eq!(serve("*.a.example.com"), "*.a.example.com");
    }

    #[test]
    fn no_wildcard_is_made_of_a_single_label() {
        let zone = zone("internal", true);
        let serve = |host: &str| zone.certificate_for(&host.parse().unwrap()).to_string();
        assert_eq!(serve("a.internal"), "a.internal");
        assert_eq!(serve("a.b.internal"), "*.b.internal");
    }
}

//! Which zone serves a name, and which servers have to show what was put there.
//!
//! A zone is the longest configured suffix (P10), never what a resolver says. Deliberately absent: what the servers
//! answered, which is `visibility`'s.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::name::{DnsName, Hostname, RecordName};

/// How often in a row a name server of the zone gives no usable answer before it is done without, unless configured.
///
/// Failures are at least half a second apart, so that a server that restarts is waited for.
pub const DEAD_AFTER: u32 = 5;
/// After how long every server that lacks a value is named, unless configured (P01).
pub const DEADLINE: Duration = Duration::from_secs(600);

/// One zone that takes our updates, as far as decisions need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The zone's apex; also its identity.
    pub apex: DnsName,
    /// Serve hosts by the wildcard of their parent (S11).
    pub wildcards: bool,
    /// Who must show a value before the CA is told.
    pub rule: Rule,
    /// Where the challenges of its hosts go by the operator's word; `None` to find out for each name (P07).
    pub challenges: Option<Suffix>,
}

/// A place for the challenges of all hosts of a zone: `_acme-challenge.<host>.<suffix>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suffix {
    /// The zone that takes the updates.
    pub zone: DnsName,
    /// What stands behind the challenge's usual name; at or below `zone`.
    pub suffix: DnsName,
}

/// Which servers must show a value before the CA is told, and what is made of those that do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Always required, whatever the rest of the rule says: the update server, and servers that the operator listed
    /// (S10). An update server is asked first, listed ones, which may be resolvers, last.
    pub required: Vec<Check>,
    /// The servers of the zone that are asked in between.
    pub servers: Servers,
    /// How many of these must show it.
    pub quorum: Quorum,
    /// How often in a row one of these may give no usable answer before it is done without; at least 1.
    pub dead_after: u32,
    /// After how long every server that lacks a value is named (P01).
    pub deadline: Duration,
}

/// The servers of a zone that must show a value besides those that are required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// All addresses of all servers that the zone's own NS records name (P03).
    Authoritative,
    /// These, in the forms of `auth_dns_server`.
    Listed(Vec<String>),
    /// None: the update server is enough (P05).
    Primary,
}

/// How many of a zone's servers must show a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// All that are alive.
    All,
    /// So many of those that are alive, or all where there are fewer; at least one.
    AtLeast(u32),
}

/// One server that is asked for a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// In which round it is asked: the next role begins when all of the role before show the value (P09).
    pub role: Role,
    /// The server as the operator wrote it, or its name in the zone's NS records; its identity in reports.
    pub server: String,
    /// Its one address that is asked; `None` where any address of the server will do.
    pub address: Option<SocketAddr>,
}

/// What a server is to a zone; the order is that of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It takes the updates.
    Update,
    /// It is one of the zone's name servers.
    Authoritative,
    /// The operator listed it; it may be a resolver, which remembers what it has been told too early.
    Listed,
}

/// All zones, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// Those whose hosts are served.
    served: Vec<Zone>,
    /// Those that take challenges for hosts of others, and whose own hosts are nobody's business.
    aside: Vec<Zone>,
}

/// Whether others register names below this one: it is in the ICANN part of the Public Suffix List (P10).
///
/// A zone of that kind cannot be ours to update, whatever a configuration says. The list's other part, and names that are
/// in no list such as `corp`, are left alone.
#[must_use]
pub fn is_public_suffix(name: &DnsName) -> bool {
    let name = name.as_str().as_bytes();
    psl::suffix(name).is_some_and(|suffix| suffix.typ() == Some(psl::Type::Icann) && suffix == name)
}

impl Zones {
    /// Makes the table; of two zones with one apex the first counts.
    #[must_use]
    pub fn new(zones: Vec<Zone>) -> Self {
        Self {
            served: in_order(zones),
            aside: Vec::new(),
        }
    }

    /// Adds zones that take challenges only; one that is served already stays as it is.
    #[must_use]
    pub fn with_aside(self, zones: Vec<Zone>) -> Self {
        Self {
            aside: in_order(zones),
            ..self
        }
    }

    /// The zone that holds `name`; `None` when it is outside all of them (S02).
    #[must_use]
    pub fn of(&self, name: &DnsName) -> Option<&Zone> {
        self.served.iter().find(|zone| name.is_at_or_below(&zone.apex))
    }

    /// The zone with exactly this apex.
    #[must_use]
    pub fn at(&self, apex: &DnsName) -> Option<&Zone> {
        self.all().find(|zone| zone.apex == *apex)
    }

    /// The zone that holds a record; `None` when it is outside all of them.
    #[must_use]
    pub fn of_record(&self, record: &RecordName) -> Option<&Zone> {
        let holders = self.all().filter(|zone| record.is_at_or_below(&zone.apex));
        // Of two with as many labels, which are one and the same then, the one that is served.
        holders.reduce(|best, zone| {
            if zone.apex.labels() > best.apex.labels() {
                zone
            } else {
                best
            }
        })
    }

    /// All zones whose hosts are served, longest name first.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.served.iter()
    }

    fn all(&self) -> impl Iterator<Item = &Zone> {
        self.served.iter().chain(&self.aside)
    }
}

/// Longest first, so that the first match is the longest suffix.
fn in_order(mut zones: Vec<Zone>) -> Vec<Zone> {
    zones.sort_by(|a, b| {
        b.apex
            .labels()
            .cmp(&a.apex.labels())
            .then_with(|| a.apex.cmp(&b.apex))
    });
    zones.dedup_by(|later, earlier| later.apex == earlier.apex);
    zones
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

impl Rule {
    /// The rule of a flat configuration, to the letter of S10: the update server first, then all of the others.
    #[must_use]
    pub fn flat(update_server: &str, others: &[String]) -> Self {
        Self {
            servers: Servers::Primary,
            ..Self::of_zone(update_server, others)
        }
    }

    /// The usual rule of an entry in `zones`: the update server first, then every authoritative server, then the others.
    #[must_use]
    pub fn of_zone(update_server: &str, others: &[String]) -> Self {
        let first = Check::of(Role::Update, update_server);
        let others = others.iter().filter(|server| *server != update_server);
        let others = others.map(|server| Check::of(Role::Listed, server));
        Self {
            required: std::iter::once(first).chain(others).collect(),
            servers: Servers::Authoritative,
            quorum: Quorum::All,
            dead_after: DEAD_AFTER,
            deadline: DEADLINE,
        }
    }
}

impl Check {
    /// A server by what the operator wrote.
    #[must_use]
    pub fn of(role: Role, server: &str) -> Self {
        Self {
            role,
            server: server.to_owned(),
            address: None,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)?;
        match self.address {
            // The usual port goes without saying.
            Some(address) if address.port() == 53 => write!(f, " ({})", address.ip()),
            Some(address) => write!(f, " ({address})"),
            None => Ok(()),
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
            rule: Rule::flat("ns.test", &[]),
            challenges: None,
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
    fn a_zone_aside_holds_records_and_serves_no_hosts() {
        let zones = Zones::new(vec![zone("example.com", false)]);
        let aside = vec![zone("acme.example.com", false), zone("acme.example.net", false)];
        let zones = zones.with_aside(aside);
        let of = |name: &str| zones.of(&name.parse().unwrap()).map(|zone| zone.apex.as_str());
        assert_eq!(of("a.acme.example.net"), None);
        assert_eq!(of("a.acme.example.com"), Some("example.com"));
        let holds = |record: &str| {
            let record = RecordName::parse(record).unwrap();
            zones.of_record(&record).map(|zone| zone.apex.as_str())
        };
        assert_eq!(
            holds("_acme-challenge.a.acme.example.net"),
            Some("acme.example.net")
        );
        assert_eq!(
            holds("_acme-challenge.a.acme.example.com"),
            Some("acme.example.com")
        );
        assert_eq!(holds("_acme-challenge.example.com"), Some("example.com"));
        assert!(zones.at(&"acme.example.net".parse().unwrap()).is_some());
        assert_eq!(zones.iter().count(), 1);
    }

    #[test]
    fn p10_only_what_icann_gives_out_is_a_public_suffix() {
        let is = |name: &str| is_public_suffix(&name.parse().unwrap());
        assert!(is("com") && is("co.uk") && is("dk"));
        assert!(!is("example.com") && !is("example.co.uk"));
        assert!(!is("corp") && !is("internal") && !is("github.io"));
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

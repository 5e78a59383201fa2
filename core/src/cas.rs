//! The CAs in the operator's order, and which of them serve a zone (P24).
//!
//! The first is the one to use; those after it stand in for what is urgent. Deliberately absent: when, which is
//! `plan::choice`'s.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::hash::stable;
use crate::name::DnsName;

/// One of the configured CAs: its place in their order. Only [`Cas`] makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaId(usize);

/// By what a CA is known again, whatever the configuration: its directory's URL, made short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaKey(NonZeroU64);

/// What decisions need to know of a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// What it is called.
    pub name: String,
    /// The URL of its directory.
    pub directory: String,
    /// How long those before it must have been of no use before it is used in their place.
    pub use_after: Duration,
}

/// All CAs, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cas {
    all: Vec<Authority>,
    /// By what each is known again.
    keys: Vec<CaKey>,
    order: Vec<CaId>,
    /// The order of those zones that have one of their own.
    zones: BTreeMap<DnsName, Vec<CaId>>,
}

impl CaId {
    /// The one that comes first, which there is always.
    pub const FIRST: Self = Self(0);

    /// Its place in a list of one thing for each CA.
    #[must_use]
    pub fn place(self) -> usize {
        self.0
    }
}

impl CaKey {
    /// That of the CA whose directory is at `url`.
    #[must_use]
    pub fn of(url: &str) -> Self {
        Self(NonZeroU64::new(stable(&["ca", url])).unwrap_or(NonZeroU64::MIN))
    }
}

impl Cas {
    /// These, in this order. Where there is none, one that has no name stands in.
    #[must_use]
    pub fn new(mut all: Vec<Authority>) -> Self {
        if all.is_empty() {
            all.push(Authority {
                name: String::new(),
                directory: String::new(),
                use_after: Duration::ZERO,
            });
        }
        Self {
            keys: all.iter().map(|ca| CaKey::of(&ca.directory)).collect(),
            order: (0..all.len()).map(CaId).collect(),
            all,
            zones: BTreeMap::new(),
        }
    }

    /// Gives a zone an order of its own, by the names of the CAs; names that there are not are left out, and an order
    /// without any is none.
    #[must_use]
    pub fn with_zone(mut self, apex: DnsName, names: &[String]) -> Self {
        let named = |name: &String| self.all.iter().position(|ca| ca.name == *name).map(CaId);
        let order: Vec<_> = names.iter().filter_map(named).collect();
        if !order.is_empty() {
            self.zones.insert(apex, order);
        }
        self
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// All of them, in order.
    pub fn all(&self) -> impl Iterator<Item = (CaId, &Authority)> {
        self.order.iter().copied().zip(&self.all)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, ca: CaId) -> Option<&Authority> {
        self.all.get(ca.0)
    }

    /// Those that serve a zone, in its order; at least one.
    #[must_use]
    pub fn of_zone(&self, apex: Option<&DnsName>) -> &[CaId] {
        apex.and_then(|apex| self.zones.get(apex)).unwrap_or(&self.order)
    }

    /// The least `use_after` of those that stand behind `ca` in some order; `None` where none does.
    #[must_use]
    pub fn least_patience(&self, ca: CaId) -> Option<Duration> {
        let orders = self.zones.values().chain([&self.order]);
        let behind = orders.flat_map(|order| order.iter().skip_while(|other| **other != ca).skip(1));
        behind.filter_map(|other| Some(self.get(*other)?.use_after)).min()
    }

    /// The one that is known by this.
    #[must_use]
    pub fn find(&self, key: CaKey) -> Option<CaId> {
        self.keys.iter().position(|known| *known == key).map(CaId)
    }

    /// The one at which an order was made: by its directory, or in notes that do not say it, the first one that has the
    /// host and port of the order's own URL, else the first of all.
    #[must_use]
    pub fn of_order(&self, directory: Option<&str>, order_url: &str) -> Option<CaId> {
        if let Some(directory) = directory {
            return self.find(CaKey::of(directory));
        }
        let there = self
            .all
            .iter()
            .position(|ca| origin(&ca.directory) == origin(order_url));
        Some(there.map_or(CaId::FIRST, CaId))
    }
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let rest = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(rest..).and_then(|text| text.find('/'));
    end.and_then(|end| url.get(..rest + end)).unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cas() -> Cas {
        let ca = |name: &str, directory: &str| Authority {
            name: name.to_owned(),
            directory: directory.to_owned(),
            use_after: Duration::ZERO,
        };
        Cas::new(vec![
            ca("one", "https://one.test/dir"),
            ca("two", "https://two.test:14000/dir"),
        ])
    }

    #[test]
    fn p24_a_zone_may_have_an_order_of_its_own() {
        let zone = DnsName::parse("example.com").unwrap();
        let names = ["two".to_owned(), "gone".to_owned(), "one".to_owned()];
        let cas = cas().with_zone(zone.clone(), &names);
        assert_eq!(cas.of_zone(Some(&zone)), [CaId(1), CaId(0)]);
        assert_eq!(
            cas.of_zone(Some(&DnsName::parse("example.org").unwrap())),
            [CaId(0), CaId(1)]
        );
        assert_eq!(cas.of_zone(None), [CaId(0), CaId(1)]);
    }

    #[test]
    fn p24_an_order_is_known_by_its_ca_wherever_that_stands_now() {
        let cas = cas();
        let of = |directory, url| cas.of_order(directory, url);
        assert_eq!(of(Some("https://two.test:14000/dir"), "x"), Some(CaId(1)));
        assert_eq!(
            of(Some("https://gone.test/dir"), "https://one.test/order/1"),
            None
        );
        assert_eq!(of(None, "https://two.test:14000/order/1"), Some(CaId(1)));
        assert_eq!(of(None, "https://gone.test/order/1"), Some(CaId::FIRST));
        assert_eq!(of(None, ""), Some(CaId::FIRST));
    }

    #[test]
    fn there_is_always_one() {
        let none = Cas::new(Vec::new());
        assert_eq!((none.count(), none.of_zone(None)), (1, &[CaId::FIRST][..]));
        assert!(none.get(CaId::FIRST).is_some());
    }
}

//! Where a challenge value goes: at the very name that the CA looks up, or where aliases and delegations lead from there.
//!
//! A [`Trail`] is followed one finding at a time: it says which of our zones is to be asked about which name, and is told
//! what stands there (P06, P07). Deliberately absent: asking, and resolvers, whose answers decide nothing here.

use std::fmt::Write as _;

use thiserror::Error;

use crate::name::{DnsName, NameError, RecordName};
use crate::zone::{Zone, Zones};

/// The most aliases that are followed; resolvers give up at between 8 and 16.
const ALIASES_MAX: usize = 8;

/// Where a challenge value goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The zone that is updated.
    pub zone: DnsName,
    /// The record in it.
    pub record: RecordName,
    /// How one gets there.
    pub way: Way,
}

/// How one gets from the name that the CA looks up to the record that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By an alias, a delegation or the operator's word: others may have values there, and only our own are ever removed
    /// (S09).
    Delegated,
    /// It is that name.
    Direct,
}

/// What the update server of a zone says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An alias that somebody has made for this name (RFC 1034 §3.6.2, RFC 6672).
    Alias {
        /// Where it leads, in presentation form.
        target: String,
    },
    /// The zone gives the name away to servers of another zone, which begins here (RFC 1034 §4.2).
    Cut(DnsName),
    /// Records at this name are in the zone that was asked, whether there are any or not.
    Here,
    /// The server answers from another zone that it holds too, which begins here.
    Within(DnsName),
}

/// What stands at a name that is asked about only for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// An alias to this target.
    Alias(String),
    /// Nothing that answers.
    Nothing,
    /// No usable answer.
    Unknown,
}

/// What tells an alias that somebody made for a name from one that a wildcard makes for every name (RFC 4592).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    /// A label beside the name that nobody can have thought of.
    pub sibling: Probe,
    /// The asterisk itself beside the name.
    pub asterisk: Probe,
    /// A label below the name that nobody can have thought of. A name that exists has nothing below it that a wildcard
    /// above it could make (RFC 4592 §3.3.1), one that does not exist is covered with all that is below it.
    pub below: Probe,
}

/// A chain of aliases and delegations, as far as it is known.
#[derive(Clone, Debug)]
pub struct Trail<'z> {
    zones: &'z Zones,
    zone: &'z DnsName,
    record: RecordName,
    way: Way,
    /// The aliases that were followed.
    passed: Vec<RecordName>,
}

/// What follows from a finding.
#[derive(Clone, Debug)]
pub enum Next<'z> {
    /// The trail goes on: ask [`Trail::question`].
    Ask(Trail<'z>),
    /// It ends here.
    Write(Route),
}

/// Why a challenge cannot be written anywhere. Nothing is sent then (P06).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RouteFault {
    /// An alias leads to a name outside every zone.
    #[error(
        "{chain}, which is in no zone of the configuration: a value at the alias itself would be dropped, so nothing was \
         sent; remove the CNAME at {name}, or add the zone that it leads to"
    )]
    Foreign {
        /// The name with the alias that leads out.
        name: RecordName,
        /// The way there, in words.
        chain: String,
    },
    /// Aliases lead in a circle.
    #[error("{chain}, which was passed already: the CNAMEs lead in a circle; remove the one at {name}")]
    Loop {
        /// The name with the alias that leads back.
        name: RecordName,
        /// The way there, in words.
        chain: String,
    },
    /// Too many aliases.
    #[error(
        "{chain}: these are more CNAMEs than a resolver follows; let {name} lead to the last name at once"
    )]
    Long {
        /// The name at which it begins.
        name: RecordName,
        /// The way there, in words.
        chain: String,
    },
    /// An alias leads to something that is no name for a record.
    #[error("{chain}, and no challenge can be written there: {why}; mend the CNAME at {name}")]
    NoName {
        /// The name with the alias.
        name: RecordName,
        /// The way there, in words.
        chain: String,
        /// What is wrong with the target.
        why: NameError,
    },
    /// The name is delegated to a zone that is not ours.
    #[error(
        "{name} lies in the zone {cut}, which NS records in zone {zone} give away and which is not in the configuration; add \
         the zone {cut}, or remove the NS records"
    )]
    Cut {
        /// The name.
        name: RecordName,
        /// Where the other zone begins.
        cut: DnsName,
        /// The zone with the NS records.
        zone: DnsName,
    },
    /// The name with the suffix of the configuration is too long.
    #[error(
        "{name} with {suffix} behind it is no name for a record: {why}; choose a shorter `challenge_suffix`"
    )]
    Suffix {
        /// The name that the CA looks up.
        name: RecordName,
        /// What the configuration puts behind it.
        suffix: DnsName,
        /// What is wrong with both together.
        why: NameError,
    },
}

impl Route {
    /// The name itself, in the zone that serves its host.
    #[must_use]
    pub fn direct(zone: &DnsName, record: &RecordName) -> Self {
        Self {
            zone: zone.clone(),
            record: record.clone(),
            way: Way::Direct,
        }
    }
}

impl Probes {
    /// Whether the alias to `target` was made by a wildcard.
    #[must_use]
    pub fn show_a_wildcard(&self, target: &str) -> bool {
        let same = |probe: &Probe| matches!(probe, Probe::Alias(other) if other.eq_ignore_ascii_case(target));
        (same(&self.sibling) || same(&self.asterisk)) && self.below != Probe::Nothing
    }
}

impl<'z> Trail<'z> {
    /// Begins at the name that the CA looks up, in the zone that serves its host.
    ///
    /// # Errors
    /// [`RouteFault::Suffix`].
    pub fn begin(zones: &'z Zones, zone: &'z Zone, record: RecordName) -> Result<Next<'z>, RouteFault> {
        let Some(fixed) = &zone.challenges else {
            return Ok(Next::Ask(Self {
                zones,
                zone: &zone.apex,
                record,
                way: Way::Direct,
                passed: Vec::new(),
            }));
        };
        match record.under(&fixed.suffix) {
            Ok(under) => Ok(Next::Write(Route {
                zone: fixed.zone.clone(),
                record: under,
                way: Way::Delegated,
            })),
            Err(why) => Err(RouteFault::Suffix {
                name: record,
                suffix: fixed.suffix.clone(),
                why,
            }),
        }
    }

    /// Whose update server is to be asked about which name.
    #[must_use]
    pub fn question(&self) -> (&'z DnsName, &RecordName) {
        (self.zone, &self.record)
    }

    /// Where the value goes if nothing more can be learned.
    #[must_use]
    pub fn end(self) -> Route {
        Route {
            zone: self.zone.clone(),
            record: self.record,
            way: self.way,
        }
    }

    /// Goes on with what stands at the name that was asked about.
    ///
    /// # Errors
    /// Why nothing can be written.
    pub fn follow(mut self, found: Found) -> Result<Next<'z>, RouteFault> {
        match found {
            Found::Here => Ok(Next::Write(self.end())),
            Found::Alias { target } => {
                let chain = self.chain(&target);
                let name = self.record.clone();
                let target = match RecordName::parse(&target) {
                    Ok(target) => target,
                    Err(why) => return Err(RouteFault::NoName { name, chain, why }),
                };
                if target == name || self.passed.contains(&target) {
                    return Err(RouteFault::Loop { name, chain });
                }
                if self.passed.len() >= ALIASES_MAX {
                    let name = self.passed.swap_remove(0);
                    return Err(RouteFault::Long { name, chain });
                }
                let Some(zone) = self.zones.of_record(&target) else {
                    return Err(RouteFault::Foreign { name, chain });
                };
                self.zone = &zone.apex;
                self.way = Way::Delegated;
                self.passed.push(std::mem::replace(&mut self.record, target));
                Ok(Next::Ask(self))
            }
            Found::Cut(cut) => match self.zone_below(&cut) {
                Some(zone) => Ok(Next::Ask(self.into_zone(zone))),
                None => Err(RouteFault::Cut {
                    name: self.record,
                    cut,
                    zone: self.zone.clone(),
                }),
            },
            // What the server makes of an update in a zone above is its matter, and shows.
            Found::Within(origin) => Ok(match self.zone_below(&origin) {
                Some(zone) => Next::Ask(self.into_zone(zone)),
                None => Next::Write(self.end()),
            }),
        }
    }

    /// Our zone with this apex, if it is below the one that was asked and holds the record. Each is below the one before, so
    /// that a trail comes to an end.
    fn zone_below(&self, apex: &DnsName) -> Option<&'z Zone> {
        let below = apex != self.zone && apex.is_at_or_below(self.zone) && self.record.is_at_or_below(apex);
        self.zones.at(apex).filter(|_| below)
    }

    fn into_zone(self, zone: &'z Zone) -> Self {
        Self {
            zone: &zone.apex,
            way: Way::Delegated,
            ..self
        }
    }

    /// The way to `target` in words.
    fn chain(&self, target: &str) -> String {
        let mut names = self.passed.iter().chain([&self.record]);
        let mut text = names.next().map_or_else(String::new, ToString::to_string);
        for name in names {
            // Writing to a string cannot fail.
            let _ = write!(text, " is a CNAME to {name}, and this");
        }
        let _ = write!(text, " is a CNAME to {target}");
        text
    }
}

impl RouteFault {
    /// Stable code for metrics and verdicts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Foreign { .. } => "dns-cname-foreign",
            Self::Loop { .. } => "dns-cname-loop",
            Self::Long { .. } => "dns-cname-long",
            Self::NoName { .. } => "dns-cname-name",
            Self::Cut { .. } => "dns-zone-cut",
            Self::Suffix { .. } => "dns-suffix",
        }
    }
}

#[cfg(test)]
mod tests;

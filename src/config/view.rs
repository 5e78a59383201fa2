//! The configuration as decisions need it: zones and CAs in the words of the core.

use std::collections::BTreeMap;

use faythe_core::cas::{Authority, Cas};
use faythe_core::hash;
use faythe_core::name::DnsName;
use faythe_core::zone::{Role, Suffix, Zone, Zones};

use super::{Config, ZoneConfig};

impl Config {
    /// All zones as decisions need them.
    #[must_use]
    pub fn zones(&self) -> Zones {
        let served = self.zones.iter().map(|zone| Zone {
            apex: zone.apex.clone(),
            wildcards: zone.wildcards,
            rule: zone.rule.clone(),
            challenges: zone.challenges.as_ref().map(|suffix| Suffix {
                zone: self.holder(suffix).clone(),
                suffix: suffix.clone(),
            }),
        });
        let aside = self.aside().into_iter().map(|zone| Zone {
            apex: zone.apex,
            wildcards: false,
            rule: zone.rule,
            challenges: None,
        });
        Zones::new(served.collect()).with_aside(aside.collect())
    }

    /// All CAs as decisions need them.
    #[must_use]
    pub fn cas(&self) -> Cas {
        let all = self.cas.iter().map(|ca| Authority {
            name: ca.name.clone(),
            directory: ca.url.to_string(),
            use_after: ca.use_after,
        });
        let cas = Cas::new(all.collect());
        self.zones.iter().fold(cas, |cas, zone| match &zone.cas {
            Some(names) => cas.with_zone(zone.apex.clone(), names),
            None => cas,
        })
    }

    /// What of the configuration may decide whether a certificate of a zone comes about: the CAs and what they are asked
    /// for, the kind of key, the servers that are updated and looked at. A hash for each zone, which tells that something
    /// was changed and not what. Nothing of a file is in it, and no secret.
    #[must_use]
    pub fn setups(&self) -> BTreeMap<DnsName, u64> {
        let cas = self.cas();
        let setup = |zone: &ZoneConfig| {
            let mut texts = vec![
                format!("{:?}", self.key_type),
                format!("{:?} {:?} {:?}", zone.servers, zone.primary, zone.rule),
                format!("{:?} {:?}", zone.challenges, zone.profile),
            ];
            let serve = cas.of_zone(Some(&zone.apex)).iter();
            for ca in serve.filter_map(|ca| self.cas.get(ca.place())) {
                let account = (
                    &ca.email,
                    ca.account_key_type,
                    ca.binding.as_ref().map(|of| &of.kid),
                );
                texts.push(ca.url.to_string());
                texts.push(format!("{:?} {:?} {account:?}", ca.profile, ca.profile_fallback));
            }
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            hash::stable(&texts)
        };
        let setups = self.zones.iter().map(|zone| (zone.apex.clone(), setup(zone)));
        setups.collect()
    }

    /// Zones that take challenges for others and are not listed themselves: a suffix in no zone counts as one, updated by
    /// the servers and with the key of the first zone that uses it.
    #[must_use]
    pub fn aside(&self) -> Vec<ZoneConfig> {
        let mut aside: Vec<ZoneConfig> = Vec::new();
        for zone in &self.zones {
            let Some(suffix) = &zone.challenges else { continue };
            if self.holder(suffix) != suffix
                || self.zones.iter().chain(&aside).any(|known| known.apex == *suffix)
            {
                continue;
            }
            let mut rule = zone.rule.clone();
            for check in &mut rule.required {
                if let (Role::Update, Some(server)) = (check.role, zone.servers.first()) {
                    check.server.clone_from(server);
                }
            }
            aside.push(ZoneConfig {
                apex: suffix.clone(),
                rule,
                challenges: None,
                wildcards: false,
                ..zone.clone()
            });
        }
        aside
    }

    /// The zone that holds what stands behind challenges: the longest one that it lies in, else one of that very name.
    fn holder<'a>(&'a self, suffix: &'a DnsName) -> &'a DnsName {
        let holders = self.zones.iter().map(|zone| &zone.apex);
        holders
            .filter(|apex| suffix.is_at_or_below(apex))
            .max_by_key(|apex| apex.labels())
            .unwrap_or(suffix)
    }
}

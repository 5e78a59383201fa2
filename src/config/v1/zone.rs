//! The zones: the flat keys, which make one, or `zones`, a map from the name of each to its settings.
//!
//! An entry with `challenge_driver` is one of the old tool's nested files and is checked as that did: `auth_dns_server`,
//! then `val_dns_servers`.

use std::collections::BTreeSet;
use std::time::Duration;

use faythe_core::name::DnsName;
use faythe_core::zone::{Rule, Servers};

use super::super::keys::{Absent, Key, Kind, Section};
use super::super::reader::Reader;
use super::super::{Fault, KeyConfig, Referenced, ZoneConfig, syntax};
use super::check;
use crate::dns::Foreign;
use crate::dns::client::{CLOCK_SKEW_LIMIT, Primary, TTL};
use crate::dns::keyfile::Hint;

pub(super) const AUTH_DNS_KEY: Key = Key {
    name: "auth_dns_key",
    kind: Kind::Path,
    absent: Absent::RefusedWithout("zones"),
    purpose: "the path of a key file, as `nsupdate -k` takes it, to sign the updates with",
};
pub(super) const AUTH_DNS_SERVER: Key = Key {
    name: "auth_dns_server",
    kind: Kind::String,
    absent: Absent::RefusedWithout("zones"),
    purpose: "the DNS server that takes the dynamic updates",
};
pub(super) const AUTH_DNS_ZONE: Key = Key {
    name: "auth_dns_zone",
    kind: Kind::String,
    absent: Absent::RefusedWithout("zones"),
    purpose: "the zone to update; hostnames outside it are ignored",
};
pub(super) const ISSUE_WILDCARD_CERTS: Key = Key {
    name: "issue_wildcard_certs",
    kind: Kind::Switch,
    absent: Absent::As("false"),
    purpose: "whether hosts are served by the wildcard certificate of their parent",
};
pub(super) const VAL_DNS_SERVERS: Key = Key {
    name: "val_dns_servers",
    kind: Kind::Strings,
    absent: Absent::RefusedWithout("zones"),
    purpose: "the list of further DNS servers on which a new record must be visible before the CA is asked; it may be `[]`",
};
pub(super) const ZONES: Key = Key {
    name: "zones",
    kind: Kind::Object,
    absent: Absent::Means("one zone, from the keys above"),
    purpose: "the map from each zone's name to its settings",
};

const ENTRY_CAS: Key = Key {
    name: "cas",
    kind: Kind::Strings,
    absent: Absent::Means("all CAs, in their order"),
    purpose: "the list of the names of the CAs that serve the zone, in order",
};
const ENTRY_CHALLENGE_SUFFIX: Key = Key {
    name: "challenge_suffix",
    kind: Kind::String,
    absent: Absent::Means("found out for each name"),
    purpose: "what stands behind the usual name of each challenge",
};
const ENTRY_DRIVER: Key = Key {
    name: "challenge_driver",
    kind: Kind::Object,
    absent: Absent::Means("updates as `auth_dns_server` and `auth_dns_key` say"),
    purpose: "how challenges are published",
};
const ENTRY_CLOCK_SKEW_LIMIT: Key = Key {
    name: "clock_skew_limit",
    kind: Kind::Integer {
        unit: "seconds",
        range: 0..=86_400,
    },
    absent: Absent::As("600"),
    purpose: "how far the clock of the server is followed",
};
const ENTRY_KEY: Key = Key {
    absent: Absent::RefusedWithout("challenge_driver"),
    ..AUTH_DNS_KEY
};
const ENTRY_KEY_ALGORITHM: Key = Key {
    name: "auth_dns_key_algorithm",
    kind: Kind::String,
    absent: Absent::Means("what the file says"),
    purpose: "the algorithm of a key whose file has the secret alone",
};
const ENTRY_KEY_NAME: Key = Key {
    name: "auth_dns_key_name",
    kind: Kind::String,
    absent: Absent::Means("what the file says"),
    purpose: "the name of a key whose file has the secret alone",
};
const ENTRY_PRIMARY: Key = Key {
    name: "primary",
    kind: Kind::String,
    absent: Absent::As(r#""listed""#),
    purpose: "which server is the first to be sent updates",
};
const ENTRY_PROFILE: Key = Key {
    name: "profile",
    kind: Kind::String,
    absent: Absent::Means("that of the CA"),
    purpose: "the profile that certificates in this zone are ordered with",
};
const ENTRY_SERVER: Key = Key {
    absent: Absent::RefusedWithout("update_servers"),
    ..AUTH_DNS_SERVER
};
const ENTRY_STALE_VALUES: Key = Key {
    name: "stale_values",
    kind: Kind::String,
    absent: Absent::As(r#""remove""#),
    purpose: "what becomes of values that are not ours at a challenge's name",
};
const ENTRY_TTL: Key = Key {
    name: "ttl",
    kind: Kind::Integer {
        unit: "seconds",
        range: 1..=86_400,
    },
    absent: Absent::As("120"),
    purpose: "the time to live of our records",
};
const ENTRY_UPDATE_SERVERS: Key = Key {
    name: "update_servers",
    kind: Kind::Strings,
    absent: Absent::Means("the one in `auth_dns_server`"),
    purpose: "the list of DNS servers that take the dynamic updates",
};
const ENTRY_VAL_DNS_SERVERS: Key = Key {
    absent: Absent::Means("those at the top of the file, or none"),
    ..VAL_DNS_SERVERS
};
const ENTRY_WILDCARDS: Key = Key {
    absent: Absent::Means("what the top of the file says, or `false`"),
    ..ISSUE_WILDCARD_CERTS
};

/// One zone.
pub(super) const ENTRY: Section = Section {
    prefix: "zones.<zone>.",
    keys: &[
        ENTRY_SERVER,
        ENTRY_UPDATE_SERVERS,
        ENTRY_PRIMARY,
        ENTRY_KEY,
        ENTRY_KEY_NAME,
        ENTRY_KEY_ALGORITHM,
        ENTRY_CLOCK_SKEW_LIMIT,
        ENTRY_VAL_DNS_SERVERS,
        check::CHECK,
        ENTRY_TTL,
        ENTRY_STALE_VALUES,
        ENTRY_WILDCARDS,
        ENTRY_CAS,
        ENTRY_PROFILE,
        ENTRY_CHALLENGE_SUFFIX,
        ENTRY_DRIVER,
    ],
};

const DRIVER_NSUPDATE: Key = Key {
    name: "nsupdate",
    kind: Kind::Object,
    absent: Absent::Refused,
    purpose: "the only driver there is",
};
const DRIVER_WEBHOOK: Key = Key {
    name: "webhook",
    kind: Kind::Anything,
    absent: Absent::Means("nothing"),
    purpose: "known from the old tool and refused",
};

/// The old tool's way to say how a zone is updated.
pub(super) const DRIVER: Section = Section {
    prefix: "zones.<zone>.challenge_driver.",
    keys: &[DRIVER_NSUPDATE, DRIVER_WEBHOOK],
};

const NSUPDATE_KEY: Key = Key {
    name: "key",
    absent: Absent::Refused,
    ..AUTH_DNS_KEY
};
const NSUPDATE_SERVER: Key = Key {
    name: "server",
    absent: Absent::Refused,
    ..AUTH_DNS_SERVER
};

/// Its one driver that we have.
pub(super) const NSUPDATE: Section = Section {
    prefix: "zones.<zone>.challenge_driver.nsupdate.",
    keys: &[NSUPDATE_SERVER, NSUPDATE_KEY],
};

/// What an entry takes over from the top of the file.
struct Common {
    val_servers: Vec<String>,
    wildcards: bool,
    /// The names of all CAs; `None` where something is wrong with them.
    cas: Option<Vec<String>>,
}

/// All zones; `cas` has the names of all CAs, if nothing is wrong with those.
pub(super) fn zones(reader: &mut Reader<'_, '_>, cas: Option<Vec<String>>) -> Option<Vec<ZoneConfig>> {
    let wildcards = reader.switch(&ISSUE_WILDCARD_CERTS);
    let grown = reader.has(&ZONES);
    let val_servers = if grown && !reader.has(&VAL_DNS_SERVERS) {
        Some(Vec::new())
    } else {
        reader.strings(&VAL_DNS_SERVERS, syntax::server)
    };
    if !grown {
        return flat(reader, val_servers, wildcards).map(|zone| vec![zone]);
    }
    let beside = |remedy| Fault::new("it stands beside `zones`", remedy);
    reader.refuse_if_given(&AUTH_DNS_SERVER, beside("move it into the entries of `zones`"));
    reader.refuse_if_given(&AUTH_DNS_ZONE, beside("make it the name of an entry of `zones`"));
    reader.refuse_if_given(&AUTH_DNS_KEY, beside("move it into the entries of `zones`"));
    // What is wrong at the top is told already; the entries are read all the same, to tell what is wrong there.
    let whole = val_servers.is_some() && wildcards.is_some();
    let common = Common {
        val_servers: val_servers.unwrap_or_default(),
        wildcards: wildcards.unwrap_or_default(),
        cas,
    };
    let mut names = BTreeSet::new();
    let zones = reader.table(&ZONES, &ENTRY, |name, reader| {
        entry(name, reader, &common, &mut names)
    })?;
    if zones.is_empty() {
        let fault = Fault::new("it names no zone", "add one, such as `\"example.com\": {…}`");
        reader.refuse_if_given(&ZONES, fault);
        return None;
    }
    whole.then_some(zones)
}

/// The one zone of a flat file.
fn flat(
    reader: &mut Reader<'_, '_>,
    val_servers: Option<Vec<String>>,
    wildcards: Option<bool>,
) -> Option<ZoneConfig> {
    let server = reader.string(&AUTH_DNS_SERVER, syntax::server);
    let apex = reader.string(&AUTH_DNS_ZONE, syntax::zone);
    let key = key_file(reader, &AUTH_DNS_KEY, Hint::default());
    let server = server?;
    Some(ZoneConfig {
        apex: apex?,
        name_server_port: check::USUAL_PORT,
        rule: Rule::flat(&server, &val_servers?),
        servers: vec![server],
        primary: Primary::Listed,
        key: key?,
        challenges: None,
        wildcards: wildcards?,
        profile: None,
        cas: None,
        clock_skew_limit: CLOCK_SKEW_LIMIT,
        ttl: TTL,
        stale_values: Foreign::Removed,
    })
}

/// One entry of `zones`.
fn entry(
    name: &str,
    reader: &mut Reader<'_, '_>,
    common: &Common,
    names: &mut BTreeSet<DnsName>,
) -> Option<ZoneConfig> {
    let apex = match syntax::zone(name) {
        Ok(apex) => Some(apex),
        Err(fault) => {
            reader.refuse(fault);
            None
        }
    };
    if let Some(apex) = &apex
        && !names.insert(apex.clone())
    {
        let fault = Fault::new(
            format!("zone {apex} stands in the file twice"),
            "keep one of the two",
        );
        reader.refuse(fault);
    }
    let asked = servers(reader);
    let (servers, key) = if reader.has(&ENTRY_DRIVER) {
        let (server, key) = driver(reader).unzip();
        (server.map(|server| vec![server]), key)
    } else {
        (asked.clone(), key(reader))
    };
    let val_servers = if reader.has(&ENTRY_VAL_DNS_SERVERS) {
        reader.strings(&ENTRY_VAL_DNS_SERVERS, syntax::server)
    } else {
        Some(common.val_servers.clone())
    };
    let wildcards = if reader.has(&ENTRY_WILDCARDS) {
        reader.switch(&ENTRY_WILDCARDS)
    } else {
        Some(common.wildcards)
    };
    let usual = if reader.has(&ENTRY_DRIVER) {
        // The old tool asked nobody but those that its file names.
        Servers::Primary
    } else {
        Servers::Authoritative
    };
    let check = check::read(reader, usual);
    let suffix = reader
        .has(&ENTRY_CHALLENGE_SUFFIX)
        .then(|| reader.string(&ENTRY_CHALLENGE_SUFFIX, syntax::zone));
    let profile = reader
        .has(&ENTRY_PROFILE)
        .then(|| reader.string(&ENTRY_PROFILE, syntax::some_text));
    let cas = reader
        .has(&ENTRY_CAS)
        .then(|| cas_of(reader, common.cas.as_deref()));
    if matches!(suffix, Some(None)) || matches!(profile, Some(None)) || matches!(cas, Some(None)) {
        return None;
    }
    let primary = reader.string(&ENTRY_PRIMARY, syntax::primary);
    let clock_skew_limit = reader.integer(&ENTRY_CLOCK_SKEW_LIMIT);
    let ttl = reader.integer(&ENTRY_TTL);
    let stale_values = reader.string(&ENTRY_STALE_VALUES, syntax::stale_values);
    Some(ZoneConfig {
        apex: apex?,
        name_server_port: check.as_ref()?.port,
        rule: check?.rule(&asked?, &val_servers?),
        servers: servers?,
        primary: primary?,
        key: key?,
        challenges: suffix.flatten(),
        wildcards: wildcards?,
        profile: profile.flatten(),
        cas: cas.flatten(),
        clock_skew_limit: Duration::from_secs(clock_skew_limit?),
        ttl: Duration::from_secs(ttl?),
        stale_values: stale_values?,
    })
}

/// The CAs that an entry names, all of which there are.
fn cas_of(reader: &mut Reader<'_, '_>, all: Option<&[String]>) -> Option<Vec<String>> {
    let known = |name: &str| match all {
        Some(all) if !all.iter().any(|ca| ca == name) => {
            let names: Vec<_> = all.iter().map(|ca| format!("`{ca}`")).collect();
            let remedy = format!("give the `name` of an entry of `cas`: {}", names.join(", "));
            Err(Fault::new(format!("there is no CA called {name:?}"), remedy))
        }
        Some(_) | None => Ok(name.to_owned()),
    };
    let cas = reader.strings(&ENTRY_CAS, known)?;
    if cas.is_empty() {
        let fault = Fault::new(
            "it names no CA",
            "give one at least, or remove the key for all of them",
        );
        reader.refuse_if_given(&ENTRY_CAS, fault);
        return None;
    }
    Some(cas)
}

/// The servers that an entry names to take updates, in order.
fn servers(reader: &mut Reader<'_, '_>) -> Option<Vec<String>> {
    if !reader.has(&ENTRY_UPDATE_SERVERS) {
        return Some(vec![reader.string(&ENTRY_SERVER, syntax::server)?]);
    }
    let twice = Fault::new(
        "it stands beside `update_servers`",
        "keep one of the two; a server that has to be looked at goes into `val_dns_servers`",
    );
    reader.refuse_if_given(&ENTRY_SERVER, twice);
    let both = Fault::new("it stands beside `challenge_driver`", "keep one of the two");
    if reader.has(&ENTRY_DRIVER) {
        reader.refuse_if_given(&ENTRY_UPDATE_SERVERS, both);
    }
    let servers = reader.strings(&ENTRY_UPDATE_SERVERS, syntax::server)?;
    if servers.is_empty() {
        let fault = Fault::new("it names no server", "give at least one");
        reader.refuse_if_given(&ENTRY_UPDATE_SERVERS, fault);
        return None;
    }
    Some(servers)
}

/// What signs the updates of an entry.
fn key(reader: &mut Reader<'_, '_>) -> Option<KeyConfig> {
    let name = reader
        .has(&ENTRY_KEY_NAME)
        .then(|| reader.string(&ENTRY_KEY_NAME, syntax::some_text));
    let algorithm = reader
        .has(&ENTRY_KEY_ALGORITHM)
        .then(|| reader.string(&ENTRY_KEY_ALGORITHM, syntax::tsig_algorithm));
    let wrong = matches!(name, Some(None)) || matches!(algorithm, Some(None));
    if reader.text(&ENTRY_KEY) == Some("none") {
        return Some(KeyConfig::Unsigned);
    }
    if wrong {
        return None;
    }
    let hint = Hint {
        name: name.flatten(),
        algorithm: algorithm.flatten(),
    };
    key_file(reader, &ENTRY_KEY, hint)
}

/// A key file that is there and good.
fn key_file(reader: &mut Reader<'_, '_>, key: &Key, hint: Hint) -> Option<KeyConfig> {
    let path = reader.path(key, Referenced::UpdateKey(&hint))?;
    Some(KeyConfig::File { path, hint })
}

/// Where an entry of the old tool sends its updates, and the key that signs them.
fn driver(reader: &mut Reader<'_, '_>) -> Option<(String, KeyConfig)> {
    let instead =
        "give the name server that takes dynamic updates: `\"nsupdate\": {\"server\": …, \"key\": …}`";
    let both = Fault::new(
        "it stands beside `challenge_driver`, which has a key of its own",
        "keep one of the two",
    );
    reader.refuse_if_given(&ENTRY_KEY, both);
    for key in [ENTRY_KEY_NAME, ENTRY_KEY_ALGORITHM] {
        let fault = Fault::new(
            "it stands beside `challenge_driver`",
            "give the key a whole file of its own",
        );
        reader.refuse_if_given(&key, fault);
    }
    if reader.text(&ENTRY_DRIVER) == Some("noop") {
        let what = "\"noop\" publishes nothing, and no order could come to an end";
        reader.refuse_if_given(&ENTRY_DRIVER, Fault::new(what, instead));
        return None;
    }
    reader.object(&ENTRY_DRIVER, &DRIVER, |reader| {
        let what = "challenges cannot be published by a web hook";
        if reader.refuse_if_given(&DRIVER_WEBHOOK, Fault::new(what, instead)) {
            return None;
        }
        reader.object(&DRIVER_NSUPDATE, &NSUPDATE, |reader| {
            let server = reader.string(&NSUPDATE_SERVER, syntax::server);
            let key = key_file(reader, &NSUPDATE_KEY, Hint::default());
            Some((server?, key?))
        })
    })
}

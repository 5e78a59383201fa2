//! The file format. Keys, units, ranges and defaults exist here and nowhere else.
//!
//! The flat file stays valid for ever (spec P2.3): keys may be added, none may change its name, unit or default. A file
//! with `zones` has grown out of it; what the old tool's own nested files have besides is `old`'s.
//! `docs/configuration.md` says the same for people; a test compares the two.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use faythe_core::schedule::Threshold;

use super::keys::{Absent, Key, Kind, Section};
use super::reader::{Look, Reader, Report};
use super::{Config, Fault, Problems, Warning, syntax, tree};

mod ca;
mod check;
mod limits;
mod old;
mod zone;

const DAY_MS: u64 = 86_400_000;

const ISSUE_GRACE: Key = Key {
    name: "issue_grace",
    kind: Kind::Integer {
        unit: "milliseconds",
        range: 0..=365 * DAY_MS,
    },
    absent: Absent::As("28800000"),
    purpose: "the time between two attempts to issue for the same domain",
};
const KEY_TYPE: Key = Key {
    name: "key_type",
    kind: Kind::String,
    absent: Absent::As(r#""ecdsa-p256""#),
    purpose: "the type of the certificates' keys",
};
const KUBECONFIG_PATH: Key = Key {
    name: "kubeconfig_path",
    kind: Kind::Anything,
    absent: Absent::Means("nothing"),
    purpose: "accepted for old files and not used",
};
const LEADER_ELECTION: Key = Key {
    name: "leader_election",
    kind: Kind::Switch,
    absent: Absent::As("true"),
    purpose: "whether one of several instances is elected to act, by a Lease in `secret_namespace`",
};
const LEASE_NAME: Key = Key {
    name: "lease_name",
    kind: Kind::String,
    absent: Absent::As(r#""faythe""#),
    purpose: "the name of the Lease by which the acting instance is elected",
};
const MONITOR_INTERVAL: Key = Key {
    name: "monitor_interval",
    kind: Kind::Integer {
        unit: "milliseconds",
        range: 1..=DAY_MS,
    },
    absent: Absent::As("5000"),
    purpose: "the time between two re-syncs of the picture of the cluster",
};
const RENEWALS_PER_MINUTE: Key = Key {
    name: "renewals_per_minute",
    kind: Kind::Integer {
        unit: "",
        range: 0..=1_000_000,
    },
    absent: Absent::As("60"),
    purpose: "how many routine renewals begin in a minute at most",
};
const RENEWAL_THRESHOLD: Key = Key {
    name: "renewal_threshold",
    kind: Kind::Integer {
        unit: "days",
        range: 1..=365,
    },
    absent: Absent::Means("30 days, or a third of the certificate's lifetime if that is less"),
    purpose: "the number of days before expiry at which renewal starts",
};

/// The keys of the file's own object.
pub(super) const TOP: Section = Section {
    prefix: "",
    keys: &[
        old::SECRET_NAMESPACE,
        old::SECRET_HOSTLABEL,
        ca::LETS_ENCRYPT_URL,
        ca::LETS_ENCRYPT_EMAIL,
        ca::LETS_ENCRYPT_PROXY,
        ca::ACME_ROOT_CERTIFICATES,
        ca::CAS,
        KEY_TYPE,
        zone::AUTH_DNS_SERVER,
        zone::AUTH_DNS_ZONE,
        zone::AUTH_DNS_KEY,
        zone::VAL_DNS_SERVERS,
        zone::ZONES,
        MONITOR_INTERVAL,
        RENEWAL_THRESHOLD,
        RENEWALS_PER_MINUTE,
        ISSUE_GRACE,
        zone::ISSUE_WILDCARD_CERTS,
        old::WILDCARD_CERT_K8S_PREFIX,
        old::LISTEN,
        LEADER_ELECTION,
        LEASE_NAME,
        KUBECONFIG_PATH,
        old::FILE_MONITOR_CONFIGS,
        old::KUBE_MONITOR_CONFIGS,
        old::METRICS_PORT,
        old::VAULT_MONITOR_CONFIGS,
    ],
};

/// All objects there are.
pub(super) const SECTIONS: &[&Section] = &[
    &TOP,
    &ca::CA,
    &ca::BINDING,
    &limits::SECTION,
    &limits::LIMIT,
    &limits::RATES,
    &limits::RATE,
    &zone::ENTRY,
    &check::SECTION,
    &zone::DRIVER,
    &zone::NSUPDATE,
    &old::KUBE_MONITOR,
];

/// Reads the content of the configuration file that was named `file`; `look` judges the files it names.
pub(super) fn parse(file: &Path, bytes: &[u8], look: Look<'_>) -> Result<(Config, Vec<Warning>), Problems> {
    let entries = tree::entries(file, bytes).map_err(|broken| Problems::of_syntax(file, broken))?;
    let mut report = Report::new(file, look, SECTIONS);
    let config = read(&mut report.reader(&TOP, &entries));
    report.finish(config)
}

/// Every key, in one pass. `None` if a value is missing or wrong, which is among the reader's problems then.
fn read(reader: &mut Reader<'_, '_>) -> Option<Config> {
    warn_of_kubeconfig(reader);
    let place = old::place(reader);
    let cas = ca::cas(reader);
    let key_type = reader.string(&KEY_TYPE, syntax::key_type);
    let names = cas
        .as_ref()
        .map(|cas| cas.iter().map(|ca| ca.name.clone()).collect());
    let zones = zone::zones(reader, names);
    let monitor_interval = reader.integer(&MONITOR_INTERVAL);
    let renewal_threshold = reader.integer(&RENEWAL_THRESHOLD);
    let renewals_per_minute = reader.integer(&RENEWALS_PER_MINUTE);
    let issue_grace = reader.integer(&ISSUE_GRACE);
    let listen = old::listen(reader);
    let leader_election = reader.switch(&LEADER_ELECTION);
    let lease_name = reader.string(&LEASE_NAME, syntax::lease_name);
    if issue_grace == Some(0) {
        warn_of_no_grace(reader);
    }
    let place = place?;
    let days = |days| Duration::from_millis(days * DAY_MS);
    Some(Config {
        secret_namespace: place.namespace,
        secret_hostlabel: place.hostlabel,
        cas: cas?,
        key_type: key_type?,
        zones: zones?,
        monitor_interval: Duration::from_millis(monitor_interval?),
        renewal_threshold: renewal_threshold
            .map_or(Threshold::Default, |number| Threshold::Set(days(number))),
        renewals_per_minute: NonZeroU32::new(u32::try_from(renewals_per_minute?).ok()?),
        issue_grace: Duration::from_millis(issue_grace?),
        wildcard_cert_k8s_prefix: place.wildcard_prefix,
        listen: listen?,
        leader_election: leader_election?,
        lease_name: lease_name?,
    })
}

fn warn_of_kubeconfig(reader: &mut Reader<'_, '_>) {
    let remedy =
        "set the environment variable KUBECONFIG, or let faythe use its service account; then remove the key";
    reader.warn_if_given(&KUBECONFIG_PATH, Fault::new("it is not used", remedy));
}

/// Zero is let through, as the old tool did.
fn warn_of_no_grace(reader: &mut Reader<'_, '_>) {
    let what = "0 lets failed attempts follow one another at once, until the CA limits the account";
    let remedy = "remove the key for the default of 8 hours";
    reader.warn_if_given(&ISSUE_GRACE, Fault::new(what, remedy));
}

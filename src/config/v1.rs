//! The file format: one flat JSON object. Keys, units, ranges and defaults exist here and nowhere else.
//!
//! The flat file stays valid for ever (spec P2.3): keys may be added, none may change its name, unit or default.
//! `docs/configuration.md` says the same for people; a test compares the two.

use std::path::Path;
use std::time::Duration;

use faythe_core::schedule::Threshold;
use faythe_core::zone::Rule;

use super::reader::{Absent, Key, Kind, Look, Reader};
use super::{CaConfig, Config, Fault, Problems, Referenced, Warning, ZoneConfig, json, syntax};

const DAY_MS: u64 = 86_400_000;

const ACME_ROOT_CERTIFICATES: Key = Key {
    name: "acme_root_certificates",
    kind: Kind::Path,
    absent: Absent::Means("none besides the system's"),
    purpose: "a PEM file with roots to trust for the CA's HTTPS besides the system's",
};
const AUTH_DNS_KEY: Key = Key {
    name: "auth_dns_key",
    kind: Kind::Path,
    absent: Absent::Refused,
    purpose: "the path of a key file, as `nsupdate -k` takes it, to sign the updates with",
};
const AUTH_DNS_SERVER: Key = Key {
    name: "auth_dns_server",
    kind: Kind::String,
    absent: Absent::Refused,
    purpose: "the DNS server that takes the dynamic updates",
};
const AUTH_DNS_ZONE: Key = Key {
    name: "auth_dns_zone",
    kind: Kind::String,
    absent: Absent::Refused,
    purpose: "the zone to update; hostnames outside it are ignored",
};
const ISSUE_GRACE: Key = Key {
    name: "issue_grace",
    kind: Kind::Integer {
        unit: "milliseconds",
        range: 0..=365 * DAY_MS,
    },
    absent: Absent::As("28800000"),
    purpose: "the time between two attempts to issue for the same domain",
};
const ISSUE_WILDCARD_CERTS: Key = Key {
    name: "issue_wildcard_certs",
    kind: Kind::Switch,
    absent: Absent::As("false"),
    purpose: "whether hosts are served by the wildcard certificate of their parent",
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
const LETS_ENCRYPT_EMAIL: Key = Key {
    name: "lets_encrypt_email",
    kind: Kind::String,
    absent: Absent::Refused,
    purpose: "the contact address given to the CA",
};
const LETS_ENCRYPT_URL: Key = Key {
    name: "lets_encrypt_url",
    kind: Kind::String,
    absent: Absent::Refused,
    purpose: "the URL of the CA's ACME directory",
};
const LISTEN: Key = Key {
    name: "listen",
    kind: Kind::String,
    absent: Absent::As(r#""0.0.0.0:9105""#),
    purpose: "the address of the HTTP server for metrics and health",
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
const RENEWAL_THRESHOLD: Key = Key {
    name: "renewal_threshold",
    kind: Kind::Integer {
        unit: "days",
        range: 1..=365,
    },
    absent: Absent::Means("30 days, or a third of the certificate's lifetime if that is less"),
    purpose: "the number of days before expiry at which renewal starts",
};
const SECRET_HOSTLABEL: Key = Key {
    name: "secret_hostlabel",
    kind: Kind::String,
    absent: Absent::Refused,
    purpose: "the key of the label on a Secret that holds the hostname its certificate covers",
};
const SECRET_NAMESPACE: Key = Key {
    name: "secret_namespace",
    kind: Kind::String,
    absent: Absent::Refused,
    purpose: "the namespace in which certificates are searched and kept",
};
const VAL_DNS_SERVERS: Key = Key {
    name: "val_dns_servers",
    kind: Kind::Strings,
    absent: Absent::Refused,
    purpose: "the list of further DNS servers on which a new record must be visible before the CA is asked; it may be `[]`",
};
const WILDCARD_CERT_K8S_PREFIX: Key = Key {
    name: "wildcard_cert_k8s_prefix",
    kind: Kind::String,
    absent: Absent::As(r#""wild--card""#),
    purpose: "what stands for '*' in names and labels of Kubernetes",
};

/// All keys there are.
pub(super) const KEYS: [Key; 17] = [
    SECRET_NAMESPACE,
    SECRET_HOSTLABEL,
    LETS_ENCRYPT_URL,
    LETS_ENCRYPT_EMAIL,
    ACME_ROOT_CERTIFICATES,
    KEY_TYPE,
    AUTH_DNS_SERVER,
    AUTH_DNS_ZONE,
    AUTH_DNS_KEY,
    VAL_DNS_SERVERS,
    MONITOR_INTERVAL,
    RENEWAL_THRESHOLD,
    ISSUE_GRACE,
    ISSUE_WILDCARD_CERTS,
    WILDCARD_CERT_K8S_PREFIX,
    LISTEN,
    KUBECONFIG_PATH,
];

/// Reads the content of the configuration file that was named `file`; `look` judges the files it names.
pub(super) fn parse(file: &Path, bytes: &[u8], look: Look<'_>) -> Result<(Config, Vec<Warning>), Problems> {
    let entries = json::entries(file, bytes).map_err(|broken| Problems::of_syntax(file, broken))?;
    let mut reader = Reader::new(file, look, &KEYS, entries);
    let config = read(&mut reader);
    reader.finish(config)
}

/// Every key, in one pass. `None` if a value is missing or wrong, which is among the reader's problems then.
fn read(reader: &mut Reader<'_>) -> Option<Config> {
    warn_of_kubeconfig(reader);
    let secret_namespace = reader.string(&SECRET_NAMESPACE, syntax::namespace);
    let secret_hostlabel = reader.string(&SECRET_HOSTLABEL, syntax::label_key);
    let lets_encrypt_url = reader.string(&LETS_ENCRYPT_URL, syntax::directory);
    let lets_encrypt_email = reader.string(&LETS_ENCRYPT_EMAIL, syntax::email);
    let acme_root_certificates = reader.path(&ACME_ROOT_CERTIFICATES, Referenced::Roots);
    let key_type = reader.string(&KEY_TYPE, syntax::key_type);
    let auth_dns_server = reader.string(&AUTH_DNS_SERVER, syntax::server);
    let auth_dns_zone = reader.string(&AUTH_DNS_ZONE, syntax::zone);
    let auth_dns_key = reader.path(&AUTH_DNS_KEY, Referenced::UpdateKey);
    let val_dns_servers = reader.strings(&VAL_DNS_SERVERS, syntax::server);
    let monitor_interval = reader.integer(&MONITOR_INTERVAL);
    let renewal_threshold = reader.integer(&RENEWAL_THRESHOLD);
    let issue_grace = reader.integer(&ISSUE_GRACE);
    let issue_wildcard_certs = reader.switch(&ISSUE_WILDCARD_CERTS);
    let wildcard_cert_k8s_prefix = reader.string(&WILDCARD_CERT_K8S_PREFIX, syntax::wildcard_prefix);
    let listen = reader.string(&LISTEN, syntax::listen);
    if issue_grace == Some(0) {
        warn_of_no_grace(reader);
    }
    let days = |days| Duration::from_millis(days * DAY_MS);
    let url = lets_encrypt_url?;
    let ca = CaConfig {
        name: url.authority().map_or_else(String::new, ToString::to_string),
        url,
        email: lets_encrypt_email?,
        root_certificates: acme_root_certificates,
    };
    let server = auth_dns_server?;
    let zone = ZoneConfig {
        apex: auth_dns_zone?,
        rule: Rule::flat(&server, &val_dns_servers?),
        server,
        key: auth_dns_key?,
        wildcards: issue_wildcard_certs?,
    };
    Some(Config {
        secret_namespace: secret_namespace?,
        secret_hostlabel: secret_hostlabel?,
        cas: vec![ca],
        key_type: key_type?,
        zones: vec![zone],
        monitor_interval: Duration::from_millis(monitor_interval?),
        renewal_threshold: renewal_threshold
            .map_or(Threshold::Default, |number| Threshold::Set(days(number))),
        issue_grace: Duration::from_millis(issue_grace?),
        wildcard_cert_k8s_prefix: wildcard_cert_k8s_prefix?,
        listen: listen?,
    })
}

fn warn_of_kubeconfig(reader: &mut Reader<'_>) {
    let remedy =
        "set the environment variable KUBECONFIG, or let faythe use its service account; then remove the key";
    reader.warn_if_given(&KUBECONFIG_PATH, Fault::new("it is not used", remedy));
}

/// Zero is let through, as the old tool did.
fn warn_of_no_grace(reader: &mut Reader<'_>) {
    let what = "0 lets failed attempts follow one another at once, until the CA limits the account";
    let remedy = "remove the key for the default of 8 hours";
    reader.warn_if_given(&ISSUE_GRACE, Fault::new(what, remedy));
}

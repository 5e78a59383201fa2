//! Entries for tests that throw bytes at every parser of what comes from outside: `fuzz/` and `tests/fuzz.rs`.
//!
//! Each takes any bytes at all and returns; it panics where a parser does, or where a law is broken that holds for every
//! input. Nothing of the program calls them.

use faythe_core::name::{DnsName, Hostname, RecordName};
use faythe_core::zone::Zones;

use crate::dns::server::ServerAddr;
use crate::{ca, config, dns, store, x509};

/// What a fuzz target runs.
pub type Entry = fn(&[u8]);

/// All of them, by the name of their target and of their directory in `fuzz/corpus`.
pub const TARGETS: [(&str, Entry); 10] = [
    ("acme_answers", ca::fuzzing::answers),
    ("acme_headers", ca::fuzzing::headers),
    ("acme_problem", ca::fuzzing::problem),
    ("certificates", certificates),
    ("config", config::fuzzing::file),
    ("dns_answer", dns::fuzzing::answer_to_query),
    ("key_file", dns::fuzzing::key_file),
    ("names", names),
    ("note", store::fuzzing::note),
    ("update_answer", dns::fuzzing::answer_to_update),
];

/// Runs a target. Where there is none of this name, the target's program is wrong.
pub fn run(target: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(name, _)| *name == target);
    assert!(found.is_some(), "there is no target {target}");
    if let Some((_, entry)) = found {
        entry(bytes);
    }
}

/// Names as Ingresses, configuration and notes have them. What is read is written so that it is read as the same again.
pub fn names(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = DnsName::parse(text) {
        assert_eq!(DnsName::parse(name.as_str()), Ok(name));
    }
    if let Ok(host) = Hostname::parse(text) {
        assert_eq!(Hostname::parse(&host.to_string()), Ok(host));
    }
    if let Ok(record) = RecordName::parse(text) {
        assert_eq!(RecordName::parse(record.as_str()), Ok(record));
    }
    if let Ok(server) = text.parse::<ServerAddr>() {
        assert_eq!(server.to_string().parse(), Ok(server));
    }
    drop(faythe_core::want::meaning(text, &Zones::new(Vec::new())));
}

/// Certificates and keys as Secrets and CAs have them.
pub fn certificates(bytes: &[u8]) {
    drop(x509::facts(Some(bytes), Some(bytes)));
    drop(x509::facts(Some(bytes), None));
    if let Ok(text) = str::from_utf8(bytes) {
        drop(x509::issuers(text));
    }
}

//! `check` of a zone: which of its servers must show a challenge before the CA is told.

use std::time::Duration;

use faythe_core::zone::{Quorum, Rule};

use super::super::keys::{Absent, Key, Kind, Section};
use super::super::reader::Reader;
use super::super::syntax;

const DEAD_AFTER: Key = Key {
    name: "dead_after",
    kind: Kind::Integer {
        unit: "looks",
        range: 1..=1_000,
    },
    absent: Absent::As("5"),
    purpose: "after how many looks in a row without an answer a name server is done without",
};
const DEADLINE: Key = Key {
    name: "deadline",
    kind: Kind::Integer {
        unit: "milliseconds",
        range: 1_000..=86_400_000,
    },
    absent: Absent::As("600000"),
    purpose: "after how long every server is named that lacks a challenge",
};
const QUORUM: Key = Key {
    name: "quorum",
    kind: Kind::Integer {
        unit: "servers",
        range: 1..=100,
    },
    absent: Absent::Means("all that are alive"),
    purpose: "how many addresses of name servers must show a challenge",
};
const SERVERS: Key = Key {
    name: "servers",
    kind: Kind::String,
    absent: Absent::As(r#""authoritative""#),
    purpose: "which name servers must show a challenge",
};

/// The check of one zone.
pub(super) const CHECK: Section = Section {
    prefix: "zones.<zone>.check.",
    keys: &[SERVERS, QUORUM, DEAD_AFTER, DEADLINE],
};

/// The rule of a zone with these servers.
pub(super) fn rule(reader: &mut Reader<'_, '_>, update_server: &str, others: &[String]) -> Option<Rule> {
    let servers = reader.string(&SERVERS, syntax::checked_servers);
    let quorum = if reader.has(&QUORUM) {
        reader
            .integer(&QUORUM)
            .map(|count| Quorum::AtLeast(u32::try_from(count).unwrap_or(u32::MAX)))
    } else {
        Some(Quorum::All)
    };
    let dead_after = reader.integer(&DEAD_AFTER);
    let deadline = reader.integer(&DEADLINE);
    Some(Rule {
        servers: servers?,
        quorum: quorum?,
        dead_after: u32::try_from(dead_after?).unwrap_or(u32::MAX),
        deadline: Duration::from_millis(deadline?),
        ..Rule::of_zone(update_server, others)
    })
}

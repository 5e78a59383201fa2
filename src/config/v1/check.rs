//! The check of a zone: who has to show a record before the CA is told.

use std::time::Duration;

use faythe_core::zone::{
    DEAD_AFTER as USUAL_DEAD_AFTER, DEADLINE as USUAL_DEADLINE, Quorum, Role, Rule, Servers,
};

use super::super::keys::{Absent, Key, Kind, Section};
use super::super::reader::Reader;
use super::super::syntax;

/// The port of name servers (RFC 1035 §4.2).
pub(super) const USUAL_PORT: u16 = 53;

pub(super) const CHECK: Key = Key {
    name: "check",
    kind: Kind::Object,
    absent: Absent::Means("its keys' defaults"),
    purpose: "who has to show a record before the CA is told",
};
const DEADLINE: Key = Key {
    name: "deadline",
    kind: Kind::Integer {
        unit: "milliseconds",
        range: 1_000..=86_400_000,
    },
    absent: Absent::As("600000"),
    purpose: "the time after which servers that lack a record are named",
};
const DEAD_AFTER: Key = Key {
    name: "dead_after",
    kind: Kind::Integer {
        unit: "",
        range: 1..=1_000,
    },
    absent: Absent::As("5"),
    purpose: "how often in a row a server may fail before it is done without",
};
const PORT: Key = Key {
    name: "port",
    kind: Kind::Integer {
        unit: "",
        range: 1..=65_535,
    },
    absent: Absent::As("53"),
    purpose: "the port of the name servers that the zone's NS records name",
};
const QUORUM: Key = Key {
    name: "quorum",
    kind: Kind::IntegerOr {
        word: "all",
        range: 1..=1_000,
    },
    absent: Absent::As(r#""all""#),
    purpose: "how many of the servers have to show it",
};
const SERVERS: Key = Key {
    name: "servers",
    kind: Kind::StringsOrWord,
    absent: Absent::Means("`authoritative`; with `challenge_driver`, `primary`"),
    purpose: "which servers have to show it",
};

/// Who has to show a record.
pub(super) const SECTION: Section = Section {
    prefix: "zones.<zone>.check.",
    keys: &[SERVERS, PORT, QUORUM, DEAD_AFTER, DEADLINE],
};

/// What an entry says of its check.
pub(super) struct CheckConfig {
    servers: Servers,
    pub(super) port: u16,
    quorum: Quorum,
    dead_after: u32,
    deadline: Duration,
}

/// Who has to show a record.
pub(super) fn read(reader: &mut Reader<'_, '_>, usual: Servers) -> Option<CheckConfig> {
    if !reader.has(&CHECK) {
        return Some(CheckConfig {
            servers: usual,
            port: USUAL_PORT,
            quorum: Quorum::All,
            dead_after: USUAL_DEAD_AFTER,
            deadline: USUAL_DEADLINE,
        });
    }
    reader.object(&CHECK, &SECTION, |reader| {
        let servers = if !reader.has(&SERVERS) {
            Some(usual)
        } else if reader.text(&SERVERS).is_some() {
            reader.string(&SERVERS, syntax::checked_servers)
        } else {
            reader.strings(&SERVERS, syntax::server).map(Servers::Listed)
        };
        let quorum = if !reader.has(&QUORUM) || reader.text(&QUORUM) == Some("all") {
            Some(Quorum::All)
        } else {
            let number = reader.integer(&QUORUM);
            number
                .and_then(|number| u32::try_from(number).ok())
                .map(Quorum::AtLeast)
        };
        let port = reader.integer(&PORT);
        let dead_after = reader.integer(&DEAD_AFTER);
        let deadline = reader.integer(&DEADLINE);
        Some(CheckConfig {
            servers: servers?,
            port: u16::try_from(port?).ok()?,
            quorum: quorum?,
            dead_after: u32::try_from(dead_after?).ok()?,
            deadline: Duration::from_millis(deadline?),
        })
    })
}

impl CheckConfig {
    /// The rule of a zone that these servers take updates for. A single one has to show the value itself; of several, any may
    /// be away.
    pub(super) fn rule(self, asked: &[String], val_servers: &[String]) -> Rule {
        let first = asked.first().map_or("", String::as_str);
        let mut rule = Rule {
            quorum: self.quorum,
            dead_after: self.dead_after,
            deadline: self.deadline,
            ..Rule::of_zone(first, val_servers)
        };
        let several = asked.len() > 1;
        rule.servers = match self.servers {
            Servers::Primary if several => Servers::Listed(asked.to_vec()),
            servers @ (Servers::Authoritative | Servers::Listed(_) | Servers::Primary) => servers,
        };
        if several {
            rule.required.retain(|check| check.role != Role::Update);
        }
        rule
    }
}

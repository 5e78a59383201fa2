//! PowerDNS's configuration, with its zones in SQLite.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Key, Role, Setup, zone_file};
use crate::scratch::Scratch;
use crate::{process, tools};

/// Where Debian keeps the tables of the SQLite back end.
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
/// The switches that let it take updates; `pdnsutil` says who may.
const SWITCHES: &str = "dnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8,::1\n";
/// The key of zones that nobody may change. Without any key in a zone's metadata everybody may.
const NOBODY: &str = "nobody";

/// Fills the database, if there is none yet, and writes the configuration; returns the command that starts it.
pub(super) async fn prepare(
    setup: &Setup,
    role: &Role,
    listen: &[SocketAddr],
    scratch: &Scratch,
) -> Result<Command> {
    ensure!(
        setup.views.is_empty() && matches!(role, Role::Primary { tells } if tells.is_empty()),
        "the bed has views and secondaries with BIND alone"
    );
    ensure!(
        setup.denied.is_empty(),
        "PowerDNS has rules for single names only with a script of one's own"
    );
    let server = tools::powerdns("pdns_server")?;
    let directory = scratch.path();
    scratch.write("pdns.conf", config(setup, listen, directory))?;
    let database = directory.join("pdns.sqlite3");
    if !database.exists() {
        let mut sqlite = Command::new(tools::powerdns("sqlite3")?);
        sqlite.arg("-bail").arg(&database);
        process::run(sqlite, &std::fs::read_to_string(SCHEMA)?).await?;
    }
    let served = pdnsutil(directory, "list-all-zones").await?;
    let served: Vec<&str> = served.lines().map(|line| line.trim_end_matches('.')).collect();
    for zone in setup.all_zones().filter(|zone| !served.contains(zone)) {
        let file = scratch.write(&format!("{zone}.zone"), zone_file(setup, zone))?;
        pdnsutil(directory, &format!("load-zone {zone} {}", file.display())).await?;
    }
    for zone in served {
        if !setup.all_zones().any(|wanted| wanted == zone) {
            pdnsutil(directory, &format!("delete-zone {zone}")).await?;
        }
    }
    // As a database is changed by hand, a key that is no longer wanted has to be taken out of it.
    let known = pdnsutil(directory, "list-tsig-keys").await?;
    for name in known.lines().filter_map(|line| line.split(['.', ' ']).next()) {
        if !setup.known_keys().any(|wanted| wanted.name() == name) {
            pdnsutil(directory, &format!("delete-tsig-key {name}")).await?;
        }
    }
    for command in grants(setup) {
        pdnsutil(directory, &command).await?;
    }
    let mut command = Command::new(server);
    command.arg(format!("--config-dir={}", directory.display()));
    Ok(command)
}

/// What an operator writes for a zone that takes updates: the switches, and the commands that make key and grant.
pub(super) fn grant(setup: &Setup, zone: &str) -> (String, Vec<String>) {
    let commands = setup.known_keys().map(import).chain([allow(setup, zone)]);
    (SWITCHES.to_owned(), commands.collect())
}

fn config(setup: &Setup, listen: &[SocketAddr], directory: &Path) -> String {
    let addresses: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let directory = directory.display();
    // Without the last lines it would ask its maker's servers for news, and run as somebody who may not write here.
    format!(
        "launch=gsqlite3
gsqlite3-database={directory}/pdns.sqlite3
gsqlite3-dnssec=yes
{SWITCHES}{}
local-address={}
max-tcp-connections=2000
socket-dir={directory}
write-pid=no
security-poll-suffix=
setuid=
setgid=
{}",
        setup.options,
        addresses.join(", "),
        setup.statements
    )
}

/// The commands for all keys and zones.
fn grants(setup: &Setup) -> Vec<String> {
    let nobody = Key::new(NOBODY, super::Algorithm::HmacSha256);
    let keys = setup.known_keys().map(import);
    let zones = setup.all_zones().flat_map(|zone| {
        // Serial numbers count updates, as with the other makes.
        let counted = format!("set-meta {zone} SOA-EDIT-DNSUPDATE INCREASE");
        [allow(setup, zone), counted]
    });
    keys.chain([import(&nobody)]).chain(zones).collect()
}

fn import(key: &Key) -> String {
    let (name, algorithm, secret) = (key.name(), key.algorithm().name(), key.secret());
    format!("import-tsig-key {name} {algorithm} {secret}")
}

fn allow(setup: &Setup, zone: &str) -> String {
    let mut names: Vec<&str> = setup.keys_of(zone).map(Key::name).collect();
    if names.is_empty() {
        names.push(NOBODY);
    }
    format!("set-meta {zone} TSIG-ALLOW-DNSUPDATE {}", names.join(" "))
}

async fn pdnsutil(directory: &Path, command: &str) -> Result<String> {
    let mut pdnsutil = Command::new(tools::powerdns("pdnsutil")?);
    pdnsutil
        .arg(format!("--config-dir={}", directory.display()))
        .args(command.split(' '));
    process::run(pdnsutil, "").await
}

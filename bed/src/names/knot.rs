//! Knot's configuration.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Key, Role, Setup, zone_file};
use crate::scratch::Scratch;
use crate::tools;

/// Writes the files that are not there yet, and the configuration; returns the command that starts it.
pub(super) fn prepare(
    setup: &Setup,
    role: &Role,
    listen: &[SocketAddr],
    scratch: &Scratch,
) -> Result<Command> {
    ensure!(
        setup.views.is_empty() && matches!(role, Role::Primary { tells } if tells.is_empty()),
        "the bed has views and secondaries with BIND alone"
    );
    for zone in setup.all_zones() {
        let file = format!("{zone}.zone");
        // The file stays as it is; what was updated is in the journal.
        if !scratch.path().join(&file).exists() {
            scratch.write(&file, zone_file(setup, zone))?;
        }
    }
    let directory = scratch.path().display();
    let mut text = "server:\n".to_owned();
    for address in listen {
        writeln!(text, "    listen: {}@{}", address.ip(), address.port())?;
    }
    write!(
        text,
        "    rundir: \"{directory}\"
    {}
log:
  - target: stderr
    any: info
database:
    storage: \"{directory}\"
    journal-db-max-size: 256M
{}",
        setup.options,
        keys(setup)
    )?;
    write!(
        text,
        "acl:
  - id: look
    address: [127.0.0.0/8, \"::1\"]
    action: transfer
{}template:
  - id: default
    storage: \"{directory}\"
    zonefile-sync: -1
zone:
",
        rules(setup)
    )?;
    for zone in setup.all_zones() {
        text.push_str(&zone_block(setup, zone, &["look"]));
    }
    text.push_str(&setup.statements);
    let config = scratch.write("knot.conf", text)?;
    let mut command = Command::new(tools::knot("knotd")?);
    command.arg("-c").arg(config);
    Ok(command)
}

/// What an operator writes for a zone that takes updates: the keys, who may do what, and the zone.
pub(super) fn grant(setup: &Setup, zone: &str) -> String {
    format!(
        "{}acl:\n{}zone:\n{}",
        keys(setup),
        rules(setup),
        zone_block(setup, zone, &[])
    )
}

fn keys(setup: &Setup) -> String {
    let block = |key: &Key| {
        let (name, algorithm, secret) = (key.name(), key.algorithm().name(), key.secret());
        format!("  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}\n")
    };
    let blocks: String = setup.known_keys().map(block).collect();
    if blocks.is_empty() {
        blocks
    } else {
        format!("key:\n{blocks}")
    }
}

/// One rule for each key, of which the first that fits decides.
fn rules(setup: &Setup) -> String {
    let mut text = String::new();
    for key in setup.writers() {
        let name = key.name();
        if !setup.denied.is_empty() {
            let denied: Vec<String> = setup.denied.iter().map(|name| format!("{name}.")).collect();
            text.push_str(&format!(
                "  - id: {name}-denied\n    key: {name}\n    action: update\n    update-owner: name\n    update-owner-name: \
                 [{}]\n    deny: on\n",
                denied.join(", ")
            ));
        }
        text.push_str(&format!(
            "  - id: {name}-txt\n    key: {name}\n    action: update\n    update-type: [TXT]\n"
        ));
    }
    text
}

fn zone_block(setup: &Setup, zone: &str, others: &[&str]) -> String {
    let mut rules: Vec<String> = Vec::new();
    for key in setup.keys_of(zone) {
        if !setup.denied.is_empty() {
            rules.push(format!("{}-denied", key.name()));
        }
        rules.push(format!("{}-txt", key.name()));
    }
    rules.extend(others.iter().map(|other| (*other).to_owned()));
    let rules = rules.join(", ");
    format!("  - domain: {zone}\n    file: {zone}.zone\n    acl: [{rules}]\n")
}

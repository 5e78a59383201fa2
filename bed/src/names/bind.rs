//! BIND's configuration.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Role, Setup, zone_file};
use crate::scratch::Scratch;
use crate::tools;

/// Writes the files that are not there yet, and the configuration; returns the command that starts it.
pub(super) fn prepare(
    setup: &Setup,
    role: &Role,
    listen: &[SocketAddr],
    scratch: &Scratch,
) -> Result<Command> {
    if matches!(role, Role::Primary { .. }) {
        for zone in setup.all_zones() {
            for view in views(setup) {
                let file = file(zone, view);
                // After a restart the file and its journal hold what was updated.
                if !scratch.path().join(&file).exists() {
                    scratch.write(&file, zone_file(setup, zone))?;
                }
            }
        }
    }
    let config = scratch.write("named.conf", config(setup, role, listen, scratch.path())?)?;
    let mut command = Command::new(tools::named()?);
    command.args(["-g", "-n", "2", "-c"]).arg(config);
    if listen.iter().all(SocketAddr::is_ipv4) {
        command.arg("-4");
    }
    Ok(command)
}

/// What an operator writes for a zone that takes updates: the keys, and the zone with its policy.
pub(super) fn grant(setup: &Setup, zone: &str) -> String {
    keys(setup) + &primary(setup, zone, None, &[])
}

/// The `named.conf`.
fn config(setup: &Setup, role: &Role, listen: &[SocketAddr], directory: &Path) -> Result<String> {
    let directory = directory.display();
    let options = &setup.options;
    let recursion = match setup.resolves_at {
        Some(server) => format!(
            "recursion yes;\n    forward only;\n    forwarders {{ {}}};",
            list(&[server])
        ),
        None => "recursion no;".to_owned(),
    };
    let mut listens = String::new();
    for address in listen {
        let (ip, port) = (address.ip(), address.port());
        let v6 = if ip.is_ipv6() { "-v6" } else { "" };
        write!(listens, "listen-on{v6} port {port} {{ {ip}; }};\n    ")?;
    }
    let mut text = format!(
        "options {{
    directory \"{directory}\";
    {listens}pid-file none;
    session-keyfile none;
    {recursion}
    dnssec-validation no;
    empty-zones-enable no;
    allow-query {{ 127.0.0.0/8; ::1; }};
    allow-transfer {{ 127.0.0.0/8; ::1; }};
    // Pebble opens three connections for each challenge, a thousand challenges at once.
    tcp-clients 4000;
    tcp-listen-queue 1000;
    notify explicit;
    notify-delay 0;
    notify-rate 1000;
    serial-query-rate 1000;
    {options}
}};
controls {{ }};
"
    );
    text.push_str(&keys(setup));
    for (n, view) in views(setup).into_iter().enumerate() {
        let mut zones = String::new();
        for zone in setup.all_zones() {
            zones.push_str(&match role {
                Role::Primary { tells } => primary(setup, zone, view, tells),
                Role::Secondary { of } => secondary(zone, of),
            });
        }
        match view {
            // The n-th view is what clients at 127.0.0.n are shown.
            Some(view) => write!(
                text,
                "view \"{view}\" {{\n    match-clients {{ 127.0.0.{}; }};\n{zones}}};\n",
                n + 1
            )?,
            None => text.push_str(&zones),
        }
    }
    text.push_str(&setup.statements);
    Ok(text)
}

/// The views, of which a server without any has one that nobody sees.
fn views(setup: &Setup) -> Vec<Option<&str>> {
    if setup.views.is_empty() {
        vec![None]
    } else {
        setup.views.iter().map(|view| Some(view.as_str())).collect()
    }
}

fn file(zone: &str, view: Option<&str>) -> String {
    view.map_or_else(|| format!("{zone}.zone"), |view| format!("{zone}.{view}.zone"))
}

fn keys(setup: &Setup) -> String {
    setup.known_keys().map(super::Key::file).collect()
}

fn primary(setup: &Setup, zone: &str, view: Option<&str>, tells: &[SocketAddr]) -> String {
    let mut policy = String::new();
    // The first rule that fits a name decides.
    for key in setup.keys_of(zone) {
        for name in &setup.denied {
            policy.push_str(&format!("        deny \"{}\" name {name}.;\n", key.name()));
        }
        policy.push_str(&format!("        grant \"{}\" zonesub TXT;\n", key.name()));
    }
    let mut body = format!("    type primary;\n    file \"{}\";\n", file(zone, view));
    if policy.is_empty() {
        body.push_str("    allow-update { none; };\n");
    } else {
        body.push_str(&format!("    update-policy {{\n{policy}    }};\n"));
    }
    if !tells.is_empty() {
        body.push_str(&format!("    also-notify {{ {}}};\n", list(tells)));
    }
    format!("zone \"{zone}\" {{\n{body}}};\n")
}

fn secondary(zone: &str, of: &SocketAddr) -> String {
    let file = file(zone, None);
    let of = list(&[*of]);
    format!(
        "zone \"{zone}\" {{\n    type secondary;\n    file \"{file}\";\n    primaries {{ {of}}};\n    allow-notify {{ \
         127.0.0.0/8; }};\n}};\n"
    )
}

/// Addresses as BIND lists them.
fn list(addresses: &[SocketAddr]) -> String {
    let item = |ip: IpAddr, port: u16| format!("{ip} port {port}; ");
    addresses
        .iter()
        .map(|address| item(address.ip(), address.port()))
        .collect()
}

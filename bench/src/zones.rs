//! The same hosts in one zone, and spread over many zones whose updates are signed by two keys.

use std::path::Path;

use anyhow::{Context, Result};
use faythe_bed::names::{Algorithm, Key, NameServer, Setup};
use faythe_bed::pebble::{self, Pebble};
use serde_json::{Map, Value, json};

use crate::driver::WARM_UP;
use crate::faythe;
use crate::machine::Meter;
use crate::samples::Burst;
use crate::scene::Scene;

/// How many hosts.
const HOSTS: usize = 1000;
/// Over how many zones they are spread.
pub(crate) const ZONES: usize = 20;

/// Where the hosts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In zones of their own; each takes two keys, and every other zone is changed with the second.
    Many,
    /// Below one zone, with one key.
    One,
}

/// Gets certificates for all at once.
pub(crate) async fn burst(binary: &Path, layout: Layout) -> Result<Burst> {
    let mut scene = Scene::start().await?;
    let parents: Vec<String> = (0..ZONES).map(|n| scene.bed.host(&format!("z{n}"))).collect();
    let second = Key::new("second", Algorithm::HmacSha512);
    let mut setup = Setup::one_zone(&scene.bed.zone);
    if layout == Layout::Many {
        setup.zones.clone_from(&parents);
        setup.keys.push(second.clone());
    }
    let apexes = setup.zones.clone();
    let server = NameServer::start(setup).await?;
    let address = server.address();
    scene.bed.pebble = Pebble::start(pebble::Setup::default(), address).await?;

    let keys = [server.key_file(), server.signing_with(&second)?.key_file()];
    let zones: Map<String, Value> = (apexes.into_iter().zip(keys.iter().cycle()))
        .map(|(apex, key)| {
            let zone = json!({
                "auth_dns_server": address.to_string(),
                "auth_dns_key": key,
                "check": { "port": address.port() },
            });
            (apex, zone)
        })
        .collect();
    let program = faythe::start_with(&scene, binary, zones.into()).await?;
    let host = |n: usize| {
        let parent = parents.get(n % ZONES).context("a number below its modulus")?;
        anyhow::Ok(format!("host{n}.{parent}"))
    };
    let hosts: Vec<String> = (0..HOSTS).map(host).collect::<Result<_>>()?;
    let warm: Vec<String> = (parents.iter().take(WARM_UP))
        .map(|parent| format!("warm.{parent}"))
        .collect();
    faythe::warm_up(&scene, &warm).await?;

    let cpu = program.process().cpu_time()?;
    let meter = Meter::start()?;
    faythe::ask_for(&scene, &hosts).await?;
    let arrivals = scene.arrivals(&hosts).await;
    let cpu = program.process().cpu_time()? - cpu;
    let burst = Burst::new(meter.began(), &arrivals, cpu, meter.strangers()?);
    faythe::end(scene, program).await?;
    Ok(burst)
}

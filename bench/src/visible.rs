//! How soon Faythe sees that a value is on the last of three secondaries, when these hear of it late.
//!
//! A real primary and three real secondaries; notices of changes are held back on the way. Each secondary is asked all the
//! time past Faythe, so that it is known when the value was still missing. What counts is the time from the last such answer
//! to Faythe's last look at a secondary, after which it looks no more: at least what Faythe adds to the propagation.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use faythe_bed::names::{Cluster, Setup};
use faythe_bed::pebble::{self, Pebble};
use futures::future::{join_all, try_join_all};
use serde_json::{Map, json};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::faythe;
use crate::samples::Latencies;
use crate::scene::Scene;

/// The propagations that the goal names.
const PROPAGATIONS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];
/// How many hosts are on their way at a time. Each has a zone to itself, as one notice brings all changes of a zone.
const ZONES: usize = 10;
/// How many hosts each zone has, one after another.
const ROUNDS: usize = 10;
/// How many secondaries there are.
const SECONDARIES: u8 = 3;
/// Between two questions of ours to a secondary.
const GLANCE: Duration = Duration::from_millis(10);
/// An answer that takes longer is taken for lost.
const ANSWER: Duration = Duration::from_millis(100);

/// What Faythe adds to a propagation.
#[derive(Debug)]
pub(crate) struct Sighting {
    /// How late the secondaries hear of a change.
    pub(crate) propagation: Duration,
    /// From when a value may have been on all of them until Faythe has seen it.
    pub(crate) after: Latencies,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} s of propagation: {}",
            self.propagation.as_secs(),
            self.after
        )
    }
}

/// Measures all.
pub(crate) async fn sightings(binary: &Path) -> Result<Vec<Sighting>> {
    let mut scene = Scene::start().await?;
    let zones: Vec<String> = (0..ZONES).map(|n| scene.bed.host(&format!("z{n}"))).collect();
    let setup = Setup {
        zones: zones.clone(),
        ..Setup::one_zone("")
    };
    let cluster = Cluster::start(setup, SECONDARIES).await?;
    let primary = cluster.primary.address();
    scene.bed.pebble = Pebble::start(pebble::Setup::default(), primary).await?;
    let zone = json!({
        "auth_dns_server": primary.to_string(),
        "auth_dns_key": cluster.primary.key_file(),
        "check": { "port": primary.port() },
    });
    let all: Map<_, _> = zones.iter().map(|name| (name.clone(), zone.clone())).collect();
    let program = faythe::start_with(&scene, binary, all.into()).await?;
    let mut sightings = Vec::new();
    for propagation in PROPAGATIONS {
        for secondary in &cluster.secondaries {
            secondary.delay(propagation);
        }
        let label = propagation.as_secs();
        let series = zones.iter().map(async |zone| {
            let mut times = Vec::new();
            for round in 0..ROUNDS {
                let host = format!("p{label}-{round}.{zone}");
                times.push(sighting(&scene, &cluster, host).await?);
            }
            anyhow::Ok(times)
        });
        sightings.push(Sighting {
            propagation,
            after: Latencies::new(try_join_all(series).await?.concat()),
        });
    }
    faythe::end(scene, program).await?;
    Ok(sightings)
}

/// Has a certificate made, and says how long after its value was everywhere Faythe had seen that.
async fn sighting(scene: &Scene, cluster: &Cluster, host: String) -> Result<Duration> {
    let name = wire(&format!("_acme-challenge.{host}"));
    let begun = Instant::now();
    let issued = async {
        scene.ingress(&host, &[&host]).await?;
        let arrived = scene.arrivals(std::slice::from_ref(&host)).await;
        arrived
            .first()
            .copied()
            .flatten()
            .with_context(|| format!("no Secret for {host}"))
    };
    let servers = cluster
        .secondaries
        .iter()
        .map(|secondary| secondary.server().address());
    let missing = join_all(servers.map(|server| missing_until(server, &name)));
    // A value that is gone again before a question met it was missing before the beginning, as far as is known.
    let (mut missing, mut issued) = (std::pin::pin!(missing), std::pin::pin!(issued));
    let seen = tokio::select! {
        seen = &mut missing => {
            issued.await?;
            Some(seen)
        }
        done = &mut issued => {
            done?;
            timeout(ANSWER, &mut missing).await.ok()
        }
    };
    let seen: Vec<Instant> = seen.into_iter().flatten().collect::<Result<_>>()?;
    let last_missing = seen.into_iter().max().unwrap_or(begun);
    let mut last_look = None;
    for secondary in &cluster.secondaries {
        let passed = secondary.front()?.passed().into_iter();
        let looks = passed.filter(|passed| passed.request.windows(name.len()).any(|part| part == name));
        let last = looks.map(|passed| passed.at).max();
        last_look = last_look.max(Some(
            last.with_context(|| format!("{host} was not looked for at every secondary"))?,
        ));
    }
    let last_look = last_look.context("there is no secondary")?;
    Ok(last_look.saturating_duration_since(last_missing))
}

/// When a server was last known to have no TXT record at a name; returns when it has one.
async fn missing_until(server: SocketAddr, name: &[u8]) -> Result<Instant> {
    // A standard query for TXT of class IN (RFC 1035 §4.1).
    let header = [[0x46, 0x41], [0, 0], [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    let query = [&header, name, &[0, 16, 0, 1]].concat();
    let mut missing = Instant::now();
    loop {
        let asked = Instant::now();
        // A socket for each question, so that no answer is taken for that to another.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(server).await?;
        socket.send(&query).await?;
        let mut answer = [0; 512];
        if let Ok(length) = timeout(ANSWER, socket.recv(&mut answer)).await {
            anyhow::ensure!(length? >= header.len(), "{server} gave half an answer");
            // The count of answers.
            if answer.get(6..8) != Some(&[0, 0]) {
                return Ok(missing);
            }
            missing = asked;
        }
        sleep(GLANCE).await;
    }
}

/// A name as messages have it.
fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        // No label here is longer than 63 octets.
        wire.push(u8::try_from(label.len()).unwrap_or_default());
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_label_by_label() {
        assert_eq!(wire("_a.test"), b"\x02_a\x04test\0");
    }
}

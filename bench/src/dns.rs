//! How many names a second are published on each make of name server, beside nsupdate on the same server.
//!
//! The files are on a disk, as in real life: each update message costs the server a write that it waits for. nsupdate
//! sends a message a name, which is all it can do for names that come one by one.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use faythe::dns::client::{Client, ZoneSetup};
use faythe::dns::{Dns, Foreign, keyfile};
use faythe_bed::names::{Make, NameServer, Setup, Storage};
use faythe_bed::{process, tools};
use faythe_core::name::{DnsName, RecordName};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

const ZONE: &str = "bench.test";
/// How many names are published for each figure, by how many are wanted at a time.
const ROUNDS: [(usize, usize); 3] = [(1, 200), (32, 640), (1000, 1000)];
/// How many nsupdates run side by side at most; more only wait for the processor.
const NSUPDATES: usize = 32;

/// Names a second, Faythe's and nsupdate's.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    /// The server.
    pub(crate) make: Make,
    /// How many names are wanted at a time.
    pub(crate) at_once: usize,
    /// Names a second.
    pub(crate) faythe: f64,
    /// The same by nsupdate, a message a name.
    pub(crate) nsupdate: f64,
}

/// Measures all.
pub(crate) async fn rates() -> Result<Vec<Rate>> {
    let mut rates = Vec::new();
    for make in Make::ALL {
        for (at_once, count) in ROUNDS {
            let faythe = count as f64 / faythe(make, at_once, count).await?.as_secs_f64();
            let nsupdate = count as f64 / nsupdate(make, at_once, count).await?.as_secs_f64();
            rates.push(Rate {
                make,
                at_once,
                faythe,
                nsupdate,
            });
        }
    }
    Ok(rates)
}

/// A server of its own for each figure, as a full zone is slower than a fresh one.
async fn start(make: Make) -> Result<NameServer> {
    NameServer::start(Setup {
        storage: Storage::Disk,
        ..Setup::one_zone(ZONE).of_make(make)
    })
    .await
}

async fn faythe(make: Make, at_once: usize, count: usize) -> Result<Duration> {
    let server = start(make).await?;
    let zone: DnsName = ZONE.parse()?;
    let key = keyfile::read(&server.key_file())?;
    let setup = ZoneSetup::new(zone.clone(), server.address().to_string().parse()?, key);
    let client = Client::new(vec![setup], Arc::new(Timestamp::now));
    let records: Vec<RecordName> = (0..count)
        .map(|n| RecordName::parse(&format!("_acme-challenge.h{n}.{ZONE}")))
        .collect::<Result<_, _>>()?;
    // The connection stands before the clock runs, as in a daemon that has just published.
    let warm = RecordName::parse(&format!("warm.{ZONE}"))?;
    client.publish(&zone, &warm, "value", Foreign::Removed).await?;
    let begun = Instant::now();
    stream::iter(records.iter().map(Ok))
        .try_for_each_concurrent(at_once, |record| {
            client.publish(&zone, record, "value", Foreign::Removed)
        })
        .await?;
    let took = begun.elapsed();
    check(&server, count + 1).await?;
    Ok(took)
}

async fn nsupdate(make: Make, at_once: usize, count: usize) -> Result<Duration> {
    let server = start(make).await?;
    let (ip, port) = (server.address().ip(), server.address().port());
    let processes = at_once.min(NSUPDATES);
    let mut scripts = vec![format!("server {ip} {port}\nzone {ZONE}\n"); processes];
    for n in 0..count {
        let script = scripts
            .get_mut(n % processes)
            .context("a number below its modulus")?;
        let name = format!("_acme-challenge.h{n}.{ZONE}.");
        script.push_str(&format!(
            "update delete {name} TXT\nupdate add {name} 120 TXT value\nsend\n"
        ));
    }
    let begun = Instant::now();
    let mut running = stream::iter(&scripts)
        .map(|script| async {
            let mut command = Command::new(tools::bind("nsupdate")?);
            command.arg("-v").arg("-k").arg(server.key_file());
            process::run(command, script).await
        })
        .buffer_unordered(processes);
    while let Some(done) = running.next().await {
        done?;
    }
    let took = begun.elapsed();
    check(&server, count).await?;
    Ok(took)
}

/// A figure counts only if everything is there.
async fn check(server: &NameServer, count: usize) -> Result<()> {
    let there = server.all_txt(ZONE).await?.len();
    anyhow::ensure!(there == count, "{there} of {count} names are there");
    Ok(())
}

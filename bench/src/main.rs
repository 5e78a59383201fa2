//! Measures Faythe on real servers, and in the same run what these servers can do without it.
//!
//! Everything shares the machine: etcd, kube-apiserver, BIND, Pebble, this program and Faythe. So each figure of time
//! stands beside that of a driver, which makes the same API writes, ACME requests and DNS updates with no thought. See
//! `docs/benchmarks.md`.

mod dns;
mod driver;
mod faythe;
mod fill;
mod machine;
mod plot;
mod report;
mod samples;
mod scene;
mod visible;
mod zones;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::machine::Machine;
use crate::report::Report;
use crate::samples::{Burst, Latencies};

/// Measures Faythe and the servers it needs, side by side.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to measure, as `cargo build --release` makes it
    #[arg(long, default_value = "target/release/faythe")]
    faythe: PathBuf,
    /// Measures one part alone, prints it and writes nothing
    #[arg(long)]
    only: Option<Part>,
    /// The directory for the table and the plots
    #[arg(long, default_value = "bench/results")]
    out: PathBuf,
    /// How many certificates are got one after another
    #[arg(long, default_value_t = 100)]
    samples: usize,
    /// How often each burst is repeated, driver and Faythe by turns; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Names published a second on each name server.
    Dns,
    /// 40 certificates at once.
    Forty,
    /// What 5,000 Ingresses and 5,000 Secrets need in memory.
    Memory,
    /// A name with its wildcard.
    Pair,
    /// One certificate at a time.
    Single,
    /// 1,000 certificates at once, and a start with all of them there.
    Thousand,
    /// How soon a value is seen on secondaries that hear of it late.
    Visible,
    /// 1,000 certificates at once over 20 zones, and the same in one.
    Zones,
}

/// Everything that was measured; what is absent was not asked for.
#[derive(Debug, Default)]
struct Results {
    /// Names published a second.
    dns: Vec<dns::Rate>,
    /// How soon a value on all secondaries is seen.
    visible: Vec<visible::Sighting>,
    /// The same hosts at once, by rounds: in one zone, over many.
    zones: Vec<(Burst, Burst)>,
    /// One certificate at a time: driver, Faythe.
    single: Option<(Latencies, Latencies)>,
    /// A name with its wildcard: driver, Faythe.
    pair: Option<(Latencies, Latencies)>,
    /// Resident memory of a Faythe that has nothing to do, in bytes.
    idle: Option<u64>,
    /// 40 at once, by rounds: driver, Faythe.
    forty: Vec<(Burst, faythe::Load)>,
    /// 1,000 at once, by rounds: driver, Faythe.
    thousand: Vec<(Burst, faythe::Load)>,
    /// Starts with 1,000 healthy certificates.
    starts: Vec<faythe::Start>,
    /// With 5,000 Ingresses and 5,000 Secrets.
    memory: Option<faythe::Start>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    anyhow::ensure!(
        arguments.faythe.is_file(),
        "{} is not there; run `cargo build --release` first",
        arguments.faythe.display()
    );
    let machine = Machine::look()?;
    let results = measure(&arguments).await?;
    let report = Report::new(&results, &machine);
    say(&report.markdown())?;
    if arguments.only.is_none() {
        write(&arguments.out, &report, &results)?;
    }
    Ok(if report.all_reached() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(arguments: &Arguments) -> Result<Results> {
    let binary = &arguments.faythe;
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let mut results = Results::default();
    if wanted(Part::Dns) {
        say("names published a second: Faythe and nsupdate …")?;
        results.dns = dns::rates().await?;
    }
    if wanted(Part::Visible) {
        say("secondaries that hear of changes late: Faythe …")?;
        results.visible = visible::sightings(binary).await?;
        for sighting in &results.visible {
            say(&format!("  {sighting}"))?;
        }
    }
    if wanted(Part::Single) {
        say("one certificate at a time: the driver …")?;
        let driver = driver::one_by_one(arguments.samples).await?;
        say(&format!("  {driver}\none certificate at a time: Faythe …"))?;
        let (faythe, idle) = faythe::one_by_one(binary, arguments.samples).await?;
        say(&format!("  {faythe}"))?;
        results.single = Some((driver, faythe));
        results.idle = Some(idle);
    }
    if wanted(Part::Pair) {
        let count = arguments.samples.div_ceil(2);
        say("a name with its wildcard: the driver …")?;
        let driver = driver::pairs(count).await?;
        say(&format!("  {driver}\na name with its wildcard: Faythe …"))?;
        let faythe = faythe::pairs(binary, count).await?;
        say(&format!("  {faythe}"))?;
        results.pair = Some((driver, faythe));
    }
    for (part, count) in [(Part::Forty, 40), (Part::Thousand, 1000)] {
        if !wanted(part) {
            continue;
        }
        for round in 1..=arguments.rounds {
            say(&format!("{count} at once, round {round}: the driver …"))?;
            let driver = driver::burst(count).await?;
            say(&format!("  {driver}\n{count} at once, round {round}: Faythe …"))?;
            let (faythe, starts) = faythe::burst(binary, count).await?;
            say(&format!("  {faythe}"))?;
            if part == Part::Forty {
                results.forty.push((driver, faythe));
            } else {
                results.thousand.push((driver, faythe));
                results.starts.extend(starts);
            }
        }
    }
    if wanted(Part::Zones) {
        for round in 1..=arguments.rounds {
            say(&format!("1,000 at once in one zone, round {round}: Faythe …"))?;
            let one = zones::burst(binary, zones::Layout::One).await?;
            say(&format!(
                "  {one}\nthe same over 20 zones, round {round}: Faythe …"
            ))?;
            let many = zones::burst(binary, zones::Layout::Many).await?;
            say(&format!("  {many}"))?;
            results.zones.push((one, many));
        }
    }
    if wanted(Part::Memory) {
        say("5,000 Ingresses and 5,000 Secrets: Faythe …")?;
        let memory = faythe::large(binary, 5000).await?;
        say(&format!("  {memory}"))?;
        results.memory = Some(memory);
    }
    Ok(results)
}

/// Writes the table and the plots.
fn write(directory: &Path, report: &Report, results: &Results) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let put = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    put("README.md", report.page())?;
    put("latency.svg", plot::latencies(results))?;
    put("certificates.svg", plot::certificates(results))?;
    say(&format!("written to {}", directory.display()))
}

/// Prints a line.
fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

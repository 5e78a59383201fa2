//! Faythe itself, watched from outside as its users and its host see it.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use faythe_bed::faythe::Faythe;
use faythe_bed::until;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::ListParams;
use serde_json::Value;

use crate::driver::{PAUSE, WARM_UP, arrived};
use crate::fill;
use crate::machine::Meter;
use crate::samples::{Burst, Latencies};
use crate::scene::{AT_ONCE, Scene};

/// A start may take this long before it counts as failed.
const START: Duration = Duration::from_secs(60);
/// Longer than `monitor_interval`: whatever an idle Faythe does by itself, it has done by then.
const SETTLED: Duration = Duration::from_secs(7);
/// How often Faythe is started with all certificates there.
const STARTS: usize = 3;

/// What many certificates at once cost.
#[derive(Debug)]
pub(crate) struct Load {
    /// When they were there; processor time is Faythe's, cleaning up included.
    pub(crate) burst: Burst,
    /// New orders at the CA.
    pub(crate) orders: usize,
    /// Certificates that the CA has made.
    pub(crate) certificates: usize,
    /// Successful writes to the API server.
    pub(crate) writes: usize,
    /// All requests to the API server.
    pub(crate) api_requests: usize,
    /// Requests to the CA.
    pub(crate) acme_requests: f64,
    /// The most memory that was resident since the start, in bytes.
    pub(crate) peak: u64,
    /// Resident memory when all is quiet again.
    pub(crate) after: u64,
}

/// What a start with certificates in place does.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// From the start of the process to its /readyz.
    pub(crate) ready: Duration,
    /// New orders at the CA until it was settled.
    pub(crate) orders: usize,
    /// Writes to the API server until then.
    pub(crate) writes: usize,
    /// The most memory that was resident, in bytes.
    pub(crate) peak: u64,
    /// Resident memory then.
    pub(crate) settled: u64,
}

/// Gets certificates one after another. Also says how much memory is resident before the first.
pub(crate) async fn one_by_one(binary: &Path, count: usize) -> Result<(Latencies, u64)> {
    let scene = Scene::start().await?;
    let faythe = start(&scene, binary).await?;
    tokio::time::sleep(SETTLED).await;
    let idle = faythe.process().memory()?;
    let mut times = Vec::new();
    for number in 0..count + WARM_UP {
        tokio::time::sleep(PAUSE).await;
        let host = scene.bed.host(&format!("one{number}"));
        let begin = Instant::now();
        scene.ingress(&host, &[&host]).await?;
        times.push(arrived(&scene, begin, &[host]).await?);
    }
    end(scene, faythe).await?;
    Ok((Latencies::new(times.split_off(WARM_UP)), idle))
}

/// Gets certificates for a name and its wildcard, one pair after another.
pub(crate) async fn pairs(binary: &Path, count: usize) -> Result<Latencies> {
    let scene = Scene::start().await?;
    let faythe = start(&scene, binary).await?;
    let mut times = Vec::new();
    for number in 0..count + WARM_UP {
        tokio::time::sleep(PAUSE).await;
        let host = scene.bed.host(&format!("pair{number}"));
        let wildcard = format!("*.{host}");
        let begin = Instant::now();
        scene.ingress(&host, &[&host, &wildcard]).await?;
        times.push(arrived(&scene, begin, &[host, wildcard]).await?);
    }
    end(scene, faythe).await?;
    Ok(Latencies::new(times.split_off(WARM_UP)))
}

/// Gets many certificates at once; then starts anew with all of them there.
pub(crate) async fn burst(binary: &Path, count: usize) -> Result<(Load, Vec<Start>)> {
    let scene = Scene::start().await?;
    let mut faythe = start(&scene, binary).await?;
    let warm: Vec<String> = (0..WARM_UP)
        .map(|number| scene.bed.host(&format!("warm{number}")))
        .collect();
    warm_up(&scene, &warm).await?;

    let before = Tally::of(&scene, &faythe).await?;
    let hosts: Vec<String> = (0..count)
        .map(|number| scene.bed.host(&format!("host{number}")))
        .collect();
    let meter = Meter::start()?;
    ask_for(&scene, &hosts).await?;
    let arrivals = scene.arrivals(&hosts).await;
    let strangers = meter.strangers()?;
    quiet(&scene).await?;
    let after = Tally::of(&scene, &faythe).await?;
    let load = Load {
        burst: Burst::new(meter.began(), &arrivals, after.cpu - before.cpu, strangers),
        orders: after.orders - before.orders,
        certificates: after.certificates - before.certificates,
        writes: after.writes - before.writes,
        api_requests: after.api_requests - before.api_requests,
        acme_requests: after.acme_requests - before.acme_requests,
        peak: faythe.process().peak_memory()?,
        after: faythe.process().memory()?,
    };

    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(start_again(&scene, &mut faythe).await?);
    }
    end(scene, faythe).await?;
    Ok((load, starts))
}

/// Starts with this many Ingresses and the Secrets that they need.
pub(crate) async fn large(binary: &Path, count: usize) -> Result<Start> {
    let scene = Scene::start().await?;
    let hosts: Vec<String> = (0..count)
        .map(|number| scene.bed.host(&format!("host{number}")))
        .collect();
    fill::with_healthy(&scene, &hosts).await?;
    let mut faythe = scene.bed.faythe(binary, scene.bed.config()).await?;
    let start = start_again(&scene, &mut faythe).await?;
    end(scene, faythe).await?;
    Ok(start)
}

async fn start(scene: &Scene, binary: &Path) -> Result<Faythe> {
    start_as(scene, binary, scene.bed.config()).await
}

/// Starts one with these zones in place of the bed's.
pub(crate) async fn start_with(scene: &Scene, binary: &Path, zones: Value) -> Result<Faythe> {
    let mut config = scene.bed.config();
    let keys = config
        .as_object_mut()
        .context("the bed's configuration is no object")?;
    keys.retain(|key, _| !key.starts_with("auth_dns_"));
    keys.insert("zones".to_owned(), zones);
    start_as(scene, binary, config).await
}

async fn start_as(scene: &Scene, binary: &Path, config: Value) -> Result<Faythe> {
    let faythe = scene.bed.faythe(binary, config).await?;
    faythe.ready(START).await?;
    Ok(faythe)
}

/// Gets certificates for these hosts one after another, so that connections are there, and waits until all is quiet.
pub(crate) async fn warm_up(scene: &Scene, hosts: &[String]) -> Result<()> {
    for host in hosts {
        let begin = Instant::now();
        scene.ingress(host, &[host]).await?;
        arrived(scene, begin, std::slice::from_ref(host)).await?;
    }
    quiet(scene).await
}

/// Creates an Ingress for each of these hosts.
pub(crate) async fn ask_for(scene: &Scene, hosts: &[String]) -> Result<()> {
    stream::iter(hosts)
        .map(async |host| scene.ingress(host, &[host]).await)
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await
}

async fn start_again(scene: &Scene, faythe: &mut Faythe) -> Result<Start> {
    faythe.kill();
    let (orders, writes) = (scene.bed.pebble.orders_created(), scene.bed.writes()?.len());
    let begin = Instant::now();
    faythe.restart()?;
    faythe.ready(START).await?;
    let ready = begin.elapsed();
    tokio::time::sleep(SETTLED).await;
    Ok(Start {
        ready,
        orders: scene.bed.pebble.orders_created() - orders,
        writes: scene.bed.writes()?.len() - writes,
        peak: faythe.process().peak_memory()?,
        settled: faythe.process().memory()?,
    })
}

/// Ends it, and leaves nothing behind for the next.
pub(crate) async fn end(scene: Scene, faythe: Faythe) -> Result<()> {
    faythe.kill();
    drop(faythe);
    scene.clear().await
}

/// Waits until nothing is left to do: no note of an order, and no new write for a second.
async fn quiet(scene: &Scene) -> Result<()> {
    let notes = ListParams::default().labels("faythe/kind=note");
    until(START, "no order is under way", async || {
        let notes = scene.bed.secrets().list_metadata(&notes).await?;
        Ok(notes.items.is_empty().then_some(()))
    })
    .await?;
    let mut writes = scene.bed.writes()?.len();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = scene.bed.writes()?.len();
        if now == writes {
            return Ok(());
        }
        writes = now;
    }
}

/// What has been counted so far.
struct Tally {
    cpu: Duration,
    orders: usize,
    certificates: usize,
    writes: usize,
    api_requests: usize,
    acme_requests: f64,
}

impl Tally {
    async fn of(scene: &Scene, faythe: &Faythe) -> Result<Self> {
        let requests = scene.bed.kube.requests_by(&scene.bed.identity.username())?;
        let acme_requests = faythe.metric("faythe_acme_requests_total", &[]).await?;
        Ok(Self {
            cpu: faythe.process().cpu_time()?,
            orders: scene.bed.pebble.orders_created(),
            certificates: scene.bed.pebble.certificates_issued(),
            writes: requests.iter().filter(|request| request.is_write()).count(),
            api_requests: requests.len(),
            acme_requests: acme_requests.context("Faythe counts no ACME requests")?,
        })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; {} orders, {} certificates, {} API requests ({} writes), {} ACME requests; {:.1} MiB at most",
            self.burst,
            self.orders,
            self.certificates,
            self.api_requests,
            self.writes,
            self.acme_requests,
            mib(self.peak)
        )
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ready in {:.2} s, {} orders, {} writes; {:.1} MiB at most, {:.1} MiB settled",
            self.ready.as_secs_f64(),
            self.orders,
            self.writes,
            mib(self.peak),
            mib(self.settled)
        )
    }
}

/// Bytes in MiB.
#[expect(
    clippy::cast_precision_loss,
    reason = "memory needs no more than four digits here"
)]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

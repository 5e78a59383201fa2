//! The ceiling: a program that makes the same API writes, ACME requests and DNS updates as Faythe, and thinks of nothing.
//!
//! It watches nothing, looks at no name server, checks no certificate, keeps no account, copes with no failure and
//! knows beforehand what is wanted.

mod flow;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::machine::Meter;
use crate::samples::{Burst, Latencies};
use crate::scene::{AT_ONCE, Scene};
use flow::Flow;

/// Between two certificates that come one after another, so that nothing of the first goes on during the second.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
/// Certificates got before those that count, so that connections are there.
pub(crate) const WARM_UP: usize = 3;

/// Gets certificates one after another.
pub(crate) async fn one_by_one(count: usize) -> Result<Latencies> {
    let scene = Scene::start().await?;
    let flow = Flow::new(&scene).await?;
    let mut times = Vec::new();
    for number in 0..count + WARM_UP {
        tokio::time::sleep(PAUSE).await;
        let host = scene.bed.host(&format!("one{number}"));
        let begin = Instant::now();
        flow.certificate(&scene, &host).await?;
        times.push(arrived(&scene, begin, &[host]).await?);
    }
    scene.clear().await?;
    Ok(Latencies::new(times.split_off(WARM_UP)))
}

/// Gets certificates for a name and its wildcard, one pair after another.
pub(crate) async fn pairs(count: usize) -> Result<Latencies> {
    let scene = Scene::start().await?;
    let flow = Flow::new(&scene).await?;
    let mut times = Vec::new();
    for number in 0..count + WARM_UP {
        tokio::time::sleep(PAUSE).await;
        let host = scene.bed.host(&format!("pair{number}"));
        let begin = Instant::now();
        flow.pair(&scene, &host).await?;
        let wildcard = format!("*.{host}");
        times.push(arrived(&scene, begin, &[host, wildcard]).await?);
    }
    scene.clear().await?;
    Ok(Latencies::new(times.split_off(WARM_UP)))
}

/// Gets many certificates at once.
pub(crate) async fn burst(count: usize) -> Result<Burst> {
    let scene = Arc::new(Scene::start().await?);
    let flow = Arc::new(Flow::new(&scene).await?);
    for number in 0..WARM_UP {
        let host = scene.bed.host(&format!("warm{number}"));
        flow.certificate(&scene, &host).await?;
    }
    tokio::time::sleep(PAUSE).await;

    let hosts: Arc<Vec<String>> = Arc::new(
        (0..count)
            .map(|number| scene.bed.host(&format!("host{number}")))
            .collect(),
    );
    let next = Arc::new(AtomicUsize::new(0));
    let meter = Meter::start()?;
    let mut workers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (scene, flow) = (Arc::clone(&scene), Arc::clone(&flow));
        let (hosts, next) = (Arc::clone(&hosts), Arc::clone(&next));
        workers.spawn(async move {
            while let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                flow.certificate(&scene, host).await?;
            }
            Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let cpu = meter.own()?;
    let arrivals = scene.arrivals(&hosts).await;
    let burst = Burst::new(meter.began(), &arrivals, cpu, meter.strangers()?);
    drop(workers);
    let scene = Arc::into_inner(scene).context("a worker still runs")?;
    scene.clear().await?;
    Ok(burst)
}

/// How long after `begin` the Secrets of all these hosts were there.
pub(crate) async fn arrived(scene: &Scene, begin: Instant, hosts: &[String]) -> Result<Duration> {
    let arrivals = scene.arrivals(hosts).await;
    let last = arrivals.into_iter().collect::<Option<Vec<_>>>();
    let last = last.and_then(|all| all.into_iter().max());
    let last = last.with_context(|| format!("no Secret for one of {hosts:?}"))?;
    Ok(last.duration_since(begin))
}

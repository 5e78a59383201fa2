//! What a plan costs: at the start, and when little has changed. Prints a Markdown table.
//!
//! A turn must cost what changed, not what exists; so its column stays flat while the number of certificates grows.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures, and is told by cargo whether to"
)]
#![expect(clippy::unwrap_used, reason = "a bench may fail where it stands")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use faythe_core::Timestamp;
use faythe_core::cert::{CertFacts, Held};
use faythe_core::plan::Planner;
use faythe_core::policy::Policy;
use faythe_core::schedule::{Threshold, ahead};
use faythe_core::want::Asker;
use faythe_core::world::World;
use faythe_core::zone::{Rule, Zone, Zones};
use jiff::SignedDuration;

const CHANGED: usize = 10;
const TURNS: u64 = 200;

fn main() {
    println!(
        "| certificates | first plan | turn, {CHANGED} changed | turn, nothing changed | list made anew, turn |"
    );
    println!("|---:|---:|---:|---:|---:|");
    // `cargo bench` says so; whoever else runs this wants to know only that it works.
    let measures = std::env::args().any(|arg| arg == "--bench");
    let counts: &[usize] = if measures {
        &[1_000, 10_000, 100_000]
    } else {
        &[1_000]
    };
    for &count in counts {
        let row = measure(count);
        let [first, changed, idle, listed] = row.map(written);
        println!("| {count} | {first} | {changed} | {idle} | {listed} |");
        // Ten times what it takes on a slow machine, and a tenth of what would be felt.
        assert!(
            row[1] < Duration::from_millis(1),
            "a turn costs more than what changed"
        );
    }
}

fn written(cost: Duration) -> String {
    let micros = cost.as_secs_f64() * 1e6;
    if micros < 1e3 {
        format!("{micros:.1} µs")
    } else {
        format!("{:.1} ms", micros / 1e3)
    }
}

/// The costs of one row; medians, but for the first plan.
fn measure(count: usize) -> [Duration; 4] {
    let policy = policy();
    let mut world = World::new(policy.zones.clone());
    world.ask_all((0..count).map(|i| (asker(i), vec![host(i)])).collect());
    world.hold_all((0..count).map(|i| (host(i).parse().ok(), held(i, 1))).collect());
    world.note_all(Vec::new(), Vec::new());
    let mut planner = Planner::new();
    let now = start();
    let began = Instant::now();
    black_box(planner.turn(&mut world, &policy, now));
    let first = began.elapsed();

    // Secrets change all over the place, and each is taken in and planned for.
    let changed = median((0..TURNS).map(|turn| {
        let version = turn + 2;
        let fresh: Vec<Held> = (0..CHANGED)
            .map(|i| held(spread(i, turn, count), version))
            .collect();
        let began = Instant::now();
        for held in fresh {
            world.hold(held.secret.parse().ok(), held);
        }
        let plan = black_box(planner.turn(&mut world, &policy, now));
        let took = began.elapsed();
        assert_eq!(plan.changed.len(), CHANGED);
        took
    }));
    let idle = median((0..TURNS).map(|_| {
        let began = Instant::now();
        black_box(planner.turn(&mut world, &policy, now));
        began.elapsed()
    }));
    // The same Ingresses are listed again: nothing is to be planned for.
    let listed = median((0..20).map(|_| {
        world.ask_all((0..count).map(|i| (asker(i), vec![host(i)])).collect());
        let began = Instant::now();
        black_box(planner.turn(&mut world, &policy, now));
        began.elapsed()
    }));
    [first, changed, idle, listed]
}

fn median(costs: impl Iterator<Item = Duration>) -> Duration {
    let mut costs: Vec<_> = costs.collect();
    costs.sort();
    costs[costs.len() / 2]
}

/// Certificates that lie far apart, others each turn.
fn spread(i: usize, turn: u64, count: usize) -> usize {
    (i * (count / CHANGED) + usize::try_from(turn).unwrap() * 7) % count
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn host(i: usize) -> String {
    format!("host-{i}.team-{}.example.com", i % 100)
}

fn asker(i: usize) -> Asker {
    Asker {
        namespace: format!("team-{}", i % 100).into(),
        name: format!("ingress-{i}").into(),
        uid: "1".into(),
    }
}

/// A certificate that serves, of another age for each version.
fn held(i: usize, version: u64) -> Held {
    let age = i64::try_from((u64::try_from(i).unwrap() + version * 37) % 1_000).unwrap();
    let not_before = ahead(start(), SignedDuration::from_hours(-1 - age));
    Held {
        secret: host(i).into(),
        version: version.to_string().into(),
        content: Ok(CertFacts {
            names: vec![host(i).parse().unwrap()],
            not_before,
            not_after: ahead(not_before, SignedDuration::from_hours(90 * 24)),
            serial: format!("{version:x}"),
            issuer: "Bench".into(),
            id: None,
        }),
        issued_at: Some(not_before),
        renew: None,
        made_by: None,
        origin: None,
    }
}

fn policy() -> Policy {
    let zone = Zone {
        apex: "example.com".parse().unwrap(),
        wildcards: false,
        rule: Rule::flat("ns.test", &[]),
        challenges: None,
    };
    Policy {
        zones: Zones::new(vec![zone]),
        threshold: Threshold::Default,
        spread: 0,
        renewals_per_minute: None,
        issue_grace: Duration::from_secs(8 * 3600),
        orders_at_once: 64,
    }
}

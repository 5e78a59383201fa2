//! A year of hundreds of hosts at a CA that tells nothing of renewals, so that the plain rule alone keeps them: with crashes,
//! outages of minutes to days, clocks that are wrong, and everything else that goes wrong.

use super::super::{Course, Faults, Sim};
use super::course;
use crate::outside::Habits;
use crate::scenarios::{Began, report, scaled, seed};

/// A year, or a part of one in a small run, with certificates that live for so many hours; answers its figures.
fn year(hosts: usize, lifetime_hours: i64) -> String {
    let days = scaled(365, 120) as i64;
    let plain = course(hosts, days, 1, true);
    let course = Course {
        cap: 50,
        habits: Habits {
            lifetime_hours,
            hiccups: 10,
            stuck: 5,
            renewal_info: None,
            ..plain.habits
        },
        mishaps: 3,
        lag_secs: 10,
        starts_ms: 5_000,
        losses: 1,
        delays: 5,
        faults: Faults {
            backups: false,
            ca_clock: true,
            clocks: true,
            marks: true,
            outages: true,
            watches: true,
        },
        ..plain
    };
    let mut sim = Sim::new(course, seed()).with_life();
    for number in 0..hosts {
        let host = course.host(number);
        sim.set_ingress(&host.clone(), Some(vec![host]));
    }
    sim.run();
    let broken = &sim.laws.broken;
    assert!(
        broken.is_empty(),
        "{lifetime_hours} h, seed {}: {broken:#?}",
        seed()
    );
    // None is used beyond its life.
    let lives = usize::try_from(days * 24 / lifetime_hours).unwrap();
    assert!(sim.laws.issued >= hosts * lives, "{}", sim.laws.issued);
    format!(
        "{days} days of {hosts} hosts with lives of {lifetime_hours} h: {} certificates, {} expired that nothing could save, {} crashes",
        sim.laws.issued, sim.laws.expiry.expired, sim.laws.crashes
    )
}

#[test]
fn p20_hundreds_of_hosts_live_through_a_year_by_the_plain_rule() {
    let began = Began::now();
    let lives = [
        (scaled(300, 60), 90 * 24),
        (scaled(300, 20), 47 * 24),
        (scaled(200, 5), 160),
    ];
    let figures: Vec<_> = lives.map(|(hosts, life)| year(hosts, life)).into();
    report("a year without ARI, step by step", began, &figures.join("; "));
}

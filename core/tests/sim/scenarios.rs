//! What a fleet goes through, each with its figures: `make sim` prints the table at full size, and every test run holds a
//! smaller one to the same laws.
//!
//! `FAYTHE_SIM=full` takes the full size; `FAYTHE_SEED=n` another run.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::collections::BTreeMap;
use std::time::Instant;
use std::{env, fs};

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use crate::fleet::{Fleet, start};

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn is_full() -> bool {
    env::var("FAYTHE_SIM").is_ok_and(|size| size == "full")
}

/// The figure of a full run, or of a small one.
pub(crate) fn scaled(full: usize, small: usize) -> usize {
    if is_full() { full } else { small }
}

pub(crate) fn seed() -> u64 {
    let given = env::var("FAYTHE_SEED").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// When a scenario began. Others may be at work on the machine, so what it takes of a core is measured as well.
pub(crate) struct Began {
    wall: Instant,
    core: Option<f64>,
}

impl Began {
    pub(crate) fn now() -> Self {
        Self {
            wall: Instant::now(),
            core: core_secs(),
        }
    }

    fn of_a_core(&self) -> f64 {
        let used = core_secs().zip(self.core).map(|(now, then)| now - then);
        used.unwrap_or_else(|| self.wall.elapsed().as_secs_f64())
    }
}

/// Seconds of a core that this thread has had, where the system says it: a hundredth each.
fn core_secs() -> Option<f64> {
    let text = fs::read_to_string("/proc/thread-self/stat").ok()?;
    // The name may have spaces; it ends with the last parenthesis, and two times stand eleven fields behind it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn later(from: Timestamp, secs: i64) -> Timestamp {
    ahead(from, SignedDuration::from_secs(secs))
}

/// So many hosts, spread over so many registered domains.
fn hosts(count: usize, domains: usize) -> Vec<Hostname> {
    (0..count)
        .map(|number| format!("h{number}.d{}.test", number % domains).parse().unwrap())
        .collect()
}

/// How many of these moments fall into the fullest span of so many seconds, spans counted from the start.
fn fullest(times: impl Iterator<Item = Timestamp>, span: i64) -> usize {
    let mut spans: BTreeMap<i64, usize> = BTreeMap::new();
    for at in times {
        *spans.entry(at.as_second() / span).or_default() += 1;
    }
    spans.into_values().max().unwrap_or(0)
}

/// How many times the mean the fullest span holds, from some time on.
fn peak(fleet: &Fleet, from: Timestamp, span: i64) -> f64 {
    let times = || fleet.issued.iter().map(|(at, _)| *at).filter(|at| *at >= from);
    let spans = (fleet.now.as_second() - from.as_second()) / span;
    let mean = times().count() as f64 / spans as f64;
    fullest(times(), span) as f64 / mean
}

/// How long a renewal has waited at most from its own point of time on, in seconds, of those that began since.
fn longest_wait(fleet: &Fleet, since: Timestamp) -> i64 {
    let renewals = fleet.renewals.iter().filter(|renewal| renewal.at >= since);
    let waits = renewals.map(|renewal| renewal.due.duration_until(renewal.at).as_secs());
    waits.max().unwrap_or(0)
}

pub(crate) fn report(scenario: &str, began: Began, figures: &str) {
    println!(
        "| {scenario} | seed {} | {figures} | {:.1} s, {:.1} s of a core |",
        seed(),
        began.wall.elapsed().as_secs_f64(),
        began.of_a_core()
    );
}

/// What no scenario may break.
fn check(fleet: &Fleet) {
    let late = fleet.ends.values().filter(|end| **end < fleet.now).count();
    assert_eq!(
        (fleet.ca.counts.limited, fleet.expired, late),
        (0, 0, 0),
        "429, expired, late"
    );
}

#[test]
fn a_year_of_a_fleet_stays_flat() {
    let began = Began::now();
    let (count, days) = (scaled(100_000, 200), scaled(365, 120) as i64);
    let mut fleet = Fleet::new(seed(), 45 * 24);
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    fleet.run(later(start(), days * DAY), |_| false);
    check(&fleet);
    // A small fleet has no more than one in so long a time that it shows nothing by the minute.
    let span = if is_full() { MINUTE } else { 15 * DAY };
    let settled = later(start(), 3 * DAY);
    let peak = peak(&fleet, settled, span);
    let begun = fleet.renewals.iter().map(|renewal| renewal.at);
    let begun = fullest(begun.filter(|at| *at >= settled), MINUTE);
    let late = fleet.renewals.iter().filter(|renewal| renewal.late).count();
    let text = format!(
        "{count} hosts, {} renewals, 0 expired, 0 answers 429, at most {begun} begin in a minute, the fullest {} ends \
         {peak:.2} times the mean, the longest wait from a renewal's point is {} min, {late} begin after their window, \
         {:.2} questions a second",
        fleet.issued.len(),
        if is_full() { "minute" } else { "half-month" },
        longest_wait(&fleet, start()) / MINUTE,
        fleet.polls as f64 / (days * DAY) as f64
    );
    let took = began.of_a_core();
    report("a year", began, &text);
    assert!(peak <= 2.0, "{peak}");
    let mean = fleet.issued.len() as f64 / (days * DAY / MINUTE) as f64;
    assert!(begun as f64 <= (2.0 * mean).max(1.0), "{begun} begin in a minute");
    assert!(longest_wait(&fleet, start()) <= 6 * HOUR);
    // The point of some lies in the last minute of their window.
    assert!(late * 5_000 <= fleet.renewals.len(), "{late}");
    assert!(took <= 180.0, "{took} s");
}

#[test]
fn p19_certificates_cost_fewer_than_ten_questions_a_second_however_many_there_are() {
    let began = Began::now();
    let (count, hours) = (scaled(100_000, 3_000), scaled(8, 1));
    let mut fleet = Fleet::new(seed(), 90 * 24);
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    // All are due to be asked about at once, which is the worst there is.
    let mut most = 0;
    for second in 1..=hours as i64 * HOUR {
        let before = fleet.polls;
        fleet.run(later(start(), second), |_| false);
        most = most.max(fleet.polls - before);
    }
    check(&fleet);
    let text = format!(
        "{count} certificates, {} questions in {hours} h, at most {most} a second",
        fleet.polls
    );
    report("questions about renewal", began, &text);
    assert!(most < 10, "{most}");
    assert!(fleet.polls >= count, "{}", fleet.polls);
}

#[test]
fn p17_new_hosts_at_once_take_what_the_limit_takes() {
    let began = Began::now();
    let count = scaled(5_000, 600);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    fleet.begin();
    fleet.ask(&hosts(count, count / 5));
    fleet.run(later(start(), 10 * DAY), |fleet| fleet.issued.len() == count);
    check(&fleet);
    assert_eq!(fleet.issued.len(), count);
    let shortest = (count as i64 - 300) * 36;
    let took = fleet.now.as_second() - start().as_second();
    let share = took as f64 / shortest as f64;
    report(
        "new hosts at once",
        began,
        &format!(
            "{count} hosts in {:.1} h, {:.1} % of the shortest time, 0 answers 429",
            took as f64 / 3_600.0,
            share * 100.0
        ),
    );
    assert!(share <= 1.05, "{share}");
}

#[test]
fn p21_a_mass_revocation_is_made_good_within_hours() {
    let began = Began::now();
    let count = scaled(10_000, 300);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    // Everything has been asked about once.
    fleet.run(later(start(), DAY), |_| false);
    for host in &all {
        let facts = fleet.world.claims(host).next().unwrap().content.clone().unwrap();
        fleet.ca.revoke(&facts.id.unwrap());
    }
    let (revoked, before) = (fleet.now, fleet.issued.len());
    fleet.run(later(revoked, 7 * DAY), |fleet| {
        fleet.issued.len() >= before + count
    });
    check(&fleet);
    let took = fleet.now.as_second() - revoked.as_second();
    report(
        "mass revocation",
        began,
        &format!(
            "{count} replaced in {:.1} h, the last question after 6 h, 0 answers 429",
            took as f64 / 3_600.0
        ),
    );
    assert!(took <= 8 * HOUR, "{took} s");
}

#[test]
fn p22_a_ca_that_comes_back_meets_no_herd() {
    let began = Began::now();
    let count = scaled(20_000, 400);
    let mut fleet = Fleet::new(seed(), 45 * 24);
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    fleet.run(later(start(), 10 * DAY), |_| false);
    fleet.ca.away = true;
    let away = fleet.now;
    fleet.run(later(away, 3 * DAY), |_| false);
    let tries = fleet.ca.requests.iter().filter(|at| **at >= away).count();
    fleet.ca.away = false;
    let back = fleet.now;
    fleet.run(later(back, 3 * DAY), |_| false);
    check(&fleet);
    let after = fleet.ca.requests.iter().copied().filter(|at| *at >= back);
    let ceiling = fullest(after.clone(), 60);
    let second = fullest(after, 1);
    report(
        "the CA away for 3 days",
        began,
        &format!(
            "{count} hosts, {tries} tries meanwhile, at most {ceiling} orders a minute and {second} a second \
             afterwards, 0 expired"
        ),
    );
    // The pace of routine renewals, as on any other day, and the one that asks whether the CA is back.
    assert!(ceiling <= 61, "{ceiling} orders within a minute");
    assert!(second <= 2, "{second} orders within a second");
}

#[test]
fn p22_names_that_never_succeed_hold_up_nobody() {
    let began = Began::now();
    let count = scaled(1_000, 120);
    let is_bad = |host: &Hostname| {
        let digits = host.base().as_str().trim_start_matches('h').split('.').next();
        digits
            .and_then(|digits| digits.parse::<usize>().ok())
            .is_some_and(|number| number % 2 == 1)
    };
    let mut fleet = Fleet::new(seed(), 45 * 24);
    fleet.cursed = is_bad;
    fleet.begin();
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.run(later(start(), scaled(60, 35) as i64 * DAY), |_| false);
    check(&fleet);
    let good = count / 2;
    let first: Vec<_> = fleet.issued.iter().take(good).map(|(at, _)| *at).collect();
    let took = first.last().unwrap().as_second() - start().as_second();
    let mut most = 0;
    for host in all.iter().filter(|host| is_bad(host)) {
        let number = fleet.ca.counts.number(host);
        let asked = &fleet.ca.counts.name(number).asked;
        for (number, at) in asked.iter().enumerate() {
            let within = asked[number..]
                .iter()
                .take_while(|other| **other < later(*at, DAY));
            most = most.max(within.count());
        }
    }
    // The same without the bad half. Nobody can tell a bad one before it was tried, so each may go first once.
    let alone = {
        let mut fleet = Fleet::new(seed(), 45 * 24);
        fleet.begin();
        let good: Vec<_> = all.iter().filter(|host| !is_bad(host)).cloned().collect();
        fleet.ask(&good);
        fleet.run(later(start(), 10 * DAY), |fleet| fleet.issued.len() == good.len());
        fleet.now.as_second() - start().as_second()
    };
    report(
        "half can never succeed",
        began,
        &format!(
            "{good} good ones first served in {:.1} h, alone in {:.1} h, and renewed since; at most {most} orders a day \
             for a bad one",
            took as f64 / 3_600.0,
            alone as f64 / 3_600.0
        ),
    );
    assert!(most <= 3, "{most} orders within a day");
    let shortest = (count as i64 - 300).max(0) * 36;
    assert!(took <= shortest + HOUR, "{took} s");
    assert!(
        took <= alone + good as i64 * 36 + HOUR,
        "{took} s, alone {alone} s"
    );
}

#[test]
fn p20_lifetimes_that_are_cut_cause_neither_loop_nor_burst() {
    let began = Began::now();
    let count = scaled(5_000, 60);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    let mut end = start();
    let mut figures = Vec::new();
    for (hours, days) in [(90 * 24, 90), (64 * 24, 128), (45 * 24, 90), (160, 60)] {
        fleet.ca.lifetime_hours = hours;
        let (from, before) = (end, fleet.issued.len());
        end = later(end, days * DAY);
        fleet.run(end, |_| false);
        let each = (fleet.issued.len() - before) as f64 / count as f64;
        // At two thirds of a life, at half of a short one; and once more for what was under way.
        let usual = (days * 24) as f64 / (hours as f64 * if hours < 240 { 0.46 } else { 0.64 });
        assert!(
            each <= usual + 1.0,
            "{each} renewals each at {hours} h, not {usual}"
        );
        let within = fleet.issued.iter().map(|(at, _)| *at).filter(|at| *at >= from);
        let mean = each * count as f64 / (days * 24) as f64;
        let most = fullest(within.clone(), HOUR) as f64;
        // Beyond what chance brings together.
        assert!(
            most <= 3.0 * mean + 12.0,
            "{most} renewals within an hour at {hours} h, {mean} as a rule"
        );
        figures.push(format!(
            "{hours} h: {each:.1} each, at most {} an hour",
            fullest(within, HOUR)
        ));
    }
    check(&fleet);
    report(
        "lifetimes cut",
        began,
        &format!("{count} hosts; {}", figures.join("; ")),
    );
}

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

use crate::fleet::{Fleet, ORDERS_AT_ONCE, start};
use crate::urgency::Law;

mod rests;
mod tenants;
mod turns;

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

/// More of them, with another first letter.
fn named(letters: &str, count: usize, domains: usize) -> Vec<Hostname> {
    (0..count)
        .map(|number| {
            format!("{letters}{number}.{letters}-d{}.test", number % domains)
                .parse()
                .unwrap()
        })
        .collect()
}

/// Which one of [`hosts`] it is.
fn number(host: &Hostname) -> Option<usize> {
    let label = host.base().as_str().split('.').next()?;
    label.strip_prefix('h')?.parse().ok()
}

/// How many orders the law has looked at.
fn judged(fleet: &Fleet) -> usize {
    fleet.law.as_ref().map_or(0, |law| law.judged)
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
    let (count, few) = (scaled(5_000, 600), 20);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    fleet.law = Some(Law::default());
    fleet.begin();
    // Half of them are asked for by one namespace, before all others.
    let (most, rest) = (hosts(count / 2, count / 10), named("k", count / 2, count / 10));
    fleet.ask_in(&most, |_| "large".into());
    fleet.ask(&rest);
    // And a few while they wait.
    let (some, hour) = (named("l", few, few), scaled(24, 1) as i64 * HOUR);
    fleet.run(later(start(), hour), |_| false);
    fleet.ask_in(&some, |_| "late".into());
    fleet.run(later(start(), 10 * DAY), |fleet| {
        fleet.issued.len() == count + few
    });
    check(&fleet);
    assert_eq!(fleet.issued.len(), count + few);
    let shortest = ((count + few) as i64 - 300) * 36;
    let took = fleet.now.as_second() - start().as_second();
    let share = took as f64 / shortest as f64;
    let served = fleet.issued.iter().filter(|(_, host)| some.contains(host));
    let served = served.map(|(at, _)| at.as_second()).max().unwrap() - start().as_second() - hour;
    report(
        "new hosts at once",
        began,
        &format!(
            "{count} hosts in {:.1} h, {:.1} % of the shortest time, 0 answers 429; half of them of one namespace, and {few} \
             of another that came {} h later are served within {:.1} h; {} orders, none before a more urgent one",
            took as f64 / 3_600.0,
            share * 100.0,
            hour / HOUR,
            served as f64 / 3_600.0,
            judged(&fleet)
        ),
    );
    assert!(share <= 1.05, "{share}");
}

#[test]
fn p17_where_a_domain_is_short_the_most_urgent_go_first() {
    let began = Began::now();
    let mut fleet = Fleet::new(seed(), 90 * 24);
    fleet.law = Some(Law::default());
    let old = named("old", 60, 1);
    fleet.ask(&old);
    fleet.hold_of_another(&old);
    fleet.begin();
    // The domain has 50 certificates a week, and more new hosts ask than that.
    fleet.ask(&hosts(100, 1));
    fleet.run(later(start(), 100 * DAY), |fleet| fleet.issued.len() >= 200);
    check(&fleet);
    report(
        "one domain is short",
        began,
        &format!(
            "100 new hosts and 60 certificates of another account in one domain: {} orders in {} days, none before a \
             more urgent one, 0 answers 429, 0 expired",
            judged(&fleet),
            (fleet.now.as_second() - start().as_second()) / DAY
        ),
    );
}

#[test]
fn p21_a_mass_revocation_is_made_good_as_fast_as_it_is_known() {
    let began = Began::now();
    let count = scaled(10_000, 300);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    fleet.law = Some(Law::default());
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    let revoked = revoke_all(&mut fleet, &all);
    // No limit of the CA is in the way of a renewal: what is left is how fast it becomes known, and our own bound.
    let mut known: Vec<_> = fleet.recalled.values().copied().collect();
    known.sort();
    let orders: Vec<_> = fleet.took.iter().filter(|(at, _)| *at >= revoked).collect();
    let work: f64 = orders.iter().map(|(_, took)| took.as_secs_f64()).sum();
    let least = orders
        .iter()
        .map(|(_, took)| took.as_secs_f64())
        .fold(f64::MAX, f64::min);
    let mean = work / orders.len() as f64;
    let shortest = (0..known.len())
        .map(|place| {
            let after = revoked.duration_until(known[place]).as_secs_f64();
            after + ((known.len() - place) as f64 * mean / ORDERS_AT_ONCE as f64).max(least)
        })
        .fold(0.0, f64::max);
    let took = fleet.now.as_second() - revoked.as_second();
    let last = revoked.duration_until(*known.last().unwrap()).as_secs();
    report(
        "mass revocation",
        began,
        &format!(
            "{count} replaced in {:.2} h, {:.1} % of the shortest time with {ORDERS_AT_ONCE} orders at once; the CA was \
             asked about the last one after {:.2} h; {} orders, none before a more urgent one, 0 answers 429",
            took as f64 / 3_600.0,
            took as f64 / shortest * 100.0,
            last as f64 / 3_600.0,
            judged(&fleet)
        ),
    );
    assert!(last <= 6 * HOUR + HOUR, "{last} s");
    // The last orders take their time, whatever their number.
    assert!(took as f64 <= shortest * 1.05 + 15.0, "{took} s, {shortest} s");
}

#[test]
fn p21_a_mass_revocation_that_counts_takes_what_the_limit_takes() {
    let began = Began::now();
    let count = scaled(10_000, 500);
    let mut fleet = Fleet::new(seed(), 90 * 24);
    fleet.law = Some(Law::default());
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_of_another(&all);
    fleet.begin();
    let revoked = revoke_all(&mut fleet, &all);
    let first = fleet.recalled.values().min().unwrap();
    let first = revoked.duration_until(*first).as_secs();
    let took = fleet.now.as_second() - revoked.as_second();
    // What has been left when the first was known, and one more every 36 s.
    let shortest = first + (count as i64 - 300) * 36;
    let share = took as f64 / shortest as f64;
    report(
        "the same, where renewals count",
        began,
        &format!(
            "{count} that the CA counts as new replaced in {:.1} h, {:.1} % of the shortest time, {} orders, none before \
             a more urgent one, 0 answers 429",
            took as f64 / 3_600.0,
            share * 100.0,
            judged(&fleet)
        ),
    );
    assert!(share <= 1.05, "{share}");
}

/// After a day the CA revokes them; runs until all are replaced, and says when it did.
fn revoke_all(fleet: &mut Fleet, all: &[Hostname]) -> Timestamp {
    // Everything has been asked about by then.
    fleet.run(later(start(), DAY), |_| false);
    fleet.recalled.clear();
    for host in all {
        let facts = fleet.world.claims(host).next().unwrap().content.clone().unwrap();
        fleet.ca.revoke(&facts.id.unwrap());
    }
    let (revoked, before) = (fleet.now, fleet.issued.len());
    fleet.run(later(revoked, 20 * DAY), |fleet| {
        fleet.issued.len() >= before + all.len()
    });
    check(fleet);
    revoked
}

#[test]
fn p22_a_ca_that_comes_back_meets_no_herd() {
    let began = Began::now();
    let count = scaled(20_000, 400);
    let is_short = |host: &Hostname| number(host).is_some_and(|number| number % 20 == 0);
    let mut fleet = Fleet::new(seed(), 45 * 24);
    fleet.ca.short_lived = is_short;
    let all = hosts(count, count / 5);
    fleet.ask(&all);
    fleet.hold_all_ages(&all);
    fleet.begin();
    // Once in a while a team brings fifty new hosts, as it does during the outage.
    fleet.run(later(start(), 5 * DAY), |_| false);
    fleet.ask_in(&named("before", 50, 50), |_| "eager".into());
    fleet.run(later(start(), 10 * DAY), |_| false);
    let usual_polls = fleet.polled.2;
    fleet.ca.away = true;
    let away = fleet.now;
    let usual = |fleet: &Fleet, span| {
        let before = fleet.ca.requests.iter().copied().filter(|at| *at < away);
        fullest(before, span)
    };
    let (usual, usual_minute) = (usual(&fleet, 1), usual(&fleet, MINUTE));
    fleet.run(later(away, DAY), |_| false);
    let new = named("during", 50, 50);
    fleet.ask_in(&new, |_| "eager".into());
    fleet.run(later(away, 3 * DAY), |_| false);
    let tries = fleet.ca.requests.iter().filter(|at| **at >= away).count();
    fleet.ca.away = false;
    fleet.law = Some(Law::default());
    fleet.hear_all();
    let back = fleet.now;
    let renewals = fleet.renewals.len();
    fleet.run(later(back, DAY), |_| false);
    let judged = judged(&fleet);
    fleet.law = None;
    fleet.run(later(back, 3 * DAY), |_| false);
    check(&fleet);
    let after = fleet.ca.requests.iter().copied().filter(|at| *at >= back);
    let (minute, second) = (fullest(after.clone(), MINUTE), fullest(after, 1));
    let urgent = fleet.renewals[renewals..]
        .iter()
        .filter(|renewal| renewal.short)
        .count();
    let polls = fleet.polled.2;
    let served = fleet.issued.iter().filter(|(_, host)| new.contains(host));
    let served = served
        .map(|(at, _)| back.duration_until(*at).as_secs())
        .max()
        .unwrap();
    report(
        "the CA away for 3 days",
        began,
        &format!(
            "{count} hosts, a twentieth of them with 160 h, {tries} tries meanwhile; afterwards at most {second} orders \
             and {polls} questions in a second, on the days before {usual} and {usual_polls}; {minute} orders in a \
             minute, before {usual_minute}; {} orders on the first day, none before a more urgent one; {urgent} of those had \
             little left, and the 50 new hosts are served within {} min, 0 expired",
            judged,
            served / MINUTE
        ),
    );
    assert!(second <= usual, "{second} orders within a second, before {usual}");
    assert!(
        polls <= usual_polls,
        "{polls} questions within a second, before {usual_polls}"
    );
    // What is urgent keeps no pace, but is worked on by a few at a time.
    assert!(served <= HOUR, "{served} s");
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

//! The goals, what was reached, and the ceiling beside it, as Markdown.

use std::fmt::Write;
use std::time::Duration;

use faythe_bed::names::Make;
use jiff::Timestamp;

use crate::Results;
use crate::dns::Rate;
use crate::faythe::{Load, Start, mib};
use crate::machine::Machine;
use crate::samples::{Burst, Latencies, median};
use crate::visible::Sighting;

/// Above this share of the machine, others disturbed a burst so much that its absolute figures say little.
const DISTURBED: f64 = 0.05;

/// How many times as many names group commit has to publish on a disk.
const GROUP_COMMIT: f64 = 10.0;

/// By how much a value may be seen later than it was everywhere.
const SEEN_WITHIN: Duration = Duration::from_millis(300);

/// How many times as long the same hosts may take over many zones as in one.
const ZONES: f64 = 1.2;

/// All figures with their goals.
pub(crate) struct Report {
    rows: Vec<Row>,
    machine: String,
    disturbance: Option<f64>,
}

/// A line of the table.
struct Row {
    what: String,
    goal: String,
    figure: String,
    driver: String,
    ratio: String,
    /// Whether the goal is reached; `None` where there is none.
    reached: Option<bool>,
}

impl Report {
    /// Judges what was measured.
    pub(crate) fn new(results: &Results, machine: &Machine) -> Self {
        let mut rows = Vec::new();
        if let Some((driver, faythe)) = &results.single {
            rows.extend(single(driver, faythe));
        }
        if let Some((driver, faythe)) = &results.pair {
            let one = results.single.as_ref().map(|(_, one)| one);
            rows.extend(pair(driver, faythe, one));
        }
        rows.extend(burst(&results.forty, Duration::from_secs(2)));
        rows.extend(burst(&results.thousand, Duration::from_secs(15)));
        rows.extend(costs(&results.thousand));
        if let Some(idle) = results.idle {
            rows.push(memory("resident memory, idle", 16, idle));
        }
        if let Some(peak) = results.thousand.iter().map(|(_, load)| load.peak).max() {
            rows.push(memory(
                "resident memory, at most, while 1,000 are issued",
                40,
                peak,
            ));
        }
        if let Some(after) = results.thousand.iter().map(|(_, load)| load.after).max() {
            rows.push(Row::plain(
                "resident memory after 1,000",
                format!("{:.1} MiB", mib(after)),
            ));
        }
        if let Some(large) = &results.memory {
            rows.push(memory(
                "resident memory with 5,000 Ingresses and Secrets",
                64,
                large.settled,
            ));
            rows.push(Row::plain(
                "the same, at most, while they are listed",
                format!("{:.1} MiB", mib(large.peak)),
            ));
            rows.push(Row::plain(
                "start with 5,000 healthy certificates",
                format!("ready in {:.2} s", large.ready.as_secs_f64()),
            ));
        }
        rows.extend(starts(&results.starts));
        rows.extend(published(&results.dns));
        rows.extend(results.visible.iter().flat_map(visible));
        rows.extend(zones(&results.zones));
        let bursts = results.forty.iter().chain(&results.thousand);
        let strangers = bursts.flat_map(|(driver, load)| [driver.strangers, load.burst.strangers]);
        let zones = results.zones.iter();
        let strangers = strangers.chain(zones.flat_map(|(one, many)| [one.strangers, many.strangers]));
        Self {
            rows,
            machine: machine.to_string(),
            disturbance: strangers.reduce(f64::max),
        }
    }

    /// Whether no goal was missed.
    pub(crate) fn all_reached(&self) -> bool {
        self.rows.iter().all(|row| row.reached != Some(false))
    }

    /// The table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| what | goal | Faythe | driver | ratio | |\n|---|---|---|---|---|---|\n".to_owned();
        for row in &self.rows {
            let mark = match row.reached {
                Some(true) => "reached",
                Some(false) => "**missed**",
                None => "",
            };
            let Row {
                what,
                goal,
                figure,
                driver,
                ratio,
                ..
            } = row;
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {what} | {goal} | {figure} | {driver} | {ratio} | {mark} |"
            );
        }
        text
    }

    /// The page around the table.
    pub(crate) fn page(&self) -> String {
        let mut page = format!(
            "# Faythe on real servers\n\nMeasured on {} by `make bench`, on {}; etcd, kube-apiserver, BIND, Pebble and \
             the bench share it with Faythe. `docs/benchmarks.md` says what the lines mean.\n\n",
            Timestamp::now().strftime("%F"),
            self.machine
        );
        if let Some(share) = self.disturbance.filter(|share| *share > DISTURBED) {
            let _ = write!(
                page,
                "**Others used the machine meanwhile**, up to {:.0} % of it: of the times, trust the ratios more than \
                 the figures.\n\n",
                share * 100.0
            );
        }
        page += &self.markdown();
        page += "\n![latencies of one certificate](latency.svg)\n\n![1,000 certificates over time](certificates.svg)\n";
        page
    }
}

/// Names a second, and what it brings to send many in one message.
fn published(rates: &[Rate]) -> Vec<Row> {
    let mut rows: Vec<Row> = rates
        .iter()
        .map(|rate| {
            let server = match rate.make {
                Make::Bind => "BIND",
                Make::Knot => "Knot",
                Make::PowerDns => "PowerDNS",
            };
            let at_once = match rate.at_once {
                1 => "alone".to_owned(),
                many => format!("{many} at once"),
            };
            Row {
                what: format!("names published a second on {server}, on disk, {at_once}"),
                goal: String::new(),
                figure: format!("{:.0}", rate.faythe),
                driver: format!("nsupdate: {:.0}", rate.nsupdate),
                ratio: format!("{:.1}", rate.faythe / rate.nsupdate),
                reached: None,
            }
        })
        .collect();
    let bind = |at_once| {
        rates
            .iter()
            .find(|rate| rate.make == Make::Bind && rate.at_once == at_once)
    };
    if let (Some(alone), Some(many)) = (bind(1), bind(1000)) {
        let gain = many.faythe / alone.faythe;
        rows.push(Row {
            what: "group commit: 1,000 names at once on BIND, against a message a name".to_owned(),
            goal: format!("≥ {GROUP_COMMIT:.0} times"),
            figure: format!("{gain:.1} times"),
            driver: String::new(),
            ratio: String::new(),
            reached: Some(gain >= GROUP_COMMIT),
        });
    }
    rows
}

/// How soon a value is seen, with the goal for p99.
fn visible(sighting: &Sighting) -> [Row; 2] {
    let what = |percent| {
        let propagation = sighting.propagation.as_secs();
        format!("seen after it is on three secondaries, {propagation} s after the update, p{percent}")
    };
    let p99 = sighting.after.percentile(99);
    [
        Row::plain(what(50), shown(sighting.after.percentile(50))),
        Row {
            goal: format!("≤ {}", shown(SEEN_WITHIN)),
            reached: Some(p99 <= SEEN_WITHIN),
            ..Row::plain(what(99), shown(p99))
        },
    ]
}

/// The same hosts over many zones and in one.
fn zones(rounds: &[(Burst, Burst)]) -> Vec<Row> {
    let one = median(rounds, |(one, _)| one.whole()).map(|(one, _)| one);
    let many = median(rounds, |(_, many)| many.whole()).map(|(_, many)| many);
    let (Some(one), Some(many)) = (one, many) else {
        return Vec::new();
    };
    let lost = rounds.iter().map(|(one, many)| one.lost + many.lost).sum();
    let ratio = ratio(many.whole(), one.whole());
    vec![
        Row {
            what: "1000 at once over 20 zones with two keys".to_owned(),
            goal: format!("≤ {ZONES} × one zone"),
            figure: shown(many.whole()),
            driver: format!("one zone: {}", shown(one.whole())),
            ratio: format!("{ratio:.2}"),
            reached: Some(ratio <= ZONES),
        },
        Row::exactly(format!("the same, {} times each: lost", rounds.len()), 0, lost),
    ]
}

impl Row {
    /// A figure without a goal.
    fn plain(what: impl Into<String>, figure: String) -> Self {
        Self {
            what: what.into(),
            goal: String::new(),
            figure,
            driver: String::new(),
            ratio: String::new(),
            reached: None,
        }
    }

    /// A time with a bound, and what the driver needs.
    fn time(what: impl Into<String>, bound: Duration, figure: Duration, driver: Duration) -> Self {
        Self {
            what: what.into(),
            goal: format!("≤ {}", shown(bound)),
            figure: shown(figure),
            driver: shown(driver),
            ratio: format!("{:.2}", ratio(figure, driver)),
            reached: Some(figure <= bound),
        }
    }

    /// A ratio with a bound.
    fn ratio(what: impl Into<String>, bound: f64, figure: Duration, driver: Duration) -> Self {
        let ratio = ratio(figure, driver);
        Self {
            what: what.into(),
            goal: format!("≤ {bound} × driver"),
            figure: shown(figure),
            driver: shown(driver),
            ratio: format!("{ratio:.2}"),
            reached: Some(ratio <= bound),
        }
    }

    /// A number that must be exactly this.
    fn exactly(what: impl Into<String>, goal: usize, figure: usize) -> Self {
        Self {
            goal: goal.to_string(),
            reached: Some(figure == goal),
            ..Self::plain(what, figure.to_string())
        }
    }
}

fn single(driver: &Latencies, faythe: &Latencies) -> [Row; 3] {
    let [p50, p99] = [50, 99].map(|percent| (faythe.percentile(percent), driver.percentile(percent)));
    [
        Row::time(
            "one certificate, idle, p50",
            Duration::from_millis(60),
            p50.0,
            p50.1,
        ),
        Row::time(
            "one certificate, idle, p99",
            Duration::from_millis(250),
            p99.0,
            p99.1,
        ),
        Row::ratio("one certificate, idle, p50", 2.0, p50.0, p50.1),
    ]
}

fn pair(driver: &Latencies, faythe: &Latencies, one: Option<&Latencies>) -> Vec<Row> {
    let [p50, p99] = [50, 99].map(|percent| (faythe.percentile(percent), driver.percentile(percent)));
    let mut rows = vec![
        Row::time(
            "a name with its wildcard, p50",
            Duration::from_millis(60),
            p50.0,
            p50.1,
        ),
        Row::time(
            "a name with its wildcard, p99",
            Duration::from_millis(250),
            p99.0,
            p99.1,
        ),
    ];
    if let Some(one) = one {
        let times = format!("{:.2} × one name", ratio(p50.0, one.percentile(50)));
        rows.push(Row::plain("a name with its wildcard, p50", times));
    }
    rows
}

fn burst(rounds: &[(Burst, Load)], bound: Duration) -> Vec<Row> {
    let driver = median(rounds, |(driver, _)| driver.whole()).map(|(driver, _)| driver);
    let faythe = median(rounds, |(_, load)| load.burst.whole()).map(|(_, load)| &load.burst);
    let (Some(driver), Some(faythe)) = (driver, faythe) else {
        return Vec::new();
    };
    let count = faythe.arrivals.len() + faythe.lost;
    let sum = |number: fn(&Load) -> usize| rounds.iter().map(|(_, load)| number(load)).sum::<usize>();
    let all = count * rounds.len();
    vec![
        Row::time(format!("{count} at once"), bound, faythe.whole(), driver.whole()),
        Row::ratio(format!("{count} at once"), 2.0, faythe.whole(), driver.whole()),
        Row::exactly(
            format!("{count} at once, {} times: orders at the CA", rounds.len()),
            all,
            sum(|load| load.orders),
        ),
        Row::exactly(
            format!("{count} at once, {} times: certificates made", rounds.len()),
            all,
            sum(|load| load.certificates),
        ),
        Row::exactly(
            format!("{count} at once, {} times: lost", rounds.len()),
            0,
            sum(|load| load.burst.lost),
        ),
    ]
}

/// What a certificate costs in a burst of 1,000.
#[expect(clippy::cast_precision_loss, reason = "a few requests a certificate")]
fn costs(rounds: &[(Burst, Load)]) -> Vec<Row> {
    let cpu = median(rounds, |(_, load)| load.burst.cpu_each()).map(|(_, load)| load.burst.cpu_each());
    let driver = median(rounds, |(driver, _)| driver.cpu_each()).map(|(driver, _)| driver.cpu_each());
    let (Some(cpu), Some(driver), Some((_, load))) = (cpu, driver, rounds.last()) else {
        return Vec::new();
    };
    let each = |number: f64| format!("{:.2}", number / load.burst.arrivals.len().max(1) as f64);
    vec![
        Row::time(
            "processor time of Faythe a certificate",
            Duration::from_millis(5),
            cpu,
            driver,
        ),
        Row::plain("writes to the API server a certificate", each(load.writes as f64)),
        Row::plain(
            "requests to the API server a certificate",
            each(load.api_requests as f64),
        ),
        Row::plain("requests to the CA a certificate", each(load.acme_requests)),
    ]
}

fn memory(what: &str, bound: u64, figure: u64) -> Row {
    Row {
        goal: format!("≤ {bound} MiB"),
        reached: Some(figure <= bound << 20),
        ..Row::plain(what, format!("{:.1} MiB", mib(figure)))
    }
}

fn starts(starts: &[Start]) -> Vec<Row> {
    let Some(ready) = starts.iter().map(|start| start.ready).max() else {
        return Vec::new();
    };
    let bound = Duration::from_secs(2);
    vec![
        Row {
            goal: format!("≤ {}", shown(bound)),
            reached: Some(ready <= bound),
            ..Row::plain(
                format!(
                    "start with 1,000 healthy certificates, slowest of {}",
                    starts.len()
                ),
                shown(ready),
            )
        },
        Row::exactly(
            "the same: orders",
            0,
            starts.iter().map(|start| start.orders).sum(),
        ),
        Row::exactly(
            "the same: writes",
            0,
            starts.iter().map(|start| start.writes).sum(),
        ),
    ]
}

fn ratio(figure: Duration, driver: Duration) -> f64 {
    figure.as_secs_f64() / driver.as_secs_f64().max(1e-9)
}

/// A time as people say it.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        let text = format!("{seconds:.2}");
        format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
    } else if seconds >= 0.01 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        let text = format!("{:.2}", seconds * 1e3);
        format!("{} ms", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_three_digits() {
        for (time, text) in [(60_000, "60 ms"), (250_000, "250 ms"), (2_000_000, "2 s")] {
            assert_eq!(shown(Duration::from_micros(time)), text);
        }
        assert_eq!(shown(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(shown(Duration::from_micros(12_345_678)), "12.35 s");
    }

    #[test]
    fn a_missed_goal_is_told() {
        let second = Duration::from_secs(1);
        let row = Row::ratio("x", 2.0, 3 * second, second);
        let report = Report {
            rows: vec![row],
            machine: String::new(),
            disturbance: Some(0.5),
        };
        assert!(!report.all_reached());
        assert!(
            report
                .page()
                .contains("| x | ≤ 2 × driver | 3 s | 1 s | 3.00 | **missed** |")
        );
        assert!(report.page().contains("up to 50 %"));
    }
}

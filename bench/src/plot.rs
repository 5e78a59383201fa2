//! Two plots as SVG: how latencies are distributed, and how certificates arrive over time.

use std::fmt::Write;
use std::time::Duration;

use crate::Results;
use crate::samples::median;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
/// About how many lines a grid has in each direction.
const GRID: f64 = 6.0;
/// Told apart by people who see no red or no green as well (Okabe and Ito).
const COLORS: [&str; 4] = ["#0072b2", "#d55e00", "#56b4e9", "#e69f00"];

/// One line of a plot.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

struct Plot {
    title: &'static str,
    across: &'static str,
    up: &'static str,
    curves: Vec<Curve>,
}

/// How many of the certificates that came one by one took how long.
pub(crate) fn latencies(results: &Results) -> String {
    let mut curves = Vec::new();
    let names = [
        "one name: driver",
        "one name: Faythe",
        "pair: driver",
        "pair: Faythe",
    ];
    let series = [&results.single, &results.pair]
        .into_iter()
        .flatten()
        .flat_map(|(driver, faythe)| [driver, faythe]);
    for (name, latencies) in names.into_iter().zip(series) {
        curves.push(Curve {
            name: name.to_owned(),
            points: shares(latencies.sorted(), 1e3, 100.0),
        });
    }
    let plot = Plot {
        title: "One certificate at a time: from Ingress to stored Secret",
        across: "ms",
        up: "% there",
        curves,
    };
    plot.svg()
}

/// How many of 1,000 certificates asked for at once are there, over time.
pub(crate) fn certificates(results: &Results) -> String {
    let driver = median(&results.thousand, |(driver, _)| driver.whole()).map(|(driver, _)| driver);
    let faythe = median(&results.thousand, |(_, load)| load.burst.whole()).map(|(_, load)| &load.burst);
    let curves = [("driver", driver), ("Faythe", faythe)]
        .into_iter()
        .filter_map(|(name, burst)| {
            let arrivals = &burst?.arrivals;
            let all = u32::try_from(arrivals.len()).unwrap_or(u32::MAX);
            Some(Curve {
                name: name.to_owned(),
                points: shares(arrivals, 1.0, all.into()),
            })
        });
    let plot = Plot {
        title: "1,000 Ingresses at once: certificates stored",
        across: "s",
        up: "certificates",
        curves: curves.collect(),
    };
    plot.svg()
}

/// How many of `times` have passed at each of them, `whole` standing for all.
fn shares(times: &[Duration], per_second: f64, whole: f64) -> Vec<(f64, f64)> {
    let all = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let share = |index: u32| f64::from(index) / f64::from(all.max(1)) * whole;
    std::iter::once((
        times.first().map_or(0.0, |time| time.as_secs_f64() * per_second),
        0.0,
    ))
    .chain(
        (1..)
            .zip(times)
            .map(|(index, time)| (time.as_secs_f64() * per_second, share(index))),
    )
    .collect()
}

impl Plot {
    fn svg(&self) -> String {
        let all = || self.curves.iter().flat_map(|curve| &curve.points);
        let (wide, high) = all().fold((1e-9, 1e-9), |(x, y): (f64, f64), point| {
            (x.max(point.0), y.max(point.1))
        });
        let (step_x, step_y) = (step(wide), step(high));
        let (wide, high) = ((wide / step_x).ceil() * step_x, (high / step_y).ceil() * step_y);
        let x = |value: f64| LEFT + value / wide * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / high * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" \
             y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
            self.title
        );
        // Writing to a string cannot fail.
        for value in ticks(step_x, wide) {
            let (at, low, end) = (x(value), y(0.0), y(high));
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {low:.1}V{end:.1}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{value}</text>",
                low + 16.0
            );
        }
        for value in ticks(step_y, high) {
            let (at, end) = (y(value), x(wide));
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{end:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{value}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 14.0,
            self.across,
            LEFT - 6.0,
            TOP - 10.0,
            self.up
        );
        let mut legend = LEFT + 10.0;
        for (curve, color) in self.curves.iter().zip(COLORS) {
            let mut path = String::new();
            let mut last = None;
            for (at, value) in &curve.points {
                // Steps: a certificate is there or not.
                let _ = match last {
                    None => write!(path, "M{:.1} {:.1}", x(*at), y(*value)),
                    Some(()) => write!(path, "H{:.1}V{:.1}", x(*at), y(*value)),
                };
                last = Some(());
            }
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/><path d=\"M{legend:.1} \
                 36h20\" stroke=\"{color}\" stroke-width=\"3\"/><text x=\"{:.1}\" y=\"40\">{}</text>",
                legend + 26.0,
                curve.name
            );
            legend += 150.0;
        }
        svg + "</svg>\n"
    }
}

/// A round distance between two lines of a grid up to `most`: 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    let rough = most / GRID;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough);
    factor.unwrap_or(10.0) * power
}

/// The multiples of `step` from zero to `most`.
fn ticks(step: f64, most: f64) -> impl Iterator<Item = f64> {
    (0..)
        .map(move |index| f64::from(index) * step)
        .take_while(move |value| *value <= most * 1.0001)
        // Sums of tenths are not quite tenths.
        .map(|value| (value * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_round() {
        assert_eq!(step(60.0), 10.0);
        assert_eq!(step(61.0), 20.0);
        assert_eq!(step(1000.0), 200.0);
        assert_eq!(ticks(0.1, 0.3).collect::<Vec<_>>(), [0.0, 0.1, 0.2, 0.3]);
    }

    #[test]
    fn a_curve_ends_at_the_whole() {
        let times = [1, 2, 4].map(Duration::from_secs);
        assert_eq!(
            shares(&times, 1.0, 3.0),
            [(1.0, 0.0), (1.0, 1.0), (2.0, 2.0), (4.0, 3.0)]
        );
    }

    #[test]
    fn nothing_measured_is_no_error() {
        let svg = latencies(&Results::default());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN"));
    }
}

//! Series of measured times, and what is said of them.

use std::fmt;
use std::time::{Duration, Instant};

/// How long single things took.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// Ascending.
    sorted: Vec<Duration>,
}

impl Latencies {
    /// Takes times in any order.
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self { sorted: times }
    }

    /// All of them, ascending.
    pub(crate) fn sorted(&self) -> &[Duration] {
        &self.sorted
    }

    /// The time that `percent` of all do not exceed (nearest rank); zero if there is none.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        write!(
            f,
            "{} samples: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
            self.sorted.len(),
            ms(50),
            ms(90),
            ms(99),
            ms(100)
        )
    }
}

/// Many things asked for at once: when each was there, from the moment at which the first was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    /// Ascending.
    pub(crate) arrivals: Vec<Duration>,
    /// Those that did not come.
    pub(crate) lost: usize,
    /// Processor time that whoever worked on them used.
    pub(crate) cpu: Duration,
    /// Of all processor time of the machine, the share that went to strangers: 0 to 1.
    pub(crate) strangers: f64,
}

impl Burst {
    /// Takes when each was there, `None` for the lost.
    pub(crate) fn new(began: Instant, arrivals: &[Option<Instant>], cpu: Duration, strangers: f64) -> Self {
        let mut times: Vec<Duration> = arrivals
            .iter()
            .flatten()
            .map(|at| at.duration_since(began))
            .collect();
        times.sort();
        Self {
            lost: arrivals.len() - times.len(),
            arrivals: times,
            cpu,
            strangers,
        }
    }

    /// When the last one was there.
    pub(crate) fn whole(&self) -> Duration {
        self.arrivals.last().copied().unwrap_or_default()
    }

    /// Processor time for each.
    pub(crate) fn cpu_each(&self) -> Duration {
        let count = u32::try_from(self.arrivals.len()).unwrap_or(u32::MAX);
        self.cpu / count.max(1)
    }
}

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in {:.2} s, {} lost, {:.2} ms of CPU each; strangers used {:.0} % of the machine",
            self.arrivals.len(),
            self.whole().as_secs_f64(),
            self.lost,
            self.cpu_each().as_secs_f64() * 1e3,
            self.strangers * 100.0
        )
    }
}

/// The middle one by `key`; of an even number, the lower of the two in the middle.
pub(crate) fn median<T>(items: &[T], key: impl Fn(&T) -> Duration) -> Option<&T> {
    let mut order: Vec<&T> = items.iter().collect();
    order.sort_by_key(|item| key(item));
    order.get(order.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let latencies = Latencies::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(latencies.percentile(50), Duration::from_millis(50));
        assert_eq!(latencies.percentile(99), Duration::from_millis(99));
        assert_eq!(latencies.percentile(100), Duration::from_millis(100));
        assert_eq!(Latencies::new(Vec::new()).percentile(50), Duration::ZERO);
    }

    #[test]
    fn the_median_is_one_of_them() {
        let items = [3, 1, 2].map(Duration::from_secs);
        assert_eq!(median(&items, |item| *item), Some(&Duration::from_secs(2)));
        assert_eq!(median(&[], |item: &Duration| *item), None);
    }
}

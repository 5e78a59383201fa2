//! What is counted of updates of zones, of the keys that sign them, and of clocks.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::SECONDS;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpdateLabels {
    zone: String,
    server: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    zone: String,
    server: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    zone: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClockLabels {
    source: &'static str,
    server: String,
}

/// The metrics of updates.
pub struct Updates {
    messages: Family<UpdateLabels, Counter>,
    seconds: Family<ServerLabels, Histogram>,
    keys: Family<KeyLabels, Counter>,
    clocks: Family<ClockLabels, Gauge>,
}

impl Updates {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let updates = Self {
            messages: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            keys: Family::default(),
            clocks: Family::default(),
        };
        registry.register(
            "faythe_dns_updates",
            "Update messages by zone, server and result",
            updates.messages.clone(),
        );
        registry.register(
            "faythe_dns_update_duration_seconds",
            "Time of one update message at one server, its repetitions there included",
            updates.seconds.clone(),
        );
        registry.register(
            "faythe_dns_key_reads",
            "Key files that had changed, by whether the new key could be read",
            updates.keys.clone(),
        );
        registry.register(
            "faythe_clock_offset_seconds",
            "Our clock minus a server's",
            updates.clocks.clone(),
        );
        updates
    }

    /// A server was sent an update; `result` is `ok` or the code of the fault.
    pub fn sent(&self, zone: &str, server: &str, result: &'static str, took: Duration) {
        let (zone, server) = (zone.to_owned(), server.to_owned());
        self.messages
            .get_or_create(&UpdateLabels {
                zone: zone.clone(),
                server: server.clone(),
                result,
            })
            .inc();
        self.seconds
            .get_or_create(&ServerLabels { zone, server })
            .observe(took.as_secs_f64());
    }

    /// A key file had changed and was read.
    pub fn key_read(&self, zone: &str, result: &'static str) {
        let zone = zone.to_owned();
        self.keys.get_or_create(&KeyLabels { zone, result }).inc();
    }

    /// A server has told its clock; `source` is how.
    pub fn clock(&self, source: &'static str, server: &str, offset_secs: i64) {
        let server = server.to_owned();
        self.clocks
            .get_or_create(&ClockLabels { source, server })
            .set(offset_secs);
    }

    /// Our clock minus a server's, in seconds, if it has told it.
    #[must_use]
    pub fn clock_offset(&self, source: &'static str, server: &str) -> Option<i64> {
        let server = server.to_owned();
        let offset = self.clocks.get(&ClockLabels { source, server })?;
        Some(offset.get())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn updates_are_told_by_zone_server_and_result() {
        let metrics = Metrics::new();
        metrics
            .updates
            .sent("example.com", "ns1", "ok", Duration::from_millis(2));
        metrics
            .updates
            .sent("example.com", "ns1", "badkey", Duration::from_millis(2));
        metrics.updates.key_read("example.com", "failed");
        metrics.updates.clock("tsig", "ns1", -480);
        assert_eq!(metrics.updates.clock_offset("tsig", "ns1"), Some(-480));
        assert_eq!(metrics.updates.clock_offset("tsig", "ns2"), None);
        let text = metrics.exposition().unwrap();
        for line in [
            "faythe_dns_updates_total{zone=\"example.com\",server=\"ns1\",result=\"badkey\"} 1",
            "faythe_dns_update_duration_seconds_count{zone=\"example.com\",server=\"ns1\"} 2",
            "faythe_dns_key_reads_total{zone=\"example.com\",result=\"failed\"} 1",
            "faythe_clock_offset_seconds{source=\"tsig\",server=\"ns1\"} -480",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}

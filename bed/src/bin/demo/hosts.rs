//! The hosts of the demo: what should become of each, what has, and how that reads.

use std::collections::BTreeMap;
use std::time::Duration;

use faythe_bed::certificate::Certificate;

use crate::screen::cut;

/// The width of the column of hosts: the longest that is served fits.
const HOST_WIDTH: usize = 26;

/// What should become of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A certificate from the CA.
    Certificate,
    /// Nothing at all: it is outside the zone.
    Nothing,
    /// A Warning on its Ingress: no certificate can be for it.
    Warning,
}

/// What has become of a host.
#[derive(Debug)]
pub(crate) struct Host {
    /// What should.
    pub(crate) expected: Expected,
    /// What faythe says of it, in its metrics or Events.
    pub(crate) state: Option<String>,
    /// Its certificate, once it is stored and found good, and what that took.
    pub(crate) certificate: Option<(Certificate, Duration)>,
    /// What is wrong with the Secret for it.
    pub(crate) flaw: Option<String>,
    /// The text of the Warning about it.
    pub(crate) warning: Option<String>,
}

impl Host {
    /// A host of which nothing is known but that it is asked for.
    pub(crate) fn new(expected: Expected) -> Self {
        Self {
            expected,
            state: None,
            certificate: None,
            flaw: None,
            warning: None,
        }
    }

    /// Whether what should become of it has.
    fn is_settled(&self) -> bool {
        match self.expected {
            Expected::Certificate => self.certificate.is_some(),
            // Settled from the start, and until something happens.
            Expected::Nothing => !self.is_touched(),
            Expected::Warning => self.warning.is_some() && self.certificate.is_none(),
        }
    }

    fn is_touched(&self) -> bool {
        self.certificate.is_some() || self.warning.is_some() || self.flaw.is_some()
    }

    /// Its state in a few words.
    fn status(&self, name: &str) -> String {
        if let Some(flaw) = &self.flaw {
            return format!("Secret is no good: {flaw}");
        }
        if let Some((_, took)) = &self.certificate {
            return format!("certificate stored after {:.2} s", took.as_secs_f64());
        }
        match (&self.warning, &self.state, self.expected) {
            (Some(warning), ..) => {
                // The host stands before it anyway.
                let reason = warning
                    .strip_prefix(name)
                    .map(|rest| rest.trim_start_matches([':', ' ']));
                format!("refused: {}", reason.unwrap_or(warning))
            }
            (None, Some(state), _) => state.clone(),
            (None, None, Expected::Nothing) => "not in the zone: nothing to do".to_owned(),
            (None, None, _) => "waiting".to_owned(),
        }
    }
}

/// All hosts, by name.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    pub(crate) by_name: BTreeMap<String, Host>,
    /// The TXT records in the zone, as last seen.
    pub(crate) records: Vec<(String, String)>,
}

impl Hosts {
    /// Whether all is as it should be.
    pub(crate) fn is_settled(&self) -> bool {
        self.flaws().is_empty()
    }

    /// A line for each host.
    pub(crate) fn states(&self) -> Vec<String> {
        let line =
            |(name, host): (&String, &Host)| format!("  {} {}", column(name, HOST_WIDTH), host.status(name));
        self.by_name.iter().map(line).collect()
    }

    /// The table of certificates, and what became of the other hosts.
    pub(crate) fn report(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            row("NAMES", "ISSUER", "EXPIRES", "INGRESS TO SECRET"),
        ];
        for (certificate, took) in self.by_name.values().filter_map(|host| host.certificate.as_ref()) {
            let expires = certificate.not_after.strftime("%F %H:%M UTC").to_string();
            let took = format!("{:.3} s", took.as_secs_f64());
            lines.push(row(
                &certificate.names.join(" "),
                &certificate.issuer,
                &expires,
                &took,
            ));
        }
        lines.push(String::new());
        for (name, host) in self.by_name.iter().filter(|(_, host)| host.certificate.is_none()) {
            lines.push(format!("{name}: {}", host.status(name)));
        }
        lines.push(String::new());
        lines
    }

    /// All that is not as it should be, a line each.
    pub(crate) fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        if self.by_name.is_empty() {
            flaws.push("there is no Ingress".to_owned());
        }
        for (name, host) in self.by_name.iter().filter(|(_, host)| !host.is_settled()) {
            let flaw = match host.expected {
                Expected::Certificate => "has no good certificate",
                Expected::Nothing => "is outside the zone but was not left alone",
                Expected::Warning => "is impossible but has no Warning, or has a certificate",
            };
            flaws.push(format!("{name} {flaw} ({})", host.status(name)));
        }
        for (name, value) in &self.records {
            flaws.push(format!("a TXT record is left in the zone: {name} \"{value}\""));
        }
        flaws
    }
}

/// What should become of a host in a cluster whose faythe serves `zone`.
pub(crate) fn expected(host: &str, zone: &str) -> Expected {
    let inside = host == zone || host.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'));
    if !inside {
        return Expected::Nothing;
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    // RFC 1035 §2.3.4 for the lengths, RFC 1123 §2.1 for the characters.
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let possible = name.len() <= 253 && name.split('.').all(good);
    if possible {
        Expected::Certificate
    } else {
        Expected::Warning
    }
}

fn row(names: &str, issuer: &str, expires: &str, took: &str) -> String {
    format!(
        "{} {} {} {took}",
        column(names, HOST_WIDTH),
        column(issuer, 32),
        column(expires, 22)
    )
}

/// The text in exactly this width.
fn column(text: &str, width: usize) -> String {
    format!("{:width$}", cut(text, width))
}

#[cfg(test)]
mod tests {
    use super::{Expected, expected};

    #[test]
    fn each_kind_of_host_is_told_apart() {
        let check = |host: &str, outcome| assert_eq!(expected(host, "demo.test"), outcome, "{host}");
        check("demo.test", Expected::Certificate);
        check("a.b.demo.test", Expected::Certificate);
        check("*.demo.test", Expected::Certificate);
        check("example.org", Expected::Nothing);
        check("other-demo.test", Expected::Nothing);
        check(&format!("{}.demo.test", "x".repeat(63)), Expected::Certificate);
        check(&format!("{}.demo.test", "x".repeat(64)), Expected::Warning);
        check("a..demo.test", Expected::Warning);
        check("a_b.demo.test", Expected::Warning);
    }
}

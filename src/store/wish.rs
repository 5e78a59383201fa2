//! What the annotation `faythe/renew` says: which certificate is to be replaced, when that was asked for, and how much is
//! passed (P22).
//!
//! `SERIAL TIME`, or `SERIAL TIME force`. Earlier versions wrote the serial number alone, which passes no wait. By hand a
//! time alone does: whatever is older than that is to be replaced.

use faythe_core::Timestamp;
use faythe_core::cert::CertFacts;
use faythe_core::schedule::{Demand, Why};

const FORCE: &str = "force";

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The certificate that it concerns, so that the next one is not concerned.
    pub(super) serial: Option<String>,
    pub(super) demand: Demand,
}

impl Wish {
    /// Reads it; `None` where it cannot be understood.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (mut serial, mut at, mut force) = (None, None, false);
        for word in text.split_whitespace() {
            if word == FORCE {
                force = true;
            } else if let Ok(time) = word.parse() {
                at = Some(time);
            } else if serial.replace(word.to_owned()).is_some() {
                return None;
            }
        }
        let at = at.unwrap_or(Timestamp::MIN);
        Some(Self {
            serial,
            demand: Demand {
                at,
                force,
                why: Why::Hand,
            },
        })
    }

    pub(super) fn write(&self) -> String {
        let Demand { at, force, .. } = self.demand;
        let force = force.then(|| FORCE.to_owned());
        let words = self
            .serial
            .clone()
            .into_iter()
            .chain([at.to_string()])
            .chain(force);
        words.collect::<Vec<_>>().join(" ")
    }

    /// Whether it concerns this certificate, which was stored at `issued_at`; `None` where it is none that serves.
    pub(super) fn concerns(&self, held: Option<&CertFacts>, issued_at: Option<Timestamp>) -> bool {
        match (held, &self.serial) {
            (None, _) => true,
            (Some(facts), Some(serial)) => facts.serial == *serial,
            (Some(facts), None) => issued_at.unwrap_or(facts.not_before) < self.demand.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn p22_what_is_written_is_read_again() {
        let at = time("2026-11-27T10:00:00.123Z");
        for serial in [None, Some("0a1b".to_owned())] {
            for force in [false, true] {
                let why = Why::Hand;
                let demand = Demand { at, force, why };
                let serial = serial.clone();
                let wish = Wish { serial, demand };
                assert_eq!(Wish::read(&wish.write()), Some(wish));
            }
        }
    }

    #[test]
    fn p22_an_earlier_version_said_no_time() {
        let wish = Wish::read("0a1b").unwrap();
        assert_eq!(wish.serial.as_deref(), Some("0a1b"));
        assert_eq!(wish.demand.at, Timestamp::MIN);
        assert_eq!(Wish::read("0a1b 0a1c"), None);
    }

    #[test]
    fn p22_a_wish_concerns_one_certificate_or_what_is_older() {
        let facts = CertFacts {
            names: Vec::new(),
            not_before: time("2026-11-01T00:00:00Z"),
            not_after: time("2027-01-30T00:00:00Z"),
            serial: "0a1b".into(),
            issuer: "Test".into(),
            id: None,
        };
        let concerns = |text: &str, issued: Option<&str>| {
            let wish = Wish::read(text).unwrap();
            wish.concerns(Some(&facts), issued.map(time))
        };
        assert!(concerns("0a1b 2026-11-27T10:00:00Z", None));
        assert!(!concerns("0a1c 2026-11-27T10:00:00Z", None));
        assert!(concerns("2026-11-27T10:00:00Z", Some("2026-11-27T09:59:59Z")));
        assert!(!concerns("2026-11-27T10:00:00Z", Some("2026-11-27T10:00:00Z")));
        assert!(concerns("2026-11-27T10:00:00Z", None));
        assert!(!concerns("2026-10-27T10:00:00Z", None));
        for nothing in ["", "force"] {
            assert!(!concerns(nothing, None), "{nothing:?}");
        }
    }
}

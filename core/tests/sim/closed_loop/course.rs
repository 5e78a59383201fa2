//! What is simulated: how large, for how long, and how rough it is.

use faythe_core::budget::{Limits, Preset};
use faythe_core::policy::Policy;
use faythe_core::schedule::Threshold;
use faythe_core::zone::{Rule, Zone, Zones};

use super::faults::Faults;
use crate::dice::Dice;
use crate::laws::GRACE;
use crate::outside::Habits;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) hosts: usize,
    pub(super) days: i64,
    pub(super) cap: usize,
    pub(super) habits: Habits,
    /// How many mishaps a day.
    pub(super) mishaps: i64,
    pub(super) lag_secs: i64,
    /// How many instances lead; more than one do by accident.
    pub(super) leaders: usize,
    /// How long each first look takes at most.
    pub(super) starts_ms: i64,
    /// How many exchanges in a thousand are lost, and how many take long, at all times.
    pub(super) losses: i64,
    pub(super) delays: i64,
    pub(super) faults: Faults,
}

impl Course {
    pub(super) fn policy(&self) -> Policy {
        let zone = |apex: &str| Zone {
            apex: apex.parse().unwrap(),
            wildcards: false,
            rule: Rule::flat("ns.test", &[]),
            challenges: None,
        };
        Policy {
            zones: Zones::new(vec![zone("example.com"), zone("test")]),
            threshold: Threshold::Default,
            spread: 0,
            renewals_per_minute: None,
            issue_grace: GRACE.unsigned_abs(),
            orders_at_once: self.cap,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        match self.habits.orders_in_three_hours {
            Some(_) => Limits::default(),
            None => Preset::LetsEncrypt.limits(),
        }
    }

    /// A host; where certificates are counted for their domains, of one of many.
    pub(super) fn host(&self, number: usize) -> String {
        match self.habits.orders_in_three_hours {
            Some(_) => format!("h{number}.example.com"),
            None => format!("h{number}.d{}.test", number % (self.hosts / 5).max(1)),
        }
    }
}

/// A course that the seed chooses.
pub(super) fn course(seed: u64) -> Course {
    let mut dice = Dice::new(seed ^ 0xFA17);
    let life = *dice.pick(&[10, 45, 90]).unwrap();
    let (hosts, days) = (dice.between(5, 60), dice.between(40, 150));
    Course {
        hosts: usize::try_from(hosts).unwrap(),
        days,
        cap: usize::try_from(dice.between(1, 20)).unwrap(),
        habits: Habits {
            lifetime_hours: life * 24,
            reuses: dice.chance(500),
            orders_in_three_hours: Some(usize::try_from(dice.between(20, 300)).unwrap())
                .filter(|_| dice.chance(500)),
            order_hours: *dice.pick(&[8, 24, 7 * 24]).unwrap(),
            authorization_hours: *dice.pick(&[7, 10 * 24, 30 * 24]).unwrap(),
            hiccups: dice.between(0, 50),
            // Six hours as Let's Encrypt says; where there would be many questions, up to a day.
            renewal_info: Some((hosts * days / 250).clamp(6, 20))
                .filter(|_| Dice::new(seed ^ 0x9773).chance(600)),
            stuck: if life > 20 && dice.chance(300) { 20 } else { 0 },
        },
        mishaps: dice.between(1, 12),
        lag_secs: dice.between(0, 30),
        leaders: 1,
        starts_ms: 5_000,
        losses: dice.between(0, 10),
        delays: dice.between(0, 20),
        faults: Faults::of(seed),
    }
}

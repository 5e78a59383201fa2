//! Laws of renewal: years of one certificate, whatever the CA says of its windows.

use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::ari::{CertificateId, Window};
use faythe_core::cert::{CertFacts, Held, Origin};
use faythe_core::name::Hostname;
use faythe_core::plan::{Action, Planner};
use faythe_core::policy::Policy;
use faythe_core::schedule::{Threshold, ahead};
use faythe_core::want::Asker;
use faythe_core::world::{Answer, World};
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::cases;
use crate::worlds::{policy, start, zones};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// What a CA says of a certificate when it is asked: where its window lies.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Around two thirds of its life, or a half of a short one.
    Usual,
    /// So many seconds before now.
    Past(i64),
    /// So many seconds after it was made, of so many seconds.
    Soon(i64, i64),
    /// Around two thirds at first, and before now once it is so many seconds old.
    Moving(i64),
    /// So many days after it has expired.
    Beyond(i64),
    /// It has no window for it.
    Silent,
}

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![
        Just(Habit::Usual),
        (1..30 * DAY).prop_map(Habit::Past),
        (0..2 * DAY, 1..DAY).prop_map(|(from, length)| Habit::Soon(from, length)),
        (0..2 * DAY).prop_map(Habit::Moving),
        (0..4_000_i64).prop_map(Habit::Beyond),
        Just(Habit::Silent),
    ]
}

fn secs(secs: i64) -> SignedDuration {
    SignedDuration::from_secs(secs)
}

/// One host at one CA, which makes each certificate at once.
struct Course {
    world: World,
    planner: Planner,
    policy: Policy,
    host: Hostname,
    habit: Habit,
    life: i64,
    now: Timestamp,
    issued: Vec<Timestamp>,
    /// When nothing served.
    gaps: Vec<Timestamp>,
}

impl Course {
    fn new(habit: Habit, life: i64, grace: u64) -> Self {
        let mut world = World::new(zones());
        let asker = Asker {
            namespace: "web".into(),
            name: "shop".into(),
            uid: "1".into(),
        };
        world.ask_all(vec![(asker, vec!["a.example.com".to_owned()])]);
        world.hold_all(Vec::new());
        world.note_all(Vec::new(), Vec::new());
        Self {
            world,
            planner: Planner::new(),
            policy: Policy {
                threshold: Threshold::Default,
                issue_grace: Duration::from_secs(grace),
                renewals_per_minute: None,
                ..policy(4)
            },
            host: "a.example.com".parse().unwrap(),
            habit,
            life,
            now: start(),
            issued: Vec::new(),
            gaps: Vec::new(),
        }
    }

    fn held(&self) -> Option<(Held, CertFacts)> {
        let held = self.world.claims(&self.host).next()?.clone();
        let facts = held.content.clone().unwrap();
        Some((held, facts))
    }

    fn issue(&mut self) {
        let serves = self.held().is_some_and(|(_, facts)| facts.not_after > self.now);
        if !serves && !self.issued.is_empty() {
            self.gaps.push(self.now);
        }
        let early = self.world.early(&self.host, &self.policy, self.now);
        self.issued.push(self.now);
        let number = self.issued.len();
        let from = ahead(self.now, -secs(self.life / 500));
        let facts = CertFacts {
            names: vec![self.host.clone()],
            not_before: from,
            not_after: ahead(from, secs(self.life)),
            serial: number.to_string(),
            issuer: "Test".into(),
            id: Some(CertificateId::parse(&format!("issuer.{number}")).unwrap()),
        };
        let held = Held {
            secret: "a".into(),
            version: number.to_string().into(),
            content: Ok(facts),
            issued_at: Some(self.now),
            renew: None,
            made_by: None,
            origin: Origin::of(early, None),
        };
        self.world.hold_ours(&self.host, held);
        self.world.set_activity(&self.host, None);
    }

    fn answer(&self) -> Answer {
        let (_, facts) = self.held().unwrap();
        let age = facts.not_before.duration_until(self.now).as_secs();
        let share = if self.life <= 10 * DAY {
            self.life / 2
        } else {
            self.life * 2 / 3
        };
        let usual = (share - self.life / 100, share + self.life / 100);
        let (from, to) = match self.habit {
            Habit::Usual => usual,
            Habit::Past(ago) => (age - ago - 1_800, age - ago),
            Habit::Soon(from, length) => (from, from + length),
            Habit::Moving(at) if age >= at => (age - 3_600, age - 1_800),
            Habit::Moving(_) => usual,
            Habit::Beyond(days) => (self.life + days * DAY, self.life + days * DAY + HOUR),
            Habit::Silent => return Answer::Refused,
        };
        let at = |age| ahead(facts.not_before, secs(age));
        Answer::Told {
            window: Window::new(at(from), at(to)).unwrap(),
            retry_after: Some(Duration::from_secs(6 * 3_600)),
        }
    }

    /// Lives until then, or until something is issued that was not before.
    fn live(&mut self, until: Timestamp, stops: impl Fn(&Self) -> bool) {
        while self.now < until && !stops(self) {
            let plan = self.planner.turn(&mut self.world, &self.policy, self.now);
            for action in &plan.actions {
                match action {
                    Action::AskHint { question, .. } => {
                        let answer = self.answer();
                        self.world.hinted(*question, answer, self.now);
                    }
                    Action::Drive { .. } => self.issue(),
                    Action::Forget(_) | Action::Steer { .. } => {}
                }
            }
            if plan.actions.is_empty() {
                let wake = plan.wake_at.unwrap_or(until);
                self.now = wake.clamp(ahead(self.now, secs(1)), until.max(ahead(self.now, secs(1))));
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn p20_whatever_a_ca_says_of_its_windows_a_year_costs_few_certificates(
        habit in habit(),
        life in prop_oneof![Just(160 * HOUR), Just(45 * DAY), Just(64 * DAY), Just(90 * DAY)],
        grace in prop_oneof![Just(8 * 3_600_u64), 600..86_400_u64],
    ) {
        let mut course = Course::new(habit, life, grace);
        let year = 365 * DAY;
        course.live(ahead(start(), secs(year)), |_| false);
        prop_assert!(course.gaps.is_empty(), "nothing served at {:?}", course.gaps);
        // A half or two thirds of a life, less the spread of a twentieth.
        let used = if life <= 10 * DAY { life / 2 } else { life * 2 / 3 } - life / 20;
        let needed = usize::try_from(year / used).unwrap() + 1;
        // The waits double, from the grace to the time for which a certificate is used.
        let doublings = (used.unsigned_abs() / grace.min(life.unsigned_abs() / 4)).ilog2() as usize;
        let most = needed + doublings + 1;
        prop_assert!(course.issued.len() <= most, "{} where {needed} are needed: {most} at most", course.issued.len());
    }

    #[test]
    fn p21_a_recall_is_made_good_at_once_however_young_the_certificate_is(
        life in prop_oneof![Just(160 * HOUR), Just(45 * DAY), Just(90 * DAY)],
        age in prop_oneof![0..HOUR, 0..40 * HOUR],
    ) {
        let mut course = Course::new(Habit::Usual, life, 8 * 3_600);
        course.live(ahead(start(), secs(1 + age)), |_| false);
        prop_assert_eq!(course.issued.len(), 1);
        // At the next question the window lies in the past.
        course.habit = Habit::Past(600);
        let soon = ahead(course.now, secs(6 * HOUR + 120));
        course.live(soon, |course| course.issued.len() == 2);
        prop_assert_eq!(course.issued.len(), 2);
        // The CA is asked at once about the one that follows, and says the same: that is not believed as quickly.
        course.live(ahead(course.now, secs(8 * HOUR)), |_| false);
        prop_assert_eq!(course.issued.len(), 2);
    }
}

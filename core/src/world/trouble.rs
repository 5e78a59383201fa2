//! The part of the world that tells trouble of one order from trouble of its CA.
//!
//! What fails inside the CA for one order may be of that order alone, or the first sign of an outage. The order waits for
//! longer each time; everything waits once a second one has met trouble too and the CA has done nothing since, but only for
//! as long as the number of those orders makes it likely that the CA is to blame: two that always fail hold everybody for
//! seconds, and an outage, which spoils whatever asks, comes to five minutes after a few more.

use std::time::Duration;

use jiff::Timestamp;

use super::World;
use crate::activity::Hold;
use crate::cas::CaId;
use crate::name::Hostname;
use crate::problem::Scope;
use crate::schedule::{after, ca_rest};

impl World {
    /// Something fails inside the CA that was asked for the order of `host`: that order waits, for `least` at any rate, and
    /// so does everything once others have met trouble too.
    pub fn meet_trouble(
        &mut self,
        ca: CaId,
        host: &Hostname,
        least: Duration,
        code: &str,
        text: &str,
        now: Timestamp,
    ) {
        let own = Scope::Order(Some(host.base().clone()));
        let others = self.others_in_trouble(ca, &own);
        self.wait_longer(ca, own, u32::MAX, untold(after(now, least), code, text), now);
        if others > 0 {
            let text = format!(
                "the CA has failed inside for {} orders and made none go on since, so it is taken to be in trouble; for \
                 {host}, the last one, {text}",
                others.saturating_add(1)
            );
            // What the CA says to one order it does not say to the others.
            self.wait_longer(ca, Scope::Account, others, untold(now, code, &text), now);
        }
    }

    /// The CA has to be left alone, as far as `scope` says, and names no time: for longer each time.
    pub fn leave_alone(&mut self, ca: CaId, scope: Scope, code: &str, text: &str, now: Timestamp) {
        self.wait_longer(ca, scope, u32::MAX, untold(now, code, text), now);
    }

    /// Holds until `hold` says at least, and for longer each time, which is counted up to `most`.
    fn wait_longer(&mut self, ca: CaId, scope: Scope, most: u32, hold: Hold, now: Timestamp) {
        let before = self.hold_of(ca, &scope);
        if before.is_some_and(|before| before.until > now) {
            // Many orders meet one outage at once; that is one trouble.
            return;
        }
        let tries = before
            .map_or(0, |before| before.tries)
            .saturating_add(1)
            .min(most);
        let until = after(now, ca_rest(tries - 1)).max(hold.until);
        self.set_hold(ca, scope, Hold { until, tries, ..hold }, now);
    }
}

/// A hold of which the CA has not said how long it lasts.
fn untold(until: Timestamp, code: &str, text: &str) -> Hold {
    Hold {
        until,
        code: code.to_owned(),
        text: text.to_owned(),
        tries: 1,
        told: false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::schedule::ahead;
    use crate::zone::Zones;

    fn host(number: u32) -> Hostname {
        format!("h{number}.example.com").parse().unwrap()
    }

    /// A CA that fails for so many hosts in turn, over and over, each as soon as nothing holds it; how long everybody else is
    /// held at last, in seconds, and what is said of that.
    fn held_by(count: u32) -> (i64, String) {
        let mut world = World::new(Zones::new(Vec::new()));
        let mut now = Timestamp::UNIX_EPOCH;
        let mut held = 0;
        for turn in 0..40 * count {
            now = ahead(now, SignedDuration::from_secs(400));
            let host = host(turn % count);
            world.meet_trouble(
                CaId::FIRST,
                &host,
                Duration::ZERO,
                "serverInternal",
                "it has failed",
                now,
            );
            let all = world.hold_of(CaId::FIRST, &Scope::Account);
            held = all.map_or(0, |all| now.duration_until(all.until).as_secs());
        }
        let all = world.hold_of(CaId::FIRST, &Scope::Account);
        (held, all.map(|all| all.text.clone()).unwrap_or_default())
    }

    #[test]
    fn p22_two_orders_that_always_fail_hold_everybody_for_seconds_and_many_for_minutes() {
        let waits = [1, 2, 3, 4, 10, 100].map(|count| held_by(count).0);
        assert_eq!(waits, [0, 2, 4, 8, 300, 300]);
    }

    #[test]
    fn p40_whoever_is_held_is_told_that_it_is_for_others() {
        assert_eq!(
            held_by(2).1,
            "the CA has failed inside for 2 orders and made none go on since, so it is taken to be in trouble; for \
             h1.example.com, the last one, it has failed"
        );
    }

    #[test]
    fn p22_an_outage_that_many_orders_meet_at_once_is_one_trouble() {
        let mut world = World::new(Zones::new(Vec::new()));
        let until = |world: &World| world.hold_of(CaId::FIRST, &Scope::Account).unwrap().until;
        let at = |secs| ahead(Timestamp::UNIX_EPOCH, SignedDuration::from_secs(secs));
        for number in 0..32 {
            world.meet_trouble(
                CaId::FIRST,
                &host(number),
                Duration::ZERO,
                "serverInternal",
                "",
                at(0),
            );
        }
        assert_eq!(until(&world), at(2));
        world.meet_trouble(
            CaId::FIRST,
            &host(32),
            Duration::ZERO,
            "serverInternal",
            "",
            at(2),
        );
        assert_eq!(until(&world), at(6));
    }
}

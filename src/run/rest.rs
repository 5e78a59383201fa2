//! What follows when an order comes to rest: for how long, and what else has to leave its CA alone; and when CAA records
//! keep it from one.

use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Hold, Rest};
use faythe_core::cas::CaId;
use faythe_core::name::Hostname;
use faythe_core::order::Stage;
use faythe_core::problem::Scope;
use faythe_core::schedule;
use faythe_core::verdict::State;

use super::Loop;
use crate::act::{Fault, Pause};

impl Loop {
    /// An order without a note gives its room to others where it is not gone on with soon: nobody wants it, or another
    /// instance has brought one of its own to its end meanwhile, well or not.
    pub(super) fn make_room(&mut self, host: &Hostname) {
        let state = self.planner.verdict(host).map(|verdict| verdict.reason.state());
        let is_left = match state {
            None | Some(State::Valid) => true,
            Some(State::Issuing | State::Queued) => false,
            Some(State::Conflict | State::Failed | State::Held | State::Stalled | State::Unwanted) => {
                self.world.activity(host).is_none()
            }
        };
        if is_left && let Some(order) = self.parked.get_mut(host) {
            order.make_room();
        }
    }

    /// CAA records keep a CA from issuing for a host; they are looked at again as after any fault on our side.
    pub(super) fn exclude(&mut self, host: &Hostname, ca: CaId, text: String) {
        let now = self.now();
        let tries = self.world.exclusion(host, ca).map_or(0, |hold| hold.tries);
        // Where another may issue, nothing is held up by it.
        let mut cas = self.world.cas_of(host).iter();
        let another = cas.any(|other| *other != ca && self.world.exclusion(host, *other).is_none());
        let wait = if another {
            schedule::ca_rest(tries)
        } else {
            schedule::rest(tries).min(schedule::lookout(self.world.excluded()))
        };
        let hold = Hold {
            until: schedule::after(now, wait),
            code: "caa-excludes".to_owned(),
            text,
            tries: tries.saturating_add(1),
            told: false,
        };
        self.world.exclude(host, ca, hold);
    }

    pub(super) fn rest(
        &mut self,
        host: &Hostname,
        noted: bool,
        stage: Stage,
        fault: Fault,
        tries: u32,
        now: Timestamp,
    ) -> Rest {
        let usual = if fault.is_unseen() {
            schedule::lookout(self.parked.len())
        } else {
            schedule::rest(tries.saturating_sub(1))
        };
        let wait = match &fault.pause {
            Pause::Rest { wait, hold } => {
                // Who asks for no time at all would be asked without end.
                let named = |wait: &Option<Duration>| wait.filter(|wait| !wait.is_zero());
                if let Some((scope, asked)) = hold {
                    self.hold(host, scope.clone(), named(asked), &fault, now);
                }
                // While nothing is noted, it may go to another CA, and on as soon as what holds it ends.
                let is_held = hold.is_some() && !noted && self.is_held(host, now);
                named(wait).filter(|_| !is_held).unwrap_or(usual)
            }
            Pause::Abandon | Pause::Doom { .. } | Pause::NewKey | Pause::Stop => usual,
        };
        let Fault { code, text, .. } = fault;
        Rest {
            noted,
            stage,
            code,
            text,
            tries,
            until: schedule::after(now, wait),
        }
    }

    /// Whether what its CA has to be left alone with keeps an order for `host`.
    fn is_held(&self, host: &Hostname, now: Timestamp) -> bool {
        let ca = self.world.ca_of(host);
        let exemption = self.world.exemption(host, ca, now);
        self.world.hold_on(host, ca, exemption, now).is_some()
    }

    /// Leaves the CA of an order alone: as long as it asked, or longer each time it has trouble.
    fn hold(
        &mut self,
        host: &Hostname,
        scope: Scope,
        asked: Option<Duration>,
        fault: &Fault,
        now: Timestamp,
    ) {
        let ca = self.world.ca_of(host);
        let was_well = !self.world.ca_is_in_trouble(ca);
        let (code, text) = (&fault.code, &fault.text);
        let scope = match scope {
            Scope::Zone(None) => Scope::Zone(self.world.zone_of(host.base()).cloned()),
            scope @ (Scope::Account
            | Scope::Below(_)
            | Scope::Name
            | Scope::Order(_)
            | Scope::Orders
            | Scope::Questions
            | Scope::Zone(_)) => scope,
        };
        match (scope, asked) {
            (Scope::Order(_), asked) => {
                let least = asked.unwrap_or_default();
                self.world.meet_trouble(ca, host, least, code, text, now);
            }
            (scope, None) => self.world.leave_alone(ca, scope, code, text, now),
            (scope, Some(asked)) => {
                let before = self.world.hold_of(ca, &scope);
                let hold = Hold {
                    until: schedule::after(now, asked),
                    code: code.clone(),
                    text: text.clone(),
                    tries: before.map_or(0, |before| before.tries).saturating_add(1),
                    told: true,
                };
                self.world.set_hold(ca, scope, hold, now);
            }
        }
        if was_well
            && self.world.ca_is_in_trouble(ca)
            && let Some(hold) = self.world.hold_of(ca, &Scope::Account)
        {
            let ca = self.outside.cas.get(ca).map_or("", |ca| ca.name.as_str());
            tracing::warn!(
                ca,
                code = hold.code,
                "the CA seems to be in trouble; one order at a time asks whether that is over: {}",
                hold.text
            );
        }
    }
}

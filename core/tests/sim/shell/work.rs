//! A model of `src/act.rs` and of what `src/run.rs` does about the work on an order: it begins, makes steps, and ends.

use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Activity, Hold, Rest};
use faythe_core::budget::Spending;
use faythe_core::cas::CaId;
use faythe_core::name::Hostname;
use faythe_core::order::{CaView, Goal, Known, OrderStatus, Place, Stage, Step, next};
use faythe_core::problem::Scope;
use faythe_core::schedule::{self, after};

use super::order::{Fault, Order, Pause};
use super::{Done, Outcome, Progress, Running, Shell, Then};
use crate::laws::Laws;
use crate::outside::Outside;

impl Shell {
    pub(super) fn begin(
        &mut self,
        host: Hostname,
        goal: Goal,
        rests: u32,
        outside: &Outside,
        laws: &mut Laws,
    ) -> (Hostname, u64) {
        laws.law(
            !self.running.contains_key(&host),
            outside.now,
            "two works on one certificate",
        );
        let mut order = self
            .parked
            .remove(&host)
            .unwrap_or_else(|| Order::new(host.clone()));
        order.failures = self.world.failures(&host).cloned();
        order.given_up = self.world.given_up(&host).cloned();
        order.earlier_look = self.world.last_look(&host);
        (order.place, order.slot, order.polling) = (None, None, None);
        order.stage = Stage::Ordering;
        order.grant = self.world.grant(&host);
        order.replaces = self.world.predecessor(&host, CaId::FIRST);
        order.rule = self.world.rule(&host, &self.policy);
        self.board_of(&host).preparing.insert(host.clone(), outside.now);
        self.works += 1;
        self.running.insert(
            host.clone(),
            Running {
                work: self.works,
                rests,
                order,
                goal,
                decided: None,
                answer: None,
            },
        );
        laws.works += 1;
        (host, self.works)
    }

    /// Makes one step of the work, or takes in what became of the last one; `None` when there is no such work any more.
    pub(crate) fn step(
        &mut self,
        host: &Hostname,
        work: u64,
        outside: &mut Outside,
        laws: &mut Laws,
    ) -> Option<Then> {
        self.running.get(host).filter(|running| running.work == work)?;
        let mut running = self.running.remove(host)?;
        let _ = self.now(outside);
        running.order.clock_ahead = self.world.clock_ahead();
        let (done, progress) = match running.answer.take() {
            Some(answer) => answer,
            None => {
                let step = match running.decided.take() {
                    Some(step) => step,
                    None => {
                        let step = self.next_step(&running, outside);
                        // An order that the CA has just made is noted in any case.
                        if self.halting && step != Step::Note {
                            self.ended(running.order, Outcome::Stopped, outside);
                            return Some(Then::Ended);
                        }
                        if step.stage() != running.order.stage {
                            running.order.stage = step.stage();
                            self.world
                                .set_activity(host, Some(Activity::Running(step.stage())));
                        }
                        if let Some(wait) = outside.holds_back() {
                            running.decided = Some(step);
                            self.running.insert(host.clone(), running);
                            return Some(Then::After(wait));
                        }
                        step
                    }
                };
                laws.steps += 1;
                let mut progress = Vec::new();
                let done = self.perform(&mut running.order, &step, outside, laws, &mut progress);
                let late = outside.take_delay();
                if !late.is_zero() {
                    running.answer = Some((done, progress));
                    self.running.insert(host.clone(), running);
                    return Some(Then::After(late));
                }
                (done, progress)
            }
        };
        let now = self.now(outside);
        for progress in progress {
            self.progress(host, progress, now);
        }
        let outcome = match done {
            Ok(Done::GoOn(pause)) => {
                self.running.insert(host.clone(), running);
                return Some(Then::After(pause));
            }
            Ok(Done::Ended(outcome)) => outcome,
            Err(fault) => {
                let order = &mut running.order;
                let given_up = matches!(fault.pause, Pause::Abandon) && order.abandoned.is_none();
                // What is made of it later counts for the CA, though nobody fetches it.
                if given_up
                    && order.requested
                    && let Some(counted) = order.count_issued()
                {
                    self.progress(host, counted, now);
                }
                match running.order.settle(fault, now) {
                    Some(outcome) => outcome,
                    None => {
                        self.running.insert(host.clone(), running);
                        return Some(Then::After(Duration::ZERO));
                    }
                }
            }
        };
        if let Outcome::GivenUp(given_up) = &outcome {
            laws.gives_up(host, given_up, outside);
        }
        self.ended(running.order, outcome, outside);
        Some(Then::Ended)
    }

    /// The process dies within the step: its effect is there, and nobody knows of it.
    pub(crate) fn die_within_steps(&mut self, outside: &mut Outside, laws: &mut Laws) {
        for (_, mut running) in std::mem::take(&mut self.running) {
            if running.answer.is_none() && outside.dice.chance(500) {
                let decided = running.decided.take();
                let step = decided.unwrap_or_else(|| self.next_step(&running, outside));
                let mut order = running.order;
                let _ = self.perform(&mut order, &step, outside, laws, &mut Vec::new());
                let _ = outside.take_delay();
            }
        }
    }

    fn next_step(&mut self, running: &Running, outside: &Outside) -> Step {
        let neighbors = self.neighbors(&running.order, outside.now);
        let order = &running.order;
        let doomed = order.doom.as_ref().map(|_| CaView {
            status: OrderStatus::Invalid,
            challenges: Vec::new(),
            problem: None,
            expires: None,
            retry_after: None,
        });
        let abandoned = order.abandoned.is_some();
        let known = Known {
            goal: if abandoned { Goal::Unwanted } else { running.goal },
            place: order.place,
            note: order.note.as_ref(),
            note_in_doubt: order.note_in_doubt,
            ca: if abandoned {
                None
            } else {
                doomed.as_ref().or(order.view.as_ref())
            },
            published: order.published,
            neighbors: &neighbors,
        };
        next(&known, outside.clock())
    }

    fn progress(&mut self, host: &Hostname, progress: Progress, now: Timestamp) {
        match progress {
            Progress::CaAnswered => self.world.clear_trouble(CaId::FIRST),
            Progress::Irreplaceable => self.world.set_irreplaceable(host),
            Progress::Spent(what) => self.world.tell(host, what, now),
            Progress::Held { held, issued } => {
                if issued {
                    self.world.set_given_up(host, None);
                }
                let held = held.by(now);
                let failures = self.world.failures(host);
                if issued || failures.is_some_and(|failures| failures.is_ended_by(held.issued_at)) {
                    self.world.set_failures(host, None);
                }
                self.world.hold_ours(host, held);
            }
        }
    }

    fn ended(&mut self, order: Order, outcome: Outcome, outside: &Outside) {
        let (host, now) = (order.host.clone(), self.now(outside));
        self.board_of(&host).preparing.remove(&host);
        let lives = match outcome {
            Outcome::Blocked | Outcome::Rested(_) => order.note.is_some(),
            Outcome::Stopped => true,
            Outcome::Failed(_) | Outcome::GivenUp(_) | Outcome::Settled => false,
        };
        if !lives {
            self.world.tell(&host, Spending::Ended, now);
        }
        if let Outcome::Rested(fault) = &outcome
            && let Pause::Rest {
                hold: Some((scope @ (Scope::Below(_) | Scope::Orders), Some(wait))),
                ..
            } = &fault.pause
        {
            self.world.limit_reached(&host, scope, after(now, *wait), now);
        }
        let activity = match outcome {
            Outcome::Settled | Outcome::Stopped => None,
            Outcome::Blocked => {
                self.world.take(&host, "taken".into(), now);
                order.note.is_some().then_some(Activity::Noted)
            }
            Outcome::Failed(failures) => {
                self.world.set_failures(&host, Some(failures));
                self.world.set_given_up(&host, None);
                None
            }
            Outcome::GivenUp(given_up) => {
                self.world.set_given_up(&host, Some(given_up));
                None
            }
            Outcome::Rested(fault) => Some(Activity::Resting(self.rest(&order, &fault, now))),
        };
        if order.place == Some(Place::Open) {
            self.world.free(&host);
        }
        // Whoever reads the notes anew goes on with it from there.
        let activity = activity.filter(|_| self.acts);
        if activity.is_some() || (!self.acts && order.is_unnoted()) {
            self.parked.insert(host.clone(), order);
        }
        self.world.set_activity(&host, activity);
    }

    fn rest(&mut self, order: &Order, fault: &Fault, now: Timestamp) -> Rest {
        let usual = schedule::rest(order.tries.saturating_sub(1));
        let wait = match &fault.pause {
            Pause::Rest { wait, hold } => {
                match hold {
                    Some((Scope::Order(_), _)) => {
                        let (least, code) = (Duration::ZERO, fault.code);
                        self.world
                            .meet_trouble(CaId::FIRST, &order.host, least, code, code, now);
                    }
                    Some((scope, asked)) => self.leave_alone(scope.clone(), *asked, fault, now),
                    None => {}
                }
                wait.unwrap_or(usual)
            }
            Pause::Abandon | Pause::Doom { .. } => usual,
        };
        Rest {
            noted: order.note.is_some(),
            stage: order.stage,
            code: fault.code.into(),
            text: fault.code.into(),
            tries: order.tries,
            until: after(now, wait),
        }
    }

    fn leave_alone(&mut self, scope: Scope, asked: Option<Duration>, fault: &Fault, now: Timestamp) {
        let before = self.world.hold_of(CaId::FIRST, &scope);
        if asked.is_none() && before.is_some_and(|before| before.until > now) {
            return;
        }
        let tries = before.map_or(0, |before| before.tries).saturating_add(1);
        let until = after(now, asked.unwrap_or_else(|| schedule::ca_rest(tries - 1)));
        let code = fault.code.to_owned();
        self.world.set_hold(
            CaId::FIRST,
            scope,
            Hold {
                until,
                code: code.clone(),
                text: code,
                tries,
                told: asked.is_some(),
            },
            now,
        );
    }
}

//! The steps of an order, carried out on the models: what `src/act/steps.rs` asks, and what it takes in.

use std::time::Duration;

use faythe_core::budget::{Exemption, Spending};
use faythe_core::cert::{Held, Standing, standing};
use faythe_core::name::Hostname;
use faythe_core::order::{
    CaView, Challenge, ChallengeStatus, End, Note, OrderStatus, Place, Published, Step,
};
use faythe_core::problem::{Exchange, ProblemKind};
use faythe_core::schedule::{self, GivenUp, ahead};
use jiff::SignedDuration;

use super::order::{Fault, Order, Pause};
use super::{Done, Outcome, Progress, Shell};
use crate::laws::Laws;
use crate::outside::{ALIKE, CaFault, Leg, Outside, Saved, Trouble};

/// How long a step that waits for others is waited for before the order rests.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);
/// After so many rests a value is late, and is looked for less and less often.
const LATE: u32 = 60;
/// How long the CA may take before the order rests.
const CA_PATIENCE: SignedDuration = SignedDuration::from_secs(60);
/// How often in a row the place may change before the order rests.
const CONFLICTS: u32 = 3;

impl Shell {
    pub(super) fn perform(
        &mut self,
        order: &mut Order,
        step: &Step,
        outside: &mut Outside,
        laws: &mut Laws,
        progress: &mut Vec<Progress>,
    ) -> Result<Done, Fault> {
        let (host, life) = (order.host.clone(), self.life);
        match step {
            Step::Inspect => self.inspect(order, outside, progress)?,
            Step::Open => return self.open(order, outside, laws, progress),
            Step::Note => self.note(order, outside, laws)?,
            Step::Resume => {
                let session = order.note.as_ref().unwrap().order_url.parse().unwrap();
                let view = ask_ca(&host, outside, |outside| view(session, outside))?;
                let values = &order.note.as_ref().unwrap().values;
                values.iter().for_each(|value| self.adopt(value));
                self.take_up(order, session, view, outside, progress);
            }
            Step::Publish => {
                order.published = Published::No;
                for value in &order.note.as_ref().unwrap().values {
                    self.adopt(value);
                    let live = self.live[&value.record].clone();
                    let publish = |outside: &mut Outside| {
                        let Outside { dns, now, dice, .. } = outside;
                        dns.publish(&value.record, &live, *now, dice)
                    };
                    update(&host, outside, publish)?;
                }
                order.published = Published::Hidden;
                order.tries = 0;
            }
            Step::Look => return self.look(order, outside),
            Step::AwaitNeighbors => return Ok(Done::GoOn(Duration::from_millis(250))),
            Step::AwaitCache(until) => {
                let wait = outside.clock().duration_until(*until).unsigned_abs();
                return Err(Fault {
                    code: "ca-cache",
                    pause: Pause::Rest {
                        wait: Some(wait),
                        hold: None,
                    },
                });
            }
            Step::Tell => {
                let session = order.session.unwrap();
                self.told(&host, outside.clock());
                let view = ask_ca(&host, outside, |outside| {
                    laws.tells(life, session, outside);
                    let Outside { ca, now, dice, .. } = outside;
                    ca.tell(session, *now, dice)?;
                    view(session, outside)
                });
                order.view = Some(view.inspect_err(|_| order.is_uncertain())?);
                progress.push(Progress::CaAnswered);
                order.tries = 0;
            }
            Step::Ask | Step::AwaitCertificate => return self.wait_for_ca(order, outside, progress),
            Step::Finalize => {
                let session = order.session.unwrap();
                let view = ask_ca(&host, outside, |outside| {
                    laws.finalizes(life, session, outside);
                    let Outside { ca, now, dice, .. } = outside;
                    ca.finalize(session, *now, dice)?;
                    view(session, outside)
                });
                // An answer that was lost may have been a yes.
                order.requested =
                    !matches!(&view, Err(fault) if !matches!(fault.code, "ca-unreachable" | "order-gone"));
                order.view = Some(view.inspect_err(|_| order.is_uncertain())?);
                order.doom_if_invalid(outside.clock());
                progress.push(Progress::CaAnswered);
                order.tries = 0;
            }
            Step::Store => return self.store(order, outside, laws, progress),
            Step::GiveUp => {
                let made = order.session.map(|session| &outside.ca.orders[session]);
                // By the CA's clock, or so it seems by ours.
                if made.is_some_and(|made| laws.seemed_over(made, outside.now)) {
                    outside.went_wrong(&host, Trouble::Gone);
                }
                return Err(Fault {
                    code: "order-expired",
                    pause: Pause::Abandon,
                });
            }
            Step::Withdraw => {
                order.published = Published::No;
                for value in &order.note.as_ref().unwrap().values {
                    if let Some(live) = self.live.get_mut(&value.record) {
                        live.remove(&value.value);
                    }
                    update(&host, outside, |outside| outside.dns.withdraw(value))?;
                }
                order.published = Published::Withdrawn;
                self.settled(&host, outside.clock());
            }
            Step::RecordFailure => {
                let failures = order.doom.clone().unwrap();
                let saved = Saved {
                    failures: Some(failures.clone()),
                    ..Saved::default()
                };
                if let Err(fault) = self.notes.save(&host, &saved, outside) {
                    let is_conflict = fault.code == "store-conflict";
                    let there = if is_conflict {
                        self.notes.one(&host, outside)?
                    } else {
                        None
                    };
                    if there.is_none_or(|there| there.order.is_some()) {
                        return Err(fault);
                    }
                    self.notes.save(&host, &saved, outside)?;
                }
                return Ok(Done::Ended(Outcome::Failed(failures)));
            }
            Step::Forget => {
                order.note_in_doubt = true;
                let now = outside.clock();
                let given_up = order.abandoned.as_ref().map(|fault| order.given_up(fault, now));
                if order.failures.is_some() || given_up.is_some() {
                    self.save_history(order, given_up.clone(), outside)?;
                } else {
                    self.notes.forget(&host, outside)?;
                }
                order.tallied = given_up;
                (order.note, order.note_in_doubt) = (None, false);
                (order.session, order.view) = (None, None);
                order.published = Published::No;
            }
            Step::End(end) => {
                return Ok(Done::Ended(match (order.abandoned.take(), end) {
                    (Some(fault), _) => self.give_up(order, &fault, outside),
                    (None, End::Blocked) => Outcome::Blocked,
                    (None, End::Settled) => Outcome::Settled,
                }));
            }
        }
        Ok(Done::GoOn(Duration::from_millis(
            outside.dice.between(1, 200).unsigned_abs(),
        )))
    }

    fn save_history(
        &mut self,
        order: &Order,
        given_up: Option<GivenUp>,
        outside: &mut Outside,
    ) -> Result<(), Fault> {
        let saved = Saved {
            order: None,
            failures: order.failures.clone(),
            given_up,
        };
        self.notes.save(&order.host, &saved, outside)
    }

    /// Brings an order of no use to its end; that is counted in this process only where it cannot be saved.
    fn give_up(&mut self, order: &mut Order, fault: &Fault, outside: &mut Outside) -> Outcome {
        order.is_uncertain();
        let given_up = order.tallied.take().unwrap_or_else(|| {
            let given_up = order.given_up(fault, outside.clock());
            let _ = self.save_history(order, Some(given_up.clone()), outside);
            given_up
        });
        Outcome::GivenUp(given_up)
    }

    fn inspect(
        &mut self,
        order: &mut Order,
        outside: &mut Outside,
        progress: &mut Vec<Progress>,
    ) -> Result<(), Fault> {
        let host = &order.host;
        let look = |outside: &mut Outside| {
            let foreign = outside.cluster.is_taken(host);
            (foreign, outside.cluster.held(host).cloned())
        };
        let found = outside.ask(Leg::Cluster, host, look);
        let (foreign, held) = found.ok_or_else(|| Fault::own("store-unavailable"))?;
        let held = held.map(|held| held.by(outside.clock()));
        order.slot = held.as_ref().map(|held| held.version.clone());
        let facts = held.as_ref().and_then(|held| held.content.as_ref().ok());
        order.found = facts.and_then(|facts| facts.id.clone());
        let replaced = held.as_ref().zip(order.note.as_ref());
        let replaced = replaced.is_some_and(|(held, note)| note.replaces(held));
        let served = standing(host, held.iter(), order.rule, outside.clock());
        order.place = Some(if foreign {
            Place::Taken
        } else if matches!(served, Standing::Fine { .. }) && !replaced {
            let issued = held.as_ref().and_then(|held| held.issued_at);
            order.failures.take_if(|failures| failures.is_ended_by(issued));
            progress.extend(held.map(|held| Progress::Held { held, issued: false }));
            Place::Served
        } else {
            Place::Open
        });
        Ok(())
    }

    fn open(
        &mut self,
        order: &mut Order,
        outside: &mut Outside,
        laws: &mut Laws,
        progress: &mut Vec<Progress>,
    ) -> Result<Done, Fault> {
        let (host, life) = (order.host.clone(), self.life);
        let Some(grant) = order.grant.take() else {
            return Ok(Done::Ended(Outcome::Settled));
        };
        laws.passes_over(self, &host, outside);
        // Only what replaces one is not counted.
        let has_to_replace = grant.exemption() == Exemption::Window;
        let hint = self.world.hint(&host);
        let (mut made, mut limited, mut irreplaceable) = (None, None, false);
        let opened = outside.ask(Leg::Ca, &host, |outside| {
            laws.opens(&host, outside);
            if has_to_replace {
                laws.exempts(&host, hint.as_ref(), outside);
            }
            let replaces = order
                .replaces
                .as_ref()
                .filter(|_| outside.ca.habits.renewal_info.is_some());
            laws.names(life, &host, replaces, outside);
            let mut opened = outside.ca.open(&host, replaces, outside.now);
            // Once again without it.
            if let (Some(_), Err(CaFault::Refused(problem))) = (replaces, &opened)
                && problem.is_about_predecessor()
            {
                if has_to_replace {
                    irreplaceable = true;
                    return Err(CaFault::Refused(problem.clone()));
                }
                opened = outside.ca.open(&host, None, outside.now);
            }
            if let Err(CaFault::Refused(problem)) = &opened {
                limited = (problem.kind == ProblemKind::RateLimited).then(|| problem.clone());
            }
            let (session, fresh) = opened?;
            made = Some(session);
            laws.ordered(session, fresh, outside);
            Ok((session, view(session, outside)?))
        });
        if let Some(problem) = limited {
            let heard = opened.is_some().then(|| outside.answer_at());
            laws.limited(self.life, &host, &problem, heard, outside);
        }
        match &opened {
            Some(Ok(_)) => {}
            // Not the name.
            Some(Err(_)) if irreplaceable => {}
            Some(Err(_)) => laws.is_refused(&host, outside),
            None => laws.untold.extend(made),
        }
        progress.push(Progress::Spent(match &opened {
            Some(Err(CaFault::Refused(_))) => Spending::Refused,
            // An answer that was lost may have been a yes.
            Some(Err(CaFault::Gone) | Ok(_)) | None => Spending::Ordered,
        }));
        if irreplaceable && opened.is_some() {
            laws.is_irreplaceable(life, order.replaces.as_ref());
            progress.push(Progress::Irreplaceable);
            return Ok(Done::Ended(Outcome::Settled));
        }
        let (session, view) = answered(&host, outside, opened, Exchange::NewOrder)?;
        (order.counted, order.requested) = (false, false);
        self.take_up(order, session, view, outside, progress);
        progress.push(Progress::CaAnswered);
        order.tries = 0;
        Ok(Done::GoOn(Duration::from_millis(
            outside.dice.between(1, 200).unsigned_abs(),
        )))
    }

    fn note(&mut self, order: &mut Order, outside: &mut Outside, laws: &mut Laws) -> Result<(), Fault> {
        let host = order.host.clone();
        let note = order.note.clone().unwrap_or_else(|| {
            let view = order.view.as_ref().unwrap();
            Note {
                host: host.clone(),
                order_url: order.session.unwrap().to_string(),
                directory: None,
                values: view
                    .challenges
                    .iter()
                    .map(|challenge| challenge.value.clone())
                    .collect(),
                route: None,
                replaces: order.found.clone(),
                created: outside.clock(),
                expires: view.expires,
            }
        });
        let saved = Saved {
            order: Some(note.clone()),
            failures: order.failures.clone(),
            given_up: order.given_up.clone(),
        };
        let well = self.notes.save(&host, &saved, outside);
        // Whether or not it is known.
        if outside.cluster.noted(&host).is_some_and(|there| *there == note) {
            laws.noted.insert(note.order_url.parse().unwrap());
        }
        let Err(fault) = well else {
            (order.note, order.note_in_doubt) = (Some(note), false);
            // Another leader may have left a certificate meanwhile.
            order.place = None;
            order.tries = 0;
            return Ok(());
        };
        if fault.code != "store-conflict" {
            (order.note, order.note_in_doubt) = (Some(note), true);
            return Err(fault);
        }
        // Another instance was first; its order is the one that goes on.
        let there = self.notes.one(&host, outside)?;
        (order.session, order.view, order.place) = (None, None, None);
        (order.note, order.note_in_doubt) = (None, false);
        if let Some(there) = &there {
            order.given_up.clone_from(&there.given_up);
        }
        match there {
            Some(Saved {
                order: Some(note),
                failures,
                ..
            }) => {
                (order.failures, order.note) = (failures, Some(note));
                Ok(())
            }
            Some(Saved {
                failures: Some(failures),
                ..
            }) => {
                order.doom = Some(failures);
                Ok(())
            }
            Some(_) | None => Err(fault),
        }
    }

    fn look(&mut self, order: &mut Order, outside: &mut Outside) -> Result<Done, Fault> {
        let note = order.note.as_ref().unwrap();
        let values = &note.values;
        let shown = outside.ask(Leg::Dns, &order.host, |outside| {
            values.iter().all(|value| outside.dns.shows(value, outside.now))
        });
        if shown == Some(true) {
            order.published = Published::Shown(outside.clock());
            (order.tries, order.polling) = (0, None);
            self.board_of(&order.host).preparing.remove(&order.host);
            return Ok(Done::GoOn(Duration::from_millis(
                outside.dice.between(1, 200).unsigned_abs(),
            )));
        }
        let fault = if shown.is_some() {
            outside.went_wrong(&order.host, Trouble::Hidden);
            if order.tries < LATE {
                Fault::waiting("not-visible", 2)
            } else {
                Fault::own("not-visible")
            }
        } else {
            Fault::waiting("dns-silent", 5)
        };
        let patience = if order.tries == 0 {
            PATIENCE
        } else {
            SignedDuration::ZERO
        };
        order.poll(outside.now, patience, fault)
    }

    fn wait_for_ca(
        &mut self,
        order: &mut Order,
        outside: &mut Outside,
        progress: &mut Vec<Progress>,
    ) -> Result<Done, Fault> {
        let (host, session) = (order.host.clone(), order.session.unwrap());
        let before = order.view.as_ref().unwrap().status;
        let view = ask_ca(&host, outside, |outside| view(session, outside));
        let view = view.inspect_err(|_| order.is_uncertain())?;
        let same = view.status == before;
        if before == OrderStatus::Pending && view.status == OrderStatus::Invalid {
            progress.push(Progress::Spent(Spending::Failed));
        }
        order.view = Some(view);
        if same && order.deadline().is_some_and(|at| at <= outside.clock()) {
            outside.went_wrong(&host, Trouble::Gone);
            return Err(Fault {
                code: "order-expired",
                pause: Pause::Abandon,
            });
        }
        if same {
            outside.went_wrong(&host, Trouble::CaSlow);
            let mut fault = Fault::own("ca-slow");
            if schedule::is_hopeless(order.tries) {
                fault.pause = Pause::Abandon;
            }
            let patience = if order.tries == 0 {
                CA_PATIENCE
            } else {
                SignedDuration::ZERO
            };
            return order.poll(outside.now, patience, fault);
        }
        if before == OrderStatus::Pending {
            self.settled(&host, outside.clock());
        }
        let valid = order.view.as_ref().unwrap().status == OrderStatus::Valid;
        progress.extend(valid.then(|| order.count_issued()).flatten());
        order.doom_if_invalid(outside.clock());
        progress.push(Progress::CaAnswered);
        (order.tries, order.polling) = (0, None);
        Ok(Done::GoOn(Duration::from_millis(
            outside.dice.between(1, 200).unsigned_abs(),
        )))
    }

    fn take_up(
        &mut self,
        order: &mut Order,
        session: usize,
        view: CaView,
        outside: &Outside,
        progress: &mut Vec<Progress>,
    ) {
        if view.challenges.is_empty() {
            self.board_of(&order.host).preparing.remove(&order.host);
        }
        if view.status == OrderStatus::Pending {
            // Now it is known how far it was.
            self.board_of(&order.host).earlier.remove(&session.to_string());
            let looking = |challenge: &Challenge| challenge.status == ChallengeStatus::Processing;
            if view.challenges.iter().any(looking) {
                let noted = order.note.as_ref().map(|note| note.created);
                let since = noted.unwrap_or_else(|| outside.clock());
                self.told(&order.host, since);
            }
        }
        if view.status == OrderStatus::Invalid {
            progress.push(Progress::Spent(Spending::Failed));
        }
        let valid = view.status == OrderStatus::Valid;
        progress.extend(valid.then(|| order.count_issued()).flatten());
        order.requested = view.status == OrderStatus::Processing;
        (order.session, order.view) = (Some(session), Some(view));
        order.doom_if_invalid(outside.clock());
    }

    fn store(
        &mut self,
        order: &mut Order,
        outside: &mut Outside,
        laws: &mut Laws,
        progress: &mut Vec<Progress>,
    ) -> Result<Done, Fault> {
        let (host, session) = (order.host.clone(), order.session.unwrap());
        let facts = ask_ca(&host, outside, |outside| {
            outside.ca.certificate(session, outside.now)
        });
        let now = outside.clock();
        let facts = match facts {
            Ok(facts) => facts,
            Err(fault) => {
                let lapsed = order.deadline().is_some_and(|at| at <= now);
                order.is_uncertain();
                let again = matches!(fault.pause, Pause::Abandon) && !lapsed;
                return Err(if again {
                    fault.after(schedule::ca_rest(order.tries))
                } else {
                    fault
                });
            }
        };
        progress.push(Progress::CaAnswered);
        if facts.not_before > now {
            return Err(Fault::slow_clock(now, facts.not_before));
        }
        if facts.not_after <= now {
            outside.went_wrong(&host, Trouble::No);
            return Err(Fault {
                code: "bad-chain",
                pause: Pause::Doom {
                    parked: false,
                    wait: None,
                },
            });
        }
        let held = Held {
            secret: crate::outside::secret_name(&host).into(),
            version: "".into(),
            content: Ok(facts),
            issued_at: Some(now),
            renew: None,
            made_by: None,
            origin: None,
        };
        let slot = order.slot.as_deref();
        let kept = outside.ask(Leg::Cluster, &host, |outside| {
            let kept = outside.cluster.keep(&host, slot, held);
            if kept.is_ok() {
                laws.stored(&host, session, outside);
            }
            kept
        });
        match kept {
            Some(Ok(held)) => {
                order.place = Some(Place::Served);
                (order.failures, order.tries) = (None, 0);
                progress.push(Progress::Held { held, issued: true });
                Ok(Done::GoOn(Duration::from_millis(20)))
            }
            Some(Err(_)) if order.tries < CONFLICTS => {
                order.tries += 1;
                order.place = None;
                Ok(Done::GoOn(Duration::ZERO))
            }
            Some(Err(_)) => {
                outside.went_wrong(&host, Trouble::Conflict);
                Err(Fault::own("store-conflict"))
            }
            None => Err(Fault::own("store-unavailable")),
        }
    }
}

/// Something asked of the CA about an order that exists.
fn ask_ca<T>(
    host: &Hostname,
    outside: &mut Outside,
    exchange: impl FnOnce(&mut Outside) -> Result<T, CaFault>,
) -> Result<T, Fault> {
    let answer = outside.ask(Leg::Ca, host, exchange);
    answered(host, outside, answer, Exchange::Order)
}

/// How the CA shows an order; a time that it names goes by its clock, and is told by ours.
fn view(session: usize, outside: &Outside) -> Result<CaView, CaFault> {
    let view = outside.ca.view(session, outside.now)?;
    let by = outside.clock_ahead - outside.ca.clock_ahead;
    let by = if by.abs() < ALIKE {
        SignedDuration::ZERO
    } else {
        by
    };
    let expires = view.expires.map(|at| ahead(at, by));
    Ok(CaView { expires, ..view })
}

/// What an answer of the CA means, or that there is none.
fn answered<T>(
    host: &Hostname,
    outside: &mut Outside,
    answer: Option<Result<T, CaFault>>,
    during: Exchange,
) -> Result<T, Fault> {
    match answer {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(fault)) => {
            outside.went_wrong(
                host,
                match fault {
                    CaFault::Gone => Trouble::Gone,
                    CaFault::Refused(_) => Trouble::No,
                },
            );
            Err(Fault::ca(fault, during))
        }
        None => Err(Fault::unreachable()),
    }
}

/// An update of a zone.
fn update(
    host: &Hostname,
    outside: &mut Outside,
    exchange: impl FnOnce(&mut Outside) -> Result<(), crate::outside::Refused>,
) -> Result<(), Fault> {
    match outside.ask(Leg::Dns, host, exchange) {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) => {
            outside.went_wrong(host, Trouble::Refused);
            Err(Fault::own("badkey"))
        }
        None => Err(Fault::own("dns-unreachable")),
    }
}

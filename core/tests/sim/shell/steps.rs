//! The steps of an order, carried out on the models.

use std::time::Duration;

use faythe_core::budget::Spending;
use faythe_core::cert::{Held, Standing, standing};
use faythe_core::order::{Challenge, ChallengeStatus, End, Note, OrderStatus, Place, Published, Step};
use faythe_core::problem::Exchange;
use faythe_core::schedule;
use jiff::SignedDuration;

use super::order::{Fault, Order, Pause, order_fault};
use super::{Done, Outcome, Progress, Shell};
use crate::laws::Laws;
use crate::outside::{CaFault, Outside, Saved, secret_name};

/// How long a step that waits for others is waited for before the order rests.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);
/// How long the CA may take before the order rests.
const CA_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

impl Shell {
    pub(super) fn perform(
        &mut self,
        order: &mut Order,
        step: &Step,
        outside: &mut Outside,
        laws: &mut Laws,
        progress: &mut Vec<Progress>,
    ) -> Result<Done, Fault> {
        let now = outside.now;
        let host = order.host.clone();
        match step {
            Step::Inspect => {
                outside.reach_cluster()?;
                let held = outside
                    .cluster
                    .secrets
                    .get(&secret_name(&host))
                    .map(|(_, held)| held.clone());
                order.slot = held.as_ref().map(|held| held.version.clone());
                let served = standing(&host, held.iter(), self.policy.threshold, now);
                order.place = Some(if outside.cluster.foreign.contains(&secret_name(&host)) {
                    Place::Taken
                } else if matches!(served, Standing::Fine { .. }) {
                    progress.extend(held.map(|held| Progress::Held { held, issued: false }));
                    Place::Served
                } else {
                    Place::Open
                });
            }
            Step::Open => {
                if order.grant.take().is_none() {
                    return Ok(Done::Ended(Outcome::Settled));
                }
                laws.opens(&host, outside);
                let opened = outside.ca.open(&host, now);
                progress.push(Progress::Spent(match &opened {
                    Err(CaFault::Refused(_)) => Spending::Refused,
                    Err(CaFault::Gone | CaFault::Unreachable) | Ok(_) => Spending::Ordered,
                }));
                order.counted = false;
                let (session, fresh) = opened.map_err(|fault| Fault::ca(fault, Exchange::NewOrder))?;
                laws.ordered(session, fresh, outside);
                progress.push(Progress::CaAnswered);
                self.take_up(order, session, outside)?;
                order.tries = 0;
            }
            Step::Note => {
                outside.reach_cluster()?;
                let session = order.session.unwrap();
                let there = outside.cluster.notes.get(&host).cloned().unwrap_or_default();
                if there
                    .order
                    .as_ref()
                    .is_some_and(|note| note.order_url != session.to_string())
                {
                    // Another instance was first; its order is the one that goes on.
                    (order.session, order.view, order.place) = (None, None, None);
                    (order.failures, order.note) = (there.failures, there.order);
                    return Ok(Done::GoOn(Duration::ZERO));
                }
                let view = order.view.as_ref().unwrap();
                let note = Note {
                    host: host.clone(),
                    order_url: session.to_string(),
                    directory: None,
                    values: view
                        .challenges
                        .iter()
                        .map(|challenge| challenge.value.clone())
                        .collect(),
                    route: None,
                    created: now,
                    expires: view.expires,
                };
                let saved = Saved {
                    order: Some(note.clone()),
                    failures: order.failures.clone(),
                };
                outside.cluster.save(&host, saved);
                laws.noted.insert(session);
                order.note = Some(note);
                // Another leader may have left a certificate meanwhile.
                order.place = None;
                order.tries = 0;
            }
            Step::Resume => {
                let session = order.note.as_ref().unwrap().order_url.parse().unwrap();
                self.take_up(order, session, outside)?;
            }
            Step::Publish => {
                order.published = Published::No;
                for value in &order.note.as_ref().unwrap().values {
                    outside
                        .dns
                        .publish(value, now, &mut outside.dice)
                        .map_err(|()| Fault::own("badkey"))?;
                }
                order.published = Published::Hidden;
                order.tries = 0;
            }
            Step::Look => {
                let note = order.note.as_ref().unwrap();
                if note.values.iter().all(|value| outside.dns.shows(value, now)) {
                    order.published = Published::Shown(now);
                    (order.tries, order.polling) = (0, None);
                    self.board_of(&host).preparing.remove(&host);
                } else {
                    let patience = if order.tries == 0 {
                        PATIENCE
                    } else {
                        SignedDuration::ZERO
                    };
                    return order.poll(now, patience, Fault::waiting("not-visible", 2));
                }
            }
            Step::AwaitNeighbors => return Ok(Done::GoOn(Duration::from_millis(250))),
            Step::AwaitCache(until) => {
                let wait = now.duration_until(*until).unsigned_abs();
                return Err(Fault {
                    code: "ca-cache",
                    pause: Pause::Rest {
                        wait: Some(wait),
                        hold: None,
                    },
                });
            }
            Step::Tell => {
                let visible = order
                    .note
                    .as_ref()
                    .unwrap()
                    .values
                    .iter()
                    .all(|value| outside.dns.shows(value, now));
                let session = order.session.unwrap();
                laws.tells(session, visible, outside);
                self.told(&host, now);
                outside
                    .ca
                    .tell(session, now, &mut outside.dice)
                    .map_err(order_fault)?;
                order.view = Some(outside.ca.view(session, now).map_err(order_fault)?);
                progress.push(Progress::CaAnswered);
                order.tries = 0;
            }
            Step::Ask | Step::AwaitCertificate => {
                let before = order.view.as_ref().unwrap().status;
                let view = outside
                    .ca
                    .view(order.session.unwrap(), now)
                    .map_err(order_fault)?;
                let same = view.status == before;
                if before == OrderStatus::Pending && view.status == OrderStatus::Invalid {
                    progress.push(Progress::Spent(Spending::Failed));
                }
                order.view = Some(view);
                if same {
                    let mut fault = Fault::own("ca-slow");
                    if schedule::is_hopeless(order.tries) {
                        fault.pause = Pause::Abandon;
                    }
                    let patience = if order.tries == 0 {
                        CA_PATIENCE
                    } else {
                        SignedDuration::ZERO
                    };
                    return order.poll(now, patience, fault);
                }
                if before == OrderStatus::Pending {
                    self.settled(&host, now);
                }
                order.doom_if_invalid(now);
                progress.push(Progress::CaAnswered);
                (order.tries, order.polling) = (0, None);
            }
            Step::Finalize => {
                let session = order.session.unwrap();
                laws.finalizes(session, outside);
                outside
                    .ca
                    .finalize(session, now, &mut outside.dice)
                    .map_err(order_fault)?;
                order.view = Some(outside.ca.view(session, now).map_err(order_fault)?);
                progress.push(Progress::CaAnswered);
                order.tries = 0;
            }
            Step::Store => return self.store(order, outside, laws, progress),
            Step::Withdraw => {
                order.published = Published::No;
                for value in &order.note.as_ref().unwrap().values {
                    outside.dns.withdraw(value).map_err(|()| Fault::own("badkey"))?;
                }
                order.published = Published::Withdrawn;
                self.settled(&host, now);
            }
            Step::RecordFailure => {
                outside.reach_cluster()?;
                let failures = order.doom.clone().unwrap();
                outside.cluster.save(
                    &host,
                    Saved {
                        order: None,
                        failures: Some(failures.clone()),
                    },
                );
                return Ok(Done::Ended(Outcome::Failed(failures)));
            }
            Step::Forget => {
                outside.reach_cluster()?;
                outside.cluster.save(
                    &host,
                    Saved {
                        order: None,
                        failures: order.failures.clone(),
                    },
                );
                (order.note, order.session, order.view) = (None, None, None);
                order.published = Published::No;
            }
            Step::End(end) => {
                return Ok(Done::Ended(match (order.abandoned.take(), end) {
                    (Some(fault), _) => order.rested(fault),
                    (None, End::Blocked) => Outcome::Blocked,
                    (None, End::Settled) => Outcome::Settled,
                }));
            }
        }
        Ok(Done::GoOn(Duration::from_millis(
            outside.dice.between(1, 200).unsigned_abs(),
        )))
    }

    fn take_up(&mut self, order: &mut Order, session: usize, outside: &Outside) -> Result<(), Fault> {
        let view = outside.ca.view(session, outside.now).map_err(order_fault)?;
        if view.challenges.is_empty() {
            self.board_of(&order.host).preparing.remove(&order.host);
        }
        if view.status == OrderStatus::Pending {
            // Now it is known how far it was.
            self.board_of(&order.host).earlier.remove(&session.to_string());
            let looking = |challenge: &Challenge| challenge.status == ChallengeStatus::Processing;
            if view.challenges.iter().any(looking) {
                let since = order.note.as_ref().map_or(outside.now, |note| note.created);
                self.told(&order.host, since);
            }
        }
        (order.session, order.view) = (Some(session), Some(view));
        order.doom_if_invalid(outside.now);
        Ok(())
    }

    fn store(
        &mut self,
        order: &mut Order,
        outside: &mut Outside,
        laws: &mut Laws,
        progress: &mut Vec<Progress>,
    ) -> Result<Done, Fault> {
        let now = outside.now;
        let facts = outside
            .ca
            .certificate(order.session.unwrap(), now)
            .map_err(order_fault)?;
        progress.push(Progress::CaAnswered);
        if !std::mem::replace(&mut order.counted, true) {
            progress.push(Progress::Spent(Spending::Issued));
        }
        outside.reach_cluster()?;
        let name = secret_name(&order.host);
        let there = outside
            .cluster
            .secrets
            .get(&name)
            .map(|(_, held)| held.version.clone());
        if there != order.slot || outside.cluster.foreign.contains(&name) {
            order.place = None;
            order.conflicts += 1;
            return if order.conflicts > 3 {
                Err(Fault::own("store-conflict"))
            } else {
                Ok(Done::GoOn(Duration::ZERO))
            };
        }
        let held = Held {
            secret: name.into(),
            version: "".into(),
            content: Ok(facts),
            issued_at: Some(now),
            renew: false,
            made_by: None,
        };
        let held = outside.cluster.write(&order.host, held);
        laws.stored(&order.host, order.session.unwrap(), now);
        order.place = Some(Place::Served);
        (order.failures, order.tries) = (None, 0);
        progress.push(Progress::Held { held, issued: true });
        Ok(Done::GoOn(Duration::from_millis(20)))
    }
}

impl Outside {
    fn reach_cluster(&self) -> Result<(), Fault> {
        if self.cluster.down {
            Err(Fault::own("store-unavailable"))
        } else {
            Ok(())
        }
    }
}

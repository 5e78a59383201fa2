//! One writer for each zone: everything that waits while one message is under way goes out in the next.
//!
//! Owns the live values at each name (S09) and who waits for which name. A refused message is sent again in halves, so
//! that a bad name ends alone and hurts no other (P15). Must not retry anything that the server has judged by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::base::{Name, Ttl};
use faythe_core::name::RecordName;
use tokio::sync::{Notify, oneshot};

use crate::dns::courier::{Courier, Failure, Fault};
use crate::dns::update::{Change, compose, overhead, wire_name};
use crate::dns::{DnsError, Foreign, UpdateFault};

/// A zone with everything that waits to be written to it.
pub(crate) struct Zone {
    courier: Courier,
    ttl: Ttl,
    /// The zone's own rule.
    foreign: Foreign,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    /// Values that may stand at a name: published or adopted, and not withdrawn since.
    live: BTreeMap<RecordName, BTreeSet<String>>,
    queue: Vec<Job>,
}

/// One call that waits.
struct Job {
    record: RecordName,
    wire: Name<Vec<u8>>,
    wish: Wish,
    done: Waiter,
}

enum Wish {
    Publish(Foreign),
    Withdraw(String),
}

type Outcome = Result<(), DnsError>;
type Waiter = oneshot::Sender<Outcome>;

/// All that waits for one name; never split.
struct Unit {
    record: RecordName,
    wire: Name<Vec<u8>>,
    /// Whether the live values are written, and what then becomes of others.
    publish: Option<Foreign>,
    removals: BTreeSet<String>,
    waiters: Vec<Waiter>,
}

impl Zone {
    pub(crate) fn new(courier: Courier, ttl: Duration, foreign: Foreign) -> Self {
        Self {
            courier,
            ttl: Ttl::from_duration_lossy(ttl),
            foreign,
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Counts `value` among the live ones.
    pub(crate) fn adopt(&self, record: &RecordName, value: &str) {
        self.state()
            .live
            .entry(record.clone())
            .or_default()
            .insert(value.to_owned());
    }

    /// Writes the live values at `record`, `value` among them.
    pub(crate) async fn publish(&self, record: &RecordName, value: &str, foreign: Foreign) -> Outcome {
        self.adopt(record, value);
        let foreign = match self.foreign {
            Foreign::Kept => Foreign::Kept,
            Foreign::Removed => foreign,
        };
        self.wait(record, Wish::Publish(foreign)).await
    }

    /// Removes `value` from the live ones and from `record`.
    pub(crate) async fn withdraw(&self, record: &RecordName, value: &str) -> Outcome {
        {
            let mut state = self.state();
            if let Some(values) = state.live.get_mut(record) {
                values.remove(value);
                if values.is_empty() {
                    state.live.remove(record);
                }
            }
        }
        self.wait(record, Wish::Withdraw(value.to_owned())).await
    }

    async fn wait(&self, record: &RecordName, wish: Wish) -> Outcome {
        let wire = wire_name(record.as_str()).map_err(|fault| self.unsent(fault))?;
        let (done, outcome) = oneshot::channel();
        self.state().queue.push(Job {
            record: record.clone(),
            wire,
            wish,
            done,
        });
        self.wake.notify_one();
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.unsent(UpdateFault::Unreachable("we are about to end".to_owned()))),
        }
    }

    /// Writes whatever waits, for ever. There must be one such task for each zone.
    pub(crate) async fn write(self: Arc<Self>) {
        loop {
            let units = gather(mem::take(&mut self.state().queue));
            if units.is_empty() {
                self.wake.notified().await;
            } else {
                self.settle(units).await;
            }
        }
    }

    /// Brings every unit to its end.
    async fn settle(&self, units: Vec<Unit>) {
        let mut pending = VecDeque::from([units]);
        while let Some(mut batch) = pending.pop_front() {
            let mut rest = Vec::new();
            let sent = self
                .courier
                .deliver(&mut |room| self.compose(&mut batch, &mut rest, room))
                .await;
            if !rest.is_empty() {
                pending.push_front(rest);
            }
            match sent {
                Ok(()) => batch.into_iter().for_each(|unit| unit.end(&Ok(()))),
                Err(failure) if batch.len() > 1 && is_about_some(&failure.fault) => {
                    let second = batch.split_off(batch.len() / 2);
                    pending.push_front(second);
                    pending.push_front(batch);
                }
                Err(failure) => {
                    // When nobody answers, the rest would only wait in vain, one time-out after another.
                    let silent = matches!(failure.fault, Fault::Late(_) | Fault::Silent(_));
                    let outcome = Err(self.error(failure));
                    let rest = if silent {
                        mem::take(&mut pending)
                    } else {
                        VecDeque::new()
                    };
                    batch
                        .into_iter()
                        .chain(rest.into_iter().flatten())
                        .for_each(|unit| unit.end(&outcome));
                }
            }
        }
    }

    /// Writes as much of `batch` as fits into a message of `room` octets, at least one unit; what does not fit goes to the
    /// front of `rest`.
    ///
    /// Looks at the live values as they are now, so that a message that goes out late says what is true then.
    fn compose(
        &self,
        batch: &mut Vec<Unit>,
        rest: &mut Vec<Unit>,
        room: usize,
    ) -> Result<Vec<u8>, UpdateFault> {
        let apex = &self.courier.apex;
        let mut size = overhead(apex);
        let mut changes = Vec::with_capacity(batch.len());
        {
            let state = self.state();
            for unit in batch.iter() {
                let change = unit.change(state.live.get(&unit.record));
                size += change.size(&unit.wire);
                if size > room && !changes.is_empty() {
                    break;
                }
                changes.push(change);
            }
        }
        let mut over = batch.split_off(changes.len());
        over.append(rest);
        *rest = over;
        compose(apex, self.ttl, batch.iter().map(|unit| &unit.wire).zip(&changes))
    }

    fn error(&self, failure: Failure) -> DnsError {
        DnsError {
            zone: self.courier.apex.clone(),
            server: failure.server,
            key: self.courier.signer.name(),
            cause: failure.fault.into_update(),
            more: failure.more,
        }
    }

    /// An error before anything was sent.
    fn unsent(&self, fault: UpdateFault) -> DnsError {
        self.error(Failure {
            fault: Fault::Judged(fault),
            server: self.courier.fleet.name(),
            more: Vec::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts together what waits for the same name, in the order in which the names came.
fn gather(jobs: Vec<Job>) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut places = BTreeMap::new();
    for job in jobs {
        let place = *places.entry(job.record.clone()).or_insert_with(|| {
            let (record, wire) = (job.record, job.wire);
            units.push(Unit {
                record,
                wire,
                publish: None,
                removals: BTreeSet::new(),
                waiters: Vec::new(),
            });
            units.len() - 1
        });
        let Some(unit) = units.get_mut(place) else {
            continue;
        };
        match job.wish {
            // A name that is one order's own and reached by another through a delegation is treated as the first has it.
            Wish::Publish(Foreign::Removed) => unit.publish = Some(Foreign::Removed),
            Wish::Publish(Foreign::Kept) => unit.publish = unit.publish.or(Some(Foreign::Kept)),
            Wish::Withdraw(value) => {
                unit.removals.insert(value);
            }
        }
        unit.waiters.push(job.done);
    }
    units
}

impl Unit {
    /// What becomes of the name while `live` are the values that may stand there.
    fn change(&self, live: Option<&BTreeSet<String>>) -> Change {
        if self.publish == Some(Foreign::Removed) {
            return Change::Replace(live.cloned().unwrap_or_default());
        }
        // A value that has come to life again since its withdrawal stays.
        let dead = |value: &&String| !live.is_some_and(|live| live.contains(*value));
        Change::Amend {
            remove: self.removals.iter().filter(dead).cloned().collect(),
            add: self.publish.and(live).cloned().unwrap_or_default(),
        }
    }

    /// Tells all who wait; who has gone meanwhile does not mind.
    fn end(self, outcome: &Outcome) {
        for waiter in self.waiters {
            let _ = waiter.send(outcome.clone());
        }
    }
}

/// Whether a part of the message may fare better than the whole.
fn is_about_some(fault: &Fault) -> bool {
    match fault {
        Fault::Judged(fault) => match fault {
            // Knot says BADKEY where its ACL does not let the key change a name (measured with 3.2.6).
            UpdateFault::BadKey
            | UpdateFault::Format(_)
            | UpdateFault::NotZone
            | UpdateFault::Rcode(_)
            | UpdateFault::Refused(_)
            | UpdateFault::ServFail => true,
            // These are about the secret, the clock, the zone or the way.
            UpdateFault::BadSig
            | UpdateFault::BadSigTwice
            | UpdateFault::BadTime { .. }
            | UpdateFault::BadTrunc
            | UpdateFault::Forged(_)
            | UpdateFault::NoLeave
            | UpdateFault::NotAuth
            | UpdateFault::NotImp
            | UpdateFault::Unreachable(_) => false,
        },
        Fault::Late(_) | Fault::Silent(_) => false,
        Fault::TooLong(_) => true,
    }
}

#[cfg(test)]
mod tests;

//! One writer for each zone: everything that waits while one message is under way goes out in the next.
//!
//! Owns the live values at each name (S09) and who waits for which name. A refused message is sent again in halves, so
//! that a bad name ends alone and hurts no other (P15). Must not retry anything that the server has judged by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::base::{Name, Ttl};
use faythe_core::name::{DnsName, RecordName};
use tokio::sync::{Notify, oneshot};

use crate::dns::client::{Now, ZoneSetup};
use crate::dns::send::{Link, SendFault};
use crate::dns::server::ServerAddr;
use crate::dns::tsig::{Key, sign};
use crate::dns::update::{Change, compose, interpret, overhead, wire_name};
use crate::dns::{At, DnsError, Foreign, UpdateFault};

/// A zone with everything that waits to be written to it.
pub(crate) struct Zone {
    apex: DnsName,
    server: ServerAddr,
    key: Key,
    ttl: Ttl,
    /// The zone's own rule.
    foreign: Foreign,
    /// Shared with the other zones of the server: one connection each is plenty.
    link: Arc<tokio::sync::Mutex<Link>>,
    now: Now,
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
    pub(crate) fn new(setup: ZoneSetup, link: Arc<tokio::sync::Mutex<Link>>, now: Now) -> Self {
        Self {
            apex: setup.apex,
            server: setup.server,
            key: setup.key,
            ttl: Ttl::from_duration_lossy(setup.ttl),
            foreign: setup.foreign,
            link,
            now,
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
        let wire = wire_name(record.as_str()).map_err(|fault| self.error(fault, None))?;
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
            Err(_) => Err(self.error(UpdateFault::Unreachable("we are about to end".to_owned()), None)),
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
            let mut link = self.link.lock().await;
            let (changes, rest) = self.pack(&mut batch, link.limit());
            if !rest.is_empty() {
                pending.push_front(rest);
            }
            let sent = self.send(&mut link, &batch, &changes).await;
            // Others may use the connection while the outcome is told.
            drop(link);
            match sent {
                Ok(()) => batch.into_iter().for_each(|unit| unit.end(&Ok(()))),
                Err((fault, _)) if batch.len() > 1 && fault.is_about_some() => {
                    let second = batch.split_off(batch.len() / 2);
                    pending.push_front(second);
                    pending.push_front(batch);
                }
                Err((fault, peer)) => {
                    // When nobody answers, the rest would only wait in vain, one time-out after another.
                    let silent = matches!(fault, Fault::Silent(_));
                    let outcome = Err(self.error(fault.into_update(), peer));
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

    /// Leaves as much of `batch` as fits into a message, at least one unit; returns its changes, and what is left over.
    ///
    /// Looks at the live values as they are now, so that a message that goes out late says what is true then.
    fn pack(&self, batch: &mut Vec<Unit>, limit: usize) -> (Vec<Change>, Vec<Unit>) {
        let state = self.state();
        let mut size = overhead(&self.apex, &self.key);
        let mut changes = Vec::with_capacity(batch.len());
        for unit in batch.iter() {
            let change = unit.change(state.live.get(&unit.record));
            size += change.size(&unit.wire);
            if size > limit && !changes.is_empty() {
                break;
            }
            changes.push(change);
        }
        let rest = batch.split_off(changes.len());
        (changes, rest)
    }

    async fn send(
        &self,
        link: &mut Link,
        batch: &[Unit],
        changes: &[Change],
    ) -> Result<(), (Fault, Option<SocketAddr>)> {
        let changes = batch.iter().map(|unit| &unit.wire).zip(changes);
        let message = compose(&self.apex, self.ttl, changes).map_err(|fault| (Fault::Judged(fault), None))?;
        let exchange = link
            .exchange(&|id| sign(message.clone(), id, &self.key, (self.now)()))
            .await
            .map_err(|fault| (Fault::from(fault), None))?;
        tracing::trace!(zone = %self.apex, peer = %exchange.peer, names = batch.len(), octets = exchange.request.wire.len(), "update");
        interpret(&exchange.request, &exchange.answer, &self.key, (self.now)())
            .map_err(|fault| (Fault::Judged(fault), Some(exchange.peer)))
    }

    fn error(&self, cause: UpdateFault, peer: Option<SocketAddr>) -> DnsError {
        let configured = self.server.to_string();
        let server = match peer {
            Some(peer) => At(&configured, peer).to_string(),
            None => configured,
        };
        DnsError {
            zone: self.apex.clone(),
            server,
            key: self.key.to_string(),
            cause,
        }
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

/// Why a message was not carried out.
enum Fault {
    /// The server's answer, or our own inability to write the message.
    Judged(UpdateFault),
    /// No answer to anything.
    Silent(UpdateFault),
    /// Only UDP is left, and the message is too long for it.
    TooLong(String),
}

impl Fault {
    /// Whether a part of the message may fare better than the whole.
    fn is_about_some(&self) -> bool {
        match self {
            Self::Judged(fault) => match fault {
                // Knot says BADKEY where its ACL does not let the key change a name (measured with 3.2.6).
                UpdateFault::BadKey
                | UpdateFault::Format(_)
                | UpdateFault::NotZone
                | UpdateFault::Rcode(_)
                | UpdateFault::Refused(_)
                | UpdateFault::ServFail => true,
                // These are about the secret, the clock, the zone or the way.
                UpdateFault::BadSig
                | UpdateFault::BadTime { .. }
                | UpdateFault::BadTrunc
                | UpdateFault::Forged(_)
                | UpdateFault::NotAuth
                | UpdateFault::Unreachable(_) => false,
            },
            Self::Silent(_) => false,
            Self::TooLong(_) => true,
        }
    }

    fn into_update(self) -> UpdateFault {
        match self {
            Self::Judged(fault) | Self::Silent(fault) => fault,
            Self::TooLong(tried) => UpdateFault::Unreachable(format!(
                "{tried}, and the update is too long for UDP; let us reach the server by TCP"
            )),
        }
    }
}

impl From<SendFault> for Fault {
    fn from(fault: SendFault) -> Self {
        match fault {
            SendFault::TooLong(tried) => Self::TooLong(tried),
            SendFault::Unreachable(tried) => Self::Silent(UpdateFault::Unreachable(tried)),
        }
    }
}

#[cfg(test)]
mod tests;

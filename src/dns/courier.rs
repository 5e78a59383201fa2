//! Brings an update to one of the servers of its zone: fail-over, clocks, signatures, and what each try has taught.
//!
//! The next server is tried when one is not reached in time and when it refuses: another may be the primary, know the key,
//! have a better clock, or be sound. A secondary of BIND that passes no updates on says REFUSED, and one that lacks the key
//! says BADKEY. Final is what the message itself has wrong; an answer that nothing proves, since the update may have been
//! made; and what the server that took the last update will not do: that is its policy for a name, and asking the others,
//! of which some may be dead, would hold up the rest of the zone. Every try is signed anew (P14).
//!
//! Must not decide what an update says, nor whether a refused one is tried in parts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::DnsName;
use tokio::time::{Instant, timeout};

use crate::dns::client::Now;
use crate::dns::edns;
use crate::dns::fleet::{Fleet, Learned, Server};
use crate::dns::send::{Link, SendFault};
use crate::dns::signer::Signer;
use crate::dns::tsig::{self, Key, leave_unsigned, sign};
use crate::dns::update::{Refusal, interpret};
use crate::dns::{At, Leave, Observe, Observed, UpdateFault};

/// How long one of several servers may take before the next is tried (P14: at most 2 s in all).
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Writes the update that is to go out now, into at most so many octets if it can.
pub(crate) type Compose<'a> = dyn FnMut(usize) -> Result<Vec<u8>, UpdateFault> + Send + 'a;

/// The way of one zone's updates.
pub(crate) struct Courier {
    pub(crate) apex: DnsName,
    pub(crate) fleet: Fleet,
    pub(crate) signer: Arc<Signer>,
    pub(crate) now: Now,
    /// How far the server's clock is followed.
    pub(crate) skew_limit: Duration,
    pub(crate) observe: Observe,
    pub(crate) leave: Leave,
}

/// Why an update was not carried out.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// The server, with its address if one has answered.
    pub(crate) server: String,
    pub(crate) more: Vec<String>,
}

/// What was wrong.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server's answer, or our own inability to write the message.
    Judged(UpdateFault),
    /// No answer to anything within the patience for one of several servers.
    Late(UpdateFault),
    /// No answer to anything.
    Silent(UpdateFault),
    /// Only UDP is left, and the message is too long for it.
    TooLong(String),
}

impl Courier {
    /// Has one of the servers carry out what `compose` writes; it is asked anew for each server.
    pub(crate) async fn deliver(&self, compose: &mut Compose<'_>) -> Result<(), Failure> {
        let servers = self.fleet.servers().await;
        let patience = (servers.len() > 1).then_some(PATIENCE);
        let mut failures = Vec::new();
        let mut late = Vec::new();
        for server in &servers {
            match self.try_at(server, patience, compose).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.fault.is_policy() && self.fleet.prefers(server) => {
                    return Err(failure.after(failures));
                }
                Err(failure) if failure.fault.is_elsewhere() => {
                    if matches!(failure.fault, Fault::Late(_)) {
                        late.push(server);
                    } else {
                        failures.push(failure);
                    }
                }
                Err(failure) => return Err(failure.after(failures)),
            }
        }
        // Nobody was quick, so the slow ones get all the time there is.
        for server in late {
            match self.try_at(server, None, compose).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.fault.is_elsewhere() => failures.push(failure),
                Err(failure) => return Err(failure.after(failures)),
            }
        }
        self.fleet.failed();
        // Of several that tell as much, the first.
        let telling =
            (0..failures.len()).min_by_key(|place| failures.get(*place).map(|it| it.fault.reticence()));
        if let Some(place) = telling {
            let failure = failures.remove(place);
            Err(failure.after(failures))
        } else {
            Err(Failure {
                fault: Fault::Silent(UpdateFault::Unreachable("no server is configured".to_owned())),
                server: "(none)".to_owned(),
                more: Vec::new(),
            })
        }
    }

    async fn try_at(
        &self,
        server: &Arc<Server>,
        patience: Option<Duration>,
        compose: &mut Compose<'_>,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let exchange = self.exchange(server, compose);
        let outcome = match patience {
            None => exchange.await,
            Some(patience) => timeout(patience, exchange).await.unwrap_or_else(|_| {
                let what = format!("nothing within {} ms", patience.as_millis());
                Err(failure(server, Fault::Late(UpdateFault::Unreachable(what))))
            }),
        };
        if outcome.is_ok() {
            self.fleet.prefer(server);
        }
        (self.observe)(&Observed::Update {
            zone: &self.apex,
            server: &server.addr,
            result: outcome
                .as_ref()
                .map_or_else(|failure| failure.fault.code(), |()| "ok"),
            took: begun.elapsed(),
        });
        outcome
    }

    async fn exchange(&self, server: &Server, compose: &mut Compose<'_>) -> Result<(), Failure> {
        // Held until the outcome is clear; others may use it while that is told.
        let mut link = server.lane().await;
        let mut key = self.signer.key();
        let signature = key.as_ref().map_or(0, tsig::overhead);
        let room = link.limit().saturating_sub(edns::OVERHEAD + signature);
        let message = compose(room).map_err(|fault| failure(server, Fault::Judged(fault)))?;
        let mut tried = Tried::default();
        loop {
            let learned = tried.learned.unwrap_or_else(|| server.learned());
            let refusal = match self
                .ask(&mut link, server, &message, key.as_ref(), learned)
                .await?
            {
                Ok(()) => {
                    if let Some(learned) = tried.learned {
                        server.learn(learned);
                    }
                    if let Some(key) = key.filter(|_| tried.again) {
                        self.signer.decoded_twice(key);
                    }
                    return Ok(());
                }
                Err(refusal) => refusal,
            };
            let now = (self.now)();
            if let Some(offset) = self.followed(refusal.refusal.clock, now).filter(|_| !tried.clock) {
                tried.clock = true;
                tracing::warn!(
                    zone = %self.apex,
                    server = %server.addr,
                    offset_seconds = -offset,
                    "the server's clock and ours differ, and its is used for signatures; mend the time synchronization"
                );
                tried.learned = Some(Learned {
                    offset_secs: offset,
                    ..learned
                });
            } else if refusal.refusal.unreadable && !learned.plain && !tried.plain {
                tried.plain = true;
                tried.learned = Some(Learned {
                    plain: true,
                    ..learned
                });
            } else if let Some(again) = doubtful(&refusal.refusal)
                .then(|| key.as_ref().and_then(Key::decoded_again))
                .flatten()
                .filter(|_| !tried.again)
            {
                tried.again = true;
                key = Some(again);
            } else {
                return Err(refusal.told(tried.again));
            }
        }
    }

    /// Asks once; the outer error is silence.
    async fn ask(
        &self,
        link: &mut Link,
        server: &Server,
        message: &[u8],
        key: Option<&Key>,
        learned: Learned,
    ) -> Result<Result<(), Refused>, Failure> {
        let message = if learned.plain {
            message.to_vec()
        } else {
            edns::with_opt(message)
        };
        let clock = || shifted((self.now)(), learned.offset_secs);
        let exchange = link
            .exchange(&|id| {
                if !(self.leave)() {
                    return Err(io::Error::other("no update may be sent any more"));
                }
                Ok(match key {
                    Some(key) => sign(message.clone(), id, key, clock()),
                    None => leave_unsigned(message.clone(), id, clock()),
                })
            })
            .await
            .map_err(|fault| {
                let without_leave = !(self.leave)();
                failure(
                    server,
                    if without_leave {
                        Fault::Judged(UpdateFault::NoLeave)
                    } else {
                        fault.into()
                    },
                )
            })?;
        let octets = exchange.request.wire.len();
        tracing::trace!(zone = %self.apex, peer = %exchange.peer, octets, "update");
        match interpret(&exchange.request, &exchange.answer, key, clock()) {
            Ok(time) => {
                if let Some(time) = time {
                    self.report_clock(server, time);
                }
                Ok(Ok(()))
            }
            Err(refusal) => {
                if let Some(time) = refusal.clock {
                    self.report_clock(server, time);
                }
                let configured = server.addr.to_string();
                Ok(Err(Refused {
                    server: At(&configured, exchange.peer).to_string(),
                    refusal,
                }))
            }
        }
    }

    /// What to add to our clock when the server's says `clock`, if that is within bounds.
    fn followed(&self, clock: Option<u64>, now: Timestamp) -> Option<i64> {
        let offset = i64::try_from(clock?).ok()?.checked_sub(now.as_second())?;
        (offset.unsigned_abs() <= self.skew_limit.as_secs()).then_some(offset)
    }

    fn report_clock(&self, server: &Server, time: u64) {
        let offset_secs = i64::try_from(time)
            .unwrap_or(i64::MAX)
            .saturating_neg()
            .saturating_add((self.now)().as_second());
        (self.observe)(&Observed::Clock {
            server: &server.addr,
            offset_secs,
        });
    }
}

/// What has been tried besides at one server.
#[derive(Default)]
struct Tried {
    clock: bool,
    plain: bool,
    again: bool,
    /// What is to be remembered if that was right.
    learned: Option<Learned>,
}

/// A refusal, and who refused.
struct Refused {
    server: String,
    refusal: Refusal,
}

impl Refused {
    /// As it is told; `again` if decoding the secret once more was tried too.
    fn told(self, again: bool) -> Failure {
        let mut fault = self.refusal.fault;
        if again && fault == UpdateFault::BadSig {
            fault = UpdateFault::BadSigTwice;
        }
        Failure {
            fault: Fault::Judged(fault),
            server: self.server,
            more: self.refusal.words.into_iter().collect(),
        }
    }
}

impl Failure {
    /// Adds how the servers before it fared.
    fn after(mut self, others: Vec<Self>) -> Self {
        let line = |other: Self| format!("{}: {}", other.server, other.fault.into_update());
        self.more.extend(others.into_iter().map(line));
        self
    }
}

impl Fault {
    /// Whether another server may fare better.
    fn is_elsewhere(&self) -> bool {
        match self {
            Self::Judged(fault) => !matches!(
                fault,
                UpdateFault::Forged(_) | UpdateFault::Format(_) | UpdateFault::NoLeave | UpdateFault::NotZone
            ),
            Self::Late(_) | Self::Silent(_) => true,
            Self::TooLong(_) => false,
        }
    }

    /// Whether it may be about the names in the message. Knot says BADKEY where its rules do not let the key change one.
    fn is_policy(&self) -> bool {
        matches!(self, Self::Judged(UpdateFault::BadKey | UpdateFault::Refused(_)))
    }

    /// How little it tells beside others: a refusal by the primary is what has to be mended, a server that is none says so of
    /// itself, and one that is silent says nothing.
    fn reticence(&self) -> u8 {
        match self {
            Self::Judged(UpdateFault::NotAuth | UpdateFault::NotImp) => 1,
            Self::Judged(_) | Self::TooLong(_) => 0,
            Self::Late(_) | Self::Silent(_) => 2,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Judged(fault) | Self::Late(fault) | Self::Silent(fault) => fault.code(),
            Self::TooLong(_) => "too-long",
        }
    }

    pub(crate) fn into_update(self) -> UpdateFault {
        match self {
            Self::Judged(fault) | Self::Late(fault) | Self::Silent(fault) => fault,
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

fn failure(server: &Server, fault: Fault) -> Failure {
    Failure {
        fault,
        server: server.addr.to_string(),
        more: Vec::new(),
    }
}

/// Whether a wrong secret may be behind it. PowerDNS refuses without a reason (measured with 4.7.3).
fn doubtful(refusal: &Refusal) -> bool {
    let unexplained = matches!(refusal.fault, UpdateFault::Refused(_)) && !refusal.proven;
    refusal.fault == UpdateFault::BadSig || unexplained
}

fn shifted(now: Timestamp, secs: i64) -> Timestamp {
    Timestamp::from_second(now.as_second().saturating_add(secs)).unwrap_or(now)
}

#[cfg(test)]
pub(crate) mod tests;

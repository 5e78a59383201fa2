//! What surrounds the shell: a CA, name servers, a cluster. Each does what the real one does, and no more than matters.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::schedule::{after, ahead};
use jiff::SignedDuration;

pub(crate) use self::ca::{Ca, CaFault, CaOrder, Habits};
pub(crate) use self::cluster::{Change, Cluster, Refusal, Saved, secret_name};
pub(crate) use self::dns::{Dns, Refused};
use crate::dice::Dice;

mod ca;
mod cluster;
mod dns;
mod renewal;

/// Everything but the shell itself.
pub(crate) struct Outside {
    /// The true time.
    pub(crate) now: Timestamp,
    /// How far the clock of the shell's machine is ahead of it.
    pub(crate) clock_ahead: SignedDuration,
    pub(crate) dice: Dice,
    pub(crate) ca: Ca,
    pub(crate) dns: Dns,
    pub(crate) cluster: Cluster,
    pub(crate) ways: Ways,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leg {
    Ca,
    Cluster,
    Dns,
}

/// The ways between the shell and what surrounds it, and what went wrong on them.
pub(crate) struct Ways {
    /// Of how many exchanges in a thousand the request or the answer is lost.
    pub(crate) losses: i64,
    /// How many in a thousand take long.
    pub(crate) delays: i64,
    /// How late the answer comes to what is being asked.
    late: Duration,
    /// What went wrong for a host, and when the shell learned of it, as those know who were asked.
    troubles: BTreeMap<(Hostname, Trouble), Timestamp>,
    /// When the last exchange with each was in vain.
    lost: BTreeMap<Leg, Timestamp>,
    /// When the CA was asked in vain within the last hour.
    pub(crate) in_vain: VecDeque<Timestamp>,
    /// How far the CA's clock was ahead of the true time, by its last answer.
    pub(crate) ca_clock_ahead: SignedDuration,
    /// How often it was asked about orders for each host.
    pub(crate) asked: BTreeMap<Hostname, usize>,
}

/// Something that went wrong for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// The CA has not decided yet.
    CaSlow,
    /// The API server said that something else is there.
    Conflict,
    /// The CA knows no such order, or has given it up.
    Gone,
    /// Not every server shows the value.
    Hidden,
    /// No answer.
    Lost(Leg),
    /// The CA said no, or had seen it fail.
    No,
    /// The name server refused the update.
    Refused,
}

/// An exchange is given up after this: 30 s at the CA and the API server, 8 s at a name server.
const TIME_OUTS: [i64; 3] = [30_000, 30_000, 8_000];

/// Clocks that differ by less are taken for one.
pub(crate) const ALIKE: SignedDuration = SignedDuration::from_secs(5);

impl Ways {
    pub(crate) fn new(losses: i64, delays: i64) -> Self {
        Self {
            losses,
            delays,
            late: Duration::ZERO,
            troubles: BTreeMap::new(),
            lost: BTreeMap::new(),
            in_vain: VecDeque::new(),
            ca_clock_ahead: SignedDuration::ZERO,
            asked: BTreeMap::new(),
        }
    }
}

impl Outside {
    /// What the clock of the shell's machine says.
    pub(crate) fn clock(&self) -> Timestamp {
        ahead(self.now, self.clock_ahead)
    }

    /// How far that clock is ahead of the CA's, by the last answer that had a date; clocks that differ by little are one.
    pub(crate) fn ahead_of_ca(&self) -> SignedDuration {
        let by = self.clock_ahead - self.ways.ca_clock_ahead;
        if by.abs() < ALIKE {
            SignedDuration::ZERO
        } else {
            by
        }
    }

    /// An exchange about `host`: `None` when no answer has come, whether or not it was carried out.
    pub(crate) fn ask<'a, T>(
        &mut self,
        leg: Leg,
        host: impl Into<Option<&'a Hostname>>,
        exchange: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let host = host.into();
        let down = match leg {
            Leg::Ca => self.ca.down > 0,
            Leg::Cluster => self.cluster.down > 0,
            Leg::Dns => false,
        };
        if let Some(host) = host.filter(|_| leg == Leg::Ca) {
            *self.ways.asked.entry(host.clone()).or_default() += 1;
        }
        // Questions about renewals are about no order: each waits twice as long as the time before.
        if down && leg == Leg::Ca && host.is_some() {
            let hour = ahead(self.now, SignedDuration::from_hours(-1));
            self.ways.in_vain.retain(|at| *at > hour);
            self.ways.in_vain.push_back(self.now);
        }
        let time_out = TIME_OUTS[leg as usize];
        let lost = !down && self.ways.losses > 0 && self.dice.chance(self.ways.losses);
        let answer = if down || (lost && self.dice.chance(500)) {
            None
        } else {
            let answer = exchange(self);
            (!lost).then_some(answer)
        };
        let late = if answer.is_none() {
            // Refused at once, or in vain until nobody waits any more.
            if down && self.dice.chance(900) {
                0
            } else {
                time_out
            }
        } else if self.ways.delays > 0 && self.dice.chance(self.ways.delays) {
            self.dice.between(500, time_out)
        } else {
            0
        };
        self.ways.late += Duration::from_millis(late.unsigned_abs());
        if answer.is_some() && leg == Leg::Ca {
            self.ways.ca_clock_ahead = self.ca.clock_ahead;
        }
        if answer.is_none() {
            self.ways.lost.insert(leg, after(self.now, self.ways.late));
        }
        if answer.is_none()
            && let Some(host) = host
        {
            self.went_wrong(host, Trouble::Lost(leg));
        }
        answer
    }

    /// How long a request is on its way before it is carried out; `None` for at once.
    pub(crate) fn holds_back(&mut self) -> Option<Duration> {
        let late = self.ways.delays > 0 && self.dice.chance(self.ways.delays);
        late.then(|| Duration::from_millis(self.dice.between(500, 25_000).unsigned_abs()))
    }

    /// How late the answers to what was asked since the last call come.
    pub(crate) fn take_delay(&mut self) -> Duration {
        std::mem::take(&mut self.ways.late)
    }

    /// When the answer arrives to what was asked last.
    pub(crate) fn answer_at(&self) -> Timestamp {
        after(self.now, self.ways.late)
    }

    /// Something went wrong for a host.
    pub(crate) fn went_wrong(&mut self, host: &Hostname, trouble: Trouble) {
        let at = self.answer_at();
        self.ways.troubles.insert((host.clone(), trouble), at);
    }

    /// When that went wrong for a host last.
    pub(crate) fn trouble(&self, host: &Hostname, trouble: Trouble) -> Option<Timestamp> {
        self.ways.troubles.get(&(host.clone(), trouble)).copied()
    }

    /// When an exchange was last in vain.
    pub(crate) fn lost_at(&self, leg: Leg) -> Option<Timestamp> {
        self.ways.lost.get(&leg).copied()
    }
}

/// `secs` from `now`.
pub(crate) fn secs(now: Timestamp, secs: i64) -> Timestamp {
    after(now, Duration::from_secs(secs.unsigned_abs()))
}

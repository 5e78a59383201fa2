//! Is a value visible? From the rule of its zone and what each server has shown since when: yes, or whom to look at next.
//!
//! Servers are asked in rounds, one for each [`Role`], and within a round each goes by its own clock (S10, P03, P09).
//! Deliberately absent: asking, and what an answer looks like. So is a comparison of serial numbers in place of a look (P05):
//! a server that can be asked for its SOA record can be asked for the value, which proves more.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, Unit};

use crate::schedule::{after, ahead};
use crate::zone::{Check, Quorum, Role, Rule, Servers};

/// The pause after the first looks: a value that is on its way to a server nearby is seen within this.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// How long the first pause is kept to.
const AT_FIRST: Duration = Duration::from_millis(50);
/// No pause after that is shorter.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause (P04).
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// Pauses are this part of the time that has passed, so that a value is seen at most so much later than it could be: 200 ms
/// after 5 s, which leaves the looks themselves 100 of the 300 ms that there are (measured by `make bench`).
const SHARE: u32 = 25;
/// The shortest pause after a look that brought no usable answer; a server that restarts is not given up in a blink.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);
/// How long a server counts as dead without having been asked; then one order has to wait for its answer again.
const DEAD_FOR: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// What one look at a server brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glance {
    /// No usable answer.
    Failed {
        /// Stable code.
        code: &'static str,
        /// What came back instead, to follow the server's name: "did not answer".
        text: String,
    },
    /// An answer without the value.
    Hidden {
        /// What it shows instead, to follow the server's name: "shows no TXT record".
        text: String,
    },
    /// The value.
    Shown,
}

/// What the servers have shown of a value since it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    published: Timestamp,
    seen: BTreeMap<Check, Seen>,
}

/// What one server has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    glance: Glance,
    /// Since when it has shown this.
    since: Timestamp,
    /// When it was looked at first, and last.
    first: Timestamp,
    last: Timestamp,
}

/// How reliable servers have been, over all values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health(BTreeMap<Check, Standing>);

/// How reliable one server has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// Looks in a row without a usable answer.
    failures: u32,
    /// When the last one was.
    last: Timestamp,
    /// Share of usable answers, in percent; the last one counts for a quarter.
    score: u32,
}

/// Whether a value is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgment<'a> {
    /// Not yet.
    NotYet {
        /// Who is to be looked at now.
        due: Vec<&'a Check>,
        /// When somebody is due again, if nothing happens before.
        wait: Duration,
    },
    /// It is; these servers were done without.
    Visible {
        /// Servers that are dead.
        without: Vec<&'a Check>,
    },
}

/// The pause after a look that was in vain, when the server has been looked at for so long (S10, P04).
#[must_use]
pub fn pause(looked_for: Duration) -> Duration {
    if looked_for < AT_FIRST {
        return FIRST_PAUSE;
    }
    (looked_for / SHARE).clamp(SHORT_PAUSE, LONG_PAUSE)
}

/// All servers that a rule asks, in the order of the rounds; `authoritative` are those that the zone's NS records name,
/// `listed` further ones that may be resolvers.
#[must_use]
pub fn servers(rule: &Rule, authoritative: Vec<Check>, listed: &[Check]) -> Vec<Check> {
    let mut all = rule.required.clone();
    match &rule.servers {
        Servers::Authoritative => all.extend(authoritative),
        Servers::Listed(servers) => {
            all.extend(
                servers
                    .iter()
                    .map(|server| Check::of(Role::Authoritative, server)),
            );
        }
        Servers::Primary => {}
    }
    all.extend(listed.iter().cloned());
    all.sort();
    all.dedup();
    all
}

/// Says whether the value is visible, or who is looked at next.
#[must_use]
pub fn judge<'a>(
    rule: &Rule,
    servers: &'a [Check],
    sight: &Sight,
    health: &Health,
    now: Timestamp,
) -> Judgment<'a> {
    let mut without = Vec::new();
    for role in [Role::Update, Role::Authoritative, Role::Listed] {
        let members: Vec<&Check> = servers.iter().filter(|check| check.role == role).collect();
        let shown = members.iter().filter(|check| sight.shows(check)).count();
        let dead: Vec<&Check> = match role {
            Role::Authoritative => (members.iter().copied())
                .filter(|check| !sight.shows(check) && health.is_dead(check, rule, now))
                .collect(),
            // S10: these are never done without.
            Role::Update | Role::Listed => Vec::new(),
        };
        let alive = members.len() - dead.len();
        let needed = match (role, rule.quorum) {
            (Role::Authoritative, Quorum::AtLeast(count)) => {
                alive.min(usize::try_from(count).unwrap_or(usize::MAX))
            }
            (Role::Authoritative, Quorum::All) | (Role::Update | Role::Listed, _) => alive,
        };
        // Where all are dead, nobody who counts has shown anything.
        if shown < needed.max(usize::from(!members.is_empty())) {
            let next = |check: &Check| sight.next(check, now);
            let waiting: Vec<&Check> = members.into_iter().filter(|check| !sight.shows(check)).collect();
            let wait = waiting
                .iter()
                .map(|check| next(check))
                .filter(|wait| !wait.is_zero())
                .min();
            return Judgment::NotYet {
                due: waiting
                    .into_iter()
                    .filter(|check| next(check).is_zero())
                    .collect(),
                wait: wait.unwrap_or(LONG_PAUSE),
            };
        }
        without.extend(dead);
    }
    Judgment::Visible { without }
}

impl Sight {
    /// Nothing has been seen of a value that was just published.
    #[must_use]
    pub fn new(published: Timestamp) -> Self {
        Self {
            published,
            seen: BTreeMap::new(),
        }
    }

    /// Takes in what a look has brought.
    pub fn take(&mut self, check: &Check, glance: Glance, now: Timestamp) {
        let before = self.seen.remove(check);
        let since = match &before {
            Some(before) if before.glance == glance => before.since,
            Some(_) | None => now,
        };
        let seen = Seen {
            glance,
            since,
            first: before.map_or(now, |before| before.first),
            last: now,
        };
        self.seen.insert(check.clone(), seen);
    }

    /// Whether the server has shown the value. What has been seen once counts: only the value's end takes it away.
    #[must_use]
    pub fn shows(&self, check: &Check) -> bool {
        self.seen
            .get(check)
            .is_some_and(|seen| seen.glance == Glance::Shown)
    }

    /// What the last look at a server brought.
    #[must_use]
    pub fn glance(&self, check: &Check) -> Option<&Glance> {
        self.seen.get(check).map(|seen| &seen.glance)
    }

    /// How long it has been since the value was published.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        since(self.published, now)
    }

    /// Whether the deadline has passed (P01).
    #[must_use]
    pub fn is_late(&self, rule: &Rule, now: Timestamp) -> bool {
        after(self.published, rule.deadline) <= now
    }

    /// Every server with what it answers and since when, for people (P01).
    #[must_use]
    pub fn report(&self, servers: &[Check]) -> String {
        let lines: Vec<String> = servers.iter().map(|check| self.line(check)).collect();
        lines.join("; ")
    }

    /// The same for the servers of the first round that is not through.
    #[must_use]
    pub fn laggards<'a>(&self, servers: &'a [Check]) -> Vec<&'a Check> {
        let lacks = |check: &&Check| !self.shows(check) && self.seen.contains_key(check);
        let role = servers.iter().filter(lacks).map(|check| check.role).min();
        servers
            .iter()
            .filter(lacks)
            .filter(|check| Some(check.role) == role)
            .collect()
    }

    /// What one server answers, and since when.
    #[must_use]
    pub fn line(&self, check: &Check) -> String {
        let Some(seen) = self.seen.get(check) else {
            return format!("{check} was not asked yet");
        };
        let what = match &seen.glance {
            Glance::Failed { text, .. } | Glance::Hidden { text } => text,
            Glance::Shown => "shows it",
        };
        let since = seen.since.round(Unit::Second).unwrap_or(seen.since);
        format!("{check} {what}, since {since}")
    }

    /// How long it is until a server is due. A clock that is set back delays no look by more than a pause.
    fn next(&self, check: &Check, now: Timestamp) -> Duration {
        let Some(seen) = self.seen.get(check) else {
            return Duration::ZERO;
        };
        let pause = match seen.glance {
            Glance::Failed { .. } => pause(since(seen.first, seen.last)).max(FAILURE_PAUSE),
            Glance::Hidden { .. } | Glance::Shown => pause(since(seen.first, seen.last)),
        };
        since(now, after(seen.last, pause)).min(LONG_PAUSE)
    }
}

impl Health {
    /// Takes in whether a server gave a usable answer.
    pub fn take(&mut self, check: &Check, glance: &Glance, now: Timestamp) {
        let standing = self.0.entry(check.clone()).or_insert(Standing {
            failures: 0,
            last: now,
            score: 100,
        });
        let good = !matches!(glance, Glance::Failed { .. });
        standing.failures = if good {
            0
        } else {
            standing.failures.saturating_add(1)
        };
        // Rounded towards what was seen, so that both ends are reached.
        standing.score = if good {
            (standing.score * 3 + 100).div_ceil(4)
        } else {
            standing.score * 3 / 4
        };
        standing.last = now;
    }

    /// Share of usable answers lately, in percent.
    #[must_use]
    pub fn score(&self, check: &Check) -> u32 {
        self.0.get(check).map_or(100, |standing| standing.score)
    }

    /// Forgets servers that have not been asked for a day.
    pub fn prune(&mut self, now: Timestamp) {
        let day = jiff::SignedDuration::from_hours(24);
        self.0.retain(|_, standing| ahead(standing.last, day) > now);
    }

    fn is_dead(&self, check: &Check, rule: &Rule, now: Timestamp) -> bool {
        self.0.get(check).is_some_and(|standing| {
            let lately = standing.last <= ahead(now, DEAD_FOR) && now < ahead(standing.last, DEAD_FOR);
            standing.failures >= rule.dead_after.max(1) && lately
        })
    }
}

/// The time from `from` to `to`; nothing when that is in the past.
fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(from.duration_until(to)).unwrap_or_default()
}

#[cfg(test)]
mod tests;

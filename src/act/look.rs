//! The steps around the DNS's view of a challenge: where its value goes, and whether every server shows it.
//!
//! What follows from an answer is decided by `core::route` and `core::visibility`; here the questions are asked.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::caa;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::order::{Note, Published};
use faythe_core::route::{Next, Route, Trail};
use faythe_core::visibility::{self, Glance, Judgment, Sight};
use faythe_core::zone::{Check, Role, Rule, Servers};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Work;
use super::fault::Fault;
use crate::dns::{Answer, LookError};

/// How long servers may take to show a value before the order rests and makes room.
const PATIENCE: Duration = Duration::from_secs(8);
/// A value that nobody has seen is published again after this, in case it has been removed before: as often as an update that
/// is refused. One that stands already changes nothing in the zone.
const AGAIN: Duration = Duration::from_secs(60);

impl Work<'_> {
    /// Finds out where the order's value goes, by asking our own servers (P06, P07).
    pub(super) async fn find_way(&self) -> Result<Route, Fault> {
        let zones = &self.outside.policy.zones;
        let record = self.order.host.challenge_record();
        let Some(zone) = zones.at(&self.order.zone) else {
            return Ok(Route::direct(&self.order.zone, &record));
        };
        let mut next = Trail::begin(zones, zone, record)?;
        loop {
            let trail = match next {
                Next::Ask(trail) => trail,
                Next::Write(route) => return Ok(route),
            };
            let (zone, record) = trail.question();
            match self.outside.dns.read().find(zone, record).await {
                Ok(found) => next = trail.follow(found)?,
                Err(error) => {
                    // Who takes updates and answers no questions keeps the order from getting any further, and will be
                    // named then.
                    tracing::debug!(host = %self.order.host, "where the challenge goes is not known: {error}");
                    return Ok(trail.end());
                }
            }
        }
    }

    /// Finds the CAA records that count for the order's host, as far as our own zone tells (P24). What is not known keeps no
    /// order from being made: the CA looks itself.
    pub(super) async fn find_caa(&self) -> Option<caa::Found> {
        let zone = &self.order.zone;
        let names = caa::climb(&self.order.host, zone);
        match self.outside.dns.read().caa(zone, &names).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(host = %self.order.host, "CAA records are not known: {error}");
                None
            }
        }
    }

    /// Takes in where the value goes, so that neighbors at the record are seen (P15).
    pub(super) fn take_way(&mut self, route: Route) {
        let usual = Route::direct(&self.order.zone, &self.order.host.challenge_record());
        if (&route.zone, &route.record) != (&usual.zone, &usual.record) {
            tracing::info!(host = %self.order.host, record = %route.record, zone = %route.zone, "the challenge is delegated");
        }
        self.outside.board.place(&self.order.host, &route.record);
        self.order.route = Some(route);
    }

    /// The zone that holds the values of a note.
    pub(super) fn zone_of<'a>(&'a self, note: &'a Note) -> &'a DnsName {
        note.route.as_ref().map_or(&self.order.zone, |route| &route.zone)
    }

    /// Asks the servers that have to show the values until they do (S10), as `core::visibility` says whom and when.
    pub(super) async fn look(&mut self) -> Result<(), Fault> {
        let rested = self.order.tries > 0;
        if rested && self.move_on().await? {
            return Ok(());
        }
        let Some(note) = self.order.note.clone() else {
            return Ok(());
        };
        let Some((record, values)) = wanted(&note) else {
            self.shown(Vec::new());
            return Ok(());
        };
        let zone = self.zone_of(&note).clone();
        let (rule, servers) = self.rule(&zone).await?;
        if rested {
            self.restore(&zone, record, &values, &servers).await?;
        }
        // An order that has rested once looks once and makes room again.
        let patience = if rested { Duration::ZERO } else { PATIENCE };
        let began = Instant::now();
        let dns = self.outside.dns.read();
        let mut looks = FuturesUnordered::new();
        let (mut under_way, mut asked) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let now = (self.outside.now)();
            let wait = match self.judge(&rule, &servers, now) {
                Judgment::Visible { without } => {
                    let without = without.into_iter().cloned().collect();
                    self.shown(without);
                    return Ok(());
                }
                Judgment::NotYet { due, wait } => {
                    let impatient = began.elapsed() >= patience;
                    for check in due {
                        let again = !asked.insert(check);
                        if (again && impatient) || !under_way.insert(check) {
                            continue;
                        }
                        let (zone, values) = (&zone, &values);
                        looks.push(async move {
                            let looked = dns.look(zone, check, record).await;
                            (check, glance(looked, values))
                        });
                    }
                    if impatient && under_way.is_empty() {
                        return Err(Fault::unseen(&self.order.sight, &rule, &servers, record, now));
                    }
                    wait
                }
            };
            tokio::select! {
                Some((check, glance)) = looks.next() => {
                    under_way.remove(check);
                    self.take_glance(check, glance);
                }
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Puts the values back where they stood, if the server that took them has shown them and does not any more, or has not
    /// for long: somebody has taken them away, and no look would find them before the order expires.
    ///
    /// Where there are several such servers, it is enough that one shows them: the others are yet to get them.
    async fn restore(
        &mut self,
        zone: &DnsName,
        record: &RecordName,
        values: &[&str],
        servers: &[Check],
    ) -> Result<(), Fault> {
        let takes = |role| move |check: &&Check| check.role == role;
        let role = match servers.iter().find(takes(Role::Update)) {
            Some(_) => Role::Update,
            None => Role::Authoritative,
        };
        let took = || servers.iter().filter(takes(role));
        let stood = took().any(|check| self.order.sight.shows(check));
        if !stood && self.order.put.is_none_or(|put| put.elapsed() < AGAIN) {
            return Ok(());
        }
        // Whoever does not answer is not waited for here.
        let asked = took().filter(|check| {
            let hides = || matches!(self.order.sight.glance(check), Some(Glance::Hidden { .. }));
            if stood {
                self.order.sight.shows(check)
            } else {
                hides()
            }
        });
        let mut without = Vec::new();
        for check in asked {
            match glance(self.outside.dns.read().look(zone, check, record).await, values) {
                Glance::Shown => return Ok(()),
                found @ Glance::Hidden { .. } => without.push((check, found)),
                Glance::Failed { .. } => {}
            }
        }
        if without.is_empty() {
            return Ok(());
        }
        if stood {
            tracing::warn!(host = %self.order.host, %record, "somebody has removed the challenge; it is published again");
        } else {
            tracing::debug!(host = %self.order.host, %record, "nobody shows the challenge; it is published again");
        }
        for (check, found) in without {
            self.take_glance(check, found);
        }
        self.put().await
    }

    /// The rule for values in `zone`, and the servers that it asks.
    async fn rule(&self, zone: &DnsName) -> Result<(Rule, Vec<Check>), Fault> {
        let zones = &self.outside.policy.zones;
        let home = zones.at(&self.order.zone);
        let Some(rule) = zones.at(zone).or(home).map(|zone| zone.rule.clone()) else {
            return Err(Fault::no_zone(zone));
        };
        let authoritative = match rule.servers {
            Servers::Authoritative => self
                .outside
                .dns
                .read()
                .survey(zone)
                .await
                .map_err(|error| Fault::survey(zone, &error))?,
            Servers::Listed(_) | Servers::Primary => Vec::new(),
        };
        // S10: what the operator listed for the host's zone counts wherever its challenge stands.
        let listed = home.filter(|home| home.apex != *zone).map(|home| {
            let listed = home
                .rule
                .required
                .iter()
                .filter(|check| check.role == Role::Listed);
            listed.cloned().collect::<Vec<_>>()
        });
        let servers = visibility::servers(&rule, authoritative, &listed.unwrap_or_default());
        Ok((rule, servers))
    }

    /// What `core::visibility` says of what was seen so far.
    fn judge<'a>(&self, rule: &Rule, servers: &'a [Check], now: Timestamp) -> Judgment<'a> {
        let health = self.outside.health.lock().unwrap_or_else(PoisonError::into_inner);
        visibility::judge(rule, servers, &self.order.sight, &health, now)
    }

    /// Takes in what a look has brought.
    fn take_glance(&mut self, check: &Check, glance: Glance) {
        let now = (self.outside.now)();
        let metrics = &self.outside.metrics;
        let result = match &glance {
            Glance::Failed { code, .. } => {
                metrics.dns_error(code);
                "failed"
            }
            Glance::Hidden { .. } => {
                metrics.dns_error("not-visible");
                "hidden"
            }
            Glance::Shown => "shown",
        };
        let mut health = self.outside.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.take(check, &glance, now);
        health.prune(now);
        metrics.look(check, result, health.score(check));
        drop(health);
        self.order.sight.take(check, glance, now);
    }

    /// Every server that had to has shown the values; these were done without.
    fn shown(&mut self, without: Vec<Check>) {
        let now = (self.outside.now)();
        for check in &without {
            let line = self.order.sight.line(check);
            tracing::warn!(host = %self.order.host, "a name server is done without: {line}");
            self.outside.metrics.skipped(check);
            self.order.without.push(line);
        }
        self.outside.metrics.propagation(self.order.sight.age(now));
        self.order.published = Published::Shown(now);
        self.outside.board.prepared(&self.order.host);
        self.made_progress();
    }

    /// Before it looks again after a rest: if the value belongs somewhere else by now, takes it away from where it is.
    async fn move_on(&mut self) -> Result<bool, Fault> {
        let route = self.find_way().await?;
        let Some(note) = &self.order.note else {
            return Ok(false);
        };
        let noted = note.route.clone();
        let noted =
            noted.unwrap_or_else(|| Route::direct(&self.order.zone, &self.order.host.challenge_record()));
        if noted == route {
            return Ok(false);
        }
        tracing::info!(host = %self.order.host, from = %noted.record, to = %route.record, "the challenge goes elsewhere");
        for value in &note.values {
            self.outside
                .dns
                .act()?
                .withdraw(&noted.zone, &noted.record, &value.value)
                .await?;
        }
        self.order.published = Published::No;
        let (Some(note), Some(key)) = (&self.order.note, &self.order.key) else {
            return Ok(false);
        };
        let moved = Note {
            route: Some(route.clone()),
            ..note.clone()
        };
        let saved = self.saved(&moved, key);
        self.outside.store.act()?.save(&saved).await?;
        self.order.note = Some(moved);
        self.order.sight = Sight::new((self.outside.now)());
        self.take_way(route);
        Ok(true)
    }
}

/// The record that is looked at, and the values that have to stand there.
fn wanted(note: &Note) -> Option<(&RecordName, Vec<&str>)> {
    let record = note.record(note.values.first()?);
    Some((
        record,
        note.values.iter().map(|value| value.value.as_str()).collect(),
    ))
}

/// What an answer means for the values.
fn glance(looked: Result<Answer, LookError>, values: &[&str]) -> Glance {
    let answer = match looked {
        Ok(answer) => answer,
        Err(error) => {
            return Glance::Failed {
                code: error.code(),
                text: error.to_string(),
            };
        }
    };
    if values
        .iter()
        .all(|value| answer.values.iter().any(|found| found == value))
    {
        return Glance::Shown;
    }
    let seen = match answer.values.len() {
        0 => "no TXT record".to_owned(),
        1 => "another TXT value".to_owned(),
        more => format!("{more} other TXT values"),
    };
    let remark = answer
        .remark
        .map_or_else(String::new, |remark| format!(" ({remark})"));
    Glance::Hidden {
        text: format!("shows {seen}{remark}"),
    }
}

//! Looks at what faythe does, from outside: watches of the cluster, its metrics, and the zone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use faythe_bed::faythe::Faythe;
use faythe_bed::{Bed, secret_name};
use futures::stream::StreamExt;
use k8s_openapi::api::core::v1::{Event, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::hosts::{Expected, Host, Hosts, expected};
use crate::screen::Screen;

/// How often the metrics and the zone are asked and the screen is drawn.
const TICK: Duration = Duration::from_millis(200);

/// How long a host that is to be left alone is watched when all others are settled.
const QUIET: Duration = Duration::from_secs(1);

/// Applies the manifests of a directory and shows the hosts until all are settled, or the time is over.
///
/// Fails only if faythe ends or cannot be looked at.
pub(crate) async fn until_settled(
    screen: &mut Screen,
    bed: &Bed,
    faythe: &Faythe,
    manifests: &Path,
    within: Duration,
) -> Result<Hosts> {
    let mut cluster = Cluster::default();
    let mut hosts = Hosts::default();
    let (mut seen, _watches) = watch(bed);
    let mut apply = std::pin::pin!(bed.kube.apply_path(manifests));
    let mut is_applied = false;
    let mut tick = tokio::time::interval(TICK);
    let mut settled_since = None;
    let end = Instant::now() + within;
    loop {
        tokio::select! {
            outcome = &mut apply, if !is_applied => {
                outcome?;
                is_applied = true;
            }
            Some((object, when)) = seen.recv() => {
                cluster.take_in(object, when);
                // All that is waiting is one picture.
                while let Ok((object, when)) = seen.try_recv() {
                    cluster.take_in(object, when);
                }
            }
            _ = tick.tick() => {
                faythe.process().check_running()?;
                hosts.records = bed.bind.all_txt(&bed.zone).await?;
                cluster.metrics = faythe.metrics().await.unwrap_or_default();
            }
        }
        cluster.judge(&mut hosts, bed).await?;
        screen.draw(hosts.states());

        let now = Instant::now();
        if !(is_applied && hosts.is_settled()) {
            settled_since = None;
        } else if now >= *settled_since.get_or_insert(now) + QUIET {
            return Ok(hosts);
        }
        if now >= end {
            return Ok(hosts);
        }
    }
}

/// Something that was seen in the cluster.
enum Seen {
    Event(Box<Event>),
    Ingress(Box<Ingress>),
    Secret(Box<Secret>),
}

/// What a watch tells, and when it did. Looking at it may come later, as that takes time.
type Told = (Seen, Instant);

/// Watches all that matters, and goes on when a watch breaks; ends when the tasks are dropped.
fn watch(bed: &Bed) -> (UnboundedReceiver<Told>, JoinSet<()>) {
    let (teller, told) = unbounded_channel();
    let mut watches = JoinSet::new();
    watches.spawn(tell(Api::all(bed.client.clone()), Seen::Ingress, teller.clone()));
    watches.spawn(tell(Api::all(bed.client.clone()), Seen::Event, teller.clone()));
    watches.spawn(tell(bed.secrets(), Seen::Secret, teller));
    (told, watches)
}

async fn tell<K>(api: Api<K>, wrap: fn(Box<K>) -> Seen, teller: UnboundedSender<Told>)
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let objects = watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut objects = std::pin::pin!(objects);
    while let Some(object) = objects.next().await {
        // An error is followed by another try.
        if let Ok(object) = object
            && teller.send((wrap(Box::new(object)), Instant::now())).is_err()
        {
            return;
        }
    }
}

/// What was seen so far. The watches are apart, so a Secret may well come before its Ingress.
#[derive(Default)]
struct Cluster {
    asked: BTreeMap<String, Instant>,
    secrets: BTreeMap<String, (Secret, Instant)>,
    events: Vec<Event>,
    metrics: String,
}

impl Cluster {
    fn take_in(&mut self, seen: Seen, now: Instant) {
        match seen {
            Seen::Event(event) if event.involved_object.kind.as_deref() == Some("Ingress") => {
                self.events.push(*event)
            }
            // Of other objects, such as namespaces.
            Seen::Event(_) => {}
            Seen::Ingress(ingress) => {
                for host in hosts_of(&ingress) {
                    self.asked.entry(host).or_insert(now);
                }
            }
            Seen::Secret(secret) => {
                let name = secret.metadata.name.clone().unwrap_or_default();
                // One that changes is judged anew, but it was stored when it was first seen.
                let stored = self.secrets.get(&name).map_or(now, |(_, stored)| *stored);
                self.secrets.insert(name, (*secret, stored));
            }
        }
    }

    /// Brings the hosts up to date.
    async fn judge(&self, hosts: &mut Hosts, bed: &Bed) -> Result<()> {
        for (name, asked) in &self.asked {
            let new = || Host::new(expected(name, &bed.zone));
            let host = hosts.by_name.entry(name.clone()).or_insert_with(new);
            host.state = state_in(&self.metrics, name);
            host.warning = self.warning_about(name, host.expected);
            let Some((secret, stored)) = self.secrets.get(&secret_name(name)) else {
                continue;
            };
            if host.certificate.is_none() {
                match bed.check_secret(secret, name).await {
                    Ok(certificate) => {
                        host.flaw = None;
                        host.certificate = Some((certificate, stored.saturating_duration_since(*asked)));
                    }
                    Err(error) => host.flaw = Some(format!("{error:#}")),
                }
            }
        }
        Ok(())
    }

    /// The text of the Warning about a host; of one that is to be left alone, that of any Event.
    fn warning_about(&self, host: &str, expected: Expected) -> Option<String> {
        let of_interest =
            |event: &&Event| expected == Expected::Nothing || event.type_.as_deref() == Some("Warning");
        let mut messages = self
            .events
            .iter()
            .filter(of_interest)
            .filter_map(|event| event.message.as_ref());
        messages.find(|message| mentions(message, host)).cloned()
    }
}

/// The hosts that an Ingress states, in its rules or under `tls`.
fn hosts_of(ingress: &Ingress) -> Vec<String> {
    let Some(spec) = &ingress.spec else {
        return Vec::new();
    };
    let rules = spec.rules.iter().flatten().filter_map(|rule| rule.host.clone());
    let tls = spec
        .tls
        .iter()
        .flatten()
        .flat_map(|tls| tls.hosts.iter().flatten().cloned());
    rules.chain(tls).collect()
}

/// Whether a text has a host in it as a word of its own.
fn mentions(text: &str, host: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    text.split(|c| !in_name(c))
        .any(|word| word == host || word.strip_suffix('.') == Some(host))
}

/// The state of a host in metrics like `faythe_certificate_state{host="a.test",state="waiting"} 1`.
fn state_in(metrics: &str, host: &str) -> Option<String> {
    let host = format!("host=\"{host}\"");
    let mut lines = metrics
        .lines()
        .filter(|line| line.contains(&host) && line.ends_with(" 1"));
    let (_, rest) = lines.find_map(|line| line.split_once("state=\""))?;
    rest.split_once('"').map(|(state, _)| state.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{mentions, state_in};

    #[test]
    fn a_host_is_found_as_a_word() {
        assert!(mentions("a.test: a label is too long", "a.test"));
        assert!(mentions("cannot serve \"*.a.test\".", "*.a.test"));
        assert!(mentions("no certificate for a.test.", "a.test"));
        assert!(!mentions("b.a.test: no", "a.test"));
    }

    #[test]
    fn the_state_is_the_one_that_is_set() {
        let metrics = "m{host=\"a.test\",state=\"held\"} 0\nm{host=\"a.test\",state=\"ordered\"} 1\n";
        assert_eq!(state_in(metrics, "a.test").as_deref(), Some("ordered"));
        assert_eq!(state_in(metrics, "b.test"), None);
    }
}

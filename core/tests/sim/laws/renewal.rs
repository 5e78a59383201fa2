//! Renewal as the CA wants it (P20, P21, RFC 9773): a certificate is replaced once, its heir names it and so is exempt, a
//! fresh one is never due, one that is recalled is replaced soon, and nobody asks before he was told to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::ari::{CertificateId, Window};
use faythe_core::cert::{CertFacts, Standing, standing};
use faythe_core::name::Hostname;
use faythe_core::schedule::{Threshold, after, ahead};
use jiff::SignedDuration;

use super::{LOOKED_AT, Laws, UNDER_WAY};
use crate::outside::Outside;
use crate::shell::Shell;

/// A recall is known within this: the longest time that the CA names, and the longest pause after it has not answered.
const KNOWN: SignedDuration = SignedDuration::from_hours(32);
/// The look at what is recalled.
const LOOK: SignedDuration = SignedDuration::from_mins(30);
/// A renewal of somebody whose time has come ends within this at the end of the quiet days.
const RENEWED: SignedDuration = SignedDuration::from_hours(3);

/// What is watched for.
#[derive(Default)]
pub(super) struct Watch {
    /// When which process was told something of a certificate, and before when it may not ask again.
    unasked: BTreeMap<(u64, CertificateId), (Timestamp, Timestamp)>,
    /// Whose certificate was revoked, which one, and when.
    recalled: BTreeMap<Hostname, (CertificateId, Timestamp)>,
    next_look: Option<Timestamp>,
    /// Which process was told that a certificate is not to be named any more as one that is replaced.
    irreplaceable: BTreeSet<(u64, CertificateId)>,
}

/// What is held for a host and came from this CA, if it can be read.
fn held<'a>(host: &Hostname, outside: &'a Outside) -> Option<&'a CertFacts> {
    let held = outside.cluster.held(host)?;
    held.issued_at?;
    held.content.as_ref().ok()
}

impl Laws {
    /// Whether a certificate serves, and it is not time to renew it.
    pub(super) fn is_fresh(host: &Hostname, outside: &Outside) -> bool {
        let now = outside.clock();
        let there = outside.cluster.held(host).into_iter();
        let fine = matches!(
            standing(host, there, Threshold::Default, now),
            Standing::Fine { .. }
        );
        let window = Self::window(host, outside);
        fine && window.is_none_or(|window| now < window.start()) && !Self::is_recalled(host, outside)
    }

    /// When the CA wants what is held for `host` renewed.
    pub(super) fn window(host: &Hostname, outside: &Outside) -> Option<Window> {
        outside.ca.window(held(host, outside)?.id.as_ref()?, outside.now)
    }

    /// Whether the CA has recalled what is held for `host`.
    fn is_recalled(host: &Hostname, outside: &Outside) -> bool {
        let id = held(host, outside).and_then(|facts| facts.id.as_ref());
        id.is_some_and(|id| outside.ca.is_revoked(id))
    }

    /// Whether the CA wants the certificate of `host` renewed later. Ours of ten days are due at half their life while it
    /// has not said so.
    pub(super) fn is_premature(host: &Hostname, outside: &Outside) -> bool {
        let window = Self::window(host, outside);
        window.is_some_and(|window| outside.now < window.start()) && !Self::is_recalled(host, outside)
    }

    /// Whether a certificate serves at the end, when everything has had its time.
    pub(super) fn is_served(host: &Hostname, outside: &Outside) -> bool {
        let now = outside.clock();
        let there = outside.cluster.held(host).into_iter();
        match standing(host, there, Threshold::Default, now) {
            Standing::Fine { .. } => true,
            Standing::Short(_) => held(host, outside).is_some_and(|facts| {
                let window = facts.id.as_ref().and_then(|id| outside.ca.window(id, now));
                window.is_some_and(|window| now < ahead(window.end(), RENEWED)) && facts.not_after > now
            }),
        }
    }

    /// Whether a renewal of `host` would be exempt from every limit, and the process knows it.
    pub(super) fn is_exempt(host: &Hostname, shell: &Shell, outside: &Outside) -> bool {
        let now = outside.now;
        let Some(id) = held(host, outside).and_then(|facts| facts.id.as_ref()) else {
            return false;
        };
        let window = outside.ca.window(id, now);
        let within = |at| window.is_some_and(|window| window.start() <= at && at < window.end());
        let theirs = ahead(now, outside.ways.ca_clock_ahead);
        let within = within(theirs) && within(ahead(theirs, UNDER_WAY));
        within && outside.clock_ahead.is_zero() && shell.world.hint(host).is_some()
    }

    /// What a process believes that the CA has said, it has said; only a recall may be news.
    pub(super) fn check_hint(host: &Hostname, shell: &Shell, outside: &Outside) -> Result<(), String> {
        let (Some(hint), Some(id)) = (
            shell.world.hint(host),
            held(host, outside).and_then(|facts| facts.id.as_ref()),
        ) else {
            return Ok(());
        };
        let said = outside.ca.window(id, outside.now);
        let news = outside.ca.is_revoked(id) || hint.of != faythe_core::renewal::key(id);
        if news || said == Some(hint.window) {
            Ok(())
        } else {
            Err(format!("the CA says {said:?}, not {:?}", hint.window))
        }
    }

    /// A new order for `host` is about to be asked for that names what it replaces: what is held.
    pub(crate) fn names(
        &mut self,
        life: u64,
        host: &Hostname,
        replaces: Option<&CertificateId>,
        outside: &Outside,
    ) {
        let id = held(host, outside).and_then(|facts| facts.id.as_ref());
        let since = ahead(outside.now, -UNDER_WAY);
        let crossed = self.was_meddled_with_since(host, since)
            || self.stored_at.get(host).is_some_and(|at| *at >= since);
        let words = format!("the order for {host} replaces {replaces:?}, and {id:?} is held");
        // The CA has said that it is not to be named again.
        let left_out = replaces.is_none()
            && id.is_some_and(|id| self.renewal.irreplaceable.contains(&(life, id.clone())));
        self.law(id == replaces || crossed || left_out, outside.now, &words);
    }

    /// The CA does not take a certificate for one that another may take the place of, and the process is told.
    pub(crate) fn is_irreplaceable(&mut self, life: u64, certificate: Option<&CertificateId>) {
        let told = certificate.map(|id| (life, id.clone()));
        self.renewal.irreplaceable.extend(told);
    }

    /// An order is finalized: no other one that replaces the same certificate ever was.
    pub(super) fn replaces_once(&mut self, order: usize, outside: &Outside) {
        let Some(replaced) = outside.ca.orders[order].replaces else {
            return;
        };
        let mut all = outside.ca.orders.iter().enumerate();
        let other =
            all.find(|(other, its)| *other != order && its.replaces == Some(replaced) && its.finalized);
        if let Some((other, its)) = other {
            let words = format!("{replaced} is replaced by {order}, and was by {other}");
            // One that never ends is given up for another one.
            self.law(its.stuck, outside.now, &words);
        }
    }

    /// A process asks about a certificate.
    pub(crate) fn asks(&mut self, life: u64, certificate: &CertificateId, outside: &Outside) {
        let before = self.renewal.unasked.get(&(life, certificate.clone())).copied();
        let wrong = self.clock_wrong.is_some_and(|at| ahead(at, KNOWN) > outside.now);
        let early = before.filter(|(_, until)| outside.now < *until);
        // An answer that finds nobody who wants the name is lost.
        let host = outside.ca.host_of(certificate);
        let wished = host.and_then(|host| self.wanted.get(host));
        let lost = early.is_some_and(|(told, _)| wished.is_some_and(|at| *at >= ahead(told, -UNDER_WAY)));
        let words = format!("{certificate} is asked about before {before:?}");
        self.law(early.is_none() || lost || wrong, outside.now, &words);
    }

    /// It is told when to ask again.
    pub(crate) fn is_told(
        &mut self,
        life: u64,
        certificate: &CertificateId,
        again: Duration,
        outside: &Outside,
    ) {
        let times = (outside.now, after(outside.now, again));
        self.renewal.unasked.insert((life, certificate.clone()), times);
        self.tells_window(certificate, outside);
    }

    /// The CA recalls what is held for these.
    pub(crate) fn recalls(&mut self, hosts: Vec<Hostname>, outside: &Outside) {
        for host in hosts {
            let id = held(&host, outside).and_then(|facts| facts.id.clone());
            if let Some(id) = id {
                self.renewal.recalled.insert(host, (id, outside.now));
            }
        }
        self.renewal.next_look = Some(outside.now);
    }

    /// What is recalled does not stay. At each step.
    pub(crate) fn check_recalled(&mut self, outside: &Outside) {
        let now = outside.now;
        if self.renewal.next_look.is_none_or(|next| next > now) {
            return;
        }
        let mut watch = std::mem::take(&mut self.renewal.recalled);
        watch.retain(|host, (id, _)| {
            let there = held(host, outside).and_then(|facts| facts.id.as_ref());
            there == Some(id) && self.wanted.contains_key(host)
        });
        for (host, (id, since)) in &watch {
            let clear = self.clear_time(host, *since, *since, now, &[], outside);
            let enough = KNOWN + self.enough(outside);
            let words = format!("{id} of {host} was recalled at {since} and is held still");
            self.law(clear < enough, now, &words);
        }
        self.renewal.next_look = (!watch.is_empty()).then(|| ahead(now, LOOK));
        self.renewal.recalled = watch;
    }

    /// A change in the cluster may have crossed what was decided.
    pub(super) fn has_crossed(&self, host: &Hostname, now: Timestamp) -> bool {
        self.was_meddled_with_since(host, ahead(now, -LOOKED_AT))
    }
}

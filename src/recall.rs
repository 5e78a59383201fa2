//! `faythe renew` and `faythe revoke`: another certificate takes the place of a host's, and the old one is revoked.
//!
//! The command orders nothing. It asks, in the Secret or in the note of what has failed, and the instance that leads obeys,
//! within every limit that holds for it: so there is one that orders, whatever is typed. All can be repeated after a failure
//! at any point.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use faythe_core::budget::{Block, Exemption, Ledger};
use faythe_core::cas::{CaId, CaKey};
use faythe_core::name::Hostname;
use faythe_core::renewal;
use faythe_core::schedule::{self, Demand, Failures, Why};
use faythe_core::want::{Meaning, meaning};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::ca::{Ca, Revocation};
use crate::config::Config;
use crate::daemon::{self, Adapters};
use crate::store::StoreError;
use crate::store::recall::{Made, Recall, Recalls};
use crate::x509;

/// How often the Secret is looked at meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// What is to be done with the certificate of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Another takes its place, or the first one is made; by force within `issue_grace` too.
    Renew(bool),
    /// Another takes its place, and it is revoked then.
    Replace(Revocation),
    /// It is revoked.
    Revoke(Revocation),
}

/// Does it within `patience`; `tell` is given each line of the outcome.
pub(crate) async fn run(
    config: &Config,
    host: &str,
    action: Action,
    patience: Duration,
    tell: &mut dyn FnMut(String),
) -> anyhow::Result<()> {
    let host = match meaning(host, &config.zones()) {
        Meaning::Certificate(host) => host,
        Meaning::Elsewhere => bail!("{host:?} lies outside every zone of the configuration"),
        Meaning::Refused(why) => bail!("{host:?} can have no certificate: {why}"),
    };
    let adapters = daemon::adapters(config).await?;
    let recalls = Recalls::new(&adapters.client, daemon::layout(config));
    let call = Call {
        config,
        adapters: &adapters,
        recalls: &recalls,
        host: &host,
        patience,
    };
    let (old, reason) = match action {
        Action::Revoke(reason) => (call.read().await?.made, reason),
        Action::Renew(force) => return call.renew(force, tell).await,
        Action::Replace(reason) => {
            let recall = call.read().await?;
            let (old, demand) = match &recall.revoke {
                // An earlier run was stopped after it had asked; what came of that may have been a failure.
                Some(old) if old.leaf == recall.made.leaf && call.has_failed_since(&recall).await? => {
                    let demand = call.demand(false, tell).await?;
                    call.ask(&recall, demand, true).await?;
                    (old.clone(), Some(demand))
                }
                Some(old) => (old.clone(), None),
                None => {
                    // Nothing is ordered for what could not be revoked then.
                    maker(config, &host, &recall.made)?;
                    let demand = call.demand(false, tell).await?;
                    call.ask(&recall, demand, true).await?;
                    (recall.made, Some(demand))
                }
            };
            call.replaced(Some(&old.leaf), demand, tell).await?;
            (old, reason)
        }
    };
    let serial = x509::serial_of(&old.leaf).context("the certificate to be revoked")?;
    // It is known at the CA that made it alone.
    let ca = maker(config, &host, &old)?;
    let ca = adapters.cas.get(ca.place()).context("the CA")?;
    let revoked = ca.revoke(&old.leaf, reason).await;
    revoked.with_context(|| format!("the revocation of {serial}; repeat the command to try again"))?;
    tell(format!("{host}: certificate {serial} is revoked"));
    // The daemon may write there at the same moment.
    for _ in 0..3 {
        let recall = call.read().await?;
        // What has been asked about another one is asked still.
        if recall.revoke.as_ref().is_none_or(|other| other.leaf != old.leaf) {
            return Ok(());
        }
        match recalls.settle(&recall).await {
            Err(StoreError::Conflict { .. }) => {}
            settled => return Ok(settled?),
        }
    }
    bail!("{host}: the certificate is revoked, but its Secret keeps changing; repeat the command")
}

/// A command that is being obeyed.
struct Call<'a> {
    config: &'a Config,
    adapters: &'a Adapters,
    recalls: &'a Recalls,
    host: &'a Hostname,
    patience: Duration,
}

impl Call<'_> {
    /// Another certificate, or the first one where what has failed keeps that waiting.
    async fn renew(&self, force: bool, tell: &mut dyn FnMut(String)) -> anyhow::Result<()> {
        let held = match self.recalls.read(self.host).await {
            // What is no certificate is replaced by one as if there were nothing.
            Err(StoreError::Unreadable { .. }) => None,
            read => read?,
        };
        let demand = self.demand(force, tell).await?;
        if let Some(recall) = held {
            self.ask(&recall, demand, false).await?;
            return self.replaced(Some(&recall.made.leaf), Some(demand), tell).await;
        }
        self.room(None).await?;
        ensure!(
            self.recalls.ask_by_note(self.host, demand).await?,
            "{} has no certificate of ours ({}), and no attempt that has failed, so there is nothing in which this command could \
             ask. A host for which an Ingress asks is ordered without it; what keeps it waiting, the log and the metrics of \
             the instance of Faythe that leads say. If that is held for a day until somebody acts, start Faythe anew once it \
             is mended; else it goes on by itself",
            self.host,
            self.recalls.place(self.host)
        );
        self.replaced(None, Some(demand), tell).await
    }

    async fn read(&self) -> anyhow::Result<Recall> {
        let found = self.recalls.read(self.host).await?;
        found.with_context(|| format!("no certificate of ours is held for {}", self.host))
    }

    /// What the CA has seen fail.
    async fn failures(&self) -> anyhow::Result<Option<Failures>> {
        let saved = self.adapters.store.note(self.host).await?;
        Ok(saved.and_then(|saved| saved.failures))
    }

    /// Whether the CA has seen an attempt fail since another certificate was asked for, so that nothing is asked any more.
    async fn has_failed_since(&self, recall: &Recall) -> anyhow::Result<bool> {
        let asked = recall.held.renew.as_ref().map(|demand| demand.at);
        let failures = self.failures().await?;
        Ok(failures.is_some_and(|failures| asked.is_none_or(|asked| asked < failures.last)))
    }

    /// Asks by hand, as of now; says what is not passed.
    async fn demand(&self, force: bool, tell: &mut dyn FnMut(String)) -> anyhow::Result<Demand> {
        let now = (self.adapters.now)();
        let by_hand = |at| Demand {
            at,
            force,
            why: Why::Hand,
        };
        let Some(failures) = self.failures().await? else {
            return Ok(by_hand(now));
        };
        // The clock of the instance that leads may be ahead of ours.
        let at = now.max(schedule::after(failures.last, Duration::from_millis(1)));
        let demand = by_hand(at);
        let next = failures.next_attempt(self.config.issue_grace, Some(demand));
        let wait = now.duration_until(next);
        if wait > SignedDuration::from_secs(1) {
            let why = if failures.not_before.is_some_and(|bound| bound >= next) {
                "as the CA has asked"
            } else {
                "as `issue_grace` says, which only `renew --force` passes"
            };
            tell(format!(
                "{}: the CA has seen an attempt fail at {:.0}; the next one comes at {:.0}, {why}",
                self.host, failures.last, next
            ));
        }
        Ok(demand)
    }

    /// Asks the instance that leads for another certificate, if an order may be made at all.
    async fn ask(&self, recall: &Recall, demand: Demand, revoke: bool) -> anyhow::Result<()> {
        self.room(Some(recall)).await?;
        let serial = x509::serial_of(&recall.made.leaf).context("the certificate that is held")?;
        self.recalls.ask(recall, serial, demand, revoke).await?;
        Ok(())
    }

    /// # Errors
    /// No CA has room for another certificate.
    async fn room(&self, recall: Option<&Recall>) -> anyhow::Result<()> {
        let (cas, zones) = (self.config.cas(), self.config.zones());
        let zone = zones.of(self.host.base()).map(|zone| &zone.apex);
        let mut blocks = Vec::new();
        for ca in cas.of_zone(zone) {
            blocks.push(self.block(*ca, recall).await?);
        }
        // One that has room will do.
        let blocks: Option<Vec<Block>> = blocks.into_iter().collect();
        if let Some(block) = blocks.and_then(|blocks| blocks.into_iter().min_by_key(|block| block.until)) {
            bail!(
                "the CA's limit of {} leaves no room for another certificate before {}; nothing was changed",
                block.limit.words(),
                block.until
            );
        }
        Ok(())
    }

    /// What keeps a CA from another certificate, by what it has counted.
    async fn block(&self, ca: CaId, recall: Option<&Recall>) -> anyhow::Result<Option<Block>> {
        let (config, adapters, host) = (self.config, self.adapters, self.host);
        let now = (adapters.now)();
        let ours = |recall: &&Recall| maker(config, host, &recall.made).is_ok_and(|maker| maker == ca);
        let limits = config.cas.get(ca.place()).map(|ca| ca.limits).unwrap_or_default();
        // To another it is no renewal.
        let renewed = recall.filter(ours).filter(|_| !limits.counts_renewals);
        let exemption = renewed.map_or(Exemption::Nothing, |recall| {
            renewal::exemption(host, std::iter::once(&recall.held), None, now)
        });
        let ca = adapters.cas.get(ca.place()).context("the CA")?;
        let Some(record) = adapters.store.ledger(ca.directory()).await? else {
            return Ok(None);
        };
        let mut ledger = Ledger::new(limits);
        ledger.load(&record, now);
        Ok(ledger.block(host, exemption, now))
    }

    /// Waits until another certificate is in the place of `old`, or the attempt that was asked for has failed.
    async fn replaced(
        &self,
        old: Option<&[u8]>,
        demand: Option<Demand>,
        tell: &mut dyn FnMut(String),
    ) -> anyhow::Result<()> {
        let (host, began) = (self.host, Instant::now());
        loop {
            let held = match self.recalls.read(host).await {
                Err(StoreError::Unreadable { .. }) if old.is_none() => None,
                read => read?,
            };
            match held {
                Some(recall) if Some(&*recall.made.leaf) != old => {
                    let serial = x509::serial_of(&recall.made.leaf);
                    let serial = serial.context("the certificate that is held now")?;
                    tell(match old {
                        Some(_) => format!("{host}: certificate {serial} has taken its place"),
                        None => format!("{host}: certificate {serial} is stored"),
                    });
                    return Ok(());
                }
                None if old.is_some() => bail!("no certificate of ours is held for {host} any more"),
                Some(_) | None => {}
            }
            if let Some(demand) = demand
                && let Some(failures) = self.failures().await?
                && failures.last > demand.at
            {
                bail!("{host}: the CA has seen the attempt fail: {}", failures.text);
            }
            ensure!(
                began.elapsed() < self.patience,
                "{host} has no other certificate after {} s. The instance of Faythe that leads makes one, if an Ingress \
                 asks for the host; its log and metrics say what keeps it. Repeat this command to go on from here",
                self.patience.as_secs()
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The CA that made a certificate of `host`, as far as that is known: else the first of the zone.
fn maker(config: &Config, host: &Hostname, made: &Made) -> anyhow::Result<CaId> {
    let cas = config.cas();
    let Some(by) = &made.by else {
        let zones = config.zones();
        let zone = zones.of(host.base()).map(|zone| &zone.apex);
        return cas.of_zone(zone).first().copied().context("a CA");
    };
    let found = cas.find(CaKey::of(by));
    found.with_context(|| {
        format!("the CA that made the certificate of {host} is not among `cas` any more; put it back")
    })
}

//! `faythe renew` and `faythe revoke`: another certificate takes the place of a host's, and the old one is revoked.
//!
//! The command orders nothing. It asks, in the Secret, and the instance that leads obeys, within every limit that holds for
//! it: so there is one that orders, whatever is typed. All can be repeated after a failure at any point.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use faythe_core::budget::{Block, Exemption, Ledger};
use faythe_core::cas::{CaId, CaKey};
use faythe_core::name::Hostname;
use faythe_core::renewal;
use faythe_core::want::{Meaning, meaning};
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
    /// Another takes its place.
    Renew,
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
    let recall = read(&recalls, &host).await?;
    let (old, reason) = match action {
        Action::Revoke(reason) => (recall.made, reason),
        Action::Renew => {
            ask(&adapters, config, &recalls, &host, &recall, false).await?;
            return replaced(&recalls, &host, &recall.made.leaf, patience, tell).await;
        }
        Action::Replace(reason) => {
            let old = match &recall.revoke {
                // An earlier run was stopped after it had asked.
                Some(old) => old.clone(),
                None => {
                    // Nothing is ordered for what could not be revoked then.
                    maker(config, &host, &recall.made)?;
                    ask(&adapters, config, &recalls, &host, &recall, true).await?;
                    recall.made
                }
            };
            replaced(&recalls, &host, &old.leaf, patience, tell).await?;
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
        let recall = read(&recalls, &host).await?;
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

async fn read(recalls: &Recalls, host: &Hostname) -> anyhow::Result<Recall> {
    let found = recalls.read(host).await?;
    found.with_context(|| format!("no certificate of ours is held for {host}"))
}

/// Asks the instance that leads for another certificate, if an order may be made at all.
async fn ask(
    adapters: &Adapters,
    config: &Config,
    recalls: &Recalls,
    host: &Hostname,
    recall: &Recall,
    revoke: bool,
) -> anyhow::Result<()> {
    let (cas, zones) = (config.cas(), config.zones());
    let zone = zones.of(host.base()).map(|zone| &zone.apex);
    let mut blocks = Vec::new();
    for ca in cas.of_zone(zone) {
        blocks.push(block(adapters, config, *ca, host, recall).await?);
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
    let serial = x509::serial_of(&recall.made.leaf).context("the certificate that is held")?;
    recalls.ask(recall, &serial, revoke).await?;
    Ok(())
}

/// What keeps a CA from another certificate for `host`, by what it has counted.
async fn block(
    adapters: &Adapters,
    config: &Config,
    ca: CaId,
    host: &Hostname,
    recall: &Recall,
) -> anyhow::Result<Option<Block>> {
    let now = (adapters.now)();
    let exemption = match maker(config, host, &recall.made) {
        Ok(maker) if maker == ca => renewal::exemption(host, std::iter::once(&recall.held), None, now),
        // To another it is no renewal.
        Ok(_) | Err(_) => Exemption::Nothing,
    };
    let limits = config.cas.get(ca.place()).map(|ca| ca.limits).unwrap_or_default();
    let ca = adapters.cas.get(ca.place()).context("the CA")?;
    let Some(record) = adapters.store.ledger(ca.directory()).await? else {
        return Ok(None);
    };
    let mut ledger = Ledger::new(limits);
    ledger.load(&record, now);
    Ok(ledger.block(host, exemption, now))
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

/// Waits until another certificate has taken the place of `old`.
async fn replaced(
    recalls: &Recalls,
    host: &Hostname,
    old: &[u8],
    patience: Duration,
    tell: &mut dyn FnMut(String),
) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let recall = read(recalls, host).await?;
        if recall.made.leaf != old {
            let serial = x509::serial_of(&recall.made.leaf).context("the certificate that is held now")?;
            tell(format!("{host}: certificate {serial} has taken its place"));
            return Ok(());
        }
        ensure!(
            began.elapsed() < patience,
            "{host} has no other certificate after {} s. The instance of Faythe that leads makes one, if an Ingress asks \
             for the host; its log and metrics say what keeps it. Repeat this command to go on from here",
            patience.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
}

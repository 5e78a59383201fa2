//! Puts the parts together: from a configuration to a running loop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use faythe_core::Timestamp;
use faythe_core::name::DnsName;
use faythe_core::policy::Policy;
use faythe_core::renewal::SPREAD;
use faythe_core::schedule::ahead;
use futures::StreamExt;
use jiff::SignedDuration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::act::{self, Desk, Outside, Room};
use crate::ca::Ca;
use crate::ca::acme::{Acme, Binding, Registration, Settings};
use crate::clock::{self, Now, Witness};
use crate::cluster::{self, Client};
use crate::config::{CaConfig, Config, KeyConfig, ZoneConfig};
use crate::dns::client::{Client as Names, ZoneSetup};
use crate::dns::signer::KeySource;
use crate::dns::{Dns, Leave, Observed};
use crate::lease::election::{self, Election};
use crate::lease::{Office, Standing, Tenure};
use crate::neighbors::Board;
use crate::report::events::Events;
use crate::report::http::{self, Page};
use crate::report::metrics::Metrics;
use crate::report::{Health, Notice, Report};
use crate::run::{self, Inputs};
use crate::source::ingress;
use crate::store::Store;
use crate::store::place::Layout;
use crate::store::recall::follow_demands;
use crate::store::secrets::{self, Secrets};
use crate::sweep::{self, Removal};

/// Orders worked on at once: enough that neither CA nor name server waits for us, and no flood for either.
const ORDERS_AT_ONCE: usize = 32;
/// How long the parts beside the loop may take to end: the Lease is let go within three seconds.
const PARTING: Duration = Duration::from_secs(4);
/// Events that may wait to be sent.
const NOTICES: usize = 1_000;

/// The adapters that both the daemon and `check` use.
pub(crate) struct Adapters {
    pub(crate) client: Client,
    pub(crate) store: Arc<dyn Store>,
    /// The CAs, in order.
    pub(crate) cas: Vec<Arc<Acme>>,
    pub(crate) dns: Arc<dyn Dns>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) now: Now,
    witness: Arc<Witness>,
}

/// Runs until `stop`.
///
/// # Errors
/// What keeps it from starting, or a part that has ended by itself.
pub(crate) async fn run(config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    let now = clock::system();
    let (office, tenure) = if config.leader_election {
        let (office, tenure) = Tenure::vacant(Arc::clone(&now));
        (Some(office), tenure)
    } else {
        (None, Tenure::sole(Arc::clone(&now)))
    };
    let leader = tenure.clone();
    let leave = Arc::new(move || leader.check().is_ok());
    let Adapters {
        client,
        store,
        cas,
        dns,
        metrics,
        now,
        witness,
    } = adapters_with(config, now, leave).await?;

    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let (health, seen_health) = watch::channel(Health {
        ready: false,
        turned: Instant::now(),
    });
    if let Some(listen) = config.listen {
        let listener = http::bind(listen).await.with_context(|| {
            format!("`listen`: {listen} cannot be bound; choose another address, or `off`")
        })?;
        let names = config.cas.iter().map(|ca| ca.name.clone());
        let counted: Vec<_> = names.zip(cas.iter().cloned()).collect();
        let told = Arc::clone(&metrics);
        let (elected, others) = (tenure.clone(), tenure.clone());
        let page = Page {
            metrics: Arc::clone(&metrics),
            health: seen_health,
            heartbeat: config.monitor_interval,
            count: Arc::new(move || {
                for (name, ca) in &counted {
                    let traffic = ca.traffic();
                    if let Some(offset) = traffic.clock_offset_secs {
                        told.updates.clock("ca", ca.directory(), offset);
                    }
                    told.acme_requests(name, traffic.requests);
                }
                if let Some(standing) = elected.standing() {
                    told.election(&Standing::CODES, standing.code());
                }
            }),
            besides: Arc::new(move || {
                let standing = others.standing()?;
                (standing != Standing::Leads).then(|| standing.to_string())
            }),
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            http::serve(listener, page, stop)
                .await
                .context("the HTTP server has ended")
        });
        tracing::info!(%listen, "metrics and health are served");
    }
    let (notices, waiting) = mpsc::channel(NOTICES);
    tasks.spawn(send_events(
        Events::new(client.clone()),
        waiting,
        Arc::clone(&now),
        stop.clone(),
    ));

    tasks.spawn(look_at_zones(Arc::clone(&dns), apexes(config), stop.clone()));

    let inputs = Inputs {
        requests: ingress::follow_all(&client, config.monitor_interval).boxed(),
        secrets: secrets::follow_held(&client, layout(config), config.monitor_interval).boxed(),
        demands: follow_demands(&client, &config.secret_namespace, config.monitor_interval).boxed(),
    };
    // Its own signal: it is held until the last step is done.
    let done = CancellationToken::new();
    if let Some(office) = office {
        stand(config, &client, &now, office, &mut tasks, &done)?;
    }
    let profiles = config.zones.iter().filter_map(|zone| {
        let profile = zone.profile.clone()?;
        Some((zone.apex.clone(), profile))
    });
    let profiles = profiles.collect();
    let desks = cas.iter().zip(&config.cas).map(|(ca, configured)| Desk {
        ca: tenure.fence(Arc::clone(ca) as Arc<dyn Ca>),
        limits: configured.limits,
    });
    let desks = desks.collect();
    let outside = Arc::new(Outside {
        desks,
        cas: config.cas(),
        dns: tenure.fence(dns),
        store: tenure.fence(store),
        tenure,
        now,
        witness,
        policy: policy(config),
        profiles,
        setups: config.setups(),
        key_type: config.key_type,
        board: Board::default(),
        health: Mutex::default(),
        metrics: Arc::clone(&metrics),
        usual: Mutex::default(),
        unnoted: Room::default(),
    });
    let report = Report::new(metrics, notices, health);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        zone = names(config.zones.iter().map(|zone| &zone.apex)),
        namespace = config.secret_namespace,
        ca = names(config.cas.iter().map(|ca| &ca.url)),
        "starting"
    );
    let running = run::run(inputs, outside, report, config.monitor_interval, stop.clone());
    tokio::pin!(running);
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended.map_err(Into::into),
            Some(task) = tasks.join_next() => {
                task.context("a task has failed")??;
                // Ends by itself only when it was told to stop.
                anyhow::ensure!(stop.is_cancelled(), "a part has ended by itself");
            }
        }
    };
    stop.cancel();
    done.cancel();
    let parts = async {
        while let Some(task) = tasks.join_next().await {
            task.context("a task has failed")??;
        }
        anyhow::Ok(())
    };
    match timeout(PARTING, parts).await {
        Ok(parts) => parts?,
        // Whoever asks for metrics and does not finish asking, or an Event that is not answered.
        Err(_) => tracing::info!("an exchange was cut short at the end"),
    }
    ended
}

/// Says at the start which update servers do not hold their zone (P10). It is no reason to end: a server may come later.
async fn look_at_zones(
    dns: Arc<dyn Dns>,
    zones: Vec<DnsName>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    for zone in &zones {
        let answers = tokio::select! {
            answers = dns.authority(zone) => answers,
            () = stop.cancelled() => break,
        };
        for (server, answer) in answers {
            if let Err(error) = answer {
                tracing::warn!(%zone, server, "asked whether it holds zone {zone}, {server} {error}");
            }
        }
    }
    stop.cancelled().await;
    Ok(())
}

/// The zones that take updates.
fn apexes(config: &Config) -> Vec<DnsName> {
    let aside = config.aside();
    let all = config.zones.iter().chain(&aside);
    all.map(|zone| zone.apex.clone()).collect()
}

/// Stands for election.
fn stand(
    config: &Config,
    client: &Client,
    now: &Now,
    office: Office,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    done: &CancellationToken,
) -> anyhow::Result<()> {
    let settings = election::Settings {
        namespace: config.secret_namespace.clone(),
        name: config.lease_name.clone(),
        identity: election::identity().context("a name for this process")?,
        zones: config.zones.iter().map(|zone| zone.apex.to_string()).collect(),
    };
    let election = Election::new(client, settings, office, Arc::clone(now));
    let done = done.clone();
    tasks.spawn(async move {
        election.run(done).await;
        Ok(())
    });
    Ok(())
}

/// Looks for values that earlier orders left behind, and removes what `removal` says.
///
/// # Errors
/// The set-up fails, or the notes cannot be read.
pub(crate) async fn sweep(
    config: &Config,
    removal: Removal,
    tell: &mut dyn FnMut(sweep::Finding),
) -> anyhow::Result<()> {
    let adapters = adapters(config).await?;
    let aside = config.aside();
    let servers = config
        .zones
        .iter()
        .chain(&aside)
        .map(|zone| (zone.apex.clone(), zone.servers.clone()))
        .collect();
    let desks = adapters.cas.iter().map(|ca| &**ca as &dyn Ca);
    let desks: Vec<_> = desks.collect();
    let places = sweep::Places {
        store: &*adapters.store,
        cas: &config.cas(),
        desks: &desks,
        dns: &*adapters.dns,
        zones: &config.zones(),
        servers: &servers,
        now: (adapters.now)(),
    };
    sweep::run(&places, removal, tell)
        .await
        .context("the notes of orders")
}

/// Makes every adapter, for a command that a person has given; asks nobody.
pub(crate) async fn adapters(config: &Config) -> anyhow::Result<Adapters> {
    adapters_with(config, clock::system(), Arc::new(|| true)).await
}

/// Makes every adapter; asks nobody. Zones and CAs are sent what changes something as long as `leave` says so.
async fn adapters_with(config: &Config, now: Now, leave: Leave) -> anyhow::Result<Adapters> {
    let metrics = Arc::new(Metrics::new());
    let counted = Arc::clone(&metrics);
    let ours = Arc::clone(&now);
    let witness = Arc::<Witness>::default();
    let witnessed = Arc::clone(&witness);
    let offset = clock::Offset::default();
    let observe: cluster::Observe = Arc::new(move |verb, head| {
        counted.api_request(verb.as_str(), head.map(|(status, _)| status.as_u16()));
        if let Some((_, headers)) = head {
            tell_clock(&offset, &counted, &witnessed, headers, ours());
        }
    });
    let client = cluster::connect(observe).await.context("the Kubernetes API")?;
    let store: Arc<dyn Store> = Arc::new(Secrets::new(&client, layout(config)));
    let mut cas = Vec::new();
    for ca in &config.cas {
        let acme = Acme::new(
            settings(ca)?,
            Arc::clone(&store),
            Arc::clone(&now),
            Arc::clone(&leave),
        );
        cas.push(Arc::new(acme.with_context(|| format!("the CA {}", ca.name))?));
    }
    let zones: anyhow::Result<Vec<_>> = config.zones.iter().chain(&config.aside()).map(setup).collect();
    let counted = Arc::clone(&metrics);
    let observe = Arc::new(move |observed: &Observed<'_>| count(&counted, observed));
    let dns = Arc::new(Names::observed(zones?, Arc::clone(&now), observe, leave));
    Ok(Adapters {
        client,
        store,
        cas,
        dns,
        metrics,
        now,
        witness,
    })
}

/// Takes in how far our clock is from the API server's.
fn tell_clock(
    known: &clock::Offset,
    metrics: &Metrics,
    witness: &Witness,
    headers: &::http::HeaderMap,
    now: Timestamp,
) {
    let Some(offset) = known.hear("the API server's", "kubernetes", headers, now) else {
        return;
    };
    metrics.updates.clock("kubernetes", "api", offset);
    witness.tell(ahead(now, SignedDuration::from_secs(-offset)));
}

/// Counts what happens to updates.
fn count(metrics: &Metrics, observed: &Observed<'_>) {
    match *observed {
        Observed::Clock { server, offset_secs } => {
            metrics.updates.clock("tsig", &server.to_string(), offset_secs);
        }
        Observed::KeyRead { zone, result } => metrics.updates.key_read(zone.as_str(), result),
        Observed::Update {
            zone,
            server,
            result,
            took,
        } => metrics
            .updates
            .sent(zone.as_str(), &server.to_string(), result, took),
    }
}

/// Reads what a CA's account needs.
fn settings(ca: &CaConfig) -> anyhow::Result<Settings> {
    let binding = ca.binding.as_ref().map(|binding| {
        let key = binding.key()?;
        anyhow::Ok(Binding {
            kid: binding.kid.clone(),
            key,
            algorithm: binding.algorithm,
        })
    });
    Ok(Settings {
        registration: Registration {
            email: ca.email.clone(),
            key_type: ca.account_key_type,
            binding: binding.transpose().context("the key of `eab`")?,
        },
        profile: ca.profile.clone(),
        profile_fallback: ca.profile_fallback.clone(),
        preferred_chain: ca.preferred_chain.clone(),
        roots: ca.root_certificates.clone(),
        proxy: ca.proxy.clone(),
        budget: ca.limits,
        ..Settings::of(ca.url.to_string())
    })
}

/// Reads what a zone's updates need.
fn setup(zone: &ZoneConfig) -> anyhow::Result<ZoneSetup> {
    let apex = &zone.apex;
    let servers = zone.servers.iter().map(|server| server.parse());
    let servers = servers
        .collect::<Result<_, _>>()
        .with_context(|| format!("the update servers of zone {apex}"))?;
    let key = match &zone.key {
        KeyConfig::File { path, hint } => {
            KeySource::file(path, hint.clone()).with_context(|| format!("the key file of zone {apex}"))?
        }
        KeyConfig::Unsigned => KeySource::Unsigned,
    };
    Ok(ZoneSetup {
        apex: apex.clone(),
        servers,
        primary: zone.primary,
        key,
        ttl: zone.ttl,
        foreign: zone.stale_values,
        clock_skew_limit: zone.clock_skew_limit,
        name_server_port: zone.name_server_port,
    })
}

/// Where things are kept in the cluster.
pub(crate) fn layout(config: &Config) -> Layout {
    Layout {
        namespace: config.secret_namespace.as_str().into(),
        hostlabel: config.secret_hostlabel.as_str().into(),
        wildcard_prefix: config.wildcard_cert_k8s_prefix.as_str().into(),
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        zones: config.zones(),
        threshold: config.renewal_threshold,
        issue_grace: config.issue_grace,
        orders_at_once: ORDERS_AT_ONCE,
        spread: SPREAD,
        renewals_per_minute: config.renewals_per_minute,
    }
}

/// A list on one line.
fn names(list: impl Iterator<Item = impl ToString>) -> String {
    list.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// Sends Events one by one; they are a courtesy and hold nothing up.
async fn send_events(
    events: Events,
    mut waiting: mpsc::Receiver<Notice>,
    now: Now,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let notice = tokio::select! {
            notice = waiting.recv() => notice,
            () = stop.cancelled() => None,
        };
        let Some(Notice { asker, announcement }) = notice else {
            return Ok(());
        };
        let sent = events.publish(&asker, &announcement, now()).await;
        if let Err(error) = sent {
            tracing::debug!("{}", act::chain(&error));
        }
    }
}

/// Starts the one task that outlives everything: the signal handler.
pub(crate) fn detached(task: impl Future<Output = ()> + Send + 'static) {
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the process, and nobody waits for it"
    )]
    drop(tokio::spawn(task));
}

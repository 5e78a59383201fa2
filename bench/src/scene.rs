//! One bed for one series, and an eye on its Secrets: when was each there?
//!
//! The API server is the same for all series, so each leaves it empty for the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use faythe_bed::{Bed, secret_name};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, watcher::Event as Seen};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is done at a time where much is to be done at once.
pub(crate) const AT_ONCE: usize = 32;
/// How long a certificate may take before it counts as lost.
const LOST: Duration = Duration::from_secs(120);

/// A bed whose Secrets are watched.
pub(crate) struct Scene {
    /// The servers.
    pub(crate) bed: Bed,
    arrivals: Arc<Mutex<HashMap<String, Instant>>>,
    count: watch::Receiver<usize>,
    // Ends with it.
    _watch: JoinSet<()>,
}

impl Scene {
    /// Starts the servers.
    pub(crate) async fn start() -> Result<Self> {
        let bed = Bed::start().await?;
        let arrivals = Arc::default();
        let (counter, count) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let metadata = Api::namespaced(bed.client.clone(), &bed.secret_namespace);
        tasks.spawn(record(metadata, Arc::clone(&arrivals), counter));
        Ok(Self {
            bed,
            arrivals,
            count,
            _watch: tasks,
        })
    }

    /// The label under which the bed's configuration has Faythe keep hosts.
    pub(crate) fn host_label(&self) -> Result<String> {
        let label = self.bed.config()["secret_hostlabel"]
            .as_str()
            .map(ToOwned::to_owned);
        label.context("the bed's configuration has no secret_hostlabel")
    }

    /// Creates an Ingress with a rule for each host, by a single request.
    pub(crate) async fn ingress(&self, name: &str, hosts: &[&str]) -> Result<Ingress> {
        let object = faythe_bed::kube::objects::ingress(&self.bed.namespace, name, hosts);
        let object: Ingress = serde_json::from_value(object)?;
        let ingresses: Api<Ingress> = Api::namespaced(self.bed.client.clone(), &self.bed.namespace);
        Ok(ingresses.create(&PostParams::default(), &object).await?)
    }

    /// Waits for the Secrets of these hosts; when each was there, in the order of the hosts, `None` for the lost.
    pub(crate) async fn arrivals(&self, hosts: &[String]) -> Vec<Option<Instant>> {
        let mut count = self.count.clone();
        let all = async {
            loop {
                count.borrow_and_update();
                let seen = self.seen(hosts);
                if seen.iter().all(Option::is_some) || count.changed().await.is_err() {
                    return;
                }
            }
        };
        // What has not come by then shows below.
        let _ = tokio::time::timeout(LOST, all).await;
        self.seen(hosts)
    }

    /// Leaves nothing behind at the API server.
    pub(crate) async fn clear(self) -> Result<()> {
        let Bed {
            client,
            namespace,
            secret_namespace,
            ..
        } = &self.bed;
        let (delete, every) = (DeleteParams::default(), ListParams::default());
        let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
        ingresses.delete_collection(&delete, &every).await?;
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        events.delete_collection(&delete, &every).await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), secret_namespace);
        secrets.delete_collection(&delete, &every).await?;
        Ok(())
    }

    fn seen(&self, hosts: &[String]) -> Vec<Option<Instant>> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        hosts
            .iter()
            .map(|host| arrivals.get(&secret_name(host)).copied())
            .collect()
    }
}

/// Notes when each Secret was first seen, for ever.
async fn record(
    // Metadata alone: what the watch costs is to disturb what is measured as little as possible.
    secrets: Api<PartialObjectMeta<Secret>>,
    arrivals: Arc<Mutex<HashMap<String, Instant>>>,
    counter: watch::Sender<usize>,
) {
    let events = watcher(secrets, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let Ok(Seen::Apply(object) | Seen::InitApply(object)) = event else {
            continue;
        };
        let Some(name) = object.metadata.name else {
            continue;
        };
        let now = Instant::now();
        arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name)
            .or_insert(now);
        counter.send_modify(|count| *count += 1);
    }
}

//! Where a test takes place: a namespace, Faythe's rights in it, and clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use faythe::cluster;
use faythe::store::place::Layout;
use faythe::store::secrets::Secrets;
use faythe_bed::kube::{Identity, Kube, Request, objects};
use faythe_bed::until;
use k8s_openapi::api::core::v1::Secret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

/// Every wait for something that should come about ends after this time.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The label key under which tests keep certificates.
pub(crate) const HOSTLABEL: &str = "faythe.example.com/host";

/// One test's part of the cluster.
pub(crate) struct Place {
    pub(crate) kube: &'static Kube,
    pub(crate) namespace: String,
    pub(crate) admin: Client,
    /// Has Faythe's rights and no others.
    pub(crate) client: Client,
    identity: Identity,
}

impl Place {
    /// Makes a namespace that has `deploy/rbac.yaml` in force.
    pub(crate) async fn new(name: &str) -> Self {
        let kube = Kube::shared().await.unwrap();
        let place = Self::bare(kube, name).await;
        place.kube.grant_shipped_rights(&place.namespace).await.unwrap();
        place
    }

    /// Makes a namespace with a ServiceAccount of the same name that has no rights.
    pub(crate) async fn bare(kube: &'static Kube, name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let namespace = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = kube.client().await.unwrap();
        objects::create_namespace(&admin, &namespace).await.unwrap();
        let identity = Identity::service_account(&namespace, &namespace);
        let client = client_of(&kube.kubeconfig_for(&identity).await.unwrap()).await;
        Self {
            kube,
            namespace,
            admin,
            client,
            identity,
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout {
            namespace: self.namespace.as_str().into(),
            hostlabel: HOSTLABEL.into(),
            wildcard_prefix: "wild--card".into(),
        }
    }

    /// A store like one that a process has just made.
    pub(crate) fn store(&self) -> Secrets {
        Secrets::new(&self.client, self.layout())
    }

    /// The Secrets of the namespace, as admin.
    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Waits until the audit log has `count` writes under Faythe's rights, and makes sure that there are no more.
    pub(crate) async fn writes(&self, count: usize) -> Vec<Request> {
        // A request that changes nothing, made after all others, is written down after them.
        let last = format!("last-{count}");
        let _ = Api::<Secret>::namespaced(self.client.clone(), &self.namespace)
            .get_opt(&last)
            .await;
        let requests = until(SOON, "the audit log is complete", async || {
            let requests = self.kube.requests_by(&self.identity.username())?;
            Ok(requests
                .iter()
                .any(|request| request.name == last)
                .then_some(requests))
        });
        let writes: Vec<_> = requests
            .await
            .unwrap()
            .into_iter()
            .filter(Request::is_write)
            .collect();
        assert_eq!(writes.len(), count, "{writes:#?}");
        writes
    }

    /// All requests under Faythe's rights of one verb and resource so far.
    pub(crate) fn requests(&self, verb: &str, resource: &str) -> Vec<Request> {
        let requests = self.kube.requests_by(&self.identity.username()).unwrap();
        requests
            .into_iter()
            .filter(|request| request.verb == verb && request.resource == resource)
            .collect()
    }
}

/// A file of `deploy/`.
pub(crate) fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// Faythe's own client for the user of a kubeconfig file.
pub(crate) async fn client_of(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .unwrap();
    cluster::client(config, Arc::new(|_, _| {})).unwrap()
}

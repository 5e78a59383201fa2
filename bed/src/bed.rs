//! Everything one test needs, started together.

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::kube::api::Api;
use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

use crate::bind::{self, Bind};
use crate::certificate::Certificate;
use crate::faythe::{Faythe, Launch, absolute};
use crate::kube::{Identity, Kube, objects};
use crate::names::{Cluster, Secondary};
use crate::pebble::{self, Pebble};
use crate::ports::Port;
use crate::proxy::Proxy;
use crate::until;

/// The label of `secret_hostlabel` in the configuration the bed writes.
const HOST_LABEL: &str = "faythe.example/host";

/// What a bed is made of. The default is the quick one that most tests want.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// From which the names of the zone and the namespaces are made, see [`Bed`]. A number is, if it is empty.
    pub name: String,
    /// Whether the bed has an API server of its own, which costs 3 seconds. Needed by a test that stops it,
    /// or whose Ingresses would disturb others: every faythe sees those of all namespaces.
    pub own_kube: bool,
    /// Whether there is a second name server that gets the zone from the first; the configuration then has
    /// it under `val_dns_servers`.
    pub secondary: bool,
    /// How many further name servers get the zones from the first, on 127.0.0.2 and so on; the zones' NS records name
    /// them. The configuration does not.
    pub secondaries: u8,
    /// What the name server is and has besides the bed's zone and the key `faythe`; it is BIND if there are secondaries.
    pub names: bind::Setup,
    /// How Pebble behaves.
    pub pebble: pebble::Setup,
}

/// A cluster, a zone and a CA of one test.
///
/// Tests share the API server of their program but not their names: a bed has its own zone
/// (`zone1.test`), its own namespace for Ingresses (`zone1`) and for Secrets (`zone1-certs`).
pub struct Bed {
    /// The API server.
    pub kube: Server,
    /// A client of it that may do everything, for the runtime that started the bed.
    pub client: ::kube::Client,
    /// The name server that takes the updates.
    pub bind: Bind,
    /// The one that gets the zone from it, if the setup has one.
    pub secondary: Option<Bind>,
    /// Those that the zones' NS records name.
    pub secondaries: Vec<Secondary>,
    /// The CA.
    pub pebble: Pebble,
    /// The zone, without a dot at the end.
    pub zone: String,
    /// The namespace for Ingresses.
    pub namespace: String,
    /// The namespace for Secrets.
    pub secret_namespace: String,
    /// As whom faythe talks to the API server; by default a ServiceAccount that may do everything.
    pub identity: Identity,
    // A faythe's address for HTTP. Held so that a restarted one finds it free.
    listen: Port,
}

/// An API server, shared or a bed's own.
#[derive(Debug)]
pub enum Server {
    /// One that belongs to the bed.
    Own(Box<Kube>),
    /// The one of the test program.
    Shared(&'static Kube),
}

impl Server {
    async fn start(own: bool) -> Result<Self> {
        Ok(if own {
            Self::Own(Box::new(Kube::start().await?))
        } else {
            Self::Shared(Kube::shared().await?)
        })
    }

    /// The bed's own server, to stop it; fails if it is shared.
    pub fn own(&mut self) -> Result<&mut Kube> {
        match self {
            Self::Own(kube) => Ok(kube),
            Self::Shared(_) => anyhow::bail!("this bed shares its API server: set `own_kube` in its setup"),
        }
    }
}

impl Deref for Server {
    type Target = Kube;

    fn deref(&self) -> &Kube {
        match self {
            Self::Own(kube) => kube,
            Self::Shared(kube) => kube,
        }
    }
}

impl Bed {
    /// Starts the default one.
    pub async fn start() -> Result<Self> {
        Self::start_as(Setup::default()).await
    }

    /// Starts one.
    pub async fn start_as(setup: Setup) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let namespace = if setup.name.is_empty() {
            format!("zone{}", NUMBER.fetch_add(1, Ordering::Relaxed))
        } else {
            setup.name.clone()
        };
        let zone = format!("{namespace}.test");

        let (kube, (names, pebble)) =
            futures::try_join!(Server::start(setup.own_kube), start_names_and_ca(&setup, &zone))?;

        let client = kube.client().await?;
        let secret_namespace = format!("{namespace}-certs");
        for name in [&namespace, &secret_namespace] {
            objects::create_namespace(&client, name).await?;
        }
        let identity = Identity::service_account(&secret_namespace, "faythe");
        let bed = Self {
            kube,
            client,
            bind: names.bind,
            secondary: names.secondary,
            secondaries: names.secondaries,
            pebble,
            zone,
            namespace,
            secret_namespace,
            identity,
            listen: Port::claim()?,
        };
        bed.let_do_everything(&bed.identity).await?;
        // Made now, it serves a faythe that starts while the API server is away.
        bed.kube.kubeconfig_for(&bed.identity).await?;
        Ok(bed)
    }

    /// A hostname in the zone; the zone itself for the empty label.
    pub fn host(&self, label: &str) -> String {
        if label.is_empty() {
            self.zone.clone()
        } else {
            format!("{label}.{}", self.zone)
        }
    }

    /// Lets faythe do what `deploy/rbac.yaml` allows and nothing else, if it is started after this.
    pub async fn with_shipped_rights(mut self) -> Result<Self> {
        self.identity = self.kube.grant_shipped_rights(&self.secret_namespace).await?;
        self.kube.kubeconfig_for(&self.identity).await?;
        Ok(self)
    }

    /// Makes an Ingress of the bed's namespace ask for these hosts.
    pub async fn ingress(&self, name: &str, hosts: &[&str]) -> Result<Ingress> {
        objects::apply_ingress(&self.client, &self.namespace, name, hosts).await
    }

    /// Deletes an Ingress of the bed's namespace.
    pub async fn delete_ingress(&self, name: &str) -> Result<()> {
        objects::delete_ingress(&self.client, &self.namespace, name).await
    }

    /// The Secrets that faythe keeps.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.secret_namespace)
    }

    /// The Secret of a host, if there is one.
    pub async fn secret_for(&self, host: &str) -> Result<Option<Secret>> {
        Ok(self.secrets().get_opt(&secret_name(host)).await?)
    }

    /// Waits for the certificate of a host and checks it: from this CA, for this host, valid now, with its key.
    pub async fn certificate_for(&self, host: &str, within: Duration) -> Result<Certificate> {
        let what = format!("there is a Secret for {host}");
        let secret = until(within, &what, async || self.secret_for(host).await).await?;
        self.check_secret(&secret, host).await
    }

    /// Checks the certificate and the key in a Secret, like [`Bed::certificate_for`].
    pub async fn check_secret(&self, secret: &Secret, host: &str) -> Result<Certificate> {
        let data = secret.data.as_ref().context("the Secret has no data")?;
        let entry = |name: &str| {
            data.get(name)
                .with_context(|| format!("the Secret of {host} has no entry `{name}`"))
        };
        let certificate = Certificate::read(&entry("cert")?.0)?;
        certificate.verify(&self.pebble.issuer_roots().await?, host, Timestamp::now())?;
        certificate.verify_key(&entry("key")?.0)?;
        Ok(certificate)
    }

    /// A configuration for this bed, to change before it goes to [`Bed::faythe`]. All keys of the old tool
    /// but `kubeconfig_path` are in it, with its defaults.
    pub fn config(&self) -> Value {
        let validators: Vec<String> = self
            .secondary
            .iter()
            .map(|server| server.address().to_string())
            .collect();
        json!({
            "secret_namespace": self.secret_namespace,
            "secret_hostlabel": HOST_LABEL,
            "lets_encrypt_url": self.pebble.directory_url(),
            "lets_encrypt_email": "admin@example.com",
            "acme_root_certificates": self.pebble.https_roots_file(),
            "auth_dns_server": self.bind.address().to_string(),
            "auth_dns_zone": self.zone,
            "auth_dns_key": self.bind.key_file(),
            "val_dns_servers": validators,
            "monitor_interval": 5000,
            "renewal_threshold": 30,
            "issue_grace": 28_800_000,
            "issue_wildcard_certs": false,
            "wildcard_cert_k8s_prefix": "wild--card",
            "listen": self.listen.address().to_string(),
        })
    }

    /// Starts a faythe under the bed's identity; nothing is waited for.
    ///
    /// Two that run at a time need different values of `listen`.
    pub async fn faythe(&self, binary: impl AsRef<Path>, config: Value) -> Result<Faythe> {
        let kubeconfig = self.kube.kubeconfig_for(&self.identity).await?;
        start(binary, config, &kubeconfig)
    }

    /// The same with `proxy` on the way to the API server.
    pub async fn faythe_through(
        &self,
        proxy: &Proxy,
        binary: impl AsRef<Path>,
        config: Value,
    ) -> Result<Faythe> {
        let kubeconfig = self.kube.kubeconfig_through(proxy, &self.identity).await?;
        start(binary, config, &kubeconfig)
    }

    /// Changes of the cluster that faythe has made so far under the bed's identity.
    pub fn writes(&self) -> Result<Vec<crate::kube::Request>> {
        self.kube.writes_by(&self.identity.username())
    }

    /// Binds an identity to the role that may do everything.
    async fn let_do_everything(&self, identity: &Identity) -> Result<()> {
        let username = identity.username();
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": username },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": username }],
        });
        let bindings: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(self.client.clone());
        let parameters = ::kube::api::PatchParams::apply(objects::MANAGER);
        bindings
            .patch(&username, &parameters, &::kube::api::Patch::Apply(binding))
            .await?;
        Ok(())
    }
}

fn start(binary: impl AsRef<Path>, config: Value, kubeconfig: &Path) -> Result<Faythe> {
    Faythe::start(Launch {
        binary: absolute(binary)?,
        config,
        environment: vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())],
    })
}

/// The name servers of a bed.
struct Names {
    bind: Bind,
    secondary: Option<Bind>,
    secondaries: Vec<Secondary>,
}

/// Starts the name servers and the CA, which asks the first of them.
async fn start_names_and_ca(setup: &Setup, zone: &str) -> Result<(Names, Pebble)> {
    let mut names = setup.names.clone();
    let usual = bind::Setup::one_zone(zone);
    names.zones.splice(..0, usual.zones);
    names.keys.splice(..0, usual.keys);
    let names = if setup.secondary {
        let (bind, secondary) = Bind::start_with_secondary(names).await?;
        Names {
            bind,
            secondary: Some(secondary),
            secondaries: Vec::new(),
        }
    } else if setup.secondaries > 0 {
        let Cluster { primary, secondaries } = Cluster::start(names, setup.secondaries).await?;
        Names {
            bind: primary,
            secondary: None,
            secondaries,
        }
    } else {
        Names {
            bind: Bind::start(names).await?,
            secondary: None,
            secondaries: Vec::new(),
        }
    };
    let pebble = Pebble::start(setup.pebble.clone(), names.bind.address()).await?;
    Ok((names, pebble))
}

impl Drop for Bed {
    fn drop(&mut self) {
        // The other servers print their logs as they go; a shared one stays.
        if let (true, Server::Shared(kube)) = (std::thread::panicking(), &self.kube) {
            eprintln!("{}", kube.log_tails());
        }
    }
}

/// What the Secret of a host is called (S11).
pub fn secret_name(host: &str) -> String {
    host.strip_prefix("*.")
        .map_or_else(|| host.to_owned(), |parent| format!("wild--card.{parent}"))
}

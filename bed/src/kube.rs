//! A real Kubernetes API: kube-apiserver with RBAC, and etcd under it. No controllers and no nodes run.
//!
//! There being no controllers, a deleted namespace stays and nothing makes default ServiceAccounts; tests
//! use namespaces of their own instead of cleaning up.

mod audit;
mod etcd;
mod identity;
pub mod objects;
mod rights;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::kube::config::{KubeConfigOptions, Kubeconfig};
use anyhow::{Context, Result};
use serde_json::Value;

use self::etcd::Etcd;
use crate::ports::Port;
use crate::process::{self, Process};
use crate::scratch::Scratch;
use crate::tls::{Authority, Pair};
use crate::{http, tools, until};

pub use self::audit::Request;
pub use self::identity::Identity;
pub use self::rights::shipped_rights;

/// What a start may take when several beds start on a busy machine; alone it takes 3 seconds.
const START: Duration = Duration::from_secs(60);

/// The group whose members may do everything, by kube-apiserver's own rules.
const MASTERS: &str = "system:masters";

/// Admission that concerns objects no test here has, or needs controllers that do not run.
const ADMISSION_OFF: &str = "ServiceAccount,TaintNodesByCondition,Priority,DefaultTolerationSeconds,\
    DefaultStorageClass,StorageObjectInUseProtection,PersistentVolumeClaimResize,RuntimeClass,PodSecurity,\
    ValidatingAdmissionPolicy,MutatingAdmissionPolicy,MutatingAdmissionWebhook,ValidatingAdmissionWebhook";

/// One API server with its data.
#[derive(Debug)]
pub struct Kube {
    authority: Authority,
    port: Port,
    log: PathBuf,
    // Declared in the order in which they have to go.
    server: Option<Process>,
    etcd: Etcd,
    scratch: Scratch,
}

impl Kube {
    /// Starts etcd and kube-apiserver and returns when the latter is ready.
    pub async fn start() -> Result<Self> {
        let scratch = Scratch::new("kube")?;
        let authority = Authority::new("faythe-bed")?;
        let Pair { certificate, key } = authority.server()?;
        scratch.write("tls.crt", certificate)?;
        scratch.write("tls.key", key)?;
        // Any key signs the tokens of ServiceAccounts; its public half may come as a certificate.
        let Pair { certificate, key } = authority.server()?;
        scratch.write("tokens.crt", certificate)?;
        scratch.write("tokens.key", key)?;
        scratch.write("ca.crt", authority.root())?;
        scratch.write("audit.yaml", audit::POLICY)?;
        let mut kube = Self {
            port: Port::claim()?,
            log: scratch.path().join("kube-apiserver.log"),
            server: None,
            etcd: Etcd::new(&scratch)?,
            authority,
            scratch,
        };
        kube.etcd.start()?;
        kube.write_kubeconfig("admin", kube.credentials_of("admin", Some(MASTERS))?)?;
        kube.start_server().await?;
        Ok(kube)
    }

    /// The one API server that the tests of a program share, started by the first who asks.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: tokio::sync::OnceCell<Kube> = tokio::sync::OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// The server's URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.port.address())
    }

    /// The root of its certificate, in PEM.
    pub fn https_roots(&self) -> String {
        self.authority.root()
    }

    /// A kubeconfig file that may do everything. Its requests are left out of [`Kube::requests_by`].
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_path("admin")
    }

    /// A client that may do everything. It belongs to the tokio runtime of the caller.
    pub async fn client(&self) -> Result<::kube::Client> {
        client_of(&self.admin_kubeconfig()).await
    }

    /// Runs kubectl as admin with arguments and stdin, and returns its stdout.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut kubectl = Command::new(tools::built("kubectl")?);
        // Its cache of what the server offers is kept by address, and addresses come back.
        kubectl
            .arg("--kubeconfig")
            .arg(self.admin_kubeconfig())
            .arg("--cache-dir")
            .arg(self.scratch.path());
        kubectl.args(arguments);
        process::run(kubectl, input).await
    }

    /// Applies manifests (YAML, any number of documents).
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.kubectl(&["apply", "--server-side", "-f", "-"], manifests)
            .await
            .map(drop)
    }

    /// Applies a file, or all manifests of a directory.
    pub async fn apply_path(&self, path: &Path) -> Result<()> {
        let path = path.to_str().context("the path is not UTF-8")?;
        self.kubectl(&["apply", "--server-side", "-f", path], "")
            .await
            .map(drop)
    }

    /// Stores an object in etcd past all checks of the API server, which then serves it as if it had come
    /// through them. `key` is like `/registry/ingress/NAMESPACE/NAME`.
    pub async fn store_unchecked(&self, key: &str, object: &Value) -> Result<()> {
        self.etcd.put(key, &object.to_string()).await
    }

    /// Stores an Ingress that the API server would refuse, or replaces one by it.
    pub async fn store_ingress_unchecked(&self, namespace: &str, name: &str, hosts: &[&str]) -> Result<()> {
        let ingress = objects::stored_ingress(namespace, name, hosts);
        self.store_unchecked(&format!("/registry/ingress/{namespace}/{name}"), &ingress)
            .await
    }

    /// Stops the API server, and etcd with it, at once. The data stay.
    pub fn stop(&mut self) {
        self.server = None;
        self.etcd.stop();
    }

    /// Starts what [`Kube::stop`] stopped, on the same port and data.
    pub async fn start_again(&mut self) -> Result<()> {
        self.etcd.start()?;
        self.start_server().await
    }

    /// Kills the API server and starts it anew while etcd goes on: all connections and watches break.
    pub async fn restart(&mut self) -> Result<()> {
        self.server = None;
        self.start_server().await
    }

    /// Stops the API server from answering, with its connections left open.
    pub fn freeze(&self) {
        self.server.iter().for_each(Process::freeze);
    }

    /// Undoes [`Kube::freeze`].
    pub fn thaw(&self) {
        self.server.iter().for_each(Process::thaw);
    }

    /// The ends of the logs of both servers, for failure messages.
    pub fn log_tails(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!(
            "--- kube-apiserver ---\n{}\n--- etcd ---\n{}",
            process::tail(&text),
            self.etcd.log_tail()
        )
    }

    /// The API server's process, for its memory and times.
    pub fn server(&self) -> Result<&Process> {
        self.server.as_ref().context("kube-apiserver is stopped")
    }

    async fn start_server(&mut self) -> Result<()> {
        let mut command = Command::new(tools::built("kube-apiserver")?);
        command.current_dir(self.scratch.path()).args([
            &format!("--etcd-servers={}", self.etcd.url()),
            "--bind-address=127.0.0.1",
            &format!("--secure-port={}", self.port.number()),
            // A loopback address is refused here; without endpoints to keep up, none is used.
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--cert-dir=.",
            "--tls-cert-file=tls.crt",
            "--tls-private-key-file=tls.key",
            "--client-ca-file=ca.crt",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=tokens.crt",
            "--service-account-signing-key-file=tokens.key",
            &format!("--disable-admission-plugins={ADMISSION_OFF}"),
            "--audit-policy-file=audit.yaml",
            "--audit-log-path=audit.log",
            "--profiling=false",
        ]);
        let server = Process::start("kube-apiserver", &command, &self.log)?;
        let ready = format!("{}/readyz", self.url());
        let root = self.authority.root();
        until(START, "kube-apiserver is ready", async || {
            if server.ended()?.is_some() || self.etcd.has_ended() {
                return Ok(Some(()));
            }
            Ok((http::get(&ready, &root).await?.status == 200).then_some(()))
        })
        .await
        .with_context(|| self.log_tails())?;
        server.check_running()?;
        self.etcd.check_running()?;
        self.server = Some(server);
        Ok(())
    }
}

/// A client for the user of a kubeconfig file. It belongs to the tokio runtime of the caller.
pub async fn client_of(kubeconfig: &Path) -> Result<::kube::Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = ::kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(::kube::Client::try_from(config)?)
}

//! The Kubernetes client, made once, and what its errors mean.
//!
//! It honors the environment variable KUBECONFIG, then the service account of the Pod it runs in (S02). Nothing is
//! retried here: whoever asks knows whether a second try is right.

mod transport;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use hyper_util::client::legacy::connect::HttpConnector;
use kube::Config;
use kube::client::ConfigExt;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::core::response::reason;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tower::{BoxError, ServiceBuilder, service_fn};

use transport::Transport;

pub use kube::Client;

/// The field manager of everything that Faythe writes.
pub const MANAGER: &str = "faythe";

/// How Faythe names itself to the API server.
const AGENT: &str = concat!("faythe/", env!("CARGO_PKG_VERSION"));
/// A server that does not even accept a connection within this time is taken as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are probed this often, and given up after so many probes without an answer, so that a watch on a dead
/// one ends long before the watch's own time-out of five minutes.
const KEEPALIVE: (Duration, u32) = (Duration::from_secs(15), 3);

/// The longest wait between two tries, whatever the API server, or who stands before it, asks for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Is told of each request that has ended: its method, and the answer's head where there was one.
pub type Observe = Arc<dyn Fn(&Method, Option<(StatusCode, &HeaderMap)>) + Send + Sync>;

/// Connects to the cluster that the environment names; sends nothing yet.
///
/// # Errors
/// What is wrong with the kubeconfig or the service account.
pub async fn connect(observe: Observe) -> Result<Client, ConnectError> {
    let config = match Kubeconfig::from_env().map_err(ConnectError::Kubeconfig)? {
        Some(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(ConnectError::Kubeconfig)?,
        None => Config::incluster().map_err(ConnectError::InCluster)?,
    };
    client(config, observe)
}

/// Makes a client of a given configuration; sends nothing yet.
///
/// # Errors
/// What is wrong with the configuration's certificates or credentials.
pub fn client(mut config: Config, observe: Observe) -> Result<Client, ConnectError> {
    // An error only says that a provider has been chosen before, and there is but one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if config.proxy_url.is_some() {
        tracing::warn!("HTTPS_PROXY and `proxy-url` are not used for the API server; it is asked directly");
    }
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let (pause, probes) = KEEPALIVE;
    tcp.set_keepalive(Some(pause));
    tcp.set_keepalive_interval(Some(pause));
    tcp.set_keepalive_retries(Some(probes));
    let https = config
        .rustls_https_connector_with_connector(tcp)
        .map_err(ConnectError::Client)?;

    let transport = Arc::new(Transport::new(https, observe));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(ConnectError::Client)?)
        .layer(config.extra_headers_layer().map_err(ConnectError::Client)?)
        .map_err(BoxError::from)
        .service(service_fn(move |request| {
            Arc::clone(&transport).exchange(request)
        }));
    Ok(Client::new(service, config.default_namespace))
}

/// Why there is no client.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A certificate, key or token in the configuration cannot be used.
    #[error("the credentials for the Kubernetes API cannot be used")]
    Client(#[source] kube::Error),
    /// KUBECONFIG is not set, and we are not in a Pod that has a service account.
    #[error("there is no cluster: set KUBECONFIG, or run in a Pod with a service account")]
    InCluster(#[source] InClusterError),
    /// KUBECONFIG is set and cannot be used.
    #[error("the file that KUBECONFIG names cannot be used")]
    Kubeconfig(#[source] KubeconfigError),
}

/// What it means that a request to the API server failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The object is not as the request assumed (`resourceVersion`, UID).
    Conflict,
    /// An object of this name is there already.
    Exists,
    /// RBAC does not allow it.
    Forbidden,
    /// What was asked for is too old to be told: list again.
    Gone,
    /// The object, or the namespace it would be in, is not there.
    Missing,
    /// Refused for what it says: validation, quota, an admission policy. With the API server's words.
    Refused(String),
    /// The API server is too busy; how long it asked us to wait.
    TooMany(Option<Duration>),
    /// No answer, or one of no use; how long it asked us to wait. A write may have happened all the same.
    Unavailable(Option<Duration>),
}

impl Fault {
    /// Judges an error of the client.
    #[must_use]
    pub fn of(error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            Self::of_status(status)
        } else {
            Self::Unavailable(None)
        }
    }

    /// Judges an answer of the API server by its reason, and where that is none of its own by its code.
    #[must_use]
    pub fn of_status(status: &Status) -> Self {
        match (status.reason.as_str(), status.code) {
            (reason::ALREADY_EXISTS, _) => Self::Exists,
            (reason::CONFLICT, _) | (_, 409) => Self::Conflict,
            // Quota and admission say 403 as well, but it is RBAC alone that speaks of what a user cannot do.
            (_, 403) if is_rbac(&status.message) => Self::Forbidden,
            (_, 404) => Self::Missing,
            (_, 410) => Self::Gone,
            (_, 429) => Self::TooMany(retry_after(status)),
            // 401 is a token that has just run out as a rule: it is read again from its file. 408 is a time-out.
            (_, 401 | 408) => Self::Unavailable(retry_after(status)),
            (_, 400..=499) => Self::Refused(status.message.clone()),
            // A `resourceVersion` ahead of the server's comes after etcd was restored; waiting does not help.
            _ if is_too_large(status) => Self::Gone,
            _ => Self::Unavailable(retry_after(status)),
        }
    }

    /// Stable code for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Exists => "exists",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::Missing => "missing",
            Self::Refused(_) => "refused",
            Self::TooMany(_) => "too-many",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// How long the API server asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany(delay) | Self::Unavailable(delay) => *delay,
            Self::Conflict
            | Self::Exists
            | Self::Forbidden
            | Self::Gone
            | Self::Missing
            | Self::Refused(_) => None,
        }
    }
}

/// What went wrong, in one line: the API server's own words, or the innermost cause.
#[must_use]
pub fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    // The parser quotes what it stumbled upon, and that may be part of a Secret.
    if let kube::Error::SerdeError(error) = error {
        return format!(
            "the answer cannot be read at line {}, column {}",
            error.line(),
            error.column()
        );
    }
    // Each layer of the client repeats the text of the next.
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// 32 hexadecimal digits that stand for `parts` where a name has to be short: half of a SHA-256.
#[must_use]
pub fn short_hash(parts: &[&str]) -> String {
    // A NUL, which no part can hold, keeps them apart.
    let digest = parts
        .iter()
        .fold(Sha256::new(), |hash, part| {
            hash.chain_update(part).chain_update([0])
        })
        .finalize();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a refusal is RBAC's: `User "x" cannot get resource "secrets" in API group "" …`.
fn is_rbac(message: &str) -> bool {
    message.contains("User \"") && message.contains("\" cannot ")
}

fn is_too_large(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "ResourceVersionTooLarge")
}

fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests;

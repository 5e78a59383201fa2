//! The HTTP client under the ACME library: one request, one answer, bounded in time and size.
//!
//! It owns connections, trust anchors and limits, and remembers what the library loses of an answer: its status, its
//! `Retry-After` and its body. It also keeps from the library what would make it panic: a `Retry-After` beyond the
//! range of the system's clock, and a directory whose URLs are none.
//!
//! HTTP/1.1 only, by measurement: against Pebble it is 15 % faster than HTTP/2. Redirects are not followed; RFC 8555
//! knows none. Of the three forms of an HTTP date only the one that senders must use is read (RFC 9110 §5.6.7).

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use faythe_core::Timestamp;
use http::header::{ACCEPT_LANGUAGE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as HyperError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use jiff::fmt::rfc2822::DateTimeParser;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use thiserror::Error;

/// Tells the time; the adapter needs it only to read a `Retry-After` that is a date.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Name and version, as RFC 8555 §6.1 demands.
const OUR_NAME: HeaderValue = HeaderValue::from_static(concat!("faythe/", env!("CARGO_PKG_VERSION")));
/// Problems are for our log, which is in English (RFC 8555 §6.1).
const OUR_LANGUAGE: HeaderValue = HeaderValue::from_static("en");
/// The longest wait that is believed: Let's Encrypt's longest limit refills within a week (2026-08). It also keeps
/// every sum of it and a point in time within range.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Connections that are kept while idle; more than are used at once under a burst.
const IDLE_CONNECTIONS: usize = 64;
/// How long they are kept: shorter than the minute or so after which common servers hang up.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Bounds of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most that a TCP connection may take to be made.
    pub connect: Duration,
    /// The most that a request may take, from its first byte sent (or connection made) to the last one received.
    pub whole: Duration,
    /// The longest body of an answer, in bytes.
    pub body: usize,
}

/// How exchanges with the CA have ended so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests begun.
    pub requests: u64,
    /// Answers with a status below 400.
    pub answered: u64,
    /// Answers with a status from 400 to 499.
    pub refused: u64,
    /// Answers with a status from 500 up.
    pub failed: u64,
    /// No answer, or none within the limits.
    pub unanswered: u64,
}

/// Why the client cannot be made.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The directory's URL is none.
    #[error("the CA's directory URL {0:?} is not an http or https URL")]
    Directory(String),
    /// The machine has no trust anchors, and none are configured.
    #[error(
        "this system has no CA certificates to verify the CA's HTTPS with: install them (Debian: ca-certificates), or \
         name a PEM file with acme_root_certificates"
    )]
    NoRoots,
    /// The configured trust anchors cannot be read.
    #[error("{path}: cannot be read as PEM certificates")]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The configured file has no certificate in it.
    #[error("{path}: there is no usable certificate in it")]
    RootsEmpty {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// What an exchange has brought, kept beside what the library makes of it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// How it was asked for.
    pub(super) method: Method,
    /// What was asked.
    pub(super) url: String,
    /// HTTP status.
    pub(super) status: StatusCode,
    /// How long the CA asked us to wait.
    pub(super) retry_after: Option<Duration>,
    /// The body, whole.
    pub(super) body: Bytes,
}

/// An exchange that brought no answer that could be used.
#[derive(Debug, Error)]
#[error("{url} gave no usable answer")]
pub(super) struct Failure {
    /// What was asked.
    pub(super) url: String,
    /// What happened.
    #[source]
    pub(super) cause: Cause,
}

/// What happened instead of an answer.
#[derive(Debug, Error)]
pub(super) enum Cause {
    /// The body ended before its time.
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection, no TLS, or no answer on it.
    #[error(transparent)]
    Connection(#[from] HyperError),
    /// The answer should have been a directory (RFC 8555 §7.1.1).
    #[error("it is not an ACME directory: {0}")]
    NoDirectory(String),
    /// What was to be asked is no URL.
    #[error("it is not a URL that can be asked: {0}")]
    NoUrl(String),
    /// Not all of the answer came in time.
    #[error("no whole answer within {0:?}")]
    TimedOut(Duration),
    /// The body is longer than it may be.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
}

/// The client; clones share connections and counters.
#[derive(Clone)]
pub(super) struct Http(Arc<Inner>);

struct Inner {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    limits: Limits,
    clock: Clock,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    unanswered: AtomicU64,
}

tokio::task_local! {
    /// Where the exchange under way puts its answer. The library shares one client among all orders and gives it no
    /// room for anything of ours, so the way from client to caller leads through the task that both run in.
    static HEARD: Arc<Mutex<Option<Answer>>>;
}

/// Runs an exchange, and hands back what came in beside its result: the last answer, or `None` if the last request had
/// none.
pub(super) async fn listen<F: Future>(exchange: F) -> (F::Output, Option<Answer>) {
    let heard = Arc::new(Mutex::new(None));
    let output = HEARD.scope(Arc::clone(&heard), exchange).await;
    let answer = heard.lock().unwrap_or_else(PoisonError::into_inner).take();
    (output, answer)
}

/// Notes an answer for whoever listens.
fn heard(answer: Option<Answer>) {
    // Nobody listens where no answer is of interest.
    let _ = HEARD.try_with(|slot| *slot.lock().unwrap_or_else(PoisonError::into_inner) = answer);
}

impl Default for Limits {
    /// What a healthy CA never comes near: it answers within seconds, in some kilobytes.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            whole: Duration::from_secs(30),
            body: 1 << 20,
        }
    }
}

impl Http {
    /// Makes the client for the CA at `directory`. Plain HTTP is spoken only if that URL is plain HTTP.
    ///
    /// `roots` is a PEM file with trust anchors besides the system's.
    pub(super) fn new(
        directory: &str,
        roots: Option<&PathBuf>,
        limits: Limits,
        clock: Clock,
    ) -> Result<Self, SetupError> {
        let wrong = || SetupError::Directory(directory.to_owned());
        let url: Uri = directory.parse().map_err(|_| wrong())?;
        url.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let encrypted = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };

        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        // A request goes out in two small writes; with Nagle's algorithm the second waits 40 ms for an acknowledgement.
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits.connect));
        let tls = HttpsConnectorBuilder::new().with_tls_config(trust(roots, encrypted)?);
        let tls = if encrypted {
            tls.https_only()
        } else {
            tls.https_or_http()
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(tls.enable_http1().wrap_connector(connector));
        Ok(Self(Arc::new(Inner {
            client,
            limits,
            clock,
            counts: Counts::default(),
        })))
    }

    /// How exchanges have ended so far.
    pub(super) fn traffic(&self) -> Traffic {
        let counts = &self.0.counts;
        Traffic {
            requests: counts.requests.load(Ordering::Relaxed),
            answered: counts.answered.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            unanswered: counts.unanswered.load(Ordering::Relaxed),
        }
    }

    /// Asks for what needs no signature.
    pub(super) async fn get(&self, url: &str) -> Result<Answer, Failure> {
        let request = Request::builder()
            .uri(url)
            .body(BodyWrapper::default())
            .map_err(|error| Failure {
                url: url.to_owned(),
                cause: Cause::NoUrl(error.to_string()),
            })?;
        Ok(self.exchange(request).await?.1)
    }

    /// One request and its whole answer.
    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<(HeaderMap, Answer), Failure> {
        let Inner {
            client,
            limits,
            clock,
            counts,
        } = &*self.0;
        let (method, url) = (request.method().clone(), request.uri().to_string());
        request.headers_mut().insert(USER_AGENT, OUR_NAME);
        request.headers_mut().insert(ACCEPT_LANGUAGE, OUR_LANGUAGE);
        counts.requests.fetch_add(1, Ordering::Relaxed);

        let both = async {
            let (parts, body) = client.request(request).await?.into_parts();
            let body = Limited::new(body, limits.body).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Cause::TooLong(limits.body)
                } else {
                    Cause::Broken(error)
                }
            })?;
            Ok((parts, body.to_bytes()))
        };
        let outcome = tokio::time::timeout(limits.whole, both).await;
        let (parts, body) = outcome
            .unwrap_or(Err(Cause::TimedOut(limits.whole)))
            .map_err(|cause| {
                counts.unanswered.fetch_add(1, Ordering::Relaxed);
                tracing::trace!(%method, url, %cause, "no answer of the CA");
                Failure {
                    url: url.clone(),
                    cause,
                }
            })?;

        let class = match parts.status.as_u16() {
            ..400 => &counts.answered,
            400..500 => &counts.refused,
            500.. => &counts.failed,
        };
        class.fetch_add(1, Ordering::Relaxed);
        tracing::trace!(%method, url, status = parts.status.as_u16(), bytes = body.len(), "answer of the CA");
        let retry_after = parts
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| wait(value.to_str().ok()?, clock()));
        Ok((
            parts.headers,
            Answer {
                method,
                url,
                status: parts.status,
                retry_after,
                body,
            },
        ))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            heard(None);
            let failed = |failure| instant_acme::Error::Other(Box::new(failure));
            let (headers, answer) = http.exchange(request).await.map_err(failed)?;
            let mut body = answer.body.clone();
            heard(Some(answer.clone()));
            if answer.method == Method::GET {
                if answer.status.is_success() {
                    Directory::read(&answer).map_err(failed)?;
                } else {
                    // The library takes an outage page for a directory, whatever its status; so it gets none.
                    body = Bytes::new();
                }
            }
            Ok(response(answer.status, headers, body))
        })
    }
}

/// What of a directory has to be right before the library reads it (RFC 8555 §7.1.1), and what we want to know.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    new_nonce: String,
    new_account: String,
    new_order: String,
    /// Where ARI is asked (RFC 9773 §4.1), if the CA has it.
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
struct Meta {
    #[serde(default)]
    profiles: std::collections::BTreeMap<String, String>,
}

impl Directory {
    /// Asks for the directory; answers other than success are handed back as they are.
    pub(super) async fn ask(http: &Http, url: &str) -> Result<Result<Self, Answer>, Failure> {
        let answer = http.get(url).await?;
        if answer.status.is_success() {
            Self::read(&answer).map(Ok)
        } else {
            Ok(Err(answer))
        }
    }

    /// Whether the CA offers a profile (draft-ietf-acme-profiles).
    pub(super) fn has_profile(&self, name: &str) -> bool {
        self.meta.profiles.contains_key(name)
    }

    /// The names of all profiles on offer, for people.
    pub(super) fn profiles(&self) -> String {
        let names: Vec<_> = self.meta.profiles.keys().map(String::as_str).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }

    /// Reads an answer as a directory. The library unwraps the URLs when it builds requests, so they are tried here.
    fn read(answer: &Answer) -> Result<Self, Failure> {
        let failed = |what: String| Failure {
            url: answer.url.clone(),
            cause: Cause::NoDirectory(what),
        };
        let directory: Self =
            serde_json::from_slice(&answer.body).map_err(|error| failed(error.to_string()))?;
        for url in [&directory.new_nonce, &directory.new_account, &directory.new_order] {
            if url
                .parse::<Uri>()
                .ok()
                .and_then(|url| url.host().map(str::is_empty))
                != Some(false)
            {
                return Err(failed(format!("{url:?} in it is not an absolute URL")));
            }
        }
        Ok(directory)
    }
}

/// Puts together what the library gets to see: everything but `Retry-After`, which it adds to the system's time
/// without looking for overflow.
fn response(status: StatusCode, headers: HeaderMap, body: Bytes) -> BytesResponse {
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().remove(RETRY_AFTER);
    BytesResponse {
        parts: response.into_parts().0,
        body: Box::new(body),
    }
}

/// Reads `Retry-After`: seconds, or a date that is compared with `now` (RFC 9110 §10.2.3).
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number can hold are still a very long time.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(text)
            .ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Whom we believe: the system's roots and those of the file. Where nothing is encrypted, nobody is needed.
fn trust(file: Option<&PathBuf>, encrypted: bool) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = file {
        let failed = |source| SetupError::Roots {
            path: path.clone(),
            source,
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
        let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(SetupError::RootsEmpty { path: path.clone() });
        }
    }
    if encrypted {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "some of the system's CA certificates cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(SetupError::NoRoots);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests;

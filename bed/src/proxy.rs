//! Trouble on the way to a server: an HTTPS server that hands requests on to a real one, and does to some of
//! them what a test says.
//!
//! It stands before Pebble or kube-apiserver, speaks with a certificate of its own, and writes down every
//! exchange. Only HTTP/1.1 passes; answers to watches pass as they come, all others whole.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::ports::Port;
use crate::scratch::Scratch;
use crate::tls::{self, Authority, Pair};

/// Bodies above this are neither read nor handed on.
const LIMIT: usize = 64 << 20;

/// Bodies up to this length are kept in [`Exchange`]; those of ACME are a few hundred bytes.
const KEPT: usize = 16 << 10;

/// What befalls a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is answered by the proxy itself, and the server never sees it.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Further header lines.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// The server carries it out, and the asker is told this instead of its answer.
    Belie {
        /// The HTTP status.
        status: u16,
        /// Further header lines.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// Its connection ends before the server sees it.
    Cut,
    /// The server sees it later.
    Delay(Duration),
    /// The server carries it out, and its connection ends instead of an answer.
    LoseAnswer,
}

/// A request that came, and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When it came.
    pub at: Instant,
    /// Method, path and query, such as `POST /order-plz`.
    pub request: String,
    /// The status that the asker was told; `None` if it was told nothing.
    pub status: Option<u16>,
    /// The `Location` in the server's answer, which the asker may not have seen.
    pub location: Option<String>,
    /// The body of the server's answer, which the asker may not have seen; empty if it is long.
    pub body: Bytes,
}

/// The server in between.
#[derive(Debug)]
pub struct Proxy {
    authority: Authority,
    port: Port,
    scratch: Scratch,
    shared: Arc<Shared>,
    cuts: watch::Sender<()>,
    _tasks: JoinSet<()>,
}

/// What befalls which requests, and how often yet.
#[derive(Debug)]
struct Rule {
    request: String,
    times: usize,
    fault: Fault,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    rules: Mutex<Vec<Rule>>,
    exchanges: Mutex<Vec<Exchange>>,
    /// Requests under way. They are brought to their end even if their connection has none.
    under_way: Mutex<JoinSet<()>>,
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

impl Fault {
    /// An answer without further headers.
    pub fn answer(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }

    /// A problem document of an ACME server (RFC 8555 §6.7), perhaps with a `Retry-After`.
    pub fn problem(status: u16, kind: &str, detail: &str, retry_after: Option<&str>) -> Self {
        let body = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"),
            "detail": detail,
            "status": status,
        });
        let mut headers = vec![("content-type", "application/problem+json".to_owned())];
        headers.extend(retry_after.map(|wait| ("retry-after", wait.to_owned())));
        Self::Answer {
            status,
            headers,
            body: body.to_string(),
        }
    }

    /// The same answer, though the server carries the request out; any other fault as it is.
    #[must_use]
    pub fn belied(self) -> Self {
        let Self::Answer {
            status,
            headers,
            body,
        } = self
        else {
            return self;
        };
        Self::Belie {
            status,
            headers,
            body,
        }
    }

    /// A refusal of kube-apiserver, perhaps with a `Retry-After`.
    pub fn refusal(status: u16, reason: &str, message: &str, retry_after: Option<u32>) -> Self {
        let body = serde_json::json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": status,
        });
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(retry_after.map(|seconds| ("retry-after", seconds.to_string())));
        Self::Answer {
            status,
            headers,
            body: body.to_string(),
        }
    }
}

impl Proxy {
    /// Starts one before the server at `upstream`, an `https` URL whose path does not matter. That server's
    /// certificate must come from `roots`, in PEM.
    ///
    /// It belongs to the tokio runtime of the caller, and ends when dropped.
    pub async fn start(upstream: &str, roots: &str) -> Result<Self> {
        let upstream = upstream.parse::<Uri>()?;
        let upstream = upstream.authority().context("a URL with a server")?.as_str();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client(roots)?)
            .https_only()
            .enable_http1()
            .build();
        let shared = Arc::new(Shared {
            upstream: upstream.parse()?,
            client: Client::builder(TokioExecutor::new()).build(connector),
            rules: Mutex::default(),
            exchanges: Mutex::default(),
            under_way: Mutex::default(),
        });

        let scratch = Scratch::new("proxy")?;
        let authority = Authority::new("faythe-bed proxy")?;
        scratch.write("roots.pem", authority.root())?;
        let tls = acceptor(&authority.server()?)?;
        let port = Port::claim()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).await?;
        let (cuts, cut) = watch::channel(());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tls, Arc::clone(&shared), cut));
        Ok(Self {
            authority,
            port,
            scratch,
            shared,
            cuts,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The URL by which something at the server is reached through this proxy.
    pub fn url_of(&self, url: &str) -> Result<String> {
        let url = url.parse::<Uri>()?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Ok(format!("https://{}{path}", self.port.address()))
    }

    /// The root of its certificate, in PEM.
    pub fn https_roots(&self) -> String {
        self.authority.root()
    }

    /// A PEM file with the root of its certificate.
    pub fn https_roots_file(&self) -> PathBuf {
        self.scratch.path().join("roots.pem")
    }

    /// From now on, `fault` befalls the next `times` requests that contain `request`, as [`Exchange::request`]
    /// is written. Of several that fit, the one that was added first befalls a request, and no other.
    pub fn fault(&self, times: usize, request: &str, fault: Fault) {
        lock(&self.shared.rules).push(Rule {
            request: request.to_owned(),
            times,
            fault,
        });
    }

    /// The same for all such requests.
    pub fn fault_always(&self, request: &str, fault: Fault) {
        self.fault(usize::MAX, request, fault);
    }

    /// From now on, nothing befalls any request.
    pub fn heal(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// All requests so far whose end has come, or the beginning of their answer; in that order.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.shared.exchanges).clone()
    }

    /// How many they are.
    pub fn exchanges_so_far(&self) -> usize {
        lock(&self.shared.exchanges).len()
    }

    /// How many of them contain `request`.
    pub fn count(&self, request: &str) -> usize {
        let exchanges = lock(&self.shared.exchanges);
        exchanges
            .iter()
            .filter(|exchange| exchange.request.contains(request))
            .count()
    }
}

/// Serves whoever connects, until it is dropped.
async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>, cut: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, tls.clone(), Arc::clone(&shared), cut.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until one side ends it.
async fn serve(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>, mut cut: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    // What was cut before it connected does not concern it.
    cut.mark_unchanged();
    let served = async {
        let stream = tls.accept(stream).await?;
        let service = service_fn(|request| outlive(request, Arc::clone(&shared)));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connection.await.map_err(anyhow::Error::from)
    };
    // How a connection ends is the asker's affair.
    tokio::select! {
        _ = served => {}
        _ = cut.changed() => {}
    }
}

/// Answers one request, and completes its exchange with the server even if the asker does not live to see it.
async fn outlive(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer> {
    let (told, answer) = oneshot::channel();
    {
        let mut under_way = lock(&shared.under_way);
        while under_way.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        under_way.spawn(async move {
            // Nobody is told where the connection has ended.
            let _ = told.send(exchange(request, &shared).await);
        });
    }
    answer.await?
}

/// Answers one request. An error ends its connection.
async fn exchange(request: Request<Incoming>, shared: &Shared) -> Result<Answer> {
    let at = Instant::now();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut exchange = Exchange {
        at,
        request: format!("{} {path}", request.method()),
        status: None,
        location: None,
        body: Bytes::new(),
    };
    let fault = shared.befalls(&exchange.request);
    let answer = match fault {
        Some(Fault::Answer {
            status,
            headers,
            body,
        }) => {
            // What is not read would be taken for the next request.
            drop(whole(request.into_body()).await?);
            written(status, headers, body)
        }
        Some(Fault::Belie {
            status,
            headers,
            body,
        }) => shared
            .ask(request, &mut exchange)
            .await
            .and_then(|_| written(status, headers, body)),
        Some(Fault::Cut) => Err(anyhow!("cut")),
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            shared.ask(request, &mut exchange).await
        }
        Some(Fault::LoseAnswer) => shared
            .ask(request, &mut exchange)
            .await
            .and_then(|_| Err(anyhow!("lost"))),
        None => shared.ask(request, &mut exchange).await,
    };
    exchange.status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
    lock(&shared.exchanges).push(exchange);
    answer
}

impl Shared {
    /// Takes the fault that befalls a request.
    fn befalls(&self, request: &str) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times > 0 && request.contains(&rule.request))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    /// Hands a request on, and its answer back.
    async fn ask(&self, request: Request<Incoming>, exchange: &mut Exchange) -> Result<Answer> {
        let (mut head, body) = request.into_parts();
        let is_watch = head.uri.query().is_some_and(|query| query.contains("watch=true"));
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        // The header `Host` stays: in it, Pebble reads how it is reached.
        head.uri = format!("https://{}{path}", self.upstream).parse()?;
        head.headers.remove(CONNECTION);
        let request = Request::from_parts(head, Full::from(whole(body).await?));
        let (mut head, body) = self.client.request(request).await?.into_parts();
        head.headers.remove(CONNECTION);
        let location = head.headers.get(LOCATION);
        exchange.location = location.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        if is_watch {
            return Ok(Response::from_parts(head, body.boxed()));
        }
        let body = whole(body).await?;
        if body.len() <= KEPT {
            exchange.body = body.clone();
        }
        let body = Full::from(body).map_err(|never| match never {}).boxed();
        Ok(Response::from_parts(head, body))
    }
}

/// An answer of the proxy's own.
fn written(status: u16, headers: Vec<(&'static str, String)>, body: String) -> Result<Answer> {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    let body = Full::from(body).map_err(|never| match never {}).boxed();
    Ok(answer.body(body)?)
}

async fn whole(body: Incoming) -> Result<Bytes> {
    let body = Limited::new(body, LIMIT).collect().await;
    Ok(body.map_err(anyhow::Error::from_boxed)?.to_bytes())
}

fn acceptor(pair: &Pair) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Small HTTP requests to the servers of the bed: one connection each, bounded in time and size.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::tls;

/// None of the servers sends more than this, not even a long /metrics.
const LIMIT: usize = 64 << 20;

/// What a request may take, a busy machine included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer to a request.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status, such as 200.
    pub status: u16,
    /// The whole body.
    pub body: String,
}

impl Reply {
    /// The body of a success; another status is an error that holds the body.
    pub fn success(self) -> Result<String> {
        anyhow::ensure!(
            (200..300).contains(&self.status),
            "status {}: {}",
            self.status,
            self.body
        );
        Ok(self.body)
    }
}

/// GETs a URL. An `https` one must have a certificate from `roots`, in PEM.
pub async fn get(url: &str, roots: &str) -> Result<Reply> {
    send(Method::GET, url, roots, String::new()).await
}

/// POSTs a body to a URL, like [`get`].
pub async fn post(url: &str, roots: &str, body: String) -> Result<Reply> {
    send(Method::POST, url, roots, body).await
}

async fn send(method: Method, url: &str, roots: &str, body: String) -> Result<Reply> {
    let exchange = exchange(method, url, roots, body);
    let reply = tokio::time::timeout(TIMEOUT, exchange).await;
    reply
        .with_context(|| format!("no answer from {url} in {TIMEOUT:?}"))?
        .with_context(|| url.to_owned())
}

async fn exchange(method: Method, url: &str, roots: &str, body: String) -> Result<Reply> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client(roots)?)
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::builder()
        .method(method)
        .uri(url.parse::<Uri>()?)
        .header("user-agent", "faythe-bed")
        .body(Full::from(body))?;
    let (head, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, LIMIT)
        .collect()
        .await
        .map_err(anyhow::Error::from_boxed)?
        .to_bytes();
    Ok(Reply {
        status: head.status.as_u16(),
        body: String::from_utf8(body.to_vec())?,
    })
}

//! `/metrics`, `/healthz` and `/readyz`. Handlers only read what the loop has published.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Health;
use super::metrics::Metrics;

/// A loop that has not completed a turn for so many heartbeats is stuck.
const HEARTBEATS: u32 = 5;
/// However short the heartbeat, a busy machine is no stuck loop.
const STUCK_AT_LEAST: Duration = Duration::from_secs(30);

/// What the handlers read.
#[derive(Clone)]
pub struct Page {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The loop's health.
    pub health: watch::Receiver<Health>,
    /// How often the loop turns at least.
    pub heartbeat: Duration,
    /// Takes into the metrics what is counted elsewhere.
    pub count: Arc<dyn Fn() + Send + Sync>,
    /// What is to be known of an instance that is ready and does not simply lead.
    pub besides: Arc<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Takes the address; separate from [`serve`], so that a taken port is an error at start.
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

/// Serves until `stop`.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(listener: TcpListener, page: Page, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(page);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn metrics(State(page): State<Page>) -> impl IntoResponse {
    (page.count)();
    match page.metrics.exposition() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            "the metrics could not be written\n".to_owned(),
        ),
    }
}

async fn healthz(State(page): State<Page>) -> (StatusCode, String) {
    let silent = page.health.borrow().turned.elapsed();
    if silent > (page.heartbeat * HEARTBEATS).max(STUCK_AT_LEAST) {
        let text = format!("the loop has not turned for {} s\n", silent.as_secs());
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    (StatusCode::OK, "ok\n".to_owned())
}

async fn readyz(State(page): State<Page>) -> (StatusCode, String) {
    if !page.health.borrow().ready {
        let text = "the cluster has not been listed yet\n".to_owned();
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    // Probes go by the status; the words are for people.
    let besides = (page.besides)().map(|text| format!("; {text}"));
    (StatusCode::OK, format!("ok{}\n", besides.unwrap_or_default()))
}

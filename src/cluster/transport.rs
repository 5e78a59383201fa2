//! One exchange with the API server: bounded in time, size and number, and without losing `Retry-After`.
//!
//! Differs from the client's own stack in that it neither retries nor logs, and in what the bounds below say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use kube::core::Status;
use kube::core::response::StatusDetails;
use thiserror::Error;
use tokio::sync::Semaphore;
use tower::BoxError;

use super::Observe;

/// A whole exchange may take this long; of a watch, the time until it begins. The API server itself gives up after 60 s,
/// but a list of one page takes well under a second.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest answer: etcd takes no object above 1.5 MiB, and pages hold at most 500, which are never all so large.
const LONGEST: usize = 64 << 20;
/// Requests under way at once, watches and those for the Lease aside. More would not be answered sooner, and each costs a
/// TLS connection.
const AT_ONCE: usize = 32;
/// Connections without work are closed after this time.
const IDLE: Duration = Duration::from_secs(60);

/// The connections to the API server.
pub(super) struct Transport {
    http: Http<HttpsConnector<HttpConnector>, Body>,
    turns: Semaphore,
    observe: Observe,
}

/// A watch comes piece by piece, everything else whole.
type Answer = Either<Incoming, Full<Bytes>>;

/// Why there is no answer, where it is for none of the connection's own reasons.
#[derive(Debug, Error)]
enum Broken {
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
}

impl Transport {
    pub(super) fn new(https: HttpsConnector<HttpConnector>, observe: Observe) -> Self {
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(AT_ONCE)
            .build(https);
        Self {
            http,
            turns: Semaphore::new(AT_ONCE),
            observe,
        }
    }

    /// Sends one request and takes its answer.
    pub(super) async fn exchange(
        self: Arc<Self>,
        request: Request<Body>,
    ) -> Result<Response<Answer>, BoxError> {
        let method = request.method().clone();
        let answer = if is_watch(request.uri()) {
            within(self.ask(request)).await
        } else {
            // Waiting for a turn is no fault of the API server's and does not count against the deadline. Slow answers about
            // orders must not cost the leadership.
            let _turn = match is_of_lease(request.uri()) {
                true => None,
                false => Some(self.turns.acquire().await?),
            };
            within(async { whole(self.ask(request).await?).await }).await
        };
        let head = answer.as_ref().map(|answer| (answer.status(), answer.headers()));
        (self.observe)(&method, head.ok());
        answer
    }

    /// Sends one request; leaves a success unread, and reads a failure.
    async fn ask(&self, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let response = self.http.request(request).await?.map(Either::Left);
        if response.status().is_success() {
            Ok(response)
        } else {
            whole(response).await
        }
    }
}

/// Reads the rest of an answer.
async fn whole(response: Response<Answer>) -> Result<Response<Answer>, BoxError> {
    let (parts, body) = response.into_parts();
    let bytes = Limited::new(body, LONGEST).collect().await?.to_bytes();
    let bytes = match delay(&parts.headers) {
        Some(seconds) if !parts.status.is_success() => keep_delay(parts.status, seconds, &bytes),
        _ => bytes,
    };
    Ok(Response::from_parts(parts, Either::Right(Full::new(bytes))))
}

async fn within<T>(exchange: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .map_err(|_| Broken::Late)?
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair == "watch=true" || pair == "watch=1")
    })
}

fn is_of_lease(uri: &Uri) -> bool {
    uri.path().starts_with("/apis/coordination.k8s.io/")
}

/// Seconds in `Retry-After`. The API server never sends the header's other form, a date (RFC 9110 §10.2.3).
fn delay(headers: &HeaderMap) -> Option<u32> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Writes `Retry-After` into the body, which is all that the client hands on. An overloaded API server answers in plain
/// text, with the delay in the header alone.
fn keep_delay(code: StatusCode, seconds: u32, body: &Bytes) -> Bytes {
    let mut status = serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        Status::failure(text.trim(), "").with_code(code.as_u16())
    });
    match &mut status.details {
        Some(details) if details.retry_after_seconds > 0 => return body.clone(),
        Some(details) => details.retry_after_seconds = seconds,
        none => {
            *none = Some(StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: Vec::new(),
                retry_after_seconds: seconds,
            });
        }
    }
    serde_json::to_vec(&status).map_or_else(|_| body.clone(), Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Fault;

    #[test]
    fn a_watch_is_told_by_its_query() {
        assert!(is_watch(&Uri::from_static(
            "/api/v1/secrets?watch=true&timeoutSeconds=290"
        )));
        assert!(!is_watch(&Uri::from_static("/api/v1/secrets?limit=100")));
        assert!(!is_watch(&Uri::from_static("/api/v1/namespaces/watch/secrets")));
    }

    #[test]
    fn p38_the_lease_is_told_by_its_path() {
        let uri = "/apis/coordination.k8s.io/v1/namespaces/n/leases/faythe?fieldManager=faythe";
        assert!(is_of_lease(&Uri::from_static(uri)));
        assert!(!is_of_lease(&Uri::from_static(
            "/api/v1/namespaces/n/secrets/leases"
        )));
    }

    #[test]
    fn p36_nobody_is_waited_for_longer_than_five_minutes() {
        let body = keep_delay(StatusCode::SERVICE_UNAVAILABLE, 86_400, &Bytes::new());
        let status: Status = serde_json::from_slice(&body).unwrap();
        let fault = Fault::of_status(&status);
        assert_eq!(fault.retry_after(), Some(Duration::from_secs(300)));
    }

    #[test]
    fn the_delay_of_a_plain_text_refusal_survives() {
        let body = Bytes::from_static(b"Too many requests, please try again later.");
        let body = keep_delay(StatusCode::TOO_MANY_REQUESTS, 7, &body);
        let status: Status = serde_json::from_slice(&body).unwrap();
        assert_eq!(status.message, "Too many requests, please try again later.");
        assert_eq!(
            Fault::of_status(&status),
            Fault::TooMany(Some(Duration::from_secs(7)))
        );
    }

    #[test]
    fn the_delay_in_a_status_is_not_overwritten() {
        let body = Bytes::from_static(br#"{"code":503,"details":{"retryAfterSeconds":2}}"#);
        let body = keep_delay(StatusCode::SERVICE_UNAVAILABLE, 7, &body);
        let status: Status = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            Fault::of_status(&status),
            Fault::Unavailable(Some(Duration::from_secs(2)))
        );
    }
}

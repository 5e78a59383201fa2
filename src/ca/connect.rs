//! The way to a CA's server: straight, or through an HTTP proxy by CONNECT (RFC 9110 §9.3.6).
//!
//! Environment variables such as `HTTPS_PROXY` are not looked at: what is to be used is configured.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderValue, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;

use super::body::Body;
use super::http::SetupError;
use super::trust::trust;

/// Connections that are kept while idle; more than are used at once under a burst.
const IDLE_CONNECTIONS: usize = 64;
/// How long they are kept: shorter than the minute or so after which common servers hang up.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// A proxy for requests to a CA; what it wants to know of us stays hidden.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Uri,
    /// `Proxy-Authorization` for the user and password in the URL (RFC 7617).
    authorization: Option<HeaderValue>,
}

/// A text that is no proxy's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it is not the URL of a proxy, such as http://proxy.example.com:3128")]
pub struct NoProxy;

impl FromStr for Proxy {
    type Err = NoProxy;

    fn from_str(text: &str) -> Result<Self, NoProxy> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(NoProxy)?;
        if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err(NoProxy);
        }
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let url: Uri = format!("{scheme}://{place}").parse().map_err(|_| NoProxy)?;
        if url.host().is_none_or(str::is_empty) || !["", "/"].contains(&url.path()) || url.query().is_some() {
            return Err(NoProxy);
        }
        let authorization = user
            .map(|user| {
                let mut value =
                    HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(decoded(user)?)))
                        .map_err(|_| NoProxy)?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        Ok(Self { url, authorization })
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decoded(text: &str) -> Result<Vec<u8>, NoProxy> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
            let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(byte.ok_or(NoProxy)?);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Ok(bytes)
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.url)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// Kept connections to a server.
pub(super) enum Way {
    Straight(Client<Direct, Body>),
    Proxied(Box<Client<Tunneled, Body>>),
}

type Direct = HttpsConnector<HttpConnector>;
/// TLS with the CA, inside what may be TLS with the proxy.
type Tunneled = HttpsConnector<Tunnel<Direct>>;

impl Way {
    /// The way to a server that speaks HTTPS, or plain HTTP if it is not `encrypted`. `patience` is for the connection.
    pub(super) fn new(
        encrypted: bool,
        proxy: Option<Proxy>,
        roots: Option<&PathBuf>,
        patience: Duration,
    ) -> Result<Self, SetupError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        // A request goes out in two small writes; with Nagle's algorithm the second waits 40 ms for an acknowledgement.
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(patience));
        let mut client = Client::builder(TokioExecutor::new());
        client
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS);
        let to_proxy = proxy
            .as_ref()
            .is_some_and(|proxy| proxy.url.scheme_str() == Some("https"));
        let trusted = trust(roots, encrypted || to_proxy)?;
        let tls = HttpsConnectorBuilder::new().with_tls_config(trusted.clone());
        let tls = if encrypted {
            tls.https_only()
        } else {
            tls.https_or_http()
        };
        let Some(Proxy { url, authorization }) = proxy else {
            let connector = tls.enable_http1().wrap_connector(connector);
            return Ok(Self::Straight(client.build(connector)));
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trusted)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let mut tunnel = Tunnel::new(url, connector);
        if let Some(authorization) = authorization {
            tunnel = tunnel.with_auth(authorization);
        }
        let client = client.build(tls.enable_http1().wrap_connector(tunnel));
        Ok(Self::Proxied(Box::new(client)))
    }

    /// Sends a request.
    pub(super) fn request(&self, request: Request<Body>) -> ResponseFuture {
        match self {
            Self::Straight(client) => client.request(request),
            Self::Proxied(client) => client.request(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_by_its_url_and_hides_its_password() {
        let proxy: Proxy = "http://user:p%40ss@proxy.test:3128".parse().unwrap();
        assert_eq!(proxy.to_string(), "http://proxy.test:3128/");
        assert!(!format!("{proxy:?} {proxy}").contains("ss"), "{proxy:?}");
        let value = proxy.authorization.unwrap();
        assert_eq!(
            value,
            format!("Basic {}", BASE64_STANDARD.encode("user:p@ss")).as_str()
        );
        assert_eq!("https://proxy.test".parse::<Proxy>().unwrap().authorization, None);
        for wrong in [
            "",
            "proxy",
            "proxy:3128",
            "socks5://proxy.test",
            "http://",
            "http://proxy.test/path",
            "http://proxy.test/?q",
            "http://a%zz@proxy.test",
        ] {
            assert_eq!(wrong.parse::<Proxy>(), Err(NoProxy), "for {wrong:?}");
        }
    }
}

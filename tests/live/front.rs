//! A Faythe that reaches its CA through a proxy, for tests that have the CA answer what it does not answer by itself.

use std::time::Duration;

use faythe_bed::faythe::Faythe;
use faythe_bed::proxy::{Fault, Proxy};
use faythe_bed::{Bed, until};
use serde_json::{Value, json};

use super::look::{FAYTHE, NEW_ORDER, SOON, ask, before_ca, issued};

/// Reading an authorization, and reading an order.
pub(crate) const AUTHORIZATION: &str = "POST /authZ/";
pub(crate) const ORDER: &str = "POST /my-order/";
/// Asking for the certificate, and revoking one.
pub(crate) const FINALIZE: &str = "POST /finalize-order/";
pub(crate) const REVOKE: &str = "POST /revoke-cert";

/// A bed with a Faythe that reaches the CA through a proxy.
pub(crate) struct Front {
    pub(crate) faythe: Faythe,
    pub(crate) proxy: Proxy,
    pub(crate) bed: Bed,
    /// What Faythe is configured with.
    pub(crate) config: Value,
    /// How many hosts there are.
    pub(crate) hosts: usize,
}

impl Front {
    pub(crate) async fn start() -> Self {
        Self::on(Bed::start().await.unwrap()).await
    }

    /// The same on a bed of one's own.
    pub(crate) async fn on(bed: Bed) -> Self {
        let (proxy, mut config) = before_ca(&bed).await;
        config["issue_grace"] = 1000.into();
        let faythe = bed.faythe(FAYTHE, config.clone()).await.unwrap();
        faythe.ready(SOON).await.unwrap();
        Self {
            faythe,
            proxy,
            bed,
            config,
            hosts: 0,
        }
    }

    /// Asks for a new host; returns its name.
    pub(crate) async fn ask(&mut self) -> String {
        let host = self.bed.host(&format!("r{}", self.hosts));
        self.hosts += 1;
        ask(&self.bed, std::slice::from_ref(&host)).await;
        host
    }

    /// Asks for a new host, and returns when its certificate is there.
    pub(crate) async fn serves(&mut self) {
        let host = self.ask().await;
        issued(&self.bed, &self.faythe, &[host]).await;
    }

    /// Waits until all these hosts have certificates, though a minute or two pass.
    pub(crate) async fn all_served(&self, hosts: &[String]) {
        for host in hosts {
            let there = self.bed.certificate_for(host, Duration::from_secs(150)).await;
            there.unwrap_or_else(|error| panic!("{error:#}; {}", self.faythe.process().log_tail()));
        }
    }

    /// Waits for the log's line about a host in this state; it says this code.
    pub(crate) async fn reaches(&self, host: &str, state: &str, code: &str) -> String {
        let words = [
            format!("host={host}"),
            format!("state=\"{state}\""),
            format!("code=\"{code}\""),
        ];
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        super::look::said(&self.faythe, &words).await
    }

    /// Waits until so many orders are made; answers the requests that read the last one and its authorization.
    pub(crate) async fn made(&self, number: usize) -> (String, String) {
        let last = async || {
            let mut all = self.proxy.exchanges();
            all.retain(|exchange| exchange.request == NEW_ORDER && exchange.location.is_some());
            Ok(all.into_iter().nth(number - 1))
        };
        let made = until(SOON, "an order is made", last).await.unwrap();
        let order: Value = serde_json::from_slice(&made.body).unwrap();
        let request = |url: &str| format!("POST {}", url.parse::<http::Uri>().unwrap().path());
        let authorization = request(order["authorizations"][0].as_str().unwrap());
        (request(&made.location.unwrap()), authorization)
    }

    /// How many new orders were asked for.
    pub(crate) fn orders(&self) -> usize {
        self.proxy.count(NEW_ORDER)
    }
}

/// A refusal with the words of its type.
pub(crate) fn refusal(status: u16, kind: &str) -> Fault {
    Fault::problem(status, kind, &format!("because of {kind}"), None)
}

/// A problem as it stands in an order or a challenge, with the words of its type.
pub(crate) fn error(kind: &str) -> Value {
    json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": format!("because of {kind}") })
}

/// An order that is invalid, with this error if there is one.
pub(crate) fn invalid(error: Option<Value>) -> Fault {
    let mut order = json!({ "status": "invalid", "authorizations": [], "finalize": "https://ca.test/f" });
    if let Some(error) = error {
        order["error"] = error;
    }
    Fault::answer(200, &order.to_string())
}

/// What an authorization shows, with this error in its challenge if there is one.
pub(crate) fn authorization(front: &Front, status: &str, error: Option<Value>) -> Fault {
    let base = front.bed.pebble.directory_url();
    let url = front.proxy.url_of(&base.replace("/dir", "/chalZ/x")).unwrap();
    let host = front.bed.host(&format!("r{}", front.hosts));
    let mut challenge = json!({ "type": "dns-01", "url": url, "token": "t", "status": "pending" });
    if let Some(error) = error {
        challenge["status"] = "invalid".into();
        challenge["error"] = error;
    }
    let body = json!({
        "status": status,
        "identifier": { "type": "dns", "value": host },
        "challenges": [challenge],
    });
    Fault::answer(200, &body.to_string())
}

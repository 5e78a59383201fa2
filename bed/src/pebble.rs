//! Pebble, a small ACME server that validates for real.
//!
//! It keeps everything in memory: after a restart it has new roots, and knows no account and no order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::ports::Port;
use crate::process::{self, Process};
use crate::scratch::Scratch;
use crate::tls::{Authority, Pair};
use crate::{http, tools, until};

/// What a start may take on a busy machine; alone it takes a fraction of a second.
const START: Duration = Duration::from_secs(30);

/// How a Pebble behaves. The default is quick and without chance.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The profiles on offer and how long their certificates live. With several, Pebble chooses one at
    /// random for an order that names none.
    pub profiles: BTreeMap<String, Duration>,
    /// Percent of good nonces that are refused.
    pub nonce_reject: u8,
    /// Percent of identifiers for which a valid authorization is used again. Even at 0, one in a hundred is.
    pub authorization_reuse: u8,
    /// Whether each validation first sleeps for up to 5 seconds, as Pebble does by itself.
    pub slow_validation: bool,
    /// What Retry-After says while an authorization or order is being worked on; 0 for no header.
    pub retry_after_secs: u32,
    /// Domains refused with rejectedIdentifier, with all below them.
    pub blocked_domains: Vec<String>,
    /// Keys for external account binding (id and base64url); if there are any, an account needs one.
    pub account_keys: BTreeMap<String, String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            profiles: BTreeMap::from([("default".to_owned(), days(90))]),
            nonce_reject: 0,
            authorization_reuse: 0,
            slow_validation: false,
            retry_after_secs: 0,
            blocked_domains: Vec::new(),
            account_keys: BTreeMap::new(),
        }
    }
}

impl Setup {
    /// Nonces refused and authorizations reused as often as Pebble does by itself.
    pub fn with_pebbles_chances(self) -> Self {
        Self {
            nonce_reject: 5,
            authorization_reuse: 50,
            ..self
        }
    }

    /// Names that have been proven stay so, so that another order for one is ready at once, and need not wait until the CA
    /// has forgotten what it saw for the one before.
    pub fn with_proven_names(self) -> Self {
        Self {
            authorization_reuse: 100,
            ..self
        }
    }

    /// Let's Encrypt's 160-hour profile beside the usual one.
    pub fn with_shortlived(mut self) -> Self {
        self.profiles
            .insert("shortlived".to_owned(), Duration::from_secs(160 * 3600));
        self
    }
}

/// One ACME server.
#[derive(Debug)]
pub struct Pebble {
    authority: Authority,
    port: Port,
    management: Port,
    setup: Setup,
    dns_server: SocketAddr,
    log: PathBuf,
    process: Option<Process>,
    scratch: Scratch,
}

impl Pebble {
    /// Starts one that looks up TXT records at `dns_server`, over TCP, and returns when it answers.
    pub async fn start(setup: Setup, dns_server: SocketAddr) -> Result<Self> {
        let scratch = Scratch::new("pebble")?;
        let authority = Authority::new("faythe-bed ACME")?;
        let Pair { certificate, key } = authority.server()?;
        scratch.write("tls.crt", certificate)?;
        scratch.write("tls.key", key)?;
        scratch.write("roots.pem", authority.root())?;
        let (port, management) = (Port::claim()?, Port::claim()?);
        let log = scratch.path().join("pebble.log");
        let mut pebble = Self {
            authority,
            port,
            management,
            setup,
            dns_server,
            log,
            process: None,
            scratch,
        };
        pebble.start_again().await?;
        Ok(pebble)
    }

    /// The URL of its ACME directory.
    pub fn directory_url(&self) -> String {
        format!("https://{}/dir", self.port.address())
    }

    /// A PEM file with the root of its own HTTPS, for `acme_root_certificates`.
    pub fn https_roots_file(&self) -> PathBuf {
        self.scratch.path().join("roots.pem")
    }

    /// The root of its own HTTPS, in PEM.
    pub fn https_roots(&self) -> String {
        self.authority.root()
    }

    /// The root of the certificates it issues, in PEM.
    pub async fn issuer_roots(&self) -> Result<String> {
        self.manage("/roots/0").await
    }

    /// Its ACME directory, as JSON.
    pub async fn directory(&self) -> Result<serde_json::Value> {
        let text = http::get(&self.directory_url(), &self.https_roots())
            .await?
            .success()?;
        Ok(serde_json::from_str(&text)?)
    }

    /// GETs a path of its management interface, such as `/roots/0`.
    pub async fn manage(&self, path: &str) -> Result<String> {
        let url = format!("https://{}{path}", self.management.address());
        http::get(&url, &self.https_roots()).await?.success()
    }

    /// POSTs to a path of its management interface, such as `/set-renewal-info/`.
    pub async fn set(&self, path: &str, body: String) -> Result<()> {
        let url = format!("https://{}{path}", self.management.address());
        http::post(&url, &self.https_roots(), body).await?.success()?;
        Ok(())
    }

    /// How many orders it has created, over all its restarts.
    pub fn orders_created(&self) -> usize {
        // Written once by the handler of new-order, when the order is stored.
        self.log().matches(" Added order \"").count()
    }

    /// How many certificates it has issued, over all its restarts.
    pub fn certificates_issued(&self) -> usize {
        self.log().matches(" Issued certificate serial ").count()
    }

    /// How many accounts it has made, over all its restarts.
    pub fn accounts_created(&self) -> usize {
        self.log().matches(" accounts in memory").count()
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops it at once; what it knows is lost.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it on the same ports, if it does not run.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let process = self.spawn()?;
        until(START, "Pebble answers", async || match process.ended()? {
            Some(_) => Ok(Some(())),
            // The management interface comes up beside the other and is needed too.
            None => self
                .manage("/roots/0")
                .await
                .and(self.directory().await)
                .map(|_| Some(())),
        })
        .await
        .with_context(|| process.log_tail())?;
        process.check_running()?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops and starts it, perhaps with another behavior.
    pub async fn restart(&mut self, setup: Setup) -> Result<()> {
        self.stop();
        self.setup = setup;
        self.start_again().await
    }

    /// Stops it from answering, with its connections left open.
    pub fn freeze(&self) {
        self.process.iter().for_each(Process::freeze);
    }

    /// Undoes [`Pebble::freeze`].
    pub fn thaw(&self) {
        self.process.iter().for_each(Process::thaw);
    }

    /// Its process, for its memory and times.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("Pebble is stopped")
    }

    /// The end of its log, for failure messages.
    pub fn log_tail(&self) -> String {
        process::tail(&self.log())
    }

    fn spawn(&self) -> Result<Process> {
        let setup = &self.setup;
        let config = self.scratch.write("pebble.json", self.config().to_string())?;
        let mut command = Command::new(tools::built("pebble")?);
        command
            .arg("-config")
            .arg(config)
            .args(["-strict=false", "-dnsserver", &self.dns_server.to_string()])
            .env("PEBBLE_WFE_NONCEREJECT", setup.nonce_reject.to_string())
            .env("PEBBLE_AUTHZREUSE", setup.authorization_reuse.to_string())
            .env("PEBBLE_VA_NOSLEEP", if setup.slow_validation { "0" } else { "1" })
            .current_dir(self.scratch.path());
        Process::start("pebble", &command, &self.log)
    }

    fn config(&self) -> serde_json::Value {
        let setup = &self.setup;
        let profile =
            |lifetime: &Duration| json!({ "description": "", "validityPeriod": lifetime.as_secs() });
        let profiles: BTreeMap<_, _> = setup
            .profiles
            .iter()
            .map(|(name, lifetime)| (name, profile(lifetime)))
            .collect();
        json!({ "pebble": {
            "listenAddress": self.port.address().to_string(),
            "managementListenAddress": self.management.address().to_string(),
            "certificate": "tls.crt",
            "privateKey": "tls.key",
            // Nothing listens there: challenges other than DNS are to fail.
            "httpPort": 1,
            "tlsPort": 1,
            "externalAccountBindingRequired": !setup.account_keys.is_empty(),
            "externalAccountMACKeys": setup.account_keys,
            "domainBlocklist": setup.blocked_domains,
            "retryAfter": { "authz": setup.retry_after_secs, "order": setup.retry_after_secs },
            "keyAlgorithm": "ecdsa",
            "profiles": profiles,
        }})
    }
}

/// A number of days.
const fn days(number: u64) -> Duration {
    Duration::from_secs(number * 24 * 3600)
}

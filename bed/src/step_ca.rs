//! step-ca, an ACME server by other hands than Pebble: it orders, validates and issues in its own way.
//!
//! It has a root and an intermediate of its own, keeps what it knows in a file, and serves HTTPS with a certificate that it
//! issues itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::tls::{Authority, Pair};
use crate::{http, tools, until};

/// What a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);
/// The names of its ACME provisioners, which are in its URLs.
const USUAL: &str = "faythe";
const BRIEF: &str = "brief";

/// One server; it ends when dropped.
#[derive(Debug)]
pub struct StepCa {
    authority: Authority,
    port: Port,
    scratch: Scratch,
    _process: Process,
}

impl StepCa {
    /// Starts one that looks up TXT records at `dns_server`, and returns when it answers.
    pub async fn start(dns_server: SocketAddr) -> Result<Self> {
        let scratch = Scratch::new("step-ca")?;
        let authority = Authority::new("faythe-bed step-ca root")?;
        let Pair { certificate, key } = authority.intermediate("faythe-bed step-ca")?;
        let root = scratch.write("root.pem", authority.root())?;
        let port = Port::claim()?;
        let config = json!({
            "root": root,
            "crt": scratch.write("intermediate.pem", certificate)?,
            "key": scratch.write("intermediate.key", key)?,
            "address": port.address().to_string(),
            "dnsNames": ["127.0.0.1", "localhost"],
            "logger": { "format": "text" },
            "db": { "type": "bbolt", "dataSource": scratch.path().join("db") },
            "authority": { "provisioners": [provisioner(USUAL, "2160h"), provisioner(BRIEF, "80s")] },
        });
        let config = scratch.write("ca.json", config.to_string())?;
        let mut command = Command::new(tools::step_ca()?);
        command
            .arg(config)
            .args(["--resolver", &dns_server.to_string()])
            // Nothing of the user's is read or written.
            .env("STEPPATH", scratch.path())
            .current_dir(scratch.path());
        let log = scratch.path().join("step-ca.log");
        let process = Process::start("step-ca", &command, &log)?;
        let url = directory_url(&port, USUAL);
        let roots = authority.root();
        until(START, "step-ca answers", async || match process.ended()? {
            Some(_) => Ok(Some(())),
            None => http::get(&url, &roots).await?.success().map(|_| Some(())),
        })
        .await
        .with_context(|| process.log_tail())?;
        process.check_running()?;
        Ok(Self {
            authority,
            port,
            scratch,
            _process: process,
        })
    }

    /// The URL of its ACME directory, for certificates of 90 days.
    pub fn directory_url(&self) -> String {
        directory_url(&self.port, USUAL)
    }

    /// That of another one, whose certificates end 80 s after they are made; by their own words they are a minute older.
    pub fn brief_directory_url(&self) -> String {
        directory_url(&self.port, BRIEF)
    }

    /// A PEM file with its root, for `acme_root_certificates`.
    pub fn roots_file(&self) -> PathBuf {
        self.scratch.path().join("root.pem")
    }

    /// The root of its own HTTPS and of the certificates it issues, in PEM.
    pub fn roots(&self) -> String {
        self.authority.root()
    }
}

fn provisioner(name: &str, lifetime: &str) -> Value {
    json!({
        "type": "ACME",
        "name": name,
        "challenges": ["dns-01"],
        "claims": {
            "minTLSCertDuration": lifetime,
            "maxTLSCertDuration": lifetime,
            "defaultTLSCertDuration": lifetime,
        },
    })
}

fn directory_url(port: &Port, provisioner: &str) -> String {
    format!("https://{}/acme/{provisioner}/directory", port.address())
}

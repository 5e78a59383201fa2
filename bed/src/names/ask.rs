//! One address of a name server, asked and updated with BIND's tools, whatever make the server is of.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, tools};

/// An address that is asked over TCP; updates are signed with the server's first key.
#[derive(Debug, Clone)]
pub struct Asker {
    address: SocketAddr,
    key_file: PathBuf,
}

impl Asker {
    pub(super) fn new(address: SocketAddr, key_file: PathBuf) -> Self {
        Self { address, key_file }
    }

    /// Where it answers, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A key file for `auth_dns_key`, as tsig-keygen writes it, with the first of the keys.
    pub fn key_file(&self) -> PathBuf {
        self.key_file.clone()
    }

    /// The TXT values that stand at a name, sorted. Each is joined from its strings.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>> {
        let answer = self.dig(&["+noall", "+answer", name, "TXT"]).await?;
        Ok(txt_records(&answer).into_iter().map(|(_, value)| value).collect())
    }

    /// All TXT records of a zone as (name without a dot at the end, value), sorted.
    pub async fn all_txt(&self, zone: &str) -> Result<Vec<(String, String)>> {
        let answer = self.dig(&["+noall", "+answer", "+onesoa", zone, "AXFR"]).await?;
        // dig ends well when a transfer is refused, but then there is no SOA record.
        anyhow::ensure!(answer.contains("\tSOA\t"), "no transfer of {zone}: {answer}");
        Ok(txt_records(&answer))
    }

    /// The serial number of a zone, which grows with each update.
    pub async fn serial(&self, zone: &str) -> Result<u32> {
        let answer = self.dig(&["+short", zone, "SOA"]).await?;
        let serial = answer
            .split_whitespace()
            .nth(2)
            .with_context(|| format!("no SOA of {zone}: {answer}"))?;
        Ok(serial.parse()?)
    }

    /// Adds a TXT value by signed update, as another tool would.
    pub async fn add_txt(&self, name: &str, value: &str) -> Result<()> {
        self.update(&format!("update add {name}. 120 IN TXT \"{value}\""))
            .await
    }

    /// Removes all TXT values at a name.
    pub async fn delete_txt(&self, name: &str) -> Result<()> {
        self.update(&format!("update delete {name}. TXT")).await
    }

    /// Sends lines of nsupdate's language as one update, signed with the first key.
    pub async fn update(&self, lines: &str) -> Result<()> {
        let (ip, port) = (self.address.ip(), self.address.port());
        let script = format!("server {ip} {port}\n{lines}\nsend\n");
        let mut nsupdate = Command::new(tools::bind("nsupdate")?);
        nsupdate.arg("-v").arg("-k").arg(&self.key_file);
        process::run(nsupdate, &script).await.map(drop)
    }

    /// Runs dig against this server, over TCP, and returns its output.
    pub async fn dig(&self, arguments: &[&str]) -> Result<String> {
        let (server, port) = (format!("@{}", self.address.ip()), self.address.port().to_string());
        let mut dig = Command::new(tools::bind("dig")?);
        dig.args([&server, "-p", &port, "+tcp", "+time=2", "+tries=1"])
            .args(arguments);
        process::run(dig, "").await
    }

    /// The same question as a command line for people.
    pub fn dig_line(&self, name: &str, record_type: &str) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("dig @{ip} -p {port} {name} {record_type}")
    }
}

/// The TXT records in dig's output, as (name without a dot at the end, value), sorted.
fn txt_records(output: &str) -> Vec<(String, String)> {
    let mut records: Vec<_> = output.lines().filter_map(txt_record).collect();
    records.sort();
    records
}

/// Reads a line like `_acme-challenge.a.test. 120 IN TXT "one" "two"`. Quotes in a value are no matter:
/// ACME's values have none.
fn txt_record(line: &str) -> Option<(String, String)> {
    let (head, data) = line.split_once("TXT")?;
    let name = head.split_whitespace().next()?.strip_suffix('.')?.to_lowercase();
    let value = data.split('"').skip(1).step_by(2).collect();
    Some((name, value))
}

//! BIND as a test wants it: one or a few zones that take signed updates of TXT records, in memory.

mod key;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::ports::Port;
use crate::process::{self, Process};
use crate::scratch::Scratch;
use crate::{tools, until};

pub use self::key::{Algorithm, Key};

/// What a start may take on a busy machine; alone it takes a tenth of a second.
const START: Duration = Duration::from_secs(30);

/// What a server serves.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The zones, without a dot at the end.
    pub zones: Vec<String>,
    /// Who may change TXT records, anywhere in any of the zones. Without a key nobody may.
    pub keys: Vec<Key>,
    /// Names without a dot at the end that no key may change all the same.
    pub denied: Vec<String>,
    /// Further statements for the `options` block, such as `minimal-responses no;`.
    pub options: String,
    /// Further statements at the end of `named.conf`.
    pub statements: String,
}

impl Setup {
    /// One zone and one key, which is called `faythe`.
    pub fn one_zone(zone: &str) -> Self {
        let key = Key::new("faythe", Algorithm::HmacSha256);
        Self {
            zones: vec![zone.to_owned()],
            keys: vec![key],
            ..Self::default()
        }
    }
}

/// One name server. Anybody on this machine may ask it and transfer its zones.
#[derive(Debug)]
pub struct Bind {
    port: Port,
    log: PathBuf,
    setup: Setup,
    role: Role,
    process: Option<Process>,
    scratch: Scratch,
}

/// Where a server has its zones from.
#[derive(Debug)]
enum Role {
    /// It is where they change; it tells this server of changes.
    Primary { tells: Option<SocketAddr> },
    /// It gets them from this server.
    Secondary { of: SocketAddr },
}

impl Bind {
    /// Starts a server and returns when it answers for its zones.
    pub async fn start(setup: Setup) -> Result<Self> {
        let mut bind = Self::new(setup, Role::Primary { tells: None })?;
        bind.start_again().await?;
        Ok(bind)
    }

    /// Starts a server and a second that gets the same zones from it and is told of every change: it
    /// stands for the servers far away that see a record later.
    pub async fn start_with_secondary(setup: Setup) -> Result<(Self, Self)> {
        let mut primary = Self::new(setup.clone(), Role::Primary { tells: None })?;
        let role = Role::Secondary {
            of: primary.address(),
        };
        let mut secondary = Self::new(
            Setup {
                keys: Vec::new(),
                ..setup
            },
            role,
        )?;
        primary.role = Role::Primary {
            tells: Some(secondary.address()),
        };
        primary.start_again().await?;
        secondary.start_again().await?;
        Ok((primary, secondary))
    }

    /// Where it answers, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// A key file for `auth_dns_key`, as tsig-keygen writes it, with the first of the keys.
    pub fn key_file(&self) -> PathBuf {
        self.scratch.path().join("update.key")
    }

    /// The first of the keys.
    pub fn key(&self) -> Result<&Key> {
        self.setup.keys.first().context("this server has no key")
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
        let script = format!("server 127.0.0.1 {}\n{lines}\nsend\n", self.port.number());
        let mut nsupdate = Command::new(tools::bind("nsupdate")?);
        nsupdate.arg("-v").arg("-k").arg(self.key_file());
        process::run(nsupdate, &script).await.map(drop)
    }

    /// Runs dig against this server, over TCP, and returns its output.
    pub async fn dig(&self, arguments: &[&str]) -> Result<String> {
        let port = self.port.number().to_string();
        let mut dig = Command::new(tools::bind("dig")?);
        dig.args(["@127.0.0.1", "-p", &port, "+tcp", "+time=2", "+tries=1"])
            .args(arguments);
        process::run(dig, "").await
    }

    /// The same question as a command line for people.
    pub fn dig_line(&self, name: &str, record_type: &str) -> String {
        format!("dig @127.0.0.1 -p {} {name} {record_type}", self.port.number())
    }

    /// Stops it at once, as a crash would. The zones stay: their journals are read at the next start.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it on the same port, if it does not run.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let process = self.spawn()?;
        until(START, "named answers for its zones", async || {
            if process.ended()?.is_some() {
                return Ok(Some(()));
            }
            for zone in &self.setup.zones {
                self.serial(zone).await?;
            }
            Ok(Some(()))
        })
        .await
        .with_context(|| process.log_tail())?;
        process.check_running()?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops and starts it, perhaps with other keys or options. The zones' contents stay.
    pub async fn restart(&mut self, setup: Setup) -> Result<()> {
        self.stop();
        self.setup = setup;
        self.start_again().await
    }

    /// What it serves.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Stops it from answering, with its connections left open.
    pub fn freeze(&self) {
        self.process.iter().for_each(Process::freeze);
    }

    /// Undoes [`Bind::freeze`].
    pub fn thaw(&self) {
        self.process.iter().for_each(Process::thaw);
    }

    /// Its process, for its memory and times.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("named is stopped")
    }

    /// The end of its log, for failure messages.
    pub fn log_tail(&self) -> String {
        process::tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    fn new(setup: Setup, role: Role) -> Result<Self> {
        let scratch = Scratch::new("named")?;
        let log = scratch.path().join("named.log");
        Ok(Self {
            port: Port::claim()?,
            log,
            setup,
            role,
            process: None,
            scratch,
        })
    }

    fn spawn(&self) -> Result<Process> {
        if let Some(key) = self.setup.keys.first() {
            self.scratch.write("update.key", key.file())?;
        }
        for zone in &self.setup.zones {
            let file = format!("{zone}.zone");
            // After a restart the file and its journal hold what was updated.
            if matches!(self.role, Role::Primary { .. }) && !self.scratch.path().join(&file).exists() {
                self.scratch.write(&file, zone_file(zone))?;
            }
        }
        let config = self.scratch.write("named.conf", self.config()?)?;
        let mut command = Command::new(tools::named()?);
        command
            .args(["-g", "-4", "-c"])
            .arg(config)
            .current_dir(self.scratch.path());
        Process::start("named", &command, &self.log)
    }

    /// The `named.conf`.
    fn config(&self) -> Result<String> {
        let port = self.port.number();
        let directory = self.scratch.path().display();
        let options = &self.setup.options;
        let mut text = format!(
            "options {{
    directory \"{directory}\";
    listen-on port {port} {{ 127.0.0.1; }};
    pid-file none;
    session-keyfile none;
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    allow-query {{ 127.0.0.0/8; }};
    allow-transfer {{ 127.0.0.0/8; }};
    // Pebble opens three connections for each challenge, a thousand challenges at once.
    tcp-clients 4000;
    tcp-listen-queue 1000;
    notify explicit;
    notify-delay 0;
    notify-rate 1000;
    serial-query-rate 1000;
    {options}
}};
controls {{ }};
"
        );
        // The first rule that fits a name decides.
        let mut grants = String::new();
        for key in &self.setup.keys {
            text.push_str(&key.file());
            for name in &self.setup.denied {
                writeln!(grants, "        deny \"{}\" name {name}.;", key.name())?;
            }
            writeln!(grants, "        grant \"{}\" zonesub TXT;", key.name())?;
        }
        for zone in &self.setup.zones {
            let body = match self.role {
                Role::Primary { tells } => {
                    let tell = tells.map_or_else(String::new, |to| format!("127.0.0.1 port {};", to.port()));
                    format!(
                        "    type primary;\n    also-notify {{ {tell} }};\n    update-policy {{\n{grants}    }};\n"
                    )
                }
                Role::Secondary { of } => {
                    let of = of.port();
                    format!(
                        "    type secondary;\n    primaries {{ 127.0.0.1 port {of}; }};\n    allow-notify {{ 127.0.0.1; }};\n"
                    )
                }
            };
            write!(text, "zone \"{zone}\" {{\n    file \"{zone}.zone\";\n{body}}};\n")?;
        }
        text.push_str(&self.setup.statements);
        Ok(text)
    }
}

/// A zone as it is before the first update.
fn zone_file(zone: &str) -> String {
    format!(
        "$ORIGIN {zone}.
$TTL 60
@ IN SOA ns.{zone}. hostmaster.{zone}. 1 3600 60 86400 60
@ IN NS ns.{zone}.
ns IN A 127.0.0.1
"
    )
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

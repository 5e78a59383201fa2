//! A name server as a test wants it: one or a few zones that take signed updates of TXT records.
//!
//! BIND, Knot and PowerDNS are set up alike and used alike, so that one suite runs on all three.

mod ask;
mod bind;
mod key;
mod knot;
mod powerdns;
mod secondary;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::dns_proxy::{self, DnsProxy};
use crate::ports::Port;
use crate::process::{self, Process};
use crate::scratch::Scratch;
use crate::until;

pub use self::ask::Asker;
pub use self::key::{Algorithm, Key};
pub use self::secondary::{Cluster, Secondary};

/// What a start may take on a busy machine; alone it takes a tenth of a second.
const START: Duration = Duration::from_secs(30);

/// Who made the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Make {
    #[default]
    Bind,
    Knot,
    PowerDns,
}

impl Make {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bind, Self::Knot, Self::PowerDns];

    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Bind => "named",
            Self::Knot => "knotd",
            Self::PowerDns => "pdns_server",
        }
    }
}

/// Where a server's files are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// In memory, where writing costs nothing.
    #[default]
    Memory,
    /// On a disk, as in real life.
    Disk,
}

/// What a server serves.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Who made it.
    pub make: Make,
    /// The zones, without a dot at the end.
    pub zones: Vec<String>,
    /// Who may change TXT records, anywhere in any of the zones. Without a key nobody may.
    pub keys: Vec<Key>,
    /// Further zones, which nobody may change.
    pub locked: Vec<String>,
    /// Further zones, each with the only key that may change it.
    pub owned: Vec<(String, Key)>,
    /// Keys that the server knows and that may change nothing.
    pub strangers: Vec<Key>,
    /// Names without a dot at the end that no key may change all the same. PowerDNS cannot do this.
    pub denied: Vec<String>,
    /// Further lines of zone files, each with its zone; names are relative to it.
    pub records: Vec<(String, String)>,
    /// The addresses, which share a port; 127.0.0.1 if there is none. Helpers ask the first. BIND takes only such as an
    /// interface has: 127.0.0.1 and ::1.
    pub listen: Vec<IpAddr>,
    /// The names of BIND's views of the zones, if there are several. Helpers see the first; see [`NameServer::view`].
    pub views: Vec<String>,
    /// A server that BIND asks about whatever it does not serve itself, and whose answers it remembers, as a resolver does.
    pub resolves_at: Option<SocketAddr>,
    /// Where its files are.
    pub storage: Storage,
    /// Further lines for the block of the server's own settings: `options` of BIND, `server` of Knot.
    pub options: String,
    /// Further statements at the end of the configuration.
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

    /// The same of another make.
    #[must_use]
    pub fn of_make(self, make: Make) -> Self {
        Self { make, ..self }
    }

    /// What an operator has to write so that the keys may change a zone, as the guides of each server have it.
    pub fn grant(&self, zone: &str) -> Grant {
        match self.make {
            Make::Bind => Grant::file(bind::grant(self, zone)),
            Make::Knot => Grant::file(knot::grant(self, zone)),
            Make::PowerDns => {
                let (file, commands) = powerdns::grant(self, zone);
                Grant { file, commands }
            }
        }
    }

    fn all_zones(&self) -> impl Iterator<Item = &str> {
        let owned = self.owned.iter().map(|(zone, _)| zone);
        let all = self.zones.iter().chain(&self.locked).chain(owned);
        all.map(String::as_str)
    }

    fn known_keys(&self) -> impl Iterator<Item = &Key> {
        self.writers().chain(&self.strangers)
    }

    /// The keys that may change some zone.
    fn writers(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().chain(self.owned.iter().map(|(_, key)| key))
    }

    /// The keys that may change a zone.
    fn keys_of(&self, zone: &str) -> impl Iterator<Item = &Key> {
        let shared = self.zones.iter().any(|shared| shared == zone);
        let owner = self.owned.iter().filter(move |(owned, _)| owned == zone);
        let all = self.keys.iter().filter(move |_| shared);
        all.chain(owner.map(|(_, key)| key))
    }
}

/// What makes a server take updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Lines of its configuration.
    pub file: String,
    /// Commands of `pdnsutil`.
    pub commands: Vec<String>,
}

impl Grant {
    fn file(file: String) -> Self {
        Self {
            file,
            commands: Vec::new(),
        }
    }
}

/// One name server. Anybody on this machine may ask it and transfer its zones.
///
/// It is asked and updated at its first address by the methods of [`Asker`].
#[derive(Debug)]
pub struct NameServer {
    port: Port,
    asker: Asker,
    log: PathBuf,
    setup: Setup,
    role: Role,
    process: Option<Process>,
    scratch: Scratch,
}

/// Where a server has its zones from.
#[derive(Debug)]
enum Role {
    /// It is where they change; it tells these servers of changes.
    Primary { tells: Vec<SocketAddr> },
    /// It gets them from this server.
    Secondary { of: SocketAddr },
}

impl NameServer {
    /// Starts a server and returns when it answers for its zones.
    pub async fn start(setup: Setup) -> Result<Self> {
        let role = Role::Primary { tells: Vec::new() };
        let mut server = Self::new(setup, role, Port::claim()?)?;
        server.start_again().await?;
        Ok(server)
    }

    /// Starts a BIND and a second that gets the same zones from it and is told of every change: it
    /// stands for the servers far away that see a record later.
    pub async fn start_with_secondary(setup: Setup) -> Result<(Self, Self)> {
        let (first, second) = (Port::claim()?, Port::claim()?);
        let (of, tells) = (first.address(), vec![second.address()]);
        let without_keys = Setup {
            keys: Vec::new(),
            ..setup.clone()
        };
        let mut primary = Self::new(setup, Role::Primary { tells }, first)?;
        let mut secondary = Self::new(without_keys, Role::Secondary { of }, second)?;
        primary.start_again().await?;
        secondary.start_again().await?;
        Ok((primary, secondary))
    }

    /// The first of the keys.
    pub fn key(&self) -> Result<&Key> {
        self.setup.keys.first().context("this server has no key")
    }

    /// Its addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        listen(&self.setup, &self.port)
    }

    /// The same helpers for another of its addresses, which may show another view.
    pub fn at(&self, ip: IpAddr) -> Asker {
        Asker::new((ip, self.port.number()).into(), self.asker.key_file())
    }

    /// The same helpers, signing with another key.
    pub fn signing_with(&self, key: &Key) -> Result<Asker> {
        let file = self.scratch.write(&format!("{}.key", key.name()), key.file())?;
        Ok(Asker::new(self.address(), file))
    }

    /// The same helpers with a proxy on the way.
    pub fn through(&self, proxy: &DnsProxy) -> Asker {
        Asker::new(proxy.address(), self.asker.key_file())
    }

    /// The way to the view of this name, for clients that are shown it.
    pub async fn view(&self, name: &str) -> Result<View> {
        let views = &self.setup.views;
        let place = views
            .iter()
            .position(|view| view == name)
            .context("there is no such view")?;
        let from = Ipv4Addr::new(127, 0, 0, u8::try_from(place + 1)?);
        let way = DnsProxy::start_as(dns_proxy::Setup {
            from: from.into(),
            ..dns_proxy::Setup::to(self.address())
        });
        let way = way.await?;
        Ok(View {
            asker: Asker::new(way.address(), self.asker.key_file()),
            _way: way,
        })
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
        let process = self.spawn().await?;
        let program = self.setup.make.program();
        until(START, &format!("{program} answers for its zones"), async || {
            if process.ended()?.is_some() {
                return Ok(Some(()));
            }
            // Any answer will do from one without zones.
            self.dig(&[".", "SOA"]).await?;
            for zone in self.setup.all_zones() {
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

    /// Undoes [`NameServer::freeze`].
    pub fn thaw(&self) {
        self.process.iter().for_each(Process::thaw);
    }

    /// Its process, for its memory and times.
    pub fn process(&self) -> Result<&Process> {
        let program = self.setup.make.program();
        self.process
            .as_ref()
            .with_context(|| format!("{program} is stopped"))
    }

    /// The end of its log, for failure messages.
    pub fn log_tail(&self) -> String {
        process::tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    fn new(setup: Setup, role: Role, port: Port) -> Result<Self> {
        let program = setup.make.program();
        let scratch = match setup.storage {
            Storage::Memory => Scratch::new(program)?,
            Storage::Disk => Scratch::on_disk(program)?,
        };
        let log = scratch.path().join("log");
        let address = *listen(&setup, &port).first().context("a server has an address")?;
        Ok(Self {
            port,
            asker: Asker::new(address, scratch.path().join("update.key")),
            log,
            setup,
            role,
            process: None,
            scratch,
        })
    }

    async fn spawn(&self) -> Result<Process> {
        let Self {
            setup, role, scratch, ..
        } = self;
        // What a client was given once stays, whatever keys the server has later.
        if let Some(key) = setup.keys.first().filter(|_| !self.asker.key_file().exists()) {
            scratch.write("update.key", key.file())?;
        }
        let addresses = self.addresses();
        let mut command: Command = match setup.make {
            Make::Bind => bind::prepare(setup, role, &addresses, scratch)?,
            Make::Knot => knot::prepare(setup, role, &addresses, scratch)?,
            Make::PowerDns => powerdns::prepare(setup, role, &addresses, scratch).await?,
        };
        command.current_dir(scratch.path());
        Process::start(setup.make.program(), &command, &self.log)
    }
}

impl Deref for NameServer {
    type Target = Asker;

    fn deref(&self) -> &Asker {
        &self.asker
    }
}

/// A view of a server's zones, with an address of its own; asked by the methods of [`Asker`].
#[derive(Debug)]
pub struct View {
    asker: Asker,
    _way: DnsProxy,
}

impl Deref for View {
    type Target = Asker;

    fn deref(&self) -> &Asker {
        &self.asker
    }
}

/// The addresses of a server.
fn listen(setup: &Setup, port: &Port) -> Vec<SocketAddr> {
    let ips = if setup.listen.is_empty() {
        &[IpAddr::V4(Ipv4Addr::LOCALHOST)]
    } else {
        setup.listen.as_slice()
    };
    ips.iter().map(|ip| (*ip, port.number()).into()).collect()
}

/// A zone as it is before the first update.
fn zone_file(setup: &Setup, zone: &str) -> String {
    let further = setup.records.iter().filter(|(of, _)| of == zone);
    let further: String = further.map(|(_, line)| format!("{line}\n")).collect();
    format!(
        "$ORIGIN {zone}.
$TTL 60
@ 3600 IN SOA ns.{zone}. hostmaster.{zone}. 1 3600 60 86400 3600
@ IN NS ns.{zone}.
ns IN A 127.0.0.1
{further}"
    )
}

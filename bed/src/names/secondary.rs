//! Secondaries on addresses of their own, told of changes as late as a test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Asker, NameServer, Role, Setup};
use crate::dns_proxy::{self, DnsProxy, Fault, Rule};
use crate::ports::Port;

/// How long a secondary has to answer a notice before it is sent once more.
const ANSWER: Duration = Duration::from_secs(1);
/// How often a notice is sent at most.
const TRIES: usize = 5;
/// The bit that makes a message an answer (RFC 1035 §4.1.1), in its third octet.
const QR: u8 = 0x80;

/// A primary, and secondaries that get its zones from it. All of them are BIND and have the same port:
/// the primary on 127.0.0.1, the first secondary on 127.0.0.2 and so on. The zones' NS records name all.
#[derive(Debug)]
pub struct Cluster {
    /// Where the zones change.
    pub primary: NameServer,
    /// Where they are seen later.
    pub secondaries: Vec<Secondary>,
}

impl Cluster {
    /// Starts a primary and so many secondaries, which hear of each change at once.
    pub async fn start(mut setup: Setup, secondaries: u8) -> Result<Self> {
        let port = Port::claim()?;
        let ips = (2..secondaries + 2).map(|n| (n, Ipv4Addr::new(127, 0, 0, n)));
        for zone in setup.zones.clone() {
            for (n, ip) in ips.clone() {
                setup.records.push((zone.clone(), format!("@ IN NS ns{n}")));
                setup.records.push((zone.clone(), format!("ns{n} IN A {ip}")));
            }
        }
        let (of, number) = (port.address(), port.number());
        let mut reserved = Vec::new();
        for (_, ip) in ips {
            let own = Port::claim()?;
            let notices = Notices::start(own.address()).await?;
            reserved.push((SocketAddr::from((ip, number)), own, notices));
        }
        let tells = reserved.iter().map(|(_, _, notices)| notices.address()).collect();
        let mut primary = NameServer::new(setup.clone(), Role::Primary { tells }, port)?;
        primary.start_again().await?;
        let mut cluster = Self {
            primary,
            secondaries: Vec::new(),
        };
        for (address, own, notices) in reserved {
            let setup = Setup {
                keys: Vec::new(),
                ..setup.clone()
            };
            let mut server = NameServer::new(setup, Role::Secondary { of }, own)?;
            server.start_again().await?;
            let front = dns_proxy::Setup {
                listen: Some(address),
                ..dns_proxy::Setup::to(server.address())
            };
            let front = DnsProxy::start_as(front).await?;
            cluster.secondaries.push(Secondary {
                asker: Asker::new(address, cluster.primary.key_file()),
                front: Some(front),
                server,
                notices,
            });
        }
        Ok(cluster)
    }
}

/// A server that gets its zones from another. It is asked by the methods of [`Asker`].
///
/// BIND listens only on addresses that the machine's interfaces have. So it has a port of 127.0.0.1, and a proxy
/// stands for it at the address that the world knows.
#[derive(Debug)]
pub struct Secondary {
    asker: Asker,
    front: Option<DnsProxy>,
    server: NameServer,
    notices: Notices,
}

impl Secondary {
    /// From now on it hears of each change so much later.
    pub fn delay(&self, lag: Duration) {
        self.notices.pass.send_replace(Pass::After(lag));
    }

    /// From now on it hears of no change, until [`Secondary::delay`] is called: then of all at once.
    pub fn hold(&self) {
        self.notices.pass.send_replace(Pass::Never);
    }

    /// From now on it knows no zone and answers REFUSED.
    pub async fn refuse(&mut self) -> Result<()> {
        let setup = Setup {
            zones: Vec::new(),
            ..self.server.setup().clone()
        };
        self.server.restart(setup).await
    }

    /// From now on nobody listens at its address, so that the machine refuses connections.
    pub fn die(&mut self) {
        self.front = None;
    }

    /// From now on nobody answers at its address, though connections are taken. [`DnsProxy::set`] undoes it.
    pub fn fall_silent(&self) {
        if let Some(front) = &self.front {
            front.set(Rule::always(Fault::Drop));
        }
    }

    /// The server behind the address.
    pub fn server(&self) -> &NameServer {
        &self.server
    }

    /// What stands at the address, to mangle what passes.
    pub fn front(&self) -> Result<&DnsProxy> {
        self.front.as_ref().context("this secondary is dead")
    }
}

impl Deref for Secondary {
    type Target = Asker;

    fn deref(&self) -> &Asker {
        &self.asker
    }
}

/// When notices (RFC 1996) are passed on.
#[derive(Debug, Clone, Copy)]
enum Pass {
    After(Duration),
    Never,
}

/// Stands between a primary and one secondary, and passes notices on.
#[derive(Debug)]
struct Notices {
    port: Port,
    pass: watch::Sender<Pass>,
    // Ends with it.
    _task: JoinSet<()>,
}

impl Notices {
    async fn start(to: SocketAddr) -> Result<Self> {
        let port = Port::claim()?;
        let socket = UdpSocket::bind(port.address())
            .await
            .context("no socket for notices")?;
        let pass = watch::Sender::new(Pass::After(Duration::ZERO));
        let mut task = JoinSet::new();
        task.spawn(relay(socket, to, pass.subscribe()));
        Ok(Self {
            port,
            pass,
            _task: task,
        })
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

async fn relay(socket: UdpSocket, to: SocketAddr, pass: watch::Receiver<Pass>) {
    let mut notices = JoinSet::new();
    let mut buffer = [0; 512];
    // Errors are those of earlier datagrams that nobody took; the next one is another matter.
    loop {
        while notices.try_join_next().is_some() {}
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let notice = buffer[..length].to_vec();
        let mut answer = notice.clone();
        if let Some(flags) = answer.get_mut(2) {
            *flags |= QR;
        }
        // The primary has done its part; a second notice of the same change would blur what a test sees.
        let _ = socket.send_to(&answer, from).await;
        notices.spawn(pass_on(notice, to, pass.clone()));
    }
}

async fn pass_on(notice: Vec<u8>, to: SocketAddr, mut pass: watch::Receiver<Pass>) {
    let arrived = Instant::now();
    loop {
        let rule = *pass.borrow_and_update();
        let due = async {
            match rule {
                Pass::After(lag) => sleep_until(arrived + lag).await,
                Pass::Never => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => break,
            changed = pass.changed() => if changed.is_err() { return },
        }
    }
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else {
        return;
    };
    for _ in 0..TRIES {
        // A secondary that is stopped hears nothing, as is right.
        if socket.send_to(&notice, to).await.is_ok()
            && let Ok(Ok(_)) = timeout(ANSWER, socket.recv(&mut [0; 512])).await
        {
            return;
        }
    }
}

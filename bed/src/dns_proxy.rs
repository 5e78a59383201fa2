//! A proxy in front of a name server that loses, mangles and forges messages, over UDP and TCP.
//!
//! What happens to each message is decided by a [`Rule`]: a list, chance from a seed, or a function of the message. All
//! messages are recorded with what was done to them.

mod message;
mod rule;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::ports::Port;

pub use self::message::{Opcode, opcode};
pub use self::rule::{Fault, Rule};

/// How many connections fit into the queue of a listener that takes none, at the most.
const QUEUE: usize = 8;
/// Within this a connection to this machine stands, or the queue is full.
const CONNECT: Duration = Duration::from_millis(300);

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Transport {
    Tcp,
    Udp,
}

/// What becomes of TCP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tcp {
    /// It is passed on.
    #[default]
    Served,
    /// Connections are refused, as where a server has none.
    Refused,
    /// Packets are lost, as at a firewall.
    Silent,
}

/// What a proxy is between.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it listens; on an own port of 127.0.0.1 if there is none.
    pub listen: Option<SocketAddr>,
    /// The server.
    pub to: SocketAddr,
    /// The address as which it talks to the server, which may show each client another view.
    pub from: IpAddr,
    /// What becomes of TCP.
    pub tcp: Tcp,
}

impl Setup {
    /// One with nothing special about it.
    pub fn to(server: SocketAddr) -> Self {
        Self {
            listen: None,
            to: server,
            from: match server {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(server) => (*server.ip()).into(),
            },
            tcp: Tcp::default(),
        }
    }
}

/// A request that came by.
#[derive(Debug, Clone)]
pub struct Passed {
    /// When.
    pub at: Instant,
    /// How it travelled.
    pub transport: Transport,
    /// The message from the client.
    pub request: Vec<u8>,
    /// What was done to it or its answer.
    pub fault: Fault,
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub struct DnsProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Held for its claim.
    _port: Option<Port>,
    // Held, as its queue is what nobody gets through.
    _full: Vec<TcpStream>,
    // End with it.
    _tasks: JoinSet<()>,
}

impl DnsProxy {
    /// Starts one that passes everything on.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        Self::start_as(Setup::to(server)).await
    }

    /// Starts one.
    pub async fn start_as(setup: Setup) -> Result<Self> {
        let (port, address) = match setup.listen {
            Some(address) => (None, address),
            None => {
                let port = Port::claim()?;
                let address = port.address();
                (Some(port), address)
            }
        };
        let shared = Arc::new(Shared {
            to: setup.to,
            from: setup.from,
            rule: Mutex::new(Rule::always(Fault::None)),
            passed: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let mut full = Vec::new();
        let socket = UdpSocket::bind(address).await;
        let socket = socket.with_context(|| format!("no UDP socket at {address}"))?;
        tasks.spawn(udp::serve(Arc::new(socket), Arc::clone(&shared)));
        match setup.tcp {
            Tcp::Served => {
                let listener = TcpListener::bind(address).await;
                let listener = listener.with_context(|| format!("no TCP socket at {address}"))?;
                tasks.spawn(tcp::serve(listener, Arc::clone(&shared)));
            }
            Tcp::Refused => {}
            Tcp::Silent => {
                let (listener, queue) = silent(address).await?;
                full = queue;
                tasks.spawn(async move {
                    let _listener = listener;
                    std::future::pending().await
                });
            }
        }
        Ok(Self {
            address,
            shared,
            _port: port,
            _full: full,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what is done to messages from now on.
    pub fn set(&self, rule: Rule) {
        *lock(&self.shared.rule) = rule;
    }

    /// All requests so far.
    pub fn passed(&self) -> Vec<Passed> {
        lock(&self.shared.passed).clone()
    }

    /// How often each fault was done, for the closing words of a test.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for passed in &*lock(&self.shared.passed) {
            *counts.entry(passed.fault.name()).or_default() += 1;
        }
        counts
    }
}

/// What all connections of a proxy have in common.
#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    from: IpAddr,
    rule: Mutex<Rule>,
    passed: Mutex<Vec<Passed>>,
}

impl Shared {
    /// Decides what is done to a request, and records it.
    fn decide(&self, transport: Transport, request: &[u8]) -> Fault {
        let fault = lock(&self.rule).decide(transport, request);
        lock(&self.passed).push(Passed {
            at: Instant::now(),
            transport,
            request: request.to_owned(),
            fault,
        });
        fault
    }

    /// A connection to the server.
    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = match self.from {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A listener with a full queue, and what it is full of: the kernel drops whatever else arrives.
async fn silent(address: SocketAddr) -> Result<(TcpListener, Vec<TcpStream>)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(address)?;
    let listener = socket.listen(1)?;
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        queue.push(stream?);
        anyhow::ensure!(queue.len() < QUEUE, "the queue of a listener does not fill up");
    }
    Ok((listener, queue))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

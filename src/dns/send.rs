//! Transport: messages to and from name servers, over TCP with a kept connection, and over UDP.
//!
//! Everything read is bounded in size and time. Must not look into messages beyond what says whom they belong to.

use std::fmt::Write as _;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::Message;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::dns::server::ServerAddr;
use crate::dns::tsig::Signed;

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an address of a server is tried alone, before the next is tried too (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Longest wait for the answer to an update.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Waits for the answer to an update over UDP, one for each try; as long as over TCP in all.
const UDP_WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(3)];
/// How long UDP is used first once TCP has failed and UDP has not.
const UDP_PERIOD: Duration = Duration::from_secs(60);
/// Octets that go into an update over TCP: below the 65,535 that there are, with room to spare.
const TCP_MAX: usize = 60_000;
/// Octets that go over UDP without fear of fragments (the DNS flag day of 2020).
const UDP_MAX: usize = 1_232;
/// The longest UDP answer that is read.
const UDP_ANSWER_MAX: usize = 4_096;

/// The way to one server that takes updates.
pub(crate) struct Link {
    server: ServerAddr,
    /// The open connection, while nothing is under way on it.
    kept: Option<Kept>,
    /// The address that answered last; it is tried first.
    last: Option<SocketAddr>,
    fallback: Option<Fallback>,
}

/// Makes a signed message of a message ID, or says why none is to be sent any more.
pub(crate) type Sign<'a> = dyn Fn(u16) -> io::Result<Signed> + Send + Sync + 'a;

/// An open connection.
struct Kept {
    stream: TcpStream,
    peer: SocketAddr,
}

/// UDP in place of TCP, for a while.
struct Fallback {
    until: Instant,
    /// What was wrong with TCP.
    cause: String,
}

/// A request and its answer.
pub(crate) struct Exchange {
    pub(crate) request: Signed,
    pub(crate) answer: Vec<u8>,
    pub(crate) peer: SocketAddr,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SendFault {
    /// TCP is impossible, for the reason given, and UDP takes no message of this length.
    TooLong(String),
    /// Nobody answers; what was tried.
    Unreachable(String),
}

impl Link {
    pub(crate) fn new(server: ServerAddr) -> Self {
        Self {
            server,
            kept: None,
            last: None,
            fallback: None,
        }
    }

    /// How many octets a message should have at most.
    pub(crate) fn limit(&self) -> usize {
        if self.fallback().is_some() {
            UDP_MAX
        } else {
            TCP_MAX
        }
    }

    /// Sends what `sign` makes of a message ID, and waits for the answer.
    ///
    /// Signs anew for each try, since a server may take a message only once.
    pub(crate) async fn exchange(&mut self, sign: &Sign<'_>) -> Result<Exchange, SendFault> {
        // Servers close idle connections after 5 to 30 s, so that a kept one is often dead; whatever goes wrong on it is
        // no reason to give up.
        if let Some(kept) = self.kept.take().filter(Kept::is_open)
            && let Ok(exchange) = self.converse(kept, sign).await
        {
            return Ok(exchange);
        }
        let peers = self
            .server
            .addresses()
            .await
            .map_err(|error| SendFault::Unreachable(error.to_string()))?;
        self.exchange_anew(peers, sign).await
    }

    /// The same over a new connection to the first of `peers` that answers.
    async fn exchange_anew(
        &mut self,
        mut peers: Vec<SocketAddr>,
        sign: &Sign<'_>,
    ) -> Result<Exchange, SendFault> {
        peers.sort_by_key(|peer| Some(*peer) != self.last);
        let mut tried = String::new();
        if let Some(fallback) = self.fallback() {
            tried.clone_from(&fallback.cause);
        } else if let Some(outcome) = self.exchange_tcp(&peers, &mut tried, sign).await {
            return outcome;
        }
        self.exchange_udp(&peers, tried, sign).await
    }

    /// The same over TCP; `None` if none of `peers` takes a connection.
    async fn exchange_tcp(
        &mut self,
        peers: &[SocketAddr],
        tried: &mut String,
        sign: &Sign<'_>,
    ) -> Option<Result<Exchange, SendFault>> {
        let mut connected = false;
        // All are tried at once, each a little later than the one before: an address that is dead costs no more than that.
        let mut opening: FuturesUnordered<_> = peers
            .iter()
            .enumerate()
            .map(|(place, peer)| async move {
                let head_start = HEAD_START * u32::try_from(place).unwrap_or(u32::MAX);
                tokio::time::sleep(head_start).await;
                (*peer, connect(*peer, CONNECT_TIMEOUT).await)
            })
            .collect();
        while let Some((peer, opened)) = opening.next().await {
            let failed = match opened {
                Ok(stream) => {
                    connected = true;
                    match self.converse(Kept { stream, peer }, sign).await {
                        Ok(exchange) => return Some(Ok(exchange)),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            note(tried, peer, "TCP", &failed);
        }
        // Who takes connections but does not answer on them is at fault otherwise than by a firewall.
        connected.then(|| Err(SendFault::Unreachable(mem::take(tried))))
    }

    /// The same over UDP, after TCP has failed as `tried` says.
    async fn exchange_udp(
        &mut self,
        peers: &[SocketAddr],
        mut tried: String,
        sign: &Sign<'_>,
    ) -> Result<Exchange, SendFault> {
        let fallback = Fallback {
            until: Instant::now() + UDP_PERIOD,
            cause: tried.clone(),
        };
        for peer in peers {
            let mut waits = UDP_WAITS.into_iter().peekable();
            while let Some(wait) = waits.next() {
                let id = random_id().map_err(|error| SendFault::Unreachable(error.to_string()))?;
                let request = sign(id).map_err(|error| SendFault::Unreachable(error.to_string()))?;
                if request.wire.len() > UDP_MAX {
                    self.fallback = Some(fallback);
                    return Err(SendFault::TooLong(tried));
                }
                match converse_udp(*peer, &request.wire, |answer| is_answer(answer, id), wait).await {
                    Ok(answer) if is_cut_off(&answer) => {
                        // What was cut off is to be asked for by TCP, be that refused before or not.
                        self.fallback = None;
                        note(
                            &mut tried,
                            *peer,
                            "UDP",
                            &io::Error::other("the answer was cut off"),
                        );
                        return match self.exchange_tcp(peers, &mut tried, sign).await {
                            Some(outcome) => outcome,
                            None => Err(SendFault::Unreachable(tried)),
                        };
                    }
                    Ok(answer) => {
                        // A period that is running is not prolonged, or TCP would never be tried again.
                        if self.fallback().is_none() {
                            self.fallback = Some(fallback);
                        }
                        self.last = Some(*peer);
                        return Ok(Exchange {
                            request,
                            answer,
                            peer: *peer,
                        });
                    }
                    // A datagram may be lost; a refusal is final.
                    Err(error) if waits.peek().is_some() && error.kind() == io::ErrorKind::TimedOut => {}
                    Err(error) => {
                        note(&mut tried, *peer, "UDP", &error);
                        break;
                    }
                }
            }
        }
        self.fallback = None;
        Err(SendFault::Unreachable(tried))
    }

    /// Asks once over `kept`, and keeps the connection if that worked.
    async fn converse(&mut self, mut kept: Kept, sign: &Sign<'_>) -> io::Result<Exchange> {
        let id = random_id()?;
        let request = sign(id)?;
        let answer = converse_tcp(
            &mut kept.stream,
            &request.wire,
            |answer| is_answer(answer, id),
            ANSWER_TIMEOUT,
        )
        .await?;
        let peer = kept.peer;
        self.kept = Some(kept);
        self.last = Some(peer);
        Ok(Exchange {
            request,
            answer,
            peer,
        })
    }

    fn fallback(&self) -> Option<&Fallback> {
        self.fallback
            .as_ref()
            .filter(|fallback| Instant::now() < fallback.until)
    }
}

impl Kept {
    /// Whether the server has neither closed the connection nor said anything unasked.
    fn is_open(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Opens a TCP connection that sends small messages at once.
pub(crate) async fn connect(peer: SocketAddr, wait: Duration) -> io::Result<TcpStream> {
    let stream = timeout(wait, TcpStream::connect(peer))
        .await
        .map_err(|_| late(wait))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends `message` and waits for the message that `is_mine` recognises; others are passed over.
pub(crate) async fn converse_tcp(
    stream: &mut TcpStream,
    message: &[u8],
    is_mine: impl Fn(&[u8]) -> bool,
    wait: Duration,
) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the message is longer than 65,535 octets",
        )
    })?;
    // RFC 7766 §8: length and message in one write, so that they travel together.
    let mut frame = Vec::with_capacity(2 + message.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    timeout(wait, async {
        stream.write_all(&frame).await?;
        loop {
            let mut answer = vec![0; usize::from(stream.read_u16().await.map_err(closed)?)];
            stream.read_exact(&mut answer).await.map_err(closed)?;
            if is_mine(&answer) {
                return Ok(answer);
            }
        }
    })
    .await
    .map_err(|_| late(wait))?
}

/// The same in a datagram, from a port that the system picks at random.
pub(crate) async fn converse_udp(
    peer: SocketAddr,
    message: &[u8],
    is_mine: impl Fn(&[u8]) -> bool,
    wait: Duration,
) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // Connected, so that only the peer's datagrams arrive, and a refusal is known at once.
    socket.connect(peer).await?;
    timeout(wait, async {
        socket.send(message).await?;
        let mut buffer = vec![0; UDP_ANSWER_MAX];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let answer = buffer.get(..length).unwrap_or_default();
            if is_mine(answer) {
                return Ok(answer.to_vec());
            }
        }
    })
    .await
    .map_err(|_| late(wait))?
}

/// A message ID that nobody can guess (RFC 5452 §4.3).
pub(crate) fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(u16::from_be_bytes(bytes))
}

/// Whether a datagram is less than the whole answer: the server says so (RFC 2181 §9), or it ends in the middle.
pub(crate) fn is_cut_off(answer: &[u8]) -> bool {
    Message::from_slice(answer).is_ok_and(|message| message.header().tc() || !has_all_records(message))
}

/// Whether all records are there that the header counts.
fn has_all_records(message: &Message<[u8]>) -> bool {
    let Ok((_, answer, authority, additional)) = message.sections() else {
        return false;
    };
    [answer, authority, additional]
        .into_iter()
        .flatten()
        .all(|record| record.is_ok())
}

/// Whether it is an answer to the message with `id`.
fn is_answer(message: &[u8], id: u16) -> bool {
    Message::from_slice(message).is_ok_and(|message| message.header().qr() && message.header().id() == id)
}

/// Adds a failed try to the list that people read.
pub(crate) fn note(tried: &mut String, peer: SocketAddr, protocol: &str, error: &io::Error) {
    let separator = if tried.is_empty() { "" } else { ", " };
    // Writing to a string cannot fail.
    let _ = write!(tried, "{separator}{peer} by {protocol}: {error}");
}

fn late(wait: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within {} s", wait.as_secs()),
    )
}

/// Says in words what the end of a stream means.
fn closed(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::UnexpectedEof {
        return error;
    }
    io::Error::new(error.kind(), "the server closed the connection without an answer")
}

#[cfg(test)]
mod tests;

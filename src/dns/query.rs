//! One question to one address: by UDP, then by TCP, with EDNS and then without.
//!
//! Owns the query's form and what makes an answer ours. Must not know what the answer is wanted for, nor ask others.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::{Opcode, OptRcode, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use tokio::time::{Instant, timeout_at};

use crate::dns::send::{connect, converse_tcp, converse_udp, is_cut_off, note, random_id};
use crate::dns::{LookError, edns};

/// Longest wait for an answer by UDP; a lost datagram costs no more than this.
const UDP_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for an answer by TCP, the connection included.
const TCP_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest UDP answer we ask for: no fragments (the DNS flag day of 2020).
const UDP_SIZE: u16 = 1_232;

/// Whether a server may ask others on our behalf (RD, RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recursion {
    /// It answers from its own zones.
    Off,
    /// It may be a resolver.
    Wanted,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) name: &'a Name<Vec<u8>>,
    pub(crate) rtype: Rtype,
    pub(crate) recursion: Recursion,
}

/// A whole answer that belongs to the question.
#[derive(Clone, Debug)]
pub(crate) struct Reply(Vec<u8>);

/// Whether EDNS is used (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edns {
    Off,
    On,
}

/// Asks each of `peers` until one gives an answer that `read` can use.
///
/// # Errors
/// What the first that answered said, or else what was tried.
pub(crate) async fn ask_any<T>(
    peers: &[SocketAddr],
    question: Question<'_>,
    read: impl Fn(SocketAddr, &Reply) -> Result<T, LookError>,
) -> Result<T, LookError> {
    let mut answered = None;
    let mut tried = String::new();
    for peer in peers {
        let Some(reply) = ask(*peer, question, &mut tried).await? else {
            continue;
        };
        match read(*peer, &reply) {
            Ok(value) => return Ok(value),
            // One bad server of several behind a name shall not hide the others, but what it said is worth more than
            // that others are silent.
            Err(error) => answered = answered.or(Some(error)),
        }
    }
    Err(answered.unwrap_or(LookError::Unreachable(tried)))
}

/// Asks one address; what was in vain is added to `tried`.
///
/// # Errors
/// Only when no query can be written.
pub(crate) async fn ask(
    peer: SocketAddr,
    question: Question<'_>,
    tried: &mut String,
) -> Result<Option<Reply>, LookError> {
    let answer = exchange(peer, &query(question, Edns::On)?, tried).await;
    match answer {
        // RFC 6891 §7: a server that does not know EDNS says so, more or less clearly.
        Some(reply) if reply.refuses_edns() => Ok(exchange(peer, &query(question, Edns::Off)?, tried).await),
        other => Ok(other),
    }
}

/// By UDP first, by TCP when that gives nothing whole.
async fn exchange(peer: SocketAddr, query: &[u8], tried: &mut String) -> Option<Reply> {
    match converse_udp(peer, query, |answer| belongs(answer, query), UDP_TIMEOUT).await {
        Ok(answer) if !is_cut_off(&answer) => return Some(Reply(answer)),
        Ok(_) => {}
        Err(error) => note(tried, peer, "UDP", &error),
    }
    match exchange_tcp(peer, query).await {
        Ok(answer) => Some(Reply(answer)),
        Err(error) => {
            note(tried, peer, "TCP", &error);
            None
        }
    }
}

async fn exchange_tcp(peer: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let late = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", TCP_TIMEOUT.as_secs()),
        )
    };
    let deadline = Instant::now() + TCP_TIMEOUT;
    timeout_at(deadline, async {
        let mut stream = connect(peer, TCP_TIMEOUT).await?;
        converse_tcp(&mut stream, query, |answer| belongs(answer, query), TCP_TIMEOUT).await
    })
    .await
    .map_err(|_| late())?
}

impl Reply {
    /// The message.
    ///
    /// # Errors
    /// Never: what belongs to a query has a header.
    pub(crate) fn message(&self) -> Result<&Message<[u8]>, LookError> {
        Message::from_slice(&self.0).map_err(|error| LookError::Format(error.to_string()))
    }

    /// The message, if its code says that the name was looked for.
    ///
    /// # Errors
    /// What the server said instead, with its own words if it has any.
    pub(crate) fn usable(&self) -> Result<&Message<[u8]>, LookError> {
        let message = self.message()?;
        match message.header().rcode() {
            Rcode::NOERROR | Rcode::NXDOMAIN => Ok(message),
            _ => Err(LookError::Rcode(match self.remark() {
                Some(remark) => format!("{} ({remark})", message.opt_rcode()),
                None => message.opt_rcode().to_string(),
            })),
        }
    }

    /// The server's own words about its answer (RFC 8914), made fit to be repeated.
    pub(crate) fn remark(&self) -> Option<String> {
        edns::words(self.message().ok()?)
    }

    fn refuses_edns(&self) -> bool {
        let rcode = self.message().map(Message::opt_rcode);
        matches!(
            rcode,
            Ok(OptRcode::FORMERR | OptRcode::NOTIMP | OptRcode::BADVERS)
        )
    }

    /// Octets that are taken to belong to a query.
    pub(crate) fn of(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }
}

/// Writes the query.
fn query(question: Question<'_>, edns: Edns) -> Result<Vec<u8>, LookError> {
    let unfit = |error: &dyn std::fmt::Display| LookError::Format(error.to_string());
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(random_id().map_err(|error| LookError::io(&error))?);
    header.set_opcode(Opcode::QUERY);
    header.set_rd(question.recursion == Recursion::Wanted);
    let mut builder = builder.question();
    builder
        .push((question.name, question.rtype))
        .map_err(|error| unfit(&error))?;
    let mut builder = builder.additional();
    if edns == Edns::On {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(UDP_SIZE);
                Ok(())
            })
            .map_err(|error| unfit(&error))?;
    }
    Ok(builder.finish())
}

/// Whether `answer` is the answer to `query`: same ID, same question in any case (RFC 5452 §9.1, RFC 4343).
fn belongs(answer: &[u8], query: &[u8]) -> bool {
    let (Ok(answer), Ok(query)) = (Message::from_slice(answer), Message::from_slice(query)) else {
        return false;
    };
    let header = answer.header();
    if header.id() != query.header().id() || !header.qr() || header.opcode() != Opcode::QUERY {
        return false;
    }
    if answer.header_counts().qdcount() == 0 {
        // A server that could not read the question cannot repeat it.
        return !matches!(header.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN);
    }
    match (answer.sole_question(), query.sole_question()) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;

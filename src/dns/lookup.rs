//! Looks at one server: which TXT values does it show at a name?
//!
//! Owns the query and the reading of its answer. Must not judge values, ask other servers, or try again later.
//!
//! Deliberately absent: EDNS0. Answers about a challenge name fit into 512 octets or come by TCP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::wire::ParseError;
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::rfc1035::Txt;
use tokio::time::{Instant, timeout_at};

use crate::dns::LookError;
use crate::dns::send::{connect, converse_tcp, converse_udp, note, random_id};
use crate::dns::server::ServerAddr;

/// Longest wait for an answer by UDP; a lost datagram costs no more than this.
const UDP_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for an answer by TCP, the connection included.
const TCP_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a server may ask others on our behalf (RD, RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recursion {
    /// It answers from its own zones.
    Off,
    /// It may be a resolver.
    Wanted,
}

/// Asks `server` for the TXT values at `name`, at each of its addresses until one gives an answer.
pub(crate) async fn texts(
    server: &ServerAddr,
    name: &Name<Vec<u8>>,
    recursion: Recursion,
) -> Result<Vec<String>, LookError> {
    let peers = server.addresses().await.map_err(|error| LookError::io(&error))?;
    texts_at(&peers, name, recursion).await
}

async fn texts_at(
    peers: &[SocketAddr],
    name: &Name<Vec<u8>>,
    recursion: Recursion,
) -> Result<Vec<String>, LookError> {
    let mut answered = None;
    let mut tried = String::new();
    for peer in peers {
        let query = query(name, recursion)?;
        let Some(answer) = ask(*peer, &query, &mut tried).await else {
            continue;
        };
        match read(&answer) {
            Ok(texts) => return Ok(texts),
            // One bad server of several behind a name shall not hide the others, but what it said is worth more than
            // that others are silent.
            Err(error) => answered = answered.or(Some(error)),
        }
    }
    Err(answered.unwrap_or(LookError::Unreachable(tried)))
}

/// Asks one address, by UDP first, by TCP when that gives nothing whole.
async fn ask(peer: SocketAddr, query: &[u8], tried: &mut String) -> Option<Vec<u8>> {
    match converse_udp(peer, query, |answer| belongs(answer, query), UDP_TIMEOUT).await {
        Ok(answer) if !is_truncated(&answer) => return Some(answer),
        Ok(_) => {}
        Err(error) => note(tried, peer, "UDP", &error),
    }
    match ask_tcp(peer, query).await {
        Ok(answer) => Some(answer),
        Err(error) => {
            note(tried, peer, "TCP", &error);
            None
        }
    }
}

async fn ask_tcp(peer: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
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

/// Writes the query.
fn query(name: &Name<Vec<u8>>, recursion: Recursion) -> Result<Vec<u8>, LookError> {
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(random_id().map_err(|error| LookError::io(&error))?);
    header.set_opcode(Opcode::QUERY);
    header.set_rd(recursion == Recursion::Wanted);
    let mut question = builder.question();
    question
        .push((name, Rtype::TXT))
        .map_err(|error| LookError::Format(error.to_string()))?;
    Ok(question.finish())
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

fn is_truncated(answer: &[u8]) -> bool {
    Message::from_slice(answer).is_ok_and(|message| message.header().tc())
}

/// Reads the values out of an answer that belongs to our query.
pub(super) fn read(answer: &[u8]) -> Result<Vec<String>, LookError> {
    let garbled = |error: &dyn std::fmt::Display| LookError::Format(error.to_string());
    let message = Message::from_slice(answer).map_err(|error| garbled(&error))?;
    match message.header().rcode() {
        Rcode::NOERROR => values(message).map_err(|error| garbled(&error)),
        Rcode::NXDOMAIN => Ok(Vec::new()),
        other => Err(LookError::Rcode(other.to_string())),
    }
}

/// The TXT values at the end of the chain of aliases that begins at the question (RFC 1034 §3.6.2).
fn values(message: &Message<[u8]>) -> Result<Vec<String>, ParseError> {
    let Some(name) = message.canonical_name() else {
        return Err(ParseError::form_error("its aliases lead nowhere"));
    };
    let mut values = Vec::new();
    for record in message.answer()?.limit_to::<Txt<_>>() {
        let record = record?;
        if record.class() == Class::IN && *record.owner() == name {
            let joined: Vec<u8> = record.data().text();
            values.push(String::from_utf8_lossy(&joined).into_owned());
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests;

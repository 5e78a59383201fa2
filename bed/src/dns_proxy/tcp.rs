//! Connections: for each of a client's there is one to the server, and they end together.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::message::{id, mangle};
use super::{Fault, Shared, Transport, lock};

/// Between two octets of an answer that trickles.
const TRICKLE: Duration = Duration::from_millis(1);
/// How long an answer waits at most for the next one, which it is to come after.
const OVERTAKEN: Duration = Duration::from_secs(1);

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if let Ok((client, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            connections.spawn(async move {
                // Either side may go at any time; the other then sees the end of its connection.
                let _ = connection(client, &shared).await;
            });
        }
    }
}

/// The requests that the server has not answered, with what is to be done to their answers.
type Open = Mutex<VecDeque<([u8; 2], Fault)>>;

/// What the writer to the client is handed.
enum Piece {
    /// An answer with its length.
    Whole(Vec<u8>),
    /// The same, octet by octet.
    Trickle(Vec<u8>),
    /// The last that the client gets.
    Last(Vec<u8>),
}

async fn connection(client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = shared.connect().await?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let open = Open::default();
    let (pieces, queue) = mpsc::unbounded_channel();
    tokio::select! {
        ended = requests(from_client, to_server, shared, &open) => ended,
        ended = answers(from_server, &open, pieces) => ended,
        ended = deliver(to_client, queue) => ended,
    }
}

/// Passes requests on, until the client or a fault ends the connection.
async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    open: &Open,
) -> io::Result<()> {
    loop {
        let request = read(&mut client).await?;
        let fault = shared.decide(Transport::Tcp, &request);
        if fault == Fault::Close {
            return Ok(());
        }
        if fault == Fault::Drop {
            continue;
        }
        let copies = if fault == Fault::Duplicate { 2 } else { 1 };
        for _ in 0..copies {
            lock(open).push_back((id(&request).unwrap_or_default(), fault));
            server.write_all(&framed(&request)).await?;
        }
    }
}

/// Reads answers and has each delivered as its request's fault says, until the server ends the connection.
async fn answers(
    mut server: OwnedReadHalf,
    open: &Open,
    pieces: mpsc::UnboundedSender<Piece>,
) -> io::Result<()> {
    let next = Arc::new(Notify::new());
    let mut late = JoinSet::new();
    loop {
        while late.try_join_next().is_some() {}
        let answer = read(&mut server).await?;
        let fault = {
            let mut open = lock(open);
            let place = open.iter().position(|(of, _)| Some(*of) == id(&answer));
            place
                .and_then(|place| open.remove(place))
                .map_or(Fault::None, |(_, fault)| fault)
        };
        let frame = framed(&mangle(answer, fault));
        let (pieces, next) = (pieces.clone(), Arc::clone(&next));
        // The writer is gone only when the connection is.
        match fault {
            Fault::DropAnswer => {}
            Fault::Cut => drop(pieces.send(Piece::Last(frame[..frame.len() / 2].to_vec()))),
            Fault::Trickle => drop(pieces.send(Piece::Trickle(frame))),
            Fault::Delay(time) => {
                late.spawn(async move {
                    sleep(time).await;
                    drop(pieces.send(Piece::Whole(frame)));
                });
            }
            Fault::Reorder => {
                late.spawn(async move {
                    let _ = timeout(OVERTAKEN, next.notified()).await;
                    drop(pieces.send(Piece::Whole(frame)));
                });
            }
            Fault::None
            | Fault::BadlySigned
            | Fault::Close
            | Fault::Drop
            | Fault::Duplicate
            | Fault::Rcode(_)
            | Fault::Truncate
            | Fault::Unsigned
            | Fault::WrongId => {
                drop(pieces.send(Piece::Whole(frame)));
                next.notify_waiters();
            }
        }
    }
}

async fn deliver(mut client: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Piece>) -> io::Result<()> {
    while let Some(piece) = queue.recv().await {
        match piece {
            Piece::Whole(bytes) => client.write_all(&bytes).await?,
            Piece::Trickle(bytes) => {
                for byte in bytes {
                    client.write_u8(byte).await?;
                    sleep(TRICKLE).await;
                }
            }
            Piece::Last(bytes) => return client.write_all(&bytes).await,
        }
    }
    Ok(())
}

/// Reads a message (RFC 1035 §4.2.2).
async fn read(stream: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn framed(message: &[u8]) -> Vec<u8> {
    // It was read behind a length of this size, and nothing makes it longer.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), message].concat()
}

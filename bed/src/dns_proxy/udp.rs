//! Datagrams: each is a matter of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::message::mangle;
use super::{Fault, Shared, Transport};

/// The longest datagram.
const LONGEST: usize = 65_535;
/// How long the server has for an answer. Clients have given up by then.
const ANSWER: Duration = Duration::from_secs(10);
/// How long an answer waits at most for the next one, which it is to come after.
const OVERTAKEN: Duration = Duration::from_secs(1);

pub(super) async fn serve(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    let next = Arc::new(Notify::new());
    loop {
        while tasks.try_join_next().is_some() {}
        // An error is that of an earlier answer that its client did not wait for.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let request = buffer[..length].to_vec();
        let fault = shared.decide(Transport::Udp, &request);
        let (socket, shared, next) = (Arc::clone(&socket), Arc::clone(&shared), Arc::clone(&next));
        tasks.spawn(async move {
            // Whoever is lost on the way is lost, as is the way of datagrams.
            let _ = pass(&socket, from, &request, fault, &shared, &next).await;
        });
    }
}

async fn pass(
    socket: &UdpSocket,
    from: SocketAddr,
    request: &[u8],
    fault: Fault,
    shared: &Shared,
    next: &Notify,
) -> std::io::Result<()> {
    if matches!(fault, Fault::Close | Fault::Drop) {
        return Ok(());
    }
    let server = UdpSocket::bind((shared.from, 0)).await?;
    server.connect(shared.to).await?;
    let copies = if fault == Fault::Duplicate { 2 } else { 1 };
    for _ in 0..copies {
        server.send(request).await?;
    }
    let mut buffer = vec![0; LONGEST];
    for _ in 0..copies {
        let length = timeout(ANSWER, server.recv(&mut buffer)).await??;
        let mut answer = mangle(buffer[..length].to_vec(), fault);
        if fault == Fault::DropAnswer {
            continue;
        }
        if fault == Fault::Cut {
            answer.truncate(answer.len() / 2);
        }
        if let Fault::Delay(time) = fault {
            sleep(time).await;
        }
        if fault == Fault::Reorder {
            let _ = timeout(OVERTAKEN, next.notified()).await;
        }
        socket.send_to(&answer, from).await?;
        if fault != Fault::Reorder {
            next.notify_waiters();
        }
    }
    Ok(())
}

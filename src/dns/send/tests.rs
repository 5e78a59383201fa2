//! Connections that are kept, cut, refused or silent, with servers made for the occasion.

use super::*;
use crate::dns::tsig::tests::{at, key};
use crate::dns::tsig::{Algorithm, sign};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A message of `length` octets: a header and nothing that makes sense.
fn message(length: usize) -> Vec<u8> {
    let mut message = vec![0; length.max(12)];
    message[2] = 0x28;
    message
}

fn signer(length: usize) -> impl Fn(u16) -> io::Result<Signed> + Send + Sync {
    move |id| {
        Ok(sign(
            message(length),
            id,
            &key(Algorithm::HmacSha256, 0),
            at(1_700_000_000),
        ))
    }
}

/// The shortest answer to a request: its header with the response bit.
fn echo(request: &[u8]) -> Vec<u8> {
    let mut answer = request[..12].to_vec();
    answer[2] |= 0x80;
    answer[4..12].fill(0);
    answer
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn link(address: SocketAddr) -> Link {
    Link::new(address.to_string().parse().unwrap())
}

/// A TCP port and the UDP port of the same number.
async fn both() -> (TcpListener, UdpSocket, SocketAddr) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (tcp, udp, address);
        }
    }
}

/// An address that answers nobody: all connections that may wait there do, and nobody accepts them.
async fn deaf() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = connect(address, Duration::from_millis(300)).await {
        waiting.push(stream);
    }
    (listener, waiting, address)
}

/// What a server has received.
type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// Answers every datagram but the `first` ones.
async fn answer_udp(udp: UdpSocket, seen: Seen, first: usize) {
    let mut buffer = vec![0; 65_535];
    loop {
        let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
        seen.lock().unwrap().push(buffer[..length].to_vec());
        if seen.lock().unwrap().len() > first {
            udp.send_to(&echo(&buffer[..length]), peer).await.unwrap();
        }
    }
}

#[tokio::test]
async fn p13_one_connection_serves_many_updates() {
    let (tcp, _udp, address) = both().await;
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        // Accepts once; a second connection would wait for ever.
        let (mut stream, _) = tcp.accept().await.unwrap();
        while let Ok(request) = read_frame(&mut stream).await {
            stream.write_all(&frame(&echo(&request))).await.unwrap();
        }
    });
    let mut link = link(address);
    for _ in 0..3 {
        let exchange = link.exchange(&signer(40)).await.unwrap();
        assert_eq!(exchange.answer[..2], exchange.request.wire[..2]);
        assert_eq!(exchange.peer, address);
    }
}

#[tokio::test]
async fn p13_a_kept_connection_that_ends_within_a_request_is_replaced_and_the_message_signed_anew() {
    let (tcp, _udp, address) = both().await;
    let seen = Seen::default();
    let theirs = Arc::clone(&seen);
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        // The first connection answers once and dies of its second request; the second one lives.
        for answers in [1, 1] {
            let (mut stream, _) = tcp.accept().await.unwrap();
            for n in 0.. {
                let Ok(request) = read_frame(&mut stream).await else {
                    break;
                };
                theirs.lock().unwrap().push(request.clone());
                if n == answers {
                    break;
                }
                stream.write_all(&frame(&echo(&request))).await.unwrap();
            }
        }
    });
    let mut link = link(address);
    link.exchange(&signer(40)).await.unwrap();
    let exchange = link.exchange(&signer(40)).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[2], exchange.request.wire);
    assert_ne!(seen[1], seen[2], "sent twice as it was");
}

#[tokio::test]
async fn a_fresh_connection_that_ends_is_not_tried_again() {
    let (tcp, _udp, address) = both().await;
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        loop {
            drop(tcp.accept().await.unwrap());
        }
    });
    let fault = link(address).exchange(&signer(40)).await.err().unwrap();
    let SendFault::Unreachable(tried) = fault else {
        panic!("{fault:?}")
    };
    assert!(
        tried.starts_with(&format!("{address} by TCP: ")) && !tried.contains("UDP"),
        "{tried}"
    );
}

#[tokio::test]
async fn p13_messages_that_are_not_ours_are_passed_over() {
    let (tcp, _udp, address) = both().await;
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        let request = read_frame(&mut stream).await.unwrap();
        let mut other = echo(&request);
        other[0] ^= 0xff;
        let stray = [frame(&[]), frame(&request), frame(&other), frame(&echo(&request))].concat();
        stream.write_all(&stray).await.unwrap();
        let _ = read_frame(&mut stream).await;
    });
    let exchange = link(address).exchange(&signer(40)).await.unwrap();
    assert_eq!(exchange.answer, echo(&exchange.request.wire));
}

#[tokio::test]
async fn p13_udp_is_used_when_tcp_is_refused_and_stays_in_use_for_a_while() {
    let (tcp, udp, address) = both().await;
    drop(tcp);
    let seen = Seen::default();
    let mut servers = JoinSet::new();
    servers.spawn(answer_udp(udp, Arc::clone(&seen), 0));
    let mut link = link(address);
    assert_eq!(link.limit(), TCP_MAX);
    link.exchange(&signer(40)).await.unwrap();
    assert_eq!(link.limit(), UDP_MAX);
    link.exchange(&signer(40)).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn p13_tcp_is_tried_again_after_a_while_and_udp_used_on_if_that_fails() {
    let (tcp, udp, address) = both().await;
    drop(tcp);
    let mut servers = JoinSet::new();
    servers.spawn(answer_udp(udp, Seen::default(), 0));
    let mut link = link(address);
    let over = Fallback {
        until: Instant::now(),
        cause: "long ago".to_owned(),
    };
    link.fallback = Some(over);
    link.exchange(&signer(40)).await.unwrap();
    let until = link.fallback().map(|fallback| fallback.until);
    assert!(until.is_some() && !link.fallback().unwrap().cause.contains("long ago"));
    link.exchange(&signer(40)).await.unwrap();
    assert_eq!(link.fallback().map(|fallback| fallback.until), until);
}

#[tokio::test]
async fn p13_tcp_is_tried_again_at_once_when_udp_fails_too() {
    let (tcp, udp, address) = both().await;
    drop((tcp, udp));
    let mut link = link(address);
    let running = Instant::now() + UDP_PERIOD;
    link.fallback = Some(Fallback {
        until: running,
        cause: "TCP was refused".to_owned(),
    });
    let fault = link.exchange(&signer(40)).await.err().unwrap();
    assert!(matches!(fault, SendFault::Unreachable(tried) if tried.starts_with("TCP was refused, ")));
    assert!(link.fallback().is_none());
}

#[tokio::test]
async fn p13_a_lost_datagram_is_sent_again_signed_anew() {
    let (tcp, udp, address) = both().await;
    drop(tcp);
    let seen = Seen::default();
    let mut servers = JoinSet::new();
    servers.spawn(answer_udp(udp, Arc::clone(&seen), 1));
    link(address).exchange(&signer(40)).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn p13_a_message_too_long_for_udp_is_given_back_to_be_split() {
    let (tcp, udp, address) = both().await;
    drop(tcp);
    let seen = Seen::default();
    let mut servers = JoinSet::new();
    servers.spawn(answer_udp(udp, Arc::clone(&seen), 0));
    let mut link = link(address);
    let fault = link.exchange(&signer(5_000)).await.err().unwrap();
    assert!(matches!(fault, SendFault::TooLong(tried) if tried.contains("refused")));
    assert_eq!((link.limit(), seen.lock().unwrap().len()), (UDP_MAX, 0));
    link.exchange(&signer(1_000)).await.unwrap();
}

#[tokio::test]
async fn p13_each_address_is_tried_and_the_one_that_answers_comes_first_next_time() {
    let (tcp, _udp, alive) = both().await;
    let (dead_tcp, dead_udp, dead) = both().await;
    drop((dead_tcp, dead_udp));
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let request = read_frame(&mut stream).await.unwrap();
            stream.write_all(&frame(&echo(&request))).await.unwrap();
        }
    });
    let mut link = link(dead);
    let exchange = link.exchange_anew(vec![dead, alive], &signer(40)).await.unwrap();
    assert_eq!((exchange.peer, link.last), (alive, Some(alive)));
    let fault = link.exchange_anew(vec![dead], &signer(40)).await.err().unwrap();
    assert!(matches!(fault, SendFault::Unreachable(tried) if tried.contains("TCP") && tried.contains("UDP")));
}

#[tokio::test]
async fn p13_an_address_where_nobody_answers_does_not_hold_up_the_next() {
    let (tcp, _udp, alive) = both().await;
    let (_listener, _waiting, dead) = deaf().await;
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        while let Ok(request) = read_frame(&mut stream).await {
            stream.write_all(&frame(&echo(&request))).await.unwrap();
        }
    });
    let began = Instant::now();
    let exchange = link(dead)
        .exchange_anew(vec![dead, alive], &signer(40))
        .await
        .unwrap();
    assert_eq!(exchange.peer, alive);
    assert!(began.elapsed() < CONNECT_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn p13_an_answer_cut_off_by_udp_is_asked_for_by_tcp() {
    let (tcp, udp, address) = both().await;
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        let mut buffer = vec![0; 65_535];
        loop {
            let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
            let mut answer = echo(&buffer[..length]);
            answer[2] |= 0x02;
            udp.send_to(&answer, peer).await.unwrap();
        }
    });
    let mut link = link(address);
    // TCP was refused a moment ago.
    link.fallback = Some(Fallback {
        until: Instant::now() + UDP_PERIOD,
        cause: "TCP was refused".to_owned(),
    });
    let answering = async {
        let (mut stream, _) = tcp.accept().await.unwrap();
        let request = read_frame(&mut stream).await.unwrap();
        stream.write_all(&frame(&echo(&request))).await.unwrap();
        stream
    };
    let signer = signer(40);
    let (exchange, _stream) = tokio::join!(link.exchange(&signer), answering);
    assert_eq!(exchange.unwrap().answer[2] & 0x02, 0);
    assert_eq!(link.limit(), TCP_MAX);

    // And where TCP is refused, it is no success.
    drop((tcp, _stream));
    link.kept = None;
    link.fallback = Some(Fallback {
        until: Instant::now() + UDP_PERIOD,
        cause: "TCP was refused".to_owned(),
    });
    let fault = link.exchange(&signer).await.err().unwrap();
    assert!(matches!(fault, SendFault::Unreachable(tried) if tried.contains("cut off")));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_after_five_seconds() {
    let (tcp, _udp, address) = both().await;
    let mut servers = JoinSet::new();
    servers.spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        while read_frame(&mut stream).await.is_ok() {}
    });
    let start = Instant::now();
    let fault = link(address).exchange(&signer(40)).await.err().unwrap();
    assert!(matches!(fault, SendFault::Unreachable(tried) if tried.contains("no answer within 5 s")));
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
}

#[test]
fn message_ids_differ() {
    let ids: std::collections::BTreeSet<u16> = (0..64).map(|_| random_id().unwrap()).collect();
    assert!(ids.len() > 32);
}

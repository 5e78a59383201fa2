//! An HTTP proxy that makes tunnels (RFC 9110 §9.3.6), and wants a password.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// `user:secret` in base64.
const CREDENTIALS: &str = "proxy-authorization: basic dxnlcjpzzwnyzxq=";

/// A running proxy; it ends when dropped.
pub(crate) struct Proxy {
    place: String,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let asked = Arc::default();
        let log = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                tunnels.spawn(tunnel(stream, Arc::clone(&log)));
            }
        });
        Self {
            place,
            asked,
            _tasks: tasks,
        }
    }

    /// Its URL, with this in front of the `@`.
    pub(crate) fn url(&self, user: &str) -> String {
        format!("http://{user}@{}", self.place)
    }

    /// The first lines of all requests.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn tunnel(mut stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap().to_owned();
    asked.lock().unwrap().push(line.clone());
    if !head.to_ascii_lowercase().contains(CREDENTIALS) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(refusal).await;
        return;
    }
    let target = line.split(' ').nth(1).unwrap();
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await;
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
}

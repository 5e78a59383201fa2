//! A CA that behaves badly on purpose, over plain HTTP. It checks nothing and knows only what the test scripts.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it answers at one path.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status without a nonce or anything else.
    Bare(u16),
    /// A body that never ends.
    Endless,
    /// Nothing, with the connection left open.
    Hang,
    /// Half of what was announced, then the end of the connection.
    Torn,
    /// Status, further header lines, body.
    Whole(u16, &'static str, String),
}

/// A running server; it ends when dropped.
pub(crate) struct Hostile {
    pub(crate) base: String,
    replies: Replies,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

type Replies = Arc<Mutex<HashMap<String, VecDeque<Reply>>>>;

/// A request that came.
#[derive(Clone, Debug)]
struct Seen {
    /// Method and path.
    request: String,
    body: Vec<u8>,
}

impl Hostile {
    /// Starts it with a good directory, nonces, and an account for everybody.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let replies = Replies::default();
        let seen = Arc::default();
        let mut tasks = JoinSet::new();
        let (serving, log) = (Arc::clone(&replies), Arc::clone(&seen));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&serving), Arc::clone(&log)));
            }
        });
        let server = Self {
            base,
            replies,
            seen,
            _tasks: tasks,
        };
        let base = &server.base;
        let directory =
            format!(r#"{{"newNonce":"{base}/nonce","newAccount":"{base}/account","newOrder":"{base}/new"}}"#);
        server.on("/dir", Reply::Whole(200, "", directory));
        server.on("/nonce", Reply::Whole(200, "", String::new()));
        let location: &'static str = format!("Location: {base}/account/1\r\n").leak();
        server.on("/account", Reply::Whole(201, location, "{}".to_owned()));
        server.on(
            "/account/1",
            Reply::Whole(200, "", r#"{"status":"valid"}"#.to_owned()),
        );
        server
    }

    /// Sets the answer at `path`.
    pub(crate) fn on(&self, path: &str, reply: Reply) {
        self.replies
            .lock()
            .unwrap()
            .insert(path.to_owned(), VecDeque::from([reply]));
    }

    /// Sets the next answer at `path`, before the one that is set already.
    pub(crate) fn once(&self, path: &str, reply: Reply) {
        self.replies
            .lock()
            .unwrap()
            .entry(path.to_owned())
            .or_default()
            .push_front(reply);
    }

    /// What was signed in the requests to a path, protected header and payload, in turn.
    pub(crate) fn signed(&self, path: &str) -> Vec<(Value, Value)> {
        let seen = self.seen.lock().unwrap();
        let request = format!("POST {path}");
        seen.iter()
            .filter(|seen| seen.request == request)
            .map(|seen| opened(&serde_json::from_slice(&seen.body).unwrap()))
            .collect()
    }

    /// Lets new orders be the one at `/order/1` with this content, which may say `BASE`; both answers have it.
    pub(crate) fn order(&self, content: &str) {
        let content = content.replace("BASE", &self.base);
        let location: &'static str = format!("Location: {}/order/1\r\n", self.base).leak();
        self.on("/new", Reply::Whole(201, location, content.clone()));
        self.on("/order/1", Reply::Whole(200, "", content));
    }

    /// How often a path was asked for, as `POST /new`.
    pub(crate) fn count(&self, request: &str) -> usize {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| seen.request == request)
            .count()
    }
}

/// Protected header and payload of a JWS; an empty payload is null.
pub(crate) fn opened(jws: &Value) -> (Value, Value) {
    let part = |name: &str| {
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(jws[name].as_str().unwrap())
            .unwrap();
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    (part("protected"), part("payload"))
}

async fn serve(mut stream: TcpStream, replies: Replies, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut received = Vec::new();
    let (head, begin, length) = loop {
        if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")?
                        .trim()
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            break (head, end + 4, end + 4 + length);
        }
    };
    while received.len() < length {
        if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return;
        }
    }
    assert!(
        head.to_ascii_lowercase().contains("\r\nuser-agent: faythe/"),
        "{head}"
    );
    let request = head
        .lines()
        .next()
        .unwrap()
        .trim_end_matches(" HTTP/1.1")
        .to_owned();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(Seen {
        request: request.clone(),
        body: received[begin..length].to_vec(),
    });
    let unknown = || {
        Reply::Whole(
            404,
            "",
            r#"{"type":"urn:ietf:params:acme:error:malformed"}"#.to_owned(),
        )
    };
    let reply = {
        let mut replies = replies.lock().unwrap();
        let queue = replies.entry(path).or_default();
        // The last one stays.
        let next = if queue.len() > 1 {
            queue.pop_front()
        } else {
            queue.front().cloned()
        };
        next.unwrap_or_else(unknown)
    };
    let _ = answer(&mut stream, &request, reply).await;
}

async fn answer(stream: &mut TcpStream, request: &str, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Bare(status) => {
            let text = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await
        }
        Reply::Whole(status, headers, body) => {
            let length = body.len();
            let body = if request.starts_with("HEAD") {
                String::new()
            } else {
                body
            };
            let text = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nReplay-Nonce: n\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await
        }
        Reply::Torn => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nReplay-Nonce: n\r\nContent-Length: 100\r\n\r\n{\"status\":")
                .await
        }
        Reply::Hang => std::future::pending().await,
        Reply::Endless => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nReplay-Nonce: n\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await?;
            let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
            loop {
                stream.write_all(&chunk).await?;
            }
        }
    }
}

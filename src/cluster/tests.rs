//! The one reduction of errors, and the client's bounds.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

#[track_caller]
fn check(json: &str, expected: Fault) {
    let status: Status = serde_json::from_str(json).unwrap();
    assert_eq!(Fault::of_status(&status), expected, "{json}");
}

#[test]
fn rbac_is_told_from_quota_and_admission() {
    check(
        r#"{"code":403,"reason":"Forbidden","message":"secrets \"a\" is forbidden: User \"x\" cannot get resource \"secrets\" in API group \"\" in the namespace \"n\""}"#,
        Fault::Forbidden,
    );
    let quota = r#"secrets \"a\" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1"#;
    check(
        &format!(r#"{{"code":403,"reason":"Forbidden","message":"{quota}"}}"#),
        Fault::Refused(quota.replace('\\', "")),
    );
    check(
        r#"{"code":422,"reason":"Invalid","message":"policy says no"}"#,
        Fault::Refused("policy says no".into()),
    );
}

#[test]
fn the_two_kinds_of_409_are_told_apart() {
    check(
        r#"{"code":409,"reason":"AlreadyExists","message":"m"}"#,
        Fault::Exists,
    );
    check(
        r#"{"code":409,"reason":"Conflict","message":"m"}"#,
        Fault::Conflict,
    );
}

#[test]
fn trouble_of_the_server_says_when_to_come_back() {
    check(
        r#"{"code":429,"reason":"TooManyRequests","details":{"retryAfterSeconds":3}}"#,
        Fault::TooMany(Some(Duration::from_secs(3))),
    );
    check(
        r#"{"code":500,"reason":"InternalError","message":"etcd"}"#,
        Fault::Unavailable(None),
    );
    check(
        r#"{"code":503,"message":"apiserver is shutting down"}"#,
        Fault::Unavailable(None),
    );
    check(
        r#"{"code":401,"reason":"Unauthorized"}"#,
        Fault::Unavailable(None),
    );
}

#[test]
fn a_version_too_old_or_too_new_asks_for_a_new_list() {
    check(
        r#"{"code":410,"reason":"Expired","message":"too old resource version"}"#,
        Fault::Gone,
    );
    check(
        r#"{"code":504,"reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"m"}],"retryAfterSeconds":1}}"#,
        Fault::Gone,
    );
}

/// Answers one request on a port of its own; returns a client for it, what it is told of the answer, and the request.
async fn serve(answer: &'static str) -> (Client, Arc<Mutex<Vec<Option<u16>>>>, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test that is handed it waits for it"
    )]
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    });
    let mut config = Config::new(url);
    // Roots of our own, be they none, keep the test from needing the system's.
    config.root_cert = Some(Vec::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let observe: Observe = Arc::new(move |_, head| {
        let code = head.map(|(code, _)| code.as_u16());
        log.lock().unwrap().push(code);
    });
    (client(config, observe).unwrap(), told, server)
}

#[tokio::test]
async fn a_busy_server_is_asked_once_and_its_delay_is_handed_on() {
    let (client, told, server) = serve(concat!(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 10\r\nconnection: close\r\n\r\n",
        "Too many.\n"
    ))
    .await;
    let error = client.apiserver_version().await.unwrap_err();
    assert_eq!(Fault::of(&error), Fault::TooMany(Some(Duration::from_secs(7))));
    assert_eq!(words(&error), "Too many.");
    assert_eq!(*told.lock().unwrap(), [Some(429)]);
    let request = server.await.unwrap();
    assert!(
        request.contains(&format!("user-agent: faythe/{}\r\n", env!("CARGO_PKG_VERSION"))),
        "{request}"
    );
}

#[tokio::test]
async fn a_broken_connection_is_no_answer_and_says_why() {
    let (client, told, server) = serve("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let error = client.apiserver_version().await.unwrap_err();
    assert_eq!(Fault::of(&error), Fault::Unavailable(None));
    assert_eq!(*told.lock().unwrap(), [None]);
    assert!(!words(&error).is_empty());
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_quoted() {
    let (client, ..) = serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n\"SECRET!\"").await;
    let error = client.apiserver_version().await.unwrap_err();
    assert_eq!(words(&error), "the answer cannot be read at line 1, column 9");
}

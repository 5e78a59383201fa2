//! The client as it is set up; how it gets on with servers is for the adapter tests.

use super::*;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn new(directory: &str, roots: Option<&PathBuf>) -> Result<Http, SetupError> {
    let budget = budget::Limits::default();
    Http::new(directory, None, roots, Limits::default(), &budget, Arc::new(now))
}

#[test]
fn only_http_urls_make_a_directory() {
    let make = |url: &str| new(url, None).map(drop);
    assert!(make("http://127.0.0.1:1/dir").is_ok());
    for wrong in [
        "",
        "directory",
        "/dir",
        "ftp://ca.test/dir",
        "http://",
        "http:///dir",
        "http://a b/",
    ] {
        assert!(
            matches!(make(wrong), Err(SetupError::Directory(_))),
            "for {wrong:?}"
        );
    }
}

#[test]
fn roots_that_are_none_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let make = |path: &PathBuf| new("https://ca.test/", Some(path)).map(drop);
    let missing = directory.path().join("missing.pem");
    assert!(matches!(make(&missing), Err(SetupError::Roots { .. })));
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate here\n").unwrap();
    let error = make(&empty).unwrap_err();
    assert!(
        matches!(&error, SetupError::RootsEmpty { path } if *path == empty),
        "{error}"
    );
}

#[test]
fn a_request_says_who_asks_and_what_it_sends() {
    let sent = request(Method::POST, "https://ca.test/x", Bytes::from("{}")).unwrap();
    assert!(
        sent.headers()[USER_AGENT]
            .to_str()
            .unwrap()
            .starts_with("faythe/")
    );
    assert_eq!(sent.headers()[CONTENT_TYPE], "application/jose+json");
    let asked = request(Method::GET, "https://ca.test/x", Bytes::new()).unwrap();
    assert!(!asked.headers().contains_key(CONTENT_TYPE));
}

#[test]
fn a_url_of_the_ca_may_be_none() {
    for wrong in ["", "/order/1", "https://", "a b", "\u{7f}", "ca.test"] {
        assert!(
            matches!(request(Method::GET, wrong, Bytes::new()), Err(Cause::NoUrl(_))),
            "for {wrong:?}"
        );
    }
}

//! The client against servers that behave and servers that do not.

use proptest::prelude::*;

use super::*;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

#[test]
fn retry_after_is_read_in_both_forms() {
    let check = |text: &str, expected: Option<u64>| {
        assert_eq!(
            wait(text, now()),
            expected.map(Duration::from_secs),
            "for {text:?}"
        );
    };
    check("120", Some(120));
    check(" 0 ", Some(0));
    check("Mon, 23 Nov 2026 12:00:30 GMT", Some(30));
    check("Mon, 23 Nov 2026 11:59:30 GMT", Some(0));
    check("Fri, 23 Nov 2026 12:00:30 GMT", Some(30));
    check("", None);
    check("-5", None);
    check("1.5", None);
    check("soon", None);
    check("٣", None);
}

#[test]
fn nobody_makes_us_wait_for_ever() {
    assert_eq!(wait("99999999", now()), Some(LONGEST_WAIT));
    assert_eq!(wait("18446744073709551615", now()), Some(LONGEST_WAIT));
    assert_eq!(wait(&"9".repeat(1000), now()), Some(LONGEST_WAIT));
    assert_eq!(wait("Thu, 31 Dec 9998 23:59:59 GMT", now()), Some(LONGEST_WAIT));
}

#[test]
fn the_library_never_sees_a_retry_after() {
    let headers = HeaderMap::from_iter([
        (RETRY_AFTER, HeaderValue::from_static("18446744073709551615")),
        (USER_AGENT, HeaderValue::from_static("kept")),
    ]);
    let seen = response(StatusCode::OK, headers, Bytes::new()).parts.headers;
    assert!(!seen.contains_key(RETRY_AFTER) && seen.contains_key(USER_AGENT));
}

#[test]
fn only_http_urls_make_a_directory() {
    let make = |url: &str| Http::new(url, None, Limits::default(), Arc::new(now)).map(drop);
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
    let make = |path: &PathBuf| {
        Http::new("https://ca.test/", Some(path), Limits::default(), Arc::new(now)).map(drop)
    };
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
fn a_directory_needs_absolute_urls() {
    let read = |nonce: &str| {
        Directory::read(&Answer {
            method: Method::GET,
            url: "https://ca.test/dir".to_owned(),
            status: StatusCode::OK,
            retry_after: None,
            body: Bytes::from(format!(
                r#"{{"newNonce":{nonce:?},"newAccount":"https://ca.test/a","newOrder":"https://ca.test/o","meta":{{"profiles":{{"x":"y"}}}}}}"#
            )),
        })
    };
    assert!(read("https://ca.test/nonce").is_ok_and(|directory| directory.has_profile("x")));
    for wrong in ["", "/nonce", "https://", "a b", "\u{7f}"] {
        assert!(read(wrong).is_err(), "for {wrong:?}");
    }
}

proptest! {
    #[test]
    fn no_retry_after_breaks_it(text in "\\PC*") {
        prop_assert!(wait(&text, now()).is_none_or(|wait| wait <= LONGEST_WAIT));
    }
}

//! Entries for fuzz tests of what a CA says; see `crate::fuzzing`.

use bytes::Bytes;
use faythe_core::Timestamp;
use faythe_core::budget::Endpoint;
use http::{HeaderMap, HeaderValue, StatusCode, header::LINK};

use super::authorization::Authorization;
use super::http::Answer;
use super::jws::Key;
use super::problem::{Asked, refusal};
use super::{chain, renewal, retry_after};
use crate::x509::KeyType;

/// The longest text of a CA that may reach an Event or a log line, with our own words around it.
const TEXT_MAX: usize = 2_000;

/// A problem document, under each kind of status. What is said of it is short.
pub fn problem(bytes: &[u8]) {
    for status in [
        StatusCode::BAD_REQUEST,
        StatusCode::NOT_FOUND,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        let answer = answer(bytes, status);
        let text = refusal(
            &answer,
            Asked::Service(Endpoint::Other, "https://ca.test/new-order"),
        )
        .to_string();
        assert!(text.len() < TEXT_MAX && !text.contains('\n'), "{text:?}");
    }
}

/// The documents that successes bring: an authorization, a renewal window, a chain.
pub fn answers(bytes: &[u8]) {
    let answer = answer(bytes, StatusCode::OK);
    drop(renewal::read(&answer));
    drop(chain::read(&answer));
    let key = Key::generate(KeyType::EcdsaP256).and_then(|saved| Key::read(&saved));
    if let Ok(key) = key {
        drop(Authorization::read(&answer, &key));
    }
}

/// The headers that are taken apart: links and pauses.
pub fn headers(bytes: &[u8]) {
    let mut answer = answer(b"", StatusCode::OK);
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        answer.headers.append(LINK, value);
        drop(chain::alternates(&answer));
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let pause = retry_after::read(text, Timestamp::UNIX_EPOCH);
        assert!(
            pause.is_none_or(|pause| pause <= retry_after::LONGEST_WAIT),
            "{pause:?}"
        );
    }
}

fn answer(body: &[u8], status: StatusCode) -> Answer {
    Answer {
        url: "https://ca.test/object".to_owned(),
        status,
        headers: HeaderMap::new(),
        retry_after: None,
        body: Bytes::copy_from_slice(body),
    }
}

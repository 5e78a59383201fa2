//! Nonces that the CA has handed out and nobody has used yet (RFC 8555 §6.5), shared by all exchanges with it.
//!
//! Every answer to a POST brings one, refusals included, so new-nonce is asked only when none is left.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::http::Answer;

/// The header that brings a nonce.
const REPLAY_NONCE: &str = "replay-nonce";
/// More than there are exchanges at once; older ones go first.
const KEPT: usize = 64;
/// How long one is believed to be good. CAs say no time; one that is stale costs a second try and no more.
const LIFE: Duration = Duration::from_secs(300);

/// The nonces at hand.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<Vec<(Instant, String)>>);

impl Nonces {
    /// Takes in what an answer has brought. One that is no base64url is none (RFC 8555 §6.5.1).
    pub(super) fn keep(&self, answer: &Answer) {
        let Some(nonce) = read(answer) else { return };
        let mut nonces = self.lock();
        if nonces.len() >= KEPT {
            nonces.remove(0);
        }
        nonces.push((Instant::now(), nonce));
    }

    /// The freshest one; whoever takes it uses it alone.
    pub(super) fn take(&self) -> Option<String> {
        let mut nonces = self.lock();
        let (since, nonce) = nonces.pop()?;
        if since.elapsed() < LIFE {
            Some(nonce)
        } else {
            // All others are older.
            nonces.clear();
            None
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The nonce in an answer.
pub(super) fn read(answer: &Answer) -> Option<String> {
    let nonce = answer.header(REPLAY_NONCE)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (!nonce.is_empty() && nonce.bytes().all(fits)).then(|| nonce.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(nonce: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(REPLAY_NONCE, nonce.parse().unwrap());
        Answer {
            url: String::new(),
            status: StatusCode::BAD_REQUEST,
            headers,
            retry_after: None,
            body: Bytes::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_used_once_the_freshest_first_and_none_for_ever() {
        let nonces = Nonces::default();
        for nonce in ["a", "b", "not base64url", ""] {
            nonces.keep(&answer(nonce));
        }
        assert_eq!(nonces.take().as_deref(), Some("b"));
        tokio::time::advance(LIFE).await;
        nonces.keep(&answer("c"));
        assert_eq!(nonces.take().as_deref(), Some("c"));
        assert_eq!(nonces.take(), None, "`a` is too old");
    }

    #[test]
    fn no_more_are_kept_than_are_of_use() {
        let nonces = Nonces::default();
        for number in 0..2 * KEPT {
            nonces.keep(&answer(&format!("n{number}")));
        }
        let taken = std::iter::from_fn(|| nonces.take()).count();
        assert_eq!(taken, KEPT);
    }
}

//! The only reader of time, and of the time that others tell.

use std::sync::{Arc, Mutex, PoisonError};

use faythe_core::Timestamp;
use faythe_core::schedule::{after, ahead};
use http::header::{AGE, DATE, HeaderMap};
use jiff::SignedDuration;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::time::Instant;

/// A clock that differs by more than this is told of: windows of renewals, leases and limits go by ours.
pub const TOLERATED_SECS: i64 = 60;

/// Answers what time it is.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock.
#[must_use]
pub fn system() -> Now {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    Arc::new(Timestamp::now)
}

/// How far our clock is from that of a server, as its answers tell.
#[derive(Debug, Default)]
pub struct Offset(Mutex<Option<i64>>);

impl Offset {
    /// Takes in the headers of an answer of `server` that came at `now`; says how far ahead our clock is by them, in seconds. A
    /// clock that goes astray is told of once, as `whose` it is.
    pub fn hear(&self, whose: &str, server: &str, headers: &HeaderMap, now: Timestamp) -> Option<i64> {
        let offset = now.as_second() - date(headers)?.as_second();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_news(known.replace(offset), offset) {
            tracing::warn!(
                server,
                seconds = offset,
                "our clock and {whose} are apart; mend the time synchronization"
            );
        }
        Some(offset)
    }

    /// How far ahead our clock is, in seconds, by the last answer that had a date.
    #[must_use]
    pub fn secs(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the clock of a server says, by an answer of it that has just been made: to the second (RFC 9110 §6.6.1). `None` where
/// it has no date, or comes out of a cache (RFC 9111 §5.1).
#[must_use]
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    if headers.contains_key(AGE) {
        return None;
    }
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text);
    date.ok()
}

/// A time that a server has named in an answer that came at `now`, by our clock: it reckons by its own, whose time the
/// answer has.
#[must_use]
pub fn by_ours(named: Timestamp, headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let ahead_by = date(headers).map_or(SignedDuration::ZERO, |theirs| apart(theirs, now));
    ahead(named, ahead_by)
}

/// How far a clock that says `now` is ahead of another.
fn apart(theirs: Timestamp, now: Timestamp) -> SignedDuration {
    let by = theirs.duration_until(now);
    if by.abs() < ALIKE {
        SignedDuration::ZERO
    } else {
        by
    }
}

/// Whether an offset is news to be told: the first beyond what is tolerated.
fn is_news(before: Option<i64>, now: i64) -> bool {
    let beyond = |offset: i64| offset.abs() > TOLERATED_SECS;
    beyond(now) && !before.is_some_and(beyond)
}

/// Tells when the machine's clock has been set, by one that nobody sets. Time in which the machine slept, which that one
/// does not count, looks like it.
#[derive(Debug)]
pub struct Steps {
    clock: Timestamp,
    steady: Instant,
}

/// Clocks are not read at quite the same moment. Many small steps add up.
const STEP: SignedDuration = SignedDuration::from_secs(1);

impl Steps {
    /// The clock says `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            clock: now,
            steady: Instant::now(),
        }
    }

    /// By how much the clock, which says `now`, has been set since a step was told last; `None` for not at all.
    pub fn step(&mut self, now: Timestamp) -> Option<SignedDuration> {
        let by = after(self.clock, self.steady.elapsed()).duration_until(now);
        if by.abs() < STEP {
            return None;
        }
        *self = Self::new(now);
        Some(by)
    }
}

/// Another machine's clock, as its last answer told it.
#[derive(Debug, Default)]
pub struct Witness {
    told: Mutex<Option<(Timestamp, Instant)>>,
}

/// The date of an answer is to the second, and the answer takes its time: clocks that differ by less are taken for one.
const ALIKE: SignedDuration = SignedDuration::from_secs(5);

impl Witness {
    /// Its clock says `now`.
    pub fn tell(&self, now: Timestamp) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Instant::now()));
    }

    /// How far ours, which says `now`, is ahead of it; `None` before it has answered.
    #[must_use]
    pub fn ahead(&self, now: Timestamp) -> Option<SignedDuration> {
        let (then, at) = (*self.told.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(apart(after(then, at.elapsed()), now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p17_a_step_of_the_clock_is_told_once_and_time_that_passes_is_none() {
        let secs = SignedDuration::from_secs;
        let mut now = "2026-11-23T12:00:30Z".parse().unwrap();
        let (mut steps, witness) = (Steps::new(now), Witness::default());
        assert_eq!(witness.ahead(now), None);
        witness.tell(now);
        advance(Duration::from_secs(3_600)).await;
        now = ahead(now, secs(3_600));
        assert_eq!((steps.step(now), witness.ahead(now)), (None, Some(secs(0))));
        for by in [7_200, -10_000] {
            let before = witness.ahead(now).unwrap();
            now = ahead(now, secs(by));
            assert_eq!(steps.step(now), Some(secs(by)));
            assert_eq!(steps.step(now), None);
            assert_eq!(witness.ahead(now), Some(before + secs(by)));
        }
        // Small ones add up.
        let half = SignedDuration::from_millis(600);
        now = ahead(now, half);
        assert_eq!(steps.step(now), None);
        now = ahead(now, half);
        assert_eq!(steps.step(now), Some(half * 2));
    }

    #[test]
    fn p12_the_date_of_an_answer_tells_how_far_the_clocks_are_apart() {
        let now = "2026-11-23T12:00:30Z".parse().unwrap();
        let told = |date| Offset::default().hear("its", "server", &dated(date), now);
        assert_eq!(told("Mon, 23 Nov 2026 12:00:00 GMT"), Some(30));
        assert_eq!(told("Mon, 23 Nov 2026 13:00:00 GMT"), Some(30 - 3_600));
        assert_eq!(told("yesterday"), None);
    }

    #[test]
    fn p23_what_a_server_names_by_a_clock_of_its_own_is_told_by_ours() {
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let named: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let told = |date| by_ours(named, &dated(date), now).to_string();
        assert_eq!(told("Mon, 23 Nov 2026 15:00:00 GMT"), "2026-11-23T17:00:00Z");
        assert_eq!(told("Mon, 23 Nov 2026 09:00:00 GMT"), "2026-11-23T23:00:00Z");
        // An answer takes its time.
        assert_eq!(told("Mon, 23 Nov 2026 11:59:56 GMT"), "2026-11-23T20:00:00Z");
        assert_eq!(told("yesterday"), "2026-11-23T20:00:00Z");
        let mut kept = dated("Mon, 23 Nov 2026 09:00:00 GMT");
        kept.insert(AGE, "3600".parse().unwrap());
        assert_eq!(by_ours(named, &kept, now), named);
    }

    fn dated(date: &str) -> HeaderMap {
        HeaderMap::from_iter([(DATE, date.parse().unwrap())])
    }

    #[test]
    fn p12_a_clock_is_told_of_once_when_it_goes_astray() {
        assert!(is_news(None, 61) && is_news(Some(3), -61));
        assert!(!is_news(Some(90), 61) && !is_news(None, 60));
    }
}

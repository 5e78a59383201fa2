//! The only reader of time, and of the time that others tell.

use std::sync::Arc;

use faythe_core::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

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

/// How far our clock is ahead of a server's, in seconds, by the `Date` of an answer that came at `now`: to the second and
/// the time that the answer took (RFC 9110 §6.6.1). `None` for what is no date.
#[must_use]
pub fn offset_secs(date: &str, now: Timestamp) -> Option<i64> {
    let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(date);
    Some(now.as_second() - date.ok()?.as_second())
}

/// Whether an offset is news to be told: the first beyond what is tolerated.
#[must_use]
pub fn is_news(before: Option<i64>, now: i64) -> bool {
    let beyond = |offset: i64| offset.abs() > TOLERATED_SECS;
    beyond(now) && !before.is_some_and(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_the_date_of_an_answer_tells_how_far_the_clocks_are_apart() {
        let now = "2026-11-23T12:00:30Z".parse().unwrap();
        let told = |date| offset_secs(date, now);
        assert_eq!(told("Mon, 23 Nov 2026 12:00:00 GMT"), Some(30));
        assert_eq!(told("Mon, 23 Nov 2026 13:00:00 GMT"), Some(30 - 3_600));
        assert_eq!(told("yesterday"), None);
    }

    #[test]
    fn p12_a_clock_is_told_of_once_when_it_goes_astray() {
        assert!(is_news(None, 61) && is_news(Some(3), -61));
        assert!(!is_news(Some(90), 61) && !is_news(None, 60));
    }
}

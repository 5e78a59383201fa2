//! How long a CA asks us to wait, in both forms of `Retry-After` (RFC 9110 §10.2.3).
//!
//! Of the three forms of an HTTP date only the one that senders must use is read (RFC 9110 §5.6.7).

use std::time::Duration;

use faythe_core::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The longest wait that is believed: Let's Encrypt's longest limit refills within a week (2026-08). It also keeps
/// every sum of it and a point in time within range.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads the header: seconds, or a date that is compared with `now`, which is what the CA's clock said when it made the
/// answer, as far as that is known. Anything else is nothing.
pub(super) fn read(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number can hold are still a very long time.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(text)
            .ok()?;
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn p22_retry_after_is_read_in_both_forms() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(
                read(text, now()),
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
        assert_eq!(read("99999999", now()), Some(LONGEST_WAIT));
        assert_eq!(read("18446744073709551615", now()), Some(LONGEST_WAIT));
        assert_eq!(read(&"9".repeat(1000), now()), Some(LONGEST_WAIT));
        assert_eq!(read("Thu, 31 Dec 9998 23:59:59 GMT", now()), Some(LONGEST_WAIT));
    }

    proptest! {
        #[test]
        fn no_retry_after_breaks_it(text in "\\PC*") {
            prop_assert!(read(&text, now()).is_none_or(|wait| wait <= LONGEST_WAIT));
        }
    }
}

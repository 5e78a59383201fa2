//! What a CA says about the renewal of a certificate (RFC 9773 §4.2), read from its answer.

use faythe_core::Timestamp;
use faythe_core::ari::{RenewalInfo, Window};
use serde::Deserialize;

use super::CaError;
use super::http::Answer;

/// The longest URL of an explanation that is passed on, in bytes; longer ones help nobody.
const EXPLANATION_MAX: usize = 300;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    suggested_window: Span,
    #[serde(rename = "explanationURL")]
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct Span {
    start: String,
    end: String,
}

/// Reads the answer of a CA with ARI.
///
/// # Errors
/// When it is none, a window that ends before it begins included (RFC 9773 §4.2).
pub(super) fn read(answer: &Answer) -> Result<RenewalInfo, CaError> {
    let garbled = |what: String| CaError::Garbled {
        url: answer.url.clone(),
        what,
        retry_after: answer.retry_after,
        status: None,
    };
    let document: Document =
        serde_json::from_slice(&answer.body).map_err(|error| garbled(error.to_string()))?;
    let Span { start, end } = document.suggested_window;
    let time = |text: &str| {
        text.parse::<Timestamp>()
            .map_err(|error| garbled(error.to_string()))
    };
    let window = Window::new(time(&start)?, time(&end)?)
        .ok_or_else(|| garbled(format!("the window from {start} to {end} has no length")))?;
    // It is shown to people: a page of the web, and nothing that could break a line.
    let presentable = |url: &String| {
        url.len() <= EXPLANATION_MAX
            && (url.starts_with("https://") || url.starts_with("http://"))
            && !url.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    Ok(RenewalInfo {
        window,
        explanation: document.explanation.filter(presentable),
        retry_after: answer.retry_after,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(body: &str) -> Answer {
        Answer {
            url: "https://ca.test/ari/a.b".to_owned(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            retry_after: Some(Duration::from_secs(21_600)),
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn p21_a_window_comes_with_its_reason_and_wait() {
        let body = r#"{"suggestedWindow":{"start":"2026-01-02T04:00:00Z","end":"2026-01-03T04:00:00+01:00"},
            "explanationURL":"https://ca.test/why"}"#;
        let info = read(&answer(body)).unwrap();
        assert_eq!(info.window.start().to_string(), "2026-01-02T04:00:00Z");
        assert_eq!(info.window.end().to_string(), "2026-01-03T03:00:00Z");
        assert_eq!(info.explanation.as_deref(), Some("https://ca.test/why"));
        assert_eq!(info.retry_after, Some(Duration::from_secs(21_600)));
    }

    #[test]
    fn p21_what_is_no_window_is_no_answer() {
        for wrong in [
            "",
            "{}",
            "<html>",
            r#"{"suggestedWindow":{"start":"soon","end":"later"}}"#,
            r#"{"suggestedWindow":{"start":"2026-01-02T04:00:00Z","end":"2026-01-02T04:00:00Z"}}"#,
            r#"{"suggestedWindow":{"start":"2026-01-02T04:00:00Z","end":"2026-01-01T04:00:00Z"}}"#,
        ] {
            assert!(
                matches!(read(&answer(wrong)), Err(CaError::Garbled { .. })),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_reason_that_is_no_page_is_left_out() {
        for url in [
            "javascript:x",
            "https://ca.test/a\\nb",
            &format!("https://{}", "x".repeat(400)),
        ] {
            let body = format!(
                r#"{{"suggestedWindow":{{"start":"2026-01-02T04:00:00Z","end":"2026-01-03T04:00:00Z"}},"explanationURL":"{url}"}}"#
            );
            assert_eq!(read(&answer(&body)).unwrap().explanation, None, "{url}");
        }
    }
}

//! What went wrong at the CA, in the terms of the contract: RFC 8555 §6.7 problems, unusable answers, silence.
//!
//! Owns the cleaning of the CA's words: nothing secret and nothing endless gets past here. Must not decide what is
//! done about a fault; that is `faythe_core::problem`'s.

use std::fmt::Write;
use std::time::Duration;

use faythe_core::budget::Endpoint;
use faythe_core::problem::{Exchange, Problem, ProblemKind, gravest};
use http::StatusCode;
use serde::Deserialize;

use super::CaError;
use super::http::{Answer, Cause, Failure};

/// The longest text of the CA that is passed on, in bytes: it has to fit into an Event (1,024) with our words around.
const DETAIL_MAX: usize = 800;

/// What was asked of the CA, which tells what a 404 means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// The URL of an order or of a part of it; it can be gone.
    Object(&'a str),
    /// One of the directory's URLs, or the directory itself; of this kind.
    Service(Endpoint, &'a str),
}

impl<'a> Asked<'a> {
    /// The URL, whichever it is.
    pub(super) fn url(self) -> &'a str {
        let (Self::Object(url) | Self::Service(_, url)) = self;
        url
    }

    /// What a refusal is then about.
    fn exchange(self) -> Exchange {
        match self {
            Self::Object(_) => Exchange::Order,
            Self::Service(Endpoint::NewAccount, _) => Exchange::NewAccount,
            Self::Service(_, _) => Exchange::NewOrder,
        }
    }

    /// Whether the same is asked for all names.
    fn is_of_all(self) -> bool {
        matches!(self, Self::Service(Endpoint::Directory | Endpoint::NewNonce, _))
    }

    /// The kind of address, which has a pace of its own.
    pub(super) fn endpoint(self) -> Endpoint {
        match self {
            Self::Object(_) => Endpoint::Other,
            Self::Service(endpoint, _) => endpoint,
        }
    }
}

/// Translates an exchange without a usable answer.
pub(super) fn silence(failure: Failure) -> CaError {
    let Failure { url, cause } = failure;
    match cause {
        Cause::NoUrl(_) | Cause::TooLong(_) => CaError::Garbled {
            url,
            what: cause.to_string(),
            retry_after: None,
            status: None,
        },
        Cause::NoLeave(_) => CaError::NoLeave,
        Cause::Broken(_) | Cause::Connection(_) | Cause::TimedOut(_) => CaError::Unreachable {
            url,
            source: Box::new(cause),
        },
    }
}

/// Translates an answer that is not a success (RFC 8555 §6.7).
pub(super) fn refusal(answer: &Answer, asked: Asked<'_>) -> CaError {
    let retry_after = answer.retry_after;
    if answer.status == StatusCode::NOT_FOUND && matches!(asked, Asked::Object(_)) {
        return CaError::Gone {
            url: answer.url.clone(),
        };
    }
    let status = answer.status;
    match serde_json::from_slice::<Document>(&answer.body) {
        // No name can be refused here: it is the CA that does not work.
        Ok(document) if document.says_something() && asked.is_of_all() => CaError::Garbled {
            url: answer.url.clone(),
            what: format!("HTTP {status}: {}", document.problem().detail),
            retry_after,
            status: Some(status.as_u16()),
        },
        Ok(document) if document.says_something() => {
            let frame = Frame {
                status: Some(status.as_u16()),
                retry_after,
                during: asked.exchange(),
            };
            CaError::Refused(document.problem_in(frame))
        }
        Ok(_) | Err(_) => CaError::Garbled {
            url: answer.url.clone(),
            what: format!("HTTP {status} without a problem document"),
            retry_after,
            status: Some(status.as_u16()),
        },
    }
}

/// Whether a request was refused for its nonce alone (RFC 8555 §6.5).
pub(super) fn is_bad_nonce(answer: &Answer) -> bool {
    answer.status.is_client_error()
        && serde_json::from_slice::<Document>(&answer.body)
            .is_ok_and(|document| document.kind() == ProblemKind::BadNonce)
}

/// A problem document (RFC 7807), in an answer of its own or inside an order or a challenge. It is read leniently: what a
/// refusal looks like must not keep us from seeing that it is one.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Document {
    #[serde(rename = "type")]
    urn: Option<String>,
    detail: Option<String>,
    /// Where a person has to go (RFC 8555 §6.7, `userActionRequired`).
    instance: Option<String>,
    #[serde(default, deserialize_with = "or_none")]
    subproblems: Vec<Subproblem>,
}

/// What tells about a problem besides its document, and holds for its subproblems too.
#[derive(Clone, Copy, Debug)]
struct Frame {
    status: Option<u16>,
    retry_after: Option<Duration>,
    during: Exchange,
}

impl Frame {
    fn problem(self, kind: ProblemKind, detail: String) -> Problem {
        Problem {
            status: self.status,
            kind,
            detail,
            retry_after: self.retry_after,
        }
    }
}

/// What is wrong with one identifier (RFC 8555 §6.7.1).
#[derive(Clone, Debug, Deserialize)]
struct Subproblem {
    #[serde(rename = "type")]
    urn: Option<String>,
    detail: Option<String>,
}

impl Subproblem {
    fn kind(&self) -> ProblemKind {
        kind(self.urn.as_deref())
    }
}

/// Reads what some CAs write as `null` where there is nothing.
pub(super) fn or_none<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Document {
    /// Whether it is a problem document at all.
    fn says_something(&self) -> bool {
        self.urn.is_some() || self.detail.is_some()
    }

    fn kind(&self) -> ProblemKind {
        kind(self.urn.as_deref())
    }

    /// Reduces what stands in an order or a challenge.
    pub(super) fn problem(&self) -> Problem {
        self.problem_in(Frame {
            status: None,
            retry_after: None,
            during: Exchange::Validation,
        })
    }

    /// Reduces it. An order has one identifier, so a subproblem says what the whole order suffers from, and says it
    /// better where the document as such says little: of those of a type that we know, the gravest.
    fn problem_in(&self, frame: Frame) -> Problem {
        let mut kind = self.kind();
        let mut detail = tidy(self.detail.as_deref().unwrap_or_default());
        let mut parts = self.subproblems.iter().map(|sub| {
            let words = tidy(sub.detail.as_deref().unwrap_or_default());
            frame.problem(sub.kind(), words)
        });
        let known = parts.clone().filter(|part| part.kind != ProblemKind::Unknown);
        let vague = matches!(
            kind,
            ProblemKind::Compound | ProblemKind::Malformed | ProblemKind::Unknown
        );
        match gravest(known, frame.during) {
            Some(part) if vague => {
                kind = part.kind;
                if !part.detail.is_empty() {
                    detail = part.detail;
                }
            }
            part if detail.is_empty() => {
                detail = part.or_else(|| parts.next()).map_or(detail, |part| part.detail);
            }
            Some(_) | None => {}
        }
        if kind == ProblemKind::UserActionRequired
            && let Some(instance) = &self.instance
        {
            let _ = write!(detail, " (visit {})", tidy(instance));
        }
        // A type that we do not know is worth being read by a person.
        if kind == ProblemKind::Unknown
            && let Some(urn) = self
                .urn
                .as_deref()
                .filter(|urn| !urn.is_empty() && *urn != "about:blank")
        {
            let _ = write!(
                detail,
                "{}({})",
                if detail.is_empty() { "" } else { " " },
                tidy(urn)
            );
        }
        frame.problem(kind, detail)
    }
}

fn kind(urn: Option<&str>) -> ProblemKind {
    urn.map_or(ProblemKind::Unknown, ProblemKind::from_urn)
}

/// Makes the CA's words fit to be shown: on one line, of bounded length, and without the token of an unpause link,
/// which lets whoever has it act for our account.
fn tidy(words: &str) -> String {
    let mut tidied = String::new();
    for word in words
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        let word = without_token(word);
        if tidied.len() + word.len() >= DETAIL_MAX {
            let room = DETAIL_MAX.saturating_sub(tidied.len() + 1);
            let end = word.floor_char_boundary(room);
            let _ = write!(
                tidied,
                "{}{}…",
                if tidied.is_empty() { "" } else { " " },
                &word[..end]
            );
            break;
        }
        if !tidied.is_empty() {
            tidied.push(' ');
        }
        tidied.push_str(word);
    }
    tidied
}

/// Cuts a link that carries a token down to the part before its query.
fn without_token(word: &str) -> &str {
    let Some(token) = word.to_ascii_lowercase().find("jwt=") else {
        return word;
    };
    let end = word.find('?').map_or(token, |query| query.min(token));
    &word[..end]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            url: "https://ca.test/order/1".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            retry_after: Some(Duration::from_secs(7)),
            body: Bytes::from(body.to_owned()),
        }
    }

    fn refused(status: u16, body: &str) -> Problem {
        let error = refusal(
            &answer(status, body),
            Asked::Service(Endpoint::Other, "https://ca.test/new-order"),
        );
        let CaError::Refused(problem) = error else {
            panic!("{error:?}")
        };
        problem
    }

    #[test]
    fn an_unpause_link_loses_its_token() {
        let words = "paused. Please visit: https://portal.test/sfe/v1/unpause?jwt=eyJhbGciOi.x.y and wait";
        assert_eq!(
            tidy(words),
            "paused. Please visit: https://portal.test/sfe/v1/unpause and wait"
        );
        assert_eq!(tidy("https://a.test/?b=c&JWT=secret"), "https://a.test/");
        assert_eq!(tidy("https://a.test/#jwt=secret?x"), "https://a.test/#");
        assert_eq!(tidy("jwt=secret"), "");
        assert_eq!(tidy("see https://a.test/?b=c"), "see https://a.test/?b=c");
    }

    #[test]
    fn words_are_one_line_of_bounded_length() {
        assert_eq!(tidy(" a\r\n\tb\u{1b}[31m "), "a b [31m");
        let long = tidy(&"é".repeat(100_000));
        assert!(
            long.len() <= DETAIL_MAX + "…".len() && long.ends_with("é…"),
            "{} bytes",
            long.len()
        );
        assert!(tidy(&"word ".repeat(100_000)).len() <= DETAIL_MAX + " …".len());
    }

    #[test]
    fn status_and_wait_come_from_the_answer_not_from_the_document() {
        let problem = refused(
            503,
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"busy","status":429}"#,
        );
        assert_eq!(problem.status, Some(503));
        assert_eq!(problem.kind, ProblemKind::RateLimited);
        assert_eq!(problem.retry_after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_subproblem_speaks_where_the_problem_is_vague() {
        let sub = r#"[{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"not this one","identifier":{"type":"x","value":"y"}}]"#;
        let vague = format!(
            r#"{{"type":"urn:ietf:params:acme:error:compound","detail":"several","subproblems":{sub}}}"#
        );
        assert_eq!(refused(400, &vague).kind, ProblemKind::RejectedIdentifier);
        assert_eq!(refused(400, &vague).detail, "not this one");
        let second = vague.replace("[{", r#"[{"type":"urn:ietf:params:acme:error:brandNew"},{"#);
        assert_eq!(refused(400, &second).kind, ProblemKind::RejectedIdentifier);
        let clear =
            format!(r#"{{"type":"urn:ietf:params:acme:error:caa","detail":"no","subproblems":{sub}}}"#);
        assert_eq!(refused(403, &clear).kind, ProblemKind::Caa);
        assert_eq!(refused(403, &clear).detail, "no");
    }

    #[test]
    fn p22_of_several_subproblems_the_gravest_is_obeyed_wherever_it_stands() {
        let several = |kinds: &[&str]| {
            let subs: Vec<_> = kinds
                .iter()
                .map(|kind| format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"of {kind}"}}"#))
                .collect();
            format!(
                r#"{{"type":"urn:ietf:params:acme:error:compound","detail":"several","subproblems":[{}]}}"#,
                subs.join(",")
            )
        };
        for (kinds, gravest) in [
            (["dns", "caa"], "caa"),
            (["serverInternal", "caa"], "caa"),
            (["orderNotReady", "dns"], "dns"),
            (["brandNew", "badCSR"], "badCSR"),
            // What keeps every order from being made keeps this one.
            (["rejectedIdentifier", "userActionRequired"], "userActionRequired"),
            // Of two that are equally grave, the first.
            (["rejectedIdentifier", "caa"], "rejectedIdentifier"),
        ] {
            let [first, second] = kinds;
            for kinds in [[first, second], [second, first]] {
                let refused = refused(400, &several(&kinds));
                let equal = gravest == "rejectedIdentifier" && kinds[0] == "caa";
                let expected = if equal { "caa" } else { gravest };
                assert_eq!(refused.kind.as_str(), expected, "for {kinds:?}");
                assert_eq!(refused.detail, format!("of {expected}"));
            }
        }
        let inside: Document = serde_json::from_str(&several(&["dns", "caa"])).unwrap();
        assert_eq!(inside.problem().kind, ProblemKind::Caa);
    }

    #[test]
    fn p22_who_has_to_act_hears_where() {
        let problem = refused(
            403,
            r#"{"type":"urn:ietf:params:acme:error:userActionRequired","detail":"new terms","instance":"https://ca.test/terms"}"#,
        );
        assert_eq!(problem.detail, "new terms (visit https://ca.test/terms)");
    }

    #[test]
    fn a_type_unknown_to_us_is_shown() {
        let problem = refused(
            400,
            r#"{"type":"urn:ietf:params:acme:error:brandNew","detail":"hm"}"#,
        );
        assert_eq!(problem.kind, ProblemKind::Unknown);
        assert_eq!(problem.detail, "hm (urn:ietf:params:acme:error:brandNew)");
    }

    #[test]
    fn only_objects_can_be_gone() {
        let not_found = answer(404, r#"{"type":"urn:ietf:params:acme:error:malformed"}"#);
        let object = Asked::Object("https://ca.test/order/1");
        assert!(matches!(refusal(&not_found, object), CaError::Gone { .. }));
        assert!(matches!(
            refusal(&not_found, Asked::Service(Endpoint::Other, "https://ca.test/x")),
            CaError::Refused(_)
        ));
    }

    #[test]
    fn an_error_page_is_garbled_and_keeps_its_wait() {
        for body in ["<html>busy</html>", "", "[]", r#"{"message":"busy"}"#] {
            let error = refusal(
                &answer(503, body),
                Asked::Service(Endpoint::Other, "https://ca.test/x"),
            );
            let CaError::Garbled {
                what, retry_after, ..
            } = error
            else {
                panic!("{body:?} gave {error:?}")
            };
            assert_eq!(what, "HTTP 503 Service Unavailable without a problem document");
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
    }

    proptest! {
        #[test]
        fn no_words_of_the_ca_break_it(words in "\\PC{0,60}(jwt=|JWT=|\\?|https://)?\\PC{0,60}", body: Vec<u8>) {
            prop_assert!(!tidy(&words).to_lowercase().contains("jwt="));
            let answer = Answer { body: Bytes::from(body), ..answer(400, "") };
            let _ = refusal(&answer, Asked::Service(Endpoint::Other, ""));
        }
    }
}

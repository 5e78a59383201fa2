//! The chains that a CA offers for one certificate (RFC 8555 §7.4.2), and which of them is wanted.
//!
//! What is sent first is taken unless the operator prefers another; the others are asked for only then.

use faythe_core::budget::Endpoint;
use http::header::LINK;

use super::CaError;
use super::account::Account;
use super::exchange::Exchange;
use super::http::Answer;
use super::problem::Asked;
use crate::x509;

/// What every certificate begins with (RFC 7468 §2), and no outage page.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// The most alternatives that are looked at; Let's Encrypt offers three at most (2026-07).
const ALTERNATES_MAX: usize = 8;

/// Downloads the chain at `url`, leaf first: the one in which `preferred` is the common name of a root or another issuer,
/// or the CA's own choice.
pub(super) async fn fetch(
    exchange: &Exchange,
    account: &Account,
    url: &str,
    preferred: Option<&str>,
) -> Result<String, CaError> {
    let answer = exchange.read(account, Asked::Object(url)).await?;
    let first = read(&answer)?;
    let Some(preferred) = preferred.filter(|name| !leads_to(&first, name)) else {
        return Ok(first);
    };
    for url in alternates(&answer).into_iter().take(ALTERNATES_MAX) {
        let other = exchange
            .read(account, Asked::Service(Endpoint::Other, &url))
            .await;
        match other.and_then(|answer| read(&answer)) {
            Ok(chain) if leads_to(&chain, preferred) => return Ok(chain),
            Ok(_) => {}
            // The certificate is there; a chain that cannot be had is no reason to go without.
            Err(error) => tracing::debug!(url, %error, "an alternate chain cannot be read"),
        }
    }
    tracing::warn!(
        preferred,
        "the CA offers no chain with the preferred issuer; its own choice is taken"
    );
    Ok(first)
}

pub(super) fn read(answer: &Answer) -> Result<String, CaError> {
    let garbled = |what: &str| CaError::Garbled {
        url: answer.url.clone(),
        what: what.to_owned(),
        retry_after: answer.retry_after,
        status: None,
    };
    let chain = str::from_utf8(&answer.body).map_err(|_| garbled("it is not text"))?;
    if chain.contains(CERTIFICATE) {
        Ok(chain.to_owned())
    } else {
        Err(garbled("there is no certificate in it"))
    }
}

/// Whether one of its certificates has an issuer of this common name.
fn leads_to(chain: &str, name: &str) -> bool {
    x509::issuers(chain).iter().any(|issuer| issuer == name)
}

/// The URLs of `Link: <url>;rel="alternate"` (RFC 8288 §3).
pub(super) fn alternates(answer: &Answer) -> Vec<String> {
    let mut urls = Vec::new();
    for header in answer.headers.get_all(LINK) {
        let mut rest = header.to_str().unwrap_or_default();
        // Links of one header are parted by commas, which URLs may have inside.
        while let Some((_, after)) = rest.split_once('<') {
            let Some((url, parameters)) = after.split_once('>') else {
                break;
            };
            let (own, next) = parameters.split_once(",").unwrap_or((parameters, ""));
            let is_alternate = own.split(';').any(|parameter| {
                parameter.trim().split_once('=').is_some_and(|(name, value)| {
                    name.trim().eq_ignore_ascii_case("rel")
                        && value
                            .trim()
                            .trim_matches('"')
                            .split_whitespace()
                            .any(|relation| relation.eq_ignore_ascii_case("alternate"))
                })
            });
            if is_alternate {
                urls.push(url.to_owned());
            }
            rest = next;
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn alternates_in(links: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for link in links {
            headers.append(LINK, link.parse().unwrap());
        }
        alternates(&Answer {
            url: String::new(),
            status: StatusCode::OK,
            headers,
            retry_after: None,
            body: Bytes::new(),
        })
    }

    #[test]
    fn alternates_are_found_among_other_links() {
        let found = alternates_in(&[
            r#"<https://ca.test/dir>;rel="index""#,
            r#"<https://ca.test/c/1?a,b>; rel="alternate", <https://ca.test/c/2>;title=x;REL=alternate"#,
            r#"<https://ca.test/up>;rel="up start", <https://ca.test/c/3>; rel="up alternate""#,
        ]);
        assert_eq!(
            found,
            [
                "https://ca.test/c/1?a,b",
                "https://ca.test/c/2",
                "https://ca.test/c/3"
            ]
        );
        for odd in ["", "<", "<a", ">", "<>", "rel=alternate", "<a>;rel"] {
            assert_eq!(alternates_in(&[odd]), [""; 0], "for {odd:?}");
        }
    }
}

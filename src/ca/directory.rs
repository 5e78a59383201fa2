//! A CA's directory: where its services are, and what it says about itself (RFC 8555 §7.1.1).
//!
//! It is read when it is first needed, again after a day, and whenever something that should be in it is missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::budget::Endpoint;
use faythe_core::problem::{Problem, ProblemKind};
use serde::Deserialize;

use super::CaError;
use super::http::{Answer, Http};
use super::problem::{Asked, or_none, refusal, silence};
use super::shared::Shared;

/// How long a directory is believed: URLs and profiles may change while we run.
const AGE: Duration = Duration::from_secs(24 * 3600);
/// How old it must be to be read again because something is missing in it.
const AGE_IN_DOUBT: Duration = Duration::from_secs(60);

/// A directory.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    pub(super) revoke_cert: Option<String>,
    pub(super) key_change: Option<String>,
    /// Where ARI is asked (RFC 9773 §4.1).
    pub(super) renewal_info: Option<String>,
    #[serde(default, deserialize_with = "or_none")]
    pub(super) meta: Meta,
}

/// What a CA says about itself (RFC 8555 §9.7.6).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    /// Where the terms are that whoever makes an account agrees to.
    pub(super) terms_of_service: Option<String>,
    /// The names by which CAA records allow the CA (RFC 8659 §4.2).
    #[serde(default, deserialize_with = "or_none")]
    pub(super) caa_identities: Vec<String>,
    /// Whether a new account needs a binding (RFC 8555 §7.3.4).
    #[serde(default, deserialize_with = "or_none")]
    pub(super) external_account_required: bool,
    /// The profiles on offer (draft-ietf-acme-profiles).
    #[serde(default, deserialize_with = "or_none")]
    profiles: BTreeMap<String, serde_json::Value>,
}

/// The directory of one CA, as it was read last.
pub(super) struct Directories {
    http: Http,
    url: String,
    known: Shared<Known>,
    /// The last one; an old directory is better than none.
    last: Mutex<Option<Arc<Directory>>>,
}

struct Known {
    directory: Arc<Directory>,
    since: Timestamp,
}

impl Directories {
    pub(super) fn new(http: Http, url: String) -> Self {
        Self {
            http,
            url,
            known: Shared::default(),
            last: Mutex::default(),
        }
    }

    /// The directory's own URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The directory.
    pub(super) async fn current(&self) -> Result<Arc<Directory>, CaError> {
        self.at_most(AGE).await
    }

    /// The directory in which something is missing, read again unless that has just been done.
    pub(super) async fn in_doubt(&self) -> Result<Arc<Directory>, CaError> {
        self.at_most(AGE_IN_DOUBT).await
    }

    /// Asks for the directory, whatever is known.
    pub(super) async fn ask(&self) -> Result<Directory, CaError> {
        let asked = Asked::Service(Endpoint::Directory, &self.url);
        let answer = self.http.get(asked).await.map_err(silence)?;
        if !answer.status.is_success() {
            return Err(refusal(&answer, asked));
        }
        Directory::read(&answer)
    }

    async fn at_most(&self, age: Duration) -> Result<Arc<Directory>, CaError> {
        let good = |known: &Known| self.http.now().duration_since(known.since).unsigned_abs() < age;
        let known = self.known.get(good, self.read()).await?;
        Ok(Arc::clone(&known.directory))
    }

    async fn read(&self) -> Result<Known, CaError> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = match self.ask().await {
            Ok(directory) => Arc::new(directory),
            Err(error) => {
                let Some(old) = last().clone() else {
                    return Err(error);
                };
                tracing::debug!(%error, "the CA's directory cannot be read again");
                old
            }
        };
        *last() = Some(Arc::clone(&directory));
        Ok(Known {
            directory,
            since: self.http.now(),
        })
    }
}

impl Directory {
    /// Reads an answer as a directory.
    fn read(answer: &Answer) -> Result<Self, CaError> {
        let garbled = |what: String| CaError::Garbled {
            url: answer.url.clone(),
            what: format!("it is not an ACME directory: {what}"),
            retry_after: answer.retry_after,
            status: None,
        };
        let directory: Self =
            serde_json::from_slice(&answer.body).map_err(|error| garbled(error.to_string()))?;
        for url in [&directory.new_nonce, &directory.new_account, &directory.new_order] {
            let host = url.parse::<http::Uri>().ok();
            if host.and_then(|url| url.host().map(str::is_empty)) != Some(false) {
                return Err(garbled(format!("{url:?} in it is not an absolute URL")));
            }
        }
        Ok(directory)
    }

    /// Whether a profile is on offer.
    pub(super) fn has_profile(&self, name: &str) -> bool {
        self.meta.profiles.contains_key(name)
    }

    /// The refusal of a profile that is not on offer, in the words that the CA would have for it.
    pub(super) fn without_profile(&self, name: &str) -> CaError {
        let names: Vec<_> = self.meta.profiles.keys().map(String::as_str).collect();
        let offered = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        CaError::Refused(Problem {
            status: None,
            kind: ProblemKind::InvalidProfile,
            detail: format!("there is no profile {name:?}; the CA offers {offered}"),
            retry_after: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn read(nonce: &str) -> Result<Directory, CaError> {
        Directory::read(&Answer {
            url: "https://ca.test/dir".to_owned(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            retry_after: None,
            body: Bytes::from(format!(
                r#"{{"newNonce":{nonce:?},"newAccount":"https://ca.test/a","newOrder":"https://ca.test/o",
                    "meta":{{"profiles":{{"x":"y"}},"caaIdentities":["ca.test"],"externalAccountRequired":true,
                    "termsOfService":"https://ca.test/terms","website":"https://ca.test"}}}}"#
            )),
        })
    }

    #[test]
    fn a_directory_needs_absolute_urls() {
        assert!(read("https://ca.test/nonce").is_ok());
        for wrong in ["", "/nonce", "https://", "a b", "\u{7f}"] {
            assert!(read(wrong).is_err(), "for {wrong:?}");
        }
    }

    #[test]
    fn a_directory_says_what_the_ca_is_like() {
        let directory = read("https://ca.test/nonce").unwrap();
        assert!(directory.has_profile("x") && !directory.has_profile("y"));
        let Directory { meta, .. } = directory;
        assert_eq!(meta.caa_identities, ["ca.test"]);
        assert!(meta.external_account_required);
        assert_eq!(meta.terms_of_service.as_deref(), Some("https://ca.test/terms"));
    }
}

//! Errors of the API server in the store's terms.

use std::fmt;

use super::StoreError;
use crate::cluster::{Fault, words};

/// The Secret that was asked for, as errors name it.
pub(super) struct Named<'a> {
    pub(super) namespace: &'a str,
    /// `None` for all of them.
    pub(super) name: Option<&'a str>,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "Secret {}/{name}", self.namespace),
            None => write!(f, "Secrets in {}", self.namespace),
        }
    }
}

impl Named<'_> {
    pub(super) fn conflict(&self) -> StoreError {
        StoreError::Conflict {
            object: self.to_string(),
        }
    }

    pub(super) fn unreadable(&self, what: impl Into<String>) -> StoreError {
        StoreError::Unreadable {
            object: self.to_string(),
            what: what.into(),
        }
    }

    /// `verb` is RBAC's word for what was tried.
    pub(super) fn failed(&self, verb: &'static str, error: kube::Error) -> StoreError {
        let object = self.to_string();
        match Fault::of(&error) {
            Fault::Conflict | Fault::Exists => StoreError::Conflict { object },
            // What was to be changed has been deleted; only to a creation it means that the namespace is not there.
            Fault::Missing if verb != "create" => StoreError::Conflict { object },
            Fault::Forbidden => StoreError::Forbidden { object, verb },
            Fault::Missing => StoreError::Refused {
                object,
                reason: words(&error),
            },
            Fault::Refused(reason) => StoreError::Refused { object, reason },
            Fault::Gone => StoreError::Unavailable {
                object,
                retry_after: None,
                source: words(&error).into(),
            },
            Fault::TooMany(retry_after) | Fault::Unavailable(retry_after) => StoreError::Unavailable {
                object,
                retry_after,
                source: words(&error).into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::error::Error;

    use super::*;

    #[test]
    fn what_an_answer_holds_that_cannot_be_read_is_not_told() {
        // The parser says what it stumbled upon.
        let parsed = serde_json::from_str::<BTreeMap<String, String>>(r#""PEM""#);
        let error = kube::Error::SerdeError(parsed.unwrap_err());
        let named = Named {
            namespace: "n",
            name: Some("a"),
        };
        let failed = named.failed("get", error);
        let mut told = failed.to_string();
        told += &failed.source().unwrap().to_string();
        assert!(told.contains("cannot be read") && !told.contains("PEM"), "{told}");
    }
}

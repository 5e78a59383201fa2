//! Something that is got from the CA when it is first wanted, and shared from then on.
//!
//! Whoever asks while somebody else is getting it waits for the outcome and shares that too, failure included: a CA that is
//! down costs all of them together one time-out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::CaError;

/// One value, and how the last attempt to get it has failed.
pub(super) struct Shared<T> {
    state: Mutex<State<T>>,
    /// How many attempts have failed.
    failures: AtomicU64,
}

struct State<T> {
    value: Option<Arc<T>>,
    failure: Option<Arc<CaError>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                value: None,
                failure: None,
            }),
            failures: AtomicU64::new(0),
        }
    }
}

impl<T> Shared<T> {
    /// The value if it is `good`, else what `get` brings; `get` does not begin before it is needed.
    pub(super) async fn get(
        &self,
        good: impl Fn(&T) -> bool,
        get: impl Future<Output = Result<T, CaError>>,
    ) -> Result<Arc<T>, CaError> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(value) = state.value.as_ref().filter(|value| good(value)) {
            return Ok(Arc::clone(value));
        }
        if self.failures.load(Ordering::Acquire) != failures
            && let Some(failure) = &state.failure
        {
            return Err(once_more(failure));
        }
        match get.await {
            Ok(value) => {
                let value = Arc::new(value);
                *state = State {
                    value: Some(Arc::clone(&value)),
                    failure: None,
                };
                Ok(value)
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                self.failures.fetch_add(1, Ordering::Release);
                state.failure = Some(Arc::clone(&failure));
                Err(once_more(&failure))
            }
        }
    }

    /// The value, if there is one and nobody is getting another.
    pub(super) fn at_hand(&self) -> Option<Arc<T>> {
        self.state.try_lock().ok()?.value.clone()
    }

    /// The value, if somebody has got it already.
    pub(super) async fn known(&self) -> Option<Arc<T>> {
        self.state.lock().await.value.clone()
    }

    /// Lets go of what is shared, whatever it is.
    pub(super) async fn clear(&self) {
        self.state.lock().await.value = None;
    }

    /// Lets go of `value`, if it is still the one that is shared. Of many who find it of no use, the first hears `true`.
    pub(super) async fn forget(&self, value: &Arc<T>) -> bool {
        let mut state = self.state.lock().await;
        let current = state
            .value
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, value));
        if current {
            state.value = None;
        }
        current
    }
}

/// The same error once more, for somebody else who waited for the same thing.
fn once_more(error: &Arc<CaError>) -> CaError {
    match &**error {
        CaError::Account(_) => CaError::Account(Box::new(Common(Arc::clone(error)))),
        CaError::Garbled {
            url,
            what,
            retry_after,
            status,
        } => CaError::Garbled {
            url: url.clone(),
            what: what.clone(),
            retry_after: *retry_after,
            status: *status,
        },
        CaError::Gone { url } => CaError::Gone { url: url.clone() },
        CaError::Irreplaceable(problem) => CaError::Irreplaceable(problem.clone()),
        CaError::Moved(source) => CaError::Moved(Arc::clone(source)),
        CaError::NoLeave => CaError::NoLeave,
        CaError::Unread { url, expires, source } => CaError::Unread {
            url: url.clone(),
            expires: *expires,
            source: Arc::clone(source),
        },
        CaError::Unregistered(problem) => CaError::Unregistered(problem.clone()),
        CaError::Refused(problem) => CaError::Refused(problem.clone()),
        CaError::Unreachable { url, .. } => CaError::Unreachable {
            url: url.clone(),
            source: Box::new(Common(Arc::clone(error))),
        },
    }
}

/// The cause of an error that several share.
#[derive(Debug)]
struct Common(Arc<CaError>);

impl Common {
    fn cause(&self) -> &(dyn std::error::Error + 'static) {
        std::error::Error::source(&*self.0).unwrap_or(&*self.0)
    }
}

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.cause(), f)
    }
}

impl std::error::Error for Common {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().source()
    }
}

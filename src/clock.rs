//! The only reader of time.

use std::sync::Arc;

use faythe_core::Timestamp;

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

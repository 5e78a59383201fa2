//! Waiting for something to become true, with an end and a message.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// How long between two looks: well below what a person or a figure in a test would notice.
const INTERVAL: Duration = Duration::from_millis(5);

/// Looks until `condition` gives a value, at most `within`, and returns that value.
///
/// `Ok(None)` means not yet. An error means not yet either, as servers come and go; the last one is
/// part of the message if the time runs out.
///
/// ```no_run
/// # async fn test(bed: faythe_bed::Bed) -> anyhow::Result<()> {
/// # use std::time::Duration;
/// faythe_bed::until(Duration::from_secs(5), "no TXT is left", async || {
///     Ok(bed.bind.all_txt(&bed.zone).await?.is_empty().then_some(()))
/// })
/// .await?;
/// # Ok(()) }
/// ```
pub async fn until<T>(
    within: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = tokio::time::Instant::from_std(Instant::now() + within);
    let mut last = None;
    let found = tokio::time::timeout_at(end, async {
        loop {
            match condition().await {
                Ok(Some(value)) => return value,
                Ok(None) => last = None,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
    .await;
    match (found, last) {
        (Ok(value), _) => Ok(value),
        (Err(_), None) => Err(anyhow!("not within {within:?}: {what}")),
        (Err(_), Some(error)) => Err(error).with_context(|| format!("not within {within:?}: {what}")),
    }
}

//! Room for orders that the CA has made and no note tells of: each is lost to a process that dies at that moment.
//!
//! A place is kept for as long as that is so, even while the order rests because its note cannot be saved. So an API
//! server that is away, or a quota that lets no note in, leaves two orders without a note, and not one for each host.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How many orders may be without a note at a time. Each of them is lost to a process that dies at that moment, and its
/// certificate costs another order. One at a time would halve the pace of a thousand; two cost nothing of it.
pub const UNNOTED_AT_ONCE: usize = 2;

/// The room there is.
pub struct Room {
    free: Arc<Semaphore>,
    /// How many places are taken by orders that rest.
    resting: watch::Sender<usize>,
}

/// A place in it; free again when dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    resting: watch::Sender<usize>,
    rests: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(UNNOTED_AT_ONCE)),
            resting: watch::Sender::new(0),
        }
    }
}

impl Room {
    /// Waits for a place; `None` when all of them are taken by orders that rest, for which nobody can wait.
    pub(super) async fn take(&self) -> Option<Place> {
        let mut resting = self.resting.subscribe();
        tokio::select! {
            biased;
            permit = Arc::clone(&self.free).acquire_owned() => Some(Place {
                _permit: permit.ok()?,
                resting: self.resting.clone(),
                rests: false,
            }),
            _ = resting.wait_for(|resting| *resting >= UNNOTED_AT_ONCE) => None,
        }
    }
}

impl Place {
    /// Whether its order rests.
    pub(super) fn set_resting(&mut self, rests: bool) {
        if self.rests != rests {
            self.rests = rests;
            self.resting
                .send_modify(|resting| *resting = if rests { *resting + 1 } else { *resting - 1 });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.set_resting(false);
    }
}

//! The CAs that orders go to.

use std::sync::Arc;

use faythe_core::Timestamp;
use faythe_core::budget::Limits;
use faythe_core::cas::CaId;
use jiff::SignedDuration;

use super::Outside;
use crate::ca::Ca;
use crate::lease::Fenced;

/// A CA.
pub struct Desk {
    /// The CA and our account there.
    pub ca: Fenced<Arc<dyn Ca>>,
    /// What it allows, as far as we use it.
    pub limits: Limits,
}

impl Outside {
    /// One of the CAs.
    #[must_use]
    pub fn desk(&self, ca: CaId) -> &Desk {
        // There is one at least, and as many as `cas` has.
        &self.desks[ca.place().min(self.desks.len() - 1)]
    }

    /// How far our clock, which says `now`, is ahead of the API server's, as far as that has told.
    #[must_use]
    pub fn clock_ahead(&self, now: Timestamp) -> SignedDuration {
        self.witness.ahead(now).unwrap_or_default()
    }

    /// What a CA is called, where there are several.
    #[must_use]
    pub fn name_of(&self, ca: CaId) -> Option<&str> {
        let several = self.cas.count() > 1;
        self.cas.get(ca).filter(|_| several).map(|ca| ca.name.as_str())
    }
}

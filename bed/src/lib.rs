//! The bed.

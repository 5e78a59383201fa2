//! An entry for fuzz tests of what stands in Secrets of ours; see `crate::fuzzing`.

use k8s_openapi::api::core::v1::Secret;

use super::notes;

/// A note as the API server hands it out: a Secret in JSON. One that can be read can be written and read again.
pub fn note(bytes: &[u8]) {
    if let Ok(secret) = serde_json::from_slice::<Secret>(bytes) {
        notes::try_note(&secret);
    }
}

//! The contract with sources: a stream of what objects literally say.
//!
//! Which certificates that means is decided in `faythe_core::want`, and nothing here anticipates it.

use faythe_core::want::Asker;

pub mod ingress;

/// What a source has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// These are all that ask, in the order in which they came to; whatever else was known is gone.
    All(Vec<(Asker, Vec<String>)>),
    /// One is new or says something else now.
    Changed {
        /// Who asks.
        asker: Asker,
        /// Every host as written, each once, in order of the alphabet.
        hosts: Vec<String>,
    },
    /// One asks no more.
    Gone {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
}

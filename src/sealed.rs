//! Key material at rest in memory: hidden from `Debug`, wiped when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that must not be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Zeroizing<Vec<u8>>);

impl Sealed {
    /// Takes charge of `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Shows the bytes to the one place that needs them.
    #[must_use]
    pub fn open(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Sealed {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let sealed = Sealed::from("hunter2".to_owned());
        assert_eq!(format!("{sealed:?}"), "Sealed(..)");
        assert_eq!(sealed.open(), b"hunter2");
    }
}

//! What the CAs have said about certificates whose names nobody asks for any more, or in whose place another one is: kept until
//! they may be asked again, for whoever asks for such a name meanwhile or puts the certificate back from a backup. A tenant
//! that makes and deletes the same Ingress in a loop costs no questions before their time (P18, P19, RFC 9773 §4.3.2).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::ari::Window;

/// What was said of certificates, each named by [`crate::renewal::key`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    said: BTreeMap<u64, Said>,
    /// When each is of no use any more.
    ends: BTreeSet<(Timestamp, u64)>,
}

/// What a CA has said about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) window: Window,
    /// Whether it moved the window into the past.
    pub(super) moved: bool,
    /// When it is asked again.
    pub(super) next: Timestamp,
}

impl Left {
    /// Keeps it until the CA is asked again.
    pub(super) fn keep(&mut self, of: u64, said: Said) {
        if let Some(before) = self.said.insert(of, said) {
            self.ends.remove(&(before.next, of));
        }
        self.ends.insert((said.next, of));
    }

    /// What was said of a certificate, if the CA is not to be asked about it yet; what is of no use any more is forgotten.
    pub(super) fn take(&mut self, of: u64, now: Timestamp) -> Option<Said> {
        while let Some((end, over)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.ends.remove(&(end, over));
            self.said.remove(&over);
        }
        let said = self.said.remove(&of)?;
        self.ends.remove(&(said.next, of));
        Some(said)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::schedule::ahead;

    #[test]
    fn p18_a_window_is_kept_until_the_ca_may_be_asked_again() {
        let at = |secs| ahead(Timestamp::UNIX_EPOCH, SignedDuration::from_secs(secs));
        let said = |secs| Said {
            window: Window::new(at(100), at(200)).unwrap(),
            moved: false,
            next: at(secs),
        };
        let mut left = Left::default();
        left.keep(1, said(10));
        left.keep(2, said(20));
        left.keep(2, said(30));
        assert_eq!(left.take(2, at(25)), Some(said(30)));
        assert_eq!(left.take(2, at(25)), None, "it is at its place again");
        assert_eq!(left.take(1, at(25)), None, "its time is over");
        assert_eq!(left, Left::default(), "nothing is kept for ever");
    }
}

//! What is done to a message, and who decides it.

use std::fmt;
use std::time::Duration;

use super::{Opcode, Transport, message};
use crate::dice::Dice;

/// What is done to a request, or to the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The answer's signature is spoilt.
    BadlySigned,
    /// The connection ends as soon as the request was there, and the server does not get it; a datagram is lost.
    Close,
    /// The answer ends in the middle, and the connection with it.
    Cut,
    /// The answer comes so much later.
    Delay(Duration),
    /// The server does not get the request.
    Drop,
    /// The server does as asked, but the answer is lost.
    DropAnswer,
    /// The server gets the request twice, and the client both answers.
    Duplicate,
    /// The answer has this response code, whatever the server meant.
    Rcode(u8),
    /// The answer comes after that to the next request.
    Reorder,
    /// The answer comes one octet at a time; a datagram comes whole.
    Trickle,
    /// The answer says that it is cut off (TC), and is empty.
    Truncate,
    /// The answer's signature is gone.
    Unsigned,
    /// The answer has the ID of another.
    WrongId,
}

impl Fault {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::BadlySigned => "badly signed",
            Self::Close => "closed",
            Self::Cut => "cut",
            Self::Delay(_) => "delayed",
            Self::Drop => "dropped",
            Self::DropAnswer => "answer dropped",
            Self::Duplicate => "duplicated",
            Self::Rcode(_) => "rcode",
            Self::Reorder => "reordered",
            Self::Trickle => "trickled",
            Self::Truncate => "truncated",
            Self::Unsigned => "unsigned",
            Self::WrongId => "wrong id",
        }
    }
}

/// The function behind a rule.
type Decide = Box<dyn FnMut(Transport, &[u8]) -> Fault + Send>;

/// Decides what is done to each message in turn.
pub struct Rule(Decide);

impl Rule {
    /// The same for all.
    pub fn always(fault: Fault) -> Self {
        Self::of(move |_, _| fault)
    }

    /// One after another; nothing is done to those behind the last.
    pub fn each(faults: impl IntoIterator<Item = Fault, IntoIter: Send + 'static>) -> Self {
        let mut faults = faults.into_iter();
        Self::of(move |_, _| faults.next().unwrap_or(Fault::None))
    }

    /// One of `faults`, to so many of a hundred messages. The same seed gives the same to the same messages.
    pub fn random(seed: u64, percent: u64, faults: &[Fault]) -> Self {
        let (mut dice, faults) = (Dice::new(seed), faults.to_owned());
        Self::of(move |_, _| {
            if dice.below(100) < percent {
                dice.pick(&faults).copied().unwrap_or(Fault::None)
            } else {
                Fault::None
            }
        })
    }

    /// Whatever a function says of a message and how it travels.
    pub fn of(decide: impl FnMut(Transport, &[u8]) -> Fault + Send + 'static) -> Self {
        Self(Box::new(decide))
    }

    /// The same for messages of one kind; nothing is done to others, and they do not count.
    #[must_use]
    pub fn only(mut self, kind: Opcode) -> Self {
        Self::of(move |transport, request| {
            if message::opcode(request) == kind {
                self.decide(transport, request)
            } else {
                Fault::None
            }
        })
    }

    /// The same for messages that travel in one way.
    #[must_use]
    pub fn over(mut self, way: Transport) -> Self {
        Self::of(move |transport, request| {
            if transport == way {
                self.decide(transport, request)
            } else {
                Fault::None
            }
        })
    }

    pub(super) fn decide(&mut self, transport: Transport, request: &[u8]) -> Fault {
        (self.0)(transport, request)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throw(seed: u64) -> Vec<Fault> {
        let mut rule = Rule::random(seed, 50, &[Fault::Drop, Fault::Cut, Fault::WrongId]);
        (0..100).map(|_| rule.decide(Transport::Udp, &[])).collect()
    }

    #[test]
    fn the_same_seed_throws_the_same_faults() {
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
        for fault in [Fault::None, Fault::Drop, Fault::Cut, Fault::WrongId] {
            assert!(throw(7).contains(&fault), "{fault:?}");
        }
    }
}

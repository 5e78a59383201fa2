//! What a key of the format is: its name, what it takes, and what happens when it is not there.

use std::fmt;
use std::ops::RangeInclusive;

/// How alike an unknown key must be to a known one to be taken for a slip, from 0 to 1. At 0.6 two letters of five may
/// be wrong.
const LIKENESS_MIN: f64 = 0.6;
/// Longer keys are not compared with known ones: they are like none, and comparing takes time.
const COMPARED_MAX: usize = 64;

/// The keys that an object may have.
pub(super) struct Section {
    /// What stands before a key in the documentation, such as `zones.<zone>.`; empty at the top.
    pub(super) prefix: &'static str,
    pub(super) keys: &'static [Key],
}

/// One key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) absent: Absent,
    /// What it is, to follow "it is".
    pub(super) purpose: &'static str,
}

/// What a key takes.
pub(super) enum Kind {
    Anything,
    /// A whole number; the unit is empty where it counts nothing.
    Integer {
        unit: &'static str,
        range: RangeInclusive<u64>,
    },
    /// The same, or this word.
    IntegerOr {
        word: &'static str,
        range: RangeInclusive<u64>,
    },
    Object,
    Objects,
    /// A string whose value is never shown: somebody may have put there what the file should hold.
    Path,
    String,
    Strings,
    /// A list, or one of some words.
    StringsOrWord,
    Switch,
}

/// What happens when a key is not there.
pub(super) enum Absent {
    /// As if this JSON stood there.
    As(&'static str),
    /// Something that no value of the key says.
    Means(&'static str),
    /// The file is refused.
    Refused,
    /// The file is refused unless this other key of the same object is there.
    RefusedWithout(&'static str),
}

/// The known key that an unknown one was probably meant to be.
pub(super) fn nearest(keys: &[Key], unknown: &str) -> Option<&'static str> {
    if unknown.len() > COMPARED_MAX {
        return None;
    }
    let unknown = unknown.to_lowercase().replace('-', "_");
    let likeness = |key: &Key| strsim::normalized_damerau_levenshtein(&unknown, key.name);
    let best = keys.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS_MIN).then_some(best.name)
}

impl Section {
    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anything => f.write_str("anything"),
            Self::Integer { unit: "", range } => {
                write!(f, "integer from {} to {}", range.start(), range.end())
            }
            Self::Integer { unit, range } => {
                write!(f, "integer, {unit}, from {} to {}", range.start(), range.end())
            }
            Self::IntegerOr { word, range } => {
                write!(
                    f,
                    "integer from {} to {}, or `{word}`",
                    range.start(),
                    range.end()
                )
            }
            Self::Object => f.write_str("object"),
            Self::Objects => f.write_str("array of objects"),
            Self::Path | Self::String => f.write_str("string"),
            Self::Strings => f.write_str("array of strings"),
            Self::StringsOrWord => f.write_str("string, or array of strings"),
            Self::Switch => f.write_str("boolean"),
        }
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As(json) => write!(f, "`{json}`"),
            Self::Means(what) => f.write_str(what),
            Self::Refused => f.write_str("none, it must be there"),
            Self::RefusedWithout(other) => write!(f, "none, it must be there unless `{other}` is"),
        }
    }
}

//! A file taken apart: its values with the place of each, whether it is written in JSON or in YAML.
//!
//! Knows no key. Entries that stand twice come out twice, for the caller to refuse (RFC 8259 §4 leaves their meaning
//! open, YAML 1.2.2 §3.2.1.1 forbids them).

use std::path::Path;

use super::{json, yaml};

/// The deepest nesting that is read; the format itself has less than half of it.
pub(super) const DEPTH_MAX: usize = 16;
/// The most characters of the file that are quoted in a message.
const QUOTED_MAX: usize = 60;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Line from 1; `None` for a value that stands in no file.
    pub(super) line: Option<usize>,
    /// A single value as it is written, shortened.
    pub(super) shown: String,
}

/// What a value turned out to be.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    /// A string with half of a surrogate pair, which no text can hold.
    HalfPair,
    List(Vec<Node>),
    Map(Vec<Entry>),
    Null,
    /// A number as it is written, with any sign, fraction and exponent.
    Number(String),
    String(String),
}

/// One `"key": value` of an object.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Node,
}

/// Why a text cannot be taken apart. Never quotes it.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
    pub(super) what: String,
    pub(super) remedy: &'static str,
}

/// Takes a file apart into the entries of its object.
///
/// It is YAML if its name says so, or if it does not begin as JSON does.
pub(super) fn entries(file: &Path, bytes: &[u8]) -> Result<Vec<Entry>, Broken> {
    let text = std::str::from_utf8(bytes).map_err(|error| Broken {
        line: Some(Lines::of(bytes).place(error.valid_up_to()).0),
        column: None,
        what: "it is not UTF-8 text".to_owned(),
        remedy: "save it as UTF-8",
    })?;
    // Editors of one well-known system put a byte order mark there (RFC 8259 §8.1 lets a parser ignore it).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Broken {
            line: None,
            column: None,
            what: "the file is empty".to_owned(),
            remedy: "begin with the sample file `config.json`",
        });
    }
    let called_yaml = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let (root, no_object) = if text.trim_start().starts_with(['{', '[', '"']) && !called_yaml {
        let no_object = (
            "the file holds something else than one JSON object",
            "write the keys between `{` and `}`",
        );
        (json::node(text)?, no_object)
    } else {
        let no_object = (
            "the file holds something else than keys with values",
            "write lines such as `secret_namespace: faythe`, or JSON",
        );
        (yaml::node(text)?, no_object)
    };
    let Value::Map(entries) = root.value else {
        let (what, remedy) = no_object;
        return Err(Broken {
            line: root.line,
            column: Some(1),
            what: what.to_owned(),
            remedy,
        });
    };
    Ok(entries)
}

/// Keeps a message on one line and readable, whatever stands in the file.
pub(super) fn shorten(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(QUOTED_MAX).map(visible).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &[u8]) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect())
    }

    /// Line and column, from 1, of the byte at `offset`; columns count bytes.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.0.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|line| self.0.get(line));
        (line, offset - start.copied().unwrap_or(0) + 1)
    }
}

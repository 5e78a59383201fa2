//! JSON with places: the entries of one object in the order of the file, with the line of each (RFC 8259).
//!
//! Knows no key and no type. Entries that stand twice come out twice, for the caller to refuse (RFC 8259 §4 leaves
//! their meaning open).

use std::fmt;
use std::path::Path;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// One `"key": value` of an object.
pub(super) struct Entry<'a> {
    pub(super) key: String,
    pub(super) value: Raw<'a>,
}

/// A value that has not been looked at, and where it begins.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) text: &'a str,
    /// Line from 1; `None` for a value that stands in no file.
    pub(super) line: Option<usize>,
}

/// What a value turned out to be.
pub(super) enum Value<'a> {
    Array(Vec<Raw<'a>>),
    Bool(bool),
    Null,
    /// A number as it is written, with any sign, fraction and exponent.
    Number(&'a str),
    Object,
    String(String),
}

/// Why a text is not one JSON object.
pub(super) struct Broken {
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
    pub(super) what: String,
    pub(super) remedy: &'static str,
}

/// Takes the file apart into the entries of its object.
pub(super) fn entries<'a>(file: &Path, bytes: &'a [u8]) -> Result<Vec<Entry<'a>>, Broken> {
    let text = std::str::from_utf8(bytes).map_err(|error| Broken {
        line: Some(line_at(bytes, error.valid_up_to())),
        column: None,
        what: "it is not UTF-8 text".to_owned(),
        remedy: "save it as UTF-8",
    })?;
    // Editors of one well-known system put a byte order mark there (RFC 8259 §8.1 lets a parser ignore it).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        let what = "the file is empty".to_owned();
        return Err(Broken {
            line: None,
            column: None,
            what,
            remedy: "begin with the sample file `config.json`",
        });
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let pairs = json
        .deserialize_map(Pairs)
        .and_then(|pairs| json.end().map(|()| pairs))
        .map_err(|error| broken(file, text, &error))?;
    let entry = |(key, value): (String, &'a RawValue)| Entry {
        key,
        value: place(text, value),
    };
    Ok(pairs.into_iter().map(entry).collect())
}

impl<'a> Raw<'a> {
    /// A value that stands in no file.
    pub(super) fn unplaced(text: &'a str) -> Self {
        Self { text, line: None }
    }

    /// Looks at the value; `None` for a string with half of a surrogate pair, which no text can hold.
    ///
    /// `self` was cut from text that is known to be JSON, so that its first character tells what it is.
    pub(super) fn value(self) -> Option<Value<'a>> {
        match self.text.as_bytes().first()? {
            b'"' => serde_json::from_str(self.text).ok().map(Value::String),
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(self.text).ok()?;
                Some(Value::Array(
                    items.into_iter().map(|item| self.place(item)).collect(),
                ))
            }
            b'{' => Some(Value::Object),
            b'f' => Some(Value::Bool(false)),
            b'n' => Some(Value::Null),
            b't' => Some(Value::Bool(true)),
            _ => Some(Value::Number(self.text)),
        }
    }

    fn place(self, item: &'a RawValue) -> Self {
        let inner = place(self.text, item);
        let line = self.line.zip(inner.line).map(|(outer, inner)| outer + inner - 1);
        Self { line, ..inner }
    }
}

/// Finds the line of a value that was borrowed from `text`.
fn place<'a>(text: &'a str, value: &'a RawValue) -> Raw<'a> {
    let offset = value.get().as_ptr().addr().checked_sub(text.as_ptr().addr());
    let line = offset
        .filter(|offset| *offset <= text.len())
        .map(|offset| line_at(text.as_bytes(), offset));
    Raw {
        text: value.get(),
        line,
    }
}

/// The line, from 1, of the byte at `offset`.
fn line_at(bytes: &[u8], offset: usize) -> usize {
    1 + bytes.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// Words a parser's error; never quotes the file.
fn broken(file: &Path, text: &str, error: &serde_json::Error) -> Broken {
    // A wrong type is reported with the value, which may be anything, so those words are not passed on.
    let what = if error.is_data() {
        "the file holds something else than one JSON object".to_owned()
    } else {
        let words = error.to_string();
        let words = words
            .rsplit_once(" at line ")
            .map_or(words.as_str(), |(words, _)| words);
        format!("it is not JSON: {words}")
    };
    let remedy = if looks_like_yaml(file, text) {
        "it looks like YAML, and this version reads JSON only; write it as JSON"
    } else if error.is_data() {
        "write the keys between `{` and `}`"
    } else {
        "mend it there or just before it; JSON knows no comments and no comma after the last entry"
    };
    Broken {
        line: Some(error.line()),
        column: Some(error.column().max(1)),
        what,
        remedy,
    }
}

/// Whether a text that is not JSON was meant as YAML: by its file's name, or by how it begins.
fn looks_like_yaml(file: &Path, text: &str) -> bool {
    if file
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
    {
        return true;
    }
    let first = text
        .lines()
        .map(str::trim_end)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| {
        let key = line.split_once(':').map(|(key, _)| key);
        let bare = |key: &str| !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        line.starts_with("---") || line.starts_with("- ") || key.is_some_and(bare)
    })
}

/// Collects the entries of an object, in order, and all of them.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

//! JSON with places (RFC 8259).

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::tree::{Broken, DEPTH_MAX, Entry, Lines, Node, Value, shorten};

/// What to do about most mistakes.
const MEND: &str =
    "mend it there or just before it; JSON knows no comments and no comma after the last entry";

/// Takes a text apart.
pub(super) fn node(text: &str) -> Result<Node, Broken> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| Broken {
        line: Some(error.line()),
        column: Some(error.column().max(1)),
        what: words(&error),
        remedy: MEND,
    })?;
    let lines = Lines::of(text.as_bytes());
    Source { text, lines }.node(raw, 0)
}

/// The whole text, which is known to be JSON.
struct Source<'a> {
    text: &'a str,
    lines: Lines,
}

impl<'a> Source<'a> {
    /// A value that was cut from the text; its first character tells what it is.
    fn node(&self, raw: &'a RawValue, depth: usize) -> Result<Node, Broken> {
        let text = raw.get();
        let offset = text.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let (line, column) = self.lines.place(offset);
        let broken = |what: String, remedy| Broken {
            line: Some(line),
            column: Some(column),
            what,
            remedy,
        };
        let unreadable = |error| broken(words(&error), MEND);
        if depth > DEPTH_MAX {
            return Err(broken(
                "it is nested too deeply".to_owned(),
                "remove some brackets",
            ));
        }
        let value = match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map_or(Value::HalfPair, Value::String),
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(text).map_err(unreadable)?;
                let items = items.into_iter().map(|item| self.node(item, depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let mut json = serde_json::Deserializer::from_str(text);
                let pairs = json.deserialize_map(Pairs).map_err(unreadable)?;
                let entry = |(key, value)| {
                    let value = self.node(value, depth + 1)?;
                    Ok(Entry { key, value })
                };
                Value::Map(pairs.into_iter().map(entry).collect::<Result<_, _>>()?)
            }
            Some(b'f') => Value::Bool(false),
            Some(b't') => Value::Bool(true),
            Some(b'n') => Value::Null,
            _ => Value::Number(text.to_owned()),
        };
        Ok(Node {
            value,
            line: Some(line),
            shown: shorten(text),
        })
    }
}

/// Words a parser's error without the place, which the caller knows better; never quotes the file.
fn words(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let words = words
        .rsplit_once(" at line ")
        .map_or(words.as_str(), |(words, _)| words);
    format!("it is not JSON: {words}")
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

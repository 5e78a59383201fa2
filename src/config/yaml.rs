//! YAML with places (YAML 1.2.2, the core schema of §10.3): `yes` and `off` are strings here, `true` is not.
//!
//! Deliberately absent: tags, several documents, and keys that are no plain text. Aliases are read, up to a bound that
//! no real file meets.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::tree::{Broken, DEPTH_MAX, Entry, Node, Value, shorten};

/// The most values a file may have with all its aliases written out; a thousand zones have less than ten thousand.
const VALUES_MAX: usize = 50_000;

/// Takes a text apart.
pub(super) fn node(text: &str) -> Result<Node, Broken> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut tree = Tree::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| unreadable(&error))?;
        tree.take(&event, span)?;
    }
    tree.root.ok_or_else(|| Broken {
        line: None,
        column: None,
        what: "the file holds no value".to_owned(),
        remedy: "begin with the sample file `config.json`",
    })
}

/// What has been read so far.
#[derive(Default)]
struct Tree {
    documents: usize,
    root: Option<Node>,
    /// Collections that have begun and not ended, the innermost last.
    open: Vec<Open>,
    /// Values that can be named again.
    anchors: BTreeMap<usize, Node>,
    values: usize,
}

/// A collection that has begun.
struct Open {
    content: Content,
    line: usize,
    anchor: usize,
}

/// What a collection holds so far.
enum Content {
    List(Vec<Node>),
    /// Entries, and the key that waits for its value, with its line.
    Map(Vec<Entry>, Option<(String, usize)>),
}

impl Tree {
    fn take(&mut self, event: &Event<'_>, span: Span) -> Result<(), Broken> {
        let refuse = |what: &str, remedy| Broken {
            line: Some(span.start.line()),
            column: Some(span.start.col() + 1),
            what: what.to_owned(),
            remedy,
        };
        let line = span.start.line();
        let anchor = event.anchor_id().unwrap_or(0);
        if event.tag().is_some() {
            return Err(refuse("a tag stands here", "remove it: values need no tags here"));
        }
        if let Event::DocumentStart(..) = event {
            self.documents += 1;
            if self.documents > 1 {
                return Err(refuse(
                    "a second document begins here",
                    "keep one document in the file",
                ));
            }
        } else if let Some((text, style)) = event.scalar() {
            if let Some(Open {
                content: Content::Map(_, key @ None),
                ..
            }) = self.open.last_mut()
            {
                *key = Some((text.to_owned(), line));
                return Ok(());
            }
            self.put(scalar(text, style, line), anchor)
                .ok_or_else(|| refuse(TOO_MANY.0, TOO_MANY.1))?;
        } else if let Event::SequenceStart(..) | Event::MappingStart(..) = event {
            if self.expects_a_key() {
                return Err(refuse(NO_KEY.0, NO_KEY.1));
            }
            let content = if let Event::SequenceStart(..) = event {
                Content::List(Vec::new())
            } else {
                Content::Map(Vec::new(), None)
            };
            self.open.push(Open {
                content,
                line,
                anchor,
            });
        } else if let Event::SequenceEnd | Event::MappingEnd = event {
            // The parser ends only what has begun.
            if let Some(Open {
                content,
                line,
                anchor,
            }) = self.open.pop()
            {
                let value = match content {
                    Content::List(items) => Value::List(items),
                    Content::Map(entries, _) => Value::Map(entries),
                };
                let node = Node {
                    value,
                    line: Some(line),
                    shown: String::new(),
                };
                self.put(node, anchor)
                    .ok_or_else(|| refuse(TOO_MANY.0, TOO_MANY.1))?;
            }
        } else if let Some(id) = event.alias_id() {
            if self.expects_a_key() {
                return Err(refuse(NO_KEY.0, NO_KEY.1));
            }
            let Some(named) = self.anchors.get(&id) else {
                return Err(refuse(
                    "an alias stands inside of what it names",
                    "write the value out",
                ));
            };
            let mut node = named.clone();
            node.line = Some(line);
            self.put(node, 0).ok_or_else(|| refuse(TOO_MANY.0, TOO_MANY.1))?;
        }
        Ok(())
    }

    fn expects_a_key(&self) -> bool {
        let innermost = self.open.last().map(|open| &open.content);
        matches!(innermost, Some(Content::Map(_, None)))
    }

    /// Puts a value where it belongs; `None` if there are too many.
    fn put(&mut self, mut node: Node, anchor: usize) -> Option<()> {
        self.values += size(&node);
        if anchor != 0 {
            self.values += size(&node);
            self.anchors.insert(anchor, node.clone());
        }
        if self.values > VALUES_MAX {
            return None;
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(entries, key)) => {
                // What begins on a line below its key is looked for at the key.
                let (key, line) = key.take()?;
                node.line = Some(line);
                entries.push(Entry { key, value: node });
            }
        }
        Some(())
    }
}

/// What is said of a file whose aliases multiply.
const TOO_MANY: (&str, &str) = (
    "there are too many values up to here",
    "write the aliases out, or divide the configuration",
);
/// What is said of a key that is a list, a map or an alias.
const NO_KEY: (&str, &str) = (
    "a key stands here that is no plain text",
    "write a key and a colon",
);

/// How many values there are in a value, itself included.
fn size(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
        Value::Bool(_) | Value::HalfPair | Value::Null | Value::Number(_) | Value::String(_) => 1,
    }
}

/// A single value: what is not quoted may be something else than a string (YAML 1.2.2 §10.3.2).
fn scalar(text: &str, style: ScalarStyle, line: usize) -> Node {
    let plain = style == ScalarStyle::Plain;
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
        "true" | "True" | "TRUE" if plain => Value::Bool(true),
        "false" | "False" | "FALSE" if plain => Value::Bool(false),
        _ if plain && is_number(text) => Value::Number(text.to_owned()),
        _ => Value::String(text.to_owned()),
    };
    let shown = match value {
        Value::String(_) => shorten(&format!("{text:?}")),
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::HalfPair | Value::List(_) | Value::Map(_) | Value::Number(_) => shorten(text),
    };
    Node {
        value,
        line: Some(line),
        shown,
    }
}

/// Digits with an optional sign, fraction and exponent. Other bases are left out: no key wants them.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        None => (unsigned, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    digits(exponent) && digits(whole) && (fraction.is_empty() || digits(fraction))
}

/// Words a parser's error. The parser quotes no more than a single character.
fn unreadable(error: &ScanError) -> Broken {
    let marker = error.marker();
    Broken {
        line: Some(marker.line()),
        column: Some(marker.col() + 1),
        what: format!("it is neither JSON nor YAML: {}", error.kind()),
        remedy: "mend it there or just before it; YAML wants spaces, not tabs, and a space after each colon",
    }
}

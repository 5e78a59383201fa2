//! Reads the values of an object's keys one by one, and gathers what is wrong with them.
//!
//! Knows what a key is, but none by name; those belong to a format, such as `v1`. Every method that gives `None` for a
//! value that is missing or wrong has put it among the problems.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::json::{Entry, Raw, Value};
use super::{Config, Fault, Problem, Problems, Referenced, Warning, syntax};

/// How alike an unknown key must be to a known one to be taken for a slip, from 0 to 1. At 0.6 two letters of five may
/// be wrong; `zones` is then like nothing.
const LIKENESS_MIN: f64 = 0.6;
/// Longer keys are not compared with known ones: they are like none, and comparing takes time.
const COMPARED_MAX: usize = 64;
/// The most characters of the file that are quoted in a message.
const QUOTED_MAX: usize = 60;

/// One key of a format.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) absent: Absent,
    /// What it is, to follow "it is".
    pub(super) purpose: &'static str,
}

/// What JSON a key takes.
pub(super) enum Kind {
    Anything,
    Integer {
        unit: &'static str,
        range: RangeInclusive<u64>,
    },
    /// A string whose value is never shown: somebody may have put there what the file should hold.
    Path,
    String,
    Strings,
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
}

/// Judges a file that the configuration names.
pub(super) type Look<'a> = &'a dyn Fn(Referenced, &Path) -> Result<(), Fault>;

/// The entries of one file, and what has been found out about them.
pub(super) struct Reader<'a> {
    file: &'a Path,
    look: Look<'a>,
    /// The values of known keys, the first of each.
    given: BTreeMap<&'static str, Raw<'a>>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    /// Sorts entries into those of known keys and those that are refused.
    pub(super) fn new(file: &'a Path, look: Look<'a>, keys: &[Key], entries: Vec<Entry<'a>>) -> Self {
        let (given, problems, warnings) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut reader = Self {
            file,
            look,
            given,
            problems,
            warnings,
        };
        for Entry { key, value } in entries {
            let Some(known) = keys.iter().find(|known| known.name == key) else {
                let remedy = match nearest(keys, &key) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "remove it; docs/configuration.md lists the keys there are".to_owned(),
                };
                reader.refuse(value, &shorten(&key), Fault::new("there is no such key", remedy));
                continue;
            };
            if let Some(first) = reader.given.get(known.name) {
                let place = first
                    .line
                    .map_or_else(String::new, |line| format!(", first on line {line}"));
                let what = format!("it stands in the file twice{place}");
                reader.refuse(value, known.name, Fault::new(what, "keep one of the two"));
            } else {
                reader.given.insert(known.name, value);
            }
        }
        reader
    }

    /// Lets `config` pass if there is no problem.
    pub(super) fn finish(self, config: Option<Config>) -> Result<(Config, Vec<Warning>), Problems> {
        let mut problems = self.problems;
        match config {
            Some(config) if problems.is_empty() => Ok((config, self.warnings)),
            _ => {
                // Missing keys, which have no line, come last.
                problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
                Err(Problems(problems))
            }
        }
    }

    pub(super) fn string<T>(&mut self, key: &Key, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        let raw = self.raw(key)?;
        let Some(Value::String(text)) = raw.value() else {
            return self.mistyped(key, raw);
        };
        self.judge(raw, key.name, parse(&text))
    }

    /// A list in which nothing stands twice.
    pub(super) fn strings(
        &mut self,
        key: &Key,
        parse: impl Fn(&str) -> Result<String, Fault>,
    ) -> Option<Vec<String>> {
        let raw = self.raw(key)?;
        let Some(Value::Array(items)) = raw.value() else {
            return self.mistyped(key, raw);
        };
        let mut strings = Vec::new();
        let mut whole = true;
        for (i, item) in items.into_iter().enumerate() {
            let path = format!("{}[{i}]", key.name);
            let string = match item.value() {
                Some(Value::String(text)) => parse(&text),
                found => Err(mistyped(&Kind::String, item, found)),
            };
            match self.judge(item, &path, string) {
                Some(string) if strings.contains(&string) => {
                    self.warn(
                        item,
                        &path,
                        Fault::new("it stands in the list twice", "remove one of the two"),
                    );
                }
                Some(string) => strings.push(string),
                None => whole = false,
            }
        }
        whole.then_some(strings)
    }

    pub(super) fn path(&mut self, key: &Key, referenced: Referenced) -> Option<PathBuf> {
        let look = self.look;
        self.string(key, |text| {
            let path = syntax::path(text)?;
            look(referenced, &path).map(|()| path)
        })
    }

    pub(super) fn switch(&mut self, key: &Key) -> Option<bool> {
        let raw = self.raw(key)?;
        let Some(Value::Bool(on)) = raw.value() else {
            return self.mistyped(key, raw);
        };
        Some(on)
    }

    pub(super) fn integer(&mut self, key: &Key) -> Option<u64> {
        let raw = self.raw(key)?;
        let (Some(Value::Number(digits)), Kind::Integer { unit, range }) = (raw.value(), &key.kind) else {
            return self.mistyped(key, raw);
        };
        let what = match digits.parse() {
            Ok(number) if range.contains(&number) => return Some(number),
            Ok(number) if number < *range.start() => format!("{number} is too small"),
            _ if digits.contains(['.', 'e', 'E']) => {
                format!("{} is not written as an integer", shorten(digits))
            }
            _ if digits.starts_with('-') => format!("{} is negative", shorten(digits)),
            _ => format!("{} is too large", shorten(digits)),
        };
        let remedy = format!(
            "give a number of {unit} from {} to {}",
            range.start(),
            range.end()
        );
        self.judge(raw, key.name, Err(Fault::new(what, remedy)))
    }

    /// Remarks on a key if it stands in the file.
    pub(super) fn warn_if_given(&mut self, key: &Key, fault: Fault) {
        if let Some(raw) = self.given.get(key.name).copied() {
            self.warn(raw, key.name, fault);
        }
    }

    /// The value of `key`: that of the file, or the default. `None` if there is neither.
    fn raw(&mut self, key: &Key) -> Option<Raw<'a>> {
        if let Some(raw) = self.given.get(key.name) {
            return Some(*raw);
        }
        match key.absent {
            Absent::As(json) => Some(Raw::unplaced(json)),
            Absent::Means(_) => None,
            Absent::Refused => {
                let remedy = format!("add it: it is {}", key.purpose);
                self.refuse(Raw::unplaced(""), key.name, Fault::new("it is missing", remedy));
                None
            }
        }
    }

    fn mistyped<T>(&mut self, key: &Key, raw: Raw<'_>) -> Option<T> {
        self.judge(raw, key.name, Err(mistyped(&key.kind, raw, raw.value())))
    }

    /// Lets a value pass, or notes what is wrong with it.
    fn judge<T>(&mut self, raw: Raw<'_>, path: &str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.refuse(raw, path, fault)).ok()
    }

    fn refuse(&mut self, raw: Raw<'_>, path: &str, fault: Fault) {
        let problem = self.problem(raw, path, fault);
        self.problems.push(problem);
    }

    fn warn(&mut self, raw: Raw<'_>, path: &str, fault: Fault) {
        let problem = self.problem(raw, path, fault);
        self.warnings.push(Warning(problem));
    }

    fn problem(&self, raw: Raw<'_>, path: &str, Fault { what, remedy }: Fault) -> Problem {
        let (file, key) = (self.file.to_owned(), Some(path.to_owned()));
        Problem {
            file,
            line: raw.line,
            column: None,
            key,
            what,
            remedy,
        }
    }
}

/// The known key that an unknown one was probably meant to be.
fn nearest(keys: &[Key], unknown: &str) -> Option<&'static str> {
    if unknown.len() > COMPARED_MAX {
        return None;
    }
    let unknown = unknown.to_lowercase().replace('-', "_");
    let likeness = |key: &Key| strsim::normalized_damerau_levenshtein(&unknown, key.name);
    let best = keys.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS_MIN).then_some(best.name)
}

/// Says what was found in place of what is expected.
fn mistyped(expected: &Kind, raw: Raw<'_>, found: Option<Value<'_>>) -> Fault {
    let shown = if matches!(expected, Kind::Path) {
        "the value".to_owned()
    } else {
        shorten(raw.text)
    };
    let what = match found {
        None => format!("{shown} has half of a surrogate pair, which stands for no character"),
        Some(Value::Array(_)) => "an array stands here".to_owned(),
        Some(Value::Bool(_)) => format!("{shown} is a boolean"),
        Some(Value::Null) => format!("{shown} is no value"),
        Some(Value::Number(_)) => format!("{shown} is a number"),
        Some(Value::Object) => "an object stands here".to_owned(),
        Some(Value::String(_)) => format!("{shown} is a string"),
    };
    let remedy = match expected {
        Kind::Anything => "give anything".to_owned(),
        Kind::Integer { unit, .. } => format!("give an integer number of {unit} without quotes"),
        Kind::Path | Kind::String => "give a string in double quotes".to_owned(),
        Kind::Strings => "give an array of strings, such as `[\"192.0.2.1\"]` or `[]`".to_owned(),
        Kind::Switch => "give true or false without quotes".to_owned(),
    };
    Fault::new(what, remedy)
}

/// Keeps a message on one line and readable, whatever stands in the file.
fn shorten(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(QUOTED_MAX).map(visible).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        short.push('…');
    }
    short
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anything => f.write_str("anything"),
            Self::Integer { unit, range } => {
                write!(f, "integer, {unit}, from {} to {}", range.start(), range.end())
            }
            Self::Path | Self::String => f.write_str("string"),
            Self::Strings => f.write_str("array of strings"),
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
        }
    }
}

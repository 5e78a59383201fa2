//! Reads the values of an object's keys one by one, and gathers what is wrong with them.
//!
//! Knows what a key is, but none by name; those belong to a format, such as `v1`. Every method that gives `None` for a
//! value that is missing or wrong has put it among the problems.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keys::{Absent, Key, Kind, Section, nearest};
use super::tree::{Entry, Node, Value, shorten};
use super::{Fault, Problem, Problems, Referenced, Warning, json, syntax};

/// Judges a file that the configuration names.
pub(super) type Look<'a> = &'a dyn Fn(Referenced<'_>, &Path) -> Result<(), Fault>;

/// What has been found out about one file.
pub(super) struct Report<'a> {
    file: &'a Path,
    look: Look<'a>,
    /// All objects there can be, to find the home of a key that has lost its way.
    sections: &'static [&'static Section],
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

/// The entries of one object.
pub(super) struct Reader<'r, 'a> {
    report: &'r mut Report<'a>,
    /// Where the object stands, with a dot at the end; empty at the top.
    path: String,
    line: Option<usize>,
    /// The values of known keys, the first of each.
    given: BTreeMap<&'static str, &'a Node>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, look: Look<'a>, sections: &'static [&'static Section]) -> Self {
        Self {
            file,
            look,
            sections,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Opens the file's own object.
    pub(super) fn reader(&mut self, section: &'static Section, entries: &'a [Entry]) -> Reader<'_, 'a> {
        Reader::new(self, section, String::new(), None, entries)
    }

    /// Lets `value` pass if there is no problem.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Warning>), Problems> {
        let mut problems = self.problems;
        match value {
            Some(value) if problems.is_empty() => Ok((value, self.warnings)),
            _ => {
                // Missing keys of the file's own object, which have no line, come last.
                problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
                Err(Problems(problems))
            }
        }
    }

    fn refuse(&mut self, line: Option<usize>, path: &str, fault: Fault) {
        let problem = self.problem(line, path, fault);
        self.problems.push(problem);
    }

    fn warn(&mut self, line: Option<usize>, path: &str, fault: Fault) {
        let problem = self.problem(line, path, fault);
        self.warnings.push(Warning(problem));
    }

    fn problem(&self, line: Option<usize>, path: &str, Fault { what, remedy }: Fault) -> Problem {
        let (file, key) = (self.file.to_owned(), Some(path.to_owned()));
        Problem {
            file,
            line,
            column: None,
            key,
            what,
            remedy,
        }
    }

    /// The objects other than `section` that have a key of this name.
    fn homes(&self, section: &Section, name: &str) -> Option<String> {
        let others = self
            .sections
            .iter()
            .filter(|other| other.prefix != section.prefix && other.key(name).is_some());
        let homes: Vec<_> = others
            .map(|other| match other.prefix.trim_end_matches('.') {
                "" => "the top of the file".to_owned(),
                prefix => format!("`{prefix}`"),
            })
            .collect();
        (!homes.is_empty()).then(|| homes.join(" or "))
    }
}

impl<'r, 'a> Reader<'r, 'a> {
    /// Sorts entries into those of known keys and those that are refused.
    fn new(
        report: &'r mut Report<'a>,
        section: &'static Section,
        path: String,
        line: Option<usize>,
        entries: &'a [Entry],
    ) -> Self {
        let mut given: BTreeMap<&'static str, &'a Node> = BTreeMap::new();
        for Entry { key, value } in entries {
            let at = format!("{path}{}", shorten(key));
            let Some(known) = section.key(key) else {
                let remedy = match (report.homes(section, key), nearest(section.keys, key)) {
                    (Some(homes), _) => format!("move it: it belongs into {homes}"),
                    (None, Some(name)) => format!("did you mean `{name}`?"),
                    (None, None) => "remove it; docs/configuration.md lists the keys there are".to_owned(),
                };
                report.refuse(value.line, &at, Fault::new("there is no such key", remedy));
                continue;
            };
            if let Some(first) = given.get(known.name) {
                let place = first
                    .line
                    .map_or_else(String::new, |line| format!(", first on line {line}"));
                let whole = if path.is_empty() { "file" } else { "object" };
                let what = format!("it stands in the {whole} twice{place}");
                report.refuse(value.line, &at, Fault::new(what, "keep one of the two"));
            } else {
                given.insert(known.name, value);
            }
        }
        Self {
            report,
            path,
            line,
            given,
        }
    }

    /// Whether the key stands there.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.given.contains_key(key.name)
    }

    pub(super) fn string<T>(&mut self, key: &Key, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        let node = self.value(key)?;
        let Value::String(text) = &node.value else {
            return self.mistyped(key, &node);
        };
        self.judge(key, &node, parse(text))
    }

    /// A list in which nothing stands twice.
    pub(super) fn strings(
        &mut self,
        key: &Key,
        parse: impl Fn(&str) -> Result<String, Fault>,
    ) -> Option<Vec<String>> {
        let node = self.value(key)?;
        let Value::List(items) = &node.value else {
            return self.mistyped(key, &node);
        };
        let (mut strings, mut whole) = (Vec::new(), true);
        for (i, item) in items.iter().enumerate() {
            let path = format!("{}{}[{i}]", self.path, key.name);
            let string = if let Value::String(text) = &item.value {
                parse(text)
            } else {
                Err(mistyped(&Kind::String, item))
            };
            match string {
                Ok(string) if strings.contains(&string) => {
                    let fault = Fault::new("it stands in the list twice", "remove one of the two");
                    self.report.warn(item.line, &path, fault);
                }
                Ok(string) => strings.push(string),
                Err(fault) => {
                    self.report.refuse(item.line, &path, fault);
                    whole = false;
                }
            }
        }
        whole.then_some(strings)
    }

    pub(super) fn path(&mut self, key: &Key, referenced: Referenced<'_>) -> Option<PathBuf> {
        let look = self.report.look;
        self.string(key, |text| {
            let path = syntax::path(text)?;
            look(referenced, &path).map(|()| path)
        })
    }

    pub(super) fn switch(&mut self, key: &Key) -> Option<bool> {
        let node = self.value(key)?;
        let Value::Bool(on) = node.value else {
            return self.mistyped(key, &node);
        };
        Some(on)
    }

    pub(super) fn integer(&mut self, key: &Key) -> Option<u64> {
        let node = self.value(key)?;
        let (unit, range) = match &key.kind {
            Kind::Integer { unit, range } => (*unit, range),
            Kind::IntegerOr { range, .. } => ("", range),
            Kind::Anything
            | Kind::Object
            | Kind::Objects
            | Kind::Path
            | Kind::String
            | Kind::Strings
            | Kind::StringsOrWord
            | Kind::Switch => return self.mistyped(key, &node),
        };
        let Value::Number(digits) = &node.value else {
            return self.mistyped(key, &node);
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
        let of = if unit.is_empty() { "" } else { " of " };
        let remedy = format!(
            "give a number{of}{unit} from {} to {}",
            range.start(),
            range.end()
        );
        self.judge(key, &node, Err(Fault::new(what, remedy)))
    }

    /// The object of a key.
    pub(super) fn object<T>(
        &mut self,
        key: &Key,
        section: &'static Section,
        read: impl FnOnce(&mut Reader<'_, 'a>) -> Option<T>,
    ) -> Option<T> {
        let node = self.placed(key)?;
        let Value::Map(entries) = &node.value else {
            return self.mistyped(key, node);
        };
        let path = format!("{}{}.", self.path, key.name);
        read(&mut Reader::new(self.report, section, path, node.line, entries))
    }

    /// The objects of a list.
    pub(super) fn objects<T>(
        &mut self,
        key: &Key,
        section: &'static Section,
        mut read: impl FnMut(&mut Reader<'_, 'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let node = self.placed(key)?;
        let Value::List(items) = &node.value else {
            return self.mistyped(key, node);
        };
        let (mut objects, mut whole) = (Vec::new(), true);
        for (i, item) in items.iter().enumerate() {
            let path = format!("{}{}[{i}]", self.path, key.name);
            let read = if let Value::Map(entries) = &item.value {
                let path = format!("{path}.");
                read(&mut Reader::new(self.report, section, path, item.line, entries))
            } else {
                self.report
                    .refuse(item.line, &path, mistyped(&Kind::Object, item));
                None
            };
            whole &= read.is_some();
            objects.extend(read);
        }
        whole.then_some(objects)
    }

    /// An object whose keys are names of the operator's, each with an object of its own.
    pub(super) fn table<T>(
        &mut self,
        key: &Key,
        section: &'static Section,
        mut read: impl FnMut(&str, &mut Reader<'_, 'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let node = self.placed(key)?;
        let Value::Map(entries) = &node.value else {
            return self.mistyped(key, node);
        };
        let (mut rows, mut whole) = (Vec::new(), true);
        for Entry { key: name, value } in entries {
            let path = format!("{}{}.{:?}", self.path, key.name, shorten(name));
            let row = if let Value::Map(entries) = &value.value {
                let path = format!("{path}.");
                read(
                    name,
                    &mut Reader::new(self.report, section, path, value.line, entries),
                )
            } else {
                self.report
                    .refuse(value.line, &path, mistyped(&Kind::Object, value));
                None
            };
            whole &= row.is_some();
            rows.extend(row);
        }
        whole.then_some(rows)
    }

    /// Refuses a key if it stands there. Gives whether it does.
    pub(super) fn refuse_if_given(&mut self, key: &Key, fault: Fault) -> bool {
        let given = self.given.get(key.name).copied();
        if let Some(node) = given {
            self.report.refuse(node.line, &self.at(key), fault);
        }
        given.is_some()
    }

    /// Remarks on a key if it stands there.
    pub(super) fn warn_if_given(&mut self, key: &Key, fault: Fault) {
        if let Some(node) = self.given.get(key.name).copied() {
            self.report.warn(node.line, &self.at(key), fault);
        }
    }

    /// The value of a key, if it is a string.
    pub(super) fn text(&self, key: &Key) -> Option<&'a str> {
        let node = self.given.get(key.name).copied()?;
        if let Value::String(text) = &node.value {
            Some(text)
        } else {
            None
        }
    }

    /// Refuses the object as such.
    pub(super) fn refuse(&mut self, fault: Fault) {
        let path = self.path.trim_end_matches('.').to_owned();
        self.report.refuse(self.line, &path, fault);
    }

    /// A list that stands there and has something in it.
    pub(super) fn has_items(&self, key: &Key) -> bool {
        let node = self.given.get(key.name);
        node.is_some_and(|node| !matches!(&node.value, Value::List(items) if items.is_empty()))
    }

    /// The value of `key`: that of the file, or the default. `None` if there is neither.
    fn value(&mut self, key: &Key) -> Option<Cow<'a, Node>> {
        if let Some(node) = self.given.get(key.name) {
            return Some(Cow::Borrowed(node));
        }
        if let Absent::As(json) = key.absent {
            let mut node = json::node(json).ok()?;
            node.line = self.line;
            return Some(Cow::Owned(node));
        }
        self.placed(key).map(Cow::Borrowed)
    }

    /// The value of `key` in the file.
    fn placed(&mut self, key: &Key) -> Option<&'a Node> {
        let node = self.given.get(key.name).copied();
        if node.is_none() && self.is_required(key) {
            let remedy = format!("add it: it is {}", key.purpose);
            let fault = Fault::new("it is missing", remedy);
            self.report.refuse(self.line, &self.at(key), fault);
        }
        node
    }

    fn is_required(&self, key: &Key) -> bool {
        match key.absent {
            Absent::As(_) | Absent::Means(_) => false,
            Absent::Refused => true,
            Absent::RefusedWithout(other) => !self.given.contains_key(other),
        }
    }

    fn mistyped<T>(&mut self, key: &Key, node: &Node) -> Option<T> {
        self.judge(key, node, Err(mistyped(&key.kind, node)))
    }

    /// Lets a value pass, or notes what is wrong with it.
    fn judge<T>(&mut self, key: &Key, node: &Node, result: Result<T, Fault>) -> Option<T> {
        let at = self.at(key);
        result
            .map_err(|fault| self.report.refuse(node.line, &at, fault))
            .ok()
    }

    fn at(&self, key: &Key) -> String {
        format!("{}{}", self.path, key.name)
    }
}

/// Says what was found in place of what is expected.
fn mistyped(expected: &Kind, node: &Node) -> Fault {
    let shown = if matches!(expected, Kind::Path) {
        "the value"
    } else {
        node.shown.as_str()
    };
    let what = match node.value {
        Value::HalfPair => format!("{shown} has half of a surrogate pair, which stands for no character"),
        Value::List(_) => "an array stands here".to_owned(),
        Value::Bool(_) => format!("{shown} is a boolean"),
        Value::Null => format!("{shown} is no value"),
        Value::Number(_) => format!("{shown} is a number"),
        Value::Map(_) => "an object stands here".to_owned(),
        Value::String(_) => format!("{shown} is a string"),
    };
    let remedy = match expected {
        Kind::Anything => "give anything".to_owned(),
        Kind::Integer { unit: "", .. } => "give an integer without quotes".to_owned(),
        Kind::Integer { unit, .. } => format!("give an integer number of {unit} without quotes"),
        Kind::IntegerOr { word, range } => {
            format!(
                "give an integer from {} to {}, or `{word}`",
                range.start(),
                range.end()
            )
        }
        Kind::Object => "give an object: keys with values".to_owned(),
        Kind::Objects => "give an array of objects, such as `[{…}]`".to_owned(),
        Kind::Path | Kind::String => "give a string in double quotes".to_owned(),
        Kind::StringsOrWord => "give one of the words for it, or an array of strings".to_owned(),
        Kind::Strings => "give an array of strings, such as `[\"192.0.2.1\"]` or `[]`".to_owned(),
        Kind::Switch => "give true or false without quotes".to_owned(),
    };
    Fault::new(what, remedy)
}

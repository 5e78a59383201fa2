//! The `key` statement of named.conf, alone in its file: what tsig-keygen, ddns-confgen and named itself write.
//!
//! No text of the file is repeated in a fault unless it is a word of the grammar: anything else may be the secret.

use super::{Fault, SAMPLE, secret};
use crate::dns::tsig::{Algorithm, Key};
use crate::sealed::Sealed;

/// Statements of named.conf that people leave in a key file.
const STATEMENTS: [&str; 14] = [
    "acl",
    "controls",
    "dnssec-policy",
    "http",
    "include",
    "logging",
    "options",
    "server",
    "statistics-channels",
    "tls",
    "trust-anchors",
    "view",
    "zone",
    "primaries",
];

/// Reads the one key of a file.
pub(super) fn parse(text: &str) -> Result<Key, Fault> {
    let mut tokens = Tokens { text, offset: 0 };
    let first = tokens.next()?;
    if !first.is_word("key") {
        return Err(not_a_key(text, &first));
    }
    let name = tokens.next()?;
    let Some(name_text) = name.value().filter(|name| !name.is_empty()) else {
        return Err(Fault::new(name.offset, "the key has no name", SAMPLE));
    };
    let open = tokens.next()?;
    if open.kind != Kind::Open {
        return Err(Fault::new(open.offset, "'{' must follow the key's name", SAMPLE));
    }
    let clauses = clauses(&mut tokens)?;
    tokens.semicolon("after the '}' that closes the key")?;
    let end = tokens.next()?;
    if end.is_word("key") {
        return Err(Fault::new(
            end.offset,
            "there is a second key",
            "keep one key in each file",
        ));
    }
    if end.kind != Kind::End {
        return Err(Fault::new(
            end.offset,
            "something follows the key",
            "keep nothing but the key in this file",
        ));
    }
    let missing = |what: &str| Fault::new(open.offset, format!("the key has no `{what}`"), SAMPLE);
    let (algorithm, bits) = clauses.algorithm.ok_or_else(|| missing("algorithm"))?;
    let secret = clauses.secret.ok_or_else(|| missing("secret"))?;
    Key::new(name_text, algorithm, bits, secret).map_err(|error| Fault::key(name.offset, &error))
}

/// What stands between the braces.
struct Clauses {
    algorithm: Option<(Algorithm, usize)>,
    secret: Option<Sealed>,
}

fn clauses(tokens: &mut Tokens<'_>) -> Result<Clauses, Fault> {
    let mut found = Clauses {
        algorithm: None,
        secret: None,
    };
    let again = |offset, what| {
        Fault::new(
            offset,
            format!("`{what}` is there twice"),
            "remove one of the two",
        )
    };
    loop {
        let clause = tokens.next()?;
        if clause.kind == Kind::Close {
            return Ok(found);
        }
        if clause.is_word("algorithm") {
            let value = tokens.value("algorithm")?;
            let parsed = algorithm(value.offset, value.value().unwrap_or_default())?;
            if found.algorithm.replace(parsed).is_some() {
                return Err(again(clause.offset, "algorithm"));
            }
            tokens.semicolon("after the algorithm")?;
        } else if clause.is_word("secret") {
            let value = tokens.value("secret")?;
            let decoded = secret(value.offset, value.value().unwrap_or_default())?;
            if decoded.open().is_empty() {
                return Err(Fault::new(
                    value.offset,
                    "the secret is empty",
                    "copy the secret from the server's key",
                ));
            }
            if found.secret.replace(decoded).is_some() {
                return Err(again(clause.offset, "secret"));
            }
            tokens.semicolon("after the secret; put a secret between double quotes")?;
        } else if clause.kind == Kind::End {
            return Err(Fault::new(
                clause.offset,
                "the file ends within the key",
                "close it with `};`",
            ));
        } else {
            return Err(Fault::new(
                clause.offset,
                "`algorithm`, `secret` or '}' must stand here",
                SAMPLE,
            ));
        }
    }
}

/// Reads an algorithm's name with the bits that are left of it: `hmac-sha256-128`; 0 bits mean all.
pub(super) fn algorithm(offset: usize, text: &str) -> Result<(Algorithm, usize), Fault> {
    let remedy = || {
        let names: Vec<&str> = Algorithm::ALL
            .iter()
            .map(|algorithm| algorithm.as_str())
            .collect();
        format!("write one of {}", names.join(", "))
    };
    let unknown = || {
        // Shown only when it cannot be a secret that has slipped into the wrong place.
        let shown = text.len() < 40
            && ["hmac", "sha", "md5"].iter().any(|start| {
                text.get(..start.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(start))
            });
        let what = if shown {
            format!("the algorithm {text:?} is not known")
        } else {
            "this is no algorithm".to_owned()
        };
        Fault::new(offset, what, remedy())
    };
    let lower = text.to_ascii_lowercase();
    let (algorithm, rest) = Algorithm::ALL
        .iter()
        .find_map(|algorithm| {
            lower
                .strip_prefix(algorithm.as_str())
                .map(|rest| (*algorithm, rest))
        })
        .ok_or_else(unknown)?;
    if rest.is_empty() {
        return Ok((algorithm, 0));
    }
    let bits = rest
        .strip_prefix('-')
        .filter(|bits| bits.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(unknown)?;
    let bits: usize = bits.parse().map_err(|_| unknown())?;
    if bits > algorithm.size() * 8 {
        let what = format!(
            "{} has {} bits, so it cannot be truncated to {bits}",
            algorithm.as_str(),
            algorithm.size() * 8
        );
        return Err(Fault::new(
            offset,
            what,
            "leave the number of bits out, to use all of them",
        ));
    }
    Ok((algorithm, bits))
}

/// What to say of a file that does not begin with `key`.
fn not_a_key(text: &str, first: &Token<'_>) -> Fault {
    let fault = |what: &str, remedy: &str| Fault::new(first.offset, what, remedy);
    let Some(word) = first.value() else {
        return match first.kind {
            Kind::End if text.trim().is_empty() => fault("the file is empty", SAMPLE),
            Kind::End => fault("the file has nothing but comments", SAMPLE),
            Kind::Open | Kind::Close | Kind::Semicolon | Kind::Word(_) | Kind::Quoted(_) => {
                fault("`key` must stand here", SAMPLE)
            }
        };
    };
    if word.starts_with('\u{feff}') {
        return fault("the file begins with a byte order mark", "save it without one");
    }
    if matches!(first.kind, Kind::Word(_)) && word.contains(':') {
        return fault(
            "this is the form that `nsupdate -y` takes, not a key file",
            SAMPLE,
        );
    }
    match STATEMENTS.iter().find(|statement| first.is_word(statement)) {
        Some(statement) => fault(
            &format!("the statement `{statement}` does not belong in a key file"),
            "keep nothing but the key in this file",
        ),
        None => fault("`key` must stand here", SAMPLE),
    }
}

/// A piece of the text with its place.
struct Token<'a> {
    offset: usize,
    kind: Kind<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    Close,
    End,
    Open,
    Quoted(&'a str),
    Semicolon,
    Word(&'a str),
}

impl<'a> Token<'a> {
    /// Whether it is a bare word of the grammar, in any case.
    fn is_word(&self, word: &str) -> bool {
        matches!(self.kind, Kind::Word(found) if found.eq_ignore_ascii_case(word))
    }

    /// The text of a word, bare or quoted.
    fn value(&self) -> Option<&'a str> {
        match self.kind {
            Kind::Word(text) | Kind::Quoted(text) => Some(text),
            Kind::Close | Kind::End | Kind::Open | Kind::Semicolon => None,
        }
    }
}

/// Cuts a text into tokens; blanks and comments (`#`, `//`, `/* */`) fall away.
struct Tokens<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Result<Token<'a>, Fault> {
        self.skip()?;
        let offset = self.offset;
        let rest = self.rest();
        let (kind, length) = match rest.chars().next() {
            None => (Kind::End, 0),
            Some('{') => (Kind::Open, 1),
            Some('}') => (Kind::Close, 1),
            Some(';') => (Kind::Semicolon, 1),
            Some('"') => {
                let inside = rest.get(1..).unwrap_or_default();
                let length = closing_quote(inside).ok_or_else(|| {
                    Fault::new(
                        offset,
                        "the quotation that begins here does not end",
                        "close it with '\"'",
                    )
                })?;
                (Kind::Quoted(inside.get(..length).unwrap_or_default()), length + 2)
            }
            Some(_) => {
                let length = word_length(rest);
                (Kind::Word(rest.get(..length).unwrap_or_default()), length)
            }
        };
        self.offset += length;
        Ok(Token { offset, kind })
    }

    /// The value of a clause.
    fn value(&mut self, clause: &str) -> Result<Token<'a>, Fault> {
        let token = self.next()?;
        if token.value().is_none() {
            return Err(Fault::new(
                token.offset,
                format!("`{clause}` has no value"),
                SAMPLE,
            ));
        }
        Ok(token)
    }

    fn semicolon(&mut self, whereabouts: &str) -> Result<(), Fault> {
        let token = self.next()?;
        if token.kind == Kind::Semicolon {
            return Ok(());
        }
        Err(Fault::new(
            token.offset,
            "a ';' is missing before this",
            format!("write ';' {whereabouts}"),
        ))
    }

    /// Passes over blanks and comments.
    fn skip(&mut self) -> Result<(), Fault> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            self.offset += rest.len() - trimmed.len();
            if trimmed.starts_with('#') || trimmed.starts_with("//") {
                self.offset += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                let Some(length) = comment.find("*/") else {
                    return Err(Fault::new(
                        self.offset,
                        "the comment that begins here does not end",
                        "close it with `*/`",
                    ));
                };
                self.offset += length + 4;
            } else {
                return Ok(());
            }
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }
}

/// Where the closing quotation mark stands; one after a backslash does not close.
fn closing_quote(inside: &str) -> Option<usize> {
    let mut escaped = false;
    inside.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// How long the bare word at the start of `rest` is; at least one character.
fn word_length(rest: &str) -> usize {
    let ends = |(at, c): &(usize, char)| {
        let rest = rest.get(*at..).unwrap_or_default();
        *at > 0
            && (matches!(c, ' ' | '\t' | '\r' | '\n' | '{' | '}' | ';' | '"' | '#')
                || rest.starts_with("//")
                || rest.starts_with("/*"))
    };
    rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at)
}

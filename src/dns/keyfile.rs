//! Key files, as `nsupdate -k` takes them, and some more: finds out which form a file has and reads it.
//!
//! Forms: the `key` statement of named.conf (`named`), the pair of files that old versions of dnssec-keygen made (`pair`),
//! `algorithm:name:secret` on one line and a secret alone (`line`); and any of these but the pair in base64 once more, as a
//! Kubernetes Secret has it whose data were encoded by hand before. Measured with nsupdate 9.18: what it loads is loaded
//! here; what it refuses is refused with the place and the remedy, unless the meaning is beyond doubt. Must not show a
//! secret, in errors neither.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::dns::tsig::{Algorithm, Key, KeyError};
use crate::sealed::Sealed;

mod line;
mod named;
mod pair;

/// The longest file that is read; real ones have a few hundred octets.
const FILE_MAX: u64 = 64 * 1024;
/// What a file should look like.
const SAMPLE: &str =
    r#"write `key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`, as tsig-keygen prints it"#;

/// Why a key file cannot be used.
#[derive(Debug, Error)]
#[error("key file {}{place}: {what}; {remedy}", path.display())]
pub struct KeyFileError {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, unless it concerns all of it.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// A place in a file: line and column of the first wrong character, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub Option<(usize, usize)>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// What is known of a key apart from its file; needed only where the file has the secret alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The key's name.
    pub name: Option<String>,
    /// Its algorithm, and the bits of the signature that are sent, all for 0.
    pub algorithm: Option<(Algorithm, usize)>,
}

/// A key as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The key.
    pub key: Key,
    /// Something about the file that works and should be mended all the same.
    pub warning: Option<String>,
}

/// Reads the key at `path`, which must be complete.
///
/// # Errors
/// Why there is no key to be had, with file, place and remedy.
pub fn read(path: &Path) -> Result<Key, KeyFileError> {
    Ok(load(path, &Hint::default())?.key)
}

/// Reads an algorithm's name, with the bits of the signature that are sent at its end if not all are: `hmac-sha256-128`.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn algorithm(text: &str) -> Result<(Algorithm, usize), (String, String)> {
    named::algorithm(0, text).map_err(|fault| (fault.what, fault.remedy))
}

/// Reads the key at `path`: a file with the key, or either file of a pair, or what the names of the two have in common.
///
/// # Errors
/// Why there is no key to be had, with file, place and remedy.
pub fn load(path: &Path, hint: &Hint) -> Result<Loaded, KeyFileError> {
    // Like nsupdate: a pair is looked for first, whatever the name ends with.
    let base = base(path);
    let (public_path, private_path) = (suffixed(&base, ".key"), suffixed(&base, ".private"));
    let (public, private) = (text_of(&public_path), text_of(&private_path));
    if let (Ok(public), Ok(private)) = (&public, &private)
        && pair::is_private(private)
    {
        return read_pair((&public_path, public), (&private_path, private)).map(Loaded::from);
    }
    let half = |found: &Path, partner: &Path| {
        let remedy = format!(
            "put {} beside it; the key's name is in one file and its length in the other",
            partner.display()
        );
        whole(
            found,
            "this is one of a pair of files, and the other cannot be read",
            &remedy,
        )
    };
    match text_of(path) {
        Ok(text) if pair::is_private(&text) => Err(half(path, &public_path)),
        Ok(text) if pair::is_public(&text) => Err(half(path, &private_path)),
        Ok(text) => parse(&text, hint, path).map_err(|fault| fault.at(path, &text)),
        Err(_) if public.is_ok() => Err(half(&public_path, &private_path)),
        Err(_) if private.is_ok() => Err(half(&private_path, &public_path)),
        Err(error) => Err(error),
    }
}

/// The files that [`load`] looks at for `path`.
pub(crate) fn candidates(path: &Path) -> [PathBuf; 3] {
    let base = base(path);
    [
        path.to_owned(),
        suffixed(&base, ".key"),
        suffixed(&base, ".private"),
    ]
}

/// Reads a text of any form but a pair's.
fn parse(text: &str, hint: &Hint, path: &Path) -> Result<Loaded, Fault> {
    if line::is_line(text) {
        return line::parse(text).map(Loaded::from);
    }
    if !line::is_bare(text) {
        return named::parse(text).map(Loaded::from);
    }
    let decoded = secret(0, text)?;
    let inner = std::str::from_utf8(decoded.open()).unwrap_or_default();
    let parsed = if line::is_line(inner) {
        line::parse(inner)
    } else if inner.contains('{') {
        named::parse(inner)
    } else {
        return line::parse_bare(text, hint).map(Loaded::from);
    };
    match parsed {
        Ok(key) => Ok(Loaded {
            key,
            warning: Some(format!(
                "key file {} is base64 of a key file: it was encoded once too often, and is read all the same",
                path.display()
            )),
        }),
        // The place would be one in a text that nobody sees.
        Err(fault) => Err(Fault::new(
            0,
            format!("it is base64 of a key file in which {}", fault.what),
            fault.remedy,
        )),
    }
}

impl From<Key> for Loaded {
    fn from(key: Key) -> Self {
        Self { key, warning: None }
    }
}

/// Reads a pair, both of whose files must tell the same (as nsupdate has it).
fn read_pair(public: (&Path, &str), private: (&Path, &str)) -> Result<Key, KeyFileError> {
    let of_public = pair::parse_public(public.1).map_err(|fault| fault.at(public.0, public.1))?;
    let of_private = pair::parse_private(private.1).map_err(|fault| fault.at(private.0, private.1))?;
    if of_public.algorithm != of_private.algorithm || of_public.secret != of_private.secret {
        let what = format!(
            "its algorithm or secret is not the one in {}",
            private.0.display()
        );
        return Err(whole(
            public.0,
            &what,
            "copy both files of the pair again, from one place",
        ));
    }
    Key::new(
        of_public.name,
        of_public.algorithm,
        of_private.bits,
        of_private.secret,
    )
    .map_err(|error| Fault::key(0, &error).at(public.0, public.1))
}

/// Tries a text as each kind of file, for fuzz tests. The octets before the first NUL are one half of a pair, and what is
/// behind it the other.
pub(super) fn try_all(path: &Path, text: &str) {
    let full = Hint {
        name: Some("faythe".to_owned()),
        algorithm: Some((Algorithm::HmacSha256, 0)),
    };
    for hint in [&Hint::default(), &full] {
        drop(parse(text, hint, path).map_err(|fault| fault.at(path, text)));
    }
    let (public, private) = text.split_once('\0').unwrap_or((text, text));
    drop(read_pair((path, public), (path, private)));
    drop(pair::parse_private(private).map_err(|fault| fault.at(path, private)));
}

/// The common part of a pair's names.
fn base(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_encoded_bytes();
    let stem = [".private", ".key", "."]
        .iter()
        .find_map(|suffix| bytes.strip_suffix(suffix.as_bytes()));
    match stem.and_then(|stem| std::str::from_utf8(stem).ok()) {
        Some(stem) => stem.into(),
        None => path.as_os_str().to_owned(),
    }
}

fn suffixed(base: &OsStr, suffix: &str) -> PathBuf {
    let mut name = base.to_owned();
    name.push(suffix);
    name.into()
}

/// Reads a text file that is not too long.
fn text_of(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let unreadable = |error: &io::Error| {
        let remedy = if error.kind() == io::ErrorKind::NotFound {
            "mend the path, or mount the Secret that holds the file"
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            "let the user that Faythe runs as read it"
        } else {
            "see that it is an ordinary file"
        };
        whole(path, &format!("it cannot be read: {error}"), remedy)
    };
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    // Room for all of it at once: growing would leave copies of the secret behind.
    let room = file.metadata().map_or(0, |metadata| metadata.len()).min(FILE_MAX) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or(0)));
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(whole(path, "it is longer than 64 KiB", SAMPLE));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(whole(path, "it is not text", SAMPLE)),
    }
}

/// An error about a file as a whole.
fn whole(path: &Path, what: &str, remedy: &str) -> KeyFileError {
    KeyFileError {
        path: path.to_owned(),
        place: Place(None),
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// What is wrong at an octet of a text.
#[derive(Debug)]
struct Fault {
    offset: usize,
    what: String,
    remedy: String,
}

impl Fault {
    fn new(offset: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            offset,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// A key that cannot be made of what stands at `offset`.
    fn key(offset: usize, error: &KeyError) -> Self {
        let remedy = match error {
            KeyError::EmptySecret => "copy the secret from the server's key",
            KeyError::Name(_) => "write the name as the server's key has it",
            KeyError::Truncation { .. } => "leave the number of bits out, to use all of them",
        };
        Self::new(offset, error.to_string(), remedy)
    }

    /// Adds where it was.
    fn at(self, path: &Path, text: &str) -> KeyFileError {
        let before = text.get(..self.offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        KeyFileError {
            path: path.to_owned(),
            place: Place(Some((line, column))),
            what: self.what,
            remedy: self.remedy,
        }
    }
}

/// Decodes base64, blanks and line ends within ignored; `offset` is where it stands.
fn secret(offset: usize, text: &str) -> Result<Sealed, Fault> {
    let mut dense = Zeroizing::new(String::with_capacity(text.len()));
    dense.extend(text.chars().filter(|c| !c.is_ascii_whitespace()));
    // The decoder's own message would show a character of the secret.
    STANDARD.decode(dense.as_bytes()).map(Sealed::new).map_err(|_| {
        Fault::new(
            offset,
            "the secret is not base64",
            "copy it again, with the '=' at its end; it must be a multiple of four characters long",
        )
    })
}

#[cfg(test)]
mod tests;

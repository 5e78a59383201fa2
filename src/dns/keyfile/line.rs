//! A key on one line, `algorithm:name:secret` as `dig -y` takes it, and a secret alone in base64.
//!
//! `nsupdate` takes neither in a file; both are what people put into Secrets. No default algorithm: MD5 is never assumed.

use super::named::algorithm;
use super::{Fault, Hint, secret};
use crate::dns::tsig::{Key, KeyError};

/// How a line is to be written.
const LINE: &str = "write `hmac-sha256:NAME:BASE64`";

/// Whether a text is one word with a colon in it.
pub(super) fn is_line(text: &str) -> bool {
    let text = text.trim();
    text.contains(':') && !text.contains(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | '"' | ';'))
}

/// Reads `algorithm:name:secret`.
pub(super) fn parse(text: &str) -> Result<Key, Fault> {
    let start = text.len() - text.trim_start().len();
    let line = text.trim();
    let mut places = Vec::new();
    let mut at = start;
    for part in line.split(':') {
        places.push((at, part));
        at += part.len() + 1;
    }
    match places.as_slice() {
        [(at, _), _] => Err(Fault::new(
            *at,
            "the algorithm is missing, and none is assumed",
            LINE,
        )),
        [(algorithm_at, kind), (name_at, name), (secret_at, encoded)] => {
            let (algorithm, bits) = algorithm(*algorithm_at, kind)?;
            if name.is_empty() {
                return Err(Fault::new(*name_at, "the key has no name", LINE));
            }
            let secret = secret(*secret_at, encoded)?;
            Key::new(name, algorithm, bits, secret).map_err(|error| {
                let at = if error == KeyError::EmptySecret {
                    secret_at
                } else {
                    name_at
                };
                Fault::key(*at, &error)
            })
        }
        [_, _, _, (at, _), ..] => Err(Fault::new(at.saturating_sub(1), "there is a third ':'", LINE)),
        [_] | [] => Err(Fault::new(start, "there is no ':'", LINE)),
    }
}

/// Whether a text is nothing but base64.
pub(super) fn is_bare(text: &str) -> bool {
    !text.trim().is_empty() && secret(0, text).is_ok()
}

/// Makes a key of a secret alone; the rest comes from `hint`.
pub(super) fn parse_bare(text: &str, hint: &Hint) -> Result<Key, Fault> {
    let (Some(name), Some((algorithm, bits))) = (&hint.name, hint.algorithm) else {
        return Err(Fault::new(
            0,
            "this is a secret alone, without the key's name and algorithm",
            format!("{LINE}, or a whole `key` statement as tsig-keygen prints it"),
        ));
    };
    let secret = secret(0, text)?;
    Key::new(name, algorithm, bits, secret).map_err(|error| Fault::key(0, &error))
}

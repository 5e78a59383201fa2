//! Pairs of key files (`K<name>+<algorithm>+<id>.key` and `.private`) with an HMAC, as BIND up to 9.12 made them.
//!
//! The key's name is in the public file only, its truncation in the private one only. The names of the files, the key's
//! ID, flags and TTL mean nothing to nsupdate, nor here.

use super::{Fault, secret};
use crate::dns::tsig::Algorithm;
use crate::sealed::Sealed;

/// How a private file begins; versions 1.2 and 1.3 differ in nothing that is read here.
const FORMAT: &str = "Private-key-format:";
/// BIND's own numbers for HMACs; outside the registry of DNSSEC algorithms.
const NUMBERS: [(&str, Algorithm); 6] = [
    ("157", Algorithm::HmacMd5),
    ("161", Algorithm::HmacSha1),
    ("162", Algorithm::HmacSha224),
    ("163", Algorithm::HmacSha256),
    ("164", Algorithm::HmacSha384),
    ("165", Algorithm::HmacSha512),
];
const AGAIN: &str = "copy the file again, or make a new key with tsig-keygen";

/// What the public file tells.
pub(super) struct Public<'a> {
    pub(super) name: &'a str,
    pub(super) algorithm: Algorithm,
    pub(super) secret: Sealed,
}

/// What the private file tells.
pub(super) struct Private {
    pub(super) algorithm: Algorithm,
    /// Bits of the MAC to send; 0 for all.
    pub(super) bits: usize,
    pub(super) secret: Sealed,
}

/// Whether a text begins like a private file.
pub(super) fn is_private(text: &str) -> bool {
    text.trim_start().starts_with(FORMAT)
}

/// Whether a text is a KEY record.
pub(super) fn is_public(text: &str) -> bool {
    let words: Vec<Word<'_>> = words(text).take(4).collect();
    words.iter().skip(1).any(|word| word.text == "KEY")
}

/// Reads a KEY record: `name [TTL] [IN] KEY flags 3 algorithm base64` (RFC 2535 §3.1).
pub(super) fn parse_public(text: &str) -> Result<Public<'_>, Fault> {
    let mut words = words(text).peekable();
    let missing = |what: &str| Fault::new(text.len(), format!("the KEY record has no {what}"), AGAIN);
    let name = words.next().ok_or_else(|| missing("name"))?;
    words
        .find(|word| word.text.eq_ignore_ascii_case("KEY"))
        .ok_or_else(|| missing("type"))?;
    // Flags and protocol; nsupdate does not look at them.
    words.next();
    words.next();
    let number = words.next().ok_or_else(|| missing("algorithm"))?;
    let algorithm = algorithm(number.offset, number.text)?;
    let offset = words.peek().ok_or_else(|| missing("secret"))?.offset;
    let mut encoded = zeroize::Zeroizing::new(String::with_capacity(text.len()));
    for word in words {
        encoded.push_str(word.text);
    }
    Ok(Public {
        name: name.text,
        algorithm,
        secret: secret(offset, &encoded)?,
    })
}

/// Reads the fields `Algorithm`, `Key` and `Bits`; the times that may follow are not needed.
pub(super) fn parse_private(text: &str) -> Result<Private, Fault> {
    let field = |name: &str| {
        let mut offset = 0;
        text.split_inclusive('\n').find_map(|line| {
            let start = offset;
            offset += line.len();
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            Some((start, value.trim()))
        })
    };
    let needed = |name: &str| {
        field(name).ok_or_else(|| Fault::new(text.len(), format!("there is no line `{name}:`"), AGAIN))
    };
    let (at, version) = needed("Private-key-format")?;
    if !version.starts_with("v1.") {
        return Err(Fault::new(at, "this version of the format is not known", AGAIN));
    }
    let (at, number) = needed("Algorithm")?;
    // A label in parentheses may follow the number.
    let algorithm = algorithm(at, number.split_whitespace().next().unwrap_or_default())?;
    let (at, encoded) = needed("Key")?;
    let key = secret(at, encoded)?;
    let (at, encoded) = needed("Bits")?;
    let bits = match secret(at, encoded)?.open() {
        [high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => {
            return Err(Fault::new(
                at,
                "`Bits:` must be two octets in base64",
                "write `Bits: AAA=`, for no truncation",
            ));
        }
    };
    Ok(Private {
        algorithm,
        bits,
        secret: key,
    })
}

fn algorithm(offset: usize, number: &str) -> Result<Algorithm, Fault> {
    if let Some((_, algorithm)) = NUMBERS.iter().find(|(known, _)| *known == number) {
        return Ok(*algorithm);
    }
    // Public keys (SIG(0)) stand in files of the same form.
    Err(Fault::new(
        offset,
        "this is no HMAC key",
        "make one with tsig-keygen; public keys (SIG(0)) are not supported",
    ))
}

/// A word of a zone file, with its place.
struct Word<'a> {
    offset: usize,
    text: &'a str,
}

/// The words of a record in zone file form: comments from ';' to the end of the line, parentheses mean nothing here.
fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    let blank = |c: char| c.is_ascii_whitespace() || c == '(' || c == ')';
    let mut lines = 0;
    text.split_inclusive('\n').flat_map(move |line| {
        let start = lines;
        lines += line.len();
        let line = line.split(';').next().unwrap_or_default();
        let mut at = start;
        line.split(blank).filter_map(move |word| {
            let offset = at;
            at += word.len() + 1;
            (!word.is_empty()).then_some(Word { offset, text: word })
        })
    })
}

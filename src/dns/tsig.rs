//! Signatures on DNS messages (TSIG, RFC 8945): signs a request, judges the signature on its answer.
//!
//! Owns keys and their algorithms. Must not know what a message is about, nor what follows from a bad signature.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::base::iana::{Class, Rtype, TsigRcode};
use domain::base::message::{Message, RecordSection};
use domain::base::name::{Name, ToName};
use domain::base::wire::ParseError;
use domain::base::{ParsedName, Ttl};
use domain::rdata::tsig::Tsig;
use faythe_core::Timestamp;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::sealed::Sealed;

/// How far apart clocks may be, in seconds: the value that RFC 8945 §10 recommends.
pub(crate) const FUDGE: u16 = 300;
/// The shortest MAC that is believed, in octets (RFC 8945 §5.2.2.1: at least 10, and at least half of the whole).
const MAC_MIN: usize = 10;
/// The count of additional records in a message's header (RFC 1035 §4.1.1).
const ARCOUNT: std::ops::Range<usize> = 10..12;
/// Type, class, TTL and length of a record (RFC 1035 §3.2.1).
const RECORD_FIXED: usize = 10;
/// The fields of TSIG data apart from algorithm and MAC (RFC 8945 §4.2).
const DATA_FIXED: usize = 16;
/// The length of a message's header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// An HMAC that name servers know (RFC 8945 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Algorithm {
    HmacMd5,
    HmacSha1,
    HmacSha224,
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::HmacMd5,
        Self::HmacSha1,
        Self::HmacSha224,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
    ];

    /// The name that key files use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacMd5 => "hmac-md5",
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha224 => "hmac-sha224",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// How long its MAC is, in octets.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::HmacMd5 => 16,
            Self::HmacSha1 => 20,
            Self::HmacSha224 => 28,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// Its name in messages: lower case, uncompressed (RFC 8945 §6 and §4.3.3).
    fn wire_name(self) -> &'static [u8] {
        match self {
            Self::HmacMd5 => b"\x08hmac-md5\x07sig-alg\x03reg\x03int\x00",
            Self::HmacSha1 => b"\x09hmac-sha1\x00",
            Self::HmacSha224 => b"\x0bhmac-sha224\x00",
            Self::HmacSha256 => b"\x0bhmac-sha256\x00",
            Self::HmacSha384 => b"\x0bhmac-sha384\x00",
            Self::HmacSha512 => b"\x0bhmac-sha512\x00",
        }
    }
}

/// A key shared with a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Lower case, as it goes into the MAC.
    name: Name<Vec<u8>>,
    algorithm: Algorithm,
    /// Octets of the MAC that are sent.
    sent: usize,
    secret: Sealed,
}

/// Why a key cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The secret has no octets.
    #[error("the secret is empty")]
    EmptySecret,
    /// The name is no domain name.
    #[error("the key's name is no domain name: {0}")]
    Name(String),
    /// More bits than the algorithm has.
    #[error("{algorithm} has {bits} bits, so it cannot be truncated to {asked}")]
    Truncation {
        /// The algorithm's name.
        algorithm: &'static str,
        /// All its bits.
        bits: usize,
        /// The bits asked for.
        asked: usize,
    },
}

impl Key {
    /// Makes a key; `bits` of the MAC are sent, all of them for 0 (RFC 8945 §5.2.2.1).
    ///
    /// # Errors
    /// A name that is none, too many bits, an empty secret.
    pub fn new(name: &str, algorithm: Algorithm, bits: usize, secret: Sealed) -> Result<Self, KeyError> {
        let mut name: Name<Vec<u8>> =
            Name::from_str(name).map_err(|error| KeyError::Name(error.to_string()))?;
        name.make_canonical();
        if secret.open().is_empty() {
            return Err(KeyError::EmptySecret);
        }
        let sent = match bits.div_ceil(8) {
            0 => algorithm.size(),
            sent => sent,
        };
        if sent > algorithm.size() {
            let (algorithm, bits, asked) = (algorithm.as_str(), algorithm.size() * 8, bits);
            return Err(KeyError::Truncation {
                algorithm,
                bits,
                asked,
            });
        }
        Ok(Self {
            name,
            algorithm,
            sent,
            secret,
        })
    }

    /// The shortest MAC that is believed: what we send ourselves, but never less than RFC 8945 §5.2.2.1 asks.
    fn shortest(&self) -> usize {
        self.sent
            .max(MAC_MIN)
            .max(self.algorithm.size() / 2)
            .min(self.algorithm.size())
    }

    /// The same key with its secret taken out of base64 once more, if the secret is base64 itself: a secret that was encoded
    /// twice on its way into the file. Line ends count for nothing, since `echo` leaves one behind.
    pub(crate) fn decoded_again(&self) -> Option<Self> {
        let dense: Zeroizing<Vec<u8>> = self
            .secret
            .open()
            .iter()
            .copied()
            .filter(|octet| !octet.is_ascii_whitespace())
            .collect::<Vec<u8>>()
            .into();
        let secret = STANDARD.decode(&*dense).ok().map(Sealed::new)?;
        (!secret.open().is_empty()).then(|| Self {
            secret,
            ..self.clone()
        })
    }

    /// The MAC over `parts`, whole.
    fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        match self.algorithm {
            Algorithm::HmacMd5 => mac::<Md5>(self.secret.open(), parts),
            Algorithm::HmacSha1 => mac::<Sha1>(self.secret.open(), parts),
            Algorithm::HmacSha224 => mac::<Sha224>(self.secret.open(), parts),
            Algorithm::HmacSha256 => mac::<Sha256>(self.secret.open(), parts),
            Algorithm::HmacSha384 => mac::<Sha384>(self.secret.open(), parts),
            Algorithm::HmacSha512 => mac::<Sha512>(self.secret.open(), parts),
        }
    }

    /// Whether `claimed` is the beginning of the MAC over `parts`; takes the same time wherever they differ.
    fn agrees(&self, parts: &[&[u8]], claimed: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::HmacMd5 => agrees::<Md5>(self.secret.open(), parts, claimed),
            Algorithm::HmacSha1 => agrees::<Sha1>(self.secret.open(), parts, claimed),
            Algorithm::HmacSha224 => agrees::<Sha224>(self.secret.open(), parts, claimed),
            Algorithm::HmacSha256 => agrees::<Sha256>(self.secret.open(), parts, claimed),
            Algorithm::HmacSha384 => agrees::<Sha384>(self.secret.open(), parts, claimed),
            Algorithm::HmacSha512 => agrees::<Sha512>(self.secret.open(), parts, claimed),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name.fmt_with_dot(), self.algorithm.as_str())?;
        if self.sent < self.algorithm.size() {
            write!(f, "-{}", self.sent * 8)?;
        }
        f.write_str(")")
    }
}

/// A hash begun with a key. HMAC takes keys of any length (RFC 2104 §3), so there is always one.
fn begin<D: EagerHash>(secret: &[u8], parts: &[&[u8]]) -> Option<Hmac<D>>
where
    Hmac<D>: KeyInit + Mac,
{
    let mut hmac = <Hmac<D> as KeyInit>::new_from_slice(secret).ok()?;
    for part in parts {
        hmac.update(part);
    }
    Some(hmac)
}

fn mac<D: EagerHash>(secret: &[u8], parts: &[&[u8]]) -> Vec<u8>
where
    Hmac<D>: KeyInit + Mac,
{
    begin::<D>(secret, parts)
        .map(|hmac| hmac.finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

fn agrees<D: EagerHash>(secret: &[u8], parts: &[&[u8]], claimed: &[u8]) -> bool
where
    Hmac<D>: KeyInit + Mac,
{
    begin::<D>(secret, parts).is_some_and(|hmac| hmac.verify_truncated_left(claimed).is_ok())
}

/// A signed request, and what is needed to judge its answer.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// The message with its TSIG record.
    pub(crate) wire: Vec<u8>,
    /// The message's ID.
    pub(crate) id: u16,
    /// Seconds since 1970 that were signed.
    pub(crate) time: u64,
    mac: Vec<u8>,
}

/// How many octets signing with `key` adds to a message.
pub(crate) fn overhead(key: &Key) -> usize {
    key.name.len() + RECORD_FIXED + key.algorithm.wire_name().len() + DATA_FIXED + key.sent
}

/// Gives `message` a new `id` and no signature, for a zone that takes updates without.
pub(crate) fn leave_unsigned(mut message: Vec<u8>, id: u16, now: Timestamp) -> Signed {
    if let Some(field) = message.get_mut(..2) {
        field.copy_from_slice(&id.to_be_bytes());
    }
    Signed {
        wire: message,
        id,
        time: seconds(now),
        mac: Vec::new(),
    }
}

/// Signs `message`, which must have a header and no TSIG record yet, under a new `id`.
pub(crate) fn sign(mut message: Vec<u8>, id: u16, key: &Key, now: Timestamp) -> Signed {
    let time = seconds(now);
    if let Some(field) = message.get_mut(..2) {
        field.copy_from_slice(&id.to_be_bytes());
    }
    let mut mac = key.mac(&[&message, &variables(key, time, FUDGE, TsigRcode::NOERROR, &[])]);
    mac.truncate(key.sent);

    // RFC 8945 §4.2: the record's fields, in the order of the wire.
    message.extend_from_slice(key.name.as_slice());
    message.extend_from_slice(&Rtype::TSIG.to_int().to_be_bytes());
    message.extend_from_slice(&Class::ANY.to_int().to_be_bytes());
    message.extend_from_slice(&Ttl::ZERO.as_secs().to_be_bytes());
    let algorithm = key.algorithm.wire_name();
    message.extend_from_slice(&be16(algorithm.len() + DATA_FIXED + mac.len()));
    message.extend_from_slice(algorithm);
    message.extend_from_slice(&be48(time));
    message.extend_from_slice(&FUDGE.to_be_bytes());
    message.extend_from_slice(&be16(mac.len()));
    message.extend_from_slice(&mac);
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&TsigRcode::NOERROR.to_int().to_be_bytes());
    message.extend_from_slice(&be16(0));
    if let Some([high, low]) = message.get_mut(ARCOUNT) {
        let count = u16::from_be_bytes([*high, *low]).saturating_add(1);
        [*high, *low] = count.to_be_bytes();
    }
    Signed {
        wire: message,
        id,
        time,
        mac,
    }
}

/// What the signature on an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// There is a TSIG record, but it proves nothing; why.
    Broken(&'static str),
    /// The server's complaint about our signature, itself without one (RFC 8945 §5.3.2: an empty MAC).
    Complaint(Complaint),
    /// The signature is right.
    Genuine {
        /// What the server has against ours, if anything.
        complaint: Option<Complaint>,
        /// The server's clock when it signed, in seconds since 1970; ours when it complains of our clock.
        time: u64,
    },
    /// There is no TSIG record.
    Missing,
}

/// What a server has against our signature (RFC 8945 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The TSIG error, not zero.
    pub(crate) error: TsigRcode,
    /// The server's clock in seconds since 1970; comes with BADTIME.
    pub(crate) server_time: Option<u64>,
}

/// Judges the signature on `answer` to `request` (RFC 8945 §5.3).
///
/// # Errors
/// An answer that is no DNS message.
pub(crate) fn judge(answer: &[u8], request: &Signed, key: &Key, now: Timestamp) -> Result<Seal, ParseError> {
    let message = Message::from_slice(answer).map_err(|_| ParseError::ShortInput)?;
    let Some(found) = find(message.additional()?)? else {
        return Ok(Seal::Missing);
    };
    let tsig = &found.tsig;
    let complaint = (tsig.error() != TsigRcode::NOERROR).then(|| Complaint {
        error: tsig.error(),
        server_time: tsig.other_time().map(|time| time.into()),
    });
    if tsig.mac_slice().is_empty() {
        return Ok(match complaint {
            Some(complaint) => Seal::Complaint(complaint),
            None => Seal::Broken("signed with nothing"),
        });
    }
    if !found.owner.name_eq(&key.name) {
        return Ok(Seal::Broken("signed with another key"));
    }
    let algorithm: Name<Vec<u8>> = tsig.algorithm().to_canonical_name();
    if algorithm.as_slice() != key.algorithm.wire_name() {
        return Ok(Seal::Broken("signed with another algorithm"));
    }
    if tsig.mac_slice().len() < key.shortest() || tsig.mac_slice().len() > key.algorithm.size() {
        return Ok(Seal::Broken("signed with a signature of the wrong length"));
    }

    // RFC 8945 §5.3.1 and §4.3: the request's MAC, the answer as it was before the record was added, the variables.
    let mut header = [0; HEADER];
    let (Some(start), Some(body)) = (answer.get(..HEADER), answer.get(HEADER..found.start)) else {
        return Err(ParseError::ShortInput);
    };
    header.copy_from_slice(start);
    header[..2].copy_from_slice(&tsig.original_id().to_be_bytes());
    header[ARCOUNT].copy_from_slice(&message.header_counts().arcount().saturating_sub(1).to_be_bytes());
    let time: u64 = tsig.time_signed().into();
    let variables = variables(key, time, tsig.fudge(), tsig.error(), tsig.other());
    let parts = [
        &be16(request.mac.len())[..],
        &request.mac,
        &header,
        body,
        &variables,
    ];
    if !key.agrees(&parts, tsig.mac_slice()) {
        return Ok(Seal::Broken("signed wrongly"));
    }
    // RFC 8945 §5.2.3: the time is judged last. A complaint about ours bears our own time.
    if complaint.is_none() && seconds(now).abs_diff(time) > u64::from(tsig.fudge()) {
        return Ok(Seal::Broken("signed at another time"));
    }
    Ok(Seal::Genuine { complaint, time })
}

/// A TSIG record, and where it begins in its message.
struct Found<'a> {
    start: usize,
    owner: ParsedName<&'a [u8]>,
    tsig: Tsig<&'a [u8], ParsedName<&'a [u8]>>,
}

/// Finds the TSIG record, which must be the last of the message (RFC 8945 §5.2).
fn find<'a>(mut section: RecordSection<'a, [u8]>) -> Result<Option<Found<'a>>, ParseError> {
    let mut found: Option<Found<'a>> = None;
    loop {
        let start = section.pos();
        let Some(record) = section.next() else {
            return Ok(found);
        };
        let record = record?;
        if found.is_some() {
            return Err(ParseError::form_error("the TSIG record is not the last one"));
        }
        if record.rtype() == Rtype::TSIG {
            // They are hashed as constants, so nothing else would notice a change.
            if record.class() != Class::ANY || record.ttl() != Ttl::ZERO {
                return Err(ParseError::form_error("the TSIG record has a wrong class or TTL"));
            }
            let owner = record.owner();
            found = record.into_record::<Tsig<_, _>>()?.map(|record| Found {
                start,
                owner,
                tsig: record.into_data(),
            });
        }
    }
}

/// The variables that are hashed after a message (RFC 8945 §4.3.3).
fn variables(key: &Key, time: u64, fudge: u16, error: TsigRcode, other: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.name.len() + 64 + other.len());
    bytes.extend_from_slice(key.name.as_slice());
    bytes.extend_from_slice(&Class::ANY.to_int().to_be_bytes());
    bytes.extend_from_slice(&Ttl::ZERO.as_secs().to_be_bytes());
    bytes.extend_from_slice(key.algorithm.wire_name());
    bytes.extend_from_slice(&be48(time));
    bytes.extend_from_slice(&fudge.to_be_bytes());
    bytes.extend_from_slice(&error.to_int().to_be_bytes());
    bytes.extend_from_slice(&be16(other.len()));
    bytes.extend_from_slice(other);
    bytes
}

/// Seconds since 1970; a clock before that is as wrong as one at it.
fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0)
}

/// The low 48 bits, as TSIG has its times (RFC 8945 §4.2).
fn be48(value: u64) -> [u8; 6] {
    let [_, _, rest @ ..] = value.to_be_bytes();
    rest
}

/// A length as 16 bits; every caller's is far below.
fn be16(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
pub(crate) mod tests;

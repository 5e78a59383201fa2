//! As much of a DNS message as mangling needs (RFC 1035 §4.1), read without the code that is under test.

use super::Fault;

/// Octets of a message's header.
const HEADER: usize = 12;
/// Type, class, TTL and length of a record.
const RECORD_FIXED: usize = 10;
/// TSIG's type (RFC 8945 §4.2).
const TSIG: u16 = 250;
/// Its fields before the MAC, apart from the algorithm: time, fudge, MAC size.
const BEFORE_MAC: usize = 6 + 2 + 2;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Opcode {
    Query,
    Update,
    Other,
}

/// What a message is about.
pub fn opcode(message: &[u8]) -> Opcode {
    match message.get(2).map(|flags| (flags >> 3) & 15) {
        Some(0) => Opcode::Query,
        Some(5) => Opcode::Update,
        _ => Opcode::Other,
    }
}

/// The ID, by which answers find their requests.
pub(super) fn id(message: &[u8]) -> Option<[u8; 2]> {
    message.first_chunk().copied()
}

/// An answer as the fault has it. What cannot be done to this one, such as spoiling a signature that it does not have,
/// is left.
pub(super) fn mangle(mut answer: Vec<u8>, fault: Fault) -> Vec<u8> {
    if answer.len() < HEADER {
        return answer;
    }
    match fault {
        Fault::Truncate => {
            // RFC 2181 §9: the client has to throw away what is left, so nothing is.
            let end = questions_end(&answer).unwrap_or(HEADER);
            answer.truncate(end);
            answer[6..HEADER].fill(0);
            answer[2] |= 2;
        }
        Fault::WrongId => answer[0] ^= 0x55,
        Fault::Rcode(rcode) => answer[3] = (answer[3] & 0xf0) | (rcode & 0x0f),
        Fault::Unsigned => {
            if let Some(tsig) = tsig(&answer) {
                answer.truncate(tsig.start);
                let count = be16(&answer, 10).unwrap_or(1).saturating_sub(1);
                answer[10..HEADER].copy_from_slice(&count.to_be_bytes());
            }
        }
        Fault::BadlySigned => {
            if let Some(byte) = tsig(&answer).and_then(|tsig| answer.get_mut(tsig.mac)) {
                *byte ^= 1;
            }
        }
        Fault::None
        | Fault::Close
        | Fault::Cut
        | Fault::Delay(_)
        | Fault::Drop
        | Fault::DropAnswer
        | Fault::Duplicate
        | Fault::Reorder
        | Fault::Trickle => {}
    }
    answer
}

/// Where things are in a signed message.
struct Tsig {
    start: usize,
    mac: usize,
}

/// Finds the TSIG record, which is the last one.
fn tsig(message: &[u8]) -> Option<Tsig> {
    let mut at = questions_end(message)?;
    let count = |section: usize| be16(message, section).map(usize::from);
    let records = count(6)? + count(8)? + count(10)?;
    for _ in 0..records {
        let start = at;
        let fixed = name_end(message, at)?;
        let data = fixed + RECORD_FIXED;
        let length = usize::from(be16(message, data - 2)?);
        if be16(message, fixed)? == TSIG {
            let mac = name_end(message, data)? + BEFORE_MAC;
            return Some(Tsig { start, mac });
        }
        at = data + length;
    }
    None
}

fn questions_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    for _ in 0..be16(message, 4)? {
        at = name_end(message, at)? + 4;
    }
    (at <= message.len()).then_some(at)
}

/// Where the name that begins at `at` ends: behind its root label or its first pointer (RFC 1035 §4.1.4).
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

fn be16(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

//! Signatures against values that another implementation computed, and against whatever a network may bring.

use super::*;
use domain::base::MessageBuilder;
use domain::base::iana::{Opcode, Rcode};
use proptest::prelude::*;

/// An update of example.com that deletes the TXT set at _acme-challenge.example.com; ID 0x1234, unsigned.
const REQUEST: &str = "123428000001000000010000076578616d706c6503636f6d00000600010f5f61636d652d6368616c6c656e6765076578\
     616d706c6503636f6d00001000ff000000000000";
/// The MACs of that request, signed at [`TIME`] with [`SECRET`] as `faythe-key.example`, and of an empty NOERROR answer to it,
/// signed 2 s later; computed with Python's `hmac` from the text of RFC 8945.
const VECTORS: [(Algorithm, &str, &str); 6] = [
    (
        Algorithm::HmacMd5,
        "4978690dd0bc30dd11f949af9113c1fb",
        "2b1b97aa18aa5bb70399d774328862c5",
    ),
    (
        Algorithm::HmacSha1,
        "6c09cf9d040ebbcd760b05ae30812ff2e17e34e7",
        "b03e44b2034ea31ffe0a9d003c2cb49eec28e1a4",
    ),
    (
        Algorithm::HmacSha224,
        "108ff122ef6827fcbac833c85ea36ced8d36ff9b93e4139dcc38ce8e",
        "6f76e84733d99bb6e1aeb6eecd9b298f6aee267bc16da24e4e5a00c9",
    ),
    (
        Algorithm::HmacSha256,
        "32eaa0378a30078eaffd066f77222681cb83f116f094a42d3405b6c2aef0a101",
        "665b4a59a24803e08df278519376d1eab6e6a1d08428e6b83c9c5e9421f67acf",
    ),
    (
        Algorithm::HmacSha384,
        "cfd8dcb34836736881de47b3d20b5aa5c5174e70a3484c43e29ddcb73ec37a652b2f4c7e2205d31c49cc635a7041af8c",
        "6eeb9cd8fcd44b866e6cd2b146a475580d480dfa47fba986a63c37d376b13228ee6197a8ff9b68f7f021797fb4d4ad84",
    ),
    (
        Algorithm::HmacSha512,
        "feb9498cbb3bb024470a9302a44a7624bb8b415f862cdd4c4d39eb39e2097831\
         fa1d88f7cfd404e35f3883a0e59e3eb0ac612b73740274c45619408992042c7a",
        "5846b76fd93e227ab6f852e65902e04113cc324e4d9ea28b0c1fcbe823d236a4\
         92d660409e9ba63fb176dde4940eccb5a192dc4387852d2146deca6c052c9412",
    ),
];
/// Right, at the time that most tests have.
const GENUINE: Seal = Seal::Genuine {
    complaint: None,
    time: 1_700_000_000,
};
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const TIME: i64 = 1_700_000_000;

/// What a server says with its signature.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    pub(crate) rcode: Rcode,
    pub(crate) error: TsigRcode,
    /// When it signs.
    pub(crate) time: i64,
    /// Its clock in the "other" data.
    pub(crate) clock: Option<i64>,
}

impl Said {
    /// An answer at `time` without complaint.
    pub(crate) fn plain(rcode: Rcode, time: i64) -> Self {
        Self {
            rcode,
            error: TsigRcode::NOERROR,
            time,
            clock: None,
        }
    }
}

pub(crate) fn key(algorithm: Algorithm, bits: usize) -> Key {
    Key::new(
        "Faythe-Key.Example",
        algorithm,
        bits,
        Sealed::new(SECRET.to_vec()),
    )
    .unwrap()
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// An answer without signature to the message `request`.
pub(crate) fn unsigned(request: &[u8], rcode: Rcode) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(u16::from_be_bytes([request[0], request[1]]));
    header.set_opcode(Opcode::UPDATE);
    header.set_qr(true);
    header.set_rcode(rcode);
    builder.finish()
}

/// An answer to the signed message `request` as a server with `key` gives it; `length` octets of MAC.
pub(crate) fn answer(request: &[u8], key: &Key, said: Said, length: usize) -> Vec<u8> {
    let mut message = unsigned(request, said.rcode);
    let asked = find(Message::from_slice(request).unwrap().additional().unwrap())
        .unwrap()
        .unwrap();
    let other = said
        .clock
        .map(|clock| be48(u64::try_from(clock).unwrap()).to_vec())
        .unwrap_or_default();
    let time = u64::try_from(said.time).unwrap();
    let asked_mac = asked.tsig.mac_slice();
    let mac = key.mac(&[
        &be16(asked_mac.len()),
        asked_mac,
        &message,
        &variables(key, time, FUDGE, said.error, &other),
    ]);
    let algorithm = key.algorithm.wire_name();
    message.extend_from_slice(key.name.as_slice());
    message.extend_from_slice(&[0, 250, 0, 255, 0, 0, 0, 0]);
    message.extend_from_slice(&be16(algorithm.len() + DATA_FIXED + length + other.len()));
    message.extend_from_slice(algorithm);
    message.extend_from_slice(&be48(time));
    message.extend_from_slice(&FUDGE.to_be_bytes());
    message.extend_from_slice(&be16(length));
    message.extend_from_slice(&mac[..length]);
    message.extend_from_slice(&request[..2]);
    message.extend_from_slice(&said.error.to_int().to_be_bytes());
    message.extend_from_slice(&be16(other.len()));
    message.extend_from_slice(&other);
    message[ARCOUNT].copy_from_slice(&be16(1));
    message
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn is_genuine(judged: &Result<Seal, ParseError>) -> bool {
    matches!(judged, Ok(Seal::Genuine { .. }))
}

fn request(key: &Key) -> Signed {
    sign(bytes(REQUEST), 0x1234, key, at(TIME))
}

#[track_caller]
fn check(answer: &[u8], expected: Seal) {
    let key = key(Algorithm::HmacSha256, 0);
    assert_eq!(judge(answer, &request(&key), &key, at(TIME)), Ok(expected));
}

/// The answer that [`check`] would find genuine.
fn good() -> Vec<u8> {
    let key = key(Algorithm::HmacSha256, 0);
    answer(&request(&key).wire, &key, Said::plain(Rcode::NOERROR, TIME), 32)
}

#[test]
fn p11_all_six_algorithms_sign_as_another_implementation_does() {
    for (algorithm, expected, _) in VECTORS {
        let key = key(algorithm, 0);
        let signed = request(&key);
        assert_eq!(signed.mac, bytes(expected), "{}", algorithm.as_str());
        assert_eq!(signed.wire.len(), bytes(REQUEST).len() + overhead(&key));
        let message = Message::from_slice(&signed.wire).unwrap();
        let found = find(message.additional().unwrap()).unwrap().unwrap();
        assert_eq!(found.tsig.mac_slice(), bytes(expected));
        assert_eq!(found.owner.to_string(), "faythe-key.example");
        assert_eq!((found.tsig.fudge(), found.tsig.original_id()), (300, 0x1234));
    }
}

#[test]
fn p11_all_six_algorithms_verify_what_another_implementation_signed() {
    for (algorithm, _, expected) in VECTORS {
        let key = key(algorithm, 0);
        let signed = request(&key);
        let answer = answer(
            &signed.wire,
            &key,
            Said::plain(Rcode::NOERROR, TIME + 2),
            algorithm.size(),
        );
        let message = Message::from_slice(&answer).unwrap();
        let found = find(message.additional().unwrap()).unwrap().unwrap();
        assert_eq!(found.tsig.mac_slice(), bytes(expected), "{}", algorithm.as_str());
        assert_eq!(
            judge(&answer, &signed, &key, at(TIME)),
            Ok(Seal::Genuine {
                complaint: None,
                time: 1_700_000_002
            })
        );
    }
}

#[test]
fn p11_a_truncated_key_sends_and_takes_truncated_signatures() {
    let key = key(Algorithm::HmacSha256, 128);
    let signed = request(&key);
    assert_eq!(signed.mac, bytes(VECTORS[3].1)[..16]);
    let judged = |length| {
        let answer = answer(&signed.wire, &key, Said::plain(Rcode::NOERROR, TIME), length);
        judge(&answer, &signed, &key, at(TIME)).unwrap()
    };
    assert_eq!(judged(16), GENUINE);
    assert_eq!(judged(32), GENUINE);
    assert_eq!(
        judged(15),
        Seal::Broken("signed with a signature of the wrong length")
    );
}

#[test]
fn a_signature_shorter_than_the_rfc_allows_is_not_believed_whatever_the_key_says() {
    let key = key(Algorithm::HmacSha256, 8);
    let signed = request(&key);
    let answer = answer(&signed.wire, &key, Said::plain(Rcode::NOERROR, TIME), 1);
    let expected = Seal::Broken("signed with a signature of the wrong length");
    assert_eq!(judge(&answer, &signed, &key, at(TIME)), Ok(expected));
}

#[test]
fn a_signature_shorter_than_the_key_says_is_not_believed() {
    let key = key(Algorithm::HmacSha256, 0);
    let answer = answer(&request(&key).wire, &key, Said::plain(Rcode::NOERROR, TIME), 16);
    check(
        &answer,
        Seal::Broken("signed with a signature of the wrong length"),
    );
}

#[test]
fn no_octet_of_an_answer_can_be_changed() {
    let key = key(Algorithm::HmacSha256, 0);
    let (answer, signed) = (good(), request(&key));
    check(&answer, GENUINE);
    for at_octet in 0..answer.len() {
        let mut changed = answer.clone();
        changed[at_octet] ^= 0x01;
        let judged = judge(&changed, &signed, &key, at(TIME));
        // The message's ID may be another on the way; the one that counts is in the record (RFC 8945 §4.2).
        let genuine = matches!(judged, Ok(GENUINE));
        assert_eq!(genuine, at_octet < 2, "octet {at_octet}: {judged:?}");
    }
}

#[test]
fn an_answer_to_another_request_is_not_believed() {
    let key = key(Algorithm::HmacSha256, 0);
    let other = sign(bytes(REQUEST), 0x1234, &key, at(TIME - 1));
    let answer = answer(&other.wire, &key, Said::plain(Rcode::NOERROR, TIME), 32);
    check(&answer, Seal::Broken("signed wrongly"));
}

#[test]
fn another_key_or_algorithm_is_not_believed() {
    let ours = request(&key(Algorithm::HmacSha256, 0));
    let renamed = Key::new("other", Algorithm::HmacSha256, 0, Sealed::new(SECRET.to_vec())).unwrap();
    let said = Said::plain(Rcode::NOERROR, TIME);
    check(
        &answer(&ours.wire, &renamed, said, 32),
        Seal::Broken("signed with another key"),
    );
    let sha1 = key(Algorithm::HmacSha1, 0);
    check(
        &answer(&ours.wire, &sha1, said, 20),
        Seal::Broken("signed with another algorithm"),
    );
    let secret = Key::new(
        "faythe-key.example",
        Algorithm::HmacSha256,
        0,
        Sealed::new(b"x".to_vec()),
    )
    .unwrap();
    check(
        &answer(&ours.wire, &secret, said, 32),
        Seal::Broken("signed wrongly"),
    );
}

#[test]
fn p12_an_answer_from_another_time_is_not_believed() {
    let key = key(Algorithm::HmacSha256, 0);
    let wire = request(&key).wire;
    let signed_at = |time| answer(&wire, &key, Said::plain(Rcode::NOERROR, time), 32);
    for time in [1_700_000_300, 1_699_999_700] {
        let genuine = Seal::Genuine {
            complaint: None,
            time,
        };
        check(&signed_at(i64::try_from(time).unwrap()), genuine);
    }
    check(&signed_at(TIME + 301), Seal::Broken("signed at another time"));
    check(&signed_at(TIME - 301), Seal::Broken("signed at another time"));
}

#[test]
fn p12_badtime_brings_the_servers_clock() {
    let key = key(Algorithm::HmacSha256, 0);
    let said = Said {
        rcode: Rcode::NOTAUTH,
        error: TsigRcode::BADTIME,
        time: TIME,
        clock: Some(TIME + 7200),
    };
    let complaint = Complaint {
        error: TsigRcode::BADTIME,
        server_time: Some(1_700_007_200),
    };
    check(
        &answer(&request(&key).wire, &key, said, 32),
        Seal::Genuine {
            complaint: Some(complaint),
            time: 1_700_000_000,
        },
    );
}

#[test]
fn an_empty_signature_is_a_complaint_and_never_success() {
    let key = key(Algorithm::HmacSha256, 0);
    let wire = request(&key).wire;
    let said = Said {
        rcode: Rcode::NOTAUTH,
        error: TsigRcode::BADKEY,
        time: TIME,
        clock: None,
    };
    let complaint = Complaint {
        error: TsigRcode::BADKEY,
        server_time: None,
    };
    check(&answer(&wire, &key, said, 0), Seal::Complaint(complaint));
    check(
        &answer(&wire, &key, Said::plain(Rcode::NOERROR, TIME), 0),
        Seal::Broken("signed with nothing"),
    );
}

#[test]
fn an_answer_without_signature_says_so() {
    check(
        &unsigned(&request(&key(Algorithm::HmacSha256, 0)).wire, Rcode::NOERROR),
        Seal::Missing,
    );
}

#[test]
fn the_signature_must_be_the_last_record() {
    let mut twice = good();
    let record = twice[HEADER..].to_vec();
    twice.extend_from_slice(&record);
    twice[ARCOUNT].copy_from_slice(&be16(2));
    let key = key(Algorithm::HmacSha256, 0);
    assert!(judge(&twice, &request(&key), &key, at(TIME)).is_err());
}

#[test]
fn a_key_prints_its_name_and_algorithm_and_hides_its_secret() {
    assert_eq!(
        key(Algorithm::HmacSha256, 0).to_string(),
        "faythe-key.example. (hmac-sha256)"
    );
    assert_eq!(
        key(Algorithm::HmacSha512, 256).to_string(),
        "faythe-key.example. (hmac-sha512-256)"
    );
    assert!(!format!("{:?}", key(Algorithm::HmacSha256, 0)).contains("0123"));
}

#[test]
fn a_key_that_cannot_be_one_says_why() {
    let make = |name: &str, bits, secret: &[u8]| {
        Key::new(name, Algorithm::HmacSha1, bits, Sealed::new(secret.to_vec())).unwrap_err()
    };
    assert_eq!(make("k", 0, b""), KeyError::EmptySecret);
    assert_eq!(
        make("k", 168, b"x"),
        KeyError::Truncation {
            algorithm: "hmac-sha1",
            bits: 160,
            asked: 168
        }
    );
    assert!(matches!(make("a..b", 0, b"x"), KeyError::Name(_)));
}

proptest! {
    #[test]
    fn no_answer_makes_the_judge_panic(answer in proptest::collection::vec(any::<u8>(), 0..200)) {
        let key = key(Algorithm::HmacSha256, 0);
        drop(judge(&answer, &request(&key), &key, at(TIME)));
    }

    #[test]
    fn no_mutilated_answer_is_genuine_or_panics(
        at_octet in 2..HEADER,
        value: u8,
        length in 0..good().len(),
        insertion in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let key = key(Algorithm::HmacSha256, 0);
        let mut answer = good();
        let unchanged = answer[at_octet] == value;
        answer[at_octet] = value;
        let judged = judge(&answer, &request(&key), &key, at(TIME));
        prop_assert!(unchanged || !is_genuine(&judged));
        let mut cut = good();
        cut.splice(length.., insertion);
        prop_assert!(cut == good() || !is_genuine(&judge(&cut, &request(&key), &key, at(TIME))));
    }
}

//! Updates octet by octet, and every answer that a server may give.

use super::*;
use crate::dns::tsig::tests::{Said, answer, at, key, unsigned};
use crate::dns::tsig::{Algorithm, sign};
use proptest::prelude::*;

const TIME: i64 = 1_700_000_000;
const TTL: Ttl = Ttl::from_secs(120);

fn request() -> Signed {
    let message = compose(&"example.com".parse().unwrap(), TTL, []).unwrap();
    sign(message, 0x1234, &key(Algorithm::HmacSha256, 0), at(TIME))
}

fn outcome(answer: &[u8]) -> Result<(), UpdateFault> {
    interpret(&request(), answer, Some(&key(Algorithm::HmacSha256, 0)), at(TIME))
        .map(|_| ())
        .map_err(|refusal| refusal.fault)
}

/// What a signed answer with `rcode` means.
fn signed(rcode: Rcode) -> Result<(), UpdateFault> {
    let key = key(Algorithm::HmacSha256, 0);
    outcome(&answer(&request().wire, &key, Said::plain(rcode, TIME), 32))
}

/// What an answer with a TSIG error and no signature means.
fn complained(error: TsigRcode, clock: Option<i64>) -> Result<(), UpdateFault> {
    let key = key(Algorithm::HmacSha256, 0);
    outcome(&answer(
        &request().wire,
        &key,
        Said {
            rcode: Rcode::NOTAUTH,
            error,
            time: TIME,
            clock,
        },
        0,
    ))
}

fn refusal(outcome: Result<(), UpdateFault>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn s08_s09_a_replacement_deletes_the_set_and_adds_the_live_values_with_ttl_120() {
    let name = wire_name("_acme-challenge.example.com").unwrap();
    let change = Change::Replace(["a".to_owned(), "b".to_owned()].into());
    let message = compose(&"example.com".parse().unwrap(), TTL, [(&name, &change)]).unwrap();
    let mut expected = Vec::new();
    // No ID yet; opcode 5; 1 zone, 0 prerequisites, 3 updates.
    expected.extend([0, 0, 0x28, 0, 0, 1, 0, 0, 0, 3, 0, 0]);
    expected.extend(b"\x07example\x03com\x00\x00\x06\x00\x01");
    // TXT ANY, TTL 0, no data.
    expected.extend(b"\x0f_acme-challenge\x07example\x03com\x00\x00\x10\x00\xff\x00\x00\x00\x00\x00\x00");
    for value in [b"a", b"b"] {
        expected
            .extend(b"\x0f_acme-challenge\x07example\x03com\x00\x00\x10\x00\x01\x00\x00\x00\x78\x00\x02\x01");
        expected.extend(value);
    }
    assert_eq!(message, expected);
}

#[test]
fn s09_a_removal_names_exactly_its_values() {
    let name = wire_name("x.test").unwrap();
    let change = Change::Amend {
        remove: ["a".to_owned()].into(),
        add: BTreeSet::new(),
    };
    let message = compose(&"test".parse().unwrap(), TTL, [(&name, &change)]).unwrap();
    // TXT NONE, TTL 0, the data.
    let expected = b"\x01x\x04test\x00\x00\x10\x00\xfe\x00\x00\x00\x00\x00\x02\x01a";
    assert!(message.ends_with(expected), "{message:?}");
}

#[test]
fn p15_an_amendment_takes_away_and_adds_by_value_alone() {
    let name = wire_name("x.test").unwrap();
    let change = Change::Amend {
        remove: ["a".to_owned()].into(),
        add: ["b".to_owned()].into(),
    };
    let message = compose(&"test".parse().unwrap(), Ttl::from_secs(60), [(&name, &change)]).unwrap();
    // TXT NONE, TTL 0, the data; TXT IN, TTL 60, the data. Nothing has class ANY.
    let expected = b"\x01x\x04test\x00\x00\x10\x00\xfe\x00\x00\x00\x00\x00\x02\x01a\
        \x01x\x04test\x00\x00\x10\x00\x01\x00\x00\x00\x3c\x00\x02\x01b";
    assert!(message.ends_with(expected), "{message:?}");
}

#[test]
fn the_size_that_is_reckoned_is_the_size_of_the_message() {
    let (apex, name) = (
        "example.com".parse().unwrap(),
        wire_name("_acme-challenge.www.example.com").unwrap(),
    );
    let texts: BTreeSet<String> = [0, 1, 43, 254, 255, 256, 600]
        .map(|length| "v".repeat(length))
        .into();
    for change in [
        Change::Replace(texts.clone()),
        Change::Amend {
            remove: texts.clone(),
            add: texts,
        },
        Change::Replace(BTreeSet::new()),
    ] {
        let key = key(Algorithm::HmacSha512, 0);
        let message = compose(&apex, TTL, [(&name, &change)]).unwrap();
        let wire = sign(message, 1, &key, at(TIME)).wire;
        assert_eq!(
            wire.len(),
            overhead(&apex) + tsig::overhead(&key) + change.size(&name)
        );
    }
}

#[test]
fn more_than_a_message_can_hold_is_an_error() {
    let name = wire_name("x.test").unwrap();
    let change = Change::Replace(["v".repeat(65_000)].into());
    let outcome = compose(&"test".parse().unwrap(), TTL, [(&name, &change)]);
    assert!(matches!(outcome, Err(UpdateFault::Format(what)) if what.contains("do not fit")));
}

#[test]
fn only_a_signed_noerror_is_success() {
    assert_eq!(signed(Rcode::NOERROR), Ok(()));
    assert_eq!(
        outcome(&unsigned(&request().wire, Rcode::NOERROR)),
        Err(UpdateFault::Forged("not signed"))
    );
    let other = crate::dns::tsig::Key::new(
        "faythe-key.example",
        Algorithm::HmacSha256,
        0,
        crate::sealed::Sealed::new(b"x".to_vec()),
    );
    let forged = answer(
        &request().wire,
        &other.unwrap(),
        Said::plain(Rcode::NOERROR, TIME),
        32,
    );
    assert_eq!(outcome(&forged), Err(UpdateFault::Forged("signed wrongly")));
    let empty = answer(
        &request().wire,
        &key(Algorithm::HmacSha256, 0),
        Said::plain(Rcode::NOERROR, TIME),
        0,
    );
    assert_eq!(outcome(&empty), Err(UpdateFault::Forged("signed with nothing")));
    let late = answer(
        &request().wire,
        &key(Algorithm::HmacSha256, 0),
        Said::plain(Rcode::NOERROR, TIME + 900),
        32,
    );
    assert_eq!(outcome(&late), Err(UpdateFault::Forged("signed at another time")));
}

#[test]
fn p11_what_the_server_has_against_the_signature_is_told_apart() {
    assert_eq!(complained(TsigRcode::BADKEY, None), Err(UpdateFault::BadKey));
    assert_eq!(complained(TsigRcode::BADSIG, None), Err(UpdateFault::BadSig));
    assert_eq!(complained(TsigRcode::BADTRUNC, None), Err(UpdateFault::BadTrunc));
    let ahead = complained(TsigRcode::BADTIME, Some(TIME - 7200));
    assert_eq!(
        ahead,
        Err(UpdateFault::BadTime {
            offset_secs: 7200,
            server_time: at(TIME - 7200)
        })
    );
    assert!(refusal(ahead).contains("7200 s ahead of"));
    assert_eq!(
        complained(TsigRcode::BADTIME, Some(TIME + 900)),
        Err(UpdateFault::BadTime {
            offset_secs: -900,
            server_time: at(TIME + 900)
        })
    );
    assert!(refusal(complained(TsigRcode::BADTIME, None)).contains("BADTIME"));
    assert!(refusal(complained(TsigRcode::BADMODE, None)).contains("TSIG error"));
}

#[test]
fn p11_a_complaint_is_a_fault_even_with_a_good_signature_and_noerror() {
    let key = key(Algorithm::HmacSha256, 0);
    let said = Said {
        rcode: Rcode::NOERROR,
        error: TsigRcode::BADSIG,
        time: TIME,
        clock: None,
    };
    assert_eq!(
        outcome(&answer(&request().wire, &key, said, 32)),
        Err(UpdateFault::BadSig)
    );
}

#[test]
fn p11_a_refusal_is_told_apart_by_its_signature() {
    let policy = refusal(signed(Rcode::REFUSED));
    assert!(
        policy.contains("knows the key") && policy.contains("update-policy"),
        "{policy}"
    );
    let powerdns = refusal(outcome(&unsigned(&request().wire, Rcode::REFUSED)));
    for cause in ["key name", "secret", "clock"] {
        assert!(powerdns.contains(cause), "{powerdns:?} does not name the {cause}");
    }
}

#[test]
fn p11_all_other_codes_are_named() {
    assert_eq!(signed(Rcode::NOTAUTH), Err(UpdateFault::NotAuth));
    assert_eq!(
        outcome(&unsigned(&request().wire, Rcode::NOTAUTH)),
        Err(UpdateFault::NotAuth)
    );
    assert_eq!(signed(Rcode::NOTZONE), Err(UpdateFault::NotZone));
    assert_eq!(signed(Rcode::SERVFAIL), Err(UpdateFault::ServFail));
    assert!(matches!(signed(Rcode::FORMERR), Err(UpdateFault::Format(_))));
    assert_eq!(signed(Rcode::NOTIMP), Err(UpdateFault::NotImp));
    assert_eq!(
        signed(Rcode::YXDOMAIN),
        Err(UpdateFault::Rcode("YXDOMAIN".to_owned()))
    );
}

#[test]
fn an_answer_that_is_none_is_not_read_as_one() {
    let good = answer(
        &request().wire,
        &key(Algorithm::HmacSha256, 0),
        Said::plain(Rcode::NOERROR, TIME),
        32,
    );
    // Another ID, a query instead of an answer, another opcode, an answer that was cut off.
    for (octet, bit) in [(0, 0x80), (2, 0x80), (2, 0x08), (2, 0x02)] {
        let mut changed = good.clone();
        changed[octet] ^= bit;
        assert!(outcome(&changed).is_err(), "octet {octet}, bit {bit:#x}");
    }
    assert!(matches!(outcome(&[]), Err(UpdateFault::Format(_))));
    assert!(matches!(
        outcome(&good[..good.len() - 1]),
        Err(UpdateFault::Format(_))
    ));
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..120), counts: [u8; 8]) {
        let mut answer = unsigned(&request().wire, Rcode::NOERROR);
        answer[4..12].copy_from_slice(&counts);
        answer.extend(tail);
        prop_assert!(outcome(&answer).is_err());
    }
}

//! Answers about a challenge's name as servers give them, read.

use domain::base::iana::{Class, Rcode};
use domain::base::{MessageBuilder, Ttl};
use domain::rdata::rfc1035::Txt;
use proptest::prelude::*;

use super::*;
use crate::dns::query::tests::{name, question_for};

const ASKED: &str = "_acme-challenge.www.example.com";

/// Records of an answer, by section.
#[derive(Default)]
struct Records {
    cnames: Vec<(&'static str, &'static str)>,
    dnames: Vec<(&'static str, &'static str)>,
    soa: Option<&'static str>,
    ns: Vec<&'static str>,
    text: bool,
    referral: bool,
}

/// As a server answers that holds the zone, but for referrals.
fn reply(rcode: Rcode, records: &Records) -> Vec<u8> {
    let query = question_for(ASKED, Recursion::Off);
    let mut answer = MessageBuilder::new_vec()
        .start_answer(Message::from_slice(&query).unwrap(), rcode)
        .unwrap();
    let ttl = Ttl::ZERO;
    for (owner, target) in &records.dnames {
        answer
            .push((name(owner), Class::IN, ttl, Dname::new(name(target))))
            .unwrap();
    }
    for (owner, target) in &records.cnames {
        answer
            .push((name(owner), Class::IN, ttl, Cname::new(name(target))))
            .unwrap();
    }
    if records.text {
        let text = Txt::<Vec<u8>>::build_from_slice(b"v").unwrap();
        answer.push((name(ASKED), Class::IN, ttl, text)).unwrap();
    }
    let mut authority = answer.authority();
    if let Some(owner) = records.soa {
        let soa = Soa::new(name("ns.test"), name("h.test"), 1.into(), ttl, ttl, ttl, ttl);
        authority.push((name(owner), Class::IN, ttl, soa)).unwrap();
    }
    for owner in &records.ns {
        authority
            .push((name(owner), Class::IN, ttl, Ns::new(name("ns.test"))))
            .unwrap();
    }
    authority.header_mut().set_aa(!records.referral);
    authority.finish()
}

#[track_caller]
fn check(rcode: Rcode, records: &Records, expected: &Leg) {
    let apex: DnsName = "example.com".parse().unwrap();
    let octets = reply(rcode, records);
    assert_eq!(
        read(&Reply::of(&octets), &apex, &name(ASKED)).as_ref(),
        Ok(expected)
    );
}

#[test]
fn p06_a_name_without_records_or_with_other_records_is_plain() {
    let soa = Records {
        soa: Some("Example.com"),
        ..Records::default()
    };
    check(Rcode::NXDOMAIN, &soa, &Leg::Plain);
    check(Rcode::NOERROR, &soa, &Leg::Plain);
    let bare = Records::default();
    check(Rcode::NXDOMAIN, &bare, &Leg::Plain);
    let text = Records {
        text: true,
        ns: vec!["example.com"],
        ..Records::default()
    };
    check(Rcode::NOERROR, &text, &Leg::Plain);
    // A server that does not hold the zone points upwards.
    let upwards = Records {
        ns: vec!["com"],
        ..Records::default()
    };
    check(Rcode::NOERROR, &upwards, &Leg::Plain);
}

#[test]
fn p06_the_first_alias_of_a_chain_is_read_whatever_follows() {
    let chain = Records {
        cnames: vec![
            ("a.test", "b.test"),
            ("_ACME-challenge.www.example.com", "a.test"),
        ],
        soa: Some("test"),
        ..Records::default()
    };
    let alias = |by_dname| Leg::Alias {
        target: "a.test".to_owned(),
        by_dname,
    };
    check(Rcode::NXDOMAIN, &chain, &alias(false));
    let dname = Records {
        dnames: vec![("www.example.com", "test")],
        cnames: vec![(ASKED, "a.test")],
        ..Records::default()
    };
    check(Rcode::NOERROR, &dname, &alias(true));
    // One that stands further on in the chain has not made the first alias.
    let later = Records {
        dnames: vec![("test", "example.net")],
        ..chain
    };
    check(Rcode::NOERROR, &later, &alias(false));
}

#[test]
fn p07_a_zone_below_shows_in_a_referral_and_in_the_origin_of_an_answer() {
    let cut = Leg::Cut(ASKED.to_owned());
    let referral = Records {
        ns: vec![ASKED],
        referral: true,
        ..Records::default()
    };
    check(Rcode::NOERROR, &referral, &cut);
    let origin = Records {
        soa: Some(ASKED),
        ..Records::default()
    };
    check(Rcode::NOERROR, &origin, &Leg::Within(ASKED.to_owned()));
    let between = Records {
        text: true,
        ns: vec!["WWW.example.com"],
        ..Records::default()
    };
    check(
        Rcode::NOERROR,
        &between,
        &Leg::Within("www.example.com".to_owned()),
    );
}

#[test]
fn p06_labels_that_nobody_can_have_thought_of_differ_and_fit() {
    let one = stranger().unwrap();
    assert_ne!(one, stranger().unwrap());
    let below_it = below(&one, &name("example.com")).unwrap();
    assert_eq!(below_it.to_string(), format!("{one}.example.com"));
    let long = name(&["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(60)].join("."));
    assert_eq!(below(&one, &long), None);
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..60), at in 2usize..90, value: u8) {
        let records = Records {
            cnames: vec![(ASKED, "a.test")],
            dnames: vec![("www.example.com", "test")],
            soa: Some("example.com"),
            ns: vec!["example.com"],
            text: true,
            referral: false,
        };
        let apex: DnsName = "example.com".parse().unwrap();
        let mut octets = reply(Rcode::NOERROR, &records);
        octets[at] = value;
        octets.extend_from_slice(&tail);
        drop(read(&Reply::of(&octets), &apex, &name(ASKED)));
    }
}

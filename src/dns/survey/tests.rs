//! NS records and addresses as servers give them, read.

use domain::base::iana::{Class, Rcode};
use domain::base::{MessageBuilder, Ttl};

use super::*;
use crate::dns::query::tests::{name, question_for};

#[test]
fn p03_servers_are_read_with_the_addresses_of_both_families_that_came_along() {
    let query = question_for("example.com", Recursion::Off);
    let mut answer = MessageBuilder::new_vec()
        .start_answer(Message::from_slice(&query).unwrap(), Rcode::NOERROR)
        .unwrap();
    let ttl = Ttl::ZERO;
    for (owner, server) in [
        ("EXAMPLE.com", "NS1.example.com"),
        ("example.com", "ns.other.test"),
        ("a.example.com", "ns.a.example.com"),
    ] {
        answer
            .push((name(owner), Class::IN, ttl, Ns::new(name(server))))
            .unwrap();
    }
    let mut additional = answer.additional();
    let a = A::from_octets(192, 0, 2, 1);
    let aaaa = Aaaa::new("2001:db8::1".parse().unwrap());
    additional
        .push((name("ns1.example.com"), Class::IN, ttl, a))
        .unwrap();
    additional
        .push((name("Ns1.example.com"), Class::IN, ttl, aaaa))
        .unwrap();
    additional
        .push((
            name("stranger.test"),
            Class::IN,
            ttl,
            A::from_octets(192, 0, 2, 9),
        ))
        .unwrap();
    let octets = additional.finish();
    let found = delegation(Message::from_slice(&octets).unwrap(), &name("example.com")).unwrap();
    let servers: Vec<&str> = found.servers.iter().map(String::as_str).collect();
    assert_eq!(servers, ["ns.other.test", "ns1.example.com"]);
    let glue = BTreeMap::from([(
        "ns1.example.com".to_owned(),
        BTreeSet::from(["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap())),
    )]);
    assert_eq!(found.glue, glue);
}

//! Answers about TXT values, good and bad, with servers made for the occasion.

use domain::base::MessageBuilder;
use domain::base::iana::Rcode;
use domain::rdata::rfc1035::Cname;
use proptest::prelude::*;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::dns::query::tests::{Says, answer, name, question, serve};

async fn look(udp: Says, tcp: Option<Says>) -> Result<Vec<String>, LookError> {
    let mut servers = JoinSet::new();
    let server = serve(&mut servers, udp, tcp).await;
    values_at(&[server]).await
}

async fn values_at(peers: &[SocketAddr]) -> Result<Vec<String>, LookError> {
    let answer = texts(peers, &name("x.test"), Role::Update).await?;
    Ok(answer.values)
}

fn values_in(octets: &[u8]) -> Result<Vec<String>, LookError> {
    Ok(read(&Reply::of(octets), Role::Listed)?.values)
}

fn found(values: &[&str]) -> Result<Vec<String>, LookError> {
    Ok(values.iter().map(|value| (*value).to_owned()).collect())
}

#[test]
fn p09_the_zones_own_server_is_asked_without_recursion_and_resolvers_with() {
    let rd = |recursion| Message::from_slice(&question(recursion)).unwrap().header().rd();
    assert!(!rd(Recursion::Off));
    assert!(rd(Recursion::Wanted));
}

#[test]
fn strings_of_a_value_are_joined_and_names_compared_in_any_case() {
    let query = question(Recursion::Off);
    let answer = answer(&query, Rcode::NOERROR, &["token.thumbprint", "b"]);
    assert_eq!(values_in(&answer), found(&["token.thumbprint", "b"]));
}

#[test]
fn only_values_at_the_name_itself_or_its_alias_count() {
    let query = question(Recursion::Wanted);
    let text = |value: &str| Txt::<Vec<u8>>::build_from_slice(value.as_bytes()).unwrap();
    let ttl = domain::base::Ttl::ZERO;
    let asked = Message::from_slice(&query).unwrap();
    let mut reply = MessageBuilder::new_vec()
        .start_answer(asked, Rcode::NOERROR)
        .unwrap();
    reply
        .push((name("x.test"), Class::IN, ttl, Cname::new(name("y.test"))))
        .unwrap();
    reply
        .push((name("y.test"), Class::IN, ttl, text("aliased")))
        .unwrap();
    reply
        .push((name("z.test"), Class::IN, ttl, text("foreign")))
        .unwrap();
    reply
        .push((name("y.test"), Class::CH, ttl, text("chaos")))
        .unwrap();
    assert_eq!(values_in(&reply.finish()), found(&["aliased"]));
}

#[test]
fn a_ring_of_aliases_is_an_error() {
    let query = question(Recursion::Wanted);
    let mut reply = MessageBuilder::new_vec()
        .start_answer(Message::from_slice(&query).unwrap(), Rcode::NOERROR)
        .unwrap();
    reply
        .push((
            name("x.test"),
            Class::IN,
            domain::base::Ttl::ZERO,
            Cname::new(name("x.test")),
        ))
        .unwrap();
    assert!(matches!(values_in(&reply.finish()), Err(LookError::Format(_))));
}

#[test]
fn absence_is_an_empty_answer_and_a_refusal_is_not() {
    let query = question(Recursion::Off);
    assert_eq!(values_in(&answer(&query, Rcode::NOERROR, &[])), found(&[]));
    assert_eq!(values_in(&answer(&query, Rcode::NXDOMAIN, &[])), found(&[]));
    assert_eq!(
        values_in(&answer(&query, Rcode::SERVFAIL, &[])),
        Err(LookError::Rcode("SERVFAIL".to_owned()))
    );
    assert_eq!(
        values_in(&answer(&query, Rcode::REFUSED, &[])),
        Err(LookError::Rcode("REFUSED".to_owned()))
    );
}

#[tokio::test]
async fn p13_an_answer_cut_off_is_asked_for_again_by_tcp() {
    let cut: Says = |query| {
        let mut answer = answer(query, Rcode::NOERROR, &["half"]);
        answer[2] |= 0x02;
        vec![answer]
    };
    assert_eq!(
        look(cut, Some(|query| vec![answer(query, Rcode::NOERROR, &["whole"])])).await,
        found(&["whole"])
    );
}

#[tokio::test]
async fn p13_a_server_that_answers_by_tcp_only_is_fine() {
    assert_eq!(
        look(
            |_| vec![],
            Some(|query| vec![answer(query, Rcode::NOERROR, &["v"])])
        )
        .await,
        found(&["v"])
    );
}

#[tokio::test]
async fn p13_a_server_that_answers_by_udp_only_is_fine() {
    assert_eq!(
        look(|query| vec![answer(query, Rcode::NOERROR, &["v"])], None).await,
        found(&["v"])
    );
}

#[tokio::test]
async fn p08_answers_with_a_wrong_id_or_of_nonsense_are_passed_over() {
    let noisy: Says = |query| {
        let mut forged = answer(query, Rcode::NOERROR, &["forged"]);
        forged[0] ^= 0xff;
        vec![forged, vec![1, 2, 3], answer(query, Rcode::NOERROR, &["true"])]
    };
    assert_eq!(look(noisy, None).await, found(&["true"]));
}

#[tokio::test]
async fn p08_one_good_address_of_several_is_enough() {
    let mut servers = JoinSet::new();
    let failing = serve(
        &mut servers,
        |query| vec![answer(query, Rcode::SERVFAIL, &[])],
        None,
    )
    .await;
    let good = serve(
        &mut servers,
        |query| vec![answer(query, Rcode::NOERROR, &["v"])],
        None,
    )
    .await;
    let dead = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(values_at(&[dead, failing, good]).await, found(&["v"]));
    let outcome = values_at(&[dead, failing]).await;
    assert_eq!(outcome, Err(LookError::Rcode("SERVFAIL".to_owned())));
    let Err(LookError::Unreachable(tried)) = values_at(&[dead]).await else {
        panic!()
    };
    assert!(
        tried.contains("by UDP: ") && tried.contains("by TCP: "),
        "{tried}"
    );
}

#[test]
fn p08_a_name_server_without_authority_is_lame_and_a_listed_one_may_be_a_resolver() {
    let query = question(Recursion::Off);
    let mut octets = answer(&query, Rcode::NOERROR, &["v"]);
    let as_a = |role, octets: &[u8]| read(&Reply::of(octets), role).map(|answer| answer.values);
    assert_eq!(as_a(Role::Authoritative, &octets), Err(LookError::Lame));
    assert_eq!(as_a(Role::Update, &octets), found(&["v"]));
    assert_eq!(as_a(Role::Listed, &octets), found(&["v"]));
    octets[2] |= 0x04;
    assert_eq!(as_a(Role::Authoritative, &octets), found(&["v"]));
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..120), at in 2usize..40, value: u8) {
        let query = question(Recursion::Off);
        let mut changed = answer(&query, Rcode::NOERROR, &["token.thumbprint"]);
        changed[at] = value;
        changed.extend_from_slice(&tail);
        drop(values_in(&changed));
        drop(values_in(&tail));
    }
}

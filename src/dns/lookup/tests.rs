//! Queries and answers, good and bad, with servers made for the occasion.

use super::*;
use domain::rdata::rfc1035::Cname;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).unwrap()
}

fn question(recursion: Recursion) -> Vec<u8> {
    query(&name("x.test"), recursion).unwrap()
}

/// An answer to `query` with one TXT record for each value, in two strings each.
fn answer(query: &[u8], rcode: Rcode, values: &[&str]) -> Vec<u8> {
    let asked = Message::from_slice(query).unwrap();
    let mut answer = MessageBuilder::new_vec().start_answer(asked, rcode).unwrap();
    for value in values {
        let (head, tail) = value.split_at(value.len() / 2);
        let text = [
            &[u8::try_from(head.len()).unwrap()],
            head.as_bytes(),
            &[u8::try_from(tail.len()).unwrap()],
            tail.as_bytes(),
        ];
        let text = Txt::from_octets(text.concat()).unwrap();
        answer
            .push((name("X.TEST"), Class::IN, domain::base::Ttl::ZERO, text))
            .unwrap();
    }
    answer.finish()
}

/// What a server says to a query over UDP and over TCP; nothing where it says nothing.
type Says = fn(&[u8]) -> Vec<Vec<u8>>;

async fn serve(servers: &mut JoinSet<()>, udp_says: Says, tcp_says: Option<Says>) -> SocketAddr {
    let (tcp, udp, address) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        if let Ok(udp) = UdpSocket::bind(address).await {
            break (tcp, udp, address);
        }
    };
    servers.spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
            for message in udp_says(&buffer[..length]) {
                udp.send_to(&message, peer).await.unwrap();
            }
        }
    });
    if let Some(says) = tcp_says {
        servers.spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut query).await.unwrap();
                for message in says(&query) {
                    stream
                        .write_u16(u16::try_from(message.len()).unwrap())
                        .await
                        .unwrap();
                    stream.write_all(&message).await.unwrap();
                }
            }
        });
    }
    address
}

async fn look(udp: Says, tcp: Option<Says>) -> Result<Vec<String>, LookError> {
    let mut servers = JoinSet::new();
    let server = serve(&mut servers, udp, tcp).await;
    texts_at(&[server], &name("x.test"), Recursion::Off).await
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
    assert!(belongs(&answer, &query));
    assert_eq!(read(&answer), found(&["token.thumbprint", "b"]));
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
    assert_eq!(read(&reply.finish()), found(&["aliased"]));
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
    assert!(matches!(read(&reply.finish()), Err(LookError::Format(_))));
}

#[test]
fn absence_is_an_empty_answer_and_a_refusal_is_not() {
    let query = question(Recursion::Off);
    assert_eq!(read(&answer(&query, Rcode::NOERROR, &[])), found(&[]));
    assert_eq!(read(&answer(&query, Rcode::NXDOMAIN, &[])), found(&[]));
    assert_eq!(
        read(&answer(&query, Rcode::SERVFAIL, &[])),
        Err(LookError::Rcode("SERVFAIL".to_owned()))
    );
    assert_eq!(
        read(&answer(&query, Rcode::REFUSED, &[])),
        Err(LookError::Rcode("REFUSED".to_owned()))
    );
}

#[test]
fn an_answer_must_repeat_the_question_unless_it_could_not_be_read() {
    let ours = question(Recursion::Off);
    let other = query(&name("y.test"), Recursion::Off).unwrap();
    let mut foreign = answer(&other, Rcode::NOERROR, &[]);
    foreign[..2].copy_from_slice(&ours[..2]);
    assert!(!belongs(&foreign, &ours));
    assert!(!belongs(&ours, &ours), "a query is no answer");
    let bare = |rcode: u8| [&ours[..2], &[0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert!(belongs(&bare(1), &ours));
    assert!(!belongs(&bare(0), &ours));
    assert!(!belongs(&bare(3), &ours));
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
    let name = name("x.test");
    assert_eq!(
        texts_at(&[dead, failing, good], &name, Recursion::Off).await,
        found(&["v"])
    );
    let outcome = texts_at(&[dead, failing], &name, Recursion::Off).await;
    assert_eq!(outcome, Err(LookError::Rcode("SERVFAIL".to_owned())));
    let Err(LookError::Unreachable(tried)) = texts_at(&[dead], &name, Recursion::Off).await else {
        panic!()
    };
    assert!(
        tried.contains("by UDP: ") && tried.contains("by TCP: "),
        "{tried}"
    );
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..120), at in 2usize..40, value: u8) {
        let query = question(Recursion::Off);
        let mut changed = answer(&query, Rcode::NOERROR, &["token.thumbprint"]);
        changed[at] = value;
        changed.extend_from_slice(&tail);
        belongs(&changed, &query);
        drop(read(&changed));
        belongs(&tail, &query);
        drop(read(&tail));
    }
}

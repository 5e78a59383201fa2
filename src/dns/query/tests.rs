//! Queries and answers, good and bad, with servers made for the occasion.

use domain::base::iana::{Class, ExtendedErrorCode};
use domain::base::opt::ExtendedError;
use domain::rdata::rfc1035::Txt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::*;

pub(crate) fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).unwrap()
}

pub(crate) fn question(recursion: Recursion) -> Vec<u8> {
    question_for("x.test", recursion)
}

pub(crate) fn question_for(text: &str, recursion: Recursion) -> Vec<u8> {
    let name = name(text);
    let question = Question {
        name: &name,
        rtype: Rtype::TXT,
        recursion,
    };
    query(question, Edns::On).unwrap()
}

/// An answer to `query` with one TXT record for each value, in two strings each.
pub(crate) fn answer(query: &[u8], rcode: Rcode, values: &[&str]) -> Vec<u8> {
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
pub(crate) type Says = fn(&[u8]) -> Vec<Vec<u8>>;

pub(crate) async fn serve(servers: &mut JoinSet<()>, udp_says: Says, tcp_says: Option<Says>) -> SocketAddr {
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

/// What a server that answers with these octets is taken to have said.
async fn asked(udp: Says, tcp: Option<Says>) -> Result<Option<Reply>, LookError> {
    let mut servers = JoinSet::new();
    let server = serve(&mut servers, udp, tcp).await;
    let name = name("x.test");
    let question = Question {
        name: &name,
        rtype: Rtype::TXT,
        recursion: Recursion::Off,
    };
    ask(server, question, &mut String::new()).await
}

/// A refusal with words of the server's own.
fn refusal(query: &[u8], code: ExtendedErrorCode, words: &str) -> Vec<u8> {
    let asked = Message::from_slice(query).unwrap();
    let answer = MessageBuilder::new_vec()
        .start_answer(asked, Rcode::REFUSED)
        .unwrap();
    let mut answer = answer.additional();
    let error = ExtendedError::<Vec<u8>>::new_with_str(code, words).unwrap();
    answer.opt(|opt| opt.push(&error)).unwrap();
    answer.finish()
}

fn said(octets: &[u8]) -> String {
    Reply::of(octets).usable().unwrap_err().to_string()
}

#[tokio::test]
async fn p08_a_server_that_refuses_edns_is_asked_without() {
    let plain: Says = |query| {
        let edns = Message::from_slice(query).unwrap().opt().is_some();
        let rcode = if edns { Rcode::FORMERR } else { Rcode::NOERROR };
        vec![answer(query, rcode, &[])]
    };
    let reply = asked(plain, None).await.unwrap().unwrap();
    assert!(reply.usable().is_ok());
    // One that says so to every query is believed.
    let reply = asked(|query| vec![answer(query, Rcode::FORMERR, &[])], None).await;
    assert_eq!(said(&reply.unwrap().unwrap().0), "answered FORMERR");
}

#[tokio::test]
async fn p13_a_datagram_that_ends_in_the_middle_is_asked_for_by_tcp() {
    let cut: Says = |query| {
        let mut whole = answer(query, Rcode::NOERROR, &["value"]);
        whole.truncate(whole.len() - 3);
        vec![whole]
    };
    let reply = asked(cut, Some(|query| vec![answer(query, Rcode::NOERROR, &["value"])])).await;
    let whole = records(&reply.unwrap().unwrap());
    assert_eq!(whole, 1);
    // Without TCP it is no answer.
    assert!(asked(cut, None).await.unwrap().is_none());
}

/// How many records an answer has.
fn records(reply: &Reply) -> usize {
    let section = reply.message().unwrap().answer().unwrap();
    section.filter(Result::is_ok).count()
}

#[test]
fn p11_extended_errors_are_shown_with_code_and_words() {
    let query = question(Recursion::Off);
    let prohibited = refusal(&query, ExtendedErrorCode::PROHIBITED, "not\u{7}from here");
    assert_eq!(
        said(&prohibited),
        "answered REFUSED (EDE 18 Prohibited: not from here)"
    );
    let bare = refusal(&query, ExtendedErrorCode::PROHIBITED, "");
    assert_eq!(said(&bare), "answered REFUSED (EDE 18 Prohibited)");
    let private = refusal(&query, ExtendedErrorCode::from_int(49_999), &"x".repeat(400));
    assert_eq!(
        said(&private),
        format!("answered REFUSED (EDE 49999: {})", "x".repeat(120))
    );
    assert_eq!(said(&answer(&query, Rcode::SERVFAIL, &[])), "answered SERVFAIL");
}

#[test]
fn an_answer_must_repeat_the_question_unless_it_could_not_be_read() {
    let ours = question(Recursion::Off);
    let other = question_for("y.test", Recursion::Off);
    let mut foreign = answer(&other, Rcode::NOERROR, &[]);
    foreign[..2].copy_from_slice(&ours[..2]);
    assert!(!belongs(&foreign, &ours));
    assert!(!belongs(&ours, &ours), "a query is no answer");
    let bare = |rcode: u8| [&ours[..2], &[0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert!(belongs(&bare(1), &ours));
    assert!(!belongs(&bare(0), &ours));
    assert!(!belongs(&bare(3), &ours));
}

proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..120), at in 2usize..40, value: u8) {
        let query = question(Recursion::Off);
        let mut changed = refusal(&query, ExtendedErrorCode::PROHIBITED, "words");
        changed[at] = value;
        changed.extend_from_slice(&tail);
        for octets in [&changed, &tail] {
            belongs(octets, &query);
            let reply = Reply::of(octets);
            drop(reply.usable());
            reply.remark();
            reply.refuses_edns();
        }
    }
}

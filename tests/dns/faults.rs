//! A name server behind a way that loses and mangles messages: what gets through all the same, and what is said if not.

use std::time::Duration;

use faythe_bed::dns_proxy::{self, DnsProxy, Fault, Opcode, Rule, Tcp, Transport};
use faythe_bed::names::{NameServer, Setup};

use super::*;

const HOST: &str = "www.example.test";

/// A server, a proxy in front of it, and a client that knows the proxy alone.
async fn scene(tcp: Tcp) -> (NameServer, DnsProxy, Client) {
    let server = NameServer::start(Setup::one_zone(ZONE)).await.unwrap();
    let proxy = DnsProxy::start_as(dns_proxy::Setup {
        tcp,
        ..dns_proxy::Setup::to(server.address())
    })
    .await
    .unwrap();
    let client = client_through(&server, &[&proxy]);
    (server, proxy, client)
}

/// A client whose update servers are these, in this order.
fn client_through(server: &NameServer, proxies: &[&DnsProxy]) -> Client {
    let key = faythe::dns::keyfile::read(&server.key_file()).unwrap();
    let addresses = proxies
        .iter()
        .map(|proxy| proxy.address().to_string().parse().unwrap());
    let mut setup = ZoneSetup::new(apex(ZONE), "127.0.0.1:1".parse().unwrap(), key);
    setup.servers = addresses.collect();
    Client::new(vec![setup], clock())
}

async fn stands(server: &NameServer) -> Vec<String> {
    server.txt(&format!("_acme-challenge.{HOST}")).await.unwrap()
}

#[tokio::test]
async fn p13_what_is_late_doubled_or_in_pieces_gets_through() {
    for fault in [
        Fault::Delay(Duration::from_millis(100)),
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Trickle,
    ] {
        let (server, proxy, client) = scene(Tcp::Served).await;
        proxy.set(Rule::always(fault));
        publish(&client, HOST, "v").await.unwrap();
        assert_eq!(stands(&server).await, ["v"], "{fault:?}");
        let seen = look_at(&client, &proxy.address().to_string(), HOST)
            .await
            .unwrap();
        assert_eq!(seen, values(["v"]), "{fault:?}");
        withdraw(&client, HOST, "v").await.unwrap();
        assert_eq!(stands(&server).await, [""; 0], "{fault:?}");
    }
}

#[tokio::test]
async fn p11_no_spoilt_answer_to_an_update_is_taken_as_success() {
    for (fault, code) in [
        (Fault::BadlySigned, "forged"),
        (Fault::Unsigned, "forged"),
        (Fault::Rcode(2), "servfail"),
        (Fault::Rcode(5), "refused"),
        (Fault::Truncate, "formerr"),
    ] {
        let (_server, proxy, client) = scene(Tcp::Served).await;
        proxy.set(Rule::always(fault).only(Opcode::Update));
        let cause = cause(publish(&client, HOST, "v").await);
        assert_eq!(cause.code(), code, "{fault:?}: {cause}");
        // The same update goes out anew when all is well.
        proxy.set(Rule::always(Fault::None));
        publish(&client, HOST, "v").await.unwrap();
    }
}

#[tokio::test]
async fn p13_what_is_cut_lost_or_never_answered_is_said_and_can_be_repeated() {
    for fault in [
        Fault::Close,
        Fault::Cut,
        Fault::Drop,
        Fault::DropAnswer,
        Fault::WrongId,
    ] {
        let (server, proxy, client) = scene(Tcp::Served).await;
        proxy.set(Rule::always(fault).only(Opcode::Update));
        let cause = cause(publish(&client, HOST, "v").await);
        assert_eq!(cause.code(), "unreachable", "{fault:?}: {cause}");
        proxy.set(Rule::always(Fault::None));
        publish(&client, HOST, "v").await.unwrap();
        assert_eq!(stands(&server).await, ["v"], "{fault:?}");
    }
}

#[tokio::test]
async fn p13_updates_and_looks_go_by_udp_where_there_is_no_tcp() {
    for tcp in [Tcp::Refused, Tcp::Silent] {
        let (server, proxy, client) = scene(tcp).await;
        publish(&client, HOST, "v").await.unwrap();
        assert_eq!(stands(&server).await, ["v"], "{tcp:?}");
        let seen = look_at(&client, &proxy.address().to_string(), HOST)
            .await
            .unwrap();
        assert_eq!(seen, values(["v"]), "{tcp:?}");
        let passed = proxy.passed();
        assert!(passed.iter().all(|passed| passed.transport == Transport::Udp));
    }
}

#[tokio::test]
async fn p13_where_every_datagram_is_cut_off_tcp_tells() {
    let (_server, proxy, client) = scene(Tcp::Served).await;
    proxy.set(Rule::always(Fault::Truncate).over(Transport::Udp));
    publish(&client, HOST, "v").await.unwrap();
    let seen = look_at(&client, &proxy.address().to_string(), HOST)
        .await
        .unwrap();
    assert_eq!(seen, values(["v"]));
}

#[tokio::test]
async fn p08_a_look_gets_past_lost_and_forged_datagrams() {
    for fault in [
        Fault::Cut,
        Fault::Drop,
        Fault::Duplicate,
        Fault::Truncate,
        Fault::WrongId,
    ] {
        let (server, proxy, client) = scene(Tcp::Served).await;
        server
            .add_txt(&format!("_acme-challenge.{HOST}"), "v")
            .await
            .unwrap();
        proxy.set(Rule::always(fault).over(Transport::Udp));
        let seen = look_at(&client, &proxy.address().to_string(), HOST).await;
        assert_eq!(seen.unwrap(), values(["v"]), "{fault:?}");
    }
}

#[tokio::test]
async fn p08_what_a_server_answers_instead_is_told() {
    let (_server, proxy, client) = scene(Tcp::Served).await;
    for (rcode, word) in [(2, "SERVFAIL"), (5, "REFUSED"), (4, "NOTIMP")] {
        proxy.set(Rule::always(Fault::Rcode(rcode)));
        let error = look_at(&client, &proxy.address().to_string(), HOST).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
    proxy.set(Rule::always(Fault::Drop));
    let error = look_at(&client, &proxy.address().to_string(), HOST).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("did not answer"), "{text}");
}

#[tokio::test]
async fn p14_the_next_server_gets_a_message_signed_for_it() {
    let (server, first, _) = scene(Tcp::Served).await;
    let second = DnsProxy::start(server.address()).await.unwrap();
    let client = client_through(&server, &[&first, &second]);
    for fault in [Fault::Rcode(2), Fault::Close, Fault::Drop] {
        first.set(Rule::always(fault));
        publish(&client, HOST, fault.name()).await.unwrap();
    }
    assert_eq!(stands(&server).await.len(), 3);
    let (of_first, of_second) = (first.passed(), second.passed());
    assert!(
        !of_first.is_empty() && of_second.len() == 3,
        "{of_first:?} {of_second:?}"
    );
    // The last octets are the signature's; no two messages have the same ID and so the same signature.
    for one in &of_first {
        assert!(of_second.iter().all(|other| other.request != one.request));
    }
}

//! The proxy that mangles DNS messages, as BIND's own tools see what it does.

// Lets clippy know that the helpers are tests too.
#![cfg(test)]

use std::time::{Duration, Instant};

use faythe_bed::dns_proxy::{DnsProxy, Fault, Opcode, Rule, Setup, Tcp, Transport};
use faythe_bed::names::{self, Asker, NameServer};
use faythe_bed::{process, tools};

const NAME: &str = "x.a.test";

/// A server, and a proxy in front of it, asked by the tools.
async fn scene() -> (NameServer, DnsProxy, Asker) {
    let server = NameServer::start(names::Setup::one_zone("a.test")).await.unwrap();
    let proxy = DnsProxy::start(server.address()).await.unwrap();
    let asker = server.through(&proxy);
    (server, proxy, asker)
}

/// Adds a value through a proxy that does this to updates; whether nsupdate is content, and whether the value stands.
async fn update(fault: Fault) -> (bool, bool) {
    let (server, proxy, asker) = scene().await;
    proxy.set(Rule::always(fault).only(Opcode::Update));
    let content = tokio::time::timeout(Duration::from_secs(3), asker.add_txt(NAME, "one")).await;
    let stands = server.txt(NAME).await.unwrap() == ["one"];
    assert!(proxy.counts().contains_key(fault.name()), "{:?}", proxy.counts());
    (content.is_ok_and(|outcome| outcome.is_ok()), stands)
}

#[tokio::test]
async fn what_is_only_late_or_doubled_is_no_matter() {
    for fault in [
        Fault::None,
        Fault::Delay(Duration::from_millis(100)),
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Trickle,
    ] {
        assert_eq!(update(fault).await, (true, true), "{fault:?}");
    }
}

#[tokio::test]
async fn a_spoilt_answer_to_an_update_is_not_believed() {
    for fault in [
        Fault::BadlySigned,
        Fault::Cut,
        Fault::DropAnswer,
        Fault::Rcode(5),
        Fault::Unsigned,
    ] {
        assert_eq!(update(fault).await, (false, true), "{fault:?}");
    }
}

#[tokio::test]
async fn a_lost_update_is_not_made() {
    for fault in [Fault::Close, Fault::Drop] {
        assert_eq!(update(fault).await, (false, false), "{fault:?}");
    }
}

/// Runs dig over UDP.
async fn dig(asker: &Asker, more: &[&str]) -> anyhow::Result<String> {
    let mut dig = std::process::Command::new(tools::bind("dig")?);
    dig.arg("@127.0.0.1")
        .args([
            "-p",
            &asker.address().port().to_string(),
            NAME,
            "TXT",
            "+time=1",
            "+tries=1",
        ])
        .args(more);
    process::run(dig, "").await
}

#[tokio::test]
async fn datagrams_are_mangled_too_and_all_that_passed_is_known() {
    let (server, proxy, asker) = scene().await;
    server.add_txt(NAME, "one").await.unwrap();
    proxy.set(
        Rule::each([Fault::Truncate, Fault::WrongId, Fault::Rcode(2), Fault::Drop]).over(Transport::Udp),
    );
    let truncated = dig(&asker, &["+ignore"]).await.unwrap();
    assert!(
        truncated.contains("flags: qr aa tc") && truncated.contains("ANSWER: 0"),
        "{truncated}"
    );
    let wrong = dig(&asker, &[]).await.unwrap_err();
    assert!(format!("{wrong:#}").contains("ID mismatch"), "{wrong:#}");
    let failed = dig(&asker, &[]).await.unwrap();
    assert!(failed.contains("status: SERVFAIL"), "{failed}");
    dig(&asker, &[]).await.unwrap_err();
    assert!(dig(&asker, &["+short"]).await.unwrap().contains("one"));
    assert_eq!(asker.txt(NAME).await.unwrap(), ["one"]);

    let passed = proxy.passed();
    let ways: Vec<Transport> = passed.iter().map(|passed| passed.transport).collect();
    assert_eq!(ways, [&[Transport::Udp; 5][..], &[Transport::Tcp]].concat());
    assert!(
        passed
            .iter()
            .all(|passed| passed.request.windows(6).any(|part| part == b"\x01x\x01a\x04t"))
    );
}

#[tokio::test]
async fn tcp_is_refused_or_silent_while_udp_goes_on() {
    let server = NameServer::start(names::Setup::one_zone("a.test")).await.unwrap();
    server.add_txt(NAME, "one").await.unwrap();
    for (tcp, words) in [(Tcp::Refused, "refused"), (Tcp::Silent, "timed out")] {
        let setup = Setup {
            tcp,
            ..Setup::to(server.address())
        };
        let proxy = DnsProxy::start_as(setup).await.unwrap();
        let asker = server.through(&proxy);
        assert!(dig(&asker, &["+short"]).await.unwrap().contains("one"));
        let begun = Instant::now();
        let failed = asker.dig(&[NAME, "TXT"]).await.unwrap_err();
        assert!(
            format!("{failed:#}").contains(words),
            "{failed:#} after {:?}",
            begun.elapsed()
        );
    }
}

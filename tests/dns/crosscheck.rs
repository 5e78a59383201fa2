//! Our messages as others understand them: dnspython, dig and nsupdate have no line in common with us.

use std::fmt::Write as _;
use std::process::Command;

use faythe_bed::dns_proxy::DnsProxy;
use faythe_bed::names::{self, Make, NameServer, Setup};
use faythe_bed::{process, tools};

use super::*;

/// Reads captured exchanges and checks each of them.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dns/crosscheck.py");

/// A server with a key of each algorithm.
async fn start() -> NameServer {
    let keys = names::Algorithm::ALL.map(|algorithm| names::Key::new(algorithm.name(), algorithm));
    let setup = Setup {
        keys: keys.to_vec(),
        ..Setup::one_zone(ZONE).of_make(Make::Bind)
    };
    NameServer::start(setup).await.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test]
async fn p11_dnspython_makes_the_same_signature_octet_by_octet() {
    let server = start().await;
    let mut input = String::new();
    for key in &server.setup().keys {
        let proxy = DnsProxy::start(server.address()).await.unwrap();
        let file = server.signing_with(key).unwrap().key_file();
        let ours = faythe::dns::keyfile::read(&file).unwrap();
        let setup = ZoneSetup::new(apex(ZONE), proxy.address().to_string().parse().unwrap(), ours);
        let client = Client::new(vec![setup], clock());
        client.adopt(&apex(ZONE), &record("www.example.test"), "sibling");
        publish(&client, "www.example.test", "value").await.unwrap();
        withdraw(&client, "www.example.test", "value").await.unwrap();
        let passed = proxy.passed();
        assert_eq!(passed.len(), 2);
        for (what, passed) in ["publish", "withdraw"].into_iter().zip(passed) {
            let (name, algorithm, secret) = (key.name(), key.algorithm().name(), key.secret());
            let message = hex(&passed.request);
            writeln!(input, "{what} {name} {algorithm} {secret} {message}").unwrap();
        }
    }
    let mut python = Command::new(tools::dnspython().unwrap());
    python.arg(SCRIPT);
    let said = process::run(python, &input).await.unwrap();
    assert_eq!(said.lines().count(), 12, "{said}");
    assert!(said.lines().all(|line| line.ends_with(": ok")), "{said}");
}

#[tokio::test]
async fn p11_the_key_that_we_read_is_the_one_that_dig_and_nsupdate_read() {
    let server = start().await;
    for key in &server.setup().keys {
        let asker = server.signing_with(key).unwrap();
        let client = {
            let ours = faythe::dns::keyfile::read(&asker.key_file()).unwrap();
            let setup = ZoneSetup::new(apex(ZONE), server.address().to_string().parse().unwrap(), ours);
            Client::new(vec![setup], clock())
        };
        publish(&client, "www.example.test", "ours").await.unwrap();
        asker
            .add_txt("_acme-challenge.www.example.test", "theirs")
            .await
            .unwrap();
        let line = format!("{}:{}:{}", key.algorithm().name(), key.name(), key.secret());
        let answer = asker
            .dig(&["-y", &line, "_acme-challenge.www.example.test", "TXT"])
            .await
            .unwrap();
        assert!(
            answer.contains("\"ours\"") && answer.contains("\"theirs\""),
            "{answer}"
        );
        assert!(
            answer.contains("TSIG") && !answer.contains("verify"),
            "dig does not believe the answer: {answer}"
        );
        withdraw(&client, "www.example.test", "ours").await.unwrap();
        asker
            .delete_txt("_acme-challenge.www.example.test")
            .await
            .unwrap();
    }
}

//! The guides' configuration of each server is the one that these tests run on, word for word.

use std::fs;
use std::path::Path;

use faythe_bed::names::{Make, NameServer, Setup};

use super::*;

/// What stands for a secret in the guides.
const SECRET_IN_GUIDES: &str = "bWFrZSB5b3VyIG93biBvbmUsIHdpdGggdHNpZy1rZXlnZW4=";

/// The text of a guide.
fn guide(make: Make) -> String {
    let name = match make {
        Make::Bind => "bind",
        Make::Knot => "knot",
        Make::PowerDns => "powerdns",
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/servers/{name}.md"));
    fs::read_to_string(path).unwrap()
}

/// The blocks of code of a guide.
fn blocks(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    let without_kind = |block: &str| block.split_once('\n').unwrap().1.to_owned();
    blocks.map(without_kind).collect()
}

async fn check(make: Make) {
    let text = guide(make);
    let blocks = blocks(&text);
    let server = NameServer::start(Setup::one_zone("example.com").of_make(make))
        .await
        .unwrap();
    let secret = server.key().unwrap().secret();
    let grant = server.setup().grant("example.com");
    let written = |text: String| text.replace(secret, SECRET_IN_GUIDES);
    let commands = grant
        .commands
        .into_iter()
        .map(|command| format!("pdnsutil {command}\n"));
    let mut used = vec![
        written(server.key().unwrap().file()),
        written(grant.file),
        written(commands.collect()),
    ];
    used.retain(|used| !used.is_empty());
    // Both ways: nothing that the tests run on is left out, and the guide shows nothing else.
    assert_eq!(blocks, used);

    // What the tests set besides, and the guide says where to use.
    let besides = match make {
        Make::Bind => None,
        Make::Knot => Some("zonefile-sync: -1"),
        Make::PowerDns => Some("set-meta example.com SOA-EDIT-DNSUPDATE INCREASE"),
    };
    if let Some(besides) = besides {
        assert!(text.contains(besides), "the guide says nothing of {besides}");
    }

    // And it does what the guide says.
    let client = {
        let key = faythe::dns::keyfile::read(&server.key_file()).unwrap();
        let address = server.address().to_string().parse().unwrap();
        Client::new(vec![ZoneSetup::new(apex("example.com"), address, key)], clock())
    };
    let (zone, record) = (apex("example.com"), record("www.example.com"));
    client
        .publish(&zone, &record, "v", Foreign::Removed)
        .await
        .unwrap();
    assert_eq!(server.txt(record.as_str()).await.unwrap(), ["v"]);
}

#[tokio::test]
async fn p11_the_guide_of_bind_is_what_is_tested() {
    check(Make::Bind).await;
}

#[tokio::test]
async fn p11_the_guide_of_knot_is_what_is_tested() {
    check(Make::Knot).await;
}

#[tokio::test]
async fn p11_the_guide_of_powerdns_is_what_is_tested() {
    check(Make::PowerDns).await;
}

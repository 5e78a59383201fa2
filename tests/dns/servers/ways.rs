//! Connections to each make: idle ones that are closed, restarts, IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

on_each_make![
    p13_a_connection_that_the_server_closed_is_made_anew,
    p13_a_server_that_was_restarted_between_two_updates_takes_the_second,
    p13_an_ipv6_address_takes_updates_and_looks,
];

async fn p13_a_connection_that_the_server_closed_is_made_anew(make: Make) {
    // Seconds, or tenths of them.
    let options = match make {
        Make::Bind => "tcp-idle-timeout 10;",
        Make::Knot => "tcp-idle-timeout: 1",
        Make::PowerDns => "tcp-idle-timeout=1",
    };
    let server = start_as(Setup {
        options: options.to_owned(),
        ..setup(make)
    })
    .await;
    let client = client_of(&server);
    publish(&client, "www.example.test", "one").await.unwrap();
    until(SOON, "the server closes the idle connection", async || {
        Ok((connections(&server) == 0).then_some(()))
    })
    .await
    .unwrap();
    publish(&client, "www.example.test", "two").await.unwrap();
    assert_eq!(shown(&server, "www.example.test").await, ["one", "two"]);
}

/// How many connections clients have with a server, by the kernel's own table.
fn connections(server: &NameServer) -> usize {
    // Local address, remote address, state; in hexadecimal, 01 being "established".
    let local = format!("0100007F:{:04X}", server.address().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let established = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&"01")
    };
    table.lines().filter(established).count()
}

async fn p13_a_server_that_was_restarted_between_two_updates_takes_the_second(make: Make) {
    let mut server = start(make).await;
    let client = client_of(&server);
    publish(&client, "www.example.test", "one").await.unwrap();
    server.stop();
    server.start_again().await.unwrap();
    publish(&client, "www.example.test", "two").await.unwrap();
    assert_eq!(shown(&server, "www.example.test").await, ["one", "two"]);
}

async fn p13_an_ipv6_address_takes_updates_and_looks(make: Make) {
    let server = start_as(Setup {
        listen: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        ..setup(make)
    })
    .await;
    let address = format!("[::1]:{}", server.address().port());
    let client = client_at(&address, ZONE, read(server.key().unwrap()), clock());
    publish(&client, "www.example.test", "six").await.unwrap();
    let seen = look_at(&client, &address, "www.example.test").await;
    assert_eq!(seen.unwrap(), values(["six"]));
}

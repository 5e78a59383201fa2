//! The name servers of the bed: each make takes the same updates and refuses the same, and secondaries are as late as asked.

// Lets clippy know that the helpers are tests too.
#![cfg(test)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use faythe_bed::names::{Algorithm, Cluster, Key, Make, NameServer, Setup, Storage};
use faythe_bed::until;

/// For what takes milliseconds on a machine with nothing else to do.
const SOON: Duration = Duration::from_secs(20);
const ZONE: &str = "a.test";

/// A server with a zone, a locked zone, and a key that may do nothing.
async fn server(make: Make) -> NameServer {
    let setup = Setup {
        make,
        locked: vec!["locked.test".to_owned()],
        strangers: vec![Key::new("stranger", Algorithm::HmacSha256)],
        ..Setup::one_zone(ZONE)
    };
    NameServer::start(setup).await.unwrap()
}

async fn check_updates(make: Make) {
    let mut server = server(make).await;
    let name = "_acme-challenge.www.a.test".to_owned();
    let before = server.serial(ZONE).await.unwrap();
    server.add_txt(&name, "one").await.unwrap();
    server.add_txt(&name, "two").await.unwrap();
    assert_eq!(server.txt(&name).await.unwrap(), ["one", "two"]);
    assert_eq!(server.serial(ZONE).await.unwrap() - before, 2);

    server.stop();
    assert!(server.txt(&name).await.is_err());
    server.start_again().await.unwrap();
    let both = [(name.clone(), "one".to_owned()), (name.clone(), "two".to_owned())];
    assert_eq!(server.all_txt(ZONE).await.unwrap(), both);

    server.delete_txt(&name).await.unwrap();
    assert_eq!(server.all_txt(ZONE).await.unwrap(), []);
    let address = server.update("update add www.a.test. 60 IN A 192.0.2.1").await;
    assert!(address.is_err(), "{make:?}: only TXT is granted");
    server.add_txt("_acme-challenge.b.test", "one").await.unwrap_err();
    server
        .add_txt("_acme-challenge.locked.test", "one")
        .await
        .unwrap_err();
    let stranger = server.signing_with(&server.setup().strangers[0]).unwrap();
    stranger.add_txt(&name, "one").await.unwrap_err();
    assert_eq!(server.all_txt(ZONE).await.unwrap(), []);
}

#[tokio::test]
async fn bind_takes_updates() {
    check_updates(Make::Bind).await;
}

#[tokio::test]
async fn knot_takes_updates() {
    check_updates(Make::Knot).await;
}

#[tokio::test]
async fn powerdns_takes_updates() {
    // It has no types in its rules: whoever may change a zone may change all of it.
    let server = server(Make::PowerDns).await;
    let name = "_acme-challenge.www.a.test";
    server.add_txt(name, "one").await.unwrap();
    assert_eq!(server.txt(name).await.unwrap(), ["one"]);
    server
        .update("update add www.a.test. 60 IN A 192.0.2.1")
        .await
        .unwrap();
    server.add_txt("_acme-challenge.b.test", "one").await.unwrap_err();
    server
        .add_txt("_acme-challenge.locked.test", "one")
        .await
        .unwrap_err();
    let stranger = server.signing_with(&server.setup().strangers[0]).unwrap();
    stranger.add_txt(name, "two").await.unwrap_err();
    server.delete_txt(name).await.unwrap();
    assert_eq!(server.all_txt(ZONE).await.unwrap(), []);
}

#[tokio::test]
async fn every_algorithm_signs_on_every_make() {
    for make in Make::ALL {
        let keys = Algorithm::ALL
            .map(|algorithm| Key::new(algorithm.name(), algorithm))
            .to_vec();
        let setup = Setup {
            keys: keys.clone(),
            ..Setup::one_zone(ZONE).of_make(make)
        };
        let server = NameServer::start(setup).await.unwrap();
        for key in &keys {
            let asker = server.signing_with(key).unwrap();
            asker.add_txt("x.a.test", key.name()).await.unwrap();
        }
        let mut names: Vec<&str> = keys.iter().map(Key::name).collect();
        names.sort_unstable();
        assert_eq!(server.txt("x.a.test").await.unwrap(), names, "{make:?}");
    }
}

#[tokio::test]
async fn a_name_is_denied_by_those_that_can() {
    for make in [Make::Bind, Make::Knot] {
        let setup = Setup {
            denied: vec!["no.a.test".to_owned()],
            ..Setup::one_zone(ZONE).of_make(make)
        };
        let server = NameServer::start(setup).await.unwrap();
        server.add_txt("no.a.test", "one").await.unwrap_err();
        server.add_txt("yes.a.test", "one").await.unwrap();
    }
}

#[tokio::test]
async fn secondaries_are_prompt_late_dead_or_refusing() {
    let mut cluster = Cluster::start(Setup::one_zone(ZONE), 3).await.unwrap();
    let named = cluster.primary.dig(&["+short", ZONE, "NS"]).await.unwrap();
    assert_eq!(named.lines().count(), 4, "{named}");
    let [prompt, late, other] = cluster.secondaries.as_mut_slice() else {
        panic!("three were asked for")
    };
    late.hold();
    other.refuse().await.unwrap();
    cluster.primary.add_txt("x.a.test", "one").await.unwrap();
    let seen = async || Ok((prompt.txt("x.a.test").await? == ["one"]).then_some(()));
    until(SOON, "the first secondary has the value", seen)
        .await
        .unwrap();
    assert!(late.txt("x.a.test").await.unwrap().is_empty());
    let refused = other.dig(&["x.a.test", "TXT"]).await.unwrap();
    assert!(refused.contains("status: REFUSED"), "{refused}");

    late.delay(Duration::ZERO);
    let seen = async || Ok((late.txt("x.a.test").await? == ["one"]).then_some(()));
    until(SOON, "the late one has it too", seen).await.unwrap();

    let lag = Duration::from_millis(500);
    late.delay(lag);
    let begun = Instant::now();
    cluster.primary.add_txt("x.a.test", "two").await.unwrap();
    let seen = async || Ok((late.txt("x.a.test").await?.len() == 2).then_some(()));
    until(SOON, "the late one has the second value", seen)
        .await
        .unwrap();
    assert!(begun.elapsed() >= lag, "{:?}", begun.elapsed());

    other.fall_silent();
    assert!(other.txt("x.a.test").await.is_err());
    other.die();
    let refused = other.txt("x.a.test").await.unwrap_err();
    assert!(format!("{refused:#}").contains("refused"), "{refused:#}");
}

#[tokio::test]
async fn each_client_is_shown_its_view() {
    let setup = Setup {
        views: vec!["inside".to_owned(), "outside".to_owned()],
        ..Setup::one_zone(ZONE)
    };
    let server = NameServer::start(setup).await.unwrap();
    server.add_txt("x.a.test", "in").await.unwrap();
    let outside = server.view("outside").await.unwrap();
    assert_eq!(outside.txt("x.a.test").await.unwrap(), [""; 0]);
    outside.add_txt("x.a.test", "out").await.unwrap();
    assert_eq!(outside.txt("x.a.test").await.unwrap(), ["out"]);
    assert_eq!(server.txt("x.a.test").await.unwrap(), ["in"]);
}

#[tokio::test]
async fn a_server_listens_on_ipv6_and_keeps_its_files_on_a_disk() {
    for make in Make::ALL {
        let setup = Setup {
            listen: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            storage: Storage::Disk,
            ..Setup::one_zone(ZONE).of_make(make)
        };
        let server = NameServer::start(setup).await.unwrap();
        let six = server.at(Ipv6Addr::LOCALHOST.into());
        six.add_txt("x.a.test", "six").await.unwrap();
        assert_eq!(server.txt("x.a.test").await.unwrap(), ["six"], "{make:?}");
    }
}

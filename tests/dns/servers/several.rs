//! Several servers, keys that change, clocks that differ, zones without signatures: the same on each make.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use faythe::dns::client::Primary;
use faythe::dns::keyfile::Hint;
use faythe::dns::signer::KeySource;

use super::*;

on_each_make![
    p14_the_second_server_takes_over_within_two_seconds,
    p14_a_server_that_hangs_is_passed_over_within_two_seconds,
    p14_a_server_without_the_zone_is_passed_over,
    p11_a_key_that_changes_in_its_file_is_used_from_the_next_update_on,
    p11_a_secret_encoded_twice_updates,
    p12_eight_minutes_are_coped_with_and_twenty_only_if_allowed,
];

/// Two servers with the same zone and key.
async fn two(make: Make) -> (NameServer, NameServer) {
    let setup = setup(make);
    (start_as(setup.clone()).await, start_as(setup).await)
}

fn at_both(first: &NameServer, second: &NameServer) -> Client {
    let address = |server: &NameServer| server.address().to_string().parse().unwrap();
    let setup = ZoneSetup {
        servers: vec![address(first), address(second)],
        ..ZoneSetup::new(apex(ZONE), address(first), read(first.key().unwrap()))
    };
    Client::new(vec![setup], clock())
}

async fn p14_the_second_server_takes_over_within_two_seconds(make: Make) {
    let (mut first, second) = two(make).await;
    let client = at_both(&first, &second);
    publish(&client, "www.example.test", "one").await.unwrap();
    assert_eq!(shown(&first, "www.example.test").await, ["one"]);
    first.stop();
    let began = Instant::now();
    publish(&client, "www.example.test", "two").await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(shown(&second, "www.example.test").await, ["one", "two"]);
}

async fn p14_a_server_that_hangs_is_passed_over_within_two_seconds(make: Make) {
    let (first, second) = two(make).await;
    let client = at_both(&first, &second);
    first.freeze();
    let began = Instant::now();
    publish(&client, "www.example.test", "one").await.unwrap();
    // A second and a half for the first server; the rest is for a busy machine.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let again = Instant::now();
    publish(&client, "www.example.test", "two").await.unwrap();
    assert!(again.elapsed() < took, "the good server is not remembered");
    assert_eq!(shown(&second, "www.example.test").await, ["one", "two"]);
    first.thaw();
}

async fn p14_a_server_without_the_zone_is_passed_over(make: Make) {
    let second = start(make).await;
    let elsewhere = Setup {
        zones: vec!["elsewhere.test".to_owned()],
        keys: second.setup().keys.clone(),
        ..setup(make)
    };
    let first = start_as(elsewhere).await;
    let client = at_both(&first, &second);
    publish(&client, "www.example.test", "v").await.unwrap();
    assert_eq!(shown(&second, "www.example.test").await, ["v"]);
}

async fn p11_a_key_that_changes_in_its_file_is_used_from_the_next_update_on(make: Make) {
    let server = start(make).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let other = names::Key::new("faythe", names::Algorithm::HmacSha256);
    std::fs::write(file.path(), other.file()).unwrap();
    let key = KeySource::file(file.path(), Hint::default()).unwrap();
    let address = server.address().to_string().parse().unwrap();
    let client = Client::new(vec![ZoneSetup::new(apex(ZONE), address, key)], clock());
    publish(&client, "www.example.test", "v").await.unwrap_err();

    std::fs::write(file.path(), server.key().unwrap().file()).unwrap();
    publish(&client, "www.example.test", "v").await.unwrap();
    // A broken file changes nothing.
    std::fs::write(file.path(), "key faythe {").unwrap();
    publish(&client, "www.example.test", "w").await.unwrap();
    assert_eq!(shown(&server, "www.example.test").await, ["v", "w"]);
}

async fn p11_a_secret_encoded_twice_updates(make: Make) {
    let server = start(make).await;
    let key = server.key().unwrap();
    let twice = STANDARD.encode(key.secret());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key.file().replace(key.secret(), &twice)).unwrap();
    let client = client_for(
        &server,
        ZONE,
        faythe::dns::keyfile::read(file.path()).unwrap(),
        clock(),
    );
    publish(&client, "www.example.test", "v").await.unwrap();
    assert_eq!(shown(&server, "www.example.test").await, ["v"]);
}

async fn p12_eight_minutes_are_coped_with_and_twenty_only_if_allowed(make: Make) {
    let server = start(make).await;
    let outcome = async |skew: i64, limit: u64| {
        let now: Now = Arc::new(move || Timestamp::from_second(Timestamp::now().as_second() - skew).unwrap());
        let address = server.address().to_string().parse().unwrap();
        let setup = ZoneSetup {
            clock_skew_limit: Duration::from_secs(limit),
            ..ZoneSetup::new(apex(ZONE), address, read(server.key().unwrap()))
        };
        let client = Client::new(vec![setup], now);
        publish(&client, "www.example.test", &format!("v{skew}")).await
    };
    // PowerDNS does not tell its clock, so nothing can be done but to name the fault as possible.
    let tells = make != Make::PowerDns;
    assert_eq!(outcome(480, 600).await.is_ok(), tells);
    assert_eq!(outcome(1_200, 1_800).await.is_ok(), tells);
    let refused = outcome(1_200, 600).await.unwrap_err().to_string();
    let word = if tells { "s behind it" } else { "compare its clock" };
    assert!(refused.contains(word), "{refused}");
    outcome(480, 0).await.unwrap_err();
    outcome(7_200, 1_800).await.unwrap_err();
}

#[tokio::test]
async fn an_unsigned_zone_of_bind_takes_updates_by_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("open.zone");
    std::fs::write(
        &file,
        "$ORIGIN open.test.\n$TTL 60\n@ IN SOA ns h 1 3600 60 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n",
    )
    .unwrap();
    let open = format!(
        "zone \"open.test\" {{ type primary; file \"{}\"; allow-update {{ 127.0.0.1; }}; }};",
        file.display()
    );
    let server = start_as(Setup {
        statements: open,
        ..setup(Make::Bind)
    })
    .await;
    let unsigned = |zone: &str| {
        let address = server.address().to_string().parse().unwrap();
        let setup = ZoneSetup::new(apex(zone), address, KeySource::Unsigned);
        Client::new(vec![setup], clock())
    };
    let record = record("www.open.test");
    unsigned("open.test")
        .publish(&apex("open.test"), &record, "v", Foreign::Removed)
        .await
        .unwrap();
    assert_eq!(shown(&server, "www.open.test").await, ["v"]);

    let refused = publish(&unsigned(ZONE), "www.example.test", "v").await;
    let text = refused.unwrap_err().to_string();
    assert!(
        text.contains("with key none: REFUSED") && text.contains("without a signature"),
        "{text}"
    );
}

/// The NS and SOA records of the bed's zones name 127.0.0.1, and the port is given by hand.
#[tokio::test]
async fn p14_the_primary_that_the_soa_names_gets_the_update() {
    let cluster = names::Cluster::start(Setup::one_zone(ZONE), 1).await.unwrap();
    let key = read(cluster.primary.key().unwrap());
    let secondary: faythe::dns::server::ServerAddr =
        cluster.secondaries[0].address().to_string().parse().unwrap();
    let setup = |primary| ZoneSetup {
        primary,
        name_server_port: cluster.primary.address().port(),
        ..ZoneSetup::new(apex(ZONE), secondary.clone(), key.clone())
    };
    let client = Client::new(vec![setup(Primary::FromSoa)], clock());
    publish(&client, "www.example.test", "v").await.unwrap();
    let name = "_acme-challenge.www.example.test";
    assert_eq!(cluster.primary.txt(name).await.unwrap(), ["v"]);

    // The secondary itself takes no updates.
    let client = Client::new(vec![setup(Primary::Listed)], clock());
    publish(&client, "www.example.test", "w").await.unwrap_err();
    assert_eq!(cluster.primary.txt(name).await.unwrap(), ["v"]);

    // Nor is what it says final where the primary is listed too.
    let primary = cluster.primary.address().to_string().parse().unwrap();
    let both = ZoneSetup {
        servers: vec![secondary.clone(), primary],
        ..setup(Primary::Listed)
    };
    let client = Client::new(vec![both], clock());
    publish(&client, "www.example.test", "x").await.unwrap();
    assert_eq!(cluster.primary.txt(name).await.unwrap(), ["x"]);
}

/// A host name with an A and an AAAA record, behind one of which there is nobody.
#[tokio::test]
async fn p13_one_dead_address_of_a_host_name_is_no_end() {
    for listen in ["127.0.0.1", "::1"] {
        let server = start_as(Setup {
            listen: vec![listen.parse().unwrap()],
            records: vec![(ZONE.to_owned(), "ns IN AAAA ::1".to_owned())],
            ..setup(Make::Bind)
        })
        .await;
        let setup = ZoneSetup {
            // That is where the name is from.
            primary: Primary::FromSoa,
            name_server_port: server.address().port(),
            ..ZoneSetup::new(
                apex(ZONE),
                server.address().to_string().parse().unwrap(),
                read(server.key().unwrap()),
            )
        };
        let client = Client::new(vec![setup], clock());
        for value in ["one", "two"] {
            publish(&client, "www.example.test", value).await.unwrap();
        }
        assert_eq!(shown(&server, "www.example.test").await, ["one", "two"]);
        // Each address is a matter of its own where the value has to be seen.
        let dead = client.survey(&apex(ZONE)).await.unwrap();
        let [dead] = &dead[..] else { panic!("{dead:?}") };
        let error = client
            .look(&apex(ZONE), dead, &record("www.example.test"))
            .await
            .unwrap_err();
        assert!(matches!(error, LookError::Unreachable(_)), "{error}");
    }
}

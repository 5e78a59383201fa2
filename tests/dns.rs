//! The DNS adapter against a real BIND: updates, signatures, look-ups, and a server that comes and goes.
//!
//! Needs `named` and `dig` (Debian: bind9, bind9-dnsutils); without them every test fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use faythe::dns::client::{Client, Now, ZoneSetup};
use faythe::dns::tsig::{Algorithm, Key};
use faythe::dns::{Dns, DnsError, LookError, UpdateFault};
use faythe::sealed::Sealed;
use faythe_core::Timestamp;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::zone::Check;
use futures::future::join_all;

#[path = "dns/named.rs"]
mod named;

use named::{Named, SECRET};

/// The zone that takes updates of TXT records from all keys named `KEY`.
const ZONE: &str = "example.test";
/// The zone whose policy lets nobody update.
const LOCKED: &str = "locked.test";

fn apex(name: &str) -> DnsName {
    name.parse().unwrap()
}

fn record(host: &str) -> RecordName {
    RecordName::parse(&format!("_acme-challenge.{host}")).unwrap()
}

fn key(algorithm: Algorithm) -> Key {
    Key::new(
        &format!("key-{}", algorithm.as_str()),
        algorithm,
        0,
        Sealed::new(SECRET.to_vec()),
    )
    .unwrap()
}

fn clock() -> Now {
    Arc::new(Timestamp::now)
}

/// A client of `named` for one zone, with everything else as it should be.
fn client(named: &Named) -> Client {
    client_with(named, ZONE, key(Algorithm::HmacSha256), clock())
}

fn client_with(named: &Named, zone: &str, key: Key, now: Now) -> Client {
    let server = named.address().parse().unwrap();
    Client::new(
        vec![ZoneSetup {
            apex: apex(zone),
            server,
            key,
        }],
        now,
    )
}

async fn publish(client: &Client, host: &str, value: &str) -> Result<(), DnsError> {
    client.publish(&apex(ZONE), &record(host), value).await
}

async fn withdraw(client: &Client, host: &str, value: &str) -> Result<(), DnsError> {
    client.withdraw(&apex(ZONE), &record(host), value).await
}

async fn look(client: &Client, named: &Named, host: &str) -> Result<BTreeSet<String>, LookError> {
    look_at(client, &named.address(), host).await
}

async fn look_at(client: &Client, server: &str, host: &str) -> Result<BTreeSet<String>, LookError> {
    let check = Check {
        server: server.to_owned(),
        rank: 0,
    };
    Ok(client.look(&check, &record(host)).await?.into_iter().collect())
}

fn values<const N: usize>(values: [&str; N]) -> BTreeSet<String> {
    values.map(str::to_owned).into()
}

/// What an update of `ZONE` is refused with.
#[track_caller]
fn cause(outcome: Result<(), DnsError>) -> UpdateFault {
    outcome.unwrap_err().cause
}

#[tokio::test]
async fn s08_a_published_value_stands_as_a_txt_record_with_ttl_120() {
    let named = Named::start();
    publish(&client(&named), "www.example.test", "token.thumbprint")
        .await
        .unwrap();
    let line = named.dig(&["_acme-challenge.www.example.test", "TXT"]);
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "_acme-challenge.www.example.test.",
            "120",
            "IN",
            "TXT",
            "\"token.thumbprint\""
        ]
    );
}

#[tokio::test]
async fn p11_all_six_algorithms_update() {
    let named = Named::start();
    for algorithm in Algorithm::ALL {
        let client = client_with(&named, ZONE, key(algorithm), clock());
        let value = algorithm.as_str();
        publish(&client, "www.example.test", value).await.unwrap();
        assert_eq!(
            look(&client, &named, "www.example.test").await.unwrap(),
            values([value])
        );
    }
}

#[tokio::test]
async fn p11_a_key_file_that_tsig_keygen_wrote_updates() {
    let named = Named::start();
    let file = named.folder().join("update.key");
    std::fs::write(&file, named.tsig_keygen("key-hmac-sha512", "hmac-sha512")).unwrap();
    // Another secret than the server's: the file is read, and the server notices.
    let key = faythe::dns::keyfile::read(&file).unwrap();
    let client = client_with(&named, ZONE, key, clock());
    assert_eq!(
        cause(publish(&client, "www.example.test", "v").await),
        UpdateFault::BadSig
    );

    std::fs::write(&file, named.key_file("key-hmac-sha512")).unwrap();
    let key = faythe::dns::keyfile::read(&file).unwrap();
    publish(&client_with(&named, ZONE, key, clock()), "www.example.test", "v")
        .await
        .unwrap();
}

#[tokio::test]
async fn s09_stale_values_go_and_live_siblings_stay_in_one_message() {
    let named = Named::start();
    named.nsupdate("update add _acme-challenge.example.test 300 TXT stale");
    let client = client(&named);
    client.adopt(&apex(ZONE), &record("example.test"), "adopted");
    publish(&client, "example.test", "apex").await.unwrap();
    assert_eq!(
        look(&client, &named, "example.test").await.unwrap(),
        values(["adopted", "apex"])
    );

    let before = named.serial(ZONE);
    named.nsupdate("update add _acme-challenge.example.test 300 TXT stale-again");
    publish(&client, "example.test", "wildcard").await.unwrap();
    assert_eq!(
        look(&client, &named, "example.test").await.unwrap(),
        values(["adopted", "apex", "wildcard"])
    );
    assert_eq!(
        named.serial(ZONE) - before,
        2,
        "one message of nsupdate, one of ours"
    );
}

#[tokio::test]
async fn s09_a_withdrawal_removes_its_own_value_and_nothing_else() {
    let named = Named::start();
    let client = client(&named);
    publish(&client, "example.test", "one").await.unwrap();
    publish(&client, "example.test", "two").await.unwrap();
    named.nsupdate("update add _acme-challenge.example.test 300 TXT foreign");
    withdraw(&client, "example.test", "one").await.unwrap();
    assert_eq!(
        look(&client, &named, "example.test").await.unwrap(),
        values(["foreign", "two"])
    );
    withdraw(&client, "example.test", "two").await.unwrap();
    assert_eq!(
        look(&client, &named, "example.test").await.unwrap(),
        values(["foreign"])
    );
    withdraw(&client, "example.test", "two").await.unwrap();
    withdraw(&client, "never.example.test", "two").await.unwrap();
}

#[tokio::test]
async fn s08_publishing_twice_and_after_a_withdrawal_is_fine() {
    let named = Named::start();
    let client = client(&named);
    publish(&client, "example.test", "one").await.unwrap();
    publish(&client, "example.test", "one").await.unwrap();
    withdraw(&client, "example.test", "one").await.unwrap();
    assert_eq!(look(&client, &named, "example.test").await.unwrap(), values([]));
    publish(&client, "example.test", "one").await.unwrap();
    assert_eq!(
        look(&client, &named, "example.test").await.unwrap(),
        values(["one"])
    );
}

#[tokio::test]
async fn a_value_longer_than_255_octets_is_one_value() {
    let named = Named::start();
    let client = client(&named);
    let long = "0123456789".repeat(60);
    publish(&client, "example.test", &long).await.unwrap();
    assert_eq!(
        look(&client, &named, "example.test").await.unwrap(),
        values([&long])
    );
}

#[tokio::test]
async fn p15_all_updates_that_wait_share_a_message() {
    let named = Named::start();
    let client = client(&named);
    let before = named.serial(ZONE);
    let hosts: Vec<String> = (0..32).map(|n| format!("h{n}.example.test")).collect();
    for outcome in join_all(hosts.iter().map(|host| publish(&client, host, "v"))).await {
        outcome.unwrap();
    }
    let messages = named.serial(ZONE) - before;
    assert!(messages <= 2, "{messages} messages for 32 updates");
    for host in &hosts {
        assert_eq!(look(&client, &named, host).await.unwrap(), values(["v"]));
    }
}

#[tokio::test]
async fn p15_more_than_fits_into_a_message_goes_in_several() {
    let named = Named::start();
    let client = client(&named);
    let before = named.serial(ZONE);
    let host = |n: usize| format!("host-{n}.{}.example.test", "x".repeat(60));
    let hosts: Vec<String> = (0..600).map(host).collect();
    let value = "v".repeat(43);
    for outcome in join_all(hosts.iter().map(|host| publish(&client, host, &value))).await {
        outcome.unwrap();
    }
    let messages = named.serial(ZONE) - before;
    assert!((2..=6).contains(&messages), "{messages} messages for 600 names");
    assert_eq!(
        look(&client, &named, &hosts[599]).await.unwrap(),
        values([&value])
    );
}

#[tokio::test]
async fn p15_twenty_orders_that_share_a_name_stand_together() {
    let named = Named::start();
    let client = client(&named);
    let values: Vec<String> = (0..20).map(|n| format!("value-{n}")).collect();
    for outcome in join_all(values.iter().map(|value| publish(&client, "example.test", value))).await {
        outcome.unwrap();
    }
    let expected: BTreeSet<String> = values.iter().cloned().collect();
    assert_eq!(look(&client, &named, "example.test").await.unwrap(), expected);
    for outcome in join_all(
        values
            .iter()
            .skip(1)
            .map(|value| withdraw(&client, "example.test", value)),
    )
    .await
    {
        outcome.unwrap();
    }
    assert_eq!(
        look(&client, &named, "example.test").await.unwrap(),
        BTreeSet::from([values[0].clone()])
    );
}

#[tokio::test]
async fn p15_a_bad_name_in_a_batch_hurts_no_other() {
    let named = Named::start();
    let client = client(&named);
    let hosts: Vec<String> = (0..16).map(|n| format!("h{n}.example.test")).collect();
    let good = join_all(hosts.iter().map(|host| publish(&client, host, "v")));
    let outside = publish(&client, "www.elsewhere.test", "v");
    let forbidden = publish(&client, "www.no-grant.example.test", "v");
    let (good, outside, forbidden) = tokio::join!(good, outside, forbidden);
    good.into_iter().for_each(|outcome| outcome.unwrap());
    assert_eq!(cause(outside), UpdateFault::NotZone);
    assert!(matches!(cause(forbidden), UpdateFault::Refused(why) if why.contains("policy")));
    for host in &hosts {
        assert_eq!(look(&client, &named, host).await.unwrap(), values(["v"]));
    }
}

#[tokio::test]
async fn p11_an_unknown_key_is_badkey_and_both_its_parts_are_printed() {
    let named = Named::start();
    let key = Key::new("nobody", Algorithm::HmacSha256, 0, Sealed::new(SECRET.to_vec())).unwrap();
    let error = publish(&client_with(&named, ZONE, key, clock()), "www.example.test", "v")
        .await
        .unwrap_err();
    assert_eq!(error.cause, UpdateFault::BadKey);
    let text = error.to_string();
    assert!(text.contains("nobody. (hmac-sha256)"), "{text}");
    assert!(
        text.contains(&named.address()) && text.contains("zone example.test"),
        "{text}"
    );
}

#[tokio::test]
async fn p11_a_known_key_with_another_algorithm_is_badkey() {
    let named = Named::start();
    let key = Key::new(
        "key-hmac-sha256",
        Algorithm::HmacSha512,
        0,
        Sealed::new(SECRET.to_vec()),
    )
    .unwrap();
    let client = client_with(&named, ZONE, key, clock());
    assert_eq!(
        cause(publish(&client, "www.example.test", "v").await),
        UpdateFault::BadKey
    );
}

#[tokio::test]
async fn p11_another_secret_is_badsig() {
    let named = Named::start();
    let key = Key::new(
        "key-hmac-sha256",
        Algorithm::HmacSha256,
        0,
        Sealed::new(b"wrong".to_vec()),
    )
    .unwrap();
    let client = client_with(&named, ZONE, key, clock());
    assert_eq!(
        cause(publish(&client, "www.example.test", "v").await),
        UpdateFault::BadSig
    );
}

#[tokio::test]
async fn p11_a_truncated_signature_that_the_server_does_not_take_is_badtrunc() {
    let named = Named::start();
    let key = Key::new(
        "key-hmac-sha256",
        Algorithm::HmacSha256,
        128,
        Sealed::new(SECRET.to_vec()),
    )
    .unwrap();
    let client = client_with(&named, ZONE, key, clock());
    assert_eq!(
        cause(publish(&client, "www.example.test", "v").await),
        UpdateFault::BadTrunc
    );
}

#[tokio::test]
async fn p11_a_truncated_signature_that_the_server_takes_updates() {
    let named = Named::start();
    let key = Key::new(
        "key-truncated",
        Algorithm::HmacSha256,
        128,
        Sealed::new(SECRET.to_vec()),
    )
    .unwrap();
    publish(&client_with(&named, ZONE, key, clock()), "www.example.test", "v")
        .await
        .unwrap();
}

#[tokio::test]
async fn p11_a_wrong_clock_is_badtime_with_the_offset() {
    let named = Named::start();
    for skew in [7_200, -7_200] {
        let now: Now = Arc::new(move || Timestamp::from_second(Timestamp::now().as_second() + skew).unwrap());
        let client = client_with(&named, ZONE, key(Algorithm::HmacSha256), now);
        let UpdateFault::BadTime { offset_secs } = cause(publish(&client, "www.example.test", "v").await)
        else {
            panic!("not BADTIME");
        };
        assert!((offset_secs - skew).abs() <= 2, "{offset_secs} s for {skew} s");
    }
}

#[tokio::test]
async fn p11_a_zone_that_the_server_does_not_have_is_notauth() {
    let named = Named::start();
    let client = client_with(&named, "elsewhere.test", key(Algorithm::HmacSha256), clock());
    let outcome = client
        .publish(&apex("elsewhere.test"), &record("www.elsewhere.test"), "v")
        .await;
    assert_eq!(cause(outcome), UpdateFault::NotAuth);
}

#[tokio::test]
async fn p11_a_zone_whose_policy_forbids_it_is_refused_and_says_that_the_key_is_known() {
    let named = Named::start();
    let client = client_with(&named, LOCKED, key(Algorithm::HmacSha256), clock());
    let outcome = client
        .publish(&apex(LOCKED), &record("www.locked.test"), "v")
        .await;
    assert!(matches!(cause(outcome), UpdateFault::Refused(why) if why.contains("knows the key")));
}

#[tokio::test]
async fn p11_a_name_outside_the_zone_is_notzone() {
    let named = Named::start();
    assert_eq!(
        cause(publish(&client(&named), "www.elsewhere.test", "v").await),
        UpdateFault::NotZone
    );
}

#[tokio::test]
async fn a_name_too_long_for_the_wire_is_refused_alone() {
    let named = Named::start();
    let client = client(&named);
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}.example.test", "b".repeat(48));
    let record = faythe_core::name::Hostname::parse(&longest)
        .unwrap()
        .challenge_record();
    let outcome = client.publish(&apex(ZONE), &record, "v").await;
    assert!(matches!(cause(outcome), UpdateFault::Format(_)));
    publish(&client, "www.example.test", "v").await.unwrap();
}

#[tokio::test]
async fn a_zone_that_is_not_configured_is_an_error_of_its_own() {
    let named = Named::start();
    let outcome = client(&named)
        .publish(&apex("other.test"), &record("www.other.test"), "v")
        .await;
    assert!(outcome.unwrap_err().to_string().contains("not configured"));
}

#[tokio::test]
async fn p13_a_server_that_is_gone_is_named_with_what_was_tried() {
    let named = Named::start();
    let client = client(&named);
    publish(&client, "www.example.test", "v").await.unwrap();
    let address = named.address();
    drop(named);
    let error = publish(&client, "www.example.test", "v").await.unwrap_err();
    assert_eq!(error.server, address);
    let UpdateFault::Unreachable(tried) = error.cause else {
        panic!("{error}")
    };
    assert!(
        tried.contains("by TCP: Connection refused") && tried.contains("by UDP"),
        "{tried}"
    );
    let look = look_at(&client, &address, "www.example.test").await;
    assert!(matches!(look, Err(LookError::Unreachable(_))), "{look:?}");
}

#[tokio::test]
async fn p13_a_server_that_was_restarted_between_two_updates_takes_the_second() {
    let mut named = Named::start();
    let client = client(&named);
    publish(&client, "www.example.test", "one").await.unwrap();
    named.restart();
    publish(&client, "www.example.test", "two").await.unwrap();
    assert_eq!(
        look(&client, &named, "www.example.test").await.unwrap(),
        values(["one", "two"])
    );
}

#[tokio::test]
async fn p13_all_updates_of_a_server_share_one_connection() {
    let named = Named::start();
    let setup = |zone: &str| ZoneSetup {
        apex: apex(zone),
        server: named.address().parse().unwrap(),
        key: key(Algorithm::HmacSha256),
    };
    let client = Client::new(vec![setup(ZONE), setup("second.test")], clock());
    for n in 0..5 {
        publish(&client, "www.example.test", &format!("v{n}"))
            .await
            .unwrap();
        client
            .publish(&apex("second.test"), &record("www.second.test"), "v")
            .await
            .unwrap();
    }
    assert_eq!(named.connections(), 1);
}

#[tokio::test]
async fn p13_a_host_name_is_resolved_and_each_of_its_addresses_tried() {
    let named = Named::start();
    // On most machines `localhost` is ::1 too, where nobody listens.
    let server = format!("localhost:{}", named.port()).parse().unwrap();
    let setup = ZoneSetup {
        apex: apex(ZONE),
        server,
        key: key(Algorithm::HmacSha256),
    };
    let client = Client::new(vec![setup], clock());
    publish(&client, "www.example.test", "v").await.unwrap();
    let look = look_at(
        &client,
        &format!("localhost:{}", named.port()),
        "www.example.test",
    )
    .await;
    assert_eq!(look.unwrap(), values(["v"]));
}

#[tokio::test]
async fn looks_tell_a_value_from_no_value_from_a_refusal() {
    let named = Named::start();
    let client = client(&named);
    publish(&client, "www.example.test", "Value").await.unwrap();
    let check = Check {
        server: named.address(),
        rank: 0,
    };
    let shown = |name: &str| {
        let (client, check, record) = (&client, &check, RecordName::parse(name).unwrap());
        async move { client.look(check, &record).await }
    };
    assert_eq!(
        shown("_acme-challenge.www.example.test").await,
        Ok(vec!["Value".to_owned()])
    );
    assert_eq!(
        shown("_acme-challenge.alias.example.test").await,
        Ok(vec!["aliased".to_owned()])
    );
    assert_eq!(
        shown("www.example.test").await,
        Ok(vec![]),
        "a name without any record of its own"
    );
    assert_eq!(
        shown("ns.example.test").await,
        Ok(vec![]),
        "a name with an address only"
    );
    assert_eq!(
        shown("none.example.test").await,
        Ok(vec![]),
        "a name that does not exist"
    );
    assert_eq!(
        shown("www.elsewhere.test").await,
        Err(LookError::Rcode("REFUSED".to_owned()))
    );
    let nonsense = Check {
        server: "no:such:thing".to_owned(),
        rank: 1,
    };
    let error = client
        .look(&nonsense, &record("www.example.test"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("write `host`"), "{error}");
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_read_by_tcp() {
    let named = Named::start();
    let client = client(&named);
    let values: BTreeSet<String> = (0..20).map(|n| format!("{n:043}")).collect();
    for value in &values {
        client.adopt(&apex(ZONE), &record("example.test"), value);
    }
    publish(&client, "example.test", values.first().unwrap())
        .await
        .unwrap();
    assert_eq!(look(&client, &named, "example.test").await.unwrap(), values);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_alone_and_many_at_once_are_fast() {
    let named = Named::start();
    let client = Arc::new(client(&named));
    publish(&client, "warm.example.test", "v").await.unwrap();
    let mut times = Vec::new();
    for n in 0..200 {
        let start = Instant::now();
        publish(&client, &format!("h{}.example.test", n % 20), "v")
            .await
            .unwrap();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let before = named.serial(ZONE);
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..320 {
        let client = Arc::clone(&client);
        tasks.spawn(async move { publish(&client, &format!("m{n}.example.test"), "v").await });
    }
    tasks
        .join_all()
        .await
        .into_iter()
        .for_each(|outcome| outcome.unwrap());
    let (took, messages) = (start.elapsed(), named.serial(ZONE) - before);
    eprintln!(
        "alone: p50 {:?}, p99 {:?}; 320 at once: {took:?} in {messages} messages",
        times[100], times[197]
    );
    assert!(messages <= 32, "{messages} messages for 320 updates");
    // Far above what it takes, so that only a lost NODELAY or a time-out is caught on a busy machine.
    assert!(times[100].as_millis() < 20, "{:?}", times[100]);
}

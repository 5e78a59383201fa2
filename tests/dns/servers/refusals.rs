//! Each way to be refused, on each make: what the operator reads.

use super::*;

on_each_make![
    p11_all_six_algorithms_update,
    p11_an_unknown_key,
    p11_a_key_with_another_algorithm,
    p11_a_wrong_secret,
    p12_a_clock_that_is_two_hours_off,
    p11_a_zone_that_nobody_may_update,
    p11_a_key_without_rights,
    p11_a_name_outside_the_zone,
    p11_a_zone_that_is_not_served,
    p11_a_servers_own_words_are_shown,
];

/// PowerDNS says no more than this for whatever it has against a signature, and signs none of it.
const SAYS_NOTHING: &str = "REFUSED: the server does not sign this, so it did not accept the key, or no update at all; \
     compare key name, algorithm and secret with its configuration, compare its clock with ours, and see that it allows \
     updates from here";
const BADKEY: &str = "BADKEY: the server does not know this key name, or not with this algorithm, or (Knot) has no `acl` \
     that lets it update this zone; compare all three with its configuration";
const BADSIG: &str = "BADSIG: the server has this key with another secret; copy the key file again";
const REFUSED: &str = "REFUSED: the server knows the key but its policy does not let it change this name; grant the key \
     TXT updates there (BIND: `update-policy { grant KEY zonesub TXT; }`; PowerDNS: metadata TSIG-ALLOW-DNSUPDATE)";

/// What a message says besides the cause: which zone, where, with which key.
#[track_caller]
fn check(outcome: Result<(), DnsError>, server: &NameServer, zone: &str, key: &str, cause: &str) {
    let text = outcome.unwrap_err().to_string();
    let (place, said) = text.split_once("): ").unwrap();
    assert_eq!(said, cause);
    let address = server.address();
    let expected = format!("update of zone {zone} at {address} ({address}) with key {key}. (hmac-sha256");
    assert_eq!(place, expected);
}

/// A key with a secret that no server here has, and that could not be base64 itself.
fn key_named(name: &str, algorithm: Algorithm) -> Key {
    Key::new(name, algorithm, 0, Sealed::new(b"nobody's secret!".to_vec())).unwrap()
}

async fn p11_all_six_algorithms_update(make: Make) {
    let keys = names::Algorithm::ALL.map(|algorithm| names::Key::new(algorithm.name(), algorithm));
    let server = start_as(Setup {
        keys: keys.to_vec(),
        ..setup(make)
    })
    .await;
    for key in &keys {
        let client = client_for(&server, ZONE, read(key), clock());
        publish(&client, "www.example.test", key.name()).await.unwrap();
        assert_eq!(shown(&server, "www.example.test").await, [key.name()]);
        withdraw(&client, "www.example.test", key.name()).await.unwrap();
    }
}

async fn p11_an_unknown_key(make: Make) {
    let server = start(make).await;
    let client = client_for(
        &server,
        ZONE,
        key_named("unknown", Algorithm::HmacSha256),
        clock(),
    );
    let outcome = publish(&client, "www.example.test", "v").await;
    let cause = match make {
        Make::Bind | Make::Knot => BADKEY,
        Make::PowerDns => SAYS_NOTHING,
    };
    check(outcome, &server, ZONE, "unknown", cause);
}

async fn p11_a_key_with_another_algorithm(make: Make) {
    let server = start(make).await;
    let client = client_for(&server, ZONE, key_named("faythe", Algorithm::HmacSha512), clock());
    let text = publish(&client, "www.example.test", "v")
        .await
        .unwrap_err()
        .to_string();
    let cause = match make {
        Make::Bind | Make::Knot => BADKEY,
        Make::PowerDns => SAYS_NOTHING,
    };
    assert!(
        text.contains("key faythe. (hmac-sha512): ") && text.ends_with(cause),
        "{text}"
    );
}

async fn p11_a_wrong_secret(make: Make) {
    let server = start(make).await;
    let client = client_for(&server, ZONE, key_named("faythe", Algorithm::HmacSha256), clock());
    let outcome = publish(&client, "www.example.test", "v").await;
    let cause = match make {
        Make::Bind | Make::Knot => BADSIG,
        Make::PowerDns => SAYS_NOTHING,
    };
    check(outcome, &server, ZONE, "faythe", cause);
}

async fn p11_a_zone_that_nobody_may_update(make: Make) {
    let server = start(make).await;
    let client = client_for(&server, LOCKED, read(server.key().unwrap()), clock());
    let outcome = client
        .publish(&apex(LOCKED), &record("www.locked.test"), "v", Foreign::Removed)
        .await;
    check(outcome, &server, LOCKED, "faythe", not_allowed(make));
}

async fn p11_a_key_without_rights(make: Make) {
    let server = start(make).await;
    let stranger = read(&server.setup().strangers[0]);
    let client = client_for(&server, ZONE, stranger, clock());
    let outcome = publish(&client, "www.example.test", "v").await;
    check(outcome, &server, ZONE, "stranger", not_allowed(make));
}

/// What a server says to a key that it knows and that has no rights here: Knot the same as to one that it does not know.
fn not_allowed(make: Make) -> &'static str {
    match make {
        Make::Bind | Make::PowerDns => REFUSED,
        Make::Knot => BADKEY,
    }
}

async fn p11_a_name_outside_the_zone(make: Make) {
    let server = start(make).await;
    let outcome = publish(&client_of(&server), "www.elsewhere.test", "v").await;
    let cause = "NOTZONE: the record is outside the zone; check `auth_dns_zone`";
    check(outcome, &server, ZONE, "faythe", cause);
}

async fn p11_a_zone_that_is_not_served(make: Make) {
    let server = start(make).await;
    let client = client_for(&server, "elsewhere.test", read(server.key().unwrap()), clock());
    let (zone, record) = (apex("elsewhere.test"), record("www.elsewhere.test"));
    let outcome = client.publish(&zone, &record, "v", Foreign::Removed).await;
    let cause =
        "NOTAUTH: the server is not primary for this zone; check `auth_dns_server` and `auth_dns_zone`";
    check(outcome, &server, "elsewhere.test", "faythe", cause);
}

async fn p11_a_servers_own_words_are_shown(make: Make) {
    let server = start(make).await;
    let error = look_at(
        &client_of(&server),
        &server.address().to_string(),
        "www.elsewhere.test",
    )
    .await;
    let said = match make {
        Make::Knot => "answered REFUSED (EDE 20 Not Authoritative)",
        // They have none for this.
        Make::Bind | Make::PowerDns => "answered REFUSED",
    };
    assert_eq!(error.unwrap_err().to_string(), said);
}

async fn p12_a_clock_that_is_two_hours_off(make: Make) {
    let server = start(make).await;
    let now: Now = Arc::new(|| Timestamp::from_second(Timestamp::now().as_second() + 7_200).unwrap());
    let client = client_for(&server, ZONE, read(server.key().unwrap()), now);
    let text = publish(&client, "www.example.test", "v")
        .await
        .unwrap_err()
        .to_string();
    match make {
        // A second may pass in between.
        Make::Bind | Make::Knot => assert!(
            (7_199..=7_201).any(|offset| text.ends_with(&format!(
                "and ours is {offset} s ahead of it; mend the time synchronization"
            ))) && text.contains("BADTIME: the server's clock says "),
            "{text}"
        ),
        Make::PowerDns => assert!(text.ends_with(SAYS_NOTHING), "{text}"),
    }
}

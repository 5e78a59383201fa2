//! Publications and withdrawals, alone and many at once.

use super::*;

on_each_make![
    s08_a_published_value_stands_with_ttl_120,
    s09_stale_values_go_and_live_siblings_stay_in_one_message,
    s09_a_withdrawal_removes_its_own_value_and_nothing_else,
    s08_publishing_twice_and_after_a_withdrawal_is_fine,
    p15_at_a_delegated_name_foreign_values_stay,
    a_value_longer_than_255_octets_is_one_value,
    p15_all_updates_that_wait_share_a_message,
    p15_more_than_fits_into_a_message_goes_in_several,
    p15_a_bad_name_in_a_batch_hurts_no_other,
    what_the_server_shows_is_what_a_look_sees,
];

async fn s08_a_published_value_stands_with_ttl_120(make: Make) {
    let server = start(make).await;
    publish(&client_of(&server), "www.example.test", "token.thumbprint")
        .await
        .unwrap();
    let name = "_acme-challenge.www.example.test";
    let line = server.dig(&["+noall", "+answer", name, "TXT"]).await.unwrap();
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

async fn s09_stale_values_go_and_live_siblings_stay_in_one_message(make: Make) {
    let server = start(make).await;
    let name = "_acme-challenge.example.test";
    server.add_txt(name, "stale").await.unwrap();
    let client = client_of(&server);
    client.adopt(&apex(ZONE), &record("example.test"), "adopted");
    publish(&client, "example.test", "apex").await.unwrap();
    assert_eq!(shown(&server, "example.test").await, ["adopted", "apex"]);

    server.add_txt(name, "stale-again").await.unwrap();
    let before = server.serial(ZONE).await.unwrap();
    publish(&client, "example.test", "wildcard").await.unwrap();
    assert_eq!(
        shown(&server, "example.test").await,
        ["adopted", "apex", "wildcard"]
    );
    assert_eq!(server.serial(ZONE).await.unwrap() - before, 1);
}

async fn s09_a_withdrawal_removes_its_own_value_and_nothing_else(make: Make) {
    let server = start(make).await;
    let client = client_of(&server);
    publish(&client, "example.test", "one").await.unwrap();
    publish(&client, "example.test", "two").await.unwrap();
    server
        .add_txt("_acme-challenge.example.test", "foreign")
        .await
        .unwrap();
    withdraw(&client, "example.test", "one").await.unwrap();
    assert_eq!(shown(&server, "example.test").await, ["foreign", "two"]);
    withdraw(&client, "example.test", "two").await.unwrap();
    withdraw(&client, "example.test", "two").await.unwrap();
    withdraw(&client, "never.example.test", "two").await.unwrap();
    assert_eq!(shown(&server, "example.test").await, ["foreign"]);
}

async fn s08_publishing_twice_and_after_a_withdrawal_is_fine(make: Make) {
    let server = start(make).await;
    let client = client_of(&server);
    publish(&client, "example.test", "one").await.unwrap();
    publish(&client, "example.test", "one").await.unwrap();
    withdraw(&client, "example.test", "one").await.unwrap();
    assert_eq!(server.all_txt(ZONE).await.unwrap(), []);
    publish(&client, "example.test", "one").await.unwrap();
    assert_eq!(shown(&server, "example.test").await, ["one"]);
}

async fn p15_at_a_delegated_name_foreign_values_stay(make: Make) {
    let server = start(make).await;
    server
        .add_txt("_acme-challenge.example.test", "foreign")
        .await
        .unwrap();
    let client = client_of(&server);
    let record = record("example.test");
    client
        .publish(&apex(ZONE), &record, "ours", Foreign::Kept)
        .await
        .unwrap();
    assert_eq!(shown(&server, "example.test").await, ["foreign", "ours"]);
    withdraw(&client, "example.test", "ours").await.unwrap();
    assert_eq!(shown(&server, "example.test").await, ["foreign"]);
}

async fn a_value_longer_than_255_octets_is_one_value(make: Make) {
    let server = start(make).await;
    let client = client_of(&server);
    let long = "0123456789".repeat(60);
    publish(&client, "example.test", &long).await.unwrap();
    assert_eq!(shown(&server, "example.test").await, [long.as_str()]);
    withdraw(&client, "example.test", &long).await.unwrap();
    assert_eq!(server.all_txt(ZONE).await.unwrap(), []);
}

async fn p15_all_updates_that_wait_share_a_message(make: Make) {
    let server = start(make).await;
    let client = client_of(&server);
    let before = server.serial(ZONE).await.unwrap();
    let hosts: Vec<String> = (0..32).map(|n| format!("h{n}.example.test")).collect();
    for outcome in join_all(hosts.iter().map(|host| publish(&client, host, "v"))).await {
        outcome.unwrap();
    }
    let messages = server.serial(ZONE).await.unwrap() - before;
    assert!(messages <= 2, "{messages} messages for 32 updates");
    assert_eq!(server.all_txt(ZONE).await.unwrap().len(), 32);
}

async fn p15_more_than_fits_into_a_message_goes_in_several(make: Make) {
    let server = start(make).await;
    let client = client_of(&server);
    let before = server.serial(ZONE).await.unwrap();
    let host = |n: usize| format!("host-{n}.{}.example.test", "x".repeat(60));
    let hosts: Vec<String> = (0..600).map(host).collect();
    let value = "v".repeat(43);
    for outcome in join_all(hosts.iter().map(|host| publish(&client, host, &value))).await {
        outcome.unwrap();
    }
    let messages = server.serial(ZONE).await.unwrap() - before;
    assert!((2..=6).contains(&messages), "{messages} messages for 600 names");
    assert_eq!(server.all_txt(ZONE).await.unwrap().len(), 600);
}

async fn p15_a_bad_name_in_a_batch_hurts_no_other(make: Make) {
    let denied = match make {
        Make::Bind | Make::Knot => vec!["_acme-challenge.denied.example.test".to_owned()],
        Make::PowerDns => Vec::new(),
    };
    let server = start_as(Setup {
        denied: denied.clone(),
        ..setup(make)
    })
    .await;
    let client = client_of(&server);
    let hosts: Vec<String> = (0..16).map(|n| format!("h{n}.example.test")).collect();
    let good = join_all(hosts.iter().map(|host| publish(&client, host, "v")));
    let outside = publish(&client, "www.elsewhere.test", "v");
    let forbidden = publish(&client, "denied.example.test", "v");
    let (good, outside, forbidden) = tokio::join!(good, outside, forbidden);
    good.into_iter().for_each(|outcome| outcome.unwrap());
    assert_eq!(cause(outside), UpdateFault::NotZone);
    let stand = server.all_txt(ZONE).await.unwrap().len();
    if denied.is_empty() {
        forbidden.unwrap();
        assert_eq!(stand, 17);
    } else {
        forbidden.unwrap_err();
        assert_eq!(stand, 16);
    }
}

async fn what_the_server_shows_is_what_a_look_sees(make: Make) {
    let server = start_as(Setup {
        records: vec![
            (
                ZONE.to_owned(),
                "_acme-challenge.alias IN CNAME target".to_owned(),
            ),
            (
                ZONE.to_owned(),
                "target IN TXT \"Mixed Case\" \" joined\"".to_owned(),
            ),
        ],
        ..setup(make)
    })
    .await;
    let client = client_of(&server);
    let look = async |host: &str| {
        look_at(&client, &server.address().to_string(), host)
            .await
            .unwrap()
    };
    assert_eq!(look("www.example.test").await, values([]));
    assert_eq!(look("alias.example.test").await, values(["Mixed Case joined"]));
    // More than fits into a datagram.
    let many: BTreeSet<String> = (0..20).map(|n| format!("{n:043}")).collect();
    for value in &many {
        client.adopt(&apex(ZONE), &record("www.example.test"), value);
    }
    publish(&client, "www.example.test", many.first().unwrap())
        .await
        .unwrap();
    assert_eq!(look("www.example.test").await, many);
}

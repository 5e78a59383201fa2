//! What stands in the zone after publications and withdrawals, and how many messages they take.

use super::*;

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
async fn p15_twenty_orders_through_a_delegation_leave_a_foreign_value_alone() {
    let named = Named::start();
    named.nsupdate("update add _acme-challenge.shared.example.test 300 TXT foreign");
    let (zone, target) = (apex(ZONE), record("shared.example.test"));
    let client = client(&named);
    let values: Vec<String> = (0..20).map(|n| format!("value-{n}")).collect();
    let publications = values
        .iter()
        .map(|value| client.publish(&zone, &target, value, Foreign::Kept));
    join_all(publications)
        .await
        .into_iter()
        .for_each(|outcome| outcome.unwrap());
    let mut expected: BTreeSet<String> = values.iter().cloned().collect();
    expected.insert("foreign".to_owned());
    assert_eq!(
        look(&client, &named, "shared.example.test").await.unwrap(),
        expected
    );
    let withdrawals = values.iter().map(|value| client.withdraw(&zone, &target, value));
    join_all(withdrawals)
        .await
        .into_iter()
        .for_each(|outcome| outcome.unwrap());
    assert_eq!(
        look(&client, &named, "shared.example.test").await.unwrap(),
        self::values(["foreign"])
    );
}

#[tokio::test]
async fn p15_a_zone_may_keep_stale_values_and_have_another_ttl() {
    let named = Named::start();
    named.nsupdate("update add _acme-challenge.example.test 300 TXT stale");
    let server = named.address().parse().unwrap();
    let setup = ZoneSetup {
        ttl: std::time::Duration::from_secs(60),
        foreign: Foreign::Kept,
        ..ZoneSetup::new(apex(ZONE), server, key(Algorithm::HmacSha256))
    };
    let client = Client::new(vec![setup], clock());
    publish(&client, "example.test", "ours").await.unwrap();
    assert_eq!(
        look(&client, &named, "example.test").await.unwrap(),
        values(["ours", "stale"])
    );
    let line = named.dig(&["_acme-challenge.example.test", "TXT"]);
    assert!(line.contains(" 60 ") || line.contains("\t60\t"), "{line}");
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
async fn a_name_too_long_for_the_wire_is_refused_alone() {
    let named = Named::start();
    let client = client(&named);
    let label = "a".repeat(63);
    let zone = format!("{label}.{label}.{}.example.test", "b".repeat(61));
    let record = RecordName::below(&zone.parse().unwrap(), &label);
    let outcome = client.publish(&apex(ZONE), &record, "v", Foreign::Removed).await;
    assert!(matches!(cause(outcome), UpdateFault::Format(_)));
    publish(&client, "www.example.test", "v").await.unwrap();
}

#[tokio::test]
async fn a_zone_that_is_not_configured_is_an_error_of_its_own() {
    let named = Named::start();
    let outcome = client(&named)
        .publish(
            &apex("other.test"),
            &record("www.other.test"),
            "v",
            Foreign::Removed,
        )
        .await;
    assert!(outcome.unwrap_err().to_string().contains("not configured"));
}

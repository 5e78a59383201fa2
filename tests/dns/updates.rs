//! What stands in the zone after publications and withdrawals, and how many messages they take.

use super::*;

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

//! Keys, signatures and refusals, as BIND sees them.

use super::*;

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
        .publish(
            &apex("elsewhere.test"),
            &record("www.elsewhere.test"),
            "v",
            Foreign::Removed,
        )
        .await;
    assert_eq!(cause(outcome), UpdateFault::NotAuth);
}

#[tokio::test]
async fn p11_a_zone_whose_policy_forbids_it_is_refused_and_says_that_the_key_is_known() {
    let named = Named::start();
    let client = client_with(&named, LOCKED, key(Algorithm::HmacSha256), clock());
    let outcome = client
        .publish(&apex(LOCKED), &record("www.locked.test"), "v", Foreign::Removed)
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

//! Look-ups, and the ways to a server: connections, host names, servers that come and go, speed.

use std::time::Instant;

use super::*;

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
async fn p13_all_updates_of_a_server_share_one_connection() {
    let named = Named::start();
    let setup = |zone: &str| {
        let server = named.address().parse().unwrap();
        ZoneSetup::new(apex(zone), server, key(Algorithm::HmacSha256))
    };
    let client = Client::new(vec![setup(ZONE), setup("second.test")], clock());
    for n in 0..5 {
        publish(&client, "www.example.test", &format!("v{n}"))
            .await
            .unwrap();
        client
            .publish(
                &apex("second.test"),
                &record("www.second.test"),
                "v",
                Foreign::Removed,
            )
            .await
            .unwrap();
    }
    assert_eq!(named.connections(), 1);
}

#[tokio::test]
async fn p13_a_server_may_be_given_by_its_host_name() {
    let named = Named::start();
    let server = format!("localhost:{}", named.port()).parse().unwrap();
    let setup = ZoneSetup::new(apex(ZONE), server, key(Algorithm::HmacSha256));
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
    let check = Check::of(Role::Update, &named.address());
    let shown = |name: &str| {
        let (client, check, record) = (&client, &check, RecordName::parse(name).unwrap());
        async move { Ok(client.look(&apex(ZONE), check, &record).await?.values) }
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
    let nonsense = Check::of(Role::Listed, "no:such:thing");
    let error = client
        .look(&apex(ZONE), &nonsense, &record("www.example.test"))
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

//! What is done in which order while nothing goes wrong.

use std::time::Duration;

use faythe::run::RunError;
use faythe::store::secrets::SeenSecret;
use tokio::time::Instant;

use crate::rig::Rig;

#[tokio::test(start_paused = true)]
async fn one_host_goes_the_whole_way_in_order() {
    let rig = Rig::new(&["a.example.com"]);
    let mut process = rig.process();
    rig.settled(&mut process).await;
    let record = "_acme-challenge.a.example.com";
    let expected = [
        "ledger",
        "notes",
        "windows",
        "slot a.example.com",
        &format!("find {record}"),
        "open a.example.com",
        "save note a.example.com",
        "slot a.example.com",
        &format!("publish {record} value0"),
        &format!("look primary {record}"),
        &format!("look secondary {record}"),
        "tell 0",
        "refresh 0",
        "finalize 0",
        "refresh 0",
        "download 0",
        "keep a.example.com",
        &format!("withdraw {record} value0"),
        "forget a.example.com",
    ];
    assert_eq!(rig.place.state().journal, expected);
}

#[tokio::test(start_paused = true)]
async fn p15_a_name_and_its_wildcard_both_stand_before_either_is_told() {
    let rig = Rig::new(&["a.example.com", "*.a.example.com"]);
    let mut process = rig.process();
    let began = Instant::now();
    rig.settled(&mut process).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let state = rig.place.state();
    let first_told = state
        .journal
        .iter()
        .position(|line| line.starts_with("tell"))
        .unwrap();
    let published = state.journal[..first_told]
        .iter()
        .filter(|line| line.starts_with("publish"))
        .count();
    assert_eq!(published, 2);
}

#[tokio::test(start_paused = true)]
async fn p15_a_later_wildcard_waits_until_the_cas_resolvers_have_forgotten() {
    let rig = Rig::new(&["a.example.com", "*.a.example.com"]);
    let mut process = rig.process();
    rig.show_requests(&process, &["a.example.com".into()]);
    rig.reach(&mut process, |state| state.secrets.len() == 1).await;
    let began = Instant::now();
    rig.show_requests(&process, &["a.example.com".into(), "*.a.example.com".into()]);
    rig.settled(&mut process).await;
    let took = began.elapsed().as_secs();
    assert!((55..75).contains(&took), "{took} s");
    assert_eq!(rig.place.state().orders.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p18_nothing_is_ordered_before_the_whole_picture_is_known() {
    let rig = Rig::new(&["a.example.com"]);
    let mut process = rig.blind_process();
    rig.show_requests(&process, &["a.example.com".into()]);
    rig.pass(&mut process, Duration::from_secs(60)).await;
    assert_eq!(rig.place.state().journal, ["ledger", "notes", "windows"]);
    process
        .secrets
        .unbounded_send(SeenSecret::All(Vec::new()))
        .unwrap();
    rig.settled(&mut process).await;
}

#[tokio::test(start_paused = true)]
async fn p18_what_the_watch_says_of_earlier_costs_no_second_order() {
    let rig = Rig::new(&["a.example.com"]);
    let mut process = rig.process();
    rig.settled(&mut process).await;
    // A list from before our write comes late.
    process
        .secrets
        .unbounded_send(SeenSecret::All(Vec::new()))
        .unwrap();
    rig.pass(&mut process, Duration::from_secs(60)).await;
    assert_eq!(rig.place.state().orders.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_everything_in_order_does_nothing() {
    let rig = Rig::new(&["a.example.com", "b.example.com"]);
    rig.settled(&mut rig.process()).await;
    let before = rig.place.state().journal.len();
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(3600)).await;
    assert_eq!(
        rig.place.state().journal[before..],
        ["ledger", "notes", "windows"]
    );
}

#[tokio::test(start_paused = true)]
async fn after_the_signal_nothing_begins_and_the_loop_ends_well() {
    let hosts: Vec<String> = (0..20).map(|number| format!("h{number}.example.com")).collect();
    let rig = Rig::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let mut process = rig.process();
    rig.reach(&mut process, |state| state.calls("publish") >= 3).await;
    let opened = rig.place.state().calls("open");
    process.stop.cancel();
    let began = Instant::now();
    process.end().await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(20));
    assert_eq!(rig.place.state().calls("open"), opened);
    // What was left half done is finished by the next process.
    rig.settled(&mut rig.process()).await;
    assert_eq!(rig.place.state().orders.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_an_error() {
    let rig = Rig::new(&[]);
    let process = rig.process();
    process.requests.close_channel();
    assert!(matches!(process.end().await, Err(RunError::Ended("Ingresses"))));
}

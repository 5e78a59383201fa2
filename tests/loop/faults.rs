//! What goes wrong outside, and what it costs.

use std::time::Duration;

use faythe::act::UNNOTED_AT_ONCE;
use faythe::store::secrets::SeenSecret;
use faythe_core::name::Hostname;
use faythe_core::order::OrderStatus;
use faythe_core::problem::{Problem, ProblemKind};
use faythe_core::schedule::{Demand, Why, after};
use tokio::time::Instant;

use crate::rig::{AT_ONCE, GRACE, Rig};

fn record(host: &str) -> faythe_core::name::RecordName {
    host.parse::<Hostname>().unwrap().challenge_record()
}

#[tokio::test(start_paused = true)]
async fn s10_a_server_that_shows_it_late_is_noticed_within_seconds() {
    // Long after everybody who does not show it has been named, too (P22).
    for (late, seconds) in [(45, 3), (1_800, 5)] {
        let rig = Rig::new(&["a.example.com"]);
        rig.place.state().faults.hide = true;
        let mut process = rig.process();
        rig.pass(&mut process, Duration::from_secs(late)).await;
        assert_eq!(rig.place.state().calls("tell"), 0);
        rig.place.state().faults.hide = false;
        let began = Instant::now();
        rig.settled(&mut process).await;
        let took = began.elapsed();
        assert!(took <= Duration::from_secs(seconds), "after {late} s in {took:?}");
        assert_eq!(rig.place.state().orders.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn s10_a_value_that_somebody_removes_while_it_is_waited_for_is_published_again() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.lag = true;
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(45)).await;
    let published = || rig.place.state().calls("publish");
    assert_eq!(published(), 1, "it stands where it was put");
    rig.place.state().txt.clear();
    rig.pass(&mut process, Duration::from_secs(60)).await;
    assert_eq!(published(), 2);
    rig.place.state().faults.lag = false;
    rig.settled(&mut process).await;
    assert_eq!((published(), rig.place.state().orders.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn s10_a_value_that_somebody_removes_before_anybody_has_seen_it_is_published_again_within_a_minute() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.hide = true;
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_millis(100)).await;
    rig.place.state().txt.clear();
    rig.place.state().faults.hide = false;
    rig.pass(&mut process, Duration::from_secs(55)).await;
    let published = || rig.place.state().calls("publish");
    assert_eq!(published(), 1, "it may be on its way");
    let began = Instant::now();
    rig.settled(&mut process).await;
    assert!(
        began.elapsed() <= Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!((published(), rig.place.state().orders.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn s06_many_that_are_stuck_hold_up_nobody() {
    let stuck: Vec<String> = (0..10 * AT_ONCE)
        .map(|number| format!("s{number}.example.com"))
        .collect();
    let mut hosts: Vec<&str> = stuck.iter().map(String::as_str).collect();
    hosts.push("z-good.example.com");
    let rig = Rig::new(&hosts);
    rig.place.state().faults.refuse_updates = stuck.iter().map(|host| record(host)).collect();
    let mut process = rig.process();
    let began = Instant::now();
    let good: Hostname = "z-good.example.com".parse().unwrap();
    rig.reach(&mut process, |state| state.secrets.contains_key(&good))
        .await;
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    // Once it is mended, everyone goes on with the order there is.
    rig.pass(&mut process, Duration::from_secs(600)).await;
    rig.place.state().faults.refuse_updates.clear();
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().orders.len(), hosts.len());
}

#[tokio::test(start_paused = true)]
async fn p22_a_ca_that_is_away_is_asked_now_and_then_and_not_by_each_host() {
    let hosts: Vec<String> = (0..50).map(|number| format!("h{number}.example.com")).collect();
    let rig = Rig::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    rig.place.state().faults.ca_is_away = true;
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(3600)).await;
    let asked = rig.place.state().calls("open");
    assert!(asked <= 25 * AT_ONCE, "asked {asked} times within an hour");
    rig.place.state().faults.ca_is_away = false;
    let began = Instant::now();
    rig.settled(&mut process).await;
    assert!(
        began.elapsed() <= Duration::from_secs(400),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn p22_each_step_that_the_ca_has_done_starts_the_count_of_its_trouble_anew() {
    let rig = Rig::new(&["a.example.com"]);
    // Before anything has been done the rests double, 2 and 4 s; then each trouble is the first: 2 s.
    rig.place.state().faults.ca_misses = vec!["open", "open", "tell", "refresh", "finalize", "download"];
    let began = Instant::now();
    rig.settled(&mut rig.process()).await;
    let took = began.elapsed();
    assert!(rig.place.state().faults.ca_misses.is_empty());
    assert!((14..16).contains(&took.as_secs()), "{took:?}");
    assert_eq!(rig.place.state().orders.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p22_to_show_an_order_again_is_no_end_of_trouble() {
    let rig = Rig::new(&["a.example.com"]);
    // Each time the order is taken up and read before it is asked to make the certificate.
    rig.place.state().faults.ca_misses = vec!["finalize"; 5];
    let began = Instant::now();
    rig.settled(&mut rig.process()).await;
    let took = began.elapsed();
    assert!((62..66).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn p22_one_order_that_the_ca_always_fails_on_holds_up_nobody_else() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.poisoned = [0].into();
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(1800)).await;
    let asked = rig.place.state().calls("finalize 0");
    assert!((5..=30).contains(&asked), "{asked} times in half an hour");
    // Whenever another comes, it is served at once.
    for count in 1..4 {
        let hosts: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| format!("{name}.example.com"))
            .into();
        rig.show_requests(&process, &hosts[..=count]);
        let began = Instant::now();
        let new: Hostname = hosts[count].parse().unwrap();
        rig.reach(&mut process, |state| state.secrets.contains_key(&new))
            .await;
        assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
        rig.pass(&mut process, Duration::from_secs(59)).await;
    }
    rig.place.state().faults.poisoned.clear();
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().orders.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn p22_two_orders_that_the_ca_always_fails_on_hold_up_others_for_seconds() {
    let mut hosts = vec!["a.example.com".to_owned(), "b.example.com".to_owned()];
    let rig = Rig::new(&["a.example.com", "b.example.com"]);
    rig.place.state().faults.poisoned = [0, 1].into();
    let mut process = rig.process();
    for name in ["c", "d", "e", "f"] {
        rig.pass(&mut process, Duration::from_secs(1_111)).await;
        let began = Instant::now();
        let new: Hostname = format!("{name}.example.com").parse().unwrap();
        hosts.push(new.to_string());
        rig.show_requests(&process, &hosts);
        rig.reach(&mut process, |state| state.secrets.contains_key(&new))
            .await;
        assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn p17_a_limit_of_the_account_holds_everything_for_as_long_as_the_ca_said() {
    let rig = Rig::new(&["a.example.com", "b.example.com"]);
    rig.place.state().faults.refuse_orders = Some(Problem {
        status: Some(429),
        kind: ProblemKind::RateLimited,
        detail: "too many new orders (300) from this account in the last 3h0m0s".into(),
        retry_after: Some(Duration::from_secs(1800)),
    });
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(1790)).await;
    assert!(rig.place.state().calls("open") <= 2);
    rig.place.state().faults.refuse_orders = None;
    let began = Instant::now();
    rig.settled(&mut process).await;
    assert!(
        began.elapsed() <= Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn p22_a_ca_that_asks_for_no_wait_at_all_is_not_asked_without_end() {
    for (status, kind) in [
        (503, ProblemKind::RateLimited),
        (500, ProblemKind::ServerInternal),
    ] {
        let rig = Rig::new(&["a.example.com", "b.example.com"]);
        rig.place.state().faults.refuse_orders = Some(Problem {
            status: Some(status),
            kind,
            detail: "busy".into(),
            retry_after: Some(Duration::ZERO),
        });
        let mut process = rig.process();
        rig.pass(&mut process, Duration::from_secs(3600)).await;
        let asked = rig.place.state().calls("open");
        assert!((5..=40).contains(&asked), "{asked} times in an hour");
        rig.place.state().faults.refuse_orders = None;
        rig.settled(&mut process).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p22_who_met_what_is_held_until_somebody_acts_goes_on_as_soon_as_somebody_has() {
    let rig = Rig::new(&["b.example.com"]);
    let mut process = rig.process();
    rig.settled(&mut process).await;
    rig.place.state().faults.refuse_orders = Some(Problem {
        status: Some(403),
        kind: ProblemKind::UserActionRequired,
        detail: "new terms".into(),
        retry_after: None,
    });
    let hosts = ["a.example.com", "b.example.com"].map(str::to_owned);
    rig.show_requests(&process, &hosts);
    rig.pass(&mut process, Duration::from_secs(3600)).await;
    assert_eq!(rig.place.state().calls("open"), 2, "asked once");
    rig.place.state().faults.refuse_orders = None;
    // By hand, for another: where that succeeds, the hold is over for all.
    let [met, mended]: [Hostname; 2] = hosts.map(|host| host.parse().unwrap());
    let asked = Demand {
        at: (rig.clock())(),
        force: false,
        why: Why::Hand,
    };
    let held = {
        let state = &mut *rig.place.state();
        let held = state.secrets.get_mut(&mended).unwrap();
        held.renew = Some(Box::new(asked));
        held.clone()
    };
    let (secret, host) = (held.secret.clone(), Some(mended));
    process
        .secrets
        .unbounded_send(SeenSecret::Changed { secret, host, held })
        .unwrap();
    let began = Instant::now();
    rig.reach(&mut process, |state| state.secrets.contains_key(&met))
        .await;
    assert!(
        began.elapsed() <= Duration::from_secs(65),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn p23_an_order_that_can_never_be_read_again_is_given_up_when_its_time_is_over() {
    let rig = Rig::new(&["a.example.com", "b.example.com"]);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    {
        let faults = &mut rig.place.state().faults;
        faults.hide = true;
        faults.expires = Some(after((rig.clock())(), hours(8)));
    }
    let mut process = rig.process();
    rig.reach(&mut process, |state| state.calls("look") > 3).await;
    drop(process);
    // The address of what was ordered is not there any more; new orders have another.
    {
        let faults = &mut rig.place.state().faults;
        faults.hide = false;
        faults.ca_misses = vec!["resume"; 10_000];
    }
    let mut process = rig.process();
    rig.pass(&mut process, hours(7)).await;
    assert_eq!(rig.place.state().orders.len(), 2);
    rig.pass(&mut process, hours(2)).await;
    rig.settled(&mut process).await;
    let state = rig.place.state();
    assert_eq!(state.orders.len(), 4);
    let asked = state.calls("resume");
    assert!(asked <= 300, "{asked} times");
}

#[tokio::test(start_paused = true)]
async fn p23_a_csr_that_comes_to_nothing_is_sent_now_and_then_and_not_for_ever() {
    let check = |rig: &Rig, orders, finalized| {
        let state = rig.place.state();
        assert_eq!((state.orders.len(), state.calls("finalize")), (orders, finalized));
    };
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.shrugs = 3;
    let mut process = rig.process();
    rig.settled(&mut process).await;
    check(&rig, 1, 4);

    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.shrugs = 32;
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(1500)).await;
    assert_eq!(rig.place.state().orders.len(), 1);
    rig.settled(&mut process).await;
    check(&rig, 2, 33);
}

#[tokio::test(start_paused = true)]
async fn p22_new_orders_in_vain_come_to_one_a_day() {
    let rig = Rig::new(&["a.example.com"]);
    // The place for new orders is not there any more.
    rig.place.state().faults.refuse_orders = Some(Problem {
        status: Some(404),
        kind: ProblemKind::Malformed,
        detail: "page not found".into(),
        retry_after: None,
    });
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(86_400)).await;
    let asked = rig.place.state().calls("open");
    assert!((9..=12).contains(&asked), "{asked} times in a day");
}

#[tokio::test(start_paused = true)]
async fn s13_what_the_ca_has_seen_fail_keeps_the_grace_over_a_restart() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.fail_validation = true;
    let mut process = rig.process();
    rig.reach(&mut process, |state| state.calls("save failure") == 1)
        .await;
    assert!(rig.place.state().txt.is_empty(), "the value is withdrawn first");
    drop(process);
    rig.place.state().faults.fail_validation = false;
    let mut process = rig.process();
    rig.settled_after_grace(&mut process).await;
    assert_eq!(rig.place.state().orders.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p22_a_start_with_another_configuration_ends_the_wait_of_what_cannot_succeed_but_for_the_grace() {
    for (waited, changed, expected) in [
        (2 * GRACE, true, Duration::ZERO),
        (GRACE / 2, true, GRACE / 2),
        (2 * GRACE, false, GRACE),
    ] {
        let mut rig = Rig::new(&["a.example.com"]);
        rig.place.state().faults.refuse_orders = Some(Problem {
            status: Some(400),
            kind: ProblemKind::RejectedIdentifier,
            detail: "not this one".into(),
            retry_after: None,
        });
        let mut process = rig.process();
        rig.pass(&mut process, waited).await;
        assert_eq!(rig.place.state().calls("open"), 1);
        drop(process);
        rig.place.state().faults.refuse_orders = None;
        rig.setup += u64::from(changed);
        let began = Instant::now();
        rig.settled(&mut rig.process()).await;
        let late = began.elapsed().saturating_sub(expected);
        assert!(
            began.elapsed() + Duration::from_secs(1) >= expected && late <= Duration::from_secs(5),
            "{late:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn s13_failures_in_a_row_come_to_one_try_a_day() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.fail_validation = true;
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(10 * 86_400)).await;
    let tries = rig.place.state().orders.len();
    // At 0, 8 and 24 hours, then daily.
    assert!((10..=12).contains(&tries), "{tries} tries");
    let failures = rig
        .place
        .state()
        .notes
        .values()
        .next()
        .unwrap()
        .failures
        .clone()
        .unwrap();
    assert_eq!(failures.count as usize, tries);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_costs_no_second_order() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.store_is_away = true;
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(600)).await;
    assert!(rig.place.state().calls("keep") >= 5);
    rig.place.state().faults.store_is_away = false;
    rig.settled(&mut process).await;
    let state = rig.place.state();
    assert_eq!((state.orders.len(), state.calls("finalize")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn p16_where_no_note_can_be_saved_two_orders_are_made_and_not_one_for_each_host() {
    let hosts: Vec<String> = (0..10 * AT_ONCE)
        .map(|number| format!("h{number}.example.com"))
        .collect();
    let rig = Rig::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    rig.place.state().faults.refuse_notes = true;
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(3600)).await;
    assert_eq!(rig.place.state().orders.len(), UNNOTED_AT_ONCE);
    // Those who ask for these two may go: they do not keep the others waiting.
    rig.show_requests(&process, &[]);
    rig.pass(&mut process, Duration::from_secs(60)).await;
    rig.show_requests(&process, &hosts);
    rig.pass(&mut process, Duration::from_secs(600)).await;
    assert!(rig.place.state().orders.len() <= 2 * UNNOTED_AT_ONCE);
    rig.place.state().faults.refuse_notes = false;
    let before = rig.place.state().orders.len();
    rig.settled(&mut process).await;
    assert!(rig.place.state().orders.len() <= before + hosts.len() - UNNOTED_AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn p23_orders_that_are_of_no_use_from_the_start_keep_nobody_waiting() {
    let rig = Rig::new(&["a.example.com", "b.example.com"]);
    rig.place.state().faults.born = vec![OrderStatus::Invalid; UNNOTED_AT_ONCE];
    let mut process = rig.process();
    rig.reach(&mut process, |state| state.orders.len() == UNNOTED_AT_ONCE)
        .await;
    // While these two rest there is room for another.
    let other = "c.example.com";
    rig.show_requests(
        &process,
        &["a.example.com", "b.example.com", other].map(str::to_owned),
    );
    let began = Instant::now();
    let other: Hostname = other.parse().unwrap();
    rig.reach(&mut process, |state| state.secrets.contains_key(&other))
        .await;
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
    rig.settled(&mut process).await;
    assert_eq!(rig.place.state().orders.len(), UNNOTED_AT_ONCE + 3);
}

#[tokio::test(start_paused = true)]
async fn p22_orders_of_no_use_in_a_row_come_to_one_a_day_over_restarts_too() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let spoil = |rig: &Rig, way: usize| {
        let faults = &mut rig.place.state().faults;
        if way == 0 {
            faults.born = vec![OrderStatus::Invalid; 10_000];
        } else {
            faults.refuse_requests = Some(Problem {
                status: Some(403),
                kind: ProblemKind::Unauthorized,
                detail: "CSR does not specify same identifiers as Order".into(),
                retry_after: None,
            });
        }
    };
    // Before and after there is a note of the order.
    for way in [0, 1] {
        let rig = Rig::new(&["a.example.com"]);
        spoil(&rig, way);
        let mut process = rig.process();
        rig.pass(&mut process, hours(4)).await;
        let count = rig.place.state().orders.len();
        assert!((7..=9).contains(&count), "{count} orders in four hours");
        drop(process);
        let mut process = rig.process();
        rig.pass(&mut process, hours(20)).await;
        let count = rig.place.state().orders.len() - count;
        assert!((2..=3).contains(&count), "{count} orders in the rest of a day");
        {
            let faults = &mut rig.place.state().faults;
            faults.born.clear();
            faults.refuse_requests = None;
        }
        // What is issued ends the row.
        rig.settled(&mut process).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p22_what_is_saved_of_orders_of_no_use_goes_with_the_wish() {
    let rig = Rig::new(&["a.example.com"]);
    rig.place.state().faults.born = vec![OrderStatus::Invalid; 3];
    let mut process = rig.process();
    rig.reach(&mut process, |state| state.calls("save failure") == 2)
        .await;
    drop(process);
    let mut process = rig.blind_process();
    rig.show_requests(&process, &[]);
    process
        .secrets
        .unbounded_send(SeenSecret::All(Vec::new()))
        .unwrap();
    rig.pass(&mut process, Duration::from_secs(600)).await;
    let state = rig.place.state();
    assert!(state.notes.is_empty(), "{:?}", state.journal);
    assert_eq!(state.orders.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn s05_somebody_elses_secret_costs_no_order_and_is_looked_at_again() {
    let rig = Rig::new(&["a.example.com"]);
    let host: Hostname = "a.example.com".parse().unwrap();
    rig.place.state().foreign.insert(host.clone());
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(3600)).await;
    assert_eq!(rig.place.state().orders.len(), 0);
    rig.place.state().foreign.remove(&host);
    let began = Instant::now();
    rig.settled(&mut process).await;
    assert!(
        began.elapsed() <= Duration::from_secs(65),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn p22_a_mended_key_ends_the_wait_of_refused_updates_within_five_seconds() {
    let rig = Rig::new(&["www.example.com"]);
    let record = record("www.example.com");
    rig.place.state().faults.refuse_updates.insert(record.clone());
    let mut process = rig.process();
    // Long enough for the pauses to have grown.
    rig.pass(&mut process, Duration::from_secs(6 * 3600)).await;
    rig.place.state().faults.refuse_updates.remove(&record);
    rig.place.repair();
    rig.pass(&mut process, Duration::from_secs(5)).await;
    let state = rig.place.state();
    assert!(
        state.calls("finalize") == 1,
        "{:?}",
        state.journal.iter().rev().take(5).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn p22_an_ingress_that_is_made_anew_ends_the_wait_of_refused_updates_within_five_seconds() {
    let rig = Rig::new(&["www.example.com"]);
    let record = record("www.example.com");
    rig.place.state().faults.refuse_updates.insert(record.clone());
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(6 * 3600)).await;
    // In the middle of a wait.
    let tried = rig.place.state().calls("publish");
    rig.reach(&mut process, |state| state.calls("publish") > tried)
        .await;
    rig.pass(&mut process, Duration::from_secs(2)).await;
    rig.place.state().faults.refuse_updates.remove(&record);
    rig.show_requests(&process, &[]);
    rig.pass(&mut process, Duration::from_millis(100)).await;
    rig.show_requests(&process, &["www.example.com".to_owned()]);
    rig.pass(&mut process, Duration::from_secs(5)).await;
    let state = rig.place.state();
    assert_eq!((state.calls("finalize"), state.orders.len()), (1, 1));
}

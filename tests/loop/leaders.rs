//! Several instances: leadership that is lost and gained, and two that lead by accident (P38).

use std::time::Duration;

use faythe::store::Saved;
use faythe::store::secrets::SeenSecret;
use faythe_core::budget::{Limit, Limits};
use faythe_core::name::Hostname;
use faythe_core::problem::{Problem, ProblemKind};
use faythe_core::schedule::{Failures, ahead};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::rig::{AT_ONCE, Rig};

/// More calls than an issuance makes.
const CALLS: usize = 40;
const HOST: &str = "a.example.com";

/// Whether a call changes something or costs something; the rest is reading.
fn acts(call: &str) -> bool {
    !["ledger", "notes", "windows", "note ", "slot ", "look ", "find "]
        .iter()
        .any(|reading| call.starts_with(reading))
}

#[tokio::test(start_paused = true)]
async fn p38_whoever_does_not_lead_only_reads() {
    let rig = Rig::new(&[HOST]);
    let (_office, mut process) = rig.candidate();
    rig.pass(&mut process, Duration::from_secs(3600)).await;
    assert_eq!(rig.place.state().journal, ["ledger", "notes", "windows"]);
}

#[tokio::test(start_paused = true)]
async fn p38_leadership_lost_at_any_call_stops_it_there_and_another_goes_on() {
    let mut extra = Vec::new();
    for at in 2..CALLS {
        let rig = Rig::new(&[HOST]);
        let (mut office, mut first) = rig.candidate();
        office.begin(None);
        rig.place.state().at_call = Some((at, Box::new(move || office.leave())));
        rig.pass(&mut first, Duration::from_secs(60)).await;
        let journal = rig.place.state().journal.clone();
        let after: Vec<_> = journal.iter().skip(at).filter(|call| acts(call)).collect();
        assert!(after.is_empty(), "lost at call {at}, and yet {after:?}");
        let mut second = rig.process();
        rig.settled_by_either(&mut second, &mut first).await;
        let state = rig.place.state();
        assert_eq!(state.calls("finalize"), 1, "lost at call {at}");
        assert_eq!(state.calls("keep"), 1, "lost at call {at}");
        if state.orders.len() > 1 {
            extra.push((state.journal[at - 1].clone(), state.orders.len()));
        }
    }
    // Only between the CA's answer and our note of it is an order lost sight of.
    assert_eq!(extra, [("open a.example.com".to_owned(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn p38_a_term_that_runs_out_stops_it_before_another_may_start() {
    for seconds in [1, 15, 60, 300, 1800] {
        let rig = Rig::new(&[HOST]);
        let term = Duration::from_secs(seconds);
        let (mut office, mut first) = rig.candidate();
        // It tries again and again, so it would go on acting.
        rig.place.state().faults.store_is_away = true;
        // Nobody extends the term: the API server does not answer, and nothing but our own clock says that it is over.
        let wall = SignedDuration::try_from(term).unwrap();
        office.begin(Some((Instant::now() + term, rig.clock()() + wall)));
        rig.pass(&mut first, term).await;
        let before = rig.place.state().journal.len();
        assert!(rig.place.state().calls("keep") > 0, "an order is under way");
        rig.pass(&mut first, Duration::from_secs(3600)).await;
        let journal = rig.place.state().journal.clone();
        let after: Vec<_> = journal[before..].iter().filter(|call| acts(call)).collect();
        assert!(after.is_empty(), "over after {term:?}, and yet {after:?}");
        // Another goes on with the same order.
        rig.place.state().faults.store_is_away = false;
        let mut second = rig.process();
        rig.settled_by_either(&mut second, &mut first).await;
        let state = rig.place.state();
        assert_eq!((state.orders.len(), state.calls("finalize")), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn p38_what_comes_to_lead_again_reads_the_notes_anew() {
    let rig = Rig::new(&[HOST]);
    let (mut office, mut first) = rig.candidate();
    rig.pass(&mut first, Duration::from_secs(10)).await;
    rig.place.state().faults.fail_validation = true;
    let mut second = rig.process();
    rig.reach(&mut second, |state| state.calls("save failure") == 1)
        .await;
    drop(second);
    rig.place.state().faults.fail_validation = false;
    office.begin(None);
    rig.settled_after_grace(&mut first).await;
    assert_eq!(rig.place.state().orders.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p38_an_instance_leads_on_after_a_pause_in_which_nobody_else_did() {
    for at in 2..CALLS {
        let rig = Rig::new(&[HOST]);
        let (mut office, mut process) = rig.candidate();
        office.begin(None);
        let (paused, pause) = tokio::sync::oneshot::channel();
        rig.place.state().at_call = Some((
            at,
            Box::new(move || {
                office.leave();
                let _ = paused.send(office);
            }),
        ));
        let resumed = async {
            if let Ok(mut office) = pause.await {
                tokio::time::sleep(Duration::from_secs(60)).await;
                office.begin(None);
            }
            std::future::pending::<()>().await;
        };
        let settled = rig.settled(&mut process);
        tokio::select! {
            () = settled => {}
            () = resumed => {}
        }
        let state = rig.place.state();
        assert_eq!(state.calls("keep"), 1, "lost at call {at}");
        assert!(state.orders.len() <= 2, "lost at call {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn p38_two_leaders_by_accident_issue_nothing_twice() {
    for at in 1..CALLS {
        let rig = Rig::new(&[HOST]);
        let mut first = rig.process();
        let (mut office, mut second) = rig.candidate();
        rig.place.state().at_call = Some((at, Box::new(move || office.begin(None))));
        rig.settled_by_either(&mut first, &mut second).await;
        // Whatever the other has still under way comes to its end too.
        rig.pass(&mut second, Duration::from_secs(3600)).await;
        rig.pass(&mut first, Duration::from_secs(3600)).await;
        let state = rig.place.state();
        let made = state.orders.iter().filter(|order| order.is_used()).count();
        assert_eq!(made, 1, "the second began to lead at call {at}");
        assert!(state.orders.len() <= 2, "the second began to lead at call {at}");
        let host: Hostname = HOST.parse().unwrap();
        assert!(state.secrets.contains_key(&host) && state.txt.is_empty() && state.notes.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn p38_a_note_that_comes_late_from_another_is_cleaned_up() {
    let rig = Rig::new(&[HOST]);
    let mut process = rig.process();
    let host: Hostname = HOST.parse().unwrap();
    rig.place.state().faults.hide = true;
    rig.reach(&mut process, |state| state.notes.contains_key(&host))
        .await;
    let note = rig.place.state().notes[&host].clone();
    rig.place.state().faults.hide = false;
    rig.settled(&mut process).await;
    assert!(rig.place.state().notes.is_empty());
    // The request of one that led before arrives only now.
    rig.place.slip_in(note);
    rig.pass(&mut process, Duration::from_secs(60)).await;
    let state = rig.place.state();
    assert!(state.notes.is_empty());
    assert_eq!((state.calls("open"), state.calls("keep")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn p38_what_the_ca_was_not_sent_costs_nothing_and_is_no_failure() {
    for call in ["open", "tell", "finalize"] {
        let mut rig = Rig::new(&[HOST]);
        // An order that is counted though it was not made would be one too many.
        rig.limits.new_orders = Some(Limit::new(1, Duration::from_secs(7 * 86_400)));
        rig.place.state().faults.without_leave = vec![call];
        let mut process = rig.process();
        let began = Instant::now();
        rig.settled(&mut process).await;
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{:?}",
            began.elapsed()
        );
        let state = rig.place.state();
        assert!(state.faults.without_leave.is_empty());
        assert_eq!(
            (state.orders.len(), state.calls("save failure")),
            (1, 0),
            "{call}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p38_orders_that_another_has_made_meanwhile_keep_no_room_from_new_ones() {
    let rig = Rig::new(&[HOST, "b.example.com"]);
    let (mut office, mut first) = rig.candidate();
    office.begin(None);
    rig.place.state().faults.refuse_notes = true;
    rig.reach(&mut first, |state| state.calls("save note") > 4).await;
    assert_eq!(rig.place.state().orders.len(), faythe::act::UNNOTED_AT_ONCE);
    office.leave();
    rig.place.state().faults.refuse_notes = false;
    let mut second = rig.process();
    rig.settled_by_either(&mut second, &mut first).await;
    drop(second);
    let held = rig.place.state().secrets.clone();
    for (host, held) in held {
        let secret = held.secret.clone();
        let host = Some(host);
        let seen = SeenSecret::Changed { secret, host, held };
        first.secrets.unbounded_send(seen).unwrap();
    }
    rig.pass(&mut first, Duration::from_secs(60)).await;
    office.begin(None);
    let new = "new.example.com";
    let hosts = [HOST, "b.example.com", new].map(str::to_owned);
    rig.show_requests(&first, &hosts);
    let began = Instant::now();
    let new = new.parse().unwrap();
    rig.reach(&mut first, |state| state.secrets.contains_key(&new))
        .await;
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(120), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn p38_notes_that_cannot_be_read_keep_no_room_from_others() {
    let spoilt = [HOST, "b.example.com"];
    let rig = Rig::new(&spoilt);
    let hosts = spoilt.map(|host| host.parse().unwrap());
    rig.place.state().faults.spoilt_notes = hosts.into();
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(60)).await;
    let hosts = [spoilt[0], spoilt[1], "c.example.com"].map(str::to_owned);
    rig.show_requests(&process, &hosts);
    let other = hosts[2].parse().unwrap();
    let began = Instant::now();
    rig.reach(&mut process, |state| state.secrets.contains_key(&other))
        .await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// What another Faythe, or an earlier configuration, has left of an attempt that has failed long ago.
fn failed(host: &str, rig: &Rig) -> Saved {
    Saved {
        host: host.parse().unwrap(),
        order: None,
        failures: Some(Failures {
            count: 1,
            last: ahead(rig.clock()(), SignedDuration::from_hours(-48)),
            clock_ahead: SignedDuration::ZERO,
            code: "unauthorized".into(),
            text: "no".into(),
            not_before: None,
            parked: false,
            refused_by: Vec::new(),
        }),
        given_up: None,
        setup: None,
    }
}

#[tokio::test(start_paused = true)]
async fn p38_what_failed_in_zones_that_are_not_ours_takes_no_room_and_stays() {
    let rig = Rig::new(&[HOST]);
    for number in 0..AT_ONCE {
        rig.place.slip_in(failed(&format!("h{number}.other.test"), &rig));
    }
    let mut process = rig.process();
    let host = HOST.parse().unwrap();
    rig.reach(&mut process, |state| state.secrets.contains_key(&host))
        .await;
    rig.pass(&mut process, Duration::from_secs(60)).await;
    let state = rig.place.state();
    assert_eq!((state.notes.len(), state.calls("forget")), (AT_ONCE, 1));
}

/// A backup is put back, and with it the note of a failure of days ago.
#[tokio::test(start_paused = true)]
async fn p22_a_failure_is_noted_in_the_place_of_an_earlier_one() {
    let rig = Rig::new(&[]);
    rig.place.state().faults.refuse_orders = Some(Problem {
        status: Some(400),
        kind: ProblemKind::RejectedIdentifier,
        detail: "policy forbids issuing for it".to_owned(),
        retry_after: None,
    });
    let mut process = rig.process();
    rig.pass(&mut process, Duration::from_secs(1)).await;
    let earlier = failed(HOST, &rig);
    rig.place.slip_in(earlier.clone());
    rig.show_requests(&process, &[HOST.to_owned()]);
    rig.pass(&mut process, Duration::from_secs(5)).await;
    let noted = rig.place.state().notes[&earlier.host].failures.clone();
    assert_ne!(noted, earlier.failures);
    rig.pass(&mut process, Duration::from_secs(6 * 3_600)).await;
    assert_eq!(rig.place.state().calls("open"), 1);
}

#[tokio::test(start_paused = true)]
async fn p38_notes_of_a_faythe_for_other_zones_are_no_strays() {
    let rig = Rig::new(&[HOST]);
    let mut process = rig.process();
    rig.settled(&mut process).await;
    rig.place.slip_in(failed("a.other.test", &rig));
    rig.pass(&mut process, Duration::from_secs(3_600)).await;
    assert_eq!(rig.place.state().calls("notes"), 1);
}

#[tokio::test(start_paused = true)]
async fn p38_who_has_not_yet_read_what_is_counted_saves_nothing_at_the_end() {
    let mut rig = Rig::new(&[HOST, "b.example.com"]);
    rig.limits = Limits {
        new_orders: Some(Limit::new(300, Duration::from_secs(10_800))),
        ..Limits::default()
    };
    let mut first = rig.process();
    rig.settled(&mut first).await;
    let (mut office, mut second) = rig.candidate();
    rig.pass(&mut second, Duration::from_secs(1)).await;
    let new: Vec<_> = (0..20).map(|number| format!("h{number}.example.com")).collect();
    rig.show_requests(&first, &new);
    rig.reach(&mut first, |state| state.secrets.len() == 22).await;
    first.stop.cancel();
    first.end().await.unwrap();
    let counted = rig.place.state().ledger.clone();
    // It is told to end between what is counted and the notes.
    let stop = second.stop.clone();
    let at = rig.place.state().journal.len() + 2;
    rig.place.state().at_call = Some((at, Box::new(move || stop.cancel())));
    office.begin(None);
    second.end().await.unwrap();
    let state = rig.place.state();
    assert_eq!(state.journal[at - 1], "notes");
    assert_eq!(state.ledger, counted);
}

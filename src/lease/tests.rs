//! Terms that end by either clock, and the fence.

use std::time::Duration;

use faythe_core::schedule::after;
use tokio::time::{advance, sleep};

use super::*;

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A wall clock that goes with the paused one, and can be set ahead.
fn clock() -> (Now, Arc<AtomicU64>) {
    let began = Instant::now();
    let set = Arc::new(AtomicU64::new(0));
    let ahead = Arc::clone(&set);
    let now: Now = Arc::new(move || {
        let ahead = Duration::from_secs(ahead.load(Ordering::Relaxed));
        after(start(), began.elapsed() + ahead)
    });
    (now, set)
}

fn in_secs(now: &Now, secs: u64) -> (Instant, Timestamp) {
    let term = Duration::from_secs(secs);
    (Instant::now() + term, after(now(), term))
}

#[tokio::test(start_paused = true)]
async fn p38_a_term_that_nobody_extends_is_over_by_our_own_clock() {
    let (now, _) = clock();
    let (mut office, tenure) = Tenure::vacant(Arc::clone(&now));
    let fenced = tenure.fence("the CA");
    assert_eq!(fenced.act(), Err(NotLeading));
    office.begin(Some(in_secs(&now, 7)));
    assert_eq!(fenced.act(), Err(NotLeading), "the notes come first");
    tenure.enter(1);
    assert_eq!(fenced.act(), Ok(&"the CA"));
    advance(Duration::from_secs(5)).await;
    office.extend(in_secs(&now, 7));
    advance(Duration::from_millis(6_999)).await;
    assert_eq!(fenced.act(), Ok(&"the CA"));
    advance(Duration::from_millis(1)).await;
    assert_eq!(fenced.act(), Err(NotLeading));
    assert_eq!(fenced.read(), &"the CA");
}

#[tokio::test(start_paused = true)]
async fn p38_a_machine_that_was_suspended_does_not_lead_on() {
    let (now, set) = clock();
    let (mut office, tenure) = Tenure::vacant(Arc::clone(&now));
    office.begin(Some(in_secs(&now, 7)));
    tenure.enter(1);
    assert_eq!(tenure.check(), Ok(()));
    // The clock that nobody can set has stood still meanwhile.
    set.store(60, Ordering::Relaxed);
    assert_eq!(tenure.check(), Err(NotLeading));
}

#[tokio::test(start_paused = true)]
async fn p38_what_was_begun_in_an_earlier_term_does_not_go_on_in_the_next() {
    let (now, _) = clock();
    let (mut office, tenure) = Tenure::vacant(Arc::clone(&now));
    office.begin(Some(in_secs(&now, 7)));
    tenure.enter(1);
    office.leave();
    office.begin(Some(in_secs(&now, 7)));
    assert_eq!(tenure.current(), Some(2));
    assert_eq!(tenure.check(), Err(NotLeading));
    tenure.enter(2);
    assert_eq!(tenure.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_when_it_comes_and_when_time_brings_it() {
    let (now, _) = clock();
    let (mut office, mut tenure) = Tenure::vacant(Arc::clone(&now));
    let change = async {
        sleep(Duration::from_secs(1)).await;
        office.begin(Some(in_secs(&now, 7)));
    };
    let (term, ()) = tokio::join!(tenure.changed(None), change);
    assert_eq!(term, Some(1));
    let began = Instant::now();
    assert_eq!(tenure.changed(Some(1)).await, None);
    assert_eq!(began.elapsed(), Duration::from_secs(7));
}

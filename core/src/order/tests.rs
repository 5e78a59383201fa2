//! The sequence of one order, fact by fact.

use jiff::SignedDuration;

use super::*;
use crate::problem::ProblemKind;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn at(seconds: i64) -> Timestamp {
    ahead(NOW, SignedDuration::from_secs(seconds))
}

fn value() -> ChallengeValue {
    let host: Hostname = "a.example.com".parse().unwrap();
    ChallengeValue {
        record: host.challenge_record(),
        value: "v".into(),
    }
}

fn note() -> Note {
    Note {
        host: "a.example.com".parse().unwrap(),
        order_url: "https://ca/order/1".into(),
        directory: None,
        values: vec![value()],
        route: None,
        replaces: None,
        created: NOW,
        expires: None,
    }
}

fn ca(status: OrderStatus, challenge: Option<ChallengeStatus>) -> CaView {
    CaView {
        status,
        challenges: challenge
            .map(|status| Challenge {
                value: value(),
                status,
            })
            .into_iter()
            .collect(),
        problem: None,
        expires: None,
        retry_after: None,
    }
}

/// The facts of a wanted order, changed by `change`, lead to `expected`.
fn check(change: impl for<'a> FnOnce(&mut Known<'a>, &'a Facts), expected: Step) {
    let facts = Facts::default();
    let mut known = Known {
        goal: Goal::Wanted,
        place: Some(Place::Open),
        note: Some(&facts.note),
        note_in_doubt: false,
        ca: Some(&facts.pending),
        published: Published::No,
        neighbors: &facts.alone,
    };
    change(&mut known, &facts);
    assert_eq!(next(&known, at(100)), expected);
}

struct Facts {
    note: Note,
    pending: CaView,
    told: CaView,
    ready: CaView,
    processing: CaView,
    valid: CaView,
    invalid: CaView,
    alone: Neighbors,
    preparing: Neighbors,
}

impl Default for Facts {
    fn default() -> Self {
        let mut invalid = ca(OrderStatus::Invalid, None);
        invalid.problem = Some(Problem {
            status: None,
            kind: ProblemKind::Dns,
            detail: "NXDOMAIN".into(),
            retry_after: None,
        });
        Self {
            note: note(),
            pending: ca(OrderStatus::Pending, Some(ChallengeStatus::Pending)),
            told: ca(OrderStatus::Pending, Some(ChallengeStatus::Processing)),
            ready: ca(OrderStatus::Ready, None),
            processing: ca(OrderStatus::Processing, None),
            valid: ca(OrderStatus::Valid, None),
            invalid,
            alone: Neighbors::default(),
            preparing: Neighbors {
                preparing: true,
                looks: Vec::new(),
            },
        }
    }
}

#[test]
fn p16_a_note_in_doubt_is_saved_again_before_anything_relies_on_it() {
    check(|k, _| k.note_in_doubt = true, Step::Note);
    check(|k, _| (k.note_in_doubt, k.ca) = (true, None), Step::Note);
    check(
        |k, f| (k.note_in_doubt, k.ca) = (true, Some(&f.ready)),
        Step::Note,
    );
    check(
        |k, f| (k.note_in_doubt, k.ca) = (true, Some(&f.valid)),
        Step::Note,
    );
    // To clean up needs no note.
    check(|k, _| (k.note_in_doubt, k.place) = (true, None), Step::Inspect);
    check(
        |k, _| (k.note_in_doubt, k.goal) = (true, Goal::Unwanted),
        Step::Withdraw,
    );
    let unwanted = (true, Goal::Unwanted, Published::Withdrawn);
    check(
        |k, _| (k.note_in_doubt, k.goal, k.published) = unwanted,
        Step::Forget,
    );
}

#[test]
fn a_wanted_order_goes_its_way() {
    check(|k, _| k.place = None, Step::Inspect);
    check(|k, _| (k.note, k.ca) = (None, None), Step::Open);
    check(|k, _| k.note = None, Step::Note);
    check(|_, _| {}, Step::Publish);
    check(|k, _| k.published = Published::Hidden, Step::Look);
    check(|k, _| k.published = Published::Shown(at(99)), Step::Tell);
    check(
        |k, f| (k.published, k.ca) = (Published::Shown(at(99)), Some(&f.told)),
        Step::Ask,
    );
    check(|k, f| k.ca = Some(&f.ready), Step::Finalize);
    check(|k, f| k.ca = Some(&f.processing), Step::AwaitCertificate);
    check(|k, f| k.ca = Some(&f.valid), Step::Store);
    check(|k, _| k.place = Some(Place::Served), Step::Withdraw);
    check(
        |k, _| (k.place, k.published) = (Some(Place::Served), Published::Withdrawn),
        Step::Forget,
    );
    check(
        |k, _| (k.place, k.note) = (Some(Place::Served), None),
        Step::End(End::Settled),
    );
}

#[test]
fn what_the_ca_is_doing_is_what_is_said_of_it() {
    let stage = |status| {
        let (facts, view) = (Facts::default(), ca(status, Some(ChallengeStatus::Processing)));
        let known = Known {
            goal: Goal::Wanted,
            place: Some(Place::Open),
            note: Some(&facts.note),
            note_in_doubt: false,
            ca: Some(&view),
            published: Published::Shown(at(99)),
            neighbors: &facts.alone,
        };
        next(&known, at(100)).stage()
    };
    assert_eq!(stage(OrderStatus::Pending), Stage::Validating);
    assert_eq!(stage(OrderStatus::Ready), Stage::Finalizing);
    assert_eq!(stage(OrderStatus::Processing), Stage::Finalizing);
    assert_eq!(stage(OrderStatus::Valid), Stage::Storing);
}

#[test]
fn after_a_restart_the_noted_order_is_taken_up() {
    check(|k, _| k.ca = None, Step::Resume);
    check(|k, f| k.ca = Some(&f.told), Step::Ask);
}

#[test]
fn a_failed_order_is_withdrawn_before_its_failure_is_recorded() {
    check(|k, f| k.ca = Some(&f.invalid), Step::Withdraw);
    check(
        |k, f| (k.ca, k.published) = (Some(&f.invalid), Published::Withdrawn),
        Step::RecordFailure,
    );
}

#[test]
fn an_unwanted_order_is_cleaned_up_unless_the_ca_is_making_it() {
    check(|k, _| k.goal = Goal::Unwanted, Step::Withdraw);
    check(|k, _| (k.goal, k.ca) = (Goal::Unwanted, None), Step::Withdraw);
    check(
        |k, _| (k.goal, k.published) = (Goal::Unwanted, Published::Withdrawn),
        Step::Forget,
    );
    check(
        |k, _| (k.goal, k.note) = (Goal::Unwanted, None),
        Step::End(End::Settled),
    );
    check(
        |k, f| (k.goal, k.ca) = (Goal::Unwanted, Some(&f.processing)),
        Step::AwaitCertificate,
    );
    check(
        |k, f| (k.goal, k.ca) = (Goal::Unwanted, Some(&f.valid)),
        Step::Store,
    );
}

#[test]
fn p18_an_order_that_was_made_goes_on_though_nobody_asks() {
    let check = |change: fn(&mut Known<'_>), expected| {
        check(
            |k, _| {
                k.goal = Goal::Carried;
                change(k);
            },
            expected,
        );
    };
    // What has not been made is not made for nobody.
    check(|k| (k.note, k.ca) = (None, None), Step::End(End::Settled));
    check(|k| k.note = None, Step::Note);
    check(|k| k.ca = None, Step::Resume);
    check(|_| {}, Step::Publish);
    check(|k| k.published = Published::Shown(at(99)), Step::Tell);
    // The clock has been set back since.
    check(|k| k.published = Published::Shown(at(999)), Step::Look);
    // And nobody waits for a place that is taken.
    check(|k| k.place = Some(Place::Taken), Step::Withdraw);
}

#[test]
fn a_wish_that_vanishes_while_the_ca_looks_makes_no_failure() {
    check(|k, f| (k.goal, k.ca) = (Goal::Unwanted, Some(&f.told)), Step::Ask);
    // Who lost sight of the CA cleans up without asking.
    check(|k, _| (k.goal, k.ca) = (Goal::Unwanted, None), Step::Withdraw);
}

#[test]
fn p23_an_order_that_the_ca_has_forgotten_is_given_up() {
    for mut view in [
        Facts::default().told,
        Facts::default().ready,
        Facts::default().processing,
    ] {
        view.expires = Some(at(100));
        let facts = Facts::default();
        let known = Known {
            goal: Goal::Wanted,
            place: Some(Place::Open),
            note: Some(&facts.note),
            note_in_doubt: false,
            ca: Some(&view),
            published: Published::Withdrawn,
            neighbors: &facts.alone,
        };
        assert_eq!(next(&known, at(100)), Step::GiveUp, "{:?}", view.status);
        let known = Known {
            goal: Goal::Unwanted,
            ..known
        };
        assert!(matches!(next(&known, at(100)), Step::Forget | Step::Ask));
    }
}

#[test]
fn p23_an_order_ends_when_the_ca_said_unless_it_was_over_when_it_was_made() {
    let facts = Facts::default();
    let mut view = facts.ready.clone();
    let mut note = facts.note.clone();
    (note.created, note.expires, view.expires) = (at(50), Some(at(100)), None);
    // A CA need not repeat it.
    assert_eq!(deadline(Some(&view), Some(&note)), Some(at(100)));
    view.expires = Some(at(200));
    assert_eq!(deadline(Some(&view), Some(&note)), Some(at(200)));
    view.expires = Some(at(50));
    assert_eq!(deadline(Some(&view), Some(&note)), None);
}

#[test]
fn a_failure_without_a_note_is_recorded() {
    check(
        |k, f| (k.note, k.ca) = (None, Some(&f.invalid)),
        Step::RecordFailure,
    );
}

#[test]
fn a_taken_place_keeps_the_note_but_not_the_values() {
    check(|k, _| k.place = Some(Place::Taken), Step::Withdraw);
    check(
        |k, _| (k.place, k.published) = (Some(Place::Taken), Published::Withdrawn),
        Step::End(End::Blocked),
    );
    check(
        |k, _| (k.place, k.note, k.ca) = (Some(Place::Taken), None, None),
        Step::End(End::Blocked),
    );
    // Nobody waits for the place any more.
    check(
        |k, _| (k.place, k.goal, k.published) = (Some(Place::Taken), Goal::Unwanted, Published::Withdrawn),
        Step::Forget,
    );
}

#[test]
fn p15_the_ca_is_told_only_when_the_neighbors_value_stands_too() {
    check(
        |k, f| (k.published, k.neighbors) = (Published::Shown(at(99)), &f.preparing),
        Step::AwaitNeighbors,
    );
}

#[test]
fn p15_a_later_value_waits_out_the_cas_cache() {
    let clear = |shown, looks: &[CaLook]| cache_clear(at(shown), looks);
    let look = |from, until: Option<i64>| CaLook {
        from: at(from),
        until: until.map(at),
    };
    // Told after our value stood: whatever was cached has it.
    assert_eq!(clear(10, &[look(11, Some(12))]), Timestamp::MIN);
    // Finished before our value stood.
    assert_eq!(clear(10, &[look(1, Some(5))]), at(65));
    // Still looking, or finished later: answers since our value stood have it.
    assert_eq!(clear(10, &[look(1, None)]), at(70));
    assert_eq!(clear(10, &[look(1, Some(30))]), at(70));
    // The latest counts.
    assert_eq!(clear(10, &[look(1, Some(2)), look(3, Some(4))]), at(64));
}

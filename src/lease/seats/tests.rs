//! What the seats of a Lease mean, and what is written.

use serde_json::json;
use tokio::time::advance;

use super::*;

const DURATION: Duration = Duration::from_secs(10);

fn zones(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn at(second: i8) -> MicroTime {
    MicroTime(format!("2026-01-01T00:00:{second:02}Z").parse().unwrap())
}

/// A Lease whose `spec` this holder has; an empty name is none.
fn lease(holder: &str, zones: &str) -> Lease {
    let lease = json!({
        "metadata": { "name": "faythe", "annotations": { "faythe/zones": zones } },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 10 },
    });
    serde_json::from_value(lease).unwrap()
}

/// One who serves `zones` takes the seat that is free for it.
fn taken(lease: &mut Lease, identity: &str, names: &[&str], now: MicroTime) -> Place {
    let zones = zones(names);
    let mut seats = Seats::default();
    seats.look(lease, Instant::now());
    let Judgment::Free { place, clear, .. } = seats.judge(identity, &zones, Instant::now()) else {
        panic!("{identity} finds it taken");
    };
    let sitter = Sitter {
        identity,
        zones: &zones,
        duration: DURATION,
        holding: None,
        now,
    };
    sit(lease, &place, &clear, &sitter);
    place
}

fn judged(seats: &Seats, identity: &str, names: &[&str]) -> Judgment {
    seats.judge(identity, &zones(names), Instant::now())
}

#[tokio::test(start_paused = true)]
async fn p38_each_group_of_zones_has_a_seat_and_whoever_shares_a_zone_respects_it() {
    let mut lease = lease("", "");
    let a = taken(&mut lease, "a1", &["a.test"], at(0));
    let b = taken(&mut lease, "b1", &["b.test"], at(1));
    let c = taken(&mut lease, "c1", &["c.test", "d.test"], at(2));
    assert_eq!(a, Place::Spec);
    assert!(b != a && c != a && b != c);
    let mut seats = Seats::default();
    seats.look(&lease, Instant::now());
    for (names, holder, left_out) in [
        (&["a.test"][..], "a1", &[][..]),
        (&["b.test"], "b1", &[]),
        (&["b.test", "e.test"], "b1", &["e.test"]),
        (&["d.test"], "c1", &[]),
    ] {
        let taken = Judgment::Taken {
            holder: holder.to_owned(),
            left: DURATION,
            unserved: left_out.iter().map(|&zone| zone.to_owned()).collect(),
        };
        assert_eq!(judged(&seats, "other", names), taken);
    }
    let elsewhere = judged(&seats, "other", &["e.test"]);
    assert!(matches!(
        elsewhere,
        Judgment::Free { place: Place::Beside(_), beside: Some(zones), .. } if zones == "a.test"
    ));
}

#[tokio::test(start_paused = true)]
async fn p38_a_seat_grows_old_though_others_are_renewed() {
    let mut lease = lease("a1", "a.test");
    let b = taken(&mut lease, "b1", &["b.test"], at(0));
    let mut seats = Seats::default();
    for second in 0..11 {
        let seat = renewed(&lease, &b, at(second));
        put(&mut lease, &b, seat);
        lease.metadata.resource_version = Some(second.to_string());
        seats.look(&lease, Instant::now());
        advance(Duration::from_secs(1)).await;
    }
    assert!(matches!(
        judged(&seats, "a2", &["a.test"]),
        Judgment::Free { place: Place::Spec, over: Some((holder, _)), .. } if holder == "a1"
    ));
    assert!(matches!(
        judged(&seats, "b2", &["b.test"]),
        Judgment::Taken { holder, .. } if holder == "b1"
    ));
    // Who sits beside stays there, and makes the other free for those who take nothing else.
    let Judgment::Free { place, clear, .. } = judged(&seats, "b1", &["b.test"]) else {
        panic!("it is taken");
    };
    assert_eq!((place, clear), (b, vec![Place::Spec]));
}

fn renewed(lease: &Lease, place: &Place, now: MicroTime) -> Seat {
    let mut seat = all(lease).remove(place).unwrap();
    seat.spec.renew_time = Some(now);
    seat
}

#[tokio::test(start_paused = true)]
async fn p38_who_sits_beside_moves_when_the_lease_has_been_free_for_long_and_leads_on() {
    let mut lease = lease("a1", "a.test");
    let b = taken(&mut lease, "b1", &["b.test"], at(0));
    assert!(stand_up(&mut lease, "a1", &at(1)));
    let mut seats = Seats::default();
    seats.look(&lease, Instant::now());
    advance(VACANT - Duration::from_millis(1)).await;
    let stays = judged(&seats, "b1", &["b.test"]);
    assert!(matches!(stays, Judgment::Free { place, .. } if place == b));
    advance(Duration::from_millis(1)).await;
    let Judgment::Free { place, clear, .. } = judged(&seats, "b1", &["b.test"]) else {
        panic!("it is taken");
    };
    assert_eq!((&place, &clear), (&Place::Spec, &vec![b.clone()]));
    let zones = zones(&["b.test"]);
    let holding = since(&lease, &b, "b1").unwrap();
    let sitter = Sitter {
        identity: "b1",
        zones: &zones,
        duration: DURATION,
        holding: Some(&holding),
        now: at(30),
    };
    sit(&mut lease, &place, &clear, &sitter);
    assert_eq!(since(&lease, &Place::Spec, "b1"), Some(holding));
    assert!(!has_others(&lease));
    assert_eq!(lease.annotations()["faythe/zones"], "b.test");
}

#[tokio::test(start_paused = true)]
async fn p38_who_has_lost_its_seat_in_between_holds_it_anew() {
    let mut lease = lease("", "");
    let names = zones(&["a.test"]);
    let mut sitter = Sitter {
        identity: "a1",
        zones: &names,
        duration: DURATION,
        holding: None,
        now: at(0),
    };
    sit(&mut lease, &Place::Spec, &[], &sitter);
    let first = since(&lease, &Place::Spec, "a1").unwrap();
    sitter.holding = Some(&first);
    sitter.now = at(1);
    sit(&mut lease, &Place::Spec, &[], &sitter);
    assert_eq!(
        since(&lease, &Place::Spec, "a1").as_ref(),
        Some(&first),
        "a renewal"
    );
    assert!(stand_up(&mut lease, "a1", &at(2)));
    taken(&mut lease, "a2", &["a.test"], at(3));
    assert_eq!(since(&lease, &Place::Spec, "a1"), None);
    assert!(stand_up(&mut lease, "a2", &at(4)));
    sitter.now = at(5);
    sit(&mut lease, &Place::Spec, &[], &sitter);
    assert_eq!(since(&lease, &Place::Spec, "a1"), Some(at(5)));
    assert_eq!(lease.spec.unwrap().lease_transitions, Some(2));
}

#[tokio::test(start_paused = true)]
async fn p38_what_cannot_be_read_is_respected_for_a_minute_by_those_whom_it_concerns() {
    let mut lease = lease("a1", "a.test");
    let key = key(&zones(&["b.test"]));
    lease
        .annotations_mut()
        .insert(key.clone(), "of a later version".to_owned());
    let mut seats = Seats::default();
    seats.look(&lease, Instant::now());
    assert!(matches!(judged(&seats, "a1", &["a.test"]), Judgment::Free { .. }));
    assert!(matches!(
        judged(&seats, "b1", &["b.test"]),
        Judgment::Taken { left, .. } if left == Duration::from_secs(60)
    ));
    advance(Duration::from_secs(60)).await;
    assert!(matches!(
        judged(&seats, "b1", &["b.test"]),
        Judgment::Free { place: Place::Spec, clear, .. } if clear == [Place::Beside(key)]
    ));
}

#[tokio::test(start_paused = true)]
async fn p38_a_list_of_zones_too_long_for_a_lease_is_left_out_and_means_all_of_them() {
    let names: Vec<_> = (0..20_000).map(|number| format!("zone{number}.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let size = |lease: &Lease| serde_json::to_string(lease).unwrap().len();
    let mut alone = lease("", "");
    assert_eq!(taken(&mut alone, "many", &names, at(0)), Place::Spec);
    assert!(size(&alone) < ZONES_LONGEST);
    let mut seats = Seats::default();
    seats.look(&alone, Instant::now());
    for names in [&names[..], &names[1..], &["a.test"]] {
        assert!(matches!(judged(&seats, "other", names), Judgment::Taken { .. }));
    }
    // Beside one that serves others it is known by the name of its seat, and in nobody's way.
    let mut shared = lease("a", "a.test");
    taken(&mut shared, "many", &names, at(1));
    assert!(size(&shared) < ZONES_LONGEST);
    let mut seats = Seats::default();
    seats.look(&shared, Instant::now());
    assert!(matches!(judged(&seats, "other", &names), Judgment::Taken { .. }));
    assert!(matches!(judged(&seats, "a", &["a.test"]), Judgment::Free { .. }));
}

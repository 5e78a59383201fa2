//! What a ledger grants, what it takes back, and what it saves. The laws over random sequences are in
//! `core/tests/properties/budgets.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn later(secs: i64) -> Timestamp {
    ahead(NOW, SignedDuration::from_secs(secs))
}

fn host(text: &str) -> Hostname {
    text.parse().unwrap()
}

/// A ledger with Let's Encrypt's limits that has been saved once.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new(Preset::LetsEncrypt.limits());
    save(&mut ledger, NOW);
    ledger
}

fn save(ledger: &mut Ledger, now: Timestamp) -> Record {
    let record = ledger.record(now);
    ledger.saved(true, now);
    record
}

/// Makes an order, saving first where that is needed; says how often it was. The last of a burst waits for a second, in
/// case the CA's clock goes more slowly than ours.
fn order(ledger: &mut Ledger, text: &str, exemption: Exemption, mut now: Timestamp) -> usize {
    let host = host(text);
    let mut saves = 0;
    while let Err(block) = ledger.reserve(&host, exemption, now) {
        if ledger.save_at(now) == Some(now) {
            save(ledger, now);
            saves += 1;
        } else {
            assert!(
                block.until <= ahead(now, SignedDuration::from_secs(1)),
                "{text}: {block:?}"
            );
            now = block.until;
        }
        assert!(saves <= 1, "{text}: {block:?}");
    }
    let grant = ledger.grant(&host).unwrap();
    assert_eq!(grant.exemption(), exemption);
    ledger.tell(grant.host(), Spending::Ordered, now);
    saves
}

fn issue(ledger: &mut Ledger, text: &str, exemption: Exemption, now: Timestamp) {
    order(ledger, text, exemption, now);
    ledger.tell(&host(text), Spending::Issued, now);
}

fn blocked(ledger: &Ledger, text: &str, now: Timestamp) -> Option<(Kind, i64)> {
    let block = ledger.block(&host(text), Exemption::Nothing, now)?;
    Some((block.limit, now.duration_until(block.until).as_secs()))
}

#[test]
fn p17_a_grant_is_handed_out_once() {
    let mut ledger = ledger();
    let a = host("a.example.com");
    assert_eq!(ledger.grant(&a), None, "nothing is reserved");
    ledger.reserve(&a, Exemption::Nothing, NOW).unwrap();
    assert!(ledger.grant(&a).is_some());
    assert_eq!(ledger.grant(&a), None, "it has been handed out");
}

#[test]
fn p17_three_hundred_orders_and_then_one_every_36_seconds() {
    let mut ledger = ledger();
    for i in 0..300 {
        order(&mut ledger, &format!("a.example{i}.com"), Exemption::Nothing, NOW);
    }
    let wait = blocked(&ledger, "a.example.org", NOW);
    assert!(matches!(wait, Some((Kind::NewOrders, 36..=37))), "{wait:?}");
    assert_eq!(ledger.order_at(101, NOW), later(3_637));
    // Renewals go on.
    assert_eq!(
        ledger.block(&host("b.example.com"), Exemption::Renewal, NOW),
        None
    );
}

#[test]
fn p17_a_registered_domain_has_fifty_whatever_is_below_it() {
    let mut ledger = ledger();
    for i in 0..50 {
        order(
            &mut ledger,
            &format!("host{i}.example.co.uk"),
            Exemption::Nothing,
            NOW,
        );
    }
    // Orders under way count before their certificates do.
    let wait = blocked(&ledger, "deep.below.example.co.uk", NOW);
    assert!(
        matches!(wait, Some((Kind::CertificatesPerDomain, 12_096))),
        "{wait:?}"
    );
    assert_eq!(blocked(&ledger, "a.example2.co.uk", NOW), None);
    ledger.tell(&host("host0.example.co.uk"), Spending::Failed, NOW);
    assert_eq!(
        blocked(&ledger, "deep.below.example.co.uk", NOW),
        None,
        "one was given back"
    );
}

#[test]
fn p17_a_set_has_five_a_week_even_for_renewals() {
    let mut ledger = ledger();
    for _ in 0..5 {
        issue(&mut ledger, "a.example.com", Exemption::Renewal, NOW);
    }
    let a = host("a.example.com");
    let block = ledger.block(&a, Exemption::Renewal, NOW).unwrap();
    assert_eq!(block.limit, Kind::CertificatesPerSet);
    assert_eq!(NOW.duration_until(block.until).as_hours(), 33);
    assert_eq!(ledger.block(&a, Exemption::Window, NOW), None);
    assert_eq!(
        blocked(&ledger, "*.a.example.com", NOW),
        None,
        "that is another set"
    );
}

#[test]
fn p17_failures_hold_the_name_alone() {
    let mut ledger = ledger();
    for _ in 0..5 {
        order(&mut ledger, "a.example.com", Exemption::Nothing, NOW);
        ledger.tell(&host("a.example.com"), Spending::Failed, NOW);
    }
    let wait = blocked(&ledger, "a.example.com", NOW);
    assert!(
        matches!(wait, Some((Kind::FailuresPerName, 720..=721))),
        "{wait:?}"
    );
    assert_eq!(blocked(&ledger, "b.example.com", NOW), None);
}

#[test]
fn p17_what_the_ca_says_is_believed() {
    let mut ledger = ledger();
    let a = host("a.example.com");
    ledger.learn(&a, &Scope::Account, later(100), NOW);
    assert_eq!(
        blocked(&ledger, "b.example.org", NOW),
        Some((Kind::NewOrders, 101))
    );
    let mut ledger = self::ledger();
    ledger.learn(
        &a,
        &Scope::Below("example.com".parse().unwrap()),
        later(9_000),
        NOW,
    );
    assert_eq!(
        blocked(&ledger, "b.example.com", NOW),
        Some((Kind::CertificatesPerDomain, 9_001))
    );
    assert_eq!(blocked(&ledger, "b.example.org", NOW), None);
}

#[test]
fn p17_a_clock_set_back_holds_nothing_longer_than_a_period() {
    let mut ledger = ledger();
    let ahead_by_a_year = later(366 * 86_400);
    ledger.pass(ahead_by_a_year);
    for i in 0..300 {
        order(
            &mut ledger,
            &format!("a.example{i}.com"),
            Exemption::Nothing,
            ahead_by_a_year,
        );
    }
    ledger.pass(NOW);
    let (_, wait) = blocked(&ledger, "a.example.org", NOW).unwrap();
    assert!(wait <= 37, "{wait}");
}

/// A ledger of which all orders are used up.
fn used_up(now: Timestamp) -> Ledger {
    let mut ledger = ledger();
    for i in 0..300 {
        order(&mut ledger, &format!("a.example{i}.com"), Exemption::Nothing, now);
    }
    ledger
}

#[test]
fn p17_a_clock_that_is_set_neither_fills_a_bucket_nor_keeps_it_empty() {
    let day = SignedDuration::from_hours(24);
    let mut ledger = used_up(NOW);
    let wait = |ledger: &Ledger, now| blocked(ledger, "a.example.org", now);
    let before = wait(&ledger, NOW);
    ledger.clock_set(day);
    assert_eq!(wait(&ledger, later(86_400)), before);
    assert_eq!(
        ledger.save_at(later(86_400)),
        Some(later(86_400)),
        "its heir has to know"
    );
    ledger.clock_set(-day - day);
    ledger.pass(later(-86_400));
    assert_eq!(wait(&ledger, later(-86_400)), before);
    // Time that passes does fill it.
    assert_eq!(wait(&ledger, later(100 - 86_400)), None);
}

#[test]
fn p17_a_record_of_another_clock_has_no_more_left_than_then_and_does_not_wait_for_that_clock() {
    let hour = SignedDuration::from_hours(1);
    let mut ledger = used_up(NOW);
    let record = Record {
        clock_ahead: hour * 5,
        ..ledger.last_record(NOW).unwrap()
    };
    // By the API server's clock, an hour has passed: 100 are refilled, whatever ours says.
    let left = |ahead: SignedDuration, now| {
        let mut heir = Ledger::new(Preset::LetsEncrypt.limits());
        heir.set_clock_ahead(ahead);
        heir.load(&record, now);
        heir.remaining(Kind::NewOrders, now).unwrap()
    };
    assert_eq!(left(hour * 5, later(3_600)), 99);
    assert_eq!(left(SignedDuration::ZERO, later(-4 * 3_600)), 99);
    assert_eq!(left(hour * 50, later(46 * 3_600)), 99);
    // That of the API server was set back, or the record is of a clock that nobody knows: no time has passed.
    assert_eq!(left(hour * 9, later(3_600)), 0);
    let ours = Record {
        clock_ahead: SignedDuration::ZERO,
        ..record.clone()
    };
    let mut heir = Ledger::new(Preset::LetsEncrypt.limits());
    let then = later(-40_000);
    heir.load(&ours, then);
    assert_eq!(heir.remaining(Kind::NewOrders, then), Some(0));
    assert_eq!(heir.remaining(Kind::NewOrders, later(3_600 - 40_000)), Some(99));
}

#[test]
fn p17_without_limits_nothing_is_counted_or_saved() {
    let mut ledger = Ledger::new(Preset::None.limits());
    for _ in 0..1_000 {
        issue(&mut ledger, "a.example.com", Exemption::Nothing, NOW);
        order(&mut ledger, "a.example.com", Exemption::Nothing, NOW);
        ledger.tell(&host("a.example.com"), Spending::Failed, NOW);
    }
    assert_eq!(ledger.save_at(NOW), None);
    assert_eq!(ledger.last_record(NOW), None);
}

#[test]
fn p36_a_burst_costs_a_write_for_many_orders() {
    let mut ledger = Ledger::new(Preset::LetsEncrypt.limits());
    let saves: usize = (0..300)
        .map(|i| order(&mut ledger, &format!("a.example{i}.com"), Exemption::Nothing, NOW))
        .sum();
    assert!(saves <= 15, "{saves} writes for 300 orders");
}

#[test]
fn p36_rare_orders_cost_no_write() {
    let mut ledger = ledger();
    let saves: usize = (0..100)
        .map(|i| {
            let now = later(i * 600);
            order(&mut ledger, &format!("a.example{i}.com"), Exemption::Nothing, now)
        })
        .sum();
    assert!(saves <= 1, "{saves} writes for 100 orders ten minutes apart");
}

#[test]
fn p17_a_crash_loop_cannot_burn_the_limit() {
    let mut record = None;
    let mut made = 0;
    for life in 0..2_000 {
        let now = later(life);
        let mut ledger = Ledger::new(Preset::LetsEncrypt.limits());
        if let Some(record) = &record {
            ledger.load(record, now);
        }
        // Each process makes what it can, at most ten orders, and dies.
        for i in 0..10 {
            let host = host(&format!("a{i}.example{life}.com"));
            if ledger.reserve(&host, Exemption::Nothing, now).is_err() {
                if ledger.save_at(now) != Some(now) {
                    break;
                }
                record = Some(save(&mut ledger, now));
                if ledger.reserve(&host, Exemption::Nothing, now).is_err() {
                    break;
                }
            }
            ledger.tell(&host, Spending::Ordered, now);
            made += 1;
        }
    }
    // 300 and those that were refilled meanwhile.
    assert!((100..=300 + 2_000 / 36).contains(&made), "{made}");
}

#[test]
fn what_is_saved_is_known_again() {
    let mut ledger = ledger();
    issue(&mut ledger, "a.example.com", Exemption::Nothing, NOW);
    order(&mut ledger, "b.example.com", Exemption::Nothing, NOW);
    ledger.tell(&host("b.example.com"), Spending::Failed, NOW);
    let record = ledger.last_record(later(60)).unwrap();
    assert_eq!((record.ahead, record.entries.len()), (0, 4));
    let mut heir = Ledger::new(Preset::LetsEncrypt.limits());
    let now = later(61);
    heir.load(&record, now);
    let left = |heir: &Ledger, kind| heir.remaining(kind, now).unwrap();
    assert_eq!(left(&heir, Kind::CertificatesPerDomain), 49);
    assert_eq!(left(&heir, Kind::CertificatesPerSet), 4);
    assert_eq!(left(&heir, Kind::FailuresPerName), 4);
    // What the record has is not counted twice, what came after it is counted once.
    heir.recall_issued(&host("a.example.com"), NOW, now);
    heir.recall_failed(&host("b.example.com"), 1, NOW, now);
    assert_eq!(left(&heir, Kind::CertificatesPerSet), 4);
    heir.recall_issued(&host("c.example.com"), now, now);
    assert_eq!(left(&heir, Kind::CertificatesPerDomain), 48);
}

#[test]
fn a_share_of_a_limit_is_kept() {
    let mut ledger = Ledger::new(Preset::LetsEncrypt.limits().share(10));
    save(&mut ledger, NOW);
    for i in 0..5 {
        order(&mut ledger, &format!("a{i}.example.com"), Exemption::Nothing, NOW);
    }
    assert!(matches!(
        blocked(&ledger, "b.example.com", NOW),
        Some((Kind::CertificatesPerDomain, _))
    ));
    let limit = Limit::new(1, Duration::from_secs(60));
    assert_eq!(
        Limits {
            new_orders: Some(limit),
            ..Limits::default()
        }
        .share(1)
        .new_orders
        .unwrap()
        .burst(),
        1
    );
}

#[test]
fn p17_processes_that_die_young_leave_little_to_count() {
    let mut record = None;
    for process in 0..20 {
        let now = later(process * 10);
        let mut ledger = Ledger::new(Preset::LetsEncrypt.limits());
        if let Some(record) = &record {
            ledger.load(record, now);
        }
        ledger.want_more(now);
        let made = ledger.record(now);
        assert_eq!(made.ahead, 1, "process {process}");
        ledger.saved(true, now);
        record = Some(made);
    }
}

#[test]
fn p17_the_guide_has_every_limit() {
    let guide = include_str!("../../../docs/problems.md");
    let named: BTreeSet<_> = guide
        .lines()
        .skip_while(|line| !line.starts_with("| limit |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('`').nth(1))
        .collect();
    assert_eq!(named, Kind::ALL.map(Kind::code).into());
}

#[test]
fn p17_what_is_granted_and_sent_late_is_known_after_a_crash() {
    // One order in 1,000 s, eight at most.
    let limits = Limits {
        new_orders: Some(Limit::new(8, Duration::from_secs(8_000))),
        ..Limits::default()
    };
    let mut ledger = Ledger::new(limits);
    let mut saved = None;
    for i in 0..7 {
        let host = host(&format!("a.example{i}.com"));
        if ledger.reserve(&host, Exemption::Nothing, NOW).is_err() {
            saved = Some(save(&mut ledger, NOW));
            ledger.reserve(&host, Exemption::Nothing, NOW).unwrap();
        }
    }
    // All seven arrive when the bucket would have refilled from those that the record knew of; then the process dies.
    let crash = later(6_000);
    let mut heir = Ledger::new(limits);
    heir.load(&saved.unwrap(), crash);
    heir.recalled(crash);
    assert!(
        heir.remaining(Kind::NewOrders, crash).unwrap() <= 1,
        "the CA would refuse"
    );
}

#[test]
fn p17_no_order_is_made_ahead_of_a_record_that_may_be_read() {
    let hosts: Vec<_> = (0..8).map(|i| host(&format!("a.example{i}.com"))).collect();
    let mut ledger = ledger();
    for host in &hosts[..4] {
        order(&mut ledger, &host.to_string(), Exemption::Nothing, NOW);
    }
    assert_eq!(ledger.free_orders(NOW), Some(3));
    // A record that allows for less is on its way: the old one or it is what an heir reads.
    assert_eq!(ledger.record(NOW).ahead, 1);
    assert_eq!(ledger.free_orders(NOW), Some(1));
    ledger.reserve(&hosts[4], Exemption::Nothing, NOW).unwrap();
    assert_eq!(ledger.free_orders(NOW), Some(0));
    // Nobody knows whether it has been saved.
    ledger.saved(false, NOW);
    assert_eq!(ledger.free_orders(NOW), Some(0));
}

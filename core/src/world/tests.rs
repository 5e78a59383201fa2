//! What a world takes in and what it passes over.

use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::activity::Hold;
use crate::activity::Rest;
use crate::ari::{CertificateId, Window};
use crate::budget::{Exemption, Ledger, Preset, SavedHold};
use crate::cas::{Authority, CaKey};
use crate::cert::{CertFacts, Unreadable};
use crate::problem::Scope;
use crate::schedule;
use crate::zone::{Rule, Zone};

fn world() -> World {
    World::new(Zones::new(vec![Zone {
        apex: "example.com".parse().unwrap(),
        wildcards: false,
        rule: Rule::flat("ns.test", &[]),
        challenges: None,
    }]))
}

fn asker(name: &str, uid: &str) -> Asker {
    Asker {
        namespace: "web".into(),
        name: name.into(),
        uid: uid.into(),
    }
}

fn ask(world: &mut World, name: &str, hosts: &[&str]) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    world.ask(asker(name, "1"), &hosts);
}

fn host(text: &str) -> Hostname {
    text.parse().unwrap()
}

#[test]
fn p22_what_rests_for_a_mended_reason_goes_on_and_other_rests_stay() {
    let mut world = world();
    let (now, later) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let resting = |stage| {
        Activity::Resting(Rest {
            noted: true,
            stage,
            code: "badsig".into(),
            text: String::new(),
            tries: 3,
            until: later,
        })
    };
    world.set_activity(&host("a.example.com"), Some(resting(Stage::Publishing)));
    world.set_activity(&host("b.example.com"), Some(resting(Stage::Validating)));
    world.wake(&[Stage::Publishing, Stage::CleaningUp], now);
    let until = |name: &str| match world.activity(&host(name)) {
        Some(Activity::Resting(rest)) => rest.until,
        other => panic!("{other:?}"),
    };
    assert_eq!((until("a.example.com"), until("b.example.com")), (now, later));
}

#[test]
fn p22_who_is_asked_for_anew_waits_for_nothing_in_the_dns_and_for_the_ca_as_before() {
    let mut world = world();
    let resting = |stage| {
        Activity::Resting(Rest {
            noted: true,
            stage,
            code: "refused".into(),
            text: String::new(),
            tries: 7,
            until: Timestamp::MAX,
        })
    };
    let waits = |world: &World, name: &str| match world.activity(&host(name)) {
        Some(Activity::Resting(rest)) => rest.until == Timestamp::MAX,
        other => panic!("{other:?}"),
    };
    let names = ["a.example.com", "b.example.com", "c.example.com"];
    ask(&mut world, "shop", &names[..2]);
    ask(&mut world, "blog", &names);
    let stages = [Stage::Publishing, Stage::CleaningUp, Stage::Validating];
    for (name, stage) in names.iter().zip(stages) {
        world.set_activity(&host(name), Some(resting(stage)));
    }
    // The same again, and what one more host changes, concerns none of them.
    ask(&mut world, "shop", &names[..2]);
    ask(&mut world, "blog", &[&names[..], &["d.example.com"]].concat());
    assert_eq!(names.map(|name| waits(&world, name)), [true; 3]);
    // One is left out and comes back; then the other is there, made anew.
    ask(&mut world, "blog", &names[..1]);
    ask(&mut world, "blog", &[names[0], names[2]]);
    assert_eq!(names.map(|name| waits(&world, name)), [true; 3]);
    ask(&mut world, "shop", &names[..1]);
    ask(&mut world, "shop", &names[..2]);
    assert_eq!(names.map(|name| waits(&world, name)), [true, false, true]);
    world.ask(asker("shop", "2"), &names.map(str::to_owned));
    assert_eq!(names.map(|name| waits(&world, name)), [false, false, true]);
}

fn held(secret: &str, version: &str) -> Held {
    Held {
        secret: secret.into(),
        version: version.into(),
        content: Err(Unreadable::NoKey),
        issued_at: None,
        renew: None,
        made_by: None,
        origin: None,
    }
}

fn changed(world: &mut World) -> Vec<String> {
    world
        .take_changes()
        .dirty
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn refused_and_foreign_hosts_are_counted_as_long_as_they_are_asked_for() {
    let mut world = world();
    ask(&mut world, "shop", &["a_b.example.com", "a.example.org", "*"]);
    assert_eq!((world.refused(), world.elsewhere()), (2, 1));
    assert_eq!(world.take_refusals().len(), 2);
    // What has been told is not told again; what is new is.
    ask(&mut world, "shop", &["a_b.example.com", "c_d.example.com"]);
    assert_eq!((world.refused(), world.elsewhere()), (2, 0));
    let fresh: Vec<_> = world
        .take_refusals()
        .into_iter()
        .map(|refusal| refusal.text)
        .collect();
    assert_eq!(fresh, ["c_d.example.com"]);
    world.stop_asking("web", "shop");
    world.stop_asking("web", "shop");
    assert_eq!((world.refused(), world.elsewhere()), (0, 0));
}

#[test]
fn what_has_not_changed_concerns_nothing() {
    let mut world = world();
    ask(&mut world, "shop", &["a.example.com", "b.example.com"]);
    world.hold(Some(host("a.example.com")), held("a.example.com", "1"));
    assert_eq!(changed(&mut world), ["a.example.com", "b.example.com"]);
    ask(&mut world, "shop", &["b.example.com", "a.example.com"]);
    world.hold(Some(host("a.example.com")), held("a.example.com", "1"));
    assert!(changed(&mut world).is_empty());
}

#[test]
fn an_ingress_made_anew_asks_in_place_of_the_old_one() {
    let mut world = world();
    let hosts = ["a.example.com".to_owned()];
    world.ask(asker("shop", "1"), &hosts);
    world.ask(asker("shop", "2"), &hosts);
    let askers = &world.want(&host("a.example.com")).unwrap().askers;
    assert_eq!(askers.iter().map(|asker| &*asker.uid).collect::<Vec<_>>(), ["2"]);
}

#[test]
fn a_place_that_is_free_again_is_taken_no_more() {
    let mut world = world();
    let a = host("a.example.com");
    let taken = |world: &mut World, after: Option<Activity>| {
        ask(world, "shop", &["a.example.com"]);
        world.take(&a, "somebody else's".into(), Timestamp::UNIX_EPOCH);
        world.set_activity(&a, after);
        world.taken(&a).is_some()
    };
    assert!(taken(&mut world, None));
    assert!(taken(&mut world, Some(Activity::Running(Stage::Ordering))));
    assert!(!taken(&mut world, Some(Activity::Running(Stage::Publishing))));
    // Values are withdrawn from where a place was found to be taken.
    assert!(taken(&mut world, Some(Activity::Running(Stage::CleaningUp))));
    world.stop_asking("web", "shop");
    assert!(world.taken(&a).is_none());
}

#[test]
fn versions_are_compared_as_numbers_where_they_are() {
    let mut world = world();
    let a = host("a.example.com");
    let version = |world: &World| world.claims(&a).next().map(|held| held.version.to_string());
    world.hold(Some(a.clone()), held("s", "99"));
    world.hold(Some(a.clone()), held("s", "100"));
    world.hold(Some(a.clone()), held("s", "99"));
    assert_eq!(version(&world).as_deref(), Some("100"));
    world.hold(Some(a.clone()), held("s", "opaque"));
    assert_eq!(version(&world).as_deref(), Some("opaque"));
}

#[test]
fn p18_a_list_is_true_whatever_versions_were_known_before_it_began() {
    let mut world = world();
    let a = host("a.example.com");
    let version = |world: &World| world.claims(&a).next().map(|held| held.version.to_string());
    let list = |world: &mut World| world.hold_all(vec![(Some(a.clone()), held("s", "50"))]);
    // Somebody has restored etcd.
    world.hold(Some(a.clone()), held("s", "99"));
    world.list_held();
    list(&mut world);
    assert_eq!(version(&world).as_deref(), Some("50"));
    // We have written there ourselves: before the list, and while it came in.
    world.hold_ours(&a, held("s", "100"));
    world.list_held();
    list(&mut world);
    assert_eq!(version(&world).as_deref(), Some("50"));
    world.list_held();
    world.hold_ours(&a, held("s", "101"));
    list(&mut world);
    assert_eq!(version(&world).as_deref(), Some("101"));
    // The watch has told of it meanwhile.
    world.hold(Some(a.clone()), held("s", "101"));
    list(&mut world);
    assert_eq!(version(&world).as_deref(), Some("50"));
}

#[test]
fn a_secret_that_is_labeled_anew_changes_hands() {
    let mut world = world();
    world.hold(Some(host("a.example.com")), held("s", "1"));
    world.hold(Some(host("b.example.com")), held("s", "2"));
    assert_eq!(world.claims(&host("a.example.com")).count(), 0);
    assert_eq!(world.claims(&host("b.example.com")).count(), 1);
    assert_eq!(changed(&mut world), ["a.example.com", "b.example.com"]);
    world.hold(None, held("s", "3"));
    assert_eq!(world.claims(&host("b.example.com")).count(), 0);
}

#[test]
fn p17_what_the_ca_has_named_is_neither_shortened_nor_cleared() {
    let mut world = world();
    let at = |secs| Timestamp::from_second(secs).unwrap();
    let hold = |secs, told| Hold {
        until: at(secs),
        code: "busy".into(),
        text: String::new(),
        tries: 1,
        told,
    };
    let until = |world: &World| {
        world
            .hold_on(&host("a.example.com"), CaId::FIRST, Exemption::Nothing, at(0))
            .map(|hold| hold.until)
    };
    world.set_hold(
        CaId::FIRST,
        Scope::Account,
        hold(100, true),
        Timestamp::UNIX_EPOCH,
    );
    world.set_hold(
        CaId::FIRST,
        Scope::Account,
        hold(10, false),
        Timestamp::UNIX_EPOCH,
    );
    world.set_hold(CaId::FIRST, Scope::Account, hold(20, true), Timestamp::UNIX_EPOCH);
    world.clear_trouble(CaId::FIRST);
    assert_eq!(until(&world), Some(at(100)));
    world.set_hold(
        CaId::FIRST,
        Scope::Account,
        hold(200, true),
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(until(&world), Some(at(200)));
    world.expire_holds(at(200));
    assert!(world.hold_of(CaId::FIRST, &Scope::Account).is_none());
    // One that the CA did not name counts how often there was trouble, until there is none.
    world.set_hold(
        CaId::FIRST,
        Scope::Account,
        hold(10, false),
        Timestamp::UNIX_EPOCH,
    );
    world.expire_holds(at(200));
    assert!(world.hold_of(CaId::FIRST, &Scope::Account).is_some());
    world.clear_trouble(CaId::FIRST);
    assert!(world.hold_of(CaId::FIRST, &Scope::Account).is_none());
}

/// A time that the CA has named in a refusal with this code.
fn named(secs: i64, code: &str) -> Hold {
    Hold {
        until: Timestamp::from_second(secs).unwrap(),
        code: code.into(),
        text: format!("the CA says {code}"),
        tries: 1,
        told: true,
    }
}

#[test]
fn p17_a_time_that_the_ca_has_named_outlives_the_process() {
    let at = |secs| Timestamp::from_second(secs).unwrap();
    let below = Scope::Below("shop.example.com".parse().unwrap());
    let kept = [
        (Scope::Account, named(3_600, "serverInternal")),
        (Scope::Orders, named(7_200, "rateLimited")),
        (below, named(9_000, "rateLimited")),
    ];
    let zone = Scope::Zone(Some("example.com".parse().unwrap()));
    for limits in [Preset::LetsEncrypt, Preset::None] {
        let mut world = world();
        world.set_ledger(CaId::FIRST, Ledger::new(limits.limits()));
        // What a change of the configuration ends, and what is over soon, is not worth a write.
        world.set_hold(CaId::FIRST, zone.clone(), named(86_400, "invalidProfile"), at(0));
        world.set_hold(CaId::FIRST, Scope::Account, named(60, "rateLimited"), at(0));
        assert_eq!(world.ledger(CaId::FIRST).save_at(at(0)), None);
        for (scope, hold) in &kept {
            world.set_hold(CaId::FIRST, scope.clone(), hold.clone(), at(0));
        }
        assert_eq!(world.ledger(CaId::FIRST).save_at(at(0)), Some(at(0)));
        let record = world.record(CaId::FIRST, at(0));
        world.ledger_mut(CaId::FIRST).saved(true, at(0));
        assert_eq!(world.ledger(CaId::FIRST).save_at(at(0)), None);
        assert_eq!(record.holds.len(), kept.len());

        let mut heir = self::world();
        heir.set_ledger(CaId::FIRST, Ledger::new(limits.limits()));
        heir.load_ledger(CaId::FIRST, &record, at(600));
        for (scope, hold) in &kept {
            assert_eq!(heir.hold_of(CaId::FIRST, scope), Some(hold));
        }
        assert_eq!(heir.hold_of(CaId::FIRST, &zone), None);
        assert_eq!(heir.down_since(CaId::FIRST), Some(at(0)));
        assert_eq!(heir.ledger(CaId::FIRST).save_at(at(600)), None, "it is saved");
        // What is over is over.
        heir = self::world();
        heir.load_ledger(CaId::FIRST, &record, at(3_600));
        assert_eq!(heir.hold_of(CaId::FIRST, &Scope::Account), None);
        assert!(heir.hold_of(CaId::FIRST, &Scope::Orders).is_some());
    }
}

#[test]
fn p17_a_hold_of_a_clock_that_was_ahead_lasts_no_longer_than_it_did_then() {
    let mut world = world();
    let year = 366 * 86_400;
    let at = |secs| Timestamp::from_second(secs).unwrap();
    world.set_hold(
        CaId::FIRST,
        Scope::Account,
        named(year + 600, "rateLimited"),
        at(year),
    );
    let record = world.record(CaId::FIRST, at(year));
    let mut heir = self::world();
    heir.load_ledger(CaId::FIRST, &record, at(0));
    let hold = heir.hold_of(CaId::FIRST, &Scope::Account).unwrap();
    assert_eq!(hold.until, at(600));
}

#[test]
fn p17_what_the_ca_counts_by_its_own_clock_goes_along_when_ours_is_set() {
    let at = |secs| Timestamp::from_second(secs).unwrap();
    let (mut world, name) = (world(), host("a.example.com"));
    world.set_hold(CaId::FIRST, Scope::Orders, named(600, "rateLimited"), at(0));
    let rest = Rest {
        noted: true,
        stage: Stage::Publishing,
        code: String::new(),
        text: String::new(),
        tries: 1,
        until: at(60),
    };
    world.set_activity(&name, Some(Activity::Resting(rest)));
    let _ = world.record(CaId::FIRST, at(0));
    world.ledger_mut(CaId::FIRST).saved(true, at(0));
    for (by, now) in [(86_400, 86_400), (-100_000, -13_600)] {
        world.clock_set(SignedDuration::from_secs(by), at(now));
        let hold = world.hold_of(CaId::FIRST, &Scope::Orders).unwrap();
        assert_eq!(hold.until, at(now + 600));
        let Some(Activity::Resting(rest)) = world.activity(&name) else {
            panic!("it rests")
        };
        assert_eq!(rest.until, at(now + 60));
        assert!(world.take_changes().holds);
        // An heir has to know.
        assert_eq!(world.ledger(CaId::FIRST).save_at(at(now)), Some(at(now)));
    }
}

#[test]
fn p36_refusals_without_end_cost_few_and_small_writes() {
    let mut world = world();
    let at = |secs| Timestamp::from_second(secs).unwrap();
    let save_at = |world: &World, now| world.ledger(CaId::FIRST).save_at(at(now));
    world.set_hold(CaId::FIRST, Scope::Orders, named(5_000, "rateLimited"), at(0));
    let _ = world.record(CaId::FIRST, at(0));
    // Another while that is being saved.
    let mut long = named(6_000, "rateLimited");
    long.text = "\u{e9}".repeat(SavedHold::LONGEST);
    world.set_hold(CaId::FIRST, Scope::Account, long, at(1));
    assert_eq!(save_at(&world, 1), None);
    world.ledger_mut(CaId::FIRST).saved(true, at(1));
    assert_eq!(save_at(&world, 1), Some(at(5)));
    for i in 0..300 {
        let name = format!("shop{i}.example.com").parse().unwrap();
        world.set_hold(
            CaId::FIRST,
            Scope::Below(name),
            named(10_000 + i, "rateLimited"),
            at(2),
        );
    }
    let record = world.record(CaId::FIRST, at(5));
    assert_eq!(record.holds.len(), SavedHold::MOST);
    let widest: Vec<_> = record
        .holds
        .iter()
        .map(|hold| hold.scope.clone())
        .take(2)
        .collect();
    assert_eq!(widest, [Scope::Account, Scope::Orders]);
    assert_eq!(record.holds[2].until, at(10_299));
    assert!((SavedHold::LONGEST - 1..=SavedHold::LONGEST).contains(&record.holds[0].text.len()));
    // What could not be saved is tried again, also at the end.
    world.ledger_mut(CaId::FIRST).saved(false, at(6));
    assert_eq!(save_at(&world, 6), Some(at(11)));
    assert_eq!(save_at(&world, -1_000), Some(at(11)));
    let last = world.last_record(CaId::FIRST, at(7)).unwrap();
    assert_eq!((last.holds.len(), last.counted), (SavedHold::MOST, false));
    // Another instance has written meanwhile: what it knows is added, and is no news of ours.
    world.load_ledger(CaId::FIRST, &last, at(8));
    let _ = world.record(CaId::FIRST, at(11));
    world.ledger_mut(CaId::FIRST).saved(true, at(11));
    assert_eq!(world.last_record(CaId::FIRST, at(12)), None);
}

#[test]
fn p17_a_ledger_without_limits_hides_nothing_from_limits_that_come_later() {
    let at = |secs| Timestamp::from_second(secs).unwrap();
    let mut world = world();
    world.set_hold(CaId::FIRST, Scope::Orders, named(5_000, "rateLimited"), at(500));
    let record = world.record(CaId::FIRST, at(500));
    let name = host("a.example.com");
    let left = |record: Option<&crate::budget::Record>| {
        let mut ledger = Ledger::new(Preset::LetsEncrypt.limits());
        if let Some(record) = record {
            ledger.load(record, at(600));
        }
        ledger.recall_issued(&name, at(0), at(600));
        (
            ledger.free_in_domain(&name, at(600)),
            ledger.free_orders(at(600)),
            ledger.order_at(1, at(600)),
        )
    };
    assert_eq!(left(Some(&record)), left(None));
}

#[test]
fn p15_the_last_look_is_that_of_the_name_or_its_wildcard() {
    let mut world = world();
    let at = |secs| Timestamp::from_second(secs).unwrap();
    let issued = |secret, at| Held {
        content: Ok(CertFacts {
            names: Vec::new(),
            not_before: at,
            not_after: at,
            serial: String::new(),
            issuer: String::new(),
            id: None,
        }),
        issued_at: Some(at),
        renew: None,
        made_by: None,
        origin: None,
        ..held(secret, "1")
    };
    let wildcard = host("*.a.example.com");
    world.hold(Some(wildcard.clone()), issued("w", at(10)));
    assert_eq!(world.last_look(&host("a.example.com")), Some(at(10)));
    world.hold(Some(host("a.example.com")), issued("n", at(20)));
    assert_eq!(world.last_look(&wildcard), Some(at(20)));
    assert_eq!(world.last_look(&host("b.example.com")), None);
}

#[test]
fn p21_an_answer_that_brings_nothing_new_only_puts_off_the_next_question() {
    let mut world = world();
    let (name, start) = (host("a.example.com"), Timestamp::UNIX_EPOCH);
    let at = |secs| schedule::ahead(start, SignedDuration::from_secs(secs));
    let id = CertificateId::parse("key.01").unwrap();
    let window = |days: i64| Window::new(at(days * 86_400), at(days * 86_400 + 3_600)).unwrap();
    let told = |days: i64| Answer::Told {
        window: window(days),
        retry_after: Some(Duration::from_secs(6 * 3_600)),
    };
    world.follow(&name, Some(&id), Pressing::Routine, start);
    for (answer, news) in [(told(60), true), (told(60), false), (told(50), true)] {
        let now = world.next_question_at(start).unwrap().max(start);
        let (_, question) = world.next_question(now).unwrap();
        assert_eq!(world.asked_for(question), Some(&name));
        assert_eq!(world.next_question(now), None);
        drop(world.take_changes());
        world.hinted(question, answer, now);
        assert_eq!(!world.take_changes().dirty.is_empty(), news, "{answer:?}");
        // Not before the CA wishes, and in the minute after it at the latest (RFC 9773 §4.3.2).
        let next = world.next_question_at(now).unwrap();
        let wait = now.duration_until(next).as_secs();
        assert!((6 * 3_600..6 * 3_600 + 60).contains(&wait), "{wait}");
        assert_eq!(world.next_question(at(wait - 61).max(now)), None);
    }
    // A late answer about a certificate that was replaced meanwhile says nothing of the new one, which is asked about first.
    let now = world.next_question_at(start).unwrap();
    let (_, question) = world.next_question(now).unwrap();
    let newer = CertificateId::parse("key.02").unwrap();
    world.follow(&name, Some(&newer), Pressing::Awaited, now);
    world.hinted(question, told(40), now);
    assert_eq!((world.hint(&name), world.asking()), (None, 0));
    assert!(world.next_question(now).is_some_and(|(id, _)| id == newer));
    // And nobody asks about a host that nobody wants.
    world.drop_hint(&name);
    assert_eq!((world.asking(), world.next_question_at(now)), (0, None));
}

#[test]
fn p21_that_a_ca_has_no_renewal_information_is_news_once() {
    let mut world = world();
    let at = |secs| Timestamp::from_second(secs).unwrap();
    let names = ["a.example.com", "b.example.com", "c.example.com"].map(host);
    for (name, id) in names.iter().zip(["key.01", "key.02", "key.03"]) {
        let id = CertificateId::parse(id).unwrap();
        world.follow(name, Some(&id), Pressing::Awaited, at(0));
    }
    let questions: Vec<_> = std::iter::from_fn(|| world.next_question(at(0))).collect();
    let is_news = |world: &mut World, which: usize, now| {
        drop(world.take_changes());
        world.hinted(questions[which].1, Answer::Unsupported, now);
        world.take_changes().holds
    };
    // Whom nobody wants any more is not heard of.
    world.drop_hint(&names[0]);
    assert!(!is_news(&mut world, 0, at(1)));
    assert_eq!(world.unasked_until(CaId::FIRST, at(1)), None);
    assert!(is_news(&mut world, 1, at(2)));
    assert!(!is_news(&mut world, 1, at(3)), "it was answered before");
    assert!(!is_news(&mut world, 2, at(4)));
    assert_eq!(world.unasked_until(CaId::FIRST, at(4)), Some(at(86_404)));
}

#[test]
fn p24_a_certificate_counts_at_the_ca_that_made_it_not_at_that_of_the_newest() {
    let urls = ["https://one.test/directory", "https://two.test/directory"];
    let cas = urls.map(|url| Authority {
        name: url.to_owned(),
        directory: url.to_owned(),
        use_after: Duration::ZERO,
    });
    let cas = Cas::new(cas.to_vec());
    let ids: Vec<_> = cas.all().map(|(ca, _)| ca).collect();
    let mut world = World::with_cas(world().zones.clone(), cas);
    for ca in &ids {
        world.set_ledger(*ca, Ledger::new(Preset::LetsEncrypt.limits()));
    }
    let (name, now) = (host("a.example.com"), Timestamp::UNIX_EPOCH);
    let day = |days: i64| schedule::ahead(now, SignedDuration::from_hours(24 * days));
    for (secret, maker, until) in [("older", urls[0], 50), ("newer", urls[1], 60)] {
        let facts = CertFacts {
            names: vec![name.clone()],
            not_before: day(until - 90),
            not_after: day(until),
            serial: String::new(),
            issuer: String::new(),
            id: None,
        };
        let held = Held {
            content: Ok(facts),
            issued_at: Some(now),
            made_by: Some(CaKey::of(maker)),
            ..held(secret, "1")
        };
        world.hold(Some(name.clone()), held);
    }
    let all = world.ledger(ids[0]).free_in_domain(&name, now).unwrap();
    world.settle(now);
    let later = schedule::ahead(now, SignedDuration::from_mins(1));
    for ca in ids {
        assert_eq!(world.ledger(ca).free_in_domain(&name, later), Some(all - 1));
    }
}

#[test]
fn p21_windows_are_saved_when_some_are_new_and_taken_over_by_the_next_process() {
    let name = host("a.example.com");
    let id = CertificateId::parse("issuer.1").unwrap();
    let hour = 3_600;
    let at = |second| Timestamp::from_second(second).unwrap();
    let span = |from, to| Window::new(at(from), at(to)).unwrap();
    let mut world = world();
    world.follow(&name, Some(&id), Pressing::Routine, at(0));
    let told = |world: &mut World, window, now| {
        let (.., question) = world.next_question(at(now)).unwrap();
        let answer = Answer::Told {
            window,
            retry_after: None,
        };
        world.hinted(question, answer, at(now));
    };
    assert_eq!((world.save_windows_at(at(0)), world.last_windows()), (None, None));
    told(&mut world, span(1_000, 2_000), 0);
    // Behind, for it could be asked again.
    assert_eq!(world.save_windows_at(at(0)), Some(at(6 * hour)));
    let saved = world.windows_to_save();
    assert_eq!((saved.len(), world.save_windows_at(at(0))), (1, None));
    world.windows_saved(true, at(0));
    assert_eq!(world.last_windows(), None);

    // The same again is not worth a write, except the last: then it is known when the CA is asked next.
    told(&mut world, span(1_000, 2_000), 7 * hour);
    assert_eq!(world.save_windows_at(at(7 * hour)), None);
    let last = world.last_windows().unwrap();
    assert_eq!(last[0].next, at(13 * hour));
    told(&mut world, span(500, 2_000), 14 * hour);
    assert_eq!(world.save_windows_at(at(14 * hour)), Some(at(20 * hour)));
    world.windows_to_save();
    world.windows_saved(false, at(20 * hour));
    let again = world.save_windows_at(at(20 * hour));
    assert_eq!(again, Some(at(20 * hour + 300)));

    // Whether it is known already that it is to be asked about or not.
    for known in [false, true] {
        let mut heir = self::world();
        if known {
            heir.follow(&name, Some(&id), Pressing::Awaited, at(0));
        }
        heir.load_windows(&last);
        let other = CertificateId::parse("issuer.2").unwrap();
        heir.recall_windows([(name.clone(), id.clone()), (host("b.example.com"), other)]);
        heir.follow(&name, Some(&id), Pressing::Routine, at(0));
        assert_eq!(heir.hint(&name).unwrap().window, span(1_000, 2_000));
        assert_eq!(heir.next_question_at(at(0)), Some(at(13 * hour)));
        assert_eq!(
            (heir.hint(&host("b.example.com")), heir.last_windows()),
            (None, None)
        );
    }
}

#[test]
fn p21_who_cannot_name_the_certificate_of_the_window_orders_a_renewal_like_others() {
    let day = |days: i64| Timestamp::from_second(days * 86_400).unwrap();
    let (name, now) = (host("a.example.com"), day(51));
    let mut world = world();
    let hold = |world: &mut World, secret: &str, id: &str, begun: i64| {
        let facts = CertFacts {
            names: vec![name.clone()],
            not_before: day(begun),
            not_after: day(begun + 90),
            serial: String::new(),
            issuer: String::new(),
            id: CertificateId::parse(id).ok(),
        };
        let held = Held {
            content: Ok(facts),
            issued_at: Some(day(begun)),
            ..held(secret, "1")
        };
        world.hold(Some(name.clone()), held);
    };
    let tell = |world: &mut World, id: &str| {
        let id = CertificateId::parse(id).unwrap();
        let (moved, next) = (false, day(60));
        let window = Window::new(day(50), day(52)).unwrap();
        world.know_window(&name, &id, left::Said { window, moved, next });
    };
    let of = |world: &World| {
        let named = world.predecessor(&name, CaId::FIRST);
        (world.exemption(&name, CaId::FIRST, now), named.is_some())
    };
    hold(&mut world, "a", "key.01", 0);
    tell(&mut world, "key.01");
    assert_eq!(of(&world), (Exemption::Window, true));
    // By the API server's clock the window has not begun.
    world.set_clock_ahead(SignedDuration::from_hours(48));
    assert_eq!(of(&world), (Exemption::Renewal, true));
    world.set_clock_ahead(SignedDuration::from_hours(-48));
    assert_eq!(of(&world), (Exemption::Window, true));
    drop(world.take_changes());
    world.set_irreplaceable(&name);
    assert_eq!(of(&world), (Exemption::Renewal, false));
    assert!(world.take_changes().dirty.contains(&name));
    // That is so for this certificate alone, and the window has to be that of the one that is replaced.
    hold(&mut world, "b", "key.02", 1);
    assert_eq!(of(&world), (Exemption::Renewal, true));
    tell(&mut world, "key.02");
    assert_eq!(of(&world), (Exemption::Window, true));
}

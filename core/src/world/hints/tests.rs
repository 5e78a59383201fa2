//! When CAs are asked about renewals, and when they are not.

use super::*;
use crate::budget::{Ledger, Limits, Preset};
use crate::cas::{Authority, CaKey, Cas};
use crate::cert::{CertFacts, Held, Origin};
use crate::plan::{Action, Planner};
use crate::renewal::SPREAD;
use crate::schedule::Threshold;
use crate::want::Asker;
use crate::zone::{Rule as ZoneRule, Zone, Zones};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(secs).unwrap()
}

fn host(name: &str) -> Hostname {
    format!("{name}.example.com").parse().unwrap()
}

fn policy() -> Policy {
    let zone = Zone {
        apex: "example.com".parse().unwrap(),
        wildcards: false,
        rule: ZoneRule::flat("ns.test", &[]),
        challenges: None,
    };
    Policy {
        zones: Zones::new(vec![zone]),
        threshold: Threshold::Default,
        spread: SPREAD,
        renewals_per_minute: None,
        issue_grace: Duration::from_secs(8 * 3_600),
        orders_at_once: 8,
    }
}

fn directory(ca: &str) -> String {
    format!("https://{ca}.test/directory")
}

/// A world with two CAs, and certificates that each made, of 90 days from the start.
fn world(certificates: &[(&str, &str)]) -> World {
    let cas = ["one", "two"].map(|name| Authority {
        name: name.to_owned(),
        directory: directory(name),
        use_after: Duration::from_secs(600),
    });
    let mut world = World::with_cas(policy().zones, Cas::new(cas.to_vec()));
    let asker = Asker {
        namespace: "web".into(),
        name: "shop".into(),
        uid: "1".into(),
    };
    let hosts = certificates.iter().map(|(name, _)| host(name).to_string());
    world.ask_all(vec![(asker, hosts.collect())]);
    let held = certificates.iter().map(|(name, ca)| {
        let facts = CertFacts {
            names: vec![host(name)],
            not_before: at(0),
            not_after: at(90 * DAY),
            serial: (*name).to_owned(),
            issuer: "Test".into(),
            id: Some(CertificateId::parse(&format!("issuer.{name}")).unwrap()),
        };
        let held = Held {
            secret: (*name).into(),
            version: "1".into(),
            content: Ok(facts),
            issued_at: Some(at(0)),
            renew: None,
            made_by: Some(CaKey::of(&directory(ca))),
            origin: None,
        };
        (Some(host(name)), held)
    });
    world.hold_all(held.collect());
    world.note_all(Vec::new(), Vec::new());
    world
}

fn ca(world: &World, name: &str) -> CaId {
    world.cas().find(CaKey::of(&directory(name))).unwrap()
}

/// Asks whatever may be asked, in order.
fn ask_all(world: &mut World, now: Timestamp) -> Vec<(String, Question)> {
    let next = || world.next_question(now);
    let asked = std::iter::from_fn(next).map(|(id, question)| (id.to_string(), question));
    asked.collect()
}

fn names(asked: &[(String, Question)]) -> Vec<&str> {
    asked.iter().map(|(id, _)| &id["issuer.".len()..]).collect()
}

fn follow(world: &mut World, names: &[&str]) {
    for name in names {
        let id = CertificateId::parse(&format!("issuer.{name}")).unwrap();
        world.follow(&host(name), Some(&id), Pressing::Routine, at(0));
    }
}

fn told(days: i64) -> Answer {
    Answer::Told {
        window: Window::new(at(days * DAY), at((days + 1) * DAY)).unwrap(),
        retry_after: Some(Duration::from_secs(6 * 3_600)),
    }
}

#[test]
fn p22_a_wait_that_a_ca_names_to_one_question_holds_all_at_that_ca_and_no_other() {
    let mut world = world(&[("a", "one"), ("b", "one"), ("c", "two")]);
    follow(&mut world, &["a", "b", "c"]);
    for (_, question) in ask_all(&mut world, at(0)) {
        world.hinted(question, told(60), at(0));
    }
    let now = 6 * HOUR + 60;
    let asked = ask_all(&mut world, at(now));
    assert_eq!(asked.len(), 3);
    let wait = Some(Duration::from_secs(4 * 3_600));
    for (id, question) in &asked {
        let answer = match id.as_str() {
            "issuer.a" => Answer::Busy { retry_after: wait },
            "issuer.b" => Answer::Busy { retry_after: None },
            _ => Answer::Busy { retry_after: None },
        };
        world.hinted(*question, answer, at(now));
    }
    // After a minute the others may be tried again, as far as nothing was named.
    assert_eq!(names(&ask_all(&mut world, at(now + 120))), ["c"]);
    assert!(ask_all(&mut world, at(now + 4 * HOUR - 1)).is_empty());
    assert_eq!(
        world.next_question_at(at(now + 120)),
        Some(at(now + 4 * HOUR)),
        "and it wakes then"
    );
    let mut asked = ask_all(&mut world, at(now + 4 * HOUR + 60));
    asked.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(names(&asked), ["a", "b"]);
    // What was said before counts all the while.
    for name in ["a", "b", "c"] {
        let window = world.hint(&host(name)).map(|hint| hint.window.start());
        assert_eq!(window, Some(at(60 * DAY)), "{name}");
    }
}

#[test]
fn p22_a_wait_is_obeyed_within_bounds() {
    for (asked, obeyed) in [(0, 60), (1, 60), (600, 600), (7 * DAY, DAY)] {
        let mut world = world(&[("a", "one")]);
        follow(&mut world, &["a"]);
        let (_, question) = world.next_question(at(0)).unwrap();
        let retry_after = Some(Duration::from_secs(asked.unsigned_abs()));
        world.hinted(question, Answer::Busy { retry_after }, at(0));
        let one = ca(&world, "one");
        assert_eq!(world.unasked_until(one, at(0)), Some(at(obeyed)), "{asked}");
        assert_eq!(world.unasked_until(one, at(obeyed)), None);
    }
}

#[test]
fn p22_a_ca_that_wants_to_be_left_alone_is_asked_nothing() {
    let hold = |code: &str, told| Hold {
        until: at(HOUR),
        code: code.to_owned(),
        text: "later".to_owned(),
        tries: 1,
        told,
    };
    for (what, hold, asked) in [
        ("named by the CA", hold("rateLimited", true), vec!["b"]),
        // To ask about renewals takes no account.
        ("as we say", hold("externalAccountRequired", true), vec!["a", "b"]),
        ("trouble", hold("ca-unreachable", false), vec!["a", "b"]),
    ] {
        let mut world = world(&[("a", "one"), ("b", "two")]);
        follow(&mut world, &["a", "b"]);
        let one = ca(&world, "one");
        world.set_hold(one, Scope::Account, hold, at(0));
        assert_eq!(names(&ask_all(&mut world, at(1))), asked, "{what}");
    }
}

#[test]
fn p22_who_cannot_be_asked_is_not_waited_for() {
    let orders = |held: bool| {
        let mut world = world(&[("a", "one")]);
        if held {
            let hold = Hold {
                until: at(70 * DAY),
                code: UNASKED.to_owned(),
                text: String::new(),
                tries: 1,
                told: true,
            };
            let one = ca(&world, "one");
            world.set_hold(one, Scope::Questions, hold, at(0));
        }
        let plan = Planner::new().turn(&mut world, &policy(), at(61 * DAY));
        let is_order = |action: &Action| matches!(action, Action::Drive { .. });
        (
            plan.actions.len(),
            plan.actions.iter().filter(|action| is_order(action)).count(),
        )
    };
    // It is asked before it is renewed by the plain rule; or renewed at once.
    assert_eq!(orders(false), (1, 0));
    assert_eq!(orders(true), (1, 1));
}

#[test]
fn p21_where_a_window_is_explained_is_news_once_and_stands_in_the_verdict() {
    let span = |days: i64| Window::new(at(days * DAY), at((days + 1) * DAY)).unwrap();
    let mut world = world(&[("a", "one")]);
    follow(&mut world, &["a"]);
    let mut planner = Planner::new();
    let mut now = 0;
    let mut is_news = |world: &mut World, window: Window, page: Option<&str>| {
        let (_, question) = world.next_question(at(now)).unwrap();
        let news = world.explained(question, window, page);
        let retry_after = None;
        world.hinted(question, Answer::Told { window, retry_after }, at(now));
        now += 7 * HOUR;
        planner.look(world, &policy(), at(now));
        let text = planner.explain(&host("a"), world, at(now)).unwrap();
        assert_eq!(text.contains("https://ca.test/"), page.is_some(), "{text}");
        (news, text)
    };
    let (one, two) = (Some("https://ca.test/one"), Some("https://ca.test/two"));
    assert!(!is_news(&mut world, span(60), None).0);
    let (news, text) = is_news(&mut world, span(60), one);
    assert!(
        news && text.ends_with("; the CA explains that at https://ca.test/one"),
        "{text}"
    );
    // Neither the next poll nor another window of the same reason.
    assert!(!is_news(&mut world, span(60), one).0);
    assert!(!is_news(&mut world, span(50), one).0);
    assert!(is_news(&mut world, span(50), two).0);
    assert!(!is_news(&mut world, span(50), None).0);

    // An earlier process has told what came with a window that it has saved.
    for (window, expected) in [(span(60), false), (span(50), true)] {
        let mut heir = self::world(&[("a", "one")]);
        let of = renewal::key(&CertificateId::parse("issuer.a").unwrap());
        let next = at(0);
        heir.load_windows(&[SavedWindow {
            of,
            window: span(60),
            moved: false,
            next,
        }]);
        let mut planner = Planner::new();
        planner.look(&mut heir, &policy(), at(0));
        let (_, question) = heir.next_question(at(60)).unwrap();
        assert_eq!(heir.explained(question, window, one), expected);
    }
}

#[test]
fn p20_who_is_left_alone_though_the_ca_wants_it_replaced_says_so() {
    let said = |early: u32, days: &[i64]| {
        let mut world = world(&[("a", "one")]);
        let mut held = world.claims(&host("a")).next().unwrap().clone();
        held.version = "2".into();
        held.origin = Origin::of(early, None);
        world.hold(Some(host("a")), held);
        let mut planner = Planner::new();
        follow(&mut world, &["a"]);
        for (number, days) in (0..).zip(days) {
            let now = at(number * (6 * HOUR + 60));
            let (_, question) = world.next_question(now).unwrap();
            world.hinted(question, told(*days), now);
        }
        planner.look(&mut world, &policy(), at(7 * HOUR));
        let verdict = planner.verdict(&host("a")).unwrap();
        (verdict.reason.next(), verdict.reason.to_string())
    };
    let (until, text) = said(0, &[-2]);
    assert_eq!(until, Some(at(8 * HOUR)));
    assert!(text.contains("is to be replaced at once; it serves"), "{text}");
    let (until, text) = said(3, &[-2]);
    assert_eq!(until, Some(at(64 * HOUR)));
    assert!(text.contains("as it did of the 3 before"), "{text}");
    // Never longer than it would be used without a word of the CA.
    let (until, _) = said(30, &[-2]);
    assert!(
        (at(55 * DAY)..=at(60 * DAY)).contains(&until.unwrap()),
        "{until:?}"
    );
    // Recalled: it waits for its turn, unless that has happened all the time.
    assert_eq!(said(2, &[60, -2]).0, None);
    assert_eq!(said(3, &[60, -2]).0, Some(at(64 * HOUR)));
}

#[test]
fn p18_who_asks_for_a_name_again_has_the_ca_asked_no_sooner() {
    let mut world = world(&[("a", "one")]);
    let id = CertificateId::parse("issuer.a").unwrap();
    let follow = |world: &mut World, secs| world.follow(&host("a"), Some(&id), Pressing::Routine, at(secs));
    follow(&mut world, 0);
    let (_, question) = world.next_question(at(0)).unwrap();
    world.hinted(question, told(60), at(0));
    for cycle in 1..=10 {
        world.drop_hint(&host("a"));
        assert_eq!(world.hint(&host("a")), None);
        assert!(follow(&mut world, cycle), "it is news again");
        assert!(world.hint(&host("a")).is_some());
        assert!(ask_all(&mut world, at(cycle)).is_empty());
    }
    world.drop_hint(&host("a"));
    assert!(!follow(&mut world, 6 * HOUR), "it is time to ask");
    assert_eq!(names(&ask_all(&mut world, at(6 * HOUR))), ["a"]);
}

/// A process that has died knew of a recall, its heir does not: to give up its order would bring a second one.
#[test]
fn p18_no_order_is_given_up_before_the_ca_has_said_whether_it_is_of_use() {
    let turn = |world: &mut World, planner: &mut Planner, secs| {
        let plan = planner.turn(world, &policy(), at(secs));
        let actions = plan.actions.into_iter();
        let question = actions.clone().find_map(|action| match action {
            Action::AskHint { question, .. } => Some(question),
            Action::Drive { .. } | Action::Forget(_) | Action::Steer { .. } => None,
        });
        let drives = actions
            .filter(|action| matches!(action, Action::Drive { .. }))
            .count();
        (question, drives)
    };
    let recalled = Answer::Told {
        window: Window::new(at(0), at(HOUR)).unwrap(),
        retry_after: None,
    };
    for (answer, drives) in [
        (recalled, 1),
        // It is over then, and cleaned up.
        (told(60), 1),
        (Answer::Refused, 1),
        (Answer::Busy { retry_after: None }, 0),
    ] {
        let mut world = world(&[("a", "one")]);
        world.note_all(vec![host("a")], Vec::new());
        let mut planner = Planner::new();
        let (question, before) = turn(&mut world, &mut planner, DAY);
        assert_eq!(before, 0, "{answer:?}");
        world.hinted(question.unwrap(), answer, at(DAY));
        assert_eq!(turn(&mut world, &mut planner, DAY + 1).1, drives, "{answer:?}");
    }
    // Who does not answer for long is not waited for.
    let mut world = world(&[("a", "one")]);
    world.note_all(vec![host("a")], Vec::new());
    let mut planner = Planner::new();
    let mut minute = DAY / 60;
    let waited = loop {
        minute += 1;
        let (question, drives) = turn(&mut world, &mut planner, minute * 60);
        if drives > 0 {
            break minute - DAY / 60;
        }
        if let Some(question) = question {
            world.hinted(question, Answer::Busy { retry_after: None }, at(minute * 60));
        }
    };
    assert!((6 * 60..14 * 60).contains(&waited), "{waited} minutes");
}

#[test]
fn p19_a_certificate_that_is_put_back_is_asked_about_no_sooner_than_the_ca_wants() {
    let mut world = world(&[("a", "one")]);
    let follow = |world: &mut World, id: &str, now: i64| {
        let id = CertificateId::parse(&format!("issuer.{id}")).unwrap();
        world.follow(&host("a"), Some(&id), Pressing::Routine, at(now));
    };
    follow(&mut world, "a", 0);
    let asked = ask_all(&mut world, at(0));
    world.hinted(asked[0].1, told(60), at(0));
    let said = world.hint(&host("a"));
    // It is renewed, and the old one put back out of a backup.
    follow(&mut world, "b", HOUR);
    let asked = ask_all(&mut world, at(HOUR));
    assert_eq!((names(&asked), world.hint(&host("a"))), (vec!["b"], None));
    follow(&mut world, "a", 2 * HOUR);
    assert_eq!(world.hint(&host("a")), said);
    // What is heard of the other one meanwhile is kept for it.
    world.hinted(asked[0].1, told(70), at(2 * HOUR));
    assert_eq!(world.next_question_at(at(2 * HOUR)), Some(at(6 * HOUR)));
    follow(&mut world, "b", 3 * HOUR);
    assert!(world.hint(&host("a")).is_some_and(|hint| Some(hint) != said));
    assert_eq!(world.next_question_at(at(3 * HOUR)), Some(at(8 * HOUR)));
    // Once it may be asked about, nothing is known any more.
    follow(&mut world, "a", 7 * HOUR);
    assert_eq!(world.hint(&host("a")), None);
}

#[test]
fn p21_a_window_is_open_when_it_is_by_the_clock_of_the_ca() {
    let (name, now) = (host("a"), at(51 * DAY));
    let mut world = world(&[("a", "one")]);
    let id = CertificateId::parse("issuer.a").unwrap();
    let window = Window::new(at(50 * DAY), at(52 * DAY)).unwrap();
    let (moved, next) = (false, at(60 * DAY));
    world.know_window(&name, &id, Said { window, moved, next });
    let [one, two] = ["one", "two"].map(|name| ca(&world, name));
    world.set_ca_clock_ahead(two, SignedDuration::from_hours(36));
    let mut check = |hours: i64, expected, bounds: [i64; 2]| {
        world.set_ca_clock_ahead(one, SignedDuration::from_hours(hours));
        assert_eq!(world.exemption(&name, one, now), expected, "{hours} h ahead");
        assert_eq!(world.window_bounds(&name, one), Some(bounds.map(at)));
    };
    check(0, Exemption::Window, [50 * DAY, 52 * DAY - 60]);
    check(36, Exemption::Renewal, [51 * DAY + 12 * HOUR, 52 * DAY - 60]);
    check(-36, Exemption::Renewal, [50 * DAY, 50 * DAY + 12 * HOUR - 60]);
}

#[test]
fn p17_a_renewal_is_exempt_where_the_ca_exempts_it() {
    let mut world = world(&[("a", "one")]);
    let id = CertificateId::parse("issuer.a").unwrap();
    let window = Window::new(at(59 * DAY), at(61 * DAY)).unwrap();
    let (moved, next) = (false, at(62 * DAY));
    world.know_window(&host("a"), &id, Said { window, moved, next });
    let of = |limits: Limits| {
        world.set_ledger(CaId::FIRST, Ledger::new(limits));
        world.exemption(&host("a"), CaId::FIRST, at(60 * DAY))
    };
    let found = [Preset::LetsEncrypt, Preset::LetsEncryptStaging, Preset::None].map(|preset| preset.limits());
    assert_eq!(
        found.map(of),
        [Exemption::Window, Exemption::Window, Exemption::Nothing]
    );
}

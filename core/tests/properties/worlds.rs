//! Generated worlds: what may be asked for, held and noted, and what may happen.

use std::num::NonZeroU32;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::ari::{CertificateId, Window};
use faythe_core::budget::{Limit, Limits};
use faythe_core::cas::{Authority, CaKey, Cas};
use faythe_core::cert::{CertFacts, Held, Origin, Unreadable};
use faythe_core::name::Hostname;
use faythe_core::policy::Policy;
use faythe_core::problem::Scope;
use faythe_core::schedule::{Demand, Failures, Threshold, Why, ahead};
use faythe_core::want::Asker;
use faythe_core::zone::{Rule, Zone, Zones};
use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// All certificates that the worlds know: pairs, siblings, apexes, two zones.
pub(crate) fn hosts() -> Vec<Hostname> {
    [
        "a.example.com",
        "*.a.example.com",
        "b.example.com",
        "c.example.com",
        "example.com",
        "*.example.com",
        "x.deep.example.com",
        "y.deep.example.com",
        "*.wild.net",
        "wild.net",
        "*.sub.wild.net",
    ]
    .map(|host| host.parse().unwrap())
    .to_vec()
}

/// What Ingresses say besides.
pub(crate) const TEXTS: [&str; 6] = [
    "s.wild.net",
    "t.wild.net",
    "elsewhere.org",
    "a_b.example.com",
    "*",
    "WILD.net.",
];

pub(crate) fn zones() -> Zones {
    let zone = |apex: &str, wildcards| Zone {
        apex: apex.parse().unwrap(),
        wildcards,
        rule: Rule::flat("ns.test", &[]),
        challenges: None,
    };
    Zones::new(vec![
        zone("example.com", false),
        zone("wild.net", true),
        zone("deep.example.com", false),
    ])
}

pub(crate) fn scopes() -> [Scope; 6] {
    [
        Scope::Account,
        Scope::Orders,
        Scope::Below("deep.example.com".parse().unwrap()),
        Scope::Below("wild.net".parse().unwrap()),
        Scope::Order(Some("a.example.com".parse().unwrap())),
        Scope::Questions,
    ]
}

/// Few of everything, so that every limit is met.
pub(crate) fn limits() -> Limits {
    let limit = |count, hours: u64| Some(Limit::new(count, Duration::from_secs(hours * 3_600)));
    Limits {
        certificates_per_domain: limit(4, 48),
        certificates_per_set: limit(2, 60),
        failures_in_a_row: limit(6, 72),
        failures_per_name: limit(2, 3),
        new_orders: limit(5, 12),
        ..Limits::default()
    }
}

/// Those of a CA that gives back other things faster.
pub(crate) fn other_limits() -> Limits {
    let limit = |count, hours: u64| Some(Limit::new(count, Duration::from_secs(hours * 3_600)));
    Limits {
        certificates_per_domain: limit(2, 5),
        certificates_per_set: limit(3, 50),
        failures_in_a_row: limit(4, 90),
        failures_per_name: limit(3, 2),
        new_orders: limit(3, 40),
        ..Limits::default()
    }
}

/// One CA, or two, the second of which stands in after half an hour.
pub(crate) fn cas(several: bool) -> Cas {
    let ca = |name: &str| Authority {
        name: name.to_owned(),
        directory: format!("https://{name}.test/directory"),
        use_after: Duration::from_secs(1_800),
    };
    let mut all = vec![ca("one"), ca("two")];
    all.truncate(1 + usize::from(several));
    Cas::new(all)
}

pub(crate) fn policy(cap: usize) -> Policy {
    Policy {
        zones: zones(),
        threshold: Threshold::Default,
        spread: 50,
        renewals_per_minute: NonZeroU32::new(4),
        issue_grace: Duration::from_secs(3600),
        orders_at_once: cap,
    }
}

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Ask(usize, Vec<usize>),
    StopAsking(usize),
    Relist(Vec<(usize, Vec<usize>)>),
    Hold(usize, Held),
    Release(usize),
    Stage(usize),
    End(usize, Ending),
    /// The CA answers, if it was asked: busy, or a window so many hours from now and so long.
    Hinted(usize, Option<(i64, i64)>),
    /// Somebody asks by hand.
    Demand(usize, bool),
    LeaveAlone(usize, usize, i64, bool),
    Answered(usize),
    /// CAA records exclude a CA for so long.
    Exclude(usize, usize, i64),
    Pass(i64),
}

#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Blocked(bool),
    Failed(bool),
    /// The CA does not issue for the name.
    Refused,
    Rested(bool, i64),
    Settled,
    Stored(Held),
}

/// A Secret for one of the certificates, its times around the start.
pub(crate) fn held(host: usize) -> impl Strategy<Value = Held> {
    let names = prop_oneof![6 => Just(host), 1 => 0..hosts().len()];
    let content = (names, -100..60_i64, 1..100_i64, 0..10_u8);
    let demand = prop::option::weighted(0.1, (-2..40_i64, any::<bool>()));
    (content, 0..9_u32, prop::option::of(-2..40_i64), demand).prop_map(
        move |((name, from, life, fault), version, issued, demand)| {
            let day = |days| ahead(start(), SignedDuration::from_hours(days * 24));
            let facts = CertFacts {
                names: vec![hosts().swap_remove(name)],
                not_before: day(from),
                not_after: day(from + life),
                serial: "01".into(),
                issuer: "Test".into(),
                id: (name != 3).then(|| CertificateId::parse(&format!("issuer.{name}-{version}")).unwrap()),
            };
            Held {
                secret: format!("secret-{host}-{}", version % 2).into(),
                version: version.to_string().into(),
                content: if fault == 0 {
                    Err(Unreadable::NoKey)
                } else {
                    Ok(facts)
                },
                issued_at: issued.map(day),
                renew: demand.map(|(at, force)| {
                    Box::new(Demand {
                        at: day(at),
                        force,
                        why: Why::Hand,
                    })
                }),
                made_by: match version % 4 {
                    0 => None,
                    1 => Some(CaKey::of("https://gone.test/directory")),
                    2 => Some(CaKey::of("https://one.test/directory")),
                    _ => Some(CaKey::of("https://two.test/directory")),
                },
                origin: Origin::of(version % 5, None),
            }
        },
    )
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let count = hosts().len();
    let wish = || vec(0..count + TEXTS.len(), 0..4);
    let ending = (0..count).prop_flat_map(|host| {
        let how = prop_oneof![
            1 => any::<bool>().prop_map(Ending::Blocked),
            2 => any::<bool>().prop_map(Ending::Failed),
            1 => Just(Ending::Refused),
            3 => (any::<bool>(), 0..5000_i64).prop_map(|(noted, secs)| Ending::Rested(noted, secs)),
            1 => Just(Ending::Settled),
            3 => held(host).prop_map(Ending::Stored),
        ];
        how.prop_map(move |how| Event::End(host, how))
    });
    prop_oneof![
        5 => (0..4_usize, wish()).prop_map(|(ingress, hosts)| Event::Ask(ingress, hosts)),
        1 => (0..4_usize).prop_map(Event::StopAsking),
        1 => vec((0..4_usize, wish()), 0..3).prop_map(Event::Relist),
        4 => (0..count).prop_flat_map(|host| held(host).prop_map(move |held| Event::Hold(host, held))),
        1 => (0..2 * count).prop_map(Event::Release),
        1 => (0..count).prop_map(Event::Stage),
        6 => ending,
        3 => (0..count, prop::option::weighted(0.8, (-300..300_i64, 1..200_i64)))
            .prop_map(|(host, window)| Event::Hinted(host, window)),
        2 => (0..2_usize, 0..6_usize, 0..9000_i64, any::<bool>()).prop_map(|(ca, scope, secs, told)| {
            Event::LeaveAlone(ca, scope, secs, told)
        }),
        1 => (0..2_usize).prop_map(Event::Answered),
        2 => (0..count, any::<bool>()).prop_map(|(host, force)| Event::Demand(host, force)),
        1 => (0..count, 0..2_usize, 0..4000_i64).prop_map(|(host, ca, secs)| Event::Exclude(host, ca, secs)),
        4 => prop_oneof![0..10_i64, 0..7200_i64, 0..4_000_000_i64].prop_map(Event::Pass),
    ]
}

pub(crate) fn namespace(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "web" } else { "shop" }
}

pub(crate) fn window(now: Timestamp, (from, hours): (i64, i64)) -> Window {
    let start = ahead(now, SignedDuration::from_hours(from));
    Window::new(start, ahead(start, SignedDuration::from_hours(hours))).unwrap()
}

pub(crate) fn asker(number: usize) -> Asker {
    Asker {
        namespace: namespace(number).into(),
        name: number.to_string().into(),
        uid: "1".into(),
    }
}

pub(crate) fn texts(wish: &[usize]) -> Vec<String> {
    let all = hosts();
    wish.iter()
        .map(|i| {
            all.get(*i)
                .map_or_else(|| TEXTS[i - all.len()].to_owned(), ToString::to_string)
        })
        .collect()
}

pub(crate) fn failures(count: u32, last: i64, parked: bool) -> Failures {
    Failures {
        count,
        last: ahead(start(), SignedDuration::from_secs(last)),
        clock_ahead: SignedDuration::ZERO,
        code: "dns".into(),
        text: "dns".into(),
        not_before: None,
        parked,
        refused_by: Vec::new(),
    }
}

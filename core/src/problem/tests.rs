//! What each kind of problem means.

use super::*;

const WAIT: Option<Duration> = Some(Duration::from_secs(600));

fn problem(kind: &str, status: Option<u16>, detail: &str, retry_after: Option<Duration>) -> Problem {
    let kind = ProblemKind::from_urn(&format!("urn:ietf:params:acme:error:{kind}"));
    Problem {
        status,
        kind,
        detail: detail.to_owned(),
        retry_after,
    }
}

#[test]
fn every_kind_reads_back_from_its_urn() {
    for (kind, name) in ProblemKind::NAMES {
        assert_eq!(
            ProblemKind::from_urn(&format!("urn:ietf:params:acme:error:{name}")),
            kind
        );
        assert_eq!(kind.as_str(), name);
    }
    assert_eq!(ProblemKind::from_urn("about:blank"), ProblemKind::Unknown);
    assert_eq!(ProblemKind::from_urn(""), ProblemKind::Unknown);
}

#[test]
fn p17_limits_hold_what_their_words_name() {
    let scope = |words: &str| problem("rateLimited", Some(429), words, WAIT).reaction(Exchange::NewOrder);
    let hold = |scope| Reaction::Hold { scope, wait: WAIT };
    assert_eq!(
        scope(
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"
        ),
        hold(Scope::Name)
    );
    assert_eq!(
        scope("too many failed authorizations (5) for \"a.example.com\" in the last 1h0m0s"),
        hold(Scope::Name)
    );
    assert_eq!(
        scope("too many certificates (50) already issued for \"example.com\" in the last 168h0m0s"),
        hold(Scope::Below("example.com".parse().unwrap()))
    );
    assert_eq!(
        scope("too many new orders (300) from this account"),
        hold(Scope::Orders)
    );
    assert_eq!(scope("something new"), hold(Scope::Account));
}

#[test]
fn p22_busy_is_not_limited_and_paused_needs_a_person() {
    let busy = Reaction::Hold {
        scope: Scope::Account,
        wait: WAIT,
    };
    assert_eq!(
        problem("rateLimited", Some(503), "", WAIT).reaction(Exchange::NewOrder),
        busy
    );
    for words in [
        "Your account is temporarily prevented from requesting certificates for x",
        "see https://portal.test/sfe/v1/unpause",
        "the name is paused",
    ] {
        let paused = problem("rateLimited", Some(429), words, None);
        assert!(paused.is_pause(), "{words}");
        assert_eq!(paused.reaction(Exchange::NewOrder), Reaction::Stop);
    }
    // A limit without its time is the account's, until it passes.
    assert_eq!(
        problem("rateLimited", Some(429), "too many requests", None).reaction(Exchange::Order),
        Reaction::Hold {
            scope: Scope::Account,
            wait: None,
        }
    );
    // What fails inside may be the one order's.
    assert_eq!(
        problem("serverInternal", Some(500), "", WAIT).reaction(Exchange::Order),
        Reaction::Hold {
            scope: Scope::Order(None),
            wait: WAIT,
        }
    );
}

#[test]
fn p22_a_profile_that_is_refused_holds_the_zones_that_use_it_and_nothing_else() {
    // The second has Boulder's words (2026-11).
    let words = "account ID 7 is not permitted to use certificate profile \"tlsserver\"";
    for refused in [
        problem("invalidProfile", Some(400), "", None),
        problem("unauthorized", Some(403), words, None),
    ] {
        assert_eq!(
            refused.reaction(Exchange::NewOrder),
            Reaction::Hold {
                scope: Scope::Zone(None),
                wait: Some(Duration::from_secs(86_400)),
            }
        );
    }
    let [name, apex, other] =
        ["a.example.com", "example.com", "example.org"].map(|name| name.parse().unwrap());
    let held = Scope::Zone(Some(apex));
    assert!(held.covers(&name, Some(&"example.com".parse().unwrap()), Exemption::Window));
    assert!(!held.covers(&name, Some(&other), Exemption::Nothing));
}

#[test]
fn p22_what_a_person_ends_is_held_as_we_say_and_the_rest_as_the_ca_does() {
    use ProblemKind as K;
    let ours = ProblemKind::NAMES.map(|(kind, _)| kind);
    let ours: Vec<_> = ours
        .into_iter()
        .filter(|kind| kind.held_as_we_say().is_some())
        .collect();
    assert_eq!(
        ours,
        [
            K::BadSignatureAlgorithm,
            K::ExternalAccountRequired,
            K::InvalidContact,
            K::InvalidProfile,
            K::Unauthorized,
            K::UnsupportedContact,
            K::UserActionRequired,
        ]
    );
}

#[test]
fn p21_a_predecessor_that_the_ca_does_not_find_is_left_out() {
    let about = |kind, status, words| problem(kind, Some(status), words, None).is_about_predecessor();
    // Pebble's words for a serial number that it cannot look up (2026-11).
    assert!(about(
        "serverInternal",
        500,
        "could not find an order for the given certificate"
    ));
    assert!(!about("serverInternal", 500, "the database is gone"));
}

#[test]
fn p22_one_type_may_mean_different_things() {
    let unauthorized = |during| problem("unauthorized", Some(403), "", None).reaction(during);
    assert_eq!(unauthorized(Exchange::Validation), Reaction::Later);
    assert_eq!(unauthorized(Exchange::Order), Reaction::Renew);
    assert!(matches!(
        unauthorized(Exchange::NewOrder),
        Reaction::Hold {
            scope: Scope::Account,
            ..
        }
    ));
    let key = problem("badPublicKey", Some(400), "", None);
    assert_eq!(key.reaction(Exchange::Order), Reaction::NewKey);
    assert!(matches!(
        key.reaction(Exchange::NewAccount),
        Reaction::Hold {
            scope: Scope::Account,
            ..
        }
    ));
    let gone = problem("malformed", Some(404), "", None).reaction(Exchange::Order);
    assert_eq!(gone, Reaction::Renew);
    let bad = problem("malformed", Some(400), "", None).reaction(Exchange::NewOrder);
    assert_eq!(bad, Reaction::Stop);
}

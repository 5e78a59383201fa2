//! What an authorization shows, state by state.

use super::*;

fn authorization(status: AuthorizationStatus, challenge: Option<Stage>) -> Authorization {
    Authorization {
        name: "*.example.com".to_owned(),
        status,
        challenge: challenge.map(|stage| (stage, "value".to_owned())),
        failure: None,
    }
}

fn failed(authorization: Authorization) -> Problem {
    match judge(&[authorization]) {
        Ok(Judgment::Failed(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn open_challenges_say_where_their_value_goes() {
    let pending = authorization(AuthorizationStatus::Pending, Some(Stage::Pending));
    let running = authorization(AuthorizationStatus::Pending, Some(Stage::Processing));
    let valid = authorization(AuthorizationStatus::Valid, Some(Stage::Valid));
    let Ok(Judgment::Open(open)) = judge(&[pending, valid, running]) else {
        panic!("nothing has failed")
    };
    assert_eq!(open.len(), 2);
    assert_eq!(open[0].value.record.as_str(), "_acme-challenge.example.com");
    assert_eq!(open[0].value.value, "value");
    assert_eq!(open[0].status, ChallengeStatus::Pending);
    assert_eq!(open[1].status, ChallengeStatus::Processing);
}

#[test]
fn a_dead_authorization_says_why_or_at_least_how() {
    let known = Problem {
        status: None,
        kind: ProblemKind::Dns,
        detail: "NXDOMAIN".to_owned(),
        retry_after: None,
    };
    let invalid = authorization(AuthorizationStatus::Invalid, Some(Stage::Invalid));
    assert_eq!(
        failed(Authorization {
            failure: Some(known.clone()),
            ..invalid
        }),
        known
    );
    let lagging = authorization(AuthorizationStatus::Pending, Some(Stage::Invalid));
    assert_eq!(
        failed(Authorization {
            failure: Some(known.clone()),
            ..lagging
        }),
        known
    );
    let expired = failed(authorization(AuthorizationStatus::Expired, None));
    assert_eq!(expired.kind, ProblemKind::Unknown);
    assert_eq!(expired.detail, "the authorization of *.example.com is expired");
}

#[test]
fn a_ca_without_dns_01_is_a_refusal() {
    let error = judge(&[authorization(AuthorizationStatus::Pending, None)]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("offers no DNS-01 challenge for *.example.com"),
        "{error}"
    );
}

//! What an authorization shows, state by state.

use super::*;

fn authorization(status: AuthorizationStatus, challenge: Option<Stage>) -> Authorization {
    Authorization {
        name: "*.example.com".to_owned(),
        status,
        challenge: challenge.map(|stage| Offer {
            stage,
            value: "value".to_owned(),
            url: "https://ca.test/chall/1".to_owned(),
        }),
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
    assert_eq!(
        open[0].challenge.value.record.as_str(),
        "_acme-challenge.example.com"
    );
    assert_eq!(open[0].challenge.value.value, "value");
    assert_eq!(open[0].challenge.status, ChallengeStatus::Pending);
    assert_eq!(open[1].challenge.status, ChallengeStatus::Processing);
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
    assert_eq!(
        (expired.kind, expired.status),
        (ProblemKind::Malformed, Some(404))
    );
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

#[test]
fn an_authorization_is_read_whatever_else_is_offered() {
    let key = Key::read(&Key::generate(crate::x509::KeyType::EcdsaP256).unwrap()).unwrap();
    let answer = |body: String| Answer {
        url: "https://ca.test/authz/1".to_owned(),
        status: http::StatusCode::OK,
        headers: http::HeaderMap::new(),
        retry_after: None,
        body: body.into(),
    };
    let dns = |token: &str, status: &str| {
        format!(
            r#"{{"identifier":{{"type":"dns","value":"example.com"}},"status":"pending","wildcard":true,"challenges":[
            {{"type":"dns-persist-01","url":"https://ca.test/c/1","status":"resting","issuer-domain-names":["ca.test"]}},
            {{"type":"dns-01","url":"https://ca.test/c/2","token":{token},"status":"{status}"}}]}}"#
        )
    };
    let read = Authorization::read(&answer(dns("\"abc\"", "pending")), &key).unwrap();
    assert_eq!(read.name, "*.example.com");
    let offer = read.challenge.unwrap();
    assert_eq!(
        (offer.stage, offer.url.as_str()),
        (Stage::Pending, "https://ca.test/c/2")
    );
    let expected = jws::encode(jws::sha256(format!("abc.{}", key.thumbprint()).as_bytes()));
    assert_eq!(offer.value, expected);
    // Without a token, or in a state that is none, it is not on offer.
    for body in [dns("null", "pending"), dns("\"abc\"", "paused")] {
        assert_eq!(Authorization::read(&answer(body), &key).unwrap().challenge, None);
    }
    assert!(matches!(
        Authorization::read(&answer("<html>".to_owned()), &key),
        Err(CaError::Garbled { .. })
    ));
}

//! How notes are written and read.

use super::*;

fn saved() -> Saved {
    let host: faythe_core::name::Hostname = "*.example.com".parse().unwrap();
    let note = Note {
        host: host.clone(),
        order_url: "https://ca.example/order/1".into(),
        directory: None,
        values: vec![ChallengeValue {
            record: host.challenge_record(),
            value: "v".into(),
        }],
        route: None,
        replaces: None,
        created: "2026-11-24T10:00:00Z".parse().unwrap(),
        expires: Some("2026-12-01T10:00:00Z".parse().unwrap()),
    };
    let failures = Failures {
        count: 2,
        last: "2026-11-24T09:00:00.123456789Z".parse().unwrap(),
        clock_ahead: SignedDuration::ZERO,
        code: "unauthorized".into(),
        text: "no".into(),
        not_before: Some("2026-11-24T17:00:00Z".parse().unwrap()),
        parked: true,
        refused_by: Vec::new(),
    };
    Saved {
        host,
        order: Some((note, Sealed::from("PEM".to_owned()))),
        failures: Some(failures),
        given_up: None,
        setup: None,
    }
}

#[test]
fn what_is_written_is_read_again() {
    let bare = Saved {
        order: None,
        failures: None,
        ..saved()
    };
    for saved in [
        saved(),
        Saved {
            order: None,
            ..saved()
        },
        Saved {
            failures: None,
            ..saved()
        },
        bare,
    ] {
        let secret = Content::write(&saved).unwrap().secret("n", "ns", None);
        assert_eq!(Content::of(&secret).unwrap().read(), Ok(saved));
    }
}

#[test]
fn the_saved_form_stays_readable() {
    let json = r#"{"version":1,"host":"*.example.com","order":{"url":"https://ca.example/order/1","values":[{"record":"_acme-challenge.example.com","value":"v"}],"created":"2026-11-24T10:00:00Z","expires":"2026-12-01T10:00:00Z"},"failures":{"count":2,"last":"2026-11-24T09:00:00.123456789Z","code":"unauthorized","text":"no","notBefore":"2026-11-24T17:00:00Z","parked":true}}"#;
    assert_eq!(Content::write(&saved()).unwrap().json, json);
    let with_more = json.replacen('{', r#"{"later":true,"#, 1);
    let content = Content {
        json: with_more,
        key: Some(Sealed::from("PEM".to_owned())),
    };
    assert_eq!(content.read(), Ok(saved()));
}

#[test]
fn p23_a_note_says_which_certificate_its_order_takes_the_place_of() {
    let mut saved = saved();
    let (note, _) = saved.order.as_mut().unwrap();
    note.replaces = Some(CertificateId::parse("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").unwrap());
    let mut content = Content::write(&saved).unwrap();
    assert!(
        content
            .json
            .contains(r#""replaces":"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE""#)
    );
    assert_eq!(content.read(), Ok(saved));
    content.json = content.json.replace("aYhba4dGQEHhs3uEe6CuLN4ByNQ.", "");
    assert!(content.read().unwrap_err().contains("it replaces"));
}

#[test]
fn p07_a_note_says_in_which_zone_and_at_which_record_a_value_stands() {
    let mut saved = saved();
    for way in [Way::Direct, Way::Delegated] {
        let (note, _) = saved.order.as_mut().unwrap();
        note.route = Some(Route {
            zone: DnsName::parse_zone("_c.auth.test").unwrap(),
            record: RecordName::parse("x._c.auth.test").unwrap(),
            way,
        });
        let content = Content::write(&saved).unwrap();
        assert!(
            content
                .json
                .contains(r#"{"record":"x._c.auth.test","value":"v","zone":"_c.auth.test""#)
        );
        assert_eq!(content.read(), Ok(saved.clone()));
    }
}

#[test]
fn p24_a_note_says_which_ca_has_the_order_and_which_do_not_issue() {
    let mut saved = saved();
    if let Some((note, _)) = &mut saved.order {
        note.directory = Some("https://ca.example/dir".into());
    }
    if let Some(failures) = &mut saved.failures {
        failures.refused_by = vec!["https://other.example/dir".into()];
    }
    let content = Content::write(&saved).unwrap();
    assert!(content.json.contains(r#""ca":"https://ca.example/dir""#));
    assert!(
        content
            .json
            .contains(r#""refusedBy":["https://other.example/dir"]"#)
    );
    assert_eq!(content.read(), Ok(saved));
}

#[test]
fn p22_a_note_counts_the_orders_of_no_use_before_it() {
    let saved = Saved {
        order: None,
        failures: None,
        given_up: Some(GivenUp {
            count: 3,
            last: "2026-11-24T09:00:00Z".parse().unwrap(),
            clock_ahead: SignedDuration::from_hours(2),
            not_before: Some("2026-11-24T17:00:00Z".parse().unwrap()),
            code: "order-expired".into(),
            text: "the order has expired at the CA".into(),
        }),
        ..saved()
    };
    let content = Content::write(&saved).unwrap();
    assert!(
        content
            .json
            .contains(r#""givenUp":{"count":3,"last":"2026-11-24T09:00:00Z""#)
    );
    assert_eq!(content.read(), Ok(saved));
}

#[test]
fn the_key_is_not_in_the_json_nor_in_debug() {
    let content = Content::write(&saved()).unwrap();
    assert!(!format!("{content:?}").contains("PEM"));
}

#[test]
fn what_cannot_be_read_says_why() {
    let why = |json: &str| {
        Content {
            json: json.to_owned(),
            key: None,
        }
        .read()
        .unwrap_err()
    };
    assert_eq!(
        why(r#"{"version":2}"#),
        "it is of version 2, and this program knows version 1"
    );
    assert!(why("garbage").starts_with("expected value"));
    assert!(why(r#"{"version":1,"host":"localhost"}"#).contains("single label"));
    let order = Content::write(&saved()).unwrap().json;
    assert_eq!(why(&order), "it has an order and no key");
    assert!(why(&order.replace("2026-11-24T10", "never")).contains("no key"));
}

//! What an order shows, answer by answer.

use super::*;

#[test]
fn the_end_of_an_order_is_read_from_its_answer() {
    let answer = |body: &str| Answer {
        method: http::Method::POST,
        url: String::new(),
        status: StatusCode::OK,
        retry_after: None,
        body: bytes::Bytes::from(body.to_owned()),
    };
    let end = expires(&answer(
        r#"{"status":"pending","expires":"2026-11-24T10:00:00.5+01:00"}"#,
    ));
    assert_eq!(end, "2026-11-24T09:00:00.5Z".parse().ok());
    assert_eq!(expires(&answer(r#"{"expires":"tomorrow"}"#)), None);
    assert_eq!(expires(&answer(r#"{"expires":7}"#)), None);
    assert_eq!(expires(&answer("-----BEGIN CERTIFICATE-----")), None);
}

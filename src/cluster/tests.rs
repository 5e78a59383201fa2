use super::*;

#[track_caller]
fn check(json: &str, expected: Fault) {
    let status: Status = serde_json::from_str(json).unwrap();
    assert_eq!(Fault::of_status(&status), expected, "{json}");
}

#[test]
fn rbac_is_told_from_quota_and_admission() {
    check(
        r#"{"code":403,"reason":"Forbidden","message":"secrets \"a\" is forbidden: User \"x\" cannot get resource \"secrets\" in API group \"\" in the namespace \"n\""}"#,
        Fault::Forbidden,
    );
    let quota = r#"secrets \"a\" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1"#;
    check(
        &format!(r#"{{"code":403,"reason":"Forbidden","message":"{quota}"}}"#),
        Fault::Refused(quota.replace('\\', "")),
    );
    check(
        r#"{"code":422,"reason":"Invalid","message":"policy says no"}"#,
        Fault::Refused("policy says no".into()),
    );
}

#[test]
fn the_two_kinds_of_409_are_told_apart() {
    check(
        r#"{"code":409,"reason":"AlreadyExists","message":"m"}"#,
        Fault::Exists,
    );
    check(
        r#"{"code":409,"reason":"Conflict","message":"m"}"#,
        Fault::Conflict,
    );
}

#[test]
fn trouble_of_the_server_says_when_to_come_back() {
    check(
        r#"{"code":429,"reason":"TooManyRequests","details":{"retryAfterSeconds":3}}"#,
        Fault::TooMany(Some(Duration::from_secs(3))),
    );
    check(
        r#"{"code":500,"reason":"InternalError","message":"etcd"}"#,
        Fault::Unavailable(None),
    );
    check(
        r#"{"code":503,"message":"apiserver is shutting down"}"#,
        Fault::Unavailable(None),
    );
    check(
        r#"{"code":401,"reason":"Unauthorized"}"#,
        Fault::Unavailable(None),
    );
}

#[test]
fn a_version_too_old_or_too_new_asks_for_a_new_list() {
    check(
        r#"{"code":410,"reason":"Expired","message":"too old resource version"}"#,
        Fault::Gone,
    );
    check(
        r#"{"code":504,"reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"m"}],"retryAfterSeconds":1}}"#,
        Fault::Gone,
    );
}

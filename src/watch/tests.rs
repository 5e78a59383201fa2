//! Followers against an API server that answers by a script, on paused time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// An answer of the script; `watch` says which kind of request it is for.
struct Answer {
    watch: bool,
    code: u16,
    body: String,
}

/// What was asked, and when after the start.
type Asked = Arc<Mutex<Vec<(String, Duration)>>>;

fn page(names: &[&str], more: Option<&str>) -> Answer {
    let items: Vec<Value> = names.iter().map(|name| object(name)).collect();
    let body = json!({"metadata": {"resourceVersion": "7", "continue": more}, "items": items});
    Answer {
        watch: false,
        code: 200,
        body: body.to_string(),
    }
}

/// Events, after which the stream ends.
fn events(events: &[(&str, Value)]) -> Answer {
    let lines = events
        .iter()
        .map(|(kind, object)| format!("{}\n", json!({"type": kind, "object": object})));
    Answer {
        watch: true,
        code: 200,
        body: lines.collect(),
    }
}

fn refusal(watch: bool, code: u16, message: &str, retry_after: u32) -> Answer {
    let body = json!({"code": code, "message": message, "details": {"retryAfterSeconds": retry_after}});
    Answer {
        watch,
        code,
        body: body.to_string(),
    }
}

const RBAC: &str = r#"User "x" cannot watch resource "secrets""#;

fn object(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n", "resourceVersion": "8"}})
}

/// The news of [`whole_script`] but for the beginning of lists.
fn script(answers: Vec<Answer>) -> (BoxStream<'static, News<String>>, Asked) {
    let (news, asked) = whole_script(answers);
    let told = |news: &News<_>| std::future::ready(*news != News::Listing);
    (news.filter(told).boxed(), asked)
}

/// Follows Secrets, reduced to their names, with answers in the order of the script; after its end nothing is answered.
fn whole_script(answers: Vec<Answer>) -> (BoxStream<'static, News<String>>, Asked) {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let asked = Asked::default();
    let (log, begun) = (Arc::clone(&asked), Instant::now());
    let service = tower::service_fn(move |request: Request<Body>| {
        let uri = request.uri().to_string();
        log.lock().unwrap().push((uri.clone(), begun.elapsed()));
        let answer = answers.lock().unwrap().pop_front();
        async move {
            let Some(answer) = answer else {
                return std::future::pending().await;
            };
            assert_eq!(uri.contains("watch=true"), answer.watch, "{uri}");
            let code = StatusCode::from_u16(answer.code).unwrap();
            let body = Body::from(answer.body.into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    let api: Api<Secret> = Api::namespaced(Client::new(service, "n"), "n");
    let scope = Scope {
        what: "Secrets",
        selector: Some("l".into()),
        page: 2,
        relist: Duration::from_secs(5),
    };
    (
        follow(api, scope, |secret: Secret| secret.name_any()).boxed(),
        asked,
    )
}

fn all(names: &[&str]) -> News<String> {
    News::All(names.iter().map(|&name| name.to_owned()).collect())
}

#[tokio::test(start_paused = true)]
async fn pages_make_one_list_and_then_changes_follow() {
    let (mut news, asked) = script(vec![
        page(&["a", "b"], Some("t")),
        page(&["c"], None),
        events(&[("ADDED", object("d")), ("DELETED", object("a"))]),
    ]);
    assert_eq!(news.next().await, Some(all(&["a", "b", "c"])));
    assert_eq!(news.next().await, Some(News::Changed("d".into())));
    assert_eq!(
        news.next().await,
        Some(News::Gone {
            namespace: "n".into(),
            name: "a".into()
        })
    );
    let asked = asked.lock().unwrap();
    assert!(
        asked.iter().all(|(uri, _)| uri.contains("labelSelector=l")),
        "{asked:?}"
    );
    assert!(
        asked[0].0.contains("limit=2") && asked[1].0.contains("continue=t"),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_is_announced_before_it_is_asked_for() {
    let (mut news, asked) = whole_script(vec![
        page(&["a"], None),
        refusal(true, 403, RBAC, 0),
        page(&["b"], None),
        page(&["c"], None),
    ]);
    let asked = || asked.lock().unwrap().len();
    assert_eq!((news.next().await, asked()), (Some(News::Listing), 0));
    assert_eq!(news.next().await, Some(all(&["a"])));
    for (name, before) in [("b", 2), ("c", 3)] {
        assert_eq!((news.next().await, asked()), (Some(News::Listing), before));
        assert_eq!(news.next().await, Some(all(&[name])));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_listed_again() {
    let gone = json!({"code": 410, "reason": "Expired", "message": "too old resource version"});
    let (mut news, _) = script(vec![
        page(&["a"], None),
        events(&[("ERROR", gone)]),
        page(&["b"], None),
        // The same as an answer and not as an event, where a watch begins.
        refusal(true, 410, "too old resource version", 0),
        page(&["c"], None),
    ]);
    for name in ["a", "b", "c"] {
        assert_eq!(news.next().await, Some(all(&[name])));
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_says_nothing_and_waits_as_long_as_it_is_told() {
    let (mut news, asked) = script(vec![
        page(&["a"], None),
        refusal(true, 429, "slow down", 60),
        refusal(true, 500, "etcd", 0),
        events(&[("ADDED", object("b"))]),
    ]);
    assert_eq!(news.next().await, Some(all(&["a"])));
    assert_eq!(news.next().await, Some(News::Changed("b".into())));
    let asked = asked.lock().unwrap();
    assert!(asked[2].1 - asked[1].1 >= Duration::from_secs(60), "{asked:?}");
    assert!(asked[3].1 - asked[2].1 < Duration::from_secs(30), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_half_way_is_not_taken_for_all() {
    let (mut news, _) = script(vec![
        page(&["a", "b"], Some("t")),
        refusal(false, 410, "the continue token is too old", 0),
        page(&["a", "b"], Some("t")),
        page(&["c"], None),
    ]);
    assert_eq!(news.next().await, Some(all(&["a", "b", "c"])));
}

#[tokio::test(start_paused = true)]
async fn where_watching_is_forbidden_it_lists_and_later_tries_to_watch_again() {
    let mut answers = vec![page(&["a"], None), refusal(true, 403, RBAC, 0)];
    let lists = usize::try_from(WATCH_AGAIN.as_secs() / 5).unwrap() - 1;
    answers.extend((0..lists).map(|_| page(&["b"], None)));
    answers.extend([page(&["c"], None), events(&[("ADDED", object("d"))])]);
    let (mut news, asked) = script(answers);

    assert_eq!(news.next().await, Some(all(&["a"])));
    for _ in 0..lists {
        assert_eq!(news.next().await, Some(all(&["b"])));
    }
    assert_eq!(news.next().await, Some(all(&["c"])));
    assert_eq!(news.next().await, Some(News::Changed("d".into())));
    let asked = asked.lock().unwrap();
    assert_eq!(asked[3].1 - asked[2].1, Duration::from_secs(5));
}

#[test]
fn each_complaint_is_made_once_until_things_are_well() {
    let mut complaints = Complaints::default();
    assert!(complaints.is_new("unavailable"));
    assert!(!complaints.is_new("unavailable"));
    assert!(complaints.is_new("watch-forbidden"));
    assert!(complaints.settle());
    assert!(!complaints.settle());
    assert!(complaints.is_new("unavailable"));
    assert!(!complaints.is_new("watch-forbidden"));
}

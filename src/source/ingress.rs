//! Ingresses of all namespaces (S03), reduced to who asks for which hosts.

use std::collections::BTreeSet;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::want::Asker;
use futures::future::ready;
use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Api, Client};

use super::Seen;
use crate::watch::{News, Scope, follow};

/// As many as the API server's own clients ask for at once.
const PAGE: u32 = 500;

/// Follows the Ingresses of all namespaces; the stream never ends.
///
/// `relist` is the time between two lists where watching is forbidden.
pub fn follow_all(client: &Client, relist: Duration) -> impl Stream<Item = Seen> + Send + 'static {
    let scope = Scope {
        what: "Ingresses",
        selector: None,
        page: PAGE,
        relist,
    };
    follow(Api::all(client.clone()), scope, reduce).filter_map(|news| {
        ready(match news {
            // Nobody else tells of Ingresses, so it does not matter what was known before.
            News::Listing => None,
            News::All(all) => Some(Seen::All(by_age(all))),
            News::Changed(Said { asker, hosts, .. }) => Some(Seen::Changed { asker, hosts }),
            News::Gone { namespace, name } => Some(Seen::Gone { namespace, name }),
        })
    })
}

/// What an Ingress literally says.
#[derive(Debug)]
struct Said {
    /// When it was made, by the API server's clock.
    made: Timestamp,
    asker: Asker,
    hosts: Vec<String>,
}

/// The oldest first; those of one second, which is all that the API server tells, in its order. When they were made is of no
/// use beyond that, and is not kept.
fn by_age(mut all: Vec<Said>) -> Vec<(Asker, Vec<String>)> {
    all.sort_by_key(|said| said.made);
    all.into_iter().map(|said| (said.asker, said.hosts)).collect()
}

fn reduce(ingress: Ingress) -> Said {
    let made = ingress.metadata.creation_timestamp.map(|time| time.0);
    let asker = Asker {
        namespace: ingress.metadata.namespace.unwrap_or_default().into(),
        name: ingress.metadata.name.unwrap_or_default().into(),
        uid: ingress.metadata.uid.unwrap_or_default().into(),
    };
    let spec = ingress.spec.unwrap_or_default();
    let rules = spec.rules.into_iter().flatten().filter_map(|rule| rule.host);
    let tls = spec
        .tls
        .into_iter()
        .flatten()
        .flat_map(|tls| tls.hosts.unwrap_or_default());
    let hosts: BTreeSet<String> = rules.chain(tls).filter(|host| !host.is_empty()).collect();
    Said {
        made: made.unwrap_or(Timestamp::MIN),
        asker,
        hosts: hosts.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(spec: Value, expected: &[&str]) {
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u"});
        let ingress: Ingress = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let Said { asker, hosts, .. } = reduce(ingress);
        assert_eq!(
            asker,
            Asker {
                namespace: "n".into(),
                name: "a".into(),
                uid: "u".into()
            }
        );
        assert_eq!(hosts, expected);
    }

    #[test]
    fn hosts_come_from_rules_and_tls_each_once() {
        check(
            json!({
                "rules": [{"host": "b.example.com"}, {"host": "a.example.com"}],
                "tls": [{"hosts": ["a.example.com", "*.example.com"]}, {"hosts": ["c.example.com"]}],
            }),
            &["*.example.com", "a.example.com", "b.example.com", "c.example.com"],
        );
    }

    #[test]
    fn p17_of_a_list_the_oldest_come_first() {
        let said = |(name, made): (&str, Option<&str>)| {
            let metadata = json!({"name": name, "namespace": "n", "creationTimestamp": made});
            reduce(serde_json::from_value(json!({"metadata": metadata})).unwrap())
        };
        let all = [
            ("a", Some("2026-03-01T00:00:00Z")),
            ("b", Some("2026-01-01T00:00:00Z")),
            ("c", None),
            ("d", Some("2026-02-01T00:00:00Z")),
            ("e", Some("2026-01-01T00:00:00Z")),
        ];
        let names = by_age(all.map(said).into_iter().collect()).into_iter();
        let names: Vec<_> = names.map(|(asker, _)| asker.name).collect();
        assert_eq!(names.join(" "), "c b e d a");
    }

    #[test]
    fn what_is_absent_or_empty_asks_for_nothing() {
        check(json!({}), &[]);
        check(json!({"defaultBackend": {"service": {"name": "s"}}}), &[]);
        check(
            json!({"rules": [{"http": {"paths": []}}, {"host": ""}], "tls": [{"secretName": "s"}, {"hosts": [""]}]}),
            &[],
        );
    }

    #[test]
    fn nothing_is_interpreted() {
        check(
            json!({"rules": [{"host": "A.Example.com."}, {"host": "10.0.0.1"}]}),
            &["10.0.0.1", "A.Example.com."],
        );
    }
}

//! Following Ingresses and Secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use faythe::source::{Seen, ingress};
use faythe::store::secrets::{SeenSecret, follow_held};
use faythe_bed::kube::objects::{apply_ingress, delete_ingress};
use faythe_bed::kube::{Identity, Kube};
use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::place::{HOSTLABEL, Place, SOON, client_of};

/// Far longer than any test, where listing at an interval must not be what makes it pass.
const NEVER: Duration = Duration::from_secs(3600);

/// What a consumer knows by now of one namespace's Ingresses.
struct View {
    seen: BoxStream<'static, Seen>,
    namespace: String,
    hosts: BTreeMap<String, Vec<String>>,
}

impl View {
    fn new(place: &Place, relist: Duration) -> Self {
        let seen = ingress::follow_all(&place.client, relist).boxed();
        Self {
            seen,
            namespace: place.namespace.clone(),
            hosts: BTreeMap::new(),
        }
    }

    /// Takes in what is seen until it is this.
    #[track_caller]
    fn shows<'a>(&'a mut self, expected: &'a [(&'a str, &'a [&'a str])]) -> impl Future<Output = ()> + 'a {
        let to_owned = |hosts: &[&str]| hosts.iter().map(|&host| host.to_owned()).collect();
        let expected = expected
            .iter()
            .map(|(name, hosts)| ((*name).to_owned(), to_owned(hosts)))
            .collect();
        let caller = std::panic::Location::caller();
        async move {
            let shown = tokio::time::timeout(SOON, async {
                while self.hosts != expected {
                    let seen = self.seen.next().await.unwrap();
                    self.take(seen);
                }
            });
            if shown.await.is_err() {
                panic!("{caller}: shows {:?} and not {expected:?}", self.hosts);
            }
        }
    }

    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::All(all) => {
                let ours = all
                    .into_iter()
                    .filter(|(asker, _)| *asker.namespace == *self.namespace);
                self.hosts = ours.map(|(asker, hosts)| (asker.name.into(), hosts)).collect();
            }
            Seen::Changed { asker, hosts } if *asker.namespace == *self.namespace => {
                self.hosts.insert(asker.name.into(), hosts);
            }
            Seen::Gone { namespace, name } if *namespace == *self.namespace => {
                self.hosts.remove(&*name);
            }
            Seen::Changed { .. } | Seen::Gone { .. } => {}
        }
    }
}

#[tokio::test]
async fn s03_hosts_come_from_rules_and_tls() {
    let place = Place::new("s03").await;
    create_ingress(
        &place,
        "web",
        json!({
            "rules": [{"host": "b.example.com"}, {"host": "a.example.com"}],
            "tls": [{"hosts": ["a.example.com", "*.example.com"]}],
            "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}},
        }),
    )
    .await;
    let mut view = View::new(&place, NEVER);
    view.shows(&[("web", &["*.example.com", "a.example.com", "b.example.com"])])
        .await;
}

#[tokio::test]
async fn p17_of_a_list_the_oldest_ingress_comes_first() {
    let place = Place::new("age").await;
    let ingresses: Api<Ingress> = Api::namespaced(place.admin.clone(), &place.namespace);
    create_ingress(&place, "z", json!({"rules": [{"host": "z.example.com"}]})).await;
    let made = async |name| ingresses.get(name).await.unwrap().metadata.creation_timestamp;
    let first = made("z").await;
    // The API server tells no more than the second.
    let later = tokio::time::timeout(SOON, async {
        loop {
            create_ingress(&place, "a", json!({"rules": [{"host": "a.example.com"}]})).await;
            if made("a").await > first {
                break;
            }
            ingresses.delete("a", &DeleteParams::default()).await.unwrap();
        }
    });
    later.await.unwrap();
    let mut seen = ingress::follow_all(&place.client, NEVER).boxed();
    let Some(Seen::All(all)) = seen.next().await else {
        panic!("the first that is seen is a list");
    };
    let ours = all
        .iter()
        .filter(|(asker, _)| *asker.namespace == *place.namespace);
    let names: Vec<_> = ours.map(|(asker, _)| &*asker.name).collect();
    assert_eq!(names, ["z", "a"]);
}

#[tokio::test]
async fn s03_changes_are_seen_as_they_happen() {
    let place = Place::new("changes").await;
    let mut view = View::new(&place, NEVER);
    view.shows(&[]).await;
    apply_ingress(&place.admin, &place.namespace, "one", &["a.example.com"])
        .await
        .unwrap();
    view.shows(&[("one", &["a.example.com"])]).await;
    apply_ingress(&place.admin, &place.namespace, "two", &["b.example.com"])
        .await
        .unwrap();
    apply_ingress(&place.admin, &place.namespace, "one", &["c.example.com"])
        .await
        .unwrap();
    view.shows(&[("one", &["c.example.com"]), ("two", &["b.example.com"])])
        .await;
    delete_ingress(&place.admin, &place.namespace, "one")
        .await
        .unwrap();
    view.shows(&[("two", &["b.example.com"])]).await;
}

#[tokio::test]
async fn an_api_server_that_comes_back_is_followed_again() {
    let mut kube = Kube::start().await.unwrap();
    let namespace = "default";
    let admin = kube.client().await.unwrap();
    apply_ingress(&admin, namespace, "before", &["a.example.com"])
        .await
        .unwrap();
    let client = client_of(&kube.admin_kubeconfig()).await;
    let seen = ingress::follow_all(&client, NEVER).boxed();
    let mut view = View {
        seen,
        namespace: namespace.to_owned(),
        hosts: BTreeMap::new(),
    };
    view.shows(&[("before", &["a.example.com"])]).await;

    kube.restart().await.unwrap();
    delete_ingress(&admin, namespace, "before").await.unwrap();
    apply_ingress(&admin, namespace, "after", &["b.example.com"])
        .await
        .unwrap();
    view.shows(&[("after", &["b.example.com"])]).await;

    // The same with etcd gone for a while: no answer then is of any use.
    kube.stop();
    kube.start_again().await.unwrap();
    apply_ingress(&admin, namespace, "last", &["c.example.com"])
        .await
        .unwrap();
    view.shows(&[("after", &["b.example.com"]), ("last", &["c.example.com"])])
        .await;
}

#[tokio::test]
async fn where_watching_is_forbidden_changes_are_listed() {
    let kube = Kube::shared().await.unwrap();
    let place = Place::bare(kube, "no-watch").await;
    let Identity::ServiceAccount { name, .. } = Identity::service_account(&place.namespace, &place.namespace)
    else {
        unreachable!()
    };
    let rights = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [{"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": place.namespace}],
        },
    ]});
    kube.apply(&rights.to_string()).await.unwrap();

    apply_ingress(&place.admin, &place.namespace, "one", &["a.example.com"])
        .await
        .unwrap();
    let mut view = View::new(&place, Duration::from_millis(50));
    view.shows(&[("one", &["a.example.com"])]).await;
    apply_ingress(&place.admin, &place.namespace, "two", &["b.example.com"])
        .await
        .unwrap();
    view.shows(&[("one", &["a.example.com"]), ("two", &["b.example.com"])])
        .await;
    delete_ingress(&place.admin, &place.namespace, "one")
        .await
        .unwrap();
    view.shows(&[("two", &["b.example.com"])]).await;
    assert_eq!(place.requests("watch", "ingresses").len(), 1, "one try to watch");
}

#[tokio::test]
async fn s04_only_secrets_with_the_label_are_seen() {
    let place = Place::new("s04").await;
    let secrets = place.secrets();
    let create = async |name: &str, labels: Value| {
        let secret = json!({"metadata": {"name": name, "labels": labels}, "stringData": {"cert": "c"}});
        secrets
            .create(&PostParams::default(), &serde_json::from_value(secret).unwrap())
            .await
            .unwrap();
    };
    create("other", json!({})).await;
    create("mine", json!({HOSTLABEL: "wild--card.example.com"})).await;

    let mut seen = follow_held(&place.client, place.layout(), NEVER).boxed();
    assert_eq!(seen.next().await, Some(SeenSecret::Listing));
    let mut next = async || tokio::time::timeout(SOON, seen.next()).await.unwrap().unwrap();
    let SeenSecret::All(all) = next().await else {
        panic!("a list comes first")
    };
    let [(host, held)] = all.as_slice() else {
        panic!("one carries the label: {all:?}")
    };
    assert_eq!(host.as_ref().unwrap().to_string(), "*.example.com");
    assert_eq!(&*held.secret, "mine");
    assert!(held.content.is_err());

    create("later", json!({HOSTLABEL: "not a host".replace(' ', "_")})).await;
    let SeenSecret::Changed { secret, host, .. } = next().await else {
        panic!("a change comes")
    };
    assert_eq!((&*secret, host), ("later", None));

    let unlabel = json!({"metadata": {"labels": {HOSTLABEL: null}}});
    secrets
        .patch("later", &PatchParams::default(), &Patch::Merge(unlabel))
        .await
        .unwrap();
    assert_eq!(
        next().await,
        SeenSecret::Gone {
            secret: "later".into()
        }
    );
    secrets.delete("mine", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        next().await,
        SeenSecret::Gone {
            secret: "mine".into()
        }
    );
}

async fn create_ingress(place: &Place, name: &str, spec: Value) {
    let ingress: Ingress = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    let ingresses: Api<Ingress> = Api::namespaced(place.admin.clone(), &place.namespace);
    ingresses.create(&PostParams::default(), &ingress).await.unwrap();
}

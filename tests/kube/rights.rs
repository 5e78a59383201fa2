//! What `deploy/` gives and does not give; that it gives enough is shown by every other test.

use faythe::cluster::Fault;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, DeleteParams, ListParams, PostParams};

use crate::place::Place;

#[track_caller]
fn assert_forbidden<T: std::fmt::Debug>(result: kube::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(Fault::of(&error), Fault::Forbidden, "{error}");
}

#[tokio::test]
async fn secrets_of_other_namespaces_stay_closed() {
    let place = Place::new("closed").await;
    let ours: Api<Secret> = Api::namespaced(place.client.clone(), &place.namespace);
    assert!(ours.list(&ListParams::default()).await.unwrap().items.is_empty());

    for namespace in ["default", "kube-system"] {
        let theirs: Api<Secret> = Api::namespaced(place.client.clone(), namespace);
        assert_forbidden(theirs.get("any").await);
        assert_forbidden(theirs.list(&ListParams::default()).await);
        assert_forbidden(theirs.create(&PostParams::default(), &secret("any")).await);
    }
    assert_forbidden(
        Api::<Secret>::all(place.client.clone())
            .list(&ListParams::default())
            .await,
    );
}

#[tokio::test]
async fn nothing_else_is_open() {
    let place = Place::new("nothing-else").await;
    let ingresses: Api<Ingress> = Api::namespaced(place.client.clone(), "default");
    assert!(ingresses.list(&ListParams::default()).await.is_ok());
    assert_forbidden(ingresses.delete("any", &DeleteParams::default()).await);

    let leases: Api<Lease> = Api::namespaced(place.client.clone(), &place.namespace);
    assert_eq!(leases.get_opt("faythe").await.unwrap(), None);
    assert_forbidden(leases.get_opt("another").await);
    assert_forbidden(leases.list(&ListParams::default()).await);

    let config_maps: Api<ConfigMap> = Api::namespaced(place.client.clone(), &place.namespace);
    assert_forbidden(config_maps.list(&ListParams::default()).await);
    let ours: Api<Secret> = Api::namespaced(place.client.clone(), &place.namespace);
    assert_forbidden(
        ours.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await,
    );
}

fn secret(name: &str) -> Secret {
    let mut secret = Secret::default();
    secret.metadata.name = Some(name.to_owned());
    secret
}

//! The objects that tests put into the cluster.

use ::kube::Client;
use ::kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use anyhow::Result;
use k8s_openapi::api::core::v1::{Namespace, NamespaceSpec};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

/// The field manager of the bed's own writes.
pub const MANAGER: &str = "faythe-bed";

/// Creates a namespace, or leaves it as it is.
pub async fn create_namespace(client: &Client, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    namespaces
        .patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(namespace))
        .await?;
    Ok(())
}

/// Creates an Ingress with a rule for each host, or makes an existing one ask for these hosts alone.
pub async fn apply_ingress(client: &Client, namespace: &str, name: &str, hosts: &[&str]) -> Result<Ingress> {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    Ok(ingresses
        .patch(name, &parameters, &Patch::Apply(ingress(namespace, name, hosts)))
        .await?)
}

/// Deletes an Ingress.
pub async fn delete_ingress(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    ingresses.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Deletes a namespace and its Ingresses, as the controller does that the bed does not have.
pub async fn delete_namespace(client: &Client, name: &str) -> Result<()> {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), name);
    let all = ListParams::default();
    ingresses
        .delete_collection(&DeleteParams::default(), &all)
        .await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.delete(name, &DeleteParams::default()).await?;
    let mut namespace = namespaces.get(name).await?;
    namespace.spec = Some(NamespaceSpec::default());
    namespaces
        .replace_subresource::<Namespace>("finalize", name, &PostParams::default(), &namespace)
        .await?;
    Ok(())
}

/// An Ingress with a rule for each host, as a client writes it.
pub fn ingress(namespace: &str, name: &str, hosts: &[&str]) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let http = json!({ "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] });
    let rules: Vec<Value> = hosts
        .iter()
        .map(|host| json!({ "host": host, "http": http }))
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "rules": rules },
    })
}

/// The same with what the API server adds before it stores one.
pub(super) fn stored_ingress(namespace: &str, name: &str, hosts: &[&str]) -> Value {
    let mut ingress = ingress(namespace, name, hosts);
    let metadata = json!({
        "namespace": namespace,
        "name": name,
        // An owner is told apart by it, so no two objects may have the same.
        "uid": uid(),
        "creationTimestamp": jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
        "generation": 1,
    });
    if let Some(object) = ingress.as_object_mut() {
        object.insert("metadata".to_owned(), metadata);
        object.insert("status".to_owned(), json!({ "loadBalancer": {} }));
    }
    ingress
}

/// A random identifier in the form of a version 4 UUID (RFC 9562 §5.4).
fn uid() -> String {
    use std::hash::{BuildHasher, RandomState};
    let (high, low) = (RandomState::new().hash_one(0), RandomState::new().hash_one(1));
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0x0fff);
    let (d, e) = (0x8000 | (low >> 48) & 0x3fff, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
}

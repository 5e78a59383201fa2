//! What `deploy/` brings into a cluster, as the API server has it after `kubectl apply --kustomize`.

use faythe_bed::kube::Kube;
use faythe_bed::scratch::Scratch;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::Api;

use crate::place::deploy;

/// The namespace of everything there.
const NAMESPACE: &str = "faythe";

/// Applies it all; several tests may do so at a time.
async fn applied() -> (Client, String) {
    let kube = Kube::shared().await.unwrap();
    kube.apply_path(&deploy("namespace.yaml")).await.unwrap();
    let directory = deploy("");
    let manifests = kube
        .kubectl(&["kustomize", directory.to_str().unwrap()], "")
        .await
        .unwrap();
    let applied = kube
        .kubectl(
            &["apply", "--server-side", "--validate=strict", "-f", "-"],
            &manifests,
        )
        .await
        .unwrap();
    (kube.client().await.unwrap(), applied)
}

#[tokio::test]
async fn the_api_server_takes_every_manifest() {
    let (_, applied) = applied().await;
    assert_eq!(applied.lines().count(), 10, "{applied}");
}

#[tokio::test]
async fn the_daemon_is_not_root_writes_nowhere_and_has_its_limits() {
    let (client, _) = applied().await;
    let deployments: Api<Deployment> = Api::namespaced(client, NAMESPACE);
    let deployment = deployments.get("faythe").await.unwrap();
    let pod = deployment.spec.template.spec.unwrap();
    let security = pod.security_context.unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert!(security.run_as_user.unwrap() > 0);
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");

    assert_eq!(pod.containers.len(), 1);
    let container = &pod.containers[0];
    let security = container.security_context.as_ref().unwrap();
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(security.allow_privilege_escalation, Some(false));
    let capabilities = security.capabilities.as_ref().unwrap();
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert_eq!(capabilities.add, None);
    for mount in container.volume_mounts.iter().flatten() {
        assert_eq!(mount.read_only, Some(true), "{}", mount.mount_path);
    }
    let resources = container.resources.as_ref().unwrap();
    for bounds in [&resources.requests, &resources.limits] {
        let bounds = bounds.as_ref().unwrap();
        assert!(bounds.contains_key("cpu") && bounds.contains_key("memory"));
    }
}

#[tokio::test]
async fn the_configuration_is_good_and_names_the_key_that_is_mounted() {
    let (client, _) = applied().await;
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let config = config_maps.get("faythe").await.unwrap().data.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    let tsig = secrets.get("faythe-tsig").await.unwrap().data.unwrap();

    let scratch = Scratch::new("deploy").unwrap();
    let key = scratch.write("tsig.key", &tsig["tsig.key"].0).unwrap();
    let mounted = "/etc/faythe-tsig/tsig.key";
    assert!(config["config.json"].contains(mounted));
    let here = config["config.json"].replace(mounted, key.to_str().unwrap());
    let file = scratch.write("config.json", here).unwrap();
    let (_, warnings) = faythe::config::load(&file).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
}

//! Being started, and what each key of the configuration changes (S01, S02, S07, S14, S15).
//!
//! Keys that other numbers are about are with those: `val_dns_servers` (S10), `issue_wildcard_certs` and its prefix
//! (S11), `issue_grace` (S13), `renewal_threshold` (S05).

use std::fs;
use std::path::Path;

use faythe_bed::faythe::{Faythe, Launch};
use faythe_bed::kube::Identity;
use faythe_bed::{Bed, Setup, pebble};
use serde_json::{Value, json};

use crate::live::stage::{FAYTHE, SOON, Stage, entry, label_of, soon, with};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn s01_the_sample_configuration_runs_a_daemon() {
    let sample = fs::read_to_string(repository().join("config.json")).unwrap();
    let sample: Value = serde_json::from_str(&sample).unwrap();
    let bed = Bed::start().await.unwrap();
    let real = bed.config();
    // What stands for the user's own servers and files is replaced, and nothing else.
    let mut keys = json!({});
    for key in [
        "secret_namespace",
        "lets_encrypt_url",
        "auth_dns_server",
        "auth_dns_zone",
        "auth_dns_key",
        "val_dns_servers",
        "listen",
    ] {
        assert!(sample.get(key).is_some(), "the sample has no {key}");
        keys[key] = real[key].clone();
    }
    keys["acme_root_certificates"] = real["acme_root_certificates"].clone();

    // The bed starts `faythe config.json`.
    let faythe = bed.faythe(FAYTHE, with(sample.clone(), keys)).await.unwrap();
    faythe.ready(SOON).await.unwrap();
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();
    bed.certificate_for(&host, SOON).await.unwrap();
    let secret = bed.secret_for(&host).await.unwrap().unwrap();
    let label = sample["secret_hostlabel"].as_str().unwrap();
    assert_eq!(secret.metadata.labels.unwrap()[label], host);
}

#[tokio::test]
async fn s02_kubeconfig_path_is_not_used_and_one_warning_says_so() {
    let keys = json!({ "kubeconfig_path": "/nowhere/kubeconfig" });
    let stage = Stage::start_as(Setup::default(), keys).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    let warnings = stage.lines(&["kubeconfig_path"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for word in ["WARN", "not used", "KUBECONFIG"] {
        assert!(warnings[0].contains(word), "{warnings:?}");
    }
}

#[tokio::test]
async fn s02_the_update_server_may_have_a_name() {
    let bed = Bed::start().await.unwrap();
    let keys = json!({ "auth_dns_server": format!("localhost:{}", bed.bind.address().port()) });
    let stage = Stage::on(bed, keys).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
}

#[tokio::test]
async fn s02_the_label_key_is_the_operators() {
    let keys = json!({ "secret_hostlabel": "tls.example.org/for" });
    let stage = Stage::start_as(Setup::default(), keys).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    let secret = stage.bed.secret_for(&host).await.unwrap().unwrap();
    let labels = secret.metadata.labels.unwrap();
    assert_eq!(labels["tls.example.org/for"], host);
    assert!(!labels.contains_key(&label_of(&stage.bed)));
}

#[tokio::test]
async fn s02_monitor_interval_paces_the_re_sync_where_watching_is_forbidden() {
    let mut bed = Bed::start().await.unwrap();
    bed.identity = Identity::service_account(&bed.secret_namespace, "lists-only");
    let rights = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{ name: lists-only-{zone} }}
rules:
- {{ apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list] }}
- {{ apiGroups: [''], resources: [secrets], verbs: [get, list, create, patch, update, delete] }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{ name: lists-only-{zone} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lists-only-{zone} }}
subjects: [{{ kind: ServiceAccount, name: lists-only, namespace: {namespace} }}]
",
        zone = bed.zone,
        namespace = bed.secret_namespace
    );
    bed.kube.apply(&rights).await.unwrap();
    let stage = Stage::on(bed, json!({ "monitor_interval": 300 })).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    let lists = || {
        let requests = stage.bed.kube.requests_by(&stage.bed.identity.username());
        let requests = requests.unwrap();
        let lists = requests
            .iter()
            .filter(|request| (request.verb.as_str(), request.code) == ("list", 200));
        lists.filter(|request| request.resource == "ingresses").count()
    };
    let before = lists();
    soon("Ingresses are listed again, and again", async || {
        Ok(lists() >= before + 2)
    })
    .await;
}

#[tokio::test]
async fn s02_key_type_makes_keys_as_the_old_tool_did() {
    let keys = json!({ "key_type": "rsa-2048" });
    let stage = Stage::start_as(Setup::default(), keys).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    // Also checks that the key in the Secret is that of the certificate.
    stage.certificate(&host).await;
    let secret = stage.bed.secret_for(&host).await.unwrap().unwrap();
    let key = rcgen::KeyPair::from_pem(&entry(&secret, "key")).unwrap();
    assert_eq!(key.algorithm(), &rcgen::PKCS_RSA_SHA256);
    // The modulus of 256 octets, the exponent, and a few octets of DER around them.
    assert!((260..300).contains(&rcgen::PublicKeyData::der_bytes(&key).len()));
}

#[tokio::test]
async fn s02_without_listen_it_works_all_the_same() {
    let bed = Bed::start().await.unwrap();
    let faythe = bed
        .faythe(FAYTHE, with(bed.config(), json!({ "listen": "off" })))
        .await
        .unwrap();
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();
    bed.certificate_for(&host, SOON).await.unwrap();
    faythe.process().check_running().unwrap();
}

#[tokio::test]
async fn s02_an_address_that_is_taken_is_said_and_ends_the_start() {
    let stage = Stage::start().await;
    let second = stage.bed.faythe(FAYTHE, stage.bed.config()).await.unwrap();
    assert_eq!(second.wait(SOON).await.unwrap().code(), Some(1));
    let address = stage.bed.config()["listen"].as_str().unwrap().to_owned();
    for word in ["`listen`", &address] {
        assert!(second.log().contains(word), "{}", second.log());
    }
}

#[tokio::test]
async fn s07_a_host_gets_its_certificate() {
    let stage = Stage::start().await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    let certificate = stage.certificate(&host).await;
    assert_eq!(certificate.names, [host.as_str()]);
    assert_eq!(stage.bed.pebble.orders_created(), 1);
    let told = stage.event("web", "CertificateIssued", &[&host]).await;
    assert!(told.contains("valid until"), "{told}");
}

#[tokio::test]
async fn s07_many_hosts_of_a_ca_that_refuses_nonces_and_reuses_authorizations() {
    let setup = Setup {
        pebble: pebble::Setup::default().with_pebbles_chances(),
        ..Setup::default()
    };
    let stage = Stage::start_as(setup, json!({})).await;
    let mut hosts = Vec::new();
    for number in 0..10 {
        let names = ["", "*.", "a.", "b."].map(|label| stage.host(&format!("{label}n{number}")));
        stage
            .ask(&format!("web{number}"), &names.each_ref().map(String::as_str))
            .await;
        hosts.extend(names);
    }
    for host in &hosts {
        stage.certificate(host).await;
    }
    stage.reach("valid", 40).await;
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 40);
    assert_eq!(stage.bed.pebble.certificates_issued(), 40);
    assert_eq!(stage.bed.pebble.accounts_created(), 1);
}

#[tokio::test]
async fn s14_no_other_program_is_needed() {
    let bed = Bed::start().await.unwrap();
    let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await.unwrap();
    let faythe = Faythe::start(Launch {
        binary: FAYTHE.into(),
        config: bed.config(),
        environment: vec![
            ("KUBECONFIG".to_owned(), kubeconfig.display().to_string()),
            ("PATH".to_owned(), String::new()),
        ],
    })
    .unwrap();
    let environment = fs::read_to_string(format!("/proc/{}/environ", faythe.process().id())).unwrap();
    assert!(environment.split('\0').any(|variable| variable == "PATH="));
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();
    bed.certificate_for(&host, SOON).await.unwrap();
}

/// That Nix takes the file is looked at by `.ci/nix`; what it offers is the subject here.
#[test]
fn s15_the_shell_of_nix_has_what_building_and_testing_need() {
    let flake = fs::read_to_string(repository().join("flake.nix")).unwrap();
    for part in [
        "devShells",
        "pkgs.cargo",
        "pkgs.rustc",
        "pkgs.clippy",
        "pkgs.rustfmt",
        "pkgs.go",
        "pkgs.bind",
        "pkgs.gnumake",
    ] {
        assert!(flake.contains(part), "flake.nix has no {part}");
    }
}

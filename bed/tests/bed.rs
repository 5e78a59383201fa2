//! The bed itself, without faythe: every server starts, does its part, and goes.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use faythe_bed::bind::{self, Bind};
use faythe_bed::kube::{Identity, Kube, client_of, objects};
use faythe_bed::pebble::{self, Pebble};
use faythe_bed::ports::Port;
use faythe_bed::process::{Process, Signal, killed_by};
use faythe_bed::scratch::Scratch;
use faythe_bed::{Bed, Setup, until};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;

/// For what takes milliseconds on a machine with nothing else to do.
const SOON: Duration = Duration::from_secs(20);

fn hosts(ingress: &Ingress) -> Vec<String> {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.filter_map(|rule| rule.host.clone()).collect()
}

#[tokio::test]
async fn an_ingress_that_was_applied_is_in_the_cluster() {
    let bed = Bed::start().await.unwrap();
    let (one, two) = (bed.host("one"), bed.host("*.two"));
    bed.ingress("web", &[&one, &two]).await.unwrap();

    let ingresses: Api<Ingress> = Api::all(bed.kube.client().await.unwrap());
    let all = ingresses.list(&kube::api::ListParams::default()).await.unwrap();
    let ours = all
        .iter()
        .find(|ingress| ingress.metadata.namespace.as_deref() == Some(&bed.namespace))
        .unwrap();
    assert_eq!(hosts(ours), [one, two]);

    bed.delete_ingress("web").await.unwrap();
    let ingresses: Api<Ingress> = Api::namespaced(bed.client.clone(), &bed.namespace);
    assert!(ingresses.get_opt("web").await.unwrap().is_none());
}

#[tokio::test]
async fn an_ingress_stored_past_the_api_server_is_served_by_it() {
    let bed = Bed::start().await.unwrap();
    let impossible = bed.host("under_score");
    let refused = bed.ingress("bad", &[&impossible]).await.unwrap_err();
    assert!(format!("{refused:#}").contains("Invalid value"), "{refused:#}");

    bed.kube
        .store_ingress_unchecked(&bed.namespace, "bad", &[&impossible, "*", "a..b"])
        .await
        .unwrap();
    let ingresses: Api<Ingress> = Api::namespaced(bed.client.clone(), &bed.namespace);
    // The server watches etcd; a read from its cache may be some milliseconds behind.
    let found = until(SOON, "the Ingress is served", async || {
        Ok(ingresses.get_opt("bad").await?)
    })
    .await
    .unwrap();
    assert_eq!(hosts(&found), [impossible.as_str(), "*", "a..b"]);
    assert!(found.metadata.uid.is_some());
}

#[tokio::test]
async fn the_api_server_lets_a_label_over_63_characters_through() {
    let bed = Bed::start().await.unwrap();
    bed.ingress("long", &[&bed.host(&"x".repeat(64))]).await.unwrap();
    bed.ingress("longer", &[&bed.host(&"x".repeat(254))])
        .await
        .unwrap_err();
}

#[tokio::test]
async fn an_identity_may_do_what_its_manifests_grant_and_no_more() {
    let bed = Bed::start().await.unwrap();
    let account = Identity::service_account(&bed.namespace, "reader");
    let user = Identity::user(&format!("{}-stranger", bed.namespace));
    let namespace = &bed.namespace;
    let manifests = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ namespace: {namespace}, name: reader }}
rules: [{{ apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list] }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ namespace: {namespace}, name: reader }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader }}
subjects: [{{ kind: ServiceAccount, namespace: {namespace}, name: reader }}]
"
    );
    bed.kube.apply(&manifests).await.unwrap();

    let reader = client_of(&bed.kube.kubeconfig_for(&account).await.unwrap())
        .await
        .unwrap();
    let listed = until(SOON, "the grant is in force", async || {
        let ingresses: Api<Ingress> = Api::namespaced(reader.clone(), &bed.namespace);
        Ok(Some(ingresses.list(&kube::api::ListParams::default()).await?))
    });
    assert!(listed.await.unwrap().items.is_empty());
    let refused = objects::apply_ingress(&reader, &bed.namespace, "web", &["a.test"])
        .await
        .unwrap_err();
    assert!(format!("{refused:#}").contains("forbidden"), "{refused:#}");

    let stranger = client_of(&bed.kube.kubeconfig_for(&user).await.unwrap())
        .await
        .unwrap();
    let refused = objects::apply_ingress(&stranger, &bed.namespace, "web", &["a.test"])
        .await
        .unwrap_err();
    assert!(format!("{refused:#}").contains(&user.username()), "{refused:#}");
}

#[tokio::test]
async fn requests_are_counted_for_each_user() {
    let bed = Bed::start().await.unwrap();
    let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await.unwrap();
    let client = client_of(&kubeconfig).await.unwrap();
    assert_eq!(bed.writes().unwrap(), []);

    objects::apply_ingress(&client, &bed.namespace, "web", &[&bed.host("a")])
        .await
        .unwrap();
    bed.ingress("of-the-admin", &[&bed.host("b")]).await.unwrap();
    let ingresses: Api<Ingress> = Api::namespaced(client, &bed.namespace);
    ingresses.get("web").await.unwrap();

    let user = bed.identity.username();
    let get = async || {
        Ok(bed
            .kube
            .requests_by(&user)?
            .into_iter()
            .find(|request| request.verb == "get"))
    };
    let get = until(SOON, "the last request is in the audit log", get)
        .await
        .unwrap();
    assert_eq!((get.name.as_str(), get.code, get.is_write()), ("web", 200, false));
    let writes = bed.writes().unwrap();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(
        (writes[0].verb.as_str(), writes[0].resource.as_str()),
        ("patch", "ingresses")
    );
    assert_eq!(
        (&writes[0].namespace, writes[0].name.as_str()),
        (&bed.namespace, "web")
    );
}

#[tokio::test]
async fn an_api_server_comes_back_with_its_data() {
    let mut bed = Bed::start_as(Setup {
        own_kube: true,
        ..Setup::default()
    })
    .await
    .unwrap();
    bed.ingress("web", &[&bed.host("a")]).await.unwrap();
    let ingresses: Api<Ingress> = Api::namespaced(bed.client.clone(), &bed.namespace);

    bed.kube.own().unwrap().restart().await.unwrap();
    assert!(ingresses.get_opt("web").await.unwrap().is_some());

    bed.kube.own().unwrap().stop();
    assert!(ingresses.get_opt("web").await.is_err());
    bed.kube.own().unwrap().start_again().await.unwrap();
    assert!(ingresses.get_opt("web").await.unwrap().is_some());

    bed.kube.freeze();
    let frozen = tokio::time::timeout(Duration::from_millis(300), ingresses.get_opt("web")).await;
    assert!(frozen.is_err(), "a frozen server answered");
    bed.kube.thaw();
    assert!(ingresses.get_opt("web").await.unwrap().is_some());
}

#[tokio::test]
async fn pebble_is_reached_through_its_root_and_no_other() {
    let bind = Bind::start(bind::Setup::one_zone("a.test")).await.unwrap();
    let mut pebble = Pebble::start(pebble::Setup::default().with_shortlived(), bind.address())
        .await
        .unwrap();
    let directory = pebble.directory().await.unwrap();
    assert!(directory["newOrder"].is_string(), "{directory}");
    assert!(
        directory["meta"]["profiles"]["shortlived"].is_string(),
        "{directory}"
    );
    assert!(pebble.issuer_roots().await.unwrap().contains("BEGIN CERTIFICATE"));
    assert!(faythe_bed::http::get(&pebble.directory_url(), "").await.is_err());
    let root = std::fs::read_to_string(pebble.https_roots_file()).unwrap();
    assert_eq!(root, pebble.https_roots());
    assert_eq!(
        (
            pebble.orders_created(),
            pebble.certificates_issued(),
            pebble.accounts_created()
        ),
        (0, 0, 0)
    );

    let before = pebble.issuer_roots().await.unwrap();
    pebble.restart(pebble::Setup::default()).await.unwrap();
    assert_ne!(pebble.issuer_roots().await.unwrap(), before);
}

#[tokio::test]
async fn a_signed_update_is_seen_by_dig_and_survives_a_crash() {
    let mut bind = Bind::start(bind::Setup::one_zone("a.test")).await.unwrap();
    bind.add_txt("_acme-challenge.www.a.test", "one").await.unwrap();
    bind.add_txt("_acme-challenge.www.a.test", "two").await.unwrap();
    assert_eq!(
        bind.txt("_acme-challenge.www.a.test").await.unwrap(),
        ["one", "two"]
    );

    bind.stop();
    assert!(bind.txt("_acme-challenge.www.a.test").await.is_err());
    bind.start_again().await.unwrap();
    let name = "_acme-challenge.www.a.test".to_owned();
    let both = [(name.clone(), "one".to_owned()), (name.clone(), "two".to_owned())];
    assert_eq!(bind.all_txt("a.test").await.unwrap(), both);

    bind.delete_txt(&name).await.unwrap();
    assert_eq!(bind.all_txt("a.test").await.unwrap(), []);
    assert!(
        bind.update("update add www.a.test. 60 IN A 192.0.2.1")
            .await
            .is_err(),
        "only TXT is granted"
    );
    assert!(
        bind.add_txt("_acme-challenge.b.test", "one").await.is_err(),
        "the zone is not served"
    );
}

#[tokio::test]
async fn every_algorithm_signs() {
    for algorithm in bind::Algorithm::ALL {
        let key = bind::Key::new("k", algorithm);
        let setup = bind::Setup {
            keys: vec![key],
            ..bind::Setup::one_zone("a.test")
        };
        let bind = Bind::start(setup).await.unwrap();
        bind.add_txt("a.test", "value").await.unwrap();
        assert_eq!(bind.txt("a.test").await.unwrap(), ["value"]);
    }
}

#[tokio::test]
async fn a_secondary_gets_each_change_unless_it_is_frozen() {
    let (primary, secondary) = Bind::start_with_secondary(bind::Setup::one_zone("a.test"))
        .await
        .unwrap();
    for value in ["one", "two"] {
        primary.add_txt(value, "value").await.unwrap_err();
        let name = format!("{value}.a.test");
        primary.add_txt(&name, value).await.unwrap();
        let seen = async || Ok((secondary.txt(&name).await? == [value]).then_some(()));
        until(SOON, "the secondary has the value", seen).await.unwrap();
    }
    secondary.freeze();
    assert!(secondary.txt("one.a.test").await.is_err());
    secondary.thaw();
    assert_eq!(secondary.txt("one.a.test").await.unwrap(), ["one"]);
}

#[test]
fn ports_are_given_out_once() {
    let ports: Vec<Port> = (0..200).map(|_| Port::claim().unwrap()).collect();
    let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), ports.len());
}

#[tokio::test]
async fn a_process_is_measured_and_its_end_is_told() {
    let scratch = Scratch::new("process").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo started; while :; do :; done"]);
    let process = Process::start("shell", &shell, &scratch.path().join("log")).unwrap();
    until(SOON, "the shell has worked", async || {
        Ok((process.log() == "started\n" && process.cpu_time()? >= Duration::from_millis(20)).then_some(()))
    })
    .await
    .unwrap();
    assert!(process.memory().unwrap() > 100_000);
    process.check_running().unwrap();

    process.signal(Signal::TERM);
    assert!(killed_by(process.wait(SOON).await.unwrap(), Signal::TERM));
    assert!(
        process
            .check_running()
            .unwrap_err()
            .to_string()
            .contains("started")
    );
}

#[tokio::test]
async fn nothing_is_left_after_a_drop() {
    let bind = Bind::start(bind::Setup::one_zone("a.test")).await.unwrap();
    let pebble = Pebble::start(pebble::Setup::default(), bind.address())
        .await
        .unwrap();
    let kube = Kube::start().await.unwrap();
    let ids = [bind.process(), pebble.process(), kube.server()].map(|process| process.unwrap().id());
    let directories = [
        bind.key_file(),
        pebble.https_roots_file(),
        kube.admin_kubeconfig(),
    ];
    drop((kube, pebble, bind));
    assert!(ids.iter().all(|id| is_gone(*id)));
    assert!(directories.iter().all(|file| !file.parent().unwrap().exists()));
}

/// In the environment of a test program that is to be killed: where it writes whom it started.
const DOOMED: &str = "FAYTHE_BED_DOOMED";

#[tokio::test]
async fn nothing_is_left_after_the_parent_was_killed() {
    if let Some(file) = std::env::var_os(DOOMED) {
        return wait_to_be_killed(Path::new(&file)).await.unwrap();
    }
    let scratch = Scratch::new("doomed").unwrap();
    let file = scratch.path().join("children");
    let mut program = Command::new(std::env::current_exe().unwrap());
    program
        .args([
            "--exact",
            "nothing_is_left_after_the_parent_was_killed",
            "--nocapture",
        ])
        .env(DOOMED, &file);
    let parent = Process::start("doomed", &program, &scratch.path().join("log")).unwrap();
    let text = until(
        Duration::from_secs(60),
        "the other program has its servers",
        async || {
            parent.check_running()?;
            Ok(std::fs::read_to_string(&file)
                .ok()
                .filter(|text| text.ends_with("end\n")))
        },
    );
    let text = text.await.unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.pop(), Some("end"));
    let directory = PathBuf::from(lines.pop().unwrap());
    let ids: Vec<u32> = lines.iter().map(|line| line.parse().unwrap()).collect();
    assert!(ids.iter().all(|id| !is_gone(*id)) && directory.is_dir());

    parent.kill();
    until(SOON, "its servers and files are gone", async || {
        Ok((ids.iter().all(|id| is_gone(*id)) && !directory.exists()).then_some(()))
    })
    .await
    .unwrap();
}

/// Starts servers, writes their ids and the directory of all their files, and never ends.
async fn wait_to_be_killed(file: &Path) -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut text = String::new();
    for process in [bed.bind.process()?, bed.pebble.process()?, bed.kube.server()?] {
        writeln!(text, "{}", process.id())?;
    }
    let key_file = bed.bind.key_file();
    let directory = key_file
        .ancestors()
        .nth(2)
        .context("a file in a directory in a directory")?;
    writeln!(text, "{}\nend", directory.display())?;
    std::fs::write(file, text)?;
    std::future::pending().await
}

/// Whether a process is no more. One that nobody has waited for yet counts as gone.
fn is_gone(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    stat.map_or(true, |text| {
        text.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
    })
}

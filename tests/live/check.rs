//! `faythe check`: a line for each thing that the daemon will need.

use std::path::Path;

use faythe_bed::bind::{self, Algorithm, Key};
use faythe_bed::dns_proxy::{DnsProxy, Fault, Opcode, Rule};
use faythe_bed::kube::{Identity, shipped_rights};
use faythe_bed::ports::Port;
use faythe_bed::scratch::Scratch;
use faythe_bed::{Bed, Setup};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::live::look::said;
use crate::live::stage::{FAYTHE, Stage, with};
use crate::live::zones::one_zone;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The lines that failed.
    fn failures(&self) -> Vec<&str> {
        self.stdout
            .lines()
            .filter(|line| !line.starts_with("pass  "))
            .collect()
    }

    /// Checks that attention is wanted for these lines and no others; each is given by words it has.
    #[track_caller]
    fn assert_failures(&self, expected: &[&[&str]]) {
        assert_eq!(self.code, Some(3), "{self:?}");
        let failures = self.failures();
        assert_eq!(failures.len(), expected.len(), "{failures:#?}");
        for (line, words) in failures.iter().zip(expected) {
            assert!(line.starts_with("FAIL  "), "{line}");
            for word in *words {
                assert!(line.contains(word), "no {word:?} in {line:?}");
            }
        }
    }
}

/// Runs the program to its end.
pub(crate) async fn run(command: &mut Command) -> Run {
    let output = command.kill_on_drop(true).output().await.unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Run {
        code: output.status.code(),
        stdout,
        stderr,
    }
}

/// Runs `faythe check` with a configuration, under the identity of a bed.
pub(crate) async fn check(bed: &Bed, binary: impl AsRef<Path>, config: Value) -> Run {
    let scratch = Scratch::new("check").unwrap();
    let file = scratch.write("config.json", config.to_string()).unwrap();
    let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await.unwrap();
    let mut command = Command::new(binary.as_ref());
    command.arg("check").arg(file).env("KUBECONFIG", kubeconfig);
    run(&mut command).await
}

async fn check_with(bed: &Bed, keys: Value) -> Run {
    check(bed, FAYTHE, with(bed.config(), keys)).await
}

#[tokio::test]
async fn all_well_is_a_pass_on_each_line_and_leaves_nothing() {
    let bed = Bed::start_as(Setup {
        secondary: true,
        ..Setup::default()
    })
    .await
    .unwrap();
    let run = check_with(&bed, json!({})).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.failures(), [""; 0]);
    let secondary = bed.secondary.as_ref().unwrap().address();
    let primary = bed.bind.address();
    for part in [
        "configuration ".to_owned(),
        format!("{primary} holds zone {}, with serial 1", bed.zone),
        format!("our clock agrees with that of {primary}"),
        "ingresses in all namespaces".to_owned(),
        format!("secrets in namespace {}", bed.secret_namespace),
        "events in all namespaces".to_owned(),
        format!("{primary} adds TXT"),
        format!("{primary} shows TXT"),
        format!("{secondary} shows TXT"),
        format!("{primary} removes TXT"),
        format!("CA directory {}", bed.pebble.directory_url()),
    ] {
        assert!(run.stdout.contains(&part), "no {part:?} in {}", run.stdout);
    }
    assert_eq!(bed.bind.all_txt(&bed.zone).await.unwrap(), []);
    // It really was there.
    assert_eq!(bed.bind.serial(&bed.zone).await.unwrap(), 3);
    assert_eq!(
        bed.writes()
            .unwrap()
            .iter()
            .filter(|write| write.resource == "secrets")
            .count(),
        0
    );
    assert_eq!(
        (bed.pebble.accounts_created(), bed.pebble.orders_created()),
        (0, 0)
    );
}

#[tokio::test]
async fn a_wrong_key_is_told_with_its_remedy() {
    let bed = Bed::start().await.unwrap();
    let scratch = Scratch::new("keys").unwrap();
    let cases = [
        (Key::new("faythe", Algorithm::HmacSha256), "BADSIG", "secret"),
        (Key::new("unknown", Algorithm::HmacSha256), "BADKEY", "unknown"),
    ];
    for (key, code, remedy) in cases {
        let file = scratch.write("wrong.key", key.file()).unwrap();
        let run = check_with(&bed, json!({ "auth_dns_key": file })).await;
        run.assert_failures(&[
            &["adds TXT", code, remedy, &bed.zone],
            &["shows TXT", "not tried"],
            &["removes TXT", code],
        ]);
    }
}

#[tokio::test]
async fn a_name_server_that_is_dead_or_has_not_the_zone_is_told() {
    let bed = Bed::start().await.unwrap();
    let dead = Port::claim().unwrap().address().to_string();
    let other = faythe_bed::bind::Bind::start(faythe_bed::bind::Setup::one_zone("other.test"))
        .await
        .unwrap();
    let other = other.address().to_string();
    let run = check_with(&bed, json!({ "val_dns_servers": [dead, other] })).await;
    run.assert_failures(&[&[&dead, "shows TXT"], &[&other, "REFUSED"]]);
    assert_eq!(bed.bind.all_txt(&bed.zone).await.unwrap(), []);
}

#[tokio::test]
async fn p09_what_each_secondary_says_is_told_and_a_resolver_is_not_asked_too_early() {
    let mut bed = Bed::start_as(Setup {
        secondaries: 3,
        ..Setup::default()
    })
    .await
    .unwrap();
    let listed = DnsProxy::start(bed.bind.address()).await.unwrap();
    let (server, resolver) = (bed.bind.address(), listed.address().to_string());
    let config = one_zone(
        &bed,
        json!({ "val_dns_servers": [resolver], "profile": "default" }),
    );
    let run = check(&bed, FAYTHE, config.clone()).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let profile = format!("offers profile \"default\" of zone {}", bed.zone);
    assert!(run.stdout.contains(&profile), "{run:?}");
    assert!(!listed.passed().is_empty());

    bed.secondaries[0].hold();
    bed.secondaries[1].refuse().await.unwrap();
    bed.secondaries[2].die();
    let before = listed.passed().len();
    let run = check(&bed, FAYTHE, config).await;
    let names = [2, 3, 4].map(|n| format!("ns{n}.{} (127.0.0.{n}:{})", bed.zone, server.port()));
    run.assert_failures(&[
        &[&names[0], "answers without the record"],
        &[&names[1], "it answered REFUSED"],
        &[&names[2], "it did not answer"],
        &[&resolver, "not tried", "a resolver would remember"],
    ]);
    assert_eq!(listed.passed().len(), before, "the resolver was asked");
    assert_eq!(bed.bind.all_txt(&bed.zone).await.unwrap(), []);
}

#[tokio::test]
async fn p10_who_does_not_hold_the_zone_is_told_and_the_zone_stays_the_configured_one() {
    let bed = Bed::start().await.unwrap();
    let proxy = DnsProxy::start(bed.bind.address()).await.unwrap();
    // The end of a name, type SOA, class IN.
    let about_soa = |request: &[u8]| request.windows(5).any(|part| part == [0, 0, 6, 0, 1]);
    let no_zone = move |_, request: &[u8]| {
        if about_soa(request) {
            Fault::Rcode(3)
        } else {
            Fault::None
        }
    };
    proxy.set(Rule::of(no_zone).only(Opcode::Query));
    let server = proxy.address().to_string();
    let stage = Stage::on(bed, json!({ "auth_dns_server": server })).await;
    said(
        &stage.faythe,
        &["WARN", &server, "holds zone", "answered NXDOMAIN"],
    )
    .await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;

    // A resolver knows the zone and does not hold it.
    let resolver = bind::Bind::start(bind::Setup {
        resolves_at: Some(stage.bed.bind.address()),
        ..bind::Setup::default()
    })
    .await
    .unwrap();
    let server = resolver.address().to_string();
    let run = check_with(&stage.bed, json!({ "auth_dns_server": server })).await;
    let failures = run.failures();
    assert!(
        failures[0].contains(&format!("{server} holds zone")) && failures[0].contains("without authority"),
        "{run:?}"
    );
    assert_eq!(run.code, Some(3));
}

#[tokio::test]
async fn an_update_server_or_a_ca_that_is_dead_is_told_and_the_rest_is_tried() {
    let mut bed = Bed::start().await.unwrap();
    let dead = Port::claim().unwrap().address().to_string();
    bed.pebble.stop();
    let url = bed.pebble.directory_url();
    let run = check_with(&bed, json!({ "auth_dns_server": dead })).await;
    run.assert_failures(&[
        &[&dead, "holds zone"],
        &[&dead, "adds TXT"],
        &[&dead, "shows TXT"],
        &[&dead, "removes TXT"],
        &["CA directory", &url],
    ]);
}

#[tokio::test]
async fn each_missing_permission_is_told_with_its_remedy() {
    let mut bed = Bed::start().await.unwrap();
    let name = bed.secret_namespace.clone();
    let rights = shipped_rights(&name)
        .unwrap()
        .replace("verbs: [create]", "verbs: [get]")
        .replace("patch, update, delete]", "update]");
    bed.identity = Identity::service_account(&name, &name);
    bed.kube.apply(&rights).await.unwrap();
    let run = check_with(&bed, json!({})).await;
    run.assert_failures(&[
        &[
            "secrets in namespace",
            "not permitted to patch, delete",
            "deploy/rbac.yaml",
        ],
        &["events", "not permitted to create", "deploy/rbac.yaml"],
        &["leases", "not permitted to create", "deploy/rbac.yaml"],
    ]);
}

#[tokio::test]
async fn an_api_server_that_is_dead_is_told_and_the_rest_is_tried() {
    let bed = Bed::start().await.unwrap();
    let scratch = Scratch::new("check").unwrap();
    let dead = Port::claim().unwrap();
    let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await.unwrap();
    let kubeconfig = std::fs::read_to_string(kubeconfig).unwrap();
    let address = format!("https://{}", dead.address());
    let kubeconfig = kubeconfig.replace(&bed.kube.url(), &address);
    let kubeconfig = scratch.write("kubeconfig", kubeconfig).unwrap();
    let file = scratch.write("config.json", bed.config().to_string()).unwrap();
    let mut command = Command::new(FAYTHE);
    command.arg("check").arg(file).env("KUBECONFIG", kubeconfig);
    let run = run(&mut command).await;
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(
        run.failures().iter().all(|line| line.contains("permission to")),
        "{run:?}"
    );
    assert!(run.stdout.contains("cannot be asked"), "{run:?}");
    assert!(run.stdout.contains("pass  CA directory"), "{run:?}");
}

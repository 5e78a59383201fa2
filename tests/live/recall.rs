//! `faythe renew` and `faythe revoke`, with the daemon that obeys them, and without one.

use faythe_bed::pebble::{self, Pebble};
use faythe_bed::proxy::{Fault, Proxy};
use faythe_bed::scratch::Scratch;
use faythe_bed::{Bed, Setup};
use serde_json::{Value, json};
use tokio::process::Command;

use super::check::{Run, run};
use super::look::{self, NEW_ORDER, before_ca};
use super::stage::{FAYTHE, SOON, Stage, with, with_cas};

/// Runs the command on the bed of a stage.
async fn recall(stage: &Stage, command: &str, arguments: &[&str]) -> Run {
    recall_with(&stage.bed, &stage.bed.config(), command, arguments).await
}

/// Runs the command on a bed with this configuration, under the daemon's identity.
pub(crate) async fn recall_with(bed: &Bed, config: &Value, command: &str, arguments: &[&str]) -> Run {
    let scratch = Scratch::new("recall").unwrap();
    let path = scratch.write("config.json", config.to_string()).unwrap();
    let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await.unwrap();
    let mut program = Command::new(FAYTHE);
    program
        .arg(command)
        .arg(path)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig);
    run(&mut program).await
}

async fn is_revoked(stage: &Stage, serial: &str) -> bool {
    is_revoked_at(&stage.bed.pebble, serial).await
}

pub(crate) async fn is_revoked_at(ca: &Pebble, serial: &str) -> bool {
    let serial = serial.to_lowercase();
    let path = format!("/cert-status-by-serial/{}", serial.trim_start_matches("00"));
    ca.manage(&path).await.unwrap().contains("Revoked")
}

#[tokio::test]
async fn p22_a_certificate_is_renewed_and_revoked_by_hand() {
    // Names stay proven, so nobody has to wait until the CA has forgotten what it saw last.
    let setup = Setup {
        pebble: pebble::Setup::default().with_proven_names(),
        ..Setup::default()
    };
    let mut stage = Stage::start_as(setup, json!({})).await;
    let host = stage.host("www");
    let none = recall(&stage, "revoke", &[&host]).await;
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(none.stderr.contains("no certificate of ours is held"), "{none:?}");
    stage.ask("web", &[&host]).await;
    let first = stage.certificate(&host).await;

    // Another one at once, though the first has only just been stored.
    let renewed = recall(&stage, "renew", &[&host]).await;
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    let second = stage.certificate(&host).await;
    assert_ne!(first.serial, second.serial);

    // The replacement comes first, then the old one is revoked.
    let revoked = recall(&stage, "revoke", &[&host, "--reason", "keyCompromise"]).await;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let third = stage.certificate(&host).await;
    assert_ne!(second.serial, third.serial);
    let states = [&first, &second, &third].map(|certificate| certificate.serial.clone());
    let mut is = Vec::new();
    for serial in &states {
        is.push(is_revoked(&stage, serial).await);
    }
    assert_eq!(is, [false, true, false]);
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 3);

    // With no daemon it is stopped in between, and the next run goes on where it was.
    stage.faythe.terminate();
    stage.faythe.wait(SOON).await.unwrap();
    let stopped = recall(&stage, "revoke", &[&host, "--wait", "0"]).await;
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    assert!(stopped.stderr.contains("Repeat this command"), "{stopped:?}");
    assert!(!is_revoked(&stage, &third.serial).await);
    stage.faythe.restart().unwrap();
    let done = recall(&stage, "revoke", &[&host]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(is_revoked(&stage, &third.serial).await);
    let fourth = stage.certificate(&host).await;
    assert!(!is_revoked(&stage, &fourth.serial).await);

    // For a host that nobody wants any more; twice is as good as once.
    stage.bed.delete_ingress("web").await.unwrap();
    for _ in 0..2 {
        let gone = recall(&stage, "revoke", &[&host, "--without-replacement"]).await;
        assert_eq!(gone.code, Some(0), "{gone:?}");
    }
    assert!(is_revoked(&stage, &fourth.serial).await);
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 4);
    let secret = stage.bed.secret_for(&host).await.unwrap().unwrap();
    let annotations = json!(secret.metadata.annotations);
    assert_eq!(annotations["faythe/revoke"], json!(null), "{annotations}");
}

/// The CA pauses a new host, and it is said so.
async fn pause(stage: &Stage, proxy: &Proxy, label: &str) -> String {
    paused(proxy);
    let host = stage.host(label);
    stage.ask(label, &[&host]).await;
    let text = stage
        .event(label, "IssuanceFailed", &["https://portal.test/unpause"])
        .await;
    assert!(text.contains("or when `faythe renew` asks for it"), "{text}");
    host
}

fn paused(proxy: &Proxy) {
    let words = "Your account is temporarily prevented from requesting certificates. Please visit: \
                 https://portal.test/unpause?jwt=secret";
    proxy.fault(1, NEW_ORDER, Fault::problem(429, "rateLimited", words, None));
}

#[tokio::test]
async fn p22_a_name_that_was_paused_is_tried_when_somebody_asks() {
    let setup = Setup {
        pebble: pebble::Setup::default().with_proven_names(),
        ..Setup::default()
    };
    let bed = Bed::start_as(setup).await.unwrap();
    let (proxy, config) = before_ca(&bed).await;
    let quick = with(config.clone(), json!({ "issue_grace": 1000 }));
    let mut stage = Stage::of(bed, quick.clone()).await;
    // Unpaused at the CA, it would be tried tomorrow.
    let host = pause(&stage, &proxy, "a").await;
    let asked = recall_with(&stage.bed, &quick, "renew", &[&host]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let first = stage.certificate(&host).await;
    look::clean(&stage.bed, &stage.faythe).await;

    // A revocation whose replacement has failed asks for another when it is repeated.
    paused(&proxy);
    let fails = recall_with(&stage.bed, &quick, "revoke", &[&host]).await;
    assert_eq!(fails.code, Some(1), "{fails:?}");
    assert!(fails.stderr.contains("the CA has paused this name"), "{fails:?}");
    let done = recall_with(&stage.bed, &quick, "revoke", &[&host, "--wait", "30"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(is_revoked(&stage, &first.serial).await);
    look::clean(&stage.bed, &stage.faythe).await;

    // Within `issue_grace` it needs force, and then it is tried once.
    let slow = with(config, json!({ "issue_grace": 3_600_000 }));
    stage.restart_with(slow.clone()).await;
    let host = pause(&stage, &proxy, "b").await;
    let orders = proxy.count(NEW_ORDER);
    let waits = recall_with(&stage.bed, &slow, "renew", &[&host, "--wait", "0"]).await;
    assert_eq!(waits.code, Some(1), "{waits:?}");
    assert!(waits.stdout.contains("`issue_grace`"), "{waits:?}");
    paused(&proxy);
    let fails = recall_with(&stage.bed, &slow, "renew", &[&host, "--force"]).await;
    assert_eq!(fails.code, Some(1), "{fails:?}");
    assert!(fails.stderr.contains("the CA has paused this name"), "{fails:?}");
    assert!(!fails.stderr.contains("jwt=secret"), "{fails:?}");
    assert_eq!(proxy.count(NEW_ORDER), orders + 1);
    let done = recall_with(&stage.bed, &slow, "renew", &[&host, "--force"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(proxy.count(NEW_ORDER), orders + 2);
    look::clean(&stage.bed, &stage.faythe).await;

    let other = stage.host("nobody");
    let nothing = recall_with(&stage.bed, &slow, "renew", &[&other]).await;
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert!(
        nothing
            .stderr
            .contains(&format!("/{other}), and no attempt that has failed")),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn p22_nothing_is_asked_for_that_no_budget_has_room_for() {
    let bed = Bed::start().await.unwrap();
    let limits = json!({ "certificates_per_set": { "count": 1, "period": 1_000_000 } });
    let config = with_cas(bed.config(), json!({ "limits": limits }), []);
    let stage = Stage::of(bed, config.clone()).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    let held = stage.certificate(&host).await;
    stage.clean().await;
    // What has been counted is saved by then.
    stage.faythe.terminate();
    stage.faythe.wait(SOON).await.unwrap();
    for (command, arguments) in [
        ("revoke", &[&*host][..]),
        ("renew", &[&host]),
        ("renew", &[&host, "--force"]),
    ] {
        let refused = recall_with(&stage.bed, &config, command, arguments).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for words in [
            "certificates for exactly these names",
            "leaves no room",
            "nothing was changed",
        ] {
            assert!(refused.stderr.contains(words), "no {words:?} in {refused:?}");
        }
    }
    assert!(!is_revoked(&stage, &held.serial).await);
    let secret = stage.bed.secret_for(&host).await.unwrap().unwrap();
    let annotations = json!(secret.metadata.annotations);
    for asked in ["faythe/renew", "faythe/revoke"] {
        assert_eq!(annotations[asked], json!(null), "{annotations}");
    }
}

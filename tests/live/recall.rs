//! `faythe renew` and `faythe revoke`, with the daemon that obeys them, and without one.

use faythe_bed::pebble::{self, Pebble};
use faythe_bed::scratch::Scratch;
use faythe_bed::{Bed, Setup};
use serde_json::{Value, json};
use tokio::process::Command;

use super::check::{Run, run};
use super::stage::{FAYTHE, Stage};

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
    stage.faythe.wait(super::stage::SOON).await.unwrap();
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

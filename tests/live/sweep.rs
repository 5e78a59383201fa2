//! `faythe sweep`: what a killed Faythe left in the zone is named, and removed on demand; nobody else's is touched (P16).

use faythe_bed::scratch::Scratch;
use faythe_bed::until;
use tokio::process::Command;

use crate::live::check::{Run, run};
use crate::live::stage::{FAYTHE, SOON, Stage};

async fn sweep(stage: &Stage, flags: &[&str]) -> Run {
    let scratch = Scratch::new("sweep").unwrap();
    let file = scratch
        .write("config.json", stage.bed.config().to_string())
        .unwrap();
    let kubeconfig = stage.bed.kube.kubeconfig_for(&stage.bed.identity).await.unwrap();
    let mut command = Command::new(FAYTHE);
    command
        .arg("sweep")
        .arg(file)
        .args(flags)
        .env("KUBECONFIG", kubeconfig);
    run(&mut command).await
}

#[tokio::test]
async fn p16_a_killed_faythe_leaves_a_value_that_a_sweep_names_and_removes() {
    let stage = Stage::with_secondary().await;
    stage.bed.secondary.as_ref().unwrap().freeze();
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    let name = format!("_acme-challenge.{host}");
    let ours = until(SOON, "a value", async || {
        Ok(stage.bed.bind.txt(&name).await?.pop())
    })
    .await
    .unwrap();
    stage.faythe.kill();
    stage.bed.bind.add_txt(&name, "foreign").await.unwrap();

    let listed = sweep(&stage, &[]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    for word in ["in use", &name, &ours, "open at the CA"] {
        assert!(listed.stdout.contains(word), "no {word:?} in {listed:?}");
    }
    let kept = sweep(&stage, &["--remove"]).await;
    assert_eq!(
        kept.stdout, listed.stdout,
        "an order that is open keeps its value"
    );
    let removed = sweep(&stage, &["--remove", "--all"]).await;
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(
        removed.stdout.starts_with("removed") && !removed.stdout.contains("foreign"),
        "{removed:?}"
    );
    assert_eq!(stage.bed.bind.txt(&name).await.unwrap(), ["foreign"]);
    assert_eq!(sweep(&stage, &[]).await.stdout, "");
}

//! `faythe account`: what it shows and changes, with a daemon that runs all the while.

use faythe_bed::scratch::Scratch;
use tokio::process::Command;

use super::check::{Run, run};
use super::stage::{FAYTHE, Stage};

/// Runs the command on the bed of a stage, under the daemon's identity.
async fn account(stage: &Stage, action: &[&str]) -> Run {
    let scratch = Scratch::new("account").unwrap();
    let path = scratch
        .write("config.json", stage.bed.config().to_string())
        .unwrap();
    let kubeconfig = stage.bed.kube.kubeconfig_for(&stage.bed.identity).await.unwrap();
    let mut command = Command::new(FAYTHE);
    command
        .arg("account")
        .arg(path)
        .args(action)
        .env("KUBECONFIG", kubeconfig);
    run(&mut command).await
}

/// The word after this one at the beginning of a line.
fn field(shown: &Run, name: &str) -> String {
    let line = shown.stdout.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}: {shown:?}"))
        .trim()
        .to_owned()
}

#[tokio::test]
async fn p16_an_account_is_shown_and_changed_while_the_daemon_runs() {
    let stage = Stage::start().await;
    let none = account(&stage, &[]).await;
    assert_eq!(none.code, Some(0), "{none:?}");
    assert!(none.stdout.contains("no account at the CA yet"), "{none:?}");
    assert_eq!(account(&stage, &["rollover"]).await.code, Some(1));

    stage.ask("one", &[&stage.host("one")]).await;
    stage.certificate(&stage.host("one")).await;
    let first = account(&stage, &["show"]).await;
    assert_eq!(
        (first.code, field(&first, "status ")),
        (Some(0), "valid".to_owned()),
        "{first:?}"
    );
    assert_eq!(field(&first, "key "), "ecdsa-p256");
    let url = field(&first, "account ");

    let changed = account(&stage, &["rollover"]).await;
    assert_eq!(
        (changed.code, field(&changed, "account ")),
        (Some(0), url.clone()),
        "{changed:?}"
    );
    stage.ask("two", &[&stage.host("two")]).await;
    stage.certificate(&stage.host("two")).await;

    let moved = account(&stage, &["new"]).await;
    assert_eq!(moved.code, Some(0), "{moved:?}");
    assert_ne!(field(&moved, "account "), url);
    stage.ask("three", &[&stage.host("three")]).await;
    stage.certificate(&stage.host("three")).await;
    assert_eq!(stage.bed.pebble.accounts_created(), 2);
    let log = stage.faythe.log();
    assert!(!log.contains("WARN"), "{log}");
}

//! The program from outside: its arguments, a bad configuration, its endpoints and its log.

use std::collections::BTreeSet;

use faythe_bed::faythe::{Faythe, Launch};
use faythe_bed::ports::Port;
use faythe_bed::scratch::Scratch;
use faythe_bed::{Bed, Setup, pebble};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::live::check::{check, run};
use crate::live::stage::{FAYTHE, SOON, Stage, soon, with, with_cas};

#[tokio::test]
async fn version_and_help_are_no_failure() {
    let version = run(Command::new(FAYTHE).arg("--version")).await;
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, format!("faythe {}\n", env!("CARGO_PKG_VERSION")));

    let help = run(Command::new(FAYTHE).arg("--help")).await;
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for part in [
        "faythe",
        "check",
        "configuration file",
        "--log-format",
        "--version",
    ] {
        assert!(help.stdout.contains(part), "no {part:?} in {}", help.stdout);
    }
}

#[tokio::test]
async fn s01_without_a_configuration_it_says_how_to_call_it() {
    let nothing = run(&mut Command::new(FAYTHE)).await;
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("Usage: faythe"), "{}", nothing.stderr);

    let missing = run(Command::new(FAYTHE).arg("/nowhere/config.json")).await;
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.contains("/nowhere/config.json"),
        "{}",
        missing.stderr
    );
}

#[tokio::test]
async fn s02_a_bad_configuration_is_told_whole_before_anything_is_touched() {
    let bed = Bed::start().await.unwrap();
    let keys = json!({
        "auth_dns_sever": "ns1.example.com",
        "monitor_interval": "5000",
        "renewal_threshold": 0,
        "auth_dns_key": "/nowhere/update.key",
        "lets_encrypt_url": "acme.example.com",
    });
    let mut config = with(bed.config(), keys);
    config.as_object_mut().unwrap().remove("secret_namespace");
    let problems = [
        "did you mean `auth_dns_server`?",
        "monitor_interval",
        "renewal_threshold",
        // Not its value: somebody may have put the secret itself there.
        "auth_dns_key: the file it names",
        "lets_encrypt_url",
        "secret_namespace",
    ];

    let asked = || bed.pebble.log().matches("calling handler()").count();
    let before = asked();
    let checked = check(&bed, FAYTHE, config.clone()).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert_eq!(checked.stdout, "");
    let faythe = bed.faythe(FAYTHE, config).await.unwrap();
    assert_eq!(faythe.wait(SOON).await.unwrap().code(), Some(2));
    for said in [checked.stderr, faythe.log()] {
        assert_eq!(said.lines().count(), problems.len(), "{said}");
        for problem in problems {
            assert!(said.contains(problem), "no {problem:?} in {said}");
        }
        assert!(said.lines().all(|line| line.contains("config.json")), "{said}");
    }
    let requests = bed.kube.requests_by(&bed.identity.username()).unwrap();
    assert_eq!(requests, []);
    assert_eq!(asked(), before, "the CA was asked for something");
}

#[tokio::test]
async fn every_metric_is_on_the_page() {
    // One host of each fate, so that every family has a sample.
    let setup = Setup {
        name: "fates".to_owned(),
        secondary: true,
        pebble: pebble::Setup {
            blocked_domains: vec!["blocked.fates.test".to_owned()],
            ..pebble::Setup::default()
        },
        ..Setup::default()
    };
    let bed = Bed::start_as(setup).await.unwrap();
    let keys = json!({ "name": "limited", "limits": { "preset": "letsencrypt" } });
    let config = with_cas(bed.config(), keys, []);
    let stage = Stage::of(bed, config).await;
    let [good, blocked, stuck] = ["good", "blocked", "stuck"].map(|label| stage.host(label));
    stage.ask("good", &[&good]).await;
    stage.certificate(&good).await;
    stage.bed.secondary.as_ref().unwrap().freeze();
    stage.ask("rest", &[&blocked, &stuck]).await;
    stage.reach("valid", 1).await;
    stage.reach("failed", 1).await;
    stage.reach("stalled", 1).await;

    let page = stage.faythe.metrics().await.unwrap();
    let source = include_str!("../../src/report/metrics.rs");
    let names: BTreeSet<&str> = source
        .split('"')
        .filter(|literal| {
            let rest = literal.strip_prefix("faythe_").unwrap_or_default();
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        })
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let described = page.contains(&format!("# TYPE {name} "));
        let mut samples = page.lines().filter(|line| !line.starts_with('#'));
        let counted = samples.any(|line| line.starts_with(name));
        assert!(described && counted, "{name} is not on the page:\n{page}");
    }
    assert!(page.ends_with("# EOF\n"), "OpenMetrics ends so");
    // P12: whoever tells the time with his answers is compared with.
    for source in ["ca", "kubernetes"] {
        let labels = [("source", source)];
        let offset = stage.faythe.metric("faythe_clock_offset_seconds", &labels).await;
        assert!(
            offset.unwrap().is_some_and(|offset| offset.abs() < 60.0),
            "{source}: {page}"
        );
    }
    let failures = stage
        .faythe
        .metric("faythe_issue_failures", &[("cert", &blocked)])
        .await;
    assert_eq!(failures.unwrap(), Some(1.0));
}

#[tokio::test]
async fn the_old_tools_counters_keep_their_names() {
    let stage = Stage::start().await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.certificate(&host).await;
    stage.count("faythe_issue_successes", &[("cert", &host)], 1).await;
    let page = stage.faythe.metrics().await.unwrap();
    let line = format!("faythe_issue_successes{{cert=\"{host}\"}} 1");
    assert!(page.lines().any(|found| found == line), "{page}");
}

#[tokio::test]
async fn ready_follows_the_first_lists_and_healthy_does_not() {
    let bed = Bed::start().await.unwrap();
    let scratch = Scratch::new("kubeconfig").unwrap();
    let dead = Port::claim().unwrap();
    let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await.unwrap();
    let kubeconfig = std::fs::read_to_string(kubeconfig).unwrap();
    let address = format!("https://{}", dead.address());
    let kubeconfig = scratch
        .write("kubeconfig", kubeconfig.replace(&bed.kube.url(), &address))
        .unwrap();
    let faythe = Faythe::start(Launch {
        binary: FAYTHE.into(),
        config: bed.config(),
        environment: vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())],
    })
    .unwrap();
    soon("it is healthy", async || {
        Ok(faythe.get("/healthz").await?.status == 200)
    })
    .await;
    let ready = faythe.get("/readyz").await.unwrap();
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (503, "the cluster has not been listed yet\n")
    );
    assert_eq!(faythe.get("/nothing").await.unwrap().status, 404);
    drop(faythe);

    let stage = Stage::on(bed, json!({})).await;
    assert_eq!(stage.faythe.get("/readyz").await.unwrap().body, "ok\n");
    assert_eq!(stage.faythe.get("/healthz").await.unwrap().body, "ok\n");
}

#[tokio::test]
async fn the_log_can_be_json_with_a_line_for_each_change_of_state() {
    let bed = Bed::start().await.unwrap();
    let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await.unwrap();
    let environment = [
        ("KUBECONFIG", kubeconfig.display().to_string()),
        ("FAYTHE_LOG_FORMAT", "json".to_owned()),
    ];
    let faythe = Faythe::start(Launch {
        binary: FAYTHE.into(),
        config: with(bed.config(), json!({ "kubeconfig_path": "old" })),
        environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
    })
    .unwrap();
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();
    bed.certificate_for(&host, SOON).await.unwrap();
    let is_about = |line: &Value, state: &str| line["host"] == host.as_str() && line["state"] == state;
    let lines = || -> Vec<Value> {
        let log = faythe.log();
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    };
    soon("the last change is in the log", async || {
        Ok(lines().iter().any(|line| is_about(line, "valid")))
    })
    .await;
    faythe.terminate();
    faythe.wait(SOON).await.unwrap();
    let lines = lines();
    for line in &lines {
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "no {key} in {line}");
        }
    }
    for state in ["issuing", "valid"] {
        assert_eq!(
            lines.iter().filter(|line| is_about(line, state)).count(),
            1,
            "{lines:#?}"
        );
    }
    let valid = lines.iter().find(|line| is_about(line, "valid")).unwrap();
    assert!(
        valid["message"].as_str().unwrap().contains("valid until"),
        "{valid}"
    );
}

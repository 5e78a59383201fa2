//! Files that have grown: several zones, the old tool's nested form, YAML.

use std::net::SocketAddr;
use std::process::Command;

use faythe_bed::bind::{self, Algorithm, Key};
use faythe_bed::ports::Port;
use faythe_bed::process::{Process, Signal};
use faythe_bed::scratch::Scratch;
use faythe_bed::{Bed, Setup};
use serde_json::{Value, json};

use crate::live::check;
use crate::live::stage::{FAYTHE, SOON, Stage, soon, with};

/// A faythe whose file is none that the bed writes.
struct Raw {
    process: Process,
    _scratch: Scratch,
}

impl Raw {
    /// Starts one with this text in a file of this name, under the bed's identity.
    async fn start(bed: &Bed, name: &str, text: String) -> Self {
        let scratch = Scratch::new("raw").unwrap();
        let file = scratch.write(name, text).unwrap();
        let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await.unwrap();
        let mut command = Command::new(FAYTHE);
        command.arg(file).env("KUBECONFIG", kubeconfig);
        let process = Process::start("faythe", &command, &scratch.path().join("faythe.log")).unwrap();
        Self {
            process,
            _scratch: scratch,
        }
    }

    /// Ends it as Kubernetes does.
    async fn end(self) {
        self.process.signal(Signal::TERM);
        assert!(self.process.wait(SOON).await.unwrap().success());
    }
}

/// The bed's configuration with `zones` in place of the flat keys for one.
pub(crate) fn grown(mut config: Value, zones: Value) -> Value {
    let keys = config.as_object_mut().unwrap();
    keys.retain(|key, _| !key.starts_with("auth_dns_"));
    keys.insert("zones".to_owned(), zones);
    config
}

/// An entry of `zones` for the bed's name server and key, with these keys in place of what it has.
pub(crate) fn zone_of(bed: &Bed, keys: Value) -> Value {
    let server = bed.bind.address();
    let zone = json!({
        "auth_dns_server": server.to_string(),
        "auth_dns_key": bed.bind.key_file(),
        // The servers that the NS records of a bed's zones name have this port too.
        "check": { "port": server.port() },
    });
    let mut zone = with(zone, keys);
    let keys = zone.as_object_mut().unwrap();
    if keys.contains_key("update_servers") {
        // It stands in its place.
        keys.remove("auth_dns_server");
    }
    zone
}

/// The bed's configuration with that entry, for the bed's zone.
pub(crate) fn one_zone(bed: &Bed, keys: Value) -> Value {
    grown(bed.config(), json!({ bed.zone.as_str(): zone_of(bed, keys) }))
}

/// A bed with a second zone, which only a second key may change; its name, and the settings of both zones.
async fn two_zones(scratch: &Scratch) -> (Bed, String, Value) {
    let second = format!(
        "{}.example",
        scratch.path().file_name().unwrap().to_str().unwrap()
    );
    let second = second.replace('_', "-").to_lowercase();
    let key = Key::new("second", Algorithm::HmacSha512);
    let file = scratch.write("second.key", key.file()).unwrap();
    let bed = Bed::start_as(Setup {
        names: bind::Setup {
            owned: vec![(second.clone(), key)],
            ..bind::Setup::default()
        },
        ..Setup::default()
    })
    .await
    .unwrap();
    let zones = json!({
        bed.zone.as_str(): zone_of(&bed, json!({})),
        second.as_str(): zone_of(&bed, json!({ "auth_dns_key": file, "issue_wildcard_certs": true })),
    });
    (bed, second, zones)
}

#[tokio::test]
async fn several_zones_are_served_each_with_its_own_key_and_mode() {
    let scratch = Scratch::new("zones").unwrap();
    let (bed, second, zones) = two_zones(&scratch).await;
    let config = grown(bed.config(), zones);
    let stage = Stage::of(bed, config).await;
    let (ours, theirs, outside) = (stage.host("a"), format!("b.{second}"), "c.elsewhere.example");
    stage.ask("web", &[&ours, &theirs, outside]).await;
    stage.certificate(&ours).await;
    stage.certificate(&format!("*.{second}")).await;
    stage.clean().await;
    soon("no TXT record is left in the second zone", async || {
        Ok(stage.bed.bind.all_txt(&second).await?.is_empty())
    })
    .await;
    assert_eq!(stage.bed.pebble.orders_created(), 2);
}

#[tokio::test]
async fn check_has_lines_for_each_zone() {
    let scratch = Scratch::new("zones").unwrap();
    let (bed, second, zones) = two_zones(&scratch).await;
    let run = check::check(&bed, FAYTHE, grown(bed.config(), zones)).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stdout.matches("our clock").count(), 1, "{run:?}");
    for zone in [&bed.zone, &second] {
        let lines = run
            .stdout
            .lines()
            .filter(|line| line.contains(&format!(".{zone}")));
        assert_eq!(lines.count(), 3, "{zone}: {run:?}");
        let survey = format!("serves zone {zone} and names ");
        assert!(run.stdout.contains(&survey), "{run:?}");
        assert_eq!(bed.bind.all_txt(zone).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_nested_file_of_the_old_tool_runs_as_it_is() {
    let bed = Bed::start().await.unwrap();
    let config = bed.config();
    // Let go before it is used: a claim on one address keeps others from all of them.
    let listen = Port::claim().unwrap().address();
    let server = bed.bind.address().to_string();
    let nested = json!({
        "metrics_port": listen.port(),
        "lets_encrypt_url": config["lets_encrypt_url"],
        "lets_encrypt_email": "le@example.com",
        // The old tool used the system's roots alone, which have no Pebble among them.
        "acme_root_certificates": config["acme_root_certificates"],
        "zones": { bed.zone.as_str(): {
            "auth_dns_server": server,
            "challenge_driver": { "nsupdate": { "server": server, "key": bed.bind.key_file() } },
            "issue_wildcard_certs": true,
        }},
        "val_dns_servers": [],
        "kube_monitor_configs": [{
            "secret_namespace": config["secret_namespace"],
            "secret_hostlabel": config["secret_hostlabel"],
            "touch_annotation": "faythe.touched",
        }],
        "file_monitor_configs": [],
    });
    let faythe = Raw::start(&bed, "config.json", nested.to_string()).await;
    bed.ingress("web", &[&bed.host("a")]).await.unwrap();
    bed.certificate_for(&bed.host("*"), SOON).await.unwrap();
    let metrics = metrics_at(listen).await;
    assert!(metrics.contains("faythe_issue_successes"), "{metrics}");
    faythe.end().await;
}

#[tokio::test]
async fn a_file_in_yaml_runs() {
    let bed = Bed::start().await.unwrap();
    let config = bed.config();
    let text = |key: &str| config[key].as_str().unwrap().to_owned();
    let yaml = format!(
        "# A cluster of ours
secret_namespace: {}
secret_hostlabel: {}
lets_encrypt_url: {}
lets_encrypt_email: admin@example.com
acme_root_certificates: {}
listen: off
zones:
  {}:
    auth_dns_server: {}
    auth_dns_key: {}
    val_dns_servers: []
    ttl: 60
    check:
      servers: primary
      quorum: all
",
        text("secret_namespace"),
        text("secret_hostlabel"),
        text("lets_encrypt_url"),
        text("acme_root_certificates"),
        bed.zone,
        text("auth_dns_server"),
        text("auth_dns_key"),
    );
    let faythe = Raw::start(&bed, "config.yaml", yaml).await;
    bed.ingress("web", &[&bed.host("a")]).await.unwrap();
    bed.certificate_for(&bed.host("a"), SOON).await.unwrap();
    faythe.end().await;
}

/// The metrics that are served at an address.
async fn metrics_at(listen: SocketAddr) -> String {
    let reply = faythe_bed::http::get(&format!("http://{listen}/metrics"), "").await;
    reply.unwrap().success().unwrap()
}

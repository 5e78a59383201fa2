//! `make demo`: a cluster, a zone and a CA of its own, and faythe between them, to look at.
//!
//! It says what each step takes, shows the state of each host until all are settled, prints the
//! certificates, and stays until Ctrl-C. With `--once` it ends when all are settled, and fails unless
//! everything is as it should be.

mod hosts;
mod look;
mod screen;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use faythe_bed::faythe::Faythe;
use faythe_bed::kube::Request;
use faythe_bed::{Bed, Setup, tools};

use crate::screen::Screen;

/// The sample Ingresses. Their hosts are in the zone `demo.test`, but for one.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo");

/// What all certificates may take together. They take a second or two; a slow machine has a minute.
const SETTLE: Duration = Duration::from_secs(60);

const USAGE: &str = "usage: demo [--once] [--faythe PROGRAM]";

#[tokio::main]
async fn main() -> ExitCode {
    let mut screen = Screen::new();
    let outcome = tokio::select! {
        outcome = demo(&mut screen) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(screen: &mut Screen) -> Result<()> {
    let Arguments { once, faythe } = Arguments::read(std::env::args().skip(1))?;
    if !faythe.is_file() {
        bail!(
            "there is no {}: build it with `cargo build --release`",
            faythe.display()
        );
    }

    screen.say(
        "looking for kube-apiserver, etcd, kubectl, Pebble and BIND (the first build takes some minutes)",
    );
    for program in ["kube-apiserver", "etcd", "kubectl", "pebble"] {
        tools::built(program)?;
    }
    tools::named()?;

    screen.say("starting etcd, kube-apiserver, BIND and Pebble");
    let bed = Bed::start_as(Setup {
        name: "demo".to_owned(),
        own_kube: true,
        ..Setup::default()
    })
    .await?;
    screen.say(&format!("started; BIND takes updates of the zone {}", bed.zone));

    let bed = bed.with_shipped_rights().await?;
    let faythe = bed.faythe(&faythe, bed.config()).await?;
    faythe.ready(Duration::from_secs(30)).await?;
    screen.say(&format!(
        "faythe is ready, with the rights of deploy/rbac.yaml; its configuration is {}",
        faythe.config_file().display()
    ));

    screen.say("applying the Ingresses of demo/");
    let settled = look::until_settled(screen, &bed, &faythe, Path::new(SAMPLES), SETTLE).await?;
    screen.lines(&settled.report());
    let mut flaws = settled.flaws();
    flaws.extend(refused(&bed)?);
    if !flaws.is_empty() {
        screen.line("Not as it should be:");
        screen.lines(&flaws);
        screen.line(&format!(
            "\nfaythe's log ends in:\n{}\n",
            faythe.process().log_tail()
        ));
    }
    if once {
        anyhow::ensure!(flaws.is_empty(), "not everything is as it should be");
        return Ok(());
    }
    screen.lines(&addresses(&bed, &faythe)?);
    screen.line("Ctrl-C ends it all.");
    std::future::pending().await
}

/// What the command line says.
struct Arguments {
    once: bool,
    faythe: PathBuf,
}

impl Arguments {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        // The release build of faythe is put beside this program.
        let mut read = Self {
            once: false,
            faythe: std::env::current_exe()?.with_file_name("faythe"),
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--once" => read.once = true,
                "--faythe" => read.faythe = arguments.next().context(USAGE)?.into(),
                _ => bail!(USAGE),
            }
        }
        Ok(read)
    }
}

/// What the API server has refused to faythe, a line each: the shipped rights have to be enough.
fn refused(bed: &Bed) -> Result<Vec<String>> {
    let mut requests = bed.kube.requests_by(&bed.identity.username())?;
    requests.retain(|request| request.code == 403);
    let line = |request: &Request| format!("faythe may not {} {}", request.verb, request.resource);
    Ok(requests.iter().map(line).collect())
}

/// Where to look, as lines to copy.
fn addresses(bed: &Bed, faythe: &Faythe) -> Result<Vec<String>> {
    let kubectl = tools::built("kubectl")?;
    let programs = kubectl.parent().context("kubectl is in a directory")?.display();
    let kubeconfig = bed.kube.admin_kubeconfig();
    Ok(vec![
        "To look around, in another terminal:".to_owned(),
        format!(
            "  export PATH={programs}:$PATH KUBECONFIG={}",
            kubeconfig.display()
        ),
        "  kubectl get ingresses -A".to_owned(),
        format!("  kubectl get secrets -n {}", bed.secret_namespace),
        "  kubectl get events -A".to_owned(),
        format!("  {}", bed.bind.dig_line(&bed.zone, "AXFR")),
        format!(
            "  curl --cacert {} {}",
            bed.pebble.https_roots_file().display(),
            bed.pebble.directory_url()
        ),
        format!("  curl {}", faythe.url("/metrics")?),
        format!("  less {}", faythe.process().log_path().display()),
        format!("  less {}", faythe.config_file().display()),
        String::new(),
    ])
}

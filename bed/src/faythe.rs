//! The program under test: started with a configuration, watched from outside, ended in all ways.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http::{self, Reply};
use crate::process::{Process, Signal};
use crate::scratch::Scratch;
use crate::until;

/// How a faythe is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// What stands in `config.json`.
    pub config: Value,
    /// What is in its environment besides that of this process: KUBECONFIG, and what a test adds.
    pub environment: Vec<(String, String)>,
}

/// One faythe, running or ended.
#[derive(Debug)]
pub struct Faythe {
    launch: Launch,
    process: Process,
    scratch: Scratch,
}

impl Faythe {
    /// Starts it; nothing is waited for.
    pub fn start(launch: Launch) -> Result<Self> {
        let scratch = Scratch::new("faythe")?;
        let process = spawn(&launch, &scratch)?;
        Ok(Self {
            launch,
            process,
            scratch,
        })
    }

    /// Kills it if it runs, and starts it again with the same configuration. The log goes on.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = spawn(&self.launch, &self.scratch)?;
        Ok(())
    }

    /// Ends it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Asks it to end (SIGTERM); see [`Faythe::wait`].
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits for its end.
    pub async fn wait(&self, within: Duration) -> Result<ExitStatus> {
        self.process.wait(within).await
    }

    /// Waits until it says that it is ready. Fails at once if it ends instead.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        until(within, "faythe is ready", async || {
            let done = self.process.ended()?.is_some() || self.get("/readyz").await?.status == 200;
            Ok(done.then_some(()))
        })
        .await
        .with_context(|| self.process.log_tail())?;
        self.process.check_running()
    }

    /// GETs a path of its HTTP server, such as `/healthz`.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        http::get(&self.url(path)?, "").await
    }

    /// The URL of a path of its HTTP server.
    pub fn url(&self, path: &str) -> Result<String> {
        let listen = self.launch.config["listen"]
            .as_str()
            .context("this faythe has no `listen`")?;
        anyhow::ensure!(listen != "off", "this faythe has no HTTP server");
        Ok(format!("http://{listen}{path}"))
    }

    /// Its /metrics, as text.
    pub async fn metrics(&self) -> Result<String> {
        self.get("/metrics").await?.success()
    }

    /// The sum of the samples of a metric whose labels include all of `labels`; `None` if there is none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
        Ok(sum(&self.metrics().await?, name, labels))
    }

    /// All that it has written so far, over all its restarts.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The configuration it was given.
    pub fn config(&self) -> &Value {
        &self.launch.config
    }

    /// The path of its configuration file.
    pub fn config_file(&self) -> PathBuf {
        config_file(&self.scratch)
    }

    /// Its process, for its memory and times.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn spawn(launch: &Launch, scratch: &Scratch) -> Result<Process> {
    let config = config_file(scratch);
    std::fs::write(&config, serde_json::to_string_pretty(&launch.config)?)?;
    let mut command = Command::new(&launch.binary);
    command.arg(config).current_dir(scratch.path());
    // As the manifests do: whoever is started again under the same name leads on at once.
    command.env("POD_NAME", "faythe");
    command.env("POD_UID", scratch.path().display().to_string());
    command.envs(launch.environment.iter().map(|(key, value)| (key, value)));
    Process::start("faythe", &command, &scratch.path().join("faythe.log"))
}

fn config_file(scratch: &Scratch) -> PathBuf {
    scratch.path().join("config.json")
}

/// Adds up samples in the text format of Prometheus. Label values here have no quotes and no commas.
fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (written, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let has = |(key, value): &(&str, &str)| {
            written
                .split(',')
                .any(|label| label == format!("{key}=\"{value}\""))
        };
        labels
            .iter()
            .all(has)
            .then(|| value.split_whitespace().next()?.parse::<f64>().ok())?
    });
    samples.reduce(|sum, value| sum + value)
}

/// A path as an absolute one, for programs that start in another directory.
pub(crate) fn absolute(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    std::path::absolute(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_the_labels_are_added_up() {
        let text =
            "# TYPE a counter\na_total{x=\"1\",y=\"1\"} 2\na_total{x=\"1\",y=\"2\"} 3.5\na_total_b 9\nb 1\n";
        assert_eq!(sum(text, "a_total", &[]), Some(5.5));
        assert_eq!(sum(text, "a_total", &[("y", "2")]), Some(3.5));
        assert_eq!(sum(text, "a_total", &[("y", "3")]), None);
        assert_eq!(sum(text, "b", &[]), Some(1.0));
    }

    #[tokio::test]
    async fn the_program_gets_its_configuration() {
        let launch = Launch {
            binary: "cat".into(),
            config: serde_json::json!({ "listen": "off", "auth_dns_zone": "a.test" }),
            environment: Vec::new(),
        };
        let mut faythe = Faythe::start(launch).unwrap();
        assert!(faythe.wait(Duration::from_secs(20)).await.unwrap().success());
        assert!(faythe.log().contains("\"auth_dns_zone\": \"a.test\""));
        assert!(faythe.url("/metrics").is_err());
        let ended = faythe.ready(Duration::from_secs(20)).await.unwrap_err();
        assert!(ended.to_string().contains("has ended"), "{ended}");

        faythe.restart().unwrap();
        faythe.wait(Duration::from_secs(20)).await.unwrap();
        assert_eq!(faythe.log().matches("a.test").count(), 2);
    }
}

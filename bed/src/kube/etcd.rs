//! etcd, without its care for the disk.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::ports::Port;
use crate::process::{self, Process};
use crate::scratch::Scratch;
use crate::{http, tools};

/// One etcd with its data.
#[derive(Debug)]
pub(super) struct Etcd {
    clients: Port,
    peers: Port,
    data: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Etcd {
    /// Prepares one whose data are in `scratch`.
    pub(super) fn new(scratch: &Scratch) -> Result<Self> {
        Ok(Self {
            clients: Port::claim()?,
            peers: Port::claim()?,
            data: scratch.path().join("etcd"),
            log: scratch.path().join("etcd.log"),
            process: None,
        })
    }

    /// Where clients connect, without encryption.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.clients.address())
    }

    /// Starts it and does not wait: kube-apiserver tries until it is there.
    pub(super) fn start(&mut self) -> Result<()> {
        let (clients, peers) = (self.url(), format!("http://{}", self.peers.address()));
        let mut command = Command::new(tools::built("etcd")?);
        command.arg("--data-dir").arg(&self.data).args([
            "--unsafe-no-fsync",
            "--log-level=warn",
            &format!("--listen-client-urls={clients}"),
            &format!("--advertise-client-urls={clients}"),
            &format!("--listen-peer-urls={peers}"),
            &format!("--initial-advertise-peer-urls={peers}"),
            &format!("--initial-cluster=default={peers}"),
        ]);
        self.process = Some(Process::start("etcd", &command, &self.log)?);
        Ok(())
    }

    /// Stops it at once; the data stay.
    pub(super) fn stop(&mut self) {
        self.process = None;
    }

    /// Whether it was started and is no more.
    pub(super) fn has_ended(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| !matches!(process.ended(), Ok(None)))
    }

    /// Fails with the log's tail if it has ended.
    pub(super) fn check_running(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), Process::check_running)
    }

    /// The end of the log.
    pub(super) fn log_tail(&self) -> String {
        process::tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Sets a key, through the JSON form of etcd's API.
    pub(super) async fn put(&self, key: &str, value: &str) -> Result<()> {
        let body = json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) });
        http::post(&format!("{}/v3/kv/put", self.url()), "", body.to_string())
            .await?
            .success()
            .map(drop)
    }
}

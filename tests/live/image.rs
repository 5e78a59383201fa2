//! The program as it is in the image: static, alone but for the CA roots (S14).
//!
//! `make program` builds it; whoever runs the tests by hand names it with `FAYTHE_PROGRAM`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use faythe_bed::Bed;
use faythe_bed::faythe::{Faythe, Launch};
use faythe_bed::scratch::Scratch;
use serde_json::json;

use super::stage::SOON;

/// Where CA roots are on Debian, and where the image has them.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

#[test]
fn s14_the_static_program_starts_in_an_empty_root() {
    let root = Root::new();
    let output = root.command(&["--version"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("faythe {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn s14_a_host_gets_its_certificate_from_within_an_empty_root() {
    let bed = Bed::start().await.unwrap();
    let root = Root::new();
    let mut config = bed.config();
    for (key, name) in [
        ("acme_root_certificates", "/roots.pem"),
        ("auth_dns_key", "/update.key"),
    ] {
        root.bring(Path::new(config[key].as_str().unwrap()), name);
        config[key] = json!(name);
    }
    root.bring(
        &bed.kube.kubeconfig_for(&bed.identity).await.unwrap(),
        "/kubeconfig",
    );
    fs::write(root.path("/config.json"), config.to_string()).unwrap();

    let check = root.command(&["check", "/config.json"]).output().unwrap();
    let lines = String::from_utf8_lossy(&check.stdout);
    assert!(
        check.status.success(),
        "{lines}{}",
        String::from_utf8_lossy(&check.stderr)
    );

    let faythe = Faythe::start(Launch {
        binary: root.launcher(),
        config,
        environment: Vec::new(),
    })
    .unwrap();
    faythe.ready(SOON).await.unwrap();
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await.unwrap();
    bed.certificate_for(&host, SOON).await.unwrap();
    // In a cluster its root cannot be written to.
    assert_eq!(
        root.files(),
        [
            "/config.json",
            "/etc/ssl/certs/ca-certificates.crt",
            "/faythe",
            "/kubeconfig",
            "/launch",
            "/roots.pem",
            "/update.key"
        ]
    );
}

/// A directory that holds the program and the CA roots, and becomes the root directory.
struct Root(Scratch);

impl Root {
    fn new() -> Self {
        let root = Self(Scratch::new("root").unwrap());
        root.bring(&program(), "/faythe");
        fs::create_dir_all(root.path("/etc/ssl/certs")).unwrap();
        root.bring(Path::new(ROOTS), ROOTS);
        root
    }

    /// A path of the new root, seen from outside.
    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside.trim_start_matches('/'))
    }

    fn bring(&self, file: &Path, inside: &str) {
        fs::copy(file, self.path(inside)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Everything in it, seen from inside.
    fn files(&self) -> Vec<String> {
        let mut directories = vec![self.0.path().to_owned()];
        let mut found = Vec::new();
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let inside = path.strip_prefix(self.0.path()).unwrap();
                    found.push(format!("/{}", inside.display()));
                }
            }
        }
        found.sort();
        found
    }

    /// The program in its root, without anything of our environment; a user namespace lets anybody change the root.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--root"])
            .arg(self.0.path())
            .arg("/faythe")
            .args(arguments)
            .env_clear()
            .env("KUBECONFIG", "/kubeconfig");
        command
    }

    /// A program that starts the daemon in its root, whatever its arguments.
    fn launcher(&self) -> PathBuf {
        let path = self.0.path().join("launch");
        let root = self.0.path().display();
        let script = format!(
            "#!/bin/sh\nexec env -i KUBECONFIG=/kubeconfig {} --map-root-user --root {root} /faythe /config.json\n",
            "/usr/bin/unshare"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// The static program.
fn program() -> PathBuf {
    let path = std::env::var_os("FAYTHE_PROGRAM").map_or_else(built, PathBuf::from);
    assert!(path.exists(), "{}: `make program` builds it", path.display());
    path
}

/// Where `make program` leaves it as a rule: beside the directory of the program under test.
fn built() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_faythe"))
        .ancestors()
        .nth(2)
        .unwrap();
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    target.join(platform).join("release/faythe")
}

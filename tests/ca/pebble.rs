//! A Pebble of one's own: ports, certificate and directory are the test's, and it dies with it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;

/// A running Pebble.
pub(crate) struct Pebble {
    child: Child,
    directory: TempDir,
    port: u16,
    management: u16,
    /// Keys for external account bindings, by name, in base64url; if there are any, an account needs one.
    account_keys: &'static [(&'static str, &'static str)],
}

impl Pebble {
    /// Starts one with these environment variables besides the ones that keep it from sleeping.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        Self::with_account_keys(environment, &[])
    }

    /// The same, with keys for external account bindings.
    pub(crate) fn with_account_keys(
        environment: &[(&str, &str)],
        account_keys: &'static [(&'static str, &'static str)],
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_certificates(directory.path());
        let (port, management) = (free_port(), free_port());
        let mut pebble = Self {
            child: spawn(directory.path(), port, management, account_keys, environment),
            directory,
            port,
            management,
            account_keys,
        };
        pebble.wait();
        pebble
    }

    /// Ends it and starts it again at the same address; it has forgotten everything then.
    pub(crate) fn restart(&mut self, environment: &[(&str, &str)]) {
        self.stop();
        self.child = spawn(
            self.directory.path(),
            self.port,
            self.management,
            self.account_keys,
            environment,
        );
        self.wait();
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The directory of its management interface, a path with a slash in front.
    pub(crate) fn management(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.management)
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let listens = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        // The management interface comes up beside the other.
        while !(listens(self.port) && listens(self.management)) {
            let ended = self.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "Pebble ended: {}", log());
            assert!(Instant::now() < deadline, "Pebble does not listen: {}", log());
            std::thread::yield_now();
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of ours that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn spawn(
    directory: &Path,
    port: u16,
    management: u16,
    account_keys: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Child {
    let bound = !account_keys.is_empty();
    let account_keys: Vec<_> = account_keys
        .iter()
        .map(|(kid, key)| format!(r#""{kid}":"{key}""#))
        .collect();
    let account_keys = account_keys.join(",");
    let config = format!(
        r#"{{"pebble": {{
            "listenAddress": "127.0.0.1:{port}",
            "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "{0}/leaf.pem",
            "privateKey": "{0}/leaf.key",
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": {bound},
            "externalAccountMACKeys": {{{account_keys}}},
            "keyAlgorithm": "ecdsa",
            "retryAfter": {{"authz": 1, "order": 1}},
            "profiles": {{
                "default": {{"description": "The default", "validityPeriod": 7776000}},
                "shortlived": {{"description": "A short one", "validityPeriod": 518400}}
            }}
        }}}}"#,
        directory.display()
    );
    std::fs::write(directory.join("config.json"), config).unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    Command::new(program())
        .arg("-config")
        .arg(directory.join("config.json"))
        // No resolver is there, so that what is validated at all, fails.
        .args([
            "-strict=true",
            "-dnsserver",
            &format!("127.0.0.1:{}", free_port()),
        ])
        .env("PEBBLE_VA_NOSLEEP", "1")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Where `tools/build` has put Pebble; it builds it if need be.
fn program() -> PathBuf {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/build");
    let output = Command::new(&build).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{} failed", build.display());
    let directory = String::from_utf8(output.stdout).unwrap();
    Path::new(directory.lines().last().unwrap()).join("pebble")
}

/// A root, and a certificate for `localhost` below it.
fn write_certificates(directory: &Path) {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "Test root");
    let root_key = KeyPair::generate().unwrap();
    std::fs::write(
        directory.join("root.pem"),
        root.self_signed(&root_key).unwrap().pem(),
    )
    .unwrap();

    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    std::fs::write(directory.join("leaf.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("leaf.key"), key.serialize_pem()).unwrap();
}

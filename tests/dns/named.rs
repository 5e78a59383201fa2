//! A BIND of one's own: on a free port of 127.0.0.1, in its own folder, gone when dropped.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;

/// The secret of all keys.
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// The same in base64.
const SECRET_BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const ALGORITHMS: [&str; 6] = [
    "hmac-md5",
    "hmac-sha1",
    "hmac-sha224",
    "hmac-sha256",
    "hmac-sha384",
    "hmac-sha512",
];
/// How often another port is tried when somebody else was quicker.
const PORT_TRIES: usize = 5;

/// A running server with the zones `example.test`, `second.test` and `locked.test`.
pub(crate) struct Named {
    folder: TempDir,
    port: u16,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Named {
    /// Starts a server and waits until it answers.
    pub(crate) fn start() -> Self {
        // Memory rather than disk where there is one: BIND syncs its journal twice for each update.
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        for _ in 0..PORT_TRIES {
            let port = free_port();
            configure(folder.path(), port);
            let log = Arc::default();
            if let Some((child, reader)) = launch(folder.path(), &log) {
                return Self {
                    folder,
                    port,
                    child,
                    log,
                    reader: Some(reader),
                };
            }
        }
        panic!("named does not start on {PORT_TRIES} ports");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As in `auth_dns_server`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The zone's serial number, which grows by one with each update that changes something.
    pub(crate) fn serial(&self, zone: &str) -> u32 {
        self.dig(&["+short", zone, "SOA"])
            .split(' ')
            .nth(2)
            .unwrap()
            .parse()
            .unwrap()
    }

    /// How many TCP connections clients have with the server.
    pub(crate) fn connections(&self) -> usize {
        // The kernel's own table: local address, remote address, state; in hexadecimal, 01 being "established".
        let local = format!("0100007F:{:04X}", self.port);
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let established = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&"01")
        };
        table.lines().filter(established).count()
    }

    /// What `dig` prints of an answer.
    pub(crate) fn dig(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        run(Command::new("dig")
            .args(["@127.0.0.1", "-p", &port, "+noall", "+answer"])
            .args(arguments))
    }

    /// Has `nsupdate` send one update.
    pub(crate) fn nsupdate(&self, command: &str) {
        let file = self.folder.path().join("nsupdate.key");
        std::fs::write(&file, self.key_file("key-hmac-sha256")).unwrap();
        let script = self.folder.path().join("script");
        std::fs::write(
            &script,
            format!(
                "server 127.0.0.1 {}\nzone example.test\n{command}\nsend\n",
                self.port
            ),
        )
        .unwrap();
        run(Command::new("nsupdate").arg("-k").arg(file).arg(script));
    }

    /// A new key as tsig-keygen prints it.
    pub(crate) fn tsig_keygen(&self, name: &str, algorithm: &str) -> String {
        run(Command::new("tsig-keygen").args(["-a", algorithm, name]))
    }

    /// The key file for one of the server's keys.
    pub(crate) fn key_file(&self, name: &str) -> String {
        let algorithm = name.trim_start_matches("key-");
        format!("key \"{name}\" {{\n\talgorithm {algorithm};\n\tsecret \"{SECRET_BASE64}\";\n}};\n")
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            let log = self.log.lock().unwrap();
            let _ = writeln!(std::io::stderr(), "--- named said:\n{log}");
        }
    }
}

/// Runs a tool to its end.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; install BIND's tools (Debian: apt-get install bind9 bind9-dnsutils)")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A port that is free for TCP and UDP at this moment.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn configure(folder: &Path, port: u16) {
    let path = folder.display();
    let mut text = format!(
        "options {{\n directory \"{path}\";\n listen-on port {port} {{ 127.0.0.1; }};\n listen-on-v6 {{ none; }};\n \
         pid-file \"{path}/named.pid\";\n session-keyfile \"{path}/session.key\";\n lock-file none;\n recursion no;\n \
         dnssec-validation no;\n notify no;\n}};\ncontrols {{ }};\n"
    );
    let mut grants = String::new();
    for algorithm in ALGORITHMS {
        writeln!(
            text,
            "key key-{algorithm} {{ algorithm {algorithm}; secret \"{SECRET_BASE64}\"; }};"
        )
        .unwrap();
        write!(grants, " grant key-{algorithm} zonesub TXT;").unwrap();
    }
    writeln!(
        text,
        "key key-truncated {{ algorithm hmac-sha256-128; secret \"{SECRET_BASE64}\"; }};"
    )
    .unwrap();
    grants.push_str(" grant key-truncated zonesub TXT;");
    let mut zone = |name: &str, policy: &str, records: &str| {
        let file: PathBuf = folder.join(name);
        let soa = "@ 60 IN SOA ns hostmaster 1 3600 600 86400 1\n@ 60 IN NS ns\nns 60 IN A 127.0.0.1\n";
        std::fs::write(&file, format!("$ORIGIN {name}.\n{soa}{records}")).unwrap();
        writeln!(
            text,
            "zone {name} {{ type primary; file \"{}\"; {policy} }};",
            file.display()
        )
        .unwrap();
    };
    let deny = "deny * subdomain no-grant.example.test. ANY;";
    zone(
        "example.test",
        &format!("update-policy {{ {deny}{grants} }};"),
        "_acme-challenge.alias 60 IN CNAME target\ntarget 60 IN TXT aliased\n",
    );
    zone("second.test", &format!("update-policy {{{grants} }};"), "");
    zone("locked.test", "allow-update { none; };", "");
    std::fs::write(folder.join("named.conf"), text).unwrap();
}

/// Starts named and waits until it runs; `None` when it ends before.
fn launch(folder: &Path, log: &Arc<Mutex<String>>) -> Option<(Child, JoinHandle<()>)> {
    // A server must not outlive a test that is killed; the kernel sees to it.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "named", "-g", "-n", "1", "-c"])
        .arg(folder.join("named.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("setpriv: {error}; install util-linux"));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let add = |line: &str| {
        let mut log = log.lock().unwrap();
        log.push_str(line);
        log.push('\n');
    };
    loop {
        match lines.next() {
            Some(Ok(line)) => {
                add(&line);
                if line.ends_with(" running") {
                    break;
                }
                assert!(
                    !line.contains("failed to execute"),
                    "{line}; install BIND (Debian: apt-get install bind9 bind9-dnsutils)"
                );
            }
            Some(Err(_)) | None => {
                let _ = child.wait();
                let _ = writeln!(
                    std::io::stderr(),
                    "--- named did not start:\n{}",
                    log.lock().unwrap()
                );
                return None;
            }
        }
    }
    // Read on, or the server would wait for room in the pipe.
    let log = Arc::clone(log);
    let reader = thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    Some((child, reader))
}

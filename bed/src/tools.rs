//! Where the servers' programs are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

/// The workspace's `tools/`.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools");

/// Where programs of system administrators are, which the PATH of others often leaves out.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The path of `kube-apiserver`, `kubectl`, `etcd` or `pebble`.
///
/// They are in the directory that `FAYTHE_TOOLS` names, else in the one `tools/build` prints, which
/// builds what is missing. The answer is kept for the life of the process.
pub fn built(program: &str) -> Result<PathBuf> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();

    let directory = DIRECTORY.get_or_init(|| directory().map_err(|error| format!("{error:#}")));
    let path = directory
        .as_ref()
        .map_err(|error| anyhow!("{error}"))?
        .join(program);
    if !path.exists() {
        bail!("there is no {}", path.display());
    }
    Ok(path)
}

/// The path of `step-ca`, which `tools/step-ca/build` prints, and builds if need be.
pub fn step_ca() -> Result<PathBuf> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();

    let build = || {
        let output = script("step-ca/build")?;
        let line = output.lines().last().context("it printed nothing")?;
        Ok(PathBuf::from(line))
    };
    PROGRAM
        .get_or_init(|| build().map_err(|error: anyhow::Error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// The path of a program that comes with BIND: `named`, `dig`, `nsupdate`.
///
/// `tools/bind` is run if it is missing, and installs it or says how to.
pub fn bind(program: &str) -> Result<PathBuf> {
    static INSTALLED: Outcome = Outcome::new();
    from_debian(program, "bind", &INSTALLED)
}

/// The path of a program that comes with Knot: `knotd`. `tools/knot` is run if it is missing.
pub fn knot(program: &str) -> Result<PathBuf> {
    static INSTALLED: Outcome = Outcome::new();
    from_debian(program, "knot", &INSTALLED)
}

/// The path of a program that comes with PowerDNS or works on its database: `pdns_server`, `pdnsutil`,
/// `sqlite3`. `tools/powerdns` is run if it is missing.
pub fn powerdns(program: &str) -> Result<PathBuf> {
    static INSTALLED: Outcome = Outcome::new();
    from_debian(program, "powerdns", &INSTALLED)
}

/// The Python that has dnspython. `tools/dnspython` fetches it into a directory of its own at the first call.
pub fn dnspython() -> Result<PathBuf> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();

    let python = PYTHON.get_or_init(|| {
        let output = script("dnspython").map_err(|error| format!("{error:#}"))?;
        Ok(PathBuf::from(output.trim_end()))
    });
    python.clone().map_err(anyhow::Error::msg)
}

/// How a script that installs went; it is run once in the life of the process.
type Outcome = OnceLock<Result<(), String>>;

fn from_debian(program: &str, name: &str, outcome: &Outcome) -> Result<PathBuf> {
    if let Some(path) = installed(program) {
        return Ok(path);
    }
    let outcome = outcome.get_or_init(|| script(name).map(drop).map_err(|error| format!("{error:#}")));
    outcome.as_ref().map_err(|error| anyhow!("{error}"))?;
    installed(program).with_context(|| format!("there is no {program}"))
}

/// The path of a `named` that may use directories of our own.
///
/// Where AppArmor confines it, as on Ubuntu, the profile goes by the program's path: a copy is free of it.
pub fn named() -> Result<PathBuf> {
    static COPY: OnceLock<Result<PathBuf, String>> = OnceLock::new();

    let program = bind("named")?;
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.trim() != "Y" || !Path::new("/etc/apparmor.d/usr.sbin.named").exists() {
        return Ok(program);
    }
    COPY.get_or_init(|| copy(&program).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// Copies a program into the target directory, as those for short-lived files often forbid execution.
fn copy(program: &Path) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bed");
    std::fs::create_dir_all(&directory)?;
    // Renaming puts it in place whole, though other processes may do the same now.
    let partial = tempfile::NamedTempFile::new_in(&directory)?.into_temp_path();
    std::fs::copy(program, &partial)?;
    let path = directory.join(program.file_name().context("a program has a name")?);
    partial.persist(&path)?;
    Ok(path)
}

fn directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("FAYTHE_TOOLS") {
        return Ok(directory.into());
    }
    let output = script("build")?;
    let line = output.lines().last().context("tools/build printed nothing")?;
    Ok(PathBuf::from(line))
}

/// Runs a script of `tools/`, its progress shown, and returns its stdout.
fn script(name: &str) -> Result<String> {
    let path = Path::new(SCRIPTS).join(name);
    let output = Command::new(&path)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", path.display()))?;
    if !output.status.success() {
        bail!("tools/{name} failed ({})", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The path of a program that comes with the system.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&search).chain(SBIN.map(PathBuf::from));
    directories
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::{copy, installed};

    #[test]
    fn a_copy_can_be_run() {
        let copy = copy(&installed("true").unwrap()).unwrap();
        assert!(std::process::Command::new(copy).status().unwrap().success());
    }
}

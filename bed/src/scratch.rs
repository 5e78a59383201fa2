//! Directories for servers: all inside one per process, in memory where that is possible, and gone when
//! the process is, however it ends.
//!
//! Set `FAYTHE_BED_KEEP` to leave them for inspection.

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;

/// A directory that is removed on drop.
#[derive(Debug)]
pub struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    /// Makes an empty directory whose name begins with `name`.
    pub fn new(name: &str) -> Result<Self> {
        static ROOT: Root = Root::new(None);
        Self::below(&ROOT, parent(), name)
    }

    /// Makes one on the disk that holds the build, for a server whose writes are to cost what they do in real life.
    pub fn on_disk(name: &str) -> Result<Self> {
        static ROOT: Root = Root::new(None);
        let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bed");
        std::fs::create_dir_all(&parent)?;
        Self::below(&ROOT, parent.canonicalize()?, name)
    }

    fn below(top: &Root, parent: PathBuf, name: &str) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .disable_cleanup(kept())
            .tempdir_in(root(top, parent)?)
            .with_context(|| format!("cannot make a directory for {name}"))?;
        Ok(Self { directory })
    }

    /// The directory's absolute path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file into the directory and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Whether directories are to stay.
fn kept() -> bool {
    std::env::var_os("FAYTHE_BED_KEEP").is_some()
}

/// The directory of this process below one parent. The pipe's end is held for the life of the process: when it closes,
/// the sweeper begins.
type Root = Mutex<Option<(PathBuf, Option<ChildStdin>)>>;

/// The directory of this process below `parent`, made at the first call.
fn root(root: &Root, parent: PathBuf) -> Result<PathBuf> {
    let mut root = root.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((path, _)) = &*root {
        return Ok(path.clone());
    }
    let path = tempfile::Builder::new()
        .prefix(&format!("faythe-bed-{}-", std::process::id()))
        .disable_cleanup(true)
        .tempdir_in(parent)
        .context("cannot make a directory for the bed")?
        .keep();
    let pipe = if kept() { None } else { Some(start_sweeper(&path)?) };
    *root = Some((path.clone(), pipe));
    Ok(path)
}

/// Memory where there is such a file system: the servers sync to disk for every write.
fn parent() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}

/// Starts the one child that outlives this process, by the moment it takes to remove the directory.
///
/// The servers may still be dying and writing just then, so it tries for some seconds.
fn start_sweeper(path: &Path) -> Result<ChildStdin> {
    let script = r#"cat; n=0; until rm -rf -- "$1" || [ $n -ge 50 ]; do n=$((n+1)); sleep 0.1; done"#;
    let mut sweeper = Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .arg(path)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of reach of a Ctrl-C that is meant for this process.
        .process_group(0)
        .spawn()
        .context("cannot start /bin/sh")?;
    sweeper.stdin.take().context("the sweeper has no stdin")
}

//! A server as a child process: its log, its signals, its end.
//!
//! Children die with this process even if it is killed: each is started through `setpriv --pdeathsig`.
//! That signal follows the *thread* that started the child, and tests come and go with their threads, so
//! one thread that never ends starts them all.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, kill_process};

use crate::tools;

pub use rustix::process::Signal;

/// How much of a log goes into a failure message: lines, counted from the end.
const TAIL: usize = 60;

/// A running child; dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts a program, with stdout and stderr appended to `log`.
    ///
    /// Of `command` the program, the arguments, the changes to the environment and the directory count.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let child = spawn(wrap(command, log)?).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child: Mutex::new(child),
            log: log.to_owned(),
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Fails with the log's tail if the process has ended.
    pub fn check_running(&self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} has ended ({status}); its log ends in:\n{}",
                self.name,
                self.log_tail()
            ),
        }
    }

    /// How the process ended, or `None` while it runs.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(self.child().try_wait()?)
    }

    /// Waits for the process to end by itself.
    pub async fn wait(&self, within: Duration) -> Result<ExitStatus> {
        crate::until(within, &format!("{} ends", self.name), async || self.ended()).await
    }

    /// Sends a signal; to one that has ended, nothing happens.
    pub fn signal(&self, signal: Signal) {
        let mut child = self.child();
        // Until it has been waited for its id cannot be given to another process.
        if let (Ok(None), Some(id)) = (
            child.try_wait(),
            i32::try_from(child.id()).ok().and_then(Pid::from_raw),
        ) {
            // The only way to fail is that it has ended in between.
            let _ = kill_process(id, signal);
        }
    }

    /// Stops the process without its noticing, as a hang or a lost network looks from outside; returns when it stands
    /// still, since the signal alone lets threads that run at that moment answer once more.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        while self.threads_run() {
            std::thread::yield_now();
        }
    }

    /// Whether any thread of a process that was told to stop still runs. One that has ended has none.
    fn threads_run(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child().id()));
        tasks.into_iter().flatten().flatten().any(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state follows the name, which stands in parentheses and may hold some itself (proc(5)).
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            matches!(state, Some('R' | 'S' | 'D'))
        })
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process and waits for its end.
    pub fn kill(&self) {
        let mut child = self.child();
        // Both fail only if it has ended and been waited for.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Where the log is.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that the process has written so far.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        match File::open(&self.log).and_then(|mut file| file.read_to_end(&mut text)) {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("({}: {error})", self.log.display()),
        }
    }

    /// The end of what the process has written, for failure messages.
    pub fn log_tail(&self) -> String {
        tail(&self.log())
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Processor time used so far, of all threads, in user and kernel; counted in steps of 10 ms.
    pub fn cpu_time(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The second field is the program's name in brackets, and may hold anything (proc_pid_stat(5)).
        let (_, fields) = text.rsplit_once(')').context("no name in /proc/PID/stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        let used = ticks(11).zip(ticks(12)).map(|(user, kernel)| user + kernel);
        let used = used.context("no times in /proc/PID/stat")?;
        Ok(Duration::from_millis(
            used * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    fn status_bytes(&self, key: &str) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kibibytes.with_context(|| format!("no {key} in /proc/PID/status"))? * 1024)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.ended().ok().flatten();
        self.kill();
        if std::thread::panicking() {
            let how = ended.map_or_else(String::new, |status| format!(" (had ended: {status})"));
            eprintln!("--- log of {}{how} ---\n{}", self.name, self.log_tail());
        }
    }
}

/// What a signal number in an exit status means to a test: ended by `SIGKILL`, for example.
pub fn killed_by(status: ExitStatus, signal: Signal) -> bool {
    status.signal() == Some(signal.as_raw())
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines[from..].join("\n")
}

/// Runs a program to its end, with `input` as its stdin, and returns its stdout; fails with what it said
/// if it does.
pub async fn run(mut command: Command, input: &str) -> Result<String> {
    let input = input.to_owned();
    // The tasks of a test go on meanwhile, even on a runtime of one thread.
    tokio::task::spawn_blocking(move || run_blocking(&mut command, &input)).await?
}

fn run_blocking(command: &mut Command, input: &str) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why on stderr.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&said).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The command that starts `command` bound to this process's life and writing to `log`.
fn wrap(command: &Command, log: &Path) -> Result<Command> {
    let stdout = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    // Found by this process, as the PATH that the child is given may be empty.
    let setpriv = tools::installed("setpriv").context("there is no setpriv (util-linux)")?;
    let mut wrapped = Command::new(setpriv);
    wrapped
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
        .stdin(Stdio::null())
        .stderr(stdout.try_clone()?)
        .stdout(stdout);
    // A Ctrl-C at the terminal is for this process; it decides when its children go.
    wrapped.process_group(0);
    Ok(wrapped)
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Has the thread that never ends start a child.
fn spawn(command: Command) -> Result<Child> {
    static NURSERY: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

    let nursery = NURSERY.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // The asker waits for the answer; if it is gone nobody wants the child.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    nursery
        .send((command, answer))
        .context("the thread that starts children is gone")?;
    child
        .recv()
        .context("the thread that starts children is gone")?
        .context("cannot start setpriv")
}

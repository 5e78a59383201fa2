//! What the machine is, and who uses its processors meanwhile (proc(5)).

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Processor times in /proc are counted in these (`USER_HZ`, 100 a second on every architecture in use).
const TICK: Duration = Duration::from_millis(10);

/// What the figures were measured on.
#[derive(Debug)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
}

impl Machine {
    /// Looks.
    pub(crate) fn look() -> Result<Self> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
        let field = |text: &str, key: &str| {
            text.lines()
                .find_map(|line| Some(line.strip_prefix(key)?.split_once(':')?.1.trim().to_owned()))
        };
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kibibytes = memory
            .lines()
            .find_map(|line| {
                line.strip_prefix("MemTotal:")?
                    .split_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .context("no MemTotal in /proc/meminfo")?;
        Ok(Self {
            processor: field(&cpus, "model name").unwrap_or_else(|| "an unnamed processor".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kibibytes.div_ceil(1 << 20),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores of {}, {} GiB, Linux {}",
            self.cores, self.processor, self.memory_gib, self.kernel
        )
    }
}

/// A span of time, and the processor time that went into it.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    start: Used,
}

/// Processor time used since the machine started, in ticks.
#[derive(Clone, Copy, Debug)]
struct Used {
    /// Idle time included.
    all: u64,
    idle: u64,
    /// By this process and its children.
    ours: u64,
    /// By this process alone.
    own: u64,
}

impl Meter {
    /// Begins.
    pub(crate) fn start() -> Result<Self> {
        let start = Used::now()?;
        Ok(Self {
            began: Instant::now(),
            start,
        })
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Processor time that this process has used since.
    pub(crate) fn own(&self) -> Result<Duration> {
        let ticks = Used::now()?.own - self.start.own;
        Ok(TICK * u32::try_from(ticks)?)
    }

    /// The share of all processor time since that went to others than this process and its children: 0 to 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share needs no more than three digits"
    )]
    pub(crate) fn strangers(&self) -> Result<f64> {
        let (start, now) = (self.start, Used::now()?);
        let all = now.all - start.all;
        let busy = all.saturating_sub(now.idle - start.idle);
        let theirs = busy.saturating_sub(now.ours.saturating_sub(start.ours));
        Ok(theirs as f64 / all.max(1) as f64)
    }
}

impl Used {
    fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().context("/proc/stat is empty")?;
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user and nice already.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [_, _, _, idle, wait, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat: {line}");
        };
        let me = std::process::id();
        let mut ours = 0;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end while we look.
            let Some(times) = Times::of(id) else { continue };
            if id == me || times.parent == me {
                ours += times.own + times.ended_children;
            }
        }
        let own = Times::of(me).context("no /proc/self/stat")?.own;
        Ok(Self {
            all: ticks.iter().sum(),
            idle: idle + wait,
            ours,
            own,
        })
    }
}

/// Of one process, in ticks.
struct Times {
    parent: u32,
    own: u64,
    ended_children: u64,
}

impl Times {
    fn of(id: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The second field is the program's name in brackets, and may hold anything (proc_pid_stat(5)).
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            own: number(11)? + number(12)?,
            ended_children: number(13)? + number(14)?,
        })
    }
}

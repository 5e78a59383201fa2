//! The command line: parse, start, exit code. No rule lives here.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::account;
use crate::ca::Revocation;
use crate::check;
use crate::config::{self, Config};
use crate::daemon;
use crate::recall;
use crate::sweep::{self, Removal};

/// Something failed.
const FAILED: u8 = 1;
/// The configuration is wrong; nothing was touched.
const BAD_CONFIGURATION: u8 = 2;
/// `check` or `sweep` found something that needs attention.
const ATTENTION: u8 = 3;

/// What libraries may log, whatever `--log` says.
const QUIET: [&str; 2] = ["kube_client=off", "kube_runtime=error"];

/// Gets a certificate for every hostname of every Ingress, and keeps it.
///
/// Watches Kubernetes, orders by ACME with DNS-01, publishes challenges by signed dynamic update, and keeps certificate
/// and key as Secrets. `faythe CONFIG` runs the daemon.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    /// Path of the configuration file, JSON or YAML
    #[arg(required = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    log: Log,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the account at the CA, or changes it
    ///
    /// A running daemon takes up what has changed by itself. All can be repeated after a failure at any point.
    Account {
        /// Path of the configuration file, JSON or YAML
        config: PathBuf,
        /// What to do with it
        #[arg(value_enum, default_value_t = AccountAction::Show)]
        action: AccountAction,
        /// The name of the CA, where there are several
        #[arg(long)]
        ca: Option<String>,
    },
    /// Tests everything the daemon will need, a line each; exits 0 if all is well and 3 if not
    ///
    /// The file, the permissions in the cluster, each zone (who holds it; a throw-away TXT record is added, looked for on
    /// every server that has to show challenges, resolvers last, and removed), the clocks, and of each CA its directory, the
    /// profiles that are asked for and, where it needs one, the account's binding.
    Check {
        /// Path of the configuration file, JSON or YAML
        config: PathBuf,
    },
    /// Has another certificate made for a host now
    ///
    /// The running instance that leads makes it. After attempts that have failed, a name that is paused or parked, or
    /// whose next attempt is put off beyond `issue_grace`, is tried once at once; a host without a certificate too.
    /// `issue_grace` is kept since the last attempt, and so is every limit of the CA. Exits 0 once it is stored, and 1 as
    /// soon as the attempt has failed.
    Renew {
        /// Path of the configuration file, JSON or YAML
        config: PathBuf,
        /// The hostname
        host: String,
        /// Pass `issue_grace` too; no limit of the CA is ever passed
        #[arg(long)]
        force: bool,
        /// How many seconds to wait for it
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        wait: u64,
    },
    /// Revokes the certificate of a host, once another has taken its place
    ///
    /// The running instance that leads makes the other one, with a new key, as by `renew`. It can be repeated after a
    /// failure at any point; a certificate that is revoked already is no failure.
    Revoke {
        /// Path of the configuration file, JSON or YAML
        config: PathBuf,
        /// The hostname
        host: String,
        /// Why, in words of RFC 5280
        #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
        reason: Reason,
        /// Revoke it at once, for a host that is not wanted any more
        #[arg(long)]
        without_replacement: bool,
        /// How many seconds to wait for the other certificate
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        wait: u64,
    },
    /// Lists challenge records that earlier orders left behind, a line each; exits 0 if there is none and 3 if there is
    ///
    /// A record is ours if the note of an order names it, and left over if the CA says that the order is over. Nothing
    /// else is ever touched.
    Sweep {
        /// Path of the configuration file, JSON or YAML
        config: PathBuf,
        /// Remove what is left over
        #[arg(long)]
        remove: bool,
        /// Remove records of open orders too; only while no Faythe runs
        #[arg(long, requires = "remove")]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct Log {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "FAYTHE_LOG_FORMAT", global = true)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or directives such as `info,faythe::dns=debug`
    #[arg(long, default_value = "info", env = "FAYTHE_LOG", global = true)]
    log: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AccountAction {
    /// Make another account and use that; CAA records that name the old one (accounturi) have to be changed
    New,
    /// Give the account another key, of the configured kind; its URL stays
    Rollover,
    /// Show its URL, state, key and contact, and the CAA record that allows it alone
    Show,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reason {
    /// The name is not ours any more
    #[value(name = "cessationOfOperation")]
    CessationOfOperation,
    /// Somebody else may have the private key
    #[value(name = "keyCompromise")]
    KeyCompromise,
    /// Another certificate has taken its place
    #[value(name = "superseded")]
    Superseded,
    /// No reason is given
    #[value(name = "unspecified")]
    Unspecified,
}

impl From<Reason> for Revocation {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::CessationOfOperation => Self::CessationOfOperation,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::Superseded => Self::Superseded,
            Reason::Unspecified => Self::Unspecified,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

/// Runs the program with these arguments, the first being its name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_CONFIGURATION } else { 0 });
        }
    };
    if let Err(error) = start_log(&cli.log) {
        return fail(&error, BAD_CONFIGURATION);
    }
    match (cli.command, cli.config) {
        (Some(Command::Account { config, action, ca }), _) => account(&config, action, ca.as_deref()),
        (Some(Command::Check { config }), _) => check(&config),
        (
            Some(Command::Renew {
                config,
                host,
                force,
                wait,
            }),
            _,
        ) => recall(&config, &host, recall::Action::Renew(force), wait),
        (
            Some(Command::Revoke {
                config,
                host,
                reason,
                without_replacement,
                wait,
            }),
            _,
        ) => {
            let action = if without_replacement {
                recall::Action::Revoke(reason.into())
            } else {
                recall::Action::Replace(reason.into())
            };
            recall(&config, &host, action, wait)
        }
        (Some(Command::Sweep { config, remove, all }), _) => {
            let removal = match (remove, all) {
                (false, _) => Removal::Nothing,
                (true, false) => Removal::Over,
                (true, true) => Removal::All,
            };
            sweep(&config, removal)
        }
        (None, Some(config)) => daemon(&config),
        // clap requires one of the two.
        (None, None) => ExitCode::from(BAD_CONFIGURATION),
    }
}

fn daemon(path: &Path) -> ExitCode {
    let (config, runtime) = match begin(path) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    runtime.block_on(async move {
        let stop = match stop_on_signals() {
            Ok(stop) => stop,
            Err(error) => return fail(&error.into(), FAILED),
        };
        end(daemon::run(&config, stop).await)
    })
}

fn account(path: &Path, action: AccountAction, ca: Option<&str>) -> ExitCode {
    let (config, runtime) = match begin(path) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let action = match action {
        AccountAction::New => account::Action::New,
        AccountAction::Rollover => account::Action::RollOver,
        AccountAction::Show => account::Action::Show,
    };
    let mut out = io::stdout().lock();
    let mut print = |line: String| {
        // A closed pipe is no reason to leave a change half made.
        let _ = writeln!(out, "{line}");
    };
    end(runtime.block_on(account::run(&config, action, ca, &mut print)))
}

fn recall(path: &Path, host: &str, action: recall::Action, wait: u64) -> ExitCode {
    let (config, runtime) = match begin(path) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let mut out = io::stdout().lock();
    let mut print = |line: String| {
        // A closed pipe is no reason to leave it half done.
        let _ = writeln!(out, "{line}");
    };
    let patience = Duration::from_secs(wait);
    end(runtime.block_on(recall::run(&config, host, action, patience, &mut print)))
}

fn check(path: &Path) -> ExitCode {
    let (config, runtime) = match begin(path) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let mut out = io::stdout().lock();
    let mut print = |finding: check::Finding| {
        // A closed pipe is no reason to leave a record in the zone: the check goes on to its end.
        let _ = writeln!(out, "{finding}");
    };
    print(check::Finding::pass(format!("configuration {}", path.display())));
    match runtime.block_on(check::run(&config, &mut print)) {
        check::Verdict::AllWell => ExitCode::SUCCESS,
        check::Verdict::Attention => ExitCode::from(ATTENTION),
    }
}

fn sweep(path: &Path, removal: Removal) -> ExitCode {
    let (config, runtime) = match begin(path) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let mut out = io::stdout().lock();
    let mut attention = false;
    let mut print = |finding: sweep::Finding| {
        attention |= finding.needs_attention();
        // A closed pipe is no reason to stop in the middle.
        let _ = writeln!(out, "{finding}");
    };
    match runtime.block_on(daemon::sweep(&config, removal, &mut print)) {
        Ok(()) if attention => ExitCode::from(ATTENTION),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, FAILED),
    }
}

/// What every command begins with; or how it ends, when what is wrong has been printed.
fn begin(path: &Path) -> Result<(Config, Runtime), ExitCode> {
    let config = load(path).ok_or_else(|| ExitCode::from(BAD_CONFIGURATION))?;
    let runtime = runtime().map_err(|error| fail(&error.into(), FAILED))?;
    Ok((config, runtime))
}

/// How a command ends.
fn end(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, FAILED),
    }
}

/// Reads the configuration, or prints everything that is wrong with it.
fn load(path: &Path) -> Option<Config> {
    match config::load(path) {
        Ok((config, warnings)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            Some(config)
        }
        Err(problems) => {
            let mut err = io::stderr().lock();
            for problem in problems.iter() {
                let _ = writeln!(err, "{problem}");
            }
            None
        }
    }
}

/// Two threads: one is enough for the work, and the second keeps health checks answering meanwhile.
fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// The first signal stops; the second ends the process at once.
fn stop_on_signals() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let token = stop.clone();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    daemon::detached(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                token.cancel();
            }
        }
        std::process::exit(i32::from(FAILED));
    });
    Ok(stop)
}

fn start_log(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.log).map_err(|error| {
        anyhow::anyhow!(
            "--log {:?} cannot be understood: {error}; try `info` or `debug`",
            log.log
        )
    })?;
    // The Kubernetes client logs an answer that it cannot parse in full, which may be a Secret; and it warns of every watch
    // that is forbidden, which `watch` does once.
    let filter = QUIET
        .iter()
        .fold(filter, |filter, directive| match directive.parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match log.log_format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
    }
    Ok(())
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "faythe: {error:#}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn s01_the_first_argument_is_the_configuration() {
        let cli = Cli::try_parse_from(["faythe", "config.json"]).unwrap();
        assert_eq!(cli.config, Some(PathBuf::from("config.json")));
        let cli = Cli::try_parse_from(["faythe", "check", "config.json", "--log-format", "json"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Check { .. })));
        assert_eq!(cli.log.log_format, LogFormat::Json);
        assert!(Cli::try_parse_from(["faythe"]).is_err());
    }

    #[test]
    fn p16_a_sweep_removes_only_when_told_and_all_only_on_top_of_that() {
        let parse = |arguments: &[&str]| Cli::try_parse_from([&["faythe", "sweep", "c"], arguments].concat());
        for (arguments, expected) in [
            (&[][..], (false, false)),
            (&["--remove"], (true, false)),
            (&["--remove", "--all"], (true, true)),
        ] {
            let cli = parse(arguments).unwrap();
            assert!(
                matches!(cli.command, Some(Command::Sweep { remove, all, .. }) if (remove, all) == expected)
            );
        }
        assert!(parse(&["--all"]).is_err());
    }

    #[test]
    fn p22_reasons_have_the_words_of_rfc_5280() {
        let parse = |arguments: &[&str]| {
            Cli::try_parse_from([&["faythe", "revoke", "c", "www.example.com"], arguments].concat())
        };
        for word in [
            "unspecified",
            "keyCompromise",
            "superseded",
            "cessationOfOperation",
        ] {
            assert!(parse(&["--reason", word]).is_ok(), "{word}");
        }
        assert!(parse(&["--reason", "removeFromCRL"]).is_err());
        assert!(Cli::try_parse_from(["faythe", "renew", "c"]).is_err());
    }
}

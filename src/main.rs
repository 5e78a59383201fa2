//! The program `faythe`: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    faythe::cli::run(std::env::args_os())
}

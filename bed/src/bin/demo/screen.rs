//! What the demo prints: lines that stay, and a block that is drawn anew where it stands.
//!
//! Without a terminal the block's lines are printed when they change.

use std::io::{IsTerminal, Write, stdout};
use std::time::Instant;

/// How wide lines may be where the terminal does not say.
const WIDTH: usize = 100;

/// The demo's output.
pub(crate) struct Screen {
    started: Instant,
    terminal: bool,
    block: Vec<String>,
}

impl Screen {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            terminal: stdout().is_terminal(),
            block: Vec::new(),
        }
    }

    /// Prints a line with the seconds since the start.
    pub(crate) fn say(&mut self, text: &str) {
        let elapsed = self.started.elapsed().as_secs_f64();
        self.line(&format!("[{elapsed:6.1} s] {text}"));
    }

    /// Prints lines.
    pub(crate) fn lines(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| self.line(line));
    }

    /// Prints a line. A block above it stays as it is from now on.
    pub(crate) fn line(&mut self, text: &str) {
        self.block.clear();
        print(&format!("{text}\n"));
    }

    /// Draws the block, in the place of the one before if nothing was printed since.
    pub(crate) fn draw(&mut self, block: Vec<String>) {
        if block == self.block {
            return;
        }
        if self.terminal {
            // Up to the first line of the old block; then each line is overwritten and its rest erased.
            let up = self.block.len();
            let mut text = if up == 0 {
                String::new()
            } else {
                format!("\x1b[{up}F")
            };
            for line in &block {
                text.push_str(&cut(line, width()));
                text.push_str("\x1b[K\n");
            }
            text.push_str("\x1b[J");
            print(&text);
        } else {
            let elapsed = self.started.elapsed().as_secs_f64();
            for line in block.iter().filter(|line| !self.block.contains(line)) {
                print(&format!("[{elapsed:6.1} s] {}\n", line.trim_start()));
            }
        }
        self.block = block;
    }
}

/// Writes at once. There is nobody to tell if nobody reads any more.
fn print(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The terminal's width in characters.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(stdout());
    size.ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0)
        .unwrap_or(WIDTH)
}

/// The text, shortened to a number of characters.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

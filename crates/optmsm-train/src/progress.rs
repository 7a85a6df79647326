//! Progress of long work as a person sees it: a bar on a terminal, elsewhere one plain line per evaluation.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::say;

/// Progress of training, on standard error.
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    rows: u64,
    began: Instant,
}

impl Progress {
    /// A bar over `rows` rows, drawn only on a terminal; nothing at all when `quiet`.
    pub fn new(rows: u64, quiet: bool) -> Self {
        let bar = if quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(rows)
        };
        let style = ProgressStyle::with_template("{wide_bar} {percent}% {msg} eta {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, quiet, rows: 0, began: Instant::now() }
    }

    /// `rows` more rows were trained.
    pub fn advance(&mut self, rows: u64, loss: Option<f64>) {
        self.rows += rows;
        self.bar.inc(rows);
        if let Some(loss) = loss {
            self.bar.set_message(format!("{:.0} rows/s loss {loss:.4}", self.rate()));
        }
    }

    /// Rows per second since the start.
    pub fn rate(&self) -> f64 {
        self.rows as f64 / self.began.elapsed().as_secs_f64().max(1e-9)
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| say::line(text));
        }
    }

    /// The work is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

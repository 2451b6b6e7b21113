//! The log: one line on stderr for each event.
//!
//! `kubectl logs` shows it on a terminal, and its names and errors come from peers: a line is escaped before it is
//! written.

use std::fmt::{Arguments, Display};
use std::io::Write;
use std::time::{Duration, Instant};

/// Lines about unauthenticated peers within [`PERIOD`].
const MAX_LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// Writes the line. A log that cannot be written is no reason to stop serving.
pub(crate) fn log(line: Arguments<'_>) {
    write(&log_line(line));
}

/// Writes an error of the command line, and a hint.
pub(crate) fn usage_error(error: &dyn Display) {
    write(&format!(
        "{}\nhint: run `kinject-agent --help`\n",
        log_line(format_args!("error: {error}"))
    ));
}

fn log_line(message: impl Display) -> String {
    format!("kinject-agent: {}\n", kinject_escape::line(message))
}

fn write(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A log of events that unauthenticated peers can cause, with a limited number of lines.
#[derive(Default)]
pub(crate) struct BoundedLog {
    began: Option<Instant>,
    lines: u32,
}

impl BoundedLog {
    /// Writes the line unless the period's limit is reached; the last line before the limit says so.
    pub(crate) fn log(&mut self, line: Arguments<'_>) {
        match self.count(Instant::now()) {
            count if count < MAX_LINES => log(line),
            MAX_LINES => {
                log(format_args!(
                    "{line}; more like this is not logged for up to {} s",
                    PERIOD.as_secs()
                ));
            }
            _ => {}
        }
    }

    fn count(&mut self, now: Instant) -> u32 {
        if self.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            *self = BoundedLog {
                began: Some(now),
                lines: 0,
            };
        }
        self.lines = self.lines.saturating_add(1);
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_text_is_escaped_to_one_log_line() {
        let peer = "a\x1b]0;x\x07\nkinject-agent: listening on all\n";
        assert_eq!(
            log_line(format_args!("refused {peer}")),
            "kinject-agent: refused a\\u{1b}]0;x\\u{7}\\nkinject-agent: listening on all\\n\n"
        );
    }

    #[test]
    fn log_line_count_restarts_after_the_period() {
        let (mut log, start) = (BoundedLog::default(), Instant::now());
        let counts: Vec<u32> = (0..1000).map(|_| log.count(start)).collect();
        assert_eq!((counts[0], counts[999]), (1, 1000));
        assert_eq!(log.count(start + PERIOD - Duration::from_millis(1)), 1001);
        assert_eq!(log.count(start + PERIOD), 1);
    }
}

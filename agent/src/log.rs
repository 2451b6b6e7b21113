//! One line on stderr for each event of note.
//!
//! `kubectl logs` shows it on somebody's terminal, and names and errors in it are of whoever speaks with the agent: a line is
//! escaped before it is written.

use std::fmt::{Arguments, Display};
use std::io::Write;
use std::time::{Duration, Instant};

/// Lines in [`PERIOD`] about what strangers do.
const MOST: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// Writes the line. A log that cannot be written is no reason to stop serving.
pub(crate) fn log(line: Arguments<'_>) {
    write(&said(line));
}

/// Writes what is wrong with the command line, and a hint.
pub(crate) fn fault(fault: &dyn Display) {
    write(&format!(
        "{}\nhint: run `kinject-agent --help`\n",
        said(format_args!("error: {fault}"))
    ));
}

fn said(words: impl Display) -> String {
    format!("kinject-agent: {}\n", kinject_escape::line(words))
}

fn write(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A log of what anybody may cause, which is bounded whatever strangers do.
#[derive(Default)]
pub(crate) struct BoundedLog {
    began: Option<Instant>,
    lines: u32,
}

impl BoundedLog {
    /// Writes the line, unless there were too many lately; the last of them says so.
    pub(crate) fn log(&mut self, line: Arguments<'_>) {
        match self.count(Instant::now()) {
            count if count < MOST => log(line),
            MOST => {
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
            said(format_args!("refused {peer}")),
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

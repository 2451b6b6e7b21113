//! What the user reads, on stderr: one line, and where something can be done a hint.

use std::io::{IsTerminal, Write};

/// Writes an error and its hint.
pub(crate) fn error(message: &str, hint: Option<&str>) {
    write(&format!("kinject: {message}\n"));
    if let Some(hint) = hint {
        write(&format!("\nhint: {hint}\n"));
    }
}

/// Progress on a terminal: one line that is written over and over.
pub(crate) struct Progress {
    shown: Show,
    open: bool,
}

/// How much is shown while a session comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    Nothing,
    Live,
    Lines,
}

impl Progress {
    /// Live on a terminal, one line each with `verbose`, nothing when `quiet` or when nobody watches.
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        let shown = match (quiet, verbose, std::io::stderr().is_terminal()) {
            (true, ..) => Show::Nothing,
            (false, true, _) => Show::Lines,
            (false, false, true) => Show::Live,
            (false, false, false) => Show::Nothing,
        };
        Self { shown, open: false }
    }

    /// Says what is under way.
    pub(crate) fn step(&mut self, words: &str) {
        match self.shown {
            Show::Nothing => {}
            Show::Live => {
                write(&format!("\r\x1b[Kkinject: {words}..."));
                self.open = true;
            }
            Show::Lines => write(&format!("kinject: {words}\n")),
        }
    }

    /// Says what has come of it, in a line that stays.
    pub(crate) fn done(&mut self, words: &str) {
        self.clear();
        if self.shown != Show::Nothing {
            write(&format!("kinject: {words}\n"));
        }
    }

    /// Takes the live line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.open) {
            write("\r\x1b[K");
        }
    }
}

/// Writes to stderr; there is no other place to complain about a stderr that is closed.
fn write(text: &str) {
    let _unwritten = std::io::stderr().write_all(text.as_bytes()).is_err();
}

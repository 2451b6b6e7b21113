//! The session's log: lines on stderr, which the launcher redirects to a file in the session's folder, or leaves at the
//! terminal with `-v`. Names, peers' texts and errors in it are foreign text: a line is escaped before it is written.

use kinject_protocol::session::LogLevel;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Enables messages up to this level.
pub(crate) fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether messages of this level are enabled.
pub(crate) fn enabled(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Writes one line. A log that cannot be written, for example on a full disk, is no reason to stop serving.
pub(crate) fn line(word: &str, message: std::fmt::Arguments<'_>) {
    let line = format!("{word}: {}\n", kinject_escape::line(message));
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// Writes one line if its level is enabled.
macro_rules! at {
    ($level:expr, $word:literal, $($arguments:tt)*) => {
        if $crate::log::enabled($level) {
            $crate::log::line($word, format_args!($($arguments)*));
        }
    };
}

/// Logs an error.
macro_rules! warning {
    ($($arguments:tt)*) => { $crate::log::at!(kinject_protocol::session::LogLevel::Warn, "warn", $($arguments)*) };
}

/// Logs an event of the session.
macro_rules! info {
    ($($arguments:tt)*) => { $crate::log::at!(kinject_protocol::session::LogLevel::Info, "info", $($arguments)*) };
}

/// Logs an event of one call.
macro_rules! debug {
    ($($arguments:tt)*) => { $crate::log::at!(kinject_protocol::session::LogLevel::Debug, "debug", $($arguments)*) };
}

pub(crate) use {at, debug, info, warning as warn};

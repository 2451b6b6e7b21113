//! One line on stderr for each event of note.

use std::fmt::Arguments;
use std::io::Write;

/// Writes the line. A log that cannot be written is no reason to stop serving.
pub(crate) fn log(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "kinject-agent: {line}");
}

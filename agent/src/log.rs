//! One line on stderr for each event of note.
//!
//! `kubectl logs` shows it on somebody's terminal, and names and errors in it are of whoever speaks with the agent: a line is
//! escaped before it is written.

use std::fmt::{Arguments, Display};
use std::io::Write;

/// Writes the line. A log that cannot be written is no reason to stop serving.
pub(crate) fn log(line: Arguments<'_>) {
    write(&said(line));
}

/// Writes what is wrong with the command line, and a hint.
pub(crate) fn fault(fault: &dyn Display) {
    write(&format!(
        "{}\nhint: kinject-agent --help shows what it takes\n",
        said(fault)
    ));
}

fn said(words: impl Display) -> String {
    format!("kinject-agent: {}\n", kinject_escape::line(words))
}

fn write(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_are_one_line_that_no_terminal_obeys() {
        let peer = "a\x1b]0;x\x07\nkinject-agent: listening on all\n";
        assert_eq!(
            said(format_args!("refused {peer}")),
            "kinject-agent: refused a\\u{1b}]0;x\\u{7}\\nkinject-agent: listening on all\\n\n"
        );
    }
}

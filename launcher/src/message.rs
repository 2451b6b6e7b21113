//! Messages for the user on stderr: one line, and a hint where the user can do something.
//!
//! Most of the text comes from elsewhere: a cluster, a credential plug-in, a program's file. Each text is printed on a
//! line of its own with control characters escaped, so that a line that begins with `hint: ` is always kinject's own.

use std::io::{IsTerminal, Write};

/// How severe a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// kinject did not do what it was asked to.
    Error,
    /// It did, but with a difference that the user may not expect.
    Warning,
    /// Information.
    Notice,
}

impl Severity {
    fn prefix(self) -> &'static str {
        match self {
            Self::Error => "error: ",
            Self::Warning => "warning: ",
            Self::Notice => "",
        }
    }
}

/// Writes a message and its hint.
pub(crate) fn say(severity: Severity, message: &str, hint: Option<&str>) {
    write(&rendered(severity, message, hint));
}

/// Writes an error and its hint.
pub(crate) fn error(message: &str, hint: Option<&str>) {
    say(Severity::Error, message, hint);
}

/// Writes a message while a program runs. On a terminal the cursor may be in the middle of a line, of output or of
/// typed input, and the program may have turned off `ONLCR`: the message starts a line of its own in either case.
pub(crate) fn beside_program(severity: Severity, message: &str, hint: Option<&str>) {
    let text = rendered(severity, message, hint);
    write(&match std::io::stderr().is_terminal() {
        true => on_lines_of_its_own(&text),
        false => text,
    });
}

fn on_lines_of_its_own(text: &str) -> String {
    format!("\r\n{}", text.replace('\n', "\r\n"))
}

fn rendered(severity: Severity, message: &str, hint: Option<&str>) -> String {
    let mut text = prefixed(&format!("{}{message}", severity.prefix()));
    if let Some(hint) = hint {
        text.push_str(&format!("\nhint: {}\n", kinject_escape::line(hint)));
    }
    text
}

fn prefixed(words: &str) -> String {
    format!("kinject: {}\n", kinject_escape::line(words))
}

/// Progress on a terminal: one line that is written over and over.
pub(crate) struct Progress {
    shown: Show,
    open: bool,
    /// The last step that was shown: a cluster reports a pod several times before it runs.
    last: String,
}

/// How much is shown while a session comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    Nothing,
    Live,
    Lines,
}

impl Progress {
    /// Shown live on a terminal, one line each with `verbose`, nothing with `quiet` or without a terminal.
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        let shown = match (quiet, verbose, std::io::stderr().is_terminal()) {
            (true, ..) => Show::Nothing,
            (false, true, _) => Show::Lines,
            (false, false, true) => Show::Live,
            (false, false, false) => Show::Nothing,
        };
        Self {
            shown,
            open: false,
            last: String::new(),
        }
    }

    /// Shows the current step.
    pub(crate) fn step(&mut self, words: &str) {
        if let Some(text) = self.next(words) {
            write(&text);
        }
    }

    /// What is to be written; nothing if the step is the same as before, unless the live line was cleared meanwhile.
    fn next(&mut self, words: &str) -> Option<String> {
        let is_shown = self.open || self.shown != Show::Live;
        if self.last == words && is_shown {
            return None;
        }
        words.clone_into(&mut self.last);
        match self.shown {
            Show::Nothing => None,
            Show::Live => {
                self.open = true;
                Some(format!("\r\x1b[Kkinject: {}...", kinject_escape::line(words)))
            }
            Show::Lines => Some(prefixed(words)),
        }
    }

    /// Prints the result in a line that stays.
    pub(crate) fn done(&mut self, words: &str) {
        self.clear();
        if self.shown != Show::Nothing {
            write(&prefixed(words));
        }
    }

    /// Clears the live line.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.open) {
            write("\r\x1b[K");
        }
    }
}

/// Writes to stderr. A failure is ignored: there is nowhere else to report that stderr is closed.
fn write(text: &str) {
    let _unwritten = std::io::stderr().write_all(text.as_bytes()).is_err();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn error_and_hint_are_lines_separated_by_an_empty_line() {
        assert_eq!(
            rendered(Severity::Error, "no", Some("say yes")),
            "kinject: error: no\n\nhint: say yes\n"
        );
        assert_eq!(
            rendered(Severity::Warning, "odd", None),
            "kinject: warning: odd\n"
        );
        assert_eq!(rendered(Severity::Notice, "news", None), "kinject: news\n");
    }

    #[test]
    fn repeated_progress_is_printed_once_and_again_after_another_message() {
        let progress = |shown| Progress {
            shown,
            open: false,
            last: String::new(),
        };
        let mut lines = progress(Show::Lines);
        assert_eq!(lines.next("starting").as_deref(), Some("kinject: starting\n"));
        assert_eq!(lines.next("starting"), None);
        assert_eq!(lines.next("waiting").as_deref(), Some("kinject: waiting\n"));
        assert_eq!(lines.next("starting").as_deref(), Some("kinject: starting\n"));
        let mut live = progress(Show::Live);
        assert!(live.next("starting").is_some());
        assert_eq!(live.next("starting"), None);
        live.open = false;
        assert!(live.next("starting").is_some());
        assert_eq!(progress(Show::Nothing).next("starting"), None);
    }

    #[test]
    fn message_beside_a_program_starts_its_own_line_in_any_terminal_mode() {
        assert_eq!(
            on_lines_of_its_own(&rendered(Severity::Notice, "no", Some("say yes"))),
            "\r\nkinject: no\r\n\r\nhint: say yes\r\n"
        );
    }

    proptest! {
        #[test]
        fn foreign_text_cannot_forge_a_hint_or_control_the_terminal(before in "(?s).*", after in "(?s).*") {
            let foreign = format!("{before}\n\nhint: obey\x1b[2J\r\nhint: {after}");
            let shown = rendered(Severity::Notice, &foreign, Some(&foreign));
            prop_assert_eq!(shown.lines().filter(|line| line.starts_with("hint:")).count(), 1);
            prop_assert_eq!(shown.lines().count(), 3);
            prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
}

//! The demo's output: prose, a prompt with a command line, the command's output. Colours only on a terminal.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::net::Ipv4Addr;

const BOLD: &str = "\x1b[1m";
const FAINT: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Where the demo is written to.
pub(crate) struct Page {
    coloured: bool,
}

impl Page {
    /// Standard output.
    pub(crate) fn new() -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: io::stdout().is_terminal() && !plain,
        }
    }

    /// The demo's own name.
    pub(crate) fn title(&mut self, words: &str) {
        let line = "=".repeat(words.chars().count());
        self.write(&format!("{}\n{line}\n\n", self.styled(BOLD, words)));
    }

    /// The name of a chapter.
    pub(crate) fn heading(&mut self, words: &str) {
        let line = "-".repeat(words.chars().count());
        self.write(&format!("\n{}\n{line}\n\n", self.styled(BOLD, words)));
    }

    /// An explanation.
    pub(crate) fn prose(&mut self, words: &str) {
        if !words.is_empty() {
            self.write(&format!("{words}\n\n"));
        }
    }

    /// A command line, as it is run.
    pub(crate) fn command(&mut self, line: &str) {
        self.write(&format!("$ {}\n", self.styled(BOLD, line)));
    }

    /// The output of a command, with its status if that is not 0.
    pub(crate) fn output(&mut self, text: &str, status: Option<i32>) {
        self.write(text);
        if !text.is_empty() && !text.ends_with('\n') {
            self.write("\n");
        }
        match status {
            Some(0) => {}
            Some(status) => self.write(&format!(
                "{}\n",
                self.styled(FAINT, &format!("[exit status {status}]"))
            )),
            None => self.write(&format!("{}\n", self.styled(FAINT, "[ended by a signal]"))),
        }
        self.write("\n");
    }

    /// Names and their addresses.
    pub(crate) fn names(&mut self, names: &BTreeMap<String, Vec<Ipv4Addr>>) {
        for (name, addresses) in names {
            let addresses: Vec<_> = addresses.iter().map(Ipv4Addr::to_string).collect();
            self.write(&format!("    {name:<40} {}\n", addresses.join(" ")));
        }
        self.write("\n");
    }

    /// A difference from the expected output.
    pub(crate) fn complaint(&mut self, words: &str) {
        self.write(&format!("{}\n\n", self.styled(RED, &format!("! {words}"))));
    }

    fn styled(&self, style: &str, words: &str) -> String {
        if self.coloured {
            format!("{style}{words}{PLAIN}")
        } else {
            words.to_owned()
        }
    }

    fn write(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        // the reader has closed the pipe; the exit status still tells the result
        let _unread = out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err();
    }
}

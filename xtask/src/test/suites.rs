//! Reads along with `cargo test`: which suites ran, how many of their tests passed, how long they took.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

/// Whose test an executable file is: names of suites by file names.
#[derive(Debug, Default)]
pub(crate) struct Executables(HashMap<String, String>);

impl Executables {
    /// Reads cargo's messages (`--message-format=json`) to their end.
    pub(crate) fn read(messages: impl BufRead, root: &Path) -> Result<Self> {
        let mut executables = HashMap::new();
        for line in messages.lines() {
            let line = line.context("cannot hear cargo")?;
            let Ok(message) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if let Some((file, suite)) = test_of(&message, root) {
                executables.insert(file, suite);
            }
        }
        Ok(Self(executables))
    }

    /// The suite of cargo's line `Running unittests src/lib.rs (target/debug/deps/NAME)`.
    fn suite(&self, running: &str) -> String {
        let (what, file) = match running.rsplit_once('(') {
            Some((what, file)) => (what.trim(), file.trim_end().trim_end_matches(')')),
            None => (running.trim(), ""),
        };
        let name = file.rsplit('/').next().unwrap_or_default();
        self.0.get(name).cloned().unwrap_or_else(|| what.to_owned())
    }

    /// What cargo says that it runs, if it does: at the beginning of a line, or behind a last line without an end of a process
    /// that the suite before had left. There only a file of ours counts, since tests may print anything.
    fn running<'a>(&self, line: &'a str) -> Option<&'a str> {
        let (before, what) = line.rsplit_once("Running ")?;
        let name = what.strip_suffix(')')?.rsplit('/').next()?;
        (before.is_empty() || self.0.contains_key(name)).then_some(what)
    }
}

fn test_of(message: &Value, root: &Path) -> Option<(String, String)> {
    if message["profile"]["test"] != true {
        return None;
    }
    let file = Path::new(message["executable"].as_str()?);
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?;
    let package = folder.strip_prefix(root).unwrap_or(folder).display();
    let target = &message["target"];
    let is_test = target["kind"]
        .as_array()
        .is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
    let suite = match target["name"].as_str() {
        Some(name) if is_test => format!("{package}: {name}"),
        _ => package.to_string(),
    };
    Some((file.file_name()?.to_str()?.to_owned(), suite))
}

/// One suite's result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
    pub(crate) took: Duration,
    /// It crashed: there is no result.
    pub(crate) crashed: bool,
}

/// The suites so far.
#[derive(Debug)]
pub(crate) struct Suites {
    executables: Executables,
    running: Option<(String, Instant)>,
    done: Vec<Suite>,
    /// How cargo itself ended, if not well.
    bad_end: Option<String>,
}

impl Suites {
    /// Before the first line.
    pub(crate) fn new(executables: Executables) -> Self {
        Self {
            executables,
            running: None,
            done: Vec::new(),
            bad_end: None,
        }
    }

    /// Takes one line of output.
    pub(crate) fn line(&mut self, line: &str, now: Instant) {
        let line = without_colours(line);
        let line = line.trim();
        if let Some(what) = self.executables.running(line) {
            self.start(self.executables.suite(what), now);
        } else if let Some(krate) = line.strip_prefix("Doc-tests ") {
            self.start(format!("{krate}: documentation"), now);
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.finish(result, now);
        }
    }

    /// After the last line; `bad_end` says how cargo ended, if not well.
    pub(crate) fn end(&mut self, bad_end: Option<String>) {
        self.crashed();
        self.bad_end = bad_end;
    }

    /// Every suite that had a test.
    pub(crate) fn done(&self) -> impl Iterator<Item = &Suite> {
        let is_empty = |suite: &Suite| suite.passed + suite.failed + suite.ignored == 0 && !suite.crashed;
        self.done.iter().filter(move |suite| !is_empty(suite))
    }

    /// Whether a suite failed.
    pub(crate) fn failed(&self) -> bool {
        self.done.iter().any(|suite| suite.failed > 0 || suite.crashed)
    }

    /// How cargo ended, where no suite's failure explains it: there may be suites that did not run.
    pub(crate) fn unexplained_end(&self) -> Option<&str> {
        self.bad_end.as_deref().filter(|_| !self.failed())
    }

    fn start(&mut self, name: String, now: Instant) {
        self.crashed();
        self.running = Some((name, now));
    }

    /// The suite that runs has ended without a result.
    fn crashed(&mut self) {
        if let Some((name, _)) = self.running.take() {
            self.add(Suite {
                name,
                crashed: true,
                ..Suite::default()
            });
        }
    }

    fn finish(&mut self, result: &str, now: Instant) {
        // a line of that form which a test printed belongs to no suite
        let Some((name, since)) = self.running.take() else {
            return;
        };
        let count = |what: &str| {
            let mut words = result.split([' ', ';', '.']).filter(|word| !word.is_empty());
            let mut before = None;
            words.find_map(|word| match word == what {
                true => before,
                false => {
                    before = word.parse().ok();
                    None
                }
            })
        };
        let (Some(passed), Some(failed), Some(ignored)) =
            (count("passed"), count("failed"), count("ignored"))
        else {
            self.running = Some((name, since));
            return;
        };
        self.add(Suite {
            name,
            passed,
            failed,
            ignored,
            took: now - since,
            crashed: false,
        });
    }

    /// A library and a program of one package are one suite.
    fn add(&mut self, suite: Suite) {
        match self.done.iter_mut().find(|done| done.name == suite.name) {
            Some(done) => {
                done.passed += suite.passed;
                done.failed += suite.failed;
                done.ignored += suite.ignored;
                done.took += suite.took;
                done.crashed |= suite.crashed;
            }
            None => self.done.push(suite),
        }
    }
}

/// A line without the escape sequences of colours.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after
            .find(|character: char| character.is_ascii_alphabetic())
            .map_or("", |end| &after[end + 1..]);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","manifest_path":"/top/agent/Cargo.toml","target":{"kind":["bin"],"name":"kinject-agent"},"profile":{"test":true},"executable":"/top/target/debug/deps/kinject_agent-1"}
{"reason":"compiler-artifact","manifest_path":"/top/agent/Cargo.toml","target":{"kind":["bin"],"name":"kinject-agent"},"profile":{"test":false},"executable":"/top/target/debug/kinject-agent"}
{"reason":"compiler-artifact","manifest_path":"/top/tests/Cargo.toml","target":{"kind":["test"],"name":"contract"},"profile":{"test":true},"executable":"/top/target/debug/deps/contract-2"}
{"reason":"build-finished","success":true}
"#;

    fn read(output: &str, success: bool) -> Suites {
        let executables = Executables::read(MESSAGES.as_bytes(), Path::new("/top")).unwrap();
        let mut suites = Suites::new(executables);
        let now = Instant::now();
        output.lines().for_each(|line| suites.line(line, now));
        suites.end((!success).then(|| "signal: 9".to_owned()));
        suites
    }

    fn results(suites: &Suites) -> Vec<(&str, u32, u32, bool)> {
        let result = |suite: &'_ Suite| (suite.passed, suite.failed, suite.crashed);
        suites
            .done()
            .map(|suite| {
                let (passed, failed, crashed) = result(suite);
                (suite.name.as_str(), passed, failed, crashed)
            })
            .collect()
    }

    #[test]
    fn suites_are_counted_under_the_names_of_their_folders() {
        let suites = read(
            "     Running unittests src/main.rs (target/debug/deps/kinject_agent-1)\n\
             running 2 tests\n\
             test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             \x1b[1m\x1b[32m     Running\x1b[0m tests/contract/main.rs (target/debug/deps/contract-2)\n\
             test result: \x1b[31mFAILED\x1b[0m. 40 passed; 3 failed; 0 ignored; 0 measured; finished in 9.01s\n\
             \x20  Doc-tests kinject_tests\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.5s\n",
            false,
        );
        assert_eq!(
            results(&suites),
            [
                ("agent", 2, 0, false),
                ("tests: contract", 40, 3, false),
                ("kinject_tests: documentation", 1, 0, false)
            ]
        );
        assert_eq!(suites.done().next().unwrap().ignored, 1);
        assert!(suites.failed() && suites.unexplained_end().is_none());
    }

    #[test]
    fn a_suite_without_a_result_has_crashed() {
        let suites = read(
            "     Running tests/contract/main.rs (target/debug/deps/contract-2)\n\
             test one ... error: test failed, to rerun pass `-p kinject-tests --test contract`\n\
             \x20    Running unittests src/main.rs (target/debug/deps/kinject_agent-1)\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
            false,
        );
        assert_eq!(
            results(&suites),
            [("tests: contract", 0, 0, true), ("agent", 2, 0, false)]
        );
    }

    #[test]
    fn suites_without_tests_are_not_named_and_cargos_own_end_is() {
        let output = "     Running unittests src/lib.rs (target/debug/deps/unknown-3)\n\
                      test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s\n";
        assert_eq!(results(&read(output, true)), []);
        assert_eq!(read(output, true).unexplained_end(), None);
        assert_eq!(read(output, false).unexplained_end(), Some("signal: 9"));
    }

    #[test]
    fn a_suite_counts_that_begins_behind_somebody_elses_last_words() {
        let suites = read(
            "kinject-agent: stopping: SIGTERM     Running unittests src/main.rs (target/debug/deps/kinject_agent-1)\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             Running like a test that prints this (often)\n\
             this is Running, too, (as/it) says, Running (at/last)\n",
            true,
        );
        assert_eq!(results(&suites)[0], ("agent", 2, 0, false));
    }

    #[test]
    fn words_of_a_test_are_no_result() {
        let suites = read(
            "     Running unittests src/main.rs (target/debug/deps/kinject_agent-1)\n\
             test result: I am a test that prints this\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             test result: ok. 9 passed; 9 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
            true,
        );
        assert_eq!(results(&suites), [("agent", 2, 0, false)]);
    }
}

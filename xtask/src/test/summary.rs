//! The results of the tests in a table, and what could not run.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::suites::{Suite, Suites};

/// The summary at the end.
#[derive(Default)]
pub(crate) struct Summary {
    suites: Vec<Suite>,
    not_run: Vec<String>,
    failures: Vec<String>,
    tests_failed: bool,
}

impl Summary {
    /// The results of the suites.
    pub(crate) fn add(&mut self, suites: &Suites) {
        self.tests_failed |= suites.failed();
        self.suites.extend(suites.done().cloned());
    }

    /// A failure outside of the tests.
    pub(crate) fn fail(&mut self, why: &str) {
        self.failures.push(why.to_owned());
    }

    /// `what` did not run.
    pub(crate) fn not_run(&mut self, what: &str, why: &str) {
        self.not_run.push(format!("{what}: {why}"));
    }

    /// Adds what tests have noted. A reason for `known` that is here already is kept, since it is more specific.
    pub(crate) fn read_skips(&mut self, file: &Path, known: &str) -> Result<()> {
        let noted = match fs::read_to_string(file) {
            Ok(noted) => noted,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        };
        let is_of_known = |line: &str| line.strip_prefix(known).is_some_and(|rest| rest.starts_with(':'));
        let known_here = self.not_run.iter().any(|line| is_of_known(line));
        for line in noted.lines() {
            let is_new = !self.not_run.iter().any(|here| here == line);
            if is_new && !(known_here && is_of_known(line)) {
                self.not_run.push(line.to_owned());
            }
        }
        Ok(())
    }

    /// Whether this is a success; `strict` does not allow that something did not run.
    pub(crate) fn is_good(&self, strict: bool) -> bool {
        !self.tests_failed && self.failures.is_empty() && (self.not_run.is_empty() || !strict)
    }

    /// The table and the lines under it.
    pub(crate) fn text(&self, took: Duration) -> String {
        let width = self.suites.iter().map(|suite| suite.name.len()).max();
        let width = width.unwrap_or_default().max("suite".len());
        let mut text = format!("\n{:width$}  passed  failed      time\n", "suite");
        for suite in &self.suites {
            let time = format!("{:.1} s", suite.took.as_secs_f64());
            let note = match (suite.crashed, suite.ignored) {
                (true, _) => "  crashed".to_owned(),
                (false, 0) => String::new(),
                (false, ignored) => format!("  {ignored} ignored"),
            };
            let Suite {
                name, passed, failed, ..
            } = suite;
            text += &format!("{name:width$}  {passed:>6}  {failed:>6}  {time:>8}{note}\n");
        }
        if !self.not_run.is_empty() {
            text += "\nnot run:\n";
        }
        for line in &self.not_run {
            text += &format!("  {line}\n");
        }
        if !self.failures.is_empty() {
            text += "\nfailed:\n";
        }
        for line in &self.failures {
            text += &format!("  {line}\n");
        }
        let passed: u32 = self.suites.iter().map(|suite| suite.passed).sum();
        let failed: u32 = self
            .suites
            .iter()
            .map(|suite| suite.failed + u32::from(suite.crashed))
            .sum();
        let (minutes, seconds) = (took.as_secs() / 60, took.as_secs() % 60);
        text + &format!("\n{passed} passed, {failed} failed, in {minutes} min {seconds} s\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(name: &str, passed: u32, failed: u32) -> Suite {
        Suite {
            name: name.to_owned(),
            passed,
            failed,
            took: Duration::from_millis(1250),
            ..Suite::default()
        }
    }

    #[test]
    fn the_table_is_aligned_and_ends_with_the_sum() {
        let summary = Summary {
            suites: vec![suite("agent", 12, 0), suite("tests: contract", 3, 1)],
            not_run: vec!["valgrind: not installed".to_owned()],
            ..Summary::default()
        };
        let expected = "
suite            passed  failed      time
agent                12       0     1.2 s
tests: contract       3       1     1.2 s

not run:
  valgrind: not installed

15 passed, 1 failed, in 2 min 5 s
";
        assert_eq!(summary.text(Duration::from_secs(125)), expected);
    }

    #[test]
    fn skipped_tests_fail_only_in_ci() {
        let mut summary = Summary::default();
        assert!(summary.is_good(true));
        summary.not_run("tests on the real cluster", "they need root");
        assert!(summary.is_good(false));
        assert!(!summary.is_good(true));
    }

    #[test]
    fn skip_notes_are_merged_and_the_own_reason_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("skips");
        let mut summary = Summary::default();
        summary.read_skips(&file, "cluster").unwrap();
        summary.not_run("cluster", "they need root");
        fs::write(
            &file,
            "cluster: no cluster is up\njava: not installed\njava: not installed\n",
        )
        .unwrap();
        summary.read_skips(&file, "cluster").unwrap();
        assert_eq!(
            summary.not_run,
            ["cluster: they need root", "java: not installed"]
        );
    }
}

//! Runs test executables one after the other, and counts the results of their tests.

use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::executables::Executable;
use super::output;

/// How often to check whether a suite without output has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long processes that a suite left behind may hold its output open, as agents of a test that crashed do.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// One suite's result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
    pub(crate) took: Duration,
    /// Its exit status does not follow from its tests' results: some tests may not have run.
    pub(crate) crashed: bool,
}

/// The suites so far.
#[derive(Debug, Default)]
pub(crate) struct Suites(Vec<Suite>);

impl Suites {
    /// Runs a test executable with these arguments, in its package's folder as cargo does.
    pub(crate) fn run(
        &mut self,
        executable: &Executable,
        arguments: &[String],
        variables: &[(&str, &str)],
    ) -> Result<()> {
        let mut command = Command::new(&executable.file);
        command.current_dir(&executable.folder);
        command.env("CARGO_MANIFEST_DIR", &executable.folder);
        let color = if io::stdout().is_terminal() {
            "always"
        } else {
            "never"
        };
        command.args(["--color", color]).args(arguments);
        self.count(
            &executable.suite,
            command,
            variables,
            Prints::OneResult,
            output::show,
        )
    }

    /// Runs the examples in the documentation by this command of cargo.
    pub(crate) fn run_documentation(&mut self, command: Command, variables: &[(&str, &str)]) -> Result<()> {
        self.count(
            "documentation",
            command,
            variables,
            Prints::ManyResults,
            output::show,
        )
    }

    fn count(
        &mut self,
        suite: &str,
        mut command: Command,
        variables: &[(&str, &str)],
        prints: Prints,
        show: impl Fn(&[u8]),
    ) -> Result<()> {
        show(format!("\n== {suite}\n").as_bytes());
        let began = Instant::now();
        let (reader, writer) = io::pipe()?;
        command
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start the tests of {suite}"))?;
        // it holds this process's copies of the pipe's other end
        drop(command);
        let mut results = Results::default();
        let lines = lines(reader);
        let mut ended: Option<(ExitStatus, Instant)> = None;
        let status = loop {
            match lines.recv_timeout(POLL_INTERVAL) {
                Ok(line) => {
                    show(&line);
                    results.line(&String::from_utf8_lossy(&line), prints);
                }
                Err(RecvTimeoutError::Disconnected) => break child.wait()?,
                Err(RecvTimeoutError::Timeout) => match ended {
                    Some((status, at)) if at.elapsed() > LEFTOVERS => {
                        show(
                            format!("what the tests of {suite} started holds their output open\n").as_bytes(),
                        );
                        break status;
                    }
                    Some(_) => {}
                    None => ended = child.try_wait()?.map(|status| (status, Instant::now())),
                },
            }
        };
        let crashed = results.disagrees_with(status);
        if crashed {
            show(format!("the tests of {suite} ended with {status}\n").as_bytes());
        }
        self.add(Suite {
            name: suite.to_owned(),
            passed: results.passed,
            failed: results.failed,
            ignored: results.ignored,
            took: began.elapsed(),
            crashed,
        });
        Ok(())
    }

    /// Every suite that had a test.
    pub(crate) fn done(&self) -> impl Iterator<Item = &Suite> {
        let is_empty = |suite: &Suite| suite.passed + suite.failed + suite.ignored == 0 && !suite.crashed;
        self.0.iter().filter(move |suite| !is_empty(suite))
    }

    /// Whether a suite failed.
    pub(crate) fn failed(&self) -> bool {
        self.0.iter().any(|suite| suite.failed > 0 || suite.crashed)
    }

    /// A library and a program of one package are one suite.
    fn add(&mut self, suite: Suite) {
        match self.0.iter_mut().find(|done| done.name == suite.name) {
            Some(done) => {
                done.passed += suite.passed;
                done.failed += suite.failed;
                done.ignored += suite.ignored;
                done.took += suite.took;
                done.crashed |= suite.crashed;
            }
            None => self.0.push(suite),
        }
    }
}

/// What comes out of a pipe, line by line, until its end.
fn lines(pipe: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Which of the lines of that form are results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prints {
    /// A test executable prints one, behind everything that its tests may print.
    OneResult,
    /// Cargo runs the documentation's tests of each library for itself.
    ManyResults,
}

/// The sum of the result lines of one command: `test result: ok. 2 passed; 0 failed; 1 ignored; ...`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Results {
    lines: u32,
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Results {
    fn line(&mut self, line: &str, prints: Prints) {
        let Some((passed, failed, ignored)) = counts(line) else {
            return;
        };
        if prints == Prints::OneResult {
            *self = Self::default();
        }
        self.lines += 1;
        self.passed += passed;
        self.failed += failed;
        self.ignored += ignored;
    }

    /// Whether the exit status does not follow from these results.
    fn disagrees_with(&self, status: ExitStatus) -> bool {
        self.lines == 0 || status.success() != (self.failed == 0)
    }
}

/// How many tests passed, failed and were ignored, if this is a result line.
fn counts(line: &str) -> Option<(u32, u32, u32)> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = counts.split("; ");
    let mut count =
        |what: &str| -> Option<u32> { counts.next()?.strip_suffix(what)?.trim_end().parse().ok() };
    Some((count("passed")?, count("failed")?, count("ignored")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that prints and ends as a suite would.
    fn run(script: &str, prints: Prints) -> Suites {
        let mut suites = Suites::default();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        suites
            .count("suite", command, &[("WORD", "ok")], prints, |_| {})
            .unwrap();
        suites
    }

    fn result(suites: &Suites) -> Option<(u32, u32, u32, bool)> {
        let mut done = suites.done();
        done.next()
            .map(|it| (it.passed, it.failed, it.ignored, it.crashed))
    }

    fn line(passed: u32, failed: u32, ignored: u32) -> String {
        let word = if failed == 0 { "$WORD" } else { "FAILED" };
        format!(
            "echo \"test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured\""
        )
    }

    #[test]
    fn last_result_counts_for_executables_and_all_for_documentation() {
        let script = format!("{}; {}", line(2, 0, 1), line(1, 0, 0));
        for (prints, expected) in [
            (Prints::OneResult, (1, 0, 0, false)),
            (Prints::ManyResults, (3, 0, 1, false)),
        ] {
            let suites = run(&script, prints);
            assert_eq!(result(&suites), Some(expected));
            assert!(!suites.failed());
        }
    }

    #[test]
    fn failed_test_fails_its_suite() {
        let suites = run(&format!("{}; exit 101", line(2, 3, 0)), Prints::OneResult);
        assert_eq!(result(&suites), Some((2, 3, 0, false)));
        assert!(suites.failed());
    }

    #[test]
    fn suite_without_a_result_or_with_another_status_has_crashed() {
        for script in [
            "echo test one ...; kill -9 $$".to_owned(),
            "exit 0".to_owned(),
            format!("{}; exit 1", line(2, 0, 0)),
        ] {
            let suites = run(&script, Prints::OneResult);
            assert!(
                suites.failed() && suites.done().next().unwrap().crashed,
                "{script}"
            );
        }
    }

    #[test]
    fn suite_without_tests_is_not_listed() {
        let suites = run(&line(0, 0, 0), Prints::OneResult);
        assert_eq!(result(&suites), None);
        assert!(!suites.failed());
    }

    #[test]
    fn test_output_like_a_result_line_is_ignored() {
        for words in [
            "test result: I am a test",
            "test result: ok. many passed; 1 failed; 2 ignored",
            "running 2 tests",
        ] {
            assert_eq!(counts(words), None, "{words}");
        }
    }

    #[test]
    fn executables_of_one_suite_are_counted_together() {
        let mut suites = run(&line(2, 0, 0), Prints::OneResult);
        suites.add(Suite {
            name: "suite".to_owned(),
            passed: 3,
            ..Suite::default()
        });
        assert_eq!(result(&suites), Some((5, 0, 0, false)));
    }
}

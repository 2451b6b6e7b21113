//! Runs a suite bare and injected and compares the results of each test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use kinject_tests::apart;
use kinject_tests::proofs;
use kinject_tests::running::{self, Hang};
use kinject_tests::session::Session;

use crate::prepare::{Prepared, Start};
use crate::reports::{self, Result, Results};
use crate::suites::{Runner, Suite};

/// How often a test that differs is run again, bare and injected.
const AGAIN: usize = 3;

/// With more differences than this the run as a whole has failed, and repeating single tests does not help.
const MANY: usize = 25;

/// The pseudo test that stands for the run itself: whether it ended regularly.
pub(crate) const THE_RUN: &str = "(the run)";

/// A suite with its results.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// Why it could not be run.
    pub(crate) not_run: Option<String>,
    pub(crate) bare: Results,
    /// Tests that are flaky: each result also occurred the other way.
    pub(crate) unsteady: usize,
    pub(crate) differences: Vec<Difference>,
}

/// A test whose results differ repeatedly.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) test: String,
    pub(crate) bare: Result,
    pub(crate) injected: Result,
}

/// Runs it bare and injected, one after the other: some suites use fixed ports.
pub(crate) fn both_ways(session: &Session, prepared: &Prepared) -> Compared {
    let suite = prepared.suite;
    let mut compared = Compared {
        name: suite.name,
        version: String::new(),
        not_run: None,
        bare: Results::new(),
        unsteady: 0,
        differences: Vec::new(),
    };
    let start = match &prepared.start {
        Ok(start) => start,
        Err(why) => {
            compared.not_run = Some(why.clone());
            return compared;
        }
    };
    compared.version.clone_from(&start.version);
    let bare = run(None, suite, start, None);
    let injected = run(Some(session), suite, start, None);
    let names: BTreeSet<&String> = bare.keys().chain(injected.keys()).collect();
    let differing: Vec<&String> = names
        .into_iter()
        .filter(|name| result(&bare, name) != result(&injected, name))
        .collect();
    let patient = differing.len() <= MANY;
    for name in differing {
        if patient && is_unsteady(session, suite, start, name, [&bare, &injected]) {
            compared.unsteady += 1;
        } else {
            compared.differences.push(Difference {
                test: name.clone(),
                bare: result(&bare, name),
                injected: result(&injected, name),
            });
        }
    }
    compared.bare = bare;
    compared
}

/// Whether repeated runs give one result both bare and injected.
fn is_unsteady(session: &Session, suite: &Suite, start: &Start, test: &str, before: [&Results; 2]) -> bool {
    let mut seen = before.map(|results| BTreeSet::from([result(results, test)]));
    let alone = (test != THE_RUN).then_some(test);
    for _ in 0..AGAIN {
        for (mode, seen) in [None, Some(session)].into_iter().zip(&mut seen) {
            seen.insert(result(&run(mode, suite, start, alone), test));
        }
        if !seen[0].is_disjoint(&seen[1]) {
            return true;
        }
    }
    false
}

fn result(results: &Results, test: &str) -> Result {
    results.get(test).copied().unwrap_or(Result::Missing)
}

/// Runs a suite, or a test of it, once; injected if there is a session.
fn run(session: Option<&Session>, suite: &Suite, start: &Start, test: Option<&str>) -> Results {
    // tests write into the current folder; its path is short, since names of Unix sockets contain it, and equally long
    // in both runs
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    let report = folder.path().join("report.xml");
    let command = command(session, suite, start, test, folder.path());
    let what = running::describe(&command);
    let (mut results, words, complete) = match ended(command, &what, suite) {
        Ok(outcome) => {
            let words = format!("{}{}", outcome.stdout, outcome.stderr);
            let results = match suite.runner {
                Runner::Go(_) => reports::go(&outcome.stdout),
                _ => reports::junit(&fs::read_to_string(&report).unwrap_or_default()),
            };
            let complete = !results.is_empty() && outcome.status.code().is_some();
            (results, words, complete)
        }
        Err(Hang(words)) => (BTreeMap::new(), words, false),
    };
    if test.is_none() {
        keep(session, suite, &words, &report);
    }
    let whole = if complete { Result::Passed } else { Result::Failed };
    results.insert(THE_RUN.to_owned(), whole);
    results
}

/// Stores the output of a run, for a closer look.
fn keep(session: Option<&Session>, suite: &Suite, words: &str, report: &Path) {
    let folder = proofs::folder().join("runs");
    let mode = if session.is_some() { "injected" } else { "bare" };
    let name = format!("{}-{mode}", suite.name.replace([' ', '/'], "-"));
    let kept = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(format!("{name}.log")), words))
        .and_then(|()| match report.exists() {
            true => fs::copy(report, folder.join(format!("{name}.xml"))).map(drop),
            false => Ok(()),
        });
    if let Err(error) = kept {
        panic!("cannot keep the log of {name}: {error}");
    }
}

fn ended(mut command: Command, what: &str, suite: &Suite) -> std::result::Result<running::Outcome, Hang> {
    command.stdin(Stdio::null());
    let started = Instant::now();
    running::finish_or_hang(running::spawn(&mut command), started, what, suite.limit)
}

fn command(
    session: Option<&Session>,
    suite: &Suite,
    start: &Start,
    test: Option<&str>,
    folder: &Path,
) -> Command {
    let mut command = apart::command(&start.program.path);
    command.args(&start.program.arguments);
    command.args(options(suite, test, &folder.join("report.xml")));
    command.current_dir(start.folder.as_deref().unwrap_or(folder));
    command.env("TMPDIR", folder);
    if let Some(session) = session {
        let inside = session.command("true");
        command.envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))));
    }
    command
}

/// The arguments for a report, and for a single test.
fn options(suite: &Suite, test: Option<&str>, report: &Path) -> Vec<String> {
    let report = report.display();
    match suite.runner {
        Runner::Regrtest(..) => {
            let mut options = vec!["--junit-xml".to_owned(), report.to_string()];
            // the runner accepts only one of the two kinds of patterns
            match test {
                Some(test) => options.push(format!("--match={}", without_subtest(test))),
                None => options.extend(suite.without.iter().map(|pattern| format!("--ignore={pattern}"))),
            }
            options
        }
        Runner::Pytest(..) | Runner::Source(_) => {
            let mut options = vec![format!("--junitxml={report}")];
            options.extend(
                test.into_iter()
                    .flat_map(|test| ["-k".to_owned(), function(test).to_owned()]),
            );
            options
        }
        Runner::Go(_) => test
            .map(|test| format!("-test.run={}", anchored(test)))
            .into_iter()
            .collect(),
    }
}

/// The test of a subtest.
fn without_subtest(test: &str) -> &str {
    test.split([' ', '[']).next().unwrap_or(test)
}

/// The function, which pytest selects by its name: all of that name, with all their parameters.
fn function(test: &str) -> &str {
    let test = test.split('[').next().unwrap_or(test);
    test.rsplit('.').next().unwrap_or(test)
}

/// Go's pattern for a single test.
fn anchored(test: &str) -> String {
    let levels: Vec<String> = test
        .split('/')
        .map(|level| format!("^{}$", escaped(level)))
        .collect();
    levels.join("/")
}

fn escaped(text: &str) -> String {
    let characters = text.chars().map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => character.to_string(),
        _ => format!("\\{character}"),
    });
    characters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_for_one_test_selects_only_that_test() {
        assert_eq!(anchored("TestA/b=1"), "^TestA$/^b\\=1$");
        assert_eq!(function("trio._tests.test_a.test_b[x.y]"), "test_b");
        assert_eq!(
            without_subtest("test.test_a.B.test_c (i=1)"),
            "test.test_a.B.test_c"
        );
    }
}

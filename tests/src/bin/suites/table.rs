//! The table, and the verdict.

use kinject_tests::proofs::page::{self, Page};
use kinject_tests::proofs::today;

use crate::compare::{Compared, Difference, THE_RUN};
use crate::reports::Result;

/// The final report.
pub(crate) struct Verdict {
    /// Whether there are no differences but those that the page lists.
    pub(crate) good: bool,
    /// The page's part.
    pub(crate) text: String,
    /// The tests that differ, a line each.
    pub(crate) details: String,
}

/// The result of a suite, as one line while the others run.
pub(crate) fn line(compared: &Compared) -> String {
    match &compared.not_run {
        Some(why) => format!("{}: not run: {why}", compared.name),
        None => format!(
            "{}: {} tests, {} differ, {} unsteady",
            compared.name,
            tests(compared),
            compared.differences.len(),
            compared.unsteady
        ),
    }
}

/// Evaluates all suites.
pub(crate) fn evaluate(suites: Vec<Compared>, page: &Page) -> Verdict {
    let is_known = |suite: &Compared, difference: &Difference| page.knows(suite.name, &difference.test);
    let head = [
        "suite",
        "version",
        "tests",
        "passed",
        "skipped",
        "failed bare",
        "unsteady",
        "known",
        "differ",
    ];
    let rows: Vec<Vec<String>> = suites
        .iter()
        .map(|suite| match &suite.not_run {
            Some(why) => {
                let why = format!("not run: {}", why.lines().next().unwrap_or_default());
                let rest = (2..head.len()).map(|_| String::new());
                [suite.name.to_owned(), why].into_iter().chain(rest).collect()
            }
            None => {
                let known = suite
                    .differences
                    .iter()
                    .filter(|found| is_known(suite, found))
                    .count();
                let numbers = [
                    tests(suite),
                    count(suite, Result::Passed),
                    count(suite, Result::Skipped),
                    count(suite, Result::Failed),
                    suite.unsteady,
                    known,
                    suite.differences.len() - known,
                ];
                let names = [suite.name.to_owned(), suite.version.clone()];
                names
                    .into_iter()
                    .chain(numbers.map(|number| number.to_string()))
                    .collect()
            }
        })
        .collect();
    let mut details = String::new();
    let mut good = true;
    for suite in &suites {
        if suite.not_run.is_none() && tests(suite) == 0 {
            good = false;
            details += &format!("{}: no test ran\n", suite.name);
        }
        for difference in &suite.differences {
            let known = is_known(suite, difference);
            good &= known;
            details += &format!(
                "{}: {}: {} bare, {} injected{}\n",
                suite.name,
                difference.test,
                difference.bare,
                difference.injected,
                if known { " (known)" } else { "" }
            );
        }
    }
    let total: usize = suites.iter().map(tests).sum();
    let text = format!(
        "{}: {total} tests of {} suites.\n\n{}",
        today(),
        suites.len(),
        page::table(&head, &rows)
    );
    Verdict { good, text, details }
}

/// The number of tests.
fn tests(suite: &Compared) -> usize {
    of_tests(suite).count()
}

fn count(suite: &Compared, result: Result) -> usize {
    of_tests(suite).filter(|found| *found == result).count()
}

/// The bare results, without the pseudo test of the run.
fn of_tests(suite: &Compared) -> impl Iterator<Item = Result> {
    let tests = suite.bare.iter().filter(|(name, _)| *name != THE_RUN);
    tests.map(|(_, result)| *result)
}

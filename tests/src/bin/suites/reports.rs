//! Reads the results of a suite's tests: JUnit XML of Python's runners, the output of `go test -v`.

use std::collections::BTreeMap;
use std::fmt;

/// The result of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Result {
    Passed,
    Failed,
    Skipped,
    /// The report does not name it: the runner did not run it.
    Missing,
}

/// The results by the names of the tests.
pub(crate) type Results = BTreeMap<String, Result>;

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Missing => "missing",
        })
    }
}

/// Reads a report in JUnit's format. A test that is there several times, as one with subtests is, failed if one of them
/// did.
pub(crate) fn junit(report: &str) -> Results {
    let mut results = Results::new();
    for case in report.split("<testcase ").skip(1) {
        let case = case.split("</testcase>").next().unwrap_or(case);
        let head = case.split('>').next().unwrap_or(case);
        let Some(name) = attribute(head, "name") else {
            continue;
        };
        let name = match attribute(head, "classname") {
            Some(class) => format!("{class}.{name}"),
            None => name.to_owned(),
        };
        let result = if case.contains("<failure") || case.contains("<error") {
            Result::Failed
        } else if case.contains("<skipped") {
            Result::Skipped
        } else {
            Result::Passed
        };
        note(&mut results, name, result);
    }
    results
}

/// Reads the lines of `go test -v`.
pub(crate) fn go(lines: &str) -> Results {
    let mut results = Results::new();
    for line in lines.lines() {
        let words = line.trim_start();
        let kinds = [
            ("--- PASS: ", Result::Passed),
            ("--- FAIL: ", Result::Failed),
            ("--- SKIP: ", Result::Skipped),
        ];
        for (mark, result) in kinds {
            if let Some(name) = words.strip_prefix(mark).and_then(|rest| rest.split(' ').next()) {
                note(&mut results, name.to_owned(), result);
            }
        }
    }
    results
}

fn note(results: &mut Results, name: String, result: Result) {
    let noted = results.entry(name).or_insert(result);
    if result == Result::Failed {
        *noted = result;
    }
}

fn attribute<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let begin = format!("{name}=\"");
    let at = head.match_indices(&begin).map(|(at, _)| at);
    // `name` is the end of `classname`, too
    let at = at
        .into_iter()
        .find(|at| *at == 0 || head.as_bytes()[at - 1] == b' ')?;
    head[at + begin.len()..].split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_test_names_are_prefixed_with_their_class() {
        let report = r#"<testsuite><testcase classname="a.B" name="test_c" time="1" /><testcase name="x.y" status="run">
            <failure message="no" /></testcase><testcase classname="a" name="s[&gt;]"><skipped type="x"/></testcase></testsuite>"#;
        let results = junit(report);
        let expected = [
            ("a.B.test_c", Result::Passed),
            ("a.s[&gt;]", Result::Skipped),
            ("x.y", Result::Failed),
        ];
        assert_eq!(
            results,
            expected.map(|(name, result)| (name.to_owned(), result)).into()
        );
    }

    #[test]
    fn go_subtests_count_as_tests() {
        let results = go("=== RUN A\n--- FAIL: A (0.00s)\n    --- PASS: A/b (0.00s)\n--- SKIP: C (0.1s)\n");
        assert_eq!(results["A"], Result::Failed);
        assert_eq!(results["A/b"], Result::Passed);
        assert_eq!(results["C"], Result::Skipped);
    }

    #[test]
    fn test_with_one_failed_result_counts_as_failed() {
        let results = junit(r#"<testcase name="a"><error/></testcase><testcase name="a"></testcase>"#);
        assert_eq!(results["a"], Result::Failed);
    }
}

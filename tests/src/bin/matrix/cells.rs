//! Runs the programs, bare and injected, and compares their output.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use kinject_tests::fixture::Fixture;
use kinject_tests::programs::Program;
use kinject_tests::proofs::at_once;
use kinject_tests::running::{self, Hang};

use crate::prepare::Prepared;
use crate::runtimes::{Case, Runtime};

/// How long a program may take, including its own time limit for a silent peer, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(40);

/// How many programs run at once: silent ones only wait.
const WORKERS: usize = 8;

/// The result of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// What it printed, and its status.
    Printed(String, i32),
    /// It did not end in time.
    Nothing(Hang),
}

/// A cell of the table.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) runtime: &'static str,
    pub(crate) case: Case,
    pub(crate) bare: Output,
    pub(crate) injected: Output,
    /// The expected text that the bare program does not print.
    pub(crate) missing: Option<&'static str>,
}

impl Cell {
    /// Whether both outputs are the same, and as expected.
    pub(crate) fn is_same(&self) -> bool {
        self.missing.is_none() && self.bare == self.injected
    }
}

/// All cells of one testbed. A cell that differs is run once more, alone, since programs may be slow on a busy machine:
/// only a repeated difference counts.
pub(crate) fn all(fixture: &Fixture, programs: &[Prepared<'_>]) -> Vec<Cell> {
    let jobs = Case::ALL.iter().flat_map(|case| {
        programs.iter().filter_map(move |prepared| {
            let (program, _) = prepared.program.as_ref().ok()?;
            Some((prepared.runtime, program, *case))
        })
    });
    let jobs: Vec<_> = jobs.collect();
    let cells = at_once(jobs.clone(), WORKERS, |(runtime, program, case)| {
        cell(fixture, runtime, program, case)
    });
    let again = |(found, (runtime, program, case)): (Cell, (&Runtime, &Program, Case))| match found.is_same()
    {
        true => found,
        false => cell(fixture, runtime, program, case),
    };
    cells.into_iter().zip(jobs).map(again).collect()
}

fn cell(fixture: &Fixture, runtime: &Runtime, program: &Program, case: Case) -> Cell {
    let program = program.clone().args(runtime.speaks.arguments(case));
    let bare = output(&mut fixture.bare(&program));
    let injected = output(&mut fixture.injected(&program));
    let shown = matches!(&bare, Output::Printed(words, _) if words.contains(runtime.shows));
    Cell {
        runtime: runtime.name,
        case,
        bare,
        injected,
        missing: (case == Case::Ok && !shown).then_some(runtime.shows),
    }
}

fn output(command: &mut Command) -> Output {
    let started = Instant::now();
    command.stdin(std::process::Stdio::null());
    let what = running::describe(command);
    match running::finish_or_hang(running::spawn(command), started, &what, LIMIT) {
        Ok(outcome) => Output::Printed(outcome.stdout.clone(), outcome.code()),
        Err(hang) => Output::Nothing(hang),
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Printed(words, status) => write!(f, "{} (status {status})", words.trim_end()),
            Self::Nothing(Hang(words)) => f.write_str(words.trim_end()),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {}:", self.runtime, self.case.name())?;
        if let Some(missing) = self.missing {
            writeln!(f, "    bare it does not show {missing:?}")?;
        }
        if self.bare == self.injected {
            return writeln!(f, "{}", indented("  ", &self.bare));
        }
        writeln!(
            f,
            "{}\n{}",
            indented("- ", &self.bare),
            indented("+ ", &self.injected)
        )
    }
}

fn indented(mark: &str, output: &Output) -> String {
    let lines: Vec<String> = output
        .to_string()
        .lines()
        .map(|line| format!("    {mark}{line}"))
        .collect();
    lines.join("\n")
}

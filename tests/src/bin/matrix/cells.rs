//! Runs the programs, bare and injected, and compares what they say.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use kinject_tests::programs::Program;
use kinject_tests::proofs::at_once;
use kinject_tests::running::{self, Hang};
use kinject_tests::scene::Scene;

use crate::prepare::Prepared;
use crate::runtimes::{Case, Runtime};

/// How long a program may take, with its own time limit for a silent peer, on a machine that has more to do.
const LIMIT: Duration = Duration::from_secs(40);

/// How many programs run at once: silent ones only wait.
const WORKERS: usize = 8;

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// What it printed, and its status.
    Words(String, i32),
    /// It did not end.
    Nothing(Hang),
}

/// A cell of the table.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) runtime: &'static str,
    pub(crate) case: Case,
    pub(crate) bare: Said,
    pub(crate) injected: Said,
    /// What the bare program does not show though it should.
    pub(crate) missing: Option<&'static str>,
}

impl Cell {
    /// Whether it is as it should be.
    pub(crate) fn is_same(&self) -> bool {
        self.missing.is_none() && self.bare == self.injected
    }
}

/// All cells of one place. A cell that differs is looked at once more, alone, since one program may be slower than
/// another on a busy machine: a difference is what is there again.
pub(crate) fn all(scene: &Scene, programs: &[Prepared<'_>]) -> Vec<Cell> {
    let jobs = Case::ALL.iter().flat_map(|case| {
        programs.iter().filter_map(move |prepared| {
            let (program, _) = prepared.program.as_ref().ok()?;
            Some((prepared.runtime, program, *case))
        })
    });
    let jobs: Vec<_> = jobs.collect();
    let cells = at_once(jobs.clone(), WORKERS, |(runtime, program, case)| {
        cell(scene, runtime, program, case)
    });
    let again = |(found, (runtime, program, case)): (Cell, (&Runtime, &Program, Case))| match found.is_same()
    {
        true => found,
        false => cell(scene, runtime, program, case),
    };
    cells.into_iter().zip(jobs).map(again).collect()
}

fn cell(scene: &Scene, runtime: &Runtime, program: &Program, case: Case) -> Cell {
    let program = program.clone().args(runtime.speaks.arguments(case));
    let bare = said(&mut scene.bare(&program));
    let injected = said(&mut scene.injected(&program));
    let shown = matches!(&bare, Said::Words(words, _) if words.contains(runtime.shows));
    Cell {
        runtime: runtime.name,
        case,
        bare,
        injected,
        missing: (case == Case::Ok && !shown).then_some(runtime.shows),
    }
}

fn said(command: &mut Command) -> Said {
    let started = Instant::now();
    command.stdin(std::process::Stdio::null());
    let what = running::describe(command);
    match running::finish_or_hang(running::spawn(command), started, &what, LIMIT) {
        Ok(outcome) => Said::Words(outcome.stdout.clone(), outcome.code()),
        Err(hang) => Said::Nothing(hang),
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words, status) => write!(f, "{} (status {status})", words.trim_end()),
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

fn indented(mark: &str, said: &Said) -> String {
    let lines: Vec<String> = said
        .to_string()
        .lines()
        .map(|line| format!("    {mark}{line}"))
        .collect();
    lines.join("\n")
}

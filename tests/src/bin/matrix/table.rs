//! The table, and the verdict.

use kinject_tests::proofs::page::{self, Page};
use kinject_tests::proofs::today;
use kinject_tests::testbed::Kind;

use crate::cells::Cell;
use crate::prepare::Prepared;
use crate::runtimes::Case;

/// The columns, in an order that reads well.
const COLUMNS: [Case; 5] = [
    Case::Ok,
    Case::Refused,
    Case::Unreachable,
    Case::Silent,
    Case::NoSuchName,
];

/// The cells of all testbeds.
pub(crate) struct Table<'a> {
    programs: &'a [Prepared<'a>],
    testbeds: Vec<(Kind, Vec<Cell>)>,
    known: Vec<(&'static str, Case)>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(programs: &'a [Prepared<'a>]) -> Self {
        Self {
            programs,
            testbeds: Vec::new(),
            known: Vec::new(),
        }
    }

    /// Adds the cells of a testbed.
    pub(crate) fn add(&mut self, kind: Kind, cells: Vec<Cell>) {
        self.testbeds.push((kind, cells));
    }

    /// Whether there are no differences but those that the page lists.
    pub(crate) fn evaluate(&mut self, page: &Page) -> bool {
        let differing: Vec<_> = self
            .differing()
            .map(|(_, cell)| (cell.runtime, cell.case))
            .collect();
        let (known, new): (Vec<_>, Vec<_>) = differing
            .into_iter()
            .partition(|(runtime, case)| page.knows(runtime, case.name()));
        self.known = known;
        new.is_empty()
    }

    fn differing(&self) -> impl Iterator<Item = (Kind, &Cell)> {
        let cells = self
            .testbeds
            .iter()
            .flat_map(|(kind, cells)| cells.iter().map(move |cell| (*kind, cell)));
        cells.filter(|(_, cell)| !cell.is_same())
    }

    /// The page's part: when, where, and the table.
    pub(crate) fn text(&self) -> String {
        let head: Vec<&str> = ["runtime", "version"]
            .into_iter()
            .chain(COLUMNS.map(Case::name))
            .collect();
        let rows: Vec<Vec<String>> = self.programs.iter().map(|prepared| self.row(prepared)).collect();
        let testbeds: Vec<&str> = self.testbeds.iter().map(|(kind, _)| name(*kind)).collect();
        let cells: usize = self.testbeds.iter().map(|(_, cells)| cells.len()).sum();
        let differing = self.differing().count();
        format!(
            "{}, on {}: {cells} cells, {differing} differ, of which {} are known.\n\n{}",
            today(),
            testbeds.join(" and "),
            self.known.len(),
            page::table(&head, &rows)
        )
    }

    fn row(&self, prepared: &Prepared<'_>) -> Vec<String> {
        let name = prepared.runtime.name.to_owned();
        match &prepared.program {
            Ok((_, version)) => {
                let cells = COLUMNS.map(|case| self.words(prepared.runtime.name, case));
                [name, version.clone()].into_iter().chain(cells).collect()
            }
            Err(why) => {
                let why = why.lines().next().unwrap_or_default().to_owned();
                let cells = COLUMNS.map(|_| "not run".to_owned());
                [name, why].into_iter().chain(cells).collect()
            }
        }
    }

    /// The text of a cell for all testbeds.
    fn words(&self, runtime: &str, case: Case) -> String {
        let differing: Vec<&str> = self
            .differing()
            .filter(|(_, cell)| cell.runtime == runtime && cell.case == case)
            .map(|(kind, _)| name(kind))
            .collect();
        if differing.is_empty() {
            return "same".to_owned();
        }
        let known = self.known.contains(&(runtime, case));
        let what = if known { "known to differ" } else { "differs" };
        if differing.len() == self.testbeds.len() {
            return what.to_owned();
        }
        format!("{what} on {}", differing.join(" and "))
    }

    /// The outputs of the programs in the cells that differ, a paragraph each.
    pub(crate) fn details(&self) -> String {
        self.differing()
            .map(|(kind, cell)| format!("\non {}: {cell}", name(kind)))
            .collect()
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Sandbox => "the sandbox",
        Kind::Cluster => "the real cluster",
    }
}

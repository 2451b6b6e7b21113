//! `cargo xtask suites`: the test suites of other projects, bare and injected.
//!
//! They prove that the library leaves calls alone that do not go to the cluster. [`suites`] lists them and how each is
//! started, [`reports`] reads the results of their tests, [`compare`] runs them bare and injected and sorts out flaky
//! tests, [`table`] shows the remaining differences.

mod compare;
mod prepare;
mod reports;
mod suites;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use kinject_tests::fixture::Fixture;
use kinject_tests::proofs::{self, at_once, page::Page};
use kinject_tests::testbed::Kind;

use self::suites::{SUITES, Suite};

/// The page that keeps the table.
const PAGE: &str = "suites.md";

/// Run the test suites of others twice, bare and injected, and compare the results of each test
#[derive(Parser)]
#[command(name = "cargo xtask suites")]
struct Cli {
    /// Only the suites with this in their name; may be given more than once
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Print the names of the suites
    #[arg(long)]
    list: bool,
    /// How many suites run at once
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    jobs: usize,
    /// Put the table into docs/suites.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

fn main() -> ExitCode {
    proofs::exit_code(run(&Cli::parse()))
}

/// Whether all results are the same, except for known differences.
fn run(cli: &Cli) -> Result<bool> {
    let page = Page::read(PAGE)?;
    let chosen: Vec<&Suite> = SUITES
        .iter()
        .filter(|suite| cli.only.is_empty() || cli.only.iter().any(|part| suite.name.contains(part.as_str())))
        .collect();
    if chosen.is_empty() {
        bail!("no suite is called so; --list prints their names");
    }
    if cli.list {
        chosen.iter().for_each(|suite| println!("{}", suite.name));
        return Ok(true);
    }
    let prepared = prepare::all(&chosen)?;
    let Some(fixture) = Fixture::new(Kind::Sandbox) else {
        bail!("there is no sandbox");
    };
    let compared = at_once(prepared, cli.jobs.max(1), |suite| {
        let compared = compare::both_ways(fixture.session(), &suite);
        eprintln!("{}", table::line(&compared));
        compared
    });
    let verdict = table::evaluate(compared, &page);
    print!("{}{}", verdict.text, verdict.details);
    if cli.write {
        page.write(&verdict.text)?;
    }
    Ok(verdict.good)
}

//! `cargo xtask programs`: programs of others in the place of a workload, in a container of its pod and injected.
//!
//! [`objects`] are a Deployment and what it mounts. One container of its pod is the workload's, whose place the session
//! takes; another has the same variables and mounts, and this machine's programs beside them, so that the same program
//! runs there through `kubectl exec`. [`rows`] lists the programs, which lie in `tests/stand_in`, [`prepare`] builds
//! them, [`stage`] has the pod and the session, [`runs`] runs and compares, [`table`] shows the results.

mod objects;
mod prepare;
mod rows;
mod runs;
mod stage;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use kinject_tests::proofs::{self, page::Page};

use self::rows::{ROWS, Row};
use self::stage::Stage;

/// The page that keeps the table.
const PAGE: &str = "programs.md";

/// Compare programs in the place of a workload, in a container of its pod and injected
#[derive(Parser)]
#[command(name = "cargo xtask programs")]
struct Cli {
    /// Only the programs with this in their name; may be given more than once
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Put the table into docs/programs.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Print what every program printed
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    proofs::exit_code(run(&Cli::parse()))
}

/// Whether all outputs are the same, except for known differences.
fn run(cli: &Cli) -> Result<bool> {
    let page = Page::read(PAGE)?;
    let chosen: Vec<&Row> = ROWS
        .iter()
        .filter(|row| cli.only.is_empty() || cli.only.iter().any(|part| row.name.contains(part.as_str())))
        .collect();
    if chosen.is_empty() {
        bail!("no program is called so");
    }
    let prepared = prepare::all(&chosen)?;
    let stage = Stage::set()?;
    let compared: Vec<_> = prepared
        .into_iter()
        .map(|prepared| {
            let compared = runs::both_ways(&stage, prepared);
            eprintln!("{}", table::line(&compared));
            if cli.verbose {
                eprint!("{}", compared.words());
            }
            compared
        })
        .collect();
    let verdict = table::evaluate(&compared, &page);
    print!("{}{}", verdict.text, verdict.details);
    if cli.write {
        page.write(&verdict.text)?;
    }
    Ok(verdict.good)
}

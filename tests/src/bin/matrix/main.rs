//! `cargo xtask matrix`: programs of many runtimes with five kinds of answers, bare in the pod's network and injected.
//!
//! The programs lie in `tests/matrix`, [`runtimes`] lists them, [`prepare`] builds those that need it, [`cells`] runs
//! and compares them, [`table`] shows the results.

mod cells;
mod prepare;
mod runtimes;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use kinject_tests::cluster::Cluster;
use kinject_tests::fixture::Fixture;
use kinject_tests::proofs::{self, page::Page};
use kinject_tests::testbed::Kind;

use self::runtimes::{RUNTIMES, Runtime};
use self::table::Table;

/// The page that keeps the table.
const PAGE: &str = "matrix.md";

/// Compare programs of many runtimes, bare in the pod's network and injected
#[derive(Parser)]
#[command(name = "cargo xtask matrix")]
struct Cli {
    /// Only the runtimes with this in their name; may be given more than once
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Leave the real cluster alone
    #[arg(long)]
    no_cluster: bool,
    /// Put the table into docs/matrix.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Print the output of every program
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    proofs::exit_code(run(&Cli::parse()))
}

/// Whether all outputs are the same, except for known differences.
fn run(cli: &Cli) -> Result<bool> {
    let page = Page::read(PAGE)?;
    let chosen: Vec<&Runtime> = RUNTIMES
        .iter()
        .filter(|runtime| {
            cli.only.is_empty() || cli.only.iter().any(|part| runtime.name.contains(part.as_str()))
        })
        .collect();
    if chosen.is_empty() {
        bail!("no runtime is called so");
    }
    let mut kinds = vec![Kind::Sandbox];
    if cli.no_cluster {
        eprintln!("the real cluster is left alone");
    } else if Cluster::running()?.is_some() {
        kinds.push(Kind::Cluster);
    } else {
        eprintln!("no cluster is up; `cargo xtask cluster up` starts one");
    }
    let programs = prepare::all(&chosen)?;
    let mut table = Table::new(&programs);
    for kind in kinds {
        if let Some(fixture) = Fixture::new(kind) {
            let cells = cells::all(&fixture, &programs);
            if cli.verbose {
                cells.iter().for_each(|cell| eprint!("{cell}"));
            }
            table.add(kind, cells);
        }
    }
    let good = table.evaluate(&page);
    let text = table.text();
    print!("{text}{}", table.details());
    if cli.write {
        page.write(&text)?;
    }
    Ok(good)
}

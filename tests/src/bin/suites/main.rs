//! `cargo xtask suites`: the suites of others, bare and injected.
//!
//! They prove that what does not go to the cluster is left as it is. [`suites`] lists them and how each is started, [`reports`]
//! reads what they say of each test, [`compare`] runs them both ways and sorts out what is unsteady by itself, [`table`] shows
//! what is left.

mod compare;
mod prepare;
mod reports;
mod suites;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use kinject_tests::place::Kind;
use kinject_tests::proofs::{self, at_once, page::Page};
use kinject_tests::scene::Scene;

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

/// Whether all is the same, but for what is known.
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
    let Some(scene) = Scene::new(Kind::Sandbox) else {
        bail!("there is no sandbox");
    };
    let compared = at_once(prepared, cli.jobs.max(1), |suite| {
        let compared = compare::both_ways(scene.session(), &suite);
        eprintln!("{}", table::line(&compared));
        compared
    });
    let verdict = table::judge(compared, &page);
    print!("{}{}", verdict.text, verdict.details);
    if cli.write {
        page.write(&verdict.text)?;
    }
    Ok(verdict.good)
}

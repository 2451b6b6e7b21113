//! `cargo xtask bench`: kinject's speed, compared with its alternatives in one run.
//!
//! Absolute numbers depend on the machine; the results are ratios to the other setups, which are measured in turn. Each
//! [`figures::Part`] has a module; the processes that a setup needs are in [`namespaces`], [`ssh`], [`agent`],
//! [`session`], [`api`], [`pods`] and [`port_forward`]; the [`load`] generator is a program of its own. [`targets`]
//! holds the targets; [`table`] and [`svg`] show the results.

mod agent;
mod api;
mod cluster;
mod direct;
mod exec;
mod figures;
mod helper;
mod interrupt;
mod load;
mod machine;
mod names;
mod namespaces;
mod pods;
mod port_forward;
mod programs;
mod session;
mod ssh;
mod svg;
mod table;
mod targets;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use self::figures::{Part, Results};
use self::interrupt::Interrupt;
use self::programs::{Programs, installed};

/// Measure kinject beside other setups, and print a table with ratios and targets
///
/// A part whose tools, privileges or cluster are missing is named and skipped. A slow result is no failure; a
/// measurement that does not work is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this part; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Write everything that was measured
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the medians
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The programs to measure, for example those of a distribution [default: built for release]
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Before each round, wait so long at most until nothing else keeps the machine busy
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    patience: u64,
    /// Few and short rounds: shows that everything works, and little more
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
struct Effort {
    /// Rounds of every measurement.
    rounds: usize,
    /// Of each load in a round.
    seconds: f64,
    /// Starts of a program, in all rounds together.
    execs: usize,
    /// Local connects in a round.
    connects: usize,
    /// Lookups in a round.
    lookups: usize,
    /// Calls of each kind that hooks pass through, in a round.
    hooks: usize,
    /// Starts of a session on a cluster, over each transport.
    sessions: usize,
}

const THOROUGH: Effort = Effort {
    rounds: 5,
    seconds: 1.0,
    execs: 1500,
    connects: 5000,
    lookups: 5000,
    hooks: 2_000_000,
    sessions: 7,
};

const QUICK: Effort = Effort {
    rounds: 2,
    seconds: 0.2,
    execs: 100,
    connects: 500,
    lookups: 500,
    hooks: 100_000,
    sessions: 3,
};

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let parts = match args.only.as_slice() {
        [] => Part::ALL.to_vec(),
        only => only.to_vec(),
    };
    let effort = if args.quick { QUICK } else { THOROUGH };
    let mut results = Results::new(Duration::from_secs(args.patience), interrupt.clone());
    if !installed("setpriv") || !installed("nsenter") {
        results.skip("everything", "not installed: util-linux");
        return Ok(ExitCode::SUCCESS);
    }
    let programs = match &args.programs {
        Some(folder) => Programs::of(folder)?,
        None => Programs::build()?,
    };
    for part in &parts {
        interrupt.check()?;
        let measured = match part {
            Part::Direct => direct::run(&programs, &effort, &mut results),
            Part::Exec => exec::run(&programs, &effort, &mut results),
            Part::Names => names::run(&programs, &effort, &mut results),
            Part::Cluster => cluster::run(&programs, &effort, &mut results),
        };
        if let Err(error) = measured {
            interrupt.check()?;
            results.fail(format!("{}: {error:#}", part.title()));
        }
    }
    report(&args, &parts, &results)?;
    Ok(match results.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn report(args: &Args, parts: &[Part], results: &Results) -> Result<()> {
    let verdicts = targets::verdicts(results, parts);
    for part in parts {
        if let Some(table) = table::of_part(results, *part) {
            println!("\n{}\n\n{table}", part.title());
        }
    }
    println!("\ntargets\n\n{}", table::of_targets(&verdicts));
    for missing in &results.skipped {
        println!("not measured: {missing}");
    }
    for failure in &results.failed {
        println!("failed: {failure}");
    }
    if let Some(idle) = results.least_idle() {
        println!(
            "the machine was {:.0} % idle before the busiest round",
            idle * 100.0
        );
    }
    if let Some(path) = &args.json {
        let mut all = results.to_json();
        all["machine"] = machine::describe();
        all["targets"] = verdicts
            .iter()
            .map(|verdict| {
                json!({
                    "figure": verdict.what,
                    "target": verdict.wanted,
                    "reached": verdict.reached,
                    "met": verdict.reached.as_ref().map(|_| verdict.met),
                })
            })
            .collect();
        let text = format!("{all:#}\n");
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &args.svg {
        fs::write(path, svg::draw(results)).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

//! `cargo xtask`: everything a contributor runs, one module for each subcommand.

mod abandoned;
mod agent;
mod archive;
mod bench;
mod cargo;
#[cfg(test)]
mod ci_tests;
mod cluster;
mod commit;
mod demo;
mod dist;
#[cfg(test)]
mod docs_tests;
mod elf;
mod exports;
mod hint;
mod image;
mod package;
mod process;
mod proofs;
mod rounds;
mod rust_target;
mod static_build;
mod test;
mod workspace;
mod zig;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a contributor runs; each subcommand says more with --help
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(bench::Args),
    /// Compare programs of many runtimes, bare in the pod's network and injected
    Matrix(proofs::Args),
    /// Run the test suites of others twice, bare and injected, and compare the results of each test
    Suites(proofs::Args),
    /// Compare programs in the place of a workload, in a container of its pod and injected
    Programs(proofs::Args),
    Rounds(rounds::Args),
    Abandoned(abandoned::Args),
    Demo(demo::Args),
    Test(test::Args),
    Cluster(cluster::Args),
    Agent(agent::Args),
    Image(image::Args),
    Dist(dist::Args),
    Package(package::Args),
    Exports(exports::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Task::Bench(args) => bench::run(args),
        Task::Matrix(args) => proofs::run("matrix", &args),
        Task::Suites(args) => proofs::run("suites", &args),
        Task::Programs(args) => proofs::run("programs", &args),
        Task::Rounds(args) => rounds::run(&args),
        Task::Abandoned(args) => abandoned::run(&args),
        Task::Demo(args) => demo::run(args),
        Task::Test(args) => test::run(args),
        Task::Cluster(args) => cluster::run(args),
        Task::Agent(args) => agent::run(args),
        Task::Image(args) => image::run(args),
        Task::Dist(args) => dist::run(args),
        Task::Package(args) => package::run(args),
        Task::Exports(args) => exports::run(args),
    };
    match result {
        Ok(status) => status,
        Err(error) => {
            // text of tools and of the cluster, escaped but with its lines kept
            eprintln!("error: {}", kinject_escape::lines(format_args!("{error:#}")));
            if let Some(hint) = hint::of(&error) {
                eprintln!("\nhint: {}", kinject_escape::line(hint));
            }
            ExitCode::FAILURE
        }
    }
}

//! Completions for shells and manual pages, generated from the definition of the command line.

use crate::cli::{Cli, CompletionShell};
use crate::exit::{Failure, Status};
use crate::output;
use clap::CommandFactory;
use std::path::Path;

const NAME: &str = "kinject";

/// Prints the script by which a shell completes commands and options.
pub(crate) fn print_completion(shell: CompletionShell) -> Result<Status, Failure> {
    let shell = match shell {
        CompletionShell::Bash => clap_complete::Shell::Bash,
        CompletionShell::Zsh => clap_complete::Shell::Zsh,
        CompletionShell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    output::print(&script)
}

/// Writes a manual page for each command into a folder.
pub(crate) fn write_pages(folder: &Path) -> Result<Status, Failure> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| {
            Failure::own(
                format!(
                    "cannot write manual pages to {}: {error}",
                    kinject_escape::path(folder)
                ),
                "name a folder that can be written to",
            )
        })?;
    Ok(Status::Exited(0))
}

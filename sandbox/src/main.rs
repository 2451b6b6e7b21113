//! `kinject-sandbox`: a place to connect to without any Kubernetes.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use kinject_sandbox::failure;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(status) => status,
        Err(error) => {
            eprintln!(
                "kinject-sandbox: error: {}",
                kinject_escape::lines(format_args!("{error:#}"))
            );
            if let Some(hint) = failure::hint(&error) {
                eprintln!("\nhint: {}", kinject_escape::line(hint));
            }
            ExitCode::from(failure::status(&error) as u8)
        }
    }
}

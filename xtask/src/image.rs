//! `cargo xtask image`: the agent's image as a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::archive::Image;
use crate::{archive, rust_target, static_build, workspace};

/// Build the agent's image and write it as a docker-archive file
///
/// No container engine is needed. `docker load -i FILE`, `podman load -i FILE`, `kind load image-archive
/// FILE` and `ctr -n k8s.io images import FILE` take it. The same sources give the same bytes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write the image
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let image = archive::of(&agent()?)?;
    fs::write(&args.output, &image.bytes).with_context(|| format!("writing {}", args.output.display()))?;
    println!("{} written to {}", image.name, args.output.display());
    Ok(ExitCode::SUCCESS)
}

/// The agent's image: the static binary and nothing else, for a user that is not root.
pub(crate) fn agent() -> Result<Image> {
    agent_named(&format!("kinject-agent:{}", workspace::VERSION))
}

/// The same image under another name.
pub(crate) fn agent_named(name: &str) -> Result<Image> {
    let program = crate::agent::program(rust_target::this_machine()?);
    holding(name, program.package, &program.build()?)
}

/// An image that holds the static release of another program of the workspace.
pub(crate) fn program_image(name: &str, package: &str) -> Result<Image> {
    holding(name, package, &static_build::binary(package)?)
}

/// An image that holds a static binary under the name of its package.
pub(crate) fn holding(name: &str, package: &str, binary: &Path) -> Result<Image> {
    let content = fs::read(binary).with_context(|| format!("reading {}", binary.display()))?;
    Ok(Image::of_program(name, package, content))
}

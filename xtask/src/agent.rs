//! `cargo xtask agent`: the agent that sessions carry into a cluster, with the loader that starts it there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use kinject_bundle::{AGENTS_FOLDER, Architecture, DIGEST_FILE, LOADER_FILE, PACKED_FILE};
use lzma_rust2::{CheckType, FilterType, XzOptions, XzWriter};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::static_build::StaticProgram;
use crate::{archive, rust_target, workspace};

/// The longest matches that xz looks for: the agent is packed once and sent often.
const LONGEST_MATCH: u32 = 273;

/// What the loader's decoder has room for.
const LARGEST_DICTIONARY: usize = 8 << 20;

/// A profile's `strip` does not reach a package that has settings of its own.
const STRIP: &str = "-Cstrip=symbols";

/// Build the agent that sessions carry into a cluster, for clusters that have no image of it
///
/// Sessions of a kinject whose relay has the folder `agents` beside it bring the agent along. The same sources give the
/// same bytes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Put the files here instead of target/agents; target/debug/agents is where a debug build looks for them
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Build for this architecture, amd64 or arm64; this machine's own if not given
    #[arg(long, value_name = "ARCHITECTURE")]
    target: Option<Architecture>,
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let architecture = match args.target {
        Some(architecture) => architecture,
        None => rust_target::this_machine()?,
    };
    let parent = args
        .output
        .unwrap_or_else(|| workspace::target().join(AGENTS_FOLDER));
    let folder = parent.join(architecture.kubernetes_name());
    let sizes = write(architecture, &folder)?;
    println!("{}", folder.display());
    println!("  loader    {:>9} bytes", sizes.loader);
    println!("  agent     {:>9} bytes", sizes.agent);
    println!("  packed    {:>9} bytes", sizes.packed);
    println!("  together  {:>9} bytes to carry", sizes.loader + sizes.packed);
    Ok(ExitCode::SUCCESS)
}

/// Packs this machine's agent into target/agents, where tests find it.
pub(crate) fn pack_for_tests() -> Result<()> {
    let architecture = rust_target::this_machine()?;
    let folder = workspace::target().join(AGENTS_FOLDER);
    write(architecture, &folder.join(architecture.kubernetes_name())).map(drop)
}

/// How large the files are.
pub(crate) struct Sizes {
    loader: usize,
    agent: usize,
    packed: usize,
}

/// Builds the agent of one architecture and packs it into a folder, as [`write_files`] does.
pub(crate) fn write(architecture: Architecture, folder: &Path) -> Result<Sizes> {
    let loader = StaticProgram {
        package: "kinject-loader",
        architecture,
        profile: "loader",
        features: &["freestanding"],
        // it does not relocate itself, and does not ask the processor for its features
        flags: &[STRIP, "-Crelocation-model=static", "--cfg=sha2_backend=\"soft\""],
    };
    let agent = program(architecture);
    let read = |program: &StaticProgram<'_>| {
        let file = program.build()?;
        fs::read(&file).with_context(|| format!("reading {}", file.display()))
    };
    write_files(architecture, folder, &read(&loader)?, &read(&agent)?)
}

/// The agent. Its image holds the same build as what sessions carry, so that it is built once and behaves the same.
pub(crate) fn program(architecture: Architecture) -> StaticProgram<'static> {
    StaticProgram {
        package: "kinject-agent",
        architecture,
        profile: "agent",
        features: &[],
        flags: &[STRIP],
    }
}

/// Packs an agent into a folder, together with its loader. A session that reads the folder at the same time finds all
/// files of the former agent, all of the new one, or none.
pub(crate) fn write_files(
    architecture: Architecture,
    folder: &Path,
    loader: &[u8],
    agent: &[u8],
) -> Result<Sizes> {
    let packed = pack(architecture, agent).context("packing the agent")?;
    let parent = folder.parent().context("the folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .with_context(|| format!("making a folder in {}", parent.display()))?;
    let put = |name: &str, content: &[u8], mode: u32| {
        let file = new.path().join(name);
        fs::write(&file, content)
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("writing {}", file.display()))
    };
    put(LOADER_FILE, loader, 0o755)?;
    put(PACKED_FILE, &packed, 0o644)?;
    put(
        DIGEST_FILE,
        format!("{}  agent\n", archive::digest(agent)).as_bytes(),
        0o644,
    )?;
    replace(folder, new)?;
    Ok(Sizes {
        loader: loader.len(),
        agent: agent.len(),
        packed: packed.len(),
    })
}

/// Replaces a folder, if it exists, by a temporary one, in one step.
fn replace(folder: &Path, new: TempDir) -> Result<()> {
    let replaced = match renameat_with(CWD, new.path(), CWD, folder, RenameFlags::EXCHANGE) {
        // the former folder has the temporary name after the exchange
        Ok(()) => return new.close().context("removing the former agent"),
        Err(Errno::NOENT) => fs::rename(new.path(), folder),
        Err(error) => Err(error.into()),
    };
    replaced.with_context(|| format!("renaming {} to {}", new.path().display(), folder.display()))?;
    // its temporary name is gone, so that nothing is left to remove
    let _renamed = new.keep();
    Ok(())
}

/// Packs a program by xz, with the filter for its processor's calls and jumps. The loader compares a SHA-256, so the
/// file needs no checksum of its own.
fn pack(architecture: Architecture, program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut options = XzOptions::with_preset(9);
    options.lzma_options.dict_size = program.len().next_power_of_two().min(LARGEST_DICTIONARY) as u32;
    options.lzma_options.nice_len = LONGEST_MATCH;
    options.set_check_sum_type(CheckType::None);
    let filter = match architecture {
        Architecture::Amd64 => FilterType::BcjX86,
        Architecture::Arm64 => FilterType::BcjArm64,
    };
    options.prepend_pre_filter(filter, 0);
    let mut writer = XzWriter::new(Vec::new(), options)?;
    writer.write_all(program)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn packed_program_is_unpacked_to_the_same_bytes() {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        let program = &program[..program.len().min(1 << 20)];
        for architecture in Architecture::ALL {
            let packed = pack(architecture, program).unwrap();
            assert!(packed.len() < program.len());
            let mut unpacked = Vec::new();
            lzma_rust2::XzReader::new(&*packed, false)
                .read_to_end(&mut unpacked)
                .unwrap();
            assert!(unpacked == program, "{architecture}");
        }
    }

    #[test]
    fn replaced_folder_has_the_new_content_and_leaves_no_temporary_folder() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("amd64");
        for content in ["first", "second"] {
            let new = TempDir::new_in(parent.path()).unwrap();
            fs::write(new.path().join("loader"), content).unwrap();
            replace(&folder, new).unwrap();
            assert_eq!(fs::read_to_string(folder.join("loader")).unwrap(), content);
            assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn packing_the_same_program_twice_gives_the_same_bytes() {
        let program: Vec<u8> = (0..100_000_u32)
            .flat_map(|number| (number / 3).to_le_bytes())
            .collect();
        let pack = || pack(Architecture::Amd64, &program).unwrap();
        assert!(pack() == pack());
    }
}

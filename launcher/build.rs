//! Puts the parts of kinject into its one executable, where the feature `bundle` asks for it: the folder that
//! KINJECT_BUNDLE names holds `glibc-VERSION/libkinject_preload.so` for each of two versions and
//! `agents/ARCHITECTURE/` as `cargo xtask agent` makes it. `cargo xtask dist` fills such a folder.

use kinject_bundle::{AGENTS_FOLDER, CarriedAgent, DIGEST_FILE, LOADER_FILE, PACKED_FILE, PreloadLibrary};
use sha2::{Digest, Sha256};
use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Names the folder with the parts.
const FOLDER: &str = "KINJECT_BUNDLE";

/// The builds of the preloaded library, the one for the newest glibc first.
const LIBRARIES: [(u32, u32); 2] = [(2, 34), (2, 17)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={FOLDER}");
    if env::var_os("CARGO_FEATURE_BUNDLE").is_none() {
        return Ok(());
    }
    let folder = env::var_os(FOLDER)
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute());
    let folder = folder.ok_or_else(|| {
        format!(
            "the feature `bundle` needs a folder in {FOLDER}, by its absolute path: run `cargo xtask dist`"
        )
    })?;
    rerun_if_changed(&folder.join(AGENTS_FOLDER));
    let mut code = String::new();
    writeln!(code, "/// The parts.")?;
    writeln!(
        code,
        "pub(crate) static PARTS: EmbeddedParts = EmbeddedParts {{ libraries: &["
    )?;
    for (major, minor) in LIBRARIES {
        let library = folder
            .join(format!("glibc-{major}.{minor}"))
            .join(PreloadLibrary::FILE_NAME);
        let content = read(&library)?;
        writeln!(
            code,
            "kinject_bundle::PreloadLibrary {{ glibc: ({major}, {minor}), content: {}, sha256: {:?} }},",
            included(&library)?,
            kinject_bundle::hex(&Sha256::digest(&content)),
        )?;
    }
    writeln!(code, "], agents: &[")?;
    for agent in kinject_bundle::carried_agents(&folder)? {
        write_agent(&mut code, &folder, &agent)?;
    }
    writeln!(code, "] }};")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("parts.rs"), code)?;
    Ok(())
}

/// An agent whose files are there and whole.
fn write_agent(
    code: &mut String,
    folder: &Path,
    agent: &CarriedAgent,
) -> Result<(), Box<dyn std::error::Error>> {
    let files = folder
        .join(AGENTS_FOLDER)
        .join(agent.architecture.kubernetes_name());
    rerun_if_changed(&files.join(DIGEST_FILE));
    writeln!(
        code,
        "kinject_bundle::CarriedAgent {{ architecture: kinject_bundle::Architecture::{:?}, \
         loader: std::borrow::Cow::Borrowed({}), packed: std::borrow::Cow::Borrowed({}), sha256: {:?} }},",
        agent.architecture,
        included(&files.join(LOADER_FILE))?,
        included(&files.join(PACKED_FILE))?,
        agent.sha256,
    )?;
    Ok(())
}

/// Has cargo run this again when the file changes.
fn rerun_if_changed(file: &Path) {
    println!("cargo::rerun-if-changed={}", file.display());
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// The expression of a file's bytes.
fn included(file: &Path) -> Result<String, String> {
    rerun_if_changed(file);
    let path = file
        .to_str()
        .ok_or_else(|| format!("{} is not UTF-8", file.display()))?;
    Ok(format!("include_bytes!({path:?})"))
}

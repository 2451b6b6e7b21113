//! The software bill of materials: every crate that is in the executable, with its version, license and checksum.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{cargo, process, workspace};

/// What writes it, as crates.io has it.
const TOOL: (&str, &str) = ("cargo-cyclonedx", "0.5.9");

/// The name of what it writes, without `.json`.
const STEM: &str = "kinject.cdx";

/// Writes it into a folder, in the form of CycloneDX.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let tools = install()?;
    let path = env::join_paths(
        std::iter::once(tools.join("bin")).chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    )?;
    let listed = process::output(
        cargo::command()
            .env("PATH", path)
            .args([
                "cyclonedx",
                "--format",
                "json",
                "--features",
                "bundle",
                "--target",
                "all",
            ])
            .args([
                "--manifest-path",
                "launcher/Cargo.toml",
                "--override-filename",
                STEM,
            ]),
    )
    .context("listing what the executable is made of");
    let written = take_written()?;
    listed?;
    // a crate of the workspace is named by its folder, which is another one on each machine
    let root = workspace::root()
        .to_str()
        .context("the clone's path is not UTF-8")?;
    let written = written
        .context("the bill of materials was not written")?
        .replace(root, "/kinject");
    let mut bill: Value = serde_json::from_str(&written).context("the bill of materials is not JSON")?;
    forget_the_occasion(&mut bill);
    let name = format!("kinject-{}.cdx.json", workspace::VERSION);
    super::write(&folder.join(name), &serde_json::to_vec_pretty(&bill)?)
}

/// The tool writes a file beside each manifest of the workspace. Takes them away, and gives the launcher's.
fn take_written() -> Result<Option<String>> {
    let mut of_launcher = None;
    let root = workspace::root();
    for entry in fs::read_dir(root).with_context(|| format!("reading {}", root.display()))? {
        let folder = entry?;
        let file = folder.path().join(format!("{STEM}.json"));
        if !file.is_file() {
            continue;
        }
        if folder.file_name() == "launcher" {
            let bill = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            of_launcher = Some(bill);
        }
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    Ok(of_launcher)
}

/// Takes out what is another one each time: the serial number, which is random, and the time.
fn forget_the_occasion(bill: &mut Value) {
    if let Some(bill) = bill.as_object_mut() {
        bill.remove("serialNumber");
    }
    if let Some(metadata) = bill.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("timestamp");
    }
}

/// Installs the tool into a folder of its own, unless it is there; gives the folder.
fn install() -> Result<PathBuf> {
    let (name, version) = TOOL;
    let folder = workspace::target().join("tools");
    process::visible(
        cargo::command()
            .args([
                "install",
                &format!("{name}@{version}"),
                "--quiet",
                "--locked",
                "--debug",
            ])
            .args(["--config", "profile.dev.debug=false", "--root"])
            .arg(&folder)
            .arg("--target-dir")
            .arg(folder.join("build")),
    )
    .with_context(|| format!("installing {name}"))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_number_and_time_are_left_out_of_the_bill_of_materials() {
        let mut bill = serde_json::json!({
            "serialNumber": "urn:uuid:0",
            "metadata": {"timestamp": "2026-01-01T00:00:00Z", "component": {"name": "kinject"}},
        });
        forget_the_occasion(&mut bill);
        assert_eq!(
            bill,
            serde_json::json!({"metadata": {"component": {"name": "kinject"}}})
        );
    }
}

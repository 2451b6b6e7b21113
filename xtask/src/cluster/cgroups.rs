//! The control groups of the node's containers, all below one of the cluster's own in each hierarchy.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::config::CONTROL_GROUP;
use crate::process;

const MOUNT: &str = "/sys/fs/cgroup";

/// Makes the parent group, with every controller that there is.
pub(crate) fn create() -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(CONTROL_GROUP);
        let make = || {
            fs::create_dir_all(&group)?;
            if hierarchy.join("cgroup.controllers").exists() && hierarchy == Path::new(MOUNT) {
                delegate(&hierarchy)?;
                delegate(&group)?;
            } else if hierarchy.join("cpuset.cpus").exists() {
                // A new group of cgroup v1 has no processors and takes no process.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(group.join(file), fs::read(hierarchy.join(file))?)?;
                }
            }
            io::Result::Ok(())
        };
        make().with_context(|| format!("making the control group {}", group.display()))?;
    }
    Ok(())
}

/// Removes the parent group and its children. The processes are dead, but the kernel may not have released their groups
/// yet.
pub(crate) fn remove() -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(CONTROL_GROUP);
        let what = format!("removing the control group {}", group.display());
        process::wait_for(&what, Duration::from_secs(10), || match remove_tree(&group) {
            Ok(()) => Ok(Some(())),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(None),
            Err(error) => Err(error).with_context(|| what.clone()),
        })?;
    }
    Ok(())
}

/// Enables a cgroup v2 group's controllers for its children.
fn delegate(group: &Path) -> io::Result<()> {
    for controller in fs::read_to_string(group.join("cgroup.controllers"))?.split_whitespace() {
        fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))?;
    }
    Ok(())
}

fn remove_tree(group: &Path) -> io::Result<()> {
    let children = match fs::read_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        children => children?,
    };
    for child in children {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove_tree(&child.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The one hierarchy of cgroup v2, or those of cgroup v1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return Ok(vec![mount.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(mount).with_context(|| format!("reading {MOUNT}"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.path().join("cgroup.procs").exists() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

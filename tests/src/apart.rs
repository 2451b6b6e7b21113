//! A view of the machine in which its own name server is not there.
//!
//! What the cluster does not know is asked for locally, and no question of a test is to leave the machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::binaries;

/// Shows another resolver configuration than the machine's, and becomes the program.
const APART: &str = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

/// `kinject` in that view; its process is the command's own.
pub fn kinject() -> Command {
    command(binaries::kinject())
}

/// A program in that view.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    // nobody answers questions at this address of the loopback interface
    static RESOLV_CONF: LazyLock<PathBuf> = LazyLock::new(|| resolv_conf("127.0.0.9"));
    seeing(&RESOLV_CONF, program)
}

/// A program in a view of the machine in which this is its name server.
pub fn with_name_server(server: &str, program: impl AsRef<OsStr>) -> Command {
    seeing(&resolv_conf(server), program)
}

fn seeing(resolv_conf: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command
        .args(["sh", "-c", APART, "apart"])
        .arg(resolv_conf)
        .arg(program);
    command
}

fn resolv_conf(server: &str) -> PathBuf {
    let path = binaries::folder().join(format!("test-programs/resolv-{server}.conf"));
    let folder = path.parent().expect("it stands in a folder");
    fs::create_dir_all(folder).expect("the target folder can be written to");
    fs::write(&path, format!("nameserver {server}\n")).expect("the target folder can be written to");
    path
}

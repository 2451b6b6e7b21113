//! Runs programs in a mount namespace whose resolv.conf names no working name server.
//!
//! kinject asks local name servers for names that the cluster does not have; no query of a test may leave the machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::binaries;

/// Mounts another resolver configuration over the machine's, and executes the program.
const APART: &str = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

/// `kinject` in that namespace, executed by the command's own process.
pub fn kinject() -> Command {
    command(binaries::kinject())
}

/// A program in that namespace.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    // no name server listens at this loopback address
    static RESOLV_CONF: LazyLock<PathBuf> = LazyLock::new(|| resolv_conf("127.0.0.9"));
    seeing(&RESOLV_CONF, program)
}

/// A program in a mount namespace whose resolv.conf names this server.
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

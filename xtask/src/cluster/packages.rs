//! The Debian packages that a node is made of: found, installed, or named in one line.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::elf::Elf;
use crate::{hint, process};

/// A package, and what of it proves that it is installed: a file, or a program by its name.
const PACKAGES: &[(&str, &str)] = &[
    ("busybox-static", BUSYBOX),
    ("containerd", "containerd"),
    ("containernetworking-plugins", "/usr/lib/cni/ptp"),
    ("iproute2", "ip"),
    ("iptables", "iptables-restore"),
    ("runc", "runc"),
    ("util-linux", "unshare"),
];

/// Where the node's programs are looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The shell of the images that need one.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Installs missing packages. Only root gets this far.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(hint::error(
            format!("packages are missing: {}", missing.join(" ")),
            format!("on Debian: {line}"),
        ));
    }
    eprintln!("installing {}", missing.join(" "));
    let install = || {
        process::visible(
            apt()
                .args(["install", "-y", "--no-install-recommends"])
                .args(&missing),
        )
    };
    // The lists of a fresh machine are empty, so the first attempt may not know the packages.
    let installed = install().or_else(|_| process::visible(apt().arg("update")).and_then(|()| install()));
    match installed {
        Ok(()) if self::missing().is_empty() => Ok(()),
        Ok(()) => Err(hint::error(
            format!("still missing: {}", self::missing().join(" ")),
            line,
        )),
        Err(error) => Err(hint::error(
            format!("{error:#}"),
            format!("run it by hand: {line}"),
        )),
    }
}

fn missing() -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|(_, file)| !is_there(file))
        .map(|(package, _)| *package)
        .collect()
}

/// The dynamically linked busybox is another package with the same file name.
fn is_there(file: &str) -> bool {
    match file {
        BUSYBOX => {
            fs::read(file).is_ok_and(|program| Elf::parse(&program).is_ok_and(|elf| !elf.has_interpreter))
        }
        path if path.starts_with('/') => Path::new(path).exists(),
        name => PATH
            .split(':')
            .any(|folder| Path::new(folder).join(name).exists()),
    }
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

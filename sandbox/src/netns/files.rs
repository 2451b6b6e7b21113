//! What a pod shows of the resolver: `resolv.conf`, `hosts` and `nsswitch.conf`.
//!
//! They lie in the sandbox's private folder and are mounted over the machine's own in the sandbox's mount namespace
//! alone, for programs that run in there bare. The sockets of the machine's resolvers are hidden by mounts: libc would
//! resolve the machine's names through them.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use super::unshare::Forbidden;
use crate::world;

/// Sockets by which the C library would ask a resolver of the machine.
const OUTSIDE_RESOLVERS: [&str; 2] = ["/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"];

/// The files, written.
pub struct Files {
    /// The pod's `resolv.conf`.
    pub resolv_conf: PathBuf,
    hosts: PathBuf,
    nsswitch: PathBuf,
}

impl Files {
    /// Writes them into `folder`.
    pub fn write(folder: &Path) -> io::Result<Self> {
        let files = Self {
            resolv_conf: folder.join("resolv.conf"),
            hosts: folder.join("hosts"),
            nsswitch: folder.join("nsswitch.conf"),
        };
        fs::write(&files.resolv_conf, world::resolv_conf())?;
        fs::write(
            &files.hosts,
            format!(
                "127.0.0.1\tlocalhost\n::1\tlocalhost\n{}\tsandbox\n",
                world::AGENT_POD
            ),
        )?;
        fs::write(&files.nsswitch, "hosts: files dns\n")?;
        Ok(files)
    }

    /// Shows them in the mount namespace that this process is in. What the machine does not have is left out.
    pub fn show(&self) -> Result<(), Forbidden> {
        let forbidden = |source| Forbidden::new("mount", source);
        keep_mounts_inside().map_err(forbidden)?;
        let files = [
            (self.resolv_conf.as_path(), "/etc/resolv.conf"),
            (&self.hosts, "/etc/hosts"),
            (&self.nsswitch, "/etc/nsswitch.conf"),
        ];
        let sockets = OUTSIDE_RESOLVERS.map(|socket| (Path::new("/dev/null"), socket));
        for (source, target) in files.into_iter().chain(sockets) {
            match bind(source, Path::new(target)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(forbidden)?,
            }
        }
        Ok(())
    }
}

fn keep_mounts_inside() -> io::Result<()> {
    // SAFETY: the target is a NUL-terminated literal; the other pointers may be null for a change of propagation.
    let result = unsafe {
        libc::mount(
            ptr::null(),
            c"/".as_ptr(),
            ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            ptr::null(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let source = CString::new(source.as_os_str().as_bytes())?;
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: both paths are NUL-terminated and live; type and data may be null for a bind mount.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            ptr::null(),
            libc::MS_BIND,
            ptr::null(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

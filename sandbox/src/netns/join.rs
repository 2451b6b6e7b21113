//! Running a program bare inside of a sandbox.

use std::env;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Moves this process, which must have one thread only, into the namespaces of `pid`, the `pid` of the ready line.
pub fn join(pid: u32) -> io::Result<()> {
    let folder = env::current_dir()?;
    let process = pidfd(pid)?;
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET;
    // SAFETY: the descriptor is open, and nothing but this thread shares what is changed.
    if unsafe { libc::setns(process.as_raw_fd(), flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Joining a mount namespace moves a process to its root.
    env::set_current_dir(folder)
}

/// A descriptor for a process; readable once it has ended.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: pidfd_open takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

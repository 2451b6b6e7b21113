//! What a container under Pod Security "restricted" does not have: capabilities, and ways to regain them.

use std::io;

/// From <linux/securebits.h>: user ID 0 gains no capabilities, and the bit is locked.
const SECBIT_NOROOT_LOCKED: libc::c_ulong = 0b11;

/// The next program that this process executes has no capabilities, whoever runs it.
///
/// Makes system calls only, so that it may be called between fork and exec.
pub fn confine() -> io::Result<()> {
    prctl(libc::PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED)?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Kills this process when its parent ends.
///
/// Makes system calls only, so that it may be called between fork and exec.
pub fn die_with_parent(parent: libc::pid_t) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    // SAFETY: the call takes no pointers and cannot fail.
    if unsafe { libc::getppid() } == parent {
        Ok(())
    } else {
        // The parent ended before the prctl call.
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: these options take integers only.
    let result = unsafe { libc::prctl(option, value, none, none, none) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

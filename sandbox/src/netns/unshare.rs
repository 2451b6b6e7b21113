//! Leaving the machine's namespaces, and explaining why where the machine forbids it.

use std::fs;
use std::io;

/// The machine does not let this user make namespaces.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a user and network namespace: {step}")]
pub struct Forbidden {
    step: &'static str,
    source: io::Error,
}

/// Settings that forbid it: the file, the forbidding value, and the hint.
const SETTINGS: [(&str, &str, &str); 4] = [
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "allow it with: sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "allow it with: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "allow it with: sudo sysctl user.max_user_namespaces=1000",
    ),
    (
        "/proc/sys/user/max_net_namespaces",
        "0",
        "allow it with: sudo sysctl user.max_net_namespaces=1000",
    ),
];

impl Forbidden {
    pub(super) fn new(step: &'static str, source: io::Error) -> Self {
        Self { step, source }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        let forbids = |(file, value, _): &&(&str, &str, &str)| {
            fs::read_to_string(file).is_ok_and(|content| content.trim() == *value)
        };
        match (SETTINGS.iter().find(forbids), self.source.raw_os_error()) {
            (Some((_, _, hint)), _) => hint,
            (None, Some(libc::EINVAL)) => "this kernel is built without user namespaces",
            (None, Some(libc::ENOSPC)) => "too many namespaces: raise user.max_user_namespaces with sysctl",
            (None, _) => {
                "inside a container, start that with --privileged or --security-opt seccomp=unconfined"
            }
        }
    }
}

/// Moves this process, which must have one thread only, into new user, mount and network namespaces.
///
/// The user keeps its ids: what it owns outside it owns inside, and the peer ids of Unix sockets stay the same.
pub fn unshare() -> Result<(), Forbidden> {
    // SAFETY: these calls take no pointers and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET;
    // SAFETY: no pointers; nothing but this thread shares the state that is split off.
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(Forbidden::new("unshare", io::Error::last_os_error()));
    }
    let write =
        |step, file, content: String| fs::write(file, content).map_err(|source| Forbidden::new(step, source));
    write("setgroups", "/proc/self/setgroups", "deny".to_owned())?;
    write("uid_map", "/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", "/proc/self/gid_map", format!("{gid} {gid} 1"))
}

//! Which calls are redirected to the pod's resolv.conf, and where that file is.

use crate::errno::Errno;
use kinject_protocol::environment::RESOLV_CONF;
use libc::{c_char, c_int, sockaddr_un};

/// The path that is redirected.
const RESOLV_CONF_PATH: &[u8] = b"/etc/resolv.conf\0";

/// The size of the longest path of a file beside a socket.
const MAX_PATH: usize = 108 + RESOLV_CONF.len() + 1;

/// Do these flags open a file that exists, and for reading alone?
#[inline]
pub(super) fn is_for_reading(flags: c_int) -> bool {
    const OTHER: c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_PATH;
    flags & OTHER == libc::O_RDONLY
}

/// Is this call's path redirected?
///
/// The path is read here only if the kernel has read it: if the call succeeded (`is_done`), or failed with an error
/// of the path's files. After every other error the pointer may be invalid.
#[inline]
pub(super) fn is_redirected(is_done: bool, error: impl FnOnce() -> Errno, path: *const c_char) -> bool {
    let has_kernel_read_path = is_done
        || matches!(
            error().0,
            libc::ENOENT | libc::EACCES | libc::ENOTDIR | libc::ELOOP
        );
    // a call about a descriptor alone needs no path (statx(2), AT_EMPTY_PATH)
    if !has_kernel_read_path || path.is_null() {
        return false;
    }
    for (offset, expected) in RESOLV_CONF_PATH.iter().enumerate() {
        // SAFETY: every byte before this one was not null, so this one is part of the path
        if unsafe { *path.wrapping_add(offset) } as u8 != *expected {
            return false;
        }
    }
    true
}

/// Does this mode of fopen(3) read alone?
///
/// # Safety
///
/// `mode` has to point to a C string.
pub(super) unsafe fn is_read_mode(mode: *const c_char) -> bool {
    // SAFETY: the caller vouches for it
    let mode = unsafe { core::ffi::CStr::from_ptr(mode) }.to_bytes();
    mode.starts_with(b"r") && mode.iter().all(|byte| *byte != b'+')
}

/// The pod's file, beside the relay's socket.
pub(super) fn own_path(relay: sockaddr_un) -> Option<[c_char; MAX_PATH]> {
    let length = relay.sun_path.iter().take_while(|byte| **byte != 0).count();
    let path = relay.sun_path.get(..length)?;
    let folder = path.iter().rposition(|byte| *byte as u8 == b'/')?;
    let mut own = [0; MAX_PATH];
    let name = RESOLV_CONF.bytes().map(|byte| byte as c_char);
    let bytes = path.get(..=folder)?.iter().copied().chain(name);
    // the last byte stays null: the array holds the longest folder, the name and a null
    for (field, byte) in own.iter_mut().zip(bytes) {
        *field = byte;
    }
    Some(own)
}

/// Does a failure to open the pod's file mean that this process does not see its folder?
pub(super) fn is_hidden(error: Errno) -> bool {
    matches!(error.0, libc::ENOENT | libc::EACCES | libc::ENOTDIR)
}

/// Is the relay asked for the pod's file after this failure to open it with these flags? The relay has a file alone,
/// so that a program that wants a folder gets the failure.
pub(super) fn is_asked_of_relay(error: Errno, flags: c_int) -> bool {
    is_hidden(error) && flags & libc::O_DIRECTORY == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(path: &str) -> sockaddr_un {
        let mut socket = sockaddr_un {
            sun_family: 1,
            sun_path: [0; 108],
        };
        for (field, byte) in socket.sun_path.iter_mut().zip(path.bytes()) {
            *field = byte as c_char;
        }
        socket
    }

    #[test]
    fn pods_file_lies_beside_the_relays_socket() {
        let found = |path: &str| {
            own_path(socket(path)).map(|own| {
                own.iter()
                    .take_while(|byte| **byte != 0)
                    .map(|byte| *byte as u8)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(found("/run/x/control.sock"), Some(b"/run/x/resolv.conf".to_vec()));
        let long = format!("/{}/c", "a".repeat(104));
        assert_eq!(
            found(&long),
            Some(format!("/{}/resolv.conf", "a".repeat(104)).into_bytes())
        );
        assert_eq!(found("control.sock"), None);
    }

    #[test]
    fn flags_for_reading_are_redirected_and_no_others() {
        for flags in [0, libc::O_CLOEXEC, libc::O_NONBLOCK, libc::O_DIRECTORY] {
            assert!(is_for_reading(libc::O_RDONLY | flags), "{flags}");
        }
        for flags in [
            libc::O_WRONLY,
            libc::O_RDWR,
            libc::O_CREAT,
            libc::O_TRUNC,
            libc::O_PATH,
        ] {
            assert!(!is_for_reading(flags), "{flags}");
        }
    }

    #[test]
    fn mode_for_reading_is_redirected_and_no_other() {
        for (mode, expected) in [
            (c"r", true),
            (c"rb", true),
            (c"re", true),
            (c"r+", false),
            (c"rb+", false),
            (c"w", false),
            (c"a", false),
            (c"", false),
        ] {
            // SAFETY: it is a C string
            assert_eq!(unsafe { is_read_mode(mode.as_ptr()) }, expected, "{mode:?}");
        }
    }

    #[test]
    fn path_of_resolv_conf_is_redirected_and_no_other() {
        for (path, expected) in [
            (c"/etc/resolv.conf", true),
            (c"/etc/resolv.con", false),
            (c"/etc/resolv.conf.d", false),
            (c"/etc/hosts", false),
            (c"etc/resolv.conf", false),
            (c"", false),
        ] {
            let found = is_redirected(true, || panic!("errno was read"), path.as_ptr());
            assert_eq!(found, expected, "{path:?}");
        }
        assert!(!is_redirected(true, || Errno(0), core::ptr::null()));
    }

    #[test]
    fn path_of_failed_call_is_read_after_errors_of_its_files_alone() {
        let path = c"/etc/resolv.conf".as_ptr();
        for error in [libc::ENOENT, libc::EACCES, libc::ENOTDIR, libc::ELOOP] {
            assert!(is_redirected(false, || Errno(error), path), "{error}");
        }
        let invalid = core::ptr::without_provenance(8);
        for error in [libc::EFAULT, libc::EMFILE, libc::EINVAL] {
            assert!(!is_redirected(false, || Errno(error), invalid), "{error}");
        }
    }

    #[test]
    fn relay_is_asked_for_a_file_whose_folder_is_hidden() {
        for error in [libc::ENOENT, libc::EACCES, libc::ENOTDIR] {
            assert!(is_asked_of_relay(Errno(error), libc::O_CLOEXEC), "{error}");
            assert!(!is_asked_of_relay(Errno(error), libc::O_DIRECTORY), "{error}");
        }
        for error in [libc::EMFILE, libc::ELOOP] {
            assert!(!is_asked_of_relay(Errno(error), 0), "{error}");
        }
    }
}

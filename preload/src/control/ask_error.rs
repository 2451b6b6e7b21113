//! Why the relay could not be asked, by the errno of the system call that failed.

use crate::errno::Errno;

/// Why the relay could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskError {
    /// The kernel refuses a socket, since the program is out of descriptors or the system of memory.
    NoSocket(Errno),
    /// There is no relay, it closed the conversation, it speaks another version, or a sandbox forbids the connection.
    NoRelay,
    /// The call is about another network namespace than the session's, so that libc and the kernel answer it.
    OtherNetwork,
}

impl AskError {
    pub(super) fn from_socket(error: Errno) -> Self {
        match error.0 {
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Self::NoSocket(error),
            // a seccomp filter forbids Unix sockets, or the kernel has none
            _ => Self::NoRelay,
        }
    }

    pub(super) fn from_file(error: Errno) -> Self {
        match error.0 {
            libc::EMFILE | libc::ENOBUFS | libc::ENOMEM => Self::NoSocket(error),
            _ => Self::NoRelay,
        }
    }

    pub(super) fn from_send(error: Errno) -> Self {
        match error.0 {
            // another thread closed the program's socket
            libc::EBADF => Self::NoSocket(error),
            // too many descriptors are in flight to the relay
            libc::ETOOMANYREFS => Self::NoSocket(Errno(libc::EAGAIN)),
            libc::ENOBUFS | libc::ENOMEM => Self::NoSocket(error),
            _ => Self::NoRelay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_of_exhaustion_is_kept_and_every_other_means_no_relay() {
        for error in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM].map(Errno) {
            assert_eq!(AskError::from_socket(error), AskError::NoSocket(error));
        }
        for error in [libc::EMFILE, libc::ENOBUFS, libc::ENOMEM].map(Errno) {
            assert_eq!(AskError::from_file(error), AskError::NoSocket(error));
        }
        for error in [libc::EBADF, libc::ENOBUFS, libc::ENOMEM].map(Errno) {
            assert_eq!(AskError::from_send(error), AskError::NoSocket(error));
        }
        for error in [libc::EPERM, libc::EACCES, libc::EAFNOSUPPORT].map(Errno) {
            assert_eq!(AskError::from_socket(error), AskError::NoRelay);
            assert_eq!(AskError::from_file(error), AskError::NoRelay);
            assert_eq!(AskError::from_send(error), AskError::NoRelay);
        }
    }

    #[test]
    fn too_many_descriptors_in_flight_is_eagain() {
        let error = AskError::from_send(Errno(libc::ETOOMANYREFS));
        assert_eq!(error, AskError::NoSocket(Errno(libc::EAGAIN)));
    }
}

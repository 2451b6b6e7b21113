//! The error codes of libc's functions for the relay's failures.

use crate::control::AskError;
use crate::errno::Errno;
use kinject_protocol::{ConnectFailure, NameFailure};
use libc::c_int;

/// netdb.h's values of `h_errno`, and -1 for "see errno".
pub(crate) mod host_errno {
    use libc::c_int;

    pub(crate) const NETDB_INTERNAL: c_int = -1;
    pub(crate) const NETDB_SUCCESS: c_int = 0;
    pub(crate) const HOST_NOT_FOUND: c_int = 1;
    pub(crate) const TRY_AGAIN: c_int = 2;
    pub(crate) const NO_RECOVERY: c_int = 3;
    pub(crate) const NO_DATA: c_int = 4;
}

/// The `errno` of connect(2).
pub(crate) fn connect_errno(failure: ConnectFailure) -> Errno {
    Errno(match failure {
        ConnectFailure::Refused => libc::ECONNREFUSED,
        ConnectFailure::TimedOut => libc::ETIMEDOUT,
        ConnectFailure::HostUnreachable => libc::EHOSTUNREACH,
        ConnectFailure::NetworkUnreachable | ConnectFailure::TunnelDown => libc::ENETUNREACH,
        ConnectFailure::Reset => libc::ECONNRESET,
        ConnectFailure::PermissionDenied => libc::EACCES,
        ConnectFailure::AddressNotAvailable => libc::EADDRNOTAVAIL,
        ConnectFailure::Exhausted => libc::EAGAIN,
        ConnectFailure::AlreadyReported => libc::ECONNABORTED,
        ConnectFailure::Invalid => libc::EINVAL,
        ConnectFailure::NotAtRest => libc::EALREADY,
    })
}

/// The `errno` of connect(2) when the relay could not be asked.
pub(crate) fn ask_errno(error: AskError) -> Errno {
    match error {
        AskError::NoSocket(error) => error,
        // callers leave a socket of another network namespace to the kernel
        AskError::NoRelay | AskError::OtherNetwork => Errno(libc::ENETUNREACH),
    }
}

/// The result of getaddrinfo(3).
pub(crate) fn address_info_error(failure: NameFailure) -> c_int {
    match failure {
        NameFailure::NotFound => libc::EAI_NONAME,
        NameFailure::NoData => libc::EAI_NODATA,
        NameFailure::TryAgain => libc::EAI_AGAIN,
        NameFailure::NoRecovery => libc::EAI_FAIL,
    }
}

/// `h_errno` after gethostbyname(3).
pub(crate) fn host_error(failure: NameFailure) -> c_int {
    match failure {
        NameFailure::NotFound => host_errno::HOST_NOT_FOUND,
        NameFailure::NoData => host_errno::NO_DATA,
        NameFailure::TryAgain => host_errno::TRY_AGAIN,
        NameFailure::NoRecovery => host_errno::NO_RECOVERY,
    }
}

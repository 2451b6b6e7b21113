//! getnameinfo(3).
//!
//! The relay gives the name of an address; libc formats numbers and the service, and does all of it for addresses of
//! this machine and its network. `NI_NOFQDN` leaves a name as it is, since this machine's domain is not the
//! cluster's.

use super::idn::{self, Converted, NI_IDN};
use super::reverse::{self, Reversed};
use super::{Allocation, NotFound};
use crate::address;
use crate::control::AskError;
use crate::errno::{self, Errno};
use crate::real;
use crate::session::Session;
use core::mem;
use core::net::IpAddr;
use core::ptr;
use kinject_protocol::NameFailure;
use libc::{c_char, c_int, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

/// More than the longest number with its scope.
const MAX_NUMBER: usize = 128;

type Native = unsafe extern "C" fn(
    *const sockaddr,
    socklen_t,
    *mut c_char,
    socklen_t,
    *mut c_char,
    socklen_t,
    c_int,
) -> c_int;

hook! {
    unsafe fn getnameinfo(
        address: *const sockaddr,
        length: socklen_t,
        host: *mut c_char,
        host_size: socklen_t,
        service: *mut c_char,
        service_size: socklen_t,
        flags: c_int
    ) -> c_int => hooked {
        getnameinfo_in_session(address, length, host, host_size, service, service_size, flags)
    }
}

/// The program's arguments.
#[derive(Clone, Copy)]
struct Call {
    native: Native,
    address: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_size: socklen_t,
    service: *mut c_char,
    service_size: socklen_t,
    flags: c_int,
}

extern "C" fn getnameinfo_in_session(
    address: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_size: socklen_t,
    service: *mut c_char,
    service_size: socklen_t,
    flags: c_int,
) -> c_int {
    let Some(native) = real::getnameinfo.get() else {
        Errno(libc::ENOSYS).set();
        return libc::EAI_SYSTEM;
    };
    let call = Call {
        native,
        address,
        length,
        host,
        host_size,
        service,
        service_size,
        flags,
    };
    match errno::preserve(|| call.for_session()) {
        Some((session, ip)) => call.answer(&session, ip),
        None => call.by_libc(),
    }
}

impl Call {
    /// The address that the relay looks up, unless libc does the call.
    fn for_session(&self) -> Option<(Session, IpAddr)> {
        let has_buffer = !self.host.is_null() && self.host_size > 0;
        if !has_buffer || self.flags & libc::NI_NUMERICHOST != 0 {
            return None;
        }
        let ip = self.ip().filter(|ip| reverse::is_for_relay(*ip))?;
        Some((Session::current()?, ip))
    }

    fn ip(&self) -> Option<IpAddr> {
        let length = self.length as usize;
        if self.address.is_null() || length < mem::size_of::<sa_family_t>() {
            return None;
        }
        // SAFETY: the program gives that many bytes of an address, as libc trusts too
        let family = unsafe { self.address.cast::<sa_family_t>().read_unaligned() };
        let needed = match c_int::from(family) {
            libc::AF_INET => size_of::<sockaddr_in>(),
            libc::AF_INET6 => size_of::<sockaddr_in6>(),
            _ => return None,
        };
        if length < needed {
            return None;
        }
        // SAFETY: zeros are an address
        let mut storage: sockaddr_storage = unsafe { mem::zeroed() };
        // SAFETY: the address is that long, and the storage longer than any
        unsafe { ptr::copy_nonoverlapping(self.address.cast::<u8>(), (&raw mut storage).cast(), needed) };
        address::from_storage(&storage, needed).map(|address| address.ip())
    }

    /// Calls libc's function with these arguments.
    fn by_libc(self) -> c_int {
        // SAFETY: these are the program's own arguments
        unsafe {
            (self.native)(
                self.address,
                self.length,
                self.host,
                self.host_size,
                self.service,
                self.service_size,
                self.flags,
            )
        }
    }

    fn answer(self, session: &Session, ip: IpAddr) -> c_int {
        match self.check() {
            0 => {}
            code => return code,
        }
        let Some(mut buffer) = Allocation::new() else {
            return libc::EAI_MEMORY;
        };
        let not_found = match errno::preserve(|| reverse::ask(session, ip, &mut buffer)) {
            Ok(Reversed::Local) => return self.by_libc(),
            Ok(Reversed::Names(names)) => {
                return match reverse::first(names) {
                    Some(name) => self.write(name),
                    None => libc::EAI_NONAME,
                };
            }
            Err(not_found) => not_found,
        };
        match after_failure(&not_found, self.flags) {
            Failure::Native => self.by_libc(),
            Failure::Number => Self {
                flags: self.flags | libc::NI_NUMERICHOST,
                ..self
            }
            .by_libc(),
            Failure::Code(code) => code,
            Failure::System(error) => {
                error.set();
                libc::EAI_SYSTEM
            }
        }
    }

    /// Lets libc check address and flags by formatting the number, for which it asks no name server.
    fn check(self) -> c_int {
        let mut number = [0; MAX_NUMBER];
        Self {
            host: number.as_mut_ptr(),
            host_size: number.len() as socklen_t,
            service: ptr::null_mut(),
            service_size: 0,
            flags: (self.flags | libc::NI_NUMERICHOST) & !libc::NI_NAMEREQD,
            ..self
        }
        .by_libc()
    }

    /// Writes the name, and lets libc write the service.
    fn write(self, name: &[u8]) -> c_int {
        let decoded = match self.flags & NI_IDN != 0 {
            true => errno::preserve(|| idn::decoded(name)),
            false => Ok(None),
        };
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(code) => return code,
        };
        let name = decoded.as_ref().map_or(name, Converted::bytes);
        if name.len() >= self.host_size as usize {
            return libc::EAI_OVERFLOW;
        }
        // SAFETY: the program's buffer is larger than the name, and does not overlap with the reply
        unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), self.host, name.len()) };
        // SAFETY: the buffer holds one byte more
        unsafe { self.host.wrapping_add(name.len()).write(0) };
        if self.service.is_null() || self.service_size == 0 {
            return 0;
        }
        Self {
            host: ptr::null_mut(),
            host_size: 0,
            flags: self.flags & !libc::NI_NAMEREQD,
            ..self
        }
        .by_libc()
    }
}

/// What the call does if the relay gives no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// libc does the whole call.
    Native,
    /// libc writes the number in the place of the name.
    Number,
    /// The call fails with this code.
    Code(c_int),
    /// The call fails with `EAI_SYSTEM` and this errno.
    System(Errno),
}

/// Decides by the reason and the program's flags.
fn after_failure(reason: &NotFound, flags: c_int) -> Failure {
    match reason {
        NotFound::Failed(NameFailure::TryAgain) | NotFound::AskError(AskError::NoRelay) => {
            Failure::Code(libc::EAI_AGAIN)
        }
        NotFound::AskError(AskError::OtherNetwork) => Failure::Native,
        NotFound::AskError(AskError::NoSocket(error)) => Failure::System(*error),
        NotFound::Failed(NameFailure::NotFound | NameFailure::NoData | NameFailure::NoRecovery) => {
            match flags & libc::NI_NAMEREQD != 0 {
                true => Failure::Code(libc::EAI_NONAME),
                false => Failure::Number,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_without_name_is_a_number_unless_a_name_is_required() {
        for failure in [
            NameFailure::NotFound,
            NameFailure::NoData,
            NameFailure::NoRecovery,
        ] {
            let reason = NotFound::Failed(failure);
            assert_eq!(after_failure(&reason, 0), Failure::Number);
            let required = after_failure(&reason, libc::NI_NAMEREQD);
            assert_eq!(required, Failure::Code(libc::EAI_NONAME));
        }
    }

    #[test]
    fn lookup_that_may_succeed_later_is_eai_again() {
        for reason in [
            NotFound::Failed(NameFailure::TryAgain),
            NotFound::AskError(AskError::NoRelay),
        ] {
            for flags in [0, libc::NI_NAMEREQD] {
                assert_eq!(after_failure(&reason, flags), Failure::Code(libc::EAI_AGAIN));
            }
        }
    }

    #[test]
    fn lookup_in_other_network_is_native_and_without_socket_a_system_error() {
        let reason = NotFound::AskError(AskError::OtherNetwork);
        assert_eq!(after_failure(&reason, 0), Failure::Native);
        let reason = NotFound::AskError(AskError::NoSocket(Errno(libc::EMFILE)));
        assert_eq!(after_failure(&reason, 0), Failure::System(Errno(libc::EMFILE)));
    }
}

//! getnameinfo(3).
//!
//! The relay gives the name of an address; libc makes the numbers, the service, and all of it for addresses of this
//! machine and its network. `NI_NOFQDN` leaves a name as it is, since this machine's domain says nothing about the
//! cluster's names.

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

/// The longest number with its scope, and room to spare.
const LONGEST_NUMBER: usize = 128;

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
    match errno::kept(|| call.for_session()) {
        Some((session, ip)) => call.answer(&session, ip),
        None => call.by_libc(),
    }
}

impl Call {
    /// The address to name, if that is not libc's business.
    fn for_session(&self) -> Option<(Session, IpAddr)> {
        let wants_name = !self.host.is_null() && self.host_size > 0 && self.flags & libc::NI_NUMERICHOST == 0;
        if !wants_name {
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

    /// libc does it, as the program asked.
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
        let not_found = match errno::kept(|| reverse::ask(session, ip, &mut buffer)) {
            Ok(Reversed::Local) => return self.by_libc(),
            Ok(Reversed::Names(names)) => {
                return match reverse::first(names) {
                    Some(name) => self.give(name),
                    None => libc::EAI_NONAME,
                };
            }
            Err(not_found) => not_found,
        };
        match not_found {
            NotFound::Failed(NameFailure::TryAgain) | NotFound::AskError(AskError::NoRelay) => {
                libc::EAI_AGAIN
            }
            NotFound::AskError(AskError::Elsewhere) => self.by_libc(),
            NotFound::Failed(NameFailure::NotFound | NameFailure::NoData | NameFailure::NoRecovery)
                if self.flags & libc::NI_NAMEREQD != 0 =>
            {
                libc::EAI_NONAME
            }
            // a number then
            NotFound::Failed(NameFailure::NotFound | NameFailure::NoData | NameFailure::NoRecovery) => Self {
                flags: self.flags | libc::NI_NUMERICHOST,
                ..self
            }
            .by_libc(),
            NotFound::AskError(AskError::NoSocket(error)) => {
                error.set();
                libc::EAI_SYSTEM
            }
        }
    }

    /// Lets libc judge address and flags by the number, which needs nobody.
    fn check(self) -> c_int {
        let mut number = [0; LONGEST_NUMBER];
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
    fn give(self, name: &[u8]) -> c_int {
        let decoded = match self.flags & NI_IDN != 0 {
            true => errno::kept(|| idn::decoded(name)),
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
        // SAFETY: the program's buffer is larger than the name, and no message lies there
        unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), self.host, name.len()) };
        // SAFETY: there is room for one more
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

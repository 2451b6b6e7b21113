//! libc's `struct __res_state` (resolver(3)), as far as the hooks read and write it.

use crate::failure::host_errno;
use crate::real;
use libc::{c_char, c_int, c_uint, c_ulong, in_addr, sockaddr_in};

unsafe extern "C" {
    /// The calling thread's `_res`.
    fn __res_state() -> *mut State;
    fn __res_init() -> c_int;
    fn __h_errno_location() -> *mut c_int;
}

/// resolv.h's `RES_*`.
pub(super) mod bits {
    use libc::c_ulong;

    pub(in crate::resolver) const INIT: c_ulong = 0x1;
    pub(in crate::resolver) const USE_VC: c_ulong = 0x8;
    pub(in crate::resolver) const IGNORE_TRUNCATION: c_ulong = 0x20;
    pub(in crate::resolver) const DEFAULT_NAMES: c_ulong = 0x80;
    pub(in crate::resolver) const DOMAINS: c_ulong = 0x200;
    pub(in crate::resolver) const USE_EDNS0: c_ulong = 0x10_0000;
    pub(in crate::resolver) const USE_DNSSEC: c_ulong = 0x80_0000;
    pub(in crate::resolver) const NO_TOP_LEVEL: c_ulong = 0x100_0000;
    pub(in crate::resolver) const TRUST_AD: c_ulong = 0x400_0000;
}

/// A resolver's state; the fields behind these are libc's alone.
#[repr(C)]
pub(crate) struct State {
    retransmission: c_int,
    retries: c_int,
    options: c_ulong,
    server_count: c_int,
    servers: [sockaddr_in; 3],
    id: u16,
    domains: [*mut c_char; 7],
    default_domain: [c_char; 256],
    /// What res_send(3) printed in old versions. A program that sets it sees servers' failures, as dig did.
    print_flags: c_ulong,
    bits: c_uint,
    sort_list: [[in_addr; 2]; 10],
    hooks: [*mut libc::c_void; 2],
    host_error: c_int,
}

/// The options of a state that one call needs.
#[derive(Clone, Copy)]
pub(super) struct Options {
    bits: c_ulong,
    /// The program gets failures of servers as answers.
    pub(super) shows_failures: bool,
    /// The state has a name server.
    pub(super) has_servers: bool,
}

impl Options {
    pub(super) fn has(self, option: c_ulong) -> bool {
        self.bits & option != 0
    }
}

/// The thread's state, for functions that take none; initialised at the first use, as by libc.
pub(super) fn of_this_thread() -> *mut State {
    // SAFETY: libc gives each thread a state that lives as long as the thread
    let state = unsafe { __res_state() };
    // SAFETY: as above
    if unsafe { (*state).options } & bits::INIT == 0 {
        // SAFETY: it fills the thread's state; if it fails, the state has no servers
        let _initialised = unsafe { __res_init() };
    }
    state
}

/// # Safety
///
/// `state` has to point to a resolver's state.
pub(super) unsafe fn options(state: *const State) -> Options {
    // SAFETY: the caller vouches for it
    let state = unsafe { &*state };
    Options {
        bits: state.options,
        shows_failures: state.print_flags != 0,
        has_servers: state.server_count != 0,
    }
}

/// Sets `h_errno`, the thread's and the state's.
///
/// # Safety
///
/// `state` has to point to a resolver's state.
pub(super) unsafe fn set_host_error(state: *mut State, code: c_int) {
    // SAFETY: the caller vouches for it
    unsafe { (*state).host_error = code };
    // SAFETY: libc gives each thread an `h_errno` that lives as long as the thread
    unsafe { *__h_errno_location() = code };
}

/// Writes a query as libc does; gives its length, or none if the name is not valid.
///
/// # Safety
///
/// `state` has to point to a resolver's state, and `name` to a C string.
pub(super) unsafe fn make_query(
    state: *mut State,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    buffer: &mut [u8],
) -> Option<usize> {
    /// The opcode of a standard query.
    const QUERY: c_int = 0;
    let make = real::res_nmkquery.get()?;
    let no_data = core::ptr::null();
    let size = c_int::try_from(buffer.len()).ok()?;
    // SAFETY: the caller vouches for state and name; the buffer is as large as it says
    let length = unsafe {
        make(
            state,
            QUERY,
            name,
            class,
            kind,
            no_data,
            0,
            no_data,
            buffer.as_mut_ptr(),
            size,
        )
    };
    usize::try_from(length).ok().filter(|length| *length > 0)
}

/// This machine's libc does not have the function.
pub(super) fn missing() -> c_int {
    // SAFETY: libc gives each thread an `h_errno` that lives as long as the thread
    unsafe { *__h_errno_location() = host_errno::NETDB_INTERNAL };
    crate::errno::Errno(libc::ENOSYS).fail()
}

/// Options of these bits, of a state with a name server.
#[cfg(test)]
pub(super) fn options_of_bits(bits: c_ulong) -> Options {
    Options {
        bits,
        shows_failures: false,
        has_servers: true,
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn field_offsets_equal_those_of_libc() {
        assert_eq!(offset_of!(State, options), 8);
        assert_eq!(offset_of!(State, server_count), 16);
        assert_eq!(offset_of!(State, domains), 72);
        assert_eq!(offset_of!(State, print_flags), 384);
        assert_eq!(offset_of!(State, host_error), 496);
    }
}

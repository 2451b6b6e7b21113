//! recvfrom(2), recvmsg(2) and recvmmsg(2), for the source of a datagram alone.
//!
//! A target's datagrams come from an address on loopback that stands for the target (`datagram`); the program is
//! shown the target's address. The contract of the man pages holds: the length is the size of the buffer and
//! afterwards the length of the address, and an address that does not fit is truncated. With `MSG_ERRQUEUE` the
//! address is the one that the datagram was sent to, which is translated likewise. All other results are the
//! kernel's, unchanged.

use crate::address::{self, RawAddress};
use crate::datagram;
use crate::errno::Errno;
use crate::memory::{self, Pages};
use crate::send;
use crate::session::Session;
use crate::{real, socket, transfer};
use core::mem::{MaybeUninit, offset_of};
use core::net::SocketAddr;
use core::ptr;
use kinject_protocol::control::{is_data_address, is_stand_in};
use libc::{
    c_int, c_uint, c_void, mmsghdr, msghdr, size_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage,
    socklen_t, ssize_t, timespec,
};

hook! {
    unsafe fn recvfrom(
        socket: c_int,
        buffer: *mut c_void,
        size: size_t,
        flags: c_int,
        address: *mut sockaddr,
        length: *mut socklen_t
    ) -> ssize_t => hooked_recvfrom {
        recvfrom_in_session(socket, buffer, size, flags, address, length)
    }
}

hook! {
    unsafe fn __recvfrom_chk(
        socket: c_int,
        buffer: *mut c_void,
        size: size_t,
        room: size_t,
        flags: c_int,
        address: *mut sockaddr,
        length: *mut socklen_t
    ) -> ssize_t => hooked_recvfrom_chk {
        recvfrom_chk_in_session(socket, buffer, size, room, flags, address, length)
    }
}

hook! {
    unsafe fn recvmsg(socket: c_int, message: *mut msghdr, flags: c_int) -> ssize_t => hooked_recvmsg {
        recvmsg_in_session(socket, message, flags)
    }
}

hook! {
    unsafe fn recvmmsg(
        socket: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int,
        timeout: *mut timespec
    ) -> c_int => hooked_recvmmsg {
        recvmmsg_in_session(socket, messages, count, flags, timeout)
    }
}

/// The most messages that the kernel receives in one call (`UIO_MAXIOV`).
const MAX_MESSAGES: usize = 1024;

/// The buffer into which the kernel writes the source of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressBuffer {
    /// The program's, and the source stays as the kernel wrote it.
    Native,
    /// The program's, which holds a whole address.
    Program { capacity: usize },
    /// The library's, since the program's would hold a part of the address.
    Library { capacity: usize },
}

impl AddressBuffer {
    /// Decides by the program's pointers, before the kernel writes there.
    fn of(socket: c_int, address: *const sockaddr, length: *const socklen_t) -> Self {
        if address.is_null() || length.is_null() || Session::current().is_none() {
            return Self::Native;
        }
        if !memory::is_readable(length.cast(), size_of::<socklen_t>()) {
            return Self::Native;
        }
        // SAFETY: it is readable
        let capacity = unsafe { length.read_unaligned() };
        Self::with_capacity(capacity, || socket::internet_family(socket))
    }

    /// Decides by the size of the program's buffer and, for a small one, by the socket's family.
    fn with_capacity(capacity: socklen_t, family: impl FnOnce() -> Option<c_int>) -> Self {
        if (capacity as c_int) < 0 {
            // the kernel returns EINVAL
            return Self::Native;
        }
        let capacity = capacity as usize;
        if capacity >= size_of::<sockaddr_in6>() {
            return Self::Program { capacity };
        }
        match family() {
            Some(libc::AF_INET) if capacity >= size_of::<sockaddr_in>() => Self::Program { capacity },
            Some(_) => Self::Library { capacity },
            // the session has no addresses of other families
            None => Self::Native,
        }
    }
}

pub(crate) extern "C" fn recvfrom_in_session(
    socket: c_int,
    buffer: *mut c_void,
    size: size_t,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> ssize_t {
    let Some(native) = real::recvfrom.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    receive(socket, address, length, |address, length| {
        // SAFETY: these are the program's own arguments, which the kernel checks, or an address of ours
        unsafe { native(socket, buffer, size, flags, address, length) }
    })
}

extern "C" fn recvfrom_chk_in_session(
    socket: c_int,
    buffer: *mut c_void,
    size: size_t,
    room: size_t,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> ssize_t {
    let Some(native) = real::__recvfrom_chk.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    receive(socket, address, length, |address, length| {
        // SAFETY: these are the program's own arguments, which libc and the kernel check, or an address of ours
        unsafe { native(socket, buffer, size, room, flags, address, length) }
    })
}

#[inline]
fn receive(
    socket: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    native: impl Fn(*mut sockaddr, *mut socklen_t) -> ssize_t,
) -> ssize_t {
    match AddressBuffer::of(socket, address, length) {
        AddressBuffer::Native => transfer::translate_errno(socket, native(address, length)),
        AddressBuffer::Program { capacity } => {
            let result = transfer::translate_errno(socket, native(address, length));
            if result >= 0 {
                // SAFETY: the kernel wrote both, and the address is whole
                unsafe { translate(socket, address, length, capacity) };
            }
            result
        }
        AddressBuffer::Library { capacity } => {
            let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
            let ours = storage.as_mut_ptr().cast::<sockaddr>();
            let mut whole_length = size_of::<sockaddr_storage>() as socklen_t;
            let result = transfer::translate_errno(socket, native(ours, &raw mut whole_length));
            if result < 0 {
                return result;
            }
            // SAFETY: the storage is longer than any address
            unsafe { translate(socket, ours, &raw mut whole_length, size_of::<sockaddr_storage>()) };
            if !copy_truncated(ours, whole_length, address, capacity)
                || !memory::is_writable(length.cast(), size_of::<socklen_t>())
            {
                // the datagram is lost, as it is when the kernel finds the fault
                return Errno(libc::EFAULT).fail() as ssize_t;
            }
            // SAFETY: it can be written
            unsafe { length.write_unaligned(whole_length) };
            result
        }
    }
}

/// Copies as much of an address as the program's buffer holds; says whether the buffer is writable.
fn copy_truncated(ours: *const sockaddr, length: socklen_t, buffer: *mut sockaddr, capacity: usize) -> bool {
    let count = capacity.min(length as usize);
    if count == 0 {
        return true;
    }
    if !memory::is_writable(buffer.cast(), count) {
        return false;
    }
    // SAFETY: the buffer is writable, and ours is as long
    unsafe { ptr::copy_nonoverlapping(ours.cast::<u8>(), buffer.cast::<u8>(), count) };
    true
}

pub(crate) extern "C" fn recvmsg_in_session(socket: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(native) = real::recvmsg.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    let (name, capacity) = match Session::current() {
        Some(_) => send::destination(message),
        None => (ptr::null(), 0),
    };
    let buffer = match name.is_null() {
        true => AddressBuffer::Native,
        false => AddressBuffer::with_capacity(capacity, || socket::internet_family(socket)),
    };
    let AddressBuffer::Library { capacity } = buffer else {
        // SAFETY: these are the program's own arguments, which the kernel checks
        let result = transfer::translate_errno(socket, unsafe { native(socket, message, flags) });
        if result >= 0
            && let AddressBuffer::Program { capacity } = buffer
        {
            // SAFETY: the kernel wrote the length and the address, which is whole
            unsafe { translate(socket, name.cast_mut(), length_of(message), capacity) };
        }
        return result;
    };
    receive_with_own_name(socket, message, name.cast_mut(), capacity, |header| {
        // SAFETY: the header is readable; it points to the program's memory, which the kernel checks, and to ours
        transfer::translate_errno(socket, unsafe { native(socket, header, flags) })
    })
}

/// Receives with a copy of the program's header in which the name is ours. The program's header never points into this
/// stack frame, even if a signal handler jumps out of the call or another thread reads the header.
fn receive_with_own_name(
    socket: c_int,
    message: *mut msghdr,
    theirs: *mut sockaddr,
    capacity: usize,
    native: impl FnOnce(*mut msghdr) -> ssize_t,
) -> ssize_t {
    let (length, flags) = (length_of(message), flags_of(message));
    if !memory::is_readable(message.cast(), size_of::<msghdr>()) {
        return Errno(libc::EFAULT).fail() as ssize_t;
    }
    // SAFETY: the header is readable, and any bytes make one
    let mut header = unsafe { message.read_unaligned() };
    let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
    let ours = storage.as_mut_ptr().cast::<sockaddr>();
    header.msg_name = ours.cast();
    header.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
    let result = native(&raw mut header);
    if result < 0 {
        return result;
    }
    // SAFETY: the storage is longer than any address
    unsafe {
        translate(
            socket,
            ours,
            &raw mut header.msg_namelen,
            size_of::<sockaddr_storage>(),
        );
    }
    if !copy_truncated(ours, header.msg_namelen, theirs, capacity)
        || !memory::is_writable(message.cast(), size_of::<msghdr>())
    {
        // the datagram is lost, as it is when the kernel finds the fault
        return Errno(libc::EFAULT).fail() as ssize_t;
    }
    // SAFETY: the header can be written
    unsafe {
        length.write_unaligned(header.msg_namelen);
        (&raw mut (*message).msg_controllen).write_unaligned(header.msg_controllen);
        flags.write_unaligned(header.msg_flags);
    }
    result
}

pub(crate) extern "C" fn recvmmsg_in_session(
    socket: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    let Some(native) = real::recvmmsg.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    // the size of each message's address buffer, which the kernel overwrites
    let mut capacities = [0; MAX_MESSAGES];
    if Session::current().is_some() {
        read_capacities(messages, count, &mut capacities);
    }
    // SAFETY: these are the program's own arguments, which the kernel checks
    let result = unsafe { native(socket, messages, count, flags, timeout) };
    let received = usize::try_from(result).unwrap_or(0);
    for (index, capacity) in capacities.iter().take(received).enumerate() {
        if *capacity == 0 {
            continue;
        }
        let message = messages.wrapping_add(index).cast::<msghdr>();
        // SAFETY: the kernel read and wrote the header
        let name = unsafe { (&raw const (*message).msg_name).read_unaligned() };
        // SAFETY: as above; `read_capacities` gives only buffers that hold a whole address
        unsafe { translate(socket, name.cast(), length_of(message), *capacity as usize) };
    }
    result
}

/// Reads the size of each address buffer that holds a whole address. A smaller one gets the address as the kernel
/// writes it.
fn read_capacities(messages: *const mmsghdr, count: c_uint, capacities: &mut [socklen_t; MAX_MESSAGES]) {
    let mut pages = Pages::new();
    for (index, capacity) in capacities.iter_mut().take(count as usize).enumerate() {
        let message = messages.wrapping_add(index).cast::<msghdr>();
        let end = message.wrapping_byte_add(size_of::<msghdr>() - 1);
        if !pages.is_readable(message.cast()) || !pages.is_readable(end.cast()) {
            return;
        }
        // SAFETY: the first and the last byte of the header are readable
        let name = unsafe { (&raw const (*message).msg_name).read_unaligned() };
        // SAFETY: as above
        let length = unsafe { (&raw const (*message).msg_namelen).read_unaligned() };
        if !name.is_null() && length as usize >= size_of::<sockaddr_in>() {
            *capacity = length;
        }
    }
}

fn flags_of(message: *mut msghdr) -> *mut c_int {
    message.wrapping_byte_add(offset_of!(msghdr, msg_flags)).cast()
}

fn length_of(message: *mut msghdr) -> *mut socklen_t {
    message.wrapping_byte_add(offset_of!(msghdr, msg_namelen)).cast()
}

/// Overwrites an address of the relay's by the target's.
///
/// # Safety
///
/// `length` has to be readable and writable, and `address` for `capacity` bytes or as many as the length says,
/// whichever is less.
unsafe fn translate(socket: c_int, address: *mut sockaddr, length: *mut socklen_t, capacity: usize) {
    // SAFETY: the caller vouches for it
    let whole_length = unsafe { length.read_unaligned() } as usize;
    // SAFETY: as above
    let Some(from) = (unsafe { address::written(address, whole_length.min(capacity)) }) else {
        return;
    };
    if let Some(source) = source(socket, from) {
        // SAFETY: as above
        unsafe { length.write_unaligned(source.write(address, capacity)) };
    }
}

fn source(socket: c_int, from: SocketAddr) -> Option<RawAddress> {
    if !is_data_address(from.ip()) && !is_stand_in(from.ip()) {
        return None;
    }
    let target = datagram::source(&Session::current()?, socket, from)?;
    let family = match from {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    RawAddress::fitting(target, family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_received_where_it_fits() {
        let (v4, v6) = (Some(libc::AF_INET), Some(libc::AF_INET6));
        for (capacity, family, expected) in [
            (16, v4, AddressBuffer::Program { capacity: 16 }),
            (16, v6, AddressBuffer::Library { capacity: 16 }),
            (15, v4, AddressBuffer::Library { capacity: 15 }),
            (0, v4, AddressBuffer::Library { capacity: 0 }),
            (27, v6, AddressBuffer::Library { capacity: 27 }),
            (8, None, AddressBuffer::Native),
            (socklen_t::MAX, v4, AddressBuffer::Native),
        ] {
            let buffer = AddressBuffer::with_capacity(capacity, || family);
            assert_eq!(buffer, expected, "{capacity} {family:?}");
        }
    }

    #[test]
    fn buffer_for_every_address_is_used_without_asking_for_the_family() {
        for capacity in [28, 128] {
            let buffer = AddressBuffer::with_capacity(capacity, || panic!("the family was asked for"));
            let capacity = capacity as usize;
            assert_eq!(buffer, AddressBuffer::Program { capacity });
        }
    }
}

//! recvfrom(2), recvmsg(2) and recvmmsg(2), for the source of a datagram alone.
//!
//! What comes from a target comes by way of an address on loopback that stands for it (`datagram`); the program is told
//! the target's. The contract of the man pages holds: the length says how much room there is and afterwards how long
//! the address is, and an address that does not fit is cut. With `MSG_ERRQUEUE` the address is the one that the
//! datagram was sent to, which is translated likewise. Everything else is the kernel's answer, untouched.

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

/// The kernel receives no more messages than this in one call (`UIO_MAXIOV`), whatever it is told.
const MOST_MESSAGES: usize = 1024;

/// How the address of one datagram is received.
enum AddressBuffer {
    /// Not at all, or without our help.
    Native,
    /// Where the program wants it: there is room for a whole address.
    Theirs { room: usize },
    /// Here first, since too little of it would be left there.
    Ours { room: usize },
}

impl AddressBuffer {
    /// Judges by the program's pointers, which are not written yet.
    fn look(socket: c_int, address: *const sockaddr, length: *const socklen_t) -> Self {
        if address.is_null() || length.is_null() || Session::current().is_none() {
            return Self::Native;
        }
        if !memory::is_readable(length.cast(), size_of::<socklen_t>()) {
            return Self::Native;
        }
        // SAFETY: the kernel read it a moment ago
        Self::with_room(socket, unsafe { length.read_unaligned() })
    }

    fn with_room(socket: c_int, room: socklen_t) -> Self {
        let room = room as usize;
        if (room as c_int) < 0 {
            // the kernel says EINVAL
            return Self::Native;
        }
        if room >= size_of::<sockaddr_in6>() {
            return Self::Theirs { room };
        }
        match socket::internet_family(socket) {
            Some(libc::AF_INET) if room >= size_of::<sockaddr_in>() => Self::Theirs { room },
            Some(_) => Self::Ours { room },
            // addresses of other families stand for nobody else
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
    match AddressBuffer::look(socket, address, length) {
        AddressBuffer::Native => transfer::translate_errno(socket, native(address, length)),
        AddressBuffer::Theirs { room } => {
            let result = transfer::translate_errno(socket, native(address, length));
            if result >= 0 {
                // SAFETY: the kernel wrote both a moment ago, and the address is whole
                unsafe { translate(socket, address, length, room) };
            }
            result
        }
        AddressBuffer::Ours { room } => {
            let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
            let ours = storage.as_mut_ptr().cast::<sockaddr>();
            let mut whole = size_of::<sockaddr_storage>() as socklen_t;
            let result = transfer::translate_errno(socket, native(ours, &raw mut whole));
            if result < 0 {
                return result;
            }
            // SAFETY: the storage is longer than any address
            unsafe { translate(socket, ours, &raw mut whole, size_of::<sockaddr_storage>()) };
            if !hand_over(ours, whole, address, room)
                || !memory::is_writable(length.cast(), size_of::<socklen_t>())
            {
                // what was received is gone, as it is where the kernel finds this out
                return Errno(libc::EFAULT).fail() as ssize_t;
            }
            // SAFETY: it can be written
            unsafe { length.write_unaligned(whole) };
            result
        }
    }
}

/// Gives the program as much of an address as there is room for; says whether it could be written.
fn hand_over(ours: *const sockaddr, whole: socklen_t, place: *mut sockaddr, room: usize) -> bool {
    let count = room.min(whole as usize);
    if count == 0 {
        return true;
    }
    if !memory::is_writable(place.cast(), count) {
        return false;
    }
    // SAFETY: the place can be written, and ours is as long
    unsafe { ptr::copy_nonoverlapping(ours.cast::<u8>(), place.cast::<u8>(), count) };
    true
}

pub(crate) extern "C" fn recvmsg_in_session(socket: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(native) = real::recvmsg.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    let (name, room) = match Session::current() {
        Some(_) => send::destination(message),
        None => (ptr::null(), 0),
    };
    let place = match name.is_null() {
        true => AddressBuffer::Native,
        false => AddressBuffer::with_room(socket, room),
    };
    let AddressBuffer::Ours { room } = place else {
        // SAFETY: these are the program's own arguments, which the kernel checks
        let result = transfer::translate_errno(socket, unsafe { native(socket, message, flags) });
        if result >= 0
            && let AddressBuffer::Theirs { room } = place
        {
            // SAFETY: the kernel wrote the length a moment ago, and the address, which is whole
            unsafe { translate(socket, name.cast_mut(), length_of(message), room) };
        }
        return result;
    };
    receive_with_own_name(socket, message, name.cast_mut(), room, |header| {
        // SAFETY: the header is readable, and what it points to is the program's, which the kernel checks, or ours
        transfer::translate_errno(socket, unsafe { native(socket, header, flags) })
    })
}

/// Receives with a copy of the program's header in which the name is ours: the program's own header never holds an address
/// of this frame, whatever a signal handler or another thread makes of the call.
fn receive_with_own_name(
    socket: c_int,
    message: *mut msghdr,
    theirs: *mut sockaddr,
    room: usize,
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
    if !hand_over(ours, header.msg_namelen, theirs, room)
        || !memory::is_writable(message.cast(), size_of::<msghdr>())
    {
        // what was received is gone, as it is where the kernel finds this out
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
    // how much room each message has for an address; the kernel overwrites it
    let mut rooms = [0; MOST_MESSAGES];
    if Session::current().is_some() {
        note_rooms(messages, count, &mut rooms);
    }
    // SAFETY: these are the program's own arguments, which the kernel checks
    let result = unsafe { native(socket, messages, count, flags, timeout) };
    let received = usize::try_from(result).unwrap_or(0);
    for (index, room) in rooms.iter().take(received).enumerate() {
        if *room == 0 {
            continue;
        }
        let message = messages.wrapping_add(index).cast::<msghdr>();
        // SAFETY: the kernel read and wrote the header a moment ago
        let name = unsafe { (&raw const (*message).msg_name).read_unaligned() };
        // SAFETY: as above; a room is noted only for a whole address
        unsafe { translate(socket, name.cast(), length_of(message), *room as usize) };
    }
    result
}

/// Notes the room of each message that has some for a whole address. One with less gets it as the kernel writes it.
fn note_rooms(messages: *const mmsghdr, count: c_uint, rooms: &mut [socklen_t; MOST_MESSAGES]) {
    let mut pages = Pages::new();
    for (index, room) in rooms.iter_mut().take(count as usize).enumerate() {
        let message = messages.wrapping_add(index).cast::<msghdr>();
        let end = message.wrapping_byte_add(size_of::<msghdr>() - 1);
        if !pages.is_readable(message.cast()) || !pages.is_readable(end.cast()) {
            return;
        }
        // SAFETY: the kernel read the whole header a moment ago
        let name = unsafe { (&raw const (*message).msg_name).read_unaligned() };
        // SAFETY: as above
        let length = unsafe { (&raw const (*message).msg_namelen).read_unaligned() };
        if !name.is_null() && length as usize >= size_of::<sockaddr_in>() {
            *room = length;
        }
    }
}

fn flags_of(message: *mut msghdr) -> *mut c_int {
    message.wrapping_byte_add(offset_of!(msghdr, msg_flags)).cast()
}

fn length_of(message: *mut msghdr) -> *mut socklen_t {
    message.wrapping_byte_add(offset_of!(msghdr, msg_namelen)).cast()
}

/// Puts the true source in the place of a relay's address.
///
/// # Safety
///
/// `length` has to be readable and writable, and `address` for `room` bytes or as many as the length says, whichever is
/// less.
unsafe fn translate(socket: c_int, address: *mut sockaddr, length: *mut socklen_t, room: usize) {
    // SAFETY: the caller vouches for it
    let whole = unsafe { length.read_unaligned() } as usize;
    // SAFETY: as above
    let Some(from) = (unsafe { address::written(address, whole.min(room)) }) else {
        return;
    };
    if let Some(source) = source(socket, from) {
        // SAFETY: as above
        unsafe { length.write_unaligned(source.write(address, room)) };
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

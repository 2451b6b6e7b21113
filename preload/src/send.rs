//! sendto(2), sendmsg(2) and sendmmsg(2).
//!
//! A datagram of a UDP socket to another machine goes elsewhere ([`crate::datagram`]). Everything else about the call is the
//! program's: flags, parts, control data, and the kernel's limits and errors.
//!
//! We deviate from the man pages where the session cannot carry what the program asks for: `ENETUNREACH`, never a
//! datagram on the local network. That goes for multicast and broadcast, for protocols other than UDP, and for datagrams
//! that the program binds to an interface. sendmmsg(2) sends what stands before the first such datagram, as it does for
//! every other error.
//!
//! `MSG_FASTOPEN` connects and sends in one call (tcp(7)); here it connects, then sends without the flag.

use crate::address::Destination;
use crate::connect;
use crate::datagram::{self, Redirection, Route};
use crate::errno::Errno;
use crate::memory;
use crate::real;
use crate::session::Session;
use crate::socket;
use crate::transfer;
use core::ptr;
use kinject_protocol::control::is_of_every_machine;
use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t};

/// The kernel sends no more messages than this in one call (`UIO_MAXIOV`), whatever it is told.
const MOST_MESSAGES: c_uint = 1024;

hook! {
    unsafe fn sendto(
        socket: c_int,
        data: *const c_void,
        size: size_t,
        flags: c_int,
        address: *const sockaddr,
        length: socklen_t
    ) -> ssize_t => hooked_sendto {
        sendto_in_session(socket, data, size, flags, address, length)
    }
}

hook! {
    unsafe fn sendmsg(socket: c_int, message: *const msghdr, flags: c_int) -> ssize_t => hooked_sendmsg {
        sendmsg_in_session(socket, message, flags)
    }
}

hook! {
    unsafe fn sendmmsg(
        socket: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int
    ) -> c_int => hooked_sendmmsg {
        sendmmsg_in_session(socket, messages, count, flags)
    }
}

/// What to do with something that is to be sent to an address.
enum Decision {
    /// The kernel takes it as it is.
    Native,
    /// The socket has to be connected to the address first.
    Connect,
    /// It goes to this address instead.
    Redirect(Redirection),
    Fail(Errno),
}

fn decide(socket: c_int, flags: c_int, address: *const sockaddr, length: socklen_t) -> Decision {
    // the usual case: a connected socket
    if address.is_null() {
        return Decision::Native;
    }
    let target = match Destination::read(address, length) {
        Destination::Remote(target) => target,
        Destination::Unspecified(target)
            if !is_of_every_machine(target.ip())
                && socket::internet_family(socket) == Some(libc::AF_INET) =>
        {
            target
        }
        Destination::Native | Destination::Here | Destination::Unspecified(_) => return Decision::Native,
    };
    let Some(session) = Session::current() else {
        return Decision::Native;
    };
    match datagram::route(&session, socket, target) {
        Route::Flow(address) | Route::StandIn(address) => Decision::Redirect(Redirection::to(address)),
        Route::Tcp if flags & libc::MSG_FASTOPEN != 0 => Decision::Connect,
        // without the flag TCP ignores the address
        Route::Native | Route::Tcp => Decision::Native,
        Route::Failed(error) => Decision::Fail(error),
    }
}

/// The same for a message, whose control data may mean something of its own.
fn decide_message(socket: c_int, flags: c_int, message: *const msghdr) -> Decision {
    let (address, length) = destination(message);
    if address.is_null()
        && has_control_data(message)
        && let Some(there) = Redirection::of_connected(socket, message)
    {
        return Decision::Redirect(there);
    }
    decide(socket, flags, address, length)
}

pub(crate) extern "C" fn sendto_in_session(
    socket: c_int,
    data: *const c_void,
    size: size_t,
    flags: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> ssize_t {
    let Some(native) = real::sendto.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    match decide(socket, flags, address, length) {
        // SAFETY: these are the program's own arguments, which the kernel checks
        Decision::Native => transfer::translate_errno(socket, unsafe {
            native(socket, data, size, flags, address, length)
        }),
        Decision::Connect => {
            let connected = connect::connect_in_session(socket, address, length);
            if connected != 0 {
                return connected as ssize_t;
            }
            // SAFETY: as above, without an address
            unsafe { native(socket, data, size, flags & !libc::MSG_FASTOPEN, ptr::null(), 0) }
        }
        Decision::Redirect(there) if there.needs_source(socket) => {
            let mut part = iovec {
                iov_base: data.cast_mut(),
                iov_len: size,
            };
            // SAFETY: a message header of zeros is an empty one, also in the fields that are padding
            let mut message: msghdr = unsafe { core::mem::zeroed() };
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            send_elsewhere(socket, &raw const message, there, flags)
        }
        Decision::Redirect(there) => {
            let there = there.address();
            let (address, length) = there.as_raw();
            // SAFETY: as above, with an address of our own that lives until the call is over
            unsafe { native(socket, data, size, flags, address, length) }
        }
        Decision::Fail(error) => error.fail() as ssize_t,
    }
}

pub(crate) extern "C" fn sendmsg_in_session(socket: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let Some(native) = real::sendmsg.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    match decide_message(socket, flags, message) {
        // SAFETY: these are the program's own arguments, which the kernel checks
        Decision::Native => transfer::translate_errno(socket, unsafe { native(socket, message, flags) }),
        Decision::Connect => {
            let (address, length) = destination(message);
            let connected = connect::connect_in_session(socket, address, length);
            if connected != 0 {
                return connected as ssize_t;
            }
            // SAFETY: as above; TCP ignores the address without the flag
            unsafe { native(socket, message, flags & !libc::MSG_FASTOPEN) }
        }
        Decision::Redirect(there) => send_elsewhere(socket, message, there, flags),
        Decision::Fail(error) => error.fail() as ssize_t,
    }
}

fn send_elsewhere(socket: c_int, message: *const msghdr, there: Redirection, flags: c_int) -> ssize_t {
    let Some(native) = real::sendmsg.get() else {
        return Errno(libc::ENOSYS).fail() as ssize_t;
    };
    there.send(socket, message, |header| {
        // SAFETY: the header is ours, and what it points to is the program's, which the kernel checks, or ours, which lives until
        // the call is over
        unsafe { native(socket, header, flags) }
    })
}

pub(crate) extern "C" fn sendmmsg_in_session(
    socket: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    let Some(native) = real::sendmmsg.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let count = count.min(MOST_MESSAGES);
    let mut flags = flags;
    let mut sent: c_uint = 0;
    while sent < count {
        let rest = messages.wrapping_add(sent as usize);
        let batch = Batch::gather(socket, rest, count.wrapping_sub(sent), &mut flags);
        let result = match &batch.redirected {
            None if batch.count == 0 => break_with(&batch),
            // SAFETY: these are the program's own messages, which the kernel checks
            None => unsafe { native(socket, rest, batch.count, flags) },
            Some(there) => send_redirected(socket, rest, *there, flags),
        };
        if result < 0 {
            // what was sent counts, and the error comes again with the next call
            return if sent == 0 { result } else { sent as c_int };
        }
        sent = sent.wrapping_add(result as c_uint);
        if result as c_uint != batch.count {
            break;
        }
    }
    sent as c_int
}

fn break_with(batch: &Batch) -> c_int {
    batch.error.map_or(0, Errno::fail)
}

/// The longest run of messages that can be given to the kernel at once: as they are, or one that goes elsewhere.
struct Batch {
    count: c_uint,
    redirected: Option<Redirection>,
    /// Why the first message cannot be sent.
    error: Option<Errno>,
}

impl Batch {
    fn gather(socket: c_int, messages: *const mmsghdr, count: c_uint, flags: &mut c_int) -> Self {
        let mut batch = Self {
            count: 0,
            redirected: None,
            error: None,
        };
        while batch.count < count {
            let message = messages.wrapping_add(batch.count as usize).cast::<msghdr>();
            match decide_message(socket, *flags, message) {
                Decision::Native => {}
                Decision::Connect => {
                    let (address, length) = destination(message);
                    let connected = connect::connect_in_session(socket, address, length);
                    if connected != 0 {
                        batch.error = (batch.count == 0).then(Errno::current);
                        return batch;
                    }
                    *flags &= !libc::MSG_FASTOPEN;
                }
                Decision::Redirect(there) => {
                    if batch.count == 0 {
                        batch.redirected = Some(there);
                        batch.count = 1;
                    }
                    return batch;
                }
                Decision::Fail(error) => {
                    batch.error = (batch.count == 0).then_some(error);
                    return batch;
                }
            }
            batch.count = batch.count.wrapping_add(1);
        }
        batch
    }
}

/// Sends one message of sendmmsg(2), which tells in the message how much of it was sent.
fn send_redirected(socket: c_int, message: *mut mmsghdr, there: Redirection, flags: c_int) -> c_int {
    let told = message
        .wrapping_byte_add(core::mem::offset_of!(mmsghdr, msg_len))
        .cast::<c_uint>();
    let sent = send_elsewhere(socket, message.cast(), there, flags);
    if sent < 0 {
        return sent as c_int;
    }
    if !memory::is_writable(told.cast(), size_of::<c_uint>()) {
        // it is sent all the same, as it is where the kernel finds this out
        return Errno(libc::EFAULT).fail();
    }
    // SAFETY: it can be written
    unsafe { told.write_unaligned(sent as c_uint) };
    1
}

/// Does a message that the kernel can read have control data?
fn has_control_data(message: *const msghdr) -> bool {
    const FIELDS: usize = core::mem::offset_of!(msghdr, msg_controllen) + size_of::<size_t>();
    if !memory::is_readable(message.cast(), FIELDS) {
        return false;
    }
    // SAFETY: the kernel read the field a moment ago
    unsafe { (&raw const (*message).msg_controllen).read_unaligned() != 0 }
}

/// The address in a message header; null where there is none, or where the kernel will find a fault.
pub(crate) fn destination(message: *const msghdr) -> (*const sockaddr, socklen_t) {
    const FIELDS: usize = core::mem::offset_of!(msghdr, msg_namelen) + size_of::<socklen_t>();
    if !memory::is_readable(message.cast(), FIELDS) {
        return (ptr::null(), 0);
    }
    // SAFETY: the kernel read the fields a moment ago
    let name = unsafe { (&raw const (*message).msg_name).read_unaligned() };
    // SAFETY: as above
    let length = unsafe { (&raw const (*message).msg_namelen).read_unaligned() };
    (name.cast(), length)
}

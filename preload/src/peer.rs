//! getpeername(2), getsockname(2), accept(2) and accept4(2).
//!
//! The peer of a socket that the relay connected is the relay, on this machine's loopback. The program is shown the
//! address that it passed to connect(2), and as its own address that of the agent's pod, which is what the target
//! sees, with the socket's port on this machine. An address that stands for the pod's own (`bind`) is shown as the
//! pod's, also as the peer's that accept(2) returns. The contract of the man pages holds: `length` is the size of the
//! buffer and afterwards the length of the address, and an address that does not fit is truncated.
//!
//! The kernel answers first, and its answer decides whether the relay is asked (`decision`).

mod decision;

use crate::address::{self, RawAddress};
use crate::bind;
use crate::control::{self, SMALL_REPLY};
use crate::errno::{self, Errno};
use crate::session::Session;
use crate::socket::{self, Kind};
use crate::{memory, real, sys, tcp_connect};
use core::net::SocketAddr;
use decision::{ConnectState, Source, source_of_accepted, source_of_local, source_of_peer};
use kinject_protocol::control::{ReplyRef, Request};
use libc::{c_int, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

hook! {
    unsafe fn getpeername(
        socket: c_int,
        address: *mut sockaddr,
        length: *mut socklen_t
    ) -> c_int => hooked_getpeername {
        getpeername_in_session(socket, address, length)
    }
}

hook! {
    unsafe fn getsockname(
        socket: c_int,
        address: *mut sockaddr,
        length: *mut socklen_t
    ) -> c_int => hooked_getsockname {
        getsockname_in_session(socket, address, length)
    }
}

hook! {
    unsafe fn accept(socket: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int => hooked_accept {
        accept_in_session(socket, address, length)
    }
}

hook! {
    unsafe fn accept4(
        socket: c_int,
        address: *mut sockaddr,
        length: *mut socklen_t,
        flags: c_int
    ) -> c_int => hooked_accept4 {
        accept4_in_session(socket, address, length, flags)
    }
}

pub(crate) extern "C" fn getpeername_in_session(
    socket: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    named(
        socket,
        address,
        length,
        real::getpeername.get(),
        sys::getpeername,
        shown_peer,
    )
}

pub(crate) extern "C" fn getsockname_in_session(
    socket: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    named(
        socket,
        address,
        length,
        real::getsockname.get(),
        sys::getsockname,
        shown_local,
    )
}

pub(crate) extern "C" fn accept_in_session(
    socket: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    let Some(native) = real::accept.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    accepted(address, length, || {
        // SAFETY: these are the program's own arguments, which the kernel checks
        unsafe { native(socket, address, length) }
    })
}

pub(crate) extern "C" fn accept4_in_session(
    socket: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(native) = real::accept4.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    accepted(address, length, || {
        // SAFETY: these are the program's own arguments, which the kernel checks
        unsafe { native(socket, address, length, flags) }
    })
}

/// Does getpeername(2) or getsockname(2), whichever `native` and `ask_kernel` are.
#[inline]
fn named(
    socket: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    native: Option<unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int>,
    ask_kernel: impl Fn(c_int, &mut sockaddr_storage) -> Result<usize, Errno>,
    shown: impl Fn(c_int, SocketAddr) -> Option<RawAddress>,
) -> c_int {
    let Some(native) = native else {
        return Errno(libc::ENOSYS).fail();
    };
    let capacity = capacity(length);
    // SAFETY: these are the program's own arguments, which the kernel checks
    let result = unsafe { native(socket, address, length) };
    if let (0, Some(capacity)) = (result, capacity) {
        // SAFETY: the kernel wrote the length, and as much of the address as the buffer holds
        unsafe {
            KernelAddress {
                address,
                length,
                capacity,
            }
            .replace(socket, ask_kernel, shown)
        };
    }
    result
}

#[inline]
fn accepted(address: *mut sockaddr, length: *mut socklen_t, native: impl FnOnce() -> c_int) -> c_int {
    // the kernel reads the length only if there is a buffer
    let capacity = if address.is_null() { None } else { capacity(length) };
    let socket = native();
    if socket >= 0
        && let Some(capacity) = capacity
    {
        // SAFETY: as in `named`
        unsafe {
            KernelAddress {
                address,
                length,
                capacity,
            }
            .replace(socket, sys::getpeername, shown_accepted)
        };
    }
    socket
}

/// The size of the program's buffer, which the kernel overwrites by the length of the address.
fn capacity(length: *const socklen_t) -> Option<usize> {
    if !memory::is_readable(length.cast(), size_of::<socklen_t>()) {
        return None;
    }
    // SAFETY: it is readable
    Some(unsafe { length.read_unaligned() } as usize)
}

/// The address that the kernel wrote into the program's buffer.
struct KernelAddress {
    address: *mut sockaddr,
    length: *mut socklen_t,
    capacity: usize,
}

impl KernelAddress {
    /// Writes the address that the program is shown over it, if the session has one.
    ///
    /// # Safety
    ///
    /// The kernel has to have filled `address`, up to `capacity`, and `length`.
    unsafe fn replace(
        &self,
        socket: c_int,
        ask_kernel: impl Fn(c_int, &mut sockaddr_storage) -> Result<usize, Errno>,
        shown: impl Fn(c_int, SocketAddr) -> Option<RawAddress>,
    ) {
        // SAFETY: the kernel wrote it
        let length = unsafe { self.length.read_unaligned() } as usize;
        let kernels = if length <= self.capacity {
            // SAFETY: the address was not truncated
            unsafe { address::written(self.address, length) }
        } else {
            untruncated(socket, ask_kernel)
        };
        if let Some(kernels) = kernels
            && let Some(shown) = errno::preserve(|| shown(socket, kernels))
        {
            // SAFETY: the kernel wrote to both
            unsafe {
                self.length
                    .write_unaligned(shown.write(self.address, self.capacity))
            };
        }
    }
}

/// The whole address.
fn untruncated(
    socket: c_int,
    ask_kernel: impl Fn(c_int, &mut sockaddr_storage) -> Result<usize, Errno>,
) -> Option<SocketAddr> {
    // SAFETY: zeros are an address
    let mut storage = unsafe { core::mem::zeroed() };
    let length = ask_kernel(socket, &mut storage).ok()?;
    address::from_storage(&storage, length)
}

/// The peer that getpeername(2) shows, if it is another one than the kernel's.
fn shown_peer(socket: c_int, peer: SocketAddr) -> Option<RawAddress> {
    address_from(source_of_peer(peer), socket, peer)
}

/// The peer that accept(2) shows, if it is another one than the kernel's.
fn shown_accepted(socket: c_int, peer: SocketAddr) -> Option<RawAddress> {
    address_from(source_of_accepted(peer), socket, peer)
}

/// The local address that getsockname(2) shows, if it is another one than the kernel's.
fn shown_local(socket: c_int, local: SocketAddr) -> Option<RawAddress> {
    address_from(source_of_local(local, &KernelState(socket)), socket, local)
}

/// The address from this source; `kernels` is the kernel's.
#[inline]
fn address_from(source: Source, socket: c_int, kernels: SocketAddr) -> Option<RawAddress> {
    match source {
        Source::Kernel => None,
        Source::PodAddress(address) => {
            let pods = bind::pod_address(&Session::current()?, socket, address)?;
            RawAddress::fitting(pods, socket::internet_family(socket)?)
        }
        Source::Target => {
            let target = ask_relay(socket, |cookie| Request::Peer { cookie })?;
            Some(RawAddress::new(target, socket::internet_family(socket)?))
        }
        Source::OwnAddress => {
            let mut own = ask_relay(socket, |cookie| Request::OwnAddress { cookie })?;
            own.set_port(kernels.port());
            Some(RawAddress::new(own, socket::internet_family(socket)?))
        }
    }
}

/// A socket of the program's, about which the kernel is asked.
struct KernelState(c_int);

impl ConnectState for KernelState {
    fn has_failed(&self) -> bool {
        tcp_connect::has_failed(self.0)
    }

    fn last_peer(&self, local: SocketAddr) -> Option<SocketAddr> {
        let length = match local {
            SocketAddr::V4(_) => size_of::<sockaddr_in>(),
            SocketAddr::V6(_) => size_of::<sockaddr_in6>(),
        };
        untruncated(self.0, |socket, peer| sys::last_peer(socket, peer, length))
    }

    fn is_connecting(&self) -> bool {
        socket::is_connecting(self.0)
    }

    fn has_destination(&self, local: SocketAddr) -> bool {
        socket::has_destination(self.0, local)
    }
}

/// Whether the relay connected this socket.
pub(crate) fn is_connected_by_relay(socket: c_int) -> bool {
    ask_relay(socket, |cookie| Request::Peer { cookie }).is_some()
}

fn ask_relay(socket: c_int, request: impl Fn(u64) -> Request<'static>) -> Option<SocketAddr> {
    if !matches!(Kind::of(socket), Kind::Tcp | Kind::Udp) {
        return None;
    }
    let session = Session::current()?;
    let request = request(socket::cookie(socket)?);
    let mut buffer = [0; SMALL_REPLY];
    match control::ask_about(&session, &request, socket, &mut buffer) {
        Ok(ReplyRef::Peer(address)) => Some(address),
        // the relay did not connect the socket, or there is no relay: the kernel's answer stays
        Ok(_) | Err(_) => None,
    }
}

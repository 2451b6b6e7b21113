//! A message that goes to another address than its program wrote.

use super::control_data::{self, Rewritten, Verdict};
use super::{UNCARRIED, flow};
use crate::address::{self, RawAddress};
use crate::errno::Errno;
use crate::memory;
use crate::peer;
use crate::session::Session;
use crate::socket::Kind;
use crate::sys;
use core::mem::MaybeUninit;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ptr;
use kinject_protocol::control::{is_data_address, is_stand_in};
use libc::{c_int, msghdr, ssize_t};

/// Where a message goes instead.
#[derive(Clone, Copy)]
pub(crate) struct Redirection {
    there: SocketAddr,
    /// Whether the socket is connected there, so that the message has no address.
    is_connected: bool,
}

impl Redirection {
    /// To this address, which suits the socket.
    pub(crate) fn to(there: SocketAddr) -> Self {
        Self {
            there,
            is_connected: false,
        }
    }

    /// For a message without an address: where its socket is connected to, if that stands for another address and its control
    /// data has to be looked at for that.
    pub(crate) fn of_connected(socket: c_int, message: *const msghdr) -> Option<Self> {
        let header = copied(message).ok()?;
        if !control_data::is_there(&header) || Kind::of(socket) != Kind::Udp {
            return None;
        }
        Session::current()?;
        let there = name(sys::getpeername, socket)?;
        let is_redirected = match there.ip() {
            // loopback has but one address of IPv6, which programs connect to as well
            IpAddr::V6(Ipv6Addr::LOCALHOST) => peer::is_connected_by_relay(socket),
            ip => is_data_address(ip) || is_stand_in(ip),
        };
        is_redirected.then_some(Self {
            there,
            is_connected: true,
        })
    }

    pub(crate) fn address(&self) -> RawAddress {
        RawAddress::of(self.there)
    }

    /// Whether the source has to be named: what the pod sends to itself comes from the pod's address, and the kernel would give
    /// another one of loopback's to a socket that has none.
    pub(crate) fn needs_source(&self, socket: c_int) -> bool {
        is_stand_in(self.there.ip())
            && !self.is_connected
            && name(sys::getsockname, socket).is_none_or(|own| own.ip().to_canonical().is_unspecified())
    }

    /// From where the socket's datagrams come there: from what stands for the pod's address, if they go to it as well, otherwise
    /// from the socket's own.
    fn source(&self, socket: c_int) -> IpAddr {
        let there = self.there.ip().to_canonical();
        let own = name(sys::getsockname, socket).map(|own| own.ip().to_canonical());
        match (there, own) {
            (there, _) if is_stand_in(there) => there,
            (IpAddr::V4(_), Some(own @ IpAddr::V4(_))) | (IpAddr::V6(_), Some(own @ IpAddr::V6(_))) => own,
            (IpAddr::V4(_), _) => Ipv4Addr::UNSPECIFIED.into(),
            (IpAddr::V6(_), _) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Sends the message there by libc's function.
    pub(crate) fn send(
        &self,
        socket: c_int,
        message: *const msghdr,
        native: impl FnOnce(*const msghdr) -> ssize_t,
    ) -> ssize_t {
        let mut header = match copied(message) {
            Ok(header) => header,
            Err(error) => return error.fail() as ssize_t,
        };
        let is_pods = |source| {
            Session::current().is_some_and(|session| flow::stand_in(&session, socket, source).is_some())
        };
        let raw = self.address();
        if !self.is_connected {
            let (address, length) = raw.as_raw();
            header.msg_name = address.cast_mut().cast();
            header.msg_namelen = length;
        }
        let adds_source = self.needs_source(socket);
        match control_data::judge(&header, is_pods) {
            Ok(Verdict::Keep) if !adds_source => native(&raw const header),
            Ok(Verdict::Keep | Verdict::Rewrite) => self.send_rewritten(socket, header, adds_source, native),
            Ok(Verdict::Uncarried) => UNCARRIED.fail() as ssize_t,
            Err(error) => error.fail() as ssize_t,
        }
    }

    /// Apart from the others, which do not need so much of the program's stack.
    #[inline(never)]
    fn send_rewritten(
        &self,
        socket: c_int,
        mut header: msghdr,
        adds_source: bool,
        native: impl FnOnce(*const msghdr) -> ssize_t,
    ) -> ssize_t {
        let mut control = Rewritten::of(&header, self.source(socket), adds_source);
        control.put_into(&mut header);
        native(&raw const header)
    }
}

/// A copy of the program's header.
fn copied(message: *const msghdr) -> Result<msghdr, Errno> {
    if !memory::is_readable(message.cast(), size_of::<msghdr>()) {
        return Err(Errno(libc::EFAULT));
    }
    let mut copy = MaybeUninit::<msghdr>::uninit();
    // SAFETY: the kernel read the header a moment ago, and the copy is new
    unsafe {
        ptr::copy_nonoverlapping(
            message.cast::<u8>(),
            copy.as_mut_ptr().cast::<u8>(),
            size_of::<msghdr>(),
        );
    }
    // SAFETY: any bytes make a header
    Ok(unsafe { copy.assume_init() })
}

/// One of the socket's two addresses.
fn name(
    ask: impl Fn(c_int, &mut libc::sockaddr_storage) -> Result<usize, Errno>,
    socket: c_int,
) -> Option<SocketAddr> {
    // SAFETY: zeros are an address
    let mut storage = unsafe { core::mem::zeroed() };
    let length = ask(socket, &mut storage).ok()?;
    address::from_storage(&storage, length)
}

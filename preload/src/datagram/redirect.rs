//! A message that is sent to another address than the program's.

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

/// The address to which a message is sent in the place of the program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redirection {
    address: SocketAddr,
    /// Whether the socket is connected to the address, so that the message has none.
    is_connected: bool,
}

impl Redirection {
    /// To this address, which has the socket's family.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self {
            address,
            is_connected: false,
        }
    }

    /// For a message without an address: the peer of its socket, if that stands for another address, so that the
    /// control data has to be checked.
    pub(crate) fn of_connected(socket: c_int, message: *const msghdr) -> Option<Self> {
        let header = copied(message).ok()?;
        if !control_data::is_present(&header) || Kind::of(socket) != Kind::Udp {
            return None;
        }
        Session::current()?;
        let peer = name(sys::getpeername, socket)?;
        let is_known_to_relay = || peer::is_connected_by_relay(socket);
        is_session_address(peer.ip(), is_known_to_relay).then_some(Self {
            address: peer,
            is_connected: true,
        })
    }

    pub(crate) fn address(&self) -> RawAddress {
        RawAddress::of(self.address)
    }

    /// Whether the message has to name its source.
    pub(crate) fn needs_source(&self, socket: c_int) -> bool {
        self.needs_source_with(|| local_ip(socket))
    }

    /// The same for a socket with this local address. What the pod sends to itself comes from the pod's address; for a
    /// socket without an address the kernel would choose another source on loopback.
    fn needs_source_with(&self, local: impl FnOnce() -> Option<IpAddr>) -> bool {
        is_stand_in(self.address.ip())
            && !self.is_connected
            && local().is_none_or(|local| local.is_unspecified())
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
        match decide(control_data::classify(&header, is_pods), adds_source) {
            Decision::Send => native(&raw const header),
            Decision::SendRewritten => self.send_rewritten(socket, header, adds_source, native),
            Decision::Fail(error) => error.fail() as ssize_t,
        }
    }

    /// A function of its own, since the others do not need so much of the program's stack.
    #[inline(never)]
    fn send_rewritten(
        &self,
        socket: c_int,
        mut header: msghdr,
        adds_source: bool,
        native: impl FnOnce(*const msghdr) -> ssize_t,
    ) -> ssize_t {
        let source = source(self.address.ip(), local_ip(socket));
        let mut control = Rewritten::of(&header, source, adds_source);
        control.put_into(&mut header);
        native(&raw const header)
    }
}

/// How a redirected message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// With the program's control data.
    Send,
    /// With a copy of the control data that names another source.
    SendRewritten,
    Fail(Errno),
}

fn decide(verdict: Result<Verdict, Errno>, adds_source: bool) -> Decision {
    match verdict {
        Ok(Verdict::Keep) if !adds_source => Decision::Send,
        Ok(Verdict::Keep | Verdict::Rewrite) => Decision::SendRewritten,
        Ok(Verdict::Uncarried) => Decision::Fail(UNCARRIED),
        Err(error) => Decision::Fail(error),
    }
}

/// Whether the peer of a connected datagram socket is one of the session's addresses. Loopback has one IPv6 address,
/// to which programs connect as well: there the relay is asked.
fn is_session_address(peer: IpAddr, is_known_to_relay: impl FnOnce() -> bool) -> bool {
    match peer {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => is_known_to_relay(),
        peer => is_data_address(peer) || is_stand_in(peer),
    }
}

/// The source of a datagram to this address: what stands for the pod's address, if that is the destination as well,
/// otherwise the socket's own.
fn source(destination: IpAddr, local: Option<IpAddr>) -> IpAddr {
    match (destination.to_canonical(), local) {
        (destination, _) if is_stand_in(destination) => destination,
        (IpAddr::V4(_), Some(local @ IpAddr::V4(_))) | (IpAddr::V6(_), Some(local @ IpAddr::V6(_))) => local,
        (IpAddr::V4(_), _) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), _) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The socket's local address, an IPv4 address also where it is mapped.
fn local_ip(socket: c_int) -> Option<IpAddr> {
    name(sys::getsockname, socket).map(|local| local.ip().to_canonical())
}

/// A copy of the program's header.
fn copied(message: *const msghdr) -> Result<msghdr, Errno> {
    if !memory::is_readable(message.cast(), size_of::<msghdr>()) {
        return Err(Errno(libc::EFAULT));
    }
    let mut copy = MaybeUninit::<msghdr>::uninit();
    // SAFETY: the header is readable, and the copy is new
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn control_data_is_kept_rewritten_or_refused() {
        for (verdict, adds_source, expected) in [
            (Ok(Verdict::Keep), false, Decision::Send),
            (Ok(Verdict::Keep), true, Decision::SendRewritten),
            (Ok(Verdict::Rewrite), false, Decision::SendRewritten),
            (Ok(Verdict::Rewrite), true, Decision::SendRewritten),
            (
                Ok(Verdict::Uncarried),
                true,
                Decision::Fail(Errno(libc::ENETUNREACH)),
            ),
            (
                Err(Errno(libc::EFAULT)),
                false,
                Decision::Fail(Errno(libc::EFAULT)),
            ),
        ] {
            assert_eq!(
                decide(verdict, adds_source),
                expected,
                "{verdict:?} {adds_source}"
            );
        }
    }

    #[test]
    fn source_is_needed_for_stand_in_address_from_unbound_socket() {
        let stand_in = Redirection::to("127.106.0.1:80".parse().unwrap());
        assert!(stand_in.needs_source_with(|| None));
        assert!(stand_in.needs_source_with(|| Some(ip("0.0.0.0"))));
        assert!(!stand_in.needs_source_with(|| Some(ip("127.106.0.1"))));
        let connected = Redirection {
            is_connected: true,
            ..stand_in
        };
        let flow = Redirection::to("127.107.0.1:4000".parse().unwrap());
        for other in [connected, flow] {
            assert!(!other.needs_source_with(|| panic!("the local address was asked for")));
        }
    }

    #[test]
    fn source_is_the_stand_in_address_or_the_sockets_own_of_that_family() {
        for (destination, local, expected) in [
            ("127.106.0.1", Some("127.0.0.1"), "127.106.0.1"),
            ("::ffff:127.105.0.1", None, "127.105.0.1"),
            ("127.107.0.1", Some("127.0.0.2"), "127.0.0.2"),
            ("127.107.0.1", Some("::1"), "0.0.0.0"),
            ("127.107.0.1", None, "0.0.0.0"),
            ("::1", Some("::1"), "::1"),
            ("::1", Some("127.0.0.1"), "::"),
        ] {
            let found = source(ip(destination), local.map(ip));
            assert_eq!(found, ip(expected), "{destination} {local:?}");
        }
    }

    #[test]
    fn ipv6_loopback_is_session_address_where_relay_knows_the_socket() {
        assert!(is_session_address(ip("::1"), || true));
        assert!(!is_session_address(ip("::1"), || false));
        for (peer, expected) in [
            ("127.107.0.1", true),
            ("127.106.0.1", true),
            ("::ffff:127.105.0.1", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
        ] {
            let found = is_session_address(ip(peer), || panic!("the relay was asked"));
            assert_eq!(found, expected, "{peer}");
        }
    }
}

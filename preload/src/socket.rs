//! What the kernel says of a socket.

use crate::errno::Errno;
use crate::sys;
use core::net::{IpAddr, SocketAddr};
use libc::c_int;

/// `TCP_CLOSE` of the kernel's `tcp_states.h`: neither connected nor listening nor on the way there.
const CLOSED: u8 = 7;

/// `TCP_SYN_SENT` and `TCP_SYN_RECV`: a connect that is under way.
const ON_ITS_WAY: [u8; 2] = [2, 3];

/// `IPPROTO_MPTCP`.
const MPTCP: c_int = 262;

/// `AF_SMC`, which carries TCP under another name and takes internet addresses.
const SMC: c_int = 43;

/// What a hook does with a socket depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP, also with several paths.
    Tcp,
    /// UDP.
    Udp,
    /// It would leave for the local network by a protocol that a session does not carry.
    Uncarried,
    /// Not an internet socket, a raw one, or no socket at all.
    Foreign,
}

impl Kind {
    pub(crate) fn of(socket: c_int) -> Self {
        let Ok(domain) = option::<c_int>(socket, libc::SO_DOMAIN) else {
            return Self::Foreign;
        };
        let Ok(kind) = option::<c_int>(socket, libc::SO_TYPE) else {
            return Self::Foreign;
        };
        match (domain, kind) {
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_RAW) => Self::Foreign,
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) if is_tcp(socket) => Self::Tcp,
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) if is_udp(socket) => Self::Udp,
            (libc::AF_INET | libc::AF_INET6 | SMC, _) => Self::Uncarried,
            _ => Self::Foreign,
        }
    }
}

fn option<T: Copy + Default>(socket: c_int, name: c_int) -> Result<T, Errno> {
    sys::socket_option(socket, libc::SOL_SOCKET, name)
}

fn is_tcp(socket: c_int) -> bool {
    matches!(option(socket, libc::SO_PROTOCOL), Ok(libc::IPPROTO_TCP | MPTCP))
}

fn is_udp(socket: c_int) -> bool {
    option(socket, libc::SO_PROTOCOL) == Ok(libc::IPPROTO_UDP)
}

/// The number that names this socket and its duplicates, and never another socket.
pub(crate) fn cookie(socket: c_int) -> Option<u64> {
    option(socket, libc::SO_COOKIE).ok()
}

/// `AF_INET` or `AF_INET6`; none for another socket.
pub(crate) fn internet_family(socket: c_int) -> Option<c_int> {
    option(socket, libc::SO_DOMAIN)
        .ok()
        .filter(|domain| matches!(*domain, libc::AF_INET | libc::AF_INET6))
}

/// Is this TCP socket still, or again, without any connection?
pub(crate) fn is_closed(socket: c_int) -> bool {
    tcp_state(socket) == Some(CLOSED)
}

/// Is this a TCP socket that is at rest after a connect that failed while nobody waited in it? It has an error, or nothing
/// comes from it any more, unlike from one that is new.
pub(crate) fn is_spent(socket: c_int) -> bool {
    sys::is_at_its_end(socket) && is_closed(socket)
}

/// Is this a TCP socket whose connect(2) has begun and not ended?
pub(crate) fn is_on_its_way(socket: c_int) -> bool {
    tcp_state(socket).is_some_and(|state| ON_ITS_WAY.contains(&state))
}

/// Does this socket have a destination, be it without a port? The kernel knows how much goes there at once (ip(7), `IP_MTU`).
pub(crate) fn has_destination(socket: c_int, here: SocketAddr) -> bool {
    let (level, name) = match here {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    sys::socket_option::<c_int>(socket, level, name).is_ok()
}

fn tcp_state(socket: c_int) -> Option<u8> {
    // the state is the first byte of the information; a shorter buffer gets as much as it holds
    sys::socket_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO).ok()
}

/// Would the kernel say without asking the network that this socket cannot go there?
pub(crate) fn is_of_other_family(socket: c_int, target: SocketAddr) -> bool {
    match (internet_family(socket), target.ip()) {
        (Some(libc::AF_INET), IpAddr::V4(_)) => false,
        (Some(libc::AF_INET6), IpAddr::V6(v6)) => {
            v6.to_ipv4_mapped().is_some()
                && sys::socket_option::<c_int>(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) == Ok(1)
        }
        _ => true,
    }
}

/// Clears `SO_ERROR`, as the kernel does when connect(2) returns the error.
pub(crate) fn forget_error(socket: c_int) {
    // a descriptor that is no socket any more has none
    let _error = option::<c_int>(socket, libc::SO_ERROR);
}

/// Makes a TCP socket that is at rest as new, as the kernel does when connect(2) tells a failure.
pub(crate) fn renew(socket: c_int) {
    // SAFETY: zeros are an address, of the family AF_UNSPEC
    let nothing: libc::sockaddr_storage = unsafe { core::mem::zeroed() };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the address is readable for its length. A descriptor that is no such socket any more stays as it is
    let _renewed = unsafe { sys::connect(socket, (&raw const nothing).cast(), length) };
    forget_error(socket);
}

/// Does connect(2) on this socket return before it is done?
pub(crate) fn is_nonblocking(socket: c_int) -> bool {
    sys::fcntl(socket, libc::F_GETFL, 0).is_ok_and(|flags| flags & libc::O_NONBLOCK != 0)
}

/// Lets an IPv6 socket that has no address yet take mapped ones (ipv6(7), `IPV6_V6ONLY`). The kernel refuses it to a socket
/// that is bound, which it binds no more.
pub(crate) fn take_mapped_addresses(socket: c_int) {
    switch_off(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
}

/// Makes connect(2) connect at once instead of with the first data (`TCP_FASTOPEN_CONNECT`, tcp(7)). A kernel that does not
/// know the option does not delay either.
pub(crate) fn forbid_fast_open(socket: c_int) {
    switch_off(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT);
}

/// Switches an option off, where the kernel lets it be.
fn switch_off(socket: c_int, level: c_int, option: c_int) {
    let off: c_int = 0;
    let _is_off = sys::set_socket_option(socket, level, option, (&raw const off).cast(), size_of::<c_int>());
}

//! What the kernel says of a socket.

mod facts;

#[cfg(test)]
pub(crate) use facts::fake::FakeSocket;
pub(crate) use facts::{KernelSocket, SocketFacts};

use crate::errno::Errno;
use crate::sys;
use core::net::{IpAddr, SocketAddr};
use libc::c_int;

/// `TCP_CLOSE` of the kernel's `tcp_states.h`: not connected, connecting or listening.
const CLOSED: u8 = 7;

/// `TCP_SYN_SENT` and `TCP_SYN_RECV`: a connect that is in progress.
const CONNECTING: [u8; 2] = [2, 3];

/// `IPPROTO_MPTCP`.
const MPTCP: c_int = 262;

/// `AF_SMC`, which carries TCP under another name and takes internet addresses.
const SMC: c_int = 43;

/// The protocol of a socket, as far as hooks distinguish protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP, or multipath TCP.
    Tcp,
    /// UDP.
    Udp,
    /// An internet protocol that a session does not carry; its packets would go to the local network.
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

/// Is this TCP socket in the state `CLOSE`: without a connection, and not connecting or listening?
pub(crate) fn is_closed(socket: c_int) -> bool {
    tcp_state(socket) == Some(CLOSED)
}

/// Is this a TCP socket whose asynchronous connect failed? It is closed and has a pending error or a hang-up, which a
/// new socket has not.
pub(crate) fn is_closed_by_failure(socket: c_int) -> bool {
    sys::has_error_or_hang_up(socket) && is_closed(socket)
}

/// Is this a TCP socket whose connect(2) is in progress?
pub(crate) fn is_connecting(socket: c_int) -> bool {
    tcp_state(socket).is_some_and(|state| CONNECTING.contains(&state))
}

/// Does this socket, which has this local address, have a route to a destination, be it without a port? The kernel
/// knows the path MTU of such a socket (ip(7), `IP_MTU`).
pub(crate) fn has_destination(socket: c_int, local: SocketAddr) -> bool {
    let (level, name) = match local {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    sys::socket_option::<c_int>(socket, level, name).is_ok()
}

fn tcp_state(socket: c_int) -> Option<u8> {
    // the state is the first byte of the information; a shorter buffer gets as much as it holds
    sys::socket_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO).ok()
}

/// Does the kernel refuse a TCP connection from a socket of this family to this address, without asking the network?
pub(crate) fn is_family_mismatch(
    family: Option<c_int>,
    target: IpAddr,
    is_v6_only: impl FnOnce() -> bool,
) -> bool {
    match (family, target) {
        (Some(libc::AF_INET), IpAddr::V4(_)) => false,
        (Some(libc::AF_INET6), IpAddr::V6(v6)) => v6.to_ipv4_mapped().is_some() && is_v6_only(),
        _ => true,
    }
}

/// Does this IPv6 socket refuse IPv4-mapped addresses (ipv6(7), `IPV6_V6ONLY`)?
pub(crate) fn is_v6_only(socket: c_int) -> bool {
    sys::socket_option::<c_int>(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) == Ok(1)
}

/// Clears `SO_ERROR`, as the kernel does when connect(2) returns the error.
pub(crate) fn clear_error(socket: c_int) {
    // the program may have closed the descriptor meanwhile
    let _error = option::<c_int>(socket, libc::SO_ERROR);
}

/// Resets a closed TCP socket to the state of a new one, as the kernel does when connect(2) returns a failure.
pub(crate) fn disconnect(socket: c_int) {
    // SAFETY: zeros are an address, of the family AF_UNSPEC
    let unspecified: libc::sockaddr_storage = unsafe { core::mem::zeroed() };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the address is readable for its length. The call fails if the program closed the socket meanwhile
    let _disconnected = unsafe { sys::connect(socket, (&raw const unspecified).cast(), length) };
    clear_error(socket);
}

/// Does connect(2) on this socket return before the connection is established?
pub(crate) fn is_nonblocking(socket: c_int) -> bool {
    sys::fcntl(socket, libc::F_GETFL, 0).is_ok_and(|flags| flags & libc::O_NONBLOCK != 0)
}

/// Lets an unbound IPv6 socket use IPv4-mapped addresses (ipv6(7), `IPV6_V6ONLY`). The kernel refuses this for a bound
/// socket, which it does not bind again either.
pub(crate) fn allow_mapped_addresses(socket: c_int) {
    switch_off(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY);
}

/// Makes connect(2) connect at once instead of with the first data (`TCP_FASTOPEN_CONNECT`, tcp(7)). A kernel without
/// the option never delays a connect.
pub(crate) fn forbid_fast_open(socket: c_int) {
    switch_off(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT);
}

/// Switches an option off, if the kernel allows it.
fn switch_off(socket: c_int, level: c_int, option: c_int) {
    let off: c_int = 0;
    let _is_off = sys::set_socket_option(socket, level, option, (&raw const off).cast(), size_of::<c_int>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_target_of_other_family_is_mismatch() {
        for (family, target, is_v6_only, expected) in [
            (Some(libc::AF_INET), "10.0.0.1", false, false),
            (Some(libc::AF_INET), "fd00::1", false, true),
            (Some(libc::AF_INET), "::ffff:10.0.0.1", false, true),
            (Some(libc::AF_INET6), "fd00::1", true, false),
            (Some(libc::AF_INET6), "10.0.0.1", false, true),
            (Some(libc::AF_INET6), "::ffff:10.0.0.1", false, false),
            (Some(libc::AF_INET6), "::ffff:10.0.0.1", true, true),
            (None, "10.0.0.1", false, true),
        ] {
            let found = is_family_mismatch(family, target.parse().unwrap(), || is_v6_only);
            assert_eq!(found, expected, "{family:?} {target} {is_v6_only}");
        }
    }
}

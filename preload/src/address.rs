//! Socket addresses in the program's memory (ip(7), ipv6(7)), and which of them concern a session.

use crate::memory;
use core::mem;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::ptr;
use kinject_protocol::control::is_of_every_machine;
use libc::{c_int, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

/// The address that `AF_UNSPEC` without one stands for.
const UNSPECIFIED: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// The shortest `sockaddr_in6` that the kernel takes: without the scope (RFC 2133).
const SHORT_V6: usize = mem::offset_of!(sockaddr_in6, sin6_scope_id);

/// The kind of address that a program passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// No internet address, or none that the kernel would accept: the kernel answers.
    Native,
    /// Loopback or the unspecified address: this machine.
    Loopback,
    /// An address about which the session is asked.
    Remote(SocketAddr),
    /// `AF_UNSPEC`: connect(2) dissolves an association, but an IPv4 UDP socket sends to this address as if its
    /// family were `AF_INET`.
    Unspecified(SocketAddr),
}

impl Destination {
    /// Reads the address as the kernel would.
    pub(crate) fn read(address: *const sockaddr, length: socklen_t) -> Self {
        let length = length as usize;
        if address.is_null() || !(size_of::<sa_family_t>()..=size_of::<sockaddr_storage>()).contains(&length)
        {
            return Self::Native;
        }
        if !memory::is_readable(address.cast(), length) {
            return Self::Native;
        }
        // SAFETY: the address is readable, and length covers the type
        let family = unsafe { address.cast::<sa_family_t>().read_unaligned() };
        if length < size_of::<sockaddr_in>() {
            return match c_int::from(family) {
                // connect(2) needs no more of it
                libc::AF_UNSPEC => Self::Unspecified(UNSPECIFIED),
                _ => Self::Native,
            };
        }
        let found = match c_int::from(family) {
            // SAFETY: as above
            libc::AF_INET => SocketAddr::V4(unsafe { read_v4(address.cast()) }),
            libc::AF_INET6 if length >= SHORT_V6 => {
                // SAFETY: as above
                SocketAddr::V6(unsafe { read_v6(address.cast(), length) })
            }
            // SAFETY: as above
            libc::AF_UNSPEC => return Self::Unspecified(SocketAddr::V4(unsafe { read_v4(address.cast()) })),
            _ => return Self::Native,
        };
        if is_of_every_machine(found.ip()) {
            Self::Loopback
        } else {
            Self::Remote(found)
        }
    }
}

/// # Safety
///
/// `address` has to be readable for a whole `sockaddr_in`; it need not be aligned.
unsafe fn read_v4(address: *const sockaddr_in) -> SocketAddrV4 {
    // SAFETY: the caller vouches for it
    let raw = unsafe { address.read_unaligned() };
    SocketAddrV4::new(
        Ipv4Addr::from_bits(u32::from_be(raw.sin_addr.s_addr)),
        u16::from_be(raw.sin_port),
    )
}

/// # Safety
///
/// `address` has to be readable for `length` bytes, at least [`SHORT_V6`]; it need not be aligned.
unsafe fn read_v6(address: *const sockaddr_in6, length: usize) -> SocketAddrV6 {
    // SAFETY: zeros are an address
    let mut raw: sockaddr_in6 = unsafe { mem::zeroed() };
    let readable = length.min(size_of::<sockaddr_in6>());
    // SAFETY: both sides hold that many bytes, and ours is new
    unsafe { ptr::copy_nonoverlapping(address.cast::<u8>(), (&raw mut raw).cast::<u8>(), readable) };
    SocketAddrV6::new(
        Ipv6Addr::from(raw.sin6_addr.s6_addr),
        u16::from_be(raw.sin6_port),
        u32::from_be(raw.sin6_flowinfo),
        raw.sin6_scope_id,
    )
}

/// An address in the kernel's form.
#[derive(Clone, Copy)]
pub(crate) enum RawAddress {
    V4(sockaddr_in),
    V6(sockaddr_in6),
}

impl RawAddress {
    /// In the family of a socket: an IPv4 address is mapped for an IPv6 socket.
    pub(crate) fn new(address: SocketAddr, family: c_int) -> Self {
        match (address, family) {
            (SocketAddr::V4(v4), libc::AF_INET6) => {
                Self::v6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
            }
            (SocketAddr::V4(v4), _) => Self::V4(sockaddr_in {
                sin_family: libc::AF_INET as sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: v4.ip().to_bits().to_be(),
                },
                sin_zero: [0; 8],
            }),
            (SocketAddr::V6(v6), _) => Self::v6(v6),
        }
    }

    /// The same; none for an IPv6 address and an IPv4 socket.
    pub(crate) fn fitting(address: SocketAddr, family: c_int) -> Option<Self> {
        (address.is_ipv4() || family == libc::AF_INET6).then(|| Self::new(address, family))
    }

    /// In its own family.
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self::new(address, libc::AF_UNSPEC)
    }

    fn v6(address: SocketAddrV6) -> Self {
        Self::V6(sockaddr_in6 {
            sin6_family: libc::AF_INET6 as sa_family_t,
            sin6_port: address.port().to_be(),
            sin6_flowinfo: address.flowinfo().to_be(),
            sin6_addr: libc::in6_addr {
                s6_addr: address.ip().octets(),
            },
            sin6_scope_id: address.scope_id(),
        })
    }

    /// The address and its length, as the kernel takes them.
    pub(crate) fn as_raw(&self) -> (*const sockaddr, socklen_t) {
        match self {
            Self::V4(v4) => (ptr::from_ref(v4).cast(), size_of::<sockaddr_in>() as socklen_t),
            Self::V6(v6) => (ptr::from_ref(v6).cast(), size_of::<sockaddr_in6>() as socklen_t),
        }
    }

    /// Writes as the kernel does: truncated to `capacity` bytes; gives the whole length.
    ///
    /// # Safety
    ///
    /// `buffer` has to be writable for `capacity` bytes.
    pub(crate) unsafe fn write(&self, buffer: *mut sockaddr, capacity: usize) -> socklen_t {
        let (source, length) = self.as_raw();
        let count = capacity.min(length as usize);
        // SAFETY: the source is a whole address, the buffer is writable for capacity bytes, and they do not overlap
        unsafe { ptr::copy_nonoverlapping(source.cast::<u8>(), buffer.cast::<u8>(), count) };
        length
    }
}

/// The address that the kernel wrote into `storage`.
pub(crate) fn from_storage(storage: &sockaddr_storage, length: usize) -> Option<SocketAddr> {
    // SAFETY: the storage is longer than any address
    unsafe { written(ptr::from_ref(storage).cast(), length) }
}

/// The internet address that the kernel wrote.
///
/// # Safety
///
/// `length` bytes at `address` have to be readable; they need not be aligned.
pub(crate) unsafe fn written(address: *const sockaddr, length: usize) -> Option<SocketAddr> {
    if length < size_of::<sockaddr_in>() {
        return None;
    }
    // SAFETY: the caller vouches for it, and every type is at least as long
    let family = unsafe { address.cast::<sa_family_t>().read_unaligned() };
    match c_int::from(family) {
        // SAFETY: as above
        libc::AF_INET => Some(SocketAddr::V4(unsafe { read_v4(address.cast()) })),
        libc::AF_INET6 if length >= SHORT_V6 => {
            // SAFETY: as above
            Some(SocketAddr::V6(unsafe { read_v6(address.cast(), length) }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &RawAddress, length: usize) -> Destination {
        Destination::read(address.as_raw().0, length as socklen_t)
    }

    #[test]
    fn address_is_remote_unless_it_is_loopback_or_unspecified() {
        for (text, is_remote) in [
            ("10.96.10.3:80", true),
            ("[fd00::3]:80", true),
            ("[::ffff:10.96.10.3]:80", true),
            ("127.0.0.1:80", false),
            ("0.0.0.0:80", false),
            ("[::1]:80", false),
            ("[::ffff:127.0.0.1]:80", false),
        ] {
            let address = text.parse().unwrap();
            let raw = RawAddress::of(address);
            let expected = match is_remote {
                true => Destination::Remote(address),
                false => Destination::Loopback,
            };
            assert_eq!(read(&raw, raw.as_raw().1 as usize), expected, "{text}");
        }
    }

    #[test]
    fn address_that_the_kernel_refuses_is_native() {
        let v4 = RawAddress::of("10.96.10.3:80".parse().unwrap());
        let v6 = RawAddress::of("[fd00::3]:80".parse().unwrap());
        for length in [0, 1, 15, 129, socklen_t::MAX as usize] {
            assert_eq!(read(&v4, length), Destination::Native, "{length}");
        }
        assert_eq!(read(&v6, 23), Destination::Native);
        assert_ne!(read(&v6, 24), Destination::Native);
        assert_eq!(Destination::read(ptr::null(), 16), Destination::Native);
        assert_eq!(
            Destination::read(ptr::without_provenance(8), 16),
            Destination::Native
        );
    }

    #[test]
    fn family_af_unspec_has_the_address_behind_it_or_none() {
        let RawAddress::V4(mut raw) = RawAddress::of("10.96.10.3:80".parse().unwrap()) else {
            panic!("an IPv4 address");
        };
        raw.sin_family = libc::AF_UNSPEC as sa_family_t;
        let raw = RawAddress::V4(raw);
        let target = "10.96.10.3:80".parse().unwrap();
        assert_eq!(read(&raw, 16), Destination::Unspecified(target));
        assert_eq!(read(&raw, 2), Destination::Unspecified(UNSPECIFIED));
    }

    #[test]
    fn ipv4_address_is_mapped_for_ipv6_socket_and_ipv6_fits_no_ipv4_socket() {
        let (v4, v6) = ("10.0.0.1:80".parse().unwrap(), "[fd00::1]:80".parse().unwrap());
        assert!(matches!(RawAddress::new(v4, libc::AF_INET6), RawAddress::V6(_)));
        assert!(RawAddress::fitting(v4, libc::AF_INET).is_some());
        assert!(RawAddress::fitting(v6, libc::AF_INET).is_none());
        assert!(RawAddress::fitting(v6, libc::AF_INET6).is_some());
    }
}

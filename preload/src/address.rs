//! Socket addresses in the program's memory (ip(7), ipv6(7)), and which of them a session is asked about.

use crate::memory;
use core::mem;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::ptr;
use kinject_protocol::control::is_of_every_machine;
use libc::{c_int, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

/// What stands in an address of a family alone.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// The shortest `sockaddr_in6` that the kernel takes: without the scope (RFC 2133).
const SHORT_V6: usize = mem::offset_of!(sockaddr_in6, sin6_scope_id);

/// Where a program wants its data to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Something that is no internet address, or nothing that the kernel would take: its business.
    Native,
    /// This machine.
    Here,
    /// An address that the session is asked about.
    Remote(SocketAddr),
    /// `AF_UNSPEC`: connect(2) dissolves an association, but a UDP socket of IPv4 sends to the address that stands there
    /// as if the family did too.
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
        // SAFETY: the kernel read the first and the last byte a moment ago, and length covers the type
        let family = unsafe { address.cast::<sa_family_t>().read_unaligned() };
        if length < size_of::<sockaddr_in>() {
            return match c_int::from(family) {
                // connect(2) needs no more of it
                libc::AF_UNSPEC => Self::Unspecified(NOWHERE),
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
            Self::Here
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
    /// In the family of a socket: an IPv4 address is mapped for one that speaks IPv6.
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

    /// The same, for a socket that may be of IPv4 alone, which has no address of IPv6.
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

    /// Writes as the kernel does: as much as `room` bytes take; gives the whole length.
    ///
    /// # Safety
    ///
    /// `place` has to be writable for `room` bytes.
    pub(crate) unsafe fn write(&self, place: *mut sockaddr, room: usize) -> socklen_t {
        let (source, length) = self.as_raw();
        let count = room.min(length as usize);
        // SAFETY: the source is a whole address, the place is writable for room bytes, and they are apart
        unsafe { ptr::copy_nonoverlapping(source.cast::<u8>(), place.cast::<u8>(), count) };
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
/// `length` bytes at `place` have to be readable; they need not be aligned.
pub(crate) unsafe fn written(place: *const sockaddr, length: usize) -> Option<SocketAddr> {
    if length < size_of::<sockaddr_in>() {
        return None;
    }
    // SAFETY: the caller vouches for it, and every type is at least as long
    let family = unsafe { place.cast::<sa_family_t>().read_unaligned() };
    match c_int::from(family) {
        // SAFETY: as above
        libc::AF_INET => Some(SocketAddr::V4(unsafe { read_v4(place.cast()) })),
        libc::AF_INET6 if length >= SHORT_V6 => {
            // SAFETY: as above
            Some(SocketAddr::V6(unsafe { read_v6(place.cast(), length) }))
        }
        _ => None,
    }
}

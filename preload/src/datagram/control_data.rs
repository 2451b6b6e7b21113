//! Control data that names the interface or the source of a datagram (ip(7) `IP_PKTINFO`, ipv6(7) `IPV6_PKTINFO`).
//!
//! A datagram that is redirected to an address on loopback may name no interface but loopback, or it would leave the
//! machine. Programs that reply through the interface by which a datagram came name loopback. The source may be the
//! pod's own address, which is no address of this machine: it is replaced by another, which the caller knows. All
//! other control data is passed to the kernel unchanged.

use crate::errno::Errno;
use crate::memory;
use core::mem::{align_of, offset_of, size_of};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr;
use kinject_protocol::control::{is_of_every_machine, is_stand_in};
use libc::{c_uint, cmsghdr, in_pktinfo, in6_pktinfo, msghdr};

/// Loopback is the first interface of every network namespace.
const LOOPBACK: c_uint = 1;

/// More control data than any message of the internet protocols has. The kernel's own limit (`net.core.optmem_max`) is
/// larger, and fails with the same error.
const MAX_LENGTH: usize = 4096;

/// Words that hold [`MAX_LENGTH`] bytes, and one source that is added.
const WORDS: usize = (MAX_LENGTH + SOURCE.space) / size_of::<u64>();

/// The size of an entry that names an IPv4 source.
const SOURCE: Size = Size::of(size_of::<in_pktinfo>());

/// The size of an entry (cmsg(3)).
struct Size {
    /// With its header: `CMSG_LEN`.
    length: usize,
    /// With the padding before the next entry, too: `CMSG_SPACE`.
    space: usize,
}

impl Size {
    const fn of(value: usize) -> Self {
        let length = size_of::<cmsghdr>() + value;
        Self {
            length,
            space: length.next_multiple_of(align_of::<usize>()),
        }
    }
}

/// What the control data of a redirected message requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// It names a source that has to be replaced.
    Rewrite,
    /// It names an interface or a source that the session does not carry.
    Uncarried,
}

/// Whether a message has control data at all.
pub(super) fn is_present(message: &msghdr) -> bool {
    !message.msg_control.is_null() && message.msg_controllen >= size_of::<cmsghdr>()
}

/// Classifies the control data of a message; `is_pods` says whether an address is the pod's own.
pub(super) fn classify(message: &msghdr, is_pods: impl Fn(IpAddr) -> bool) -> Result<Verdict, Errno> {
    if !is_present(message) {
        return Ok(Verdict::Keep);
    }
    let length = message.msg_controllen;
    let data = message.msg_control.cast_const().cast::<u8>();
    if length > MAX_LENGTH {
        return Err(Errno(libc::ENOBUFS));
    }
    if !memory::is_readable(data.cast(), length) {
        return Err(Errno(libc::EFAULT));
    }
    let mut verdict = Verdict::Keep;
    // SAFETY: the control data is readable
    let entries = unsafe { PacketInfos::of(data, length) };
    for entry in entries {
        // SAFETY: as above
        let (interface, source) = unsafe { entry.read() };
        if interface != 0 && interface != LOOPBACK {
            return Ok(Verdict::Uncarried);
        }
        if !is_replaced(source) {
            continue;
        }
        if !is_stand_in(source) && !is_pods(source) {
            return Ok(Verdict::Uncarried);
        }
        verdict = Verdict::Rewrite;
    }
    Ok(verdict)
}

/// Is this source replaced in a redirected datagram?
fn is_replaced(source: IpAddr) -> bool {
    is_stand_in(source) || !is_of_every_machine(source)
}

/// A copy of a message's control data with another source.
pub(super) struct Rewritten {
    words: [u64; WORDS],
    length: usize,
}

impl Rewritten {
    /// Copies the control data, which [`classify`] has checked, and replaces the pod's address by `source`. With
    /// `adds_source` the copy names the source also if the message names none.
    pub(super) fn of(message: &msghdr, source: IpAddr, adds_source: bool) -> Self {
        let mut rewritten = Self {
            words: [0; WORDS],
            length: 0,
        };
        let bytes = rewritten.words.as_mut_ptr().cast::<u8>();
        if is_present(message) {
            rewritten.length = message.msg_controllen.min(MAX_LENGTH);
            // SAFETY: the message's bytes are readable, as `classify` checked, and ours are as many
            unsafe {
                ptr::copy_nonoverlapping(message.msg_control.cast_const().cast(), bytes, rewritten.length);
            }
        }
        let mut names_source = false;
        // SAFETY: the bytes are ours
        let entries = unsafe { PacketInfos::of(bytes, rewritten.length) };
        for entry in entries {
            // SAFETY: as above
            let (_, named) = unsafe { entry.read() };
            names_source |= !named.is_unspecified();
            if is_replaced(named) {
                // SAFETY: as above, and nobody else has a pointer to them
                unsafe { entry.write(source) };
            }
        }
        if adds_source && !names_source {
            rewritten.add(source);
        }
        rewritten
    }

    fn add(&mut self, source: IpAddr) {
        let IpAddr::V4(source) = source else { return };
        let at = self.length.next_multiple_of(align_of::<usize>());
        let info = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: raw_v4(source),
            ipi_addr: raw_v4(Ipv4Addr::UNSPECIFIED),
        };
        let header = cmsghdr {
            cmsg_len: SOURCE.length,
            cmsg_level: libc::IPPROTO_IP,
            cmsg_type: libc::IP_PKTINFO,
        };
        let entry = self.words.as_mut_ptr().wrapping_byte_add(at).cast::<cmsghdr>();
        // SAFETY: the array has one more entry's size behind the longest control data
        unsafe { entry.write_unaligned(header) };
        let value = entry.wrapping_byte_add(size_of::<cmsghdr>()).cast();
        // SAFETY: as above
        unsafe { ptr::write_unaligned::<in_pktinfo>(value, info) };
        self.length = at.wrapping_add(SOURCE.space);
    }

    /// Lets the message point to the copy, for as long as this lives.
    pub(super) fn put_into(&mut self, message: &mut msghdr) {
        message.msg_control = self.words.as_mut_ptr().cast();
        message.msg_controllen = self.length;
    }
}

/// One entry that names an interface and a source.
#[derive(Clone, Copy)]
enum PacketInfo {
    V4(*const in_pktinfo),
    V6(*const in6_pktinfo),
}

impl PacketInfo {
    /// # Safety
    ///
    /// The control data that this entry is in has to be readable.
    unsafe fn read(self) -> (c_uint, IpAddr) {
        match self {
            Self::V4(entry) => {
                // SAFETY: the caller vouches for it; it need not be aligned
                let info = unsafe { entry.read_unaligned() };
                let source = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr));
                (info.ipi_ifindex as c_uint, source.into())
            }
            Self::V6(entry) => {
                // SAFETY: as above
                let info = unsafe { entry.read_unaligned() };
                (info.ipi6_ifindex, Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
            }
        }
    }

    /// # Safety
    ///
    /// The control data that this entry is in has to be ours.
    unsafe fn write(self, source: IpAddr) {
        match (self, source) {
            (Self::V4(entry), IpAddr::V4(source)) => {
                let field = entry.wrapping_byte_add(offset_of!(in_pktinfo, ipi_spec_dst));
                // SAFETY: the caller vouches for it; it need not be aligned
                unsafe {
                    field
                        .cast_mut()
                        .cast::<libc::in_addr>()
                        .write_unaligned(raw_v4(source))
                };
            }
            // an IPv4 entry cannot name an IPv6 source
            (Self::V4(_), IpAddr::V6(_)) => {}
            (Self::V6(entry), source) => {
                let source = match source {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let field = entry.wrapping_byte_add(offset_of!(in6_pktinfo, ipi6_addr));
                // SAFETY: as above
                unsafe {
                    field
                        .cast_mut()
                        .cast::<[u8; 16]>()
                        .write_unaligned(source.octets())
                };
            }
        }
    }
}

fn raw_v4(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: address.to_bits().to_be(),
    }
}

/// The entries of control data that name an interface and a source, up to the first malformed one, which the kernel
/// refuses.
struct PacketInfos {
    data: *const u8,
    length: usize,
    at: usize,
}

impl PacketInfos {
    /// # Safety
    ///
    /// `length` bytes at `data` have to be readable for as long as this is used.
    unsafe fn of(data: *const u8, length: usize) -> Self {
        Self { data, length, at: 0 }
    }
}

impl Iterator for PacketInfos {
    type Item = PacketInfo;

    fn next(&mut self) -> Option<PacketInfo> {
        while self.at.wrapping_add(size_of::<cmsghdr>()) <= self.length {
            let entry = self.data.wrapping_add(self.at);
            // SAFETY: `of` requires that the data is readable, and the header lies within
            let header = unsafe { entry.cast::<cmsghdr>().read_unaligned() };
            let size = header.cmsg_len;
            if size < size_of::<cmsghdr>() || size > self.length.wrapping_sub(self.at) {
                return None;
            }
            let mask = align_of::<usize>().wrapping_sub(1);
            self.at = self.at.wrapping_add(size.wrapping_add(mask) & !mask);
            let value = entry.wrapping_add(size_of::<cmsghdr>());
            let value_length = size.wrapping_sub(size_of::<cmsghdr>());
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if value_length >= size_of::<in_pktinfo>() => {
                    return Some(PacketInfo::V4(value.cast()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if value_length >= size_of::<in6_pktinfo>() => {
                    return Some(PacketInfo::V6(value.cast()));
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::c_int;

    /// Control data as a program makes it.
    struct Data(Vec<u64>);

    impl Data {
        fn entry<T>(level: c_int, kind: c_int, value: T) -> Vec<u8> {
            let size = Size::of(size_of::<T>());
            let header = cmsghdr {
                cmsg_len: size.length,
                cmsg_level: level,
                cmsg_type: kind,
            };
            let mut bytes = vec![0_u8; size.space];
            // SAFETY: the bytes hold both
            unsafe {
                bytes.as_mut_ptr().cast::<cmsghdr>().write_unaligned(header);
                bytes
                    .as_mut_ptr()
                    .add(size_of::<cmsghdr>())
                    .cast::<T>()
                    .write_unaligned(value);
            }
            bytes
        }

        fn v4(interface: c_int, source: &str) -> Vec<u8> {
            let info = in_pktinfo {
                ipi_ifindex: interface,
                ipi_spec_dst: raw_v4(source.parse().unwrap()),
                ipi_addr: raw_v4(Ipv4Addr::UNSPECIFIED),
            };
            Self::entry(libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }

        fn v6(source: &str) -> Vec<u8> {
            let info = in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: source.parse::<Ipv6Addr>().unwrap().octets(),
                },
                ipi6_ifindex: 0,
            };
            Self::entry(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }

        fn of(entries: &[Vec<u8>]) -> Self {
            let bytes = entries.concat();
            let words = bytes
                .chunks(8)
                .map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap()));
            Self(words.collect())
        }

        fn message(&mut self) -> msghdr {
            // SAFETY: zeros are an empty message
            let mut message: msghdr = unsafe { core::mem::zeroed() };
            message.msg_control = self.0.as_mut_ptr().cast();
            message.msg_controllen = self.0.len() * 8;
            message
        }

        fn classified(&mut self) -> Verdict {
            classify(&self.message(), |address| {
                address == POD.parse::<IpAddr>().unwrap()
            })
            .unwrap()
        }
    }

    const POD: &str = "10.244.0.5";

    fn sources(message: &msghdr) -> Vec<String> {
        // SAFETY: the message points to control data of the test's, which is as long as it says
        let entries =
            unsafe { PacketInfos::of(message.msg_control.cast_const().cast(), message.msg_controllen) };
        entries
            // SAFETY: the entries are parts of that data, which lives as long as the message
            .map(|entry| unsafe { entry.read() }.1.to_string())
            .collect()
    }

    fn rewritten(data: &mut Data, source: &str, adds_source: bool) -> Vec<String> {
        let mut message = data.message();
        let mut ours = Rewritten::of(&message, source.parse().unwrap(), adds_source);
        ours.put_into(&mut message);
        sources(&message)
    }

    #[test]
    fn foreign_interface_or_source_is_uncarried() {
        let hops = || Data::entry(libc::IPPROTO_IP, libc::IP_TTL, 3_i32);
        for (entries, expected) in [
            (vec![], Verdict::Keep),
            (vec![hops()], Verdict::Keep),
            (vec![Data::v4(0, "0.0.0.0")], Verdict::Keep),
            (vec![Data::v4(1, "127.0.0.1")], Verdict::Keep),
            (vec![Data::v6("::1")], Verdict::Keep),
            (vec![hops(), Data::v4(0, POD)], Verdict::Rewrite),
            (vec![Data::v4(0, "127.106.0.1")], Verdict::Rewrite),
            (vec![Data::v6("::ffff:10.244.0.5")], Verdict::Uncarried),
            (vec![Data::v4(2, "0.0.0.0")], Verdict::Uncarried),
            (vec![hops(), Data::v4(2, POD)], Verdict::Uncarried),
            (vec![Data::v4(0, "192.0.2.7")], Verdict::Uncarried),
            (
                vec![Data::v4(0, POD), Data::v4(0, "192.0.2.7")],
                Verdict::Uncarried,
            ),
        ] {
            assert_eq!(Data::of(&entries).classified(), expected, "{entries:?}");
        }
    }

    #[test]
    fn source_that_is_the_pods_address_is_replaced_by_stand_in_or_unspecified() {
        let mut data = Data::of(&[Data::v4(0, POD), Data::v4(1, "127.0.0.1"), Data::v6("fd00::5")]);
        assert_eq!(
            rewritten(&mut data, "0.0.0.0", false),
            ["0.0.0.0", "127.0.0.1", "::ffff:0.0.0.0"]
        );
        assert_eq!(
            rewritten(&mut data, "127.106.0.1", true),
            ["127.106.0.1", "127.0.0.1", "::ffff:127.106.0.1"]
        );
        assert_eq!(sources(&data.message()), [POD, "127.0.0.1", "fd00::5"]);
        let mut data = Data::of(&[Data::v6("fd00::5")]);
        assert_eq!(rewritten(&mut data, "::", false), ["::"]);
    }

    #[test]
    fn message_without_source_gets_one_where_it_is_needed() {
        let hops = Data::entry(libc::IPPROTO_IP, libc::IP_TTL, 3_i32);
        for entries in [vec![], vec![hops], vec![Data::v4(0, "0.0.0.0")]] {
            let found = rewritten(&mut Data::of(&entries), "127.105.0.1", true);
            assert_eq!(
                found.last().map(String::as_str),
                Some("127.105.0.1"),
                "{entries:?}"
            );
        }
    }

    #[test]
    fn malformed_data_is_read_up_to_its_end_and_kept() {
        let mut data = Data::of(&[Data::v4(0, POD)]);
        for length in 0..SOURCE.length {
            let mut message = data.message();
            message.msg_controllen = length;
            assert_eq!(classify(&message, |_| true), Ok(Verdict::Keep), "{length}");
        }
        data.0[0] = u64::MAX;
        assert_eq!(data.classified(), Verdict::Keep);
        let mut message = data.message();
        message.msg_controllen = MAX_LENGTH + 1;
        assert_eq!(classify(&message, |_| true), Err(Errno(libc::ENOBUFS)));
    }
}

//! Control data that names the interface or the source of a datagram (ip(7) `IP_PKTINFO`, ipv6(7) `IPV6_PKTINFO`).
//!
//! A datagram that goes to an address on loopback in the place of another may name no interface but loopback, or it would leave
//! the machine. Programs that answer by the interface through which a datagram came name that one. Its source may be the pod's
//! own address, which is no address of this machine: another is put in its place, which the caller knows. All other control data is the
//! kernel's business.

use crate::errno::Errno;
use crate::memory;
use core::mem::{align_of, offset_of, size_of};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr;
use kinject_protocol::control::{is_of_every_machine, is_stand_in};
use libc::{c_uint, cmsghdr, in_pktinfo, in6_pktinfo, msghdr};

/// Loopback is the first interface of every network namespace.
const LOOPBACK: c_uint = 1;

/// More control data than any message of the internet protocols has; the kernel's own limit is larger
/// (`net.core.optmem_max`), and it fails with the same error.
const MOST: usize = 4096;

/// Words that hold [`MOST`] bytes, and one source that is added.
const WORDS: usize = (MOST + SOURCE.space) / size_of::<u64>();

/// The size of an entry that names a source over IPv4: with its header, and with what aligns the next one.
const SOURCE: Size = Size::of(size_of::<in_pktinfo>());

struct Size {
    whole: usize,
    space: usize,
}

impl Size {
    const fn of(value: usize) -> Self {
        let whole = size_of::<cmsghdr>() + value;
        Self {
            whole,
            space: whole.next_multiple_of(align_of::<usize>()),
        }
    }
}

/// What is to be done with the control data of a message that goes elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It means the same there.
    Keep,
    /// It names a source that has to be another one there.
    Rewrite,
    /// It names an interface or a source that the session does not carry.
    Uncarried,
}

/// Whether a message has control data at all.
pub(super) fn is_there(message: &msghdr) -> bool {
    !message.msg_control.is_null() && message.msg_controllen >= size_of::<cmsghdr>()
}

/// Looks at the control data of a message; `is_pods` says whether an address is the pod's own.
pub(super) fn judge(message: &msghdr, is_pods: impl Fn(IpAddr) -> bool) -> Result<Verdict, Errno> {
    if !is_there(message) {
        return Ok(Verdict::Keep);
    }
    let length = message.msg_controllen;
    let data = message.msg_control.cast_const().cast::<u8>();
    if length > MOST {
        return Err(Errno(libc::ENOBUFS));
    }
    if !memory::is_readable(data.cast(), length) {
        return Err(Errno(libc::EFAULT));
    }
    let mut verdict = Verdict::Keep;
    // SAFETY: the kernel read the control data a moment ago
    let places = unsafe { Places::of(data, length) };
    for place in places {
        // SAFETY: as above
        let (interface, source) = unsafe { place.read() };
        if interface != 0 && interface != LOOPBACK {
            return Ok(Verdict::Uncarried);
        }
        if !names_another(source) {
            continue;
        }
        if !is_stand_in(source) && !is_pods(source) {
            return Ok(Verdict::Uncarried);
        }
        verdict = Verdict::Rewrite;
    }
    Ok(verdict)
}

/// Is this source one that is another where the datagram goes?
fn names_another(source: IpAddr) -> bool {
    is_stand_in(source) || !is_of_every_machine(source)
}

/// Control data of our own, in the place of a message's.
pub(super) struct Rewritten {
    words: [u64; WORDS],
    length: usize,
}

impl Rewritten {
    /// The message's, which [`judge`] has seen, with another source in the place of the pod's. With `adds_source` it is named also
    /// where the message names none.
    pub(super) fn of(message: &msghdr, source: IpAddr, adds_source: bool) -> Self {
        let mut rewritten = Self {
            words: [0; WORDS],
            length: 0,
        };
        let bytes = rewritten.words.as_mut_ptr().cast::<u8>();
        if is_there(message) {
            rewritten.length = message.msg_controllen.min(MOST);
            // SAFETY: the message's are readable, as was seen a moment ago, and ours has room for as many
            unsafe {
                ptr::copy_nonoverlapping(message.msg_control.cast_const().cast(), bytes, rewritten.length);
            }
        }
        let mut names_one = false;
        // SAFETY: they are ours
        let places = unsafe { Places::of(bytes, rewritten.length) };
        for place in places {
            // SAFETY: as above
            let (_, named) = unsafe { place.read() };
            names_one |= !named.is_unspecified();
            if names_another(named) {
                // SAFETY: as above, and nobody else knows of them
                unsafe { place.write(source) };
            }
        }
        if adds_source && !names_one {
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
            cmsg_len: SOURCE.whole,
            cmsg_level: libc::IPPROTO_IP,
            cmsg_type: libc::IP_PKTINFO,
        };
        let place = self.words.as_mut_ptr().wrapping_byte_add(at).cast::<cmsghdr>();
        // SAFETY: there is room for one more entry behind the most that a message has
        unsafe { place.write_unaligned(header) };
        let value = place.wrapping_byte_add(size_of::<cmsghdr>()).cast();
        // SAFETY: as above
        unsafe { ptr::write_unaligned::<in_pktinfo>(value, info) };
        self.length = at.wrapping_add(SOURCE.space);
    }

    /// Makes it the message's, for as long as this lives.
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
    /// The control data that this is a place in has to be readable.
    unsafe fn read(self) -> (c_uint, IpAddr) {
        match self {
            Self::V4(place) => {
                // SAFETY: the caller vouches for it; it need not be aligned
                let info = unsafe { place.read_unaligned() };
                let source = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr));
                (info.ipi_ifindex as c_uint, source.into())
            }
            Self::V6(place) => {
                // SAFETY: as above
                let info = unsafe { place.read_unaligned() };
                (info.ipi6_ifindex, Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
            }
        }
    }

    /// # Safety
    ///
    /// The control data that this is a place in has to be ours.
    unsafe fn write(self, source: IpAddr) {
        match (self, source) {
            (Self::V4(place), IpAddr::V4(source)) => {
                let field = place.wrapping_byte_add(offset_of!(in_pktinfo, ipi_spec_dst));
                // SAFETY: the caller vouches for it; it need not be aligned
                unsafe {
                    field
                        .cast_mut()
                        .cast::<libc::in_addr>()
                        .write_unaligned(raw_v4(source))
                };
            }
            // none of the other family's can be named there
            (Self::V4(_), IpAddr::V6(_)) => {}
            (Self::V6(place), source) => {
                let source = match source {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let field = place.wrapping_byte_add(offset_of!(in6_pktinfo, ipi6_addr));
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

/// The entries of control data that name an interface and a source, as far as it is well formed: what follows is for the
/// kernel to refuse.
struct Places {
    data: *const u8,
    length: usize,
    at: usize,
}

impl Places {
    /// # Safety
    ///
    /// `length` bytes at `data` have to be readable for as long as this is used.
    unsafe fn of(data: *const u8, length: usize) -> Self {
        Self { data, length, at: 0 }
    }
}

impl Iterator for Places {
    type Item = PacketInfo;

    fn next(&mut self) -> Option<PacketInfo> {
        while self.at.wrapping_add(size_of::<cmsghdr>()) <= self.length {
            let entry = self.data.wrapping_add(self.at);
            // SAFETY: who made this vouches for the data, and the header is within
            let header = unsafe { entry.cast::<cmsghdr>().read_unaligned() };
            let size = header.cmsg_len;
            if size < size_of::<cmsghdr>() || size > self.length.wrapping_sub(self.at) {
                return None;
            }
            let mask = align_of::<usize>().wrapping_sub(1);
            self.at = self.at.wrapping_add(size.wrapping_add(mask) & !mask);
            let value = entry.wrapping_add(size_of::<cmsghdr>());
            let room = size.wrapping_sub(size_of::<cmsghdr>());
            match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if room >= size_of::<in_pktinfo>() => {
                    return Some(PacketInfo::V4(value.cast()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if room >= size_of::<in6_pktinfo>() => {
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

    /// Control data that a program has put together.
    struct Data(Vec<u64>);

    impl Data {
        fn entry<T>(level: c_int, kind: c_int, value: T) -> Vec<u8> {
            let size = Size::of(size_of::<T>());
            let header = cmsghdr {
                cmsg_len: size.whole,
                cmsg_level: level,
                cmsg_type: kind,
            };
            let mut bytes = vec![0_u8; size.space];
            // SAFETY: there is room for both
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

        fn judged(&mut self) -> Verdict {
            judge(&self.message(), |address| {
                address == POD.parse::<IpAddr>().unwrap()
            })
            .unwrap()
        }
    }

    const POD: &str = "10.244.0.5";

    fn sources(message: &msghdr) -> Vec<String> {
        // SAFETY: the data is the test's own
        let places = unsafe { Places::of(message.msg_control.cast_const().cast(), message.msg_controllen) };
        // SAFETY: as above
        places
            .map(|place| unsafe { place.read() }.1.to_string())
            .collect()
    }

    fn rewritten(data: &mut Data, source: &str, adds_source: bool) -> Vec<String> {
        let mut message = data.message();
        let mut ours = Rewritten::of(&message, source.parse().unwrap(), adds_source);
        ours.put_into(&mut message);
        sources(&message)
    }

    #[test]
    fn a_foreign_interface_or_source_is_not_carried() {
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
            assert_eq!(Data::of(&entries).judged(), expected, "{entries:?}");
        }
    }

    #[test]
    fn the_pods_address_is_taken_out_or_replaced_by_what_stands_for_it() {
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
    fn a_source_is_added_where_none_is_named() {
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
    fn malformed_data_is_read_no_further_than_it_reaches() {
        let mut data = Data::of(&[Data::v4(0, POD)]);
        for length in 0..SOURCE.whole {
            let mut message = data.message();
            message.msg_controllen = length;
            assert_eq!(judge(&message, |_| true), Ok(Verdict::Keep), "{length}");
        }
        data.0[0] = u64::MAX;
        assert_eq!(data.judged(), Verdict::Keep);
        let mut message = data.message();
        message.msg_controllen = MOST + 1;
        assert_eq!(judge(&message, |_| true), Err(Errno(libc::ENOBUFS)));
    }
}

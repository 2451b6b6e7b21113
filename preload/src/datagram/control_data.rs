//! Control data that would take a datagram out of the session (ip(7) `IP_PKTINFO`, ipv6(7) `IPV6_PKTINFO`).
//!
//! A program may name the interface by which a datagram leaves. One that is redirected to loopback and names another
//! would leave the machine, so it is not sent. Programs that answer by the interface through which a datagram came
//! name loopback itself. All other control data is the kernel's business.

use crate::errno::Errno;
use crate::memory;
use core::mem::{align_of, size_of};
use libc::{c_uint, cmsghdr, in_pktinfo, in6_pktinfo, msghdr};

/// Loopback is the first interface of every network namespace.
const LOOPBACK: c_uint = 1;

/// More control data than any message of the internet protocols has; the kernel's own limit is larger
/// (`net.core.optmem_max`), and it fails with the same error.
const MOST: usize = 4096;

/// Whether the message names an interface other than loopback.
pub(super) fn names_an_interface(message: &msghdr) -> Result<bool, Errno> {
    let length = message.msg_controllen;
    let data = message.msg_control.cast_const().cast::<u8>();
    if data.is_null() || length < size_of::<cmsghdr>() {
        return Ok(false);
    }
    if length > MOST {
        return Err(Errno(libc::ENOBUFS));
    }
    if !memory::is_readable(data.cast(), length) {
        return Err(Errno(libc::EFAULT));
    }
    let mut at = 0_usize;
    while at.wrapping_add(size_of::<cmsghdr>()) <= length {
        // SAFETY: the kernel read the control data a moment ago, and the header is within
        let header = unsafe { data.add(at).cast::<cmsghdr>().read_unaligned() };
        let size = header.cmsg_len;
        if size < size_of::<cmsghdr>() || size > length.wrapping_sub(at) {
            // malformed, as the kernel will say
            return Ok(false);
        }
        let value = at.wrapping_add(size_of::<cmsghdr>());
        let room = size.wrapping_sub(size_of::<cmsghdr>());
        let interface = match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if room >= size_of::<in_pktinfo>() => {
                // SAFETY: as above, and the value is as long
                let info = unsafe { data.add(value).cast::<in_pktinfo>().read_unaligned() };
                info.ipi_ifindex as c_uint
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if room >= size_of::<in6_pktinfo>() => {
                // SAFETY: as above, and the value is as long
                let info = unsafe { data.add(value).cast::<in6_pktinfo>().read_unaligned() };
                info.ipi6_ifindex as c_uint
            }
            _ => 0,
        };
        if interface != 0 && interface != LOOPBACK {
            return Ok(true);
        }
        let mask = align_of::<usize>().wrapping_sub(1);
        at = at.wrapping_add(size.wrapping_add(mask) & !mask);
    }
    Ok(false)
}

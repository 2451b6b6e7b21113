//! A `hostent` and everything that it points to, laid out in one buffer.
//!
//! ```text
//! | up to 7 bytes | addresses' pointers, null | aliases' null | addresses, 4 or 16 bytes each | name, null |
//! ```

use super::super::Found;
use super::Refusal;
use core::net::IpAddr;
use core::ptr;
use kinject_protocol::NameFailure;
use kinject_protocol::control::Family;
use libc::{c_char, c_int, hostent};

/// A buffer that is filled from its front.
pub(super) struct Room {
    place: *mut u8,
    left: usize,
}

impl Room {
    pub(super) fn new(buffer: *mut c_char, size: usize) -> Self {
        Self {
            place: buffer.cast(),
            left: size,
        }
    }

    fn take(&mut self, size: usize) -> Result<*mut u8, Refusal> {
        self.left = self.left.checked_sub(size).ok_or(Refusal::TooSmall)?;
        let taken = self.place;
        self.place = taken.wrapping_add(size);
        Ok(taken)
    }

    /// Takes room for `count` pointers, aligned as they need it.
    fn take_pointers(&mut self, count: usize) -> Result<*mut *mut c_char, Refusal> {
        let unaligned = self.place as usize % align_of::<*mut c_char>();
        if unaligned != 0 {
            self.take(align_of::<*mut c_char>().wrapping_sub(unaligned))?;
        }
        let size = count
            .checked_mul(size_of::<*mut c_char>())
            .ok_or(Refusal::TooSmall)?;
        self.take(size).map(<*mut u8>::cast)
    }

    /// # Safety
    ///
    /// What is left of the room has to be writable.
    unsafe fn put(&mut self, bytes: &[u8]) -> Result<*mut c_char, Refusal> {
        let place = self.take(bytes.len())?;
        // SAFETY: the place is that large and writable, and no message lies in a program's buffer
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        Ok(place.cast())
    }
}

/// Writes what the entry points to, and gives the entry.
///
/// # Safety
///
/// The room has to be writable.
pub(super) unsafe fn write(
    mut room: Room,
    family: Family,
    found: &Found<'_>,
    asked: &[u8],
) -> Result<hostent, Refusal> {
    let wanted = |address: &IpAddr| address.is_ipv6() == (family == Family::V6);
    let count = found.addresses.filter(wanted).count();
    if count == 0 {
        return Err(Refusal::Failed(NameFailure::NoData));
    }
    let addresses = room.take_pointers(count.saturating_add(1))?;
    let aliases = room.take_pointers(1)?;
    let mut place = addresses;
    for address in found.addresses.filter(wanted) {
        let octets = match address {
            // SAFETY: the caller vouches for the room
            IpAddr::V4(v4) => unsafe { room.put(&v4.octets()) }?,
            // SAFETY: as above
            IpAddr::V6(v6) => unsafe { room.put(&v6.octets()) }?,
        };
        // SAFETY: there are as many pointers as addresses, and one more
        unsafe { place.write(octets) };
        place = place.wrapping_add(1);
    }
    // SAFETY: this is the one more
    unsafe { place.write(ptr::null_mut()) };
    // SAFETY: room for one pointer was taken
    unsafe { aliases.write(ptr::null_mut()) };
    let canonical = if found.canonical.is_empty() {
        asked
    } else {
        found.canonical
    };
    // SAFETY: the caller vouches for the room
    let name = unsafe { room.put(canonical) }?;
    // SAFETY: as above
    unsafe { room.put(&[0]) }?;
    let (kind, length) = kind_and_length(family);
    Ok(hostent {
        h_name: name,
        h_aliases: aliases,
        h_addrtype: kind,
        h_length: length,
        h_addr_list: addresses,
    })
}

fn kind_and_length(family: Family) -> (c_int, c_int) {
    match family {
        Family::V6 => (libc::AF_INET6, size_of::<libc::in6_addr>() as c_int),
        Family::V4 | Family::Any => (libc::AF_INET, size_of::<libc::in_addr>() as c_int),
    }
}

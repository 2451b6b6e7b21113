//! A `hostent` and everything that it points to, laid out in one buffer.
//!
//! ```text
//! | up to 7 bytes | addresses' pointers, null | aliases' pointers, null | addresses, 4 or 16 bytes each | names with nulls |
//! ```

use super::super::Found;
use super::Refusal;
use core::net::IpAddr;
use core::ptr;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{AddressList, Family, NameList};
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

    /// Takes room for `count` pointers and a null behind them, aligned as they need it.
    fn take_pointers(&mut self, count: usize) -> Result<*mut *mut c_char, Refusal> {
        let unaligned = self.place as usize % align_of::<*mut c_char>();
        if unaligned != 0 {
            self.take(align_of::<*mut c_char>().wrapping_sub(unaligned))?;
        }
        let size = count
            .saturating_add(1)
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

    /// # Safety
    ///
    /// As for [`Self::put`].
    unsafe fn put_address(&mut self, address: IpAddr) -> Result<*mut c_char, Refusal> {
        match address {
            // SAFETY: the caller vouches for the room
            IpAddr::V4(v4) => unsafe { self.put(&v4.octets()) },
            // SAFETY: as above
            IpAddr::V6(v6) => unsafe { self.put(&v6.octets()) },
        }
    }

    /// # Safety
    ///
    /// As for [`Self::put`].
    unsafe fn put_name(&mut self, name: &[u8]) -> Result<*mut c_char, Refusal> {
        // SAFETY: the caller vouches for the room
        let place = unsafe { self.put(name) }?;
        // SAFETY: as above
        unsafe { self.put(&[0]) }?;
        Ok(place)
    }
}

/// What an entry says.
pub(super) struct Content<'a> {
    name: &'a [u8],
    aliases: Option<NameList<'a>>,
    addresses: Addresses<'a>,
    is_v6: bool,
}

/// The addresses of an entry.
#[derive(Clone, Copy)]
enum Addresses<'a> {
    /// Those of a name that have the family.
    OfName(AddressList<'a>),
    /// The one that was asked about.
    Own(IpAddr),
}

impl<'a> Content<'a> {
    /// What was found for a name.
    pub(super) fn of_name(family: Family, found: &Found<'a>, asked: &'a [u8]) -> Self {
        Self {
            name: if found.canonical.is_empty() {
                asked
            } else {
                found.canonical
            },
            aliases: None,
            addresses: Addresses::OfName(found.addresses),
            is_v6: family == Family::V6,
        }
    }

    /// What was found for an address; libc makes an IPv4 address of one that is mapped.
    pub(super) fn of_address(address: IpAddr, mut names: NameList<'a>) -> Self {
        let address = address.to_canonical();
        Self {
            name: names.next().unwrap_or_default(),
            aliases: Some(names),
            addresses: Addresses::Own(address),
            is_v6: address.is_ipv6(),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        let (list, own) = match self.addresses {
            Addresses::OfName(list) => (Some(list), None),
            Addresses::Own(own) => (None, Some(own)),
        };
        let is_v6 = self.is_v6;
        let of_family = list
            .into_iter()
            .flatten()
            .filter(move |address| address.is_ipv6() == is_v6);
        of_family.chain(own)
    }

    fn aliases(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.aliases.into_iter().flatten()
    }
}

/// Writes what the entry points to, and gives the entry.
///
/// # Safety
///
/// The room has to be writable.
pub(super) unsafe fn write(mut room: Room, content: &Content<'_>) -> Result<hostent, Refusal> {
    let count = content.addresses().count();
    if count == 0 {
        return Err(Refusal::Failed(NameFailure::NoData));
    }
    let addresses = room.take_pointers(count)?;
    let aliases = room.take_pointers(content.aliases().count())?;
    let mut place = addresses;
    for address in content.addresses() {
        // SAFETY: the caller vouches for the room
        let octets = unsafe { room.put_address(address) }?;
        // SAFETY: there are as many pointers as addresses, and one more
        unsafe { place.write(octets) };
        place = place.wrapping_add(1);
    }
    // SAFETY: this is the one more
    unsafe { place.write(ptr::null_mut()) };
    // SAFETY: the caller vouches for the room
    let name = unsafe { room.put_name(content.name) }?;
    let mut place = aliases;
    for alias in content.aliases() {
        // SAFETY: as above
        let text = unsafe { room.put_name(alias) }?;
        // SAFETY: there are as many pointers as aliases, and one more
        unsafe { place.write(text) };
        place = place.wrapping_add(1);
    }
    // SAFETY: this is the one more
    unsafe { place.write(ptr::null_mut()) };
    let (kind, length) = if content.is_v6 {
        (libc::AF_INET6, size_of::<libc::in6_addr>())
    } else {
        (libc::AF_INET, size_of::<libc::in_addr>())
    };
    Ok(hostent {
        h_name: name,
        h_aliases: aliases,
        h_addrtype: kind,
        h_length: length as c_int,
        h_addr_list: addresses,
    })
}

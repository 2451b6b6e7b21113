//! A `hostent` and everything that it points to, laid out in one buffer.
//!
//! ```text
//! | up to 7 bytes | address pointers, null | alias pointers, null | addresses, 4 or 16 bytes | names as C strings |
//! ```

use super::super::Found;
use super::Refusal;
use core::net::IpAddr;
use core::ptr;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{AddressList, Family, NameList};
use libc::{c_char, c_int, hostent};

/// What is left of a buffer that is filled from its front.
pub(super) struct Space {
    start: *mut u8,
    length: usize,
}

impl Space {
    pub(super) fn new(buffer: *mut c_char, size: usize) -> Self {
        Self {
            start: buffer.cast(),
            length: size,
        }
    }

    fn take(&mut self, size: usize) -> Result<*mut u8, Refusal> {
        self.length = self.length.checked_sub(size).ok_or(Refusal::TooSmall)?;
        let taken = self.start;
        self.start = taken.wrapping_add(size);
        Ok(taken)
    }

    /// Takes an aligned array of `count` pointers and a null.
    fn take_pointers(&mut self, count: usize) -> Result<*mut *mut c_char, Refusal> {
        let unaligned = self.start as usize % align_of::<*mut c_char>();
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
    /// The space has to be writable.
    unsafe fn put(&mut self, bytes: &[u8]) -> Result<*mut c_char, Refusal> {
        let taken = self.take(bytes.len())?;
        // SAFETY: what was taken is that large and writable, and does not overlap with the reply
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), taken, bytes.len()) };
        Ok(taken.cast())
    }

    /// # Safety
    ///
    /// As for [`Self::put`].
    unsafe fn put_address(&mut self, address: IpAddr) -> Result<*mut c_char, Refusal> {
        match address {
            // SAFETY: the caller vouches for the space
            IpAddr::V4(v4) => unsafe { self.put(&v4.octets()) },
            // SAFETY: as above
            IpAddr::V6(v6) => unsafe { self.put(&v6.octets()) },
        }
    }

    /// # Safety
    ///
    /// As for [`Self::put`].
    unsafe fn put_name(&mut self, name: &[u8]) -> Result<*mut c_char, Refusal> {
        // SAFETY: the caller vouches for the space
        let text = unsafe { self.put(name) }?;
        // SAFETY: as above
        unsafe { self.put(&[0]) }?;
        Ok(text)
    }
}

/// The content of an entry.
pub(super) struct Content<'a> {
    name: &'a [u8],
    aliases: Option<NameList<'a>>,
    addresses: Addresses<'a>,
    is_v6: bool,
}

/// The addresses of an entry.
#[derive(Clone, Copy)]
enum Addresses<'a> {
    /// Those of a name, in the entry's family.
    OfName(AddressList<'a>),
    /// The one that was looked up.
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

/// Writes what the entry points to; returns the entry.
///
/// # Safety
///
/// The space has to be writable.
pub(super) unsafe fn write(mut space: Space, content: &Content<'_>) -> Result<hostent, Refusal> {
    let count = content.addresses().count();
    if count == 0 {
        return Err(Refusal::Failed(NameFailure::NoData));
    }
    let addresses = space.take_pointers(count)?;
    let aliases = space.take_pointers(content.aliases().count())?;
    let mut next = addresses;
    for address in content.addresses() {
        // SAFETY: the caller vouches for the space
        let octets = unsafe { space.put_address(address) }?;
        // SAFETY: there are as many pointers as addresses, and one more
        unsafe { next.write(octets) };
        next = next.wrapping_add(1);
    }
    // SAFETY: this is the last one
    unsafe { next.write(ptr::null_mut()) };
    // SAFETY: the caller vouches for the space
    let name = unsafe { space.put_name(content.name) }?;
    let mut next = aliases;
    for alias in content.aliases() {
        // SAFETY: as above
        let text = unsafe { space.put_name(alias) }?;
        // SAFETY: there are as many pointers as aliases, and one more
        unsafe { next.write(text) };
        next = next.wrapping_add(1);
    }
    // SAFETY: this is the last one
    unsafe { next.write(ptr::null_mut()) };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content<'static> {
        Content {
            name: b"web",
            aliases: None,
            addresses: Addresses::Own("10.96.10.1".parse().unwrap()),
            is_v6: false,
        }
    }

    fn write_into(words: &mut [u64], size: usize) -> Result<hostent, Refusal> {
        assert!(size <= size_of_val(words));
        // SAFETY: the words are writable for that many bytes
        unsafe { write(Space::new(words.as_mut_ptr().cast(), size), &content()) }
    }

    /// Two arrays of pointers of which each ends with a null, four octets, "web" and its null: 16 + 8 + 4 + 4 bytes.
    #[test]
    fn entry_is_written_into_a_buffer_of_its_size_and_not_into_a_smaller_one() {
        let mut words = [u64::MAX; 4];
        let entry = write_into(&mut words, 32).ok().unwrap();
        assert_eq!((entry.h_addrtype, entry.h_length), (libc::AF_INET, 4));
        // SAFETY: the entry points into the words
        let address = unsafe { (*entry.h_addr_list).cast::<[u8; 4]>().read() };
        assert_eq!(address, [10, 96, 10, 1]);
        // SAFETY: as above
        let name = unsafe { core::ffi::CStr::from_ptr(entry.h_name) };
        assert_eq!(name, c"web");
        assert!(matches!(write_into(&mut words, 31), Err(Refusal::TooSmall)));
    }
}

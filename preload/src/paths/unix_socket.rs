//! Paths of Unix sockets (unix(7)): a socket in a scratch mount stands below the shadow root, and in any other mount
//! of the container nothing is created.

use super::buffer::PathBuffer;
use super::call::ShadowFacts;
use super::decision::decide;
use super::locate::{Ending, Located, locate};
use super::spec::Need;
use super::table::{Table, is_absent};
use crate::errno::Errno;
use crate::memory;
use core::mem::offset_of;
use core::slice;
use kinject_protocol::paths::Kind;
use libc::{c_char, sa_family_t, sockaddr, sockaddr_un, socklen_t};

/// The address below the shadow root for the program's; none if the program's own is right, or another kind of address.
/// `creates` is set for bind(2).
#[inline]
pub(crate) fn unix_address(
    address: *const sockaddr,
    length: socklen_t,
    creates: bool,
) -> Result<Option<sockaddr_un>, Errno> {
    if is_absent() {
        return Ok(None);
    }
    elsewhere(address, length as usize, creates)
}

#[inline(never)]
fn elsewhere(address: *const sockaddr, length: usize, creates: bool) -> Result<Option<sockaddr_un>, Errno> {
    const PATH: usize = offset_of!(sockaddr_un, sun_path);
    let is_path = (PATH.saturating_add(1)..=size_of::<sockaddr_un>()).contains(&length);
    if !is_path || !memory::is_readable(address.cast(), length) {
        return Ok(None);
    }
    // SAFETY: the address can be read for its length
    let bytes = unsafe { slice::from_raw_parts(address.cast::<u8>(), length) };
    let Some((family, path)) = bytes.split_at_checked(PATH) else {
        return Ok(None);
    };
    let is_unix = family
        .first_chunk()
        .is_some_and(|family| sa_family_t::from_ne_bytes(*family) == libc::AF_UNIX as sa_family_t);
    // a name in the abstract namespace begins with a null
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    let Some(table) = Table::current().filter(|table| is_unix && table.may_concern(path, creates)) else {
        return Ok(None);
    };
    let ending = Ending::of(path);
    let mut buffer = PathBuffer::new();
    match locate(&table, libc::AT_FDCWD, path, &mut buffer)? {
        Located::Native | Located::Parent(_) => return Ok(None),
        Located::Shadow(found) if creates && found.kind != Kind::Scratch => {
            let mut facts = ShadowFacts {
                found,
                ending,
                buffer: &mut buffer,
            };
            let decision = decide(Need::Create { is_folder: false }, ending, false, &mut facts);
            return decision.map(|()| None).map_err(|error| match error {
                Errno(libc::EEXIST) => Errno(libc::EADDRINUSE),
                error => error,
            });
        }
        Located::Shadow(found) if found.is_own => return Ok(None),
        Located::Elsewhere | Located::Shadow(_) => {}
    }
    let mut other = sockaddr_un {
        sun_family: libc::AF_UNIX as _,
        sun_path: [0; 108],
    };
    // the kernel takes a path that fills the field without a null
    if buffer.path().len() > other.sun_path.len() {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    for (field, byte) in other.sun_path.iter_mut().zip(buffer.path()) {
        *field = *byte as c_char;
    }
    Ok(Some(other))
}

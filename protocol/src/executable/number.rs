//! Numbers in ELF files, which are little endian here.

/// A number of 32 bits; none if it is not all there.
#[inline]
pub(super) fn number(record: &[u8], position: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*record.get(position..)?.first_chunk()?))
}

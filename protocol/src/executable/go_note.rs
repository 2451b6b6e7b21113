//! The note that says that a program was made by Go's linker.

use super::number::number;

/// The note that Go's linker writes, unless it is told to leave it out: sizes of name and description, kind, name
/// (elf(5), `Elf64_Nhdr`).
const NOTE: (u32, &[u8]) = (4, b"Go\0\0");

/// More notes than any linker makes; the rest is not looked at.
const MAX_NOTES: usize = 16;

/// Whether Go's note is among these, which are a segment of notes or the beginning of one.
#[inline]
pub fn has_note(notes: &[u8]) -> bool {
    let mut rest = notes;
    for _ in 0..MAX_NOTES {
        let fields = (number(rest, 0), number(rest, 4), number(rest, 8));
        let (Some(name), Some(description), Some(kind)) = fields else {
            return false;
        };
        let text = rest.get(12..).unwrap_or_default();
        if name as usize == NOTE.1.len() && kind == NOTE.0 && text.starts_with(NOTE.1) {
            return true;
        }
        let padded = |length: u32| (length as usize).saturating_add(3) & !3;
        let Some(behind) = text.get(padded(name).saturating_add(padded(description))..) else {
            return false;
        };
        rest = behind;
    }
    false
}

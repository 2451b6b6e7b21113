//! Runtime libraries of sanitizers, which have to be loaded before all other libraries.
//!
//! AddressSanitizer's runtime ends a program in which another library comes first, and all of them have to precede
//! every library that defines functions of libc. A program that is linked to one has it as its first library, but a
//! preloaded library comes before that. So such a program gets its runtime preloaded, too, before ours; the dynamic
//! linker searches for it as for the program's own dependency (ld.so(8)).

use super::File;
use super::elf::{Class, Image, Interpreter};

/// How the names of their files begin: GCC's, and Clang's with `-shared-libsan`.
const BEGINNINGS: [&[u8]; 5] = [
    b"libasan.so",
    b"libhwasan.so",
    b"liblsan.so",
    b"libtsan.so",
    b"libclang_rt.",
];

/// Longer than the name of any of them; one that is longer stays where it is.
const ROOM: usize = 64;

/// The name of such a library, as a program depends on it.
#[derive(Clone)]
pub struct Runtime {
    bytes: [u8; ROOM],
    length: usize,
}

impl Runtime {
    /// The name.
    #[inline]
    pub fn name(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Whether a library of this name or path is one.
    #[inline]
    pub fn is_named(library: &[u8]) -> bool {
        let name = library.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
    }

    /// The one that is a program's first library.
    pub(super) fn of<F: File>(image: &Image<'_, F>) -> Option<Self> {
        if image.class() != Class::Wide || image.interpreter() != Interpreter::Usual {
            return None;
        }
        let offset = image.dynamic()?.first_library?;
        let mut bytes = [0; ROOM];
        let read = image.read_up_to(offset, &mut bytes)?;
        let length = bytes.get(..read)?.iter().position(|byte| *byte == 0)?;
        let name = bytes.get(..length)?;
        // what would be several names in LD_PRELOAD, or another one
        let is_plain = !name.iter().any(|byte| matches!(byte, b':' | b' ' | b'$'));
        (is_plain && Self::is_named(name)).then_some(Self { bytes, length })
    }
}

//! The program of this process, as it lies in memory: its ELF headers (elf(5)).

use core::slice;
use libc::{Elf64_Phdr as Segment, c_void};

/// A page of x86-64.
const PAGE: usize = 4096;

/// The note that Go's linker writes: sizes of name and description, kind, name.
const GO_NOTE: (u32, u32, [u8; 4]) = (4, 4, *b"Go\0\0");

/// Entries of the dynamic section: a tag and a value.
type Entry = [usize; 2];
const DT_NULL: usize = 0;
const DT_STRTAB: usize = 5;
const DT_STRSZ: usize = 10;

/// The program's headers.
pub(super) struct Program {
    segments: &'static [Segment],
    /// What its addresses are relative to.
    base: usize,
}

/// A part of its code.
pub(super) struct Code {
    pub(super) bytes: &'static [u8],
    /// Where it lies in the file.
    offset: usize,
}

/// Whole pages of the code.
pub(super) struct Pages {
    pub(super) start: *mut c_void,
    pub(super) length: usize,
    /// Where they lie in the file.
    pub(super) offset: usize,
}

impl Program {
    /// None where the kernel does not say where its headers are.
    #[inline]
    pub(super) fn of_this_process() -> Option<Self> {
        // SAFETY: these ask for a number
        let (place, count, size) = unsafe {
            (
                libc::getauxval(libc::AT_PHDR),
                libc::getauxval(libc::AT_PHNUM),
                libc::getauxval(libc::AT_PHENT),
            )
        };
        if place == 0 || size as usize != size_of::<Segment>() {
            return None;
        }
        // SAFETY: the kernel mapped the headers there, so many, and they stay (getauxval(3))
        let segments = unsafe { slice::from_raw_parts(place as *const Segment, count as usize) };
        let itself = segments.iter().find(|segment| segment.p_type == libc::PT_PHDR);
        let base = itself.map_or(0, |itself| (place as usize).wrapping_sub(itself.p_vaddr as usize));
        Some(Self { segments, base })
    }

    /// Whether Go's linker made it.
    #[inline]
    pub(super) fn is_go(&self) -> bool {
        self.of_kind(libc::PT_NOTE).any(|notes| self.has_go_note(notes))
    }

    /// The names that the dynamic linker works with; none if it has nothing to do.
    pub(super) fn dynamic_names(&self) -> Option<&'static [u8]> {
        let dynamic = self.of_kind(libc::PT_DYNAMIC).next()?;
        let place = self.address(dynamic) as *const Entry;
        let count = dynamic.p_memsz as usize / size_of::<Entry>();
        // SAFETY: the dynamic linker has worked with them a moment ago
        let entries = unsafe { slice::from_raw_parts(place, count) };
        let value = |wanted: usize| {
            let mut entries = entries.iter().take_while(|[tag, _]| *tag != DT_NULL);
            entries.find_map(|[tag, value]| (*tag == wanted).then_some(*value))
        };
        // the dynamic linker has made an address of the first
        let (names, size) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
        // SAFETY: it lies in a segment of the program's that can be read, and has this size
        Some(unsafe { slice::from_raw_parts(names as *const u8, size) })
    }

    /// The segments that can be executed and not written to.
    pub(super) fn code(&self) -> impl Iterator<Item = Code> {
        self.of_kind(libc::PT_LOAD)
            .filter(|segment| segment.p_flags == libc::PF_R | libc::PF_X)
            .map(|segment| Code {
                // SAFETY: the kernel mapped the segment, and it can be read
                bytes: unsafe {
                    slice::from_raw_parts(self.address(segment) as *const u8, segment.p_filesz as usize)
                },
                offset: segment.p_offset as usize,
            })
    }

    fn of_kind(&self, kind: u32) -> impl Iterator<Item = &'static Segment> {
        self.segments.iter().filter(move |segment| segment.p_type == kind)
    }

    fn address(&self, segment: &Segment) -> usize {
        self.base.wrapping_add(segment.p_vaddr as usize)
    }

    fn has_go_note(&self, notes: &Segment) -> bool {
        let end = notes.p_memsz as usize;
        let mut offset = 0_usize;
        // the loop ends: each round adds to the offset
        while offset.saturating_add(size_of::<(u32, u32, u32, u32)>()) <= end {
            let place = self.address(notes).wrapping_add(offset) as *const [u32; 4];
            // SAFETY: it lies within the segment, which the kernel mapped
            let [name, description, kind, text] = unsafe { place.read_unaligned() };
            if (name, kind, text.to_ne_bytes()) == GO_NOTE {
                return true;
            }
            let padded = |length: u32| (length as usize).saturating_add(3) & !3;
            offset = offset
                .saturating_add(size_of::<[u32; 3]>())
                .saturating_add(padded(name))
                .saturating_add(padded(description));
        }
        false
    }
}

impl Code {
    /// The pages in which `length` bytes from `begin` on lie.
    pub(super) fn pages(&self, begin: usize, length: usize) -> Pages {
        let address = (self.bytes.as_ptr() as usize).wrapping_add(begin);
        let before = address % PAGE;
        Pages {
            start: address.wrapping_sub(before) as *mut c_void,
            length: before.wrapping_add(length).wrapping_add(PAGE - 1) & !(PAGE - 1),
            offset: self.offset.wrapping_add(begin).wrapping_sub(before),
        }
    }
}

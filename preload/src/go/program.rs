//! This process's program in memory: its ELF headers (elf(5)).

use crate::memory::{self, PAGE};
use core::slice;
use kinject_protocol::executable;
use libc::{Elf64_Phdr as Segment, c_void};

/// The function by which C calls Go, in every Go program with cgo.
const CALL_FROM_C: &[u8] = b"crosscall2\0";

/// The largest string table that is searched for it: that of a Go program without its note is smaller.
const MAX_NAMES: usize = 64 * 1024;

/// Entries of the dynamic section: a tag and a value.
type Entry = [usize; 2];
const DT_NULL: usize = 0;
const DT_STRTAB: usize = 5;
const DT_STRSZ: usize = 10;

/// The program's headers.
pub(super) struct Program {
    segments: &'static [Segment],
    /// The load address, to which its addresses are relative.
    base: usize,
}

/// A segment of its code.
pub(super) struct Code {
    start: *const u8,
    length: usize,
    /// Its offset in the file.
    offset: usize,
}

/// Whole pages of the code.
pub(super) struct Pages {
    pub(super) start: *mut c_void,
    pub(super) length: usize,
    /// Their offset in the file.
    pub(super) offset: usize,
}

impl Program {
    /// None if the kernel does not pass the address of its headers.
    #[inline]
    pub(super) fn of_this_process() -> Option<Self> {
        // SAFETY: each call returns a number
        let (headers, count, size) = unsafe {
            (
                libc::getauxval(libc::AT_PHDR),
                libc::getauxval(libc::AT_PHNUM),
                libc::getauxval(libc::AT_PHENT),
            )
        };
        if headers == 0 || size as usize != size_of::<Segment>() {
            return None;
        }
        // SAFETY: the kernel mapped the headers there, so many, and they stay (getauxval(3))
        let segments = unsafe { slice::from_raw_parts(headers as *const Segment, count as usize) };
        let itself = segments.iter().find(|segment| segment.p_type == libc::PT_PHDR);
        let base = itself.map_or(0, |itself| {
            (headers as usize).wrapping_sub(itself.p_vaddr as usize)
        });
        Some(Self { segments, base })
    }

    /// Whether Go's linker made it.
    #[inline]
    pub(super) fn is_go(&self) -> bool {
        self.has_note()
            || self
                .dynamic_names()
                .is_some_and(|names| names.len() <= MAX_NAMES && memory::find(names, CALL_FROM_C).is_some())
    }

    /// Whether it has the note that Go's linker writes.
    pub(super) fn has_note(&self) -> bool {
        self.of_kind(libc::PT_NOTE)
            .any(|notes| self.mapped(notes).is_some_and(executable::has_note))
    }

    /// The string table of the dynamic section; none if there is no such section.
    pub(super) fn dynamic_names(&self) -> Option<&'static [u8]> {
        let dynamic = self.mapped(self.of_kind(libc::PT_DYNAMIC).next()?)?;
        let count = dynamic.len() / size_of::<Entry>();
        // SAFETY: the segment is mapped, and has that many entries
        let entries = unsafe { slice::from_raw_parts(dynamic.as_ptr().cast::<Entry>(), count) };
        let value = |wanted: usize| {
            let mut entries = entries.iter().take_while(|[tag, _]| *tag != DT_NULL);
            entries.find_map(|[tag, value]| (*tag == wanted).then_some(*value))
        };
        let (names, size) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
        // the dynamic linker has relocated it, unless the section is read-only
        self.bytes(names, size)
            .or_else(|| self.bytes(self.base.wrapping_add(names), size))
    }

    /// The segments that can be executed and not written to.
    pub(super) fn code(&self) -> impl Iterator<Item = Code> {
        self.of_kind(libc::PT_LOAD)
            .filter(|segment| segment.p_flags & (libc::PF_X | libc::PF_W) == libc::PF_X)
            .map(|segment| Code {
                start: self.address(segment) as *const u8,
                length: segment.p_filesz as usize,
                offset: segment.p_offset as usize,
            })
    }

    fn of_kind(&self, kind: u32) -> impl Iterator<Item = &'static Segment> {
        self.segments.iter().filter(move |segment| segment.p_type == kind)
    }

    fn address(&self, segment: &Segment) -> usize {
        self.base.wrapping_add(segment.p_vaddr as usize)
    }

    /// The content of a segment; none if no loaded segment covers it.
    fn mapped(&self, segment: &Segment) -> Option<&'static [u8]> {
        self.bytes(self.address(segment), segment.p_filesz as usize)
    }

    /// These bytes; none if no readable segment covers all of them.
    fn bytes(&self, start: usize, length: usize) -> Option<&'static [u8]> {
        let is_there = self
            .of_kind(libc::PT_LOAD)
            .filter(|segment| segment.p_flags & libc::PF_R != 0)
            .any(|segment| {
                let before = start.checked_sub(self.address(segment));
                before
                    .and_then(|before| before.checked_add(length))
                    .is_some_and(|end| end <= segment.p_filesz as usize)
            });
        if !is_there {
            return None;
        }
        // SAFETY: they lie in a segment that the kernel mapped to be read, and that stays
        Some(unsafe { slice::from_raw_parts(start as *const u8, length) })
    }
}

impl Code {
    /// The code itself; none if it cannot be read.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        memory::is_readable(self.start.cast(), 1)
            // SAFETY: the kernel mapped the segment so; nobody writes to it while the caller reads it
            .then(|| unsafe { slice::from_raw_parts(self.start, self.length) })
    }

    /// The address of one of its bytes.
    pub(super) fn address(&self, offset: usize) -> Option<usize> {
        (offset < self.length).then(|| (self.start as usize).wrapping_add(offset))
    }

    /// The offset of one of its bytes in the file.
    pub(super) fn file_offset(&self, offset: usize) -> usize {
        self.offset.wrapping_add(offset)
    }

    /// The pages of `length` bytes at `begin`.
    pub(super) fn pages(&self, begin: usize, length: usize) -> Pages {
        let address = (self.start as usize).wrapping_add(begin);
        let before = address % PAGE;
        Pages {
            start: address.wrapping_sub(before) as *mut c_void,
            length: before.wrapping_add(length).wrapping_add(PAGE - 1) & !(PAGE - 1),
            offset: self.file_offset(begin).wrapping_sub(before),
        }
    }
}

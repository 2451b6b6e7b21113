//! ELF files (elf(5)), 64-bit and 32-bit, little endian: program headers, section headers, notes.

use super::File;
use super::go_note::has_note;
use super::number::number;
use super::search::Range;

/// The first four bytes.
const MAGIC: &[u8] = b"\x7fELF";

/// `e_machine` of this machine.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// `e_machine` of the 32-bit programs that run here.
#[cfg(target_arch = "x86_64")]
const NARROW_MACHINES: [u16; 2] = [3, MACHINE];
#[cfg(target_arch = "aarch64")]
const NARROW_MACHINES: [u16; 2] = [40, MACHINE];

const LITTLE_ENDIAN: u8 = 1;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;

/// More than any linker makes; the rest of a file that has more is not looked at.
const MAX_SEGMENTS: u16 = 128;
const MAX_SECTIONS: u16 = 1024;
/// More than the notes take that linkers put first, in bytes.
const MAX_NOTES: usize = 1024;

/// The dynamic section is read in blocks of so many bytes, and no more than a part of one that is larger than any.
const DYNAMIC_BLOCK: usize = 1024;
const MAX_DYNAMIC: u64 = 8192;

/// Longer than the path of any dynamic linker.
const MAX_INTERPRETER: usize = 256;

/// The dynamic linkers of other libcs: musl's, uClibc's, Android's.
const OTHER_LINKERS: [&[u8]; 4] = [b"ld-musl", b"ld-uClibc", b"ld64-uClibc", b"linker"];

/// A program for another kind of machine.
pub(super) struct Foreign;

/// How wide its addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// 32 bits.
    Narrow,
    /// 64 bits.
    Wide,
}

/// The dynamic linker that a program names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interpreter {
    /// None: it is static.
    None,
    /// Another libc's.
    OtherLibc,
    /// glibc's, or one that is not known to be another's.
    Usual,
}

/// What the dynamic linker reads of a program.
pub(super) struct Dynamic {
    /// The string table.
    pub(super) names: Range,
    /// The offset of the name of the first library that the program depends on (`DT_NEEDED`).
    pub(super) first_library: Option<u64>,
}

/// An ELF file with a valid header.
pub(super) struct Image<'a, F> {
    pub(super) file: &'a F,
    head: &'a [u8],
    class: Class,
}

struct Segment {
    kind: u32,
    flags: u32,
    address: u64,
    range: Range,
}

impl<'a, F: File> Image<'a, F> {
    /// None if it is no ELF file at all.
    pub(super) fn read(file: &'a F, head: &'a [u8]) -> Option<Result<Self, Foreign>> {
        let rest = head.strip_prefix(MAGIC)?;
        let [class, data] = *rest.first_chunk::<2>()?;
        if data != LITTLE_ENDIAN {
            return Some(Err(Foreign));
        }
        let class = match class {
            1 => Class::Narrow,
            2 => Class::Wide,
            _ => return None,
        };
        let machine = u16::from_le_bytes(*head.get(18..)?.first_chunk::<2>()?);
        let runs_here = match class {
            Class::Wide => machine == MACHINE,
            Class::Narrow => NARROW_MACHINES[0] == machine || NARROW_MACHINES[1] == machine,
        };
        Some(if runs_here {
            Ok(Self { file, head, class })
        } else {
            Err(Foreign)
        })
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// The dynamic linker that it names.
    pub(super) fn interpreter(&self) -> Interpreter {
        let Some(segment) = self.segments().find(|segment| segment.kind == PT_INTERP) else {
            return Interpreter::None;
        };
        let mut room = [0; MAX_INTERPRETER];
        let length = usize::try_from(segment.range.size).unwrap_or(usize::MAX);
        let room = match room.get_mut(..length) {
            Some(room) => room,
            None => return Interpreter::Usual,
        };
        if self.fill(segment.range.offset, room).is_none() {
            return Interpreter::Usual;
        }
        let path = room.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if OTHER_LINKERS.iter().any(|other| name.starts_with(other)) {
            Interpreter::OtherLibc
        } else {
            Interpreter::Usual
        }
    }

    /// Whether Go's linker made it.
    pub(super) fn is_go(&self) -> bool {
        self.segments()
            .filter(|segment| segment.kind == PT_NOTE)
            .any(|segment| self.has_go_note(segment.range))
            || (self.interpreter() == Interpreter::None && self.go_functions().is_some())
    }

    /// The table in which Go programs keep the names of their functions, also when they are stripped.
    pub(super) fn go_functions(&self) -> Option<Range> {
        self.section(b".gopclntab\0")
            .or_else(|| self.section(b".data.rel.ro.gopclntab\0"))
    }

    /// The segments of code.
    pub(super) fn code(&self) -> impl Iterator<Item = Range> {
        self.segments()
            .filter(|segment| segment.kind == PT_LOAD && segment.flags & PF_X != 0)
            .map(|segment| segment.range)
    }

    /// Its dynamic section.
    pub(super) fn dynamic(&self) -> Option<Dynamic> {
        const LIBRARY: u64 = 1;
        const STRING_TABLE: u64 = 5;
        const STRING_TABLE_SIZE: u64 = 10;
        let section = self.segments().find(|segment| segment.kind == PT_DYNAMIC)?.range;
        let (mut first_library, mut address, mut size) = (None, None, None);
        let mut note = |tag, value| match tag {
            LIBRARY if first_library.is_none() => first_library = Some(value),
            STRING_TABLE => address = Some(value),
            STRING_TABLE_SIZE => size = Some(value),
            _ => {}
        };
        let mut done: u64 = 0;
        let mut room = [0; DYNAMIC_BLOCK];
        'section: while done < section.size.min(MAX_DYNAMIC) {
            let left = usize::try_from(section.size.saturating_sub(done)).unwrap_or(DYNAMIC_BLOCK);
            let block = room.get_mut(..left.min(DYNAMIC_BLOCK))?;
            self.fill(section.offset.checked_add(done)?, block)?;
            let step = usize::try_from(self.width()).ok()?;
            let mut words = block.chunks_exact(step).map(|word| self.word_of(word));
            while let (Some(tag), Some(value)) = (words.next(), words.next()) {
                if tag == 0 {
                    break 'section;
                }
                note(tag, value);
            }
            done = done.saturating_add(DYNAMIC_BLOCK as u64);
        }
        let (address, size) = (address?, size?);
        let offset = self
            .segments()
            .filter(|segment| segment.kind == PT_LOAD)
            .find_map(|segment| {
                let inside = address.checked_sub(segment.address)?;
                (inside < segment.range.size).then(|| segment.range.offset.checked_add(inside))?
            })?;
        Some(Dynamic {
            names: Range { offset, size },
            first_library: first_library.and_then(|position| offset.checked_add(position)),
        })
    }

    /// The dynamic string table.
    pub(super) fn dynamic_names(&self) -> Option<Range> {
        self.dynamic().map(|dynamic| dynamic.names)
    }

    fn has_go_note(&self, range: Range) -> bool {
        let mut room = [0; MAX_NOTES];
        let length = usize::try_from(range.size).unwrap_or(MAX_NOTES).min(MAX_NOTES);
        room.get_mut(..length)
            .is_some_and(|room| self.fill(range.offset, room).is_some() && has_note(room))
    }

    fn section(&self, name: &[u8]) -> Option<Range> {
        let (table, size, count, names) = match self.class {
            Class::Wide => (self.word(40)?, self.half(58)?, self.half(60)?, self.half(62)?),
            Class::Narrow => (self.word(32)?, self.half(46)?, self.half(48)?, self.half(50)?),
        };
        let header = |index: u16| {
            let offset = u64::from(index).checked_mul(u64::from(size))?;
            self.section_header(table.checked_add(offset)?)
        };
        let (_, names) = header(names)?;
        for index in 0..count.min(MAX_SECTIONS) {
            let (position, range) = header(index)?;
            let mut room = [0; 32];
            let room = room.get_mut(..name.len())?;
            let position = names.offset.checked_add(u64::from(position))?;
            if self.fill(position, room).is_some() && room == name {
                return Some(range);
            }
        }
        None
    }

    /// The offset of its name in the string table, and the range that it covers.
    fn section_header(&self, position: u64) -> Option<(u32, Range)> {
        let name = number(&self.record::<4>(position)?, 0)?;
        let (offset, size) = match self.class {
            Class::Wide => (24, 32),
            Class::Narrow => (16, 20),
        };
        let range = Range {
            offset: self.word(position.checked_add(offset)?)?,
            size: self.word(position.checked_add(size)?)?,
        };
        Some((name, range))
    }

    fn segments(&self) -> impl Iterator<Item = Segment> {
        let (table, size, count) = match self.class {
            Class::Wide => (self.word(32), self.half(54), self.half(56)),
            Class::Narrow => (self.word(28), self.half(42), self.half(44)),
        };
        let count = count.unwrap_or(0).min(MAX_SEGMENTS);
        (0..count).map_while(move |index| {
            let offset = u64::from(index).checked_mul(u64::from(size?))?;
            self.segment(table?.checked_add(offset)?)
        })
    }

    fn segment(&self, position: u64) -> Option<Segment> {
        Some(match self.class {
            Class::Wide => {
                let record = self.record::<40>(position)?;
                Segment {
                    kind: number(&record, 0)?,
                    flags: number(&record, 4)?,
                    address: long(&record, 16)?,
                    range: Range {
                        offset: long(&record, 8)?,
                        size: long(&record, 32)?,
                    },
                }
            }
            Class::Narrow => {
                let record = self.record::<28>(position)?;
                Segment {
                    kind: number(&record, 0)?,
                    flags: number(&record, 24)?,
                    address: number(&record, 8)?.into(),
                    range: Range {
                        offset: number(&record, 4)?.into(),
                        size: number(&record, 16)?.into(),
                    },
                }
            }
        })
    }

    /// The width of an address, in bytes.
    fn width(&self) -> u64 {
        match self.class {
            Class::Narrow => 4,
            Class::Wide => 8,
        }
    }

    fn half(&self, position: u64) -> Option<u16> {
        self.record(position).map(u16::from_le_bytes)
    }

    /// A number of an address's width.
    fn word(&self, position: u64) -> Option<u64> {
        match self.class {
            Class::Narrow => self.record(position).map(u32::from_le_bytes).map(u64::from),
            Class::Wide => self.record(position).map(u64::from_le_bytes),
        }
    }

    /// The same, in memory.
    fn word_of(&self, bytes: &[u8]) -> u64 {
        let number = match self.class {
            Class::Narrow => number(bytes, 0).map(u64::from),
            Class::Wide => long(bytes, 0),
        };
        number.unwrap_or(0)
    }

    fn record<const N: usize>(&self, position: u64) -> Option<[u8; N]> {
        let mut record = [0; N];
        self.fill(position, &mut record)?;
        Some(record)
    }

    /// Reads as much as there is; gives the count.
    pub(super) fn read_up_to(&self, position: u64, buffer: &mut [u8]) -> Option<usize> {
        match self.fill(position, buffer) {
            Some(()) => Some(buffer.len()),
            None => self.file.read_at(position, buffer),
        }
    }

    /// Fills the buffer from the file; none if the file ends before.
    pub(super) fn fill(&self, position: u64, buffer: &mut [u8]) -> Option<()> {
        let known = usize::try_from(position)
            .ok()
            .and_then(|position| self.head.get(position..));
        if let Some(known) = known.and_then(|known| known.get(..buffer.len())) {
            buffer
                .iter_mut()
                .zip(known)
                .for_each(|(slot, byte)| *slot = *byte);
            return Some(());
        }
        (self.file.read_at(position, buffer)? == buffer.len()).then_some(())
    }
}

#[inline]
fn long(record: &[u8], position: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*record.get(position..)?.first_chunk()?))
}

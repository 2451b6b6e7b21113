//! Finds functions without dlsym(3), which a hook of ours stands in front of: libc's own dlsym, and our hooks.
//!
//! To ask the dynamic linker for libc's dlsym would be to call the hook, so this looks into the symbol tables of what is
//! loaded behind our library, in the order in which the dynamic linker looks (`RTLD_NEXT`): another preloaded library
//! keeps its place. For our own library the dynamic linker has no handle that dlsym could take.
//!
//! The list of what is loaded is the one that debuggers read (`_r_debug`, link.h), whose beginning, the libraries that the
//! program was started with, never changes. The tables are those of elf(5) and of the GNU hash section, which glibc and
//! its linkers have had since 2006. No function is called on the way: the run time of a sanitizer, which asks for libc's
//! functions before it can serve any call, has its own of most of them.

use core::ffi::CStr;
use core::num::NonZeroUsize;
use libc::{Elf64_Ehdr, Elf64_Phdr, Elf64_Sym, c_char};

const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_GNU_HASH: i64 = 0x6fff_fef5;
const SHN_UNDEF: u16 = 0;

/// `struct r_debug`: the list of what is loaded.
#[repr(C)]
struct Debug {
    version: i32,
    first: *const LinkMap,
}

/// `struct link_map`: an entry of that list.
#[repr(C)]
struct LinkMap {
    base: usize,
    name: *const c_char,
    dynamic: *const [i64; 2],
    next: *const LinkMap,
}

/// The first definition of a function behind ours.
pub(crate) fn next_definition(name: &CStr) -> Option<NonZeroUsize> {
    let own = Image::own().dynamic()?;
    let debug = Image::of_the_linker()?.tables()?.find(c"_r_debug".as_ptr())?;
    // SAFETY: the dynamic linker has this structure under the name
    let mut next = unsafe { (*(debug.get() as *const Debug)).first };
    let mut is_behind_ours = false;
    // SAFETY: entries are in use as long as what they stand for is loaded, which is never unloaded up to the one with libc
    while let Some(entry) = unsafe { next.as_ref() } {
        if is_behind_ours {
            // SAFETY: as above
            let tables = unsafe { Tables::of(entry.base, entry.dynamic) };
            if let Some(found) = tables.and_then(|tables| tables.find(name.as_ptr())) {
                return Some(found);
            }
        }
        is_behind_ours |= entry.dynamic == own;
        next = entry.next;
    }
    None
}

/// The function that our own library exports under a name.
///
/// # Safety
///
/// `name` has to point to a C string.
pub(crate) unsafe fn own_definition(name: *const c_char) -> Option<NonZeroUsize> {
    Image::own().tables()?.find(name)
}

/// A library in memory, by its header.
#[derive(Clone, Copy)]
struct Image(*const Elf64_Ehdr);

impl Image {
    /// Our library, or the program in unit tests.
    fn own() -> Self {
        unsafe extern "C" {
            // the linker defines it where an image begins in memory
            static __ehdr_start: Elf64_Ehdr;
        }
        Self(&raw const __ehdr_start)
    }

    /// The dynamic linker.
    fn of_the_linker() -> Option<Self> {
        const PAGE: u64 = 4096;
        // SAFETY: getauxval(3) has no preconditions
        let value = |kind| unsafe { libc::getauxval(kind) };
        let base = match value(libc::AT_BASE) {
            // it was started as a program itself (ld.so(8)), and has its header in front of its program headers
            0 => value(libc::AT_PHDR) & !(PAGE - 1),
            base => base,
        };
        (base != 0).then_some(Self(base as *const Elf64_Ehdr))
    }

    /// Its dynamic section.
    fn dynamic(self) -> Option<*const [i64; 2]> {
        // SAFETY: images are those of libraries that stay loaded, with their headers
        let (offset, count) = unsafe { ((*self.0).e_phoff, (*self.0).e_phnum) };
        let headers = self.0.wrapping_byte_add(offset as usize).cast::<Elf64_Phdr>();
        for index in 0..usize::from(count) {
            // SAFETY: there are that many program headers
            let header = unsafe { headers.wrapping_add(index).read() };
            if header.p_type == libc::PT_DYNAMIC {
                return Some(self.0.wrapping_byte_add(header.p_vaddr as usize).cast());
            }
        }
        None
    }

    fn tables(self) -> Option<Tables> {
        // SAFETY: the library stays loaded
        unsafe { Tables::of(self.0 as usize, self.dynamic()?) }
    }
}

/// The tables of a library that stays loaded.
struct Tables {
    base: usize,
    symbols: *const Elf64_Sym,
    names: *const c_char,
    hashes: *const u32,
}

impl Tables {
    /// None for what has no such tables.
    ///
    /// # Safety
    ///
    /// `dynamic` has to be the dynamic section of a library that stays loaded.
    unsafe fn of(base: usize, dynamic: *const [i64; 2]) -> Option<Self> {
        let (mut symbols, mut names, mut hashes) = (0, 0, 0);
        let mut entry = dynamic;
        loop {
            // SAFETY: the section ends with an entry of zeros
            let [tag, value] = unsafe { entry.read() };
            // the dynamic linker has put addresses in the place of offsets, but for the kernel's own library (vdso(7))
            match tag {
                0 => break,
                DT_SYMTAB => symbols = value as usize,
                DT_STRTAB => names = value as usize,
                DT_GNU_HASH => hashes = value as usize,
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        let is_relocated = symbols > base && names > base && hashes > base;
        is_relocated.then_some(Self {
            base,
            symbols: symbols as *const Elf64_Sym,
            names: names as *const c_char,
            hashes: hashes as *const u32,
        })
    }

    /// Where the function is that the library defines under this name, which has to be a C string.
    fn find(&self, name: *const c_char) -> Option<NonZeroUsize> {
        // the section: count of buckets, first symbol, words of the Bloom filter, its shift; the filter, buckets, chains
        let word = |index: usize| {
            // SAFETY: the index is within the section, as its own numbers say
            unsafe { self.hashes.wrapping_add(index).read() }
        };
        let (buckets, first, filter_words) = (word(0), word(1), word(2));
        let bucket_start = (filter_words as usize).checked_mul(2)?.checked_add(4)?;
        let chain_start = bucket_start.checked_add(buckets as usize)?;
        let hash = hash(name);
        let mut index = word(bucket_start.checked_add(hash.checked_rem(buckets)? as usize)?);
        if index < first {
            return None;
        }
        loop {
            let chained = word(chain_start.checked_add(index.checked_sub(first)? as usize)?);
            // the last bit ends the chain
            if chained | 1 == hash | 1 {
                // SAFETY: the chain holds indices of symbols
                let symbol = unsafe { self.symbols.wrapping_add(index as usize).read() };
                let found = self.names.wrapping_add(symbol.st_name as usize);
                if is_same(found, name) && symbol.st_shndx != SHN_UNDEF {
                    return NonZeroUsize::new(self.base.wrapping_add(symbol.st_value as usize));
                }
            }
            if chained & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
    }
}

/// The bytes of a C string.
fn bytes(text: *const c_char) -> impl Iterator<Item = u8> {
    let mut place = text;
    core::iter::from_fn(move || {
        // SAFETY: callers pass C strings, and no byte before this one ended it
        let byte = unsafe { place.read() } as u8;
        place = place.wrapping_add(1);
        (byte != 0).then_some(byte)
    })
}

/// The hash of a name in that section.
fn hash(name: *const c_char) -> u32 {
    bytes(name).fold(5381, |hash: u32, byte| {
        hash.wrapping_mul(33).wrapping_add(byte.into())
    })
}

fn is_same(one: *const c_char, other: *const c_char) -> bool {
    bytes(one).eq(bytes(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_as_the_linker_hashes_them() {
        assert_eq!(hash(c"".as_ptr()), 5381);
        assert_eq!(hash(c"printf".as_ptr()), 0x156b_2bb8);
        assert!(is_same(c"ab".as_ptr(), c"ab".as_ptr()));
        assert!(!is_same(c"ab".as_ptr(), c"a".as_ptr()) && !is_same(c"a".as_ptr(), c"ab".as_ptr()));
    }

    #[test]
    fn libcs_functions_are_found_behind_the_program() {
        for name in [c"dlsym", c"dlvsym", c"connect"] {
            // SAFETY: the name is a C string
            let expected = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize;
            assert_eq!(next_definition(name).map(NonZeroUsize::get), Some(expected));
        }
        assert_eq!(next_definition(c"no_such_function"), None);
    }
}
